//! Tests of `windows`: the frames that go over the wire, not the settings that we meant.

use std::convert::Infallible;
use std::time::Duration;

use http_body_util::Empty;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

use super::*;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const SETTINGS: u8 = 4;
const WINDOW_UPDATE: u8 = 8;

/// What an end says of itself first, read off the wire (RFC 9113 sections 4.1, 6.5 and 6.9).
#[derive(Default)]
struct Announced {
    settings: Vec<(u16, u32)>,
    connection_window: u64,
}

impl Announced {
    fn setting(&self, id: u16) -> Option<u32> {
        self.settings.iter().find(|(key, _)| *key == id).map(|(_, value)| *value)
    }
}

async fn announced(wire: &mut DuplexStream) -> Announced {
    let mut announced = Announced { connection_window: 65_535, ..Announced::default() };
    let (mut settings, mut update) = (false, false);
    while !(settings && update) {
        let mut head = [0_u8; 9];
        wire.read_exact(&mut head).await.unwrap();
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let mut payload = vec![0; length];
        wire.read_exact(&mut payload).await.unwrap();
        match head[3] {
            SETTINGS if head[4] & 1 == 0 => {
                settings = true;
                announced.settings = payload.chunks(6).map(setting).collect();
            }
            WINDOW_UPDATE if head[5..9] == [0; 4] => {
                update = true;
                announced.connection_window += u64::from(u32::from_be_bytes(payload.try_into().unwrap()));
            }
            _ => {}
        }
    }
    announced
}

fn setting(bytes: &[u8]) -> (u16, u32) {
    let id = u16::from_be_bytes(bytes[..2].try_into().unwrap());
    (id, u32::from_be_bytes(bytes[2..].try_into().unwrap()))
}

fn pings() -> Pings {
    Pings { interval: Duration::from_secs(600), ..Pings::default() }
}

#[tokio::test]
async fn the_agent_announces_windows_that_cannot_be_used_up() {
    let (mut wire, io) = tokio::io::duplex(1 << 16);
    let mut builder = server::Builder::new(TokioExecutor::new());
    apply_server(&mut builder, pings());
    let service = service_fn(|_| async { Ok::<_, Infallible>(http::Response::new(Empty::<bytes::Bytes>::new())) });
    let serving = tokio::spawn(builder.serve_connection(TokioIo::new(io), service));
    wire.write_all(PREFACE).await.unwrap();
    wire.write_all(&[0, 0, 0, SETTINGS, 0, 0, 0, 0, 0]).await.unwrap();

    let agent = announced(&mut wire).await;
    let streams = u64::from(agent.setting(3).unwrap());
    let stream_window = u64::from(agent.setting(4).unwrap());
    assert_eq!(streams, 8_000);
    assert_eq!(stream_window, 256 * 1024);
    assert_eq!(agent.connection_window, (1 << 31) - 1);
    assert!(agent.connection_window >= streams * stream_window);
    assert_eq!(agent.setting(5), Some(64 * 1024), "max frame size");
    assert_eq!(agent.setting(6), Some(64 * 1024), "max header list size");
    assert_eq!(agent.setting(8), Some(1), "extended CONNECT");
    serving.abort();
}

#[tokio::test]
async fn the_hub_announces_windows_that_cannot_be_used_up() {
    let (mut wire, io) = tokio::io::duplex(1 << 16);
    let mut builder = client::Builder::new(TokioExecutor::new());
    apply_client(&mut builder, pings());
    let (_sender, driver) = builder.handshake::<_, crate::Body>(TokioIo::new(io)).await.unwrap();
    let driving = tokio::spawn(driver);
    let mut preface = [0; PREFACE.len()];
    wire.read_exact(&mut preface).await.unwrap();
    assert_eq!(preface, PREFACE);

    let hub = announced(&mut wire).await;
    let stream_window = u64::from(hub.setting(4).unwrap());
    assert_eq!(stream_window, 256 * 1024);
    assert_eq!(hub.connection_window, (1 << 31) - 1);
    // How many streams there are is the agent's to say.
    assert!(hub.connection_window >= u64::from(MAX_STREAMS) * stream_window);
    driving.abort();
}
