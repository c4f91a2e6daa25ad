//! How each cluster was when it was last looked at.
//!
//! Must not know: how a cluster is looked at, what a status means.

use flotilla_types::id::ClusterId;

use crate::Store;
use crate::db::on_db;
use crate::error::{StoreError, parse};

/// What one look at a cluster found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterHealth {
    /// The cluster.
    pub cluster: ClusterId,
    /// A word such as `healthy`.
    pub status: String,
    /// A word such as `timeout`, when something is wrong.
    pub error_class: Option<String>,
    /// What is wrong, for people; holds no secret.
    pub detail: String,
    /// The API server's version; empty when it did not say.
    pub server_version: String,
    /// How long the answer took, milliseconds.
    pub latency_ms: i64,
    /// Milliseconds since the epoch.
    pub checked_at_ms: i64,
    /// Since when the status is what it is, milliseconds since the epoch. Kept by the store.
    pub changed_at_ms: i64,
}

type Row = (String, String, Option<String>, String, String, i64, i64, i64);

const ALL: &str = "SELECT cluster_id, status, error_class, detail, server_version, latency_ms, checked_at, changed_at \
    FROM cluster_health ORDER BY cluster_id";
const ONE: &str = "SELECT cluster_id, status, error_class, detail, server_version, latency_ms, checked_at, changed_at \
    FROM cluster_health WHERE cluster_id = $1";
// Inserted by way of `clusters`, so that a cluster that was removed meanwhile is no error. A later look wins over an
// earlier one that took longer, also one of another hub.
const RECORD: &str = "INSERT INTO cluster_health (cluster_id, status, error_class, detail, server_version, latency_ms, \
    checked_at, changed_at) SELECT id, $2, $3, $4, $5, $6, $7, $7 FROM clusters WHERE id = $1 \
    ON CONFLICT (cluster_id) DO UPDATE SET status = excluded.status, error_class = excluded.error_class, \
    detail = excluded.detail, server_version = CASE excluded.server_version WHEN '' \
    THEN cluster_health.server_version ELSE excluded.server_version END, latency_ms = excluded.latency_ms, \
    checked_at = excluded.checked_at, changed_at = CASE cluster_health.status WHEN excluded.status \
    THEN cluster_health.changed_at ELSE excluded.changed_at END WHERE cluster_health.checked_at <= excluded.checked_at";

impl Store {
    /// Notes what looks at clusters found, many in one transaction. Clusters that are gone are passed over, and so
    /// is a look older than the one that is known.
    ///
    /// # Errors
    /// The database failed; then none was noted.
    pub async fn record_cluster_health(&self, looks: &[ClusterHealth]) -> Result<(), StoreError> {
        on_db!(&self.db, tx, tx => for look in looks {
            let record = sqlx::query(RECORD).bind(look.cluster.to_string()).bind(look.status.as_str());
            let record = record.bind(look.error_class.as_deref()).bind(look.detail.replace('\0', ""));
            let record = record.bind(look.server_version.replace('\0', "")).bind(look.latency_ms);
            record.bind(look.checked_at_ms).execute(&mut *tx).await?;
        });
        Ok(())
    }

    /// How all clusters are that were looked at.
    ///
    /// # Errors
    /// The database failed.
    pub async fn list_cluster_health(&self) -> Result<Vec<ClusterHealth>, StoreError> {
        let rows: Vec<Row> = on_db!(&self.db, read, pool => sqlx::query_as(ALL).fetch_all(pool).await?);
        rows.into_iter().map(read).collect()
    }

    /// How a cluster is, if it was looked at.
    ///
    /// # Errors
    /// The database failed.
    pub async fn cluster_health(&self, cluster: ClusterId) -> Result<Option<ClusterHealth>, StoreError> {
        let row: Option<Row> =
            on_db!(&self.db, read, pool => sqlx::query_as(ONE).bind(cluster.to_string()).fetch_optional(pool).await?);
        row.map(read).transpose()
    }
}

fn read(row: Row) -> Result<ClusterHealth, StoreError> {
    let (cluster, status, error_class, detail, server_version, latency_ms, checked_at_ms, changed_at_ms) = row;
    let cluster = parse(&cluster, "cluster_health.cluster_id")?;
    Ok(ClusterHealth { cluster, status, error_class, detail, server_version, latency_ms, checked_at_ms, changed_at_ms })
}
