//! Bodies of `/api/clusters/...` beside the list itself.
//!
//! Must not know: routes, storage. What holds a secret has no `Debug`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::time::Timestamp;

/// `POST /clusters`: registers a cluster that the hub reaches directly. Administrators only. Also the body of
/// `PUT /clusters/{id}/credentials` and of a test before saving, both without `name` and `labels`.
/// (A cluster with an agent registers itself: see `/api/agents/tokens`.)
#[derive(Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ClusterCreate {
    /// Unique name.
    pub name: String,
    /// What people say of it, as in Kubernetes: `env=prod`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// `kubeconfig` (the default), `bearer_token` (or `token`), `client_certificate` (or `certificate`),
    /// `service_account`, `oidc` or `eks`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auth_type: Option<String>,
    /// `kubeconfig`: YAML with everything inline. Files that it names are refused, because they would be the hub's,
    /// and so are `exec` plugins unless the hub's operator allows them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kubeconfig: Option<String>,
    /// `kubeconfig`: context in it; its `current-context` when left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub context: Option<String>,
    /// All others: the API server's URL.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server: Option<String>,
    /// Its CAs, PEM; those of the hub's machine when left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate_authority: Option<String>,
    /// The name in its certificate, when it is not the host's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_server_name: Option<String>,
    /// Trust anyone who answers there.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub insecure_skip_tls_verify: bool,
    /// `bearer_token`, `service_account`: the token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// `client_certificate`: the chain, PEM.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_certificate: Option<String>,
    /// `client_certificate`: its key, PEM.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_key: Option<String>,
    /// `oidc`: the hub's account at the provider.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oidc: Option<OidcAccess>,
    /// `eks`: the cluster at Amazon; the hub's own role signs in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub eks: Option<EksAccess>,
}

/// The hub's account at an `OpenID` provider that the API server trusts. Give a refresh token, a client secret (then
/// the client signs in as itself), or both.
#[derive(Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct OidcAccess {
    /// Issuer URL.
    pub issuer: String,
    /// CA of the issuer, PEM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuer_certificate_authority: Option<String>,
    /// Client id.
    pub client_id: String,
    /// Client secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_secret: Option<String>,
    /// Refresh token. A provider that rotates them gives another one at each use, which the hub keeps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refresh_token: Option<String>,
    /// Scopes to ask for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scopes: Vec<String>,
}

/// A cluster of Amazon EKS.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EksAccess {
    /// Its name there.
    pub cluster_name: String,
    /// Its region, for example `eu-central-1`.
    pub region: String,
}

/// `PUT /clusters/{id}`: changes what is given. Administrators only.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ClusterUpdate {
    /// New unique name, for a cluster that the hub reaches directly.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// All labels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels: Option<BTreeMap<String, String>>,
}

/// Answer to `POST /clusters/{id}/test`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ClusterTest {
    /// Whether people could work with the cluster.
    pub ok: bool,
    /// `denied`, `auth_failed`, `timeout`, `apiserver_unreachable` or `unknown`, when something is wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// What is wrong and what to do.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
    /// The API server's version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_version: Option<String>,
    /// How long its first answer took, milliseconds.
    pub latency_ms: u64,
    /// Permissions that the credentials lack.
    #[serde(default)]
    pub missing_permissions: Vec<String>,
}

/// How a cluster is: `GET /clusters/{id}/status`, and in lists.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ClusterStatus {
    /// `healthy`, `degraded`, `unreachable`, `denied` or `unknown`.
    pub status: String,
    /// `connected` or `error`.
    pub connection: String,
    /// `denied`, `auth_failed`, `timeout`, `apiserver_unreachable` or `unknown`, when something is wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// What is wrong.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
    /// The API server's version.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub server_version: String,
    /// How long the API server took to answer, milliseconds.
    pub latency_ms: u64,
    /// When it was last looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub checked_at: Option<Timestamp>,
    /// Since when the status is what it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub since: Option<Timestamp>,
}

/// `POST /clusters/{id}/share`. Administrators only.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ShareRequest {
    /// What `subject` is: `user`.
    #[serde(default = "user")]
    pub subject_kind: String,
    /// With whom: an account's address.
    pub subject: String,
    /// `viewer`, `developer` or `admin`: the rules of that role, for this cluster alone.
    pub level: String,
}

fn user() -> String {
    "user".to_owned()
}

/// `GET /clusters/{id}/share`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ShareList {
    /// All shares of the cluster.
    pub shares: Vec<ShareView>,
}

/// One share.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ShareView {
    /// What `subject` is.
    pub subject_kind: String,
    /// With whom.
    pub subject: String,
    /// As what.
    pub level: String,
    /// By whom.
    pub created_by: String,
    /// Since when.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
}
