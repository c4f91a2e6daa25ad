//! The real hub and real agents as processes on leashes, for tests, benchmarks and `cargo xtask up`.
//!
//! ```text
//! HubProcess::start ──> login (first administrator) ──> AgentProcess::start per cluster ──> kubeconfig
//! ```
//!
//! Everything is done as a new user would: through the `flotilla` command.
//!
//! Must not know: how the hub works inside. It links none of its crates.

mod agent;
mod hub;
mod programs;

pub use agent::AgentProcess;
pub use hub::{HubOptions, HubProcess};
pub use programs::Programs;

/// Binds the tiers that Flotilla's built-in roles arrive with, as the agent's manifest does.
pub const TIER_BINDINGS: &str = r#"
{"apiVersion": "v1", "kind": "List", "items": [
  {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": "flotilla:tier:read"},
   "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"},
   "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": "flotilla:tier:read"}]},
  {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": "flotilla:tier:write"},
   "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "edit"},
   "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": "flotilla:tier:write"}]},
  {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": "flotilla:tier:admin"},
   "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
   "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": "flotilla:tier:admin"}]}
]}"#;
