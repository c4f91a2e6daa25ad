//! The audit log: what leaves a trace, which, and what is never in it.

use std::time::Duration;

use flotilla_testbed::wait_for;
use serde_json::{Value, json};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions, Row};

use crate::bed::{Bed, CLUSTER, PATIENCE, bed, bed_with_node};
use crate::http::Api;

/// Method, target, headers, body, the verb that the log gives it, the status of its answer.
type Exchange<'a> = (&'a str, &'a str, &'a [(&'a str, &'a str)], &'a str, &'a str, u16);

#[test]
fn every_act_has_an_attempted_row_and_an_outcome_and_reads_have_none() {
    let Some(bed) = bed_with_node("audit of every act") else { return };
    let web = bed.web("acts");
    let api = Api::admin(&bed.stand.hub);
    let base = format!("/k8s/clusters/{CLUSTER}/api/v1/namespaces/{}", web.namespace());
    let config = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}}).to_string();
    let json = [("Content-Type", "application/json")];
    let merge = [("Content-Type", "application/merge-patch+json")];
    let apply = [("Content-Type", "application/apply-patch+yaml")];
    let acts: [Exchange<'_>; 10] = [
        ("POST", "/configmaps", &json, &config, "create", 201),
        ("PUT", "/configmaps/c", &json, &config, "update", 200),
        ("PATCH", "/configmaps/c", &merge, "{}", "patch", 200),
        ("PATCH", "/configmaps/c?fieldManager=e2e", &apply, &config, "apply", 200),
        ("DELETE", "/configmaps/c", &[], "", "delete", 200),
        ("DELETE", "/configmaps?labelSelector=a%3Db", &[], "", "delete_collection", 200),
        ("GET", "/secrets", &[], "", "secret_read", 200),
        ("GET", "/pods/web/log", &[], "", "log_open", 200),
        ("GET", "/pods/web:8080/proxy/", &[], "", "proxy", 200),
        ("DELETE", "/configmaps/absent", &[], "", "delete", 404),
    ];
    for (number, (method, target, headers, body, verb, status)) in acts.into_iter().enumerate() {
        let id = format!("e2e-{}-{number}", web.namespace());
        let headers: Vec<_> = headers.iter().copied().chain([("X-Request-Id", id.as_str())]).collect();
        let answer = api.send(method, &format!("{base}{target}"), &headers, body);
        assert_eq!(
            (answer.status, answer.header("x-request-id")),
            (status, Some(id.as_str())),
            "{method} {target}: {}",
            answer.text()
        );
        let rows = rows_of(&api, &id, 2);
        let outcome = if status < 400 { "succeeded" } else { "failed" };
        assert_eq!((&rows[0]["outcome"], &rows[1]["outcome"]), (&json!("attempted"), &json!(outcome)), "{rows:?}");
        for row in &rows {
            let named = (&row["verb"], &row["actor"]["email"], &row["target"]["cluster"], &row["target"]["namespace"]);
            assert_eq!(
                named,
                (&json!(verb), &json!(bed.stand.hub.email), &json!(CLUSTER), &json!(web.namespace())),
                "{row}"
            );
        }
        assert!(rows[0]["reason"].as_str().unwrap().starts_with("admin#"), "the rule that allowed it: {}", rows[0]);
        assert_eq!(rows[1]["status"], status);
    }
    reads_leave_nothing(&api, &base);
}

fn reads_leave_nothing(api: &Api, base: &str) {
    for (number, target) in
        ["/pods", "/pods/web", "/configmaps?limit=1", "/events", "/pods?watch=1&timeoutSeconds=1"].iter().enumerate()
    {
        let id = format!("e2e-read-{number}-{}", fastrand::u32(..));
        assert_eq!(api.send("GET", &format!("{base}{target}"), &[("X-Request-Id", &id)], "").status, 200);
        std::thread::sleep(Duration::from_millis(300));
        assert_eq!(query(api, &format!("request_id={id}")), Vec::<Value>::new(), "{target}");
    }
}

#[test]
fn what_is_denied_has_one_row_with_the_reason() {
    let bed = bed();
    bed.stand.hub.add_user("dan@example.com", &["viewer"]).unwrap();
    let api = Api::of(&bed.stand.hub, "dan");
    let id = format!("e2e-denied-{}", fastrand::u32(..));
    let target = format!("/k8s/clusters/{CLUSTER}/api/v1/namespaces/default/pods/web/exec?command=id");
    assert_eq!(api.send("POST", &target, &[("X-Request-Id", &id)], "").status, 403);
    let rows = rows_of(&Api::admin(&bed.stand.hub), &id, 1);
    assert_eq!(
        (&rows[0]["outcome"], &rows[0]["status"], &rows[0]["verb"]),
        (&json!("denied"), &json!(403), &json!("exec_open"))
    );
    assert!(rows[0]["reason"].as_str().unwrap().contains("exec"), "{}", rows[0]);
    // He sees his own rows and nobody else's.
    let own = query(&api, "limit=1000");
    assert!(!own.is_empty() && own.iter().all(|row| row["actor"]["email"] == "dan@example.com"), "{own:?}");
}

#[test]
fn the_command_line_finds_rows_by_every_filter() {
    let bed = bed();
    let kubectl = bed.namespace("filter");
    kubectl.ok("create configmap found");
    kubectl.ok("delete configmap found");
    let audit = |more: &[&str]| -> Vec<Value> {
        let words = [&["audit", "--namespace", kubectl.namespace(), "--all", "-o", "json"], more].concat();
        let page: Value = serde_json::from_str(&bed.stand.hub.flotilla_ok("admin", &words).unwrap()).unwrap();
        page["rows"].as_array().unwrap().clone()
    };
    let both = wait_for("all four rows", PATIENCE, || Ok(Some(audit(&[])).filter(|rows| rows.len() == 4))).unwrap();
    let id = both[0]["request_id"].as_str().unwrap();
    for (filter, count) in [
        (&["--verb", "delete"][..], 2),
        (&["--outcome", "succeeded"], 2),
        (&["--verb", "create", "--outcome", "attempted"], 1),
        (&["--actor", &bed.stand.hub.email], 4),
        (&["--actor", "nobody@example.com"], 0),
        (&["--cluster", CLUSTER], 4),
        (&["--cluster", "another"], 0),
        (&["--name", "found", "--verb", "delete"], 2),
        (&["--request-id", id], 2),
        (&["--since", "1h"], 4),
        (&["--until", "1h"], 0),
    ] {
        assert_eq!(audit(filter).len(), count, "{filter:?}");
    }
    let table = bed.stand.hub.flotilla_ok("admin", &["audit", "--namespace", kubectl.namespace()]).unwrap();
    assert!(table.contains("delete configmaps found") && table.contains("succeeded 200"), "{table}");
}

/// A password on a command line, in an environment variable or on standard input must not come to rest anywhere.
#[test]
fn what_is_said_inside_a_container_is_nowhere() {
    let Some(bed) = bed_with_node("what is said inside a container is nowhere") else { return };
    let kubectl = bed.web("secret");
    let secret = format!("hunter2{}", fastrand::u64(..));
    assert_eq!(kubectl.ok(["exec", "web", "--", "sh", "-c", &format!("echo {secret}")]).trim(), secret);
    assert_eq!(kubectl.feed("exec -i web -- cat", &secret).ok(), secret);
    kubectl.ok(["create", "secret", "generic", "s", &format!("--from-literal=password={secret}")]);
    kubectl.ok("get secret s -o yaml");
    let api = Api::admin(&bed.stand.hub);
    let rows = wait_for("both sessions' rows", PATIENCE, || {
        let rows = query(&api, &format!("namespace={}&verb=exec_open", kubectl.namespace()));
        Ok(Some(rows).filter(|rows| rows.len() == 4))
    })
    .unwrap();
    assert!(
        rows.iter().any(|row| row["command"] == format!("exec pods web -n {} -c web: sh", kubectl.namespace())),
        "{rows:?}"
    );
    let written = written_by_the_hub(bed);
    assert!(written.contains("exec_open"), "the log holds the audit rows");
    assert!(!written.contains(&secret));
}

/// The hub's log and every byte of its data directory.
pub(crate) fn written_by_the_hub(bed: &Bed) -> String {
    let mut text = bed.stand.hub.log();
    for entry in std::fs::read_dir(bed.stand.hub.dir().join("data")).unwrap() {
        text.push_str(&String::from_utf8_lossy(&std::fs::read(entry.unwrap().path()).unwrap_or_default()));
    }
    text
}

#[test]
fn the_view_of_the_source_documents_can_be_read() {
    let bed = bed();
    let kubectl = bed.namespace("view");
    kubectl.ok("create configmap seen");
    let command = format!("create configmaps -n {}", kubectl.namespace());
    let path = bed.stand.hub.dir().join("data/hub.db");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let row = runtime.block_on(async {
        let mut database: SqliteConnection =
            SqliteConnectOptions::new().filename(path).read_only(true).connect().await.unwrap();
        for _ in 0..100 {
            let found =
                sqlx::query("SELECT status, duration_ms FROM audit_logs WHERE command = ? AND status = 'succeeded'")
                    .bind(&command)
                    .fetch_optional(&mut database)
                    .await
                    .unwrap();
            if let Some(row) = found {
                return Some((row.get::<String, _>(0), row.get::<i64, _>(1)));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        None
    });
    let (status, duration) = row.expect("a row in the view");
    assert!(status == "succeeded" && duration >= 0, "{status} {duration}");
}

/// The rows of one request, in the order in which they were written.
#[track_caller]
pub(crate) fn rows_of(api: &Api, request_id: &str, count: usize) -> Vec<Value> {
    let mut rows = wait_for("the rows", Duration::from_secs(10), || {
        let rows = query(api, &format!("request_id={request_id}"));
        Ok(Some(rows).filter(|rows| rows.len() == count))
    })
    .unwrap_or_else(|error| {
        panic!("{error:#}: {request_id} has {:?}", query(api, &format!("request_id={request_id}")))
    });
    rows.reverse();
    rows
}

fn query(api: &Api, query: &str) -> Vec<Value> {
    let answer = api.get(&format!("/api/audit?{query}"));
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()["rows"].as_array().unwrap().clone()
}
