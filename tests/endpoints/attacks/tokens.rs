//! Forged, confused, poisoned and replayed proofs.

use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_SHA256};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use super::world::{PASSWORD, TRAP, World, bearer};

fn encoded(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}

fn decoded(part: &str) -> Value {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
}

/// A key of the attacker's, with which he signs whatever he likes, correctly.
struct Attacker(KeyPair);

impl Attacker {
    fn token(&self, header: &Value, claims: &Value) -> String {
        let signed = format!("{}.{}", encoded(header), encoded(claims));
        let mut signature = vec![0; self.0.public_modulus_len()];
        self.0.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut signature).unwrap();
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    fn jwk(&self) -> Value {
        let key = self.0.public_key();
        let (n, e) = (key.modulus(), key.exponent());
        let text = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        json!({"kty": "RSA", "alg": "RS256", "kid": "attacker", "n": text(n.big_endian_without_leading_zero()), "e": text(e.big_endian_without_leading_zero())})
    }
}

pub(super) fn forged(world: &mut World) {
    let reader = world.reader.clone();
    let mut parts = reader.split('.');
    let (header, claims, signature) = (parts.next().unwrap(), parts.next().unwrap(), parts.next().unwrap());
    let (ours, own) = (decoded(header), decoded(claims));
    let administrator = decoded(world.admin.split('.').nth(1).unwrap());
    let jwks = world.call("GET", "/.well-known/jwks.json", &[], "").json();
    let attacker = Attacker(KeyPair::generate(KeySize::Rsa2048).unwrap());
    let with = |name: &str, value: Value| {
        let mut header = ours.clone();
        header[name] = value;
        header
    };
    let unsigned = |header: &Value| format!("{}.{}.", encoded(header), encoded(&administrator));
    let confused = |key: &[u8]| {
        let signed = format!("{}.{}", encoded(&with("alg", json!("HS256"))), encoded(&administrator));
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), signed.as_bytes());
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(tag.as_ref()))
    };
    let modulus = URL_SAFE_NO_PAD.decode(jwks["keys"][0]["n"].as_str().unwrap_or_default()).unwrap();
    let mut later = own.clone();
    later["exp"] = json!(own["exp"].as_i64().unwrap() + 86_400);
    let other_kid = jwks["keys"].as_array().unwrap().iter().find(|key| key["kty"] != "RSA").unwrap()["kid"].clone();
    let certificate = STANDARD.encode(attacker.0.public_key().as_ref());
    let poisoned = |name: &str, value: Value| attacker.token(&with(name, value), &administrator);
    let cases = [
        ("alg none", unsigned(&with("alg", json!("none")))),
        ("alg None", unsigned(&with("alg", json!("None")))),
        ("alg empty", unsigned(&with("alg", json!("")))),
        ("alg missing", unsigned(&json!({"typ": "at+jwt", "kid": ours["kid"]}))),
        ("HS256 with the public modulus", confused(&modulus)),
        ("HS256 with the key document", confused(jwks.to_string().as_bytes())),
        ("HS256 with nothing", confused(b"")),
        ("RS512", poisoned("alg", json!("RS512"))),
        ("PS256", poisoned("alg", json!("PS256"))),
        ("ES256", poisoned("alg", json!("ES256"))),
        ("EdDSA", poisoned("alg", json!("EdDSA"))),
        ("our kid, his key", attacker.token(&ours, &administrator)),
        ("jku", poisoned("jku", json!("https://evil.example/jwks.json"))),
        ("jwk", poisoned("jwk", attacker.jwk())),
        ("x5u", poisoned("x5u", json!("https://evil.example/cert.pem"))),
        ("x5c", poisoned("x5c", json!([certificate]))),
        ("crit", poisoned("crit", json!(["exp"]))),
        ("unknown kid", poisoned("kid", json!("attacker"))),
        ("kid that is a path", poisoned("kid", json!("../../../../dev/null"))),
        ("kid that is a statement", poisoned("kid", json!("' OR '1'='1"))),
        ("kid that is an address", poisoned("kid", json!("https://evil.example/key"))),
        ("no kid", attacker.token(&json!({"alg": "RS256", "typ": "at+jwt"}), &administrator)),
        ("kid of the key for agents", attacker.token(&with("kid", other_kid), &administrator)),
        ("typ JWT", format!("{}.{claims}.{signature}", encoded(&with("typ", json!("JWT"))))),
        ("typ of an agent's statement", poisoned("typ", json!("flotilla-identity+jwt"))),
        ("another's claims", format!("{header}.{}.{signature}", encoded(&administrator))),
        ("a later end", format!("{header}.{}.{signature}", encoded(&later))),
        ("no signature", format!("{header}.{claims}")),
        ("empty signature", format!("{header}.{claims}.")),
        ("a fourth part", format!("{reader}.{signature}")),
        ("claims that are no JSON", format!("{header}.{}.{signature}", URL_SAFE_NO_PAD.encode("admin"))),
        ("encrypted", format!("{}.{claims}.{signature}.x.y", encoded(&with("enc", json!("A256GCM"))))),
        ("a key of the right shape", format!("sk_live_{}", "A".repeat(43))),
        ("a key of the wrong shape", "sk_live_../../etc/passwd".to_owned()),
        ("a refresh token", "A".repeat(43)),
    ];
    world.control(
        "the token itself",
        &world.call("GET", "/api/whoami", &[("authorization", &bearer(&reader))], ""),
        200,
    );
    for (name, token) in cases {
        let authorization = bearer(&token);
        for path in ["/api/whoami".to_owned(), format!("/k8s/clusters/{TRAP}/api/v1/namespaces/shop/pods")] {
            let answer = world.call("GET", &path, &[("authorization", &authorization)], "");
            world.attack(&format!("{name} at {path}"), &answer, &[401]);
        }
    }
}

/// Proofs that held once.
pub(super) fn replayed(world: &mut World) {
    let origin = world.own_origin();
    let whoami = |world: &World, name: &str, value: &str| world.call("GET", "/api/whoami", &[(name, value)], "");
    let refresh = |world: &World, token: &Value| {
        world.call("POST", "/auth/refresh", &[], &json!({"refresh_token": token}).to_string())
    };
    world.person("replay@example.com", &[]);
    for (route, everywhere) in [("/auth/logout", false), ("/auth/logout/everywhere", true)] {
        let tokens = world.sign_in("replay@example.com", PASSWORD);
        let (cookie, other) = (world.browser("replay@example.com"), world.browser("replay@example.com"));
        let authorization = bearer(tokens["token"].as_str().unwrap());
        world.control("cookie before", &whoami(world, "cookie", &cookie), 200);
        world.control("token before", &whoami(world, "authorization", &authorization), 200);
        let gone = world.call("POST", route, &[("cookie", &cookie), ("origin", &origin)], "");
        world.control(route, &gone, 204);
        assert!(gone.header("set-cookie").unwrap().contains("Max-Age=0"));
        world.attack(&format!("cookie after {route}"), &whoami(world, "cookie", &cookie), &[401]);
        let after = whoami(world, "authorization", &authorization);
        if everywhere {
            world.attack(
                "another browser's cookie after signing out everywhere",
                &whoami(world, "cookie", &other),
                &[401],
            );
            world.attack("access token after signing out everywhere", &after, &[401]);
            world.attack(
                "refresh token after signing out everywhere",
                &refresh(world, &tokens["refresh_token"]),
                &[401],
            );
        } else {
            world.control("the other session", &after, 200);
            world.control("signing out", &world.call("POST", route, &[("authorization", &authorization)], ""), 204);
            world.attack("access token after signing out", &whoami(world, "authorization", &authorization), &[401]);
            world.attack("refresh token after signing out", &refresh(world, &tokens["refresh_token"]), &[401]);
        }
    }
    let first = world.sign_in("replay@example.com", PASSWORD);
    let second = refresh(world, &first["refresh_token"]).json();
    world.attack("a spent refresh token", &refresh(world, &first["refresh_token"]), &[401]);
    world.attack("its successor, after that", &refresh(world, &second["refresh_token"]), &[401]);
    let successor = bearer(second["token"].as_str().unwrap());
    world.attack("the access token beside it", &whoami(world, "authorization", &successor), &[401]);
}

/// Tickets and keys, used otherwise than they are meant.
pub(super) fn tickets_and_keys(world: &mut World) {
    let token = world.person("keys@example.com", &["reader"]);
    let authorization = bearer(&token);
    let post = |world: &World, authorization: &str, path: &str, body: Value| {
        world.call("POST", path, &[("authorization", authorization)], &body.to_string())
    };
    let ticket = |world: &World, authorization: &str, path: &str| {
        let made = post(world, authorization, "/api/tickets", json!({"path": path}));
        assert_eq!(made.status, 201, "{}", made.text);
        made.json()["ticket"].as_str().unwrap().to_owned()
    };
    let redeem = |world: &World, method: &str, path: &str, ticket: &str| {
        world.call(method, &format!("{path}?ticket={ticket}"), &[], "")
    };
    let one = ticket(world, &authorization, "/api/whoami");
    world.control("a ticket", &redeem(world, "GET", "/api/whoami", &one), 200);
    world.attack("a ticket twice", &redeem(world, "GET", "/api/whoami", &one), &[401]);
    let one = ticket(world, &authorization, "/api/whoami");
    world.attack("a ticket elsewhere", &redeem(world, "GET", "/api/clusters", &one), &[401]);
    world.attack("a ticket after it was tried elsewhere", &redeem(world, "GET", "/api/whoami", &one), &[401]);
    let one = ticket(world, &authorization, "/auth/logout");
    world.attack("a ticket for a change", &redeem(world, "POST", "/auth/logout", &one), &[401]);
    let one = ticket(world, &authorization, "/api/whoami");
    world.attack("two tickets", &redeem(world, "GET", "/api/whoami", &format!("{one}&ticket={one}")), &[401]);
    let gateway = post(world, &authorization, "/api/tickets", json!({"path": format!("/k8s/clusters/{TRAP}/api")}));
    world.attack("a ticket for the gateway", &gateway, &[422]);

    let make = |world: &World, scopes: Value| {
        let made = post(world, &authorization, "/api/api-keys", json!({"name": scopes.to_string(), "scopes": scopes}));
        assert_eq!(made.status, 201, "{}", made.text);
        let made = made.json();
        (bearer(made["key"].as_str().unwrap()), made["apiKey"]["id"].as_str().unwrap().to_owned())
    };
    let pods = format!("/k8s/clusters/{TRAP}/api/v1/namespaces/shop/pods");
    let get = |world: &World, key: &str, path: &str| world.call("GET", path, &[("authorization", key)], "");
    let (all, all_id) = make(world, json!(["*"]));
    world.control("a key at the gateway", &get(world, &all, &pods), 200);
    let listed = get(world, &authorization, "/api/api-keys");
    assert!(!listed.text.contains(&all[7..]) && listed.text.contains(&all[7..21]), "a list never holds the key");
    world.attack(
        "a key makes a key",
        &post(world, &all, "/api/api-keys", json!({"name": "x", "scopes": ["*"]})),
        &[403],
    );
    world.attack("a key ends sessions", &post(world, &all, "/auth/logout/everywhere", json!({})), &[403]);
    let change = json!({"current": PASSWORD, "new": "another long password"});
    world.attack("a key changes the password", &post(world, &all, "/auth/password", change), &[403]);
    world.attack(
        "a key of no administrator makes users",
        &post(world, &all, "/api/users", json!({"email": "x@example.com"})),
        &[403],
    );
    world.attack("more than its owner may", &get(world, &all, &format!("/k8s/clusters/{TRAP}/api/v1/secrets")), &[403]);
    let (narrow, _) = make(world, json!(["secrets:read"]));
    world.attack("a key for secrets at the gateway", &get(world, &narrow, &pods), &[404]);
    world.attack("a key for secrets at clusters", &get(world, &narrow, "/api/clusters"), &[403]);
    let (get_only, _) = make(world, json!([format!("k8s:{TRAP}:get")]));
    world.control("a narrow key", &get(world, &get_only, &format!("{pods}/web")), 200);
    world.attack("a key for get lists", &get(world, &get_only, &pods), &[403]);
    let (elsewhere, _) = make(world, json!(["k8s:prod-*"]));
    world.attack("a key for other clusters", &get(world, &elsewhere, &pods), &[404]);
    for place in ["token", "access_token", "key", "api_key", "authorization"] {
        let answer = world.call("GET", &format!("/api/whoami?{place}={}", &all[7..]), &[], "");
        world.attack(&format!("a key in the address as {place}"), &answer, &[401]);
    }
    let one = ticket(world, &all, "/api/whoami");
    let revoked = world.call("DELETE", &format!("/api/api-keys/{all_id}"), &[("authorization", &authorization)], "");
    world.control("revoking", &revoked, 204);
    world.attack("a revoked key", &get(world, &all, &pods), &[401]);
    world.attack("a ticket of a revoked key", &redeem(world, "GET", "/api/whoami", &one), &[401]);
    let one = ticket(world, &authorization, "/api/whoami");
    world.control("signing out", &post(world, &authorization, "/auth/logout", json!({})), 204);
    world.attack("a ticket after signing out", &redeem(world, "GET", "/api/whoami", &one), &[401]);
}
