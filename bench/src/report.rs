//! Figures, and how they are printed.
//!
//! Must not know: how a figure comes about.

use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
use serde::Serialize;

/// One measured value.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Figure {
    pub(crate) bench: &'static str,
    pub(crate) case: &'static str,
    pub(crate) subject: &'static str,
    pub(crate) metric: &'static str,
    pub(crate) unit: &'static str,
    pub(crate) value: f64,
}

/// What can be measured, with its unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Metric {
    /// Processor time of all the subject's processes, divided by requests answered.
    CpuPerRequest,
    /// Requests answered in a second.
    Rps,
    /// Half of the requests took at most this long.
    P50,
    /// 99 of 100 requests took at most this long.
    P99,
    /// Millions of body bytes in a second.
    MegabytesPerSecond,
    /// Resident memory, in millions of bytes.
    Rss,
    /// Audit rows written in a second.
    RowsPerSecond,
    /// How long something took.
    Seconds,
}

impl Metric {
    fn name(self) -> &'static str {
        match self {
            Self::CpuPerRequest => "cpu_us_per_request",
            Self::Rps => "rps",
            Self::P50 => "p50_ms",
            Self::P99 => "p99_ms",
            Self::MegabytesPerSecond => "mb_per_s",
            Self::Rss => "rss_mb",
            Self::RowsPerSecond => "rows_per_s",
            Self::Seconds => "seconds",
        }
    }

    fn unit(self) -> &'static str {
        match self {
            Self::CpuPerRequest => "us",
            Self::Rps | Self::RowsPerSecond => "1/s",
            Self::P50 | Self::P99 => "ms",
            Self::MegabytesPerSecond => "MB/s",
            Self::Rss => "MB",
            Self::Seconds => "s",
        }
    }
}

/// What a figure ought to be.
#[derive(Clone, Debug)]
pub(crate) enum Bar {
    /// No more than a value.
    AtMost(f64),
    /// No less than a value.
    AtLeast(f64),
    /// At least so many times another subject's figure of the same case and metric.
    TimesAtLeast(f64, &'static str),
    /// At least so many times the same subject's figure in another case.
    OfCaseAtLeast(f64, &'static str),
}

/// All figures of a run.
#[derive(Debug)]
pub(crate) struct Report {
    bench: &'static str,
    figures: Vec<Figure>,
    bars: Vec<(&'static str, &'static str, &'static str, Bar)>,
    notes: Vec<String>,
}

impl Report {
    pub(crate) fn new(bench: &'static str) -> Self {
        Self { bench, figures: Vec::new(), bars: Vec::new(), notes: Vec::new() }
    }

    pub(crate) fn add(&mut self, case: &'static str, subject: &'static str, metric: Metric, value: f64) {
        // Three digits behind the point are more than any of this is exact to.
        let value = (value * 1000.0).round() / 1000.0;
        let (bench, unit) = (self.bench, metric.unit());
        self.figures.push(Figure { bench, case, subject, metric: metric.name(), unit, value });
    }

    pub(crate) fn bar(&mut self, case: &'static str, subject: &'static str, metric: Metric, bar: Bar) {
        self.bars.push((case, subject, metric.name(), bar));
    }

    /// A line below the table.
    pub(crate) fn note(&mut self, line: String) {
        self.notes.push(line);
    }

    /// One object a line.
    pub(crate) fn json_lines(&self) -> serde_json::Result<String> {
        self.figures.iter().map(|figure| serde_json::to_string(figure).map(|line| line + "\n")).collect()
    }

    /// For people.
    pub(crate) fn table(&self) -> String {
        let mut table = Table::new();
        table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
        table.set_header(["CASE", "SUBJECT", "METRIC", "VALUE", "UNIT", "BAR", ""]);
        let mut last = "";
        for figure in &self.figures {
            let (bar, verdict) = self.verdict(figure);
            let case = if figure.case == last { "" } else { figure.case };
            last = figure.case;
            table.add_row([case, figure.subject, figure.metric, &shown(figure.value), figure.unit, &bar, verdict]);
        }
        if let Some(column) = table.column_mut(3) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        let notes: String = self.notes.iter().map(|note| format!("{note}\n")).collect();
        format!("{}\n\n{notes}", table.trim_fmt())
    }

    fn verdict(&self, figure: &Figure) -> (String, &'static str) {
        let of = |bar: &&(&str, &str, &str, Bar)| (bar.0, bar.1, bar.2) == (figure.case, figure.subject, figure.metric);
        let Some((_, _, _, bar)) = self.bars.iter().find(of) else { return (String::new(), "") };
        let (text, met) = match bar {
            Bar::AtMost(limit) => (format!("<= {}", shown(*limit)), Some(figure.value <= *limit)),
            Bar::AtLeast(limit) => (format!(">= {}", shown(*limit)), Some(figure.value >= *limit)),
            Bar::TimesAtLeast(times, subject) => {
                let other = self.value(figure.case, subject, figure.metric);
                (format!(">= {times} x {subject}"), other.map(|other| figure.value >= times * other))
            }
            Bar::OfCaseAtLeast(times, case) => {
                let other = self.value(case, figure.subject, figure.metric);
                (format!(">= {times} x {case}"), other.map(|other| figure.value >= times * other))
            }
        };
        (text, met.map_or("", |met| if met { "met" } else { "MISSED" }))
    }

    fn value(&self, case: &str, subject: &str, metric: &str) -> Option<f64> {
        let wanted = |figure: &&Figure| (figure.case, figure.subject, figure.metric) == (case, subject, metric);
        self.figures.iter().find(wanted).map(|figure| figure.value)
    }
}

fn shown(value: f64) -> String {
    match value.abs() {
        large if large >= 1000.0 => format!("{value:.0}"),
        middle if middle >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

/// The value in the middle; of an even number, the mean of the two in the middle. `None` of none.
pub(crate) fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    let upper = *sorted.get(middle)?;
    if sorted.len() % 2 == 1 {
        return Some(upper);
    }
    sorted.get(middle - 1).map(|lower| f64::midpoint(*lower, upper))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
    }

    #[test]
    fn a_line_is_one_object_with_the_agreed_names() {
        let mut report = Report::new("gateway");
        report.add("idle", "flotilla-hub", Metric::Rss, 31.23456);
        let expected = r#"{"bench":"gateway","case":"idle","subject":"flotilla-hub","metric":"rss_mb","unit":"MB","value":31.235}"#;
        assert_eq!(report.json_lines().unwrap(), format!("{expected}\n"));
    }

    #[test]
    fn bars_are_judged_beside_their_figures() {
        let mut report = Report::new("gateway");
        report.add("bulk", "flotilla", Metric::MegabytesPerSecond, 190.0);
        report.add("bulk", "remotedialer", Metric::MegabytesPerSecond, 100.0);
        report.add("idle", "flotilla-hub", Metric::Rss, 40.0);
        report.bar("bulk", "flotilla", Metric::MegabytesPerSecond, Bar::TimesAtLeast(2.0, "remotedialer"));
        report.bar("idle", "flotilla-hub", Metric::Rss, Bar::AtMost(40.0));
        let table = report.table();
        let line = |word: &str| table.lines().find(|line| line.contains(word)).unwrap().to_owned();
        assert!(line("2 x remotedialer").ends_with("MISSED"), "{table}");
        assert!(line("<= 40.0").contains("met"), "{table}");
    }
}
