//! Who calls, as values that a handler's signature asks for: [`Caller`] (signed in) and
//! [`Administrator`] (of the hub). A handler without one of them is open to anyone, which the
//! endpoint test must list.
//!
//! Must not know: how tokens are checked (`flotilla_identity::authn`).

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{FromRequest, FromRequestParts, OptionalFromRequestParts, Request};
use flotilla_identity::authn::AuthnError;
use flotilla_identity::principal::Principal;
use http::header::AUTHORIZATION;
use http::request::Parts;
use http::{HeaderMap, StatusCode};
use serde::de::DeserializeOwned;

use super::RequestContext;
use crate::error::ApiError;
use crate::hub::Hub;
use flotilla_types::problem::Code;

/// Most bytes of a JSON body.
pub const MAX_BODY: usize = 1024 * 1024;

/// Most bytes of a JSON body that anyone may send: sign-in, refresh, enrolment.
pub const MAX_ANONYMOUS_BODY: usize = 64 * 1024;

/// How long a body may take.
const BODY_DEADLINE: Duration = Duration::from_secs(30);

/// A signed-in caller.
pub struct Caller {
    /// Who.
    pub principal: Principal,
    /// Which request.
    pub context: RequestContext,
    /// The token with which he came, for calls that the hub makes in his name.
    pub token: secrecy::SecretString,
}

/// A signed-in caller who administers the hub.
pub struct Administrator(pub Caller);

/// The bearer token of a request (RFC 6750 section 2.1; the scheme's case does not matter).
#[must_use]
pub fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// What a caller is told when his token does not hold.
#[must_use]
pub fn sign_in_again(error: &AuthnError) -> String {
    format!("{error}; sign in again with: flotilla login")
}

impl FromRequestParts<Arc<Hub>> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, hub: &Arc<Hub>) -> Result<Self, ApiError> {
        let context = context(parts)?;
        let Some(token) = bearer(&parts.headers) else {
            return Err(ApiError::unauthenticated(
                "this needs a bearer token; get one at /auth/login or with: flotilla login",
            ));
        };
        let principal = hub.authenticator.authenticate(token).await.map_err(|error| match error {
            AuthnError::Unavailable(_) => ApiError::internal(&error),
            refused => ApiError::unauthenticated(sign_in_again(&refused)),
        })?;
        Ok(Self { principal, context, token: token.to_owned().into() })
    }
}

/// Nobody, when there is no token; one that does not hold is refused all the same.
impl OptionalFromRequestParts<Arc<Hub>> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, hub: &Arc<Hub>) -> Result<Option<Self>, ApiError> {
        if bearer(&parts.headers).is_none() {
            return Ok(None);
        }
        <Self as FromRequestParts<Arc<Hub>>>::from_request_parts(parts, hub).await.map(Some)
    }
}

impl FromRequestParts<Arc<Hub>> for Administrator {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, hub: &Arc<Hub>) -> Result<Self, ApiError> {
        let caller = <Caller as FromRequestParts<Arc<Hub>>>::from_request_parts(parts, hub).await?;
        if hub.policy.load().is_administrator(caller.principal.roles()) {
            return Ok(Self(caller));
        }
        Err(ApiError::forbidden(
            "only an administrator of the hub may do this; ask one for a role that allows everything",
        ))
    }
}

impl FromRequestParts<Arc<Hub>> for RequestContext {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &Arc<Hub>) -> Result<Self, ApiError> {
        context(parts)
    }
}

fn context(parts: &Parts) -> Result<RequestContext, ApiError> {
    parts
        .extensions
        .get::<RequestContext>()
        .cloned()
        .ok_or_else(|| ApiError::internal("a request without context reached a handler"))
}

/// A JSON body whose errors say where it is wrong.
pub struct Json<T>(pub T);

impl<T: DeserializeOwned> FromRequest<Arc<Hub>> for Json<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &Arc<Hub>) -> Result<Self, ApiError> {
        read_json(request.into_body(), MAX_BODY).await.map(Self)
    }
}

/// [`Json`] from someone who has not said who he is: what is kept for him is little.
pub struct AnonymousJson<T>(pub T);

impl<T: DeserializeOwned> FromRequest<Arc<Hub>> for AnonymousJson<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &Arc<Hub>) -> Result<Self, ApiError> {
        read_json(request.into_body(), MAX_ANONYMOUS_BODY).await.map(Self)
    }
}

/// Reads a body of at most `limit` bytes, in at most 30 s.
///
/// # Errors
/// It is too large, too slow, or not the JSON that was expected.
pub async fn read_json<T: DeserializeOwned>(body: axum::body::Body, limit: usize) -> Result<T, ApiError> {
    let read = tokio::time::timeout(BODY_DEADLINE, axum::body::to_bytes(body, limit)).await;
    let read = read.map_err(|_| {
        let detail = format!("the body did not arrive within {} s", BODY_DEADLINE.as_secs());
        ApiError::new(StatusCode::REQUEST_TIMEOUT, Code::Timeout, detail)
    })?;
    let bytes = read.map_err(|_| {
        let detail = format!("the body is larger than {limit} bytes or broke off");
        ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, Code::TooLarge, detail)
    })?;
    serde_json::from_slice(&bytes)
        .map_err(|error| ApiError::bad_request(format!("the body is not the JSON that this path takes: {error}")))
}

/// A query string whose errors say which parameter is wrong.
pub struct Query<T>(pub T);

impl<T: DeserializeOwned> FromRequestParts<Arc<Hub>> for Query<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &Arc<Hub>) -> Result<Self, ApiError> {
        axum::extract::Query::try_from_uri(&parts.uri)
            .map(|axum::extract::Query(value)| Self(value))
            .map_err(|error| ApiError::bad_request(format!("the query is not one that this path takes: {error}")))
    }
}

/// Parts of a path, decoded; an id that is not one is "not found", as nothing has it.
pub struct Path<T>(pub T);

impl<T: DeserializeOwned + Send> FromRequestParts<Arc<Hub>> for Path<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, hub: &Arc<Hub>) -> Result<Self, ApiError> {
        <axum::extract::Path<T> as FromRequestParts<Arc<Hub>>>::from_request_parts(parts, hub)
            .await
            .map(|axum::extract::Path(value)| Self(value))
            .map_err(|_| ApiError::not_found("there is nothing with this id"))
    }
}
