//! A byte stream inside a WebSocket (RFC 6455), for hubs behind a proxy that terminates TLS and passes on only what it
//! knows: the agent's own TLS to the hub runs inside, so the proxy carries ciphertext and need not be trusted.
//!
//! Binary messages hold the bytes; where one ends means nothing. Pings are answered; none are sent, since the HTTP/2
//! pings inside go all the way to the other end and keep the proxy's idle timer from running out as well.
//!
//! Must not know: what the bytes are, or that they are encrypted.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use futures_util::{Sink, Stream};
use http::header::{
    CONNECTION, HeaderMap, HeaderValue, ORIGIN, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL,
    SEC_WEBSOCKET_VERSION, UPGRADE,
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::handshake::client::generate_key;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message};

/// `Sec-WebSocket-Protocol` of the tunnel.
pub const SUBPROTOCOL: &str = "flotilla-tunnel.1";

/// `Upgrade` token (RFC 6455 section 11.2).
pub const UPGRADE_TOKEN: &str = "websocket";

/// The only version there is (RFC 6455 section 4.1).
const VERSION: &str = "13";

/// Largest message, sent and received: four TLS records of 16 KiB.
pub const MAX_MESSAGE: usize = 64 * 1024;

/// Memory that each socket takes at once, in bytes.
const READ_BUFFER: usize = 16 * 1024;

/// Why a request does not open a socket for a tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unacceptable {
    /// It comes from a page in a browser, which no agent is.
    #[error("this is for agents; a request with Origin comes from a browser")]
    Browser,
    /// Another version of the protocol.
    #[error("use Sec-WebSocket-Version: {VERSION}")]
    Version,
    /// The tunnel is not among the protocols on offer.
    #[error("offer Sec-WebSocket-Protocol: {SUBPROTOCOL}")]
    Subprotocol,
    /// No key, or not 16 bytes in Base64.
    #[error("Sec-WebSocket-Key must be 16 bytes in Base64")]
    Key,
}

/// Hub: checks a request whose `Upgrade` is [`UPGRADE_TOKEN`]; the headers of the 101 (RFC 6455 section 4.2).
///
/// # Errors
/// See [`Unacceptable`].
pub fn accept(request: &HeaderMap) -> Result<HeaderMap, Unacceptable> {
    if request.contains_key(ORIGIN) {
        return Err(Unacceptable::Browser);
    }
    if request.get(SEC_WEBSOCKET_VERSION).is_none_or(|version| version != VERSION) {
        return Err(Unacceptable::Version);
    }
    let offered = request.get_all(SEC_WEBSOCKET_PROTOCOL).iter().filter_map(|value| value.to_str().ok());
    if !offered.flat_map(|value| value.split(',')).any(|name| name.trim() == SUBPROTOCOL) {
        return Err(Unacceptable::Subprotocol);
    }
    let key = request.get(SEC_WEBSOCKET_KEY).filter(|key| is_key(key)).ok_or(Unacceptable::Key)?;
    let accepted = HeaderValue::from_str(&derive_accept_key(key.as_bytes())).map_err(|_| Unacceptable::Key)?;
    let mut answer = upgrade_headers();
    answer.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(SUBPROTOCOL));
    answer.insert(SEC_WEBSOCKET_ACCEPT, accepted);
    Ok(answer)
}

fn is_key(key: &HeaderValue) -> bool {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.decode(key.as_bytes()).is_ok_and(|bytes| bytes.len() == 16)
}

fn upgrade_headers() -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static(UPGRADE_TOKEN));
    headers
}

/// Agent: a handshake under way.
pub(crate) struct Opening {
    key: String,
}

impl Opening {
    pub(crate) fn new() -> Self {
        Self { key: generate_key() }
    }

    /// Headers of the request.
    pub(crate) fn headers(&self) -> HeaderMap {
        let mut headers = upgrade_headers();
        headers.insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static(VERSION));
        headers.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(SUBPROTOCOL));
        if let Ok(key) = HeaderValue::from_str(&self.key) {
            headers.insert(SEC_WEBSOCKET_KEY, key);
        }
        headers
    }

    /// Whether a 101 with these headers answers this very handshake, or what speaks against it.
    pub(crate) fn check(&self, answer: &HeaderMap) -> Result<(), &'static str> {
        let expected = derive_accept_key(self.key.as_bytes());
        if answer.get(SEC_WEBSOCKET_ACCEPT).is_none_or(|accepted| accepted.as_bytes() != expected.as_bytes()) {
            return Err("its Sec-WebSocket-Accept does not answer our key");
        }
        match answer.get(SEC_WEBSOCKET_PROTOCOL) {
            Some(chosen) if chosen == SUBPROTOCOL => Ok(()),
            _ => Err("it did not choose the tunnel's subprotocol"),
        }
    }
}

/// The bytes of a WebSocket. Holds at most one message in each direction.
pub struct Socket<IO> {
    messages: WebSocketStream<IO>,
    unread: Bytes,
    ended: bool,
}

impl<IO: AsyncRead + AsyncWrite + Unpin> Socket<IO> {
    /// The hub's end, after its 101.
    pub async fn server(io: IO) -> Self {
        Self::new(io, Role::Server).await
    }

    /// The agent's end, after the hub's 101.
    pub async fn client(io: IO) -> Self {
        Self::new(io, Role::Client).await
    }

    async fn new(io: IO, role: Role) -> Self {
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER)
            // A message is written at once: TLS has made it as large as is good, and will not always flush.
            .write_buffer_size(0)
            // One message that waits for the network, and answers to pings.
            .max_write_buffer_size(2 * MAX_MESSAGE)
            .max_message_size(Some(MAX_MESSAGE))
            .max_frame_size(Some(MAX_MESSAGE));
        Self {
            messages: WebSocketStream::from_raw_socket(io, role, Some(config)).await,
            unread: Bytes::new(),
            ended: false,
        }
    }

    /// Waits for the next message with bytes. `None` at the end: whether it is a premature one, TLS inside knows.
    fn poll_message(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Option<Bytes>>> {
        while !self.ended {
            match ready!(Pin::new(&mut self.messages).poll_next(cx)) {
                Some(Ok(Message::Binary(bytes))) if bytes.is_empty() => {}
                Some(Ok(Message::Binary(bytes))) => return Poll::Ready(Ok(Some(bytes))),
                Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => {}
                Some(Ok(Message::Text(_))) => {
                    return Poll::Ready(Err(io::Error::new(
                        io::ErrorKind::InvalidData,
                        "a text message in a tunnel of bytes",
                    )));
                }
                Some(Ok(Message::Close(_))) => {
                    self.ended = true;
                    // The answer is a courtesy.
                    let _ = Pin::new(&mut self.messages).poll_flush(cx);
                }
                Some(Err(Error::Protocol(ProtocolError::ResetWithoutClosingHandshake))) | None => self.ended = true,
                Some(Err(error)) => return Poll::Ready(Err(io_error(error))),
            }
        }
        Poll::Ready(Ok(None))
    }

    fn send(&mut self, message: Bytes) -> io::Result<usize> {
        let length = message.len();
        Pin::new(&mut self.messages).start_send(Message::Binary(message)).map_err(io_error)?;
        Ok(length)
    }
}

fn io_error(error: Error) -> io::Error {
    match error {
        Error::Io(error) => error,
        Error::ConnectionClosed | Error::AlreadyClosed | Error::Protocol(ProtocolError::SendAfterClosing) => {
            io::Error::new(io::ErrorKind::BrokenPipe, error)
        }
        other => io::Error::new(io::ErrorKind::InvalidData, other),
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> AsyncRead for Socket<IO> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.unread.is_empty() {
            match ready!(self.poll_message(cx))? {
                Some(bytes) => self.unread = bytes,
                None => return Poll::Ready(Ok(())),
            }
        }
        let count = self.unread.len().min(buf.remaining());
        buf.put_slice(&self.unread[..count]);
        self.unread.advance(count);
        Poll::Ready(Ok(()))
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Socket<IO> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        ready!(Pin::new(&mut self.messages).poll_ready(cx)).map_err(io_error)?;
        let message = Bytes::copy_from_slice(&buf[..buf.len().min(MAX_MESSAGE)]);
        Poll::Ready(self.send(message))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(Pin::new(&mut self.messages).poll_ready(cx)).map_err(io_error)?;
        let mut message = BytesMut::with_capacity(bufs.iter().map(|buf| buf.len()).sum::<usize>().min(MAX_MESSAGE));
        for buf in bufs {
            let room = MAX_MESSAGE - message.len();
            message.extend_from_slice(&buf[..buf.len().min(room)]);
        }
        Poll::Ready(self.send(message.freeze()))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.messages).poll_flush(cx).map_err(io_error)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.messages).poll_close(cx).map_err(io_error)
    }
}

#[cfg(test)]
#[path = "websocket_tests.rs"]
mod tests;
