//! `flotilla clusters ...`: seeing, choosing, adding and removing them. What is done to one is in
//! [`super::cluster_care`].

use flotilla_types::api::{ClusterList, ClusterView};
use flotilla_types::name::check_cluster_name;
use serde_json::Value;

use crate::commands::access::Access;
use crate::commands::{agents, cluster_care};
use crate::config::Config;
use crate::context::Context;
use crate::duration::show_time;
use crate::error::CliError;
use crate::hub_client::{Call, HubClient};
use crate::output::{OutputArgs, state, text};
use crate::terminal::{self, during};

/// See, choose, add and remove clusters
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  flotilla clusters list
  flotilla clusters use production-us-east")]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Show the clusters that you may reach
    #[command(
        visible_alias = "ls",
        after_help = "Examples:
  flotilla clusters list
  flotilla clusters list -o json"
    )]
    List(OutputArgs),

    /// Choose the cluster that `flotilla kubectl` goes to
    #[command(after_help = "Examples:
  flotilla clusters use production-us-east")]
    Use {
        /// Name of the cluster
        name: String,
    },

    /// Add a cluster: with an agent, or with a kubeconfig (administrators)
    ///
    /// Without credentials, makes a one-use token and prints what to run in the cluster: nothing needs to
    /// reach the cluster from outside. With credentials, the hub connects to the cluster itself; files that
    /// a kubeconfig names are put into what is sent, and only the one context is.
    #[command(after_help = "Examples:
  flotilla clusters add production-us-east
  flotilla clusters add staging --manifest | kubectl --context staging apply -f -
  flotilla clusters add lab --kubeconfig ~/.kube/config --context lab --label env=lab
  flotilla clusters add prod --server https://prod:6443 --ca-file ca.crt --token-file token
  flotilla clusters add prod --server https://prod:6443 --client-cert hub.crt --client-key hub.key
  flotilla clusters add eu --server https://X.eks.amazonaws.com --ca-file ca.crt --eks-cluster eu --eks-region eu-central-1")]
    Add(Box<Add>),

    #[command(flatten)]
    Care(cluster_care::Command),

    /// Remove a cluster and cut off its agents (administrators)
    #[command(
        visible_alias = "rm",
        after_help = "Examples:
  flotilla clusters remove lab"
    )]
    Remove {
        /// Name of the cluster
        name: String,
    },
}

#[derive(Debug, clap::Args)]
struct Add {
    /// Name that the cluster shall have
    name: String,

    #[command(flatten)]
    access: Access,

    /// What people say of it, as KEY=VALUE; may be repeated
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = cluster_care::label)]
    labels: Vec<(String, String)>,

    /// Print the agent's manifest alone
    #[arg(long, conflicts_with = "output")]
    manifest: bool,

    #[command(flatten)]
    output: OutputArgs,
}

/// Runs a subcommand.
///
/// # Errors
/// The hub's refusals, and those of files.
pub(crate) async fn run(context: &Context, args: Args) -> Result<(), CliError> {
    match args.command {
        Command::List(output) => list(context, output).await,
        Command::Use { name } => choose(context, &name).await,
        Command::Add(add) => add_cluster(context, *add).await,
        Command::Care(command) => cluster_care::run(context, command).await,
        Command::Remove { name } => remove(context, &name).await,
    }
}

/// The clusters that the caller may reach.
///
/// # Errors
/// The hub's refusals.
pub(crate) async fn fetch(client: &HubClient) -> Result<ClusterList, CliError> {
    client.call(&Call::get(&["api", "clusters"])).await
}

async fn list(context: &Context, output: OutputArgs) -> Result<(), CliError> {
    let list = fetch(&context.client()?).await?;
    let current = context.chosen_cluster()?;
    context.output(output).show_list(
        &list,
        &list.clusters,
        &["current", "name", "status", "backend", "health", "version", "last seen"],
        |view| row(view, current.as_deref()),
    )
}

fn row(view: &ClusterView, current: Option<&str>) -> Vec<comfy_table::Cell> {
    let version = ["kubernetes_version", "kubernetesVersion", "kubernetes"]
        .iter()
        .find_map(|key| view.metadata.get(*key).and_then(Value::as_str))
        .or_else(|| view.health.as_ref().map(|health| health.server_version.as_str()));
    vec![
        // Unlike other cells an empty one: the star is to be found at a glance.
        comfy_table::Cell::new(if current == Some(view.name.as_str()) { "*" } else { "" }),
        text(&view.name),
        state(&view.status),
        text(&view.backend),
        state(view.health.as_ref().map_or("", |health| &health.status)),
        text(version.unwrap_or_default()),
        text(view.last_seen.map(show_time).unwrap_or_default()),
    ]
}

async fn choose(context: &Context, name: &str) -> Result<(), CliError> {
    let hub = context.hub()?;
    let list = fetch(&context.client()?).await?;
    let Some(view) = list.clusters.iter().find(|view| view.name == name) else {
        return Err(unknown(name, &list));
    };
    Config::update(&context.paths, &[("central_url", Some(&hub.to_string())), ("current_cluster", Some(name))])?;
    terminal::note(&format!("kubectl now goes to {name}"));
    if view.status != "connected" {
        terminal::note(&format!("{name} is {} at the moment", view.status));
    }
    Ok(())
}

fn unknown(name: &str, list: &ClusterList) -> CliError {
    let names: Vec<&str> = list.clusters.iter().map(|view| view.name.as_str()).collect();
    let hint = match names.is_empty() {
        true => "you may reach none; ask an administrator for a role".to_owned(),
        false => format!("you may reach: {}", names.join(", ")),
    };
    CliError::general(format!("there is no cluster {name:?} that you may reach")).hint(hint)
}

async fn add_cluster(context: &Context, add: Add) -> Result<(), CliError> {
    check_cluster_name(&add.name).map_err(|error| CliError::usage(error.to_string()))?;
    let Some(mut body) = add.access.body()? else {
        return agents::enrol(context, &add.name, add.manifest, add.output).await;
    };
    if add.manifest {
        return Err(CliError::usage("--manifest is for a cluster with an agent, which takes no credentials"));
    }
    (body.name, body.labels) = (add.name.clone(), add.labels.into_iter().collect());
    let call = Call::post(&["api", "clusters"]).json(&body)?;
    let made: ClusterView = during("The hub connects to the cluster", context.client()?.call(&call)).await?;
    context.output(add.output).show_text(&made, |made| {
        let found = made.health.as_ref().filter(|health| health.error.is_some());
        let trouble = found.map(|health| format!("it is {}: {}\n", health.status, health.detail));
        format!("cluster {} added\n{}", add.name, trouble.unwrap_or_default())
    })
}

async fn remove(context: &Context, name: &str) -> Result<(), CliError> {
    let client = context.client()?;
    let list = fetch(&client).await?;
    let Some(view) = list.clusters.iter().find(|view| view.name == name) else {
        return Err(unknown(name, &list));
    };
    client.call::<()>(&Call::delete(&["api", "clusters", &view.id.to_string()])).await?;
    terminal::note(&format!("cluster {name} removed"));
    if context.config.current_cluster.as_deref() == Some(name) {
        Config::update(&context.paths, &[("current_cluster", None)])?;
    }
    Ok(())
}
