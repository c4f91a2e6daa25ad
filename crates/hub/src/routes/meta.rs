//! What the hub says of itself and of the caller: identity, health, public configuration, keys, API document.
//!
//! Must not know: clusters.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use flotilla_types::api::{Features, PublicConfig, WhoAmI};
use flotilla_types::problem::{Code, Problem};
use http::StatusCode;

use crate::error::ApiError;
use crate::hub::Hub;
use crate::request::caller::Caller;

/// Who the caller is and what the hub's policy allows him.
#[utoipa::path(get, path = "/api/whoami", tag = "auth", responses((status = 200, body = WhoAmI), (status = 401, body = Problem)))]
pub async fn whoami(State(hub): State<Arc<Hub>>, caller: Caller) -> axum::Json<WhoAmI> {
    let policy = hub.policy.load();
    let roles = caller.principal.roles();
    axum::Json(WhoAmI {
        id: caller.principal.user_id(),
        email: caller.principal.email().to_owned(),
        roles: roles.to_vec(),
        groups: caller.principal.groups().to_vec(),
        tier: policy.tier(roles).map(str::to_owned),
        administrator: policy.is_administrator(roles),
        permissions: policy.permissions(roles),
    })
}

/// What anyone may know before signing in.
#[utoipa::path(get, path = "/api/config", tag = "hub", responses((status = 200, body = PublicConfig)))]
pub async fn config(State(hub): State<Arc<Hub>>) -> axum::Json<PublicConfig> {
    axum::Json(PublicConfig {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        sign_in: ways(&hub),
        ca: hub.config.tls.cert_file.is_none().then(|| hub.ca.certificate_pem().to_owned()),
    })
}

fn ways(hub: &Hub) -> Vec<String> {
    let developer = hub.config.auth.developer.enabled.then_some("developer");
    ["password"].into_iter().chain(hub.ways.iter().map(|way| way.name)).chain(developer).map(str::to_owned).collect()
}

/// What is switched on in this hub.
#[utoipa::path(get, path = "/api/features", tag = "hub", responses((status = 200, body = Features), (status = 401, body = Problem)))]
pub async fn features(State(hub): State<Arc<Hub>>, _: Caller) -> axum::Json<Features> {
    let config = &hub.config;
    axum::Json(Features {
        sign_in: ways(&hub),
        session_backend: config.auth.session.backend.clone(),
        mail: hub.mailer.is_some(),
        exec_plugins: config.cluster_credentials.allow_exec_plugins,
        audit_reads: config.audit.record_reads,
    })
}

/// Public halves of the hub's signing keys (RFC 7517).
#[utoipa::path(get, path = "/.well-known/jwks.json", tag = "auth", responses((status = 200, body = Object)))]
pub async fn jwks(State(hub): State<Arc<Hub>>) -> axum::Json<serde_json::Value> {
    axum::Json(hub.keys.jwks())
}

/// The process lives.
#[utoipa::path(get, path = "/health", tag = "hub", responses((status = 200, body = String)))]
pub async fn health() -> &'static str {
    "ok"
}

/// The process lives.
#[utoipa::path(get, path = "/healthz", tag = "hub", responses((status = 200, body = String)))]
pub async fn healthz() -> &'static str {
    "ok"
}

/// The hub takes requests: its store answers and it is not stopping.
#[utoipa::path(get, path = "/readyz", tag = "hub", responses((status = 200, body = String), (status = 503, body = Problem)))]
pub async fn readyz(State(hub): State<Arc<Hub>>) -> Result<&'static str, ApiError> {
    if hub.stopping.is_cancelled() {
        return Err(ApiError::new(StatusCode::SERVICE_UNAVAILABLE, Code::ShuttingDown, "this hub is stopping"));
    }
    match tokio::time::timeout(Duration::from_secs(2), hub.store.ping()).await {
        Ok(Ok(())) => Ok("ok"),
        _ => Err(ApiError::new(StatusCode::SERVICE_UNAVAILABLE, Code::Internal, "the store does not answer")),
    }
}

/// This API as OpenAPI 3.1.
#[utoipa::path(get, path = "/api/openapi.json", tag = "hub", responses((status = 200, body = Object)))]
pub async fn openapi() -> axum::Json<utoipa::openapi::OpenApi> {
    axum::Json(super::openapi_document())
}
