//! `/api/me`, `/api/orgs`, `/api/admin/users`: organisations, their members, whose each cluster is. What somebody may
//! do is decided by [`Standing`]; an organisation that is not his answers like one that is not there.
//!
//! Must not know: how members are kept.

use std::sync::Arc;

use axum::extract::State;
use axum::response::IntoResponse;
use flotilla_identity::standing::{Act, Standing, Verdict};
use flotilla_store::{Org, OwnedCluster, Team};
use flotilla_types::audit::Verb;
use flotilla_types::id::{OrgId, TeamId, UserId};
use flotilla_types::name::{check_slug, normalize_email};
use flotilla_types::org::{
    AdminUser, AdminUserList, DEFAULT_ORG_ID, Me, MemberList, MemberView, MyTeam, OrgCluster, OrgClusterList,
    OrgClusterPut, OrgCreate, OrgList, OrgMemberPut, OrgRole, OrgUpdate, OrgView,
};
use flotilla_types::problem::Problem;
use flotilla_types::time::from_ms;
use http::StatusCode;

use crate::directory::Directory;
use crate::error::ApiError;
use crate::hub::Hub;
use crate::request::caller::{Administrator, Caller, Json, Path};
use crate::trail::Entry;

type Answer<T> = Result<T, ApiError>;

/// Turns a verdict into go on, 403 with the reason, or 404 as for what is not there.
pub(super) fn require(standing: Standing, act: Act, missing: impl FnOnce() -> ApiError) -> Answer<()> {
    match standing.may(act) {
        Verdict::Allowed(_) => Ok(()),
        Verdict::Denied(reason) => Err(ApiError::forbidden(reason)),
        Verdict::Invisible => Err(missing()),
    }
}

pub(super) fn platform_admin(hub: &Hub, caller: &Caller) -> bool {
    hub.policy.load().is_administrator(caller.principal.roles())
}

fn missing() -> ApiError {
    ApiError::not_found("there is no such organisation; list yours with: flotilla orgs list")
}

/// The organisation, if the caller may do this to it.
pub(super) fn allowed(hub: &Hub, caller: &Caller, id: OrgId, act: Act) -> Answer<(Arc<Directory>, Org)> {
    let directory = hub.roles.directory();
    let org = directory.org(id).cloned().ok_or_else(missing)?;
    let standing = directory.org_standing(id, caller.principal.user_id(), platform_admin(hub, caller));
    require(standing, act, missing)?;
    Ok((directory, org))
}

/// The account of an address, for those who manage members: they may learn whether there is one.
pub(super) async fn account(hub: &Hub, email: &str) -> Answer<UserId> {
    let email = normalize_email(email)?;
    let user = hub.store.user_by_email(&email).await?;
    user.map(|user| user.id)
        .ok_or_else(|| ApiError::invalid(format!("{email} has no account here; invite with: flotilla invite")))
}

pub(super) fn entry(verb: Verb, route: &'static str, status: u16, command: String) -> Entry {
    Entry { verb, command, route, status, ..Entry::default() }
}

fn view(directory: &Directory, user: UserId, org: &Org) -> OrgView {
    OrgView {
        id: org.id,
        name: org.name.clone(),
        display_name: org.display_name.clone(),
        role: directory.org_role(org.id, user),
        created_at: from_ms(org.created_at_ms),
    }
}

/// Who the caller is and where he belongs.
#[utoipa::path(get, path = "/api/me", tag = "orgs", responses((status = 200, body = Me), (status = 401, body = Problem)))]
pub async fn me(State(hub): State<Arc<Hub>>, caller: Caller) -> axum::Json<Me> {
    let directory = hub.roles.directory();
    let user = caller.principal.user_id();
    let my = |team: &Team| {
        let role = directory.team_role(team.id, user)?;
        Some(MyTeam { id: team.id, path: directory.path(team), role })
    };
    let mine = |org: &&Org| directory.org_role(org.id, user).is_some();
    axum::Json(Me {
        id: user,
        email: caller.principal.email().to_owned(),
        platform_admin: platform_admin(&hub, &caller),
        roles: caller.principal.roles().to_vec(),
        orgs: directory.orgs.iter().filter(mine).map(|org| view(&directory, user, org)).collect(),
        teams: directory.teams.iter().filter_map(my).collect(),
    })
}

/// The organisations that the caller may see.
#[utoipa::path(get, path = "/api/orgs", tag = "orgs", responses((status = 200, body = OrgList), (status = 401, body = Problem)))]
pub async fn list(State(hub): State<Arc<Hub>>, caller: Caller) -> axum::Json<OrgList> {
    let (directory, user, all) = (hub.roles.directory(), caller.principal.user_id(), platform_admin(&hub, &caller));
    let seen = directory.orgs.iter().filter(|org| all || directory.org_role(org.id, user).is_some());
    axum::Json(OrgList { orgs: seen.map(|org| view(&directory, user, org)).collect() })
}

/// Makes an organisation.
#[utoipa::path(post, path = "/api/orgs", tag = "orgs", request_body = OrgCreate, responses(
    (status = 201, body = OrgView), (status = 403, body = Problem), (status = 409, body = Problem), (status = 422, body = Problem)))]
pub async fn create(
    State(hub): State<Arc<Hub>>,
    Administrator(caller): Administrator,
    Json(body): Json<OrgCreate>,
) -> Answer<impl IntoResponse> {
    check_slug("organisation name", &body.name)?;
    let owner = match &body.owner {
        Some(email) => account(&hub, email).await?,
        None => caller.principal.user_id(),
    };
    let display = body.display_name.as_deref().unwrap_or(&body.name);
    let entry = entry(Verb::OrgCreate, "/api/orgs", 201, format!("create organisation {}", body.name));
    let org = hub.trail.act(&caller, entry, hub.store.create_org(&body.name, display, owner)).await?;
    hub.reload_directory().await?;
    Ok((StatusCode::CREATED, axum::Json(view(&hub.roles.directory(), caller.principal.user_id(), &org))))
}

/// One organisation.
#[utoipa::path(get, path = "/api/orgs/{id}", tag = "orgs", params(("id" = OrgId, Path)),
    responses((status = 200, body = OrgView), (status = 404, body = Problem)))]
pub async fn show(State(hub): State<Arc<Hub>>, caller: Caller, Path(id): Path<OrgId>) -> Answer<axum::Json<OrgView>> {
    let (directory, org) = allowed(&hub, &caller, id, Act::See)?;
    Ok(axum::Json(view(&directory, caller.principal.user_id(), &org)))
}

/// Changes what people read of an organisation.
#[utoipa::path(patch, path = "/api/orgs/{id}", tag = "orgs", params(("id" = OrgId, Path)), request_body = OrgUpdate,
    responses((status = 200, body = OrgView), (status = 403, body = Problem), (status = 404, body = Problem)))]
pub async fn update(
    State(hub): State<Arc<Hub>>,
    caller: Caller,
    Path(id): Path<OrgId>,
    Json(body): Json<OrgUpdate>,
) -> Answer<axum::Json<OrgView>> {
    let (_, org) = allowed(&hub, &caller, id, Act::ManageOrg)?;
    let entry = entry(Verb::OrgUpdate, "/api/orgs/{id}", 200, format!("change organisation {}", org.name));
    hub.trail.act(&caller, entry, hub.store.rename_org(id, &body.display_name)).await?;
    hub.reload_directory().await?;
    let (directory, org) = allowed(&hub, &caller, id, Act::See)?;
    Ok(axum::Json(view(&directory, caller.principal.user_id(), &org)))
}

/// Deletes an organisation with its teams. It must have no clusters any more.
#[utoipa::path(delete, path = "/api/orgs/{id}", tag = "orgs", params(("id" = OrgId, Path)),
    responses((status = 204), (status = 403, body = Problem), (status = 404, body = Problem), (status = 409, body = Problem)))]
pub async fn remove(State(hub): State<Arc<Hub>>, caller: Caller, Path(id): Path<OrgId>) -> Answer<impl IntoResponse> {
    let (_, org) = allowed(&hub, &caller, id, Act::ManageOwners)?;
    if id == DEFAULT_ORG_ID {
        return Err(ApiError::conflict("the default organisation stays: whoever is in no other belongs to it"));
    }
    let entry = entry(Verb::OrgDelete, "/api/orgs/{id}", 204, format!("delete organisation {}", org.name));
    hub.trail.act(&caller, entry, hub.store.delete_org(id)).await?;
    hub.reload_directory().await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Members of an organisation.
#[utoipa::path(get, path = "/api/orgs/{id}/members", tag = "orgs", params(("id" = OrgId, Path)),
    responses((status = 200, body = MemberList), (status = 404, body = Problem)))]
pub async fn members(
    State(hub): State<Arc<Hub>>,
    caller: Caller,
    Path(id): Path<OrgId>,
) -> Answer<axum::Json<MemberList>> {
    allowed(&hub, &caller, id, Act::See)?;
    let here = hub.store.list_org_members().await?.into_iter().filter(|member| member.org == id);
    let view = here.map(|one| MemberView { user: one.user, email: one.email, role: one.role.as_str().to_owned() });
    Ok(axum::Json(MemberList { members: view.collect() }))
}

/// Adds a member or changes what he is.
#[utoipa::path(put, path = "/api/orgs/{id}/members", tag = "orgs", params(("id" = OrgId, Path)), request_body = OrgMemberPut,
    responses((status = 204), (status = 403, body = Problem), (status = 404, body = Problem), (status = 409, body = Problem)))]
pub async fn put_member(
    State(hub): State<Arc<Hub>>,
    caller: Caller,
    Path(id): Path<OrgId>,
    Json(body): Json<OrgMemberPut>,
) -> Answer<impl IntoResponse> {
    let (directory, org) = allowed(&hub, &caller, id, Act::ManageOrg)?;
    let user = account(&hub, &body.email).await?;
    // Who makes an owner, or of an owner something else, must be one.
    if body.role == OrgRole::Owner || directory.org_role(id, user) == Some(OrgRole::Owner) {
        allowed(&hub, &caller, id, Act::ManageOwners)?;
    }
    // Whom an organisation takes in from another, it would also take out of where he is: only the platform does that.
    let elsewhere =
        directory.org_members.iter().any(|one| one.user == user && one.org != id && one.org != DEFAULT_ORG_ID);
    if elsewhere && directory.org_role(id, user).is_none() && !platform_admin(&hub, &caller) {
        return Err(ApiError::conflict("he is in another organisation; invite him instead, so that he can agree"));
    }
    let command = format!("make {} {} of {}", body.email, body.role.as_str(), org.name);
    let entry = entry(Verb::OrgMemberSet, "/api/orgs/{id}/members", 204, command);
    hub.trail.act(&caller, entry, hub.store.put_org_member(id, user, body.role)).await?;
    hub.reload_directory().await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Removes a member, from the organisation's teams too. Everyone may leave.
#[utoipa::path(delete, path = "/api/orgs/{id}/members/{user}", tag = "orgs", params(("id" = OrgId, Path), ("user" = UserId, Path)),
    responses((status = 204), (status = 403, body = Problem), (status = 404, body = Problem), (status = 409, body = Problem)))]
pub async fn remove_member(
    State(hub): State<Arc<Hub>>,
    caller: Caller,
    Path((id, user)): Path<(OrgId, UserId)>,
) -> Answer<impl IntoResponse> {
    let leaves = user == caller.principal.user_id();
    let (directory, org) = allowed(&hub, &caller, id, if leaves { Act::See } else { Act::ManageOrg })?;
    if directory.org_role(id, user) == Some(OrgRole::Owner) && !leaves {
        allowed(&hub, &caller, id, Act::ManageOwners)?;
    }
    let command = format!("remove {user} from {}", org.name);
    let entry = entry(Verb::OrgMemberRemove, "/api/orgs/{id}/members/{user}", 204, command);
    hub.trail.act(&caller, entry, hub.store.remove_org_member(id, user)).await?;
    hub.reload_directory().await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Clusters of an organisation.
#[utoipa::path(get, path = "/api/orgs/{id}/clusters", tag = "orgs", params(("id" = OrgId, Path)),
    responses((status = 200, body = OrgClusterList), (status = 403, body = Problem), (status = 404, body = Problem)))]
pub async fn clusters(
    State(hub): State<Arc<Hub>>,
    caller: Caller,
    Path(id): Path<OrgId>,
) -> Answer<axum::Json<OrgClusterList>> {
    let (directory, _) = allowed(&hub, &caller, id, Act::SeeInside)?;
    let shared_to = |cluster: &OwnedCluster| {
        directory.shared.iter().filter(|(_, one)| *one == cluster.id).map(|(team, _)| *team).collect::<Vec<TeamId>>()
    };
    let view = |one: &OwnedCluster| OrgCluster {
        id: one.id,
        name: one.name.clone(),
        team: one.team,
        mode: one.mode,
        shared_to: shared_to(one),
    };
    let clusters = directory.clusters.iter().filter(|one| one.org == id).map(view).collect();
    Ok(axum::Json(OrgClusterList { clusters }))
}

/// Says which team owns a cluster of the organisation, and as whom people arrive in it. A platform administrator may so
/// also give a cluster to the organisation.
#[utoipa::path(put, path = "/api/orgs/{id}/clusters/{cluster}", tag = "orgs",
    params(("id" = OrgId, Path), ("cluster" = String, Path, description = "Id or name")), request_body = OrgClusterPut,
    responses((status = 204), (status = 403, body = Problem), (status = 404, body = Problem), (status = 422, body = Problem)))]
pub async fn put_cluster(
    State(hub): State<Arc<Hub>>,
    caller: Caller,
    Path((id, cluster)): Path<(OrgId, String)>,
    Json(body): Json<OrgClusterPut>,
) -> Answer<impl IntoResponse> {
    let (_, org) = allowed(&hub, &caller, id, Act::ManageOrg)?;
    let known = hub.store.list_owned_clusters().await?;
    let found = known.into_iter().find(|one| one.name == cluster || one.id.to_string() == cluster);
    let moving = platform_admin(&hub, &caller);
    let found = found.filter(|one| one.org == id || moving).ok_or_else(|| super::clusters::unknown(&cluster))?;
    let directory = hub.roles.directory();
    if let Some(team) = body.team
        && directory.team(team).is_none_or(|team| team.org != id)
    {
        return Err(ApiError::invalid("the team that owns a cluster must be one of the cluster's organisation"));
    }
    let owned = OwnedCluster { org: id, team: body.team, mode: body.mode.unwrap_or(found.mode), ..found };
    let command = format!("cluster {} belongs to {}, mode {}", owned.name, org.name, owned.mode.as_str());
    let mut entry = entry(Verb::ClusterAssign, "/api/orgs/{id}/clusters/{cluster}", 204, command);
    entry.target.cluster.clone_from(&owned.name);
    hub.trail.act(&caller, entry, hub.store.put_owned_cluster(&owned)).await?;
    hub.reload_directory().await?;
    Ok(StatusCode::NO_CONTENT)
}

/// All accounts and where they belong.
#[utoipa::path(get, path = "/api/admin/users", tag = "orgs", responses((status = 200, body = AdminUserList), (status = 403, body = Problem)))]
pub async fn admin_users(State(hub): State<Arc<Hub>>, _: Administrator) -> Answer<axum::Json<AdminUserList>> {
    let (directory, policy) = (hub.roles.directory(), hub.policy.load_full());
    let org_members = hub.store.list_org_members().await?;
    let view = |user: flotilla_store::User| {
        let roles = hub.roles.effective(&user.email, user.roles);
        let name = |org| directory.org(org).map_or("", |org| &org.name);
        let orgs = org_members.iter().filter(|one| one.user == user.id);
        let teams = directory.team_members.iter().filter(|one| one.user == user.id);
        let path = |team| directory.team(team).map(|team| directory.path(team)).unwrap_or_default();
        AdminUser {
            id: user.id,
            platform_admin: policy.is_administrator(&roles),
            orgs: orgs.map(|one| format!("{}: {}", name(one.org), one.role.as_str())).collect(),
            teams: teams.map(|one| format!("{}: {}", path(one.team), one.role.as_str())).collect(),
            email: user.email,
            roles,
            created_at: from_ms(user.created_at_ms),
        }
    };
    Ok(axum::Json(AdminUserList { users: hub.store.list_users().await?.into_iter().map(view).collect() }))
}
