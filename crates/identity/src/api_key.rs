//! Opaque secrets that are shown once and kept as their hash: API keys, the cookies of browser sessions, tickets.
//!
//! Each has 256 random bits, so a fast hash is enough to keep it (nobody guesses it), and looking it up by hash takes
//! the same time for every wrong one.
//!
//! Must not know: where hashes are kept.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use secrecy::SecretString;
use zeroize::Zeroizing;

use crate::random;
use crate::token::refresh_hash;

/// How every API key begins, so that scanners of source code find one that was committed.
pub const API_KEY_PREFIX: &str = "sk_live_";

/// Characters of an opaque secret: 32 bytes in base64url without padding.
pub const OPAQUE_LENGTH: usize = 43;

/// Characters of the secret part that are shown in lists.
const SHOWN: usize = 6;

/// A new secret and the hash under which it is kept.
#[must_use]
pub fn new_opaque() -> (SecretString, String) {
    let secret = random_text();
    let hash = opaque_hash(&secret);
    (SecretString::from(secret.as_str()), hash)
}

/// The hash under which an opaque secret is kept: SHA-256, hex.
#[must_use]
pub fn opaque_hash(secret: &str) -> String {
    refresh_hash(secret)
}

/// Whether this could be an opaque secret at all; what could not costs no look at the database.
#[must_use]
pub fn is_opaque(secret: &str) -> bool {
    secret.len() == OPAQUE_LENGTH
        && secret.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}

/// A new API key.
pub struct NewApiKey {
    /// The key, to be shown once.
    pub key: SecretString,
    /// Its beginning, to be shown in lists.
    pub prefix: String,
    /// What is kept.
    pub hash: String,
}

impl NewApiKey {
    /// Makes one.
    #[must_use]
    pub fn generate() -> Self {
        let key = Zeroizing::new(format!("{API_KEY_PREFIX}{}", *random_text()));
        let prefix = key.chars().take(API_KEY_PREFIX.len() + SHOWN).collect();
        Self { prefix, hash: opaque_hash(&key), key: SecretString::from(key.as_str()) }
    }
}

/// Whether a bearer token claims to be an API key, and if so, whether it could be one.
#[must_use]
pub fn claims_to_be_key(token: &str) -> Option<bool> {
    token.strip_prefix(API_KEY_PREFIX).map(is_opaque)
}

fn random_text() -> Zeroizing<String> {
    let mut bytes = Zeroizing::new([0_u8; 32]);
    random::fill(&mut *bytes);
    Zeroizing::new(URL_SAFE_NO_PAD.encode(*bytes))
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    #[test]
    fn keys_are_told_from_tokens() {
        let made = NewApiKey::generate();
        let key = made.key.expose_secret();
        assert_eq!(claims_to_be_key(key), Some(true));
        assert_eq!((made.prefix.len(), made.hash.len()), (14, 64));
        assert!(key.starts_with(&made.prefix) && !made.hash.contains(&key[8..]));
        assert_eq!(claims_to_be_key("sk_live_short"), Some(false));
        assert_eq!(claims_to_be_key("eyJhbGciOiJSUzI1NiJ9.e30.x"), None);
    }

    #[test]
    fn secrets_are_never_the_same() {
        let (one, two) = (new_opaque(), new_opaque());
        assert_ne!(one.1, two.1);
        assert!(is_opaque(one.0.expose_secret()));
        assert!(!is_opaque(&format!("{}\u{e4}", &one.0.expose_secret()[..41])));
    }
}
