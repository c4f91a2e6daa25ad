//! The hub's own metrics, on their own listener, in Prometheus text form.
//!
//! Must not know: what the other crates count; they register themselves.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use http::StatusCode;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

/// Label of a response counter.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ClassLabel {
    class: &'static str,
}

/// Counters of the people's API, and the registry that holds everyone's metrics.
pub struct HubMetrics {
    registry: Arc<Registry>,
    api: [Counter<u64, AtomicU64>; 3],
}

impl HubMetrics {
    /// Registers the hub's metrics beside those that others have put into `registry`.
    #[must_use]
    pub fn new(mut registry: Registry) -> Self {
        let family = Family::<ClassLabel, Counter<u64, AtomicU64>>::default();
        registry.register("flotilla_api_responses", "Answers of the people's API by class of status", family.clone());
        let api = ["success", "client_error", "server_error"]
            .map(|class| family.get_or_create(&ClassLabel { class }).clone());
        Self { registry: Arc::new(registry), api }
    }

    /// Counts one answer of the people's API.
    pub fn api_request(&self, status: StatusCode) {
        let class = if status.is_server_error() { 2 } else { usize::from(status.is_client_error()) };
        self.api[class].inc();
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
