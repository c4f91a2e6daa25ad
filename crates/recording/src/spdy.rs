//! SPDY/3.1 as Kubernetes speaks it (`moby/spdystream`): frames of both directions, the streams in them, and the
//! headers with which a stream says what it is (`k8s.io/apimachinery`, `remotecommand` and `portforward`).
//!
//! Must not know: WebSocket, what becomes of the content.

mod dictionary;

use std::collections::HashMap;

use flate2::{Decompress, FlushDecompress, Status};

use crate::{Direction, Undecodable};

/// Longest control frame with headers, and longest block of headers, in bytes.
const MAX_HEADERS: usize = 64 * 1024;
/// Most streams that are open at a time.
const MAX_STREAMS: usize = 4096;

const SYN_STREAM: u16 = 1;
const SYN_REPLY: u16 = 2;
const RST_STREAM: u16 = 3;
const HEADERS: u16 = 8;
const FIN: u8 = 1;

/// What a stream carries, by its headers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// `streamType: stdin`.
    Stdin,
    /// `streamType: stdout`.
    Stdout,
    /// `streamType: stderr`.
    Stderr,
    /// `streamType: error` of a terminal.
    Error,
    /// `streamType: resize`.
    Resize,
    /// `streamType: data` of a port-forward.
    Data {
        /// `port`.
        port: String,
        /// `requestID`.
        request: String,
    },
    /// Anything else.
    Other,
}

/// What happens in the connection.
pub(crate) enum Happening<'a> {
    /// The client opened a stream.
    Opened(u32, &'a Purpose),
    /// Content.
    Data(u32, &'a Purpose, Direction, &'a [u8]),
    /// Both directions of a stream have ended.
    Closed(u32, &'a Purpose),
}

type Take<'a> = dyn FnMut(Happening<'_>) -> Result<(), Undecodable> + 'a;

/// Both directions of a connection.
pub(crate) struct Spdy {
    to_cluster: Half,
    to_client: Half,
    streams: HashMap<u32, Stream>,
}

struct Stream {
    purpose: Purpose,
    /// Ended by the client, by the cluster.
    ended: [bool; 2],
}

/// Frames of one direction.
struct Half {
    direction: Direction,
    head: [u8; 8],
    have: usize,
    frame: Option<Frame>,
    /// One stream of zlib for all headers of the direction.
    inflate: Decompress,
}

/// The rest of the frame.
enum Frame {
    Data { stream: u32, last: bool, remaining: usize },
    Control { kind: u16, flags: u8, remaining: usize, body: Vec<u8> },
    Skipped { remaining: usize },
}

impl Spdy {
    pub(crate) fn new() -> Self {
        Self {
            to_cluster: Half::new(Direction::ToCluster),
            to_client: Half::new(Direction::ToClient),
            streams: HashMap::new(),
        }
    }

    /// Reads some bytes of one direction.
    ///
    /// # Errors
    /// They are not SPDY/3.1, go beyond what is read of it, or `take` refuses.
    pub(crate) fn push(&mut self, direction: Direction, bytes: &[u8], take: &mut Take<'_>) -> Result<(), Undecodable> {
        let half = match direction {
            Direction::ToCluster => &mut self.to_cluster,
            Direction::ToClient => &mut self.to_client,
        };
        half.push(bytes, &mut self.streams, take)
    }
}

impl Half {
    fn new(direction: Direction) -> Self {
        Self { direction, head: [0; 8], have: 0, frame: None, inflate: Decompress::new(true) }
    }

    fn push(
        &mut self,
        mut bytes: &[u8],
        streams: &mut HashMap<u32, Stream>,
        take: &mut Take<'_>,
    ) -> Result<(), Undecodable> {
        loop {
            if let Some(mut frame) = self.frame.take() {
                let (mine, rest) = bytes.split_at(frame.remaining().min(bytes.len()));
                bytes = rest;
                frame.read(mine, self.direction, streams, take)?;
                if frame.remaining() > 0 {
                    self.frame = Some(frame);
                    return Ok(());
                }
                self.complete(frame, streams, take)?;
            }
            let missing = self.head.len() - self.have;
            let (mine, rest) = bytes.split_at(missing.min(bytes.len()));
            self.head[self.have..self.have + mine.len()].copy_from_slice(mine);
            self.have += mine.len();
            bytes = rest;
            if self.have < self.head.len() {
                return Ok(());
            }
            self.have = 0;
            self.frame = Some(Frame::begin(self.head)?);
        }
    }

    /// A frame is there in full.
    fn complete(
        &mut self,
        frame: Frame,
        streams: &mut HashMap<u32, Stream>,
        take: &mut Take<'_>,
    ) -> Result<(), Undecodable> {
        match frame {
            Frame::Data { stream, last: true, .. } => end(stream, &[self.direction], streams, take),
            Frame::Control { kind: SYN_STREAM, flags, body, .. } => {
                // Stream, associated stream, priority and slot come first.
                let (id, headers) = (stream_id(&body)?, body.get(10..).ok_or(SHORT)?);
                let purpose = self.headers(headers).map(|headers| purpose_of(&headers))??;
                if self.direction == Direction::ToCluster {
                    open(id, purpose, streams, take)?;
                }
                if flags & FIN == 0 { Ok(()) } else { end(id, &[self.direction], streams, take) }
            }
            Frame::Control { kind: SYN_REPLY | HEADERS, flags, body, .. } => {
                let (id, headers) = (stream_id(&body)?, body.get(4..).ok_or(SHORT)?);
                self.headers(headers)?;
                if flags & FIN == 0 { Ok(()) } else { end(id, &[self.direction], streams, take) }
            }
            Frame::Control { kind: RST_STREAM, body, .. } => {
                end(stream_id(&body)?, &[Direction::ToCluster, Direction::ToClient], streams, take)
            }
            Frame::Data { .. } | Frame::Control { .. } | Frame::Skipped { .. } => Ok(()),
        }
    }

    /// Inflates a block of headers. Every one must be, in order, since all are one stream of zlib.
    fn headers(&mut self, mut compressed: &[u8]) -> Result<Vec<u8>, Undecodable> {
        const BROKEN: Undecodable = Undecodable("the headers of a SPDY stream do not inflate");
        let mut plain = Vec::with_capacity(1024);
        loop {
            if plain.len() == plain.capacity() {
                plain.reserve(plain.len());
            }
            let (before_in, before_out) = (self.inflate.total_in(), plain.len());
            let result = self.inflate.decompress_vec(compressed, &mut plain, FlushDecompress::Sync);
            let read = usize::try_from(self.inflate.total_in() - before_in).unwrap_or(usize::MAX);
            compressed = compressed.get(read..).unwrap_or_default();
            match result {
                Err(error) if error.needs_dictionary().is_some() => {
                    self.inflate.set_dictionary(dictionary::DICTIONARY).map_err(|_| BROKEN)?;
                    continue;
                }
                Err(_) | Ok(Status::StreamEnd) => return Err(BROKEN),
                Ok(Status::Ok | Status::BufError) => {}
            }
            if plain.len() > MAX_HEADERS {
                return Err(Undecodable("the headers of a SPDY stream are too long"));
            }
            let full = plain.len() == plain.capacity();
            let stuck = read == 0 && plain.len() == before_out;
            if compressed.is_empty() && !full {
                return Ok(plain);
            }
            if stuck && !full {
                return Err(BROKEN);
            }
        }
    }
}

const SHORT: Undecodable = Undecodable("a SPDY frame is too short");

impl Frame {
    fn begin(head: [u8; 8]) -> Result<Self, Undecodable> {
        let word = u32::from_be_bytes([head[0], head[1], head[2], head[3]]);
        let flags = head[4];
        let remaining = usize::from(head[5]) << 16 | usize::from(head[6]) << 8 | usize::from(head[7]);
        if word >> 31 == 0 {
            return Ok(Self::Data { stream: word, last: flags & FIN != 0, remaining });
        }
        if head[0] & 0x7f != 0 || head[1] != 3 {
            return Err(Undecodable("a SPDY frame is of another version"));
        }
        let kind = u16::from_be_bytes([head[2], head[3]]);
        match kind {
            SYN_STREAM | SYN_REPLY | RST_STREAM | HEADERS if remaining > MAX_HEADERS => {
                Err(Undecodable("the headers of a SPDY stream are too long"))
            }
            SYN_STREAM | SYN_REPLY | RST_STREAM | HEADERS => {
                Ok(Self::Control { kind, flags, remaining, body: Vec::with_capacity(remaining.min(1024)) })
            }
            _ => Ok(Self::Skipped { remaining }),
        }
    }

    fn remaining(&self) -> usize {
        match self {
            Self::Data { remaining, .. } | Self::Control { remaining, .. } | Self::Skipped { remaining } => *remaining,
        }
    }

    fn read(
        &mut self,
        bytes: &[u8],
        direction: Direction,
        streams: &HashMap<u32, Stream>,
        take: &mut Take<'_>,
    ) -> Result<(), Undecodable> {
        match self {
            Self::Skipped { remaining } => *remaining -= bytes.len(),
            Self::Control { remaining, body, .. } => {
                *remaining -= bytes.len();
                body.extend_from_slice(bytes);
            }
            Self::Data { stream, remaining, .. } => {
                *remaining -= bytes.len();
                if let (Some(known), false) = (streams.get(stream), bytes.is_empty()) {
                    take(Happening::Data(*stream, &known.purpose, direction, bytes))?;
                }
            }
        }
        Ok(())
    }
}

fn stream_id(body: &[u8]) -> Result<u32, Undecodable> {
    let id = body.first_chunk::<4>().ok_or(SHORT)?;
    Ok(u32::from_be_bytes(*id) & 0x7fff_ffff)
}

fn open(id: u32, purpose: Purpose, streams: &mut HashMap<u32, Stream>, take: &mut Take<'_>) -> Result<(), Undecodable> {
    if streams.len() >= MAX_STREAMS {
        return Err(Undecodable("too many SPDY streams are open"));
    }
    if streams.contains_key(&id) {
        return Err(Undecodable("a SPDY stream was opened twice"));
    }
    let stream = streams.entry(id).or_insert(Stream { purpose, ended: [false; 2] });
    take(Happening::Opened(id, &stream.purpose))
}

fn end(
    id: u32,
    directions: &[Direction],
    streams: &mut HashMap<u32, Stream>,
    take: &mut Take<'_>,
) -> Result<(), Undecodable> {
    let Some(stream) = streams.get_mut(&id) else { return Ok(()) };
    for direction in directions {
        stream.ended[usize::from(*direction == Direction::ToClient)] = true;
    }
    if stream.ended != [true; 2] {
        return Ok(());
    }
    let closed = streams.remove(&id);
    closed.map_or(Ok(()), |stream| take(Happening::Closed(id, &stream.purpose)))
}

/// Reads a block of headers: how many, then names and values, each after its length.
fn purpose_of(block: &[u8]) -> Result<Purpose, Undecodable> {
    let mut rest = block;
    let count = number(&mut rest)?;
    let (mut kind, mut port, mut request) = (String::new(), String::new(), String::new());
    for _ in 0..count {
        let (name, value) = (text(&mut rest)?, text(&mut rest)?);
        if name.eq_ignore_ascii_case(b"streamtype") {
            kind = shown(value);
        } else if name.eq_ignore_ascii_case(b"port") {
            port = shown(value);
        } else if name.eq_ignore_ascii_case(b"requestid") {
            request = shown(value);
        }
    }
    Ok(match kind.as_str() {
        "stdin" => Purpose::Stdin,
        "stdout" => Purpose::Stdout,
        "stderr" => Purpose::Stderr,
        "error" => Purpose::Error,
        "resize" => Purpose::Resize,
        "data" => Purpose::Data { port, request },
        _ => Purpose::Other,
    })
}

fn number(rest: &mut &[u8]) -> Result<u32, Undecodable> {
    let (number, after) = rest.split_first_chunk::<4>().ok_or(SHORT)?;
    *rest = after;
    Ok(u32::from_be_bytes(*number))
}

fn text<'a>(rest: &mut &'a [u8]) -> Result<&'a [u8], Undecodable> {
    let length = number(rest)? as usize;
    let (text, after) = rest.split_at_checked(length).ok_or(SHORT)?;
    *rest = after;
    Ok(text)
}

/// A value as far as it is worth keeping.
fn shown(value: &[u8]) -> String {
    String::from_utf8_lossy(&value[..value.len().min(64)]).into_owned()
}

#[cfg(test)]
pub(crate) mod tests {
    use flate2::{Compress, Compression, FlushCompress};

    use super::*;

    /// Writes what a client of Kubernetes would.
    pub(crate) struct Writer(Compress);

    impl Writer {
        pub(crate) fn new() -> Self {
            let mut compress = Compress::new(Compression::best(), true);
            compress.set_dictionary(dictionary::DICTIONARY).unwrap();
            Self(compress)
        }

        fn block(&mut self, headers: &[(&str, &str)]) -> Vec<u8> {
            let mut plain = u32::try_from(headers.len()).unwrap().to_be_bytes().to_vec();
            for text in headers.iter().flat_map(|(name, value)| [name, value]) {
                plain.extend(u32::try_from(text.len()).unwrap().to_be_bytes());
                plain.extend(text.bytes());
            }
            let mut out = Vec::with_capacity(4096);
            self.0.compress_vec(&plain, &mut out, FlushCompress::Sync).unwrap();
            out
        }

        fn control(kind: u16, flags: u8, body: &[u8]) -> Vec<u8> {
            let mut frame = vec![0x80, 3];
            frame.extend(kind.to_be_bytes());
            frame.extend((u32::try_from(body.len()).unwrap() | u32::from(flags) << 24).to_be_bytes());
            frame.extend(body);
            frame
        }

        pub(crate) fn open(&mut self, stream: u32, headers: &[(&str, &str)]) -> Vec<u8> {
            let body = [&stream.to_be_bytes()[..], &[0; 6], &self.block(headers)].concat();
            Self::control(SYN_STREAM, 0, &body)
        }

        pub(crate) fn reply(&mut self, stream: u32) -> Vec<u8> {
            let body = [&stream.to_be_bytes()[..], &self.block(&[])].concat();
            Self::control(SYN_REPLY, 0, &body)
        }

        pub(crate) fn data(stream: u32, last: bool, data: &[u8]) -> Vec<u8> {
            let length = u32::try_from(data.len()).unwrap() | u32::from(last) << 24;
            [&stream.to_be_bytes()[..], &length.to_be_bytes(), data].concat()
        }

        pub(crate) fn ping() -> Vec<u8> {
            Self::control(6, 0, &[0, 0, 0, 1])
        }

        fn reset(stream: u32) -> Vec<u8> {
            Self::control(RST_STREAM, 0, &[stream.to_be_bytes(), [0, 0, 0, 5]].concat())
        }
    }

    fn story(bytes: &[(Direction, Vec<u8>)], piece: usize) -> Result<Vec<String>, Undecodable> {
        let (mut spdy, mut seen) = (Spdy::new(), Vec::<String>::new());
        let mut content: HashMap<(u32, bool), Vec<u8>> = HashMap::new();
        for (direction, bytes) in bytes {
            for part in bytes.chunks(piece) {
                spdy.push(*direction, part, &mut |happening| {
                    match happening {
                        Happening::Opened(id, purpose) => seen.push(format!("{id} opened {purpose:?}")),
                        Happening::Closed(id, _) => seen.push(format!("{id} closed")),
                        Happening::Data(id, _, direction, data) => {
                            content.entry((id, direction == Direction::ToClient)).or_default().extend(data);
                        }
                    }
                    Ok(())
                })?;
            }
        }
        let mut content: Vec<_> = content.into_iter().collect();
        content.sort();
        seen.extend(
            content.into_iter().map(|((id, down), data)| format!("{id} {down} {}", String::from_utf8_lossy(&data))),
        );
        Ok(seen)
    }

    #[test]
    fn streams_say_what_they_are_and_end() {
        use Direction::{ToClient, ToCluster};
        let (mut client, mut cluster) = (Writer::new(), Writer::new());
        let bytes = [
            (ToCluster, client.open(1, &[("streamtype", "error")])),
            (ToClient, cluster.reply(1)),
            (ToCluster, client.open(3, &[("streamtype", "data"), ("port", "8080"), ("requestid", "0")])),
            (ToClient, cluster.reply(3)),
            (ToCluster, Writer::ping()),
            (ToCluster, Writer::data(3, false, b"GET /")),
            (ToClient, Writer::data(3, false, b"hello")),
            (ToClient, Writer::data(3, true, b"")),
            (ToCluster, Writer::data(3, true, b"!")),
            (ToCluster, Writer::reset(1)),
            (ToClient, Writer::data(77, false, b"of a stream that nobody opened")),
        ];
        let wanted = [
            "1 opened Error",
            r#"3 opened Data { port: "8080", request: "0" }"#,
            "3 closed",
            "1 closed",
            "3 false GET /!",
            "3 true hello",
        ];
        for piece in [1, 2, 7, 4096] {
            assert_eq!(story(&bytes, piece).unwrap(), wanted, "in pieces of {piece}");
        }
    }

    #[test]
    fn what_is_not_spdy_is_refused() {
        let refused = |bytes: Vec<u8>| story(&[(Direction::ToCluster, bytes)], 99).is_err();
        assert!(refused(b"\x80\x02\0\x01\0\0\0\x0a0123456789".to_vec()), "version 2");
        assert!(refused(b"\x80\x03\0\x01\0\0\0\x0c\0\0\0\x01\0\0\0\0\0\0xx".to_vec()), "not compressed");
        assert!(refused(b"\x80\x03\0\x01\0\xff\xff\xff".to_vec()), "headers without end");
        let mut twice = Writer::new();
        let open = [twice.open(1, &[("streamtype", "stdin")]), twice.open(1, &[("streamtype", "stdin")])].concat();
        assert!(refused(open));
        let mut many = Writer::new();
        let open: Vec<u8> = (0..5000_u32).flat_map(|n| many.open(2 * n + 1, &[])).collect();
        assert!(refused(open));
        let mut bomb = Writer::new();
        let long = "a".repeat(1 << 20);
        let mut out = Vec::with_capacity(1 << 20);
        bomb.0.compress_vec(long.as_bytes(), &mut out, FlushCompress::Sync).unwrap();
        assert!(out.len() < MAX_HEADERS, "the bomb is small: {}", out.len());
        assert!(refused(Writer::control(SYN_STREAM, 0, &[&[0, 0, 0, 1, 0, 0, 0, 0, 0, 0], &out[..]].concat())));
    }
}
