//! Whether a browser sends a request for a page of ours or for somebody else's.
//!
//! Browsers attach cookies by themselves, so a request that a cookie vouches for and that changes something must come
//! from our own origin: `Origin` says so, or, where a browser leaves that out, `Sec-Fetch-Site` (Fetch Metadata). A
//! bearer token is never attached by a browser and needs no such proof. `WebSockets` obey no same-origin policy: a foreign
//! `Origin` is refused before the upgrade, whatever vouches for the request.
//!
//! Must not know: who is calling.

use http::header::{HOST, ORIGIN};
use http::request::Parts;
use http::{HeaderName, Method};

use super::arrival::is_secure;
use crate::config::Config;
use crate::error::ApiError;

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// For whose page a request is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Site {
    /// Ours.
    Own,
    /// Another, or one that hides itself.
    Foreign,
    /// It does not say: no browser, or an ordinary visit.
    Unsaid,
}

/// For whose page a request is sent.
#[must_use]
pub fn site(parts: &Parts, config: &Config) -> Site {
    let mut fetch = parts.headers.get_all(SEC_FETCH_SITE).iter();
    let fetched = match (fetch.next().map(http::HeaderValue::as_bytes), fetch.next()) {
        (None, _) | (Some(b"none"), None) => Site::Unsaid,
        (Some(b"same-origin"), None) => Site::Own,
        _ => Site::Foreign,
    };
    let mut origins = parts.headers.get_all(ORIGIN).iter();
    let named = match (origins.next().map(|origin| origin.to_str().unwrap_or_default()), origins.next()) {
        (None, _) => Site::Unsaid,
        (Some(origin), None) if is_own(origin, parts, config) => Site::Own,
        _ => Site::Foreign,
    };
    match (named, fetched) {
        (Site::Foreign, _) | (_, Site::Foreign) => Site::Foreign,
        (Site::Own, _) | (_, Site::Own) => Site::Own,
        (Site::Unsaid, Site::Unsaid) => Site::Unsaid,
    }
}

/// Refuses what a cookie must not vouch for: a change that was not sent by a page of ours.
///
/// # Errors
/// It was not.
pub fn check_cookie_request(parts: &Parts, config: &Config, upgrades: bool) -> Result<(), ApiError> {
    let safe = matches!(parts.method, Method::GET | Method::HEAD | Method::OPTIONS) && !upgrades;
    if safe || site(parts, config) == Site::Own {
        return Ok(());
    }
    Err(ApiError::forbidden(
        "a session cookie changes things only for pages of this hub: the request must carry its Origin; \
         programs send a bearer token instead",
    ))
}

/// Refuses a page that is not ours.
///
/// # Errors
/// It says that it is not.
pub fn refuse_foreign(parts: &Parts, config: &Config) -> Result<(), ApiError> {
    refuse_site(site(parts, config))
}

pub(crate) fn refuse_site(site: Site) -> Result<(), ApiError> {
    if site == Site::Foreign {
        return Err(ApiError::forbidden("this was sent by a page of another site (see its Origin), which is refused"));
    }
    Ok(())
}

/// Our own origin: the host that the request names, by the scheme it came by, or the configured one.
fn is_own(origin: &str, parts: &Parts, config: &Config) -> bool {
    let host = parts.uri.authority().map(http::uri::Authority::as_str);
    let host = host.or_else(|| parts.headers.get(HOST)?.to_str().ok());
    let scheme = if is_secure(parts, config) { "https://" } else { "http://" };
    let here = |host: &str| {
        origin.strip_prefix(scheme).is_some_and(|named| !named.is_empty() && named.eq_ignore_ascii_case(host))
    };
    let configured = || origin.starts_with(scheme) && origin.eq_ignore_ascii_case(origin_of(&config.public_url()));
    host.is_some_and(here) || configured()
}

/// `https://host:port` of an address; a port that is the scheme's own is left out, as browsers do.
fn origin_of(url: &str) -> &str {
    let host = url.find("://").map_or(0, |at| at + 3);
    let end = url[host..].find(['/', '?', '#']).map_or(url.len(), |at| host + at);
    let origin = &url[..end];
    let default = if origin.starts_with("https://") { ":443" } else { ":80" };
    origin.strip_suffix(default).unwrap_or(origin)
}

/// A target to which somebody may be sent after signing in: a path of ours. Not another site in disguise (`//host`,
/// `/\host`, `/%2f/host`), not a page that a cluster serves.
#[must_use]
pub fn local_target(target: &str) -> Option<&str> {
    let rest = target.strip_prefix('/')?;
    let path = rest.split(['?', '#']).next().unwrap_or_default();
    let plain = target.len() <= 2048
        && target.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\')
        && !rest.starts_with('/')
        && !path.contains("//")
        && !path.split('/').any(|segment| matches!(segment, "." | ".."))
        // Whoever decodes a second time must not find something else.
        && !path.contains('%');
    (plain && path.split('/').next() != Some("k8s")).then_some(target)
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;
    use crate::request::arrival::Channel;

    fn parts(tls: bool, headers: &[(&str, &str)]) -> Parts {
        let mut request = Request::post("/api/users").header("host", "hub.example:8080");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut parts = request.body(()).unwrap().into_parts().0;
        parts.extensions.insert(Channel { tls });
        parts
    }

    #[test]
    fn whose_page_it_is() {
        use Site::{Foreign, Own, Unsaid};
        let cases: &[(&[(&str, &str)], Site)] = &[
            (&[], Unsaid),
            (&[("origin", "https://hub.example:8080")], Own),
            (&[("origin", "https://HUB.example:8080")], Own),
            (&[("origin", "http://hub.example:8080")], Foreign),
            (&[("origin", "https://hub.example")], Foreign),
            (&[("origin", "https://hub.example:8080.evil.example")], Foreign),
            (&[("origin", "https://evil.example")], Foreign),
            (&[("origin", "https://evil.example#hub.example:8080")], Foreign),
            (&[("origin", "null")], Foreign),
            (&[("origin", "")], Foreign),
            (&[("origin", "https://")], Foreign),
            (&[("origin", "https://hub.example:8080"), ("origin", "https://evil.example")], Foreign),
            (&[("sec-fetch-site", "same-origin")], Own),
            (&[("sec-fetch-site", "same-site")], Foreign),
            (&[("sec-fetch-site", "cross-site")], Foreign),
            (&[("sec-fetch-site", "none")], Unsaid),
            (&[("sec-fetch-site", "same-origin"), ("origin", "https://evil.example")], Foreign),
            (&[("sec-fetch-site", "cross-site"), ("origin", "https://hub.example:8080")], Foreign),
            (&[("sec-fetch-site", "same-origin"), ("sec-fetch-site", "none")], Foreign),
        ];
        for (headers, wanted) in cases {
            assert_eq!(site(&parts(true, headers), &Config::default()), *wanted, "{headers:?}");
        }
        let plain = parts(false, &[("origin", "http://hub.example:8080")]);
        assert_eq!(site(&plain, &Config::default()), Own);
    }

    #[test]
    fn the_configured_address_is_ours_behind_a_proxy() {
        let mut config = Config::default();
        config.tls.enabled = false;
        config.server.public_url = Some("https://flotilla.example.com:443/".to_owned());
        let own = parts(false, &[("origin", "https://flotilla.example.com")]);
        assert_eq!(site(&own, &config), Site::Own);
        let plain = parts(false, &[("origin", "http://flotilla.example.com")]);
        assert_eq!(site(&plain, &config), Site::Foreign);
    }

    #[test]
    fn a_cookie_changes_nothing_for_others() {
        let config = Config::default();
        assert!(check_cookie_request(&parts(true, &[]), &config, false).is_err(), "a browser would say");
        assert!(check_cookie_request(&parts(true, &[("sec-fetch-site", "same-origin")]), &config, false).is_ok());
        let mut read = parts(true, &[("origin", "https://evil.example")]);
        read.method = Method::GET;
        assert!(check_cookie_request(&read, &config, false).is_ok(), "the browser keeps the answer from the page");
        assert!(check_cookie_request(&read, &config, true).is_err(), "but not a WebSocket");
    }

    #[test]
    fn targets_stay_here() {
        for good in ["/", "/clusters", "/clusters/dev?namespace=shop#pods", "/k8s-docs", "/a?next=//evil"] {
            assert_eq!(local_target(good), Some(good));
        }
        for bad in [
            "",
            "clusters",
            "//evil.example",
            "/\\evil.example",
            "\\\\evil",
            "https://evil.example",
            "/%2f/evil.example",
            "/%2Fevil",
            "/a//b",
            "/a/../..//evil",
            "/\tevil",
            "/\n/evil",
            "/k8s/clusters/dev/x",
            "/ /evil",
            "javascript:alert(1)",
            "/%5cevil",
            "/./k8s/x",
            "/e\u{301}",
        ] {
            assert_eq!(local_target(bad), None, "{bad:?}");
        }
    }
}
