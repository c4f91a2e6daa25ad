//! The tunnel, both ends of it, over loopback TCP and TLS.
//!
//! Every wait has a deadline far longer than it needs, so that a slow machine makes a test slow, not red.

#![allow(clippy::unwrap_used, reason = "helpers of tests, too, end a test by panicking")]

mod dialling;
mod enrolment;
mod exchange;
mod lifecycle;
mod proxied;
mod support;
mod upgrades;
