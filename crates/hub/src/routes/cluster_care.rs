//! `/api/clusters/{id}/...`: what people see of one cluster, and what its administrators change, try and renew.
//!
//! Must not know: how a cluster is reached or looked at.

use std::sync::Arc;

use axum::extract::{FromRequest, Request, State};
use flotilla_store::{Cluster, ClusterChange};
use flotilla_types::api::ClusterView;
use flotilla_types::audit::Verb;
use flotilla_types::cluster::{ClusterCreate, ClusterStatus, ClusterTest, ClusterUpdate};
use flotilla_types::name::check_cluster_name;
use flotilla_types::problem::Problem;
use flotilla_upstream::Upstream;
use flotilla_upstream::check::Check;
use http::StatusCode;

use super::clusters::{check_labels, target, unknown, view};
use crate::direct::{self, Credential, UnsavedTokens};
use crate::error::ApiError;
use crate::health;
use crate::hub::Hub;
use crate::request::caller::{Administrator, Caller, Json, MAX_BODY, Path, read_json};
use crate::trail::Entry;

type Answer<T> = Result<T, ApiError>;

/// The cluster of this name or id, if the caller may see it.
pub(super) async fn visible(hub: &Hub, caller: &Caller, id: &str) -> Answer<Cluster> {
    let cluster = find(hub, id).await?;
    match caller.principal.sees(&hub.policy.load(), &cluster.name) {
        true => Ok(cluster),
        false => Err(unknown(id)),
    }
}

/// The cluster of this name or id.
pub(super) async fn find(hub: &Hub, id: &str) -> Answer<Cluster> {
    let known = hub.clusters.find(id).ok_or_else(|| unknown(id))?;
    hub.store.cluster_by_id(known.id).await?.ok_or_else(|| unknown(id))
}

/// A cluster that was registered through the API and has credentials of its own.
async fn registered(hub: &Hub, id: &str) -> Answer<Cluster> {
    let cluster = find(hub, id).await?;
    if hub.config.clusters.iter().any(|configured| configured.name == cluster.name) {
        let name = &cluster.name;
        return Err(ApiError::conflict(format!("cluster {name} stands in the hub's configuration; change it there")));
    }
    if cluster.auth_type.is_none() {
        let name = &cluster.name;
        return Err(ApiError::conflict(format!("an agent serves cluster {name}; enrol another one to change it")));
    }
    Ok(cluster)
}

fn entry(verb: Verb, word: &str, route: &'static str, name: &str) -> Entry {
    Entry { verb, status: 200, command: format!("{word} cluster {name}"), route, target: target(name) }
}

async fn shown(hub: &Hub, caller: &Caller, cluster: Cluster) -> Answer<ClusterView> {
    let found = hub.store.cluster_health(cluster.id).await?;
    let default = hub.store.default_cluster(caller.principal.user_id()).await?;
    Ok(view(hub, cluster, found, default))
}

/// One cluster.
#[utoipa::path(get, path = "/api/clusters/{id}", tag = "clusters", params(("id" = String, Path, description = "Id or name")),
    responses((status = 200, body = ClusterView), (status = 404, body = Problem)))]
pub async fn show(
    State(hub): State<Arc<Hub>>,
    caller: Caller,
    Path(id): Path<String>,
) -> Answer<axum::Json<ClusterView>> {
    let cluster = visible(&hub, &caller, &id).await?;
    shown(&hub, &caller, cluster).await.map(axum::Json)
}

/// Renames or labels a cluster. The name of one with an agent stands in the agent's certificate and stays.
#[utoipa::path(put, path = "/api/clusters/{id}", tag = "clusters", params(("id" = String, Path, description = "Id or name")),
    request_body = ClusterUpdate, responses((status = 200, body = ClusterView), (status = 404, body = Problem), (status = 409, body = Problem), (status = 422, body = Problem)))]
pub async fn update(
    State(hub): State<Arc<Hub>>,
    Administrator(caller): Administrator,
    Path(id): Path<String>,
    Json(body): Json<ClusterUpdate>,
) -> Answer<axum::Json<ClusterView>> {
    let before = find(&hub, &id).await?;
    let name = body.name.as_deref().filter(|name| *name != before.name);
    if let Some(name) = name {
        check_cluster_name(name)?;
        registered(&hub, &id).await?;
    }
    if let Some(labels) = &body.labels {
        check_labels(labels)?;
    }
    let mut entry = entry(Verb::ClusterUpdate, "update", "/api/clusters/{id}", &before.name);
    if let Some(name) = name {
        entry.command.push_str(&format!(": rename to {name}"));
    }
    let change = ClusterChange { name, labels: body.labels.as_ref() };
    hub.trail.act(&caller, entry, hub.store.update_cluster(before.id, &change)).await?;
    let cluster = hub.store.cluster_by_id(before.id).await?.ok_or_else(|| unknown(&id))?;
    if name.is_some() {
        // The new way first, so that at no moment there is none.
        direct::open_registered(&hub, &cluster).await?;
        hub.clusters.reload(&hub.store).await?;
        hub.backends.remove(&before.name);
        hub.health_metrics.forget(&before.name);
        hub.reload_policy().await?;
        health::look_and_keep(&hub, &cluster).await?;
    }
    shown(&hub, &caller, cluster).await.map(axum::Json)
}

/// How a cluster was when the hub last looked, at most a minute or so ago.
#[utoipa::path(get, path = "/api/clusters/{id}/status", tag = "clusters", params(("id" = String, Path, description = "Id or name")),
    responses((status = 200, body = ClusterStatus), (status = 404, body = Problem)))]
pub async fn status(
    State(hub): State<Arc<Hub>>,
    caller: Caller,
    Path(id): Path<String>,
) -> Answer<axum::Json<ClusterStatus>> {
    let cluster = visible(&hub, &caller, &id).await?;
    Ok(axum::Json(health::status(hub.store.cluster_health(cluster.id).await?)))
}

/// Looks at a cluster now.
#[utoipa::path(post, path = "/api/clusters/{id}/refresh", tag = "clusters", params(("id" = String, Path, description = "Id or name")),
    responses((status = 200, body = ClusterStatus), (status = 404, body = Problem)))]
pub async fn refresh(
    State(hub): State<Arc<Hub>>,
    caller: Caller,
    Path(id): Path<String>,
) -> Answer<axum::Json<ClusterStatus>> {
    let cluster = visible(&hub, &caller, &id).await?;
    Ok(axum::Json(health::status(Some(health::look_and_keep(&hub, &cluster).await?))))
}

/// Tries a connection: with the credentials in the body, which are not kept, or without a body with those of the
/// cluster that is registered. A provider that exchanges refresh tokens does so here, too: then only the new one holds,
/// and it is lost when it came with the body.
#[utoipa::path(post, path = "/api/clusters/{id}/test", tag = "clusters", params(("id" = String, Path, description = "Id or name; any name with a body")),
    request_body = Option<ClusterCreate>, responses((status = 200, body = ClusterTest), (status = 404, body = Problem), (status = 422, body = Problem)))]
pub async fn test(
    State(hub): State<Arc<Hub>>,
    Administrator(caller): Administrator,
    Path(id): Path<String>,
    Given(body): Given<ClusterCreate>,
) -> Answer<axum::Json<ClusterTest>> {
    let entry = entry(Verb::ClusterTest, "test", "/api/clusters/{id}/test", &id);
    let deadline = hub.config.cluster_health.timeout.0;
    let report = hub.trail.act(
        &caller,
        entry,
        Box::pin(async {
            if let Some(body) = body {
                let credential = Credential::of(body)?;
                let tokens = UnsavedTokens::of(&credential);
                return Ok::<_, ApiError>(report(credential.open(&hub.config, tokens)?.check(deadline).await));
            }
            let cluster = find(&hub, &id).await?;
            match hub.backends.direct(&cluster.name) {
                Some(upstream) => Ok(report(Upstream::check(&upstream, deadline).await)),
                None => Ok(of_agent(health::look_and_keep(&hub, &cluster).await.map(Some).map(health::status)?)),
            }
        }),
    );
    report.await.map(axum::Json)
}

fn report(check: Check) -> ClusterTest {
    ClusterTest {
        ok: check.error.is_none(),
        error: check.error.map(|class| class.as_str().to_owned()),
        detail: check.detail,
        server_version: check.server_version,
        latency_ms: u64::try_from(check.latency.as_millis()).unwrap_or(u64::MAX),
        missing_permissions: check.missing.into_iter().map(str::to_owned).collect(),
    }
}

/// What the agent's own credentials may do shows in whether the hub's look came through.
fn of_agent(status: ClusterStatus) -> ClusterTest {
    ClusterTest {
        ok: status.error.is_none(),
        missing_permissions: match status.error.as_deref() {
            Some("denied") => vec!["impersonate users and groups".to_owned()],
            _ => Vec::new(),
        },
        error: status.error,
        detail: status.detail,
        server_version: Some(status.server_version).filter(|version| !version.is_empty()),
        latency_ms: status.latency_ms,
    }
}

/// Gives a cluster new credentials, also of another type. Requests under way end as they began.
#[utoipa::path(put, path = "/api/clusters/{id}/credentials", tag = "clusters", params(("id" = String, Path, description = "Id or name")),
    request_body = ClusterCreate, responses((status = 200, body = ClusterStatus), (status = 404, body = Problem), (status = 409, body = Problem), (status = 422, body = Problem)))]
pub async fn credentials(
    State(hub): State<Arc<Hub>>,
    Administrator(caller): Administrator,
    Path(id): Path<String>,
    Json(body): Json<ClusterCreate>,
) -> Answer<axum::Json<ClusterStatus>> {
    let cluster = registered(&hub, &id).await?;
    let credential = Credential::of(body)?;
    let upstream = credential.clone().open(&hub.config, UnsavedTokens::of(&credential))?;
    let (sealed, backend) = (credential.sealed()?, credential.backend().0);
    let entry = entry(Verb::ClusterCredentials, "set credentials of", "/api/clusters/{id}/credentials", &cluster.name);
    let set = hub.store.set_credential(cluster.id, backend, credential.auth_type(), upstream.server(), &sealed);
    hub.trail.act(&caller, entry, set).await?;
    direct::open_registered(&hub, &cluster).await?;
    Ok(axum::Json(health::status(Some(health::look_and_keep(&hub, &cluster).await?))))
}

/// A JSON body, or none.
pub struct Given<T>(Option<T>);

impl<T: serde::de::DeserializeOwned> FromRequest<Arc<Hub>> for Given<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &Arc<Hub>) -> Result<Self, ApiError> {
        if http_body::Body::is_end_stream(request.body()) {
            return Ok(Self(None));
        }
        read_json(request.into_body(), MAX_BODY).await.map(Self)
    }
}

/// The answer to what changed and has nothing to say.
pub(super) const DONE: StatusCode = StatusCode::NO_CONTENT;
