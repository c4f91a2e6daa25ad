//! What the binary does on this side of the wire, against a small server with the hub's paths. The hub's own
//! behaviour is tested with the real hub, in `e2e`.

#![allow(clippy::unwrap_used, reason = "helpers of tests, too, end a test by panicking")]

mod server;

#[cfg(unix)]
mod credential;
#[cfg(unix)]
mod kubectl;
#[cfg(unix)]
mod signing_in;
