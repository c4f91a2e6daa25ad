//! `audit`: what the audit log costs and how fast it is, with SQLite (`flotilla`) and PostgreSQL (`flotilla-postgres`).
//!
//! - `attempted`: rows that many writers at once have on disk before their acts, each with its outcome afterwards.
//! - `verify-1m`: hashes and signatures of a million rows, where they are kept.
//! - `mutation`: processor time of the hub for a request that is audited, less that of one that is not. Both go to the
//!   same upstream for the same answer, in turns; the difference is the audit: two rows, durable, chained and printed.
//!
//! Must not know: how the log works.

mod postgres;

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use flotilla_identity::token::{Algorithm, KeyMaterial, KeyRing};
use flotilla_store::audit::{AuditLog, AuditOptions};
use flotilla_store::{DatabaseConfig, Driver, Kek, Sealer, Store};
use flotilla_types::audit::{Actor, AuditRow, Outcome, Target as AuditTarget, VerifyQuery};
use flotilla_types::id::{AuditId, ClusterId, RequestId, UserId};
use flotilla_types::time::Timestamp;
use http::Method;
use tokio::runtime::Runtime;

use self::postgres::Postgres;
use crate::gateway::subjects::{DIRECT, Ground};
use crate::gateway::upstream::{SMALL, SMALL_SIZE};
use crate::load::{Callers, Target};
use crate::process;
use crate::report::{Bar, Metric, Report, median};
use crate::say;

const VERIFY: &str = "verify-1m";
const ATTEMPTED: &str = "attempted";
const MUTATION: &str = "mutation";
const CASES: [&str; 3] = [ATTEMPTED, VERIFY, MUTATION];
const SQLITE: &str = "flotilla";
const POSTGRES: &str = "flotilla-postgres";

/// Acts that are written before they are verified: two rows each.
const ACTS: u64 = 500_000;
/// Acts when only their writing is measured.
const ACTS_WRITTEN: u64 = 100_000;
/// Acts at a time.
const WRITERS: u64 = 512;
/// Rounds of everything but the writing.
const ROUNDS: usize = 5;
const CONNECTIONS: usize = 32;
const WARM_UP: u64 = 1_000;
const REQUESTS: u64 = 6_000;
const ROUND_LIMIT: Duration = Duration::from_secs(120);

/// Measures the cases whose names contain one of `filters`; all of them when there are none.
///
/// # Errors
/// A subject does not start, or the log is not whole.
pub(crate) fn run(filters: &[String]) -> Result<Report> {
    let wanted = |case: &str| filters.is_empty() || filters.iter().any(|filter| case.contains(filter.as_str()));
    ensure!(CASES.into_iter().any(wanted), "no such case; there are: {}", CASES.join(", "));
    if cfg!(debug_assertions) {
        say("these programs are not optimised: the figures mean nothing; use cargo xtask bench");
    }
    let mut report = Report::new("audit");
    for subject in [SQLITE, POSTGRES] {
        report.bar(VERIFY, subject, Metric::Seconds, Bar::AtMost(10.0));
        report.bar(MUTATION, subject, Metric::CpuPerRequest, Bar::AtMost(150.0));
    }
    report.bar(ATTEMPTED, SQLITE, Metric::RowsPerSecond, Bar::AtLeast(5_000.0));
    report.note(format!("attempted: {WRITERS} writers; each outcome is written too and not counted."));
    report.note(
        "mutation: the hub's processor time for DELETE less that for GET; the database server's is not in it.".into(),
    );
    let ground = Ground::prepare()?;
    let postgres = Postgres::start(ground.place())?;
    if wanted(VERIFY) || wanted(ATTEMPTED) {
        let folder = tempfile::tempdir()?;
        let sqlite = format!("sqlite://{}", folder.path().join("audit.db").display());
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        for (subject, driver, url) in
            [(SQLITE, Driver::Sqlite, sqlite), (POSTGRES, Driver::Postgres, postgres.database("log")?)]
        {
            let acts = if wanted(VERIFY) { ACTS } else { ACTS_WRITTEN };
            say(&format!("== {subject}: {acts} acts"));
            runtime.block_on(log(&mut report, subject, &DatabaseConfig { driver, url }, acts, wanted(VERIFY)))?;
        }
    }
    if wanted(MUTATION) {
        let database = format!("database: {{driver: postgres, url: {:?}}}\n", postgres.database("hub")?);
        for (subject, extra) in [(SQLITE, ""), (POSTGRES, database.as_str())] {
            say(&format!("== {MUTATION}: {subject}"));
            mutation(&mut report, &ground, subject, extra)?;
        }
    }
    Ok(report)
}

fn row(actor: UserId, cluster: ClusterId) -> AuditRow {
    AuditRow {
        id: AuditId::new(),
        seq: 0,
        attempt_id: None,
        time: Timestamp::now(),
        request_id: RequestId::new(),
        route: "/k8s/clusters/{cluster}/*".to_owned(),
        actor: Actor {
            sub: Some(actor),
            email: "developer@example.com".to_owned(),
            groups: vec!["flotilla:role:developer".to_owned(), "flotilla:tier:write".to_owned()],
            address: "192.0.2.17".to_owned(),
        },
        verb: "delete".to_owned(),
        outcome: Outcome::Attempted,
        target: AuditTarget {
            cluster: "production-eu-west".to_owned(),
            cluster_id: Some(cluster),
            group: "apps".to_owned(),
            version: "v1".to_owned(),
            resource: "deployments".to_owned(),
            namespace: "payments".to_owned(),
            name: "web-7d4b9c6f5d-x2x8v".to_owned(),
        },
        command: "delete deployments.apps web-7d4b9c6f5d-x2x8v -n payments".to_owned(),
        reason: "developer#2".to_owned(),
        status: 0,
        bytes: 0,
        duration_ms: 0,
        diff: None,
        run: String::new(),
        hash: String::new(),
    }
}

/// Writes acts, and verifies them when asked to.
async fn log(
    report: &mut Report,
    subject: &'static str,
    database: &DatabaseConfig,
    acts: u64,
    verify: bool,
) -> Result<()> {
    let store = Store::open(database, Sealer::new(vec![Kek::generate("bench")?])?).await?;
    store.migrate().await?;
    let options = AuditOptions { queue: 4096, ..AuditOptions::default() };
    let (log, writer) = AuditLog::start(&store, options).await?;
    let started = Instant::now();
    let mut writers = tokio::task::JoinSet::new();
    for _ in 0..WRITERS {
        let (log, actor, cluster) = (log.clone(), UserId::new(), ClusterId::new());
        writers.spawn(async move {
            for _ in 0..acts.div_ceil(WRITERS) {
                log.attempt(row(actor, cluster)).await?.finish(Outcome::Succeeded, 200, 1_600, String::new());
            }
            anyhow::Ok(())
        });
    }
    while let Some(done) = writers.join_next().await {
        done??;
    }
    report.add(ATTEMPTED, subject, Metric::RowsPerSecond, acts as f64 / started.elapsed().as_secs_f64());
    drop(log);
    writer.await?;
    if verify {
        let seconds = verified(&store, 2 * acts).await?;
        report.add(VERIFY, subject, Metric::Seconds, seconds);
    }
    store.close().await;
    Ok(())
}

/// The median time of verifying `rows` rows, which must be whole and signed.
async fn verified(store: &Store, rows: u64) -> Result<f64> {
    let keys = KeyRing::new(vec![KeyMaterial::generate(Algorithm::Rs256)?, KeyMaterial::generate(Algorithm::EdDsa)?])?;
    store.audit_checkpoint(&|checkpoint| keys.sign_checkpoint(checkpoint).ok()).await?;
    let mut seconds = Vec::new();
    for _ in 0..ROUNDS {
        let started = Instant::now();
        let found = store.verify_audit(&VerifyQuery { from: None, to: Some(i64::try_from(rows)?) }).await?;
        seconds.push(started.elapsed().as_secs_f64());
        ensure!(found.is_sound() && found.good == rows, "the log is not whole: {found:?}");
    }
    median(&seconds).context("no rounds")
}

/// What the audit of a mutation costs the hub.
fn mutation(report: &mut Report, ground: &Ground, subject: &'static str, extra: &str) -> Result<()> {
    let (hub, target) = ground.direct_hub(subject, extra)?;
    let pid = hub.process().context("the hub is not running")?.pid();
    let read = target.with_path(&format!("/k8s/clusters/{DIRECT}{SMALL}"), SMALL_SIZE);
    let write = read.method(Method::DELETE);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (mut reads, mut writes) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        reads.push(cost(&runtime, &read, pid)?);
        writes.push(cost(&runtime, &write, pid)?);
    }
    let (read, write) = (median(&reads).context("no rounds")?, median(&writes).context("no rounds")?);
    report.note(format!("{MUTATION}: {subject}: DELETE {write:.1} us, GET {read:.1} us"));
    report.add(MUTATION, subject, Metric::CpuPerRequest, write - read);
    Ok(())
}

/// Processor time of the process for each request, in microseconds.
fn cost(runtime: &Runtime, target: &Target, pid: u32) -> Result<f64> {
    runtime.block_on(async {
        let measuring = async {
            let mut callers = Callers::open(target, CONNECTIONS, WARM_UP).await?;
            let before = process::cpu(&[pid])?;
            let seen = callers.send(REQUESTS).await?;
            Ok((process::cpu(&[pid])? - before).as_secs_f64() * 1e6 / seen.requests as f64)
        };
        tokio::time::timeout(ROUND_LIMIT, measuring).await.context("no end of a round in time")?
    })
}
