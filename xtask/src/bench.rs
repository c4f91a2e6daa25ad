//! `cargo xtask bench NAME [--json]`: builds what is measured with optimisation, then runs the benchmark.
//!
//! Must not know: what is measured.

use std::process::Command;

use crate::{build_programs, built, cargo, succeed};

/// Which benchmark.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Name of the benchmark: `gateway` or `audit`.
    name: String,
    /// One JSON object a line instead of a table: `{"bench","case","subject","metric","unit","value"}`.
    #[arg(long)]
    json: bool,
    /// Only cases whose name contains this; may be given several times.
    #[arg(long)]
    case: Vec<String>,
}

/// Builds and measures.
pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    build_programs(true)?;
    succeed(cargo().args(["build", "--release", "--package", "flotilla-bench"]))?;
    let mut command = Command::new(built(true).join("flotilla-bench"));
    command.arg(&options.name);
    if options.json {
        command.arg("--json");
    }
    for case in &options.case {
        command.args(["--case", case]);
    }
    succeed(&mut command)
}
