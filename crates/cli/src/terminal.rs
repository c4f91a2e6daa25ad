//! Talking to the person at the terminal: questions, notes, progress. All of it on standard error, so that
//! standard output holds nothing but the result.
//!
//! Must not know: what is being asked.

use std::future::Future;
use std::io::{self, BufRead, IsTerminal, Write};
use std::time::Duration;

use dialoguer::{Confirm, Input, Password};
use indicatif::ProgressBar;
use secrecy::{ExposeSecret, SecretString};

use crate::error::{CliError, Doing, plain};

/// Work that takes less shows no progress.
const SHOW_PROGRESS_AFTER: Duration = Duration::from_millis(400);

/// Longest password line read from standard input, in bytes.
const MAX_LINE: u64 = 4096;

/// Whether somebody is there to be asked.
pub(crate) fn interactive() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

/// One line for the person. That standard error may be closed is no reason to fail.
pub(crate) fn note(text: &str) {
    let _ = writeln!(io::stderr(), "{}", plain(text));
}

/// Asks for a line of text.
///
/// # Errors
/// When the terminal goes away or the person interrupts.
pub(crate) fn ask(prompt: &str, default: Option<&str>) -> Result<String, CliError> {
    let input = Input::<String>::new().with_prompt(prompt);
    let input = match default {
        Some(default) => input.default(default.to_owned()),
        None => input,
    };
    input.interact_text().doing("read the answer")
}

/// Asks for a password without showing it.
///
/// # Errors
/// As [`ask`].
pub(crate) fn ask_password(prompt: &str) -> Result<SecretString, CliError> {
    Password::new().with_prompt(prompt).interact().map(SecretString::from).doing("read the password")
}

/// Asks for a new password, twice.
///
/// # Errors
/// As [`ask`].
pub(crate) fn ask_new_password() -> Result<SecretString, CliError> {
    Password::new()
        .with_prompt("New password (12 characters or more)")
        .with_confirmation("Once more", "The two are not the same.")
        .interact()
        .map(SecretString::from)
        .doing("read the password")
}

/// Asks yes or no; the default is no.
///
/// # Errors
/// As [`ask`].
pub(crate) fn confirm(prompt: &str) -> Result<bool, CliError> {
    Confirm::new().with_prompt(prompt).default(false).interact().doing("read the answer")
}

/// Reads one line with a secret from standard input, without its line end.
///
/// # Errors
/// When there is none, or it is longer than 4096 bytes.
pub(crate) fn secret_line(what: &str) -> Result<SecretString, CliError> {
    read_secret_line(&mut io::stdin().lock(), what)
}

fn read_secret_line(input: &mut impl BufRead, what: &str) -> Result<SecretString, CliError> {
    let mut line = String::new();
    io::Read::take(&mut *input, MAX_LINE + 1).read_line(&mut line).doing(format!("read {what} from standard input"))?;
    if line.len() as u64 > MAX_LINE {
        return Err(CliError::usage(format!("{what} on standard input is longer than {MAX_LINE} bytes")));
    }
    let secret = SecretString::from(line.trim_end_matches(['\r', '\n']));
    if secret.expose_secret().is_empty() {
        return Err(CliError::usage(format!("standard input holds no {what}")).hint("give it as one line"));
    }
    Ok(secret)
}

/// Runs `work`, with a spinner on standard error when it takes long and standard error is a terminal.
pub(crate) async fn during<T>(what: &str, work: impl Future<Output = T>) -> T {
    tokio::pin!(work);
    if !io::stderr().is_terminal() {
        return work.await;
    }
    if let Ok(done) = tokio::time::timeout(SHOW_PROGRESS_AFTER, &mut work).await {
        return done;
    }
    let spinner = ProgressBar::new_spinner().with_message(what.to_owned());
    spinner.enable_steady_tick(Duration::from_millis(120));
    let done = work.await;
    spinner.finish_and_clear();
    done
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<String, CliError> {
        read_secret_line(&mut text.as_bytes(), "password").map(|secret| secret.expose_secret().to_owned())
    }

    #[test]
    fn a_secret_is_one_line_as_it_stands() {
        assert_eq!(read("geheim \r\nrest").unwrap(), "geheim ");
        assert_eq!(read("no newline").unwrap(), "no newline");
        assert!(read("\n").is_err());
        assert!(read("").is_err());
        assert!(read(&"x".repeat(5000)).is_err());
    }
}
