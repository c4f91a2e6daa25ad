//! One-use tickets, where several hubs share one database: the hub that redeems one need not be the one that made it.
//!
//! Must not know: what a ticket opens. Only hashes come here.

use crate::Store;
use crate::db::on_db;
use crate::error::{StoreError, storable};

/// A ticket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ticket {
    /// What proved who asked for it: `token`, `browser` or `key`.
    pub via: String,
    /// Which one of these.
    pub via_id: String,
    /// The one path that it opens.
    pub path: String,
    /// It holds until then; milliseconds since the epoch.
    pub expires_at_ms: i64,
}

const INSERT: &str = "INSERT INTO tickets (hash, via, via_id, path, expires_at) VALUES ($1, $2, $3, $4, $5)";
const REDEEM: &str = "DELETE FROM tickets WHERE hash = $1 RETURNING via, via_id, path, expires_at";
const FORGET: &str = "DELETE FROM tickets WHERE expires_at <= $1";

impl Store {
    /// Keeps a ticket under its hash.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when the hash is known.
    pub async fn create_ticket(&self, hash: &str, ticket: &Ticket) -> Result<(), StoreError> {
        on_db!(&self.db, write, pool => {
            let insert = sqlx::query(INSERT).bind(hash).bind(ticket.via.as_str()).bind(ticket.via_id.as_str());
            let insert = insert.bind(ticket.path.as_str()).bind(ticket.expires_at_ms);
            insert.execute(pool).await.map_err(StoreError::unique("ticket"))?;
        });
        Ok(())
    }

    /// Takes the ticket of this hash: of all who try, on whichever hub, one gets it.
    ///
    /// # Errors
    /// The database failed.
    pub async fn redeem_ticket(&self, hash: &str, now_ms: i64) -> Result<Option<Ticket>, StoreError> {
        if !storable(hash) {
            return Ok(None);
        }
        let row: Option<(String, String, String, i64)> =
            on_db!(&self.db, write, pool => sqlx::query_as(REDEEM).bind(hash).fetch_optional(pool).await?);
        let ticket = row.map(|(via, via_id, path, expires_at_ms)| Ticket { via, via_id, path, expires_at_ms });
        Ok(ticket.filter(|ticket| ticket.expires_at_ms > now_ms))
    }

    /// Forgets tickets that ended at or before `before_ms`.
    ///
    /// # Errors
    /// The database failed.
    pub async fn forget_tickets(&self, before_ms: i64) -> Result<u64, StoreError> {
        Ok(on_db!(&self.db, write, pool => sqlx::query(FORGET).bind(before_ms).execute(pool).await?.rows_affected()))
    }
}
