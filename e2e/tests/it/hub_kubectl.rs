//! kubectl that the hub runs for those who have none: `POST /clusters/{id}/exec` and `flotilla k` without kubectl.

use serde_json::{Value, json};

use crate::bed::{CLUSTER, bed, bed_with_node};
use crate::commands::run;
use crate::http::Api;

/// Runs a command through the HTTP API; its output and exit code.
#[track_caller]
fn exec(api: &Api, words: &[&str], stdin: Option<&str>) -> (String, i64) {
    let answer = api.post(&format!("/clusters/{CLUSTER}/exec"), &json!({"command": words, "stdin": stdin}));
    assert_eq!(answer.status, 200, "{words:?}: {}", answer.text());
    let answer: Value = answer.json();
    (answer["output"].as_str().unwrap().to_owned(), answer["exit_code"].as_i64().unwrap())
}

#[test]
fn commands_run_as_their_caller_with_input_and_exit_code() {
    let Some(bed) = bed_with_node("commands run as their caller") else { return };
    let web = bed.web("remote");
    let namespace = web.namespace();
    let api = Api::admin(&bed.stand.hub);
    let (pods, code) = exec(&api, &["get", "pods", "-n", namespace], None);
    assert!(code == 0 && pods.contains("web"), "{pods}");
    let object = "{apiVersion: v1, kind: ConfigMap, metadata: {name: sent}}";
    let (applied, code) = exec(&api, &["apply", "-n", namespace, "-f", "-"], Some(object));
    assert!(code == 0 && applied.contains("configmap/sent created"), "{applied}");
    let (said, code) =
        exec(&api, &["exec", "web", "-n", namespace, "--", "sh", "-c", "echo both; echo outputs >&2; exit 5"], None);
    assert!(code == 5 && said.contains("both") && said.contains("outputs"), "{code} {said}");
    let (missing, code) = exec(&api, &["get", "pod", "absent", "-n", namespace], None);
    assert!(code == 1 && missing.contains("NotFound"), "{code} {missing}");
    let (who, _) = exec(&api, &["auth", "whoami", "-o", "json"], None);
    assert!(who.contains(&bed.stand.hub.email), "{who}");
    let (env, _) = exec(&api, &["exec", "web", "-n", namespace, "--", "env"], None);
    assert!(!env.contains("FLOTILLA") && !env.contains("KUBECONFIG"), "{env}");
}

#[test]
fn a_command_has_the_rights_of_its_caller_and_no_more() {
    let bed = bed();
    bed.stand.hub.add_user("remo@example.com", &["viewer"]).unwrap();
    let api = Api::of(&bed.stand.hub, "remo");
    let (said, code) = exec(&api, &["create", "configmap", "x"], None);
    assert!(code == 1 && said.contains("forbidden"), "{said}");
    let hidden = api.post("/clusters/no-such-one/exec", &json!({"command": ["get", "pods"]}));
    assert_eq!(hidden.status, 404);
}

#[test]
fn the_audit_log_knows_from_where_the_caller_came() {
    let bed = bed();
    let namespace = bed.new_namespace("address");
    let api = Api::admin(&bed.stand.hub).calling_from("127.0.0.2".parse().unwrap());
    let (said, code) = exec(&api, &["create", "configmap", "from-afar", "-n", &namespace], None);
    assert_eq!(code, 0, "{said}");
    let rows =
        bed.stand.hub.flotilla_ok("admin", &["audit", "--namespace", &namespace, "--all", "-o", "json"]).unwrap();
    let page: Value = serde_json::from_str(&rows).unwrap();
    let own = page["rows"].as_array().unwrap();
    assert!(!own.is_empty(), "{page}");
    for row in own {
        assert_eq!(
            (&row["actor"]["address"], &row["route"]),
            (&json!("127.0.0.2"), &json!("/k8s/clusters/{cluster}/*"))
        );
    }
}

#[test]
fn what_would_reach_the_hub_itself_is_refused() {
    let bed = bed();
    let api = Api::admin(&bed.stand.hub);
    let own = bed.stand.hub.dir().join("central.yaml");
    let own = own.to_str().unwrap();
    for words in [
        &["apply", "-f", own][..],
        &["create", "configmap", "x", &format!("--from-file={own}")],
        &["get", "pods", "--kubeconfig", "/etc/passwd"],
        &["get", "pods", "--server=https://127.0.0.1:1"],
        &["get", "pods", "--as=system:admin"],
        &["get", "pods", "-o", "go-template-file=/etc/passwd"],
        &["config", "view", "--raw"],
        &["plugin", "list"],
        &["cp", "/etc/passwd", "web:/tmp"],
        &["proxy"],
        &["exec", "-it", "web", "--", "sh"],
        &["kustomize", "/"],
        &[],
    ] {
        let answer = api.post(&format!("/clusters/{CLUSTER}/exec"), &json!({"command": words}));
        assert_eq!(answer.status, 422, "{words:?}: {}", answer.text());
        assert!(!answer.text().contains("data_dir"), "{words:?}");
    }
}

#[test]
fn without_kubectl_on_this_machine_the_hub_runs_the_command() {
    let bed = bed();
    let namespace = bed.new_namespace("fallback");
    let flotilla = |words: &[&str], input: &str| {
        let mut command = bed.stand.hub.flotilla("admin");
        command.env("PATH", "/nonexistent").args(["--cluster", CLUSTER, "k", "-n", &namespace]).args(words);
        run(command, input.as_bytes())
    };
    let object = "{apiVersion: v1, kind: ConfigMap, metadata: {name: piped}}";
    assert!(flotilla(&["apply", "-f", "-"], object).ok().contains("configmap/piped created"));
    assert!(flotilla(&["get", "configmaps"], "").ok().contains("piped"));
    let failed = flotilla(&["get", "configmap", "absent"], "");
    assert_eq!(failed.code(), 1, "{failed:?}");
    let local = flotilla(&["port-forward", "web", "1:2"], "").refused();
    assert!(local.contains("kubectl"), "{local}");
}

#[test]
fn with_kubectl_the_command_line_becomes_it() {
    let bed = bed();
    let namespace = bed.new_namespace("becomes");
    let flotilla = |words: &[&str]| {
        let mut command = bed.stand.hub.flotilla("admin");
        command.env("PATH", bed.binaries.bin_dir()).args(["--cluster", CLUSTER, "kubectl"]).args(words);
        run(command, b"")
    };
    flotilla(&["-n", &namespace, "create", "configmap", "own"]).ok();
    assert!(flotilla(&["get", "configmaps", "-o", "name", "-n", &namespace]).ok().contains("configmap/own"));
    assert_eq!(flotilla(&["get", "configmap", "absent"]).code(), 1);
    assert!(flotilla(&["help"]).ok().contains("kubectl controls the Kubernetes cluster manager"));
}
