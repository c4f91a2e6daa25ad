//! What a hub makes for itself on its first start, and finds again on every other: data directory, CA,
//! signing keys, first administrator.
//!
//! Must not know: requests.

use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use flotilla_identity::password;
use flotilla_identity::token::{Algorithm, KeyMaterial};
use flotilla_store::{DatabaseConfig, Driver, NewUser, SchemaState, SigningKey, Store};
use flotilla_tunnel::pki::CertificateAuthority;
use flotilla_types::name::normalize_email;
use flotilla_types::time::now_ms;
use secrecy::{ExposeSecret, SecretString};

use crate::config::Config;

/// How long a retired signing key still verifies: the longest life of anything it signed, and some.
const RETIRED_KEY_KEPT: Duration = Duration::from_secs(8 * 86_400);

/// The same in milliseconds, as the store counts time.
pub const RETIRED_KEY_KEPT_MS: i64 = 8 * 86_400_000;

/// Makes the data directory, readable by its owner only.
///
/// # Errors
/// It cannot be made.
pub fn data_dir(path: &Path) -> anyhow::Result<()> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .with_context(|| format!("data_dir {} cannot be made", path.display()))
}

/// Writes a file that only its owner may read, whole or not at all.
pub(crate) fn write_private(path: &Path, content: &str) -> anyhow::Result<()> {
    let temporary = path.with_extension("new");
    let mut file = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
    file.write_all(content.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&temporary, path).with_context(|| format!("{} cannot be written", path.display()))
}

/// The hub's CA, made on first start.
///
/// # Errors
/// The files cannot be read or written, or do not belong together.
pub fn certificate_authority(data_dir: &Path) -> anyhow::Result<CertificateAuthority> {
    let (cert_path, key_path) = (data_dir.join("ca.crt"), data_dir.join("ca.key"));
    if key_path.exists() {
        let cert =
            std::fs::read_to_string(&cert_path).with_context(|| format!("{} cannot be read", cert_path.display()))?;
        let key =
            std::fs::read_to_string(&key_path).with_context(|| format!("{} cannot be read", key_path.display()))?;
        return CertificateAuthority::from_pem(&cert, &key)
            .with_context(|| format!("the CA in {} cannot be used", data_dir.display()));
    }
    let ca = CertificateAuthority::generate("Flotilla hub CA")?;
    write_private(&cert_path, ca.certificate_pem())?;
    write_private(&key_path, &ca.key_pem())?;
    Ok(ca)
}

/// Opens the database; its schema is left as it is.
///
/// # Errors
/// It cannot be reached.
pub async fn store(config: &Config) -> anyhow::Result<Store> {
    let driver = if config.database.driver == "postgres" { Driver::Postgres } else { Driver::Sqlite };
    let default_url = || format!("sqlite://{}", config.data_dir.join("hub.db").display());
    let url = config.database.url.as_ref().map_or_else(default_url, |url| url.expose().to_owned());
    let sealer = crate::keyring::sealer(config)?;
    Store::open(&DatabaseConfig { driver, url }, sealer).await.context("the database cannot be opened")
}

/// Brings the database up to date.
///
/// # Errors
/// It is of a newer version, or a migration fails.
pub async fn migrate(store: &Store) -> anyhow::Result<()> {
    store.migrate().await.context("the database cannot be brought up to date")
}

/// Brings the database up to date, or refuses an older one where that was switched off.
///
/// # Errors
/// Says what to run.
pub async fn ready_schema(config: &Config, store: &Store) -> anyhow::Result<()> {
    if config.database.auto_migrate {
        return migrate(store).await;
    }
    match store.schema_state().await? {
        SchemaState::Current => Ok(()),
        SchemaState::Newer { .. } => migrate(store).await,
        SchemaState::Pending { found, missing } => anyhow::bail!(
            "the database is at schema {found} and needs {} migrations up to {}, and database.auto_migrate (AUTO_MIGRATE) \
             is false; make a backup, then run: flotilla hub --migrate-only",
            missing.len(),
            missing.last().copied().unwrap_or_default()
        ),
    }
}

/// The signing keys: those of the configured files, or the hub's own, made when there are none and
/// replaced when they are too old. Retired ones still verify what they signed.
///
/// # Errors
/// A key file cannot be used, or the store does not answer.
pub async fn signing_keys(config: &Config, store: &Store) -> anyhow::Result<Vec<KeyMaterial>> {
    let mut keys = Vec::new();
    for path in &config.auth.jwt_key_files {
        let pem = std::fs::read_to_string(path)
            .with_context(|| format!("auth.jwt_key_files: {} cannot be read", path.display()))?;
        let key = KeyMaterial::from_pem(&pem)
            .with_context(|| format!("auth.jwt_key_files: {} is not an RSA private key in PEM", path.display()))?;
        anyhow::ensure!(key.algorithm == Algorithm::Rs256, "auth.jwt_key_files: {} is not an RSA key", path.display());
        keys.push(key);
    }
    let stored = store.list_signing_keys().await?;
    let now = now_ms();
    let mut own: Vec<KeyMaterial> = stored.iter().map(key_material).collect::<anyhow::Result<_>>()?;
    own.retain(|key| !key.is_spent(now, RETIRED_KEY_KEPT));
    let wanted: &[Algorithm] =
        if keys.is_empty() { &[Algorithm::Rs256, Algorithm::EdDsa] } else { &[Algorithm::EdDsa] };
    for algorithm in wanted {
        renew_key(config, store, &mut own, *algorithm, now).await?;
    }
    own.sort_by_key(|key| std::cmp::Reverse(key.created_at_ms));
    keys.extend(own);
    Ok(keys)
}

async fn renew_key(
    config: &Config,
    store: &Store,
    own: &mut Vec<KeyMaterial>,
    algorithm: Algorithm,
    now: i64,
) -> anyhow::Result<()> {
    let current = own.iter_mut().find(|key| key.algorithm == algorithm && key.retired_at_ms.is_none());
    if let Some(key) = current {
        if now - key.created_at_ms < config.auth.key_rotation.as_ms() {
            return Ok(());
        }
        store.retire_signing_key(&key.kid).await?;
        key.retired_at_ms = Some(now);
        tracing::info!(kid = key.kid, "signing key retired; a new one takes its place");
    }
    let key = tokio::task::spawn_blocking(move || KeyMaterial::generate(algorithm)).await??;
    store.insert_signing_key(&stored_key(&key)).await?;
    own.push(key);
    Ok(())
}

fn key_material(stored: &SigningKey) -> anyhow::Result<KeyMaterial> {
    let mut key = KeyMaterial::from_pem(stored.private_key.expose_secret())
        .context("a signing key in the database cannot be used")?;
    key.created_at_ms = stored.created_at_ms;
    key.retired_at_ms = stored.retired_at_ms;
    Ok(key)
}

fn stored_key(key: &KeyMaterial) -> SigningKey {
    SigningKey {
        kid: key.kid.clone(),
        algorithm: key.algorithm.as_str().to_owned(),
        private_key: key.private_pem.clone(),
        created_at_ms: key.created_at_ms,
        retired_at_ms: None,
    }
}

/// Makes the first administrator when there is no account yet, and prints his password once, on standard error.
/// It is never written anywhere else.
///
/// # Errors
/// The store does not answer, or the configured address is not one.
pub async fn first_administrator(config: &Config, store: &Store, ca: &CertificateAuthority) -> anyhow::Result<()> {
    if store.count_users().await? > 0 {
        return Ok(());
    }
    let email = normalize_email(&config.auth.first_administrator).context("auth.first_administrator")?;
    let made: SecretString = password::generate();
    let password_hash = password::hash(made.clone()).await?.into();
    store
        .create_user(NewUser {
            email: email.clone(),
            password_hash,
            must_change: true,
            roles: vec!["admin".to_owned()],
        })
        .await?;
    announce(config, &email, made.expose_secret(), ca)
}

fn announce(config: &Config, email: &str, password: &str, ca: &CertificateAuthority) -> anyhow::Result<()> {
    let url = config.public_url();
    let trust =
        if config.tls.cert_file.is_none() { format!(" --ca-fingerprint {}", fingerprint(ca)) } else { String::new() };
    let mut out = std::io::stderr().lock();
    writeln!(
        out,
        "\nFirst start: an administrator was made. This password is shown once; change it after the first login.\n\n  \
         account:  {email}\n  password: {password}\n  sign in:  flotilla login --hub {url} --email {email}{trust}\n"
    )?;
    Ok(())
}

/// The CA's fingerprint, `sha256:` and the hash of its DER in hex, by which a person trusts it.
#[must_use]
pub fn fingerprint(ca: &CertificateAuthority) -> String {
    let hash = URL_SAFE_NO_PAD.decode(ca.pin()).unwrap_or_default();
    let hex: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}
