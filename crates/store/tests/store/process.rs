//! What only several processes can show: migrating at once, and being killed.
//!
//! The child is this test program again, told by its environment what to do.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use flotilla_store::audit::{AuditLog, AuditOptions};
use flotilla_store::{DatabaseConfig, Driver, Store};
use flotilla_types::audit::Outcome;

use crate::audit::{row, sound};
use crate::bed::{Bed, sealer};

const TASK: &str = "FLOTILLA_STORE_TEST_TASK";
const URL: &str = "FLOTILLA_STORE_TEST_URL";

/// A child; killed on drop.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn spawn(bed: &Bed, task: &str) -> Process {
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", "process::as_a_child", "--ignored", "--nocapture"]);
    child.env(TASK, task).env(URL, &bed.config.url);
    Process(child.stdout(Stdio::piped()).spawn().unwrap())
}

/// What a child does. Run by the stories below only.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "part of the other tests of this module"]
async fn as_a_child() {
    let variable = |name| std::env::var_os(name).and_then(|value| value.into_string().ok());
    let (Some(task), Some(url)) = (variable(TASK), variable(URL)) else {
        return;
    };
    let driver = if url.starts_with("postgres") { Driver::Postgres } else { Driver::Sqlite };
    let store = Store::open(&DatabaseConfig { driver, url }, sealer()).await.unwrap();
    store.migrate().await.unwrap();
    match task.as_str() {
        "migrate" => {}
        "act" => act_until_killed(&store).await,
        other => panic!("unknown task {other}"),
    }
}

/// Says `act <id>` for each act that the log allowed; some end, some do not.
async fn act_until_killed(store: &Store) {
    let (log, _task) = AuditLog::start(store, AuditOptions::default()).await.unwrap();
    let act = |worker: u32| {
        let log = log.clone();
        async move {
            for i in 0u32.. {
                let pending = log.attempt(row(&format!("{worker} {i}"))).await.unwrap();
                println!("act {}", pending.id());
                if i % 3 == 0 {
                    std::mem::forget(pending);
                } else {
                    pending.finish(Outcome::Succeeded, 200, 0, String::new());
                }
            }
        }
    };
    futures_util::future::join_all((0..8).map(act)).await;
}

async fn processes_migrate_at_once(bed: Bed) {
    let mut children: Vec<_> = (0..4).map(|_| spawn(&bed, "migrate")).collect();
    let ended = tokio::task::spawn_blocking(move || {
        children.iter_mut().map(|child| child.0.wait().unwrap().success()).collect::<Vec<_>>()
    });
    assert_eq!(ended.await.unwrap(), [true; 4]);
    assert_eq!(bed.rows::<(i64,)>("SELECT seq FROM audit_head").await, [(0,)]);
    bed.store().await;
}

async fn a_killed_process_has_a_row_for_each_act(bed: Bed) {
    let mut child = spawn(&bed, "act");
    let acts = tokio::task::spawn_blocking(move || {
        let lines = BufReader::new(child.0.stdout.take().unwrap()).lines().map_while(Result::ok);
        let mut acts = vec![];
        for line in lines {
            acts.extend(line.rsplit_once("act ").map(|(_, id)| id.to_owned()));
            if acts.len() == 150 {
                child.0.kill().unwrap(); // SIGKILL; what it still said is read to the end
            }
        }
        acts
    });
    let acts = acts.await.unwrap();
    assert!(acts.len() >= 150, "{}", acts.len());
    let store = bed.store().await;
    sound(&store).await;
    let written: Vec<(String,)> = bed.rows("SELECT id FROM audit_logs").await;
    let written: std::collections::HashSet<_> = written.into_iter().map(|(id,)| id).collect();
    // The last line may be cut short by the kill.
    let missing = acts.iter().filter(|id| id.len() == 36 && !written.contains(*id)).count();
    assert_eq!(missing, 0, "of {}", acts.len());
    let options = AuditOptions { lease: std::time::Duration::from_secs(1), ..AuditOptions::default() };
    let (log, task) = AuditLog::start(&store, options).await.unwrap();
    tokio::time::sleep(std::time::Duration::from_millis(1_500)).await;
    let closed = log.close_orphans().await.unwrap();
    assert!(closed >= 50, "{closed}");
    drop(log);
    task.await.unwrap();
    let open: Vec<(String,)> = bed.rows("SELECT id FROM audit_logs WHERE status = 'attempted'").await;
    assert_eq!(open, []);
    sound(&store).await;
}

on_both_engines!(processes_migrate_at_once, a_killed_process_has_a_row_for_each_act);
