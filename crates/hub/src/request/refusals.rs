//! No act without a row: what handlers cannot see to, because they were never asked.
//!
//! Whoever is signed in and calls a route that acts, and is refused before its handler wrote a row (he is no
//! administrator, his key's scopes do not reach, the object is not there or hidden from him), gets one `denied` row. Of
//! one person no more are written than of his denied calls to clusters. Calls that are wrong in their form (400, 422)
//! and those of nobody (401) have none: nothing was attempted, and anyone could fill the log.
//!
//! And a route that acted without writing a row is a fault of ours: a program for developing stops there.
//!
//! Must not know: what any route does.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use flotilla_identity::principal::Principal;
use flotilla_types::audit::{Actor, AuditRow, Outcome, Target};
use flotilla_types::id::AuditId;
use flotilla_types::time::Timestamp;
use http::{Method, StatusCode};

use super::RequestContext;
use crate::error::ApiError;
use crate::hub::Hub;
use crate::routes::acts;
use crate::routes::invitations::without_token;

/// Whether a request has a row in the audit log by now.
#[derive(Clone, Debug, Default)]
pub struct Recorded(Arc<AtomicBool>);

impl Recorded {
    /// It has.
    pub fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// A call of somebody signed in.
pub struct Call {
    /// Who.
    pub principal: Principal,
    /// Its method.
    pub method: Method,
    /// Its canonical path.
    pub path: String,
}

/// The row that is due for a call that was answered with `status`, and, if it was refused, with `error`.
pub fn due(context: &RequestContext, call: &Call, status: StatusCode, error: Option<&ApiError>) -> Option<AuditRow> {
    let (route, verb) = acts::find(call.method.as_str(), &call.path)?;
    if context.recorded.is_set() {
        return None;
    }
    if status.is_success() || status.is_redirection() {
        tracing::error!(request_id = %context.request_id, route, "an act has left no row in the audit log");
        debug_assert!(false, "{} {route} acted without a row in the audit log", call.method);
        return None;
    }
    if !matches!(status, StatusCode::FORBIDDEN | StatusCode::NOT_FOUND) {
        return None;
    }
    // A page says in its own words why not.
    let reason = error.map_or_else(|| "refused on a page".to_owned(), |error| error.detail.clone());
    Some(AuditRow {
        id: AuditId::new(),
        seq: 0,
        attempt_id: None,
        time: Timestamp::now(),
        request_id: context.request_id.clone(),
        route: route.to_owned(),
        actor: Actor {
            sub: Some(call.principal.user_id()),
            email: call.principal.email().to_owned(),
            groups: Vec::new(),
            address: context.address.to_string(),
        },
        verb: verb.as_str().to_owned(),
        outcome: Outcome::Denied,
        target: Target::default(),
        command: format!("{} {}", call.method, without_token(&call.path)),
        reason,
        status: status.as_u16(),
        bytes: 0,
        duration_ms: 0,
        diff: None,
        run: String::new(),
        hash: String::new(),
    })
}

/// Writes it.
pub async fn record(hub: Arc<Hub>, row: AuditRow) {
    let id = row.request_id.clone();
    if let Err(error) = hub.gate.audit_refused(row).await {
        // Nothing was done, so nothing is taken back; the caller has his refusal.
        tracing::error!(%error, request_id = %id, "a refusal could not be recorded");
    }
}
