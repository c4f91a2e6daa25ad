//! Policy as people meet it: what they may do, what they are told when they may not, and roles that change.

use std::time::{Duration, Instant};

use flotilla_testbed::wait_until;

use crate::bed::{CLUSTER, DIRECT, PATIENCE, Stand, bed, bed_with_node};
use crate::commands::Kubectl;
use crate::http::Api;

/// How soon a change of the roles file must hold.
const RELOAD: Duration = Duration::from_secs(3);

/// kubectl of a person with one role, new on the shared hub.
fn person(role: &str, name: &str) -> (Kubectl, String) {
    let bed = bed();
    bed.stand.hub.add_user(&format!("{name}@example.com"), &[role]).unwrap();
    (bed.stand.kubectl(bed, name, CLUSTER), name.to_owned())
}

#[test]
fn a_developer_works_in_his_clusters_and_sees_no_other() {
    let bed = bed();
    let (kubectl, name) = person("developer", "dora");
    let kubectl = kubectl.in_namespace(&bed.new_namespace("dora"));
    kubectl.ok("create configmap mine --from-literal=a=b");
    assert!(kubectl.ok("get configmaps").contains("mine"));
    kubectl.ok("delete configmap mine");
    assert!(kubectl.ok("auth whoami").contains("dora@example.com"));

    let denied = kubectl.refused("create clusterrole mighty --verb=get --resource=pods");
    assert!(denied.contains(r#"User "dora@example.com" cannot create resource "clusterroles""#), "{denied}");
    assert!(denied.contains("developer"), "it names the closest rule: {denied}");

    let listed = bed.stand.hub.flotilla_ok(&name, &["clusters", "list", "-o", "json"]).unwrap();
    assert!(listed.contains(CLUSTER) && !listed.contains(DIRECT), "{listed}");
    // A cluster that he may not see looks exactly like one that does not exist.
    let api = Api::of(&bed.stand.hub, &name);
    let hidden = api.get(&format!("/k8s/clusters/{DIRECT}/api/v1/pods")).kubernetes_status(404);
    let absent = api.get("/k8s/clusters/no-such-one/api/v1/pods").kubernetes_status(404);
    assert_eq!(hidden.replace(DIRECT, "no-such-one"), absent);
}

#[test]
fn a_viewer_looks_and_does_nothing_else() {
    let Some(bed) = bed_with_node("a viewer looks and does nothing else") else { return };
    let web = bed.web("viewed");
    let (kubectl, name) = person("viewer", "vera");
    let kubectl = kubectl.in_namespace(web.namespace());
    assert!(kubectl.ok("get pods").contains("web"));
    kubectl.ok("get pod web -o json");
    // The right to get pods is not the right to get into them, whatever method is used.
    for (words, right) in [
        ("exec web -- id", "pods/exec"),
        ("logs web", "pods/log"),
        ("attach web", "pods/attach"),
        ("port-forward web :8080", "pods/portforward"),
        ("delete pod web", "delete"),
        ("get secrets", "secrets"),
        ("label pod web a=b", "patch"),
    ] {
        let denied = kubectl.refused(words);
        assert!(
            denied.contains("forbidden") && denied.contains(right) && denied.contains("vera@example.com"),
            "{words}: {denied}"
        );
    }
    let spdy = kubectl.with("KUBECTL_REMOTE_COMMAND_WEBSOCKETS", "false").refused("exec web -- id");
    assert!(spdy.contains("forbidden"), "{spdy}");
    let api = Api::of(&bed.stand.hub, &name);
    let exec =
        format!("/k8s/clusters/{CLUSTER}/api/v1/namespaces/{}/pods/web/exec?command=id&stdout=1", kubectl.namespace());
    let headers =
        [("Upgrade", "websocket"), ("Sec-WebSocket-Version", "13"), ("Sec-WebSocket-Key", "AAAAAAAAAAAAAAAAAAAAAA==")];
    for method in ["GET", "POST"] {
        let reason = api.send(method, &exec, &headers, "").kubernetes_status(403);
        assert!(reason.contains("exec"), "{reason}");
    }
    assert!(kubectl.ok("get pod web -o jsonpath={.metadata.labels.a}").is_empty(), "nothing was changed");
}

#[test]
fn status_says_what_one_may_do() {
    let bed = bed();
    let (_, name) = person("viewer", "stan");
    let status = bed.stand.hub.flotilla_ok(&name, &["status"]).unwrap();
    for word in ["stan@example.com", "viewer", "get", "list", "watch", "pods"] {
        assert!(status.contains(word), "{word}: {status}");
    }
    let refused = bed.stand.hub.flotilla(&name).args(["users", "list"]).output().unwrap();
    assert!(
        !refused.status.success() && String::from_utf8_lossy(&refused.stderr).contains("administrator"),
        "{refused:?}"
    );
}

#[test]
fn a_change_of_the_roles_file_holds_within_seconds_and_a_broken_one_changes_nothing() {
    let bed = bed();
    let dir = bed.stand.scratch("roles");
    let file = dir.join("roles.yaml");
    let roles = |verbs: &str| {
        format!(
            "roles:\n- name: tester\n  groups: [\"flotilla:tier:write\"]\n  clusters:\n  - {{name: \"dev-*\", verbs: [{verbs}], resources: [configmaps], namespaces: [\"rolling-*\"]}}\n\
             users:\n- {{email: rosa@example.com, roles: [tester]}}\n"
        )
    };
    std::fs::write(&file, roles("get, list")).unwrap();
    let stand = Stand::of_its_own(bed, &format!("auth: {{roles_file: {file:?}}}\n"));
    stand.hub.add_user("rosa@example.com", &[]).unwrap();
    let kubectl = stand.kubectl(bed, "rosa", CLUSTER).in_namespace(&bed.new_namespace("rolling"));
    kubectl.ok("get configmaps");
    let denied = kubectl.refused("create configmap one");
    assert!(denied.contains("tester"), "{denied}");
    // Another namespace is not in the rule.
    assert!(kubectl.in_namespace("default").refused("get configmaps").contains("forbidden"));

    std::fs::write(&file, roles("get, list, create")).unwrap();
    let changed = Instant::now();
    wait_until("the right is there", RELOAD, || Ok(kubectl.run("create configmap one").code() == 0)).unwrap();
    println!("a changed roles file holds after {:.2} s", changed.elapsed().as_secs_f64());

    std::fs::write(&file, "roles:\n- name: tester\n  clusters: [{nmae: x}]\n").unwrap();
    wait_until("the hub says so", PATIENCE, || Ok(stand.hub.log().contains("the roles stay as they were"))).unwrap();
    assert!(stand.hub.log().contains("nmae"), "the log names what is wrong");
    kubectl.ok("create configmap two");

    std::fs::write(&file, roles("get")).unwrap();
    wait_until("the right is gone", RELOAD, || Ok(kubectl.run("create configmap three").code() != 0)).unwrap();
}

#[test]
fn roles_given_and_taken_hold_at_once() {
    let bed = bed();
    let (kubectl, _) = person("viewer", "gina");
    let kubectl = kubectl.in_namespace(&bed.new_namespace("gina"));
    assert!(kubectl.refused("create configmap one").contains("forbidden"));
    bed.stand.hub.flotilla_ok("admin", &["users", "roles", "gina@example.com", "developer"]).unwrap();
    kubectl.ok("create configmap one");
    bed.stand.hub.flotilla_ok("admin", &["users", "roles", "gina@example.com", "viewer"]).unwrap();
    assert!(kubectl.refused("create configmap two").contains("forbidden"));
    bed.stand.hub.flotilla_ok("admin", &["users", "remove", "gina@example.com"]).unwrap();
    assert!(
        kubectl.refused("get configmaps").contains("logged in")
            || kubectl.refused("get configmaps").contains("sign in")
    );
}
