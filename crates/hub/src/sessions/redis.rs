//! Sessions in Redis (6 or later), which forgets them by itself when they run out.
//!
//! | key | holds |
//! |---|---|
//! | `flotilla:session:<id>` | hash: the session's fields, and that of its cookie |
//! | `flotilla:cookie:<hash>` | the session's id |
//! | `flotilla:user:<id>` | set of the user's session ids; ids that ran out are dropped when it is read |
//!
//! Must not know: cookies' values; only hashes come here.

use std::collections::HashMap;
use std::time::Duration;

use flotilla_identity::authn::By;
use flotilla_store::BrowserSession;
use flotilla_types::id::{SessionId, UserId};
use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::{AsyncCommands, Script};
use secrecy::{ExposeSecret, SecretString};

use super::backend::{Answer, SessionBackend, SessionError};

/// Longest wait for an answer.
const DEADLINE: Duration = Duration::from_secs(3);

/// Notes a use, unless the session has ended meanwhile: a plain write would bring back a part of it that never ends.
const TOUCH: &str = "if redis.call('EXISTS', KEYS[1]) == 1 then redis.call('HSET', KEYS[1], 'last_seen', ARGV[1]) end";

/// The connection; it comes back by itself.
pub(super) struct Redis {
    connection: ConnectionManager,
    touch: Script,
}

impl Redis {
    /// Connects to `redis://[user:password@]host:port/database`, or `rediss://` with TLS.
    ///
    /// # Errors
    /// The address makes no sense, or nobody answers.
    pub(super) async fn connect(url: &SecretString) -> Result<Self, SessionError> {
        let client = redis::Client::open(url.expose_secret())?;
        let config = ConnectionManagerConfig::new()
            .set_connection_timeout(Some(DEADLINE))
            .set_response_timeout(Some(DEADLINE))
            .set_number_of_retries(2);
        Ok(Self { connection: client.get_connection_manager_with_config(config).await?, touch: Script::new(TOUCH) })
    }

    async fn load(&self, id: &str, now_ms: i64) -> Result<Option<BrowserSession>, SessionError> {
        let fields: HashMap<String, String> = self.connection.clone().hgetall(session_key(id)).await?;
        if fields.is_empty() {
            return Ok(None);
        }
        let session = read(id, &fields).ok_or(SessionError::Corrupt)?;
        Ok(Some(session).filter(|session| session.max_until_ms > now_ms))
    }

    async fn remove(&self, id: SessionId) -> Result<bool, SessionError> {
        let mut connection = self.connection.clone();
        let (id, key) = (id.to_string(), session_key(&id.to_string()));
        let (hash, user): (Option<String>, Option<String>) = connection.hmget(&key, &["hash", "user"]).await?;
        let (Some(hash), Some(user)) = (hash, user) else { return Ok(false) };
        let (gone,): (u64,) = redis::pipe()
            .atomic()
            .del(&key)
            .del(cookie_key(&hash))
            .ignore()
            .srem(user_key(&user), &id)
            .ignore()
            .query_async(&mut connection)
            .await?;
        Ok(gone > 0)
    }

    async fn sessions_of(&self, user: UserId, now_ms: i64) -> Result<Vec<BrowserSession>, SessionError> {
        let key = user_key(&user.to_string());
        let ids: Vec<String> = self.connection.clone().smembers(&key).await?;
        let mut found = Vec::new();
        for id in ids {
            match self.load(&id, now_ms).await? {
                Some(session) => found.push(session),
                None => self.connection.clone().srem(&key, &id).await?,
            }
        }
        found.sort_unstable_by_key(|session| std::cmp::Reverse(session.id));
        Ok(found)
    }
}

impl SessionBackend for Redis {
    fn create<'a>(&'a self, hash: &'a str, session: &'a BrowserSession) -> Answer<'a, ()> {
        Box::pin(async move {
            let (id, user) = (session.id.to_string(), session.user.to_string());
            let (key, cookie, of_user) = (session_key(&id), cookie_key(hash), user_key(&user));
            let (created, seen, until) =
                (session.created_at_ms.to_string(), session.last_seen_ms.to_string(), session.max_until_ms.to_string());
            let fields = [
                ("hash", hash),
                ("user", &user),
                ("user_agent", &session.user_agent),
                ("address", &session.address),
                ("created_at", &created),
                ("last_seen", &seen),
                ("max_until", &until),
            ];
            let mut pipe = redis::pipe();
            pipe.atomic().hset_multiple(&key, &fields).set(&cookie, &id).sadd(&of_user, &id);
            pipe.pexpire_at(&key, session.max_until_ms).pexpire_at(&cookie, session.max_until_ms);
            // Every session of one hub lives as long, so the newest ends last.
            pipe.pexpire_at(&of_user, session.max_until_ms);
            pipe.exec_async(&mut self.connection.clone()).await?;
            Ok(())
        })
    }

    fn find<'a>(&'a self, by: By<'a, SessionId>, now_ms: i64) -> Answer<'a, Option<BrowserSession>> {
        Box::pin(async move {
            let id = match by {
                By::Hash(hash) => self.connection.clone().get(cookie_key(hash)).await?,
                By::Id(id) => Some(id.to_string()),
            };
            match id {
                Some(id) => self.load(&id, now_ms).await,
                None => Ok(None),
            }
        })
    }

    fn list(&self, user: UserId, now_ms: i64) -> Answer<'_, Vec<BrowserSession>> {
        Box::pin(self.sessions_of(user, now_ms))
    }

    fn end(&self, id: SessionId) -> Answer<'_, bool> {
        Box::pin(self.remove(id))
    }

    fn end_all(&self, user: UserId) -> Answer<'_, Vec<SessionId>> {
        Box::pin(async move {
            let mut ended = Vec::new();
            for session in self.sessions_of(user, i64::MIN).await? {
                if self.remove(session.id).await? {
                    ended.push(session.id);
                }
            }
            Ok(ended)
        })
    }

    fn touch<'a>(&'a self, seen: &'a [(SessionId, i64)]) -> Answer<'a, ()> {
        Box::pin(async move {
            for (id, at) in seen {
                let mut connection = self.connection.clone();
                let () = self.touch.key(session_key(&id.to_string())).arg(*at).invoke_async(&mut connection).await?;
            }
            Ok(())
        })
    }

    fn forget(&self, _now_ms: i64, _idle_since_ms: i64) -> Answer<'_, u64> {
        // Redis does, at the end of each session's time; one that idled too long is refused when it is found.
        Box::pin(std::future::ready(Ok(0)))
    }
}

fn session_key(id: &str) -> String {
    format!("flotilla:session:{id}")
}

fn cookie_key(hash: &str) -> String {
    format!("flotilla:cookie:{hash}")
}

fn user_key(user: &str) -> String {
    format!("flotilla:user:{user}")
}

fn read(id: &str, fields: &HashMap<String, String>) -> Option<BrowserSession> {
    let text = |name: &str| fields.get(name).cloned();
    let number = |name: &str| fields.get(name)?.parse().ok();
    Some(BrowserSession {
        id: id.parse().ok()?,
        user: fields.get("user")?.parse().ok()?,
        user_agent: text("user_agent")?,
        address: text("address")?,
        created_at_ms: number("created_at")?,
        last_seen_ms: number("last_seen")?,
        max_until_ms: number("max_until")?,
    })
}
