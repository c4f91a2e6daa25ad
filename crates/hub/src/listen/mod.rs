//! The hub's listeners: people (`people`), agents (`agents`), metrics (`metrics`). What they share is here:
//! accepting with bounded handshakes, and stopping.
//!
//! Must not know: routes.

pub mod agents;
pub mod cores;
pub mod metrics;
pub mod people;
mod places;

use std::future::Future;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use cores::Cores;
use places::Places;

/// A client that has not finished its TLS handshake, or sent its first request's head, by then is dropped.
pub(crate) const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(10);

/// What the kernel takes of an answer beyond what is on its way to the client (`TCP_NOTSENT_LOWAT`, `tcp(7)`). Left to
/// itself it takes 4 MB for each client that does not read, and a few hundred of those use up its memory for all of TCP.
const UNSENT: u32 = 128 * 1024;

/// Binds a listener.
///
/// # Errors
/// The address is taken or not ours; the text names the configuration key.
pub(crate) async fn bind(address: SocketAddr, key: &str) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address}; choose another {key}"))
}

/// Accepts connections and serves each on one of the cores until `shutdown`. More than there are places for are closed
/// at once. The future that `serve` makes runs where the stream shall belong: it begins with [`arrived`].
pub(crate) async fn accept<F>(
    listener: TcpListener,
    shutdown: CancellationToken,
    cores: &Cores,
    serve: impl Fn(std::net::TcpStream, SocketAddr) -> F,
) where
    F: Future<Output = ()> + Send + 'static,
{
    let places = Places::for_this_process();
    loop {
        let accepted = tokio::select! {
            () = shutdown.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted.and_then(|(stream, peer)| Ok((stream.into_std()?, peer))) {
            Ok((stream, peer)) => {
                let Some(place) = places.take(peer.ip()) else {
                    tracing::debug!(%peer, "too many connections are open; this one is closed");
                    continue;
                };
                tune(&stream);
                let served = serve(stream, peer);
                cores.spawn(async move {
                    served.await;
                    drop(place);
                });
            }
            // Out of file descriptors, mostly: wait for some to come free rather than spin.
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// The stream, on the core that this is called on.
pub(crate) fn arrived(stream: std::net::TcpStream) -> Option<TcpStream> {
    TcpStream::from_std(stream).inspect_err(|error| tracing::warn!(%error, "a connection cannot be served")).ok()
}

/// Ends when a connection has had no request (`begun`) by the deadline: the head of a request has its own, which only
/// starts when the HTTP version is known.
pub(crate) async fn silence(begun: &AtomicBool) {
    tokio::time::sleep(HANDSHAKE_DEADLINE).await;
    if begun.load(Ordering::Relaxed) {
        std::future::pending::<()>().await;
    }
}

/// Both settings only make things better, so a kernel that has neither is good enough.
fn tune(stream: &std::net::TcpStream) {
    let _ = stream.set_nodelay(true);
    let _ = socket2::SockRef::from(stream).set_tcp_notsent_lowat(UNSENT);
}

/// An HTTP/1.1 and HTTP/2 server whose slow clients cost a bounded amount of memory.
pub(crate) fn http_server() -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HANDSHAKE_DEADLINE).max_buf_size(64 * 1024);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(Some(Duration::from_secs(30)))
        .keep_alive_timeout(Duration::from_secs(20))
        .max_concurrent_streams(1000)
        .initial_stream_window_size(256 * 1024)
        .initial_connection_window_size(4 * 1024 * 1024)
        .max_send_buf_size(64 * 1024)
        .max_header_list_size(64 * 1024);
    builder
}
