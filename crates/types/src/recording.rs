//! Recorded shells and open streams, as the API shows them.
//!
//! Must not know: how they are recorded or kept.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::id::{RecordingId, RequestId, SessionId, StreamId, UserId};
use crate::time::Timestamp;

/// What kind of session was recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RecordingKind {
    /// A program was started in a container.
    Exec,
    /// A running program's terminal was taken over.
    Attach,
    /// Connections into a pod. Only their ports, times and byte counts are recorded.
    PortForward,
}

impl RecordingKind {
    /// The word used on the wire and in the database.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Exec => "exec",
            Self::Attach => "attach",
            Self::PortForward => "port-forward",
        }
    }

    /// The inverse of [`RecordingKind::as_str`].
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Exec, Self::Attach, Self::PortForward].into_iter().find(|kind| kind.as_str() == word)
    }
}

/// Where a recording stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RecordingState {
    /// The session goes on.
    Recording,
    /// From the first byte to the last.
    Complete,
    /// Something is missing; the reason says what.
    Incomplete,
}

impl RecordingState {
    /// The word used on the wire and in the database.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Recording => "recording",
            Self::Complete => "complete",
            Self::Incomplete => "incomplete",
        }
    }

    /// The inverse of [`RecordingState::as_str`].
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Recording, Self::Complete, Self::Incomplete].into_iter().find(|state| state.as_str() == word)
    }
}

/// One recording, without its content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RecordingView {
    /// The recording.
    pub id: RecordingId,
    /// What was recorded.
    pub kind: RecordingKind,
    /// Whose session.
    pub user: UserId,
    /// His address.
    pub email: String,
    /// Finds the audit rows.
    pub request_id: RequestId,
    /// Name of the cluster.
    pub cluster: String,
    /// Namespace.
    pub namespace: String,
    /// Name of the pod.
    pub pod: String,
    /// For people, for example `exec pods web-0 -n shop -c app: sh`.
    pub command: String,
    /// Where it stands.
    pub state: RecordingState,
    /// What is missing, or why the session was cut.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// When the session began.
    #[schema(value_type = String, format = DateTime)]
    pub started_at: Timestamp,
    /// Milliseconds from its beginning to what was recorded last.
    pub duration_ms: u64,
    /// Characters in a line at the beginning; 0 for a session without a terminal.
    pub width: u16,
    /// Lines at the beginning.
    pub height: u16,
    /// How the program ended, where it said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// Bytes of the recording as it is downloaded, without its first line.
    pub bytes: u64,
    /// Its open stream on this hub, while the session goes on: what can be terminated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream: Option<StreamId>,
}

/// `GET /api/recordings`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RecordingPage {
    /// Newest first.
    pub recordings: Vec<RecordingView>,
    /// Give it as `before` to read on; absent on the last page. With `text` a page may have few recordings or none,
    /// and others still follow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<RecordingId>,
}

/// What to look for among recordings. All given fields must match.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct RecordingQuery {
    /// E-mail address.
    pub user: Option<String>,
    /// Cluster name.
    pub cluster: Option<String>,
    /// Namespace.
    pub namespace: Option<String>,
    /// Name of the pod.
    pub pod: Option<String>,
    /// Begun not before (RFC 3339).
    #[param(value_type = Option<String>, format = DateTime)]
    pub since: Option<Timestamp>,
    /// Begun before (RFC 3339).
    #[param(value_type = Option<String>, format = DateTime)]
    pub until: Option<Timestamp>,
    /// Words that were shown in one line, in any case. Looks through as many recordings as it can in a few seconds.
    pub text: Option<String>,
    /// Only recordings older than this one: `next` of the previous page.
    pub before: Option<RecordingId>,
    /// Most recordings to return, 1 to 500; 100 when left out.
    pub limit: Option<u32>,
}

/// `GET /api/recordings/{id}/search`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct SearchQuery {
    /// Words that were shown in one line, in any case.
    pub text: String,
}

/// Lines of one recording in which the words stand.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SearchResult {
    /// In the order in which they were shown.
    pub lines: Vec<SearchLine>,
    /// Whether there are more lines than these.
    pub more: bool,
}

/// One line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SearchLine {
    /// Seconds from the beginning to the end of the line.
    pub at: f64,
    /// The line without codes that move or colour it.
    pub line: String,
}

/// `GET /debug/streams`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StreamList {
    /// Every open stream of this hub, oldest first.
    pub streams: Vec<StreamView>,
}

/// An answer of a cluster that goes on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StreamView {
    /// The stream.
    pub id: StreamId,
    /// Whose.
    pub user: String,
    /// His sign-in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<SessionId>,
    /// Finds the audit rows.
    pub request_id: RequestId,
    /// Name of the cluster.
    pub cluster: String,
    /// `exec`, `attach`, `port-forward`, `log`, `watch`, `proxy`, `upgrade`, or `answer` for a long body.
    pub kind: String,
    /// Resource, with the subresource after a slash; a path that is none stands in the name.
    pub resource: String,
    /// Namespace.
    pub namespace: String,
    /// Object name.
    pub name: String,
    /// Since when.
    #[schema(value_type = String, format = DateTime)]
    pub since: Timestamp,
    /// Bytes towards the cluster so far.
    pub sent: u64,
    /// Bytes from the cluster so far.
    pub received: u64,
    /// Its recording, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recording: Option<RecordingId>,
}
