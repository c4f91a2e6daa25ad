//! Sessions of browsers, which hold nothing but an opaque cookie.
//!
//! They are looked up by the hash of the cookie, and have no tokens. What ended has no row: there is nothing that
//! could be shown again.
//!
//! Must not know: cookies, how long a session may idle.

use flotilla_types::id::{SessionId, UserId};

use crate::Store;
use crate::db::on_db;
use crate::error::{StoreError, parse, storable};

/// A browser's session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrowserSession {
    /// The session.
    pub id: SessionId,
    /// Whose.
    pub user: UserId,
    /// `User-Agent` at sign-in.
    pub user_agent: String,
    /// Address at sign-in.
    pub address: String,
    /// Milliseconds since the epoch.
    pub created_at_ms: i64,
    /// Last use that was noted; milliseconds since the epoch.
    pub last_seen_ms: i64,
    /// Nothing of it holds from then on; milliseconds since the epoch.
    pub max_until_ms: i64,
}

type Row = (String, String, String, String, i64, i64, i64);

const INSERT: &str = "INSERT INTO browser_sessions \
    (id, user_id, cookie_hash, user_agent, address, created_at, last_seen, max_until) \
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";
const BY_HASH: &str = "SELECT id, user_id, user_agent, address, created_at, last_seen, max_until \
    FROM browser_sessions WHERE cookie_hash = $1 AND max_until > $2";
const BY_ID: &str = "SELECT id, user_id, user_agent, address, created_at, last_seen, max_until \
    FROM browser_sessions WHERE id = $1 AND max_until > $2";
const OF_USER: &str = "SELECT id, user_id, user_agent, address, created_at, last_seen, max_until \
    FROM browser_sessions WHERE user_id = $1 AND max_until > $2 ORDER BY id DESC";
const END: &str = "DELETE FROM browser_sessions WHERE id = $1";
const END_OF_USER: &str = "DELETE FROM browser_sessions WHERE user_id = $1 RETURNING id";
const TOUCH: &str = "UPDATE browser_sessions SET last_seen = $2 WHERE id = $1 AND last_seen < $2";
const FORGET: &str = "DELETE FROM browser_sessions WHERE max_until <= $1 OR last_seen <= $2";

impl Store {
    /// Opens a session under the hash of its cookie.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when the hash is known.
    pub async fn create_browser_session(&self, hash: &str, session: &BrowserSession) -> Result<(), StoreError> {
        on_db!(&self.db, write, pool => {
            let insert = sqlx::query(INSERT).bind(session.id.to_string()).bind(session.user.to_string()).bind(hash);
            let insert = insert.bind(session.user_agent.as_str()).bind(session.address.as_str());
            let insert = insert.bind(session.created_at_ms).bind(session.last_seen_ms).bind(session.max_until_ms);
            insert.execute(pool).await.map_err(StoreError::unique("session"))?;
        });
        Ok(())
    }

    /// The session whose cookie has this hash.
    ///
    /// # Errors
    /// The database failed.
    pub async fn browser_session_by_hash(&self, hash: &str, now_ms: i64) -> Result<Option<BrowserSession>, StoreError> {
        if !storable(hash) {
            return Ok(None);
        }
        let row: Option<Row> =
            on_db!(&self.db, read, pool => sqlx::query_as(BY_HASH).bind(hash).bind(now_ms).fetch_optional(pool).await?);
        row.map(session).transpose()
    }

    /// The session of this id.
    ///
    /// # Errors
    /// The database failed.
    pub async fn browser_session(&self, id: SessionId, now_ms: i64) -> Result<Option<BrowserSession>, StoreError> {
        let row: Option<Row> = on_db!(&self.db, read, pool => {
            sqlx::query_as(BY_ID).bind(id.to_string()).bind(now_ms).fetch_optional(pool).await?
        });
        row.map(session).transpose()
    }

    /// The sessions of a user, newest first.
    ///
    /// # Errors
    /// The database failed.
    pub async fn browser_sessions_of(&self, user: UserId, now_ms: i64) -> Result<Vec<BrowserSession>, StoreError> {
        let rows: Vec<Row> = on_db!(&self.db, read, pool => {
            sqlx::query_as(OF_USER).bind(user.to_string()).bind(now_ms).fetch_all(pool).await?
        });
        rows.into_iter().map(session).collect()
    }

    /// Ends a session. Whether it was there.
    ///
    /// # Errors
    /// The database failed.
    pub async fn end_browser_session(&self, id: SessionId) -> Result<bool, StoreError> {
        let done = on_db!(&self.db, write, pool => {
            sqlx::query(END).bind(id.to_string()).execute(pool).await?.rows_affected()
        });
        Ok(done > 0)
    }

    /// Ends all sessions of a user and returns them.
    ///
    /// # Errors
    /// The database failed.
    pub async fn end_browser_sessions_of(&self, user: UserId) -> Result<Vec<SessionId>, StoreError> {
        let ended: Vec<(String,)> = on_db!(&self.db, write, pool => {
            sqlx::query_as(END_OF_USER).bind(user.to_string()).fetch_all(pool).await?
        });
        ended.iter().map(|(id,)| parse(id, "browser_sessions.id")).collect()
    }

    /// Notes when sessions were last used, all in one transaction.
    ///
    /// # Errors
    /// The database failed; nothing was noted.
    pub async fn touch_browser_sessions(&self, seen: &[(SessionId, i64)]) -> Result<(), StoreError> {
        on_db!(&self.db, tx, tx => {
            for (id, at) in seen {
                sqlx::query(TOUCH).bind(id.to_string()).bind(*at).execute(&mut *tx).await?;
            }
        });
        Ok(())
    }

    /// Forgets sessions that ran out at or before `now_ms` or were last used at or before `idle_since_ms`.
    ///
    /// # Errors
    /// The database failed.
    pub async fn forget_browser_sessions(&self, now_ms: i64, idle_since_ms: i64) -> Result<u64, StoreError> {
        Ok(on_db!(&self.db, write, pool => {
            sqlx::query(FORGET).bind(now_ms).bind(idle_since_ms).execute(pool).await?.rows_affected()
        }))
    }
}

fn session(row: Row) -> Result<BrowserSession, StoreError> {
    let (id, user, user_agent, address, created_at_ms, last_seen_ms, max_until_ms) = row;
    let (id, user) = (parse(&id, "browser_sessions.id")?, parse(&user, "browser_sessions.user_id")?);
    Ok(BrowserSession { id, user, user_agent, address, created_at_ms, last_seen_ms, max_until_ms })
}
