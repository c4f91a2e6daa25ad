//! What a write changed: the object before and after, compared, with everything that may be a secret taken out.
//!
//! The object before is what a `GET` of the same path gave the caller, with his own rights, just before the write; the
//! object after is what the API server answered to the write. A create has no before, a delete no after. Both are
//! bounded, and what cannot be read (too large, no JSON, no right to read) is said instead of guessed.
//!
//! Must not know: how the object before was read, or how rows are kept.

mod answer;
mod redact;
mod walk;

#[cfg(test)]
mod tests;

use flotilla_types::audit::Diff;
use serde_json::Value;

use crate::request::ClusterRequest;
use crate::request_info::pairs;

pub(crate) use answer::Answer;

/// Largest object that is compared, in bytes of JSON.
const MAX_OBJECT: usize = 256 * 1024;

/// What a write does to the object that its path names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Write {
    /// It makes it.
    Create,
    /// It changes it, or makes it (`PUT` and apply may).
    Change,
    /// It removes it.
    Delete,
}

impl Write {
    /// `None` for what changes no object that could be compared: reads, dry runs, deletions of many, subresources that
    /// are acts (`eviction`, `binding`, `token`), and ways in.
    pub(crate) fn of(request: &ClusterRequest) -> Option<Self> {
        let info = request.info();
        let dry_run = pairs(request.query()).any(|(key, _)| key == b"dryRun");
        if !info.is_resource_request || dry_run || request.is_upgrade() || info.subresource == "proxy" {
            return None;
        }
        match info.verb {
            "create" if info.name.is_empty() && info.subresource.is_empty() => Some(Self::Create),
            "update" | "patch" if !info.name.is_empty() => Some(Self::Change),
            "delete" if !info.name.is_empty() && info.subresource.is_empty() => Some(Self::Delete),
            _ => None,
        }
    }
}

/// One side of a comparison.
#[derive(Debug)]
pub(crate) enum Side {
    /// There is no object.
    Absent,
    /// The object.
    Object(Value),
    /// There may be one, which is not known; why, for people.
    Unknown(String),
}

/// A comparison under way: the object before, and as much of the answer as has come.
pub(crate) struct Comparison {
    write: Write,
    /// Whether the path says that it is about Secrets.
    secret: bool,
    before: Side,
    answer: Option<Answer>,
}

impl Comparison {
    pub(crate) fn new(write: Write, secret: bool, before: Side) -> Self {
        Self { write, secret, before, answer: None }
    }

    /// Looks at the head of the answer to the write.
    pub(crate) fn answered(&mut self, head: &http::HeaderMap) {
        // What a delete answers is a Status, or the object on its way out.
        self.answer = (self.write != Write::Delete).then(|| Answer::new(head));
    }

    /// Keeps a piece of the answer, within bounds.
    pub(crate) fn push(&mut self, piece: &[u8]) {
        if let Some(answer) = &mut self.answer {
            answer.push(piece);
        }
    }

    /// Compares, after the end of the answer.
    pub(crate) fn finish(self) -> Diff {
        let after = match (self.write, self.answer) {
            (Write::Delete, _) => Side::Absent,
            (_, Some(answer)) => answer.object(),
            (_, None) => Side::Unknown("there was no answer".to_owned()),
        };
        compare(self.secret, self.before, after)
    }
}

/// Compares two objects. `secret`: only their shape may be shown.
fn compare(secret: bool, before: Side, after: Side) -> Diff {
    let unknown = |which: &str, why: &str| Diff { unknown: format!("{which}: {why}"), ..Diff::default() };
    let (before, after) = match (before, after) {
        (Side::Unknown(why), _) => return unknown("before", &why),
        (_, Side::Unknown(why)) => return unknown("after", &why),
        (before, after) => (before.into_object(), after.into_object()),
    };
    if let (Some(before), Some(after)) = (&before, &after)
        && before.get("kind") != after.get("kind")
    {
        return unknown("after", "the answer is an object of another kind");
    }
    let secret = secret || [&before, &after].into_iter().flatten().any(redact::is_secret);
    walk::changes(secret, before.as_ref(), after.as_ref())
}

impl Side {
    fn into_object(self) -> Option<Value> {
        match self {
            Self::Object(object) => Some(object),
            Self::Absent | Self::Unknown(_) => None,
        }
    }
}
