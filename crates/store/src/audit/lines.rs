//! Rows as JSON lines on standard output, without ever holding up a commit.
//!
//! A thread of its own writes, because standard output may be a pipe that nobody reads. A bounded queue leads
//! to it; when that is full, lines are dropped, counted, and reported in the log. The database has the rows.
//!
//! Must not know: when a row is committed.

use std::io::Write;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use flotilla_types::audit::AuditRow;
use tokio::sync::oneshot;

/// Lines that may wait.
const QUEUE: usize = 4096;
/// Longest wait for the last lines at the end.
const CLOSE_DEADLINE: Duration = Duration::from_secs(2);

/// The way to the thread.
pub(super) struct Lines {
    sender: SyncSender<Vec<u8>>,
    ended: oneshot::Receiver<()>,
}

impl Lines {
    /// Starts the thread. It ends after [`Lines::close`].
    pub(super) fn start(out: impl Write + Send + 'static) -> std::io::Result<Self> {
        Self::with_queue(out, QUEUE)
    }

    fn with_queue(out: impl Write + Send + 'static, queue: usize) -> std::io::Result<Self> {
        let (sender, lines) = sync_channel(queue);
        let (end, ended) = oneshot::channel();
        let print = move || {
            print(out, &lines);
            let _ = end.send(());
        };
        std::thread::Builder::new().name("audit-lines".into()).spawn(print)?;
        Ok(Self { sender, ended })
    }

    /// Hands over a row. `false` when the line had to be dropped.
    pub(super) fn push(&self, row: &AuditRow) -> bool {
        let Ok(mut line) = serde_json::to_vec(row) else {
            return false;
        };
        line.push(b'\n');
        self.sender.try_send(line).is_ok()
    }

    /// Waits until the lines that were handed over are out, but not for ever.
    pub(super) async fn close(self) {
        drop(self.sender);
        if tokio::time::timeout(CLOSE_DEADLINE, self.ended).await.is_err() {
            tracing::warn!("standard output is stuck, leaving audit lines unprinted");
        }
    }
}

fn print(mut out: impl Write, lines: &Receiver<Vec<u8>>) {
    let mut failed = false;
    while let Ok(first) = lines.recv() {
        // A flush per batch: the line buffer of standard output would flush at each line.
        let batch = std::iter::once(first).chain(lines.try_iter().take(QUEUE)).flatten().collect::<Vec<u8>>();
        let result = out.write_all(&batch).and_then(|()| out.flush());
        if let (Err(error), false) = (&result, failed) {
            tracing::warn!(%error, "audit lines cannot be printed");
        }
        failed = result.is_err();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex, mpsc};

    use flotilla_types::audit::{Actor, Outcome, Target};
    use flotilla_types::id::{AuditId, RequestId};

    use super::*;

    #[derive(Clone, Default)]
    struct Shared(Arc<Mutex<Vec<u8>>>);

    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    /// Blocks for as long as the test holds the other end.
    struct Stuck(mpsc::Receiver<()>);

    impl Write for Stuck {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            let _ = self.0.recv();
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn row(seq: i64) -> AuditRow {
        AuditRow {
            id: AuditId::new(),
            seq,
            attempt_id: None,
            time: flotilla_types::time::from_ms(1),
            request_id: RequestId::new(),
            route: String::new(),
            actor: Actor::default(),
            verb: "delete".into(),
            outcome: Outcome::Denied,
            target: Target::default(),
            command: "two\nlines".into(),
            reason: String::new(),
            status: 0,
            bytes: 0,
            duration_ms: 0,
            diff: None,
            run: String::new(),
            hash: String::new(),
        }
    }

    #[tokio::test]
    async fn one_line_for_each_row_in_order() {
        let out = Shared::default();
        let lines = Lines::start(out.clone()).unwrap();
        let rows: Vec<_> = (1..=100).map(row).collect();
        assert!(rows.iter().all(|row| lines.push(row)));
        lines.close().await;
        let text = String::from_utf8(out.0.lock().unwrap().clone()).unwrap();
        let back: Vec<AuditRow> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(back, rows);
    }

    #[tokio::test]
    async fn a_reader_that_stopped_costs_lines_and_nothing_else() {
        let (hold, stuck) = mpsc::channel();
        let lines = Lines::with_queue(Stuck(stuck), 8).unwrap();
        let taken = (1..=100).filter(|seq| lines.push(&row(*seq))).count();
        assert!((8..100).contains(&taken), "{taken}");
        drop(hold);
        lines.close().await;
    }
}
