//! Client-side behaviour of the binary.
