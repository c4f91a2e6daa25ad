//! Making and signing certificates.

use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use aws_lc_rs::rand;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName, DnType, DnValue,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384,
    PKCS_ED25519, PublicKeyData, SanType, SerialNumber,
};
use x509_parser::prelude::{FromDer, X509Certificate};
use zeroize::Zeroizing;

use super::{PkiError, first_certificate, hexadecimal, pin_of};

/// How long the authority itself lives. Replacing it means enrolling every agent again.
const AUTHORITY_LIFE: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);

/// Certificates begin this long before they are made, for clocks that are behind.
const CLOCK_SKEW: Duration = Duration::from_secs(5 * 60);

/// A certificate request that is longer asks for something that we do not give.
const MAX_REQUEST: usize = 16 * 1024;

/// The hub's own authority: ECDSA P-256.
pub struct CertificateAuthority {
    issuer: Issuer<'static, KeyPair>,
    certificate_pem: String,
    pin: String,
}

/// A server certificate with its key.
pub struct IssuedServer {
    /// The certificate, then the authority's.
    pub chain_pem: String,
    /// PKCS #8.
    pub key_pem: Zeroizing<String>,
    /// When it ends.
    pub not_after: SystemTime,
}

/// A client certificate for a key that its owner kept.
#[derive(Clone, Debug)]
pub struct IssuedClient {
    /// The certificate.
    pub certificate_pem: String,
    /// Lower-case hexadecimal.
    pub serial: String,
    /// When it ends.
    pub not_after: SystemTime,
}

impl CertificateAuthority {
    /// Makes a new authority.
    ///
    /// # Errors
    /// Key or certificate could not be made.
    pub fn generate(common_name: &str) -> Result<Self, PkiError> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let mut params = params(common_name, AUTHORITY_LIFE)?.params;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = params.self_signed(&key)?;
        Ok(Self {
            certificate_pem: certificate.pem(),
            pin: pin_of(certificate.der()),
            issuer: Issuer::new(params, key),
        })
    }

    /// Takes up an authority that was made before.
    ///
    /// # Errors
    /// Either does not parse, or they do not belong together.
    pub fn from_pem(certificate_pem: &str, key_pem: &str) -> Result<Self, PkiError> {
        let key = KeyPair::from_pem(key_pem).map_err(|_| PkiError::Pem { what: "private key" })?;
        let der = first_certificate(certificate_pem)?;
        let (_, parsed) = X509Certificate::from_der(&der).map_err(|_| PkiError::MalformedCertificate)?;
        if parsed.public_key().subject_public_key.data.as_ref() != key.public_key_raw() {
            return Err(PkiError::KeyMismatch);
        }
        Ok(Self {
            certificate_pem: certificate_pem.to_owned(),
            pin: pin_of(&der),
            issuer: Issuer::from_ca_cert_der(&der, key)?,
        })
    }

    /// The authority's certificate.
    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// The authority's private key, PKCS #8. To be kept where only the hub can read it.
    pub fn key_pem(&self) -> Zeroizing<String> {
        Zeroizing::new(self.issuer.key().serialize_pem())
    }

    /// Base64url of the SHA-256 of the certificate's DER.
    pub fn pin(&self) -> String {
        self.pin.clone()
    }

    /// Issues a server certificate for DNS names and IP addresses.
    ///
    /// # Errors
    /// A name is neither, or the certificate could not be made.
    pub fn issue_server(&self, names: &[String], ttl: Duration) -> Result<IssuedServer, PkiError> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let mut leaf = params(names.first().map_or("flotilla", String::as_str), ttl)?;
        leaf.params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        for name in names {
            leaf.params.subject_alt_names.push(match name.parse::<IpAddr>() {
                Ok(address) => SanType::IpAddress(address),
                Err(_) => SanType::DnsName(name.as_str().try_into()?),
            });
        }
        let certificate = leaf.params.signed_by(&key, &self.issuer)?;
        Ok(IssuedServer {
            chain_pem: format!("{}{}", certificate.pem(), self.certificate_pem),
            key_pem: Zeroizing::new(key.serialize_pem()),
            not_after: leaf.not_after,
        })
    }

    /// Issues a client certificate. Of the request only the key is taken; name, URI, usage and life are the caller's.
    ///
    /// # Errors
    /// The request is malformed, is not signed by its own key, or has another common name than `common_name`.
    pub fn issue_client(
        &self,
        csr_pem: &str,
        common_name: &str,
        uri: &str,
        ttl: Duration,
    ) -> Result<IssuedClient, PkiError> {
        let key = verified_key(csr_pem, common_name)?;
        let mut leaf = params(common_name, ttl)?;
        leaf.params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        leaf.params.subject_alt_names = vec![SanType::URI(uri.try_into()?)];
        let certificate = leaf.params.signed_by(&key, &self.issuer)?;
        Ok(IssuedClient { certificate_pem: certificate.pem(), serial: leaf.serial, not_after: leaf.not_after })
    }
}

/// Makes a P-256 key and a request for a certificate for it: (request, key), both PEM.
///
/// # Errors
/// Key or request could not be made.
pub fn new_csr(common_name: &str) -> Result<(String, Zeroizing<String>), PkiError> {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let mut params = CertificateParams::default();
    params.distinguished_name = named(common_name);
    let request = params.serialize_request(&key)?.pem()?;
    Ok((request, Zeroizing::new(key.serialize_pem())))
}

/// The key of a request whose signature and name are right.
fn verified_key(csr_pem: &str, common_name: &str) -> Result<impl PublicKeyData + use<>, PkiError> {
    if csr_pem.len() > MAX_REQUEST {
        return Err(PkiError::InvalidRequest);
    }
    let request = CertificateSigningRequestParams::from_pem(csr_pem).map_err(|_| PkiError::InvalidRequest)?;
    let named = match request.params.distinguished_name.get(&DnType::CommonName) {
        Some(DnValue::Utf8String(name)) => name == common_name,
        Some(DnValue::PrintableString(name)) => name.as_str() == common_name,
        Some(DnValue::Ia5String(name)) => name.as_str() == common_name,
        _ => false,
    };
    if !named {
        return Err(PkiError::WrongName { expected: common_name.to_owned() });
    }
    let accepted = [&PKCS_ECDSA_P256_SHA256, &PKCS_ECDSA_P384_SHA384, &PKCS_ED25519];
    if !accepted.contains(&request.public_key.algorithm()) {
        return Err(PkiError::UnsupportedKey);
    }
    Ok(request.public_key)
}

struct Leaf {
    params: CertificateParams,
    serial: String,
    not_after: SystemTime,
}

fn params(common_name: &str, ttl: Duration) -> Result<Leaf, PkiError> {
    let mut serial = [0_u8; 16];
    rand::fill(&mut serial).map_err(|_| PkiError::NoRandomness)?;
    // Positive and of full length, so that DER neither prepends nor drops a byte.
    serial[0] = serial[0] & 0x7f | 0x40;
    let now = whole_seconds(SystemTime::now());
    let not_after = now + ttl;
    let mut params = CertificateParams::default();
    params.distinguished_name = named(common_name);
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    params.not_before = (now - CLOCK_SKEW).into();
    params.not_after = not_after.into();
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.use_authority_key_identifier_extension = true;
    Ok(Leaf { params, serial: hexadecimal(&serial), not_after })
}

/// X.509 times have no fractions of a second.
fn whole_seconds(time: SystemTime) -> SystemTime {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    SystemTime::UNIX_EPOCH + Duration::from_secs(since.as_secs())
}

fn named(common_name: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common_name);
    name
}
