//! The agent's end of a tunnel connection: the HTTP/2 server.
//!
//! Must not know: what the service does with a request.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{Either, MapOk, Ready, TryFutureExt, ready};
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http2::Builder;
use hyper::service::Service;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::body::{Body, NonEmpty};
use crate::error::{Refusal, TunnelError};
use crate::lane::Lane;
use crate::welcome::{self, Message};
use crate::windows::{self, Pings};

/// What an agent answers requests with.
pub trait Handler:
    Service<Request<Incoming>, Response = Response<Body>, Error = Infallible, Future: Send + 'static>
    + Clone
    + Send
    + 'static
{
}

impl<S> Handler for S where
    S: Service<Request<Incoming>, Response = Response<Body>, Error = Infallible, Future: Send + 'static>
        + Clone
        + Send
        + 'static
{
}

/// How a connection is served.
#[derive(Clone, Debug)]
pub struct Options {
    /// What it is for; the hub is told.
    pub lane: Lane,
    /// How long streams under way may go on after shutdown has begun.
    pub drain: Duration,
    /// How a dead hub is noticed.
    pub pings: Pings,
    /// Where what the hub says of this connection is to be seen.
    pub standing: watch::Sender<Standing>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            lane: Lane::Interactive,
            drain: Duration::from_secs(25),
            pings: Pings::default(),
            standing: watch::Sender::new(Standing::Waiting),
        }
    }
}

/// What the hub has said of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Nothing yet.
    Waiting,
    /// The hub uses it.
    Accepted,
    /// The hub will not have it.
    Refused(Refusal),
}

/// Serves requests that come in on a dialled connection, until it ends. After `shutdown` no new ones are taken, and
/// those under way have 25 s.
///
/// # Errors
/// The connection broke, or the hub refused it.
pub async fn serve<IO, S>(io: IO, service: S, shutdown: CancellationToken) -> Result<(), TunnelError>
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: Handler,
{
    serve_with(io, service, shutdown, Options::default()).await
}

/// [`serve`] with choices.
///
/// # Errors
/// As there.
pub async fn serve_with<IO, S>(
    io: IO,
    service: S,
    shutdown: CancellationToken,
    options: Options,
) -> Result<(), TunnelError>
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: Handler,
{
    let standing = Arc::new(options.standing);
    let front = Front { service, lane: options.lane, standing: standing.clone(), draining: shutdown.clone() };
    let mut builder = Builder::new(TokioExecutor::new());
    windows::apply_server(&mut builder, options.pings);
    let mut connection = pin!(builder.serve_connection(TokioIo::new(io), front));
    let ended = tokio::select! {
        ended = connection.as_mut() => Some(ended),
        () = shutdown.cancelled() => None,
    };
    let ended = match ended {
        Some(ended) => ended,
        None => {
            connection.as_mut().graceful_shutdown();
            tokio::time::timeout(options.drain, connection).await.unwrap_or_else(|_| {
                tracing::info!(drain = ?options.drain, "streams were cut: they did not end in time");
                Ok(())
            })
        }
    };
    if let Standing::Refused(refusal) = &*standing.borrow() {
        return Err(refusal.clone().into());
    }
    ended.map_err(TunnelError::from)
}

/// Answers the hub's own messages and passes all else on.
struct Front<S> {
    service: S,
    lane: Lane,
    standing: Arc<watch::Sender<Standing>>,
    draining: CancellationToken,
}

type Answer = Result<Response<NonEmpty<Body>>, Infallible>;
type Wrap = fn(Response<Body>) -> Response<NonEmpty<Body>>;

impl<S: Handler> Service<Request<Incoming>> for Front<S> {
    type Response = Response<NonEmpty<Body>>;
    type Error = Infallible;
    type Future = Either<Ready<Answer>, MapOk<S::Future, Wrap>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let wrap: Wrap = |response| response.map(NonEmpty);
        let Some(message) = welcome::read(&request) else {
            return Either::Right(self.service.call(request).map_ok(wrap));
        };
        let answer = match message {
            Message::Hello => welcome::standing_answer(self.lane, self.draining.clone()),
            Message::Ping | Message::Refused(_) => welcome::answer(self.lane),
        };
        self.note(message);
        Either::Left(ready(Ok(wrap(answer))))
    }
}

impl<S> Front<S> {
    fn note(&self, message: Message) {
        let now = match message {
            Message::Hello | Message::Ping => Standing::Accepted,
            Message::Refused(refusal) => Standing::Refused(refusal),
        };
        self.standing.send_if_modified(|standing| {
            let changed = *standing != now;
            *standing = now;
            changed
        });
    }
}
