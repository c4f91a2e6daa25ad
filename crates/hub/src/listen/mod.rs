//! The hub's listeners: people (`people`), agents (`agents`), metrics (`metrics`). What they share is here:
//! accepting with bounded handshakes, and stopping.
//!
//! Must not know: routes.

pub mod agents;
pub mod metrics;
pub mod people;

use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

/// A client that has not finished its TLS handshake, or sent its first request's head, by then is dropped.
pub(crate) const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(10);

/// Binds a listener.
///
/// # Errors
/// The address is taken or not ours; the text names the configuration key.
pub(crate) async fn bind(address: SocketAddr, key: &str) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address}; choose another {key}"))
}

/// Accepts connections and serves each in a task of its own until `shutdown`.
pub(crate) async fn accept<F>(
    listener: TcpListener,
    shutdown: CancellationToken,
    serve: impl Fn(TcpStream, SocketAddr) -> F,
) where
    F: Future<Output = ()> + Send + 'static,
{
    loop {
        let accepted = tokio::select! {
            () = shutdown.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                let _ = stream.set_nodelay(true);
                tokio::spawn(serve(stream, peer));
            }
            // Out of file descriptors, mostly: wait for some to come free rather than spin.
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
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
