//! What the agent can be told, and from where.
//!
//! Must not know: what is done with it.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use flotilla_settings::{Secret, Source};
use flotilla_tunnel::token::EnrolmentToken;
use flotilla_types::name::check_cluster_name;
use serde::{Deserialize, Serialize};

use crate::state::SecretName;

/// Read when `--config` names no other, and there is one.
pub(crate) const DEFAULT_FILE: &str = "/etc/flotilla/agent.yaml";

/// `state_dir` when neither it nor `state_secret` is set.
const DEFAULT_STATE_DIR: &str = "/var/lib/flotilla-agent";

/// `agent.yaml`. `configs/agent.yaml` explains every key.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Config {
    pub(crate) central: Central,
    pub(crate) cluster: Cluster,
    pub(crate) tls: Tls,
    pub(crate) kubernetes: Kubernetes,
    pub(crate) state_dir: Option<PathBuf>,
    pub(crate) state_secret: Option<SecretName>,
    pub(crate) health: Health,
    pub(crate) heartbeat: Heartbeat,
    pub(crate) log: Log,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Central {
    pub(crate) url: String,
    pub(crate) token: Option<Secret>,
}

impl Central {
    /// Whether a proxy terminates TLS between here and the hub.
    pub(crate) fn is_behind_proxy(&self) -> bool {
        self.url.trim_start().starts_with("wss:")
    }
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Cluster {
    pub(crate) name: String,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Tls {
    pub(crate) insecure: bool,
    pub(crate) ca_file: Option<PathBuf>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Kubernetes {
    pub(crate) kubeconfig: Option<PathBuf>,
    pub(crate) context: Option<String>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Health {
    pub(crate) listen: SocketAddr,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Heartbeat {
    pub(crate) interval_seconds: u64,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Log {
    pub(crate) format: LogFormat,
    pub(crate) level: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogFormat {
    Text,
    Json,
}

impl Config {
    /// Where the enrolment is kept when it is not in a Secret.
    pub(crate) fn state_dir(&self) -> &Path {
        self.state_dir.as_deref().unwrap_or(Path::new(DEFAULT_STATE_DIR))
    }
}

impl Default for Health {
    fn default() -> Self {
        Self { listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 8081)) }
    }
}

impl Default for Heartbeat {
    fn default() -> Self {
        Self { interval_seconds: 30 }
    }
}

impl Default for Log {
    fn default() -> Self {
        Self { format: LogFormat::Text, level: "info".to_owned() }
    }
}

/// Where settings come from: `file` if one was named, the default place otherwise, then the environment.
pub(crate) fn source(file: Option<&Path>, environment: impl IntoIterator<Item = (String, String)>) -> Source {
    let source = Source::new()
        .prefix("FLOTILLA_AGENT")
        .alias("CENTRAL_URL", "central.url")
        .alias("AGENT_TOKEN", "central.token")
        .alias("CLUSTER_NAME", "cluster.name")
        .environment(environment);
    match file {
        Some(path) => source.file(path),
        None => source.optional_file(DEFAULT_FILE),
    }
}

/// Loads and checks the settings.
///
/// # Errors
/// Says which key is wrong and how to set it.
pub(crate) fn load(source: &Source) -> anyhow::Result<Config> {
    let config: Config = flotilla_settings::load(source)?;
    check(&config)?;
    Ok(config)
}

fn check(config: &Config) -> anyhow::Result<()> {
    if config.central.url.is_empty() {
        bail!(
            "`central.url` is not set: give the hub's address for agents in agent.yaml or as CENTRAL_URL, for example https://hub.example.com:8443"
        );
    }
    let url: http::Uri =
        config.central.url.parse().ok().context("`central.url` is not a URL like https://hub.example.com:8443")?;
    let root = matches!(url.path(), "" | "/") && url.query().is_none();
    if !matches!(url.scheme_str(), Some("https" | "wss")) || url.host().is_none_or(str::is_empty) || !root {
        bail!(
            "`central.url` must have the form https://hub.example.com:8443, or wss://hub.example.com behind a proxy that terminates TLS, without a path"
        );
    }
    if config.cluster.name.is_empty() {
        bail!(
            "`cluster.name` is not set: give the name for which the enrolment token was made in agent.yaml or as CLUSTER_NAME"
        );
    }
    check_cluster_name(&config.cluster.name).context("`cluster.name`")?;
    if let Some(token) = config.central.token.as_ref().filter(|token| !token.is_empty()) {
        EnrolmentToken::parse(token.expose()).context("`central.token`")?;
    }
    if !(1..=3600).contains(&config.heartbeat.interval_seconds) {
        bail!("`heartbeat.interval_seconds` must be from 1 to 3600");
    }
    if config.tls.insecure && config.tls.ca_file.is_some() {
        bail!("`tls.insecure` and `tls.ca_file` contradict each other; leave one out");
    }
    if config.state_dir.is_some() && config.state_secret.is_some() {
        bail!("`state_dir` and `state_secret` contradict each other; leave one out");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loaded(yaml: &str, environment: &[(&str, &str)]) -> anyhow::Result<Config> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("agent.yaml");
        std::fs::write(&path, yaml).unwrap();
        load(&source(Some(&path), environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))))
    }

    /// 32 zero bytes, and 32 again.
    const TOKEN: &str = "fla1.AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA.AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

    const ENVIRONMENT: [(&str, &str); 3] =
        [("CENTRAL_URL", "https://hub.example.com:8443"), ("AGENT_TOKEN", TOKEN), ("CLUSTER_NAME", "prod-eu-1")];

    #[test]
    fn three_variables_are_enough() {
        let config = loaded("", &ENVIRONMENT).unwrap();
        assert_eq!(config.cluster.name, "prod-eu-1");
        assert_eq!(config.central.token.unwrap().expose(), TOKEN);
        assert_eq!(config.health.listen.to_string(), "127.0.0.1:8081");
    }

    #[test]
    fn the_example_holds_every_key_with_its_built_in_value() {
        let example = include_str!("../../../configs/agent.yaml");
        let config = loaded(example, &ENVIRONMENT).unwrap();
        assert_eq!(config.cluster.name, "prod-eu-1");
        // Uncommented, every key must still be known and of the right type.
        let uncommented_without = |key: &str| -> String {
            let lines = example.lines().map(|line| line.strip_prefix("#:").unwrap_or(line));
            lines.filter(|line| !line.starts_with(key)).map(|line| format!("{line}\n")).collect()
        };
        let config = loaded(&uncommented_without("state_secret:"), &ENVIRONMENT).unwrap();
        assert_eq!(config.heartbeat.interval_seconds, Heartbeat::default().interval_seconds);
        assert_eq!(config.state_dir.as_deref(), Some(Config::default().state_dir()));
        assert!(config.kubernetes.kubeconfig.is_some() && config.tls.ca_file.is_some());
        let config = loaded(&uncommented_without("state_dir:"), &ENVIRONMENT).unwrap();
        assert_eq!(config.state_secret.unwrap().to_string(), "flotilla-system/flotilla-agent-identity");
    }

    #[test]
    fn mistakes_are_explained() {
        let cases = [
            ("", &ENVIRONMENT[1..], "CENTRAL_URL"),
            ("", &ENVIRONMENT[..2], "CLUSTER_NAME"),
            ("central: {ulr: x}", &ENVIRONMENT[..], "did you mean `central.url`?"),
            ("log: {format: xml}", &ENVIRONMENT[..], "`text` or `json`"),
            ("health: {listen: here}", &ENVIRONMENT[..], "`health.listen`"),
            ("central: {token: hunter2}", &[ENVIRONMENT[0], ENVIRONMENT[2]], "`central.token`: not an enrolment token"),
            ("heartbeat: {interval_seconds: 0}", &ENVIRONMENT[..], "1 to 3600"),
            ("tls: {insecure: true, ca_file: /x}", &ENVIRONMENT[..], "contradict"),
            ("{state_dir: /x, state_secret: a/b}", &ENVIRONMENT[..], "contradict"),
            ("state_secret: name", &ENVIRONMENT[..], "NAMESPACE/NAME"),
            ("state_secret: a/../b", &ENVIRONMENT[..], "`state_secret`"),
        ];
        for (yaml, environment, want) in cases {
            let text = format!("{:#}", loaded(yaml, environment).unwrap_err());
            assert!(text.contains(want) && !text.contains("hunter2"), "{yaml}: {text}");
        }
        assert!(loaded("", &[("CENTRAL_URL", "wss://hub"), ("CLUSTER_NAME", "a")]).unwrap().central.is_behind_proxy());
        for url in [
            "hub:8443",
            "http://hub:8443",
            "ws://hub",
            "wss://hub/path",
            "https://",
            "https://hub/path",
            "https://hub?x",
            "nonsense",
        ] {
            assert!(loaded("", &[("CENTRAL_URL", url), ("CLUSTER_NAME", "a")]).is_err(), "{url}");
        }
        assert!(loaded("", &[("CENTRAL_URL", "https://hub"), ("CLUSTER_NAME", "A/b")]).is_err());
    }
}
