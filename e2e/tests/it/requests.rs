//! Requests that no well-behaved client sends: answered clearly, and nothing is changed.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::bed::{CLUSTER, PATIENCE, bed};
use crate::http::{Api, read_answer};

fn gateway(path: &str) -> String {
    format!("/k8s/clusters/{CLUSTER}{path}")
}

#[test]
fn an_identity_in_the_headers_is_refused() {
    let bed = bed();
    let api = Api::admin(&bed.stand.hub);
    let target = gateway("/api/v1/namespaces");
    for (header, code) in [
        ("Impersonate-User", 403),
        ("impersonate-group", 403),
        ("IMPERSONATE-UID", 403),
        ("Impersonate-Extra-scopes", 403),
        ("X-Remote-User", 400),
        ("x-remote-group", 400),
        ("X-Remote-Extra-Anything", 400),
    ] {
        let message = api.send("GET", &target, &[(header, "system:masters")], "").kubernetes_status(code);
        assert!(message.contains(&header.to_lowercase()), "{message}");
        // Named in Connection it would be removed on the way; it is refused all the same, and before the token counts.
        let named = api.send("GET", &target, &[(header, "x"), ("Connection", header)], "");
        assert_eq!(named.status, code, "{header}");
        assert_eq!(Api::anonymous(&bed.stand.hub).send("GET", &target, &[(header, "x")], "").status, code);
    }
}

#[test]
fn what_the_hub_says_to_the_agent_cannot_be_said_by_a_caller() {
    let bed = bed();
    let api = Api::admin(&bed.stand.hub);
    let target = gateway("/apis/authentication.k8s.io/v1/selfsubjectreviews");
    let review = r#"{"apiVersion":"authentication.k8s.io/v1","kind":"SelfSubjectReview"}"#;
    let headers = [
        ("Content-Type", "application/json"),
        ("Flotilla-Identity", "eyJhbGciOiJub25lIn0.e30."),
        ("Flotilla-Method", "DELETE"),
        ("Cookie", "a=b"),
        ("X-Forwarded-User", "system:admin"),
    ];
    let answer = api.send("POST", &target, &headers, review);
    assert_eq!(answer.status, 201, "{}", answer.text());
    assert_eq!(answer.json()["status"]["userInfo"]["username"], bed.stand.hub.email);
}

#[test]
fn paths_that_can_be_read_in_two_ways_are_refused() {
    let api = Api::admin(&bed().stand.hub);
    for path in [
        "/api/v1/namespaces/../secrets",
        "/api/v1/namespaces/./default",
        "/api/v1/namespaces/%2e%2e/secrets",
        "/api/v1/namespaces/%2E%2e/secrets",
        "/api/v1/namespaces/.%2e/secrets",
        "/api/v1/namespaces/default/pods/%2e%2e%2f%2e%2e%2fsecrets",
        "/api/v1/namespaces/default%2fsecrets",
        "/api/v1//namespaces",
        "//api/v1/namespaces",
        "/api/v1/namespaces/default\\pods",
        "/api/v1/namespaces/%00",
        "/api/v1/namespaces/%0d%0aX:y",
        "/api/v1/namespaces/%",
        "/api/v1/namespaces/%zz",
        "/api/v1/namespaces/%ff",
        "/api/v1/watch/secrets",
        "/api/v1/proxy/namespaces/default/pods/x",
    ] {
        let answer = api.send("GET", &gateway(path), &[], "");
        let message = answer.kubernetes_status(400);
        assert!(!message.is_empty() && answer.header("x-request-id").is_some(), "{path}: {message}");
    }
    // The cluster's name is a name and nothing else.
    for target in
        ["/k8s/clusters/%64ev-e2e/api", "/k8s/clusters/../clusters/dev-e2e/api", "/k8s/clusters//api", "/k8s/clusters/"]
    {
        assert_eq!(api.get(target).status, 404, "{target}");
    }
    // Behind /proxy everything belongs to the application, as at the API server.
    let behind = api.get(&gateway("/api/v1/namespaces/default/pods/absent/proxy/a//b"));
    assert_eq!(behind.status, 404);
    assert!(behind.kubernetes_status(404).contains("absent"));
}

#[test]
fn what_is_too_long_is_refused_and_what_is_just_long_is_not() {
    let hub = &bed().stand.hub;
    let api = Api::admin(hub);
    let name = |length: usize| "a".repeat(length);
    let long = api.get(&gateway(&format!("/api/v1/namespaces?labelSelector={}", name(8000 - 100))));
    assert_ne!(long.status, 414);
    let message = api.get(&gateway(&format!("/api/v1/namespaces/{}", name(9 * 1024)))).kubernetes_status(414);
    assert!(message.contains("8192"), "{message}");
    assert_eq!(api.get(&format!("/api/whoami?x={}", name(9 * 1024))).status, 414);

    // Headers beyond the limit: an answer of 431, or a connection that is closed at once, never a hub that reads on.
    for target in [gateway("/api/v1/namespaces"), "/api/whoami".to_owned()] {
        match api.try_send("GET", &target, &[("X-Padding", &name(80 * 1024))], "") {
            Ok(answer) => assert_eq!(answer.status, 431, "{}", answer.text()),
            Err(error) => println!("closed: {error}"),
        }
        let many: Vec<(String, String)> = (0..300).map(|number| (format!("X-Pad-{number}"), "x".into())).collect();
        let many: Vec<(&str, &str)> = many.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        match api.try_send("GET", &target, &many, "") {
            Ok(answer) => assert_eq!(answer.status, 431, "{}", answer.text()),
            Err(error) => println!("closed: {error}"),
        }
        assert_eq!(api.send("GET", &target, &[("X-Padding", &name(16 * 1024))], "").status, 200);
    }
}

#[test]
fn unknown_methods_are_refused() {
    let api = Api::admin(&bed().stand.hub);
    for method in ["OPTIONS", "TRACE", "PROPFIND", "get", "FROBNICATE"] {
        let answer = api.send(method, &gateway("/api/v1/namespaces"), &[], "");
        assert!(answer.kubernetes_status(405).contains("GET, HEAD, POST"), "{method}");
        assert_eq!(api.send(method, "/api/whoami", &[], "").status, 405, "{method}");
    }
    // CONNECT through the hub leads nowhere.
    let answer = api.try_send("CONNECT", "127.0.0.1:22", &[], "");
    assert!(answer.as_ref().is_ok_and(|answer| answer.status >= 400) || answer.is_err(), "{answer:?}");
}

#[test]
fn two_lengths_for_one_body_are_one_too_many() {
    let bed = bed();
    let api = Api::admin(&bed.stand.hub);
    let namespace = bed.new_namespace("smuggle");
    let token = api.token.clone().unwrap();
    let target = gateway(&format!("/api/v1/namespaces/{namespace}/configmaps"));
    let inner = format!("DELETE {target} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\r\n");
    for lengths in [
        "Content-Length: 5\r\nTransfer-Encoding: chunked",
        "Content-Length: 5\r\nContent-Length: 6",
        "Transfer-Encoding: chunked, identity",
        "Transfer-Encoding: xchunked",
    ] {
        let mut stream = api.connect().unwrap();
        let head = format!(
            "GET {target} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n{lengths}\r\n\r\n0\r\n\r\n{inner}"
        );
        stream.write_all(head.as_bytes()).unwrap();
        stream.sock.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let mut text = Vec::new();
        let _ = stream.read_to_end(&mut text);
        let text = String::from_utf8_lossy(&text);
        // Beside a length, chunks win (RFC 9112 section 6.3) and both requests are whole; all else is refused, and
        // nothing behind it is read as a request.
        let (first, answers) = (text.split("\r\n").next().unwrap_or_default(), text.matches("HTTP/1.1 ").count());
        let framed = lengths.ends_with("5\r\nTransfer-Encoding: chunked") && first == "HTTP/1.1 200 OK";
        assert!(
            framed || answers == 0 || (first == "HTTP/1.1 400 Bad Request" && answers == 1),
            "{lengths}: {text:.300}"
        );
    }
}

#[test]
fn something_that_is_no_http_gets_no_further_than_the_door() {
    let hub = &bed().stand.hub;
    for port in [hub.people_port, hub.agents_port] {
        for bytes in
            [&b"\x16\x03\x01\xff\xff garbage"[..], b"\x00\x01\x02\x03", b"SSH-2.0-x\r\n", b"GET / HTTP/9.9\r\n\r\n"]
        {
            let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            stream.write_all(bytes).unwrap();
            let mut answer = Vec::new();
            // It is answered with an error, or closed, within the deadline of a handshake.
            let _ = stream.read_to_end(&mut answer);
            let text = String::from_utf8_lossy(&answer);
            assert!(!text.contains(" 200 "), "{text}");
        }
    }
    assert_eq!(Api::anonymous(hub).get("/healthz").status, 200);
}

/// Plain HTTP is for loopback only, where this test is; the same port speaks TLS.
#[test]
fn one_port_speaks_tls_and_plain_http() {
    let hub = &bed().stand.hub;
    let mut stream = TcpStream::connect(("127.0.0.1", hub.people_port)).unwrap();
    write!(stream, "GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
    assert_eq!(read_answer(&mut stream).unwrap().status, 200);
    assert_eq!(Api::anonymous(hub).get("/healthz").status, 200);
}
