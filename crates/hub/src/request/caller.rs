//! Who calls, as values that a handler's signature asks for: [`Caller`] (signed in) and
//! [`Administrator`] (of the hub). A handler without one of them is open to anyone, which the
//! endpoint test must list.
//!
//! Must not know: how tokens are checked (`flotilla_identity::authn`).

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{FromRequest, FromRequestParts, OptionalFromRequestParts, Request};
use flotilla_identity::principal::Principal;
use http::StatusCode;
use http::request::Parts;
use secrecy::SecretString;
use serde::de::DeserializeOwned;

use super::{RequestContext, authn, scope};
use crate::error::ApiError;
use crate::hub::Hub;
use flotilla_types::problem::Code;

pub use authn::{bearer, sign_in_again};

/// Life of a token that the hub makes for a call in the name of a caller who came without one.
const OWN_CALL: Duration = Duration::from_secs(120);

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
    /// The bearer token with which he came.
    pub token: Option<SecretString>,
}

impl Caller {
    /// A bearer token for calls that the hub makes in his name: his own, or, when he came with a cookie, one that holds
    /// for two minutes and as long as his session.
    ///
    /// # Errors
    /// He came with neither, or signing failed.
    pub fn bearer(&self, hub: &Hub) -> Result<SecretString, ApiError> {
        if let Some(token) = &self.token {
            return Ok(token.clone());
        }
        let session = self.principal.session().ok_or_else(|| ApiError::forbidden("this needs a bearer token"))?;
        let issued = hub.keys.issue_access(self.principal.user_id(), self.principal.email(), session, OWN_CALL);
        issued.map(|(token, _)| token.into()).map_err(|error| ApiError::internal(&error))
    }
}

/// A signed-in caller who administers the hub.
pub struct Administrator(pub Caller);

impl FromRequestParts<Arc<Hub>> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &Arc<Hub>) -> Result<Self, ApiError> {
        let context = context(parts)?;
        let proof = parts.extensions.get::<authn::Proof>().cloned();
        let proof = proof.ok_or_else(|| ApiError::internal("a request without proof reached a handler"))?;
        let authn::Proven { principal, bearer } = proof.0?;
        if let Some(scopes) = principal.scopes() {
            scope::check(scopes, &parts.method, parts.uri.path())?;
        }
        Ok(Self { principal, context, token: bearer })
    }
}

/// Nobody, when nothing is shown; a proof that does not hold is refused all the same.
impl OptionalFromRequestParts<Arc<Hub>> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, hub: &Arc<Hub>) -> Result<Option<Self>, ApiError> {
        if !authn::shows_something(parts, hub) {
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
