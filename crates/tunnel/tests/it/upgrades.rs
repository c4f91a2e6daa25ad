//! Upgrades end to end: a caller's `Upgrade` at the hub, an upstream's 101 at the agent.

use flotilla_tunnel::client::{Connection, StreamLease};
use flotilla_tunnel::serve::Handler;
use flotilla_tunnel::{Body, body, upgrade};
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;

use crate::support::{Hub, get, handler, soon, text, until};

type Stream = TokioIo<Upgraded>;

/// An agent whose upstream does `upstream` with an upgraded stream.
fn upgrading<F, Fut>(upstream: F) -> impl Handler + Sync
where
    F: Fn(Stream) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    handler(move |mut request: Request<Incoming>| {
        let upstream = upstream.clone();
        async move {
            if upgrade::from_connect(&request).is_none() {
                return Response::new(body::full("hello"));
            }
            let near = hyper::upgrade::on(&mut request);
            let request = upgrade::to_http1(request);
            assert_eq!(request.headers()["sec-websocket-key"], "dGhlIHNhbXBsZSBub25jZQ==");
            tokio::spawn(async move { upstream(TokioIo::new(near.await.unwrap())).await });
            let answer = Response::builder()
                .status(StatusCode::SWITCHING_PROTOCOLS)
                .header("connection", "Upgrade")
                .header("upgrade", "websocket")
                .header("sec-websocket-accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")
                .body(body::empty())
                .unwrap();
            upgrade::to_connect_response(answer)
        }
    })
}

fn upgrade_request(method: &str) -> Request<Body> {
    let request = Request::builder()
        .method(method)
        .uri("/exec?command=sh")
        .header("connection", "Upgrade")
        .header("upgrade", "websocket")
        .header("content-length", "0")
        .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
        .body(body::empty())
        .unwrap();
    upgrade::to_connect(request)
}

async fn open(connection: &Connection) -> (Stream, StreamLease) {
    let sent = connection.send(upgrade_request("POST"));
    let mut response = upgrade::to_switching_protocols(soon("an answer", sent).await.unwrap());
    assert_eq!(response.status(), StatusCode::SWITCHING_PROTOCOLS);
    assert_eq!(response.headers()["upgrade"], "websocket");
    assert_eq!(response.headers()["connection"], "Upgrade");
    assert_eq!(response.headers()["sec-websocket-accept"], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    let lease = response.extensions_mut().remove::<StreamLease>().unwrap();
    let upgraded = soon("the switch", hyper::upgrade::on(response)).await.unwrap();
    (TokioIo::new(upgraded), lease)
}

async fn echo(stream: impl AsyncRead + AsyncWrite) {
    let (mut reader, mut writer) = tokio::io::split(stream);
    tokio::io::copy(&mut reader, &mut writer).await.unwrap();
    writer.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bytes_are_echoed_and_a_half_close_ends_one_direction_only() {
    let hub = Hub::start().await;
    let agent = hub.agent("eu-1", upgrading(echo)).await;
    let (stream, lease) = open(&agent.connection).await;
    assert_eq!(agent.connection.in_flight(), 1, "an upgraded stream counts");
    let (mut reader, mut writer) = tokio::io::split(stream);
    let sent: Vec<u8> = (0..4 * 1024 * 1024_u32).map(|n| n.to_le_bytes()[1]).collect();
    let expected = sent.clone();
    let writing = tokio::spawn(async move {
        writer.write_all(&sent).await.unwrap();
        writer.shutdown().await.unwrap();
    });
    let mut received = Vec::new();
    soon("the echo", reader.read_to_end(&mut received)).await.unwrap();
    assert!(received == expected, "{} bytes came back, not all the same", received.len());
    writing.await.unwrap();
    drop(lease);
    assert_eq!(agent.connection.in_flight(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_agent_may_close_its_direction_first() {
    let hub = Hub::start().await;
    let (seen, mut seen_by_upstream) = mpsc::unbounded_channel();
    let upstream = move |mut stream: Stream| {
        let seen = seen.clone();
        async move {
            stream.write_all(b"over").await.unwrap();
            stream.shutdown().await.unwrap();
            let mut rest = String::new();
            stream.read_to_string(&mut rest).await.unwrap();
            seen.send(rest).unwrap();
        }
    };
    let agent = hub.agent("eu-1", upgrading(upstream)).await;
    let (mut stream, _lease) = open(&agent.connection).await;
    let mut said = String::new();
    soon("the agent's words", stream.read_to_string(&mut said)).await.unwrap();
    assert_eq!(said, "over");
    stream.write_all(b"and out").await.unwrap();
    stream.shutdown().await.unwrap();
    assert_eq!(soon("our words", seen_by_upstream.recv()).await.unwrap(), "and out");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_who_leaves_ends_the_stream_at_the_agent() {
    let hub = Hub::start().await;
    let (ended, mut ends) = mpsc::unbounded_channel();
    let upstream = move |mut stream: Stream| {
        let ended = ended.clone();
        async move {
            let mut rest = Vec::new();
            ended.send(stream.read_to_end(&mut rest).await.is_ok()).unwrap();
        }
    };
    let agent = hub.agent("eu-1", upgrading(upstream)).await;
    let (stream, _lease) = open(&agent.connection).await;
    drop(stream);
    assert!(soon("the end", ends.recv()).await.unwrap(), "leaving is an ordinary end");
}

/// The whole way: a caller's stream spliced to the tunnel at the hub, the tunnel to an upstream's at the agent.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn spliced_at_both_ends_it_carries_bytes_and_ends_when_the_caller_is_gone() {
    let hub = Hub::start().await;
    let (ended, mut ends) = mpsc::unbounded_channel();
    let upstream = move |stream: Stream| {
        let ended = ended.clone();
        async move {
            let (near, far) = tokio::io::duplex(64 * 1024);
            let echoing = tokio::spawn(echo(far));
            ended.send(upgrade::splice(stream, near).await).unwrap();
            echoing.await.unwrap();
        }
    };
    let agent = hub.agent("eu-1", upgrading(upstream)).await;
    let (stream, _lease) = open(&agent.connection).await;
    let (mut caller, near) = tokio::io::duplex(64 * 1024);
    let hub_end = tokio::spawn(upgrade::splice(near, stream));
    caller.write_all(b"ls\n").await.unwrap();
    let mut back = [0; 3];
    soon("the echo", caller.read_exact(&mut back)).await.unwrap();
    assert_eq!(&back, b"ls\n");
    drop(caller);
    let at_agent = soon("the agent's end", ends.recv()).await.unwrap().unwrap();
    assert_eq!((at_agent.sent, at_agent.received), (3, 3));
    let at_hub = soon("the hub's end", hub_end).await.unwrap().unwrap();
    assert_eq!(at_hub.sent, 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_other_than_101_passes_with_status_headers_and_body() {
    let hub = Hub::start().await;
    let refusing = handler(|request: Request<Incoming>| async move {
        let method = upgrade::from_connect(&request).unwrap().method;
        let status = if method == "POST" { StatusCode::OK } else { StatusCode::FORBIDDEN };
        let answer = Response::builder()
            .status(status)
            .header("x-kept", "1")
            .header("content-type", "application/json")
            .body(body::full("{\"kind\":\"Status\"}"))
            .unwrap();
        upgrade::to_connect_response(answer)
    });
    let agent = hub.agent("eu-1", refusing).await;
    for (method, status) in [("GET", StatusCode::FORBIDDEN), ("POST", StatusCode::OK)] {
        let sent = agent.connection.send(upgrade_request(method));
        let response = upgrade::to_switching_protocols(soon("an answer", sent).await.unwrap());
        assert_eq!(response.status(), status);
        assert_eq!(response.headers()["x-kept"], "1");
        assert_eq!(response.headers()["content-length"], "17");
        assert!(!response.headers().contains_key("upgrade"));
        assert!(!response.headers().contains_key("flotilla-status"));
        assert_eq!(agent.connection.in_flight(), 1);
        assert_eq!(text(response).await, "{\"kind\":\"Status\"}");
        until("it is over", || agent.connection.in_flight() == 0).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn upgrades_and_requests_share_a_connection() {
    let hub = Hub::start().await;
    let agent = hub.agent("eu-1", upgrading(echo)).await;
    let mut streams = Vec::new();
    for _ in 0..50 {
        streams.push(open(&agent.connection).await);
    }
    let response = soon("an answer", agent.connection.send(get("/small"))).await.unwrap();
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "hello");
    for (stream, _lease) in &mut streams {
        stream.write_all(b"x").await.unwrap();
        let mut back = [0];
        soon("the echo", stream.read_exact(&mut back)).await.unwrap();
        assert_eq!(&back, b"x");
    }
}
