//! Sign-ins and their refresh tokens.
//!
//! A session has one refresh token that can be spent at a time. Spending it gives the next one; the spent ones
//! are kept until the session is forgotten. A spent token that is shown again was copied, and then nobody can
//! tell the thief from the owner: the session ends (RFC 9700 section 4.14.2).
//!
//! Must not know: what a token looks like. Only hashes come here.

use flotilla_types::id::{SessionId, UserId};
use flotilla_types::time::now_ms;

use crate::Store;
use crate::db::on_db;
use crate::error::{StoreError, parse, storable};

/// What became of a refresh token that was shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rotation {
    /// It is spent and the new one holds.
    Rotated {
        /// The session.
        session: SessionId,
        /// Whose.
        user: UserId,
    },
    /// It was spent before. The session has been ended.
    Reused {
        /// The session.
        session: SessionId,
        /// Whose.
        user: UserId,
    },
    /// It is unknown, or its session has ended or is too old.
    Refused,
}

/// A session that holds, with what a request needs to know of its owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LiveSession {
    /// Whose.
    pub user: UserId,
    /// The account's name.
    pub email: String,
    /// Names of roles in the database, sorted.
    pub roles: Vec<String>,
}

/// From where somebody signs in, for him to recognise.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Device {
    /// `User-Agent`.
    pub user_agent: String,
    /// Address.
    pub address: String,
}

/// A session that is open, as its owner sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenSession {
    /// The session.
    pub id: SessionId,
    /// Whose.
    pub user: UserId,
    /// From where it was opened.
    pub device: Device,
    /// Milliseconds since the epoch.
    pub created_at_ms: i64,
    /// Last use that was noted; milliseconds since the epoch.
    pub last_seen_ms: Option<i64>,
    /// Nothing of it holds from then on; milliseconds since the epoch.
    pub max_until_ms: i64,
}

type SessionRow = (String, String, String, String, i64, Option<i64>, i64);

const INSERT: &str = "INSERT INTO sessions (id, user_id, created_at, max_until, user_agent, address) \
    VALUES ($1, $2, $3, $4, $5, $6)";
const OPEN: &str = "SELECT id, user_id, user_agent, address, created_at, last_seen, max_until FROM sessions \
    WHERE id = $1 AND ended_at IS NULL AND max_until > $2";
const OPEN_OF: &str = "SELECT id, user_id, user_agent, address, created_at, last_seen, max_until FROM sessions \
    WHERE user_id = $1 AND ended_at IS NULL AND max_until > $2 ORDER BY id DESC";
const TOUCH: &str = "UPDATE sessions SET last_seen = $2 WHERE id = $1 AND (last_seen IS NULL OR last_seen < $2)";
const INSERT_TOKEN: &str = "INSERT INTO refresh_tokens (hash, session_id, issued_at) VALUES ($1, $2, $3)";
const ISSUED: &str = "SELECT issued_at FROM refresh_tokens WHERE hash = $1";
const SPEND: &str = "UPDATE refresh_tokens SET spent_at = $2 WHERE hash = $1 AND spent_at IS NULL \
    RETURNING session_id";
const OWNER: &str = "SELECT user_id FROM sessions WHERE id = $1 AND ended_at IS NULL AND max_until > $2";
const END_OF_TOKEN: &str = "UPDATE sessions SET ended_at = $2 WHERE ended_at IS NULL AND max_until > $2 \
    AND id = (SELECT session_id FROM refresh_tokens WHERE hash = $1) RETURNING id, user_id";
const END: &str = "UPDATE sessions SET ended_at = $2 WHERE id = $1 AND ended_at IS NULL";
const END_OF_USER: &str = "UPDATE sessions SET ended_at = $2 WHERE user_id = $1 AND ended_at IS NULL RETURNING id";
const LIVE: &str = "SELECT u.id, u.email, r.role FROM sessions s JOIN users u ON u.id = s.user_id \
    LEFT JOIN user_roles r ON r.user_id = u.id \
    WHERE s.id = $1 AND s.ended_at IS NULL AND s.max_until > $2 ORDER BY r.role";
const FORGET: &str = "DELETE FROM sessions WHERE max_until <= $1 OR ended_at <= $1";

impl Store {
    /// Opens a session. `refresh_hash` is the hash of its first refresh token; nothing of the session holds
    /// from `max_until_ms` (milliseconds since the epoch) on.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when the user is gone, [`StoreError::Conflict`] when the hash is known.
    pub async fn create_session(
        &self,
        user: UserId,
        refresh_hash: &str,
        max_until_ms: i64,
    ) -> Result<SessionId, StoreError> {
        self.create_session_from(user, refresh_hash, max_until_ms, &Device::default()).await
    }

    /// [`Store::create_session`] that notes from where.
    ///
    /// # Errors
    /// As there.
    pub async fn create_session_from(
        &self,
        user: UserId,
        refresh_hash: &str,
        max_until_ms: i64,
        device: &Device,
    ) -> Result<SessionId, StoreError> {
        let (id, now) = (SessionId::new(), now_ms());
        let key = id.to_string();
        on_db!(&self.db, tx, tx => {
            let insert = sqlx::query(INSERT).bind(key.as_str()).bind(user.to_string()).bind(now).bind(max_until_ms);
            let insert = insert.bind(device.user_agent.as_str()).bind(device.address.as_str());
            insert.execute(&mut *tx).await.map_err(StoreError::parent("user"))?;
            let token = sqlx::query(INSERT_TOKEN).bind(refresh_hash).bind(key.as_str()).bind(now);
            token.execute(&mut *tx).await.map_err(StoreError::unique("refresh token"))?;
        });
        Ok(id)
    }

    /// Spends the token with hash `old_hash` and puts the one with `new_hash` in its place, in one transaction.
    /// Of two callers who show the same token at once, one gets [`Rotation::Rotated`] and the other ends the
    /// session.
    ///
    /// # Errors
    /// The database failed; then nothing was spent.
    pub async fn rotate_refresh(&self, old_hash: &str, new_hash: &str, now_ms: i64) -> Result<Rotation, StoreError> {
        if !storable(old_hash) {
            return Ok(Rotation::Refused);
        }
        // Anyone may show anything here: what was never issued costs a look and no transaction.
        let issued: Option<(i64,)> =
            on_db!(&self.db, read, pool => sqlx::query_as(ISSUED).bind(old_hash).fetch_optional(pool).await?);
        if issued.is_none() {
            return Ok(Rotation::Refused);
        }
        let rotation = on_db!(&self.db, tx, tx => {
            // The update takes the token's row, so that a second caller waits here and then finds it spent.
            let spent: Option<(String,)> =
                sqlx::query_as(SPEND).bind(old_hash).bind(now_ms).fetch_optional(&mut *tx).await?;
            if let Some((session,)) = spent {
                let owner: Option<(String,)> =
                    sqlx::query_as(OWNER).bind(session.as_str()).bind(now_ms).fetch_optional(&mut *tx).await?;
                if owner.is_some() {
                    let token = sqlx::query(INSERT_TOKEN).bind(new_hash).bind(session.as_str()).bind(now_ms);
                    token.execute(&mut *tx).await.map_err(StoreError::unique("refresh token"))?;
                }
                owner.map(|(user,)| (true, session, user))
            } else {
                let ended: Option<(String, String)> =
                    sqlx::query_as(END_OF_TOKEN).bind(old_hash).bind(now_ms).fetch_optional(&mut *tx).await?;
                ended.map(|(session, user)| (false, session, user))
            }
        });
        let Some((rotated, session, user)) = rotation else {
            return Ok(Rotation::Refused);
        };
        let (session, user) = (parse(&session, "sessions.id")?, parse(&user, "sessions.user_id")?);
        Ok(if rotated { Rotation::Rotated { session, user } } else { Rotation::Reused { session, user } })
    }

    /// Ends a session. Whether it was still open.
    ///
    /// # Errors
    /// The database failed.
    pub async fn end_session(&self, id: SessionId) -> Result<bool, StoreError> {
        let done = on_db!(&self.db, write, pool => {
            sqlx::query(END).bind(id.to_string()).bind(now_ms()).execute(pool).await?.rows_affected()
        });
        Ok(done > 0)
    }

    /// Ends all sessions of a user and returns those that were open.
    ///
    /// # Errors
    /// The database failed.
    pub async fn end_sessions_of(&self, user: UserId) -> Result<Vec<SessionId>, StoreError> {
        let ended: Vec<(String,)> = on_db!(&self.db, write, pool => {
            sqlx::query_as(END_OF_USER).bind(user.to_string()).bind(now_ms()).fetch_all(pool).await?
        });
        ended.iter().map(|(id,)| parse(id, "sessions.id")).collect()
    }

    /// The session with its owner and the owner's roles of this moment; `None` when it has ended, is too old
    /// or never was.
    ///
    /// # Errors
    /// The database failed.
    pub async fn live_session(&self, id: SessionId, now_ms: i64) -> Result<Option<LiveSession>, StoreError> {
        let rows: Vec<(String, String, Option<String>)> = on_db!(&self.db, read, pool => {
            sqlx::query_as(LIVE).bind(id.to_string()).bind(now_ms).fetch_all(pool).await?
        });
        let Some((user, email, _)) = rows.first().cloned() else {
            return Ok(None);
        };
        let roles = rows.into_iter().filter_map(|(_, _, role)| role).collect();
        Ok(Some(LiveSession { user: parse(&user, "users.id")?, email, roles }))
    }

    /// A session that is open.
    ///
    /// # Errors
    /// The database failed.
    pub async fn open_session(&self, id: SessionId, now_ms: i64) -> Result<Option<TokenSession>, StoreError> {
        let row: Option<SessionRow> = on_db!(&self.db, read, pool => {
            sqlx::query_as(OPEN).bind(id.to_string()).bind(now_ms).fetch_optional(pool).await?
        });
        row.map(session).transpose()
    }

    /// The sessions of a user that are open, newest first.
    ///
    /// # Errors
    /// The database failed.
    pub async fn open_sessions_of(&self, user: UserId, now_ms: i64) -> Result<Vec<TokenSession>, StoreError> {
        let rows: Vec<SessionRow> = on_db!(&self.db, read, pool => {
            sqlx::query_as(OPEN_OF).bind(user.to_string()).bind(now_ms).fetch_all(pool).await?
        });
        rows.into_iter().map(session).collect()
    }

    /// Notes when sessions were last used, all in one transaction.
    ///
    /// # Errors
    /// The database failed; nothing was noted.
    pub async fn touch_sessions(&self, seen: &[(SessionId, i64)]) -> Result<(), StoreError> {
        on_db!(&self.db, tx, tx => {
            for (id, at) in seen {
                sqlx::query(TOUCH).bind(id.to_string()).bind(*at).execute(&mut *tx).await?;
            }
        });
        Ok(())
    }

    /// Forgets sessions, with their tokens, that ended or ran out at or before `before_ms`. Call it now and
    /// then with a moment some days back: until then a stolen token is still recognised as spent.
    ///
    /// # Errors
    /// The database failed.
    pub async fn forget_sessions(&self, before_ms: i64) -> Result<u64, StoreError> {
        Ok(on_db!(&self.db, write, pool => sqlx::query(FORGET).bind(before_ms).execute(pool).await?.rows_affected()))
    }
}

fn session(row: SessionRow) -> Result<TokenSession, StoreError> {
    let (id, user, user_agent, address, created_at_ms, last_seen_ms, max_until_ms) = row;
    let (id, user) = (parse(&id, "sessions.id")?, parse(&user, "sessions.user_id")?);
    let device = Device { user_agent, address };
    Ok(TokenSession { id, user, device, created_at_ms, last_seen_ms, max_until_ms })
}
