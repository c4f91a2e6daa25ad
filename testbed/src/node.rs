//! A real node: containerd, runc, a bridge for its pods, and the kubelet. It needs root.
//!
//! ```text
//!   API server (127.0.0.1) ──> kubelet ──CRI──> containerd ──> shim ──> runc ──> pods
//!                              on the bridge's address                         on the bridge
//! ```
//!
//! The kubelet's address is that of the bridge: the API server reaches it there under any node name, without an entry
//! in `/etc/hosts`, and reaches the pods as well, since it runs on the same machine. There is no kube-proxy and no DNS:
//! Services work where the API server resolves them (port-forward, the proxy subresource, aggregated APIs, webhooks).

mod config;
mod image;
mod network;
mod prerequisites;

use std::ffi::OsStr;
use std::fs;
use std::net::Ipv4Addr;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::control_plane::{ControlPlane, wait_for_field};
use crate::kubeconfig;
use crate::pki::write_private;
use crate::process::{Process, Program};
use crate::state::StateDir;
use crate::{binaries::Binaries, free_port};

use network::Network;
pub use prerequisites::install_prerequisites;

const START_LIMIT: Duration = Duration::from_secs(120);
const NAME: &str = "node1";
/// The folder of the node in that of its control plane.
const FOLDER: &str = "node";

/// A running node. Dropping it kills its pods and removes mounts, network devices and control groups.
#[derive(Debug)]
pub struct Node {
    kubelet: Process,
    containerd: Process,
    network: Network,
    /// Keeps the folder until the node has ended.
    _state: Arc<StateDir>,
}

impl Node {
    /// Image with a static busybox: `sh`, `sleep`, `tar`, `httpd`, `nc`, `stty` and all its other applets.
    pub const BUSYBOX: &'static str = "flotilla.test/busybox:1";

    /// Whether a node can run here, or why not.
    ///
    /// # Errors
    /// What is missing and how to get it.
    pub fn possible() -> std::result::Result<(), String> {
        prerequisites::check()
    }

    /// Starts the node of `plane` and returns when it is Ready. A control plane has one real node at the most.
    ///
    /// # Errors
    /// [`Node::possible`] says no, or a component does not start; the end of its log is part of the text.
    pub fn start(plane: &ControlPlane) -> Result<Self> {
        Self::possible().map_err(anyhow::Error::msg)?;
        let started = Instant::now();
        let state = Arc::clone(plane.state());
        let dir = state.path().join(FOLDER);
        fs::create_dir(&dir).with_context(|| format!("create {}: one node for each control plane", dir.display()))?;
        let network = Network::create(state.id(), &dir)?;
        let containerd = start_containerd(plane.binaries(), &state, &dir)?;
        import_images(plane.binaries(), &dir)?;
        let kubelet = start_kubelet(plane, &dir, network.address())?;
        let mut node = Self { kubelet, containerd, network, _state: state };
        node.wait_ready(plane)?;
        tracing::info!(name = NAME, address = %node.address(), elapsed = ?started.elapsed(), "node is ready");
        Ok(node)
    }

    fn wait_ready(&mut self, plane: &ControlPlane) -> Result<()> {
        let path = format!("/api/v1/nodes/{NAME}");
        let probe = plane.probe().clone();
        self.kubelet.wait_until("node is Ready", START_LIMIT, || {
            let (_, body) = probe.get(&path)?;
            let node: serde_json::Value = serde_json::from_str(&body)?;
            let conditions = node["status"]["conditions"].as_array().context("the node has no conditions yet")?;
            Ok(conditions.iter().any(|one| one["type"] == "Ready" && one["status"] == "True"))
        })?;
        // The taint goes a moment after the condition, and nothing is scheduled before.
        wait_for_field(plane, &["node", NAME], "{.spec.taints}", "", START_LIMIT)
    }

    /// The node's name.
    #[must_use]
    pub fn name(&self) -> &'static str {
        NAME
    }

    /// Its address, which is this machine's address on the pods' bridge: a pod reaches a program on this machine there.
    #[must_use]
    pub fn address(&self) -> Ipv4Addr {
        self.network.address()
    }

    /// The kubelet, for its process id and its log.
    #[must_use]
    pub fn kubelet(&self) -> &Process {
        &self.kubelet
    }

    /// Ends the node and says whether everything has ended; dropping it does the same without saying.
    ///
    /// # Errors
    /// Something did not end.
    pub fn stop(mut self) -> Result<()> {
        self.kubelet.release();
        self.containerd.stop()?;
        self.kubelet.stop().map(|_| ())
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.kubelet.release();
        self.containerd.release();
    }
}

/// Removes what a node leaves outside of its processes and its folder. `state` is the folder of the control plane, `id`
/// its random part.
pub(crate) fn clean_up(state: &Path, id: &str) {
    let dir = state.join(FOLDER);
    if dir.exists() && !id.is_empty() {
        let result = Command::new("/bin/sh").arg("-c").arg(clean_up_script(&dir, id)).stdin(Stdio::null()).status();
        tracing::debug!(?result, dir = %dir.display(), "node cleaned up");
    }
}

/// The same as a shell script, which the leash runs even when this process was killed.
fn clean_up_script(dir: &Path, id: &str) -> String {
    let (dir, bridge, cgroup) = (dir.display(), network::bridge_name(id), config::cgroup(id));
    format!(
        "exec 2>/dev/null; \
         ip link delete {bridge}; \
         cat {dir}/containerd/state/io.containerd.runtime.v2.task/*/*/address | tr '\\0' '\\n' | \
             sed -n 's,.*unix://\\(/run/containerd/s/[0-9a-f]*\\).*,\\1,p' | xargs -r rm -f; \
         find /sys/fs/cgroup -depth -type d -path '*{cgroup}*' -exec rmdir {{}} ';'; \
         find /var/log/containers -lname '{dir}/*' -delete; \
         true"
    )
}

fn start_containerd(binaries: &Binaries, state: &StateDir, dir: &Path) -> Result<Process> {
    let config = dir.join("containerd.toml");
    fs::write(&config, config::containerd(dir)?)?;
    let mut containerd = Program::new("containerd", prerequisites::find("containerd")?, &state.path().join("log"))
        .arg("--config")
        .arg(config)
        .current_dir(dir)
        .grace(Duration::ZERO)
        .cleanup_mounts(dir)
        .finally(clean_up_script(dir, state.id()))
        .start(&binaries.leash())?;
    let socket = config::socket(dir);
    containerd.wait_until("serves", START_LIMIT, || {
        UnixStream::connect(&socket)?;
        ctr(dir, &["version"])?;
        Ok(true)
    })?;
    Ok(containerd)
}

fn ctr<A: AsRef<OsStr> + std::fmt::Debug>(dir: &Path, args: &[A]) -> Result<()> {
    let output = Command::new(prerequisites::find("ctr")?)
        .arg("--address")
        .arg(config::socket(dir))
        .args(["--namespace", "k8s.io"])
        .args(args)
        .stdin(Stdio::null())
        .output()
        .context("run ctr")?;
    ensure!(output.status.success(), "ctr {args:?}: {}", String::from_utf8_lossy(&output.stderr).trim_end());
    Ok(())
}

fn import_images(binaries: &Binaries, dir: &Path) -> Result<()> {
    let images = [
        ("pause.tar", image::pause(&binaries.tools().pause())?),
        ("busybox.tar", image::busybox(Node::BUSYBOX, &prerequisites::static_busybox()?)?),
    ];
    for (name, archive) in images {
        let path: PathBuf = dir.join(name);
        fs::write(&path, archive)?;
        ctr(dir, &[OsStr::new("images"), OsStr::new("import"), path.as_os_str()])?;
        fs::remove_file(path)?;
    }
    Ok(())
}

fn start_kubelet(plane: &ControlPlane, dir: &Path, address: Ipv4Addr) -> Result<Process> {
    let user = format!("system:node:{NAME}");
    let pair = plane.authority().issue(&user, Some("system:nodes"), &[NAME, &address.to_string()])?;
    plane.pki().write_pair("kubelet", &pair)?;
    let kubeconfig = dir.join("kubeconfig");
    let text = kubeconfig::with_certificate(plane.name(), &plane.server_url(), plane.authority(), &user, &pair);
    write_private(&kubeconfig, &text)?;
    let config = dir.join("kubelet.json");
    fs::write(&config, config::kubelet(plane, dir, address, free_port()?))?;
    Program::new("kubelet", plane.binaries().kube(), &plane.dir().join("log"))
        .arg("kubelet")
        .arg(format!("--config={}", config.display()))
        .arg(format!("--kubeconfig={}", kubeconfig.display()))
        .arg(format!("--root-dir={}", dir.join("kubelet").display()))
        .args([format!("--hostname-override={NAME}"), format!("--node-ip={address}")])
        .current_dir(dir)
        .grace(Duration::ZERO)
        .start(&plane.binaries().leash())
}
