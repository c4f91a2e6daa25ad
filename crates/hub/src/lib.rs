//! flotilla-hub.
