//! A token that holds: the stored one, or a renewed one shortly before it ends.
//!
//! Must not know: passwords. Nothing here ever asks a person.

use flotilla_types::api::{RefreshRequest, TokenResponse};
use jiff::{SignedDuration, Timestamp};
use reqwest::StatusCode;
use secrecy::{ExposeSecret, SecretString};

use crate::credentials::{Session, Store};
use crate::error::CliError;
use crate::hub_client::{Answer, Call, CallError, Transport};
use crate::hub_url::HubUrl;

/// A token with less life than this is renewed before it is used.
const MARGIN: SignedDuration = SignedDuration::from_secs(60);

/// Whether a token should be renewed before it is used: less than a minute of life is left or, for tokens that
/// live less than ten minutes, less than a tenth.
pub(crate) fn needs_renewal(session: &Session, now: Timestamp) -> bool {
    let life = session.expires_at.duration_since(session.obtained_at);
    let margin = MARGIN.min(life / 10);
    session.expires_at.duration_since(now) <= margin
}

/// What the hub answered, by this machine's clock. Only the length of life is taken from the hub, so a clock
/// that is wrong here does no harm. `Date` is cut to the second, so a second of that life may be gone already.
pub(crate) fn from_answer(email: &str, answer: Answer<TokenResponse>, now: Timestamp) -> Session {
    let hub_now = answer.hub_time.map_or(now, |cut| cut.checked_add(SignedDuration::from_secs(1)).unwrap_or(cut));
    let life = answer.body.expires_at.duration_since(hub_now);
    Session {
        email: email.to_owned(),
        token: answer.body.token.into(),
        refresh_token: answer.body.refresh_token.into(),
        obtained_at: now,
        expires_at: now.checked_add(life).unwrap_or(answer.body.expires_at),
    }
}

/// The stored session, if its token can be used as it is. Touches no network.
///
/// # Errors
/// Exit code 3 when nobody is signed in.
pub(crate) fn stored(store: &Store, hub: &HubUrl) -> Result<Session, CliError> {
    store.entry(hub)?.session.ok_or_else(|| CliError::not_signed_in(format!("you are not signed in to {hub}")))
}

/// A session whose token holds for a while.
///
/// # Errors
/// Exit code 3 when there is no session or it is over.
pub(crate) async fn current(store: &Store, hub: &HubUrl, transport: &Transport) -> Result<Session, CliError> {
    let session = stored(store, hub)?;
    if !needs_renewal(&session, Timestamp::now()) {
        return Ok(session);
    }
    renew_unless(store, hub, transport, |session| !needs_renewal(session, Timestamp::now())).await
}

/// A session with another token than `refused`, which the hub did not take.
///
/// # Errors
/// As [`current`].
pub(crate) async fn renewed(
    store: &Store,
    hub: &HubUrl,
    transport: &Transport,
    refused: &SecretString,
) -> Result<Session, CliError> {
    renew_unless(store, hub, transport, |session| session.token.expose_secret() != refused.expose_secret()).await
}

/// Renews under the lock, unless another process did so while this one waited for it.
async fn renew_unless(
    store: &Store,
    hub: &HubUrl,
    transport: &Transport,
    good: impl Fn(&Session) -> bool,
) -> Result<Session, CliError> {
    let _lock = store.renewal_lock(hub)?;
    let session = stored(store, hub)?;
    if good(&session) {
        return Ok(session);
    }
    let body = RefreshRequest { refresh_token: session.refresh_token.expose_secret().to_owned() };
    let call = Call::post(&["auth", "refresh"]).json(&body)?;
    match transport.call::<TokenResponse>(&call, None).await {
        Ok(answer) => {
            let new = from_answer(&session.email, answer, Timestamp::now());
            // The old refresh token is spent from here on: what came must be on disk before it is used.
            store.update(hub, |entry| entry.session = Some(new.clone()))?;
            Ok(new)
        }
        Err(CallError::Refused { status: StatusCode::UNAUTHORIZED, .. }) => {
            store.update(hub, |entry| entry.session = None)?;
            Err(CliError::not_signed_in(format!("your session with {hub} is over")))
        }
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_000_000 + seconds).unwrap()
    }

    fn session(life: i64) -> Session {
        Session {
            email: "a@b".into(),
            token: "t".into(),
            refresh_token: "r".into(),
            obtained_at: at(0),
            expires_at: at(life),
        }
    }

    #[test]
    fn renewed_a_minute_before_the_end_or_at_a_tenth_of_a_short_life() {
        for (life, now, wanted) in [
            (3600, 0, false),
            (3600, 3539, false),
            (3600, 3540, true),
            (3600, 4000, true),
            (30, 0, false),
            (30, 26, false),
            (30, 27, true),
            (0, 0, true),
        ] {
            assert_eq!(needs_renewal(&session(life), at(now)), wanted, "life {life} at {now}");
        }
    }

    fn answer(expires_at: i64, hub_time: Option<i64>) -> Answer<TokenResponse> {
        let body = TokenResponse {
            token: "t".into(),
            expires_at: at(expires_at),
            refresh_token: "r".into(),
            password_change_required: false,
        };
        Answer { body, hub_time: hub_time.map(at) }
    }

    #[test]
    fn a_wrong_clock_here_does_not_shorten_or_lengthen_a_token() {
        // The hub's clock is 500 s ahead of ours and the token lives for 900 s.
        let session = from_answer("a@b", answer(1400, Some(500)), at(0));
        assert_eq!((session.obtained_at, session.expires_at), (at(0), at(899)));
        let session = from_answer("a@b", answer(900, None), at(0));
        assert_eq!(session.expires_at, at(900));
    }
}
