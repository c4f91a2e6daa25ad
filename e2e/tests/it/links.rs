//! What happens when the link between agent and hub breaks, with the test as the link.

use std::io::Read;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use flotilla_harness::AgentProcess;
use flotilla_testbed::wait_until;
use serde_json::Value;

use crate::bed::{Bed, CLUSTER, PATIENCE, Stand, bed};
use crate::http::Api;

/// How soon an agent must be back.
pub(crate) const BACK: Duration = Duration::from_secs(5);

#[test]
fn watchers_survive_a_cut_link() {
    let bed = bed();
    let (stand, relay) = behind_a_relay(bed);
    let kubectl = stand.kubectl(bed, "admin", CLUSTER).in_namespace(&bed.new_namespace("cut"));
    kubectl.ok("create configmap settings --from-literal=done=no");
    // Both watch; the first lists and watches anew by itself, the second ends with its watch, as it does at any
    // API server that goes away.
    let mut wait = kubectl.start("wait configmap/settings --for=jsonpath={.data.done}=yes --timeout=60s");
    let mut watch = kubectl.start("get configmaps --watch --no-headers");
    watch.wait_for("settings", PATIENCE);
    std::thread::sleep(Duration::from_millis(500));

    let cut = Instant::now();
    assert!(relay.cut() >= 2, "the agent has two connections");
    wait_until("the agent is back", BACK, || Ok(kubectl.run("get configmap settings").code() == 0)).unwrap();
    println!("back {:.2} s after the cut", cut.elapsed().as_secs_f64());
    watch.wait(Duration::from_secs(10));
    let again = kubectl.start("get configmaps --watch --no-headers --output-watch-events");
    again.wait_for("ADDED", PATIENCE);

    assert!(wait.is_running(), "{}", wait.text());
    kubectl.ok(["patch", "configmap", "settings", "--type=merge", "-p", r#"{"data":{"done":"yes"}}"#]);
    assert_eq!(wait.wait(Duration::from_secs(20)), 0, "{}", wait.text());
    again.wait_for("MODIFIED", Duration::from_secs(20));
}

/// What client-go's reflectors do, and so every controller, `kubectl rollout status` and Helm.
#[test]
fn a_watch_that_goes_on_from_where_it_was_cut_misses_nothing() {
    let bed = bed();
    let (stand, relay) = behind_a_relay(bed);
    let namespace = bed.new_namespace("resume");
    let api = Api::admin(&stand.hub);
    let target = format!("/k8s/clusters/{CLUSTER}/api/v1/namespaces/{namespace}/configmaps");
    let mut version = api.get(&target).json()["metadata"]["resourceVersion"].as_str().unwrap().to_owned();
    let mut seen = Vec::new();
    for round in 0..4 {
        let watch = api.begin("GET", &format!("{target}?watch=1&resourceVersion={version}"), &[], "").unwrap();
        for number in 0..5 {
            let create = ["create", "configmap", &format!("m{round}-{number}"), "-n", &namespace];
            bed.plane.kubectl_ok(&create).unwrap();
            if number == 2 {
                relay.cut();
            }
        }
        for event in events(watch) {
            event["object"]["metadata"]["resourceVersion"].as_str().unwrap().clone_into(&mut version);
            seen.push(event["object"]["metadata"]["name"].as_str().unwrap().to_owned());
        }
        stand.hub.wait_connected(CLUSTER, BACK).unwrap();
    }
    let rest =
        api.begin("GET", &format!("{target}?watch=1&resourceVersion={version}&timeoutSeconds=3"), &[], "").unwrap();
    seen.extend(events(rest).iter().map(|event| event["object"]["metadata"]["name"].as_str().unwrap().to_owned()));
    seen.retain(|name| name != "kube-root-ca.crt");
    let made: Vec<String> = (0..4).flat_map(|round| (0..5).map(move |number| format!("m{round}-{number}"))).collect();
    assert_eq!(seen, made, "each once and in order");
}

/// Nothing tells the ends of a link that goes silent; their pings must find out.
#[test]
fn a_link_that_goes_silent_is_replaced() {
    let bed = bed();
    let (stand, relay) = behind_a_relay(bed);
    let kubectl = stand.kubectl(bed, "admin", CLUSTER);
    kubectl.ok("get namespace default");
    let silent = Instant::now();
    relay.freeze();
    wait_until("another link is up", Duration::from_secs(45), || {
        let done = kubectl.run("get namespace default --request-timeout=2s");
        Ok(done.code() == 0)
    })
    .unwrap();
    println!("a silent link was replaced after {:.1} s", silent.elapsed().as_secs_f64());
}

#[test]
fn while_the_agent_is_away_the_answer_says_so_and_when_to_ask_again() {
    let bed = bed();
    let mut stand = Stand::of_its_own(bed, "");
    let api = Api::admin(&stand.hub);
    stand.agent().kill().unwrap();
    let target = format!("/k8s/clusters/{CLUSTER}/api/v1/namespaces");
    wait_until("the hub knows", PATIENCE, || Ok(api.get(&target).status == 503)).unwrap();
    let answer = api.get(&target);
    assert_eq!(answer.header("retry-after"), Some("1"));
    let message = answer.kubernetes_status(503);
    assert!(message.contains("agent of this cluster is not connected"), "{message}");

    // client-go waits as it is told; with the agent back the same command succeeds.
    let mut waiting = stand.kubectl(bed, "admin", CLUSTER).start("get namespace default");
    std::thread::sleep(Duration::from_secs(1));
    stand.agent().restart().unwrap();
    assert_eq!(waiting.wait(Duration::from_secs(20)), 0, "{}", waiting.text());
}

/// A hub whose agent comes through a relay.
fn behind_a_relay(bed: &Bed) -> (Stand, Relay) {
    let options = flotilla_harness::HubOptions::default();
    let mut stand = Stand::hub_only(&bed.binaries, &options);
    let relay = Relay::start(stand.hub.agents_port);
    let leash = bed.binaries.leash();
    let agent = AgentProcess::start_through(
        &Bed::programs(),
        &leash,
        &stand.hub,
        &format!("https://localhost:{}", relay.port),
        CLUSTER,
        &bed.plane.kubeconfig_path(),
        "",
    );
    stand.agent = Some(agent.unwrap());
    wait_until("both lanes are up", PATIENCE, || {
        let list: Value = serde_json::from_str(&stand.hub.flotilla_ok("admin", &["agents", "list", "-o", "json"])?)?;
        Ok(list["agents"][0]["connections"] == 2)
    })
    .unwrap();
    (stand, relay)
}

/// The events of a watch until it ends, however it ends.
fn events(mut watch: impl Read) -> Vec<Value> {
    let mut bytes = Vec::new();
    let _ = watch.read_to_end(&mut bytes);
    let text = String::from_utf8_lossy(&bytes);
    // Chunk sizes stand on lines of their own; an event that was cut in two is none.
    text.lines()
        .filter(|line| line.starts_with("{\"type\""))
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect()
}

/// A TCP link that can be cut, or go silent.
pub(crate) struct Relay {
    pub(crate) port: u16,
    links: Arc<Mutex<Vec<Link>>>,
}

struct Link {
    ends: [TcpStream; 2],
    frozen: Arc<AtomicBool>,
}

impl Relay {
    pub(crate) fn start(to: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let links: Arc<Mutex<Vec<Link>>> = Arc::default();
        let made = Arc::clone(&links);
        std::thread::spawn(move || {
            for near in listener.incoming().map_while(Result::ok) {
                if let Ok(far) = TcpStream::connect(("127.0.0.1", to)) {
                    made.lock().unwrap().push(Link::join(near, far));
                }
            }
        });
        Self { port, links }
    }

    /// How many links are open.
    pub(crate) fn open(&self) -> usize {
        let links = self.links.lock().unwrap();
        links.iter().filter(|link| link.ends.iter().all(|end| end.peer_addr().is_ok())).count()
    }

    /// Cuts every link at once; how many there were.
    pub(crate) fn cut(&self) -> usize {
        let links = std::mem::take(&mut *self.links.lock().unwrap());
        // Both ends, though the copying threads may be faster with the second; one that ended before has none left.
        let cut = |link: &Link| link.ends.each_ref().map(|end| end.shutdown(Shutdown::Both).is_ok()).contains(&true);
        links.iter().filter(|link| cut(link)).count()
    }

    /// Lets every link that is there now carry nothing any more, without closing it.
    fn freeze(&self) {
        self.links.lock().unwrap().iter().for_each(|link| link.frozen.store(true, Ordering::Relaxed));
    }
}

impl Link {
    fn join(near: TcpStream, far: TcpStream) -> Self {
        let frozen = Arc::new(AtomicBool::new(false));
        for (from, to) in [(&near, &far), (&far, &near)] {
            let (mut from, mut to, frozen) = (from.try_clone().unwrap(), to.try_clone().unwrap(), Arc::clone(&frozen));
            std::thread::spawn(move || {
                let mut chunk = [0; 16 * 1024];
                while let Ok(count @ 1..) = from.read(&mut chunk) {
                    if !frozen.load(Ordering::Relaxed) && std::io::Write::write_all(&mut to, &chunk[..count]).is_err() {
                        break;
                    }
                }
                let _ = to.shutdown(Shutdown::Both);
            });
        }
        Self { ends: [near, far], frozen }
    }
}
