//! Sign-ins that last: browser sessions (a cookie) and token sessions (the command line), as one list that people can
//! look through and end.
//!
//! A browser session is a random cookie whose hash is kept in one of four places ([`backend`]); it ends when it is
//! ended, when nobody used it for a while, and at the end of its time, used or not. Token sessions live in the hub's
//! own database. Accounts always do, so a session is worth nothing once its account is gone.
//!
//! Must not know: HTTP, but for the cookie that [`crate::request::arrival::Arrival`] makes.

pub mod backend;
mod database;
mod last_use;
mod memory;
mod redis;

use std::time::Duration;

use anyhow::Context;
use flotilla_identity::api_key::new_opaque;
use flotilla_identity::authn::By;
use flotilla_identity::principal::Via;
use flotilla_store::{BrowserSession, DatabaseConfig, Device, Driver, Store};
use flotilla_types::access::SessionView;
use flotilla_types::id::{SessionId, UserId};
use flotilla_types::time::{from_ms, now_ms};
use http::HeaderValue;
use secrecy::SecretString;

use backend::SessionBackend;
pub use backend::SessionError;
use last_use::LastUse;

use crate::config::Config;
use crate::error::ApiError;
use crate::hub::Hub;
use crate::keyring;
use crate::request::arrival::Arrival;

/// Sign-ins and where they are kept.
pub struct Sessions {
    backend: Box<dyn SessionBackend>,
    store: Store,
    idle: Duration,
    expiry: Duration,
    uses: LastUse,
}

/// A browser that has just been signed in.
pub struct SignedIn {
    /// Its session.
    pub session: SessionId,
    /// For the answer's `Set-Cookie`.
    pub set_cookie: HeaderValue,
    /// When the session ends, used or not; milliseconds since the epoch.
    pub ends_at_ms: i64,
}

/// A session of either kind with its owner.
pub struct Owned {
    /// Whose.
    pub user: UserId,
    /// As he sees it; `current` is not set.
    pub view: SessionView,
}

impl Sessions {
    /// Opens the place that is configured. `store` is the hub's own database.
    ///
    /// # Errors
    /// The place cannot be reached; the text names the key.
    pub async fn open(config: &Config, store: &Store) -> anyhow::Result<Self> {
        let session = &config.auth.session;
        let url = || session.url.as_ref().map(|url| SecretString::from(url.expose().to_owned()));
        let backend: Box<dyn SessionBackend> = match (session.backend.as_str(), &session.url) {
            ("memory", _) => Box::<memory::Memory>::default(),
            ("redis", _) => {
                let url = url().context("auth.session.url is missing; give redis://host:6379")?;
                Box::new(redis::Redis::connect(&url).await.context("auth.session.backend is redis")?)
            }
            ("postgres", Some(url)) => {
                let database = DatabaseConfig { driver: Driver::Postgres, url: url.expose().to_owned() };
                let other = Store::open(&database, keyring::sealer(config)?).await;
                let other = other.context("the database of auth.session.url cannot be opened")?;
                other.migrate().await.context("the database of auth.session.url cannot be brought up to date")?;
                Box::new(database::Database(other))
            }
            _ => Box::new(database::Database(store.clone())),
        };
        Ok(Self::with(backend, store.clone(), session.idle.0, session.expiry.0))
    }

    fn with(backend: Box<dyn SessionBackend>, store: Store, idle: Duration, expiry: Duration) -> Self {
        Self { backend, store, idle, expiry, uses: LastUse::default() }
    }

    /// Makes a browser session: the secret for its cookie, its id, and when it ends.
    async fn create(&self, user: UserId, device: Device) -> Result<(SecretString, BrowserSession), SessionError> {
        let (secret, hash) = new_opaque();
        let now = now_ms();
        let session = BrowserSession {
            id: SessionId::new(),
            user,
            user_agent: device.user_agent,
            address: device.address,
            created_at_ms: now,
            last_seen_ms: now,
            max_until_ms: now.saturating_add(in_ms(self.expiry)),
        };
        self.backend.create(&hash, &session).await?;
        Ok((secret, session))
    }

    /// The browser session, unless it has ended or was not used for too long.
    ///
    /// # Errors
    /// The place for sessions failed.
    pub async fn browser(&self, by: By<'_, SessionId>, now_ms: i64) -> Result<Option<BrowserSession>, SessionError> {
        let Some(session) = self.backend.find(by, now_ms).await? else { return Ok(None) };
        let via = Via::Browser(session.id);
        let seen = self.uses.of(via).unwrap_or_default().max(session.last_seen_ms);
        if now_ms - seen >= in_ms(self.idle) {
            self.backend.end(session.id).await?;
            return Ok(None);
        }
        Ok(Some(session))
    }

    /// Notes that a session or key was used.
    pub fn used(&self, via: Via, now_ms: i64) {
        self.uses.note(via, now_ms);
    }

    /// Ends a session of either kind. Whether it was there. Then: `Authenticator::forget_session`, which
    /// [`Hub::end_session`] does.
    ///
    /// # Errors
    /// The place for sessions failed.
    pub async fn end(&self, id: SessionId) -> Result<bool, SessionError> {
        Ok(self.backend.end(id).await? | self.store.end_session(id).await?)
    }

    /// Ends all sessions of a user and returns them. Then: `Authenticator::forget_user`, which
    /// [`Hub::end_sessions_of`] does.
    ///
    /// # Errors
    /// A place for sessions failed; some may have ended.
    pub async fn end_all(&self, user: UserId) -> Result<Vec<SessionId>, SessionError> {
        let mut ended = self.store.end_sessions_of(user).await?;
        ended.extend(self.backend.end_all(user).await?);
        Ok(ended)
    }

    /// The sessions of a user that are open, newest first.
    ///
    /// # Errors
    /// A place for sessions failed.
    pub async fn list(&self, user: UserId) -> Result<Vec<SessionView>, SessionError> {
        let now = now_ms();
        let idle_since = now - in_ms(self.idle);
        let browsers = self.backend.list(user, now).await?.into_iter().map(|session| self.view_browser(session));
        let browsers = browsers.filter(|view| view.last_seen.as_millisecond() > idle_since);
        let tokens = self.store.open_sessions_of(user, now).await?.into_iter().map(|session| self.view_token(session));
        let mut views: Vec<_> = browsers.chain(tokens).collect();
        views.sort_unstable_by_key(|view| std::cmp::Reverse(view.id));
        Ok(views)
    }

    /// An open session with its owner.
    ///
    /// # Errors
    /// A place for sessions failed.
    pub async fn find(&self, id: SessionId) -> Result<Option<Owned>, SessionError> {
        let now = now_ms();
        if let Some(session) = self.browser(By::Id(id), now).await? {
            return Ok(Some(Owned { user: session.user, view: self.view_browser(session) }));
        }
        let token = self.store.open_session(id, now).await?;
        Ok(token.map(|session| Owned { user: session.user, view: self.view_token(session) }))
    }

    fn view_browser(&self, session: BrowserSession) -> SessionView {
        let seen = self.uses.of(Via::Browser(session.id)).unwrap_or_default().max(session.last_seen_ms);
        SessionView {
            id: session.id,
            kind: "browser".to_owned(),
            user_agent: session.user_agent,
            address: session.address,
            created_at: from_ms(session.created_at_ms),
            last_seen: from_ms(seen),
            expires_at: from_ms(session.max_until_ms),
            current: false,
        }
    }

    fn view_token(&self, session: flotilla_store::TokenSession) -> SessionView {
        let noted = self.uses.of(Via::Token(session.id)).or(session.last_seen_ms);
        SessionView {
            id: session.id,
            kind: "token".to_owned(),
            user_agent: session.device.user_agent,
            address: session.device.address,
            created_at: from_ms(session.created_at_ms),
            last_seen: from_ms(noted.unwrap_or(session.created_at_ms)),
            expires_at: from_ms(session.max_until_ms),
            current: false,
        }
    }

    /// When a key was last used, if that is not written yet.
    #[must_use]
    pub fn noted_use(&self, via: Via) -> Option<i64> {
        self.uses.of(via)
    }

    /// Writes the uses that were noted.
    ///
    /// # Errors
    /// A place for sessions failed; what was not written is tried again.
    pub async fn write_uses(&self) -> Result<(), SessionError> {
        let due = self.uses.due();
        let (mut browsers, mut tokens, mut keys) = (Vec::new(), Vec::new(), Vec::new());
        for (via, at) in &due {
            match via {
                Via::Browser(id) => browsers.push((*id, *at)),
                Via::Token(id) => tokens.push((*id, *at)),
                Via::Key(id) => keys.push((*id, *at)),
                Via::System => {}
            }
        }
        if !browsers.is_empty() {
            self.backend.touch(&browsers).await?;
        }
        if !tokens.is_empty() {
            self.store.touch_sessions(&tokens).await?;
        }
        if !keys.is_empty() {
            self.store.touch_api_keys(&keys).await?;
        }
        self.uses.written(&due);
        Ok(())
    }

    /// Forgets browser sessions that nobody can use any more.
    ///
    /// # Errors
    /// The place for sessions failed.
    pub async fn forget(&self, now_ms: i64) -> Result<u64, SessionError> {
        self.backend.forget(now_ms, now_ms - in_ms(self.idle)).await
    }
}

impl Hub {
    /// Signs a browser in whose user has proven who he is: a new session with a new secret, whatever the browser came
    /// with; what it came with is ended, so that nobody can plant a session and wait. Writes no audit row: the caller
    /// says how the proof was given.
    ///
    /// # Errors
    /// The place for sessions failed.
    pub async fn sign_in(&self, user: UserId, arrival: &Arrival) -> Result<SignedIn, ApiError> {
        if let Some(hash) = arrival.cookie_hash()
            && let Some(old) = self.sessions.browser(By::Hash(&hash), now_ms()).await?
        {
            self.end_session(old.id).await?;
        }
        let (secret, session) = self.sessions.create(user, arrival.device()).await?;
        Ok(SignedIn {
            session: session.id,
            set_cookie: arrival.set_cookie(&secret, self.sessions.expiry),
            ends_at_ms: session.max_until_ms,
        })
    }

    /// Ends a session of either kind, at once. Whether it was there.
    ///
    /// # Errors
    /// The place for sessions failed.
    pub async fn end_session(&self, id: SessionId) -> Result<bool, ApiError> {
        let ended = self.sessions.end(id).await?;
        self.authenticator.forget_session(id);
        Ok(ended)
    }

    /// Ends all sessions of a user, at once. How many there were.
    ///
    /// # Errors
    /// A place for sessions failed; some may have ended.
    pub async fn end_sessions_of(&self, user: UserId) -> Result<usize, ApiError> {
        let ended = self.sessions.end_all(user).await;
        self.authenticator.forget_user(user);
        Ok(ended?.len())
    }
}

fn in_ms(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX / 4)
}

#[cfg(test)]
mod tests;
