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
use flotilla_identity::authn::{
    Accounts, AccountsError, Authenticator, By, LiveApiKey, LiveBrowserSession, LiveSession,
};
use flotilla_identity::policy::PolicySet;
use flotilla_identity::principal::Via;
use flotilla_identity::throttle::LoginThrottle;
use flotilla_identity::token::KeyRing;
use flotilla_store::audit::AuditLog;
use flotilla_store::{OwnedCluster, Store, StoreError};
use flotilla_tunnel::metrics::TunnelMetrics;
use flotilla_tunnel::pki::CertificateAuthority;
use flotilla_tunnel::registry::Registry;
use flotilla_types::id::{ApiKeyId, SessionId, UserId};
use flotilla_types::time::now_ms;
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::directory::Directory;
use crate::health::HealthMetrics;
use crate::kubectl::Kubectl;
use crate::listen::agents::Door;
use crate::mail::Mailer;
use crate::metrics::HubMetrics;
use crate::recorder::Library;
use crate::request::limits::Limits;
use crate::roles::RoleBook;
use crate::sessions::Sessions;
use crate::shares;
use crate::sign_in::{OIDC, Ways};
use crate::tickets::Tickets;
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
    /// Where agents come in.
    pub door: Door,
    /// Slows down guessing.
    pub throttle: LoginThrottle,
    /// Sign-ins of browsers and command lines.
    pub sessions: Arc<Sessions>,
    /// One-use tickets.
    pub tickets: Tickets,
    /// How many requests it takes.
    pub limits: Limits,
    /// Counters.
    pub metrics: HubMetrics,
    /// What is counted of each cluster.
    pub health_metrics: HealthMetrics,
    /// The registry of clusters, in memory.
    pub clusters: ClusterBook,
    /// Recorded shells.
    pub library: Library,
    /// Runs kubectl for those who have none.
    pub kubectl: Kubectl,
    /// Sends mail, if the hub can.
    pub mailer: Option<Mailer>,
    /// Where else people sign in.
    pub ways: Arc<Ways>,
    /// Cancelled when the hub is asked to stop: it is no longer ready, but still takes requests.
    pub stopping: CancellationToken,
    /// Cancelled when it takes no more requests.
    pub shutdown: CancellationToken,
}

impl Hub {
    /// Compiles the policy anew after roles in the database changed.
    ///
    /// # Errors
    /// The store does not answer, or a role there does not compile.
    pub async fn reload_policy(&self) -> anyhow::Result<()> {
        self.roles.set_database(shares::roles(&self.store).await?)?;
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
    /// Where browser sessions are kept.
    pub sessions: Arc<Sessions>,
    /// Adds the roles that groups at a provider give.
    pub ways: Arc<Ways>,
}

impl StoreAccounts {
    /// With the roles of clusters that were shared with him, and those that the roles file gives.
    async fn owner(&self, user: UserId, email: String, mut roles: Vec<String>) -> Result<LiveSession, AccountsError> {
        roles.extend(shares::roles_of(&self.store, user).await.map_err(accounts_error)?);
        Ok(LiveSession { user, roles: self.roles.effective(&email, roles), email, groups: Vec::new() })
    }

    /// Adds what somebody has in one session because of the provider that he signed in at. Tiers and teams go by
    /// groups of the OpenID Connect provider alone: anyone may give a group at GitHub the same name.
    async fn with_provider(&self, session: SessionId, mut owner: LiveSession) -> Result<LiveSession, AccountsError> {
        let found = self.store.groups_of_session(session).await.map_err(accounts_error)?;
        let Some((provider, groups)) = found else { return Ok(owner) };
        owner.roles.extend(self.ways.roles_of(&provider, &groups));
        if provider == OIDC {
            owner.roles.extend(self.roles.of_groups(&groups));
            owner.groups = groups;
        }
        Ok(owner)
    }

    async fn find_token(&self, id: SessionId) -> Result<Option<LiveSession>, AccountsError> {
        let now = now_ms();
        let session = self.store.live_session(id, now).await.map_err(accounts_error)?;
        if let Some(session) = session {
            self.sessions.used(Via::Token(id), now);
            let owner = self.owner(session.user, session.email, session.roles).await?;
            return self.with_provider(id, owner).await.map(Some);
        }
        // A token that the hub made for a call of its own in the name of a browser.
        Ok(self.find_browser(By::Id(id)).await?.map(|live| live.owner))
    }

    async fn find_browser(&self, by: By<'_, SessionId>) -> Result<Option<LiveBrowserSession>, AccountsError> {
        let now = now_ms();
        let Some(session) = self.sessions.browser(by, now).await.map_err(accounts_error)? else { return Ok(None) };
        let Some((email, roles)) = self.store.roles_of(session.user).await.map_err(accounts_error)? else {
            return Ok(None);
        };
        self.sessions.used(Via::Browser(session.id), now);
        let owner = self.with_provider(session.id, self.owner(session.user, email, roles).await?).await?;
        Ok(Some(LiveBrowserSession { id: session.id, owner, ends_at_ms: session.max_until_ms }))
    }

    async fn find_key(&self, by: By<'_, ApiKeyId>) -> Result<Option<LiveApiKey>, AccountsError> {
        let now = now_ms();
        let found = match by {
            By::Hash(hash) => self.store.live_api_key_by_hash(hash, now).await,
            By::Id(id) => self.store.live_api_key(id, now).await,
        };
        let Some(live) = found.map_err(accounts_error)? else { return Ok(None) };
        self.sessions.used(Via::Key(live.key.id), now);
        let owner = self.owner(live.key.user, live.email, live.roles).await?;
        Ok(Some(LiveApiKey { id: live.key.id, owner, scopes: live.key.scopes, ends_at_ms: live.key.expires_at_ms }))
    }
}

fn accounts_error(error: impl std::error::Error + Send + Sync + 'static) -> AccountsError {
    AccountsError(Box::new(error))
}

impl Accounts for StoreAccounts {
    fn live_session(
        &self,
        id: SessionId,
    ) -> futures_util::future::BoxFuture<'_, Result<Option<LiveSession>, AccountsError>> {
        Box::pin(self.find_token(id))
    }

    fn browser_session<'a>(
        &'a self,
        by: By<'a, SessionId>,
    ) -> futures_util::future::BoxFuture<'a, Result<Option<LiveBrowserSession>, AccountsError>> {
        Box::pin(self.find_browser(by))
    }

    fn api_key<'a>(
        &'a self,
        by: By<'a, ApiKeyId>,
    ) -> futures_util::future::BoxFuture<'a, Result<Option<LiveApiKey>, AccountsError>> {
        Box::pin(self.find_key(by))
    }
}
