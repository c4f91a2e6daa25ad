//! The upstream that all subjects share: nginx with one worker, over TLS, in the place of an API server.
//!
//! Its worker keeps root's rights when it has them: the folder is its owner's alone.
//!
//! Must not know: who asks.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use flotilla_testbed::{Authority, Process, Program, free_port, install_prerequisites};

/// A pod. Reads of one are only counted.
pub(crate) const SMALL: &str = "/api/v1/namespaces/default/pods/x";
/// A pod's log, as long answers are. It takes the lane for bulk, and leaves a row in the audit log.
pub(super) const BULK: &str = "/api/v1/namespaces/default/pods/x/log";
/// Long as well, in the same lane as [`SMALL`].
pub(super) const UNREAD: &str = "/api/v1/namespaces/default/configmaps/x";

/// Bytes of the answer to [`SMALL`].
pub(crate) const SMALL_SIZE: u64 = 1_600;
/// Bytes of the answer to [`BULK`].
pub(super) const BULK_SIZE: u64 = 100_000_000;
/// Bytes of the answer to [`UNREAD`]: more than all buffers on the way hold, the kernel's included.
pub(super) const UNREAD_SIZE: u64 = 16_000_000;

/// What the kernel holds of an answer for a slow reader (twice this). Left to itself it takes 4 MB on loopback, and a
/// few hundred unread answers use up the TCP memory of the whole machine.
const SEND_BUFFER: &str = "128k";

/// nginx in a folder of its own.
pub(crate) struct Upstream {
    _process: Process,
    pub(super) port: u16,
    /// Of its certificate, PEM.
    pub(super) ca: PathBuf,
    /// By which hub, agent and kubectl reach it.
    pub(super) kubeconfig: PathBuf,
}

impl Upstream {
    /// Starts it. `authority` signs its certificate and is written to `ca` already.
    pub(super) fn start(leash: &Path, dir: &Path, authority: &Authority, ca: PathBuf) -> Result<Self> {
        let nginx = find()?;
        fs::create_dir_all(dir)?;
        let port = free_port()?;
        let pair = authority.issue("upstream", None, &["localhost", "127.0.0.1"])?;
        fs::write(dir.join("tls.crt"), &pair.certificate)?;
        fs::write(dir.join("tls.key"), &pair.key)?;
        fs::File::create(dir.join("bulk"))?.set_len(BULK_SIZE)?;
        fs::File::create(dir.join("unread"))?.set_len(UNREAD_SIZE)?;
        fs::write(dir.join("nginx.conf"), configuration(dir, port)?)?;
        let kubeconfig = dir.join("kubeconfig");
        fs::write(&kubeconfig, kubeconfig_for(port, &ca))?;
        let program = Program::new("nginx", nginx, dir).arg("-p").arg(dir).arg("-c").arg(dir.join("nginx.conf"));
        // What goes wrong before the configuration is read goes to the log as well, not to the system's.
        let mut process = program.args(["-e", "stderr"]).start(leash)?;
        process.wait_until("it listens", Duration::from_secs(20), || {
            Ok(std::net::TcpStream::connect(("127.0.0.1", port)).is_ok())
        })?;
        Ok(Self { _process: process, port, ca, kubeconfig })
    }
}

fn find() -> Result<PathBuf> {
    let installed = || ["/usr/sbin/nginx", "/usr/bin/nginx", "/usr/local/sbin/nginx"].map(PathBuf::from);
    let found = || installed().into_iter().find(|path| path.is_file());
    if found().is_none() {
        install_prerequisites()?;
    }
    found().context("nginx is not installed; install it with: apt-get install nginx-light")
}

fn configuration(dir: &Path, port: u16) -> Result<String> {
    let dir = dir.to_str().context("the folder's name is not UTF-8")?;
    let small = small_body();
    Ok(format!(
        "daemon off;
user root;
worker_processes 1;
worker_rlimit_nofile 16384;
pid {dir}/nginx.pid;
error_log stderr warn;
events {{ worker_connections 8192; }}
http {{
  access_log off;
  client_body_temp_path {dir}/t1; proxy_temp_path {dir}/t2; fastcgi_temp_path {dir}/t3;
  uwsgi_temp_path {dir}/t4; scgi_temp_path {dir}/t5;
  keepalive_timeout 300s; keepalive_requests 1000000000;
  send_timeout 300s;
  default_type application/json;
  server {{
    listen 127.0.0.1:{port} ssl backlog=2048 sndbuf={SEND_BUFFER};
    ssl_certificate {dir}/tls.crt; ssl_certificate_key {dir}/tls.key;
    ssl_protocols TLSv1.2 TLSv1.3;
    location = {BULK} {{ alias {dir}/bulk; }}
    location = {UNREAD} {{ alias {dir}/unread; }}
    location / {{ return 200 '{small}'; }}
  }}
}}
"
    ))
}

/// JSON of exactly [`SMALL_SIZE`] bytes, shaped as a pod is.
fn small_body() -> String {
    let head = r#"{"kind":"Pod","apiVersion":"v1","metadata":{"name":"x","namespace":"default","labels":{"#;
    let tail = r#""app":"x"}},"status":{"phase":"Running"}}"#;
    let mut body = head.to_owned();
    let mut index = 0;
    loop {
        let label = format!(r#""label-{index}":"value-{index}","#);
        if body.len() + label.len() + tail.len() + FILL_LENGTH > SIZE {
            break;
        }
        body.push_str(&label);
        index += 1;
    }
    let fill = SIZE - body.len() - tail.len() - FILL_LENGTH;
    // Writing to a String does not fail.
    let _ = write!(body, r#""fill":"{}","#, "x".repeat(fill));
    body + tail
}

const SIZE: usize = SMALL_SIZE as usize;
/// Length of `"fill":"",`.
const FILL_LENGTH: usize = 10;

fn kubeconfig_for(port: u16, ca: &Path) -> String {
    format!(
        "apiVersion: v1
kind: Config
clusters: [{{name: upstream, cluster: {{server: \"https://localhost:{port}\", certificate-authority: {ca:?}}}}}]
users: [{{name: bench, user: {{token: bench}}}}]
contexts: [{{name: bench, context: {{cluster: upstream, user: bench}}}}]
current-context: bench
"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_small_body_is_json_of_the_agreed_size() {
        let body = small_body();
        assert_eq!(body.len() as u64, SMALL_SIZE);
        let pod: serde_json::Value = serde_json::from_str(&body).unwrap();
        assert_eq!(pod["kind"], "Pod");
        // nginx would take these for something else.
        assert!(!body.contains(['$', '\'', '\\']));
    }
}
