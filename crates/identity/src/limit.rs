//! Token buckets for requests, by who sends them. Keys are hashed, with a seed that no outsider knows, onto a fixed
//! number of buckets, so memory is bounded whatever is tried; two keys that share a bucket share its allowance.
//!
//! Must not know: requests.

use std::hash::{BuildHasher, Hash, RandomState};
use std::num::NonZeroU32;
use std::time::Duration;

use governor::clock::{Clock, DefaultClock};
use governor::middleware::NoOpMiddleware;
use governor::state::keyed::DefaultKeyedStateStore;
use governor::{Quota, RateLimiter};

use crate::throttle::RetryAfter;

type Buckets<C> = RateLimiter<u16, DefaultKeyedStateStore<u16>, C, NoOpMiddleware<<C as Clock>::Instant>>;

/// A limit of requests per second, with bursts. Costs about 0.1 µs per check.
pub struct RateLimit<C: Clock = DefaultClock> {
    limiter: Option<Buckets<C>>,
    seed: RandomState,
    clock: C,
}

impl RateLimit {
    /// At most `burst` requests at once and `per_second` over time; zero `per_second` limits nothing.
    #[must_use]
    pub fn new(per_second: u32, burst: u32) -> Self {
        Self::with_clock(per_second, burst, DefaultClock::default())
    }
}

impl<C: Clock + Clone> RateLimit<C> {
    fn with_clock(per_second: u32, burst: u32, clock: C) -> Self {
        let quota = NonZeroU32::new(per_second)
            .map(|rate| Quota::per_second(rate).allow_burst(NonZeroU32::new(burst).unwrap_or(NonZeroU32::MIN)));
        let limiter = quota.map(|quota| RateLimiter::dashmap_with_clock(quota, clock.clone()));
        Self { limiter, seed: RandomState::new(), clock }
    }

    /// Counts one request of `key`.
    ///
    /// # Errors
    /// How long to wait.
    pub fn check(&self, key: &impl Hash) -> Result<(), RetryAfter> {
        let Some(limiter) = &self.limiter else { return Ok(()) };
        // The lowest 16 bits of a seeded hash: one of 65,536 buckets.
        let bucket = (self.seed.hash_one(key) & 0xffff) as u16;
        limiter
            .check_key(&bucket)
            .map_err(|until| RetryAfter(until.wait_time_from(self.clock.now()).max(Duration::from_millis(1))))
    }
}

#[cfg(test)]
mod tests {
    use governor::clock::FakeRelativeClock;

    use super::*;

    #[test]
    fn a_burst_then_the_rate() {
        let clock = FakeRelativeClock::default();
        let limit = RateLimit::with_clock(10, 20, clock.clone());
        assert_eq!((0..100).filter(|_| limit.check(&"a").is_ok()).count(), 20);
        let RetryAfter(wait) = limit.check(&"a").unwrap_err();
        assert!(wait <= Duration::from_millis(100), "{wait:?}");
        clock.advance(Duration::from_secs(1));
        assert_eq!((0..100).filter(|_| limit.check(&"a").is_ok()).count(), 10);
        assert!(limit.check(&"b").is_ok(), "somebody else has a bucket of his own");
    }

    #[test]
    fn zero_is_no_limit() {
        let limit = RateLimit::new(0, 0);
        assert!((0..10_000).all(|_| limit.check(&"a").is_ok()));
    }
}
