//! The one error type of the people's API and which constructor to use when.
//!
//! A handler returns `Result<_, ApiError>`. The request id is added by `request::serve`, which
//! turns the error into `application/problem+json` (RFC 9457).
//!
//! - caller's mistake: [`ApiError::bad_request`] (not well-formed), [`ApiError::invalid`] (a value breaks a rule)
//! - caller's rights: [`ApiError::unauthenticated`], [`ApiError::forbidden`]; what he may not see is [`ApiError::not_found`]
//! - ours: `?` on an `anyhow::Error` or a `StoreError`: logged with the request id, never echoed
//!
//! Must not know: routes.

use std::time::Duration;

use axum::response::{IntoResponse, Response};
use flotilla_store::StoreError;
use flotilla_types::problem::{Code, Problem};
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, StatusCode};

/// What a handler answers when it does not do what it was asked.
#[derive(Clone, Debug)]
pub struct ApiError {
    /// HTTP status.
    pub status: StatusCode,
    /// Stable code.
    pub code: Code,
    /// For the caller.
    pub detail: String,
    /// `Retry-After`.
    pub retry_after: Option<Duration>,
}

impl ApiError {
    /// An error of any kind; prefer the named constructors.
    #[must_use]
    pub fn new(status: StatusCode, code: Code, detail: impl Into<String>) -> Self {
        Self { status, code, detail: detail.into(), retry_after: None }
    }

    /// No credentials, or none that hold.
    #[must_use]
    pub fn unauthenticated(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, Code::Unauthenticated, detail)
    }

    /// Known, but not allowed.
    #[must_use]
    pub fn forbidden(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, Code::Forbidden, detail)
    }

    /// Not there, or not the caller's to see.
    #[must_use]
    pub fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, Code::NotFound, detail)
    }

    /// Not well-formed.
    #[must_use]
    pub fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, Code::BadRequest, detail)
    }

    /// Well-formed, but a value breaks a rule.
    #[must_use]
    pub fn invalid(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, Code::Invalid, detail)
    }

    /// Contradicts what is there.
    #[must_use]
    pub fn conflict(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, Code::Conflict, detail)
    }

    /// Slow down.
    #[must_use]
    pub fn too_many_requests(detail: impl Into<String>, retry_after: Duration) -> Self {
        Self::new(StatusCode::TOO_MANY_REQUESTS, Code::TooManyRequests, detail).retry_after(retry_after)
    }

    /// Our fault. The cause is logged here and not told.
    #[must_use]
    pub fn internal(cause: &(impl std::fmt::Display + ?Sized)) -> Self {
        tracing::error!(error = %cause, "request failed inside the hub");
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            Code::Internal,
            "the hub failed to do this; its administrator finds the cause in its log under the request id",
        )
    }

    /// Adds `Retry-After`, rounded up to whole seconds.
    #[must_use]
    pub fn retry_after(mut self, after: Duration) -> Self {
        self.retry_after = Some(after);
        self
    }

    /// The answer as problem details.
    pub(crate) fn render(&self, request_id: &str) -> Response {
        let problem = Problem {
            kind: "about:blank".to_owned(),
            title: self.status.canonical_reason().unwrap_or("Error").to_owned(),
            status: self.status.as_u16(),
            detail: self.detail.clone(),
            request_id: request_id.to_owned(),
            code: self.code,
        };
        let body = serde_json::to_vec(&problem).unwrap_or_default();
        let mut response = (self.status, body).into_response();
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(after) = self.retry_after {
            response.headers_mut().insert(RETRY_AFTER, whole_seconds(after).into());
        }
        if self.status == StatusCode::UNAUTHORIZED {
            response
                .headers_mut()
                .insert(http::header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"flotilla\""));
        }
        response
    }
}

/// `Retry-After` counts whole seconds (RFC 9110 section 10.2.3); at least one.
pub(crate) fn whole_seconds(after: Duration) -> u64 {
    (after.as_secs() + u64::from(after.subsec_nanos() > 0)).max(1)
}

/// The error travels in the response's extensions until the request id is known.
impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = self.status.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Conflict { .. } => Self::conflict(error.to_string()),
            StoreError::NotFound { .. } => Self::not_found(error.to_string()),
            other => Self::internal(&other),
        }
    }
}

impl From<anyhow::Error> for ApiError {
    fn from(error: anyhow::Error) -> Self {
        Self::internal(&format!("{error:#}"))
    }
}

impl From<flotilla_types::name::InvalidName> for ApiError {
    fn from(error: flotilla_types::name::InvalidName) -> Self {
        Self::invalid(error.to_string())
    }
}

impl From<flotilla_store::audit::AuditError> for ApiError {
    fn from(error: flotilla_store::audit::AuditError) -> Self {
        tracing::error!(%error, "the audit log cannot be written");
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            Code::AuditUnavailable,
            "the audit log cannot be written, so nothing was done; try again shortly",
        )
        .retry_after(Duration::from_secs(5))
    }
}
