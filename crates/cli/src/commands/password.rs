//! `flotilla password`.

use flotilla_types::api::PasswordRequest;
use reqwest::StatusCode;
use secrecy::{ExposeSecret, SecretString};

use crate::commands::login::sign_in;
use crate::context::Context;
use crate::error::CliError;
use crate::hub_client::{Call, CallError, Transport};
use crate::hub_url::HubUrl;
use crate::session;
use crate::terminal::{self, during};

/// Change your password
///
/// All your sessions end, and this one begins anew.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  flotilla password
  printf '%s\\n' \"$OLD\" \"$NEW\" | flotilla password --password-stdin")]
pub(crate) struct Args {
    /// Read two lines from standard input: the current password, then the new one
    #[arg(long)]
    password_stdin: bool,
}

/// Changes the password.
///
/// # Errors
/// When nobody can be asked, the current password is wrong, or the new one too weak.
pub(crate) async fn run(context: &Context, args: Args) -> Result<(), CliError> {
    let hub = context.hub()?;
    let transport = context.transport(&hub)?;
    let email = session::stored(&context.store, &hub)?.email;
    let (current, new) = match args.password_stdin {
        true => (terminal::secret_line("current password")?, terminal::secret_line("new password")?),
        false if terminal::interactive() => {
            (terminal::ask_password("Current password")?, terminal::ask_new_password()?)
        }
        false => return Err(CliError::usage("no password is given").hint("pass --password-stdin and give two lines")),
    };
    change(context, &hub, &transport, &email, &current, &new).await
}

/// What follows a login with a password that somebody else made.
///
/// # Errors
/// As [`run`]; the login itself holds either way.
pub(crate) async fn after_login(
    context: &Context,
    hub: &HubUrl,
    transport: &Transport,
    email: &str,
    current: SecretString,
) -> Result<(), CliError> {
    terminal::note("your password was made by somebody else and should be changed");
    if !terminal::interactive() || !terminal::confirm("Change it now")? {
        terminal::note("run: flotilla password");
        return Ok(());
    }
    let new = terminal::ask_new_password()?;
    change(context, hub, transport, email, &current, &new).await
}

/// Changes the password and signs in with the new one, since the hub ends all sessions.
async fn change(
    context: &Context,
    hub: &HubUrl,
    transport: &Transport,
    email: &str,
    current: &SecretString,
    new: &SecretString,
) -> Result<(), CliError> {
    let body = PasswordRequest { current: current.expose_secret().to_owned(), new: new.expose_secret().to_owned() };
    let call = Call::post(&["auth", "password"]).json(&body)?;
    let session = session::current(&context.store, hub, transport).await?;
    match during("Changing the password", transport.call::<()>(&call, Some(&session.token))).await {
        Ok(_) => {}
        Err(CallError::Refused { status: StatusCode::UNPROCESSABLE_ENTITY, detail, .. }) => {
            return Err(CliError::general(detail).hint("nothing was changed; choose another password"));
        }
        Err(error) => return Err(error.into()),
    }
    let ca = context.store.entry(hub)?.ca;
    sign_in(context, hub, transport, ca, email, new).await?;
    terminal::note("the password is changed; all other sessions are over");
    Ok(())
}
