//! Keeps the audit log: signs checkpoints, closes what dead hubs left open, removes what is too old. One hub at a time
//! does it.
//!
//! Must not know: how rows are chained, stored or verified.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::ensure;
use flotilla_store::audit::{Cut, Retention, Signed};
use flotilla_types::audit::{Actor, Checkpoint, Verb, VerifyQuery};
use flotilla_types::id::RequestId;
use flotilla_types::time::now_ms;

use crate::hub::Hub;
use crate::request::RequestContext;
use crate::trail::Entry;

/// How often the keeper looks.
const TICK: Duration = Duration::from_secs(5);
/// How long a keeper may be silent before another hub takes over.
const LEASE: Duration = Duration::from_secs(60);
/// How often open acts of dead hubs are looked for.
const ORPHANS_INTERVAL: Duration = Duration::from_secs(15);
/// How often retention is applied.
const RETENTION_INTERVAL: Duration = Duration::from_secs(10 * 60);
/// Pause between two portions of removed rows, for those who write.
const PRUNE_PAUSE: Duration = Duration::from_millis(50);

/// Runs until the hub stops.
pub async fn run(hub: Arc<Hub>) {
    let mut due = Due::new();
    loop {
        match hub.store.audit_lease("keeper", hub.audit.run(), LEASE).await {
            Ok(true) => due.work(&hub).await,
            Ok(false) => {}
            Err(error) => tracing::warn!(%error, "the audit log cannot be kept at this moment; trying again"),
        }
        tokio::select! {
            () = hub.shutdown.cancelled() => return,
            () = tokio::time::sleep(TICK) => {}
        }
    }
}

/// What is to be done when.
struct Due {
    signed: i64,
    checkpoint: Instant,
    orphans: Instant,
    retention: Instant,
}

impl Due {
    fn new() -> Self {
        let now = Instant::now();
        Self { signed: 0, checkpoint: now, orphans: now + ORPHANS_INTERVAL, retention: now }
    }

    async fn work(&mut self, hub: &Hub) {
        if let Err(error) = self.checkpoint(hub).await {
            tracing::error!(error = format!("{error:#}"), "the audit log could not be signed; trying again");
        }
        let now = Instant::now();
        if now >= self.orphans {
            self.orphans = now + ORPHANS_INTERVAL;
            match hub.audit.close_orphans().await {
                Ok(0) => {}
                Ok(closed) => {
                    tracing::warn!(closed, "acts of a hub that is gone had no outcome and are marked aborted")
                }
                Err(error) => tracing::warn!(%error, "open acts of other hubs could not be closed; trying again"),
            }
        }
        if now >= self.retention {
            self.retention = now + RETENTION_INTERVAL;
            if let Err(error) = retain(hub).await {
                tracing::error!(error = format!("{error:#}"), "audit retention removed nothing; trying again later");
            }
        }
    }

    async fn checkpoint(&mut self, hub: &Hub) -> anyhow::Result<()> {
        let config = &hub.config.audit;
        let rows = hub.store.audit_end().await?.saturating_sub(self.signed).unsigned_abs();
        if rows < config.checkpoint_rows && Instant::now() < self.checkpoint {
            return Ok(());
        }
        self.checkpoint = Instant::now() + config.checkpoint_interval.0;
        if let Some(seq) = hub.store.audit_checkpoint(&|checkpoint| sign(hub, checkpoint)).await? {
            self.signed = seq;
        }
        Ok(())
    }
}

/// Signs with the hub's present key.
pub fn sign(hub: &Hub, checkpoint: &Checkpoint) -> Option<Signed> {
    let signed = hub.keys.sign_checkpoint(checkpoint);
    signed.inspect_err(|error| tracing::error!(%error, "a checkpoint could not be signed")).ok()
}

/// Removes the rows that are too old or too many.
///
/// # Errors
/// The store does not answer, or the rows to be removed are not what was written: they are evidence then.
pub async fn retain(hub: &Hub) -> anyhow::Result<()> {
    prune(hub).await?;
    let config = &hub.config.audit.retention;
    let before_ms = config.max_age.map(|age| now_ms() - age.as_ms());
    let retention = Retention {
        before_ms,
        max_rows: config.max_rows,
        max_bytes: config.max_mib.map(|mib| mib.saturating_mul(1 << 20)),
    };
    let mut delivered = None;
    for sink in &hub.config.audit.sinks {
        let seq = hub.store.audit_sink(&sink.name).await?;
        delivered = Some(delivered.map_or(seq, |least: i64| least.min(seq)));
    }
    let Some(cut) = hub.store.audit_cut(retention, delivered).await? else { return Ok(()) };
    sound_up_to(hub, cut.seq).await?;
    remove(hub, &cut).await
}

async fn sound_up_to(hub: &Hub, seq: i64) -> anyhow::Result<()> {
    let mut query = VerifyQuery { from: None, to: Some(seq) };
    loop {
        let found = hub.store.verify_audit(&query).await?;
        let what = "the rows to be removed were tampered with and are kept; see: flotilla audit verify";
        ensure!(found.is_sound(), "{what}");
        match found.next {
            Some(next) => query.from = Some(next),
            None => return Ok(()),
        }
    }
}

async fn remove(hub: &Hub, cut: &Cut) -> anyhow::Result<()> {
    let context = RequestContext::new(RequestId::new(), IpAddr::V4(Ipv4Addr::LOCALHOST));
    let entry = Entry {
        verb: Verb::AuditRetention,
        command: format!("remove audit rows up to position {}", cut.seq),
        route: "worker",
        ..Entry::default()
    };
    let act = async {
        hub.store.audit_retain(cut, &|checkpoint| sign(hub, checkpoint)).await?;
        prune(hub).await
    };
    hub.trail.act_as(&context, itself(), entry, act).await.map_err(|error| anyhow::anyhow!(error.detail))
}

async fn prune(hub: &Hub) -> anyhow::Result<()> {
    while hub.store.audit_prune().await? > 0 {
        tokio::time::sleep(PRUNE_PAUSE).await;
    }
    Ok(())
}

/// The hub as an actor.
#[must_use]
pub fn itself() -> Actor {
    Actor { email: "hub".to_owned(), ..Actor::default() }
}
