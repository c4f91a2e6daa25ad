//! What is counted on the way to clusters. Reads are only counted, so counting must cost next to nothing: the
//! counters of a cluster are looked up once and then kept.
//!
//! Must not know: what a request means.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::RwLock;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// Verbs with a counter of their own; all others share the last.
const VERBS: [&str; 9] = ["get", "list", "watch", "create", "update", "patch", "delete", "deletecollection", "other"];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    cluster: String,
    verb: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ClusterLabels {
    cluster: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ErrorLabels {
    cluster: String,
    class: &'static str,
}

/// Counters of gate and transport. Cloning shares them.
#[derive(Clone, Default)]
pub struct ClusterMetrics(Arc<Inner>);

#[derive(Default)]
struct Inner {
    requests: Family<RequestLabels, Counter>,
    denied: Family<ClusterLabels, Counter>,
    errors: Family<ErrorLabels, Counter>,
    streams: Gauge,
    by_cluster: RwLock<HashMap<Arc<str>, Arc<OfCluster>>>,
}

/// The counters of one cluster.
struct OfCluster {
    verbs: [Counter; VERBS.len()],
    denied: Counter,
}

impl ClusterMetrics {
    /// Counters that `registry` shows.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let inner = &metrics.0;
        registry.register("flotilla_cluster_requests", "Requests that the policy let through", inner.requests.clone());
        registry.register("flotilla_cluster_denied", "Requests that the policy refused", inner.denied.clone());
        registry.register(
            "flotilla_cluster_errors",
            "Requests that got no answer from their cluster",
            inner.errors.clone(),
        );
        registry.register(
            "flotilla_cluster_open_streams",
            "Answers and upgraded connections that are still open",
            inner.streams.clone(),
        );
        metrics
    }

    pub(crate) fn allowed(&self, cluster: &Arc<str>, verb: &str) {
        let index = VERBS.iter().position(|known| *known == verb).unwrap_or(VERBS.len() - 1);
        if let Some(counter) = self.of(cluster).verbs.get(index) {
            counter.inc();
        }
    }

    pub(crate) fn denied(&self, cluster: &Arc<str>) {
        self.of(cluster).denied.inc();
    }

    pub(crate) fn error(&self, cluster: &str, class: &'static str) {
        self.0.errors.get_or_create(&ErrorLabels { cluster: cluster.to_owned(), class }).inc();
    }

    pub(crate) fn streams(&self) -> &Gauge {
        &self.0.streams
    }

    fn of(&self, cluster: &Arc<str>) -> Arc<OfCluster> {
        if let Some(known) = self.0.by_cluster.read().get(cluster) {
            return known.clone();
        }
        let made = Arc::new(self.0.counters(cluster));
        self.0.by_cluster.write().entry(cluster.clone()).or_insert(made).clone()
    }
}

impl Inner {
    fn counters(&self, cluster: &str) -> OfCluster {
        let verb = |verb| self.requests.get_or_create_owned(&RequestLabels { cluster: cluster.to_owned(), verb });
        OfCluster {
            verbs: VERBS.map(verb),
            denied: self.denied.get_or_create_owned(&ClusterLabels { cluster: cluster.to_owned() }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_cluster_and_verb_has_its_counter() {
        let mut registry = Registry::default();
        let metrics = ClusterMetrics::register(&mut registry);
        let dev: Arc<str> = "dev".into();
        metrics.allowed(&dev, "get");
        metrics.allowed(&Arc::from("dev"), "get");
        metrics.allowed(&dev, "head");
        metrics.denied(&dev);
        metrics.error("dev", "timeout");
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        for line in [
            r#"flotilla_cluster_requests_total{cluster="dev",verb="get"} 2"#,
            r#"flotilla_cluster_requests_total{cluster="dev",verb="other"} 1"#,
            r#"flotilla_cluster_denied_total{cluster="dev"} 1"#,
            r#"flotilla_cluster_errors_total{cluster="dev",class="timeout"} 1"#,
        ] {
            assert!(text.contains(line), "{line} not in\n{text}");
        }
    }
}
