//! Small calls to others than the API server: token endpoints and metadata services.
//!
//! Must not know: what is asked.

use std::time::Duration;

use flotilla_tunnel::body::{self, Body};
use http::{Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use zeroize::Zeroizing;

use crate::connector::Connector;
use crate::error::UpstreamError;
use crate::tls::{self, Trust};

/// From the first byte out to the last byte in.
const DEADLINE: Duration = Duration::from_secs(10);
/// Longest answer.
const MAX_ANSWER: usize = 256 * 1024;

/// Calls of one kind, with their trust.
pub(crate) struct Caller {
    client: Client<Connector, Body>,
}

/// A whole answer. Its body may hold a secret.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) body: Zeroizing<Vec<u8>>,
}

impl Caller {
    pub(crate) fn new(trust: &Trust) -> Result<Self, UpstreamError> {
        let connector = Connector::new(tls::client_config(trust, None)?, None);
        // Calls are minutes apart; a connection kept that long is most often dead.
        let client = Client::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build(connector);
        Ok(Self { client })
    }

    /// Makes one call. `whom` names the other side in errors.
    pub(crate) async fn call(&self, whom: &str, request: Request<Body>) -> Result<Answer, UpstreamError> {
        let answer = async {
            let response = self.client.request(request).await.map_err(|error| {
                let why = UpstreamError::from_client(whom, &error);
                UpstreamError::credentials(format!("{whom} cannot be asked for a token: {}", why.detail()))
            })?;
            let status = response.status();
            let body = Limited::new(response.into_body(), MAX_ANSWER).collect().await;
            let body = body.map_err(|_| UpstreamError::credentials(format!("the answer of {whom} broke off")))?;
            Ok(Answer { status, body: Zeroizing::new(body.to_bytes().to_vec()) })
        };
        tokio::time::timeout(DEADLINE, answer).await.unwrap_or_else(|_| {
            Err(UpstreamError::credentials(format!("{whom} did not answer within {} s", DEADLINE.as_secs())))
        })
    }
}

/// A `GET` with an absolute address.
pub(crate) fn get(uri: Uri) -> Request<Body> {
    let mut request = Request::new(body::empty());
    *request.uri_mut() = uri;
    request
}

/// An address that secrets may be sent to: HTTPS, or plain HTTP on this machine.
pub(crate) fn secure(what: &str, address: &str) -> Result<Uri, UpstreamError> {
    let uri: Uri = address.parse().map_err(|_| UpstreamError::invalid(format!("{what} is not a URL")))?;
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
    let here = host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback());
    match uri.scheme_str() {
        Some("https") if !host.is_empty() => Ok(uri),
        Some("http") if here => Ok(uri),
        _ => Err(UpstreamError::invalid(format!("{what} must begin with https://"))),
    }
}
