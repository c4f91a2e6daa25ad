//! Clusters that the hub reaches itself: their credentials as they are sealed in the store, and how each is opened.
//!
//! Must not know: HTTP, who may register a cluster.

use std::sync::Arc;

use anyhow::Context;
use flotilla_cluster::backends::Kind;
use flotilla_settings::{Secret, process_environment};
use flotilla_store::{Backend, Cluster, Store};
use flotilla_types::cluster::{ClusterCreate, EksAccess, OidcAccess};
use flotilla_types::id::ClusterId;
use flotilla_upstream::{
    Access, ApiServer, AwsEnvironment, EksCluster, Externals, OidcClient, Plugins, RefreshTokens, Rules, Upstream,
};
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};

use crate::config::Config;
use crate::error::ApiError;
use crate::hub::Hub;

/// A credential as it is sealed in the store. No `Debug`: all of it is secret.
#[derive(Clone, Serialize, Deserialize)]
#[serde(tag = "auth_type", rename_all = "snake_case")]
#[allow(missing_docs, reason = "the fields are those of `ClusterCreate`, where they are described")]
pub enum Credential {
    /// A kubeconfig's text.
    Kubeconfig { kubeconfig: String, context: Option<String> },
    /// A bearer token.
    BearerToken { at: At, token: String },
    /// A service account's token.
    ServiceAccount { at: At, token: String },
    /// A client certificate and its key.
    ClientCertificate { at: At, certificate: String, key: String },
    /// An account at an `OpenID` provider.
    Oidc { at: At, oidc: OidcAccess },
    /// The hub's own role at Amazon.
    Eks { at: At, eks: EksAccess },
}

/// Where an API server is and how to know it.
#[derive(Clone, Serialize, Deserialize)]
pub struct At {
    server: String,
    certificate_authority: Option<String>,
    tls_server_name: Option<String>,
    insecure_skip_tls_verify: bool,
}

impl Credential {
    /// Takes what a request gives.
    ///
    /// # Errors
    /// Names what is missing for the type that it states.
    pub fn of(given: ClusterCreate) -> Result<Self, ApiError> {
        let ClusterCreate { auth_type, kubeconfig, context, token, client_certificate, client_key, oidc, eks, .. } =
            given;
        let auth_type = auth_type.unwrap_or_else(|| "kubeconfig".to_owned());
        if auth_type == "kubeconfig" {
            return Ok(Self::Kubeconfig { kubeconfig: needed(kubeconfig, "kubeconfig", &auth_type)?, context });
        }
        let at = At {
            server: needed(given.server, "server", &auth_type)?,
            certificate_authority: given.certificate_authority,
            tls_server_name: given.tls_server_name,
            insecure_skip_tls_verify: given.insecure_skip_tls_verify,
        };
        Ok(match auth_type.as_str() {
            "bearer_token" | "token" => Self::BearerToken { at, token: needed(token, "token", &auth_type)? },
            "service_account" => Self::ServiceAccount { at, token: needed(token, "token", &auth_type)? },
            "client_certificate" | "certificate" => Self::ClientCertificate {
                at,
                certificate: needed(client_certificate, "client_certificate", &auth_type)?,
                key: needed(client_key, "client_key", &auth_type)?,
            },
            "oidc" => Self::Oidc { at, oidc: needed(oidc, "oidc", &auth_type)? },
            "eks" => Self::Eks { at, eks: needed(eks, "eks", &auth_type)? },
            other => {
                return Err(ApiError::invalid(format!(
                    "auth_type {other:?} is not known; use kubeconfig, bearer_token, client_certificate, service_account, oidc or eks"
                )));
            }
        })
    }

    /// Reads what [`Credential::sealed`] wrote.
    ///
    /// # Errors
    /// It is something else.
    pub fn read(text: &SecretString) -> anyhow::Result<Self> {
        let unreadable = "the stored credential is not readable";
        let mut value: serde_json::Value = serde_json::from_str(text.expose_secret()).context(unreadable)?;
        // Before there was more than one type, none was written.
        if let Some(fields) = value.as_object_mut() {
            fields.entry("auth_type").or_insert_with(|| "kubeconfig".into());
        }
        serde_json::from_value(value).context(unreadable)
    }

    /// The text to be sealed.
    ///
    /// # Errors
    /// It has no form in JSON, which none of these has.
    pub fn sealed(&self) -> anyhow::Result<SecretString> {
        Ok(serde_json::to_string(self)?.into())
    }

    /// The word for it.
    #[must_use]
    pub fn auth_type(&self) -> &'static str {
        match self {
            Self::Kubeconfig { .. } => "kubeconfig",
            Self::BearerToken { .. } => "bearer_token",
            Self::ServiceAccount { .. } => "service_account",
            Self::ClientCertificate { .. } => "client_certificate",
            Self::Oidc { .. } => "oidc",
            Self::Eks { .. } => "eks",
        }
    }

    /// The backend that it makes.
    #[must_use]
    pub fn backend(&self) -> (Backend, Kind) {
        match self {
            Self::Eks { .. } => (Backend::Eks, Kind::Eks),
            _ => (Backend::Kubeconfig, Kind::Kubeconfig),
        }
    }

    /// Opens the way. `tokens` keeps what a provider gives in the place of a refresh token.
    ///
    /// # Errors
    /// What is wrong with the credential, for people.
    pub fn open(self, config: &Config, tokens: Arc<dyn RefreshTokens>) -> Result<Upstream, ApiError> {
        let access = match self {
            Self::Kubeconfig { kubeconfig, context } => Access::Kubeconfig { yaml: kubeconfig.into(), context },
            Self::BearerToken { at, token } | Self::ServiceAccount { at, token } => {
                Access::Token { at: at.into(), token: token.into() }
            }
            Self::ClientCertificate { at, certificate, key } => {
                Access::Certificate { at: at.into(), chain: certificate, key: key.into() }
            }
            Self::Oidc { at, oidc } => Access::Oidc { at: at.into(), client: client(oidc), tokens },
            Self::Eks { at, eks } => Access::Eks {
                at: at.into(),
                cluster: EksCluster { name: eks.cluster_name, region: eks.region },
                environment: AwsEnvironment::new(process_environment()),
            },
        };
        let rules = Rules { files: Externals::Refused, plugins: plugins(config) };
        Upstream::open(access, &rules)
            .map_err(|error| ApiError::invalid(format!("this credential cannot be used: {error}")))
    }
}

fn needed<T>(value: Option<T>, field: &str, auth_type: &str) -> Result<T, ApiError> {
    value.ok_or_else(|| ApiError::invalid(format!("auth_type {auth_type} needs {field}")))
}

impl From<At> for ApiServer {
    fn from(at: At) -> Self {
        Self {
            server: at.server,
            authorities: at.certificate_authority,
            tls_server_name: at.tls_server_name,
            insecure_skip_tls_verify: at.insecure_skip_tls_verify,
        }
    }
}

fn client(oidc: OidcAccess) -> OidcClient {
    OidcClient {
        issuer: oidc.issuer,
        authorities: oidc.issuer_certificate_authority,
        client_id: oidc.client_id,
        client_secret: oidc.client_secret.map(Secret::from),
        scopes: oidc.scopes,
    }
}

/// Whether programs that kubeconfigs name are run.
#[must_use]
pub fn plugins(config: &Config) -> Plugins {
    let credentials = &config.cluster_credentials;
    match credentials.allow_exec_plugins {
        true => Plugins::Allowed { deadline: credentials.exec_timeout.0 },
        false => Plugins::Refused,
    }
}

/// Opens the way to a cluster that was registered through the API.
///
/// # Errors
/// Its credential does not open or cannot be used.
pub async fn open_registered(hub: &Hub, cluster: &Cluster) -> anyhow::Result<()> {
    let credential = Credential::read(&hub.store.credential(cluster.id).await?)?;
    let (_, kind) = credential.backend();
    let tokens = Arc::new(StoredTokens { store: hub.store.clone(), cluster: cluster.id });
    let upstream = credential.open(&hub.config, tokens).map_err(|error| anyhow::anyhow!(error.detail))?;
    hub.backends.set_direct(&cluster.name, kind, upstream);
    Ok(())
}

/// The refresh token of a registered cluster, read from the store each time, since another hub may have renewed it.
struct StoredTokens {
    store: Store,
    cluster: ClusterId,
}

impl StoredTokens {
    async fn read(&self) -> anyhow::Result<Credential> {
        Credential::read(&self.store.credential(self.cluster).await?)
    }

    async fn keep(&self, token: Secret) -> anyhow::Result<()> {
        let mut credential = self.read().await?;
        if let Credential::Oidc { oidc, .. } = &mut credential {
            oidc.refresh_token = Some(token.expose().to_owned());
            self.store.renew_credential(self.cluster, &credential.sealed()?).await?;
        }
        Ok(())
    }
}

impl RefreshTokens for StoredTokens {
    fn current(&self) -> BoxFuture<'_, Result<Option<Secret>, String>> {
        Box::pin(async move {
            match self.read().await.map_err(|error| format!("{error:#}"))? {
                Credential::Oidc { oidc, .. } => Ok(oidc.refresh_token.map(Secret::from)),
                _ => Err("the cluster has another kind of credential now".to_owned()),
            }
        })
    }

    fn rotated(&self, token: Secret) -> BoxFuture<'_, Result<(), String>> {
        Box::pin(async move { self.keep(token).await.map_err(|error| format!("{error:#}")) })
    }
}

/// The refresh token of a credential that is only tried.
pub struct UnsavedTokens(Mutex<Option<Secret>>);

impl UnsavedTokens {
    /// That of the credential, if it has one.
    #[must_use]
    pub fn of(credential: &Credential) -> Arc<Self> {
        let token = match credential {
            Credential::Oidc { oidc, .. } => oidc.refresh_token.clone().map(Secret::from),
            _ => None,
        };
        Arc::new(Self(Mutex::new(token)))
    }
}

impl RefreshTokens for UnsavedTokens {
    fn current(&self) -> BoxFuture<'_, Result<Option<Secret>, String>> {
        Box::pin(async { Ok(self.0.lock().clone()) })
    }

    fn rotated(&self, token: Secret) -> BoxFuture<'_, Result<(), String>> {
        Box::pin(async move {
            *self.0.lock() = Some(token);
            Ok(())
        })
    }
}
