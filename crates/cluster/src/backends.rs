//! How each cluster is reached: through its agent's tunnel, or directly with credentials of the hub's own.
//!
//! Must not know: who asks.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwap;
use flotilla_tunnel::Lane;
use flotilla_tunnel::client::Connection;
use flotilla_tunnel::registry::Registry;
use flotilla_upstream::Upstream;

/// The way to a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// An agent in it dials out to the hub.
    Agent,
    /// The hub calls its API server with a kubeconfig.
    Kubeconfig,
    /// The hub runs in it.
    InCluster,
    /// The hub calls its API server at Amazon EKS with a role of its own.
    Eks,
}

impl Kind {
    /// The word used on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Kubeconfig => "kubeconfig",
            Self::InCluster => "in-cluster",
            Self::Eks => "eks",
        }
    }
}

/// All ways to all clusters. Cloning shares them.
#[derive(Clone)]
pub struct Backends {
    tunnels: Registry,
    direct: Arc<ArcSwap<HashMap<String, Direct>>>,
}

#[derive(Clone)]
struct Direct {
    kind: Kind,
    upstream: Upstream,
    /// Whether its API server answered when it was last asked.
    answers: Arc<AtomicBool>,
}

/// The way that one request takes.
pub(crate) enum Way {
    Agent(Connection),
    Direct(Upstream),
    /// No direct backend, and no agent connected.
    None,
}

impl Backends {
    /// Agents' clusters are found among `tunnels`; direct ones are added with [`Backends::set_direct`].
    #[must_use]
    pub fn new(tunnels: Registry) -> Self {
        Self { tunnels, direct: Arc::default() }
    }

    /// Reaches `cluster` directly from now on. Requests under way end as they began.
    pub fn set_direct(&self, cluster: &str, kind: Kind, upstream: Upstream) {
        let direct = Direct { kind, upstream, answers: Arc::default() };
        self.direct.rcu(|known| {
            let mut known = HashMap::clone(known);
            known.insert(cluster.to_owned(), direct.clone());
            known
        });
    }

    /// Forgets the direct way to `cluster`, if there is one.
    pub fn remove(&self, cluster: &str) {
        self.direct.rcu(|known| {
            let mut known = HashMap::clone(known);
            known.remove(cluster);
            known
        });
    }

    /// How `cluster` can be reached now.
    #[must_use]
    pub fn kind(&self, cluster: &str) -> Option<Kind> {
        let direct = self.direct.load().get(cluster).map(|direct| direct.kind);
        direct.or_else(|| self.tunnels.is_connected(cluster).then_some(Kind::Agent))
    }

    /// Whether `cluster` can be reached: its agent is connected, or its API server answered
    /// when it was last looked at ([`Backends::note`]).
    #[must_use]
    pub fn is_connected(&self, cluster: &str) -> bool {
        match self.direct.load().get(cluster) {
            Some(direct) => direct.answers.load(Ordering::Relaxed),
            None => self.tunnels.is_connected(cluster),
        }
    }

    /// Notes whether the API server of a direct cluster answered when it was last looked at.
    pub fn note(&self, cluster: &str, answers: bool) {
        if let Some(direct) = self.direct.load().get(cluster) {
            direct.answers.store(answers, Ordering::Relaxed);
        }
    }

    /// The way to a direct cluster, to look at it with the hub's own credentials.
    #[must_use]
    pub fn direct(&self, cluster: &str) -> Option<Upstream> {
        self.direct.load().get(cluster).map(|direct| direct.upstream.clone())
    }

    pub(crate) fn way(&self, cluster: &str, lane: Lane) -> Way {
        if let Some(direct) = self.direct.load().get(cluster) {
            return Way::Direct(direct.upstream.clone());
        }
        self.tunnels.pick(cluster, lane).map_or(Way::None, Way::Agent)
    }
}
