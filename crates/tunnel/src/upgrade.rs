//! HTTP upgrades through HTTP/2: extended CONNECT (RFC 8441) on the tunnel, HTTP/1.1 `Upgrade` at both ends.
//!
//! ```text
//!   client          hub                      agent                   upstream
//!   Upgrade: x ──▶  to_connect ── CONNECT ─▶ from_connect, to_http1 ─▶ Upgrade: x
//!   101        ◀──  to_switching_protocols ◀─ to_connect_response ◀──  101
//!   bytes      ◀──▶ splice      ── DATA ───▶ splice                ◀─▶ bytes
//! ```
//!
//! Three things are easy to get wrong. `Content-Length: 0` on a CONNECT makes every DATA frame after it a protocol
//! error, so lengths go. A 2xx answer to CONNECT *is* the tunnel, so an upstream that ignores the upgrade and answers
//! 200 travels under another status and gets its own back at the hub. The `Upgrade` header cannot pass through
//! HTTP/2, so the hub remembers which token it asked for.
//!
//! Must not know: what the upgraded bytes mean.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::header::{
    CONNECTION, CONTENT_LENGTH, HeaderMap, HeaderName, HeaderValue, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE,
    TRANSFER_ENCODING, UPGRADE,
};
use http::{Method, Request, Response, StatusCode, Version};
use hyper::ext::Protocol;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::body::{self, Body};

/// Header of an extended CONNECT that carries the method of the request it stands for.
pub const METHOD_HEADER: &str = "flotilla-method";

/// Header of an answer to CONNECT that carries the real status, a 2xx that is not a tunnel.
const STATUS_HEADER: &str = "flotilla-status";

/// The status under which such an answer travels. Any that is neither 1xx nor 2xx would do.
const STATUS_IN_DISGUISE: StatusCode = StatusCode::MISDIRECTED_REQUEST;

/// How long the two ends of a bridge may take to switch protocols after their 101.
const SWITCH_DEADLINE: Duration = Duration::from_secs(30);

/// Bytes buffered in each direction of a splice.
const SPLICE_BUFFER: usize = 32 * 1024;

/// The upgrade that a request asks for (RFC 9110 section 7.8): the value of `Upgrade` when `Connection` names it.
///
/// `h2c` is none: RFC 9113 section 3.1 did away with it, and such a request is answered without upgrading.
pub fn token(headers: &HeaderMap) -> Option<HeaderValue> {
    let named = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|name| name.trim().eq_ignore_ascii_case("upgrade"));
    let token = headers.get(UPGRADE)?;
    let usable = token.to_str().is_ok_and(|text| !text.is_empty() && !text.eq_ignore_ascii_case("h2c"));
    (named && usable).then(|| token.clone())
}

/// Hub: turns an HTTP/1.1 upgrade into the extended CONNECT that stands for it. A request that asks for no upgrade is
/// returned as it is.
///
/// The body goes: what follows an upgrade is not a body. Take the `OnUpgrade` of the caller's connection out of the
/// extensions before sending, or it is dropped with the request.
pub fn to_connect(mut request: Request<Body>) -> Request<Body> {
    let Some(token) = token(request.headers()) else {
        return request;
    };
    let (Ok(protocol), Ok(method)) =
        (token.to_str().map(Protocol::from), HeaderValue::from_str(request.method().as_str()))
    else {
        return request;
    };
    let headers = request.headers_mut();
    hop_by_hop_stripped(headers);
    headers.remove(CONTENT_LENGTH);
    headers.insert(METHOD_HEADER, method);
    *request.method_mut() = Method::CONNECT;
    request.extensions_mut().insert(protocol);
    request.map(|_| body::empty())
}

/// Hub: turns the answer to an extended CONNECT back into the answer to an HTTP/1.1 upgrade. `OnUpgrade` stays in the
/// extensions. Answers to anything else are left untouched.
pub fn to_switching_protocols(mut response: Response<Body>) -> Response<Body> {
    let Some(Requested(token)) = response.extensions_mut().remove::<Requested>() else {
        return response;
    };
    if let Some(status) = response.headers_mut().remove(STATUS_HEADER) {
        if let Ok(status) = StatusCode::from_bytes(status.as_bytes()) {
            *response.status_mut() = status;
        }
        return response;
    }
    if response.status() == StatusCode::OK {
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        *response.version_mut() = Version::HTTP_11;
        switch_headers(response.headers_mut(), token);
    }
    response
}

/// What an extended CONNECT stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectRequest {
    /// Method of the HTTP/1.1 upgrade.
    pub method: Method,
    /// Its `Upgrade` token.
    pub protocol: HeaderValue,
}

/// Agent: what upgrade a request through the tunnel stands for, if any. `GET` if it does not say its method.
pub fn from_connect<B>(request: &Request<B>) -> Option<ConnectRequest> {
    if request.method() != Method::CONNECT {
        return None;
    }
    let protocol = request.extensions().get::<Protocol>()?;
    let method = match request.headers().get(METHOD_HEADER) {
        Some(value) => Method::from_bytes(value.as_bytes()).ok()?,
        None => Method::GET,
    };
    Some(ConnectRequest { method, protocol: HeaderValue::from_str(protocol.as_str()).ok()? })
}

/// Agent: turns an extended CONNECT back into the HTTP/1.1 upgrade that it stands for. Any other request is returned
/// as it is. `OnUpgrade` of the tunnel's stream stays in the extensions: take it out before sending.
pub fn to_http1<B>(mut request: Request<B>) -> Request<B> {
    let Some(connect) = from_connect(&request) else {
        return request;
    };
    *request.method_mut() = connect.method;
    *request.version_mut() = Version::HTTP_11;
    request.extensions_mut().remove::<Protocol>();
    request.headers_mut().remove(METHOD_HEADER);
    switch_headers(request.headers_mut(), connect.protocol);
    request
}

/// Agent: turns upstream's answer to an HTTP/1.1 upgrade into the answer to the extended CONNECT: 101 becomes 200,
/// which opens the stream; a 2xx that ignored the upgrade travels in disguise; all else passes.
pub fn to_connect_response(mut response: Response<Body>) -> Response<Body> {
    let status = response.status();
    hop_by_hop_stripped(response.headers_mut());
    // Ours to set, not the upstream's.
    response.headers_mut().remove(STATUS_HEADER);
    if status == StatusCode::SWITCHING_PROTOCOLS {
        response.headers_mut().remove(CONTENT_LENGTH);
        *response.status_mut() = StatusCode::OK;
        return response.map(|_| body::empty());
    }
    if status.is_success()
        && let Ok(value) = HeaderValue::from_str(status.as_str())
    {
        response.headers_mut().insert(STATUS_HEADER, value);
        *response.status_mut() = STATUS_IN_DISGUISE;
    }
    response
}

/// Which upgrade a CONNECT asked for, remembered from request to response at the hub.
#[derive(Clone)]
pub(crate) struct Requested(pub(crate) HeaderValue);

impl Requested {
    /// That of a request that is about to be sent.
    pub(crate) fn by<B>(request: &Request<B>) -> Option<Self> {
        if request.method() != Method::CONNECT {
            return None;
        }
        let protocol = request.extensions().get::<Protocol>()?;
        HeaderValue::from_str(protocol.as_str()).ok().map(Self)
    }
}

fn switch_headers(headers: &mut HeaderMap, token: HeaderValue) {
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, token);
}

/// Removes the headers that concern one connection only (RFC 9110 sections 7.6.1 and 11.7), and those that
/// `Connection` names. `TE: trailers` stays: HTTP/2 allows it, and without it an upstream may leave trailers out.
pub fn hop_by_hop_stripped(headers: &mut HeaderMap) {
    const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
    const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");

    let trailers = headers.get(TE).is_some_and(accepts_trailers);
    if headers.contains_key(CONNECTION) {
        for name in named_by_connection(headers) {
            headers.remove(name);
        }
    }
    for name in [
        CONNECTION,
        KEEP_ALIVE,
        PROXY_CONNECTION,
        PROXY_AUTHENTICATE,
        PROXY_AUTHORIZATION,
        TE,
        TRANSFER_ENCODING,
        UPGRADE,
    ] {
        headers.remove(name);
    }
    if trailers {
        headers.insert(TE, HeaderValue::from_static("trailers"));
    }
}

fn accepts_trailers(te: &HeaderValue) -> bool {
    te.to_str().is_ok_and(|te| te.split(',').any(|coding| coding.trim().eq_ignore_ascii_case("trailers")))
}

fn named_by_connection(headers: &HeaderMap) -> Vec<HeaderName> {
    headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| HeaderName::try_from(name.trim()).ok())
        .collect()
}

/// Bytes that went through a [`splice`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Transferred {
    /// From the first to the second.
    pub sent: u64,
    /// From the second to the first.
    pub received: u64,
}

/// Passes bytes both ways until both directions have ended. The end of one direction is passed on as a half-close;
/// the other goes on.
///
/// A peer that leaves without TLS `close_notify`, resets its connection or its stream is an ordinary end.
///
/// # Errors
/// Any other error of either side. Bytes that had arrived may not have been delivered.
pub async fn splice<A, B>(a: A, b: B) -> io::Result<Transferred>
where
    A: AsyncRead + AsyncWrite + Unpin,
    B: AsyncRead + AsyncWrite + Unpin,
{
    let mut a = Lenient::new(a);
    let mut b = Lenient::new(b);
    let ended = tokio::io::copy_bidirectional_with_sizes(&mut a, &mut b, SPLICE_BUFFER, SPLICE_BUFFER).await;
    let transferred = Transferred { sent: a.received, received: b.received };
    match ended {
        Err(error) if !is_ordinary_end(&error) => Err(error),
        _ => Ok(transferred),
    }
}

/// Waits for both ends to switch protocols, then [`splice`]s them. To be spawned: the near end switches only after its
/// answer has been sent.
///
/// # Errors
/// [`io::ErrorKind::TimedOut`] if an end does not switch in 30 s; those of [`splice`].
pub async fn bridge(near: OnUpgrade, far: OnUpgrade) -> io::Result<Transferred> {
    let both = async { tokio::try_join!(near, far) };
    let (near, far) = tokio::time::timeout(SWITCH_DEADLINE, both)
        .await
        .map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "an end did not switch protocols"))?
        .map_err(io::Error::other)?;
    splice(TokioIo::new(near), TokioIo::new(far)).await
}

fn is_ordinary_end(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, NotConnected, UnexpectedEof};
    matches!(error.kind(), BrokenPipe | ConnectionAborted | ConnectionReset | NotConnected | UnexpectedEof)
        || error.get_ref().is_some_and(|source| is_reset(source))
}

/// Whether the peer reset the HTTP/2 stream on purpose.
fn is_reset(error: &(dyn std::error::Error + 'static)) -> bool {
    let reason = |error: &(dyn std::error::Error + 'static)| error.downcast_ref::<h2::Error>()?.reason();
    std::iter::successors(Some(error), |error| error.source())
        .find_map(reason)
        .is_some_and(|reason| matches!(reason, h2::Reason::CANCEL | h2::Reason::NO_ERROR))
}

/// Counts what was read, and takes an abrupt end for an end.
struct Lenient<IO> {
    io: IO,
    received: u64,
}

impl<IO> Lenient<IO> {
    fn new(io: IO) -> Self {
        Self { io, received: 0 }
    }
}

impl<IO: AsyncRead + Unpin> AsyncRead for Lenient<IO> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let result = ready!(Pin::new(&mut self.io).poll_read(cx, buf));
        self.received += (buf.filled().len() - before) as u64;
        Poll::Ready(tolerate(result))
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for Lenient<IO> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx).map(tolerate)
    }
}

fn tolerate(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if is_ordinary_end(&error) => Ok(()),
        other => other,
    }
}

#[cfg(test)]
#[path = "upgrade_tests.rs"]
mod tests;
