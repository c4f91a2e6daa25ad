//! Tests of `pki`: what is issued, what is refused.

use std::sync::Arc;

use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::*;

const HOUR: Duration = Duration::from_secs(3600);
const URI: &str = "flotilla:agent:0192";

fn authority() -> CertificateAuthority {
    CertificateAuthority::generate("Flotilla test CA").unwrap()
}

fn issue(ca: &CertificateAuthority, name: &str) -> (IssuedClient, zeroize::Zeroizing<String>) {
    let (csr, key) = new_csr(name).unwrap();
    (ca.issue_client(&csr, name, URI, HOUR).unwrap(), key)
}

#[test]
fn a_client_certificate_says_what_was_asked_of_the_authority() {
    let ca = authority();
    let (issued, _) = issue(&ca, "eu-1");
    let peer = peer_identity(&first_certificate(&issued.certificate_pem).unwrap()).unwrap();
    assert_eq!(peer.common_name, "eu-1");
    assert_eq!(peer.uri.as_deref(), Some(URI));
    assert_eq!(peer.serial, issued.serial);
    assert_eq!(peer.not_after, issued.not_after);
    let life = peer.not_after.duration_since(SystemTime::now()).unwrap();
    assert!(life <= HOUR && life > HOUR - Duration::from_secs(600), "{life:?}");
    assert_ne!(issue(&ca, "eu-1").0.serial, issued.serial);
}

#[test]
fn a_request_for_another_name_is_refused() {
    let (csr, _) = new_csr("eu-2").unwrap();
    let refused = authority().issue_client(&csr, "eu-1", URI, HOUR);
    assert!(matches!(refused, Err(PkiError::WrongName { expected }) if expected == "eu-1"));
}

#[test]
fn a_tampered_request_is_refused() {
    let (csr, _) = new_csr("eu-2").unwrap();
    let body: String = csr.lines().filter(|line| !line.starts_with("-----")).collect();
    let mut der = STANDARD.decode(body).unwrap();
    let at = der.windows(4).position(|bytes| bytes == b"eu-2").unwrap();
    der[at + 3] = b'1';
    let tampered =
        format!("-----BEGIN CERTIFICATE REQUEST-----\n{}\n-----END CERTIFICATE REQUEST-----\n", STANDARD.encode(der));
    let refused = authority().issue_client(&tampered, "eu-1", URI, HOUR);
    assert!(matches!(refused, Err(PkiError::InvalidRequest)), "{refused:?}");
}

#[test]
fn nonsense_is_refused() {
    let ca = authority();
    let long = format!("{}{}", new_csr("a").unwrap().0, " ".repeat(64 * 1024));
    for csr in ["", "-----BEGIN CERTIFICATE REQUEST-----", ca.certificate_pem(), &long] {
        let refused = ca.issue_client(csr, "a", URI, HOUR);
        assert!(matches!(refused, Err(PkiError::InvalidRequest)), "{refused:?}");
    }
}

/// A request may ask for the moon: to be an authority, to serve, to have other names.
#[test]
fn nothing_but_the_key_is_taken_from_a_request() {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(vec!["hub.example".to_owned()]).unwrap();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(rcgen::DnType::CommonName, "eu-1");
    params.distinguished_name.push(rcgen::DnType::OrganizationName, "system:masters");
    params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
    let csr = params.serialize_request(&key).unwrap().pem().unwrap();
    let issued = authority().issue_client(&csr, "eu-1", URI, HOUR).unwrap();
    let der = first_certificate(&issued.certificate_pem).unwrap();
    let (_, certificate) = X509Certificate::from_der(&der).unwrap();
    assert!(!certificate.is_ca());
    assert_eq!(certificate.subject().to_string(), "CN=eu-1");
    let usage = certificate.extended_key_usage().unwrap().unwrap().value;
    assert!(usage.client_auth && !usage.server_auth && !usage.any);
    let names = &certificate.subject_alternative_name().unwrap().unwrap().value.general_names;
    assert!(matches!(names.as_slice(), [GeneralName::URI(uri)] if *uri == URI), "{names:?}");
}

#[test]
fn an_authority_is_taken_up_again_with_the_same_pin() {
    let ca = authority();
    let again = CertificateAuthority::from_pem(ca.certificate_pem(), &ca.key_pem()).unwrap();
    assert_eq!(again.pin(), ca.pin());
    assert_eq!(ca.pin(), pin_of(&first_certificate(ca.certificate_pem()).unwrap()));
    let other = authority();
    let mixed = CertificateAuthority::from_pem(ca.certificate_pem(), &other.key_pem());
    assert!(matches!(mixed, Err(PkiError::KeyMismatch)));
}

/// Client and server talk; what the server saw of the client, or why they did not.
async fn talk(
    server: rustls::ServerConfig,
    client: rustls::ClientConfig,
) -> Result<Option<PeerIdentity>, std::io::Error> {
    let (near, far) = tokio::io::duplex(1 << 16);
    let accepting = async {
        let mut stream = TlsAcceptor::from(Arc::new(server)).accept(far).await?;
        let peer = stream.get_ref().1.peer_certificates().map(|chain| peer_identity(&chain[0]).unwrap());
        stream.write_all(b"hello").await?;
        stream.shutdown().await?;
        Ok(peer)
    };
    let connecting = async {
        let name = ServerName::try_from("hub.example").unwrap();
        let mut stream = TlsConnector::from(Arc::new(client)).connect(name, near).await?;
        let mut hello = String::new();
        stream.read_to_string(&mut hello).await?;
        assert_eq!(hello, "hello");
        Ok::<_, std::io::Error>(())
    };
    let (accepted, connected) = tokio::join!(accepting, connecting);
    connected.and(accepted)
}

fn server(ca: &CertificateAuthority, client_ca: &CertificateAuthority) -> rustls::ServerConfig {
    let names = ["hub.example".to_owned(), "127.0.0.1".to_owned()];
    let issued = ca.issue_server(&names, HOUR).unwrap();
    server_config(&issued.chain_pem, &issued.key_pem, Some(client_ca.certificate_pem()), &[]).unwrap()
}

#[tokio::test]
async fn an_agent_and_its_hub_trust_each_other() {
    let ca = authority();
    let (issued, key) = issue(&ca, "eu-1");
    let roots = Roots::Pem(ca.certificate_pem());
    let client = client_config(roots, Some((&issued.certificate_pem, &key)), &[]).unwrap();
    let seen = talk(server(&ca, &ca), client).await.unwrap().unwrap();
    assert_eq!(seen.common_name, "eu-1");
    let anonymous = client_config(roots, None, &[]).unwrap();
    assert_eq!(talk(server(&ca, &ca), anonymous).await.unwrap(), None);
}

#[tokio::test]
async fn certificates_of_another_authority_end_the_handshake() {
    let (ca, other) = (authority(), authority());
    let (foreign, key) = issue(&other, "eu-1");
    let roots = Roots::Pem(ca.certificate_pem());
    let client = client_config(roots, Some((&foreign.certificate_pem, &key)), &[]).unwrap();
    assert!(talk(server(&ca, &ca), client).await.is_err(), "a foreign client");
    let client = client_config(roots, None, &[]).unwrap();
    assert!(talk(server(&other, &ca), client).await.is_err(), "a foreign server");
    let unverified = pinned_ca_client_config().unwrap();
    assert!(talk(server(&other, &ca), unverified).await.is_ok(), "the fetch that a pin proves");
}

#[tokio::test]
async fn an_expired_certificate_ends_the_handshake() {
    let ca = authority();
    let (csr, key) = new_csr("eu-1").unwrap();
    let issued = ca.issue_client(&csr, "eu-1", URI, Duration::ZERO).unwrap();
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    let roots = Roots::Pem(ca.certificate_pem());
    let client = client_config(roots, Some((&issued.certificate_pem, &key)), &[]).unwrap();
    assert!(talk(server(&ca, &ca), client).await.is_err());
}

#[test]
fn pem_is_written_as_it_is_read() {
    let ca = authority();
    let der = first_certificate(ca.certificate_pem()).unwrap();
    assert_eq!(first_certificate(&certificate_to_pem(&der)).unwrap(), der);
}

#[test]
fn texts_without_certificates_or_keys_are_errors() {
    let ca = authority();
    let issued = ca.issue_server(&["a".to_owned()], HOUR).unwrap();
    assert!(server_config("", &issued.key_pem, None, &[]).is_err());
    assert!(server_config(&issued.chain_pem, "", None, &[]).is_err());
    assert!(server_config(&issued.chain_pem, &ca.key_pem(), None, &[]).is_err(), "another's key");
    assert!(client_config(Roots::Pem("nothing"), None, &[]).is_err());
}
