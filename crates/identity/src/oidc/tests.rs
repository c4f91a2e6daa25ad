//! Tokens that do not hold, each with the reason it must be refused for, and one that holds.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use flotilla_types::time::Timestamp;
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use secrecy::ExposeSecret;
use serde_json::{Value, json};

use super::verify::{self, Expected};
use super::{LogoutNotice, TokenRefusal};
use crate::token::{Algorithm as OwnAlgorithm, KeyMaterial};

const ISSUER: &str = "https://idp.example";
const CLIENT: &str = "flotilla";

struct Idp {
    key: EncodingKey,
    jwk: Jwk,
}

impl Idp {
    fn new(kid: &str) -> Self {
        let pem = KeyMaterial::generate(OwnAlgorithm::Rs256).unwrap().private_pem;
        let key = EncodingKey::from_rsa_pem(pem.expose_secret().as_bytes()).unwrap();
        let mut jwk = Jwk::from_encoding_key(&key, Algorithm::RS256).unwrap();
        jwk.common.key_id = Some(kid.to_owned());
        Self { key, jwk }
    }

    fn header(&self) -> Header {
        let mut header = Header::new(Algorithm::RS256);
        header.kid.clone_from(&self.jwk.common.key_id);
        header
    }

    fn sign(&self, claims: &Value) -> String {
        jsonwebtoken::encode(&self.header(), claims, &self.key).unwrap()
    }
}

fn now() -> i64 {
    Timestamp::now().as_second()
}

fn with(mut claims: Value, change: &Value) -> Value {
    for (name, value) in change.as_object().unwrap() {
        if value.is_null() {
            claims.as_object_mut().unwrap().remove(name);
        } else {
            claims[name] = value.clone();
        }
    }
    claims
}

fn id_claims() -> Value {
    json!({"iss": ISSUER, "aud": CLIENT, "sub": "s-1", "nonce": "n", "iat": now(), "exp": now() + 300,
        "email": "a@x", "email_verified": true, "groups": ["dev", 7, "ops"], "sid": "sid-1",
        "realm_access": {"roles": ["r"]}})
}

fn logout_claims() -> Value {
    json!({"iss": ISSUER, "aud": CLIENT, "sub": "s-1", "sid": "sid-1", "iat": now(), "exp": now() + 120, "jti": "j",
        "events": {"http://schemas.openid.net/event/backchannel-logout": {}}})
}

const EXPECTED: Expected<'_> = Expected { issuer: ISSUER, client_id: CLIENT };

fn read_id(idp: &Idp, token: &str) -> Result<verify::IdClaims, TokenRefusal> {
    let header = verify::header(token, &[Algorithm::RS256])?;
    let key = verify::key(&header, std::slice::from_ref(&idp.jwk)).ok_or(TokenRefusal::UnknownKey)?;
    verify::id_token(token, &header, key, EXPECTED, Some("n"))
}

fn read_logout(idp: &Idp, token: &str) -> Result<LogoutNotice, TokenRefusal> {
    let header = verify::header(token, &[Algorithm::RS256])?;
    let key = verify::key(&header, std::slice::from_ref(&idp.jwk)).ok_or(TokenRefusal::UnknownKey)?;
    verify::logout_token(token, &header, key, EXPECTED)
}

#[test]
fn an_id_token_that_holds() {
    let idp = Idp::new("k");
    let claims = read_id(&idp, &idp.sign(&id_claims())).unwrap();
    assert_eq!((claims.sub.as_str(), claims.sid.as_deref()), ("s-1", Some("sid-1")));
    assert!(claims.person.email_is_verified());
    assert_eq!(claims.person.groups("groups").unwrap(), ["dev", "ops"]);
    assert_eq!(claims.person.groups("realm_access.roles").unwrap(), ["r"]);
    assert_eq!(claims.person.groups("no.such"), None);
    // A clock that is a minute off is none that lies.
    for skew in [json!({"exp": now() - 50}), json!({"iat": now() + 50}), json!({"nbf": now() + 50})] {
        assert!(read_id(&idp, &idp.sign(&with(id_claims(), &skew))).is_ok(), "{skew}");
    }
    let several = json!({"aud": [CLIENT, "other"], "azp": CLIENT});
    assert!(read_id(&idp, &idp.sign(&with(id_claims(), &several))).is_ok());
}

#[test]
fn id_tokens_whose_claims_do_not_hold() {
    use TokenRefusal::{Audience, Claims, Expired, Issuer, Malformed, Nonce, NotYet};
    let idp = Idp::new("k");
    for (change, wanted) in [
        (json!({"iss": "https://evil.example"}), Issuer),
        (json!({"iss": "https://idp.example/"}), Issuer),
        (json!({"iss": null}), Claims),
        (json!({"aud": "other"}), Audience),
        (json!({"aud": ["other"]}), Audience),
        (json!({"aud": [CLIENT, "other"]}), Audience),
        (json!({"aud": [CLIENT, "other"], "azp": "other"}), Audience),
        (json!({"azp": "other"}), Audience),
        (json!({"nonce": "another"}), Nonce),
        (json!({"nonce": null}), Nonce),
        (json!({"exp": now() - 70}), Expired),
        (json!({"exp": null}), Claims),
        (json!({"iat": now() + 70}), NotYet),
        (json!({"nbf": now() + 70}), NotYet),
        (json!({"sub": null}), Malformed),
        (json!({"events": {}}), Claims),
    ] {
        let refused = read_id(&idp, &idp.sign(&with(id_claims(), &change))).unwrap_err();
        // What a required claim's absence is called depends on who notices first.
        let fits = refused == wanted || wanted == Malformed && refused == Claims;
        assert!(fits, "{change}: {refused:?}");
    }
}

#[test]
fn tokens_that_want_to_be_verified_their_own_way() {
    let (idp, thief) = (Idp::new("k"), Idp::new("k"));
    let claims = id_claims();
    assert_eq!(read_id(&idp, &thief.sign(&claims)).unwrap_err(), TokenRefusal::Signature, "another key of that name");
    assert_eq!(read_id(&idp, &Idp::new("x").sign(&claims)).unwrap_err(), TokenRefusal::UnknownKey);

    let mut header = idp.header();
    header.jku = Some("https://evil.example/keys".into());
    let token = jsonwebtoken::encode(&header, &claims, &thief.key).unwrap();
    assert_eq!(read_id(&idp, &token).unwrap_err(), TokenRefusal::Header);
    let mut header = idp.header();
    header.jwk = Some(thief.jwk.clone());
    let token = jsonwebtoken::encode(&header, &claims, &thief.key).unwrap();
    assert_eq!(read_id(&idp, &token).unwrap_err(), TokenRefusal::Header);

    // The public key as a shared secret, and no signature at all.
    let public = serde_json::to_vec(&idp.jwk).unwrap();
    let mut header = Header::new(Algorithm::HS256);
    header.kid = Some("k".into());
    let token = jsonwebtoken::encode(&header, &claims, &EncodingKey::from_secret(&public)).unwrap();
    assert_eq!(read_id(&idp, &token).unwrap_err(), TokenRefusal::Algorithm);
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    for alg in ["none", "None", "RS256x"] {
        let token = format!("{}.{}.", part(&json!({"alg": alg, "kid": "k"})), part(&claims));
        assert_eq!(read_id(&idp, &token).unwrap_err(), TokenRefusal::Algorithm, "{alg}");
    }
    // Allowed by the library and unannounced by the provider.
    let mut header = idp.header();
    header.alg = Algorithm::RS512;
    let token = jsonwebtoken::encode(&header, &claims, &idp.key).unwrap();
    assert_eq!(read_id(&idp, &token).unwrap_err(), TokenRefusal::Algorithm);

    let good = idp.sign(&claims);
    let cut = &good[..good.len() - 8];
    assert!(matches!(read_id(&idp, cut), Err(TokenRefusal::Signature | TokenRefusal::Malformed)));
    for garbage in ["", ".", "..", "a.b.c", &"x".repeat(100_000)] {
        assert!(read_id(&idp, garbage).is_err());
    }
}

#[test]
fn a_key_is_for_what_it_says() {
    let mut idp = Idp::new("k");
    let token = idp.sign(&id_claims());
    assert!(read_id(&idp, &token).is_ok());
    idp.jwk.common.key_algorithm = Some(jsonwebtoken::jwk::KeyAlgorithm::PS256);
    assert_eq!(read_id(&idp, &token).unwrap_err(), TokenRefusal::Algorithm);
}

#[test]
fn without_a_key_id_only_an_only_key_will_do() {
    let (one, two) = (Idp::new("a"), Idp::new("b"));
    let header = Header::new(Algorithm::RS256);
    assert!(verify::key(&header, std::slice::from_ref(&one.jwk)).is_some());
    assert!(verify::key(&header, &[one.jwk.clone(), two.jwk]).is_none());
    assert!(verify::key(&header, &[]).is_none());
}

#[test]
fn logout_tokens() {
    let idp = Idp::new("k");
    let notice = read_logout(&idp, &idp.sign(&logout_claims())).unwrap();
    assert_eq!(
        (notice.sid.as_deref(), notice.subject.as_deref(), notice.jti.as_str()),
        (Some("sid-1"), Some("s-1"), "j")
    );
    assert!(notice.expires_at_ms >= (now() + 120) * 1000);
    assert!(read_logout(&idp, &idp.sign(&with(logout_claims(), &json!({"sid": null})))).is_ok());
    for change in [
        json!({"sid": null, "sub": null}),
        json!({"events": null}),
        json!({"events": {}}),
        json!({"events": {"http://schemas.openid.net/event/backchannel-logout": "yes"}}),
        json!({"nonce": "n"}),
        json!({"jti": null}),
        json!({"jti": ""}),
        json!({"iss": "https://evil.example"}),
        json!({"aud": "other"}),
        json!({"exp": now() - 70}),
        json!({"exp": null}),
        json!({"exp": now() + 86_400}),
        json!({"iat": now() + 70, "exp": now() + 100}),
    ] {
        assert!(read_logout(&idp, &idp.sign(&with(logout_claims(), &change))).is_err(), "{change}");
    }
    // Neither passes for the other.
    assert!(read_logout(&idp, &idp.sign(&id_claims())).is_err());
    assert!(read_id(&idp, &idp.sign(&with(logout_claims(), &json!({"nonce": "n"})))).is_err());
}
