//! Backup and restore, within an engine and from one to the other.

use std::io::Read;
use std::path::Path;

use flotilla_store::audit::{AuditLog, AuditOptions};
use flotilla_store::{Backend, Driver, Store, StoreError};
use flotilla_types::audit::Outcome;
use secrecy::ExposeSecret;

use crate::audit::row;
use crate::bed::Bed;
use crate::users::new_user;

/// Rows in most tables, and texts that are easily broken on the way.
async fn fill(store: &Store) {
    let user = store.create_user(new_user("jürgen@x", &["admin", "quote'\"\\"])).await.unwrap().id;
    let dev = store.ensure_agent_cluster("dev").await.unwrap();
    store.create_direct_cluster("prod", Backend::Kubeconfig, &"hunter2\n{}".into()).await.unwrap();
    let metadata = serde_json::json!({"nul": "\0", "big": 9_007_199_254_740_993_i64, "line": "a\nb"});
    store.set_metadata(dev, metadata.as_object().unwrap()).await.unwrap();
    store.set_default_cluster(user, dev).await.unwrap();
    store.create_session(user, "hash", i64::MAX).await.unwrap();
    let (log, task) = AuditLog::start(store, AuditOptions::default()).await.unwrap();
    for i in 0..1200 {
        let pending = log.attempt(row(&format!("delete pods 'web-{i}' \\ \u{1f600}"))).await.unwrap();
        pending.finish(Outcome::Succeeded, 200, u64::MAX, String::new());
    }
    drop(log);
    task.await.unwrap();
}

async fn everything_comes_back(from: Bed, to: Bed) {
    let source = from.store().await;
    fill(&source).await;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("hub.tar");
    let manifest = source.backup(&file).await.unwrap();
    assert_eq!(manifest.tables["audit_events"].rows, 2400);
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&file).unwrap().permissions()) & 0o777;
    assert_eq!(mode, 0o600);
    assert!(matches!(source.backup(&file).await, Err(StoreError::Backup(_))), "never over another one");

    let target = to.open().await;
    let (restored, chain) = target.restore(&file).await.unwrap();
    assert_eq!(restored, manifest);
    assert_eq!((chain.good, chain.is_sound()), (2400, true));
    let prod = target.cluster_by_name("prod").await.unwrap().unwrap();
    assert_eq!(target.credential(prod.id).await.unwrap().expose_secret(), "hunter2\n{}");
    assert_eq!(target.list_clusters().await.unwrap(), source.list_clusters().await.unwrap());
    assert_eq!(
        format!("{:?}", target.list_users().await.unwrap()),
        format!("{:?}", source.list_users().await.unwrap())
    );
    // A backup of what came back is the same, table by table and byte by byte.
    let again = target.backup(&directory.path().join("again.tar")).await.unwrap();
    assert_eq!(again.tables, manifest.tables);
    let error = target.restore(&file).await.unwrap_err();
    assert!(error.to_string().contains("in use: users has 1 rows"), "{error}");
}

async fn a_hub_writes_on_while_it_is_backed_up(bed: Bed) {
    let store = bed.store().await;
    let (log, task) = AuditLog::start(&store, AuditOptions::default()).await.unwrap();
    let writer = tokio::spawn(async move {
        for i in 0..600 {
            log.attempt(row(&i.to_string())).await.unwrap().finish(Outcome::Succeeded, 200, 0, String::new());
        }
    });
    let directory = tempfile::tempdir().unwrap();
    let mut seen = Vec::new();
    for i in 0..5 {
        let file = directory.path().join(i.to_string());
        let rows = store.backup(&file).await.unwrap().tables["audit_events"].rows;
        // The head and the rows are of one moment, or the chain would not hold.
        let target = Bed::sqlite().await;
        let (_, chain) = target.open().await.restore(&file).await.unwrap();
        assert_eq!((chain.good, chain.is_sound()), (rows, true));
        seen.push(rows);
    }
    writer.await.unwrap();
    task.await.unwrap();
    assert!(seen.is_sorted(), "{seen:?}");
}

async fn a_damaged_backup_changes_nothing(bed: Bed) {
    let source = bed.store().await;
    fill(&source).await;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("hub.tar");
    source.backup(&file).await.unwrap();
    let whole = std::fs::read(&file).unwrap();
    let target = Bed::sqlite().await;
    let restored = async |bytes: &[u8]| {
        let path = directory.path().join("damaged.tar");
        std::fs::write(&path, bytes).unwrap();
        target.open().await.restore(&path).await.unwrap_err().to_string()
    };
    let at = whole.windows(5).position(|bytes| bytes == b"web-7").unwrap();
    let mut flipped = whole.clone();
    flipped[at] ^= 1;
    assert!(restored(&flipped).await.contains("damaged: audit_events"));
    let cut = restored(&whole[..whole.len() / 2]).await;
    assert!(cut.contains("backup"), "{cut}");
    assert!(restored(b"").await.contains("not a backup"));
    assert!(restored(&[7; 2048]).await.contains("not a backup"));
    assert!(restored(&with_schema(&whole, 9999)).await.contains("newer version"));
    target.open().await.restore(&file).await.unwrap();
}

/// The archive with another schema number in its manifest.
fn with_schema(archive: &[u8], number: i64) -> Vec<u8> {
    let mut changed = tar::Builder::new(Vec::new());
    for entry in tar::Archive::new(archive).entries().unwrap() {
        let mut entry = entry.unwrap();
        let name = entry.path().unwrap().into_owned();
        let mut content = Vec::new();
        entry.read_to_end(&mut content).unwrap();
        if name == Path::new("manifest.json") {
            let mut manifest: serde_json::Value = serde_json::from_slice(&content).unwrap();
            manifest["schema"] = number.into();
            content = serde_json::to_vec(&manifest).unwrap();
        }
        let mut header = tar::Header::new_ustar();
        header.set_size(content.len() as u64);
        changed.append_data(&mut header, name, content.as_slice()).unwrap();
    }
    changed.into_inner().unwrap()
}

async fn into_the_same_engine(bed: Bed) {
    let to = match bed.config.driver {
        Driver::Sqlite => Bed::sqlite().await,
        Driver::Postgres => Bed::postgres("into_the_same_engine").await.unwrap(),
    };
    everything_comes_back(bed, to).await;
}

async fn into_the_other_engine(bed: Bed) {
    let to = match bed.config.driver {
        Driver::Sqlite => Bed::postgres("into_the_other_engine").await,
        Driver::Postgres => Some(Bed::sqlite().await),
    };
    if let Some(to) = to {
        everything_comes_back(bed, to).await;
    }
}

on_both_engines!(
    into_the_same_engine,
    into_the_other_engine,
    a_hub_writes_on_while_it_is_backed_up,
    a_damaged_backup_changes_nothing,
);
