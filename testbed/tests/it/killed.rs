//! The owner of a cluster is killed with SIGKILL, and nothing of the cluster is left.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use flotilla_testbed::{ControlPlane, Node, Options, skipped, wait_until};

use crate::node::{assert_nothing_left, run_web};
use crate::{BINARIES, processes_with};

const MARK: &str = "the cluster is in ";

#[test]
fn a_killed_owner_leaves_no_process_behind() {
    let mut owner = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "killed::owner", "--ignored", "--nocapture"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(owner.stdout.take().unwrap()).lines().map_while(Result::ok);
    let dir = lines.find_map(|line| Some(line.split_once(MARK)?.1.to_owned())).expect("the owner started its cluster");
    assert!(processes_with(&dir).len() >= 4);

    let killed = Instant::now();
    owner.kill().unwrap();
    owner.wait().unwrap();
    wait_until("all processes have ended", Duration::from_secs(15), || Ok(processes_with(&dir).is_empty())).unwrap();
    println!("nothing is left {:.2} s after SIGKILL", killed.elapsed().as_secs_f64());
    if Node::possible().is_ok() {
        assert_nothing_left(&PathBuf::from(&dir));
    }
    // The next one to start sweeps the folder away.
    let next = flotilla_testbed::StateDir::create("next").unwrap();
    assert!(!PathBuf::from(&dir).exists());
    drop(next);
}

/// Not a test: the process that is killed. It starts a cluster, with a running pod where that is possible.
#[test]
#[ignore = "started by a_killed_owner_leaves_no_process_behind"]
fn owner() {
    let plane = ControlPlane::start(&BINARIES, Options::new("orphan")).unwrap();
    let node = match Node::possible() {
        Ok(()) => Some(Node::start(&plane).unwrap()),
        Err(reason) => {
            skipped("the killed owner has no node", &reason);
            None
        }
    };
    if node.is_some() {
        run_web(&plane);
    }
    println!("{MARK}{}", plane.dir().display());
    std::thread::sleep(Duration::from_secs(60));
}
