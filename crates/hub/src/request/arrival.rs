//! From where a request comes and which session cookie it brought: what signing in needs to know. And the cookie itself.
//!
//! Over TLS the cookie is `__Host-flotilla`: the prefix makes browsers refuse one that was set without `Secure`, for
//! another path, or by a neighbouring host (RFC 6265bis section 4.1.3.2). Over plain HTTP, which only loopback may speak,
//! browsers refuse that prefix, so it is `flotilla` there. Each is believed on its own kind of connection only: who can
//! plant the plain one (another program on a port of localhost) cannot plant what counts over TLS.
//!
//! Must not know: what a session is.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::FromRequestParts;
use flotilla_identity::api_key::{is_opaque, opaque_hash};
use flotilla_store::Device;
use http::header::{COOKIE, USER_AGENT};
use http::request::Parts;
use http::{HeaderMap, HeaderValue};
use secrecy::{ExposeSecret, SecretString};

use super::{RequestContext, csrf};
use crate::config::Config;
use crate::error::ApiError;
use crate::hub::Hub;

/// The cookie over TLS.
pub const SECURE_COOKIE: &str = "__Host-flotilla";

/// The cookie over plain HTTP on loopback.
pub const PLAIN_COOKIE: &str = "flotilla";

/// Longest `User-Agent` that is kept, in characters.
const MAX_USER_AGENT: usize = 256;

/// How a request reached the listener; a listener puts it into the request's extensions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Channel {
    /// Whether the connection is TLS.
    pub tls: bool,
}

/// From where somebody arrives.
pub struct Arrival {
    /// Address of the connection.
    pub address: IpAddr,
    /// `User-Agent`, cut, printable characters only.
    pub user_agent: String,
    /// Whether the browser's own connection is encrypted.
    pub secure: bool,
    /// For whose page the request was sent.
    pub site: csrf::Site,
    cookie: Option<SecretString>,
}

impl Arrival {
    pub(crate) fn new(parts: &Parts, address: IpAddr, config: &Config) -> Self {
        let agent = parts.headers.get(USER_AGENT).map(|value| String::from_utf8_lossy(value.as_bytes()));
        let printable = |text: std::borrow::Cow<'_, str>| {
            text.chars().filter(|c| !c.is_control()).take(MAX_USER_AGENT).collect::<String>()
        };
        let secure = is_secure(parts, config);
        Self {
            address,
            user_agent: agent.map(printable).unwrap_or_default(),
            secure,
            site: csrf::site(parts, config),
            cookie: session_cookie(&parts.headers, secure).map(SecretString::from),
        }
    }

    /// Hash of the session cookie that the request brought.
    #[must_use]
    pub fn cookie_hash(&self) -> Option<String> {
        self.cookie.as_ref().map(ExposeSecret::expose_secret).filter(|value| is_opaque(value)).map(opaque_hash)
    }

    /// What the store keeps of it.
    #[must_use]
    pub fn device(&self) -> Device {
        Device { user_agent: self.user_agent.clone(), address: self.address.to_string() }
    }

    /// Refuses to sign a browser in for a page of another site, which would sign people in as somebody else.
    ///
    /// # Errors
    /// The page is another's.
    pub fn refuse_foreign(&self) -> Result<(), ApiError> {
        csrf::refuse_site(self.site)
    }

    /// `Set-Cookie` of a new session that lives at most for `lives`.
    #[must_use]
    pub fn set_cookie(&self, value: &SecretString, lives: Duration) -> HeaderValue {
        self.cookie_header(value.expose_secret(), lives.as_secs())
    }

    /// `Set-Cookie` that takes the session's cookie away.
    #[must_use]
    pub fn clear_cookie(&self) -> HeaderValue {
        self.cookie_header("", 0)
    }

    fn cookie_header(&self, value: &str, max_age: u64) -> HeaderValue {
        let (name, secure) = if self.secure { (SECURE_COOKIE, "; Secure") } else { (PLAIN_COOKIE, "") };
        let text = format!("{name}={value}; Path=/; Max-Age={max_age}; HttpOnly; SameSite=Lax{secure}");
        // The value is base64url, so this always is a header; a browser takes an empty one for no cookie.
        let mut header = HeaderValue::from_str(&text).unwrap_or_else(|_| HeaderValue::from_static(""));
        header.set_sensitive(true);
        header
    }
}

impl FromRequestParts<Arc<Hub>> for Arrival {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, hub: &Arc<Hub>) -> Result<Self, ApiError> {
        let context = RequestContext::from_request_parts(parts, hub).await?;
        Ok(Self::new(parts, context.address, &hub.config))
    }
}

/// Whether the browser's connection is encrypted: ours is TLS, or a proxy terminates it (`tls.enabled` off) and people
/// are told to come by https.
pub(crate) fn is_secure(parts: &Parts, config: &Config) -> bool {
    let tls = parts.extensions.get::<Channel>().is_some_and(|channel| channel.tls);
    tls || (!config.tls.enabled && config.public_url().starts_with("https://"))
}

/// The value of the session cookie. Two cookies of that name are none: a browser sends one, and which of two counts
/// must not be up to whoever planted the other.
pub(crate) fn session_cookie(headers: &HeaderMap, secure: bool) -> Option<&str> {
    let wanted = if secure { SECURE_COOKIE } else { PLAIN_COOKIE };
    let lines = headers.get_all(COOKIE).iter().filter_map(|line| line.to_str().ok());
    let pairs = lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    let mut values = pairs.filter(|(name, _)| *name == wanted).map(|(_, value)| value);
    values.next().filter(|value| !value.is_empty() && values.next().is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[&'static str]) -> HeaderMap {
        lines.iter().map(|line| (COOKIE, HeaderValue::from_static(line))).collect()
    }

    #[test]
    fn each_name_counts_on_its_own_connection() {
        let both = headers(&["a=b; __Host-flotilla=secure; flotilla=plain"]);
        assert_eq!(session_cookie(&both, true), Some("secure"));
        assert_eq!(session_cookie(&both, false), Some("plain"));
        assert_eq!(session_cookie(&headers(&["flotilla=plain"]), true), None);
        assert_eq!(session_cookie(&headers(&["x=1", "__Host-flotilla=two"]), true), Some("two"), "HTTP/2 splits them");
    }

    #[test]
    fn two_of_a_name_are_none() {
        assert_eq!(session_cookie(&headers(&["flotilla=planted; flotilla=own"]), false), None);
        assert_eq!(session_cookie(&headers(&["flotilla=planted", "flotilla=own"]), false), None);
        assert_eq!(session_cookie(&headers(&["flotilla="]), false), None);
    }

    #[test]
    fn the_cookie_is_for_this_host_and_no_script() {
        let arrival = |secure| Arrival {
            address: IpAddr::from([127, 0, 0, 1]),
            user_agent: String::new(),
            secure,
            site: csrf::Site::Unsaid,
            cookie: None,
        };
        let (value, hour) = (SecretString::from("abc"), Duration::from_secs(3600));
        let text = |header: &HeaderValue| header.to_str().unwrap().to_owned();
        assert_eq!(
            text(&arrival(true).set_cookie(&value, hour)),
            "__Host-flotilla=abc; Path=/; Max-Age=3600; HttpOnly; SameSite=Lax; Secure"
        );
        assert_eq!(
            text(&arrival(false).set_cookie(&value, hour)),
            "flotilla=abc; Path=/; Max-Age=3600; HttpOnly; SameSite=Lax"
        );
        assert!(text(&arrival(true).clear_cookie()).starts_with("__Host-flotilla=; Path=/; Max-Age=0;"));
        assert!(arrival(true).set_cookie(&value, hour).is_sensitive());
    }
}
