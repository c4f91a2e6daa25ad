//! What writes changed, as the audit log says it: real objects, unmodified kubectl, and never a secret.

use flotilla_testbed::wait_for;
use serde_json::{Value, json};

use crate::bed::{Bed, CLUSTER, DIRECT, PATIENCE, bed};
use crate::commands::Kubectl;
use crate::http::Api;

const DEPLOYMENT: &str = r#"
apiVersion: apps/v1
kind: Deployment
metadata: {name: app}
spec:
  replicas: 0
  selector: {matchLabels: {app: app}}
  template:
    metadata: {labels: {app: app}}
    spec:
      containers:
      - {name: main, image: "flotilla.test/busybox:1", env: [{name: COLOUR, value: blue}, {name: DB_PASSWORD, value: hunter2}]}
"#;

/// The diff of an act of a namespace with this verb and name, the newest in which `path` changes like that. kubectl may
/// write more than once: a first server-side apply is followed by another.
#[track_caller]
fn diff(bed: &Bed, kubectl: &Kubectl, (verb, name): (&str, &str), path: &str, change: (Value, Value)) -> Value {
    let api = Api::admin(&bed.stand.hub);
    let rows =
        format!("/api/audit?namespace={}&verb={verb}&name={name}&outcome=succeeded&limit=10", kubectl.namespace());
    let (before, after) = change;
    let wanted = |row: &&Value| {
        let changes = row["diff"]["changes"].as_array().into_iter().flatten();
        let mut at_path = changes.filter(|one| one["path"] == path);
        at_path.any(|one| (&one["before"], &one["after"]) == (&before, &after))
    };
    let mut seen = Value::Null;
    let row = wait_for("the outcome", PATIENCE, || {
        seen = api.get(&rows).json();
        Ok(seen["rows"].as_array().and_then(|rows| rows.iter().find(wanted)).cloned())
    });
    row.unwrap_or_else(|error| panic!("{path} from {before} to {after}: {error:#}; the rows: {seen:#}"))["diff"].clone()
}

/// Before and after at a path.
#[track_caller]
fn at(diff: &Value, path: &str) -> (Value, Value) {
    let change = diff["changes"].as_array().and_then(|all| all.iter().find(|change| change["path"] == path));
    let change = change.unwrap_or_else(|| panic!("{path} is not in {diff:#}"));
    (change["before"].clone(), change["after"].clone())
}

#[test]
fn a_deployments_life_in_diffs() {
    let bed = bed();
    let kubectl = bed.namespace("diff");
    let main = "spec.template.spec.containers[main]";
    kubectl.feed("apply -f -", DEPLOYMENT).ok();
    let made = diff(bed, &kubectl, ("create", ""), "spec.replicas", (Value::Null, json!(0)));
    assert_eq!(at(&made, &format!("{main}.env[COLOUR].value")), (Value::Null, json!("blue")));
    assert_eq!(at(&made, &format!("{main}.env[DB_PASSWORD].value")), (Value::Null, json!("[redacted]")));

    kubectl.feed("apply -f -", DEPLOYMENT.replace("blue", "green").replace("hunter2", "hunter3")).ok();
    let patched =
        diff(bed, &kubectl, ("patch", "app"), &format!("{main}.env[COLOUR].value"), (json!("blue"), json!("green")));
    assert_eq!(at(&patched, &format!("{main}.env[DB_PASSWORD].value")), (json!("[redacted]"), json!("[redacted]")));

    kubectl.feed("apply --server-side --force-conflicts -f -", DEPLOYMENT.replace("blue", "red")).ok();
    let applied =
        diff(bed, &kubectl, ("apply", "app"), &format!("{main}.env[COLOUR].value"), (json!("green"), json!("red")));

    kubectl.ok("scale deployment app --replicas=2");
    // A `Scale` leaves out a number of zero.
    let scaled = diff(bed, &kubectl, ("patch", "app"), "spec.replicas", (Value::Null, json!(2)));

    kubectl.with("EDITOR", "sed -i s/red/white/").ok("edit deployment app");
    let edited =
        diff(bed, &kubectl, ("patch", "app"), &format!("{main}.env[COLOUR].value"), (json!("red"), json!("white")));

    kubectl.ok("delete deployment app");
    let removed =
        diff(bed, &kubectl, ("delete", "app"), &format!("{main}.env[COLOUR].value"), (json!("white"), Value::Null));
    for text in [made, patched, applied, scaled, edited, removed].map(|diff| diff.to_string()) {
        assert!(!text.contains("hunter") && !text.contains("managedFields"), "{text}");
    }
}

/// Through the agent and through the hub's own kubeconfig; nothing of a Secret is in anything that the hub keeps.
#[test]
fn a_secret_changes_without_being_shown() {
    let bed = bed();
    for (cluster, number) in [(CLUSTER, 1), (DIRECT, 2)] {
        let namespace = bed.new_namespace("diff-secret");
        let kubectl = bed.stand.kubectl(bed, "admin", cluster).in_namespace(&namespace);
        let hush = |which: &str| format!("hush-{number}-{which}-{}", fastrand::u64(..));
        let (first, second) = (hush("first"), hush("second"));
        let secret = |value: &str| {
            format!(
                "{{apiVersion: v1, kind: Secret, metadata: {{name: s, labels: {{team: pay}}}}, stringData: {{pin: {value}}}}}"
            )
        };
        kubectl.feed("apply -f -", secret(&first)).ok();
        diff(bed, &kubectl, ("create", ""), "data.pin", (Value::Null, json!("[redacted]")));
        kubectl.feed("apply -f -", secret(&second)).ok();
        diff(bed, &kubectl, ("patch", "s"), "data.pin", (json!("[redacted]"), json!("[redacted]")));
        kubectl.ok("label secret s team=web --overwrite");
        let labelled = diff(bed, &kubectl, ("patch", "s"), "metadata.labels.team", (json!("pay"), json!("web")));
        assert_eq!(labelled["changes"], json!([{"path": "metadata.labels.team", "before": "pay", "after": "web"}]));
        kubectl.ok("delete secret s");
        diff(bed, &kubectl, ("delete", "s"), "data.pin", (json!("[redacted]"), Value::Null));
        let written = crate::audit::written_by_the_hub(bed);
        for text in [&first, &second] {
            assert!(!written.contains(text.as_str()));
            assert!(!written.contains(&base64(text)), "nor as its base64");
        }
    }
}

#[test]
fn what_is_not_compared_says_why_and_the_command_line_shows_all() {
    let bed = bed();
    let kubectl = bed.namespace("diff-not");
    let api = Api::admin(&bed.stand.hub);
    let base = format!("/k8s/clusters/{CLUSTER}/api/v1/namespaces/{}/configmaps", kubectl.namespace());
    let config =
        |value: &str| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": {"a": value}});
    let send = |method: &str, target: &str, more: &[(&str, &str)], value: &str| {
        let headers = [&[("Content-Type", "application/json")], more].concat();
        let answer = api.send(method, &format!("{base}{target}"), &headers, &config(value).to_string());
        assert!(answer.status < 300, "{}", answer.text());
        let id = answer.header("x-request-id").unwrap().to_owned();
        crate::audit::rows_of(&api, &id, 2).remove(1)
    };
    send("POST", "", &[], "1");
    let dry = send("PUT", "/c?dryRun=All", &[], "2");
    assert!(dry.get("diff").is_none(), "{dry}");
    let binary = send("PUT", "/c", &[("Accept", "application/vnd.kubernetes.protobuf")], "2");
    assert!(binary["diff"]["unknown"].as_str().unwrap().contains("protobuf"), "{binary}");
    let large = send("PUT", "/c", &[], &"x".repeat(300 * 1024));
    assert!(large["diff"]["unknown"].as_str().unwrap().contains("too large"), "{large}");
    send("PUT", "/c", &[], "3");
    let row = send("PUT", "/c", &[], "4");
    assert_eq!(row["diff"]["changes"], json!([{"path": "data.a", "before": "3", "after": "4"}]));
    for id in [row["seq"].to_string(), row["request_id"].as_str().unwrap().to_owned()] {
        let shown = bed.stand.hub.flotilla_ok("admin", &["audit", "show", &id]).unwrap();
        assert!(shown.contains("~ data.a: \"3\" -> \"4\"") && shown.contains("attempted"), "{shown}");
    }
    let yaml = bed.stand.hub.flotilla_ok("admin", &["audit", "show", &row["seq"].to_string(), "-o", "yaml"]).unwrap();
    assert!(yaml.contains("path: data.a"), "{yaml}");
    let export = api.get(&format!("/api/audit/export?request_id={}", row["request_id"].as_str().unwrap())).text();
    assert!(export.contains(r#""path":"data.a""#), "{export}");
}

fn base64(text: &str) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(text)
}
