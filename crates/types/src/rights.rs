//! Access on request, and questions about access: bodies of `/api/access-requests`, `/api/clusters/{c}/can-i` and
//! `/api/explorer/*`.
//!
//! Must not know: how any of it is decided.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::id::{AccessRequestId, UserId};
use crate::org::words;
use crate::policy::ClusterRule;
use crate::time::Timestamp;

words! {
    /// Where a request for access stands.
    RequestState {
        /// Waits for approval.
        Pending = "pending",
        /// Holds until its end.
        Granted = "granted",
        /// Somebody who may approve said no.
        Denied = "denied",
        /// It was granted and is over, or was withdrawn.
        Ended = "ended",
        /// Nobody decided in time.
        Expired = "expired",
    }
}

fn pods() -> Vec<String> {
    vec!["pods".to_owned()]
}

fn everything() -> Vec<String> {
    vec!["*".to_owned()]
}

/// `POST /api/access-requests`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AccessAsk {
    /// Pattern of names of clusters. Those that match now are meant, and no later ones.
    pub cluster: String,
    /// Patterns of namespaces; `*` also covers cluster-scoped objects.
    pub namespaces: Vec<String>,
    /// Verbs and actions as in a role (`get`, `logs`, `exec` ...), but not `*`.
    pub verbs: Vec<String>,
    /// Resources in the plural; pods when left out.
    #[serde(default = "pods")]
    pub resources: Vec<String>,
    /// API groups; all when left out.
    #[serde(default = "everything")]
    pub api_groups: Vec<String>,
    /// For how long, seconds; at least 60.
    pub seconds: u64,
    /// Why; who approves reads it.
    pub reason: String,
}

/// A request for access.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AccessRequestView {
    /// The request; its grant is the Kubernetes group `flotilla:grant:<id>`.
    pub id: AccessRequestId,
    /// Who asked.
    pub user: UserId,
    /// His address.
    pub email: String,
    /// What was asked.
    pub ask: AccessAsk,
    /// Clusters that it is about, by name.
    pub clusters: Vec<String>,
    /// Where it stands.
    pub state: RequestState,
    /// How many must approve.
    pub approvals_needed: u32,
    /// Who said what.
    pub decisions: Vec<DecisionView>,
    /// When it was asked.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// From when it holds or held.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub granted_at: Option<Timestamp>,
    /// Until when it holds, or held.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub ends_at: Option<Timestamp>,
    /// Whether the caller may approve it now.
    pub may_approve: bool,
}

/// What somebody said to a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DecisionView {
    /// Who.
    pub email: String,
    /// Yes or no.
    pub approved: bool,
    /// Why.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub comment: String,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
}

/// `GET /api/access-requests`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AccessRequestList {
    /// The caller's own and those that he may approve, newest first; at most 500.
    pub requests: Vec<AccessRequestView>,
}

/// Which requests to list.
#[derive(Clone, Debug, Default, Serialize, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct AccessRequestQuery {
    /// Only those that stand so.
    pub state: Option<RequestState>,
}

/// `POST /api/access-requests/{id}/approve|deny|end`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AccessDecision {
    /// Why.
    #[serde(default)]
    pub comment: String,
}

/// `POST /api/clusters/{c}/can-i`.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CanI {
    /// 1 to 64.
    pub checks: Vec<Check>,
}

/// One question, as `ResourceAttributes` of `k8s.io/api/authorization/v1`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Check {
    /// A verb of the API server.
    pub verb: String,
    /// API group; empty for the core group.
    pub group: String,
    /// Resource in the plural.
    pub resource: String,
    /// Subresource.
    pub subresource: String,
    /// Namespace; empty for cluster-scoped objects and all namespaces.
    pub namespace: String,
    /// Name of the object; empty for any.
    pub name: String,
    /// Instead of a resource: a path such as `/metrics`.
    pub path: String,
}

/// Answer to [`CanI`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CanIAnswer {
    /// In the order of the checks.
    pub results: Vec<CanIResult>,
}

/// Answer to one [`Check`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CanIResult {
    /// Whether both allow it.
    pub allowed: bool,
    /// Who says so: `hub` or `cluster`; for a refusal the one that refuses.
    pub by: String,
    /// The rule or binding that allows it, or why not.
    pub reason: String,
}

/// `GET /api/explorer/who-can`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct WhoCanQuery {
    /// Cluster, by name or id.
    pub cluster: String,
    /// A verb of the API server.
    pub verb: String,
    /// Resource in the plural, with a subresource behind a slash; or a path such as `/metrics`.
    pub resource: String,
    /// API group; empty for the core group.
    pub group: String,
    /// Namespace; empty for cluster-scoped objects and all namespaces.
    pub namespace: String,
    /// Name of the object; empty for any.
    pub name: String,
}

/// `GET /api/explorer/what-can`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct WhatCanQuery {
    /// Cluster, by name or id.
    pub cluster: String,
    /// Address of an account; the caller when left out.
    pub subject: String,
}

/// Answer to [`WhoCanQuery`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WhoCan {
    /// People of the hub whom its policy allows it.
    pub people: Vec<PersonCan>,
    /// Why not all people are there, if they are not.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub people_incomplete: String,
    /// Users, groups and service accounts that the cluster's RBAC allows it.
    pub subjects: Vec<SubjectCan>,
    /// Why the cluster's side cannot be answered, if it cannot.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub cluster_unanswered: String,
}

/// Somebody whom the hub's policy allows something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PersonCan {
    /// Who.
    pub email: String,
    /// The rule of the policy.
    pub rule: String,
    /// Whether the cluster's RBAC allows it too, as far as it could be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster_allows: Option<bool>,
    /// The binding that does.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub binding: String,
}

/// Somebody whom a binding in the cluster allows something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SubjectCan {
    /// `User`, `Group` or `ServiceAccount`.
    pub kind: String,
    /// Name; `namespace/name` of a service account.
    pub name: String,
    /// The binding: `ClusterRoleBinding/cluster-admin`, `RoleBinding/pay/devs`.
    pub binding: String,
    /// The role that it binds.
    pub role: String,
}

/// Answer to [`WhatCanQuery`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WhatCan {
    /// Whose rights these are.
    pub subject: String,
    /// The user name with which he arrives in the cluster.
    pub user: String,
    /// The groups with which he arrives, those of grants too.
    pub groups: Vec<String>,
    /// Rules of the hub's policy that reach the cluster.
    pub hub: Vec<ReachingRule>,
    /// Rules of the cluster's RBAC.
    pub cluster: Vec<BoundRule>,
    /// Why the cluster's side cannot be answered, if it cannot.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub cluster_unanswered: String,
}

/// A rule of the policy and the role that it is of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ReachingRule {
    /// The role.
    pub role: String,
    /// The rule.
    #[serde(flatten)]
    pub rule: ClusterRule,
}

/// A rule of the cluster's RBAC and the binding that gives it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BoundRule {
    /// The binding.
    pub binding: String,
    /// Where it holds; empty for everywhere.
    pub namespace: String,
    /// Verbs.
    pub verbs: Vec<String>,
    /// API groups.
    pub groups: Vec<String>,
    /// Resources.
    pub resources: Vec<String>,
    /// Names; empty for all.
    pub names: Vec<String>,
    /// Paths outside the resource API.
    pub paths: Vec<String>,
}
