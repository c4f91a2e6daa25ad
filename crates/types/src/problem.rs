//! Errors of `/api/...` as problem details (RFC 9457) with stable codes.
//!
//! Must not know: how an error came about. Constructors of whole answers are in the hub.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Stable codes; a client may branch on them. Never renamed, never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Code {
    /// No credentials, or none that hold (401).
    Unauthenticated,
    /// Unknown account or wrong password; deliberately one answer (401).
    InvalidCredentials,
    /// A refresh token that was used before; its session has been ended (401).
    RefreshReused,
    /// Known, but not allowed (403).
    Forbidden,
    /// Not there, or not yours to see (404).
    NotFound,
    /// The path is there, the method is not (405).
    MethodNotAllowed,
    /// Contradicts what is there (409).
    Conflict,
    /// The request is not well-formed (400).
    BadRequest,
    /// Well-formed, but a value breaks a rule (422).
    Invalid,
    /// Too large a body, path or header (413, 414, 431).
    TooLarge,
    /// Slow down; see `Retry-After` (429).
    TooManyRequests,
    /// Sent to the wrong listener (421).
    Misdirected,
    /// The enrolment token is unknown, spent, too old or for another cluster; deliberately one answer (401).
    EnrolmentRefused,
    /// The agent of the cluster is not connected (503).
    AgentAway,
    /// The cluster did not answer in time (504).
    Timeout,
    /// The cluster could not be reached (502).
    Unreachable,
    /// The audit log cannot be written, so nothing was done (503).
    AuditUnavailable,
    /// This hub is shutting down (503).
    ShuttingDown,
    /// Our fault; the request id finds the log line (500).
    Internal,
    /// Switched off or not possible on this hub (501).
    Unavailable,
}

/// `application/problem+json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// `about:blank` or a documentation address of the code.
    #[serde(rename = "type")]
    pub kind: String,
    /// The HTTP status in words.
    pub title: String,
    /// HTTP status.
    pub status: u16,
    /// What happened and what to do about it.
    pub detail: String,
    /// Finds the log lines and audit rows.
    pub request_id: String,
    /// Stable code.
    pub code: Code,
}
