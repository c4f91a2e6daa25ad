//! Who is calling: the hub's signed statement on each request, and nothing else.
//!
//! A statement is a JWT signed with EdDSA (RFC 8037) by a key of the hub's JWKS, of type
//! [`IDENTITY_TOKEN_TYPE`], for this cluster. Statements that were verified are remembered, because the hub gives
//! the same one to many requests.
//!
//! Must not know: HTTP, or what the caller wants.

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use flotilla_types::agent::{IDENTITY_TOKEN_TYPE, IdentityClaims};
use flotilla_types::time::now_ms;
use flotilla_upstream::Identity;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use parking_lot::RwLock;
use serde::Deserialize;
use thiserror::Error;
use tokio::sync::Mutex;

/// `iss` of every statement.
const ISSUER: &str = "flotilla-hub";

/// How far clocks may be apart, in seconds.
const LEEWAY: u64 = 60;

/// Verified statements remembered. At 2 KiB each this stays under 2 MiB.
const REMEMBERED: u64 = 1024;

/// Keys are fetched at most once in this time when a statement names one that we do not have.
const REFETCH: Duration = Duration::from_secs(10);

/// The same after a fetch that failed.
const REFETCH_AFTER_FAILURE: Duration = Duration::from_secs(1);

/// Longer statements are refused unread.
const MAX_LENGTH: usize = 16 * 1024;

/// Why nothing goes to the API server. The text is for the caller, who can do nothing about most of it.
#[derive(Debug, Error, PartialEq, Eq)]
pub(crate) enum Refused {
    /// No statement, or more than one.
    #[error("the request carries no statement of the hub of who is calling")]
    Missing,
    /// A statement that does not hold.
    #[error("the hub's statement of who is calling does not hold: {0}")]
    Invalid(&'static str),
    /// Signed with a key that the hub does not publish, as far as we know.
    #[error("the hub's statement of who is calling is signed with an unknown key")]
    UnknownKey,
    /// A name that must not be used in a cluster.
    #[error("the hub's statement of who is calling names nobody that may be impersonated")]
    Name,
}

/// Where the hub's keys come from.
pub(crate) trait KeySource: Send + Sync + 'static {
    /// The hub's JWKS (RFC 7517 section 5).
    fn fetch(&self) -> impl Future<Output = anyhow::Result<serde_json::Value>> + Send;
}

/// Verifies statements for one cluster.
pub(crate) struct Verifier<S> {
    validation: Validation,
    source: S,
    keys: RwLock<HashMap<String, Arc<DecodingKey>>>,
    fetched: Mutex<Option<Fetched>>,
    remembered: moka::sync::Cache<Box<str>, Verified>,
}

#[derive(Clone)]
struct Verified {
    identity: Arc<Identity>,
    expires: i64,
}

struct Fetched {
    at: Instant,
    well: bool,
}

impl<S: KeySource> Verifier<S> {
    pub(crate) fn new(cluster: &str, source: S) -> Self {
        let mut validation = Validation::new(Algorithm::EdDSA);
        validation.set_audience(&[cluster]);
        validation.set_issuer(&[ISSUER]);
        validation.set_required_spec_claims(&["exp", "aud", "iss", "sub"]);
        validation.validate_nbf = true;
        validation.leeway = LEEWAY;
        Self {
            validation,
            source,
            keys: RwLock::default(),
            fetched: Mutex::new(None),
            remembered: moka::sync::Cache::builder()
                .max_capacity(REMEMBERED)
                .time_to_live(Duration::from_secs(300))
                .build(),
        }
    }

    /// The caller that a statement names.
    ///
    /// # Errors
    /// [`Refused`], for whatever reason.
    pub(crate) async fn verify(&self, token: &str) -> Result<Arc<Identity>, Refused> {
        if let Some(known) = self.remembered.get(token) {
            if now_ms() / 1000 <= known.expires.saturating_add(LEEWAY.cast_signed()) {
                return Ok(known.identity);
            }
            self.remembered.invalidate(token);
        }
        let key = self.key(&key_id(token)?).await?;
        let verified = self.check(token, &key)?;
        self.remembered.insert(token.into(), verified.clone());
        Ok(verified.identity)
    }

    fn check(&self, token: &str, key: &DecodingKey) -> Result<Verified, Refused> {
        let claims = decode::<IdentityClaims>(token, key, &self.validation)
            .map_err(|error| Refused::Invalid(reason(error.kind())))?
            .claims;
        if claims.iat > now_ms() / 1000 + LEEWAY.cast_signed() {
            return Err(Refused::Invalid("it is from the future; is this machine's clock right?"));
        }
        let identity = Identity::new(claims.sub, claims.groups).map_err(|_| Refused::Name)?;
        Ok(Verified { identity: Arc::new(identity), expires: claims.exp })
    }

    async fn key(&self, id: &str) -> Result<Arc<DecodingKey>, Refused> {
        let known = || self.keys.read().get(id).cloned();
        if let Some(key) = known() {
            return Ok(key);
        }
        let mut fetched = self.fetched.lock().await;
        // Somebody else may have fetched it while we waited for our turn.
        if let Some(key) = known() {
            return Ok(key);
        }
        let wait = |last: &Fetched| if last.well { REFETCH } else { REFETCH_AFTER_FAILURE };
        if fetched.as_ref().is_none_or(|last| last.at.elapsed() >= wait(last)) {
            let well = self.refresh().await;
            *fetched = Some(Fetched { at: Instant::now(), well });
        }
        known().ok_or(Refused::UnknownKey)
    }

    /// Fetches the hub's keys. What is known stays when that fails.
    async fn refresh(&self) -> bool {
        match self.source.fetch().await.and_then(|jwks| parse(jwks).map_err(Into::into)) {
            Ok(keys) => {
                *self.keys.write() = keys;
                // What an old key signed must not live on in memory.
                self.remembered.invalidate_all();
                true
            }
            Err(error) => {
                tracing::warn!(error = format!("{error:#}"), "cannot fetch the hub's keys");
                false
            }
        }
    }
}

/// The key that a statement names, after its header was found to be one of a statement. RFC 8725 section 3.1: the
/// algorithm is ours to choose, not the token's.
fn key_id(token: &str) -> Result<String, Refused> {
    if token.len() > MAX_LENGTH {
        return Err(Refused::Invalid("it is too long"));
    }
    let header = decode_header(token).map_err(|_| Refused::Invalid("it is not a JWT of a known algorithm"))?;
    if header.typ.as_deref() != Some(IDENTITY_TOKEN_TYPE) {
        return Err(Refused::Invalid("it is a token of another type"));
    }
    if header.alg != Algorithm::EdDSA {
        return Err(Refused::Invalid("it is not signed with EdDSA"));
    }
    header.kid.ok_or(Refused::UnknownKey)
}

fn reason(kind: &jsonwebtoken::errors::ErrorKind) -> &'static str {
    use jsonwebtoken::errors::ErrorKind;
    match kind {
        ErrorKind::ExpiredSignature => "it has expired",
        ErrorKind::ImmatureSignature => "it is not valid yet",
        ErrorKind::InvalidAudience => "it is for another cluster",
        ErrorKind::InvalidIssuer => "it is not from the hub",
        ErrorKind::InvalidSignature => "its signature is wrong",
        ErrorKind::MissingRequiredClaim(_) | ErrorKind::Json(_) | ErrorKind::InvalidClaimFormat(_) => {
            "a claim is missing or malformed"
        }
        _ => "it is malformed",
    }
}

#[derive(Deserialize)]
struct KeySet {
    keys: Vec<Key>,
}

/// RFC 8037 section 2. Keys of other types (the hub publishes RSA keys too) are not for us.
#[derive(Deserialize)]
struct Key {
    kty: String,
    #[serde(default)]
    crv: String,
    #[serde(default)]
    kid: String,
    #[serde(default)]
    x: String,
}

fn parse(jwks: serde_json::Value) -> Result<HashMap<String, Arc<DecodingKey>>, serde_json::Error> {
    let set: KeySet = serde_json::from_value(jwks)?;
    let usable = |key: &Key| key.kty == "OKP" && key.crv == "Ed25519" && !key.kid.is_empty();
    let keys = set.keys.into_iter().filter(usable);
    Ok(keys.filter_map(|key| Some((key.kid, Arc::new(DecodingKey::from_ed_components(&key.x).ok()?)))).collect())
}

#[cfg(test)]
mod tests;
