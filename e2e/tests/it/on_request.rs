//! Access on request, on a real cluster: refused, asked for, approved by another, there, over, refused again.

use std::time::{Duration, Instant};

use flotilla_testbed::wait_until;
use serde_json::Value;

use crate::bed::{CLUSTER, PATIENCE, Stand, bed_with_node};

/// How long the access is asked for.
const LENGTH: Duration = Duration::from_secs(20);

#[test]
fn exec_is_there_for_as_long_as_another_person_allows() {
    let Some(bed) = bed_with_node("access on request") else { return };
    let web = bed.web("asked");
    let stand = Stand::of_its_own(bed, "");
    stand.hub.add_user("rita@example.com", &["viewer"]).unwrap();
    stand.hub.add_user("lena@example.com", &[]).unwrap();
    let flotilla = |user: &str, arguments: &[&str]| stand.hub.flotilla_ok(user, arguments).unwrap();
    // The cluster is a team's, whose administrator decides.
    flotilla("admin", &["teams", "add", "default/pay"]);
    flotilla("admin", &["teams", "member", "default/pay", "lena@example.com", "--role", "team_admin"]);
    flotilla("admin", &["orgs", "cluster", "default", CLUSTER, "--team", "pay"]);

    let kubectl = stand.kubectl(bed, "rita", CLUSTER).in_namespace(web.namespace());
    assert!(kubectl.refused("exec web -- echo in").contains("pods/exec"));
    let length = format!("{}s", LENGTH.as_secs());
    let asked = flotilla(
        "rita",
        &[
            "request",
            "--cluster",
            "dev-*",
            "--namespace",
            web.namespace(),
            "--verbs",
            "get,exec",
            "--for",
            &length,
            "--reason",
            "INC-42",
            "-o",
            "json",
        ],
    );
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
    // In another namespace he sees that there is no such pod, as before, and no more.
    let path = "/api/v1/namespaces/default/pods/any/exec?command=id";
    let refused = kubectl.refused(["create", "--raw", path, "-f", "/dev/null"]);
    assert!(refused.contains("pods/exec"), "{refused}");
    let audit = flotilla("admin", &["audit", "--cluster", CLUSTER, "-o", "json"]);
    assert!(audit.contains(&format!("flotilla:grant:{id}")), "the row names the grant's group");

    wait_until("the access is over", PATIENCE, || Ok(kubectl.run("exec web -- echo in").code() != 0)).unwrap();
    let lasted = granted.elapsed();
    assert!(lasted <= LENGTH + Duration::from_secs(5), "it lasted {lasted:?}");
    println!("access asked for {} s was over after {:.1} s", LENGTH.as_secs(), lasted.as_secs_f64());
    assert!(kubectl.refused("exec web -- echo in").contains("pods/exec"));
    wait_until("the request is ended", PATIENCE, || Ok(flotilla("rita", &["requests", "show", id]).contains("ended")))
        .unwrap();
    wait_until("its end is in the audit log", PATIENCE, || {
        Ok(flotilla("admin", &["audit", "-o", "json"]).contains("its time is over"))
    })
    .unwrap();
}
