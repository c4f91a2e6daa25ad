//! What the agent counts.
//!
//! Must not know: how metrics are served.

use std::sync::Arc;

use flotilla_tunnel::dial::DialState;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

type Outcome = [(&'static str, &'static str); 1];

/// Handles on the agent's series. Clones count into the same ones.
#[derive(Clone)]
pub(crate) struct Metrics {
    registry: Arc<Registry>,
    requests: Family<Outcome, Counter>,
    sessions: Gauge,
    connections: Gauge,
    connects: Gauge,
    certificate_ends: Gauge,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let mut registry = Registry::with_prefix("flotilla_agent");
        let (requests, sessions) = (Family::<Outcome, Counter>::default(), Gauge::default());
        let (connections, connects, certificate_ends) = (Gauge::default(), Gauge::default(), Gauge::default());
        registry.register("requests", "Requests from the hub, by outcome", requests.clone());
        registry.register("sessions", "Upgraded streams that are open (exec, attach, port-forward)", sessions.clone());
        registry.register("tunnel_connections", "Connections that the hub has accepted", connections.clone());
        registry.register("tunnel_connects", "Connections made since the start", connects.clone());
        registry.register(
            "certificate_end_timestamp_seconds",
            "When the agent's certificate ends",
            certificate_ends.clone(),
        );
        Self { registry: Arc::new(registry), requests, sessions, connections, connects, certificate_ends }
    }

    /// One request, by what became of it.
    pub(crate) fn count(&self, outcome: &'static str) {
        self.requests.get_or_create(&[("outcome", outcome)]).inc();
    }

    /// An upgraded stream, counted until the guard is dropped.
    pub(crate) fn session(&self) -> Session {
        self.sessions.inc();
        Session(self.sessions.clone())
    }

    pub(crate) fn set_certificate_end(&self, ms: i64) {
        self.certificate_ends.set(ms / 1000);
    }

    /// Everything in the text format of Prometheus.
    pub(crate) fn render(&self, tunnel: &DialState) -> String {
        let snapshot = tunnel.snapshot();
        self.connections.set(i64::try_from(snapshot.connected).unwrap_or(i64::MAX));
        self.connects.set(i64::try_from(snapshot.connects).unwrap_or(i64::MAX));
        let mut text = String::new();
        // Writing to a String does not fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}

/// An open upgraded stream.
pub(crate) struct Session(Gauge);

impl Drop for Session {
    fn drop(&mut self) {
        self.0.dec();
    }
}
