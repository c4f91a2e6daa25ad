//! `flotilla hub`: the other half of this binary.

use std::ffi::OsString;
use std::path::PathBuf;

use flotilla_hub::maintain;

use crate::terminal;

/// Run a hub
///
/// Without a configuration it listens on loopback, keeps its data in SQLite, and prints the first
/// administrator's one-time password once.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  flotilla hub
  flotilla hub --config /etc/flotilla/central.yaml
  flotilla hub --config /etc/flotilla/central.yaml --migrate-only
  flotilla hub backup --to hub.tar")]
pub(crate) struct Args {
    /// Configuration file
    #[arg(long, value_name = "FILE", env = "FLOTILLA_CONFIG", global = true)]
    config: Option<PathBuf>,

    /// Bring the database up to date and stop
    #[arg(long)]
    migrate_only: bool,

    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Write all that the database holds to a file, while the hub runs
    ///
    /// The file fits both SQLite and PostgreSQL. Secrets in it stay sealed; keep the sealing key elsewhere.
    #[command(after_help = "Examples:
  flotilla hub backup --config /etc/flotilla/central.yaml --to hub.tar")]
    Backup {
        /// File to write; it must not be there yet
        #[arg(long, value_name = "FILE")]
        to: PathBuf,
    },

    /// Fill an empty database, of either kind, from a backup
    #[command(after_help = "Examples:
  flotilla hub restore --config /etc/flotilla/central.yaml --from hub-2026-11-21.tar")]
    Restore {
        /// File that `flotilla hub backup` wrote
        #[arg(long, value_name = "FILE")]
        from: PathBuf,
    },

    /// Seal all secrets in the database again under a new key
    ///
    /// Hubs may run meanwhile, and the command may be cut off and run again. A key is dropped when nothing is sealed
    /// with it any more. With a passphrase: set auth.jwt_secret to the new one and auth.previous_jwt_secret to the
    /// old one, restart the hub, then run this.
    #[command(after_help = "Examples:
  flotilla hub rotate-kek --config /etc/flotilla/central.yaml
  flotilla hub rotate-kek --keep-key")]
    RotateKek {
        /// Make no new key: seal with the newest in the key file, which several hubs may share
        #[arg(long)]
        keep_key: bool,
    },
}

/// Runs until it is told to stop.
///
/// # Errors
/// What kept the hub from starting or running.
pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    let options = flotilla_hub::Options { config: args.config, migrate_only: args.migrate_only };
    let said = match args.command {
        None => return flotilla_hub::run(options).await,
        Some(Command::Backup { to }) => maintain::backup(&options, &to).await?,
        Some(Command::Restore { from }) => maintain::restore(&options, &from).await?,
        Some(Command::RotateKek { keep_key }) => maintain::rotate_kek(&options, keep_key).await?,
    };
    terminal::note(&said);
    Ok(())
}

/// Whether the words of the command line are the hub's call of itself, which becomes kubectl inside its sandbox and
/// is none of the commands that people type. Returns only to say why that could not be.
pub(crate) fn sandbox(words: &[OsString]) -> Option<anyhow::Error> {
    let called = words.get(1).is_some_and(|word| word == flotilla_hub::kubectl::SANDBOX_COMMAND);
    called.then(|| flotilla_hub::kubectl::enter_sandbox(&words[2..]))
}
