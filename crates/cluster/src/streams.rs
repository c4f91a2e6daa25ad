//! How many answers a person may have open at once. One that is not read holds up to 256 KiB at each end of the
//! tunnel, so without a cap one caller could take all the memory there is.
//!
//! Must not know: what the streams carry.

use std::collections::HashMap;
use std::sync::Arc;

use flotilla_types::id::UserId;
use parking_lot::Mutex;
use prometheus_client::metrics::gauge::Gauge;

/// Counts open streams per person.
#[derive(Clone)]
pub(crate) struct Streams(Arc<Inner>);

struct Inner {
    limit: usize,
    /// Only people with open streams are in it.
    open: Mutex<HashMap<UserId, usize>>,
    gauge: Gauge,
}

/// One open stream; closed by dropping it.
pub(crate) struct Permit {
    streams: Streams,
    user: UserId,
}

impl Streams {
    pub(crate) fn new(limit: usize, gauge: Gauge) -> Self {
        Self(Arc::new(Inner { limit, open: Mutex::default(), gauge }))
    }

    /// `None` when the person has as many open as he may.
    pub(crate) fn open(&self, user: UserId) -> Option<Permit> {
        let mut open = self.0.open.lock();
        let count = open.entry(user).or_insert(0);
        if *count >= self.0.limit {
            return None;
        }
        *count += 1;
        self.0.gauge.inc();
        Some(Permit { streams: self.clone(), user })
    }

    pub(crate) fn limit(&self) -> usize {
        self.0.limit
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let inner = &self.streams.0;
        let mut open = inner.open.lock();
        if let Some(count) = open.get_mut(&self.user) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.user);
            }
        }
        inner.gauge.dec();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_person_has_a_cap_of_their_own() {
        let streams = Streams::new(2, Gauge::default());
        let (a, b) = (UserId::new(), UserId::new());
        let first = streams.open(a).unwrap();
        let _second = streams.open(a).unwrap();
        assert!(streams.open(a).is_none());
        assert!(streams.open(b).is_some());
        drop(first);
        assert!(streams.open(a).is_some());
    }

    #[test]
    fn nobody_without_streams_is_remembered() {
        let streams = Streams::new(2, Gauge::default());
        drop(streams.open(UserId::new()));
        assert!(streams.0.open.lock().is_empty());
        assert_eq!(streams.0.gauge.get(), 0);
    }
}
