//! As whom a request is made: Kubernetes user impersonation.
//! <https://kubernetes.io/docs/reference/access-authn-authz/authentication/#user-impersonation>
//!
//! Must not know: how the identity was established.

use http::header::{HeaderMap, HeaderName, HeaderValue};
use thiserror::Error;

const IMPERSONATE_USER: HeaderName = HeaderName::from_static("impersonate-user");
const IMPERSONATE_GROUP: HeaderName = HeaderName::from_static("impersonate-group");

/// A user and his groups, as the cluster shall see them. Header values are built once.
#[derive(Clone, Debug)]
pub struct Identity {
    user: String,
    groups: Vec<String>,
    user_value: HeaderValue,
    group_values: Vec<HeaderValue>,
}

/// Why a name cannot be used in a cluster.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum InvalidIdentity {
    /// Names with a meaning of their own in Kubernetes (`system:masters`) are never passed on.
    #[error("{0:?} cannot be used in a cluster: names beginning with `system:` belong to Kubernetes")]
    Reserved(String),
    /// Empty, with spaces around it, or with control characters.
    #[error("{0:?} cannot be used in a cluster: it is empty, begins or ends with a space, or has control characters")]
    Unprintable(String),
}

impl Identity {
    /// Checks the names and builds their header values.
    ///
    /// # Errors
    /// [`InvalidIdentity`] names the user or group that is refused.
    pub fn new(user: impl Into<String>, groups: Vec<String>) -> Result<Self, InvalidIdentity> {
        let user = user.into();
        let user_value = value(&user)?;
        let group_values = groups.iter().map(|group| value(group)).collect::<Result<_, _>>()?;
        Ok(Self { user, groups, user_value, group_values })
    }

    /// The user's name in the cluster.
    #[must_use]
    pub fn user(&self) -> &str {
        &self.user
    }

    /// The user's groups in the cluster, beside `system:authenticated`, which the API server adds.
    #[must_use]
    pub fn groups(&self) -> &[String] {
        &self.groups
    }

    /// Adds the headers. Those that came in must be gone.
    pub(crate) fn apply(&self, headers: &mut HeaderMap) {
        headers.insert(IMPERSONATE_USER, self.user_value.clone());
        for group in &self.group_values {
            headers.append(IMPERSONATE_GROUP, group.clone());
        }
    }
}

/// The API server takes the bytes of the header as the name, so UTF-8 passes as it is.
fn value(name: &str) -> Result<HeaderValue, InvalidIdentity> {
    if name.get(..7).is_some_and(|start| start.eq_ignore_ascii_case("system:")) {
        return Err(InvalidIdentity::Reserved(name.to_owned()));
    }
    let unprintable = || InvalidIdentity::Unprintable(name.to_owned());
    if name.is_empty() || name.trim() != name || name.chars().any(char::is_control) {
        return Err(unprintable());
    }
    HeaderValue::from_bytes(name.as_bytes()).map_err(|_| unprintable())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_kubernetes_itself_are_refused() {
        for name in ["system:masters", "system:serviceaccount:a:b", "System:masters", "system:"] {
            assert!(matches!(Identity::new(name, vec![]), Err(InvalidIdentity::Reserved(_))), "{name}");
            assert!(Identity::new("a@b", vec!["ok".into(), name.into()]).is_err(), "{name}");
        }
    }

    #[test]
    fn names_that_would_change_on_the_way_are_refused() {
        for name in ["", " a", "a ", "a\r\nImpersonate-User: b", "a\0", "\u{7f}"] {
            assert!(Identity::new(name, vec![]).is_err(), "{name:?}");
        }
        let identity = Identity::new("jürgen@example.com", vec!["a b".into(), "c".into()]).unwrap();
        let mut headers = HeaderMap::new();
        identity.apply(&mut headers);
        assert_eq!(headers["impersonate-user"].as_bytes(), "jürgen@example.com".as_bytes());
        assert_eq!(headers.get_all("impersonate-group").iter().collect::<Vec<_>>(), ["a b", "c"]);
    }
}
