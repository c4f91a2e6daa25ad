//! The audit log: no row, no act.
//!
//! ```text
//! attempt() --> [ requests, bounded ] --\
//! record()  --/                          writer task --> one transaction per batch --> answers, JSON lines
//! finish()  --> [ outcomes, reserved ] -/            \-- outcomes that failed: tried again
//! ```
//!
//! One writer task takes whatever waits, writes it in one transaction (one fsync) and answers. While it writes,
//! the next batch gathers. An outcome's place in its queue is reserved before the act, so that the outcome of a
//! permitted act is never lost for want of room, and `finish` never waits.
//!
//! How rows are chained and verified is told in `flotilla_ledger`. The table `audit_head` holds the end of the chain and
//! is updated first in each transaction, so that several hubs on one PostgreSQL write one chain.
//!
//! # Guarantees
//! * When [`AuditLog::attempt`] returns, the row is committed to disk. When it fails, the act must not happen.
//! * Each attempted row gets at most one outcome, and exactly one if the process lives: a dropped [`Pending`]
//!   counts as aborted, a failed commit of an outcome is repeated until it succeeds.
//! * [`Store::verify_audit`] finds a changed, removed or exchanged row and says where.
//!
//! # Non-guarantees
//! * Who may write to the database and holds the hub's sealing key may compute and sign the whole chain anew. Rows
//!   behind the last checkpoint are vouched for by nobody but the chain. Copies elsewhere (sinks, exports) are what to
//!   compare with.
//! * Rows that were open when the process was killed stay `attempted` until [`AuditLog::close_orphans`].
//!
//! Must not know: HTTP, Kubernetes, what is worth a row.

mod chain;
mod checkpoints;
mod lines;
mod query;
mod row;
mod runs;
mod sinks;
mod verify;
mod writer;

use std::sync::Arc;
use std::time::Duration;

use flotilla_types::api::AuditPage;
use flotilla_types::audit::{AuditQuery, AuditRow, Diff, Outcome};
use flotilla_types::id::{AuditId, UserId};
use thiserror::Error;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};

pub use checkpoints::{Cut, Retention, Sign, Signed};
pub use verify::MOST_ROWS;

use crate::{Store, StoreError, StoreMetrics};
use row::StoredRow;
use runs::Run;
use writer::{Request, Writer};

/// Longest wait for room in a queue.
pub const QUEUE_DEADLINE: Duration = Duration::from_secs(5);
/// Longest wait for the commit once the row is queued.
const WRITE_DEADLINE: Duration = Duration::from_secs(15);
/// Orphans that are closed at a time.
const ORPHANS: usize = 256;

/// Why a row was not written.
#[derive(Clone, Debug, Error)]
pub enum AuditError {
    /// There was no room, or no commit, in time.
    #[error("the audit log has no room for another row; check the database and try again")]
    Unavailable,
    /// The transaction failed.
    #[error("the audit row could not be written; check the database and try again")]
    Write(#[source] Arc<StoreError>),
    /// The writer has ended because the hub is stopping.
    #[error("the audit log is closed; try again when the hub is back")]
    Closed,
}

/// How the log works.
#[derive(Clone, Debug)]
pub struct AuditOptions {
    /// Whether each row is also printed on standard output, as one line of JSON.
    pub stdout: bool,
    /// Rows that may wait to be written, at least 1.
    pub queue: usize,
    /// Acts that may be open (attempted, outcome not known) at one time, at least 1.
    pub open_acts: usize,
    /// How long a hub on PostgreSQL may be silent before another one takes it for dead. Clocks of hubs must agree to
    /// well within it.
    pub lease: Duration,
    /// Where to count.
    pub metrics: StoreMetrics,
}

impl Default for AuditOptions {
    fn default() -> Self {
        let metrics = StoreMetrics::unregistered();
        Self { stdout: false, queue: 1024, open_acts: 16_384, lease: Duration::from_secs(20), metrics }
    }
}

/// Handle to the writer. Cheap to clone.
#[derive(Clone, Debug)]
pub struct AuditLog {
    requests: mpsc::Sender<Request>,
    outcomes: mpsc::Sender<Box<StoredRow>>,
    store: Store,
    metrics: StoreMetrics,
    run: Arc<Run>,
}

impl AuditLog {
    /// Starts the writer. It ends, after writing everything, when all handles and all [`Pending`]s are gone;
    /// await the returned task (with a deadline of your own) before the process ends.
    ///
    /// # Errors
    /// The end of the chain cannot be read, or the thread that prints cannot be started.
    pub async fn start(store: &Store, options: AuditOptions) -> Result<(Self, JoinHandle<()>), StoreError> {
        let started_after = chain::head(&store.db).await?.seq;
        let run = Arc::new(Run { id: AuditId::new().to_string(), started_after, lease: options.lease });
        run.seen(&store.db).await?;
        let lines = options.stdout.then(|| lines::Lines::start(std::io::stdout())).transpose();
        let (requests, incoming) = mpsc::channel(options.queue.max(1));
        let (outcomes, finished) = mpsc::channel(options.open_acts.max(1));
        let lines = lines.map_err(StoreError::File)?;
        let writer = Writer::new(store.db.clone(), run.id.clone(), incoming, finished, lines, &options);
        let log = Self { requests, outcomes, store: store.clone(), metrics: options.metrics, run: Arc::clone(&run) };
        let db = store.db.clone();
        let task = async move {
            tokio::select! {
                () = writer.run() => run.end(&db).await,
                () = run.beat(&db) => {}
            }
        };
        Ok((log, tokio::spawn(task)))
    }

    /// Name of this run of the hub, as its rows hold it.
    #[must_use]
    pub fn run(&self) -> &str {
        &self.run.id
    }

    /// Writes the row that precedes an act; `row.outcome`, `seq` and `hash` are set here. The row is on disk
    /// when this returns. If the caller goes away while waiting, the act counts as aborted.
    ///
    /// # Errors
    /// The row is not known to be on disk: the act must not happen.
    pub async fn attempt(&self, row: AuditRow) -> Result<Pending, AuditError> {
        let deadline = Instant::now() + QUEUE_DEADLINE;
        let slot = timeout_at(deadline, self.outcomes.clone().reserve_owned()).await;
        let slot = slot.map_err(|_| AuditError::Unavailable)?.map_err(|_| AuditError::Closed)?;
        let row = StoredRow::new(AuditRow { outcome: Outcome::Attempted, ..row }, None);
        let pending = Pending::new(Box::new(row), slot, self.metrics.clone());
        let (done, answer) = oneshot::channel();
        self.submit(Request::Attempt { pending, done }, deadline).await?;
        wait(answer).await
    }

    /// Writes a row that stands alone (denied, login ...). It is on disk when this returns; it is written
    /// even when the caller goes away while waiting.
    ///
    /// # Errors
    /// The row is not known to be on disk.
    pub async fn record(&self, row: AuditRow) -> Result<(), AuditError> {
        self.write(StoredRow::new(row, None)).await
    }

    async fn write(&self, row: StoredRow) -> Result<(), AuditError> {
        let (done, answer) = oneshot::channel();
        let deadline = Instant::now() + QUEUE_DEADLINE;
        self.submit(Request::Record { row: Box::new(row), done }, deadline).await?;
        wait(answer).await
    }

    async fn submit(&self, request: Request, deadline: Instant) -> Result<(), AuditError> {
        match timeout_at(deadline, self.requests.send(request)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(AuditError::Closed),
            Err(_) => Err(AuditError::Unavailable),
        }
    }

    /// Rows that match, newest first. With `only_user`, only rows of acts by that user.
    ///
    /// # Errors
    /// The database failed.
    pub async fn query(&self, query: &AuditQuery, only_user: Option<UserId>) -> Result<AuditPage, StoreError> {
        self.store.audit_query(query, only_user).await
    }

    /// Gives every row that a run left open which is over the outcome `aborted`, and returns how many there were.
    /// To be called at start and now and then: on PostgreSQL a run counts as over when its lease has passed.
    ///
    /// # Errors
    /// The database failed; some may have been closed.
    pub async fn close_orphans(&self) -> Result<u64, AuditError> {
        let failed = |error| AuditError::Write(Arc::new(error));
        let db = &self.store.db;
        let mut closed = 0;
        for run in runs::over(db, &self.run).await.map_err(failed)? {
            if !run.claim(db).await.map_err(failed)? {
                continue;
            }
            closed += self.close_orphans_of(&run).await?;
            run.end(db).await.map_err(failed)?;
        }
        Ok(closed)
    }

    async fn close_orphans_of(&self, run: &runs::Other) -> Result<u64, AuditError> {
        let mut closed = 0;
        loop {
            let orphans = run.orphans(&self.store.db, ORPHANS).await;
            let orphans = orphans.map_err(|error| AuditError::Write(Arc::new(error)))?;
            if orphans.is_empty() {
                return Ok(closed);
            }
            closed += orphans.len() as u64;
            let reason = || "the hub stopped before the outcome was known".to_owned();
            let rows = orphans.iter().map(|row| row.outcome(Outcome::Aborted, 0, 0, reason(), 0));
            futures_util::future::try_join_all(rows.map(|row| self.write(row))).await?;
        }
    }
}

async fn wait<T>(answer: oneshot::Receiver<Result<T, AuditError>>) -> Result<T, AuditError> {
    match tokio::time::timeout(WRITE_DEADLINE, answer).await {
        Ok(Ok(result)) => result,
        Ok(Err(_)) => Err(AuditError::Closed),
        Err(_) => Err(AuditError::Unavailable),
    }
}

/// An act whose attempted row is on disk. Carries the reserved place of its outcome.
#[must_use = "dropping it records the act as aborted"]
pub struct Pending {
    row: Box<StoredRow>,
    started: Instant,
    slot: Option<mpsc::OwnedPermit<Box<StoredRow>>>,
    /// Whether the attempted row is on disk; only then does a drop leave an outcome.
    written: bool,
    metrics: StoreMetrics,
}

impl Pending {
    fn new(row: Box<StoredRow>, slot: mpsc::OwnedPermit<Box<StoredRow>>, metrics: StoreMetrics) -> Self {
        metrics.open_acts.inc();
        Self { row, started: Instant::now(), slot: Some(slot), written: false, metrics }
    }

    /// Id of the attempted row.
    #[must_use]
    pub fn id(&self) -> AuditId {
        self.row.audit_id
    }

    /// Notes what the act changed, for its outcome row.
    pub fn changed(&mut self, diff: &Diff) {
        self.row.diff = flotilla_ledger::row::diff(Some(diff));
    }

    /// Notes how the act ended. `status` is the HTTP status (0 when there was no answer), `bytes` what the
    /// answer's body had, or both ways for an upgraded connection. Does not wait; see the module's guarantees.
    pub fn finish(mut self, outcome: Outcome, status: u16, bytes: u64, reason: String) {
        // An act that ended is not attempted any more.
        let outcome = if outcome == Outcome::Attempted { Outcome::Aborted } else { outcome };
        self.send(outcome, status, bytes, reason);
    }

    fn send(&mut self, outcome: Outcome, status: u16, bytes: u64, reason: String) {
        if let Some(slot) = self.slot.take() {
            let elapsed = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
            slot.send(Box::new(self.row.outcome(outcome, status, bytes, reason, elapsed)));
        }
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        if self.written {
            self.send(Outcome::Aborted, 0, 0, "cut off before its end".to_owned());
        }
        self.metrics.open_acts.dec();
    }
}

impl std::fmt::Debug for Pending {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pending").field("id", &self.row.audit_id).finish_non_exhaustive()
    }
}
