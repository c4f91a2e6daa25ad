//! `${NAME}` in strings.
//!
//! Must not know: what a string is for.

use std::collections::BTreeMap;

/// Replaces each `${NAME}` by the variable's value and `$${` by `${`. `None` when there was nothing to replace.
/// Values that come in are not looked at again, so they cannot refer on.
///
/// # Errors
/// Says which reference is wrong, as the end of a sentence that begins with the key.
pub(crate) fn expand(text: &str, environment: &BTreeMap<String, String>) -> Result<Option<String>, String> {
    if !text.contains("${") {
        return Ok(None);
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        let (before, after) = (&rest[..at], &rest[at + 2..]);
        if let Some(before) = before.strip_suffix('$') {
            out.push_str(before);
            out.push_str("${");
            rest = after;
            continue;
        }
        out.push_str(before);
        let end = after.find('}').ok_or("has a `${` without its `}`; write `$${` for a literal `${`")?;
        out.push_str(variable(&after[..end], environment)?);
        rest = &after[end + 1..];
    }
    out.push_str(rest);
    Ok(Some(out))
}

fn variable<'a>(name: &str, environment: &'a BTreeMap<String, String>) -> Result<&'a str, String> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    if name.is_empty() || !name.bytes().all(plain) {
        return Err("has a `${...}` that is not the name of an environment variable (letters, digits, `_`); \
                    write `$${` for a literal `${`"
            .to_owned());
    }
    environment.get(name).map(String::as_str).ok_or_else(|| {
        format!(
            "refers to the environment variable {name}, which is not set; set it, or write `$${{` for a literal `${{`"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment() -> BTreeMap<String, String> {
        [("A", "1"), ("B", "${A}"), ("EMPTY", "")].map(|(name, value)| (name.to_owned(), value.to_owned())).into()
    }

    #[test]
    fn replaces_and_escapes() {
        let cases = [
            ("plain $A", None),
            ("${A}", Some("1")),
            ("x${A}y${A}z", Some("x1y1z")),
            ("${B}", Some("${A}")),
            ("$${A}", Some("${A}")),
            ("$$${A}", Some("$${A}")),
            ("<${EMPTY}>", Some("<>")),
        ];
        for (text, want) in cases {
            assert_eq!(expand(text, &environment()).unwrap().as_deref(), want, "{text}");
        }
    }

    #[test]
    fn says_what_is_wrong() {
        assert!(expand("${NOPE}", &environment()).unwrap_err().contains("variable NOPE, which is not set"));
        assert!(expand("${A", &environment()).unwrap_err().contains("without its `}`"));
        assert!(expand("${A:-b}", &environment()).unwrap_err().contains("not the name"));
        assert!(expand("${}", &environment()).is_err());
    }
}
