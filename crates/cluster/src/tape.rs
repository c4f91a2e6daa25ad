//! Between a shell and its recording: sees the bytes of the connection as they pass, and hands what they mean to the
//! recorder through a bounded queue.
//!
//! Where the recording is required, a full queue holds the shell up (backpressure) and a recording that breaks cuts it.
//! Otherwise the shell goes on, and the recording says what it missed.
//!
//! Must not know: how and where recordings are kept.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use flotilla_identity::policy::Recording;
use flotilla_identity::principal::Principal;
use flotilla_recording::{Direction, Event, Protocol, Session, Tap, Undecodable};
use flotilla_types::id::{RecordingId, RequestId};
use flotilla_types::policy::Record;
use flotilla_types::recording::RecordingKind;
use http::HeaderMap;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::mpsc;
use tokio_util::sync::PollSender;

use crate::live::LiveStream;
use crate::request_info::RequestInfo;

/// Pieces that may wait for the recorder, each at most what a splice buffers (32 KiB).
pub const QUEUE: usize = 64;
/// Longest wait of a session's end for room in the queue.
const END_DEADLINE: Duration = Duration::from_secs(5);

/// Keeps recordings.
pub trait Recorder: Send + Sync + 'static {
    /// Begins a recording. When it returns, there is a place for it.
    fn begin(&self, opening: Opening) -> Pin<Box<dyn Future<Output = Result<Begun, RecordingRefused>> + Send + '_>>;
}

/// A session that is about to open.
#[derive(Clone, Debug)]
pub struct Opening {
    /// Whose.
    pub principal: Principal,
    /// Finds the audit rows.
    pub request_id: RequestId,
    /// Name of the cluster.
    pub cluster: Arc<str>,
    /// What kind.
    pub kind: RecordingKind,
    /// Namespace.
    pub namespace: String,
    /// Name of the pod.
    pub pod: String,
    /// For people; without arguments, which may hold secrets.
    pub command: String,
}

/// A recording that has begun.
pub struct Begun {
    /// The recording.
    pub id: RecordingId,
    /// Takes what happens. Closed by the recorder when it cannot go on; closed here without [`Scene::Started`] if the
    /// session never opened.
    pub scenes: mpsc::Sender<Scene>,
}

/// What a recorder is told.
#[derive(Debug)]
pub enum Scene {
    /// The session is open.
    Started,
    /// Something happened, so long after the start.
    Events(Duration, Vec<Event>),
    /// So many events were lost, since the recorder was behind.
    Lost(u64),
    /// From here on nothing more can be recorded.
    Broken(String),
    /// The session has ended, so long after the start; why, if it was cut or broke.
    Ended(Duration, String),
}

/// There is no place for a recording.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("this session must be recorded and cannot be: {0}; it was not opened")]
pub struct RecordingRefused(pub String);

/// What kind of session a request opens, if it is one that can be recorded.
pub(crate) fn kind_of(info: &RequestInfo) -> Option<RecordingKind> {
    let of_pods = info.api_group.is_empty() && info.resource == "pods";
    match info.subresource.as_str() {
        "exec" if of_pods => Some(RecordingKind::Exec),
        "attach" if of_pods => Some(RecordingKind::Attach),
        "portforward" if of_pods => Some(RecordingKind::PortForward),
        _ => None,
    }
}

/// A recording whose session has not opened yet.
pub(crate) struct Tape {
    pub(crate) begun: Begun,
    pub(crate) kind: RecordingKind,
    pub(crate) how: Recording,
}

/// A recording whose session is open.
pub(crate) struct Running {
    tap: Tap,
    scenes: PollSender<Scene>,
    /// The same queue, for those who do not wait.
    direct: mpsc::Sender<Scene>,
    required: bool,
    lost: u64,
    started: Instant,
}

impl Tape {
    /// The cluster has opened the session.
    ///
    /// # Errors
    /// It cannot be recorded although it must.
    pub(crate) fn start(self, answer: &HeaderMap) -> Result<Option<Running>, Undecodable> {
        let required = self.how.record == Record::Required;
        let direct = self.begun.scenes;
        // The queue is new, so there is room.
        let _ = direct.try_send(Scene::Started);
        let protocol = match Protocol::of(answer) {
            Ok(protocol) => protocol,
            Err(error) if required => return Err(error),
            Err(error) => {
                let _ = direct.try_send(Scene::Broken(error.to_string()));
                return Ok(None);
            }
        };
        let session = match self.kind {
            RecordingKind::PortForward => Session::PortForward,
            RecordingKind::Exec | RecordingKind::Attach => Session::Terminal,
        };
        let tap = Tap::new(session, protocol, self.how.input);
        let scenes = PollSender::new(direct.clone());
        Ok(Some(Running { tap, scenes, direct, required, lost: 0, started: Instant::now() }))
    }
}

impl Running {
    /// Waits for room, where nothing may be lost.
    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.required {
            return Poll::Ready(Ok(()));
        }
        self.scenes.poll_reserve(cx).map_err(|_| broken("the recording cannot be kept"))
    }

    /// Looks at some bytes. `false` when there is no use in going on.
    fn see(&mut self, direction: Direction, bytes: &[u8]) -> io::Result<bool> {
        let mut events = Vec::new();
        if let Err(error) = self.tap.push(direction, bytes, &mut events) {
            if self.required {
                return Err(broken(&error.to_string()));
            }
            let _ = self.direct.try_send(Scene::Broken(error.to_string()));
            return Ok(false);
        }
        if events.is_empty() {
            return Ok(true);
        }
        let scene = Scene::Events(self.started.elapsed(), events);
        if self.required {
            return self.scenes.send_item(scene).map(|()| true).map_err(|_| broken("the recording cannot be kept"));
        }
        Ok(self.offer(scene))
    }

    /// Hands over what there is room for.
    fn offer(&mut self, scene: Scene) -> bool {
        use mpsc::error::TrySendError::{Closed, Full};
        if self.lost > 0 && self.direct.try_send(Scene::Lost(self.lost)).is_ok() {
            self.lost = 0;
        }
        match self.direct.try_send(scene) {
            Ok(()) => true,
            Err(Full(Scene::Events(_, events))) => {
                self.lost += events.len() as u64;
                true
            }
            Err(Full(_)) => true,
            Err(Closed(_)) => false,
        }
    }

    /// The session has ended.
    async fn end(mut self, reason: String) {
        let mut events = Vec::new();
        self.tap.finish(&mut events);
        let at = self.started.elapsed();
        let lost = (self.lost > 0).then_some(Scene::Lost(self.lost));
        let rest = (!events.is_empty()).then_some(Scene::Events(at, events));
        // Gives back the room that it may hold.
        self.scenes.abort_send();
        let send = async {
            for scene in lost.into_iter().chain(rest).chain([Scene::Ended(at, reason)]) {
                if self.direct.send(scene).await.is_err() {
                    return;
                }
            }
        };
        // Without its end the recording counts as incomplete, which it then is.
        let _ = tokio::time::timeout(END_DEADLINE, send).await;
    }
}

fn broken(reason: &str) -> io::Error {
    io::Error::other(format!("the session was cut, since it must be recorded: {reason}"))
}

/// The client's end of a session: counts what passes and lets the recording see it.
pub(crate) struct Tapped<IO> {
    io: IO,
    stream: Arc<LiveStream>,
    running: Option<Running>,
}

impl<IO> Tapped<IO> {
    pub(crate) fn new(io: IO, stream: Arc<LiveStream>, running: Option<Running>) -> Self {
        Self { io, stream, running }
    }

    /// Tells the recording that the session has ended; why, if it was cut or broke.
    pub(crate) async fn end(self, reason: String) {
        if let Some(running) = self.running {
            running.end(reason).await;
        }
    }

    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.running.as_mut().map_or(Poll::Ready(Ok(())), |running| running.poll_room(cx))
    }

    fn see(&mut self, direction: Direction, bytes: &[u8]) -> io::Result<()> {
        if let Some(running) = &mut self.running
            && !bytes.is_empty()
            && !running.see(direction, bytes)?
        {
            self.running = None;
        }
        Ok(())
    }
}

impl<IO: AsyncRead + Unpin> AsyncRead for Tapped<IO> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_room(cx))?;
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.io).poll_read(cx, buf))?;
        let new = &buf.filled()[before..];
        self.stream.count_sent(new.len());
        Poll::Ready(self.see(Direction::ToCluster, new))
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for Tapped<IO> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.poll_room(cx))?;
        let written = ready!(Pin::new(&mut self.io).poll_write(cx, buf))?;
        self.stream.count_received(written);
        self.see(Direction::ToClient, &buf[..written])?;
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
