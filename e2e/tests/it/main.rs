//! Everything at once: a real control plane with a real node, the real hub and agents, unmodified kubectl and Helm.
//!
//! ```text
//! kubectl ──> hub (people) ══ tunnel ══> agent ──> API server ──> kubelet ──> pod
//! ```
//!
//! One control plane, hub and agent serve all tests ([`bed::bed`]); each test has a namespace of its own. A test that
//! stops, cuts or kills something has a hub and an agent of its own ([`bed::Stand`]) on the same control plane.
//!
//! Must not know: how the hub works inside. The only crates of ours that are used are the wire formats that a client
//! would have to write again (gRPC's generated client, certificate requests).

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a failed step is a failed test")]

mod access;
mod apis;
mod audit;
mod audit_diff;
mod bed;
mod browser;
mod commands;
mod copies;
mod direct;
mod enrolment;
mod explorer;
mod forwarding;
mod grpc;
mod helm;
mod http;
mod hub_kubectl;
mod kills;
mod links;
mod objects;
mod on_request;
mod requests;
mod settings;
mod shells;
mod sign_in;
mod stalled;
mod stopping;
mod streams;
mod terminals;
mod tokens;
mod websocket;
