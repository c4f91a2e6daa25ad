//! The query of a list or watch, split as Go's `net/url` splits it and converted as apimachinery converts it to
//! `ListOptions`.
//!
//! Must not know: paths and methods.

use super::selector;

/// What of `ListOptions` bears on verb and name.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct ListOptions {
    pub(super) watch: bool,
    /// The one name that the field selector allows, where it could be a path segment.
    pub(super) name: Option<Vec<u8>>,
}

impl ListOptions {
    /// Reads a raw query. Never fails: where a parameter does not convert, the API server goes on with a list
    /// without a name, or a watch if `watch` is there and neither `false` nor `0`.
    pub(super) fn read(query: &str) -> Self {
        if query.is_empty() {
            return Self::default();
        }
        let values = Values::of(query);
        values.convert().unwrap_or_else(|| Self {
            watch: values.watch.as_deref().is_some_and(|value| value != b"0" && !value.eq_ignore_ascii_case(b"false")),
            name: None,
        })
    }
}

/// The first value of each parameter that can matter; the API server ignores later ones.
#[derive(Default)]
struct Values {
    watch: Option<Vec<u8>>,
    field_selector: Option<Vec<u8>>,
    label_selector: Option<Vec<u8>>,
    limit: Option<Vec<u8>>,
    timeout_seconds: Option<Vec<u8>>,
}

impl Values {
    fn of(query: &str) -> Self {
        let mut values = Self::default();
        for (key, value) in pairs(query) {
            let slot = match key.as_slice() {
                b"watch" => &mut values.watch,
                b"fieldSelector" => &mut values.field_selector,
                b"labelSelector" => &mut values.label_selector,
                b"limit" => &mut values.limit,
                b"timeoutSeconds" => &mut values.timeout_seconds,
                _ => continue,
            };
            slot.get_or_insert(value);
        }
        values
    }

    /// `None` where the conversion fails.
    fn convert(&self) -> Option<ListOptions> {
        let integers = [&self.limit, &self.timeout_seconds].into_iter().flatten().all(|value| is_int64(value));
        let labels = self.label_selector.as_deref().is_none_or(selector::is_label_selector);
        if !integers || !labels {
            return None;
        }
        let name = match &self.field_selector {
            Some(selector) => selector::exact_match(selector, b"metadata.name").ok()?,
            None => None,
        };
        Some(ListOptions {
            watch: self.watch.as_deref().is_some_and(is_true),
            name: name.filter(|name| is_path_segment_name(name)),
        })
    }
}

/// Everything is true but `0` and `false`, in any case of letters (Unicode's simple folding lets U+017F pass for `s`).
fn is_true(value: &[u8]) -> bool {
    let folded = String::from_utf8_lossy(value).replace('\u{17f}', "s");
    value != b"0" && !folded.eq_ignore_ascii_case("false")
}

/// `strconv.ParseInt(value, 10, 64)`, which takes the same texts as Rust's parser.
fn is_int64(value: &[u8]) -> bool {
    std::str::from_utf8(value).is_ok_and(|text| text.parse::<i64>().is_ok())
}

/// `IsValidPathSegmentName` of apimachinery.
fn is_path_segment_name(name: &[u8]) -> bool {
    !matches!(name, b"." | b"..") && !name.iter().any(|b| matches!(b, b'/' | b'%'))
}

/// Pairs of a query as `url.ParseQuery` reads them: split at `&`; a pair with `;` or with a bad escape is dropped, an
/// empty one too.
pub(crate) fn pairs(query: &str) -> impl Iterator<Item = (Vec<u8>, Vec<u8>)> {
    query.split('&').filter(|pair| !pair.is_empty() && !pair.contains(';')).filter_map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        Some((unescape(key)?, unescape(value)?))
    })
}

fn unescape(text: &str) -> Option<Vec<u8>> {
    let spaced: Vec<u8> = text.bytes().map(|b| if b == b'+' { b' ' } else { b }).collect();
    percent_decode(&spaced)
}

/// Percent-decodes; `None` where a `%` is not followed by two hexadecimal digits.
pub(super) fn percent_decode(raw: &[u8]) -> Option<Vec<u8>> {
    let mut decoded = Vec::with_capacity(raw.len());
    let mut bytes = raw.iter().copied();
    while let Some(byte) = bytes.next() {
        let byte = if byte == b'%' { hex(bytes.next()?)? << 4 | hex(bytes.next()?)? } else { byte };
        decoded.push(byte);
    }
    Some(decoded)
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}
