//! Slows down whoever guesses passwords: per account and per address.
//!
//! Both limits are token buckets (GCRA). Keys are hashed, with a seed that no outsider knows, onto a
//! fixed number of buckets, so memory is bounded whatever names and addresses are tried; two keys
//! that share a bucket share its allowance. IPv6 addresses count by their /64, the smallest block
//! that one customer gets.
//!
//! Must not know: whether the password was right. A right one costs the same as a wrong one, so the
//! answer says nothing about it.

use std::hash::{BuildHasher, Hash, RandomState};
use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::time::Duration;

use governor::clock::{Clock, DefaultClock};
use governor::middleware::NoOpMiddleware;
use governor::state::keyed::DefaultKeyedStateStore;
use governor::{Quota, RateLimiter};
use thiserror::Error;

/// Number of buckets per limit; about 2 MiB when every one of them is in use.
pub const BUCKETS: usize = 1 << 16;

/// Attempts that one account may have at once, and the time after which it gets another.
pub const PER_ACCOUNT: (u32, Duration) = (10, Duration::from_secs(6));

/// Attempts that one address may make at once, and the time after which it gets another.
pub const PER_ADDRESS: (u32, Duration) = (50, Duration::from_secs(1));

/// The attempt was not looked at. Come back after the given time.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("too many attempts: wait {} s before the next", self.seconds())]
pub struct RetryAfter(pub Duration);

impl RetryAfter {
    /// Whole seconds, rounded up: the value of a `Retry-After` header.
    #[must_use]
    pub fn seconds(self) -> u64 {
        self.0.as_secs() + u64::from(self.0.subsec_nanos() > 0)
    }
}

type Limiter<C> = RateLimiter<u16, DefaultKeyedStateStore<u16>, C, NoOpMiddleware<<C as Clock>::Instant>>;

/// The limits of sign-in. Share one between all ways to sign in.
pub struct LoginThrottle<C: Clock = DefaultClock> {
    accounts: Limiter<C>,
    addresses: Limiter<C>,
    seed: RandomState,
    clock: C,
}

impl Default for LoginThrottle {
    fn default() -> Self {
        Self::new()
    }
}

impl LoginThrottle {
    /// A throttle that has seen nobody yet.
    #[must_use]
    pub fn new() -> Self {
        Self::with_clock(DefaultClock::default())
    }
}

impl<C: Clock + Clone> LoginThrottle<C> {
    fn with_clock(clock: C) -> Self {
        Self {
            accounts: RateLimiter::dashmap_with_clock(quota(PER_ACCOUNT), clock.clone()),
            addresses: RateLimiter::dashmap_with_clock(quota(PER_ADDRESS), clock.clone()),
            seed: RandomState::new(),
            clock,
        }
    }

    /// Counts one attempt of `address` to sign in as `account` (the normalised name), before the
    /// password is looked at.
    ///
    /// An address that has used up its own allowance no longer counts against the account, so one
    /// guesser alone cannot keep the owner out for longer than his own allowance lasts.
    ///
    /// # Errors
    /// How long to wait, when either limit is reached.
    pub fn check(&self, account: &str, address: IpAddr) -> Result<(), RetryAfter> {
        self.take(&self.addresses, &block(address))?;
        self.take(&self.accounts, &account)
    }

    fn take(&self, limiter: &Limiter<C>, key: &impl Hash) -> Result<(), RetryAfter> {
        // The lowest 16 bits of a seeded hash: one of BUCKETS.
        let bucket = (self.seed.hash_one(key) & 0xffff) as u16;
        limiter.check_key(&bucket).map_err(|until| RetryAfter(until.wait_time_from(self.clock.now())))
    }

    /// Buckets in use, of both limits.
    #[must_use]
    pub fn buckets(&self) -> usize {
        self.accounts.len() + self.addresses.len()
    }
}

/// The block of addresses that counts as one: an IPv4 address, or the /64 of an IPv6 address.
#[must_use]
pub fn block(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
        v4 => v4,
    }
}

fn quota((burst, every): (u32, Duration)) -> Quota {
    let burst = NonZeroU32::new(burst).unwrap_or(NonZeroU32::MIN);
    Quota::with_period(every).unwrap_or_else(|| Quota::per_second(NonZeroU32::MIN)).allow_burst(burst)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use governor::clock::FakeRelativeClock;

    use super::*;

    fn throttle() -> (LoginThrottle<FakeRelativeClock>, FakeRelativeClock) {
        let clock = FakeRelativeClock::default();
        (LoginThrottle::with_clock(clock.clone()), clock)
    }

    fn address(n: u32) -> IpAddr {
        IpAddr::V4(Ipv4Addr::from(0x0a00_0000 + n))
    }

    #[test]
    fn an_account_has_ten_attempts_and_then_one_per_six_seconds() {
        let (throttle, clock) = throttle();
        for n in 0..10 {
            assert_eq!(throttle.check("a@example.com", address(n)), Ok(()));
        }
        let RetryAfter(wait) = throttle.check("a@example.com", address(10)).unwrap_err();
        assert!(wait > Duration::from_secs(5) && wait <= Duration::from_secs(6), "{wait:?}");
        assert_eq!(RetryAfter(wait).to_string(), "too many attempts: wait 6 s before the next");
        clock.advance(wait);
        assert_eq!(throttle.check("a@example.com", address(11)), Ok(()));
        assert!(throttle.check("a@example.com", address(12)).is_err());
    }

    #[test]
    fn an_address_has_fifty_attempts_over_all_accounts() {
        let (throttle, _clock) = throttle();
        let passed = (0..200).filter(|n| throttle.check(&format!("u{n}@example.com"), address(1)).is_ok()).count();
        assert_eq!(passed, 50);
        assert_eq!(throttle.check("other@example.com", address(2)), Ok(()));
    }

    #[test]
    fn a_blocked_address_does_not_use_up_the_account() {
        let (throttle, _clock) = throttle();
        for n in 0..50 {
            let _ = throttle.check(&format!("u{n}@example.com"), address(1));
        }
        for _ in 0..100 {
            assert!(throttle.check("victim@example.com", address(1)).is_err());
        }
        assert_eq!(throttle.check("victim@example.com", address(2)), Ok(()));
    }

    #[test]
    fn one_ipv6_network_is_one_address() {
        let (throttle, _clock) = throttle();
        let host = |n: u16| IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 1, 2, 0, 0, 0, n));
        let passed = (0..200).filter(|n| throttle.check(&format!("u{n}@example.com"), host(*n)).is_ok()).count();
        assert_eq!(passed, 50);
        assert_eq!(block("::ffff:10.0.0.1".parse().unwrap()), address(1));
    }

    #[test]
    fn memory_is_bounded() {
        let (throttle, _clock) = throttle();
        for n in 0..300_000_u32 {
            let _ = throttle.check(&format!("u{n}"), address(n));
        }
        assert!(throttle.buckets() <= 2 * BUCKETS, "{}", throttle.buckets());
    }
}
