//! A hub, an agent, and a wire between them that can be cut, stalled or taken away.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use bytes::Bytes;
use flotilla_tunnel::carrier::{self, CONNECT_PATH, Carrier, Target};
use flotilla_tunnel::client::Connection;
use flotilla_tunnel::metrics::TunnelMetrics;
use flotilla_tunnel::pki::{self, CertificateAuthority, PeerIdentity, Roots};
use flotilla_tunnel::registry::Registry;
use flotilla_tunnel::serve::{self, Handler, Options};
use flotilla_tunnel::windows::Pings;
use flotilla_tunnel::{Body, Lane, PROTOCOL, Refusal, TunnelError, body};
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, ServerConfig};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// Longer than anything here can take on the slowest machine.
pub(crate) const LONG: Duration = Duration::from_secs(60);

pub(crate) const HOUR: Duration = Duration::from_secs(3600);

/// Fails a test that would otherwise hang.
pub(crate) async fn soon<F: Future>(what: &str, future: F) -> F::Output {
    match tokio::time::timeout(LONG, future).await {
        Ok(output) => output,
        Err(_) => panic!("did not happen in time: {what}"),
    }
}

/// Waits until a condition holds.
pub(crate) async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    soon(what, async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
}

/// An authority with the certificates of one hub and any agents.
pub(crate) struct Pki {
    pub(crate) ca: CertificateAuthority,
}

impl Pki {
    pub(crate) fn new() -> Self {
        let ca = CertificateAuthority::generate("Flotilla test CA").unwrap();
        Self { ca }
    }

    pub(crate) fn server(&self, address: SocketAddr, alpn: &[&[u8]]) -> ServerConfig {
        let issued = self.ca.issue_server(&[address.ip().to_string()], HOUR).unwrap();
        let client_ca = Some(self.ca.certificate_pem());
        pki::server_config(&issued.chain_pem, &issued.key_pem, client_ca, alpn).unwrap()
    }

    /// TLS of an agent with a new certificate.
    pub(crate) fn agent(&self, name: &str, owner: Uuid) -> Arc<ClientConfig> {
        let (csr, key) = pki::new_csr(name).unwrap();
        let uri = format!("flotilla:agent:{owner}");
        let issued = self.ca.issue_client(&csr, name, &uri, HOUR).unwrap();
        let client = Some((issued.certificate_pem.as_str(), key.as_str()));
        Arc::new(pki::client_config(Roots::Pem(self.ca.certificate_pem()), client, &[]).unwrap())
    }
}

/// A loopback address of this test's own, so that a port given up and taken again cannot be snatched in between.
pub(crate) fn own_address() -> Ipv4Addr {
    static NEXT: AtomicU16 = AtomicU16::new(1);
    let pid = std::process::id().to_le_bytes();
    let next = NEXT.fetch_add(1, Ordering::Relaxed).to_le_bytes();
    Ipv4Addr::new(127, pid[0].max(1), pid[1], next[0])
}

/// Passes TCP connections on, until told otherwise.
pub(crate) struct Wire {
    pub(crate) address: SocketAddr,
    to: SocketAddr,
    listening: Option<JoinHandle<()>>,
    cut: watch::Sender<u64>,
    stalled: watch::Sender<bool>,
}

impl Wire {
    pub(crate) async fn to(to: SocketAddr) -> Self {
        let mut wire = Self {
            address: (own_address(), 0).into(),
            to,
            listening: None,
            cut: watch::Sender::new(0),
            stalled: watch::Sender::new(false),
        };
        wire.come_back().await;
        wire
    }

    /// Every connection breaks. New ones are possible.
    pub(crate) fn cut(&self) {
        self.cut.send_modify(|count| *count += 1);
    }

    /// Nothing passes any more, and nobody is told.
    pub(crate) fn stall(&self) {
        self.stalled.send_replace(true);
    }

    /// Every connection breaks, and new ones are refused.
    pub(crate) async fn go_away(&mut self) {
        if let Some(listening) = self.listening.take() {
            listening.abort();
            let _ = listening.await;
        }
        self.cut();
    }

    pub(crate) async fn come_back(&mut self) {
        let listener = TcpListener::bind(self.address).await.unwrap();
        self.address = listener.local_addr().unwrap();
        let (to, cut, stalled) = (self.to, self.cut.clone(), self.stalled.clone());
        self.listening = Some(tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let mut cut = cut.subscribe();
                cut.mark_unchanged();
                let stalled = stalled.subscribe();
                tokio::spawn(async move {
                    tokio::select! {
                        () = pass(near, to, stalled) => {}
                        _ = cut.changed() => {}
                    }
                });
            }
        }));
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        if let Some(listening) = &self.listening {
            listening.abort();
        }
        self.cut();
    }
}

async fn pass(near: TcpStream, to: SocketAddr, stalled: watch::Receiver<bool>) {
    let Ok(far) = TcpStream::connect(to).await else {
        return;
    };
    let (near_read, near_write) = near.into_split();
    let (far_read, far_write) = far.into_split();
    tokio::join!(pass_one_way(near_read, far_write, stalled.clone()), pass_one_way(far_read, near_write, stalled));
}

async fn pass_one_way(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut stalled: watch::Receiver<bool>,
) {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let _ = stalled.wait_for(|stalled| !stalled).await;
        let Ok(count @ 1..) = from.read(&mut buffer).await else {
            let _ = to.shutdown().await;
            return;
        };
        let _ = stalled.wait_for(|stalled| !stalled).await;
        if to.write_all(&buffer[..count]).await.is_err() {
            return;
        }
    }
}

/// What a hub does with an agent that has connected.
#[derive(Clone)]
pub(crate) struct Manners {
    /// Offer HTTP/1.1 only, as a proxy in front of a hub would.
    pub(crate) http1_only: bool,
    /// Have no agent at all.
    pub(crate) refuse: Option<Refusal>,
    pub(crate) pings: Pings,
}

impl Default for Manners {
    fn default() -> Self {
        Self { http1_only: false, refuse: None, pings: rare_pings() }
    }
}

/// Pings that no test lives to see: what a test waits for must come about without their help.
pub(crate) fn rare_pings() -> Pings {
    Pings { interval: Duration::from_secs(600), timeout: LONG }
}

/// An agent's options without pings.
pub(crate) fn options() -> Options {
    Options { pings: rare_pings(), ..Options::default() }
}

/// The listener for agents of a hub.
pub(crate) struct Hub {
    pub(crate) pki: Arc<Pki>,
    pub(crate) registry: Registry,
    pub(crate) address: SocketAddr,
    /// How each tunnel ended.
    pub(crate) ended: mpsc::UnboundedReceiver<Result<(), TunnelError>>,
    state: HubState,
    listening: JoinHandle<()>,
}

#[derive(Clone)]
struct HubState {
    registry: Registry,
    manners: Manners,
    authority: Arc<Pki>,
    ended: mpsc::UnboundedSender<Result<(), TunnelError>>,
}

impl Hub {
    pub(crate) async fn start() -> Self {
        Self::with(Manners::default()).await
    }

    pub(crate) async fn with(manners: Manners) -> Self {
        let pki = Arc::new(Pki::new());
        let listener = TcpListener::bind((own_address(), 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (ended_sender, ended) = mpsc::unbounded_channel();
        let state = HubState {
            registry: Registry::new(TunnelMetrics::unregistered()),
            manners,
            authority: pki.clone(),
            ended: ended_sender,
        };
        let mut hub =
            Self { registry: state.registry.clone(), pki, address, ended, listening: tokio::spawn(async {}), state };
        hub.listening = hub.listen(listener, address);
        hub
    }

    fn listen(&self, listener: TcpListener, name: SocketAddr) -> JoinHandle<()> {
        let direct: &[&[u8]] = &[PROTOCOL.as_bytes(), b"http/1.1"];
        let alpn = if self.state.manners.http1_only { &direct[1..] } else { direct };
        let acceptor = TlsAcceptor::from(Arc::new(self.pki.server(name, alpn)));
        let state = self.state.clone();
        tokio::spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                tokio::spawn(accept(tcp, acceptor.clone(), state.clone()));
            }
        })
    }

    pub(crate) fn target(&self) -> Target {
        target(self.address)
    }

    /// The address of another listener of this hub, whose certificate is for `name`.
    pub(crate) async fn named(&self, name: SocketAddr) -> SocketAddr {
        let listener = TcpListener::bind((own_address(), 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        self.listen(listener, name);
        address
    }

    /// A wire to the hub, at an address for which the hub has a certificate.
    pub(crate) async fn wire(&self) -> Wire {
        let listener = TcpListener::bind((own_address(), 0)).await.unwrap();
        let wire = Wire::to(listener.local_addr().unwrap()).await;
        self.listen(listener, wire.address);
        wire
    }

    /// An agent's stream, once it is dialled.
    pub(crate) async fn dial(&self, name: &str, owner: Uuid, lane: Lane) -> Carrier {
        self.dial_at(&self.target(), name, owner, lane).await
    }

    async fn dial_at(&self, target: &Target, name: &str, owner: Uuid, lane: Lane) -> Carrier {
        let tls = self.pki.agent(name, owner);
        carrier::dial(target, &tls, lane).await.unwrap()
    }

    /// An agent that serves one connection, and the hub's handle on it.
    pub(crate) async fn agent<S: Handler>(&self, name: &str, service: S) -> Agent {
        self.agent_with(name, Uuid::now_v7(), service, options()).await
    }

    pub(crate) async fn agent_with<S: Handler>(&self, name: &str, owner: Uuid, service: S, options: Options) -> Agent {
        let io = self.dial(name, owner, options.lane).await;
        self.serve(io, name, owner, service, options).await
    }

    /// The same behind a wire.
    pub(crate) async fn agent_through<S: Handler>(
        &self,
        wire: &Wire,
        name: &str,
        service: S,
        options: Options,
    ) -> Agent {
        let owner = Uuid::now_v7();
        let io = self.dial_at(&target(wire.address), name, owner, options.lane).await;
        self.serve(io, name, owner, service, options).await
    }

    async fn serve<S: Handler>(&self, io: Carrier, name: &str, owner: Uuid, service: S, options: Options) -> Agent {
        let before = self.registry.connections().len();
        let shutdown = CancellationToken::new();
        let lane = options.lane;
        let serving = tokio::spawn(serve::serve_with(io, service, shutdown.clone(), options));
        until("the agent is in the table", || self.registry.connections().len() > before).await;
        Agent { connection: self.registry.pick(name, lane).unwrap(), owner, shutdown, serving }
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

pub(crate) fn target(address: SocketAddr) -> Target {
    format!("https://{address}").parse().unwrap()
}

pub(crate) struct Agent {
    pub(crate) connection: Connection,
    pub(crate) owner: Uuid,
    pub(crate) shutdown: CancellationToken,
    pub(crate) serving: JoinHandle<Result<(), TunnelError>>,
}

async fn accept(tcp: TcpStream, acceptor: TlsAcceptor, state: HubState) {
    let Ok(stream) = acceptor.accept(tcp).await else {
        return;
    };
    let session = stream.get_ref().1;
    let peer = session.peer_certificates().map(|chain| pki::peer_identity(&chain[0]).unwrap());
    if session.alpn_protocol() == Some(PROTOCOL.as_bytes()) {
        return tunnel(stream, peer.unwrap(), state).await;
    }
    let service = service_fn(move |request| route(request, peer.clone(), state.clone()));
    let _ = hyper::server::conn::http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades()
        .await;
}

async fn tunnel<IO>(io: IO, peer: PeerIdentity, state: HubState)
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let greeted = Connection::handshake_with(io, TunnelMetrics::unregistered(), state.manners.pings).await;
    let (connection, driver) = match greeted {
        Ok(pair) => pair,
        Err(error) => {
            let _ = state.ended.send(Err(error));
            return;
        }
    };
    let driving = tokio::spawn(driver);
    let owner = peer.uri.unwrap().rsplit(':').next().unwrap().parse().unwrap();
    let refusal = state.manners.refuse.clone();
    let entered = match refusal {
        Some(refusal) => Err(refusal),
        None => state
            .registry
            .insert(&peer.common_name, owner, connection.lane(), connection.clone())
            .map_err(|taken| Refusal { status: StatusCode::CONFLICT, detail: taken.to_string(), retry_after: None }),
    };
    let guard = match entered {
        Ok(guard) => Some(guard),
        Err(refusal) => {
            connection.refuse(refusal).await;
            None
        }
    };
    drop(connection);
    let ended = driving.await.unwrap();
    drop(guard);
    let _ = state.ended.send(ended);
}

async fn route(
    mut request: Request<Incoming>,
    peer: Option<PeerIdentity>,
    state: HubState,
) -> Result<Response<Body>, Infallible> {
    let answer = match request.uri().path() {
        CONNECT_PATH => connect(&mut request, peer, state),
        "/api/agents/ca" => Response::new(body::full(state.authority.ca.certificate_pem().to_owned())),
        "/api/agents/register" => {
            let sent = request.into_body().collect().await.unwrap().to_bytes();
            Response::new(body::full(sent))
        }
        _ => problem(StatusCode::FORBIDDEN, "the token is not valid"),
    };
    Ok(answer)
}

fn connect(request: &mut Request<Incoming>, peer: Option<PeerIdentity>, state: HubState) -> Response<Body> {
    let asked = flotilla_tunnel::upgrade::token(request.headers());
    assert_eq!(asked.unwrap(), PROTOCOL);
    let Some(peer) = peer else {
        return problem(StatusCode::UNAUTHORIZED, "no certificate");
    };
    if let Some(refusal) = &state.manners.refuse {
        return problem(refusal.status, &refusal.detail);
    }
    let on_upgrade = hyper::upgrade::on(request);
    tokio::spawn(async move {
        let upgraded = on_upgrade.await.unwrap();
        tunnel(TokioIo::new(upgraded), peer, state).await;
    });
    Response::builder()
        .status(StatusCode::SWITCHING_PROTOCOLS)
        .header("connection", "Upgrade")
        .header("upgrade", PROTOCOL)
        .body(body::empty())
        .unwrap()
}

fn problem(status: StatusCode, detail: &str) -> Response<Body> {
    let text = serde_json::json!({ "title": "Refused", "detail": detail }).to_string();
    Response::builder().status(status).body(body::full(text)).unwrap()
}

/// A handler from a closure.
pub(crate) fn handler<F, Fut>(answer: F) -> impl Handler + Sync
where
    F: Fn(Request<Incoming>) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = Response<Body>> + Send + 'static,
{
    service_fn(move |request| {
        let answer = answer.clone();
        async move { Ok::<_, Infallible>(answer(request).await) }
    })
}

/// A handler that answers everything with `hello`.
pub(crate) fn greeter() -> impl Handler + Sync {
    handler(|_| async { Response::new(body::full("hello")) })
}

pub(crate) fn get(path: &str) -> Request<Body> {
    Request::get(path).body(body::empty()).unwrap()
}

pub(crate) async fn text<B>(response: Response<B>) -> String
where
    B: http_body::Body<Data = Bytes>,
    B::Error: std::fmt::Debug,
{
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Sends when it is dropped.
pub(crate) struct OnDrop(pub(crate) mpsc::UnboundedSender<()>);

impl Drop for OnDrop {
    fn drop(&mut self) {
        let _ = self.0.send(());
    }
}

/// A body that yields 16 KiB pieces for ever, and says when it is dropped.
pub(crate) fn endless(dropped: Option<OnDrop>) -> Body {
    let piece = Bytes::from(vec![b'x'; 16 * 1024]);
    let frames = futures_util::stream::repeat_with(move || {
        let _held = &dropped;
        Ok::<_, Infallible>(http_body::Frame::data(piece.clone()))
    });
    body::boxed(http_body_util::StreamBody::new(frames))
}

/// A body that yields one piece, then nothing, and never ends.
pub(crate) fn watch_like(dropped: Option<OnDrop>) -> Body {
    use futures_util::StreamExt;
    let first = futures_util::stream::once(async { Ok::<_, Infallible>(http_body::Frame::data(Bytes::from("first"))) });
    let rest = futures_util::stream::once(async move {
        let _held = dropped;
        std::future::pending().await
    });
    body::boxed(http_body_util::StreamBody::new(Box::pin(first.chain(rest))))
}
