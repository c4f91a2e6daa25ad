//! `/debug/streams` and `/api/streams`: the answers that are open, and ending one.
//!
//! Must not know: how a stream is cut.

use std::sync::Arc;

use axum::extract::State;
use axum::response::IntoResponse;
use flotilla_types::audit::{Target, Verb};
use flotilla_types::id::StreamId;
use flotilla_types::problem::Problem;
use flotilla_types::recording::StreamList;
use http::StatusCode;

use crate::error::ApiError;
use crate::hub::Hub;
use crate::request::caller::{Administrator, Caller, Path};
use crate::trail::Entry;

/// Every watch, log, shell and long answer that is open on this hub.
#[utoipa::path(get, path = "/debug/streams", tag = "recordings", responses((status = 200, body = StreamList), (status = 403, body = Problem)))]
pub async fn list(State(hub): State<Arc<Hub>>, _: Administrator) -> axum::Json<StreamList> {
    let streams = hub.transport.live().all().iter().map(|stream| stream.view()).collect();
    axum::Json(StreamList { streams })
}

/// Ends a stream at once. Others' streams only an administrator ends.
#[utoipa::path(delete, path = "/api/streams/{id}", tag = "recordings", params(("id" = StreamId, Path)), responses(
    (status = 204), (status = 404, body = Problem)))]
pub async fn terminate(
    State(hub): State<Arc<Hub>>,
    caller: Caller,
    Path(id): Path<StreamId>,
) -> Result<impl IntoResponse, ApiError> {
    let everyones = hub.policy.load().is_administrator(caller.principal.roles());
    let mine = |user| everyones || user == caller.principal.user_id();
    let stream = hub.transport.live().get(id).filter(|stream| mine(stream.principal().user_id()));
    let stream =
        stream.ok_or_else(|| ApiError::not_found("there is no open stream with this id, or it is not yours"))?;
    let view = stream.view();
    let entry = Entry {
        verb: Verb::StreamTerminate,
        status: 204,
        command: format!("terminate {} of {} ({})", view.kind, view.user, view.request_id),
        route: "/api/streams/{id}",
        target: Target {
            cluster: view.cluster,
            resource: view.resource,
            namespace: view.namespace,
            name: view.name,
            ..Target::default()
        },
    };
    let reason = format!("terminated by {}", caller.principal.email());
    hub.trail
        .act(&caller, entry, async {
            stream.cut(&reason);
            Ok::<_, ApiError>(())
        })
        .await?;
    Ok(StatusCode::NO_CONTENT)
}
