//! Changing the key-encryption key: every sealed value is opened and sealed again with the newest key.
//!
//! Each value is exchanged by itself, and only if it is still the one that was read. So a run may be cut off at any
//! moment and started again, and may go on while hubs read and write. A column that is sealed must stand in
//! [`SEALED`].
//!
//! Must not know: where keys are kept, what a sealed value means.

use std::collections::BTreeMap;

use crate::Store;
use crate::db::on_db;
use crate::error::StoreError;
use crate::seal::{Place, key_id};

/// Values that are read at a time.
const PAGE: i64 = 200;

/// How many values each key-encryption key (by id) has sealed.
pub type KeysInUse = BTreeMap<String, u64>;

/// A sealed column and the statements over it.
struct Sealed {
    table: &'static str,
    column: &'static str,
    page: &'static str,
    exchange: &'static str,
}

macro_rules! sealed {
    ($table:literal, $column:literal, $key:literal) => {
        Sealed {
            table: $table,
            column: $column,
            page: concat!(
                "SELECT ",
                $key,
                ", ",
                $column,
                " FROM ",
                $table,
                " WHERE ",
                $column,
                " IS NOT NULL AND ",
                $key,
                " > $1 ORDER BY ",
                $key,
                " LIMIT $2"
            ),
            exchange: concat!(
                "UPDATE ",
                $table,
                " SET ",
                $column,
                " = $3 WHERE ",
                $key,
                " = $1 AND ",
                $column,
                " = $2"
            ),
        }
    };
}

/// Every sealed column of the schema: table, column, primary key (which is also the row of its [`Place`]).
const SEALED: &[Sealed] = &[sealed!("clusters", "credential", "id"), sealed!("signing_keys", "private_key", "kid")];

impl Store {
    /// Seals every value again that an older key has sealed; how many those were.
    ///
    /// # Errors
    /// [`StoreError::Sealed`] when a value does not open; what was exchanged before stays so.
    pub async fn reseal(&self) -> Result<u64, StoreError> {
        self.sealer.follow();
        let mut exchanged = 0;
        for sealed in SEALED {
            let mut after = String::new();
            while let Some(rows) = self.sealed_page(sealed, &after).await? {
                for (row, value) in &rows {
                    exchanged += u64::from(self.exchange(sealed, row, value).await?);
                }
                after = rows.into_iter().next_back().map(|(row, _)| row).unwrap_or_default();
            }
        }
        Ok(exchanged)
    }

    /// Which keys sealed what is there now.
    ///
    /// # Errors
    /// The database failed.
    pub async fn keys_in_use(&self) -> Result<KeysInUse, StoreError> {
        let mut used = KeysInUse::new();
        for sealed in SEALED {
            let mut after = String::new();
            while let Some(rows) = self.sealed_page(sealed, &after).await? {
                for (_, value) in &rows {
                    *used.entry(key_id(value).unwrap_or_default().to_owned()).or_default() += 1;
                }
                after = rows.into_iter().next_back().map(|(row, _)| row).unwrap_or_default();
            }
        }
        Ok(used)
    }

    /// Rows after a key, in its order; `None` when there are none left.
    async fn sealed_page(&self, sealed: &Sealed, after: &str) -> Result<Option<Vec<(String, String)>>, StoreError> {
        let rows: Vec<(String, String)> = on_db!(&self.db, read, pool => {
            sqlx::query_as(sealed.page).bind(after).bind(PAGE).fetch_all(pool).await?
        });
        Ok(Some(rows).filter(|rows| !rows.is_empty()))
    }

    async fn exchange(&self, sealed: &Sealed, row: &str, value: &str) -> Result<bool, StoreError> {
        if !self.sealer.is_stale(value) {
            return Ok(false);
        }
        let place = Place { table: sealed.table, column: sealed.column, row };
        let again = self.sealer.reseal(place, value)?;
        let done = on_db!(&self.db, write, pool => {
            let exchange = sqlx::query(sealed.exchange).bind(row).bind(value).bind(again);
            exchange.execute(pool).await?.rows_affected()
        });
        Ok(done > 0)
    }
}
