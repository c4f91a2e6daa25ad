//! `flotilla request` and `flotilla requests ...`: access on request.

use std::time::Duration;

use flotilla_types::rights::{AccessAsk, AccessDecision, AccessRequestList, AccessRequestView, RequestState};
use jiff::SignedDuration;

use crate::context::Context;
use crate::duration::{parse_length, show_time};
use crate::error::{CliError, plain};
use crate::hub_client::Call;
use crate::output::{OutputArgs, list as words, text};
use crate::terminal;

/// How often a request is looked at that is waited for.
const POLL: Duration = Duration::from_secs(2);

/// Ask for access that ends by itself
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  flotilla request --cluster 'prod-*' --namespace pay --verbs get,exec --for 1h --reason 'INC-42: stuck worker'
  flotilla request --cluster prod-1 -n pay --verbs exec --for 15m --reason INC-42 --wait && kubectl exec -it -n pay web-0 -- sh")]
pub(crate) struct AskArgs {
    /// Pattern of clusters
    #[arg(long, value_name = "PATTERN")]
    cluster: String,
    /// Namespaces, or patterns of them
    #[arg(short, long, value_delimiter = ',', required = true, value_name = "NAMESPACE")]
    namespace: Vec<String>,
    /// Verbs and actions: get, list, logs, exec ...
    #[arg(long, value_delimiter = ',', required = true)]
    verbs: Vec<String>,
    /// Resources in the plural
    #[arg(long, value_delimiter = ',', default_value = "pods")]
    resources: Vec<String>,
    /// For how long, for example 30m or 1h
    #[arg(long = "for", value_parser = parse_length, value_name = "LENGTH")]
    length: SignedDuration,
    /// Why; who approves reads it
    #[arg(long)]
    reason: String,
    /// Wait until it is decided; exit code 4 if the answer is no
    #[arg(long)]
    wait: bool,
    #[command(flatten)]
    output: OutputArgs,
}

/// See, approve, deny and end requests for access
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  flotilla requests list
  flotilla requests approve 0190c7d0-0000-7000-8000-000000000000 --comment 'go ahead'")]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Args)]
struct Decision {
    /// The request
    id: String,
    /// Why
    #[arg(long, default_value = "")]
    comment: String,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Show your requests and those that you may decide
    #[command(
        visible_alias = "ls",
        after_help = "Examples:
  flotilla requests list --state pending"
    )]
    List {
        /// pending, granted, denied, ended or expired
        #[arg(long, value_parser = state)]
        state: Option<RequestState>,
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Show one request
    #[command(after_help = "Examples:
  flotilla requests show 0190c7d0-0000-7000-8000-000000000000")]
    Show {
        /// The request
        id: String,
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Approve a request; when enough have, it holds from now on
    #[command(after_help = "Examples:
  flotilla requests approve 0190c7d0-0000-7000-8000-000000000000")]
    Approve(Decision),
    /// Deny a request
    #[command(after_help = "Examples:
  flotilla requests deny 0190c7d0-0000-7000-8000-000000000000 --comment 'use staging'")]
    Deny(Decision),
    /// End access before its time, or withdraw a request
    #[command(after_help = "Examples:
  flotilla requests end 0190c7d0-0000-7000-8000-000000000000")]
    End(Decision),
}

fn state(word: &str) -> Result<RequestState, String> {
    RequestState::parse(word).ok_or_else(|| "use pending, granted, denied, ended or expired".to_owned())
}

/// Asks for access.
///
/// # Errors
/// The hub's refusals.
pub(crate) async fn ask(context: &Context, args: AskArgs) -> Result<(), CliError> {
    let ask = AccessAsk {
        cluster: args.cluster,
        namespaces: args.namespace,
        verbs: args.verbs,
        resources: args.resources,
        api_groups: vec!["*".to_owned()],
        seconds: u64::try_from(args.length.as_secs()).unwrap_or_default(),
        reason: args.reason,
    };
    let call = Call::post(&["api", "access-requests"]).json(&ask)?;
    let made: AccessRequestView = context.client()?.call(&call).await?;
    let decided = if args.wait { decision(context, made).await? } else { made };
    context.output(args.output).show_text(&decided, describe)?;
    match decided.state {
        RequestState::Pending | RequestState::Granted => Ok(()),
        state => Err(CliError::not_allowed(format!("access was not granted: the request is {}", state.as_str()))),
    }
}

/// Waits until a request is decided, and says on standard error how it goes on. Whoever stops waiting withdraws nothing.
async fn decision(context: &Context, mut request: AccessRequestView) -> Result<AccessRequestView, CliError> {
    let id = request.id.to_string();
    terminal::note(&format!("request {id} waits for approval; to withdraw it: flotilla requests end {id}"));
    let (client, mut told) = (context.client()?, 0);
    while request.state == RequestState::Pending {
        for one in request.decisions.iter().skip(told) {
            terminal::note(&format!(
                "{} by {} {}",
                if one.approved { "approved" } else { "denied" },
                one.email,
                one.comment
            ));
        }
        told = request.decisions.len();
        tokio::time::sleep(POLL).await;
        request = client.call(&Call::get(&["api", "access-requests", &id])).await?;
    }
    Ok(request)
}

/// Runs a subcommand.
///
/// # Errors
/// The hub's refusals.
pub(crate) async fn run(context: &Context, args: Args) -> Result<(), CliError> {
    match args.command {
        Command::List { state, output } => list(context, state, output).await,
        Command::Show { id, output } => {
            let one: AccessRequestView = context.client()?.call(&Call::get(&["api", "access-requests", &id])).await?;
            context.output(output).show_text(&one, describe)
        }
        Command::Approve(decision) => decide(context, "approve", decision).await,
        Command::Deny(decision) => decide(context, "deny", decision).await,
        Command::End(decision) => decide(context, "end", decision).await,
    }
}

async fn list(context: &Context, state: Option<RequestState>, output: OutputArgs) -> Result<(), CliError> {
    let query = state.map(|state| ("state", state.as_str().to_owned())).into_iter().collect();
    let list: AccessRequestList = context.client()?.call(&Call::get(&["api", "access-requests"]).query(query)).await?;
    let headings = ["id", "who", "state", "clusters", "namespaces", "verbs", "resources", "ends", "reason"];
    context.output(output).show_list(&list, &list.requests, &headings, |one| {
        vec![
            text(one.id.to_string()),
            text(&one.email),
            crate::output::state(one.state.as_str()),
            words(&one.clusters),
            words(&one.ask.namespaces),
            words(&one.ask.verbs),
            words(&one.ask.resources),
            text(one.ends_at.map(show_time).unwrap_or_default()),
            text(&one.ask.reason),
        ]
    })
}

async fn decide(context: &Context, word: &str, decision: Decision) -> Result<(), CliError> {
    let body = AccessDecision { comment: decision.comment };
    let call = Call::post(&["api", "access-requests", &decision.id, word]).json(&body)?;
    let one: AccessRequestView = context.client()?.call(&call).await?;
    context.output(decision.output).show_text(&one, describe)
}

fn describe(one: &AccessRequestView) -> String {
    let AccessAsk { namespaces, verbs, resources, seconds, reason, .. } = &one.ask;
    let approved = one.decisions.iter().filter(|decision| decision.approved).count();
    let mut lines = format!(
        "Request:    {}\nWho:        {}\nState:      {}\nClusters:   {}\nNamespaces: {}\nMay:        {} on {}\nFor:        {seconds} s\nReason:     {reason}\nApprovals:  {approved} of {}\n",
        one.id,
        one.email,
        one.state.as_str(),
        one.clusters.join(", "),
        namespaces.join(", "),
        verbs.join(", "),
        resources.join(", "),
        one.approvals_needed
    );
    if let Some(end) = one.ends_at {
        lines.push_str(&format!("Ends:       {}\n", show_time(end)));
    }
    for decision in &one.decisions {
        let word = if decision.approved { "approved" } else { "denied" };
        lines.push_str(&format!("{} {word} {}\n", decision.email, decision.comment));
    }
    plain(&lines)
}
