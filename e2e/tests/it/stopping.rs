//! SIGTERM: what is under way finishes, nothing new is taken, readiness says so.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::time::{Duration, Instant};

use flotilla_harness::HubOptions;
use flotilla_testbed::wait_until;
use nix::sys::signal::Signal;

use crate::bed::{Bed, CLUSTER, PATIENCE, Stand, bed};
use crate::direct::slow_api_server;
use crate::http::{Api, read_answer};

#[test]
fn a_request_under_way_is_finished() {
    let bed = bed();
    // An API server that takes a second; the hub's drain in tests is two.
    let server = slow_api_server(Duration::from_secs(1));
    let mut stand =
        Stand::hub_only(&bed.binaries, &HubOptions { extra: server.as_cluster("slow"), ..HubOptions::default() });
    let api = Api::admin(&stand.hub);
    let mut under_way = api.begin("GET", "/k8s/clusters/slow/api/v1/pods", &[], "").unwrap();
    wait_until("the cluster was asked", PATIENCE, || Ok(server.asked() > 0)).unwrap();

    let stopped = Instant::now();
    stand.hub.process().unwrap().signal(Signal::SIGTERM).unwrap();
    let answer = read_answer(&mut under_way)
        .unwrap_or_else(|error| panic!("{error} {:?} after SIGTERM: {}", stopped.elapsed(), stand.hub.log()));
    assert_eq!((answer.status, answer.text().as_str()), (200, "{\"late\":true}"));
    assert_eq!(stand.hub.stop().unwrap(), 0);
    println!("ended {:.2} s after SIGTERM", stopped.elapsed().as_secs_f64());
    assert!(stopped.elapsed() < Duration::from_secs(10));
    assert!(!stand.hub.log().contains("panicked"), "{}", stand.hub.log());
}

#[test]
fn readiness_says_that_the_hub_is_stopping() {
    let bed = bed();
    let server = slow_api_server(Duration::from_millis(1500));
    let mut stand =
        Stand::hub_only(&bed.binaries, &HubOptions { extra: server.as_cluster("slow"), ..HubOptions::default() });
    let api = Api::admin(&stand.hub);
    assert_eq!(api.get("/readyz").status, 200);
    let mut under_way = api.begin("GET", "/k8s/clusters/slow/api/v1/pods", &[], "").unwrap();
    wait_until("the cluster was asked", PATIENCE, || Ok(server.asked() > 0)).unwrap();
    stand.hub.process().unwrap().signal(Signal::SIGTERM).unwrap();
    // Until load balancers have noticed, the door stays open.
    wait_until("readiness is off", Duration::from_secs(1), || {
        Ok(api.try_send("GET", "/readyz", &[], "")?.status == 503)
    })
    .unwrap();
    assert_eq!((api.get("/healthz").status, api.get("/api/whoami").status), (200, 200));
    let answer = read_answer(&mut under_way).unwrap_or_else(|error| panic!("{error}: {}", stand.hub.log()));
    assert_eq!(answer.status, 200);
    assert_eq!(stand.hub.stop().unwrap(), 0);
}

/// The agent of a hub that stops in order comes to the next one, and what is recorded is complete.
#[test]
fn a_restart_in_order_leaves_no_open_row() {
    let bed = bed();
    let mut stand = Stand::of_its_own(bed, "");
    let namespace = bed.new_namespace("restart");
    let kubectl = stand.kubectl(bed, "admin", CLUSTER).in_namespace(&namespace);
    kubectl.ok("create configmap before");
    assert_eq!(stand.hub.stop().unwrap(), 0);
    stand.hub.restart().unwrap();
    stand.hub.wait_connected(CLUSTER, Duration::from_secs(5)).unwrap();
    kubectl.ok("create configmap after");
    let api = Api::admin(&stand.hub);
    let rows = api.get(&format!("/api/audit?namespace={namespace}&verb=create")).json();
    let count = |outcome: &str| rows["rows"].as_array().unwrap().iter().filter(|row| row["outcome"] == outcome).count();
    assert_eq!((count("attempted"), count("aborted")), (2, 0), "{rows}");
    assert!(!stand.hub.log().contains("had no outcome"), "nothing was left open");
}

#[test]
fn an_agent_stops_in_order_too() {
    let bed = bed();
    let mut stand = Stand::of_its_own(bed, "");
    let kubectl = stand.kubectl(bed, "admin", CLUSTER);
    kubectl.ok("get namespace default");
    let agent = stand.agent.take().unwrap();
    let health = health(&agent, "/readyz");
    assert!(health.contains("200"), "{health}");
    let stopped = Instant::now();
    agent.process().unwrap().signal(Signal::SIGTERM).unwrap();
    wait_until("the hub knows", Duration::from_secs(5), || {
        Ok(Api::admin(&stand.hub).get(&format!("/k8s/clusters/{CLUSTER}/api")).status == 503)
    })
    .unwrap();
    drop(agent);
    assert!(stopped.elapsed() < Duration::from_secs(10), "{:?}", stopped.elapsed());
}

/// What the agent's health listener says to `GET path`.
fn health(agent: &flotilla_harness::AgentProcess, path: &str) -> String {
    let mut stream = std::net::TcpStream::connect(("127.0.0.1", agent.health_port)).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

#[test]
fn a_taken_port_is_named() {
    let bed = bed();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let dir = bed.stand.scratch("taken");
    std::fs::write(
        dir.join("central.yaml"),
        format!("server: {{http_port: {port}}}\ndata_dir: {:?}\n", dir.join("data")),
    )
    .unwrap();
    let mut command = std::process::Command::new(Bed::programs().flotilla);
    command.args(["hub", "--config"]).arg(dir.join("central.yaml")).env("HOME", &dir);
    let said = crate::commands::run(command, b"").refused();
    assert!(said.contains("server.http_port") && said.contains(&port.to_string()), "{said}");
}
