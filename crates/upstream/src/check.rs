//! A look at an API server with our own credentials: whether it answers, how fast, in which version, and whether we
//! may impersonate there, without which nobody gets through.
//!
//! Must not know: who asked for the look.

use std::time::{Duration, Instant};

use flotilla_tunnel::body::{self, Body};
use futures_util::future::BoxFuture;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Method, Request, Response, StatusCode, Uri};
use http_body_util::BodyExt as _;
use serde::Deserialize;
use serde_json::json;

use crate::client::Upstream;
use crate::error::UpstreamError;

const MAX_ANSWER: usize = 256 * 1024;
const REVIEWS: &str = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";

/// What is wrong with a cluster, in a word that clients may branch on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorClass {
    /// The API server knows us and does not let us.
    Denied,
    /// It does not take our credentials, or we have none to show.
    AuthFailed,
    /// No answer in time.
    Timeout,
    /// No connection.
    ApiserverUnreachable,
    /// Anything else.
    Unknown,
}

impl ErrorClass {
    /// The word used on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Denied => "denied",
            Self::AuthFailed => "auth_failed",
            Self::Timeout => "timeout",
            Self::ApiserverUnreachable => "apiserver_unreachable",
            Self::Unknown => "unknown",
        }
    }

    /// What an error of ours says of the cluster.
    #[must_use]
    pub fn of(error: &UpstreamError) -> Self {
        match error {
            UpstreamError::Unreachable { .. } | UpstreamError::Tls { .. } => Self::ApiserverUnreachable,
            UpstreamError::Timeout { .. } => Self::Timeout,
            UpstreamError::Credentials { .. } => Self::AuthFailed,
            UpstreamError::Invalid { .. } => Self::Unknown,
        }
    }
}

/// What a look found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// What is wrong; `None`: all is well.
    pub error: Option<ErrorClass>,
    /// The same for people.
    pub detail: String,
    /// The API server's version, when it said.
    pub server_version: Option<String>,
    /// How long the first answer took.
    pub latency: Duration,
    /// Permissions that our credentials lack: `impersonate users`, `impersonate groups`.
    pub missing: Vec<&'static str>,
}

impl Upstream {
    /// Looks at the API server, for no longer than `deadline`.
    pub fn check(&self, deadline: Duration) -> BoxFuture<'_, Check> {
        Box::pin(self.looked_at(deadline))
    }

    async fn looked_at(&self, deadline: Duration) -> Check {
        let started = Instant::now();
        let mut check = Check {
            error: None,
            detail: String::new(),
            server_version: None,
            latency: Duration::ZERO,
            missing: vec![],
        };
        match tokio::time::timeout(deadline, self.look(started, &mut check)).await {
            Ok(Ok(())) => {}
            Ok(Err((class, detail))) => (check.error, check.detail) = (Some(class), detail),
            Err(_) => {
                check.error = Some(ErrorClass::Timeout);
                check.detail = format!("the API server did not answer within {} s", deadline.as_secs());
            }
        }
        if check.latency.is_zero() {
            check.latency = started.elapsed();
        }
        check
    }

    async fn look(&self, started: Instant, check: &mut Check) -> Result<(), (ErrorClass, String)> {
        let (status, body) = self.ask(Method::GET, "/version", None).await?;
        check.latency = started.elapsed();
        if status == StatusCode::UNAUTHORIZED {
            let detail = "the API server does not take the credentials; give the cluster new ones";
            return Err((ErrorClass::AuthFailed, detail.to_owned()));
        }
        check.server_version = version(&body);
        if check.server_version.is_none() && status.is_success() {
            return Err((ErrorClass::Unknown, format!("{} does not answer as a Kubernetes API server", self.server())));
        }
        for (resource, permission) in [("users", "impersonate users"), ("groups", "impersonate groups")] {
            if !self.may_impersonate(resource).await? {
                check.missing.push(permission);
            }
        }
        if check.missing.is_empty() {
            return Ok(());
        }
        let lacks = check.missing.join(" and ");
        let detail = format!(
            "the credentials may not {lacks}, so nobody could arrive as himself; bind them to a ClusterRole with verb \
             impersonate on the resources users and groups"
        );
        Err((ErrorClass::Denied, detail))
    }

    async fn may_impersonate(&self, resource: &str) -> Result<bool, (ErrorClass, String)> {
        #[derive(Deserialize)]
        struct Review {
            status: Decision,
        }
        #[derive(Deserialize)]
        struct Decision {
            allowed: bool,
        }
        let review = json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": {"verb": "impersonate", "resource": resource}}});
        let (status, body) = self.ask(Method::POST, REVIEWS, Some(review.to_string())).await?;
        match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                let detail = "the API server takes the credentials for nobody that it knows; give the cluster others";
                Err((ErrorClass::AuthFailed, detail.to_owned()))
            }
            _ => serde_json::from_slice(&body).map(|review: Review| review.status.allowed).map_err(|_| {
                (ErrorClass::Unknown, format!("the API server cannot say what the credentials may do ({status})"))
            }),
        }
    }

    async fn ask(
        &self,
        method: Method,
        path: &'static str,
        body: Option<String>,
    ) -> Result<(StatusCode, Vec<u8>), (ErrorClass, String)> {
        let mut request = Request::new(body.map_or_else(body::empty, body::full));
        *request.method_mut() = method;
        *request.uri_mut() = Uri::from_static(path);
        request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let response = self.send_as_self(request).await.map_err(|error| (ErrorClass::of(&error), error.to_string()))?;
        small(response).await
    }
}

/// Reads an answer that is short.
async fn small(response: Response<Body>) -> Result<(StatusCode, Vec<u8>), (ErrorClass, String)> {
    let status = response.status();
    let body = read_short(response.into_body()).await;
    let body =
        body.ok_or_else(|| (ErrorClass::ApiserverUnreachable, "the API server's answer broke off".to_owned()))?;
    Ok((status, body))
}

/// A body of at most 256 KiB; `None` when it is longer or breaks off.
pub async fn read_short(body: Body) -> Option<Vec<u8>> {
    read_up_to(body, MAX_ANSWER).await
}

/// A body of at most `limit` bytes; `None` when it is longer or breaks off.
pub async fn read_up_to(mut body: Body, limit: usize) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.ok()?.into_data() else { continue };
        if bytes.len() + data.len() > limit {
            return None;
        }
        bytes.extend_from_slice(&data);
    }
    Some(bytes)
}

/// `gitVersion` of an answer to `/version`.
#[must_use]
pub fn version(body: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Info {
        git_version: String,
    }
    let info: Info = serde_json::from_slice(body).ok()?;
    Some(info.git_version).filter(|version| version.len() < 100 && version.bytes().all(|b| b.is_ascii_graphic()))
}
