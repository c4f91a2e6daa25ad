//! What a command reports when it could not do its work: what happened, what to do about it, and the exit
//! code that scripts branch on.
//!
//! Must not know: which command failed. Secrets never get in here.

use std::fmt::Display;

/// Which exit code an error ends in. The numbers are part of the interface and never change their meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Anything not named below.
    General = 1,
    /// The command line itself makes no sense, or something needed is missing from it.
    Usage = 2,
    /// No session with the hub, or it is over.
    NotSignedIn = 3,
    /// Known to the hub, but not allowed.
    NotAllowed = 4,
}

/// An error as people meet it: `error: {message}` and `hint: {hint}` on standard error.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(crate) struct CliError {
    kind: Kind,
    message: String,
    hint: Option<String>,
}

impl CliError {
    fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), hint: None }
    }

    /// Exit code 1.
    pub(crate) fn general(message: impl Into<String>) -> Self {
        Self::new(Kind::General, message)
    }

    /// Exit code 2.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(Kind::Usage, message)
    }

    /// Exit code 3; the hint is always how to sign in.
    pub(crate) fn not_signed_in(message: impl Into<String>) -> Self {
        Self::new(Kind::NotSignedIn, message).hint("run: flotilla login")
    }

    /// Exit code 4.
    pub(crate) fn not_allowed(message: impl Into<String>) -> Self {
        Self::new(Kind::NotAllowed, message)
    }

    /// Says what to do.
    #[must_use]
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Which exit code it is.
    pub(crate) fn kind(&self) -> Kind {
        self.kind
    }

    /// The whole text for standard error, ending in a line feed. Parts of it may come from the hub or from
    /// files, so control characters are taken out: a terminal must not obey them.
    pub(crate) fn render(&self) -> String {
        let mut text = format!("error: {}\n", plain(&self.message));
        if let Some(hint) = &self.hint {
            text.push_str(&format!("hint: {}\n", plain(hint)));
        }
        text
    }
}

/// The text without control characters, line feeds excepted.
pub(crate) fn plain(text: &str) -> String {
    text.chars().filter(|c| !c.is_control() || *c == '\n').collect()
}

/// Turns any error into an exit-code-1 error that says what was being done.
pub(crate) trait Doing<T> {
    /// `what` completes the sentence "cannot ...".
    ///
    /// # Errors
    /// The error it was called on, in words.
    fn doing(self, what: impl Display) -> Result<T, CliError>;
}

impl<T, E: Display> Doing<T> for Result<T, E> {
    fn doing(self, what: impl Display) -> Result<T, CliError> {
        self.map_err(|error| CliError::general(format!("cannot {what}: {error}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn renders_error_and_hint_without_control_characters() {
        let error = CliError::general("bad \u{1b}[31mname\u{7}").hint("use another");
        assert_eq!(error.render(), "error: bad [31mname\nhint: use another\n");
    }

    #[test]
    fn exit_codes_are_stable() {
        let codes = [
            (CliError::general(""), 1),
            (CliError::usage(""), 2),
            (CliError::not_signed_in(""), 3),
            (CliError::not_allowed(""), 4),
        ];
        for (error, code) in codes {
            assert_eq!(error.kind() as u8, code);
        }
        assert_eq!(CliError::not_signed_in("x").render(), "error: x\nhint: run: flotilla login\n");
    }
}
