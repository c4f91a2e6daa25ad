//! The `flotilla` command: the hub, and everything that people do with one.
//!
//! The tree of commands and their dispatch. Standard output carries results alone; errors go to standard error
//! as `error:` and `hint:`; exit codes: 1 general, 2 usage, 3 not signed in, 4 not allowed, and kubectl's own.
//!
//! Must not know: what a command does.

mod commands;
mod config;
mod context;
mod credentials;
mod digest;
mod duration;
mod error;
mod files;
mod hub_client;
mod hub_url;
mod kubeconfig;
mod kubectl;
mod output;
mod session;
mod sign_in;
mod terminal;
mod trust;

use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use crate::commands::{
    agents, api_keys, audit, auth, clusters, completion, credential, hub, invite, kubeconfig as kubeconfig_command,
    kubectl as kubectl_command, login, logout, orgs, password, recordings, requests, roles, status, teams, users,
    version,
};
use crate::context::{Context, GlobalArgs};
use crate::error::CliError;

/// The hub runs in this binary: under load, mimalloc keeps its memory lower than the system's allocator does.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// One hub, every cluster, as yourself
#[derive(Debug, Parser)]
#[command(
    name = "flotilla",
    version,
    about,
    long_about = "One hub, every cluster, as yourself: sign in once, then use kubectl on any cluster that you may \
        reach, under your own name. Exit codes: 1 general, 2 usage, 3 not signed in, 4 not allowed; kubectl's own \
        for kubectl.",
    after_help = "Examples:
  flotilla login --hub https://hub.example.com:8080
  flotilla clusters list
  flotilla clusters use production-us-east
  flotilla k get pods -A"
)]
struct Cli {
    #[command(flatten)]
    global: GlobalArgs,

    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Login(login::Args),
    Logout(logout::Args),
    Password(password::Args),
    Status(status::Args),
    Whoami(status::WhoAmIArgs),
    Clusters(clusters::Args),
    #[command(visible_alias = "k")]
    Kubectl(kubectl_command::Args),
    Kubeconfig(kubeconfig_command::Args),
    Credential(credential::Args),
    Users(users::Args),
    Roles(roles::Args),
    Agents(agents::Args),
    ApiKeys(api_keys::Args),
    Orgs(orgs::Args),
    Teams(teams::Args),
    Invite(invite::Args),
    Request(requests::AskArgs),
    Requests(requests::Args),
    Auth(auth::Args),
    Audit(audit::Args),
    Recordings(recordings::Args),
    Completion(completion::Args),
    Hub(hub::Args),
    Version(version::Args),
}

fn main() -> ExitCode {
    let raw: Vec<OsString> = std::env::args_os().collect();
    if let Some(error) = hub::sandbox(&raw) {
        let _ = writeln!(std::io::stderr(), "error: {error:#}");
        return ExitCode::FAILURE;
    }
    let cli = Cli::parse_from(&raw);
    // One crypto provider for all TLS in this process; a second installation changes nothing.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    match run(cli, &raw) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            let _ = std::io::stderr().write_all(error.render().as_bytes());
            ExitCode::from(error.kind() as u8)
        }
    }
}

/// Runs the commands that need no context, or hands on to those that do.
fn run(cli: Cli, raw: &[OsString]) -> Result<u8, CliError> {
    match cli.command {
        Command::Hub(args) => run_hub(args),
        Command::Completion(args) => completion::run(&args, Cli::command()).map(|()| 0),
        Command::Version(args) => version::run(&args).map(|()| 0),
        Command::Kubectl(args) if args.asks_for_help() => show_kubectl_help().map(|()| 0),
        Command::Kubectl(mut args) => {
            args.args = kubectl_command::untouched(args.args, raw);
            let context = Context::new(cli.global)?;
            one_thread()?.block_on(kubectl_command::run(&context, args))
        }
        command => {
            let context = Context::new(cli.global)?;
            one_thread()?.block_on(dispatch(&context, command)).map(|()| 0)
        }
    }
}

async fn dispatch(context: &Context, command: Command) -> Result<(), CliError> {
    match command {
        Command::Login(args) => login::run(context, args).await,
        Command::Logout(args) => logout::run(context, args).await,
        Command::Password(args) => password::run(context, args).await,
        Command::Status(args) => status::run(context, args).await,
        Command::Whoami(args) => status::whoami(context, args).await,
        Command::Clusters(args) => clusters::run(context, args).await,
        Command::Kubeconfig(args) => kubeconfig_command::run(context, args).await,
        Command::Credential(args) => credential::run(context, args).await,
        Command::Users(args) => users::run(context, args).await,
        Command::Roles(args) => roles::run(context, args).await,
        Command::Agents(args) => agents::run(context, args).await,
        Command::ApiKeys(args) => api_keys::run(context, args).await,
        Command::Orgs(args) => orgs::run(context, args).await,
        Command::Teams(args) => teams::run(context, args).await,
        Command::Invite(args) => invite::run(context, args).await,
        Command::Request(args) => requests::ask(context, args).await,
        Command::Requests(args) => requests::run(context, args).await,
        Command::Auth(args) => auth::run(context, args).await,
        Command::Audit(args) => audit::run(context, args).await,
        Command::Recordings(args) => recordings::run(context, args).await,
        // `run` has taken these.
        Command::Kubectl(_) | Command::Hub(_) | Command::Completion(_) | Command::Version(_) => Ok(()),
    }
}

fn show_kubectl_help() -> Result<(), CliError> {
    let mut cli = Cli::command();
    cli.build();
    let help = cli.find_subcommand_mut("kubectl").map(|command| command.render_long_help().to_string());
    output::write_stdout(&help.unwrap_or_default())
}

/// A command makes a few calls one after the other, and the hub's connections have threads of their own: one thread
/// is enough for the rest, and starts faster than several.
fn one_thread() -> Result<tokio::runtime::Runtime, CliError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| CliError::general(format!("cannot start: {error}")))
}

fn run_hub(args: hub::Args) -> Result<u8, CliError> {
    // The chain of causes in one line each; the hub writes them for whoever runs it.
    one_thread()?.block_on(hub::run(args)).map(|()| 0).map_err(|error| CliError::general(format!("{error:#}")))
}

#[cfg(test)]
#[path = "main_tests.rs"]
mod tests;
