//! What of an object may be shown in a diff.
//!
//! Of Secrets the answer is a list of what may: nothing that is not on it is ever shown, so that nothing in a Secret can
//! slip through by being unusual. Of other objects it is a list of what may not: names and texts that look like
//! credentials. That is a guess and says so in the manual.
//!
//! Must not know: how objects are walked.

use serde_json::Value;

/// kubectl's copy of all that was applied.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// Names of fields with these in them hold credentials.
const WORDS: [&str; 9] =
    ["password", "passwd", "passphrase", "secret", "token", "credential", "apikey", "accesskey", "privatekey"];

/// Names that people choose themselves (environment variables, keys of a ConfigMap) also with these.
const WORDS_OF_PEOPLE: [&str; 5] = ["key", "auth", "pwd", "pass", "cert"];

/// Fields of Kubernetes itself that name where a credential is, or are none.
const REFERENCES: [&str; 10] = [
    "secretKeyRef",
    "secretRef",
    "secretName",
    "secretNamespace",
    "secret",
    "secrets",
    "imagePullSecrets",
    "serviceAccountToken",
    "automountServiceAccountToken",
    "tokenExpirationSeconds",
];

/// How texts begin that are credentials by themselves.
const PREFIXES: [&str; 14] = [
    "bearer ",
    "basic ",
    "ghp_",
    "gho_",
    "ghs_",
    "github_pat_",
    "glpat-",
    "sk_live_",
    "sk-",
    "akia",
    "xox",
    "npm_",
    "fla1.",
    "aiza",
];

/// How one place of an object is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum View {
    /// Not at all: it changes with every write, or is not what was written.
    Dropped,
    /// Whether it changed, and no more.
    Opaque,
    /// A Secret: only what is listed.
    Secret(Part),
    /// Anything else, whether the whole object is made or removed, and whether a name on the way here looks like a
    /// credential's.
    Plain(Part, bool, bool),
}

/// Which part of an object a place is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Top,
    Metadata,
    /// A table whose keys people choose: labels, annotations, data.
    Table,
    /// An element of a list whose name looks like a credential's: of an environment variable that is its value.
    Credential,
    /// Anywhere else; of a Secret, what may be shown with all that is in it.
    Inside,
}

/// Whether an object is a Secret, or something that is named after them.
pub(super) fn is_secret(object: &Value) -> bool {
    object.get("kind").and_then(Value::as_str).is_some_and(|kind| kind.to_ascii_lowercase().contains("secret"))
}

/// Whether an argument says that the next one is a credential: `--password`, `hunter2`.
pub(super) fn announces(argument: Option<&Value>) -> bool {
    let argument = argument.and_then(Value::as_str).unwrap_or_default();
    argument.starts_with('-') && !argument.contains('=') && names_credential(argument, false)
}

impl View {
    /// Of a Secret.
    pub(super) fn secret() -> Self {
        Self::Secret(Part::Top)
    }

    /// Of anything else. `whole`: it is made or removed, not changed.
    pub(super) fn plain(whole: bool) -> Self {
        Self::Plain(Part::Top, whole, false)
    }

    /// Whether this value is looked at as one, whatever is in it: not even names of a list's elements are shown.
    pub(super) fn is_opaque(self, value: &Value) -> bool {
        match self {
            Self::Opaque => true,
            Self::Secret(part) => part != Part::Inside && value.is_array(),
            Self::Dropped | Self::Plain(..) => false,
        }
    }

    /// The view of a field.
    pub(super) fn of_field(self, key: &str) -> Self {
        match self {
            Self::Dropped | Self::Opaque => self,
            Self::Secret(part) => secret_field(part, key),
            Self::Plain(part, whole, hot) => plain_field(part, whole, hot, key),
        }
    }

    /// The view of an element that has this name.
    pub(super) fn of_named(self, name: &str) -> Self {
        match self {
            Self::Plain(_, whole, hot) if names_credential(name, true) => Self::Plain(Part::Credential, whole, hot),
            Self::Plain(_, whole, hot) => Self::Plain(Part::Inside, whole, hot),
            other => other,
        }
    }

    /// The view of an element without a name; `announced`: the one before said that this is a credential.
    pub(super) fn of_element(self, announced: bool) -> Self {
        match self {
            Self::Plain(_, whole, hot) => Self::Plain(Part::Inside, whole, hot || announced),
            other => other,
        }
    }

    /// Whether this value must not be shown here.
    pub(super) fn hides(self, value: &Value) -> bool {
        match self {
            Self::Dropped | Self::Opaque => true,
            // A name that says "token" does not make a flag one.
            Self::Plain(_, _, hot) => (hot && !value.is_boolean()) || value.as_str().is_some_and(is_credential),
            Self::Secret(part) => part != Part::Inside,
        }
    }
}

fn secret_field(part: Part, key: &str) -> View {
    match (part, key) {
        (Part::Top, "metadata") => View::Secret(Part::Metadata),
        (Part::Top, "data" | "stringData") | (Part::Metadata, "annotations") => View::Secret(Part::Table),
        (Part::Top, "apiVersion" | "kind" | "type" | "immutable") => View::Secret(Part::Inside),
        (Part::Metadata, "name" | "namespace" | "uid" | "labels" | "finalizers" | "ownerReferences") => {
            View::Secret(Part::Inside)
        }
        (Part::Metadata, key) if is_noise(key) => View::Dropped,
        (Part::Inside, _) => View::Secret(Part::Inside),
        _ => View::Opaque,
    }
}

fn plain_field(part: Part, whole: bool, hot: bool, key: &str) -> View {
    match (part, key) {
        (Part::Top, "metadata") => View::Plain(Part::Metadata, whole, hot),
        // What an object is in the end is not what somebody wrote.
        (Part::Top, "status") if whole => View::Dropped,
        (Part::Top, "data" | "binaryData" | "stringData") => View::Plain(Part::Table, whole, hot),
        (Part::Metadata, "labels" | "annotations") => View::Plain(Part::Table, whole, hot),
        (Part::Metadata, key) if is_noise(key) => View::Dropped,
        (Part::Table, LAST_APPLIED) => View::Opaque,
        (Part::Credential, "value") => View::Plain(Part::Inside, whole, true),
        (Part::Inside | Part::Top | Part::Credential, key) if REFERENCES.contains(&key) => {
            View::Plain(Part::Inside, whole, hot)
        }
        (Part::Table, key) => View::Plain(Part::Inside, whole, hot || names_credential(key, true)),
        (_, key) => View::Plain(Part::Inside, whole, hot || names_credential(key, false)),
    }
}

/// Fields that the API server changes with each write.
fn is_noise(key: &str) -> bool {
    matches!(key, "managedFields" | "resourceVersion" | "generation" | "selfLink")
}

/// Whether a name says that a credential follows. `of_people`: a name that somebody chose.
fn names_credential(name: &str, of_people: bool) -> bool {
    let plain: String = name.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect();
    let has = |word: &&str| plain.contains(*word);
    WORDS.iter().any(&has) || (of_people && WORDS_OF_PEOPLE.iter().any(has))
}

/// Whether a text looks like a credential, or holds one.
fn is_credential(text: &str) -> bool {
    let lower = text.to_ascii_lowercase();
    let starts = PREFIXES.iter().any(|prefix| lower.starts_with(prefix));
    let is_jwt = text.starts_with("eyJ") && text.matches('.').count() >= 2;
    let assigned = text.contains([':', '=']) && WORDS.iter().any(|word| lower.contains(word));
    starts || is_jwt || assigned || lower.contains("-----begin ") || has_user_info(text)
}

/// A URL with a password in it: `scheme://user:password@host`.
fn has_user_info(text: &str) -> bool {
    text.match_indices("://").any(|(at, separator)| {
        let authority = text[at + separator.len()..].split(['/', '?', '#', ' ', '\n']).next().unwrap_or_default();
        authority.rsplit_once('@').is_some_and(|(user, _)| user.contains(':'))
    })
}
