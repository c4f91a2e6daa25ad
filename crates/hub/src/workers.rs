//! What the hub does by itself: watches the roles file, rotates signing keys, renews its own certificate,
//! notes which clusters are reached.
//!
//! Must not know: requests.

use std::collections::hash_map;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use flotilla_identity::authn::AuthnError;
use flotilla_store::audit::AuditError;
use flotilla_types::audit::{Outcome, Verb};
use flotilla_types::id::{AgentId, RequestId};
use flotilla_types::time::now_ms;
use tokio::signal::unix::{SignalKind, signal};

use crate::hub::Hub;
use crate::request::RequestContext;
use crate::trail::Entry;
use crate::{bootstrap, keeper};

/// How long an API key that has expired stays in its owner's list.
const EXPIRED_KEY_KEPT_MS: i64 = 30 * 86_400_000;

/// How often the roles file is looked at.
const ROLES_FILE_INTERVAL: Duration = Duration::from_secs(1);

/// Reads the roles file again when it changes, or on SIGHUP.
pub async fn watch_roles_file(hub: Arc<Hub>) {
    let Ok(mut hangup) = signal(SignalKind::hangup()) else {
        return tracing::error!("SIGHUP cannot be listened for");
    };
    let mut seen = hub.roles.file_changed_at();
    loop {
        let asked = tokio::select! {
            () = hub.shutdown.cancelled() => return,
            _ = hangup.recv() => true,
            () = tokio::time::sleep(ROLES_FILE_INTERVAL) => false,
        };
        let now = hub.roles.file_changed_at();
        if !asked && now == seen {
            continue;
        }
        seen = now;
        let read = hub.roles.reload_file().map_err(|error| format!("{error:#}"));
        match &read {
            Ok(()) => {
                hub.authenticator.forget_all();
                tracing::info!("roles file read again");
            }
            Err(error) => tracing::error!(error, "the roles file cannot be used; the roles stay as they were"),
        }
        if let Err(error) = note_reload(&hub, read.err().as_deref()).await {
            tracing::error!(%error, "that the roles file was read again could not be recorded");
        }
    }
}

/// Whoever can write the file decides what everybody may; when it was taken up belongs into the audit log.
async fn note_reload(hub: &Hub, failed: Option<&str>) -> Result<(), AuditError> {
    let context = RequestContext::new(RequestId::new(), std::net::Ipv4Addr::LOCALHOST.into());
    let command = "read the roles file again".to_owned();
    let entry = Entry { verb: Verb::PolicyReload, command, route: "worker", ..Entry::default() };
    let (outcome, status) = if failed.is_some() { (Outcome::Failed, 422) } else { (Outcome::Succeeded, 200) };
    hub.trail.record(&context, keeper::itself(), entry, outcome, status, failed.unwrap_or_default()).await
}

/// Writes how many calls were denied without a row of their own, soon after the minute in which they were.
pub async fn settle_denials(hub: Arc<Hub>) {
    const INTERVAL: Duration = Duration::from_secs(10);
    loop {
        tokio::select! {
            () = hub.shutdown.cancelled() => return,
            () = tokio::time::sleep(INTERVAL) => {}
        }
        if let Err(error) = hub.gate.settle_denied(false).await {
            tracing::warn!(%error, "the count of denied calls could not be recorded");
        }
    }
}

/// Looks at each open stream again when sessions, accounts or roles change, and cuts those that may be open no longer.
/// Now and then it looks unasked, for what changed on another hub.
pub async fn enforce_rights(hub: Arc<Hub>) {
    const INTERVAL: Duration = Duration::from_secs(10);
    let mut changes = hub.authenticator.changes();
    loop {
        tokio::select! {
            () = hub.shutdown.cancelled() => return,
            changed = changes.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(INTERVAL) => {}
        }
        cut_withdrawn(&hub).await;
    }
}

async fn cut_withdrawn(hub: &Hub) {
    let mut callers = HashMap::new();
    for stream in hub.transport.live().all() {
        let via = stream.principal().via();
        if let hash_map::Entry::Vacant(unknown) = callers.entry(via) {
            match hub.authenticator.resolve(via).await {
                Ok(caller) => unknown.insert(Some(caller)),
                Err(AuthnError::Unavailable(error)) => {
                    // Nobody can be cut for what is not known; new requests are refused meanwhile.
                    tracing::warn!(%error, "open streams could not be checked; trying again");
                    return;
                }
                Err(_) => unknown.insert(None),
            };
        }
        let reason = match callers.get(&via).and_then(Option::as_ref) {
            None => "the session has ended",
            Some(caller) if stream.is_allowed(&hub.policy.load(), caller) => continue,
            Some(_) => "the right to it was withdrawn",
        };
        if stream.cut(reason) {
            tracing::info!(stream = %stream.id(), user = stream.principal().email(), reason, "stream cut");
        }
    }
}

/// Writes down when sessions and keys were used, and forgets tickets that nobody used in time.
pub async fn note_uses(hub: Arc<Hub>) {
    const INTERVAL: Duration = Duration::from_secs(15);
    loop {
        tokio::select! {
            () = hub.shutdown.cancelled() => return,
            () = tokio::time::sleep(INTERVAL) => {}
        }
        if let Err(error) = hub.sessions.write_uses().await {
            tracing::warn!(%error, "uses of sessions and keys could not be written; trying again");
        }
        if let Err(error) = hub.tickets.forget(now_ms()).await {
            tracing::warn!(%error, "old tickets could not be removed; trying again");
        }
    }
}

/// Ends grants whose time has come, and takes up teams and grants that changed on another hub. That a grant gives
/// nothing after its end does not hang on this worker: the policy compares the clock with each call.
pub async fn follow_access(hub: Arc<Hub>) {
    const INTERVAL: Duration = Duration::from_secs(1);
    loop {
        tokio::select! {
            () = hub.shutdown.cancelled() => return,
            () = tokio::time::sleep(INTERVAL) => {}
        }
        if let Err(error) = follow_access_once(&hub).await {
            tracing::warn!(error = format!("{error:#}"), "teams and grants could not be followed; trying again");
        }
    }
}

async fn follow_access_once(hub: &Hub) -> anyhow::Result<()> {
    let now = now_ms();
    let stale = now - hub.config.authorization.patience.request.as_ms();
    for grant in hub.store.sweep_access_requests(now, stale).await? {
        crate::access::ended_by_itself(hub, grant).await?;
    }
    let directory = hub.roles.directory();
    if hub.store.access_revision().await? != directory.revision || !hub.clusters.has_exactly(&directory.clusters) {
        hub.reload_directory().await?;
    }
    Ok(())
}

/// Takes up roles, clusters and keys that changed in the database (another hub, a command), and replaces keys
/// that are too old.
pub async fn follow_store(hub: Arc<Hub>) {
    const INTERVAL: Duration = Duration::from_secs(60);
    loop {
        tokio::select! {
            () = hub.shutdown.cancelled() => return,
            () = tokio::time::sleep(INTERVAL) => {}
        }
        if let Err(error) = refresh(&hub).await {
            tracing::warn!(error = format!("{error:#}"), "the store could not be followed; trying again");
        }
    }
}

async fn refresh(hub: &Hub) -> anyhow::Result<()> {
    rotate_keys(hub).await?;
    hub.roles.set_database(crate::shares::roles(&hub.store).await?)?;
    hub.clusters.reload(&hub.store).await?;
    let clusters = hub.store.list_clusters().await?;
    let reached: Vec<_> = clusters
        .iter()
        .filter(|cluster| hub.backends.is_connected(&cluster.name))
        .map(|cluster| (cluster.id, now_ms()))
        .collect();
    hub.store.touch_clusters(&reached).await?;
    cut_revoked(hub).await?;
    forget(hub).await
}

/// Takes up the keys of the store, and leaves a trace when they are others than before.
async fn rotate_keys(hub: &Hub) -> anyhow::Result<()> {
    let before = hub.keys.jwks();
    hub.keys.replace(bootstrap::signing_keys(&hub.config, &hub.store).await?)?;
    if hub.keys.jwks() == before {
        return Ok(());
    }
    let context = RequestContext::new(RequestId::new(), std::net::Ipv4Addr::LOCALHOST.into());
    let command = "take up a new set of signing keys".to_owned();
    let entry = Entry { verb: Verb::KeyRotate, command, route: "worker", ..Entry::default() };
    hub.trail.record(&context, keeper::itself(), entry, Outcome::Succeeded, 200, "").await?;
    Ok(())
}

/// Cuts tunnels of agents that were revoked somewhere else: on another hub, or here by a call that broke off.
async fn cut_revoked(hub: &Hub) -> anyhow::Result<()> {
    let owners: BTreeSet<_> = hub.tunnels.connections().into_iter().map(|connection| connection.owner).collect();
    for owner in owners {
        let agent = hub.store.agent(AgentId(owner)).await?;
        if agent.is_none_or(|agent| agent.revoked_at_ms.is_some()) {
            hub.tunnels.disconnect(owner);
            tracing::info!(agent = %owner, "tunnels of a revoked agent cut");
        }
    }
    Ok(())
}

/// Removes what can no longer be used by anyone. Audit rows name it still.
async fn forget(hub: &Hub) -> anyhow::Result<()> {
    let now = now_ms();
    hub.store.forget_sessions(now - hub.config.auth.refresh_expiry.as_ms()).await?;
    hub.sessions.forget(now).await?;
    hub.store.forget_sign_ins(now).await?;
    hub.store.forget_api_keys(now - EXPIRED_KEY_KEPT_MS).await?;
    hub.store.forget_invitations(now).await?;
    hub.store.forget_enrolment_tokens(now - hub.config.agents.token_expiry.as_ms()).await?;
    hub.store.forget_signing_keys(now - bootstrap::RETIRED_KEY_KEPT_MS).await?;
    Ok(())
}
