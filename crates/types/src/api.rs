//! Request and response bodies of the people's API, in CONTRACT order.
//!
//! Must not know: routes, storage. Secrets come in as `String` because serde must read them; the hub wraps
//! them at once, and no type here that holds one implements `Debug`.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::agent::AgentView;
use crate::audit::AuditRow;
use crate::id::{ClusterId, UserId};
use crate::policy::{ClusterRule, Role};
use crate::time::Timestamp;

/// `POST /auth/login`.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LoginRequest {
    /// Account.
    pub email: String,
    /// Password.
    pub password: String,
    /// What to sign in with from now on: tokens in the answer, or a cookie for a browser.
    #[serde(default, skip_serializing_if = "SessionKind::is_token")]
    pub session: SessionKind,
}

/// What a sign-in gives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum SessionKind {
    /// An access token and a refresh token.
    #[default]
    Token,
    /// A session cookie that no script can read.
    Cookie,
}

impl SessionKind {
    fn is_token(&self) -> bool {
        *self == Self::Token
    }
}

/// Answer to login.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum LoginResponse {
    /// [`SessionKind::Token`].
    Token(TokenResponse),
    /// [`SessionKind::Cookie`]; the cookie is in `Set-Cookie`.
    Cookie(crate::access::CookieResponse),
}

/// Answer to login and refresh.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
pub struct TokenResponse {
    /// Access token: a JWT signed with RS256.
    pub token: String,
    /// When the access token ends.
    #[schema(value_type = String, format = DateTime)]
    pub expires_at: Timestamp,
    /// Trade it once at `/auth/refresh` for a new pair.
    pub refresh_token: String,
    /// Whether the password was set by somebody else and should be changed (`POST /auth/password`).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub password_change_required: bool,
}

/// `POST /auth/refresh`.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RefreshRequest {
    /// The newest refresh token of the session.
    pub refresh_token: String,
}

/// `POST /auth/password`.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PasswordRequest {
    /// The password that holds now.
    pub current: String,
    /// The one that shall hold, 12 to 256 characters.
    pub new: String,
}

/// `GET /clusters`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ClusterList {
    /// Only those that the caller may reach.
    pub clusters: Vec<ClusterView>,
}

/// One cluster as its users see it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ClusterView {
    /// The cluster.
    pub id: ClusterId,
    /// Its unique name.
    pub name: String,
    /// `connected` or `disconnected`.
    pub status: String,
    /// How the hub reaches it: `agent`, `kubeconfig`, `in-cluster` or `eks`.
    pub backend: String,
    /// What its credential is; absent without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth_type: Option<String>,
    /// URL of its API server, where the hub knows it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub server: String,
    /// What people say of it.
    #[serde(default, skip_serializing_if = "std::collections::BTreeMap::is_empty")]
    pub labels: std::collections::BTreeMap<String, String>,
    /// How it was when it was last looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<crate::cluster::ClusterStatus>,
    /// Whether the caller works with it unless he names another.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub default: bool,
    /// When it was last reached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub last_seen: Option<Timestamp>,
    /// What the agent reported, for example versions.
    #[schema(value_type = Object)]
    pub metadata: serde_json::Map<String, serde_json::Value>,
}

/// `POST /clusters/{id}/exec`.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ExecRequest {
    /// kubectl's arguments, without `kubectl` itself.
    pub command: Vec<String>,
    /// What the command reads from standard input (`apply -f -`).
    #[serde(default)]
    pub stdin: Option<String>,
}

/// Answer to [`ExecRequest`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ExecResponse {
    /// Standard output and error as they came. Cut at 8 MiB, and then the last line says so.
    pub output: String,
    /// kubectl's exit code.
    pub exit_code: i32,
}

/// `GET /users`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct UserList {
    /// All accounts.
    pub users: Vec<UserView>,
}

/// One account as administrators see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct UserView {
    /// The account.
    pub id: UserId,
    /// Its name.
    pub email: String,
    /// Roles from the database and the roles file together.
    pub roles: Vec<String>,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
}

/// `POST /users`. Administrators only.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UserCreate {
    /// Unique address.
    pub email: String,
    /// First password, 12 to 256 characters. Left out: one is made and returned once.
    #[serde(default)]
    pub password: Option<String>,
    /// A hash from elsewhere (`$2b$...` bcrypt or `$argon2id$...`) instead of a password.
    #[serde(default)]
    pub password_hash: Option<String>,
    /// Names of roles.
    #[serde(default)]
    pub roles: Vec<String>,
}

/// Answer to [`UserCreate`] and to a password reset.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
pub struct UserCreated {
    /// The account.
    pub user: UserView,
    /// The password that was made, shown once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<String>,
}

/// `PUT /users/{id}/roles`: replaces the roles kept in the database. Administrators only.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RolesRequest {
    /// Names of roles.
    pub roles: Vec<String>,
}

/// `GET /api/roles`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RoleList {
    /// All roles.
    pub roles: Vec<RoleView>,
}

/// A role and where it is written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RoleView {
    /// The role.
    #[serde(flatten)]
    pub role: Role,
    /// `built-in`, `file`, `database`, or where it follows from: `team`, `group`, `grant`. Only those in the database can be changed through the API.
    pub source: String,
}

/// `GET /api/whoami`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WhoAmI {
    /// The account.
    pub id: UserId,
    /// Its name, which is also the user name in every cluster.
    pub email: String,
    /// Names of the roles held.
    pub roles: Vec<String>,
    /// Groups at the identity provider, in sessions that came from it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<String>,
    /// The highest tier that a role held gives somewhere: `read`, `triage`, `write`, `maintain` or `admin`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tier: Option<String>,
    /// Whether the caller administers the hub.
    pub administrator: bool,
    /// What the hub's policy allows; each cluster's own RBAC decides again.
    pub permissions: Vec<Permission>,
}

/// `GET /api/features`: what is switched on in this hub.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Features {
    /// Ways to sign in: `password`, and `oidc`, `google`, `github`, `developer` where they are configured.
    pub sign_in: Vec<String>,
    /// Where sessions of browsers are kept: `database`, `postgres`, `redis` or `memory`.
    pub session_backend: String,
    /// Whether invitations go out by mail.
    pub mail: bool,
    /// Whether kubeconfigs that run programs on the hub are taken.
    pub exec_plugins: bool,
    /// Whether reads have audit rows too.
    pub audit_reads: bool,
}

/// One rule of one role held.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Permission {
    /// The role.
    pub role: String,
    /// The rule.
    #[serde(flatten)]
    pub rule: ClusterRule,
}

/// `GET /api/agents`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AgentList {
    /// All enrolments that are not forgotten.
    pub agents: Vec<AgentView>,
}

/// `GET /api/audit`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AuditPage {
    /// Newest first.
    pub rows: Vec<AuditRow>,
    /// Give it as `before` to read on; absent on the last page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<i64>,
}

/// `GET /api/config`: what anyone may know before signing in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PublicConfig {
    /// Version of the hub.
    pub version: String,
    /// Ways to sign in.
    pub sign_in: Vec<String>,
    /// The CA that signed the hub's certificate, PEM, when it is the hub's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<String>,
}
