//! The hub's table of which connections serve which name.
//!
//! A name belongs to one owner (one enrolment of an agent) for as long as it has a live connection; names and owners
//! are opaque here. Reading the table is a hash look-up under a shared lock that is never held across anything slow.
//!
//! Must not know: what a name stands for, or how an owner proved itself.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use parking_lot::RwLock;
use uuid::Uuid;

use crate::client::Connection;
pub use crate::lane::Lane;
use crate::metrics::TunnelMetrics;

/// Who serves which name. Cheap to clone.
#[derive(Clone)]
pub struct Registry {
    inner: Arc<Inner>,
}

struct Inner {
    names: RwLock<HashMap<Box<str>, Vec<Slot>>>,
    next: AtomicU64,
    metrics: TunnelMetrics,
}

struct Slot {
    id: u64,
    owner: Uuid,
    lane: Lane,
    since: SystemTime,
    connection: Connection,
}

/// The name is served by another owner.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the name is already served by agent {owner}: revoke it, or stop it, before another takes its place")]
pub struct Taken {
    /// The other owner.
    pub owner: Uuid,
    /// Since when.
    pub since: SystemTime,
}

/// One connection in the table.
#[derive(Clone, Debug)]
pub struct ConnectionView {
    /// The name it serves.
    pub name: String,
    /// Whose it is.
    pub owner: Uuid,
    /// What it is for.
    pub lane: Lane,
    /// Since when.
    pub since: SystemTime,
    /// Streams under way.
    pub in_flight: usize,
}

/// Keeps a connection in the table; dropping it takes the connection out.
#[must_use = "the connection leaves the table when this is dropped"]
pub struct Guard {
    registry: Registry,
    name: Box<str>,
    id: u64,
}

impl Registry {
    /// An empty table.
    pub fn new(metrics: TunnelMetrics) -> Self {
        Self { inner: Arc::new(Inner { names: RwLock::default(), next: AtomicU64::new(0), metrics }) }
    }

    /// Enters a connection.
    ///
    /// Whoever checks that the owner is not revoked must check (again) after this: a revocation before it finds no
    /// connection to cut.
    ///
    /// # Errors
    /// [`Taken`] if another owner has a live connection for the name. One that is draining does not count.
    pub fn insert(&self, name: &str, owner: Uuid, lane: Lane, connection: Connection) -> Result<Guard, Taken> {
        let mut names = self.inner.names.write();
        let slots = names.entry(name.into()).or_default();
        let other = slots.iter().find(|slot| slot.owner != owner && !slot.connection.is_closed());
        if let Some(other) = other {
            self.inner.metrics.name_taken();
            return Err(Taken { owner: other.owner, since: other.since });
        }
        let id = self.inner.next.fetch_add(1, Ordering::Relaxed);
        slots.push(Slot { id, owner, lane, since: SystemTime::now(), connection });
        Ok(Guard { registry: self.clone(), name: name.into(), id })
    }

    /// The connection for the next request to a name: of the lane if there is one, then of any; of several the one
    /// with the fewest streams.
    pub fn pick(&self, name: &str, lane: Lane) -> Option<Connection> {
        let names = self.inner.names.read();
        let live = names.get(name)?.iter().filter(|slot| !slot.connection.is_closed());
        live.min_by_key(|slot| (slot.lane != lane, slot.connection.in_flight())).map(|slot| slot.connection.clone())
    }

    /// Cuts every connection of an owner, with all streams on them. Returns how many.
    pub fn disconnect(&self, owner: Uuid) -> usize {
        let names = self.inner.names.read();
        let owned = names.values().flatten().filter(|slot| slot.owner == owner);
        owned.map(|slot| slot.connection.close()).count()
    }

    /// All connections, draining ones included.
    pub fn connections(&self) -> Vec<ConnectionView> {
        let view = |name: &str, slot: &Slot| ConnectionView {
            name: name.to_owned(),
            owner: slot.owner,
            lane: slot.lane,
            since: slot.since,
            in_flight: slot.connection.in_flight(),
        };
        let names = self.inner.names.read();
        names.iter().flat_map(|(name, slots)| slots.iter().map(|slot| view(name, slot))).collect()
    }

    /// Whether a request to the name would find a connection.
    pub fn is_connected(&self, name: &str) -> bool {
        let names = self.inner.names.read();
        names.get(name).is_some_and(|slots| slots.iter().any(|slot| !slot.connection.is_closed()))
    }

    /// Lets every connection finish what is under way and take nothing new.
    pub fn drain(&self) {
        let names = self.inner.names.read();
        names.values().flatten().for_each(|slot| slot.connection.retire());
    }

    fn remove(&self, name: &str, id: u64) {
        let mut names = self.inner.names.write();
        if let Entry::Occupied(mut entry) = names.entry(name.into()) {
            entry.get_mut().retain(|slot| slot.id != id);
            if entry.get().is_empty() {
                entry.remove();
            }
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.registry.remove(&self.name, self.id);
    }
}
