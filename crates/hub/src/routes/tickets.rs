//! `/api/tickets`: one-use tickets for `WebSockets` and event streams.
//!
//! Must not know: how tickets are kept.

use std::sync::Arc;

use axum::extract::State;
use axum::response::IntoResponse;
use flotilla_types::access::{TicketRequest, TicketResponse};
use flotilla_types::problem::Problem;
use flotilla_types::time::{from_ms, now_ms};
use http::StatusCode;
use secrecy::ExposeSecret;

use crate::error::ApiError;
use crate::hub::Hub;
use crate::mount;
use crate::request::MAX_TARGET;
use crate::request::caller::{Caller, Json};

/// Makes a ticket that opens one path once, within 30 s, as the caller: `GET <path>?ticket=...`.
#[utoipa::path(post, path = "/api/tickets", tag = "auth", request_body = TicketRequest, responses(
    (status = 201, body = TicketResponse), (status = 401, body = Problem), (status = 422, body = Problem)))]
pub async fn create(
    State(hub): State<Arc<Hub>>,
    caller: Caller,
    Json(body): Json<TicketRequest>,
) -> Result<impl IntoResponse, ApiError> {
    let path = body.path.as_str();
    let plain = path.starts_with('/') && path.len() <= MAX_TARGET && path.bytes().all(|byte| byte.is_ascii_graphic());
    if !plain || path.contains(['?', '#']) || path.starts_with("/k8s/") {
        return Err(ApiError::invalid(
            "path must be a path of this API without query, for example /api/clusters/dev/pods/watch",
        ));
    }
    let (ticket, until) = hub.tickets.issue(caller.principal.via(), &mount::canonical(path), now_ms()).await?;
    let answer = TicketResponse { ticket: ticket.expose_secret().to_owned(), expires_at: from_ms(until) };
    Ok((StatusCode::CREATED, axum::Json(answer)))
}
