//! The upstream itself: one request in, one answer out.
//!
//! Must not know: where its settings were found.

use std::sync::Arc;
use std::time::Duration;

use flotilla_tunnel::body::{self, Body};
use flotilla_tunnel::upgrade;
use http::header::{AUTHORIZATION, CONNECTION, HOST, HeaderValue, UPGRADE};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{Method, Request, Response, StatusCode, Uri, Version};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::pki_types::ServerName;
use thread_local::ThreadLocal;

use crate::connector::Connector;
use crate::credentials::Credentials;
use crate::error::UpstreamError;
use crate::exec::Plugins;
use crate::identity::Identity;
use crate::kubeconfig::{self, Externals};
use crate::tls::{self, ClientCertificate, Trust};
use crate::{headers, in_cluster};

/// Shorter than the 90 s after which an API server closes an idle connection (`http.Server.IdleTimeout` in
/// `k8s.io/apiserver/pkg/server/secure_serving.go`), so that we do not send into a closing one.
const POOL_IDLE: Duration = Duration::from_secs(60);

/// Idle connections kept for each thread.
const POOL_SIZE: usize = 64;

/// Most bytes that are read at once from an answer, and so the most that an answer which nobody reads holds here. hyper
/// goes up to 400 KiB, which is no faster. Also the largest head of an answer.
const READ_BUFFER: usize = 64 * 1024;

/// How an API server is reached; what kubeconfig and service account both come down to.
pub(crate) struct Endpoint {
    pub(crate) server: String,
    pub(crate) trust: Trust,
    pub(crate) server_name: Option<String>,
    pub(crate) certificate: Option<ClientCertificate>,
    pub(crate) credentials: Credentials,
}

/// One API server. Clones share connections and credentials.
#[derive(Clone)]
pub struct Upstream {
    shared: Arc<Shared>,
}

struct Shared {
    server: String,
    scheme: Scheme,
    authority: Authority,
    host: HeaderValue,
    /// Path of the server's URL without a slash at its end; empty for almost everyone.
    prefix: String,
    credentials: Credentials,
    connector: Connector,
    /// One for each thread that sends, as a connection is best used by the thread that waits for its answers: with
    /// one for all, most requests wake a thread that is not their own.
    pooled: ThreadLocal<Client<Connector, Body>>,
    /// Keeps nothing: an upgraded connection is never an ordinary one again, and a request that must not be sent
    /// twice should not meet a connection that is just being closed.
    fresh: Client<Connector, Body>,
}

impl std::fmt::Debug for Upstream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Upstream").field("server", &self.shared.server).finish_non_exhaustive()
    }
}

impl Upstream {
    /// The API server that a kubeconfig's context names (its `current-context` when `context` is `None`).
    ///
    /// # Errors
    /// [`UpstreamError::Invalid`] or [`UpstreamError::Credentials`], with what to write instead.
    pub fn from_kubeconfig(yaml: &str, context: Option<&str>, policy: &Externals) -> Result<Self, UpstreamError> {
        Self::new(kubeconfig::endpoint(yaml, context, policy, Plugins::Refused)?)
    }

    /// The API server of the cluster in which this process runs, with its pod's service account.
    ///
    /// # Errors
    /// [`UpstreamError::Invalid`] when this is not a pod or it has no service account.
    pub fn in_cluster() -> Result<Self, UpstreamError> {
        Self::from_service_account(&in_cluster::ServiceAccount::of_this_pod()?)
    }

    /// The same with host, port and files given.
    ///
    /// # Errors
    /// As [`Upstream::in_cluster`].
    pub fn from_service_account(account: &in_cluster::ServiceAccount) -> Result<Self, UpstreamError> {
        Self::new(account.endpoint()?)
    }

    pub(crate) fn new(endpoint: Endpoint) -> Result<Self, UpstreamError> {
        let (scheme, authority, prefix) = split_server(&endpoint.server)?;
        if scheme == Scheme::HTTP
            && !(endpoint.certificate.is_none() && matches!(endpoint.credentials, Credentials::None))
        {
            return Err(UpstreamError::invalid(format!(
                "the server {} is plain HTTP, over which the credentials would travel in the clear; use https://",
                endpoint.server
            )));
        }
        let config = tls::client_config(&endpoint.trust, endpoint.certificate.as_ref())?;
        let server_name = endpoint.server_name.map(ServerName::try_from).transpose();
        let server_name = server_name.map_err(|_| UpstreamError::invalid("tls-server-name is not a host name"))?;
        let connector = Connector::new(config, server_name);
        let host = HeaderValue::from_str(authority.as_str())
            .map_err(|_| UpstreamError::invalid(format!("the server {} has no valid host", endpoint.server)))?;
        let shared = Shared {
            server: format!("{scheme}://{authority}{prefix}"),
            scheme,
            authority,
            host,
            prefix,
            credentials: endpoint.credentials,
            pooled: ThreadLocal::new(),
            fresh: client(connector.clone(), 0),
            connector,
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// `https://host:port`, with the path where there is one.
    #[must_use]
    pub fn server(&self) -> &str {
        &self.shared.server
    }

    /// Sends a request as `identity`. Its URI gives path and query, which go out as they came; credentials,
    /// stated identities and hop-by-hop headers do not (see the crate's documentation). A request with
    /// `Connection: upgrade` and `Upgrade` goes over a connection of its own; its answer, when that is a 101, holds
    /// the other side in its extensions ([`hyper::upgrade::on`]).
    ///
    /// The returned future ends when the answer's head is there. There is no deadline for it here except for
    /// connecting (10 s).
    ///
    /// # Errors
    /// [`UpstreamError`] when there is no answer. An answer that is an error is an answer.
    pub async fn send(&self, request: Request<Body>, identity: &Identity) -> Result<Response<Body>, UpstreamError> {
        self.forward(request, Some(identity)).await
    }

    /// Sends a request as ourselves. For what belongs to nobody (`/version`, `/readyz`), never for what a person asked.
    ///
    /// # Errors
    /// As [`Upstream::send`].
    pub async fn send_as_self(&self, request: Request<Body>) -> Result<Response<Body>, UpstreamError> {
        self.forward(request, None).await
    }

    async fn forward(
        &self,
        request: Request<Body>,
        identity: Option<&Identity>,
    ) -> Result<Response<Body>, UpstreamError> {
        let protocol = upgrade::token(request.headers());
        let request = self.prepare(request, protocol.as_ref(), identity).await?;
        let client = if protocol.is_some() { &self.shared.fresh } else { self.shared.pooled() };
        let response =
            client.request(request).await.map_err(|error| UpstreamError::from_client(&self.shared.server, &error))?;
        if response.status() == StatusCode::UNAUTHORIZED {
            self.shared.credentials.refused();
        }
        Ok(answer(response))
    }

    async fn prepare(
        &self,
        request: Request<Body>,
        protocol: Option<&HeaderValue>,
        identity: Option<&Identity>,
    ) -> Result<Request<Body>, UpstreamError> {
        let (mut parts, body) = request.into_parts();
        if parts.method == Method::CONNECT {
            return Err(UpstreamError::invalid("an API server takes no CONNECT requests"));
        }
        headers::strip(&mut parts.headers);
        parts.headers.insert(HOST, self.shared.host.clone());
        if let Some(identity) = identity {
            identity.apply(&mut parts.headers);
        }
        if let Some(value) = self.shared.credentials.header().await? {
            parts.headers.insert(AUTHORIZATION, value);
        }
        if let Some(protocol) = protocol {
            parts.headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
            parts.headers.insert(UPGRADE, protocol.clone());
        }
        let mut prepared = Request::new(body);
        *prepared.method_mut() = parts.method;
        *prepared.uri_mut() = self.target(&parts.uri)?;
        *prepared.version_mut() = Version::HTTP_11;
        *prepared.headers_mut() = parts.headers;
        Ok(prepared)
    }

    /// The absolute URI, put together from parts that are parsed already.
    fn target(&self, uri: &Uri) -> Result<Uri, UpstreamError> {
        let path = uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
        let bad = || UpstreamError::invalid("the request's path cannot be used at the API server");
        let path = if self.shared.prefix.is_empty() {
            path
        } else {
            PathAndQuery::try_from(format!("{}{path}", self.shared.prefix)).map_err(|_| bad())?
        };
        let mut parts = http::uri::Parts::default();
        parts.scheme = Some(self.shared.scheme.clone());
        parts.authority = Some(self.shared.authority.clone());
        parts.path_and_query = Some(path);
        Uri::from_parts(parts).map_err(|_| bad())
    }
}

impl Shared {
    fn pooled(&self) -> &Client<Connector, Body> {
        self.pooled.get_or(|| client(self.connector.clone(), POOL_SIZE))
    }
}

fn client(connector: Connector, idle: usize) -> Client<Connector, Body> {
    Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(POOL_IDLE)
        .pool_max_idle_per_host(idle)
        .http1_max_buf_size(READ_BUFFER)
        .set_host(false)
        .build(connector)
}

/// The answer as it goes on: without hop-by-hop headers, unless it is the 101 that those headers are about.
fn answer(response: Response<Incoming>) -> Response<Body> {
    let mut response = response.map(body::boxed);
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        upgrade::hop_by_hop_stripped(response.headers_mut());
    }
    response
}

fn split_server(server: &str) -> Result<(Scheme, Authority, String), UpstreamError> {
    let hint = || UpstreamError::invalid(format!("the server {server:?} is not a URL like https://host:6443"));
    let parts = server.parse::<Uri>().map_err(|_| hint())?.into_parts();
    let scheme = parts.scheme.filter(|scheme| *scheme == Scheme::HTTPS || *scheme == Scheme::HTTP).ok_or_else(hint)?;
    let authority = parts.authority.filter(|authority| !authority.host().is_empty()).ok_or_else(hint)?;
    if authority.as_str().contains('@') {
        return Err(UpstreamError::invalid(
            "the server's URL holds a user name; put credentials into the kubeconfig's user",
        ));
    }
    let path = parts.path_and_query.unwrap_or_else(|| PathAndQuery::from_static("/"));
    if path.query().is_some() {
        return Err(hint());
    }
    Ok((scheme, authority, path.path().trim_end_matches('/').to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers() {
        let (scheme, authority, prefix) = split_server("https://[::1]:6443/k8s/clusters/c-1/").unwrap();
        assert_eq!((scheme, authority.as_str(), prefix.as_str()), (Scheme::HTTPS, "[::1]:6443", "/k8s/clusters/c-1"));
        for bad in [
            "",
            "host:6443",
            "ftp://host",
            "https://",
            "https://u:p@host",
            "https://host/?x=1",
            "/path",
            "https://ho st",
        ] {
            assert!(split_server(bad).is_err(), "{bad}");
        }
    }

    #[tokio::test]
    async fn targets_keep_the_bytes_of_path_and_query() {
        let endpoint = |server: &str| Endpoint {
            server: server.into(),
            trust: Trust::Anyone,
            server_name: None,
            certificate: None,
            credentials: Credentials::None,
        };
        let path: Uri = "/api/v1/namespaces/a%2Fb/pods?labelSelector=a%3Db&x=%zz&y=a+b".parse().unwrap();
        let plain = Upstream::new(endpoint("https://h:1")).unwrap();
        assert_eq!(plain.target(&path).unwrap().to_string(), format!("https://h:1{path}"));
        let prefixed = Upstream::new(endpoint("https://h:1/p/q/")).unwrap();
        assert_eq!(prefixed.target(&path).unwrap().to_string(), format!("https://h:1/p/q{path}"));
    }

    #[test]
    fn credentials_never_go_over_plain_http() {
        let endpoint = Endpoint {
            server: "http://h:1".into(),
            trust: Trust::Anyone,
            server_name: None,
            certificate: None,
            credentials: Credentials::bearer(&"x".to_owned().into()).unwrap(),
        };
        assert!(Upstream::new(endpoint).unwrap_err().to_string().contains("in the clear"));
    }
}
