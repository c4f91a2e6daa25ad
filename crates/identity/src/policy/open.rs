//! What is open to whoever reaches a cluster, and which paths nobody may ask for.
//!
//! Must not know: roles.

use super::Action;

/// Reviews of oneself, and what a client must read before it can ask for anything else
/// (the paths of Kubernetes' own roles `system:discovery`, `system:public-info-viewer` and
/// `system:service-account-issuer-discovery`).
pub(super) fn is_open(action: &Action<'_>) -> bool {
    if action.path.is_empty() {
        return is_self_review(action);
    }
    matches!(action.verb, "get" | "head") && is_clean(action.path) && is_open_path(action.path)
}

pub(super) fn is_self_review(action: &Action<'_>) -> bool {
    let kind = (action.api_group, action.resource);
    let reviews = matches!(
        kind,
        ("authorization.k8s.io", "selfsubjectaccessreviews" | "selfsubjectrulesreviews")
            | ("authentication.k8s.io", "selfsubjectreviews")
    );
    reviews && action.verb == "create" && action.subresource.is_empty() && action.namespace.is_empty()
}

fn is_open_path(path: &str) -> bool {
    if matches!(path, "/.well-known/openid-configuration" | "/openid/v1/jwks") {
        return true;
    }
    let Some(path) = path.strip_prefix('/') else {
        return false;
    };
    let (first, below) = path.split_once('/').unwrap_or((path, ""));
    match first {
        "apis" | "openapi" | "healthz" | "livez" | "readyz" => true,
        "api" => !below.trim_end_matches('/').contains('/'),
        "version" => below.is_empty(),
        _ => false,
    }
}

/// Whether no segment could be read as another path by whoever cleans it up: no `.`, no `..`, none
/// empty but the last.
pub(super) fn is_clean(path: &str) -> bool {
    let Some(inner) = path.strip_prefix('/') else {
        return false;
    };
    let inner = inner.strip_suffix('/').unwrap_or(inner);
    inner.is_empty() && path == "/" || inner.split('/').all(|segment| !matches!(segment, "" | "." | ".."))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn get(path: &str) -> bool {
        is_open(&Action { verb: "get", path, ..Action::default() })
    }

    #[test]
    fn paths() {
        for open in [
            "/api",
            "/api/",
            "/api/v1",
            "/api/v1/",
            "/apis",
            "/apis/apps/v1",
            "/apis/apps/v1/",
            "/openapi/v2",
            "/openapi/v3/apis/apps/v1",
            "/version",
            "/version/",
            "/healthz",
            "/livez",
            "/readyz",
            "/readyz/etcd",
            "/livez/ping",
            "/healthz/x/y",
            "/.well-known/openid-configuration",
            "/openid/v1/jwks",
        ] {
            assert!(get(open), "{open}");
            assert!(!is_open(&Action { verb: "post", path: open, ..Action::default() }), "{open}");
            assert!(is_open(&Action { verb: "head", path: open, ..Action::default() }), "{open}");
        }
        for closed in [
            "/",
            "/metrics",
            "/debug/pprof",
            "/logs",
            "/logs/kube-apiserver.log",
            "/apisx",
            "/api/v1/pods",
            "/versions",
            "/version/x",
            "/.well-known/other",
            "/openid/v1/jwks/",
            "api",
            "/healthz/../metrics",
            "/livez//metrics",
            "/apis/..",
            "/apis/./x",
            "//",
            "/healthz/..",
        ] {
            assert!(!get(closed), "{closed}");
        }
    }

    #[test]
    fn reviews_of_oneself() {
        let review = |api_group, resource| Action { verb: "create", api_group, resource, ..Action::default() };
        assert!(is_open(&review("authorization.k8s.io", "selfsubjectaccessreviews")));
        assert!(is_open(&review("authorization.k8s.io", "selfsubjectrulesreviews")));
        assert!(is_open(&review("authentication.k8s.io", "selfsubjectreviews")));
        assert!(!is_open(&review("authorization.k8s.io", "subjectaccessreviews")), "that asks about others");
        assert!(!is_open(&review("authentication.k8s.io", "tokenreviews")));
        assert!(!is_open(&review("example.com", "selfsubjectreviews")));
        assert!(!is_open(&Action { verb: "list", ..review("authentication.k8s.io", "selfsubjectreviews") }));
    }
}
