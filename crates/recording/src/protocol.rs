//! Which protocol an upgraded connection speaks, from the head of the cluster's answer.
//!
//! Must not know: how the protocols look.

use http::HeaderMap;
use http::header::{SEC_WEBSOCKET_EXTENSIONS, SEC_WEBSOCKET_PROTOCOL, UPGRADE};

use crate::Undecodable;

/// What is being recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Session {
    /// A program in a container: exec and attach.
    Terminal,
    /// TCP connections into a pod. Their content is never kept.
    PortForward,
}

/// How the streams of a session share one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// One WebSocket message for each piece, its first byte the channel: `channel.k8s.io`, `v4.`, `v5.`
    /// (`k8s.io/apimachinery/pkg/util/httpstream/wsstream`, KEP-4006).
    Channels {
        /// The variants in text messages: channel as a digit, content in base64.
        base64: bool,
    },
    /// SPDY/3.1 frames.
    Spdy,
    /// SPDY/3.1 frames in WebSocket messages: `SPDY/3.1+portforward.k8s.io` (KEP-4006).
    SpdyInWebSocket,
}

impl Protocol {
    /// The protocol of a `101 Switching Protocols`.
    ///
    /// # Errors
    /// It is none that is known here.
    pub fn of(answer: &HeaderMap) -> Result<Self, Undecodable> {
        let text = |name| answer.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
        let upgrade = text(UPGRADE).unwrap_or_default();
        if upgrade.eq_ignore_ascii_case("SPDY/3.1") {
            return Ok(Self::Spdy);
        }
        if !upgrade.eq_ignore_ascii_case("websocket") {
            return Err(Undecodable("it switched to an unknown protocol"));
        }
        if answer.contains_key(SEC_WEBSOCKET_EXTENSIONS) {
            return Err(Undecodable("it uses an extension of WebSocket"));
        }
        match text(SEC_WEBSOCKET_PROTOCOL).unwrap_or_default() {
            "" | "channel.k8s.io" | "v4.channel.k8s.io" | "v5.channel.k8s.io" => Ok(Self::Channels { base64: false }),
            "base64.channel.k8s.io" | "v4.base64.channel.k8s.io" => Ok(Self::Channels { base64: true }),
            "SPDY/3.1+portforward.k8s.io" => Ok(Self::SpdyInWebSocket),
            _ => Err(Undecodable("it speaks an unknown subprotocol of WebSocket")),
        }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderName;

    use super::*;

    fn of(headers: &[(&str, &str)]) -> Result<Protocol, Undecodable> {
        let pairs = headers.iter().map(|(name, value)| (name.parse::<HeaderName>().unwrap(), value.parse().unwrap()));
        Protocol::of(&pairs.collect())
    }

    #[test]
    fn what_is_spoken_is_known_from_the_answer() {
        assert_eq!(of(&[("upgrade", "spdy/3.1")]), Ok(Protocol::Spdy));
        let web = |protocol| of(&[("upgrade", "WebSocket"), ("sec-websocket-protocol", protocol)]);
        assert_eq!(web("v5.channel.k8s.io"), Ok(Protocol::Channels { base64: false }));
        assert_eq!(web("v4.base64.channel.k8s.io"), Ok(Protocol::Channels { base64: true }));
        assert_eq!(web("SPDY/3.1+portforward.k8s.io"), Ok(Protocol::SpdyInWebSocket));
        assert_eq!(of(&[("upgrade", "websocket")]), Ok(Protocol::Channels { base64: false }));
        assert!(web("v6.channel.k8s.io").is_err());
        assert!(of(&[("upgrade", "h2c")]).is_err());
        assert!(of(&[]).is_err());
        assert!(of(&[("upgrade", "websocket"), ("sec-websocket-extensions", "permessage-deflate")]).is_err());
    }
}
