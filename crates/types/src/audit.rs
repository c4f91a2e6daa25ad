//! The vocabulary of the audit log.
//!
//! Must not know: where rows are kept.

mod diff;
mod proof;
mod verb;

pub use diff::{Change, Diff, REDACTED};
pub use proof::{CHECKPOINT_TYPE, Checkpoint, CheckpointKind, ExportHeader, Flaw, FlawKind, Verification, VerifyQuery};
pub use verb::Verb;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::id::{AuditId, ClusterId, RequestId, UserId};
use crate::time::Timestamp;

/// Where an act stands. Each act has one `attempted` or `denied` row and, after `attempted`, exactly one of the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Written to disk before the first byte of the act goes out.
    Attempted,
    /// Answered with a status below 400.
    Succeeded,
    /// Answered with a status of 400 or more, or not reached.
    Failed,
    /// Refused by the hub's policy; nothing went out.
    Denied,
    /// Cut off before its end: the caller left, the link broke, or the hub stopped.
    Aborted,
}

impl Outcome {
    /// The word used on the wire and in the database.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Attempted => "attempted",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Denied => "denied",
            Self::Aborted => "aborted",
        }
    }

    /// The inverse of [`Outcome::as_str`].
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Attempted, Self::Succeeded, Self::Failed, Self::Denied, Self::Aborted]
            .into_iter()
            .find(|outcome| outcome.as_str() == word)
    }
}

/// Who acted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Actor {
    /// The account, where one is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sub: Option<UserId>,
    /// The account's address; for a refused login, what was typed.
    pub email: String,
    /// Groups with which the act arrived in the cluster.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<String>,
    /// Address of the caller, without port.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub address: String,
}

/// What was acted on. Empty strings mean "none" (the core group, a cluster-scoped object, a list).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct Target {
    /// Name of the cluster; empty for an act on the hub itself.
    pub cluster: String,
    /// The cluster's id, where it is registered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster_id: Option<ClusterId>,
    /// API group.
    pub group: String,
    /// API version.
    pub version: String,
    /// Resource, with the subresource after a slash.
    pub resource: String,
    /// Namespace.
    pub namespace: String,
    /// Object name.
    pub name: String,
}

/// One row, as written and as read back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AuditRow {
    /// The row.
    pub id: AuditId,
    /// Position in the log, from 1, without gaps. 0 until the row is written.
    pub seq: i64,
    /// Of an outcome: the attempted row to which it belongs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt_id: Option<AuditId>,
    /// When the row was made.
    #[schema(value_type = String, format = DateTime)]
    pub time: Timestamp,
    /// The same in the attempted row, the outcome row, the log and the answer.
    pub request_id: RequestId,
    /// The route's pattern, for example `/k8s/clusters/{cluster}/*`.
    pub route: String,
    /// Who.
    pub actor: Actor,
    /// What: a word of the taxonomy, [`Verb`]. Text, because a later version may know more words.
    pub verb: String,
    /// Where it stands.
    pub outcome: Outcome,
    /// On what.
    pub target: Target,
    /// One line a person can read, for example `delete pods web-0 -n shop`. Never holds a secret.
    pub command: String,
    /// Why it was denied or failed; for an attempted row the rule that allowed it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// HTTP status of the answer; 0 before there is one.
    #[serde(default)]
    pub status: u16,
    /// Bytes of the answer's body, or both ways for an upgraded connection.
    #[serde(default)]
    pub bytes: u64,
    /// Milliseconds from attempted to outcome.
    #[serde(default)]
    pub duration_ms: u64,
    /// Of the outcome of a write to a cluster that succeeded: what it changed. Never holds a secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub diff: Option<Diff>,
    /// The run of a hub that wrote the row. Empty until the row is written.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub run: String,
    /// SHA-256 over the previous row's hash and this row, in hex. Empty until the row is written.
    #[serde(default)]
    pub hash: String,
}

/// What to look for in the log. All given fields must match.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct AuditQuery {
    /// E-mail address of the actor.
    pub actor: Option<String>,
    /// Verb of the taxonomy.
    pub verb: Option<String>,
    /// Outcome.
    pub outcome: Option<Outcome>,
    /// Cluster name.
    pub cluster: Option<String>,
    /// Namespace.
    pub namespace: Option<String>,
    /// Object name.
    pub name: Option<String>,
    /// Request id.
    pub request_id: Option<String>,
    /// Not before (RFC 3339).
    #[param(value_type = Option<String>, format = DateTime)]
    pub since: Option<Timestamp>,
    /// Before (RFC 3339).
    #[param(value_type = Option<String>, format = DateTime)]
    pub until: Option<Timestamp>,
    /// Only rows with a position below this one: the last `seq` of the previous page.
    pub before: Option<i64>,
    /// Most rows to return, 1 to 1000; 100 when left out.
    pub limit: Option<u32>,
}

/// Which rows to take out. Without a filter the export proves itself: it then ends at a signed checkpoint, the first
/// at or behind `to`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ExportQuery {
    /// First position; the first row that is there when left out.
    pub from: Option<i64>,
    /// Last position; the end of the log when left out.
    pub to: Option<i64>,
    /// E-mail address of the actor.
    pub actor: Option<String>,
    /// Verb of the taxonomy.
    pub verb: Option<String>,
    /// Outcome.
    pub outcome: Option<Outcome>,
    /// Cluster name.
    pub cluster: Option<String>,
    /// Namespace.
    pub namespace: Option<String>,
    /// Object name.
    pub name: Option<String>,
    /// Request id.
    pub request_id: Option<String>,
    /// Not before (RFC 3339).
    #[param(value_type = Option<String>, format = DateTime)]
    pub since: Option<Timestamp>,
    /// Before (RFC 3339).
    #[param(value_type = Option<String>, format = DateTime)]
    pub until: Option<Timestamp>,
}

impl ExportQuery {
    /// The filter, without the range of positions.
    #[must_use]
    pub fn filter(&self) -> AuditQuery {
        let Self { from: _, to: _, actor, verb, outcome, cluster, namespace, name, request_id, since, until } =
            self.clone();
        AuditQuery {
            actor,
            verb,
            outcome,
            cluster,
            namespace,
            name,
            request_id,
            since,
            until,
            before: None,
            limit: None,
        }
    }
}

/// Over which rows to count, and how finely.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct TimelineQuery {
    /// Number of buckets, 1 to 1000; 60 when left out.
    pub buckets: Option<u32>,
    /// E-mail address of the actor.
    pub actor: Option<String>,
    /// Verb of the taxonomy.
    pub verb: Option<String>,
    /// Outcome.
    pub outcome: Option<Outcome>,
    /// Cluster name.
    pub cluster: Option<String>,
    /// Namespace.
    pub namespace: Option<String>,
    /// Object name.
    pub name: Option<String>,
    /// Request id.
    pub request_id: Option<String>,
    /// Not before (RFC 3339); a day before `until` when left out.
    #[param(value_type = Option<String>, format = DateTime)]
    pub since: Option<Timestamp>,
    /// Before (RFC 3339); now when left out.
    #[param(value_type = Option<String>, format = DateTime)]
    pub until: Option<Timestamp>,
}

impl TimelineQuery {
    /// The filter alone.
    #[must_use]
    pub fn filter(&self) -> AuditQuery {
        let Self { buckets: _, actor, verb, outcome, cluster, namespace, name, request_id, since, until } =
            self.clone();
        AuditQuery {
            actor,
            verb,
            outcome,
            cluster,
            namespace,
            name,
            request_id,
            since,
            until,
            before: None,
            limit: None,
        }
    }
}

/// Rows in one stretch of time, by outcome.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Bucket {
    /// Its beginning.
    #[schema(value_type = String, format = DateTime)]
    pub start: Timestamp,
    /// Rows with this outcome.
    pub attempted: u64,
    /// Rows with this outcome.
    pub succeeded: u64,
    /// Rows with this outcome.
    pub failed: u64,
    /// Rows with this outcome.
    pub denied: u64,
    /// Rows with this outcome.
    pub aborted: u64,
}

impl Bucket {
    /// The count of an outcome.
    pub fn count_mut(&mut self, outcome: Outcome) -> &mut u64 {
        match outcome {
            Outcome::Attempted => &mut self.attempted,
            Outcome::Succeeded => &mut self.succeeded,
            Outcome::Failed => &mut self.failed,
            Outcome::Denied => &mut self.denied,
            Outcome::Aborted => &mut self.aborted,
        }
    }
}

/// `GET /api/audit/timeline`: how many rows there are when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Timeline {
    /// Length of each bucket in milliseconds.
    pub width_ms: i64,
    /// Oldest first, without gaps.
    pub buckets: Vec<Bucket>,
}
