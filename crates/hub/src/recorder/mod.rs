//! Keeps recorded shells: takes what happens in a session from `flotilla_cluster::tape`, writes it as asciicast, and
//! puts it into the store in compressed chunks, at the latest a second after it happened.
//!
//! What an observer sees goes through a broadcast that never waits for him: who is too slow is told what he missed.
//!
//! Must not know: wire protocols, who may see a recording.

pub mod cast;
mod writer;

use std::collections::HashMap;
use std::future::Future;
use std::net::Ipv4Addr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use flotilla_cluster::tape::{Begun, Opening, QUEUE, Recorder, RecordingRefused};
use flotilla_store::{NewRecording, Store};
use flotilla_types::audit::{Outcome, Verb};
use flotilla_types::id::{RecordingId, RequestId};
use flotilla_types::time::now_ms;
use parking_lot::Mutex;
use tokio::sync::{broadcast, mpsc};
use tokio_util::task::TaskTracker;

use crate::config::Recordings;
use crate::keeper;
use crate::request::RequestContext;
use crate::trail::{Entry, Trail};
use writer::Writer;

/// Pieces that an observer may be behind before he loses some.
const OBSERVED: usize = 256;
/// Longest wait for the database before a session opens.
const BEGIN_DEADLINE: Duration = Duration::from_secs(5);
/// How often sessions that go on say so in the database.
const TOUCH_INTERVAL: Duration = Duration::from_secs(5);
/// A session that has not said so for this long was interrupted, in milliseconds.
pub const LIVE_FOR_MS: i64 = 20_000;

/// Recordings of this hub. Cloning shares them.
#[derive(Clone)]
pub struct Library(Arc<Inner>);

struct Inner {
    store: Store,
    limits: Recordings,
    /// Sessions that go on, and how to observe them.
    live: Mutex<HashMap<RecordingId, broadcast::Sender<Arc<str>>>>,
    writers: TaskTracker,
}

impl Library {
    /// Keeps recordings in `store` within `limits`.
    #[must_use]
    pub fn new(store: Store, limits: Recordings) -> Self {
        Self(Arc::new(Inner { store, limits, live: Mutex::default(), writers: TaskTracker::new() }))
    }

    /// Lines of a session that goes on here, from now on.
    #[must_use]
    pub fn observe(&self, id: RecordingId) -> Option<broadcast::Receiver<Arc<str>>> {
        self.0.live.lock().get(&id).map(broadcast::Sender::subscribe)
    }

    /// Says in the database that sessions go on, and forgets recordings that are too old. Ends with the hub.
    pub async fn keep(self, trail: Trail) {
        let mut rounds: u64 = 0;
        loop {
            if let Err(error) = self.keep_once(rounds, &trail).await {
                tracing::warn!(%error, "recordings could not be looked after; trying again");
            }
            rounds += 1;
            tokio::time::sleep(TOUCH_INTERVAL).await;
        }
    }

    async fn keep_once(&self, round: u64, trail: &Trail) -> anyhow::Result<()> {
        let live: Vec<RecordingId> = self.0.live.lock().keys().copied().collect();
        if !live.is_empty() {
            self.0.store.touch_recordings(&live).await?;
        }
        // Every ten minutes, and at the start.
        if round.is_multiple_of(120) {
            let forgotten = self.0.store.forget_recordings(now_ms() - self.0.limits.keep.as_ms()).await?;
            if forgotten > 0 {
                tracing::info!(forgotten, "recordings that were too old are gone");
                let context = RequestContext::new(RequestId::new(), Ipv4Addr::LOCALHOST.into());
                let command = format!("remove {forgotten} recordings that were older than recordings.keep");
                let entry = Entry { verb: Verb::RecordingRetention, command, route: "worker", ..Entry::default() };
                trail.record(&context, keeper::itself(), entry, Outcome::Succeeded, 200, "").await?;
            }
        }
        Ok(())
    }

    /// Waits until what was recorded is written.
    pub async fn close(&self) {
        self.0.writers.close();
        self.0.writers.wait().await;
    }

    async fn open(&self, opening: Opening) -> Result<Begun, RecordingRefused> {
        let failed = |error: flotilla_store::StoreError| {
            tracing::error!(%error, cause = ?error, "a recording cannot be begun");
            RecordingRefused("the store of recordings does not answer".to_owned())
        };
        if self.0.store.recordings_stored().await.map_err(failed)? >= self.0.limits.max_total_mib << 20 {
            return Err(RecordingRefused("the store of recordings is full (recordings.max_total_mib)".to_owned()));
        }
        let new = NewRecording {
            kind: opening.kind,
            user: opening.principal.user_id(),
            email: opening.principal.email().to_owned(),
            request_id: opening.request_id,
            cluster: opening.cluster.to_string(),
            namespace: opening.namespace,
            pod: opening.pod,
            command: opening.command,
        };
        let id = self.0.store.create_recording(&new).await.map_err(failed)?;
        let (scenes, from) = mpsc::channel(QUEUE);
        let (observers, _) = broadcast::channel(OBSERVED);
        self.0.live.lock().insert(id, observers.clone());
        let writer = Writer::new(id, self.0.store.clone(), self.0.limits.max_size_mib << 20, observers);
        let inner = Arc::clone(&self.0);
        self.0.writers.spawn(async move {
            writer.run(from).await;
            inner.live.lock().remove(&id);
        });
        Ok(Begun { id, scenes })
    }
}

impl Recorder for Library {
    fn begin(&self, opening: Opening) -> Pin<Box<dyn Future<Output = Result<Begun, RecordingRefused>> + Send + '_>> {
        Box::pin(async move {
            let late = |_| RecordingRefused("the store of recordings does not answer".to_owned());
            tokio::time::timeout(BEGIN_DEADLINE, self.open(opening)).await.map_err(late)?
        })
    }
}
