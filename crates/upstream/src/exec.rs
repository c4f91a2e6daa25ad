//! Credentials that a program prints: `user.exec` of a kubeconfig
//! (<https://kubernetes.io/docs/reference/access-authn-authz/authentication/#client-go-credential-plugins>).
//!
//! Only where the operator allows it. The program gets a deadline and an environment of `PATH`, `HOME` and what the
//! kubeconfig names; what it prints on standard error goes nowhere, since it may hold a secret.
//!
//! Must not know: requests.

use std::process::Stdio;
use std::time::Duration;

use flotilla_settings::Secret;
use futures_util::future::BoxFuture;
use serde::Deserialize;
use serde_json::json;
use tokio::io::AsyncReadExt as _;
use tokio::process::Command;
use zeroize::Zeroizing;

use crate::credentials::bearer;
use crate::error::UpstreamError;
use crate::renewed::{Token, TokenSource};

/// Versions whose output is alike in all that is used here.
const VERSIONS: [&str; 2] = ["client.authentication.k8s.io/v1", "client.authentication.k8s.io/v1beta1"];
/// Longest output.
const MAX_OUTPUT: u64 = 1 << 20;
/// A credential without an end is asked for again after this; the API server's refusal does so earlier.
const WITHOUT_END: Duration = Duration::from_secs(3600);

/// Whether programs that a kubeconfig names are run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Plugins {
    /// They are not: the kubeconfig is refused.
    #[default]
    Refused,
    /// They are, as this process's user. Whoever may register a cluster then may run programs on this machine.
    Allowed {
        /// For one run.
        deadline: Duration,
    },
}

/// `user.exec`.
#[derive(Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ExecConfig {
    api_version: String,
    command: String,
    #[serde(default)]
    args: Option<Vec<String>>,
    #[serde(default)]
    env: Option<Vec<Variable>>,
    #[serde(default)]
    interactive_mode: Option<String>,
    #[serde(default)]
    provide_cluster_info: bool,
}

#[derive(Clone, Deserialize)]
struct Variable {
    name: String,
    value: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ExecCredential {
    api_version: String,
    kind: String,
    #[serde(default)]
    status: Option<Status>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    token: Option<Secret>,
    client_certificate_data: Option<serde::de::IgnoredAny>,
    expiration_timestamp: Option<jiff::Timestamp>,
}

/// Runs the program.
pub(crate) struct Plugin {
    config: ExecConfig,
    deadline: Duration,
    info: String,
    surroundings: Vec<(String, String)>,
}

impl Plugin {
    /// `server` and `authorities` (base64) are for programs that ask for them (`provideClusterInfo`).
    pub(crate) fn new(
        config: ExecConfig,
        deadline: Duration,
        server: &str,
        authorities: Option<&str>,
    ) -> Result<Self, UpstreamError> {
        let refuse = |text: &str| Err(UpstreamError::invalid(format!("the kubeconfig's exec plugin {text}")));
        if !VERSIONS.contains(&config.api_version.as_str()) {
            return refuse("has an apiVersion that is not known; use client.authentication.k8s.io/v1");
        }
        if config.interactive_mode.as_deref() == Some("Always") {
            return refuse("asks a person (interactiveMode: Always), and nobody is there; use another credential");
        }
        if config.command.is_empty() || (config.command.contains('/') && !config.command.starts_with('/')) {
            return refuse("must be an absolute path or a name to be found in PATH");
        }
        let mut info =
            json!({"apiVersion": config.api_version, "kind": "ExecCredential", "spec": {"interactive": false}});
        if config.provide_cluster_info {
            info["spec"]["cluster"] = json!({"server": server, "certificate-authority-data": authorities});
        }
        let kept = flotilla_settings::process_environment().into_iter();
        let surroundings = kept.filter(|(name, _)| matches!(name.as_str(), "PATH" | "HOME")).collect();
        Ok(Self { config, deadline, info: info.to_string(), surroundings })
    }

    async fn run(&self) -> Result<Token, UpstreamError> {
        let program = &self.config.command;
        let failed = |why: String| UpstreamError::credentials(format!("the credential plugin {program} {why}"));
        let output = tokio::time::timeout(self.deadline, self.output()).await;
        let output = output.map_err(|_| failed(format!("did not end within {} s", self.deadline.as_secs())))?;
        let (status, output) = output.map_err(|error| failed(format!("cannot be run: {error}")))?;
        if !status.success() {
            return Err(failed(format!("failed ({status}); run it by hand to see why")));
        }
        let printed: ExecCredential =
            serde_json::from_slice(&output).map_err(|_| failed("did not print an ExecCredential".into()))?;
        if printed.kind != "ExecCredential" || printed.api_version != self.config.api_version {
            return Err(failed(format!("did not print an ExecCredential of {}", self.config.api_version)));
        }
        let status = printed.status.ok_or_else(|| failed("printed no status".into()))?;
        let Some(token) = status.token.filter(|token| !token.is_empty()) else {
            let kind = if status.client_certificate_data.is_some() { "a certificate" } else { "no token" };
            return Err(failed(format!("printed {kind}; only tokens are supported")));
        };
        let lives = match status.expiration_timestamp {
            None => WITHOUT_END,
            Some(end) => Duration::try_from(end.duration_since(jiff::Timestamp::now()))
                .map_err(|_| failed("printed a token that has ended".into()))?,
        };
        Ok(Token { value: bearer(token.expose())?, lives })
    }

    async fn output(&self) -> std::io::Result<(std::process::ExitStatus, Zeroizing<Vec<u8>>)> {
        let mut command = Command::new(&self.config.command);
        command.args(self.config.args.iter().flatten()).env_clear();
        command.envs(self.surroundings.iter().map(|(name, value)| (name, value)));
        command.envs(self.config.env.iter().flatten().map(|variable| (&variable.name, &variable.value)));
        command.env("KUBERNETES_EXEC_INFO", &self.info);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
        let mut child = command.spawn()?;
        let mut output = Zeroizing::new(Vec::new());
        if let Some(pipe) = child.stdout.take() {
            pipe.take(MAX_OUTPUT).read_to_end(&mut output).await?;
        }
        Ok((child.wait().await?, output))
    }
}

impl TokenSource for Plugin {
    fn fetch(&self) -> BoxFuture<'_, Result<Token, UpstreamError>> {
        Box::pin(self.run())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plugin(script: &str, extra: serde_json::Value) -> Result<Plugin, UpstreamError> {
        let mut config = json!({"apiVersion": VERSIONS[0], "command": "sh", "args": ["-c", script],
            "env": [{"name": "GIVEN", "value": "yes"}], "provideClusterInfo": true});
        if let (Some(config), serde_json::Value::Object(extra)) = (config.as_object_mut(), extra) {
            config.extend(extra);
        }
        let config = serde_json::from_value(config).unwrap();
        Plugin::new(config, Duration::from_secs(2), "https://h:1", Some("Y2E="))
    }

    fn credential(status: &str) -> String {
        format!(r#"echo '{{"apiVersion":"{}","kind":"ExecCredential","status":{status}}}'"#, VERSIONS[0])
    }

    async fn refused(script: &str) -> String {
        match plugin(script, json!({})).unwrap().run().await {
            Ok(token) => panic!("accepted: {:?}", token.value),
            Err(error) => error.to_string(),
        }
    }

    #[tokio::test]
    async fn a_token_with_its_end() {
        let end = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(600);
        let script = credential(&format!(r#"{{"token":"t","expirationTimestamp":"{end}"}}"#));
        let token = plugin(&script, json!({})).unwrap().run().await.unwrap();
        assert_eq!(token.value, "Bearer t");
        assert!((590..=600).contains(&token.lives.as_secs()), "{:?}", token.lives);
        let endless = plugin(&credential(r#"{"token":"t"}"#), json!({})).unwrap().run().await.unwrap();
        assert_eq!(endless.lives, WITHOUT_END);
    }

    #[tokio::test]
    async fn the_environment_is_what_it_needs_and_no_more() {
        let script = format!(
            r#"[ "$GIVEN" = yes ] && [ -n "$PATH" ] && [ -z "$CARGO_MANIFEST_DIR" ] && case "$KUBERNETES_EXEC_INFO" in
            *'"interactive":false'*https://h:1*) {} ;; *) exit 3 ;; esac"#,
            credential(r#"{"token":"t"}"#)
        );
        assert_eq!(plugin(&script, json!({})).unwrap().run().await.unwrap().value, "Bearer t");
    }

    #[tokio::test]
    async fn what_goes_wrong_is_told_without_what_it_printed() {
        assert!(refused("echo hunter2 >&2; exit 7").await.contains("exit status: 7"));
        assert!(refused("sleep 60").await.contains("did not end within 2 s"));
        let text = refused("echo hunter2").await;
        assert!(text.contains("did not print an ExecCredential") && !text.contains("hunter2"), "{text}");
        assert!(
            refused(&credential(r#"{"clientCertificateData":"x","clientKeyData":"y"}"#)).await.contains("only tokens")
        );
        assert!(refused(&credential(r#"{"token":""}"#)).await.contains("no token"));
        let ended = credential(r#"{"token":"t","expirationTimestamp":"2020-01-01T00:00:00Z"}"#);
        assert!(refused(&ended).await.contains("has ended"));
        let other = r#"echo '{"apiVersion":"client.authentication.k8s.io/v1beta1","kind":"ExecCredential","status":{"token":"t"}}'"#;
        assert!(refused(other).await.contains("client.authentication.k8s.io/v1"));
    }

    #[test]
    fn what_cannot_work_is_refused_before_it_is_run() {
        for (extra, want) in [
            (json!({"apiVersion": "client.authentication.k8s.io/v1alpha1"}), "apiVersion"),
            (json!({"interactiveMode": "Always"}), "nobody is there"),
            (json!({"command": "../bin/x"}), "absolute path"),
            (json!({"command": ""}), "absolute path"),
        ] {
            let text = plugin("true", extra).err().unwrap().to_string();
            assert!(text.contains(want), "{text}");
        }
    }
}
