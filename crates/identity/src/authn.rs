//! From an access token to a [`Principal`].
//!
//! A token is verified, then its session must still live. Both are remembered for at most
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

use aws_lc_rs::digest::{SHA256, digest};
use flotilla_types::id::{SessionId, UserId};
use flotilla_types::time::Timestamp;
use moka::sync::Cache;
use parking_lot::Mutex;
use thiserror::Error;

use crate::principal::Principal;
use crate::token::{AccessClaims, KeyRing, TokenError};

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
}

struct Entry {
    principal: Principal,
    claims: AccessClaims,
}

impl Authenticator {
    /// With the keys that sign and the accounts that sign in.
    #[must_use]
    pub fn new(keys: KeyRing, accounts: Arc<dyn Accounts>) -> Self {
        let cache = Cache::builder().max_capacity(CAPACITY).time_to_live(CACHED_FOR).build();
        Self { keys, accounts, cache, forgotten: Mutex::default() }
    }

    /// Who holds this token.
    ///
    /// # Errors
    /// Why nobody does, or that it could not be found out.
    pub async fn authenticate(&self, token: &str) -> Result<Principal, AuthnError> {
        let key = token_key(token);
        if let Some(entry) = self.cache.get(&key) {
            if entry.claims.is_expired(Timestamp::now()) {
                return Err(TokenError::Expired.into());
            }
            return Ok(entry.principal.clone());
        }
        let claims = self.keys.verify_access(token)?;
        self.look_up(key, claims).await
    }

    async fn look_up(&self, key: [u8; 32], claims: AccessClaims) -> Result<Principal, AuthnError> {
        for _ in 0..ROUNDS {
            let seen = self.forgotten.lock().count;
            let live = self.read(claims.sid).await?.filter(|live| live.user == claims.sub);
            let live = live.ok_or(AuthnError::SessionEnded)?;
            let principal = Principal::new(live.user, live.email, claims.sid, live.roles, live.groups);
            let entry = Entry { principal: principal.clone(), claims: claims.clone() };
            if self.remember(key, entry, seen) {
                return Ok(principal);
            }
        }
        Err(AuthnError::Unavailable(AccountsError("the session kept changing while it was read".into())))
    }

    async fn read(&self, session: SessionId) -> Result<Option<LiveSession>, AuthnError> {
        let found = tokio::time::timeout(DEADLINE, self.accounts.live_session(session)).await;
        let late = |_| AccountsError(format!("no answer within {} s", DEADLINE.as_secs()).into());
        found.map_err(late).and_then(|found| found).map_err(AuthnError::Unavailable)
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

    /// Ends what is remembered of one user, for example after a change of roles.
    pub fn forget_user(&self, user: UserId) {
        self.forget(Scope::User(user));
    }

    /// Ends all that is remembered, for example after a change of the roles file.
    pub fn forget_all(&self) {
        self.forget(Scope::All);
    }

    fn forget(&self, scope: Scope) {
        let mut forgotten = self.forgotten.lock();
        forgotten.add(scope);
        for (key, entry) in &self.cache {
            if scope.holds(&entry) {
                self.cache.invalidate(&*key);
            }
        }
    }
}

fn token_key(token: &str) -> [u8; 32] {
    let mut key = [0; 32];
    key.copy_from_slice(digest(&SHA256, token.as_bytes()).as_ref());
    key
}

/// Whom an act of forgetting concerns.
#[derive(Clone, Copy)]
enum Scope {
    Session(SessionId),
    User(UserId),
    All,
}

impl Scope {
    fn holds(self, entry: &Entry) -> bool {
        match self {
            Self::Session(session) => entry.claims.sid == session,
            Self::User(user) => entry.claims.sub == user,
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
