//! What is kept per hub on this machine: the session's tokens and the CA that was trusted. One JSON file that
//! only its owner may read, replaced as a whole, changed under a lock between processes.
//!
//! Must not know: HTTP, or when a token should be renewed.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};

use crate::error::{CliError, Doing};
use crate::files;
use crate::hub_url::HubUrl;

/// The file is held for one read and one write, so whoever waits longer waits for a stopped process.
const FILE_PATIENCE: Duration = Duration::from_secs(10);

/// A renewal lasts at most as long as one call to the hub with its retries.
const RENEWAL_PATIENCE: Duration = Duration::from_secs(45);

/// A sign-in that can still be renewed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Session {
    /// The account.
    pub(crate) email: String,
    /// Access token.
    #[serde(with = "secret_text")]
    pub(crate) token: SecretString,
    /// Newest refresh token; each is good for one use.
    #[serde(with = "secret_text")]
    pub(crate) refresh_token: SecretString,
    /// When the access token came, by this machine's clock.
    pub(crate) obtained_at: Timestamp,
    /// When it ends, by this machine's clock.
    pub(crate) expires_at: Timestamp,
}

/// Everything about one hub.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Entry {
    /// The hub's own CA, PEM, once somebody said that it is the right one. Outlives sessions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) ca: Option<String>,
    /// The session, while there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) session: Option<Session>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Contents {
    #[serde(default)]
    hubs: BTreeMap<String, Entry>,
}

/// The file.
#[derive(Clone, Debug)]
pub(crate) struct Store {
    directory: PathBuf,
}

impl Store {
    /// A store in `directory`, which need not be there yet.
    pub(crate) fn new(directory: &Path) -> Self {
        Self { directory: directory.to_owned() }
    }

    fn file(&self) -> PathBuf {
        self.directory.join("credentials.json")
    }

    fn read(&self) -> Result<Contents, CliError> {
        let path = self.file();
        let doing = || format!("read {}", path.display());
        let Some(text) = files::read_if_there(&path).doing(doing())? else { return Ok(Contents::default()) };
        // serde_json's own message may quote what stands there, and that may be a token.
        serde_json::from_str(&text).map_err(|error| {
            CliError::general(format!("{} is damaged at line {}", path.display(), error.line()))
                .hint("remove the file and run: flotilla login")
        })
    }

    /// What is known of a hub; empty when nothing is.
    ///
    /// # Errors
    /// When the file is there and cannot be read.
    pub(crate) fn entry(&self, hub: &HubUrl) -> Result<Entry, CliError> {
        Ok(self.read()?.hubs.remove(&hub.to_string()).unwrap_or_default())
    }

    /// Changes what is known of a hub, against everything that other processes do meanwhile.
    ///
    /// # Errors
    /// When the file cannot be locked, read or written.
    pub(crate) fn update(&self, hub: &HubUrl, change: impl FnOnce(&mut Entry)) -> Result<(), CliError> {
        let path = self.file();
        let doing = || format!("write {}", path.display());
        let _lock = files::lock(&self.directory.join("credentials.lock"), FILE_PATIENCE).doing(doing())?;
        let mut contents = self.read()?;
        change(contents.hubs.entry(hub.to_string()).or_default());
        contents.hubs.retain(|_, entry| entry.ca.is_some() || entry.session.is_some());
        let text = serde_json::to_string_pretty(&contents).doing(doing())?;
        files::replace(&path, &text, None).doing(doing())
    }

    /// The right to renew a hub's session. A refresh token that is used twice ends the session, so of all
    /// processes one renews and the others wait and read what it got.
    ///
    /// # Errors
    /// When another process does not finish in time.
    pub(crate) fn renewal_lock(&self, hub: &HubUrl) -> Result<File, CliError> {
        let path = self.directory.join(format!("renew-{}.lock", hub.slug()));
        files::lock(&path, RENEWAL_PATIENCE)
            .doing("renew the session")
            .map_err(|error| error.hint(format!("another flotilla process hangs; {} is locked", path.display())))
    }
}

mod secret_text {
    //! Secrets as JSON strings, here and nowhere else.

    use secrecy::{ExposeSecret, SecretString};
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(secret: &SecretString, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(secret.expose_secret())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SecretString, D::Error> {
        String::deserialize(deserializer).map(SecretString::from)
    }
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    fn session(token: &str) -> Session {
        Session {
            email: "dev@example.com".into(),
            token: token.into(),
            refresh_token: "refresh-geheim".into(),
            obtained_at: Timestamp::UNIX_EPOCH,
            expires_at: Timestamp::UNIX_EPOCH,
        }
    }

    #[test]
    fn hubs_are_kept_apart_and_empty_ones_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(&dir.path().join("flotilla"));
        let (a, b): (HubUrl, HubUrl) = ("https://a".parse().unwrap(), "https://b".parse().unwrap());
        assert!(store.entry(&a).unwrap().session.is_none());
        store.update(&a, |entry| entry.session = Some(session("token-a"))).unwrap();
        store.update(&b, |entry| entry.ca = Some("CA".into())).unwrap();
        assert_eq!(store.entry(&a).unwrap().session.unwrap().token.expose_secret(), "token-a");
        assert_eq!(store.entry(&b).unwrap().ca.as_deref(), Some("CA"));
        store.update(&a, |entry| entry.session = None).unwrap();
        assert!(!std::fs::read_to_string(store.file()).unwrap().contains("https://a"));
    }

    #[cfg(unix)]
    #[test]
    fn the_file_is_its_owners_alone() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(&dir.path().join("flotilla"));
        store.update(&"https://a".parse().unwrap(), |entry| entry.session = Some(session("t"))).unwrap();
        assert_eq!(std::fs::metadata(store.file()).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_broken_file_is_not_overwritten_and_not_quoted() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(dir.path());
        std::fs::write(store.file(), "{\"hubs\": {\"https://a\": \"geheim\"}}").unwrap();
        let error = store.update(&"https://a".parse().unwrap(), |_| ()).unwrap_err().render();
        assert!(error.contains("flotilla login") && !error.contains("geheim"), "{error}");
        assert!(std::fs::read_to_string(store.file()).unwrap().contains("geheim"));
    }

    #[test]
    fn debug_shows_no_secret() {
        let text = format!("{:?}", session("token-geheim"));
        assert!(!text.contains("geheim"), "{text}");
    }

    #[test]
    fn parallel_changes_all_arrive() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(dir.path());
        std::thread::scope(|scope| {
            for i in 0..8 {
                let store = &store;
                scope.spawn(move || {
                    let hub = format!("https://hub{i}").parse().unwrap();
                    store.update(&hub, |entry| entry.ca = Some(i.to_string())).unwrap();
                });
            }
        });
        assert_eq!(store.read().unwrap().hubs.len(), 8);
    }
}
