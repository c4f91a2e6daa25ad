//! Access tokens that do not hold.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};

use crate::bed::{CLUSTER, Stand, bed};
use crate::http::Api;

#[test]
fn forged_tokens_are_refused_all_alike() {
    let bed = bed();
    let api = Api::admin(&bed.stand.hub);
    let good = api.token.clone().unwrap();
    let [head, body, signature] = good.split('.').collect::<Vec<_>>().try_into().unwrap();
    let header: Value = decoded(head);
    let claims: Value = decoded(body);
    let kid = header["kid"].as_str().unwrap();
    let unsigned = |header: Value| format!("{}.{body}.", encoded(&header));

    let mut forged = vec![
        ("nothing".to_owned(), "x".to_owned()),
        ("alg none".into(), unsigned(json!({"alg": "none", "typ": "at+jwt", "kid": kid}))),
        ("alg None".into(), unsigned(json!({"alg": "None", "typ": "at+jwt", "kid": kid}))),
        (
            "alg none, signature kept".into(),
            format!("{}{signature}", unsigned(json!({"alg": "none", "typ": "at+jwt", "kid": kid}))),
        ),
        ("no signature".into(), format!("{head}.{body}.")),
        ("no signature part".into(), format!("{head}.{body}")),
        (
            "another subject".into(),
            tampered(head, &claims, "sub", &json!("00000000-0000-4000-8000-000000000000"), signature),
        ),
        ("a longer life".into(), tampered(head, &claims, "exp", &json!(4_000_000_000_u64), signature)),
        ("a changed signature".into(), format!("{head}.{body}.{}", flipped(signature))),
        (
            "another kid".into(),
            format!("{}.{body}.{signature}", encoded(&json!({"alg": "RS256", "typ": "at+jwt", "kid": "other"}))),
        ),
        (
            "another type".into(),
            format!("{}.{body}.{signature}", encoded(&json!({"alg": "RS256", "typ": "JWT", "kid": kid}))),
        ),
        ("far too long".into(), format!("{head}.{}.{signature}", "a".repeat(6000))),
    ];
    forged.extend(signed_with_the_public_key(&api, kid, &claims));
    forged.extend(signed_with_a_key_of_my_own(kid, &claims));
    for (how, token) in forged {
        let answer = api.with_token(&token).get(&format!("/k8s/clusters/{CLUSTER}/api/v1/namespaces"));
        assert!(answer.kubernetes_status(401).contains("flotilla login"), "{how}");
        let answer = api.with_token(&token).get("/api/whoami");
        assert_eq!((answer.status, answer.header("content-type")), (401, Some("application/problem+json")), "{how}");
        assert!(answer.header("www-authenticate").is_some(), "{how}: RFC 9110 section 11.6.1 asks for it");
    }
    assert_eq!(api.get("/api/whoami").status, 200, "the one that was copied still holds");
}

/// The oldest trick: HS256 with what everybody knows, the public key, in each form in which a careless server may
/// have it at hand.
fn signed_with_the_public_key(api: &Api, kid: &str, claims: &Value) -> Vec<(String, String)> {
    let jwks = api.get("/.well-known/jwks.json").json();
    let key = jwks["keys"]
        .as_array()
        .unwrap()
        .iter()
        .find(|key| key["kid"] == kid)
        .expect("the signing key is published")
        .clone();
    assert!(key.get("d").is_none(), "only its public half: {key}");
    let modulus = URL_SAFE_NO_PAD.decode(key["n"].as_str().unwrap()).unwrap();
    let exponent = URL_SAFE_NO_PAD.decode(key["e"].as_str().unwrap()).unwrap();
    let der = public_key_der(&modulus, &exponent);
    let pem = format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", wrapped(&STANDARD.encode(&der)));
    let forms = [
        ("PEM", pem.clone().into_bytes()),
        ("PEM, trimmed", pem.trim().into()),
        ("DER", der),
        ("modulus", modulus),
        ("JWK", key.to_string().into_bytes()),
    ];
    let sign = |(form, secret): (&str, Vec<u8>)| {
        let header = Header { typ: Some("at+jwt".into()), kid: Some(kid.into()), ..Header::new(Algorithm::HS256) };
        (
            format!("HS256 with the public key as {form}"),
            jsonwebtoken::encode(&header, claims, &EncodingKey::from_secret(&secret)).unwrap(),
        )
    };
    forms.into_iter().map(sign).collect()
}

fn signed_with_a_key_of_my_own(kid: &str, claims: &Value) -> Vec<(String, String)> {
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
    let signing = EncodingKey::from_ed_der(&key.serialize_der());
    let sign = |how: &str, header: Header| (how.to_owned(), jsonwebtoken::encode(&header, claims, &signing).unwrap());
    let plain = Header { typ: Some("at+jwt".into()), kid: Some(kid.into()), ..Header::new(Algorithm::EdDSA) };
    vec![
        sign("EdDSA with a key of my own", plain.clone()),
        sign("a key to be fetched from me", Header { jku: Some("https://127.0.0.1:1/keys".into()), ..plain }),
    ]
}

#[test]
fn a_token_ends_when_it_says_and_a_logout_ends_it_before() {
    let bed = bed();
    let stand = Stand::hub_only(
        &bed.binaries,
        &flotilla_harness::HubOptions { extra: "auth: {token_expiry: 10s}\n".into(), ..Default::default() },
    );
    let old = Api::admin(&stand.hub);
    assert_eq!(old.get("/api/whoami").status, 200);
    // The command line renews by itself before the token ends; plain HTTP does not. Clocks may differ by 5 s.
    let fresh = Api::anonymous(&stand.hub).signed_in(&stand.hub.email, &stand.hub.password);
    assert_eq!(fresh.post("/auth/logout", &json!({})).status, 204);
    assert_eq!(fresh.get("/api/whoami").status, 401);
    std::thread::sleep(std::time::Duration::from_secs(17));
    let ended = old.get("/api/whoami");
    assert_eq!(ended.status, 401);
    assert!(ended.json()["detail"].as_str().unwrap().contains("expired"), "{}", ended.text());
    assert!(stand.hub.flotilla_ok("admin", &["whoami"]).unwrap().contains(&stand.hub.email));
}

#[test]
fn a_refresh_token_that_is_used_twice_ends_the_session() {
    let bed = bed();
    bed.stand.hub.add_user("rita@example.com", &["viewer"]).unwrap();
    let password =
        bed.stand.hub.flotilla_ok("admin", &["users", "reset-password", "rita@example.com", "-o", "json"]).unwrap();
    let password: Value = serde_json::from_str(&password).unwrap();
    let api = Api::anonymous(&bed.stand.hub);
    let first = api.post("/auth/login", &json!({"email": "rita@example.com", "password": password["password"]})).json();
    let second = api.post("/auth/refresh", &json!({"refresh_token": first["refresh_token"]})).json();
    let holder = api.with_token(second["token"].as_str().unwrap());
    assert_eq!(holder.get("/api/whoami").status, 200);
    let stolen = api.post("/auth/refresh", &json!({"refresh_token": first["refresh_token"]}));
    assert_eq!((stolen.status, &stolen.json()["code"]), (401, &json!("refresh_reused")));
    assert_eq!(holder.get("/api/whoami").status, 401, "the whole session is over");
    assert_eq!(api.post("/auth/refresh", &json!({"refresh_token": second["refresh_token"]})).status, 401);
}

fn decoded(part: &str) -> Value {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
}

fn encoded(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}

fn tampered(head: &str, claims: &Value, key: &str, value: &Value, signature: &str) -> String {
    let mut claims = claims.clone();
    claims[key] = value.clone();
    format!("{head}.{}.{signature}", encoded(&claims))
}

fn flipped(signature: &str) -> String {
    let mut bytes = URL_SAFE_NO_PAD.decode(signature).unwrap();
    bytes[0] ^= 1;
    URL_SAFE_NO_PAD.encode(bytes)
}

fn wrapped(text: &str) -> String {
    text.as_bytes().chunks(64).map(|line| String::from_utf8_lossy(line)).collect::<Vec<_>>().join("\n")
}

/// `SubjectPublicKeyInfo` of an RSA key (RFC 8017 appendix A.1.1, RFC 5280 section 4.1).
fn public_key_der(modulus: &[u8], exponent: &[u8]) -> Vec<u8> {
    let integer = |bytes: &[u8]| der(0x02, &[&[0][usize::from(bytes[0] < 0x80)..], bytes].concat());
    let key = der(0x30, &[integer(modulus), integer(exponent)].concat());
    let rsa_encryption = [0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00];
    der(0x30, &[der(0x30, &rsa_encryption), der(0x03, &[vec![0], key].concat())].concat())
}

fn der(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len();
    let mut out = vec![tag];
    match u8::try_from(length) {
        Ok(short) if short < 0x80 => out.push(short),
        _ => {
            let bytes: Vec<u8> = length.to_be_bytes().into_iter().skip_while(|byte| *byte == 0).collect();
            out.push(0x80 | u8::try_from(bytes.len()).unwrap());
            out.extend(bytes);
        }
    }
    out.extend_from_slice(content);
    out
}
