//! Tokens: access tokens for people (RS256), statements of identity for agents (`EdDSA`), refresh
//! tokens (opaque).
//!
//! | token | header | for |
//! |---|---|---|
//! | access | `alg: RS256`, `typ: at+jwt` (RFC 9068) | `Authorization: Bearer` at the hub |
//! | identity | `alg: EdDSA`, `typ: flotilla-identity+jwt` | the agent of one cluster, in the tunnel |
//! | checkpoint | `alg: EdDSA`, `typ: flotilla-audit-checkpoint+jwt` | whoever verifies the audit log (`flotilla-ledger`) |
//! | refresh | not a JWT, 256 random bits | `/auth/refresh`, once; stored as its SHA-256 |
//!
//! Only what was chosen here is accepted (RFC 8725): the algorithm and the type are fixed, the key
//! comes from our own ring and never from the token, and a header that asks for more is refused.
//!
//! Must not know: whether a session still lives ([`crate::authn`] asks), where keys are stored.

mod keys;

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use flotilla_types::agent::{IDENTITY_TOKEN_TYPE, IdentityClaims};
use flotilla_types::audit::{CHECKPOINT_TYPE, Checkpoint};
use flotilla_types::id::{SessionId, UserId};
use flotilla_types::time::{self, Timestamp};
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Header, Validation};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::random;

use keys::Keys;
pub use keys::{Algorithm, KeyError, KeyMaterial, KeyRing};

/// `iss` of every token.
pub const ISSUER: &str = "flotilla-hub";

/// `aud` of access tokens.
pub const AUDIENCE: &str = "flotilla";

/// `typ` of access tokens (RFC 9068 section 2.1).
pub const ACCESS_TOKEN_TYPE: &str = "at+jwt";

/// Seconds by which clocks may differ.
pub const LEEWAY_SECONDS: u64 = 5;

/// Longest access token that is looked at, in bytes. Ours have less than 1,000.
pub const MAX_TOKEN_LENGTH: usize = 4096;

/// Claims of an access token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessClaims {
    /// [`ISSUER`].
    pub iss: String,
    /// [`AUDIENCE`].
    pub aud: String,
    /// The account.
    pub sub: UserId,
    /// The session, which must still live.
    pub sid: SessionId,
    /// The account's address when the token was made. For people to read; never decided upon.
    pub email: String,
    /// Seconds since the epoch.
    pub iat: i64,
    /// Seconds since the epoch.
    pub exp: i64,
    /// Unique.
    pub jti: Uuid,
}

impl AccessClaims {
    /// Whether the token has ended, [`LEEWAY_SECONDS`] granted.
    #[must_use]
    pub fn is_expired(&self, now: Timestamp) -> bool {
        now.as_second().saturating_sub_unsigned(LEEWAY_SECONDS) > self.exp
    }
}

/// Why an access token does not hold. Callers outside get one answer for all of them.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum TokenError {
    /// Not a JWT as the hub makes them.
    #[error("the token is malformed")]
    Malformed,
    /// Another algorithm than RS256, `none` included.
    #[error("the token is not signed with RS256")]
    Algorithm,
    /// Another kind of token.
    #[error("the token is not an access token")]
    Type,
    /// `jku`, `jwk`, `x5u`, `x5c` or `crit`: the token tries to say how it is to be verified.
    #[error("the token's header holds a parameter that is not accepted")]
    Header,
    /// No `kid`, or none of ours.
    #[error("the token's key is not one of this hub")]
    UnknownKey,
    /// Changed, or signed by somebody else.
    #[error("the token's signature does not hold")]
    Signature,
    /// Too old.
    #[error("the token has expired: sign in again or refresh it")]
    Expired,
    /// Made by or for somebody else.
    #[error("the token was not made by this hub for this hub")]
    Claims,
}

/// A token could not be made.
#[derive(Debug, Error)]
#[error("the token could not be signed: {0}")]
pub struct SignError(#[from] jsonwebtoken::errors::Error);

impl KeyRing {
    /// Makes an access token that lives for `ttl`. Returns it with the time at which it ends.
    ///
    /// # Errors
    /// When signing fails.
    pub fn issue_access(
        &self,
        user: UserId,
        email: &str,
        session: SessionId,
        ttl: Duration,
    ) -> Result<(String, Timestamp), SignError> {
        let (iat, exp) = lifetime(ttl);
        let claims = AccessClaims {
            iss: ISSUER.to_owned(),
            aud: AUDIENCE.to_owned(),
            sub: user,
            sid: session,
            email: email.to_owned(),
            iat,
            exp,
            jti: Uuid::now_v7(),
        };
        let token = self.sign(Algorithm::Rs256, ACCESS_TOKEN_TYPE, &claims)?;
        Ok((token, time::from_ms(exp.saturating_mul(1000))))
    }

    /// Verifies an access token: header first, then the signature with the key that the header
    /// names among ours, then the claims.
    ///
    /// # Errors
    /// Why it does not hold.
    pub fn verify_access(&self, token: &str) -> Result<AccessClaims, TokenError> {
        if token.len() > MAX_TOKEN_LENGTH {
            return Err(TokenError::Malformed);
        }
        let kid = check_header(token)?;
        let keys = self.current();
        let key = keys.verifying(&kid, Algorithm::Rs256).ok_or(TokenError::UnknownKey)?;
        jsonwebtoken::decode(token, key, &access_validation()).map(|data| data.claims).map_err(|error| classify(&error))
    }

    /// Signs a statement for the agent of `cluster`: the caller is `user` with `groups`.
    ///
    /// # Errors
    /// When signing fails.
    pub fn issue_identity(
        &self,
        cluster: &str,
        user: &str,
        groups: &[String],
        ttl: Duration,
    ) -> Result<String, SignError> {
        let (iat, exp) = lifetime(ttl);
        let claims = IdentityClaims {
            iss: ISSUER.to_owned(),
            aud: cluster.to_owned(),
            sub: user.to_owned(),
            groups: groups.to_vec(),
            iat,
            exp,
        };
        self.sign(Algorithm::EdDsa, IDENTITY_TOKEN_TYPE, &claims)
    }

    /// Signs a checkpoint of the audit log. Returns it with the public half of its key, as a JWK, which whoever keeps
    /// the checkpoint needs for as long.
    ///
    /// # Errors
    /// When signing fails.
    pub fn sign_checkpoint(&self, checkpoint: &Checkpoint) -> Result<(String, serde_json::Value), SignError> {
        let keys = self.current();
        let kid = keys.signing(Algorithm::EdDsa).0;
        let public = keys.published(kid).ok_or_else(|| SignError(ErrorKind::InvalidKeyFormat.into()))?;
        Ok((keys.sign(Algorithm::EdDsa, CHECKPOINT_TYPE, checkpoint)?, public))
    }

    fn sign<T: Serialize>(&self, algorithm: Algorithm, kind: &str, claims: &T) -> Result<String, SignError> {
        self.current().sign(algorithm, kind, claims)
    }
}

impl Keys {
    fn sign<T: Serialize>(&self, algorithm: Algorithm, kind: &str, claims: &T) -> Result<String, SignError> {
        let (kid, key) = self.signing(algorithm);
        let mut header = Header::new(algorithm.into());
        header.typ = Some(kind.to_owned());
        header.kid = Some(kid.to_owned());
        Ok(jsonwebtoken::encode(&header, claims, key)?)
    }
}

/// Now and the end of `ttl`, in seconds since the epoch.
fn lifetime(ttl: Duration) -> (i64, i64) {
    let now = Timestamp::now().as_second();
    (now, now.saturating_add_unsigned(ttl.as_secs()))
}

/// Checks everything in the header and returns the key id.
fn check_header(token: &str) -> Result<String, TokenError> {
    let header = jsonwebtoken::decode_header(token).map_err(|error| header_error(token, &error))?;
    if header.alg != jsonwebtoken::Algorithm::RS256 {
        return Err(TokenError::Algorithm);
    }
    let brought = header.jku.is_some() || header.jwk.is_some() || header.x5u.is_some() || header.x5c.is_some();
    if brought || header.crit.is_some() || header.enc.is_some() || header.zip.is_some() {
        return Err(TokenError::Header);
    }
    if !header.typ.as_deref().is_some_and(|kind| kind.eq_ignore_ascii_case(ACCESS_TOKEN_TYPE)) {
        return Err(TokenError::Type);
    }
    header.kid.ok_or(TokenError::UnknownKey)
}

/// An algorithm that the library does not know (`none`) fails while the header is read; it deserves
/// its own word in the log all the same.
fn header_error(token: &str, error: &jsonwebtoken::errors::Error) -> TokenError {
    #[derive(Deserialize)]
    struct Alg {
        alg: String,
    }
    if !matches!(error.kind(), ErrorKind::Json(_)) {
        return TokenError::Malformed;
    }
    let header = token.split('.').next().and_then(|part| URL_SAFE_NO_PAD.decode(part).ok());
    match header.and_then(|header| serde_json::from_slice::<Alg>(&header).ok()) {
        Some(Alg { alg }) if alg != "RS256" => TokenError::Algorithm,
        _ => TokenError::Malformed,
    }
}

fn access_validation() -> Validation {
    let mut validation = Validation::new(jsonwebtoken::Algorithm::RS256);
    validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
    validation.set_issuer(&[ISSUER]);
    validation.set_audience(&[AUDIENCE]);
    validation.leeway = LEEWAY_SECONDS;
    validation
}

fn classify(error: &jsonwebtoken::errors::Error) -> TokenError {
    match error.kind() {
        ErrorKind::InvalidSignature => TokenError::Signature,
        ErrorKind::ExpiredSignature => TokenError::Expired,
        ErrorKind::InvalidAlgorithm => TokenError::Algorithm,
        ErrorKind::InvalidIssuer | ErrorKind::InvalidAudience | ErrorKind::MissingRequiredClaim(_) => {
            TokenError::Claims
        }
        _ => TokenError::Malformed,
    }
}

/// A new refresh token (256 random bits, base64url) and the hash under which it is stored.
#[must_use]
pub fn new_refresh_token() -> (SecretString, String) {
    let mut bytes = Zeroizing::new([0_u8; 32]);
    random::fill(&mut *bytes);
    let token = Zeroizing::new(URL_SAFE_NO_PAD.encode(*bytes));
    let hash = refresh_hash(&token);
    (SecretString::from(token.as_str()), hash)
}

/// The hash under which a refresh token is stored: SHA-256, hex. A fast hash is enough, because the
/// token has 256 bits of randomness.
#[must_use]
pub fn refresh_hash(token: &str) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, token.as_bytes());
    digest.as_ref().iter().fold(String::with_capacity(64), |mut hex, byte| {
        let digit = |nibble: u8| char::from_digit(u32::from(nibble), 16).unwrap_or('0');
        hex.extend([digit(byte >> 4), digit(byte & 15)]);
        hex
    })
}
