//! TLS configurations: rustls on aws-lc-rs, without a process-wide default.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, ServerConfig, SignatureScheme};

use super::PkiError;

/// Which authorities a client believes.
#[derive(Clone, Copy, Debug)]
pub enum Roots<'a> {
    /// Those in a PEM text.
    Pem(&'a str),
    /// Those of the operating system.
    Native,
}

/// TLS for a listener. With `client_ca_pem`, a client may show a certificate of that authority (a wrong one ends the
/// handshake), only TLS 1.3 is spoken, and sessions are not resumed: each connection proves itself anew, so that an
/// expired certificate cannot live on in a ticket.
///
/// # Errors
/// A PEM text holds nothing of use, or certificate and key do not belong together.
pub fn server_config(
    chain_pem: &str,
    key_pem: &str,
    client_ca_pem: Option<&str>,
    alpn: &[&[u8]],
) -> Result<ServerConfig, PkiError> {
    let provider = provider();
    let versions: &[&rustls::SupportedProtocolVersion] =
        if client_ca_pem.is_some() { &[&TLS13] } else { &[&TLS13, &TLS12] };
    let builder = ServerConfig::builder_with_provider(provider.clone()).with_protocol_versions(versions)?;
    let builder = match client_ca_pem {
        Some(pem) => {
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots(pem)?), provider)
                .allow_unauthenticated()
                .build()
                .map_err(|_| PkiError::Pem { what: "client CA" })?;
            builder.with_client_cert_verifier(verifier)
        }
        None => builder.with_no_client_auth(),
    };
    let mut config = builder.with_single_cert(certificates(chain_pem)?, private_key(key_pem)?)?;
    if client_ca_pem.is_some() {
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
    }
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    Ok(config)
}

/// TLS 1.3 for a client, with its own certificate and key if it has them.
///
/// # Errors
/// A PEM text holds nothing of use, or certificate and key do not belong together.
pub fn client_config(
    trusted: Roots<'_>,
    client: Option<(&str, &str)>,
    alpn: &[&[u8]],
) -> Result<ClientConfig, PkiError> {
    let roots = match trusted {
        Roots::Pem(pem) => roots(pem)?,
        Roots::Native => native_roots()?,
    };
    let builder = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])?
        .with_root_certificates(roots);
    let mut config = match client {
        Some((certificate, key)) => builder.with_client_auth_cert(certificates(certificate)?, private_key(key)?)?,
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    Ok(config)
}

/// TLS 1.2 or 1.3 to a proxy that stands between an agent and its hub: it sees nothing but the TLS inside. `None`
/// believes any proxy.
///
/// # Errors
/// A PEM text holds nothing of use, or the system has no roots.
pub fn proxy_client_config(trusted: Option<Roots<'_>>) -> Result<ClientConfig, PkiError> {
    let builder = ClientConfig::builder_with_provider(provider()).with_protocol_versions(&[&TLS13, &TLS12])?;
    let builder = match trusted {
        Some(Roots::Pem(pem)) => builder.with_root_certificates(roots(pem)?),
        Some(Roots::Native) => builder.with_root_certificates(native_roots()?),
        None => builder.dangerous().with_custom_certificate_verifier(Arc::new(AnyCertificate::default())),
    };
    Ok(builder.with_no_client_auth())
}

/// TLS 1.3 that believes any server. Only for fetching the authority's certificate, which a pin then proves: nothing
/// secret may be sent over it and nothing else that comes back may be believed.
///
/// # Errors
/// The TLS library refuses its own defaults.
pub fn pinned_ca_client_config() -> Result<ClientConfig, PkiError> {
    let verifier = Arc::new(AnyCertificate::default());
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

fn certificates(pem: &str) -> Result<Vec<CertificateDer<'static>>, PkiError> {
    let missing = PkiError::Pem { what: "certificate" };
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    match chain {
        Ok(chain) if !chain.is_empty() => Ok(chain),
        _ => Err(missing),
    }
}

fn private_key(pem: &str) -> Result<PrivateKeyDer<'static>, PkiError> {
    PrivateKeyDer::from_pem_slice(pem.as_bytes()).map_err(|_| PkiError::Pem { what: "private key" })
}

fn roots(pem: &str) -> Result<RootCertStore, PkiError> {
    let mut store = RootCertStore::empty();
    for certificate in certificates(pem)? {
        store.add(certificate)?;
    }
    Ok(store)
}

fn native_roots() -> Result<RootCertStore, PkiError> {
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        tracing::warn!(%error, "part of the system's trust store could not be read");
    }
    let mut store = RootCertStore::empty();
    store.add_parsable_certificates(found.certs);
    if store.is_empty() {
        return Err(PkiError::NoNativeRoots);
    }
    Ok(store)
}

/// Believes any certificate, but still demands proof that the server holds its key. Whoever uses it says so loudly.
#[derive(Debug)]
pub struct AnyCertificate {
    provider: Arc<CryptoProvider>,
}

impl Default for AnyCertificate {
    fn default() -> Self {
        Self { provider: provider() }
    }
}

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
