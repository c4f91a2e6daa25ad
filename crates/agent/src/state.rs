//! What survives a restart: the agent's key and certificate, in one file, replaced as a whole.
//!
//! Must not know: how a certificate is obtained.

use std::fs::{DirBuilder, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use flotilla_types::agent::Enrolment;
use flotilla_types::time::{from_ms, now_ms};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

const FILE: &str = "enrolment.json";

/// One enrolment with its key. No `Debug`, because of the key.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Stored {
    /// Cluster for which it holds.
    pub(crate) cluster: String,
    /// What the hub gave: ids, certificate, CA, end.
    pub(crate) enrolment: Enrolment,
    /// Private key, PEM.
    #[serde(with = "key")]
    pub(crate) key: Zeroizing<String>,
    /// When the certificate came, by this machine's clock, in milliseconds since the epoch.
    pub(crate) obtained_ms: i64,
    /// SHA-256 of the enrolment token's secret, hexadecimal, to tell a new token from the one that was spent.
    #[serde(default)]
    pub(crate) token_hash: String,
}

impl Stored {
    /// A certificate that just came.
    pub(crate) fn new(cluster: &str, enrolment: Enrolment, key: Zeroizing<String>, token_hash: String) -> Self {
        Self { cluster: cluster.to_owned(), enrolment, key, obtained_ms: now_ms(), token_hash }
    }

    /// When the certificate ends, in milliseconds since the epoch.
    pub(crate) fn ends_ms(&self) -> i64 {
        self.enrolment.expires_at.as_millisecond()
    }

    /// Whether the certificate has ended.
    pub(crate) fn has_ended(&self, now_ms: i64) -> bool {
        now_ms >= self.ends_ms()
    }

    /// The end as text.
    pub(crate) fn ends(&self) -> String {
        from_ms(self.ends_ms()).to_string()
    }
}

/// The key as a plain string in the file and as one that is wiped in memory.
mod key {
    use serde::{Deserialize as _, Deserializer, Serializer};
    use zeroize::Zeroizing;

    pub(super) fn serialize<S: Serializer>(key: &Zeroizing<String>, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(key)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Zeroizing<String>, D::Error> {
        String::deserialize(deserializer).map(Zeroizing::new)
    }
}

/// The state directory.
#[derive(Clone)]
pub(crate) struct State {
    directory: PathBuf,
}

impl State {
    /// Makes the directory (0700) if it is not there.
    pub(crate) fn open(directory: &Path) -> anyhow::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(directory).with_context(|| {
            format!("cannot make the state directory {} (`state_dir`, FLOTILLA_AGENT__STATE_DIR)", directory.display())
        })?;
        Ok(Self { directory: directory.to_owned() })
    }

    fn path(&self) -> PathBuf {
        self.directory.join(FILE)
    }

    /// The enrolment kept for a cluster. `None` when there is none, or it is for another cluster.
    pub(crate) fn load(&self, cluster: &str) -> anyhow::Result<Option<Stored>> {
        let path = self.path();
        let text = match std::fs::read(&path) {
            Ok(text) => Zeroizing::new(text),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
        };
        close_to_others(&path)?;
        let stored: Stored = serde_json::from_slice(&text).map_err(|_| {
            anyhow::anyhow!("{} is damaged; remove it and start the agent with a new enrolment token", path.display())
        })?;
        if stored.cluster != cluster {
            tracing::warn!(
                kept_for = stored.cluster,
                wanted = cluster,
                "the enrolment in the state directory is for another cluster and is not used"
            );
            return Ok(None);
        }
        Ok(Some(stored))
    }

    /// Replaces the enrolment: written aside with 0600, synced, renamed.
    pub(crate) fn save(&self, stored: &Stored) -> anyhow::Result<()> {
        let path = self.path();
        let aside = self.directory.join(format!("{FILE}.{}", std::process::id()));
        let text = Zeroizing::new(serde_json::to_vec(stored).context("cannot serialize the enrolment")?);
        let write = || -> std::io::Result<()> {
            match std::fs::remove_file(&aside) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&aside)?;
            file.write_all(&text)?;
            file.sync_all()?;
            std::fs::rename(&aside, &path)?;
            std::fs::File::open(&self.directory)?.sync_all()
        };
        write().with_context(|| format!("cannot write {}", path.display()))
    }
}

/// A key that others could read is closed to them, and it is said that they could.
fn close_to_others(path: &Path) -> anyhow::Result<()> {
    let mode = std::fs::metadata(path)?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        tracing::warn!(path = %path.display(), mode = format!("{mode:o}"), "others could read the agent's key; closing the file to them");
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))
            .with_context(|| format!("cannot close {} to others", path.display()))?;
    }
    Ok(())
}

#[cfg(test)]
pub(crate) mod tests {
    use flotilla_types::id::{AgentId, ClusterId};

    use super::*;

    pub(crate) fn stored(cluster: &str, obtained_ms: i64, ends_ms: i64) -> Stored {
        let enrolment = Enrolment {
            agent_id: AgentId::new(),
            cluster_id: ClusterId::new(),
            certificate: "certificate".into(),
            ca: "ca".into(),
            expires_at: from_ms(ends_ms),
        };
        Stored { obtained_ms, ..Stored::new(cluster, enrolment, Zeroizing::new("key".into()), "hash".into()) }
    }

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn directory_and_file_are_the_agents_alone() {
        let root = tempfile::tempdir().unwrap();
        let directory = root.path().join("a/b");
        let state = State::open(&directory).unwrap();
        state.save(&stored("a", 0, 1000)).unwrap();
        state.save(&stored("a", 0, 2000)).unwrap();
        assert_eq!(mode(&directory), 0o700);
        assert_eq!(mode(&state.path()), 0o600);
        let names: Vec<_> = std::fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, [FILE], "nothing is left beside the file");
        assert_eq!(state.load("a").unwrap().unwrap().ends_ms(), 2000);
    }

    #[test]
    fn a_file_left_open_to_others_is_closed() {
        let root = tempfile::tempdir().unwrap();
        let state = State::open(root.path()).unwrap();
        state.save(&stored("a", 0, 1000)).unwrap();
        std::fs::set_permissions(state.path(), std::fs::Permissions::from_mode(0o644)).unwrap();
        assert!(state.load("a").unwrap().is_some());
        assert_eq!(mode(&state.path()), 0o600);
    }

    #[test]
    fn another_clusters_enrolment_is_not_used_and_a_damaged_one_is_told() {
        let root = tempfile::tempdir().unwrap();
        let state = State::open(root.path()).unwrap();
        assert!(state.load("a").unwrap().is_none());
        state.save(&stored("a", 0, 1000)).unwrap();
        assert!(state.load("b").unwrap().is_none());
        std::fs::write(state.path(), "{\"key\": \"s3cret").unwrap();
        let text = state.load("a").err().unwrap().to_string();
        assert!(text.contains("damaged") && !text.contains("s3cret"), "{text}");
    }
}
