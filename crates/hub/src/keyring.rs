//! The keys under which secrets in the database are sealed: `<data_dir>/seal.key`, or a passphrase.
//!
//! The file has one key a line, oldest first, `<id> <base64>`; a line without id is a key called `file` (the form of a
//! file that was never rotated). The newest seals, all open. A passphrase's key is named after its fingerprint, so that
//! two passphrases can be in use at once; values of before that are under the name `passphrase`.
//!
//! Must not know: what is sealed.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use aws_lc_rs::digest;
use flotilla_settings::Secret;
use flotilla_store::{Kek, KekSource, SealError, Sealer};
use parking_lot::Mutex;

use crate::bootstrap::write_private;
use crate::config::Config;

/// Id of the key of a file that was never rotated.
const FIRST: &str = "file";

/// Seals and opens with the configured keys, and follows the key file when it changes.
///
/// # Errors
/// A passphrase is too short, or the key file cannot be read or written.
pub fn sealer(config: &Config) -> anyhow::Result<Sealer> {
    let path = config.data_dir.join("seal.key");
    let passphrases = passphrases(config)?;
    if passphrases.is_empty() && !path.exists() {
        write(&path, &[Kek::generate(FIRST)?])?;
    }
    let mut keys = if path.exists() { read(&path)? } else { Vec::new() };
    if passphrases.is_empty() {
        let seen = stamp(&path);
        return Ok(Sealer::following(keys, Arc::new(KeyFile { path, seen: Mutex::new(seen) }))?);
    }
    keys.extend(passphrases);
    Ok(Sealer::new(keys)?)
}

/// The keys of the configured passphrases, the one that seals last.
fn passphrases(config: &Config) -> anyhow::Result<Vec<Kek>> {
    let Some(current) = &config.auth.jwt_secret else {
        return Ok(Vec::new());
    };
    let previous = config.auth.previous_jwt_secret.as_ref();
    let oldest = previous.unwrap_or(current);
    let mut keys = vec![Kek::new("passphrase", stretched(oldest, "auth.jwt_secret")?)?];
    if let Some(previous) = previous {
        keys.push(of_passphrase(previous, "auth.previous_jwt_secret")?);
    }
    keys.push(of_passphrase(current, "auth.jwt_secret")?);
    Ok(keys)
}

fn of_passphrase(passphrase: &Secret, setting: &str) -> anyhow::Result<Kek> {
    let key = stretched(passphrase, setting)?;
    let print = digest::digest(&digest::SHA256, &[b"flotilla sealing key id v1\0".as_slice(), &key].concat());
    let id: String = print.as_ref().iter().take(6).map(|byte| format!("{byte:02x}")).collect();
    Ok(Kek::new(&format!("passphrase-{id}"), key)?)
}

fn stretched(passphrase: &Secret, setting: &str) -> anyhow::Result<[u8; 32]> {
    let text = passphrase.expose();
    anyhow::ensure!(text.len() >= 16, "{setting} has {} characters; give at least 16, or leave it out", text.len());
    // A passphrase is stretched by no more than a hash here: it must be long. The label keeps this use apart.
    let key = digest::digest(&digest::SHA256, format!("flotilla sealing key v1\0{text}").as_bytes());
    key.as_ref().try_into().context("SHA-256 has 32 bytes")
}

/// The keys of a file, oldest first.
///
/// # Errors
/// It cannot be read, or a line is no key.
pub fn read(path: &Path) -> anyhow::Result<Vec<Kek>> {
    let text = std::fs::read_to_string(path).with_context(|| format!("{} cannot be read", path.display()))?;
    let text = Secret::from(text);
    let lines = text.expose().lines().map(str::trim).filter(|line| !line.is_empty());
    let key = |line: &str| match line.split_once(' ') {
        Some((id, key)) => Kek::from_base64(id, key),
        None => Kek::from_base64(FIRST, line),
    };
    lines.map(|line| key(line).with_context(|| format!("{} is not a sealing key", path.display()))).collect()
}

/// Replaces the keys of a file, whole or not at all.
///
/// # Errors
/// It cannot be written.
pub fn write(path: &Path, keys: &[Kek]) -> anyhow::Result<()> {
    let lines: Vec<_> = keys.iter().map(|key| format!("{} {}\n", key.id(), *key.to_base64())).collect();
    write_private(path, Secret::from(lines.concat()).expose())
}

/// What changes when the file does.
type Stamp = Option<(i64, i64, u64, u64)>;

fn stamp(path: &Path) -> Stamp {
    let metadata = std::fs::metadata(path).ok()?;
    Some((metadata.mtime(), metadata.mtime_nsec(), metadata.ino(), metadata.len()))
}

struct KeyFile {
    path: PathBuf,
    seen: Mutex<Stamp>,
}

impl KekSource for KeyFile {
    fn changed(&self) -> Result<Option<Vec<Kek>>, SealError> {
        let now = stamp(&self.path);
        let mut seen = self.seen.lock();
        if now == *seen {
            return Ok(None);
        }
        let keys = read(&self.path).map_err(|_| SealError::Keys("the key file cannot be read"))?;
        *seen = now;
        Ok(Some(keys))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(secret: Option<&str>, previous: Option<&str>) -> (tempfile::TempDir, Config) {
        let directory = tempfile::tempdir().unwrap();
        let mut config = Config { data_dir: directory.path().to_owned(), ..Config::default() };
        let secret_of = |text: &str| Secret::from(text.to_owned());
        config.auth.jwt_secret = secret.map(secret_of);
        config.auth.previous_jwt_secret = previous.map(secret_of);
        (directory, config)
    }

    #[test]
    fn a_file_of_one_key_is_read_as_it_ever_was() {
        let (directory, config) = config(None, None);
        let path = directory.path().join("seal.key");
        std::fs::write(&path, Kek::generate("x").unwrap().to_base64().as_str()).unwrap();
        assert_eq!(sealer(&config).unwrap().key_ids(), ["file"]);
        std::fs::write(&path, "nonsense").unwrap();
        assert!(sealer(&config).unwrap_err().to_string().contains("seal.key"));
    }

    #[test]
    fn passphrases_follow_each_other() {
        let first = config(Some("first passphrase"), None).1;
        let both = config(Some("second passphrase"), Some("first passphrase")).1;
        let [one, two] = [sealer(&first).unwrap().key_ids(), sealer(&both).unwrap().key_ids()];
        assert_eq!((one[0].as_str(), two[0].as_str()), ("passphrase", "passphrase"));
        assert_eq!(one[1], two[1], "named after its fingerprint");
        assert_ne!(two[1], two[2]);
        assert!(sealer(&config(Some("short"), None).1).unwrap_err().to_string().contains("at least 16"));
    }
}
