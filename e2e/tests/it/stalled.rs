//! Those who stop: an agent that does not read, clients that do not read, and everyone else, who must not notice.

use std::io::Write;
use std::time::{Duration, Instant};

use flotilla_testbed::{ControlPlane, wait_until};
use nix::sys::signal::Signal;

use crate::bed::{CLUSTER, DIRECT, PATIENCE, Stand, bed};
use crate::http::{Api, read_answer};

/// The hub's deadline in these tests.
const DEADLINE: Duration = Duration::from_secs(3);

/// Lists that are asked for and not read, and how large each is, in megabytes: more than two kernels' buffers hold.
const UNREAD: usize = 30;
const LARGE: usize = 20;
const OPEN_STREAMS: &str = "flotilla_cluster_open_streams ";

fn target(cluster: &str, path: &str) -> String {
    format!("/k8s/clusters/{cluster}{path}")
}

#[test]
fn an_agent_that_stops_reading_costs_only_its_own_cluster() {
    let bed = bed();
    let direct =
        format!("clusters: [{{name: {DIRECT}, backend: kubeconfig, kubeconfig: {:?}}}]\n", bed.plane.kubeconfig_path());
    let options =
        flotilla_harness::HubOptions { extra: format!("{direct}gateway: {{timeout: 3s}}\n"), ..Default::default() };
    let mut stand = Stand::hub_only(&bed.binaries, &options);
    stand.agent = Some(stand.enrol(&bed.binaries, CLUSTER, &bed.plane.kubeconfig_path(), ""));
    stand.hub.wait_connected(CLUSTER, PATIENCE).unwrap();
    let api = Api::admin(&stand.hub);
    let namespaces = "/api/v1/namespaces";
    assert_eq!(api.get(&target(CLUSTER, namespaces)).status, 200);

    stand.agent().process().unwrap().signal(Signal::SIGSTOP).unwrap();
    std::thread::scope(|scope| {
        // Many at once: none of them may hold up another cluster.
        let stuck: Vec<_> = (0..20)
            .map(|_| {
                scope.spawn(|| {
                    let asked = Instant::now();
                    (api.get(&target(CLUSTER, namespaces)).status, asked.elapsed())
                })
            })
            .collect();
        std::thread::sleep(Duration::from_millis(300));
        for _ in 0..10 {
            let asked = Instant::now();
            assert_eq!(api.get(&target(DIRECT, namespaces)).status, 200);
            assert!(asked.elapsed() < Duration::from_secs(2), "{:?}", asked.elapsed());
        }
        for thread in stuck {
            let (status, after) = thread.join().unwrap();
            assert!(
                (status == 504 || status == 503) && after < DEADLINE + Duration::from_secs(3),
                "{status} after {after:?}"
            );
        }
    });
    let message = api.get(&target(CLUSTER, namespaces));
    assert!(matches!(message.status, 503 | 504), "{}", message.text());

    stand.agent().process().unwrap().signal(Signal::SIGCONT).unwrap();
    wait_until("it serves again", PATIENCE, || Ok(api.get(&target(CLUSTER, namespaces)).status == 200)).unwrap();
}

#[test]
fn clients_that_stop_reading_slow_nobody() {
    let bed = bed();
    let namespace = bed.new_namespace("unread");
    make_large_objects(&bed.plane, &namespace);
    let stand = Stand::of_its_own(bed, "");
    let api = Api::admin(&stand.hub);
    let list = target(CLUSTER, &format!("/api/v1/namespaces/{namespace}/configmaps"));
    let size = api.get(&list).body.len();
    assert!(size > LARGE * 1_000_000);

    let before = resident(stand.hub.process().unwrap().pid());
    let unread: Vec<_> = (0..UNREAD).map(|_| api.begin("GET", &list, &[], "").unwrap()).collect();
    // Not merely sent: each has its answer begun at the hub, and none is through, as kernels would let a small one be.
    wait_until("all are under way", PATIENCE, || Ok(open_streams(stand.hub.metrics_port) == UNREAD)).unwrap();
    let mut slowest = Duration::ZERO;
    for _ in 0..20 {
        let asked = Instant::now();
        assert_eq!(api.get(&target(CLUSTER, "/api/v1/namespaces/default")).status, 200);
        slowest = slowest.max(asked.elapsed());
    }
    let grown = resident(stand.hub.process().unwrap().pid()).saturating_sub(before);
    assert_eq!(open_streams(stand.hub.metrics_port), UNREAD, "and they still are");
    println!(
        "beside {UNREAD} unread lists of {} MB: slowest small read {slowest:?}, hub grown by {} MB",
        size >> 20,
        grown >> 20
    );
    assert!(slowest < Duration::from_secs(2), "{slowest:?}");
    // A whole copy of each would be ten times as much.
    assert!(grown < 60 << 20, "the hub grew by {grown} bytes");
    drop(unread);
    assert_eq!(api.get(&list).body.len(), size);
}

/// What the hub's metrics say of open streams.
fn open_streams(port: u16) -> usize {
    let mut stream = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
    write!(stream, "GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let text = read_answer(&mut stream).unwrap().text();
    let line = text.lines().find(|line| line.starts_with(OPEN_STREAMS)).unwrap_or_else(|| panic!("no gauge: {text}"));
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

/// Objects of a megabyte each.
fn make_large_objects(plane: &ControlPlane, namespace: &str) {
    for number in 0..LARGE {
        let value = "x".repeat(1_000_000);
        let object = format!(
            "{{apiVersion: v1, kind: ConfigMap, metadata: {{name: large-{number}, namespace: {namespace}}}, data: {{x: {value}}}}}"
        );
        plane.apply(&object).unwrap();
    }
}

/// Resident memory of a process in bytes.
fn resident(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}
