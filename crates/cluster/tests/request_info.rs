//! The classifier against the API server's own answers, against what ordinary clients send, and against anything.

#![allow(clippy::unwrap_used, reason = "tests")]

use flotilla_cluster::request_info::{MAX_TARGET, Refused, classify, classify_line};
use proptest::prelude::*;
use serde_json::Value;

const VECTORS: &str = include_str!("vectors/requestinfo.jsonl");
const EXTRA: &str = include_str!("vectors/requestinfo-extra.jsonl");

/// Number of lines that are refused, and those that are read differently.
fn compare(vectors: &str) -> (usize, Vec<String>) {
    let mut refused = 0;
    let mut different = Vec::new();
    for line in vectors.lines() {
        let theirs: Value = serde_json::from_str(line).unwrap();
        let request = format!("{} {}", theirs["method"].as_str().unwrap(), theirs["target"].as_str().unwrap());
        let ours: Value = serde_json::from_str(&classify_line(&request)).unwrap();
        let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        if ours.get("refused").is_some() {
            refused += 1;
        } else if ours != theirs || keys(&ours) != keys(&theirs) {
            different.push(format!("theirs {line}\nours   {ours}"));
        }
    }
    (refused, different)
}

#[test]
fn agrees_with_the_api_server() {
    let (refused, different) = compare(VECTORS);
    assert!(different.is_empty(), "{} differ:\n{}", different.len(), different.join("\n"));
    // 378 lines with other methods, 415 with the deprecated prefixes, 69 with dots, empty segments and encoded slashes.
    assert_eq!(refused, 862);
}

#[test]
fn agrees_with_the_api_server_on_odd_queries() {
    let (refused, different) = compare(EXTRA);
    assert!(different.is_empty(), "{} differ:\n{}", different.len(), different.join("\n"));
    assert_eq!(refused, 0, "this file holds only lines that are read");
}

#[test]
fn an_error_of_the_api_server_is_refused() {
    let errors = VECTORS
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .filter(|theirs| theirs.get("error").is_some());
    let mut seen = 0;
    for theirs in errors {
        seen += 1;
        assert!(classify(theirs["method"].as_str().unwrap(), theirs["target"].as_str().unwrap()).is_err(), "{theirs}");
    }
    assert!(seen > 0);
}

#[test]
fn refused_before_anything_is_read() {
    use Refused::{Character, DotSegment, EmptySegment, EncodedSlash, Escape, Method, NotAPath, Utf8, VerbPrefix};
    let tail = "/api/v1/namespaces/ns/services/web/proxy";
    let cases = [
        ("GET", "/api/v1/../v1/pods", DotSegment),
        ("GET", "/api/v1/./pods", DotSegment),
        ("GET", "/api/v1/%2e%2e/pods", DotSegment),
        ("GET", "/api/v1/%2E./pods", DotSegment),
        ("GET", "/api/v1/.%2e", DotSegment),
        ("GET", "/..", DotSegment),
        ("GET", &format!("{tail}/a/../b"), DotSegment),
        ("GET", &format!("{tail}/a/%2e%2e"), DotSegment),
        ("GET", &format!("{tail}/a%2f..%2fb"), DotSegment),
        ("GET", &format!("{tail}/a%5c..%5cb"), DotSegment),
        ("GET", "/api/v1/namespaces/ns%2fpods/x", EncodedSlash),
        ("GET", "/api/v1/namespaces/ns/pods/x%5cy", EncodedSlash),
        ("GET", "/api/v1/namespaces/ns/pods/x\\y", EncodedSlash),
        ("GET", "/healthz%2fx", EncodedSlash),
        ("GET", "/api/v1/namespaces/ns/pods/x%00", Character),
        ("GET", "/api/v1/namespaces/ns/pods/x%0ay", Character),
        ("GET", "/api/v1/pods\t", Character),
        ("GET", "/api/v1/pods x", Character),
        ("GET", "/api/v1/pods#x", Character),
        ("GET", "/api/v1/pods?x=\u{7f}", Character),
        ("GET", "/api/v1/namespaces//pods", EmptySegment),
        ("GET", "//api/v1/pods", EmptySegment),
        ("GET", "/api/v1/pods//", EmptySegment),
        ("GET", "/metrics//x", EmptySegment),
        ("GET", "/api/v1/pods/%", Escape),
        ("GET", "/api/v1/pods/%zz", Escape),
        ("GET", &format!("{tail}/%4"), Escape),
        ("GET", "/api/v1/namespaces/n%ff/pods", Utf8),
        ("GET", "/api/v1/pods?fieldSelector=metadata.name%3D%ff", Utf8),
        ("GET", "/api/v1/watch/pods", VerbPrefix),
        ("GET", "/api/v1/w%61tch/pods", VerbPrefix),
        ("GET", "/api/v1/watch", VerbPrefix),
        ("DELETE", "/apis/apps/v1/watch/namespaces/ns/deployments", VerbPrefix),
        ("GET", "/api/v1/proxy/namespaces/ns/pods/x", VerbPrefix),
        ("OPTIONS", "/api/v1/pods", Method),
        ("get", "/api/v1/pods", Method),
        ("CONNECT", "/api/v1/pods", Method),
        ("", "/api/v1/pods", Method),
        ("GET", "https://cluster/api/v1/pods", NotAPath),
        ("GET", "api/v1/pods", NotAPath),
        ("GET", "*", NotAPath),
        ("GET", "", NotAPath),
    ];
    for (method, target, why) in cases {
        assert_eq!(classify(method, target).unwrap_err(), why, "{method} {target}");
    }
}

#[test]
fn long_targets_are_refused_at_the_byte() {
    let target = |length: usize| format!("/api/v1/pods?x={}", "a".repeat(length - "/api/v1/pods?x=".len()));
    assert!(classify("GET", &target(MAX_TARGET)).is_ok());
    assert_eq!(classify("GET", &target(MAX_TARGET + 1)).unwrap_err(), Refused::TooLong);
}

/// As `verb group resource subresource namespace name`, `-` for none.
fn reading(line: &str) -> String {
    let (method, target) = line.split_once(' ').unwrap();
    let info = classify(method, target).unwrap_or_else(|refused| panic!("{line}: {refused}"));
    [info.verb, &info.api_group, &info.resource, &info.subresource, &info.namespace, &info.name]
        .map(|word| if word.is_empty() { "-" } else { word })
        .join(" ")
}

#[test]
fn what_ordinary_clients_send_is_read() {
    let cases = [
        // Discovery, by kubectl, Helm, k9s and Lens.
        ("GET /", "get - - - - -"),
        ("GET /api?timeout=32s", "get - - - - -"),
        ("GET /apis/", "get - - - - -"),
        ("GET /apis/apps/v1?timeout=32s", "get - - - - -"),
        ("GET /openapi/v3/apis/apps/v1?hash=02CEE1FC1C6BD6B1F2C2B67A7B7C1B5A&timeout=32s", "get - - - - -"),
        ("HEAD /version", "head - - - - -"),
        ("GET /.well-known/openid-configuration", "get - - - - -"),
        ("GET /readyz?verbose=&exclude=etcd", "get - - - - -"),
        // Lists and watches.
        ("GET /api/v1/namespaces/shop/pods?limit=500", "list - pods - shop -"),
        ("GET /api/v1/pods/", "list - pods - - -"),
        (
            "GET /apis/apps/v1/deployments?allowWatchBookmarks=true&resourceVersion=123&timeoutSeconds=461&watch=true",
            "watch apps deployments - - -",
        ),
        (
            "GET /api/v1/namespaces/shop/pods?fieldSelector=metadata.name%3Dweb-0&watch=true",
            "watch - pods - shop web-0",
        ),
        ("GET /api/v1/pods?fieldSelector=spec.nodeName%3Dn1%2Cstatus.phase%21%3DFailed&limit=500", "list - pods - - -"),
        (
            "GET /api/v1/namespaces/shop/secrets?labelSelector=name%3Dweb%2Cowner%3Dhelm%2Cstatus+in+%28deployed%2Cfailed%29",
            "list - secrets - shop -",
        ),
        ("GET /api/v1/pods?continue=eyJ2IjoibWV0YS5rOHMuaW8vdjEiLCJydiI6MX0%3D&limit=500", "list - pods - - -"),
        ("GET /apis/metrics.k8s.io/v1beta1/nodes", "list metrics.k8s.io nodes - - -"),
        // Objects.
        (
            "PATCH /apis/apps/v1/namespaces/shop/deployments/web?fieldManager=kubectl-client-side-apply&fieldValidation=Strict&force=true",
            "patch apps deployments - shop web",
        ),
        ("DELETE /api/v1/namespaces/shop/pods?labelSelector=app%3Dweb", "deletecollection - pods - shop -"),
        ("PUT /api/v1/namespaces/shop/finalize", "update - namespaces finalize shop shop"),
        (
            "GET /apis/rbac.authorization.k8s.io/v1/clusterroles/system:node-proxier",
            "get rbac.authorization.k8s.io clusterroles - - system:node-proxier",
        ),
        (
            "GET /apis/rbac.authorization.k8s.io/v1/clusterroles/system%3Anode-proxier",
            "get rbac.authorization.k8s.io clusterroles - - system:node-proxier",
        ),
        // Streams.
        (
            "POST /api/v1/namespaces/shop/pods/web-0/exec?command=sh&command=-c&command=cat+%2Fetc%2F..%2Fhosts+%26%26+ls+-la+%22a+b%22&container=app&stdin=true&stdout=true&tty=true",
            "create - pods exec shop web-0",
        ),
        (
            "GET /api/v1/namespaces/shop/pods/web-0/log?container=app&follow=true&sinceTime=2026-01-01T00%3A00%3A00Z&tailLines=10",
            "get - pods log shop web-0",
        ),
        ("GET /api/v1/namespaces/shop/pods/web-0/portforward", "get - pods portforward shop web-0"),
        // Proxies: the tail is another server's path.
        (
            "GET /api/v1/namespaces/ns/services/http:web:80/proxy/a//b%2Fc?x=%2e%2e",
            "get - services proxy ns http:web:80",
        ),
        ("GET /api/v1/namespaces/ns/services/https:web:https/proxy/", "get - services proxy ns https:web:https"),
        (
            "POST /api/v1/namespaces/monitoring/services/prometheus:9090/proxy/api/v1/query_range",
            "create - services proxy monitoring prometheus:9090",
        ),
        ("GET /api/v1/namespaces/ns/pods/http:web:80/proxy/%C3%A9%FF%00/x\\y", "get - pods proxy ns http:web:80"),
        ("GET /api/v1/nodes/n1/proxy/metrics/cadvisor", "get - nodes proxy - n1"),
        (
            "GET /apis/subresources.kubevirt.io/v1/namespaces/a/virtualmachineinstances/vm/vnc",
            "get subresources.kubevirt.io virtualmachineinstances vnc a vm",
        ),
    ];
    for (line, wanted) in cases {
        assert_eq!(reading(line), wanted, "{line}");
    }
}

#[test]
fn parts_are_those_behind_the_namespace() {
    let info = classify("GET", "/api/v1/namespaces/ns/services/web/proxy/a//b%2Fc/").unwrap();
    assert_eq!(info.parts().collect::<Vec<_>>(), ["services", "web", "proxy", "a", "", "b", "c"]);
    assert_eq!(classify("GET", "/version").unwrap().parts().count(), 0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn never_panics(line in "\\PC*") {
        let _ = classify_line(&line);
    }

    #[test]
    fn never_panics_on_what_looks_like_a_request(
        method in "GET|HEAD|DELETE|POST",
        segments in prop::collection::vec("(api|apis|v1|namespaces|pods|proxy|status|watch|%2[eEfF]|%[0-9a-f]{2}|\\.{1,3}|[a-z\\\\%é]{0,4})", 0..9),
        query in "(watch=[a-z0-9]{0,5}&)?(fieldSelector=metadata.name[=!]{1,2}[a-z%,=\\\\]{0,6})?(&labelSelector=[a-z!=(), %]{0,12})?",
    ) {
        let target = format!("/{}?{query}", segments.join("/"));
        if let Ok(info) = classify(&method, &target) {
            // What is read can be written into a URL, a log line and a policy without a second meaning.
            let parsed = [&info.api_group, &info.api_version, &info.namespace, &info.resource, &info.subresource];
            for word in parsed {
                prop_assert!(!matches!(word.as_str(), "." | "..") && !word.contains(['/', '\\', '\0']), "{target}: {word}");
            }
            if info.is_resource_request {
                prop_assert!(!info.resource.is_empty() && !info.verb.is_empty());
                prop_assert_eq!(info.parts().next().unwrap_or_default(), info.resource.as_str());
            }
            prop_assert!(!info.path.split('/').any(|segment| matches!(segment, "." | "..")));
        }
    }
}
