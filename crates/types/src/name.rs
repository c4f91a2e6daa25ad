//! Names that people give to things, checked once at the door.
//!
//! Must not know: who owns a name or whether it is taken.

use thiserror::Error;

/// Why a name was refused; the text says what to do.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("{what} {value:?} is not valid: {rule}")]
pub struct InvalidName {
    /// What was being named.
    pub what: &'static str,
    /// What was given, cut to 80 characters.
    pub value: String,
    /// The rule that it breaks.
    pub rule: &'static str,
}

fn refuse(what: &'static str, value: &str, rule: &'static str) -> InvalidName {
    InvalidName { what, value: value.chars().take(80).collect(), rule }
}

/// Checks a cluster's name: a DNS subdomain as in RFC 1123 (it becomes a path segment, a
/// certificate's common name and a kubeconfig context) that cannot be mistaken for a cluster's id, which stands in the
/// same places.
///
/// # Errors
/// Says which rule the name breaks.
pub fn check_cluster_name(name: &str) -> Result<(), InvalidName> {
    const RULE: &str = "use 1 to 63 of a-z, 0-9, '-' and '.', beginning and ending with a letter or digit";
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'.';
    let edge = |b: Option<&u8>| b.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    let bytes = name.as_bytes();
    let ok = (1..=63).contains(&bytes.len())
        && bytes.iter().copied().all(inner)
        && edge(bytes.first())
        && edge(bytes.last())
        && !name.contains("..");
    if !ok {
        return Err(refuse("cluster name", name, RULE));
    }
    // Ids are written with hyphens, and found by that text.
    if name.len() == uuid::fmt::Hyphenated::LENGTH && uuid::Uuid::try_parse(name).is_ok() {
        return Err(refuse("cluster name", name, "it has the form of an id; use another name"));
    }
    Ok(())
}

/// Checks a role's name.
///
/// # Errors
/// Says which rule the name breaks.
pub fn check_role_name(name: &str) -> Result<(), InvalidName> {
    let ok = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    if (1..=63).contains(&name.len()) && name.bytes().all(ok) {
        Ok(())
    } else {
        Err(refuse("role name", name, "use 1 to 63 letters, digits, '-', '_' and '.'"))
    }
}

/// Checks the name of an organisation or a team: it becomes a part of Kubernetes group names.
///
/// # Errors
/// Says which rule the name breaks.
pub fn check_slug(what: &'static str, name: &str) -> Result<(), InvalidName> {
    let ok = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    let edges = !name.starts_with('-') && !name.ends_with('-');
    if (1..=40).contains(&name.len()) && name.bytes().all(ok) && edges {
        Ok(())
    } else {
        Err(refuse(what, name, "use 1 to 40 of a-z, 0-9 and '-', beginning and ending with a letter or digit"))
    }
}

/// Checks and normalises (trims, lower-cases) an e-mail address. It is an account's name here, not a
/// promise that mail arrives, so the check is of shape only. It must be safe as the value of
/// `Impersonate-User`: no control characters, and not of the form `system:...`.
///
/// # Errors
/// Says which rule the address breaks.
pub fn normalize_email(email: &str) -> Result<String, InvalidName> {
    const RULE: &str = "use the form name@example.com, at most 254 characters, without spaces";
    let email = email.trim().to_lowercase();
    let parts = email.split_once('@');
    let plain = email.len() <= 254 && !email.chars().any(|c| c.is_control() || c.is_whitespace());
    match parts {
        Some((local, domain))
            if plain
                && !local.is_empty()
                && !domain.is_empty()
                && !domain.contains('@')
                && !email.starts_with("system:") =>
        {
            Ok(email)
        }
        _ => Err(refuse("e-mail address", &email, RULE)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cluster_names() {
        for good in ["a", "prod-eu-1", "k8s.example.com", "0", "019aa5c2-7b1e-7000-8000-00000000000", "deadbeef"] {
            assert_eq!(check_cluster_name(good), Ok(()), "{good}");
        }
        let id = "019aa5c2-7b1e-7000-8000-000000000001";
        assert!(check_cluster_name(id).unwrap_err().to_string().contains("form of an id"));
        for bad in ["", "-a", "a-", "A", "a/b", "a..b", "a b", "ä", &"a".repeat(64), "..", "."] {
            assert!(check_cluster_name(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn emails() {
        assert_eq!(normalize_email(" Dev@Example.com ").as_deref(), Ok("dev@example.com"));
        for bad in ["", "dev", "@x", "x@", "a b@c", "system:admin@x", "a\n@b", "a@b@c"] {
            assert!(normalize_email(bad).is_err(), "{bad}");
        }
    }
}
