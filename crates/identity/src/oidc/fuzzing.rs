//! The verifier of a provider's tokens as the fuzz target sees it; there with `--cfg fuzzing` alone.
//!
//! Must not know: how providers are asked.

use super::document::{ALLOWED, KeySet};
use super::verify::{Expected, header, id_token, key, logout_token};

/// Whether `token` holds, as an ID token or as a logout token, for `client_id` at the provider `issuer` that publishes
/// `jwks` and says that it signs with everything it may.
#[must_use]
pub fn holds(jwks: &[u8], issuer: &str, client_id: &str, token: &str) -> bool {
    let Ok(set) = serde_json::from_slice::<KeySet>(jwks) else { return false };
    let keys = set.for_signatures();
    let Ok(header) = header(token, &ALLOWED) else { return false };
    let Some(key) = key(&header, &keys) else { return false };
    let expected = Expected { issuer, client_id };
    id_token(token, &header, key, expected, None).is_ok() || logout_token(token, &header, key, expected).is_ok()
}
