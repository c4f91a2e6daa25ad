//! Requests that say two things, paths in disguise, bodies that cost more than they are worth.

use std::time::{Duration, Instant};

use serde_json::json;

use super::world::{TRAP, World, bearer};

pub(super) fn smuggled(world: &mut World) {
    let (reader, pods) = (bearer(&world.reader), format!("/k8s/clusters/{TRAP}/api/v1/namespaces/shop/pods"));
    world.control("a list", &world.call("GET", &pods, &[("authorization", &reader)], ""), 200);
    for name in ["Impersonate-User", "impersonate-group", "IMPERSONATE-UID", "Impersonate-Extra-Scopes"] {
        let answer = world.call("GET", &pods, &[("authorization", &reader), (name, "system:masters")], "");
        world.attack(name, &answer, &[403]);
        let named =
            [("authorization", reader.as_str()), (name, "system:masters"), ("connection", &format!("close, {name}"))];
        let answer = world.call("GET", &pods, &named, "");
        world.attack(&format!("{name}, named as hop-by-hop"), &answer, &[403]);
    }
    for name in ["X-Remote-User", "x-remote-group", "X-Remote-Extra-Scopes"] {
        let answer = world.call("GET", &pods, &[("authorization", &reader), (name, "system:masters")], "");
        world.attack(name, &answer, &[400]);
    }
    for name in ["flotilla-identity", "X-Forwarded-User", "X-Remote-User", "X-Original-User", "Proxy-Authorization"] {
        let answer = world.call("GET", "/api/whoami", &[(name, "admin@flotilla.local")], "");
        world.attack(&format!("{name} in place of a proof"), &answer, &[401]);
    }
    let admin = bearer(&world.admin);
    for (name, first, second) in
        [("reader first", &reader, &admin), ("nothing first", &"Basic eDp5".to_owned(), &admin)]
    {
        for path in ["/api/users", &pods] {
            let answer = world.call("GET", path, &[("authorization", first), ("authorization", second)], "");
            world.attack(&format!("two Authorization headers, {name}, at {path}"), &answer, &[401]);
        }
    }
    let answer = world.call("GET", "/api/whoami", &[("authorization", "Basic YWRtaW46YWRtaW4=")], "");
    world.attack("basic authentication", &answer, &[401]);
    framed(world);
}

/// Two lengths, two requests.
fn framed(world: &mut World) {
    let admin = bearer(&world.admin);
    let head =
        |extra: &str| format!("POST /auth/refresh HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{extra}\r\n");
    let inner = format!("GET /api/users HTTP/1.1\r\nhost: localhost\r\nauthorization: {admin}\r\n\r\n");
    let chunked = format!("0\r\n\r\n{inner}");
    let cases = [
        (
            "length and chunks",
            head(&format!("content-length: {}\r\ntransfer-encoding: chunked\r\n", chunked.len())) + &chunked,
        ),
        ("chunks and length", head("transfer-encoding: chunked\r\ncontent-length: 4\r\n") + &chunked),
        ("two lengths", head("content-length: 2\r\ncontent-length: 4\r\n") + "{}" + &inner),
        ("a signed length", head("content-length: +2\r\n") + "{}" + &inner),
        ("unknown coding", head("transfer-encoding: chunked, identity\r\n") + &chunked),
        ("a space before the colon", head("content-length : 2\r\n") + "{}" + &inner),
        ("a folded header", head("x-a: b\r\n content-length: 2\r\n") + "{}" + &inner),
        ("a null in a header", head("x-a: b\0c\r\n") + &inner),
        ("a bare line feed", "GET /healthz HTTP/1.1\nhost: localhost\nx: y\r\rGET /api/users HTTP/1.1\n\n".to_owned()),
        ("a chunk of a strange size", head("transfer-encoding: chunked\r\n") + "0x2\r\n{}\r\n0\r\n\r\n" + &inner),
    ];
    for (name, bytes) in cases {
        let answer = world.raw(bytes.as_bytes());
        assert!(!answer.text.contains("\"users\""), "{name}: the inner request was answered\n{}", answer.text);
        world.attack(name, &answer, &[0, 400, 401, 413]);
    }
}

pub(super) fn disguised_paths(world: &mut World) {
    let reader = bearer(&world.reader);
    let cluster = format!("/k8s/clusters/{TRAP}");
    let tricks = [
        "/api/v1/namespaces/shop/pods/../secrets",
        "/api/v1/namespaces/shop/pods/%2e%2e/secrets",
        "/api/v1/namespaces/shop/pods/%2E%2E/secrets",
        "/api/v1/namespaces/shop/pods/.%2e/secrets",
        "/api/v1/namespaces/shop/pods/..%2fsecrets",
        "/api/v1/namespaces/shop/pods/web%2f..%2f..%2fsecrets",
        "/api/v1/namespaces/shop/./secrets",
        "/api/v1//namespaces/shop/secrets",
        "//api/v1/namespaces/shop/secrets",
        "/api/v1/namespaces/shop%2fpods/../kube-system/secrets",
        "/api/v1/namespaces/shop/pods/web\\..\\..\\secrets",
        "/api/v1/namespaces/shop/pods/web%00/log",
        "/api/v1/namespaces/shop/pods/web/exec?command=sh",
        "/api/v1/namespaces/shop/pods/web/log",
        "/api/v1/watch/namespaces/shop/secrets",
        "/api/v1/proxy/namespaces/shop/pods/web",
        "/api/v1/namespaces/shop/pods/web/proxy/../../../secrets",
        "/api/v1/namespaces/kube-system/pods",
        "/api/v1/pods",
        "/api/v1/namespaces/shop/Secrets",
        "/API/v1/namespaces/shop/pods",
        "/../../../api/users",
        "/debug/pprof/",
        "/metrics",
        "/logs/",
    ];
    for trick in tricks {
        let answer = world.call("GET", &format!("{cluster}{trick}"), &[("authorization", &reader)], "");
        world.attack(trick, &answer, &[400, 403, 404]);
    }
    let elsewhere = [
        "/k8s/clusters/prod/api/v1/pods",
        "/k8s/clusters/dev-trap%2f..%2fprod/api/v1/pods",
        "/k8s/clusters/../../api/users",
        "/k8s/clusters/DEV-TRAP/api/v1/namespaces/shop/pods",
        "/k8s/clusters//api/v1/pods",
        "/k8s/clusters/dev-*/api/v1/namespaces/shop/pods",
    ];
    for path in elsewhere {
        let answer = world.call("GET", path, &[("authorization", &reader)], "");
        world.attack(path, &answer, &[400, 403, 404]);
    }
    for path in [
        "/api/users/",
        "//api/users",
        "/api//users",
        "/api/./users",
        "/api/%75sers",
        "/v1/v1/api/users",
        "/api/users%00",
        "/API/users",
    ] {
        let answer = world.call("GET", path, &[("authorization", &reader)], "");
        world.attack(path, &answer, &[403, 404]);
    }
    for (path, host) in [
        ("//evil.example/", "localhost"),
        ("/\\evil.example", "localhost"),
        ("/auth/login?next=//evil.example", "evil.example"),
        ("http://evil.example/", "evil.example"),
    ] {
        let answer = world.raw(format!("GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n").as_bytes());
        // To our own sign-in page, and to nowhere of theirs.
        let away = answer.header("location").is_some_and(|to| to.contains("evil") || !to.starts_with("/login?"));
        assert!(!away, "{path}: leads away\n{}", answer.text);
        world.attack(&format!("an open redirect by {path}"), &answer, &[303, 400, 404, 405]);
    }
}

pub(super) fn escalation(world: &mut World) {
    let reader = bearer(&world.reader);
    let (shop, rbac) = ("/api/v1/namespaces/shop", "/apis/rbac.authorization.k8s.io/v1");
    let calls = [
        ("GET", "/api/v1/nodes/n1/proxy/exec/shop/web/c?command=id".to_owned()),
        ("POST", "/api/v1/nodes/n1/proxy/run/shop/web/c".to_owned()),
        ("PATCH", format!("{shop}/pods/web/ephemeralcontainers")),
        ("PUT", format!("{shop}/pods/web/ephemeralcontainers")),
        ("POST", format!("{shop}/serviceaccounts/default/token")),
        ("POST", format!("{shop}/pods/web/exec?command=sh")),
        ("GET", format!("{shop}/pods/web/attach")),
        ("GET", format!("{shop}/pods/web/portforward")),
        ("GET", format!("{shop}/services/http:web:80/proxy/")),
        ("GET", format!("{shop}/secrets/token")),
        ("GET", format!("{shop}/secrets")),
        ("DELETE", format!("{shop}/pods")),
        ("POST", format!("{shop}/pods/web/eviction")),
        ("POST", format!("{shop}/pods/web/binding")),
        ("POST", format!("{shop}/pods")),
        ("PATCH", format!("{rbac}/clusterroles/view")),
        ("POST", format!("{rbac}/clusterrolebindings")),
        ("POST", format!("{rbac}/namespaces/shop/rolebindings")),
        ("PUT", format!("{rbac}/namespaces/shop/roles/own")),
        ("PUT", "/apis/certificates.k8s.io/v1/certificatesigningrequests/mine/approval".to_owned()),
        ("POST", "/apis/authentication.k8s.io/v1/tokenreviews".to_owned()),
        ("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews".to_owned()),
        ("POST", "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations".to_owned()),
        ("POST", "/apis/apiregistration.k8s.io/v1/apiservices".to_owned()),
        ("IMPERSONATE", "/api/v1/users/admin".to_owned()),
    ];
    for (method, path) in calls {
        let answer = world.call(method, &format!("/k8s/clusters/{TRAP}{path}"), &[("authorization", &reader)], "{}");
        world.attack(&format!("{method} {path}"), &answer, &[400, 403, 405]);
    }
    let me =
        world.call("GET", "/api/whoami", &[("authorization", &reader)], "").json()["id"].as_str().unwrap().to_owned();
    let admin_id = world.as_admin("GET", "/api/whoami", &json!({}), 200)["id"].as_str().unwrap().to_owned();
    let session =
        world.as_admin("GET", "/api/sessions", &json!({}), 200)["sessions"][0]["id"].as_str().unwrap().to_owned();
    let key =
        world.as_admin("POST", "/api/api-keys", &json!({"name": "admin's", "scopes": ["*"]}), 201)["apiKey"]["id"]
            .as_str()
            .unwrap()
            .to_owned();
    let calls = [
        ("PUT", format!("/api/users/{me}/roles"), json!({"roles": ["admin"]}), 403),
        ("POST", "/api/users".to_owned(), json!({"email": "new@example.com", "roles": ["admin"]}), 403),
        ("POST", format!("/api/users/{admin_id}/password"), json!({}), 403),
        ("PUT", "/api/roles/reader".to_owned(), json!({"name": "reader", "clusters": []}), 403),
        ("POST", "/api/agents/tokens".to_owned(), json!({"cluster": TRAP}), 403),
        ("GET", format!("/api/sessions?user={admin_id}"), json!(null), 403),
        ("DELETE", format!("/api/sessions/{session}"), json!(null), 404),
        ("GET", format!("/api/api-keys?user={admin_id}"), json!(null), 403),
        ("GET", format!("/api/api-keys/{key}"), json!(null), 404),
        ("PUT", format!("/api/api-keys/{key}"), json!({"name": "mine", "scopes": ["*"]}), 404),
        ("DELETE", format!("/api/api-keys/{key}"), json!(null), 404),
    ];
    for (method, path, body, wanted) in calls {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let answer = world.call(method, &path, &[("authorization", &reader)], &body);
        world.attack(&format!("{method} {path} by somebody else"), &answer, &[wanted]);
    }
}

/// What a body may cost: each is refused, and quickly.
pub(super) fn heavy(world: &mut World) {
    let admin = bearer(&world.admin);
    let cluster = |kubeconfig: String| json!({"name": "bomb", "kubeconfig": kubeconfig}).to_string();
    let mut laughs = String::from("a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol, lol]\n");
    for level in 1..12 {
        let before = format!("*a{}, ", level - 1).repeat(10);
        laughs.push_str(&format!("a{level}: &a{level} [{}]\n", before.trim_end_matches(", ")));
    }
    let cases = [
        ("a large sign-in", "/auth/login", json!({"email": "a".repeat(80_000), "password": "x"}).to_string(), [413, 0]),
        ("a large body", "/api/users", json!({"email": "a".repeat(1_100_000)}).to_string(), [413, 0]),
        ("deep arrays", "/api/roles", "[".repeat(100_000), [400, 0]),
        ("deep objects", "/api/roles", "{\"a\":".repeat(50_000), [400, 0]),
        ("deep arrays from nobody", "/auth/login", "[".repeat(60_000), [400, 0]),
        ("a number too large", "/api/roles", "1e99999".to_owned(), [400, 0]),
        ("a field twice", "/auth/refresh", "{\"refresh_token\":\"a\",\"refresh_token\":\"b\"}".to_owned(), [400, 0]),
        (
            "an unknown field",
            "/auth/login",
            json!({"email": "a@b", "password": "x", "admin": true}).to_string(),
            [400, 0],
        ),
        ("not UTF-8 in disguise", "/auth/login", "{\"email\":\"\\ud800\",\"password\":\"x\"}".to_owned(), [400, 0]),
        ("a null in a name", "/api/users", json!({"email": "a\0b@example.com"}).to_string(), [422, 400]),
        ("a YAML bomb", "/api/clusters", cluster(laughs), [422, 0]),
        ("deep YAML", "/api/clusters", cluster("[".repeat(200_000)), [422, 0]),
        (
            "deep YAML by indentation",
            "/api/clusters",
            cluster((0..700).map(|n| format!("{}a:\n", " ".repeat(n))).collect()),
            [422, 0],
        ),
        ("a YAML alias of itself", "/api/clusters", cluster("clusters: &c [*c]\n".to_owned()), [422, 0]),
        (
            "a kubeconfig that runs a program",
            "/api/clusters",
            cluster(with_user("exec: {apiVersion: client.authentication.k8s.io/v1, command: /bin/sh}")),
            [422, 0],
        ),
        ("a kubeconfig that reads a file", "/api/clusters", cluster(with_user("tokenFile: /etc/passwd")), [422, 0]),
    ];
    for (name, path, body, wanted) in cases {
        let started = Instant::now();
        let answer = world.call("POST", path, &[("authorization", &admin)], &body);
        world.attack(name, &answer, &wanted);
        assert!(started.elapsed() < Duration::from_secs(5), "{name} took {:?}", started.elapsed());
    }
    let answer =
        world.call("GET", &format!("/api/audit?actor={}", "a".repeat(9_000)), &[("authorization", &admin)], "");
    world.attack("a long target", &answer, &[414]);
    let answer = world.call("GET", "/healthz", &[("x-long", &"a".repeat(200_000))], "");
    world.attack("a long header", &answer, &[431, 400, 0]);
    let many: Vec<(String, String)> = (0..500).map(|n| (format!("x-{n}"), "a".to_owned())).collect();
    let many: Vec<(&str, &str)> = many.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let answer = world.call("GET", "/healthz", &many, "");
    world.attack("many headers", &answer, &[431, 400, 0]);
    world.control("the hub lives", &world.call("GET", "/readyz", &[], ""), 200);
}

fn with_user(user: &str) -> String {
    format!(
        "current-context: c\ncontexts: [{{name: c, context: {{cluster: c, user: u}}}}]\n\
         clusters: [{{name: c, cluster: {{server: \"https://127.0.0.1:1\"}}}}]\nusers: [{{name: u, user: {{{user}}}}}]\n"
    )
}
