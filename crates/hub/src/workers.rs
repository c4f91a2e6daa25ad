//! What the hub does by itself: watches the roles file, rotates signing keys, renews its own certificate,
//! notes which clusters are reached.
//!
//! Must not know: requests.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use flotilla_types::id::AgentId;
use flotilla_types::time::now_ms;
use tokio::signal::unix::{SignalKind, signal};

use crate::bootstrap;
use crate::hub::Hub;

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
        match hub.roles.reload_file() {
            Ok(()) => {
                hub.authenticator.forget_all();
                tracing::info!("roles file read again");
            }
            Err(error) => tracing::error!(
                error = format!("{error:#}"),
                "the roles file cannot be used; the roles stay as they were"
            ),
        }
    }
}

/// Asks clusters that are reached directly whether they are there.
pub async fn probe_clusters(hub: Arc<Hub>) {
    const INTERVAL: Duration = Duration::from_secs(30);
    loop {
        hub.backends.probe().await;
        tokio::select! {
            () = hub.shutdown.cancelled() => return,
            () = tokio::time::sleep(INTERVAL) => {}
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
    hub.keys.replace(bootstrap::signing_keys(&hub.config, &hub.store).await?)?;
    hub.roles.set_database(hub.store.list_roles().await?)?;
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
    hub.store.forget_invitations(now).await?;
    hub.store.forget_enrolment_tokens(now - hub.config.agents.token_expiry.as_ms()).await?;
    hub.store.forget_signing_keys(now - bootstrap::RETIRED_KEY_KEPT_MS).await?;
    Ok(())
}
