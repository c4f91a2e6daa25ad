//! `/api/clusters/{id}/share` and `/default`: who else works with a cluster, and which one is his.
//!
//! Must not know: what a level allows (`crate::shares`).

use std::collections::HashMap;
use std::sync::Arc;

use axum::extract::State;
use axum::response::IntoResponse;
use flotilla_types::audit::Verb;
use flotilla_types::cluster::{ShareList, ShareRequest, ShareView};
use flotilla_types::id::UserId;
use flotilla_types::name::normalize_email;
use flotilla_types::problem::Problem;
use flotilla_types::time::from_ms;

use super::cluster_care::{DONE, find, visible};
use super::clusters::target;
use crate::error::ApiError;
use crate::hub::Hub;
use crate::request::caller::{Administrator, Caller, Json, Path, Query};
use crate::shares::{USER, levels};
use crate::trail::Entry;

type Answer<T> = Result<T, ApiError>;

const SHARE: &str = "/api/clusters/{id}/share";
const DEFAULT: &str = "/api/clusters/{id}/default";

fn entry(verb: Verb, command: String, route: &'static str, cluster: &str) -> Entry {
    Entry { verb, status: 204, command, route, target: target(cluster) }
}

/// Makes a cluster the one that the caller works with unless he names another.
#[utoipa::path(put, path = "/api/clusters/{id}/default", tag = "clusters", params(("id" = String, Path, description = "Id or name")),
    responses((status = 204), (status = 404, body = Problem)))]
pub async fn set_default(
    State(hub): State<Arc<Hub>>,
    caller: Caller,
    Path(id): Path<String>,
) -> Answer<impl IntoResponse> {
    let cluster = visible(&hub, &caller, &id).await?;
    let entry = entry(Verb::ClusterDefault, format!("choose cluster {}", cluster.name), DEFAULT, &cluster.name);
    hub.trail.act(&caller, entry, hub.store.set_default_cluster(caller.principal.user_id(), cluster.id)).await?;
    Ok(DONE)
}

/// Takes that back.
#[utoipa::path(delete, path = "/api/clusters/{id}/default", tag = "clusters", params(("id" = String, Path, description = "Id or name")),
    responses((status = 204), (status = 404, body = Problem)))]
pub async fn clear_default(
    State(hub): State<Arc<Hub>>,
    caller: Caller,
    Path(id): Path<String>,
) -> Answer<impl IntoResponse> {
    let cluster = visible(&hub, &caller, &id).await?;
    let entry =
        entry(Verb::ClusterDefault, format!("no longer choose cluster {}", cluster.name), DEFAULT, &cluster.name);
    hub.trail.act(&caller, entry, hub.store.clear_default_cluster(caller.principal.user_id(), cluster.id)).await?;
    Ok(DONE)
}

/// With whom a cluster is shared. Roles give clusters, too: see `/api/roles`.
#[utoipa::path(get, path = "/api/clusters/{id}/share", tag = "clusters", params(("id" = String, Path, description = "Id or name")),
    responses((status = 200, body = ShareList), (status = 404, body = Problem)))]
pub async fn list(
    State(hub): State<Arc<Hub>>,
    _: Administrator,
    Path(id): Path<String>,
) -> Answer<axum::Json<ShareList>> {
    let cluster = find(&hub, &id).await?;
    let users = hub.store.list_users().await?.into_iter().map(|user| (user.id.to_string(), user.email));
    let emails: HashMap<String, String> = users.collect();
    let mut shares = hub.store.list_cluster_shares().await?;
    shares.retain(|share| share.cluster == cluster.id);
    let shown = shares.into_iter().map(|share| ShareView {
        subject: emails.get(&share.subject_id).cloned().unwrap_or(share.subject_id),
        subject_kind: share.subject_kind,
        level: share.level,
        created_by: share.created_by,
        created_at: from_ms(share.created_at_ms),
    });
    Ok(axum::Json(ShareList { shares: shown.collect() }))
}

/// Shares a cluster with somebody, or changes as what.
#[utoipa::path(post, path = "/api/clusters/{id}/share", tag = "clusters", params(("id" = String, Path, description = "Id or name")),
    request_body = ShareRequest, responses((status = 204), (status = 404, body = Problem), (status = 422, body = Problem)))]
pub async fn share(
    State(hub): State<Arc<Hub>>,
    Administrator(caller): Administrator,
    Path(id): Path<String>,
    Json(body): Json<ShareRequest>,
) -> Answer<impl IntoResponse> {
    let cluster = find(&hub, &id).await?;
    let user = subject(&hub, &body.subject_kind, &body.subject).await?;
    if !levels().contains(&body.level) {
        return Err(ApiError::invalid(format!("there is no level {:?}; use {}", body.level, levels().join(", "))));
    }
    let command = format!("share cluster {} with {} as {}", cluster.name, body.subject, body.level);
    let entry = entry(Verb::ClusterShare, command, SHARE, &cluster.name);
    let (subject, by) = (user.to_string(), caller.principal.email());
    hub.trail.act(&caller, entry, hub.store.share_cluster(cluster.id, USER, &subject, &body.level, by)).await?;
    hub.reload_policy().await?;
    Ok(DONE)
}

/// With whom a share ends.
#[derive(serde::Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Unshare {
    /// An account's address.
    subject: String,
}

/// Ends a share.
#[utoipa::path(delete, path = "/api/clusters/{id}/share", tag = "clusters", params(("id" = String, Path, description = "Id or name"), Unshare),
    responses((status = 204), (status = 404, body = Problem)))]
pub async fn unshare(
    State(hub): State<Arc<Hub>>,
    Administrator(caller): Administrator,
    Path(id): Path<String>,
    Query(query): Query<Unshare>,
) -> Answer<impl IntoResponse> {
    let cluster = find(&hub, &id).await?;
    let user = subject(&hub, USER, &query.subject).await?;
    let command = format!("end the share of cluster {} with {}", cluster.name, query.subject);
    let entry = entry(Verb::ClusterUnshare, command, SHARE, &cluster.name);
    hub.trail.act(&caller, entry, hub.store.unshare_cluster(cluster.id, USER, &user.to_string())).await?;
    hub.reload_policy().await?;
    Ok(DONE)
}

/// The id of who is named. Teams will be another kind.
async fn subject(hub: &Hub, kind: &str, name: &str) -> Answer<UserId> {
    if kind != USER {
        return Err(ApiError::invalid(format!("subject_kind {kind:?} is not known; use user")));
    }
    let email = normalize_email(name)?;
    let known = hub.store.list_users().await?.into_iter().find(|user| user.email == email);
    known
        .map(|user| user.id)
        .ok_or_else(|| ApiError::not_found(format!("there is no account {email}; list them with: flotilla users list")))
}
