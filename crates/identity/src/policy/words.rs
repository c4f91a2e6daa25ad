//! The words of a rule's `verbs`: verbs of the API server, actions, and words for several of them.
//!
//! Must not know: resources.

/// A set of verbs and actions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Words(u32);

macro_rules! words {
    ($($name:ident = $bit:expr),* $(,)?) => {
        impl Words { $(pub(super) const $name: Self = Self(1 << $bit);)* }
    };
}

words! {
    GET = 0, LIST = 1, WATCH = 2, CREATE = 3, UPDATE = 4, PATCH = 5, DELETE = 6, DELETE_COLLECTION = 7,
    HEAD = 8, POST = 9, PUT = 10, OPTIONS = 11,
    LOGS = 16, EXEC = 17, ATTACH = 18, PORT_FORWARD = 19, PROXY = 20, SCALE = 21,
}

/// Verbs that a call can have. The last four only outside the resource API.
const VERBS: [(&str, Words); 12] = [
    ("get", Words::GET),
    ("list", Words::LIST),
    ("watch", Words::WATCH),
    ("create", Words::CREATE),
    ("update", Words::UPDATE),
    ("patch", Words::PATCH),
    ("delete", Words::DELETE),
    ("deletecollection", Words::DELETE_COLLECTION),
    ("head", Words::HEAD),
    ("post", Words::POST),
    ("put", Words::PUT),
    ("options", Words::OPTIONS),
];

/// What a rule may say beside the verbs.
const MORE: [(&str, Words); 11] = [
    ("logs", Words::LOGS),
    ("exec", Words::EXEC),
    ("attach", Words::ATTACH),
    ("port-forward", Words::PORT_FORWARD),
    ("portforward", Words::PORT_FORWARD),
    ("proxy", Words::PROXY),
    ("scale", Words::SCALE),
    ("describe", Words::GET.with(Words::LIST)),
    ("apply", Words::GET.with(Words::CREATE).with(Words::PATCH)),
    ("edit", Words::GET.with(Words::PATCH).with(Words::UPDATE)),
    ("*", Words::ALL),
];

/// Verbs that the API server asks its authorizer about while it works on another call.
const INTERNAL: [&str; 7] = ["impersonate", "bind", "escalate", "use", "approve", "sign", "attest"];

impl Words {
    pub(super) const NONE: Self = Self(0);
    pub(super) const ALL: Self = Self(u32::MAX);

    pub(super) const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether every one of `other` is in the set. An unknown verb (the empty set) is only in
    /// [`Words::ALL`].
    pub(super) fn has(self, other: Self) -> bool {
        self.is_all() || (other != Self::NONE && self.0 & other.0 == other.0)
    }

    pub(super) fn is_all(self) -> bool {
        self == Self::ALL
    }

    /// The verb of a call; the empty set for one that rules cannot name.
    pub(super) fn of_call(verb: &str) -> Self {
        VERBS.iter().find(|(word, _)| *word == verb).map_or(Self::NONE, |(_, words)| *words)
    }

    /// A word of a rule.
    ///
    /// # Errors
    /// What is wrong with it and which word was perhaps meant.
    pub(super) fn of_rule(word: &str) -> Result<Self, String> {
        let known = VERBS.iter().chain(&MORE);
        if let Some((_, words)) = known.clone().find(|(known, _)| *known == word) {
            return Ok(*words);
        }
        if INTERNAL.contains(&word) {
            return Err(format!(
                "{word:?} is not the verb of any request: the API server asks about it inside other requests, and \
                 decides it by its own RBAC. The hub never passes impersonation on. Leave it out here, and grant it \
                 in the cluster to one of the role's groups"
            ));
        }
        let nearest =
            known.map(|(known, _)| *known).min_by_key(|known| strsim::damerau_levenshtein(known, &word.to_lowercase()));
        Err(format!("unknown verb {word:?}: did you mean {:?}?", nearest.unwrap_or("get")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_words_name_the_nearest() {
        for (typed, meant) in [
            ("lst", "list"),
            ("log", "logs"),
            ("GET", "get"),
            ("delet", "delete"),
            ("port_forward", "port-forward"),
            ("deleteCollection", "deletecollection"),
            ("exce", "exec"),
        ] {
            let error = Words::of_rule(typed).unwrap_err();
            assert!(error.contains(&format!("did you mean {meant:?}?")), "{error}");
        }
    }

    #[test]
    fn internal_verbs_are_explained() {
        for verb in INTERNAL {
            let error = Words::of_rule(verb).unwrap_err();
            assert!(
                error.contains("not the verb of any request") && error.contains("never passes impersonation"),
                "{error}"
            );
        }
    }

    #[test]
    fn an_unknown_verb_of_a_call_is_only_in_all() {
        let everything_by_name = VERBS.iter().chain(&MORE[..10]).fold(Words::NONE, |set, (_, word)| set.with(*word));
        assert!(!everything_by_name.is_all());
        assert!(!everything_by_name.has(Words::of_call("")));
        assert!(!everything_by_name.has(Words::of_call("proxy")));
        assert!(Words::ALL.has(Words::of_call("")));
        assert_eq!(Words::of_call("exec"), Words::NONE, "an action is not a verb");
    }
}
