//! Asks providers again, so that what they take back is lost here too: every `refresh_interval`, each session at a
//! provider that a session of ours stands on. Groups become what they are there; a session that ended there ends here.
//!
//! Of all hubs one asks (the claim is in the store). While a provider does not answer, nothing changes but the time
//! of the next try: an outage there signs nobody out here.
//!
//! Must not know: requests.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use flotilla_identity::oidc::Refreshed;
use flotilla_store::{NewProviderSession, ProviderSession, ProviderSessionId};
use flotilla_types::audit::{Actor, Outcome, Verb};
use flotilla_types::id::RequestId;
use flotilla_types::time::now_ms;
use futures_util::StreamExt;

use crate::hub::Hub;
use crate::request::RequestContext;
use crate::trail::Entry;

/// Sessions that are refreshed at once.
const PARALLEL: usize = 8;

/// Sessions that are looked for at a time.
const BATCH: u32 = 256;

/// How long a claim holds: longer than a provider may take for all that is asked.
const CLAIM_MS: i64 = 60_000;

/// Follows the providers until the hub stops.
pub async fn follow(hub: Arc<Hub>) {
    let Some(every) = hub.ways.refresh_every() else { return };
    let pause = (every / 10).clamp(Duration::from_millis(500), Duration::from_secs(15));
    loop {
        tokio::select! {
            () = hub.shutdown.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
        match hub.store.due_provider_sessions(now_ms(), BATCH).await {
            Ok(due) => futures_util::stream::iter(due).for_each_concurrent(PARALLEL, |id| one(&hub, id)).await,
            Err(error) => tracing::warn!(%error, "sessions at providers cannot be listed; trying again"),
        }
    }
}

async fn one(hub: &Hub, id: ProviderSessionId) {
    if let Err(error) = refresh(hub, id).await {
        tracing::warn!(error = format!("{error:#}"), "a session at a provider was not refreshed; trying again");
    }
}

async fn refresh(hub: &Hub, id: ProviderSessionId) -> anyhow::Result<()> {
    let now = now_ms();
    let Some(session) = hub.store.claim_refresh(id, now, now + CLAIM_MS).await? else { return Ok(()) };
    if !any_lives(hub, id).await? {
        return Ok(hub.store.delete_provider_session(id).await?);
    }
    let way = hub.ways.find(&session.provider).map_err(|error| anyhow::anyhow!(error.detail))?;
    let Some(token) = &session.refresh_token else { return Ok(()) };
    match way.provider.refresh(token, &session.subject).await {
        Ok(refreshed) => keep(hub, &session, refreshed, way.refresh_at()).await,
        Err(error) if error.grant_is_over() => end(hub, &session, &error.to_string()).await,
        Err(error) => Err(error.into()),
    }
}

/// Whether any session of ours stands on it still.
async fn any_lives(hub: &Hub, id: ProviderSessionId) -> anyhow::Result<bool> {
    let mut lives = false;
    for session in hub.store.sessions_on(id).await? {
        let found = hub.sessions.find(session).await.map_err(|error| anyhow::anyhow!(error.to_string()))?;
        match found {
            Some(_) => lives = true,
            None => hub.store.detach_session(session).await?,
        }
    }
    Ok(lives)
}

async fn keep(hub: &Hub, session: &ProviderSession, new: Refreshed, next: Option<i64>) -> anyhow::Result<()> {
    let changed = new.groups.as_ref().is_some_and(|groups| *groups != session.groups);
    if let Some(groups) = new.groups.as_ref().filter(|_| changed) {
        let command = format!("groups at {} are now: {}", session.provider, groups.join(", "));
        record(hub, session, Verb::GroupsChange, command, "").await?;
    }
    let tokens =
        NewProviderSession { sid: None, id_token: new.id_token, refresh_token: new.refresh_token, refresh_at_ms: next };
    hub.store.renew_provider_session(session.id, &tokens, new.groups.as_deref()).await?;
    if changed {
        hub.authenticator.forget_user(session.user);
    }
    Ok(())
}

/// Ends all of ours that stand on a session that is over at its provider.
///
/// # Errors
/// The store or the audit log failed; what was not ended is tried again.
pub(super) async fn end(hub: &Hub, session: &ProviderSession, why: &str) -> anyhow::Result<()> {
    for ours in hub.store.sessions_on(session.id).await? {
        record(hub, session, Verb::SessionEnd, format!("end session {ours}"), why).await?;
        hub.end_session(ours).await.map_err(|error| anyhow::anyhow!(error.detail))?;
    }
    Ok(hub.store.delete_provider_session(session.id).await?)
}

async fn record(hub: &Hub, session: &ProviderSession, verb: Verb, command: String, why: &str) -> anyhow::Result<()> {
    let email = hub.store.user_by_id(session.user).await?.map(|user| user.email).unwrap_or_default();
    let context = RequestContext::new(RequestId::new(), IpAddr::V4(Ipv4Addr::LOCALHOST));
    let actor = Actor { sub: Some(session.user), email, ..Actor::default() };
    let entry = Entry { verb, command, route: "provider", ..Entry::default() };
    Ok(hub.trail.record(&context, actor, entry, Outcome::Succeeded, 0, why).await?)
}
