//! `cargo xtask tidy`: house rules that a machine can check. Each rule has a reason; a broken one names file and line.
//!
//! Must not know: what the code does.

use std::path::{Path, PathBuf};

use anyhow::bail;
use walkdir::WalkDir;

use crate::root;

/// Longest source file, in lines. A longer one is more than one thing.
const MAX_LINES: usize = 800;

/// Checks all rules.
pub(crate) fn run() -> anyhow::Result<()> {
    let mut broken = Vec::new();
    for path in sources() {
        let Ok(text) = std::fs::read_to_string(&path) else { continue };
        let shown = path.strip_prefix(root()).unwrap_or(&path).to_owned();
        if path.extension().is_some_and(|kind| kind == "rs") {
            rust(&shown, &text, &mut broken);
        }
        anywhere(&shown, &text, &mut broken);
    }
    layers(&mut broken)?;
    if broken.is_empty() {
        println!("tidy: all rules hold");
        return Ok(());
    }
    bail!("{} rules broken:\n  {}", broken.len(), broken.join("\n  "))
}

fn sources() -> impl Iterator<Item = PathBuf> {
    let skipped = |path: &Path| {
        ["target", ".git", "node_modules", "vectors"]
            .iter()
            .any(|name| path.file_name().is_some_and(|own| own == *name))
    };
    let kinds = ["rs", "go", "toml", "md", "yaml", "yml", "sh", "proto", "json"];
    WalkDir::new(root())
        .into_iter()
        .filter_entry(move |entry| !skipped(entry.path()))
        .filter_map(Result::ok)
        .map(walkdir::DirEntry::into_path)
        .filter(move |path| path.extension().and_then(|kind| kind.to_str()).is_some_and(|kind| kinds.contains(&kind)))
}

fn rust(path: &Path, text: &str, broken: &mut Vec<String>) {
    let shown = path.display();
    // A reader learns what a module is for, and what it must not know, before its first line of code.
    if !text.trim_start().starts_with("//!") {
        broken.push(format!("{shown}:1: the module does not open with //!"));
    }
    let lines = text.lines().count();
    if lines > MAX_LINES && !text.contains("@generated") {
        broken.push(format!("{shown}: {lines} lines; split it (at most {MAX_LINES})"));
    }
    // Only the store contains SQL, so that one suite covers it on every engine.
    let sql = ["sqlx::query", "SELECT ", "INSERT INTO ", "DELETE FROM "];
    let in_store = path.starts_with("crates/store")
        || path.starts_with("xtask")
        || path.starts_with("tests")
        || path.starts_with("e2e");
    for (number, line) in text.lines().enumerate() {
        if !in_store && sql.iter().any(|word| line.contains(word)) {
            broken.push(format!("{shown}:{}: SQL outside crates/store", number + 1));
        }
        // The tunnel carries bytes for any protocol.
        if path.starts_with("crates/tunnel/src")
            && line.to_lowercase().contains("kubernetes")
            && !line.trim_start().starts_with("//")
        {
            broken.push(format!("{shown}:{}: the tunnel must not know Kubernetes", number + 1));
        }
    }
}

fn anywhere(path: &Path, text: &str, broken: &mut Vec<String>) {
    if path.starts_with("xtask/src/tidy.rs") {
        return;
    }
    for (number, line) in text.lines().enumerate() {
        // Unfinished work is said in an issue, not left in the code.
        if ["todo!(", "unimplemented!(", "FIXME", "dbg!("].iter().any(|word| line.contains(word)) {
            broken.push(format!("{}:{}: unfinished", path.display(), number + 1));
        }
    }
}

/// Which of our crates each may depend on (DESIGN: no cycles, no sideways imports).
fn layers(broken: &mut Vec<String>) -> anyhow::Result<()> {
    let allowed: &[(&str, &[&str])] = &[
        ("types", &[]),
        ("settings", &[]),
        ("tunnel", &[]),
        ("ledger", &["types"]),
        ("recording", &[]),
        ("store", &["types", "ledger"]),
        ("identity", &["types"]),
        ("upstream", &["tunnel", "settings"]),
        ("cluster", &["types", "store", "identity", "recording", "tunnel", "upstream"]),
        ("agent", &["types", "settings", "tunnel", "upstream"]),
        ("hub", &["types", "settings", "ledger", "recording", "store", "identity", "tunnel", "upstream", "cluster"]),
        ("cli", &["types", "settings", "ledger", "recording", "identity", "hub"]),
    ];
    for (name, may) in allowed {
        let text = std::fs::read_to_string(root().join("crates").join(name).join("Cargo.toml"))?;
        let depends = text.split("[dev-dependencies]").next().unwrap_or_default();
        let ours = depends.lines().filter_map(|line| line.strip_prefix("flotilla-")?.split(['.', ' ']).next());
        for other in ours.filter(|other| !may.contains(other)) {
            broken.push(format!("crates/{name} must not depend on flotilla-{other}"));
        }
    }
    Ok(())
}
