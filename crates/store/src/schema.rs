//! What state the schema is in, without touching it.
//!
//! Must not know: tables other than that of the migrations.

use crate::Store;
use crate::db::{Db, newest, on_db, versions};
use crate::error::StoreError;

/// The schema beside this program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SchemaState {
    /// As this program wants it.
    Current,
    /// Migrations are missing; [`Store::migrate`] brings them.
    Pending {
        /// Number of the newest migration that the database has; 0 for an empty one.
        found: i64,
        /// Numbers of the missing ones, oldest first.
        missing: Vec<i64>,
    },
    /// Made by a newer version of this program.
    Newer {
        /// Number of the newest migration that the database has.
        found: i64,
        /// Number of the newest one in this program.
        known: i64,
    },
}

const APPLIED: &str = "SELECT version FROM _sqlx_migrations WHERE success ORDER BY version";
const SQLITE_TABLE: &str = "SELECT COUNT(*) FROM sqlite_master WHERE type = 'table' AND name = '_sqlx_migrations'";
const POSTGRES_TABLE: &str = "SELECT COUNT(*) FROM information_schema.tables \
    WHERE table_schema = current_schema() AND table_name = '_sqlx_migrations'";

impl Store {
    /// Compares the schema with what this program wants.
    ///
    /// # Errors
    /// The database failed.
    pub async fn schema_state(&self) -> Result<SchemaState, StoreError> {
        let applied = applied(&self.db).await?;
        let found = applied.last().copied().unwrap_or_default();
        if found > newest() {
            return Ok(SchemaState::Newer { found, known: newest() });
        }
        let missing: Vec<i64> = versions().into_iter().filter(|version| !applied.contains(version)).collect();
        Ok(if missing.is_empty() { SchemaState::Current } else { SchemaState::Pending { found, missing } })
    }
}

/// Numbers of the migrations that the database has, oldest first.
pub(crate) async fn applied(db: &Db) -> Result<Vec<i64>, StoreError> {
    let table = match db {
        Db::Sqlite { .. } => SQLITE_TABLE,
        Db::Postgres(_) => POSTGRES_TABLE,
    };
    let there: i64 = on_db!(db, read, pool => sqlx::query_scalar(table).fetch_one(pool).await?);
    if there == 0 {
        return Ok(Vec::new());
    }
    Ok(on_db!(db, read, pool => sqlx::query_scalar(APPLIED).fetch_all(pool).await?))
}
