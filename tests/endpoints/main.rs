//! Every endpoint.
