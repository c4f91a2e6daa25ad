//! `/api/roles`: policy. Everyone may read it, administrators change it.
//!
//! Must not know: what a rule means.

use std::sync::Arc;

use axum::extract::State;
use axum::response::IntoResponse;
use flotilla_types::api::RoleList;
use flotilla_types::audit::Verb;
use flotilla_types::name::check_role_name;
use flotilla_types::policy::Role;
use flotilla_types::problem::Problem;
use http::StatusCode;

use crate::error::ApiError;
use crate::hub::Hub;
use crate::request::caller::{Administrator, Caller, Json, Path};
use crate::trail::Entry;

type Answer<T> = Result<T, ApiError>;

/// All roles, built in, from the file and from the database. Others than administrators see those they hold.
#[utoipa::path(get, path = "/api/roles", tag = "roles", responses((status = 200, body = RoleList), (status = 401, body = Problem)))]
pub async fn list(State(hub): State<Arc<Hub>>, caller: Caller) -> axum::Json<RoleList> {
    let policy = hub.policy.load();
    let all = policy.is_administrator(caller.principal.roles());
    let mut roles = policy.roles();
    roles.retain(|view| all || caller.principal.roles().contains(&view.role.name));
    axum::Json(RoleList { roles })
}

/// Makes a role.
#[utoipa::path(post, path = "/api/roles", tag = "roles", request_body = Role, responses(
    (status = 201, body = Role), (status = 409, body = Problem), (status = 422, body = Problem)))]
pub async fn create(
    State(hub): State<Arc<Hub>>,
    Administrator(caller): Administrator,
    Json(role): Json<Role>,
) -> Answer<impl IntoResponse> {
    check_role_name(&role.name)?;
    hub.roles.check_role(&role)?;
    if hub.roles.source(&role.name).is_some() {
        return Err(ApiError::conflict(format!(
            "there is a role {} already; replace it with PUT /api/roles/{}",
            role.name, role.name
        )));
    }
    let entry = Entry {
        verb: Verb::RoleCreate,
        status: 201,
        command: format!("create role {}", role.name),
        route: "/api/roles",
        ..Entry::default()
    };
    hub.trail.act(&caller, entry, hub.store.create_role(&role)).await?;
    hub.reload_policy().await?;
    Ok((StatusCode::CREATED, axum::Json(role)))
}

/// Replaces a role of the database.
#[utoipa::path(put, path = "/api/roles/{name}", tag = "roles", params(("name" = String, Path)), request_body = Role, responses(
    (status = 200, body = Role), (status = 404, body = Problem), (status = 409, body = Problem)))]
pub async fn replace(
    State(hub): State<Arc<Hub>>,
    Administrator(caller): Administrator,
    Path(name): Path<String>,
    Json(role): Json<Role>,
) -> Answer<axum::Json<Role>> {
    if role.name != name {
        return Err(ApiError::invalid(format!(
            "the path names the role {name:?} and the body {:?}; they must be the same",
            role.name
        )));
    }
    hub.roles.check_role(&role)?;
    hub.roles.check_changeable(&name)?;
    let entry = Entry {
        verb: Verb::RoleReplace,
        command: format!("replace role {name}"),
        route: "/api/roles/{name}",
        ..Entry::default()
    };
    hub.trail.act(&caller, entry, hub.store.replace_role(&role)).await?;
    hub.reload_policy().await?;
    Ok(axum::Json(role))
}

/// Removes a role of the database. Whoever held it holds it no longer.
#[utoipa::path(delete, path = "/api/roles/{name}", tag = "roles", params(("name" = String, Path)), responses(
    (status = 204), (status = 404, body = Problem), (status = 409, body = Problem)))]
pub async fn remove(
    State(hub): State<Arc<Hub>>,
    Administrator(caller): Administrator,
    Path(name): Path<String>,
) -> Answer<impl IntoResponse> {
    hub.roles.check_changeable(&name)?;
    let entry = Entry {
        verb: Verb::RoleDelete,
        status: 204,
        command: format!("delete role {name}"),
        route: "/api/roles/{name}",
        ..Entry::default()
    };
    hub.trail.act(&caller, entry, hub.store.delete_role(&name)).await?;
    hub.reload_policy().await?;
    Ok(StatusCode::NO_CONTENT)
}
