//! Development tasks. `cargo xtask --help` lists them.
//!
//! Must not know: how the product works; it builds, starts and checks it from outside.

#![allow(clippy::print_stdout, reason = "this is a command line")]

mod bench;
mod classify;
mod codegen;
mod coverage;
mod fuzz;
mod stage;
mod test;
mod tidy;
mod tool;
mod up;
mod web;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};
use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Development tasks of Flotilla", after_help = "Example: cargo xtask up")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Starts real clusters, the hub and an agent per cluster, ready to use. `cargo xtask down` stops them.
    #[command(after_help = "Example: cargo xtask up\nExample: cargo xtask up --kubeconfig ~/.kube/config")]
    Up(up::Options),
    /// Stops what `up` started.
    Down,
    /// Installs what the tests need, then runs all of them, or only the suites named.
    #[command(after_help = "Example: cargo xtask test\nExample: cargo xtask test --only unit --only e2e")]
    Test(test::Options),
    /// Measures, in one run, against peers.
    #[command(after_help = "Example: cargo xtask bench gateway\nExample: cargo xtask bench gateway --json")]
    Bench(bench::Options),
    /// Builds the console (`web/`), which hubs built afterwards serve. Needs Node 20 or later.
    #[command(after_help = "Example: cargo xtask web\nExample: cargo xtask web --screenshots")]
    Web(web::Options),
    /// Writes generated files (gRPC code, OpenAPI document, the console's API types), or checks that they are up to date.
    Codegen {
        /// Write nothing; fail if anything is stale.
        #[arg(long)]
        check: bool,
    },
    /// Says which lines the tests run, per crate, and of the lines that changed.
    #[command(
        after_help = "Example: cargo xtask coverage --since main~20\nExample: cargo xtask coverage --only store --keep"
    )]
    Coverage(coverage::Options),
    /// Builds the fuzz targets and runs them one after another.
    #[command(after_help = "Example: cargo xtask fuzz\nExample: cargo xtask fuzz jwt classify --seconds 60")]
    Fuzz(fuzz::Options),
    /// Checks the rules of this repository that a machine can check.
    Tidy,
    /// Reads `METHOD TARGET` lines and prints what the gateway's classifier makes of each, as JSON lines.
    #[command(after_help = "Example: echo 'GET /api/v1/pods?watch=yes' | cargo xtask classify")]
    Classify,
}

fn main() -> anyhow::Result<()> {
    match Arguments::parse().task {
        Task::Up(options) => up::up(&options),
        Task::Down => up::down(),
        Task::Test(options) => test::run(&options),
        Task::Bench(options) => bench::run(&options),
        Task::Web(options) => web::run(&options),
        Task::Codegen { check } => codegen::run(check),
        Task::Coverage(options) => coverage::run(&options),
        Task::Fuzz(options) => fuzz::run(&options),
        Task::Tidy => tidy::run(),
        Task::Classify => classify::run(),
    }
}

/// The repository's top folder.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."))
}

/// Where cargo puts what it builds, for a profile.
pub(crate) fn built(release: bool) -> PathBuf {
    target().join(if release { "release" } else { "debug" })
}

/// cargo's target folder: the one that this program was built into.
pub(crate) fn target() -> PathBuf {
    let own = std::env::current_exe().ok();
    own.as_deref().and_then(Path::parent).and_then(Path::parent).map_or_else(|| root().join("target"), Path::to_owned)
}

/// The cargo that runs us.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(env!("CARGO"));
    command.current_dir(root());
    command
}

/// Runs a command to its end, its output passing through.
pub(crate) fn succeed(command: &mut Command) -> anyhow::Result<()> {
    let status = command.status().with_context(|| format!("cannot start {command:?}"))?;
    ensure!(status.success(), "{command:?} ended with {status}");
    Ok(())
}

/// Builds the `flotilla` and `flotilla-agent` programs.
pub(crate) fn build_programs(release: bool) -> anyhow::Result<()> {
    let mut command = cargo();
    command.args(["build", "--package", "flotilla", "--package", "flotilla-agent"]);
    if release {
        command.arg("--release");
    }
    succeed(&mut command)
}
