//! Looks at every cluster again and again, each by itself: a slow one uses up its own deadline and nobody else's time.
//!
//! Must not know: how a cluster is looked at (`flotilla_cluster::health`), who reads what was found.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use flotilla_cluster::health::{Condition, Look, look};
use flotilla_store::{Cluster, ClusterHealth};
use flotilla_types::cluster::ClusterStatus;
use flotilla_types::id::ClusterId;
use flotilla_types::time::{from_ms, now_ms};
use futures_util::StreamExt;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::hub::Hub;

/// Looks that are under way at a time.
const PARALLEL: usize = 32;
/// How often it is seen which clusters are due.
const TICK: Duration = Duration::from_secs(5);
/// Looks of one round are spread over this.
const SPREAD: Duration = Duration::from_secs(4);
/// A cluster that is not well is looked at this many times as often.
const SOONER: u32 = 4;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Name {
    cluster: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Failure {
    cluster: String,
    class: &'static str,
}

/// What is counted of each cluster.
#[derive(Clone, Default)]
pub struct HealthMetrics {
    up: Family<Name, Gauge>,
    latency: Family<Name, Gauge<f64, AtomicU64>>,
    failures: Family<Failure, Counter>,
}

impl HealthMetrics {
    /// Registers them.
    #[must_use]
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register("flotilla_cluster_up", "1 when the cluster was well at the last look", metrics.up.clone());
        let help = "How long the cluster took to answer the last look, seconds";
        registry.register("flotilla_cluster_latency_seconds", help, metrics.latency.clone());
        let help = "Looks that found something wrong, by class";
        registry.register("flotilla_cluster_check_failures", help, metrics.failures.clone());
        metrics
    }

    fn note(&self, cluster: &str, look: &Look) {
        let name = Name { cluster: cluster.to_owned() };
        self.up.get_or_create(&name).set(i64::from(look.condition == Condition::Healthy));
        self.latency.get_or_create(&name).set(look.latency.as_secs_f64());
        if let Some(class) = look.error {
            let failure = Failure { cluster: cluster.to_owned(), class: class.as_str() };
            self.failures.get_or_create(&failure).inc();
        }
    }

    /// Forgets a cluster that is gone.
    pub fn forget(&self, cluster: &str) {
        let name = Name { cluster: cluster.to_owned() };
        self.up.remove(&name);
        self.latency.remove(&name);
    }
}

/// Looks at all clusters until the hub stops.
pub async fn watch_clusters(hub: Arc<Hub>) {
    let mut last: HashMap<ClusterId, (i64, bool)> = HashMap::new();
    loop {
        match hub.store.list_clusters().await {
            Ok(clusters) => round(&hub, clusters, &mut last).await,
            Err(error) => tracing::warn!(%error, "clusters cannot be listed; looking at them later"),
        }
        tokio::select! {
            () = hub.shutdown.cancelled() => return,
            () = tokio::time::sleep(TICK) => {}
        }
    }
}

/// Looks at those that are due.
async fn round(hub: &Arc<Hub>, clusters: Vec<Cluster>, last: &mut HashMap<ClusterId, (i64, bool)>) {
    let interval = hub.config.cluster_health.interval.as_ms();
    let now = now_ms();
    let due = |cluster: &Cluster| match last.get(&cluster.id) {
        None => true,
        Some((at, true)) => now - at >= interval,
        Some((at, false)) => now - at >= interval / i64::from(SOONER),
    };
    let first = last.is_empty();
    let due: Vec<Cluster> = clusters.into_iter().filter(due).collect();
    let delay = || if first { Duration::ZERO } else { SPREAD.mul_f64(fastrand::f64()) };
    let looks = due.into_iter().map(|cluster| later(Arc::clone(hub), cluster, delay()));
    let found: Vec<ClusterHealth> = futures_util::stream::iter(looks).buffer_unordered(PARALLEL).collect().await;
    last.extend(found.iter().map(|look| (look.cluster, (look.checked_at_ms, look.status == "healthy"))));
    if let Err(error) = hub.store.record_cluster_health(&found).await {
        tracing::warn!(%error, "what was seen of clusters cannot be kept");
    }
}

async fn later(hub: Arc<Hub>, cluster: Cluster, delay: Duration) -> ClusterHealth {
    tokio::time::sleep(delay).await;
    look_at(&hub, &cluster).await
}

/// Looks at one cluster now.
pub async fn look_at(hub: &Hub, cluster: &Cluster) -> ClusterHealth {
    let at = now_ms();
    let found = look(&hub.transport, &cluster.name, hub.config.cluster_health.timeout.0).await;
    hub.backends.note(&cluster.name, !matches!(found.condition, Condition::Unreachable | Condition::Unknown));
    hub.health_metrics.note(&cluster.name, &found);
    ClusterHealth {
        cluster: cluster.id,
        status: found.condition.as_str().to_owned(),
        error_class: found.error.map(|class| class.as_str().to_owned()),
        detail: found.detail,
        server_version: found.server_version.unwrap_or_default(),
        latency_ms: i64::try_from(found.latency.as_millis()).unwrap_or(i64::MAX),
        checked_at_ms: at,
        changed_at_ms: at,
    }
}

/// Looks at one cluster now and keeps what was found.
///
/// # Errors
/// The store does not answer.
pub async fn look_and_keep(hub: &Hub, cluster: &Cluster) -> Result<ClusterHealth, flotilla_store::StoreError> {
    let found = look_at(hub, cluster).await;
    hub.store.record_cluster_health(std::slice::from_ref(&found)).await?;
    Ok(hub.store.cluster_health(cluster.id).await?.unwrap_or(found))
}

/// As people see it; a cluster that was never looked at is `unknown`.
#[must_use]
pub fn status(found: Option<ClusterHealth>) -> ClusterStatus {
    let Some(found) = found else {
        return ClusterStatus {
            status: "unknown".to_owned(),
            connection: "error".to_owned(),
            error: None,
            detail: "nobody has looked at it yet".to_owned(),
            server_version: String::new(),
            latency_ms: 0,
            checked_at: None,
            since: None,
        };
    };
    ClusterStatus {
        connection: if found.error_class.is_none() { "connected" } else { "error" }.to_owned(),
        status: found.status,
        error: found.error_class,
        detail: found.detail,
        server_version: found.server_version,
        latency_ms: found.latency_ms.unsigned_abs(),
        checked_at: Some(from_ms(found.checked_at_ms)),
        since: Some(from_ms(found.changed_at_ms)),
    }
}
