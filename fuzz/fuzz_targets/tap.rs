//! Bytes of a session in any protocol, in any pieces: never a panic, bounded memory, and pieces make no difference.
#![no_main]

use flotilla_recording::cast::{Encoder, parse};
use flotilla_recording::{Direction, Event, Protocol, Session, Tap};
use libfuzzer_sys::fuzz_target;

/// What was shown and typed, and whether all was read.
fn seen(session: Session, protocol: Protocol, data: &[u8], piece: usize) -> (Vec<u8>, bool) {
    let (mut tap, mut events) = (Tap::new(session, protocol, true), Vec::new());
    // The first byte of each part says which way it goes and how long it is.
    let mut rest = data;
    let mut whole = true;
    while let Some((head, after)) = rest.split_first() {
        let direction = if head & 1 == 0 { Direction::ToCluster } else { Direction::ToClient };
        let (part, after) = after.split_at(usize::from(head >> 1).min(after.len()));
        rest = after;
        whole &= part.chunks(piece).all(|piece| tap.push(direction, piece, &mut events).is_ok());
        if !whole {
            break;
        }
    }
    tap.finish(&mut events);
    let (mut encoder, mut lines) = (Encoder::default(), String::new());
    for event in &events {
        encoder.encode(std::time::Duration::ZERO, event, &mut lines);
    }
    encoder.finish(std::time::Duration::ZERO, &mut lines);
    assert!(lines.lines().all(|line| parse(line).is_ok()), "{lines}");
    let content = events.into_iter().filter_map(|event| match event {
        Event::Output(_, bytes) | Event::Input(bytes) => Some(bytes),
        _ => None,
    });
    (content.flatten().collect(), whole)
}

fuzz_target!(|data: &[u8]| {
    let Some((choice, data)) = data.split_first() else { return };
    let protocol = match choice % 4 {
        0 => Protocol::Channels { base64: false },
        1 => Protocol::Channels { base64: true },
        2 => Protocol::Spdy,
        _ => Protocol::SpdyInWebSocket,
    };
    let session = if choice & 4 == 0 { Session::Terminal } else { Session::PortForward };
    let whole = seen(session, protocol, data, usize::MAX);
    assert_eq!(seen(session, protocol, data, 1).1, whole.1);
    if whole.1 {
        assert_eq!(seen(session, protocol, data, 3).0, whole.0);
    }
});
