//! Real Kubernetes on one machine, for the tests, the benchmarks and `cargo xtask up`.
//!
//! Kubernetes is built from its published Go modules once and cached ([`Binaries`]). Control planes ([`ControlPlane`])
//! are ready in seconds and stand side by side; where the machine allows it, a real node ([`Node`]) runs pods; [`Kwok`]
//! plays nodes in great numbers; [`MetricsServer`] is an aggregated API.
//!
//! ```text
//! Binaries::ensure ──> ControlPlane::start ──┬─> Node::start ──> MetricsServer::start
//!  (Go build, cached)   etcd, apiserver,     └─> Kwok::start
//!                       kcm, scheduler
//!                            every one of them a Process on a leash
//! ```
//!
//! Nothing is left behind: each program is started by a small leash that ends it, with all that descends from it, as
//! soon as its owner is gone, even by SIGKILL ([`Process`]). Names, ports, subnets and directories are reserved
//! with file locks, so any number of test runs share a machine ([`reserve`]).
//!
//! The API blocks; call it from `spawn_blocking` where that matters. This crate knows nothing of the hub or the agent,
//! though they are started with [`Process`] as well.

mod binaries;
mod components;
mod control_plane;
mod golang;
mod keycloak;
mod kubeconfig;
mod kwok;
mod metrics_server;
mod mounts;
mod node;
mod pki;
mod probe;
mod process;
pub mod reserve;
mod state;

use binaries::default_cache;
pub use binaries::{Binaries, Tools, build_go_module};
pub use control_plane::{ControlPlane, Options};
pub use keycloak::{KEYCLOAK_ADMIN, Keycloak};
pub use kwok::{Kwok, KwokOptions};
pub use metrics_server::MetricsServer;
pub use node::{Node, install_prerequisites};
pub use pki::{Authority, KeyAndCertificate};
pub use process::{Process, Program, wait_for, wait_until};
pub use reserve::free_port;
pub use state::StateDir;

/// Says on standard error that a test did not run, and why. Unlike `eprintln!` it is seen when the test passes too.
pub fn skipped(test: &str, reason: &str) {
    use std::io::Write as _;
    // Nothing can be done about a standard error that is closed.
    let _ = writeln!(std::io::stderr(), "SKIPPED: {test}: {reason}");
}
