//! Random values of sign-in flows, and how they are compared and kept.
//!
//! Must not know: what they are for.

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use secrecy::{ExposeSecret, SecretString};
use zeroize::Zeroizing;

use crate::{random, token};

/// A random value and the hash under which it is kept.
#[derive(Clone, Debug)]
pub struct Secret {
    /// 256 random bits, base64url: 43 characters, which also suits PKCE (RFC 7636 section 4.1).
    pub value: SecretString,
    /// SHA-256, hex.
    pub hash: String,
}

/// A new random value.
#[must_use]
pub fn new_secret() -> Secret {
    let (value, hash) = token::new_refresh_token();
    Secret { value, hash }
}

/// The hash under which a value is kept. A fast one is enough: the values have 256 random bits.
#[must_use]
pub fn secret_hash(value: &str) -> String {
    token::refresh_hash(value)
}

/// The PKCE challenge of a verifier: S256 (RFC 7636 section 4.2).
#[must_use]
pub fn challenge(verifier: &SecretString) -> String {
    URL_SAFE_NO_PAD.encode(digest(&SHA256, verifier.expose_secret().as_bytes()))
}

/// Letters of user codes: consonants, so that no words come about, without those that look alike (RFC 8628
/// section 6.1).
const LETTERS: &[u8; 20] = b"BCDFGHJKLMNPQRSTVWXZ";

/// A user code for the device flow, `BCDF-GHJK`: 34 bits, enough for ten minutes behind a sign-in and a throttle.
#[must_use]
pub fn new_user_code() -> String {
    let mut code = String::with_capacity(9);
    while code.len() < 9 {
        if code.len() == 4 {
            code.push('-');
        }
        let mut byte = Zeroizing::new([0_u8; 1]);
        random::fill(&mut *byte);
        // 240 is the largest multiple of 20 in a byte: what lies above would favour the first letters.
        if let Some(letter) = LETTERS.get(usize::from(byte[0] % 20)).filter(|_| byte[0] < 240) {
            code.push(char::from(*letter));
        }
    }
    code
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_rfc_7636() {
        let verifier = SecretString::from("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk");
        assert_eq!(challenge(&verifier), "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM");
    }

    #[test]
    fn user_codes_are_readable_and_differ() {
        let codes: std::collections::BTreeSet<String> = (0..200).map(|_| new_user_code()).collect();
        assert!(codes.len() > 190);
        for code in codes {
            assert!(code.len() == 9 && code.as_bytes()[4] == b'-', "{code}");
            assert!(code.bytes().all(|byte| byte == b'-' || LETTERS.contains(&byte)), "{code}");
        }
    }
}
