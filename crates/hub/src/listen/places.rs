//! How many connections a listener holds: not more than the process has file descriptors for, and not all of them for
//! one address.
//!
//! Must not know: what is said on a connection.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use parking_lot::Mutex;

/// Most connections of one listener, however many files the process may open.
const MOST: usize = 8192;

/// Fewest, however few.
const FEWEST: usize = 64;

/// The places of one listener. Cloning shares them.
#[derive(Clone)]
pub(super) struct Places(Arc<Inner>);

struct Inner {
    total: usize,
    /// Half of all: proxies and NAT put many people behind one address.
    per_address: usize,
    taken: Mutex<Taken>,
}

#[derive(Default)]
struct Taken {
    all: usize,
    /// Only addresses with open connections are in it.
    by_address: HashMap<IpAddr, usize>,
}

/// One connection; dropping it frees its place.
pub(super) struct Place {
    places: Places,
    address: IpAddr,
}

impl Places {
    /// As many as the process's limit of open files allows. A connection to a cluster may need a second file, and
    /// there are two listeners.
    pub(super) fn for_this_process() -> Self {
        let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
        Self::new(open_files(&limits).map_or(MOST, |files| (files / 4).clamp(FEWEST, MOST)))
    }

    fn new(total: usize) -> Self {
        Self(Arc::new(Inner { total, per_address: total.div_ceil(2), taken: Mutex::default() }))
    }

    /// A place for a connection from `address`; `None` when it, or the listener, has as many as it may.
    pub(super) fn take(&self, address: IpAddr) -> Option<Place> {
        let address = address.to_canonical();
        let mut taken = self.0.taken.lock();
        let here = taken.by_address.get(&address).copied().unwrap_or(0);
        if taken.all >= self.0.total || here >= self.0.per_address {
            return None;
        }
        taken.all += 1;
        taken.by_address.insert(address, here + 1);
        Some(Place { places: self.clone(), address })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.0.taken.lock();
        taken.all -= 1;
        if let Some(here) = taken.by_address.get_mut(&self.address) {
            *here -= 1;
            if *here == 0 {
                taken.by_address.remove(&self.address);
            }
        }
    }
}

/// The soft limit in `/proc/self/limits` (`proc_pid_limits(5)`).
fn open_files(limits: &str) -> Option<usize> {
    limits.lines().find_map(|line| line.strip_prefix("Max open files")?.split_whitespace().next()?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_cannot_take_them_all() {
        let [a, b, c] = ["10.0.0.1", "10.0.0.2", "::ffff:10.0.0.1"].map(|text| text.parse::<IpAddr>().unwrap());
        let places = Places::new(4);
        let first = places.take(a).unwrap();
        let _second = places.take(c).unwrap();
        assert!(places.take(a).is_none(), "half of them are an address's share, however it is written");
        let _others = (places.take(b).unwrap(), places.take(b).unwrap());
        assert!(places.take("10.0.0.3".parse().unwrap()).is_none(), "all are taken");
        drop(first);
        assert!(places.take(a).is_some());
        assert_eq!(places.0.taken.lock().by_address.len(), 2);
    }

    #[test]
    fn the_limit_is_read_as_linux_writes_it() {
        let text = "Limit  Soft Limit  Hard Limit  Units\nMax open files            1024                 524288               files\n";
        assert_eq!(open_files(text), Some(1024));
        assert_eq!(open_files("Max open files            unlimited            unlimited            files"), None);
        assert!(open_files(&std::fs::read_to_string("/proc/self/limits").unwrap()).is_some());
    }
}
