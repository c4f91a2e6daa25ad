//! The audit log as JSON lines, page by page; the form is `flotilla_ledger::export`'s.
//!
//! Must not know: HTTP.

use std::sync::Arc;

use anyhow::Context;
use bytes::Bytes;
use flotilla_ledger::export::{VERSION, checkpoint_line, header_line, row_line};
use flotilla_ledger::hex;
use flotilla_ledger::row::GENESIS;
use flotilla_types::audit::{AuditQuery, ExportHeader, ExportQuery, VerifyQuery};
use futures_util::Stream;

use crate::hub::Hub;
use crate::keeper;

/// Rows in one piece.
const PAGE: u32 = 1000;

/// What is left to write.
struct Rest {
    hub: Arc<Hub>,
    filter: AuditQuery,
    filtered: bool,
    begun: Option<Vec<u8>>,
    after: i64,
    end: i64,
}

/// The export in pieces. Unless it is filtered it begins where a hash is known and ends at a signed checkpoint.
///
/// # Errors
/// The store does not answer, or the row before `from` is gone.
pub async fn lines(
    hub: Arc<Hub>,
    query: &ExportQuery,
) -> anyhow::Result<impl Stream<Item = anyhow::Result<Bytes>> + Send + 'static> {
    let filter = query.filter();
    let filtered = filter != AuditQuery::default();
    hub.store.audit_checkpoint(&|checkpoint| keeper::sign(&hub, checkpoint)).await?;
    let retained = hub.store.audit_retained().await?;
    let cut = retained.as_ref().and_then(|(_, checkpoint)| checkpoint.as_ref());
    let beginning = cut.map_or(0, |cut| cut.seq);
    let after = query.from.map_or(beginning, |from| from - 1).max(beginning);
    let after_hash = match cut {
        Some(cut) if cut.seq == after => cut.hash.clone(),
        _ if after == 0 => hex::encode(&GENESIS),
        _ => hash_of(&hub, after).await?,
    };
    let mut begun = header_line(&ExportHeader { version: VERSION, after_seq: after, after_hash, filtered })?;
    if let (Some((token, _)), true) = (&retained, after == beginning && !filtered) {
        begun.extend(checkpoint_line(token)?);
    }
    let head = hub.store.audit_end().await?;
    let wanted = query.to.unwrap_or(head).min(head);
    let end = if filtered { wanted } else { hub.store.audit_checkpoint_behind(wanted).await?.unwrap_or(head) };
    let rest = Rest { hub, filter, filtered, begun: Some(begun), after, end };
    Ok(futures_util::stream::try_unfold(rest, piece))
}

async fn hash_of(hub: &Hub, seq: i64) -> anyhow::Result<String> {
    let row = hub.store.audit_rows(&AuditQuery::default(), seq - 1, seq, 1).await?.pop();
    row.map(|row| row.hash).with_context(|| format!("there is no row at position {seq}"))
}

async fn piece(mut rest: Rest) -> anyhow::Result<Option<(Bytes, Rest)>> {
    if let Some(begun) = rest.begun.take() {
        return Ok(Some((begun.into(), rest)));
    }
    let rows = rest.hub.store.audit_rows(&rest.filter, rest.after, rest.end, PAGE).await?;
    let Some(last) = rows.last().map(|row| row.seq) else { return Ok(None) };
    let mut signed = Vec::new();
    if !rest.filtered {
        signed = rest.hub.store.audit_checkpoints(rest.after + 1, last).await?;
    }
    let mut signed = signed.into_iter().peekable();
    let mut text = Vec::with_capacity(1024 * rows.len());
    for row in &rows {
        text.extend(row_line(row)?);
        while let Some((_, token)) = signed.next_if(|(seq, _)| *seq <= row.seq) {
            text.extend(checkpoint_line(&token)?);
        }
    }
    rest.after = last;
    Ok(Some((text.into(), rest)))
}

/// Verifies the whole range, a million rows at a time, without a running hub.
///
/// # Errors
/// The store does not answer.
pub async fn verify_all(
    store: &flotilla_store::Store,
    mut query: VerifyQuery,
) -> anyhow::Result<flotilla_types::audit::Verification> {
    let mut found = store.verify_audit(&query).await?;
    while let Some(next) = found.next {
        query.from = Some(next);
        found.append(store.verify_audit(&query).await?);
    }
    Ok(found)
}
