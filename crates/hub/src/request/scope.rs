//! Which scope an API key needs for which route: by noun and by whether something is changed, in one table.
//!
//! Must not know: handlers, what the key's owner may do.

use flotilla_identity::scopes::Scopes;
use http::Method;

use crate::error::ApiError;

/// What a route asks of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Needs<'a> {
    /// Nothing: it only tells the caller about himself.
    Nothing,
    /// A person: a key must not make keys, end sessions or change passwords.
    Person,
    /// A scope on this noun.
    Noun(&'a str),
    /// Some cluster; which, and what for, the gate decides.
    Clusters,
}

/// Routes whose noun is not the first word after `/api/`.
const SPECIAL: &[(&str, Needs<'static>)] = &[
    ("/api/whoami", Needs::Nothing),
    ("/api/me", Needs::Nothing),
    ("/api/features", Needs::Nothing),
    ("/api/tickets", Needs::Nothing),
    ("/auth/whoami", Needs::Nothing),
    ("/auth", Needs::Person),
    ("/api/api-keys", Needs::Person),
    ("/api/sessions", Needs::Person),
    ("/api/explorer", Needs::Noun("roles")),
    ("/api/admin/users", Needs::Noun("users")),
    ("/api/admin/metrics", Needs::Noun("users")),
    ("/api/org/secrets", Needs::Noun("secrets")),
];

fn needs(path: &str) -> Needs<'_> {
    let below = |base: &str| path.strip_prefix(base).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    if let Some((_, needs)) = SPECIAL.iter().find(|(base, _)| below(base)) {
        return *needs;
    }
    let mut words = path.trim_start_matches('/').split('/');
    let first = words.next().unwrap_or_default();
    let noun = if first == "api" { words.next().unwrap_or_default() } else { first };
    // /api/clusters/{c}/pods and the like are calls on a cluster; /api/clusters[/{c}] is the registry.
    match (noun, words.next(), words.next()) {
        ("clusters", Some(_), Some(_)) => Needs::Clusters,
        (noun, _, _) => Needs::Noun(noun),
    }
}

/// Whether a key with these scopes may call this route (its canonical path).
///
/// # Errors
/// It may not; the text names the scope that is missing.
pub fn check(scopes: &Scopes, method: &Method, path: &str) -> Result<(), ApiError> {
    let changes = !matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS);
    match needs(path) {
        Needs::Nothing => Ok(()),
        Needs::Person => {
            Err(ApiError::forbidden("an API key cannot do this; sign in as yourself with: flotilla login"))
        }
        Needs::Clusters if scopes.reach_clusters() => Ok(()),
        Needs::Clusters => Err(missing("k8s:<cluster>")),
        Needs::Noun(noun) if scopes.carry(noun, changes) => Ok(()),
        Needs::Noun(noun) => Err(missing(&format!("{noun}:{}", if changes { "write" } else { "read" }))),
    }
}

fn missing(scope: &str) -> ApiError {
    ApiError::forbidden(format!(
        "this API key lacks the scope {scope}; make one that has it with: flotilla api-keys create"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_routes_ask_of_a_key() {
        let cases = [
            ("/api/whoami", Needs::Nothing),
            ("/auth/logout/everywhere", Needs::Person),
            ("/api/api-keys/1", Needs::Person),
            ("/api/api-keysx", Needs::Noun("api-keysx")),
            ("/api/secrets", Needs::Noun("secrets")),
            ("/api/org/secrets/1", Needs::Noun("secrets")),
            ("/api/clusters", Needs::Noun("clusters")),
            ("/api/clusters/dev", Needs::Noun("clusters")),
            ("/api/clusters/dev/exec", Needs::Clusters),
            ("/api/clusters/dev/pods/shop/web", Needs::Clusters),
            ("/debug/streams", Needs::Noun("debug")),
            ("/", Needs::Noun("")),
        ];
        for (path, wanted) in cases {
            assert_eq!(needs(path), wanted, "{path}");
        }
    }

    #[test]
    fn writing_needs_more_than_reading() {
        let scopes = Scopes::parse(&["secrets:read".to_owned()]).unwrap();
        assert!(check(&scopes, &Method::GET, "/api/secrets").is_ok());
        let error = check(&scopes, &Method::POST, "/api/secrets").unwrap_err();
        assert!(error.detail.contains("secrets:write"), "{}", error.detail);
        assert!(check(&scopes, &Method::GET, "/api/clusters/dev/pods").is_err());
        assert!(check(&scopes, &Method::GET, "/api/api-keys").is_err());
    }
}
