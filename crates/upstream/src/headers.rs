//! What never passes to an API server.
//!
//! Must not know: what is put in its place.

use flotilla_tunnel::upgrade;
use http::header::{
    AUTHORIZATION, COOKIE, FORWARDED, HeaderMap, HeaderName, HeaderValue, PROXY_AUTHORIZATION, SEC_WEBSOCKET_PROTOCOL,
};

/// Prefix of a WebSocket subprotocol in which the API server accepts a bearer token
/// (`k8s.io/apiserver/pkg/authentication/request/websocket/protocol.go`).
const BEARER_SUBPROTOCOL: &[u8] = b"base64url.bearer.authorization.k8s.io.";

/// Header families that say who is calling or where from. `x-remote-*` is what an API server believes of a
/// front proxy; `flotilla-*` is ours between hub and agent.
const FAMILIES: [&str; 4] = ["impersonate-", "x-remote-", "x-forwarded-", "flotilla-"];

/// Removes the caller's credentials, everything that states an identity, and hop-by-hop headers
/// (RFC 9110 section 7.6.1). All else (`Audit-ID`, `User-Agent`, `Accept-Encoding` ...) stays as it came.
pub(crate) fn strip(headers: &mut HeaderMap) {
    upgrade::hop_by_hop_stripped(headers);
    let doomed: Vec<HeaderName> = headers.keys().filter(|name| is_forbidden(name)).cloned().collect();
    for name in doomed {
        headers.remove(name);
    }
    strip_bearer_subprotocol(headers);
}

fn is_forbidden(name: &HeaderName) -> bool {
    if [AUTHORIZATION, COOKIE, PROXY_AUTHORIZATION, FORWARDED].contains(name) {
        return true;
    }
    let name = name.as_str();
    FAMILIES.iter().any(|family| name.starts_with(family))
}

fn strip_bearer_subprotocol(headers: &mut HeaderMap) {
    let offers =
        |value: &HeaderValue| value.as_bytes().windows(BEARER_SUBPROTOCOL.len()).any(|part| part == BEARER_SUBPROTOCOL);
    if !headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter().any(offers) {
        return;
    }
    let kept: Vec<Vec<u8>> = headers
        .get_all(SEC_WEBSOCKET_PROTOCOL)
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .map(<[u8]>::trim_ascii)
        .filter(|offer| !offer.starts_with(BEARER_SUBPROTOCOL))
        .map(<[u8]>::to_vec)
        .collect();
    headers.remove(SEC_WEBSOCKET_PROTOCOL);
    if let Ok(value) = HeaderValue::from_bytes(&kept.join(&b", "[..])) {
        headers.insert(SEC_WEBSOCKET_PROTOCOL, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stripped(lines: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_str(value).unwrap());
        }
        strip(&mut headers);
        headers
    }

    #[test]
    fn nothing_that_states_an_identity_passes() {
        let left = stripped(&[
            ("Authorization", "Bearer x"),
            ("authorization", "Basic y"),
            ("Cookie", "a=b"),
            ("Proxy-Authorization", "Basic z"),
            ("Impersonate-User", "root"),
            ("IMPERSONATE-GROUP", "system:masters"),
            ("Impersonate-Group", "other"),
            ("Impersonate-Uid", "1"),
            ("Impersonate-Extra-Scopes", "x"),
            ("X-Remote-User", "root"),
            ("X-Remote-Group", "system:masters"),
            ("X-Remote-Extra-a", "b"),
            ("X-Forwarded-For", "10.0.0.1"),
            ("X-Forwarded-Uri", "/"),
            ("Forwarded", "for=10.0.0.1"),
            ("flotilla-identity", "x"),
            ("Flotilla-Method", "DELETE"),
        ]);
        assert!(left.is_empty(), "{left:?}");
    }

    #[test]
    fn hop_by_hop_headers_do_not_pass_even_when_named_by_connection() {
        let left = stripped(&[
            ("Connection", "keep-alive, X-Private, Audit-ID-Not"),
            ("Keep-Alive", "timeout=5"),
            ("X-Private", "1"),
            ("Transfer-Encoding", "chunked"),
            ("TE", "gzip"),
            ("Upgrade", "websocket"),
            ("Proxy-Connection", "close"),
        ]);
        assert!(left.is_empty(), "{left:?}");
    }

    #[test]
    fn what_belongs_to_the_request_stays() {
        let lines = [
            ("audit-id", "abc"),
            ("user-agent", "kubectl/v1.36"),
            ("accept-encoding", "gzip"),
            ("accept", "application/json;as=Table"),
            ("content-type", "application/apply-patch+yaml"),
            ("content-length", "3"),
            ("expect", "100-continue"),
            ("kubectl-command", "kubectl get"),
            ("x-stream-protocol-version", "v4.channel.k8s.io"),
            ("x-stream-protocol-version", "v3.channel.k8s.io"),
            ("sec-websocket-protocol", "v5.channel.k8s.io"),
        ];
        let left = stripped(&lines);
        assert_eq!(left.len(), lines.len());
    }

    #[test]
    fn a_bearer_token_hidden_as_websocket_subprotocol_does_not_pass() {
        let left = stripped(&[
            ("Sec-WebSocket-Protocol", "v5.channel.k8s.io,base64url.bearer.authorization.k8s.io.c2VjcmV0"),
            ("Sec-WebSocket-Protocol", "v4.channel.k8s.io"),
        ]);
        assert_eq!(
            left.get_all("sec-websocket-protocol").iter().collect::<Vec<_>>(),
            ["v5.channel.k8s.io, v4.channel.k8s.io"]
        );
    }
}
