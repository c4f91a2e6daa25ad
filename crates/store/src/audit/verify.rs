//! Verifying the log where it is kept: columns are read as the database holds them, without the types through which
//! they are otherwise seen.
//!
//! Must not know: what is proven (that is `flotilla-ledger`).

use std::borrow::Cow;
use std::iter::Peekable;

use flotilla_ledger::checkpoint::Keys;
use flotilla_ledger::row::{Fields, GENESIS};
use flotilla_ledger::{Verifier, hex};
use flotilla_types::audit::{FlawKind, Verification, VerifyQuery};
use futures_util::TryStreamExt;
use sqlx::{AssertSqlSafe, ColumnIndex, Decode, Row, Type};

use crate::Store;
use crate::db::on_db;
use crate::error::StoreError;

use super::chain;

/// Rows that are read in one statement.
const PAGE: i64 = 20_000;
/// Rows from which on two halves are verified side by side.
const LARGE: i64 = 2_000;
/// Rows that are verified at a time.
pub const MOST_ROWS: i64 = 1_000_000;

const TWIN: &str = "id = $1 OR attempt_id = $2";

impl Store {
    /// Verifies rows and checkpoints; at most [`MOST_ROWS`], then [`Verification::next`] says where to go on.
    ///
    /// # Errors
    /// The database failed.
    pub async fn verify_audit(&self, query: &VerifyQuery) -> Result<Verification, StoreError> {
        loop {
            let before = self.audit_retained().await?;
            let mut found = self.verify_once(query, true).await?;
            if !found.is_sound() {
                // Only a walk in order tells exactly what is wrong where two halves meet.
                found = self.verify_once(query, false).await?;
            }
            // Retention that removed rows under the walk is no flaw.
            if found.is_sound() || self.audit_retained().await? == before {
                return Ok(found);
            }
        }
    }

    async fn verify_once(&self, query: &VerifyQuery, halves: bool) -> Result<Verification, StoreError> {
        let keys = self.verifying_keys().await?;
        let head = chain::head(&self.db).await?;
        let retained = self.audit_retained().await?;
        let cut = retained.as_ref().and_then(|(_, checkpoint)| checkpoint.clone());
        let beginning = cut.as_ref().map_or(0, |cut| cut.seq);
        let after = query.from.map_or(beginning, |from| from - 1).max(beginning);
        let mut verifier = if after == beginning {
            let hash = cut.map_or(Some(GENESIS), |cut| hex::decode(&cut.hash));
            let mut verifier = Verifier::new(&keys, after, hash);
            if let Some((token, _)) = &retained {
                verifier.retention(token);
            }
            verifier
        } else {
            let hash = chain::hash_at(&self.db, after).await?;
            Verifier::new(&keys, after, hash.as_deref().and_then(hex::decode))
        };
        let asked = query.to.unwrap_or(i64::MAX).min(head.seq.max(after));
        let end = asked.min(after.saturating_add(MOST_ROWS));
        let ends = Ends { end, more: end < asked, head: query.to.is_none_or(|to| to >= head.seq).then_some(head) };
        let mut found = if halves && end - after > LARGE {
            let middle = after + (end - after) / 2;
            let behind = tokio::spawn(self.clone().verify_behind(keys.clone(), middle, ends));
            self.walk(&mut verifier, after + 1, middle).await?;
            let mut found = verifier.finish();
            found.append(behind.await.map_err(|_| StoreError::Unavailable(sqlx::Error::WorkerCrashed))??);
            found
        } else {
            self.walk(&mut verifier, after + 1, end).await?;
            self.finish(verifier, ends).await?
        };
        self.name_columns(&mut found).await?;
        Ok(found)
    }

    /// Verifies what comes behind the row at `after`.
    async fn verify_behind(self, keys: Keys, after: i64, ends: Ends) -> Result<Verification, StoreError> {
        let hash = chain::hash_at(&self.db, after).await?;
        let mut verifier = Verifier::new(&keys, after, hash.as_deref().and_then(hex::decode));
        verifier.follows_checkpoint(self.audit_checkpoint_before(after).await?);
        self.walk(&mut verifier, after + 1, ends.end).await?;
        self.finish(verifier, ends).await
    }

    async fn finish(&self, mut verifier: Verifier<'_>, ends: Ends) -> Result<Verification, StoreError> {
        if ends.more {
            return Ok(Verification { next: Some(ends.end + 1), ..verifier.finish() });
        }
        let Some(head) = ends.head else { return Ok(verifier.finish()) };
        // A log that was shortened, its head too, is betrayed by its checkpoints.
        for (_, token) in self.audit_checkpoints(head.seq + 1, i64::MAX).await? {
            verifier.checkpoint(&token);
        }
        Ok(verifier.finish_at(head.seq, &head.hash))
    }

    async fn walk(&self, verifier: &mut Verifier<'_>, from: i64, end: i64) -> Result<(), StoreError> {
        let sql = format!("SELECT {} FROM audit_events WHERE seq >= $1 AND seq <= $2 ORDER BY seq", chain::COLUMNS);
        let mut first = from;
        while first <= end {
            let last = end.min(first + PAGE - 1);
            let checkpoints = self.audit_checkpoints(first, last).await?;
            let mut checkpoints = checkpoints.into_iter().peekable();
            on_db!(&self.db, read, pool => {
                let mut rows = sqlx::query(AssertSqlSafe(sql.as_str())).bind(first).bind(last).fetch(pool);
                while let Some(row) = rows.try_next().await? {
                    take(verifier, &mut checkpoints, read(&row));
                }
            });
            checkpoints.for_each(|(_, token)| verifier.checkpoint(&token));
            first = last + 1;
        }
        Ok(())
    }

    /// The other row of the same act tells in which columns a changed row was changed.
    async fn name_columns(&self, found: &mut Verification) -> Result<(), StoreError> {
        for flaw in found.flaws.iter_mut().filter(|flaw| flaw.kind == FlawKind::RowChanged) {
            let sql = format!("SELECT {} FROM audit_events WHERE seq = $1", chain::COLUMNS);
            let twin = format!("SELECT {} FROM audit_events WHERE {TWIN}", chain::COLUMNS);
            flaw.columns = on_db!(&self.db, read, pool => {
                let row = sqlx::query(AssertSqlSafe(sql)).bind(flaw.seq).fetch_optional(pool).await?;
                let Some(Ok((row, _))) = row.as_ref().map(read) else { continue };
                let (attempt, own) = (row.attempt_id.to_string(), row.id.to_string());
                let twin = sqlx::query(AssertSqlSafe(twin)).bind(attempt).bind(own).fetch_optional(pool).await?;
                let Some(Ok((twin, _))) = twin.as_ref().map(read) else { continue };
                row.contradictions(&twin).into_iter().map(str::to_owned).collect()
            });
        }
        Ok(())
    }
}

/// Where a walk ends.
struct Ends {
    /// Position of its last row.
    end: i64,
    /// Whether more was asked for than is verified at a time.
    more: bool,
    /// The end of the log, where it is the end of the walk.
    head: Option<chain::Head>,
}

/// A row of which one column cannot be read.
struct Unreadable {
    /// `None`: not even its place is known, and it will be found missing.
    seq: Option<i64>,
    id: Option<String>,
    column: &'static str,
    hash: Option<String>,
}

/// Hands a row to the verifier, after the checkpoints before it.
fn take(
    verifier: &mut Verifier<'_>,
    checkpoints: &mut Peekable<impl Iterator<Item = (i64, String)>>,
    row: Result<(Fields<'_>, &str), Unreadable>,
) {
    let seq = match &row {
        Ok((row, _)) => Some(row.seq),
        Err(row) => row.seq,
    };
    let Some(seq) = seq else { return };
    while let Some((_, token)) = checkpoints.next_if(|(at, _)| *at < seq) {
        verifier.checkpoint(&token);
    }
    match row {
        Ok((row, hash)) => verifier.row(&row, hash),
        Err(row) => verifier.unreadable(seq, row.id.as_deref(), row.column, row.hash.as_deref()),
    }
}

/// Reads a row as it is, in the order of [`chain::COLUMNS`].
fn read<'r, R>(row: &'r R) -> Result<(Fields<'r>, &'r str), Unreadable>
where
    R: Row,
    usize: ColumnIndex<R>,
    &'r str: Decode<'r, R::Database> + Type<R::Database>,
    i64: Decode<'r, R::Database> + Type<R::Database>,
{
    let bad = |column| Unreadable {
        seq: row.try_get(0).ok(),
        id: row.try_get::<&str, _>(1).ok().map(str::to_owned),
        column,
        hash: row.try_get::<&str, _>(26).ok().map(str::to_owned),
    };
    let text = |index: usize, column| match row.try_get::<&str, _>(index) {
        Ok(text) => Ok(Cow::Borrowed(text)),
        Err(_) => Err(bad(column)),
    };
    // An id that is there is never empty, so that "none" has one form only.
    let optional = |index: usize, column| match row.try_get::<Option<&str>, _>(index) {
        Ok(Some("")) | Err(_) => Err(bad(column)),
        Ok(text) => Ok(Cow::Borrowed(text.unwrap_or_default())),
    };
    let number = |index: usize, column| row.try_get::<i64, _>(index).map_err(|_| bad(column));
    let fields = Fields {
        seq: number(0, "seq")?,
        id: text(1, "id")?,
        attempt_id: optional(2, "attempt_id")?,
        time: number(3, "time")?,
        request_id: text(4, "request_id")?,
        route: text(5, "route")?,
        actor_id: optional(6, "actor_id")?,
        actor_email: text(7, "actor_email")?,
        actor_groups: text(8, "actor_groups")?,
        actor_address: text(9, "actor_address")?,
        verb: text(10, "verb")?,
        outcome: text(11, "outcome")?,
        cluster: text(12, "cluster")?,
        cluster_id: optional(13, "cluster_id")?,
        api_group: text(14, "api_group")?,
        api_version: text(15, "api_version")?,
        resource: text(16, "resource")?,
        namespace: text(17, "namespace")?,
        name: text(18, "name")?,
        command: text(19, "command")?,
        reason: text(20, "reason")?,
        status: number(21, "status")?,
        bytes: number(22, "bytes")?,
        duration_ms: number(23, "duration_ms")?,
        run: text(24, "run")?,
        diff: text(25, "diff")?,
    };
    let hash = row.try_get::<&str, _>(26).map_err(|_| bad("hash"))?;
    Ok((fields, hash))
}
