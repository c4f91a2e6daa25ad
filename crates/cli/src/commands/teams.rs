//! `flotilla teams ...`.

use std::path::PathBuf;

use flotilla_types::org::{MemberList, TeamCreate, TeamList, TeamMemberPut, TeamPolicy, TeamRole, TeamView};

use crate::commands::{orgs, users};
use crate::context::Context;
use crate::error::{CliError, Doing};
use crate::hub_client::{Call, HubClient};
use crate::output::{OutputArgs, text};
use crate::terminal;

/// See and change teams; a team is named ORGANISATION/TEAM
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  flotilla teams list
  flotilla teams add acme/pay
  flotilla teams member acme/pay bob@example.com --role developer
  flotilla teams share acme/pay prod-eu")]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Show the teams of your organisations
    #[command(
        visible_alias = "ls",
        after_help = "Examples:
  flotilla teams list"
    )]
    List(OutputArgs),
    /// Show a team and what it gives its members
    #[command(after_help = "Examples:
  flotilla teams show acme/pay -o yaml")]
    Show {
        /// ORGANISATION/TEAM
        team: String,
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Make a team (administrators of the organisation)
    #[command(after_help = "Examples:
  flotilla teams add acme/pay")]
    Add {
        /// ORGANISATION/TEAM
        team: String,
    },
    /// Delete a team
    #[command(after_help = "Examples:
  flotilla teams remove acme/pay")]
    Remove {
        /// ORGANISATION/TEAM
        team: String,
    },
    /// Show who is in a team
    #[command(after_help = "Examples:
  flotilla teams members acme/pay")]
    Members {
        /// ORGANISATION/TEAM
        team: String,
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Add a member, or change what he is
    #[command(after_help = "Examples:
  flotilla teams member acme/pay bob@example.com --role team_admin
  flotilla teams member acme/pay bob@example.com --remove")]
    Member {
        /// ORGANISATION/TEAM
        team: String,
        /// The account
        email: String,
        /// viewer, developer or team_admin
        #[arg(long, value_parser = team_role, default_value = "viewer")]
        role: TeamRole,
        /// Remove him
        #[arg(long)]
        remove: bool,
    },
    /// Set what a team gives its members, from a file with `bindings`, `approvals` and `max_grant_seconds`
    #[command(after_help = "Examples:
  flotilla teams policy acme/pay -f pay.yaml")]
    Policy {
        /// ORGANISATION/TEAM
        team: String,
        /// File, YAML or JSON
        #[arg(short, long, value_name = "FILE")]
        file: PathBuf,
    },
    /// Share a cluster to a team
    #[command(after_help = "Examples:
  flotilla teams share acme/pay prod-eu")]
    Share {
        /// ORGANISATION/TEAM
        team: String,
        /// Name of the cluster
        cluster: String,
        /// Share it no longer
        #[arg(long)]
        remove: bool,
    },
}

/// A role in a team, as clap wants it.
///
/// # Errors
/// Says which there are.
pub(crate) fn team_role(word: &str) -> Result<TeamRole, String> {
    TeamRole::parse(word).ok_or_else(|| "use viewer, developer or team_admin".to_owned())
}

/// Runs a subcommand.
///
/// # Errors
/// The hub's refusals.
pub(crate) async fn run(context: &Context, args: Args) -> Result<(), CliError> {
    let client = context.client()?;
    match args.command {
        Command::List(output) => {
            let list = fetch(&client).await?;
            context.output(output).show_list(&list, &list.teams, &["team", "you are", "id"], |team| {
                let role = team.role.map(TeamRole::as_str).unwrap_or_default();
                vec![text(format!("{}/{}", team.org_name, team.name)), text(role), text(team.id.to_string())]
            })
        }
        Command::Show { team, output } => {
            let team = find(&client, &team).await?;
            context.output(output).show_text(&team, describe)
        }
        Command::Add { team } => add(&client, &team).await,
        Command::Remove { team } => {
            let id = find(&client, &team).await?.id.to_string();
            client.call::<()>(&Call::delete(&["api", "teams", &id])).await?;
            terminal::note(&format!("team {team} deleted"));
            Ok(())
        }
        Command::Members { team, output } => {
            let list = members(&client, &team).await?;
            context.output(output).show_list(&list, &list.members, &["email", "role", "id"], |one| {
                vec![text(&one.email), text(&one.role), text(one.user.to_string())]
            })
        }
        Command::Member { team, email, role, remove } => member(&client, &team, email, role, remove).await,
        Command::Policy { team, file } => {
            let content = std::fs::read_to_string(&file).doing(format!("read {}", file.display()))?;
            let policy: TeamPolicy = serde_saphyr::from_str(&content).doing(format!("use {}", file.display()))?;
            let id = find(&client, &team).await?.id.to_string();
            client.call::<TeamView>(&Call::put(&["api", "teams", &id, "policy"]).json(&policy)?).await?;
            terminal::note(&format!("what team {team} gives is set"));
            Ok(())
        }
        Command::Share { team, cluster, remove } => {
            let id = find(&client, &team).await?.id.to_string();
            let path = ["api", "teams", &id, "clusters", &cluster];
            client.call::<()>(&if remove { Call::delete(&path) } else { Call::put(&path) }).await?;
            terminal::note(&format!("cluster {cluster}: shared to {team}{}", if remove { " no longer" } else { "" }));
            Ok(())
        }
    }
}

async fn fetch(client: &HubClient) -> Result<TeamList, CliError> {
    client.call(&Call::get(&["api", "teams"])).await
}

/// The team of a path `organisation/team`.
///
/// # Errors
/// There is none, or it is not the caller's to see.
pub(crate) async fn find(client: &HubClient, path: &str) -> Result<TeamView, CliError> {
    let list = fetch(client).await?;
    let found = list.teams.into_iter().find(|team| format!("{}/{}", team.org_name, team.name) == path);
    found.ok_or_else(|| CliError::general(format!("there is no team {path:?}")).hint("flotilla teams list shows them"))
}

fn describe(team: &TeamView) -> String {
    let mut lines = format!(
        "Team:       {}/{}\nApprovals:  {}\nLongest access on request:  {} s\n",
        team.org_name, team.name, team.policy.approvals, team.policy.max_grant_seconds
    );
    for binding in &team.policy.bindings {
        let more =
            if binding.clusters.is_empty() { String::new() } else { format!(" and {}", binding.clusters.join(", ")) };
        lines.push_str(&format!("{}: {} in the team's clusters{more}\n", binding.role.as_str(), binding.policy));
    }
    crate::error::plain(&lines)
}

async fn add(client: &HubClient, path: &str) -> Result<(), CliError> {
    let (org, name) = path
        .split_once('/')
        .ok_or_else(|| CliError::usage("name the team as ORGANISATION/TEAM, for example acme/pay"))?;
    let body = TeamCreate { org: orgs::find(client, org).await?, name: name.to_owned() };
    client.call::<TeamView>(&Call::post(&["api", "teams"]).json(&body)?).await?;
    terminal::note(&format!("team {path} made"));
    Ok(())
}

async fn members(client: &HubClient, team: &str) -> Result<MemberList, CliError> {
    let id = find(client, team).await?.id.to_string();
    client.call(&Call::get(&["api", "teams", &id, "members"])).await
}

async fn member(client: &HubClient, team: &str, email: String, role: TeamRole, remove: bool) -> Result<(), CliError> {
    let id = find(client, team).await?.id.to_string();
    if remove {
        let user = users::among(&members(client, team).await?, &email)?.to_string();
        client.call::<()>(&Call::delete(&["api", "teams", &id, "members", &user])).await?;
        terminal::note(&format!("{email} is no longer in {team}"));
        return Ok(());
    }
    let body = TeamMemberPut { email: email.clone(), role };
    client.call::<()>(&Call::put(&["api", "teams", &id, "members"]).json(&body)?).await?;
    terminal::note(&format!("{email} is {} of {team}", role.as_str()));
    Ok(())
}
