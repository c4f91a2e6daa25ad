//! Tokens of an `OpenID` provider for an API server that trusts it: with a refresh token, or with the client's own
//! credentials (RFC 6749 sections 6 and 4.4, OpenID Connect Discovery 1.0).
//!
//! Who calls is the hub's own account at the provider. The API server verifies the token; here only its end is read.
//!
//! Must not know: requests to the API server, where refresh tokens are kept.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use flotilla_settings::Secret;
use flotilla_tunnel::body;
use form_urlencoded::byte_serialize;
use futures_util::future::BoxFuture;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use http::{Method, Request, Uri};
use serde::Deserialize;
use tokio::sync::OnceCell;

use crate::call::{Answer, Caller, get, secure};
use crate::credentials::{bearer, sensitive};
use crate::error::UpstreamError;
use crate::renewed::{Token, TokenSource};
use crate::tls::Trust;

/// Life of a token that does not say.
const UNKNOWN_LIFE: Duration = Duration::from_secs(60);
/// Shorter lives are taken as this, so that a clock that is off does not make every request fetch one.
const SHORTEST_LIFE: Duration = Duration::from_secs(10);

/// The hub's account at a provider.
#[derive(Clone, Debug)]
pub struct OidcClient {
    /// The provider's issuer URL.
    pub issuer: String,
    /// CA of the provider, PEM; the machine's own CAs when left out.
    pub authorities: Option<String>,
    /// Client id.
    pub client_id: String,
    /// Client secret; a public client has none.
    pub client_secret: Option<Secret>,
    /// Scopes; `openid` when empty.
    pub scopes: Vec<String>,
}

/// The refresh token, which the provider may exchange for another at each use (RFC 9700 section 2.2.2).
pub trait RefreshTokens: Send + Sync + 'static {
    /// The one that holds now; `None`: the client's own credentials are used.
    ///
    /// # Errors
    /// Why it cannot be had, for people.
    fn current(&self) -> BoxFuture<'_, Result<Option<Secret>, String>>;

    /// The provider gave another one in its place, which must not be lost.
    ///
    /// # Errors
    /// Why it cannot be kept, for people.
    fn rotated(&self, token: Secret) -> BoxFuture<'_, Result<(), String>>;
}

/// Fetches tokens.
pub(crate) struct Oidc {
    client: OidcClient,
    caller: Caller,
    tokens: Arc<dyn RefreshTokens>,
    endpoint: OnceCell<Uri>,
}

#[derive(Deserialize)]
struct Discovery {
    issuer: String,
    token_endpoint: String,
}

#[derive(Deserialize)]
struct Granted {
    access_token: Option<Secret>,
    id_token: Option<Secret>,
    refresh_token: Option<Secret>,
    expires_in: Option<u64>,
}

#[derive(Deserialize)]
struct Refused {
    error: String,
}

impl Oidc {
    pub(crate) fn new(client: OidcClient, tokens: Arc<dyn RefreshTokens>) -> Result<Self, UpstreamError> {
        secure("the OIDC issuer", &client.issuer)?;
        if client.client_id.is_empty() {
            return Err(UpstreamError::credentials("OIDC needs a client id"));
        }
        let trust = match &client.authorities {
            Some(pem) => Trust::Authorities(pem.as_bytes().to_vec()),
            None => Trust::System,
        };
        Ok(Self { caller: Caller::new(&trust)?, client, tokens, endpoint: OnceCell::new() })
    }

    async fn discover(&self) -> Result<Uri, UpstreamError> {
        let issuer = self.client.issuer.trim_end_matches('/');
        let address = secure("the OIDC issuer", &format!("{issuer}/.well-known/openid-configuration"))?;
        let answer = self.caller.call(&self.client.issuer, get(address)).await?;
        let strange =
            || UpstreamError::credentials(format!("{issuer} does not describe itself as an OIDC issuer does"));
        let found: Discovery = serde_json::from_slice(&answer.body).map_err(|_| strange())?;
        if found.issuer.trim_end_matches('/') != issuer {
            return Err(UpstreamError::credentials(format!("{issuer} says that it is another issuer")));
        }
        secure("the issuer's token endpoint", &found.token_endpoint)
    }

    async fn grant(&self) -> Result<Token, UpstreamError> {
        let endpoint = self.endpoint.get_or_try_init(|| self.discover()).await?;
        let kept = self.tokens.current().await.map_err(UpstreamError::credentials)?;
        let answer = self.caller.call(&self.client.issuer, self.request(endpoint, kept.as_ref())?).await?;
        let granted = self.granted(&answer)?;
        if let Some(new) = &granted.refresh_token
            && kept.is_some_and(|kept| kept.expose() != new.expose())
            && let Err(error) = self.tokens.rotated(new.clone()).await
        {
            // The token in hand still serves; the next renewal will fail and say why.
            tracing::error!(issuer = self.client.issuer, error, "a rotated refresh token could not be kept");
        }
        // What an API server verifies is the ID token; a client of its own gets none, only a JWT as access token.
        let token = granted.id_token.or(granted.access_token);
        let token = token.ok_or_else(|| UpstreamError::credentials("the issuer's answer holds no token"))?;
        let said = granted.expires_in.map(Duration::from_secs);
        let lives = life(token.expose()).or(said).unwrap_or(UNKNOWN_LIFE).max(SHORTEST_LIFE);
        Ok(Token { value: bearer(token.expose())?, lives })
    }

    fn request(&self, endpoint: &Uri, refresh: Option<&Secret>) -> Result<Request<body::Body>, UpstreamError> {
        let scopes = if self.client.scopes.is_empty() { "openid".to_owned() } else { self.client.scopes.join(" ") };
        let mut form = form_urlencoded::Serializer::new(String::new());
        match refresh {
            Some(token) => form.append_pair("grant_type", "refresh_token").append_pair("refresh_token", token.expose()),
            None => form.append_pair("grant_type", "client_credentials").append_pair("scope", &scopes),
        };
        let mut request = get(endpoint.clone());
        match &self.client.client_secret {
            Some(secret) => {
                let encoded = |text: &str| byte_serialize(text.as_bytes()).collect::<String>();
                let pair = Secret::from(format!("{}:{}", encoded(&self.client.client_id), encoded(secret.expose())));
                let value = sensitive(&format!("Basic {}", STANDARD.encode(pair.expose())))?;
                request.headers_mut().insert(AUTHORIZATION, value);
            }
            None if refresh.is_none() => {
                return Err(UpstreamError::credentials("OIDC needs a refresh token or a client secret"));
            }
            None => {
                form.append_pair("client_id", &self.client.client_id);
            }
        }
        *request.method_mut() = Method::POST;
        *request.body_mut() = body::full(form.finish());
        let headers = request.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        Ok(request)
    }

    fn granted(&self, answer: &Answer) -> Result<Granted, UpstreamError> {
        let issuer = &self.client.issuer;
        if answer.status.is_success() {
            return serde_json::from_slice(&answer.body)
                .map_err(|_| UpstreamError::credentials(format!("the token endpoint of {issuer} gives no tokens")));
        }
        // The code alone: a description may repeat what was sent.
        let code = serde_json::from_slice::<Refused>(&answer.body).map(|refused| refused.error).unwrap_or_default();
        let code = if code.bytes().all(|b| b.is_ascii_graphic()) { code.get(..40).unwrap_or(&code) } else { "" };
        let hint = match code {
            "invalid_grant" => "; the refresh token has ended or was revoked, give the cluster a new one",
            "invalid_client" => "; check the client id and secret",
            _ => "",
        };
        Err(UpstreamError::credentials(format!("{issuer} gives no token ({} {code}){hint}", answer.status.as_u16())))
    }
}

impl TokenSource for Oidc {
    fn fetch(&self) -> BoxFuture<'_, Result<Token, UpstreamError>> {
        Box::pin(self.grant())
    }
}

/// How long a JWT still holds by its own words, if it is one.
pub(crate) fn life(token: &str) -> Option<Duration> {
    #[derive(Deserialize)]
    struct Claims {
        exp: i64,
    }
    let payload = URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
    let Claims { exp } = serde_json::from_slice(&payload).ok()?;
    let left = exp.saturating_sub(jiff::Timestamp::now().as_second());
    Some(Duration::from_secs(u64::try_from(left).unwrap_or_default()))
}
