//! Configuration of containerd and the kubelet, for a machine that is not the cluster's own.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use anyhow::Result;
use serde_json::json;

use super::{image, prerequisites};
use crate::control_plane::ControlPlane;

/// Where containerd serves.
pub(super) fn socket(dir: &Path) -> PathBuf {
    dir.join("containerd.sock")
}

/// The control group below which all pods are, so that what is left of them can be found.
pub(super) fn cgroup(id: &str) -> String {
    format!("/flotilla-{id}")
}

/// containerd's configuration (`containerd-config.toml(5)`, version 2).
pub(super) fn containerd(dir: &Path) -> Result<String> {
    let (dir, cni) = (dir.display(), prerequisites::cni_plugins()?);
    Ok(format!(
        r#"version = 2
root = "{dir}/containerd/root"
state = "{dir}/containerd/state"

[grpc]
  address = "{dir}/containerd.sock"

[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{pause}"
  # Without CAP_SYS_RESOURCE runc cannot lower a score, and every pod would die with "can't get final child's PID".
  restrict_oom_score_adj = true
  # Below our own folder, where they are found and unmounted at the end.
  netns_mounts_under_state_dir = true

  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{cni}"
    conf_dir = "{dir}/cni"

  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"

    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
"#,
        pause = image::PAUSE,
        cni = cni.display(),
    ))
}

/// The kubelet's configuration (`kubelet.config.k8s.io/v1beta1`), as JSON.
pub(super) fn kubelet(plane: &ControlPlane, dir: &Path, address: Ipv4Addr, port: u16) -> String {
    let pki = |file: &str| plane.pki().path(file);
    let document = json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": address,
        "port": port,
        "readOnlyPort": 0,
        "healthzPort": 0,
        "authentication": {
            "anonymous": {"enabled": false},
            "webhook": {"enabled": true},
            "x509": {"clientCAFile": pki("ca.crt")},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": pki("kubelet.crt"),
        "tlsPrivateKeyFile": pki("kubelet.key"),
        "containerRuntimeEndpoint": format!("unix://{}", socket(dir).display()),
        "podLogsDir": dir.join("pod-logs"),
        "volumePluginDir": dir.join("volume-plugins"),
        // The machine belongs to others too: no limits for all pods together, no changes to its firewall, no eviction
        // because somebody else filled the disk.
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": cgroup(plane.state().id()),
        "cgroupsPerQOS": false,
        "enforceNodeAllocatable": [],
        "failCgroupV1": false,
        "failSwapOn": false,
        "localStorageCapacityIsolation": false,
        "makeIPTablesUtilChains": false,
        "oomScoreAdj": 0,
        "evictionHard": {},
        "imageGCHighThresholdPercent": 100,
        "imageMinimumGCAge": "24h",
    });
    format!("{document:#}\n")
}
