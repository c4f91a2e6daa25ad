//! The real binary between a hub's listener and an API server.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a failed step is a failed test")]

mod in_cluster;
mod support;

use std::process::Command;
use std::time::Duration;

use flotilla_tunnel::upgrade;
use flotilla_tunnel::{Lane, body};
use http::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use support::{Agent, ApiServer, Hub, soon, text, until};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn enrols_serves_as_the_user_and_stops() {
    let mut api_server = ApiServer::start().await;
    let hub = Hub::start(Duration::from_secs(3600)).await;
    let agent = Agent::start(&hub, &api_server).await;
    until("both lanes are up", || hub.registry.connections().len() == 2).await;

    // As the user, whatever else the request says.
    let request = Request::builder()
        .uri("/api/v1/pods?limit=%31")
        .header("flotilla-identity", hub.statement("prod", "dev@example.com"))
        .header("authorization", "Bearer stolen")
        .header("impersonate-user", "root")
        .header("impersonate-group", "system:masters")
        .header("x-remote-user", "root")
        .header("audit-id", "42")
        .body(body::empty())
        .unwrap();
    let connection = hub.registry.pick("prod", Lane::Interactive).unwrap();
    let response = soon("an answer", connection.send(request)).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(text(response.into_body()).await, "{\"items\":[]}");
    let seen = api_server.next_except("/version").await;
    assert_eq!(seen.target, "/api/v1/pods?limit=%31");
    assert_eq!(seen.headers["impersonate-user"], "dev@example.com");
    assert_eq!(seen.headers.get_all("impersonate-group").iter().collect::<Vec<_>>(), ["team-a"]);
    assert_eq!(seen.headers["audit-id"], "42");
    for name in ["authorization", "x-remote-user", "flotilla-identity"] {
        assert!(!seen.headers.contains_key(name), "{name}");
    }

    // Without the hub's word, or with its word for another cluster, nothing gets through.
    let none = Request::get("/api/v1/secrets").body(body::empty()).unwrap();
    let other =
        Request::get("/api/v1/secrets").header("flotilla-identity", hub.statement("staging", "dev@example.com"));
    for request in [none, other.body(body::empty()).unwrap()] {
        let response = connection.send(request).await.unwrap();
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
        let status: Value = serde_json::from_str(&text(response.into_body()).await).unwrap();
        assert_eq!((&status["kind"], &status["reason"]), (&"Status".into(), &"Unauthorized".into()));
    }
    assert!(api_server.nothing_but("/version"), "an unsigned request reached the API server");

    // Upgrades are bytes both ways.
    let request = Request::post("/exec")
        .header("flotilla-identity", hub.statement("prod", "dev@example.com"))
        .header("connection", "Upgrade")
        .header("upgrade", "SPDY/3.1")
        .body(body::empty())
        .unwrap();
    let response = soon("an upgrade", connection.send(upgrade::to_connect(request))).await.unwrap();
    let mut response = upgrade::to_switching_protocols(response);
    assert_eq!(response.status(), StatusCode::SWITCHING_PROTOCOLS);
    assert_eq!(response.headers()["x-stream-protocol-version"], "v4.channel.k8s.io");
    assert_eq!(api_server.next_except("/version").await.method, "POST");
    let mut io = TokioIo::new(hyper::upgrade::on(&mut response).await.unwrap());
    io.write_all(b"hello").await.unwrap();
    io.shutdown().await.unwrap();
    let mut echo = String::new();
    soon("the echo", io.read_to_string(&mut echo)).await.unwrap();
    assert_eq!(echo, "HELLO");

    until("a heartbeat", || hub.heartbeats.lock().last().is_some_and(|beat| beat["kubernetes_version"] == "v1.36.0"))
        .await;
    assert_eq!(agent.get("/readyz").await, (200, "ok\n".to_owned()));
    assert!(agent.get("/metrics").await.1.contains("flotilla_agent_requests_total{outcome=\"refused\"} 2"));

    drop(connection);
    assert!(agent.stop().await.success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn renews_before_the_end_and_keeps_serving() {
    let api_server = ApiServer::start().await;
    let hub = Hub::start(Duration::from_secs(6)).await;
    let mut agent = Agent::start(&hub, &api_server).await;
    until("connected", || hub.registry.is_connected("prod")).await;
    until("renewed twice", || *hub.renewals.lock() >= 2).await;
    assert_eq!(*hub.enrolments.lock(), 1, "the token is used once only");
    soon("an answer over a connection of today", async {
        // A connection that is being handed over may close between pick and send; the hub tries the next one too.
        loop {
            let request = Request::get("/x").header("flotilla-identity", hub.statement("prod", "a@b"));
            let connection = hub.registry.pick("prod", Lane::Interactive).unwrap();
            if let Ok(response) = connection.send(request.body(body::empty()).unwrap()).await {
                return assert_eq!(response.status(), StatusCode::OK);
            }
        }
    })
    .await;

    // A restart lives on what was kept, although the token in its settings is spent.
    agent.restart().await;
    until("connected again", || hub.registry.is_connected("prod")).await;
    assert_eq!(*hub.enrolments.lock(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_enrolment_is_told_and_not_repeated_at_once() {
    let api_server = ApiServer::start().await;
    let hub = Hub::start(Duration::from_secs(3600)).await;
    *hub.refuses.lock() = true;
    let agent = Agent::start(&hub, &api_server).await;
    until("asked", || *hub.enrolments.lock() == 1).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(*hub.enrolments.lock(), 1);
    let (status, reason) = agent.get("/readyz").await;
    assert_eq!(status, 503);
    assert!(reason.starts_with("enrolment failed: ") && reason.contains("the token is unknown"), "{reason}");
    assert_eq!(agent.get("/healthz").await.0, 200);
    assert!(agent.stop().await.success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_hub_than_the_tokens_never_sees_the_token() {
    let api_server = ApiServer::start().await;
    let (hub, impostor) = (Hub::start(Duration::from_secs(3600)).await, Hub::start(Duration::from_secs(3600)).await);
    let agent = Agent::start_with(&impostor, &hub.token, &api_server).await;
    agent.says("this is another hub").await;
    assert_eq!(*impostor.enrolments.lock(), 0);
}

#[test]
fn help_has_an_example_and_mistakes_have_a_text() {
    let run = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_flotilla-agent"));
        command.env_clear().args(arguments).output().unwrap()
    };
    let help = String::from_utf8(run(&["--help"]).stdout).unwrap();
    assert!(help.contains("Examples:") && help.contains("AGENT_TOKEN") && help.contains("--config"), "{help}");
    let bad = run(&["--config", "/nonexistent/agent.yaml"]);
    assert_eq!(bad.status.code(), Some(1));
    let text = String::from_utf8(bad.stderr).unwrap();
    assert!(text.starts_with("flotilla-agent: cannot read the configuration file /nonexistent/agent.yaml: "), "{text}");
}
