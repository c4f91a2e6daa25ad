//! The one task that writes the audit log.
//!
//! Must not know: what rows mean.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use crate::db::Db;
use crate::{StoreError, StoreMetrics};

use super::lines::Lines;
use super::row::StoredRow;
use super::{AuditError, AuditOptions, Pending, chain};

/// Most rows taken from each of the two queues for one transaction.
const BATCH: usize = 256;
/// Longest time for one transaction.
const COMMIT_DEADLINE: Duration = Duration::from_secs(10);
/// First and longest pause before outcomes that failed are tried again.
const RETRY_FIRST: Duration = Duration::from_millis(100);
const RETRY_LAST: Duration = Duration::from_secs(5);

/// What callers ask for.
pub(super) enum Request {
    /// The row before an act. The place of its outcome travels along and comes back with the answer.
    Attempt { pending: Pending, done: oneshot::Sender<Result<Pending, AuditError>> },
    /// A row that stands alone.
    Record { row: Box<StoredRow>, done: oneshot::Sender<Result<(), AuditError>> },
}

impl Request {
    fn row(&self) -> &StoredRow {
        match self {
            Self::Attempt { pending, .. } => &pending.row,
            Self::Record { row, .. } => row,
        }
    }

    /// An attempt whose caller went away before it was written: nothing will happen, nothing is recorded.
    fn is_abandoned(&self) -> bool {
        matches!(self, Self::Attempt { done, .. } if done.is_closed())
    }

    fn succeed(self) {
        match self {
            Self::Attempt { mut pending, done } => {
                pending.written = true;
                // A caller who went away meanwhile leaves `pending` to be dropped, which records the abort.
                let _ = done.send(Ok(pending));
            }
            Self::Record { done, .. } => {
                let _ = done.send(Ok(()));
            }
        }
    }

    fn fail(self, error: AuditError) {
        match self {
            Self::Attempt { done, .. } => {
                let _ = done.send(Err(error));
            }
            Self::Record { done, .. } => {
                let _ = done.send(Err(error));
            }
        }
    }
}

/// What woke the writer.
enum Wake {
    Work,
    Retry,
    Closed,
}

pub(super) struct Writer {
    db: Db,
    /// Name of this run, for each row.
    run: String,
    requests: mpsc::Receiver<Request>,
    outcomes: mpsc::Receiver<Box<StoredRow>>,
    lines: Option<Lines>,
    metrics: StoreMetrics,
    /// Most outcomes that may wait to be tried again before no further act is allowed to begin.
    open_acts: usize,
    /// Outcomes that failed to commit, in the order in which they are tried again.
    unsettled: Vec<StoredRow>,
    /// How many of them are tried in one transaction: halved by each failure, so that a row that can never be
    /// written ends up alone, and doubled by each success.
    portion: usize,
    pause: Duration,
    retry_at: Instant,
}

impl Writer {
    pub(super) fn new(
        db: Db,
        run: String,
        requests: mpsc::Receiver<Request>,
        outcomes: mpsc::Receiver<Box<StoredRow>>,
        lines: Option<Lines>,
        options: &AuditOptions,
    ) -> Self {
        Self {
            db,
            run,
            requests,
            outcomes,
            lines,
            metrics: options.metrics.clone(),
            open_acts: options.open_acts.max(1),
            unsettled: Vec::new(),
            portion: BATCH,
            pause: RETRY_FIRST,
            retry_at: Instant::now(),
        }
    }

    /// Runs until both queues are closed and empty and every outcome is written.
    pub(super) async fn run(mut self) {
        let (mut finished, mut requested) = (Vec::new(), Vec::new());
        loop {
            match self.wake(&mut finished, &mut requested).await {
                Wake::Work => {
                    self.gather(&mut finished, &mut requested);
                    self.commit(&mut finished, &mut requested).await;
                    self.count_waiting();
                }
                Wake::Retry => self.retry().await,
                Wake::Closed => break,
            }
        }
        if let Some(lines) = self.lines {
            lines.close().await;
        }
    }

    async fn wake(&mut self, finished: &mut Vec<StoredRow>, requested: &mut Vec<Request>) -> Wake {
        let waiting = !self.unsettled.is_empty();
        tokio::select! {
            Some(row) = self.outcomes.recv() => finished.push(*row),
            Some(request) = self.requests.recv() => requested.push(request),
            () = tokio::time::sleep_until(self.retry_at), if waiting => return Wake::Retry,
            else => return Wake::Closed,
        }
        Wake::Work
    }

    /// Takes what waits, without waiting.
    fn gather(&mut self, finished: &mut Vec<StoredRow>, requested: &mut Vec<Request>) {
        self.count_waiting();
        while finished.len() < BATCH
            && let Ok(row) = self.outcomes.try_recv()
        {
            finished.push(*row);
        }
        while requested.len() < BATCH
            && let Ok(request) = self.requests.try_recv()
        {
            requested.push(request);
        }
        requested.retain(|request| !request.is_abandoned());
        if self.unsettled.len() >= self.open_acts {
            requested.drain(..).for_each(|request| request.fail(AuditError::Unavailable));
        }
    }

    /// Writes one batch and answers; both lists are empty afterwards.
    async fn commit(&mut self, finished: &mut Vec<StoredRow>, requested: &mut Vec<Request>) {
        let outcomes = finished.len();
        let mut rows = std::mem::take(finished);
        rows.extend(requested.iter().map(|request| request.row().clone()));
        match self.append(&mut rows).await {
            Ok(()) => requested.drain(..).for_each(Request::succeed),
            Err(error) => {
                let error = AuditError::Write(Arc::new(error));
                requested.drain(..).for_each(|request| request.fail(error.clone()));
                rows.truncate(outcomes);
                self.unsettled.append(&mut rows);
                self.back_off();
            }
        }
        self.metrics.unsettled.set(i64::try_from(self.unsettled.len()).unwrap_or(i64::MAX));
    }

    /// Writes `rows` in one transaction, counts and prints them.
    async fn append(&mut self, rows: &mut [StoredRow]) -> Result<(), StoreError> {
        if rows.is_empty() {
            return Ok(());
        }
        rows.iter_mut().for_each(|row| row.run.clone_from(&self.run));
        let started = Instant::now();
        let result = tokio::time::timeout(COMMIT_DEADLINE, chain::append(&self.db, rows)).await;
        let result = result.unwrap_or(Err(StoreError::Unavailable(sqlx::Error::PoolTimedOut)));
        self.metrics.commit_seconds.observe(started.elapsed().as_secs_f64());
        if let Err(error) = &result {
            self.metrics.failures.inc();
            tracing::error!(%error, cause = ?error, rows = rows.len(), "audit rows could not be written");
            return result;
        }
        self.metrics.commits.inc();
        self.metrics.rows.inc_by(rows.len() as u64);
        self.print(rows);
        result
    }

    fn print(&self, rows: &[StoredRow]) {
        let Some(lines) = &self.lines else { return };
        let printed = rows.iter().filter_map(|row| row.clone().into_row().ok()).filter(|row| lines.push(row)).count();
        let dropped = (rows.len() - printed) as u64;
        if dropped > 0 {
            self.metrics.lines_dropped.inc_by(dropped);
            tracing::warn!(dropped, "standard output is stuck, audit lines were not printed");
        }
    }

    /// Tries some of the outcomes again that failed before.
    async fn retry(&mut self) {
        let rest = self.unsettled.split_off(self.portion.min(self.unsettled.len()));
        let mut portion = std::mem::replace(&mut self.unsettled, rest);
        match self.settle(&mut portion).await {
            Ok(()) => {
                self.portion = (2 * self.portion).min(BATCH);
                self.pause = RETRY_FIRST;
                self.retry_at = Instant::now();
            }
            Err(_) => {
                self.portion = (self.portion / 2).max(1);
                self.unsettled.append(&mut portion);
                self.back_off();
            }
        }
        self.metrics.unsettled.set(i64::try_from(self.unsettled.len()).unwrap_or(i64::MAX));
    }

    /// Writes those of `rows` that are not written yet.
    async fn settle(&mut self, rows: &mut Vec<StoredRow>) -> Result<(), StoreError> {
        let mut known = Vec::with_capacity(rows.len());
        for row in rows.iter() {
            known.push(chain::is_settled(&self.db, row).await?);
        }
        let mut known = known.into_iter();
        rows.retain(|_| known.next() == Some(false));
        self.append(rows).await
    }

    fn count_waiting(&self) {
        let waiting = self.requests.len() + self.outcomes.len();
        self.metrics.queue_depth.set(i64::try_from(waiting).unwrap_or(i64::MAX));
    }

    fn back_off(&mut self) {
        self.retry_at = Instant::now() + self.pause;
        self.pause = (2 * self.pause).min(RETRY_LAST);
    }
}
