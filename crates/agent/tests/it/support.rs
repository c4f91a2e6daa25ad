//! A hub's listener for agents, an API server, and the binary between them.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use flotilla_tunnel::client::Connection;
use flotilla_tunnel::metrics::TunnelMetrics;
use flotilla_tunnel::pki::{self, CertificateAuthority};
use flotilla_tunnel::registry::Registry;
use flotilla_tunnel::token::EnrolmentToken;
use flotilla_tunnel::{Body, PROTOCOL, body};
use flotilla_types::agent::{Enrolment, RegisterRequest, RenewRequest};
use flotilla_types::id::{AgentId, ClusterId};
use flotilla_types::time::{from_ms, now_ms};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioIo};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use parking_lot::Mutex;
use rcgen::{KeyPair, PKCS_ED25519, PublicKeyData as _};
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::process::{Child, Command};
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;
use uuid::Uuid;

/// Longer than anything here takes on the slowest machine.
const LONG: Duration = Duration::from_secs(60);

/// Fails a test that would otherwise hang.
pub(crate) async fn soon<F: Future>(what: &str, future: F) -> F::Output {
    tokio::time::timeout(LONG, future).await.unwrap_or_else(|_| panic!("did not happen in time: {what}"))
}

/// Waits until a condition holds.
pub(crate) async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let wait = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    soon(what, wait).await;
}

pub(crate) async fn text<B: http_body::Body>(body: B) -> String
where
    B::Error: std::fmt::Debug,
{
    String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap()
}

/// The hub's listener for agents, with its CA and its key for statements. What it counts is for tests to read.
pub(crate) struct Hub {
    address: SocketAddr,
    pub(crate) token: String,
    pub(crate) registry: Registry,
    pub(crate) heartbeats: Mutex<Vec<Value>>,
    pub(crate) enrolments: Mutex<usize>,
    pub(crate) renewals: Mutex<usize>,
    pub(crate) refuses: Mutex<bool>,
    ca: CertificateAuthority,
    statements: KeyPair,
    life: Duration,
    agent: Uuid,
}

impl Hub {
    /// `life` is that of agents' certificates.
    pub(crate) async fn start(life: Duration) -> Arc<Self> {
        let ca = CertificateAuthority::generate("test hub").unwrap();
        let server = ca.issue_server(&["127.0.0.1".to_owned()], Duration::from_secs(3600)).unwrap();
        let alpn: [&[u8]; 2] = [PROTOCOL.as_bytes(), b"http/1.1"];
        let tls = pki::server_config(&server.chain_pem, &server.key_pem, Some(ca.certificate_pem()), &alpn).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let token = EnrolmentToken::generate(ca.pin()).unwrap();
        let hub = Arc::new(Self {
            address: listener.local_addr().unwrap(),
            token: token.format().expose_secret().to_owned(),
            registry: Registry::new(TunnelMetrics::unregistered()),
            heartbeats: Mutex::default(),
            enrolments: Mutex::default(),
            renewals: Mutex::default(),
            refuses: Mutex::default(),
            ca,
            statements: KeyPair::generate_for(&PKCS_ED25519).unwrap(),
            life,
            agent: Uuid::now_v7(),
        });
        tokio::spawn(Arc::clone(&hub).accept(listener, TlsAcceptor::from(Arc::new(tls))));
        hub
    }

    async fn accept(self: Arc<Self>, listener: TcpListener, acceptor: TlsAcceptor) {
        while let Ok((tcp, _)) = listener.accept().await {
            let (hub, acceptor) = (Arc::clone(&self), acceptor.clone());
            tokio::spawn(async move {
                let Ok(stream) = acceptor.accept(tcp).await else { return };
                let certified = stream.get_ref().1.peer_certificates().is_some();
                if stream.get_ref().1.alpn_protocol() == Some(PROTOCOL.as_bytes()) {
                    assert!(certified, "a tunnel without certificate");
                    let (connection, driver) =
                        Connection::handshake(stream, TunnelMetrics::unregistered()).await.unwrap();
                    let _guard = hub.registry.insert("prod", hub.agent, connection.lane(), connection.clone()).unwrap();
                    drop(connection);
                    let _ = driver.await;
                    return;
                }
                let service = service_fn(|request| {
                    let hub = Arc::clone(&hub);
                    async move { Ok::<_, Infallible>(hub.answer(request, certified).await) }
                });
                let _ =
                    hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
            });
        }
    }

    async fn answer(&self, request: Request<Incoming>, certified: bool) -> Response<Body> {
        let path = request.uri().path().to_owned();
        let body = text(request.into_body()).await;
        let ok = |body: String| Response::new(body::full(body));
        match path.as_str() {
            "/api/agents/ca" => ok(self.ca.certificate_pem().to_owned()),
            "/api/agents/register" => {
                *self.enrolments.lock() += 1;
                let asked: RegisterRequest = serde_json::from_str(&body).unwrap();
                if *self.refuses.lock() || asked.token != self.token {
                    let problem = json!({"title": "Unauthorized", "status": 401, "detail": "the token is unknown", "code": "enrolment_refused"});
                    return Response::builder().status(401).body(body::full(problem.to_string())).unwrap();
                }
                ok(self.enrolment(&asked.csr))
            }
            "/api/agents/renew" if certified => {
                *self.renewals.lock() += 1;
                let asked: RenewRequest = serde_json::from_str(&body).unwrap();
                ok(self.enrolment(&asked.csr))
            }
            "/api/agents/heartbeat" if certified => {
                self.heartbeats.lock().push(serde_json::from_str(&body).unwrap());
                Response::builder().status(StatusCode::NO_CONTENT).body(body::empty()).unwrap()
            }
            "/.well-known/jwks.json" if certified => {
                let x = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(self.statements.der_bytes());
                ok(json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "kid": "k", "x": x}]}).to_string())
            }
            _ => Response::builder().status(404).body(body::empty()).unwrap(),
        }
    }

    fn enrolment(&self, csr: &str) -> String {
        let uri = format!("flotilla:agent:{}", self.agent);
        let issued = self.ca.issue_client(csr, "prod", &uri, self.life).unwrap();
        let ends = issued.not_after.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis();
        let enrolment = Enrolment {
            agent_id: AgentId(self.agent),
            cluster_id: ClusterId::new(),
            certificate: issued.certificate_pem,
            ca: self.ca.certificate_pem().to_owned(),
            expires_at: from_ms(i64::try_from(ends).unwrap()),
        };
        serde_json::to_string(&enrolment).unwrap()
    }

    pub(crate) fn url(&self) -> String {
        format!("https://{}", self.address)
    }

    /// What the hub says of a caller.
    pub(crate) fn statement(&self, cluster: &str, user: &str) -> String {
        let mut header = jsonwebtoken::Header::new(jsonwebtoken::Algorithm::EdDSA);
        header.typ = Some("flotilla-identity+jwt".to_owned());
        header.kid = Some("k".to_owned());
        let now = now_ms() / 1000;
        let claims = json!({"iss": "flotilla-hub", "aud": cluster, "sub": user, "groups": ["team-a"], "iat": now, "exp": now + 60});
        let key = jsonwebtoken::EncodingKey::from_ed_der(&self.statements.serialize_der());
        jsonwebtoken::encode(&header, &claims, &key).unwrap()
    }
}

/// What an API server saw of a request.
pub(crate) struct Seen {
    pub(crate) method: Method,
    pub(crate) target: String,
    pub(crate) headers: HeaderMap,
}

/// Answers `/version` as an API server does, upgrades `/exec` to an echo in upper case, and lists nothing elsewhere.
pub(crate) struct ApiServer {
    address: SocketAddr,
    seen: mpsc::UnboundedReceiver<Seen>,
}

impl ApiServer {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, seen) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                let sender = sender.clone();
                let service = service_fn(move |request: Request<Incoming>| {
                    let (method, target) = (request.method().clone(), request.uri().to_string());
                    let _ = sender.send(Seen { method, target, headers: request.headers().clone() });
                    async move { Ok::<_, Infallible>(respond(request)) }
                });
                let http = hyper::server::conn::http1::Builder::new();
                tokio::spawn(http.serve_connection(TokioIo::new(tcp), service).with_upgrades());
            }
        });
        Self { address, seen }
    }

    /// The next request to another path than this one.
    pub(crate) async fn next_except(&mut self, path: &str) -> Seen {
        loop {
            let seen = soon("a request arrives", self.seen.recv()).await.unwrap();
            if seen.target != path {
                return seen;
            }
        }
    }

    /// Whether nothing arrived but requests to one path.
    pub(crate) fn nothing_but(&mut self, path: &str) -> bool {
        std::iter::from_fn(|| self.seen.try_recv().ok()).all(|seen| seen.target == path)
    }
}

fn respond(mut request: Request<Incoming>) -> Response<Body> {
    match request.uri().path() {
        "/version" => {
            Response::new(body::full(json!({"gitVersion": "v1.36.0", "platform": "linux/amd64"}).to_string()))
        }
        "/exec" => {
            let upgraded = hyper::upgrade::on(&mut request);
            tokio::spawn(async move {
                let mut io = TokioIo::new(upgraded.await.unwrap());
                let mut all = Vec::new();
                io.read_to_end(&mut all).await.unwrap();
                io.write_all(&all.to_ascii_uppercase()).await.unwrap();
                io.shutdown().await.unwrap();
            });
            let response = Response::builder()
                .status(StatusCode::SWITCHING_PROTOCOLS)
                .header("connection", "Upgrade")
                .header("upgrade", "SPDY/3.1")
                .header("x-stream-protocol-version", "v4.channel.k8s.io");
            response.body(body::empty()).unwrap()
        }
        _ => Response::new(body::full("{\"items\":[]}")),
    }
}

/// The running binary. Killed when dropped.
pub(crate) struct Agent {
    child: Child,
    environment: BTreeMap<String, String>,
    health: SocketAddr,
    _directory: tempfile::TempDir,
}

impl Agent {
    pub(crate) async fn start(hub: &Hub, api_server: &ApiServer) -> Self {
        Self::start_with(hub, &hub.token, api_server).await
    }

    pub(crate) async fn start_with(hub: &Hub, token: &str, api_server: &ApiServer) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let kubeconfig = format!(
            "current-context: c\ncontexts: [{{name: c, context: {{cluster: k}}}}]\nclusters: [{{name: k, cluster: {{server: 'http://{}'}}}}]\n",
            api_server.address
        );
        let environment = BTreeMap::from([
            ("CENTRAL_URL".to_owned(), hub.url()),
            ("AGENT_TOKEN".to_owned(), token.to_owned()),
            ("CLUSTER_NAME".to_owned(), "prod".to_owned()),
            ("FLOTILLA_AGENT__STATE_DIR".to_owned(), directory.path().join("state").display().to_string()),
        ]);
        Self::launch(directory, &kubeconfig, environment).await
    }

    /// Starts the binary with this environment, and a kubeconfig in place of a pod's service account.
    pub(crate) async fn launch(
        directory: tempfile::TempDir,
        kubeconfig: &str,
        mut environment: BTreeMap<String, String>,
    ) -> Self {
        let path = directory.path().join("kubeconfig");
        std::fs::write(&path, kubeconfig).unwrap();
        // Given up at once and taken again by the agent: the kernel hands ephemeral ports out in turn.
        let health = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        environment.extend([
            ("FLOTILLA_AGENT__KUBERNETES__KUBECONFIG".to_owned(), path.display().to_string()),
            ("FLOTILLA_AGENT__HEALTH__LISTEN".to_owned(), health.to_string()),
            ("FLOTILLA_AGENT__HEARTBEAT__INTERVAL_SECONDS".to_owned(), "1".to_owned()),
        ]);
        let child = spawn(&environment);
        let agent = Self { child, environment, health, _directory: directory };
        agent.wait_for_health().await;
        agent
    }

    /// Waits until `/readyz` says this.
    pub(crate) async fn says(&self, text: &str) -> String {
        soon(text, async {
            loop {
                let (_, said) = self.get("/readyz").await;
                if said.contains(text) {
                    return said;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        })
        .await
    }

    async fn wait_for_health(&self) {
        soon("the health endpoint is open", async {
            while tokio::net::TcpStream::connect(self.health).await.is_err() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await;
    }

    pub(crate) async fn restart(&mut self) {
        self.terminate();
        assert!(soon("it stops", self.child.wait()).await.unwrap().success());
        self.child = spawn(&self.environment);
        self.wait_for_health().await;
    }

    pub(crate) async fn get(&self, path: &str) -> (u16, String) {
        let client = Client::builder(TokioExecutor::new()).build_http::<Empty<bytes::Bytes>>();
        let response = client.get(format!("http://{}{path}", self.health).parse().unwrap()).await.unwrap();
        (response.status().as_u16(), text(response.into_body()).await)
    }

    pub(crate) async fn stop(mut self) -> ExitStatus {
        self.terminate();
        soon("it stops", self.child.wait()).await.unwrap()
    }

    fn terminate(&self) {
        let id = i32::try_from(self.child.id().unwrap()).unwrap();
        kill(Pid::from_raw(id), Signal::SIGTERM).unwrap();
    }
}

fn spawn(environment: &BTreeMap<String, String>) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_flotilla-agent"));
    command.env_clear().envs(environment).stdin(Stdio::null()).kill_on_drop(true).spawn().unwrap()
}
