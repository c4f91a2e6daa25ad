//! flotilla-store.
