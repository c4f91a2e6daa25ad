//! Reversed HTTP/2 over mutual TLS.
//!
//! ```text
//!   agent                                   hub
//!   dial ──── TCP, TLS 1.3, client cert ──▶ listener      who connects
//!   serve ◀── HTTP/2: one stream a request ─ client        who asks
//!     │                                        │
//!   the agent's service                     registry: who serves which name
//! ```
//!
//! The agent dials out, then the roles flip: it serves HTTP/2 on the connection that it opened, and the hub is the
//! client. Headers, trailers, cancellation and flow control are HTTP/2's own; nothing is framed a second time.
//! Upgrades travel as extended CONNECT (RFC 8441), see [`upgrade`].
//!
//! Must not know: Kubernetes, users, policy, databases, or any other crate of this workspace.

pub mod body;
pub mod carrier;
pub mod client;
pub mod dial;
pub mod enrol;
pub mod error;
mod lane;
mod link;
pub mod metrics;
pub mod pki;
pub mod registry;
pub mod serve;
pub mod token;
pub mod upgrade;
pub mod websocket;
mod welcome;
pub mod windows;

pub use body::{Body, BoxError};
pub use error::{Refusal, TunnelError};
pub use lane::Lane;

/// ALPN protocol name of a direct tunnel, and `Upgrade` token of `GET /api/agents/connect`.
pub const PROTOCOL: &str = "flotilla-tunnel/1";
