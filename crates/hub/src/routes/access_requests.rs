//! `/api/access-requests`: access on request. Asking is open to everyone signed in; who may decide is in `access`.
//!
//! Must not know: how a grant is judged.

use std::sync::Arc;

use axum::extract::State;
use axum::response::IntoResponse;
use flotilla_store::{AccessRequest, Decided, Decision, NewAccessRequest};
use flotilla_types::audit::{Actor, Outcome, Verb};
use flotilla_types::id::AccessRequestId;
use flotilla_types::problem::Problem;
use flotilla_types::rights::{
    AccessAsk, AccessDecision, AccessRequestList, AccessRequestQuery, AccessRequestView, DecisionView, RequestState,
};
use flotilla_types::time::{from_ms, now_ms};
use http::StatusCode;

use crate::access;
use crate::error::ApiError;
use crate::hub::Hub;
use crate::request::caller::{Caller, Json, Path, Query};

type Answer<T> = Result<T, ApiError>;

/// Requests that are looked at for a list.
const LISTED: i64 = 500;

/// Requests of one person that may wait at a time.
const WAITING: u64 = 20;

fn view(hub: &Hub, caller: &Caller, request: AccessRequest) -> AccessRequestView {
    let waits = request.state == RequestState::Pending;
    let over = request.ends_at_ms.is_some_and(|end| end <= now_ms());
    let decided = request.decisions.iter().any(|one| one.user == caller.principal.user_id());
    let may_approve = waits && !decided && access::may_decide(hub, &caller.principal, &request).is_ok();
    let decision = |one: Decision| DecisionView {
        email: one.email,
        approved: one.approved,
        comment: one.comment,
        at: from_ms(one.at_ms),
    };
    AccessRequestView {
        id: request.id,
        user: request.user,
        email: request.email,
        clusters: hub.roles.directory().names(&request.clusters),
        ask: request.ask,
        state: if request.state == RequestState::Granted && over { RequestState::Ended } else { request.state },
        approvals_needed: request.approvals_needed,
        decisions: request.decisions.into_iter().map(decision).collect(),
        created_at: from_ms(request.created_at_ms),
        granted_at: request.granted_at_ms.map(from_ms),
        ends_at: request.ends_at_ms.map(from_ms),
        may_approve,
    }
}

/// Whether the caller may know of a request: it is his, or he may decide such.
fn sees(hub: &Hub, caller: &Caller, request: &AccessRequest) -> bool {
    request.user == caller.principal.user_id() || access::may_see(hub, &caller.principal, request).is_ok()
}

/// The request, if the caller may know of it.
async fn visible(hub: &Hub, caller: &Caller, id: AccessRequestId) -> Answer<AccessRequest> {
    let request = hub.store.access_request(id).await?.filter(|request| sees(hub, caller, request));
    request.ok_or_else(|| ApiError::not_found("there is no such request; list yours with: flotilla requests list"))
}

/// The caller's requests and those that he may decide, newest first.
#[utoipa::path(get, path = "/api/access-requests", tag = "access", params(AccessRequestQuery),
    responses((status = 200, body = AccessRequestList), (status = 401, body = Problem)))]
pub async fn list(
    State(hub): State<Arc<Hub>>,
    caller: Caller,
    Query(query): Query<AccessRequestQuery>,
) -> Answer<axum::Json<AccessRequestList>> {
    let mut requests = hub.store.list_access_requests(LISTED).await?;
    requests.retain(|request| sees(&hub, &caller, request));
    let views = requests.into_iter().map(|request| view(&hub, &caller, request));
    let wanted = views.filter(|view| query.state.is_none_or(|state| state == view.state)).collect();
    Ok(axum::Json(AccessRequestList { requests: wanted }))
}

/// One request.
#[utoipa::path(get, path = "/api/access-requests/{id}", tag = "access", params(("id" = AccessRequestId, Path)),
    responses((status = 200, body = AccessRequestView), (status = 404, body = Problem)))]
pub async fn show(
    State(hub): State<Arc<Hub>>,
    caller: Caller,
    Path(id): Path<AccessRequestId>,
) -> Answer<axum::Json<AccessRequestView>> {
    let request = visible(&hub, &caller, id).await?;
    Ok(axum::Json(view(&hub, &caller, request)))
}

/// Asks for access.
#[utoipa::path(post, path = "/api/access-requests", tag = "access", request_body = AccessAsk, responses(
    (status = 201, body = AccessRequestView), (status = 404, body = Problem), (status = 422, body = Problem), (status = 429, body = Problem)))]
pub async fn create(
    State(hub): State<Arc<Hub>>,
    caller: Caller,
    Json(ask): Json<AccessAsk>,
) -> Answer<impl IntoResponse> {
    access::check(&hub, &ask)?;
    let user = caller.principal.user_id();
    let directory = hub.roles.directory();
    let clusters = access::clusters(&directory, &hub.policy.load(), &caller.principal, &ask);
    if clusters.is_empty() {
        return Err(ApiError::not_found(format!(
            "no cluster of yours matches {:?}; those of your organisations can be asked for",
            ask.cluster
        )));
    }
    let (approvals_needed, longest) = access::rule(&directory, &clusters);
    if ask.seconds > longest {
        return Err(ApiError::invalid(format!("{} s is too long; here at most {longest} s can be had", ask.seconds)));
    }
    if hub.store.pending_access_requests(user).await? >= WAITING {
        return Err(ApiError::conflict(format!("{WAITING} requests of yours wait already; withdraw some")));
    }
    let draft = AccessRequest {
        id: AccessRequestId::new(),
        user,
        email: caller.principal.email().to_owned(),
        ask: ask.clone(),
        clusters: clusters.clone(),
        approvals_needed,
        state: RequestState::Pending,
        created_at_ms: now_ms(),
        granted_at_ms: None,
        ends_at_ms: None,
        decisions: Vec::new(),
    };
    let entry = access::entry(Verb::AccessRequest, "/api/access-requests", &draft);
    let new = NewAccessRequest { user, ask, clusters, approvals_needed };
    hub.trail.act(&caller, entry, hub.store.create_access_request(draft.id, &new)).await?;
    let request = visible(&hub, &caller, draft.id).await?;
    Ok((StatusCode::CREATED, axum::Json(view(&hub, &caller, request))))
}

/// Approves a request. When enough have, it holds from now on.
#[utoipa::path(post, path = "/api/access-requests/{id}/approve", tag = "access", params(("id" = AccessRequestId, Path)),
    request_body = AccessDecision, responses((status = 200, body = AccessRequestView), (status = 403, body = Problem), (status = 404, body = Problem), (status = 409, body = Problem)))]
pub async fn approve(
    State(hub): State<Arc<Hub>>,
    caller: Caller,
    Path(id): Path<AccessRequestId>,
    Json(body): Json<AccessDecision>,
) -> Answer<axum::Json<AccessRequestView>> {
    decide(&hub, &caller, id, body, true).await
}

/// Denies a request. One denial settles it.
#[utoipa::path(post, path = "/api/access-requests/{id}/deny", tag = "access", params(("id" = AccessRequestId, Path)),
    request_body = AccessDecision, responses((status = 200, body = AccessRequestView), (status = 403, body = Problem), (status = 404, body = Problem), (status = 409, body = Problem)))]
pub async fn deny(
    State(hub): State<Arc<Hub>>,
    caller: Caller,
    Path(id): Path<AccessRequestId>,
    Json(body): Json<AccessDecision>,
) -> Answer<axum::Json<AccessRequestView>> {
    decide(&hub, &caller, id, body, false).await
}

async fn decide(
    hub: &Hub,
    caller: &Caller,
    id: AccessRequestId,
    body: AccessDecision,
    approved: bool,
) -> Answer<axum::Json<AccessRequestView>> {
    let request = visible(hub, caller, id).await?;
    let (verb, route) = match approved {
        true => (Verb::AccessApprove, "/api/access-requests/{id}/approve"),
        false => (Verb::AccessDeny, "/api/access-requests/{id}/deny"),
    };
    let entry = access::entry(verb, route, &request);
    access::may_decide(hub, &caller.principal, &request).map_err(ApiError::forbidden)?;
    let decision = Decision {
        user: caller.principal.user_id(),
        email: caller.principal.email().to_owned(),
        approved,
        comment: body.comment.chars().take(500).collect(),
        at_ms: now_ms(),
    };
    let decided = hub.trail.act(caller, entry, hub.store.decide_access_request(&request, &decision)).await?;
    if let Decided::Granted(_) = decided {
        let actor = Actor { sub: Some(request.user), email: request.email.clone(), ..Actor::default() };
        let entry = access::entry(Verb::AccessGrant, route, &request);
        hub.trail.record(&caller.context, actor, entry, Outcome::Succeeded, 200, "").await?;
        hub.reload_directory().await?;
    }
    let request = visible(hub, caller, id).await?;
    Ok(axum::Json(view(hub, caller, request)))
}

/// Ends a grant before its time, or withdraws a request. The one who asked may, and whoever may decide it.
#[utoipa::path(post, path = "/api/access-requests/{id}/end", tag = "access", params(("id" = AccessRequestId, Path)),
    request_body = AccessDecision, responses((status = 200, body = AccessRequestView), (status = 404, body = Problem), (status = 409, body = Problem)))]
pub async fn end(
    State(hub): State<Arc<Hub>>,
    caller: Caller,
    Path(id): Path<AccessRequestId>,
    Json(_): Json<AccessDecision>,
) -> Answer<axum::Json<AccessRequestView>> {
    let request = visible(&hub, &caller, id).await?;
    let entry = access::entry(Verb::AccessEnd, "/api/access-requests/{id}/end", &request);
    let over = || ApiError::conflict("it is over already");
    hub.trail
        .act(&caller, entry, async {
            let ended = hub.store.end_access_request(id, now_ms()).await?;
            if ended { Ok(()) } else { Err(over()) }
        })
        .await?;
    hub.reload_directory().await?;
    let request = visible(&hub, &caller, id).await?;
    Ok(axum::Json(view(&hub, &caller, request)))
}
