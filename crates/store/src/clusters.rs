//! The registry of clusters.
//!
//! Must not know: how a cluster is reached, what its credential means.

use flotilla_types::id::ClusterId;
use flotilla_types::time::now_ms;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Map, Value};

use crate::Store;
use crate::db::on_db;
use crate::error::{StoreError, found, parse, storable};
use crate::seal::Place;

/// How the hub reaches a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Backend {
    /// Through an agent that dials out.
    Agent,
    /// With a kubeconfig.
    Kubeconfig,
    /// The cluster in which the hub itself runs.
    InCluster,
}

impl Backend {
    /// The word used on the wire and in the database.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Kubeconfig => "kubeconfig",
            Self::InCluster => "in-cluster",
        }
    }

    fn parse(word: &str) -> Result<Self, StoreError> {
        let all = [Self::Agent, Self::Kubeconfig, Self::InCluster];
        let backend = all.into_iter().find(|backend| backend.as_str() == word);
        backend.ok_or(StoreError::Corrupt { column: "clusters.backend" })
    }
}

/// A cluster, without its credential.
#[derive(Clone, Debug, PartialEq)]
pub struct Cluster {
    /// The cluster.
    pub id: ClusterId,
    /// Its unique name.
    pub name: String,
    /// How it is reached.
    pub backend: Backend,
    /// When it was last reached, milliseconds since the epoch.
    pub last_seen_ms: Option<i64>,
    /// What its agent reported.
    pub metadata: Map<String, Value>,
    /// Milliseconds since the epoch.
    pub created_at_ms: i64,
}

type Row = (String, String, String, Option<i64>, String, i64);

const ALL: &str = "SELECT id, name, backend, last_seen, metadata, created_at FROM clusters ORDER BY name";
const BY_NAME: &str = "SELECT id, name, backend, last_seen, metadata, created_at FROM clusters WHERE name = $1";
const BY_ID: &str = "SELECT id, name, backend, last_seen, metadata, created_at FROM clusters WHERE id = $1";
const INSERT: &str = "INSERT INTO clusters (id, name, backend, credential, metadata, created_at) \
    VALUES ($1, $2, $3, $4, '{}', $5)";
const ENSURE: &str = "INSERT INTO clusters (id, name, backend, metadata, created_at) \
    VALUES ($1, $2, 'agent', '{}', $3) ON CONFLICT (name) DO NOTHING";
const BACKEND: &str = "SELECT id, backend FROM clusters WHERE name = $1";
const CREDENTIAL: &str = "SELECT credential FROM clusters WHERE id = $1";
const SET_METADATA: &str = "UPDATE clusters SET metadata = $2 WHERE id = $1";
const TOUCH: &str = "UPDATE clusters SET last_seen = $2 WHERE id = $1 AND (last_seen IS NULL OR last_seen < $2)";
const DELETE: &str = "DELETE FROM clusters WHERE id = $1";

fn place(id: &str) -> Place<'_> {
    Place { table: "clusters", column: "credential", row: id }
}

impl Store {
    /// All clusters, by name.
    ///
    /// # Errors
    /// The database failed.
    pub async fn list_clusters(&self) -> Result<Vec<Cluster>, StoreError> {
        let rows: Vec<Row> = on_db!(&self.db, read, pool => sqlx::query_as(ALL).fetch_all(pool).await?);
        rows.into_iter().map(read).collect()
    }

    /// The cluster of that name.
    ///
    /// # Errors
    /// The database failed.
    pub async fn cluster_by_name(&self, name: &str) -> Result<Option<Cluster>, StoreError> {
        if !storable(name) {
            return Ok(None);
        }
        let row: Option<Row> =
            on_db!(&self.db, read, pool => sqlx::query_as(BY_NAME).bind(name).fetch_optional(pool).await?);
        row.map(read).transpose()
    }

    /// The cluster with that id.
    ///
    /// # Errors
    /// The database failed.
    pub async fn cluster_by_id(&self, id: ClusterId) -> Result<Option<Cluster>, StoreError> {
        let row: Option<Row> =
            on_db!(&self.db, read, pool => sqlx::query_as(BY_ID).bind(id.to_string()).fetch_optional(pool).await?);
        row.map(read).transpose()
    }

    /// The cluster of that name that agents serve; registered when it is new.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when a cluster of that name is reached directly.
    pub async fn ensure_agent_cluster(&self, name: &str) -> Result<ClusterId, StoreError> {
        let (id, backend): (String, String) = on_db!(&self.db, tx, tx => {
            let insert = sqlx::query(ENSURE).bind(ClusterId::new().to_string()).bind(name).bind(now_ms());
            insert.execute(&mut *tx).await?;
            sqlx::query_as(BACKEND).bind(name).fetch_one(&mut *tx).await?
        });
        match Backend::parse(&backend)? {
            Backend::Agent => parse(&id, "clusters.id"),
            Backend::Kubeconfig | Backend::InCluster => Err(StoreError::Conflict { what: "cluster" }),
        }
    }

    /// Registers a cluster that the hub reaches itself. The credential is sealed.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when the name is taken.
    pub async fn create_direct_cluster(
        &self,
        name: &str,
        backend: Backend,
        credential: &SecretString,
    ) -> Result<ClusterId, StoreError> {
        let id = ClusterId::new();
        let key = id.to_string();
        let sealed = self.sealer.seal(place(&key), credential.expose_secret().as_bytes())?;
        on_db!(&self.db, write, pool => {
            let insert = sqlx::query(INSERT).bind(key.as_str()).bind(name).bind(backend.as_str());
            let insert = insert.bind(sealed).bind(now_ms());
            insert.execute(pool).await.map_err(StoreError::unique("cluster"))?;
        });
        Ok(id)
    }

    /// The credential of a cluster that is reached directly.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when there is no such cluster or it has none, [`StoreError::Sealed`] when it
    /// does not open.
    pub async fn credential(&self, cluster: ClusterId) -> Result<SecretString, StoreError> {
        let key = cluster.to_string();
        let row: Option<(Option<String>,)> =
            on_db!(&self.db, read, pool => sqlx::query_as(CREDENTIAL).bind(key.as_str()).fetch_optional(pool).await?);
        let sealed = row.and_then(|(sealed,)| sealed).ok_or(StoreError::NotFound { what: "cluster credential" })?;
        Ok(self.sealer.open_text(place(&key), &sealed)?)
    }

    /// Replaces what is known of a cluster.
    ///
    /// # Errors
    /// [`StoreError::NotFound`].
    pub async fn set_metadata(&self, cluster: ClusterId, metadata: &Map<String, Value>) -> Result<(), StoreError> {
        let text = serde_json::to_string(metadata).map_err(|_| StoreError::Corrupt { column: "clusters.metadata" })?;
        let done = on_db!(&self.db, write, pool => {
            sqlx::query(SET_METADATA).bind(cluster.to_string()).bind(text).execute(pool).await?.rows_affected()
        });
        found(done, "cluster")
    }

    /// Notes when clusters were last reached (milliseconds since the epoch), many in one transaction. Never
    /// moves a time backwards; unknown clusters are passed over.
    ///
    /// # Errors
    /// The database failed; then none was noted.
    pub async fn touch_clusters(&self, seen: &[(ClusterId, i64)]) -> Result<(), StoreError> {
        on_db!(&self.db, tx, tx => for (id, at) in seen {
            sqlx::query(TOUCH).bind(id.to_string()).bind(*at).execute(&mut *tx).await?;
        });
        Ok(())
    }

    /// Removes a cluster with its credential and its agents' enrolments. Audit rows stay.
    ///
    /// # Errors
    /// [`StoreError::NotFound`].
    pub async fn delete_cluster(&self, id: ClusterId) -> Result<(), StoreError> {
        let done = on_db!(&self.db, write, pool => {
            sqlx::query(DELETE).bind(id.to_string()).execute(pool).await?.rows_affected()
        });
        found(done, "cluster")
    }
}

fn read((id, name, backend, last_seen_ms, metadata, created_at_ms): Row) -> Result<Cluster, StoreError> {
    let metadata = serde_json::from_str(&metadata).map_err(|_| StoreError::Corrupt { column: "clusters.metadata" })?;
    let (id, backend) = (parse(&id, "clusters.id")?, Backend::parse(&backend)?);
    Ok(Cluster { id, name, backend, last_seen_ms, metadata, created_at_ms })
}
