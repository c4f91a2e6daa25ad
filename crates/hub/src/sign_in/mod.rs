//! Sign-in at other providers: which there are, the way there and back, whose account it is, and what is left of a
//! right when the provider takes it back.
//!
//! ```text
//! begin ──> state in the store, browser to the provider ──> finish ──> account_of ──> Finished {user, origin}
//! refresh::follow: asks each provider again, ends what ended there, keeps groups as they are now
//! logout: tokens that providers send (back channel)
//! ```
//!
//! Must not know: pages, cookies (`routes::sign_in`), tokens (`flotilla_identity::oidc`).

pub(crate) mod account;
pub mod logout;
pub mod refresh;
pub mod settings;

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Context;
use flotilla_identity::oidc::{
    AuthorizationRequest, Client, ClientSettings, GitHub, GitHubSettings, Http, OidcError, Provider, Return, challenge,
    new_secret, secret_hash,
};
use flotilla_store::{NewIdentity, NewProviderSession, OauthState, ProviderSessionId, User};
use flotilla_types::problem::Code;
use flotilla_types::time::now_ms;
use http::StatusCode;
use secrecy::ExposeSecret;

use crate::config::Config;
use crate::error::ApiError;
use crate::hub::Hub;
use crate::request::RequestContext;

/// How long somebody may take at the provider.
pub const STATE_LIFE: Duration = Duration::from_secs(600);

const STATE_LIFE_MS: i64 = 600_000;

/// Name of the OpenID Connect provider, in paths and in the store.
pub const OIDC: &str = "oidc";

/// Google's issuer.
const GOOGLE: &str = "https://accounts.google.com";

/// One way to sign in.
#[derive(Debug)]
pub struct Way {
    /// Its name in paths: `oidc`, `google`, `github`.
    pub name: &'static str,
    /// What people read.
    pub title: String,
    /// Path that the provider sends browsers back to.
    pub callback: &'static str,
    /// Who checks.
    pub provider: Provider,
    roles: BTreeMap<String, Vec<String>>,
    refresh_every: Option<Duration>,
    trust_email: bool,
}

/// All ways to sign in that are configured.
#[derive(Debug, Default)]
pub struct Ways(Vec<Way>);

impl Ways {
    /// Reads the configuration; no provider is asked yet.
    ///
    /// # Errors
    /// Names the key that makes no sense.
    pub fn open(config: &Config) -> anyhow::Result<Self> {
        let found = [oidc(config)?, google(config)?, github(config)?];
        Ok(Self(found.into_iter().flatten().collect()))
    }

    /// The way of this name.
    ///
    /// # Errors
    /// There is none.
    pub fn find(&self, name: &str) -> Result<&Way, ApiError> {
        let unknown = || ApiError::not_found(format!("there is no sign-in {name:?} here; GET /auth/config lists them"));
        self.0.iter().find(|way| way.name == name).ok_or_else(unknown)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Way> {
        self.0.iter()
    }

    /// The shortest interval in which a provider is to be asked again; `None` when none is.
    #[must_use]
    pub fn refresh_every(&self) -> Option<Duration> {
        self.0.iter().filter_map(|way| way.refresh_every).min()
    }

    /// The roles that groups at a provider give.
    #[must_use]
    pub fn roles_of(&self, provider: &str, groups: &[String]) -> Vec<String> {
        let way = self.0.iter().find(|way| way.name == provider);
        let roles = way.map(|way| groups.iter().filter_map(|group| way.roles.get(group)).flatten().cloned());
        roles.map(Iterator::collect).unwrap_or_default()
    }
}

impl Way {
    /// When the provider is to be asked again, milliseconds since the epoch.
    fn refresh_at(&self) -> Option<i64> {
        self.refresh_every.map(|every| now_ms().saturating_add(i64::try_from(every.as_millis()).unwrap_or(i64::MAX)))
    }
}

fn oidc(config: &Config) -> anyhow::Result<Option<Way>> {
    let settings = &config.auth.oidc;
    let Some(issuer) = &settings.issuer else { return Ok(None) };
    anyhow::ensure!(!settings.client_id.is_empty(), "auth.oidc.client_id is missing; the provider gave you one");
    let ca = settings.ca_file.as_ref().map(|path| {
        std::fs::read_to_string(path).with_context(|| format!("auth.oidc.ca_file {} cannot be read", path.display()))
    });
    let client = ClientSettings {
        issuer: issuer.clone(),
        client_id: settings.client_id.clone(),
        client_secret: settings.client_secret.clone().map(flotilla_settings::Secret::into_inner),
        scopes: settings.scopes.clone(),
        groups_claim: settings.groups_claim.clone(),
    };
    let http = Http::new(ca.transpose()?.as_deref()).context("auth.oidc.ca_file")?;
    Ok(Some(Way {
        name: OIDC,
        title: settings.name.clone(),
        callback: "/auth/callback",
        provider: Provider::Oidc(Client::new(client, http).context("auth.oidc.issuer")?),
        roles: settings.roles.clone(),
        refresh_every: Some(settings.refresh_interval.0),
        trust_email: settings.trust_email,
    }))
}

fn google(config: &Config) -> anyhow::Result<Option<Way>> {
    let settings = &config.auth.google;
    let (Some(client_id), Some(secret)) = (&settings.client_id, &settings.client_secret) else { return Ok(None) };
    let client = ClientSettings {
        issuer: GOOGLE.to_owned(),
        client_id: client_id.clone(),
        client_secret: Some(secret.clone().into_inner()),
        scopes: vec!["profile".to_owned(), "email".to_owned()],
        groups_claim: String::new(),
    };
    Ok(Some(Way {
        name: "google",
        title: "Google".to_owned(),
        callback: "/oauth2/callback",
        provider: Provider::Oidc(Client::new(client, Http::new(None)?)?),
        roles: BTreeMap::new(),
        // Without asking for offline access there is nothing to refresh with, and no groups to hear of.
        refresh_every: None,
        trust_email: false,
    }))
}

fn github(config: &Config) -> anyhow::Result<Option<Way>> {
    let settings = &config.auth.github;
    let (Some(client_id), Some(secret)) = (&settings.client_id, &settings.client_secret) else { return Ok(None) };
    let base_url = settings.base_url.trim_end_matches('/').to_owned();
    let api_url = match &settings.api_url {
        Some(given) => given.clone(),
        None if base_url == "https://github.com" => "https://api.github.com".to_owned(),
        None => format!("{base_url}/api/v3"),
    };
    let client_secret = secret.clone().into_inner();
    let github = GitHubSettings { base_url, api_url, client_id: client_id.clone(), client_secret };
    Ok(Some(Way {
        name: "github",
        title: "GitHub".to_owned(),
        callback: "/auth/github/callback",
        provider: Provider::GitHub(GitHub::new(github, Http::new(None)?).context("auth.github.base_url")?),
        roles: BTreeMap::new(),
        refresh_every: None,
        trust_email: false,
    }))
}

/// How a sign-in is to end.
#[derive(Clone, Copy, Debug)]
pub struct Purpose<'a> {
    /// Path of ours to go to.
    pub return_to: &'a str,
    /// With a one-use code instead of a cookie.
    pub hand_over: bool,
    /// Path of ours that the provider sends the browser back to.
    pub callback: &'a str,
}

/// Begins a sign-in: the address to send the browser to. `browser` is the hash of its cookie, without which it will
/// not get back in.
///
/// # Errors
/// The provider or the store cannot be reached.
pub async fn begin(hub: &Hub, way: &Way, purpose: Purpose<'_>, browser: String) -> Result<String, ApiError> {
    let (state, nonce, verifier) = (new_secret(), new_secret(), new_secret());
    let kept = OauthState {
        browser,
        provider: way.name.to_owned(),
        redirect_uri: format!("{}{}", hub.config.public_url().trim_end_matches('/'), purpose.callback),
        nonce: nonce.value.expose_secret().to_owned(),
        verifier: verifier.value,
        return_to: purpose.return_to.to_owned(),
        hand_over: purpose.hand_over,
        expires_at_ms: now_ms() + STATE_LIFE_MS,
    };
    let request = AuthorizationRequest {
        redirect_uri: &kept.redirect_uri,
        state: state.value.expose_secret(),
        nonce: &kept.nonce,
        challenge: &challenge(&kept.verifier),
    };
    let url = way.provider.authorize_url(request).await.map_err(|error| away(way, &error))?;
    hub.store.create_oauth_state(&state.hash, &kept).await?;
    Ok(url)
}

/// What a browser brought back from a provider (RFC 6749 section 4.1.2, RFC 9207).
#[derive(Clone, Debug, Default, serde::Deserialize, utoipa::IntoParams)]
#[serde(default)]
#[into_params(parameter_in = Query)]
pub struct Answer {
    /// The state that went out.
    pub state: String,
    /// The code.
    pub code: Option<String>,
    /// Who answers.
    pub iss: Option<String>,
    /// Why there is no code.
    pub error: Option<String>,
    /// The same in words.
    pub error_description: Option<String>,
}

/// A sign-in that came to its end.
pub struct Finished {
    /// Who it is.
    pub user: User,
    /// The provider's session.
    pub origin: ProviderSessionId,
    /// Name of the provider.
    pub provider: &'static str,
    /// Path of ours to go to.
    pub return_to: String,
    /// Whether to end with a code.
    pub hand_over: bool,
}

/// Finishes a sign-in: the state is spent, whatever comes of it.
///
/// # Errors
/// The state is not this browser's, the provider refuses or what it says does not hold, or the person may not have an
/// account here. The text is for the person.
pub async fn finish(
    hub: &Hub,
    answer: &Answer,
    browser: Option<&str>,
    context: &RequestContext,
) -> Result<Finished, ApiError> {
    let kept = hub.store.take_oauth_state(&secret_hash(&answer.state), now_ms()).await?.ok_or_else(stale)?;
    if browser.map(secret_hash).as_deref() != Some(kept.browser.as_str()) {
        return Err(stale());
    }
    let way = hub.ways.find(&kept.provider)?;
    let Some(code) = answer.code.as_deref().filter(|_| answer.error.is_none()) else {
        let said = answer.error_description.as_deref().or(answer.error.as_deref()).unwrap_or("it gave no reason");
        let said: String = said.chars().filter(|c| !c.is_control()).take(200).collect();
        return Err(refused(way, &said));
    };
    let back = Return {
        code,
        issuer: answer.iss.as_deref(),
        redirect_uri: &kept.redirect_uri,
        nonce: &kept.nonce,
        verifier: &kept.verifier,
    };
    let proven = way.provider.prove(back).await.map_err(|error| match error {
        OidcError::Http(_) | OidcError::Document(_) => away(way, &error),
        other => refused(way, &other.to_string()),
    })?;
    let user = account::of(hub, way, &proven, context).await?;
    let identity = NewIdentity {
        provider: way.name.to_owned(),
        issuer: proven.issuer,
        subject: proven.subject,
        email: proven.email.unwrap_or_default(),
        groups: proven.groups,
    };
    let session = NewProviderSession {
        sid: proven.sid,
        id_token: proven.id_token,
        refresh_at_ms: way.refresh_at().filter(|_| proven.refresh_token.is_some()),
        refresh_token: proven.refresh_token,
    };
    let origin = hub.store.record_sign_in(user.id, &identity, &session).await?;
    Ok(Finished { user, origin, provider: way.name, return_to: kept.return_to, hand_over: kept.hand_over })
}

fn stale() -> ApiError {
    ApiError::bad_request(
        "this sign-in is not one that this browser began in the last ten minutes, or it is over; begin again at /login",
    )
}

fn refused(way: &Way, why: &str) -> ApiError {
    let detail = format!("the sign-in with {} was refused: {why}", way.title);
    ApiError::new(StatusCode::FORBIDDEN, Code::Forbidden, detail)
}

fn away(way: &Way, error: &OidcError) -> ApiError {
    tracing::warn!(provider = way.name, %error, "provider cannot be asked");
    let detail = format!("{} cannot be asked just now: {error}; try again, or sign in another way", way.title);
    ApiError::new(StatusCode::BAD_GATEWAY, Code::Unreachable, detail)
}
