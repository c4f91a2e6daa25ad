//! `/k8s/clusters/{cluster}/*`: the full Kubernetes API of each cluster, for any client. The steps are those of
//! DESIGN's path of a request; the types make it impossible to skip one.
//!
//! Must not know: how a cluster is reached, what a rule means, how a row is written.

use std::sync::Arc;

use flotilla_cluster::Body;
use flotilla_cluster::guard::UpgradeGuard;
use flotilla_cluster::request::{
    ClusterRef, ClusterRequest, RequestContext as ClusterContext, refuse_smuggled_headers,
};
use flotilla_cluster::status_of::StatusError;
use flotilla_identity::authn::AuthnError;
use flotilla_identity::principal::Principal;
use flotilla_tunnel::upgrade;
use http::uri::PathAndQuery;
use http::{HeaderMap, Request, Response, StatusCode, Uri};
use hyper::upgrade::OnUpgrade;

use super::redirect;
use crate::error::{ApiError, whole_seconds};
use crate::hub::Hub;
use crate::request::RequestContext;
use crate::request::authn::{self, Refused, sign_in_again};

/// Where the gateway is mounted.
pub const PREFIX: &str = "/k8s/clusters/";

/// The route's pattern, as audit rows and logs name it.
const ROUTE: &str = "/k8s/clusters/{cluster}/*";

/// Serves one request to a cluster.
pub async fn handle(hub: &Arc<Hub>, request: Request<Body>, context: &RequestContext) -> Response<Body> {
    match proxy(hub, request, context).await {
        Ok(response) => response,
        Err(error) => error.to_response(),
    }
}

async fn proxy(
    hub: &Arc<Hub>,
    mut request: Request<Body>,
    context: &RequestContext,
) -> Result<Response<Body>, StatusError> {
    refuse_smuggled_headers(request.headers())?;
    let principal = authenticate(hub, request.headers(), context).await?;
    let (cluster, target) = split(hub, &principal, request.uri())?;
    *request.uri_mut() = Uri::from(target);
    let client = upgrade::token(request.headers()).map(|_| hyper::upgrade::on(&mut request));

    let context = ClusterContext { request_id: context.request_id.clone(), route: ROUTE, address: context.address };
    let request = ClusterRequest::new(cluster, request)?;
    let authorized = match hub.gate.authorize(&principal, request, &context) {
        Ok(authorized) => authorized,
        Err(denied) => {
            hub.gate.audit_denied(&denied).await?;
            return Err(StatusError::from(&*denied));
        }
    };
    let audited = hub.gate.audit(authorized).await?;
    let name = audited.request().cluster().name.clone();
    let sent = hub.transport.send(audited).await;
    let mut response = sent.map_err(|error| StatusError::of_transport(&error, &name))?;
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        join(&mut response, client)?;
    }
    redirect::confine(&mut response, &name).map_err(|redirect::LeadsElsewhere| {
        StatusError::bad_gateway("the cluster answered with a redirect that leads out of it, which is not passed on")
    })?;
    Ok(response)
}

async fn authenticate(hub: &Hub, headers: &HeaderMap, context: &RequestContext) -> Result<Principal, StatusError> {
    let principal = authn::by_bearer(hub, headers, context).await.map_err(|refused| match refused {
        Refused::Nothing => StatusError::unauthorized(
            "the hub needs a bearer token or an API key; make a kubeconfig with: flotilla kubeconfig",
        ),
        Refused::Malformed(detail) => StatusError::unauthorized(detail),
        Refused::Authn(AuthnError::Unavailable(cause)) => {
            tracing::error!(%cause, "sessions cannot be looked up");
            StatusError::unavailable("the hub cannot look up sessions at this moment; try again")
        }
        Refused::Authn(error) => StatusError::unauthorized(sign_in_again(&error)),
        Refused::Other(error) => status(&error),
    })?;
    match hub.limits.gateway(principal.user_id()) {
        Ok(()) => Ok(principal),
        Err(wait) => Err(StatusError::too_many_requests(
            "you send the clusters too many requests; wait and try again",
            whole_seconds(wait),
        )),
    }
}

/// The answer to a request that is refused before anything of it is looked at.
#[must_use]
pub fn refused(error: &ApiError) -> Response<Body> {
    status(error).to_response()
}

fn status(error: &ApiError) -> StatusError {
    match error.retry_after {
        Some(wait) => StatusError::too_many_requests(&error.detail, whole_seconds(wait)),
        None => StatusError::forbidden(&error.detail),
    }
}

/// The cluster that the path names, if the caller may see it, and the target at its API server with every byte as
/// the client sent it.
fn split(hub: &Hub, principal: &Principal, uri: &Uri) -> Result<(ClusterRef, PathAndQuery), StatusError> {
    let whole = uri.path_and_query().map_or("", PathAndQuery::as_str);
    let rest = whole.strip_prefix(PREFIX).unwrap_or_default();
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (name, target) = rest.split_at(end);
    let seen = |cluster: &ClusterRef| principal.sees(&hub.policy.load(), &cluster.name);
    let cluster = hub.clusters.find(name).filter(seen).ok_or_else(|| StatusError::unknown_cluster(name))?;
    let target = match target.as_bytes().first() {
        Some(b'/') => target.parse(),
        _ => format!("/{target}").parse(),
    };
    Ok((cluster, target.map_err(|_| StatusError::bad_request("the path is not one that the Kubernetes API has"))?))
}

/// Joins the client's connection with the cluster's, and tells the audit log how much went through.
fn join(response: &mut Response<Body>, client: Option<OnUpgrade>) -> Result<(), StatusError> {
    let (Some(client), Some(cluster)) = (client, response.extensions_mut().remove::<OnUpgrade>()) else {
        return Err(StatusError::bad_gateway("the cluster switched protocols without being asked"));
    };
    let guard = response.extensions_mut().remove::<UpgradeGuard>();
    tokio::spawn(async move {
        let ended = upgrade::bridge(client, cluster).await;
        if let Some(guard) = guard {
            guard.finish(&ended);
        }
    });
    Ok(())
}

/// The answer to a handler's panic.
#[must_use]
pub fn panicked() -> Response<Body> {
    StatusError::internal("the hub failed; its administrator finds the cause in its log under the request id")
        .to_response()
}
