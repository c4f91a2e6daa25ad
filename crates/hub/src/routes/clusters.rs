//! `/api/clusters`: the registry as its users see it, and kubectl commands for clients that have no kubectl.
//!
//! Must not know: how a cluster is reached.

use std::sync::Arc;

use axum::extract::State;
use axum::response::IntoResponse;
use flotilla_cluster::backends::Kind;
use flotilla_store::{Backend, Cluster};
use flotilla_types::api::{ClusterCreate, ClusterList, ClusterView, ExecRequest, ExecResponse};
use flotilla_types::audit::Target;
use flotilla_types::name::check_cluster_name;
use flotilla_types::problem::Problem;
use flotilla_types::time::from_ms;
use flotilla_upstream::{Externals, Upstream};
use http::StatusCode;
use secrecy::SecretString;

use crate::error::ApiError;
use crate::hub::Hub;
use crate::request::caller::{Administrator, Caller, Json, Path};
use crate::trail::Entry;

type Answer<T> = Result<T, ApiError>;

fn view(hub: &Hub, cluster: Cluster) -> ClusterView {
    let connected = hub.backends.is_connected(&cluster.name);
    ClusterView {
        id: cluster.id,
        backend: cluster.backend.as_str().to_owned(),
        status: if connected { "connected" } else { "disconnected" }.to_owned(),
        last_seen: cluster.last_seen_ms.map(from_ms),
        metadata: cluster.metadata,
        name: cluster.name,
    }
}

/// The clusters that the caller may reach.
#[utoipa::path(get, path = "/api/clusters", tag = "clusters", responses((status = 200, body = ClusterList), (status = 401, body = Problem)))]
pub async fn list(State(hub): State<Arc<Hub>>, caller: Caller) -> Answer<axum::Json<ClusterList>> {
    let policy = hub.policy.load_full();
    let mut clusters = hub.store.list_clusters().await?;
    clusters.retain(|cluster| policy.sees_cluster(caller.principal.roles(), &cluster.name));
    Ok(axum::Json(ClusterList { clusters: clusters.into_iter().map(|cluster| view(&hub, cluster)).collect() }))
}

/// Registers a cluster that the hub reaches with a kubeconfig, which is kept sealed.
#[utoipa::path(post, path = "/api/clusters", tag = "clusters", request_body = ClusterCreate, responses(
    (status = 201, body = ClusterView), (status = 409, body = Problem), (status = 422, body = Problem)))]
pub async fn create(
    State(hub): State<Arc<Hub>>,
    Administrator(caller): Administrator,
    Json(body): Json<ClusterCreate>,
) -> Answer<impl IntoResponse> {
    check_cluster_name(&body.name)?;
    let upstream = Upstream::from_kubeconfig(&body.kubeconfig, body.context.as_deref(), &Externals::Refused)
        .map_err(|error| ApiError::invalid(format!("this kubeconfig cannot be used: {error}")))?;
    let credential = crate::hub::DirectCredential { kubeconfig: body.kubeconfig, context: body.context };
    let sealed = SecretString::from(serde_json::to_string(&credential).map_err(|error| ApiError::internal(&error))?);
    let entry = Entry {
        verb: "cluster_create",
        status: 201,
        command: format!("create cluster {}", body.name),
        route: "/api/clusters",
        target: target(&body.name),
    };
    let id = hub
        .trail
        .act(&caller, entry, hub.store.create_direct_cluster(&body.name, Backend::Kubeconfig, &sealed))
        .await?;
    hub.backends.set_direct(&body.name, Kind::Kubeconfig, upstream);
    hub.backends.probe().await;
    hub.clusters.reload(&hub.store).await?;
    let cluster =
        hub.store.cluster_by_id(id).await?.ok_or_else(|| ApiError::not_found("the cluster was removed meanwhile"))?;
    Ok((StatusCode::CREATED, axum::Json(view(&hub, cluster))))
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
        verb: "cluster_delete",
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
    hub.clusters.reload(&hub.store).await?;
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
    let visible = |name: &str| hub.policy.load().sees_cluster(caller.principal.roles(), name);
    let cluster = hub.clusters.find(&id).filter(|cluster| visible(&cluster.name)).ok_or_else(|| unknown(&id))?;
    crate::kubectl::run(&hub, &cluster.name, &caller.principal, &caller.token, body).await.map(axum::Json)
}

pub(super) fn unknown(id: &str) -> ApiError {
    ApiError::not_found(format!(
        "there is no cluster {id:?}, or it is not yours to see; list yours with: flotilla clusters list"
    ))
}

fn target(name: &str) -> Target {
    Target { cluster: name.to_owned(), ..Target::default() }
}
