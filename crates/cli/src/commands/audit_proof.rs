//! `flotilla audit verify`, `export` and `keys`: the log as evidence.

use std::fs::File;
use std::io::{BufReader, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use flotilla_ledger::checkpoint::Keys;
use flotilla_ledger::export;
use flotilla_types::audit::{Flaw, Verification, VerifyQuery};
use serde_json::Value;

use crate::context::Context;
use crate::error::{CliError, Doing};
use crate::hub_client::{Call, HubClient};
use crate::output::{OutputArgs, write_stdout};
use crate::terminal::{during, note};

/// A million rows may take a slow disk a while.
const VERIFY_DEADLINE: Duration = Duration::from_secs(10 * 60);
/// An export may be long and its reader slow.
const EXPORT_DEADLINE: Duration = Duration::from_secs(24 * 3600);

/// Verify that the audit log is whole
///
/// Finds any row that was changed, removed, exchanged or cut off, and says where. The hub is asked to verify its own log;
/// with --file an export is verified on this machine, which needs no trust in the hub but for its keys; with --database
/// the database of a hub that need not run. Ends with exit code 1 when something is wrong.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "Examples:
  flotilla audit verify
  flotilla audit verify --from 120000 --to 130000
  flotilla audit export > audit.jsonl && flotilla audit keys > keys.json
  flotilla audit verify --file audit.jsonl --keys keys.json
  flotilla audit verify --database --config /etc/flotilla/central.yaml")]
pub(crate) struct VerifyArgs {
    /// First position
    #[arg(long, value_name = "SEQ", value_parser = clap::value_parser!(i64).range(1..), conflicts_with = "file")]
    from: Option<i64>,

    /// Last position
    #[arg(long, value_name = "SEQ", value_parser = clap::value_parser!(i64).range(1..), conflicts_with = "file")]
    to: Option<i64>,

    /// Verify an export; - reads standard input
    #[arg(long, value_name = "FILE", requires = "keys", conflicts_with = "database")]
    file: Option<PathBuf>,

    /// The hub's public keys, as `flotilla audit keys` prints them
    #[arg(long, value_name = "FILE", requires = "file")]
    keys: Option<PathBuf>,

    /// Verify the database itself, as the hub's configuration names it
    #[arg(long)]
    database: bool,

    /// Configuration file of the hub
    #[arg(long, value_name = "FILE", env = "FLOTILLA_CONFIG")]
    config: Option<PathBuf>,

    #[command(flatten)]
    output: OutputArgs,
}

/// Take the audit log out, as JSON lines
///
/// Without filters the export proves itself: see flotilla audit verify --file. With filters it is only a list.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "Examples:
  flotilla audit export > audit.jsonl
  flotilla audit export --from 120000 --to 130000 > part.jsonl")]
pub(crate) struct ExportArgs {
    /// First position
    #[arg(long, value_name = "SEQ", value_parser = clap::value_parser!(i64).range(1..))]
    from: Option<i64>,

    /// Last position; the export goes on to the next signed checkpoint
    #[arg(long, value_name = "SEQ", value_parser = clap::value_parser!(i64).range(1..))]
    to: Option<i64>,

    /// E-mail address of who acted
    #[arg(long, value_name = "EMAIL")]
    actor: Option<String>,

    /// What was done
    #[arg(long)]
    verb: Option<String>,

    /// Name of the cluster
    #[arg(long)]
    cluster: Option<String>,
}

/// Print the public keys that vouch for the audit log
///
/// Keep them away from the hub: they are what an export is verified with.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "Examples:
  flotilla audit keys > keys.json")]
pub(crate) struct KeysArgs {}

/// Verifies.
///
/// # Errors
/// The log is not whole, or it cannot be read.
pub(crate) async fn verify(context: &Context, args: VerifyArgs) -> Result<(), CliError> {
    let query = VerifyQuery { from: args.from, to: args.to };
    let found = match (&args.file, &args.keys) {
        (Some(file), Some(keys)) => verify_file(file, keys)?,
        _ if args.database => {
            let found = flotilla_hub::verify_audit(args.config, query).await;
            found.map_err(|error| CliError::general(format!("{error:#}")))?
        }
        _ => during("Verifying the audit log", verify_through(&context.client()?, query)).await?,
    };
    context.output(args.output).show_text(&found, shown)?;
    if found.is_sound() {
        return Ok(());
    }
    Err(CliError::general("the audit log is not whole").hint("keep the database as it is and compare it with exports"))
}

async fn verify_through(client: &HubClient, mut query: VerifyQuery) -> Result<Verification, CliError> {
    let mut all: Option<Verification> = None;
    loop {
        let given = [("from", query.from), ("to", query.to)];
        let given = given.into_iter().filter_map(|(name, seq)| Some((name, seq?.to_string()))).collect();
        let call = Call::get(&["api", "audit", "verify"]).query(given).deadline(VERIFY_DEADLINE);
        let found: Verification = client.call(&call).await?;
        query.from = found.next;
        let all = match all.as_mut() {
            Some(all) => {
                all.append(found);
                all
            }
            None => all.insert(found),
        };
        if query.from.is_none() {
            return Ok(all.clone());
        }
    }
}

fn verify_file(file: &Path, keys: &Path) -> Result<Verification, CliError> {
    let read = |path: &Path| std::fs::read_to_string(path).doing(format!("read {}", path.display()));
    let keys: Value = serde_json::from_str(&read(keys)?).doing(format!("read {}", keys.display()))?;
    let keys = Keys::from_jwks(&keys).map_err(|error| CliError::general(error.to_string()))?;
    let found = if file == Path::new("-") {
        export::verify(std::io::stdin().lock(), &keys)
    } else {
        let opened = File::open(file).doing(format!("read {}", file.display()))?;
        export::verify(BufReader::with_capacity(1 << 20, opened), &keys)
    };
    found.map_err(|error| CliError::general(error.to_string()))
}

fn shown(found: &Verification) -> String {
    let mut text = String::new();
    for flaw in &found.flaws {
        text.push_str(&format!("{}\n", shown_flaw(flaw)));
    }
    if found.more_flaws {
        text.push_str("and more\n");
    }
    let state = if found.is_sound() { "whole" } else { "NOT WHOLE" };
    let signed =
        if found.signed_to > 0 { format!("signed up to {}", found.signed_to) } else { "nothing signed".into() };
    let (from, to, good, checkpoints) = (found.from, found.to, found.good, found.checkpoints);
    text.push_str(&format!("rows {from} to {to}: {state}; {good} good, {checkpoints} checkpoints hold, {signed}\n"));
    text
}

fn shown_flaw(flaw: &Flaw) -> String {
    let place =
        if flaw.seq == flaw.to { format!("row {}", flaw.seq) } else { format!("rows {} to {}", flaw.seq, flaw.to) };
    let id = flaw.id.as_deref().map(|id| format!(" ({id})")).unwrap_or_default();
    let columns = if flaw.columns.is_empty() { String::new() } else { format!(": {}", flaw.columns.join(", ")) };
    let detail = if flaw.detail.is_empty() { String::new() } else { format!(": {}", flaw.detail) };
    format!("{place}{id}: {}{columns}{detail}", flaw.kind.describe())
}

/// Writes the log to standard output.
///
/// # Errors
/// The hub's refusals; the export broke off.
pub(crate) async fn export(context: &Context, args: ExportArgs) -> Result<(), CliError> {
    let number = |seq: Option<i64>| seq.map(|seq| seq.to_string());
    let given = [
        ("from", number(args.from)),
        ("to", number(args.to)),
        ("actor", args.actor),
        ("verb", args.verb),
        ("cluster", args.cluster),
    ];
    let query = given.into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
    let call = Call::get(&["api", "audit", "export"]).query(query).deadline(EXPORT_DEADLINE);
    let mut out = std::io::stdout().lock();
    context.client()?.download(&call, |chunk| out.write_all(chunk).doing("write to standard output")).await?;
    out.flush().doing("write to standard output")?;
    note("verify it with: flotilla audit verify --file FILE --keys KEYS");
    Ok(())
}

/// Prints the keys.
///
/// # Errors
/// The hub's refusals.
pub(crate) async fn keys(context: &Context) -> Result<(), CliError> {
    let keys: Value = context.client()?.call(&Call::get(&["api", "audit", "keys"])).await?;
    write_stdout(&format!("{keys:#}\n"))
}

#[cfg(test)]
mod tests {
    use flotilla_types::audit::FlawKind;

    use super::*;

    #[test]
    fn a_flaw_says_what_is_wrong_where() {
        let flaw = Flaw {
            kind: FlawKind::RowChanged,
            seq: 7,
            to: 7,
            id: Some("0199".into()),
            columns: vec!["verb".into()],
            detail: String::new(),
        };
        assert_eq!(shown_flaw(&flaw), "row 7 (0199): the row is not the one that was written: verb");
        let gap = Flaw { kind: FlawKind::RowMissing, to: 9, id: None, columns: vec![], ..flaw };
        let found = Verification { from: 1, to: 12, good: 9, flaws: vec![gap], ..Verification::default() };
        assert_eq!(
            shown(&found),
            "rows 7 to 9: missing\nrows 1 to 12: NOT WHOLE; 9 good, 0 checkpoints hold, nothing signed\n"
        );
    }
}
