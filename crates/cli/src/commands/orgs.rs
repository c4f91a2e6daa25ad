//! `flotilla orgs ...`.

use flotilla_types::id::OrgId;
use flotilla_types::org::{
    MemberList, Mode, OrgClusterList, OrgClusterPut, OrgCreate, OrgList, OrgMemberPut, OrgRole, OrgView,
};

use crate::commands::{teams, users};
use crate::context::Context;
use crate::error::CliError;
use crate::hub_client::{Call, HubClient};
use crate::output::{OutputArgs, text};
use crate::terminal;

/// See and change organisations and their members
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  flotilla orgs list
  flotilla orgs add acme --owner ann@example.com
  flotilla orgs member acme bob@example.com --role org_admin")]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Show your organisations; all to an administrator
    #[command(
        visible_alias = "ls",
        after_help = "Examples:
  flotilla orgs list"
    )]
    List(OutputArgs),
    /// Make an organisation (administrators)
    #[command(after_help = "Examples:
  flotilla orgs add acme --owner ann@example.com")]
    Add {
        /// Unique name: a-z, 0-9 and -
        name: String,
        /// Account of its first owner; yours when left out
        #[arg(long, value_name = "EMAIL")]
        owner: Option<String>,
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Delete an organisation that has no clusters (owners)
    #[command(after_help = "Examples:
  flotilla orgs remove acme")]
    Remove {
        /// Its name
        org: String,
    },
    /// Show who is in an organisation
    #[command(after_help = "Examples:
  flotilla orgs members acme")]
    Members {
        /// Its name
        org: String,
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Add a member, or change what he is
    #[command(after_help = "Examples:
  flotilla orgs member acme bob@example.com --role org_admin
  flotilla orgs member acme bob@example.com --remove")]
    Member {
        /// Name of the organisation
        org: String,
        /// The account
        email: String,
        /// org_member, org_admin or org_owner
        #[arg(long, value_parser = org_role, default_value = "org_member")]
        role: OrgRole,
        /// Remove him
        #[arg(long)]
        remove: bool,
    },
    /// Show the clusters of an organisation
    #[command(after_help = "Examples:
  flotilla orgs clusters acme")]
    Clusters {
        /// Its name
        org: String,
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Say that a cluster is the organisation's, which team owns it, and as whom people arrive
    #[command(after_help = "Examples:
  flotilla orgs cluster acme prod-eu --team pay --mode tier")]
    Cluster {
        /// Name of the organisation
        org: String,
        /// Name of the cluster
        cluster: String,
        /// The team that owns it; none when left out
        #[arg(long)]
        team: Option<String>,
        /// shared, tier or raw; as it is when left out
        #[arg(long, value_parser = mode)]
        mode: Option<Mode>,
    },
}

fn org_role(word: &str) -> Result<OrgRole, String> {
    OrgRole::parse(word).ok_or_else(|| "use org_member, org_admin or org_owner".to_owned())
}

fn mode(word: &str) -> Result<Mode, String> {
    Mode::parse(word).ok_or_else(|| "use shared, tier or raw".to_owned())
}

/// Runs a subcommand.
///
/// # Errors
/// The hub's refusals.
pub(crate) async fn run(context: &Context, args: Args) -> Result<(), CliError> {
    match args.command {
        Command::List(output) => {
            let list: OrgList = fetch(&context.client()?).await?;
            context.output(output).show_list(&list, &list.orgs, &["name", "you are", "display name", "id"], |org| {
                let role = org.role.map(OrgRole::as_str).unwrap_or_default();
                vec![text(&org.name), text(role), text(&org.display_name), text(org.id.to_string())]
            })
        }
        Command::Add { name, owner, output } => {
            let body = OrgCreate { name, display_name: None, owner };
            let made: OrgView = context.client()?.call(&Call::post(&["api", "orgs"]).json(&body)?).await?;
            context.output(output).show_text(&made, |made| format!("organisation {} made\n", made.name))
        }
        Command::Remove { org } => {
            let client = context.client()?;
            let id = find(&client, &org).await?.to_string();
            client.call::<()>(&Call::delete(&["api", "orgs", &id])).await?;
            terminal::note(&format!("organisation {org} deleted"));
            Ok(())
        }
        Command::Members { org, output } => {
            let client = context.client()?;
            let id = find(&client, &org).await?.to_string();
            let list: MemberList = client.call(&Call::get(&["api", "orgs", &id, "members"])).await?;
            context.output(output).show_list(&list, &list.members, &["email", "role", "id"], |one| {
                vec![text(&one.email), text(&one.role), text(one.user.to_string())]
            })
        }
        Command::Member { org, email, role, remove } => member(&context.client()?, &org, email, role, remove).await,
        Command::Clusters { org, output } => clusters(context, &org, output).await,
        Command::Cluster { org, cluster, team, mode } => {
            let client = context.client()?;
            let id = find(&client, &org).await?.to_string();
            let team = match team {
                Some(team) => Some(teams::find(&client, &format!("{org}/{team}")).await?.id),
                None => None,
            };
            let body = OrgClusterPut { team, mode };
            client.call::<()>(&Call::put(&["api", "orgs", &id, "clusters", &cluster]).json(&body)?).await?;
            terminal::note(&format!("cluster {cluster} belongs to {org}"));
            Ok(())
        }
    }
}

async fn fetch(client: &HubClient) -> Result<OrgList, CliError> {
    client.call(&Call::get(&["api", "orgs"])).await
}

/// The organisation of a name.
///
/// # Errors
/// There is none, or it is not the caller's to see.
pub(crate) async fn find(client: &HubClient, name: &str) -> Result<OrgId, CliError> {
    let list = fetch(client).await?;
    let found = list.orgs.into_iter().find(|org| org.name == name).map(|org| org.id);
    found.ok_or_else(|| {
        CliError::general(format!("there is no organisation {name:?}")).hint("flotilla orgs list shows them")
    })
}

async fn member(client: &HubClient, org: &str, email: String, role: OrgRole, remove: bool) -> Result<(), CliError> {
    let id = find(client, org).await?.to_string();
    if remove {
        let list: MemberList = client.call(&Call::get(&["api", "orgs", &id, "members"])).await?;
        let user = users::among(&list, &email)?.to_string();
        client.call::<()>(&Call::delete(&["api", "orgs", &id, "members", &user])).await?;
        terminal::note(&format!("{email} is no longer in {org}"));
        return Ok(());
    }
    let body = OrgMemberPut { email: email.clone(), role };
    client.call::<()>(&Call::put(&["api", "orgs", &id, "members"]).json(&body)?).await?;
    terminal::note(&format!("{email} is {} of {org}", role.as_str()));
    Ok(())
}

async fn clusters(context: &Context, org: &str, output: OutputArgs) -> Result<(), CliError> {
    let client = context.client()?;
    let id = find(&client, org).await?.to_string();
    let list: OrgClusterList = client.call(&Call::get(&["api", "orgs", &id, "clusters"])).await?;
    context.output(output).show_list(&list, &list.clusters, &["name", "mode", "team", "shared to", "id"], |one| {
        let shared: Vec<String> = one.shared_to.iter().map(ToString::to_string).collect();
        let team = one.team.map(|team| team.to_string()).unwrap_or_default();
        vec![text(&one.name), text(one.mode.as_str()), text(team), text(shared.join(",")), text(one.id.to_string())]
    })
}
