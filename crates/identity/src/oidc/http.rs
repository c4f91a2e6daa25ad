//! Calls to a provider: small, with a deadline, without redirects, answers bounded.
//!
//! Must not know: what is asked.

use reqwest::header::{ACCEPT, CONTENT_TYPE};
use reqwest::{Certificate, RequestBuilder, Url, redirect};
use secrecy::{ExposeSecret, SecretString};
use serde::de::DeserializeOwned;
use thiserror::Error;

use super::DEADLINE;

/// Largest answer that is read, in bytes. Key sets and discovery documents have a few thousand.
const MAX_ANSWER: usize = 1 << 20;

/// A provider could not be asked. Texts hold no addresses with codes or tokens.
#[derive(Debug, Error)]
pub enum HttpError {
    /// Not an address that may be asked.
    #[error("{0:?} is no address of a provider: use https://, or http:// on this machine")]
    Address(String),
    /// A CA that is not PEM.
    #[error("the provider's CA cannot be used: {0}")]
    Ca(String),
    /// No connection, or no answer in time.
    #[error("{host} does not answer: {reason}")]
    Unreachable {
        /// Whom.
        host: String,
        /// In words.
        reason: String,
    },
    /// An answer that no provider gives.
    #[error("{host} gives an answer that cannot be read: {reason}")]
    Strange {
        /// Who.
        host: String,
        /// In words.
        reason: String,
    },
}

/// A client for one provider.
#[derive(Clone, Debug)]
pub struct Http(reqwest::Client);

/// How a client proves at the token endpoint who it is (RFC 6749 section 2.3.1).
pub(super) enum Proof<'a> {
    Basic(&'a str, &'a SecretString),
    /// In the form, or not at all.
    None,
}

impl Http {
    /// A client that trusts the system's CAs, and `ca` (PEM) beside them.
    ///
    /// # Errors
    /// The CA is not PEM.
    pub fn new(ca: Option<&str>) -> Result<Self, HttpError> {
        let wrong = |error: reqwest::Error| HttpError::Ca(error.to_string());
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("flotilla/", env!("CARGO_PKG_VERSION")))
            .timeout(DEADLINE)
            .redirect(redirect::Policy::none());
        if let Some(ca) = ca {
            builder = builder.tls_certs_merge(Certificate::from_pem_bundle(ca.as_bytes()).map_err(wrong)?);
        }
        Ok(Self(builder.build().map_err(wrong)?))
    }

    /// The JSON at `url`; with `bearer`, as its holder.
    pub(super) async fn get<T: DeserializeOwned>(
        &self,
        url: &str,
        bearer: Option<&SecretString>,
    ) -> Result<T, HttpError> {
        let request = self.0.get(checked(url)?);
        let request = match bearer {
            Some(token) => request.bearer_auth(token.expose_secret()),
            None => request,
        };
        let (host, status, body) = send(url, request).await?;
        if !status.is_success() {
            return Err(HttpError::Strange { host, reason: format!("it answers {status}") });
        }
        read(host, &body)
    }

    /// Posts a form and reads the JSON answer, whatever its status: OAuth puts its refusals there.
    pub(super) async fn post_form<T: DeserializeOwned>(
        &self,
        url: &str,
        form: &[(&str, &str)],
        proof: Proof<'_>,
    ) -> Result<T, HttpError> {
        let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
        let mut request = self.0.post(checked(url)?);
        if let Proof::Basic(user, password) = proof {
            let encode = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
            request = request.basic_auth(encode(user), Some(encode(password.expose_secret())));
        }
        let request = request.header(CONTENT_TYPE, "application/x-www-form-urlencoded").body(body);
        let (host, _, body) = send(url, request).await?;
        read(host, &body)
    }
}

/// `https`, or `http` on this machine, for providers under test and beside the hub.
pub(super) fn checked(url: &str) -> Result<Url, HttpError> {
    let wrong = || HttpError::Address(url.to_owned());
    let parsed = Url::parse(url).map_err(|_| wrong())?;
    let host = parsed.host_str().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    let loopback = host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback());
    let fine = parsed.scheme() == "https" || parsed.scheme() == "http" && loopback;
    if fine && parsed.username().is_empty() && parsed.password().is_none() { Ok(parsed) } else { Err(wrong()) }
}

async fn send(url: &str, request: RequestBuilder) -> Result<(String, reqwest::StatusCode, Vec<u8>), HttpError> {
    let host = Url::parse(url).ok().and_then(|url| url.host_str().map(str::to_owned)).unwrap_or_default();
    let broken = |error: reqwest::Error| {
        let reason = if error.is_timeout() { "it takes too long".to_owned() } else { innermost(&error) };
        HttpError::Unreachable { host: host.clone(), reason }
    };
    let mut response = request.header(ACCEPT, "application/json").send().await.map_err(&broken)?;
    let status = response.status();
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(&broken)? {
        if body.len() + chunk.len() > MAX_ANSWER {
            return Err(HttpError::Strange { host, reason: format!("it is larger than {MAX_ANSWER} bytes") });
        }
        body.extend_from_slice(&chunk);
    }
    Ok((host, status, body))
}

/// Line and column only: a body may hold a token.
fn read<T: DeserializeOwned>(host: String, body: &[u8]) -> Result<T, HttpError> {
    serde_json::from_slice(body).map_err(|error| HttpError::Strange {
        host,
        reason: format!("it is not the JSON that was expected (line {}, column {})", error.line(), error.column()),
    })
}

/// The first cause; the outer ones repeat the address, which may hold a code.
fn innermost(error: &reqwest::Error) -> String {
    let mut last: &dyn std::error::Error = error;
    while let Some(inner) = last.source() {
        last = inner;
    }
    last.to_string()
}

#[cfg(test)]
mod tests {
    use super::checked;

    #[test]
    fn only_https_or_this_machine() {
        for good in
            ["https://idp.example.com/x", "http://localhost:8080/realms/x", "http://127.0.0.1:1", "http://[::1]:1"]
        {
            assert!(checked(good).is_ok(), "{good}");
        }
        for bad in
            ["http://idp.example.com", "ftp://localhost", "https://u:p@idp", "idp", "http://localhost.evil.example"]
        {
            assert!(checked(bad).is_err(), "{bad}");
        }
    }
}
