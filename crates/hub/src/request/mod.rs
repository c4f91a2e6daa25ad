//! What happens to every request of the people's listener, outside in ([`serve`], then [`dispatch`]):
//!
//! 1. request log: one line for everything but gateway requests, which are counted
//! 2. metrics: answers by class, on their own port
//! 3. security headers ([`headers`]): what browsers must not do with the answer
//! 4. recovery: a panic becomes a 500, never a dead hub
//! 5. request id: the caller's, if well-formed, else a new one; in the answer, the log, audit rows ([`RequestContext`])
//! 6. limits: upgrades asked for by foreign pages ([`csrf`]) and targets that are too long are refused; token buckets
//!    ([`limits`]): by principal, who is found out for that (8), by address for whoever shows nothing that holds
//! 7. mounting: aliases to canonical paths (`mount`); `/k8s/` goes to the gateway, all else to the router
//! 8. authn ([`authn`]): session cookie (with CSRF check), access token, API key or ticket; a route that is open to
//!    anyone does not ask for the result
//! 9. authz: scopes of keys ([`scope`]), the extractors [`caller::Caller`] and [`caller::Administrator`], the gateway's gate
//! 10. the handler
//! 11. the row of an act that was refused before it ([`refusals`])
//!
//! Must not know: what any route does.

pub mod arrival;
pub mod authn;
pub mod caller;
pub mod csrf;
pub mod headers;
pub mod limits;
pub mod refusals;
pub mod scope;

use std::future::Future;
use std::net::IpAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::response::Response;
use flotilla_cluster::Body;
use flotilla_tunnel::upgrade;
use flotilla_types::id::RequestId;
use flotilla_types::problem::Code;
use futures_util::FutureExt;
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
    /// Whether it has a row in the audit log by now.
    pub recorded: refusals::Recorded,
}

impl RequestContext {
    /// Of a request that has no row yet.
    #[must_use]
    pub fn new(request_id: RequestId, address: IpAddr) -> Self {
        Self { request_id, address, recorded: refusals::Recorded::default() }
    }
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
pub async fn serve(people: &People, mut request: Request<Body>, address: IpAddr) -> Response<Body> {
    let started = Instant::now();
    let address = people.hub.kubectl.restore(&mut request).unwrap_or(address);
    let context = RequestContext::new(request_id(request.headers()), address);
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
    headers::harden(response.headers_mut(), gateway, people.hub.config.tls.cert_file.is_some());
    if !gateway {
        people.hub.metrics.api_request(response.status());
        tracing::info!(request_id = %context.request_id, %method, path, status = response.status().as_u16(), ms = started.elapsed().as_millis(), "request");
    }
    response
}

async fn dispatch(people: &People, request: Request<Body>, context: &RequestContext, gateway: bool) -> Response<Body> {
    let hub = &people.hub;
    let request = match upgrade::token(request.headers()) {
        None => request,
        Some(_) => {
            let (parts, body) = request.into_parts();
            if let Err(error) = csrf::refuse_foreign(&parts, &hub.config) {
                return refuse(&error, context, gateway);
            }
            Request::from_parts(parts, body)
        }
    };
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
        return refuse(&error, context, gateway);
    }
    let (mut parts, body) = request.into_parts();
    if let Some(uri) = canonical_uri(&parts.uri) {
        parts.uri = uri;
    }
    let proof = authn::by_any(hub, &parts).await;
    let limited = match &proof {
        Ok(proven) => hub.limits.principal(proven.principal.user_id()),
        Err(_) => hub.limits.address(context.address),
    };
    if let Err(error) = limited {
        return refuse(&error, context, gateway);
    }
    let call = proof.as_ref().ok().map(|proven| refusals::Call {
        principal: proven.principal.clone(),
        method: parts.method.clone(),
        path: parts.uri.path().to_owned(),
    });
    parts.extensions.insert(authn::Proof(proof.map_err(ApiError::from)));
    parts.extensions.insert(context.clone());
    let request = Request::from_parts(parts, axum::body::Body::new(body));
    let response = match carried_through(people.router.clone().oneshot(request)).await {
        Ok(response) => response,
        Err(never) => match never {},
    };
    let due = call.and_then(|call| refusals::due(context, &call, response.status(), response.extensions().get()));
    if let Some(row) = due {
        refusals::record(Arc::clone(hub), row).await;
    }
    match response.extensions().get::<ApiError>() {
        Some(error) => error.render(context.request_id.as_str()),
        None => response,
    }
    .map(flotilla_cluster::boxed)
}

fn refuse(error: &ApiError, context: &RequestContext, gateway: bool) -> Response<Body> {
    if gateway {
        return routes::gateway::refused(error);
    }
    error.render(context.request_id.as_str()).map(flotilla_cluster::boxed)
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
