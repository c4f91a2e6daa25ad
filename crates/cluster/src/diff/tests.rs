//! What becomes of objects and their secrets in a diff.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn diff(before: Value, after: Value) -> Diff {
    compare(false, Side::Object(before), Side::Object(after))
}

/// Path, before and after of each change, as text.
fn lines(diff: &Diff) -> Vec<String> {
    assert_eq!((diff.unknown.as_str(), diff.more), ("", 0));
    let show = |value: &Option<Value>| value.as_ref().map_or("-".to_owned(), ToString::to_string);
    diff.changes.iter().map(|c| format!("{} {} {}", c.path, show(&c.before), show(&c.after))).collect()
}

fn deployment(replicas: u32, image: &str, password: &str) -> Value {
    json!({
        "kind": "Deployment",
        "metadata": {"name": "app", "resourceVersion": replicas.to_string(), "managedFields": [{"manager": image}],
            "annotations": {"kubectl.kubernetes.io/last-applied-configuration": image}},
        "spec": {"replicas": replicas, "template": {"spec": {
            "imagePullSecrets": [{"name": "pull"}],
            "containers": [
                {"name": "auth-sidecar", "image": "same"},
                {"name": "main", "image": image, "args": ["--password", password, "--verbose"], "env": [
                    {"name": "COLOUR", "value": image},
                    {"name": "DB_PASSWORD", "value": password},
                    {"name": "SESSION_KEY", "valueFrom": {"secretKeyRef": {"name": image, "key": "k"}}},
                    {"name": "URL", "value": format!("postgres://app:{password}@db/app")},
                ]},
            ]}}},
    })
}

#[test]
fn what_changed_is_listed_and_credentials_are_not_shown() {
    let main = "spec.template.spec.containers[main]";
    let found = lines(&diff(deployment(1, "a:1", "hunter2"), deployment(3, "a:2", "hunter3")));
    let expected = [
        r#"metadata.annotations["kubectl.kubernetes.io/last-applied-configuration"] "[redacted]" "[redacted]""#
            .to_owned(),
        "spec.replicas 1 3".to_owned(),
        format!(r#"{main}.args[1] "[redacted]" "[redacted]""#),
        format!(r#"{main}.env[COLOUR].value "a:1" "a:2""#),
        format!(r#"{main}.env[DB_PASSWORD].value "[redacted]" "[redacted]""#),
        format!(r#"{main}.env[SESSION_KEY].valueFrom.secretKeyRef.name "a:1" "a:2""#),
        format!(r#"{main}.env[URL].value "[redacted]" "[redacted]""#),
        format!(r#"{main}.image "a:1" "a:2""#),
    ];
    let (mut found, mut expected) = (found, expected.to_vec());
    found.sort();
    expected.sort();
    assert_eq!(found, expected);
    assert_eq!(diff(deployment(1, "a", "b"), deployment(1, "a", "b")), Diff::default());
}

#[test]
fn what_looks_like_a_credential_is_not_shown_whatever_its_name() {
    let pem = "-----BEGIN PRIVATE KEY-----\nMIIE\n-----END PRIVATE KEY-----";
    let shown = ["blue", "1.5Gi", "https://example.com/a@b", "a key to success", "tokens are nice"];
    let hidden = [
        pem,
        "user=a\npassword: hunter2\n",
        "https://me:hunter2@example.com/",
        "Bearer abc",
        "eyJhbGciOiJub25lIn0.e30.",
        "ghp_0123456789",
        "--token=abc",
    ];
    for (texts, is_hidden) in [(&shown[..], false), (&hidden[..], true)] {
        for text in texts {
            let found = diff(json!({"kind": "ConfigMap"}), json!({"kind": "ConfigMap", "data": {"a": text}}));
            let after = found.changes[0].after.clone().unwrap();
            assert_eq!(after == "[redacted]", is_hidden, "{text}");
        }
    }
    for name in ["api-key", "API_TOKEN", "tls.crt.key", "basicAuth", "db.password", "client_secret"] {
        let found = diff(json!({}), json!({"data": {name: "blue"}}));
        assert_eq!(found.changes[0].after, Some("[redacted]".into()), "{name}");
    }
    for field in ["apiToken", "clientSecret", "passwordHash"] {
        let found = diff(json!({}), json!({"spec": {field: {"x": ["blue", 7]}}}));
        assert!(found.changes.iter().all(|change| change.after == Some("[redacted]".into())), "{field}");
    }
}

#[test]
fn what_is_made_or_removed_is_shown_without_its_state() {
    let object = json!({"kind": "Widget", "metadata": {"name": "w", "generation": 1}, "spec": {"size": 1.5, "list": []},
        "status": {"ready": true}});
    let made = compare(false, Side::Absent, Side::Object(object.clone()));
    assert_eq!(
        lines(&made),
        [r#"kind - "Widget""#, r#"metadata.name - "w""#, "spec.list - []", r#"spec.size - "1.5""#]
    );
    let removed = compare(false, Side::Object(object), Side::Absent);
    assert_eq!(removed.changes.len(), 4);
    assert!(removed.changes.iter().all(|change| change.after.is_none() && change.before.is_some()));
}

#[test]
fn what_is_not_known_is_said() {
    let object = || Side::Object(json!({"kind": "A"}));
    assert_eq!(compare(false, Side::Unknown("why".into()), object()).unknown, "before: why");
    assert_eq!(compare(false, object(), Side::Unknown("why".into())).unknown, "after: why");
    assert!(diff(json!({"kind": "A"}), json!({"kind": "B"})).unknown.contains("another kind"));
}

#[test]
fn a_diff_has_bounds() {
    let many = |value: u32| json!({"spec": (0..5000).map(|i| (format!("f{i}"), value.into())).collect::<serde_json::Map<_, _>>()});
    let found = diff(many(1), many(2));
    assert!(found.changes.len() > 50 && found.changes.len() as u64 + found.more == 5000);
    assert!(serde_json::to_vec(&found).unwrap().len() < 9 * 1024);
    let long = diff(json!({"spec": {"a": "x".repeat(10_000)}}), json!({"spec": {"a": "y".repeat(10_000)}}));
    assert!(serde_json::to_vec(&long).unwrap().len() < 1024);
    // Long keys around many values: comparing costs no more than reading.
    let key = "k".repeat(100_000);
    let around = |value: u32| json!({ &key: vec![value; 50_000] });
    assert_eq!(diff(around(1), around(2)).changes.len() as u64 + diff(around(1), around(2)).more, 50_000);
}

fn answer(headers: &[(&str, &str)], pieces: &[&[u8]]) -> Side {
    let mut head = http::HeaderMap::new();
    for (name, value) in headers {
        head.insert(http::HeaderName::from_bytes(name.as_bytes()).unwrap(), value.parse().unwrap());
    }
    let mut answer = Answer::new(&head);
    pieces.iter().for_each(|piece| answer.push(piece));
    answer.object()
}

#[test]
fn answers_are_read_or_it_is_said_why_not() {
    use std::io::Write as _;
    let json = ("content-type", "application/json; charset=utf-8");
    let is = |side: &Side, text: &str| matches!(side, Side::Unknown(why) if why.contains(text));
    assert!(matches!(answer(&[json], &[b"{\"a\"", b":1}"]), Side::Object(object) if object["a"] == 1));
    assert!(is(&answer(&[("content-type", "application/vnd.kubernetes.protobuf")], &[b"k8s"]), "protobuf"));
    assert!(is(&answer(&[], &[b"{}"]), "nothing"));
    assert!(is(&answer(&[json, ("content-encoding", "br")], &[b"{}"]), "br"));
    assert!(is(&answer(&[json], &[b"[]"]), "no object"));
    assert!(is(&answer(&[json], &[br#"{"kind":"Table"}"#]), "Table"));
    assert!(is(&answer(&[json], &[&vec![b' '; MAX_OBJECT], b"{}"]), "too large"));
    let gzip = |plain: &[u8]| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(plain).unwrap();
        answer(&[json, ("content-encoding", "gzip")], &[&encoder.finish().unwrap()])
    };
    assert!(matches!(gzip(b"{\"a\":1}"), Side::Object(object) if object["a"] == 1));
    assert!(is(&gzip(&vec![b' '; 64 * MAX_OBJECT]), "too large"));
    assert!(is(&answer(&[json, ("content-encoding", "gzip")], &[b"{}"]), "compression"));
}

/// A value that is in nothing else of the object: no name of a field has a plus.
fn hidden() -> impl Strategy<Value = String> {
    "hush\\+[a-zA-Z0-9+/=\"\\\\é \n]{0,40}"
}

fn nested(leaf: impl Strategy<Value = Value> + 'static) -> impl Strategy<Value = Value> {
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
            proptest::collection::btree_map("name|value|key|[a-z]{1,4}", inner, 0..4)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

/// A Secret as the API server knows it, and Secrets as it does not.
fn secret() -> impl Strategy<Value = Value> {
    let table = || proptest::collection::btree_map("[a-zA-Z0-9._-]{1,12}", hidden(), 0..5);
    let anything = || nested(hidden().prop_map(Value::from));
    let shape = ("[a-z]{1,8}", "v1|Opaque", proptest::option::of(any::<bool>()));
    (table(), table(), table(), anything(), anything(), anything(), shape).prop_map(
        |(data, strings, annotations, odd_data, odd, odd_metadata, (name, kind, immutable))| {
            let applied = json!({"data": data}).to_string();
            let mut object = json!({"kind": "Secret", "type": kind, "immutable": immutable,
                "metadata": {"name": name, "annotations": annotations, "extra": odd_metadata},
                "data": data, "stringData": strings, "more": odd});
            object["metadata"]["annotations"][LAST] = applied.into();
            if !odd_data.is_string() && odd_data != json!([]) {
                object["data"] = odd_data;
            }
            object
        },
    )
}

const LAST: &str = "kubectl.kubernetes.io/last-applied-configuration";

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn nothing_in_a_secret_is_ever_shown(before in proptest::option::of(secret()), after in proptest::option::of(secret()), by_path: bool) {
        let mut sides = [before, after];
        if by_path {
            // Without its kind the path alone says what it is.
            sides.iter_mut().flatten().for_each(|side| { side.as_object_mut().unwrap().remove("kind"); });
        }
        let [before, after] = sides.map(|side| side.map_or(Side::Absent, Side::Object));
        let text = serde_json::to_string(&compare(by_path, before, after)).unwrap();
        prop_assert!(!text.contains("hush+"), "{text}");
    }

    #[test]
    fn a_diff_is_read_and_written_as_the_same_bytes(
        before in nested(prop_oneof![any::<f64>().prop_map(Value::from), any::<i64>().prop_map(Value::from), Just(Value::Null), "\\PC{0,9}".prop_map(Value::from)]),
        after in nested(prop_oneof![any::<f64>().prop_map(Value::from), any::<u64>().prop_map(Value::from), any::<bool>().prop_map(Value::from), "\\PC{0,9}".prop_map(Value::from)]),
    ) {
        let written = serde_json::to_vec(&diff(json!({"spec": before}), json!({"spec": after}))).unwrap();
        let read: Diff = serde_json::from_slice(&written).unwrap();
        prop_assert_eq!(serde_json::to_vec(&read).unwrap(), written);
    }
}
