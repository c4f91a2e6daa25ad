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
//! let (grant, trail, tape) = unreachable!();
//! let _ = flotilla_cluster::gate::Audited { request, grant, trail, tape };
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
use flotilla_identity::policy::{Action, Decision, PolicySet, Recording};
use flotilla_identity::principal::Principal;
use flotilla_store::audit::{AuditError, AuditLog};
use flotilla_types::audit::{Actor, AuditRow, Outcome};
use flotilla_types::id::{AuditId, RequestId};
use flotilla_types::policy::Record;
use flotilla_types::time::Timestamp;
use thiserror::Error;
use tokio::time::Instant;

use crate::act::{self, Act};
use crate::denials::Denials;
use crate::diff::Write;
use crate::guard::Trail;
use crate::live::action;
use crate::metrics::ClusterMetrics;
use crate::request::{ClusterRequest, RequestContext};
use crate::request_info::RequestInfo;
use crate::tape::{Opening, Recorder, RecordingRefused, Tape, kind_of};

/// What can be chosen about the gate.
#[derive(Clone, Copy, Debug, Default)]
pub struct GateOptions {
    /// Whether reads, which are counted, are written to the audit log too. Every one then waits for the disk.
    pub record_reads: bool,
    /// Whether the outcome row of a write says what it changed. Every change and deletion of an object is then
    /// preceded by a read of it, as the caller.
    pub diffs: bool,
}

/// Decides and records.
#[derive(Clone)]
pub struct Gate {
    policy: Arc<ArcSwap<PolicySet>>,
    audit: AuditLog,
    metrics: ClusterMetrics,
    options: GateOptions,
    denials: Arc<Denials>,
    recorder: Option<Arc<dyn Recorder>>,
}

/// Why a request that the policy allows does not go out.
#[derive(Debug, Error)]
pub enum NotAudited {
    /// Its row cannot be written.
    #[error(transparent)]
    Row(#[from] AuditError),
    /// It would open a shell that must be recorded.
    #[error(transparent)]
    Recording(#[from] RecordingRefused),
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
    tape: Option<Tape>,
}

/// As whom the request arrives, and why it may.
pub(crate) struct Grant {
    pub(crate) principal: Principal,
    pub(crate) subject: Subject,
    /// The person, who in clusters of mode `shared` is not the subject.
    email: String,
    pub(crate) request_id: RequestId,
    /// How what a write changes is found out.
    pub(crate) compared: Option<Compared>,
    /// How the shell that is opened is recorded.
    recording: Recording,
    rule: Arc<str>,
    route: &'static str,
    address: std::net::IpAddr,
}

/// How the object before a write is read.
pub(crate) struct Compared {
    pub(crate) write: Write,
    /// Whether it is a Secret.
    pub(crate) secret: bool,
    /// Its path, and as whom to read it: as the caller would arrive to do so. `None`: he may not.
    pub(crate) read: Option<(String, Subject)>,
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
        Self { policy, audit, metrics, options, denials: Arc::default(), recorder: None }
    }

    /// The same with somebody who keeps recordings. Without, what must be recorded is refused.
    #[must_use]
    pub fn with_recorder(self, recorder: Arc<dyn Recorder>) -> Self {
        Self { recorder: Some(recorder), ..self }
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
        let rule = match principal.may(&policy, &action(&request.cluster().name, request.info())) {
            Decision::Allowed { rule } => rule,
            Decision::Denied { reason } => return Err(self.deny(principal, &request, context, Some(reason))),
            Decision::Invisible => return Err(self.deny(principal, &request, context, None)),
        };
        let cluster = request.cluster().name.clone();
        self.metrics.allowed(&cluster, request.info().verb);
        let own = action(&cluster, request.info());
        let recording = match kind_of(request.info()) {
            Some(_) => policy.recording(principal.roles(), &own),
            None => Recording::default(),
        };
        let compared = if self.options.diffs { compared(&policy, principal, &request) } else { None };
        let arrival = policy.arrival(principal.email(), principal.roles(), principal.groups(), about.unwrap_or(&own));
        let subject = Subject { groups: arrival.groups, user: arrival.user, cluster: cluster.clone() };
        let grant = Grant {
            principal: principal.clone(),
            email: principal.email().to_owned(),
            subject,
            compared,
            recording,
            request_id: context.request_id.clone(),
            rule,
            route: context.route,
            address: context.address,
        };
        Ok(Authorized { request, grant })
    }

    /// Writes the attempted row of an act; when it returns, the row is on disk. Reads pass without one. For a shell that
    /// is to be recorded there is a recording then.
    ///
    /// # Errors
    /// The row cannot be written, or a recording that must be cannot. The request is gone, and nothing was sent.
    pub async fn audit(&self, authorized: Authorized<ClusterRequest>) -> Result<Audited<ClusterRequest>, NotAudited> {
        let Authorized { request, grant } = authorized;
        let act = if self.options.record_reads { Some(Act::of_any(&request)) } else { Act::of(&request) };
        let trail = match act {
            Some(act) => Some(Trail::new(self.audit.attempt(grant.row(&request, act)).await?)),
            None => None,
        };
        // Before anything waits: a request's body cannot be shared by threads.
        let opening = grant.opening(&request);
        match self.tape(opening, grant.recording).await {
            Ok(tape) => Ok(Audited { request, grant, trail, tape }),
            Err(refused) => {
                if let Some(trail) = trail {
                    trail.failed(503, refused.to_string());
                }
                Err(refused.into())
            }
        }
    }

    /// Begins the recording of a shell, where the policy asks for one.
    async fn tape(&self, opening: Option<Opening>, how: Recording) -> Result<Option<Tape>, RecordingRefused> {
        let Some(opening) = opening else { return Ok(None) };
        let (kind, request_id) = (opening.kind, opening.request_id.clone());
        let begun = match &self.recorder {
            Some(recorder) => recorder.begin(opening).await,
            None => Err(RecordingRefused("this hub keeps no recordings".to_owned())),
        };
        match begun {
            Ok(begun) => Ok(Some(Tape { begun, kind, how })),
            Err(refused) if how.record == Record::Required => Err(refused),
            Err(refused) => {
                tracing::warn!(%request_id, reason = refused.0, "a shell opens without being recorded");
                Ok(None)
            }
        }
    }

    /// Writes the one row of a refused request, or counts it: of a person who is refused all the time not every call
    /// gets a row (at most 60 a minute, and one for all that are the same), but all are counted in one.
    ///
    /// # Errors
    /// The row cannot be written.
    pub async fn audit_denied(&self, denied: &Denied) -> Result<(), AuditError> {
        self.audit_refused(denied.row.clone()).await
    }

    /// The same for a call to the hub itself that was refused.
    ///
    /// # Errors
    /// The row cannot be written.
    pub async fn audit_refused(&self, row: AuditRow) -> Result<(), AuditError> {
        for row in self.denials.note(row, Instant::now()) {
            self.audit.record(row).await?;
        }
        Ok(())
    }

    /// Writes the rows that say how many refused requests were only counted: of minutes that are over, or of `all`.
    ///
    /// # Errors
    /// A row cannot be written.
    pub async fn settle_denied(&self, all: bool) -> Result<(), AuditError> {
        let rows = if all { self.denials.settle_all() } else { self.denials.settle(Instant::now()) };
        for row in rows {
            self.audit.record(row).await?;
        }
        Ok(())
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

/// How what a write changes is found out, if it is such a write. The caller himself must be allowed to read the object
/// by the policy, and later by the cluster; and he arrives for that as he would for any read of it.
fn compared(policy: &PolicySet, principal: &Principal, request: &ClusterRequest) -> Option<Compared> {
    let write = Write::of(request)?;
    let cluster = &request.cluster().name;
    let read = Action { verb: "get", ..action(cluster, request.info()) };
    let secret = read.api_group.is_empty() && read.resource == "secrets";
    let may = || matches!(principal.may(policy, &read), Decision::Allowed { .. });
    let read = (write != Write::Create && may()).then(|| {
        let arrival = policy.arrival(principal.email(), principal.roles(), principal.groups(), &read);
        let subject = Subject { groups: arrival.groups, user: arrival.user, cluster: cluster.clone() };
        (request.http().uri().path().to_owned(), subject)
    });
    Some(Compared { write, secret, read })
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

    pub(crate) fn into_parts(self) -> (T, Grant, Option<Trail>, Option<Tape>) {
        (self.request, self.grant, self.trail, self.tape)
    }
}

impl Grant {
    /// The session that the request opens, if it is to be recorded.
    fn opening(&self, request: &ClusterRequest) -> Option<Opening> {
        let info = request.info();
        let kind = kind_of(info).filter(|_| self.recording.record != Record::Off)?;
        Some(Opening {
            principal: self.principal.clone(),
            request_id: self.request_id.clone(),
            cluster: self.subject.cluster.clone(),
            kind,
            namespace: info.namespace.clone(),
            pod: info.name.clone(),
            command: Act::of_any(request).command,
        })
    }

    fn row(&self, request: &ClusterRequest, act: Act) -> AuditRow {
        let actor = Actor {
            sub: Some(self.principal.user_id()),
            email: self.email.clone(),
            groups: self.subject.groups.clone(),
            address: self.address.to_string(),
        };
        let mut row = row(request, act, actor, &self.request_id, self.route);
        row.reason = self.rule.to_string();
        row
    }
}

fn row(request: &ClusterRequest, act: Act, actor: Actor, request_id: &RequestId, route: &str) -> AuditRow {
    AuditRow {
        id: AuditId::new(),
        seq: 0,
        attempt_id: None,
        time: Timestamp::now(),
        request_id: request_id.clone(),
        route: route.to_owned(),
        actor,
        verb: act.verb.as_str().to_owned(),
        outcome: Outcome::Attempted,
        target: act::target(request),
        command: act.command,
        reason: String::new(),
        status: 0,
        bytes: 0,
        duration_ms: 0,
        diff: None,
        run: String::new(),
        hash: String::new(),
    }
}
