//! Programs on leashes: grace, exit codes, daemons left behind.

use std::time::{Duration, Instant};

use flotilla_testbed::{Process, Program, StateDir, wait_until};

use crate::{BINARIES, processes_with};

fn shell(dir: &StateDir, script: &str, grace: Duration) -> Process {
    Program::new("shell", "/bin/sh", dir.path()).args(["-c", script]).grace(grace).start(&BINARIES.leash()).unwrap()
}

#[test]
fn daemons_that_a_program_left_behind_are_ended_with_it() {
    let dir = StateDir::create("daemons").unwrap();
    // A number that no other process has among its arguments.
    let mark = format!("{}.25", 900_000 + std::process::id());
    let mut process =
        shell(&dir, &format!("setsid sleep {mark} & sleep {mark} & echo ready; wait"), Duration::from_secs(1));
    let sleepers = || processes_with(&mark).iter().filter(|line| line.starts_with("sleep ")).count();
    wait_until("both sleep", Duration::from_secs(5), || Ok(process.log() == "ready\n" && sleepers() == 2)).unwrap();
    process.stop().unwrap();
    assert_eq!(processes_with(&mark), Vec::<String>::new());
}

#[test]
fn a_program_gets_its_grace_and_no_more() {
    let dir = StateDir::create("grace").unwrap();
    let mut willing =
        shell(&dir, "trap 'echo bye; exit 7' TERM; echo ready; while :; do sleep 0.05; done", Duration::from_secs(10));
    wait_until("the trap is set", Duration::from_secs(5), || Ok(willing.log().contains("ready"))).unwrap();
    assert_eq!(willing.stop().unwrap(), 7);
    assert!(willing.log().ends_with("bye\n"));

    let mut unwilling =
        shell(&dir, "trap '' TERM; echo deaf; while :; do sleep 0.05; done", Duration::from_millis(300));
    wait_until("the trap is set", Duration::from_secs(5), || Ok(unwilling.log().contains("deaf"))).unwrap();
    let asked = Instant::now();
    assert_eq!(unwilling.stop().unwrap(), 128 + 9);
    assert!((Duration::from_millis(300)..Duration::from_secs(5)).contains(&asked.elapsed()));
}

#[test]
fn exit_codes_and_failures_are_told() {
    let dir = StateDir::create("codes").unwrap();
    assert_eq!(shell(&dir, "exit 42", Duration::ZERO).wait(Duration::from_secs(5)).unwrap(), 42);
    let mut killed = shell(&dir, "sleep 1000", Duration::ZERO);
    killed.kill().unwrap();
    assert_eq!(killed.exit_code().unwrap(), Some(137));

    let mut ended = shell(&dir, "echo because of this; exit 1", Duration::ZERO);
    let error = format!("{:#}", ended.wait_until("serves", Duration::from_secs(5), || Ok(false)).unwrap_err());
    assert!(error.contains("shell ended with 1") && error.contains("because of this"), "{error}");

    let missing = Program::new("missing", "/no/such/program", dir.path()).start(&BINARIES.leash());
    assert!(format!("{:#}", missing.unwrap_err()).contains("no such file"), "the leash says what is wrong");
}

#[test]
fn the_last_command_runs_after_everything_has_ended() {
    let dir = StateDir::create("finally").unwrap();
    let mut process = Program::new("shell", "/bin/sh", dir.path())
        .args(["-c", "trap 'echo program; exit' TERM; echo ready; while :; do sleep 0.05; done"])
        .finally("echo finally")
        .start(&BINARIES.leash())
        .unwrap();
    wait_until("the trap is set", Duration::from_secs(5), || Ok(process.log().contains("ready"))).unwrap();
    process.stop().unwrap();
    assert_eq!(process.log(), "ready\nprogram\nfinally\n");
}
