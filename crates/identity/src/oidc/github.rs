//! Sign-in with GitHub or GitHub Enterprise: OAuth's code flow with PKCE, then the API for who it was. Identity
//! only; no token is kept.
//!
//! GitHub is no OpenID provider for people: there is no ID token, and the address comes from `/user/emails`
//! (<https://docs.github.com/en/apps/oauth-apps/building-oauth-apps/authorizing-oauth-apps>).
//!
//! Must not know: accounts.

use reqwest::Url;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

use super::http::{Http, Proof, checked};
use super::{AuthorizationRequest, HttpError, OidcError, Proven, Return};

/// How the hub is known at GitHub.
#[derive(Clone, Debug)]
pub struct GitHubSettings {
    /// Where people sign in, `https://github.com`.
    pub base_url: String,
    /// The API, `https://api.github.com`; at GitHub Enterprise `<base>/api/v3`.
    pub api_url: String,
    /// Client id.
    pub client_id: String,
    /// Client secret.
    pub client_secret: SecretString,
}

/// Sign-in with GitHub.
#[derive(Debug)]
pub struct GitHub {
    settings: GitHubSettings,
    authorize: Url,
    http: Http,
}

#[derive(Deserialize)]
struct Token {
    #[serde(default)]
    access_token: Option<SecretString>,
    #[serde(default)]
    error: Option<String>,
    #[serde(default)]
    error_description: Option<String>,
}

#[derive(Deserialize)]
struct User {
    id: u64,
}

#[derive(Deserialize)]
struct Email {
    email: String,
    primary: bool,
    verified: bool,
}

impl GitHub {
    /// Nothing is asked yet.
    ///
    /// # Errors
    /// One of the addresses is not one that may be asked.
    pub fn new(mut settings: GitHubSettings, http: Http) -> Result<Self, HttpError> {
        for url in [&mut settings.base_url, &mut settings.api_url] {
            url.truncate(url.trim_end_matches('/').len());
            checked(url)?;
        }
        let authorize = checked(&format!("{}/login/oauth/authorize", settings.base_url))?;
        Ok(Self { settings, authorize, http })
    }

    /// GitHub has no issuer; its address stands for one.
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.settings.base_url
    }

    /// See [`super::Provider::authorize_url`]. There is no ID token for a nonce to come back in.
    pub(super) fn authorize_url(&self, request: AuthorizationRequest<'_>) -> String {
        let mut url = self.authorize.clone();
        url.query_pairs_mut()
            .append_pair("client_id", &self.settings.client_id)
            .append_pair("redirect_uri", request.redirect_uri)
            .append_pair("scope", "read:user user:email")
            .append_pair("state", request.state)
            .append_pair("code_challenge", request.challenge)
            .append_pair("code_challenge_method", "S256");
        url.into()
    }

    /// See [`super::Provider::prove`].
    pub(super) async fn prove(&self, back: Return<'_>) -> Result<Proven, OidcError> {
        let token = self.token(back).await?;
        let api = &self.settings.api_url;
        let user: User = self.http.get(&format!("{api}/user"), Some(&token)).await?;
        let emails: Vec<Email> = self.http.get(&format!("{api}/user/emails"), Some(&token)).await?;
        // An address that nobody proved to hold could be anybody's.
        let primary = emails.into_iter().find(|email| email.primary && email.verified);
        Ok(Proven {
            issuer: self.settings.base_url.clone(),
            subject: user.id.to_string(),
            email_verified: primary.is_some(),
            email: primary.map(|email| email.email),
            groups: Vec::new(),
            sid: None,
            id_token: None,
            refresh_token: None,
        })
    }

    async fn token(&self, back: Return<'_>) -> Result<SecretString, OidcError> {
        let form = [
            ("client_id", self.settings.client_id.as_str()),
            ("client_secret", self.settings.client_secret.expose_secret()),
            ("code", back.code),
            ("redirect_uri", back.redirect_uri),
            ("code_verifier", back.verifier.expose_secret()),
        ];
        let url = format!("{}/login/oauth/access_token", self.settings.base_url);
        let token: Token = self.http.post_form(&url, &form, Proof::None).await?;
        match (token.access_token, token.error) {
            (Some(token), None) => Ok(token),
            (_, Some(code)) => Err(OidcError::Refused { code, description: token.error_description }),
            (None, None) => Err(OidcError::Answer("it holds no access token")),
        }
    }
}
