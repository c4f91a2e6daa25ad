//! Field and label selectors, as far as they bear on the name of a request: the name that a field selector asks for,
//! and whether a label selector is one at all (a bad one makes the API server forget the name).
//!
//! The grammar is that of `k8s.io/apimachinery/pkg/fields` and `.../labels`, v0.34. Works on bytes, since a query may
//! hold any.
//!
//! Must not know: queries.

/// A selector that the API server does not understand.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Invalid;

/// The value that a field selector demands of a field with `=` or `==`, if it does. Terms are looked at in the
/// order of their bytes, as the API server sorts them.
pub(super) fn exact_match(selector: &[u8], field: &[u8]) -> Result<Option<Vec<u8>>, Invalid> {
    let mut terms = split_terms(selector);
    terms.sort_unstable();
    let mut found = None;
    for term in terms.into_iter().filter(|term| !term.is_empty()) {
        let (key, operator, value) = split_term(term).ok_or(Invalid)?;
        let value = unescape(value)?;
        if found.is_none() && operator != b"!=" && key == field {
            found = Some(value);
        }
    }
    Ok(found)
}

/// Splits at commas that no backslash precedes.
fn split_terms(selector: &[u8]) -> Vec<&[u8]> {
    let mut escaped = false;
    selector
        .split(|&byte| {
            let comma = byte == b',' && !escaped;
            escaped = byte == b'\\' && !escaped;
            comma
        })
        .collect()
}

/// Splits at the first operator, the longest that fits there.
fn split_term(term: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    (0..term.len()).find_map(|at| {
        let (key, rest) = term.split_at(at);
        let operator: &[u8] =
            [b"!=".as_slice(), b"==", b"="].into_iter().find(|operator| rest.starts_with(operator))?;
        Some((key, operator, rest.get(operator.len()..)?))
    })
}

/// A backslash may stand before `\`, `,` and `=`; the last two may not stand without.
fn unescape(value: &[u8]) -> Result<Vec<u8>, Invalid> {
    let mut plain = Vec::with_capacity(value.len());
    let mut bytes = value.iter().copied();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\\' => match bytes.next() {
                Some(escaped @ (b'\\' | b',' | b'=')) => plain.push(escaped),
                _ => return Err(Invalid),
            },
            b',' | b'=' => return Err(Invalid),
            other => plain.push(other),
        }
    }
    Ok(plain)
}

/// Whether the API server understands a label selector.
pub(super) fn is_label_selector(selector: &[u8]) -> bool {
    Labels { tokens: tokens(selector), at: 0 }.selector().is_ok()
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token<'a> {
    /// Also the words `in` and `notin`, which are operators only where one is expected.
    Word(&'a [u8]),
    Open,
    Close,
    Comma,
    /// `!`
    Not,
    /// `=`, `==`, `!=`
    Equality,
    /// `<`, `>`
    Order,
    End,
}

const fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

const fn is_special(byte: u8) -> bool {
    matches!(byte, b'=' | b'!' | b'(' | b')' | b',' | b'>' | b'<')
}

/// Cuts a label selector into tokens. A NUL between tokens ends it, as it does for the API server; one right behind a
/// token is swallowed with it.
fn tokens(mut rest: &[u8]) -> Vec<Token<'_>> {
    let mut tokens = Vec::new();
    loop {
        rest = skip_space(rest);
        let (token, length) = match rest.first() {
            None | Some(0) => (Token::End, 0),
            Some(&byte) if is_special(byte) => special(rest),
            Some(_) => word(rest),
        };
        tokens.push(token);
        if token == Token::End {
            return tokens;
        }
        rest = rest.get(length..).unwrap_or_default();
        rest = rest.strip_prefix(&[0]).unwrap_or(rest);
    }
}

/// The word at the beginning, and its length.
fn word(rest: &[u8]) -> (Token<'_>, usize) {
    let length = rest.iter().position(|&b| b == 0 || is_special(b) || is_space(b)).unwrap_or(rest.len());
    (Token::Word(rest.get(..length).unwrap_or_default()), length)
}

fn skip_space(text: &[u8]) -> &[u8] {
    let start = text.iter().position(|&b| !is_space(b)).unwrap_or(text.len());
    text.get(start..).unwrap_or_default()
}

/// The longest operator at the beginning, and its length.
fn special(rest: &[u8]) -> (Token<'static>, usize) {
    match rest {
        [b'=' | b'!', b'=', ..] => (Token::Equality, 2),
        [b'=', ..] => (Token::Equality, 1),
        [b'!', ..] => (Token::Not, 1),
        [b'<' | b'>', ..] => (Token::Order, 1),
        [b'(', ..] => (Token::Open, 1),
        [b')', ..] => (Token::Close, 1),
        // Only the comma is left of what `is_special` names.
        _ => (Token::Comma, 1),
    }
}

/// Recursive descent over the tokens of a label selector.
struct Labels<'a> {
    tokens: Vec<Token<'a>>,
    at: usize,
}

impl<'a> Labels<'a> {
    fn peek(&self) -> Token<'a> {
        self.tokens.get(self.at).copied().unwrap_or(Token::End)
    }

    fn next(&mut self) -> Token<'a> {
        let token = self.peek();
        self.at += 1;
        token
    }

    fn selector(&mut self) -> Result<(), Invalid> {
        if self.peek() == Token::End {
            return Ok(());
        }
        loop {
            self.requirement()?;
            match self.next() {
                Token::End => return Ok(()),
                Token::Comma => {}
                _ => return Err(Invalid),
            }
        }
    }

    /// `key`, `!key`, `key = value`, `key < integer`, `key in (a, b)`.
    fn requirement(&mut self) -> Result<(), Invalid> {
        let negated = self.peek() == Token::Not;
        if negated {
            self.at += 1;
        }
        let Token::Word(key) = self.next() else { return Err(Invalid) };
        if !is_qualified_name(key) {
            return Err(Invalid);
        }
        if negated || matches!(self.peek(), Token::End | Token::Comma) {
            return Ok(());
        }
        match self.next() {
            Token::Word(b"in" | b"notin") => self.set(),
            Token::Equality => self.value().and_then(check_label_value),
            Token::Order => self.value().and_then(check_integer).and_then(check_label_value),
            _ => Err(Invalid),
        }
    }

    /// The one value behind an operator; nothing at all is the empty one.
    fn value(&mut self) -> Result<&'a [u8], Invalid> {
        if matches!(self.peek(), Token::End | Token::Comma) {
            return Ok(b"");
        }
        match self.next() {
            Token::Word(word) => Ok(word),
            _ => Err(Invalid),
        }
    }

    /// `(a, b)`. Values may be empty, but two words need a comma between them.
    fn set(&mut self) -> Result<(), Invalid> {
        if self.next() != Token::Open {
            return Err(Invalid);
        }
        loop {
            match self.next() {
                Token::Close => return Ok(()),
                Token::Comma => {}
                Token::Word(word) => {
                    check_label_value(word)?;
                    if !matches!(self.peek(), Token::Comma | Token::Close) {
                        return Err(Invalid);
                    }
                }
                _ => return Err(Invalid),
            }
        }
    }
}

fn check_integer(value: &[u8]) -> Result<&[u8], Invalid> {
    let integer = std::str::from_utf8(value).is_ok_and(|text| text.parse::<i64>().is_ok());
    integer.then_some(value).ok_or(Invalid)
}

/// `IsValidLabelValue`: empty, or a name.
fn check_label_value(value: &[u8]) -> Result<(), Invalid> {
    if value.is_empty() || is_name(value) { Ok(()) } else { Err(Invalid) }
}

/// `IsQualifiedName`: a name, with a DNS subdomain and a slash before it or not.
fn is_qualified_name(key: &[u8]) -> bool {
    match key.iter().position(|&b| b == b'/') {
        None => is_name(key),
        Some(at) => {
            let (prefix, name) = key.split_at(at);
            is_subdomain(prefix) && name.get(1..).is_some_and(is_name)
        }
    }
}

/// 1 to 63 letters, digits, `-`, `_` and `.`, with a letter or digit at both ends.
fn is_name(text: &[u8]) -> bool {
    text.len() <= 63
        && text.first().is_some_and(u8::is_ascii_alphanumeric)
        && text.last().is_some_and(u8::is_ascii_alphanumeric)
        && text.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
}

/// A DNS subdomain (RFC 1123) in lower case, of at most 253 bytes.
fn is_subdomain(text: &[u8]) -> bool {
    let edge = |b: Option<&u8>| b.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    let inner = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'-';
    let label = |label: &[u8]| edge(label.first()) && edge(label.last()) && label.iter().all(inner);
    text.len() <= 253 && text.split(|&b| b == b'.').all(label)
}
