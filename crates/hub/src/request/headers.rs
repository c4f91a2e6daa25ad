//! What browsers must not do with answers.
//!
//! The API's answers may hold tokens and are never pages. Pages of the hub run their own scripts and styles and talk to
//! their own origin, nothing else: no inline script, no frame, no form to elsewhere. A cluster's answers are its own
//! (a browser cannot ask for them: no cookie is believed there), but nothing shall guess what they are.
//!
//! Must not know: routes.

use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, STRICT_TRANSPORT_SECURITY,
    X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use http::{HeaderMap, HeaderName, HeaderValue};

/// For pages of the hub.
pub const PAGE_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; \
     connect-src 'self'; manifest-src 'self'; worker-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// For everything that is no page.
const DATA_POLICY: &str = "default-src 'none'; frame-ancestors 'none'";

const OPENER: HeaderName = HeaderName::from_static("cross-origin-opener-policy");
const RESOURCE: HeaderName = HeaderName::from_static("cross-origin-resource-policy");
const PERMISSIONS: HeaderName = HeaderName::from_static("permissions-policy");

/// Sets the headers. `lasting` says that the hub is reached by TLS with a certificate that browsers trust.
pub fn harden(headers: &mut HeaderMap, gateway: bool, lasting: bool) {
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if gateway {
        return;
    }
    let page = headers.get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"text/html"));
    let policy = HeaderValue::from_static(if page { PAGE_POLICY } else { DATA_POLICY });
    headers.entry(CONTENT_SECURITY_POLICY).or_insert(policy);
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    headers.entry(X_FRAME_OPTIONS).or_insert(HeaderValue::from_static("DENY"));
    // Not `no-referrer`: with it browsers say `Origin: null` even for our own forms (Fetch, "append a request Origin
    // header"), and those would be refused as foreign.
    headers.entry(REFERRER_POLICY).or_insert(HeaderValue::from_static("same-origin"));
    headers.entry(OPENER).or_insert(HeaderValue::from_static("same-origin"));
    headers.entry(RESOURCE).or_insert(HeaderValue::from_static("same-origin"));
    headers.entry(PERMISSIONS).or_insert(HeaderValue::from_static("camera=(), microphone=(), geolocation=()"));
    if lasting {
        headers.entry(STRICT_TRANSPORT_SECURITY).or_insert(HeaderValue::from_static("max-age=31536000"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hardened(kind: &'static str, gateway: bool) -> HeaderMap {
        let mut headers: HeaderMap = [(CONTENT_TYPE, HeaderValue::from_static(kind))].into_iter().collect();
        harden(&mut headers, gateway, false);
        headers
    }

    #[test]
    fn pages_run_our_scripts_and_data_runs_none() {
        let page = hardened("text/html; charset=utf-8", false);
        assert_eq!(page[REFERRER_POLICY], "same-origin", "forms of ours must say where they come from");
        assert_eq!(page[CONTENT_SECURITY_POLICY], PAGE_POLICY);
        assert!(!PAGE_POLICY.contains("unsafe") && !PAGE_POLICY.contains('*'));
        let data = hardened("application/json", false);
        assert_eq!(data[CONTENT_SECURITY_POLICY], DATA_POLICY);
        assert!(!data.contains_key(STRICT_TRANSPORT_SECURITY), "localhost would lose plain HTTP on all its ports");
        let cluster = hardened("text/html", true);
        assert!(cluster.contains_key(X_CONTENT_TYPE_OPTIONS) && !cluster.contains_key(CONTENT_SECURITY_POLICY));
    }
}
