//! The one way to a cluster.
//!
//! ```text
//!  http::Request --ClusterRequest::new--> ClusterRequest      what is asked, read as the API server reads it
//!                --Gate::authorize------> Authorized<..>      the policy allows it, and says by which rule
//!                --Gate::audit----------> Audited<..>         the attempted row, if one is due, is on disk
//!                --Transport::send------> Response<Body>      the outcome row follows the end of the answer
//! ```
//!
//! Console, kubectl, command line and everything else pass through all four steps, because each type can only be
//! made by the step before it.
//!
//! Must not know: routes, sessions, SQL.

pub mod act;
pub mod backends;
pub mod gate;
pub mod guard;
pub mod health;
pub mod live;
pub mod metrics;
pub mod rbac;
pub mod request;
pub mod request_info;
pub mod status_of;
pub mod tape;
pub mod transport;

mod denials;
mod diff;
mod streams;

pub use flotilla_tunnel::body::{Body, BoxError, boxed, empty, full};
