//! `flotilla kubectl ...` and `flotilla k ...`: the real kubectl on the chosen cluster.

use std::ffi::{OsStr, OsString};
use std::io::{IsTerminal, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use flotilla_types::api::{ExecRequest, ExecResponse};

use crate::context::{Context, this_program};
use crate::error::{CliError, Doing};
use crate::files;
use crate::hub_client::{Call, HubClient};
use crate::hub_url::HubUrl;
use crate::kubeconfig::{self, Source};
use crate::kubectl::{self, Remote};
use crate::output::write_stdout;
use crate::session;
use crate::terminal::during;

/// A command that the hub runs in our place may wait for a rollout.
const REMOTE_DEADLINE: Duration = Duration::from_secs(300);

/// Largest standard input that is sent to the hub, in bytes.
const MAX_STDIN: u64 = 8 << 20;

/// Run kubectl on the chosen cluster
///
/// Everything behind `kubectl` goes to kubectl untouched; its exit code is the exit code. kubectl's own help:
/// flotilla kubectl help. Without a kubectl on this machine, the hub runs commands that need no terminal and
/// no files of yours.
#[derive(Debug, clap::Args)]
#[command(
    disable_help_flag = true,
    after_help = "Examples:
  flotilla kubectl get pods -A
  flotilla k exec -it web-0 -- sh
  flotilla --cluster production k apply -f app.yaml
  flotilla k logs -f deploy/web"
)]
pub(crate) struct Args {
    /// Arguments for kubectl
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGS")]
    pub(crate) args: Vec<OsString>,
}

impl Args {
    /// Whether this is a question about `flotilla kubectl`, not about kubectl.
    pub(crate) fn asks_for_help(&self) -> bool {
        matches!(self.args.as_slice(), [only] if only == "--help" || only == "-h")
    }
}

/// Becomes kubectl, or has the hub run the command. The number is the exit code.
///
/// # Errors
/// When nobody is signed in, no cluster is chosen, or there is no kubectl and the hub cannot help.
pub(crate) async fn run(context: &Context, args: Args) -> Result<u8, CliError> {
    let program = program(context)?;
    if let (Some(program), true) = (&program, kubectl::needs_no_cluster(&args.args)) {
        let kubeconfig = prepare(context).await.unwrap_or_else(|_| PathBuf::from(NO_FILE));
        return kubectl::become_kubectl(program, &args.args, &kubeconfig);
    }
    match program {
        Some(program) => kubectl::become_kubectl(&program, &args.args, &prepare(context).await?),
        None => run_at_hub(context, &args.args).await,
    }
}

/// What stands for "no kubeconfig at all".
const NO_FILE: &str = if cfg!(windows) { "NUL" } else { "/dev/null" };

fn program(context: &Context) -> Result<Option<PathBuf>, CliError> {
    if let Some(given) = context.global.kubectl.as_ref().or(context.config.kubectl.as_ref()) {
        return if given.is_file() {
            Ok(Some(given.clone()))
        } else {
            Err(CliError::usage(format!("there is no kubectl at {}", given.display()))
                .hint("correct --kubectl, FLOTILLA_KUBECTL or the key kubectl of the configuration"))
        };
    }
    // Where programs are is no configuration of ours.
    let path = std::env::var_os("PATH").unwrap_or_default();
    Ok(kubectl::find(path.as_os_str(), Path::new(&this_program()?)))
}

/// A kubeconfig for the chosen cluster alone, and a session that holds: its end is better said here than by a
/// plugin inside kubectl.
async fn prepare(context: &Context) -> Result<PathBuf, CliError> {
    let hub = context.hub()?;
    let stored = session::stored(&context.store, &hub)?;
    let cluster = context.cluster()?;
    if session::needs_renewal(&stored, jiff::Timestamp::now()) {
        session::current(&context.store, &hub, &context.transport(&hub)?).await?;
    }
    write_kubeconfig(context, &hub, &cluster)
}

/// Writes the kubeconfig that only `flotilla kubectl` uses. A namespace that the person set in it
/// (`k config set-context --current --namespace=x`) is kept.
fn write_kubeconfig(context: &Context, hub: &HubUrl, cluster: &str) -> Result<PathBuf, CliError> {
    let path = context.paths.cache.join("kubeconfig").join(hub.slug()).join(format!("{cluster}.yaml"));
    let doing = || format!("write {}", path.display());
    let ca = context.store.entry(hub)?.ca;
    let program = this_program()?;
    let source = Source { hub, ca: ca.as_deref(), program: &program, prefix: "" };
    let ours = source.document(&[cluster], Some(cluster));
    let old = files::read_if_there(&path).doing(doing())?.unwrap_or_default();
    // A file that we cannot read is nobody's work: it is ours, in our cache.
    let merged = kubeconfig::parse(&old).and_then(|tree| kubeconfig::merge(tree, &ours)).unwrap_or(ours);
    let new = kubeconfig::render(&merged)?;
    if new != old {
        files::replace(&path, &new, None).doing(doing())?;
    }
    Ok(path)
}

async fn run_at_hub(context: &Context, args: &[OsString]) -> Result<u8, CliError> {
    let remote = kubectl::remote(args).map_err(|why| no_kubectl(&why))?;
    let client = context.client()?;
    let cluster = context.cluster()?;
    let stdin = if remote.reads_stdin { Some(read_stdin()?) } else { None };
    let answer = ask_hub(&client, &cluster, remote, stdin).await?;
    write_stdout(&answer.output)?;
    Ok(u8::try_from(answer.exit_code).unwrap_or(1))
}

async fn ask_hub(
    client: &HubClient,
    cluster: &str,
    remote: Remote,
    stdin: Option<String>,
) -> Result<ExecResponse, CliError> {
    let body = ExecRequest { command: remote.command, stdin };
    let call = Call::post(&["api", "clusters", cluster, "exec"]).json(&body)?.deadline(REMOTE_DEADLINE);
    during("The hub runs kubectl", client.call(&call)).await
}

fn read_stdin() -> Result<String, CliError> {
    let stdin = std::io::stdin();
    if stdin.is_terminal() {
        return Err(no_kubectl("-f - would read from this terminal; pipe the manifest in"));
    }
    let mut text = String::new();
    stdin.lock().take(MAX_STDIN + 1).read_to_string(&mut text).doing("read standard input")?;
    if text.len() as u64 > MAX_STDIN {
        return Err(no_kubectl("standard input is larger than 8 MiB"));
    }
    Ok(text)
}

fn no_kubectl(why: &str) -> CliError {
    CliError::general(format!("there is no kubectl in PATH, and the hub cannot run this for you: {why}"))
        .hint("install kubectl (https://kubernetes.io/docs/tasks/tools/) or name it with --kubectl FILE")
}

/// The words behind `kubectl` or `k` as the shell gave them. clap swallows a first `--`; everything else it
/// gives unchanged.
pub(crate) fn untouched(parsed: Vec<OsString>, raw: &[OsString]) -> Vec<OsString> {
    let start = raw.len().saturating_sub(parsed.len() + 1);
    match raw.get(start..) {
        Some([first, rest @ ..]) if first == OsStr::new("--") && rest == parsed.as_slice() => raw[start..].to_vec(),
        _ => parsed,
    }
}
