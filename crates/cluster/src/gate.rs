//! The two checks before a cluster is asked: the policy allows it ([`Gate::authorize`]), and what must leave a trace
//! has one on disk ([`Gate::audit`]).
//!
//! Nothing else can make the types that [`crate::transport::Transport`] asks for:
//!
//! ```compile_fail,E0451
//! let request: flotilla_cluster::request::ClusterRequest = unreachable!();
//! let grant = unreachable!();
//! let _ = flotilla_cluster::gate::Authorized { request, grant };
//! ```
//! ```compile_fail,E0451
//! let request: flotilla_cluster::request::ClusterRequest = unreachable!();
//! let (grant, trail) = unreachable!();
//! let _ = flotilla_cluster::gate::Audited { request, grant, trail };
//! ```
//! ```compile_fail,E0308
//! async fn skip(
//!     transport: flotilla_cluster::transport::Transport,
//!     allowed: flotilla_cluster::gate::Authorized<flotilla_cluster::request::ClusterRequest>,
//! ) {
//!     transport.send(allowed).await;
//! }
//! ```
//!
//! Must not know: how a cluster is reached, how policies are written, how rows are kept.

use std::sync::Arc;

use arc_swap::ArcSwap;
use flotilla_identity::policy::{Action, Decision, PolicySet};
use flotilla_identity::principal::Principal;
use flotilla_store::audit::{AuditError, AuditLog};
use flotilla_types::audit::{Actor, AuditRow, Outcome};
use flotilla_types::id::{AuditId, RequestId, UserId};
use flotilla_types::time::Timestamp;

use crate::act::{self, Act};
use crate::guard::Trail;
use crate::metrics::ClusterMetrics;
use crate::request::{ClusterRequest, RequestContext};
use crate::request_info::RequestInfo;

/// What can be chosen about the gate.
#[derive(Clone, Copy, Debug, Default)]
pub struct GateOptions {
    /// Whether reads, which are counted, are written to the audit log too. Every one then waits for the disk.
    pub record_reads: bool,
}

/// Decides and records.
#[derive(Clone)]
pub struct Gate {
    policy: Arc<ArcSwap<PolicySet>>,
    audit: AuditLog,
    metrics: ClusterMetrics,
    options: GateOptions,
}

/// A request that the policy allows.
pub struct Authorized<T> {
    request: T,
    grant: Grant,
}

/// A request that the policy allows and whose attempted row, if one is due, is on disk.
pub struct Audited<T> {
    request: T,
    grant: Grant,
    trail: Option<Trail>,
}

/// As whom the request arrives, and why it may.
pub(crate) struct Grant {
    pub(crate) user: UserId,
    pub(crate) subject: Subject,
    /// The person, who in clusters of mode `shared` is not the subject.
    email: String,
    pub(crate) request_id: RequestId,
    rule: Arc<str>,
    route: &'static str,
    address: std::net::IpAddr,
}

/// Who somebody is in one cluster.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Subject {
    pub(crate) cluster: Arc<str>,
    pub(crate) user: String,
    pub(crate) groups: Vec<String>,
}

/// A request that the policy refuses. To be recorded with [`Gate::audit_denied`] and answered with
/// [`crate::status_of::StatusError`].
#[derive(Debug)]
pub struct Denied {
    pub(crate) info: RequestInfo,
    pub(crate) cluster: Arc<str>,
    pub(crate) user: String,
    /// `None` if the cluster must seem not to exist.
    pub(crate) reason: Option<String>,
    row: AuditRow,
}

impl Denied {
    /// Whether the caller may know that the cluster exists. If not, the answer is the one for an unknown cluster.
    #[must_use]
    pub fn is_visible(&self) -> bool {
        self.reason.is_some()
    }

    /// The missing right, for people.
    #[must_use]
    pub fn reason(&self) -> &str {
        self.reason.as_deref().unwrap_or("no rule reaches the cluster")
    }
}

impl Gate {
    /// A gate that judges by `policy`, which may be exchanged at any time, and records in `audit`.
    #[must_use]
    pub fn new(
        policy: Arc<ArcSwap<PolicySet>>,
        audit: AuditLog,
        metrics: ClusterMetrics,
        options: GateOptions,
    ) -> Self {
        Self { policy, audit, metrics, options }
    }

    /// Asks the policy.
    ///
    /// # Errors
    /// [`Denied`] with the reason; the caller records it before answering.
    pub fn authorize(
        &self,
        principal: &Principal,
        request: ClusterRequest,
        context: &RequestContext,
    ) -> Result<Authorized<ClusterRequest>, Box<Denied>> {
        self.authorize_about(principal, request, context, None)
    }

    /// [`Gate::authorize`] for a review of oneself: it arrives as the call `about` would, with the groups of a grant
    /// exactly when that call would have them.
    ///
    /// # Errors
    /// As there.
    pub fn authorize_review(
        &self,
        principal: &Principal,
        request: ClusterRequest,
        context: &RequestContext,
        about: &Action<'_>,
    ) -> Result<Authorized<ClusterRequest>, Box<Denied>> {
        let review = request.info().resource == "selfsubjectaccessreviews";
        self.authorize_about(principal, request, context, review.then_some(about))
    }

    fn authorize_about(
        &self,
        principal: &Principal,
        request: ClusterRequest,
        context: &RequestContext,
        about: Option<&Action<'_>>,
    ) -> Result<Authorized<ClusterRequest>, Box<Denied>> {
        let policy = self.policy.load();
        let rule = match policy.decide(principal.roles(), &action(&request)) {
            Decision::Allowed { rule } => rule,
            Decision::Denied { reason } => return Err(self.deny(principal, &request, context, Some(reason))),
            Decision::Invisible => return Err(self.deny(principal, &request, context, None)),
        };
        let cluster = request.cluster().name.clone();
        self.metrics.allowed(&cluster, request.info().verb);
        let own = action(&request);
        let arrival = policy.arrival(principal.email(), principal.roles(), principal.groups(), about.unwrap_or(&own));
        let subject = Subject { groups: arrival.groups, user: arrival.user, cluster };
        let grant = Grant {
            user: principal.user_id(),
            email: principal.email().to_owned(),
            subject,
            request_id: context.request_id.clone(),
            rule,
            route: context.route,
            address: context.address,
        };
        Ok(Authorized { request, grant })
    }

    /// Writes the attempted row of an act; when it returns, the row is on disk. Reads pass without one.
    ///
    /// # Errors
    /// The row cannot be written. The request is gone, and nothing was sent.
    pub async fn audit(&self, authorized: Authorized<ClusterRequest>) -> Result<Audited<ClusterRequest>, AuditError> {
        let Authorized { request, grant } = authorized;
        let act = if self.options.record_reads { Some(Act::of_any(&request)) } else { Act::of(&request) };
        let trail = match act {
            Some(act) => Some(Trail::new(self.audit.attempt(grant.row(&request, act)).await?)),
            None => None,
        };
        Ok(Audited { request, grant, trail })
    }

    /// Writes the one row of a refused request.
    ///
    /// # Errors
    /// The row cannot be written.
    pub async fn audit_denied(&self, denied: &Denied) -> Result<(), AuditError> {
        self.audit.record(denied.row.clone()).await
    }

    fn deny(
        &self,
        principal: &Principal,
        request: &ClusterRequest,
        context: &RequestContext,
        reason: Option<String>,
    ) -> Box<Denied> {
        let cluster = request.cluster().name.clone();
        self.metrics.denied(&cluster);
        let actor = Actor {
            sub: Some(principal.user_id()),
            email: principal.email().to_owned(),
            groups: Vec::new(),
            address: context.address.to_string(),
        };
        let mut row = row(request, Act::of_any(request), actor, &context.request_id, context.route);
        row.outcome = Outcome::Denied;
        row.status = if reason.is_some() { 403 } else { 404 };
        row.reason = reason.clone().unwrap_or_else(|| "no rule reaches the cluster".to_owned());
        Box::new(Denied { info: request.info().clone(), cluster, user: principal.email().to_owned(), reason, row })
    }
}

impl<T> Authorized<T> {
    /// The request.
    pub fn request(&self) -> &T {
        &self.request
    }

    /// The rule that allows it, for example `developer#2`.
    pub fn rule(&self) -> &str {
        &self.grant.rule
    }
}

impl<T> Audited<T> {
    /// The request.
    pub fn request(&self) -> &T {
        &self.request
    }

    /// Whether an outcome row will follow.
    pub fn leaves_a_trace(&self) -> bool {
        self.trail.is_some()
    }

    pub(crate) fn into_parts(self) -> (T, Grant, Option<Trail>) {
        (self.request, self.grant, self.trail)
    }
}

impl Grant {
    fn row(&self, request: &ClusterRequest, act: Act) -> AuditRow {
        let actor = Actor {
            sub: Some(self.user),
            email: self.email.clone(),
            groups: self.subject.groups.clone(),
            address: self.address.to_string(),
        };
        let mut row = row(request, act, actor, &self.request_id, self.route);
        row.reason = self.rule.to_string();
        row
    }
}

fn action(request: &ClusterRequest) -> Action<'_> {
    let info = request.info();
    Action {
        cluster: &request.cluster().name,
        verb: info.verb,
        api_group: &info.api_group,
        resource: &info.resource,
        subresource: &info.subresource,
        namespace: &info.namespace,
        name: &info.name,
        path: if info.is_resource_request { "" } else { &info.path },
    }
}

fn row(request: &ClusterRequest, act: Act, actor: Actor, request_id: &RequestId, route: &str) -> AuditRow {
    AuditRow {
        id: AuditId::new(),
        seq: 0,
        time: Timestamp::now(),
        request_id: request_id.clone(),
        route: route.to_owned(),
        actor,
        verb: act.verb.to_owned(),
        outcome: Outcome::Attempted,
        target: act::target(request),
        command: act.command,
        reason: String::new(),
        status: 0,
        bytes: 0,
        duration_ms: 0,
        hash: String::new(),
    }
}
