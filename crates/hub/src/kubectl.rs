//! Runs kubectl on the hub for callers who have none (`POST /clusters/{id}/exec`, gRPC `ExecuteCommand`).
//!
//! It is the real kubectl, started as the caller: its kubeconfig names this hub's own gateway and the caller's own
//! token, so policy, impersonation and audit are those of any other kubectl. It must reach nothing of the hub's:
//!
//! 1. **words** ([`vet`]): only known subcommands, no flag that names a file, a server, a credential or an identity;
//! 2. **process**: empty environment, an empty directory of its own as HOME and working directory;
//! 3. **kernel** ([`enter_sandbox`]): Landlock (Linux 5.13, TCP rules 6.7) lets it read its own program and
//!    libraries and that directory, and connect to the gateway's port, nothing else.
//!
//! The first and second hold everywhere; the third makes a mistake in the first harmless. Where the kernel lacks it,
//! commands run behind the first two alone, and the hub says so when it starts ([`warn_of_missing_walls`]).
//!
//! Its requests come from loopback under a path of their own ([`Kubectl::restore`]), by which the hub knows from where
//! the caller came, and so do the audit rows.
//!
//! Must not know: policy. It decides nothing about rights.

use std::collections::HashMap;
use std::ffi::OsString;
use std::io::Write;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::Context;
use flotilla_identity::principal::Principal;
use flotilla_types::api::{ExecRequest, ExecResponse};
use flotilla_types::id::UserId;
use flotilla_types::problem::Code;
use http::{Request, StatusCode};
use parking_lot::Mutex;
use secrecy::{ExposeSecret, SecretString};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;
use tokio::sync::Semaphore;
use uuid::Uuid;

use crate::error::ApiError;
use crate::hub::Hub;

/// Most bytes of output that are kept.
const MAX_OUTPUT: usize = 8 * 1024 * 1024;

/// Commands that may run at a time; more wait, at most as long as a command may run.
const CONCURRENT: usize = 16;

/// Commands of one person that may run at a time, so that nobody keeps all others out.
const CONCURRENT_OF_ONE: usize = 4;

/// The one other program, of `kubectl diff`.
const DIFF: &str = "/usr/bin/diff";

/// Name of the hidden subcommand of the `flotilla` program that becomes kubectl inside the sandbox.
pub const SANDBOX_COMMAND: &str = "hub-kubectl-sandbox";

/// Before the path of a request of such a kubectl, with the command's ticket behind it.
const RUN_PREFIX: &str = "/run/";

/// Subcommands that do their whole work through the API server and end by themselves.
const SUBCOMMANDS: &[&str] = &[
    "annotate",
    "api-resources",
    "api-versions",
    "apply",
    "auth",
    "autoscale",
    "certificate",
    "cluster-info",
    "cordon",
    "create",
    "delete",
    "describe",
    "diff",
    "drain",
    "events",
    "exec",
    "explain",
    "expose",
    "get",
    "label",
    "logs",
    "patch",
    "replace",
    "rollout",
    "run",
    "scale",
    "set",
    "taint",
    "top",
    "uncordon",
    "version",
    "wait",
];

/// Flags that name a file, a server, a credential, an identity or a terminal. `-f` is looked at apart.
const REFUSED_FLAGS: &[&str] = &[
    "--as",
    "--as-group",
    "--as-uid",
    "--as-user-extra",
    "--cache-dir",
    "--cert",
    "--certificate-authority",
    "--client-certificate",
    "--client-key",
    "--cluster",
    "--context",
    "--disable-compression",
    "--from-env-file",
    "--from-file",
    "--insecure-skip-tls-verify",
    "--key",
    "--kubeconfig",
    "--kuberc",
    "--kustomize",
    "--log-file",
    "--patch-file",
    "--password",
    "--profile",
    "--profile-output",
    "--raw-file",
    "--request-timeout-file",
    "--output-directory",
    "--server",
    "--stdin",
    "--tls-server-name",
    "--token",
    "--token-file",
    "--tty",
    "--user",
    "--username",
    "--template-file",
    "--openapi-file",
];

/// Refused one-letter flags: kustomize directory, server, terminal, standard input of a shell.
const REFUSED_SHORT: &[char] = &['k', 's', 't', 'i'];

/// Flags without a value that may stand directly before `--`.
const BEFORE_DASHES: &[&str] = &["--command", "--rm", "--quiet", "-q", "--attach", "--privileged"];

/// Where kubectl is and where the gateway is.
pub struct Kubectl {
    program: PathBuf,
    gateway: OnceLock<SocketAddr>,
    trust: Trust,
    running: Semaphore,
    running_of: Arc<Mutex<HashMap<UserId, usize>>>,
    callers: Arc<Mutex<HashMap<String, IpAddr>>>,
    deadline: Duration,
}

/// How kubectl knows that the gateway on this machine's loopback is this hub.
#[derive(Clone, Debug)]
pub enum Trust {
    /// By the hub's own CA, PEM.
    Ca(String),
    /// Not at all: the certificate is for the hub's public name, and the port, on loopback, is the hub's own.
    OwnPort,
    /// Not possible: the listener speaks plain HTTP only, to which kubectl sends no token.
    None,
}

impl Kubectl {
    /// `program` is a path or a name in `PATH`; `trust` says how the gateway is known.
    #[must_use]
    pub fn new(program: PathBuf, trust: Trust, deadline: Duration) -> Self {
        let running = Semaphore::new(CONCURRENT);
        Self {
            program,
            gateway: OnceLock::new(),
            trust,
            running,
            running_of: Arc::default(),
            callers: Arc::default(),
            deadline,
        }
    }

    /// Makes of a request of a kubectl that the hub runs what its caller would have sent himself; his address. Any
    /// other request stays as it is.
    pub fn restore<B>(&self, request: &mut Request<B>) -> Option<IpAddr> {
        let rest = request.uri().path_and_query()?.as_str().strip_prefix(RUN_PREFIX)?;
        let (ticket, target) = rest.split_once('/')?;
        let address = *self.callers.lock().get(ticket)?;
        *request.uri_mut() = format!("/{target}").parse().ok()?;
        Some(address)
    }

    /// A ticket by which requests of one command are known, until it is dropped.
    fn ticket_for(&self, address: IpAddr) -> Ticket {
        let text = Uuid::new_v4().simple().to_string();
        self.callers.lock().insert(text.clone(), address);
        Ticket { text, callers: Arc::clone(&self.callers) }
    }

    /// Where this hub's own people's listener is, known once it is bound.
    pub fn set_gateway(&self, address: SocketAddr) {
        let _ = self.gateway.set(address);
    }

    /// Room for one more command of this person; it is his until it is dropped.
    fn turn_of(&self, user: UserId) -> Option<Turn> {
        let mut running = self.running_of.lock();
        let count = running.entry(user).or_default();
        if *count >= CONCURRENT_OF_ONE {
            return None;
        }
        *count += 1;
        Some(Turn { user, running_of: Arc::clone(&self.running_of) })
    }
}

/// Stands for a caller's address while his command runs. Whoever knows it can pass for coming from there, and nothing
/// more: it is no credential.
struct Ticket {
    text: String,
    callers: Arc<Mutex<HashMap<String, IpAddr>>>,
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.callers.lock().remove(&self.text);
    }
}

/// One running command of one person.
struct Turn {
    user: UserId,
    running_of: Arc<Mutex<HashMap<UserId, usize>>>,
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut running = self.running_of.lock();
        match running.get_mut(&self.user) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(running.remove(&self.user)),
        }
    }
}

/// Runs one command in `cluster` with the caller's token; the audit log will say that he called from `address`.
///
/// # Errors
/// 422 for a command that is not for the hub to run, 501 without kubectl, 504 when it takes too long.
pub async fn run(
    hub: &Hub,
    cluster: &str,
    principal: &Principal,
    token: &SecretString,
    address: IpAddr,
    request: ExecRequest,
) -> Result<ExecResponse, ApiError> {
    vet(&request.command).map_err(ApiError::invalid)?;
    let kubectl = &hub.kubectl;
    let gateway = *kubectl.gateway.get().ok_or_else(|| ApiError::internal("the gateway's address is not known yet"))?;
    let busy = || {
        ApiError::too_many_requests(
            "too many commands are running on the hub; use kubectl with: flotilla kubeconfig",
            Duration::from_secs(5),
        )
    };
    let _turn = kubectl.turn_of(principal.user_id()).ok_or_else(busy)?;
    let permit = tokio::time::timeout(kubectl.deadline, kubectl.running.acquire()).await;
    let _permit = permit.ok().and_then(Result::ok).ok_or_else(busy)?;

    let home =
        tempfile::Builder::new().prefix("flotilla-kubectl-").tempdir().map_err(|error| ApiError::internal(&error))?;
    let kubeconfig = home.path().join("kubeconfig");
    let ticket = kubectl.ticket_for(address);
    let server = format!("https://{gateway}{RUN_PREFIX}{}/k8s/clusters/{cluster}", ticket.text);
    write_private(&kubeconfig, &kubeconfig_text(&kubectl.trust, &server, cluster, token)?)
        .map_err(|error| ApiError::internal(&error))?;
    let mut child = command(&kubectl.program, home.path(), gateway.port(), &request.command)?
        .spawn()
        .map_err(|error| no_kubectl(&kubectl.program, &error))?;
    let finished = tokio::time::timeout(kubectl.deadline, communicate(&mut child, request.stdin)).await;
    match finished {
        Ok(answer) => answer.map_err(|error| ApiError::internal(&error)),
        Err(_) => Err(ApiError::new(
            StatusCode::GATEWAY_TIMEOUT,
            Code::Timeout,
            format!(
                "the command did not end within {} s; for long ones use kubectl with: flotilla kubeconfig",
                kubectl.deadline.as_secs()
            ),
        )),
    }
}

/// Our own program as kubectl's sandbox, with nothing of our environment.
fn command(program: &Path, home: &Path, port: u16, arguments: &[String]) -> Result<Command, ApiError> {
    let program = find(program).ok_or_else(|| no_kubectl(program, &"it is not there"))?;
    let own = std::env::current_exe().map_err(|error| ApiError::internal(&error))?;
    let mut command = Command::new(own);
    command.arg(SANDBOX_COMMAND).arg(program).arg(home).arg(port.to_string()).arg("--").args(arguments);
    command
        .env_clear()
        .env("HOME", home)
        .env("TMPDIR", home)
        .env("KUBECONFIG", home.join("kubeconfig"))
        .env("TZ", "UTC");
    command.env("KUBECTL_EXTERNAL_DIFF", format!("{DIFF} -u -N"));
    command.current_dir(home).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    Ok(command)
}

/// The absolute path of `program`, looked up in `PATH` when it is a bare name.
fn find(program: &Path) -> Option<PathBuf> {
    if program.components().count() > 1 {
        return program.canonicalize().ok();
    }
    let path = flotilla_settings::process_environment().remove("PATH")?;
    std::env::split_paths(&path)
        .map(|folder| folder.join(program))
        .find(|candidate| candidate.is_file())
        .and_then(|found| found.canonicalize().ok())
}

fn no_kubectl(program: &Path, error: &dyn std::fmt::Display) -> ApiError {
    tracing::warn!(program = %program.display(), %error, "kubectl cannot be started");
    let detail =
        "this hub has no kubectl to run commands with (gateway.kubectl); use your own with: flotilla kubeconfig";
    ApiError::new(StatusCode::NOT_IMPLEMENTED, Code::Unavailable, detail)
}

/// Feeds standard input and gathers both outputs as they come.
async fn communicate(child: &mut tokio::process::Child, input: Option<String>) -> std::io::Result<ExecResponse> {
    let mut stdin = child.stdin.take();
    let feed = async move {
        if let (Some(mut pipe), Some(text)) = (stdin.take(), input) {
            // A command that does not read its input closes the pipe; that is its right.
            let _ = pipe.write_all(text.as_bytes()).await;
        }
    };
    let (Some(mut stdout), Some(mut stderr)) = (child.stdout.take(), child.stderr.take()) else {
        return Err(std::io::Error::other("kubectl was started without pipes"));
    };
    let gather = async move {
        let mut output = Vec::new();
        let (mut out, mut err) = (vec![0u8; 16 * 1024], vec![0u8; 16 * 1024]);
        let (mut out_open, mut err_open) = (true, true);
        while out_open || err_open {
            let chunk: &[u8] = tokio::select! {
                read = stdout.read(&mut out), if out_open => { let n = read?; out_open = n > 0; &out[..n] }
                read = stderr.read(&mut err), if err_open => { let n = read?; err_open = n > 0; &err[..n] }
            };
            let room = MAX_OUTPUT.saturating_sub(output.len());
            output.extend_from_slice(&chunk[..chunk.len().min(room)]);
            if chunk.len() > room {
                output.extend_from_slice(b"\n... output cut at 8 MiB\n");
                return Ok::<_, std::io::Error>(output);
            }
        }
        Ok(output)
    };
    let ((), output) = tokio::join!(feed, gather);
    let output = String::from_utf8_lossy(&output?).into_owned();
    let status =
        if output.len() > MAX_OUTPUT { child.kill().await.and(child.wait().await)? } else { child.wait().await? };
    Ok(ExecResponse { output, exit_code: status.code().unwrap_or(137) })
}

fn kubeconfig_text(trust: &Trust, server: &str, cluster: &str, token: &SecretString) -> Result<String, ApiError> {
    use base64::Engine;
    let mut server = serde_json::json!({"server": server});
    match trust {
        Trust::Ca(pem) => {
            server["certificate-authority-data"] = base64::engine::general_purpose::STANDARD.encode(pem).into();
            server["tls-server-name"] = "localhost".into();
        }
        Trust::OwnPort => server["insecure-skip-tls-verify"] = true.into(),
        Trust::None => {
            let detail = "this hub speaks no TLS (tls.enabled), so it cannot run commands for you; \
                use your own kubectl with: flotilla kubeconfig";
            return Err(ApiError::new(StatusCode::NOT_IMPLEMENTED, Code::Unavailable, detail));
        }
    }
    let kubeconfig = serde_json::json!({
        "apiVersion": "v1", "kind": "Config", "current-context": cluster,
        "clusters": [{"name": cluster, "cluster": server}],
        "users": [{"name": "caller", "user": {"token": token.expose_secret()}}],
        "contexts": [{"name": cluster, "context": {"cluster": cluster, "user": "caller"}}],
    });
    Ok(kubeconfig.to_string())
}

fn write_private(path: &Path, text: &str) -> std::io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt;
    std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?.write_all(text.as_bytes())
}

/// Looks at the words of a command.
///
/// # Errors
/// Says which word is refused and what to use instead.
pub fn vet(arguments: &[String]) -> Result<(), String> {
    const OWN: &str = "use your own kubectl with: flotilla kubeconfig";
    if arguments.len() > 512 || arguments.iter().map(String::len).sum::<usize>() > 128 * 1024 {
        return Err("the command is longer than 512 words or 128 KiB".to_owned());
    }
    if let Some(word) = arguments.iter().find(|word| word.contains('\0')) {
        return Err(format!("{:?} holds a NUL character", word.chars().take(40).collect::<String>()));
    }
    let subcommand = subcommand(arguments);
    if !SUBCOMMANDS.contains(&subcommand) {
        return Err(format!(
            "kubectl {subcommand:?} is not a command that the hub runs; begin with one of {}, or {OWN}",
            SUBCOMMANDS.join(", ")
        ));
    }
    if subcommand == "cluster-info" && arguments.iter().any(|word| word == "dump") {
        return Err(format!("kubectl cluster-info dump writes files; {OWN}"));
    }
    let mut words = own_words(arguments)?.iter().map(String::as_str).peekable();
    while let Some(word) = words.next() {
        vet_flag(word, words.peek().copied()).map_err(|reason| format!("{word} {reason}; {OWN}"))?;
    }
    Ok(())
}

/// The first word that is not the namespace, which may stand before it.
fn subcommand(arguments: &[String]) -> &str {
    let mut words = arguments.iter().map(String::as_str);
    while let Some(word) = words.next() {
        match word {
            "-n" | "--namespace" => drop(words.next()),
            word if word.starts_with("--namespace=") || word.starts_with("-n") => {}
            word => return word,
        }
    }
    ""
}

/// The words before `--`: what follows belongs to the program in the container. Behind a flag that takes a value the
/// `--` is that value, and kubectl reads on.
fn own_words(arguments: &[String]) -> Result<&[String], String> {
    let Some(end) = arguments.iter().position(|word| word == "--") else { return Ok(arguments) };
    let own = &arguments[..end];
    match own.last() {
        Some(flag) if flag.starts_with('-') && !flag.contains('=') && !BEFORE_DASHES.contains(&flag.as_str()) => {
            Err(format!("-- directly behind {flag} could be its value; put another word between them"))
        }
        _ => Ok(own),
    }
}

fn vet_flag(word: &str, next: Option<&str>) -> Result<(), &'static str> {
    const FILE: &str = "would read a file of the hub; only standard input (-f -) can be read here";
    if let Some(long) = word.strip_prefix("--") {
        let (name, value) = long.split_once('=').map_or((long, None), |(name, value)| (name, Some(value)));
        // kubectl takes `--from_file` for `--from-file` (`WordSepNormalizeFunc` of component-base).
        return match name.replace('_', "-").as_str() {
            "filename" if value.or(next) == Some("-") => Ok(()),
            "filename" => Err(FILE),
            "output" if value.or(next).is_some_and(reads_a_file) => Err(FILE),
            // pflag takes no abbreviations, so an exact comparison is enough.
            name if REFUSED_FLAGS.contains(&format!("--{name}").as_str()) => {
                Err("is not allowed in a command that the hub runs")
            }
            _ => Ok(()),
        };
    }
    let Some(short) = word.strip_prefix('-').filter(|rest| !rest.is_empty()) else { return Ok(()) };
    for (at, letter) in short.char_indices() {
        let rest = short[at + letter.len_utf8()..].trim_start_matches('=');
        match letter {
            'f' if rest == "-" || (rest.is_empty() && (next == Some("-") || next.is_none())) => return Ok(()),
            // `logs -f` and `rollout -f` take no value and would follow; `-f FILE` would read.
            'f' => return Err(FILE),
            'o' if reads_a_file(rest) || (rest.is_empty() && next.is_some_and(reads_a_file)) => return Err(FILE),
            // These take a value: what follows in the word is it.
            'o' | 'n' | 'l' | 'c' | 'p' | 'L' | 'v' => return Ok(()),
            letter if REFUSED_SHORT.contains(&letter) => return Err("is not allowed in a command that the hub runs"),
            _ => {}
        }
    }
    Ok(())
}

/// Output formats that read a template: `go-template-file`, `templatefile`, `jsonpath-file`, `custom-columns-file`.
fn reads_a_file(format: &str) -> bool {
    format.split('=').next().is_some_and(|kind| kind.contains("file"))
}

/// Becomes kubectl inside the sandbox. Called by the `flotilla` program for its hidden subcommand with the words
/// after it: kubectl's path, the home directory, the gateway's port, `--`, kubectl's own arguments. Returns only to
/// say why it could not.
#[must_use]
pub fn enter_sandbox(words: &[OsString]) -> anyhow::Error {
    let [program, home, port, _, arguments @ ..] = words else {
        return anyhow::anyhow!("this command is the hub's own; see flotilla --help");
    };
    let confined = port
        .to_str()
        .and_then(|port| port.parse().ok())
        .context("no port")
        .and_then(|port| confine(Path::new(program), Path::new(home), port));
    match confined {
        Ok(()) => anyhow::Error::from(std::process::Command::new(program).arg0("kubectl").args(arguments).exec())
            .context("kubectl cannot be started"),
        Err(error) => error,
    }
}

/// Says which walls around kubectl this kernel does not have.
pub fn warn_of_missing_walls() {
    if let Err(missing) = walls() {
        tracing::warn!(
            missing,
            "kubectl that the hub runs (POST /clusters/{{id}}/exec) is held by the words it may be given and by its empty \
             environment alone; a kernel with Landlock (Linux 6.7) confines it, and gateway.kubectl: /nonexistent turns it off"
        );
    }
}

/// Whether the kernel has what [`confine`] asks for, or what it lacks.
fn walls() -> Result<(), &'static str> {
    use landlock::{ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, Ruleset, RulesetAttr};
    let strict = || Ruleset::default().set_compatibility(CompatLevel::HardRequirement);
    let made = |ruleset: Result<Ruleset, landlock::RulesetError>| ruleset.and_then(Ruleset::create).is_ok();
    if !made(strict().handle_access(AccessFs::from_all(ABI::V1))) {
        return Err("files and TCP (Landlock is not there or not enabled)");
    }
    if !made(strict().handle_access(AccessNet::from_all(ABI::V4))) {
        return Err("TCP (Landlock before Linux 6.7)");
    }
    Ok(())
}

/// Landlock: see `landlock(7)`. On a kernel without it the rules are dropped, as the module says.
fn confine(program: &Path, home: &Path, port: u16) -> anyhow::Result<()> {
    use landlock::{
        ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, NetPort, Ruleset, RulesetAttr, RulesetCreatedAttr,
        path_beneath_rules,
    };
    let abi = ABI::V5;
    let libraries = ["/lib", "/lib64", "/usr/lib", "/usr/lib64"].map(PathBuf::from);
    let readable = libraries.iter().map(PathBuf::as_path).chain([program, Path::new(DIFF), Path::new("/dev/null")]);
    Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(abi))?
        .handle_access(AccessNet::from_all(abi))?
        .create()?
        .add_rules(path_beneath_rules(readable, AccessFs::from_read(abi)))?
        .add_rules(path_beneath_rules([home], AccessFs::from_all(abi)))?
        .add_rule(NetPort::new(port, AccessNet::ConnectTcp))?
        .restrict_self()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;
    use std::time::Duration;

    use http::Request;

    use super::{Kubectl, Trust, vet};

    #[test]
    fn requests_of_a_running_command_come_from_its_caller() {
        let kubectl = Kubectl::new("kubectl".into(), Trust::None, Duration::from_secs(1));
        let address: IpAddr = "192.0.2.7".parse().unwrap();
        let ticket = kubectl.ticket_for(address);
        let target = "/k8s/clusters/dev/api/v1/pods?limit=500&x=%2F";
        let path = format!("/run/{}{target}", ticket.text);
        let restored = |path: &str| {
            let mut request = Request::get(path).body(()).unwrap();
            (kubectl.restore(&mut request), request.uri().to_string())
        };
        assert_eq!(restored(&path), (Some(address), target.to_owned()));
        assert_eq!(restored(&format!("https://localhost:1{path}")), (Some(address), target.to_owned()));
        for other in [target, "/run/", "/run//k8s/clusters/dev/api", "/run/0/k8s/clusters/dev/api"] {
            assert_eq!(restored(other), (None, other.to_owned()));
        }
        drop(ticket);
        assert_eq!(restored(&path), (None, path.clone()));
    }

    fn words(line: &str) -> Vec<String> {
        line.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn ordinary_commands_pass() {
        for line in [
            "get pods -n default",
            "get pods -ndefault -owide -A",
            "-n default get pods",
            "get pod x -o jsonpath={.metadata.name}",
            "apply -f -",
            "apply -f- --server-side",
            "apply --filename=- -n x",
            "delete --filename -",
            "logs web-0 -c app --tail=5",
            "exec web-0 -- ls -f /etc --kubeconfig",
            "create configmap x --from-literal=a=b",
            "auth can-i get pods",
            "describe pod x",
            "run x --image=busybox --restart=Never --command -- sleep 1",
            "exec web-0 -- cat file=",
            "get pods -o jsonpath={.items[*].spec.profile}",
        ] {
            assert_eq!(vet(&words(line)), Ok(()), "{line}");
        }
    }

    #[test]
    fn what_reaches_the_hub_is_refused() {
        for line in [
            "",
            "config view",
            "plugin list",
            "krew install x",
            "--kubeconfig=/x get pods",
            "get pods --kubeconfig /etc/x",
            "get pods --server=https://elsewhere",
            "get pods -shttps://elsewhere",
            "get pods --token x",
            "get pods --as=bob",
            "apply -f /etc/passwd",
            "apply -f/etc/passwd",
            "apply -f=/etc/passwd",
            "apply --filename=/etc/passwd",
            "apply -Rf /etc",
            "apply -k /etc",
            "apply --kustomize=/etc",
            "create configmap x --from-file=/etc/passwd",
            "create configmap x --from-env-file /etc/x",
            "create secret tls x --cert=/a --key=/b",
            "get pods -o go-template-file=/etc/passwd",
            "get pods -ojsonpath-file=/etc/passwd",
            "get pods --output=custom-columns-file=/etc/passwd",
            "patch pod x --patch-file /etc/passwd",
            "exec -it web-0 -- sh",
            "cp web-0:/a /b",
            "proxy",
            "port-forward web-0 1:2",
            "edit pod x",
            "cluster-info dump",
            "get pods --cache-dir=/x",
            "get pods --profile=cpu --profile-output=/x",
            "create configmap x --from_file=/etc/passwd",
            "get pods --client_key /etc/x",
            "get pods -o templatefile=/etc/passwd",
            "get pods -otemplatefile --template=/etc/passwd",
            "apply -n -- -f /etc/passwd",
            "get pods --namespace -- --kubeconfig=/etc/x",
            "apply --filename=-,/etc/passwd",
            "apply -f -,/etc/passwd",
        ] {
            assert!(vet(&words(line)).is_err(), "{line}");
        }
    }
}
