//! The end of an act: whatever happens to an answer (it ends, it breaks off, nobody reads on, the hub panics), its
//! outcome row is written, once.
//!
//! Must not know: what was asked, or how rows are kept.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use flotilla_store::audit::Pending;
use flotilla_tunnel::body::{Body, BoxError, boxed};
use flotilla_tunnel::client::StreamLease;
use flotilla_tunnel::upgrade::Transferred;
use flotilla_types::audit::Outcome;
use http::header::CONTENT_LENGTH;
use http::{Response, StatusCode};
use http_body::{Frame, SizeHint};
use parking_lot::Mutex;

use crate::streams::Permit;

/// Answers of at most this many bytes, known from their `Content-Length`, do not count as open streams: by the time
/// their head is here they have left the cluster.
const SMALL: u64 = 16 * 1024;

/// Owns an attempted row until its outcome is known. Dropped before that, the act was aborted.
pub(crate) struct Trail {
    pending: Option<Pending>,
    status: u16,
    bytes: u64,
}

impl Trail {
    pub(crate) fn new(pending: Pending) -> Self {
        Self { pending: Some(pending), status: 0, bytes: 0 }
    }

    /// There was no answer.
    pub(crate) fn failed(mut self, status: u16, reason: String) {
        self.record(Outcome::Failed, status, reason);
    }

    /// The answer has ended.
    fn ended(mut self) {
        let status = self.status;
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

/// Lets the guards travel with the answer. A small answer to a read passes as it is.
pub(crate) fn attend(
    mut response: Response<Body>,
    mut trail: Option<Trail>,
    permit: Permit,
    head: bool,
) -> Response<Body> {
    let status = response.status();
    if let Some(trail) = &mut trail {
        trail.status = status.as_u16();
    }
    if status == StatusCode::SWITCHING_PROTOCOLS {
        let lease = response.extensions_mut().remove::<StreamLease>();
        response.extensions_mut().insert(UpgradeGuard::new(Held { trail, permit: Some(permit), lease }));
        return response;
    }
    let expected = if head { Some(0) } else { content_length(&response) };
    let ended = expected == Some(0) || http_body::Body::is_end_stream(response.body());
    if ended {
        if let Some(trail) = trail {
            trail.ended();
        }
        return response;
    }
    if trail.is_none() && expected.is_some_and(|length| length <= SMALL) {
        return response;
    }
    response.map(|inner| boxed(Attended { inner, trail, permit: Some(permit), seen: 0, expected }))
}

fn content_length(response: &Response<Body>) -> Option<u64> {
    response.headers().get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// A body that notices its own end.
struct Attended {
    inner: Body,
    trail: Option<Trail>,
    permit: Option<Permit>,
    seen: u64,
    /// `Content-Length`: a server that has sent it all does not ask for more, so the end must be known here.
    expected: Option<u64>,
}

impl Attended {
    fn count(&mut self, frame: &Frame<Bytes>) {
        self.seen += frame.data_ref().map_or(0, |data| data.len() as u64);
        if let Some(trail) = &mut self.trail {
            trail.bytes = self.seen;
        }
        let complete = self.expected.is_some_and(|expected| self.seen >= expected);
        if complete || http_body::Body::is_end_stream(&self.inner) {
            self.end();
        }
    }

    fn end(&mut self) {
        self.permit = None;
        if let Some(trail) = self.trail.take() {
            trail.ended();
        }
    }
}

impl http_body::Body for Attended {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let next = ready!(Pin::new(&mut self.inner).poll_frame(cx));
        match &next {
            Some(Ok(frame)) => self.count(frame),
            None => self.end(),
            Some(Err(error)) => {
                self.permit = None;
                if let Some(trail) = self.trail.take() {
                    trail.broken(error);
                }
            }
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

/// Travels with a `101 Switching Protocols` in the answer's extensions: whoever joins the two connections takes it out
/// and says how many bytes went through. Dropped without that, the act was aborted.
#[derive(Clone)]
pub struct UpgradeGuard(Arc<Mutex<Held>>);

/// What ends with an upgraded connection.
#[derive(Default)]
struct Held {
    trail: Option<Trail>,
    permit: Option<Permit>,
    /// Counts the stream in its tunnel connection.
    lease: Option<StreamLease>,
}

impl UpgradeGuard {
    fn new(held: Held) -> Self {
        Self(Arc::new(Mutex::new(held)))
    }

    /// Both directions have ended, in order or not.
    pub fn finish(&self, ended: &std::io::Result<Transferred>) {
        let Some(mut trail) = self.release() else { return };
        match ended {
            Ok(transferred) => {
                trail.bytes = transferred.sent + transferred.received;
                trail.ended();
            }
            Err(error) => {
                let status = trail.status;
                trail.record(Outcome::Aborted, status, format!("the connection broke: {error}"));
            }
        }
    }

    fn release(&self) -> Option<Trail> {
        let Held { trail, permit, lease } = std::mem::take(&mut *self.0.lock());
        drop((permit, lease));
        trail
    }
}
