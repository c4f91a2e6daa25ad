//! What hub and agent say to each other outside the tunnel, and the names they share inside it.
//!
//! Must not know: TLS, HTTP/2, Kubernetes.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::id::{AgentId, ClusterId};
use crate::time::Timestamp;

/// `Upgrade` token of `GET /api/agents/connect`, and the ALPN protocol name of a direct tunnel.
pub const TUNNEL_PROTOCOL: &str = "flotilla-tunnel/1";

/// Header that carries the hub's signed statement of who is calling (a JWT, EdDSA) on every request through
/// the tunnel. The agent takes the caller's identity from it and from nothing else.
pub const IDENTITY_HEADER: &str = "flotilla-identity";

/// `typ` of that JWT's header (RFC 8725 section 3.11), so that no other token of ours passes for one.
pub const IDENTITY_TOKEN_TYPE: &str = "flotilla-identity+jwt";

/// Claims of that JWT. `aud` is the cluster's name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdentityClaims {
    /// `flotilla-hub`.
    pub iss: String,
    /// Cluster for which the statement is made.
    pub aud: String,
    /// The user's name in the cluster.
    pub sub: String,
    /// Groups in the cluster.
    pub groups: Vec<String>,
    /// Seconds since the epoch.
    pub iat: i64,
    /// Seconds since the epoch.
    pub exp: i64,
}

/// `POST /api/agents/tokens`: asks for a one-use enrolment token. Administrators only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TokenRequest {
    /// Name of the cluster that the agent will serve.
    pub cluster: String,
}

/// Answer to [`TokenRequest`].
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = EnrolmentToken)]
pub struct TokenResponse {
    /// The token, shown once: `fla1.<secret>.<SHA-256 of the hub CA's DER, base64url>`.
    pub token: String,
    /// Cluster to which it is bound.
    pub cluster: String,
    /// 15 minutes from now.
    #[schema(value_type = String, format = DateTime)]
    pub expires_at: Timestamp,
    /// Address at which agents reach the hub.
    pub hub_url: String,
    /// A manifest that installs the agent with this token: `kubectl apply -f -`.
    pub manifest: String,
}

/// `POST /api/agents/register` on the agents' listener.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RegisterRequest {
    /// The enrolment token.
    pub token: String,
    /// Cluster name; must be the token's.
    pub cluster: String,
    /// PKCS #10 certificate request, PEM. Its common name must be the cluster's name.
    pub csr: String,
    /// What the agent says of itself (version, Kubernetes version, nodes).
    #[serde(default)]
    #[schema(value_type = Object)]
    pub metadata: serde_json::Map<String, serde_json::Value>,
}

/// `POST /api/agents/renew` on the agents' listener, with the current certificate.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RenewRequest {
    /// PKCS #10 certificate request, PEM, for the same cluster name.
    pub csr: String,
}

/// Answer to register and renew.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Enrolment {
    /// This enrolment.
    pub agent_id: AgentId,
    /// The cluster.
    pub cluster_id: ClusterId,
    /// Client certificate, PEM.
    pub certificate: String,
    /// The hub's CA, PEM.
    pub ca: String,
    /// When the certificate ends.
    #[schema(value_type = String, format = DateTime)]
    pub expires_at: Timestamp,
}

/// One enrolled agent, as administrators see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AgentView {
    /// The enrolment.
    pub id: AgentId,
    /// Cluster that it serves.
    pub cluster: String,
    /// `connected`, `disconnected` or `revoked`.
    pub status: String,
    /// Open tunnel connections.
    pub connections: usize,
    /// When it enrolled.
    #[schema(value_type = String, format = DateTime)]
    pub enrolled_at: Timestamp,
    /// When its certificate ends.
    #[schema(value_type = String, format = DateTime)]
    pub certificate_expires_at: Timestamp,
    /// When it was last heard of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub last_seen: Option<Timestamp>,
}
