//! The test bed on the real thing: every test here runs Kubernetes.
//!
//! The first run builds it, which takes minutes; later ones find it in the user's cache.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a failed step is a failed test")]

mod control_plane;
mod killed;
mod kwok;
mod node;
mod process;

use std::fs;
use std::io::Write;
use std::sync::LazyLock;

use flotilla_testbed::Binaries;

static BINARIES: LazyLock<Binaries> = LazyLock::new(|| {
    // Past the capturing of output: the first build takes minutes, and someone waits.
    let mut say = |line: &str| writeln!(std::io::stderr(), "{line}").unwrap_or_default();
    Binaries::ensure(&mut say).expect("the test bed's programs")
});

/// Command lines of the running processes that mention `text`.
fn processes_with(text: &str) -> Vec<String> {
    let command_line = |entry: fs::DirEntry| -> Option<String> {
        entry.file_name().to_str()?.parse::<u32>().ok()?;
        let bytes = fs::read(entry.path().join("cmdline")).ok()?;
        Some(String::from_utf8_lossy(&bytes).replace('\0', " "))
    };
    fs::read_dir("/proc")
        .expect("/proc")
        .filter_map(|entry| command_line(entry.ok()?))
        .filter(|line| line.contains(text))
        .collect()
}
