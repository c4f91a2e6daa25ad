//! Sign-ins under way: states that were sent to a provider, codes that wait for a program, logout tokens that
//! were obeyed. Each is good once: it is read by deleting it, so of two who show the same one only one gets it.
//!
//! Must not know: what a state, code or token looks like. Only hashes come here.

use flotilla_types::id::UserId;
use secrecy::{ExposeSecret, SecretString};

use crate::Store;
use crate::db::on_db;
use crate::error::{StoreError, parse, storable};
use crate::identities::ProviderSessionId;
use crate::sealed::{Place, VERIFIER};

/// A sign-in that has been sent to a provider.
#[derive(Clone, Debug)]
pub struct OauthState {
    /// SHA-256 of the cookie of the browser that began it, hex.
    pub browser: String,
    /// Name of the provider.
    pub provider: String,
    /// Where the provider sends the browser back to.
    pub redirect_uri: String,
    /// Must come back in the ID token.
    pub nonce: String,
    /// Proves that who began it also ends it (PKCE, RFC 7636).
    pub verifier: SecretString,
    /// Path of the hub's own to go to afterwards.
    pub return_to: String,
    /// Whether it ends with a code instead of a cookie.
    pub hand_over: bool,
    /// Milliseconds since the epoch.
    pub expires_at_ms: i64,
}

/// A finished sign-in that waits for the program that asked for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OauthCode {
    /// Who signed in.
    pub user: UserId,
    /// The provider's session that the sign-in came from.
    pub provider_session: Option<ProviderSessionId>,
    /// PKCE challenge, S256.
    pub challenge: Option<String>,
    /// Where the code was sent.
    pub redirect_uri: String,
    /// Milliseconds since the epoch.
    pub expires_at_ms: i64,
}

type StateRow = (String, String, String, String, String, String, bool, i64);
type CodeRow = (String, Option<String>, Option<String>, String, i64);

const INSERT_STATE: &str = "INSERT INTO oauth_states \
    (hash, browser, provider, redirect_uri, nonce, verifier, return_to, hand_over, expires_at) \
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)";
const TAKE_STATE: &str = "DELETE FROM oauth_states WHERE hash = $1 \
    RETURNING browser, provider, redirect_uri, nonce, verifier, return_to, hand_over, expires_at";
const INSERT_CODE: &str = "INSERT INTO oauth_codes \
    (hash, user_id, provider_session_id, challenge, redirect_uri, expires_at) VALUES ($1, $2, $3, $4, $5, $6)";
const TAKE_CODE: &str = "DELETE FROM oauth_codes WHERE hash = $1 \
    RETURNING user_id, provider_session_id, challenge, redirect_uri, expires_at";
const INSERT_LOGOUT: &str = "INSERT INTO logout_tokens (issuer, jti, expires_at) VALUES ($1, $2, $3)";
const FORGET: [&str; 4] = [
    "DELETE FROM oauth_states WHERE expires_at <= $1",
    "DELETE FROM oauth_codes WHERE expires_at <= $1",
    "DELETE FROM logout_tokens WHERE expires_at <= $1",
    "DELETE FROM device_codes WHERE expires_at <= $1",
];

fn place(hash: &str) -> Place<'_> {
    VERIFIER.at(hash)
}

impl Store {
    /// Remembers a sign-in that is sent to a provider, under the hash of its state.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when the hash is known.
    pub async fn create_oauth_state(&self, hash: &str, state: &OauthState) -> Result<(), StoreError> {
        let verifier = self.sealer.seal(place(hash), state.verifier.expose_secret().as_bytes())?;
        on_db!(&self.db, write, pool => {
            let insert = sqlx::query(INSERT_STATE).bind(hash).bind(state.browser.as_str());
            let insert = insert.bind(state.provider.as_str()).bind(state.redirect_uri.as_str());
            let insert = insert.bind(state.nonce.as_str()).bind(verifier).bind(state.return_to.as_str());
            let insert = insert.bind(state.hand_over).bind(state.expires_at_ms);
            insert.execute(pool).await.map_err(StoreError::unique("sign-in"))?;
        });
        Ok(())
    }

    /// Takes a sign-in out of the store; `None` when there is none, or it is too old.
    ///
    /// # Errors
    /// [`StoreError::Sealed`] when its verifier does not open.
    pub async fn take_oauth_state(&self, hash: &str, now_ms: i64) -> Result<Option<OauthState>, StoreError> {
        if !storable(hash) {
            return Ok(None);
        }
        let row: Option<StateRow> = on_db!(&self.db, write, pool => {
            sqlx::query_as(TAKE_STATE).bind(hash).fetch_optional(pool).await?
        });
        let Some((browser, provider, redirect_uri, nonce, sealed, return_to, hand_over, expires_at_ms)) =
            row.filter(|row| row.7 > now_ms)
        else {
            return Ok(None);
        };
        let verifier = self.sealer.open_text(place(hash), &sealed)?;
        Ok(Some(OauthState { browser, provider, redirect_uri, nonce, verifier, return_to, hand_over, expires_at_ms }))
    }

    /// Remembers a finished sign-in under the hash of the code that is given out for it.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when the hash is known.
    pub async fn create_oauth_code(&self, hash: &str, code: &OauthCode) -> Result<(), StoreError> {
        on_db!(&self.db, write, pool => {
            let insert = sqlx::query(INSERT_CODE).bind(hash).bind(code.user.to_string());
            let insert = insert.bind(code.provider_session.map(|id| id.to_string())).bind(code.challenge.as_deref());
            let insert = insert.bind(code.redirect_uri.as_str()).bind(code.expires_at_ms);
            insert.execute(pool).await.map_err(StoreError::unique("code"))?;
        });
        Ok(())
    }

    /// Takes a finished sign-in out of the store; `None` when there is none, or it is too old.
    ///
    /// # Errors
    /// The database failed.
    pub async fn take_oauth_code(&self, hash: &str, now_ms: i64) -> Result<Option<OauthCode>, StoreError> {
        if !storable(hash) {
            return Ok(None);
        }
        let row: Option<CodeRow> = on_db!(&self.db, write, pool => {
            sqlx::query_as(TAKE_CODE).bind(hash).fetch_optional(pool).await?
        });
        let Some((user, session, challenge, redirect_uri, expires_at_ms)) = row.filter(|row| row.4 > now_ms) else {
            return Ok(None);
        };
        let provider_session = session.map(|id| parse(&id, "oauth_codes.provider_session_id")).transpose()?;
        Ok(Some(OauthCode {
            user: parse(&user, "users.id")?,
            provider_session,
            challenge,
            redirect_uri,
            expires_at_ms,
        }))
    }

    /// Notes that a logout token is obeyed. False when it was before.
    ///
    /// # Errors
    /// The database failed.
    pub async fn note_logout_token(&self, issuer: &str, jti: &str, expires_at_ms: i64) -> Result<bool, StoreError> {
        let insert = on_db!(&self.db, write, pool => {
            sqlx::query(INSERT_LOGOUT).bind(issuer).bind(jti).bind(expires_at_ms).execute(pool).await.map(drop)
        });
        match insert.map_err(StoreError::unique("logout token")) {
            Err(StoreError::Conflict { .. }) => Ok(false),
            other => other.map(|()| true),
        }
    }

    /// Forgets sign-ins, codes, logout tokens and device codes that ran out at or before `before_ms`.
    ///
    /// # Errors
    /// The database failed.
    pub async fn forget_sign_ins(&self, before_ms: i64) -> Result<u64, StoreError> {
        let mut forgotten = 0;
        for statement in FORGET {
            forgotten += on_db!(&self.db, write, pool => {
                sqlx::query(statement).bind(before_ms).execute(pool).await?.rows_affected()
            });
        }
        Ok(forgotten)
    }
}
