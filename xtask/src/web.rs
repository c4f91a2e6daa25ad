//! The console (`web/`): its packages, its build, its checks. Each step runs only when what it depends on has changed
//! since it last succeeded, so that a warm run takes no time. Building the hub needs none of this.
//!
//! Must not know: what the console shows.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};
use sha2::{Digest, Sha256};
use walkdir::WalkDir;

use crate::{root, succeed, target};

/// What `cargo xtask web` is to do beside building.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Start a hub with real clusters and take a picture of every page (light, dark, 390 px) into
    /// `target/screenshots`.
    #[arg(long)]
    screenshots: bool,
}

/// Builds the console; with `--screenshots`, takes pictures of it.
pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    build()?;
    if options.screenshots { crate::stage::screenshots() } else { Ok(()) }
}

/// Installs packages and builds `web/dist`, unless both are as they would become.
pub(crate) fn build() -> anyhow::Result<()> {
    packages()?;
    once("build", &sources()?, &folder().join("dist/index.html"), || npm(&["run", "--silent", "build"]))
}

/// Builds the console where that is possible; otherwise says that the hub will have none.
pub(crate) fn build_if_possible() -> anyhow::Result<()> {
    if Command::new("npm").arg("--version").output().is_ok_and(|output| output.status.success()) {
        return build();
    }
    println!("npm is not on the PATH, so the hub will have no console; install Node 20 or later");
    Ok(())
}

/// Lints, types, unit tests and the limit on what a first visit loads.
pub(crate) fn check() -> anyhow::Result<()> {
    for script in ["lint", "types", "test", "size"] {
        println!("-- web: {script}");
        npm(&["run", "--silent", script])?;
    }
    Ok(())
}

/// The API's types for the console, made of the OpenAPI document; `None` where there is no Node.
pub(crate) fn api_types(document: &str) -> anyhow::Result<Option<String>> {
    if Command::new("npm").arg("--version").output().is_err() {
        println!("npm is not on the PATH: web/src/api/hub.d.ts is left as it is");
        return Ok(None);
    }
    packages()?;
    let dir = tempfile::tempdir()?;
    let (from, to) = (dir.path().join("hub.json"), dir.path().join("hub.d.ts"));
    std::fs::write(&from, document)?;
    let flags =
        ["--root-types", "--root-types-no-schema-prefix", "--default-non-nullable=false", "--empty-objects-unknown"];
    let mut command = Command::new(folder().join("node_modules/.bin/openapi-typescript"));
    command.current_dir(folder()).arg(&from).args(flags).arg("--output").arg(&to).stdout(std::process::Stdio::null());
    succeed(&mut command)?;
    Ok(Some(std::fs::read_to_string(to)?))
}

/// A program of the console's packages, started in its folder.
pub(crate) fn tool(name: &str) -> Command {
    let mut command = Command::new(folder().join("node_modules/.bin").join(name));
    command.current_dir(folder());
    command
}

fn folder() -> PathBuf {
    root().join("web")
}

fn packages() -> anyhow::Result<()> {
    let lock = digest([folder().join("package-lock.json")])?;
    once("packages", &lock, &folder().join("node_modules"), || npm(&["ci", "--no-audit", "--no-fund"]))
}

fn npm(arguments: &[&str]) -> anyhow::Result<()> {
    succeed(Command::new("npm").args(arguments).current_dir(folder()))
}

/// Everything that the build reads, as one hash.
fn sources() -> anyhow::Result<String> {
    let skipped = ["node_modules", "dist", "e2e"];
    let mut files: Vec<PathBuf> = WalkDir::new(folder())
        .into_iter()
        .filter_entry(|entry| !skipped.iter().any(|name| entry.file_name() == *name))
        .collect::<Result<Vec<_>, _>>()?
        .into_iter()
        .filter(|entry| entry.file_type().is_file())
        .map(walkdir::DirEntry::into_path)
        .collect();
    files.sort();
    digest(files)
}

fn digest(files: impl IntoIterator<Item = PathBuf>) -> anyhow::Result<String> {
    use std::fmt::Write as _;
    let mut hash = Sha256::new();
    for path in files {
        let content = std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        hash.update(path.strip_prefix(root()).unwrap_or(&path).as_os_str().as_encoded_bytes());
        hash.update([0]);
        hash.update(content.len().to_le_bytes());
        hash.update(content);
    }
    Ok(hash.finalize().iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    }))
}

/// Does a step unless it was done for the same inputs and its result is still there.
fn once(step: &str, inputs: &str, result: &Path, run: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<()> {
    let stamp = target().join("web").join(step);
    if result.exists() && std::fs::read_to_string(&stamp).is_ok_and(|done| done == inputs) {
        return Ok(());
    }
    println!("== console: {step}");
    run()?;
    ensure!(result.exists(), "the step left no {}", result.display());
    std::fs::create_dir_all(target().join("web"))?;
    std::fs::write(&stamp, inputs).context("cannot write the stamp")
}
