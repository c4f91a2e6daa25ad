//! The registry of clusters.
//!
//! Must not know: how a cluster is reached, what its credential means.

use std::collections::BTreeMap;

use flotilla_types::id::ClusterId;
use flotilla_types::time::now_ms;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Map, Value};

use crate::Store;
use crate::db::on_db;
use crate::error::{StoreError, found, parse, storable};
use crate::sealed::{CLUSTER_CREDENTIAL, Place};

/// How the hub reaches a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Backend {
    /// Through an agent that dials out.
    Agent,
    /// With a kubeconfig.
    Kubeconfig,
    /// The cluster in which the hub itself runs.
    InCluster,
    /// Amazon EKS, with a role of the hub's own.
    Eks,
}

impl Backend {
    /// The word used on the wire and in the database.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Kubeconfig => "kubeconfig",
            Self::InCluster => "in-cluster",
            Self::Eks => "eks",
        }
    }

    fn parse(word: &str) -> Result<Self, StoreError> {
        let all = [Self::Agent, Self::Kubeconfig, Self::InCluster, Self::Eks];
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
    /// What its credential is; the caller's word.
    pub auth_type: Option<String>,
    /// URL of its API server; empty when only its agent knows.
    pub server: String,
    /// What people say of it.
    pub labels: BTreeMap<String, String>,
    /// When it was last reached, milliseconds since the epoch.
    pub last_seen_ms: Option<i64>,
    /// What its agent reported.
    pub metadata: Map<String, Value>,
    /// Milliseconds since the epoch.
    pub created_at_ms: i64,
}

/// A cluster that the hub is to reach itself.
#[derive(Debug)]
pub struct NewCluster<'a> {
    /// Unique name.
    pub name: &'a str,
    /// How it is reached.
    pub backend: Backend,
    /// What the credential is; `None` when there is none to keep.
    pub auth_type: Option<&'a str>,
    /// URL of its API server, without credentials.
    pub server: &'a str,
    /// What people say of it.
    pub labels: &'a BTreeMap<String, String>,
    /// Kept sealed.
    pub credential: &'a SecretString,
}

/// What to change of a cluster; `None` leaves it.
#[derive(Debug, Default)]
pub struct ClusterChange<'a> {
    /// New unique name.
    pub name: Option<&'a str>,
    /// All labels.
    pub labels: Option<&'a BTreeMap<String, String>>,
}

type Row = (String, String, String, Option<String>, String, String, Option<i64>, String, i64);

const ALL: &str = "SELECT id, name, backend, auth_type, server, labels, last_seen, metadata, created_at \
    FROM clusters ORDER BY name";
const BY_NAME: &str = "SELECT id, name, backend, auth_type, server, labels, last_seen, metadata, created_at \
    FROM clusters WHERE name = $1";
const BY_ID: &str = "SELECT id, name, backend, auth_type, server, labels, last_seen, metadata, created_at \
    FROM clusters WHERE id = $1";
const INSERT: &str = "INSERT INTO clusters (id, name, backend, auth_type, server, labels, credential, metadata, \
    created_at) VALUES ($1, $2, $3, $4, $5, $6, $7, '{}', $8)";
const RENAME: &str = "UPDATE clusters SET name = $2 WHERE id = $1";
const LABEL: &str = "UPDATE clusters SET labels = $2 WHERE id = $1";
const SET_CREDENTIAL: &str = "UPDATE clusters SET backend = $2, auth_type = $3, server = $4, credential = $5 \
    WHERE id = $1 AND backend <> 'agent'";
const RESEAL: &str = "UPDATE clusters SET credential = $2 WHERE id = $1 AND credential IS NOT NULL";
const ENSURE: &str = "INSERT INTO clusters (id, name, backend, metadata, created_at) \
    VALUES ($1, $2, 'agent', '{}', $3) ON CONFLICT (name) DO NOTHING";
const BACKEND: &str = "SELECT id, backend FROM clusters WHERE name = $1";
const CREDENTIAL: &str = "SELECT credential FROM clusters WHERE id = $1";
const SET_METADATA: &str = "UPDATE clusters SET metadata = $2 WHERE id = $1";
const TOUCH: &str = "UPDATE clusters SET last_seen = $2 WHERE id = $1 AND (last_seen IS NULL OR last_seen < $2)";
const DELETE: &str = "DELETE FROM clusters WHERE id = $1";

fn place(id: &str) -> Place<'_> {
    CLUSTER_CREDENTIAL.at(id)
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
            Backend::Kubeconfig | Backend::InCluster | Backend::Eks => Err(StoreError::Conflict { what: "cluster" }),
        }
    }

    /// Registers a cluster that the hub reaches itself and of which nothing but the credential is known.
    ///
    /// # Errors
    /// As [`Store::create_cluster`].
    pub async fn create_direct_cluster(
        &self,
        name: &str,
        backend: Backend,
        credential: &SecretString,
    ) -> Result<ClusterId, StoreError> {
        let labels = BTreeMap::new();
        self.create_cluster(&NewCluster { name, backend, auth_type: None, server: "", labels: &labels, credential })
            .await
    }

    /// Registers a cluster that the hub reaches itself. The credential is sealed.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when the name is taken.
    pub async fn create_cluster(&self, new: &NewCluster<'_>) -> Result<ClusterId, StoreError> {
        let id = ClusterId::new();
        let key = id.to_string();
        let sealed = self.sealer.seal(place(&key), new.credential.expose_secret().as_bytes())?;
        let labels = labels_text(new.labels)?;
        on_db!(&self.db, write, pool => {
            let insert = sqlx::query(INSERT).bind(key.as_str()).bind(new.name).bind(new.backend.as_str());
            let insert = insert.bind(new.auth_type).bind(new.server).bind(labels).bind(sealed).bind(now_ms());
            insert.execute(pool).await.map_err(StoreError::unique("cluster"))?;
        });
        Ok(id)
    }

    /// Changes what people may change of a cluster, all or nothing.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], or [`StoreError::Conflict`] when the name is taken.
    pub async fn update_cluster(&self, id: ClusterId, change: &ClusterChange<'_>) -> Result<(), StoreError> {
        let labels = change.labels.map(labels_text).transpose()?;
        let key = id.to_string();
        on_db!(&self.db, tx, tx => {
            if let Some(name) = change.name {
                let rename = sqlx::query(RENAME).bind(key.as_str()).bind(name).execute(&mut *tx).await;
                found(rename.map_err(StoreError::unique("cluster"))?.rows_affected(), "cluster")?;
            }
            if let Some(labels) = labels {
                let done = sqlx::query(LABEL).bind(key.as_str()).bind(labels).execute(&mut *tx).await?;
                found(done.rows_affected(), "cluster")?;
            }
        });
        Ok(())
    }

    /// Replaces the way to a cluster that the hub reaches itself, and its credential.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when there is no such cluster or an agent serves it.
    pub async fn set_credential(
        &self,
        id: ClusterId,
        backend: Backend,
        auth_type: &str,
        server: &str,
        credential: &SecretString,
    ) -> Result<(), StoreError> {
        let key = id.to_string();
        let sealed = self.sealer.seal(place(&key), credential.expose_secret().as_bytes())?;
        let done = on_db!(&self.db, write, pool => {
            let set = sqlx::query(SET_CREDENTIAL).bind(key.as_str()).bind(backend.as_str()).bind(auth_type).bind(server);
            set.bind(sealed).execute(pool).await?.rows_affected()
        });
        found(done, "cluster")
    }

    /// Keeps a credential that renewed itself (a rotated refresh token); all else of the cluster stays.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when there is no such cluster or it has no credential.
    pub async fn renew_credential(&self, id: ClusterId, credential: &SecretString) -> Result<(), StoreError> {
        let key = id.to_string();
        let sealed = self.sealer.seal(place(&key), credential.expose_secret().as_bytes())?;
        let done = on_db!(&self.db, write, pool => {
            sqlx::query(RESEAL).bind(key.as_str()).bind(sealed).execute(pool).await?.rows_affected()
        });
        found(done, "cluster credential")
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

fn labels_text(labels: &BTreeMap<String, String>) -> Result<String, StoreError> {
    serde_json::to_string(labels).map_err(|_| StoreError::Corrupt { column: "clusters.labels" })
}

fn read(row: Row) -> Result<Cluster, StoreError> {
    let (id, name, backend, auth_type, server, labels, last_seen_ms, metadata, created_at_ms) = row;
    let metadata = serde_json::from_str(&metadata).map_err(|_| StoreError::Corrupt { column: "clusters.metadata" })?;
    let labels = serde_json::from_str(&labels).map_err(|_| StoreError::Corrupt { column: "clusters.labels" })?;
    let (id, backend) = (parse(&id, "clusters.id")?, Backend::parse(&backend)?);
    Ok(Cluster { id, name, backend, auth_type, server, labels, last_seen_ms, metadata, created_at_ms })
}
