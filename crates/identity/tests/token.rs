//! Tokens that must hold, and every kind of token that must not.

#![allow(clippy::unwrap_used, reason = "helpers of tests may fail as loudly as tests")]

use std::sync::LazyLock;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use flotilla_identity::token::{
    self, ACCESS_TOKEN_TYPE, AUDIENCE, AccessClaims, Algorithm, ISSUER, KeyError, KeyMaterial, KeyRing, TokenError,
};
use flotilla_types::agent::{IDENTITY_TOKEN_TYPE, IdentityClaims};
use flotilla_types::id::{SessionId, UserId};
use flotilla_types::time::{Timestamp, now_ms};
use jsonwebtoken::jwk::{Jwk, JwkSet};
use jsonwebtoken::{DecodingKey, EncodingKey, Header, Validation};
use proptest::prelude::*;
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use uuid::Uuid;

const HOUR: Duration = Duration::from_secs(3600);

/// Our access key, our identity key, another hub's access key. RSA keys are slow to make, so once.
static KEYS: LazyLock<[KeyMaterial; 3]> = LazyLock::new(|| {
    [Algorithm::Rs256, Algorithm::EdDsa, Algorithm::Rs256].map(|algorithm| KeyMaterial::generate(algorithm).unwrap())
});

fn ring() -> KeyRing {
    KeyRing::new(vec![KEYS[0].clone(), KEYS[1].clone()]).unwrap()
}

fn access(ring: &KeyRing) -> String {
    ring.issue_access(UserId::new(), "a@example.com", SessionId::new(), HOUR).unwrap().0
}

fn claims() -> AccessClaims {
    let now = Timestamp::now().as_second();
    AccessClaims {
        iss: ISSUER.to_owned(),
        aud: AUDIENCE.to_owned(),
        sub: UserId::new(),
        sid: SessionId::new(),
        email: "a@example.com".to_owned(),
        iat: now,
        exp: now + 3600,
        jti: Uuid::now_v7(),
    }
}

fn header() -> Header {
    let mut header = Header::new(jsonwebtoken::Algorithm::RS256);
    header.typ = Some(ACCESS_TOKEN_TYPE.to_owned());
    header.kid = Some(KEYS[0].kid.clone());
    header
}

/// Signed with our own key: whatever is wrong with it is in header or claims.
fn signed(header: &Header, claims: &impl serde::Serialize) -> String {
    let key = EncodingKey::from_rsa_pem(KEYS[0].private_pem.expose_secret().as_bytes()).unwrap();
    jsonwebtoken::encode(header, claims, &key).unwrap()
}

fn refused(token: &str) -> TokenError {
    ring().verify_access(token).unwrap_err()
}

fn segment(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}

#[test]
fn an_access_token_holds() {
    let (user, session) = (UserId::new(), SessionId::new());
    let (token, expires_at) = ring().issue_access(user, "a@example.com", session, HOUR).unwrap();
    let claims = ring().verify_access(&token).unwrap();
    assert_eq!((claims.sub, claims.sid, claims.email.as_str()), (user, session, "a@example.com"));
    assert_eq!((claims.iss.as_str(), claims.aud.as_str()), ("flotilla-hub", "flotilla"));
    assert_eq!(expires_at.as_second(), claims.exp);
    assert_eq!(claims.exp - claims.iat, 3600);
    let header = jsonwebtoken::decode_header(&token).unwrap();
    assert_eq!(header.typ.as_deref(), Some("at+jwt"));
    assert_eq!(header.kid.as_deref(), Some(KEYS[0].kid.as_str()));
    assert!(token.len() < 1000, "{}", token.len());
}

#[test]
fn signed_by_hand_it_holds_too() {
    assert!(ring().verify_access(&signed(&header(), &claims())).is_ok(), "the tests below start from a good token");
}

#[test]
fn without_a_signature() {
    let token = access(&ring());
    let payload = token.split('.').nth(1).unwrap();
    for alg in ["none", "None", "NONE", "nOnE"] {
        let header = segment(&json!({ "alg": alg, "typ": ACCESS_TOKEN_TYPE, "kid": KEYS[0].kid }));
        for signature in ["", "AAAA", token.rsplit('.').next().unwrap()] {
            assert_eq!(refused(&format!("{header}.{payload}.{signature}")), TokenError::Algorithm, "{alg}");
        }
        assert_eq!(refused(&format!("{header}.{payload}")), TokenError::Malformed);
    }
    let head = token.split('.').next().unwrap();
    assert_eq!(refused(&format!("{head}.{payload}.")), TokenError::Signature);
}

/// The public key, which everyone has, taken for an HMAC secret.
#[test]
fn hs256_with_the_public_key() {
    let jwk: Jwk = published_access_key();
    let number =
        |name: &str| URL_SAFE_NO_PAD.decode(serde_json::to_value(&jwk).unwrap()[name].as_str().unwrap()).unwrap();
    let (n, e) = (number("n"), number("e"));
    let components = aws_lc_rs::rsa::PublicKeyComponents { n: &n, e: &e };
    let der = aws_lc_rs::encoding::AsDer::<aws_lc_rs::encoding::PublicKeyX509Der<'_>>::as_der(&components).unwrap();
    let body = base64::engine::general_purpose::STANDARD.encode(der.as_ref());
    let lines: Vec<&str> = body.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
    let pem = format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", lines.join("\n"));
    let pem_without_end = pem.trim_end().to_owned();
    for secret in [der.as_ref(), pem.as_bytes(), pem_without_end.as_bytes(), n.as_slice(), jwk_text(&jwk).as_bytes()] {
        for algorithm in
            [jsonwebtoken::Algorithm::HS256, jsonwebtoken::Algorithm::HS384, jsonwebtoken::Algorithm::HS512]
        {
            let header = Header { alg: algorithm, ..header() };
            let token = jsonwebtoken::encode(&header, &claims(), &EncodingKey::from_secret(secret)).unwrap();
            assert_eq!(refused(&token), TokenError::Algorithm);
            // The same signature under a header that says RS256.
            let (message, signature) = token.rsplit_once('.').unwrap();
            let payload = message.split_once('.').unwrap().1;
            let honest = segment(&serde_json::to_value(self::header()).unwrap());
            assert_eq!(refused(&format!("{honest}.{payload}.{signature}")), TokenError::Signature);
        }
    }
}

fn published_access_key() -> Jwk {
    let set: JwkSet = serde_json::from_value(ring().jwks()).unwrap();
    set.find(&KEYS[0].kid).unwrap().clone()
}

fn jwk_text(jwk: &Jwk) -> String {
    serde_json::to_string(jwk).unwrap()
}

#[test]
fn other_rsa_algorithms() {
    for algorithm in [jsonwebtoken::Algorithm::RS384, jsonwebtoken::Algorithm::RS512, jsonwebtoken::Algorithm::PS256] {
        assert_eq!(refused(&signed(&Header { alg: algorithm, ..header() }, &claims())), TokenError::Algorithm);
    }
}

#[test]
fn tampered_with() {
    let token = access(&ring());
    let parts: Vec<&str> = token.split('.').collect();
    let mut claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(parts[1]).unwrap()).unwrap();
    claims["sub"] = json!(UserId::new());
    assert_eq!(refused(&format!("{}.{}.{}", parts[0], segment(&claims), parts[2])), TokenError::Signature);
    for index in 0..parts[1].len() {
        let mut payload = parts[1].as_bytes().to_vec();
        payload[index] = if payload[index] == b'A' { b'B' } else { b'A' };
        let payload = String::from_utf8(payload).unwrap();
        assert!(ring().verify_access(&format!("{}.{payload}.{}", parts[0], parts[2])).is_err(), "byte {index}");
    }
}

#[test]
fn expired_with_five_seconds_of_leeway() {
    let now = Timestamp::now().as_second();
    let ending = |exp| signed(&header(), &AccessClaims { exp, ..claims() });
    assert!(ring().verify_access(&ending(now - 2)).is_ok());
    assert_eq!(refused(&ending(now - 7)), TokenError::Expired);
    assert_eq!(refused(&ending(0)), TokenError::Expired);
    let late =
        |seconds| AccessClaims { exp: now - seconds, ..claims() }.is_expired(Timestamp::from_second(now).unwrap());
    assert!(!late(5) && late(6));
}

#[test]
fn claims_that_are_missing_or_wrong() {
    let good = serde_json::to_value(claims()).unwrap();
    for (name, wrong) in [
        ("iss", json!("someone-else")),
        ("iss", Value::Null),
        ("aud", json!("other")),
        ("aud", json!(["flotilla", "other"])),
        ("aud", Value::Null),
        ("exp", Value::Null),
        ("exp", json!("soon")),
        ("sub", json!("not-an-id")),
        ("sub", Value::Null),
        ("sid", Value::Null),
    ] {
        let mut bad = good.clone();
        bad[name] = wrong.clone();
        assert!(
            matches!(refused(&signed(&header(), &bad)), TokenError::Claims | TokenError::Malformed),
            "{name} {wrong}"
        );
        bad.as_object_mut().unwrap().remove(name);
        assert!(matches!(refused(&signed(&header(), &bad)), TokenError::Claims | TokenError::Malformed), "no {name}");
    }
}

#[test]
fn headers_that_bring_their_own_key() {
    let jwk: Jwk = published_access_key();
    let text = || Some("https://example.com/keys".to_owned());
    for bad in [
        Header { jku: text(), ..header() },
        Header { x5u: text(), ..header() },
        Header { jwk: Some(jwk), ..header() },
        Header { x5c: Some(vec![]), ..header() },
        Header { crit: Some(vec!["exp".to_owned()]), ..header() },
        Header { crit: Some(vec![]), ..header() },
    ] {
        assert_eq!(refused(&signed(&bad, &claims())), TokenError::Header);
    }
}

#[test]
fn keys_that_are_not_ours() {
    let other = KeyRing::new(vec![KEYS[2].clone(), KEYS[1].clone()]).unwrap();
    assert_eq!(refused(&access(&other)), TokenError::UnknownKey);
    let key = EncodingKey::from_rsa_pem(KEYS[2].private_pem.expose_secret().as_bytes()).unwrap();
    let pretending = jsonwebtoken::encode(&header(), &claims(), &key).unwrap();
    assert_eq!(refused(&pretending), TokenError::Signature);
    for kid in [None, Some(String::new()), Some("../../dev/null".to_owned()), Some(KEYS[1].kid.clone())] {
        assert_eq!(refused(&signed(&Header { kid, ..header() }, &claims())), TokenError::UnknownKey);
    }
}

#[test]
fn one_kind_of_token_does_not_pass_for_another() {
    for kind in [None, Some("JWT"), Some(IDENTITY_TOKEN_TYPE), Some("")] {
        let typ = kind.map(str::to_owned);
        assert_eq!(refused(&signed(&Header { typ, ..header() }, &claims())), TokenError::Type, "{kind:?}");
    }
    let identity = ring().issue_identity("dev-1", "a@example.com", &[], HOUR).unwrap();
    assert_eq!(refused(&identity), TokenError::Algorithm);
    assert!(verify_as_an_agent(&access(&ring()), "dev-1").is_err());
}

/// What an agent does: it knows the published set and nothing else.
fn verify_as_an_agent(token: &str, cluster: &str) -> Result<IdentityClaims, String> {
    let set: JwkSet = serde_json::from_value(ring().jwks()).unwrap();
    let header = jsonwebtoken::decode_header(token).map_err(|error| error.to_string())?;
    if header.typ.as_deref() != Some(IDENTITY_TOKEN_TYPE) {
        return Err("not a statement of identity".to_owned());
    }
    let jwk = header.kid.as_deref().and_then(|kid| set.find(kid)).ok_or("no such key")?;
    let mut validation = Validation::new(jsonwebtoken::Algorithm::EdDSA);
    validation.set_audience(&[cluster]);
    validation.set_issuer(&[ISSUER]);
    let key = DecodingKey::from_jwk(jwk).unwrap();
    jsonwebtoken::decode(token, &key, &validation).map(|data| data.claims).map_err(|error| error.to_string())
}

#[test]
fn an_identity_token_holds_for_its_cluster() {
    let groups = vec!["flotilla:role:dev".to_owned(), "team".to_owned()];
    let token = ring().issue_identity("dev-1", "a@example.com", &groups, Duration::from_secs(60)).unwrap();
    let claims = verify_as_an_agent(&token, "dev-1").unwrap();
    assert_eq!((claims.sub.as_str(), claims.groups, claims.exp - claims.iat), ("a@example.com", groups, 60));
    assert!(verify_as_an_agent(&token, "prod-1").is_err());
}

#[test]
fn rotation() {
    let keys = ring();
    let old = access(&keys);
    let retired = KeyMaterial { retired_at_ms: Some(now_ms()), ..KEYS[0].clone() };
    let newer = KeyMaterial { created_at_ms: KEYS[0].created_at_ms + 1, ..KEYS[2].clone() };
    let shared = keys.clone();
    keys.replace(vec![newer.clone(), retired.clone(), KEYS[1].clone()]).unwrap();
    assert!(shared.verify_access(&old).is_ok(), "a retired key still verifies");
    let fresh = access(&shared);
    assert_eq!(jsonwebtoken::decode_header(&fresh).unwrap().kid.as_deref(), Some(newer.kid.as_str()));
    assert_eq!(shared.jwks()["keys"].as_array().unwrap().len(), 3);
    keys.replace(vec![newer, KEYS[1].clone()]).unwrap();
    assert_eq!(shared.verify_access(&old), Err(TokenError::UnknownKey), "a key that is gone does not");
    assert!(matches!(keys.replace(vec![retired, KEYS[1].clone()]), Err(KeyError::NoSigningKey(Algorithm::Rs256))));
    assert!(shared.verify_access(&fresh).is_ok(), "a replacement that fails changes nothing");
}

#[test]
fn the_newest_key_signs_whatever_the_order() {
    let newer = KeyMaterial { created_at_ms: KEYS[0].created_at_ms + 1, ..KEYS[2].clone() };
    for keys in
        [vec![KEYS[0].clone(), newer.clone(), KEYS[1].clone()], vec![newer.clone(), KEYS[1].clone(), KEYS[0].clone()]]
    {
        let token = access(&KeyRing::new(keys).unwrap());
        assert_eq!(jsonwebtoken::decode_header(&token).unwrap().kid.as_deref(), Some(newer.kid.as_str()));
    }
}

#[test]
fn spent_keys() {
    let retired = KeyMaterial { retired_at_ms: Some(1_000_000), ..KEYS[1].clone() };
    assert!(!retired.is_spent(1_000_000 + 3_600_000, HOUR));
    assert!(retired.is_spent(1_000_000 + 3_661_000, HOUR));
    assert!(!KEYS[1].is_spent(i64::MAX, HOUR));
}

#[test]
fn the_published_set() {
    let jwks = ring().jwks();
    let keys = jwks["keys"].as_array().unwrap();
    assert_eq!(keys.len(), 2);
    for key in keys {
        assert_eq!(key["use"], "sig");
        let members: Vec<&str> = key.as_object().unwrap().keys().map(String::as_str).collect();
        for private in ["d", "p", "q", "dp", "dq", "qi", "k"] {
            assert!(!members.contains(&private), "{members:?}");
        }
        // RFC 7638: the required members in lexicographic order, no spaces.
        let canonical = match key["kty"].as_str().unwrap() {
            "RSA" => format!(r#"{{"e":{},"kty":"RSA","n":{}}}"#, key["e"], key["n"]),
            _ => format!(r#"{{"crv":"Ed25519","kty":"OKP","x":{}}}"#, key["x"]),
        };
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, canonical.as_bytes());
        assert_eq!(key["kid"], URL_SAFE_NO_PAD.encode(digest));
    }
    let of = |alg: &str| keys.iter().find(|key| key["alg"] == alg).map(|key| key["kid"].clone());
    assert_eq!(of("RS256"), Some(json!(KEYS[0].kid)));
    assert_eq!(of("EdDSA"), Some(json!(KEYS[1].kid)));
}

#[test]
fn keys_read_from_text() {
    for key in KEYS.iter() {
        let again = KeyMaterial::from_pem(key.private_pem.expose_secret()).unwrap();
        assert_eq!((again.kid.as_str(), again.algorithm), (key.kid.as_str(), key.algorithm));
        assert!(!format!("{key:?}").contains("BEGIN"), "{key:?}");
    }
    // 1024 bits, made with openssl genrsa.
    for bad in
        ["", "secret", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", include_str!("rsa1024.pem")]
    {
        assert!(matches!(KeyMaterial::from_pem(bad), Err(KeyError::Unusable)), "{bad}");
    }
}

#[test]
fn refresh_tokens() {
    let (token, hash) = token::new_refresh_token();
    assert_eq!(token.expose_secret().len(), 43);
    assert_eq!(hash, token::refresh_hash(token.expose_secret()));
    assert_ne!(token::new_refresh_token().1, hash);
    // FIPS 180-2, appendix B.1.
    assert_eq!(token::refresh_hash("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

#[test]
fn long_tokens_are_not_looked_at() {
    assert_eq!(refused(&"a".repeat(token::MAX_TOKEN_LENGTH + 1)), TokenError::Malformed);
}

proptest! {
    #[test]
    fn no_text_panics_or_holds(text in "\\PC{0,200}") {
        prop_assert!(ring().verify_access(&text).is_err());
    }

    #[test]
    fn no_three_parts_panic_or_hold(header in "[ -~]{0,80}", payload in "[ -~]{0,80}", signature in "[A-Za-z0-9_=.-]{0,40}") {
        let token = format!("{}.{}.{signature}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload));
        prop_assert!(ring().verify_access(&token).is_err());
    }

    #[test]
    fn no_header_panics_or_holds(
        alg in prop::sample::select(vec!["RS256", "none", "HS256", "EdDSA", "ES256", ""]),
        typ in prop::sample::select(vec!["at+jwt", "JWT", "application/at+jwt"]),
        exp in any::<u64>(),
        signature in proptest::collection::vec(any::<u8>(), 0..300),
    ) {
        let header = segment(&json!({ "alg": alg, "typ": typ, "kid": KEYS[0].kid }));
        let payload = segment(&json!({ "exp": exp, "iss": ISSUER, "aud": AUDIENCE }));
        let token = format!("{header}.{payload}.{}", URL_SAFE_NO_PAD.encode(signature));
        prop_assert!(ring().verify_access(&token).is_err());
    }

    #[test]
    fn no_change_of_a_good_token_holds(position in any::<prop::sample::Index>(), byte in 32_u8..127) {
        let good = signed_once();
        let mut bytes = good.as_bytes().to_vec();
        let at = position.index(bytes.len());
        prop_assume!(bytes[at] != byte);
        bytes[at] = byte;
        let changed = String::from_utf8(bytes).unwrap();
        prop_assert!(ring().verify_access(&changed).is_err(), "byte {at}");
    }
}

fn signed_once() -> &'static str {
    static TOKEN: LazyLock<String> = LazyLock::new(|| access(&ring()));
    &TOKEN
}
