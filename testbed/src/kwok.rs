//! Nodes and pods in great numbers that exist only in the API: kwok plays their kubelets.

use std::time::Duration;

use anyhow::Result;
use serde_json::{Value, json};

use crate::control_plane::ControlPlane;
use crate::process::{Process, Program};

/// A hundred nodes become Ready in about a second.
const READY_LIMIT: Duration = Duration::from_secs(120);
/// kwok manages the nodes with this annotation and no others, so that a real node stays alone.
const MANAGED: (&str, &str) = ("kwok.x-k8s.io/node", "fake");

/// What kwok is to play.
#[derive(Clone, Copy, Debug, Default)]
pub struct KwokOptions {
    /// How many nodes, called `kwok-0` and so on.
    pub nodes: usize,
    /// Whether the nodes carry the taint `kwok.x-k8s.io/node=fake:NoSchedule`, so that beside a real node only pods that
    /// tolerate it are played.
    pub tainted: bool,
}

impl From<usize> for KwokOptions {
    fn from(nodes: usize) -> Self {
        Self { nodes, tainted: false }
    }
}

/// A running kwok. Its nodes stay when it ends, and become `NotReady`.
#[derive(Debug)]
pub struct Kwok {
    process: Process,
    nodes: usize,
}

impl Kwok {
    /// Starts kwok and returns when all its nodes are Ready. A number alone is that many nodes that take any pod.
    ///
    /// # Errors
    /// kwok does not start or the nodes do not become Ready.
    pub fn start(plane: &ControlPlane, options: impl Into<KwokOptions>) -> Result<Self> {
        let options = options.into();
        let mut program = Program::new("kwok", plane.binaries().addons(), &plane.dir().join("log"))
            .arg("kwok")
            .arg("--kubeconfig")
            .arg(plane.kubeconfig_path())
            .arg(format!("--manage-nodes-with-annotation-selector={}={}", MANAGED.0, MANAGED.1))
            .args(["--node-ip=192.0.2.1", "--cidr=198.18.0.0/15", "--node-lease-duration-seconds=40"])
            .current_dir(plane.dir())
            .grace(Duration::ZERO);
        for stage in plane.binaries().kwok_stages() {
            program = program.arg("--config").arg(stage);
        }
        let process = program.start(&plane.binaries().leash())?;
        let nodes: Vec<Value> = (0..options.nodes).map(|index| node(index, options.tainted)).collect();
        plane.apply(&json!({"apiVersion": "v1", "kind": "List", "items": nodes}).to_string())?;
        let mut kwok = Self { process, nodes: options.nodes };
        kwok.wait_ready(plane)?;
        Ok(kwok)
    }

    fn wait_ready(&mut self, plane: &ControlPlane) -> Result<()> {
        let (probe, wanted) = (plane.probe().clone(), self.nodes);
        self.process.wait_until("its nodes are Ready", READY_LIMIT, || {
            let (_, body) = probe.get("/api/v1/nodes?labelSelector=type%3Dkwok&resourceVersion=0")?;
            let list: Value = serde_json::from_str(&body)?;
            let ready = list["items"].as_array().map_or(0, |nodes| nodes.iter().filter(|node| is_ready(node)).count());
            anyhow::ensure!(ready == wanted, "{ready} of {wanted}");
            Ok(true)
        })
    }

    /// The process, for its process id and its log.
    #[must_use]
    pub fn process(&self) -> &Process {
        &self.process
    }
}

fn node(index: usize, tainted: bool) -> Value {
    let name = format!("kwok-{index}");
    let taints =
        if tainted { json!([{"key": MANAGED.0, "value": MANAGED.1, "effect": "NoSchedule"}]) } else { json!([]) };
    let size = json!({"cpu": "32", "memory": "256Gi", "pods": "1000"});
    json!({
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": name,
            "annotations": {MANAGED.0: MANAGED.1},
            "labels": {
                "type": "kwok",
                "kubernetes.io/hostname": name,
                "kubernetes.io/os": "linux",
                "kubernetes.io/arch": "amd64",
            },
        },
        "spec": {"taints": taints},
        "status": {"allocatable": size, "capacity": size},
    })
}

fn is_ready(node: &Value) -> bool {
    let conditions = node["status"]["conditions"].as_array();
    conditions.is_some_and(|all| all.iter().any(|one| one["type"] == "Ready" && one["status"] == "True"))
}
