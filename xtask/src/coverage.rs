//! `cargo xtask coverage [--since REV] [--only SUITE]...`: which lines the tests run, per crate and in all, and of the
//! lines that changed since a revision.
//!
//! The programs under test are instrumented too, so that what they do in the endpoints and contract suites counts; they
//! write their counters while they run (LLVM's continuous mode), because tests end them without asking.
//!
//! Must not know: what any test checks.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};
use clap::ValueEnum;

use crate::{root, succeed, tool};

/// The version that this was written with.
const CARGO_LLVM_COV: &str = "0.6.21";
/// Lines run, by file and number.
type Lines = BTreeMap<String, BTreeMap<u32, u64>>;

/// What to run and to compare with.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Revision since which lines count as changed; where this branch left main, or the first commit, when left out
    #[arg(long, value_name = "REV")]
    since: Option<String>,
    /// Run only this suite; may be given several times
    #[arg(long, value_enum)]
    only: Vec<Suite>,
    /// Keep what earlier runs counted, to add a suite to it
    #[arg(long)]
    keep: bool,
}

/// Suites that are run, cheap ones first.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Suite {
    /// Pure logic and single crates.
    Unit,
    /// The store's story suite.
    Store,
    /// Every route.
    Endpoints,
    /// The contract, row by row.
    Contract,
    /// Unmodified kubectl on a real node.
    E2e,
}

impl Suite {
    fn arguments(self) -> Vec<String> {
        let package = |name: &str| vec!["--package".to_owned(), name.to_owned()];
        match self {
            Self::Unit => crate::test::UNIT.iter().flat_map(|name| package(name)).collect(),
            Self::Store => package("flotilla-store"),
            Self::Endpoints => [package("flotilla-tests"), vec!["--test".into(), "endpoints".into()]].concat(),
            Self::Contract => [package("flotilla-tests"), vec!["--test".into(), "contract".into()]].concat(),
            Self::E2e => package("flotilla-e2e"),
        }
    }

    fn needs_programs(self) -> bool {
        !matches!(self, Self::Unit | Self::Store)
    }
}

/// Runs the suites and prints the tables.
pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let _ = Command::new("rustup").args(["component", "add", "llvm-tools"]).current_dir(root()).status();
    tool::install("cargo-llvm-cov", CARGO_LLVM_COV)?;
    let environment = environment()?;
    if !options.keep {
        succeed(instrumented(&environment)?.args(["llvm-cov", "clean", "--profraw-only"]))?;
    }
    let default = [Suite::Unit, Suite::Store, Suite::Endpoints, Suite::Contract];
    let wanted = if options.only.is_empty() { &default[..] } else { &options.only };
    if wanted.iter().any(|suite| suite.needs_programs()) {
        succeed(instrumented(&environment)?.args(["build", "--package", "flotilla", "--package", "flotilla-agent"]))?;
    }
    for suite in wanted {
        // A test that fails is the business of `cargo xtask test`; what it ran counts.
        let tested = succeed(instrumented(&environment)?.arg("test").args(suite.arguments()).arg("--no-fail-fast"));
        if let Err(error) = tested {
            println!("{error:#}; what ran is counted");
        }
    }
    let report = folder().join("lcov.info");
    let mut command = instrumented(&environment)?;
    succeed(command.args(["llvm-cov", "report", "--lcov", "--output-path"]).arg(&report))?;
    let text = std::fs::read_to_string(&report).with_context(|| format!("cannot read {}", report.display()))?;
    let since = options.since.clone().map_or_else(base, Ok)?;
    print(&read_lcov(&text), &changed_since(&since)?, &since);
    Ok(())
}

/// A target folder of its own: instrumented and plain builds would throw each other away.
fn folder() -> PathBuf {
    root().join("target/coverage")
}

fn instrumented(environment: &[(String, String)]) -> anyhow::Result<Command> {
    let mut command = Command::new("cargo");
    command.current_dir(root()).env("PATH", tool::path()?).env("CARGO_TARGET_DIR", folder());
    for name in ["CARGO", "RUSTC"] {
        command.env_remove(name);
    }
    command.envs(environment.iter().map(|(name, value)| (name, value)));
    Ok(command)
}

/// What cargo-llvm-cov wants in the environment, with counters that outlive a killed program.
fn environment() -> anyhow::Result<Vec<(String, String)>> {
    let output = instrumented(&[])?.args(["llvm-cov", "show-env"]).output().context("cannot start cargo")?;
    ensure!(output.status.success(), "cargo llvm-cov show-env: {}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout)?;
    let unquoted = |value: &str| value.trim_matches(['\'', '"']).to_owned();
    let mut variables: Vec<_> = text
        .lines()
        .filter_map(|line| line.split_once('='))
        .map(|(name, value)| (name.trim_start_matches("export ").to_owned(), unquoted(value)))
        .collect();
    for (name, value) in &mut variables {
        match name.as_str() {
            "LLVM_PROFILE_FILE" => *value = value.replace(".profraw", "%c.profraw"),
            "RUSTFLAGS" => value.push_str(" -C llvm-args=-runtime-counter-relocation"),
            "CARGO_ENCODED_RUSTFLAGS" => value.push_str("\u{1f}-Cllvm-args=-runtime-counter-relocation"),
            _ => {}
        }
    }
    Ok(variables)
}

/// Where this branch left main; on main itself, and without one, the first commit.
fn base() -> anyhow::Result<String> {
    let head = git(&["rev-parse", "HEAD"])?;
    let left = git(&["merge-base", "HEAD", "main"]).unwrap_or_default();
    if left.is_empty() || left == head {
        let roots = git(&["rev-list", "--max-parents=0", "HEAD"])?;
        return Ok(roots.lines().next().unwrap_or("HEAD").to_owned());
    }
    Ok(left)
}

fn git(arguments: &[&str]) -> anyhow::Result<String> {
    let output = Command::new("git").args(arguments).current_dir(root()).output().context("cannot start git")?;
    ensure!(output.status.success(), "git {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Lines that are new or other since a revision, by file.
fn changed_since(revision: &str) -> anyhow::Result<BTreeMap<String, BTreeSet<u32>>> {
    let diff = git(&["diff", "--unified=0", "--no-color", "--no-ext-diff", revision, "--", "*.rs"])?;
    Ok(read_diff(&diff))
}

fn read_diff(diff: &str) -> BTreeMap<String, BTreeSet<u32>> {
    let mut changed: BTreeMap<String, BTreeSet<u32>> = BTreeMap::new();
    let mut file = String::new();
    for line in diff.lines() {
        if let Some(path) = line.strip_prefix("+++ b/") {
            path.clone_into(&mut file);
        } else if let Some(added) = line.strip_prefix("@@ ").and_then(|hunk| hunk.split(" +").nth(1)) {
            let range = added.split(' ').next().unwrap_or_default();
            let (first, count) = range.split_once(',').unwrap_or((range, "1"));
            if let (Ok(first), Ok(count)) = (first.parse::<u32>(), count.parse::<u32>()) {
                changed.entry(file.clone()).or_default().extend(first..first + count);
            }
        }
    }
    changed
}

/// Reads lcov's trace format (`geninfo(1)`): `SF:` names a file, `DA:` a line and how often it ran.
fn read_lcov(text: &str) -> Lines {
    let mut lines = Lines::new();
    let mut file = String::new();
    for line in text.lines() {
        if let Some(path) = line.strip_prefix("SF:") {
            let path = Path::new(path);
            file = path.strip_prefix(root()).unwrap_or(path).to_string_lossy().into_owned();
        } else if let Some((number, count)) = line.strip_prefix("DA:").and_then(|data| data.split_once(',')) {
            let count = count.split(',').next().unwrap_or_default();
            if let (Ok(number), Ok(count)) = (number.parse(), count.parse::<u64>()) {
                *lines.entry(file.clone()).or_default().entry(number).or_default() += count;
            }
        }
    }
    lines.retain(|file, _| is_product(file));
    lines
}

/// What people run, without the code that only tests run.
fn is_product(file: &str) -> bool {
    let name = Path::new(file).file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    file.starts_with("crates/")
        && file.contains("/src/")
        && name != "tests"
        && !name.ends_with("_tests")
        && !file.contains("/tests/")
}

/// Lines that ran, of how many.
#[derive(Clone, Copy, Default)]
struct Share {
    ran: u64,
    all: u64,
}

impl Share {
    fn count(&mut self, ran: bool) {
        self.ran += u64::from(ran);
        self.all += 1;
    }

    fn show(self) -> String {
        if self.all == 0 {
            return "       -".to_owned();
        }
        let tenths = self.ran * 1000 / self.all;
        format!("{:>4}.{} % of {}", tenths / 10, tenths % 10, self.all)
    }
}

fn print(lines: &Lines, changed: &BTreeMap<String, BTreeSet<u32>>, since: &str) {
    let mut crates: BTreeMap<&str, (Share, Share)> = BTreeMap::new();
    let mut files: Vec<(&str, Share)> = Vec::new();
    for (file, lines) in lines {
        let name = file.split('/').nth(1).unwrap_or_default();
        let changed = changed.get(file);
        let mut of_file = Share::default();
        let (all, new) = crates.entry(name).or_default();
        for (number, count) in lines {
            all.count(*count > 0);
            if changed.is_some_and(|changed| changed.contains(number)) {
                new.count(*count > 0);
                of_file.count(*count > 0);
            }
        }
        files.push((file, of_file));
    }
    println!("\n{:<12} {:>22} {:>26}", "crate", "lines", "changed lines");
    let (mut all, mut new) = (Share::default(), Share::default());
    for (name, (of_all, of_new)) in &crates {
        println!("{name:<12} {:>22} {:>26}", of_all.show(), of_new.show());
        all = Share { ran: all.ran + of_all.ran, all: all.all + of_all.all };
        new = Share { ran: new.ran + of_new.ran, all: new.all + of_new.all };
    }
    println!("{:<12} {:>22} {:>26}   since {since}", "in all", all.show(), new.show());
    files.retain(|(_, share)| share.all >= 20 && share.ran * 10 < share.all * 7);
    files.sort_by_key(|(_, share)| std::cmp::Reverse(share.all - share.ran));
    if !files.is_empty() {
        println!("\nchanged files below 70 %:");
        files.iter().take(30).for_each(|(file, share)| println!("  {:>22}  {file}", share.show()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_hunks_and_traces() {
        let diff = "--- a/crates/a/src/x.rs\n+++ b/crates/a/src/x.rs\n@@ -1,0 +2,3 @@ fn\n+a\n@@ -9 +12 @@\n+b\n@@ -20,2 +22,0 @@\n";
        assert_eq!(read_diff(diff)["crates/a/src/x.rs"].iter().copied().collect::<Vec<_>>(), [2, 3, 4, 12]);
        let trace = format!(
            "SF:{}\nDA:2,0\nDA:3,7\nend_of_record\nSF:/elsewhere/lib.rs\nDA:1,1\n",
            root().join("crates/a/src/x.rs").display()
        );
        let lines = read_lcov(&trace);
        assert_eq!(lines.len(), 1);
        assert_eq!(lines["crates/a/src/x.rs"], BTreeMap::from([(2, 0), (3, 7)]));
    }
}
