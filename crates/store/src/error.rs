//! What can go wrong in the store, sorted by what the caller does about it.
//!
//! Must not know: HTTP statuses. Texts never hold addresses with passwords or values of columns.

use sqlx::migrate::MigrateError;
use thiserror::Error;

use crate::seal::SealError;

/// Errors of the store.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StoreError {
    /// Something of that name is there already.
    #[error("this {what} exists already; choose another or change the one that is there")]
    Conflict {
        /// What, for example `user`.
        what: &'static str,
    },
    /// There is no such thing, or there is none any more.
    #[error("there is no such {what}")]
    NotFound {
        /// What, for example `cluster`.
        what: &'static str,
    },
    /// The database does not answer or has no connection to spare. Trying again later may help.
    #[error("the database does not answer; check that it runs and is not overloaded")]
    Unavailable(#[source] sqlx::Error),
    /// The database answered with an error that nobody expected.
    #[error("the database refused a statement")]
    Database(#[source] sqlx::Error),
    /// The schema could not be brought up to date.
    #[error("the database could not be migrated; restore a backup or run the version that wrote it")]
    Migration(#[source] Box<MigrateError>),
    /// The database was made by a newer version of this program.
    #[error(
        "the database was made by a newer version of this program (its schema is {found}, this one knows up to {known}); \
         run that version, or restore a backup of this one"
    )]
    Newer {
        /// Number of the newest migration in the database.
        found: i64,
        /// Number of the newest one in this program.
        known: i64,
    },
    /// A backup cannot be made or used.
    #[error("{0}")]
    Backup(String),
    /// A sealed column does not open, or could not be sealed.
    #[error("a sealed value could not be used")]
    Sealed(#[from] SealError),
    /// A column holds what this version cannot have written.
    #[error("column {column} holds a value that cannot be read; restore a backup")]
    Corrupt {
        /// Table and column.
        column: &'static str,
    },
    /// A checkpoint of the audit log could not be signed.
    #[error("a checkpoint of the audit log could not be signed; check the hub's signing keys")]
    Unsigned,
    /// The configured address makes no sense.
    #[error("database.url cannot be used: {0}")]
    Config(String),
    /// The SQLite file could not be made.
    #[error("the database file could not be created; check that its directory exists and is writable")]
    File(#[source] std::io::Error),
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        use sqlx::Error as E;
        match error {
            E::PoolTimedOut | E::PoolClosed | E::WorkerCrashed | E::Io(_) | E::Tls(_) => Self::Unavailable(error),
            E::Configuration(_) => Self::Config(error.to_string()),
            _ if is_shutdown(&error) => Self::Unavailable(error),
            _ => Self::Database(error),
        }
    }
}

/// PostgreSQL class 57P (operator intervention: going down, starting up), 53 (insufficient resources) and
/// SQLite's `SQLITE_BUSY` family: the statement was right, the moment was not.
fn is_shutdown(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(sqlx::error::DatabaseError::code);
    code.is_some_and(|code| code.starts_with("57P") || code.starts_with("53") || is_busy(&code))
}

/// Whether a SQLite result code says that another process holds the lock (5 and its extended codes,
/// <https://www.sqlite.org/rescode.html#busy>).
pub(crate) fn is_busy(code: &str) -> bool {
    matches!(code, "5" | "261" | "517" | "773")
}

impl StoreError {
    /// For `map_err` after an insert: a broken uniqueness becomes [`StoreError::Conflict`] over `what`.
    pub(crate) fn unique(what: &'static str) -> impl FnOnce(sqlx::Error) -> Self {
        move |error| match error.as_database_error() {
            Some(e) if e.is_unique_violation() => Self::Conflict { what },
            _ => error.into(),
        }
    }

    /// For `map_err` after an insert: a missing parent row becomes [`StoreError::NotFound`] of `what`.
    pub(crate) fn parent(what: &'static str) -> impl FnOnce(sqlx::Error) -> Self {
        move |error| match error.as_database_error() {
            Some(e) if e.is_foreign_key_violation() => Self::NotFound { what },
            _ => error.into(),
        }
    }
}

/// `Ok` when a statement touched a row, otherwise [`StoreError::NotFound`].
pub(crate) fn found(rows: u64, what: &'static str) -> Result<(), StoreError> {
    if rows == 0 { Err(StoreError::NotFound { what }) } else { Ok(()) }
}

/// Reads a stored id.
pub(crate) fn parse<T: std::str::FromStr>(text: &str, column: &'static str) -> Result<T, StoreError> {
    text.parse().map_err(|_| StoreError::Corrupt { column })
}

/// PostgreSQL's TEXT holds no NUL, so nothing that contains one can be found. Asking for it is not an error.
pub(crate) fn storable(text: &str) -> bool {
    !text.contains('\0')
}
