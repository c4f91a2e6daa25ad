//! metrics-server as an aggregated API: what `kubectl top` asks, and the proof that aggregated APIs work.

use std::time::Duration;

use anyhow::Result;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use crate::control_plane::ControlPlane;
use crate::free_port;
use crate::node::Node;
use crate::pki::write_private;
use crate::process::{Process, Program};

/// Two scrapes, 10 s apart, are needed before there are figures.
const READY_LIMIT: Duration = Duration::from_secs(120);
const NAME: &str = "metrics-server";
const NAMESPACE: &str = "kube-system";

/// A running metrics-server, outside the cluster, registered as `v1beta1.metrics.k8s.io`.
#[derive(Debug)]
pub struct MetricsServer {
    process: Process,
}

impl MetricsServer {
    /// Starts it and returns when the API server serves its group and there are figures for the node.
    ///
    /// It listens on the node's address, because an endpoint of a Service must not be a loopback address.
    ///
    /// # Errors
    /// It does not start or never has figures.
    pub fn start(plane: &ControlPlane, node: &Node) -> Result<Self> {
        let (address, port) = (node.address().to_string(), free_port()?);
        let host = format!("{NAME}.{NAMESPACE}.svc");
        plane.pki().write_pair(NAME, &plane.authority().issue(NAME, None, &[&host, &address])?)?;
        let kubeconfig = plane.dir().join("metrics-server.kubeconfig");
        write_private(&kubeconfig, &plane.kubeconfig_for(NAME, Some("system:masters"))?)?;
        let kubeconfig = kubeconfig.display();
        let process = Program::new(NAME, plane.binaries().addons(), &plane.dir().join("log"))
            .arg(NAME)
            .args(
                ["kubeconfig", "authentication-kubeconfig", "authorization-kubeconfig"]
                    .map(|flag| format!("--{flag}={kubeconfig}")),
            )
            .args([format!("--bind-address={address}"), format!("--secure-port={port}")])
            .arg(format!("--tls-cert-file={}", plane.pki().path("metrics-server.crt").display()))
            .arg(format!("--tls-private-key-file={}", plane.pki().path("metrics-server.key").display()))
            .arg(format!("--kubelet-certificate-authority={}", plane.pki().path("ca.crt").display()))
            .args([
                "--kubelet-preferred-address-types=InternalIP",
                "--kubelet-use-node-status-port",
                "--metric-resolution=10s",
                "--kubelet-request-timeout=5s",
            ])
            .grace(Duration::ZERO)
            .start(&plane.binaries().leash())?;
        plane.apply(&registration(plane, &address, port).to_string())?;
        let mut server = Self { process };
        server.wait_ready(plane, node)?;
        Ok(server)
    }

    fn wait_ready(&mut self, plane: &ControlPlane, node: &Node) -> Result<()> {
        let path = format!("/apis/metrics.k8s.io/v1beta1/nodes/{}", node.name());
        let probe = plane.probe().clone();
        self.process.wait_until("has figures of the node", READY_LIMIT, || probe.is_ok(&path))
    }

    /// The process, for its process id and its log.
    #[must_use]
    pub fn process(&self) -> &Process {
        &self.process
    }
}

/// Service without selector, its endpoint, and the API service.
fn registration(plane: &ControlPlane, address: &str, port: u16) -> serde_json::Value {
    let metadata = json!({"name": NAME, "namespace": NAMESPACE});
    json!({"apiVersion": "v1", "kind": "List", "items": [
        {
            "apiVersion": "v1", "kind": "Service", "metadata": metadata,
            "spec": {"ports": [{"name": "https", "port": 443, "protocol": "TCP", "targetPort": port}]},
        },
        {
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
            "metadata": {"name": NAME, "namespace": NAMESPACE, "labels": {"kubernetes.io/service-name": NAME}},
            "addressType": "IPv4",
            "ports": [{"name": "https", "port": port, "protocol": "TCP"}],
            "endpoints": [{"addresses": [address], "conditions": {"ready": true}}],
        },
        {
            "apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService",
            "metadata": {"name": "v1beta1.metrics.k8s.io"},
            "spec": {
                "group": "metrics.k8s.io", "version": "v1beta1",
                "groupPriorityMinimum": 100, "versionPriority": 100,
                "service": {"name": NAME, "namespace": NAMESPACE, "port": 443},
                "caBundle": STANDARD.encode(plane.authority().certificate()),
            },
        },
    ]})
}
