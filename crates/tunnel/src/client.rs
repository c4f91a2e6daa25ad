//! The hub's end of a tunnel connection: the HTTP/2 client.
//!
//! Must not know: which agent is at the other end, or what the requests mean.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, Response, StatusCode, Uri, Version};
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;
use hyper::client::conn::http2::{Builder, Connection as HttpConnection, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;

use crate::body::{Body, BoxError, NonEmpty};
use crate::error::{Refusal, TunnelError};
use crate::lane::Lane;
use crate::link::{Control, Link};
use crate::metrics::TunnelMetrics;
use crate::upgrade::Requested;
use crate::welcome::{self, Message};
use crate::windows::{self, MAX_REQUESTS, Pings};

/// How long the first exchange may take.
const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(10);

/// How long a refused agent has to read why.
const REFUSAL_DEADLINE: Duration = Duration::from_secs(2);

type Sender = SendRequest<NonEmpty<Body>>;
type Driver<IO> = HttpConnection<TokioIo<Link<IO>>, NonEmpty<Body>, TokioExecutor>;

/// A cheap handle on one agent connection. When the last handle is dropped the connection takes no more requests, and
/// ends with the last of those under way.
#[derive(Clone)]
pub struct Connection {
    inner: Arc<Inner>,
}

struct Inner {
    sender: Sender,
    lane: Lane,
    shared: Arc<Shared>,
}

/// What outlives the last handle: responses that are still being read count too.
struct Shared {
    in_flight: AtomicUsize,
    retired: CancellationToken,
    control: Arc<Control>,
    metrics: TunnelMetrics,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.shared.retired.cancel();
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("lane", &self.inner.lane)
            .field("in_flight", &self.in_flight())
            .field("closed", &self.is_closed())
            .finish()
    }
}

/// Why a request was not answered.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// The connection is closed or draining. Nothing was sent: try another connection.
    #[error("the tunnel connection is closed")]
    Closed,
    /// The connection carries as many requests as it may ([`MAX_REQUESTS`]). Nothing was sent.
    #[error("the tunnel connection already carries {MAX_REQUESTS} requests")]
    Saturated,
    /// The exchange failed after it began.
    #[error("the request through the tunnel failed")]
    Http(#[source] hyper::Error),
}

impl From<hyper::Error> for SendError {
    fn from(error: hyper::Error) -> Self {
        // hyper says "canceled" only of a request that it never handed to the connection.
        if error.is_canceled() || was_refused(&error) { Self::Closed } else { Self::Http(error) }
    }
}

/// Whether the peer guarantees that it has not looked at the request (RFC 9113 section 8.7).
fn was_refused(error: &hyper::Error) -> bool {
    use std::error::Error as _;
    error.source().and_then(|source| source.downcast_ref::<h2::Error>()).and_then(h2::Error::reason)
        == Some(h2::Reason::REFUSED_STREAM)
}

impl Connection {
    /// Makes the first exchange on a connection that an agent has opened. The future that comes with it drives the
    /// connection: run it until it ends, which is when the link is gone.
    ///
    /// # Errors
    /// The peer is not a tunnel agent, leaves, or takes more than 10 s.
    pub async fn handshake<IO>(
        io: IO,
        metrics: TunnelMetrics,
    ) -> Result<(Self, impl Future<Output = Result<(), TunnelError>> + use<IO>), TunnelError>
    where
        IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        Self::handshake_with(io, metrics, Pings::default()).await
    }

    /// [`Connection::handshake`] with other ping times.
    ///
    /// # Errors
    /// As there.
    pub async fn handshake_with<IO>(
        io: IO,
        metrics: TunnelMetrics,
        pings: Pings,
    ) -> Result<(Self, impl Future<Output = Result<(), TunnelError>> + use<IO>), TunnelError>
    where
        IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let control = Arc::new(Control::default());
        let link = Link::new(io, control.clone(), metrics.clone());
        let greeting = greet(link, pings, &metrics);
        let Greeted { sender, lane, standing, driver } =
            tokio::time::timeout(HANDSHAKE_DEADLINE, greeting).await.map_err(|_| TunnelError::Handshake)??;
        let shared =
            Arc::new(Shared { in_flight: AtomicUsize::new(0), retired: CancellationToken::new(), control, metrics });
        let session = Session { pinger: sender.clone(), standing, pings, shared: shared.clone() };
        let inner = Arc::new(Inner { sender, lane, shared });
        Ok((Self { inner }, session.run(driver)))
    }

    /// Sends a request: an ordinary one, or what [`crate::upgrade::to_connect`] made. Of the URI, path and query go
    /// out, byte for byte.
    ///
    /// Dropping the future, or the body of the response, resets the stream. The answer to a CONNECT carries a
    /// [`StreamLease`] in its extensions.
    ///
    /// # Errors
    /// See [`SendError`].
    pub async fn send(&self, mut request: Request<Body>) -> Result<Response<Body>, SendError> {
        let lease = self.lease()?;
        let requested = Requested::by(&request);
        to_origin_form(&mut request);
        // A handle of its own for each request is two atomic additions; the alternative is a lock.
        let mut sender = self.inner.sender.clone();
        let response = sender.send_request(request.map(NonEmpty)).await?;
        Ok(match requested {
            None => response.map(|body| Body::new(Leased { body, _lease: lease })),
            Some(requested) => upgraded(response, requested, lease),
        })
    }

    /// Streams under way: requests waiting for an answer, answers being read, upgraded streams whose [`StreamLease`]
    /// is held.
    pub fn in_flight(&self) -> usize {
        self.inner.shared.in_flight.load(Ordering::Relaxed)
    }

    /// Whether the connection takes no more requests. Streams under way may still be alive.
    pub fn is_closed(&self) -> bool {
        let shared = &self.inner.shared;
        shared.control.is_cut() || shared.retired.is_cancelled() || self.inner.sender.is_closed()
    }

    /// Cuts the connection at once, with every stream on it.
    pub fn close(&self) {
        if !self.inner.shared.control.is_cut() {
            self.inner.shared.metrics.cut();
        }
        self.inner.shared.control.cut();
    }

    /// Takes no more requests; the connection ends with the last of those under way.
    pub fn retire(&self) {
        self.inner.shared.retired.cancel();
    }

    /// What the agent opened the connection for.
    pub fn lane(&self) -> Lane {
        self.inner.lane
    }

    /// Tells the agent why the hub will not have it, then cuts the connection. Takes at most 2 s.
    pub async fn refuse(&self, refusal: Refusal) {
        self.inner.shared.metrics.refused();
        let request = welcome::request(&Message::Refused(refusal));
        let told = tokio::time::timeout(REFUSAL_DEADLINE, self.send(request)).await;
        if !matches!(told, Ok(Ok(_))) {
            tracing::debug!("an agent left before it was told why it is refused");
        }
        self.close();
    }

    fn lease(&self) -> Result<Lease, SendError> {
        let shared = &self.inner.shared;
        if self.is_closed() {
            return Err(SendError::Closed);
        }
        let before = shared.in_flight.fetch_add(1, Ordering::Relaxed);
        shared.metrics.stream_opened();
        let lease = Lease { shared: shared.clone() };
        if before >= MAX_REQUESTS as usize {
            shared.metrics.saturated();
            return Err(SendError::Saturated);
        }
        Ok(lease)
    }
}

/// What the first exchange yields.
struct Greeted<IO: AsyncRead + AsyncWrite + Unpin + Send + 'static> {
    sender: Sender,
    lane: Lane,
    /// Ends when the agent begins to drain.
    standing: Incoming,
    driver: Driver<IO>,
}

/// The first exchange. Its answer shows that the agent's SETTINGS have arrived, without which extended CONNECT must not
/// be used (RFC 8441 section 3).
async fn greet<IO>(link: Link<IO>, pings: Pings, metrics: &TunnelMetrics) -> Result<Greeted<IO>, TunnelError>
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut builder = Builder::new(TokioExecutor::new());
    windows::apply_client(&mut builder, pings);
    let (mut sender, mut driver) = builder.handshake(TokioIo::new(link)).await?;
    let started = Instant::now();
    let hello = sender.send_request(welcome::request(&Message::Hello).map(NonEmpty));
    let response = tokio::select! {
        response = hello => response?,
        ended = &mut driver => {
            ended?;
            return Err(TunnelError::Handshake);
        }
    };
    metrics.pinged(started.elapsed());
    if !driver.is_extended_connect_protocol_enabled() {
        return Err(TunnelError::NotATunnel);
    }
    Ok(Greeted { sender, lane: welcome::lane(&response), standing: response.into_body(), driver })
}

/// What runs as long as the link is there.
struct Session {
    pinger: Sender,
    standing: Incoming,
    pings: Pings,
    shared: Arc<Shared>,
}

impl Session {
    async fn run<IO>(mut self, driver: Driver<IO>) -> Result<(), TunnelError>
    where
        IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        self.shared.metrics.connected();
        let shared = self.shared.clone();
        let _open = Open(shared.metrics.clone());
        let retired = shared.retired.clone();
        let mut result = tokio::select! {
            ended = driver => ended.map_err(TunnelError::from),
            () = retired.cancelled() => Ok(()),
            () = welcome::drained(&mut self.standing) => Ok(()),
            () = ping(&mut self.pinger, self.pings, &self.shared.metrics) => Err(TunnelError::PingTimeout),
        };
        // hyper's driver is gone by now, so no more requests go out; those under way run on in hyper's own task, until
        // nothing holds a stream or a handle any more.
        drop(self);
        shared.retired.cancel();
        if matches!(result, Err(TunnelError::PingTimeout)) {
            shared.metrics.ping_timed_out();
            shared.control.cut();
        }
        shared.control.gone().await;
        if shared.control.is_cut() && !matches!(result, Err(TunnelError::PingTimeout)) {
            result = Err(TunnelError::Closed);
        }
        result
    }
}

/// Asks the agent itself from time to time; returns when it does not answer. HTTP/2's own pings find a dead link, these
/// find an agent that hangs, and measure the way through it.
async fn ping(sender: &mut Sender, pings: Pings, metrics: &TunnelMetrics) {
    loop {
        tokio::time::sleep(pings.interval).await;
        let started = Instant::now();
        let request = welcome::request(&Message::Ping).map(NonEmpty);
        match tokio::time::timeout(pings.timeout, sender.send_request(request)).await {
            Ok(Ok(_)) => metrics.pinged(started.elapsed()),
            // The connection is ending; its driver knows why.
            Ok(Err(_)) => std::future::pending().await,
            Err(_) => return,
        }
    }
}

/// Counts an open connection.
struct Open(TunnelMetrics);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.disconnected();
    }
}

/// In HTTP/2 terms, a request forwarded from HTTP/1.1: path and query, no authority (RFC 9113 section 8.3.1).
fn to_origin_form(request: &mut Request<Body>) {
    *request.version_mut() = Version::HTTP_11;
    let uri = request.uri();
    if uri.authority().is_none() && uri.path_and_query().is_some() {
        return;
    }
    let origin = match uri.path_and_query() {
        Some(path) => Uri::from(path.clone()),
        None => Uri::from_static("/"),
    };
    *request.uri_mut() = origin;
}

fn upgraded(response: Response<Incoming>, requested: Requested, lease: Lease) -> Response<Body> {
    let opened = response.status() == StatusCode::OK;
    let (mut parts, body) = response.into_parts();
    parts.extensions.insert(requested);
    if opened {
        parts.extensions.insert(StreamLease { _lease: Arc::new(lease) });
        return Response::from_parts(parts, crate::body::empty());
    }
    Response::from_parts(parts, Body::new(Leased { body, _lease: lease }))
}

/// Counts an upgraded stream as in flight. Found in the extensions of the answer to a CONNECT: hold it as long as the
/// stream lives.
#[derive(Clone)]
pub struct StreamLease {
    _lease: Arc<Lease>,
}

/// One stream in flight.
struct Lease {
    shared: Arc<Shared>,
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.shared.in_flight.fetch_sub(1, Ordering::Relaxed);
        self.shared.metrics.stream_closed();
    }
}

/// A response body that counts as in flight until it is dropped.
struct Leased {
    body: Incoming,
    _lease: Lease,
}

impl http_body::Body for Leased {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        Pin::new(&mut self.body).poll_frame(cx).map_err(Into::into)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
