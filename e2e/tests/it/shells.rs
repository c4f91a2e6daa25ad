//! Recorded shells, and streams that are cut: with kubectl on a real terminal, over `WebSockets` and SPDY.

use std::time::Duration;

use flotilla_testbed::wait_for;
use serde_json::{Value, json};

use crate::bed::{Bed, CLUSTER, PATIENCE, Stand, bed_with_node};
use crate::commands::Kubectl;
use crate::http::Api;
use crate::terminals::Terminal;

/// A right withdrawn must end a stream within half a minute; at once is what it is here.
const CUT: Duration = Duration::from_secs(30);

const WEBSOCKETS: &str = "KUBECTL_REMOTE_COMMAND_WEBSOCKETS";

/// A hub whose administrators' shells are recorded as `record` says; roles beside that of the file.
fn stand(bed: &Bed, record: &str, extra: &str) -> Stand {
    let mut stand = Stand::of_its_own(bed, extra);
    let api = Api::admin(&stand.hub);
    let everything = json!({"name": "*", "verbs": ["*"]});
    let recorded =
        json!({"name": "*", "verbs": ["exec", "attach", "port-forward"], "resources": ["pods"], "record": record});
    let role = json!({"name": "recorded", "groups": ["flotilla:tier:admin"], "administrator": false, "clusters": [everything, recorded]});
    assert_eq!(api.post("/api/roles", &role).status, 201);
    stand.hub.add_user("shell@example.com", &["recorded"]).unwrap();
    let _ = stand.agent();
    stand
}

/// kubectl as the user whose shells are recorded, where the pod `web` is ready.
fn shell_user(bed: &Bed, stand: &Stand, name: &str) -> Kubectl {
    let namespace = bed.web(name).namespace().to_owned();
    stand.kubectl(bed, "shell", CLUSTER).in_namespace(&namespace)
}

fn flotilla(stand: &Stand, arguments: &[&str]) -> String {
    stand.hub.flotilla_ok("shell", &[&["recordings"], arguments].concat()).unwrap()
}

/// The newest recording, as soon as it stands as `state`.
fn recording(stand: &Stand, state: &str) -> Value {
    let newest = || {
        let listed: Value = serde_json::from_str(&flotilla(stand, &["list", "-o", "json"]))?;
        Ok(listed["recordings"].get(0).filter(|one| one["state"] == state).cloned())
    };
    wait_for("a recording", PATIENCE, newest).unwrap()
}

/// What a recording shows, as `asciinema cat` would.
fn shown(cast: &str) -> String {
    let mut lines = cast.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    assert_eq!(lines.next().unwrap()["version"], 2);
    lines.filter(|line| line[1] == "o").map(|line| line[2].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_shell_is_recorded_as_it_was_shown_and_cut_when_it_may_no_longer_be() {
    let Some(bed) = bed_with_node("recorded shells") else { return };
    let stand = stand(bed, "required", "");
    let kubectl = shell_user(bed, &stand, "recorded");
    for websockets in ["true", "false"] {
        replayed(&stand, &kubectl.with(WEBSOCKETS, websockets));
        without_a_terminal(&stand, &kubectl.with(WEBSOCKETS, websockets));
        // Over SPDY kubectl takes a connection that is gone for the ordinary end of a command.
        let told = websockets == "true";
        observed_and_terminated(&stand, &kubectl.with(WEBSOCKETS, websockets), told);
    }
    forwarded(&stand, &kubectl);
    cut_by_changes(&stand, &kubectl);
}

fn replayed(stand: &Stand, kubectl: &Kubectl) {
    let mut terminal = Terminal::start(&kubectl.command("exec -it web -- sh"), 31, 97);
    terminal.wait_for("# ");
    terminal.ask_until("stty size", "31 97");
    terminal.resize(44, 132);
    terminal.ask_until("stty size", "44 132");
    terminal.ask_until("printf 'gr\\303\\274n %s\\n' $((40+2))", "grün 42");
    terminal.write("stty -echo; read secret; stty echo\n");
    std::thread::sleep(Duration::from_millis(300));
    terminal.write("hunter2\n");
    terminal.ask_until("echo still $((40+3))", "still 43");
    terminal.write("exit 9\n");
    assert_eq!(terminal.wait(), 9, "{}", terminal.text());

    let one = recording(stand, "complete");
    assert_eq!(
        (&one["kind"], &one["email"], &one["pod"]),
        (&json!("exec"), &json!("shell@example.com"), &json!("web"))
    );
    assert_eq!((&one["exit_code"], &one["width"], &one["height"]), (&json!(9), &json!(97), &json!(31)), "{one}");
    let id = one["id"].as_str().unwrap();
    let cast = flotilla(stand, &["export", id]);
    // kubectl itself adds a line about the exit code.
    let screen = terminal.text();
    let shown = shown(&cast);
    assert!(shown.len() > 100 && screen.starts_with(&shown), "recorded {shown:?}, on the screen {screen:?}");
    assert!(cast.contains(r#", "r", "132x44"]"#), "{cast}");
    assert!(!cast.contains("hunter2"), "what was typed unseen is not recorded");
    assert_eq!(flotilla(stand, &["play", id, "--speed", "1000", "--idle-limit", "0"]), shown);
    let found: Value =
        serde_json::from_str(&flotilla(stand, &["search", "STILL 43", "--id", id, "-o", "json"])).unwrap();
    assert!(found["lines"].as_array().unwrap().iter().any(|line| line["line"] == "still 43"), "{found}");
    let holding = flotilla(stand, &["search", "grün 42", "--pod", "web", "-o", "json"]);
    assert!(holding.contains(id), "{holding}");
    assert!(!flotilla(stand, &["search", "never shown", "-o", "json"]).contains(id));
    let audit = stand.hub.flotilla_ok("admin", &["audit", "--verb", "recording_read", "-o", "json"]).unwrap();
    assert!(audit.contains(id), "reading a recording leaves a row: {audit}");
    the_others(stand, id);
}

/// Somebody else does not even see that there is one; an administrator may look.
fn the_others(stand: &Stand, id: &str) {
    let admin = Api::admin(&stand.hub);
    assert_eq!(admin.get(&format!("/api/recordings/{id}")).status, 200);
    if !stand.hub.dir().join("homes/other").exists() {
        stand.hub.add_user("other@example.com", &["developer"]).unwrap();
    }
    assert!(stand.hub.flotilla_ok("other", &["recordings", "export", id]).is_err());
    let listed = stand.hub.flotilla_ok("other", &["recordings", "list", "-o", "json"]).unwrap();
    assert!(!listed.contains(id), "{listed}");
}

fn without_a_terminal(stand: &Stand, kubectl: &Kubectl) {
    let before = recording(stand, "complete");
    assert_eq!(kubectl.run(["exec", "web", "--", "sh", "-c", "echo out; echo err >&2; exit 3"]).code(), 3);
    let one =
        wait_for("another recording", PATIENCE, || Ok(Some(recording(stand, "complete")).filter(|one| *one != before)));
    let one = one.unwrap();
    assert_eq!((&one["exit_code"], &one["width"]), (&json!(3), &json!(0)));
    let mut lines: Vec<_> =
        shown(&flotilla(stand, &["export", one["id"].as_str().unwrap()])).lines().map(str::to_owned).collect();
    lines.sort();
    assert_eq!(lines, ["err", "out"]);
}

fn observed_and_terminated(stand: &Stand, kubectl: &Kubectl, told: bool) {
    let mut terminal = Terminal::start(&kubectl.command("exec -it web -- sh"), 24, 80);
    terminal.wait_for("# ");
    let live = recording(stand, "recording");
    let id = live["id"].as_str().unwrap();
    let observer = crate::commands::Background::start({
        let mut command = stand.hub.flotilla("shell");
        command.args(["recordings", "observe", id]);
        command
    });
    wait_for("the observer is there", PATIENCE, || {
        terminal.write("echo seen $((40+4))\n");
        std::thread::sleep(Duration::from_millis(300));
        Ok(observer.text().contains("seen 44").then_some(()))
    })
    .unwrap();
    let streams = Api::admin(&stand.hub).get("/debug/streams").json();
    let stream = streams["streams"].as_array().unwrap().iter().find(|stream| stream["recording"] == id).cloned();
    let stream = stream.unwrap_or_else(|| panic!("{streams}"));
    assert_eq!(
        (&stream["kind"], &stream["user"], &stream["name"]),
        (&json!("exec"), &json!("shell@example.com"), &json!("web"))
    );
    flotilla(stand, &["terminate", id]);
    assert_eq!(terminal.wait() != 0, told, "{}", terminal.text());
    observer.wait_for("the session has ended", PATIENCE);
    let one = recording(stand, "complete");
    assert_eq!((&one["id"], &one["reason"]), (&json!(id), &json!("cut: terminated by shell@example.com")));
    let audit = stand.hub.flotilla_ok("admin", &["audit", "--verb", "stream_terminate", "-o", "json"]).unwrap();
    assert!(audit.contains("terminate exec of shell@example.com"), "{audit}");
}

fn forwarded(stand: &Stand, kubectl: &Kubectl) {
    for websockets in ["true", "false"] {
        let kubectl = kubectl.with("KUBECTL_PORT_FORWARD_WEBSOCKETS", websockets);
        let (port, mut forward) = crate::forwarding::listening(&kubectl, "port-forward pod/web :8080");
        assert_eq!(crate::forwarding::get(port, "/"), "hello\n");
        let live = recording(stand, "recording");
        let id = live["id"].as_str().unwrap().to_owned();
        flotilla(stand, &["terminate", &id]);
        let _ = forward.is_running();
        drop(forward);
        let one = recording(stand, "complete");
        assert_eq!((&one["kind"], &one["id"]), (&json!("port-forward"), &json!(id)));
        let cast = flotilla(stand, &["export", &id]);
        assert!(cast.contains("connection 0 to port 8080 opened"), "{cast}");
        assert!(cast.contains("bytes received") && !cast.contains("hello"), "counts and no content: {cast}");
    }
}

fn put(api: &Api, target: &str, body: &Value) -> u16 {
    api.send("PUT", target, &[("content-type", "application/json")], &body.to_string()).status
}

/// Each change ends a shell, a log and a watch that are open.
fn cut_by_changes(stand: &Stand, kubectl: &Kubectl) {
    let api = Api::admin(&stand.hub);
    let users = api.get("/api/users").json();
    let user = users["users"].as_array().unwrap().iter().find(|user| user["email"] == "shell@example.com").unwrap();
    let roles = format!("/api/users/{}/roles", user["id"].as_str().unwrap());
    let open = || {
        let terminal = Terminal::start(&kubectl.command("exec -it web -- sh"), 24, 80);
        terminal.wait_for("# ");
        let (mut logs, mut watch) = (kubectl.start("logs -f web"), kubectl.start("get pods -w"));
        logs.wait_for("started", PATIENCE);
        watch.wait_for("web", PATIENCE);
        assert!(logs.is_running() && watch.is_running());
        (terminal, logs, watch)
    };
    let streams = || {
        let streams = api.get("/debug/streams").json();
        let mine = |stream: &&Value| stream["user"] == "shell@example.com";
        streams["streams"].as_array().unwrap().iter().filter(mine).count()
    };
    let cut = |what: &str, (mut terminal, logs, watch): (Terminal, _, _), reason: &str| {
        wait_for(what, CUT, || Ok((streams() == 0).then_some(()))).unwrap();
        assert_ne!(terminal.wait(), 0, "{what}: {}", terminal.text());
        drop((logs, watch));
        let rows = stand.hub.flotilla_ok(
            "admin",
            &["audit", "--verb", "exec_open", "--outcome", "aborted", "--limit", "1", "-o", "json"],
        );
        assert!(rows.as_ref().unwrap().contains(reason), "{what}: {rows:?}");
    };

    let opened = open();
    assert_eq!(put(&api, &roles, &json!({"roles": []})), 200);
    cut("the role is taken away", opened, "cut: the right to it was withdrawn");
    assert_eq!(put(&api, &roles, &json!({"roles": ["recorded"]})), 200);

    let opened = open();
    let reading = json!({"name": "recorded", "groups": ["flotilla:tier:admin"], "administrator": false, "clusters": [{"name": "*", "verbs": ["get"]}]});
    assert_eq!(put(&api, "/api/roles/recorded", &reading), 200);
    cut("the role allows less", opened, "cut: the right to it was withdrawn");
    let everything = json!({"name": "recorded", "groups": ["flotilla:tier:admin"], "administrator": false, "clusters": [{"name": "*", "verbs": ["*"]}]});
    assert_eq!(put(&api, "/api/roles/recorded", &everything), 200);

    let opened = open();
    stand.hub.flotilla_ok("shell", &["logout"]).unwrap();
    cut("its owner signs out", opened, "cut: the session has ended");
}

#[test]
fn without_a_place_for_the_recording_nothing_opens_that_must_be_recorded() {
    let Some(bed) = bed_with_node("recordings are full") else { return };
    let full = stand(bed, "required", "recordings: {max_total_mib: 0}\n");
    let kubectl = shell_user(bed, &full, "full");
    for websockets in ["true", "false"] {
        let refused = kubectl.with(WEBSOCKETS, websockets).refused("exec web -- touch /tmp/reached");
        assert!(refused.contains("must be recorded") && refused.contains("full"), "{refused}");
    }
    kubectl.ok("get pods");
    assert_eq!(flotilla(&full, &["list", "-o", "json"]).matches("\"id\"").count(), 0);
    let rows =
        full.hub.flotilla_ok("admin", &["audit", "--verb", "exec_open", "--outcome", "failed", "-o", "json"]).unwrap();
    assert!(rows.contains("must be recorded"), "{rows}");
    let there = bed.stand.kubectl(bed, "admin", CLUSTER).in_namespace(kubectl.namespace());
    assert_ne!(there.run("exec web -- ls /tmp/reached").code(), 0, "nothing reached the cluster");
}

#[test]
fn a_hub_that_is_killed_leaves_a_recording_that_says_so() {
    let Some(bed) = bed_with_node("a killed hub's recording") else { return };
    let mut stand = stand(bed, "on", "");
    let kubectl = shell_user(bed, &stand, "killed");
    let mut terminal = Terminal::start(&kubectl.command("exec -it web -- sh"), 24, 80);
    terminal.ask_until("echo before $((40+2))", "before 42");
    // What happened more than a second ago is written.
    std::thread::sleep(Duration::from_millis(1500));
    stand.hub.kill().unwrap();
    stand.hub.restart().unwrap();
    let one = recording(&stand, "incomplete");
    assert_eq!(one["reason"], "the hub ended before the session did");
    assert!(shown(&flotilla(&stand, &["export", one["id"].as_str().unwrap()])).contains("before 42"));
}
