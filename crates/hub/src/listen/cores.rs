//! Where connections run: one thread per processor core, each with a runtime of its own, and no task ever moves.
//!
//! A connection, the tasks it starts and the connections to API servers that it uses stay on one thread, so that a
//! request wakes no other one. One runtime whose threads steal work from each other costs half as much again per
//! request (`cargo xtask bench gateway`, case `direct-small-get-c32`). What is not a connection (the database,
//! workers, the hub's kubectl) has the runtime in which the hub was started.
//!
//! Must not know: what a connection carries.

use std::future::Future;
use std::num::NonZero;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context;
use tokio::runtime::{Builder, Handle};
use tokio_util::sync::CancellationToken;

/// How long a core waits at its end for calls that block a thread, for example the check of a password.
const BLOCKING_LIMIT: Duration = Duration::from_secs(1);

/// The threads that serve connections. Dropping them ends what still runs on them.
pub struct Cores {
    cores: Vec<Core>,
    stop: CancellationToken,
}

struct Core {
    runtime: Handle,
    /// Connections that it serves at this moment.
    busy: Arc<AtomicUsize>,
    thread: Option<JoinHandle<()>>,
}

impl Cores {
    /// One for each processor that this process may use.
    ///
    /// # Errors
    /// The operating system gives no more threads or files.
    pub fn start() -> anyhow::Result<Self> {
        let count = std::thread::available_parallelism().map_or(1, NonZero::get);
        let stop = CancellationToken::new();
        let cores = (0..count).map(|number| Core::start(number, stop.clone())).collect::<anyhow::Result<_>>()?;
        Ok(Self { cores, stop })
    }

    /// Runs `connection` on the core that serves the fewest.
    pub(super) fn spawn(&self, connection: impl Future<Output = ()> + Send + 'static) {
        let Some(core) = self.cores.iter().min_by_key(|core| core.busy.load(Ordering::Relaxed)) else { return };
        let busy = Busy::new(&core.busy);
        core.runtime.spawn(async move {
            let _busy = busy;
            connection.await;
        });
    }
}

impl Drop for Cores {
    fn drop(&mut self) {
        self.stop.cancel();
        for thread in self.cores.iter_mut().filter_map(|core| core.thread.take()) {
            // A panic of a connection stays in its task; the thread itself has nothing to panic about.
            let _ = thread.join();
        }
    }
}

impl Core {
    fn start(number: usize, stop: CancellationToken) -> anyhow::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build().context("a thread for connections")?;
        let handle = runtime.handle().clone();
        let thread = std::thread::Builder::new().name(format!("core-{number}")).spawn(move || {
            runtime.block_on(stop.cancelled());
            runtime.shutdown_timeout(BLOCKING_LIMIT);
        });
        Ok(Self { runtime: handle, busy: Arc::default(), thread: Some(thread.context("a thread for connections")?) })
    }
}

/// Counts one connection as long as it lives.
struct Busy(Arc<AtomicUsize>);

impl Busy {
    fn new(counter: &Arc<AtomicUsize>) -> Self {
        counter.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(counter))
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn connections_are_spread_and_end_with_the_cores() {
        let cores = Cores::start().unwrap();
        let count = cores.cores.len();
        let (seen, threads) = mpsc::channel();
        let alive = Arc::new(());
        for _ in 0..count * 2 {
            let (seen, alive) = (seen.clone(), Arc::clone(&alive));
            cores.spawn(async move {
                let _alive = alive;
                seen.send(std::thread::current().id()).unwrap();
                std::future::pending::<()>().await;
            });
        }
        let threads: HashSet<_> = (0..count * 2).map(|_| threads.recv().unwrap()).collect();
        assert_eq!(threads.len(), count);
        assert!(cores.cores.iter().all(|core| core.busy.load(Ordering::Relaxed) == 2));
        drop(cores);
        assert_eq!(Arc::strong_count(&alive), 1);
    }

    #[test]
    fn a_connection_that_ended_or_panicked_counts_no_more() {
        let cores = Cores::start().unwrap();
        let (done, ended) = mpsc::channel::<()>();
        let other = done.clone();
        cores.spawn(async move { drop(done) });
        cores.spawn(async move {
            let _other = other;
            panic!("as a defect would");
        });
        assert!(ended.recv().is_err());
        while cores.cores.iter().any(|core| core.busy.load(Ordering::Relaxed) > 0) {
            std::thread::yield_now();
        }
    }
}
