//! Certificates of a test cluster: one authority, and whatever it signs. ECDSA P-256 throughout, made in a millisecond.

use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};

/// A certificate authority, kept in memory.
pub struct Authority {
    certificate: String,
    key: String,
    issuer: Issuer<'static, KeyPair>,
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Authority").finish_non_exhaustive()
    }
}

/// A certificate and its private key, both PEM.
#[derive(Clone)]
pub struct KeyAndCertificate {
    /// The certificate.
    pub certificate: String,
    /// The private key, PKCS#8.
    pub key: String,
}

impl std::fmt::Debug for KeyAndCertificate {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("KeyAndCertificate").finish_non_exhaustive()
    }
}

impl Authority {
    /// A new authority called `name`.
    ///
    /// # Errors
    /// The cryptography library failed.
    pub fn new(name: &str) -> Result<Self> {
        let mut params = CertificateParams::new(Vec::new())?;
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages =
            vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
        let key = KeyPair::generate()?;
        let certificate = params.self_signed(&key)?.pem();
        Ok(Self { certificate, key: key.serialize_pem(), issuer: Issuer::new(params, key) })
    }

    /// The authority's certificate, PEM.
    #[must_use]
    pub fn certificate(&self) -> &str {
        &self.certificate
    }

    pub(crate) fn key(&self) -> &str {
        &self.key
    }

    /// A certificate for servers and clients alike. To Kubernetes `name` is the user and `group` its group; `hosts` are
    /// DNS names and addresses.
    ///
    /// # Errors
    /// A host that is neither, or the cryptography library failed.
    pub fn issue(&self, name: &str, group: Option<&str>, hosts: &[&str]) -> Result<KeyAndCertificate> {
        let hosts: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
        let mut params = CertificateParams::new(hosts).context("hosts of a certificate")?;
        params.distinguished_name.push(DnType::CommonName, name);
        if let Some(group) = group {
            params.distinguished_name.push(DnType::OrganizationName, group);
        }
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?.pem();
        Ok(KeyAndCertificate { certificate, key: key.serialize_pem() })
    }
}

/// A folder with PEM files.
#[derive(Debug)]
pub(crate) struct PemDir(PathBuf);

impl PemDir {
    pub(crate) fn create(path: PathBuf) -> Result<Self> {
        fs::create_dir_all(&path).with_context(|| format!("create {}", path.display()))?;
        Ok(Self(path))
    }

    pub(crate) fn path(&self, file: &str) -> PathBuf {
        self.0.join(file)
    }

    /// Writes `<name>.crt` and `<name>.key`.
    pub(crate) fn write_pair(&self, name: &str, pair: &KeyAndCertificate) -> Result<()> {
        write_private(&self.path(&format!("{name}.crt")), &pair.certificate)?;
        write_private(&self.path(&format!("{name}.key")), &pair.key)
    }

    /// Writes the authority, and the key pair with which the cluster signs service account tokens.
    pub(crate) fn write_authority(&self, authority: &Authority) -> Result<()> {
        write_private(&self.path("ca.crt"), authority.certificate())?;
        write_private(&self.path("ca.key"), authority.key())?;
        let tokens = KeyPair::generate()?;
        write_private(&self.path("sa.pub"), &tokens.public_key_pem())?;
        write_private(&self.path("sa.key"), &tokens.serialize_pem())
    }
}

/// Writes a file that only its owner reads.
pub(crate) fn write_private(path: &Path, content: &str) -> Result<()> {
    fs::File::options()
        .create(true)
        .write(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
        .and_then(|mut file| file.write_all(content.as_bytes()))
        .with_context(|| format!("write {}", path.display()))
}
