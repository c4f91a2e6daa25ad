//! The hub's own metrics, on their own listener, in Prometheus text form.
//!
//! Must not know: what the other crates count; they register themselves.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use http::StatusCode;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// Label of a response counter.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ClassLabel {
    class: &'static str,
}

/// Label of a sink's metrics.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct SinkLabel {
    sink: String,
}

/// Counters of the people's API, and the registry that holds everyone's metrics.
pub struct HubMetrics {
    registry: Arc<Registry>,
    api: [Counter<u64, AtomicU64>; 3],
    sink_lag: Family<SinkLabel, Gauge>,
    sink_failures: Family<SinkLabel, Counter>,
}

impl HubMetrics {
    /// Registers the hub's metrics beside those that others have put into `registry`.
    #[must_use]
    pub fn new(mut registry: Registry) -> Self {
        let family = Family::<ClassLabel, Counter<u64, AtomicU64>>::default();
        registry.register("flotilla_api_responses", "Answers of the people's API by class of status", family.clone());
        let api = ["success", "client_error", "server_error"]
            .map(|class| family.get_or_create(&ClassLabel { class }).clone());
        let (sink_lag, sink_failures) = (Family::default(), Family::default());
        registry.register("flotilla_audit_sink_lag", "Audit rows that a sink does not have yet", sink_lag.clone());
        registry.register("flotilla_audit_sink_failures", "Deliveries that failed", sink_failures.clone());
        Self { registry: Arc::new(registry), api, sink_lag, sink_failures }
    }

    /// Counts one answer of the people's API.
    pub fn api_request(&self, status: StatusCode) {
        let class = if status.is_server_error() { 2 } else { usize::from(status.is_client_error()) };
        self.api[class].inc();
    }

    /// Notes how many rows a sink does not have yet.
    pub fn sink_lag(&self, sink: &str, rows: i64) {
        self.sink_lag.get_or_create(&SinkLabel { sink: sink.to_owned() }).set(rows);
    }

    /// Counts a delivery that failed.
    pub fn sink_failed(&self, sink: &str) {
        self.sink_failures.get_or_create(&SinkLabel { sink: sink.to_owned() }).inc();
    }

    /// All metrics as OpenMetrics text.
    #[must_use]
    pub fn encode(&self) -> String {
        let mut text = String::new();
        if let Err(error) = prometheus_client::encoding::text::encode(&mut text, &self.registry) {
            tracing::error!(%error, "metrics cannot be written");
        }
        text
    }
}
