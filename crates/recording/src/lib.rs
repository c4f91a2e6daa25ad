//! What a person sees in a shell, read from the bytes on their way and written as an asciicast.
//!
//! ```text
//! bytes both ways ──▶ Tap ──▶ Event ──▶ cast::Encoder ──▶ one line of asciicast v2 for each event
//!                      │
//!                      ├─ websocket   frames (RFC 6455)
//!                      ├─ channel     the Kubernetes channels in them
//!                      └─ spdy        frames and streams (SPDY/3.1), alone or inside WebSocket messages
//! ```
//!
//! The tap only looks: it never changes, holds back or asks for bytes. Its memory is bounded whatever comes, and what
//! comes in other pieces gives the same events.
//!
//! Must not know: sockets, clocks, where recordings are kept, who may see them.

pub mod cast;
mod channel;
mod protocol;
mod spdy;
mod tap;
pub mod text;
mod websocket;

pub use protocol::{Protocol, Session};
pub use tap::Tap;
use thiserror::Error;

/// Which way bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the person to the container.
    ToCluster,
    /// From the container to the person.
    ToClient,
}

/// Which of the two outputs of a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// Standard output; with a terminal, everything.
    Standard,
    /// Standard error.
    Error,
}

/// Something that a recording holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The program wrote.
    Output(Output, Vec<u8>),
    /// The person typed. Only where the tap was told to keep it.
    Input(Vec<u8>),
    /// The window has a new size.
    Resize {
        /// Characters in a line.
        columns: u16,
        /// Lines.
        rows: u16,
    },
    /// The program ended.
    Exit(i32),
    /// Something worth a note, for example a connection through a port-forward.
    Note(String),
}

/// The bytes are not of the protocol that was agreed on, or go beyond what is read of it. The tap sees nothing more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the session cannot be recorded: {0}")]
pub struct Undecodable(pub &'static str);
