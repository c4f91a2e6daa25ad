//! The audit log as a proof: whatever is done to it past the hub is found, and where.

use std::time::Duration;

use flotilla_identity::token::{Algorithm, KeyMaterial, KeyRing};
use flotilla_ledger::checkpoint::Keys;
use flotilla_ledger::export;
use flotilla_store::Store;
use flotilla_store::audit::{AuditLog, AuditOptions, Retention, Signed};
use flotilla_types::audit::{
    AuditQuery, AuditRow, Checkpoint, ExportHeader, Flaw, FlawKind, Outcome, Verification, VerifyQuery,
};
use flotilla_types::time::from_ms;

use crate::audit::{row, sound, start, stop};
use crate::bed::Bed;

fn ring() -> KeyRing {
    let make = |algorithm| KeyMaterial::generate(algorithm).unwrap();
    KeyRing::new(vec![make(Algorithm::Rs256), make(Algorithm::EdDsa)]).unwrap()
}

fn signer(ring: &KeyRing) -> impl Fn(&Checkpoint) -> Option<Signed> + Sync {
    move |checkpoint| ring.sign_checkpoint(checkpoint).ok()
}

/// A log of `acts` acts, two rows each, signed after every second act.
pub(crate) async fn signed_log(bed: &Bed, acts: usize) -> (Store, KeyRing) {
    let (store, ring) = (bed.store().await, ring());
    for act in 0..acts {
        let log = start(&store).await;
        let mut row = row(&format!("act {act}"));
        row.actor.sub = Some(flotilla_types::id::UserId::new());
        row.target.cluster_id = Some(flotilla_types::id::ClusterId::new());
        log.0.attempt(row).await.unwrap().finish(Outcome::Succeeded, 200, 5, "done".into());
        stop(log).await;
        if act % 2 == 1 {
            assert!(store.audit_checkpoint(&signer(&ring)).await.unwrap().is_some());
        }
    }
    (store, ring)
}

async fn verified(store: &Store) -> Verification {
    store.verify_audit(&VerifyQuery::default()).await.unwrap()
}

async fn flaws_after(bed: &Bed, store: &Store, tampering: &'static str) -> Vec<Flaw> {
    bed.execute(tampering).await;
    verified(store).await.flaws
}

/// Kinds and places.
fn places(flaws: &[Flaw]) -> Vec<(FlawKind, i64, i64)> {
    flaws.iter().map(|flaw| (flaw.kind, flaw.seq, flaw.to)).collect()
}

async fn a_change_of_any_column_is_found_where_it_is(bed: Bed) {
    const TEXTS: [&str; 21] = [
        "id",
        "attempt_id",
        "request_id",
        "route",
        "actor_id",
        "actor_email",
        "actor_groups",
        "actor_address",
        "verb",
        "outcome",
        "cluster",
        "cluster_id",
        "api_group",
        "api_version",
        "resource",
        "namespace",
        "name",
        "command",
        "reason",
        "run",
        "diff",
    ];
    let (store, _) = signed_log(&bed, 4).await;
    let id: String = bed.rows::<(String,)>("SELECT id FROM audit_events WHERE seq = 6").await.remove(0).0;
    // Row 6 is an outcome row: every column of it holds something or is empty text.
    let mut changes: Vec<(&str, String, String)> = TEXTS
        .iter()
        .map(|column| {
            (
                *column,
                format!("{column} = {column} || 'x'"),
                format!("{column} = substr({column}, 1, length({column}) - 1)"),
            )
        })
        .collect();
    for column in ["time", "status", "bytes", "duration_ms"] {
        changes.push((column, format!("{column} = {column} + 1"), format!("{column} = {column} - 1")));
    }
    for (column, change, back) in changes {
        bed.execute(format!("UPDATE audit_events SET {change} WHERE seq = 6").leak()).await;
        let flaws = verified(&store).await.flaws;
        assert_eq!(places(&flaws), [(FlawKind::RowChanged, 6, 6)], "{column}");
        if column != "id" {
            assert_eq!(flaws[0].id.as_deref(), Some(id.as_str()), "{column}");
        }
        bed.execute(format!("UPDATE audit_events SET {back} WHERE seq = 6").leak()).await;
        sound(&store).await;
    }
    // Nor can the text of the one column stand in the other.
    let exchange = "UPDATE audit_events SET run = diff, diff = run WHERE seq = 6";
    assert_eq!(places(&flaws_after(&bed, &store, exchange).await), [(FlawKind::RowChanged, 6, 6)]);
    bed.execute(exchange).await;
    // The hash is a column too, and a changed one is told from a changed row.
    let swap = "UPDATE audit_events SET hash = substr(hash, 33) || substr(hash, 1, 32) WHERE seq = 6";
    assert_eq!(places(&flaws_after(&bed, &store, swap).await), [(FlawKind::HashChanged, 6, 6)]);
    bed.execute(swap).await;
    let broken = "UPDATE audit_events SET hash = 'none' WHERE seq = 6";
    assert_eq!(places(&flaws_after(&bed, &store, broken).await), [(FlawKind::HashChanged, 6, 6)]);
}

async fn the_column_is_named_where_the_act_has_another_row(bed: Bed) {
    let (store, _) = signed_log(&bed, 4).await;
    let flaws =
        flaws_after(&bed, &store, "UPDATE audit_events SET actor_email = 'eve@x', verb = 'get' WHERE seq = 3").await;
    assert_eq!(places(&flaws), [(FlawKind::RowChanged, 3, 3)]);
    assert_eq!(flaws[0].columns, ["actor_email", "verb"]);
    // "None" has one form only.
    let flaws = flaws_after(&bed, &store, "UPDATE audit_events SET attempt_id = '' WHERE seq = 7").await;
    assert_eq!(places(&flaws), [(FlawKind::RowChanged, 3, 3), (FlawKind::RowUnreadable, 7, 7)]);
    assert_eq!(flaws[1].columns, ["attempt_id"]);
}

async fn removed_and_cut_rows_are_found(bed: Bed) {
    let (store, _) = signed_log(&bed, 4).await;
    let flaws = flaws_after(&bed, &store, "DELETE FROM audit_events WHERE seq IN (2, 3)").await;
    assert_eq!(places(&flaws), [(FlawKind::RowMissing, 2, 3)]);
    let flaws = flaws_after(&bed, &store, "DELETE FROM audit_events WHERE seq > 6").await;
    assert_eq!(places(&flaws), [(FlawKind::RowMissing, 2, 3), (FlawKind::TailMissing, 7, 8)]);
}

async fn a_shortened_log_is_betrayed_by_its_checkpoint(bed: Bed) {
    let (store, _) = signed_log(&bed, 4).await;
    let tampering = "DELETE FROM audit_events WHERE seq > 6; UPDATE audit_head SET seq = 6, \
        hash = (SELECT hash FROM audit_events WHERE seq = 6)";
    assert_eq!(places(&flaws_after(&bed, &store, tampering).await), [(FlawKind::TailMissing, 7, 8)]);
}

async fn a_log_that_was_written_anew_is_not_the_one_that_was_signed(bed: Bed) {
    let (store, ring) = signed_log(&bed, 2).await;
    // A second log from its beginning: everything fits together, but for the signature.
    bed.execute(
        "DELETE FROM audit_events; UPDATE audit_head SET seq = 0, \
         hash = '0000000000000000000000000000000000000000000000000000000000000000'",
    )
    .await;
    let log = start(&store).await;
    for i in 0..4 {
        log.0.record(row(&format!("invented {i}"))).await.unwrap();
    }
    stop(log).await;
    let found = verified(&store).await;
    assert_eq!(places(&found.flaws), [(FlawKind::Rewritten, 1, 4)]);
    assert_eq!(found.good, 4);
    // Without its checkpoint, the next one names it.
    bed.execute("DELETE FROM audit_checkpoints").await;
    sound(&store).await;
    let log = start(&store).await;
    log.0.record(row("later")).await.unwrap();
    stop(log).await;
    store.audit_checkpoint(&signer(&ring)).await.unwrap();
    sound(&store).await;
}

async fn checkpoints_are_chained_and_their_keys_are_sealed(bed: Bed) {
    let (store, ring) = signed_log(&bed, 6).await;
    let found = verified(&store).await;
    assert_eq!((found.good, found.checkpoints, found.signed_to), (12, 3, 12));
    assert_eq!(store.audit_checkpoint(&signer(&ring)).await.unwrap(), None, "there is nothing new to sign");
    let flaws = flaws_after(&bed, &store, "DELETE FROM audit_checkpoints WHERE seq = 8").await;
    assert_eq!(places(&flaws), [(FlawKind::CheckpointMissing, 8, 8)]);
    // A key of somebody else does not open, so nothing that he signs counts.
    bed.execute("UPDATE audit_keys SET public_key = 'x'").await;
    assert!(store.verify_audit(&VerifyQuery::default()).await.is_err());
}

async fn ranges_are_verified_on_their_own(bed: Bed) {
    let (store, _) = signed_log(&bed, 4).await;
    let range = async |from, to| store.verify_audit(&VerifyQuery { from, to }).await.unwrap();
    let found = range(Some(3), Some(6)).await;
    assert_eq!((found.from, found.to, found.good, found.flaws), (3, 6, 4, vec![]));
    bed.execute("UPDATE audit_events SET name = 'other' WHERE seq = 2").await;
    assert_eq!(range(Some(3), None).await.flaws, []);
    assert_eq!(places(&range(None, Some(4)).await.flaws), [(FlawKind::RowChanged, 2, 2)]);
}

async fn a_long_log_is_verified_in_halves_and_flaws_are_still_exact(bed: Bed) {
    let (store, ring) = (bed.store().await, ring());
    for _ in 0..3 {
        let log = start(&store).await;
        futures_util::future::try_join_all((0..800).map(|i| log.0.record(row(&i.to_string())))).await.unwrap();
        stop(log).await;
        store.audit_checkpoint(&signer(&ring)).await.unwrap();
    }
    let found = verified(&store).await;
    assert_eq!((found.from, found.to, found.good, found.checkpoints), (1, 2_400, 2_400, 3));
    assert_eq!((found.signed_to, found.flaws), (2_400, vec![]));
    // Where the halves meet.
    let swap = "UPDATE audit_events SET hash = substr(hash, 33) || substr(hash, 1, 32) WHERE seq = 1200";
    assert_eq!(places(&flaws_after(&bed, &store, swap).await), [(FlawKind::HashChanged, 1200, 1200)]);
    bed.execute(swap).await;
    let change = "UPDATE audit_events SET status = 1 WHERE seq IN (7, 2399)";
    let changed = [(FlawKind::RowChanged, 7, 7), (FlawKind::RowChanged, 2399, 2399)];
    assert_eq!(places(&flaws_after(&bed, &store, change).await), changed);
    bed.execute("UPDATE audit_events SET status = 0 WHERE seq IN (7, 2399)").await;
    let flaws = flaws_after(&bed, &store, "DELETE FROM audit_checkpoints WHERE seq = 800").await;
    assert_eq!(places(&flaws), [(FlawKind::CheckpointMissing, 800, 800)]);
}

async fn retention_keeps_the_rest_provable(bed: Bed) {
    let (store, ring) = signed_log(&bed, 6).await;
    let most = |rows| Retention { max_rows: Some(rows), ..Retention::default() };
    let size = |bytes| Retention { max_bytes: Some(bytes), ..Retention::default() };
    assert_eq!(store.audit_cut(Retention::default(), None).await.unwrap(), None);
    assert_eq!(store.audit_cut(most(12), None).await.unwrap(), None);
    // Row 9 is the last that may go; the checkpoint before it is at 8; a sink has rows up to 5 only.
    assert_eq!(store.audit_cut(most(3), None).await.unwrap().unwrap().seq, 8);
    let aged = Retention { before_ms: Some(i64::MAX), ..Retention::default() };
    assert_eq!(store.audit_cut(aged, Some(5)).await.unwrap().unwrap().seq, 4);
    // A row holds between 100 and 500 bytes.
    assert_eq!(store.audit_cut(size(12 * 500), None).await.unwrap(), None);
    assert_eq!(store.audit_cut(size(4 * 100), None).await.unwrap().unwrap().seq, 8);
    assert_eq!(store.audit_cut(Retention { max_rows: Some(7), ..size(4 * 100) }, None).await.unwrap().unwrap().seq, 8);
    let cut = store.audit_cut(most(3), None).await.unwrap().unwrap();
    store.audit_retain(&cut, &signer(&ring)).await.unwrap();
    // Killed before the rows are gone: they count no longer, and the next run removes them.
    sound(&store).await;
    assert_eq!(store.audit_prune().await.unwrap(), 8);
    assert_eq!(store.audit_prune().await.unwrap(), 0);
    let found = verified(&store).await;
    assert_eq!((found.from, found.good, found.signed_to, found.flaws), (9, 4, 12, vec![]));
    assert_eq!(store.audit_cut(most(3), None).await.unwrap(), None);
    // Nobody else can cut.
    let flaws = flaws_after(&bed, &store, "DELETE FROM audit_events WHERE seq < 11").await;
    assert_eq!(places(&flaws), [(FlawKind::RowMissing, 9, 10)]);
    let flaws = flaws_after(&bed, &store, "DELETE FROM audit_checkpoints WHERE kind = 'retention'").await;
    assert_eq!(flaws[0].kind, FlawKind::RowMissing);
    assert_eq!(flaws[0].seq, 1);
}

/// An export as the hub writes it.
async fn exported(store: &Store) -> Vec<u8> {
    let rows = store.audit_rows(&AuditQuery::default(), 0, i64::MAX, 1000).await.unwrap();
    let header = ExportHeader { version: 1, after_seq: 0, after_hash: "0".repeat(64), filtered: false };
    let mut text = export::header_line(&header).unwrap();
    let checkpoints = store.audit_checkpoints(1, i64::MAX).await.unwrap();
    for row in rows {
        text.extend(export::row_line(&row).unwrap());
        for (_, token) in checkpoints.iter().filter(|(seq, _)| *seq == row.seq) {
            text.extend(export::checkpoint_line(token).unwrap());
        }
    }
    text
}

async fn any_byte_of_an_export_is_proven(bed: Bed) {
    let (store, ring) = signed_log(&bed, 4).await;
    let text = exported(&store).await;
    let keys = Keys::from_jwks(&ring.jwks()).unwrap();
    let found = export::verify(text.as_slice(), &keys).unwrap();
    assert_eq!((found.good, found.checkpoints, found.flaws), (8, 2, vec![]));
    assert!(!export::verify(text.as_slice(), &Keys::default()).unwrap().is_sound(), "nobody vouches");
    // Behind the header, which only says where the export begins.
    let body = text.iter().position(|byte| *byte == b'\n').unwrap() + 1;
    for at in (body..text.len() - 1).step_by(3) {
        let mut changed = text.clone();
        changed[at] ^= 1;
        let begun = text[body..=at].split(|byte| *byte == b'\n').filter(|line| line.starts_with(b"{")).count();
        // Every fifth line is a checkpoint.
        let seq = begun as i64 - (begun as i64) / 5;
        let found = export::verify(changed.as_slice(), &keys).unwrap();
        let near = found.flaws.iter().any(|flaw| flaw.seq - 1 <= seq && seq <= flaw.to + 1);
        assert!(near, "byte {at} of row {seq}: {:?}", found.flaws);
    }
    let lines: Vec<&[u8]> = text.split_inclusive(|byte| *byte == b'\n').collect();
    for left_out in 1..lines.len() {
        let rest: Vec<u8> =
            lines.iter().enumerate().filter(|(i, _)| *i != left_out).flat_map(|(_, line)| line.to_vec()).collect();
        assert!(!export::verify(rest.as_slice(), &keys).unwrap().is_sound(), "line {left_out}");
    }
    let mut swapped = lines.clone();
    swapped.swap(2, 3);
    let found = export::verify(swapped.concat().as_slice(), &keys).unwrap();
    assert_eq!(places(&found.flaws)[0], (FlawKind::RowMisplaced, 2, 2));
}

async fn a_living_hub_keeps_its_open_acts(bed: Bed) {
    if bed.config.driver == flotilla_store::Driver::Sqlite {
        return; // One hub has the file.
    }
    let (here, there) = (bed.store().await, bed.open().await);
    let lease = || AuditOptions { lease: Duration::from_secs(2), ..AuditOptions::default() };
    let one = AuditLog::start(&here, lease()).await.unwrap();
    let two = AuditLog::start(&there, lease()).await.unwrap();
    let open = one.0.attempt(row("open here")).await.unwrap();
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(two.0.close_orphans().await.unwrap(), 0, "the other hub lives");
    // Now it is killed; both of two others look for what it left.
    std::mem::forget(open);
    one.1.abort();
    let three = AuditLog::start(&bed.open().await, lease()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    let (a, b) = tokio::join!(two.0.close_orphans(), three.0.close_orphans());
    assert_eq!(a.unwrap() + b.unwrap(), 1, "one of them closes it");
    stop(two).await;
    stop(three).await;
    sound(&here).await;
}

async fn leases_pass_from_hand_to_hand(bed: Bed) {
    let store = bed.store().await;
    let long = Duration::from_secs(60);
    if bed.config.driver == flotilla_store::Driver::Sqlite {
        assert!(store.audit_lease("keeper", "killed", long).await.unwrap());
        assert!(store.audit_lease("keeper", "started again", long).await.unwrap());
        return;
    }
    assert!(store.audit_lease("keeper", "a", Duration::from_millis(300)).await.unwrap());
    assert!(store.audit_lease("keeper", "a", Duration::from_millis(300)).await.unwrap());
    assert!(!store.audit_lease("keeper", "b", long).await.unwrap());
    assert!(store.audit_lease("sink:x", "b", long).await.unwrap());
    tokio::time::sleep(Duration::from_millis(400)).await;
    assert!(store.audit_lease("keeper", "b", long).await.unwrap());
    assert!(!store.audit_lease("keeper", "a", long).await.unwrap());
}

async fn a_sink_goes_on_where_it_was(bed: Bed) {
    let (store, _) = signed_log(&bed, 1).await;
    assert_eq!(store.audit_sink("siem").await.unwrap(), 2, "it begins at the end");
    let log = start(&store).await;
    for i in 0..3 {
        log.0.record(row(&i.to_string())).await.unwrap();
    }
    stop(log).await;
    let seqs = |rows: Vec<AuditRow>| rows.into_iter().map(|row| row.seq).collect::<Vec<_>>();
    assert_eq!(seqs(store.audit_rows_after(2, 2).await.unwrap()), [3, 4]);
    store.audit_sink_delivered("siem", 4).await.unwrap();
    store.audit_sink_delivered("siem", 3).await.unwrap();
    assert_eq!(bed.open().await.audit_sink("siem").await.unwrap(), 4);
    assert_eq!(seqs(store.audit_rows_after(4, 10).await.unwrap()), [5]);
}

async fn a_timeline_counts_by_outcome(bed: Bed) {
    let store = bed.store().await;
    let log = start(&store).await;
    for (ms, outcome) in
        [(0, Outcome::Denied), (999, Outcome::Denied), (1000, Outcome::Failed), (9_999, Outcome::Denied)]
    {
        log.0.record(AuditRow { time: from_ms(ms), outcome, ..row("x") }).await.unwrap();
    }
    stop(log).await;
    let query = AuditQuery { since: Some(from_ms(0)), until: Some(from_ms(10_000)), ..AuditQuery::default() };
    let timeline = store.audit_timeline(&query, 10, None).await.unwrap();
    assert_eq!((timeline.width_ms, timeline.buckets.len()), (1000, 10));
    let denied: Vec<u64> = timeline.buckets.iter().map(|bucket| bucket.denied).collect();
    assert_eq!(denied, [2, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    assert_eq!((timeline.buckets[1].failed, timeline.buckets[1].start), (1, from_ms(1000)));
    let nobody = store.audit_timeline(&query, 3, Some(flotilla_types::id::UserId::new())).await.unwrap();
    assert!(nobody.buckets.iter().all(|bucket| bucket.denied + bucket.failed == 0));
}

on_both_engines!(
    a_change_of_any_column_is_found_where_it_is,
    the_column_is_named_where_the_act_has_another_row,
    removed_and_cut_rows_are_found,
    a_shortened_log_is_betrayed_by_its_checkpoint,
    a_log_that_was_written_anew_is_not_the_one_that_was_signed,
    checkpoints_are_chained_and_their_keys_are_sealed,
    ranges_are_verified_on_their_own,
    a_long_log_is_verified_in_halves_and_flaws_are_still_exact,
    retention_keeps_the_rest_provable,
    any_byte_of_an_export_is_proven,
    a_living_hub_keeps_its_open_acts,
    leases_pass_from_hand_to_hand,
    a_sink_goes_on_where_it_was,
    a_timeline_counts_by_outcome,
);
