//! `flotilla-bench NAME [--json]`: measures our programs and their peers in one run on one machine.
//!
//! ```text
//! load (callers) ──> subjects (real processes) ──> upstream (nginx)
//!                     └ processor time and memory, from the kernel
//! ```
//!
//! Standard output carries the figures alone: a table, or one JSON object a line. What goes on is said on standard
//! error. A missed bar never fails a run: this measures, it does not judge.
//!
//! Must not know: how the subjects work inside. It links none of their crates, but for the store, whose audit log is also
//! measured without a hub around it.

mod audit;
mod gateway;
mod load;
mod process;
mod report;

use std::io::Write as _;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::report::Report;

#[derive(Parser)]
#[command(name = "flotilla-bench", about = "Measures Flotilla and its peers in one run")]
struct Arguments {
    #[command(subcommand)]
    bench: Bench,
}

#[derive(Subcommand)]
enum Bench {
    /// The way of a request to a cluster: through hub and agent, and directly.
    #[command(after_help = "Example: flotilla-bench gateway --case direct-small-get-c32")]
    Gateway {
        /// One JSON object a line instead of a table: `{"bench","case","subject","metric","unit","value"}`.
        #[arg(long)]
        json: bool,
        /// Only cases whose name contains this; may be given several times.
        #[arg(long, value_name = "NAME")]
        case: Vec<String>,
    },
    /// The audit log: what it costs a mutation, how fast rows are written and verified, on SQLite and PostgreSQL.
    #[command(after_help = "Example: flotilla-bench audit --case verify-1m")]
    Audit {
        /// One JSON object a line instead of a table: `{"bench","case","subject","metric","unit","value"}`.
        #[arg(long)]
        json: bool,
        /// Only cases whose name contains this; may be given several times.
        #[arg(long, value_name = "NAME")]
        case: Vec<String>,
    },
}

fn main() -> ExitCode {
    let bench = Arguments::parse().bench;
    // One provider for all TLS in this process; a second installation changes nothing.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let finished = match bench {
        Bench::Gateway { json, case } => gateway::run(&case).and_then(|report| print(&report, json)),
        Bench::Audit { json, case } => audit::run(&case).and_then(|report| print(&report, json)),
    };
    match finished {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn print(report: &Report, json: bool) -> anyhow::Result<()> {
    let text = if json { report.json_lines()? } else { report.table() };
    Ok(std::io::stdout().write_all(text.as_bytes())?)
}

/// Tells whoever waits what is going on.
fn say(line: &str) {
    // Nothing can be done about a standard error that is closed.
    let _ = writeln!(std::io::stderr(), "{line}");
}
