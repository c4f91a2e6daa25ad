//! The provider's description of itself (OpenID Connect Discovery 1.0 section 3) and its keys (RFC 7517).
//!
//! Must not know: tokens.

use jsonwebtoken::Algorithm;
use jsonwebtoken::jwk::{Jwk, PublicKeyUse};
use serde::Deserialize;
use serde_json::Value;

use super::OidcError;
use super::http::{Http, checked};

/// Algorithms that a provider may sign with. `none` and those with a shared secret are not among them.
pub(super) const ALLOWED: [Algorithm; 9] = [
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
    Algorithm::ES256,
    Algorithm::ES384,
    Algorithm::EdDSA,
];

/// What we use of the discovery document.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Document {
    issuer: String,
    pub(super) authorization_endpoint: String,
    pub(super) token_endpoint: String,
    jwks_uri: String,
    #[serde(default)]
    pub(super) userinfo_endpoint: Option<String>,
    #[serde(default)]
    pub(super) end_session_endpoint: Option<String>,
    #[serde(default)]
    id_token_signing_alg_values_supported: Vec<String>,
    #[serde(default)]
    token_endpoint_auth_methods_supported: Vec<String>,
    #[serde(default)]
    pub(super) authorization_response_iss_parameter_supported: bool,
}

impl Document {
    /// Fetches it and checks that it is this issuer's and leads nowhere unsafe.
    pub(super) async fn fetch(http: &Http, issuer: &str) -> Result<Self, OidcError> {
        let url = format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/'));
        let document: Self = http.get(&url, None).await?;
        document.check(issuer)?;
        Ok(document)
    }

    fn check(&self, issuer: &str) -> Result<(), OidcError> {
        // Exactly: a document of somebody else's would bring his keys (Discovery 1.0 section 4.3).
        if self.issuer != issuer {
            let text = format!("it calls itself {:?}, auth.oidc.issuer says {issuer:?}", self.issuer);
            return Err(OidcError::Document(text));
        }
        let optional = [&self.userinfo_endpoint, &self.end_session_endpoint];
        let endpoints = [&self.authorization_endpoint, &self.token_endpoint, &self.jwks_uri];
        let mut all = endpoints.into_iter().chain(optional.into_iter().flatten());
        all.try_for_each(|url| checked(url).map(drop))?;
        if self.algorithms().is_empty() {
            return Err(OidcError::Document("it signs ID tokens with no algorithm that is safe".to_owned()));
        }
        Ok(())
    }

    /// What it signs with and we accept. One that does not say signs with RS256 (Core 1.0 section 15.1).
    pub(super) fn algorithms(&self) -> Vec<Algorithm> {
        if self.id_token_signing_alg_values_supported.is_empty() {
            return vec![Algorithm::RS256];
        }
        let named = self.id_token_signing_alg_values_supported.iter();
        named.filter_map(|name| name.parse().ok()).filter(|algorithm| ALLOWED.contains(algorithm)).collect()
    }

    /// Whether the client secret goes into the form, because the provider does not take it as `Authorization`.
    pub(super) fn wants_secret_in_form(&self) -> bool {
        let methods = &self.token_endpoint_auth_methods_supported;
        !methods.is_empty() && !methods.iter().any(|method| method == "client_secret_basic")
    }

    /// Its keys for signatures.
    pub(super) async fn fetch_keys(&self, http: &Http) -> Result<Vec<Jwk>, OidcError> {
        let set: KeySet = http.get(&self.jwks_uri, None).await?;
        Ok(set.for_signatures())
    }
}

/// A set of keys as a provider publishes it (RFC 7517 section 5).
#[derive(Deserialize)]
pub(super) struct KeySet {
    keys: Vec<Value>,
}

impl KeySet {
    /// Those that may sign. One that we cannot read does not spoil the others.
    pub(super) fn for_signatures(self) -> Vec<Jwk> {
        let keys = self.keys.into_iter().filter_map(|key| serde_json::from_value::<Jwk>(key).ok());
        keys.filter(|key| matches!(key.common.public_key_use, None | Some(PublicKeyUse::Signature))).collect()
    }
}
