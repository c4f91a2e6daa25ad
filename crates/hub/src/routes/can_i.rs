//! `/api/clusters/{c}/can-i`: what the caller may do in a cluster, by the hub's policy and by the cluster's own RBAC.
//!
//! Must not know: what a rule means, how a cluster is reached.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use flotilla_cluster::request::{ClusterRef, ClusterRequest, RequestContext as ClusterContext};
use flotilla_identity::policy::{Action, Decision};
use flotilla_types::problem::Problem;
use flotilla_types::rights::{CanI, CanIAnswer, CanIResult, Check};
use flotilla_upstream::check::read_short;
use futures_util::{FutureExt, StreamExt, stream};
use http::Request;
use serde_json::{Value, json};

use crate::error::ApiError;
use crate::hub::Hub;
use crate::request::caller::{Caller, Json, Path};

/// Most checks in one call.
const MAX_CHECKS: usize = 64;

/// Reviews under way at a time.
const PARALLEL: usize = 8;

/// Longest wait for one review.
const DEADLINE: Duration = Duration::from_secs(10);

const REVIEWS: &str = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";

/// Whether the caller may do these things. Both must allow: the hub's policy, and the cluster, which is asked as the
/// caller.
#[utoipa::path(post, path = "/api/clusters/{id}/can-i", tag = "access", params(("id" = String, Path, description = "Id or name")),
    request_body = CanI, responses((status = 200, body = CanIAnswer), (status = 404, body = Problem), (status = 422, body = Problem)))]
pub async fn can_i(
    State(hub): State<Arc<Hub>>,
    caller: Caller,
    Path(id): Path<String>,
    Json(body): Json<CanI>,
) -> Result<axum::Json<CanIAnswer>, ApiError> {
    let seen = |name: &str| caller.principal.sees(&hub.policy.load(), name);
    let cluster =
        hub.clusters.find(&id).filter(|cluster| seen(&cluster.name)).ok_or_else(|| super::clusters::unknown(&id))?;
    if body.checks.is_empty() || body.checks.len() > MAX_CHECKS {
        return Err(ApiError::invalid(format!("give 1 to {MAX_CHECKS} checks, not {}", body.checks.len())));
    }
    if body.checks.iter().any(|check| check.verb.is_empty() || check.resource.is_empty() == check.path.is_empty()) {
        return Err(ApiError::invalid("each check needs a verb, and either a resource or a path"));
    }
    let (hub, caller, cluster, checks) = (&*hub, &caller, &cluster, &body.checks);
    let checks = (0..checks.len()).map(|at| answer(hub, caller, cluster, &checks[at]).boxed());
    // In the order of the checks, some at a time: a cluster is not flooded by one caller.
    let results = stream::iter(checks).buffered(PARALLEL).collect().await;
    Ok(axum::Json(CanIAnswer { results }))
}

async fn answer(hub: &Hub, caller: &Caller, cluster: &ClusterRef, check: &Check) -> CanIResult {
    let action = Action {
        cluster: &cluster.name,
        verb: &check.verb,
        api_group: &check.group,
        resource: &check.resource,
        subresource: &check.subresource,
        namespace: &check.namespace,
        name: &check.name,
        path: &check.path,
    };
    let rule = match caller.principal.may(&hub.policy.load(), &action) {
        Decision::Allowed { rule } => rule,
        Decision::Denied { reason } => return CanIResult { allowed: false, by: "hub".into(), reason },
        Decision::Invisible => {
            return CanIResult { allowed: false, by: "hub".into(), reason: "no rule reaches the cluster".into() };
        }
    };
    match tokio::time::timeout(DEADLINE, review(hub, caller, cluster, check, &action)).await {
        Ok(Ok((true, reason))) => {
            CanIResult { allowed: true, by: "cluster".into(), reason: format!("hub: {rule}; {reason}") }
        }
        Ok(Ok((false, reason))) => CanIResult { allowed: false, by: "cluster".into(), reason },
        Ok(Err(reason)) => CanIResult { allowed: false, by: "cluster".into(), reason },
        Err(_) => {
            let reason = format!("the cluster did not answer within {} s", DEADLINE.as_secs());
            CanIResult { allowed: false, by: "cluster".into(), reason }
        }
    }
}

/// Asks the cluster, on the one way there is.
async fn review(
    hub: &Hub,
    caller: &Caller,
    cluster: &ClusterRef,
    check: &Check,
    about: &Action<'_>,
) -> Result<(bool, String), String> {
    let body = json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview", "spec": spec(check)});
    let request = Request::post(REVIEWS)
        .header(http::header::CONTENT_TYPE, "application/json")
        .header(http::header::ACCEPT, "application/json")
        .body(flotilla_cluster::full(body.to_string()))
        .map_err(|error| error.to_string())?;
    let request = ClusterRequest::new(cluster.clone(), request).map_err(|error| error.to_string())?;
    let context = ClusterContext {
        request_id: caller.context.request_id.clone(),
        route: "/api/clusters/{id}/can-i",
        address: caller.context.address,
    };
    let authorized = hub.gate.authorize_review(&caller.principal, request, &context, about);
    let authorized = authorized.map_err(|denied| denied.reason().to_owned())?;
    let audited = hub.gate.audit(authorized).await.map_err(|error| error.to_string())?;
    let response = hub.transport.send(audited).await.map_err(|error| error.to_string())?;
    let status = response.status();
    let bytes = read_short(response.into_body()).await.ok_or("the cluster's answer broke off")?;
    let answer: Value = serde_json::from_slice(&bytes).map_err(|error| error.to_string())?;
    if !status.is_success() {
        return Err(format!("the cluster refuses the review: {}", text(&answer["message"])));
    }
    let allowed = answer["status"]["allowed"].as_bool().unwrap_or(false);
    let error = text(&answer["status"]["evaluationError"]);
    let reason = [text(&answer["status"]["reason"]), error].into_iter().filter(|one| !one.is_empty());
    let reason = reason.collect::<Vec<_>>().join("; ");
    let reason =
        if reason.is_empty() && !allowed { "no RBAC rule of the cluster allows it".to_owned() } else { reason };
    Ok((allowed, reason))
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn spec(check: &Check) -> Value {
    if !check.path.is_empty() {
        return json!({"nonResourceAttributes": {"verb": check.verb, "path": check.path}});
    }
    json!({"resourceAttributes": {
        "verb": check.verb, "group": check.group, "resource": check.resource, "subresource": check.subresource,
        "namespace": check.namespace, "name": check.name,
    }})
}
