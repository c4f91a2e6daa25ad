//! A Kubernetes control plane: etcd, API server, controller manager, scheduler.
//!
//! Everything listens on loopback, on ports of its own, with certificates of its own; any number stand side by side.
//! Service addresses (10.96.0.0/16) may repeat between them, since nothing routes to them.

use std::ffi::OsStr;
use std::io::Write;
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::binaries::Binaries;
use crate::components::{self, CONTROLLER_MANAGER, FRONT_PROXY, SCHEDULER, kubeconfig_path};
use crate::pki::{Authority, KeyAndCertificate, PemDir, write_private};
use crate::probe::Probe;
use crate::process::{Process, wait_until};
use crate::state::StateDir;
use crate::{free_port, kubeconfig};

/// How long a machine under load may need; a start takes a few seconds.
const START_LIMIT: Duration = Duration::from_secs(120);
/// Someone else may take a port between its reservation and its use.
const ATTEMPTS: usize = 3;
/// What a control plane is to be like.
#[derive(Clone, Debug)]
pub struct Options {
    /// Name of the cluster and its context; also begins the name of its folder.
    pub name: String,
    /// Further flags of the API server.
    pub apiserver_args: Vec<String>,
    /// Whether controller manager and scheduler run. Without them nothing is scheduled and namespaces get no service
    /// account, but the API is complete, and half of the memory is saved.
    pub controllers: bool,
}

impl Options {
    /// A complete control plane called `name`.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), apiserver_args: Vec::new(), controllers: true }
    }
}

/// A running control plane. Dropping it ends it and removes all that it kept.
#[derive(Debug)]
pub struct ControlPlane {
    // Fields are dropped in this order: first those that talk to others.
    scheduler: Option<Process>,
    controller_manager: Option<Process>,
    apiserver: Process,
    etcd: Process,
    probe: Probe,
    authority: Authority,
    pki: PemDir,
    port: u16,
    options: Options,
    binaries: Binaries,
    state: Arc<StateDir>,
}

impl ControlPlane {
    /// Starts a control plane and returns when it serves: `/readyz` answers, and, with controllers, the namespace
    /// `default` has its service account, so that pods can be created.
    ///
    /// # Errors
    /// A component does not start; the end of its log is part of the text.
    #[allow(clippy::needless_pass_by_value, reason = "options are made for one call")]
    pub fn start(binaries: &Binaries, options: Options) -> Result<Self> {
        let mut attempt = 1;
        loop {
            match Self::try_start(binaries, &options) {
                Err(error) if attempt < ATTEMPTS && is_taken_port(&error) => {
                    tracing::warn!(%error, attempt, "a port was taken by someone else, starting again");
                    attempt += 1;
                }
                other => {
                    return other.with_context(|| format!("start control plane {}", options.name));
                }
            }
        }
    }

    fn try_start(binaries: &Binaries, options: &Options) -> Result<Self> {
        let started = Instant::now();
        let state = Arc::new(StateDir::create(&options.name)?);
        std::fs::create_dir(state.path().join("log"))?;
        let (port, etcd_port) = (free_port()?, free_port()?);
        let mut etcd = components::etcd(binaries, &state, etcd_port, free_port()?).start(&binaries.leash())?;
        let authority = Authority::new(&format!("{}-ca", options.name))?;
        let pki = PemDir::create(state.path().join("pki"))?;
        write_certificates(&pki, &authority)?;
        let server = format!("https://127.0.0.1:{port}");
        let admin = write_kubeconfigs(&state, &authority, &options.name, &server)?;
        let probe = Probe::new(port, &authority, &admin)?;
        etcd.wait_until("serves", START_LIMIT, || Ok(TcpStream::connect((Ipv4Addr::LOCALHOST, etcd_port)).is_ok()))?;
        let apiserver = components::apiserver(binaries, &state, &pki, port, etcd_port)
            .args(&options.apiserver_args)
            .start(&binaries.leash())?;
        let mut plane = Self {
            scheduler: None,
            controller_manager: None,
            apiserver,
            etcd,
            probe,
            authority,
            pki,
            port,
            options: options.clone(),
            binaries: binaries.clone(),
            state,
        };
        plane.wait_ready()?;
        if plane.options.controllers {
            plane.start_controllers()?;
        }
        tracing::info!(name = plane.options.name, server, elapsed = ?started.elapsed(), "control plane serves");
        Ok(plane)
    }

    fn wait_ready(&mut self) -> Result<()> {
        let probe = self.probe.clone();
        self.apiserver.wait_until("is ready", START_LIMIT, || probe.is_ok("/readyz"))
    }

    fn start_controllers(&mut self) -> Result<()> {
        let leash = self.binaries.leash();
        self.controller_manager =
            Some(components::controller_manager(&self.binaries, &self.state, &self.pki).start(&leash)?);
        self.scheduler = Some(components::scheduler(&self.binaries, &self.state).start(&leash)?);
        let probe = self.probe.clone();
        let account = "/api/v1/namespaces/default/serviceaccounts/default";
        if let Some(process) = &mut self.controller_manager {
            process.wait_until("made the default service account", START_LIMIT, || probe.is_ok(account))?;
        }
        Ok(())
    }

    /// Name of the cluster and its context.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.options.name
    }

    /// `https://127.0.0.1:<port>`.
    #[must_use]
    pub fn server_url(&self) -> String {
        format!("https://127.0.0.1:{}", self.port)
    }

    /// Its certificate authority; its certificate is what clients trust.
    #[must_use]
    pub fn authority(&self) -> &Authority {
        &self.authority
    }

    /// A kubeconfig of an administrator (`system:masters`).
    #[must_use]
    pub fn kubeconfig_path(&self) -> PathBuf {
        kubeconfig_path(&self.state, "admin")
    }

    /// A kubeconfig, as text, of a person or program known to the cluster as `user` in `group`.
    ///
    /// # Errors
    /// The cryptography library failed.
    pub fn kubeconfig_for(&self, user: &str, group: Option<&str>) -> Result<String> {
        let pair = self.authority.issue(user, group, &[])?;
        Ok(kubeconfig::with_certificate(self.name(), &self.server_url(), &self.authority, user, &pair))
    }

    /// Its folder: logs in `log/`, certificates in `pki/`. Others may put files there; it goes with the control plane.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.state.path()
    }

    /// The programs it runs.
    #[must_use]
    pub fn binaries(&self) -> &Binaries {
        &self.binaries
    }

    /// The API server, for its process id and its log.
    #[must_use]
    pub fn apiserver(&self) -> &Process {
        &self.apiserver
    }

    pub(crate) fn state(&self) -> &Arc<StateDir> {
        &self.state
    }

    pub(crate) fn pki(&self) -> &PemDir {
        &self.pki
    }

    pub(crate) fn probe(&self) -> &Probe {
        &self.probe
    }

    /// Unmodified kubectl as administrator, with a cache of its own; arguments are up to the caller.
    #[must_use]
    pub fn kubectl_command(&self) -> Command {
        let mut command = Command::new(self.binaries.kubectl());
        command.env("KUBECONFIG", self.kubeconfig_path());
        command.env("KUBECACHEDIR", self.dir().join("kubectl-cache"));
        command.stdin(Stdio::null());
        command
    }

    /// Runs kubectl as administrator.
    ///
    /// # Errors
    /// It cannot be started; how it ended is in the output.
    pub fn kubectl<A: AsRef<OsStr>>(&self, args: &[A]) -> Result<Output> {
        self.kubectl_command().args(args).output().context("run kubectl")
    }

    /// Runs kubectl as administrator and returns what it printed.
    ///
    /// # Errors
    /// It failed; what it said is part of the text.
    pub fn kubectl_ok<A: AsRef<OsStr> + std::fmt::Debug>(&self, args: &[A]) -> Result<String> {
        succeeded(self.kubectl(args)?, args)
    }

    /// `kubectl apply -f -` with `manifest`, server side, so that size does not matter.
    ///
    /// # Errors
    /// It failed; what it said is part of the text.
    pub fn apply(&self, manifest: &str) -> Result<String> {
        let args = ["apply", "--server-side", "-f", "-"];
        let mut command = self.kubectl_command();
        command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().context("run kubectl")?;
        let mut stdin = child.stdin.take().context("kubectl's standard input is a pipe")?;
        let text = manifest.to_owned();
        // By another thread: kubectl may fill its output before it has read all of its input.
        let writer = std::thread::spawn(move || stdin.write_all(text.as_bytes()));
        let output = child.wait_with_output()?;
        let _ = writer.join();
        succeeded(output, &args)
    }

    /// Kills the API server with SIGKILL. [`ControlPlane::start_apiserver`] brings it back on the same port.
    ///
    /// # Errors
    /// It does not end.
    pub fn kill_apiserver(&mut self) -> Result<()> {
        self.apiserver.kill()
    }

    /// Starts the API server again and waits until it is ready. Controllers and kubelets reconnect by themselves.
    ///
    /// # Errors
    /// It does not start.
    pub fn start_apiserver(&mut self) -> Result<()> {
        self.apiserver.restart(&self.binaries.leash())?;
        self.wait_ready()?;
        // A controller manager that could not reach the API server for long gives up by itself.
        for process in [&mut self.controller_manager, &mut self.scheduler].into_iter().flatten() {
            if process.exit_code()?.is_some() {
                process.restart(&self.binaries.leash())?;
            }
        }
        Ok(())
    }

    /// Leaves the folder with the logs in place when the control plane ends.
    ///
    /// # Errors
    /// A node still uses the folder.
    pub fn keep_dir(&mut self) -> Result<()> {
        Arc::get_mut(&mut self.state).context("drop the node first")?.keep();
        Ok(())
    }

    /// Ends it and says whether everything has ended; dropping it does the same without saying.
    ///
    /// # Errors
    /// Something did not end.
    pub fn stop(mut self) -> Result<()> {
        self.release();
        let rest = [Some(&mut self.apiserver), Some(&mut self.etcd)];
        let controllers = [self.scheduler.as_mut(), self.controller_manager.as_mut()];
        for process in controllers.into_iter().chain(rest).flatten() {
            process.stop()?;
        }
        Ok(())
    }

    /// All at once rather than one after the other.
    fn release(&mut self) {
        self.apiserver.release();
        self.etcd.release();
        for process in [&mut self.controller_manager, &mut self.scheduler].into_iter().flatten() {
            process.release();
        }
    }
}

impl Drop for ControlPlane {
    fn drop(&mut self) {
        self.release();
    }
}

fn succeeded<A: std::fmt::Debug>(output: Output, args: &[A]) -> Result<String> {
    ensure!(
        output.status.success(),
        "kubectl {args:?} ended with {}: {}",
        output.status,
        String::from_utf8_lossy(&output.stderr).trim_end()
    );
    String::from_utf8(output.stdout).context("kubectl printed something that is not UTF-8")
}

fn is_taken_port(error: &anyhow::Error) -> bool {
    format!("{error:#}").contains("address already in use")
}

/// Writes the certificates that the components read.
fn write_certificates(pki: &PemDir, authority: &Authority) -> Result<()> {
    pki.write_authority(authority)?;
    let hosts = ["localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc", "127.0.0.1", "10.96.0.1"];
    pki.write_pair("apiserver", &authority.issue("kube-apiserver", None, &hosts)?)?;
    pki.write_pair("kubelet-client", &authority.issue("apiserver-kubelet-client", Some("system:masters"), &[])?)?;
    pki.write_pair("front-proxy", &authority.issue(FRONT_PROXY, None, &[])?)
}

/// Writes the kubeconfigs of the administrator and the controllers, and returns the administrator's certificate.
fn write_kubeconfigs(state: &StateDir, authority: &Authority, name: &str, server: &str) -> Result<KeyAndCertificate> {
    let write = |user: &str, group: Option<&str>| -> Result<KeyAndCertificate> {
        let pair = authority.issue(user, group, &[])?;
        let text = kubeconfig::with_certificate(name, server, authority, user, &pair);
        write_private(&kubeconfig_path(state, user), &text)?;
        Ok(pair)
    };
    write(CONTROLLER_MANAGER, None)?;
    write(SCHEDULER, None)?;
    write("admin", Some("system:masters"))
}

/// Waits until `kubectl get <what>` with a `JSONPath` template prints `expected`.
pub(crate) fn wait_for_field(
    plane: &ControlPlane,
    what: &[&str],
    jsonpath: &str,
    expected: &str,
    limit: Duration,
) -> Result<()> {
    let template = format!("jsonpath={jsonpath}");
    let args: Vec<&str> = ["get"].iter().chain(what).chain(&["-o", &template]).copied().collect();
    wait_until(&format!("{} has {jsonpath} = {expected}", what.join(" ")), limit, || {
        let printed = plane.kubectl_ok(&args)?;
        ensure!(printed == expected, "it is {printed:?}");
        Ok(true)
    })
}
