//! `flotilla completion`.

use clap_complete::Shell;

use crate::error::CliError;
use crate::output::write_stdout;

/// Print completions for a shell
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  flotilla completion bash > ~/.local/share/bash-completion/completions/flotilla
  flotilla completion zsh > \"${fpath[1]}/_flotilla\"
  flotilla completion fish > ~/.config/fish/completions/flotilla.fish")]
pub(crate) struct Args {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

/// Prints completions of `command`.
///
/// # Errors
/// When standard output does not take them.
pub(crate) fn run(args: &Args, mut command: clap::Command) -> Result<(), CliError> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command, "flotilla", &mut script);
    write_stdout(&String::from_utf8_lossy(&script))
}
