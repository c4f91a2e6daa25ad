//! What a connection is for. An agent holds one of each, so that a bulk copy does not delay a keystroke.

use std::fmt;
use std::str::FromStr;

/// The kind of traffic that a connection is kept for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Lane {
    /// Short requests, watches, terminals.
    Interactive,
    /// Logs, copies, port-forwards.
    Bulk,
}

impl Lane {
    /// As it is written in headers and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Interactive => "interactive",
            Self::Bulk => "bulk",
        }
    }
}

impl fmt::Display for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// No lane has this name.
#[derive(Debug, thiserror::Error)]
#[error("unknown lane: use `interactive` or `bulk`")]
pub struct UnknownLane;

impl FromStr for Lane {
    type Err = UnknownLane;

    fn from_str(text: &str) -> Result<Self, UnknownLane> {
        match text {
            "interactive" => Ok(Self::Interactive),
            "bulk" => Ok(Self::Bulk),
            _ => Err(UnknownLane),
        }
    }
}
