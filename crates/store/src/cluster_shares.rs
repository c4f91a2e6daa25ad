//! Who shares a cluster, and which one a person works with unless he names another.
//!
//! Must not know: what a level allows, who the members of a subject are.

use flotilla_types::id::{ClusterId, UserId};
use flotilla_types::time::now_ms;

use crate::Store;
use crate::db::on_db;
use crate::error::{StoreError, found, parse, storable};

/// A cluster shared with somebody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterShare {
    /// The cluster.
    pub cluster: ClusterId,
    /// Its name now.
    pub cluster_name: String,
    /// What `subject_id` is the id of: `user`.
    pub subject_kind: String,
    /// With whom.
    pub subject_id: String,
    /// As what.
    pub level: String,
    /// By whom: an account's name.
    pub created_by: String,
    /// Milliseconds since the epoch.
    pub created_at_ms: i64,
}

type Row = (String, String, String, String, String, String, i64);

const ALL: &str = "SELECT s.cluster_id, c.name, s.subject_kind, s.subject_id, s.level, s.created_by, s.created_at \
    FROM cluster_shares s JOIN clusters c ON c.id = s.cluster_id ORDER BY c.name, s.subject_kind, s.subject_id";
const OF_SUBJECT: &str = "SELECT s.cluster_id, c.name, s.subject_kind, s.subject_id, s.level, s.created_by, \
    s.created_at FROM cluster_shares s JOIN clusters c ON c.id = s.cluster_id \
    WHERE s.subject_kind = $1 AND s.subject_id = $2 ORDER BY c.name";
const SHARE: &str = "INSERT INTO cluster_shares (cluster_id, subject_kind, subject_id, level, created_by, created_at) \
    VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (cluster_id, subject_kind, subject_id) DO UPDATE \
    SET level = excluded.level, created_by = excluded.created_by, created_at = excluded.created_at";
const UNSHARE: &str = "DELETE FROM cluster_shares WHERE cluster_id = $1 AND subject_kind = $2 AND subject_id = $3";
const SET_DEFAULT: &str = "INSERT INTO cluster_defaults (user_id, cluster_id) VALUES ($1, $2) \
    ON CONFLICT (user_id) DO UPDATE SET cluster_id = excluded.cluster_id";
const CLEAR_DEFAULT: &str = "DELETE FROM cluster_defaults WHERE user_id = $1 AND cluster_id = $2";
const DEFAULT: &str = "SELECT cluster_id FROM cluster_defaults WHERE user_id = $1";

impl Store {
    /// All shares, by name of the cluster.
    ///
    /// # Errors
    /// The database failed.
    pub async fn list_cluster_shares(&self) -> Result<Vec<ClusterShare>, StoreError> {
        let rows: Vec<Row> = on_db!(&self.db, read, pool => sqlx::query_as(ALL).fetch_all(pool).await?);
        rows.into_iter().map(read).collect()
    }

    /// What is shared with somebody.
    ///
    /// # Errors
    /// The database failed.
    pub async fn cluster_shares_of(&self, kind: &str, subject: &str) -> Result<Vec<ClusterShare>, StoreError> {
        if !storable(subject) {
            return Ok(Vec::new());
        }
        let rows: Vec<Row> = on_db!(&self.db, read, pool => {
            sqlx::query_as(OF_SUBJECT).bind(kind).bind(subject).fetch_all(pool).await?
        });
        rows.into_iter().map(read).collect()
    }

    /// Shares a cluster with somebody, or changes as what.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when the cluster is gone.
    pub async fn share_cluster(
        &self,
        cluster: ClusterId,
        kind: &str,
        subject: &str,
        level: &str,
        by: &str,
    ) -> Result<(), StoreError> {
        on_db!(&self.db, write, pool => {
            let share = sqlx::query(SHARE).bind(cluster.to_string()).bind(kind).bind(subject).bind(level);
            let share = share.bind(by).bind(now_ms());
            share.execute(pool).await.map_err(StoreError::parent("cluster"))?;
        });
        Ok(())
    }

    /// Ends a share.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when there is none.
    pub async fn unshare_cluster(&self, cluster: ClusterId, kind: &str, subject: &str) -> Result<(), StoreError> {
        if !storable(subject) {
            return Err(StoreError::NotFound { what: "share" });
        }
        let done = on_db!(&self.db, write, pool => {
            let unshare = sqlx::query(UNSHARE).bind(cluster.to_string()).bind(kind).bind(subject);
            unshare.execute(pool).await?.rows_affected()
        });
        found(done, "share")
    }

    /// Makes `cluster` the one that `user` works with unless he names another.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when either is gone.
    pub async fn set_default_cluster(&self, user: UserId, cluster: ClusterId) -> Result<(), StoreError> {
        on_db!(&self.db, write, pool => {
            let set = sqlx::query(SET_DEFAULT).bind(user.to_string()).bind(cluster.to_string());
            set.execute(pool).await.map_err(StoreError::parent("cluster"))?;
        });
        Ok(())
    }

    /// Takes that back. Whether it was his.
    ///
    /// # Errors
    /// The database failed.
    pub async fn clear_default_cluster(&self, user: UserId, cluster: ClusterId) -> Result<bool, StoreError> {
        let done = on_db!(&self.db, write, pool => {
            let clear = sqlx::query(CLEAR_DEFAULT).bind(user.to_string()).bind(cluster.to_string());
            clear.execute(pool).await?.rows_affected()
        });
        Ok(done > 0)
    }

    /// The cluster that `user` works with unless he names another.
    ///
    /// # Errors
    /// The database failed.
    pub async fn default_cluster(&self, user: UserId) -> Result<Option<ClusterId>, StoreError> {
        let row: Option<(String,)> =
            on_db!(&self.db, read, pool => sqlx::query_as(DEFAULT).bind(user.to_string()).fetch_optional(pool).await?);
        row.map(|(id,)| parse(&id, "cluster_defaults.cluster_id")).transpose()
    }
}

fn read(
    (cluster, cluster_name, subject_kind, subject_id, level, created_by, created_at_ms): Row,
) -> Result<ClusterShare, StoreError> {
    let cluster = parse(&cluster, "cluster_shares.cluster_id")?;
    Ok(ClusterShare { cluster, cluster_name, subject_kind, subject_id, level, created_by, created_at_ms })
}
