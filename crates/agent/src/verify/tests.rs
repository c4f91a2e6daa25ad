//! Statements that hold, and all the ways in which one does not.

use std::sync::atomic::{AtomicUsize, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{EncodingKey, Header, encode};
use rcgen::{KeyPair, PKCS_ED25519, PKCS_RSA_SHA256, PublicKeyData as _};
use serde_json::{Value, json};

use super::*;

/// A hub with one key for statements and one for access tokens.
struct TestHub {
    statements: KeyPair,
    access: KeyPair,
    kid: &'static str,
}

impl TestHub {
    fn new() -> Self {
        Self {
            statements: KeyPair::generate_for(&PKCS_ED25519).unwrap(),
            access: KeyPair::generate_for(&PKCS_RSA_SHA256).unwrap(),
            kid: "k1",
        }
    }

    fn jwks(&self) -> Value {
        json!({"keys": [
            {"kty": "RSA", "kid": "rsa", "alg": "RS256", "n": "AQAB", "e": "AQAB"},
            {"kty": "OKP", "crv": "Ed25519", "kid": self.kid, "alg": "EdDSA", "x": self.x()},
        ]})
    }

    fn x(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.statements.der_bytes())
    }

    fn sign(&self, header: &Header, claims: &Value) -> String {
        encode(header, claims, &EncodingKey::from_ed_der(&self.statements.serialize_der())).unwrap()
    }
}

/// Serves a hub's keys, counting how often.
struct Keys {
    jwks: parking_lot::Mutex<Option<Value>>,
    fetches: AtomicUsize,
}

impl KeySource for Arc<Keys> {
    async fn fetch(&self) -> anyhow::Result<Value> {
        self.fetches.fetch_add(1, Ordering::SeqCst);
        self.jwks.lock().clone().ok_or_else(|| anyhow::anyhow!("no hub"))
    }
}

fn verifier(hub: &TestHub) -> (Verifier<Arc<Keys>>, Arc<Keys>) {
    let keys = Arc::new(Keys { jwks: parking_lot::Mutex::new(Some(hub.jwks())), fetches: AtomicUsize::new(0) });
    (Verifier::new("prod", Arc::clone(&keys)), keys)
}

fn header(kid: &str) -> Header {
    let mut header = Header::new(Algorithm::EdDSA);
    header.typ = Some(IDENTITY_TOKEN_TYPE.to_owned());
    header.kid = Some(kid.to_owned());
    header
}

fn claims() -> Value {
    let now = now_ms() / 1000;
    json!({"iss": "flotilla-hub", "aud": "prod", "sub": "dev@example.com", "groups": ["team-a"], "iat": now, "exp": now + 300})
}

fn with(key: &str, value: Value) -> Value {
    let mut claims = claims();
    claims[key] = value;
    claims
}

fn in_seconds(seconds: i64) -> Value {
    Value::from(now_ms() / 1000 + seconds)
}

/// A token put together by hand: `signature` over anything.
fn raw(header: &Value, claims: &Value, signature: &[u8]) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}.{}", part(header), part(claims), URL_SAFE_NO_PAD.encode(signature))
}

#[tokio::test]
async fn a_statement_of_the_hub_names_the_caller() {
    let hub = TestHub::new();
    let (verifier, keys) = verifier(&hub);
    let token = hub.sign(&header("k1"), &claims());
    for _ in 0..3 {
        let identity = verifier.verify(&token).await.unwrap();
        assert_eq!((identity.user(), identity.groups()), ("dev@example.com", &["team-a".to_owned()][..]));
    }
    assert_eq!(keys.fetches.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn claims_must_be_for_us_and_of_now() {
    let hub = TestHub::new();
    let (verifier, _) = verifier(&hub);
    let cases = [
        (with("aud", "staging".into()), Err("it is for another cluster")),
        (with("aud", "prod-2".into()), Err("it is for another cluster")),
        (with("aud", Value::Null), Err("a claim is missing or malformed")),
        (with("iss", "somebody".into()), Err("it is not from the hub")),
        (with("exp", in_seconds(-61)), Err("it has expired")),
        (with("exp", in_seconds(-50)), Ok(())),
        (with("iat", in_seconds(120)), Err("it is from the future; is this machine's clock right?")),
        (with("iat", in_seconds(50)), Ok(())),
        (with("nbf", in_seconds(120)), Err("it is not valid yet")),
        (with("groups", "system:masters".into()), Err("a claim is missing or malformed")),
    ];
    for (claims, want) in cases {
        let got = verifier.verify(&hub.sign(&header("k1"), &claims)).await.map(drop);
        assert_eq!(got, want.map_err(Refused::Invalid), "{claims}");
    }
    for (key, value) in [("sub", json!("system:admin")), ("sub", json!("")), ("groups", json!(["system:masters"]))] {
        let token = hub.sign(&header("k1"), &with(key, value));
        assert_eq!(verifier.verify(&token).await.map(drop), Err(Refused::Name), "{key}");
    }
}

#[tokio::test]
async fn a_remembered_statement_still_expires() {
    let hub = TestHub::new();
    let (verifier, _) = verifier(&hub);
    let token = hub.sign(&header("k1"), &with("exp", in_seconds(-57)));
    assert!(verifier.verify(&token).await.is_ok());
    tokio::time::sleep(Duration::from_millis(4100)).await;
    assert_eq!(verifier.verify(&token).await.map(drop), Err(Refused::Invalid("it has expired")));
}

#[tokio::test]
async fn another_type_of_token_is_not_a_statement() {
    let hub = TestHub::new();
    let (verifier, _) = verifier(&hub);
    for typ in [Some("JWT"), Some("at+jwt"), Some("Flotilla-Identity+JWT"), Some(""), None] {
        let mut header = header("k1");
        header.typ = typ.map(str::to_owned);
        let got = verifier.verify(&hub.sign(&header, &claims())).await.map(drop);
        assert_eq!(got, Err(Refused::Invalid("it is a token of another type")), "{typ:?}");
    }
}

#[tokio::test]
async fn the_algorithm_is_not_the_tokens_to_choose() {
    let hub = TestHub::new();
    let (verifier, _) = verifier(&hub);
    for alg in ["none", "None", "NONE", ""] {
        let token = raw(&json!({"alg": alg, "typ": IDENTITY_TOKEN_TYPE, "kid": "k1"}), &claims(), b"");
        assert!(matches!(verifier.verify(&token).await, Err(Refused::Invalid(_))), "alg {alg}");
    }

    // HS256 with what is public as the secret: the raw key, its base64url, and its PEM.
    let mut hs256 = header("k1");
    hs256.alg = Algorithm::HS256;
    let public =
        [hub.statements.der_bytes().to_vec(), hub.x().into_bytes(), hub.statements.public_key_pem().into_bytes()];
    for secret in public {
        let token = encode(&hs256, &claims(), &EncodingKey::from_secret(&secret)).unwrap();
        assert_eq!(verifier.verify(&token).await.map(drop), Err(Refused::Invalid("it is not signed with EdDSA")));
    }

    // The hub's own key for access tokens is not its key for statements, whatever the header says.
    let rsa = EncodingKey::from_rsa_pem(hub.access.serialize_pem().as_bytes()).unwrap();
    for kid in ["rsa", "k1"] {
        let mut header = header(kid);
        header.alg = Algorithm::RS256;
        let token = encode(&header, &claims(), &rsa).unwrap();
        assert_eq!(verifier.verify(&token).await.map(drop), Err(Refused::Invalid("it is not signed with EdDSA")));
    }
    assert_eq!(verifier.verify(&hub.sign(&header("rsa"), &claims())).await.map(drop), Err(Refused::UnknownKey));
}

#[tokio::test]
async fn tampering_shows() {
    let hub = TestHub::new();
    let (verifier, _) = verifier(&hub);
    let stranger = TestHub::new().sign(&header("k1"), &claims());
    assert_eq!(verifier.verify(&stranger).await.map(drop), Err(Refused::Invalid("its signature is wrong")));

    let token = hub.sign(&header("k1"), &claims());
    let parts: Vec<&str> = token.split('.').collect();
    let other = URL_SAFE_NO_PAD.encode(with("sub", "root@example.com".into()).to_string());
    let swapped = format!("{}.{other}.{}", parts[0], parts[2]);
    assert_eq!(verifier.verify(&swapped).await.map(drop), Err(Refused::Invalid("its signature is wrong")));
    for bad in [
        "",
        ".",
        "..",
        "a.b.c",
        parts[0],
        &format!("{}.{}.", parts[0], parts[1]),
        &format!("{token}.x"),
        &"a".repeat(20_000),
    ] {
        assert!(verifier.verify(bad).await.is_err(), "{bad}");
    }
    assert!(verifier.verify(&token).await.is_ok());
}

#[tokio::test]
async fn an_unknown_key_is_asked_for_once_and_a_new_one_found() {
    let (old, mut new) = (TestHub::new(), TestHub::new());
    new.kid = "k2";
    let (verifier, keys) = verifier(&old);
    let remembered = old.sign(&header("k1"), &claims());
    verifier.verify(&remembered).await.unwrap();

    let token = new.sign(&header("k2"), &claims());
    for _ in 0..5 {
        assert_eq!(verifier.verify(&token).await.map(drop), Err(Refused::UnknownKey));
    }
    assert_eq!(keys.fetches.load(Ordering::SeqCst), 1, "not more than one fetch in ten seconds");

    *keys.jwks.lock() = Some(new.jwks());
    verifier.fetched.lock().await.as_mut().unwrap().at -= REFETCH;
    assert!(verifier.verify(&token).await.is_ok());
    assert_eq!(
        verifier.verify(&remembered).await.map(drop),
        Err(Refused::UnknownKey),
        "what a withdrawn key signed is forgotten"
    );
}

#[tokio::test]
async fn keys_that_are_known_outlive_a_hub_that_does_not_answer() {
    let hub = TestHub::new();
    let (verifier, keys) = verifier(&hub);
    verifier.verify(&hub.sign(&header("k1"), &claims())).await.unwrap();
    *keys.jwks.lock() = None;
    verifier.fetched.lock().await.as_mut().unwrap().at -= REFETCH;
    assert_eq!(verifier.verify(&hub.sign(&header("k9"), &claims())).await.map(drop), Err(Refused::UnknownKey));
    assert!(verifier.verify(&hub.sign(&header("k1"), &with("sub", "b@example.com".into()))).await.is_ok());
}
