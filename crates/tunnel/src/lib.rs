//! flotilla-tunnel.
