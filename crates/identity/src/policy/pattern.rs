//! Patterns of names: `*` is any run of characters except `/`, everything else is literal.
//!
//! Must not know: what is being named.

/// One pattern, in the form that is quickest to match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Pattern {
    /// `*`
    Any,
    /// No `*` in it.
    Exact(Box<str>),
    /// `text*`
    Prefix(Box<str>),
    /// `*text`
    Suffix(Box<str>),
    /// Anything else: the segments between slashes, each as its literal pieces around the stars.
    Glob(Box<[Box<[Box<str>]>]>),
}

impl Pattern {
    /// Every text is a pattern.
    pub(super) fn new(text: &str) -> Self {
        let literal = |text: &str| !text.contains('*');
        if text == "*" {
            return Self::Any;
        }
        if literal(text) {
            return Self::Exact(text.into());
        }
        match (text.strip_prefix('*'), text.strip_suffix('*')) {
            (_, Some(prefix)) if literal(prefix) => Self::Prefix(prefix.into()),
            (Some(suffix), _) if literal(suffix) => Self::Suffix(suffix.into()),
            _ => Self::Glob(text.split('/').map(|segment| segment.split('*').map(Into::into).collect()).collect()),
        }
    }

    /// Whether the whole text matches.
    pub(super) fn matches(&self, text: &str) -> bool {
        let run = |rest: Option<&str>| rest.is_some_and(|rest| !rest.contains('/'));
        match self {
            Self::Any => run(Some(text)),
            Self::Exact(exact) => **exact == *text,
            Self::Prefix(prefix) => run(text.strip_prefix(&**prefix)),
            Self::Suffix(suffix) => run(text.strip_suffix(&**suffix)),
            Self::Glob(segments) => {
                let mut parts = text.split('/');
                let each =
                    segments.iter().all(|segment| parts.next().is_some_and(|part| segment_matches(segment, part)));
                each && parts.next().is_none()
            }
        }
    }

    /// The text, when it matches nothing else.
    pub(super) fn literal(&self) -> Option<&str> {
        if let Self::Exact(exact) = self { Some(exact) } else { None }
    }
}

/// Taking each middle piece at its first place leaves the most room for the others, so there is no
/// need to go back: the time is linear in the text for each piece.
fn segment_matches(pieces: &[Box<str>], text: &str) -> bool {
    let [first, middle @ .., last] = pieces else {
        return pieces.first().is_some_and(|only| **only == *text);
    };
    let Some(mut rest) = text.strip_prefix(&**first) else {
        return false;
    };
    for piece in middle {
        let Some((_, after)) = rest.split_once(&**piece) else {
            return false;
        };
        rest = after;
    }
    rest.ends_with(&**last)
}

/// A list of patterns; matches when any of them does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct PatternList {
    /// Those without `*`, sorted.
    exact: Box<[Box<str>]>,
    patterns: Box<[Pattern]>,
}

impl PatternList {
    pub(super) fn new<'a>(texts: impl IntoIterator<Item = &'a str>) -> Self {
        let (mut exact, mut patterns) = (Vec::new(), Vec::new());
        for text in texts {
            match Pattern::new(text) {
                Pattern::Exact(text) => exact.push(text),
                pattern => patterns.push(pattern),
            }
        }
        exact.sort_unstable();
        exact.dedup();
        Self { exact: exact.into(), patterns: patterns.into() }
    }

    pub(super) fn matches(&self, text: &str) -> bool {
        self.exact.binary_search_by(|exact| (**exact).cmp(text)).is_ok()
            || self.patterns.iter().any(|pattern| pattern.matches(text))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.exact.is_empty() && self.patterns.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The definition, written down as simply as possible.
    fn defined(pattern: &[u8], text: &[u8]) -> bool {
        match pattern.split_first() {
            None => text.is_empty(),
            Some((b'*', rest)) => {
                let run = text.iter().position(|byte| *byte == b'/').unwrap_or(text.len());
                (0..=run).any(|n| defined(rest, &text[n..]))
            }
            Some((literal, rest)) => {
                text.split_first().is_some_and(|(byte, text)| byte == literal && defined(rest, text))
            }
        }
    }

    #[test]
    fn examples() {
        for (pattern, text, expected) in [
            ("*", "", true),
            ("*", "a/b", false),
            ("dev-*", "dev-", true),
            ("dev-*", "dev", false),
            ("dev-*", "dev-1/x", false),
            ("*-eu", "prod-eu", true),
            ("a*b*c", "abc", true),
            ("a*b*c", "aXbYbZc", true),
            ("a*b*c", "ac", false),
            ("a*a", "a", false),
            ("**", "anything", true),
            ("/debug/*", "/debug/pprof", true),
            ("/debug/*", "/debug/pprof/heap", false),
            ("/debug/*/*", "/debug/pprof/heap", true),
            ("p?d", "pod", false),
            ("[ab]", "a", false),
            (".*", "pods", false),
        ] {
            assert_eq!(Pattern::new(pattern).matches(text), expected, "{pattern} on {text}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4096))]

        #[test]
        fn agrees_with_the_definition(pattern in "[ab*/]{0,7}", text in "[ab/]{0,8}") {
            let expected = defined(pattern.as_bytes(), text.as_bytes());
            prop_assert_eq!(Pattern::new(&pattern).matches(&text), expected);
        }

        #[test]
        fn never_matches_across_a_slash(pattern in "[ab*]{0,8}", before in "[ab]{0,4}", after in "[ab]{0,4}") {
            let text = format!("{before}/{after}");
            prop_assert!(!Pattern::new(&pattern).matches(&text));
            prop_assert!(!PatternList::new([&*pattern]).matches(&text));
        }

        #[test]
        fn without_a_star_it_matches_itself_only(pattern in "[ -)+-~]{0,12}", other in "[ -~]{0,12}") {
            prop_assert!(Pattern::new(&pattern).matches(&pattern));
            prop_assert_eq!(Pattern::new(&pattern).matches(&other), pattern == other);
        }

        #[test]
        fn a_list_is_any_of_its_patterns(patterns in proptest::collection::vec("[ab*]{0,4}", 0..6), text in "[ab]{0,5}") {
            let list = PatternList::new(patterns.iter().map(String::as_str));
            let any = patterns.iter().any(|pattern| defined(pattern.as_bytes(), text.as_bytes()));
            prop_assert_eq!(list.matches(&text), any);
        }
    }
}
