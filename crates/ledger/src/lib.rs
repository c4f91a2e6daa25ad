//! The audit log as a proof: how rows are chained, what a signed checkpoint states, and how anyone who holds the
//! public keys finds out whether a log is whole. The hub, its database and an export on a laptop are checked by the
//! same code.
//!
//! # The chain
//! Rows have positions from 1 without gaps. `hash = SHA-256(hash of the row before || canonical bytes)`; the hash
//! before the first row is 32 zero bytes. Canonical bytes: `flotilla-audit-1`, then each field as its length (8 bytes,
//! big-endian) and its bytes, in the order of [`row::Fields`]; numbers are 8 bytes big-endian two's complement, a missing
//! optional is the empty string, groups are the JSON text of their column. The last field, the run, is left out when it
//! is empty, as it is in rows older than that column.
//!
//! # Checkpoints
//! A JWS (RFC 7515), `EdDSA`, with [`flotilla_types::audit::Checkpoint`] as its payload. Its `hash` depends on all rows up
//! to its `seq`: who holds a checkpoint can tell later whether these rows were rewritten, hashes and all.
//!
//! Must not know: where rows come from or are kept, who signs.

pub mod checkpoint;
pub mod export;
pub mod hex;
pub mod row;
mod verifier;

pub use verifier::Verifier;
