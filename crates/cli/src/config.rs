//! Where the command line keeps its files, and the one that a person may edit: which hub, which cluster.
//!
//! `$XDG_CONFIG_HOME/flotilla/config.yaml` is ours. When it is missing, `~/.mk8s/config.yaml` (same keys) is
//! read in its place; that one is never written.
//!
//! Must not know: credentials.

use std::path::{Path, PathBuf};

use etcetera::BaseStrategy;
use flotilla_settings::{Source, load};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::error::{CliError, Doing};
use crate::files;

/// Every place that the command line reads or writes.
#[derive(Clone, Debug)]
pub(crate) struct Paths {
    /// Our configuration.
    pub(crate) config: PathBuf,
    /// The configuration of mk8s, read when ours is missing.
    pub(crate) legacy_config: PathBuf,
    /// Directory of credentials and locks.
    pub(crate) state: PathBuf,
    /// Directory of what can be made again.
    pub(crate) cache: PathBuf,
    /// kubectl's own configuration.
    pub(crate) kube_config: PathBuf,
}

impl Paths {
    /// The places that the XDG base directory specification (on Windows: the platform) gives.
    ///
    /// # Errors
    /// When there is no home directory.
    pub(crate) fn discover() -> Result<Self, CliError> {
        let base = etcetera::choose_base_strategy().doing("find your files").map_err(|e| e.hint("set HOME"))?;
        let home = base.home_dir();
        Ok(Self {
            config: base.config_dir().join("flotilla").join("config.yaml"),
            legacy_config: home.join(".mk8s").join("config.yaml"),
            state: base.state_dir().unwrap_or_else(|| base.data_dir()).join("flotilla"),
            cache: base.cache_dir().join("flotilla"),
            kube_config: home.join(".kube").join("config"),
        })
    }
}

/// The keys of the configuration file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Config {
    /// Address of the hub.
    pub(crate) central_url: Option<String>,
    /// Cluster that `kubectl` goes to.
    pub(crate) current_cluster: Option<String>,
    /// kubectl to run instead of the first in `PATH`.
    pub(crate) kubectl: Option<PathBuf>,
}

impl Config {
    /// Reads our file or, when there is none, that of mk8s. `${NAME}` stands for an environment variable.
    ///
    /// # Errors
    /// Names the file and the key that is wrong.
    pub(crate) fn read(paths: &Paths) -> Result<Self, CliError> {
        let file = if paths.config.exists() { &paths.config } else { &paths.legacy_config };
        let source = Source::new().optional_file(file).environment(flotilla_settings::process_environment());
        load(&source).map_err(|error| {
            CliError::general(error.to_string()).hint(format!("correct {}, or remove it", file.display()))
        })
    }

    /// Writes new values for some keys into our file; `None` removes a key. What else is there stays. A first
    /// file of ours takes over what mk8s had.
    ///
    /// # Errors
    /// When the file cannot be read or written.
    pub(crate) fn update(paths: &Paths, changes: &[(&str, Option<&str>)]) -> Result<(), CliError> {
        let mut tree = read_tree(&paths.config)?;
        if tree.is_empty() && !paths.config.exists() {
            tree = into_map(&Self::read(paths)?)?;
        }
        for (key, value) in changes {
            match value {
                Some(value) => tree.insert((*key).to_owned(), Value::from(*value)),
                None => tree.remove(*key),
            };
        }
        let doing = || format!("write {}", paths.config.display());
        let text = serde_saphyr::to_string(&Value::Object(tree)).doing(doing())?;
        files::replace(&paths.config, &text, None).doing(doing())
    }
}

fn into_map(config: &Config) -> Result<Map<String, Value>, CliError> {
    let Value::Object(mut map) = serde_json::to_value(config).doing("copy the configuration")? else {
        return Ok(Map::new());
    };
    map.retain(|_, value| !value.is_null());
    Ok(map)
}

/// The file as written, `${NAME}` left alone.
fn read_tree(path: &Path) -> Result<Map<String, Value>, CliError> {
    let doing = || format!("read {}", path.display());
    let Some(text) = files::read_if_there(path).doing(doing())? else { return Ok(Map::new()) };
    if text.trim().is_empty() {
        return Ok(Map::new());
    }
    serde_saphyr::from_str::<Map<String, Value>>(&text).doing(doing())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(dir: &Path) -> Paths {
        Paths {
            config: dir.join("flotilla/config.yaml"),
            legacy_config: dir.join("mk8s.yaml"),
            state: dir.join("state"),
            cache: dir.join("cache"),
            kube_config: dir.join("kube"),
        }
    }

    fn write(path: &Path, text: &str) {
        files::replace(path, text, None).unwrap();
    }

    #[test]
    fn no_file_is_an_empty_configuration() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Config::read(&paths(dir.path())).unwrap(), Config::default());
    }

    #[test]
    fn ours_hides_that_of_mk8s_as_a_whole() {
        let dir = tempfile::tempdir().unwrap();
        let paths = paths(dir.path());
        write(&paths.legacy_config, "central_url: https://old:8080\ncurrent_cluster: old\n");
        let config = Config::read(&paths).unwrap();
        assert_eq!(config.central_url.as_deref(), Some("https://old:8080"));
        assert_eq!(config.current_cluster.as_deref(), Some("old"));
        write(&paths.config, "central_url: https://new\n");
        let config = Config::read(&paths).unwrap();
        assert_eq!(config.central_url.as_deref(), Some("https://new"));
        assert_eq!(config.current_cluster, None);
    }

    #[test]
    fn the_first_write_takes_over_mk8s_and_leaves_its_file_alone() {
        let dir = tempfile::tempdir().unwrap();
        let paths = paths(dir.path());
        let old = "central_url: https://old:8080\ncurrent_cluster: old\n";
        write(&paths.legacy_config, old);
        Config::update(&paths, &[("current_cluster", Some("new"))]).unwrap();
        let config = Config::read(&paths).unwrap();
        assert_eq!(config.central_url.as_deref(), Some("https://old:8080"));
        assert_eq!(config.current_cluster.as_deref(), Some("new"));
        assert_eq!(std::fs::read_to_string(&paths.legacy_config).unwrap(), old);
    }

    #[test]
    fn a_write_keeps_other_keys_as_they_were_written() {
        let dir = tempfile::tempdir().unwrap();
        let paths = paths(dir.path());
        write(&paths.config, "central_url: https://${HUB}\nkubectl: /opt/kubectl\ncurrent_cluster: a\n");
        Config::update(&paths, &[("current_cluster", None)]).unwrap();
        let text = std::fs::read_to_string(&paths.config).unwrap();
        assert!(text.contains("${HUB}") && text.contains("/opt/kubectl"), "{text}");
        assert!(!text.contains("current_cluster"), "{text}");
    }

    #[test]
    fn an_unknown_key_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let paths = paths(dir.path());
        write(&paths.config, "central_ulr: https://x\n");
        let error = Config::read(&paths).unwrap_err().render();
        assert!(error.contains("central_ulr") && error.contains("central_url"), "{error}");
    }
}
