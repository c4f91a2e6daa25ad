//! Reading recordings: as one asciicast, and line by line for searching.
//!
//! Must not know: HTTP.

use std::collections::BTreeMap;
use std::io::Read as _;

use anyhow::Context as _;
use flate2::read::GzDecoder;
use flotilla_recording::cast::{Code, Header, parse};
use flotilla_recording::text::Lines;
use flotilla_store::{ChunkReader, Recording, Store};
use flotilla_types::recording::{SearchLine, SearchResult};

/// Longest chunk, decompressed. Ours end soon after 128 KiB.
const MAX_CHUNK: u64 = 16 << 20;
/// Most lines that a search returns.
const MAX_LINES: usize = 200;
/// Size of a session that never said one.
const USUAL_SIZE: (u16, u16) = (80, 24);

/// The first line of a recording.
#[must_use]
pub fn header(recording: &Recording) -> Header {
    let (width, height) = if recording.width == 0 { USUAL_SIZE } else { (recording.width, recording.height) };
    let mut env = BTreeMap::new();
    if recording.width != 0 {
        // What the runtime sets in a container that has a terminal.
        env.insert("TERM".to_owned(), "xterm".to_owned());
    }
    let title = format!("{} on {} by {}", recording.about.command, recording.about.cluster, recording.about.email);
    Header { version: 2, width, height, timestamp: Some(recording.started_at_ms / 1000), title: Some(title), env }
}

/// The next lines of a recording.
///
/// # Errors
/// Something is missing or was changed, or the store does not answer.
pub async fn next_lines(reader: &mut ChunkReader, store: &Store) -> anyhow::Result<Option<String>> {
    let Some(chunk) = reader.next(store).await.context("a recording cannot be read")? else { return Ok(None) };
    let mut lines = String::new();
    let read = GzDecoder::new(&chunk[..]).take(MAX_CHUNK + 1).read_to_string(&mut lines);
    let read = read.context("a chunk of a recording does not decompress")?;
    anyhow::ensure!(read as u64 <= MAX_CHUNK, "a chunk of a recording is larger than any that is written");
    Ok(Some(lines))
}

/// Lines that were shown and hold `text`, in any case. One chunk is in memory at a time.
///
/// # Errors
/// As [`next_lines`].
pub async fn search(recording: &Recording, store: &Store, text: &str) -> anyhow::Result<SearchResult> {
    let (mut reader, mut search) = (ChunkReader::new(recording.id), Search::new(text));
    while let Some(lines) = next_lines(&mut reader, store).await? {
        lines.lines().for_each(|line| search.push(line));
        if search.found.more {
            break;
        }
    }
    Ok(search.finish())
}

struct Search {
    wanted: String,
    lines: Lines,
    at: f64,
    found: SearchResult,
}

impl Search {
    fn new(text: &str) -> Self {
        Self { wanted: text.to_lowercase(), lines: Lines::default(), at: 0.0, found: SearchResult::default() }
    }

    fn push(&mut self, line: &str) {
        let Ok(event) = parse(line) else { return };
        self.at = event.at;
        match event.code {
            Some(Code::Output) => {
                self.lines.push(&event.data, |line| keep(&mut self.found, &self.wanted, event.at, line))
            }
            Some(Code::Marker) => keep(&mut self.found, &self.wanted, event.at, &event.data),
            _ => {}
        }
    }

    fn finish(mut self) -> SearchResult {
        self.lines.finish(|line| keep(&mut self.found, &self.wanted, self.at, line));
        self.found
    }
}

fn keep(found: &mut SearchResult, wanted: &str, at: f64, line: &str) {
    if !line.to_lowercase().contains(wanted) {
        return;
    }
    if found.lines.len() == MAX_LINES {
        found.more = true;
        return;
    }
    found.lines.push(SearchLine { at, line: line.to_owned() });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_found_across_events_and_codes() {
        let mut search = Search::new("RM -rf");
        for line in [
            r#"[0.1, "o", "/ # r"]"#,
            r#"[0.2, "o", "\u001b[1mm -"]"#,
            r#"[0.3, "i", "rm -rf secret"]"#,
            r#"[0.4, "o", "rf /tmp\r\nnothing\r\n"]"#,
            "not a line",
            r#"[0.5, "o", "echo rm -rf"]"#,
        ] {
            search.push(line);
        }
        let lines: Vec<_> = search.finish().lines.into_iter().map(|found| (found.at, found.line)).collect();
        assert_eq!(lines, [(0.4, "/ # rm -rf /tmp".to_owned()), (0.5, "echo rm -rf".to_owned())]);
    }

    #[test]
    fn a_search_ends_when_it_has_enough() {
        let mut search = Search::new("x");
        (0..300).for_each(|_| search.push(r#"[1.0, "o", "x\n"]"#));
        let found = search.finish();
        assert_eq!((found.lines.len(), found.more), (200, true));
    }
}
