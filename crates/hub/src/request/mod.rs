//! What happens to every request of the people's listener, in this order:
//!
//! 1. request id: the caller's, if well-formed, else a new one ([`RequestContext`])
//! 2. metrics and log: one line for everything but gateway reads, which are counted
//! 3. recovery: a panic becomes a 500, never a dead hub
//! 4. limits: sizes of path, headers and body
//! 5. mounting: aliases to canonical paths (`mount`); `/k8s/` goes to the gateway, all else to the router
//! 6. authn, classify, authorize, audit: extractors of the routes ([`caller`]) or the gateway
//! 7. the answer gets its `X-Request-Id` and what browsers must not do with it, errors their problem body
//!
//! Must not know: what any route does.

pub mod caller;

use std::future::Future;
use std::net::IpAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::response::Response;
use flotilla_cluster::Body;
use flotilla_types::id::RequestId;
use flotilla_types::problem::Code;
use futures_util::FutureExt;
use http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS};
use http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode, Uri};
use tower::ServiceExt;

use crate::error::ApiError;
use crate::hub::Hub;
use crate::{mount, routes};

/// Names the request in answers, logs and audit rows.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Longest path and query that is looked at, in bytes.
pub const MAX_TARGET: usize = 8 * 1024;

/// What is known of a request before anyone knows who sent it.
#[derive(Clone, Debug)]
pub struct RequestContext {
    /// The request's name.
    pub request_id: RequestId,
    /// The caller's address.
    pub address: IpAddr,
}

/// The hub and its router: what a connection of the people's listener needs.
#[derive(Clone)]
pub struct People {
    /// The hub.
    pub hub: Arc<Hub>,
    /// The routes.
    pub router: Router,
}

/// Serves one request of the people's listener.
pub async fn serve(people: &People, request: Request<Body>, address: IpAddr) -> Response<Body> {
    let started = Instant::now();
    let context = RequestContext { request_id: request_id(request.headers()), address };
    let gateway = request.uri().path().starts_with(routes::gateway::PREFIX);
    let method = request.method().clone();
    let path = if gateway { String::new() } else { routes::invitations::without_token(request.uri().path()) };

    let handled = AssertUnwindSafe(dispatch(people, request, &context, gateway)).catch_unwind();
    let mut response = match handled.await {
        Ok(response) => response,
        Err(_) if gateway => routes::gateway::panicked(),
        Err(_) => {
            ApiError::internal("a handler panicked").render(context.request_id.as_str()).map(flotilla_cluster::boxed)
        }
    };
    if let Ok(value) = HeaderValue::from_str(context.request_id.as_str()) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    harden(response.headers_mut(), gateway);
    if !gateway {
        people.hub.metrics.api_request(response.status());
        tracing::info!(request_id = %context.request_id, %method, path, status = response.status().as_u16(), ms = started.elapsed().as_millis(), "request");
    }
    response
}

/// What browsers must not do with answers. The API's may hold tokens and are never pages; a cluster's are its own, but
/// no browser shall guess what they are.
fn harden(headers: &mut HeaderMap, gateway: bool) {
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if gateway {
        return;
    }
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    headers
        .entry(CONTENT_SECURITY_POLICY)
        .or_insert(HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'"));
    headers.entry(X_FRAME_OPTIONS).or_insert(HeaderValue::from_static("DENY"));
    headers.entry(REFERRER_POLICY).or_insert(HeaderValue::from_static("no-referrer"));
}

async fn dispatch(people: &People, request: Request<Body>, context: &RequestContext, gateway: bool) -> Response<Body> {
    if gateway {
        // Boxed: the gateway's future is large and would otherwise be moved through every layer above.
        return Box::pin(routes::gateway::handle(&people.hub, request, context)).await;
    }
    if request.uri().path_and_query().is_some_and(|target| target.as_str().len() > MAX_TARGET) {
        let error = ApiError::new(
            StatusCode::URI_TOO_LONG,
            Code::TooLarge,
            format!("the path and query are longer than {MAX_TARGET} bytes"),
        );
        return error.render(context.request_id.as_str()).map(flotilla_cluster::boxed);
    }
    let mut request = request.map(axum::body::Body::new);
    if let Some(uri) = canonical_uri(request.uri()) {
        *request.uri_mut() = uri;
    }
    request.extensions_mut().insert(context.clone());
    let response = match carried_through(people.router.clone().oneshot(request)).await {
        Ok(response) => response,
        Err(never) => match never {},
    };
    match response.extensions().get::<ApiError>() {
        Some(error) => error.render(context.request_id.as_str()),
        None => response,
    }
    .map(flotilla_cluster::boxed)
}

/// Runs a handler to its end even when its caller hangs up: a change that stopped half-way (the password is new, the
/// old sessions still hold) would be worse than none.
async fn carried_through<T: Send + 'static>(handler: impl Future<Output = T> + Send + 'static) -> T {
    match tokio::spawn(handler).await {
        Ok(done) => done,
        // The caller's `catch_unwind` turns it into an answer. Nobody else could cancel the task.
        Err(failed) => std::panic::resume_unwind(failed.try_into_panic().unwrap_or_else(|failed| Box::new(failed))),
    }
}

/// The URI of the canonical mounting, when it is another one.
fn canonical_uri(uri: &Uri) -> Option<Uri> {
    let path = match mount::canonical(uri.path()) {
        std::borrow::Cow::Owned(path) => path,
        std::borrow::Cow::Borrowed(path) if path.len() == uri.path().len() => return None,
        std::borrow::Cow::Borrowed(path) => path.to_owned(),
    };
    let target = match uri.query() {
        Some(query) => format!("{path}?{query}"),
        None => path,
    };
    target.parse().ok()
}

fn request_id(headers: &HeaderMap) -> RequestId {
    let given = headers.get(&REQUEST_ID).and_then(|value| value.to_str().ok());
    given.and_then(RequestId::from_caller).unwrap_or_else(RequestId::new)
}
