//! The service account of the pod in which this process runs.
//! <https://kubernetes.io/docs/tasks/run-application/access-api-from-pod/>
//!
//! Must not know: requests.

use std::path::PathBuf;

use crate::client::Endpoint;
use crate::credentials::{Credentials, TOKEN_FILE_TTL};
use crate::error::UpstreamError;
use crate::tls::Trust;

const DIRECTORY: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// Where the API server is and where token and CA lie.
#[derive(Clone, Debug)]
pub struct ServiceAccount {
    /// `KUBERNETES_SERVICE_HOST`.
    pub host: String,
    /// `KUBERNETES_SERVICE_PORT`.
    pub port: String,
    /// Directory with `token` and `ca.crt`.
    pub directory: PathBuf,
}

impl ServiceAccount {
    /// What the kubelet gave to this pod.
    ///
    /// # Errors
    /// [`UpstreamError::Invalid`] when this process is in no pod.
    pub fn of_this_pod() -> Result<Self, UpstreamError> {
        let mut environment = flotilla_settings::process_environment();
        let mut variable = |name: &str| environment.remove(name).filter(|value| !value.is_empty());
        let (host, port) = (variable("KUBERNETES_SERVICE_HOST"), variable("KUBERNETES_SERVICE_PORT"));
        let (Some(host), Some(port)) = (host, port) else {
            return Err(UpstreamError::invalid(
                "this process does not run in a Kubernetes pod (KUBERNETES_SERVICE_HOST is not set); name a kubeconfig",
            ));
        };
        Ok(Self { host, port, directory: DIRECTORY.into() })
    }

    pub(crate) fn endpoint(&self) -> Result<Endpoint, UpstreamError> {
        let (ca, token) = (self.directory.join("ca.crt"), self.directory.join("token"));
        let missing = |path: &PathBuf, error: &std::io::Error| {
            UpstreamError::invalid(format!(
                "cannot read {}: {error}; is automountServiceAccountToken switched off for this pod?",
                path.display()
            ))
        };
        let authorities = std::fs::read(&ca).map_err(|error| missing(&ca, &error))?;
        std::fs::metadata(&token).map_err(|error| missing(&token, &error))?;
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        Ok(Endpoint {
            server: format!("https://{host}:{}", self.port),
            trust: Trust::Authorities(authorities),
            server_name: None,
            certificate: None,
            credentials: Credentials::file(token, TOKEN_FILE_TTL),
        })
    }
}
