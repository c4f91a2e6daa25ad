//! Sign-in at other providers: the relying party of OpenID Connect (Authorization Code with PKCE) and of GitHub's
//! OAuth.
//!
//! ```text
//! Provider::authorize_url ──> browser ──> provider ──> browser ──> Provider::prove ──> Proven {issuer, subject, ...}
//!                                                                  Provider::refresh ──> Refreshed {groups, tokens}
//! back-channel: logout token ──> Provider::logged_out ──> LogoutNotice {sid | sub, jti}
//! ```
//!
//! One verifier ([`verify`]) reads every token of a provider, ID tokens and logout tokens alike, with aws-lc-rs
//! as all of the hub's cryptography. Nothing a token says decides how it is checked: algorithms, issuer and keys
//! come from the configuration and the provider's own documents.
//!
//! Must not know: the hub's routes and cookies, accounts, where states are kept.

mod cached;
mod client;
mod document;
#[cfg(fuzzing)]
pub mod fuzzing;
mod github;
mod http;
mod pkce;
mod verify;

#[cfg(test)]
mod tests;

use std::time::Duration;

use secrecy::SecretString;
use thiserror::Error;

pub use client::{Client, ClientSettings};
pub use github::{GitHub, GitHubSettings};
pub use http::{Http, HttpError};
pub use pkce::{Secret, challenge, new_secret, new_user_code, secret_hash};
pub use verify::{LogoutNotice, TokenRefusal};

/// Seconds by which the provider's clock may differ from ours.
pub const CLOCK_SKEW_SECONDS: u64 = 60;

/// What goes with the browser to the provider.
#[derive(Clone, Copy, Debug)]
pub struct AuthorizationRequest<'a> {
    /// Where the provider sends the browser back to.
    pub redirect_uri: &'a str,
    /// Comes back with the browser.
    pub state: &'a str,
    /// Comes back in the ID token.
    pub nonce: &'a str,
    /// PKCE challenge of the verifier, S256.
    pub challenge: &'a str,
}

/// What came back with the browser, with what was kept for it.
#[derive(Clone, Copy, Debug)]
pub struct Return<'a> {
    /// The authorization code.
    pub code: &'a str,
    /// `iss` of the answer (RFC 9207).
    pub issuer: Option<&'a str>,
    /// As in the request.
    pub redirect_uri: &'a str,
    /// As in the request.
    pub nonce: &'a str,
    /// The PKCE verifier.
    pub verifier: &'a SecretString,
}

/// Somebody proved at a provider who he is.
#[derive(Clone, Debug)]
pub struct Proven {
    /// The provider's issuer.
    pub issuer: String,
    /// His name there, never given to anyone else.
    pub subject: String,
    /// His address there.
    pub email: Option<String>,
    /// Whether the provider vouches for it.
    pub email_verified: bool,
    /// His groups there.
    pub groups: Vec<String>,
    /// The provider's name for the session.
    pub sid: Option<String>,
    /// The hint for signing out there.
    pub id_token: Option<SecretString>,
    /// Refresh token.
    pub refresh_token: Option<SecretString>,
}

/// What a refresh brought.
#[derive(Clone, Debug)]
pub struct Refreshed {
    /// Groups, when the provider said them.
    pub groups: Option<Vec<String>>,
    /// A new ID token, when there is one.
    pub id_token: Option<SecretString>,
    /// A new refresh token, when the old one is spent.
    pub refresh_token: Option<SecretString>,
}

/// Why a sign-in did not come to its end. Texts hold no tokens.
#[derive(Debug, Error)]
pub enum OidcError {
    /// The provider does not answer as it should.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// The provider's own document contradicts the configuration.
    #[error("the provider's configuration cannot be used: {0}")]
    Document(String),
    /// The provider said no to the code or the refresh token (RFC 6749 section 5.2).
    #[error("the provider refused: {code}{}", .description.as_deref().map(|text| format!(" ({text})")).unwrap_or_default())]
    Refused {
        /// `invalid_grant` and its like.
        code: String,
        /// In the provider's words.
        description: Option<String>,
    },
    /// A token of the provider's does not hold.
    #[error(transparent)]
    Token(#[from] TokenRefusal),
    /// The answer came from another issuer than the question went to (RFC 9207).
    #[error("the answer came from another issuer than the one that was asked")]
    OtherIssuer,
    /// What the provider says does not fit together.
    #[error("the provider's answer cannot be used: {0}")]
    Answer(&'static str),
}

impl OidcError {
    /// Whether the provider says that the grant is over: its session ended, or it was revoked.
    #[must_use]
    pub fn grant_is_over(&self) -> bool {
        matches!(self, Self::Refused { code, .. } if code == "invalid_grant")
    }
}

/// A way to sign in elsewhere.
#[derive(Debug)]
pub enum Provider {
    /// OpenID Connect.
    Oidc(Client),
    /// GitHub, or GitHub Enterprise.
    GitHub(GitHub),
}

impl Provider {
    /// The issuer that its people are kept under.
    #[must_use]
    pub fn issuer(&self) -> &str {
        match self {
            Self::Oidc(client) => client.issuer(),
            Self::GitHub(github) => github.issuer(),
        }
    }

    /// Where to send the browser.
    ///
    /// # Errors
    /// The provider cannot be reached for its configuration.
    pub async fn authorize_url(&self, request: AuthorizationRequest<'_>) -> Result<String, OidcError> {
        match self {
            Self::Oidc(client) => client.authorize_url(request).await,
            Self::GitHub(github) => Ok(github.authorize_url(request)),
        }
    }

    /// Trades what the browser brought back for a proof.
    ///
    /// # Errors
    /// The provider cannot be reached, refuses, or what it says does not hold.
    pub async fn prove(&self, back: Return<'_>) -> Result<Proven, OidcError> {
        match self {
            Self::Oidc(client) => client.prove(back).await,
            Self::GitHub(github) => github.prove(back).await,
        }
    }

    /// Asks how things stand with somebody who signed in before.
    ///
    /// # Errors
    /// As [`Provider::prove`]; see [`OidcError::grant_is_over`].
    pub async fn refresh(&self, token: &SecretString, subject: &str) -> Result<Refreshed, OidcError> {
        match self {
            Self::Oidc(client) => client.refresh(token, subject).await,
            Self::GitHub(_) => Err(OidcError::Answer("GitHub gives no refresh tokens")),
        }
    }

    /// Where to send the browser to sign out at the provider too, where it can do that (OpenID Connect
    /// RP-Initiated Logout 1.0).
    pub async fn end_session_url(&self, id_token: &SecretString, back_to: &str) -> Option<String> {
        match self {
            Self::Oidc(client) => client.end_session_url(id_token, back_to).await,
            Self::GitHub(_) => None,
        }
    }

    /// Verifies a logout token.
    ///
    /// # Errors
    /// It does not hold, or this provider sends none.
    pub async fn logged_out(&self, token: &str) -> Result<LogoutNotice, OidcError> {
        match self {
            Self::Oidc(client) => client.logged_out(token).await,
            Self::GitHub(_) => Err(OidcError::Answer("GitHub sends no logout tokens")),
        }
    }
}

/// How long anything at a provider may take.
pub const DEADLINE: Duration = Duration::from_secs(10);
