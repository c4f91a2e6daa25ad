//! The metrics listener: `GET /metrics`, plain HTTP, an address of its own so that it need not be public.
//!
//! Must not know: people or agents.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::routing::get;
use http::header::CONTENT_TYPE;
use tokio::net::TcpListener;

use super::cores::Cores;
use crate::hub::Hub;

/// Serves metrics until the hub stops.
pub async fn serve(hub: Arc<Hub>, listener: TcpListener, cores: Arc<Cores>) {
    let shutdown = hub.shutdown.clone();
    let router = Router::new().route("/metrics", get(metrics)).with_state(hub);
    let served = super::accept(listener, shutdown, &cores, move |stream, _| {
        let service = hyper_util::service::TowerToHyperService::new(router.clone());
        async move {
            let Some(stream) = super::arrived(stream) else { return };
            let io = hyper_util::rt::TokioIo::new(stream);
            if let Err(error) = super::http_server().serve_connection(io, service).await {
                tracing::debug!(%error, "metrics connection ended");
            }
        }
    });
    served.await;
}

async fn metrics(State(hub): State<Arc<Hub>>) -> ([(http::HeaderName, &'static str); 1], String) {
    ([(CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], hub.metrics.encode())
}
