//! A real node: pods, logs, exec, copies, port-forwards.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use flotilla_testbed::{ControlPlane, MetricsServer, Node, Options, skipped};

use crate::{BINARIES, processes_with};

/// A web server with a Service, of the image that every test bed has.
pub(crate) const WEB: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: web, labels: {app: web}}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - name: web
    image: flotilla.test/busybox:1
    command: [sh, -c, "mkdir /www && echo hello > /www/index.html && echo started && exec httpd -f -p 8080 -h /www"]
    readinessProbe: {httpGet: {port: 8080}, periodSeconds: 1}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}
"#;

#[test]
fn a_node_runs_a_pod_and_kubectl_reaches_into_it() {
    if let Err(reason) = Node::possible() {
        return skipped("a node runs a pod", &reason);
    }
    let plane = ControlPlane::start(&BINARIES, Options::new("node")).unwrap();
    let started = Instant::now();
    let node = Node::start(&plane).unwrap();
    println!("node: {:.2} s", started.elapsed().as_secs_f64());
    let metrics = MetricsServer::start(&plane, &node).unwrap();
    println!("and metrics-server: {:.2} s", started.elapsed().as_secs_f64());
    run_web(&plane);

    assert_eq!(plane.kubectl_ok(&["logs", "web"]).unwrap(), "started\n");
    let exec = plane.kubectl(&["exec", "web", "--", "sh", "-c", "echo out; echo err >&2; exit 3"]).unwrap();
    assert_eq!(exec.status.code(), Some(3));
    assert_eq!(String::from_utf8_lossy(&exec.stdout), "out\n");
    assert!(String::from_utf8_lossy(&exec.stderr).starts_with("err\n"), "{exec:?}");
    copy_there_and_back(&plane);
    assert_eq!(
        plane.kubectl_ok(&["get", "--raw", "/api/v1/namespaces/default/services/web/proxy/"]).unwrap(),
        "hello\n"
    );
    assert_eq!(through_port_forward(&plane).unwrap(), "hello\n");
    assert!(plane.kubectl_ok(&["top", "node"]).unwrap().contains("node1"));
    flotilla_testbed::wait_until("top knows the pod", Duration::from_secs(60), || {
        Ok(plane.kubectl_ok(&["top", "pod"])?.contains("web"))
    })
    .unwrap();

    let dir = plane.dir().to_path_buf();
    drop(metrics);
    node.stop().unwrap();
    assert_nothing_left(&dir);
}

#[test]
fn two_nodes_of_two_clusters_share_the_machine() {
    if let Err(reason) = Node::possible() {
        return skipped("two nodes of two clusters", &reason);
    }
    let start = |name: &'static str| {
        std::thread::spawn(move || -> Result<(Node, ControlPlane)> {
            let plane = ControlPlane::start(&BINARIES, Options::new(name))?;
            Ok((Node::start(&plane)?, plane))
        })
    };
    let (left, right) = (start("left"), start("right"));
    let (left, right) = (left.join().unwrap().unwrap(), right.join().unwrap().unwrap());
    assert_ne!(left.0.address(), right.0.address());
    for (_, plane) in [&left, &right] {
        run_web(plane);
        assert_eq!(plane.kubectl_ok(&["logs", "web"]).unwrap(), "started\n");
    }
    // The end of one does not touch the other.
    let dir = left.1.dir().to_path_buf();
    drop(left);
    assert_nothing_left(&dir);
    let exec = right.1.kubectl_ok(&["exec", "web", "--", "wget", "-q", "-O", "-", "http://127.0.0.1:8080/"]).unwrap();
    assert_eq!(exec, "hello\n");
}

pub(crate) fn run_web(plane: &ControlPlane) {
    plane.apply(WEB).unwrap();
    plane.kubectl_ok(&["wait", "--for=condition=Ready", "pod/web", "--timeout=60s"]).unwrap();
}

/// No process, mount, network device or control group is left of the control plane in `dir`.
pub(crate) fn assert_nothing_left(dir: &Path) {
    let text = dir.to_str().unwrap();
    let id = text.rsplit('-').next().unwrap();
    let node = format!("{text}/node");
    assert_eq!(processes_with(&node), Vec::<String>::new());
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.contains(&node), "{mounts}");
    assert!(!Path::new("/sys/class/net").join(format!("fl-{id}")).exists());
    let groups = Command::new("find")
        .args(["/sys/fs/cgroup", "-type", "d", "-name", &format!("flotilla-{id}")])
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&groups.stdout), "");
}

fn copy_there_and_back(plane: &ControlPlane) {
    let (sent, received) = (plane.dir().join("sent"), plane.dir().join("received"));
    let content: Vec<u8> = std::iter::repeat_with(|| fastrand::u8(..)).take(5_000_000).collect();
    std::fs::write(&sent, &content).unwrap();
    plane.kubectl_ok(&["cp", sent.to_str().unwrap(), "web:/tmp/file"]).unwrap();
    plane.kubectl_ok(&["cp", "web:/tmp/file", received.to_str().unwrap()]).unwrap();
    assert!(std::fs::read(&received).unwrap() == content, "the copy differs");
}

fn through_port_forward(plane: &ControlPlane) -> Result<String> {
    let mut forward =
        plane.kubectl_command().args(["port-forward", "service/web", ":80"]).stdout(Stdio::piped()).spawn()?;
    // Kept open to the end: kubectl says more, and would die of a closed pipe.
    let mut said = BufReader::new(forward.stdout.take().context("a pipe")?);
    let mut first = String::new();
    said.read_line(&mut first)?;
    let port = first.split("127.0.0.1:").nth(1).and_then(|rest| rest.split(' ').next()).context("no port")?;
    let mut stream = TcpStream::connect(("127.0.0.1", port.parse()?))?;
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    forward.kill()?;
    forward.wait()?;
    Ok(answer.split("\r\n\r\n").nth(1).context("no body")?.to_owned())
}
