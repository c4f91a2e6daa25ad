//! Objects and their lives, with kubectl through the agent.

use std::time::Duration;

use flotilla_testbed::wait_until;

use crate::bed::{PATIENCE, bed, bed_with_node};

const CONFIG: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings}\ndata: {colour: blue}\n";

const DEPLOYMENT: &str = r#"
apiVersion: apps/v1
kind: Deployment
metadata: {name: app}
spec:
  replicas: 1
  selector: {matchLabels: {app: app}}
  template:
    metadata: {labels: {app: app}}
    spec:
      terminationGracePeriodSeconds: 0
      containers: [{name: main, image: "flotilla.test/busybox:1", command: [sleep, "100000"]}]
"#;

#[test]
fn everything_can_be_looked_at_in_every_form() {
    let kubectl = bed().namespace("look");
    kubectl.feed("create -f -", CONFIG).ok();

    let resources = kubectl.ok("api-resources");
    assert!(resources.contains("deployments") && resources.contains("customresourcedefinitions"), "{resources}");
    assert!(kubectl.ok("api-versions").contains("apps/v1"));
    assert_eq!(kubectl.ok("version").matches("v1.34").count(), 2);
    assert!(kubectl.ok("explain deployment.spec.strategy").contains("rollingUpdate"));
    assert!(kubectl.ok("cluster-info").contains("/k8s/clusters/"));

    assert!(kubectl.ok("get configmaps").contains("settings"));
    assert!(kubectl.ok("get namespaces -o wide").contains("kube-system"));
    assert_eq!(kubectl.ok("get configmap settings -o jsonpath={.data.colour}"), "blue");
    assert!(kubectl.ok("get configmap settings -o json").contains("\"colour\": \"blue\""));
    assert!(kubectl.ok("get configmap settings -o yaml").contains("colour: blue"));
    assert!(kubectl.ok("get configmap -o custom-columns=N:.metadata.name,C:.data.colour").contains("blue"));
    assert_eq!(kubectl.ok("get configmap settings -o name"), "configmap/settings\n");
    assert!(kubectl.ok("describe configmap settings").contains("colour"));
    assert!(kubectl.ok("get all,configmaps -l nothing=here --show-labels --ignore-not-found").is_empty());
    assert!(kubectl.ok("get pods -A --chunk-size=1").is_ascii());
    let missing = kubectl.refused("get configmap absent");
    assert!(missing.contains(r#"configmaps "absent" not found"#), "{missing}");
    let unknown = kubectl.refused("get frobnicators");
    assert!(unknown.contains("doesn't have a resource type"), "{unknown}");
}

#[test]
fn an_object_is_made_changed_in_every_way_and_removed() {
    let kubectl = bed().namespace("life");
    kubectl.feed("apply -f -", CONFIG).ok();
    kubectl.feed("apply -f -", CONFIG.replace("blue", "green")).ok();
    let colour = || kubectl.ok("get configmap settings -o jsonpath={.data.colour}");
    assert_eq!(colour(), "green");
    kubectl.feed("replace -f -", CONFIG.replace("blue", "red")).ok();
    assert_eq!(colour(), "red");
    kubectl.ok(["patch", "configmap", "settings", "--type=merge", "-p", r#"{"data":{"colour":"black"}}"#]);
    kubectl.ok([
        "patch",
        "configmap",
        "settings",
        "--type=json",
        "-p",
        r#"[{"op":"add","path":"/data/size","value":"XL"}]"#,
    ]);
    assert_eq!(
        (colour().as_str(), kubectl.ok("get configmap settings -o jsonpath={.data.size}").as_str()),
        ("black", "XL")
    );
    kubectl.ok("label configmap settings tier=front");
    kubectl.ok("annotate configmap settings note=kept");
    assert!(kubectl.ok("get configmap -l tier=front -o name").contains("settings"));

    // An editor that is a program, as people's scripts do it.
    kubectl.with("EDITOR", "sed -i s/black/white/").ok("edit configmap settings");
    assert_eq!(colour(), "white");

    let diff = kubectl.feed("diff -f -", CONFIG);
    assert_eq!(diff.code(), 1, "kubectl diff ends with 1 when there is a difference");
    assert!(diff.text().contains("+  colour: blue"), "{}", diff.text());

    kubectl.ok("delete configmap settings");
    kubectl.ok("wait --for=delete configmap/settings --timeout=20s");
    assert!(kubectl.refused("get configmap settings").contains("not found"));
}

#[test]
fn server_side_apply_knows_who_owns_a_field() {
    let kubectl = bed().namespace("ssa");
    kubectl.feed("apply --server-side --field-manager=first -f -", CONFIG).ok();
    let other = CONFIG.replace("blue", "green");
    let conflict = kubectl.feed("apply --server-side --field-manager=second -f -", &other).refused();
    assert!(conflict.contains(r#"conflict with "first": .data.colour"#), "{conflict}");
    assert_eq!(kubectl.ok("get configmap settings -o jsonpath={.data.colour}"), "blue");
    kubectl.feed("apply --server-side --field-manager=second --force-conflicts -f -", &other).ok();
    assert_eq!(kubectl.ok("get configmap settings -o jsonpath={.data.colour}"), "green");
}

#[test]
fn a_watch_sees_changes_as_they_happen() {
    let kubectl = bed().namespace("watch");
    let mut watch = kubectl.start("get configmaps --watch --output-watch-events --no-headers");
    kubectl.feed("apply -f -", CONFIG).ok();
    watch.wait_for("ADDED      settings", PATIENCE);
    kubectl.ok("label configmap settings a=b");
    watch.wait_for("MODIFIED   settings", PATIENCE);
    kubectl.ok("delete configmap settings");
    watch.wait_for("DELETED    settings", PATIENCE);
    assert!(watch.is_running());
}

#[test]
fn a_deployment_is_scaled_restarted_and_rolled_back() {
    let Some(bed) = bed_with_node("a deployment is scaled, restarted and rolled back") else { return };
    let kubectl = bed.namespace("rollout");
    kubectl.feed("create -f -", DEPLOYMENT).ok();
    assert!(kubectl.ok("rollout status deployment/app --timeout=60s").contains("successfully rolled out"));
    kubectl.ok("scale deployment/app --replicas=2");
    kubectl.ok("wait deployment/app --for=jsonpath={.status.readyReplicas}=2 --timeout=60s");
    kubectl.ok("rollout restart deployment/app");
    assert!(kubectl.ok("rollout status deployment/app --timeout=60s").contains("successfully rolled out"));
    assert!(kubectl.ok("rollout history deployment/app").contains('2'));
    kubectl.ok("set env deployment/app COLOUR=blue");
    kubectl.ok("rollout undo deployment/app");
    kubectl.ok("rollout status deployment/app --timeout=60s");
    assert_eq!(kubectl.ok("get deployment app -o jsonpath={.spec.template.spec.containers[0].env}"), "");
    kubectl.ok("expose deployment/app --port=80");
    kubectl.ok("autoscale deployment/app --max=3");
    let wide = kubectl.ok("get pods -o wide");
    assert!(wide.contains("node1") && wide.contains("NOMINATED NODE"), "{wide}");
    wait_until("events tell of it", PATIENCE, || {
        Ok(kubectl.ok("events --for deployment/app").contains("ScalingReplicaSet"))
    })
    .unwrap();
    kubectl.ok("delete deployment/app --cascade=foreground --timeout=60s");
}

/// On a node that only exists on paper, so that nobody else's pods are moved.
#[test]
fn a_node_is_cordoned_and_drained() {
    let kubectl = bed().namespace("drain");
    let node = format!("paper-{}", kubectl.namespace());
    kubectl.feed("create -f -", format!("{{apiVersion: v1, kind: Node, metadata: {{name: {node}}}}}")).ok();
    let pod = format!(
        "{{apiVersion: v1, kind: Pod, metadata: {{name: lodger}}, spec: {{nodeName: {node}, terminationGracePeriodSeconds: 0, \
         containers: [{{name: a, image: \"flotilla.test/busybox:1\"}}]}}}}"
    );
    kubectl.feed("create -f -", pod).ok();
    kubectl.ok(&format!("cordon {node}"));
    assert!(kubectl.ok(&format!("get node {node}")).contains("SchedulingDisabled"));
    kubectl.ok(&format!("uncordon {node}"));
    kubectl.ok(&format!("taint node {node} away=yes:NoSchedule"));
    let drained = kubectl.ok(&format!("drain {node} --force --ignore-daemonsets --timeout=60s"));
    assert!(drained.contains("pod/lodger evicted"), "{drained}");
    assert!(kubectl.refused("get pod lodger").contains("not found"));
    kubectl.ok(&format!("delete node {node}"));
}

#[test]
fn a_wait_ends_when_its_condition_holds_and_fails_when_time_is_up() {
    let kubectl = bed().namespace("wait");
    kubectl.feed("create -f -", CONFIG).ok();
    let mut wait = kubectl.start("wait configmap/settings --for=jsonpath={.data.done}=yes --timeout=60s");
    std::thread::sleep(Duration::from_millis(500));
    assert!(wait.is_running());
    kubectl.ok(["patch", "configmap", "settings", "--type=merge", "-p", r#"{"data":{"done":"yes"}}"#]);
    assert_eq!(wait.wait(Duration::from_secs(20)), 0, "{}", wait.text());
    let late = kubectl.refused("wait configmap/settings --for=jsonpath={.data.done}=no --timeout=1s");
    assert!(late.contains("timed out"), "{late}");
}
