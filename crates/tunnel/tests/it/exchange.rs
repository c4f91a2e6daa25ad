//! Requests and answers, and those who do not read them.

use std::time::Duration;

use bytes::Bytes;
use flotilla_tunnel::client::{Connection, SendError};
use flotilla_tunnel::metrics::TunnelMetrics;
use flotilla_tunnel::serve;
use flotilla_tunnel::windows::{MAX_REQUESTS, Pings};
use flotilla_tunnel::{Body, body};
use futures_util::StreamExt;
use futures_util::future::join_all;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Incoming;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::support::{Hub, LONG, OnDrop, endless, get, greeter, handler, options, soon, text, until, watch_like};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn small_gets_side_by_side() {
    let hub = Hub::start().await;
    let agent = hub
        .agent(
            "eu-1",
            handler(|request: Request<Incoming>| async move {
                let content = format!("{} {}", request.method(), request.uri());
                Response::builder().header("x-kept", "1").body(body::full(content)).unwrap()
            }),
        )
        .await;
    let gets = (0..200).map(|n| {
        let connection = agent.connection.clone();
        async move {
            let response = connection.send(get(&format!("/api/v1/pods?n={n}"))).await.unwrap();
            assert_eq!(response.status(), StatusCode::OK);
            assert_eq!(response.headers()["x-kept"], "1");
            assert!(!response.headers().contains_key("date"), "the date is the upstream's to set");
            assert_eq!(text(response).await, format!("GET /api/v1/pods?n={n}"));
        }
    });
    soon("200 requests", join_all(gets)).await;
    until("nothing is in flight", || agent.connection.in_flight() == 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn path_and_query_arrive_byte_for_byte_and_the_authority_does_not() {
    let hub = Hub::start().await;
    let echo =
        handler(|request: Request<Incoming>| async move { Response::new(body::full(request.uri().to_string())) });
    let agent = hub.agent("eu-1", echo).await;
    for path in ["/a%2Fb/%7e//c?x=%20&y=+&&z", "/api/v1/namespaces/a:b/pods;x=1?labelSelector=a%3Db,c!%3Dd", "/?"] {
        for uri in [path.to_owned(), format!("https://hub.example:8080{path}")] {
            let response = soon("an answer", agent.connection.send(get(&uri))).await.unwrap();
            assert_eq!(text(response).await, path);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_and_trailers_pass_both_ways() {
    let hub = Hub::start().await;
    let echo = handler(|request: Request<Incoming>| async move { Response::new(body::boxed(request.into_body())) });
    let agent = hub.agent("eu-1", echo).await;
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    let piece = Bytes::from(vec![7; 64 * 1024]);
    let mut frames: Vec<Result<_, std::io::Error>> = (0..16).map(|_| Ok(Frame::data(piece.clone()))).collect();
    frames.push(Ok(Frame::trailers(trailers.clone())));
    let sent = body::boxed(StreamBody::new(futures_util::stream::iter(frames)));

    let request = Request::post("/").body(sent).unwrap();
    let response = soon("an answer", agent.connection.send(request)).await.unwrap();
    let received = soon("the body", response.into_body().collect()).await.unwrap();
    assert_eq!(received.trailers(), Some(&trailers));
    assert_eq!(received.to_bytes().len(), 16 * piece.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dropping_a_body_cancels_at_the_agent() {
    let hub = Hub::start().await;
    let (dropped, mut drops) = mpsc::unbounded_channel();
    let watching = handler(move |_| {
        let dropped = OnDrop(dropped.clone());
        async move { Response::new(watch_like(Some(dropped))) }
    });
    let agent = hub.agent("eu-1", watching).await;
    let mut response = soon("an answer", agent.connection.send(get("/watch"))).await.unwrap();
    let first = soon("the first event", response.frame()).await.unwrap().unwrap();
    assert_eq!(first.into_data().unwrap(), "first");
    assert_eq!(agent.connection.in_flight(), 1);
    assert!(drops.try_recv().is_err(), "dropped too early");
    drop(response);
    soon("the agent's body is dropped", drops.recv()).await.unwrap();
    assert_eq!(agent.connection.in_flight(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn giving_up_on_an_answer_cancels_at_the_agent() {
    let hub = Hub::start().await;
    let (started, mut starts) = mpsc::unbounded_channel();
    let (dropped, mut drops) = mpsc::unbounded_channel();
    let stuck = handler(move |_| {
        started.send(()).unwrap();
        let dropped = OnDrop(dropped.clone());
        async move {
            let _held = dropped;
            std::future::pending().await
        }
    });
    let agent = hub.agent("eu-1", stuck).await;
    let connection = agent.connection.clone();
    let asking = tokio::spawn(async move { connection.send(get("/stuck")).await.map(|_| ()) });
    soon("the agent has the request", starts.recv()).await.unwrap();
    asking.abort();
    soon("the agent's handler is dropped", drops.recv()).await.unwrap();
    until("nothing is in flight", || agent.connection.in_flight() == 0).await;
}

/// The window rule: with hyper's defaults three are enough to hang every other request.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_hundred_answers_that_nobody_reads_do_not_stop_the_next() {
    let hub = Hub::start().await;
    let agent = hub.agent("eu-1", by_path()).await;
    let mut unread = Vec::new();
    for _ in 0..500 {
        unread.push(soon("an answer", agent.connection.send(get("/endless"))).await.unwrap());
    }
    assert_eq!(agent.connection.in_flight(), 500);
    for _ in 0..20 {
        let response = soon("request 501", agent.connection.send(get("/small"))).await.unwrap();
        assert_eq!(soon("its body", text(response)).await, "hello");
    }
    drop(unread);
    until("nothing is in flight", || agent.connection.in_flight() == 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn uploads_that_the_agent_does_not_read_do_not_stop_the_next() {
    let hub = Hub::start().await;
    let agent = hub.agent("eu-1", by_path()).await;
    let uploads: Vec<_> = (0..50)
        .map(|_| {
            let connection = agent.connection.clone();
            let request = Request::post("/stuck").body(endless(None)).unwrap();
            tokio::spawn(async move { connection.send(request).await.map(|_| ()) })
        })
        .collect();
    until("the uploads are under way", || agent.connection.in_flight() == 50).await;
    for _ in 0..20 {
        let response = soon("the next request", agent.connection.send(upload())).await.unwrap();
        assert_eq!(soon("its body", text(response)).await, "16384");
    }
    uploads.iter().for_each(tokio::task::JoinHandle::abort);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_that_stops_reading_blocks_no_other() {
    let hub = Hub::start().await;
    let wire = hub.wire().await;
    let stalled = hub.agent_through(&wire, "stalled", by_path(), options()).await;
    let healthy = hub.agent("healthy", by_path()).await;

    wire.stall();
    let uploads: Vec<_> = (0..64)
        .map(|_| {
            let connection = stalled.connection.clone();
            let request = Request::post("/stuck").body(endless(None)).unwrap();
            tokio::spawn(async move { connection.send(request).await.map(|_| ()) })
        })
        .collect();
    for _ in 0..50 {
        let response = soon("another agent", healthy.connection.send(get("/small"))).await.unwrap();
        assert_eq!(soon("its body", text(response)).await, "hello");
    }
    uploads.iter().for_each(tokio::task::JoinHandle::abort);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_connection_says_so_at_once() {
    let hub = Hub::start().await;
    let agent = hub.agent("eu-1", by_path()).await;
    let max = MAX_REQUESTS as usize;
    let waiting: Vec<_> = (0..max)
        .map(|_| {
            let connection = agent.connection.clone();
            tokio::spawn(async move { connection.send(get("/stuck")).await.map(|_| ()) })
        })
        .collect();
    until("all streams are taken", || agent.connection.in_flight() == max).await;
    let refused = soon("an answer", agent.connection.send(get("/small"))).await;
    assert!(matches!(refused, Err(SendError::Saturated)), "{refused:?}");
    waiting.iter().for_each(tokio::task::JoinHandle::abort);
    until("they are free again", || agent.connection.in_flight() == 0).await;
    let response = soon("an answer", agent.connection.send(get("/small"))).await.unwrap();
    assert_eq!(text(response).await, "hello");
}

/// Pings go through a full connection, or it would be taken for a dead one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_connection_still_answers_pings() {
    let mut registry = prometheus_client::registry::Registry::default();
    let metrics = TunnelMetrics::register(&mut registry);
    let pings = Pings { interval: Duration::from_millis(100), timeout: LONG };
    let (near, far) = tokio::io::duplex(1 << 16);
    tokio::spawn(serve::serve(far, by_path(), CancellationToken::new()));
    let (connection, driver) = soon("the handshake", Connection::handshake_with(near, metrics, pings)).await.unwrap();
    tokio::spawn(driver);
    let started: Vec<_> = (0..MAX_REQUESTS)
        .map(|_| {
            let connection = connection.clone();
            tokio::spawn(async move { connection.send(get("/watch")).await })
        })
        .collect();
    let held: Vec<_> = soon("all streams are open", join_all(started)).await;
    assert!(held.iter().flatten().all(Result::is_ok));
    assert_eq!(connection.in_flight(), MAX_REQUESTS as usize);
    let answered = pings_answered(&registry);
    until("two more pings are answered", || pings_answered(&registry) >= answered + 2).await;
}

fn pings_answered(registry: &prometheus_client::registry::Registry) -> u64 {
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, registry).unwrap();
    let count = text.lines().find_map(|line| line.strip_prefix("tunnel_ping_rtt_seconds_count "));
    count.unwrap().parse().unwrap()
}

/// h2 closes a connection that brings 100 empty DATA frames in its life.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn empty_frames_do_not_wear_a_connection_out() {
    let hub = Hub::start().await;
    let sparse = handler(|request: Request<Incoming>| async move {
        request.into_body().collect().await.unwrap();
        Response::new(with_empty_frames())
    });
    let agent = hub.agent("eu-1", sparse).await;
    for _ in 0..150 {
        let request = Request::post("/").body(with_empty_frames()).unwrap();
        let response = soon("an answer", agent.connection.send(request)).await.unwrap();
        assert_eq!(soon("its body", text(response)).await, "ab");
    }
}

/// h2 closes a connection after 1,024 resets of streams that it has forgotten and that data still arrives for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cancelled_streams_do_not_wear_a_connection_out() {
    let hub = Hub::start().await;
    let agent = hub.agent("eu-1", by_path()).await;
    for _ in 0..15 {
        let opened = (0..100).map(|_| agent.connection.send(get("/endless")));
        let responses = soon("answers", join_all(opened)).await;
        assert!(responses.iter().all(Result::is_ok));
        drop(responses);
    }
    let response = soon("an answer", agent.connection.send(get("/small"))).await.unwrap();
    assert_eq!(text(response).await, "hello");
}

fn with_empty_frames() -> Body {
    let frames = ["", "a", "", "b", ""].map(|text| Ok::<_, std::io::Error>(Frame::data(Bytes::from(text))));
    body::boxed(StreamBody::new(futures_util::stream::iter(frames)))
}

fn upload() -> Request<Body> {
    Request::post("/count").body(body::full(vec![1; 16 * 1024])).unwrap()
}

fn by_path() -> impl flotilla_tunnel::serve::Handler + Sync {
    handler(|request: Request<Incoming>| async move {
        match request.uri().path() {
            "/count" => {
                let sent = request.into_body().collect().await.unwrap().to_bytes();
                Response::new(body::full(sent.len().to_string()))
            }
            "/watch" => Response::new(watch_like(None)),
            "/endless" => Response::new(endless(None)),
            "/stuck" => {
                let _unread = request;
                std::future::pending().await
            }
            _ => Response::new(body::full("hello")),
        }
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_fails_at_the_agent_is_an_error_at_the_hub_not_an_end() {
    let hub = Hub::start().await;
    let fail = tokio::sync::watch::Sender::new(false);
    let failing = fail.subscribe();
    let agent = hub.agent("eu-1", handler(move |_| failing_body(failing.clone()))).await;
    let mut response = soon("an answer", agent.connection.send(get("/"))).await.unwrap();
    let half = soon("half of it", response.frame()).await.unwrap().unwrap();
    assert_eq!(half.into_data().unwrap(), "half");
    fail.send_replace(true);
    assert!(matches!(soon("the rest", response.frame()).await, Some(Err(_))));
    let greeted = hub.agent("eu-2", greeter()).await;
    assert!(greeted.connection.send(get("/")).await.is_ok());
}

/// Half of an answer, then an error when told.
async fn failing_body(mut fail: tokio::sync::watch::Receiver<bool>) -> Response<Body> {
    let half = futures_util::stream::once(async { Ok(Frame::data(Bytes::from("half"))) });
    let error = futures_util::stream::once(async move {
        fail.wait_for(|fail| *fail).await.unwrap();
        Err(std::io::Error::from(std::io::ErrorKind::ConnectionReset))
    });
    Response::new(body::boxed(StreamBody::new(Box::pin(half.chain(error)))))
}
