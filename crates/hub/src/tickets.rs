//! One-use tickets: how a browser opens a WebSocket or an event stream, where it can set no header, without a token in
//! the address that would work a second time.
//!
//! A ticket is bound to what its owner proved himself with and to one path, holds for 30 s and for one use, and is kept
//! as its hash. One hub alone keeps them in memory; hubs that share PostgreSQL keep them there.
//!
//! Must not know: what is behind the path.

use std::collections::HashMap;
use std::time::Duration;

use flotilla_identity::api_key::{is_opaque, new_opaque, opaque_hash};
use flotilla_identity::principal::Via;
use flotilla_store::{Store, StoreError, Ticket};
use parking_lot::Mutex;
use secrecy::SecretString;

use crate::error::ApiError;

/// Life of a ticket that is not used.
pub const LIFE: Duration = Duration::from_secs(30);

/// The same in milliseconds.
pub const LIFE_MS: i64 = 30_000;

/// Most tickets in memory at a time; about 10 MB. Beyond, new ones are refused for a moment.
const CAPACITY: usize = 20_000;

/// The tickets that were not used yet.
pub enum Tickets {
    /// Of this hub alone.
    Memory(Mutex<HashMap<String, Ticket>>),
    /// Of several hubs.
    Shared(Store),
}

impl Tickets {
    /// In memory, or, when several hubs may share it, in the database.
    #[must_use]
    pub fn new(shared: Option<Store>) -> Self {
        shared.map_or_else(|| Self::Memory(Mutex::default()), Self::Shared)
    }

    /// Makes a ticket for `path`.
    ///
    /// # Errors
    /// There are too many, the database failed, or `via` is nobody.
    pub async fn issue(&self, via: Via, path: &str, now_ms: i64) -> Result<(SecretString, i64), ApiError> {
        let (kind, id) = match via {
            Via::Token(id) => ("token", id.to_string()),
            Via::Browser(id) => ("browser", id.to_string()),
            Via::Key(id) => ("key", id.to_string()),
            Via::System => return Err(ApiError::forbidden("the hub itself needs no tickets")),
        };
        let (secret, hash) = new_opaque();
        let expires_at_ms = now_ms + LIFE_MS;
        let ticket = Ticket { via: kind.to_owned(), via_id: id, path: path.to_owned(), expires_at_ms };
        match self {
            Self::Memory(kept) => keep(&mut kept.lock(), hash, ticket, now_ms)?,
            Self::Shared(store) => store.create_ticket(&hash, &ticket).await?,
        }
        Ok((secret, expires_at_ms))
    }

    /// Uses a ticket up. What its owner proved himself with, if the ticket holds for `path`.
    ///
    /// # Errors
    /// The database failed.
    pub async fn redeem(&self, secret: &str, path: &str, now_ms: i64) -> Result<Option<Via>, StoreError> {
        if !is_opaque(secret) {
            return Ok(None);
        }
        let hash = opaque_hash(secret);
        let found = match self {
            Self::Memory(kept) => kept.lock().remove(&hash).filter(|ticket| ticket.expires_at_ms > now_ms),
            Self::Shared(store) => store.redeem_ticket(&hash, now_ms).await?,
        };
        Ok(found.filter(|ticket| ticket.path == path).and_then(|ticket| via(&ticket)))
    }

    /// Forgets what nobody used in time.
    ///
    /// # Errors
    /// The database failed.
    pub async fn forget(&self, now_ms: i64) -> Result<(), StoreError> {
        match self {
            Self::Memory(kept) => kept.lock().retain(|_, ticket| ticket.expires_at_ms > now_ms),
            Self::Shared(store) => drop(store.forget_tickets(now_ms).await?),
        }
        Ok(())
    }
}

fn keep(kept: &mut HashMap<String, Ticket>, hash: String, ticket: Ticket, now_ms: i64) -> Result<(), ApiError> {
    if kept.len() >= CAPACITY {
        kept.retain(|_, ticket| ticket.expires_at_ms > now_ms);
    }
    if kept.len() >= CAPACITY {
        return Err(ApiError::too_many_requests("too many tickets are open; try again shortly", LIFE));
    }
    kept.insert(hash, ticket);
    Ok(())
}

fn via(ticket: &Ticket) -> Option<Via> {
    let id = &ticket.via_id;
    match ticket.via.as_str() {
        "token" => id.parse().ok().map(Via::Token),
        "browser" => id.parse().ok().map(Via::Browser),
        "key" => id.parse().ok().map(Via::Key),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use flotilla_types::id::SessionId;
    use secrecy::ExposeSecret;

    use super::*;

    const NOW: i64 = 1_800_000_000_000;

    #[tokio::test]
    async fn a_ticket_opens_one_path_once_in_time() {
        let (tickets, via) = (Tickets::new(None), Via::Browser(SessionId::new()));
        let issue = async || tickets.issue(via, "/ws", NOW).await.map(|(secret, _)| secret).map_err(|e| e.detail);
        let redeem = async |ticket: &SecretString, path: &str, at: i64| {
            tickets.redeem(ticket.expose_secret(), path, at).await.unwrap()
        };
        let ticket = issue().await.unwrap();
        assert_eq!(redeem(&ticket, "/ws", NOW + 1).await, Some(via));
        assert_eq!(redeem(&ticket, "/ws", NOW + 1).await, None, "spent");
        let ticket = issue().await.unwrap();
        assert_eq!(redeem(&ticket, "/other", NOW).await, None);
        assert_eq!(redeem(&ticket, "/ws", NOW).await, None, "tried elsewhere is spent too");
        let ticket = issue().await.unwrap();
        assert_eq!(redeem(&ticket, "/ws", NOW + LIFE_MS).await, None, "too late");
    }

    #[tokio::test]
    async fn memory_is_bounded_and_comes_free() {
        let (tickets, via) = (Tickets::new(None), Via::Token(SessionId::new()));
        for _ in 0..CAPACITY {
            assert!(tickets.issue(via, "/ws", NOW).await.is_ok());
        }
        assert!(tickets.issue(via, "/ws", NOW).await.is_err());
        assert!(tickets.issue(via, "/ws", NOW + LIFE_MS).await.is_ok());
        tickets.forget(NOW + 2 * LIFE_MS).await.unwrap();
        let Tickets::Memory(kept) = &tickets else { panic!("not in memory") };
        assert!(kept.lock().is_empty());
    }
}
