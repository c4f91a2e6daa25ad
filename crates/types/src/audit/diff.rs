//! What a write changed, as its outcome row says it.
//!
//! Must not know: how objects are compared, and what of them may be shown.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

/// Stands for a value that is not shown.
pub const REDACTED: &str = "[redacted]";

/// What a write changed in an object. Without changes and without a reason: nothing.
///
/// It holds no fractions (they are kept as text) and no `null`, so that reading and writing it gives the same bytes,
/// which the audit log hashes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Diff {
    /// Why the object before and after could not be compared. Then there are no changes here.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub unknown: String,
    /// In the order of their paths, as many as there is room for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<Change>,
    /// How many more there are.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub more: u64,
}

/// One value that is another one now.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Change {
    /// Where it stands, for example `spec.template.spec.containers[app].image`.
    pub path: String,
    /// What it was; left out when it was not there. [`REDACTED`] when it is not shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Value>,
    /// What it is now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Value>,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}
