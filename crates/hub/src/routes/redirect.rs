//! Redirects that a cluster answers with. client-go follows them with the same method, body and, even to another
//! host, the same bearer token. A cluster that sends its callers elsewhere would so act in other clusters, or collect
//! tokens of the hub: a redirect may only lead to where it came from.
//!
//! Must not know: who asked, or what for.

use flotilla_cluster::Body;
use http::header::LOCATION;
use http::{HeaderValue, Response};

use super::gateway::PREFIX;

/// Why a redirect is not passed on.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct LeadsElsewhere;

/// Keeps a redirect inside its cluster: an absolute path gets the cluster's mount before it, a relative one stays as
/// it is.
///
/// # Errors
/// [`LeadsElsewhere`]: another host, or a path that could climb out of the cluster's.
pub(super) fn confine(response: &mut Response<Body>, cluster: &str) -> Result<(), LeadsElsewhere> {
    if !response.status().is_redirection() {
        return Ok(());
    }
    let mut given = response.headers().get_all(LOCATION).iter();
    let (Some(location), None) = (given.next(), given.next()) else {
        // Several would be read in several ways.
        return if response.headers().contains_key(LOCATION) { Err(LeadsElsewhere) } else { Ok(()) };
    };
    let location = location.to_str().map_err(|_| LeadsElsewhere)?;
    if !stays_inside(location) {
        return Err(LeadsElsewhere);
    }
    if location.starts_with('/') {
        let inside = HeaderValue::from_str(&format!("{PREFIX}{cluster}{location}")).map_err(|_| LeadsElsewhere)?;
        response.headers_mut().insert(LOCATION, inside);
    }
    Ok(())
}

/// Whether a reference (RFC 3986 section 4.2) has neither scheme nor host nor dot segments, also as browsers read it,
/// who take a backslash for a slash and drop control characters.
fn stays_inside(reference: &str) -> bool {
    let path = reference.split(['?', '#']).next().unwrap_or_default();
    let has_scheme = path.split('/').next().is_some_and(|first| first.contains(':'));
    let dots = |segment: &str| matches!(segment.to_ascii_lowercase().replace("%2e", ".").as_str(), "." | "..");
    !reference.bytes().any(|byte| byte <= b' ' || byte == b'\\')
        && !has_scheme
        && !path.starts_with("//")
        && !path.split('/').any(dots)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn confined(status: u16, locations: &[&str]) -> Result<Option<String>, LeadsElsewhere> {
        let mut builder = Response::builder().status(status);
        for location in locations {
            builder = builder.header(LOCATION, *location);
        }
        let mut response = builder.body(flotilla_cluster::empty()).unwrap();
        confine(&mut response, "dev")?;
        Ok(response.headers().get(LOCATION).map(|location| location.to_str().unwrap().to_owned()))
    }

    #[test]
    fn paths_stay_in_their_cluster() {
        let proxy = "/api/v1/namespaces/shop/services/web/proxy/";
        assert_eq!(confined(301, &[proxy]), Ok(Some(format!("/k8s/clusters/dev{proxy}"))));
        assert_eq!(confined(307, &["/a?u=https://b/../c"]), Ok(Some("/k8s/clusters/dev/a?u=https://b/../c".into())));
        // Whatever it looks like, it is a path of this cluster.
        let other = "/k8s/clusters/prod/api/v1/secrets";
        assert_eq!(confined(308, &[other]), Ok(Some(format!("/k8s/clusters/dev{other}"))));
        assert_eq!(confined(302, &["login/"]), Ok(Some("login/".into())));
        assert_eq!(confined(304, &[]), Ok(None));
        assert_eq!(confined(201, &["https://elsewhere/"]), Ok(Some("https://elsewhere/".into())), "nobody follows it");
    }

    #[test]
    fn everything_else_is_refused() {
        for location in [
            "https://elsewhere/",
            "HTTP:/elsewhere",
            "//elsewhere/",
            "/\\elsewhere/",
            "\\\\elsewhere",
            "/\t/elsewhere",
            "../../prod/api",
            "/../../prod/api",
            "a/%2E%2e/%2e./b",
            "./x",
            "javascript:alert(1)",
        ] {
            assert_eq!(confined(307, &[location]), Err(LeadsElsewhere), "{location}");
        }
        assert_eq!(confined(302, &["/a", "/b"]), Err(LeadsElsewhere));
    }
}
