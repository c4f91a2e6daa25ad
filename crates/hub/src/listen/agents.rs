//! The agents' listener: TLS 1.3, client certificates signed by the hub's CA. By ALPN: `flotilla-tunnel/1` turns
//! the connection round at once; `h2` and `http/1.1` carry gRPC, enrolment, renewal, heartbeats and, the latter,
//! `GET /api/agents/connect` with `Upgrade: flotilla-tunnel/1`.
//!
//! Behind a proxy that terminates TLS the same connection comes inside a WebSocket of the people's listener
//! ([`socket`]), and is treated no differently: the TLS that counts is the agent's own, inside.
//!
//! Must not know: Kubernetes, people.

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use axum::response::{IntoResponse, Response};
use flotilla_cluster::boxed;
use flotilla_store::Agent;
use flotilla_tunnel::client::Connection;
use flotilla_tunnel::pki::peer_identity;
use flotilla_tunnel::registry::Guard;
use flotilla_tunnel::websocket::{self, Socket, Unacceptable};
use flotilla_tunnel::{Refusal, upgrade};
use flotilla_types::agent::{RenewRequest, TUNNEL_PROTOCOL};
use flotilla_types::id::{AgentId, RequestId};
use flotilla_types::problem::Code;
use flotilla_types::time::now_ms;
use http::{HeaderValue, Method, Request, StatusCode, header};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tower::ServiceExt;

use super::HANDSHAKE_DEADLINE;
use super::cores::Cores;
use super::people::CurrentTls;
use super::places::Places;
use crate::error::ApiError;
use crate::hub::Hub;
use crate::request::caller::{MAX_ANONYMOUS_BODY, read_json};
use crate::request::{REQUEST_ID, RequestContext};
use crate::routes::agents::{agent_uri, check_metadata, enrol, renew};

/// How often an agent says that it lives, in seconds.
pub const HEARTBEAT_SECONDS: u32 = 30;

/// Calls under way on one HTTP/2 connection of this listener.
const MAX_CALLS: u32 = 64;

/// Most tunnels that one agent may have open: two lanes, and some that drain after each renewal.
const MAX_TUNNELS: usize = 64;

/// The caller's address, for gRPC.
#[derive(Clone, Copy)]
pub struct PeerAddress(pub IpAddr);

/// Where agents come in, whatever carries their bytes.
pub struct Door {
    /// The hub's own certificate, and the CA of theirs.
    tls: CurrentTls,
    /// Of web sockets; the listener counts its own connections.
    places: Places,
}

impl Door {
    /// A door with this certificate.
    #[must_use]
    pub fn new(tls: CurrentTls) -> Self {
        Self { tls, places: Places::for_this_process() }
    }
}

/// Serves agents until the hub stops.
pub async fn serve(hub: Arc<Hub>, listener: TcpListener, cores: Arc<Cores>) {
    let shutdown = hub.shutdown.clone();
    let serve = move |stream, peer: SocketAddr| {
        let hub = Arc::clone(&hub);
        async move {
            if let Some(stream) = super::arrived(stream) {
                connection(hub, stream, peer.ip().to_canonical()).await;
            }
        }
    };
    super::accept(listener, shutdown, &cores, serve).await;
}

/// `GET /api/agents/connect` of the people's listener with `Upgrade: websocket`: an agent's connection inside a
/// WebSocket. Nobody is known yet; whoever comes is where a TCP connection to the agents' listener would be.
///
/// # Errors
/// The request opens no such socket, or as many are open as may be.
pub fn socket<B>(hub: &Arc<Hub>, request: &mut Request<B>, address: IpAddr) -> Result<Response, ApiError> {
    let headers = websocket::accept(request.headers()).map_err(unacceptable)?;
    if hub.shutdown.is_cancelled() {
        return Err(stopping());
    }
    let Some(place) = hub.door.places.take(address) else {
        let detail = "too many agents are connected through this proxy or hub";
        return Err(ApiError::too_many_requests(detail, Duration::from_secs(30)));
    };
    let hub = Arc::clone(hub);
    let upgraded = hyper::upgrade::on(request);
    tokio::spawn(async move {
        match upgraded.await {
            // Boxed: large, and rare beside the connections of the listener.
            Ok(io) => Box::pin(connection(hub, Socket::server(TokioIo::new(io)).await, address)).await,
            Err(error) => tracing::debug!(%error, %address, "an agent left before its WebSocket was up"),
        }
        drop(place);
    });
    Ok((StatusCode::SWITCHING_PROTOCOLS, headers).into_response())
}

fn unacceptable(reason: Unacceptable) -> ApiError {
    match reason {
        Unacceptable::Browser => ApiError::forbidden(reason.to_string()),
        _ => ApiError::bad_request(reason.to_string()),
    }
}

async fn connection<IO>(hub: Arc<Hub>, stream: IO, address: IpAddr)
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let handshake = TlsAcceptor::from(hub.door.tls.load_full()).accept(stream);
    let stream = match tokio::time::timeout(HANDSHAKE_DEADLINE, handshake).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return tracing::debug!(%error, %address, "TLS handshake with an agent failed"),
        Err(_) => return tracing::debug!(%address, "TLS handshake with an agent took too long"),
    };
    let known = known_agent(&hub, stream.get_ref().1).await;
    match stream.get_ref().1.alpn_protocol() {
        Some(alpn) if alpn == TUNNEL_PROTOCOL.as_bytes() => {
            let agent = certified(Peer::new(known, address));
            turn(&hub, stream, agent).await;
        }
        _ => http(hub, stream, Peer::new(known, address)).await,
    }
}

/// An enrolment, and the end of the certificate that was shown for it.
#[derive(Clone)]
struct Certified {
    agent: Agent,
    ends: SystemTime,
}

impl Certified {
    /// What is left of the certificate; nothing when it has ended.
    fn left(&self) -> Duration {
        self.ends.duration_since(SystemTime::now()).unwrap_or_default()
    }
}

/// The enrolment behind the client certificate, if one was shown.
async fn known_agent(hub: &Hub, session: &rustls::ServerConnection) -> Result<Option<Certified>, ApiError> {
    let Some(certificate) = session.peer_certificates().and_then(|chain| chain.first()) else {
        return Ok(None);
    };
    let refused = |detail: &str| ApiError::forbidden(detail);
    let peer = peer_identity(certificate)
        .map_err(|error| ApiError::forbidden(format!("the certificate cannot be read: {error}")))?;
    let id = peer
        .uri
        .as_deref()
        .and_then(|uri| uri.strip_prefix("flotilla:agent:"))
        .and_then(|id| id.parse::<AgentId>().ok());
    let id = id.ok_or_else(|| refused("the certificate is not an agent's"))?;
    let agent = hub
        .store
        .agent(id)
        .await?
        .ok_or_else(|| refused("this agent is not enrolled here; enrol it again with a new token"))?;
    if agent.revoked_at_ms.is_some() {
        return Err(revoked());
    }
    if agent.cluster != peer.common_name || agent_uri(agent.id) != peer.uri.unwrap_or_default() {
        return Err(refused("the certificate names another cluster than the enrolment"));
    }
    Ok(Some(Certified { agent, ends: peer.not_after }))
}

/// The other end of an HTTP/1.1 connection.
#[derive(Clone)]
struct Peer {
    agent: Option<Certified>,
    refusal: Option<ApiError>,
    address: IpAddr,
}

impl Peer {
    fn new(known: Result<Option<Certified>, ApiError>, address: IpAddr) -> Self {
        match known {
            Ok(agent) => Self { agent, refusal: None, address },
            Err(refusal) => Self { agent: None, refusal: Some(refusal), address },
        }
    }
}

/// gRPC is told from HTTP by its content type, so that both may come over HTTP/2.
async fn http<IO>(hub: Arc<Hub>, stream: TlsStream<IO>, peer: Peer)
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let grpc = tonic::service::Routes::new(crate::grpc::service(
        Arc::clone(&hub),
        peer.agent.clone().map(|certified| certified.agent),
    ))
    .prepare();
    let begun = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&begun);
    let service = service_fn(move |mut request: Request<Incoming>| {
        seen.store(true, Ordering::Relaxed);
        let (hub, peer, grpc) = (Arc::clone(&hub), peer.clone(), grpc.clone());
        async move {
            if !is_grpc(&request) {
                return Ok::<_, Infallible>(answer(hub, request, peer).await.map(boxed));
            }
            request.extensions_mut().insert(PeerAddress(peer.address));
            let response = grpc.oneshot(request.map(tonic::body::Body::new)).await;
            Ok(response.unwrap_or_else(|never| match never {}).map(boxed))
        }
    });
    let mut server = super::http_server();
    server.http2().max_concurrent_streams(MAX_CALLS);
    let served = server.serve_connection_with_upgrades(TokioIo::new(stream), service);
    tokio::select! {
        ended = served => if let Err(error) = ended {
            tracing::debug!(%error, "an agent's connection ended");
        },
        () = super::silence(&begun) => tracing::debug!("an agent's connection without a request is closed"),
    }
}

/// `application/grpc`, `application/grpc+proto` (gRPC over HTTP/2 specification).
fn is_grpc(request: &Request<Incoming>) -> bool {
    request.headers().get(header::CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"))
}

async fn answer(hub: Arc<Hub>, request: Request<Incoming>, peer: Peer) -> Response {
    let given = request.headers().get(&REQUEST_ID).and_then(|value| value.to_str().ok());
    let request_id = given.and_then(RequestId::from_caller).unwrap_or_else(RequestId::new);
    let context = RequestContext::new(request_id, peer.address);
    let path = request.uri().path().to_owned();
    let handled = tokio::time::timeout(Duration::from_secs(30), route(&hub, request, peer, &context)).await;
    let mut response = match handled {
        Ok(Ok(response)) => response,
        Ok(Err(error)) => {
            tracing::info!(request_id = %context.request_id, address = %context.address, path, status = error.status.as_u16(), detail = error.detail, "agent refused");
            error.render(context.request_id.as_str())
        }
        Err(_) => ApiError::new(StatusCode::GATEWAY_TIMEOUT, Code::Timeout, "the hub took too long; try again")
            .render(context.request_id.as_str()),
    };
    if let Ok(value) = HeaderValue::from_str(context.request_id.as_str()) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    response
}

/// The agents' table of contents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// The hub's CA, which the agent checks against the pin in its token.
    Ca,
    /// Public halves of the keys that sign statements of identity.
    Jwks,
    /// The process lives.
    Healthz,
    /// Enrolment with a token.
    Register,
    /// The next certificate.
    Renew,
    /// A sign of life.
    Heartbeat,
    /// The tunnel.
    Connect,
}

impl Route {
    /// All of them, with method and path, and whether they need an agent's certificate.
    pub const ALL: &[(Self, Method, &str, bool)] = &[
        (Self::Ca, Method::GET, "/api/agents/ca", false),
        (Self::Jwks, Method::GET, "/.well-known/jwks.json", false),
        (Self::Healthz, Method::GET, "/healthz", false),
        (Self::Register, Method::POST, "/api/agents/register", false),
        (Self::Renew, Method::POST, "/api/agents/renew", true),
        (Self::Heartbeat, Method::POST, "/api/agents/heartbeat", true),
        (Self::Connect, Method::GET, "/api/agents/connect", true),
    ];
}

async fn route(
    hub: &Arc<Hub>,
    request: Request<Incoming>,
    peer: Peer,
    context: &RequestContext,
) -> Result<Response, ApiError> {
    let path = crate::mount::canonical(request.uri().path()).into_owned();
    let found = Route::ALL.iter().find(|(_, method, at, _)| request.method() == method && path == *at);
    let Some((route, _, _, needs_certificate)) = found else {
        return Err(ApiError::not_found("this listener is for agents; people use the other port"));
    };
    if *needs_certificate {
        return certified_route(hub, *route, request, certified(peer)?).await;
    }
    match route {
        Route::Ca => {
            Ok(([(header::CONTENT_TYPE, "application/x-pem-file")], hub.ca.certificate_pem().to_owned())
                .into_response())
        }
        Route::Jwks => Ok(axum::Json(hub.keys.jwks()).into_response()),
        Route::Register => Ok(axum::Json(enrol(hub, context, json(request).await?).await?).into_response()),
        _ => Ok("ok".into_response()),
    }
}

async fn certified_route(
    hub: &Arc<Hub>,
    route: Route,
    request: Request<Incoming>,
    certified: Certified,
) -> Result<Response, ApiError> {
    let agent = &certified.agent;
    match route {
        Route::Renew => {
            let body: RenewRequest = json(request).await?;
            Ok(axum::Json(renew(hub, agent, &body.csr).await?).into_response())
        }
        Route::Heartbeat => {
            heartbeat(hub, agent, &json(request).await?).await?;
            Ok(StatusCode::NO_CONTENT.into_response())
        }
        _ => connect(hub, request, certified),
    }
}

fn certified(peer: Peer) -> Result<Certified, ApiError> {
    match (peer.agent, peer.refusal) {
        (_, Some(refusal)) => Err(refusal),
        // TLS has checked it when the connection began, which may be long ago.
        (Some(certified), None) if certified.left().is_zero() => {
            Err(ApiError::forbidden("the agent's certificate has ended; enrol it again with a new token"))
        }
        (Some(certified), None) => Ok(certified),
        (None, None) => {
            Err(ApiError::unauthenticated("this needs an agent's certificate; enrol at /api/agents/register"))
        }
    }
}

async fn json<T: DeserializeOwned>(request: Request<Incoming>) -> Result<T, ApiError> {
    read_json(axum::body::Body::new(request.into_body()), MAX_ANONYMOUS_BODY).await
}

/// Notes that an agent lives and what it says of its cluster.
///
/// # Errors
/// The agent is revoked, `metadata` is too large, or the store does not answer.
pub async fn heartbeat(
    hub: &Hub,
    agent: &Agent,
    metadata: &serde_json::Map<String, serde_json::Value>,
) -> Result<(), ApiError> {
    check_metadata(metadata)?;
    // The connection may be older than a revocation.
    if hub.store.agent(agent.id).await?.is_none_or(|now| now.revoked_at_ms.is_some()) {
        return Err(revoked());
    }
    hub.store.touch_agents(&[(agent.id, now_ms())]).await?;
    hub.store.touch_clusters(&[(agent.cluster_id, now_ms())]).await?;
    if !metadata.is_empty() {
        hub.store.set_metadata(agent.cluster_id, metadata).await?;
    }
    Ok(())
}

/// `GET /api/agents/connect`: after the 101 the hub is the client of this connection.
fn connect(hub: &Arc<Hub>, mut request: Request<Incoming>, agent: Certified) -> Result<Response, ApiError> {
    let wanted = upgrade::token(request.headers()).is_some_and(|token| token == TUNNEL_PROTOCOL);
    if !wanted {
        return Err(ApiError::new(
            StatusCode::UPGRADE_REQUIRED,
            Code::BadRequest,
            format!("connect with Upgrade: {TUNNEL_PROTOCOL}"),
        ));
    }
    if hub.shutdown.is_cancelled() {
        return Err(stopping());
    }
    let hub = Arc::clone(hub);
    let upgraded = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        match upgraded.await {
            Ok(io) => turn(&hub, TokioIo::new(io), Ok(agent)).await,
            Err(error) => {
                tracing::debug!(%error, cluster = agent.agent.cluster, "an agent left before its tunnel was up")
            }
        }
    });
    let headers = [(header::CONNECTION, "upgrade"), (header::UPGRADE, TUNNEL_PROTOCOL)];
    Ok((StatusCode::SWITCHING_PROTOCOLS, headers).into_response())
}

/// Turns the connection round: from here on the hub asks and the agent answers. An agent that may not serve is told
/// why before the connection is cut.
async fn turn<IO>(hub: &Arc<Hub>, io: IO, agent: Result<Certified, ApiError>)
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (connection, driver) = match Connection::handshake(io, hub.tunnel_metrics.clone()).await {
        Ok(pair) => pair,
        Err(error) => return tracing::info!(%error, "tunnel not established"),
    };
    let mut driver = tokio::spawn(driver);
    let (Certified { agent, ends }, guard) = match admit(hub, &connection, agent).await {
        Ok(admitted) => admitted,
        Err(error) => {
            tracing::info!(detail = error.detail, "tunnel refused");
            return connection.refuse(error.into()).await;
        }
    };
    let (cluster, lane) = (agent.cluster.as_str(), connection.lane());
    if let Err(error) = heartbeat(hub, &agent, &serde_json::Map::new()).await {
        tracing::warn!(detail = error.detail, cluster, "cannot note that the agent is here");
    }
    tracing::info!(cluster, agent = %agent.id, %lane, "tunnel up");
    let left = ends.duration_since(SystemTime::now()).unwrap_or_default();
    let ended = tokio::select! {
        ended = &mut driver => ended,
        // An agent that renews has a newer connection by now, and this one has drained.
        () = tokio::time::sleep(left) => {
            tracing::info!(cluster, agent = %agent.id, "the certificate of this tunnel has ended");
            connection.close();
            driver.await
        }
    };
    let ended = ended.unwrap_or(Ok(()));
    drop(guard);
    tracing::info!(cluster, agent = %agent.id, %lane, error = ended.err().map(|error| error.to_string()), "tunnel down");
}

/// Enters the connection into the table of those that serve.
async fn admit(
    hub: &Hub,
    connection: &Connection,
    agent: Result<Certified, ApiError>,
) -> Result<(Certified, Guard), ApiError> {
    let certified = agent?;
    let agent = &certified.agent;
    if hub.shutdown.is_cancelled() {
        return Err(stopping());
    }
    let open = hub.tunnels.connections().iter().filter(|connection| connection.owner == agent.id.0).count();
    if open >= MAX_TUNNELS {
        let detail = format!("this agent has {open} tunnels open, which is the limit");
        return Err(ApiError::too_many_requests(detail, Duration::from_secs(30)));
    }
    let guard = hub.tunnels.insert(&agent.cluster, agent.id.0, connection.lane(), connection.clone()).map_err(|taken| {
        let cluster = &agent.cluster;
        ApiError::conflict(format!(
            "cluster {cluster} is served by another agent ({}) at this moment; stop that one, or revoke it with: flotilla agents revoke {cluster}",
            taken.owner
        ))
        .retry_after(Duration::from_secs(30))
    })?;
    // Revoked between the look at the certificate and now: the table did not know the connection yet.
    match hub.store.agent(agent.id).await? {
        Some(now) if now.revoked_at_ms.is_none() => Ok((certified, guard)),
        _ => Err(revoked()),
    }
}

impl From<ApiError> for Refusal {
    fn from(error: ApiError) -> Self {
        Self { status: error.status, retry_after: error.retry_after, detail: error.detail }
    }
}

fn stopping() -> ApiError {
    ApiError::new(StatusCode::SERVICE_UNAVAILABLE, Code::ShuttingDown, "this hub is stopping")
        .retry_after(Duration::from_secs(1))
}

fn revoked() -> ApiError {
    ApiError::forbidden("this agent has been revoked; enrol it again with a new token")
}
