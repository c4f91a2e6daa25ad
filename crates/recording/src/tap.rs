//! From the bytes of a connection to [`Event`]s.
//!
//! Must not know: how asciicast looks.

use std::collections::HashMap;

use serde::Deserialize;

use crate::channel::Channels;
use crate::spdy::{Happening, Purpose, Spdy};
use crate::websocket::{Frames, Piece};
use crate::{Direction, Event, Output, Protocol, Session, Undecodable};

/// Longest size or status that is gathered, in bytes.
const MAX_DOCUMENT: usize = 16 * 1024;

/// Looks at both directions of one session.
pub struct Tap {
    wire: Wire,
    meaning: Meaning,
}

enum Wire {
    Channels { to_cluster: Channels, to_client: Channels },
    Spdy(Spdy),
    Tunnel { to_cluster: Frames, to_client: Frames, spdy: Spdy },
}

/// What the streams mean.
struct Meaning {
    session: Session,
    /// Whether what is typed is kept.
    input: bool,
    sizes: Documents,
    status: Documents,
    connections: HashMap<u32, Connection>,
}

/// One TCP connection of a port-forward.
#[derive(Default)]
struct Connection {
    port: String,
    /// Over channels the cluster names the port first, in two bytes.
    port_bytes: Vec<u8>,
    sent: u64,
    received: u64,
}

impl Tap {
    /// A tap on a session of which nothing has gone through yet. What is typed is kept only with `input`.
    #[must_use]
    pub fn new(session: Session, protocol: Protocol, input: bool) -> Self {
        let wire = match protocol {
            Protocol::Channels { base64 } => {
                Wire::Channels { to_cluster: Channels::new(base64), to_client: Channels::new(base64) }
            }
            Protocol::Spdy => Wire::Spdy(Spdy::new()),
            Protocol::SpdyInWebSocket => {
                Wire::Tunnel { to_cluster: Frames::default(), to_client: Frames::default(), spdy: Spdy::new() }
            }
        };
        let (sizes, status, connections) = (Documents::default(), Documents::default(), HashMap::new());
        Self { wire, meaning: Meaning { session, input, sizes, status, connections } }
    }

    /// Looks at some bytes and appends what they mean to `events`. Bytes of both directions are to come in an order in
    /// which they were sent: what answers a byte, after it.
    ///
    /// # Errors
    /// [`Undecodable`]; the tap is of no use from then on.
    pub fn push(&mut self, direction: Direction, bytes: &[u8], events: &mut Vec<Event>) -> Result<(), Undecodable> {
        let meaning = &mut self.meaning;
        match &mut self.wire {
            Wire::Channels { to_cluster, to_client } => {
                let channels = if direction == Direction::ToCluster { to_cluster } else { to_client };
                channels.push(bytes, &mut |channel, data| meaning.of_channel(direction, channel, data, events))
            }
            Wire::Spdy(spdy) => spdy.push(direction, bytes, &mut |happening| meaning.of_stream(&happening, events)),
            Wire::Tunnel { to_cluster, to_client, spdy } => {
                let frames = if direction == Direction::ToCluster { to_cluster } else { to_client };
                frames.push(bytes, &mut |piece| match piece {
                    Piece::Data(data) => {
                        spdy.push(direction, data, &mut |happening| meaning.of_stream(&happening, events))
                    }
                    Piece::Begin | Piece::End => Ok(()),
                })
            }
        }
    }

    /// The session has ended: notes on what was still open.
    pub fn finish(&mut self, events: &mut Vec<Event>) {
        let mut open: Vec<_> = self.meaning.connections.drain().collect();
        open.sort_unstable_by_key(|(id, _)| *id);
        events.extend(open.into_iter().map(|(_, connection)| connection.closed()));
    }
}

impl Meaning {
    /// Channels of a terminal: `k8s.io/kubelet/pkg/cri/streaming/remotecommand/websocket.go`; of a port-forward, two for
    /// each port, data and error: `.../portforward/websocket.go`.
    fn of_channel(
        &mut self,
        direction: Direction,
        channel: u8,
        data: &[u8],
        events: &mut Vec<Event>,
    ) -> Result<(), Undecodable> {
        use Direction::{ToClient, ToCluster};
        if self.session == Session::PortForward {
            self.count_channel(direction, channel, data, events);
            return Ok(());
        }
        match (direction, channel) {
            (ToCluster, 0) => self.typed(data, events),
            (ToClient, 1) => events.push(Event::Output(Output::Standard, data.to_vec())),
            (ToClient, 2) => events.push(Event::Output(Output::Error, data.to_vec())),
            (ToClient, 3) => self.ended(data, events),
            (ToCluster, 4) => self.resized(data, events),
            // 255 closes a channel (v5); the rest is unknown to the cluster as well.
            _ => {}
        }
        Ok(())
    }

    fn of_stream(&mut self, happening: &Happening<'_>, events: &mut Vec<Event>) -> Result<(), Undecodable> {
        use Direction::{ToClient, ToCluster};
        match happening {
            Happening::Opened(id, Purpose::Data { port, request }) => {
                events.push(Event::Note(format!("connection {request} to port {port} opened")));
                let port = format!("{request} to port {port}");
                self.connections.insert(*id, Connection { port, ..Connection::default() });
            }
            Happening::Closed(id, Purpose::Data { .. }) => {
                events.extend(self.connections.remove(id).map(Connection::closed));
            }
            Happening::Data(id, Purpose::Data { .. }, direction, data) => {
                if let Some(connection) = self.connections.get_mut(id) {
                    connection.count(*direction, data.len());
                }
            }
            Happening::Opened(..) | Happening::Closed(..) => {}
            Happening::Data(_, purpose, direction, data) if self.session == Session::Terminal => {
                match (direction, purpose) {
                    (ToCluster, Purpose::Stdin) => self.typed(data, events),
                    (ToClient, Purpose::Stdout) => events.push(Event::Output(Output::Standard, data.to_vec())),
                    (ToClient, Purpose::Stderr) => events.push(Event::Output(Output::Error, data.to_vec())),
                    (ToClient, Purpose::Error) => self.ended(data, events),
                    (ToCluster, Purpose::Resize) => self.resized(data, events),
                    _ => {}
                }
            }
            Happening::Data(..) => {}
        }
        Ok(())
    }

    fn typed(&self, data: &[u8], events: &mut Vec<Event>) {
        if self.input {
            events.push(Event::Input(data.to_vec()));
        }
    }

    fn resized(&mut self, data: &[u8], events: &mut Vec<Event>) {
        self.sizes.push(data, |size: Size| events.push(Event::Resize { columns: size.columns, rows: size.rows }));
    }

    /// The error stream ends a session with a `Status`; before `v4` it is a line of text, which says no exit code.
    fn ended(&mut self, data: &[u8], events: &mut Vec<Event>) {
        self.status.push(data, |status: Status| events.extend(status.exit_code().map(Event::Exit)));
    }

    fn count_channel(&mut self, direction: Direction, channel: u8, data: &[u8], events: &mut Vec<Event>) {
        if channel % 2 == 1 || channel == 255 {
            return;
        }
        let connection = self.connections.entry(u32::from(channel)).or_default();
        let mut content = data.len();
        if direction == Direction::ToClient && connection.port_bytes.len() < 2 {
            let named = data.len().min(2 - connection.port_bytes.len());
            connection.port_bytes.extend_from_slice(&data[..named]);
            content -= named;
            if let [low, high] = connection.port_bytes[..] {
                connection.port = format!("{} to port {}", channel / 2, u16::from_le_bytes([low, high]));
                events.push(Event::Note(format!("connection {} opened", connection.port)));
            }
        }
        connection.count(direction, content);
    }
}

impl Connection {
    fn count(&mut self, direction: Direction, bytes: usize) {
        match direction {
            Direction::ToCluster => self.sent += bytes as u64,
            Direction::ToClient => self.received += bytes as u64,
        }
    }

    fn closed(self) -> Event {
        let Self { port, sent, received, .. } = self;
        Event::Note(format!("connection {port} closed: {sent} bytes sent, {received} bytes received"))
    }
}

/// JSON documents one after the other in a stream. What is not JSON, or too long, ends the reading of that stream: it
/// is about the session and not of it.
#[derive(Default)]
struct Documents {
    pending: Vec<u8>,
    over: bool,
}

impl Documents {
    fn push<T: serde::de::DeserializeOwned>(&mut self, data: &[u8], mut take: impl FnMut(T)) {
        if self.over {
            return;
        }
        for byte in data {
            self.pending.push(*byte);
            // Every document that matters is an object.
            if *byte == b'}' {
                self.read(&mut take);
            }
            if self.pending.len() > MAX_DOCUMENT {
                *self = Self { pending: Vec::new(), over: true };
                return;
            }
        }
    }

    fn read<T: serde::de::DeserializeOwned>(&mut self, take: &mut impl FnMut(T)) {
        match serde_json::from_slice::<T>(&self.pending) {
            Ok(document) => {
                self.pending.clear();
                take(document);
            }
            // The brace of an inner object.
            Err(error) if error.is_eof() => {}
            Err(_) => self.pending.clear(),
        }
    }
}

/// `TerminalSize` of `k8s.io/client-go/tools/remotecommand`.
#[derive(Deserialize)]
struct Size {
    #[serde(rename = "Width")]
    columns: u16,
    #[serde(rename = "Height")]
    rows: u16,
}

/// `Status` of `k8s.io/apimachinery`, as far as it says how a program ended.
#[derive(Deserialize)]
struct Status {
    #[serde(default)]
    status: String,
    #[serde(default)]
    details: Option<Details>,
}

#[derive(Deserialize)]
struct Details {
    #[serde(default)]
    causes: Vec<Cause>,
}

#[derive(Deserialize)]
struct Cause {
    #[serde(default)]
    reason: String,
    #[serde(default)]
    message: String,
}

impl Status {
    fn exit_code(&self) -> Option<i32> {
        if self.status == "Success" {
            return Some(0);
        }
        let mut causes = self.details.iter().flat_map(|details| &details.causes);
        causes.find(|cause| cause.reason == "ExitCode")?.message.parse().ok()
    }
}

#[cfg(test)]
#[path = "tap_tests.rs"]
mod tests;
