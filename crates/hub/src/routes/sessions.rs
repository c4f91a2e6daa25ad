//! `/api/sessions`: where a person is signed in, and ending that.
//!
//! Must not know: where sessions are kept.

use std::sync::Arc;

use axum::extract::State;
use axum::response::IntoResponse;
use flotilla_types::access::SessionList;
use flotilla_types::id::{SessionId, UserId};
use flotilla_types::problem::Problem;
use http::StatusCode;
use serde::Deserialize;
use utoipa::IntoParams;

use crate::error::ApiError;
use crate::hub::Hub;
use crate::request::caller::{Caller, Path, Query};
use crate::trail::Entry;

type Answer<T> = Result<T, ApiError>;

/// Whose.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Whose {
    /// An account other than the caller's own: administrators only.
    user: Option<UserId>,
}

impl Whose {
    /// The account that is meant.
    ///
    /// # Errors
    /// It is not the caller's, who is no administrator.
    pub(super) fn account(&self, hub: &Hub, caller: &Caller) -> Answer<UserId> {
        let own = caller.principal.user_id();
        match self.user {
            Some(user) if user != own && !is_administrator(hub, caller) => {
                Err(ApiError::forbidden("only an administrator of the hub may look at what is another person's"))
            }
            user => Ok(user.unwrap_or(own)),
        }
    }
}

pub(super) fn is_administrator(hub: &Hub, caller: &Caller) -> bool {
    hub.policy.load().is_administrator(caller.principal.roles())
}

/// The open sessions of the caller, or of anyone for an administrator.
#[utoipa::path(get, path = "/api/sessions", tag = "auth", params(Whose), responses(
    (status = 200, body = SessionList), (status = 401, body = Problem), (status = 403, body = Problem)))]
pub async fn list(
    State(hub): State<Arc<Hub>>,
    caller: Caller,
    Query(whose): Query<Whose>,
) -> Answer<axum::Json<SessionList>> {
    let mut sessions = hub.sessions.list(whose.account(&hub, &caller)?).await?;
    for session in &mut sessions {
        session.current = caller.principal.session() == Some(session.id);
    }
    Ok(axum::Json(SessionList { sessions }))
}

/// Ends a session of the caller, or of anyone for an administrator. It holds no longer, from this moment on.
#[utoipa::path(delete, path = "/api/sessions/{id}", tag = "auth", params(("id" = SessionId, Path)), responses(
    (status = 204), (status = 401, body = Problem), (status = 404, body = Problem)))]
pub async fn end(State(hub): State<Arc<Hub>>, caller: Caller, Path(id): Path<SessionId>) -> Answer<impl IntoResponse> {
    let own = caller.principal.user_id();
    let found = hub.sessions.find(id).await?.filter(|found| found.user == own || is_administrator(&hub, &caller));
    let owner = found.ok_or_else(|| ApiError::not_found("there is no such session, or it has ended"))?.user;
    let whose = if owner == own { String::new() } else { format!(" of user {owner}") };
    let entry = Entry {
        verb: "session_end",
        status: 204,
        command: format!("end session {id}{whose}"),
        route: "/api/sessions/{id}",
        ..Entry::default()
    };
    hub.trail.act(&caller, entry, hub.end_session(id)).await?;
    Ok(StatusCode::NO_CONTENT)
}
