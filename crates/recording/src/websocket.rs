//! WebSocket frames of one direction (RFC 6455 section 5), read piece by piece. Nothing is gathered: parts of a message
//! are passed on as they come.
//!
//! Must not know: what the messages mean.

use crate::Undecodable;

/// Bytes that are unmasked at a time.
const SCRATCH: usize = 4096;

/// A part of a message.
pub(crate) enum Piece<'a> {
    /// A message begins.
    Begin,
    /// Some of its content, unmasked.
    Data(&'a [u8]),
    /// It is complete.
    End,
}

/// Reads frames.
#[derive(Default)]
pub(crate) struct Frames {
    /// Head of the frame, as far as it has come: 2 bytes, up to 8 of length, up to 4 of mask.
    head: [u8; 14],
    have: usize,
    payload: Option<Payload>,
    /// A message has begun and not ended.
    within: bool,
}

/// The rest of the frame.
struct Payload {
    remaining: u64,
    mask: Option<[u8; 4]>,
    /// Position in the mask.
    at: usize,
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Ping, pong, close: between the frames of a message.
    Control,
    /// Of a message; the last one or not.
    Data { last: bool },
}

impl Frames {
    /// Reads some bytes.
    ///
    /// # Errors
    /// They are not frames, or `take` refuses.
    pub(crate) fn push(
        &mut self,
        mut bytes: &[u8],
        take: &mut impl FnMut(Piece<'_>) -> Result<(), Undecodable>,
    ) -> Result<(), Undecodable> {
        loop {
            if let Some(payload) = &mut self.payload {
                bytes = payload.read(bytes, take)?;
                if payload.remaining > 0 {
                    return Ok(());
                }
                let kind = payload.kind;
                self.payload = None;
                if kind == (Kind::Data { last: true }) {
                    self.within = false;
                    take(Piece::End)?;
                }
            }
            let Some((byte, rest)) = bytes.split_first() else { return Ok(()) };
            bytes = rest;
            self.head[self.have] = *byte;
            self.have += 1;
            if self.have == head_length(self.head[1], self.have) {
                self.begin(take)?;
            }
        }
    }

    /// The head is complete.
    fn begin(&mut self, take: &mut impl FnMut(Piece<'_>) -> Result<(), Undecodable>) -> Result<(), Undecodable> {
        let head = &self.head;
        let (last, opcode) = (head[0] & 0x80 != 0, head[0] & 0x0f);
        if head[0] & 0x70 != 0 {
            return Err(Undecodable("a WebSocket frame has a reserved bit set"));
        }
        let (length, mask_at) = match head[1] & 0x7f {
            126 => (u64::from(u16::from_be_bytes([head[2], head[3]])), 4),
            127 => (u64::from_be_bytes([head[2], head[3], head[4], head[5], head[6], head[7], head[8], head[9]]), 10),
            short => (u64::from(short), 2),
        };
        let mask =
            (head[1] & 0x80 != 0).then(|| [head[mask_at], head[mask_at + 1], head[mask_at + 2], head[mask_at + 3]]);
        let kind = match opcode {
            0 if self.within => Kind::Data { last },
            1 | 2 if !self.within => {
                self.within = true;
                take(Piece::Begin)?;
                Kind::Data { last }
            }
            8..=10 if last && length <= 125 => Kind::Control,
            _ => return Err(Undecodable("WebSocket frames come in an order that there is not")),
        };
        if length > u64::MAX / 2 {
            return Err(Undecodable("a WebSocket frame has a length that there is not"));
        }
        self.payload = Some(Payload { remaining: length, mask, at: 0, kind });
        self.have = 0;
        Ok(())
    }
}

/// How long a head is whose second byte is `second`; more than `have` until that byte is there.
fn head_length(second: u8, have: usize) -> usize {
    if have < 2 {
        return 2;
    }
    let length = match second & 0x7f {
        126 => 2,
        127 => 8,
        _ => 0,
    };
    2 + length + if second & 0x80 != 0 { 4 } else { 0 }
}

impl Payload {
    /// Takes what belongs to this frame and returns the rest.
    fn read<'a>(
        &mut self,
        bytes: &'a [u8],
        take: &mut impl FnMut(Piece<'_>) -> Result<(), Undecodable>,
    ) -> Result<&'a [u8], Undecodable> {
        let count = usize::try_from(self.remaining).unwrap_or(usize::MAX).min(bytes.len());
        let (mine, rest) = bytes.split_at(count);
        self.remaining -= count as u64;
        if self.kind == Kind::Control || mine.is_empty() {
            return Ok(rest);
        }
        let Some(mask) = self.mask else {
            take(Piece::Data(mine))?;
            return Ok(rest);
        };
        let mut scratch = [0; SCRATCH];
        for part in mine.chunks(SCRATCH) {
            for (to, from) in scratch.iter_mut().zip(part) {
                *to = from ^ mask[self.at % 4];
                self.at += 1;
            }
            take(Piece::Data(&scratch[..part.len()]))?;
        }
        self.at %= 4;
        Ok(rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Messages and the error, if any.
    fn read(parts: &[&[u8]]) -> (Vec<Vec<u8>>, Result<(), Undecodable>) {
        let (mut frames, mut messages, mut open) = (Frames::default(), Vec::new(), Vec::new());
        let mut take = |piece: Piece<'_>| {
            match piece {
                Piece::Begin => open.clear(),
                Piece::Data(data) => open.extend_from_slice(data),
                Piece::End => messages.push(std::mem::take(&mut open)),
            }
            Ok(())
        };
        let result = parts.iter().try_for_each(|part| frames.push(part, &mut take));
        (messages, result)
    }

    #[test]
    fn the_examples_of_the_rfc() {
        // RFC 6455 section 5.7.
        let cases: [(&[u8], &[&[u8]]); 5] = [
            (b"\x81\x05Hello", &[b"Hello"]),
            (b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58", &[b"Hello"]),
            (b"\x01\x03Hel\x80\x02lo", &[b"Hello"]),
            (b"\x89\x05Hello\x8a\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58", &[]),
            (b"\x01\x03Hel\x89\x01x\x80\x02lo\x82\x00", &[b"Hello", b""]),
        ];
        for (bytes, wanted) in cases {
            assert_eq!(read(&[bytes]), (wanted.iter().map(|one| one.to_vec()).collect(), Ok(())), "{bytes:x?}");
            let single: Vec<&[u8]> = bytes.chunks(1).collect();
            assert_eq!(read(&single).0, read(&[bytes]).0, "byte by byte");
        }
        let long = [b"\x82\x7f\0\0\0\0\0\x01\0\0".as_slice(), &[7; 65536]].concat();
        assert_eq!(read(&[&long]).0, [vec![7; 65536]]);
        let middle = [b"\x82\x7e\x01\0".as_slice(), &[7; 256]].concat();
        assert_eq!(read(&[&middle]).0, [vec![7; 256]]);
    }

    #[test]
    fn what_is_no_frame_is_refused() {
        for bytes in
            [b"\xc1\x00".as_slice(), b"\x80\x00", b"\x01\x00\x01\x00", b"\x09\x00", b"\x89\x7e\0\x7e", b"\x83\x00"]
        {
            assert!(read(&[bytes]).1.is_err(), "{bytes:x?}");
        }
        assert!(read(&[b"\x82\x7f\xff\0\0\0\0\0\0\0"]).1.is_err());
    }
}
