//! Signed checkpoints, the public keys that vouch for them, and what retention cuts off.
//!
//! Must not know: private keys; the caller signs.

use flotilla_ledger::checkpoint::{ISSUER, Keys, key_id};
use flotilla_types::audit::{Checkpoint, CheckpointKind};
use flotilla_types::time::Timestamp;

use crate::Store;
use crate::db::on_db;
use crate::error::StoreError;
use crate::sealed::{AUDIT_KEY, Place};

/// Rows that retention removes in one transaction: writers wait meanwhile.
const PORTION: i64 = 2_000;

const LOCK_HEAD: &str = "UPDATE audit_head SET seq = seq WHERE id = 1 RETURNING seq, hash";
const LAST: &str = "SELECT COALESCE(MAX(seq), 0) FROM audit_checkpoints";
const INSERT: &str = "INSERT INTO audit_checkpoints (seq, kind, token) VALUES ($1, $2, $3)";
const KEEP_KEY: &str = "INSERT INTO audit_keys (kid, public_key) VALUES ($1, $2) ON CONFLICT (kid) DO NOTHING";
const ALL_KEYS: &str = "SELECT kid, public_key FROM audit_keys ORDER BY kid";
const BETWEEN: &str = "SELECT seq, token FROM audit_checkpoints WHERE kind = 'head' AND seq >= $1 AND seq <= $2 \
    ORDER BY seq";
const AT_OR_BEHIND: &str = "SELECT MIN(seq) FROM audit_checkpoints WHERE kind = 'head' AND seq >= $1";
const AT_OR_BEFORE: &str = "SELECT seq, token FROM audit_checkpoints WHERE kind = 'head' AND seq <= $1 \
    ORDER BY seq DESC LIMIT 1";
const RETAINED: &str = "SELECT token FROM audit_checkpoints WHERE kind = 'retention' ORDER BY seq DESC LIMIT 1";
const FIRST_NEW_ENOUGH: &str = "SELECT seq FROM audit_events WHERE time >= $1 ORDER BY seq LIMIT 1";
const FORGET_BEFORE: &str = "DELETE FROM audit_checkpoints WHERE seq < $1";
const FIRST_SEQ: &str = "SELECT COALESCE(MIN(seq), 0) FROM audit_events";
/// Sum and number of what rows hold; numbers count as 8 bytes each.
const WEIGH: &str = "SELECT CAST(COALESCE(SUM(40 + LENGTH(id) + LENGTH(request_id) + LENGTH(route) + LENGTH(actor_email) \
    + LENGTH(actor_groups) + LENGTH(actor_address) + LENGTH(verb) + LENGTH(outcome) + LENGTH(cluster) + LENGTH(api_group) \
    + LENGTH(api_version) + LENGTH(resource) + LENGTH(namespace) + LENGTH(name) + LENGTH(command) + LENGTH(reason) \
    + LENGTH(hash)), 0) AS BIGINT), COUNT(*) FROM audit_events WHERE seq >= $1 AND seq < $2";
/// Rows that are weighed at each place.
const SAMPLE: i64 = 1_000;
const PRUNE: &str = "DELETE FROM audit_events WHERE seq <= $1 AND seq < (SELECT MIN(seq) FROM audit_events) + $2";

/// A checkpoint as a JWS, and the public half of the key that signed it, as a JWK.
pub type Signed = (String, serde_json::Value);

/// Signs a checkpoint; `None` when that fails.
pub type Sign<'a> = &'a (dyn Fn(&Checkpoint) -> Option<Signed> + Sync);

/// What retention keeps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retention {
    /// Rows made before this moment may go, milliseconds since the epoch.
    pub before_ms: Option<i64>,
    /// Rows beyond this number may go, the oldest first.
    pub max_rows: Option<u64>,
    /// Rows beyond so many bytes of content may go. Reckoned with the mean of [`SAMPLE`] rows at each of ten places of
    /// the log, since weighing all of them would read all of them.
    pub max_bytes: Option<u64>,
}

/// A checkpoint up to which rows may be removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut {
    /// Position of the last row to go.
    pub seq: i64,
    /// The checkpoint there.
    token: String,
}

fn kind_word(kind: CheckpointKind) -> &'static str {
    match kind {
        CheckpointKind::Head => "head",
        CheckpointKind::Retention => "retention",
    }
}

fn place(kid: &str) -> Place<'_> {
    AUDIT_KEY.at(kid)
}

impl Store {
    /// Signs the end of the log, unless that has been done already. Returns the checkpoint's position.
    ///
    /// # Errors
    /// The database failed, or `sign` did.
    pub async fn audit_checkpoint(&self, sign: Sign<'_>) -> Result<Option<i64>, StoreError> {
        on_db!(&self.db, tx, tx => {
            // Takes the head's row: neither rows nor another checkpoint come in between.
            let (seq, hash): (i64, String) = sqlx::query_as(LOCK_HEAD).fetch_one(&mut *tx).await?;
            let previous: i64 = sqlx::query_scalar(LAST).fetch_one(&mut *tx).await?;
            if seq <= previous {
                return Ok(None);
            }
            let checkpoint = checkpoint(CheckpointKind::Head, seq, hash, previous);
            let (token, kid, sealed) = self.signed(sign, &checkpoint)?;
            sqlx::query(KEEP_KEY).bind(kid).bind(sealed).execute(&mut *tx).await?;
            sqlx::query(INSERT).bind(seq).bind(kind_word(checkpoint.kind)).bind(token).execute(&mut *tx).await?;
            Ok(Some(seq))
        })
    }

    fn signed(&self, sign: Sign<'_>, checkpoint: &Checkpoint) -> Result<(String, String, String), StoreError> {
        let (token, public) = sign(checkpoint).ok_or(StoreError::Unsigned)?;
        let kid = key_id(&token).ok_or(StoreError::Unsigned)?;
        let sealed = self.sealer.seal(place(&kid), public.to_string().as_bytes())?;
        Ok((token, kid, sealed))
    }

    /// The public keys of all checkpoints that there are, as a JWK set (RFC 7517).
    ///
    /// # Errors
    /// The database failed, or somebody put a key there who is not a hub.
    pub async fn audit_keys(&self) -> Result<serde_json::Value, StoreError> {
        use secrecy::ExposeSecret;
        let rows: Vec<(String, String)> =
            on_db!(&self.db, read, pool => sqlx::query_as(ALL_KEYS).fetch_all(pool).await?);
        let open = |(kid, sealed): (String, String)| {
            let text = self.sealer.open_text(place(&kid), &sealed)?;
            serde_json::from_str(text.expose_secret())
                .map_err(|_| StoreError::Corrupt { column: "audit_keys.public_key" })
        };
        let keys: Vec<serde_json::Value> = rows.into_iter().map(open).collect::<Result<_, StoreError>>()?;
        Ok(serde_json::json!({ "keys": keys }))
    }

    pub(super) async fn verifying_keys(&self) -> Result<Keys, StoreError> {
        let keys = Keys::from_jwks(&self.audit_keys().await?);
        keys.map_err(|_| StoreError::Corrupt { column: "audit_keys.public_key" })
    }

    /// Checkpoints over positions `from` to `to`, in order: position and JWS.
    ///
    /// # Errors
    /// The database failed.
    pub async fn audit_checkpoints(&self, from: i64, to: i64) -> Result<Vec<(i64, String)>, StoreError> {
        Ok(on_db!(&self.db, read, pool => sqlx::query_as(BETWEEN).bind(from).bind(to).fetch_all(pool).await?))
    }

    /// Position of the first checkpoint at or behind `seq`.
    ///
    /// # Errors
    /// The database failed.
    pub async fn audit_checkpoint_behind(&self, seq: i64) -> Result<Option<i64>, StoreError> {
        Ok(on_db!(&self.db, read, pool => sqlx::query_scalar(AT_OR_BEHIND).bind(seq).fetch_one(pool).await?))
    }

    /// Position of the last checkpoint at or before `seq`; 0 when there is none.
    pub(super) async fn audit_checkpoint_before(&self, seq: i64) -> Result<i64, StoreError> {
        let found: Option<(i64, String)> = on_db!(&self.db, read, pool => {
            sqlx::query_as(AT_OR_BEFORE).bind(seq).fetch_optional(pool).await?
        });
        Ok(found.map_or(0, |(seq, _)| seq))
    }

    /// What retention left in the place of the rows that it removed: the JWS and what it states, if it holds.
    ///
    /// # Errors
    /// The database failed.
    pub async fn audit_retained(&self) -> Result<Option<(String, Option<Checkpoint>)>, StoreError> {
        let token: Option<String> =
            on_db!(&self.db, read, pool => sqlx::query_scalar(RETAINED).fetch_optional(pool).await?);
        let Some(token) = token else { return Ok(None) };
        let checkpoint = self.verifying_keys().await?.verify(&token).ok();
        Ok(Some((token, checkpoint.filter(|checkpoint| checkpoint.kind == CheckpointKind::Retention))))
    }

    /// Up to where rows may go, by `retention` and no further than `limit`; `None` when none may. It is always a
    /// checkpoint, so that what remains stays provable.
    ///
    /// # Errors
    /// The database failed.
    pub async fn audit_cut(&self, retention: Retention, limit: Option<i64>) -> Result<Option<Cut>, StoreError> {
        let head = super::chain::head(&self.db).await?.seq;
        let fitting = match retention.max_bytes {
            Some(most) => Some(most / self.audit_row_weight(head).await?),
            None => None,
        };
        let most = [retention.max_rows, fitting].into_iter().flatten().min();
        let by_rows = most.map(|most| head - i64::try_from(most).unwrap_or(i64::MAX));
        let by_age = match retention.before_ms {
            Some(before) => {
                let kept: Option<i64> = on_db!(&self.db, read, pool => {
                    sqlx::query_scalar(FIRST_NEW_ENOUGH).bind(before).fetch_optional(pool).await?
                });
                Some(kept.map_or(head, |kept| kept - 1))
            }
            None => None,
        };
        let Some(last) = by_rows.max(by_age).map(|last| last.min(limit.unwrap_or(i64::MAX))) else { return Ok(None) };
        let found: Option<(i64, String)> = on_db!(&self.db, read, pool => {
            sqlx::query_as(AT_OR_BEFORE).bind(last).fetch_optional(pool).await?
        });
        let cut_already = self.audit_retained().await?.and_then(|(_, checkpoint)| checkpoint).map_or(0, |c| c.seq);
        Ok(found.filter(|(seq, _)| *seq > cut_already).map(|(seq, token)| Cut { seq, token }))
    }

    /// Mean content of a row in bytes, at least 1.
    async fn audit_row_weight(&self, head: i64) -> Result<u64, StoreError> {
        let first: i64 = on_db!(&self.db, read, pool => sqlx::query_scalar(FIRST_SEQ).fetch_one(pool).await?);
        let step = ((head - first) / 10).max(SAMPLE);
        let (mut bytes, mut rows) = (0, 0);
        let mut from = first;
        while from <= head {
            let (more_bytes, more_rows): (i64, i64) = on_db!(&self.db, read, pool => {
                sqlx::query_as(WEIGH).bind(from).bind(from + SAMPLE).fetch_one(pool).await?
            });
            (bytes, rows) = (bytes + more_bytes, rows + more_rows);
            from += step;
        }
        Ok(u64::try_from(bytes / rows.max(1)).unwrap_or(1).max(1))
    }

    /// States, signed, that the rows up to a cut are gone. From then on the log begins behind it;
    /// [`Store::audit_prune`] removes the rows themselves.
    ///
    /// # Errors
    /// The checkpoint at the cut does not hold, the database failed, or `sign` did.
    pub async fn audit_retain(&self, cut: &Cut, sign: Sign<'_>) -> Result<(), StoreError> {
        let corrupt = |_| StoreError::Corrupt { column: "audit_checkpoints.token" };
        let vouched = self.verifying_keys().await?.verify(&cut.token).map_err(corrupt)?;
        let retained = checkpoint(CheckpointKind::Retention, vouched.seq, vouched.hash, vouched.previous);
        let (token, kid, sealed) = self.signed(sign, &retained)?;
        on_db!(&self.db, tx, tx => {
            sqlx::query(LOCK_HEAD).execute(&mut *tx).await?;
            sqlx::query(FORGET_BEFORE).bind(retained.seq).execute(&mut *tx).await?;
            sqlx::query(KEEP_KEY).bind(kid).bind(sealed).execute(&mut *tx).await?;
            sqlx::query(INSERT).bind(retained.seq).bind(kind_word(retained.kind)).bind(token).execute(&mut *tx).await?;
        });
        Ok(())
    }

    /// Removes some of the rows that retention has cut off; 0 when there are none left. To be called until then, with
    /// a pause between for those who write.
    ///
    /// # Errors
    /// The database failed.
    pub async fn audit_prune(&self) -> Result<u64, StoreError> {
        let Some((_, Some(retained))) = self.audit_retained().await? else { return Ok(0) };
        Ok(on_db!(&self.db, write, pool => {
            sqlx::query(PRUNE).bind(retained.seq).bind(PORTION).execute(pool).await?.rows_affected()
        }))
    }
}

fn checkpoint(kind: CheckpointKind, seq: i64, hash: String, previous: i64) -> Checkpoint {
    let time = flotilla_types::time::from_ms(Timestamp::now().as_millisecond());
    Checkpoint { iss: ISSUER.to_owned(), kind, seq, hash, previous, time }
}
