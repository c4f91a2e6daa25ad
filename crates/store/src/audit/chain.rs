//! The table as a chain: appending, walking, and finding what an earlier run left open.
//!
//! Must not know: queues, who waits for a row.

use crate::Store;
use crate::db::{Db, on_db};
use crate::error::StoreError;
use crate::hex;

use super::row::StoredRow;

/// Rows that [`Store::verify_chain`] reads at a time.
const PAGE: i64 = 1000;
const GENESIS: [u8; hex::LEN] = [0; hex::LEN];

const HEAD: &str = "SELECT seq, hash FROM audit_head WHERE id = 1";
const ADVANCE: &str = "UPDATE audit_head SET seq = seq + $1 WHERE id = 1 RETURNING seq, hash";
const SET_HASH: &str = "UPDATE audit_head SET hash = $1 WHERE id = 1";
const INSERT: &str = "INSERT INTO audit_events (seq, id, attempt_id, time, request_id, route, actor_id, actor_email, \
    actor_groups, actor_address, verb, outcome, cluster, cluster_id, api_group, api_version, resource, namespace, \
    name, command, reason, status, bytes, duration_ms, hash) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, \
    $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24, $25)";
const SETTLED: &str = "SELECT COUNT(*) FROM audit_events WHERE id = $1 OR attempt_id = $2";
const ORPHANS: &str = "SELECT a.* FROM audit_events a \
    WHERE a.seq > (SELECT settled_seq FROM audit_head WHERE id = 1) AND a.seq <= $1 AND a.outcome = 'attempted' \
    AND NOT EXISTS (SELECT 1 FROM audit_events o WHERE o.attempt_id = a.id) ORDER BY a.seq LIMIT $2";
const SET_SETTLED: &str = "UPDATE audit_head SET settled_seq = $1 WHERE id = 1 AND settled_seq < $1";
const WALK: &str = "SELECT * FROM audit_events WHERE seq >= $1 AND seq <= $2 ORDER BY seq LIMIT $3";
const HASH_AT: &str = "SELECT hash FROM audit_events WHERE seq = $1";

/// The end of the chain.
pub(super) struct Head {
    pub(super) seq: i64,
    hash: String,
}

pub(super) async fn head(db: &Db) -> Result<Head, StoreError> {
    let (seq, hash) = on_db!(db, read, pool => sqlx::query_as(HEAD).fetch_one(pool).await?);
    Ok(Head { seq, hash })
}

/// Gives the rows their positions and hashes and writes them in one transaction.
pub(super) async fn append(db: &Db, rows: &mut [StoredRow]) -> Result<(), StoreError> {
    let count = i64::try_from(rows.len()).unwrap_or(i64::MAX);
    on_db!(db, tx, tx => {
        // First of all, because it takes the head's row: a second writer waits here.
        let (last, hash): (i64, String) = sqlx::query_as(ADVANCE).bind(count).fetch_one(&mut *tx).await?;
        let hash = link(rows, last - count, &hash)?;
        for row in &*rows {
            let insert = sqlx::query(INSERT).bind(row.seq).bind(row.id.as_str()).bind(row.attempt_id.as_deref());
            let insert = insert.bind(row.time).bind(row.request_id.as_str()).bind(row.route.as_str());
            let insert = insert.bind(row.actor_id.as_deref()).bind(row.actor_email.as_str());
            let insert = insert.bind(row.actor_groups.as_str()).bind(row.actor_address.as_str());
            let insert = insert.bind(row.verb.as_str()).bind(row.outcome.as_str()).bind(row.cluster.as_str());
            let insert = insert.bind(row.cluster_id.as_deref()).bind(row.api_group.as_str());
            let insert = insert.bind(row.api_version.as_str()).bind(row.resource.as_str());
            let insert = insert.bind(row.namespace.as_str()).bind(row.name.as_str()).bind(row.command.as_str());
            let insert = insert.bind(row.reason.as_str()).bind(row.status).bind(row.bytes).bind(row.duration_ms);
            insert.bind(row.hash.as_str()).execute(&mut *tx).await?;
        }
        sqlx::query(SET_HASH).bind(hash).execute(&mut *tx).await?;
    });
    Ok(())
}

/// Numbers the rows after `last` and chains them to `hash`; returns the last one's hash.
fn link(rows: &mut [StoredRow], last: i64, hash: &str) -> Result<String, StoreError> {
    let mut previous = hex::decode(hash).ok_or(StoreError::Corrupt { column: "audit_head.hash" })?;
    for (row, seq) in rows.iter_mut().zip(last + 1..) {
        row.seq = seq;
        previous = row.hash_after(&previous);
        row.hash = hex::encode(&previous);
    }
    Ok(hex::encode(&previous))
}

/// Whether an outcome row is on disk already, or another one for the same act. After a commit whose answer was
/// lost, nobody knows.
pub(super) async fn is_settled(db: &Db, row: &StoredRow) -> Result<bool, StoreError> {
    let count: i64 = on_db!(db, write, pool => {
        sqlx::query_scalar(SETTLED).bind(row.id.as_str()).bind(row.attempt_id.as_deref()).fetch_one(pool).await?
    });
    Ok(count > 0)
}

/// Attempted rows up to position `until` that have no outcome, oldest first.
pub(super) async fn orphans(db: &Db, until: i64, limit: usize) -> Result<Vec<StoredRow>, StoreError> {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    Ok(on_db!(db, read, pool => sqlx::query_as(ORPHANS).bind(until).bind(limit).fetch_all(pool).await?))
}

/// Notes that every attempted row up to `seq` has its outcome, so that the next start need not look there.
pub(super) async fn set_settled(db: &Db, seq: i64) -> Result<(), StoreError> {
    on_db!(db, write, pool => {
        sqlx::query(SET_SETTLED).bind(seq).execute(pool).await?;
    });
    Ok(())
}

/// What a walk over the chain found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChainReport {
    /// Rows that are as they were written.
    pub good: u64,
    /// The first one that is not; nothing after it was looked at.
    pub bad: Option<BadRow>,
}

/// A position at which the chain is broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadRow {
    /// The position.
    pub seq: i64,
    /// What is wrong, for a person.
    pub problem: &'static str,
}

impl Store {
    /// Walks the audit log from position `from` (1 is the beginning) to the end that it has now, and reports
    /// the first row that was changed, removed or exchanged.
    ///
    /// # Errors
    /// The database failed, or holds what is not a row at all.
    pub async fn verify_chain(&self, from: i64) -> Result<ChainReport, StoreError> {
        let head = head(&self.db).await?;
        let mut next = from.max(1);
        let mut good = 0;
        let bad = |seq, problem, good| Ok(ChainReport { good, bad: Some(BadRow { seq, problem }) });
        let Some(mut previous) = self.hash_before(next).await? else {
            return bad(next - 1, "the row is missing or has no hash", 0);
        };
        while next <= head.seq {
            let rows: Vec<StoredRow> = on_db!(&self.db, read, pool => {
                sqlx::query_as(WALK).bind(next).bind(head.seq).bind(PAGE).fetch_all(pool).await?
            });
            if rows.is_empty() {
                return bad(next, "the row and all after it are missing", good);
            }
            for row in rows {
                if row.seq != next {
                    return bad(next, "the row is missing", good);
                }
                previous = row.hash_after(&previous);
                if hex::encode(&previous) != row.hash {
                    return bad(next, "the row is not the one that was written", good);
                }
                (next, good) = (next + 1, good + 1);
            }
        }
        if next == head.seq + 1 && hex::encode(&previous) != head.hash {
            return bad(head.seq, "the row is not the end of the chain that was written", good);
        }
        Ok(ChainReport { good, bad: None })
    }

    async fn hash_before(&self, seq: i64) -> Result<Option<[u8; hex::LEN]>, StoreError> {
        if seq == 1 {
            return Ok(Some(GENESIS));
        }
        let hash: Option<(String,)> = on_db!(&self.db, read, pool => {
            sqlx::query_as(HASH_AT).bind(seq - 1).fetch_optional(pool).await?
        });
        Ok(hash.and_then(|(hash,)| hex::decode(&hash)))
    }
}
