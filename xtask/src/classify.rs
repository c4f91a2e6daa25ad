//! `cargo xtask classify`: the gateway's classifier on standard input.
//!
//! Must not know: the rules of classification.

use std::io::{BufRead, Write};

use flotilla_cluster::request_info::classify_line;

/// Longest line that is read, in bytes: well above what the gateway itself looks at.
const MAX_LINE: usize = 1 << 20;

/// Reads lines until the end of standard input.
pub(crate) fn run() -> anyhow::Result<()> {
    let mut input = std::io::stdin().lock();
    let mut output = std::io::BufWriter::new(std::io::stdout().lock());
    let mut line = Vec::new();
    while input.read_until(b'\n', &mut line)? > 0 {
        let text = String::from_utf8_lossy(line.strip_suffix(b"\n").unwrap_or(&line));
        let answer = if line.len() > MAX_LINE {
            r#"{"refused":"the line is longer than 1 MiB"}"#.to_owned()
        } else {
            classify_line(&text)
        };
        writeln!(output, "{answer}")?;
        line.clear();
    }
    output.flush()?;
    Ok(())
}
