//! Passwords: rules, hashing, verification.
//!
//! New hashes are argon2id with the parameters that OWASP gives first (19 MiB, two passes, one lane;
//! the default of the `argon2` crate). bcrypt hashes (`$2a$`, `$2b$`, `$2y$`) from elsewhere verify
//! too; [`needs_rehash`] tells when to replace one after a successful sign-in.
//!
//! Hashing is work for a blocking thread and takes 19 MiB, so at most [`CONCURRENCY`] run at a time
//! and at most [`QUEUE`] wait; more are turned away at once.
//!
//! An unknown account costs as much time as a known one with an argon2id hash. A bcrypt hash takes
//! its own time until the first sign-in has replaced it.
//!
//! Must not know: whose password it is, where hashes are kept.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use argon2::{Algorithm, Argon2, Params, Version};
use secrecy::{ExposeSecret, SecretString};
use thiserror::Error;
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

use crate::random;

/// Hashes computed at the same time.
pub const CONCURRENCY: usize = 2;

/// Hashes computed or waiting for their turn.
pub const QUEUE: usize = 64;

/// For longer than the allocator keeps freed memory (mimalloc: 1 s).
const ALLOCATOR_KEEPS: Duration = Duration::from_millis(1500);

/// Shortest password, in characters.
pub const MIN_LENGTH: usize = 12;

/// Longest password, in characters.
pub const MAX_LENGTH: usize = 256;

/// Without `0 O 1 l I o`, which people confuse.
const ALPHABET: &[u8; 56] = b"abcdefghijkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789";

/// Characters of a generated password: 24 of 56 are 139 bits.
const GENERATED_LENGTH: usize = 24;

/// Verified when there is no account, with the cost of a real hash. Nobody knows a password for it,
/// and a match would not count.
const DUMMY: &str = "$argon2id$v=19$m=19456,t=2,p=1$ZmxvdGlsbGEtdW5rbm93bg$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// Limits on imported hashes, so that none can stop the hub: memory in KiB, passes, lanes, and
/// bcrypt's cost (2^15 rounds take about two seconds).
const MAX_MEMORY_KIB: u32 = 256 * 1024;
const MAX_PASSES: u32 = 16;
const MAX_LANES: u32 = 16;
const BCRYPT_COSTS: std::ops::RangeInclusive<u32> = 4..=15;

/// Why a password was not hashed or verified. Says nothing about whether it was right.
#[derive(Debug, Error)]
pub enum PasswordError {
    /// [`QUEUE`] others are waiting.
    #[error("too many sign-ins at once: try again in a few seconds")]
    Busy,
    /// The hash function refused, or its thread died.
    #[error("the password could not be hashed: {0}")]
    Hash(String),
}

/// Which rule a new password breaks.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum WeakPassword {
    /// Fewer than [`MIN_LENGTH`] characters.
    #[error("the password is too short: use at least {MIN_LENGTH} characters")]
    TooShort,
    /// More than [`MAX_LENGTH`] characters.
    #[error("the password is too long: use at most {MAX_LENGTH} characters")]
    TooLong,
}

/// Checks a new password: [`MIN_LENGTH`] to [`MAX_LENGTH`] characters of any kind, as NIST SP 800-63B
/// section 3.1.1 advises (no rules of composition).
///
/// # Errors
/// Which rule it breaks.
pub fn check_rules(password: &str) -> Result<(), WeakPassword> {
    match password.chars().count() {
        n if n < MIN_LENGTH => Err(WeakPassword::TooShort),
        n if n > MAX_LENGTH => Err(WeakPassword::TooLong),
        _ => Ok(()),
    }
}

/// A new password of 24 characters that are hard to confuse, from the operating system's generator.
#[must_use]
pub fn generate() -> SecretString {
    // Bytes from the last, incomplete multiple of the alphabet's length up are dropped, so that every
    // character is equally likely.
    let fair = u8::MAX - (u8::MAX % 56);
    let mut password = Zeroizing::new(String::with_capacity(GENERATED_LENGTH));
    let mut bytes = Zeroizing::new([0_u8; 2 * GENERATED_LENGTH]);
    while password.len() < GENERATED_LENGTH {
        random::fill(&mut *bytes);
        let fresh = bytes.iter().filter(|byte| **byte < fair).map(|byte| char::from(ALPHABET[usize::from(byte % 56)]));
        let room = GENERATED_LENGTH - password.len();
        password.extend(fresh.take(room));
    }
    SecretString::from(password.as_str())
}

/// Hashes a password with argon2id and a new salt, as a PHC string.
///
/// # Errors
/// [`PasswordError::Busy`] when too many wait.
pub async fn hash(password: SecretString) -> Result<String, PasswordError> {
    TURNS
        .run(move || {
            let hash = hasher().hash_password(password.expose_secret().as_bytes());
            hash.map(|hash| hash.to_string()).map_err(|error| PasswordError::Hash(error.to_string()))
        })
        .await?
}

/// Whether `password` belongs to `stored`. With `None` (no such account) or a hash that is not
/// supported the answer is `false`, after as much work as a real hash takes.
///
/// # Errors
/// [`PasswordError::Busy`] when too many wait; the password was not looked at.
pub async fn verify(password: SecretString, stored: Option<&str>) -> Result<bool, PasswordError> {
    let stored = stored.map(str::to_owned);
    TURNS.run(move || verify_blocking(password.expose_secret(), stored.as_deref())).await
}

fn verify_blocking(password: &str, stored: Option<&str>) -> bool {
    let known = stored.and_then(Stored::parse);
    match known {
        Some(Stored::Argon2id(hash)) => matches_argon2(password, &hash),
        Some(Stored::Bcrypt(hash)) => bcrypt::verify(password, hash).unwrap_or(false),
        None => {
            let dummy = PasswordHash::new(DUMMY);
            let _ = std::hint::black_box(dummy.is_ok_and(|hash| matches_argon2(password, &hash)));
            false
        }
    }
}

fn matches_argon2(password: &str, hash: &PasswordHash) -> bool {
    hasher().verify_password(password.as_bytes(), hash).is_ok()
}

fn hasher() -> Argon2<'static> {
    Argon2::new(Algorithm::Argon2id, Version::V0x13, Params::DEFAULT)
}

/// Whether [`verify`] can work with this hash: `$argon2id$...` or `$2a$`, `$2b$`, `$2y$`, at a cost
/// that the hub is ready to pay (256 MiB, 16 passes, 16 lanes; bcrypt cost 15).
#[must_use]
pub fn is_supported_hash(stored: &str) -> bool {
    Stored::parse(stored).is_some()
}

/// Whether a hash should be replaced once its password is known: everything but argon2id with at
/// least today's parameters.
#[must_use]
pub fn needs_rehash(stored: &str) -> bool {
    let Some(Stored::Argon2id(hash)) = Stored::parse(stored) else {
        return true;
    };
    let current = u32::from(Version::V0x13);
    let strong =
        |params: Params| params.m_cost() >= Params::DEFAULT_M_COST && params.t_cost() >= Params::DEFAULT_T_COST;
    hash.version != Some(current) || !Params::try_from(&*hash).is_ok_and(strong)
}

enum Stored<'a> {
    Argon2id(Box<PasswordHash>),
    Bcrypt(&'a str),
}

impl<'a> Stored<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        if text.starts_with("$argon2id$") {
            let hash = PasswordHash::new(text).ok()?;
            let params = Params::try_from(&hash).ok()?;
            let bearable =
                params.m_cost() <= MAX_MEMORY_KIB && params.t_cost() <= MAX_PASSES && params.p_cost() <= MAX_LANES;
            let whole = hash.salt.is_some() && hash.hash.is_some();
            return (bearable && whole).then(|| Self::Argon2id(Box::new(hash)));
        }
        let known = ["$2a$", "$2b$", "$2y$"].iter().any(|version| text.starts_with(version));
        let parts = text.is_ascii().then(|| text.parse::<bcrypt::HashParts>().ok()).flatten()?;
        (known && BCRYPT_COSTS.contains(&parts.get_cost())).then_some(Self::Bcrypt(text))
    }
}

/// Who may compute a hash now, and how many may wait for it.
struct Turns {
    queue: Arc<Semaphore>,
    running: Arc<Semaphore>,
}

/// One for the whole process, because memory and processors are, too.
static TURNS: LazyLock<Turns> = LazyLock::new(Turns::new);

impl Turns {
    fn new() -> Self {
        Self { queue: Arc::new(Semaphore::new(QUEUE)), running: Arc::new(Semaphore::new(CONCURRENCY)) }
    }

    /// Runs `work` on a blocking thread when its turn comes. The turn goes with the work, not with
    /// the caller, so callers that give up cannot pile up threads.
    async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, PasswordError> {
        let busy = |_| PasswordError::Busy;
        let place = self.queue.clone().try_acquire_owned().map_err(|_| PasswordError::Busy)?;
        let turn = self.running.clone().acquire_owned().await.map_err(busy)?;
        let done = tokio::task::spawn_blocking(move || {
            let _held = (place, turn);
            work()
        });
        let done = done.await.map_err(|error| PasswordError::Hash(error.to_string()));
        tokio::spawn(give_back());
        done
    }
}

/// The allocator gives the memory of a hash (19 MiB) back to the system when it is next called upon for something large,
/// and not before a second has passed. In an idle hub that may be never, so it is called upon here.
async fn give_back() {
    tokio::time::sleep(ALLOCATOR_KEEPS).await;
    drop(std::hint::black_box(Vec::<u8>::with_capacity(1024 * 1024)));
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::time::{Duration, Instant};

    use proptest::prelude::*;

    use super::*;

    const PASSWORD: &str = "correct horse battery";

    fn secret(text: &str) -> SecretString {
        SecretString::from(text)
    }

    #[tokio::test]
    async fn hashes_verify() {
        let stored = hash(secret(PASSWORD)).await.unwrap();
        assert!(stored.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{stored}");
        assert!(verify(secret(PASSWORD), Some(&stored)).await.unwrap());
        assert!(!verify(secret("correct horse batterY"), Some(&stored)).await.unwrap());
        assert!(!verify(secret(""), Some(&stored)).await.unwrap());
        assert!(!needs_rehash(&stored));
        assert_ne!(stored, hash(secret(PASSWORD)).await.unwrap(), "each hash has its own salt");
    }

    #[tokio::test]
    async fn bcrypt_from_elsewhere_verifies() {
        let parts = bcrypt::hash_with_salt(PASSWORD, 4, [7; 16]).unwrap();
        for version in [bcrypt::Version::TwoA, bcrypt::Version::TwoB, bcrypt::Version::TwoY] {
            let stored = parts.format_for_version(version);
            assert!(is_supported_hash(&stored), "{stored}");
            assert!(needs_rehash(&stored));
            assert!(verify(secret(PASSWORD), Some(&stored)).await.unwrap(), "{stored}");
            assert!(!verify(secret("wrong"), Some(&stored)).await.unwrap(), "{stored}");
        }
    }

    #[tokio::test]
    async fn a_known_answer_of_another_bcrypt() {
        // From the test vectors of Openwall's crypt_blowfish.
        let stored = "$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW";
        assert!(verify(secret("U*U"), Some(stored)).await.unwrap());
        assert!(!verify(secret("U*U*"), Some(stored)).await.unwrap());
    }

    #[tokio::test]
    async fn nobody_has_the_dummy_password() {
        assert!(!verify(secret(PASSWORD), None).await.unwrap());
        assert!(!verify(secret(PASSWORD), Some("plain text")).await.unwrap());
        assert!(!verify(secret(PASSWORD), Some("")).await.unwrap());
    }

    #[test]
    fn the_dummy_costs_what_a_new_hash_costs() {
        let dummy = PasswordHash::new(DUMMY).unwrap();
        let params = Params::try_from(&dummy).unwrap();
        let costs = (params.m_cost(), params.t_cost(), params.p_cost());
        assert_eq!(costs, (Params::DEFAULT_M_COST, Params::DEFAULT_T_COST, Params::DEFAULT_P_COST));
        assert!(is_supported_hash(DUMMY) && !needs_rehash(DUMMY));
    }

    /// Fails when one of the two paths skips the hash: that would be faster by orders of magnitude.
    #[test]
    fn an_unknown_account_takes_as_long() {
        let stored = hasher().hash_password(PASSWORD.as_bytes()).unwrap().to_string();
        let best = |stored: Option<&str>| {
            let once = || {
                let start = Instant::now();
                verify_blocking("wrong password", stored);
                start.elapsed()
            };
            (0..5).map(|_| once()).min().unwrap_or(Duration::ZERO)
        };
        let (known, unknown) = (best(Some(&stored)), best(None));
        assert!(unknown * 10 > known && known * 10 > unknown, "known {known:?}, unknown {unknown:?}");
    }

    #[test]
    fn dear_or_broken_hashes_are_refused() {
        let refused = [
            "$argon2id$v=19$m=4194304,t=2,p=1$ZmxvdGlsbGEtdW5rbm93bg$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
            "$argon2id$v=19$m=19456,t=99,p=1$ZmxvdGlsbGEtdW5rbm93bg$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
            "$argon2d$v=19$m=19456,t=2,p=1$ZmxvdGlsbGEtdW5rbm93bg$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
            "$argon2id$v=19$m=19456,t=2,p=1",
            "$argon2id$",
            "$2x$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW",
            "$2b$31$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW",
            "$2b$05$short",
            "$1$abc$def",
            "",
        ];
        for stored in refused {
            assert!(!is_supported_hash(stored), "{stored}");
            assert!(needs_rehash(stored), "{stored}");
        }
    }

    #[test]
    fn weaker_parameters_are_replaced() {
        let weak = "$argon2id$v=19$m=4096,t=2,p=1$ZmxvdGlsbGEtdW5rbm93bg$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
        assert!(is_supported_hash(weak) && needs_rehash(weak));
    }

    #[test]
    fn rules() {
        assert_eq!(check_rules("elevenchars"), Err(WeakPassword::TooShort));
        assert_eq!(check_rules("twelve chars"), Ok(()));
        assert_eq!(check_rules(&"ä".repeat(11)), Err(WeakPassword::TooShort), "characters count, not bytes");
        assert_eq!(check_rules(&"ä".repeat(256)), Ok(()));
        assert_eq!(check_rules(&"a".repeat(257)), Err(WeakPassword::TooLong));
    }

    #[test]
    fn generated_passwords() {
        let many: BTreeSet<String> = (0..200).map(|_| generate().expose_secret().to_owned()).collect();
        assert_eq!(many.len(), 200);
        let used: BTreeSet<u8> = many.iter().flat_map(|password| password.bytes()).collect();
        let alphabet: BTreeSet<u8> = ALPHABET.iter().copied().collect();
        assert_eq!(used, alphabet, "4,800 characters use the whole alphabet and nothing else");
        for password in &many {
            assert_eq!(password.len(), GENERATED_LENGTH);
            assert_eq!(check_rules(password), Ok(()));
        }
    }

    /// With turns of its own, so as not to disturb the other tests.
    #[tokio::test]
    async fn a_flood_is_turned_away() {
        let turns = Arc::new(Turns::new());
        let (release, released) = std::sync::mpsc::channel::<()>();
        let released = Arc::new(parking_lot::Mutex::new(released));
        let attempt = || {
            let (turns, released) = (turns.clone(), released.clone());
            tokio::spawn(async move { turns.run(move || released.lock().recv().is_ok()).await })
        };
        let accepted: Vec<_> = (0..QUEUE).map(|_| attempt()).collect();
        while turns.queue.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        for _ in 0..QUEUE {
            assert!(matches!(attempt().await.unwrap(), Err(PasswordError::Busy)));
        }
        assert_eq!(turns.running.available_permits(), 0);
        for _ in 0..QUEUE {
            release.send(()).unwrap();
        }
        for one in accepted {
            assert!(one.await.unwrap().unwrap(), "whoever was let in gets an answer");
        }
        assert_eq!(turns.queue.available_permits(), QUEUE);
    }

    proptest! {
        #[test]
        fn no_stored_text_panics(text in "(\\$(argon2id|2a|2b|2y)\\$)?[ -~äß]{0,90}") {
            let _ = (is_supported_hash(&text), needs_rehash(&text));
        }
    }
}
