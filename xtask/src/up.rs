//! `cargo xtask up` and `down`: real clusters, hub and agents on this machine, until told to stop.
//!
//! `up` starts itself once more in the background (`--foreground`), which owns every process on a leash: when it
//! ends, whatever ends it, all of them end. `up` waits until it has written `ready.json` and says how to go on.
//!
//! Must not know: how Kubernetes or the hub are started (`flotilla-testbed`, `flotilla-harness`).

use std::fs;
use std::io::{Read, Seek, SeekFrom, Write};
use std::net::TcpListener;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use flotilla_harness::{AgentProcess, HubOptions, HubProcess, Programs, TIER_BINDINGS};
use flotilla_testbed::{Binaries, ControlPlane, Kwok, KwokOptions, Node, Tools};
use nix::sys::signal::{self, Signal};
use nix::unistd::Pid;

use crate::{build_programs, built, root};

/// How long the start may take once everything is built.
const START_LIMIT: Duration = Duration::from_secs(180);

/// The clusters of the test bed, and what runs in each.
const SAMPLES: [(&str, &str); 2] =
    [("dev-local", include_str!("../samples/dev-local.yaml")), ("prod-eu", include_str!("../samples/prod-eu.yaml"))];

/// What to start.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Use the clusters of this kubeconfig instead of starting some; each context becomes a cluster.
    #[arg(long, value_name = "PATH")]
    kubeconfig: Option<PathBuf>,
    /// With --kubeconfig: only this context; may be given several times.
    #[arg(long, requires = "kubeconfig")]
    context: Vec<String>,
    /// Optimised programs; takes longer to build.
    #[arg(long)]
    release: bool,
    /// Stay in the foreground (what `up` starts in the background).
    #[arg(long, hide = true)]
    foreground: bool,
}

/// What the background process tells the one that waits for it.
#[derive(serde::Serialize, serde::Deserialize)]
struct Ready {
    url: String,
    email: String,
    password: String,
    clusters: Vec<String>,
    kubectl_dir: Option<PathBuf>,
}

fn state_dir() -> PathBuf {
    root().join("target/up")
}

/// Starts everything and returns when it is ready.
pub(crate) fn up(options: &Options) -> Result<()> {
    if options.foreground {
        return foreground(options);
    }
    let started = Instant::now();
    if let Some(pid) = running()? {
        let ready: Ready = serde_json::from_slice(
            &fs::read(state_dir().join("ready.json"))
                .context("`up` is still starting; wait, or run: cargo xtask down")?,
        )?;
        println!("already up (process {pid}); stop it with: cargo xtask down\n");
        return explain(&ready, options);
    }
    step("building the console");
    crate::web::build_if_possible()?;
    step("building the hub, the agent and the command line");
    build_programs(options.release)?;
    if options.kubeconfig.is_none() {
        if let Err(reason) = flotilla_testbed::install_prerequisites() {
            println!("   no real node on this machine: {reason:#}");
        }
        step("building Kubernetes from its Go modules (about 8 minutes the first time, cached afterwards)");
        Binaries::ensure(&mut |line| println!("   {line}"))?;
    }
    step("starting clusters, hub and agents");
    let ready = wait_for(spawn(options)?)?;
    sign_in(&ready, options)?;
    println!("\nReady after {} s.\n", started.elapsed().as_secs());
    explain(&ready, options)
}

fn step(text: &str) {
    println!("== {text}");
}

/// The process that `up` left in the background, if it still runs.
fn running() -> Result<Option<i32>> {
    let Ok(text) = fs::read_to_string(state_dir().join("pid")) else { return Ok(None) };
    let pid: i32 = text.trim().parse().context("the pid file is broken; delete target/up")?;
    let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    Ok(String::from_utf8_lossy(&command).contains("--foreground").then_some(pid))
}

fn spawn(options: &Options) -> Result<std::process::Child> {
    let dir = state_dir();
    fs::create_dir_all(&dir)?;
    let _ = fs::remove_file(dir.join("ready.json"));
    let log = fs::File::create(dir.join("up.log"))?;
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["up", "--foreground"]).current_dir(root());
    if let Some(path) = &options.kubeconfig {
        command
            .arg("--kubeconfig")
            .arg(path.canonicalize().with_context(|| format!("{} cannot be read", path.display()))?);
    }
    for context in &options.context {
        command.args(["--context", context]);
    }
    if options.release {
        command.arg("--release");
    }
    // A group of its own, so that Ctrl-C in this terminal does not end it.
    let child = command.process_group(0).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).spawn()?;
    fs::write(dir.join("pid"), child.id().to_string())?;
    Ok(child)
}

/// Passes on what the background process says until it is ready.
fn wait_for(mut child: std::process::Child) -> Result<Ready> {
    let dir = state_dir();
    let mut log = fs::File::open(dir.join("up.log"))?;
    let deadline = Instant::now() + START_LIMIT;
    let mut seen = 0;
    loop {
        let mut text = String::new();
        log.seek(SeekFrom::Start(seen))?;
        seen += log.read_to_string(&mut text)? as u64;
        print!("{text}");
        std::io::stdout().flush()?;
        if let Ok(bytes) = fs::read(dir.join("ready.json")) {
            return Ok(serde_json::from_slice(&bytes)?);
        }
        if let Some(status) = child.try_wait()? {
            bail!("the start failed ({status}); see {}", dir.join("up.log").display());
        }
        ensure!(
            Instant::now() < deadline,
            "not ready after {START_LIMIT:?}; see {}; stop it with: cargo xtask down",
            dir.join("up.log").display()
        );
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Signs the newcomer in and writes a kubeconfig for all clusters.
fn sign_in(ready: &Ready, options: &Options) -> Result<()> {
    let flotilla = built(options.release).join("flotilla");
    let mut login = Command::new(&flotilla);
    login.args(["login", "--hub", &ready.url, "--email", &ready.email, "--password-stdin", "--ca-file"]);
    login.arg(state_dir().join("hub/data/ca.crt")).stdin(Stdio::piped()).stdout(Stdio::null());
    let mut child = login.spawn()?;
    child.stdin.take().context("no pipe")?.write_all(ready.password.as_bytes())?;
    ensure!(child.wait()?.success(), "flotilla login failed");
    if let Some(first) = ready.clusters.first() {
        ensure!(
            Command::new(&flotilla).args(["clusters", "use", first]).stdout(Stdio::null()).status()?.success(),
            "flotilla clusters use failed"
        );
    }
    let kubeconfig = Command::new(&flotilla)
        .args(["kubeconfig", "--out"])
        .arg(state_dir().join("kubeconfig"))
        .stdout(Stdio::null())
        .status()?;
    ensure!(kubeconfig.success(), "flotilla kubeconfig failed");
    Ok(())
}

fn explain(ready: &Ready, options: &Options) -> Result<()> {
    let flotilla = built(options.release).join("flotilla");
    let path = std::env::join_paths(flotilla.parent().into_iter().chain(ready.kubectl_dir.as_deref()))?;
    println!("  hub       {}  (account {}, password {})", ready.url, ready.email, ready.password);
    println!("  clusters  {}", ready.clusters.join(", "));
    println!("  you are signed in. Next:\n");
    println!("    export PATH={}:$PATH", path.to_string_lossy());
    println!("    export KUBECONFIG={}", state_dir().join("kubeconfig").display());
    println!("    kubectl get pods -A            # unmodified kubectl, through hub and agent, as yourself");
    println!("    flotilla status                # who you are and what you may do");
    println!("    flotilla audit                 # what you did");
    println!("\n  Stop everything with: cargo xtask down");
    Ok(())
}

/// Owns every process until SIGTERM.
fn foreground(options: &Options) -> Result<()> {
    let dir = state_dir();
    let hub_dir = dir.join("hub");
    let _ = fs::remove_dir_all(&hub_dir);
    let programs = Programs::in_folder(&built(options.release))?;
    let (beds, sources, leash, kubectl_dir) = match &options.kubeconfig {
        None => test_bed()?,
        Some(path) => (
            Vec::new(),
            contexts(path, &options.context)?,
            Tools::ensure(&mut |line| println!("   {line}"))?.leash(),
            None,
        ),
    };
    let kubectl = kubectl_dir.as_ref().map(|dir| dir.join("kubectl"));
    let hub_options =
        HubOptions { people_port: Some(port(8080)), agents_port: Some(port(8443)), extra: String::new(), kubectl };
    let hub = HubProcess::start(&programs, &leash, &hub_dir, &hub_options)?;
    println!("   hub at {}", hub.url());
    hub.login("admin", &hub.email, &hub.password)?;
    let mut agents = Vec::new();
    for source in &sources {
        agents.push(AgentProcess::start(&programs, &leash, &hub, &source.name, &source.kubeconfig, "")?);
    }
    for source in &sources {
        hub.wait_connected(&source.name, Duration::from_secs(60))?;
        println!("   cluster {} is connected", source.name);
    }
    let ready = Ready {
        url: hub.url(),
        email: hub.email.clone(),
        password: hub.password.clone(),
        clusters: sources.iter().map(|source| source.name.clone()).collect(),
        kubectl_dir,
    };
    fs::write(dir.join("ready.json.new"), serde_json::to_vec(&ready)?)?;
    fs::rename(dir.join("ready.json.new"), dir.join("ready.json"))?;
    let _nodes = beds.first().map(|bed| join_nodes(bed, beds.get(1)));
    wait_for_stop()
}

/// A cluster that an agent is to serve.
struct Served {
    name: String,
    kubeconfig: PathBuf,
}

type Beds = (Vec<ControlPlane>, Vec<Served>, PathBuf, Option<PathBuf>);

/// Two control planes of the test bed, side by side.
fn test_bed() -> Result<Beds> {
    let binaries = Binaries::ensure(&mut |line| println!("   {line}"))?;
    let starts = SAMPLES.map(|(name, sample)| {
        let binaries = binaries.clone();
        std::thread::spawn(move || {
            let bed = ControlPlane::start(&binaries, flotilla_testbed::Options::new(name))?;
            bed.apply(TIER_BINDINGS)?;
            bed.apply(sample)?;
            anyhow::Ok(bed)
        })
    });
    let mut beds = Vec::new();
    for start in starts {
        let bed = start.join().map_err(|_| anyhow::anyhow!("a control plane's start panicked"))??;
        println!("   control plane {} at {}", bed.name(), bed.server_url());
        beds.push(bed);
    }
    let served =
        beds.iter().map(|bed| Served { name: bed.name().to_owned(), kubeconfig: bed.kubeconfig_path() }).collect();
    Ok((beds, served, binaries.leash(), Some(binaries.bin_dir())))
}

/// Gives the first cluster a real node and the second many played ones. Neither is waited for by `up`.
fn join_nodes(first: &ControlPlane, second: Option<&ControlPlane>) -> (Option<Node>, Option<Kwok>) {
    let node = Node::possible().map_err(anyhow::Error::msg).and_then(|()| Node::start(first));
    match &node {
        Ok(_) => println!("   {} has a real node", first.name()),
        Err(reason) => println!("   {} has no real node: {reason:#}", first.name()),
    }
    let kwok = second.map(|bed| Kwok::start(bed, KwokOptions { nodes: 5, ..KwokOptions::default() }));
    (node.ok(), kwok.and_then(Result::ok))
}

/// The contexts of a kubeconfig as clusters.
fn contexts(path: &Path, only: &[String]) -> Result<Vec<Served>> {
    let names =
        Command::new("kubectl").args(["config", "get-contexts", "-o", "name", "--kubeconfig"]).arg(path).output();
    let names = names.context("--kubeconfig needs kubectl on this machine to read the contexts")?;
    ensure!(names.status.success(), "{}", String::from_utf8_lossy(&names.stderr).trim());
    let names = String::from_utf8_lossy(&names.stdout).into_owned();
    let wanted = names.lines().filter(|name| only.is_empty() || only.iter().any(|one| one == name));
    let served: Vec<Served> = wanted.map(|context| single(path, context)).collect::<Result<_>>()?;
    ensure!(
        !served.is_empty(),
        "{} has no such context; it has: {}",
        path.display(),
        names.lines().collect::<Vec<_>>().join(", ")
    );
    println!(
        "   in a cluster you arrive as admin@flotilla.local in group flotilla:tier:admin; if nothing binds that yet:"
    );
    println!(
        "   kubectl create clusterrolebinding flotilla:tier:admin --clusterrole cluster-admin --group flotilla:tier:admin"
    );
    Ok(served)
}

/// One context on its own, with everything that it names inline, in a file that only its owner can read.
fn single(path: &Path, context: &str) -> Result<Served> {
    let name = cluster_name(context);
    let view = ["config", "view", "--minify", "--flatten", "--raw", "--context", context, "--kubeconfig"];
    let output = Command::new("kubectl").args(view).arg(path).output()?;
    ensure!(output.status.success(), "context {context}: {}", String::from_utf8_lossy(&output.stderr).trim());
    let kubeconfig = state_dir().join(format!("{name}.kubeconfig"));
    let _ = fs::remove_file(&kubeconfig);
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&kubeconfig)?;
    file.write_all(&output.stdout)?;
    Ok(Served { name, kubeconfig })
}

/// A context's name as a cluster's name: lower case, other characters become dashes.
fn cluster_name(context: &str) -> String {
    let name: String = context
        .to_lowercase()
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' })
        .take(63)
        .collect();
    name.trim_matches(['-', '.']).to_owned()
}

/// The usual port, or a free one when somebody has it.
fn port(usual: u16) -> u16 {
    let taken = TcpListener::bind(("127.0.0.1", usual)).is_err();
    if taken { flotilla_testbed::free_port().unwrap_or(usual) } else { usual }
}

fn wait_for_stop() -> Result<()> {
    let mut signals = signal::SigSet::empty();
    signals.add(Signal::SIGTERM);
    signals.add(Signal::SIGINT);
    signals.thread_block()?;
    signals.wait()?;
    println!("   stopping");
    Ok(())
}

/// Stops what `up` started.
pub(crate) fn down() -> Result<()> {
    let Some(pid) = running()? else {
        println!("nothing is up");
        return Ok(());
    };
    signal::kill(Pid::from_raw(pid), Signal::SIGTERM)?;
    let deadline = Instant::now() + Duration::from_secs(60);
    while running()?.is_some() {
        ensure!(Instant::now() < deadline, "process {pid} does not stop; see {}", state_dir().join("up.log").display());
        std::thread::sleep(Duration::from_millis(100));
    }
    let _ = fs::remove_file(state_dir().join("pid"));
    println!("stopped");
    Ok(())
}
