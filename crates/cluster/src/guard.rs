//! The end of an act: whatever happens to an answer (it ends, it breaks off, nobody reads on, the hub panics), its
//! outcome row is written, once.
//!
//! Must not know: what was asked, or how rows are kept.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use flotilla_recording::Undecodable;
use flotilla_store::audit::Pending;
use flotilla_tunnel::body::{Body, BoxError, boxed};
use flotilla_tunnel::client::StreamLease;
use flotilla_tunnel::upgrade::{self, Transferred};
use flotilla_types::audit::Outcome;
use http::header::CONTENT_LENGTH;
use http::{Response, StatusCode};
use http_body::{Frame, SizeHint};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::diff::Comparison;
use crate::live::{About, Cut, LiveStream, LiveStreams, Registered};
use crate::streams::Permit;
use crate::tape::{Running, Tape, Tapped};

/// Answers of at most this many bytes, known from their `Content-Length`, do not count as open streams: by the time
/// their head is here they have left the cluster.
const SMALL: u64 = 16 * 1024;

/// Owns an attempted row until its outcome is known. Dropped before that, the act was aborted.
pub(crate) struct Trail {
    pending: Option<Pending>,
    status: u16,
    bytes: u64,
    comparison: Option<Box<Comparison>>,
}

impl Trail {
    pub(crate) fn new(pending: Pending) -> Self {
        Self { pending: Some(pending), status: 0, bytes: 0, comparison: None }
    }

    /// The outcome is to say what changed.
    pub(crate) fn compare(&mut self, comparison: Comparison) {
        self.comparison = Some(Box::new(comparison));
    }

    /// The head of the answer is here.
    fn answered(&mut self, response: &Response<Body>) {
        self.status = response.status().as_u16();
        if !response.status().is_success() {
            self.comparison = None;
        }
        if let Some(comparison) = &mut self.comparison {
            comparison.answered(response.headers());
        }
    }

    /// There was no answer.
    pub(crate) fn failed(mut self, status: u16, reason: String) {
        self.record(Outcome::Failed, status, reason);
    }

    /// The answer has ended.
    fn ended(mut self) {
        let status = self.status;
        if let (Some(comparison), Some(pending)) = (self.comparison.take(), &mut self.pending) {
            pending.changed(&comparison.finish());
        }
        if status < 400 {
            self.record(Outcome::Succeeded, status, String::new());
        } else {
            self.record(Outcome::Failed, status, reason_of(status).to_owned());
        }
    }

    fn broken(mut self, error: &BoxError) {
        let status = self.status;
        self.record(Outcome::Aborted, status, format!("the answer broke off: {error}"));
    }

    fn record(&mut self, outcome: Outcome, status: u16, reason: String) {
        if let Some(pending) = self.pending.take() {
            pending.finish(outcome, status, self.bytes, reason);
        }
    }
}

impl Drop for Trail {
    fn drop(&mut self) {
        let status = self.status;
        let reason =
            if status == 0 { "cut off before there was an answer" } else { "cut off before the end of the answer" };
        self.record(Outcome::Aborted, status, reason.to_owned());
    }
}

/// The reason that the API server gives with a status
/// (`StatusReason` in `k8s.io/apimachinery/pkg/apis/meta/v1/types.go`).
#[must_use]
pub fn reason_of(status: u16) -> &'static str {
    match status {
        400 => "BadRequest",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "NotFound",
        405 => "MethodNotAllowed",
        406 => "NotAcceptable",
        409 => "Conflict",
        410 => "Gone",
        413 => "RequestEntityTooLarge",
        415 => "UnsupportedMediaType",
        422 => "Invalid",
        429 => "TooManyRequests",
        500 => "InternalError",
        503 => "ServiceUnavailable",
        504 => "Timeout",
        _ => "Unknown",
    }
}

/// How long the two ends of an upgraded connection may take to switch protocols after their 101.
const SWITCH_DEADLINE: Duration = Duration::from_secs(30);

/// What ends with an answer.
pub(crate) struct Attendance {
    pub(crate) trail: Option<Trail>,
    pub(crate) permit: Permit,
    pub(crate) tape: Option<Tape>,
    /// It answers a HEAD.
    pub(crate) head: bool,
}

/// Lets the guards travel with the answer, and registers it while it is open. A small answer to a read passes as it is.
///
/// # Errors
/// A shell was opened that must be recorded and cannot be.
pub(crate) fn attend(
    mut response: Response<Body>,
    attendance: Attendance,
    live: &LiveStreams,
    about: About,
) -> Result<Response<Body>, Undecodable> {
    let Attendance { mut trail, permit, tape, head } = attendance;
    let status = response.status();
    if let Some(trail) = &mut trail {
        trail.answered(&response);
    }
    if status == StatusCode::SWITCHING_PROTOCOLS {
        let running = match tape.map(|tape| tape.start(response.headers())).transpose() {
            Ok(running) => running.flatten(),
            Err(error) => {
                if let Some(trail) = trail {
                    trail.failed(502, error.to_string());
                }
                return Err(error);
            }
        };
        let extensions = response.extensions_mut();
        let (lease, cluster) = (extensions.remove::<StreamLease>(), extensions.remove::<OnUpgrade>());
        let open = Open { registered: live.register(about), cluster, running, _permit: permit, _lease: lease };
        response.extensions_mut().insert(UpgradeGuard(Arc::new(Mutex::new(Some(Held { open, trail })))));
        return Ok(response);
    }
    let expected = if head { Some(0) } else { content_length(&response) };
    let ended = expected == Some(0) || http_body::Body::is_end_stream(response.body());
    if ended {
        if let Some(trail) = trail {
            trail.ended();
        }
        return Ok(response);
    }
    if trail.is_none() && expected.is_some_and(|length| length <= SMALL) {
        return Ok(response);
    }
    let open = Some((live.register(about), permit));
    Ok(response.map(|inner| boxed(Attended { inner, trail, open, seen: 0, expected })))
}

fn content_length(response: &Response<Body>) -> Option<u64> {
    response.headers().get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// A body that notices its own end.
struct Attended {
    inner: Body,
    trail: Option<Trail>,
    /// Until the end is known.
    open: Option<(Registered, Permit)>,
    seen: u64,
    /// `Content-Length`: a server that has sent it all does not ask for more, so the end must be known here.
    expected: Option<u64>,
}

impl Attended {
    fn count(&mut self, frame: &Frame<Bytes>) {
        let length = frame.data_ref().map_or(0, Bytes::len);
        self.seen += length as u64;
        if let Some((registered, _)) = &self.open {
            registered.stream().count_received(length);
        }
        if let Some(trail) = &mut self.trail {
            trail.bytes = self.seen;
            if let (Some(comparison), Some(piece)) = (&mut trail.comparison, frame.data_ref()) {
                comparison.push(piece);
            }
        }
        let complete = self.expected.is_some_and(|expected| self.seen >= expected);
        if complete || http_body::Body::is_end_stream(&self.inner) {
            self.end();
        }
    }

    fn end(&mut self) {
        self.open = None;
        if let Some(trail) = self.trail.take() {
            trail.ended();
        }
    }

    fn broken(&mut self, error: &BoxError) {
        self.open = None;
        if let Some(trail) = self.trail.take() {
            trail.broken(error);
        }
    }
}

impl http_body::Body for Attended {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if let Some((registered, _)) = &self.open
            && let Poll::Ready(cut) = registered.stream().poll_cut(cx)
        {
            let error: BoxError = cut.into();
            self.broken(&error);
            self.inner = flotilla_tunnel::body::empty();
            return Poll::Ready(Some(Err(error)));
        }
        let next = ready!(Pin::new(&mut self.inner).poll_frame(cx));
        match &next {
            Some(Ok(frame)) => self.count(frame),
            None => self.end(),
            Some(Err(error)) => self.broken(error),
        }
        Poll::Ready(next)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// Travels with a `101 Switching Protocols` in the answer's extensions and holds the cluster's end of the connection:
/// joining through it is the only way in, so nothing goes past the registry, the recording and the audit log. Dropped
/// without that, the act was aborted.
#[derive(Clone)]
pub struct UpgradeGuard(Arc<Mutex<Option<Held>>>);

struct Held {
    open: Open,
    trail: Option<Trail>,
}

/// What there is while an upgraded connection is open.
struct Open {
    registered: Registered,
    cluster: Option<OnUpgrade>,
    running: Option<Running>,
    _permit: Permit,
    /// Counts the stream in its tunnel connection.
    _lease: Option<StreamLease>,
}

impl UpgradeGuard {
    /// Joins the client's connection with the cluster's until one of them ends or the stream is cut, and writes the
    /// outcome row. To be spawned: the client's end switches only after its answer has been sent.
    pub async fn join<C>(self, client: impl Future<Output = io::Result<C>>)
    where
        C: AsyncRead + AsyncWrite + Unpin,
    {
        let Some(Held { open, trail }) = self.0.lock().take() else { return };
        let stream = Arc::clone(open.registered.stream());
        let ended = open.join(client, &stream).await;
        let view = stream.view();
        if let Some(mut trail) = trail {
            trail.bytes = view.sent + view.received;
            match ended {
                Ok(_) => trail.ended(),
                Err(reason) => {
                    let status = trail.status;
                    trail.record(Outcome::Aborted, status, reason);
                }
            }
        }
    }
}

impl Open {
    /// Says why, if it was not an ordinary end.
    async fn join<C>(
        self,
        client: impl Future<Output = io::Result<C>>,
        stream: &Arc<LiveStream>,
    ) -> Result<Transferred, String>
    where
        C: AsyncRead + AsyncWrite + Unpin,
    {
        let Some(cluster) = self.cluster else { return Err("the cluster did not switch protocols".to_owned()) };
        let broke = |error: io::Error| format!("the connection broke: {error}");
        let cluster = async { cluster.await.map(TokioIo::new).map_err(io::Error::other) };
        let both = tokio::time::timeout(SWITCH_DEADLINE, async { tokio::try_join!(client, cluster) });
        let (client, mut cluster) = tokio::select! {
            both = both => both.map_err(|_| "an end did not switch protocols".to_owned())?.map_err(broke)?,
            cut = when_cut(stream) => return Err(cut.to_string()),
        };
        let mut client = Tapped::new(client, Arc::clone(stream), self.running);
        let ended = tokio::select! {
            ended = upgrade::splice(&mut client, &mut cluster) => ended.map_err(broke),
            cut = when_cut(stream) => Err(cut.to_string()),
        };
        client.end(ended.as_ref().err().cloned().unwrap_or_default()).await;
        ended
    }
}

async fn when_cut(stream: &LiveStream) -> Cut {
    std::future::poll_fn(|cx| stream.poll_cut(cx)).await
}
