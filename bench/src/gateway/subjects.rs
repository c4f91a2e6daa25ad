//! The subjects as real processes, all before the same upstream.
//!
//! Must not know: what is asked of them.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use flotilla_harness::{AgentProcess, HubOptions, HubProcess, Programs};
use flotilla_testbed::{Authority, Binaries, Process, Program, StateDir, Tools, build_go_module, free_port};

use super::upstream::{SMALL, SMALL_SIZE, Upstream};
use crate::load::Target;
use crate::say;

/// Our cluster behind an agent.
const TUNNELLED: &str = "tunnelled";
/// The same without.
pub(crate) const DIRECT: &str = "direct";
/// How long anything may take to be connected.
const CONNECT_LIMIT: Duration = Duration::from_secs(30);

/// One subject: who is called, and whose processor time counts.
#[derive(Clone)]
pub(super) struct Subject {
    pub(super) name: &'static str,
    pub(super) target: Target,
    /// Before the upstream's path.
    prefix: String,
    pub(super) pids: Vec<u32>,
}

impl Subject {
    /// Asks for another path of the upstream.
    pub(super) fn asking(&self, path: &str, size: u64) -> Target {
        self.target.with_path(&format!("{}{path}", self.prefix), size)
    }
}

/// What all subjects share, and the folder in which everything is kept.
pub(crate) struct Ground {
    // Fields are dropped in this order: the upstream before its folder.
    pub(super) upstream: Upstream,
    authority: Authority,
    programs: Programs,
    leash: PathBuf,
    dir: StateDir,
}

impl Ground {
    pub(crate) fn prepare() -> Result<Self> {
        let programs = Programs::beside_us()?;
        let leash = Tools::ensure(&mut say)?.leash();
        let dir = StateDir::create("bench")?;
        let authority = Authority::new("bench")?;
        let ca = dir.path().join("ca.crt");
        fs::write(&ca, authority.certificate())?;
        let upstream = Upstream::start(&leash, &dir.path().join("nginx"), &authority, ca)?;
        Ok(Self { upstream, authority, programs, leash, dir })
    }

    /// The hub with an agent for one cluster and a kubeconfig for another, the administrator signed in.
    pub(super) fn flotilla(&self) -> Result<Flotilla> {
        let (hub, target) = self.direct_hub("flotilla", "")?;
        let agent = self.agent(&hub, TUNNELLED)?;
        Ok(Flotilla { hub, agent, target })
    }

    /// A hub with the cluster [`DIRECT`] and further configuration, and how its administrator calls it.
    pub(crate) fn direct_hub(&self, name: &str, extra: &str) -> Result<(HubProcess, Target)> {
        let kubeconfig = &self.upstream.kubeconfig;
        let clusters = format!("clusters: [{{name: {DIRECT}, backend: kubeconfig, kubeconfig: {kubeconfig:?}}}]\n");
        // The limit is checked on every request, and never reached.
        let limits = "limits: {gateway: {per_second: 10000000, burst: 10000000}}\n";
        let hub = self.hub(&self.dir.path().join(name), format!("{clusters}{limits}{extra}"))?;
        let answer: serde_json::Value =
            serde_json::from_str(&hub.flotilla_ok("admin", &["credential"])?).context("flotilla credential")?;
        let token = answer["status"]["token"].as_str().context("flotilla credential printed no token")?;
        let target = Target::tls(hub.people_port, &hub.ca_path(), "/", 0)?.bearer(token)?;
        Ok((hub, target))
    }

    /// A folder and a leash for other programs.
    pub(crate) fn place(&self) -> (&Path, &Path) {
        (self.dir.path(), &self.leash)
    }

    /// A hub with agents that have nothing to do.
    pub(super) fn idle(&self, agents: usize) -> Result<(HubProcess, Vec<AgentProcess>)> {
        let hub = self.hub(&self.dir.path().join("idle"), String::new())?;
        let agents = (0..agents).map(|index| self.agent(&hub, &format!("idle-{index}"))).collect::<Result<_>>()?;
        Ok((hub, agents))
    }

    fn hub(&self, dir: &Path, extra: String) -> Result<HubProcess> {
        let hub = HubProcess::start(&self.programs, &self.leash, dir, &HubOptions { extra, ..HubOptions::default() })?;
        hub.login("admin", &hub.email, &hub.password)?;
        Ok(hub)
    }

    fn agent(&self, hub: &HubProcess, cluster: &str) -> Result<AgentProcess> {
        let agent = AgentProcess::start(&self.programs, &self.leash, hub, cluster, &self.upstream.kubeconfig, "")?;
        hub.wait_connected(cluster, CONNECT_LIMIT)?;
        Ok(agent)
    }

    /// remotedialer's server and client.
    pub(super) fn remotedialer(&self) -> Result<Remotedialer> {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers/remotedialer");
        let program = build_go_module("remotedialer", &source, &mut say)?.join("remotedialer");
        let dir = self.dir.path().join("remotedialer");
        fs::create_dir_all(&dir)?;
        let pair = self.authority.issue("server", None, &["localhost", "127.0.0.1"])?;
        fs::write(dir.join("tls.crt"), &pair.certificate)?;
        fs::write(dir.join("tls.key"), &pair.key)?;
        let port = free_port()?;
        let ca = &self.upstream.ca;
        let server = Program::new("remotedialer-server", &program, &dir)
            .args(["server", "--listen", &format!("127.0.0.1:{port}")])
            .arg("--upstream")
            .arg(format!("https://localhost:{}", self.upstream.port));
        let server = server.arg("--cert").arg(dir.join("tls.crt")).arg("--key").arg(dir.join("tls.key"));
        let mut server = server.arg("--ca").arg(ca).start(&self.leash)?;
        server.wait_until("it listens", CONNECT_LIMIT, || Ok(listens(port)))?;
        let client = Program::new("remotedialer-client", &program, &dir)
            .args(["client", "--server", &format!("localhost:{port}")])
            .arg("--ca")
            .arg(ca);
        let mut client = client.start(&self.leash)?;
        let log = client.log_path().to_owned();
        client.wait_until("it is connected", CONNECT_LIMIT, || {
            Ok(fs::read_to_string(&log)?.contains("Connected to proxy"))
        })?;
        Ok(Remotedialer { client, server, target: Target::tls(port, ca, "/", 0)? })
    }

    /// `kubectl proxy`.
    pub(super) fn kubectl_proxy(&self) -> Result<KubectlProxy> {
        let kubectl = Binaries::ensure(&mut say)?.kubectl();
        let port = free_port()?;
        let program = Program::new("kubectl-proxy", kubectl, self.dir.path())
            .args(["proxy", &format!("--port={port}"), "--kubeconfig"])
            .arg(&self.upstream.kubeconfig);
        let mut process = program.start(&self.leash)?;
        process.wait_until("it listens", CONNECT_LIMIT, || Ok(listens(port)))?;
        Ok(KubectlProxy { process, port })
    }
}

fn listens(port: u16) -> bool {
    std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()
}

/// Hub and agent.
pub(super) struct Flotilla {
    hub: HubProcess,
    agent: AgentProcess,
    target: Target,
}

impl Flotilla {
    /// Through hub and agent.
    pub(super) fn tunnelled(&self) -> Result<Subject> {
        let pids = [self.hub.process(), self.agent.process()];
        self.subject(TUNNELLED, pids.into_iter().flatten().map(Process::pid).collect())
    }

    /// Through the hub alone.
    pub(super) fn direct(&self) -> Result<Subject> {
        self.subject(DIRECT, self.hub.process().into_iter().map(Process::pid).collect())
    }

    fn subject(&self, cluster: &str, pids: Vec<u32>) -> Result<Subject> {
        subject("flotilla", &self.target, format!("/k8s/clusters/{cluster}"), pids)
    }
}

/// Server and client of remotedialer.
pub(super) struct Remotedialer {
    client: Process,
    server: Process,
    target: Target,
}

impl Remotedialer {
    pub(super) fn subject(&self) -> Result<Subject> {
        subject("remotedialer", &self.target, String::new(), vec![self.server.pid(), self.client.pid()])
    }
}

/// `kubectl proxy`: plain HTTP in, TLS out.
pub(super) struct KubectlProxy {
    process: Process,
    port: u16,
}

impl KubectlProxy {
    pub(super) fn subject(&self) -> Result<Subject> {
        subject("kubectl-proxy", &Target::plain(self.port, "/", 0), String::new(), vec![self.process.pid()])
    }
}

fn subject(name: &'static str, target: &Target, prefix: String, pids: Vec<u32>) -> Result<Subject> {
    anyhow::ensure!(!pids.is_empty(), "{name} is not running");
    let target = target.with_path(&format!("{prefix}{SMALL}"), SMALL_SIZE);
    Ok(Subject { name, target, prefix, pids })
}
