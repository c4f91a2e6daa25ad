//! Device authorization grants (RFC 8628): a program without a browser waits until a person elsewhere says yes.
//!
//! Must not know: what codes look like. The device code comes as a hash; the user code is short and readable, and
//! is safe as it is only for somebody who is signed in.

use flotilla_types::id::UserId;

use crate::Store;
use crate::db::on_db;
use crate::error::{StoreError, parse, storable};
use crate::identities::ProviderSessionId;

/// A grant to be made.
#[derive(Clone, Debug)]
pub struct NewDevice<'a> {
    /// SHA-256 of the device code, hex.
    pub hash: &'a str,
    /// What the person types.
    pub user_code: &'a str,
    /// What the device says of itself, for the person who decides.
    pub client: &'a str,
    /// Milliseconds that must lie between two questions.
    pub interval_ms: i64,
    /// Milliseconds since the epoch.
    pub expires_at_ms: i64,
}

/// What a waiting program is told (RFC 8628 section 3.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Poll {
    /// Nobody has decided.
    Pending,
    /// Nobody has decided, and it asks too often: the interval has grown by 5 s.
    SlowDown,
    /// Somebody said no.
    Denied,
    /// Somebody said yes. The grant is spent.
    Approved {
        /// Who.
        user: UserId,
        /// The provider's session that he signed in with.
        provider_session: Option<ProviderSessionId>,
    },
    /// There is no such grant, or it is spent or too old.
    Unknown,
}

type Row = (String, Option<String>, Option<String>, i64, i64);

/// RFC 8628 section 3.5: "the interval MUST be increased by 5 seconds for this and all subsequent requests".
const SLOWER_MS: i64 = 5_000;

const INSERT: &str = "INSERT INTO device_codes (hash, user_code, client, state, interval_ms, polled_at, expires_at) \
    VALUES ($1, $2, $3, 'pending', $4, 0, $5)";
const CLIENT: &str = "SELECT client FROM device_codes WHERE user_code = $1 AND state = 'pending' AND expires_at > $2";
const DECIDE: &str = "UPDATE device_codes SET state = $2, user_id = $3, provider_session_id = $4 \
    WHERE user_code = $1 AND state = 'pending' AND expires_at > $5";
const LOOK: &str = "SELECT state, user_id, provider_session_id, interval_ms, polled_at FROM device_codes \
    WHERE hash = $1 AND expires_at > $2";
const POLLED: &str = "UPDATE device_codes SET polled_at = $2, interval_ms = $3 WHERE hash = $1";
const SPEND: &str = "DELETE FROM device_codes WHERE hash = $1 AND state <> 'pending'";

impl Store {
    /// Makes a grant that nobody has decided on.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when one of the codes is in use.
    pub async fn create_device(&self, new: &NewDevice<'_>) -> Result<(), StoreError> {
        on_db!(&self.db, write, pool => {
            let insert = sqlx::query(INSERT).bind(new.hash).bind(new.user_code).bind(new.client);
            let insert = insert.bind(new.interval_ms).bind(new.expires_at_ms);
            insert.execute(pool).await.map_err(StoreError::unique("device code"))?;
        });
        Ok(())
    }

    /// What the device with this user code says of itself, while a decision is open.
    ///
    /// # Errors
    /// The database failed.
    pub async fn pending_device(&self, user_code: &str, now_ms: i64) -> Result<Option<String>, StoreError> {
        if !storable(user_code) {
            return Ok(None);
        }
        Ok(on_db!(&self.db, read, pool => {
            sqlx::query_scalar(CLIENT).bind(user_code).bind(now_ms).fetch_optional(pool).await?
        }))
    }

    /// Decides on a grant. False when there is none to decide on.
    ///
    /// # Errors
    /// The database failed.
    pub async fn decide_device(
        &self,
        user_code: &str,
        user: UserId,
        provider_session: Option<ProviderSessionId>,
        approved: bool,
        now_ms: i64,
    ) -> Result<bool, StoreError> {
        if !storable(user_code) {
            return Ok(false);
        }
        let state = if approved { "approved" } else { "denied" };
        let done = on_db!(&self.db, write, pool => {
            let decide = sqlx::query(DECIDE).bind(user_code).bind(state).bind(user.to_string());
            let decide = decide.bind(provider_session.map(|id| id.to_string())).bind(now_ms);
            decide.execute(pool).await?.rows_affected()
        });
        Ok(done > 0)
    }

    /// One question of the waiting program. A decision is told once.
    ///
    /// # Errors
    /// The database failed; then nothing was spent.
    pub async fn poll_device(&self, hash: &str, now_ms: i64) -> Result<Poll, StoreError> {
        if !storable(hash) {
            return Ok(Poll::Unknown);
        }
        let (row, spent): (Option<Row>, bool) = on_db!(&self.db, tx, tx => {
            let row: Option<Row> = sqlx::query_as(LOOK).bind(hash).bind(now_ms).fetch_optional(&mut *tx).await?;
            let mut spent = false;
            if let Some((state, _, _, interval, polled)) = &row {
                if state == "pending" {
                    let interval = interval + if now_ms - polled < *interval { SLOWER_MS } else { 0 };
                    sqlx::query(POLLED).bind(hash).bind(now_ms).bind(interval).execute(&mut *tx).await?;
                } else {
                    // Of two who ask at once, the one whose delete finds the row gets the answer.
                    spent = sqlx::query(SPEND).bind(hash).execute(&mut *tx).await?.rows_affected() > 0;
                }
            }
            (row, spent)
        });
        match row {
            Some((state, _, _, interval, polled)) if state == "pending" => {
                Ok(if now_ms - polled < interval { Poll::SlowDown } else { Poll::Pending })
            }
            Some((state, Some(user), session, _, _)) if spent && state == "approved" => Ok(Poll::Approved {
                user: parse(&user, "device_codes.user_id")?,
                provider_session: session.map(|id| parse(&id, "device_codes.provider_session_id")).transpose()?,
            }),
            Some(_) if spent => Ok(Poll::Denied),
            _ => Ok(Poll::Unknown),
        }
    }
}
