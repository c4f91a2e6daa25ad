//! `/api/users`: accounts. Administrators only.
//!
//! Must not know: how passwords are hashed.

use std::sync::Arc;

use axum::extract::State;
use axum::response::IntoResponse;
use flotilla_identity::password;
use flotilla_store::{NewUser, User};
use flotilla_types::api::{RolesRequest, UserCreate, UserCreated, UserList, UserView};
use flotilla_types::audit::Verb;
use flotilla_types::id::UserId;
use flotilla_types::name::normalize_email;
use flotilla_types::problem::Problem;
use flotilla_types::time::from_ms;
use http::StatusCode;
use secrecy::{ExposeSecret, SecretString};

use crate::error::ApiError;
use crate::hub::Hub;
use crate::request::caller::{Administrator, Json, Path};
use crate::trail::Entry;

type Answer<T> = Result<T, ApiError>;

fn view(hub: &Hub, user: User) -> UserView {
    UserView {
        id: user.id,
        roles: hub.roles.effective(&user.email, user.roles),
        email: user.email,
        created_at: from_ms(user.created_at_ms),
    }
}

/// All accounts.
#[utoipa::path(get, path = "/api/users", tag = "users", responses((status = 200, body = UserList), (status = 403, body = Problem)))]
pub async fn list(State(hub): State<Arc<Hub>>, _: Administrator) -> Answer<axum::Json<UserList>> {
    let users = hub.store.list_users().await?.into_iter().map(|user| view(&hub, user)).collect();
    Ok(axum::Json(UserList { users }))
}

/// Makes an account.
#[utoipa::path(post, path = "/api/users", tag = "users", request_body = UserCreate, responses(
    (status = 201, body = UserCreated), (status = 409, body = Problem), (status = 422, body = Problem)))]
pub async fn create(
    State(hub): State<Arc<Hub>>,
    Administrator(caller): Administrator,
    Json(body): Json<UserCreate>,
) -> Answer<impl IntoResponse> {
    let email = normalize_email(&body.email)?;
    hub.roles.check_known(&body.roles)?;
    let (password_hash, password, must_change) = first_password(body.password, body.password_hash).await?;
    let new = NewUser { email: email.clone(), password_hash, must_change, roles: body.roles };
    let entry = Entry {
        verb: Verb::UserCreate,
        status: 201,
        command: format!("create user {email}"),
        route: "/api/users",
        ..Entry::default()
    };
    let user = hub.trail.act(&caller, entry, hub.store.create_user(new)).await?;
    let created =
        UserCreated { user: view(&hub, user), password: password.map(|secret| secret.expose_secret().to_owned()) };
    Ok((StatusCode::CREATED, axum::Json(created)))
}

/// The hash to store, the password if it was made here, and whether it should be changed.
async fn first_password(
    given: Option<String>,
    hash: Option<String>,
) -> Answer<(SecretString, Option<SecretString>, bool)> {
    match (given, hash) {
        (Some(_), Some(_)) => Err(ApiError::invalid("give password or password_hash, not both")),
        (None, Some(hash)) if password::is_supported_hash(&hash) => Ok((hash.into(), None, false)),
        (None, Some(_)) => {
            Err(ApiError::invalid("password_hash is of no known kind; use $argon2id$... or bcrypt's $2b$..."))
        }
        (Some(given), None) => {
            password::check_rules(&given).map_err(|error| ApiError::invalid(error.to_string()))?;
            Ok((hashed(SecretString::from(given)).await?, None, false))
        }
        (None, None) => {
            let made = password::generate();
            Ok((hashed(made.clone()).await?, Some(made), true))
        }
    }
}

async fn hashed(password: SecretString) -> Answer<SecretString> {
    password::hash(password).await.map(SecretString::from).map_err(super::auth::busy)
}

/// Removes an account and ends its sessions. Its audit rows stay.
#[utoipa::path(delete, path = "/api/users/{id}", tag = "users", params(("id" = UserId, Path)), responses(
    (status = 204), (status = 404, body = Problem), (status = 409, body = Problem)))]
pub async fn remove(
    State(hub): State<Arc<Hub>>,
    Administrator(caller): Administrator,
    Path(id): Path<UserId>,
) -> Answer<impl IntoResponse> {
    if id == caller.principal.user_id() {
        return Err(ApiError::conflict("you cannot remove your own account; ask another administrator"));
    }
    let user = existing(&hub, id).await?;
    let entry = Entry {
        verb: Verb::UserDelete,
        status: 204,
        command: format!("delete user {}", user.email),
        route: "/api/users/{id}",
        ..Entry::default()
    };
    hub.trail
        .act(&caller, entry, async {
            hub.store.delete_user(id).await?;
            hub.end_sessions_of(id).await
        })
        .await?;
    hub.reload_directory().await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Replaces the roles that the database gives to an account.
#[utoipa::path(put, path = "/api/users/{id}/roles", tag = "users", params(("id" = UserId, Path)), request_body = RolesRequest, responses(
    (status = 200, body = UserView), (status = 404, body = Problem), (status = 422, body = Problem)))]
pub async fn set_roles(
    State(hub): State<Arc<Hub>>,
    Administrator(caller): Administrator,
    Path(id): Path<UserId>,
    Json(body): Json<RolesRequest>,
) -> Answer<axum::Json<UserView>> {
    hub.roles.check_known(&body.roles)?;
    let user = existing(&hub, id).await?;
    let after = hub.roles.effective(&user.email, body.roles.clone());
    if id == caller.principal.user_id() && !hub.policy.load().is_administrator(&after) {
        return Err(ApiError::conflict(
            "this would take your own administrator's rights; ask another administrator to do it",
        ));
    }
    let command = format!("set roles of {} to {}", user.email, body.roles.join(","));
    let entry = Entry { verb: Verb::RoleAssign, command, route: "/api/users/{id}/roles", ..Entry::default() };
    hub.trail.act(&caller, entry, hub.store.set_user_roles(id, &body.roles)).await?;
    hub.authenticator.forget_user(id);
    Ok(axum::Json(view(&hub, User { roles: body.roles, ..user })))
}

/// Gives an account a new password, shown once, and ends its sessions.
#[utoipa::path(post, path = "/api/users/{id}/password", tag = "users", params(("id" = UserId, Path)), responses(
    (status = 200, body = UserCreated), (status = 404, body = Problem)))]
pub async fn reset_password(
    State(hub): State<Arc<Hub>>,
    Administrator(caller): Administrator,
    Path(id): Path<UserId>,
) -> Answer<axum::Json<UserCreated>> {
    let user = existing(&hub, id).await?;
    let made = password::generate();
    let hash = hashed(made.clone()).await?;
    let entry = Entry {
        verb: Verb::PasswordReset,
        command: format!("reset password of {}", user.email),
        route: "/api/users/{id}/password",
        ..Entry::default()
    };
    hub.trail
        .act(&caller, entry, async {
            hub.store.set_password(id, &hash, true).await?;
            hub.end_sessions_of(id).await
        })
        .await?;
    Ok(axum::Json(UserCreated { user: view(&hub, user), password: Some(made.expose_secret().to_owned()) }))
}

async fn existing(hub: &Hub, id: UserId) -> Answer<User> {
    hub.store
        .user_by_id(id)
        .await?
        .ok_or_else(|| ApiError::not_found(format!("there is no user {id}; list them with: flotilla users list")))
}
