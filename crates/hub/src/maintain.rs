//! What an operator does with the hub's data: back it up, restore it, change the key that seals it.
//!
//! Must not know: requests. A hub may run meanwhile, but not on the database that is restored into.

use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use flotilla_store::{Kek, Store};
use flotilla_types::time::now_ms;

use crate::config::Config;
use crate::{Options, bootstrap, configuration, keyring};

/// After the last value was sealed again, how long a hub may still be committing one under the old key.
const SETTLE: Duration = Duration::from_secs(3);

async fn open(options: &Options) -> anyhow::Result<(Config, Store)> {
    let config = configuration(options)?;
    bootstrap::data_dir(&config.data_dir)?;
    let store = bootstrap::store(&config).await?;
    Ok((config, store))
}

/// Writes the database to a file; what to tell the operator.
///
/// # Errors
/// The database or the file fails; then there is no file.
pub async fn backup(options: &Options, to: &Path) -> anyhow::Result<String> {
    let (config, store) = open(options).await?;
    let manifest = store.backup(to).await?;
    store.close().await;
    Ok(format!(
        "{} rows of {} tables in {}\nKeep {} (seal.key, ca.crt, ca.key) as well, elsewhere: without the sealing key the \
         secrets in the backup cannot be opened.",
        manifest.rows(),
        manifest.tables.len(),
        to.display(),
        config.data_dir.display()
    ))
}

/// Fills an empty database from a file; what to tell the operator.
///
/// # Errors
/// The database is in use, or the file is no backup; then nothing was restored. Or the audit chain in it is broken.
pub async fn restore(options: &Options, from: &Path) -> anyhow::Result<String> {
    let (_, store) = open(options).await?;
    let (manifest, chain) = store.restore(from).await?;
    let opened = store.list_signing_keys().await;
    store.close().await;
    if let Some(flaw) = chain.flaws.first() {
        anyhow::bail!("everything is restored, but audit row {}: {}", flaw.seq, flaw.kind.describe());
    }
    let mut text = format!("{} rows restored; {} audit rows verified", manifest.rows(), chain.good);
    if let Err(error) = opened {
        text.push_str(&format!(
            "\nThe secrets in it do not open: {error}. Put the seal.key (or auth.jwt_secret) of the hub that was backed up \
             in place before you start this one."
        ));
    }
    Ok(text)
}

/// Seals everything again under a new key, and drops keys that nothing needs any more; what to tell the operator. May be
/// cut off and run again, while hubs run. With `keep_key` no new key is made: everything goes under the newest there is.
///
/// # Errors
/// A value does not open, or the key file cannot be written. All keys that are needed are still there.
pub async fn rotate_kek(options: &Options, keep_key: bool) -> anyhow::Result<String> {
    let (config, store) = open(options).await?;
    bootstrap::ready_schema(&config, &store).await?;
    let path = config.data_dir.join("seal.key");
    let from_file = config.auth.jwt_secret.is_none();
    if from_file && !keep_key {
        let mut keys = keyring::read(&path)?;
        // A run that was cut off has left a new key that did not get everything: it goes on with that one.
        let used = store.keys_in_use().await?;
        let unfinished = keys.len() > 1 && used.keys().any(|id| keys.last().is_none_or(|newest| newest.id() != id));
        if !unfinished {
            // Never the id of an earlier key: a backup may still name that one.
            keys.push(Kek::generate(&format!("file-{}", now_ms()))?);
            keyring::write(&path, &keys)?;
        }
    }
    let mut resealed = store.reseal().await?;
    tokio::time::sleep(SETTLE).await;
    resealed += store.reseal().await?;
    let used = store.keys_in_use().await?;
    store.close().await;
    let dropped = if path.exists() { drop_unused(&path, from_file, &used)? } else { Vec::new() };
    let in_use: Vec<&str> = used.keys().map(String::as_str).collect();
    let mut text = format!("{resealed} values sealed again; keys in use: {}", in_use.join(", "));
    if !dropped.is_empty() {
        text.push_str(&format!("; dropped: {}", dropped.join(", ")));
    }
    if !from_file {
        text.push_str("\nRemove auth.previous_jwt_secret now.");
    }
    Ok(text)
}

/// Takes out of the file what sealed nothing that is there; the newest stays where the file's keys seal.
fn drop_unused(path: &Path, seals: bool, used: &flotilla_store::KeysInUse) -> anyhow::Result<Vec<String>> {
    let keys = keyring::read(path).context("the key file changed meanwhile")?;
    let newest = keys.last().map(|key| key.id().to_owned()).filter(|_| seals);
    let needed = |key: &Kek| used.contains_key(key.id()) || newest.as_deref() == Some(key.id());
    let (kept, dropped): (Vec<Kek>, Vec<Kek>) = keys.into_iter().partition(needed);
    // Without any, a later start without passphrase would make one and open nothing: the file stays as it is.
    if kept.is_empty() || dropped.is_empty() {
        return Ok(Vec::new());
    }
    keyring::write(path, &kept)?;
    Ok(dropped.iter().map(|key| key.id().to_owned()).collect())
}
