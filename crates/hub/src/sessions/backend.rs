//! Where browser sessions are kept: the seam between what a session is and the four places for it.
//!
//! Must not know: cookies, accounts, how long a session may idle.

use flotilla_identity::authn::{BoxFuture, By};
use flotilla_store::{BrowserSession, StoreError};
use flotilla_types::id::{SessionId, UserId};
use thiserror::Error;

use crate::error::ApiError;

/// A place for sessions failed. Nothing was done.
#[derive(Debug, Error)]
pub enum SessionError {
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Redis.
    #[error("Redis does not answer as it should; check auth.session.url and that it runs")]
    Redis(#[from] redis::RedisError),
    /// Redis holds what this version cannot have written.
    #[error("a session in Redis cannot be read")]
    Corrupt,
}

impl From<SessionError> for ApiError {
    fn from(error: SessionError) -> Self {
        match error {
            SessionError::Store(error) => error.into(),
            other => Self::internal(&other),
        }
    }
}

/// The answer of a place for sessions.
pub type Answer<'a, T> = BoxFuture<'a, Result<T, SessionError>>;

/// A place for sessions. A session that ended is not there; one that ran out is not found.
pub trait SessionBackend: Send + Sync + 'static {
    /// Keeps a new session under the hash of its cookie.
    fn create<'a>(&'a self, hash: &'a str, session: &'a BrowserSession) -> Answer<'a, ()>;
    /// The session.
    fn find<'a>(&'a self, by: By<'a, SessionId>, now_ms: i64) -> Answer<'a, Option<BrowserSession>>;
    /// All sessions of a user, newest first.
    fn list(&self, user: UserId, now_ms: i64) -> Answer<'_, Vec<BrowserSession>>;
    /// Ends one. Whether it was there.
    fn end(&self, id: SessionId) -> Answer<'_, bool>;
    /// Ends all of a user and returns them.
    fn end_all(&self, user: UserId) -> Answer<'_, Vec<SessionId>>;
    /// Notes last uses.
    fn touch<'a>(&'a self, seen: &'a [(SessionId, i64)]) -> Answer<'a, ()>;
    /// Forgets what ran out before `now_ms` or was last used before `idle_since_ms`.
    fn forget(&self, now_ms: i64, idle_since_ms: i64) -> Answer<'_, u64>;
}
