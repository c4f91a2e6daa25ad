//! A row as it is stored and hashed, and its way from and to [`AuditRow`].
//!
//! Must not know: where in the chain it goes until it is told.

use std::borrow::Cow;

use flotilla_ledger::row::{Fields, diff, groups};
use flotilla_types::audit::{Actor, AuditRow, Outcome, Target};
use flotilla_types::id::{AuditId, RequestId};
use flotilla_types::time::{from_ms, now_ms};
use sqlx::{ColumnIndex, Decode, FromRow, Row, Type};

use crate::error::{StoreError, parse};

/// Longest command and reason kept, in bytes.
const LONG: usize = 4096;
/// Longest text kept in any other column, in bytes.
const SHORT: usize = 1024;

/// The columns of `audit_events`, in their order.
#[derive(Clone, Debug)]
pub(super) struct StoredRow {
    pub(super) audit_id: AuditId,
    pub(super) seq: i64,
    pub(super) id: String,
    pub(super) attempt_id: Option<String>,
    pub(super) time: i64,
    pub(super) request_id: String,
    pub(super) route: String,
    pub(super) actor_id: Option<String>,
    pub(super) actor_email: String,
    pub(super) actor_groups: String,
    pub(super) actor_address: String,
    pub(super) verb: String,
    pub(super) outcome: String,
    pub(super) cluster: String,
    pub(super) cluster_id: Option<String>,
    pub(super) api_group: String,
    pub(super) api_version: String,
    pub(super) resource: String,
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) command: String,
    pub(super) reason: String,
    pub(super) status: i64,
    pub(super) bytes: i64,
    pub(super) duration_ms: i64,
    pub(super) run: String,
    /// JSON; empty for none.
    pub(super) diff: String,
    pub(super) hash: String,
}

impl StoredRow {
    /// A row that has no position yet. Texts are cut to a sane length and freed of NUL (which PostgreSQL
    /// cannot store): one caller's odd input must not fail the batch that it shares with others.
    pub(super) fn new(row: AuditRow, attempt: Option<AuditId>) -> Self {
        let AuditRow { actor, target, .. } = row;
        Self {
            audit_id: row.id,
            seq: 0,
            id: row.id.to_string(),
            attempt_id: attempt.map(|id| id.to_string()),
            time: row.time.as_millisecond(),
            request_id: row.request_id.to_string(),
            route: clean(row.route, SHORT),
            actor_id: actor.sub.map(|id| id.to_string()),
            actor_email: clean(actor.email, SHORT),
            actor_groups: groups(&actor.groups),
            actor_address: clean(actor.address, SHORT),
            verb: clean(row.verb, SHORT),
            outcome: row.outcome.as_str().to_owned(),
            cluster: clean(target.cluster, SHORT),
            cluster_id: target.cluster_id.map(|id| id.to_string()),
            api_group: clean(target.group, SHORT),
            api_version: clean(target.version, SHORT),
            resource: clean(target.resource, SHORT),
            namespace: clean(target.namespace, SHORT),
            name: clean(target.name, SHORT),
            command: clean(row.command, LONG),
            reason: clean(row.reason, LONG),
            status: row.status.into(),
            bytes: i64::try_from(row.bytes).unwrap_or(i64::MAX),
            duration_ms: i64::try_from(row.duration_ms).unwrap_or(i64::MAX),
            run: String::new(),
            diff: diff(row.diff.as_ref()),
            hash: String::new(),
        }
    }

    /// The outcome row of this attempted row.
    pub(super) fn outcome(&self, outcome: Outcome, status: u16, bytes: u64, reason: String, duration_ms: u64) -> Self {
        let id = AuditId::new();
        Self {
            audit_id: id,
            seq: 0,
            id: id.to_string(),
            attempt_id: Some(self.id.clone()),
            time: now_ms(),
            outcome: outcome.as_str().to_owned(),
            reason: clean(reason, LONG),
            status: status.into(),
            bytes: i64::try_from(bytes).unwrap_or(i64::MAX),
            duration_ms: i64::try_from(duration_ms).unwrap_or(i64::MAX),
            hash: String::new(),
            ..self.clone()
        }
    }

    /// The columns as they are hashed.
    pub(super) fn fields(&self) -> Fields<'_> {
        let optional = |text: &'_ Option<String>| Cow::Owned(text.clone().unwrap_or_default());
        Fields {
            seq: self.seq,
            id: self.id.as_str().into(),
            attempt_id: optional(&self.attempt_id),
            time: self.time,
            request_id: self.request_id.as_str().into(),
            route: self.route.as_str().into(),
            actor_id: optional(&self.actor_id),
            actor_email: self.actor_email.as_str().into(),
            actor_groups: self.actor_groups.as_str().into(),
            actor_address: self.actor_address.as_str().into(),
            verb: self.verb.as_str().into(),
            outcome: self.outcome.as_str().into(),
            cluster: self.cluster.as_str().into(),
            cluster_id: optional(&self.cluster_id),
            api_group: self.api_group.as_str().into(),
            api_version: self.api_version.as_str().into(),
            resource: self.resource.as_str().into(),
            namespace: self.namespace.as_str().into(),
            name: self.name.as_str().into(),
            command: self.command.as_str().into(),
            reason: self.reason.as_str().into(),
            status: self.status,
            bytes: self.bytes,
            duration_ms: self.duration_ms,
            run: self.run.as_str().into(),
            diff: self.diff.as_str().into(),
        }
    }

    /// The row as readers see it.
    pub(super) fn into_row(self) -> Result<AuditRow, StoreError> {
        let corrupt = |column| StoreError::Corrupt { column };
        let sub = self.actor_id.map(|id| parse(&id, "audit_events.actor_id")).transpose()?;
        let attempt_id = self.attempt_id.map(|id| parse(&id, "audit_events.attempt_id")).transpose()?;
        let cluster_id = self.cluster_id.map(|id| parse(&id, "audit_events.cluster_id")).transpose()?;
        let groups = serde_json::from_str(&self.actor_groups);
        let groups = groups.map_err(|_| corrupt("audit_events.actor_groups"))?;
        Ok(AuditRow {
            id: self.audit_id,
            seq: self.seq,
            attempt_id,
            time: from_ms(self.time),
            request_id: RequestId::from_caller(&self.request_id).ok_or_else(|| corrupt("audit_events.request_id"))?,
            route: self.route,
            actor: Actor { sub, email: self.actor_email, groups, address: self.actor_address },
            verb: self.verb,
            outcome: Outcome::parse(&self.outcome).ok_or_else(|| corrupt("audit_events.outcome"))?,
            target: Target {
                cluster: self.cluster,
                cluster_id,
                group: self.api_group,
                version: self.api_version,
                resource: self.resource,
                namespace: self.namespace,
                name: self.name,
            },
            command: self.command,
            reason: self.reason,
            status: u16::try_from(self.status).map_err(|_| corrupt("audit_events.status"))?,
            bytes: self.bytes.unsigned_abs(),
            duration_ms: self.duration_ms.unsigned_abs(),
            diff: Some(self.diff)
                .filter(|diff| !diff.is_empty())
                .map(|diff| serde_json::from_str(&diff).map_err(|_| corrupt("audit_events.diff")))
                .transpose()?,
            run: self.run,
            hash: self.hash,
        })
    }
}

impl<'r, R> FromRow<'r, R> for StoredRow
where
    R: Row,
    for<'c> &'c str: ColumnIndex<R>,
    String: Decode<'r, R::Database> + Type<R::Database>,
    Option<String>: Decode<'r, R::Database> + Type<R::Database>,
    i64: Decode<'r, R::Database> + Type<R::Database>,
{
    fn from_row(row: &'r R) -> Result<Self, sqlx::Error> {
        let id: String = row.try_get("id")?;
        let audit_id = id.parse().map_err(|error| sqlx::Error::Decode(Box::new(error)))?;
        Ok(Self {
            audit_id,
            id,
            seq: row.try_get("seq")?,
            attempt_id: row.try_get("attempt_id")?,
            time: row.try_get("time")?,
            request_id: row.try_get("request_id")?,
            route: row.try_get("route")?,
            actor_id: row.try_get("actor_id")?,
            actor_email: row.try_get("actor_email")?,
            actor_groups: row.try_get("actor_groups")?,
            actor_address: row.try_get("actor_address")?,
            verb: row.try_get("verb")?,
            outcome: row.try_get("outcome")?,
            cluster: row.try_get("cluster")?,
            cluster_id: row.try_get("cluster_id")?,
            api_group: row.try_get("api_group")?,
            api_version: row.try_get("api_version")?,
            resource: row.try_get("resource")?,
            namespace: row.try_get("namespace")?,
            name: row.try_get("name")?,
            command: row.try_get("command")?,
            reason: row.try_get("reason")?,
            status: row.try_get("status")?,
            bytes: row.try_get("bytes")?,
            duration_ms: row.try_get("duration_ms")?,
            run: row.try_get("run")?,
            diff: row.try_get("diff")?,
            hash: row.try_get("hash")?,
        })
    }
}

/// Cuts `text` to `limit` bytes (at a character) and replaces NUL.
fn clean(mut text: String, limit: usize) -> String {
    const CUT: &str = "...";
    if text.len() > limit {
        text.truncate(text.floor_char_boundary(limit - CUT.len()));
        text.push_str(CUT);
    }
    if text.contains('\0') { text.replace('\0', "\u{fffd}") } else { text }
}

#[cfg(test)]
mod tests {
    use flotilla_ledger::row::{GENESIS, Hash, Hasher};
    use proptest::prelude::*;

    use flotilla_types::audit::Diff;

    use super::*;

    impl StoredRow {
        fn hash_after(&self, previous: &Hash) -> Hash {
            Hasher::default().hash(previous, &self.fields())
        }
    }

    fn row() -> AuditRow {
        AuditRow {
            id: AuditId::new(),
            seq: 0,
            attempt_id: None,
            time: from_ms(1_700_000_000_123),
            request_id: RequestId::new(),
            route: "/k8s/clusters/{cluster}/*".into(),
            actor: Actor {
                email: "dev@example.com".into(),
                groups: vec!["a".into(), "b\"".into()],
                ..Actor::default()
            },
            verb: "delete".into(),
            outcome: Outcome::Attempted,
            target: Target { cluster: "dev".into(), name: "web-0".into(), ..Target::default() },
            command: "delete pods web-0".into(),
            reason: String::new(),
            status: 0,
            bytes: 0,
            duration_ms: 0,
            diff: Some(Diff { more: 3, ..Diff::default() }),
            run: String::new(),
            hash: String::new(),
        }
    }

    #[test]
    fn comes_back_as_it_went() {
        let row = row();
        assert_eq!(StoredRow::new(row.clone(), None).into_row().unwrap(), row);
    }

    #[test]
    fn every_field_is_hashed() {
        type Change = fn(&mut StoredRow);
        let changes: &[(&str, Change)] = &[
            ("seq", |r| r.seq += 1),
            ("id", |r| r.id.push('x')),
            ("attempt_id", |r| r.attempt_id = Some("x".into())),
            ("time", |r| r.time += 1),
            ("request_id", |r| r.request_id.push('x')),
            ("route", |r| r.route.push('x')),
            ("actor_id", |r| r.actor_id = Some("x".into())),
            ("actor_email", |r| r.actor_email.push('x')),
            ("actor_groups", |r| r.actor_groups.push('x')),
            ("actor_address", |r| r.actor_address.push('x')),
            ("verb", |r| r.verb.push('x')),
            ("outcome", |r| r.outcome.push('x')),
            ("cluster", |r| r.cluster.push('x')),
            ("cluster_id", |r| r.cluster_id = Some("x".into())),
            ("api_group", |r| r.api_group.push('x')),
            ("api_version", |r| r.api_version.push('x')),
            ("resource", |r| r.resource.push('x')),
            ("namespace", |r| r.namespace.push('x')),
            ("name", |r| r.name.push('x')),
            ("command", |r| r.command.push('x')),
            ("reason", |r| r.reason.push('x')),
            ("status", |r| r.status += 1),
            ("bytes", |r| r.bytes += 1),
            ("duration_ms", |r| r.duration_ms += 1),
            ("run", |r| r.run.push('x')),
            ("diff", |r| r.diff.push('x')),
            // Nor can a text move from one of the two to the other, which older rows do not have.
            ("run and diff", |r| (r.run, r.diff) = (String::new(), "run".to_owned())),
        ];
        let before = StoredRow { run: "run".to_owned(), ..StoredRow::new(row(), None) };
        let hash = before.hash_after(&GENESIS);
        assert_ne!(hash, before.hash_after(&[1; 32]));
        for (field, change) in changes {
            let mut after = before.clone();
            change(&mut after);
            assert_ne!(after.hash_after(&GENESIS), hash, "{field}");
        }
    }

    #[test]
    fn text_does_not_move_between_fields_unseen() {
        let (mut a, mut b) = (StoredRow::new(row(), None), StoredRow::new(row(), None));
        b.id.clone_from(&a.id);
        b.request_id.clone_from(&a.request_id);
        (a.namespace, a.name) = ("ab".into(), "c".into());
        (b.namespace, b.name) = ("a".into(), "bc".into());
        assert_ne!(a.hash_after(&GENESIS), b.hash_after(&GENESIS));
    }

    proptest! {
        #[test]
        fn cleaned_text_can_be_stored(text in "(\\PC|\0){0,60}", limit in 8usize..40) {
            let cleaned = clean(text.clone(), limit);
            prop_assert!(!cleaned.contains('\0'));
            // A replaced NUL takes three bytes for one.
            prop_assert!(cleaned.len() <= 3 * limit);
            let whole = text.replace('\0', "\u{fffd}");
            prop_assert!(text.len() > limit || cleaned == whole);
        }
    }
}
