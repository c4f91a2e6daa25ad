//! Recordings of anybody's making are read or refused; what is written from any output is read again.
#![no_main]

use flotilla_recording::cast::{Code, Encoder, Reader};
use flotilla_recording::text::Lines;
use flotilla_recording::{Event, Output};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(reader) = Reader::new(data) {
        let mut lines = Lines::default();
        for line in reader.map_while(Result::ok).filter(|line| line.code == Some(Code::Output)) {
            lines.push(&line.data, |line| assert!(line.chars().count() <= 4096));
        }
    }
    let (mut encoder, mut text) = (Encoder::default(), String::from("{\"version\":2,\"width\":80,\"height\":24}\n"));
    for piece in data.chunks(7) {
        encoder.encode(std::time::Duration::from_millis(1), &Event::Output(Output::Standard, piece.to_vec()), &mut text);
    }
    encoder.finish(std::time::Duration::from_millis(2), &mut text);
    let lines: Result<Vec<_>, _> = Reader::new(text.as_bytes()).expect("our own header").collect();
    let shown: String = lines.expect("our own lines").into_iter().map(|line| line.data).collect();
    assert_eq!(shown, String::from_utf8_lossy(data));
});
