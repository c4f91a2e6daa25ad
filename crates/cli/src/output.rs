//! Results on standard output: tables for people in kubectl's style, JSON and YAML for scripts. Nothing else
//! ever goes there.
//!
//! Must not know: any command.

use std::io::{self, IsTerminal, Write};

use comfy_table::{Cell, Color, Table as Grid, presets};
use serde::Serialize;

use crate::error::{CliError, Doing, plain};
use crate::terminal;

/// The form of a result.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// Columns for people.
    #[default]
    Table,
    /// JSON as the hub's API gives it.
    Json,
    /// The same as YAML.
    Yaml,
}

/// `-o`, for every command that has a result to show.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct OutputArgs {
    /// Form of the result
    #[arg(short, long, value_enum, default_value = "table", value_name = "FORMAT")]
    pub(crate) output: Format,
}

/// Columns under upper-case headings, without borders.
pub(crate) struct Table(Grid);

impl Table {
    /// A table without rows.
    pub(crate) fn new(headings: &[&str]) -> Self {
        let mut grid = Grid::new();
        grid.load_style(presets::NOTHING).set_header(headings.iter().map(|heading| heading.to_uppercase()));
        for column in grid.column_iter_mut() {
            column.set_padding((0, 2));
        }
        Self(grid)
    }

    /// A table of rows.
    pub(crate) fn of<T>(headings: &[&str], items: &[T], row: impl Fn(&T) -> Vec<Cell>) -> Self {
        let mut table = Self::new(headings);
        for item in items {
            table.0.add_row(row(item));
        }
        table
    }

    /// The lines, without blanks at their ends.
    fn render(mut self, colour: bool) -> String {
        if colour {
            self.0.enforce_styling();
        } else {
            self.0.force_no_tty();
        }
        self.0.lines().map(|line| format!("{}\n", line.trim_end())).collect()
    }
}

/// A cell of plain text. Names come from elsewhere, so control characters are taken out.
pub(crate) fn text(value: impl AsRef<str>) -> Cell {
    let clean: String = plain(value.as_ref()).replace('\n', " ");
    Cell::new(if clean.is_empty() { "-".to_owned() } else { clean })
}

/// A cell of several words.
pub(crate) fn list(values: &[String]) -> Cell {
    text(values.join(","))
}

/// A cell of many words, in lines that still fit beside other columns.
pub(crate) fn paragraph(values: &[String]) -> Cell {
    const WIDTH: usize = 40;
    let mut lines = vec![String::new()];
    for (at, value) in values.iter().enumerate() {
        let comma = if at + 1 < values.len() { "," } else { "" };
        let word = format!("{}{comma}", plain(value).replace('\n', " "));
        match lines.last_mut() {
            Some(line) if line.is_empty() || line.len() + word.len() <= WIDTH => line.push_str(&word),
            _ => lines.push(word),
        }
    }
    if values.is_empty() { text("") } else { Cell::new(lines.join("\n")) }
}

/// A cell whose word says how things are; green, yellow or red on a terminal.
pub(crate) fn state(value: &str) -> Cell {
    let colour = match value.split(' ').next().unwrap_or_default() {
        "connected" | "succeeded" => Some(Color::Green),
        "disconnected" | "attempted" | "aborted" => Some(Color::Yellow),
        "revoked" | "failed" | "denied" => Some(Color::Red),
        _ => None,
    };
    let cell = text(value);
    colour.into_iter().fold(cell, Cell::fg)
}

/// Shows results in one form.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Output {
    format: Format,
    colour: bool,
}

impl Output {
    /// Colour is used for tables on a terminal, unless `no_colour`.
    pub(crate) fn new(format: Format, no_colour: bool) -> Self {
        Self { format, colour: !no_colour && io::stdout().is_terminal() }
    }

    /// Shows one result.
    ///
    /// # Errors
    /// When standard output does not take it; that its reader has left is none.
    pub(crate) fn show<T: Serialize>(self, value: &T, table: impl FnOnce(&T) -> Table) -> Result<(), CliError> {
        match self.format {
            Format::Table => write_stdout(&table(value).render(self.colour)),
            _ => self.write_data(value),
        }
    }

    /// Shows a list; for people an empty one is said on standard error, as kubectl does.
    ///
    /// # Errors
    /// As [`Output::show`].
    pub(crate) fn show_list<T: Serialize, R>(
        self,
        value: &T,
        rows: &[R],
        headings: &[&str],
        row: impl Fn(&R) -> Vec<Cell>,
    ) -> Result<(), CliError> {
        if self.format == Format::Table && rows.is_empty() {
            terminal::note("nothing found");
            return Ok(());
        }
        self.show(value, |_| Table::of(headings, rows, row))
    }

    /// Shows one result that people read as lines rather than as a table.
    ///
    /// # Errors
    /// As [`Output::show`].
    pub(crate) fn show_text<T: Serialize>(self, value: &T, lines: impl FnOnce(&T) -> String) -> Result<(), CliError> {
        match self.format {
            Format::Table => write_stdout(&lines(value)),
            _ => self.write_data(value),
        }
    }

    fn write_data<T: Serialize>(self, value: &T) -> Result<(), CliError> {
        let json = || serde_json::to_value(value).doing("write the result as JSON");
        write_stdout(&match self.format {
            Format::Yaml => serde_saphyr::to_string(&json()?).doing("write the result as YAML")?,
            _ => format!("{:#}\n", json()?),
        })
    }
}

/// A table as text in a longer answer.
pub(crate) fn inline(table: Table) -> String {
    table.render(false)
}

/// Writes to standard output.
///
/// # Errors
/// From the system, except that the reader has left (`flotilla audit | head`).
pub(crate) fn write_stdout(text: &str) -> Result<(), CliError> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error).doing("write to standard output"),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Table {
        Table::of(&["name", "Status"], &["a", "longer-name"], |name| vec![text(name), state("connected")])
    }

    #[test]
    fn tables_look_like_kubectls() {
        assert_eq!(sample().render(false), "NAME         STATUS\na            connected\nlonger-name  connected\n");
    }

    #[test]
    fn colour_only_when_asked_for() {
        assert!(sample().render(true).contains('\u{1b}'));
        assert!(!sample().render(false).contains('\u{1b}'));
    }

    #[test]
    fn many_words_become_several_lines_of_their_column() {
        let words: Vec<String> = (0..12).map(|i| format!("resource{i}")).collect();
        let table = Table::of(&["a", "b", "c"], &[()], |()| vec![text("x"), paragraph(&words), text("y")]);
        let shown = table.render(false);
        let lines: Vec<&str> = shown.lines().collect();
        assert_eq!(lines.len(), 1 + 4, "{shown}");
        assert!(lines[1].starts_with("x  resource0,resource1,resource2,") && lines[1].ends_with("  y"), "{shown}");
        assert_eq!(lines[4], "   resource11", "{shown}");
        assert_eq!(paragraph(&[]).content(), "-");
    }

    #[test]
    fn cells_cannot_steer_the_terminal_or_break_the_row() {
        let table = Table::of(&["a"], &["x\u{1b}]0;owned\u{7}\ny", ""], |name| vec![text(name)]);
        assert_eq!(table.render(false), "A\nx]0;owned y\n-\n");
    }
}
