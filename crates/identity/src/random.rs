//! Bytes from the operating system's random number generator.
//!
//! Must not know: what they are for.

/// Fills `bytes` with random ones.
///
/// # Panics
/// When the generator fails. There is nothing sensible to go on with: every secret made from here
/// on would be guessable.
#[allow(clippy::expect_used, reason = "a predictable secret would be worse than a stop")]
pub(crate) fn fill(bytes: &mut [u8]) {
    aws_lc_rs::rand::fill(bytes).expect("the random number generator of the operating system must work");
}
