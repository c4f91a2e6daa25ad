//! Callers: HTTP/1.1 on connections that stay open, each sending its next request when the answer to the last is read
//! to its end (a closed loop). What callers cost is not part of any figure.
//!
//! Must not know: who answers.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use http::header::{AUTHORIZATION, HOST, USER_AGENT};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpSocket;
use tokio::task::{AbortHandle, JoinSet};
use tokio_rustls::TlsConnector;

/// What a caller that reads nothing has its kernel hold for it. Small, so that the answer waits at the server.
const UNREAD_BUFFER: u32 = 16 * 1024;

/// Whom to call and what to ask.
#[derive(Clone)]
pub(crate) struct Target {
    port: u16,
    tls: Option<TlsConnector>,
    method: Method,
    headers: HeaderMap,
    path: String,
    /// Bytes of the body that must come.
    size: u64,
}

impl Target {
    /// Plain HTTP on a port of loopback. Every answer must be a 200 with a body of `size` bytes.
    pub(crate) fn plain(port: u16, path: &str, size: u64) -> Self {
        let mut headers = HeaderMap::new();
        headers.insert(HOST, HeaderValue::from_static("localhost"));
        headers.insert(USER_AGENT, HeaderValue::from_static("flotilla-bench"));
        Self { port, tls: None, method: Method::GET, headers, path: path.to_owned(), size }
    }

    /// The same over TLS with a server whose certificate `ca` signed.
    pub(crate) fn tls(port: u16, ca: &Path, path: &str, size: u64) -> Result<Self> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_file_iter(ca).with_context(|| format!("read {}", ca.display()))? {
            roots.add(certificate?)?;
        }
        let mut config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self { tls: Some(TlsConnector::from(Arc::new(config))), ..Self::plain(port, path, size) })
    }

    /// With a bearer token.
    pub(crate) fn bearer(mut self, token: &str) -> Result<Self> {
        self.headers.insert(AUTHORIZATION, format!("Bearer {token}").parse().context("the token is no header")?);
        Ok(self)
    }

    /// With another method than GET.
    pub(crate) fn method(&self, method: Method) -> Self {
        Self { method, ..self.clone() }
    }

    /// The same caller asking for something else.
    pub(crate) fn with_path(&self, path: &str, size: u64) -> Self {
        Self { path: path.to_owned(), size, ..self.clone() }
    }

    async fn connect(&self, buffer: Option<u32>) -> Result<Caller> {
        let socket = TcpSocket::new_v4()?;
        if let Some(buffer) = buffer {
            socket.set_recv_buffer_size(buffer)?;
        }
        let stream = socket.connect(SocketAddr::from((Ipv4Addr::LOCALHOST, self.port))).await?;
        stream.set_nodelay(true)?;
        match &self.tls {
            None => Caller::new(self.clone(), stream).await,
            Some(tls) => {
                let name = ServerName::try_from("localhost")?;
                Caller::new(self.clone(), tls.connect(name, stream).await?).await
            }
        }
    }
}

/// One connection.
struct Caller {
    target: Target,
    sender: SendRequest<Empty<Bytes>>,
    driver: AbortHandle,
}

impl Caller {
    async fn new<IO>(target: Target, io: IO) -> Result<Self>
    where
        IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (sender, connection) = handshake(TokioIo::new(io)).await?;
        let driver = tokio::spawn(async move { drop(connection.await) }).abort_handle();
        Ok(Self { target, sender, driver })
    }

    /// Sends the request and returns the answer, its body unread.
    async fn ask(&mut self) -> Result<Response<Incoming>> {
        self.sender.ready().await?;
        let request = Request::builder().method(self.target.method.clone()).uri(self.target.path.as_str());
        let mut request = request.body(Empty::new())?;
        *request.headers_mut() = self.target.headers.clone();
        let response = self.sender.send_request(request).await?;
        if response.status() != StatusCode::OK {
            let status = response.status();
            let body = response.into_body().collect().await?.to_bytes();
            bail!("{} answers {status}: {}", self.target.path, String::from_utf8_lossy(&body));
        }
        Ok(response)
    }

    /// Sends the request and reads the whole answer.
    async fn fetch(&mut self) -> Result<()> {
        let mut body = self.ask().await?.into_body();
        let mut seen = 0;
        while let Some(frame) = body.frame().await {
            seen += frame?.data_ref().map_or(0, Bytes::len) as u64;
        }
        ensure!(seen == self.target.size, "{} answers with {seen} bytes, not {}", self.target.path, self.target.size);
        Ok(())
    }
}

impl Drop for Caller {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// Connections that are open and warm.
pub(crate) struct Callers(Vec<Caller>);

/// What callers saw.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) requests: u64,
    pub(crate) elapsed: Duration,
    latencies: Vec<Duration>,
}

impl Seen {
    pub(crate) fn rps(&self) -> f64 {
        self.latencies.len() as f64 / self.elapsed.as_secs_f64()
    }

    /// Milliseconds within which this share of the requests was answered (nearest rank).
    pub(crate) fn percentile_ms(&self, share: f64) -> f64 {
        let rank = (share * self.latencies.len() as f64).ceil() as usize;
        let at = rank.saturating_sub(1).min(self.latencies.len().saturating_sub(1));
        self.latencies.get(at).map_or(0.0, |latency| latency.as_secs_f64() * 1000.0)
    }
}

impl Callers {
    /// Opens `count` connections and sends `warm_up` requests through them.
    pub(crate) async fn open(target: &Target, count: usize, warm_up: u64) -> Result<Self> {
        let mut callers = Vec::with_capacity(count);
        for _ in 0..count {
            callers.push(target.connect(None).await.context("open a connection")?);
        }
        let mut callers = Self(callers);
        callers.send(warm_up).await.context("warm up")?;
        Ok(callers)
    }

    /// Sends `requests` requests altogether, as many at once as there are connections.
    pub(crate) async fn send(&mut self, requests: u64) -> Result<Seen> {
        let left = Arc::new(AtomicU64::new(requests));
        let started = Instant::now();
        let mut tasks = JoinSet::new();
        for caller in self.0.drain(..) {
            tasks.spawn(work(caller, Arc::clone(&left)));
        }
        let mut latencies = Vec::with_capacity(usize::try_from(requests)?);
        while let Some(done) = tasks.join_next().await {
            let (caller, mut own) = done??;
            self.0.push(caller);
            latencies.append(&mut own);
        }
        let elapsed = started.elapsed();
        latencies.sort_unstable();
        Ok(Seen { requests, elapsed, latencies })
    }
}

/// Takes requests from the common stock until it is empty.
async fn work(mut caller: Caller, left: Arc<AtomicU64>) -> Result<(Caller, Vec<Duration>)> {
    let mut latencies = Vec::new();
    let take = |left: u64| left.checked_sub(1);
    while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok() {
        let started = Instant::now();
        caller.fetch().await?;
        latencies.push(started.elapsed());
    }
    Ok((caller, latencies))
}

/// Answers whose heads have come and whose bodies nobody reads. Dropping them closes their connections.
pub(crate) struct Unread {
    /// Held, not read.
    _answers: Vec<(Caller, Response<Incoming>)>,
}

impl Unread {
    /// Asks `count` times, each time on a connection of its own.
    pub(crate) async fn open(target: &Target, count: usize) -> Result<Self> {
        let mut answers = Vec::with_capacity(count);
        for index in 0..count {
            let context = || format!("unread answer {} of {count}", index + 1);
            let mut caller = target.connect(Some(UNREAD_BUFFER)).await.with_context(context)?;
            let answer = caller.ask().await.with_context(context)?;
            answers.push((caller, answer));
        }
        Ok(Self { _answers: answers })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_the_nearest_rank() {
        let latencies = (1..=100).map(Duration::from_millis).collect();
        let seen = Seen { requests: 100, elapsed: Duration::from_secs(2), latencies };
        assert!((seen.percentile_ms(0.5) - 50.0).abs() < 1e-9);
        assert!((seen.percentile_ms(0.99) - 99.0).abs() < 1e-9);
        assert!((seen.rps() - 50.0).abs() < 1e-9);
    }
}
