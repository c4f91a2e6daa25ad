//! Runs of hubs: who wrote a row, whether he still lives, and what he left open.
//!
//! A run shows that it lives by renewing its lease. On SQLite there is one hub, so every other run is over; on
//! PostgreSQL a run is over when its lease has passed. A hub that slept through its lease may still write an outcome:
//! the second one for an act is dropped.
//!
//! Must not know: how rows are written.

use std::time::Duration;

use flotilla_types::time::now_ms;

use crate::db::{Db, Driver, on_db};
use crate::error::StoreError;

use super::row::StoredRow;

/// Beats in the time of one lease.
const BEATS: u32 = 4;

const SEEN: &str = "INSERT INTO audit_runs (run, started_after, last_seen) VALUES ($1, $2, $3) \
    ON CONFLICT (run) DO UPDATE SET last_seen = excluded.last_seen";
const OVER: &str = "SELECT run, started_after, last_seen FROM audit_runs WHERE run <> $1 AND last_seen < $2";
const CLAIM: &str = "UPDATE audit_runs SET last_seen = $1 WHERE run = $2 AND last_seen = $3";
const END: &str = "DELETE FROM audit_runs WHERE run = $1";
const ORPHANS: &str = "SELECT a.* FROM audit_events a WHERE a.seq > $1 AND a.run = $2 AND a.outcome = 'attempted' \
    AND NOT EXISTS (SELECT 1 FROM audit_events o WHERE o.attempt_id = a.id) ORDER BY a.seq LIMIT $3";

/// This process.
#[derive(Clone, Debug)]
pub(super) struct Run {
    pub(super) id: String,
    pub(super) started_after: i64,
    pub(super) lease: Duration,
}

impl Run {
    /// Says that the run lives.
    pub(super) async fn seen(&self, db: &Db) -> Result<(), StoreError> {
        on_db!(db, write, pool => {
            sqlx::query(SEEN).bind(self.id.as_str()).bind(self.started_after).bind(now_ms()).execute(pool).await?;
        });
        Ok(())
    }

    /// Says so again and again.
    pub(super) async fn beat(&self, db: &Db) {
        loop {
            tokio::time::sleep(self.lease / BEATS).await;
            if let Err(error) = self.seen(db).await {
                tracing::warn!(%error, "the audit log's lease could not be renewed; trying again");
            }
        }
    }

    /// Says that everything is written.
    pub(super) async fn end(&self, db: &Db) {
        if let Err(error) = end(db, &self.id).await {
            tracing::warn!(%error, "the end of this run could not be noted; the next start looks through its rows");
        }
    }
}

/// Another run.
pub(super) struct Other {
    pub(super) id: String,
    started_after: i64,
    last_seen: i64,
}

/// Runs that are over without having ended in order.
pub(super) async fn over(db: &Db, own: &Run) -> Result<Vec<Other>, StoreError> {
    let before = match db.engine() {
        Driver::Sqlite => i64::MAX,
        Driver::Postgres => now_ms() - i64::try_from(own.lease.as_millis()).unwrap_or(i64::MAX),
    };
    let rows: Vec<(String, i64, i64)> = on_db!(db, read, pool => {
        sqlx::query_as(OVER).bind(own.id.as_str()).bind(before).fetch_all(pool).await?
    });
    Ok(rows.into_iter().map(|(id, started_after, last_seen)| Other { id, started_after, last_seen }).collect())
}

impl Other {
    /// Whether this hub is the one that closes its acts. It has the time of a lease to do so.
    pub(super) async fn claim(&self, db: &Db) -> Result<bool, StoreError> {
        let done = on_db!(db, write, pool => {
            let claim = sqlx::query(CLAIM).bind(now_ms()).bind(self.id.as_str()).bind(self.last_seen);
            claim.execute(pool).await?.rows_affected()
        });
        Ok(done == 1)
    }

    /// Its attempted rows that have no outcome, oldest first.
    pub(super) async fn orphans(&self, db: &Db, limit: usize) -> Result<Vec<StoredRow>, StoreError> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        Ok(on_db!(db, read, pool => {
            let orphans = sqlx::query_as(ORPHANS).bind(self.started_after).bind(self.id.as_str()).bind(limit);
            orphans.fetch_all(pool).await?
        }))
    }

    /// Forgets it.
    pub(super) async fn end(&self, db: &Db) -> Result<(), StoreError> {
        end(db, &self.id).await
    }
}

async fn end(db: &Db, run: &str) -> Result<(), StoreError> {
    on_db!(db, write, pool => {
        sqlx::query(END).bind(run).execute(pool).await?;
    });
    Ok(())
}
