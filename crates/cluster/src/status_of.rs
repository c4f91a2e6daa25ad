//! Refusals and failures as the Kubernetes `Status` objects that the API server would send, so that kubectl, client-go
//! and every other client print them as they print the cluster's own.
//!
//! Must not know: routes. Always JSON: every client falls back to it, whatever it asked for.

use std::fmt::Write as _;
use std::time::Duration;

use flotilla_store::audit::AuditError;
use flotilla_tunnel::body::{Body, full};
use flotilla_types::status::{Details, Status};
use http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, Response, StatusCode};

use crate::act::resource;
use crate::gate::{Denied, NotAudited};
use crate::guard::reason_of;
use crate::request::{RequestError, Smuggled};
use crate::request_info::{Refused, RequestInfo};
use crate::transport::TransportError;

/// After which time to ask again where waiting helps. client-go waits that long, ten times, before it reports the
/// error, so this also bounds how long kubectl seems to hang while an agent is away.
const RETRY: Duration = Duration::from_secs(1);

/// An answer that the hub gives in the cluster's stead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatusError {
    /// The body.
    pub status: Box<Status>,
    /// `Retry-After`.
    pub retry_after: Option<Duration>,
}

impl StatusError {
    fn new(code: u16, reason: &str, message: impl Into<String>) -> Self {
        Self { status: Box::new(Status::failure(code, reason, message)), retry_after: None }
    }

    fn with_details(mut self, details: Details) -> Self {
        self.status.details = Some(details);
        self
    }

    /// In header and body, where client-go looks first.
    fn again_after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self.status.details.get_or_insert_default().retry_after_seconds =
            u32::try_from(wait.as_secs()).unwrap_or(u32::MAX);
        self
    }

    /// 400.
    #[must_use]
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, "BadRequest", message)
    }

    /// 401: no credentials, or none that hold.
    #[must_use]
    pub fn unauthorized(message: impl Into<String>) -> Self {
        Self::new(401, "Unauthorized", message)
    }

    /// 403: known, but refused before a cluster was asked.
    #[must_use]
    pub fn forbidden(message: impl Into<String>) -> Self {
        Self::new(403, "Forbidden", message)
    }

    /// 429: come back after so many seconds.
    #[must_use]
    pub fn too_many_requests(message: impl Into<String>, seconds: u64) -> Self {
        Self::new(429, "TooManyRequests", message).again_after(Duration::from_secs(seconds))
    }

    /// 404: there is no such cluster, or it is not the caller's to see.
    #[must_use]
    pub fn unknown_cluster(name: &str) -> Self {
        let message = format!(
            "clusters {name:?} not found: it does not exist, or it is not yours to see; list yours with: flotilla clusters list"
        );
        Self::new(404, "NotFound", message).with_details(cluster_details(name))
    }

    /// 500: our fault.
    #[must_use]
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(500, "InternalError", message)
    }

    /// 502: the cluster answered what cannot be passed on.
    #[must_use]
    pub fn bad_gateway(message: impl Into<String>) -> Self {
        // 502 has no reason of its own in apimachinery; clients go by the code.
        Self::new(502, "InternalError", message)
    }

    /// 503: not now.
    #[must_use]
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::new(503, "ServiceUnavailable", message).again_after(RETRY)
    }

    /// There is no answer from the cluster of this name.
    #[must_use]
    pub fn of_transport(error: &TransportError, cluster: &str) -> Self {
        let message = format!("cluster {cluster:?}: {error}");
        let status = match error {
            TransportError::Unreachable(_) | TransportError::Interrupted(_) => Self::bad_gateway(message),
            _ => Self::new(error.status(), reason_of(error.status()), message),
        };
        let status = status.with_details(cluster_details(cluster));
        match error {
            TransportError::AgentAway | TransportError::Saturated | TransportError::TooManyStreams(_) => {
                status.again_after(RETRY)
            }
            _ => status,
        }
    }

    /// The whole answer. Always JSON.
    #[must_use]
    pub fn to_response(&self) -> Response<Body> {
        // A struct of strings and numbers always becomes JSON.
        let body = serde_json::to_vec(&self.status).unwrap_or_default();
        let mut response = Response::new(full(body));
        *response.status_mut() = StatusCode::from_u16(self.status.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
        if let Some(wait) = self.retry_after {
            headers.insert(RETRY_AFTER, HeaderValue::from(wait.as_secs()));
        }
        response
    }
}

impl From<Smuggled> for StatusError {
    fn from(error: Smuggled) -> Self {
        match error {
            Smuggled::Impersonation(_) => Self::new(403, "Forbidden", error.to_string()),
            Smuggled::FrontProxy(_) => Self::bad_request(error.to_string()),
        }
    }
}

impl From<Refused> for StatusError {
    fn from(refused: Refused) -> Self {
        let code = refused.status();
        let reason = if code == 414 { "RequestURITooLong" } else { reason_of(code) };
        Self::new(code, reason, refused.to_string())
    }
}

impl From<RequestError> for StatusError {
    fn from(error: RequestError) -> Self {
        match error {
            RequestError::Smuggled(smuggled) => smuggled.into(),
            RequestError::Refused(refused) => refused.into(),
        }
    }
}

/// In the API server's wording, with the missing right behind it. A cluster that must seem not to exist is unknown.
impl From<&Denied> for StatusError {
    fn from(denied: &Denied) -> Self {
        let Some(reason) = &denied.reason else { return Self::unknown_cluster(&denied.cluster) };
        let message = format!("{}: {reason}", forbidden_text(&denied.info, &denied.user));
        Self::new(403, "Forbidden", message).with_details(details_of(&denied.info))
    }
}

/// Nothing was done.
impl From<AuditError> for StatusError {
    fn from(_: AuditError) -> Self {
        Self::unavailable("the audit log cannot be written at the moment, so nothing was done; try again")
    }
}

impl From<NotAudited> for StatusError {
    fn from(error: NotAudited) -> Self {
        match error {
            NotAudited::Row(error) => error.into(),
            // Without Retry-After: kubectl would wait and try again in silence.
            NotAudited::Recording(refused) => Self::new(503, "ServiceUnavailable", refused.to_string()),
        }
    }
}

/// `pods "x" is forbidden: User "dev@example.com" cannot get resource "pods" in API group "" in the namespace "shop"`,
/// as in `ForbiddenStatusError` and `forbiddenMessage` of the API server.
fn forbidden_text(info: &RequestInfo, user: &str) -> String {
    if !info.is_resource_request {
        return format!("forbidden: User {user:?} cannot {} path {:?}", info.verb, info.path);
    }
    let mut text = info.resource.clone();
    if !info.api_group.is_empty() {
        let _ = write!(text, ".{}", info.api_group);
    }
    if !info.name.is_empty() {
        let _ = write!(text, " {:?}", info.name);
    }
    let resource = resource(info);
    let _ = write!(
        text,
        " is forbidden: User {user:?} cannot {} resource {resource:?} in API group {:?}",
        info.verb, info.api_group
    );
    if info.namespace.is_empty() {
        text.push_str(" at the cluster scope");
    } else {
        let _ = write!(text, " in the namespace {:?}", info.namespace);
    }
    text
}

fn details_of(info: &RequestInfo) -> Details {
    Details {
        name: info.name.clone(),
        group: info.api_group.clone(),
        kind: info.resource.clone(),
        ..Details::default()
    }
}

fn cluster_details(name: &str) -> Details {
    Details { name: name.to_owned(), kind: "clusters".to_owned(), ..Details::default() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request_info::classify;

    fn text(method: &str, target: &str) -> String {
        forbidden_text(&classify(method, target).unwrap(), "dev@example.com")
    }

    #[test]
    fn forbidden_as_the_api_server_words_it() {
        let cases = [
            (
                "GET",
                "/api/v1/namespaces/shop/pods/x",
                r#"pods "x" is forbidden: User "dev@example.com" cannot get resource "pods" in API group "" in the namespace "shop""#,
            ),
            (
                "GET",
                "/apis/apps/v1/deployments",
                r#"deployments.apps is forbidden: User "dev@example.com" cannot list resource "deployments" in API group "apps" at the cluster scope"#,
            ),
            (
                "POST",
                "/api/v1/namespaces/shop/pods/x/exec?command=sh",
                r#"pods "x" is forbidden: User "dev@example.com" cannot create resource "pods/exec" in API group "" in the namespace "shop""#,
            ),
            ("GET", "/metrics", r#"forbidden: User "dev@example.com" cannot get path "/metrics""#),
        ];
        for (method, target, wanted) in cases {
            assert_eq!(text(method, target), wanted);
        }
    }

    #[test]
    fn failures_say_when_to_ask_again() {
        for (error, code) in [
            (TransportError::AgentAway, 503),
            (TransportError::Saturated, 503),
            (TransportError::TooManyStreams(1000), 429),
        ] {
            let error = StatusError::of_transport(&error, "dev");
            let response = error.to_response();
            assert_eq!(
                (response.status().as_u16(), &response.headers()[RETRY_AFTER]),
                (code, &HeaderValue::from_static("1"))
            );
            assert_eq!(error.status.details.unwrap().retry_after_seconds, 1);
        }
        let late = StatusError::of_transport(&TransportError::Timeout(Duration::from_secs(60)), "dev");
        assert_eq!((late.status.code, late.status.reason.as_str()), (504, "Timeout"));
        assert_eq!(late.status.message, r#"cluster "dev": the cluster did not answer within 60 s"#);
        assert!(!late.to_response().headers().contains_key(RETRY_AFTER));
    }

    #[test]
    fn refused_lines_keep_their_status() {
        let code = |refused: Refused| StatusError::from(refused).status.code;
        assert_eq!((code(Refused::Method), code(Refused::TooLong), code(Refused::DotSegment)), (405, 414, 400));
        let header = http::HeaderName::from_static("impersonate-user");
        let smuggled = StatusError::from(Smuggled::Impersonation(header)).status;
        assert!(smuggled.code == 403 && smuggled.message.contains("drop --as"), "{}", smuggled.message);
        let header = http::HeaderName::from_static("x-remote-user");
        assert_eq!(StatusError::from(Smuggled::FrontProxy(header)).status.code, 400);
    }
}
