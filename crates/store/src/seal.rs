//! Envelope encryption of single columns.
//!
//! Each value gets a data key (DEK) of its own, 256 random bits; AES-256-GCM encrypts the value under the DEK
//! and the DEK under a key-encryption key (KEK), which comes from outside the database. Text form:
//!
//! ```text
//! s1.<id of the KEK>.<base64url(nonce || encrypted DEK || tag)>.<base64url(nonce || encrypted value || tag)>
//! ```
//!
//! Both layers authenticate the place of the value (table, column, row id), so a sealed value that is copied
//! to another row does not open there. The inner one knows nothing of the KEK, so another KEK is a matter of wrapping
//! the DEK again: the value itself is neither opened nor changed. Nonces are random; a KEK is good for 2^32 values
//! (NIST SP 800-38D 8.3).
//!
//! Guarantees: who has the database but not the KEK learns lengths only; a changed or moved value is refused.
//! Does not guarantee: that an old value of the same place is not put back.
//!
//! Must not know: which columns are sealed.

use std::sync::Arc;

use arc_swap::ArcSwap;
use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use secrecy::SecretString;
use thiserror::Error;
use zeroize::Zeroizing;

pub use crate::sealed::Place;

const VERSION: &str = "s1";
const KEY_LEN: usize = 32;

/// Why a value could not be sealed or opened. Never says anything of the value.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SealError {
    /// The list of keys cannot be used.
    #[error("the key-encryption keys cannot be used: {0}")]
    Keys(&'static str),
    /// The text is not of the form that this version writes.
    #[error("the sealed value is not of a known form")]
    Malformed,
    /// The KEK that sealed it is not among the configured ones.
    #[error("the sealed value needs key {id:?}; add that key again")]
    UnknownKey {
        /// Id of the missing KEK.
        id: String,
    },
    /// It does not open: another key of the same id, another row's value, or a changed one.
    #[error("the sealed value does not open here: it was changed, moved, or sealed with another key of the same id")]
    Refused,
    /// The cryptographic library failed, for example for want of randomness.
    #[error("encryption failed")]
    Failed,
}

/// A key-encryption key and the id under which sealed values name it.
#[derive(Clone)]
pub struct Kek {
    id: String,
    key: Zeroizing<[u8; KEY_LEN]>,
}

impl std::fmt::Debug for Kek {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Kek").field("id", &self.id).field("key", &"[redacted]").finish()
    }
}

impl Kek {
    /// A key from its 32 bytes.
    ///
    /// # Errors
    /// The id is not 1 to 32 of `A-Z a-z 0-9 _ -`.
    pub fn new(id: &str, key: [u8; KEY_LEN]) -> Result<Self, SealError> {
        let ok = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-');
        if (1..=32).contains(&id.len()) && id.bytes().all(ok) {
            Ok(Self { id: id.to_owned(), key: Zeroizing::new(key) })
        } else {
            Err(SealError::Keys("an id is 1 to 32 letters, digits, '-' and '_'"))
        }
    }

    /// A new random key.
    ///
    /// # Errors
    /// As [`Kek::new`], or the system gave no randomness.
    pub fn generate(id: &str) -> Result<Self, SealError> {
        let mut key = Zeroizing::new([0; KEY_LEN]);
        aws_lc_rs::rand::fill(key.as_mut_slice()).map_err(|_| SealError::Failed)?;
        Self::new(id, *key)
    }

    /// Reads the form that [`Kek::to_base64`] writes; surrounding white space is ignored.
    ///
    /// # Errors
    /// It is not base64 (standard or URL alphabet, with or without padding) of 32 bytes.
    pub fn from_base64(id: &str, text: &str) -> Result<Self, SealError> {
        let plain = Zeroizing::new(text.trim().trim_end_matches('=').replace('+', "-").replace('/', "_"));
        let bytes = Zeroizing::new(BASE64.decode(plain.as_bytes()).unwrap_or_default());
        let key = <[u8; KEY_LEN]>::try_from(bytes.as_slice());
        Self::new(id, key.map_err(|_| SealError::Keys("a key is 32 bytes in base64 (openssl rand -base64 32)"))?)
    }

    /// The key as base64url, for the file in which it is kept.
    #[must_use]
    pub fn to_base64(&self) -> Zeroizing<String> {
        Zeroizing::new(BASE64.encode(self.key.as_slice()))
    }

    /// The id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }
}

/// Where key-encryption keys are kept, so that a running program learns of a new one.
pub trait KekSource: Send + Sync {
    /// The keys as they are now, oldest first; `None` when they are what they were at the last call.
    ///
    /// # Errors
    /// They cannot be read. Those that are known stay.
    fn changed(&self) -> Result<Option<Vec<Kek>>, SealError>;
}

/// Seals and opens values. Cheap to clone.
#[derive(Clone)]
pub struct Sealer {
    /// Oldest first; never empty.
    keys: Arc<ArcSwap<Vec<Kek>>>,
    source: Option<Arc<dyn KekSource>>,
}

impl std::fmt::Debug for Sealer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sealer").field("keys", &self.keys.load()).finish_non_exhaustive()
    }
}

impl Sealer {
    /// A sealer with these keys, oldest first: the last one seals, all of them open.
    ///
    /// # Errors
    /// There is no key, or two have the same id.
    pub fn new(keys: Vec<Kek>) -> Result<Self, SealError> {
        check(&keys)?;
        Ok(Self { keys: Arc::new(ArcSwap::from_pointee(keys)), source: None })
    }

    /// A sealer that asks `source` before it seals, and when it meets a key that it does not know.
    ///
    /// # Errors
    /// As [`Sealer::new`].
    pub fn following(keys: Vec<Kek>, source: Arc<dyn KekSource>) -> Result<Self, SealError> {
        Ok(Self { source: Some(source), ..Self::new(keys)? })
    }

    /// Ids of the keys, oldest first.
    #[must_use]
    pub fn key_ids(&self) -> Vec<String> {
        self.keys.load().iter().map(|key| key.id.clone()).collect()
    }

    /// Takes up keys that changed. A source that fails leaves those that are known.
    pub(crate) fn follow(&self) {
        let Some(source) = &self.source else { return };
        match source.changed() {
            Ok(None) => {}
            Ok(Some(keys)) if check(&keys).is_ok() => self.keys.store(Arc::new(keys)),
            Ok(Some(_)) => {
                tracing::error!("the key-encryption keys on disk cannot be used; keeping those that are known")
            }
            Err(error) => {
                tracing::error!(%error, "the key-encryption keys cannot be read again; keeping those that are known")
            }
        }
    }

    /// Seals `plain` for `place` with the newest key.
    ///
    /// # Errors
    /// [`SealError::Failed`].
    pub fn seal(&self, place: Place<'_>, plain: &[u8]) -> Result<String, SealError> {
        self.follow();
        let keys = self.keys.load();
        let kek = keys.last().ok_or(SealError::Failed)?;
        let mut dek = Zeroizing::new([0; KEY_LEN]);
        aws_lc_rs::rand::fill(dek.as_mut_slice()).map_err(|_| SealError::Failed)?;
        let value = encrypt(&dek, &context("value", "", place), plain)?;
        wrap(kek, place, &dek, &BASE64.encode(value))
    }

    /// Opens what [`Sealer::seal`] made for the same place.
    ///
    /// # Errors
    /// [`SealError::Malformed`], [`SealError::UnknownKey`] or [`SealError::Refused`].
    pub fn open(&self, place: Place<'_>, sealed: &str) -> Result<Zeroizing<Vec<u8>>, SealError> {
        let (dek, value) = self.unwrap(place, sealed)?;
        decrypt(&dek, &context("value", "", place), value)
    }

    /// The data key of a sealed value, and the encrypted value itself.
    fn unwrap<'a>(&self, place: Place<'_>, sealed: &'a str) -> Result<(Zeroizing<[u8; KEY_LEN]>, &'a str), SealError> {
        let mut parts = sealed.split('.');
        let (Some(VERSION), Some(id), Some(dek), Some(value), None) =
            (parts.next(), parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(SealError::Malformed);
        };
        let kek = self.key(id).ok_or_else(|| SealError::UnknownKey { id: id.chars().take(32).collect() })?;
        let dek = decrypt(&kek.key, &context("dek", id, place), dek)?;
        let dek = <[u8; KEY_LEN]>::try_from(dek.as_slice()).map_err(|_| SealError::Malformed)?;
        Ok((Zeroizing::new(dek), value))
    }

    /// The key with this id; the source is asked when it is not known.
    fn key(&self, id: &str) -> Option<Kek> {
        let known = || self.keys.load().iter().find(|key| key.id == id).cloned();
        known().or_else(|| {
            self.follow();
            known()
        })
    }

    /// [`Sealer::open`] for values that are text.
    ///
    /// # Errors
    /// As [`Sealer::open`]; [`SealError::Malformed`] when it is not UTF-8.
    pub fn open_text(&self, place: Place<'_>, sealed: &str) -> Result<SecretString, SealError> {
        let bytes = self.open(place, sealed)?;
        std::str::from_utf8(&bytes).map(SecretString::from).map_err(|_| SealError::Malformed)
    }

    /// The same value with its data key under the newest key. The encrypted value ([`value_of`]) stays as it is.
    ///
    /// # Errors
    /// As [`Sealer::open`] and [`Sealer::seal`].
    pub fn reseal(&self, place: Place<'_>, sealed: &str) -> Result<String, SealError> {
        self.follow();
        let (dek, value) = self.unwrap(place, sealed)?;
        // What does not open now would not later: whoever rotates keys is told, while the old one is still there.
        decrypt(&dek, &context("value", "", place), value)?;
        let keys = self.keys.load();
        wrap(keys.last().ok_or(SealError::Failed)?, place, &dek, value)
    }

    /// Whether a value was sealed with an older key and should be sealed again.
    #[must_use]
    pub fn is_stale(&self, sealed: &str) -> bool {
        let keys = self.keys.load();
        key_id(sealed) != keys.last().map(Kek::id)
    }
}

/// Id of the key that sealed a value.
pub(crate) fn key_id(sealed: &str) -> Option<&str> {
    sealed.split('.').nth(1)
}

/// The encrypted value of a sealed one, which another key-encryption key does not change.
pub(crate) fn value_of(sealed: &str) -> &str {
    sealed.rsplit('.').next().unwrap_or_default()
}

/// The text form: the data key under `kek`, and the encrypted value.
fn wrap(kek: &Kek, place: Place<'_>, dek: &[u8; KEY_LEN], value: &str) -> Result<String, SealError> {
    let wrapped = encrypt(&kek.key, &context("dek", &kek.id, place), dek)?;
    Ok(format!("{VERSION}.{}.{}.{value}", kek.id, BASE64.encode(wrapped)))
}

fn check(keys: &[Kek]) -> Result<(), SealError> {
    if keys.is_empty() {
        return Err(SealError::Keys("at least one is needed"));
    }
    let twice = |(i, key): (usize, &Kek)| keys.iter().take(i).any(|other| other.id == key.id);
    if keys.iter().enumerate().any(twice) { Err(SealError::Keys("two have the same id")) } else { Ok(()) }
}

/// Associated data: each part preceded by its length, so that no two lists of parts give the same bytes.
fn context(layer: &str, kek: &str, place: Place<'_>) -> Vec<u8> {
    let parts = ["flotilla-seal-1", layer, kek, place.table, place.column, place.row];
    let length = |part: &str| (part.len() as u64).to_be_bytes();
    parts.iter().flat_map(|part| length(part).into_iter().chain(part.bytes())).collect()
}

fn cipher(key: &[u8; KEY_LEN]) -> Result<RandomizedNonceKey, SealError> {
    RandomizedNonceKey::new(&AES_256_GCM, key).map_err(|_| SealError::Failed)
}

/// `nonce || ciphertext || tag`.
fn encrypt(key: &[u8; KEY_LEN], context: &[u8], plain: &[u8]) -> Result<Vec<u8>, SealError> {
    // Room for the tag, so that appending it leaves no copy of the plain text behind.
    let mut buffer = Zeroizing::new(Vec::with_capacity(plain.len() + AES_256_GCM.tag_len()));
    buffer.extend_from_slice(plain);
    let nonce = cipher(key)?.seal_in_place_append_tag(Aad::from(context), &mut *buffer);
    let nonce = nonce.map_err(|_| SealError::Failed)?;
    Ok([nonce.as_ref().as_slice(), &buffer].concat())
}

fn decrypt(key: &[u8; KEY_LEN], context: &[u8], text: &str) -> Result<Zeroizing<Vec<u8>>, SealError> {
    let bytes = BASE64.decode(text).map_err(|_| SealError::Malformed)?;
    let (nonce, sealed) = bytes.split_at_checked(NONCE_LEN).ok_or(SealError::Malformed)?;
    let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| SealError::Malformed)?;
    let mut buffer = Zeroizing::new(sealed.to_vec());
    let length =
        cipher(key)?.open_in_place(nonce, Aad::from(context), &mut buffer).map_err(|_| SealError::Refused)?.len();
    buffer.truncate(length);
    Ok(buffer)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::sealed;

    fn place(row: &str) -> Place<'_> {
        sealed::CLUSTER_CREDENTIAL.at(row)
    }

    fn sealer(ids: &[&str]) -> Sealer {
        Sealer::new(ids.iter().map(|id| Kek::generate(id).unwrap()).collect()).unwrap()
    }

    proptest! {
        #[test]
        fn opens_what_it_sealed(plain: Vec<u8>, row in "\\PC{0,40}") {
            let sealer = sealer(&["a"]);
            let sealed = sealer.seal(place(&row), &plain).unwrap();
            let opened = sealer.open(place(&row), &sealed).unwrap();
            prop_assert_eq!(opened.as_slice(), plain.as_slice());
        }

        #[test]
        fn refuses_any_changed_character(plain: Vec<u8>, at: prop::sample::Index, to in "[A-Za-z0-9_.-]") {
            let sealer = sealer(&["a"]);
            let sealed = sealer.seal(place("1"), &plain).unwrap();
            let at = at.index(sealed.len());
            let mut changed = sealed.clone();
            changed.replace_range(at..=at, &to);
            prop_assume!(changed != sealed);
            prop_assert!(sealer.open(place("1"), &changed).is_err());
        }

        #[test]
        fn survives_any_text(text in "\\PC{0,200}") {
            prop_assert!(sealer(&["a"]).open(place("1"), &text).is_err());
        }
    }

    #[test]
    fn a_value_opens_in_its_own_place_only() {
        let sealer = sealer(&["a"]);
        let sealed = sealer.seal(place("1"), b"secret").unwrap();
        assert_eq!(sealer.open(place("2"), &sealed), Err(SealError::Refused));
        for other in [&sealed::SIGNING_KEY, &sealed::AUDIT_KEY] {
            assert_eq!(sealer.open(other.at("1"), &sealed), Err(SealError::Refused));
        }
    }

    #[test]
    fn halves_of_two_values_do_not_mix() {
        let sealer = sealer(&["a"]);
        let one = sealer.seal(place("1"), b"one").unwrap();
        let two = sealer.seal(place("1"), b"two").unwrap();
        let (head, _) = one.rsplit_once('.').unwrap();
        let (_, tail) = two.rsplit_once('.').unwrap();
        assert_eq!(sealer.open(place("1"), &format!("{head}.{tail}")), Err(SealError::Refused));
    }

    #[test]
    fn wrong_and_missing_keys() {
        let sealed = sealer(&["a"]).seal(place("1"), b"secret").unwrap();
        assert_eq!(sealer(&["a"]).open(place("1"), &sealed), Err(SealError::Refused));
        assert_eq!(sealer(&["b"]).open(place("1"), &sealed), Err(SealError::UnknownKey { id: "a".into() }));
    }

    #[test]
    fn the_newest_key_seals_and_all_open() {
        let (old, new) = (Kek::generate("old").unwrap(), Kek::generate("new").unwrap());
        let before = Sealer::new(vec![old.clone()]).unwrap();
        let both = Sealer::new(vec![old, new.clone()]).unwrap();
        let after = Sealer::new(vec![new]).unwrap();
        let first = before.seal(place("1"), b"secret").unwrap();
        assert!(both.is_stale(&first));
        let second = both.reseal(place("1"), &first).unwrap();
        assert!(!both.is_stale(&second));
        assert_eq!(value_of(&first), value_of(&second), "the value itself is not encrypted again");
        assert_ne!(first.rsplit_once('.').unwrap().0, second.rsplit_once('.').unwrap().0);
        assert_eq!(both.reseal(place("2"), &first), Err(SealError::Refused), "nothing moves with it");
        let broken = format!("{first}AAAA");
        assert!(both.reseal(place("1"), &broken).is_err(), "what does not open is not carried on");
        assert_eq!(after.open(place("1"), &second).unwrap().as_slice(), b"secret");
    }

    #[test]
    fn a_running_program_learns_of_a_new_key() {
        struct Keys(parking_lot::Mutex<Option<Vec<Kek>>>);
        impl KekSource for Keys {
            fn changed(&self) -> Result<Option<Vec<Kek>>, SealError> {
                Ok(self.0.lock().take())
            }
        }
        let (old, new) = (Kek::generate("old").unwrap(), Kek::generate("new").unwrap());
        let source = Arc::new(Keys(parking_lot::Mutex::new(None)));
        let running = Sealer::following(vec![old.clone()], source.clone()).unwrap();
        let rotated = Sealer::new(vec![old.clone(), new.clone()]).unwrap();
        let before = running.seal(place("1"), b"secret").unwrap();
        let after = rotated.reseal(place("1"), &before).unwrap();
        assert!(running.open(place("1"), &after).is_err(), "nobody has told it yet");
        *source.0.lock() = Some(vec![old, new]);
        assert_eq!(running.open(place("1"), &after).unwrap().as_slice(), b"secret");
        *source.0.lock() = Some(vec![]);
        assert!(!rotated.is_stale(&running.seal(place("1"), b"x").unwrap()), "nonsense changes nothing");
    }

    #[test]
    fn equal_values_look_different() {
        let sealer = sealer(&["a"]);
        assert_ne!(sealer.seal(place("1"), b"x").unwrap(), sealer.seal(place("1"), b"x").unwrap());
    }

    #[test]
    fn keys_are_checked_and_stay_secret() {
        assert!(Sealer::new(vec![]).is_err());
        let key = Kek::new("a", [7; 32]).unwrap();
        assert!(Sealer::new(vec![key.clone(), key.clone()]).is_err());
        assert!(Kek::new("a.b", [7; 32]).is_err());
        assert!(Kek::from_base64("a", "dG9vIHNob3J0").is_err());
        let again = Kek::from_base64("a", &format!("{}=\n", *key.to_base64())).unwrap();
        assert_eq!(*again.key, *key.key);
        let debug = format!("{:?}", Sealer::new(vec![key]).unwrap());
        assert!(debug.contains("redacted") && !debug.contains("7, 7"), "{debug}");
    }
}
