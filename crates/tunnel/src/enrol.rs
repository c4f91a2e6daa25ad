//! Calls on the hub's listener for agents before and beside the tunnel: HTTP/1.1, JSON in and out, a connection each.
//!
//! Must not know: the shapes of requests and answers.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::header::{ACCEPT, CONNECTION, CONTENT_TYPE, HOST, HeaderValue};
use http::{Method, Request};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::carrier::{self, DialError, Target};
use crate::error::Refusal;
use crate::pki::{self, PkiError};

/// Where the hub's CA certificate is served, PEM.
pub const CA_PATH: &str = "/api/agents/ca";

/// How long one call may take, connecting included.
const DEADLINE: Duration = Duration::from_secs(20);

/// Largest answer that is read.
const MAX_ANSWER: usize = 1024 * 1024;

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EnrolError {
    /// The hub was not reached, or refused.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// The call took too long.
    #[error("the hub did not answer within {} s", DEADLINE.as_secs())]
    Timeout,
    /// The connection broke during the call.
    #[error("the call to the hub failed")]
    Http(#[from] hyper::Error),
    /// The request could not be written.
    #[error("the request could not be made")]
    Request(#[source] serde_json::Error),
    /// The answer is not what was asked for.
    #[error("the hub's answer is malformed: {0}")]
    Malformed(String),
    /// What the server says is its CA is not the one that the token names.
    #[error(
        "the hub's CA certificate is not the one that the enrolment token names: this is another hub, or someone is in \
         between"
    )]
    PinMismatch,
    /// The TLS library refuses its own defaults.
    #[error(transparent)]
    Pki(#[from] PkiError),
}

impl From<Refusal> for EnrolError {
    fn from(refusal: Refusal) -> Self {
        Self::Dial(refusal.into())
    }
}

impl EnrolError {
    /// The hub's answer, if it gave one that is a refusal.
    pub fn refusal(&self) -> Option<&Refusal> {
        match self {
            Self::Dial(DialError::Refused(refusal)) => Some(refusal),
            _ => None,
        }
    }
}

/// Fetches the hub's CA certificate (PEM) over unverified TLS, and believes it only if `pin` proves it.
///
/// # Errors
/// [`EnrolError::PinMismatch`] if the certificate is another one; otherwise as for any call.
pub async fn fetch_ca(target: &Target, pin: &str) -> Result<String, EnrolError> {
    let tls = Arc::new(pki::pinned_ca_client_config()?);
    let answer = call(target, tls, Method::GET, CA_PATH, None).await?;
    let pem = String::from_utf8(answer.to_vec()).map_err(|_| EnrolError::Malformed("not text".into()))?;
    let certificate = pki::first_certificate(&pem)?;
    if pki::pin_of(&certificate) != pin {
        return Err(EnrolError::PinMismatch);
    }
    // Only what the pin covers: anything else in the text is left behind.
    Ok(pki::certificate_to_pem(&certificate))
}

/// `POST`s JSON and reads JSON.
///
/// # Errors
/// See [`EnrolError`].
pub async fn post_json<Q, A>(target: &Target, tls: Arc<ClientConfig>, path: &str, body: &Q) -> Result<A, EnrolError>
where
    Q: Serialize + Sync + ?Sized,
    A: DeserializeOwned,
{
    let body = serde_json::to_vec(body).map_err(EnrolError::Request)?;
    parse(&call(target, tls, Method::POST, path, Some(body.into())).await?)
}

/// `GET`s JSON.
///
/// # Errors
/// See [`EnrolError`].
pub async fn get_json<A: DeserializeOwned>(
    target: &Target,
    tls: Arc<ClientConfig>,
    path: &str,
) -> Result<A, EnrolError> {
    parse(&call(target, tls, Method::GET, path, None).await?)
}

fn parse<A: DeserializeOwned>(answer: &Bytes) -> Result<A, EnrolError> {
    serde_json::from_slice(answer).map_err(|error| EnrolError::Malformed(error.to_string()))
}

async fn call(
    target: &Target,
    tls: Arc<ClientConfig>,
    method: Method,
    path: &str,
    body: Option<Bytes>,
) -> Result<Bytes, EnrolError> {
    // Boxed, so that whoever spawns a call need not prove the types within `Send` again, lifetimes and all.
    let exchange: BoxFuture<'_, _> = Box::pin(exchange(target, tls, method, path, body));
    tokio::time::timeout(DEADLINE, exchange).await.map_err(|_| EnrolError::Timeout)?
}

async fn exchange(
    target: &Target,
    tls: Arc<ClientConfig>,
    method: Method,
    path: &str,
    body: Option<Bytes>,
) -> Result<Bytes, EnrolError> {
    let mut tls = ClientConfig::clone(&tls);
    tls.alpn_protocols = vec![b"http/1.1".to_vec()];
    let stream = carrier::connect(target, Arc::new(tls)).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let request = request(target, method, path, body)?;
    let answer = async {
        let response = sender.send_request(request).await?;
        if !response.status().is_success() {
            return Err(carrier::refusal(response).await.into());
        }
        let body = Limited::new(response.into_body(), MAX_ANSWER).collect().await;
        body.map(http_body_util::Collected::to_bytes).map_err(|error| EnrolError::Malformed(error.to_string()))
    };
    // The connection is driven here, not in a task of its own, so that a deadline leaves nothing behind. It may end
    // before the answer has been read out of it.
    let mut answer = std::pin::pin!(answer);
    tokio::select! {
        biased;
        answer = &mut answer => answer,
        _ = connection => answer.await,
    }
}

fn request(
    target: &Target,
    method: Method,
    path: &str,
    body: Option<Bytes>,
) -> Result<Request<Full<Bytes>>, EnrolError> {
    let has_body = body.is_some();
    let mut request = Request::new(Full::new(body.unwrap_or_default()));
    *request.method_mut() = method;
    *request.uri_mut() = path.parse().map_err(|_| EnrolError::Malformed(format!("`{path}` is no path")))?;
    let headers = request.headers_mut();
    headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    if has_body {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
    if let Ok(host) = HeaderValue::from_str(target.authority()) {
        headers.insert(HOST, host);
    }
    Ok(request)
}
