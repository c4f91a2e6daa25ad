//! Trust in an API server, and our certificate for it.
//!
//! Must not know: HTTP.

use std::sync::Arc;

use flotilla_tunnel::pki::AnyCertificate;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

use crate::error::UpstreamError;

/// Whom to trust as the API server.
pub(crate) enum Trust {
    /// The CAs in this PEM, and no other.
    Authorities(Vec<u8>),
    /// The machine's own CAs.
    System,
    /// Anyone (`insecure-skip-tls-verify`).
    Anyone,
}

/// Certificate chain and key, PEM.
pub(crate) struct ClientCertificate {
    pub(crate) chain: Vec<u8>,
    pub(crate) key: zeroize::Zeroizing<Vec<u8>>,
}

/// Client side of TLS towards an API server.
pub(crate) fn client_config(trust: &Trust, client: Option<&ClientCertificate>) -> Result<ClientConfig, UpstreamError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| UpstreamError::invalid(format!("TLS cannot be set up: {error}")))?;
    let builder = match trust {
        Trust::Authorities(pem) => builder.with_root_certificates(roots(certificates("certificate-authority", pem)?)?),
        Trust::System => builder.with_root_certificates(system_roots()?),
        Trust::Anyone => builder.dangerous().with_custom_certificate_verifier(Arc::new(AnyCertificate::default())),
    };
    let mut config = match client {
        None => builder.with_no_client_auth(),
        Some(client) => {
            let chain = certificates("client-certificate", &client.chain)?;
            let key = PrivateKeyDer::from_pem_slice(&client.key)
                .map_err(|_| UpstreamError::credentials("client-key holds no private key in PEM form"))?;
            builder.with_client_auth_cert(chain, key).map_err(|error| {
                UpstreamError::credentials(format!("client-certificate and client-key do not fit together: {error}"))
            })?
        }
    };
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

fn certificates(what: &str, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, UpstreamError> {
    let parsed: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match parsed {
        Ok(list) if !list.is_empty() => Ok(list),
        Ok(_) => Err(UpstreamError::invalid(format!("{what} holds no certificate in PEM form"))),
        Err(error) => Err(UpstreamError::invalid(format!("{what} is not valid PEM: {error}"))),
    }
}

fn roots(list: Vec<CertificateDer<'static>>) -> Result<RootCertStore, UpstreamError> {
    let mut store = RootCertStore::empty();
    for certificate in list {
        store.add(certificate).map_err(|error| {
            UpstreamError::invalid(format!("certificate-authority holds an unusable certificate: {error}"))
        })?;
    }
    Ok(store)
}

fn system_roots() -> Result<RootCertStore, UpstreamError> {
    let mut store = RootCertStore::empty();
    let (added, _) = store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if added == 0 {
        return Err(UpstreamError::invalid(
            "the kubeconfig names no certificate authority and this machine has none either; \
             add certificate-authority-data to the cluster",
        ));
    }
    Ok(store)
}
