//! Walks rows and checkpoints in the order of their positions and notes everything that is wrong, with its place.
//!
//! After a flaw the walk goes on from the hash that the flawed row holds, so that each flaw is found on its own.
//!
//! Must not know: where rows come from.

use flotilla_types::audit::{Checkpoint, CheckpointKind, Flaw, FlawKind, Verification};

use crate::checkpoint::Keys;
use crate::hex;
use crate::row::{Fields, Hash, Hasher};

/// Flaws that are listed; a log that was rewritten from its beginning has as many as rows.
const MOST_FLAWS: usize = 100;

/// The row before the next one.
#[derive(Default)]
struct Previous {
    /// The hash that it holds; `None` when there is no such row or its hash cannot be read.
    stored: Option<Hash>,
    /// The hash that it should hold, where that is another one.
    computed: Option<Hash>,
    /// Place of its flaw in the list, as long as it is not known what was changed: the row or its hash.
    suspect: Option<usize>,
}

/// One walk.
pub struct Verifier<'k> {
    keys: &'k Keys,
    hasher: Hasher,
    /// The position that should come next.
    next: i64,
    last_row: i64,
    previous: Previous,
    /// Position of the checkpoint before, where it is known.
    checkpoint: Option<i64>,
    report: Verification,
}

impl<'k> Verifier<'k> {
    /// A walk that begins behind the row at `after`, which has this hash; 0 and [`crate::row::GENESIS`] for all rows.
    /// Without a hash the first row cannot be judged.
    #[must_use]
    pub fn new(keys: &'k Keys, after: i64, hash: Option<Hash>) -> Self {
        Self {
            keys,
            hasher: Hasher::default(),
            next: after + 1,
            last_row: after,
            previous: Previous { stored: hash, ..Previous::default() },
            checkpoint: (after == 0).then_some(0),
            report: Verification { from: after + 1, to: after, ..Verification::default() },
        }
    }

    /// Says which checkpoint comes before the first row, so that one that was removed between is missed.
    pub fn follows_checkpoint(&mut self, seq: i64) {
        self.checkpoint = Some(seq);
    }

    /// The position that should come next.
    #[must_use]
    pub fn next(&self) -> i64 {
        self.next
    }

    /// Takes the checkpoint that retention left in the place of the rows before the first one.
    pub fn retention(&mut self, token: &str) {
        let after = self.next - 1;
        let checkpoint = match self.keys.verify(token) {
            Ok(checkpoint) => checkpoint,
            Err(error) => return self.flaw(FlawKind::CheckpointInvalid, after, error.to_string()),
        };
        let here = checkpoint.kind == CheckpointKind::Retention && checkpoint.seq == after;
        if !here || hex::decode(&checkpoint.hash) != self.previous.stored {
            let detail = "retention left another checkpoint than the one that is here".to_owned();
            return self.flaw(FlawKind::CheckpointInvalid, after, detail);
        }
        self.vouched(&checkpoint);
    }

    /// Takes a row and the hash that it holds.
    pub fn row(&mut self, row: &Fields<'_>, hash: &str) {
        if row.seq < self.next {
            return self.misplaced(row);
        }
        self.skip_to(row.seq);
        let stored = hex::decode(hash);
        let computed = self.previous.stored.map(|previous| self.hasher.hash(&previous, row));
        let mut found = Previous { stored, ..Previous::default() };
        match (stored, computed) {
            (_, None) => {}
            (Some(stored), Some(computed)) if stored == computed => self.report.good += 1,
            (Some(stored), _) if self.follows_what_should_be(row, &stored) => self.report.good += 1,
            (Some(_), Some(computed)) => {
                found.suspect = self.flaw_of(FlawKind::RowChanged, row);
                found.computed = Some(computed);
            }
            (None, Some(computed)) => {
                self.flaw_of(FlawKind::HashChanged, row);
                found.stored = Some(computed);
            }
        }
        self.passed(found);
    }

    /// Takes a row in whose column `column` stands what the log cannot have written.
    pub fn unreadable(&mut self, seq: i64, id: Option<&str>, column: &str, hash: Option<&str>) {
        if seq < self.next {
            return;
        }
        self.skip_to(seq);
        let flaw =
            Flaw { id: id.map(str::to_owned), columns: vec![column.to_owned()], ..plain(FlawKind::RowUnreadable, seq) };
        self.add(flaw);
        self.passed(Previous { stored: hash.and_then(hex::decode), ..Previous::default() });
    }

    /// Takes a checkpoint, after the rows that it covers.
    pub fn checkpoint(&mut self, token: &str) {
        let at = self.next - 1;
        let checkpoint = match self.keys.verify(token) {
            Ok(checkpoint) => checkpoint,
            Err(error) => return self.flaw(FlawKind::CheckpointInvalid, at, error.to_string()),
        };
        if checkpoint.kind != CheckpointKind::Head || checkpoint.seq < at {
            let detail = format!("the checkpoint over position {} is not where it belongs", checkpoint.seq);
            return self.flaw(FlawKind::CheckpointInvalid, at, detail);
        }
        self.skip_to(checkpoint.seq + 1);
        if self.checkpoint.is_some_and(|last| last != checkpoint.previous) {
            let detail = format!("checkpoint over position {} names it as the one before", checkpoint.seq);
            self.flaw(FlawKind::CheckpointMissing, checkpoint.previous, detail);
        }
        let signed = hex::decode(&checkpoint.hash);
        let known = [self.previous.stored, self.previous.computed];
        if known[0].is_some() && !known.contains(&signed) {
            let from = (self.report.signed_to + 1).max(self.report.from);
            let detail = format!("signed at {}", checkpoint.time);
            self.add(Flaw { seq: from, detail, ..plain(FlawKind::Rewritten, checkpoint.seq) });
        }
        self.vouched(&checkpoint);
    }

    /// Ends the walk where the log says that it ends.
    #[must_use]
    pub fn finish_at(mut self, head: i64, hash: &str) -> Verification {
        self.skip_to(head + 1);
        let hash = hex::decode(hash);
        if self.next == head + 1 && self.previous.stored.is_some() && hash != self.previous.stored {
            match self.previous.suspect {
                Some(suspect) if hash == self.previous.computed => {
                    self.report.flaws[suspect].kind = FlawKind::HashChanged
                }
                _ => self.flaw(FlawKind::Rewritten, head, "it is not the end of the chain that was written".to_owned()),
            }
        }
        self.finish()
    }

    /// Ends the walk over an export, which must end at a checkpoint.
    #[must_use]
    pub fn finish_signed(mut self) -> Verification {
        if self.report.signed_to < self.next - 1 || self.report.checkpoints == 0 {
            let detail = "the export does not end with a checkpoint over its last row".to_owned();
            self.flaw(FlawKind::TailMissing, self.next, detail);
        }
        self.finish()
    }

    /// Ends the walk where it is.
    #[must_use]
    pub fn finish(mut self) -> Verification {
        self.report.to = self.next - 1;
        for flaw in &mut self.report.flaws {
            if flaw.kind == FlawKind::RowMissing && flaw.seq > self.last_row {
                flaw.kind = FlawKind::TailMissing;
            }
        }
        self.report
    }

    /// Whether the row follows from the row before as it should be, not as it is: then only its hash was changed.
    fn follows_what_should_be(&mut self, row: &Fields<'_>, stored: &Hash) -> bool {
        let (Some(suspect), Some(should)) = (self.previous.suspect, self.previous.computed) else { return false };
        let follows = self.hasher.hash(&should, row) == *stored;
        if follows {
            self.report.flaws[suspect].kind = FlawKind::HashChanged;
        }
        follows
    }

    fn misplaced(&mut self, row: &Fields<'_>) {
        let gap = |flaw: &Flaw| flaw.kind == FlawKind::RowMissing && (flaw.seq, flaw.to) == (row.seq, row.seq);
        if let Some(flaw) = self.report.flaws.iter_mut().find(|flaw| gap(flaw)) {
            flaw.kind = FlawKind::RowMisplaced;
            flaw.id = Some(row.id.to_string());
        } else {
            self.flaw_of(FlawKind::RowMisplaced, row);
        }
    }

    /// Notes the positions before `seq` that did not come.
    fn skip_to(&mut self, seq: i64) {
        if seq <= self.next {
            return;
        }
        let (first, last) = (self.next, seq - 1);
        match self.report.flaws.last_mut() {
            Some(flaw) if flaw.kind == FlawKind::RowMissing && flaw.to + 1 == first => flaw.to = last,
            _ => self.add(Flaw { seq: first, ..plain(FlawKind::RowMissing, last) }),
        }
        self.next = seq;
        self.previous = Previous::default();
    }

    fn passed(&mut self, row: Previous) {
        self.previous = row;
        self.last_row = self.next;
        self.next += 1;
    }

    fn vouched(&mut self, checkpoint: &Checkpoint) {
        self.report.checkpoints += 1;
        self.report.signed_to = checkpoint.seq;
        self.checkpoint = Some(checkpoint.seq);
    }

    fn flaw_of(&mut self, kind: FlawKind, row: &Fields<'_>) -> Option<usize> {
        let listed = self.report.flaws.len();
        self.add(Flaw { id: Some(row.id.to_string()), ..plain(kind, row.seq) });
        (self.report.flaws.len() > listed).then_some(listed)
    }

    fn flaw(&mut self, kind: FlawKind, seq: i64, detail: String) {
        self.add(Flaw { detail, ..plain(kind, seq) });
    }

    fn add(&mut self, flaw: Flaw) {
        if self.report.flaws.len() < MOST_FLAWS {
            self.report.flaws.push(flaw);
        } else {
            self.report.more_flaws = true;
        }
    }
}

fn plain(kind: FlawKind, seq: i64) -> Flaw {
    Flaw { kind, seq, to: seq, id: None, columns: Vec::new(), detail: String::new() }
}
