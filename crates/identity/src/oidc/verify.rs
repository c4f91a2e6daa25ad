//! Verifies tokens of a provider: ID tokens (OpenID Connect Core 1.0 section 3.1.3.7) and logout tokens
//! (Back-Channel Logout 1.0 section 2.6).
//!
//! Must not know: where keys come from, how the token got here.

use std::collections::BTreeMap;

use flotilla_types::time::Timestamp;
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, DecodingKey, Header, Validation};
use serde::Deserialize;
use serde_json::Value;
use thiserror::Error;

use super::CLOCK_SKEW_SECONDS;

/// Longest token that is looked at, in bytes; people with many groups have long ones.
const MAX_LENGTH: usize = 64 * 1024;

/// The event of a logout token (Back-Channel Logout 1.0 section 2.4).
const LOGOUT_EVENT: &str = "http://schemas.openid.net/event/backchannel-logout";

/// Longest life of a logout token, in seconds. The specification suggests two minutes; its id is remembered as
/// long as it lives, so that it is obeyed once.
const LOGOUT_LIFE: i64 = 3600;

/// Why a token does not hold.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum TokenRefusal {
    /// Not a JWT.
    #[error("the provider's token is malformed")]
    Malformed,
    /// `none`, a shared secret, or one that the provider does not announce.
    #[error("the provider's token is signed with an algorithm that is not allowed")]
    Algorithm,
    /// `jku`, `jwk`, `x5u` or `crit`: the token tries to say how it is to be verified.
    #[error("the provider's token names its own key")]
    Header,
    /// No key of the provider's has its id.
    #[error("the provider's token is signed with a key that the provider does not publish")]
    UnknownKey,
    /// Changed, or signed by somebody else.
    #[error("the signature of the provider's token does not hold")]
    Signature,
    /// Too old.
    #[error("the provider's token has expired: check the clocks of hub and provider")]
    Expired,
    /// From the future.
    #[error("the provider's token is not valid yet: check the clocks of hub and provider")]
    NotYet,
    /// Another issuer.
    #[error("the provider's token was issued by somebody else")]
    Issuer,
    /// For another client.
    #[error("the provider's token was made for another client")]
    Audience,
    /// Not of this sign-in.
    #[error("the provider's token belongs to another sign-in")]
    Nonce,
    /// Of somebody else than before.
    #[error("the provider's token is about somebody else")]
    Subject,
    /// Something that must be there is not, or the other way round.
    #[error("the provider's token lacks a claim or has one too many")]
    Claims,
}

/// What every token of a provider is checked against.
#[derive(Clone, Copy, Debug)]
pub(super) struct Expected<'a> {
    pub(super) issuer: &'a str,
    pub(super) client_id: &'a str,
}

/// Claims of an ID token, the signature and all of the provider's claims having been checked.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct IdClaims {
    pub(super) sub: String,
    iat: i64,
    aud: Value,
    #[serde(default)]
    azp: Option<String>,
    #[serde(default)]
    nonce: Option<String>,
    #[serde(default)]
    pub(super) sid: Option<String>,
    #[serde(default)]
    events: Option<Value>,
    #[serde(flatten)]
    pub(super) person: Person,
}

/// What a provider says of a person, in an ID token or at its userinfo endpoint.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct Person {
    #[serde(default)]
    pub(super) email: Option<String>,
    /// Some providers send text.
    #[serde(default)]
    email_verified: Option<Value>,
    #[serde(flatten)]
    others: BTreeMap<String, Value>,
}

impl Person {
    pub(super) fn email_is_verified(&self) -> bool {
        matches!(&self.email_verified, Some(Value::Bool(true)))
            || matches!(&self.email_verified, Some(Value::String(text)) if text == "true")
    }

    /// The groups that a claim lists; `None` when it is not there. The claim is a name, or a path with dots.
    pub(super) fn groups(&self, claim: &str) -> Option<Vec<String>> {
        let whole = self.others.get(claim);
        let found = whole.or_else(|| {
            let mut parts = claim.split('.');
            let first = self.others.get(parts.next()?)?;
            parts.try_fold(first, |value, part| value.get(part))
        })?;
        Some(match found {
            Value::Array(items) => items.iter().filter_map(|item| item.as_str().map(str::to_owned)).collect(),
            Value::String(one) => vec![one.clone()],
            _ => Vec::new(),
        })
    }
}

/// A logout that the provider tells of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogoutNotice {
    /// The session; none: all of the subject's.
    pub sid: Option<String>,
    /// The person.
    pub subject: Option<String>,
    /// The notice's own name: it is obeyed once.
    pub jti: String,
    /// Until when the name must be remembered, milliseconds since the epoch.
    pub expires_at_ms: i64,
}

#[derive(Deserialize)]
struct LogoutClaims {
    iat: i64,
    exp: i64,
    jti: String,
    events: BTreeMap<String, Value>,
    #[serde(default)]
    sub: Option<String>,
    #[serde(default)]
    sid: Option<String>,
    #[serde(default)]
    nonce: Option<Value>,
}

/// Reads the header: what it may ask for and what not.
pub(super) fn header(token: &str, algorithms: &[Algorithm]) -> Result<Header, TokenRefusal> {
    if token.len() > MAX_LENGTH {
        return Err(TokenRefusal::Malformed);
    }
    let header = jsonwebtoken::decode_header(token).map_err(|error| match error.kind() {
        // An algorithm that the library does not know, `none` for one.
        ErrorKind::Json(_) | ErrorKind::InvalidAlgorithmName => TokenRefusal::Algorithm,
        _ => TokenRefusal::Malformed,
    })?;
    if !algorithms.contains(&header.alg) {
        return Err(TokenRefusal::Algorithm);
    }
    let brought = header.jku.is_some() || header.jwk.is_some() || header.x5u.is_some() || header.crit.is_some();
    if brought { Err(TokenRefusal::Header) } else { Ok(header) }
}

/// The key that a header names. A token without `kid` is read with the provider's only key, where it has only one.
pub(super) fn key<'a>(header: &Header, keys: &'a [Jwk]) -> Option<&'a Jwk> {
    match &header.kid {
        Some(kid) => keys.iter().find(|key| key.common.key_id.as_ref() == Some(kid)),
        None => <&[Jwk; 1]>::try_from(keys).ok().map(|[only]| only),
    }
}

/// Verifies an ID token. `nonce` is that of the sign-in; at a refresh there is none (Core 1.0 section 12.2).
pub(super) fn id_token(
    token: &str,
    header: &Header,
    key: &Jwk,
    expected: Expected<'_>,
    nonce: Option<&str>,
) -> Result<IdClaims, TokenRefusal> {
    let claims: IdClaims = decode(token, header, key, expected, &["exp", "iss", "aud", "sub"])?;
    not_from_the_future(claims.iat)?;
    // Of several audiences one is meant, and it must be this hub.
    let several = claims.aud.as_array().is_some_and(|audiences| audiences.len() > 1);
    match claims.azp.as_deref() {
        Some(azp) if azp == expected.client_id => {}
        None if !several => {}
        _ => return Err(TokenRefusal::Audience),
    }
    if nonce.is_some() && nonce != claims.nonce.as_deref() {
        return Err(TokenRefusal::Nonce);
    }
    // A logout token is no proof of anyone's presence.
    if claims.events.is_some() { Err(TokenRefusal::Claims) } else { Ok(claims) }
}

/// Verifies a logout token.
pub(super) fn logout_token(
    token: &str,
    header: &Header,
    key: &Jwk,
    expected: Expected<'_>,
) -> Result<LogoutNotice, TokenRefusal> {
    let claims: LogoutClaims = decode(token, header, key, expected, &["exp", "iss", "aud"])?;
    not_from_the_future(claims.iat)?;
    let is_logout = claims.events.get(LOGOUT_EVENT).is_some_and(Value::is_object);
    let about_somebody = claims.sub.is_some() || claims.sid.is_some();
    let lives = claims.exp.saturating_sub(claims.iat);
    // An ID token has a nonce and a logout token must not: neither passes for the other.
    if !is_logout || !about_somebody || claims.nonce.is_some() || claims.jti.is_empty() || lives > LOGOUT_LIFE {
        return Err(TokenRefusal::Claims);
    }
    let until = claims.exp.saturating_add_unsigned(CLOCK_SKEW_SECONDS);
    Ok(LogoutNotice {
        sid: claims.sid,
        subject: claims.sub,
        jti: claims.jti,
        expires_at_ms: until.saturating_mul(1000),
    })
}

fn decode<T: serde::de::DeserializeOwned>(
    token: &str,
    header: &Header,
    key: &Jwk,
    expected: Expected<'_>,
    required: &[&str],
) -> Result<T, TokenRefusal> {
    // A key that says what it is for is for nothing else.
    let named = key.common.key_algorithm.map(|algorithm| algorithm.to_string());
    if named.is_some_and(|named| named.parse() != Ok(header.alg)) {
        return Err(TokenRefusal::Algorithm);
    }
    let key = DecodingKey::from_jwk(key).map_err(|_| TokenRefusal::UnknownKey)?;
    let mut validation = Validation::new(header.alg);
    validation.set_required_spec_claims(required);
    validation.set_issuer(&[expected.issuer]);
    validation.set_audience(&[expected.client_id]);
    validation.validate_nbf = true;
    validation.leeway = CLOCK_SKEW_SECONDS;
    jsonwebtoken::decode(token, &key, &validation).map(|data| data.claims).map_err(|error| refusal(&error))
}

fn not_from_the_future(iat: i64) -> Result<(), TokenRefusal> {
    let now = Timestamp::now().as_second().saturating_add_unsigned(CLOCK_SKEW_SECONDS);
    if iat > now { Err(TokenRefusal::NotYet) } else { Ok(()) }
}

fn refusal(error: &jsonwebtoken::errors::Error) -> TokenRefusal {
    match error.kind() {
        ErrorKind::InvalidSignature => TokenRefusal::Signature,
        ErrorKind::ExpiredSignature => TokenRefusal::Expired,
        ErrorKind::ImmatureSignature => TokenRefusal::NotYet,
        ErrorKind::InvalidAlgorithm => TokenRefusal::Algorithm,
        ErrorKind::InvalidIssuer => TokenRefusal::Issuer,
        ErrorKind::InvalidAudience => TokenRefusal::Audience,
        ErrorKind::MissingRequiredClaim(_) => TokenRefusal::Claims,
        _ => TokenRefusal::Malformed,
    }
}
