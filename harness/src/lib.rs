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

/// Binds the tiers that Flotilla's built-in roles arrive with: the part of the agent's manifest that does so.
pub const TIER_BINDINGS: &str = include_str!("../../crates/hub/src/tiers.yaml");
