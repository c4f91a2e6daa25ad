//! The words that hub, agent and command line share: ids, request and response
//! shapes, the vocabulary of policy and audit, stable error codes.
//!
//! Must not know: how anything is stored, sent or decided. No I/O here.

pub mod access;
pub mod agent;
pub mod api;
pub mod audit;
pub mod cluster;
pub mod id;
pub mod name;
pub mod org;
pub mod policy;
pub mod problem;
pub mod recording;
pub mod rights;
pub mod sign_in;
pub mod status;
pub mod time;
