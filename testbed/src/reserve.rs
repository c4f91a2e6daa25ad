//! Reservations that no two test runs on one machine can hold at once: ports and subnets.
//!
//! A reservation is a file lock held by the process, so it ends with the process whatever happens. A port is
//! taken from below the kernel's ephemeral range, where no outgoing connection can be given it between the moment it
//! is reserved here and the moment a program binds it.

use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result, ensure};

/// Below Linux' default ephemeral range (32768 to 60999) and Kubernetes' node ports (30000 to 32767).
const PORTS: std::ops::Range<u16> = 20_000..30_000;
const ATTEMPTS: usize = 1_000;

/// Ports stay reserved until this process ends: who asked for one may stop and start its program on it again.
static HELD: Mutex<Vec<File>> = Mutex::new(Vec::new());

/// A TCP port on loopback that nothing listens on and that no other user of the test bed will be given.
///
/// # Errors
/// No free port, or a temporary folder that cannot be written.
pub fn free_port() -> Result<u16> {
    for _ in 0..ATTEMPTS {
        let port = fastrand::u16(PORTS);
        let Some(held) = try_hold("ports", &port.to_string())? else {
            continue;
        };
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
            && TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).is_ok()
        {
            HELD.lock().unwrap_or_else(PoisonError::into_inner).push(held);
            return Ok(port);
        }
    }
    anyhow::bail!("no free port between {} and {}", PORTS.start, PORTS.end)
}

/// The reservation `name` of a kind, or `None` while another process (or this one) holds it.
pub(crate) fn try_hold(kind: &str, name: &str) -> Result<Option<File>> {
    let folder = root()?.join(kind);
    fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
    let file = File::create(folder.join(name))?;
    Ok(file.try_lock().is_ok().then_some(file))
}

/// The folder below which this user's test beds keep everything: short, because paths of sockets are limited to 107
/// bytes, and owned by the user, because it holds the keys of administrators.
pub(crate) fn root() -> Result<PathBuf> {
    let user = fs::metadata("/proc/self").context("read /proc/self")?.uid();
    let root = std::env::temp_dir().join(format!("flotilla-testbed-{user}"));
    let created = fs::DirBuilder::new().mode(0o700).create(&root);
    let metadata = fs::symlink_metadata(&root).map_err(|error| created.err().unwrap_or(error));
    let metadata = metadata.with_context(|| format!("create {}", root.display()))?;
    ensure!(metadata.is_dir() && metadata.uid() == user, "{} belongs to somebody else: remove it", root.display());
    Ok(root)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn ports_are_distinct_also_between_threads() {
        let threads: Vec<_> =
            (0..8).map(|_| std::thread::spawn(|| (0..20).map(|_| free_port().unwrap()).collect::<Vec<_>>())).collect();
        let ports: Vec<u16> = threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
        assert_eq!(ports.iter().collect::<HashSet<_>>().len(), ports.len());
    }

    #[test]
    fn a_reservation_is_exclusive_until_dropped() {
        let name = format!("test-{}", std::process::id());
        let first = try_hold("test", &name).unwrap();
        assert!(first.is_some());
        assert!(try_hold("test", &name).unwrap().is_none());
        drop(first);
        assert!(try_hold("test", &name).unwrap().is_some());
    }
}
