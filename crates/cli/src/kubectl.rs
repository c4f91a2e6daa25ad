//! The real kubectl: where it is, and becoming it. Where there is none: which commands the hub can run instead.
//!
//! Must not know: the hub, credentials. What a kubectl command *may* do is decided by the hub on the API call
//! itself; the words of a command line are looked at here only to see whether they need this machine.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::error::CliError;

/// The file name of kubectl on this platform.
const NAME: &str = if cfg!(windows) { "kubectl.exe" } else { "kubectl" };

/// The first kubectl in `path` (the value of `PATH`) that can be run and is not `ourselves`: somebody may have
/// linked `kubectl` to this program.
pub(crate) fn find(path: &OsStr, ourselves: &Path) -> Option<PathBuf> {
    let ourselves = ourselves.canonicalize().ok();
    std::env::split_paths(path)
        .filter(|directory| directory.is_absolute())
        .map(|directory| directory.join(NAME))
        .find(|candidate| is_program(candidate) && candidate.canonicalize().ok() != ourselves)
}

#[cfg(unix)]
fn is_program(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

#[cfg(not(unix))]
fn is_program(path: &Path) -> bool {
    path.is_file()
}

/// Becomes kubectl. Replacing the process keeps terminal, signals and exit code the real ones.
/// Returns only when that failed.
#[cfg(unix)]
pub(crate) fn become_kubectl(program: &Path, args: &[OsString], kubeconfig: &Path) -> Result<u8, CliError> {
    use std::os::unix::process::CommandExt;
    let error = Command::new(program).args(args).env("KUBECONFIG", kubeconfig).exec();
    Err(CliError::general(format!("cannot run {}: {error}", program.display())))
}

/// Runs kubectl and passes its exit code on: this platform cannot replace a process.
#[cfg(not(unix))]
pub(crate) fn become_kubectl(program: &Path, args: &[OsString], kubeconfig: &Path) -> Result<u8, CliError> {
    let status = Command::new(program).args(args).env("KUBECONFIG", kubeconfig).status();
    let status = status.map_err(|error| CliError::general(format!("cannot run {}: {error}", program.display())))?;
    Ok(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1))
}

/// Flags before the verb that take a value in the next word (`kubectl options`).
const VALUE_FLAGS: [&str; 18] = [
    "-n",
    "--namespace",
    "-s",
    "--server",
    "-v",
    "--v",
    "--vmodule",
    "--context",
    "--cluster",
    "--user",
    "--as",
    "--as-group",
    "--as-uid",
    "--token",
    "--username",
    "--password",
    "--request-timeout",
    "--tls-server-name",
];

/// Verbs that need this machine: its terminal, ports, files, editor, or kubectl's own installation.
const LOCAL_VERBS: [&str; 11] =
    ["attach", "port-forward", "proxy", "edit", "debug", "cp", "kustomize", "config", "plugin", "completion", "alpha"];

/// Long flags whose value is a file of this machine.
const FILE_FLAGS: [&str; 14] = [
    "--kustomize",
    "--from-file",
    "--from-env-file",
    "--patch-file",
    "--kubeconfig",
    "--cert",
    "--key",
    "--certificate-authority",
    "--client-certificate",
    "--client-key",
    "--cache-dir",
    "--profile-output",
    "--kuberc",
    "--openapi-patch-file",
];

/// The verb: the first word that is neither a flag nor a flag's value.
pub(crate) fn verb(args: &[OsString]) -> Option<&str> {
    let mut words = args.iter().filter_map(|arg| arg.to_str());
    while let Some(word) = words.next() {
        if VALUE_FLAGS.contains(&word) {
            words.next();
        } else if !word.starts_with('-') {
            return Some(word);
        }
    }
    None
}

/// Whether kubectl does this without any cluster.
pub(crate) fn needs_no_cluster(args: &[OsString]) -> bool {
    let client_only = || args.iter().any(|arg| arg == "--client" || arg == "--client=true");
    match verb(args) {
        None => true,
        Some("help" | "options" | "plugin" | "completion" | "kustomize") => true,
        Some("version") => client_only(),
        Some(_) => args.iter().take_while(|arg| *arg != "--").any(|arg| arg == "--help" || arg == "-h"),
    }
}

/// A command that the hub can run in place of a local kubectl.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Remote {
    /// The arguments.
    pub(crate) command: Vec<String>,
    /// Whether it reads standard input.
    pub(crate) reads_stdin: bool,
}

/// Whether the hub can run this; otherwise what it would need of this machine.
pub(crate) fn remote(args: &[OsString]) -> Result<Remote, String> {
    let command: Option<Vec<String>> = args.iter().map(|arg| arg.to_str().map(str::to_owned)).collect();
    let command = command.ok_or("an argument is not UTF-8")?;
    let verb = verb(args).ok_or("it is no command")?.to_owned();
    if LOCAL_VERBS.contains(&verb.as_str()) {
        return Err(format!("`kubectl {verb}` works on this machine"));
    }
    let mut reads_stdin = false;
    // What follows `--` belongs to the command in the container.
    let mut words = command.iter().take_while(|word| *word != "--").peekable();
    while let Some(word) = words.next() {
        let next = words.peek().map(|word| word.as_str());
        reads_stdin |= check_word(&verb, word, next)?;
    }
    Ok(Remote { command, reads_stdin })
}

/// Looks at one word; true when with it the command reads standard input.
fn check_word(verb: &str, word: &str, next: Option<&str>) -> Result<bool, String> {
    if let Some((flag, value)) = word.strip_prefix("--").map(|_| word.split_once('=').unwrap_or((word, ""))) {
        let value = if word.contains('=') { value } else { next.unwrap_or_default() };
        return check_long(flag, word.contains('='), value);
    }
    let Some(letters) = word.strip_prefix('-').filter(|letters| !letters.is_empty()) else { return Ok(false) };
    check_short(verb, letters, next)
}

fn check_long(flag: &str, joined: bool, value: &str) -> Result<bool, String> {
    let switched_off = joined && value == "false";
    match flag {
        "--filename" => file_argument(value),
        "--follow" | "--watch" | "--watch-only" if !switched_off => Err(format!("{flag} does not end by itself")),
        "--stdin" | "--tty" | "--interactive" | "--attach" | "--edit" if !switched_off => {
            Err(format!("{flag} needs this terminal"))
        }
        "--output" => output_argument(value),
        _ if FILE_FLAGS.contains(&flag) => Err(format!("{flag} names a file of this machine")),
        _ => Ok(false),
    }
}

/// One or more short flags in one word; the first that takes a value takes the rest of it.
fn check_short(verb: &str, letters: &str, next: Option<&str>) -> Result<bool, String> {
    for (at, letter) in letters.char_indices() {
        let rest = letters[at + letter.len_utf8()..].trim_start_matches('=');
        let value = if rest.is_empty() { next.unwrap_or_default() } else { rest };
        match (verb, letter) {
            ("logs", 'f') | ("get" | "events", 'w') => return Err(format!("-{letter} does not end by itself")),
            ("exec" | "run", 'i' | 't') => return Err(format!("-{letter} needs this terminal")),
            (_, 'f') => return file_argument(value),
            (_, 'k') => return Err("-k names a directory of this machine".to_owned()),
            (_, 'o') => return output_argument(value),
            (_, 'n' | 'l' | 'c' | 's' | 'p') => return Ok(false),
            _ => {}
        }
    }
    Ok(false)
}

fn file_argument(value: &str) -> Result<bool, String> {
    if value == "-" { Ok(true) } else { Err(format!("-f {value} names a file; give it as: -f - < {value}")) }
}

/// `-o jsonpath-file=x`, `go-template-file=x`, `custom-columns-file=x`, `templatefile=x`.
fn output_argument(value: &str) -> Result<bool, String> {
    let kind = value.split('=').next().unwrap_or_default();
    if kind.ends_with("file") { Err(format!("-o {kind} names a file of this machine")) } else { Ok(false) }
}

#[cfg(test)]
#[path = "kubectl_tests.rs"]
mod tests;
