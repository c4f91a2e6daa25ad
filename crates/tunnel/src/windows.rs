//! HTTP/2 settings of both ends, and the one rule behind them.
//!
//! **Connection window >= streams x stream window.** A receiver that leaves a body unread holds its bytes against the
//! connection window. With hyper's defaults (5 MiB for the connection, 2 MiB for a stream) three unread bodies use up
//! the window of the whole connection, and every other request to that cluster hangs (hyperium/hyper #2899, h2 #853).
//! When the rule holds, all streams together cannot use it up. The price is memory: at worst every stream's window,
//! so callers cap streams per user.
//!
//! Must not know: who is at the other end.

use std::time::Duration;

use hyper::client::conn::http2 as client;
use hyper::server::conn::http2 as server;
use hyper_util::rt::TokioTimer;

/// Streams that one connection carries at once, as the agent announces it.
pub const MAX_STREAMS: u32 = 8_000;

/// How many of them requests may take. More are refused, not queued. The rest is for the hub's own pings: one that had
/// to wait for a stream would time out, and a full connection would be taken for a dead one.
pub const MAX_REQUESTS: u32 = MAX_STREAMS - 16;

/// Bytes that one stream may have in flight towards a reader.
pub const STREAM_WINDOW: u32 = 256 * 1024;

/// Bytes that all streams of a connection may have in flight: the largest that HTTP/2 knows (RFC 9113 section 6.9.1).
pub const CONNECTION_WINDOW: u32 = (1 << 31) - 1;

/// Largest DATA frame. Bounds how long a frame of a bulk stream delays one of another stream.
const MAX_FRAME: u32 = 64 * 1024;

/// Bytes that a stream may have written and not yet sent.
const MAX_SEND_BUFFER: usize = 64 * 1024;

/// Size of all headers of a message. hyper's 16 KiB is too little for a user in many groups.
const MAX_HEADER_LIST: u32 = 64 * 1024;

/// Streams reset by the hub before the agent took them up; one more closes the connection. h2's 20 are fewer than one
/// closing browser tab resets, and on a busy machine all streams may be reset before the agent has run once. The limit
/// is there for hostile clients, which the hub is not.
const MAX_PENDING_ACCEPT_RESETS: usize = MAX_STREAMS as usize;

/// For how long a stream that we reset is remembered, so that frames still under way to it are no surprise.
const RESET_MEMORY: Duration = Duration::from_secs(30);

const _: () = assert!(MAX_STREAMS as u64 * STREAM_WINDOW as u64 <= CONNECTION_WINDOW as u64);

/// How each end finds out that the other is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pings {
    /// Silence after which a ping is sent.
    pub interval: Duration,
    /// How long the answer may take before the connection counts as dead.
    pub timeout: Duration,
}

impl Default for Pings {
    fn default() -> Self {
        Self { interval: Duration::from_secs(10), timeout: Duration::from_secs(20) }
    }
}

/// Settings of the hub's end.
pub fn apply_client<E: Clone>(builder: &mut client::Builder<E>, pings: Pings) {
    builder
        .timer(TokioTimer::new())
        .initial_connection_window_size(CONNECTION_WINDOW)
        .initial_stream_window_size(STREAM_WINDOW)
        .max_frame_size(MAX_FRAME)
        .max_send_buf_size(MAX_SEND_BUFFER)
        .max_header_list_size(MAX_HEADER_LIST)
        .keep_alive_interval(pings.interval)
        .keep_alive_timeout(pings.timeout)
        .keep_alive_while_idle(true)
        // DATA for a stream that was reset and forgotten counts as an error of ours, and h2 closes the connection
        // after 1,024 of those in its life: cancelled watches add up to that within days.
        .max_concurrent_reset_streams(MAX_STREAMS as usize)
        .reset_stream_duration(RESET_MEMORY)
        .max_local_error_reset_streams(None);
}

/// Settings of the agent's end.
pub fn apply_server<E>(builder: &mut server::Builder<E>, pings: Pings) {
    builder
        .timer(TokioTimer::new())
        .initial_connection_window_size(CONNECTION_WINDOW)
        .initial_stream_window_size(STREAM_WINDOW)
        .max_concurrent_streams(MAX_STREAMS)
        .max_frame_size(MAX_FRAME)
        .max_send_buf_size(MAX_SEND_BUFFER)
        .max_header_list_size(MAX_HEADER_LIST)
        .max_pending_accept_reset_streams(MAX_PENDING_ACCEPT_RESETS)
        .max_local_error_reset_streams(None)
        .keep_alive_interval(pings.interval)
        .keep_alive_timeout(pings.timeout)
        .enable_connect_protocol()
        // The upstream's `Date` passes through.
        .auto_date_header(false);
}

#[cfg(test)]
#[path = "windows_tests.rs"]
mod tests;
