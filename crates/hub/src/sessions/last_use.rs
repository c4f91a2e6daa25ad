//! When sessions and keys were last used: noted in memory, written together every few seconds, so that a request never
//! waits for the disk only because it came.
//!
//! Must not know: where it is written.

use std::collections::HashMap;

use flotilla_identity::principal::Via;
use parking_lot::Mutex;

/// Most entries that wait; more are not noted until the next write. About 3 MB.
const CAPACITY: usize = 50_000;

/// Uses that are not written yet.
#[derive(Default)]
pub(super) struct LastUse {
    waiting: Mutex<HashMap<Via, i64>>,
}

impl LastUse {
    /// Notes a use.
    pub(super) fn note(&self, via: Via, now_ms: i64) {
        let mut waiting = self.waiting.lock();
        if waiting.len() < CAPACITY || waiting.contains_key(&via) {
            waiting.insert(via, now_ms);
        }
    }

    /// A use that is not written yet.
    #[must_use]
    pub(super) fn of(&self, via: Via) -> Option<i64> {
        self.waiting.lock().get(&via).copied()
    }

    /// What is to be written. [`LastUse::written`] it afterwards; until then it is still known here.
    #[must_use]
    pub(super) fn due(&self) -> Vec<(Via, i64)> {
        self.waiting.lock().iter().map(|(via, at)| (*via, *at)).collect()
    }

    /// Forgets what was written, but for uses that came since.
    pub(super) fn written(&self, done: &[(Via, i64)]) {
        let mut waiting = self.waiting.lock();
        for (via, at) in done {
            if waiting.get(via) == Some(at) {
                waiting.remove(via);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use flotilla_types::id::SessionId;

    use super::*;

    #[test]
    fn many_uses_are_one_write_and_none_is_lost() {
        let (uses, via) = (LastUse::default(), Via::Browser(SessionId::new()));
        (0..100).for_each(|at| uses.note(via, at));
        let due = uses.due();
        assert_eq!(due, [(via, 99)]);
        uses.note(via, 100);
        uses.written(&due);
        assert_eq!(uses.of(via), Some(100), "came while the others were written");
        uses.written(&uses.due());
        assert_eq!(uses.of(via), None);
    }

    #[test]
    fn memory_is_bounded() {
        let uses = LastUse::default();
        for at in 0..CAPACITY + 100 {
            uses.note(Via::Browser(SessionId::new()), i64::try_from(at).unwrap());
        }
        assert_eq!(uses.due().len(), CAPACITY);
    }
}
