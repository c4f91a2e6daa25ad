//! The path: decoded as Go's `net/url` decodes it, refused where two readers could disagree, and laid out as
//! group, version, namespace and resource.
//!
//! Must not know: methods and queries.

use std::borrow::Cow;

use super::Refused;

/// Subresources of a namespace object; anything else behind `/namespaces/{name}/` is a resource in it.
const NAMESPACE_SUBRESOURCES: [&str; 2] = ["status", "finalize"];

/// A decoded path and its segments, without a trailing empty one.
pub(super) struct Path<'a> {
    segments: Vec<Cow<'a, str>>,
}

/// Which segment is what.
pub(super) struct Layout {
    pub(super) prefix: &'static str,
    pub(super) group: Option<usize>,
    pub(super) version: usize,
    pub(super) namespace: Option<usize>,
    pub(super) resource: usize,
}

/// Decodes a path that begins with `/`.
///
/// Before the tail that follows a `proxy` subresource every segment must be plain: not empty, no slash, backslash
/// or control character in it. The tail is another server's path and may hold what it likes, except dot segments.
pub(super) fn read(raw: &str) -> Result<Path<'_>, Refused> {
    let mut segments = Vec::with_capacity(8);
    for segment in raw.get(1..).unwrap_or_default().split('/') {
        segments.push(decode(segment)?);
    }
    let tail = tail_of(&segments);
    let last = segments.len().saturating_sub(1);
    for (index, segment) in segments.iter().enumerate() {
        if index < tail {
            check_plain(segment, index == last)?;
        } else {
            check_tail(segment)?;
        }
    }
    let segments = segments.into_iter().map(to_text).collect();
    Ok(Path { segments })
}

/// Index of the first segment behind a `proxy` subresource.
fn tail_of(segments: &[Cow<'_, [u8]>]) -> usize {
    let is = |index: usize, word: &str| segments.get(index).is_some_and(|s| s.as_ref() == word.as_bytes());
    let count = segments.len();
    let Some(root) = resource_root(&is) else { return count };
    let resource = skip_namespace(root, count, &is);
    if is(resource + 2, "proxy") { resource + 3 } else { count }
}

/// Index at which resource paths begin behind prefix, group and version.
fn resource_root(is: &impl Fn(usize, &str) -> bool) -> Option<usize> {
    if is(0, "api") {
        Some(2)
    } else if is(0, "apis") {
        Some(3)
    } else {
        None
    }
}

/// Index of the resource, behind `/namespaces/{namespace}` where that is only the scope.
fn skip_namespace(root: usize, count: usize, is: &impl Fn(usize, &str) -> bool) -> usize {
    let scoped = is(root, "namespaces")
        && count > root + 2
        && !NAMESPACE_SUBRESOURCES.iter().any(|subresource| is(root + 2, subresource));
    if scoped { root + 2 } else { root }
}

fn check_plain(segment: &[u8], last: bool) -> Result<(), Refused> {
    // A trailing slash is common (`/apis/`, `/openapi/v3/`) and means nothing.
    if segment.is_empty() && !last {
        return Err(Refused::EmptySegment);
    }
    if is_dots(segment) {
        return Err(Refused::DotSegment);
    }
    if segment.iter().any(|b| matches!(b, b'/' | b'\\')) {
        return Err(Refused::EncodedSlash);
    }
    if segment.iter().any(u8::is_ascii_control) {
        return Err(Refused::Character);
    }
    std::str::from_utf8(segment).map(|_| ()).map_err(|_| Refused::Utf8)
}

fn check_tail(segment: &[u8]) -> Result<(), Refused> {
    let dots = segment.split(|b| matches!(b, b'/' | b'\\')).any(is_dots);
    if dots { Err(Refused::DotSegment) } else { Ok(()) }
}

fn is_dots(segment: &[u8]) -> bool {
    matches!(segment, b"." | b"..")
}

/// Percent-decodes; a `%` without two hexadecimal digits is an error, as in Go. `+` stays `+` in a path.
fn decode(raw: &str) -> Result<Cow<'_, [u8]>, Refused> {
    if !raw.contains('%') {
        return Ok(Cow::Borrowed(raw.as_bytes()));
    }
    super::query::percent_decode(raw.as_bytes()).map(Cow::Owned).ok_or(Refused::Escape)
}

/// As text. Each byte that is not UTF-8 becomes one U+FFFD, which is how Go writes it into JSON.
fn to_text(bytes: Cow<'_, [u8]>) -> Cow<'_, str> {
    match bytes {
        Cow::Borrowed(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) => Cow::Borrowed(text),
            Err(_) => Cow::Owned(replace_invalid(bytes)),
        },
        Cow::Owned(bytes) => {
            Cow::Owned(String::from_utf8(bytes).unwrap_or_else(|error| replace_invalid(error.as_bytes())))
        }
    }
}

fn replace_invalid(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(chunk.invalid().iter().map(|_| char::REPLACEMENT_CHARACTER));
    }
    text
}

impl Path<'_> {
    /// The segment, or nothing behind the end.
    pub(super) fn segment(&self, index: usize) -> &str {
        self.segments.get(index).map(Cow::as_ref).unwrap_or_default()
    }

    /// Segments that count: the API server trims slashes at the end, encoded ones included.
    fn count(&self) -> usize {
        let blank = |segment: &&Cow<'_, str>| segment.bytes().all(|b| b == b'/');
        self.segments.len() - self.segments.iter().rev().take_while(blank).count()
    }

    /// Where the parts are, or `None` for a path outside the resource API.
    pub(super) fn layout(&self) -> Result<Option<Layout>, Refused> {
        let is = |index: usize, word: &str| self.segment(index) == word;
        let count = self.count();
        let Some(root) = resource_root(&is) else { return Ok(None) };
        if count <= root {
            return Ok(None);
        }
        if is(root, "watch") || is(root, "proxy") {
            return Err(Refused::VerbPrefix);
        }
        let resource = skip_namespace(root, count, &is);
        Ok(Some(Layout {
            prefix: if root == 2 { "api" } else { "apis" },
            group: (root == 3).then_some(1),
            version: root - 1,
            namespace: (is(root, "namespaces") && count > root + 1).then_some(root + 1),
            resource,
        }))
    }

    /// The prefix that the API server notes for a path too short to name a resource: only for `/apis/{group}/{version}`,
    /// since anything shorter is set aside earlier.
    pub(super) fn prefix_of_bare(&self) -> &'static str {
        if self.count() == 3 && self.segment(0) == "apis" { "apis" } else { "" }
    }

    /// Byte offset of a segment in [`Path::into_decoded`].
    pub(super) fn offset(&self, index: usize) -> usize {
        self.segments.iter().take(index).map(|segment| segment.len() + 1).sum::<usize>() + 1
    }

    /// The whole decoded path.
    pub(super) fn into_decoded(self) -> String {
        let length = self.segments.iter().map(|segment| segment.len() + 1).sum();
        let mut path = String::with_capacity(length);
        for segment in &self.segments {
            path.push('/');
            path.push_str(segment);
        }
        path
    }
}
