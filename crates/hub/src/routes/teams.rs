//! `/api/teams`: teams, their members, what they give them, and the clusters shared to them.
//!
//! Must not know: how members are kept, what a policy role means.

use std::sync::Arc;

use axum::extract::State;
use axum::response::IntoResponse;
use flotilla_identity::standing::Act;
use flotilla_store::{OwnedCluster, Team};
use flotilla_types::audit::Verb;
use flotilla_types::id::{TeamId, UserId};
use flotilla_types::name::check_slug;
use flotilla_types::org::{MemberList, MemberView, TeamCreate, TeamList, TeamMemberPut, TeamPolicy, TeamView};
use flotilla_types::policy::{ClusterRule, Record, Role};
use flotilla_types::problem::Problem;
use http::StatusCode;

use super::orgs::{account, allowed as org_allowed, entry, platform_admin, require};
use crate::directory::Directory;
use crate::error::ApiError;
use crate::hub::Hub;
use crate::request::caller::{Caller, Json, Path};

type Answer<T> = Result<T, ApiError>;

/// Longest access on request that a team may allow, seconds.
const LONGEST_GRANT: u64 = 7 * 86_400;

fn missing() -> ApiError {
    ApiError::not_found("there is no such team; list yours with: flotilla teams list")
}

/// The team, if the caller may do this to it.
pub(super) fn allowed(hub: &Hub, caller: &Caller, id: TeamId, act: Act) -> Answer<(Arc<Directory>, Team)> {
    let directory = hub.roles.directory();
    let team = directory.team(id).cloned().ok_or_else(missing)?;
    let standing = directory.team_standing(&team, caller.principal.user_id(), platform_admin(hub, caller));
    require(standing, act, missing)?;
    Ok((directory, team))
}

fn view(directory: &Directory, user: UserId, team: &Team) -> TeamView {
    TeamView {
        id: team.id,
        org: team.org,
        org_name: directory.org(team.org).map(|org| org.name.clone()).unwrap_or_default(),
        name: team.name.clone(),
        role: directory.team_role(team.id, user),
        policy: team.policy.clone(),
    }
}

/// Teams of the caller's organisations.
#[utoipa::path(get, path = "/api/teams", tag = "orgs", responses((status = 200, body = TeamList), (status = 401, body = Problem)))]
pub async fn list(State(hub): State<Arc<Hub>>, caller: Caller) -> axum::Json<TeamList> {
    let (directory, user, all) = (hub.roles.directory(), caller.principal.user_id(), platform_admin(&hub, &caller));
    let seen = directory.teams.iter().filter(|team| all || directory.org_role(team.org, user).is_some());
    axum::Json(TeamList { teams: seen.map(|team| view(&directory, user, team)).collect() })
}

/// Makes a team.
#[utoipa::path(post, path = "/api/teams", tag = "orgs", request_body = TeamCreate, responses(
    (status = 201, body = TeamView), (status = 403, body = Problem), (status = 404, body = Problem), (status = 409, body = Problem)))]
pub async fn create(
    State(hub): State<Arc<Hub>>,
    caller: Caller,
    Json(body): Json<TeamCreate>,
) -> Answer<impl IntoResponse> {
    let (_, org) = org_allowed(&hub, &caller, body.org, Act::ManageOrg)?;
    check_slug("team name", &body.name)?;
    let entry = entry(Verb::TeamCreate, "/api/teams", 201, format!("create team {}/{}", org.name, body.name));
    let policy = TeamPolicy::default();
    let id = hub.trail.act(&caller, entry, hub.store.create_team(org.id, &body.name, &policy)).await?;
    hub.reload_directory().await?;
    let (directory, team) = allowed(&hub, &caller, id, Act::See)?;
    Ok((StatusCode::CREATED, axum::Json(view(&directory, caller.principal.user_id(), &team))))
}

/// One team.
#[utoipa::path(get, path = "/api/teams/{id}", tag = "orgs", params(("id" = TeamId, Path)),
    responses((status = 200, body = TeamView), (status = 404, body = Problem)))]
pub async fn show(State(hub): State<Arc<Hub>>, caller: Caller, Path(id): Path<TeamId>) -> Answer<axum::Json<TeamView>> {
    let (directory, team) = allowed(&hub, &caller, id, Act::See)?;
    Ok(axum::Json(view(&directory, caller.principal.user_id(), &team)))
}

/// Deletes a team. Its clusters stay with the organisation.
#[utoipa::path(delete, path = "/api/teams/{id}", tag = "orgs", params(("id" = TeamId, Path)),
    responses((status = 204), (status = 403, body = Problem), (status = 404, body = Problem)))]
pub async fn remove(State(hub): State<Arc<Hub>>, caller: Caller, Path(id): Path<TeamId>) -> Answer<impl IntoResponse> {
    let (directory, team) = allowed(&hub, &caller, id, Act::ManageOrg)?;
    let entry = entry(Verb::TeamDelete, "/api/teams/{id}", 204, format!("delete team {}", directory.path(&team)));
    hub.trail.act(&caller, entry, hub.store.delete_team(id)).await?;
    hub.reload_directory().await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Replaces what a team gives its members and how access to its clusters is approved. For administrators of the
/// organisation: a team's own could otherwise give himself more.
#[utoipa::path(put, path = "/api/teams/{id}/policy", tag = "orgs", params(("id" = TeamId, Path)), request_body = TeamPolicy,
    responses((status = 200, body = TeamView), (status = 403, body = Problem), (status = 404, body = Problem), (status = 422, body = Problem)))]
pub async fn set_policy(
    State(hub): State<Arc<Hub>>,
    caller: Caller,
    Path(id): Path<TeamId>,
    Json(body): Json<TeamPolicy>,
) -> Answer<axum::Json<TeamView>> {
    let (directory, team) = allowed(&hub, &caller, id, Act::ManageOrg)?;
    check_policy(&hub, &body)?;
    let command = format!("set what team {} gives", directory.path(&team));
    let entry = entry(Verb::TeamPolicySet, "/api/teams/{id}/policy", 200, command);
    hub.trail.act(&caller, entry, hub.store.set_team_policy(id, &body)).await?;
    hub.reload_directory().await?;
    let (directory, team) = allowed(&hub, &caller, id, Act::See)?;
    Ok(axum::Json(view(&directory, caller.principal.user_id(), &team)))
}

fn check_policy(hub: &Hub, policy: &TeamPolicy) -> Answer<()> {
    if !(1..=5).contains(&policy.approvals) {
        return Err(ApiError::invalid(format!("approvals is {}; use 1 to 5", policy.approvals)));
    }
    if !(60..=LONGEST_GRANT).contains(&policy.max_grant_seconds) {
        let detail = format!("max_grant_seconds is {}; use 60 to {LONGEST_GRANT}", policy.max_grant_seconds);
        return Err(ApiError::invalid(detail));
    }
    let names: Vec<String> = policy.bindings.iter().map(|binding| binding.policy.clone()).collect();
    hub.roles.check_known(&names)?;
    let patterns: Vec<&String> = policy.bindings.iter().flat_map(|binding| &binding.clusters).collect();
    if names.len() > 32 || patterns.len() > 256 {
        return Err(ApiError::invalid("a team can have 32 bindings with 256 patterns of clusters in all"));
    }
    if patterns.is_empty() {
        return Ok(());
    }
    // The same rules for patterns as in a role.
    let rule = |pattern: &String| ClusterRule {
        name: pattern.clone(),
        namespaces: vec!["*".into()],
        verbs: vec!["get".into()],
        resources: vec!["*".into()],
        api_groups: vec!["*".into()],
        names: Vec::new(),
        non_resource_urls: Vec::new(),
        record: Record::Off,
        record_input: false,
    };
    hub.roles.check_role(&Role {
        name: "bindings".into(),
        description: String::new(),
        clusters: patterns.into_iter().map(rule).collect(),
        groups: Vec::new(),
        administrator: Some(false),
        auditor: false,
    })
}

/// Members of a team.
#[utoipa::path(get, path = "/api/teams/{id}/members", tag = "orgs", params(("id" = TeamId, Path)),
    responses((status = 200, body = MemberList), (status = 404, body = Problem)))]
pub async fn members(
    State(hub): State<Arc<Hub>>,
    caller: Caller,
    Path(id): Path<TeamId>,
) -> Answer<axum::Json<MemberList>> {
    let (directory, _) = allowed(&hub, &caller, id, Act::See)?;
    let here = directory.team_members.iter().filter(|member| member.team == id);
    let view =
        here.map(|one| MemberView { user: one.user, email: one.email.clone(), role: one.role.as_str().to_owned() });
    Ok(axum::Json(MemberList { members: view.collect() }))
}

/// Adds a member, who must be in the organisation, or changes what he is.
#[utoipa::path(put, path = "/api/teams/{id}/members", tag = "orgs", params(("id" = TeamId, Path)), request_body = TeamMemberPut,
    responses((status = 204), (status = 403, body = Problem), (status = 404, body = Problem), (status = 422, body = Problem)))]
pub async fn put_member(
    State(hub): State<Arc<Hub>>,
    caller: Caller,
    Path(id): Path<TeamId>,
    Json(body): Json<TeamMemberPut>,
) -> Answer<impl IntoResponse> {
    let (directory, team) = allowed(&hub, &caller, id, Act::ManageTeam)?;
    let user = account(&hub, &body.email).await?;
    if directory.org_role(team.org, user).is_none() {
        let detail = format!("{} is not in the organisation; invite with: flotilla invite", body.email);
        return Err(ApiError::invalid(detail));
    }
    let command = format!("make {} {} of {}", body.email, body.role.as_str(), directory.path(&team));
    let entry = entry(Verb::TeamMemberSet, "/api/teams/{id}/members", 204, command);
    hub.trail.act(&caller, entry, hub.store.put_team_member(id, user, body.role)).await?;
    hub.reload_directory().await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Removes a member. Everyone may leave.
#[utoipa::path(delete, path = "/api/teams/{id}/members/{user}", tag = "orgs", params(("id" = TeamId, Path), ("user" = UserId, Path)),
    responses((status = 204), (status = 403, body = Problem), (status = 404, body = Problem)))]
pub async fn remove_member(
    State(hub): State<Arc<Hub>>,
    caller: Caller,
    Path((id, user)): Path<(TeamId, UserId)>,
) -> Answer<impl IntoResponse> {
    let act = if user == caller.principal.user_id() { Act::See } else { Act::ManageTeam };
    let (directory, team) = allowed(&hub, &caller, id, act)?;
    let command = format!("remove {user} from {}", directory.path(&team));
    let entry = entry(Verb::TeamMemberRemove, "/api/teams/{id}/members/{user}", 204, command);
    hub.trail.act(&caller, entry, hub.store.remove_team_member(id, user)).await?;
    hub.reload_directory().await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Shares a cluster to a team.
#[utoipa::path(put, path = "/api/teams/{id}/clusters/{cluster}", tag = "orgs",
    params(("id" = TeamId, Path), ("cluster" = String, Path, description = "Id or name")),
    responses((status = 204), (status = 403, body = Problem), (status = 404, body = Problem)))]
pub async fn share(
    State(hub): State<Arc<Hub>>,
    caller: Caller,
    Path((id, cluster)): Path<(TeamId, String)>,
) -> Answer<impl IntoResponse> {
    Box::pin(set_shared(&hub, &caller, id, &cluster, true)).await
}

/// Shares a cluster to a team no longer.
#[utoipa::path(delete, path = "/api/teams/{id}/clusters/{cluster}", tag = "orgs",
    params(("id" = TeamId, Path), ("cluster" = String, Path, description = "Id or name")),
    responses((status = 204), (status = 403, body = Problem), (status = 404, body = Problem)))]
pub async fn unshare(
    State(hub): State<Arc<Hub>>,
    caller: Caller,
    Path((id, cluster)): Path<(TeamId, String)>,
) -> Answer<impl IntoResponse> {
    Box::pin(set_shared(&hub, &caller, id, &cluster, false)).await
}

async fn set_shared(hub: &Hub, caller: &Caller, id: TeamId, cluster: &str, shared: bool) -> Answer<StatusCode> {
    let (directory, team) = allowed(hub, caller, id, Act::See)?;
    let known: Vec<OwnedCluster> = hub.store.list_owned_clusters().await?;
    let found = known.into_iter().find(|one| one.name == cluster || one.id.to_string() == cluster);
    let found = found.ok_or_else(|| super::clusters::unknown(cluster))?;
    // Whoever manages the cluster's organisation shares it.
    let standing = directory.org_standing(found.org, caller.principal.user_id(), platform_admin(hub, caller));
    require(standing, Act::ManageOrg, || super::clusters::unknown(cluster))?;
    let (verb, word) = if shared { (Verb::ClusterShare, "share") } else { (Verb::ClusterUnshare, "share no longer") };
    let command = format!("{word} cluster {} to {}", found.name, directory.path(&team));
    let mut entry = entry(verb, "/api/teams/{id}/clusters/{cluster}", 204, command);
    entry.target.cluster.clone_from(&found.name);
    hub.trail.act(caller, entry, hub.store.share_cluster_with_team(id, found.id, shared)).await?;
    hub.reload_directory().await?;
    Ok(StatusCode::NO_CONTENT)
}
