//! Sessions in a database: the hub's own, or another PostgreSQL.
//!
//! Must not know: SQL.

use flotilla_identity::authn::By;
use flotilla_store::{BrowserSession, Store};
use flotilla_types::id::{SessionId, UserId};

use super::backend::{Answer, SessionBackend};

/// The database.
pub(super) struct Database(pub(super) Store);

impl SessionBackend for Database {
    fn create<'a>(&'a self, hash: &'a str, session: &'a BrowserSession) -> Answer<'a, ()> {
        Box::pin(async move { Ok(self.0.create_browser_session(hash, session).await?) })
    }

    fn find<'a>(&'a self, by: By<'a, SessionId>, now_ms: i64) -> Answer<'a, Option<BrowserSession>> {
        Box::pin(async move {
            Ok(match by {
                By::Hash(hash) => self.0.browser_session_by_hash(hash, now_ms).await?,
                By::Id(id) => self.0.browser_session(id, now_ms).await?,
            })
        })
    }

    fn list(&self, user: UserId, now_ms: i64) -> Answer<'_, Vec<BrowserSession>> {
        Box::pin(async move { Ok(self.0.browser_sessions_of(user, now_ms).await?) })
    }

    fn end(&self, id: SessionId) -> Answer<'_, bool> {
        Box::pin(async move { Ok(self.0.end_browser_session(id).await?) })
    }

    fn end_all(&self, user: UserId) -> Answer<'_, Vec<SessionId>> {
        Box::pin(async move { Ok(self.0.end_browser_sessions_of(user).await?) })
    }

    fn touch<'a>(&'a self, seen: &'a [(SessionId, i64)]) -> Answer<'a, ()> {
        Box::pin(async move { Ok(self.0.touch_browser_sessions(seen).await?) })
    }

    fn forget(&self, now_ms: i64, idle_since_ms: i64) -> Answer<'_, u64> {
        Box::pin(async move { Ok(self.0.forget_browser_sessions(now_ms, idle_since_ms).await?) })
    }
}
