//! Who an account is at other providers, and the sessions there that sessions of ours stand on.
//!
//! ```text
//! users 1──n identities 1──n provider_sessions 1──n session_origins (browser and token sessions of ours)
//! ```
//!
//! Groups belong to the identity, but count only in sessions that stand on it: somebody who signs in with a
//! password does not get rights that a provider gave long ago.
//!
//! Must not know: what a group or a token means.

use std::fmt;
use std::str::FromStr;

use flotilla_types::id::{SessionId, UserId};
use flotilla_types::time::now_ms;
use secrecy::{ExposeSecret, SecretString};

use crate::Store;
use crate::db::on_db;
use crate::error::{StoreError, found, parse, storable};
use crate::sealed::{Column, ID_TOKEN, REFRESH_TOKEN};

/// A session at a provider. `UUIDv7`; made the way session ids are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ProviderSessionId(SessionId);

impl fmt::Display for ProviderSessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for ProviderSessionId {
    type Err = <SessionId as FromStr>::Err;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

/// What a provider said of somebody at a sign-in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewIdentity {
    /// Name of the provider.
    pub provider: String,
    /// Its issuer.
    pub issuer: String,
    /// The person's name there, never given to anyone else.
    pub subject: String,
    /// The address there.
    pub email: String,
    /// Groups there.
    pub groups: Vec<String>,
}

/// What to remember of the provider's session.
#[derive(Clone, Debug)]
pub struct NewProviderSession {
    /// The provider's name for it.
    pub sid: Option<String>,
    /// The ID token: the hint when signing out there.
    pub id_token: Option<SecretString>,
    /// Refresh token.
    pub refresh_token: Option<SecretString>,
    /// When to ask the provider again, milliseconds since the epoch; `None`: never.
    pub refresh_at_ms: Option<i64>,
}

/// A provider's session as it is kept.
#[derive(Clone, Debug)]
pub struct ProviderSession {
    /// The session.
    pub id: ProviderSessionId,
    /// Whose account.
    pub user: UserId,
    /// Name of the provider.
    pub provider: String,
    /// The person's name there.
    pub subject: String,
    /// Groups as last heard.
    pub groups: Vec<String>,
    /// The ID token.
    pub id_token: Option<SecretString>,
    /// Refresh token.
    pub refresh_token: Option<SecretString>,
}

/// Which of a provider's sessions a logout is about (OpenID Connect Back-Channel Logout 1.0 section 2.4).
#[derive(Clone, Copy, Debug)]
pub enum LoggedOut<'a> {
    /// One session, by the provider's name for it.
    Session(&'a str),
    /// All of one person.
    Subject(&'a str),
}

type Row = (String, String, String, String, String, Option<String>, Option<String>);

const UPSERT: &str = "INSERT INTO identities (id, user_id, provider, issuer, subject, email, groups, seen_at, created_at) \
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $8) \
    ON CONFLICT (issuer, subject) DO UPDATE SET email = excluded.email, groups = excluded.groups, \
    provider = excluded.provider, seen_at = excluded.seen_at RETURNING id";
const OWNER: &str = "SELECT user_id FROM identities WHERE issuer = $1 AND subject = $2";
const INSERT_SESSION: &str = "INSERT INTO provider_sessions \
    (id, identity_id, sid, id_token, refresh_token, refresh_at, created_at) VALUES ($1, $2, $3, $4, $5, $6, $7)";
const ATTACH: &str = "INSERT INTO session_origins (session_id, provider_session_id) VALUES ($1, $2) \
    ON CONFLICT (session_id) DO UPDATE SET provider_session_id = excluded.provider_session_id";
const GROUPS: &str = "SELECT i.provider, i.groups FROM session_origins o \
    JOIN provider_sessions p ON p.id = o.provider_session_id JOIN identities i ON i.id = p.identity_id \
    WHERE o.session_id = $1";
const LIVE_GROUPS: &str = "SELECT DISTINCT i.user_id, i.provider, i.groups FROM session_origins o \
    JOIN provider_sessions p ON p.id = o.provider_session_id JOIN identities i ON i.id = p.identity_id";
const OF_SESSION: &str = "SELECT p.id, i.user_id, i.provider, i.subject, i.groups, p.id_token, p.refresh_token \
    FROM session_origins o JOIN provider_sessions p ON p.id = o.provider_session_id \
    JOIN identities i ON i.id = p.identity_id WHERE o.session_id = $1";
const DUE: &str = "SELECT id FROM provider_sessions WHERE refresh_at <= $1 ORDER BY refresh_at LIMIT $2";
const CLAIM: &str = "UPDATE provider_sessions SET refresh_at = $3 WHERE id = $1 AND refresh_at <= $2";
const BY_ID: &str = "SELECT p.id, i.user_id, i.provider, i.subject, i.groups, p.id_token, p.refresh_token \
    FROM provider_sessions p JOIN identities i ON i.id = p.identity_id WHERE p.id = $1";
const RENEW: &str = "UPDATE provider_sessions SET refresh_at = $2, refresh_token = COALESCE($3, refresh_token), \
    id_token = COALESCE($4, id_token) WHERE id = $1";
const SET_GROUPS: &str = "UPDATE identities SET groups = $2, seen_at = $3 \
    WHERE id = (SELECT identity_id FROM provider_sessions WHERE id = $1)";
const ORIGINS: &str = "SELECT session_id FROM session_origins WHERE provider_session_id = $1";
const BY_SID: &str = "SELECT p.id FROM provider_sessions p JOIN identities i ON i.id = p.identity_id \
    WHERE i.issuer = $1 AND p.sid = $2";
const BY_SUBJECT: &str = "SELECT p.id FROM provider_sessions p JOIN identities i ON i.id = p.identity_id \
    WHERE i.issuer = $1 AND i.subject = $2";
const DELETE: &str = "DELETE FROM provider_sessions WHERE id = $1";
const DETACH: &str = "DELETE FROM session_origins WHERE session_id = $1";

impl Store {
    /// The account that stands for a person at a provider.
    ///
    /// # Errors
    /// The database failed.
    pub async fn user_of_identity(&self, issuer: &str, subject: &str) -> Result<Option<UserId>, StoreError> {
        if !storable(subject) {
            return Ok(None);
        }
        let row: Option<(String,)> = on_db!(&self.db, read, pool => {
            sqlx::query_as(OWNER).bind(issuer).bind(subject).fetch_optional(pool).await?
        });
        row.map(|(user,)| parse(&user, "identities.user_id")).transpose()
    }

    /// Notes what a provider said of the owner of `user`, and the session there. An identity that is known keeps
    /// its account, whatever `user` is: the caller asks [`Store::user_of_identity`] first.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when the user is gone.
    pub async fn record_sign_in(
        &self,
        user: UserId,
        identity: &NewIdentity,
        session: &NewProviderSession,
    ) -> Result<ProviderSessionId, StoreError> {
        let (id, now) = (ProviderSessionId(SessionId::new()), now_ms());
        let (key, groups) = (id.to_string(), json(&identity.groups));
        let id_token = self.sealed(&ID_TOKEN, &key, session.id_token.as_ref())?;
        let refresh_token = self.sealed(&REFRESH_TOKEN, &key, session.refresh_token.as_ref())?;
        on_db!(&self.db, tx, tx => {
            let upsert = sqlx::query_as(UPSERT).bind(SessionId::new().to_string()).bind(user.to_string());
            let upsert = upsert.bind(identity.provider.as_str()).bind(identity.issuer.as_str());
            let upsert = upsert.bind(identity.subject.as_str()).bind(identity.email.as_str()).bind(groups).bind(now);
            let (owner,): (String,) = upsert.fetch_one(&mut *tx).await.map_err(StoreError::parent("user"))?;
            let insert = sqlx::query(INSERT_SESSION).bind(key.as_str()).bind(owner).bind(session.sid.as_deref());
            let insert = insert.bind(id_token).bind(refresh_token).bind(session.refresh_at_ms).bind(now);
            insert.execute(&mut *tx).await?;
        });
        Ok(id)
    }

    /// Lets a session of ours stand on a provider's.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when the provider's session is over.
    pub async fn attach_session(&self, session: SessionId, to: ProviderSessionId) -> Result<(), StoreError> {
        on_db!(&self.db, write, pool => {
            let attach = sqlx::query(ATTACH).bind(session.to_string()).bind(to.to_string());
            attach.execute(pool).await.map_err(StoreError::parent("provider session"))?;
        });
        Ok(())
    }

    /// The provider that a session stands on and the person's groups there.
    ///
    /// # Errors
    /// The database failed.
    pub async fn groups_of_session(&self, session: SessionId) -> Result<Option<(String, Vec<String>)>, StoreError> {
        let row: Option<(String, String)> = on_db!(&self.db, read, pool => {
            sqlx::query_as(GROUPS).bind(session.to_string()).fetch_optional(pool).await?
        });
        row.map(|(provider, groups)| Ok((provider, from_json(&groups)?))).transpose()
    }

    /// Everybody who is signed in by way of a provider: whose account, the provider, and his groups there.
    ///
    /// # Errors
    /// The database failed.
    pub async fn groups_in_sessions(&self) -> Result<Vec<(UserId, String, Vec<String>)>, StoreError> {
        let rows: Vec<(String, String, String)> =
            on_db!(&self.db, read, pool => sqlx::query_as(LIVE_GROUPS).fetch_all(pool).await?);
        let read = |(user, provider, groups): (String, String, String)| {
            Ok((parse(&user, "identities.user_id")?, provider, from_json(&groups)?))
        };
        rows.into_iter().map(read).collect()
    }

    /// The provider's session that a session of ours stands on.
    ///
    /// # Errors
    /// [`StoreError::Sealed`] when a token does not open.
    pub async fn provider_session_of(&self, session: SessionId) -> Result<Option<ProviderSession>, StoreError> {
        let row: Option<Row> = on_db!(&self.db, read, pool => {
            sqlx::query_as(OF_SESSION).bind(session.to_string()).fetch_optional(pool).await?
        });
        row.map(|row| self.opened(row)).transpose()
    }

    /// Provider sessions that are to be refreshed, oldest first.
    ///
    /// # Errors
    /// The database failed.
    pub async fn due_provider_sessions(&self, now_ms: i64, limit: u32) -> Result<Vec<ProviderSessionId>, StoreError> {
        let rows: Vec<(String,)> = on_db!(&self.db, read, pool => {
            sqlx::query_as(DUE).bind(now_ms).bind(i64::from(limit)).fetch_all(pool).await?
        });
        rows.iter().map(|(id,)| parse(id, "provider_sessions.id")).collect()
    }

    /// Claims the refresh of a session that is due until `until_ms`; `None` when somebody else has it, so that of
    /// all hubs one asks the provider.
    ///
    /// # Errors
    /// [`StoreError::Sealed`] when a token does not open.
    pub async fn claim_refresh(
        &self,
        id: ProviderSessionId,
        now_ms: i64,
        until_ms: i64,
    ) -> Result<Option<ProviderSession>, StoreError> {
        let claimed = on_db!(&self.db, write, pool => {
            sqlx::query(CLAIM).bind(id.to_string()).bind(now_ms).bind(until_ms).execute(pool).await?.rows_affected()
        });
        if claimed == 0 { Ok(None) } else { self.provider_session(id).await }
    }

    /// A provider's session.
    ///
    /// # Errors
    /// [`StoreError::Sealed`] when a token does not open.
    pub async fn provider_session(&self, id: ProviderSessionId) -> Result<Option<ProviderSession>, StoreError> {
        let row: Option<Row> =
            on_db!(&self.db, read, pool => sqlx::query_as(BY_ID).bind(id.to_string()).fetch_optional(pool).await?);
        row.map(|row| self.opened(row)).transpose()
    }

    /// Keeps what a refresh brought: the next time, new tokens where there are some, groups where they were said.
    ///
    /// # Errors
    /// The database failed.
    pub async fn renew_provider_session(
        &self,
        id: ProviderSessionId,
        next: &NewProviderSession,
        groups: Option<&[String]>,
    ) -> Result<(), StoreError> {
        let key = id.to_string();
        let id_token = self.sealed(&ID_TOKEN, &key, next.id_token.as_ref())?;
        let refresh_token = self.sealed(&REFRESH_TOKEN, &key, next.refresh_token.as_ref())?;
        let groups = groups.map(json);
        on_db!(&self.db, tx, tx => {
            let renew = sqlx::query(RENEW).bind(key.as_str()).bind(next.refresh_at_ms).bind(refresh_token);
            let done = renew.bind(id_token).execute(&mut *tx).await?.rows_affected();
            found(done, "provider session")?;
            if let Some(groups) = groups {
                let set = sqlx::query(SET_GROUPS).bind(key.as_str()).bind(groups).bind(now_ms());
                set.execute(&mut *tx).await?;
            }
        });
        Ok(())
    }

    /// Sessions of ours that stand on a provider's.
    ///
    /// # Errors
    /// The database failed.
    pub async fn sessions_on(&self, id: ProviderSessionId) -> Result<Vec<SessionId>, StoreError> {
        let rows: Vec<(String,)> =
            on_db!(&self.db, read, pool => sqlx::query_as(ORIGINS).bind(id.to_string()).fetch_all(pool).await?);
        rows.iter().map(|(id,)| parse(id, "session_origins.session_id")).collect()
    }

    /// The provider sessions that a logout at `issuer` is about.
    ///
    /// # Errors
    /// The database failed.
    pub async fn provider_sessions(
        &self,
        issuer: &str,
        which: LoggedOut<'_>,
    ) -> Result<Vec<ProviderSessionId>, StoreError> {
        let (statement, value) = match which {
            LoggedOut::Session(sid) => (BY_SID, sid),
            LoggedOut::Subject(subject) => (BY_SUBJECT, subject),
        };
        if !storable(value) {
            return Ok(Vec::new());
        }
        let rows: Vec<(String,)> = on_db!(&self.db, read, pool => {
            sqlx::query_as(statement).bind(issuer).bind(value).fetch_all(pool).await?
        });
        rows.iter().map(|(id,)| parse(id, "provider_sessions.id")).collect()
    }

    /// Forgets a provider's session. The sessions of ours that stood on it are not ended: see
    /// [`Store::sessions_on`].
    ///
    /// # Errors
    /// The database failed.
    pub async fn delete_provider_session(&self, id: ProviderSessionId) -> Result<(), StoreError> {
        on_db!(&self.db, write, pool => {
            sqlx::query(DELETE).bind(id.to_string()).execute(pool).await?;
        });
        Ok(())
    }

    /// Forgets what a session of ours stood on, after it has ended.
    ///
    /// # Errors
    /// The database failed.
    pub async fn detach_session(&self, session: SessionId) -> Result<(), StoreError> {
        on_db!(&self.db, write, pool => {
            sqlx::query(DETACH).bind(session.to_string()).execute(pool).await?;
        });
        Ok(())
    }

    fn sealed(&self, column: &Column, row: &str, secret: Option<&SecretString>) -> Result<Option<String>, StoreError> {
        let seal = |secret: &SecretString| self.sealer.seal(column.at(row), secret.expose_secret().as_bytes());
        Ok(secret.map(seal).transpose()?)
    }

    fn opened(&self, row: Row) -> Result<ProviderSession, StoreError> {
        let (key, user, provider, subject, groups, id_token, refresh_token) = row;
        let open = |column: &Column, sealed: Option<String>| {
            sealed.map(|sealed| self.sealer.open_text(column.at(&key), &sealed)).transpose()
        };
        Ok(ProviderSession {
            id: parse(&key, "provider_sessions.id")?,
            user: parse(&user, "identities.user_id")?,
            provider,
            subject,
            groups: from_json(&groups)?,
            id_token: open(&ID_TOKEN, id_token)?,
            refresh_token: open(&REFRESH_TOKEN, refresh_token)?,
        })
    }
}

fn json(groups: &[String]) -> String {
    serde_json::Value::from(groups).to_string()
}

fn from_json(groups: &str) -> Result<Vec<String>, StoreError> {
    serde_json::from_str(groups).map_err(|_| StoreError::Corrupt { column: "identities.groups" })
}
