//! Shapes around the proof that the log is whole: signed checkpoints, exports, and what a verification found.
//!
//! Must not know: how anything is hashed, signed or checked (that is `flotilla-ledger`).

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::time::Timestamp;

/// `typ` in the header of a checkpoint, which is a JWS (RFC 7515) signed with `EdDSA`.
pub const CHECKPOINT_TYPE: &str = "flotilla-audit-checkpoint+jwt";

/// What a checkpoint states.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum CheckpointKind {
    /// The log had these rows at this time.
    Head,
    /// The rows up to here were removed by retention; what follows is proven from here on.
    Retention,
}

/// The payload of a checkpoint. `hash` depends on every row up to `seq`, so the signature covers them all.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Checkpoint {
    /// `flotilla-hub`.
    pub iss: String,
    /// What it states.
    pub kind: CheckpointKind,
    /// Position of the last row that it covers.
    pub seq: i64,
    /// Hash of that row, hex.
    pub hash: String,
    /// Position of the checkpoint before; 0 for the first. A removed checkpoint shows.
    pub previous: i64,
    /// When it was signed.
    #[schema(value_type = String, format = DateTime)]
    pub time: Timestamp,
}

/// First line of an export.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ExportHeader {
    /// Version of the format: 1.
    pub version: u32,
    /// Position before the first row.
    pub after_seq: i64,
    /// Hash of the row at that position, hex.
    pub after_hash: String,
    /// Whether rows between were left out. Such an export is no proof.
    pub filtered: bool,
}

/// What is wrong at a position of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum FlawKind {
    /// The row's content is not what was written there.
    RowChanged,
    /// The row's content is right, its hash column is not.
    HashChanged,
    /// A value that the log cannot have written stands in a column.
    RowUnreadable,
    /// One or more rows are missing.
    RowMissing,
    /// The row is not where it belongs, or is there twice.
    RowMisplaced,
    /// The last rows are missing.
    TailMissing,
    /// The rows fit together, but are not those that were signed.
    Rewritten,
    /// A checkpoint's signature does not hold, or its key is not known.
    CheckpointInvalid,
    /// A checkpoint that was signed is missing.
    CheckpointMissing,
}

impl FlawKind {
    /// For people.
    #[must_use]
    pub fn describe(self) -> &'static str {
        match self {
            Self::RowChanged => "the row is not the one that was written",
            Self::HashChanged => "the row's hash was changed",
            Self::RowUnreadable => "the row holds what cannot have been written",
            Self::RowMissing => "missing",
            Self::RowMisplaced => "the row is not where it belongs",
            Self::TailMissing => "the end of the log is missing",
            Self::Rewritten => "the rows are not those that were signed",
            Self::CheckpointInvalid => "the checkpoint does not hold",
            Self::CheckpointMissing => "a signed checkpoint is missing",
        }
    }
}

/// One thing that is wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Flaw {
    /// What.
    pub kind: FlawKind,
    /// Position of the first row concerned.
    pub seq: i64,
    /// Position of the last one.
    pub to: i64,
    /// The row's id, where there is a row with a readable one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Columns in which the row differs, as far as that can be told: from values that make no sense, and from the
    /// other row of the same act.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub columns: Vec<String>,
    /// More for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
}

/// What a verification found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Verification {
    /// Position of the first row looked at.
    pub from: i64,
    /// Position of the last one.
    pub to: i64,
    /// Rows that are as they were written.
    pub good: u64,
    /// Checkpoints whose signature holds.
    pub checkpoints: u64,
    /// Position up to which a signature vouches for the rows; 0 when none does.
    pub signed_to: i64,
    /// What is wrong, in the order of positions. Empty when all is well.
    pub flaws: Vec<Flaw>,
    /// Whether there were more flaws than are listed.
    #[serde(default)]
    pub more_flaws: bool,
    /// There are more rows: verify again from here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<i64>,
}

impl Verification {
    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.flaws.is_empty()
    }

    /// Adds what was found behind this.
    pub fn append(&mut self, behind: Self) {
        self.to = behind.to;
        self.good += behind.good;
        self.checkpoints += behind.checkpoints;
        self.signed_to = self.signed_to.max(behind.signed_to);
        self.flaws.extend(behind.flaws);
        self.more_flaws |= behind.more_flaws;
        self.next = behind.next;
    }
}

/// Which rows to verify.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct VerifyQuery {
    /// First position; the first row that is there when left out.
    pub from: Option<i64>,
    /// Last position; the end of the log when left out. At most a million rows are verified at a time.
    pub to: Option<i64>,
}
