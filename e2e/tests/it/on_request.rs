//! Access on request, on a real cluster: refused, asked for, approved by another, there, over, refused again. What was
//! opened with it ends with it.

use std::time::{Duration, Instant};

use flotilla_testbed::{wait_for, wait_until};
use serde_json::{Value, json};

use crate::bed::{Bed, CLUSTER, PATIENCE, Stand, bed_with_node};
use crate::commands::{Background, Kubectl};
use crate::http::Api;
use crate::terminals::Terminal;

/// How long the access is asked for.
const LENGTH: Duration = Duration::from_secs(20);

/// How soon after its end nothing of it may be left.
const CUT: Duration = Duration::from_secs(5);

/// A hub on which Rita may look and Lena decides about the cluster, and the namespace of a pod.
fn stand(bed: &Bed, extra: &str) -> Stand {
    let stand = Stand::of_its_own(bed, extra);
    stand.hub.add_user("rita@example.com", &["viewer"]).unwrap();
    stand.hub.add_user("lena@example.com", &[]).unwrap();
    // The cluster is a team's, whose administrator decides.
    flotilla(&stand, "admin", &["teams", "add", "default/pay"]);
    flotilla(&stand, "admin", &["teams", "member", "default/pay", "lena@example.com", "--role", "team_admin"]);
    flotilla(&stand, "admin", &["orgs", "cluster", "default", CLUSTER, "--team", "pay"]);
    stand
}

fn flotilla(stand: &Stand, user: &str, arguments: &[&str]) -> String {
    stand.hub.flotilla_ok(user, arguments).unwrap()
}

fn length() -> String {
    format!("{}s", LENGTH.as_secs())
}

/// What Rita asks for, as words of a command line.
fn asking<'a>(namespace: &'a str, length: &'a str) -> Vec<&'a str> {
    let what = ["request", "--cluster", "dev-*", "--namespace", namespace, "--verbs", "get,exec", "--for", length];
    [&what[..], &["--reason", "INC-42", "-o", "json"]].concat()
}

/// Rows of the audit log with this verb that name the request.
fn rows(stand: &Stand, verb: &str, id: &str) -> Vec<Value> {
    let log = flotilla(stand, "admin", &["audit", "--verb", verb, "-o", "json"]);
    let log: Value = serde_json::from_str(&log).unwrap();
    let rows = log["rows"].as_array().unwrap_or_else(|| panic!("{log}"));
    rows.iter().filter(|row| row["command"].as_str().is_some_and(|command| command.contains(id))).cloned().collect()
}

/// A shell that is open and answers.
fn shell(kubectl: &Kubectl) -> Terminal {
    let mut terminal = Terminal::start(&kubectl.command("exec -it web -- sh"), 24, 80);
    terminal.wait_for("# ");
    terminal.ask_until("echo lent $((40+2))", "lent 42");
    terminal
}

#[test]
fn exec_is_there_for_as_long_as_another_person_allows() {
    let Some(bed) = bed_with_node("access on request") else { return };
    let web = bed.web("asked");
    let stand = stand(bed, "");
    let flotilla = |user: &str, arguments: &[&str]| flotilla(&stand, user, arguments);
    let kubectl = stand.kubectl(bed, "rita", CLUSTER).in_namespace(web.namespace());
    assert!(kubectl.refused("exec web -- echo in").contains("pods/exec"));
    let asked = flotilla("rita", &asking(web.namespace(), &length()));
    let asked: Value = serde_json::from_str(&asked).unwrap();
    let id = asked["id"].as_str().unwrap();
    assert_eq!((&asked["state"], asked["clusters"][0].as_str()), (&Value::from("pending"), Some(CLUSTER)));
    assert!(kubectl.refused("exec web -- echo in").contains("pods/exec"), "asking gives nothing");
    let own = stand.hub.flotilla("rita").args(["requests", "approve", id]).output().unwrap();
    assert_eq!(own.status.code(), Some(4), "nobody approves himself: {own:?}");

    assert!(flotilla("lena", &["requests", "list", "--state", "pending"]).contains("INC-42"));
    flotilla("lena", &["requests", "approve", id, "--comment", "go ahead"]);
    let granted = Instant::now();
    assert_eq!(kubectl.ok("exec web -- echo in").trim(), "in");
    let can = stand
        .hub
        .flotilla("rita")
        .args(["--cluster", CLUSTER, "auth", "can-i", "create", "pods/exec", "-n", web.namespace()])
        .output()
        .unwrap();
    assert!(can.status.success(), "{can:?}");
    // The cluster itself sees the grant; elsewhere, and for anything else, there is none.
    let refused = kubectl.refused("delete pod web");
    assert!(refused.contains("delete"), "{refused}");
    let elsewhere = format!("/k8s/clusters/{CLUSTER}/api/v1/namespaces/default/pods/any/exec?command=id&stdout=1");
    let refused = Api::of(&stand.hub, "rita").send("POST", &elsewhere, &[], "").kubernetes_status(403);
    assert!(refused.contains("pods/exec"), "{refused}");
    let audit = flotilla("admin", &["audit", "--cluster", CLUSTER, "-o", "json"]);
    assert!(audit.contains(&format!("flotilla:grant:{id}")), "the row names the grant's group");

    let mut terminal = shell(&kubectl);
    let streams = || Api::admin(&stand.hub).get("/debug/streams").json()["streams"].clone();
    let open = streams();
    assert_eq!((&open[0]["kind"], &open[0]["user"]), (&json!("exec"), &json!("rita@example.com")), "{open}");
    assert!(open[0]["recording"].is_string(), "shells that were lent are recorded: {open}");

    wait_until("the shell is cut", LENGTH + CUT, || Ok(streams() == json!([]))).unwrap();
    let lasted = granted.elapsed();
    assert_ne!(terminal.wait(), 0, "{}", terminal.text());
    assert!(lasted >= LENGTH - Duration::from_secs(2) && lasted <= LENGTH + CUT, "it lasted {lasted:?}");
    println!("access asked for {} s: its shell was cut after {:.1} s", LENGTH.as_secs(), lasted.as_secs_f64());
    let refused = kubectl.refused("exec web -- echo in");
    for words in ["forbidden", "rita@example.com", "pods/exec", "viewer#1", "not exec"] {
        assert!(refused.contains(words), "{words}: {refused}");
    }
    wait_until("the request is ended", PATIENCE, || Ok(flotilla("rita", &["requests", "show", id]).contains("ended")))
        .unwrap();
    for (verb, who) in [
        ("access_request", "rita@example.com"),
        ("access_approve", "lena@example.com"),
        ("access_grant", "rita@example.com"),
        ("access_end", "flotilla:system:access"),
    ] {
        // Outcomes follow answers, and the end of the request is noted when it is over.
        let right = |row: &Value| row["actor"]["email"] == who && row["outcome"] == "succeeded";
        wait_until(&format!("{verb} by {who}"), PATIENCE, || Ok(rows(&stand, verb, id).iter().any(right))).unwrap();
    }
    assert_eq!(rows(&stand, "access_end", id)[0]["reason"], "its time is over");
    let cut = flotilla("admin", &["audit", "--verb", "exec_open", "--outcome", "aborted", "-o", "json"]);
    assert!(cut.contains("cut: the right to it was withdrawn"), "{cut}");
    let recorded: Value = serde_json::from_str(&flotilla("admin", &["recordings", "list", "-o", "json"])).unwrap();
    let shell = recorded["recordings"].as_array().unwrap().iter().find(|one| one["id"] == open[0]["recording"]);
    assert_eq!(shell.unwrap()["email"], "rita@example.com");
    let cast = flotilla("admin", &["recordings", "export", open[0]["recording"].as_str().unwrap()]);
    assert!(cast.contains("lent 42"), "{cast}");
}

/// Whoever waits is told, and what was granted is taken back by who granted it, with all that is open.
#[test]
fn who_approved_can_end_it_at_once() {
    let Some(bed) = bed_with_node("access that is ended early") else { return };
    let (web, stand) = (bed.web("taken"), stand(bed, ""));
    // By his own role he may open shells as far as the hub is concerned; the cluster lets him for the grant alone.
    let exec = json!({"name": "*", "verbs": ["get", "exec"], "resources": ["pods"]});
    let role = json!({"name": "half", "administrator": false, "clusters": [exec]});
    assert_eq!(Api::admin(&stand.hub).post("/api/roles", &role).status, 201);
    flotilla(&stand, "admin", &["users", "roles", "rita@example.com", "half"]);
    let kubectl = stand.kubectl(bed, "rita", CLUSTER).in_namespace(web.namespace());
    assert!(kubectl.refused("exec web -- echo in").contains("forbidden"));

    let (waiting, id) = waiting(&stand, web.namespace());
    flotilla(&stand, "lena", &["requests", "deny", &id, "--comment", "use staging"]);
    assert_eq!(ended(waiting), 4, "no is an exit code");

    let (waiting, id) = self::waiting(&stand, web.namespace());
    flotilla(&stand, "lena", &["requests", "approve", &id]);
    assert_eq!(ended(waiting), 0);
    let mut terminal = shell(&kubectl);
    flotilla(&stand, "lena", &["requests", "end", &id]);
    let taken = Instant::now();
    assert_ne!(terminal.wait(), 0, "{}", terminal.text());
    assert!(taken.elapsed() < CUT, "it was cut after {:?}", taken.elapsed());
    println!("access taken back: its shell was cut after {:.1} s", taken.elapsed().as_secs_f64());
    assert!(kubectl.refused("exec web -- echo in").contains("forbidden"));
    assert_eq!(rows(&stand, "access_end", &id)[0]["actor"]["email"], "lena@example.com");
}

/// `flotilla request --wait`, and the request for which it waits.
fn waiting(stand: &Stand, namespace: &str) -> (Background, String) {
    let mut command = stand.hub.flotilla("rita");
    command.args(asking(namespace, "10m")).arg("--wait");
    let waiting = Background::start(command);
    let id = wait_for("the request", PATIENCE, || {
        let text = waiting.text();
        let said = text.strip_prefix("request ").and_then(|rest| rest.split_once(" waits for approval"));
        Ok(said.map(|(id, _)| id.to_owned()))
    });
    (waiting, id.unwrap())
}

fn ended(mut waiting: Background) -> i32 {
    waiting.wait(PATIENCE)
}
