//! What the hub remembers: users, sessions, roles, clusters, agents, signing keys and the audit log, in SQLite
//! (one file, the default) or PostgreSQL. The only crate that contains SQL, and one SQL text serves both engines.
//!
//! One file per aggregate: each holds its statements, its types and its `impl Store`. Ids are `UUIDv7` as text,
//! times are milliseconds since the epoch. Columns that hold secrets are sealed (see [`seal`]).
//!
//! Must not know: HTTP, Kubernetes, how a decision is reached, where its configuration comes from.

mod access;
mod agents;
mod api_keys;
pub mod audit;
pub mod backup;
mod browser_sessions;
mod cluster_health;
mod cluster_shares;
mod clusters;
mod db;
mod devices;
mod error;
mod identities;
mod invitations;
mod keys;
mod metrics;
mod oauth;
mod orgs;
mod recordings;
mod reseal;
mod roles;
mod schema;
pub mod seal;
mod sealed;
mod sessions;
mod teams;
mod tickets;
mod users;

pub use access::{AccessRequest, Decided, Decision, NewAccessRequest};
pub use agents::{Agent, NewAgent};
pub use api_keys::{ApiKey, LiveKey, NewApiKey};
pub use browser_sessions::BrowserSession;
pub use cluster_health::ClusterHealth;
pub use cluster_shares::ClusterShare;
pub use clusters::{Backend, Cluster, ClusterChange, NewCluster};
pub use db::{DatabaseConfig, Driver};
pub use devices::{NewDevice, Poll};
pub use error::StoreError;
pub use identities::{LoggedOut, NewIdentity, NewProviderSession, ProviderSession, ProviderSessionId};
pub use invitations::{Acceptance, Invitation, NewInvitation};
pub use keys::SigningKey;
pub use metrics::StoreMetrics;
pub use oauth::{OauthCode, OauthState};
pub use orgs::{Org, OrgMember, OwnedCluster};
pub use recordings::{ChunkReader, NewRecording, Progress, Recording, RecordingEnd};
pub use reseal::KeysInUse;
pub use schema::SchemaState;
pub use seal::{Kek, KekSource, SealError, Sealer};
pub use sessions::{Device, LiveSession, Rotation, TokenSession};
pub use teams::{Team, TeamMember};
pub use tickets::Ticket;
pub use users::{NewUser, User};

use db::Db;

/// Handle to the database. Cheap to clone; all clones share the connections.
#[derive(Clone)]
pub struct Store {
    db: Db,
    sealer: Sealer,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("engine", &self.db.engine()).finish_non_exhaustive()
    }
}

impl Store {
    /// Connects. A SQLite file (and the directories on the way to it) is created when it is missing, readable
    /// by its owner only. The schema is not touched: call [`Store::migrate`].
    ///
    /// # Errors
    /// [`StoreError::Config`] when the address makes no sense, [`StoreError::Unavailable`] or
    /// [`StoreError::Database`] when the database cannot be reached within 10 s.
    pub async fn open(config: &DatabaseConfig, sealer: Sealer) -> Result<Self, StoreError> {
        Ok(Self { db: Db::connect(config).await?, sealer })
    }

    /// Brings the schema up to date. Safe to run again, and by several processes at once: one does the work,
    /// the others wait for it.
    ///
    /// # Errors
    /// [`StoreError::Newer`] when the database was made by a newer version, [`StoreError::Migration`] when a
    /// statement fails; nothing of the failed migration remains.
    pub async fn migrate(&self) -> Result<(), StoreError> {
        self.db.migrate(None).await
    }

    /// Whether the database answers, for readiness.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] or [`StoreError::Database`].
    pub async fn ping(&self) -> Result<(), StoreError> {
        self.db.ping().await
    }

    /// Closes the connections and waits until they are closed. Clones of this handle fail from then on.
    pub async fn close(&self) {
        self.db.close().await;
    }
}
