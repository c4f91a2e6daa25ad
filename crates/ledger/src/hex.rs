//! SHA-256 values as lower-case hex, the form in which they are stored.
//!
//! Must not know: what was hashed.

/// Length of a SHA-256 value in bytes.
pub const LEN: usize = 32;

/// Lower-case hex.
#[must_use]
pub fn encode(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |nibble: u8| char::from(DIGITS[usize::from(nibble & 0xf)]);
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(*byte)]).collect()
}

/// The inverse of [`encode`]; `None` for anything that it cannot have written.
#[must_use]
pub fn decode(text: &str) -> Option<[u8; LEN]> {
    let nibble = |c: u8| match c {
        b'0'..=b'9' => Some(c - b'0'),
        b'a'..=b'f' => Some(c - b'a' + 10),
        _ => None,
    };
    let mut bytes = [0; LEN];
    if text.len() != 2 * LEN {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        *byte = nibble(pair[0])? << 4 | nibble(pair[1])?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn round_trip(bytes: [u8; super::LEN]) {
            let text = super::encode(&bytes);
            prop_assert_eq!(text.len(), 64);
            prop_assert_eq!(super::decode(&text), Some(bytes));
        }
    }

    #[test]
    fn refuses_what_it_did_not_write() {
        assert_eq!(super::decode(""), None);
        assert_eq!(super::decode(&"A".repeat(64)), None);
        assert_eq!(super::decode(&"a".repeat(63)), None);
        assert_eq!(super::decode(&"ä".repeat(32)), None);
    }
}
