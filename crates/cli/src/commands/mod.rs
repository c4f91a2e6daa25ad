//! The commands, one noun a file: their options and what they do with them.
//!
//! Must not know: HTTP, file formats, locking; those are in the modules above.

#![allow(clippy::doc_markdown, reason = "comments on options are what --help prints")]

pub(crate) mod access;
pub(crate) mod agents;
pub(crate) mod api_keys;
pub(crate) mod audit;
pub(crate) mod audit_proof;
pub(crate) mod audit_show;
pub(crate) mod auth;
pub(crate) mod cluster_care;
pub(crate) mod clusters;
pub(crate) mod completion;
pub(crate) mod credential;
pub(crate) mod hub;
pub(crate) mod invite;
pub(crate) mod kubeconfig;
pub(crate) mod kubectl;
pub(crate) mod login;
pub(crate) mod logout;
pub(crate) mod orgs;
pub(crate) mod password;
pub(crate) mod recordings;
pub(crate) mod requests;
pub(crate) mod roles;
pub(crate) mod status;
pub(crate) mod teams;
pub(crate) mod users;
pub(crate) mod version;
