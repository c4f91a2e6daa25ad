//! Points in time as people type them: `90s`, `15m`, `1h30m`, `7d`, `2w` ago, or an RFC 3339 time.
//!
//! Must not know: what the time is for.

use jiff::{SignedDuration, Timestamp};

const UNITS: [(char, i64); 5] = [('s', 1), ('m', 60), ('h', 3_600), ('d', 86_400), ('w', 604_800)];

/// A length of time: one or more of a number and a unit. A day is 24 hours.
///
/// # Errors
/// Says what forms there are.
pub(crate) fn parse_length(text: &str) -> Result<SignedDuration, String> {
    let wrong = || format!("{text:?} is no length of time: use a number with s, m, h, d or w, for example 1h30m");
    let mut seconds: i64 = 0;
    let mut number = String::new();
    for c in text.chars() {
        if c.is_ascii_digit() {
            number.push(c);
            continue;
        }
        let (_, unit) = UNITS.iter().find(|(name, _)| *name == c).ok_or_else(wrong)?;
        let count: i64 = number.parse().map_err(|_| wrong())?;
        seconds = count.checked_mul(*unit).and_then(|more| seconds.checked_add(more)).ok_or_else(wrong)?;
        number.clear();
    }
    if text.is_empty() || !number.is_empty() { Err(wrong()) } else { Ok(SignedDuration::from_secs(seconds)) }
}

/// A point in time: RFC 3339, or a length of time before `now`.
///
/// # Errors
/// Says what forms there are.
pub(crate) fn parse_point(text: &str, now: Timestamp) -> Result<Timestamp, String> {
    if let Ok(time) = text.parse::<Timestamp>() {
        return Ok(time);
    }
    let length = parse_length(text)
        .map_err(|_| format!("{text:?} is no time: use for example 1h (an hour ago), 7d or 2026-01-31T12:00:00Z"))?;
    now.checked_sub(length).map_err(|_| format!("{text:?} is too long ago"))
}

/// [`parse_point`] as clap wants it.
///
/// # Errors
/// As [`parse_point`].
pub(crate) fn parse_point_now(text: &str) -> Result<Timestamp, String> {
    parse_point(text, Timestamp::now())
}

/// Milliseconds as a person reads them.
pub(crate) fn show_ms(ms: u64) -> String {
    match ms {
        0..1_000 => format!("{ms}ms"),
        1_000..60_000 => format!("{}.{}s", ms / 1_000, ms % 1_000 / 100),
        60_000..3_600_000 => format!("{}m{}s", ms / 60_000, ms % 60_000 / 1_000),
        _ => format!("{}h{}m", ms / 3_600_000, ms % 3_600_000 / 60_000),
    }
}

/// A time to the second, UTC.
pub(crate) fn show_time(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths() {
        for (text, seconds) in
            [("0s", 0), ("90s", 90), ("15m", 900), ("1h", 3_600), ("1h30m", 5_400), ("7d", 604_800), ("2w", 1_209_600)]
        {
            assert_eq!(parse_length(text), Ok(SignedDuration::from_secs(seconds)), "{text}");
        }
        for text in ["", "1", "h", "1x", "-1h", "1 h", "1h30", "99999999999999999999s", "9223372036854775807w"] {
            assert!(parse_length(text).is_err(), "{text}");
        }
    }

    #[test]
    fn points() {
        let now: Timestamp = "2026-01-02T00:00:00Z".parse().unwrap();
        let point = |text| parse_point(text, now).map(show_time);
        assert_eq!(point("1h").as_deref(), Ok("2026-01-01T23:00:00Z"));
        assert_eq!(point("2025-12-24T18:00:00+01:00").as_deref(), Ok("2025-12-24T17:00:00Z"));
        assert!(point("yesterday").unwrap_err().contains("1h (an hour ago)"));
        assert!(point("999999999w").is_err());
    }

    #[test]
    fn milliseconds() {
        let shown: Vec<_> = [7, 1_540, 61_000, 3_720_000].into_iter().map(show_ms).collect();
        assert_eq!(shown, ["7ms", "1.5s", "1m1s", "1h2m"]);
    }
}
