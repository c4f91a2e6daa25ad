//! Holds the integration tests `contract` and `endpoints`.
