//! Exports: JSON lines that prove themselves.
//!
//! ```text
//! {"export":{"version":1,"after_seq":0,"after_hash":"00..","filtered":false}}
//! {"id":..., "seq":1, ...}                      a row, exactly as the API gives it
//! {"checkpoint":"eyJ..."}                       after the rows that it covers; the last line is one
//! ```
//!
//! A line is read and written again; if that gives other bytes, it is not a line of ours. So nothing can be hidden in
//! spaces, in the order of keys, or in a fraction of a millisecond.
//!
//! Must not know: how rows are selected, where lines go.

use std::io::{self, BufRead, Read};

use flotilla_types::audit::{AuditRow, ExportHeader, Verification};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::checkpoint::Keys;
use crate::hex;
use crate::row::Fields;
use crate::verifier::Verifier;

/// Version of the format.
pub const VERSION: u32 = 1;
/// Longest line that is read, in bytes.
const MAX_LINE: u64 = 1 << 20;

/// Why an export cannot be verified at all.
#[derive(Debug, Error)]
pub enum ExportError {
    /// The file cannot be read.
    #[error("the export cannot be read: {0}")]
    Read(#[from] io::Error),
    /// It does not begin as an export.
    #[error("this is not an export of the audit log; make one with: flotilla audit export")]
    NotAnExport,
    /// Rows were left out on purpose.
    #[error("this export was filtered, so it cannot prove that nothing is missing; export without filters")]
    Filtered,
    /// Another format.
    #[error("this export has version {0}, which this program does not know; use a newer one")]
    Version(u32),
}

#[derive(Serialize, Deserialize)]
struct HeaderLine {
    export: ExportHeader,
}

#[derive(Serialize, Deserialize)]
struct CheckpointLine {
    checkpoint: String,
}

/// The first line.
///
/// # Errors
/// JSON cannot be written, which does not happen.
pub fn header_line(header: &ExportHeader) -> serde_json::Result<Vec<u8>> {
    line(&HeaderLine { export: header.clone() })
}

/// A row.
///
/// # Errors
/// JSON cannot be written, which does not happen.
pub fn row_line(row: &AuditRow) -> serde_json::Result<Vec<u8>> {
    line(row)
}

/// A checkpoint.
///
/// # Errors
/// JSON cannot be written, which does not happen.
pub fn checkpoint_line(token: &str) -> serde_json::Result<Vec<u8>> {
    line(&CheckpointLine { checkpoint: token.to_owned() })
}

fn line(value: &impl Serialize) -> serde_json::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(value)?;
    line.push(b'\n');
    Ok(line)
}

/// Verifies an export, line by line.
///
/// # Errors
/// It cannot be read, or is nothing that could be verified. What is wrong with its rows stands in the answer.
pub fn verify(reader: impl BufRead, keys: &Keys) -> Result<Verification, ExportError> {
    let mut lines = Lines { reader, buffer: Vec::new() };
    let header = match lines.next()?.map(serde_json::from_slice::<HeaderLine>) {
        Some(Ok(line)) => line.export,
        _ => return Err(ExportError::NotAnExport),
    };
    if header.version != VERSION {
        return Err(ExportError::Version(header.version));
    }
    if header.filtered {
        return Err(ExportError::Filtered);
    }
    let mut verifier = Verifier::new(keys, header.after_seq, hex::decode(&header.after_hash));
    let mut first = true;
    while let Some(line) = lines.next()? {
        take(&mut verifier, line, first && header.after_seq > 0);
        first = false;
    }
    Ok(verifier.finish_signed())
}

fn take(verifier: &mut Verifier<'_>, line: &[u8], may_be_retention: bool) {
    if line.starts_with(br#"{"checkpoint":"#) {
        return match serde_json::from_slice::<CheckpointLine>(line) {
            Ok(line) if may_be_retention && is_retention(&line.checkpoint) => verifier.retention(&line.checkpoint),
            Ok(line) => verifier.checkpoint(&line.checkpoint),
            Err(_) => verifier.checkpoint(""),
        };
    }
    match serde_json::from_slice::<AuditRow>(line) {
        Ok(row) if serde_json::to_vec(&row).is_ok_and(|again| again == line) => {
            verifier.row(&Fields::of(&row), &row.hash)
        }
        Ok(row) => verifier.unreadable(row.seq, Some(&row.id.to_string()), "line", Some(&row.hash)),
        Err(_) => verifier.unreadable(verifier.next(), None, "line", None),
    }
}

/// Whether a token says, unchecked, that it is retention's.
fn is_retention(token: &str) -> bool {
    #[derive(Deserialize)]
    struct Kind {
        kind: flotilla_types::audit::CheckpointKind,
    }
    let kind = jsonwebtoken::dangerous::insecure_decode::<Kind>(token).map(|token| token.claims.kind);
    kind.is_ok_and(|kind| kind == flotilla_types::audit::CheckpointKind::Retention)
}

/// Lines without their ends, of bounded length.
struct Lines<R> {
    reader: R,
    buffer: Vec<u8>,
}

impl<R: BufRead> Lines<R> {
    fn next(&mut self) -> io::Result<Option<&[u8]>> {
        self.buffer.clear();
        let read = self.reader.by_ref().take(MAX_LINE).read_until(b'\n', &mut self.buffer)?;
        if read == 0 {
            return Ok(None);
        }
        if self.buffer.last() != Some(&b'\n') && read as u64 == MAX_LINE {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a line is longer than 1 MiB"));
        }
        Ok(Some(self.buffer.strip_suffix(b"\n").unwrap_or(&self.buffer)))
    }
}
