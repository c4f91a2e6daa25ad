//! What a page of somebody else's can make a signed-in browser do.

use serde_json::json;

use super::world::{PASSWORD, TRAP, World, bearer};

pub(super) fn cross_site(world: &mut World) {
    world.person("browser@example.com", &["reader"]);
    let (cookie, own, port) = (world.browser("browser@example.com"), world.own_origin(), world.fixture.hub.people_port);
    assert!(cookie.starts_with("flotilla="), "plain HTTP takes no __Host- cookie: {cookie}");
    let end = |world: &World, headers: &[(&str, &str)]| {
        let mut all = vec![("cookie", cookie.as_str())];
        all.extend(headers);
        world.call("POST", "/api/tickets", &all, &json!({"path": "/api/whoami"}).to_string())
    };
    world.control("our own page", &end(world, &[("origin", &own)]), 201);
    world.control("our own page, older browser", &end(world, &[("sec-fetch-site", "same-origin")]), 201);
    let (tls, other_port) = (format!("https://localhost:{port}"), format!("http://localhost:{}", port ^ 1));
    let (suffix, user) = (format!("{own}.evil.example"), format!("http://localhost:{port}@evil.example"));
    let cases: [(&str, &[(&str, &str)]); 15] = [
        ("no origin", &[]),
        ("a foreign origin", &[("origin", "https://evil.example")]),
        ("origin null", &[("origin", "null")]),
        ("an empty origin", &[("origin", "")]),
        ("our name, another port", &[("origin", &other_port)]),
        ("our name by TLS", &[("origin", &tls)]),
        ("our name as a prefix", &[("origin", &suffix)]),
        ("our name as a user", &[("origin", &user)]),
        ("two origins", &[("origin", &own), ("origin", "https://evil.example")]),
        ("cross-site", &[("sec-fetch-site", "cross-site")]),
        ("same-site", &[("sec-fetch-site", "same-site")]),
        ("site none", &[("sec-fetch-site", "none")]),
        ("our origin, cross-site", &[("origin", &own), ("sec-fetch-site", "cross-site")]),
        ("a referrer alone", &[("referer", &own)]),
        ("a host that is told", &[("x-forwarded-host", "evil.example"), ("origin", "http://evil.example")]),
    ];
    for (name, headers) in cases {
        let answer = end(world, headers);
        world.attack(&format!("a change by cookie with {name}"), &answer, &[403]);
    }
    for method in ["PUT", "DELETE", "PATCH"] {
        let answer =
            world.call(method, "/api/api-keys/00000000-0000-7000-8000-000000000000", &[("cookie", &cookie)], "{}");
        world.attack(&format!("{method} by cookie without origin"), &answer, &[403, 405]);
    }
    let hidden =
        [("cookie", cookie.as_str()), ("x-http-method-override", "DELETE"), ("origin", "https://evil.example")];
    let read = world.call("GET", "/api/whoami", &hidden, "");
    assert_eq!(read.header("access-control-allow-origin"), None, "a foreign page reads nothing");
    world.control("a read by cookie", &read, 200);
    let preflight = [("origin", "https://evil.example"), ("access-control-request-method", "POST")];
    let answer = world.call("OPTIONS", "/api/users", &preflight, "");
    world.attack("a preflight", &answer, &[405]);
    let sign_in = json!({"email": "browser@example.com", "password": PASSWORD, "session": "cookie"}).to_string();
    let answer = world.call("POST", "/auth/login", &[("origin", "https://evil.example")], &sign_in);
    world.attack("signing in for a foreign page", &answer, &[403]);
    assert!(answer.header("set-cookie").is_none());
    cookies(world, &cookie);
    web_sockets(world, &cookie);
}

fn cookies(world: &mut World, cookie: &str) {
    let value = cookie.split_once('=').unwrap().1.to_owned();
    let whoami = |world: &World, cookie: &str| world.call("GET", "/api/whoami", &[("cookie", cookie)], "");
    world.control("the cookie itself", &whoami(world, cookie), 200);
    let cases = [
        ("a secure cookie on plain HTTP", format!("__Host-flotilla={value}")),
        ("two cookies", format!("flotilla={}; {cookie}", "B".repeat(43))),
        ("two cookies, the other way", format!("{cookie}; flotilla={}", "B".repeat(43))),
        ("a cut cookie", format!("flotilla={}", &value[..42])),
        ("its hash", format!("flotilla={}", "a".repeat(64))),
        ("a token as a cookie", format!("flotilla={}", world.admin)),
    ];
    for (name, cookie) in cases {
        let answer = whoami(world, &cookie);
        world.attack(name, &answer, &[401]);
    }
    let answer = world.call("GET", "/api/whoami", &[("authorization", &bearer(&value))], "");
    world.attack("a cookie as a token", &answer, &[401]);
    let pods = format!("/k8s/clusters/{TRAP}/api/v1/namespaces/shop/pods");
    let answer = world.call("GET", &pods, &[("cookie", cookie)], "");
    world.attack("a cookie at the gateway", &answer, &[401]);
}

/// Name, path, headers, expected statuses.
type Case<'a> = (&'a str, &'a str, &'a [(&'a str, &'a str)], &'a [u16]);

fn web_sockets(world: &mut World, cookie: &str) {
    let (own, reader) = (world.own_origin(), bearer(&world.reader));
    let gateway = format!("/k8s/clusters/{TRAP}/api/v1/namespaces/shop/pods/web/exec?command=sh");
    let foreign = "https://evil.example";
    let cases: [Case<'_>; 6] = [
        ("by cookie", "/api/whoami", &[("cookie", cookie), ("origin", foreign)], &[403]),
        ("by cookie, without origin", "/api/whoami", &[("cookie", cookie)], &[403]),
        ("by cookie, from null", "/api/whoami", &[("cookie", cookie), ("origin", "null")], &[403]),
        ("by token", "/api/whoami", &[("authorization", &reader), ("origin", foreign)], &[403]),
        ("at the gateway", &gateway, &[("authorization", &reader), ("origin", foreign)], &[403]),
        ("by nobody", "/ws", &[("origin", foreign)], &[403]),
    ];
    for (name, path, headers, wanted) in cases {
        let mut all = vec![
            ("connection", "Upgrade"),
            ("upgrade", "websocket"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ];
        all.extend(headers);
        let answer = closing(world, path, &all);
        world.attack(&format!("a foreign WebSocket {name}"), &answer, wanted);
    }
    let upgrade = [("connection", "Upgrade"), ("upgrade", "websocket"), ("cookie", cookie), ("origin", own.as_str())];
    world.control("our own page", &closing(world, "/api/whoami", &upgrade), 200);
}

/// An upgrade keeps its connection; a second request ends it.
fn closing(world: &World, path: &str, headers: &[(&str, &str)]) -> super::world::Answer {
    let mut all = headers.to_vec();
    for (name, value) in &mut all {
        if *name == "connection" {
            *value = "Upgrade, close";
        }
    }
    world.call("GET", path, &all, "")
}

/// Who plants a session and waits.
pub(super) fn fixation(world: &mut World) {
    world.person("victim@example.com", &[]);
    world.person("planter@example.com", &[]);
    let planted = world.browser("planter@example.com");
    let body = json!({"email": "victim@example.com", "password": PASSWORD, "session": "cookie"}).to_string();
    let invented = format!("flotilla={}", "C".repeat(43));
    for (name, cookie) in [("a session of the planter's", &planted), ("an invented session", &invented)] {
        let signed_in = world.call("POST", "/auth/login", &[("cookie", cookie)], &body);
        world.control("signing in", &signed_in, 200);
        assert_ne!(&signed_in.cookie(), cookie, "a new session at sign-in");
        let answer = world.call("GET", "/api/whoami", &[("cookie", cookie)], "");
        world.attack(&format!("{name}, after the victim signed in with it"), &answer, &[401]);
    }
    let first = world.browser("victim@example.com");
    let again = world.call("POST", "/auth/login", &[("cookie", &first)], &body);
    let answer = world.call("GET", "/api/whoami", &[("cookie", &first)], "");
    world.attack("the victim's own old session", &answer, &[401]);
    world.control("his new one", &world.call("GET", "/api/whoami", &[("cookie", &again.cookie())], ""), 200);
}
