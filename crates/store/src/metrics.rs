//! What the store counts.
//!
//! Must not know: how metrics are served.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

/// Metrics of the audit writer. Clones share their values.
#[derive(Clone, Debug)]
pub struct StoreMetrics {
    pub(crate) queue_depth: Gauge,
    pub(crate) open_acts: Gauge,
    pub(crate) unsettled: Gauge,
    pub(crate) rows: Counter,
    pub(crate) commits: Counter,
    pub(crate) failures: Counter,
    pub(crate) lines_dropped: Counter,
    pub(crate) commit_seconds: Histogram,
}

impl StoreMetrics {
    /// Metrics that nobody serves.
    #[must_use]
    pub fn unregistered() -> Self {
        Self {
            queue_depth: Gauge::default(),
            open_acts: Gauge::default(),
            unsettled: Gauge::default(),
            rows: Counter::default(),
            commits: Counter::default(),
            failures: Counter::default(),
            lines_dropped: Counter::default(),
            // 100 us to 3.3 s.
            commit_seconds: Histogram::new(exponential_buckets(0.0001, 2.0, 16)),
        }
    }

    /// Metrics under `audit_*` in `registry`.
    #[must_use]
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::unregistered();
        let audit = registry.sub_registry_with_prefix("audit");
        audit.register("queue_depth", "Rows that wait to be written", metrics.queue_depth.clone());
        audit.register("open_acts", "Attempted rows whose outcome is not yet known", metrics.open_acts.clone());
        audit.register(
            "unsettled",
            "Outcome rows that failed to commit and are tried again",
            metrics.unsettled.clone(),
        );
        audit.register("rows", "Rows written", metrics.rows.clone());
        audit.register("commits", "Transactions that wrote rows", metrics.commits.clone());
        audit.register("commit_failures", "Transactions that failed", metrics.failures.clone());
        audit.register(
            "lines_dropped",
            "Rows not printed because standard output was stuck",
            metrics.lines_dropped.clone(),
        );
        audit.register_with_unit("commit", "Time of one transaction", Unit::Seconds, metrics.commit_seconds.clone());
        metrics
    }

    /// Audit rows written since the start.
    #[must_use]
    pub fn rows_written(&self) -> u64 {
        self.rows.get()
    }

    /// Transactions in which they were written.
    #[must_use]
    pub fn commits(&self) -> u64 {
        self.commits.get()
    }
}

impl Default for StoreMetrics {
    fn default() -> Self {
        Self::unregistered()
    }
}
