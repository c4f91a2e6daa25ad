//! The hub's listener for agents: enrolment, renewal, keys, heartbeats. What is said there, not when.
//!
//! Must not know: the tunnel's requests, Kubernetes.

use std::sync::Arc;

use anyhow::Context as _;
use flotilla_settings::Secret;
use flotilla_tunnel::carrier::Target;
use flotilla_tunnel::dial::DialConfig;
use flotilla_tunnel::enrol::{self, EnrolError};
use flotilla_tunnel::pki::AnyCertificate;
use flotilla_tunnel::pki::{self, Roots};
use flotilla_tunnel::token::EnrolmentToken;
use flotilla_types::agent::{Enrolment, RegisterRequest, RenewRequest};
use rustls::ClientConfig;
use serde_json::{Map, Value};
use tokio::sync::watch;

use crate::config::Config;
use crate::state::Stored;
use crate::verify::KeySource;

/// The hub and how it is told from others.
#[derive(Clone)]
pub(crate) struct Hub {
    target: Target,
    trust: Trust,
}

#[derive(Clone)]
enum Trust {
    /// The hub's own CA: the token's pin at first, then the one kept with the enrolment.
    Enrolment,
    /// CAs of `tls.ca_file`, PEM.
    File(Arc<str>),
    /// `tls.insecure`.
    Anyone,
}

impl Hub {
    /// Reads what the settings say of the hub.
    pub(crate) fn new(config: &Config) -> anyhow::Result<Self> {
        if config.central.is_behind_proxy() {
            let target = Target::behind_proxy(&config.central.url, &proxy_tls(config)?).context("`central.url`")?;
            // Inside the WebSocket the hub proves itself as it does everywhere; `tls` speaks of the proxy.
            return Ok(Self { target, trust: Trust::Enrolment });
        }
        let target = config.central.url.parse().context("`central.url`")?;
        let trust = match &config.tls.ca_file {
            _ if config.tls.insecure => Trust::Anyone,
            None => Trust::Enrolment,
            Some(path) => {
                let pem = std::fs::read_to_string(path)
                    .with_context(|| format!("cannot read `tls.ca_file` {}", path.display()))?;
                pki::client_config(Roots::Pem(&pem), None, &[])
                    .with_context(|| format!("`tls.ca_file` {}", path.display()))?;
                Trust::File(pem.into())
            }
        };
        Ok(Self { target, trust })
    }

    /// Trades a token for a certificate.
    pub(crate) async fn enrol(
        &self,
        token: &Secret,
        cluster: &str,
        metadata: Map<String, Value>,
    ) -> Result<Stored, HubError> {
        let parsed = EnrolmentToken::parse(token.expose()).map_err(|error| HubError::Other(error.into()))?;
        let tls = self.tls_without_certificate(&parsed).await?;
        let (csr, key) = pki::new_csr(cluster).map_err(EnrolError::from)?;
        let request =
            RegisterRequest { token: token.expose().trim().to_owned(), cluster: cluster.to_owned(), csr, metadata };
        let enrolment: Enrolment = enrol::post_json(&self.target, tls, "/api/agents/register", &request).await?;
        self.usable(Stored::new(cluster, enrolment, key, token_hash(&parsed)))
    }

    /// Trades a certificate that still holds for a new one, with a new key.
    pub(crate) async fn renew(&self, stored: &Stored) -> Result<Stored, HubError> {
        let (csr, key) = pki::new_csr(&stored.cluster).map_err(EnrolError::from)?;
        let tls = self.tls(stored)?;
        let enrolment: Enrolment =
            enrol::post_json(&self.target, tls, "/api/agents/renew", &RenewRequest { csr }).await?;
        self.usable(Stored::new(&stored.cluster, enrolment, key, stored.token_hash.clone()))
    }

    /// How to dial with an enrolment.
    pub(crate) fn dial_config(&self, stored: &Stored) -> Result<DialConfig, HubError> {
        Ok(DialConfig::new(self.target.clone(), self.tls(stored)?))
    }

    /// A certificate that does not fit its key must not replace one that does.
    fn usable(&self, stored: Stored) -> Result<Stored, HubError> {
        self.tls(&stored)?;
        Ok(stored)
    }

    fn tls(&self, stored: &Stored) -> Result<Arc<ClientConfig>, HubError> {
        let client = Some((stored.enrolment.certificate.as_str(), stored.key.as_str()));
        let trusted = match &self.trust {
            Trust::File(pem) => pem,
            Trust::Enrolment | Trust::Anyone => stored.enrolment.ca.as_str(),
        };
        let mut tls = pki::client_config(Roots::Pem(trusted), client, &[b"http/1.1"]).map_err(EnrolError::from)?;
        if matches!(self.trust, Trust::Anyone) {
            tls.dangerous().set_certificate_verifier(Arc::new(AnyCertificate::default()));
        }
        Ok(Arc::new(tls))
    }

    async fn tls_without_certificate(&self, token: &EnrolmentToken) -> Result<Arc<ClientConfig>, HubError> {
        let authorities = match &self.trust {
            Trust::File(pem) => pem.to_string(),
            Trust::Enrolment => enrol::fetch_ca(&self.target, token.pin()).await?,
            Trust::Anyone => return Ok(Arc::new(pki::pinned_ca_client_config().map_err(EnrolError::from)?)),
        };
        let tls = pki::client_config(Roots::Pem(&authorities), None, &[b"http/1.1"]).map_err(EnrolError::from)?;
        Ok(Arc::new(tls))
    }
}

/// TLS to the proxy of a `wss://` address.
fn proxy_tls(config: &Config) -> anyhow::Result<ClientConfig> {
    let tls = match &config.tls.ca_file {
        _ if config.tls.insecure => pki::proxy_client_config(None),
        None => pki::proxy_client_config(Some(Roots::Native)),
        Some(path) => {
            let pem = std::fs::read_to_string(path)
                .with_context(|| format!("cannot read `tls.ca_file` {}", path.display()))?;
            pki::proxy_client_config(Some(Roots::Pem(&pem)))
        }
    };
    tls.context("the proxy's CA: give it as `tls.ca_file`")
}

/// What the file keeps of a token: enough to know it again, useless for enrolling (256 random bits, hashed).
pub(crate) fn token_hash(token: &EnrolmentToken) -> String {
    token.secret_hash().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Why the hub gave no certificate.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HubError {
    /// From the wire.
    #[error(transparent)]
    Call(#[from] EnrolError),
    /// From our own side.
    #[error(transparent)]
    Other(anyhow::Error),
}

impl HubError {
    /// Whether asking again soon is pointless, because hub or token are the wrong ones.
    pub(crate) fn is_final(&self) -> bool {
        match self {
            Self::Call(error) => {
                error.refusal().is_some_and(|refusal| !refusal.may_pass()) || matches!(error, EnrolError::PinMismatch)
            }
            Self::Other(_) => true,
        }
    }
}

/// An error with its causes, on one line.
pub(crate) fn one_line(error: impl std::error::Error + Send + Sync + 'static) -> String {
    format!("{:#}", anyhow::Error::new(error)).replace('\n', " ")
}

/// Calls with whatever certificate holds at the moment.
#[derive(Clone)]
pub(crate) struct Session {
    dial: watch::Receiver<DialConfig>,
}

impl Session {
    pub(crate) fn new(dial: watch::Receiver<DialConfig>) -> Self {
        Self { dial }
    }

    /// Says that we live, and what we know of the cluster.
    pub(crate) fn heartbeat(
        &self,
        metadata: Map<String, Value>,
    ) -> impl Future<Output = Result<(), EnrolError>> + Send + use<> {
        let (target, tls) = self.current();
        async move {
            match enrol::post_json::<_, serde::de::IgnoredAny>(&target, tls, "/api/agents/heartbeat", &metadata).await {
                // The hub answers 204: there is nothing to parse.
                Ok(_) | Err(EnrolError::Malformed(_)) => Ok(()),
                Err(error) => Err(error),
            }
        }
    }

    fn current(&self) -> (Target, Arc<ClientConfig>) {
        let dial = self.dial.borrow();
        (dial.target.clone(), Arc::clone(&dial.tls))
    }
}

impl KeySource for Session {
    async fn fetch(&self) -> anyhow::Result<Value> {
        let (target, tls) = self.current();
        Ok(enrol::get_json(&target, tls, "/.well-known/jwks.json").await?)
    }
}
