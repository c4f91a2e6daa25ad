//! A request on its way to one cluster: which cluster, what it asks, and the HTTP request itself.
//!
//! Must not know: policy, audit, how the cluster is reached.

use std::net::IpAddr;
use std::sync::Arc;

use flotilla_tunnel::body::Body;
use flotilla_tunnel::upgrade;
use flotilla_types::id::{ClusterId, RequestId};
use http::header::{AUTHORIZATION, CONNECTION, COOKIE, PROXY_AUTHORIZATION, SEC_WEBSOCKET_PROTOCOL, UPGRADE};
use http::{HeaderMap, HeaderName, HeaderValue, Request};
use thiserror::Error;

use crate::request_info::{Refused, RequestInfo, classify};

/// Subprotocol in which browsers pass a bearer token to the API server
/// (`k8s.io/apiserver/pkg/authentication/request/websocket`).
const BEARER_SUBPROTOCOL: &str = "base64url.bearer.authorization.k8s.io.";

/// A registered cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterRef {
    /// Its id.
    pub id: ClusterId,
    /// Its unique name.
    pub name: Arc<str>,
}

/// What is known of a request before anyone asks what it wants.
#[derive(Clone, Debug)]
pub struct RequestContext {
    /// Names the request in answers, logs, audit rows and the cluster's own audit log.
    pub request_id: RequestId,
    /// Pattern of the route, for example `/k8s/clusters/{cluster}/*`.
    pub route: &'static str,
    /// Address of the caller.
    pub address: IpAddr,
}

/// A request to a cluster's API server, read and cleaned of what a caller must not say.
#[derive(Debug)]
pub struct ClusterRequest {
    cluster: ClusterRef,
    info: RequestInfo,
    upgrade: bool,
    http: Request<Body>,
}

/// Why a request cannot become a [`ClusterRequest`].
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum RequestError {
    /// It names an identity of its own.
    #[error(transparent)]
    Smuggled(#[from] Smuggled),
    /// Its request line is not one that is read.
    #[error(transparent)]
    Refused(#[from] Refused),
}

impl ClusterRequest {
    /// Reads a request whose URI is the target at the API server: path and query as the caller sent them, without
    /// the gateway's own prefix.
    ///
    /// The caller's credentials (`Authorization`, cookies, tokens among WebSocket subprotocols), hop-by-hop headers and
    /// the headers with which hub and agent talk (`flotilla-*`) are removed.
    ///
    /// # Errors
    /// [`RequestError`] for a smuggled identity and for a request line that is not read.
    pub fn new(cluster: ClusterRef, mut http: Request<Body>) -> Result<Self, RequestError> {
        refuse_smuggled_headers(http.headers())?;
        if http.uri().authority().is_some() && http.version() < http::Version::HTTP_2 {
            return Err(Refused::NotAPath.into());
        }
        let target = http.uri().path_and_query().map_or("", |target| target.as_str());
        let info = classify(http.method().as_str(), target)?;
        let headers = http.headers_mut();
        let upgrade = keep_only_the_upgrade(headers);
        remove_credentials(headers);
        Ok(Self { cluster, info, upgrade, http })
    }

    /// The cluster.
    #[must_use]
    pub fn cluster(&self) -> &ClusterRef {
        &self.cluster
    }

    /// What is asked.
    #[must_use]
    pub fn info(&self) -> &RequestInfo {
        &self.info
    }

    /// The request itself.
    #[must_use]
    pub fn http(&self) -> &Request<Body> {
        &self.http
    }

    /// Whether it asks for another protocol on the connection (exec, attach, port-forward, WebSocket watches).
    #[must_use]
    pub fn is_upgrade(&self) -> bool {
        self.upgrade
    }

    /// The raw query, without `?`.
    #[must_use]
    pub fn query(&self) -> &str {
        self.http.uri().query().unwrap_or_default()
    }

    pub(crate) fn into_parts(self) -> (RequestInfo, Request<Body>) {
        (self.info, self.http)
    }
}

/// An identity in the caller's headers. The hub alone says who is calling.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Smuggled {
    /// `Impersonate-*`.
    #[error(
        "impersonation is not possible through the hub: requests arrive in the cluster as yourself; drop --as, --as-group and --as-uid (header {0})"
    )]
    Impersonation(HeaderName),
    /// `X-Remote-*`, the headers of a front proxy.
    #[error(
        "the header {0} is reserved for front proxies of an API server and is not accepted from callers; remove it"
    )]
    FrontProxy(HeaderName),
}

/// Refuses headers with which a caller would name somebody else. To be called before anything else is looked at;
/// [`ClusterRequest::new`] calls it again.
///
/// # Errors
/// Names the first such header.
pub fn refuse_smuggled_headers(headers: &HeaderMap) -> Result<(), Smuggled> {
    for name in headers.keys() {
        let text = name.as_str();
        if text.starts_with("impersonate-") {
            return Err(Smuggled::Impersonation(name.clone()));
        }
        if text.starts_with("x-remote-") {
            return Err(Smuggled::FrontProxy(name.clone()));
        }
    }
    Ok(())
}

/// Removes what concerns the caller's connection only, and every header that he names in `Connection`; the request for
/// an upgrade stays. Done first, so that nothing the hub sets or judges by later can be named away. Returns whether an
/// upgrade is asked for.
fn keep_only_the_upgrade(headers: &mut HeaderMap) -> bool {
    let token = upgrade::token(headers);
    upgrade::hop_by_hop_stripped(headers);
    let Some(token) = token else { return false };
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, token);
    true
}

fn remove_credentials(headers: &mut HeaderMap) {
    for name in [AUTHORIZATION, PROXY_AUTHORIZATION, COOKIE] {
        headers.remove(name);
    }
    let ours: Vec<HeaderName> = headers.keys().filter(|name| name.as_str().starts_with("flotilla-")).cloned().collect();
    for name in ours {
        headers.remove(name);
    }
    remove_bearer_subprotocol(headers);
}

/// Takes the token out of `Sec-WebSocket-Protocol` and leaves the protocols that are meant.
fn remove_bearer_subprotocol(headers: &mut HeaderMap) {
    let holds = |value: &HeaderValue| {
        value
            .as_bytes()
            .windows(BEARER_SUBPROTOCOL.len())
            .any(|window| window.eq_ignore_ascii_case(BEARER_SUBPROTOCOL.as_bytes()))
    };
    if !headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter().any(holds) {
        return;
    }
    let bearer = |protocol: &&str| {
        protocol.get(..BEARER_SUBPROTOCOL.len()).is_some_and(|start| start.eq_ignore_ascii_case(BEARER_SUBPROTOCOL))
    };
    let kept: Vec<String> = headers
        .get_all(SEC_WEBSOCKET_PROTOCOL)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(',').map(str::trim))
        .filter(|protocol| !bearer(protocol))
        .map(str::to_owned)
        .collect();
    headers.remove(SEC_WEBSOCKET_PROTOCOL);
    if let Ok(value) = HeaderValue::from_str(&kept.join(", "))
        && !kept.is_empty()
    {
        headers.insert(SEC_WEBSOCKET_PROTOCOL, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(headers: &[(&str, &str)]) -> Result<ClusterRequest, RequestError> {
        let mut builder = Request::get("/api/v1/pods");
        for (name, value) in headers {
            builder = builder.header(*name, *value);
        }
        let cluster = ClusterRef { id: ClusterId::new(), name: "dev".into() };
        ClusterRequest::new(cluster, builder.body(flotilla_tunnel::body::empty()).unwrap())
    }

    #[test]
    fn an_identity_of_the_callers_own_is_refused() {
        for name in ["Impersonate-User", "impersonate-group", "IMPERSONATE-EXTRA-scopes", "Impersonate-Uid"] {
            assert!(
                matches!(request(&[(name, "x")]), Err(RequestError::Smuggled(Smuggled::Impersonation(_)))),
                "{name}"
            );
        }
        for name in ["X-Remote-User", "x-remote-group", "X-Remote-Extra-foo"] {
            assert!(matches!(request(&[(name, "x")]), Err(RequestError::Smuggled(Smuggled::FrontProxy(_)))), "{name}");
        }
    }

    #[test]
    fn credentials_and_our_own_headers_are_removed() {
        let request = request(&[
            ("authorization", "Bearer secret"),
            ("proxy-authorization", "Basic x"),
            ("cookie", "session=1"),
            ("flotilla-identity", "forged"),
            ("flotilla-method", "DELETE"),
            ("accept", "application/json"),
            ("sec-websocket-protocol", "v5.channel.k8s.io, base64url.bearer.authorization.k8s.io.c2VjcmV0"),
            ("sec-websocket-protocol", "Base64URL.bearer.authorization.k8s.io.c2VjcmV0,v4.channel.k8s.io"),
        ])
        .unwrap();
        let left: Vec<_> =
            request.http().headers().iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
        assert_eq!(
            left,
            [("accept", "application/json"), ("sec-websocket-protocol", "v5.channel.k8s.io, v4.channel.k8s.io")]
        );
    }

    #[test]
    fn a_lone_bearer_subprotocol_leaves_no_header() {
        let request = request(&[("sec-websocket-protocol", "base64url.bearer.authorization.k8s.io.c2VjcmV0")]).unwrap();
        assert!(request.http().headers().is_empty());
    }

    #[test]
    fn nothing_can_be_named_away() {
        let headers = [
            ("connection", "Upgrade, Audit-ID, Accept"),
            ("upgrade", "SPDY/3.1"),
            ("accept", "x"),
            ("te", "gzip"),
            ("keep-alive", "timeout=5"),
        ];
        let upgrade = request(&headers).unwrap();
        let left: Vec<_> =
            upgrade.http().headers().iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
        assert!(upgrade.is_upgrade());
        assert_eq!(left, [("connection", "Upgrade"), ("upgrade", "SPDY/3.1")]);
        assert!(request(&[("connection", "close, flotilla-identity")]).unwrap().http().headers().is_empty());
    }

    #[test]
    fn absolute_targets_are_refused() {
        let cluster = ClusterRef { id: ClusterId::new(), name: "dev".into() };
        let http = Request::get("http://elsewhere/api/v1/pods").body(flotilla_tunnel::body::empty()).unwrap();
        assert_eq!(ClusterRequest::new(cluster, http).unwrap_err(), RequestError::Refused(Refused::NotAPath));
    }
}
