//! `flotilla logout`.

use crate::context::Context;
use crate::error::{CliError, Kind};
use crate::hub_client::Call;
use crate::terminal;

/// End the session, at the hub and on this machine
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  flotilla logout
  flotilla --hub https://hub.example.com:8080 logout")]
pub(crate) struct Args {}

/// Signs out. The tokens on this machine go in any case; that the hub did not hear of it is said.
///
/// # Errors
/// When the credentials file cannot be written.
pub(crate) async fn run(context: &Context, _: Args) -> Result<(), CliError> {
    let hub = context.hub()?;
    if context.store.entry(&hub)?.session.is_none() {
        terminal::note(&format!("you are not signed in to {hub}"));
        return Ok(());
    }
    let told = context.client()?.call::<()>(&Call::post(&["auth", "logout"])).await;
    context.store.update(&hub, |entry| entry.session = None)?;
    terminal::note(&format!("signed out of {hub}"));
    match told {
        // The session was over before, which is what was wanted.
        Err(error) if error.kind() != Kind::NotSignedIn => {
            terminal::note(&format!("the hub could not be told ({error}): there the session ends by its own time"));
        }
        _ => {}
    }
    Ok(())
}
