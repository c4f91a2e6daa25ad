//! `flotilla roles ...`.

use std::io::Read;
use std::path::{Path, PathBuf};

use comfy_table::Cell;
use flotilla_types::api::{RoleList, RoleView};
use flotilla_types::policy::{ClusterRule, Role, RoleFile, UserRoles};
use serde::de::IgnoredAny;
use serde_json::Value;

use crate::commands::users;
use crate::context::Context;
use crate::error::{CliError, Doing};
use crate::hub_client::{Call, HubClient};
use crate::output::{OutputArgs, Table, inline, list as words, paragraph, text};
use crate::terminal;

/// See and change roles
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  flotilla roles list
  flotilla roles show developer -o yaml > developer.yaml
  flotilla roles apply -f developer.yaml")]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Show the roles: all to an administrator, to others their own
    #[command(
        visible_alias = "ls",
        after_help = "Examples:
  flotilla roles list"
    )]
    List(OutputArgs),

    /// Show what a role allows
    #[command(after_help = "Examples:
  flotilla roles show developer
  flotilla roles show developer -o yaml")]
    Show {
        /// Name of the role
        name: String,
        #[command(flatten)]
        output: OutputArgs,
    },

    /// Make or replace roles from a file (administrators)
    ///
    /// The file holds one role, or `roles:` and `users:` as the hub's roles file does.
    #[command(after_help = "Examples:
  flotilla roles apply -f roles.yaml
  flotilla roles show developer -o yaml | sed s/get/list/ | flotilla roles apply -f -")]
    Apply {
        /// File, or - for standard input
        #[arg(short, long, value_name = "FILE")]
        file: PathBuf,
    },

    /// Remove a role; whoever holds it loses it (administrators)
    #[command(
        visible_alias = "rm",
        after_help = "Examples:
  flotilla roles delete developer"
    )]
    Delete {
        /// Name of the role
        name: String,
    },
}

/// Runs a subcommand.
///
/// # Errors
/// The hub's refusals, and those of files.
pub(crate) async fn run(context: &Context, args: Args) -> Result<(), CliError> {
    match args.command {
        Command::List(output) => list(context, output).await,
        Command::Show { name, output } => show(context, &name, output).await,
        Command::Apply { file } => apply(context, &file).await,
        Command::Delete { name } => delete(context, &name).await,
    }
}

async fn fetch(client: &HubClient) -> Result<RoleList, CliError> {
    client.call(&Call::get(&["api", "roles"])).await
}

async fn list(context: &Context, output: OutputArgs) -> Result<(), CliError> {
    let list = fetch(&context.client()?).await?;
    context.output(output).show_list(&list, &list.roles, &["name", "source", "clusters", "description"], |view| {
        let mut clusters: Vec<String> = view.role.clusters.iter().map(|rule| rule.name.clone()).collect();
        clusters.dedup();
        vec![text(&view.role.name), text(&view.source), words(&clusters), text(&view.role.description)]
    })
}

async fn show(context: &Context, name: &str, output: OutputArgs) -> Result<(), CliError> {
    let list = fetch(&context.client()?).await?;
    let Some(view) = list.roles.iter().find(|view| view.role.name == name) else {
        return Err(CliError::general(format!("there is no role {name:?}")).hint("flotilla roles list shows them"));
    };
    // The role alone, without `source`, is what `apply` reads.
    context.output(output).show_text(&view.role, |_| describe(view))
}

fn describe(view: &RoleView) -> String {
    let Role { name, description, groups, .. } = &view.role;
    let mut lines = format!("Name:         {name}\nSource:       {}\n", view.source);
    if !description.is_empty() {
        lines.push_str(&format!("Description:  {description}\n"));
    }
    if !groups.is_empty() {
        lines.push_str(&format!("Groups:       {}\n", groups.join(", ")));
    }
    let table = Table::of(&RULE_HEADINGS, &view.role.clusters, rule_cells);
    format!("{}\n{}", crate::error::plain(&lines), inline(table))
}

/// Headings of [`rule_cells`].
pub(crate) const RULE_HEADINGS: [&str; 6] = ["clusters", "namespaces", "verbs", "resources", "api groups", "names"];

/// A rule as a row.
pub(crate) fn rule_cells(rule: &ClusterRule) -> Vec<Cell> {
    let groups: Vec<String> =
        rule.api_groups.iter().map(|group| if group.is_empty() { "core".into() } else { group.clone() }).collect();
    let names = if rule.names.is_empty() { vec!["*".to_owned()] } else { rule.names.clone() };
    vec![
        text(&rule.name),
        paragraph(&rule.namespaces),
        paragraph(&rule.verbs),
        paragraph(&rule.resources),
        paragraph(&groups),
        paragraph(&names),
    ]
}

async fn apply(context: &Context, file: &Path) -> Result<(), CliError> {
    let RoleFile { roles, users } = read(file)?;
    let client = context.client()?;
    let known = fetch(&client).await?;
    for role in roles {
        put(&client, &known, &role).await?;
    }
    for UserRoles { email, roles } in users {
        let user = users::assign(&client, &email, roles).await?;
        terminal::note(&format!("user {}: roles set", user.email));
    }
    Ok(())
}

async fn put(client: &HubClient, known: &RoleList, role: &Role) -> Result<(), CliError> {
    let exists = known.roles.iter().any(|view| view.role.name == role.name);
    let call = match exists {
        true => Call::put(&["api", "roles", &role.name]),
        false => Call::post(&["api", "roles"]),
    };
    client.call::<IgnoredAny>(&call.json(role)?).await?;
    terminal::note(&format!("role {} {}", role.name, if exists { "replaced" } else { "made" }));
    Ok(())
}

fn read(file: &Path) -> Result<RoleFile, CliError> {
    let mut content = String::new();
    if file == Path::new("-") {
        std::io::stdin().lock().read_to_string(&mut content).doing("read standard input")?;
    } else {
        content = std::fs::read_to_string(file).doing(format!("read {}", file.display()))?;
    }
    let roles = parse(&content).map_err(|why| {
        CliError::general(format!("{}: {why}", file.display()))
            .hint("flotilla roles show viewer -o yaml shows the form")
    })?;
    if roles.roles.is_empty() && roles.users.is_empty() {
        return Err(CliError::usage(format!("{} holds neither roles nor users", file.display())));
    }
    Ok(roles)
}

/// One role, or a roles file.
fn parse(content: &str) -> Result<RoleFile, String> {
    let tree: Value = serde_saphyr::from_str(content).map_err(|error| error.to_string())?;
    let one = tree.get("name").is_some();
    if one {
        let role: Role = serde_saphyr::from_str(content).map_err(|error| error.to_string())?;
        return Ok(RoleFile { roles: vec![role], users: Vec::new() });
    }
    serde_saphyr::from_str(content).map_err(|error| error.to_string())
}

async fn delete(context: &Context, name: &str) -> Result<(), CliError> {
    context.client()?.call::<()>(&Call::delete(&["api", "roles", name])).await?;
    terminal::note(&format!("role {name} deleted"));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_or_a_roles_file() {
        let one = parse("name: a\nclusters: [{name: '*', verbs: [get]}]\n").unwrap();
        assert_eq!((one.roles[0].name.as_str(), one.users.len()), ("a", 0));
        let file = parse("roles:\n- name: a\n  clusters: []\nusers:\n- email: a@b\n  roles: [a]\n").unwrap();
        assert_eq!((file.roles.len(), file.users[0].email.as_str()), (1, "a@b"));
        assert!(parse("name: a\nclusters: []\nverbs: [get]\n").unwrap_err().contains("verbs"));
        assert!(parse("rolls: []\n").is_err());
    }
}
