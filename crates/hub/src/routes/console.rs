//! The console: the web application in `web/`, served by the hub itself. Optimised builds carry its files inside the
//! program, debug builds read `web/dist` from disk. A hub that was built without them says so.
//!
//! Files below `/assets/` carry a hash of their content in their names and are kept for ever; all others are asked for
//! again with their entity tag. Each text was compressed once, when the console was built (`web/scripts/compress.mjs`).
//!
//! A path that belongs to nobody else is a page of the console, but only for browsers that want to show a page: programs
//! get the API's 404, and so does everyone below the first segments that the API has.
//!
//! Must not know: what any page shows.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use axum::response::{IntoResponse, Response};
use http::header::{ACCEPT, ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, ETAG, IF_NONE_MATCH, VARY};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri};
use rust_embed::{EmbeddedFile, RustEmbed};

use crate::error::ApiError;
use crate::pages;

/// What the console's build wrote.
#[derive(RustEmbed)]
#[folder = "../../web/dist"]
#[allow_missing = true]
struct Files;

/// The one page; the rest is drawn by its script.
const INDEX: &str = "index.html";

/// Names below hold a hash of what they name.
const HASHED: &str = "assets/";

/// A year, the longest that RFC 9111 section 5.2.2.1 has any use for; `immutable` is RFC 8246.
const FOR_EVER: HeaderValue = HeaderValue::from_static("public, max-age=31536000, immutable");
const ASK_AGAIN: HeaderValue = HeaderValue::from_static("no-cache");

/// First segments of the API's paths: what is not there below them is not there at all.
static API: LazyLock<BTreeSet<String>> = LazyLock::new(|| {
    let paths = super::openapi_document().paths.paths;
    let first = |path: &String| path.split('/').nth(1).map(str::to_owned);
    paths.keys().filter_map(first).chain(["k8s".to_owned()]).collect()
});

/// Whether this hub has the console.
#[must_use]
pub fn is_there() -> bool {
    Files::get(INDEX).is_some()
}

/// What no route of the API answers: a file of the console, a page of it, or 404.
pub async fn serve(method: Method, uri: Uri, headers: HeaderMap) -> Response {
    let name = uri.path().trim_start_matches('/');
    if !matches!(method, Method::GET | Method::HEAD) {
        return nothing().into_response();
    }
    if name != INDEX
        && let Some(found) = file(name, &headers)
    {
        return found;
    }
    let first = name.split('/').next().unwrap_or_default();
    if name.starts_with(HASHED) || API.contains(first) {
        return nothing().into_response();
    }
    match page(&headers) {
        Some(page) => page,
        None if name.is_empty() && wants_page(&headers) => absent(),
        None => nothing().into_response(),
    }
}

/// The console's page for a browser; `None` for anyone else, and where this hub has no console.
#[must_use]
pub fn page(headers: &HeaderMap) -> Option<Response> {
    wants_page(headers).then(|| file(INDEX, headers)).flatten()
}

fn nothing() -> ApiError {
    ApiError::not_found("there is no such path; the API is described at /api/openapi.json")
}

fn absent() -> Response {
    let text = "This hub was built without its console. Build it with: cargo xtask web, and then the hub again. The API, \
                the command line and kubectl work as ever.";
    pages::message(StatusCode::NOT_FOUND, "No console here", text)
}

/// Navigations name `text/html`; `fetch`, curl and client libraries do not unless they are told to.
fn wants_page(headers: &HeaderMap) -> bool {
    let kinds = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    kinds.flat_map(|value| value.split(',')).any(|kind| kind.trim().starts_with("text/html"))
}

fn file(name: &str, headers: &HeaderMap) -> Option<Response> {
    let kind = kind(name)?;
    let (encoding, found) = best(name, headers)?;
    let cache = if name.starts_with(HASHED) { FOR_EVER } else { ASK_AGAIN };
    let tag = tag(&found, encoding);
    let mut answer =
        if holds(headers, &tag) { StatusCode::NOT_MODIFIED.into_response() } else { found.data.into_response() };
    let mut set = |header: HeaderName, value: HeaderValue| answer.headers_mut().insert(header, value);
    set(CONTENT_TYPE, HeaderValue::from_static(kind));
    set(CACHE_CONTROL, cache);
    set(VARY, HeaderValue::from_static("accept, accept-encoding"));
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        set(ETAG, tag);
    }
    if let Some(encoding) = encoding {
        set(CONTENT_ENCODING, HeaderValue::from_static(encoding));
    }
    Some(answer)
}

/// The smallest form of a file that the caller reads.
fn best(name: &str, headers: &HeaderMap) -> Option<(Option<&'static str>, EmbeddedFile)> {
    [("br", ".br"), ("gzip", ".gz")]
        .into_iter()
        .filter(|(encoding, _)| accepts(headers, encoding))
        .find_map(|(encoding, ending)| Some((Some(encoding), Files::get(&format!("{name}{ending}"))?)))
        .or_else(|| Some((None, Files::get(name)?)))
}

/// Whether `Accept-Encoding` (RFC 9110 section 12.5.3) names an encoding without refusing it.
fn accepts(headers: &HeaderMap, encoding: &str) -> bool {
    let named = headers.get_all(ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    named.flat_map(|value| value.split(',')).any(|one| {
        let (name, weight) = one.split_once(';').unwrap_or((one, ""));
        let refused =
            weight.trim().strip_prefix("q=").and_then(|q| q.trim().parse::<f32>().ok()).is_some_and(|q| q <= 0.0);
        name.trim().eq_ignore_ascii_case(encoding) && !refused
    })
}

/// Strong: each encoding is a representation of its own (RFC 9110 section 8.8.3).
fn tag(file: &EmbeddedFile, encoding: Option<&str>) -> String {
    use std::fmt::Write as _;
    let mut tag = String::from("\"");
    for byte in &file.metadata.sha256_hash()[..16] {
        let _ = write!(tag, "{byte:02x}");
    }
    let _ = write!(tag, "-{}\"", encoding.unwrap_or("plain"));
    tag
}

fn holds(headers: &HeaderMap, tag: &str) -> bool {
    let held = headers.get_all(IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    held.flat_map(|value| value.split(',')).any(|one| one.trim().trim_start_matches("W/") == tag)
}

/// The media type of what the build writes. Nothing else is served, source maps and compressed forms by name least of all.
fn kind(name: &str) -> Option<&'static str> {
    Some(match name.rsplit_once('.')?.1 {
        "html" => "text/html; charset=utf-8",
        "js" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "woff2" => "font/woff2",
        "txt" => "text/plain; charset=utf-8",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(HeaderName, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value))).collect()
    }

    async fn get(path: &str, accept: &'static str) -> Response {
        serve(Method::GET, path.parse().unwrap(), headers(&[(ACCEPT, accept)])).await
    }

    const BROWSER: &str = "text/html,application/xhtml+xml,*/*;q=0.8";

    #[tokio::test]
    async fn what_the_api_does_not_have_is_never_a_page() {
        for path in
            ["/api/nope", "/api", "/auth/nope", "/debug/nope", "/k8s/clusters/x", "/assets/gone.js", "/health/x"]
        {
            let answer = get(path, BROWSER).await;
            assert_eq!(answer.status(), StatusCode::NOT_FOUND, "{path}");
            assert!(answer.extensions().get::<ApiError>().is_some(), "{path}");
        }
        for accept in ["*/*", "application/json", ""] {
            assert!(get("/fleet", accept).await.extensions().get::<ApiError>().is_some(), "{accept}");
        }
    }

    #[tokio::test]
    async fn nothing_outside_the_build_is_served() {
        for path in ["/../Cargo.toml", "/assets/../../package.json", "/%2e%2e/package.json", "/index.html.br"] {
            assert!(get(path, "*/*").await.extensions().get::<ApiError>().is_some(), "{path}");
        }
        let posted = serve(Method::POST, "/fleet".parse().unwrap(), headers(&[(ACCEPT, BROWSER)])).await;
        assert!(posted.extensions().get::<ApiError>().is_some());
    }

    #[test]
    fn an_encoding_is_taken_when_it_is_named_and_not_refused() {
        let with = |value| headers(&[(ACCEPT_ENCODING, value)]);
        assert!(accepts(&with("gzip, deflate, br, zstd"), "br"));
        assert!(accepts(&with("gzip;q=0.5,BR;q=0.1"), "br"));
        assert!(!accepts(&with("gzip, br;q=0"), "br"));
        assert!(!accepts(&with("brx"), "br") && !accepts(&HeaderMap::new(), "gzip"));
    }

    #[test]
    fn a_held_tag_is_recognised_among_others() {
        assert!(holds(&headers(&[(IF_NONE_MATCH, "\"a\", W/\"b\"")]), "\"b\""));
        assert!(!holds(&headers(&[(IF_NONE_MATCH, "\"ab\"")]), "\"b\""));
    }
}
