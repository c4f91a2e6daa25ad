//! Everything of the Kubernetes API that is not an object of a built-in kind in JSON.

use flotilla_testbed::wait_until;

use crate::bed::{CLUSTER, PATIENCE, bed, bed_with_node};
use crate::http::Api;

const CRD: &str = r#"
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: boats.e2e.flotilla.test}
spec:
  group: e2e.flotilla.test
  scope: Namespaced
  names: {plural: boats, singular: boat, kind: Boat, shortNames: [bt]}
  versions:
  - name: v1
    served: true
    storage: true
    subresources: {status: {}, scale: {specReplicasPath: .spec.masts, statusReplicasPath: .status.masts}}
    schema: {openAPIV3Schema: {type: object, properties: {
      spec: {type: object, properties: {masts: {type: integer, minimum: 1}}},
      status: {type: object, properties: {masts: {type: integer}}}}}}
"#;

#[test]
fn the_aggregated_metrics_api_answers_top() {
    let Some(bed) = bed_with_node("top") else { return };
    let kubectl = bed.web("top");
    assert!(kubectl.ok("top nodes").contains(bed.node_name()));
    assert!(kubectl.ok(["get", "--raw", "/apis/metrics.k8s.io/v1beta1/nodes"]).contains("NodeMetricsList"));
    wait_until("top knows the pod", PATIENCE, || {
        let done = kubectl.run("top pods");
        Ok(done.code() == 0 && done.text().contains("web"))
    })
    .unwrap();
}

#[test]
fn custom_resources_are_like_any_other() {
    let kubectl = bed().namespace("boats");
    kubectl.feed("apply -f -", CRD).ok();
    kubectl.ok("wait --for=condition=Established crd/boats.e2e.flotilla.test --timeout=30s");
    let boat = "{apiVersion: e2e.flotilla.test/v1, kind: Boat, metadata: {name: argo}, spec: {masts: 1}}";
    wait_until("discovery knows the kind", PATIENCE, || Ok(kubectl.feed("apply -f -", boat).code() == 0)).unwrap();
    assert!(kubectl.ok("get bt").contains("argo"));
    kubectl.ok("scale boat/argo --replicas=3");
    assert_eq!(kubectl.ok("get boat argo -o jsonpath={.spec.masts}"), "3");
    wait_until("its schema is published", PATIENCE, || Ok(kubectl.run("explain boat.spec").text().contains("masts")))
        .unwrap();
    let invalid = kubectl.feed("apply -f -", boat.replace("masts: 1", "masts: 0")).refused();
    assert!(invalid.contains("should be greater than or equal to 1"), "{invalid}");
    kubectl.ok("delete boat argo");
    kubectl.ok("delete crd boats.e2e.flotilla.test");
}

#[test]
fn kubernetes_is_asked_as_oneself() {
    let bed = bed();
    let kubectl = bed.namespace("self");
    let who = kubectl.ok("auth whoami -o json");
    assert!(who.contains(&format!("\"username\": \"{}\"", bed.stand.hub.email)), "{who}");
    assert!(who.contains("flotilla:tier:admin") && who.contains("flotilla:role:admin"), "{who}");
    assert!(!who.contains("system:masters"), "the agent's own rights must not show: {who}");
    assert_eq!(kubectl.ok("auth can-i create deployments"), "yes\n");
    assert!(kubectl.ok("auth can-i --list").contains("[*]"));
    let as_other = kubectl.refused("get pods --as=system:admin");
    assert!(as_other.contains("impersonation is not possible through the hub"), "{as_other}");
}

#[test]
fn protobuf_and_cbor_pass_unchanged() {
    let bed = bed();
    let kubectl = bed.namespace("binary");
    kubectl.ok("create configmap settings --from-literal=colour=blue");
    let api = Api::admin(&bed.stand.hub);
    let target = format!("/k8s/clusters/{CLUSTER}/api/v1/namespaces/{}/configmaps/settings", kubectl.namespace());

    let protobuf = ("Accept", "application/vnd.kubernetes.protobuf");
    let answer = api.send("GET", &target, &[protobuf], "");
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/vnd.kubernetes.protobuf")));
    assert!(answer.body.starts_with(b"k8s\0") && answer.text().contains("colour"));

    let answer = api.send("GET", &target, &[("Accept", "application/cbor")], "");
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/cbor")));
    // The tag of self-described CBOR (RFC 8949 section 3.4.6).
    assert!(answer.body.starts_with(&[0xd9, 0xd9, 0xf7]), "{:?}", &answer.body[..8]);

    let answer = api.send("GET", &target, &[("Accept", "text/vnd.nobody")], "");
    assert_eq!(answer.status, 406);

    let table = ("Accept", "application/json;as=Table;v=v1;g=meta.k8s.io");
    assert_eq!(api.send("GET", &target, &[table], "").json()["kind"], "Table");
    let zipped = api.send("GET", &target, &[("Accept-Encoding", "gzip")], "");
    assert_eq!(zipped.status, 200);
}

#[test]
fn what_is_open_to_everyone_at_an_api_server_is_not_open_here() {
    let bed = bed();
    let api = Api::anonymous(&bed.stand.hub);
    for path in ["/version", "/api", "/healthz", "/openapi/v2"] {
        let message = api.get(&format!("/k8s/clusters/{CLUSTER}{path}")).kubernetes_status(401);
        assert!(message.contains("flotilla kubeconfig"), "{message}");
    }
}
