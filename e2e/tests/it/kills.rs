//! A hub that is killed with SIGKILL again and again while people change things: nothing reaches a cluster that was
//! not recorded before, and the agent is back within seconds each time.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::bed::{CLUSTER, Stand, bed};
use crate::http::Api;

/// How soon the agent must be back once the hub listens again.
const BACK: Duration = Duration::from_secs(5);
/// Mutations a second, all writers together.
const RATE: u32 = 20;
const WRITERS: u32 = 5;

/// `E2E_KILL_ROUNDS`, ten unless told.
#[expect(clippy::disallowed_methods, reason = "a knob of this test, not a setting of any program of ours")]
fn rounds() -> usize {
    std::env::var("E2E_KILL_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(10)
}

#[test]
fn every_object_in_the_cluster_has_its_row_however_often_the_hub_is_killed() {
    let bed = bed();
    let mut stand = Stand::of_its_own(bed, "");
    let namespace = bed.new_namespace("kills");
    let api = Api::admin(&stand.hub);
    let writers = Writers::default();
    let mut back = Vec::new();
    std::thread::scope(|scope| {
        for writer in 0..WRITERS {
            let (api, namespace, writers) = (&api, &namespace, &writers);
            scope.spawn(move || writers.write(api, namespace, writer));
        }
        for _ in 0..rounds() {
            std::thread::sleep(Duration::from_millis(fastrand::u64(300..1500)));
            stand.hub.kill().unwrap();
            stand.hub.restart().unwrap();
            back.push(until_the_agent_serves(&api));
        }
        std::thread::sleep(Duration::from_secs(1));
        writers.stop.store(true, Ordering::Relaxed);
    });

    let objects = objects(bed, &namespace);
    let rows = attempted(&api, &namespace);
    let missing: Vec<_> = objects.difference(&rows).collect();
    let sum: Duration = back.iter().sum();
    println!(
        "{} kills: {} requests sent, {} answered 201, {} objects in the cluster, {} attempted rows, {} objects without a row; \
         agent back after {:.2} s on average, {:.2} s at most",
        back.len(),
        writers.sent.load(Ordering::Relaxed),
        writers.made.load(Ordering::Relaxed),
        objects.len(),
        rows.len(),
        missing.len(),
        sum.as_secs_f64() / back.len().max(1) as f64,
        back.iter().max().unwrap().as_secs_f64(),
    );
    assert!(missing.is_empty(), "in the cluster but not in the log: {missing:?}");
    assert!(objects.len() >= writers.made.load(Ordering::Relaxed), "what was answered is there");
    assert!(objects.len() > back.len(), "the writers hardly wrote: {}", objects.len());
    assert!(back.iter().all(|after| *after < BACK), "{back:?}");
    every_row_has_one_end(&api, &namespace);
}

/// Every attempted row got its outcome, by the run that wrote it or by the next one's start.
fn every_row_has_one_end(api: &Api, namespace: &str) {
    let mut ends = std::collections::HashMap::<String, usize>::new();
    for row in rows(api, namespace) {
        let count = ends.entry(row["request_id"].as_str().unwrap().to_owned()).or_default();
        *count += usize::from(row["outcome"] != "attempted");
    }
    let wrong: Vec<_> = ends.iter().filter(|(_, count)| **count != 1).collect();
    assert!(wrong.is_empty(), "{wrong:?}");
}

#[derive(Default)]
struct Writers {
    stop: AtomicBool,
    sent: AtomicUsize,
    made: AtomicUsize,
}

impl Writers {
    /// Creates objects at its share of the rate, whatever comes of each.
    fn write(&self, api: &Api, namespace: &str, writer: u32) {
        let target = format!("/k8s/clusters/{CLUSTER}/api/v1/namespaces/{namespace}/configmaps");
        let pause = Duration::from_secs(1) * WRITERS / RATE;
        let mut next = Instant::now();
        for number in 0.. {
            if self.stop.load(Ordering::Relaxed) {
                return;
            }
            // A creation names its object in the body only, so the request is called like the object.
            let name = format!("w{writer}-{number}");
            let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}});
            let headers = [("Content-Type", "application/json"), ("X-Request-Id", name.as_str())];
            self.sent.fetch_add(1, Ordering::Relaxed);
            let answer = api.try_send("POST", &target, &headers, &object.to_string());
            if answer.is_ok_and(|answer| answer.status == 201) {
                self.made.fetch_add(1, Ordering::Relaxed);
            }
            next = (next + pause).max(Instant::now() - pause);
            std::thread::sleep(next.saturating_duration_since(Instant::now()));
        }
    }
}

/// How long it takes from now on until a read goes through hub and agent.
fn until_the_agent_serves(api: &Api) -> Duration {
    let returned = Instant::now();
    let target = format!("/k8s/clusters/{CLUSTER}/api/v1/namespaces/default");
    while !api.try_send("GET", &target, &[], "").is_ok_and(|answer| answer.status == 200) {
        assert!(returned.elapsed() < Duration::from_secs(60), "the agent does not come back");
        std::thread::sleep(Duration::from_millis(20));
    }
    returned.elapsed()
}

/// Names of the writers' objects in the cluster, from the API server itself.
fn objects(bed: &crate::bed::Bed, namespace: &str) -> HashSet<String> {
    let names = bed
        .plane
        .kubectl_ok(&["get", "configmaps", "-n", namespace, "-o", "jsonpath={.items[*].metadata.name}"])
        .unwrap();
    names.split(' ').filter(|name| name.starts_with('w')).map(str::to_owned).collect()
}

/// Names of the requests that have an attempted row.
fn attempted(api: &Api, namespace: &str) -> HashSet<String> {
    let rows = rows(api, namespace);
    rows.iter()
        .filter(|row| row["outcome"] == "attempted")
        .map(|row| row["request_id"].as_str().unwrap().to_owned())
        .collect()
}

/// All rows of a namespace.
fn rows(api: &Api, namespace: &str) -> Vec<Value> {
    let mut rows = Vec::new();
    let mut before = String::new();
    loop {
        let page = api.get(&format!("/api/audit?namespace={namespace}&limit=1000{before}")).json();
        rows.extend(page["rows"].as_array().unwrap().iter().cloned());
        match page["next"].as_i64() {
            Some(next) => before = format!("&before={next}"),
            None => return rows,
        }
    }
}
