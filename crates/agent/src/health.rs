//! `/healthz`, `/readyz` and `/metrics` on a port of their own.
//!
//! Must not know: what makes the agent ready; it is told.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use flotilla_tunnel::dial::DialState;
use flotilla_types::time::now_ms;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use parking_lot::Mutex;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::metrics::Metrics;

/// Probes at once; more wait in the kernel's queue.
const CONNECTIONS: usize = 8;

/// How long one connection may last.
const DEADLINE: Duration = Duration::from_secs(10);

/// What the agent knows of its own usefulness. Clones share it.
#[derive(Clone)]
pub(crate) struct Readiness {
    shared: Arc<Shared>,
}

struct Shared {
    tunnel: DialState,
    /// Milliseconds since the epoch; 0 for never.
    api_server_answered: AtomicI64,
    /// Longest silence of the API server that is still fine, in milliseconds.
    patience_ms: i64,
    /// Why there is no certificate.
    obstacle: Mutex<Option<String>>,
    stopping: CancellationToken,
}

impl Readiness {
    /// `heartbeat` is how often the API server is asked; three of them missed are too many.
    pub(crate) fn new(tunnel: DialState, heartbeat: Duration, stopping: CancellationToken) -> Self {
        let patience_ms = i64::try_from((heartbeat * 3).as_millis()).unwrap_or(i64::MAX);
        let shared = Shared {
            tunnel,
            api_server_answered: AtomicI64::new(0),
            patience_ms,
            obstacle: Mutex::new(None),
            stopping,
        };
        Self { shared: Arc::new(shared) }
    }

    pub(crate) fn api_server_answered(&self) {
        self.shared.api_server_answered.store(now_ms(), Ordering::Relaxed);
    }

    pub(crate) fn set_obstacle(&self, reason: Option<String>) {
        *self.shared.obstacle.lock() = reason;
    }

    /// Ready, or everything that is missing, one thing a line.
    fn check(&self, now_ms: i64) -> Result<(), String> {
        let mut missing = Vec::new();
        if self.shared.stopping.is_cancelled() {
            missing.push("the agent is stopping".to_owned());
        }
        missing.extend(self.shared.obstacle.lock().clone());
        let tunnel = self.shared.tunnel.snapshot();
        if tunnel.connected == 0 {
            let why = tunnel.last_error.unwrap_or_else(|| "not yet".to_owned());
            missing.push(format!("not connected to the hub: {why}"));
        }
        let answered = self.shared.api_server_answered.load(Ordering::Relaxed);
        if now_ms.saturating_sub(answered) > self.shared.patience_ms {
            missing.push("the API server has not answered lately".to_owned());
        }
        if missing.is_empty() { Ok(()) } else { Err(missing.join("\n")) }
    }
}

/// Opens the port and serves it until the agent stops for good.
///
/// # Errors
/// The port cannot be opened.
pub(crate) async fn listen(address: SocketAddr, readiness: Readiness, metrics: Metrics) -> anyhow::Result<()> {
    let listener =
        TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address} (`health.listen`)"))?;
    tracing::debug!(%address, "health endpoint open");
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    tokio::spawn(async move {
        loop {
            let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
            let Ok((stream, _)) = listener.accept().await else {
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            };
            let (readiness, metrics) = (readiness.clone(), metrics.clone());
            tokio::spawn(async move {
                let _ = tokio::time::timeout(DEADLINE, serve(stream, &readiness, &metrics)).await;
                drop(place);
            });
        }
    });
    Ok(())
}

async fn serve(stream: TcpStream, readiness: &Readiness, metrics: &Metrics) {
    let service = service_fn(|request: Request<Incoming>| {
        let response = answer(request.method(), request.uri().path(), readiness, metrics);
        async move { Ok::<_, Infallible>(response) }
    });
    let http = http1::Builder::new()
        .timer(TokioTimer::new())
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = http {
        tracing::debug!(%error, "a probe's connection failed");
    }
}

fn answer(method: &Method, path: &str, readiness: &Readiness, metrics: &Metrics) -> Response<Full<Bytes>> {
    if method != Method::GET && method != Method::HEAD {
        return text(StatusCode::METHOD_NOT_ALLOWED, "use GET\n".to_owned());
    }
    match path {
        "/healthz" => text(StatusCode::OK, "ok\n".to_owned()),
        "/readyz" => match readiness.check(now_ms()) {
            Ok(()) => text(StatusCode::OK, "ok\n".to_owned()),
            Err(missing) => text(StatusCode::SERVICE_UNAVAILABLE, format!("{missing}\n")),
        },
        "/metrics" => {
            let mut response = text(StatusCode::OK, metrics.render(&readiness.shared.tunnel));
            let kind = HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");
            response.headers_mut().insert(CONTENT_TYPE, kind);
            response
        }
        _ => text(StatusCode::NOT_FOUND, "there are /healthz, /readyz and /metrics\n".to_owned()),
    }
}

fn text(status: StatusCode, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readiness_names_everything_that_is_missing() {
        let readiness = Readiness::new(DialState::new(), Duration::from_secs(30), CancellationToken::new());
        readiness.set_obstacle(Some("no certificate".into()));
        let missing = readiness.check(now_ms()).unwrap_err();
        assert_eq!(
            missing,
            "no certificate\nnot connected to the hub: not yet\nthe API server has not answered lately"
        );
        readiness.api_server_answered();
        readiness.set_obstacle(None);
        assert_eq!(readiness.check(now_ms()).unwrap_err(), "not connected to the hub: not yet");
        assert!(readiness.check(now_ms() + 90_500).unwrap_err().contains("lately"));
    }

    #[test]
    fn paths() {
        let readiness = Readiness::new(DialState::new(), Duration::from_secs(30), CancellationToken::new());
        let metrics = Metrics::new();
        metrics.count("answered");
        let status = |path| answer(&Method::GET, path, &readiness, &metrics).status().as_u16();
        assert_eq!(["/healthz", "/readyz", "/metrics", "/", "/readyz/x"].map(status), [200, 503, 200, 404, 404]);
        assert_eq!(answer(&Method::POST, "/healthz", &readiness, &metrics).status().as_u16(), 405);
        assert!(metrics.render(&DialState::new()).contains("flotilla_agent_requests_total{outcome=\"answered\"} 1"));
    }
}
