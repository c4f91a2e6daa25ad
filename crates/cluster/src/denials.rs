//! How many rows the denied calls of one person write, so that no account fills the disk.
//!
//! In each minute a person's denials have one row for each thing that was asked, and at most [`ROWS`]. The rest is
//! counted, and the minute ends with one row that says how many there were. What is kept in memory is bounded by the
//! number of accounts.
//!
//! Must not know: how rows are kept, or why something was denied.

use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use flotilla_types::audit::AuditRow;
use flotilla_types::id::{AuditId, UserId};
use parking_lot::Mutex;
use tokio::time::Instant;

/// How long denials are counted together.
const WINDOW: Duration = Duration::from_secs(60);

/// Most rows of one person in that time, the closing one not counted.
const ROWS: usize = 60;

/// The denials of the last minute.
#[derive(Default)]
pub(crate) struct Denials {
    of: Mutex<HashMap<Option<UserId>, Window>>,
}

struct Window {
    since: Instant,
    /// Hashes of what has a row.
    written: HashSet<u64>,
    /// What has none: how many, and the last of them.
    counted: Option<(u64, AuditRow)>,
}

impl Denials {
    /// The rows that a denial leads to now: its own, if it gets one, and before it the closing row of its person's last
    /// minute, if that is over.
    pub(crate) fn note(&self, row: AuditRow, now: Instant) -> Vec<AuditRow> {
        let mut rows = Vec::new();
        let mut of = self.of.lock();
        let person = row.actor.sub;
        if let Some(over) = of.get(&person).is_some_and(|window| window.is_over(now)).then(|| of.remove(&person)) {
            rows.extend(over.and_then(Window::close));
        }
        let window = of.entry(person).or_insert_with(|| Window { since: now, written: HashSet::new(), counted: None });
        let asked = asked(&row);
        if window.written.len() < ROWS && window.written.insert(asked) {
            rows.push(row);
        } else {
            let before = window.counted.take().map_or(0, |(count, _)| count);
            window.counted = Some((before + 1, row));
        }
        rows
    }

    /// The closing rows of the minutes that are over.
    pub(crate) fn settle(&self, now: Instant) -> Vec<AuditRow> {
        let mut of = self.of.lock();
        of.extract_if(|_, window| window.is_over(now)).filter_map(|(_, window)| window.close()).collect()
    }

    /// The closing rows of all minutes, over or not.
    pub(crate) fn settle_all(&self) -> Vec<AuditRow> {
        std::mem::take(&mut *self.of.lock()).into_values().filter_map(Window::close).collect()
    }
}

impl Window {
    fn is_over(&self, now: Instant) -> bool {
        now.duration_since(self.since) >= WINDOW
    }

    fn close(self) -> Option<AuditRow> {
        let (count, mut row) = self.counted?;
        row.id = AuditId::new();
        row.reason = format!("{count} denied calls within a minute had no row of their own; the last: {}", row.reason);
        Some(row)
    }
}

/// What two denials have in common that are the same to whoever reads the log.
fn asked(row: &AuditRow) -> u64 {
    let target = &row.target;
    let mut hasher = DefaultHasher::new();
    (&row.verb, row.status, &row.command, &row.reason).hash(&mut hasher);
    (&target.cluster, &target.group, &target.resource, &target.namespace, &target.name).hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use flotilla_types::audit::{Actor, Outcome, Target};
    use flotilla_types::id::RequestId;
    use flotilla_types::time::Timestamp;

    use super::*;

    fn denial(sub: UserId, name: &str) -> AuditRow {
        AuditRow {
            id: AuditId::new(),
            seq: 0,
            attempt_id: None,
            time: Timestamp::now(),
            request_id: RequestId::new(),
            route: String::new(),
            actor: Actor { sub: Some(sub), ..Actor::default() },
            verb: "get".into(),
            outcome: Outcome::Denied,
            target: Target { name: name.into(), ..Target::default() },
            command: String::new(),
            reason: "no rule".into(),
            status: 403,
            bytes: 0,
            duration_ms: 0,
            diff: None,
            run: String::new(),
            hash: String::new(),
        }
    }

    #[test]
    fn the_same_denial_has_one_row_a_minute_and_one_that_counts() {
        let (denials, now) = (Denials::default(), Instant::now());
        let (one, other) = (UserId::new(), UserId::new());
        assert_eq!(denials.note(denial(one, "x"), now).len(), 1);
        for _ in 0..500 {
            assert!(denials.note(denial(one, "x"), now).is_empty());
        }
        assert_eq!(denials.note(denial(one, "y"), now).len(), 1, "another thing");
        assert_eq!(denials.note(denial(other, "x"), now).len(), 1, "another person");
        assert!(denials.settle(now + WINDOW / 2).is_empty());

        let [closing, own] = denials.note(denial(one, "x"), now + WINDOW).try_into().unwrap();
        assert!(closing.reason.starts_with("500 denied calls") && closing.reason.ends_with("no rule"));
        assert_eq!(own.reason, "no rule");
        assert!(denials.settle(now + WINDOW).is_empty(), "the other's minute had nothing to count");
        assert_eq!(denials.of.lock().len(), 1, "and is forgotten");
    }

    #[test]
    fn whoever_asks_for_ever_new_things_is_counted_as_well() {
        let (denials, now, one) = (Denials::default(), Instant::now(), UserId::new());
        let rows: usize = (0..10_000).map(|n| denials.note(denial(one, &n.to_string()), now).len()).sum();
        assert_eq!(rows, ROWS);
        let [closing] = denials.settle_all().try_into().unwrap();
        assert!(closing.reason.starts_with("9940 denied calls"), "{}", closing.reason);
        assert_eq!(closing.target.name, "9999");
        assert!(denials.settle_all().is_empty());
    }
}
