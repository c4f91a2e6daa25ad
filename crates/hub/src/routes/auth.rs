//! `/auth/*`: login, refresh, logout, change of password.
//!
//! Must not know: how passwords are hashed or tokens signed.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use flotilla_identity::password::{self, PasswordError};
use flotilla_identity::token;
use flotilla_store::{Rotation, User};
use flotilla_types::access::CookieResponse;
use flotilla_types::api::{LoginRequest, LoginResponse, PasswordRequest, RefreshRequest, SessionKind, TokenResponse};
use flotilla_types::audit::{Actor, Outcome, Verb};
use flotilla_types::id::SessionId;
use flotilla_types::name::normalize_email;
use flotilla_types::problem::{Code, Problem};
use flotilla_types::time::{from_ms, now_ms};
use http::StatusCode;
use http::header::SET_COOKIE;
use secrecy::{ExposeSecret, SecretString};

use crate::error::ApiError;
use crate::hub::Hub;
use crate::request::RequestContext;
use crate::request::arrival::Arrival;
use crate::request::caller::{AnonymousJson, Caller, Json};
use crate::trail::Entry;

type Answer<T> = Result<T, ApiError>;

/// Signs in with a password. The answer holds tokens, or, if asked for, sets a session cookie.
#[utoipa::path(post, path = "/auth/login", tag = "auth", request_body = LoginRequest, responses(
    (status = 200, body = LoginResponse), (status = 401, body = Problem), (status = 403, body = Problem),
    (status = 429, body = Problem)))]
pub async fn login(
    State(hub): State<Arc<Hub>>,
    context: RequestContext,
    arrival: Arrival,
    AnonymousJson(body): AnonymousJson<LoginRequest>,
) -> Answer<Response> {
    if body.session == SessionKind::Cookie {
        arrival.refuse_foreign()?;
    }
    let user = proven(&hub, &context, &body.email, body.password).await?;
    let (session, answer) = match body.session {
        SessionKind::Token => {
            let (session, tokens) = token_session(&hub, &user, &arrival).await?;
            (session, axum::Json(LoginResponse::Token(tokens)).into_response())
        }
        SessionKind::Cookie => {
            let signed_in = hub.sign_in(user.id, &arrival).await?;
            let answer = CookieResponse {
                id: user.id,
                email: user.email.clone(),
                expires_at: from_ms(signed_in.ends_at_ms),
                password_change_required: user.must_change,
            };
            let cookie = [(SET_COOKIE, signed_in.set_cookie)];
            (signed_in.session, (cookie, axum::Json(LoginResponse::Cookie(answer))).into_response())
        }
    };
    // The password may have been changed while it was being checked; its change ended the sessions that were there.
    let now = hub.store.user_by_id(user.id).await?.map(|now| now.password_hash);
    if now.is_none_or(|now| now.expose_secret() != user.password_hash.expose_secret()) {
        hub.end_session(session).await?;
        return Err(wrong_credentials());
    }
    Ok(answer)
}

/// The account that a password proves, recorded.
pub(super) async fn proven(hub: &Hub, context: &RequestContext, email: &str, password: String) -> Answer<User> {
    let email = normalize_email(email).unwrap_or_default();
    if let Err(wait) = hub.throttle.check(&email, context.address) {
        return Err(ApiError::too_many_requests("too many attempts to sign in; wait and try again", wait.0));
    }
    let actor = Actor { email: email.clone(), address: context.address.to_string(), ..Actor::default() };
    let entry =
        Entry { verb: Verb::Login, command: format!("login {email}"), route: "/auth/login", ..Entry::default() };
    let user = hub.store.user_by_email(&email).await?;
    let stored = user.as_ref().map(|user| user.password_hash.expose_secret());
    if !verified(password, stored).await? {
        hub.trail.record(context, actor, entry, Outcome::Denied, 401, "unknown account or wrong password").await?;
        return Err(wrong_credentials());
    }
    let user = user.ok_or_else(wrong_credentials)?;
    hub.trail.record(context, Actor { sub: Some(user.id), ..actor }, entry, Outcome::Succeeded, 200, "").await?;
    Ok(user)
}

/// Opens a session of a command line for someone who has proven who he is, and makes its first tokens. Writes no audit
/// row: the caller says how the proof was given.
pub(crate) async fn token_session(hub: &Hub, user: &User, arrival: &Arrival) -> Answer<(SessionId, TokenResponse)> {
    let (refresh_token, refresh_hash) = token::new_refresh_token();
    let until = now_ms() + hub.config.auth.refresh_expiry.as_ms();
    let session = hub.store.create_session_from(user.id, &refresh_hash, until, &arrival.device()).await?;
    Ok((session, hub_tokens(hub, user, session, &refresh_token)?))
}

/// Trades a refresh token for a new pair. The old one is spent; using it again ends the session.
#[utoipa::path(post, path = "/auth/refresh", tag = "auth", request_body = RefreshRequest, responses(
    (status = 200, body = TokenResponse), (status = 401, body = Problem)))]
pub async fn refresh(
    State(hub): State<Arc<Hub>>,
    context: RequestContext,
    AnonymousJson(body): AnonymousJson<RefreshRequest>,
) -> Answer<axum::Json<TokenResponse>> {
    let (refresh_token, refresh_hash) = token::new_refresh_token();
    let spent = token::refresh_hash(&body.refresh_token);
    match hub.store.rotate_refresh(&spent, &refresh_hash, now_ms()).await? {
        Rotation::Rotated { session, user } => {
            let user = hub.store.user_by_id(user).await?.ok_or_else(session_over)?;
            hub_tokens(&hub, &user, session, &refresh_token).map(axum::Json)
        }
        Rotation::Reused { session, user } => {
            hub.authenticator.forget_session(session);
            let actor = Actor { sub: Some(user), address: context.address.to_string(), ..Actor::default() };
            let entry = Entry {
                verb: Verb::SessionEnd,
                command: format!("end session {session}"),
                route: "/auth/refresh",
                ..Entry::default()
            };
            hub.trail
                .record(&context, actor, entry, Outcome::Succeeded, 401, "a spent refresh token was used again")
                .await?;
            let detail =
                "this refresh token was used before, so its session has been ended; sign in again with: flotilla login";
            Err(ApiError::new(StatusCode::UNAUTHORIZED, Code::RefreshReused, detail))
        }
        Rotation::Refused => Err(session_over()),
    }
}

/// Ends the caller's session; its cookie or tokens hold no longer.
#[utoipa::path(post, path = "/auth/logout", tag = "auth", responses((status = 204), (status = 401, body = Problem)))]
pub async fn logout(State(hub): State<Arc<Hub>>, caller: Caller, arrival: Arrival) -> Answer<impl IntoResponse> {
    if let Some(session) = caller.principal.session() {
        hub.trail.act(&caller, logout_entry("logout", "/auth/logout"), hub.end_session(session)).await?;
    }
    Ok((StatusCode::NO_CONTENT, [(SET_COOKIE, arrival.clear_cookie())]))
}

/// Ends all sessions of the caller, browsers and command lines. His API keys stay.
#[utoipa::path(post, path = "/auth/logout/everywhere", tag = "auth", responses((status = 204), (status = 401, body = Problem)))]
pub async fn logout_everywhere(
    State(hub): State<Arc<Hub>>,
    caller: Caller,
    arrival: Arrival,
) -> Answer<impl IntoResponse> {
    let entry = logout_entry("logout everywhere", "/auth/logout/everywhere");
    hub.trail.act(&caller, entry, hub.end_sessions_of(caller.principal.user_id())).await?;
    Ok((StatusCode::NO_CONTENT, [(SET_COOKIE, arrival.clear_cookie())]))
}

fn logout_entry(command: &str, route: &'static str) -> Entry {
    Entry { verb: Verb::Logout, status: 204, command: command.to_owned(), route, ..Entry::default() }
}

/// Changes the caller's password and ends all his sessions, this one too.
#[utoipa::path(post, path = "/auth/password", tag = "auth", request_body = PasswordRequest, responses(
    (status = 204), (status = 401, body = Problem), (status = 422, body = Problem)))]
pub async fn change_password(
    State(hub): State<Arc<Hub>>,
    caller: Caller,
    Json(body): Json<PasswordRequest>,
) -> Answer<impl IntoResponse> {
    let account = caller.principal.email().to_owned();
    if let Err(wait) = hub.throttle.check(&account, caller.context.address) {
        return Err(ApiError::too_many_requests("too many attempts; wait and try again", wait.0));
    }
    let user = hub.store.user_by_email(&account).await?.ok_or_else(session_over)?;
    let entry = Entry {
        verb: Verb::PasswordChange,
        status: 204,
        command: format!("change password of {account}"),
        route: "/auth/password",
        ..Entry::default()
    };
    if !verified(body.current, Some(user.password_hash.expose_secret())).await? {
        let address = caller.context.address.to_string();
        let actor = Actor { sub: Some(user.id), email: account, address, ..Actor::default() };
        hub.trail.record(&caller.context, actor, entry, Outcome::Denied, 401, "wrong current password").await?;
        return Err(ApiError::new(
            StatusCode::UNAUTHORIZED,
            Code::InvalidCredentials,
            "the current password is wrong; nothing was changed",
        ));
    }
    password::check_rules(&body.new).map_err(|error| ApiError::invalid(error.to_string()))?;
    let hash = password::hash(SecretString::from(body.new)).await.map_err(busy)?.into();
    hub.trail
        .act(&caller, entry, async {
            hub.store.set_password(user.id, &hash, false).await?;
            hub.end_sessions_of(user.id).await
        })
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

fn hub_tokens(hub: &Hub, user: &User, session: SessionId, refresh: &SecretString) -> Answer<TokenResponse> {
    let ttl = hub.config.auth.token_expiry.0;
    let (token, expires_at) =
        hub.keys.issue_access(user.id, &user.email, session, ttl).map_err(|error| ApiError::internal(&error))?;
    Ok(TokenResponse {
        token,
        expires_at,
        refresh_token: refresh.expose_secret().to_owned(),
        password_change_required: user.must_change,
    })
}

async fn verified(password: String, stored: Option<&str>) -> Answer<bool> {
    password::verify(SecretString::from(password), stored).await.map_err(busy)
}

/// Hashing is slow on purpose, so only a few are done at a time.
pub(super) fn busy(error: PasswordError) -> ApiError {
    match error {
        PasswordError::Busy => ApiError::too_many_requests(
            "too many passwords are being checked; try again shortly",
            Duration::from_secs(2),
        ),
        other => ApiError::internal(&other),
    }
}

fn wrong_credentials() -> ApiError {
    ApiError::new(StatusCode::UNAUTHORIZED, Code::InvalidCredentials, "unknown account or wrong password")
}

fn session_over() -> ApiError {
    ApiError::unauthenticated("this session is over; sign in again with: flotilla login")
}
