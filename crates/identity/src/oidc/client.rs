//! An OpenID Connect relying party for one provider.
//!
//! Must not know: where states and tokens are kept.

use std::sync::Arc;
use std::time::Duration;

use jsonwebtoken::Header;
use jsonwebtoken::jwk::Jwk;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

use super::cached::Cached;
use super::document::Document;
use super::http::{Http, Proof, checked};
use super::verify::{self, Expected, IdClaims, LogoutNotice, Person, TokenRefusal};
use super::{AuthorizationRequest, HttpError, OidcError, Proven, Refreshed, Return};

/// How long the provider's description and keys are used before they are fetched again. A key that the provider
/// takes back is believed no longer than that.
const KEPT: Duration = Duration::from_secs(15 * 60);

/// How the hub is known at a provider.
#[derive(Clone, Debug)]
pub struct ClientSettings {
    /// The issuer, exactly as the provider spells it.
    pub issuer: String,
    /// Client id.
    pub client_id: String,
    /// Client secret; none for a public client.
    pub client_secret: Option<SecretString>,
    /// Scopes beside `openid`.
    pub scopes: Vec<String>,
    /// The claim that lists groups, a name or a path with dots; empty: none.
    pub groups_claim: String,
}

/// A relying party.
#[derive(Debug)]
pub struct Client {
    settings: ClientSettings,
    http: Http,
    document: Cached<Document>,
    keys: Cached<Vec<Jwk>>,
}

/// Answer of the token endpoint (RFC 6749 sections 5.1 and 5.2), either kind.
#[derive(Deserialize)]
struct Tokens {
    #[serde(default)]
    access_token: Option<SecretString>,
    #[serde(default)]
    id_token: Option<SecretString>,
    #[serde(default)]
    refresh_token: Option<SecretString>,
    #[serde(default)]
    error: Option<String>,
    #[serde(default)]
    error_description: Option<String>,
}

#[derive(Deserialize)]
struct UserInfo {
    sub: String,
    #[serde(flatten)]
    person: Person,
}

impl Client {
    /// A relying party; nothing is asked yet.
    ///
    /// # Errors
    /// The issuer is not an address that may be asked.
    pub fn new(settings: ClientSettings, http: Http) -> Result<Self, HttpError> {
        checked(&settings.issuer)?;
        Ok(Self { settings, http, document: Cached::new(), keys: Cached::new() })
    }

    /// The provider's issuer.
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.settings.issuer
    }

    async fn document(&self) -> Result<Arc<Document>, OidcError> {
        self.document.get(KEPT, || Document::fetch(&self.http, &self.settings.issuer)).await
    }

    /// See [`super::Provider::authorize_url`].
    pub(super) async fn authorize_url(&self, request: AuthorizationRequest<'_>) -> Result<String, OidcError> {
        let document = self.document().await?;
        let mut url = checked(&document.authorization_endpoint)?;
        let scopes: Vec<&str> =
            std::iter::once("openid").chain(self.settings.scopes.iter().map(String::as_str)).collect();
        url.query_pairs_mut()
            .append_pair("response_type", "code")
            .append_pair("client_id", &self.settings.client_id)
            .append_pair("redirect_uri", request.redirect_uri)
            .append_pair("scope", &scopes.join(" "))
            .append_pair("state", request.state)
            .append_pair("nonce", request.nonce)
            .append_pair("code_challenge", request.challenge)
            .append_pair("code_challenge_method", "S256");
        Ok(url.into())
    }

    /// See [`super::Provider::prove`].
    pub(super) async fn prove(&self, back: Return<'_>) -> Result<Proven, OidcError> {
        let document = self.document().await?;
        self.check_issuer(&document, back.issuer)?;
        let form = [
            ("grant_type", "authorization_code"),
            ("code", back.code),
            ("redirect_uri", back.redirect_uri),
            ("code_verifier", back.verifier.expose_secret()),
        ];
        let tokens = self.tokens(&document, &form).await?;
        let id_token = tokens.id_token.ok_or(OidcError::Answer("it holds no ID token"))?;
        let claims = self.verified(&document, &id_token, Some(back.nonce)).await?;
        let person = self.completed(&document, &claims, tokens.access_token.as_ref()).await?;
        Ok(Proven {
            issuer: self.settings.issuer.clone(),
            email_verified: person.email_is_verified(),
            groups: person.groups(&self.settings.groups_claim).unwrap_or_default(),
            email: person.email,
            subject: claims.sub,
            sid: claims.sid,
            id_token: Some(id_token),
            refresh_token: tokens.refresh_token,
        })
    }

    /// See [`super::Provider::refresh`].
    pub(super) async fn refresh(&self, token: &SecretString, subject: &str) -> Result<Refreshed, OidcError> {
        let document = self.document().await?;
        let form = [("grant_type", "refresh_token"), ("refresh_token", token.expose_secret())];
        let tokens = self.tokens(&document, &form).await?;
        let said = match &tokens.id_token {
            Some(id_token) => {
                let claims = self.verified(&document, id_token, None).await?;
                if claims.sub != subject {
                    return Err(TokenRefusal::Subject.into());
                }
                Some(self.completed(&document, &claims, tokens.access_token.as_ref()).await?)
            }
            None => self.user_info(&document, subject, tokens.access_token.as_ref()).await?,
        };
        // A provider that leaves the claim out for somebody without groups has said that he has none.
        let groups = said.map(|person| person.groups(&self.settings.groups_claim).unwrap_or_default());
        Ok(Refreshed { groups, id_token: tokens.id_token, refresh_token: tokens.refresh_token })
    }

    /// See [`super::Provider::end_session_url`].
    pub(super) async fn end_session_url(&self, id_token: &SecretString, back_to: &str) -> Option<String> {
        let document = self.document().await.ok()?;
        let mut url = checked(document.end_session_endpoint.as_deref()?).ok()?;
        url.query_pairs_mut()
            .append_pair("id_token_hint", id_token.expose_secret())
            .append_pair("client_id", &self.settings.client_id)
            .append_pair("post_logout_redirect_uri", back_to);
        Some(url.into())
    }

    /// See [`super::Provider::logged_out`].
    pub(super) async fn logged_out(&self, token: &str) -> Result<LogoutNotice, OidcError> {
        let document = self.document().await?;
        let header = verify::header(token, &document.algorithms())?;
        let key = self.key(&document, &header).await?;
        Ok(verify::logout_token(token, &header, &key, self.expected())?)
    }

    /// The answer names who gave it, where the provider announces that (RFC 9207 section 2.4), so that a code of
    /// one provider is not taken to another.
    fn check_issuer(&self, document: &Document, said: Option<&str>) -> Result<(), OidcError> {
        match said {
            Some(issuer) if issuer == self.settings.issuer => Ok(()),
            None if !document.authorization_response_iss_parameter_supported => Ok(()),
            _ => Err(OidcError::OtherIssuer),
        }
    }

    async fn tokens(&self, document: &Document, grant: &[(&str, &str)]) -> Result<Tokens, OidcError> {
        let (client_id, secret) = (self.settings.client_id.as_str(), self.settings.client_secret.as_ref());
        let mut form = grant.to_vec();
        let proof = match secret {
            Some(secret) if !document.wants_secret_in_form() => Proof::Basic(client_id, secret),
            _ => {
                form.push(("client_id", client_id));
                form.extend(secret.map(|secret| ("client_secret", secret.expose_secret())));
                Proof::None
            }
        };
        let tokens: Tokens = self.http.post_form(&document.token_endpoint, &form, proof).await?;
        match tokens.error {
            Some(code) => Err(OidcError::Refused { code, description: tokens.error_description }),
            None => Ok(tokens),
        }
    }

    async fn verified(
        &self,
        document: &Document,
        token: &SecretString,
        nonce: Option<&str>,
    ) -> Result<IdClaims, OidcError> {
        let header = verify::header(token.expose_secret(), &document.algorithms())?;
        let key = self.key(document, &header).await?;
        Ok(verify::id_token(token.expose_secret(), &header, &key, self.expected(), nonce)?)
    }

    /// The key that a token names. One that is not known may be new: the provider is asked, but not often.
    async fn key(&self, document: &Document, header: &Header) -> Result<Jwk, OidcError> {
        for max_age in [KEPT, Duration::ZERO] {
            let keys = self.keys.get(max_age, || document.fetch_keys(&self.http)).await?;
            if let Some(key) = verify::key(header, &keys) {
                return Ok(key.clone());
            }
        }
        Err(TokenRefusal::UnknownKey.into())
    }

    fn expected(&self) -> Expected<'_> {
        Expected { issuer: &self.settings.issuer, client_id: &self.settings.client_id }
    }

    /// What the ID token says of the person, or the userinfo endpoint where the token says too little.
    async fn completed(
        &self,
        document: &Document,
        claims: &IdClaims,
        access: Option<&SecretString>,
    ) -> Result<Person, OidcError> {
        let wants_groups = !self.settings.groups_claim.is_empty();
        let lacks_groups = wants_groups && claims.person.groups(&self.settings.groups_claim).is_none();
        if claims.person.email.is_some() && !lacks_groups {
            return Ok(claims.person.clone());
        }
        let asked = self.user_info(document, &claims.sub, access).await?;
        Ok(asked.unwrap_or_else(|| claims.person.clone()))
    }

    /// What the userinfo endpoint says; it must be about the same person (Core 1.0 section 5.3.2).
    async fn user_info(
        &self,
        document: &Document,
        subject: &str,
        access: Option<&SecretString>,
    ) -> Result<Option<Person>, OidcError> {
        let (Some(url), Some(access)) = (document.userinfo_endpoint.as_deref(), access) else {
            return Ok(None);
        };
        let info: UserInfo = self.http.get(url, Some(access)).await?;
        if info.sub == subject { Ok(Some(info.person)) } else { Err(TokenRefusal::Subject.into()) }
    }
}
