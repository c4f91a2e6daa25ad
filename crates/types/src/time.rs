//! Time as the store and the wire see it.
//!
//! Must not know: time zones. Everything is UTC.

pub use jiff::Timestamp;

/// Milliseconds since the Unix epoch, the form in which times are stored.
#[must_use]
pub fn now_ms() -> i64 {
    Timestamp::now().as_millisecond()
}

/// A stored time as a timestamp (RFC 3339 on the wire). A value outside jiff's range becomes the epoch.
#[must_use]
pub fn from_ms(ms: i64) -> Timestamp {
    Timestamp::from_millisecond(ms).unwrap_or_default()
}
