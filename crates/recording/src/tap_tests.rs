//! The tap on sessions as kubectl and the API server have them.

use proptest::prelude::*;

use super::*;
use crate::cast::{Code, Encoder, Line, parse};
use crate::spdy::tests::Writer;

type Bytes = Vec<(Direction, Vec<u8>)>;

const UP: Direction = Direction::ToCluster;
const DOWN: Direction = Direction::ToClient;

/// A message in one frame.
fn frame(direction: Direction, opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0x80 | opcode];
    let masked = if direction == UP { 0x80 } else { 0 };
    match payload.len() {
        short @ ..=125 => bytes.push(masked | u8::try_from(short).unwrap()),
        long => {
            bytes.push(masked | 126);
            bytes.extend(u16::try_from(long).unwrap().to_be_bytes());
        }
    }
    if direction == UP {
        let mask = [0x37, 0xfa, 0x21, 0x3d];
        bytes.extend(mask);
        bytes.extend(payload.iter().enumerate().map(|(at, byte)| byte ^ mask[at % 4]));
    } else {
        bytes.extend(payload);
    }
    bytes
}

fn message(direction: Direction, channel: u8, data: &[u8]) -> (Direction, Vec<u8>) {
    (direction, frame(direction, 2, &[&[channel], data].concat()))
}

const STATUS: &[u8] = br#"{"metadata":{},"status":"Failure","message":"command terminated with non-zero exit code","reason":"NonZeroExitCode","details":{"causes":[{"reason":"ExitCode","message":"9"}]}}"#;

fn shell_over_websocket() -> Bytes {
    vec![
        message(UP, 4, b"{\"Width\":97,\"Height\":31}\n"),
        message(DOWN, 1, b""),
        message(DOWN, 1, "/ # \u{1b}[6n ü".as_bytes()),
        message(UP, 0, b"ls\r"),
        (DOWN, frame(DOWN, 9, b"ping")),
        message(DOWN, 1, b"ls\r\nbin  etc\r\n"),
        message(DOWN, 2, b"warning\n"),
        message(UP, 4, b"{\"Width\":132,\"Height\":44}\n"),
        message(UP, 255, &[0]),
        message(DOWN, 3, STATUS),
        (DOWN, frame(DOWN, 8, &[3, 232])),
    ]
}

fn shell_over_spdy() -> Bytes {
    let (mut client, mut cluster) = (Writer::new(), Writer::new());
    let mut bytes = Bytes::new();
    for (stream, kind) in [(1, "error"), (3, "stdin"), (5, "stdout"), (7, "resize"), (9, "stderr")] {
        bytes.push((UP, client.open(stream, &[("streamtype", kind)])));
        bytes.push((DOWN, cluster.reply(stream)));
    }
    bytes.extend([
        (UP, Writer::data(7, false, b"{\"Width\":97,\"Height\":31}\n")),
        (DOWN, Writer::data(5, false, "/ # \u{1b}[6n ü".as_bytes())),
        (UP, Writer::data(3, false, b"ls\r")),
        (DOWN, Writer::ping()),
        (DOWN, Writer::data(5, true, b"ls\r\nbin  etc\r\n")),
        (DOWN, Writer::data(9, true, b"warning\n")),
        (UP, Writer::data(7, false, b"{\"Width\":132,\"Height\":44}\n")),
        (DOWN, Writer::data(1, true, STATUS)),
    ]);
    bytes
}

fn forward() -> Bytes {
    let (mut client, mut cluster) = (Writer::new(), Writer::new());
    vec![
        (UP, client.open(1, &[("streamtype", "error"), ("port", "8080"), ("requestid", "0")])),
        (UP, client.open(3, &[("streamtype", "data"), ("port", "8080"), ("requestid", "0")])),
        (DOWN, [cluster.reply(1), cluster.reply(3)].concat()),
        (UP, Writer::data(3, false, b"GET / HTTP/1.0\r\nAuthorization: secret\r\n\r\n")),
        (DOWN, Writer::data(3, true, b"HTTP/1.0 200 OK\r\n\r\nhello")),
        (UP, Writer::data(3, true, b"")),
        (UP, client.open(5, &[("streamtype", "data"), ("port", "8080"), ("requestid", "1")])),
        (UP, Writer::data(5, false, b"half")),
    ]
}

fn in_websocket(bytes: Bytes) -> Bytes {
    bytes.into_iter().map(|(direction, bytes)| (direction, frame(direction, 2, &bytes))).collect()
}

/// The recording of a session whose bytes come in pieces of the given sizes; neighbours of one kind put together.
fn recorded(session: Session, protocol: Protocol, input: bool, bytes: &Bytes, cuts: &[usize]) -> Vec<(Code, String)> {
    let (mut tap, mut encoder, mut lines) = (Tap::new(session, protocol, input), Encoder::default(), String::new());
    let (mut events, mut cuts) = (Vec::new(), cuts.iter().cycle());
    for (direction, mut rest) in bytes.iter().map(|(direction, bytes)| (*direction, &bytes[..])) {
        while !rest.is_empty() {
            let (piece, after) = rest.split_at((*cuts.next().unwrap()).min(rest.len()));
            tap.push(direction, piece, &mut events).unwrap();
            rest = after;
        }
    }
    tap.finish(&mut events);
    events.iter().for_each(|event| encoder.encode(std::time::Duration::ZERO, event, &mut lines));
    let mut seen: Vec<(Code, String)> = Vec::new();
    for Line { code, data, .. } in lines.lines().map(|line| parse(line).unwrap()) {
        match seen.last_mut() {
            Some((last, so_far)) if Some(*last) == code && matches!(code, Some(Code::Output | Code::Input)) => {
                so_far.push_str(&data)
            }
            _ => seen.push((code.unwrap(), data)),
        }
    }
    seen
}

const WHOLE: &[usize] = &[usize::MAX];
const BINARY: Protocol = Protocol::Channels { base64: false };

#[test]
fn a_shell_is_recorded_as_it_was_shown() {
    let seen = recorded(Session::Terminal, BINARY, false, &shell_over_websocket(), WHOLE);
    let wanted = [
        (Code::Resize, "97x31"),
        (Code::Output, "/ # \u{1b}[6n üls\r\nbin  etc\r\nwarning\n"),
        (Code::Resize, "132x44"),
        (Code::Marker, "exit 9"),
    ];
    assert_eq!(seen, wanted.map(|(code, text)| (code, text.to_owned())));
    assert_eq!(recorded(Session::Terminal, Protocol::Spdy, false, &shell_over_spdy(), WHOLE), seen);
}

#[test]
fn what_is_typed_is_kept_only_where_asked_for() {
    for (protocol, bytes) in [(BINARY, shell_over_websocket()), (Protocol::Spdy, shell_over_spdy())] {
        let typed = |input| {
            recorded(Session::Terminal, protocol, input, &bytes, WHOLE).iter().any(|(code, _)| *code == Code::Input)
        };
        assert!(typed(true));
        assert!(!typed(false));
    }
}

#[test]
fn of_a_port_forward_only_counts_are_kept() {
    let wanted = [
        "connection 0 to port 8080 opened",
        "connection 0 to port 8080 closed: 41 bytes sent, 24 bytes received",
        "connection 1 to port 8080 opened",
        "connection 1 to port 8080 closed: 4 bytes sent, 0 bytes received",
    ];
    let wanted = wanted.map(|note| (Code::Marker, note.to_owned()));
    assert_eq!(recorded(Session::PortForward, Protocol::Spdy, true, &forward(), WHOLE), wanted);
    assert_eq!(
        recorded(Session::PortForward, Protocol::SpdyInWebSocket, true, &in_websocket(forward()), WHOLE),
        wanted
    );
    let channels = vec![
        message(DOWN, 0, &8080_u16.to_le_bytes()),
        message(DOWN, 1, &8080_u16.to_le_bytes()),
        message(UP, 0, b"secret"),
        message(DOWN, 0, b"hello"),
    ];
    assert_eq!(
        recorded(Session::PortForward, BINARY, true, &channels, WHOLE),
        [
            (Code::Marker, "connection 0 to port 8080 opened".to_owned()),
            (Code::Marker, "connection 0 to port 8080 closed: 6 bytes sent, 5 bytes received".to_owned()),
        ]
    );
}

#[test]
fn sizes_and_statuses_that_are_none_do_no_harm() {
    let mut bytes = vec![
        message(UP, 4, b"{\"Width\":-1}"),
        message(DOWN, 3, b"command terminated"),
        message(UP, 4, &[b'{'; 20_000]),
    ];
    bytes.push(message(UP, 4, b"{\"Width\":1,\"Height\":1}"));
    assert_eq!(recorded(Session::Terminal, BINARY, true, &bytes, WHOLE), []);
}

proptest! {
    #[test]
    fn pieces_make_no_difference(cuts in prop::collection::vec(1..40_usize, 1..20)) {
        let cases = [
            (Session::Terminal, BINARY, shell_over_websocket()),
            (Session::Terminal, Protocol::Spdy, shell_over_spdy()),
            (Session::PortForward, Protocol::Spdy, forward()),
            (Session::PortForward, Protocol::SpdyInWebSocket, in_websocket(forward())),
        ];
        for (session, protocol, bytes) in cases {
            let whole = recorded(session, protocol, true, &bytes, WHOLE);
            prop_assert_eq!(recorded(session, protocol, true, &bytes, &cuts), whole);
        }
    }

    #[test]
    fn any_bytes_are_survived(pieces in prop::collection::vec((any::<bool>(), prop::collection::vec(any::<u8>(), 0..80)), 0..20)) {
        for protocol in [BINARY, Protocol::Channels { base64: true }, Protocol::Spdy, Protocol::SpdyInWebSocket] {
            let (mut tap, mut events) = (Tap::new(Session::Terminal, protocol, true), Vec::new());
            let _ = pieces.iter().try_for_each(|(up, bytes)| tap.push(if *up { UP } else { DOWN }, bytes, &mut events));
            tap.finish(&mut events);
        }
    }
}
