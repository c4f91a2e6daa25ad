//! `flotilla invite ...`.

use flotilla_types::org::{InvitationAccept, InvitationAccepted, InvitationCreated, OrgInvite, OrgRole, TeamInvite};
use secrecy::ExposeSecret;

use crate::commands::{orgs, teams};
use crate::context::Context;
use crate::error::CliError;
use crate::hub_client::Call;
use crate::output::OutputArgs;
use crate::terminal;

/// Invite people to an organisation or a team, and accept invitations
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  flotilla invite to acme/pay bob@example.com --role developer
  flotilla invite to acme --role org_member
  flotilla invite accept")]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Invite somebody by address, or whoever has the link
    #[command(after_help = "Examples:
  flotilla invite to acme/pay bob@example.com --role developer")]
    To {
        /// ORGANISATION or ORGANISATION/TEAM
        place: String,
        /// Only this address may accept
        email: Option<String>,
        /// What the invited is to be; org_member or viewer when left out
        #[arg(long)]
        role: Option<String>,
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Accept an invitation as the account that is signed in
    #[command(after_help = "Examples:
  flotilla invite accept                   # asks for it
  flotilla invite accept < invitation.txt")]
    Accept {
        #[command(flatten)]
        output: OutputArgs,
    },
}

/// Runs a subcommand.
///
/// # Errors
/// The hub's refusals.
pub(crate) async fn run(context: &Context, args: Args) -> Result<(), CliError> {
    match args.command {
        Command::To { place, email, role, output } => {
            let made = invite(context, &place, email, role.as_deref()).await?;
            context.output(output).show_text(&made, |made| {
                let mail = if made.mailed { "It went out by mail.\n" } else { "" };
                format!(
                    "Invitation, good once, shown once:\n\n  {}\n\n{mail}Or, with the code {}: flotilla invite accept\n",
                    made.link, made.token
                )
            })
        }
        Command::Accept { output } => {
            let invitation = if terminal::interactive() {
                terminal::ask_password("Code of the invitation")?
            } else {
                terminal::secret_line("the code of the invitation")?
            };
            let call = Call::post(&["api", "invitations", invitation.expose_secret(), "accept"])
                .json(&InvitationAccept::default())?;
            let accepted: InvitationAccepted = context.client()?.call(&call).await?;
            context.output(output).show_text(&accepted, |one| {
                format!("you are {} of {}\n", one.role, one.team.as_deref().unwrap_or(&one.org))
            })
        }
    }
}

async fn invite(
    context: &Context,
    place: &str,
    email: Option<String>,
    role: Option<&str>,
) -> Result<InvitationCreated, CliError> {
    let client = context.client()?;
    if place.contains('/') {
        let role = teams::team_role(role.unwrap_or("viewer")).map_err(CliError::usage)?;
        let id = teams::find(&client, place).await?.id.to_string();
        return client.call(&Call::post(&["api", "teams", &id, "invite"]).json(&TeamInvite { email, role })?).await;
    }
    let role = OrgRole::parse(role.unwrap_or("org_member"))
        .ok_or_else(|| CliError::usage("use org_member, org_admin or org_owner"))?;
    let id = orgs::find(&client, place).await?.to_string();
    client.call(&Call::post(&["api", "orgs", &id, "invite"]).json(&OrgInvite { email, role })?).await
}
