//! `flotilla audit`.

use std::collections::HashSet;

use comfy_table::Cell;
use flotilla_types::api::AuditPage;
use flotilla_types::audit::{AuditRow, Outcome};
use jiff::Timestamp;

use crate::commands::{audit_proof, audit_show};
use crate::context::Context;
use crate::duration::{parse_point_now, show_ms, show_time};
use crate::error::CliError;
use crate::hub_client::{Call, HubClient};
use crate::output::{OutputArgs, state, text};
use crate::terminal::{during, note};

/// Rows asked for at a time, the most that the hub gives.
const PAGE: u32 = 1000;

/// Look up who did what
///
/// An administrator sees everybody's rows, others their own. Newest first. The table shows each act once, with its
/// outcome; -o json shows the rows as they are kept, the attempted ones too.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "Examples:
  flotilla audit --since 1h
  flotilla audit --actor dev@example.com --cluster production --verb delete --all
  flotilla audit --outcome denied --since 7d -o json
  flotilla audit --request-id 0199c2f4-0000-7000-8000-000000000000
  flotilla audit show 1234
  flotilla audit verify")]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Option<Command>,

    /// E-mail address of who acted
    #[arg(long, value_name = "EMAIL")]
    actor: Option<String>,

    /// What was done, for example delete, apply, `exec_open`, login
    #[arg(long)]
    verb: Option<String>,

    /// How it ended: attempted, succeeded, failed, denied or aborted
    #[arg(long, value_parser = parse_outcome)]
    outcome: Option<Outcome>,

    /// Name of the cluster
    #[arg(long)]
    cluster: Option<String>,

    /// Namespace
    #[arg(long, short)]
    namespace: Option<String>,

    /// Name of the object
    #[arg(long)]
    name: Option<String>,

    /// Request id, as error messages show it
    #[arg(long, value_name = "ID")]
    request_id: Option<String>,

    /// Not before: a time (RFC 3339) or how long ago (30m, 1h, 7d)
    #[arg(long, value_name = "TIME", value_parser = parse_point_now)]
    since: Option<Timestamp>,

    /// Before: a time (RFC 3339) or how long ago
    #[arg(long, value_name = "TIME", value_parser = parse_point_now)]
    until: Option<Timestamp>,

    /// Most rows to show
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..), conflicts_with = "all")]
    limit: u32,

    /// Show all rows that fit
    #[arg(long)]
    all: bool,

    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Clone, Debug, clap::Subcommand)]
enum Command {
    Show(audit_show::ShowArgs),
    Verify(audit_proof::VerifyArgs),
    Export(audit_proof::ExportArgs),
    Keys(audit_proof::KeysArgs),
}

fn parse_outcome(word: &str) -> Result<Outcome, String> {
    Outcome::parse(word).ok_or_else(|| "use attempted, succeeded, failed, denied or aborted".to_owned())
}

/// Shows rows.
///
/// # Errors
/// The hub's refusals.
pub(crate) async fn run(context: &Context, args: Args) -> Result<(), CliError> {
    match args.command {
        Some(Command::Show(args)) => audit_show::show(context, args).await,
        Some(Command::Verify(args)) => audit_proof::verify(context, args).await,
        Some(Command::Export(args)) => audit_proof::export(context, args).await,
        Some(Command::Keys(_)) => audit_proof::keys(context).await,
        None => list(context, args).await,
    }
}

async fn list(context: &Context, args: Args) -> Result<(), CliError> {
    let client = context.client()?;
    let page = during("Reading the audit log", collect(&client, &args)).await?;
    let headings = ["no.", "time", "actor", "command", "cluster", "status", "duration"];
    let acts = acts(&page.rows);
    context.output(args.output).show_list(&page, &acts, &headings, |row| cells(row))?;
    if page.next.is_some() && !args.all {
        note("there are more rows: use --limit or --all");
    }
    Ok(())
}

/// One row for each act: an attempted row only where its outcome is not known (yet).
fn acts(rows: &[AuditRow]) -> Vec<&AuditRow> {
    let key = |row: &AuditRow| (row.request_id.clone(), row.verb.clone());
    let ended: HashSet<_> = rows.iter().filter(|row| row.outcome != Outcome::Attempted).map(key).collect();
    rows.iter().filter(|row| row.outcome != Outcome::Attempted || !ended.contains(&key(row))).collect()
}

/// Reads page after page until there is no more or enough is there.
async fn collect(client: &HubClient, args: &Args) -> Result<AuditPage, CliError> {
    let wanted = if args.all { usize::MAX } else { args.limit as usize };
    let mut rows: Vec<AuditRow> = Vec::new();
    let mut before = None;
    loop {
        let count = (wanted - rows.len()).min(PAGE as usize);
        let call = Call::get(&["api", "audit"]).query(query(args, count, before));
        let page: AuditPage = client.call(&call).await?;
        let empty = page.rows.is_empty();
        rows.extend(page.rows);
        rows.truncate(wanted);
        // A hub that gives an empty page and a next one would be asked for ever.
        if page.next.is_none() || empty || rows.len() >= wanted {
            return Ok(AuditPage { rows, next: page.next });
        }
        before = page.next;
    }
}

fn query(args: &Args, limit: usize, before: Option<i64>) -> Vec<(&'static str, String)> {
    let given = [
        ("actor", args.actor.clone()),
        ("verb", args.verb.clone()),
        ("outcome", args.outcome.map(|outcome| outcome.as_str().to_owned())),
        ("cluster", args.cluster.clone()),
        ("namespace", args.namespace.clone()),
        ("name", args.name.clone()),
        ("request_id", args.request_id.clone()),
        ("since", args.since.map(|time| time.to_string())),
        ("until", args.until.map(|time| time.to_string())),
        ("before", before.map(|before| before.to_string())),
        ("limit", Some(limit.to_string())),
    ];
    given.into_iter().filter_map(|(name, value)| value.map(|value| (name, value))).collect()
}

fn cells(row: &AuditRow) -> Vec<Cell> {
    let outcome = row.outcome.as_str();
    let status = if row.status == 0 { outcome.to_owned() } else { format!("{outcome} {}", row.status) };
    let ended = row.outcome != Outcome::Attempted && row.outcome != Outcome::Denied;
    vec![
        text(row.seq.to_string()),
        text(show_time(row.time)),
        text(&row.actor.email),
        text(&row.command),
        text(&row.target.cluster),
        state(&status),
        text(if ended { show_ms(row.duration_ms) } else { String::new() }),
    ]
}
