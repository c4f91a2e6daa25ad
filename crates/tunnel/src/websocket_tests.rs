//! Two ends of a socket over memory, and ends that do not behave.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

use super::*;

async fn soon<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(Duration::from_secs(30), future).await.expect("it takes too long")
}

/// The hub's end, and a client that may do as it likes.
async fn hub_and_any_client() -> (Socket<DuplexStream>, WebSocketStream<DuplexStream>) {
    let (near, far) = tokio::io::duplex(8 * 1024);
    let any = WebSocketConfig::default();
    (Socket::server(near).await, WebSocketStream::from_raw_socket(far, Role::Client, Some(any)).await)
}

#[tokio::test]
async fn bytes_pass_both_ways_at_once_and_the_end_is_seen() {
    let (near, far) = tokio::io::duplex(5_000);
    let (hub, agent) = (Socket::server(near).await, Socket::client(far).await);
    let sent: Vec<u8> = (0..1_000_003_u32).map(|number| number.to_le_bytes()[(number % 3) as usize]).collect();
    let both = async |socket: Socket<DuplexStream>| {
        let (mut reads, mut writes) = tokio::io::split(socket);
        let mut received = vec![0; sent.len()];
        let write = async { writes.write_all(&sent).await.and(writes.flush().await) };
        let (wrote, read) = tokio::join!(write, reads.read_exact(&mut received));
        wrote.and(read).unwrap();
        assert!(received == sent);
        reads.unsplit(writes)
    };
    let (mut hub, mut agent) = soon(async { tokio::join!(both(hub), both(agent)) }).await;
    let (closed, read) = soon(async { tokio::join!(agent.shutdown(), hub.read_u8()) }).await;
    closed.unwrap();
    assert_eq!(read.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    assert!(soon(hub.write(b"x")).await.is_err());
}

#[tokio::test]
async fn several_buffers_become_one_message_of_bounded_size() {
    let (mut hub, mut client) = hub_and_any_client().await;
    let half = vec![7; MAX_MESSAGE / 2 + 1];
    let bufs = [io::IoSlice::new(&half), io::IoSlice::new(&half)];
    let written = soon(std::future::poll_fn(|cx| Pin::new(&mut hub).poll_write_vectored(cx, &bufs))).await.unwrap();
    assert_eq!(written, MAX_MESSAGE);
    let (flushed, message) = soon(async { tokio::join!(hub.flush(), client.next()) }).await;
    flushed.unwrap();
    assert_eq!(message.unwrap().unwrap().len(), MAX_MESSAGE);
}

#[tokio::test]
async fn a_message_that_is_too_large_or_no_bytes_ends_it() {
    let too_large = Message::Binary(vec![0; MAX_MESSAGE + 1].into());
    for message in [too_large, Message::Text("hello".into())] {
        let (mut hub, mut client) = hub_and_any_client().await;
        let (_, read) = soon(async {
            let read = async {
                let read = hub.read_u8().await;
                drop(hub);
                read
            };
            tokio::join!(client.send(message), read)
        })
        .await;
        assert_eq!(read.unwrap_err().kind(), io::ErrorKind::InvalidData);
    }
}

#[tokio::test]
async fn a_ping_is_answered_while_bytes_are_awaited() {
    let (mut hub, mut client) = hub_and_any_client().await;
    let reading = tokio::spawn(async move { hub.read_u8().await });
    client.send(Message::Ping("are you there".into())).await.unwrap();
    assert_eq!(soon(client.next()).await.unwrap().unwrap(), Message::Pong("are you there".into()));
    client.send(Message::Binary(Bytes::new())).await.unwrap();
    client.send(Message::Binary(Bytes::from_static(b"x"))).await.unwrap();
    assert_eq!(soon(reading).await.unwrap().unwrap(), b'x');
}

#[tokio::test]
async fn a_writer_waits_for_the_network_instead_of_hoarding() {
    let (near, _far) = tokio::io::duplex(1024);
    let mut hub = Socket::server(near).await;
    let mut written = 0;
    let blocked = tokio::time::timeout(Duration::from_millis(200), async {
        loop {
            written += hub.write(&[0; 4096]).await.unwrap();
        }
    });
    assert!(blocked.await.is_err());
    assert!(written <= 4096, "{written}");
}

fn opening() -> HeaderMap {
    Opening::new().headers()
}

#[test]
fn both_ends_agree_on_the_handshake() {
    let opening = Opening::new();
    let answer = accept(&opening.headers()).unwrap();
    assert_eq!(opening.check(&answer), Ok(()));
    assert!(Opening::new().check(&answer).is_err(), "an answer to another key");
    let mut other = answer.clone();
    other.remove(SEC_WEBSOCKET_PROTOCOL);
    assert!(opening.check(&other).is_err());
}

#[test]
fn the_example_of_the_rfc() {
    let mut request = opening();
    request.insert(SEC_WEBSOCKET_KEY, HeaderValue::from_static("dGhlIHNhbXBsZSBub25jZQ=="));
    assert_eq!(accept(&request).unwrap()[SEC_WEBSOCKET_ACCEPT], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
}

#[test]
fn other_requests_are_refused() {
    let cases = [
        (ORIGIN, Some("https://hub.example.com"), Unacceptable::Browser),
        (ORIGIN, Some("null"), Unacceptable::Browser),
        (SEC_WEBSOCKET_VERSION, Some("8"), Unacceptable::Version),
        (SEC_WEBSOCKET_VERSION, None, Unacceptable::Version),
        (SEC_WEBSOCKET_PROTOCOL, Some("v5.channel.k8s.io"), Unacceptable::Subprotocol),
        (SEC_WEBSOCKET_PROTOCOL, Some("flotilla-tunnel.10"), Unacceptable::Subprotocol),
        (SEC_WEBSOCKET_PROTOCOL, None, Unacceptable::Subprotocol),
        (SEC_WEBSOCKET_KEY, Some("c2hvcnQ="), Unacceptable::Key),
        (SEC_WEBSOCKET_KEY, None, Unacceptable::Key),
    ];
    for (name, value, why) in cases {
        let mut request = opening();
        match value {
            Some(value) => drop(request.insert(name, HeaderValue::from_static(value))),
            None => drop(request.remove(name)),
        }
        assert_eq!(accept(&request), Err(why));
    }
    let mut several = opening();
    several.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static("chat, flotilla-tunnel.1"));
    assert!(accept(&several).is_ok());
}
