//! flotilla-cluster.
