//! `flotilla hub`: the other half of this binary.

use std::ffi::OsString;
use std::path::PathBuf;

/// Run a hub
///
/// Without a configuration it listens on loopback, keeps its data in SQLite, and prints the first
/// administrator's one-time password once.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  flotilla hub
  flotilla hub --config /etc/flotilla/central.yaml
  flotilla hub --config /etc/flotilla/central.yaml --migrate-only")]
pub(crate) struct Args {
    /// Configuration file
    #[arg(long, value_name = "FILE", env = "FLOTILLA_CONFIG")]
    config: Option<PathBuf>,

    /// Bring the database up to date and stop
    #[arg(long)]
    migrate_only: bool,
}

/// Runs until it is told to stop.
///
/// # Errors
/// What kept the hub from starting or running.
pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    flotilla_hub::run(flotilla_hub::Options { config: args.config, migrate_only: args.migrate_only }).await
}

/// Whether the words of the command line are the hub's call of itself, which becomes kubectl inside its sandbox and
/// is none of the commands that people type. Returns only to say why that could not be.
pub(crate) fn sandbox(words: &[OsString]) -> Option<anyhow::Error> {
    let called = words.get(1).is_some_and(|word| word == flotilla_hub::kubectl::SANDBOX_COMMAND);
    called.then(|| flotilla_hub::kubectl::enter_sandbox(&words[2..]))
}
