//! The hub's signing keys and the set that is published (JWKS, RFC 7517 and RFC 8037).
//!
//! For each algorithm the newest key that is not retired signs; every key in the ring verifies. To
//! rotate: insert a new key, retire the old one, [`KeyRing::replace`], and take the old one out of the
//! list when no token made with it can still live ([`KeyMaterial::is_spent`]).
//!
//! Must not know: claims, where keys are stored.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::Ed25519KeyPair;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use flotilla_types::time::now_ms;
use jsonwebtoken::jwk::{AlgorithmParameters, Jwk, PublicKeyUse, ThumbprintHash};
use jsonwebtoken::{DecodingKey, EncodingKey};
use secrecy::{ExposeSecret, SecretString};
use thiserror::Error;
use zeroize::Zeroizing;

/// Shortest RSA modulus accepted, in bits (RFC 7518 section 3.3).
const MIN_RSA_BITS: usize = 2048;

/// What a key signs with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// RSASSA-PKCS1-v1_5 with SHA-256: access tokens.
    Rs256,
    /// Ed25519: statements of identity.
    EdDsa,
}

impl Algorithm {
    /// The name registered for JWS (RFC 7518, RFC 8037); also used in the database.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rs256 => "RS256",
            Self::EdDsa => "EdDSA",
        }
    }
}

impl From<Algorithm> for jsonwebtoken::Algorithm {
    fn from(algorithm: Algorithm) -> Self {
        match algorithm {
            Algorithm::Rs256 => Self::RS256,
            Algorithm::EdDsa => Self::EdDSA,
        }
    }
}

/// A key or a ring of keys cannot be used.
#[derive(Debug, Error)]
pub enum KeyError {
    /// The key could not be made.
    #[error("a new {} key could not be made", .0.as_str())]
    Generate(Algorithm),
    /// Not a private key of a kind that is used here.
    #[error(
        "the signing key is not usable: give an RSA (2048 bits or more) or Ed25519 private key, PEM, PKCS #8, not encrypted"
    )]
    Unusable,
    /// Nothing to sign with.
    #[error("there is no {} key that is not retired: make one", .0.as_str())]
    NoSigningKey(Algorithm),
}

/// A private key and what is known of it.
#[derive(Clone)]
pub struct KeyMaterial {
    /// RFC 7638 thumbprint (SHA-256, base64url): follows from the key itself.
    pub kid: String,
    /// What it signs with.
    pub algorithm: Algorithm,
    /// PKCS #8, PEM.
    pub private_pem: SecretString,
    /// Milliseconds since the epoch.
    pub created_at_ms: i64,
    /// When it stopped signing, milliseconds since the epoch.
    pub retired_at_ms: Option<i64>,
}

impl fmt::Debug for KeyMaterial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyMaterial")
            .field("kid", &self.kid)
            .field("algorithm", &self.algorithm)
            .finish_non_exhaustive()
    }
}

impl KeyMaterial {
    /// Makes a new key, RSA with 2048 bits or Ed25519. RSA takes up to a second: call it on a
    /// blocking thread.
    ///
    /// # Errors
    /// When the cryptographic library fails.
    pub fn generate(algorithm: Algorithm) -> Result<Self, KeyError> {
        let failed = |_| KeyError::Generate(algorithm);
        let pem = match algorithm {
            Algorithm::Rs256 => {
                let key = KeyPair::generate(KeySize::Rsa2048).map_err(failed)?;
                let der: Pkcs8V1Der<'_> = key.as_der().map_err(failed)?;
                pem_of(der.as_ref())
            }
            Algorithm::EdDsa => {
                let key = Ed25519KeyPair::generate().map_err(failed)?;
                let der = key.to_pkcs8v1().map_err(failed)?;
                pem_of(der.as_ref())
            }
        };
        Self::from_pem(&pem)
    }

    /// Reads a private key (PKCS #8, PEM; for RSA also PKCS #1). Its age starts now; set
    /// `created_at_ms` when it is known.
    ///
    /// # Errors
    /// [`KeyError::Unusable`]; the text never holds any of the key.
    pub fn from_pem(pem: &str) -> Result<Self, KeyError> {
        let (algorithm, _, jwk) = read(pem)?;
        Ok(Self {
            kid: jwk.common.key_id.unwrap_or_default(),
            algorithm,
            private_pem: SecretString::from(pem),
            created_at_ms: now_ms(),
            retired_at_ms: None,
        })
    }

    /// Whether no token that this key signed can still live, when the longest lives for `longest`.
    #[must_use]
    pub fn is_spent(&self, now_ms: i64, longest: Duration) -> bool {
        let longest = i64::try_from(longest.as_millis()).unwrap_or(i64::MAX);
        let slack = 60_000;
        self.retired_at_ms.is_some_and(|retired| retired.saturating_add(longest).saturating_add(slack) < now_ms)
    }
}

/// Algorithm, key and public half (with `kid`, `use`, `alg`) of a private key.
fn read(pem: &str) -> Result<(Algorithm, EncodingKey, Jwk), KeyError> {
    let rsa = EncodingKey::from_rsa_pem(pem.as_bytes()).map(|key| (Algorithm::Rs256, key));
    let either = rsa.or_else(|_| EncodingKey::from_ed_pem(pem.as_bytes()).map(|key| (Algorithm::EdDsa, key)));
    let (algorithm, key) = either.map_err(|_| KeyError::Unusable)?;
    let mut jwk = Jwk::from_encoding_key(&key, algorithm.into()).map_err(|_| KeyError::Unusable)?;
    if let AlgorithmParameters::RSA(public) = &jwk.algorithm
        && base64_bits(&public.n) < MIN_RSA_BITS
    {
        return Err(KeyError::Unusable);
    }
    let thumbprint = jwk.thumbprint(ThumbprintHash::SHA256).map_err(|_| KeyError::Unusable)?;
    jwk.common.key_id = Some(thumbprint);
    jwk.common.public_key_use = Some(PublicKeyUse::Signature);
    Ok((algorithm, key, jwk))
}

/// Bits of a number in base64url without padding, rounded down to whole bytes.
fn base64_bits(text: &str) -> usize {
    text.len() * 6 / 8 * 8
}

fn pem_of(der: &[u8]) -> Zeroizing<String> {
    let body = Zeroizing::new(STANDARD.encode(der));
    let mut pem = Zeroizing::new(String::with_capacity(body.len() + body.len() / 64 + 64));
    pem.push_str("-----BEGIN PRIVATE KEY-----\n");
    for (index, character) in body.chars().enumerate() {
        if index > 0 && index % 64 == 0 {
            pem.push('\n');
        }
        pem.push(character);
    }
    pem.push_str("\n-----END PRIVATE KEY-----\n");
    pem
}

/// The keys in use. Clones share them; a replacement is seen by all at once.
#[derive(Clone)]
pub struct KeyRing(Arc<ArcSwap<Keys>>);

impl fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.current().verifying.keys()).finish()
    }
}

/// One generation of the ring.
pub(super) struct Keys {
    access: (String, EncodingKey),
    identity: (String, EncodingKey),
    verifying: HashMap<String, (Algorithm, DecodingKey)>,
    jwks: serde_json::Value,
}

impl KeyRing {
    /// A ring of these keys. At least one of each algorithm must not be retired.
    ///
    /// # Errors
    /// Which algorithm has no key, or that one of the keys is not usable.
    pub fn new(keys: Vec<KeyMaterial>) -> Result<Self, KeyError> {
        Ok(Self(Arc::new(ArcSwap::from_pointee(Keys::new(keys)?))))
    }

    /// Puts these keys in the place of the present ones. On an error nothing changes.
    ///
    /// # Errors
    /// As [`KeyRing::new`].
    pub fn replace(&self, keys: Vec<KeyMaterial>) -> Result<(), KeyError> {
        self.0.store(Arc::new(Keys::new(keys)?));
        Ok(())
    }

    /// The public halves of all keys in the ring, as a JWK set.
    #[must_use]
    pub fn jwks(&self) -> serde_json::Value {
        self.current().jwks.clone()
    }

    pub(super) fn current(&self) -> arc_swap::Guard<Arc<Keys>> {
        self.0.load()
    }
}

impl Keys {
    fn new(mut keys: Vec<KeyMaterial>) -> Result<Self, KeyError> {
        // Newest last, so that the last one that may sign does; by id when made in the same millisecond.
        keys.sort_by(|a, b| (a.created_at_ms, &a.kid).cmp(&(b.created_at_ms, &b.kid)));
        let (mut access, mut identity, mut verifying, mut published) = (None, None, HashMap::new(), Vec::new());
        for material in &keys {
            let (algorithm, key, jwk) = read(material.private_pem.expose_secret())?;
            let kid = jwk.common.key_id.clone().unwrap_or_default();
            let public = DecodingKey::from_jwk(&jwk).map_err(|_| KeyError::Unusable)?;
            verifying.insert(kid.clone(), (algorithm, public));
            published.push(serde_json::to_value(&jwk).map_err(|_| KeyError::Unusable)?);
            if material.retired_at_ms.is_none() {
                let slot = if algorithm == Algorithm::Rs256 { &mut access } else { &mut identity };
                *slot = Some((kid, key));
            }
        }
        Ok(Self {
            access: access.ok_or(KeyError::NoSigningKey(Algorithm::Rs256))?,
            identity: identity.ok_or(KeyError::NoSigningKey(Algorithm::EdDsa))?,
            verifying,
            jwks: serde_json::json!({ "keys": published }),
        })
    }

    pub(super) fn signing(&self, algorithm: Algorithm) -> (&str, &EncodingKey) {
        let (kid, key) = if algorithm == Algorithm::Rs256 { &self.access } else { &self.identity };
        (kid, key)
    }

    /// The public half of one of the keys, as a JWK.
    pub(super) fn published(&self, kid: &str) -> Option<serde_json::Value> {
        self.jwks["keys"].as_array()?.iter().find(|jwk| jwk["kid"] == kid).cloned()
    }

    pub(super) fn verifying(&self, kid: &str, algorithm: Algorithm) -> Option<&DecodingKey> {
        self.verifying.get(kid).filter(|(of, _)| *of == algorithm).map(|(_, key)| key)
    }
}
