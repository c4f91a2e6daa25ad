//! Why a tunnel ended or never came about.

use std::error::Error;
use std::time::Duration;

use http::StatusCode;

/// The hub's reason for not having an agent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the hub refused the connection ({status}): {detail}")]
pub struct Refusal {
    /// As in HTTP: 401 unknown or revoked certificate, 409 the name is taken, 503 the hub is full or going away.
    pub status: StatusCode,
    /// For the operator of the agent.
    pub detail: String,
    /// When the hub would like to be asked again.
    pub retry_after: Option<Duration>,
}

impl Refusal {
    /// Whether the next attempt may well go through: a proxy says so of a hub that is away (502, 504), a hub when it
    /// stops (503).
    pub fn may_pass(&self) -> bool {
        matches!(self.status, StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT)
    }
}

/// Why a tunnel ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TunnelError {
    /// The connection broke, or the peer does not keep to HTTP/2.
    #[error("the tunnel's connection failed")]
    Connection(#[source] hyper::Error),
    /// The peer stopped answering pings.
    #[error("the other end stopped answering")]
    PingTimeout,
    /// The peer did not complete the first exchange in time, or left during it.
    #[error("the other end did not complete the tunnel handshake")]
    Handshake,
    /// The peer speaks HTTP/2 but not this protocol.
    #[error("the other end is not a tunnel agent: it does not enable extended CONNECT (RFC 8441)")]
    NotATunnel,
    /// This side cut the connection.
    #[error("the connection was closed on this side")]
    Closed,
    /// The hub said why it will not have this agent.
    #[error(transparent)]
    Refused(#[from] Refusal),
}

impl From<hyper::Error> for TunnelError {
    fn from(error: hyper::Error) -> Self {
        if error.is_timeout() { Self::PingTimeout } else { Self::Connection(error) }
    }
}

/// Writes an error with all its causes, for logs and status pages.
pub(crate) fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

/// The TLS error behind an error, if there is one.
pub(crate) fn tls_cause<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a rustls::Error> {
    let mut next: Option<&'a (dyn Error + 'static)> = Some(error);
    while let Some(error) = next {
        if let Some(tls) = error.downcast_ref::<rustls::Error>() {
            return Some(tls);
        }
        // The source of an `io::Error` is that of the error it wraps, so the wrapped one itself needs asking for.
        let wrapped = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        next = match wrapped {
            Some(inner) => Some(inner),
            None => error.source(),
        };
    }
    None
}
