//! The command lines of the control plane's components.

use std::path::PathBuf;
use std::time::Duration;

use crate::binaries::Binaries;
use crate::pki::PemDir;
use crate::process::Program;
use crate::state::StateDir;

/// Name in the certificate of who may speak for others to aggregated API servers. Nobody else's headers are believed.
pub(crate) const FRONT_PROXY: &str = "front-proxy-client";
/// The controller manager's user.
pub(crate) const CONTROLLER_MANAGER: &str = "system:kube-controller-manager";
/// The scheduler's user.
pub(crate) const SCHEDULER: &str = "system:kube-scheduler";

/// Where the kubeconfig of `user` lies.
pub(crate) fn kubeconfig_path(state: &StateDir, user: &str) -> PathBuf {
    state.path().join(format!("{}.kubeconfig", user.trim_start_matches("system:")))
}

/// A component of Kubernetes. It is killed rather than asked to end: nothing of what it holds outlives it, and an API
/// server that ends in order waits for its watchers.
fn component(binaries: &Binaries, state: &StateDir, name: &str) -> Program {
    Program::new(name, binaries.kube(), &state.path().join("log"))
        .arg(name)
        .current_dir(state.path())
        .grace(Duration::ZERO)
}

/// One member, without fsync.
pub(crate) fn etcd(binaries: &Binaries, state: &StateDir, port: u16, peer_port: u16) -> Program {
    component(binaries, state, "etcd")
        .arg("--data-dir")
        .arg(state.path().join("etcd"))
        .arg(format!("--client-url=http://127.0.0.1:{port}"))
        .arg(format!("--peer-url=http://127.0.0.1:{peer_port}"))
}

/// `--flag=<path below the PKI folder>`.
fn file_flag(pki: &PemDir, flag: &str, file: &str) -> String {
    format!("--{flag}={}", pki.path(file).display())
}

/// The API server, on loopback.
pub(crate) fn apiserver(binaries: &Binaries, state: &StateDir, pki: &PemDir, port: u16, etcd_port: u16) -> Program {
    let files = [
        ("client-ca-file", "ca.crt"),
        ("tls-cert-file", "apiserver.crt"),
        ("tls-private-key-file", "apiserver.key"),
        ("service-account-key-file", "sa.pub"),
        ("service-account-signing-key-file", "sa.key"),
        ("kubelet-client-certificate", "kubelet-client.crt"),
        ("kubelet-client-key", "kubelet-client.key"),
        ("kubelet-certificate-authority", "ca.crt"),
        ("requestheader-client-ca-file", "ca.crt"),
        ("proxy-client-cert-file", "front-proxy.crt"),
        ("proxy-client-key-file", "front-proxy.key"),
    ];
    component(binaries, state, "kube-apiserver")
        .args(files.map(|(flag, file)| file_flag(pki, flag, file)))
        .arg(format!("--etcd-servers=http://127.0.0.1:{etcd_port}"))
        .arg(format!("--secure-port={port}"))
        .args(["--bind-address=127.0.0.1", "--advertise-address=127.0.0.1", "--endpoint-reconciler-type=none"])
        .arg("--service-account-issuer=https://kubernetes.default.svc")
        .arg("--service-cluster-ip-range=10.96.0.0/16")
        .args(["--authorization-mode=Node,RBAC", "--allow-privileged=true"])
        .arg("--kubelet-preferred-address-types=InternalIP")
        .arg(format!("--requestheader-allowed-names={FRONT_PROXY}"))
        .args(["--requestheader-username-headers=X-Remote-User", "--requestheader-group-headers=X-Remote-Group"])
        .arg("--requestheader-extra-headers-prefix=X-Remote-Extra-")
        // No kube-proxy: aggregated APIs and webhooks are reached at their endpoints.
        .arg("--enable-aggregator-routing=true")
        .args(["--max-requests-inflight=2000", "--max-mutating-requests-inflight=1000"])
}

/// Without a port of their own: nobody asks the controllers for metrics, and they start faster.
pub(crate) fn controller_manager(binaries: &Binaries, state: &StateDir, pki: &PemDir) -> Program {
    component(binaries, state, "kube-controller-manager")
        .arg(format!("--kubeconfig={}", kubeconfig_path(state, CONTROLLER_MANAGER).display()))
        .args([
            file_flag(pki, "service-account-private-key-file", "sa.key"),
            file_flag(pki, "root-ca-file", "ca.crt"),
            file_flag(pki, "cluster-signing-cert-file", "ca.crt"),
            file_flag(pki, "cluster-signing-key-file", "ca.key"),
        ])
        .args(["--leader-elect=false", "--use-service-account-credentials", "--secure-port=0"])
        .args(["--kube-api-qps=1000", "--kube-api-burst=2000"])
}

/// The scheduler, likewise without a port.
pub(crate) fn scheduler(binaries: &Binaries, state: &StateDir) -> Program {
    component(binaries, state, "kube-scheduler")
        .arg(format!("--kubeconfig={}", kubeconfig_path(state, SCHEDULER).display()))
        .args(["--leader-elect=false", "--secure-port=0", "--kube-api-qps=1000", "--kube-api-burst=2000"])
}
