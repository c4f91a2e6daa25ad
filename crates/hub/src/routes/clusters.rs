//! `/api/clusters`: the registry as its users see it, and kubectl commands for clients that have no kubectl.
//!
//! Must not know: how a cluster is reached.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use axum::extract::State;
use axum::response::IntoResponse;
use flotilla_store::{Cluster, ClusterHealth, NewCluster};
use flotilla_types::api::{ClusterList, ClusterView, ExecRequest, ExecResponse};
use flotilla_types::audit::{Target, Verb};
use flotilla_types::cluster::ClusterCreate;
use flotilla_types::id::ClusterId;
use flotilla_types::name::check_cluster_name;
use flotilla_types::problem::Problem;
use flotilla_types::time::from_ms;
use http::StatusCode;

use crate::direct::{Credential, UnsavedTokens};
use crate::error::ApiError;
use crate::hub::Hub;
use crate::request::caller::{Administrator, Caller, Json, Path};
use crate::trail::Entry;

type Answer<T> = Result<T, ApiError>;

/// A cluster as its users see it.
pub(super) fn view(
    hub: &Hub,
    cluster: Cluster,
    health: Option<ClusterHealth>,
    default: Option<ClusterId>,
) -> ClusterView {
    let connected = hub.backends.is_connected(&cluster.name);
    ClusterView {
        id: cluster.id,
        backend: cluster.backend.as_str().to_owned(),
        status: if connected { "connected" } else { "disconnected" }.to_owned(),
        last_seen: cluster.last_seen_ms.map(from_ms),
        auth_type: cluster.auth_type,
        server: cluster.server,
        labels: cluster.labels,
        health: health.map(|found| crate::health::status(Some(found))),
        default: default == Some(cluster.id),
        metadata: cluster.metadata,
        name: cluster.name,
    }
}

/// The clusters that the caller may reach.
#[utoipa::path(get, path = "/api/clusters", tag = "clusters", responses((status = 200, body = ClusterList), (status = 401, body = Problem)))]
pub async fn list(State(hub): State<Arc<Hub>>, caller: Caller) -> Answer<axum::Json<ClusterList>> {
    let policy = hub.policy.load_full();
    let mut clusters = hub.store.list_clusters().await?;
    clusters.retain(|cluster| caller.principal.sees(&policy, &cluster.name));
    let default = hub.store.default_cluster(caller.principal.user_id()).await?;
    let health = hub.store.list_cluster_health().await?.into_iter().map(|found| (found.cluster, found));
    let mut health: HashMap<ClusterId, ClusterHealth> = health.collect();
    let shown = |cluster: Cluster| {
        let found = health.remove(&cluster.id);
        view(&hub, cluster, found, default)
    };
    Ok(axum::Json(ClusterList { clusters: clusters.into_iter().map(shown).collect() }))
}

/// Registers a cluster that the hub reaches itself. The credentials are kept sealed and never given out.
#[utoipa::path(post, path = "/api/clusters", tag = "clusters", request_body = ClusterCreate, responses(
    (status = 201, body = ClusterView), (status = 409, body = Problem), (status = 422, body = Problem)))]
pub async fn create(
    State(hub): State<Arc<Hub>>,
    Administrator(caller): Administrator,
    Json(body): Json<ClusterCreate>,
) -> Answer<impl IntoResponse> {
    check_cluster_name(&body.name)?;
    check_labels(&body.labels)?;
    let (name, labels) = (body.name.clone(), body.labels.clone());
    let credential = Credential::of(body)?;
    let upstream = credential.clone().open(&hub.config, UnsavedTokens::of(&credential))?;
    let sealed = credential.sealed()?;
    let new = NewCluster {
        name: &name,
        backend: credential.backend().0,
        auth_type: Some(credential.auth_type()),
        server: upstream.server(),
        labels: &labels,
        credential: &sealed,
    };
    let entry = Entry {
        verb: Verb::ClusterCreate,
        status: 201,
        command: format!("create cluster {name}"),
        route: "/api/clusters",
        target: target(&name),
    };
    let id = hub.trail.act(&caller, entry, hub.store.create_cluster(&new)).await?;
    let cluster =
        hub.store.cluster_by_id(id).await?.ok_or_else(|| ApiError::not_found("the cluster was removed meanwhile"))?;
    crate::direct::open_registered(&hub, &cluster).await?;
    hub.clusters.reload(&hub.store).await?;
    let found = crate::health::look_and_keep(&hub, &cluster).await?;
    Ok((StatusCode::CREATED, axum::Json(view(&hub, cluster, Some(found), None))))
}

/// Labels are those of Kubernetes in kind, checked for size alone.
pub(super) fn check_labels(labels: &BTreeMap<String, String>) -> Answer<()> {
    let fits = |text: &str, most: usize| text.len() <= most && text.chars().all(|c| !c.is_control());
    if labels.len() <= 64 && labels.iter().all(|(key, value)| !key.is_empty() && fits(key, 253) && fits(value, 253)) {
        return Ok(());
    }
    Err(ApiError::invalid("labels are at most 64, of at most 253 visible characters each; a key is not empty"))
}

/// Forgets a cluster: its agent is revoked and cut off, its credentials are deleted, its audit rows stay.
#[utoipa::path(delete, path = "/api/clusters/{id}", tag = "clusters", params(("id" = String, Path, description = "Id or name")), responses(
    (status = 204), (status = 404, body = Problem)))]
pub async fn remove(
    State(hub): State<Arc<Hub>>,
    Administrator(caller): Administrator,
    Path(id): Path<String>,
) -> Answer<impl IntoResponse> {
    let cluster = hub.clusters.find(&id).ok_or_else(|| unknown(&id))?;
    if hub.config.clusters.iter().any(|configured| *configured.name == *cluster.name) {
        return Err(ApiError::conflict(format!(
            "cluster {} stands in the hub's configuration; remove it there",
            cluster.name
        )));
    }
    let command = format!("delete cluster {}", cluster.name);
    let entry = Entry {
        verb: Verb::ClusterDelete,
        status: 204,
        command,
        route: "/api/clusters/{id}",
        target: target(&cluster.name),
    };
    let revoked = hub
        .trail
        .act(&caller, entry, async {
            hub.store.void_enrolment_tokens(&cluster.name).await?;
            let revoked = hub.store.revoke_agents_of(&cluster.name).await?;
            hub.store.delete_cluster(cluster.id).await.map(|()| revoked)
        })
        .await?;
    for agent in revoked {
        hub.tunnels.disconnect(agent.0);
    }
    hub.backends.remove(&cluster.name);
    hub.health_metrics.forget(&cluster.name);
    hub.clusters.reload(&hub.store).await?;
    hub.reload_policy().await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Runs a kubectl command as the caller, for clients that have no kubectl. It reaches nothing but the cluster:
/// not the hub's files, environment or plugins.
#[utoipa::path(post, path = "/api/clusters/{id}/exec", tag = "clusters", params(("id" = String, Path, description = "Id or name")),
    request_body = ExecRequest, responses((status = 200, body = ExecResponse), (status = 404, body = Problem), (status = 422, body = Problem)))]
pub async fn exec(
    State(hub): State<Arc<Hub>>,
    caller: Caller,
    Path(id): Path<String>,
    Json(body): Json<ExecRequest>,
) -> Answer<axum::Json<ExecResponse>> {
    let visible = |name: &str| caller.principal.sees(&hub.policy.load(), name);
    let cluster = hub.clusters.find(&id).filter(|cluster| visible(&cluster.name)).ok_or_else(|| unknown(&id))?;
    let token = caller.bearer(&hub)?;
    let address = caller.context.address;
    crate::kubectl::run(&hub, &cluster.name, &caller.principal, &token, address, body).await.map(axum::Json)
}

pub(super) fn unknown(id: &str) -> ApiError {
    ApiError::not_found(format!(
        "there is no cluster {id:?}, or it is not yours to see; list yours with: flotilla clusters list"
    ))
}

pub(super) fn target(name: &str) -> Target {
    Target { cluster: name.to_owned(), ..Target::default() }
}
