//! Changing the key-encryption key: the data key of every sealed value is wrapped again with the newest key.
//!
//! Each value is exchanged by itself, and only if it is still the one that was read. So a run may be cut off at any
//! moment and started again, and may go on while hubs read and write. Memory holds a page of keys and one value.
//!
//! Must not know: where keys are kept, what a sealed value means, which columns there are ([`crate::sealed`]).

use std::collections::BTreeMap;

use crate::Store;
use crate::db::on_db;
use crate::error::StoreError;
use crate::seal::key_id;
use crate::sealed::{ALL, Column, Key};

/// Rows that are looked at at a time.
const PAGE: i64 = 200;

/// How many values each key-encryption key (by id) has sealed.
pub type KeysInUse = BTreeMap<String, u64>;

/// A row's key (the number is 0 where the key has none), and the beginning of its sealed value.
type Head = (String, i64, String);

impl Store {
    /// Wraps the data key of every value again that is under an older key; how many those were.
    ///
    /// # Errors
    /// [`StoreError::Sealed`] when a value does not open; what was exchanged before stays so.
    pub async fn reseal(&self) -> Result<u64, StoreError> {
        self.sealer.follow();
        let mut exchanged = 0;
        for column in ALL {
            let mut last = None;
            while let Some(heads) = self.heads(column, last.as_ref()).await? {
                for head in heads.iter().filter(|(.., head)| self.sealer.is_stale(head)) {
                    exchanged += u64::from(self.exchange(column, head).await?);
                }
                last = heads.into_iter().next_back();
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
        for column in ALL {
            let mut last = None;
            while let Some(heads) = self.heads(column, last.as_ref()).await? {
                for (.., head) in &heads {
                    *used.entry(key_id(head).unwrap_or_default().to_owned()).or_default() += 1;
                }
                last = heads.into_iter().next_back();
            }
        }
        Ok(used)
    }

    /// Rows behind one, in the order of their keys; `None` when there are none left.
    async fn heads(&self, column: &Column, last: Option<&Head>) -> Result<Option<Vec<Head>>, StoreError> {
        let (text, number) = last.map_or(("", -1), |(text, number, _)| (text.as_str(), *number));
        let heads: Vec<Head> = on_db!(&self.db, read, pool => {
            let page = sqlx::query_as(column.page).bind(text);
            let page = if column.key == Key::TextAndNumber { page.bind(number) } else { page };
            page.bind(PAGE).fetch_all(pool).await?
        });
        Ok(Some(heads).filter(|heads| !heads.is_empty()))
    }

    /// Exchanges one value; whether it was still there, and the same.
    async fn exchange(&self, column: &Column, head: &Head) -> Result<bool, StoreError> {
        let (text, number, _) = head;
        let numbered = column.key == Key::TextAndNumber;
        let value: Option<String> = on_db!(&self.db, read, pool => {
            let value = sqlx::query_scalar(column.value).bind(text.as_str());
            let value = if numbered { value.bind(*number) } else { value };
            value.fetch_optional(pool).await?
        });
        let Some(value) = value.filter(|value| self.sealer.is_stale(value)) else { return Ok(false) };
        let row = if numbered { format!("{text}/{number}") } else { text.clone() };
        let again = self.sealer.reseal(column.at(&row), &value)?;
        let done = on_db!(&self.db, write, pool => {
            let exchange = sqlx::query(column.exchange).bind(text.as_str());
            let exchange = if numbered { exchange.bind(*number) } else { exchange };
            exchange.bind(value).bind(again).execute(pool).await?.rows_affected()
        });
        Ok(done > 0)
    }
}
