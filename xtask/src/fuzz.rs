//! `cargo xtask fuzz [TARGET]... [--seconds N]`: builds every fuzz target and runs them one after another. What made one
//! fail stays in `fuzz/artifacts`; it belongs into a test.
//!
//! Must not know: what any target does.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, bail, ensure};

use crate::{root, succeed, tool};

/// The version that these targets were written with.
const CARGO_FUZZ: &str = "0.13.1";
/// Largest input, in bytes.
const MAX_INPUT: u32 = 16 * 1024;

/// Which targets, and for how long.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Only these; all of `fuzz/fuzz_targets` when left out
    targets: Vec<String>,
    /// Seconds for each target
    #[arg(long, default_value_t = 600)]
    seconds: u32,
}

/// Builds and runs.
pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let all = targets()?;
    if let Some(unknown) = options.targets.iter().find(|target| !all.contains(target)) {
        bail!("there is no fuzz target {unknown:?}; there are {}", all.join(", "));
    }
    if !nightly_is_there() {
        println!("installing the nightly compiler, which fuzzing needs");
        let install = ["toolchain", "install", "nightly", "--profile", "minimal"];
        succeed(Command::new("rustup").args(install))
            .context("fuzzing needs a nightly compiler; install rustup, or run: rustup toolchain install nightly")?;
    }
    tool::install("cargo-fuzz", CARGO_FUZZ)?;
    succeed(fuzz("build")?.args(&options.targets))?;
    let wanted = if options.targets.is_empty() { &all } else { &options.targets };
    let mut failed = Vec::new();
    for target in wanted {
        println!("\n=== {target} for {} s", options.seconds);
        if let Err(error) = run_one(target, options.seconds) {
            println!("{target}: {error:#}");
            failed.push(target.as_str());
        }
    }
    ensure!(failed.is_empty(), "failed: {}; the inputs are in fuzz/artifacts", failed.join(", "));
    println!("\n{} targets, {} s each, nothing found", wanted.len(), options.seconds);
    Ok(())
}

fn run_one(target: &str, seconds: u32) -> anyhow::Result<()> {
    let corpus = format!("fuzz/corpus/{target}");
    std::fs::create_dir_all(root().join(&corpus))?;
    let mut command = fuzz("run")?;
    command.args([target, &corpus]);
    let seeds = format!("fuzz/seeds/{target}");
    if root().join(&seeds).is_dir() {
        command.arg(&seeds);
    }
    command.args(["--", &format!("-max_total_time={seconds}"), &format!("-max_len={MAX_INPUT}")]);
    succeed(command.args(["-timeout=10", "-rss_limit_mb=2048", "-print_final_stats=1"]))
}

/// `cargo +nightly fuzz`. What this cargo told us about itself must not reach the other.
fn fuzz(subcommand: &str) -> anyhow::Result<Command> {
    let mut command = Command::new("cargo");
    command.args(["+nightly", "fuzz", subcommand]).current_dir(root()).env("PATH", tool::path()?);
    for name in ["CARGO", "RUSTC", "RUSTUP_TOOLCHAIN", "CARGO_TARGET_DIR"] {
        command.env_remove(name);
    }
    Ok(command)
}

fn nightly_is_there() -> bool {
    let listed = Command::new("rustup").args(["run", "nightly", "rustc", "--version"]).output();
    listed.is_ok_and(|listed| listed.status.success())
}

fn targets() -> anyhow::Result<Vec<String>> {
    let folder = root().join("fuzz/fuzz_targets");
    let entries = std::fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let paths: Vec<_> = entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<_, _>>()?;
    let is_rust = |path: &&Path| path.extension().is_some_and(|extension| extension == "rs");
    let stems = paths.iter().map(std::path::PathBuf::as_path).filter(is_rust).filter_map(Path::file_stem);
    let mut names: Vec<String> = stems.map(|stem| stem.to_string_lossy().into_owned()).collect();
    names.sort();
    Ok(names)
}
