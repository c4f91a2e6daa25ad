//! From what a caller shows (access token, API key, session cookie) to a [`Principal`].
//!
//! A token is verified, then its session must still live; a key or a cookie is looked up by its hash. What was found
//! is remembered for at most
//! [`CACHED_FOR`], so a busy client costs one look at the database per ten seconds. Within that time
//! - a token ends when it ends, not when its entry does;
//! - [`Authenticator::forget_session`] and its like take effect at once, also against a look at the
//!   database that is under way: what it finds is not trusted but looked up again.
//!
//! Whoever changes sessions, accounts or roles: change the database first, then call `forget_*`.
//!
//! Must not know: HTTP headers, SQL.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest::SHA256;
use flotilla_types::id::{ApiKeyId, SessionId, UserId};
use flotilla_types::time::now_ms;
use moka::sync::Cache;
use parking_lot::Mutex;
use thiserror::Error;
use tokio::sync::watch;

use crate::api_key::{claims_to_be_key, is_opaque, opaque_hash};
use crate::principal::{Principal, Via};
use crate::scopes::Scopes;
use crate::token::{AccessClaims, KeyRing, LEEWAY_SECONDS, TokenError};

/// How long a verified token is believed without another look at the database.
pub const CACHED_FOR: Duration = Duration::from_secs(10);

/// Tokens remembered at most.
const CAPACITY: u64 = 20_000;

/// Longest wait for the database.
const DEADLINE: Duration = Duration::from_secs(5);

/// Looks at the database per call, when what was found keeps being forgotten meanwhile.
const ROUNDS: usize = 3;

/// Acts of forgetting that are remembered one by one.
const REMEMBERED: usize = 256;

/// A future in a box, the same type as `futures_util::future::BoxFuture`.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What the authenticator must know of accounts.
pub trait Accounts: Send + Sync + 'static {
    /// The session with its user, address and roles as they are now, when the session has not ended
    /// and its user still exists.
    fn live_session(&self, id: SessionId) -> BoxFuture<'_, Result<Option<LiveSession>, AccountsError>>;

    /// The browser session, when it has not ended, idled out or lost its user. Without a body: there are none.
    fn browser_session<'a>(
        &'a self,
        _by: By<'a, SessionId>,
    ) -> BoxFuture<'a, Result<Option<LiveBrowserSession>, AccountsError>> {
        Box::pin(async { Ok(None) })
    }

    /// The API key, when it holds and its owner still exists. Without a body: there are none.
    fn api_key<'a>(&'a self, _by: By<'a, ApiKeyId>) -> BoxFuture<'a, Result<Option<LiveApiKey>, AccountsError>> {
        Box::pin(async { Ok(None) })
    }
}

/// By what something is looked up.
#[derive(Clone, Copy, Debug)]
pub enum By<'a, Id> {
    /// The hash of its secret ([`opaque_hash`]).
    Hash(&'a str),
    /// Its id.
    Id(Id),
}

/// A browser session that lives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LiveBrowserSession {
    /// The session.
    pub id: SessionId,
    /// Whose it is.
    pub owner: LiveSession,
    /// When it ends, used or not; milliseconds since the epoch.
    pub ends_at_ms: i64,
}

/// An API key that holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LiveApiKey {
    /// The key.
    pub id: ApiKeyId,
    /// Whose it is.
    pub owner: LiveSession,
    /// What it may be used for, as written.
    pub scopes: Vec<String>,
    /// When it ends; milliseconds since the epoch.
    pub ends_at_ms: Option<i64>,
}

/// A session that lives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LiveSession {
    /// Its user.
    pub user: UserId,
    /// The user's address.
    pub email: String,
    /// Names of the user's roles, from all sources: teams, groups and grants too.
    pub roles: Vec<String>,
    /// The user's groups at the identity provider, as of the session's last token from there.
    pub groups: Vec<String>,
}

/// The accounts could not be read.
#[derive(Debug, Error)]
#[error("accounts could not be read: {0}")]
pub struct AccountsError(#[source] pub Box<dyn std::error::Error + Send + Sync>);

/// Why there is no principal.
#[derive(Debug, Error)]
pub enum AuthnError {
    /// The token does not hold.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// The token holds, but its session was ended.
    #[error("the session has ended: sign in again")]
    SessionEnded,
    /// No API key of ours, or one that was revoked or has ended; deliberately one answer.
    #[error("the API key is unknown, revoked or expired: make another with: flotilla api-keys create")]
    KeyRefused,
    /// The database did not answer, so nobody can be let in. Not the caller's fault.
    #[error("the session could not be checked: try again")]
    Unavailable(#[source] AccountsError),
}

/// Authenticates access tokens. Share one.
pub struct Authenticator {
    keys: KeyRing,
    accounts: Arc<dyn Accounts>,
    /// By SHA-256, so that no usable token lies in memory.
    cache: Cache<[u8; 32], Arc<Entry>>,
    /// Taken to write to the cache and to forget, never to read.
    forgotten: Mutex<Forgotten>,
    changes: watch::Sender<()>,
}

struct Entry {
    principal: Principal,
    /// Not believed from then on; milliseconds since the epoch.
    ends_at_ms: i64,
}

/// What the accounts are asked.
enum Question<'a> {
    Token(&'a AccessClaims),
    Browser(By<'a, SessionId>),
    Key(By<'a, ApiKeyId>),
}

impl Authenticator {
    /// With the keys that sign and the accounts that sign in.
    #[must_use]
    pub fn new(keys: KeyRing, accounts: Arc<dyn Accounts>) -> Self {
        let cache = Cache::builder().max_capacity(CAPACITY).time_to_live(CACHED_FOR).build();
        Self { keys, accounts, cache, forgotten: Mutex::default(), changes: watch::Sender::new(()) }
    }

    /// Who holds this bearer token: an access token or an API key.
    ///
    /// # Errors
    /// Why nobody does, or that it could not be found out.
    pub async fn authenticate(&self, token: &str) -> Result<Principal, AuthnError> {
        let key = token_key(b"bearer", token);
        if let Some(principal) = self.remembered(&key) {
            return Ok(principal);
        }
        match claims_to_be_key(token) {
            Some(true) => self.look_up(key, Question::Key(By::Hash(&opaque_hash(token)))).await,
            Some(false) => Err(AuthnError::KeyRefused),
            None => {
                let claims = self.keys.verify_access(token)?;
                self.look_up(key, Question::Token(&claims)).await
            }
        }
    }

    /// Who holds this session cookie.
    ///
    /// # Errors
    /// Why nobody does, or that it could not be found out.
    pub async fn authenticate_cookie(&self, value: &str) -> Result<Principal, AuthnError> {
        let key = token_key(b"cookie", value);
        if let Some(principal) = self.remembered(&key) {
            return Ok(principal);
        }
        if !is_opaque(value) {
            return Err(AuthnError::SessionEnded);
        }
        self.look_up(key, Question::Browser(By::Hash(&opaque_hash(value)))).await
    }

    /// Who is behind a proof that was checked before, if it still holds now. Not remembered.
    ///
    /// # Errors
    /// It holds no longer, or that could not be found out.
    pub async fn resolve(&self, via: Via) -> Result<Principal, AuthnError> {
        let found = match via {
            Via::Token(session) => {
                let live = within_deadline(self.accounts.live_session(session)).await?;
                live.map(|live| Found { via, owner: live, scopes: None, ends_at_ms: i64::MAX })
            }
            Via::Browser(session) => self.find(&Question::Browser(By::Id(session))).await?,
            Via::Key(key) => self.find(&Question::Key(By::Id(key))).await?,
            Via::System => None,
        };
        found.map(Found::principal).ok_or(AuthnError::SessionEnded)
    }

    fn remembered(&self, key: &[u8; 32]) -> Option<Principal> {
        let entry = self.cache.get(key)?;
        (now_ms() < entry.ends_at_ms).then(|| entry.principal.clone())
    }

    async fn look_up(&self, key: [u8; 32], question: Question<'_>) -> Result<Principal, AuthnError> {
        for _ in 0..ROUNDS {
            let seen = self.forgotten.lock().count;
            let Some(found) = self.find(&question).await? else {
                return Err(match question {
                    Question::Key(_) => AuthnError::KeyRefused,
                    Question::Token(_) | Question::Browser(_) => AuthnError::SessionEnded,
                });
            };
            let ends_at_ms = found.ends_at_ms;
            let principal = found.principal();
            if self.remember(key, Entry { principal: principal.clone(), ends_at_ms }, seen) {
                return Ok(principal);
            }
        }
        Err(AuthnError::Unavailable(AccountsError("the session kept changing while it was read".into())))
    }

    async fn find(&self, question: &Question<'_>) -> Result<Option<Found>, AuthnError> {
        match question {
            Question::Token(claims) => {
                let live = within_deadline(self.accounts.live_session(claims.sid)).await?;
                // The last second of the leeway counts whole, as it does when the token is verified.
                let ends = claims.exp.saturating_add_unsigned(LEEWAY_SECONDS + 1).saturating_mul(1000);
                let owner = live.filter(|live| live.user == claims.sub);
                Ok(owner.map(|owner| Found { via: Via::Token(claims.sid), owner, scopes: None, ends_at_ms: ends }))
            }
            Question::Browser(by) => {
                let live = within_deadline(self.accounts.browser_session(*by)).await?;
                Ok(live.map(|live| Found {
                    via: Via::Browser(live.id),
                    owner: live.owner,
                    scopes: None,
                    ends_at_ms: live.ends_at_ms,
                }))
            }
            Question::Key(by) => within_deadline(self.accounts.api_key(*by)).await?.map(Found::of_key).transpose(),
        }
    }

    /// Remembers what was found, unless it was forgotten since `seen`. Under the lock, so that nothing
    /// slips in between a look at the list and the write.
    fn remember(&self, key: [u8; 32], entry: Entry, seen: u64) -> bool {
        let forgotten = self.forgotten.lock();
        if forgotten.concerns(&entry, seen) {
            return false;
        }
        self.cache.insert(key, Arc::new(entry));
        true
    }

    /// Ends what is remembered of one session, for example after a sign-out.
    pub fn forget_session(&self, session: SessionId) {
        self.forget(Scope::Session(session));
    }

    /// Ends what is remembered of one API key, after it was revoked.
    pub fn forget_key(&self, key: ApiKeyId) {
        self.forget(Scope::Key(key));
    }

    /// Ends what is remembered of one user, for example after a change of roles.
    pub fn forget_user(&self, user: UserId) {
        self.forget(Scope::User(user));
    }

    /// Ends all that is remembered, for example after a change of the roles file.
    pub fn forget_all(&self) {
        self.forget(Scope::All);
    }

    /// Sees each act of forgetting: what was decided by roles or sessions of before is to be decided anew.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<()> {
        self.changes.subscribe()
    }

    fn forget(&self, scope: Scope) {
        self.forget_cached(scope);
        self.changes.send_replace(());
    }

    fn forget_cached(&self, scope: Scope) {
        let mut forgotten = self.forgotten.lock();
        forgotten.add(scope);
        for (key, entry) in &self.cache {
            if scope.holds(&entry) {
                self.cache.invalidate(&*key);
            }
        }
    }
}

/// A proof that holds.
struct Found {
    via: Via,
    owner: LiveSession,
    scopes: Option<Scopes>,
    ends_at_ms: i64,
}

impl Found {
    fn of_key(live: LiveApiKey) -> Result<Self, AuthnError> {
        // They were checked when the key was made: another version of the hub must have known more of them.
        let scopes =
            Scopes::parse(&live.scopes).map_err(|error| AuthnError::Unavailable(AccountsError(error.into())))?;
        let ends_at_ms = live.ends_at_ms.unwrap_or(i64::MAX);
        Ok(Self { via: Via::Key(live.id), owner: live.owner, scopes: Some(scopes), ends_at_ms })
    }

    fn principal(self) -> Principal {
        Principal::new(self.owner.user, self.owner.email, self.via, self.owner.roles, self.owner.groups, self.scopes)
    }
}

async fn within_deadline<T>(asked: BoxFuture<'_, Result<T, AccountsError>>) -> Result<T, AuthnError> {
    let late = |_| AccountsError(format!("no answer within {} s", DEADLINE.as_secs()).into());
    tokio::time::timeout(DEADLINE, asked).await.map_err(late).and_then(|found| found).map_err(AuthnError::Unavailable)
}

/// A cookie is no bearer token and the other way round, even if one day they should look alike.
fn token_key(kind: &[u8], token: &str) -> [u8; 32] {
    let mut context = aws_lc_rs::digest::Context::new(&SHA256);
    context.update(kind);
    context.update(token.as_bytes());
    let mut key = [0; 32];
    key.copy_from_slice(context.finish().as_ref());
    key
}

/// Whom an act of forgetting concerns.
#[derive(Clone, Copy)]
enum Scope {
    Session(SessionId),
    User(UserId),
    Key(ApiKeyId),
    All,
}

impl Scope {
    fn holds(self, entry: &Entry) -> bool {
        match self {
            Self::Session(session) => entry.principal.session() == Some(session),
            Self::User(user) => entry.principal.user_id() == user,
            Self::Key(key) => entry.principal.via() == Via::Key(key),
            Self::All => true,
        }
    }
}

/// What was forgotten lately.
#[derive(Default)]
struct Forgotten {
    /// All acts so far.
    count: u64,
    /// The last of them, newest first.
    recent: VecDeque<Scope>,
}

impl Forgotten {
    fn add(&mut self, scope: Scope) {
        self.count += 1;
        self.recent.truncate(REMEMBERED - 1);
        self.recent.push_front(scope);
    }

    /// Whether the entry was forgotten after the first `seen` acts. When more acts came since than
    /// are remembered, it counts as forgotten.
    fn concerns(&self, entry: &Entry, seen: u64) -> bool {
        let missed = usize::try_from(self.count - seen).unwrap_or(usize::MAX);
        missed > self.recent.len() || self.recent.iter().take(missed).any(|scope| scope.holds(entry))
    }
}
