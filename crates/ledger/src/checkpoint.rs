//! Reading and checking signed checkpoints.
//!
//! Must not know: private keys; the hub's key ring signs.

use std::collections::HashMap;

use flotilla_types::audit::{CHECKPOINT_TYPE, Checkpoint};
use jsonwebtoken::jwk::{Jwk, JwkSet};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use thiserror::Error;

/// `iss` of every checkpoint.
pub const ISSUER: &str = "flotilla-hub";

/// Why a checkpoint proves nothing.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CheckpointError {
    /// Not a checkpoint at all.
    #[error("it is not a checkpoint as the hub signs them")]
    Malformed,
    /// Signed with a key that is not among those given.
    #[error("its key {0} is not among the known ones; export the hub's keys with: flotilla audit keys")]
    UnknownKey(String),
    /// Changed, or signed by somebody else.
    #[error("its signature does not hold")]
    Signature,
}

/// The keys are not usable.
#[derive(Debug, Error)]
#[error("this is not a JWK set with Ed25519 keys; save the hub's with: flotilla audit keys > keys.json")]
pub struct KeysError;

/// Public keys by their ids.
#[derive(Clone, Default)]
pub struct Keys(HashMap<String, DecodingKey>);

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl Keys {
    /// Those of a JWK set (RFC 7517) that are Ed25519 keys with an id; others sign no checkpoints.
    ///
    /// # Errors
    /// It is not a JWK set.
    pub fn from_jwks(jwks: &serde_json::Value) -> Result<Self, KeysError> {
        let set: JwkSet = serde_json::from_value(jwks.clone()).map_err(|_| KeysError)?;
        Ok(Self(set.keys.iter().filter_map(key).collect()))
    }

    /// Checks signature and form.
    ///
    /// # Errors
    /// Why it proves nothing.
    pub fn verify(&self, token: &str) -> Result<Checkpoint, CheckpointError> {
        let header = jsonwebtoken::decode_header(token).map_err(|_| CheckpointError::Malformed)?;
        if header.alg != Algorithm::EdDSA || header.typ.as_deref() != Some(CHECKPOINT_TYPE) {
            return Err(CheckpointError::Malformed);
        }
        let kid = header.kid.unwrap_or_default();
        let key = self.0.get(&kid).ok_or(CheckpointError::UnknownKey(kid))?;
        // A checkpoint has no end: it proves for ever what it proved once.
        let mut validation = Validation::new(Algorithm::EdDSA);
        validation.set_required_spec_claims(&["iss"]);
        validation.set_issuer(&[ISSUER]);
        validation.validate_exp = false;
        validation.validate_aud = false;
        let decoded = jsonwebtoken::decode(token, key, &validation);
        decoded.map(|data| data.claims).map_err(|_| CheckpointError::Signature)
    }
}

fn key(jwk: &Jwk) -> Option<(String, DecodingKey)> {
    use jsonwebtoken::jwk::AlgorithmParameters;
    matches!(jwk.algorithm, AlgorithmParameters::OctetKeyPair(_)).then_some(())?;
    Some((jwk.common.key_id.clone()?, DecodingKey::from_jwk(jwk).ok()?))
}

/// The id of the key that a checkpoint names, unchecked.
#[must_use]
pub fn key_id(token: &str) -> Option<String> {
    jsonwebtoken::decode_header(token).ok()?.kid
}

#[cfg(test)]
mod tests {
    use jsonwebtoken::{EncodingKey, Header};
    use serde_json::json;

    use super::*;

    fn forged(algorithm: Algorithm, kind: &str) -> String {
        let header = Header { typ: Some(kind.to_owned()), kid: Some("k".to_owned()), ..Header::new(algorithm) };
        let claims =
            json!({"iss": ISSUER, "kind": "head", "seq": 1, "hash": "", "previous": 0, "time": "2026-01-01T00:00:00Z"});
        jsonwebtoken::encode(&header, &claims, &EncodingKey::from_secret(b"guessed")).unwrap()
    }

    #[test]
    fn only_checkpoints_of_known_keys_count() {
        let keys = Keys::from_jwks(&json!({"keys": [
            {"kty": "OKP", "crv": "Ed25519", "kid": "k", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"},
            {"kty": "oct", "kid": "secret", "k": "Z3Vlc3NlZA"}
        ]}))
        .unwrap();
        assert_eq!(keys.verify(&forged(Algorithm::HS256, CHECKPOINT_TYPE)), Err(CheckpointError::Malformed));
        assert_eq!(keys.verify(&forged(Algorithm::HS256, "at+jwt")), Err(CheckpointError::Malformed));
        assert_eq!(keys.verify("x"), Err(CheckpointError::Malformed));
        // The example of RFC 8037 appendix A.4 is a good signature, but over no checkpoint of ours.
        let example = "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6d\
                       WbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg";
        assert_eq!(keys.verify(example), Err(CheckpointError::Malformed));
        assert!(Keys::from_jwks(&json!([])).is_err());
    }
}
