//! What the agent does with a request from the tunnel: verify who calls, send it on as him, bring the answer back.
//!
//! Must not know: how the tunnel or the API server are reached.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use flotilla_tunnel::body::{self, Body};
use flotilla_tunnel::upgrade;
use flotilla_types::agent::IDENTITY_HEADER;
use flotilla_types::status::Status;
use flotilla_upstream::{Identity, Upstream, UpstreamError};
use http::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::service::Service;

use crate::health::Readiness;
use crate::metrics::Metrics;
use crate::verify::{KeySource, Refused, Verifier};

/// Answers the tunnel's requests. Clones share everything.
pub(crate) struct Gateway<S> {
    shared: Arc<Shared<S>>,
}

struct Shared<S> {
    upstream: Upstream,
    verifier: Verifier<S>,
    metrics: Metrics,
    readiness: Readiness,
}

impl<S> Clone for Gateway<S> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<S: KeySource> Gateway<S> {
    pub(crate) fn new(upstream: Upstream, verifier: Verifier<S>, metrics: Metrics, readiness: Readiness) -> Self {
        Self { shared: Arc::new(Shared { upstream, verifier, metrics, readiness }) }
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Body> {
        let identity = match self.identify(request.headers()).await {
            Ok(identity) => identity,
            Err(refused) => {
                self.shared.metrics.count("refused");
                tracing::warn!(reason = %refused, "refused a request");
                return failure(StatusCode::UNAUTHORIZED, "Unauthorized", refused.to_string());
            }
        };
        let answered = if upgrade::from_connect(&request).is_some() {
            self.switch(request, &identity).await
        } else {
            self.shared.upstream.send(request.map(body::boxed), &identity).await
        };
        match answered {
            Ok(response) => self.answered(response),
            Err(error) => self.failed(&error),
        }
    }

    /// The one header that says who calls. Two of them say nothing.
    async fn identify(&self, headers: &HeaderMap) -> Result<Arc<Identity>, Refused> {
        let mut given = headers.get_all(IDENTITY_HEADER).iter();
        let (Some(token), None) = (given.next(), given.next()) else { return Err(Refused::Missing) };
        let token = token.to_str().map_err(|_| Refused::Missing)?;
        self.shared.verifier.verify(token).await
    }

    /// An upgrade: bytes both ways once both sides have switched.
    async fn switch(
        &self,
        mut request: Request<Incoming>,
        identity: &Identity,
    ) -> Result<Response<Body>, UpstreamError> {
        let near = hyper::upgrade::on(&mut request);
        let request = upgrade::to_http1(request).map(|_| body::empty());
        let mut response = self.shared.upstream.send(request, identity).await?;
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            let far = hyper::upgrade::on(&mut response);
            let session = self.shared.metrics.session();
            tokio::spawn(async move {
                if let Err(error) = upgrade::bridge(near, far).await {
                    tracing::debug!(%error, "an upgraded stream ended early");
                }
                drop(session);
            });
        }
        Ok(upgrade::to_connect_response(response))
    }

    fn answered(&self, response: Response<Body>) -> Response<Body> {
        if response.status() == StatusCode::UNAUTHORIZED {
            tracing::warn!("the API server does not accept the agent's own credentials");
        }
        self.shared.readiness.api_server_answered();
        self.shared.metrics.count("answered");
        response
    }

    fn failed(&self, error: &UpstreamError) -> Response<Body> {
        tracing::warn!(%error, class = error.class(), "no answer from the API server");
        self.shared.metrics.count(error.class());
        let (status, reason) = match error {
            UpstreamError::Timeout { .. } => (StatusCode::GATEWAY_TIMEOUT, "Timeout"),
            UpstreamError::Invalid { .. } => (StatusCode::BAD_REQUEST, "BadRequest"),
            UpstreamError::Credentials { .. } => (StatusCode::BAD_GATEWAY, "InternalError"),
            UpstreamError::Unreachable { .. } | UpstreamError::Tls { .. } => {
                (StatusCode::BAD_GATEWAY, "ServiceUnavailable")
            }
        };
        failure(status, reason, error.to_string())
    }
}

impl<S: KeySource> Service<Request<Incoming>> for Gateway<S> {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let gateway = self.clone();
        Box::pin(async move { Ok(gateway.answer(request).await) })
    }
}

/// A Kubernetes `Status`, so that kubectl prints it as it prints the API server's own.
fn failure(code: StatusCode, reason: &str, message: String) -> Response<Body> {
    let status = Status::failure(code.as_u16(), reason, message);
    let body = serde_json::to_vec(&status).unwrap_or_default();
    let mut response = Response::new(body::full(body));
    *response.status_mut() = code;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
