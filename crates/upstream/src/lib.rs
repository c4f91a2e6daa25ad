//! flotilla-upstream.
