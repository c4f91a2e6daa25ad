//! The whole way of a request, through a real tunnel, with a real audit log.

#![allow(clippy::unwrap_used, reason = "tests")]

mod diffs;
mod world;

use std::time::Duration;

use flotilla_cluster::gate::GateOptions;
use flotilla_cluster::guard::UpgradeGuard;
use flotilla_cluster::status_of::StatusError;
use flotilla_cluster::transport::{TransportError, TransportOptions};
use flotilla_cluster::{empty, full};
use flotilla_types::agent::IdentityClaims;
use flotilla_types::audit::Outcome;
use http::StatusCode;
use http_body_util::BodyExt;
use hyper::upgrade::OnUpgrade;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use world::World;

const POD: &str = "/api/v1/namespaces/shop/pods/web-0";
const UPGRADE: &[(&str, &str)] = &[("connection", "Upgrade"), ("upgrade", "websocket"), ("sec-websocket-key", "abc")];

async fn world() -> World {
    let mut world = World::new().await;
    world.connect().await;
    world
}

#[tokio::test]
async fn a_read_arrives_as_the_person_who_asked_and_leaves_no_row() {
    let world = world().await;
    let target = format!("{POD}?pretty=%74rue");
    let headers = [
        ("authorization", "Bearer mine"),
        ("cookie", "a=b"),
        ("flotilla-identity", "forged"),
        ("audit-id", "forged"),
        ("accept", "application/json"),
    ];
    let response = world.send("GET", &target, &headers).await.unwrap();
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "hello");

    let [seen] = world.seen().try_into().unwrap();
    assert_eq!((seen.method.as_str(), seen.target.as_str()), ("GET", target.as_str()));
    for gone in ["authorization", "cookie", "impersonate-user"] {
        assert!(!seen.headers.contains_key(gone), "{gone}");
    }
    assert_eq!(seen.headers["accept"], "application/json");
    assert_ne!(seen.headers["audit-id"], "forged");
    assert_eq!(seen.headers.get_all("flotilla-identity").iter().count(), 1);
    let claims = claims(seen.headers["flotilla-identity"].to_str().unwrap());
    assert_eq!((claims.aud.as_str(), claims.sub.as_str()), ("dev", "dev@example.com"));
    assert_eq!(claims.groups, ["flotilla:role:dev", "team-shop"]);
    assert!(world.rows().await.is_empty());
}

/// The claims of a statement, unverified: the agent's tests verify.
fn claims(statement: &str) -> IdentityClaims {
    use base64::Engine as _;
    let payload = statement.split('.').nth(1).unwrap();
    serde_json::from_slice(&base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap()
}

#[tokio::test]
async fn statements_are_used_again() {
    let world = world().await;
    for _ in 0..3 {
        world.send("GET", POD, &[]).await.unwrap();
    }
    let seen = world.seen();
    assert!(seen.windows(2).all(|pair| pair[0].headers["flotilla-identity"] == pair[1].headers["flotilla-identity"]));
    assert!(seen.windows(2).all(|pair| pair[0].headers["audit-id"] != pair[1].headers["audit-id"]));
}

#[tokio::test]
async fn a_mutation_has_its_row_before_it_is_sent_and_its_outcome_after() {
    let world = world().await;
    let request = world.request("DELETE", POD, &[], empty());
    let authorized = world.gate.authorize(&world.principal, request, &World::context()).unwrap();
    let audited = world.gate.audit(authorized).await.unwrap();
    assert!(audited.leaves_a_trace());

    let [attempted] = world.rows().await.try_into().unwrap();
    assert!(world.seen().is_empty());
    assert_eq!(
        (attempted.outcome, attempted.verb.as_str(), attempted.reason.as_str()),
        (Outcome::Attempted, "delete", "dev#1")
    );
    assert_eq!(attempted.command, "delete pods web-0 -n shop");
    assert_eq!((attempted.actor.email.as_str(), attempted.actor.address.as_str()), ("dev@example.com", "192.0.2.1"));
    assert_eq!(attempted.actor.groups, ["flotilla:role:dev", "team-shop"]);
    assert_eq!((attempted.target.cluster.as_str(), attempted.target.resource.as_str()), ("dev", "pods"));

    let response = world.transport.send(audited).await.unwrap();
    assert_eq!(world.rows().await.len(), 1, "the answer has not ended yet");
    response.into_body().collect().await.unwrap();
    let outcome = world.outcome().await;
    assert_eq!((outcome.outcome, outcome.status, outcome.bytes), (Outcome::Succeeded, 200, 5));
    assert_eq!(outcome.request_id, attempted.request_id);
}

#[tokio::test]
async fn an_answer_of_a_known_length_ends_with_its_last_byte() {
    let world = world().await;
    let mut body = world.send("POST", "/api/v1/namespaces/shop/pods/sized", &[]).await.unwrap().into_body();
    // As a server does that has sent all that `Content-Length` promised: it does not ask for more.
    let frame = body.frame().await.unwrap().unwrap();
    assert_eq!(frame.into_data().unwrap(), "hello");
    drop(body);
    assert_eq!(world.outcome().await.outcome, Outcome::Succeeded);
}

#[tokio::test]
async fn a_refusal_of_the_cluster_is_a_failure() {
    let world = world().await;
    let response = world.send("DELETE", "/api/v1/namespaces/shop/pods/missing", &[]).await.unwrap();
    assert_eq!(response.status(), StatusCode::NOT_FOUND);
    response.into_body().collect().await.unwrap();
    let outcome = world.outcome().await;
    assert_eq!((outcome.outcome, outcome.status, outcome.reason.as_str()), (Outcome::Failed, 404, "NotFound"));
}

#[tokio::test]
async fn a_reader_that_leaves_aborts() {
    let world = world().await;
    let mut body =
        world.send("GET", "/api/v1/namespaces/shop/secrets?watch=1&x=/endless", &[]).await.unwrap().into_body();
    body.frame().await.unwrap().unwrap();
    assert_eq!(world.rows().await.len(), 1);
    drop(body);
    let outcome = world.outcome().await;
    assert_eq!(
        (outcome.outcome, outcome.status, outcome.bytes, outcome.verb.as_str()),
        (Outcome::Aborted, 200, 4, "secret_read")
    );
}

#[tokio::test]
async fn a_cluster_that_breaks_off_aborts() {
    let world = world().await;
    let response = world.send("POST", "/api/v1/namespaces/shop/pods/breaks", &[]).await.unwrap();
    response.into_body().collect().await.unwrap_err();
    let outcome = world.outcome().await;
    assert_eq!((outcome.outcome, outcome.bytes), (Outcome::Aborted, 4));
    assert!(outcome.reason.starts_with("the answer broke off"), "{}", outcome.reason);
}

#[tokio::test]
async fn an_act_that_is_not_sent_after_all_is_aborted() {
    let world = world().await;
    let request = world.request("DELETE", POD, &[], empty());
    let authorized = world.gate.authorize(&world.principal, request, &World::context()).unwrap();
    drop(world.gate.audit(authorized).await.unwrap());
    assert_eq!(world.outcome().await.outcome, Outcome::Aborted);
    assert!(world.seen().is_empty());
}

#[tokio::test]
async fn what_the_policy_refuses_leaves_one_row_and_goes_nowhere() {
    let world = world().await;
    let request = world.request("GET", "/api/v1/namespaces/bank/pods/x", &[], empty());
    let Err(denied) = world.gate.authorize(&world.principal, request, &World::context()) else { panic!("allowed") };
    world.gate.audit_denied(&denied).await.unwrap();
    let [row] = world.rows().await.try_into().unwrap();
    assert_eq!((row.outcome, row.status, row.verb.as_str()), (Outcome::Denied, 403, "get"));
    assert!(world.seen().is_empty());
    let error = StatusError::from(&*denied);
    assert_eq!((error.status.code, error.status.reason.as_str()), (403, "Forbidden"));
    let wording = r#"pods "x" is forbidden: User "dev@example.com" cannot get resource "pods" in API group "" in the namespace "bank": "#;
    assert!(error.status.message.starts_with(wording), "{}", error.status.message);
}

#[tokio::test]
async fn a_cluster_that_no_rule_reaches_does_not_exist() {
    let mut world = world().await;
    world.cluster.name = "prod".into();
    let request = world.request("GET", "/version", &[], empty());
    let Err(denied) = world.gate.authorize(&world.principal, request, &World::context()) else { panic!("allowed") };
    assert!(!denied.is_visible());
    assert_eq!(StatusError::from(&*denied), StatusError::unknown_cluster("prod"));
}

#[tokio::test]
async fn without_an_audit_log_nothing_is_sent() {
    let world = world().await;
    world.writer.abort();
    while !world.writer.is_finished() {
        tokio::task::yield_now().await;
    }
    let request = world.request("DELETE", POD, &[], empty());
    let authorized = world.gate.authorize(&world.principal, request, &World::context()).unwrap();
    let Err(error) = world.gate.audit(authorized).await else { panic!("audited without a log") };
    let error = StatusError::from(error);
    assert_eq!((error.status.code, error.retry_after), (503, Some(Duration::from_secs(1))));
    assert!(world.seen().is_empty());
    // Reads go on.
    assert_eq!(world.send("GET", POD, &[]).await.unwrap().status(), StatusCode::OK);
}

#[tokio::test]
async fn an_agent_that_is_away_is_said_so() {
    let world = World::new().await;
    let error = world.send("DELETE", POD, &[]).await.unwrap_err();
    assert!(matches!(error, TransportError::AgentAway));
    let outcome = world.outcome().await;
    assert_eq!((outcome.outcome, outcome.status), (Outcome::Failed, 503));
}

#[tokio::test]
async fn a_cluster_that_does_not_answer_meets_the_deadline() {
    let options = TransportOptions { header_deadline: Duration::from_millis(100), ..TransportOptions::default() };
    let mut world = World::with(GateOptions::default(), options).await;
    world.connect().await;
    let error = world.send("DELETE", "/api/v1/namespaces/shop/pods/never", &[]).await.unwrap_err();
    assert!(matches!(error, TransportError::Timeout(_)) && error.status() == 504);
    let outcome = world.outcome().await;
    assert_eq!((outcome.outcome, outcome.status), (Outcome::Failed, 504));
    // Only the head has a deadline.
    let mut body = world.send("GET", "/api/v1/namespaces/shop/pods/endless", &[]).await.unwrap().into_body();
    body.frame().await.unwrap().unwrap();
    let more = tokio::time::timeout(Duration::from_millis(300), body.frame()).await;
    assert!(more.is_err(), "the stream was cut");
}

#[tokio::test]
async fn open_answers_are_capped_per_person() {
    let options = TransportOptions { streams_per_principal: 2, ..TransportOptions::default() };
    let mut world = World::with(GateOptions::default(), options).await;
    world.connect().await;
    let unread = world.send("GET", "/api/v1/namespaces/shop/pods/large", &[]).await.unwrap();
    let _watch = world.send("GET", "/api/v1/namespaces/shop/pods/endless", &[]).await.unwrap();
    let error = world.send("GET", POD, &[]).await.unwrap_err();
    assert!(matches!(error, TransportError::TooManyStreams(2)));
    assert_eq!(unread.into_body().collect().await.unwrap().to_bytes().len(), 100_000);
    world.send("GET", POD, &[]).await.unwrap();
}

#[tokio::test]
async fn a_read_moves_on_to_another_connection() {
    let mut world = world().await;
    world.connect().await;
    world.connections[0].close();
    for _ in 0..4 {
        world.send("GET", POD, &[]).await.unwrap();
    }
}

#[tokio::test]
async fn an_upgraded_connection_carries_its_guard() {
    let world = world().await;
    let target = format!("{POD}/exec?command=sh&command=-c&command=echo+hunter2&stdin=true");
    let mut response = world.send("POST", &target, UPGRADE).await.unwrap();
    assert_eq!(response.status(), StatusCode::SWITCHING_PROTOCOLS);
    assert_eq!(
        (&response.headers()["upgrade"], &response.headers()["sec-websocket-accept"]),
        (&"websocket".parse().unwrap(), &"upstreams-own".parse().unwrap())
    );
    let guard = response.extensions_mut().remove::<UpgradeGuard>().unwrap();
    assert!(response.extensions().get::<OnUpgrade>().is_none(), "there is no way past the guard");
    let (mut client, near) = tokio::io::duplex(1024);
    let joined = tokio::spawn(guard.join(async { Ok(near) }));
    client.write_all(b"hello").await.unwrap();
    client.shutdown().await.unwrap();
    let mut echoed = String::new();
    client.read_to_string(&mut echoed).await.unwrap();
    joined.await.unwrap();

    assert_eq!(echoed, "hello");
    let outcome = world.outcome().await;
    assert_eq!(
        (outcome.outcome, outcome.status, outcome.bytes, outcome.verb.as_str()),
        (Outcome::Succeeded, 101, 10, "exec_open")
    );
    assert!(!serde_json::to_string(&world.rows().await).unwrap().contains("hunter2"));
    let [seen] = world.seen().try_into().unwrap();
    assert_eq!(
        (seen.method.as_str(), &seen.headers["flotilla-method"], seen.target),
        ("CONNECT", &"POST".parse().unwrap(), target)
    );
}

#[tokio::test]
async fn a_shell_that_is_cut_ends_at_once_and_says_why() {
    let world = world().await;
    let mut response = world.send("POST", &format!("{POD}/exec?command=sh"), UPGRADE).await.unwrap();
    let guard = response.extensions_mut().remove::<UpgradeGuard>().unwrap();
    let (mut client, near) = tokio::io::duplex(1024);
    let joined = tokio::spawn(guard.join(async { Ok(near) }));
    client.write_all(b"hello").await.unwrap();
    client.read_exact(&mut [0; 5]).await.unwrap();
    let [stream] = world.transport.live().all().try_into().unwrap_or_else(|_| panic!("one stream"));
    let view = stream.view();
    assert_eq!((view.kind.as_str(), view.user.as_str(), view.cluster.as_str()), ("exec", "dev@example.com", "dev"));
    assert_eq!((view.sent, view.received, view.name.as_str()), (5, 5, "web-0"));
    assert_eq!(world.transport.live().cut_where("the grant has ended", |stream| stream.info().namespace == "other"), 0);
    assert_eq!(world.transport.live().cut_where("the grant has ended", |stream| stream.info().namespace == "shop"), 1);
    joined.await.unwrap();
    assert_eq!(client.read(&mut [0; 5]).await.unwrap(), 0);
    let outcome = world.outcome().await;
    assert_eq!((outcome.outcome, outcome.reason.as_str()), (Outcome::Aborted, "cut: the grant has ended"));
    assert!(world.transport.live().all().is_empty());
}

#[tokio::test]
async fn a_watch_that_is_cut_breaks_off_and_a_small_answer_is_never_registered() {
    let world = world().await;
    let small = world.send("GET", &format!("{POD}/sized"), &[]).await.unwrap();
    assert!(world.transport.live().all().is_empty());
    drop(small);
    let mut body = world.send("GET", "/api/v1/namespaces/shop/pods/endless?watch=1", &[]).await.unwrap().into_body();
    body.frame().await.unwrap().unwrap();
    let waiting = tokio::spawn(async move { body.frame().await.unwrap() });
    tokio::task::yield_now().await;
    assert_eq!(world.transport.live().cut_where("the session has ended", |_| true), 1);
    assert_eq!(waiting.await.unwrap().unwrap_err().to_string(), "cut: the session has ended");
}

#[tokio::test]
async fn an_upgraded_connection_that_is_dropped_aborts() {
    let world = world().await;
    let response = world.send("GET", &format!("{POD}/portforward"), UPGRADE).await.unwrap();
    assert_eq!(world.rows().await.len(), 1);
    drop(response);
    let outcome = world.outcome().await;
    assert_eq!((outcome.outcome, outcome.verb.as_str()), (Outcome::Aborted, "port_forward_open"));
}

#[tokio::test]
async fn reads_are_recorded_where_that_is_wanted() {
    let mut world =
        World::with(GateOptions { record_reads: true, ..GateOptions::default() }, TransportOptions::default()).await;
    world.connect().await;
    world.send("GET", "/api/v1/namespaces/shop/pods", &[]).await.unwrap().into_body().collect().await.unwrap();
    let outcome = world.outcome().await;
    assert_eq!((outcome.verb.as_str(), outcome.command.as_str()), ("list", "list pods -n shop"));
}

#[tokio::test]
async fn bodies_pass() {
    let world = world().await;
    let request =
        world.request("POST", "/api/v1/namespaces/shop/pods", &[("content-type", "application/json")], full("{}"));
    let authorized = world.gate.authorize(&world.principal, request, &World::context()).unwrap();
    let audited = world.gate.audit(authorized).await.unwrap();
    assert_eq!(world.transport.send(audited).await.unwrap().status(), StatusCode::OK);
}

#[tokio::test]
async fn an_application_behind_a_proxy_sets_no_cookies_for_the_hub() {
    let world = world().await;
    let target = "/api/v1/namespaces/shop/services/http:web:80/proxy/cookies";
    let response = world.send("GET", target, &[("connection", "audit-id")]).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert!(!response.headers().contains_key("set-cookie"));
    assert!(world.seen()[0].headers.contains_key("audit-id"));
}
