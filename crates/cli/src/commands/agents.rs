//! `flotilla agents ...`.

use flotilla_types::agent::{TokenRequest, TokenResponse};
use flotilla_types::api::AgentList;
use flotilla_types::name::check_cluster_name;

use crate::context::Context;
use crate::duration::show_time;
use crate::error::CliError;
use crate::hub_client::Call;
use crate::output::{OutputArgs, state, text, write_stdout};
use crate::terminal;

/// Enrol agents, see them, cut them off (administrators)
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  flotilla agents list
  flotilla agents token staging --manifest | kubectl --context staging apply -f -")]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Show all agents
    #[command(
        visible_alias = "ls",
        after_help = "Examples:
  flotilla agents list -o yaml"
    )]
    List(OutputArgs),

    /// Make a one-use token with which the agent of one cluster enrols
    #[command(after_help = "Examples:
  flotilla agents token staging
  flotilla agents token staging --manifest | kubectl --context staging apply -f -
  flotilla agents token staging -o json | jq -r .token")]
    Token {
        /// Name of the cluster
        cluster: String,
        /// Print the agent's manifest alone
        #[arg(long, conflicts_with = "output")]
        manifest: bool,
        #[command(flatten)]
        output: OutputArgs,
    },

    /// End every enrolment for a cluster and cut its connections at once
    #[command(after_help = "Examples:
  flotilla agents revoke staging")]
    Revoke {
        /// Name of the cluster
        cluster: String,
    },
}

/// Runs a subcommand.
///
/// # Errors
/// The hub's refusals.
pub(crate) async fn run(context: &Context, args: Args) -> Result<(), CliError> {
    match args.command {
        Command::List(output) => list(context, output).await,
        Command::Token { cluster, manifest, output } => enrol(context, &cluster, manifest, output).await,
        Command::Revoke { cluster } => revoke(context, &cluster).await,
    }
}

async fn list(context: &Context, output: OutputArgs) -> Result<(), CliError> {
    let list: AgentList = context.client()?.call(&Call::get(&["api", "agents"])).await?;
    let headings = ["cluster", "status", "connections", "enrolled", "certificate ends", "last seen", "id"];
    context.output(output).show_list(&list, &list.agents, &headings, |agent| {
        vec![
            text(&agent.cluster),
            state(&agent.status),
            text(agent.connections.to_string()),
            text(show_time(agent.enrolled_at)),
            text(show_time(agent.certificate_expires_at)),
            text(agent.last_seen.map(show_time).unwrap_or_default()),
            text(agent.id.to_string()),
        ]
    })
}

/// Makes an enrolment token and shows what to do with it.
///
/// # Errors
/// The hub's refusals.
pub(crate) async fn enrol(
    context: &Context,
    cluster: &str,
    manifest: bool,
    output: OutputArgs,
) -> Result<(), CliError> {
    check_cluster_name(cluster).map_err(|error| CliError::usage(error.to_string()))?;
    let body = TokenRequest { cluster: cluster.to_owned() };
    let call = Call::post(&["api", "agents", "tokens"]).json(&body)?;
    let made: TokenResponse = context.client()?.call(&call).await?;
    if manifest {
        return write_stdout(&made.manifest);
    }
    context.output(output).show_text(&made, instructions)
}

fn instructions(made: &TokenResponse) -> String {
    let TokenResponse { token, cluster, expires_at, hub_url, .. } = made;
    let until = show_time(*expires_at);
    format!(
        "Token for the agent of {cluster}, good for one enrolment until {until}:\n\n  {token}\n\n\
         To install the agent with a token of its own:\n\n  \
         flotilla agents token {cluster} --manifest | kubectl --context {cluster} apply -f -\n\n\
         Or, to run it anywhere that reaches the cluster through KUBECONFIG:\n\n  \
         CENTRAL_URL={hub_url} CLUSTER_NAME={cluster} AGENT_TOKEN={token} flotilla-agent\n"
    )
}

async fn revoke(context: &Context, cluster: &str) -> Result<(), CliError> {
    check_cluster_name(cluster).map_err(|error| CliError::usage(error.to_string()))?;
    context.client()?.call::<serde::de::IgnoredAny>(&Call::delete(&["api", "agents", cluster])).await?;
    terminal::note(&format!(
        "the agents of {cluster} are cut off; enrol a new one with: flotilla agents token {cluster}"
    ));
    Ok(())
}
