//! `gateway`: what the way of a request to a cluster costs, through hub and agent and directly, beside peers before the
//! same upstream.
//!
//! Subjects take turns in short rounds, and a figure is the median of its rounds, so that whatever else the machine
//! does hits all of them alike.
//!
//! Must not know: how a subject is started, or how a figure is printed.

pub(crate) mod subjects;
pub(crate) mod upstream;

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use flotilla_testbed::Process;
use tokio::runtime::Runtime;

use self::subjects::{Flotilla, Ground, Remotedialer, Subject};
use self::upstream::{BULK, BULK_SIZE, UNREAD_SIZE};
use crate::load::{Callers, Seen, Target, Unread};
use crate::process;
use crate::report::{Bar, Metric, Report, median};
use crate::say;

const TUNNEL_C32: &str = "tunnel-small-get-c32";
const DIRECT_C32: &str = "direct-small-get-c32";
const TUNNEL_C1: &str = "tunnel-small-get-c1";
const TUNNEL_BULK: &str = "tunnel-bulk-100mb";
/// The same requests as in [`UNREAD`] in the same rounds, with nothing unread.
const UNREAD_NONE: &str = "unread-0";
const UNREAD: &str = "unread-500";
const IDLE: &str = "idle";
const CASES: [&str; 6] = [TUNNEL_C32, DIRECT_C32, TUNNEL_C1, TUNNEL_BULK, UNREAD, IDLE];

/// Rounds per subject and case.
const ROUNDS: usize = 5;
/// No round takes longer when all is well.
const ROUND_LIMIT: Duration = Duration::from_secs(60);
/// Time that opening the unread answers may take.
const UNREAD_LIMIT: Duration = Duration::from_secs(20);
/// Time until every buffer on the way of the unread answers is full.
const FILLING: Duration = Duration::from_secs(1);
/// Answers that nobody reads.
const UNREAD_COUNT: usize = 500;
/// Idle time before memory is looked at.
const IDLE_TIME: Duration = Duration::from_secs(25);
/// Agents that have nothing to do.
const IDLE_AGENTS: usize = 2;

/// How much is asked in one round.
#[derive(Clone, Copy)]
struct Round {
    connections: usize,
    warm_up: u64,
    requests: u64,
}

const C32: Round = Round { connections: 32, warm_up: 1_500, requests: 10_000 };
const C1: Round = Round { connections: 1, warm_up: 300, requests: 2_500 };
const ONE_STREAM: Round = Round { connections: 1, warm_up: 1, requests: 6 };

/// Measures the cases whose names contain one of `filters`; all of them when there are none.
///
/// # Errors
/// A subject does not start, or one of ours gives a wrong answer or none.
pub(crate) fn run(filters: &[String]) -> Result<Report> {
    let wanted = |case: &str| filters.is_empty() || filters.iter().any(|filter| case.contains(filter.as_str()));
    ensure!(CASES.into_iter().any(wanted), "no such case; there are: {}", CASES.join(", "));
    if cfg!(debug_assertions) {
        say("these programs are not optimised: the figures mean nothing; use cargo xtask bench");
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut bench = Bench { report: Report::new("gateway"), runtime, ground: Ground::prepare()? };
    bench.bars();
    bench.notes();
    bench.loaded(&wanted)?;
    if wanted(IDLE) {
        bench.idle()?;
    }
    Ok(bench.report)
}

struct Bench {
    report: Report,
    runtime: Runtime,
    ground: Ground,
}

impl Bench {
    fn bars(&mut self) {
        let bars = [
            (TUNNEL_C32, "flotilla", Metric::CpuPerRequest, Bar::AtMost(90.0)),
            (DIRECT_C32, "flotilla", Metric::CpuPerRequest, Bar::AtMost(45.0)),
            (TUNNEL_BULK, "flotilla", Metric::MegabytesPerSecond, Bar::TimesAtLeast(2.0, "remotedialer")),
            // A twentieth is within what two rounds of the same differ by.
            (UNREAD, "flotilla", Metric::Rps, Bar::OfCaseAtLeast(0.95, UNREAD_NONE)),
            (IDLE, "flotilla-hub", Metric::Rss, Bar::AtMost(40.0)),
            (IDLE, "flotilla-agent", Metric::Rss, Bar::AtMost(12.0)),
        ];
        for (case, subject, metric, bar) in bars {
            self.report.bar(case, subject, metric, bar);
        }
    }

    fn notes(&mut self) {
        for note in [
            "One machine, one run, one upstream (nginx, TLS, 1.6 kB of JSON); callers come over TLS on connections that stay open.",
            "cpu: processor time of all processes of a subject (hub and agent; server and client), callers and nginx not counted.",
            "flotilla checks a token, asks the policy and counts each read; remotedialer and kubectl proxy do none of these.",
            "kubectl proxy takes plain HTTP from its callers, so it does not pay for TLS on that side.",
        ] {
            self.report.note(note.to_owned());
        }
    }

    /// The cases in which something is asked of the subjects.
    fn loaded(&mut self, wanted: &dyn Fn(&str) -> bool) -> Result<()> {
        let tunnel = [TUNNEL_C32, TUNNEL_C1, TUNNEL_BULK, UNREAD].into_iter().any(wanted);
        if !tunnel && !wanted(DIRECT_C32) {
            return Ok(());
        }
        say("== starting hub and agent");
        let flotilla = self.ground.flotilla()?;
        if tunnel {
            say("== starting remotedialer");
            let remotedialer = self.ground.remotedialer()?;
            self.tunnel(wanted, &flotilla, &remotedialer)?;
        }
        if wanted(DIRECT_C32) {
            say("== starting kubectl proxy");
            let kubectl = self.ground.kubectl_proxy()?;
            self.small(DIRECT_C32, C32, &[flotilla.direct()?, kubectl.subject()?])?;
        }
        Ok(())
    }

    fn tunnel(
        &mut self,
        wanted: &dyn Fn(&str) -> bool,
        flotilla: &Flotilla,
        remotedialer: &Remotedialer,
    ) -> Result<()> {
        let subjects = [flotilla.tunnelled()?, remotedialer.subject()?];
        if wanted(TUNNEL_C32) {
            self.small(TUNNEL_C32, C32, &subjects)?;
        }
        if wanted(TUNNEL_C1) {
            self.small(TUNNEL_C1, C1, &subjects)?;
        }
        if wanted(TUNNEL_BULK) {
            self.bulk(&subjects)?;
        }
        if wanted(UNREAD) {
            // remotedialer last: it may not survive.
            subjects.iter().try_for_each(|subject| self.unread(subject))?;
        }
        Ok(())
    }

    /// Small requests, the subjects taking turns.
    fn small(&mut self, case: &'static str, round: Round, subjects: &[Subject]) -> Result<()> {
        say(&format!("== {case}"));
        let mut samples = vec![Vec::new(); subjects.len()];
        for _ in 0..ROUNDS {
            for (subject, samples) in subjects.iter().zip(&mut samples) {
                samples.push(self.measure(&subject.target, round, &subject.pids).with_context(|| subject.name)?);
            }
        }
        for (subject, samples) in subjects.iter().zip(&samples) {
            self.figures(case, subject.name, samples, true);
        }
        Ok(())
    }

    /// One long answer after the other.
    fn bulk(&mut self, subjects: &[Subject]) -> Result<()> {
        say(&format!("== {TUNNEL_BULK}"));
        let mut rates = vec![Vec::new(); subjects.len()];
        for _ in 0..ROUNDS {
            for (subject, rates) in subjects.iter().zip(&mut rates) {
                let target = subject.asking(BULK, BULK_SIZE);
                let sample = self.measure(&target, ONE_STREAM, &subject.pids).with_context(|| subject.name)?;
                rates.push(sample.rps * BULK_SIZE as f64 / 1e6);
            }
        }
        for (subject, rates) in subjects.iter().zip(&rates) {
            if let Some(rate) = median(rates) {
                self.report.add(TUNNEL_BULK, subject.name, Metric::MegabytesPerSecond, rate);
            }
        }
        Ok(())
    }

    /// Small requests with and without long answers that nobody reads, in turns.
    /// A peer that does not go on answering has a rate of zero.
    fn unread(&mut self, subject: &Subject) -> Result<()> {
        say(&format!("== {UNREAD}: {}", subject.name));
        let (mut without, mut with) = (Vec::new(), Vec::new());
        let long = subject.asking(upstream::UNREAD, UNREAD_SIZE);
        for _ in 0..ROUNDS {
            without.push(self.measure(&subject.target, C32, &subject.pids).with_context(|| subject.name)?);
            match self.beside_unread(subject, &long) {
                Ok(sample) => with.push(sample),
                Err(error) if subject.name == "flotilla" => return Err(error.context(subject.name)),
                Err(error) => {
                    // A peer that hangs is a result. It will not recover, so no more is asked of it.
                    self.report.note(format!("{UNREAD}: {} did not go on answering: {error:#}", subject.name));
                    with.clear();
                    break;
                }
            }
        }
        self.figures(UNREAD_NONE, subject.name, &without, false);
        if with.is_empty() {
            self.report.add(UNREAD, subject.name, Metric::Rps, 0.0);
        }
        self.figures(UNREAD, subject.name, &with, false);
        Ok(())
    }

    fn beside_unread(&self, subject: &Subject, long: &Target) -> Result<Sample> {
        let opening = async { tokio::time::timeout(UNREAD_LIMIT, Unread::open(long, UNREAD_COUNT)).await };
        let unread = self.runtime.block_on(opening).context("the unread answers did not come in time")??;
        std::thread::sleep(FILLING);
        let sample = self.measure(&subject.target, C32, &subject.pids);
        // Their connections close in the runtime.
        self.runtime.block_on(async {
            drop(unread);
            tokio::time::sleep(FILLING).await;
        });
        sample
    }

    /// One round.
    fn measure(&self, target: &Target, round: Round, pids: &[u32]) -> Result<Sample> {
        self.runtime.block_on(async {
            let measuring = async {
                let mut callers = Callers::open(target, round.connections, round.warm_up).await?;
                let before = process::cpu(pids)?;
                let seen = callers.send(round.requests).await?;
                Ok(Sample::new(&seen, process::cpu(pids)? - before))
            };
            tokio::time::timeout(ROUND_LIMIT, measuring).await.context("no end of a round in time")?
        })
    }

    fn figures(&mut self, case: &'static str, subject: &'static str, samples: &[Sample], cpu: bool) {
        let of = |value: fn(&Sample) -> f64| median(&samples.iter().map(value).collect::<Vec<_>>());
        let figures = [
            (Metric::CpuPerRequest, of(|sample| sample.cpu_us)),
            (Metric::Rps, of(|sample| sample.rps)),
            (Metric::P50, of(|sample| sample.p50_ms)),
            (Metric::P99, of(|sample| sample.p99_ms)),
        ];
        for (metric, value) in figures.into_iter().skip(usize::from(!cpu)) {
            if let Some(value) = value {
                self.report.add(case, subject, metric, value);
            }
        }
    }

    /// Memory of programs that have just started and have nothing to do.
    fn idle(&mut self) -> Result<()> {
        say(&format!("== {IDLE}: {} s", IDLE_TIME.as_secs()));
        let (hub, agents) = self.ground.idle(IDLE_AGENTS)?;
        std::thread::sleep(IDLE_TIME);
        let megabytes = |pid: u32| Ok::<_, anyhow::Error>(process::resident(pid)? as f64 / 1e6);
        let hub = hub.process().context("the hub is not running")?;
        self.report.add(IDLE, "flotilla-hub", Metric::Rss, megabytes(hub.pid())?);
        let pids = agents.iter().filter_map(|agent| agent.process()).map(Process::pid);
        let resident = pids.map(megabytes).collect::<Result<Vec<_>>>()?;
        // The larger of the two.
        let most = resident.into_iter().fold(0.0, f64::max);
        self.report.add(IDLE, "flotilla-agent", Metric::Rss, most);
        Ok(())
    }
}

/// What one round showed.
#[derive(Clone, Debug, Default)]
struct Sample {
    cpu_us: f64,
    rps: f64,
    p50_ms: f64,
    p99_ms: f64,
}

impl Sample {
    fn new(seen: &Seen, cpu: Duration) -> Self {
        Self {
            cpu_us: cpu.as_secs_f64() * 1e6 / seen.requests as f64,
            rps: seen.rps(),
            p50_ms: seen.percentile_ms(0.5),
            p99_ms: seen.percentile_ms(0.99),
        }
    }
}
