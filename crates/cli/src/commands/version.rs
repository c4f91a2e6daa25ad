//! `flotilla version`.

use serde::Serialize;

use crate::error::CliError;
use crate::output::{Output, OutputArgs};

/// Show the version of this program
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  flotilla version
  flotilla version -o json")]
pub(crate) struct Args {
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Serialize)]
struct Version {
    version: &'static str,
}

/// Shows the version.
///
/// # Errors
/// When standard output does not take it.
pub(crate) fn run(args: &Args) -> Result<(), CliError> {
    let version = Version { version: env!("CARGO_PKG_VERSION") };
    Output::new(args.output.output, true).show_text(&version, |it| format!("flotilla {}\n", it.version))
}
