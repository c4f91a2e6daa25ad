//! The audit log: durable before the act, one outcome each, a chain that shows tampering.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use flotilla_store::audit::{AuditError, AuditLog, AuditOptions, QUEUE_DEADLINE};
use flotilla_store::{Driver, Store, StoreMetrics};
use flotilla_types::audit::{Actor, AuditQuery, AuditRow, Outcome, Target, VerifyQuery};
use flotilla_types::id::{AuditId, ClusterId, RequestId, UserId};
use flotilla_types::time::{from_ms, now_ms};
use tokio::task::JoinHandle;

use crate::bed::Bed;

pub(crate) fn row(command: &str) -> AuditRow {
    AuditRow {
        id: AuditId::new(),
        seq: 0,
        attempt_id: None,
        time: from_ms(now_ms()),
        request_id: RequestId::new(),
        route: "/k8s/clusters/{cluster}/*".into(),
        actor: Actor { email: "dev@x".into(), groups: vec!["g".into()], address: "::1".into(), sub: None },
        verb: "delete".into(),
        outcome: Outcome::Attempted,
        target: Target { cluster: "dev".into(), resource: "pods".into(), name: "web-0".into(), ..Target::default() },
        command: command.into(),
        reason: "developer#1".into(),
        status: 0,
        bytes: 0,
        duration_ms: 0,
        diff: None,
        run: String::new(),
        hash: String::new(),
    }
}

pub(crate) async fn start(store: &Store) -> (AuditLog, JoinHandle<()>) {
    AuditLog::start(store, AuditOptions::default()).await.unwrap()
}

/// Lets the log write everything, as a hub that stops in order does.
pub(crate) async fn stop((log, task): (AuditLog, JoinHandle<()>)) {
    drop(log);
    tokio::time::timeout(Duration::from_secs(30), task).await.expect("the writer ends").unwrap();
}

/// The log is whole; the number of its rows.
pub(crate) async fn sound(store: &Store) -> u64 {
    let found = store.verify_audit(&VerifyQuery::default()).await.unwrap();
    assert_eq!(found.flaws, []);
    found.good
}

async fn all(store: &Store) -> Vec<AuditRow> {
    let query = AuditQuery { limit: Some(1000), ..AuditQuery::default() };
    let mut rows = store.audit_query(&query, None).await.unwrap().rows;
    rows.reverse();
    rows
}

async fn an_act_is_attempted_and_then_succeeds(bed: Bed) {
    let store = bed.store().await;
    let log = start(&store).await;
    let wanted = row("delete pods web-0");
    let pending = log.0.attempt(wanted.clone()).await.unwrap();
    assert_eq!(pending.id(), wanted.id);
    // Another process sees it: it is committed.
    let seen = all(&bed.open().await).await;
    assert_eq!(seen.len(), 1);
    let (run, hash) = (log.0.run().to_owned(), seen[0].hash.clone());
    let expected = AuditRow { seq: 1, run, hash, ..wanted.clone() };
    assert_eq!((&seen[0], seen[0].hash.len()), (&expected, 64));
    tokio::time::sleep(Duration::from_millis(20)).await;
    pending.finish(Outcome::Succeeded, 200, 17, String::new());
    stop(log).await;
    let rows = all(&store).await;
    let [_, outcome] = rows.as_slice() else { panic!("{rows:?}") };
    assert_eq!((outcome.seq, outcome.outcome, outcome.status, outcome.bytes), (2, Outcome::Succeeded, 200, 17));
    assert_eq!((&outcome.request_id, &outcome.command), (&wanted.request_id, &wanted.command));
    assert!((20..5_000).contains(&outcome.duration_ms), "{}", outcome.duration_ms);
    assert_eq!(sound(&store).await, 2);
}

async fn every_act_gets_exactly_one_outcome(bed: Bed) {
    let store = bed.store().await;
    let log = start(&store).await;
    drop(log.0.attempt(row("dropped")).await.unwrap());
    log.0.attempt(row("failed")).await.unwrap().finish(Outcome::Failed, 500, 0, "boom".into());
    log.0.attempt(row("odd")).await.unwrap().finish(Outcome::Attempted, 0, 0, String::new());
    log.0.record(AuditRow { outcome: Outcome::Denied, ..row("denied") }).await.unwrap();
    stop(log).await;
    let acts: Vec<(String, String)> = bed.rows("SELECT command, status FROM audit_logs ORDER BY created_at, id").await;
    let acts: Vec<_> = acts.iter().map(|(command, status)| (command.as_str(), status.as_str())).collect();
    assert_eq!(acts, [("dropped", "aborted"), ("failed", "failed"), ("odd", "aborted"), ("denied", "denied")]);
    assert_eq!(all(&store).await.len(), 7);
}

async fn the_view_has_one_row_for_each_act(bed: Bed) {
    type Act = (String, Option<String>, Option<String>, String, String, i64, i64);
    const ACTS: &str = "SELECT id, user_id, cluster_id, command, status, duration_ms, created_at FROM audit_logs";
    let store = bed.store().await;
    let log = start(&store).await;
    let (user, cluster) = (UserId::new(), ClusterId::new());
    let mut wanted = row("delete pods web-0");
    (wanted.actor.sub, wanted.target.cluster_id) = (Some(user), Some(cluster));
    let (id, time) = (wanted.id.to_string(), wanted.time.as_millisecond());
    let pending = log.0.attempt(wanted).await.unwrap();
    let act = |status: &str, duration: i64| {
        let (user, cluster) = (Some(user.to_string()), Some(cluster.to_string()));
        (id.clone(), user, cluster, "delete pods web-0".to_owned(), status.to_owned(), duration, time)
    };
    assert_eq!(bed.rows::<Act>(ACTS).await, [act("attempted", 0)]);
    tokio::time::sleep(Duration::from_millis(5)).await;
    pending.finish(Outcome::Succeeded, 200, 1, String::new());
    stop(log).await;
    let acts: Vec<Act> = bed.rows(ACTS).await;
    assert!(acts[0].5 >= 5, "{acts:?}");
    assert_eq!(acts, [act("succeeded", acts[0].5)]);
}

async fn many_acts_share_commits(bed: Bed) {
    let store = bed.store().await;
    let metrics = StoreMetrics::unregistered();
    let options = AuditOptions { metrics: metrics.clone(), ..AuditOptions::default() };
    let log = AuditLog::start(&store, options).await.unwrap();
    let attempts = (0..64).map(|i| {
        let log = log.0.clone();
        tokio::spawn(async move { log.attempt(row(&format!("act {i}"))).await.unwrap() })
    });
    let pending = futures_util::future::join_all(attempts.collect::<Vec<_>>()).await;
    let commits = metrics.commits();
    assert_eq!(metrics.rows_written(), 64);
    assert!(commits <= 32, "{commits} commits for 64 rows");
    pending.into_iter().for_each(|pending| pending.unwrap().finish(Outcome::Succeeded, 200, 0, String::new()));
    stop(log).await;
    assert_eq!(metrics.rows_written(), 128);
    assert_eq!(sound(&store).await, 128);
}

async fn rows_and_chain_survive_reopening(bed: Bed) {
    for run in 1..=3 {
        let store = bed.store().await;
        let log = start(&store).await;
        log.0.record(row(&format!("run {run}"))).await.unwrap();
        stop(log).await;
        store.close().await;
    }
    let store = bed.open().await;
    let seen: Vec<_> = all(&store).await.into_iter().map(|row| (row.seq, row.command)).collect();
    assert_eq!(seen, [(1, "run 1".into()), (2, "run 2".into()), (3, "run 3".into())]);
    let good = async |from| store.verify_audit(&VerifyQuery { from, to: None }).await.unwrap().good;
    assert_eq!((good(Some(1)).await, good(Some(3)).await, good(Some(4)).await), (3, 1, 0));
}

async fn two_writers_write_one_chain(bed: Bed) {
    let (here, there) = (bed.store().await, bed.open().await);
    let (one, two) = (start(&here).await, start(&there).await);
    let write = |log: AuditLog| async move {
        for i in 0..50 {
            log.attempt(row(&i.to_string())).await.unwrap().finish(Outcome::Succeeded, 200, 0, String::new());
        }
    };
    tokio::join!(write(one.0.clone()), write(two.0.clone()));
    stop(one).await;
    stop(two).await;
    assert_eq!(sound(&here).await, 200);
}

/// Writes eight rows, runs `tampering`, and returns the first bad position.
async fn first_bad(bed: &Bed, tampering: &'static str) -> Option<i64> {
    let store = bed.store().await;
    let log = start(&store).await;
    for i in 0..8 {
        log.0.record(row(&format!("row {i}"))).await.unwrap();
    }
    stop(log).await;
    sound(&store).await;
    bed.execute(tampering).await;
    store.verify_audit(&VerifyQuery::default()).await.unwrap().flaws.first().map(|flaw| flaw.seq)
}

async fn a_changed_row_is_found(bed: Bed) {
    assert_eq!(first_bad(&bed, "UPDATE audit_events SET actor_email = 'other@x' WHERE seq = 5").await, Some(5));
}

async fn a_removed_row_is_found(bed: Bed) {
    assert_eq!(first_bad(&bed, "DELETE FROM audit_events WHERE seq = 3").await, Some(3));
}

async fn a_removed_row_is_found_when_the_gap_is_closed(bed: Bed) {
    let tampering = "DELETE FROM audit_events WHERE seq = 3; UPDATE audit_events SET seq = -seq WHERE seq > 3; \
        UPDATE audit_events SET seq = -seq - 1 WHERE seq < 0";
    assert_eq!(first_bad(&bed, tampering).await, Some(3));
}

async fn a_shortened_log_is_found(bed: Bed) {
    assert_eq!(first_bad(&bed, "DELETE FROM audit_events WHERE seq > 6").await, Some(7));
}

async fn exchanged_rows_are_found(bed: Bed) {
    let tampering = "UPDATE audit_events SET seq = -4 WHERE seq = 4; UPDATE audit_events SET seq = 4 WHERE seq = 6; \
        UPDATE audit_events SET seq = 6 WHERE seq = -4";
    assert_eq!(first_bad(&bed, tampering).await, Some(4));
}

async fn rows_are_found_by_every_filter(bed: Bed) {
    let store = bed.store().await;
    let log = start(&store).await;
    let user = UserId::new();
    let mut odd = row("odd");
    odd.time = from_ms(1_000);
    odd.verb = "exec_open".into();
    odd.outcome = Outcome::Denied;
    odd.request_id = RequestId::from_caller("odd-request").unwrap();
    (odd.actor.sub, odd.actor.email) = (Some(user), "odd@x".into());
    (odd.target.cluster, odd.target.namespace, odd.target.name) = ("prod".into(), "shop".into(), "odd-0".into());
    log.0.record(AuditRow { time: from_ms(2_000), ..row("plain") }).await.unwrap();
    log.0.record(odd.clone()).await.unwrap();
    let any = AuditQuery::default;
    let text = |text: &str| Some(text.to_owned());
    let finds_odd = [
        AuditQuery { actor: text("odd@x"), ..any() },
        AuditQuery { verb: text("exec_open"), ..any() },
        AuditQuery { outcome: Some(Outcome::Denied), ..any() },
        AuditQuery { cluster: text("prod"), ..any() },
        AuditQuery { namespace: text("shop"), ..any() },
        AuditQuery { name: text("odd-0"), ..any() },
        AuditQuery { request_id: text("odd-request"), ..any() },
        AuditQuery { until: Some(from_ms(2_000)), ..any() },
        AuditQuery { since: Some(from_ms(1_000)), until: Some(from_ms(1_001)), ..any() },
        AuditQuery { actor: text("odd@x"), cluster: text("prod"), ..any() },
    ];
    for query in finds_odd {
        let rows = log.0.query(&query, None).await.unwrap().rows;
        assert_eq!(rows.iter().map(|row| row.id).collect::<Vec<_>>(), [odd.id], "{query:?}");
    }
    let finds_nothing = [
        AuditQuery { actor: text("odd@x"), cluster: text("dev"), ..any() },
        AuditQuery { since: Some(from_ms(2_001)), ..any() },
        AuditQuery { until: Some(from_ms(1_000)), ..any() },
        AuditQuery { name: text("odd' OR '1'='1"), ..any() },
        AuditQuery { name: text("\0"), ..any() },
    ];
    for query in finds_nothing {
        assert!(log.0.query(&query, None).await.unwrap().rows.is_empty(), "{query:?}");
    }
    assert_eq!(log.0.query(&any(), Some(user)).await.unwrap().rows.len(), 1);
    assert_eq!(log.0.query(&any(), Some(UserId::new())).await.unwrap().rows.len(), 0);
    assert_eq!(log.0.query(&any(), None).await.unwrap().rows.len(), 2);
}

async fn pages_follow_each_other(bed: Bed) {
    let store = bed.store().await;
    let log = start(&store).await;
    let rows = (0..25).map(|i| log.0.record(row(&i.to_string())));
    futures_util::future::try_join_all(rows).await.unwrap();
    let mut query = AuditQuery { limit: Some(10), ..AuditQuery::default() };
    let mut seen = vec![];
    loop {
        let page = log.0.query(&query, None).await.unwrap();
        seen.push(page.rows.iter().map(|row| row.seq).collect::<Vec<_>>());
        query.before = page.next;
        // A row that comes in between does not shift the pages.
        log.0.record(row("later")).await.unwrap();
        if page.next.is_none() {
            break;
        }
    }
    let down = |from: i64, to: i64| (to..=from).rev().collect::<Vec<_>>();
    assert_eq!(seen, [down(25, 16), down(15, 6), down(5, 1)]);
    let limit = |limit| AuditQuery { limit: Some(limit), ..AuditQuery::default() };
    assert_eq!(log.0.query(&limit(0), None).await.unwrap().rows.len(), 1);
    assert_eq!(log.0.query(&limit(u32::MAX), None).await.unwrap().rows.len(), 28);
}

async fn odd_texts_do_not_fail_the_batch(bed: Bed) {
    let store = bed.store().await;
    let log = start(&store).await;
    let mut odd = row("nul \0 and \u{1f6a2}");
    odd.reason = "ä".repeat(100_000);
    odd.actor.groups = vec!["g\0".into(), "\"".into()];
    let groups = odd.actor.groups.clone();
    log.0.record(odd).await.unwrap();
    stop(log).await;
    let rows = all(&store).await;
    assert_eq!(rows[0].command, "nul \u{fffd} and \u{1f6a2}");
    assert!(rows[0].reason.len() <= 4096 && rows[0].reason.ends_with("ä..."));
    assert_eq!(rows[0].actor.groups, groups);
    sound(&store).await;
}

async fn without_a_database_nothing_is_attempted(bed: Bed) {
    let store = bed.store().await;
    let log = start(&store).await;
    let open = log.0.attempt(row("before")).await.unwrap();
    bed.execute("ALTER TABLE audit_events RENAME TO away").await;
    assert!(matches!(log.0.attempt(row("meanwhile")).await, Err(AuditError::Write(_))));
    assert!(matches!(log.0.record(row("meanwhile")).await, Err(AuditError::Write(_))));
    // The outcome of what was allowed before is kept until it can be written.
    open.finish(Outcome::Succeeded, 200, 0, String::new());
    tokio::time::sleep(Duration::from_millis(300)).await;
    bed.execute("ALTER TABLE away RENAME TO audit_events").await;
    log.0.record(row("after")).await.unwrap();
    stop(log).await;
    let mut seen: Vec<_> = all(&store).await.into_iter().map(|row| (row.command, row.outcome.as_str())).collect();
    seen.sort();
    let attempted = |command: &str| (command.to_owned(), "attempted");
    assert_eq!(seen, [attempted("after"), attempted("before"), ("before".to_owned(), "succeeded")]);
    sound(&store).await;
}

async fn an_outcome_that_can_never_be_written_holds_up_no_other(bed: Bed) {
    let store = bed.store().await;
    let (log, task) = start(&store).await;
    let poisoned = log.attempt(row("poisoned")).await.unwrap();
    let mut open = vec![];
    for i in 0..5 {
        open.push(log.attempt(row(&format!("good {i}"))).await.unwrap());
    }
    bed.execute("ALTER TABLE audit_events RENAME TO away").await;
    poisoned.finish(Outcome::Failed, 418, 0, String::new());
    open.into_iter().for_each(|pending| pending.finish(Outcome::Succeeded, 200, 0, String::new()));
    assert!(log.record(row("meanwhile")).await.is_err());
    // From now on one of the six is refused by the database, whatever else is in its transaction.
    match bed.config.driver {
        Driver::Sqlite => bed.execute(
            "ALTER TABLE away RENAME TO audit_events; CREATE TRIGGER teapot BEFORE INSERT ON audit_events \
             WHEN NEW.status = 418 BEGIN SELECT RAISE(ABORT, 'teapot'); END",
        ),
        Driver::Postgres => bed.execute(
            "ALTER TABLE away RENAME TO audit_events; \
             ALTER TABLE audit_events ADD CONSTRAINT teapot CHECK (status <> 418)",
        ),
    }
    .await;
    let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
    let query = AuditQuery { outcome: Some(Outcome::Succeeded), ..AuditQuery::default() };
    while log.query(&query, None).await.unwrap().rows.len() < 5 {
        assert!(tokio::time::Instant::now() < deadline, "good outcomes are held up");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    log.record(row("new acts go on")).await.unwrap();
    sound(&store).await;
    task.abort();
}

async fn an_outcome_that_is_there_already_is_not_written_again(bed: Bed) {
    let store = bed.store().await;
    let log = start(&store).await;
    let pending = log.0.attempt(row("act")).await.unwrap();
    let act = pending.id().to_string();
    bed.execute("ALTER TABLE audit_events RENAME TO away").await;
    pending.finish(Outcome::Succeeded, 200, 0, String::new());
    assert!(log.0.record(row("meanwhile")).await.is_err());
    // What a commit looks like whose answer was lost: the act has its outcome, the writer does not know.
    bed.execute(
        "INSERT INTO away (seq, id, attempt_id, time, request_id, route, actor_email, actor_groups, actor_address, \
         verb, outcome, cluster, api_group, api_version, resource, namespace, name, command, reason, status, bytes, \
         duration_ms, hash) SELECT -1, 'written before', id, time, request_id, route, actor_email, actor_groups, \
         actor_address, verb, 'succeeded', cluster, api_group, api_version, resource, namespace, name, command, \
         reason, status, bytes, duration_ms, hash FROM away; ALTER TABLE away RENAME TO audit_events",
    )
    .await;
    // It finds out and ends; otherwise it would try for ever.
    stop(log).await;
    let outcomes: Vec<(String, String)> =
        bed.rows("SELECT id, attempt_id FROM audit_events WHERE attempt_id IS NOT NULL").await;
    assert_eq!(outcomes, [("written before".to_owned(), act)]);
}

async fn too_many_open_acts_wait_and_are_refused(bed: Bed) {
    let store = bed.store().await;
    let options = AuditOptions { open_acts: 2, ..AuditOptions::default() };
    let log = AuditLog::start(&store, options).await.unwrap();
    let first = log.0.attempt(row("1")).await.unwrap();
    let second = log.0.attempt(row("2")).await.unwrap();
    let started = tokio::time::Instant::now();
    assert!(matches!(log.0.attempt(row("3")).await, Err(AuditError::Unavailable)));
    assert!(started.elapsed() >= QUEUE_DEADLINE);
    // Rows that open nothing still go through, and an end makes room.
    log.0.record(row("4")).await.unwrap();
    first.finish(Outcome::Succeeded, 200, 0, String::new());
    log.0.attempt(row("5")).await.unwrap().finish(Outcome::Succeeded, 200, 0, String::new());
    drop(second);
    stop(log).await;
    assert_eq!(all(&store).await.len(), 7);
}

async fn a_caller_that_leaves_while_waiting_leaves_no_open_act(bed: Bed) {
    let store = bed.store().await;
    let log = start(&store).await;
    let polls = AtomicU64::new(0);
    for i in 0..200 {
        let attempt = log.0.attempt(row("left"));
        // Cut at a different moment each time: before, while, and after the commit.
        if let Ok(pending) = tokio::time::timeout(Duration::from_micros(i * 50), attempt).await {
            polls.fetch_add(1, Ordering::Relaxed);
            pending.unwrap().finish(Outcome::Succeeded, 200, 0, String::new());
        }
    }
    stop(log).await;
    let open: Vec<(String,)> = bed.rows("SELECT id FROM audit_logs WHERE status = 'attempted'").await;
    assert!(open.is_empty(), "{} of them", open.len());
    let succeeded = AuditQuery { outcome: Some(Outcome::Succeeded), limit: Some(1000), ..AuditQuery::default() };
    let succeeded = store.audit_query(&succeeded, None).await.unwrap().rows.len() as u64;
    assert_eq!(succeeded, polls.into_inner());
    sound(&store).await;
}

async fn open_acts_of_an_earlier_run_are_closed(bed: Bed) {
    let store = bed.store().await;
    let first = start(&store).await;
    first.0.attempt(row("done")).await.unwrap().finish(Outcome::Succeeded, 200, 0, String::new());
    let mut lost = vec![];
    for i in 0..3 {
        lost.push(first.0.attempt(row(&format!("lost {i}"))).await.unwrap());
    }
    // Neither finished nor dropped: the process was killed.
    lost.into_iter().for_each(std::mem::forget);
    first.1.abort();
    let options = AuditOptions { lease: Duration::from_secs(1), ..AuditOptions::default() };
    let second = AuditLog::start(&bed.open().await, options).await.unwrap();
    // PostgreSQL: as long as its lease holds, the other may still be at work.
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    let mine = second.0.attempt(row("mine")).await.unwrap();
    assert_eq!(second.0.close_orphans().await.unwrap(), 3);
    assert_eq!(second.0.close_orphans().await.unwrap(), 0);
    mine.finish(Outcome::Succeeded, 200, 0, String::new());
    stop(second).await;
    let statuses: Vec<(String, String)> = bed.rows("SELECT command, status FROM audit_logs ORDER BY command").await;
    let statuses: Vec<_> = statuses.iter().map(|(command, status)| (command.as_str(), status.as_str())).collect();
    let lost = ["lost 0", "lost 1", "lost 2"].map(|command| (command, "aborted"));
    assert_eq!(statuses, [&[("done", "succeeded")], lost.as_slice(), &[("mine", "succeeded")]].concat());
    sound(&store).await;
}

on_both_engines!(
    an_act_is_attempted_and_then_succeeds,
    every_act_gets_exactly_one_outcome,
    the_view_has_one_row_for_each_act,
    many_acts_share_commits,
    rows_and_chain_survive_reopening,
    two_writers_write_one_chain,
    a_changed_row_is_found,
    a_removed_row_is_found,
    a_removed_row_is_found_when_the_gap_is_closed,
    a_shortened_log_is_found,
    exchanged_rows_are_found,
    rows_are_found_by_every_filter,
    pages_follow_each_other,
    odd_texts_do_not_fail_the_batch,
    without_a_database_nothing_is_attempted,
    an_outcome_that_can_never_be_written_holds_up_no_other,
    an_outcome_that_is_there_already_is_not_written_again,
    too_many_open_acts_wait_and_are_refused,
    a_caller_that_leaves_while_waiting_leaves_no_open_act,
    open_acts_of_an_earlier_run_are_closed,
);
