//! Logouts that a provider tells of (OpenID Connect Back-Channel Logout 1.0).
//!
//! Must not know: how the token got here.

use flotilla_identity::oidc::OidcError;
use flotilla_store::LoggedOut;

use super::refresh;
use crate::hub::Hub;

/// Why a logout token was not obeyed.
#[derive(Debug, thiserror::Error)]
pub enum LogoutError {
    /// No provider's token.
    #[error("the logout token does not hold: {0}")]
    Refused(#[from] OidcError),
    /// It was obeyed before.
    #[error("the logout token was used before")]
    Replayed,
    /// No provider here sends any.
    #[error("no provider here sends logout tokens")]
    NoProvider,
    /// Ours.
    #[error("the logout could not be carried out")]
    Failed(#[source] anyhow::Error),
}

impl From<flotilla_store::StoreError> for LogoutError {
    fn from(error: flotilla_store::StoreError) -> Self {
        Self::Failed(error.into())
    }
}

/// Obeys a logout token: ends every session of ours that stands on the provider's. A provider that is not the one
/// which sent it refuses it by its signature and issuer, so each is asked.
///
/// # Errors
/// It holds for none, was used before, or could not be carried out.
pub async fn obey(hub: &Hub, token: &str) -> Result<(), LogoutError> {
    let mut refused = LogoutError::NoProvider;
    for way in hub.ways.iter() {
        let notice = match way.provider.logged_out(token).await {
            Ok(notice) => notice,
            Err(error) => {
                refused = error.into();
                continue;
            }
        };
        let issuer = way.provider.issuer();
        if !hub.store.note_logout_token(issuer, &notice.jti, notice.expires_at_ms).await? {
            return Err(LogoutError::Replayed);
        }
        // A notice with both is about the session (section 2.4).
        let which = match (&notice.sid, &notice.subject) {
            (Some(sid), _) => LoggedOut::Session(sid),
            (None, Some(subject)) => LoggedOut::Subject(subject),
            (None, None) => return Ok(()),
        };
        for id in hub.store.provider_sessions(issuer, which).await? {
            if let Some(session) = hub.store.provider_session(id).await? {
                refresh::end(hub, &session, "signed out at the provider").await.map_err(LogoutError::Failed)?;
            }
        }
        return Ok(());
    }
    Err(refused)
}
