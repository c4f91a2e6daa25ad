//! `/api/audit`: the log. Administrators see all of it, others their own rows; `X-Audit-Scope` says which it was.
//!
//! Must not know: how rows are stored or chained.

use std::sync::Arc;

use axum::extract::State;
use axum::response::IntoResponse;
use flotilla_types::api::AuditPage;
use flotilla_types::audit::AuditQuery;
use flotilla_types::problem::Problem;

use crate::error::ApiError;
use crate::hub::Hub;
use crate::request::caller::{Caller, Query};

/// Rows, newest first.
#[utoipa::path(get, path = "/api/audit", tag = "audit", params(AuditQuery), responses((status = 200, body = AuditPage), (status = 401, body = Problem)))]
pub async fn list(
    State(hub): State<Arc<Hub>>,
    caller: Caller,
    Query(query): Query<AuditQuery>,
) -> Result<impl IntoResponse, ApiError> {
    let all = hub.policy.load().is_administrator(caller.principal.roles());
    let only = (!all).then(|| caller.principal.user_id());
    let page = hub.audit.query(&query, only).await?;
    Ok(([("x-audit-scope", if all { "all" } else { "self" })], axum::Json(page)))
}
