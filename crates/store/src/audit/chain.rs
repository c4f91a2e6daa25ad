//! The table as a chain: appending rows.
//!
//! Must not know: queues, who waits for a row, how a chain is verified.

use std::sync::LazyLock;

use flotilla_ledger::hex;
use flotilla_ledger::row::Hasher;
use sqlx::AssertSqlSafe;

use crate::db::{Db, on_db};
use crate::error::StoreError;

use super::row::StoredRow;

/// Rows in one statement of a long batch. A statement of its own for each row costs a round trip each.
const MANY: usize = 32;
/// Columns of a row.
const WIDTH: usize = 27;

const HEAD: &str = "SELECT seq, hash FROM audit_head WHERE id = 1";
const ADVANCE: &str = "UPDATE audit_head SET seq = seq + $1 WHERE id = 1 RETURNING seq, hash";
const SET_HASH: &str = "UPDATE audit_head SET hash = $1 WHERE id = 1";
const SETTLED: &str = "SELECT COUNT(*) FROM audit_events WHERE id = $1 OR attempt_id = $2";
const HASH_AT: &str = "SELECT hash FROM audit_events WHERE seq = $1";

/// The columns in the order in which they are hashed, and the hash.
pub(super) const COLUMNS: &str = "seq, id, attempt_id, time, request_id, route, actor_id, actor_email, actor_groups, \
    actor_address, verb, outcome, cluster, cluster_id, api_group, api_version, resource, namespace, name, command, \
    reason, status, bytes, duration_ms, run, diff, hash";

static INSERT_ONE: LazyLock<String> = LazyLock::new(|| insert(1));
static INSERT_MANY: LazyLock<String> = LazyLock::new(|| insert(MANY));

/// A statement that inserts so many rows. There are only two of them, so that both stay prepared.
fn insert(rows: usize) -> String {
    let row = |row: usize| {
        let places: Vec<_> = (1..=WIDTH).map(|column| format!("${}", row * WIDTH + column)).collect();
        format!("({})", places.join(", "))
    };
    let rows: Vec<_> = (0..rows).map(row).collect();
    format!("INSERT INTO audit_events ({COLUMNS}) VALUES {}", rows.join(", "))
}

/// The end of the chain.
pub(super) struct Head {
    pub(super) seq: i64,
    pub(super) hash: String,
}

pub(super) async fn head(db: &Db) -> Result<Head, StoreError> {
    let (seq, hash) = on_db!(db, read, pool => sqlx::query_as(HEAD).fetch_one(pool).await?);
    Ok(Head { seq, hash })
}

/// The hash that the row at a position holds.
pub(super) async fn hash_at(db: &Db, seq: i64) -> Result<Option<String>, StoreError> {
    Ok(on_db!(db, read, pool => sqlx::query_scalar(HASH_AT).bind(seq).fetch_optional(pool).await?))
}

/// Gives the rows their positions and hashes and writes them in one transaction.
pub(super) async fn append(db: &Db, rows: &mut [StoredRow]) -> Result<(), StoreError> {
    let count = i64::try_from(rows.len()).unwrap_or(i64::MAX);
    on_db!(db, tx, tx => {
        // First of all, because it takes the head's row: a second writer waits here.
        let (last, hash): (i64, String) = sqlx::query_as(ADVANCE).bind(count).fetch_one(&mut *tx).await?;
        let hash = link(rows, last - count, &hash)?;
        let (whole, rest) = rows.split_at(rows.len() - rows.len() % MANY);
        for (sql, chunk) in whole.chunks(MANY).map(|c| (&*INSERT_MANY, c)).chain(rest.chunks(1).map(|c| (&*INSERT_ONE, c))) {
            let mut insert = sqlx::query(AssertSqlSafe(sql.as_str()));
            for row in chunk {
                insert = insert.bind(row.seq).bind(row.id.as_str()).bind(row.attempt_id.as_deref());
                insert = insert.bind(row.time).bind(row.request_id.as_str()).bind(row.route.as_str());
                insert = insert.bind(row.actor_id.as_deref()).bind(row.actor_email.as_str());
                insert = insert.bind(row.actor_groups.as_str()).bind(row.actor_address.as_str());
                insert = insert.bind(row.verb.as_str()).bind(row.outcome.as_str()).bind(row.cluster.as_str());
                insert = insert.bind(row.cluster_id.as_deref()).bind(row.api_group.as_str());
                insert = insert.bind(row.api_version.as_str()).bind(row.resource.as_str());
                insert = insert.bind(row.namespace.as_str()).bind(row.name.as_str()).bind(row.command.as_str());
                insert = insert.bind(row.reason.as_str()).bind(row.status).bind(row.bytes).bind(row.duration_ms);
                insert = insert.bind(row.run.as_str()).bind(row.diff.as_str()).bind(row.hash.as_str());
            }
            insert.execute(&mut *tx).await?;
        }
        sqlx::query(SET_HASH).bind(hash).execute(&mut *tx).await?;
    });
    Ok(())
}

/// Numbers the rows after `last` and chains them to `hash`; returns the last one's hash.
fn link(rows: &mut [StoredRow], last: i64, hash: &str) -> Result<String, StoreError> {
    let mut hasher = Hasher::default();
    let mut previous = hex::decode(hash).ok_or(StoreError::Corrupt { column: "audit_head.hash" })?;
    for (row, seq) in rows.iter_mut().zip(last + 1..) {
        row.seq = seq;
        previous = hasher.hash(&previous, &row.fields());
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
