//! The hub's signing keys. The private half is sealed.
//!
//! Must not know: what is signed, what an algorithm's name means.

use flotilla_types::time::now_ms;
use secrecy::{ExposeSecret, SecretString};

use crate::Store;
use crate::db::on_db;
use crate::error::{StoreError, found};
use crate::sealed::{Place, SIGNING_KEY};

/// A signing key.
#[derive(Clone, Debug)]
pub struct SigningKey {
    /// Key id.
    pub kid: String,
    /// The algorithm's name, kept as given (`RS256`, `EdDSA`).
    pub algorithm: String,
    /// The private key, kept as given (PEM).
    pub private_key: SecretString,
    /// Milliseconds since the epoch.
    pub created_at_ms: i64,
    /// Since when it signs nothing new, milliseconds since the epoch.
    pub retired_at_ms: Option<i64>,
}

type Row = (String, String, String, i64, Option<i64>);

const ALL: &str = "SELECT kid, algorithm, private_key, created_at, retired_at FROM signing_keys \
    ORDER BY created_at, kid";
const INSERT: &str = "INSERT INTO signing_keys (kid, algorithm, private_key, created_at, retired_at) \
    VALUES ($1, $2, $3, $4, $5)";
const RETIRE: &str = "UPDATE signing_keys SET retired_at = $2 WHERE kid = $1 AND retired_at IS NULL";
const FORGET: &str = "DELETE FROM signing_keys WHERE retired_at <= $1";

fn place(kid: &str) -> Place<'_> {
    SIGNING_KEY.at(kid)
}

impl Store {
    /// All keys, oldest first, retired ones too.
    ///
    /// # Errors
    /// [`StoreError::Sealed`] when one does not open.
    pub async fn list_signing_keys(&self) -> Result<Vec<SigningKey>, StoreError> {
        let rows: Vec<Row> = on_db!(&self.db, read, pool => sqlx::query_as(ALL).fetch_all(pool).await?);
        let open = |(kid, algorithm, sealed, created_at_ms, retired_at_ms): Row| {
            let private_key = self.sealer.open_text(place(&kid), &sealed)?;
            Ok(SigningKey { kid, algorithm, private_key, created_at_ms, retired_at_ms })
        };
        rows.into_iter().map(open).collect()
    }

    /// Adds a key.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when the key id is taken.
    pub async fn insert_signing_key(&self, key: &SigningKey) -> Result<(), StoreError> {
        let sealed = self.sealer.seal(place(&key.kid), key.private_key.expose_secret().as_bytes())?;
        on_db!(&self.db, write, pool => {
            let insert = sqlx::query(INSERT).bind(key.kid.as_str()).bind(key.algorithm.as_str()).bind(sealed);
            let insert = insert.bind(key.created_at_ms).bind(key.retired_at_ms);
            insert.execute(pool).await.map_err(StoreError::unique("signing key"))?;
        });
        Ok(())
    }

    /// Marks a key as one that signs nothing new. It stays to verify what it signed.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when there is no such key or it is retired already.
    pub async fn retire_signing_key(&self, kid: &str) -> Result<(), StoreError> {
        let done = on_db!(&self.db, write, pool => {
            sqlx::query(RETIRE).bind(kid).bind(now_ms()).execute(pool).await?.rows_affected()
        });
        found(done, "signing key")
    }

    /// Forgets keys that were retired at or before `before_ms`; nothing they signed may still hold then.
    ///
    /// # Errors
    /// The database failed.
    pub async fn forget_signing_keys(&self, before_ms: i64) -> Result<u64, StoreError> {
        Ok(on_db!(&self.db, write, pool => sqlx::query(FORGET).bind(before_ms).execute(pool).await?.rows_affected()))
    }
}
