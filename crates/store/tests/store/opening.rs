//! Opening and migrating.

use std::os::unix::fs::PermissionsExt;

use flotilla_store::{DatabaseConfig, Driver, SchemaState, Store, StoreError};

use crate::bed::{Bed, sealer};
use crate::users::new_user;

async fn migrations_run_again_and_again(bed: Bed) {
    let store = bed.store().await;
    store.create_user(new_user("a@x", &[])).await.unwrap();
    store.migrate().await.unwrap();
    bed.store().await.migrate().await.unwrap();
    assert_eq!(store.count_users().await.unwrap(), 1);
    store.ping().await.unwrap();
}

async fn handles_migrate_at_once(bed: Bed) {
    let stores = [bed.open().await, bed.open().await, bed.open().await, bed.open().await];
    futures_util::future::try_join_all(stores.iter().map(Store::migrate)).await.unwrap();
    assert_eq!(bed.rows::<(i64,)>("SELECT seq FROM audit_head").await, [(0,)]);
}

async fn a_database_of_a_newer_version_is_left_alone(bed: Bed) {
    let store = bed.store().await;
    bed.execute("UPDATE _sqlx_migrations SET version = 9999 WHERE version = 2").await;
    let error = store.migrate().await.unwrap_err();
    assert!(matches!(error, StoreError::Newer { found: 9999, .. }), "{error:?}");
    assert!(error.to_string().contains("newer version of this program"), "{error}");
    assert!(matches!(store.schema_state().await.unwrap(), SchemaState::Newer { found: 9999, .. }));
    // The failure holds no lock: putting it right is enough.
    bed.execute("UPDATE _sqlx_migrations SET version = 2 WHERE version = 9999").await;
    bed.open().await.migrate().await.unwrap();
}

async fn what_is_missing_is_told_without_touching_it(bed: Bed) {
    let store = bed.open().await;
    let SchemaState::Pending { found: 0, missing } = store.schema_state().await.unwrap() else { panic!("not empty") };
    assert_eq!(missing.first(), Some(&1));
    assert!(matches!(store.schema_state().await.unwrap(), SchemaState::Pending { found: 0, .. }), "untouched");
    store.migrate().await.unwrap();
    assert_eq!(store.schema_state().await.unwrap(), SchemaState::Current);
}

async fn a_closed_store_says_so(bed: Bed) {
    let store = bed.store().await;
    store.close().await;
    assert!(matches!(store.ping().await, Err(StoreError::Unavailable(_))));
    assert!(matches!(store.count_users().await, Err(StoreError::Unavailable(_))));
}

on_both_engines!(
    migrations_run_again_and_again,
    handles_migrate_at_once,
    a_database_of_a_newer_version_is_left_alone,
    what_is_missing_is_told_without_touching_it,
    a_closed_store_says_so,
);

#[tokio::test]
async fn a_sqlite_file_is_its_owners_only() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("deep").join("flotilla.db");
    let config = DatabaseConfig { driver: Driver::Sqlite, url: path.display().to_string() };
    let store = Store::open(&config, sealer()).await.unwrap();
    store.migrate().await.unwrap();
    let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(path.parent().unwrap()), 0o700);
    for file in std::fs::read_dir(path.parent().unwrap()).unwrap() {
        let file = file.unwrap().path();
        assert_eq!(mode(&file), 0o600, "{}", file.display());
    }
    store.close().await;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    Store::open(&config, sealer()).await.unwrap().close().await;
    assert_eq!(mode(&path), 0o600);
}

#[tokio::test]
async fn a_sqlite_file_is_durable_by_default() {
    let bed = Bed::sqlite().await;
    let store = bed.store().await;
    assert_eq!(bed.rows::<(String,)>("PRAGMA journal_mode").await, [("wal".to_owned(),)]);
    drop(store);
}

#[tokio::test]
async fn memory_is_one_database_for_readers_and_writer() {
    let config = DatabaseConfig { driver: Driver::Sqlite, url: "sqlite::memory:".into() };
    let store = Store::open(&config, sealer()).await.unwrap();
    let other = Store::open(&config, sealer()).await.unwrap();
    store.migrate().await.unwrap();
    other.migrate().await.unwrap();
    store.create_user(new_user("a@x", &[])).await.unwrap();
    assert_eq!((store.count_users().await.unwrap(), other.count_users().await.unwrap()), (1, 0));
}

#[tokio::test]
async fn a_postgres_that_is_not_there() {
    let config = DatabaseConfig { driver: Driver::Postgres, url: "postgres://u:hunter2@127.0.0.1:1/d".into() };
    let error = Store::open(&config, sealer()).await.unwrap_err();
    assert!(matches!(error, StoreError::Unavailable(_)), "{error:?}");
    assert!(!format!("{error} {error:?}").contains("hunter2"));
}
