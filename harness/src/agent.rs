//! An agent process, enrolled with a token that the administrator made.
//!
//! Must not know: which Kubernetes it serves; it gets a kubeconfig.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use flotilla_testbed::{Process, Program, free_port};

use crate::{HubProcess, Programs};

/// A running agent. Dropping it ends it.
#[derive(Debug)]
pub struct AgentProcess {
    process: Option<Process>,
    programs: Programs,
    leash: PathBuf,
    dir: PathBuf,
    name: String,
    /// Port of `/healthz`, `/readyz`, `/metrics`.
    pub health_port: u16,
}

impl AgentProcess {
    /// Enrols an agent for `cluster` and starts it with `kubeconfig`. `extra` is further YAML for `agent.yaml`.
    /// Needs the administrator signed in as `admin`.
    ///
    /// # Errors
    /// The hub refuses, or the agent does not start.
    pub fn start(
        programs: &Programs,
        leash: &Path,
        hub: &HubProcess,
        cluster: &str,
        kubeconfig: &Path,
        extra: &str,
    ) -> Result<Self> {
        let url = format!("https://localhost:{}", hub.agents_port);
        Self::start_through(programs, leash, hub, &url, cluster, kubeconfig, extra)
    }

    /// As [`AgentProcess::start`], but the agent reaches the hub at `url`, where a test or a proxy can come between
    /// them.
    ///
    /// # Errors
    /// As [`AgentProcess::start`].
    pub fn start_through(
        programs: &Programs,
        leash: &Path,
        hub: &HubProcess,
        url: &str,
        cluster: &str,
        kubeconfig: &Path,
        extra: &str,
    ) -> Result<Self> {
        let answer: serde_json::Value =
            serde_json::from_str(&hub.flotilla_ok("admin", &["agents", "token", cluster, "-o", "json"])?)?;
        let token = answer["token"].as_str().context("no token in the answer")?;
        let dir = hub.dir().join(format!("agent-{cluster}"));
        fs::create_dir_all(&dir)?;
        let mut agent = Self {
            process: None,
            programs: programs.clone(),
            leash: leash.to_owned(),
            name: format!("agent-{cluster}"),
            health_port: free_port()?,
            dir,
        };
        let config = format!(
            "central: {{url: \"{url}\", token: \"{token}\"}}\ncluster: {{name: {cluster}}}\nkubernetes: {{kubeconfig: {kubeconfig:?}}}\nstate_dir: {:?}\nhealth: {{listen: \"127.0.0.1:{}\"}}\n{extra}",
            agent.dir.join("state"),
            agent.health_port
        );
        fs::write(agent.config_path(), config)?;
        agent.restart()?;
        Ok(agent)
    }

    fn config_path(&self) -> PathBuf {
        self.dir.join("agent.yaml")
    }

    /// Starts the process again with the same state.
    ///
    /// # Errors
    /// It does not start.
    pub fn restart(&mut self) -> Result<()> {
        let program = Program::new(&self.name, &self.programs.agent, &self.dir).arg("--config").arg(self.config_path());
        self.process = Some(program.start(&self.leash)?);
        Ok(())
    }

    /// Ends the process with SIGKILL.
    ///
    /// # Errors
    /// It is not running.
    pub fn kill(&mut self) -> Result<()> {
        self.process.as_mut().context("the agent is not running")?.kill()
    }

    /// The running process.
    #[must_use]
    pub fn process(&self) -> Option<&Process> {
        self.process.as_ref()
    }

    /// All that the agent has printed.
    #[must_use]
    pub fn log(&self) -> String {
        self.process.as_ref().map(Process::log).unwrap_or_default()
    }
}
