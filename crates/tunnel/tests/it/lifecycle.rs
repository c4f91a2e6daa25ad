//! How connections begin, are shared, and end.

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use flotilla_tunnel::client::{Connection, SendError};
use flotilla_tunnel::metrics::TunnelMetrics;
use flotilla_tunnel::serve::Options;
use flotilla_tunnel::windows::Pings;
use flotilla_tunnel::{Lane, Refusal, TunnelError, body};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::sync::mpsc;
use uuid::Uuid;

use crate::support::{Hub, Manners, OnDrop, get, greeter, handler, options, soon, text, until, watch_like};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn revocation_cuts_live_streams_at_once() {
    let mut hub = Hub::start().await;
    let (dropped, mut drops) = mpsc::unbounded_channel();
    let watching = handler(move |_| {
        let dropped = OnDrop(dropped.clone());
        async move { Response::new(watch_like(Some(dropped))) }
    });
    let agent = hub.agent("eu-1", watching).await;
    let other = hub.agent("eu-2", greeter()).await;
    let mut response = soon("an answer", agent.connection.send(get("/watch"))).await.unwrap();
    soon("the first event", response.frame()).await.unwrap().unwrap();

    assert_eq!(hub.registry.disconnect(agent.owner), 1);
    assert!(agent.connection.is_closed());
    let end = soon("the stream ends", response.frame()).await;
    assert!(matches!(end, Some(Err(_))), "a cut stream is an error, not an end");
    soon("the agent's body is dropped", drops.recv()).await.unwrap();
    let _ = soon("the agent's end", agent.serving).await.unwrap();
    let ended = soon("the hub's end", hub.ended.recv()).await.unwrap();
    assert!(matches!(ended, Err(TunnelError::Closed)), "{ended:?}");
    let refused = agent.connection.send(get("/")).await;
    assert!(matches!(refused, Err(SendError::Closed)));
    assert!(!hub.registry.is_connected("eu-1"));
    assert!(other.connection.send(get("/")).await.is_ok(), "others are untouched");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn revocation_reaches_streams_that_are_only_draining() {
    let mut hub = Hub::start().await;
    let agent = hub.agent("eu-1", handler(|_| async { Response::new(watch_like(None)) })).await;
    let mut response = soon("an answer", agent.connection.send(get("/watch"))).await.unwrap();
    soon("the first event", response.frame()).await.unwrap().unwrap();
    agent.shutdown.cancel();
    until("it takes no more", || !hub.registry.is_connected("eu-1")).await;
    assert_eq!(hub.registry.disconnect(agent.owner), 1);
    assert!(matches!(soon("the stream ends", response.frame()).await, Some(Err(_))));
    soon("the hub's end", hub.ended.recv()).await.unwrap().unwrap_err();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_has_one_owner_at_a_time() {
    let mut hub = Hub::start().await;
    let first = hub.agent("eu-1", greeter()).await;
    let io = hub.dial("eu-1", Uuid::now_v7(), Lane::Interactive).await;
    let serving = flotilla_tunnel::serve::serve(io, greeter(), first.shutdown.child_token());
    let refused = soon("the second agent", serving).await;
    match refused {
        Err(TunnelError::Refused(refusal)) => {
            assert_eq!(refusal.status, StatusCode::CONFLICT);
            assert!(refusal.detail.contains(&first.owner.to_string()), "{refusal}");
        }
        other => panic!("{other:?}"),
    }
    let same = hub.agent_with("eu-1", first.owner, greeter(), options()).await;
    assert_eq!(hub.registry.connections().len(), 2, "the same owner may come twice");
    same.shutdown.cancel();
    first.shutdown.cancel();
    until("the name is free", || hub.registry.connections().is_empty()).await;
    hub.agent("eu-1", greeter()).await;
    assert!(hub.ended.try_recv().is_ok());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_goes_to_its_lane_and_to_the_least_loaded() {
    let hub = Hub::start().await;
    let owner = Uuid::now_v7();
    let watching = || handler(|_| async { Response::new(watch_like(None)) });
    let on = |lane| Options { lane, ..options() };
    let bulk = hub.agent_with("eu-1", owner, watching(), on(Lane::Bulk)).await;
    let any = hub.registry.pick("eu-1", Lane::Interactive).unwrap();
    assert_eq!(any.lane(), Lane::Bulk, "another lane is better than none");
    let _one = hub.agent_with("eu-1", owner, watching(), on(Lane::Interactive)).await;
    let _two = hub.agent_with("eu-1", owner, watching(), on(Lane::Interactive)).await;
    let mut held = Vec::new();
    for _ in 0..10 {
        let picked = hub.registry.pick("eu-1", Lane::Interactive).unwrap();
        held.push(soon("an answer", picked.send(get("/watch"))).await.unwrap());
    }
    let mut loads: Vec<_> =
        hub.registry.connections().iter().map(|view| (view.lane.as_str(), view.in_flight)).collect();
    loads.sort_unstable();
    assert_eq!(loads, [("bulk", 0), ("interactive", 5), ("interactive", 5)]);
    bulk.connection.close();
    assert_eq!(hub.registry.pick("eu-1", Lane::Bulk).unwrap().lane(), Lane::Interactive);
    assert!(hub.registry.pick("eu-2", Lane::Bulk).is_none());
}

/// A handler that answers when told.
fn told(go: &tokio::sync::watch::Sender<bool>) -> impl flotilla_tunnel::serve::Handler + Sync {
    let go = go.subscribe();
    handler(move |_| {
        let mut go = go.clone();
        async move {
            go.wait_for(|go| *go).await.unwrap();
            Response::new(body::full("done"))
        }
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_that_stops_finishes_what_is_under_way() {
    let mut hub = Hub::start().await;
    let go = tokio::sync::watch::Sender::new(false);
    let agent = hub.agent("eu-1", told(&go)).await;
    let connection = agent.connection.clone();
    let asking = tokio::spawn(async move { connection.send(get("/slow")).await });
    until("it is under way", || agent.connection.in_flight() == 1).await;
    // Under way at the hub; give it time to be so at the agent.
    tokio::time::sleep(Duration::from_millis(300)).await;
    agent.shutdown.cancel();
    until("the hub knows", || agent.connection.is_closed()).await;
    assert!(matches!(agent.connection.send(get("/new")).await, Err(SendError::Closed)));
    assert!(hub.registry.pick("eu-1", Lane::Interactive).is_none());
    assert!(!asking.is_finished());
    go.send_replace(true);
    let response = soon("the answer", asking).await.unwrap().unwrap();
    assert_eq!(text(response).await, "done");
    soon("the agent's end", agent.serving).await.unwrap().unwrap();
    soon("the hub's end", hub.ended.recv()).await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn draining_has_an_end() {
    let hub = Hub::start().await;
    let watching = handler(|_| async { Response::new(watch_like(None)) });
    let options = Options { drain: Duration::from_millis(200), ..options() };
    let agent = hub.agent_with("eu-1", Uuid::now_v7(), watching, options).await;
    let mut response = soon("an answer", agent.connection.send(get("/watch"))).await.unwrap();
    soon("the first event", response.frame()).await.unwrap().unwrap();
    agent.shutdown.cancel();
    soon("the agent's end", agent.serving).await.unwrap().unwrap();
    assert!(matches!(soon("the stream ends", response.frame()).await, Some(Err(_))));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hub_that_stops_finishes_what_is_under_way() {
    let mut hub = Hub::start().await;
    let go = tokio::sync::watch::Sender::new(false);
    let agent = hub.agent("eu-1", told(&go)).await;
    let connection = agent.connection.clone();
    let asking = tokio::spawn(async move { connection.send(get("/slow")).await });
    until("it is under way", || agent.connection.in_flight() == 1).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    hub.registry.drain();
    assert!(matches!(agent.connection.send(get("/new")).await, Err(SendError::Closed)));
    go.send_replace(true);
    let response = soon("the answer", asking).await.unwrap().unwrap();
    assert_eq!(text(response).await, "done");
    soon("the hub's end", hub.ended.recv()).await.unwrap().unwrap();
    soon("the agent's end", agent.serving).await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_agent_learns_why() {
    let refusal = Refusal {
        status: StatusCode::UNAUTHORIZED,
        detail: "this agent was revoked".into(),
        retry_after: Some(Duration::from_secs(60)),
    };
    let manners = Manners { refuse: Some(refusal.clone()), ..Manners::default() };
    let hub = Hub::with(manners).await;
    let io = hub.dial("eu-1", Uuid::now_v7(), Lane::Interactive).await;
    let serving = flotilla_tunnel::serve::serve(io, greeter(), tokio_util::sync::CancellationToken::new());
    match soon("the refusal", serving).await {
        Err(TunnelError::Refused(told)) => assert_eq!(told, refusal),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_ends_notice_a_link_that_passes_nothing() {
    let pings = Pings { interval: Duration::from_millis(500), timeout: Duration::from_secs(3) };
    let mut hub = Hub::with(Manners { pings, ..Manners::default() }).await;
    let wire = hub.wire().await;
    let agent = hub.agent_through(&wire, "eu-1", greeter(), Options { pings, ..options() }).await;
    assert!(agent.connection.send(get("/")).await.is_ok());
    wire.stall();
    let ended = soon("the hub notices", hub.ended.recv()).await.unwrap();
    assert!(matches!(ended, Err(TunnelError::PingTimeout)), "{ended:?}");
    let ended = soon("the agent notices", agent.serving).await.unwrap();
    assert!(matches!(ended, Err(TunnelError::PingTimeout)), "{ended:?}");
    assert!(!hub.registry.is_connected("eu-1"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dropping_the_last_handle_ends_the_connection() {
    let (near, far) = tokio::io::duplex(1 << 16);
    let serving =
        tokio::spawn(flotilla_tunnel::serve::serve(far, greeter(), tokio_util::sync::CancellationToken::new()));
    let (connection, driver) = Connection::handshake(near, TunnelMetrics::unregistered()).await.unwrap();
    let driving = tokio::spawn(driver);
    let response = soon("an answer", connection.send(get("/"))).await.unwrap();
    drop(connection);
    assert_eq!(text(response).await, "hello");
    soon("the hub's end", driving).await.unwrap().unwrap();
    soon("the agent's end", serving).await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_is_no_agent_is_told_apart() {
    let (near, far) = tokio::io::duplex(1 << 16);
    let plain = service_fn(|_: Request<Incoming>| async { Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new())) });
    let builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
    tokio::spawn(builder.serve_connection(TokioIo::new(far), plain));
    let greeted = soon("the handshake", Connection::handshake(near, TunnelMetrics::unregistered())).await;
    assert!(matches!(greeted.map(|_| ()), Err(TunnelError::NotATunnel)));

    let (near, far) = tokio::io::duplex(1 << 16);
    drop(far);
    let greeted = soon("the handshake", Connection::handshake(near, TunnelMetrics::unregistered())).await;
    assert!(greeted.is_err());
}
