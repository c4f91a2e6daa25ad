//! Logs, exec and attach: what streams out of a container and into it.

use std::time::Duration;

use crate::bed::{PATIENCE, bed_with_node};
use crate::commands::Kubectl;

/// kubectl's switch between WebSocket (its default) and SPDY.
const WEBSOCKETS: &str = "KUBECTL_REMOTE_COMMAND_WEBSOCKETS";

#[test]
fn logs_are_read_and_followed() {
    let Some(bed) = bed_with_node("logs are read and followed") else { return };
    let kubectl = bed.web("logs");
    assert_eq!(kubectl.ok("logs web"), "started\n");
    assert_eq!(kubectl.ok("logs web --tail=0"), "");
    assert!(kubectl.ok("logs -l app=web --prefix --timestamps").contains("[pod/web/web] 20"));

    let follow = kubectl.start("logs -f web");
    follow.wait_for("started", PATIENCE);
    for line in ["one", "two"] {
        // /proc/1/fd/1 is the container's standard output.
        kubectl.ok(["exec", "web", "--", "sh", "-c", &format!("echo {line} > /proc/1/fd/1")]);
        follow.wait_for(line, Duration::from_secs(10));
    }
    assert!(kubectl.refused("logs web -c absent").contains("container absent is not valid"));
}

#[test]
fn a_followed_log_ends_with_its_container() {
    let Some(bed) = bed_with_node("a followed log ends with its container") else { return };
    let kubectl = bed.namespace("job");
    kubectl.ok([
        "run",
        "brief",
        "--restart=Never",
        "--image=flotilla.test/busybox:1",
        "--",
        "sh",
        "-c",
        "for i in 1 2 3; do echo line $i; sleep 1; done",
    ]);
    kubectl.ok("wait --for=jsonpath={.status.phase}=Running pod/brief --timeout=60s");
    let mut follow = kubectl.start("logs -f brief");
    assert_eq!(follow.wait(Duration::from_secs(30)), 0);
    assert_eq!(follow.text(), "line 1\nline 2\nline 3\n");
}

#[test]
fn exec_over_websockets() {
    exec("exec-ws", "true");
}

#[test]
fn exec_over_spdy() {
    exec("exec-spdy", "false");
}

fn exec(name: &str, websockets: &str) {
    let Some(bed) = bed_with_node(name) else { return };
    let kubectl = bed.web(name).with(WEBSOCKETS, websockets);
    let done = kubectl.run(["exec", "web", "--", "sh", "-c", "echo out; echo err >&2; exit 7"]);
    assert_eq!((done.code(), done.text().as_str()), (7, "out\n"));
    assert!(done.err.starts_with("err\n") && done.err.contains("exit code 7"), "{}", done.err);

    let echoed = kubectl.feed("exec -i web -- tr a-z A-Z", "from the keyboard\n").ok();
    assert_eq!(echoed, "FROM THE KEYBOARD\n");
    // The end of standard input reaches the program: cat would not end without it.
    assert_eq!(kubectl.feed("exec -i web -- wc -c", vec![b'x'; 3_000_000]).ok().trim(), "3000000");

    let large = kubectl.run("exec web -- dd if=/dev/zero bs=1048576 count=20").out;
    assert!(large.len() == 20 << 20 && large.iter().all(|byte| *byte == 0), "{} bytes", large.len());

    let missing = kubectl.refused("exec web -- no-such-program");
    assert!(missing.contains("no-such-program"), "{missing}");
    assert!(kubectl.refused("exec absent -- true").contains("not found"));
    many_at_once(&kubectl);
}

fn many_at_once(kubectl: &Kubectl) {
    std::thread::scope(|scope| {
        let words: Vec<String> = (0..6).map(|number| format!("exec web -- echo number {number}")).collect();
        let started: Vec<_> = words.into_iter().map(|words| scope.spawn(move || kubectl.ok(&words))).collect();
        for (number, thread) in started.into_iter().enumerate() {
            assert_eq!(thread.join().unwrap(), format!("number {number}\n"));
        }
    });
}

#[test]
fn attach_talks_to_the_program_that_runs() {
    let Some(bed) = bed_with_node("attach talks to the program that runs") else { return };
    let kubectl = bed.namespace("attach");
    let pod = "{apiVersion: v1, kind: Pod, metadata: {name: echo}, spec: {restartPolicy: Never, terminationGracePeriodSeconds: 0, containers: \
        [{name: echo, image: \"flotilla.test/busybox:1\", stdin: true, stdinOnce: true, command: [sh, -c, 'while read line; do echo got $line; done; echo end']}]}}";
    kubectl.feed("create -f -", pod).ok();
    kubectl.ok("wait --for=condition=Ready pod/echo --timeout=60s");
    let mut attached = kubectl.start("attach -i echo");
    attached.write(b"first\n");
    attached.wait_for("got first", PATIENCE);
    attached.write(b"second\n");
    attached.wait_for("got second", PATIENCE);
    attached.close_input();
    attached.wait(PATIENCE);
    kubectl.ok("wait --for=jsonpath={.status.phase}=Succeeded pod/echo --timeout=60s");
    assert_eq!(kubectl.ok("logs echo"), "got first\ngot second\nend\n");
}

#[test]
fn a_debug_container_sees_the_pod() {
    let Some(bed) = bed_with_node("a debug container sees the pod") else { return };
    let kubectl = bed.web("debug");
    kubectl.ok([
        "debug",
        "web",
        "--image=flotilla.test/busybox:1",
        "-c",
        "probe",
        "--",
        "sh",
        "-c",
        "wget -q -O - http://127.0.0.1:8080/",
    ]);
    kubectl.ok("wait pod/web --for=jsonpath={.status.ephemeralContainerStatuses[0].state.terminated.reason}=Completed --timeout=60s");
    assert_eq!(kubectl.ok("logs web -c probe"), "hello\n");
}
