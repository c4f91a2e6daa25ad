//! An upstream against a real TLS server: trust, credentials, headers on the wire, upgrades.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a failed step is a failed test")]

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use base64::Engine as _;
use bytes::Bytes;
use flotilla_upstream::{Body, Externals, Identity, ServiceAccount, Upstream, UpstreamError, body};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::RootCertStore;
use rustls::pki_types::PrivateKeyDer;
use rustls::server::WebPkiClientVerifier;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;

struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "test authority");
        Self { issuer: CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap() }
    }

    /// Certificate and key, PEM.
    fn issue(&self, name: &str) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        (params.signed_by(&key, &self.issuer).unwrap().pem(), key.serialize_pem())
    }

    fn pem(&self) -> String {
        self.issuer.pem()
    }
}

/// What the server saw of one request.
struct Seen {
    method: Method,
    target: String,
    headers: HeaderMap,
    client_certificate: bool,
}

struct Server {
    address: SocketAddr,
    seen: mpsc::UnboundedReceiver<Seen>,
    connections: Arc<AtomicUsize>,
}

/// Serves HTTP/1.1 over TLS with a certificate for `name`; asks for, but does not require, a client certificate.
async fn serve(authority: &Authority, name: &str) -> Server {
    let (chain, key) = authority.issue(name);
    let mut roots = RootCertStore::empty();
    roots.add(authority.issuer.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone())
        .allow_unauthenticated()
        .build()
        .unwrap();
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(clients)
        .with_single_cert(certificates(&chain), private_key(&key))
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (sender, seen) = mpsc::unbounded_channel();
    let connections = Arc::new(AtomicUsize::new(0));
    let count = connections.clone();
    tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            let (acceptor, sender) = (acceptor.clone(), sender.clone());
            count.fetch_add(1, Ordering::SeqCst);
            tokio::spawn(async move {
                let Ok(tls) = acceptor.accept(tcp).await else {
                    return;
                };
                let certified = tls.get_ref().1.peer_certificates().is_some();
                let service = service_fn(move |request| answer(request, certified, sender.clone()));
                let http = hyper::server::conn::http1::Builder::new();
                let _ = http.serve_connection(TokioIo::new(tls), service).with_upgrades().await;
            });
        }
    });
    Server { address, seen, connections }
}

fn certificates(pem: &str) -> Vec<rustls::pki_types::CertificateDer<'static>> {
    use rustls::pki_types::pem::PemObject as _;
    rustls::pki_types::CertificateDer::pem_slice_iter(pem.as_bytes()).map(Result::unwrap).collect()
}

fn private_key(pem: &str) -> PrivateKeyDer<'static> {
    use rustls::pki_types::pem::PemObject as _;
    PrivateKeyDer::from_pem_slice(pem.as_bytes()).unwrap()
}

async fn answer(
    mut request: Request<Incoming>,
    client_certificate: bool,
    seen: mpsc::UnboundedSender<Seen>,
) -> Result<Response<Body>, Infallible> {
    let _ = seen.send(Seen {
        method: request.method().clone(),
        target: request.uri().to_string(),
        headers: request.headers().clone(),
        client_certificate,
    });
    let path = request.uri().path().to_owned();
    if path == "/upgrade" {
        let upgraded = hyper::upgrade::on(&mut request);
        tokio::spawn(async move {
            let mut io = TokioIo::new(upgraded.await.unwrap());
            let mut all = Vec::new();
            let mut buffer = [0; 1024];
            // Echo in upper case until the client closes its half, then say good-bye on ours.
            while let Ok(n @ 1..) = io.read(&mut buffer).await {
                all.extend_from_slice(&buffer[..n]);
                io.write_all(&buffer[..n].to_ascii_uppercase()).await.unwrap();
            }
            io.write_all(format!("bye after {}", all.len()).as_bytes()).await.unwrap();
            io.shutdown().await.unwrap();
        });
        let response = Response::builder()
            .status(StatusCode::SWITCHING_PROTOCOLS)
            .header("connection", "Upgrade")
            .header("upgrade", "SPDY/3.1")
            .header("x-stream-protocol-version", "v4.channel.k8s.io");
        return Ok(response.body(body::empty()).unwrap());
    }
    let status = if path == "/unauthorized" { StatusCode::UNAUTHORIZED } else { StatusCode::OK };
    let echo = request.into_body().collect().await.unwrap().to_bytes();
    let response =
        Response::builder().status(status).header("keep-alive", "timeout=9").header("audit-id", "from-upstream");
    Ok(response.body(body::full(if echo.is_empty() { Bytes::from_static(b"{}") } else { echo })).unwrap())
}

fn base64(text: &str) -> String {
    base64::engine::general_purpose::STANDARD.encode(text)
}

fn kubeconfig(server: &Server, cluster: &str, user: &str) -> String {
    format!(
        "current-context: c\ncontexts: [{{name: c, context: {{cluster: k, user: u}}}}]\n\
         clusters: [{{name: k, cluster: {{server: 'https://localhost:{}', {cluster}}}}}]\nusers: [{{name: u, user: {{{user}}}}}]\n",
        server.address.port()
    )
}

fn upstream(server: &Server, authority: &Authority, user: &str) -> Upstream {
    let cluster = format!("certificate-authority-data: {}", base64(&authority.pem()));
    Upstream::from_kubeconfig(&kubeconfig(server, &cluster, user), None, &Externals::Refused).unwrap()
}

fn identity() -> Identity {
    Identity::new("dev@example.com", vec!["team-a".into(), "flotilla:role:developer".into()]).unwrap()
}

fn get(path: &str) -> Request<Body> {
    Request::builder().uri(path).body(body::empty()).unwrap()
}

async fn text(response: Response<Body>) -> String {
    String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
}

#[tokio::test]
async fn a_request_arrives_as_the_user_with_our_credentials_and_nothing_of_the_callers() {
    let authority = Authority::new();
    let mut server = serve(&authority, "localhost").await;
    let upstream = upstream(&server, &authority, "token: ours");
    let request = Request::builder()
        .method("PATCH")
        .uri("/api/v1/namespaces/a%2Fb/pods?x=%2e&y=a+b")
        .version(http::Version::HTTP_2)
        .header("host", "hub.example.com")
        .header("authorization", "Bearer theirs")
        .header("cookie", "session=1")
        .header("impersonate-user", "root")
        .header("impersonate-group", "system:masters")
        .header("x-remote-user", "root")
        .header("connection", "x-private")
        .header("x-private", "1")
        .header("flotilla-identity", "jwt")
        .header("audit-id", "abc")
        .header("user-agent", "kubectl/v1.36")
        .header("accept-encoding", "gzip")
        .header("content-type", "application/apply-patch+yaml")
        .body(body::full("a: b"))
        .unwrap();
    let response = upstream.send(request, &identity()).await.unwrap();
    assert_eq!(response.headers()["audit-id"], "from-upstream");
    assert!(!response.headers().contains_key("keep-alive"));
    assert_eq!(text(response).await, "a: b");

    let seen = server.seen.recv().await.unwrap();
    assert_eq!(seen.method, Method::PATCH);
    assert_eq!(seen.target, "/api/v1/namespaces/a%2Fb/pods?x=%2e&y=a+b");
    let mut names: Vec<_> = seen.headers.keys().map(|name| name.as_str().to_owned()).collect();
    names.sort();
    assert_eq!(
        names,
        [
            "accept-encoding",
            "audit-id",
            "authorization",
            "content-length",
            "content-type",
            "host",
            "impersonate-group",
            "impersonate-user",
            "user-agent"
        ]
    );
    assert_eq!(seen.headers["authorization"], "Bearer ours");
    assert_eq!(seen.headers["host"], format!("localhost:{}", server.address.port()).as_str());
    assert_eq!(seen.headers["impersonate-user"], "dev@example.com");
    let groups: Vec<_> = seen.headers.get_all("impersonate-group").iter().collect();
    assert_eq!(groups, ["team-a", "flotilla:role:developer"]);
}

#[tokio::test]
async fn connections_are_kept_and_our_own_requests_impersonate_nobody() {
    let authority = Authority::new();
    let mut server = serve(&authority, "localhost").await;
    let upstream = upstream(&server, &authority, "username: admin, password: pass");
    for _ in 0..5 {
        assert_eq!(text(upstream.send_as_self(get("/version")).await.unwrap()).await, "{}");
        let seen = server.seen.recv().await.unwrap();
        assert_eq!(seen.headers["authorization"], "Basic YWRtaW46cGFzcw==");
        assert!(!seen.headers.contains_key("impersonate-user"));
    }
    assert_eq!(server.connections.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn mutual_tls_with_inline_certificate() {
    let authority = Authority::new();
    let mut server = serve(&authority, "localhost").await;
    let (chain, key) = authority.issue("agent");
    let user = format!("client-certificate-data: {}, client-key-data: {}", base64(&chain), base64(&key));
    let upstream = upstream(&server, &authority, &user);
    upstream.send(get("/"), &identity()).await.unwrap();
    let seen = server.seen.recv().await.unwrap();
    assert!(seen.client_certificate);
    assert!(!seen.headers.contains_key("authorization"));
}

#[tokio::test]
async fn an_unknown_authority_and_a_wrong_name_are_tls_errors_and_insecure_is_not() {
    let authority = Authority::new();
    let server = serve(&authority, "other.example.com").await;
    let ca = base64(&authority.pem());
    let cases = [
        (format!("certificate-authority-data: {}", base64(&Authority::new().pem())), Some("tls")),
        (format!("certificate-authority-data: {ca}"), Some("tls")),
        (format!("certificate-authority-data: {ca}, tls-server-name: other.example.com"), None),
        ("insecure-skip-tls-verify: true".to_owned(), None),
    ];
    for (cluster, want) in cases {
        let upstream =
            Upstream::from_kubeconfig(&kubeconfig(&server, &cluster, ""), None, &Externals::Refused).unwrap();
        let result = upstream.send(get("/"), &identity()).await;
        assert_eq!(result.as_ref().err().map(UpstreamError::class), want, "{cluster}: {result:?}");
    }
}

#[tokio::test]
async fn nobody_listening_is_unreachable() {
    let authority = Authority::new();
    let mut server = serve(&authority, "localhost").await;
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap();
    server.address = free.local_addr().unwrap();
    drop(free);
    let error = upstream(&server, &authority, "").send(get("/"), &identity()).await.unwrap_err();
    assert_eq!(error.class(), "unreachable");
    assert!(error.to_string().contains("refused"), "{error}");
}

#[tokio::test]
async fn an_upgrade_is_bytes_both_ways_and_half_closes() {
    let authority = Authority::new();
    let mut server = serve(&authority, "localhost").await;
    let upstream = upstream(&server, &authority, "token: ours");
    upstream.send(get("/"), &identity()).await.unwrap();
    server.seen.recv().await.unwrap();
    let request = Request::builder()
        .method("POST")
        .uri("/upgrade")
        .header("connection", "Upgrade")
        .header("upgrade", "SPDY/3.1")
        .header("authorization", "Bearer theirs")
        .body(body::empty())
        .unwrap();
    let mut response = upstream.send(request, &identity()).await.unwrap();
    assert_eq!(response.status(), StatusCode::SWITCHING_PROTOCOLS);
    assert_eq!(response.headers()["upgrade"], "SPDY/3.1");
    assert_eq!(response.headers()["x-stream-protocol-version"], "v4.channel.k8s.io");
    let seen = server.seen.recv().await.unwrap();
    assert_eq!(seen.headers["authorization"], "Bearer ours");
    assert_eq!(seen.headers["connection"], "Upgrade");
    assert_eq!(server.connections.load(Ordering::SeqCst), 2, "an upgrade has a connection of its own");

    let mut io = TokioIo::new(hyper::upgrade::on(&mut response).await.unwrap());
    io.write_all(b"hello").await.unwrap();
    let mut echo = [0; 5];
    io.read_exact(&mut echo).await.unwrap();
    assert_eq!(&echo, b"HELLO");
    io.shutdown().await.unwrap();
    let mut rest = String::new();
    io.read_to_string(&mut rest).await.unwrap();
    assert_eq!(rest, "bye after 5");
}

#[tokio::test]
async fn a_refused_upgrade_is_an_ordinary_answer() {
    let authority = Authority::new();
    let server = serve(&authority, "localhost").await;
    let request = Request::builder()
        .uri("/no")
        .header("connection", "upgrade")
        .header("upgrade", "websocket")
        .body(body::empty())
        .unwrap();
    let response = upstream(&server, &authority, "").send(request, &identity()).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(text(response).await, "{}");
}

#[tokio::test]
async fn a_service_account_whose_token_was_replaced_recovers_after_one_refusal() {
    let authority = Authority::new();
    let mut server = serve(&authority, "127.0.0.1").await;
    let directory = tempfile::tempdir().unwrap();
    let account = ServiceAccount {
        host: "127.0.0.1".into(),
        port: server.address.port().to_string(),
        directory: directory.path().to_owned(),
    };
    assert!(Upstream::from_service_account(&account).unwrap_err().to_string().contains("automountServiceAccountToken"));
    std::fs::write(directory.path().join("ca.crt"), authority.pem()).unwrap();
    std::fs::write(directory.path().join("token"), "one").unwrap();
    let upstream = Upstream::from_service_account(&account).unwrap();
    let mut tokens = Vec::new();
    for (path, next) in [("/", "two"), ("/unauthorized", "three"), ("/", "four")] {
        upstream.send(get(path), &identity()).await.unwrap();
        tokens.push(server.seen.recv().await.unwrap().headers["authorization"].to_str().unwrap().to_owned());
        std::fs::write(directory.path().join("token"), next).unwrap();
    }
    assert_eq!(tokens, ["Bearer one", "Bearer one", "Bearer three"]);
}
