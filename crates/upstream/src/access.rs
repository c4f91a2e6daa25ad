//! The ways to be somebody at an API server, and what each comes down to.
//!
//! Must not know: requests, where any of this is kept.

use std::sync::Arc;

use flotilla_settings::Secret;
use zeroize::Zeroizing;

use crate::client::{Endpoint, Upstream};
use crate::credentials::Credentials;
use crate::eks::{AwsEnvironment, Eks, EksCluster};
use crate::error::UpstreamError;
use crate::exec::Plugins;
use crate::kubeconfig::{self, Externals};
use crate::oidc::{Oidc, OidcClient, RefreshTokens};
use crate::renewed::Renewed;
use crate::tls::{ClientCertificate, Trust};

/// Where an API server is and how to know it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ApiServer {
    /// `https://host:port`, perhaps with a path.
    pub server: String,
    /// Its CAs, PEM; the machine's own when left out.
    pub authorities: Option<String>,
    /// The name in its certificate, when it is not the host's.
    pub tls_server_name: Option<String>,
    /// Trust anyone who answers there. Never with credentials that matter.
    pub insecure_skip_tls_verify: bool,
}

/// A way to be somebody at an API server.
pub enum Access {
    /// A kubeconfig's context (its `current-context` when `None`).
    Kubeconfig {
        /// The file's text.
        yaml: Secret,
        /// Context in it.
        context: Option<String>,
    },
    /// A bearer token, for example a service account's.
    Token {
        /// The API server.
        at: ApiServer,
        /// The token.
        token: Secret,
    },
    /// A client certificate.
    Certificate {
        /// The API server.
        at: ApiServer,
        /// Certificate chain, PEM.
        chain: String,
        /// Its key, PEM.
        key: Secret,
    },
    /// Tokens of an `OpenID` provider.
    Oidc {
        /// The API server.
        at: ApiServer,
        /// The hub's account at the provider.
        client: OidcClient,
        /// Keeps the refresh token.
        tokens: Arc<dyn RefreshTokens>,
    },
    /// Amazon EKS with the hub's own AWS role.
    Eks {
        /// The API server.
        at: ApiServer,
        /// The cluster at EKS.
        cluster: EksCluster,
        /// Where the role is found.
        environment: AwsEnvironment,
    },
}

/// What a kubeconfig may do on this machine.
#[derive(Clone, Debug)]
pub struct Rules {
    /// Whether it may name files.
    pub files: Externals,
    /// Whether programs that it names are run.
    pub plugins: Plugins,
}

impl Upstream {
    /// The API server that an access leads to.
    ///
    /// # Errors
    /// [`UpstreamError::Invalid`] or [`UpstreamError::Credentials`], with what to write instead.
    pub fn open(access: Access, rules: &Rules) -> Result<Self, UpstreamError> {
        let (at, certificate, credentials) = match access {
            Access::Kubeconfig { yaml, context } => {
                return Self::new(kubeconfig::endpoint(
                    yaml.expose(),
                    context.as_deref(),
                    &rules.files,
                    rules.plugins,
                )?);
            }
            Access::Token { at, token } => {
                let token = token.expose().trim().to_owned().into();
                (at, None, Credentials::bearer(&token)?)
            }
            Access::Certificate { at, chain, key } => {
                let key = Zeroizing::new(key.expose().as_bytes().to_vec());
                (at, Some(ClientCertificate { chain: chain.into_bytes(), key }), Credentials::None)
            }
            Access::Oidc { at, client, tokens } => {
                (at, None, Credentials::Renewed(Renewed::new(Oidc::new(client, tokens)?)))
            }
            Access::Eks { at, cluster, environment } => {
                (at, None, Credentials::Renewed(Renewed::new(Eks::new(cluster, &environment)?)))
            }
        };
        Self::new(endpoint(at, certificate, credentials)?)
    }
}

fn endpoint(
    at: ApiServer,
    certificate: Option<ClientCertificate>,
    credentials: Credentials,
) -> Result<Endpoint, UpstreamError> {
    let trust = match (at.authorities.filter(|pem| !pem.trim().is_empty()), at.insecure_skip_tls_verify) {
        (Some(_), true) => {
            return Err(UpstreamError::invalid("give a certificate authority or insecure-skip-tls-verify, not both"));
        }
        (Some(pem), false) => Trust::Authorities(pem.into_bytes()),
        (None, true) => Trust::Anyone,
        (None, false) => Trust::System,
    };
    let server_name = at.tls_server_name.filter(|name| !name.is_empty());
    Ok(Endpoint { server: at.server, trust, server_name, certificate, credentials })
}
