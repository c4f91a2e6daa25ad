//! The hub's certificate authority, what it signs, and the TLS configurations that rest on it.
//!
//! The authority signs two things: the hub's own server certificate, and agents' client certificates. An agent's key
//! never leaves the agent: it sends a certificate request, of which nothing is believed but that the sender holds the
//! key.
//!
//! Must not know: which names may be issued to whom.

mod authority;
mod tls;

#[cfg(test)]
mod tests;

use std::time::{Duration, SystemTime};

use aws_lc_rs::digest;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

pub use authority::{CertificateAuthority, IssuedClient, IssuedServer, new_csr};
pub use tls::{AnyCertificate, Roots, client_config, pinned_ca_client_config, proxy_client_config, server_config};

/// What can be wrong with keys, certificates and requests.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PkiError {
    /// Not PEM, or PEM of something else.
    #[error("no {what} in PEM form was found")]
    Pem {
        /// What was looked for.
        what: &'static str,
    },
    /// A certificate that does not parse.
    #[error("the certificate is malformed")]
    MalformedCertificate,
    /// The certificate request is malformed, too long, or not signed by the key in it.
    #[error("the certificate request is malformed or its signature is wrong")]
    InvalidRequest,
    /// The request's key is of a kind that is not accepted.
    #[error("the certificate request's key must be ECDSA P-256, ECDSA P-384 or Ed25519")]
    UnsupportedKey,
    /// The certificate request is for another name.
    #[error("the certificate request is for another name than `{expected}`")]
    WrongName {
        /// The name that it should have had.
        expected: String,
    },
    /// Certificate and key do not belong together.
    #[error("the private key does not belong to the certificate")]
    KeyMismatch,
    /// The system's random number generator failed.
    #[error("the system's random number generator failed")]
    NoRandomness,
    /// Making or signing a certificate failed.
    #[error("the certificate could not be made")]
    Issue(#[from] rcgen::Error),
    /// The TLS library does not accept what it was given.
    #[error("the TLS configuration is not usable")]
    Tls(#[from] rustls::Error),
    /// No certificate of the system's trust store could be read.
    #[error("the system's trust store is empty: name a CA file")]
    NoNativeRoots,
}

/// Who a certificate says the peer is. Says nothing of whether it is to be trusted: TLS has seen to that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerIdentity {
    /// Subject common name.
    pub common_name: String,
    /// First URI among the subject's alternative names.
    pub uri: Option<String>,
    /// Lower-case hexadecimal.
    pub serial: String,
    /// When it ends.
    pub not_after: SystemTime,
}

/// Reads a peer's certificate.
///
/// # Errors
/// It does not parse, or has no common name.
pub fn peer_identity(certificate: &CertificateDer<'_>) -> Result<PeerIdentity, PkiError> {
    let (_, parsed) = X509Certificate::from_der(certificate).map_err(|_| PkiError::MalformedCertificate)?;
    let common_name = parsed
        .subject()
        .iter_common_name()
        .next()
        .and_then(|name| name.as_str().ok())
        .ok_or(PkiError::MalformedCertificate)?;
    let names = parsed
        .subject_alternative_name()
        .map_err(|_| PkiError::MalformedCertificate)?
        .map(|extension| extension.value.general_names.as_slice())
        .unwrap_or_default();
    let uri = names.iter().find_map(|name| match name {
        GeneralName::URI(uri) => Some((*uri).to_owned()),
        _ => None,
    });
    Ok(PeerIdentity {
        common_name: common_name.to_owned(),
        uri,
        serial: hexadecimal(parsed.raw_serial()),
        not_after: at(parsed.validity().not_after.timestamp()),
    })
}

/// Base64url of the SHA-256 of a certificate's DER.
pub fn pin_of(der: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, der))
}

/// First certificate in a PEM text.
pub(crate) fn first_certificate(pem: &str) -> Result<CertificateDer<'static>, PkiError> {
    CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|_| PkiError::Pem { what: "certificate" })
}

/// A certificate as PEM.
pub(crate) fn certificate_to_pem(der: &CertificateDer<'_>) -> String {
    let body = base64::engine::general_purpose::STANDARD.encode(der);
    let mut pem = String::from("-----BEGIN CERTIFICATE-----\n");
    for line in body.as_bytes().chunks(64) {
        pem.extend(line.iter().map(|&byte| char::from(byte)));
        pem.push('\n');
    }
    pem.push_str("-----END CERTIFICATE-----\n");
    pem
}

fn at(seconds: i64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds.max(0).unsigned_abs())
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
