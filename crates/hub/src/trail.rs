//! The audit trail of acts on the hub itself (accounts, roles, agents, clusters). Acts on clusters are
//! audited by the gate of `flotilla-cluster`. Both write to the one log.
//!
//! Must not know: which act it is; handlers say that in an [`Entry`].

use std::future::Future;

use flotilla_store::audit::{AuditError, AuditLog};
use flotilla_types::audit::{Actor, AuditRow, Outcome, Target, Verb};
use flotilla_types::id::AuditId;
use flotilla_types::time::Timestamp;

use crate::error::ApiError;
use crate::request::RequestContext;
use crate::request::caller::Caller;

/// What an act is called.
#[derive(Clone, Default)]
pub struct Entry {
    /// What it is called.
    pub verb: Verb,
    /// One line for people, without secrets.
    pub command: String,
    /// The route's pattern.
    pub route: &'static str,
    /// On what.
    pub target: Target,
    /// HTTP status of the answer when the act succeeds; 0 stands for 200.
    pub status: u16,
}

/// Writes the rows.
#[derive(Clone)]
pub struct Trail {
    log: AuditLog,
}

impl Trail {
    /// A trail that writes to `log`.
    #[must_use]
    pub fn new(log: AuditLog) -> Self {
        Self { log }
    }

    /// Writes one row for something that has already been decided (a login, a refusal).
    ///
    /// # Errors
    /// The row could not be written; the caller must not go on.
    pub async fn record(
        &self,
        context: &RequestContext,
        actor: Actor,
        entry: Entry,
        outcome: Outcome,
        status: u16,
        reason: &str,
    ) -> Result<(), AuditError> {
        let mut row = row(context, actor, entry, outcome);
        row.status = status;
        reason.clone_into(&mut row.reason);
        self.log.record(row).await
    }

    /// Runs `act` between an `attempted` row, which is on disk before it begins, and its outcome.
    ///
    /// # Errors
    /// The row could not be written (then nothing was done), or the act failed.
    pub async fn act<T, E: Into<ApiError>>(
        &self,
        caller: &Caller,
        entry: Entry,
        act: impl Future<Output = Result<T, E>>,
    ) -> Result<T, ApiError> {
        let actor = Actor {
            sub: Some(caller.principal.user_id()),
            email: caller.principal.email().to_owned(),
            groups: Vec::new(),
            address: caller.context.address.to_string(),
        };
        self.act_as(&caller.context, actor, entry, act).await
    }

    /// [`Trail::act`] for someone who is no signed-in caller.
    ///
    /// # Errors
    /// As there.
    pub async fn act_as<T, E: Into<ApiError>>(
        &self,
        context: &RequestContext,
        actor: Actor,
        entry: Entry,
        act: impl Future<Output = Result<T, E>>,
    ) -> Result<T, ApiError> {
        let status = if entry.status == 0 { 200 } else { entry.status };
        let pending = self.log.attempt(row(context, actor, entry, Outcome::Attempted)).await?;
        match act.await.map_err(Into::into) {
            Ok(value) => {
                pending.finish(Outcome::Succeeded, status, 0, String::new());
                Ok(value)
            }
            Err(error) => {
                pending.finish(Outcome::Failed, error.status.as_u16(), 0, error.detail.clone());
                Err(error)
            }
        }
    }
}

fn row(context: &RequestContext, actor: Actor, entry: Entry, outcome: Outcome) -> AuditRow {
    context.recorded.set();
    AuditRow {
        id: AuditId::new(),
        seq: 0,
        attempt_id: None,
        time: Timestamp::now(),
        request_id: context.request_id.clone(),
        route: entry.route.to_owned(),
        actor,
        verb: entry.verb.as_str().to_owned(),
        outcome,
        target: entry.target,
        command: entry.command,
        reason: String::new(),
        status: 0,
        bytes: 0,
        duration_ms: 0,
        diff: None,
        run: String::new(),
        hash: String::new(),
    }
}
