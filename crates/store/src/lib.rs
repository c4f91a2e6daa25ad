//! What the hub remembers: users, sessions, roles, clusters, agents, signing keys and the audit log, in SQLite
//! (one file, the default) or PostgreSQL. The only crate that contains SQL, and one SQL text serves both engines.
//!
//! One file per aggregate: each holds its statements, its types and its `impl Store`. Ids are `UUIDv7` as text,
//! times are milliseconds since the epoch. Columns that hold secrets are sealed (see [`seal`]).
//!
//! Must not know: HTTP, Kubernetes, how a decision is reached, where its configuration comes from.

mod access;
mod agents;
pub mod audit;
mod clusters;
mod db;
mod error;
mod hex;
mod invitations;
mod keys;
mod metrics;
mod orgs;
mod roles;
pub mod seal;
mod sessions;
mod teams;
mod users;

pub use access::{AccessRequest, Decided, Decision, NewAccessRequest};
pub use agents::{Agent, NewAgent};
pub use clusters::{Backend, Cluster};
pub use db::{DatabaseConfig, Driver};
pub use error::StoreError;
pub use invitations::{Acceptance, Invitation, NewInvitation};
pub use keys::SigningKey;
pub use metrics::StoreMetrics;
pub use orgs::{Org, OrgMember, OwnedCluster};
pub use seal::{Kek, SealError, Sealer};
pub use sessions::{LiveSession, Rotation};
pub use teams::{Team, TeamMember};
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
    /// [`StoreError::Migration`] when a statement fails or the database was made by a newer version; nothing
    /// of the failed migration remains.
    pub async fn migrate(&self) -> Result<(), StoreError> {
        self.db.migrate().await
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
