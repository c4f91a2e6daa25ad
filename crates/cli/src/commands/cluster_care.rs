//! `flotilla clusters ...` for what is done to one cluster: trying it, renaming and labelling it, new credentials, the
//! default, shares.
//!
//! Must not know: how credentials are read ([`super::access`]).

use std::collections::BTreeMap;
use std::time::Duration;

use flotilla_types::api::ClusterView;
use flotilla_types::cluster::{ClusterCreate, ClusterStatus, ClusterTest, ClusterUpdate, ShareList, ShareRequest};
use reqwest::Method;

use crate::commands::access::Access;
use crate::context::Context;
use crate::duration::show_time;
use crate::error::CliError;
use crate::hub_client::Call;
use crate::output::{OutputArgs, text};
use crate::terminal::{self, during};

/// The hub looks at the cluster first, and a cluster may be slow.
const DEADLINE: Duration = Duration::from_secs(90);

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Try the connection to a cluster, or credentials before adding one (administrators)
    #[command(after_help = "Examples:
  flotilla clusters test prod
  flotilla clusters test new --kubeconfig ~/.kube/config --context new")]
    Test {
        /// Name of the cluster
        name: String,
        #[command(flatten)]
        access: Box<Access>,
        #[command(flatten)]
        output: OutputArgs,
    },

    /// Give a cluster another name (administrators)
    #[command(after_help = "Examples:
  flotilla clusters rename lab lab-berlin")]
    Rename {
        /// Name that it has
        name: String,
        /// Name that it shall have
        new: String,
    },

    /// Change a cluster's labels or credentials (administrators)
    #[command(after_help = "Examples:
  flotilla clusters update prod --label env=prod --remove-label owner
  flotilla clusters update prod --server https://prod:6443 --ca-file ca.crt --token-file token")]
    Update {
        /// Name of the cluster
        name: String,
        /// Label to set, as KEY=VALUE; may be repeated
        #[arg(long = "label", value_name = "KEY=VALUE", value_parser = label)]
        labels: Vec<(String, String)>,
        /// Label to take away; may be repeated
        #[arg(long = "remove-label", value_name = "KEY")]
        removed: Vec<String>,
        #[command(flatten)]
        access: Box<Access>,
    },

    /// Choose the cluster that you work with on any machine, unless you name another
    #[command(after_help = "Examples:
  flotilla clusters default prod
  flotilla clusters default prod --clear")]
    Default {
        /// Name of the cluster
        name: String,
        /// Have none
        #[arg(long)]
        clear: bool,
    },

    /// Share a cluster with somebody, or see with whom it is shared (administrators)
    #[command(after_help = "Examples:
  flotilla clusters share prod
  flotilla clusters share prod --with dev@example.com --as viewer
  flotilla clusters share prod --with dev@example.com --remove")]
    Share {
        /// Name of the cluster
        name: String,
        /// Account to share it with
        #[arg(long, value_name = "EMAIL")]
        with: Option<String>,
        /// viewer, developer or admin, of this cluster alone
        #[arg(long = "as", value_name = "LEVEL", requires = "with", default_value = "viewer")]
        level: String,
        /// End the share
        #[arg(long, requires = "with")]
        remove: bool,
        #[command(flatten)]
        output: OutputArgs,
    },
}

/// Reads `KEY=VALUE`.
///
/// # Errors
/// There is no key or no `=`.
pub(crate) fn label(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("write it as KEY=VALUE".to_owned()),
    }
}

/// Runs a subcommand.
///
/// # Errors
/// The hub's refusals, and those of files.
pub(crate) async fn run(context: &Context, command: Command) -> Result<(), CliError> {
    match command {
        Command::Test { name, access, output } => test(context, &name, access.body()?, output).await,
        Command::Rename { name, new } => rename(context, &name, &new).await,
        Command::Update { name, labels, removed, access } => {
            update(context, &name, labels, &removed, access.body()?).await
        }
        Command::Default { name, clear } => default(context, &name, clear).await,
        Command::Share { name, with: None, output, .. } => shares(context, &name, output).await,
        Command::Share { name, with: Some(email), level, remove, .. } => {
            share(context, &name, email, level, remove).await
        }
    }
}

async fn test(context: &Context, name: &str, body: Option<ClusterCreate>, output: OutputArgs) -> Result<(), CliError> {
    let mut call = Call::post(&["api", "clusters", name, "test"]).deadline(DEADLINE);
    if let Some(body) = &body {
        call = call.json(body)?;
    }
    let report: ClusterTest = during("The hub connects to the cluster", context.client()?.call(&call)).await?;
    context.output(output).show_text(&report, |report| {
        let version = report.server_version.as_deref().unwrap_or("unknown");
        let mut text = format!("server version: {version}\nlatency: {} ms\n", report.latency_ms);
        if !report.missing_permissions.is_empty() {
            text.push_str(&format!("missing: {}\n", report.missing_permissions.join(", ")));
        }
        text
    })?;
    match report.error {
        None => Ok(()),
        Some(class) => Err(CliError::general(format!("{name}: {class}: {}", report.detail))),
    }
}

async fn rename(context: &Context, name: &str, new: &str) -> Result<(), CliError> {
    let body = ClusterUpdate { name: Some(new.to_owned()), labels: None };
    let call = Call::put(&["api", "clusters", name]).deadline(DEADLINE).json(&body)?;
    context.client()?.call::<ClusterView>(&call).await?;
    terminal::note(&format!("cluster {name} is now called {new}"));
    Ok(())
}

async fn update(
    context: &Context,
    name: &str,
    labels: Vec<(String, String)>,
    removed: &[String],
    access: Option<ClusterCreate>,
) -> Result<(), CliError> {
    if labels.is_empty() && removed.is_empty() && access.is_none() {
        return Err(CliError::usage("there is nothing to change").hint("give --label, --remove-label or credentials"));
    }
    let client = context.client()?;
    if !labels.is_empty() || !removed.is_empty() {
        let view: ClusterView = client.call(&Call::get(&["api", "clusters", name])).await?;
        let mut all: BTreeMap<String, String> = view.labels;
        all.retain(|key, _| !removed.contains(key));
        all.extend(labels);
        let body = ClusterUpdate { name: None, labels: Some(all) };
        client.call::<ClusterView>(&Call::put(&["api", "clusters", name]).json(&body)?).await?;
        terminal::note(&format!("labels of cluster {name} changed"));
    }
    let Some(access) = access else { return Ok(()) };
    let call = Call::put(&["api", "clusters", name, "credentials"]).deadline(DEADLINE).json(&access)?;
    let status: ClusterStatus = during("The hub connects to the cluster", client.call(&call)).await?;
    terminal::note(&format!("cluster {name} has new credentials; it is {} {}", status.status, status.detail));
    Ok(())
}

async fn default(context: &Context, name: &str, clear: bool) -> Result<(), CliError> {
    let method = if clear { Method::DELETE } else { Method::PUT };
    context.client()?.call::<()>(&Call::new(method, &["api", "clusters", name, "default"])).await?;
    terminal::note(&match clear {
        true => format!("cluster {name} is no longer your default"),
        false => format!("cluster {name} is your default"),
    });
    Ok(())
}

async fn shares(context: &Context, name: &str, output: OutputArgs) -> Result<(), CliError> {
    let list: ShareList = context.client()?.call(&Call::get(&["api", "clusters", name, "share"])).await?;
    context.output(output).show_list(&list, &list.shares, &["with", "as", "by", "since"], |share| {
        vec![text(&share.subject), text(&share.level), text(&share.created_by), text(show_time(share.created_at))]
    })
}

async fn share(context: &Context, name: &str, email: String, level: String, remove: bool) -> Result<(), CliError> {
    let path = ["api", "clusters", name, "share"];
    let client = context.client()?;
    if remove {
        client.call::<()>(&Call::delete(&path).query(vec![("subject", email.clone())])).await?;
        terminal::note(&format!("cluster {name} is no longer shared with {email}"));
        return Ok(());
    }
    let body = ShareRequest { subject_kind: "user".to_owned(), subject: email.clone(), level: level.clone() };
    client.call::<()>(&Call::post(&path).json(&body)?).await?;
    terminal::note(&format!("cluster {name} is shared with {email} as {level}"));
    Ok(())
}
