//! A row's canonical bytes and its place in the chain.
//!
//! Must not know: whether what a row says makes sense.

use std::borrow::Cow;

use aws_lc_rs::digest::{Context, SHA256};
use flotilla_types::audit::{AuditRow, Diff};

use crate::hex;

/// First bytes of the canonical form; changes when the form does.
const DOMAIN: &[u8] = b"flotilla-audit-1";

/// The hash before the first row.
pub const GENESIS: Hash = [0; hex::LEN];

/// SHA-256.
pub type Hash = [u8; hex::LEN];

/// A row as it is stored and hashed: every column but the hash, in the order in which they are hashed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "they are the columns of audit_events")]
pub struct Fields<'a> {
    pub seq: i64,
    pub id: Cow<'a, str>,
    pub attempt_id: Cow<'a, str>,
    pub time: i64,
    pub request_id: Cow<'a, str>,
    pub route: Cow<'a, str>,
    pub actor_id: Cow<'a, str>,
    pub actor_email: Cow<'a, str>,
    pub actor_groups: Cow<'a, str>,
    pub actor_address: Cow<'a, str>,
    pub verb: Cow<'a, str>,
    pub outcome: Cow<'a, str>,
    pub cluster: Cow<'a, str>,
    pub cluster_id: Cow<'a, str>,
    pub api_group: Cow<'a, str>,
    pub api_version: Cow<'a, str>,
    pub resource: Cow<'a, str>,
    pub namespace: Cow<'a, str>,
    pub name: Cow<'a, str>,
    pub command: Cow<'a, str>,
    pub reason: Cow<'a, str>,
    pub status: i64,
    pub bytes: i64,
    pub duration_ms: i64,
    pub run: Cow<'a, str>,
    pub diff: Cow<'a, str>,
}

impl<'a> Fields<'a> {
    /// The columns of a row that came as JSON.
    #[must_use]
    pub fn of(row: &'a AuditRow) -> Self {
        let number = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        let optional = |id: Option<String>| Cow::Owned(id.unwrap_or_default());
        let text = |text: &'a str| Cow::Borrowed(text);
        Self {
            seq: row.seq,
            id: row.id.to_string().into(),
            attempt_id: optional(row.attempt_id.map(|id| id.to_string())),
            time: row.time.as_millisecond(),
            request_id: text(row.request_id.as_str()),
            route: text(&row.route),
            actor_id: optional(row.actor.sub.map(|id| id.to_string())),
            actor_email: text(&row.actor.email),
            actor_groups: groups(&row.actor.groups).into(),
            actor_address: text(&row.actor.address),
            verb: text(&row.verb),
            outcome: text(row.outcome.as_str()),
            cluster: text(&row.target.cluster),
            cluster_id: optional(row.target.cluster_id.map(|id| id.to_string())),
            api_group: text(&row.target.group),
            api_version: text(&row.target.version),
            resource: text(&row.target.resource),
            namespace: text(&row.target.namespace),
            name: text(&row.target.name),
            command: text(&row.command),
            reason: text(&row.reason),
            status: row.status.into(),
            bytes: number(row.bytes),
            duration_ms: number(row.duration_ms),
            run: text(&row.run),
            diff: diff(row.diff.as_ref()).into(),
        }
    }

    /// Columns in which two rows of one act differ although such rows never do.
    #[must_use]
    pub fn contradictions(&self, other: &Self) -> Vec<&'static str> {
        let pairs = [
            ("request_id", &self.request_id, &other.request_id),
            ("route", &self.route, &other.route),
            ("actor_id", &self.actor_id, &other.actor_id),
            ("actor_email", &self.actor_email, &other.actor_email),
            ("actor_groups", &self.actor_groups, &other.actor_groups),
            ("actor_address", &self.actor_address, &other.actor_address),
            ("verb", &self.verb, &other.verb),
            ("cluster", &self.cluster, &other.cluster),
            ("cluster_id", &self.cluster_id, &other.cluster_id),
            ("api_group", &self.api_group, &other.api_group),
            ("api_version", &self.api_version, &other.api_version),
            ("resource", &self.resource, &other.resource),
            ("namespace", &self.namespace, &other.namespace),
            ("name", &self.name, &other.name),
            ("command", &self.command, &other.command),
        ];
        pairs.into_iter().filter(|(_, ours, theirs)| ours != theirs).map(|(name, ..)| name).collect()
    }
}

/// Groups as their column holds them: a JSON array.
#[must_use]
pub fn groups(groups: &[String]) -> String {
    serde_json::Value::from(groups).to_string()
}

/// A diff as its column holds it: JSON, or nothing.
#[must_use]
pub fn diff(diff: Option<&Diff>) -> String {
    diff.and_then(|diff| serde_json::to_string(diff).ok()).unwrap_or_default()
}

/// Computes hashes; keeps its buffer from row to row.
#[derive(Debug, Default)]
pub struct Hasher {
    canonical: Vec<u8>,
}

impl Hasher {
    /// The hash of `row` after the row with hash `previous`.
    pub fn hash(&mut self, previous: &Hash, row: &Fields<'_>) -> Hash {
        self.canonical.clear();
        self.canonical.extend_from_slice(DOMAIN);
        self.number(row.seq);
        self.text(&row.id);
        self.text(&row.attempt_id);
        self.number(row.time);
        for text in [&row.request_id, &row.route, &row.actor_id, &row.actor_email, &row.actor_groups] {
            self.text(text);
        }
        for text in [&row.actor_address, &row.verb, &row.outcome, &row.cluster, &row.cluster_id] {
            self.text(text);
        }
        for text in [&row.api_group, &row.api_version, &row.resource, &row.namespace, &row.name] {
            self.text(text);
        }
        self.text(&row.command);
        self.text(&row.reason);
        for number in [row.status, row.bytes, row.duration_ms] {
            self.number(number);
        }
        // Rows of before these columns existed end here. How many fields there are tells the two apart.
        if !row.run.is_empty() || !row.diff.is_empty() {
            self.text(&row.run);
        }
        if !row.diff.is_empty() {
            self.text(&row.diff);
        }
        let mut digest = Context::new(&SHA256);
        digest.update(previous);
        digest.update(&self.canonical);
        let mut hash = GENESIS;
        hash.copy_from_slice(digest.finish().as_ref());
        hash
    }

    fn number(&mut self, number: i64) {
        self.put(&number.to_be_bytes());
    }

    fn text(&mut self, text: &str) {
        self.put(text.as_bytes());
    }

    fn put(&mut self, field: &[u8]) {
        self.canonical.extend_from_slice(&(field.len() as u64).to_be_bytes());
        self.canonical.extend_from_slice(field);
    }
}
