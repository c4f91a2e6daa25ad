//! `flotilla login`.

use flotilla_types::api::{LoginRequest, SessionKind, TokenResponse};
use flotilla_types::name::normalize_email;
use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};

use crate::commands::password;
use crate::config::Config;
use crate::context::Context;
use crate::error::CliError;
use crate::hub_client::{Call, Transport, Trust};
use crate::hub_url::HubUrl;
use crate::session;
use crate::terminal::{self, during};
use crate::trust::{self, Vouching};

/// Where a hub without any configuration listens.
const LOCAL_HUB: &str = "http://127.0.0.1:8080";

/// Sign in to a hub
///
/// Asks for what is missing when there is a terminal. The tokens are kept in
/// `$XDG_STATE_HOME/flotilla/credentials.json`, which only you can read.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  flotilla login --hub https://hub.example.com:8080
  flotilla login --hub https://hub.example.com:8080 --ca-fingerprint sha256:2f8a...
  flotilla login --email ci@example.com --password-stdin < password.txt")]
pub(crate) struct Args {
    /// Address of the hub
    #[arg(long, value_name = "URL")]
    hub: Option<HubUrl>,

    /// Your account
    #[arg(long)]
    email: Option<String>,

    /// Read the password from standard input, one line
    #[arg(long)]
    password_stdin: bool,

    #[command(flatten)]
    vouching: Vouching,
}

/// Signs in.
///
/// # Errors
/// Exit code 2 when something is missing and nobody can be asked, 3 when the hub refuses.
pub(crate) async fn run(context: &Context, args: Args) -> Result<(), CliError> {
    let hub = which_hub(context, args.hub)?;
    let email = which_email(args.email)?;
    let remembered = context.store.entry(&hub)?.ca;
    let ca = trust::establish(&hub, remembered, &args.vouching).await?;
    let password = which_password(args.password_stdin)?;
    let transport = Transport::new(&hub, &Trust::remembered(ca.as_deref()))?;
    let must_change = sign_in(context, &hub, &transport, ca, &email, &password).await?;
    remember_hub(context, &hub)?;
    terminal::note(&format!("signed in to {hub} as {email}"));
    if must_change {
        return password::after_login(context, &hub, &transport, &email, password).await;
    }
    Ok(())
}

/// Trades a password for tokens and keeps them. True when the password should be changed.
///
/// # Errors
/// Exit code 3 when the hub refuses.
pub(crate) async fn sign_in(
    context: &Context,
    hub: &HubUrl,
    transport: &Transport,
    ca: Option<String>,
    email: &str,
    password: &SecretString,
) -> Result<bool, CliError> {
    let body = LoginRequest {
        email: email.to_owned(),
        password: password.expose_secret().to_owned(),
        session: SessionKind::Token,
    };
    let call = Call::post(&["auth", "login"]).json(&body)?;
    let answer = during("Signing in", transport.call::<TokenResponse>(&call, None)).await?;
    let must_change = answer.body.password_change_required;
    let session = session::from_answer(email, answer, Timestamp::now());
    context.store.update(hub, |entry| {
        entry.ca = ca;
        entry.session = Some(session);
    })?;
    Ok(must_change)
}

/// Makes this hub the configured one. A cluster that was chosen at another hub is not this hub's.
fn remember_hub(context: &Context, hub: &HubUrl) -> Result<(), CliError> {
    let url = hub.to_string();
    match context.configured_hub() {
        Ok(Some(configured)) if configured == *hub => Ok(()),
        _ => Config::update(&context.paths, &[("central_url", Some(&url)), ("current_cluster", None)]),
    }
}

fn which_hub(context: &Context, given: Option<HubUrl>) -> Result<HubUrl, CliError> {
    let configured = context.configured_hub()?;
    if let Some(hub) = given.or_else(|| context.global.hub.clone()).or(configured) {
        return Ok(hub);
    }
    if !terminal::interactive() {
        return Err(CliError::usage("no hub is given").hint(format!("pass --hub URL, for example --hub {LOCAL_HUB}")));
    }
    terminal::ask("Hub", Some(LOCAL_HUB))?.parse().map_err(CliError::usage)
}

fn which_email(given: Option<String>) -> Result<String, CliError> {
    let typed = match given {
        Some(email) => email,
        None if terminal::interactive() => terminal::ask("E-mail", None)?,
        None => return Err(CliError::usage("no account is given").hint("pass --email")),
    };
    normalize_email(&typed).map_err(|error| CliError::usage(error.to_string()))
}

fn which_password(stdin: bool) -> Result<SecretString, CliError> {
    match stdin {
        true => terminal::secret_line("password"),
        false if terminal::interactive() => terminal::ask_password("Password"),
        false => Err(CliError::usage("no password is given").hint("pass --password-stdin and give it as one line")),
    }
}
