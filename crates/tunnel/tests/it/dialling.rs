//! An agent that keeps itself connected.

use std::sync::Arc;
use std::time::Duration;

use flotilla_tunnel::carrier::{self, DialError};
use flotilla_tunnel::dial::{self, DialConfig, DialState};
use flotilla_tunnel::pki::{self, Roots};
use flotilla_tunnel::serve::Handler;
use flotilla_tunnel::{Lane, Refusal};
use http::{Response, StatusCode};
use http_body_util::BodyExt;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::support::{Hub, Manners, Pki, get, greeter, handler, soon, target, text, until, watch_like};

struct Dialler {
    config: watch::Sender<DialConfig>,
    state: DialState,
    shutdown: CancellationToken,
    running: JoinHandle<()>,
}

fn start<S: Handler + Sync>(config: DialConfig, service: S) -> Dialler {
    let config = watch::Sender::new(config);
    let state = DialState::new();
    let shutdown = CancellationToken::new();
    let run = dial::run(config.subscribe(), service, state.clone(), shutdown.clone());
    Dialler { config, state, shutdown, running: tokio::spawn(run) }
}

impl Dialler {
    async fn connected(&self, count: usize) {
        until("the agent is connected", || self.state.snapshot().connected == count).await;
    }
}

/// Lanes on which the hub could send a request now.
fn lanes(hub: &Hub) -> Vec<&'static str> {
    let mut lanes: Vec<_> = hub.registry.connections().iter().map(|view| view.lane.as_str()).collect();
    lanes.sort_unstable();
    lanes
}

async fn answers(hub: &Hub) -> bool {
    let Some(connection) = hub.registry.pick("eu-1", Lane::Interactive) else {
        return false;
    };
    match connection.send(get("/")).await {
        Ok(response) => text(response).await == "hello",
        Err(_) => false,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_lanes_come_back_after_a_cut_and_after_the_hub_was_away() {
    let hub = Hub::start().await;
    let mut wire = hub.wire().await;
    let tls = hub.pki.agent("eu-1", Uuid::now_v7());
    let agent = start(DialConfig::new(target(wire.address), tls), greeter());
    agent.connected(2).await;
    until("both lanes are in the table", || lanes(&hub) == ["bulk", "interactive"]).await;
    assert!(answers(&hub).await);

    wire.cut();
    until("new connections are made", || agent.state.snapshot().connects >= 4).await;
    agent.connected(2).await;
    soon("the hub reaches it again", async {
        while !answers(&hub).await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;

    wire.go_away().await;
    until("the agent knows", || {
        let now = agent.state.snapshot();
        now.connected == 0 && now.last_error.is_some_and(|error| error.contains("cannot be reached"))
    })
    .await;
    wire.come_back().await;
    agent.connected(2).await;
    assert_eq!(agent.state.snapshot().last_error, None);
    until("both lanes are in the table", || lanes(&hub) == ["bulk", "interactive"]).await;
    assert!(answers(&hub).await);

    agent.shutdown.cancel();
    soon("it stops", agent.running).await.unwrap();
    assert_eq!(agent.state.snapshot().connected, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_connects_through_what_speaks_only_http_1_1() {
    let hub = Hub::with(Manners { http1_only: true, ..Manners::default() }).await;
    let tls = hub.pki.agent("eu-1", Uuid::now_v7());
    let agent = start(DialConfig::new(hub.target(), tls), greeter());
    agent.connected(2).await;
    until("both lanes are in the table", || lanes(&hub) == ["bulk", "interactive"]).await;
    assert!(answers(&hub).await);
    agent.shutdown.cancel();
    soon("it stops", agent.running).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_is_shown_whichever_way_it_came() {
    for http1_only in [false, true] {
        let refusal = Refusal {
            status: StatusCode::CONFLICT,
            detail: "»eu-1« is served by another agent".into(),
            retry_after: None,
        };
        let refuse = Some(refusal.clone());
        let hub = Hub::with(Manners { http1_only, refuse, ..Manners::default() }).await;
        let tls = hub.pki.agent("eu-1", Uuid::now_v7());
        let agent = start(DialConfig::new(hub.target(), tls), greeter());
        until("the refusal is known", || agent.state.snapshot().refusal == Some(refusal.clone())).await;
        assert!(agent.state.snapshot().last_error.unwrap().contains("409"));
        agent.shutdown.cancel();
        soon("it stops", agent.running).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_certificate_makes_new_connections_before_old_ones_drain() {
    let hub = Hub::start().await;
    let owner = Uuid::now_v7();
    let watching = handler(|_| async { Response::new(watch_like(None)) });
    let agent = start(DialConfig::new(hub.target(), hub.pki.agent("eu-1", owner)), watching);
    agent.connected(2).await;
    until("both lanes are in the table", || lanes(&hub) == ["bulk", "interactive"]).await;
    let old = hub.registry.pick("eu-1", Lane::Interactive).unwrap();
    let mut watch = soon("an answer", old.send(get("/watch"))).await.unwrap();
    soon("the first event", watch.frame()).await.unwrap().unwrap();

    let renewed = DialConfig::new(hub.target(), hub.pki.agent("eu-1", owner));
    agent.config.send_replace(renewed);
    let always_reachable = async {
        while !old.is_closed() {
            assert!(hub.registry.is_connected("eu-1"), "there was a gap");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    soon("the old one is retired", always_reachable).await;
    let new = hub.registry.pick("eu-1", Lane::Interactive).unwrap();
    assert!(soon("an answer", new.send(get("/watch"))).await.is_ok());
    let quiet = tokio::time::timeout(Duration::from_millis(500), watch.frame()).await;
    assert!(quiet.is_err(), "the old stream goes on: {quiet:?}");
    until("the idle old connection is gone", || hub.registry.connections().len() == 3).await;
    drop(watch);
    until("the other one too", || lanes(&hub) == ["bulk", "interactive"]).await;
    agent.shutdown.cancel();
    soon("it stops", agent.running).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stopping_waits_for_streams_but_not_for_ever() {
    let hub = Hub::start().await;
    let watching = handler(|_| async { Response::new(watch_like(None)) });
    let tls = hub.pki.agent("eu-1", Uuid::now_v7());
    let config = DialConfig { shutdown_drain: Duration::from_millis(700), ..DialConfig::new(hub.target(), tls) };
    let agent = start(config, watching);
    agent.connected(2).await;
    until("both lanes are in the table", || lanes(&hub).len() == 2).await;
    let connection = hub.registry.pick("eu-1", Lane::Interactive).unwrap();
    let mut watch = soon("an answer", connection.send(get("/watch"))).await.unwrap();
    soon("the first event", watch.frame()).await.unwrap().unwrap();
    let began = std::time::Instant::now();
    agent.shutdown.cancel();
    soon("it stops", agent.running).await.unwrap();
    assert!(began.elapsed() >= Duration::from_millis(700), "{:?}", began.elapsed());
    assert!(matches!(soon("the stream ends", watch.frame()).await, Some(Err(_))));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hub_that_is_not_trusted_is_told_apart_from_one_that_is_away() {
    let hub = Hub::start().await;
    let other = Pki::new();
    let roots = Roots::Pem(other.ca.certificate_pem());
    let tls = Arc::new(pki::client_config(roots, None, &[]).unwrap());
    let refused = carrier::dial(&hub.target(), &tls, Lane::Bulk).await;
    assert!(matches!(refused.map(|_| ()), Err(DialError::Tls { .. })));

    let mut wire = hub.wire().await;
    wire.go_away().await;
    let away = carrier::dial(&target(wire.address), &tls, Lane::Bulk).await;
    assert!(matches!(away.map(|_| ()), Err(DialError::Unreachable { .. })));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_foreign_certificate_counts_as_a_refusal_not_as_a_hub_that_is_away() {
    let hub = Hub::start().await;
    let other = Pki::new();
    let (csr, key) = pki::new_csr("eu-1").unwrap();
    let issued = other.ca.issue_client(&csr, "eu-1", "flotilla:agent:x", crate::support::HOUR).unwrap();
    let roots = Roots::Pem(hub.pki.ca.certificate_pem());
    let tls = pki::client_config(roots, Some((&issued.certificate_pem, &key)), &[]).unwrap();
    let agent = start(DialConfig::new(hub.target(), Arc::new(tls)), greeter());
    until("the alert is shown", || agent.state.snapshot().last_error.is_some_and(|error| error.contains("alert")))
        .await;
    agent.shutdown.cancel();
    soon("it stops", agent.running).await.unwrap();
}
