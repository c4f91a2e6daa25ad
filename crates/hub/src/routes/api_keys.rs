//! `/api/api-keys`: keys that programs use in a person's name.
//!
//! Must not know: how keys are kept or checked, what a scope means.

use std::sync::Arc;

use axum::extract::State;
use axum::response::IntoResponse;
use flotilla_identity::api_key::NewApiKey;
use flotilla_identity::principal::Via;
use flotilla_identity::scopes::Scopes;
use flotilla_store::ApiKey;
use flotilla_types::access::{ApiKeyCreate, ApiKeyCreated, ApiKeyList, ApiKeyUpdate, ApiKeyView};
use flotilla_types::audit::Verb;
use flotilla_types::id::ApiKeyId;
use flotilla_types::problem::Problem;
use flotilla_types::time::{from_ms, now_ms};
use http::StatusCode;
use secrecy::ExposeSecret;

use super::sessions::{Whose, is_administrator};
use crate::error::ApiError;
use crate::hub::Hub;
use crate::request::caller::{Caller, Json, Path, Query};
use crate::trail::Entry;

type Answer<T> = Result<T, ApiError>;

/// Most keys of one person.
const MOST: u32 = 100;

/// Longest life of a key that has one, in days.
const MAX_DAYS: u32 = 365;

const DAY_MS: i64 = 86_400_000;

fn view(hub: &Hub, key: ApiKey) -> ApiKeyView {
    let used = hub.sessions.noted_use(Via::Key(key.id)).or(key.last_used_ms);
    ApiKeyView {
        id: key.id,
        name: key.name,
        prefix: key.prefix,
        scopes: key.scopes,
        created_at: from_ms(key.created_at_ms),
        expires_at: key.expires_at_ms.map(from_ms),
        last_used_at: used.map(from_ms),
    }
}

/// The caller's keys, or anyone's for an administrator. Never their secrets.
#[utoipa::path(get, path = "/api/api-keys", tag = "auth", params(Whose), responses(
    (status = 200, body = ApiKeyList), (status = 401, body = Problem), (status = 403, body = Problem)))]
pub async fn list(
    State(hub): State<Arc<Hub>>,
    caller: Caller,
    Query(whose): Query<Whose>,
) -> Answer<axum::Json<ApiKeyList>> {
    let keys = hub.store.api_keys_of(whose.account(&hub, &caller)?).await?;
    Ok(axum::Json(ApiKeyList { api_keys: keys.into_iter().map(|key| view(&hub, key)).collect() }))
}

/// Makes a key, which is shown this once.
#[utoipa::path(post, path = "/api/api-keys", tag = "auth", request_body = ApiKeyCreate, responses(
    (status = 201, body = ApiKeyCreated), (status = 409, body = Problem), (status = 422, body = Problem)))]
pub async fn create(
    State(hub): State<Arc<Hub>>,
    caller: Caller,
    Json(body): Json<ApiKeyCreate>,
) -> Answer<impl IntoResponse> {
    let (name, scopes) = checked(&body.name, &body.scopes)?;
    let expires_at_ms = body.expires_in_days.map(ends_after).transpose()?;
    let made = NewApiKey::generate();
    let entry = Entry {
        verb: Verb::ApiKeyCreate,
        status: 201,
        command: format!("create API key {name} ({}) with {}", made.prefix, scopes.join(" ")),
        route: "/api/api-keys",
        ..Entry::default()
    };
    let user = caller.principal.user_id();
    let new = flotilla_store::NewApiKey { user, name, prefix: made.prefix, hash: made.hash, scopes, expires_at_ms };
    let too_many = || ApiError::conflict(format!("you have {MOST} API keys already; revoke one that nobody uses"));
    let key = hub
        .trail
        .act(&caller, entry, Box::pin(async { hub.store.create_api_key(new, MOST).await?.ok_or_else(too_many) }))
        .await?;
    let created = ApiKeyCreated { key: made.key.expose_secret().to_owned(), api_key: view(&hub, key) };
    Ok((StatusCode::CREATED, axum::Json(created)))
}

/// One key.
#[utoipa::path(get, path = "/api/api-keys/{id}", tag = "auth", params(("id" = ApiKeyId, Path)), responses(
    (status = 200, body = ApiKeyView), (status = 404, body = Problem)))]
pub async fn get(
    State(hub): State<Arc<Hub>>,
    caller: Caller,
    Path(id): Path<ApiKeyId>,
) -> Answer<axum::Json<ApiKeyView>> {
    Ok(axum::Json(view(&hub, own(&hub, &caller, id).await?)))
}

/// Gives a key another name and other scopes. Its secret and its end stay.
#[utoipa::path(put, path = "/api/api-keys/{id}", tag = "auth", params(("id" = ApiKeyId, Path)), request_body = ApiKeyUpdate, responses(
    (status = 200, body = ApiKeyView), (status = 404, body = Problem), (status = 409, body = Problem),
    (status = 422, body = Problem)))]
pub async fn update(
    State(hub): State<Arc<Hub>>,
    caller: Caller,
    Path(id): Path<ApiKeyId>,
    Json(body): Json<ApiKeyUpdate>,
) -> Answer<axum::Json<ApiKeyView>> {
    let key = own(&hub, &caller, id).await?;
    // What a key may be used for is its owner's to say; an administrator can revoke it.
    if key.user != caller.principal.user_id() {
        return Err(unknown());
    }
    let (name, scopes) = checked(&body.name, &body.scopes)?;
    let command = format!("change API key {} ({}) to {name} with {}", key.name, key.prefix, scopes.join(" "));
    let entry = Entry { verb: Verb::ApiKeyUpdate, command, route: "/api/api-keys/{id}", ..Entry::default() };
    hub.trail.act(&caller, entry, hub.store.update_api_key(id, &name, &scopes)).await?;
    hub.authenticator.forget_key(id);
    Ok(axum::Json(view(&hub, ApiKey { name, scopes, ..key })))
}

/// Revokes a key of the caller, or of anyone for an administrator. It holds no longer, from this moment on.
#[utoipa::path(delete, path = "/api/api-keys/{id}", tag = "auth", params(("id" = ApiKeyId, Path)), responses(
    (status = 204), (status = 404, body = Problem)))]
pub async fn revoke(
    State(hub): State<Arc<Hub>>,
    caller: Caller,
    Path(id): Path<ApiKeyId>,
) -> Answer<impl IntoResponse> {
    let key = own(&hub, &caller, id).await?;
    let whose = if key.user == caller.principal.user_id() { String::new() } else { format!(" of user {}", key.user) };
    let entry = Entry {
        verb: Verb::ApiKeyRevoke,
        status: 204,
        command: format!("revoke API key {} ({}){whose}", key.name, key.prefix),
        route: "/api/api-keys/{id}",
        ..Entry::default()
    };
    hub.trail.act(&caller, entry, hub.store.revoke_api_key(id)).await?;
    hub.authenticator.forget_key(id);
    Ok(StatusCode::NO_CONTENT)
}

/// The key, if it is the caller's or he is an administrator.
async fn own(hub: &Hub, caller: &Caller, id: ApiKeyId) -> Answer<ApiKey> {
    let found = hub.store.api_key(id).await?;
    let mine = |key: &ApiKey| key.user == caller.principal.user_id() || is_administrator(hub, caller);
    found.filter(mine).ok_or_else(unknown)
}

fn unknown() -> ApiError {
    ApiError::not_found("there is no such API key; list yours with: flotilla api-keys list")
}

fn checked(name: &str, scopes: &[String]) -> Answer<(String, Vec<String>)> {
    let name = name.trim();
    if name.is_empty() || name.chars().count() > 100 || name.chars().any(char::is_control) {
        return Err(ApiError::invalid("name must have 1 to 100 characters; say what the key is for"));
    }
    let scopes = Scopes::parse(scopes).map_err(|error| ApiError::invalid(error.to_string()))?;
    Ok((name.to_owned(), scopes.written().to_vec()))
}

fn ends_after(days: u32) -> Answer<i64> {
    if days == 0 || days > MAX_DAYS {
        return Err(ApiError::invalid(format!("expiresInDays is {days}; give 1 to {MAX_DAYS}, or leave it out")));
    }
    Ok(now_ms() + i64::from(days) * DAY_MS)
}
