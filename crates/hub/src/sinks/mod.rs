//! Audit rows for other systems: webhooks and syslog.
//!
//! ```text
//! database ── rows behind the sink's position ──> one batch ──> receiver ──> position moves on
//!                 ^                                   └ failed: the same batch again, later and later
//! ```
//!
//! The log in the database is the queue: durable, bounded by retention alone (which waits for every sink), in order.
//! Each row is delivered at least once; after a crash the last batch may come again. One hub at a time serves a sink.
//!
//! Must not know: how rows are stored.

mod syslog;
mod webhook;

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use backon::BackoffBuilder;
use flotilla_types::audit::AuditRow;
use futures_util::future::join_all;

use crate::config::Sink as SinkConfig;
use crate::hub::Hub;

/// Most rows of one batch.
const BATCH: u32 = 500;
/// Pause before new rows are looked for again.
const IDLE: Duration = Duration::from_secs(1);
/// Longest time for one batch.
const DEADLINE: Duration = Duration::from_secs(30);
/// How long a hub may be silent before another one serves its sinks; longer than a batch may take.
const LEASE: Duration = Duration::from_secs(60);
/// First and longest pause after a failure.
const RETRY: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(60));

/// Where rows go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// `http://` or `https://`.
    Webhook(String),
    /// Syslog in datagrams, RFC 5426: host and port.
    Udp(String),
    /// Syslog over TCP, RFC 6587: host and port.
    Tcp(String),
    /// Syslog over TLS, RFC 5425: host and port.
    Tls(String),
    /// Syslog of this machine.
    Unix(String),
}

impl Destination {
    /// Reads the address of a sink.
    ///
    /// # Errors
    /// Names the sink and what would be right.
    pub fn parse(sink: &SinkConfig) -> Result<Self> {
        let (scheme, rest) = sink.url.split_once("://").unwrap_or_default();
        let address = || {
            let valid =
                rest.rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok());
            if valid { Ok(rest.to_owned()) } else { bail!("audit.sinks: {:?} needs a host and a port", sink.name) }
        };
        Ok(match scheme {
            "http" | "https" if sink.secret.is_none() => {
                bail!(
                    "audit.sinks: {:?} is a webhook without secret; give one, so that its receiver can tell",
                    sink.name
                )
            }
            "http" | "https" => Self::Webhook(sink.url.clone()),
            "udp" => Self::Udp(address()?),
            "tcp" => Self::Tcp(address()?),
            "tls" => Self::Tls(address()?),
            "unix" if !rest.is_empty() => Self::Unix(rest.to_owned()),
            _ => bail!(
                "audit.sinks: {:?} has the url {:?}; use https://host/path, udp://host:514, tcp://host:601, \
                 tls://host:6514 or unix:///dev/log",
                sink.name,
                sink.url
            ),
        })
    }
}

/// A way to a receiver, kept from batch to batch.
enum Way {
    Webhook(Box<webhook::Webhook>),
    Syslog(syslog::Syslog),
}

impl Way {
    fn new(sink: &SinkConfig) -> Result<Self> {
        Ok(match Destination::parse(sink)? {
            Destination::Webhook(url) => Self::Webhook(Box::new(webhook::Webhook::new(url, sink)?)),
            other => Self::Syslog(syslog::Syslog::new(other, sink)?),
        })
    }

    async fn deliver(&mut self, rows: &[AuditRow]) -> Result<()> {
        match self {
            Self::Webhook(webhook) => webhook.deliver(rows).await,
            Self::Syslog(syslog) => syslog.deliver(rows).await,
        }
    }
}

/// Serves all sinks until the hub stops.
pub async fn run(hub: Arc<Hub>) {
    let sinks = hub.config.audit.sinks.iter().map(|sink| serve(&hub, sink));
    join_all(sinks).await;
}

async fn serve(hub: &Hub, sink: &SinkConfig) {
    let mut way = match Way::new(sink) {
        Ok(way) => way,
        Err(error) => return tracing::error!(sink = sink.name, error = format!("{error:#}"), "sink cannot be used"),
    };
    let retry = backon::ExponentialBuilder::default()
        .with_min_delay(RETRY.0)
        .with_max_delay(RETRY.1)
        .with_jitter()
        .without_max_times();
    let mut pauses = retry.build();
    loop {
        let pause = match round(hub, sink, &mut way).await {
            Ok(more) => {
                pauses = retry.build();
                if more { Duration::ZERO } else { IDLE }
            }
            Err(error) => {
                hub.metrics.sink_failed(&sink.name);
                let pause = pauses.next().unwrap_or(RETRY.1);
                tracing::warn!(
                    sink = sink.name,
                    error = format!("{error:#}"),
                    ?pause,
                    "audit rows could not be delivered"
                );
                pause
            }
        };
        tokio::select! {
            () = hub.shutdown.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// Delivers one batch. Whether there may be more.
async fn round(hub: &Hub, sink: &SinkConfig, way: &mut Way) -> Result<bool> {
    if !hub.store.audit_lease(&format!("sink:{}", sink.name), hub.audit.run(), LEASE).await? {
        return Ok(false);
    }
    let delivered = hub.store.audit_sink(&sink.name).await?;
    let rows = hub.store.audit_rows_after(delivered, BATCH).await?;
    hub.metrics.sink_lag(&sink.name, hub.store.audit_end().await? - delivered);
    let Some(last) = rows.last().map(|row| row.seq) else { return Ok(false) };
    tokio::time::timeout(DEADLINE, way.deliver(&rows)).await.context("the receiver took too long")??;
    hub.store.audit_sink_delivered(&sink.name, last).await?;
    hub.metrics.sink_lag(&sink.name, hub.store.audit_end().await? - last);
    Ok(rows.len() == BATCH as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sink(url: &str) -> SinkConfig {
        let secret = serde_json::from_str("\"hush\"").unwrap();
        SinkConfig { name: "s".to_owned(), url: url.to_owned(), secret, ca_file: None }
    }

    #[test]
    fn addresses() {
        let of = |url: &str| Destination::parse(&sink(url)).ok();
        assert_eq!(of("https://h/x"), Some(Destination::Webhook("https://h/x".into())));
        assert_eq!(of("udp://h:514"), Some(Destination::Udp("h:514".into())));
        assert_eq!(of("tcp://[::1]:601"), Some(Destination::Tcp("[::1]:601".into())));
        assert_eq!(of("unix:///dev/log"), Some(Destination::Unix("/dev/log".into())));
        for wrong in ["", "h:514", "udp://h", "tcp://:5", "ftp://h:1", "unix://"] {
            assert_eq!(of(wrong), None, "{wrong}");
        }
        assert!(Destination::parse(&SinkConfig { secret: None, ..sink("https://h") }).is_err());
    }
}
