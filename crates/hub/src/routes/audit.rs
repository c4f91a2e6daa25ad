//! `/api/audit`: the log. Administrators see all of it, others their own rows; `X-Audit-Scope` says which it was.
//!
//! Must not know: how rows are stored or chained.

use std::sync::Arc;

use axum::extract::State;
use axum::response::IntoResponse;
use flotilla_types::api::AuditPage;
use flotilla_types::audit::{AuditQuery, ExportQuery, Timeline, TimelineQuery, Verb, Verification, VerifyQuery};
use flotilla_types::id::UserId;
use flotilla_types::problem::Problem;
use http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use tokio::sync::Semaphore;

use crate::error::ApiError;
use crate::export;
use crate::hub::Hub;
use crate::request::caller::{Administrator, Caller, Query};
use crate::trail::Entry;

/// Buckets of a timeline when the caller names no number.
const BUCKETS: u32 = 60;

/// A verification reads up to a million rows: one at a time.
static VERIFYING: Semaphore = Semaphore::const_new(1);

/// Whose rows the caller sees, and the word for it.
fn scope(hub: &Hub, caller: &Caller) -> (Option<UserId>, &'static str) {
    let all = hub.policy.load().is_administrator(caller.principal.roles());
    if all { (None, "all") } else { (Some(caller.principal.user_id()), "self") }
}

/// Rows, newest first.
#[utoipa::path(get, path = "/api/audit", tag = "audit", params(AuditQuery), responses((status = 200, body = AuditPage), (status = 401, body = Problem)))]
pub async fn list(
    State(hub): State<Arc<Hub>>,
    caller: Caller,
    Query(query): Query<AuditQuery>,
) -> Result<impl IntoResponse, ApiError> {
    let (only, scope) = scope(&hub, &caller);
    let page = hub.audit.query(&query, only).await?;
    Ok(([("x-audit-scope", scope)], axum::Json(page)))
}

/// How many rows there are when, by outcome.
#[utoipa::path(get, path = "/api/audit/timeline", tag = "audit", params(TimelineQuery), responses(
    (status = 200, body = Timeline), (status = 401, body = Problem)))]
pub async fn timeline(
    State(hub): State<Arc<Hub>>,
    caller: Caller,
    Query(query): Query<TimelineQuery>,
) -> Result<impl IntoResponse, ApiError> {
    let (only, scope) = scope(&hub, &caller);
    let timeline = hub.store.audit_timeline(&query.filter(), query.buckets.unwrap_or(BUCKETS), only).await?;
    Ok(([("x-audit-scope", scope)], axum::Json(timeline)))
}

/// The public keys that vouch for checkpoints, as a JWK set (RFC 7517). To be kept away from the hub.
#[utoipa::path(get, path = "/api/audit/keys", tag = "audit", responses(
    (status = 200, body = Object), (status = 401, body = Problem)))]
pub async fn keys(State(hub): State<Arc<Hub>>, _: Caller) -> Result<axum::Json<serde_json::Value>, ApiError> {
    Ok(axum::Json(hub.store.audit_keys().await?))
}

/// Verifies the chain and its checkpoints, up to a million rows at a time; `next` says where to go on.
#[utoipa::path(get, path = "/api/audit/verify", tag = "audit", params(VerifyQuery), responses(
    (status = 200, body = Verification), (status = 403, body = Problem), (status = 429, body = Problem)))]
pub async fn verify(
    State(hub): State<Arc<Hub>>,
    Administrator(_): Administrator,
    Query(query): Query<VerifyQuery>,
) -> Result<axum::Json<Verification>, ApiError> {
    let Ok(_one) = VERIFYING.try_acquire() else {
        let wait = std::time::Duration::from_secs(5);
        return Err(ApiError::too_many_requests("the audit log is just being verified; try again shortly", wait));
    };
    Ok(axum::Json(hub.store.verify_audit(&query).await?))
}

/// The log as JSON lines. Without filters it proves itself: see `flotilla audit verify --file`.
#[utoipa::path(get, path = "/api/audit/export", tag = "audit", params(ExportQuery), responses(
    (status = 200, body = String, content_type = "application/x-ndjson"), (status = 403, body = Problem)))]
pub async fn export(
    State(hub): State<Arc<Hub>>,
    Administrator(caller): Administrator,
    Query(query): Query<ExportQuery>,
) -> Result<impl IntoResponse, ApiError> {
    let entry = Entry {
        verb: Verb::AuditExport,
        command: "export the audit log".to_owned(),
        route: "/api/audit/export",
        ..Entry::default()
    };
    let lines = Box::pin(hub.trail.act(&caller, entry, export::lines(Arc::clone(&hub), &query))).await?;
    let headers =
        [(CONTENT_TYPE, "application/x-ndjson"), (CONTENT_DISPOSITION, "attachment; filename=\"audit.jsonl\"")];
    Ok((headers, axum::body::Body::from_stream(lines)))
}
