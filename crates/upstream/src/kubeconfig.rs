//! Kubeconfig files (`client.config`, `k8s.io/client-go/tools/clientcmd/api/v1/types.go`).
//!
//! Whatever would run a program or change as whom we call is refused with what to do instead, never ignored.
//!
//! Must not know: requests.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use flotilla_settings::Secret;
use serde::Deserialize;
use zeroize::Zeroizing;

use crate::client::Endpoint;
use crate::credentials::{Credentials, TOKEN_FILE_TTL};
use crate::error::UpstreamError;
use crate::exec::{ExecConfig, Plugin, Plugins};
use crate::renewed::Renewed;
use crate::tls::{ClientCertificate, Trust};

/// Larger files are refused unread. Real ones with a hundred clusters have about 1 MiB.
const MAX_SIZE: usize = 4 << 20;

/// Whether a kubeconfig may name files of this machine.
#[derive(Clone, Debug)]
pub enum Externals {
    /// Yes; relative names are relative to this directory, as in kubectl.
    Allowed {
        /// The directory of the kubeconfig.
        base_dir: PathBuf,
    },
    /// No: the kubeconfig comes from somebody whose files are elsewhere.
    Refused,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", default)]
#[derive(Default)]
struct Config {
    current_context: String,
    clusters: Vec<NamedCluster>,
    contexts: Vec<NamedContext>,
    users: Vec<NamedUser>,
}

#[derive(Deserialize)]
struct NamedCluster {
    name: String,
    #[serde(default)]
    cluster: Cluster,
}

#[derive(Deserialize)]
struct NamedContext {
    name: String,
    #[serde(default)]
    context: Context,
}

#[derive(Deserialize)]
struct NamedUser {
    name: String,
    #[serde(default)]
    user: Option<User>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Context {
    cluster: String,
    user: String,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "kebab-case", default)]
struct Cluster {
    server: String,
    tls_server_name: Option<String>,
    insecure_skip_tls_verify: bool,
    certificate_authority: Option<String>,
    certificate_authority_data: Option<String>,
    proxy_url: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "kebab-case", default)]
struct User {
    client_certificate: Option<String>,
    client_certificate_data: Option<String>,
    client_key: Option<String>,
    client_key_data: Option<Secret>,
    token: Option<Secret>,
    #[serde(rename = "tokenFile")]
    token_file: Option<String>,
    username: Option<String>,
    password: Option<Secret>,
    #[serde(rename = "as")]
    impersonate: Option<String>,
    exec: Option<ExecConfig>,
    auth_provider: Option<serde::de::IgnoredAny>,
}

/// The API server of a context.
pub(crate) fn endpoint(
    yaml: &str,
    context: Option<&str>,
    policy: &Externals,
    plugins: Plugins,
) -> Result<Endpoint, UpstreamError> {
    let config = parse(yaml)?;
    let context = config.context(context)?;
    let cluster = config.clusters.iter().find(|one| one.name == context.cluster);
    let cluster = &cluster.ok_or_else(|| missing("cluster", &context.cluster))?.cluster;
    let nobody = User::default();
    let user = match config.users.iter().find(|one| one.name == context.user) {
        Some(found) => found.user.as_ref().unwrap_or(&nobody),
        None if context.user.is_empty() => &nobody,
        None => return Err(missing("user", &context.user)),
    };
    refuse_what_we_do_not_do(cluster, user, plugins)?;
    Ok(Endpoint {
        server: cluster.server.clone(),
        trust: trust(cluster, policy)?,
        server_name: cluster.tls_server_name.clone().filter(|name| !name.is_empty()),
        certificate: certificate(user, policy)?,
        credentials: match plugin(cluster, user, plugins)? {
            Some(plugin) => Credentials::Renewed(Renewed::new(plugin)),
            None => credentials(user, policy)?,
        },
    })
}

fn parse(yaml: &str) -> Result<Config, UpstreamError> {
    if yaml.len() > MAX_SIZE {
        return Err(UpstreamError::invalid("the kubeconfig is larger than 4 MiB"));
    }
    // Without snippets: they would print keys and tokens beside the mistake.
    let options = serde_saphyr::options! { with_snippet: false };
    serde_saphyr::from_str_with_options(yaml, options).map_err(|error| {
        let place =
            error.location().map_or_else(String::new, |at| format!(" (line {}, column {})", at.line(), at.column()));
        UpstreamError::invalid(format!(
            "this is not a kubeconfig{place}: it must be YAML with clusters, contexts and users"
        ))
    })
}

impl Config {
    fn context(&self, wanted: Option<&str>) -> Result<&Context, UpstreamError> {
        let name = wanted.unwrap_or(&self.current_context);
        if name.is_empty() {
            return Err(UpstreamError::invalid("the kubeconfig has no current-context; name one"));
        }
        let found = self.contexts.iter().find(|one| one.name == name).map(|one| &one.context);
        found.ok_or_else(|| {
            let names: Vec<_> = self.contexts.iter().map(|one| one.name.as_str()).collect();
            UpstreamError::invalid(format!("the kubeconfig has no context {name:?}; it has: {}", names.join(", ")))
        })
    }
}

fn missing(what: &str, name: &str) -> UpstreamError {
    UpstreamError::invalid(format!("the kubeconfig's context names the {what} {name:?}, which is not in it"))
}

fn refuse_what_we_do_not_do(cluster: &Cluster, user: &User, plugins: Plugins) -> Result<(), UpstreamError> {
    let refusals = [
        (
            user.exec.is_some() && plugins == Plugins::Refused,
            "the kubeconfig's user gets its credentials from a program (exec), which is not run here; use a service \
             account's token (kubectl create token), a client certificate, or an agent in the cluster",
        ),
        (
            user.auth_provider.is_some(),
            "the kubeconfig's user has an auth-provider, which Kubernetes itself no longer knows; use a service account's \
             token (kubectl create token), a client certificate, or an agent in the cluster",
        ),
        (
            user.impersonate.is_some(),
            "the kubeconfig's user impersonates somebody (as), which would take the place of the real caller; leave it out",
        ),
        (
            cluster.proxy_url.as_ref().is_some_and(|url| !url.is_empty()),
            "the kubeconfig's cluster is behind a proxy (proxy-url), which is not supported; use an agent in the cluster, \
             which dials out",
        ),
    ];
    match refusals.into_iter().find(|(applies, _)| *applies) {
        Some((_, reason)) => Err(UpstreamError::invalid(reason)),
        None => Ok(()),
    }
}

/// A program before all else, as in client-go.
fn plugin(cluster: &Cluster, user: &User, plugins: Plugins) -> Result<Option<Plugin>, UpstreamError> {
    let (Some(exec), Plugins::Allowed { deadline }) = (&user.exec, plugins) else {
        return Ok(None);
    };
    let authorities = cluster.certificate_authority_data.as_deref();
    Plugin::new(exec.clone(), deadline, &cluster.server, authorities).map(Some)
}

fn trust(cluster: &Cluster, policy: &Externals) -> Result<Trust, UpstreamError> {
    let data = cluster.certificate_authority_data.as_deref().map(str::as_bytes);
    let authorities = inline_or_file("certificate-authority", data, cluster.certificate_authority.as_deref(), policy)?;
    match (authorities, cluster.insecure_skip_tls_verify) {
        (Some(_), true) => Err(UpstreamError::invalid(
            "the kubeconfig's cluster has both a certificate-authority and insecure-skip-tls-verify; leave one out",
        )),
        (Some(pem), false) => Ok(Trust::Authorities(pem.to_vec())),
        (None, true) => Ok(Trust::Anyone),
        (None, false) => Ok(Trust::System),
    }
}

fn certificate(user: &User, policy: &Externals) -> Result<Option<ClientCertificate>, UpstreamError> {
    let data = user.client_certificate_data.as_deref().map(str::as_bytes);
    let chain = inline_or_file("client-certificate", data, user.client_certificate.as_deref(), policy)?;
    let data = user.client_key_data.as_ref().map(|key| key.expose().as_bytes());
    let key = inline_or_file("client-key", data, user.client_key.as_deref(), policy)?;
    match (chain, key) {
        (None, None) => Ok(None),
        (Some(chain), Some(key)) => Ok(Some(ClientCertificate { chain: chain.to_vec(), key })),
        _ => Err(UpstreamError::credentials("client-certificate and client-key only work together; one is missing")),
    }
}

/// A token before a file of one before a password, as in client-go.
fn credentials(user: &User, policy: &Externals) -> Result<Credentials, UpstreamError> {
    let given = |secret: &&Secret| !secret.is_empty();
    // client-go prefers the file, because a token beside it is only what the file held once.
    if let Some(path) = user.token_file.as_deref().filter(|path| !path.is_empty()) {
        return Ok(Credentials::file(allowed("tokenFile", path, policy)?, TOKEN_FILE_TTL));
    }
    if let Some(token) = user.token.as_ref().filter(given) {
        return Credentials::bearer(token);
    }
    match (user.username.as_deref().filter(|name| !name.is_empty()), user.password.as_ref().filter(given)) {
        (Some(name), Some(password)) => Credentials::basic(name, password),
        (Some(name), None) => Credentials::basic(name, &String::new().into()),
        (None, _) => Ok(Credentials::None),
    }
}

/// `<what>-data` (base64) before the file `<what>`, as in client-go.
fn inline_or_file(
    what: &str,
    data: Option<&[u8]>,
    file: Option<&str>,
    policy: &Externals,
) -> Result<Option<Zeroizing<Vec<u8>>>, UpstreamError> {
    if let Some(data) = data.filter(|data| !data.is_empty()) {
        let compact: Zeroizing<Vec<u8>> =
            Zeroizing::new(data.iter().copied().filter(|b| !b.is_ascii_whitespace()).collect());
        let decoded = base64::engine::general_purpose::STANDARD.decode(&*compact);
        let decoded =
            decoded.map_err(|_| UpstreamError::invalid(format!("the kubeconfig's {what}-data is not base64")))?;
        return Ok(Some(Zeroizing::new(decoded)));
    }
    let Some(file) = file.filter(|file| !file.is_empty()) else {
        return Ok(None);
    };
    let path = allowed(what, file, policy)?;
    let read = std::fs::read(&path).map_err(|error| {
        UpstreamError::invalid(format!("cannot read the kubeconfig's {what} {}: {error}", path.display()))
    })?;
    Ok(Some(Zeroizing::new(read)))
}

fn allowed(what: &str, file: &str, policy: &Externals) -> Result<PathBuf, UpstreamError> {
    match policy {
        Externals::Allowed { base_dir } => Ok(base_dir.join(Path::new(file))),
        Externals::Refused => Err(UpstreamError::invalid(format!(
            "the kubeconfig's {what} is a file, which would be read on the wrong machine; \
             write it inline (kubectl config view --flatten --minify)"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn with(cluster: &str, user: &str) -> String {
        format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: c\ncontexts: [{{name: c, context: {{cluster: k, user: u, namespace: n}}}}]\n\
             clusters: [{{name: k, cluster: {{server: 'https://h:1', {cluster}}}}}]\nusers: [{{name: u, user: {{{user}}}}}]\n"
        )
    }

    fn refused(yaml: &str, context: Option<&str>, policy: &Externals) -> String {
        match endpoint(yaml, context, policy, Plugins::Refused) {
            Ok(_) => panic!("accepted: {yaml}"),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn says_what_is_wrong_and_what_to_use_instead() {
        let cases = [
            ("", "exec: {apiVersion: client.authentication.k8s.io/v1, command: aws}", "kubectl create token"),
            ("", "auth-provider: {name: gcp}", "no longer knows"),
            ("", "as: admin", "impersonates"),
            ("proxy-url: 'http://p:3128'", "", "an agent in the cluster"),
            ("certificate-authority: ca.crt", "", "--flatten"),
            ("", "tokenFile: /etc/passwd", "--flatten"),
            ("", "client-certificate: a, client-key: b", "--flatten"),
            ("", "client-certificate-data: YQ==", "one is missing"),
            ("certificate-authority-data: '%%'", "", "not base64"),
            ("certificate-authority-data: YQ==, insecure-skip-tls-verify: true", "", "leave one out"),
        ];
        for (cluster, user, want) in cases {
            let text = refused(&with(cluster, user), None, &Externals::Refused);
            assert!(text.contains(want), "{cluster} {user}: {text}");
        }
    }

    #[test]
    fn names_must_lead_somewhere() {
        let good = with("", "");
        assert!(refused(&good, Some("x"), &Externals::Refused).contains("no context \"x\"; it has: c"));
        assert!(
            refused(&good.replace("current-context: c", ""), None, &Externals::Refused).contains("no current-context")
        );
        assert!(
            refused(&good.replace("cluster: k", "cluster: z"), None, &Externals::Refused).contains("cluster \"z\"")
        );
        assert!(refused(&good.replace("user: u", "user: z"), None, &Externals::Refused).contains("user \"z\""));
        assert!(endpoint(&good, Some("c"), &Externals::Refused, Plugins::Refused).is_ok());
    }

    #[test]
    fn mistakes_are_told_without_what_stands_beside_them() {
        let text = refused("users: [{name: u, user: {token: hunter2, exec: [}}]", None, &Externals::Refused);
        assert!(text.contains("not a kubeconfig (line 1") && !text.contains("hunter2"), "{text}");
        assert!(!refused("clusters: {a: hunter2}", None, &Externals::Refused).contains("hunter2"));
    }

    #[test]
    fn files_are_relative_to_the_kubeconfig() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("ca.crt"), "pem").unwrap();
        let policy = Externals::Allowed { base_dir: directory.path().to_owned() };
        let found =
            endpoint(&with("certificate-authority: ca.crt", "tokenFile: t"), None, &policy, Plugins::Refused).unwrap();
        assert!(matches!(found.trust, Trust::Authorities(pem) if pem == b"pem"));
        assert!(matches!(found.credentials, Credentials::File(_)));
        assert!(refused(&with("certificate-authority: nope", ""), None, &policy).contains("cannot read"));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn no_text_makes_it_panic(text in "\\PC{0,300}") {
            let _ = endpoint(&text, None, &Externals::Refused, Plugins::Refused);
        }

        #[test]
        fn no_mutation_of_a_real_one_makes_it_panic(at in 0usize..400, len in 0usize..20, junk in "[\\x00-\\x7fä€]{0,12}") {
            let mut text = with("certificate-authority-data: YQ==, tls-server-name: x", "token: t, client-key-data: YQ==");
            let (from, to) = (at.min(text.len()), (at + len).min(text.len()));
            text.replace_range(from..to, &junk);
            if let Ok(endpoint) = endpoint(&text, None, &Externals::Refused, Plugins::Refused) {
                let _ = crate::Upstream::new(endpoint);
            }
        }
    }
}
