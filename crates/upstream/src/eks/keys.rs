//! The hub's own AWS credentials, from where AWS puts them for a program in a pod: IRSA, Pod Identity, or static keys
//! in the environment. In this order, as in the AWS SDKs.
//!
//! Must not know: EKS, what is signed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use flotilla_settings::Secret;
use flotilla_tunnel::body;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use http::{Method, Uri};
use serde::Deserialize;
use tokio::sync::Mutex;

use crate::call::{Answer, Caller, get};
use crate::credentials::sensitive;
use crate::error::UpstreamError;
use crate::tls::Trust;

/// Credentials are renewed when they have no longer than this.
const AHEAD: Duration = Duration::from_secs(300);
/// Where Pod Identity's agent listens, beside loopback
/// (<https://docs.aws.amazon.com/sdkref/latest/guide/feature-container-credentials.html>).
const POD_IDENTITY_HOSTS: [&str; 4] = ["169.254.170.2", "169.254.170.23", "[fd00:ec2::23]", "localhost"];

/// What AWS's variables say. Others are of no interest here.
#[derive(Clone, Default)]
pub struct AwsEnvironment(BTreeMap<String, String>);

impl std::fmt::Debug for AwsEnvironment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("AwsEnvironment").field(&self.0.keys()).finish()
    }
}

impl AwsEnvironment {
    /// The variables that begin with `AWS_`.
    pub fn new(variables: impl IntoIterator<Item = (String, String)>) -> Self {
        Self(variables.into_iter().filter(|(name, value)| name.starts_with("AWS_") && !value.is_empty()).collect())
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// Where STS is, without a slash at the end. `AWS_ENDPOINT_URL_STS` is the SDKs' own name for another place.
    pub(super) fn sts_endpoint(&self, region: &str) -> String {
        let suffix = if region.starts_with("cn-") { ".cn" } else { "" };
        let usual = || format!("https://sts.{region}.amazonaws.com{suffix}");
        self.get("AWS_ENDPOINT_URL_STS").map_or_else(usual, |url| url.trim_end_matches('/').to_owned())
    }
}

/// Credentials and their end.
#[derive(Clone)]
pub(super) struct Issued {
    pub(super) credentials: Credentials,
}

impl Issued {
    /// How long they still hold; `None` when they do not end.
    pub(super) fn left(&self) -> Option<Duration> {
        let end = self.credentials.expiry()?;
        Some(end.duration_since(SystemTime::now()).unwrap_or_default())
    }

    fn is_fresh(&self) -> bool {
        self.left().is_none_or(|left| left > AHEAD)
    }
}

/// Where credentials come from, and those that were fetched.
pub(super) struct Keys {
    source: Source,
    caller: Caller,
    held: Mutex<Option<Issued>>,
}

enum Source {
    Static(Credentials),
    WebIdentity { endpoint: String, role: String, session: String, token_file: PathBuf },
    Container { uri: Uri, token: ContainerToken },
}

enum ContainerToken {
    None,
    Given(Secret),
    File(PathBuf),
}

impl Keys {
    pub(super) fn find(environment: &AwsEnvironment, endpoint: &str) -> Result<Self, UpstreamError> {
        let source = Source::find(environment, endpoint)?;
        Ok(Self { source, caller: Caller::new(&Trust::System)?, held: Mutex::new(None) })
    }

    /// Credentials that hold for a while.
    pub(super) async fn current(&self) -> Result<Issued, UpstreamError> {
        let mut held = self.held.lock().await;
        if let Some(issued) = held.as_ref().filter(|issued| issued.is_fresh()) {
            return Ok(issued.clone());
        }
        let credentials = match &self.source {
            Source::Static(credentials) => credentials.clone(),
            Source::WebIdentity { endpoint, role, session, token_file } => {
                self.assume(endpoint, role, session, token_file).await?
            }
            Source::Container { uri, token } => self.container(uri, token).await?,
        };
        let issued = Issued { credentials };
        *held = Some(issued.clone());
        Ok(issued)
    }

    /// `AssumeRoleWithWebIdentity`, which needs no signature.
    async fn assume(
        &self,
        endpoint: &str,
        role: &str,
        session: &str,
        file: &Path,
    ) -> Result<Credentials, UpstreamError> {
        let request = assume_request(endpoint, role, session, &read(file).await?)?;
        let answer = self.caller.call("AWS STS", request).await?;
        let text = succeeded("AWS STS", &answer)?;
        let part = |name| {
            element(text, name).ok_or_else(|| UpstreamError::credentials(format!("AWS STS answers without {name}")))
        };
        let end = instant(part("Expiration")?)?;
        Ok(credentials(part("AccessKeyId")?, part("SecretAccessKey")?, Some(part("SessionToken")?), Some(end)))
    }

    async fn container(&self, uri: &Uri, token: &ContainerToken) -> Result<Credentials, UpstreamError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Answered {
            access_key_id: String,
            secret_access_key: Secret,
            token: Secret,
            expiration: String,
        }
        let mut request = get(uri.clone());
        let token = match token {
            ContainerToken::None => None,
            ContainerToken::Given(token) => Some(token.clone()),
            ContainerToken::File(path) => Some(read(path).await?),
        };
        if let Some(token) = token {
            request.headers_mut().insert(AUTHORIZATION, sensitive(token.expose())?);
        }
        let answer = self.caller.call("the AWS credential service", request).await?;
        let text = succeeded("the AWS credential service", &answer)?;
        let answered: Answered = serde_json::from_str(text)
            .map_err(|_| UpstreamError::credentials("the AWS credential service gives no credentials"))?;
        let end = instant(&answered.expiration)?;
        let (secret, token) = (answered.secret_access_key.expose(), answered.token.expose());
        Ok(credentials(&answered.access_key_id, secret, Some(token), Some(end)))
    }
}

impl Source {
    fn find(environment: &AwsEnvironment, endpoint: &str) -> Result<Self, UpstreamError> {
        let get = |name| environment.get(name);
        if let (Some(id), Some(secret)) = (get("AWS_ACCESS_KEY_ID"), get("AWS_SECRET_ACCESS_KEY")) {
            return Ok(Self::Static(credentials(id, secret, get("AWS_SESSION_TOKEN"), None)));
        }
        if let (Some(file), Some(role)) = (get("AWS_WEB_IDENTITY_TOKEN_FILE"), get("AWS_ROLE_ARN")) {
            let session = get("AWS_ROLE_SESSION_NAME").unwrap_or("flotilla").to_owned();
            crate::call::secure("AWS_ENDPOINT_URL_STS", endpoint)?;
            return Ok(Self::WebIdentity {
                endpoint: endpoint.to_owned(),
                role: role.to_owned(),
                session,
                token_file: file.into(),
            });
        }
        if let Some(address) = get("AWS_CONTAINER_CREDENTIALS_FULL_URI") {
            let token = match (get("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"), get("AWS_CONTAINER_AUTHORIZATION_TOKEN"))
            {
                (Some(file), _) => ContainerToken::File(file.into()),
                (None, Some(token)) => ContainerToken::Given(token.to_owned().into()),
                (None, None) => ContainerToken::None,
            };
            return Ok(Self::Container { uri: container_uri(address)?, token });
        }
        Err(UpstreamError::credentials(
            "the hub has no AWS credentials: give its service account a role (IRSA or EKS Pod Identity), or set \
             AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
        ))
    }
}

fn assume_request(
    endpoint: &str,
    role: &str,
    session: &str,
    token: &Secret,
) -> Result<http::Request<body::Body>, UpstreamError> {
    let mut form = form_urlencoded::Serializer::new(String::new());
    form.append_pair("Action", "AssumeRoleWithWebIdentity").append_pair("Version", "2011-06-15");
    form.append_pair("RoleArn", role).append_pair("RoleSessionName", session);
    form.append_pair("WebIdentityToken", token.expose());
    let uri = format!("{endpoint}/").parse().map_err(|_| UpstreamError::invalid("AWS_ENDPOINT_URL_STS is no URL"))?;
    let mut request = get(uri);
    *request.method_mut() = Method::POST;
    *request.body_mut() = body::full(form.finish());
    let form_type = HeaderValue::from_static("application/x-www-form-urlencoded");
    request.headers_mut().insert(CONTENT_TYPE, form_type);
    Ok(request)
}

fn container_uri(address: &str) -> Result<Uri, UpstreamError> {
    let bad =
        || UpstreamError::invalid("AWS_CONTAINER_CREDENTIALS_FULL_URI leads neither to https:// nor to this machine");
    let uri: Uri = address.parse().map_err(|_| bad())?;
    let host = uri.host().ok_or_else(bad)?;
    let loopback = host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback()) || host == "[::1]";
    let near = uri.scheme_str() == Some("http") && (loopback || POD_IDENTITY_HOSTS.contains(&host));
    if near || uri.scheme_str() == Some("https") { Ok(uri) } else { Err(bad()) }
}

fn credentials(id: &str, secret: &str, token: Option<&str>, end: Option<SystemTime>) -> Credentials {
    Credentials::new(id, secret, token.map(str::to_owned), end, "flotilla")
}

async fn read(file: &Path) -> Result<Secret, UpstreamError> {
    let text = tokio::fs::read_to_string(file).await;
    let text = text.map_err(|error| UpstreamError::credentials(format!("cannot read {}: {error}", file.display())))?;
    Ok(text.trim().to_owned().into())
}

fn succeeded<'a>(whom: &str, answer: &'a Answer) -> Result<&'a str, UpstreamError> {
    let text = std::str::from_utf8(&answer.body).unwrap_or_default();
    if answer.status.is_success() {
        return Ok(text);
    }
    // STS names the reason; the message beside it may repeat the token.
    let code = element(text, "Code").filter(|code| code.len() < 64 && code.bytes().all(|b| b.is_ascii_alphanumeric()));
    let code = code.unwrap_or("no reason given");
    Err(UpstreamError::credentials(format!("{whom} gives no credentials ({}, {code})", answer.status.as_u16())))
}

/// The text of the first element of this name. What is read so (keys, tokens, times) has no characters that XML escapes.
fn element<'a>(xml: &'a str, name: &str) -> Option<&'a str> {
    let rest = xml.split_once(&format!("<{name}>"))?.1;
    rest.split_once(&format!("</{name}>")).map(|(text, _)| text.trim())
}

fn instant(text: &str) -> Result<SystemTime, UpstreamError> {
    let parsed: Result<jiff::Timestamp, _> = text.parse();
    parsed.map(SystemTime::from).map_err(|_| UpstreamError::credentials("AWS gives credentials without a readable end"))
}
