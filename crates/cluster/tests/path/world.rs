//! A hub's inside without its listeners: store, audit log, policy, tunnel registry and an agent at the other end of a
//! real tunnel connection whose API server is a function here.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use flotilla_cluster::backends::Backends;
use flotilla_cluster::gate::{Gate, GateOptions};
use flotilla_cluster::metrics::ClusterMetrics;
use flotilla_cluster::request::{ClusterRef, ClusterRequest, RequestContext};
use flotilla_cluster::transport::{Transport, TransportOptions};
use flotilla_cluster::{Body, boxed, empty, full};
use flotilla_identity::authn::{Accounts, AccountsError, Authenticator, BoxFuture, LiveSession};
use flotilla_identity::policy::{self, Source};
use flotilla_identity::principal::Principal;
use flotilla_identity::token::{Algorithm, KeyMaterial, KeyRing};
use flotilla_store::audit::{AuditLog, AuditOptions};
use flotilla_store::{DatabaseConfig, Driver, Kek, Sealer, Store};
use flotilla_tunnel::Lane;
use flotilla_tunnel::client::Connection;
use flotilla_tunnel::metrics::TunnelMetrics;
use flotilla_tunnel::registry::{Guard, Registry};
use flotilla_tunnel::{serve, upgrade};
use flotilla_types::audit::{AuditQuery, AuditRow, Outcome};
use flotilla_types::id::{ClusterId, RequestId, SessionId, UserId};
use flotilla_types::policy::Role;
use futures_util::stream;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::StreamBody;
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// What the agent was asked.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) headers: HeaderMap,
}

pub(crate) struct World {
    pub(crate) gate: Gate,
    pub(crate) transport: Transport,
    pub(crate) principal: Principal,
    pub(crate) audit: AuditLog,
    pub(crate) writer: JoinHandle<()>,
    pub(crate) registry: Registry,
    pub(crate) seen: Arc<Mutex<Vec<Seen>>>,
    pub(crate) cluster: ClusterRef,
    pub(crate) connections: Vec<Connection>,
    guards: Vec<Guard>,
}

struct OneSession(UserId);

impl Accounts for OneSession {
    fn live_session(&self, _: SessionId) -> BoxFuture<'_, Result<Option<LiveSession>, AccountsError>> {
        let live = LiveSession {
            user: self.0,
            email: "dev@example.com".into(),
            roles: vec!["dev".into()],
            groups: Vec::new(),
        };
        Box::pin(async move { Ok(Some(live)) })
    }
}

/// Proves who is calling in the only way there is: with a token.
async fn sign_in(keys: &KeyRing) -> Principal {
    let user = UserId::new();
    let (token, _) = keys.issue_access(user, "dev@example.com", SessionId::new(), Duration::from_secs(60)).unwrap();
    Authenticator::new(keys.clone(), Arc::new(OneSession(user))).authenticate(&token).await.unwrap()
}

fn policy() -> Arc<ArcSwap<policy::PolicySet>> {
    let role: Role = serde_json::from_value(serde_json::json!({
        "name": "dev", "groups": ["team-shop"],
        "clusters": [{"name": "dev", "namespaces": ["shop"], "verbs": ["*"], "resources": ["pods", "pods/*", "secrets", "services/proxy"]},
            {"name": "dev", "namespaces": ["shop"], "verbs": ["patch"], "resources": ["configmaps"]}],
    }))
    .unwrap();
    Arc::new(ArcSwap::from_pointee(
        policy::compile(vec![(role, Source::Database)]).unwrap_or_else(|problems| panic!("{problems:?}")),
    ))
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::with(GateOptions::default(), TransportOptions::default()).await
    }

    pub(crate) async fn with(gate: GateOptions, transport: TransportOptions) -> Self {
        let database = DatabaseConfig { driver: Driver::Sqlite, url: "sqlite::memory:".into() };
        let sealer = Sealer::new(vec![Kek::generate("test").unwrap()]).unwrap();
        let store = Store::open(&database, sealer).await.unwrap();
        store.migrate().await.unwrap();
        let (audit, writer) = AuditLog::start(&store, AuditOptions::default()).await.unwrap();
        let keys = KeyRing::new(vec![
            KeyMaterial::generate(Algorithm::Rs256).unwrap(),
            KeyMaterial::generate(Algorithm::EdDsa).unwrap(),
        ])
        .unwrap();
        let registry = Registry::new(TunnelMetrics::unregistered());
        let metrics = ClusterMetrics::default();
        Self {
            gate: Gate::new(policy(), audit.clone(), metrics.clone(), gate),
            transport: Transport::new(Backends::new(registry.clone()), keys.clone(), metrics, transport),
            principal: sign_in(&keys).await,
            audit,
            writer,
            registry,
            seen: Arc::default(),
            cluster: ClusterRef { id: ClusterId::new(), name: "dev".into() },
            connections: Vec::new(),
            guards: Vec::new(),
        }
    }

    /// Connects an agent.
    pub(crate) async fn connect(&mut self) {
        let (near, far) = tokio::io::duplex(64 * 1024);
        let seen = self.seen.clone();
        let service = hyper::service::service_fn(move |request| answer(request, seen.clone()));
        tokio::spawn(serve::serve(far, service, CancellationToken::new()));
        let (connection, driver) = Connection::handshake(near, TunnelMetrics::unregistered()).await.unwrap();
        tokio::spawn(driver);
        let guard = self.registry.insert("dev", uuid::Uuid::nil(), Lane::Interactive, connection.clone()).unwrap();
        self.guards.push(guard);
        self.connections.push(connection);
    }

    pub(crate) fn context() -> RequestContext {
        RequestContext {
            request_id: RequestId::new(),
            route: "/k8s/clusters/{cluster}/*",
            address: [192, 0, 2, 1].into(),
        }
    }

    pub(crate) fn request(&self, method: &str, target: &str, headers: &[(&str, &str)], body: Body) -> ClusterRequest {
        let mut http = Request::builder().method(method).uri(target);
        for (name, value) in headers {
            http = http.header(*name, *value);
        }
        ClusterRequest::new(self.cluster.clone(), http.body(body).unwrap()).unwrap()
    }

    /// All four steps; panics if the policy or the audit log says no.
    pub(crate) async fn send(
        &self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
    ) -> Result<Response<Body>, flotilla_cluster::transport::TransportError> {
        let request = self.request(method, target, headers, empty());
        let authorized = self
            .gate
            .authorize(&self.principal, request, &Self::context())
            .unwrap_or_else(|denied| panic!("{}", denied.reason()));
        let audited = self.gate.audit(authorized).await.unwrap();
        Box::pin(self.transport.send(audited)).await
    }

    /// All rows, oldest first.
    pub(crate) async fn rows(&self) -> Vec<AuditRow> {
        let mut rows = self.audit.query(&AuditQuery::default(), None).await.unwrap().rows;
        rows.reverse();
        rows
    }

    /// The outcome row, as soon as it is there.
    pub(crate) async fn outcome(&self) -> AuditRow {
        for _ in 0..500 {
            let rows = self.rows().await;
            if let Some(row) = rows.into_iter().find(|row| row.outcome != Outcome::Attempted) {
                return row;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("no outcome row came");
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().clone()
    }
}

/// The cluster, behind its agent.
async fn answer(mut request: Request<Incoming>, seen: Arc<Mutex<Vec<Seen>>>) -> Result<Response<Body>, Infallible> {
    let target = request.uri().path_and_query().unwrap().to_string();
    seen.lock().push(Seen {
        method: request.method().to_string(),
        target: target.clone(),
        headers: request.headers().clone(),
    });
    if upgrade::from_connect(&request).is_some() {
        return Ok(echo(hyper::upgrade::on(&mut request)));
    }
    let name = target.rsplit('/').next().unwrap_or_default().split('?').next().unwrap_or_default();
    let status = |code| Response::builder().status(code);
    Ok(match name {
        "missing" => status(404).body(full("{}")).unwrap(),
        "never" => std::future::pending().await,
        "endless" => status(200).body(forever()).unwrap(),
        "breaks" => status(200).body(broken()).unwrap(),
        "object" => status(200).header("content-type", "application/json").body(object(request.method())).unwrap(),
        "unreadable" if request.method() == "GET" => status(500).body(full("oops")).unwrap(),
        "unreadable" => status(200).header("content-type", "application/json").body(object(request.method())).unwrap(),
        "cookies" => status(200).header("set-cookie", "session=theirs").body(full("hello")).unwrap(),
        "sized" => status(200).header("content-length", 5).body(full("hello")).unwrap(),
        "large" => status(200).body(full(vec![b'x'; 100_000])).unwrap(),
        _ => status(200).body(full("hello")).unwrap(),
    })
}

/// An object that each write leaves with its method.
fn object(method: &http::Method) -> Body {
    full(format!(r#"{{"kind":"Pod","metadata":{{"resourceVersion":"{method}"}},"spec":{{"method":"{method}"}}}}"#))
}

fn forever() -> Body {
    let first = stream::once(async { Ok::<_, Infallible>(Frame::data(Bytes::from("tick"))) });
    boxed(StreamBody::new(Box::pin(futures_util::StreamExt::chain(first, stream::pending()))))
}

fn broken() -> Body {
    let first = stream::once(async { Ok(Frame::data(Bytes::from("half"))) });
    let end = stream::once(async {
        // HTTP/2 lets a reset overtake what was sent before it.
        tokio::time::sleep(Duration::from_millis(100)).await;
        Err(std::io::Error::other("the API server went away"))
    });
    boxed(StreamBody::new(Box::pin(futures_util::StreamExt::chain(first, end))))
}

/// Says everything back until the other side has said all.
fn echo(upgraded: hyper::upgrade::OnUpgrade) -> Response<Body> {
    tokio::spawn(async move {
        let (mut read, mut write) = tokio::io::split(TokioIo::new(upgraded.await.unwrap()));
        tokio::io::copy(&mut read, &mut write).await.unwrap();
        tokio::io::AsyncWriteExt::shutdown(&mut write).await.unwrap();
    });
    let mut response = Response::new(empty());
    *response.status_mut() = StatusCode::OK;
    response.headers_mut().insert("sec-websocket-accept", http::HeaderValue::from_static("upstreams-own"));
    response
}
