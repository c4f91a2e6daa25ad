//! What the console's browser tests and pictures stand on: a real control plane with a real node where the machine can
//! have one, a hub, agents, people with and without rights, a recorded shell. All of it goes when the run ends.
//!
//! Must not know: any page. What is needed beyond processes, the tests make through the hub's own API (`web/e2e`).

use std::io::Write;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use flotilla_harness::{AgentProcess, HubOptions, HubProcess, Programs, TIER_BINDINGS};
use flotilla_testbed::{Binaries, ControlPlane, Node, StateDir};

use crate::{build_programs, built, root, succeed, target, web};

/// Clusters by their names; all are the same control plane, which no page can tell.
const CONNECTED: [&str; 2] = ["dev-local", "prod-eu"];
/// Reached by the hub itself.
const DIRECT: &str = "stage-us";
/// Its agent was there once.
const AWAY: &str = "edge-oslo";

/// Somebody who may look at one namespace of the clusters `dev-*`, with recorded shells; and `stranger` holds no role.
const ROLES: &str = r#"
roles:
  - name: shop-developer
    description: Works on the shop
    groups: ["flotilla:tier:write"]
    clusters:
      - {name: "dev-*", namespaces: [shop], verbs: [get, list, watch, logs], resources: [pods, services, deployments]}
      - {name: "dev-*", namespaces: [shop], verbs: [exec, attach], resources: [pods], record: "on"}
"#;

const POD: &str = r#"
apiVersion: v1
kind: Namespace
metadata: {name: shop}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: default, namespace: shop}
---
apiVersion: v1
kind: Pod
metadata: {name: web, namespace: shop, labels: {app: web}}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - {name: web, image: "flotilla.test/busybox:1", command: [sleep, "86400"]}
"#;

/// What is typed into the recorded shell.
const TYPED: &str = "ls /\nuname -a\necho \"look: $(date +%Y)\"; sleep 1\nexit 3\n";

/// What is typed into the one that stays open.
const TYPED_ON: &str = "while true; do date; sleep 1; done\n";

/// Somebody's account.
struct Account {
    email: &'static str,
    password: String,
}

/// Everything, while it runs.
struct Stage {
    hub: HubProcess,
    people: Vec<(&'static str, Account)>,
    recorded: bool,
    /// A recorded shell that goes on until somebody ends it.
    open: Option<Child>,
    _agents: Vec<AgentProcess>,
    _node: Option<Node>,
    plane: ControlPlane,
    _dir: StateDir,
}

/// Runs the browser tests.
pub(crate) fn test() -> Result<()> {
    let stage = Stage::start()?;
    succeed(stage.tell(web::tool("vitest").args(["run", "--config", "e2e/vitest.config.ts"])))
}

/// Takes pictures of every page into `target/screenshots`.
pub(crate) fn screenshots() -> Result<()> {
    let stage = Stage::start()?;
    let folder = target().join("screenshots");
    let mut command = web::tool("vitest");
    command.args(["run", "--config", "e2e/screenshots.config.ts"]).env("FLOTILLA_SCREENSHOTS", &folder);
    succeed(stage.tell(&mut command))?;
    println!("the pictures are in {}", folder.display());
    Ok(())
}

impl Stage {
    fn start() -> Result<Self> {
        web::build()?;
        build_programs(false)?;
        let binaries = Binaries::ensure(&mut |line| println!("   {line}"))?;
        let programs = Programs::in_folder(&built(false))?;
        let plane = ControlPlane::start(&binaries, flotilla_testbed::Options::new("console"))?;
        plane.apply(TIER_BINDINGS)?;
        plane.apply(POD)?;
        let dir = StateDir::create("console")?;
        let roles = dir.path().join("roles.yaml");
        std::fs::write(&roles, ROLES)?;
        let extra = format!(
            "auth: {{roles_file: {roles:?}, developer: {{enabled: true}}}}\n\
             clusters: [{{name: {DIRECT}, backend: kubeconfig, kubeconfig: {:?}}}]\n",
            plane.kubeconfig_path()
        );
        let options = HubOptions { extra, kubectl: Some(binaries.kubectl()), ..HubOptions::default() };
        let hub = HubProcess::start(&programs, &binaries.leash(), dir.path(), &options)?;
        hub.login("admin", &hub.email, &hub.password)?;
        let enrol = |name| AgentProcess::start(&programs, &binaries.leash(), &hub, name, &plane.kubeconfig_path(), "");
        let agents = CONNECTED.into_iter().map(enrol).collect::<Result<Vec<_>>>()?;
        let passing = enrol(AWAY)?;
        for name in CONNECTED.iter().chain([&AWAY]) {
            hub.wait_connected(name, Duration::from_secs(60))?;
        }
        drop(passing);
        let mut stage = Self {
            people: people(&hub)?,
            recorded: false,
            open: None,
            hub,
            _agents: agents,
            _node: None,
            plane,
            _dir: dir,
        };
        match Node::possible() {
            Ok(()) => stage.record(&binaries)?,
            Err(reason) => println!("SKIPPED: recorded shells, there is no real node here: {reason}"),
        }
        Ok(stage)
    }

    /// A shell in a real pod, used and left, and one that stays open.
    fn record(&mut self, binaries: &Binaries) -> Result<()> {
        self._node = Some(Node::start(&self.plane)?);
        self.plane.kubectl_ok(&["wait", "--for=condition=Ready", "pod/web", "-n", "shop", "--timeout=60s"])?;
        self.hub.flotilla_ok("ada", &["clusters", "use", CONNECTED[0]])?;
        let mut left = self.shell(binaries)?;
        type_into(&mut left, TYPED)?;
        let ended = left.wait()?;
        ensure!(ended.code() == Some(3), "the recorded shell ended with {ended}");
        let mut open = self.shell(binaries)?;
        type_into(&mut open, TYPED_ON)?;
        self.open = Some(open);
        self.recorded = true;
        Ok(())
    }

    /// A shell on a terminal.
    fn shell(&self, binaries: &Binaries) -> Result<Child> {
        let flotilla = self.hub.flotilla("ada");
        let path = std::env::join_paths([binaries.bin_dir(), "/usr/bin".into(), "/bin".into()])?;
        // `script` gives it the terminal that a person would have, but no size.
        let program = flotilla.get_program().to_string_lossy();
        let line = format!("stty cols 96 rows 24; {program} k exec -n shop -it web -- sh");
        let mut shell = Command::new("script");
        shell.args(["-qec", &line, "/dev/null"]).env("PATH", path).stdin(Stdio::piped()).stdout(Stdio::null());
        for (name, value) in flotilla.get_envs() {
            match value {
                Some(value) => shell.env(name, value),
                None => shell.env_remove(name),
            };
        }
        shell.spawn().context("script (util-linux) is needed for a shell on a terminal")
    }

    /// Tells a program of the tests where everything is.
    fn tell<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        command.env("FLOTILLA_URL", self.hub.url()).env("FLOTILLA_KUBECONFIG", self.plane.kubeconfig_path());
        for (name, account) in &self.people {
            command.env(format!("FLOTILLA_{name}"), format!("{} {}", account.email, account.password));
        }
        if self.recorded {
            command.env("FLOTILLA_RECORDED", "yes");
        }
        command.env("FLOTILLA_ROOT", root() as &Path)
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if let Some(open) = &mut self.open {
            let _ = open.kill();
            let _ = open.wait();
        }
    }
}

/// Types as people do, line by line.
fn type_into(shell: &mut Child, text: &str) -> Result<()> {
    let input = shell.stdin.as_mut().context("no pipe")?;
    for line in text.split_inclusive('\n') {
        std::thread::sleep(Duration::from_millis(700));
        input.write_all(line.as_bytes())?;
    }
    Ok(())
}

/// An administrator, somebody with few rights, somebody with none.
fn people(hub: &HubProcess) -> Result<Vec<(&'static str, Account)>> {
    let add = |name, email, roles: &[&str]| {
        let password = hub.add_user(email, roles)?;
        anyhow::Ok((name, Account { email, password }))
    };
    Ok(vec![
        ("ADMIN", Account { email: "admin@flotilla.local", password: hub.password.clone() }),
        add("RESTRICTED", "ada@example.com", &["shop-developer"])?,
        add("STRANGER", "sten@example.com", &[])?,
    ])
}
