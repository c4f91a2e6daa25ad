//! Connections and migrations: the one place that knows that there are two engines.
//!
//! Everything else writes `on_db!(db, read, pool => ..)`; the macro compiles the expression once per engine, so
//! statements stay typed and one text serves both (SQLite takes `$1` too).
//!
//! Must not know: tables.

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::{Duration, Instant};

use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{Executor, SqlStr};

use crate::error::{StoreError, is_busy};

/// Longest wait for a free connection.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest wait for the first connection, and for another process's lock on a SQLite file.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Connections that read a SQLite file beside the one that writes.
const SQLITE_READERS: u32 = 4;
/// Connections to PostgreSQL.
const POSTGRES_CONNECTIONS: u32 = 16;

/// The most time that a statement of ours may take on PostgreSQL.
const STATEMENT_TIMEOUT: &str = "SET statement_timeout = '30s'";

/// Which engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Driver {
    /// One file, or memory.
    Sqlite,
    /// A server, version 13 or later.
    Postgres,
}

/// Where the database is.
#[derive(Clone)]
pub struct DatabaseConfig {
    /// Which engine.
    pub driver: Driver,
    /// SQLite: `sqlite:///absolute/path`, `sqlite://relative/path`, a bare path, or `sqlite::memory:`.
    /// PostgreSQL: `postgres://user:password@host:port/database?sslmode=..`; it may hold a password.
    pub url: String,
}

impl std::fmt::Debug for DatabaseConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DatabaseConfig").field("driver", &self.driver).field("url", &"[redacted]").finish()
    }
}

/// Runs an expression on either engine. `read` and `write` bind a pool; `tx` binds a connection inside a
/// transaction that commits when the expression has a value and rolls back when it leaves with `?` or `return`.
///
/// A `tx` expression must not use the pool: SQLite has one writing connection, and it would wait for itself.
/// On SQLite it begins with `BEGIN IMMEDIATE`, because a transaction that starts by reading cannot wait for
/// the write lock later.
macro_rules! on_db {
    ($db:expr, read, $pool:ident => $body:expr) => {
        match $db {
            $crate::db::Db::Sqlite { reader: $pool, .. } => $body,
            $crate::db::Db::Postgres($pool) => $body,
        }
    };
    ($db:expr, write, $pool:ident => $body:expr) => {
        match $db {
            $crate::db::Db::Sqlite { writer: $pool, .. } => $body,
            $crate::db::Db::Postgres($pool) => $body,
        }
    };
    ($db:expr, tx, $tx:ident => $body:expr) => {
        match $db {
            $crate::db::Db::Sqlite { writer, .. } => $crate::db::on_db!(@tx writer, "BEGIN IMMEDIATE", $tx, $body),
            $crate::db::Db::Postgres(pool) => $crate::db::on_db!(@tx pool, "BEGIN", $tx, $body),
        }
    };
    (@tx $pool:ident, $begin:literal, $tx:ident, $body:expr) => {{
        let mut transaction = $pool.begin_with($begin).await?;
        let value = {
            let $tx = &mut *transaction;
            $body
        };
        transaction.commit().await?;
        value
    }};
}
pub(crate) use on_db;

/// The connections.
#[derive(Clone)]
pub(crate) enum Db {
    /// One connection writes, several read (WAL lets them). In memory, both are one pool of one connection.
    Sqlite { writer: SqlitePool, reader: SqlitePool },
    /// One pool.
    Postgres(PgPool),
}

impl Db {
    pub(crate) fn engine(&self) -> Driver {
        match self {
            Self::Sqlite { .. } => Driver::Sqlite,
            Self::Postgres(_) => Driver::Postgres,
        }
    }

    pub(crate) async fn connect(config: &DatabaseConfig) -> Result<Self, StoreError> {
        match config.driver {
            Driver::Sqlite => match SqliteLocation::parse(&config.url)? {
                SqliteLocation::Memory => open_memory().await,
                SqliteLocation::File(path) => open_file(&path).await,
            },
            Driver::Postgres => open_postgres(&config.url).await,
        }
    }

    /// See [`crate::Store::migrate`]. PostgreSQL: sqlx holds an advisory lock. SQLite: sqlx has no lock, so
    /// the whole run is one immediate transaction, inside which each migration is a savepoint.
    /// Goes no further than `target`, if there is one.
    pub(crate) async fn migrate(&self, target: Option<i64>) -> Result<(), StoreError> {
        match self {
            Self::Sqlite { writer, .. } => {
                let mut transaction = writer.begin_with("BEGIN IMMEDIATE").await?;
                migrator().run_direct(target, &mut *transaction, false).await.map_err(failed)?;
                transaction.commit().await?;
            }
            Self::Postgres(pool) => {
                let mut connection = pool.acquire().await?;
                // A migration over large tables takes the time that it takes; so does waiting for another hub's.
                connection.execute("SET statement_timeout = 0").await?;
                let result = migrator().run_direct(target, &mut *connection, false).await;
                if result.is_err() {
                    // sqlx keeps the advisory lock after a failure; it goes with the connection.
                    connection.close().await?;
                } else {
                    connection.execute(STATEMENT_TIMEOUT).await?;
                }
                result.map_err(failed)?;
            }
        }
        Ok(())
    }

    pub(crate) async fn ping(&self) -> Result<(), StoreError> {
        on_db!(self, read, pool => {
            sqlx::query("SELECT 1").execute(pool).await?;
        });
        Ok(())
    }

    pub(crate) async fn close(&self) {
        match self {
            Self::Sqlite { writer, reader } => {
                reader.close().await;
                writer.close().await;
            }
            Self::Postgres(pool) => pool.close().await,
        }
    }
}

/// A database that has migrations that we do not know was made by a newer version.
fn failed(error: sqlx::migrate::MigrateError) -> StoreError {
    match error {
        sqlx::migrate::MigrateError::VersionMissing(found) if found > newest() => {
            StoreError::Newer { found, known: newest() }
        }
        other => StoreError::Migration(Box::new(other)),
    }
}

/// Number of the newest migration.
pub(crate) fn newest() -> i64 {
    migrator().iter().map(|migration| migration.version).max().unwrap_or_default()
}

/// Numbers of all migrations, oldest first.
pub(crate) fn versions() -> Vec<i64> {
    migrator().iter().map(|migration| migration.version).collect()
}

/// All migrations, oldest first. The texts need no replacement per engine so far; should a token have to
/// differ one day, replace it here and nowhere else.
fn migrator() -> Migrator {
    const ALL: &[(i64, &str, &str)] = &[
        (1, "registry", include_str!("../migrations/0001_registry.sql")),
        (2, "audit", include_str!("../migrations/0002_audit.sql")),
        (10, "audit_proof", include_str!("../migrations/0010_audit_proof.sql")),
        (11, "access", include_str!("../migrations/0011_access.sql")),
        (12, "sign_in", include_str!("../migrations/0012_sign_in.sql")),
        (13, "recordings", include_str!("../migrations/0013_recordings.sql")),
        (14, "clusters", include_str!("../migrations/0014_clusters.sql")),
        (15, "organisations", include_str!("../migrations/0015_organisations.sql")),
        (16, "audit_diff", include_str!("../migrations/0016_audit_diff.sql")),
    ];
    let migration = |&(version, name, sql): &(i64, &'static str, &'static str)| {
        Migration::new(version, name.into(), MigrationType::Simple, SqlStr::from_static(sql), false)
    };
    Migrator::with_migrations(ALL.iter().map(migration).collect())
}

#[derive(Debug, PartialEq, Eq)]
enum SqliteLocation {
    Memory,
    File(PathBuf),
}

impl SqliteLocation {
    fn parse(url: &str) -> Result<Self, StoreError> {
        let path = url.strip_prefix("sqlite://").or_else(|| url.strip_prefix("sqlite:")).unwrap_or(url);
        let refuse = |why: &str| Err(StoreError::Config(why.to_owned()));
        match path {
            ":memory:" => Ok(Self::Memory),
            "" => refuse("give a path, for example sqlite:///var/lib/flotilla/flotilla.db"),
            _ if path.contains("://") => refuse("it is not a SQLite address; set database.driver to match it"),
            _ if path.contains('?') => refuse("SQLite addresses take no options after '?'"),
            _ => Ok(Self::File(path.into())),
        }
    }
}

async fn open_memory() -> Result<Db, StoreError> {
    let options = SqliteConnectOptions::from_str("sqlite::memory:")?.foreign_keys(true);
    // The database lives as long as its one connection.
    let pool = sqlite_pool(1).min_connections(1).connect_with(options).await?;
    Ok(Db::Sqlite { writer: pool.clone(), reader: pool })
}

async fn open_file(path: &Path) -> Result<Db, StoreError> {
    make_private(path).map_err(StoreError::File)?;
    let options = SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .foreign_keys(true)
        .journal_mode(SqliteJournalMode::Wal)
        // WAL with NORMAL may lose the last commits on power loss; "no row, no act" allows none to be lost.
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(CONNECT_TIMEOUT);
    let writer = connect_writer(&options).await?;
    let reader = sqlite_pool(SQLITE_READERS).connect_lazy_with(options.pragma("query_only", "ON"));
    Ok(Db::Sqlite { writer, reader })
}

/// The first change to WAL needs the file for itself, and SQLite does not always wait for it: two processes
/// that start together on a new file meet here.
async fn connect_writer(options: &SqliteConnectOptions) -> Result<SqlitePool, StoreError> {
    let deadline = Instant::now() + CONNECT_TIMEOUT;
    loop {
        match sqlite_pool(1).connect_with(options.clone()).await {
            Ok(pool) => return Ok(pool),
            Err(error) if Instant::now() < deadline && is_locked(&error) => {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            Err(error) => return Err(error.into()),
        }
    }
}

fn is_locked(error: &sqlx::Error) -> bool {
    error.as_database_error().and_then(sqlx::error::DatabaseError::code).is_some_and(|code| is_busy(&code))
}

fn sqlite_pool(connections: u32) -> SqlitePoolOptions {
    SqlitePoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .idle_timeout(None)
        .max_lifetime(None)
        .test_before_acquire(false)
}

/// Makes the file (and the directories on the way) for the owner only; SQLite gives `-wal` and `-shm` the
/// mode of the main file.
fn make_private(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
    if let Some(directory) = path.parent().filter(|d| !d.as_os_str().is_empty()) {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    }
    let file = std::fs::OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path)?;
    let mode = file.metadata()?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        tracing::warn!(path = %path.display(), mode = format!("{mode:o}"), "database file was open to others, closing it");
        file.set_permissions(std::fs::Permissions::from_mode(0o600))?;
    }
    Ok(())
}

async fn open_postgres(url: &str) -> Result<Db, StoreError> {
    // The parser's own error is not passed on: it may quote the address.
    let options = PgConnectOptions::from_str(url)
        .map_err(|_| StoreError::Config("give postgres://user:password@host:port/database".to_owned()))?
        .application_name("flotilla");
    let connect = PgPoolOptions::new()
        .max_connections(POSTGRES_CONNECTIONS)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .after_connect(|connection, _| {
            Box::pin(async move {
                // An audit row counts as written when it is on disk, whatever the server's default says; and
                // no statement of ours may take for ever.
                connection.execute("SET synchronous_commit = on").await?;
                connection.execute(STATEMENT_TIMEOUT).await?;
                Ok(())
            })
        })
        .connect_with(options);
    let pool = tokio::time::timeout(CONNECT_TIMEOUT, connect).await;
    Ok(Db::Postgres(pool.unwrap_or(Err(sqlx::Error::PoolTimedOut))?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_of_migrations_is_one() {
        let folder = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/migrations")).unwrap();
        let mut files: Vec<_> = folder.map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
        files.sort();
        let listed: Vec<_> =
            migrator().iter().map(|one| format!("{:04}_{}.sql", one.version, one.description)).collect();
        assert_eq!(listed, files);
    }

    #[test]
    fn sqlite_addresses() {
        let file = |path: &str| SqliteLocation::File(path.into());
        for (url, expected) in [
            ("sqlite:///var/lib/f.db", file("/var/lib/f.db")),
            ("sqlite://data/f.db", file("data/f.db")),
            ("sqlite:f.db", file("f.db")),
            ("f.db", file("f.db")),
            ("/var/lib/f g.db", file("/var/lib/f g.db")),
            ("sqlite::memory:", SqliteLocation::Memory),
            ("sqlite://:memory:", SqliteLocation::Memory),
        ] {
            assert_eq!(SqliteLocation::parse(url).unwrap(), expected, "{url}");
        }
        for url in ["", "sqlite://", "postgres://u:p@h/d", "sqlite://f.db?mode=ro"] {
            assert!(matches!(SqliteLocation::parse(url), Err(StoreError::Config(_))), "{url}");
        }
    }

    #[tokio::test]
    async fn a_bad_postgres_address_is_not_repeated() {
        let config = DatabaseConfig { driver: Driver::Postgres, url: "postgres://u:hunter2@h:port/d".into() };
        let error = Db::connect(&config).await.err().unwrap();
        assert!(!format!("{error} {error:?} {config:?}").contains("hunter2"), "{error:?}");
    }
}
