//! One small HTTPS request at a time, to ask an API server how it is. Starting kubectl for each such question would
//! cost more than the answer.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::pki::{Authority, KeyAndCertificate};

/// No answer takes longer when all is well.
const TIMEOUT: Duration = Duration::from_secs(5);

/// A client of one API server on loopback, with a client certificate.
#[derive(Clone, Debug)]
pub(crate) struct Probe {
    port: u16,
    config: Arc<ClientConfig>,
}

impl Probe {
    pub(crate) fn new(port: u16, authority: &Authority, client: &KeyAndCertificate) -> Result<Self> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(authority.certificate().as_bytes())?)?;
        let chain = vec![CertificateDer::from_pem_slice(client.certificate.as_bytes())?];
        let key = PrivateKeyDer::from_pem_slice(client.key.as_bytes())?;
        // Named, because which provider is the process's default is the caller's business.
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, key)?;
        Ok(Self { port, config: Arc::new(config) })
    }

    /// The status code and the body of `GET path`.
    pub(crate) fn get(&self, path: &str) -> Result<(u16, String)> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, self.port));
        let socket = TcpStream::connect_timeout(&address, TIMEOUT)?;
        socket.set_read_timeout(Some(TIMEOUT))?;
        socket.set_write_timeout(Some(TIMEOUT))?;
        let name = ServerName::from(std::net::IpAddr::from(Ipv4Addr::LOCALHOST));
        let mut stream = StreamOwned::new(ClientConnection::new(Arc::clone(&self.config), name)?, socket);
        // HTTP/1.0: the answer is not chunked and ends with the connection.
        write!(stream, "GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n")?;
        let mut answer = Vec::new();
        match stream.read_to_end(&mut answer) {
            Err(error) if error.kind() != ErrorKind::UnexpectedEof => return Err(error.into()),
            _ => {}
        }
        parse(&String::from_utf8_lossy(&answer))
    }

    /// Whether `GET path` answers 200.
    pub(crate) fn is_ok(&self, path: &str) -> Result<bool> {
        let (status, body) = self.get(path)?;
        anyhow::ensure!(status == 200, "{path} answers {status}: {}", body.trim_end());
        Ok(true)
    }
}

/// The status code of `GET path` over plain HTTP on loopback.
pub(crate) fn get_plain(port: u16, path: &str) -> Result<u16> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let mut stream = TcpStream::connect_timeout(&address, TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: 127.0.0.1:{port}\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    parse(&String::from_utf8_lossy(&answer)).map(|(status, _)| status)
}

fn parse(answer: &str) -> Result<(u16, String)> {
    let (head, body) = answer.split_once("\r\n\r\n").context("an answer without an end of its headers")?;
    let status = head.split(' ').nth(1).context("an answer without a status line")?;
    Ok((status.parse()?, body.to_owned()))
}
