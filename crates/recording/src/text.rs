//! The words of a recording, for searching: output without the codes that move and colour it.
//!
//! Not a terminal: what a program paints over the screen with cursor movements comes as it was sent.
//!
//! Must not know: where recordings are.

/// Longest line that is looked at, in characters; a longer one is looked at in parts.
const MAX_LINE: usize = 4096;

/// Gathers output into lines.
#[derive(Default)]
pub struct Lines {
    line: String,
    escape: Escape,
    /// Characters in `line`.
    length: usize,
}

/// Where in an escape sequence we are (ECMA-48 sections 5.3 to 5.6).
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Escape {
    #[default]
    None,
    /// After ESC.
    Begun,
    /// After ESC [.
    Control,
    /// After ESC ], P, X, ^ or _: up to BEL or ESC \.
    Text,
    /// ESC within that.
    TextEnds,
}

impl Lines {
    /// Reads some output; `take` gets each line that is complete.
    pub fn push(&mut self, output: &str, mut take: impl FnMut(&str)) {
        for character in output.chars() {
            if self.is_code(character) {
                continue;
            }
            match character {
                '\n' => self.end(&mut take),
                // A shell echoes a corrected line so.
                '\u{8}' => {
                    if self.line.pop().is_some() {
                        self.length -= 1;
                    }
                }
                control if control.is_control() && control != '\t' => {}
                shown => {
                    self.line.push(shown);
                    self.length += 1;
                    if self.length >= MAX_LINE {
                        self.end(&mut take);
                    }
                }
            }
        }
    }

    /// The last line, which nothing ended.
    pub fn finish(&mut self, mut take: impl FnMut(&str)) {
        if !self.line.is_empty() {
            self.end(&mut take);
        }
    }

    fn end(&mut self, take: &mut impl FnMut(&str)) {
        take(&self.line);
        self.line.clear();
        self.length = 0;
    }

    /// Whether the character belongs to an escape sequence.
    fn is_code(&mut self, character: char) -> bool {
        let (next, code) = match (self.escape, character) {
            (Escape::Text, '\u{1b}') => (Escape::TextEnds, true),
            (_, '\u{1b}') => (Escape::Begun, true),
            (Escape::None, _) => (Escape::None, false),
            (Escape::Begun, '[') => (Escape::Control, true),
            (Escape::Begun, ']' | 'P' | 'X' | '^' | '_') => (Escape::Text, true),
            (Escape::Begun, '\u{20}'..='\u{2f}') => (Escape::Begun, true),
            (Escape::Control, '\u{20}'..='\u{3f}') => (Escape::Control, true),
            (Escape::Text, '\u{7}') => (Escape::None, true),
            (Escape::Text, _) => (Escape::Text, true),
            (Escape::Begun | Escape::Control | Escape::TextEnds, _) => (Escape::None, true),
        };
        self.escape = next;
        code
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(pieces: &[&str]) -> Vec<String> {
        let (mut lines, mut seen) = (Lines::default(), Vec::new());
        for piece in pieces {
            lines.push(piece, |line| seen.push(line.to_owned()));
        }
        lines.finish(|line| seen.push(line.to_owned()));
        seen
    }

    #[test]
    fn codes_are_left_out_and_corrections_made() {
        let output = "\u{1b}[1;31m/ #\u{1b}[0m \u{1b}]0;title\u{7}rn\u{8}\u{8}rm -rf\u{1b}[K /tmp/x\r\n\u{1b}(Bdone";
        assert_eq!(lines(&[output]), ["/ # rm -rf /tmp/x", "done"]);
        let single: Vec<String> = output.chars().map(String::from).collect();
        let single: Vec<&str> = single.iter().map(String::as_str).collect();
        assert_eq!(lines(&single), lines(&[output]));
        assert_eq!(lines(&["\u{1b}Pq#0\u{1b}\\x"]), ["x"]);
    }

    #[test]
    fn a_line_without_end_comes_in_parts() {
        assert_eq!(lines(&[&"x".repeat(10_000)]).len(), 3);
    }
}
