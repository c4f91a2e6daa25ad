//! `flotilla audit show`: one act with all its rows, and what it changed.

use std::fmt::Write as _;

use flotilla_types::api::AuditPage;
use flotilla_types::audit::{AuditRow, Change, Diff};

use crate::context::Context;
use crate::duration::{show_ms, show_time};
use crate::error::{CliError, plain};
use crate::hub_client::{Call, HubClient};
use crate::output::OutputArgs;

/// Show one act: who, what, how it ended, and what it changed
///
/// Of Secrets, and of whatever looks like a credential, only that it changed.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "Examples:
  flotilla audit show 1234
  flotilla audit show 0199c2f4-0000-7000-8000-000000000000 -o yaml")]
pub(crate) struct ShowArgs {
    /// Number of a row, as `flotilla audit` lists it, or a request id
    #[arg(value_name = "ID")]
    id: String,

    #[command(flatten)]
    output: OutputArgs,
}

/// Shows an act.
///
/// # Errors
/// There is no such row, or the hub's refusals.
pub(crate) async fn show(context: &Context, args: ShowArgs) -> Result<(), CliError> {
    let client = context.client()?;
    let request = match args.id.parse::<i64>() {
        Ok(number) => row_at(&client, number).await?.map(|row| row.request_id.to_string()),
        Err(_) => Some(args.id.clone()),
    };
    let mut rows = match request {
        Some(id) => page(&client, vec![("request_id", id)]).await?,
        None => Vec::new(),
    };
    if rows.is_empty() {
        return Err(CliError::general(format!("there is no row {} that you may see", args.id)));
    }
    rows.sort_by_key(|row| row.seq);
    context.output(args.output).show_text(&rows, |rows| rows.iter().map(described).collect::<Vec<_>>().join("\n"))
}

async fn row_at(client: &HubClient, number: i64) -> Result<Option<AuditRow>, CliError> {
    let before = number.saturating_add(1).to_string();
    let rows = page(client, vec![("before", before), ("limit", "1".to_owned())]).await?;
    Ok(rows.into_iter().find(|row| row.seq == number))
}

async fn page(client: &HubClient, query: Vec<(&'static str, String)>) -> Result<Vec<AuditRow>, CliError> {
    let page: AuditPage = client.call(&Call::get(&["api", "audit"]).query(query)).await?;
    Ok(page.rows)
}

fn described(row: &AuditRow) -> String {
    let mut text = format!("{}  {}  {}\n", row.seq, show_time(row.time), row.outcome.as_str());
    let target = &row.target;
    let object = [&target.cluster, &target.namespace, &target.resource, &target.name];
    let object: Vec<&str> = object.into_iter().map(String::as_str).filter(|part| !part.is_empty()).collect();
    let status = if row.status == 0 { String::new() } else { row.status.to_string() };
    let fields = [
        ("actor", row.actor.email.clone()),
        ("from", row.actor.address.clone()),
        ("groups", row.actor.groups.join(", ")),
        ("verb", row.verb.clone()),
        ("command", row.command.clone()),
        ("object", object.join(" / ")),
        ("status", status),
        ("reason", row.reason.clone()),
        ("took", if row.attempt_id.is_some() { show_ms(row.duration_ms) } else { String::new() }),
        ("request", row.request_id.to_string()),
    ];
    for (name, value) in fields.into_iter().filter(|(_, value)| !value.is_empty()) {
        let _ = writeln!(text, "  {name:<8} {}", plain(&value));
    }
    if let Some(diff) = &row.diff {
        text.push_str(&changes(diff));
    }
    text
}

fn changes(diff: &Diff) -> String {
    if !diff.unknown.is_empty() {
        return format!("  changes  not known: {}\n", plain(&diff.unknown));
    }
    if diff.changes.is_empty() && diff.more == 0 {
        return "  changes  none\n".to_owned();
    }
    let mut text = "  changes\n".to_owned();
    for change in &diff.changes {
        let _ = writeln!(text, "    {}", line(change));
    }
    if diff.more > 0 {
        let _ = writeln!(text, "    and {} more", diff.more);
    }
    text
}

fn line(change: &Change) -> String {
    let path = plain(&change.path);
    let show = |value: &serde_json::Value| plain(&value.to_string());
    match (&change.before, &change.after) {
        (Some(before), Some(after)) => format!("~ {path}: {} -> {}", show(before), show(after)),
        (None, Some(after)) => format!("+ {path}: {}", show(after)),
        (Some(before), None) => format!("- {path}: {}", show(before)),
        (None, None) => format!("~ {path}"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn changes_are_lines() {
        let change = |before, after| Change { path: "spec.a".to_owned(), before, after };
        let diff = Diff {
            changes: vec![
                change(Some(json!(1)), Some(json!(2))),
                change(None, Some(json!("x\u{1b}[31m"))),
                change(Some(json!("[redacted]")), None),
            ],
            more: 3,
            ..Diff::default()
        };
        assert_eq!(
            changes(&diff),
            "  changes\n    ~ spec.a: 1 -> 2\n    + spec.a: \"x\\u001b[31m\"\n    - spec.a: \"[redacted]\"\n    and 3 more\n"
        );
        assert_eq!(changes(&Diff::default()), "  changes  none\n");
        let unknown = Diff { unknown: "after: why".to_owned(), ..Diff::default() };
        assert_eq!(changes(&unknown), "  changes  not known: after: why\n");
    }
}
