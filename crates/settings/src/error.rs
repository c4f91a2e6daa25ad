//! What can be wrong with settings, in words for the person who wrote them.
//!
//! Must not know: how settings are found.

use std::fmt;
use std::path::{Path, PathBuf};

use thiserror::Error;

/// Why settings could not be loaded.
#[derive(Debug, Error)]
pub enum SettingsError {
    /// The file could not be read.
    #[error("cannot read the configuration file {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The file is not YAML, or not a table of keys.
    #[error("the configuration file {} is not valid YAML: {message}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// What is wrong, with line and column.
        message: String,
    },
    /// Keys are unknown or have wrong values; all that were found, one a line.
    #[error("{}", lines(.0))]
    Invalid(Vec<Problem>),
    /// The built-in values cannot be written down: a mistake in the program.
    #[error("the built-in settings cannot be serialized: {0}")]
    Defaults(serde_json::Error),
}

fn lines(problems: &[Problem]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// One thing wrong with one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where the key is set: a file or `environment variable NAME`.
    pub origin: String,
    /// Full path of the key, for example `server.http_port`.
    pub key: String,
    /// What is wrong and what to do.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.origin, self.message)
    }
}

/// Where a value was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Origin<'a> {
    File(&'a Path),
    Variable(&'a str),
    BuiltIn,
}

impl fmt::Display for Origin<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Variable(name) => write!(f, "environment variable {name}"),
            Self::BuiltIn => f.write_str("built-in settings"),
        }
    }
}
