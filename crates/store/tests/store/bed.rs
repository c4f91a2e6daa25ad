//! An empty database on either engine, and a way round the store to look at it and to tamper with it.

use std::sync::Arc;

use flotilla_store::{DatabaseConfig, Driver, Kek, Sealer, Store};
use sqlx::postgres::{PgPool, PgRow};
use sqlx::sqlite::{SqlitePool, SqliteRow};
use sqlx::{AssertSqlSafe, FromRow};

use crate::postgres::Server;

/// A database of its own for one story.
pub(crate) struct Bed {
    pub(crate) config: DatabaseConfig,
    pub(crate) sealer: Sealer,
    /// Where the SQLite file is, or the server that holds the database.
    _home: Home,
}

/// Kept for its drop.
#[expect(dead_code)]
enum Home {
    Directory(tempfile::TempDir),
    Server(Arc<Server>),
}

pub(crate) fn sealer() -> Sealer {
    Sealer::new(vec![Kek::new("test", [42; 32]).unwrap()]).unwrap()
}

impl Bed {
    pub(crate) async fn sqlite() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}", directory.path().join("flotilla.db").display());
        let config = DatabaseConfig { driver: Driver::Sqlite, url };
        Self { config, sealer: sealer(), _home: Home::Directory(directory) }
    }

    pub(crate) async fn postgres(test: &str) -> Option<Self> {
        let name = test.to_owned();
        let server = tokio::task::spawn_blocking(move || Server::shared(&name)).await.unwrap()?;
        let database = format!("t{}", flotilla_types::id::AuditId::new().0.simple());
        let admin = PgPool::connect(&server.url("postgres")).await.unwrap();
        sqlx::query(AssertSqlSafe(format!("CREATE DATABASE {database}"))).execute(&admin).await.unwrap();
        admin.close().await;
        let config = DatabaseConfig { driver: Driver::Postgres, url: server.url(&database) };
        Some(Self { config, sealer: sealer(), _home: Home::Server(server) })
    }

    /// Another handle, as another hub would have; the schema is not touched.
    pub(crate) async fn open(&self) -> Store {
        Store::open(&self.config, self.sealer.clone()).await.unwrap()
    }

    /// A handle on a migrated database.
    pub(crate) async fn store(&self) -> Store {
        let store = self.open().await;
        store.migrate().await.unwrap();
        store
    }

    /// Runs statements past the store.
    pub(crate) async fn execute(&self, sql: &'static str) {
        match self.config.driver {
            Driver::Sqlite => {
                let pool = SqlitePool::connect(&self.config.url).await.unwrap();
                sqlx::raw_sql(sql).execute(&pool).await.unwrap();
                pool.close().await;
            }
            Driver::Postgres => {
                let pool = PgPool::connect(&self.config.url).await.unwrap();
                sqlx::raw_sql(sql).execute(&pool).await.unwrap();
                pool.close().await;
            }
        }
    }

    /// Reads past the store.
    pub(crate) async fn rows<T>(&self, sql: &'static str) -> Vec<T>
    where
        T: Send + Unpin + for<'r> FromRow<'r, SqliteRow> + for<'r> FromRow<'r, PgRow>,
    {
        match self.config.driver {
            Driver::Sqlite => {
                let pool = SqlitePool::connect(&self.config.url).await.unwrap();
                sqlx::query_as(sql).fetch_all(&pool).await.unwrap()
            }
            Driver::Postgres => {
                let pool = PgPool::connect(&self.config.url).await.unwrap();
                sqlx::query_as(sql).fetch_all(&pool).await.unwrap()
            }
        }
    }
}
