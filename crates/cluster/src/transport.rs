//! The one way to a cluster: sends a request that was authorized and audited, as the person who asked.
//!
//! Through a tunnel the identity goes as the hub's signed statement (`flotilla-identity`), which the agent checks;
//! directly as impersonation headers. Both are built once per person and cluster and used again while they hold.
//! Bodies stream. Only the wait for the head of an answer has a deadline: what follows may take as long as it takes.
//!
//! Must not know: policy, or how requests arrive at the hub.

mod before;
mod plan;
mod statement;

use std::sync::Arc;
use std::time::Duration;

use flotilla_identity::policy::is_of_a_grant;
use flotilla_identity::token::KeyRing;
use flotilla_recording::Undecodable;
use flotilla_tunnel::body::{Body, empty};
use flotilla_tunnel::client::SendError;
use flotilla_tunnel::upgrade;
use flotilla_types::agent::IDENTITY_HEADER;
use flotilla_upstream::UpstreamError;
use http::header::{ALT_SVC, HOST, REFRESH, SEC_WEBSOCKET_EXTENSIONS, SET_COOKIE, STRICT_TRANSPORT_SECURITY};
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use thiserror::Error;

use crate::backends::{Backends, Way};
use crate::gate::{Audited, Grant, Subject};
use crate::guard::{Attendance, attend};
use crate::live::{About, LiveStreams};
use crate::metrics::ClusterMetrics;
use crate::request::ClusterRequest;
use crate::request_info::RequestInfo;
use crate::streams::{Permit, Streams};
use crate::tape::Tape;
use plan::Plan;
use statement::Statements;

/// Names the request in the cluster's own audit log
/// (<https://kubernetes.io/docs/tasks/debug/debug-cluster/audit/>).
const AUDIT_ID: HeaderName = HeaderName::from_static("audit-id");
/// As whom, and in which group, the hub looks whether a cluster is well. It is bound to nothing; every cluster lets
/// anyone known read `/version` and `/readyz` (`system:public-info-viewer`).
const HEALTH_CHECK: &str = "flotilla:health-check";
const IDENTITY: HeaderName = HeaderName::from_static(IDENTITY_HEADER);

/// What an answer says of a whole origin, which is the hub's and not the cluster's: cookies, where else the origin is
/// served (RFC 7838), what a browser shall forget or remember of it.
const NOT_FOR_OUR_ORIGIN: [HeaderName; 6] = [
    SET_COOKIE,
    ALT_SVC,
    REFRESH,
    STRICT_TRANSPORT_SECURITY,
    HeaderName::from_static("clear-site-data"),
    HeaderName::from_static("service-worker-allowed"),
];

/// What can be chosen about the transport.
#[derive(Clone, Copy, Debug)]
pub struct TransportOptions {
    /// How long to wait for the head of an answer. A request that asks for more time with `timeout` or
    /// `timeoutSeconds` gets it, up to an hour.
    pub header_deadline: Duration,
    /// How many answers one person may have open at once.
    pub streams_per_principal: usize,
    /// How long a signed statement of identity holds. It is renewed at four fifths of that.
    pub identity_ttl: Duration,
}

impl Default for TransportOptions {
    fn default() -> Self {
        Self {
            header_deadline: Duration::from_secs(60),
            streams_per_principal: 1000,
            identity_ttl: Duration::from_secs(300),
        }
    }
}

/// Why there is no answer from the cluster.
#[derive(Debug, Error)]
pub enum TransportError {
    /// No agent of the cluster is connected, and there is no direct way to it.
    #[error("the agent of this cluster is not connected")]
    AgentAway,
    /// No head of an answer within the deadline.
    #[error("the cluster did not answer within {} s", .0.as_secs())]
    Timeout(Duration),
    /// The API server, or the way to it, failed before there was an answer.
    #[error("the cluster cannot be reached: {0}")]
    Unreachable(String),
    /// The connection broke after the request had been sent; whether it was carried out is not known.
    #[error("the connection to the cluster broke before there was an answer: {0}")]
    Interrupted(String),
    /// The tunnel carries as many requests as it can.
    #[error("the tunnel to this cluster carries as many requests as it can")]
    Saturated,
    /// The person has too many answers open.
    #[error("you have {0} requests open, which is the limit; close some watches, logs or sessions")]
    TooManyStreams(usize),
    /// The user or one of his groups cannot be used as a name in a cluster.
    #[error("this user cannot be passed on to a cluster: {0}")]
    Identity(String),
    /// The cluster opened a shell that must be recorded and cannot be; it was closed at once.
    #[error("{0}, as it must be; use another client, or another protocol")]
    Unrecordable(Undecodable),
    /// Our own fault.
    #[error("the statement of identity could not be signed: {0}")]
    Signing(String),
}

impl TransportError {
    /// The HTTP status that says it best.
    #[must_use]
    pub fn status(&self) -> u16 {
        match self {
            Self::AgentAway | Self::Saturated => 503,
            Self::Timeout(_) => 504,
            Self::Unreachable(_) | Self::Interrupted(_) | Self::Unrecordable(_) => 502,
            Self::TooManyStreams(_) => 429,
            Self::Identity(_) => 403,
            Self::Signing(_) => 500,
        }
    }

    /// A stable word for metrics and logs.
    #[must_use]
    pub fn class(&self) -> &'static str {
        match self {
            Self::AgentAway => "agent_away",
            Self::Timeout(_) => "timeout",
            Self::Unreachable(_) => "unreachable",
            Self::Interrupted(_) => "interrupted",
            Self::Saturated => "saturated",
            Self::TooManyStreams(_) => "too_many_streams",
            Self::Identity(_) => "identity",
            Self::Unrecordable(_) => "unrecordable",
            Self::Signing(_) => "signing",
        }
    }
}

/// Sends requests to clusters. Cloning shares everything.
#[derive(Clone)]
pub struct Transport(Arc<Inner>);

struct Inner {
    backends: Backends,
    statements: Statements,
    streams: Streams,
    live: LiveStreams,
    metrics: ClusterMetrics,
    options: TransportOptions,
}

impl Transport {
    /// A transport over `backends` that signs identities with `keys`.
    #[must_use]
    pub fn new(backends: Backends, keys: KeyRing, metrics: ClusterMetrics, options: TransportOptions) -> Self {
        Self(Arc::new(Inner {
            backends,
            statements: Statements::new(keys, options.identity_ttl),
            streams: Streams::new(options.streams_per_principal, metrics.streams().clone()),
            live: LiveStreams::default(),
            metrics,
            options,
        }))
    }

    /// Every answer that is open, to be looked at and cut.
    #[must_use]
    pub fn live(&self) -> &LiveStreams {
        &self.0.live
    }

    /// Sends the request and returns the head of the answer; the body streams.
    ///
    /// The outcome row follows by itself when the body ends or is dropped. After an upgrade the answer is a
    /// `101` with a [`crate::guard::UpgradeGuard`] in its extensions, which alone can join the connections.
    ///
    /// # Errors
    /// [`TransportError`]; the outcome row says the same.
    pub async fn send(&self, audited: Audited<ClusterRequest>) -> Result<Response<Body>, TransportError> {
        let (request, mut grant, mut trail, tape) = audited.into_parts();
        if let (Some(trail), Some(compared)) = (&mut trail, grant.compared.take()) {
            trail.compare(self.0.compare(compared, &grant.request_id).await);
        }
        let head = request.http().method() == Method::HEAD;
        match self.0.exchange(request, &grant, tape.as_ref()).await {
            Ok((response, permit, info)) => {
                self.0.attend(response, info, grant, Attendance { trail, permit, tape, head })
            }
            Err(error) => {
                self.0.metrics.error(&grant.subject.cluster, error.class());
                if let Some(trail) = trail {
                    trail.failed(error.status(), error.to_string());
                }
                Err(error)
            }
        }
    }
}

impl Transport {
    /// Asks a cluster a fixed question as the hub's own health check: nothing of any caller is in it, so there is
    /// nothing to authorize or to record. For [`crate::health`] alone.
    pub(crate) async fn ask_as_health_check(
        &self,
        cluster: &str,
        path: &'static str,
    ) -> Result<Response<Body>, AskError> {
        let user = HEALTH_CHECK.to_owned();
        let subject = Subject { cluster: cluster.into(), groups: vec![user.clone()], user };
        let mut http = Request::new(empty());
        *http.uri_mut() = http::Uri::from_static(path);
        self.0.ask(http, &subject).await
    }
}

/// Why a question of the hub's own has no answer.
#[derive(Debug, Error)]
pub(crate) enum AskError {
    #[error(transparent)]
    Transport(#[from] TransportError),
    #[error(transparent)]
    Upstream(#[from] UpstreamError),
}

impl Inner {
    /// Sends a short question without a body, as `subject`.
    async fn ask(&self, mut http: Request<Body>, subject: &Subject) -> Result<Response<Body>, AskError> {
        match self.backends.way(&subject.cluster, flotilla_tunnel::Lane::Interactive) {
            Way::None => Err(TransportError::AgentAway.into()),
            Way::Agent(connection) => {
                let statement = self.statements.signed(subject)?;
                http.headers_mut().insert(IDENTITY, statement);
                Ok(connection.send(http).await.map_err(from_tunnel)?)
            }
            Way::Direct(upstream) => {
                let identity = self.statements.impersonation(subject)?;
                Ok(upstream.send(http, &identity).await?)
            }
        }
    }

    async fn exchange(
        &self,
        request: ClusterRequest,
        grant: &Grant,
        tape: Option<&Tape>,
    ) -> Result<(Response<Body>, Permit, RequestInfo), TransportError> {
        let too_many = || TransportError::TooManyStreams(self.streams.limit());
        let permit = self.streams.open(grant.principal.user_id()).ok_or_else(too_many)?;
        let plan = Plan::of(&request, self.options.header_deadline);
        let (info, mut http) = request.into_parts();
        if tape.is_some() {
            // What an extension (RFC 6455 section 9) does to frames would keep them from being read.
            http.headers_mut().remove(SEC_WEBSOCKET_EXTENSIONS);
        }
        if let Ok(mut id) = HeaderValue::from_str(grant.request_id.as_str()) {
            // Never the same again: keeps HPACK from remembering it in the place of what does repeat.
            id.set_sensitive(true);
            http.headers_mut().insert(AUDIT_ID, id);
        }
        let answer = tokio::time::timeout(plan.deadline, self.through(&plan, http, grant)).await;
        let mut response = answer.map_err(|_| TransportError::Timeout(plan.deadline))??;
        for name in &NOT_FOR_OUR_ORIGIN {
            response.headers_mut().remove(name);
        }
        Ok((response, permit, info))
    }

    /// Lets what must end with the answer travel with it.
    fn attend(
        &self,
        response: Response<Body>,
        info: RequestInfo,
        grant: Grant,
        attendance: Attendance,
    ) -> Result<Response<Body>, TransportError> {
        let about = About {
            lent: grant.subject.groups.into_iter().filter(|group| is_of_a_grant(group)).collect(),
            cluster: grant.subject.cluster,
            principal: grant.principal,
            request_id: grant.request_id,
            upgrade: response.status() == StatusCode::SWITCHING_PROTOCOLS,
            recording: attendance.tape.as_ref().map(|tape| tape.begun.id),
            info,
        };
        attend(response, attendance, &self.live, about).map_err(TransportError::Unrecordable)
    }

    async fn through(&self, plan: &Plan, http: Request<Body>, grant: &Grant) -> Result<Response<Body>, TransportError> {
        match self.backends.way(&grant.subject.cluster, plan.lane) {
            Way::None => Err(TransportError::AgentAway),
            Way::Agent(connection) => {
                let http = self.for_tunnel(http, grant)?;
                let spare = plan.repeatable.then(|| copy_of(&http));
                match (connection.send(http).await, spare) {
                    (Err(SendError::Closed), Some(spare)) => self.once_more(plan, spare, grant).await,
                    (answer, _) => answer.map(upgrade::to_switching_protocols).map_err(from_tunnel),
                }
            }
            Way::Direct(upstream) => {
                let identity = self.statements.impersonation(&grant.subject)?;
                upstream.send(http, &identity).await.map_err(from_upstream)
            }
        }
    }

    /// The connection had gone before anything was sent on it; another one may be there.
    async fn once_more(
        &self,
        plan: &Plan,
        http: Request<Body>,
        grant: &Grant,
    ) -> Result<Response<Body>, TransportError> {
        match self.backends.way(&grant.subject.cluster, plan.lane) {
            Way::Agent(connection) => {
                let answer = connection.send(http).await;
                answer.map(upgrade::to_switching_protocols).map_err(from_tunnel)
            }
            Way::None | Way::Direct(_) => Err(TransportError::AgentAway),
        }
    }

    /// The request as it goes into a tunnel, with the statement of identity.
    fn for_tunnel(&self, mut http: Request<Body>, grant: &Grant) -> Result<Request<Body>, TransportError> {
        let statement = self.statements.signed(&grant.subject)?;
        http.headers_mut().remove(HOST);
        // Anything but a request for an upgrade comes back as it is.
        let mut http = upgrade::to_connect(http);
        http.headers_mut().insert(IDENTITY, statement);
        Ok(http)
    }
}

/// A request without a body, again.
fn copy_of(http: &Request<Body>) -> Request<Body> {
    let mut copy = Request::new(empty());
    *copy.method_mut() = http.method().clone();
    *copy.uri_mut() = http.uri().clone();
    *copy.headers_mut() = http.headers().clone();
    copy
}

fn from_tunnel(error: SendError) -> TransportError {
    match error {
        SendError::Closed => TransportError::AgentAway,
        SendError::Saturated => TransportError::Saturated,
        SendError::Http(error) => TransportError::Interrupted(deepest(&error).to_string()),
    }
}

/// The cause that says most: hyper's own words are general.
fn deepest<'a>(error: &'a (dyn std::error::Error + 'static)) -> &'a (dyn std::error::Error + 'static) {
    error.source().map_or(error, deepest)
}

#[allow(clippy::needless_pass_by_value, reason = "used with map_err")]
fn from_upstream(error: UpstreamError) -> TransportError {
    match error {
        UpstreamError::Timeout { .. } => TransportError::Timeout(Duration::from_secs(10)),
        other => TransportError::Unreachable(other.to_string()),
    }
}
