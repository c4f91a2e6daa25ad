//! How many requests the hub takes: by principal once he is known, by address until then. Token buckets, so bursts are
//! free and the rest is told when to come back.
//!
//! Must not know: what a request does.

use std::net::IpAddr;
use std::time::Duration;

use flotilla_identity::limit::RateLimit;
use flotilla_identity::throttle::{RetryAfter, block};
use flotilla_types::id::UserId;

use crate::config::{self, Rate};
use crate::error::ApiError;

/// The buckets.
pub struct Limits {
    address: RateLimit,
    principal: RateLimit,
    gateway: RateLimit,
}

impl Limits {
    /// Full buckets.
    #[must_use]
    pub fn new(config: &config::Limits) -> Self {
        let limit = |rate: Rate| RateLimit::new(rate.per_second, rate.burst);
        Self { address: limit(config.address), principal: limit(config.principal), gateway: limit(config.gateway) }
    }

    /// Counts a request of somebody who has not proven who he is.
    ///
    /// # Errors
    /// 429 with `Retry-After`.
    pub fn address(&self, address: IpAddr) -> Result<(), ApiError> {
        self.address.check(&block(address)).map_err(|RetryAfter(wait)| {
            ApiError::too_many_requests("too many requests from this address; wait, or sign in", wait)
        })
    }

    /// Counts a request to the hub's own API.
    ///
    /// # Errors
    /// 429 with `Retry-After`.
    pub fn principal(&self, user: UserId) -> Result<(), ApiError> {
        self.principal.check(&user).map_err(|RetryAfter(wait)| {
            ApiError::too_many_requests("you send too many requests; wait and try again", wait)
        })
    }

    /// Counts a request to a cluster.
    ///
    /// # Errors
    /// How long to wait.
    pub fn gateway(&self, user: UserId) -> Result<(), Duration> {
        self.gateway.check(&user).map_err(|RetryAfter(wait)| wait)
    }
}
