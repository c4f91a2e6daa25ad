//! Cargo subcommands that tasks need, in their pinned versions, under `target/tools`: nothing of the machine's own is
//! touched.
//!
//! Must not know: what they are for.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Command;

use anyhow::Context;

use crate::{root, succeed};

fn folder() -> PathBuf {
    root().join("target/tools")
}

/// `PATH` with the tools in front.
pub(crate) fn path() -> anyhow::Result<OsString> {
    let rest = std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()).collect::<Vec<_>>();
    std::env::join_paths(std::iter::once(folder().join("bin")).chain(rest)).context("PATH cannot be used")
}

/// Installs a tool if this version of it is not there.
pub(crate) fn install(name: &str, version: &str) -> anyhow::Result<()> {
    let mark = folder().join(format!("{name}-{version}"));
    if mark.exists() {
        return Ok(());
    }
    println!("installing {name} {version} into {}", folder().display());
    let wanted = format!("={version}");
    let mut command = Command::new("cargo");
    command.args(["install", name, "--locked", "--version", &wanted, "--root"]).arg(folder()).args(["--force"]);
    // Outside the repository, whose pinned compiler and lints are not the tool's.
    command.current_dir(std::env::temp_dir());
    for variable in ["CARGO", "RUSTC", "CARGO_TARGET_DIR", "RUSTFLAGS"] {
        command.env_remove(variable);
    }
    succeed(&mut command).with_context(|| format!("{name} is needed: cargo install {name} --version {version}"))?;
    std::fs::write(&mark, "").with_context(|| format!("cannot write {}", mark.display()))
}
