//! One Kubernetes API server as an HTTP upstream: where it is, how to trust it, with which credentials to call it,
//! and as whom.
//!
//! ```text
//!   request ──strip──▶ + Host + own credentials + Impersonate-* ──▶ pooled HTTP/1.1 over TLS ──▶ API server
//!                                    upgrade? ──▶ a connection of its own ──▶ 101, bytes both ways
//! ```
//!
//! Everything that a caller could use to say who he is falls away before the request leaves; the identity comes
//! from [`Identity`] alone. Bodies stream. The deadline of an answer is the caller's; connecting has its own.
//!
//! Must not know: who the caller is to the hub, policy, audit, or that there is a tunnel in front of it.

mod access;
mod call;
pub mod check;
mod client;
mod connector;
mod credentials;
mod eks;
mod error;
mod exec;
mod headers;
mod identity;
mod in_cluster;
mod kubeconfig;
mod oidc;
mod renewed;
mod tls;

pub use access::{Access, ApiServer, Rules};
pub use client::Upstream;
pub use eks::{AwsEnvironment, EksCluster};
pub use error::UpstreamError;
pub use exec::Plugins;
pub use flotilla_tunnel::body::{self, Body, BoxError};
pub use identity::{Identity, InvalidIdentity};
pub use in_cluster::ServiceAccount;
pub use kubeconfig::Externals;
pub use oidc::{OidcClient, RefreshTokens};
