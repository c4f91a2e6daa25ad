//! The enrolment token: `fla1.<secret>.<pin>`.
//!
//! The secret proves to the hub that an administrator wanted this agent; the pin (SHA-256 of the hub CA's DER) proves
//! the hub to the agent. One string to copy, and no certificate to carry about.
//!
//! Must not know: who may make one, or how long it lives.

use std::fmt;

use aws_lc_rs::{digest, rand};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use secrecy::{ExposeSecret, SecretString};

const PREFIX: &str = "fla1";
const SECRET_BYTES: usize = 32;
const PIN_BYTES: usize = 32;

/// A one-use enrolment token.
pub struct EnrolmentToken {
    secret: SecretString,
    pin: String,
}

/// Why a text is no token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an enrolment token: expected `fla1.<secret>.<pin>`, as `flotilla agents token` prints it")]
pub struct InvalidToken;

/// The system has no randomness to give.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the system's random number generator failed")]
pub struct NoRandomness;

impl EnrolmentToken {
    /// A token with a new secret of 256 bits.
    ///
    /// # Errors
    /// The system's random number generator failed.
    pub fn generate(pin: String) -> Result<Self, NoRandomness> {
        let mut secret = zeroize::Zeroizing::new([0_u8; SECRET_BYTES]);
        rand::fill(secret.as_mut_slice()).map_err(|_| NoRandomness)?;
        Ok(Self { secret: URL_SAFE_NO_PAD.encode(secret.as_slice()).into(), pin })
    }

    /// Reads a token; surrounding white space is ignored.
    ///
    /// # Errors
    /// [`InvalidToken`], whatever is wrong with it.
    pub fn parse(text: &str) -> Result<Self, InvalidToken> {
        let mut parts = text.trim().split('.');
        let (Some(PREFIX), Some(secret), Some(pin), None) = (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(InvalidToken);
        };
        if !decodes_to(secret, SECRET_BYTES) || !decodes_to(pin, PIN_BYTES) {
            return Err(InvalidToken);
        }
        Ok(Self { secret: secret.into(), pin: pin.to_owned() })
    }

    /// The token as text, secret included.
    pub fn format(&self) -> SecretString {
        format!("{PREFIX}.{}.{}", self.secret.expose_secret(), self.pin).into()
    }

    /// What the hub keeps of the secret: its SHA-256. The secret has 256 bits, so no salt or slow hash is needed.
    pub fn secret_hash(&self) -> [u8; 32] {
        let digest = digest::digest(&digest::SHA256, self.secret.expose_secret().as_bytes());
        let mut hash = [0; 32];
        hash.copy_from_slice(digest.as_ref());
        hash
    }

    /// Base64url of the SHA-256 of the hub CA's DER.
    pub fn pin(&self) -> &str {
        &self.pin
    }
}

fn decodes_to(text: &str, length: usize) -> bool {
    URL_SAFE_NO_PAD.decode(text).is_ok_and(|bytes| bytes.len() == length)
}

impl fmt::Debug for EnrolmentToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EnrolmentToken").field("secret", &"[redacted]").field("pin", &self.pin).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token() -> EnrolmentToken {
        EnrolmentToken::generate(crate::pki::pin_of(b"a certificate")).unwrap()
    }

    #[test]
    fn what_is_formatted_parses_to_the_same() {
        let token = token();
        let read = EnrolmentToken::parse(&format!(" {}\n", token.format().expose_secret())).unwrap();
        assert_eq!(read.secret_hash(), token.secret_hash());
        assert_eq!(read.pin(), token.pin());
    }

    #[test]
    fn secrets_differ_and_stay_out_of_debug() {
        let (a, b) = (token(), token());
        assert_ne!(a.secret_hash(), b.secret_hash());
        assert!(!format!("{a:?}").contains(a.secret.expose_secret()));
    }

    #[test]
    fn anything_else_is_refused() {
        let good = token().format().expose_secret().to_owned();
        let (head, pin) = good.rsplit_once('.').unwrap();
        for bad in [
            String::new(),
            "fla1".into(),
            format!("{good}.x"),
            good.replacen("fla1", "fla2", 1),
            head.into(),
            format!("{head}.{}", &pin[1..]),
            format!("fla1.c2hvcnQ.{pin}"),
            good.replacen('.', "..", 1),
        ] {
            assert_eq!(EnrolmentToken::parse(&bad).err(), Some(InvalidToken), "{bad}");
        }
    }
}
