//! The server, and a home directory for the binary to live in.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use assert_cmd::Command;
use axum::extract::{Path as Segment, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// What the server counts and what a test may change.
#[derive(Default)]
pub(crate) struct Hub {
    /// Refresh token that is good now; each is good once.
    pub(crate) refresh: Mutex<String>,
    /// How many were taken.
    pub(crate) refreshes: AtomicUsize,
    /// Life of access tokens in seconds.
    pub(crate) life: Mutex<i64>,
    /// CA to announce.
    pub(crate) ca: Mutex<Option<String>>,
    /// Passwords seen.
    pub(crate) logins: Mutex<Vec<Value>>,
    /// Bodies of `exec`.
    pub(crate) executed: Mutex<Vec<Value>>,
    /// Access token that is refused although it has not ended.
    pub(crate) revoked: Mutex<Option<String>>,
}

impl Hub {
    fn tokens(&self) -> Value {
        let count = self.refreshes.load(Ordering::SeqCst);
        let refresh = format!("refresh-{count}");
        *self.refresh.lock().unwrap() = refresh.clone();
        let ends = jiff_now_plus(*self.life.lock().unwrap());
        json!({"token": format!("token-{count}"), "expires_at": ends, "refresh_token": refresh})
    }
}

fn jiff_now_plus(seconds: i64) -> String {
    (jiff::Timestamp::now() + jiff::SignedDuration::from_secs(seconds)).to_string()
}

fn problem(status: u16, code: &str, detail: &str) -> Response {
    let body = json!({"type": "about:blank", "title": "t", "status": status, "detail": detail, "request_id": "req-1", "code": code});
    (StatusCode::from_u16(status).unwrap(), Json(body)).into_response()
}

async fn login(State(hub): State<Arc<Hub>>, Json(body): Json<Value>) -> Response {
    hub.logins.lock().unwrap().push(body.clone());
    if body["password"] == "correct horse" {
        Json(hub.tokens()).into_response()
    } else {
        problem(401, "invalid_credentials", "unknown account or wrong password")
    }
}

async fn refresh(State(hub): State<Arc<Hub>>, Json(body): Json<Value>) -> Response {
    // Long enough that others come meanwhile.
    tokio::time::sleep(Duration::from_millis(100)).await;
    if body["refresh_token"] != hub.refresh.lock().unwrap().as_str() {
        return problem(401, "refresh_reused", "this refresh token was used before");
    }
    hub.refreshes.fetch_add(1, Ordering::SeqCst);
    Json(hub.tokens()).into_response()
}

fn refused(hub: &Hub, headers: &HeaderMap) -> Option<Response> {
    let given = headers.get("authorization").and_then(|value| value.to_str().ok()).unwrap_or_default();
    let token = given.strip_prefix("Bearer token-");
    let revoked = hub.revoked.lock().unwrap().clone();
    let bad = token.is_none() || revoked.is_some_and(|revoked| given == format!("Bearer {revoked}"));
    bad.then(|| problem(401, "unauthenticated", "this session is over"))
}

async fn clusters(State(hub): State<Arc<Hub>>, headers: HeaderMap) -> Response {
    let cluster = |name: &str, status: &str| json!({"id": "0199c2f4-0000-7000-8000-000000000000", "name": name, "status": status, "backend": "agent", "metadata": {}});
    refused(&hub, &headers).unwrap_or_else(|| {
        Json(json!({"clusters": [cluster("dev", "connected"), cluster("prod", "disconnected")]})).into_response()
    })
}

async fn exec(
    State(hub): State<Arc<Hub>>,
    Segment(id): Segment<String>,
    headers: HeaderMap,
    Json(body): Json<Value>,
) -> Response {
    if let Some(refused) = refused(&hub, &headers) {
        return refused;
    }
    hub.executed.lock().unwrap().push(json!({"cluster": id, "body": body}));
    Json(json!({"output": "ran\n", "exit_code": 7})).into_response()
}

async fn users(State(hub): State<Arc<Hub>>, headers: HeaderMap) -> Response {
    refused(&hub, &headers).unwrap_or_else(|| problem(403, "forbidden", "only administrators may see accounts"))
}

async fn config(State(hub): State<Arc<Hub>>) -> Json<Value> {
    Json(json!({"version": "0", "sign_in": ["password"], "ca": *hub.ca.lock().unwrap()}))
}

fn router(hub: Arc<Hub>) -> Router {
    Router::new()
        .route("/auth/login", post(login))
        .route("/auth/refresh", post(refresh))
        .route("/auth/logout", post(|| async { StatusCode::NO_CONTENT }))
        .route("/api/clusters", get(clusters))
        .route("/api/clusters/{id}/exec", post(exec))
        .route("/api/users", get(users))
        .route("/api/config", get(config))
        .with_state(hub)
}

/// TLS for axum.
struct Tls(TcpListener, TlsAcceptor);

impl axum::serve::Listener for Tls {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            // A client that does not believe us goes away in the middle of the handshake.
            if let Ok((stream, address)) = self.0.accept().await
                && let Ok(stream) = self.1.accept(stream).await
            {
                return (stream, address);
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.0.local_addr()
    }
}

/// A running server and a home for the binary. Both are gone when it is dropped.
pub(crate) struct World {
    /// The server's state.
    pub(crate) hub: Arc<Hub>,
    /// Its address.
    pub(crate) url: String,
    home: tempfile::TempDir,
    _runtime: tokio::runtime::Runtime,
}

impl World {
    /// A server that speaks plain HTTP on loopback.
    pub(crate) fn plain() -> Self {
        Self::start(None)
    }

    /// A server that speaks TLS with the certificate of a CA of its own.
    pub(crate) fn tls(ca: &Authority) -> Self {
        let world = Self::start(Some(ca.server_config()));
        *world.hub.ca.lock().unwrap() = Some(ca.pem.clone());
        world
    }

    fn start(tls: Option<tokio_rustls::rustls::ServerConfig>) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let hub = Arc::new(Hub { life: Mutex::new(3600), ..Hub::default() });
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let app = router(Arc::clone(&hub));
        let scheme = if tls.is_some() { "https" } else { "http" };
        match tls {
            Some(config) => {
                let listener = Tls(listener, TlsAcceptor::from(Arc::new(config)));
                drop(runtime.spawn(async move { axum::serve(listener, app).await }));
            }
            None => drop(runtime.spawn(async move { axum::serve(listener, app).await })),
        }
        let home = tempfile::tempdir().unwrap();
        Self { hub, url: format!("{scheme}://{address}"), home, _runtime: runtime }
    }

    /// The home directory.
    pub(crate) fn home(&self) -> &Path {
        self.home.path()
    }

    /// Where the credentials are.
    pub(crate) fn credentials(&self) -> PathBuf {
        self.home().join("state/flotilla/credentials.json")
    }

    /// The binary, with nothing of the tester's own environment but `PATH`.
    pub(crate) fn flotilla(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_flotilla"));
        command
            .env_clear()
            .env("HOME", self.home())
            .env("XDG_CONFIG_HOME", self.home().join("config"))
            .env("XDG_STATE_HOME", self.home().join("state"))
            .env("XDG_CACHE_HOME", self.home().join("cache"))
            .timeout(Duration::from_secs(60));
        command
    }

    /// Signs in.
    pub(crate) fn login(&self) {
        self.flotilla()
            .args(["login", "--hub", &self.url, "--email", "dev@example.com", "--password-stdin"])
            .write_stdin("correct horse\n")
            .assert()
            .success();
    }

    /// Puts a program of this text into a directory and gives the directory.
    pub(crate) fn program(&self, name: &str, script: &str) -> PathBuf {
        use std::os::unix::fs::PermissionsExt;
        let directory = self.home().join("bin");
        std::fs::create_dir_all(&directory).unwrap();
        let path = directory.join(name);
        std::fs::write(&path, script).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
        directory
    }
}

/// A CA that nobody knows.
pub(crate) struct Authority {
    /// Its certificate.
    pub(crate) pem: String,
    issuer: rcgen::Issuer<'static, rcgen::KeyPair>,
}

impl Authority {
    /// A new one.
    pub(crate) fn new() -> Self {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(Vec::<String>::new()).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, "test");
        let pem = params.self_signed(&key).unwrap().pem();
        Self { pem, issuer: rcgen::Issuer::new(params, key) }
    }

    fn server_config(&self) -> tokio_rustls::rustls::ServerConfig {
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let provider = Arc::new(tokio_rustls::rustls::crypto::aws_lc_rs::default_provider());
        tokio_rustls::rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key.serialize_der().try_into().unwrap())
            .unwrap()
    }
}
