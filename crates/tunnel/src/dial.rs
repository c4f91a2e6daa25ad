//! Keeps an agent connected: one connection per lane, each made again when it ends.
//!
//! ```text
//!   dial ──▶ serve ──▶ wait for the hub to accept ──▶ in use ──▶ ended ──▶ wait, jittered ──▶ dial
//!                                                       └── new certificate ──▶ dial; old one drains
//! ```
//!
//! Must not know: what is served, or where certificates come from.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::ClientConfig;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::carrier::{self, Target};
use crate::error::{Refusal, TunnelError, chain, tls_cause};
use crate::lane::Lane;
use crate::serve::{self, Handler, Options, Standing};
use crate::windows::Pings;

/// How long the hub may take to accept a connection.
const ACCEPT_DEADLINE: Duration = Duration::from_secs(10);

/// A connection that lived this long was a good one: the next attempt starts afresh.
const GOOD_AFTER: Duration = Duration::from_secs(5);

/// Where and how to connect. A new value (a new certificate) makes new connections before the old ones drain.
#[derive(Clone, Debug)]
pub struct DialConfig {
    /// The hub.
    pub target: Target,
    /// Trust and client certificate. ALPN names are set by the carrier.
    pub tls: Arc<ClientConfig>,
    /// One connection for each. Read once, at the start.
    pub lanes: Vec<Lane>,
    /// How long streams under way may go on when the agent stops.
    pub shutdown_drain: Duration,
    /// How long they may go on when a newer connection has taken over.
    pub handover_drain: Duration,
    /// How a dead hub is noticed.
    pub pings: Pings,
}

impl DialConfig {
    /// An interactive and a bulk lane, 25 s to stop, an hour to hand over.
    pub fn new(target: Target, tls: Arc<ClientConfig>) -> Self {
        Self {
            target,
            tls,
            lanes: vec![Lane::Interactive, Lane::Bulk],
            shutdown_drain: Duration::from_secs(25),
            handover_drain: Duration::from_secs(60 * 60),
            pings: Pings::default(),
        }
    }
}

/// How things stand, for a health endpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// Connections that the hub has accepted, draining ones included.
    pub connected: usize,
    /// Connections made since the start.
    pub connects: u64,
    /// When the last connection was accepted.
    pub last_connect: Option<SystemTime>,
    /// Why the last attempt failed or the last connection ended, with causes. None once all is well again.
    pub last_error: Option<String>,
    /// The hub's reason, if it refused the last attempt.
    pub refusal: Option<Refusal>,
}

/// Where [`run`] writes how things stand. Cheap to clone.
#[derive(Clone, Debug)]
pub struct DialState {
    snapshot: Arc<watch::Sender<Snapshot>>,
}

impl Default for DialState {
    fn default() -> Self {
        Self::new()
    }
}

impl DialState {
    /// Not connected, and nothing has gone wrong yet.
    pub fn new() -> Self {
        Self { snapshot: Arc::new(watch::Sender::new(Snapshot::default())) }
    }

    /// How things stand now.
    pub fn snapshot(&self) -> Snapshot {
        self.snapshot.borrow().clone()
    }

    /// To wait for changes.
    pub fn subscribe(&self) -> watch::Receiver<Snapshot> {
        self.snapshot.subscribe()
    }

    fn accepted(&self) -> Accepted {
        self.snapshot.send_modify(|snapshot| {
            snapshot.connected += 1;
            snapshot.connects += 1;
            snapshot.last_connect = Some(SystemTime::now());
            snapshot.last_error = None;
            snapshot.refusal = None;
        });
        Accepted(self.clone())
    }

    fn failed(&self, failure: &Failure) {
        self.snapshot.send_modify(|snapshot| {
            snapshot.last_error = Some(failure.text.clone());
            snapshot.refusal = failure.refusal.clone();
        });
    }
}

/// Counts a connection as accepted until it ends.
struct Accepted(DialState);

impl Drop for Accepted {
    fn drop(&mut self) {
        self.0.snapshot.send_modify(|snapshot| snapshot.connected -= 1);
    }
}

/// Keeps all lanes connected until `shutdown`, then drains them. Returns when the last stream has ended or its time
/// is up.
pub async fn run<S: Handler + Sync>(
    config: watch::Receiver<DialConfig>,
    service: S,
    state: DialState,
    shutdown: CancellationToken,
) {
    let lanes = config.borrow().lanes.clone();
    let connections = TaskTracker::new();
    for lane in lanes {
        let keeper = Keeper {
            lane,
            config: config.clone(),
            service: service.clone(),
            state: state.clone(),
            shutdown: shutdown.clone(),
            connections: connections.clone(),
            backoff: Backoff::default(),
        };
        connections.spawn(keeper.run());
    }
    connections.close();
    connections.wait().await;
}

/// Keeps one lane connected.
struct Keeper<S> {
    lane: Lane,
    config: watch::Receiver<DialConfig>,
    service: S,
    state: DialState,
    shutdown: CancellationToken,
    connections: TaskTracker,
    backoff: Backoff,
}

/// A connection in use.
struct Served {
    task: JoinHandle<Result<(), TunnelError>>,
    retire: CancellationToken,
    since: Instant,
}

/// Why an attempt failed or a connection ended.
struct Failure {
    text: String,
    refusal: Option<Refusal>,
    /// The hub is up but does not want us: asking again soon is pointless.
    unwanted: bool,
}

impl From<carrier::DialError> for Failure {
    fn from(error: carrier::DialError) -> Self {
        Self {
            text: chain(&error),
            unwanted: error.is_refusal(),
            refusal: match error {
                carrier::DialError::Refused(refusal) => Some(refusal),
                _ => None,
            },
        }
    }
}

impl From<TunnelError> for Failure {
    fn from(error: TunnelError) -> Self {
        Self {
            text: chain(&error),
            // In TLS 1.3 a server's verdict on the client's certificate comes after the handshake.
            unwanted: matches!(&error, TunnelError::Refused(refusal) if !refusal.may_pass())
                || matches!(tls_cause(&error), Some(rustls::Error::AlertReceived(_))),
            refusal: match error {
                TunnelError::Refused(refusal) => Some(refusal),
                _ => None,
            },
        }
    }
}

impl Failure {
    fn ended() -> Self {
        Self { text: "the hub closed the connection".into(), refusal: None, unwanted: false }
    }
}

/// What happened to a connection in use.
enum Next {
    Stop,
    Replace,
    Again(Failure),
}

impl<S: Handler + Sync> Keeper<S> {
    async fn run(mut self) {
        let mut previous: Option<Served> = None;
        while !self.shutdown.is_cancelled() {
            let config = self.config.borrow_and_update().clone();
            let failure = match self.establish(&config).await {
                Ok(mut served) => {
                    if let Some(previous) = previous.take() {
                        previous.retire.cancel();
                    }
                    match self.hold(&mut served).await {
                        Next::Stop => return,
                        Next::Replace => {
                            previous = Some(served);
                            continue;
                        }
                        Next::Again(failure) => failure,
                    }
                }
                Err(failure) => failure,
            };
            self.wait(failure).await;
        }
    }

    /// Dials, serves, and waits until the hub has accepted.
    async fn establish(&self, config: &DialConfig) -> Result<Served, Failure> {
        let dialled = tokio::select! {
            dialled = carrier::dial(&config.target, &config.tls, self.lane) => dialled?,
            () = self.shutdown.cancelled() => return Err(Failure::ended()),
        };
        let standing = watch::Sender::new(Standing::Waiting);
        let mut seen = standing.subscribe();
        let mut served = self.serve(dialled, config, standing);
        let accepted = seen.wait_for(|standing| *standing != Standing::Waiting);
        tokio::select! {
            biased;
            ended = &mut served.task => Err(failure_of(ended)),
            _ = accepted => {
                tracing::info!(lane = %self.lane, hub = %config.target, "connected");
                Ok(served)
            }
            () = tokio::time::sleep(ACCEPT_DEADLINE) => {
                served.task.abort();
                Err(Failure { text: "the hub did not take the connection up".into(), refusal: None, unwanted: false })
            }
        }
    }

    fn serve(&self, io: carrier::Carrier, config: &DialConfig, standing: watch::Sender<Standing>) -> Served {
        let retire = self.shutdown.child_token();
        let seen = standing.subscribe();
        let options = Options { lane: self.lane, drain: config.handover_drain, pings: config.pings, standing };
        let serving = serve::serve_with(io, self.service.clone(), retire.clone(), options);
        let serving = counted(serving, seen, self.state.clone());
        let shutdown = self.shutdown.clone();
        let drain = config.shutdown_drain;
        let task = self.connections.spawn(async move {
            let stopped = async {
                shutdown.cancelled().await;
                tokio::time::sleep(drain).await;
            };
            tokio::select! {
                ended = serving => ended,
                () = stopped => Ok(()),
            }
        });
        Served { task, retire, since: Instant::now() }
    }

    /// Waits until something is to be done about a connection.
    async fn hold(&mut self, served: &mut Served) -> Next {
        tokio::select! {
            ended = &mut served.task => {
                if self.shutdown.is_cancelled() {
                    return Next::Stop;
                }
                if served.since.elapsed() >= GOOD_AFTER {
                    self.backoff = Backoff::default();
                }
                Next::Again(failure_of(ended))
            }
            () = self.shutdown.cancelled() => Next::Stop,
            // If the sender is gone nothing changes any more, and this branch is out.
            Ok(()) = self.config.changed() => Next::Replace,
        }
    }

    /// Waits before the next attempt; a new configuration cuts it short.
    async fn wait(&mut self, failure: Failure) {
        if self.shutdown.is_cancelled() {
            return;
        }
        self.state.failed(&failure);
        let delay = self.backoff.next(failure.unwanted);
        tracing::warn!(lane = %self.lane, error = %failure.text, ?delay, "not connected; will try again");
        tokio::select! {
            () = tokio::time::sleep(delay) => {}
            () = self.shutdown.cancelled() => {}
            Ok(()) = self.config.changed() => self.backoff = Backoff::default(),
        }
    }
}

/// Counts a connection while it is accepted.
async fn counted(
    serving: impl Future<Output = Result<(), TunnelError>>,
    mut seen: watch::Receiver<Standing>,
    state: DialState,
) -> Result<(), TunnelError> {
    let counting = async {
        let accepted = seen.wait_for(|standing| *standing == Standing::Accepted).await.is_ok();
        let _counted = accepted.then(|| state.accepted());
        std::future::pending::<Infallible>().await
    };
    tokio::select! {
        biased;
        never = counting => match never {},
        ended = serving => ended,
    }
}

fn failure_of(ended: Result<Result<(), TunnelError>, tokio::task::JoinError>) -> Failure {
    match ended {
        Ok(Err(error)) => error.into(),
        Ok(Ok(())) | Err(_) => Failure::ended(),
    }
}

/// How long to wait before the next attempt: full jitter over a ceiling that doubles
/// (<https://aws.amazon.com/builders-library/timeouts-retries-and-backoff-with-jitter/>), so that a fleet does not come
/// back to its hub all at once.
#[derive(Clone, Debug, Default)]
pub struct Backoff {
    failures: u32,
}

impl Backoff {
    /// Shortest wait: an attempt that fails at once must not become a busy loop.
    pub const FLOOR: Duration = Duration::from_millis(20);
    /// Ceiling of the first wait.
    pub const BASE: Duration = Duration::from_millis(100);
    /// Ceiling while the hub is merely away.
    pub const CAP: Duration = Duration::from_secs(3);
    /// Ceiling of the first wait after a refusal.
    pub const UNWANTED_BASE: Duration = Duration::from_secs(1);
    /// Ceiling while the hub refuses.
    pub const UNWANTED_CAP: Duration = Duration::from_secs(30);

    /// The next wait. `unwanted`: the hub is up and refuses.
    pub fn next(&mut self, unwanted: bool) -> Duration {
        let ceiling = self.ceiling(unwanted);
        self.failures = self.failures.saturating_add(1);
        let micros = |duration: Duration| u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        Duration::from_micros(fastrand::u64(micros(Self::FLOOR)..=micros(ceiling)))
    }

    fn ceiling(&self, unwanted: bool) -> Duration {
        let (base, cap) = if unwanted { (Self::UNWANTED_BASE, Self::UNWANTED_CAP) } else { (Self::BASE, Self::CAP) };
        base.saturating_mul(1 << self.failures.min(16)).min(cap)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_stay_in_bounds_and_reach_the_cap() {
        for (unwanted, cap) in [(false, Backoff::CAP), (true, Backoff::UNWANTED_CAP)] {
            let mut longest = Duration::ZERO;
            let mut backoff = Backoff::default();
            for _ in 0..2_000 {
                let ceiling = backoff.ceiling(unwanted);
                let wait = backoff.next(unwanted);
                assert!(wait >= Backoff::FLOOR && wait <= ceiling && ceiling <= cap, "{wait:?}");
                longest = longest.max(wait);
            }
            assert!(longest > cap / 2, "the ceiling is never approached: {longest:?}");
        }
    }

    #[test]
    fn the_first_wait_is_short_and_the_ceiling_doubles() {
        let mut backoff = Backoff::default();
        let mut ceilings = Vec::new();
        for _ in 0..7 {
            ceilings.push(backoff.ceiling(false).as_millis());
            backoff.next(false);
        }
        assert_eq!(ceilings, [100, 200, 400, 800, 1_600, 3_000, 3_000]);
    }
}
