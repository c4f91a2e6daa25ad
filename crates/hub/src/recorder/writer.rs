//! One session: from what happens to lines, from lines to chunks in the store.
//!
//! Must not know: that there are other sessions.

use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use flotilla_cluster::tape::Scene;
use flotilla_recording::Event;
use flotilla_recording::cast::Encoder;
use flotilla_store::{Progress, RecordingEnd, Store, StoreError};
use flotilla_types::id::RecordingId;
use flotilla_types::recording::RecordingState;
use tokio::sync::{broadcast, mpsc};
use tokio::time::Instant;

/// Lines that are gathered before they are written, in bytes.
const CHUNK: usize = 128 * 1024;
/// Longest time that a line waits to be written.
const FLUSH_AFTER: Duration = Duration::from_secs(1);
/// How often a chunk is tried that the store does not take, and the pause between.
const TRIES: u32 = 10;
const PAUSE: Duration = Duration::from_secs(1);

/// Writes one recording.
pub(super) struct Writer {
    id: RecordingId,
    store: Store,
    /// Most bytes of lines.
    limit: u64,
    observers: broadcast::Sender<Arc<str>>,
    encoder: Encoder,
    /// Lines that are not written yet.
    pending: String,
    flush_at: Option<Instant>,
    bytes: u64,
    chunks: i64,
    hash: [u8; 32],
    at: Duration,
    size: Option<(u16, u16)>,
    exit_code: Option<i32>,
    started: bool,
    /// What is missing.
    missing: String,
    /// Why the session was cut.
    cut: String,
}

/// Whether to go on.
enum Next {
    Go,
    Stop,
}

impl Writer {
    pub(super) fn new(id: RecordingId, store: Store, limit: u64, observers: broadcast::Sender<Arc<str>>) -> Self {
        Self {
            id,
            store,
            limit,
            observers,
            encoder: Encoder::default(),
            pending: String::new(),
            flush_at: None,
            bytes: 0,
            chunks: 0,
            hash: RecordingEnd::NO_HASH,
            at: Duration::ZERO,
            size: None,
            exit_code: None,
            started: false,
            missing: "the session's end was not seen".to_owned(),
            cut: String::new(),
        }
    }

    /// Runs until the session ends or the recording cannot go on; then the queue closes, and with it a session that
    /// must be recorded.
    pub(super) async fn run(mut self, mut scenes: mpsc::Receiver<Scene>) {
        loop {
            let flush_at = self.flush_at.unwrap_or_else(|| Instant::now() + Duration::from_secs(3600));
            let next = tokio::select! {
                scene = scenes.recv() => match scene {
                    Some(scene) => self.take(scene),
                    None => Next::Stop,
                },
                () = tokio::time::sleep_until(flush_at) => self.flush().await,
            };
            let full = self.pending.len() >= CHUNK && matches!(self.flush().await, Next::Stop);
            if full || matches!(next, Next::Stop) {
                break;
            }
        }
        drop(scenes);
        if let Err(error) = self.end().await {
            tracing::error!(recording = %self.id, %error, cause = ?error, "the end of a recording could not be written");
        }
    }

    fn take(&mut self, scene: Scene) -> Next {
        match scene {
            Scene::Started => {
                self.started = true;
                self.note("session opened");
            }
            Scene::Events(at, events) => return self.record(at, &events),
            Scene::Lost(events) => {
                self.missing = format!("{events} events are missing, since the recorder was behind");
                self.note(&format!("{events} events are missing here"));
            }
            Scene::Broken(reason) => {
                self.missing = reason;
                return Next::Stop;
            }
            Scene::Ended(at, reason) => {
                self.at = at;
                if self.missing.starts_with("the session's end") {
                    self.missing.clear();
                }
                self.cut = reason;
                return Next::Stop;
            }
        }
        Next::Go
    }

    fn record(&mut self, at: Duration, events: &[Event]) -> Next {
        self.at = at;
        let before = self.pending.len();
        for event in events {
            match event {
                Event::Resize { columns, rows } if self.size.is_none() => self.size = Some((*columns, *rows)),
                Event::Exit(code) => self.exit_code = Some(*code),
                _ => {}
            }
            self.encoder.encode(at, event, &mut self.pending);
        }
        self.written(before);
        if self.bytes < self.limit {
            return Next::Go;
        }
        self.missing = "the recording reached its greatest size (recordings.max_size_mib)".to_owned();
        Next::Stop
    }

    fn note(&mut self, text: &str) {
        let before = self.pending.len();
        self.encoder.encode(self.at, &Event::Note(text.to_owned()), &mut self.pending);
        self.written(before);
    }

    /// Lines were added behind `before`.
    fn written(&mut self, before: usize) {
        let new = &self.pending[before..];
        if new.is_empty() {
            return;
        }
        self.bytes += new.len() as u64;
        self.flush_at.get_or_insert_with(|| Instant::now() + FLUSH_AFTER);
        if self.observers.receiver_count() > 0 {
            // Nobody listening any more is no error.
            let _ = self.observers.send(new.into());
        }
    }

    /// Writes what is pending. A store that does not take it is tried for a while; the queue fills meanwhile.
    async fn flush(&mut self) -> Next {
        self.flush_at = None;
        if self.pending.is_empty() {
            return Next::Go;
        }
        let lines = std::mem::take(&mut self.pending);
        let data = compressed(&lines);
        for attempt in 1..=TRIES {
            match self.append(&data, lines.len()).await {
                Ok(()) => return Next::Go,
                Err(error) => {
                    tracing::warn!(recording = %self.id, attempt, %error, cause = ?error, "a recording could not be written");
                }
            }
            if attempt < TRIES {
                tokio::time::sleep(PAUSE).await;
            }
        }
        self.missing = "the store of recordings did not answer".to_owned();
        Next::Stop
    }

    async fn append(&mut self, data: &[u8], bytes: usize) -> Result<(), StoreError> {
        let (width, height) = self.size.unwrap_or_default();
        let progress = Progress { number: self.chunks, data, bytes, duration_ms: self.at_ms(), width, height };
        self.hash = self.store.append_recording(self.id, &self.hash, &progress).await?;
        self.chunks += 1;
        Ok(())
    }

    async fn end(&mut self) -> Result<(), StoreError> {
        if !self.started {
            return self.store.delete_recording(self.id).await;
        }
        let before = self.pending.len();
        self.encoder.finish(self.at, &mut self.pending);
        self.written(before);
        self.flush().await;
        let (state, reason) = match self.missing.is_empty() {
            true => (RecordingState::Complete, std::mem::take(&mut self.cut)),
            false => (RecordingState::Incomplete, std::mem::take(&mut self.missing)),
        };
        let end = RecordingEnd {
            state,
            reason,
            exit_code: self.exit_code,
            duration_ms: self.at_ms(),
            chunks: self.chunks,
            hash: self.hash,
        };
        self.store.finish_recording(self.id, &end).await
    }

    fn at_ms(&self) -> i64 {
        i64::try_from(self.at.as_millis()).unwrap_or(i64::MAX)
    }
}

fn compressed(lines: &str) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(lines.len() / 4), Compression::fast());
    // Writing to memory does not fail.
    let _ = encoder.write_all(lines.as_bytes());
    encoder.finish().unwrap_or_default()
}
