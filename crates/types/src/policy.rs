//! The shapes of roles, as files, database and API all write them. Their meaning is in
//! `flotilla_identity::policy`.
//!
//! Must not know: how a decision is reached.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

fn everything() -> Vec<String> {
    vec!["*".to_owned()]
}

/// A named set of rules that can be given to people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Role {
    /// Unique name.
    pub name: String,
    /// What a person reads in a list.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// What the role allows, per cluster pattern.
    pub clusters: Vec<ClusterRule>,
    /// Kubernetes groups with which a holder arrives in every cluster that the role reaches, beside
    /// `flotilla:role:<name>`. Names beginning with `system:` are refused.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<String>,
    /// Whether a holder administers the hub itself (users, roles, agents, everyone's audit rows).
    /// Left out: true for a role that allows everything everywhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub administrator: Option<bool>,
    /// Whether a holder may see the recorded shells of everybody. Administrators may.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub auditor: bool,
}

/// Whether shells are recorded. Later ones are stricter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Record {
    /// No.
    #[default]
    Off,
    /// Yes, if it is possible.
    On,
    /// Yes, or the shell does not open; one whose recording breaks is cut.
    Required,
}

impl Record {
    #[allow(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde asks for")]
    fn is_off(&self) -> bool {
        *self == Self::Off
    }
}

/// What a role allows in the clusters whose name matches a pattern. All lists must match; `*`
/// stands for any run of characters except `/`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ClusterRule {
    /// Pattern of cluster names, for example `dev-*`.
    pub name: String,
    /// Patterns of namespaces. Only `*` also covers cluster-scoped objects and lists over all namespaces.
    #[serde(default = "everything")]
    pub namespaces: Vec<String>,
    /// Kubernetes verbs (`get`, `list`, `watch`, `create` ...) and the actions `logs`, `exec`,
    /// `attach`, `port-forward`, `proxy`; `*` is all of both.
    pub verbs: Vec<String>,
    /// Resources in the plural, with subresources after `/` (`pods`, `pods/log`, `*/scale`).
    #[serde(default = "everything")]
    pub resources: Vec<String>,
    /// Patterns of API groups; the empty string is the core group.
    #[serde(default = "everything", alias = "apiGroups")]
    pub api_groups: Vec<String>,
    /// Patterns of object names; empty means any, also none (lists, creations).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<String>,
    /// Patterns of paths outside the resource API, such as `/metrics` or `/debug/*`. Discovery,
    /// version and health are open to whoever may reach the cluster.
    #[serde(default, skip_serializing_if = "Vec::is_empty", alias = "nonResourceURLs")]
    pub non_resource_urls: Vec<String>,
    /// Whether exec, attach and port-forward that the rule allows are recorded. Of several rules that allow one, the
    /// strictest counts.
    #[serde(default, skip_serializing_if = "Record::is_off")]
    pub record: Record,
    /// Whether what is typed is recorded too. It may hold passwords, which are typed unseen.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub record_input: bool,
}

/// Roles of one person, as a roles file gives them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UserRoles {
    /// The person's account.
    pub email: String,
    /// Names of roles.
    pub roles: Vec<String>,
}

/// A roles file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RoleFile {
    /// Roles; one of the same name in the database is hidden.
    #[serde(default)]
    pub roles: Vec<Role>,
    /// Assignments, added to those in the database.
    #[serde(default)]
    pub users: Vec<UserRoles>,
}
