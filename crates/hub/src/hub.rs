//! The hub's parts, put together once at start and shared by all requests.
//!
//! Must not know: HTTP.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use flotilla_cluster::backends::Backends;
use flotilla_cluster::gate::Gate;
use flotilla_cluster::request::ClusterRef;
use flotilla_cluster::transport::Transport;
use flotilla_identity::authn::{Accounts, AccountsError, Authenticator, LiveSession};
use flotilla_identity::policy::PolicySet;
use flotilla_identity::throttle::LoginThrottle;
use flotilla_identity::token::KeyRing;
use flotilla_store::audit::AuditLog;
use flotilla_store::{OwnedCluster, Store, StoreError};
use flotilla_tunnel::metrics::TunnelMetrics;
use flotilla_tunnel::pki::CertificateAuthority;
use flotilla_tunnel::registry::Registry;
use flotilla_types::id::SessionId;
use flotilla_types::time::now_ms;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::directory::Directory;
use crate::kubectl::Kubectl;
use crate::mail::Mailer;
use crate::metrics::HubMetrics;
use crate::roles::RoleBook;
use crate::trail::Trail;

/// Everything that a request may need.
pub struct Hub {
    /// As configured.
    pub config: Config,
    /// The database.
    pub store: Store,
    /// The audit log.
    pub audit: AuditLog,
    /// Audit of acts on the hub itself.
    pub trail: Trail,
    /// Checks tokens.
    pub authenticator: Authenticator,
    /// Signs tokens.
    pub keys: KeyRing,
    /// Roles and their sources.
    pub roles: Arc<RoleBook>,
    /// The compiled policy.
    pub policy: Arc<ArcSwap<PolicySet>>,
    /// Authorization and audit of acts on clusters.
    pub gate: Gate,
    /// The one way to a cluster.
    pub transport: Transport,
    /// How each cluster is reached.
    pub backends: Backends,
    /// Live tunnels of agents.
    pub tunnels: Registry,
    /// Counts what the tunnels do.
    pub tunnel_metrics: TunnelMetrics,
    /// Signs the certificates of agents and of this hub.
    pub ca: CertificateAuthority,
    /// Slows down guessing.
    pub throttle: LoginThrottle,
    /// Counters.
    pub metrics: HubMetrics,
    /// The registry of clusters, in memory.
    pub clusters: ClusterBook,
    /// Runs kubectl for those who have none.
    pub kubectl: Kubectl,
    /// Sends mail, if the hub can.
    pub mailer: Option<Mailer>,
    /// Cancelled when the hub is asked to stop.
    pub shutdown: CancellationToken,
}

impl Hub {
    /// Compiles the policy anew after roles in the database changed.
    ///
    /// # Errors
    /// The store does not answer, or a role there does not compile.
    pub async fn reload_policy(&self) -> anyhow::Result<()> {
        self.roles.set_database(self.store.list_roles().await?)?;
        self.authenticator.forget_all();
        Ok(())
    }
}

impl Hub {
    /// Takes up organisations, teams, ownership and grants after they changed. Held rights follow at once.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn reload_directory(&self) -> anyhow::Result<()> {
        self.roles.set_directory(Directory::read(&self.store).await?)?;
        self.authenticator.forget_all();
        Ok(())
    }
}

/// A kubeconfig as it is sealed in the store.
#[derive(Serialize, Deserialize)]
pub struct DirectCredential {
    /// The file's text.
    pub kubeconfig: String,
    /// Context in it.
    pub context: Option<String>,
}

/// Names and ids of all registered clusters, for the request path: no database in the way.
#[derive(Default)]
pub struct ClusterBook {
    by_key: ArcSwap<HashMap<String, ClusterRef>>,
}

impl ClusterBook {
    /// The cluster of this name or id.
    #[must_use]
    pub fn find(&self, name_or_id: &str) -> Option<ClusterRef> {
        self.by_key.load().get(name_or_id).cloned()
    }

    /// Whether these, by id and name, are the clusters there are.
    #[must_use]
    pub fn has_exactly(&self, clusters: &[OwnedCluster]) -> bool {
        let known = self.by_key.load();
        let same = |one: &OwnedCluster| known.get(&one.name).is_some_and(|found| found.id == one.id);
        known.len() == clusters.len() * 2 && clusters.iter().all(same)
    }

    /// Reads the registry again.
    ///
    /// # Errors
    /// The store does not answer; the book stays as it was.
    pub async fn reload(&self, store: &Store) -> Result<(), StoreError> {
        let clusters = store.list_clusters().await?;
        let keyed = clusters.into_iter().flat_map(|cluster| {
            let entry = ClusterRef { id: cluster.id, name: cluster.name.as_str().into() };
            [(cluster.name, entry.clone()), (cluster.id.to_string(), entry)]
        });
        self.by_key.store(Arc::new(keyed.collect()));
        Ok(())
    }
}

/// Sessions and roles, as the authenticator asks for them.
pub struct StoreAccounts {
    /// The database.
    pub store: Store,
    /// Adds the roles of the roles file.
    pub roles: Arc<RoleBook>,
}

impl Accounts for StoreAccounts {
    fn live_session(
        &self,
        id: SessionId,
    ) -> futures_util::future::BoxFuture<'_, Result<Option<LiveSession>, AccountsError>> {
        Box::pin(async move {
            let session =
                self.store.live_session(id, now_ms()).await.map_err(|error| AccountsError(Box::new(error)))?;
            Ok(session.map(|session| LiveSession {
                user: session.user,
                roles: self.roles.effective(&session.email, session.roles),
                email: session.email,
                // A sign-in with an identity provider puts its groups here, and `RoleBook::of_groups` into the roles.
                groups: Vec::new(),
            }))
        })
    }
}
