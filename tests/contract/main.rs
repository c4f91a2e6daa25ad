//! CONTRACT.md, row by row, against a running hub with a real cluster behind a real agent. Each test is named after
//! its row and says in words what the row demands.

#![allow(clippy::expect_used, reason = "a test program may fail here")]

mod access;
mod audit;
mod fixture;
mod mounting;
mod section_a;
mod section_a_grpc;
mod section_d_clusters;
mod sign_in;
