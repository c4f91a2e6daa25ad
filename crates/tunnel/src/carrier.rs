//! Getting from an agent to its hub: the byte stream that the tunnel runs on.
//!
//! One TLS connection is tried, with two protocols on offer. A hub that is reached directly picks
//! [`PROTOCOL`] and the roles flip at once. Whatever stands in front of a hub and speaks only
//! HTTP/1.1 picks that, and the tunnel begins after `GET /api/agents/connect` has been upgraded.
//!
//! A hub behind a proxy that terminates TLS (`wss://`) is reached through a WebSocket: TLS to the proxy, `GET
//! /api/agents/connect` with `Upgrade: websocket`, and inside that the same TLS connection to the hub as without a proxy,
//! client certificate and all. Whatever the proxy is or does, it can only cut the connection.
//!
//! ```text
//!   direct   TCP ▸ TLS (hub) ▸ tunnel
//!   wss      TCP ▸ TLS (proxy) ▸ WebSocket ▸ TLS (hub) ▸ tunnel
//! ```
//!
//! Must not know: what is sent over the stream.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::str::FromStr;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONNECTION, HOST, UPGRADE};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use serde::Deserialize;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::either::Either;

use crate::error::{Refusal, tls_cause};
use crate::websocket::{self, Socket};
use crate::welcome::retry_after;
use crate::{Lane, PROTOCOL};

/// Where the upgrade is asked for.
pub const CONNECT_PATH: &str = "/api/agents/connect";

/// Query parameter of [`CONNECT_PATH`] that names the lane, for access logs: the tunnel itself says it again.
const LANE_PARAMETER: &str = "lane";

/// How long name resolution, TCP and TLS may take together; through a proxy, the WebSocket too.
const CONNECT_DEADLINE: Duration = Duration::from_secs(10);

/// How long the answer to the upgrade may take.
const UPGRADE_DEADLINE: Duration = Duration::from_secs(10);

/// How much of a refusal's body is read.
const MAX_REFUSAL: usize = 64 * 1024;

const DEFAULT_PORT: u16 = 443;

const HTTPS: &str = "https";
const WSS: &str = "wss";

/// What a connection to the hub runs on.
pub type Wire = Either<TcpStream, Socket<TokioIo<Upgraded>>>;

/// Address of the hub's listener for agents, `https://host[:port]`, or of a proxy in front of its listener for people,
/// `wss://host[:port]`.
#[derive(Clone, Debug)]
pub struct Target {
    authority: String,
    host: String,
    port: u16,
    name: ServerName<'static>,
    /// TLS to the proxy, if there is one.
    proxy: Option<Arc<ClientConfig>>,
}

/// Not an address of a hub.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not the address of a hub: expected {scheme}://HOST[:PORT] and nothing after it")]
pub struct InvalidTarget {
    text: String,
    scheme: &'static str,
}

impl FromStr for Target {
    type Err = InvalidTarget;

    /// A hub that is reached directly.
    fn from_str(text: &str) -> Result<Self, InvalidTarget> {
        Self::parse(text, HTTPS, None)
    }
}

impl Target {
    /// A hub behind a proxy. `tls` is for the proxy alone; its ALPN names are replaced.
    ///
    /// # Errors
    /// `text` is not `wss://HOST[:PORT]`.
    pub fn behind_proxy(text: &str, tls: &ClientConfig) -> Result<Self, InvalidTarget> {
        let mut tls = tls.clone();
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        Self::parse(text, WSS, Some(Arc::new(tls)))
    }

    fn parse(text: &str, scheme: &'static str, proxy: Option<Arc<ClientConfig>>) -> Result<Self, InvalidTarget> {
        let invalid = || InvalidTarget { text: text.to_owned(), scheme };
        let uri: Uri = text.trim().parse().map_err(|_| invalid())?;
        let bare = uri.path() == "/" && uri.query().is_none();
        let authority = uri.authority().ok_or_else(invalid)?;
        if uri.scheme_str() != Some(scheme) || !bare || authority.as_str().contains('@') {
            return Err(invalid());
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']');
        Ok(Self {
            authority: authority.as_str().to_owned(),
            host: host.to_owned(),
            port: authority.port_u16().unwrap_or(DEFAULT_PORT),
            name: ServerName::try_from(host.to_owned()).map_err(|_| invalid())?,
            proxy,
        })
    }

    /// `host[:port]` as it was given, for `Host`.
    pub fn authority(&self) -> &str {
        &self.authority
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.proxy.is_some() { WSS } else { HTTPS };
        write!(f, "{scheme}://{}", self.authority)
    }
}

/// Why the hub was not reached.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DialError {
    /// No connection, or it broke.
    #[error("{target} cannot be reached")]
    Unreachable {
        /// The hub.
        target: Target,
        /// What happened.
        #[source]
        source: io::Error,
    },
    /// The two ends do not trust each other, or do not speak the same TLS.
    #[error("no TLS connection to {target}")]
    Tls {
        /// The hub.
        target: Target,
        /// What happened.
        #[source]
        source: io::Error,
    },
    /// The proxy in front of the hub is not trusted, or does not speak the same TLS.
    #[error("no TLS connection to the proxy at {target}")]
    ProxyTls {
        /// The hub.
        target: Target,
        /// What happened.
        #[source]
        source: io::Error,
    },
    /// Something switched protocols, but not to this WebSocket.
    #[error("no WebSocket to {target}: {reason}")]
    WebSocket {
        /// The hub.
        target: Target,
        /// What is wrong with the answer.
        reason: &'static str,
    },
    /// Too slow.
    #[error("{target} did not answer within {} s", .deadline.as_secs())]
    Timeout {
        /// The hub.
        target: Target,
        /// How long it had.
        deadline: Duration,
    },
    /// Something answered, but not with the protocol.
    #[error("{target} did not answer as a hub does")]
    Protocol {
        /// The hub.
        target: Target,
        /// What happened.
        #[source]
        source: hyper::Error,
    },
    /// The hub answered, with a reason.
    #[error(transparent)]
    Refused(#[from] Refusal),
}

impl DialError {
    /// Whether trying again soon is pointless: the hub is up and does not want this agent.
    pub fn is_refusal(&self) -> bool {
        match self {
            Self::Refused(refusal) => !refusal.may_pass(),
            Self::Tls { .. } | Self::ProxyTls { .. } | Self::WebSocket { .. } => true,
            _ => false,
        }
    }
}

/// Opens a TLS connection to the hub. It has 10 s for all that this takes.
///
/// # Errors
/// See [`DialError`].
pub async fn connect(target: &Target, tls: Arc<ClientConfig>) -> Result<TlsStream<Wire>, DialError> {
    let attempt = async {
        let wire = match &target.proxy {
            None => Wire::Left(tcp(target).await?),
            Some(proxy) => Wire::Right(through(target, Arc::clone(proxy)).await?),
        };
        secured(target, tls, wire).await
    };
    // Two TLS handshakes, one inside the other, are more than a caller's future should hold.
    let attempt = Box::pin(attempt);
    tokio::time::timeout(CONNECT_DEADLINE, attempt).await.map_err(|_| timed_out(target, CONNECT_DEADLINE))?
}

async fn tcp(target: &Target) -> Result<TcpStream, DialError> {
    let unreachable = |source| DialError::Unreachable { target: target.clone(), source };
    let tcp = TcpStream::connect((target.host.as_str(), target.port)).await.map_err(unreachable)?;
    tcp.set_nodelay(true).map_err(unreachable)?;
    Ok(tcp)
}

async fn secured<IO>(target: &Target, tls: Arc<ClientConfig>, io: IO) -> Result<TlsStream<IO>, DialError>
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    TlsConnector::from(tls).connect(target.name.clone(), io).await.map_err(|source| {
        let target = target.clone();
        match tls_cause(&source) {
            Some(_) => DialError::Tls { target, source },
            None => DialError::Unreachable { target, source },
        }
    })
}

/// Opens a WebSocket through the proxy.
async fn through(target: &Target, proxy: Arc<ClientConfig>) -> Result<Socket<TokioIo<Upgraded>>, DialError> {
    let stream = secured(target, proxy, tcp(target).await?).await.map_err(|error| match error {
        DialError::Tls { target, source } => DialError::ProxyTls { target, source },
        other => other,
    })?;
    let opening = websocket::Opening::new();
    let answer = switch(target, stream, CONNECT_PATH, opening.headers()).await?;
    opening.check(answer.headers()).map_err(|reason| DialError::WebSocket { target: target.clone(), reason })?;
    Ok(Socket::client(TokioIo::new(upgraded(target, answer).await?)).await)
}

/// Opens a stream for a tunnel. The ALPN names of `tls` are replaced.
///
/// # Errors
/// See [`DialError`].
pub async fn dial(target: &Target, tls: &ClientConfig, lane: Lane) -> Result<Carrier, DialError> {
    let mut tls = tls.clone();
    tls.alpn_protocols = vec![PROTOCOL.as_bytes().to_vec(), b"http/1.1".to_vec()];
    let stream = connect(target, Arc::new(tls)).await?;
    if stream.get_ref().1.alpn_protocol() == Some(PROTOCOL.as_bytes()) {
        return Ok(Carrier::Tls(Box::new(stream)));
    }
    let upgrade = async {
        let headers = HeaderMap::from_iter([
            (CONNECTION, HeaderValue::from_static("Upgrade")),
            (UPGRADE, HeaderValue::from_static(PROTOCOL)),
        ]);
        let answer = switch(target, stream, &format!("{CONNECT_PATH}?{LANE_PARAMETER}={lane}"), headers).await?;
        upgraded(target, answer).await
    };
    let upgraded = tokio::time::timeout(UPGRADE_DEADLINE, Box::pin(upgrade))
        .await
        .map_err(|_| timed_out(target, UPGRADE_DEADLINE))??;
    Ok(Carrier::Upgraded(TokioIo::new(upgraded)))
}

/// Asks for an upgrade; the 101.
async fn switch<IO>(
    target: &Target,
    stream: IO,
    path: &str,
    mut headers: HeaderMap,
) -> Result<Response<Incoming>, DialError>
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let failed = |source| DialError::Protocol { target: target.clone(), source };
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(failed)?;
    // Ends by itself: with the upgrade, or when `sender` is dropped.
    tokio::spawn(connection.with_upgrades());
    if let Ok(host) = target.authority.parse() {
        headers.insert(HOST, host);
    }
    let mut request = Request::new(Empty::<Bytes>::new());
    *request.uri_mut() = Uri::try_from(path).unwrap_or_else(|_| Uri::from_static(CONNECT_PATH));
    *request.headers_mut() = headers;
    let response = sender.send_request(request).await.map_err(failed)?;
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        return Err(refusal(response).await.into());
    }
    Ok(response)
}

async fn upgraded(target: &Target, answer: Response<Incoming>) -> Result<Upgraded, DialError> {
    hyper::upgrade::on(answer).await.map_err(|source| DialError::Protocol { target: target.clone(), source })
}

/// What can be made of an answer that is not the one hoped for.
pub(crate) async fn refusal(response: Response<Incoming>) -> Refusal {
    #[derive(Deserialize)]
    struct Problem {
        detail: Option<String>,
        title: Option<String>,
    }
    let status = response.status();
    let retry_after = retry_after(response.headers());
    let body = Limited::new(response.into_body(), MAX_REFUSAL).collect().await;
    let problem = body.ok().and_then(|body| serde_json::from_slice::<Problem>(&body.to_bytes()).ok());
    let detail = problem.and_then(|problem| problem.detail.or(problem.title));
    Refusal {
        status,
        detail: detail.unwrap_or_else(|| status.canonical_reason().unwrap_or("no reason given").to_owned()),
        retry_after,
    }
}

fn timed_out(target: &Target, deadline: Duration) -> DialError {
    DialError::Timeout { target: target.clone(), deadline }
}

/// A byte stream to the hub.
pub enum Carrier {
    /// Straight on TLS.
    Tls(Box<TlsStream<Wire>>),
    /// After an HTTP/1.1 upgrade.
    Upgraded(TokioIo<Upgraded>),
}

impl AsyncRead for Carrier {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Upgraded(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Carrier {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Upgraded(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Self::Upgraded(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Tls(stream) => stream.is_write_vectored(),
            Self::Upgraded(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
            Self::Upgraded(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Upgraded(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_hubs() {
        let target: Target = "https://hub.example:8443".parse().unwrap();
        assert_eq!((target.host.as_str(), target.port), ("hub.example", 8443));
        let target: Target = "https://[::1]:1/".parse().unwrap();
        assert_eq!((target.host.as_str(), target.port), ("::1", 1));
        let target: Target = "https://10.0.0.1".parse().unwrap();
        assert_eq!((target.host.as_str(), target.port), ("10.0.0.1", 443));
        assert_eq!(target.to_string(), "https://10.0.0.1");
    }

    #[test]
    fn addresses_of_proxies() {
        let tls = crate::pki::pinned_ca_client_config().unwrap();
        let target = Target::behind_proxy("wss://hub.example", &tls).unwrap();
        assert_eq!(
            (target.host.as_str(), target.port, target.to_string().as_str()),
            ("hub.example", 443, "wss://hub.example")
        );
        for text in ["ws://hub", "https://hub", "wss://hub/path"] {
            let refused = Target::behind_proxy(text, &tls).unwrap_err().to_string();
            assert!(refused.contains("expected wss://HOST"), "{refused}");
        }
    }

    #[test]
    fn other_addresses_are_refused() {
        for text in [
            "",
            "hub:8443",
            "http://hub",
            "wss://hub",
            "https://hub/path",
            "https://hub?q",
            "https://u@hub",
            "https://",
        ] {
            assert!(text.parse::<Target>().is_err(), "{text}");
        }
    }
}
