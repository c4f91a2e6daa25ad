//! Where the one router is mounted: the source documents' paths as aliases of ours.
//!
//! `/api/*` is canonical. `/v1/x` = `/x`, `/api/v1/x` = `/api/x`, `/api/auth/x` = `/auth/x`,
//! `/clusters` and `/users` = `/api/clusters` and `/api/users`.
//!
//! Must not know: handlers. Paths under `/k8s/` never come here.

use std::borrow::Cow;

/// The canonical path of `path`.
#[must_use]
pub fn canonical(path: &str) -> Cow<'_, str> {
    let path = strip(path, "/v1").unwrap_or(path);
    if let Some(rest) = strip(path, "/api/v1") {
        return canonical_api(rest);
    }
    if matches!(path, "/api/auth/whoami" | "/auth/whoami") {
        return Cow::Borrowed("/api/whoami");
    }
    if let Some(rest) = strip(path, "/api/auth") {
        return Cow::Owned(format!("/auth{rest}"));
    }
    for root in ["/clusters", "/users"] {
        if strip(path, root).is_some() {
            return Cow::Owned(format!("/api{path}"));
        }
    }
    Cow::Borrowed(path)
}

/// `rest` of `/api/v1<rest>`: authentication leaves `/api`, all else stays.
fn canonical_api(rest: &str) -> Cow<'static, str> {
    match strip(rest, "/auth") {
        Some(_) => Cow::Owned(rest.to_owned()),
        None => Cow::Owned(format!("/api{rest}")),
    }
}

/// What follows `prefix` when it is a whole path segment or several.
fn strip<'a>(path: &'a str, prefix: &str) -> Option<&'a str> {
    path.strip_prefix(prefix).filter(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::canonical;

    #[test]
    fn every_mounting_of_the_contract() {
        let cases = [
            ("/api/workflows", "/api/workflows"),
            ("/v1/api/workflows", "/api/workflows"),
            ("/auth/login", "/auth/login"),
            ("/api/auth/whoami", "/api/whoami"),
            ("/v1/auth/login", "/auth/login"),
            ("/api/auth/login", "/auth/login"),
            ("/v1/api/auth/login", "/auth/login"),
            ("/api/v1/auth/login", "/auth/login"),
            ("/clusters", "/api/clusters"),
            ("/clusters/x/exec", "/api/clusters/x/exec"),
            ("/v1/clusters", "/api/clusters"),
            ("/users", "/api/users"),
            ("/users/1/roles", "/api/users/1/roles"),
            ("/api/v1/clusters/x/exec", "/api/clusters/x/exec"),
            ("/clustersx", "/clustersx"),
            ("/v1x/api", "/v1x/api"),
            ("/healthz", "/healthz"),
        ];
        for (given, wanted) in cases {
            assert_eq!(canonical(given), wanted, "{given}");
        }
    }
}
