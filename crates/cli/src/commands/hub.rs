//! `flotilla hub`: the other half of this binary.

use std::path::PathBuf;

/// Run a hub
///
/// Without a configuration it listens on loopback, keeps its data in SQLite, and prints the first
/// administrator's one-time password once.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  flotilla hub
  flotilla hub --config /etc/flotilla/central.yaml")]
pub(crate) struct Args {
    /// Configuration file
    #[arg(long, value_name = "FILE", env = "FLOTILLA_CONFIG")]
    config: Option<PathBuf>,
}

/// Runs until it is told to stop.
///
/// # Errors
/// What kept the hub from starting or running.
pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    anyhow::bail!("hub {:?}", args.config)
}
