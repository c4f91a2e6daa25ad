//! flotilla-identity.
