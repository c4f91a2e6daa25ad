//! Tests of `kubeconfig`: documents and merges.

use super::*;

fn hub() -> HubUrl {
    "http://127.0.0.1:8080".parse().unwrap()
}

fn ours(clusters: &[&str], current: Option<&str>) -> Value {
    let hub = hub();
    Source { hub: &hub, ca: Some("PEM"), program: "/opt/flotilla", prefix: "flotilla-" }.document(clusters, current)
}

#[test]
fn a_document_of_ours() {
    let document = ours(&["dev", "prod"], Some("dev"));
    assert_eq!(document["current-context"], "flotilla-dev");
    assert_eq!(
        document["clusters"][0],
        json!({"name": "flotilla-dev", "cluster": {
            "server": "https://127.0.0.1:8080/k8s/clusters/dev", "certificate-authority-data": "UEVN"}})
    );
    assert_eq!(
        document["contexts"][1],
        json!({"name": "flotilla-prod", "context": {"cluster": "flotilla-prod", "user": "flotilla@127.0.0.1:8080"}})
    );
    let exec = &document["users"][0]["user"]["exec"];
    assert_eq!(exec["apiVersion"], "client.authentication.k8s.io/v1");
    assert_eq!(exec["interactiveMode"], "Never");
    assert_eq!(exec["provideClusterInfo"], false);
    assert_eq!(exec["command"], "/opt/flotilla");
    assert_eq!(exec["args"], json!(["credential", "--hub", "http://127.0.0.1:8080"]));
}

#[test]
fn without_an_own_ca_the_system_decides() {
    let hub = hub();
    let source = Source { hub: &hub, ca: None, program: "/f", prefix: "" };
    let document = source.document(&["dev"], None);
    assert_eq!(document["clusters"][0]["name"], "dev");
    assert!(document["clusters"][0]["cluster"].get("certificate-authority-data").is_none());
    assert!(document.get("current-context").is_none());
}

const THEIRS: &str = r#"
apiVersion: v1
kind: Config
current-context: kind
preferences: {colors: true}
clusters:
- name: kind
  cluster: {server: "https://127.0.0.1:6443", certificate-authority-data: QUJD}
- name: flotilla-dev
  cluster: {server: "https://old"}
users:
- name: kind
  user: {client-key-data: c2VjcmV0, username: "0123", password: "yes", token: "1e5"}
contexts:
- name: kind
  context: {cluster: kind, user: kind, namespace: kube-system, extensions: [{name: x, extension: {a: 1}}]}
- name: flotilla-dev
  context: {cluster: flotilla-dev, user: gone, namespace: shop}
"#;

#[test]
fn a_merge_keeps_what_is_there() {
    let before = parse(THEIRS).unwrap();
    let merged = merge(before.clone(), &ours(&["dev", "prod"], Some("prod"))).unwrap();
    assert_eq!(merged["current-context"], "kind");
    assert_eq!(merged["preferences"], before["preferences"]);
    assert_eq!(merged["clusters"][0], before["clusters"][0]);
    assert_eq!(merged["users"][0], before["users"][0]);
    assert_eq!(merged["contexts"][0], before["contexts"][0]);
    let names: Vec<_> = merged["clusters"].as_array().unwrap().iter().map(|c| c["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["kind", "flotilla-dev", "flotilla-prod"]);
}

#[test]
fn a_merge_renews_ours_but_keeps_the_chosen_namespace() {
    let merged = merge(parse(THEIRS).unwrap(), &ours(&["dev"], None)).unwrap();
    assert_eq!(merged["clusters"][1]["cluster"]["server"], "https://127.0.0.1:8080/k8s/clusters/dev");
    assert_eq!(
        merged["contexts"][1]["context"],
        json!({"cluster": "flotilla-dev", "user": "flotilla@127.0.0.1:8080", "namespace": "shop"})
    );
    let again = merge(merged.clone(), &ours(&["dev"], None)).unwrap();
    assert_eq!(again, merged, "merging twice changes nothing");
}

#[test]
fn a_merge_into_nothing_is_ours() {
    for text in ["", "\n", "clusters: null\nusers: []\n", "current-context: \"\"\n"] {
        let merged = merge(parse(text).unwrap(), &ours(&["dev"], Some("dev"))).unwrap();
        assert_eq!(merged["current-context"], "flotilla-dev", "{text:?}");
        assert_eq!(merged["kind"], "Config");
        assert_eq!(merged["contexts"].as_array().unwrap().len(), 1);
    }
}

#[test]
fn what_is_no_kubeconfig_is_refused() {
    assert!(parse("- a\n").is_err());
    assert!(merge(parse("clusters: 7\n").unwrap(), &ours(&["dev"], None)).is_err());
    let error = parse("users:\n- name: a\n  user: {token: geheim\n").unwrap_err().render();
    assert!(!error.contains("geheim"), "{error}");
}

#[test]
fn text_and_tree_are_the_same_thing() {
    // Strings that look like numbers, booleans and nulls must come back as strings.
    let tree = json!({"a": "yes", "b": "0123", "c": "1e5", "d": "null", "e": "~", "f": "", "g": "# x", "h": "a: b",
        "i": "line\nline\n", "j": "2024-01-01", "k": true, "l": 7, "m": null, "n": " pad ", "o": "-", "p": "0x1F", "q": [{"x": {}}], "r": "1_000", "s": "on", "t": "!x", "u": "@x", "v": "\u{1F600}"});
    assert_eq!(parse(&render(&tree).unwrap()).unwrap(), tree);
    let theirs = parse(THEIRS).unwrap();
    assert_eq!(parse(&render(&theirs).unwrap()).unwrap(), theirs);
}

#[test]
fn files_become_data_and_other_contexts_stay_at_home() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("pki")).unwrap();
    std::fs::write(dir.path().join("pki/ca.crt"), "CA").unwrap();
    std::fs::write(dir.path().join("token"), " tok\n").unwrap();
    let cert = dir.path().join("client.crt");
    std::fs::write(&cert, "CERT").unwrap();
    let tree = json!({
        "current-context": "a",
        "clusters": [{"name": "a", "cluster": {"server": "https://a", "certificate-authority": "pki/ca.crt"}},
                     {"name": "b", "cluster": {"server": "https://b"}}],
        "users": [{"name": "a", "user": {"client-certificate": cert.to_str().unwrap(), "client-key": "missing",
                     "client-key-data": "S0VZ", "tokenFile": "token", "token": "older"}},
                  {"name": "b", "user": {"token": "not-for-the-hub"}}],
        "contexts": [{"name": "a", "context": {"cluster": "a", "user": "a"}}, {"name": "b", "context": {"cluster": "b", "user": "b"}}],
    });
    let whole = self_contained(&tree, None, dir.path()).unwrap();
    assert_eq!(
        whole["clusters"],
        json!([{"name": "a", "cluster": {"server": "https://a", "certificate-authority-data": "Q0E="}}])
    );
    assert_eq!(
        whole["users"],
        json!([{"name": "a", "user": {"client-key-data": "S0VZ", "token": "tok", "client-certificate-data": "Q0VSVA=="}}])
    );
    assert!(!whole.to_string().contains("not-for-the-hub"));
    assert_eq!(self_contained(&tree, Some("b"), dir.path()).unwrap()["current-context"], "b");
}

#[test]
fn what_the_hub_cannot_use_is_named() {
    let tree = |user: Value| {
        json!({"current-context": "a", "clusters": [{"name": "a", "cluster": {"server": "https://a"}}],
            "users": [{"name": "a", "user": user}], "contexts": [{"name": "a", "context": {"cluster": "a", "user": "a"}}]})
    };
    let error = |tree: &Value, context| self_contained(tree, context, Path::new("/nonexistent")).unwrap_err().render();
    assert!(error(&tree(json!({"exec": {"command": "aws"}})), None).contains("agent"));
    assert!(error(&tree(json!({"auth-provider": {"name": "gcp"}})), None).contains("auth-provider"));
    assert!(error(&tree(json!({"tokenFile": "t"})), None).contains("/nonexistent/t"));
    assert!(error(&tree(json!({})), Some("z")).contains("it has: a"));
    assert!(error(&json!({}), None).contains("--context"));
}
