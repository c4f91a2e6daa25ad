//! The one place where a request of the people's listener becomes a [`Principal`], for routes and gateway alike.
//!
//! | what it shows | where it counts |
//! |---|---|
//! | `Authorization: Bearer`, an access token or an API key | everywhere |
//! | the session cookie | everywhere but `/k8s/`; changes only from pages of ours ([`super::csrf`]) |
//! | `?ticket=` | a GET of the ticket's own path, once |
//!
//! A cookie is not believed under `/k8s/`: pages that workloads serve through the gateway's proxy have our origin, and
//! would act as whoever looks at them.
//!
//! Must not know: how any of these is checked, what the caller may do.

use flotilla_identity::authn::AuthnError;
use flotilla_identity::principal::{Principal, Via};
use flotilla_tunnel::upgrade;
use flotilla_types::time::now_ms;
use http::header::AUTHORIZATION;
use http::request::Parts;
use http::{HeaderMap, Method, StatusCode};
use secrecy::SecretString;

use super::{RequestContext, arrival, csrf};
use crate::error::ApiError;
use crate::hub::Hub;

/// Who it is, and the bearer token, if that is how he proved it.
#[derive(Clone)]
pub struct Proven {
    /// Who.
    pub principal: Principal,
    /// His token, for calls that the hub makes in his name.
    pub bearer: Option<SecretString>,
}

/// Why there is no principal.
#[derive(Debug)]
pub enum Refused {
    /// Nothing that could prove anything.
    Nothing,
    /// More than one `Authorization`, or none that is a bearer token.
    Malformed(&'static str),
    /// What was shown does not hold.
    Authn(AuthnError),
    /// Refused for another reason, with its answer.
    Other(ApiError),
}

/// The bearer token of a request (RFC 6750 section 2.1; the scheme's case does not matter).
#[must_use]
pub fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// Whether the request shows anything that could prove who sends it.
pub(crate) fn shows_something(parts: &Parts, hub: &Hub) -> bool {
    parts.headers.contains_key(AUTHORIZATION)
        || arrival::session_cookie(&parts.headers, arrival::is_secure(parts, &hub.config)).is_some()
        || ticket(parts).is_some()
}

/// What was found out of the caller of a route, in the request's extensions. Routes ask for it with
/// [`super::caller::Caller`].
#[derive(Clone)]
pub(crate) struct Proof(pub(crate) Result<Proven, ApiError>);

/// Who calls the gateway: bearer tokens only. Whoever cannot prove who he is counts against his address, so that
/// guessing is slow.
///
/// # Errors
/// Why there is nobody.
pub(crate) async fn by_bearer(hub: &Hub, headers: &HeaderMap, context: &RequestContext) -> Result<Principal, Refused> {
    let found = match only_bearer(headers) {
        Ok(Some(token)) => hub.authenticator.authenticate(token).await.map_err(Refused::Authn),
        Ok(None) => Err(Refused::Nothing),
        Err(malformed) => Err(malformed),
    };
    if found.is_err() {
        hub.limits.address(context.address).map_err(Refused::Other)?;
    }
    found
}

/// Who calls a route.
///
/// # Errors
/// Why there is nobody.
pub(crate) async fn by_any(hub: &Hub, parts: &Parts) -> Result<Proven, Refused> {
    if let Some(token) = only_bearer(&parts.headers)? {
        let principal = hub.authenticator.authenticate(token).await.map_err(Refused::Authn)?;
        return Ok(Proven { principal, bearer: Some(token.to_owned().into()) });
    }
    let cookie = arrival::session_cookie(&parts.headers, arrival::is_secure(parts, &hub.config));
    let principal = match (ticket(parts), cookie) {
        (Some(ticket), _) => by_ticket(hub, parts, &ticket).await,
        (None, Some(cookie)) => {
            let upgrades = upgrade::token(&parts.headers).is_some();
            csrf::check_cookie_request(parts, &hub.config, upgrades).map_err(Refused::Other)?;
            hub.authenticator.authenticate_cookie(cookie).await
        }
        (None, None) => return Err(Refused::Nothing),
    };
    Ok(Proven { principal: principal.map_err(Refused::Authn)?, bearer: None })
}

async fn by_ticket(hub: &Hub, parts: &Parts, ticket: &str) -> Result<Principal, AuthnError> {
    let redeemed = hub.tickets.redeem(ticket, parts.uri.path(), now_ms()).await;
    let via =
        redeemed.map_err(|error| AuthnError::Unavailable(flotilla_identity::authn::AccountsError(Box::new(error))))?;
    // Its owner may have signed out meanwhile.
    hub.authenticator.resolve(via.unwrap_or(Via::System)).await
}

/// The ticket of a request that may carry one.
fn ticket(parts: &Parts) -> Option<String> {
    let query = parts.uri.query().filter(|_| parts.method == Method::GET)?;
    let mut found = query.split('&').filter_map(|pair| pair.strip_prefix("ticket="));
    found.next().filter(|_| found.next().is_none()).map(str::to_owned)
}

/// The one bearer token. A second `Authorization` might be what a proxy before us looked at.
fn only_bearer(headers: &HeaderMap) -> Result<Option<&str>, Refused> {
    let mut given = headers.get_all(AUTHORIZATION).iter();
    if given.next().is_none() {
        return Ok(None);
    }
    if given.next().is_some() {
        return Err(Refused::Malformed("there is more than one Authorization header; send one"));
    }
    bearer(headers).map(Some).ok_or(Refused::Malformed("the Authorization header is no bearer token (RFC 6750)"))
}

/// What a caller is told when his proof does not hold.
#[must_use]
pub fn sign_in_again(error: &AuthnError) -> String {
    match error {
        AuthnError::KeyRefused => error.to_string(),
        other => format!("{other}; sign in again with: flotilla login"),
    }
}

impl From<Refused> for ApiError {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Nothing => Self::unauthenticated(
                "this needs a session cookie, a bearer token or an API key; sign in at /auth/login or with: flotilla login",
            ),
            Refused::Malformed(detail) => {
                Self::new(StatusCode::UNAUTHORIZED, flotilla_types::problem::Code::Unauthenticated, detail)
            }
            Refused::Authn(AuthnError::Unavailable(cause)) => Self::internal(&cause),
            Refused::Authn(error) => Self::unauthenticated(sign_in_again(&error)),
            Refused::Other(error) => error,
        }
    }
}
