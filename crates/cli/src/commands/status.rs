//! `flotilla status` and `flotilla whoami`.

use flotilla_types::api::{Permission, WhoAmI};
use serde::Serialize;

use crate::commands::clusters;
use crate::commands::roles::{RULE_HEADINGS, rule_cells};
use crate::context::Context;
use crate::error::{CliError, plain};
use crate::hub_client::Call;
use crate::output::{OutputArgs, Table, inline, text};

/// Show who you are, where, and what you may do
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  flotilla status
  flotilla status -o json")]
pub(crate) struct Args {
    #[command(flatten)]
    output: OutputArgs,
}

/// Show who you are at the hub
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  flotilla whoami
  flotilla whoami -o json")]
pub(crate) struct WhoAmIArgs {
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Serialize)]
struct Status {
    user: String,
    hub: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    cluster: Option<String>,
    /// `connected`, `disconnected`, or `unknown` for one that the caller does not reach.
    #[serde(skip_serializing_if = "Option::is_none")]
    cluster_status: Option<String>,
    roles: Vec<String>,
    administrator: bool,
    permissions: Vec<Permission>,
}

/// Shows user, hub, cluster, roles and permissions.
///
/// # Errors
/// Exit code 3 when nobody is signed in.
pub(crate) async fn run(context: &Context, args: Args) -> Result<(), CliError> {
    let status = gather(context).await?;
    context.output(args.output).show_text(&status, describe)
}

async fn gather(context: &Context) -> Result<Status, CliError> {
    let hub = context.hub()?.to_string();
    let client = context.client()?;
    let call = Call::get(&["api", "whoami"]);
    let (me, list) = tokio::try_join!(client.call::<WhoAmI>(&call), clusters::fetch(&client))?;
    let cluster = context.chosen_cluster()?;
    let found = |name: &String| list.clusters.iter().find(|view| view.name == *name);
    let cluster_status =
        cluster.as_ref().map(|name| found(name).map_or_else(|| "unknown".to_owned(), |view| view.status.clone()));
    Ok(Status {
        user: me.email,
        hub,
        cluster,
        cluster_status,
        roles: me.roles,
        administrator: me.administrator,
        permissions: me.permissions,
    })
}

fn describe(status: &Status) -> String {
    let cluster = match (&status.cluster, &status.cluster_status) {
        (Some(name), Some(state)) if state == "unknown" => format!("{name} (not one that you may reach)"),
        (Some(name), Some(state)) => format!("{name} ({state})"),
        _ => "none chosen; run: flotilla clusters use NAME".to_owned(),
    };
    let roles = if status.roles.is_empty() { "none".to_owned() } else { status.roles.join(", ") };
    let administrator = if status.administrator { "  (administers the hub)" } else { "" };
    let lines = format!(
        "User:     {}\nHub:      {}\nCluster:  {cluster}\nRoles:    {roles}{administrator}\n",
        status.user, status.hub
    );
    if status.permissions.is_empty() {
        return plain(&lines);
    }
    format!(
        "{}\nYou may, as far as each cluster's own RBAC also allows it:\n\n{}",
        plain(&lines),
        inline(rules(&status.permissions))
    )
}

fn rules(permissions: &[Permission]) -> Table {
    let headings: Vec<&str> = std::iter::once("role").chain(RULE_HEADINGS).collect();
    Table::of(&headings, permissions, |permission| {
        std::iter::once(text(&permission.role)).chain(rule_cells(&permission.rule)).collect()
    })
}

/// Shows the account alone.
///
/// # Errors
/// Exit code 3 when nobody is signed in.
pub(crate) async fn whoami(context: &Context, args: WhoAmIArgs) -> Result<(), CliError> {
    let me: WhoAmI = context.client()?.call(&Call::get(&["api", "whoami"])).await?;
    context.output(args.output).show_text(&me, |me| format!("{}\n", plain(&me.email)))
}
