//! Counters of the hub's end of all tunnels.
//!
//! Names are relative: register into a registry (or sub-registry) that carries the program's prefix. The series of a
//! family are looked up once, here, so that counting on the request path is an atomic addition.
//!
//! Must not know: how metrics are served.

use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

type Label = [(&'static str, &'static str); 1];
type Counters = Family<Label, Counter>;

/// Handles on the tunnel's series. Cheap to clone.
#[derive(Clone, Debug)]
pub struct TunnelMetrics {
    connections: Gauge,
    connects: Counter,
    streams: Gauge,
    requests: Counter,
    received: Counter,
    sent: Counter,
    ping_rtt: Histogram,
    ping_timeouts: Counter,
    cut: Counter,
    saturated: Counter,
    taken: Counter,
    refused: Counter,
}

impl TunnelMetrics {
    /// Registers the series under `tunnel_`.
    pub fn register(registry: &mut Registry) -> Self {
        let registry = registry.sub_registry_with_prefix("tunnel");
        let bytes = Counters::default();
        let refusals = Counters::default();
        let metrics = Self::over(&bytes, &refusals);
        registry.register("connections", "Agent connections that are open", metrics.connections.clone());
        registry.register("connects", "Agent connections made, reconnections included", metrics.connects.clone());
        registry.register("streams_in_flight", "Requests and upgraded streams under way", metrics.streams.clone());
        registry.register("requests", "Requests sent to agents", metrics.requests.clone());
        registry.register_with_unit("transferred", "Bytes below HTTP/2, by direction", Unit::Bytes, bytes);
        registry.register_with_unit(
            "ping_rtt",
            "Round trip of a request that the agent answers itself",
            Unit::Seconds,
            metrics.ping_rtt.clone(),
        );
        registry.register("ping_timeouts", "Agents that stopped answering", metrics.ping_timeouts.clone());
        registry.register("cuts", "Connections cut on purpose, as on revocation", metrics.cut.clone());
        registry.register("refused", "Requests and connections refused, by reason", refusals);
        metrics
    }

    /// Handles that nothing reads, for tests and for an end that serves no metrics.
    pub fn unregistered() -> Self {
        Self::over(&Counters::default(), &Counters::default())
    }

    fn over(bytes: &Counters, refusals: &Counters) -> Self {
        let direction = |value| bytes.get_or_create(&[("direction", value)]).clone();
        let reason = |value| refusals.get_or_create(&[("reason", value)]).clone();
        Self {
            connections: Gauge::default(),
            connects: Counter::default(),
            streams: Gauge::default(),
            requests: Counter::default(),
            received: direction("received"),
            sent: direction("sent"),
            ping_rtt: Histogram::new(exponential_buckets(0.000_25, 4.0, 10)),
            ping_timeouts: Counter::default(),
            cut: Counter::default(),
            saturated: reason("saturated"),
            taken: reason("name_taken"),
            refused: reason("refused"),
        }
    }

    pub(crate) fn connected(&self) {
        self.connects.inc();
        self.connections.inc();
    }

    pub(crate) fn disconnected(&self) {
        self.connections.dec();
    }

    pub(crate) fn stream_opened(&self) {
        self.requests.inc();
        self.streams.inc();
    }

    pub(crate) fn stream_closed(&self) {
        self.streams.dec();
    }

    pub(crate) fn received(&self, bytes: u64) {
        self.received.inc_by(bytes);
    }

    pub(crate) fn sent(&self, bytes: u64) {
        self.sent.inc_by(bytes);
    }

    pub(crate) fn pinged(&self, rtt: Duration) {
        self.ping_rtt.observe(rtt.as_secs_f64());
    }

    pub(crate) fn ping_timed_out(&self) {
        self.ping_timeouts.inc();
    }

    pub(crate) fn cut(&self) {
        self.cut.inc();
    }

    pub(crate) fn saturated(&self) {
        self.saturated.inc();
    }

    pub(crate) fn name_taken(&self) {
        self.taken.inc();
    }

    pub(crate) fn refused(&self) {
        self.refused.inc();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_are_named_and_counted() {
        let mut registry = Registry::with_prefix("flotilla");
        let metrics = TunnelMetrics::register(&mut registry);
        metrics.connected();
        metrics.received(7);
        metrics.saturated();
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        assert!(text.contains("flotilla_tunnel_connections 1\n"), "{text}");
        assert!(text.contains("flotilla_tunnel_transferred_bytes_total{direction=\"received\"} 7\n"), "{text}");
        assert!(text.contains("flotilla_tunnel_refused_total{reason=\"saturated\"} 1\n"), "{text}");
    }
}
