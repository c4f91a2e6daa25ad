//! The channels of `channel.k8s.io`: the first byte of each WebSocket message says to which stream the rest belongs
//! (`k8s.io/apimachinery/pkg/util/httpstream/wsstream/conn.go`). In the base64 variants it is a digit, and the rest is
//! base64.
//!
//! Must not know: which channel carries what.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::Undecodable;
use crate::websocket::{Frames, Piece};

/// Messages of one direction.
pub(crate) struct Channels {
    frames: Frames,
    message: Message,
}

/// What is known of the message that is being read.
struct Message {
    base64: bool,
    channel: Option<u8>,
    /// Characters of base64 that do not make a group of four yet.
    rest: Vec<u8>,
}

impl Channels {
    pub(crate) fn new(base64: bool) -> Self {
        Self { frames: Frames::default(), message: Message { base64, channel: None, rest: Vec::new() } }
    }

    /// Reads some bytes; `take` gets channel and content.
    ///
    /// # Errors
    /// They are no such messages, or `take` refuses.
    pub(crate) fn push(
        &mut self,
        bytes: &[u8],
        take: &mut impl FnMut(u8, &[u8]) -> Result<(), Undecodable>,
    ) -> Result<(), Undecodable> {
        let message = &mut self.message;
        self.frames.push(bytes, &mut |piece| match piece {
            Piece::Begin => {
                message.channel = None;
                message.rest.clear();
                Ok(())
            }
            Piece::Data(data) => message.read(data, take),
            Piece::End if message.rest.is_empty() => Ok(()),
            Piece::End => Err(Undecodable("a message breaks off within its base64")),
        })
    }
}

impl Message {
    fn read(
        &mut self,
        data: &[u8],
        take: &mut impl FnMut(u8, &[u8]) -> Result<(), Undecodable>,
    ) -> Result<(), Undecodable> {
        let (channel, content) = match (self.channel, data.split_first()) {
            (Some(channel), _) => (channel, data),
            (None, Some((first, rest))) => (self.name(*first)?, rest),
            (None, None) => return Ok(()),
        };
        self.channel = Some(channel);
        if content.is_empty() {
            return Ok(());
        }
        if !self.base64 {
            return take(channel, content);
        }
        self.rest.extend_from_slice(content);
        let whole = self.rest.len() / 4 * 4;
        let mut plain = Vec::with_capacity(whole / 4 * 3);
        // Group by group: padding ends a group and not the message, however the message is cut.
        for group in self.rest[..whole].chunks(4) {
            STANDARD.decode_vec(group, &mut plain).map_err(|_| Undecodable("a message is not base64"))?;
        }
        self.rest.drain(..whole);
        take(channel, &plain)
    }

    fn name(&self, first: u8) -> Result<u8, Undecodable> {
        match first {
            b'0'..=b'9' if self.base64 => Ok(first - b'0'),
            _ if self.base64 => Err(Undecodable("a message names no channel")),
            binary => Ok(binary),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(base64: bool, bytes: &[u8], piece: usize) -> Result<Vec<(u8, Vec<u8>)>, Undecodable> {
        let (mut channels, mut seen) = (Channels::new(base64), Vec::<(u8, Vec<u8>)>::new());
        for part in bytes.chunks(piece) {
            channels.push(part, &mut |channel, data| {
                match seen.last_mut() {
                    Some((last, so_far)) if *last == channel => so_far.extend_from_slice(data),
                    _ => seen.push((channel, data.to_vec())),
                }
                Ok(())
            })?;
        }
        Ok(seen)
    }

    #[test]
    fn binary_and_base64() {
        for piece in [1, 2, 3, 100] {
            assert_eq!(
                read(false, b"\x82\x03\x01hi\x82\x01\x00\x82\x02\x02!", piece).unwrap(),
                [(1, b"hi".to_vec()), (2, b"!".to_vec())]
            );
            assert_eq!(
                read(true, b"\x81\x091aGVsbG8=\x81\x052IQ==", piece).unwrap(),
                [(1, b"hello".to_vec()), (2, b"!".to_vec())]
            );
        }
        assert!(read(true, b"\x81\x041aGV", 9).is_err());
        assert!(read(true, b"\x81\x05x1234", 9).is_err());
        assert!(read(true, b"\x81\x051****", 9).is_err());
    }
}
