//! The people's listener: browsers, the command line, kubectl. TLS and plain HTTP on one port, told apart by the
//! first byte: a TLS record begins with 22 (RFC 8446 section 5.1), an HTTP request with a letter. Plain HTTP is
//! for loopback; from anywhere else it is sent to TLS.
//!
//! Must not know: routes.

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwap;
use flotilla_cluster::{Body, boxed, empty};
use http::uri::Authority;
use http::{HeaderValue, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_util::task::TaskTracker;

use super::HANDSHAKE_DEADLINE;
use super::cores::Cores;
use crate::request::arrival::Channel;
use crate::request::{self, People};

/// First byte of a TLS handshake record.
const TLS_HANDSHAKE: u8 = 22;

/// The certificate in use; replaced while running when it is renewed.
pub type CurrentTls = Arc<ArcSwap<rustls::ServerConfig>>;

/// Serves people until the hub stops, then lets what is in flight finish.
pub async fn serve(people: People, listener: TcpListener, tls: Option<CurrentTls>, cores: &Cores) {
    let connections = TaskTracker::new();
    let shutdown = people.hub.shutdown.clone();
    let drain = people.hub.config.server.drain.0;
    let tracker = connections.clone();
    super::accept(listener, shutdown, cores, move |stream, peer| {
        tracker.track_future(connection(people.clone(), stream, peer, tls.clone()))
    })
    .await;
    connections.close();
    if tokio::time::timeout(drain, connections.wait()).await.is_err() {
        tracing::warn!(left = connections.len(), "connections did not finish in time and are cut");
    }
}

async fn connection(people: People, stream: std::net::TcpStream, peer: SocketAddr, tls: Option<CurrentTls>) {
    let Some(stream) = super::arrived(stream) else { return };
    let mut first = [0u8; 1];
    let peeked = tokio::time::timeout(HANDSHAKE_DEADLINE, stream.peek(&mut first)).await;
    if !matches!(peeked, Ok(Ok(1))) {
        return;
    }
    match tls {
        Some(tls) if first[0] == TLS_HANDSHAKE => {
            let handshake = TlsAcceptor::from(tls.load_full()).accept(stream);
            match tokio::time::timeout(HANDSHAKE_DEADLINE, handshake).await {
                Ok(Ok(stream)) => http(people, stream, peer.ip(), Door::Open(Channel { tls: true })).await,
                Ok(Err(error)) => tracing::debug!(%error, %peer, "TLS handshake failed"),
                Err(_) => tracing::debug!(%peer, "TLS handshake took too long"),
            }
        }
        Some(_) if !peer.ip().to_canonical().is_loopback() => http(people, stream, peer.ip(), Door::SendToTls).await,
        _ => http(people, stream, peer.ip(), Door::Open(Channel { tls: false })).await,
    }
}

/// What a connection is let do.
#[derive(Clone, Copy)]
enum Door {
    Open(Channel),
    SendToTls,
}

async fn http<IO>(people: People, io: IO, address: IpAddr, door: Door)
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let shutdown = people.hub.shutdown.clone();
    let begun = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&begun);
    let service = service_fn(move |request: Request<Incoming>| {
        seen.store(true, Ordering::Relaxed);
        let people = people.clone();
        async move {
            let response = match door {
                Door::Open(channel) => {
                    let mut request = request.map(boxed);
                    request.extensions_mut().insert(channel);
                    request::serve(&people, request, address.to_canonical()).await
                }
                Door::SendToTls => send_to_tls(&request),
            };
            Ok::<_, Infallible>(response)
        }
    });
    let server = super::http_server();
    let connection = server.serve_connection_with_upgrades(TokioIo::new(io), service);
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = super::silence(&begun) => return tracing::debug!(%address, "a connection without a request is closed"),
        () = shutdown.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, %address, "connection ended");
    }
}

fn send_to_tls(request: &Request<Incoming>) -> Response<Body> {
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    // A host and a port: no user name, no path.
    let host = host.parse::<Authority>().ok().filter(|_| !host.contains('@')).map_or("", |_| host);
    let target = request.uri().path_and_query().map_or("/", |target| target.as_str());
    let mut response = Response::new(empty());
    match HeaderValue::from_str(&format!("https://{host}{target}")) {
        Ok(location) if !host.is_empty() => {
            *response.status_mut() = StatusCode::PERMANENT_REDIRECT;
            response.headers_mut().insert(header::LOCATION, location);
        }
        _ => *response.status_mut() = StatusCode::BAD_REQUEST,
    }
    response
}
