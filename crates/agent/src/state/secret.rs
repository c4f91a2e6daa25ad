//! One Secret of the cluster, for an agent whose pod has no disk that outlives it.
//!
//! Writing is server-side apply of one key (<https://kubernetes.io/docs/reference/using-api/server-side-apply/>): a
//! single request that needs no look before it, makes the Secret if that is allowed, touches nothing that others put
//! there, and leaves to others (`kubectl apply` of the manifest that made the Secret empty) nothing to take away.
//!
//! Must not know: what is in the Secret.

use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flotilla_settings::Secret;
use flotilla_tunnel::body::{self, Body};
use flotilla_types::status::Status;
use flotilla_upstream::{Upstream, UpstreamError};
use http::header::{ACCEPT, CONTENT_TYPE, HeaderValue};
use http::{Method, Request, StatusCode, Uri};
use serde::{Deserialize, Serialize, Serializer};
use thiserror::Error;
use zeroize::Zeroizing;

use super::FILE;
use crate::answer;

/// For one request and all of its answer.
const DEADLINE: Duration = Duration::from_secs(10);

/// Largest answer that is read. A Secret holds up to 1 MiB (`MaxSecretSize` in `k8s.io/api/core/v1`), a third more in
/// base64, and metadata.
const MAX_ANSWER: usize = 4 << 20;

/// Who we are in the Secret's `managedFields`.
const FIELD_MANAGER: &str = "flotilla-agent";

/// `NAMESPACE/NAME` of a Secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct SecretName {
    namespace: String,
    name: String,
}

/// A text that names no Secret.
#[derive(Debug, Error)]
#[error(
    "must be NAMESPACE/NAME of a Secret, in lower-case letters, digits and hyphens, for example flotilla-system/flotilla-agent-identity"
)]
pub(crate) struct InvalidSecretName;

impl TryFrom<String> for SecretName {
    type Error = InvalidSecretName;

    fn try_from(text: String) -> Result<Self, InvalidSecretName> {
        let (namespace, name) = text.split_once('/').ok_or(InvalidSecretName)?;
        let subdomain = name.len() <= 253 && name.split('.').all(is_label);
        if !(namespace.len() <= 63 && is_label(namespace) && subdomain) {
            return Err(InvalidSecretName);
        }
        Ok(Self { namespace: namespace.to_owned(), name: name.to_owned() })
    }
}

/// RFC 1123 as Kubernetes uses it
/// (<https://kubernetes.io/docs/concepts/overview/working-with-objects/names/#dns-label-names>), but for the length.
fn is_label(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    !text.is_empty() && text.bytes().all(inner) && !text.starts_with('-') && !text.ends_with('-')
}

impl From<SecretName> for String {
    fn from(name: SecretName) -> Self {
        name.to_string()
    }
}

impl fmt::Display for SecretName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// Why the Secret could not be read or written.
#[derive(Debug, Error)]
pub(crate) enum SecretError {
    /// The request was not answered.
    #[error("cannot {action} the Secret {secret}: {cause}")]
    Unanswered { action: Action, secret: SecretName, cause: UpstreamError },
    /// The answer did not come, or not all of it.
    #[error("cannot {action} the Secret {secret}: {cause}")]
    Broken { action: Action, secret: SecretName, cause: String },
    /// RBAC, most often.
    #[error(
        "the agent may not {action} the Secret {secret} (`state_secret`), in which it is to keep its key and certificate: bind it \
         in namespace {} to a Role with the rule {{apiGroups: [\"\"], resources: [secrets], resourceNames: [{}], verbs: \
         [get, patch]}}, and make the Secret, empty, if it is not there; the API server says: {message}",
        secret.namespace, secret.name
    )]
    Forbidden { action: Action, secret: SecretName, message: String },
    /// Any other answer that is not the one wanted.
    #[error("cannot {action} the Secret {secret}: the API server answered {status}: {message}")]
    Refused { action: Action, secret: SecretName, status: StatusCode, message: String },
}

/// What was to be done.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Action {
    Read,
    Write,
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Read => "read",
            Self::Write => "write",
        })
    }
}

impl SecretError {
    /// Whether the API server meant it, so that asking again soon is pointless.
    pub(crate) fn is_refusal(&self) -> bool {
        match self {
            Self::Unanswered { cause, .. } => {
                !matches!(cause, UpstreamError::Unreachable { .. } | UpstreamError::Timeout { .. })
            }
            Self::Broken { .. } => false,
            Self::Forbidden { .. } => true,
            // A conflict with another writer, too many requests, or a server that is unwell: another time.
            Self::Refused { status, .. } => {
                let later = [StatusCode::REQUEST_TIMEOUT, StatusCode::CONFLICT, StatusCode::TOO_MANY_REQUESTS];
                status.is_client_error() && !later.contains(status)
            }
        }
    }
}

/// The Secret as far as it matters here.
#[derive(Deserialize)]
struct Object {
    #[serde(default)]
    data: Option<HashMap<String, Secret>>,
}

/// One Secret.
pub(crate) struct KubernetesSecret {
    upstream: Upstream,
    name: SecretName,
    object: Uri,
    apply: Uri,
    dry_run: Uri,
}

impl KubernetesSecret {
    /// Nothing is asked yet.
    pub(super) fn new(upstream: Upstream, name: SecretName) -> anyhow::Result<Self> {
        let object = format!("/api/v1/namespaces/{}/secrets/{}", name.namespace, name.name);
        // What others wrote under our key gives way: nobody else has business there.
        let apply = format!("{object}?fieldManager={FIELD_MANAGER}&force=true");
        let uri = |text: &str| text.parse::<Uri>().context("`state_secret`");
        let dry_run = uri(&format!("{apply}&dryRun=All"))?;
        Ok(Self { upstream, object: uri(&object)?, apply: uri(&apply)?, dry_run, name })
    }

    pub(super) fn name(&self) -> &SecretName {
        &self.name
    }

    /// What is kept. `None` when there is no Secret, or nothing in it.
    pub(super) async fn read(&self) -> Result<Option<Zeroizing<Vec<u8>>>, SecretError> {
        let request = request(Method::GET, &self.object, body::empty());
        let (status, answer) = self.ask(Action::Read, request).await?;
        if status == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        if status != StatusCode::OK {
            return Err(self.refused(Action::Read, status, &answer));
        }
        content(&answer).map_err(|cause| self.broken(Action::Read, cause))
    }

    /// Has the API server do everything but store it.
    pub(super) async fn check_writable(&self) -> Result<(), SecretError> {
        self.patch(&self.dry_run, None).await
    }

    /// Replaces what is kept.
    pub(super) async fn write(&self, text: &[u8]) -> Result<(), SecretError> {
        self.patch(&self.apply, Some(text)).await
    }

    async fn patch(&self, uri: &Uri, text: Option<&[u8]>) -> Result<(), SecretError> {
        let configuration = Configuration::new(&self.name, text);
        let content = serde_json::to_vec(&configuration).map_err(|error| self.broken(Action::Write, error))?;
        let mut request = request(Method::PATCH, uri, body::full(content));
        // JSON is YAML, and this type is understood by servers that do not know the CBOR one yet.
        request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/apply-patch+yaml"));
        match self.ask(Action::Write, request).await? {
            (status, _) if status.is_success() => Ok(()),
            (status, answer) => Err(self.refused(Action::Write, status, &answer)),
        }
    }

    async fn ask(
        &self,
        action: Action,
        request: Request<Body>,
    ) -> Result<(StatusCode, Zeroizing<Vec<u8>>), SecretError> {
        let exchange = async {
            let unanswered = |cause| SecretError::Unanswered { action, secret: self.name.clone(), cause };
            let response = self.upstream.send_as_self(request).await.map_err(unanswered)?;
            let status = response.status();
            let answer = answer::read(response.into_body(), MAX_ANSWER).await;
            Ok((status, Zeroizing::new(answer.map_err(|error| self.broken(action, error))?)))
        };
        let late = |_| self.broken(action, format!("{} has not answered within 10 s", self.upstream.server()));
        tokio::time::timeout(DEADLINE, exchange).await.map_err(late)?
    }

    fn broken(&self, action: Action, cause: impl fmt::Display) -> SecretError {
        SecretError::Broken { action, secret: self.name.clone(), cause: cause.to_string() }
    }

    fn refused(&self, action: Action, status: StatusCode, answer: &[u8]) -> SecretError {
        let secret = self.name.clone();
        let message = serde_json::from_slice::<Status>(answer)
            .map_or_else(|_| "the answer is not a Kubernetes Status".to_owned(), |status| status.message);
        if status == StatusCode::FORBIDDEN {
            return SecretError::Forbidden { action, secret, message };
        }
        SecretError::Refused { action, secret, status, message }
    }
}

fn request(method: Method, uri: &Uri, body: Body) -> Request<Body> {
    let mut request = Request::new(body);
    *request.method_mut() = method;
    *request.uri_mut() = uri.clone();
    request.headers_mut().insert(ACCEPT, HeaderValue::from_static("application/json"));
    request
}

/// Our part of a Secret. The error must not repeat what is in it.
fn content(answer: &[u8]) -> Result<Option<Zeroizing<Vec<u8>>>, &'static str> {
    let object: Object = serde_json::from_slice(answer).map_err(|_| "the answer is not a Secret")?;
    let Some(encoded) = object.data.and_then(|mut data| data.remove(FILE)) else { return Ok(None) };
    let text = STANDARD.decode(encoded.expose()).map_err(|_| "its data is not in base64")?;
    Ok(Some(Zeroizing::new(text)))
}

/// What we want the Secret to have (`ApplyConfiguration`): our key, and no opinion on anything else.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Configuration<'a> {
    api_version: &'static str,
    kind: &'static str,
    metadata: Metadata<'a>,
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "under_our_key")]
    data: Option<Zeroizing<String>>,
}

#[derive(Serialize)]
struct Metadata<'a> {
    namespace: &'a str,
    name: &'a str,
}

fn under_our_key<S: Serializer>(text: &Option<Zeroizing<String>>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(text.iter().map(|text| (FILE, text.as_str())))
}

impl<'a> Configuration<'a> {
    fn new(name: &'a SecretName, text: Option<&[u8]>) -> Self {
        Self {
            api_version: "v1",
            kind: "Secret",
            metadata: Metadata { namespace: &name.namespace, name: &name.name },
            data: text.map(|text| Zeroizing::new(STANDARD.encode(text))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name() -> SecretName {
        SecretName::try_from("flotilla-system/flotilla-agent-identity".to_owned()).unwrap()
    }

    #[test]
    fn only_what_names_a_secret_becomes_part_of_a_path() {
        assert_eq!(name().to_string(), "flotilla-system/flotilla-agent-identity");
        assert!(SecretName::try_from("a/b.c-1.d".to_owned()).is_ok());
        let long = "a".repeat(64);
        for bad in [
            "",
            "a",
            "/",
            "a/",
            "/b",
            "a/b/c",
            "A/b",
            "a/B",
            "a/b?x",
            "a/..",
            "a/-b",
            "a.b/c",
            "a/b%2f",
            &format!("{long}/a"),
        ] {
            assert!(SecretName::try_from(bad.to_owned()).is_err(), "{bad}");
        }
    }

    #[test]
    fn reads_back_what_it_writes_and_nothing_from_an_empty_secret() {
        let written = serde_json::to_vec(&Configuration::new(&name(), Some(b"{\"key\":1}"))).unwrap();
        assert_eq!(content(&written).unwrap().unwrap().as_slice(), b"{\"key\":1}");
        let dry = serde_json::to_string(&Configuration::new(&name(), None)).unwrap();
        assert_eq!(
            dry,
            r#"{"apiVersion":"v1","kind":"Secret","metadata":{"namespace":"flotilla-system","name":"flotilla-agent-identity"}}"#
        );
        for empty in ["{}", "{\"data\":null}", "{\"data\":{\"other\":\"eA==\"}}"] {
            assert!(content(empty.as_bytes()).unwrap().is_none(), "{empty}");
        }
    }

    #[test]
    fn errors_do_not_repeat_what_is_in_the_secret() {
        for bad in ["{\"data\":{\"enrolment.json\":\"hunter2!\"}}", "{\"data\":\"hunter2\"}", "hunter2"] {
            assert!(!content(bad.as_bytes()).unwrap_err().contains("hunter2"), "{bad}");
        }
    }

    #[test]
    fn what_is_worth_asking_again_soon() {
        let refused = |code| SecretError::Refused {
            action: Action::Write,
            secret: name(),
            status: StatusCode::from_u16(code).unwrap(),
            message: String::new(),
        };
        for soon in [408, 409, 429, 500, 503, 504] {
            assert!(!refused(soon).is_refusal(), "{soon}");
        }
        for late in [400, 401, 404, 422] {
            assert!(refused(late).is_refusal(), "{late}");
        }
        let unanswered = |cause| SecretError::Unanswered { action: Action::Read, secret: name(), cause };
        assert!(!unanswered(UpstreamError::Timeout { server: String::new() }).is_refusal());
        assert!(unanswered(UpstreamError::Credentials { detail: String::new() }).is_refusal());
    }
}
