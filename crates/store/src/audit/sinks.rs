//! Where each sink of the audit log is, and leases for what only one hub may do at a time.
//!
//! The log itself is the queue of every sink: durable, in order, and as long as the log is kept.
//!
//! Must not know: what a sink is.

use std::time::Duration;

use flotilla_types::audit::{AuditQuery, AuditRow};
use flotilla_types::time::now_ms;

use crate::Store;
use crate::db::{Driver, on_db};
use crate::error::StoreError;

const BEGIN: &str = "INSERT INTO audit_sinks (name, delivered_seq) SELECT $1, seq FROM audit_head WHERE id = 1 \
    ON CONFLICT (name) DO NOTHING";
const DELIVERED: &str = "SELECT delivered_seq FROM audit_sinks WHERE name = $1";
const ADVANCE: &str = "UPDATE audit_sinks SET delivered_seq = $1 WHERE name = $2 AND delivered_seq < $1";
const LEASE: &str = "INSERT INTO audit_leases (name, holder, held_until) VALUES ($1, $2, $3) \
    ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, held_until = excluded.held_until \
    WHERE audit_leases.holder = excluded.holder OR audit_leases.held_until < $4";

impl Store {
    /// Up to which position a sink has everything. A new one begins at the present end of the log.
    ///
    /// # Errors
    /// The database failed.
    pub async fn audit_sink(&self, name: &str) -> Result<i64, StoreError> {
        on_db!(&self.db, write, pool => {
            sqlx::query(BEGIN).bind(name).execute(pool).await?;
            Ok(sqlx::query_scalar(DELIVERED).bind(name).fetch_one(pool).await?)
        })
    }

    /// Notes that a sink has every row up to `seq`.
    ///
    /// # Errors
    /// The database failed; the rows will be delivered again.
    pub async fn audit_sink_delivered(&self, name: &str, seq: i64) -> Result<(), StoreError> {
        on_db!(&self.db, write, pool => {
            sqlx::query(ADVANCE).bind(seq).bind(name).execute(pool).await?;
        });
        Ok(())
    }

    /// Rows behind position `after` in order, at most `limit`. None is skipped that another hub is just writing:
    /// positions are given out in the order of commits.
    ///
    /// # Errors
    /// The database failed, or holds what is not a row.
    pub async fn audit_rows_after(&self, after: i64, limit: u32) -> Result<Vec<AuditRow>, StoreError> {
        self.audit_rows(&AuditQuery::default(), after, i64::MAX, limit).await
    }

    /// Position of the last row.
    ///
    /// # Errors
    /// The database failed.
    pub async fn audit_end(&self) -> Result<i64, StoreError> {
        Ok(super::chain::head(&self.db).await?.seq)
    }

    /// Takes or renews a lease. `false` when somebody else holds it. Clocks of hubs must agree to well within `ttl`. On
    /// SQLite there is one hub, and whoever held the lease before is gone.
    ///
    /// # Errors
    /// The database failed.
    pub async fn audit_lease(&self, name: &str, holder: &str, ttl: Duration) -> Result<bool, StoreError> {
        let now = now_ms();
        let until = now.saturating_add(i64::try_from(ttl.as_millis()).unwrap_or(i64::MAX));
        let free_before = if self.db.engine() == Driver::Sqlite { i64::MAX } else { now };
        let done = on_db!(&self.db, write, pool => {
            let lease = sqlx::query(LEASE).bind(name).bind(holder).bind(until).bind(free_before);
            lease.execute(pool).await?.rows_affected()
        });
        Ok(done > 0)
    }
}
