//! Puts the parts together and takes them down again.
//!
//! Must not know: how any part works.

use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use flotilla_settings::Source;
use flotilla_tunnel::dial::{self, DialConfig, DialState};
use flotilla_upstream::{Externals, Upstream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::certificate::Certificates;
use crate::config::{Config, Kubernetes};
use crate::gateway::Gateway;
use crate::health::{self, Readiness};
use crate::heartbeat;
use crate::hub::{Hub, Session, one_line};
use crate::metrics::Metrics;
use crate::state::{State, Stored};
use crate::verify::Verifier;

/// Runs the agent until a signal stops it.
///
/// # Errors
/// Something that only a person can mend: settings, files, ports, or no way to enrol.
pub(crate) async fn run(config: Config, settings: Source) -> anyhow::Result<()> {
    let shutdown = stop_on_signal()?;
    let upstream = upstream(&config.kubernetes)?;
    let hub = Hub::new(&config)?;
    if config.tls.insecure && config.central.is_behind_proxy() {
        tracing::warn!("tls.insecure is set: the proxy is not verified; the hub behind it is, by the enrolment");
    } else if config.tls.insecure {
        tracing::warn!(
            "tls.insecure is set: the hub is NOT verified, and whoever answers at {} rules this cluster",
            config.central.url
        );
    }
    let interval = Duration::from_secs(config.heartbeat.interval_seconds);
    let tunnel = DialState::new();
    let readiness = Readiness::new(tunnel.clone(), interval, shutdown.clone());
    let metrics = Metrics::new();
    health::listen(config.health.listen, readiness.clone(), metrics.clone()).await?;

    let state = State::open(&config, &upstream)?;
    let certificates = Certificates::new(hub.clone(), state, config.cluster.name.clone(), settings, readiness.clone());
    let first = tokio::select! {
        first = certificates.first() => first?,
        () = shutdown.cancelled() => return Ok(()),
    };
    metrics.set_certificate_end(first.ends_ms());
    let (sender, receiver) = watch::channel(hub.dial_config(&first)?);
    let session = Session::new(receiver.clone());
    let verifier = Verifier::new(&config.cluster.name, session.clone());
    let gateway = Gateway::new(upstream.clone(), verifier, metrics.clone(), readiness.clone());
    let beats = tokio::spawn(heartbeat::beat(upstream, session, readiness, interval));
    let renewals = tokio::spawn(renew(certificates, first, hub, sender, metrics));

    tracing::info!(cluster = config.cluster.name, hub = config.central.url, "serving");
    dial::run(receiver, gateway, tunnel, shutdown).await;
    renewals.abort();
    beats.abort();
    tracing::info!("stopped");
    Ok(())
}

/// Keeps the dialler in good certificates.
async fn renew(certificates: Certificates, first: Stored, hub: Hub, dial: watch::Sender<DialConfig>, metrics: Metrics) {
    let mut current = first;
    loop {
        current = certificates.following(current).await;
        metrics.set_certificate_end(current.ends_ms());
        match hub.dial_config(&current) {
            Ok(config) => drop(dial.send_replace(config)),
            Err(error) => tracing::error!(error = one_line(error), "the new certificate cannot be used"),
        }
    }
}

fn upstream(settings: &Kubernetes) -> anyhow::Result<Upstream> {
    let Some(path) = &settings.kubeconfig else {
        return Upstream::in_cluster()
            .context("name a kubeconfig as `kubernetes.kubeconfig`, or run the agent in the cluster that it serves");
    };
    let yaml = std::fs::read_to_string(path)
        .with_context(|| format!("cannot read `kubernetes.kubeconfig` {}", path.display()))?;
    let base_dir = path.parent().unwrap_or(Path::new(".")).to_owned();
    Upstream::from_kubeconfig(&yaml, settings.context.as_deref(), &Externals::Allowed { base_dir })
        .with_context(|| format!("`kubernetes.kubeconfig` {}", path.display()))
}

/// A token that SIGTERM and SIGINT cancel. A second signal ends the process at once.
fn stop_on_signal() -> anyhow::Result<CancellationToken> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot watch for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot watch for SIGINT")?;
    let token = CancellationToken::new();
    let stop = token.clone();
    tokio::spawn(async move {
        for first in [true, false] {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            if !first {
                std::process::exit(130);
            }
            tracing::info!("stopping; requests under way have 25 s");
            stop.cancel();
        }
    });
    Ok(token)
}
