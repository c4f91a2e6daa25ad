//! What the two ends say to each other inside the tunnel: `OPTIONS *`.
//!
//! RFC 9110 section 9.3.7 keeps this request for exactly that: it asks about the server itself, not about a resource,
//! and serves as a ping. The agent answers it without its service. It tells the hub that the agent is up and which
//! lane the connection is for; it tells the agent that the hub has taken it, or why it will not.

use std::str::FromStr;
use std::time::Duration;

use http::header::{HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use http::{Method, Request, Response, StatusCode, Uri};
use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};

use crate::body::{self, Body};
use crate::error::Refusal;
use crate::lane::Lane;

const LANE: HeaderName = HeaderName::from_static("flotilla-lane");
const REFUSED: HeaderName = HeaderName::from_static("flotilla-refused");
const DETAIL: HeaderName = HeaderName::from_static("flotilla-detail");

/// What a header value may not hold as it is.
const UNSAFE: &AsciiSet = &CONTROLS.add(b'%');

/// What the hub says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Message {
    /// You are taken; are you there?
    Ping,
    /// Go away.
    Refused(Refusal),
}

/// Hub: the request that carries a message.
pub(crate) fn request(message: &Message) -> Request<Body> {
    let mut request = Request::new(body::empty());
    *request.method_mut() = Method::OPTIONS;
    *request.uri_mut() = Uri::from_static("*");
    if let Message::Refused(refusal) = message {
        write_refusal(request.headers_mut(), refusal);
    }
    request
}

/// Agent: the message in a request, if it is one.
pub(crate) fn read<B>(request: &Request<B>) -> Option<Message> {
    if request.method() != Method::OPTIONS || request.uri().path() != "*" {
        return None;
    }
    Some(read_refusal(request.headers()).map_or(Message::Ping, Message::Refused))
}

/// Agent: the answer to any message.
pub(crate) fn answer(lane: Lane) -> Response<Body> {
    let mut response = Response::new(body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    response.headers_mut().insert(LANE, HeaderValue::from_static(lane.as_str()));
    response
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
        assert_eq!(read(&request(&Message::Ping)), Some(Message::Ping));
        let ordinary = Request::options("/").body(()).unwrap();
        assert_eq!(read(&ordinary), None);
    }

    #[test]
    fn the_answer_names_the_lane() {
        assert_eq!(lane(&answer(Lane::Bulk)), Lane::Bulk);
        assert_eq!(lane(&Response::new(())), Lane::Interactive);
    }
}
