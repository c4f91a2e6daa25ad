//! Who is calling, and what may they do: principals, passwords, tokens, throttling of sign-in, and
//! the one policy evaluator that every way into a cluster asks.
//!
//! ```text
//! password ─┐                         roles (built in, file, database)
//!           ├─> token ─> authn ─> Principal            │ compile
//! session ──┘      (cache 10 s)       │                v
//!                                     └────────> policy::PolicySet ─> Decision {allowed, denied, invisible}
//! ```
//!
//! Must not know: the hub's HTTP API, SQL, the tunnel. The database is seen through [`authn::Accounts`], a request
//! through [`policy::Action`]. [`oidc`] asks providers over HTTP; nothing else here does.

pub mod api_key;
pub mod authn;
pub mod limit;
pub mod oidc;
pub mod password;
pub mod policy;
pub mod principal;
mod random;
pub mod scopes;
pub mod single_flight;
pub mod standing;
pub mod throttle;
pub mod token;
