//! First contact: which certificate authority speaks for a hub.
//!
//! A hub that the system trusts needs nothing. A hub with a CA of its own is trusted after its fingerprint was
//! compared (by the person, or with `--ca-fingerprint`), after its CA came in a file, or when it answers on
//! this machine's loopback. From then on only that CA is believed for that hub.
//!
//! Must not know: credentials. None are sent before this is done.

use std::path::PathBuf;

use flotilla_types::api::PublicConfig;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use crate::digest;
use crate::error::{CliError, Doing};
use crate::hub_client::{Call, CallError, Transport, Trust};
use crate::hub_url::HubUrl;
use crate::terminal;

/// How the person vouches for a hub's own CA.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct Vouching {
    /// Trust this CA (PEM) for the hub, and no other
    #[arg(long, value_name = "FILE", conflicts_with = "ca_fingerprint")]
    pub(crate) ca_file: Option<PathBuf>,

    /// Trust the hub's own CA if it has this SHA-256 fingerprint; the hub prints it when it starts
    #[arg(long, value_name = "sha256:HEX", value_parser = parse_fingerprint)]
    pub(crate) ca_fingerprint: Option<String>,
}

/// `sha256:` and 64 digits, also in capitals and with colons between; the answer is the digits.
fn parse_fingerprint(text: &str) -> Result<String, String> {
    let lower = text.trim().to_lowercase();
    let digits: String = lower.strip_prefix("sha256:").unwrap_or(&lower).chars().filter(|c| *c != ':').collect();
    if digits.len() == 64 && digits.chars().all(|c| c.is_ascii_hexdigit()) {
        Ok(digits)
    } else {
        Err("use sha256: and 64 hexadecimal digits".to_owned())
    }
}

/// SHA-256 of the first certificate's DER, hexadecimal.
fn fingerprint(pem: &str) -> Result<String, CliError> {
    let der = CertificateDer::from_pem_slice(pem.as_bytes()).doing("read the hub's CA certificate")?;
    Ok(digest::sha256_hex(&der))
}

/// Finds out whom to believe: a CA to remember, or `None` for the system's.
///
/// # Errors
/// When the hub cannot be reached or is not to be trusted; nothing is remembered then.
pub(crate) async fn establish(
    hub: &HubUrl,
    remembered: Option<String>,
    vouching: &Vouching,
) -> Result<Option<String>, CliError> {
    if let Some(path) = &vouching.ca_file {
        let pem = std::fs::read_to_string(path).doing(format!("read {}", path.display()))?;
        fingerprint(&pem)?;
        return checked(hub, pem).await.map(Some);
    }
    if hub.is_plain() {
        // Whoever answers on loopback is on this machine; there is no way on which to be deceived.
        return Ok(public_config(hub, &Trust::System).await?.ca);
    }
    if let Some(wanted) = &vouching.ca_fingerprint {
        let pem = announced(hub).await?;
        let found = fingerprint(&pem)?;
        if found != *wanted {
            return Err(CliError::general(format!(
                "the CA of {hub} has the fingerprint sha256:{found}, not the one you gave"
            ))
            .hint("somebody may be in between: do not sign in before you know why"));
        }
        return checked(hub, pem).await.map(Some);
    }
    match public_config(hub, &Trust::remembered(remembered.as_deref())).await {
        Ok(_) => Ok(remembered),
        Err(CallError::Certificate { reason, .. }) if remembered.is_some() => Err(changed(hub, &reason)),
        Err(CallError::Certificate { reason, .. }) => ask(hub, &reason).await.map(Some),
        Err(error) => Err(error.into()),
    }
}

/// Asks the person about a CA that nothing vouches for yet.
async fn ask(hub: &HubUrl, reason: &str) -> Result<String, CliError> {
    let pem = announced(hub).await?;
    let found = fingerprint(&pem)?;
    let untrusted = CliError::general(format!("the certificate of {hub} is not trusted: {reason}"));
    if !terminal::interactive() {
        return Err(untrusted.hint(format!(
            "its CA has the fingerprint sha256:{found}; compare it with what the hub printed at its start, then pass it as --ca-fingerprint"
        )));
    }
    terminal::note(&format!("{hub} has a certificate authority of its own, with the fingerprint"));
    terminal::note(&format!("  sha256:{found}"));
    terminal::note("Compare it with what the hub printed when it started.");
    if !terminal::confirm("Trust it for this hub")? {
        return Err(untrusted.hint("nothing was sent and nothing remembered"));
    }
    checked(hub, pem).await
}

/// The CA that the hub itself announces, over a connection that proves nothing.
async fn announced(hub: &HubUrl) -> Result<String, CliError> {
    let config = public_config(hub, &Trust::Anyone).await?;
    config.ca.ok_or_else(|| {
        CliError::general(format!("{hub} announces no CA of its own"))
            .hint("get the CA that signed its certificate and pass it as --ca-file")
    })
}

/// `pem`, if the hub's certificate really comes from it.
async fn checked(hub: &HubUrl, pem: String) -> Result<String, CliError> {
    match public_config(hub, &Trust::Only(pem.clone())).await {
        Ok(_) => Ok(pem),
        Err(CallError::Certificate { reason, .. }) => {
            Err(CliError::general(format!("the certificate of {hub} does not come from that CA: {reason}"))
                .hint("check the address: the certificate must name its host"))
        }
        Err(error) => Err(error.into()),
    }
}

async fn public_config(hub: &HubUrl, trust: &Trust) -> Result<PublicConfig, CallError> {
    let strange = |error: CliError| CallError::Strange { hub: hub.to_string(), reason: error.to_string() };
    let transport = Transport::new(hub, trust).map_err(strange)?;
    Ok(transport.call(&Call::get(&["api", "config"]), None).await?.body)
}

fn changed(hub: &HubUrl, reason: &str) -> CliError {
    CliError::general(format!("the certificate of {hub} does not come from the CA that you trusted for it: {reason}"))
        .hint("if the hub was set up anew, pass the fingerprint that it prints at its start: flotilla login --ca-fingerprint sha256:...")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fingerprints_in_every_spelling() {
        let digits = "ab".repeat(32);
        let colons = vec!["AB"; 32].join(":");
        for text in [digits.clone(), format!("sha256:{digits}"), colons.clone(), format!("SHA256:{colons}")] {
            assert_eq!(parse_fingerprint(&text).as_deref(), Ok(digits.as_str()), "{text}");
        }
        for text in ["", "sha256:", "sha256:ab", &"zz".repeat(32), &"ab".repeat(33)] {
            assert!(parse_fingerprint(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_no_certificate_has_no_fingerprint() {
        assert!(fingerprint("-----BEGIN NONSENSE-----").is_err());
    }
}
