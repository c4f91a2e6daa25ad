//! `cargo xtask test [--only SUITE]...`: everything that must hold before a change lands. Installs what it needs,
//! says what it is doing, counts what was skipped, and ends with one line.
//!
//! Must not know: what any test checks.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, bail};
use clap::ValueEnum;

use crate::{build_programs, cargo, codegen, stage, succeed, tidy, web};

/// Which suites to run.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Run only this suite; may be given several times.
    #[arg(long, value_enum)]
    only: Vec<Suite>,
}

/// The suites, in the order in which they run: cheap ones first.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum, Debug)]
enum Suite {
    /// Format, lints, house rules, generated files.
    Lint,
    /// Pure logic and single crates.
    Unit,
    /// The store's story suite on SQLite and PostgreSQL.
    Store,
    /// The test bed itself: real Kubernetes starts, stops, leaves nothing behind.
    Testbed,
    /// Every route, anonymously and without rights.
    Endpoints,
    /// CONTRACT.md, row by row.
    Contract,
    /// The console: lints, types, unit tests, the limit on its size; then a real browser against a real hub.
    Web,
    /// Unmodified kubectl through hub and agent on a real node.
    E2e,
}

/// Packages of the suite `unit`.
pub(crate) const UNIT: [&str; 12] = [
    "flotilla-types",
    "flotilla-settings",
    "flotilla-ledger",
    "flotilla-identity",
    "flotilla-recording",
    "flotilla-tunnel",
    "flotilla-upstream",
    "flotilla-cluster",
    "flotilla-hub",
    "flotilla-agent",
    "flotilla",
    "xtask",
];

/// Sums over all test programs.
#[derive(Default)]
struct Tally {
    passed: u64,
    failed: u64,
    skipped: u64,
    /// Names of the tests that failed.
    names: Vec<String>,
}

/// Runs the suites.
pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let all = Suite::value_variants();
    let wanted: Vec<Suite> =
        all.iter().copied().filter(|suite| options.only.is_empty() || options.only.contains(suite)).collect();
    let mut tally = Tally::default();
    let mut broken = Vec::new();
    prepare(&wanted)?;
    for suite in wanted {
        let started = Instant::now();
        println!("\n=== suite {suite:?}");
        if let Err(error) = run_suite(suite, &mut tally) {
            println!("suite {suite:?}: {error:#}");
            broken.push(format!("{suite:?}"));
        }
        println!("=== suite {suite:?}: {} s", started.elapsed().as_secs());
    }
    println!("\n{} passed, {} failed, {} skipped", tally.passed, tally.failed, tally.skipped);
    for name in &tally.names {
        println!("FAILED {name}");
    }
    if !broken.is_empty() {
        bail!("failed: {}", broken.join(", "));
    }
    Ok(())
}

/// Installs and builds what the suites need, once.
fn prepare(wanted: &[Suite]) -> anyhow::Result<()> {
    let needs = |suites: &[Suite]| suites.iter().any(|suite| wanted.contains(suite));
    if needs(&[Suite::Store, Suite::Unit]) {
        install(&[("postgresql", "/usr/lib/postgresql"), ("redis-server", "/usr/bin/redis-server")])?;
    }
    if needs(&[Suite::Web]) {
        install(&[("chromium", "/usr/bin/chromium")])?;
        web::build()?;
    } else if needs(&[Suite::E2e, Suite::Contract, Suite::Endpoints]) {
        web::build_if_possible()?;
    }
    if needs(&[Suite::Testbed, Suite::E2e, Suite::Contract, Suite::Endpoints, Suite::Web]) {
        if let Err(reason) = flotilla_testbed::install_prerequisites() {
            println!("the real node cannot be had here, its tests will be skipped: {reason:#}");
        }
        flotilla_testbed::Binaries::ensure(&mut |line| println!("{line}")).context("Kubernetes cannot be built")?;
        build_programs(false)?;
    }
    Ok(())
}

/// Installs Debian packages whose path is not there. Without root it says so; the tests then skip.
fn install(packages: &[(&str, &str)]) -> anyhow::Result<()> {
    let missing: Vec<&str> =
        packages.iter().filter(|(_, path)| !std::path::Path::new(path).exists()).map(|(name, _)| *name).collect();
    if missing.is_empty() {
        return Ok(());
    }
    println!("installing {}", missing.join(" "));
    let apt = |arguments: &[&str]| {
        Command::new("apt-get").args(arguments).args(&missing).env("DEBIAN_FRONTEND", "noninteractive").status()
    };
    let updated = Command::new("apt-get").args(["update", "-qq"]).status();
    match updated.and_then(|_| apt(&["install", "-y", "-qq", "--no-install-recommends"])) {
        Ok(status) if status.success() => Ok(()),
        _ => {
            println!(
                "{} cannot be installed here (root and Debian are needed); its tests will be skipped",
                missing.join(" ")
            );
            Ok(())
        }
    }
}

fn run_suite(suite: Suite, tally: &mut Tally) -> anyhow::Result<()> {
    match suite {
        Suite::Lint => lint(tally),
        Suite::Unit => {
            let arguments: Vec<&str> = UNIT.iter().flat_map(|name| ["--package", *name]).collect();
            cargo_test(&arguments, tally)
        }
        Suite::Store => cargo_test(&["--package", "flotilla-store"], tally),
        Suite::Testbed => cargo_test(&["--package", "flotilla-testbed"], tally),
        Suite::Endpoints => cargo_test(&["--package", "flotilla-tests", "--test", "endpoints"], tally),
        Suite::Contract => cargo_test(&["--package", "flotilla-tests", "--test", "contract"], tally),
        Suite::Web => console(tally),
        Suite::E2e => cargo_test(&["--package", "flotilla-e2e"], tally),
    }
}

/// The console's own checks, then the browser tests.
fn console(tally: &mut Tally) -> anyhow::Result<()> {
    counted("console", web::check(), tally)?;
    counted("browser", stage::test(), tally)
}

fn counted(name: &str, result: anyhow::Result<()>, tally: &mut Tally) -> anyhow::Result<()> {
    if result.is_ok() {
        tally.passed += 1;
    } else {
        tally.failed += 1;
        tally.names.push(name.to_owned());
    }
    result
}

fn lint(tally: &mut Tally) -> anyhow::Result<()> {
    let clippy =
        || succeed(cargo().args(["clippy", "--workspace", "--all-targets", "--quiet", "--", "--deny", "warnings"]));
    let checks: [(&str, &dyn Fn() -> anyhow::Result<()>); 4] = [
        ("format", &|| succeed(cargo().args(["fmt", "--all", "--check"]))),
        ("tidy", &tidy::run),
        ("generated files", &|| codegen::run(true)),
        ("clippy", &clippy),
    ];
    let mut failed = Vec::new();
    for (name, check) in checks {
        match check() {
            Ok(()) => tally.passed += 1,
            Err(error) => {
                println!("{name}: {error:#}");
                tally.failed += 1;
                failed.push(name);
            }
        }
    }
    if failed.is_empty() { Ok(()) } else { bail!("{} failed", failed.join(", ")) }
}

/// Runs `cargo test`, passing its output through and counting. A test that cannot run here prints a line with
/// `SKIPPED:` and is counted as skipped instead of passed.
fn cargo_test(arguments: &[&str], tally: &mut Tally) -> anyhow::Result<()> {
    let mut command = cargo();
    command.arg("test").args(arguments).args(["--no-fail-fast", "--", "--nocapture"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().context("cannot start cargo")?;
    let (stdout, stderr) = (child.stdout.take().context("no pipe")?, child.stderr.take().context("no pipe")?);
    let errors = std::thread::spawn(move || pass_through(stderr, true));
    let mut counted = pass_through(stdout, false);
    let from_errors = errors.join().unwrap_or_default();
    counted.skipped += from_errors.skipped;
    tally.passed += counted.passed.saturating_sub(counted.skipped);
    tally.failed += counted.failed;
    tally.skipped += counted.skipped;
    tally.names.append(&mut counted.names);
    let status = child.wait()?;
    if status.success() { Ok(()) } else { bail!("cargo test ended with {status}") }
}

fn pass_through(stream: impl std::io::Read, to_stderr: bool) -> Tally {
    let mut tally = Tally::default();
    for line in BufReader::new(stream).split(b'\n').map_while(Result::ok) {
        let line = String::from_utf8_lossy(&line);
        if to_stderr {
            eprintln!("{line}");
        } else {
            println!("{line}");
        }
        tally.skipped += u64::from(line.contains("SKIPPED:"));
        let failed = line.strip_prefix("test ").and_then(|rest| rest.strip_suffix(" ... FAILED"));
        tally.names.extend(failed.map(str::to_owned));
        if let Some(result) = line.strip_prefix("test result: ") {
            tally.passed += number_before(result, " passed");
            tally.failed += number_before(result, " failed");
            tally.skipped += number_before(result, " ignored");
        }
    }
    tally
}

/// The number that stands before `word`.
fn number_before(text: &str, word: &str) -> u64 {
    let before = text.find(word).map(|at| &text[..at]).unwrap_or_default();
    before.rsplit(|c: char| !c.is_ascii_digit()).next().and_then(|digits| digits.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::number_before;

    #[test]
    fn counts_as_cargo_prints_them() {
        let line = "ok. 12 passed; 3 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s";
        assert_eq!(
            (number_before(line, " passed"), number_before(line, " failed"), number_before(line, " ignored")),
            (12, 3, 1)
        );
    }
}
