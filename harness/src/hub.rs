//! A hub process with a configuration of its own and the first administrator signed in.
//!
//! Must not know: clusters.

use std::fmt::Write as _;
use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use flotilla_testbed::{Process, Program, free_port};

use crate::Programs;

/// How long a hub may take to start on a loaded machine.
const START_LIMIT: Duration = Duration::from_secs(60);

/// What a hub is to be like.
#[derive(Clone, Debug, Default)]
pub struct HubOptions {
    /// People's port; a free one when left out.
    pub people_port: Option<u16>,
    /// Agents' port; a free one when left out.
    pub agents_port: Option<u16>,
    /// Further sections of `central.yaml`, as YAML text.
    pub extra: String,
    /// kubectl for `POST /clusters/{id}/exec`.
    pub kubectl: Option<PathBuf>,
}

/// A running hub. Dropping it ends it.
#[derive(Debug)]
pub struct HubProcess {
    process: Option<Process>,
    programs: Programs,
    leash: PathBuf,
    dir: PathBuf,
    /// People's port.
    pub people_port: u16,
    /// Agents' port.
    pub agents_port: u16,
    /// Metrics' port.
    pub metrics_port: u16,
    /// Account of the first administrator.
    pub email: String,
    /// His password, as the hub printed it on its first start.
    pub password: String,
}

impl HubProcess {
    /// Starts a hub that keeps everything below `dir`, and returns when it takes requests.
    ///
    /// # Errors
    /// It does not start; the error holds the end of its log.
    pub fn start(programs: &Programs, leash: &Path, dir: &Path, options: &HubOptions) -> Result<Self> {
        fs::create_dir_all(dir)?;
        let port = |given: Option<u16>| given.map_or_else(free_port, Ok);
        let mut hub = Self {
            process: None,
            programs: programs.clone(),
            leash: leash.to_owned(),
            dir: dir.to_owned(),
            people_port: port(options.people_port)?,
            agents_port: port(options.agents_port)?,
            metrics_port: free_port()?,
            email: "admin@flotilla.local".to_owned(),
            password: String::new(),
        };
        fs::write(hub.config_path(), hub.config(options))?;
        hub.restart()?;
        hub.password = hub.printed_password()?;
        Ok(hub)
    }

    fn config_path(&self) -> PathBuf {
        self.dir.join("central.yaml")
    }

    fn config(&self, options: &HubOptions) -> String {
        let mut text = format!(
            "server: {{http_port: {}, grpc_port: {}, metrics_port: {}, drain: 2s}}\ndata_dir: {:?}\n",
            self.people_port,
            self.agents_port,
            self.metrics_port,
            self.dir.join("data")
        );
        if let Some(kubectl) = &options.kubectl {
            let _ = writeln!(text, "gateway: {{kubectl: {kubectl:?}}}");
        }
        text.push_str(&options.extra);
        text
    }

    /// Starts the process again with the same state, after [`HubProcess::kill`] for example.
    ///
    /// # Errors
    /// It does not start.
    pub fn restart(&mut self) -> Result<()> {
        let program = Program::new("hub", &self.programs.flotilla, &self.dir)
            .args(["hub", "--config"])
            .arg(self.config_path())
            .current_dir(&self.dir);
        let mut process = program.start(&self.leash)?;
        let (port, metrics) = (self.people_port, self.metrics_port);
        process.wait_until("the hub listens", START_LIMIT, || Ok(listens(port) && listens(metrics)))?;
        self.process = Some(process);
        Ok(())
    }

    fn printed_password(&self) -> Result<String> {
        let log = self.log();
        let line = log.lines().find_map(|line| line.trim().strip_prefix("password:"));
        line.map(|password| password.trim().to_owned()).with_context(|| format!("the hub printed no password:\n{log}"))
    }

    /// Ends the process with SIGKILL.
    ///
    /// # Errors
    /// It is not running.
    pub fn kill(&mut self) -> Result<()> {
        self.process.as_mut().context("the hub is not running")?.kill()
    }

    /// Ends the process with SIGTERM and waits; its exit code.
    ///
    /// # Errors
    /// It is not running.
    pub fn stop(&mut self) -> Result<i32> {
        self.process.as_mut().context("the hub is not running")?.stop()
    }

    /// The running process.
    #[must_use]
    pub fn process(&self) -> Option<&Process> {
        self.process.as_ref()
    }

    /// All that the hub has printed: its log and, if so configured, its audit rows.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.join("hub.log")).unwrap_or_default()
    }

    /// Where the hub keeps its configuration, log and data.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Address for people.
    #[must_use]
    pub fn url(&self) -> String {
        format!("https://localhost:{}", self.people_port)
    }

    /// The hub's CA, PEM.
    ///
    /// # Errors
    /// The hub has not made it yet.
    pub fn ca_path(&self) -> PathBuf {
        self.dir.join("data/ca.crt")
    }

    /// The `flotilla` command with a home of its own for `user`, so that tests do not touch the real one.
    #[must_use]
    pub fn flotilla(&self, user: &str) -> Command {
        let home = self.dir.join("homes").join(user);
        let mut command = Command::new(&self.programs.flotilla);
        command.env("HOME", &home).stdin(Stdio::null());
        for (name, folder) in
            [("XDG_CONFIG_HOME", ".config"), ("XDG_STATE_HOME", ".local/state"), ("XDG_CACHE_HOME", ".cache")]
        {
            command.env(name, home.join(folder));
        }
        command.env_remove("XDG_RUNTIME_DIR").env_remove("KUBECONFIG");
        command
    }

    /// Runs the `flotilla` command as `user` and returns its standard output.
    ///
    /// # Errors
    /// It fails; the error holds what it said.
    pub fn flotilla_ok(&self, user: &str, arguments: &[&str]) -> Result<String> {
        let output = self.flotilla(user).args(arguments).output()?;
        succeeded(&format!("flotilla {}", arguments.join(" ")), &output)
    }

    /// Signs `user` in.
    ///
    /// # Errors
    /// The hub refuses.
    pub fn login(&self, user: &str, email: &str, password: &str) -> Result<()> {
        use std::io::Write;
        let mut command = self.flotilla(user);
        command
            .args(["login", "--hub", &self.url(), "--email", email, "--password-stdin", "--ca-file"])
            .arg(self.ca_path());
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        child.stdin.take().context("no pipe")?.write_all(password.as_bytes())?;
        succeeded("flotilla login", &child.wait_with_output()?).map(drop)
    }

    /// Makes an account with roles and signs it in under the name before the `@`.
    ///
    /// # Errors
    /// The hub refuses.
    pub fn add_user(&self, email: &str, roles: &[&str]) -> Result<String> {
        let mut arguments = vec!["users", "add", email, "-o", "json"];
        for role in roles {
            arguments.extend(["--role", role]);
        }
        let created: serde_json::Value = serde_json::from_str(&self.flotilla_ok("admin", &arguments)?)?;
        let password = created["password"].as_str().context("no password in the answer")?.to_owned();
        let user = email.split('@').next().unwrap_or(email);
        self.login(user, email, &password)?;
        Ok(password)
    }

    /// Waits until the cluster is connected.
    ///
    /// # Errors
    /// It is not within the limit.
    pub fn wait_connected(&self, cluster: &str, limit: Duration) -> Result<()> {
        let deadline = Instant::now() + limit;
        loop {
            let listed: serde_json::Value =
                serde_json::from_str(&self.flotilla_ok("admin", &["clusters", "list", "-o", "json"])?)?;
            let clusters = listed["clusters"].as_array().or(listed.as_array()).cloned().unwrap_or_default();
            if clusters.iter().any(|one| one["name"] == cluster && one["status"] == "connected") {
                return Ok(());
            }
            ensure!(
                Instant::now() < deadline,
                "cluster {cluster} is not connected after {limit:?}; the hub says: {listed}"
            );
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

fn listens(port: u16) -> bool {
    TcpStream::connect(("127.0.0.1", port)).is_ok()
}

fn succeeded(what: &str, output: &Output) -> Result<String> {
    if !output.status.success() {
        bail!(
            "{what}: {}\n{}{}",
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
