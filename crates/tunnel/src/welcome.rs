//! What the two ends say to each other inside the tunnel: `OPTIONS *`.
//!
//! RFC 9110 section 9.3.7 keeps this request for exactly that: it asks about the server itself, not about a resource,
//! and serves as a ping. The agent answers it without its service. It tells the hub that the agent is up and which
//! lane the connection is for; it tells the agent that the hub has taken it, or why it will not. The answer to the first
//! one stays open until the agent begins to drain: HTTP/2's own GOAWAY says the same, but hyper notices it only with the
//! next request, which then fails.

use std::convert::Infallible;
use std::str::FromStr;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::ready;
use futures_util::stream::{self, StreamExt};
use http::header::{HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use http::{Method, Request, Response, StatusCode, Uri};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Incoming;
use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};
use tokio_util::sync::CancellationToken;

use crate::body::{self, Body};
use crate::error::Refusal;
use crate::lane::Lane;

const HELLO: HeaderName = HeaderName::from_static("flotilla-hello");
const LANE: HeaderName = HeaderName::from_static("flotilla-lane");
const REFUSED: HeaderName = HeaderName::from_static("flotilla-refused");
const DETAIL: HeaderName = HeaderName::from_static("flotilla-detail");

/// What a header value may not hold as it is.
const UNSAFE: &AsciiSet = &CONTROLS.add(b'%');

/// What the hub says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Message {
    /// You are taken. Answer, and let the answer end when you will take no more requests.
    Hello,
    /// Are you there?
    Ping,
    /// Go away.
    Refused(Refusal),
}

/// Hub: the request that carries a message.
pub(crate) fn request(message: &Message) -> Request<Body> {
    let mut request = Request::new(body::empty());
    *request.method_mut() = Method::OPTIONS;
    *request.uri_mut() = Uri::from_static("*");
    match message {
        Message::Hello => drop(request.headers_mut().insert(HELLO, HeaderValue::from_static("1"))),
        Message::Ping => {}
        Message::Refused(refusal) => write_refusal(request.headers_mut(), refusal),
    }
    request
}

/// Agent: the message in a request, if it is one.
pub(crate) fn read<B>(request: &Request<B>) -> Option<Message> {
    if request.method() != Method::OPTIONS || request.uri().path() != "*" {
        return None;
    }
    let headers = request.headers();
    let ordinary = if headers.contains_key(HELLO) { Message::Hello } else { Message::Ping };
    Some(read_refusal(headers).map_or(ordinary, Message::Refused))
}

/// Agent: the answer to [`Message::Hello`], which ends when `draining` begins.
pub(crate) fn standing_answer(lane: Lane, draining: CancellationToken) -> Response<Body> {
    let nothing = stream::once(draining.cancelled_owned()).filter_map(|()| ready(None));
    let body = StreamBody::new(Box::pin(nothing).map(Ok::<Frame<Bytes>, Infallible>));
    let mut response = Response::new(body::boxed(body));
    name_lane(&mut response, lane);
    response
}

/// Agent: the answer to any other message.
pub(crate) fn answer(lane: Lane) -> Response<Body> {
    let mut response = Response::new(body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    name_lane(&mut response, lane);
    response
}

fn name_lane(response: &mut Response<Body>, lane: Lane) {
    response.headers_mut().insert(LANE, HeaderValue::from_static(lane.as_str()));
}

/// Hub: waits for the end of a standing answer. Never returns if it breaks instead: then the connection has ended, and
/// its driver knows why.
pub(crate) async fn drained(standing: &mut Incoming) {
    loop {
        match standing.frame().await {
            Some(Ok(_)) => {}
            None => return,
            Some(Err(_)) => std::future::pending().await,
        }
    }
}

/// Hub: the lane that an answer names. Interactive unless it says otherwise.
pub(crate) fn lane<B>(response: &Response<B>) -> Lane {
    let named = response.headers().get(LANE).and_then(|value| value.to_str().ok());
    named.and_then(|name| Lane::from_str(name).ok()).unwrap_or(Lane::Interactive)
}

fn write_refusal(headers: &mut HeaderMap, refusal: &Refusal) {
    if let Ok(status) = HeaderValue::from_str(refusal.status.as_str()) {
        headers.insert(REFUSED, status);
    }
    let detail = utf8_percent_encode(&refusal.detail, UNSAFE).to_string();
    if let Ok(detail) = HeaderValue::from_str(&detail) {
        headers.insert(DETAIL, detail);
    }
    if let Some(delay) = refusal.retry_after {
        headers.insert(RETRY_AFTER, HeaderValue::from(delay.as_secs()));
    }
}

fn read_refusal(headers: &HeaderMap) -> Option<Refusal> {
    let status = StatusCode::from_bytes(headers.get(REFUSED)?.as_bytes()).ok()?;
    let detail = headers.get(DETAIL).and_then(|value| value.to_str().ok()).unwrap_or("");
    Some(Refusal {
        status,
        detail: percent_decode_str(detail).decode_utf8_lossy().into_owned(),
        retry_after: retry_after(headers),
    })
}

/// `Retry-After` in seconds; a date is not understood.
pub(crate) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_survives_the_trip() {
        let refusal = Refusal {
            status: StatusCode::CONFLICT,
            detail: "»eu-1« is served by another agent\n100 %".into(),
            retry_after: Some(Duration::from_secs(7)),
        };
        let request = request(&Message::Refused(refusal.clone()));
        assert_eq!(read(&request), Some(Message::Refused(refusal)));
    }

    #[test]
    fn only_options_of_the_server_itself_is_a_message() {
        for message in [Message::Hello, Message::Ping] {
            assert_eq!(read(&request(&message)), Some(message));
        }
        let ordinary = Request::options("/").body(()).unwrap();
        assert_eq!(read(&ordinary), None);
    }

    #[test]
    fn the_answer_names_the_lane() {
        assert_eq!(lane(&answer(Lane::Bulk)), Lane::Bulk);
        assert_eq!(lane(&standing_answer(Lane::Bulk, CancellationToken::new())), Lane::Bulk);
        assert_eq!(lane(&Response::new(())), Lane::Interactive);
    }
}
