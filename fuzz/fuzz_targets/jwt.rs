//! Any token, with our keys, with a provider's, and with a key set that came along with it: reading it never panics,
//! and nothing that we did not sign holds.
#![no_main]

use std::sync::LazyLock;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use flotilla_identity::oidc::fuzzing::holds;
use flotilla_identity::token::{Algorithm, KeyMaterial, KeyRing};
use libfuzzer_sys::fuzz_target;

const ISSUER: &str = "https://idp.example";
const CLIENT: &str = "flotilla";
/// Stands for the id of one of our keys.
const KID: &str = "KID";

struct Keys {
    ring: KeyRing,
    jwks: Vec<u8>,
    kids: [String; 2],
}

static KEYS: LazyLock<Keys> = LazyLock::new(|| {
    let keys = [Algorithm::Rs256, Algorithm::EdDsa].map(|algorithm| KeyMaterial::generate(algorithm).expect("a key"));
    let kids = keys.each_ref().map(|key| key.kid.clone());
    let ring = KeyRing::new(keys.into()).expect("a ring");
    let jwks = ring.jwks().to_string().into_bytes();
    Keys { ring, jwks, kids }
});

/// What a signer would make of header, claims and signature.
fn assembled(parts: &[&[u8]], kid: &str) -> String {
    let part = |at: usize| parts.get(at).copied().unwrap_or_default();
    let header = String::from_utf8_lossy(part(0)).replace(KID, kid);
    [header.as_bytes(), part(1), part(2)].map(|part| URL_SAFE_NO_PAD.encode(part)).join(".")
}

fuzz_target!(|data: &[u8]| {
    let parts: Vec<&[u8]> = data.splitn(4, |byte| *byte == 0).collect();
    let theirs = parts.get(3).copied().unwrap_or_default();
    let mut tokens = vec![String::from_utf8_lossy(data).into_owned()];
    tokens.extend(KEYS.kids.iter().map(|kid| assembled(&parts, kid)));
    for token in &tokens {
        assert!(KEYS.ring.verify_access(token).is_err(), "{token}");
        assert!(!holds(&KEYS.jwks, ISSUER, CLIENT, token), "{token}");
        assert!(!holds(theirs, ISSUER, CLIENT, token), "{token}");
    }
});
