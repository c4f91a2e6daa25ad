//! The hub's HTTP API: one call at a time, with deadlines, and its refusals in words.
//!
//! [`Transport`] sends what it is told; [`HubClient`] adds the caller's token. Both end connections after one
//! command, so there is nothing to tune.
//!
//! Must not know: any command, or how results are shown.

use std::error::Error;
use std::time::Duration;

use flotilla_types::problem::{Code, Problem};
use flotilla_types::sign_in::DeviceError;
use jiff::Timestamp;
use reqwest::header::{DATE, HeaderMap, LOCATION};
use reqwest::{Certificate, Client, Method, Response, StatusCode, redirect};
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::credentials::Store;
use crate::error::{CliError, plain};
use crate::hub_url::HubUrl;
use crate::session;

const CONNECT_DEADLINE: Duration = Duration::from_secs(10);
const DEADLINE: Duration = Duration::from_secs(30);

/// Pauses before the second and the third try of a GET that met no hub.
const RETRY_AFTER: [Duration; 2] = [Duration::from_millis(200), Duration::from_millis(800)];

/// Largest answer that is read, in bytes; a page of 1000 audit rows is below 2 MiB.
const MAX_ANSWER: usize = 32 << 20;

/// Whose certificates are believed.
#[derive(Clone, Debug)]
pub(crate) enum Trust {
    /// Those of the system.
    System,
    /// Those of one CA (PEM) and no other.
    Only(String),
    /// Anyone's. For the one question that [`crate::trust`] then checks against a fingerprint.
    Anyone,
}

impl Trust {
    /// The CA remembered for a hub, or the system's.
    pub(crate) fn remembered(ca: Option<&str>) -> Self {
        ca.map_or(Self::System, |pem| Self::Only(pem.to_owned()))
    }
}

/// Why a call brought no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CallError {
    /// No connection, or it broke. Nothing of ours went wrong.
    #[error("cannot reach the hub at {hub}: {reason}")]
    Unreachable {
        /// The hub.
        hub: String,
        /// In words.
        reason: String,
        /// Whether the hub cannot have seen the request.
        unsent: bool,
    },
    /// The hub's certificate is not believed.
    #[error("the certificate of the hub at {hub} is not trusted: {reason}")]
    Certificate {
        /// The hub.
        hub: String,
        /// In words.
        reason: String,
    },
    /// The hub said no.
    #[error("{detail}")]
    Refused {
        /// HTTP status.
        status: StatusCode,
        /// What the hub says.
        detail: String,
        /// Stable code, when the answer was a problem document.
        code: Option<Code>,
        /// Finds the hub's log lines.
        request_id: Option<String>,
        /// Seconds after which to try again.
        retry_after: Option<String>,
    },
    /// An answer that no hub gives.
    #[error("{hub} does not answer as a hub: {reason}")]
    Strange {
        /// The hub.
        hub: String,
        /// What is strange.
        reason: String,
    },
}

impl From<CallError> for CliError {
    fn from(error: CallError) -> Self {
        let text = error.to_string();
        match error {
            CallError::Unreachable { .. } => Self::general(text).hint("check the address, and that the hub runs"),
            CallError::Certificate { .. } => {
                Self::general(text).hint("run: flotilla login, to see the hub's certificate authority and decide")
            }
            CallError::Strange { .. } => Self::general(text).hint("check the address: flotilla status shows it"),
            CallError::Refused { status, code, request_id, retry_after, .. } => {
                let (error, advice) = refusal(status, code, text, retry_after);
                let found = request_id.map(|id| format!("request id {}", plain(&id)));
                let hint: Vec<String> = advice.into_iter().chain(found).collect();
                if hint.is_empty() { error } else { error.hint(hint.join("; ")) }
            }
        }
    }
}

/// The error for a refusal and what to do, where that does not follow from the hub's own words.
fn refusal(status: StatusCode, code: Option<Code>, text: String, wait: Option<String>) -> (CliError, Option<String>) {
    match status {
        StatusCode::UNAUTHORIZED if code == Some(Code::InvalidCredentials) => {
            (CliError::not_signed_in(text), Some("check address and password".to_owned()))
        }
        StatusCode::UNAUTHORIZED => (CliError::not_signed_in(text), Some("run: flotilla login".to_owned())),
        StatusCode::FORBIDDEN => (CliError::not_allowed(text), Some("see what you may do: flotilla status".to_owned())),
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
            (CliError::general(text), wait.map(|seconds| format!("try again in {} s", plain(&seconds))))
        }
        _ => (CliError::general(text), None),
    }
}

/// One call.
#[derive(Clone, Debug)]
pub(crate) struct Call<'a> {
    method: Method,
    path: Vec<&'a str>,
    query: Vec<(&'static str, String)>,
    body: Option<Value>,
    deadline: Duration,
}

impl<'a> Call<'a> {
    /// A call without query and body. `path` is a list of segments, not yet encoded.
    pub(crate) fn new(method: Method, path: &[&'a str]) -> Self {
        Self { method, path: path.to_vec(), query: Vec::new(), body: None, deadline: DEADLINE }
    }

    /// `GET`.
    pub(crate) fn get(path: &[&'a str]) -> Self {
        Self::new(Method::GET, path)
    }

    /// `POST`.
    pub(crate) fn post(path: &[&'a str]) -> Self {
        Self::new(Method::POST, path)
    }

    /// `PUT`.
    pub(crate) fn put(path: &[&'a str]) -> Self {
        Self::new(Method::PUT, path)
    }

    /// `DELETE`.
    pub(crate) fn delete(path: &[&'a str]) -> Self {
        Self::new(Method::DELETE, path)
    }

    /// Sends `body` as JSON.
    ///
    /// # Errors
    /// When it has no form in JSON, which none of our types does.
    pub(crate) fn json(mut self, body: &impl Serialize) -> Result<Self, CliError> {
        self.body = Some(serde_json::to_value(body).map_err(|error| CliError::general(error.to_string()))?);
        Ok(self)
    }

    /// Adds query parameters.
    #[must_use]
    pub(crate) fn query(mut self, query: Vec<(&'static str, String)>) -> Self {
        self.query = query;
        self
    }

    /// Another deadline than 30 s.
    #[must_use]
    pub(crate) fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }
}

/// An answer and the hub's clock at that moment.
#[derive(Debug)]
pub(crate) struct Answer<T> {
    /// The body.
    pub(crate) body: T,
    /// `Date` of the answer: with it an expiry can be counted by this machine's clock.
    pub(crate) hub_time: Option<Timestamp>,
}

/// HTTP to one hub, without credentials of its own.
#[derive(Clone, Debug)]
pub(crate) struct Transport {
    hub: HubUrl,
    http: Client,
}

impl Transport {
    /// Prepares HTTP to a hub; nothing is sent yet.
    ///
    /// # Errors
    /// When a CA is not PEM.
    pub(crate) fn new(hub: &HubUrl, trust: &Trust) -> Result<Self, CliError> {
        let mut builder = Client::builder()
            .user_agent(concat!("flotilla/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT_DEADLINE)
            // A redirect elsewhere would carry a password along; the person corrects the address once instead.
            .redirect(redirect::Policy::none());
        if hub.is_loopback() {
            builder = builder.no_proxy();
        }
        builder = match trust {
            Trust::System => builder,
            Trust::Only(pem) => builder.tls_certs_only(certificates(pem)?),
            Trust::Anyone => builder.tls_danger_accept_invalid_certs(true),
        };
        let http = builder.build().map_err(|error| CliError::general(format!("cannot set up HTTPS: {error}")))?;
        Ok(Self { hub: hub.clone(), http })
    }

    /// Makes one call. A GET that met no hub is tried twice more, and so is any call that never left.
    ///
    /// # Errors
    /// As [`CallError`] says.
    pub(crate) async fn call<T: DeserializeOwned>(
        &self,
        call: &Call<'_>,
        token: Option<&SecretString>,
    ) -> Result<Answer<T>, CallError> {
        let mut pauses = RETRY_AFTER.iter();
        let response = loop {
            match self.send(call, token).await {
                Err(error) if may_retry(&error, &call.method) => match pauses.next() {
                    Some(pause) => tokio::time::sleep(*pause).await,
                    None => return Err(error),
                },
                other => break other?,
            }
        };
        self.read(response).await
    }

    /// Makes one call and hands its answer on piece by piece, however long it is.
    ///
    /// # Errors
    /// As [`CallError`] says, and those of `take`.
    async fn download(
        &self,
        call: &Call<'_>,
        token: &SecretString,
        mut take: impl FnMut(&[u8]) -> Result<(), CliError>,
    ) -> Result<(), CliError> {
        let mut response = self.send(call, Some(token)).await?;
        if !response.status().is_success() {
            self.read::<Value>(response).await?;
            return Err(self.strange("it refuses without a refusal".to_owned()).into());
        }
        while let Some(chunk) = response.chunk().await.map_err(|error| self.broken(&error))? {
            take(&chunk)?;
        }
        Ok(())
    }

    async fn send(&self, call: &Call<'_>, token: Option<&SecretString>) -> Result<Response, CallError> {
        let mut url = self.hub.join(&call.path);
        if !call.query.is_empty() {
            url.query_pairs_mut().extend_pairs(&call.query);
        }
        let mut request = self.http.request(call.method.clone(), url).timeout(call.deadline);
        if let Some(token) = token {
            request = request.bearer_auth(token.expose_secret());
        }
        if let Some(body) = &call.body {
            request = request.json(body);
        }
        request.send().await.map_err(|error| self.broken(&error))
    }

    /// Makes one call whose answer may be long, and hands it on as it comes.
    ///
    /// # Errors
    /// As [`CallError`] says, and those of `take`.
    pub(crate) async fn stream(
        &self,
        call: &Call<'_>,
        token: Option<&SecretString>,
        mut take: impl FnMut(&[u8]) -> Result<(), CliError>,
    ) -> Result<(), CliError> {
        let mut response = self.send(call, token).await?;
        if !response.status().is_success() {
            return self.read::<serde::de::IgnoredAny>(response).await.map(drop).map_err(CliError::from);
        }
        while let Some(chunk) = response.chunk().await.map_err(|error| self.broken(&error))? {
            take(&chunk)?;
        }
        Ok(())
    }

    async fn read<T: DeserializeOwned>(&self, mut response: Response) -> Result<Answer<T>, CallError> {
        let status = response.status();
        let headers = std::mem::take(response.headers_mut());
        let body = self.bounded_body(response).await?;
        if status.is_redirection() {
            let to = text_of(&headers, LOCATION.as_str()).unwrap_or_else(|| "elsewhere".to_owned());
            return Err(self.strange(format!("it redirects to {to}; use that address")));
        }
        if !status.is_success() {
            return Err(refused(status, &headers, &body));
        }
        // An answer without a body (204) reads as null, which is what `()` is.
        let bytes: &[u8] = if body.is_empty() { b"null" } else { &body };
        let body = serde_json::from_slice(bytes).map_err(|error| {
            // Line and column only: a body may hold a token.
            self.strange(format!("its answer does not fit at line {}, column {}", error.line(), error.column()))
        })?;
        Ok(Answer { body, hub_time: text_of(&headers, DATE.as_str()).and_then(|date| http_date(&date)) })
    }

    async fn bounded_body(&self, mut response: Response) -> Result<Vec<u8>, CallError> {
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| self.broken(&error))? {
            if body.len() + chunk.len() > MAX_ANSWER {
                return Err(self.strange("its answer is larger than 32 MiB".to_owned()));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }

    fn strange(&self, reason: String) -> CallError {
        CallError::Strange { hub: self.hub.to_string(), reason }
    }

    fn broken(&self, error: &reqwest::Error) -> CallError {
        let hub = self.hub.to_string();
        if let Some(reason) = certificate_reason(error) {
            return CallError::Certificate { hub, reason };
        }
        let reason = if error.is_timeout() { "it does not answer in time".to_owned() } else { innermost(error) };
        CallError::Unreachable { hub, reason, unsent: error.is_connect() }
    }
}

fn certificates(pem: &str) -> Result<Vec<Certificate>, CliError> {
    let wrong =
        || CliError::general("the CA certificate is not PEM").hint("it begins with -----BEGIN CERTIFICATE-----");
    let found = Certificate::from_pem_bundle(pem.as_bytes()).map_err(|_| wrong())?;
    if found.is_empty() { Err(wrong()) } else { Ok(found) }
}

fn may_retry(error: &CallError, method: &Method) -> bool {
    matches!(error, CallError::Unreachable { unsent, .. } if *unsent || *method == Method::GET)
}

fn text_of(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
}

/// RFC 9110 section 5.6.7; its preferred form is also one of RFC 2822.
fn http_date(text: &str) -> Option<Timestamp> {
    jiff::fmt::rfc2822::parse(text).ok().map(|zoned| zoned.timestamp())
}

fn refused(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> CallError {
    let problem: Option<Problem> = serde_json::from_slice(body).ok();
    let request_id = text_of(headers, "x-request-id");
    let retry_after = text_of(headers, "retry-after");
    match problem {
        Some(problem) => CallError::Refused {
            status,
            detail: problem.detail,
            code: Some(problem.code),
            request_id: Some(problem.request_id).filter(|id| !id.is_empty()).or(request_id),
            retry_after,
        },
        None => CallError::Refused {
            status,
            // The token endpoint answers as OAuth does (RFC 6749 section 5.2).
            detail: serde_json::from_slice(body)
                .map_or_else(|_| format!("the hub answered {status}"), |DeviceError { error }| error),
            code: None,
            request_id,
            retry_after,
        },
    }
}

/// The certificate's fault, when it was that.
fn certificate_reason(error: &(dyn Error + 'static)) -> Option<String> {
    if let Some(rustls::Error::InvalidCertificate(reason)) = error.downcast_ref() {
        return Some(reason.to_string());
    }
    // An I/O error names as its source the source of what it wraps, and so hides what it wraps.
    let wrapped = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
    match wrapped {
        Some(wrapped) => certificate_reason(wrapped),
        None => error.source().and_then(certificate_reason),
    }
}

/// The first cause: what the outer errors say is only that there was one.
fn innermost(error: &reqwest::Error) -> String {
    let mut last: &dyn Error = error;
    while let Some(inner) = last.source() {
        last = inner;
    }
    last.to_string()
}

/// The API as the signed-in person.
#[derive(Debug)]
pub(crate) struct HubClient {
    transport: Transport,
    store: Store,
    hub: HubUrl,
}

impl HubClient {
    /// A client that takes tokens out of `store`.
    pub(crate) fn new(transport: Transport, store: Store, hub: HubUrl) -> Self {
        Self { transport, store, hub }
    }

    /// Makes one call as the signed-in person. A token that the hub no longer takes is renewed once.
    ///
    /// # Errors
    /// Those of the hub, and exit code 3 when there is no session.
    pub(crate) async fn call<T: DeserializeOwned>(&self, call: &Call<'_>) -> Result<T, CliError> {
        let session = session::current(&self.store, &self.hub, &self.transport).await?;
        match self.transport.call(call, Some(&session.token)).await {
            Err(CallError::Refused { status: StatusCode::UNAUTHORIZED, code, .. })
                if code != Some(Code::InvalidCredentials) =>
            {
                let session = session::renewed(&self.store, &self.hub, &self.transport, &session.token).await?;
                Ok(self.transport.call(call, Some(&session.token)).await?.body)
            }
            other => Ok(other?.body),
        }
    }

    /// Makes one call whose answer may be long, and hands it on as it comes.
    ///
    /// # Errors
    /// As [`HubClient::call`], and those of `take`.
    pub(crate) async fn stream(
        &self,
        call: &Call<'_>,
        take: impl FnMut(&[u8]) -> Result<(), CliError>,
    ) -> Result<(), CliError> {
        let session = session::current(&self.store, &self.hub, &self.transport).await?;
        self.transport.stream(call, Some(&session.token), take).await
    }
}

impl HubClient {
    /// Makes one call as the signed-in person and hands its answer on piece by piece.
    ///
    /// # Errors
    /// Those of the hub and of `take`, and exit code 3 when there is no session.
    pub(crate) async fn download(
        &self,
        call: &Call<'_>,
        take: impl FnMut(&[u8]) -> Result<(), CliError>,
    ) -> Result<(), CliError> {
        let session = session::current(&self.store, &self.hub, &self.transport).await?;
        self.transport.download(call, &session.token, take).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn http_dates() {
        let wanted: Timestamp = "1994-11-06T08:49:37Z".parse().unwrap();
        assert_eq!(http_date("Sun, 06 Nov 1994 08:49:37 GMT"), Some(wanted));
        assert_eq!(http_date("yesterday"), None);
    }

    fn refusal_of(status: u16, body: &str) -> String {
        let mut headers = HeaderMap::new();
        headers.insert("x-request-id", "r-1".parse().unwrap());
        headers.insert("retry-after", "7".parse().unwrap());
        CliError::from(refused(StatusCode::from_u16(status).unwrap(), &headers, body.as_bytes())).render()
    }

    #[test]
    fn a_problem_is_shown_by_its_detail_with_the_request_id() {
        let problem = |status: u16, code: &str| {
            format!(
                r#"{{"type":"about:blank","title":"t","status":{status},"detail":"no\u001b[2J way","request_id":"p-1","code":"{code}"}}"#
            )
        };
        assert_eq!(
            refusal_of(403, &problem(403, "forbidden")),
            "error: no[2J way\nhint: see what you may do: flotilla status; request id p-1\n"
        );
        assert_eq!(refusal_of(409, &problem(409, "conflict")), "error: no[2J way\nhint: request id p-1\n");
        assert_eq!(
            refusal_of(429, &problem(429, "too_many_requests")),
            "error: no[2J way\nhint: try again in 7 s; request id p-1\n"
        );
        assert_eq!(
            refusal_of(401, &problem(401, "unauthenticated")),
            "error: no[2J way\nhint: run: flotilla login; request id p-1\n"
        );
        assert_eq!(refusal_of(502, "<html>"), "error: the hub answered 502 Bad Gateway\nhint: request id r-1\n");
    }

    #[test]
    fn only_what_changes_nothing_or_never_left_is_tried_again() {
        let broken = |unsent| CallError::Unreachable { hub: String::new(), reason: String::new(), unsent };
        assert!(may_retry(&broken(false), &Method::GET));
        assert!(may_retry(&broken(true), &Method::POST));
        assert!(!may_retry(&broken(false), &Method::POST));
        let strange = CallError::Strange { hub: String::new(), reason: String::new() };
        assert!(!may_retry(&strange, &Method::GET));
    }
}
