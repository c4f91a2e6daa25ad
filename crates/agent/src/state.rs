//! What survives a restart: the agent's key and certificate, replaced as a whole, in a directory of this machine or in
//! a Secret of the cluster.
//!
//! Must not know: how a certificate is obtained.

mod directory;
mod secret;

use anyhow::Context as _;
use flotilla_types::agent::Enrolment;
use flotilla_types::time::{from_ms, now_ms};
use flotilla_upstream::Upstream;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use zeroize::Zeroizing;

use crate::config::Config;
use directory::Directory;
use secret::{KubernetesSecret, SecretError};

pub(crate) use secret::SecretName;

/// Name of the file in the directory, and of the key in the Secret.
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

/// The key as a plain string where it is kept and as one that is wiped in memory.
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

/// Why the state cannot be read or written. Never holds what is in it.
#[derive(Debug, Error)]
pub(crate) enum StateError {
    /// The directory cannot be used.
    #[error("{0:#}")]
    Directory(anyhow::Error),
    /// What is kept there is no enrolment.
    #[error("{place} is damaged; {remedy} and start the agent with a new enrolment token")]
    Damaged {
        /// Where it is kept.
        place: String,
        /// How to get rid of it.
        remedy: String,
    },
    /// The API server did not do what was asked of it, this time.
    #[error(transparent)]
    Secret(#[from] SecretError),
}

impl StateError {
    /// Whether it makes sense to go on trying: a Secret's API server comes back, a right is granted.
    pub(crate) fn may_pass(&self) -> bool {
        matches!(self, Self::Secret(_))
    }

    /// Whether it takes a person, so that asking again soon is pointless.
    pub(crate) fn is_refusal(&self) -> bool {
        match self {
            Self::Directory(_) | Self::Damaged { .. } => true,
            Self::Secret(error) => error.is_refusal(),
        }
    }
}

/// Where the enrolment is kept.
pub(crate) enum State {
    Directory(Directory),
    Secret(Box<KubernetesSecret>),
}

impl State {
    /// The place that the settings name. `upstream` is where its Secret would be.
    ///
    /// # Errors
    /// The directory cannot be made.
    pub(crate) fn open(config: &Config, upstream: &Upstream) -> anyhow::Result<Self> {
        match &config.state_secret {
            Some(name) => Ok(Self::Secret(Box::new(KubernetesSecret::new(upstream.clone(), name.clone())?))),
            None => Directory::open(config.state_dir()).map(Self::Directory),
        }
    }

    /// The enrolment kept for a cluster. `None` when there is none, or it is for another cluster.
    ///
    /// # Errors
    /// It cannot be read, or is damaged.
    pub(crate) async fn load(&self, cluster: &str) -> Result<Option<Stored>, StateError> {
        let text = match self {
            Self::Directory(directory) => directory.read().map_err(StateError::Directory)?,
            Self::Secret(secret) => secret.read().await?,
        };
        let Some(text) = text else { return Ok(None) };
        let stored: Stored = serde_json::from_slice(&text).map_err(|_| self.damaged())?;
        if stored.cluster != cluster {
            tracing::warn!(
                kept_for = stored.cluster,
                wanted = cluster,
                "the enrolment that was kept is for another cluster and is not used"
            );
            return Ok(None);
        }
        Ok(Some(stored))
    }

    /// Finds out whether [`State::save`] would be allowed, before something is done that cannot be done again.
    ///
    /// # Errors
    /// It would not.
    pub(crate) async fn check_writable(&self) -> Result<(), StateError> {
        match self {
            // Opening it made it, or found out that it cannot be made.
            Self::Directory(_) => Ok(()),
            Self::Secret(secret) => Ok(secret.check_writable().await?),
        }
    }

    /// Replaces the enrolment that is kept.
    ///
    /// # Errors
    /// What was kept before is kept still.
    pub(crate) async fn save(&self, stored: &Stored) -> Result<(), StateError> {
        let text = serde_json::to_vec(stored).context("cannot serialize the enrolment");
        let text = Zeroizing::new(text.map_err(StateError::Directory)?);
        match self {
            Self::Directory(directory) => directory.write(&text).map_err(StateError::Directory),
            Self::Secret(secret) => Ok(secret.write(&text).await?),
        }
    }

    fn damaged(&self) -> StateError {
        match self {
            Self::Directory(directory) => {
                StateError::Damaged { place: directory.path().display().to_string(), remedy: "remove it".to_owned() }
            }
            Self::Secret(secret) => StateError::Damaged {
                place: format!("the enrolment in the Secret {}", secret.name()),
                remedy: format!("remove the key {FILE} from it"),
            },
        }
    }
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

    #[tokio::test]
    async fn what_was_saved_last_is_loaded() {
        let root = tempfile::tempdir().unwrap();
        let state = State::Directory(Directory::open(root.path()).unwrap());
        state.save(&stored("a", 0, 1000)).await.unwrap();
        state.save(&stored("a", 0, 2000)).await.unwrap();
        assert_eq!(state.load("a").await.unwrap().unwrap().ends_ms(), 2000);
    }

    #[tokio::test]
    async fn another_clusters_enrolment_is_not_used_and_a_damaged_one_is_told() {
        let root = tempfile::tempdir().unwrap();
        let state = State::Directory(Directory::open(root.path()).unwrap());
        assert!(state.load("a").await.unwrap().is_none());
        state.save(&stored("a", 0, 1000)).await.unwrap();
        assert!(state.load("b").await.unwrap().is_none());
        std::fs::write(root.path().join(FILE), "{\"key\": \"s3cret").unwrap();
        let error = state.load("a").await.err().unwrap();
        let text = error.to_string();
        assert!(text.contains("damaged; remove it") && !text.contains("s3cret"), "{text}");
        assert!(!error.may_pass());
    }
}
