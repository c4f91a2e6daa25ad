//! asciicast v2: a line of JSON as header, then one line `[seconds, code, data]` for each event
//! (<https://docs.asciinema.org/manual/asciicast/v2/>).
//!
//! Must not know: how lines are kept.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::{Event, Output};

/// Longest line that is read, in bytes. Ours are below 256 KiB.
pub const MAX_LINE: usize = 1 << 20;

/// The first line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// 2.
    pub version: u8,
    /// Characters in a line at the beginning.
    pub width: u16,
    /// Lines at the beginning.
    pub height: u16,
    /// When it began, seconds since the epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timestamp: Option<i64>,
    /// What it shows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// `TERM` and `SHELL`, where they are known.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
}

impl Header {
    /// The line, with its end.
    #[must_use]
    pub fn line(&self) -> String {
        // A struct of numbers and strings always becomes JSON.
        let mut line = serde_json::to_string(self).unwrap_or_default();
        line.push('\n');
        line
    }
}

/// What an event is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// `o`: shown.
    Output,
    /// `i`: typed.
    Input,
    /// `r`: `COLUMNSxROWS`.
    Resize,
    /// `m`: a note.
    Marker,
}

impl Code {
    fn as_str(self) -> &'static str {
        match self {
            Self::Output => "o",
            Self::Input => "i",
            Self::Resize => "r",
            Self::Marker => "m",
        }
    }
}

/// Writes the lines of events. Output is text there: bytes that are not UTF-8 become U+FFFD, and a character that comes
/// in two pieces is written with the second.
#[derive(Default)]
pub struct Encoder {
    output: [Utf8; 2],
    input: Utf8,
}

impl Encoder {
    /// Appends the line of an event that came `at` after the beginning, if it makes one.
    pub fn encode(&mut self, at: Duration, event: &Event, lines: &mut String) {
        let (code, data) = match event {
            Event::Output(Output::Standard, bytes) => (Code::Output, self.output[0].push(bytes)),
            Event::Output(Output::Error, bytes) => (Code::Output, self.output[1].push(bytes)),
            Event::Input(bytes) => (Code::Input, self.input.push(bytes)),
            Event::Resize { columns, rows } => (Code::Resize, format!("{columns}x{rows}")),
            Event::Exit(code) => (Code::Marker, format!("exit {code}")),
            Event::Note(text) => (Code::Marker, text.clone()),
        };
        write(at, code, &data, lines);
    }

    /// Appends what is left of characters that never came in full.
    pub fn finish(&mut self, at: Duration, lines: &mut String) {
        for utf8 in &mut self.output {
            write(at, Code::Output, &utf8.finish(), lines);
        }
        write(at, Code::Input, &self.input.finish(), lines);
    }
}

fn write(at: Duration, code: Code, data: &str, lines: &mut String) {
    if data.is_empty() {
        return;
    }
    let text = serde_json::to_string(data).unwrap_or_default();
    let _ = writeln!(lines, "[{}.{:06}, \"{}\", {text}]", at.as_secs(), at.subsec_micros(), code.as_str());
}

/// Text that comes in pieces which may end within a character.
#[derive(Default)]
struct Utf8 {
    /// At most three bytes.
    rest: Vec<u8>,
}

impl Utf8 {
    fn push(&mut self, bytes: &[u8]) -> String {
        let mut all = std::mem::take(&mut self.rest);
        all.extend_from_slice(bytes);
        let mut text = String::with_capacity(all.len());
        let mut chunks = all.utf8_chunks().peekable();
        while let Some(chunk) = chunks.next() {
            text.push_str(chunk.valid());
            let invalid = chunk.invalid();
            if chunks.peek().is_none() && may_go_on(invalid) {
                self.rest = invalid.to_vec();
            } else if !invalid.is_empty() {
                text.push(char::REPLACEMENT_CHARACTER);
            }
        }
        text
    }

    fn finish(&mut self) -> String {
        if std::mem::take(&mut self.rest).is_empty() { String::new() } else { char::REPLACEMENT_CHARACTER.to_string() }
    }
}

/// Whether more bytes could make a character of these, which are not one.
fn may_go_on(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_err_and(|error| error.error_len().is_none())
}

/// Why a line is not one of an asciicast.
#[derive(Debug, Error)]
pub enum CastError {
    /// Not JSON of the right form.
    #[error("line {line} is not of asciicast v2: {cause}")]
    Form {
        /// Counted from one.
        line: usize,
        /// What is wrong.
        cause: String,
    },
    /// It is of another version.
    #[error("this is asciicast v{0}; only version 2 can be read")]
    Version(u8),
    /// Reading failed.
    #[error("the recording cannot be read: {0}")]
    Io(#[from] std::io::Error),
}

/// One event as it was written.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    /// Seconds since the beginning.
    pub at: f64,
    /// What it is; `None` for a code of another program's.
    pub code: Option<Code>,
    /// Its data.
    pub data: String,
}

/// Reads one line of an event.
///
/// # Errors
/// Says what is wrong with it.
pub fn parse(line: &str) -> Result<Line, String> {
    let (at, code, data): (f64, String, String) = serde_json::from_str(line).map_err(|error| error.to_string())?;
    if !at.is_finite() || at < 0.0 {
        return Err("its time is before the beginning".to_owned());
    }
    let code = match code.as_str() {
        "o" => Some(Code::Output),
        "i" => Some(Code::Input),
        "r" => Some(Code::Resize),
        "m" => Some(Code::Marker),
        _ => None,
    };
    Ok(Line { at, code, data })
}

/// Reads a whole recording, one event after the other.
pub struct Reader<R> {
    from: R,
    header: Header,
    line: usize,
}

impl<R: std::io::BufRead> Reader<R> {
    /// Reads the header.
    ///
    /// # Errors
    /// It is not there, or not of version 2.
    pub fn new(mut from: R) -> Result<Self, CastError> {
        #[derive(Deserialize)]
        struct Version {
            version: u8,
        }
        let text = next_line(&mut from, 1)?.unwrap_or_default();
        let form = |error: serde_json::Error| CastError::Form { line: 1, cause: error.to_string() };
        let Version { version } = serde_json::from_str(&text).map_err(form)?;
        if version != 2 {
            return Err(CastError::Version(version));
        }
        Ok(Self { header: serde_json::from_str(&text).map_err(form)?, from, line: 1 })
    }

    /// The header.
    pub fn header(&self) -> &Header {
        &self.header
    }
}

impl<R: std::io::BufRead> Iterator for Reader<R> {
    type Item = Result<Line, CastError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            self.line += 1;
            match next_line(&mut self.from, self.line) {
                Ok(None) => return None,
                Ok(Some(text)) if text.trim().is_empty() => {}
                Ok(Some(text)) => {
                    let line = self.line;
                    return Some(parse(&text).map_err(|cause| CastError::Form { line, cause }));
                }
                Err(error) => return Some(Err(error)),
            }
        }
    }
}

fn next_line(from: &mut impl std::io::BufRead, line: usize) -> Result<Option<String>, CastError> {
    use std::io::{BufRead as _, Read as _};
    let mut text = Vec::new();
    let read = from.by_ref().take(MAX_LINE as u64 + 1).read_until(b'\n', &mut text)?;
    if read > MAX_LINE {
        return Err(CastError::Form { line, cause: format!("it is longer than {MAX_LINE} bytes") });
    }
    let text = String::from_utf8(text).map_err(|_| CastError::Form { line, cause: "it is not UTF-8".to_owned() })?;
    Ok((read > 0).then_some(text))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn written(events: &[Event]) -> Vec<Line> {
        let (mut encoder, mut lines) = (Encoder::default(), String::new());
        events.iter().for_each(|event| encoder.encode(SECOND, event, &mut lines));
        encoder.finish(SECOND, &mut lines);
        let header =
            Header { version: 2, width: 80, height: 24, timestamp: Some(7), title: None, env: BTreeMap::new() };
        let whole = header.line() + &lines;
        let reader = Reader::new(whole.as_bytes()).unwrap();
        assert_eq!(reader.header(), &header);
        reader.map(Result::unwrap).collect()
    }

    fn shown(lines: &[Line]) -> String {
        lines.iter().filter(|line| line.code == Some(Code::Output)).map(|line| line.data.as_str()).collect()
    }

    #[test]
    fn lines_are_as_the_format_has_them() {
        let (mut encoder, mut lines) = (Encoder::default(), String::new());
        let out = |text: &str| Event::Output(Output::Standard, text.into());
        encoder.encode(Duration::from_micros(1_000_250), &out("\u{1b}[1m\"hi\"\r\n"), &mut lines);
        encoder.encode(SECOND * 2, &Event::Resize { columns: 132, rows: 44 }, &mut lines);
        encoder.encode(SECOND * 3, &Event::Input(b"ls\r".to_vec()), &mut lines);
        encoder.encode(SECOND * 4, &Event::Exit(9), &mut lines);
        assert_eq!(
            lines,
            "[1.000250, \"o\", \"\\u001b[1m\\\"hi\\\"\\r\\n\"]\n[2.000000, \"r\", \"132x44\"]\n\
             [3.000000, \"i\", \"ls\\r\"]\n[4.000000, \"m\", \"exit 9\"]\n"
        );
    }

    #[test]
    fn what_is_not_asciicast_is_refused() {
        for text in ["", "{}", "[]", "{\"version\":2}", "\u{0}"] {
            assert!(Reader::new(text.as_bytes()).is_err(), "{text}");
        }
        assert!(matches!(Reader::new(&b"{\"version\":3,\"term\":{}}"[..]), Err(CastError::Version(3))));
        for line in ["[1, \"o\"]", "[-1, \"o\", \"x\"]", "{}", "[\"1\", \"o\", \"x\"]", "[1e999, \"o\", \"x\"]"] {
            assert!(parse(line).is_err(), "{line}");
        }
        let endless = [b"{\"version\":2,\"width\":1,\"height\":1}\n".as_slice(), &vec![b'['; MAX_LINE + 9]].concat();
        assert!(Reader::new(&endless[..]).unwrap().next().unwrap().is_err());
    }

    proptest! {
        #[test]
        fn text_comes_back_however_it_was_cut(text in ".{0,200}", cuts in prop::collection::vec(1..5_usize, 1..9)) {
            let (mut rest, mut events, mut cuts) = (text.as_bytes(), Vec::new(), cuts.iter().cycle());
            while !rest.is_empty() {
                let (piece, after) = rest.split_at((*cuts.next().unwrap()).min(rest.len()));
                events.push(Event::Output(Output::Standard, piece.to_vec()));
                rest = after;
            }
            prop_assert_eq!(shown(&written(&events)), text);
        }

        #[test]
        fn bytes_that_are_no_text_are_replaced_alike(bytes: Vec<u8>, at: prop::sample::Index) {
            let (left, right) = bytes.split_at(at.index(bytes.len() + 1));
            let events = [left, right].map(|piece| Event::Output(Output::Error, piece.to_vec()));
            prop_assert_eq!(shown(&written(&events)), String::from_utf8_lossy(&bytes));
        }
    }
}
