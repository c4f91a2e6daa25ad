//! `flotilla api-keys ...`.

use flotilla_types::access::{ApiKeyCreate, ApiKeyCreated, ApiKeyList, ApiKeyView};

use crate::context::Context;
use crate::duration::show_time;
use crate::error::CliError;
use crate::hub_client::{Call, HubClient};
use crate::output::{OutputArgs, list as words, text};
use crate::terminal;

/// Make, see and revoke keys that programs use in your name
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  flotilla api-keys list
  flotilla api-keys create ci --scope 'k8s:staging-*:get,list,watch' --expires-in-days 90")]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Show your keys, without their secrets
    #[command(
        visible_alias = "ls",
        after_help = "Examples:
  flotilla api-keys list
  flotilla api-keys list -o json"
    )]
    List(OutputArgs),

    /// Make a key, which is shown once
    ///
    /// A key never may more than you may. Its scopes say which of your rights it carries: `*` (all),
    /// `<noun>:read` and `<noun>:write` for the hub's own API, `k8s:<cluster pattern>[:<verbs>]` for clusters.
    /// kubectl takes it as --token, other programs as `Authorization: Bearer`.
    #[command(after_help = "Examples:
  flotilla api-keys create ci --scope 'k8s:staging-*:get,list,watch' --expires-in-days 90
  flotilla api-keys create backup --scope secrets:read --scope templates:write -o json | jq -r .key")]
    Create {
        /// What the key is for
        name: String,
        /// What it may be used for; may be given several times
        #[arg(long = "scope", value_name = "SCOPE", required = true)]
        scopes: Vec<String>,
        /// Days until it ends, 1 to 365; left out: it holds until it is revoked
        #[arg(long, value_name = "DAYS", value_parser = clap::value_parser!(u32).range(1..=365))]
        expires_in_days: Option<u32>,
        #[command(flatten)]
        output: OutputArgs,
    },

    /// Revoke a key at once
    #[command(
        visible_alias = "rm",
        after_help = "Examples:
  flotilla api-keys revoke ci"
    )]
    Revoke {
        /// Name, id or beginning (sk_live_...) of the key
        key: String,
    },
}

/// Runs a subcommand.
///
/// # Errors
/// The hub's refusals.
pub(crate) async fn run(context: &Context, args: Args) -> Result<(), CliError> {
    match args.command {
        Command::List(output) => list(context, output).await,
        Command::Create { name, scopes, expires_in_days, output } => {
            create(context, &ApiKeyCreate { name, scopes, expires_in_days }, output).await
        }
        Command::Revoke { key } => revoke(context, &key).await,
    }
}

async fn all(client: &HubClient) -> Result<ApiKeyList, CliError> {
    client.call(&Call::get(&["api", "api-keys"])).await
}

async fn list(context: &Context, output: OutputArgs) -> Result<(), CliError> {
    let list = all(&context.client()?).await?;
    let headings = ["name", "begins", "scopes", "created", "ends", "last used", "id"];
    context.output(output).show_list(&list, &list.api_keys, &headings, |key| {
        vec![
            text(&key.name),
            text(&key.prefix),
            words(&key.scopes),
            text(show_time(key.created_at)),
            text(key.expires_at.map(show_time).unwrap_or_default()),
            text(key.last_used_at.map(show_time).unwrap_or_default()),
            text(key.id.to_string()),
        ]
    })
}

async fn create(context: &Context, body: &ApiKeyCreate, output: OutputArgs) -> Result<(), CliError> {
    let call = Call::post(&["api", "api-keys"]).json(body)?;
    let made: ApiKeyCreated = context.client()?.call(&call).await?;
    context.output(output).show_text(&made, |made| {
        let until = made.api_key.expires_at.map_or_else(|| "it is revoked".to_owned(), show_time);
        format!("{}\n\nThis is shown once. The key {:?} holds until {until}.\n", made.key, made.api_key.name)
    })
}

async fn revoke(context: &Context, wanted: &str) -> Result<(), CliError> {
    let client = context.client()?;
    let keys = all(&client).await?.api_keys;
    let named = |key: &&ApiKeyView| key.name == wanted || key.id.to_string() == wanted;
    // A beginning is unique in practice; if it is not, nothing is revoked by guess.
    let begun = |key: &&ApiKeyView| wanted.len() >= key.prefix.len() && wanted.starts_with(&key.prefix);
    let mut beginning = keys.iter().filter(begun);
    let key = keys.iter().find(named).or_else(|| beginning.next().filter(|_| beginning.next().is_none()));
    let key = key
        .ok_or_else(|| CliError::general("there is no such key of yours").hint("flotilla api-keys list shows them"))?;
    client.call::<()>(&Call::delete(&["api", "api-keys", &key.id.to_string()])).await?;
    terminal::note(&format!("{} revoked", key.name));
    Ok(())
}
