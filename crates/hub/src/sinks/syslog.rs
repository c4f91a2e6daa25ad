//! Rows as syslog messages (RFC 5424) with the row as JSON: in datagrams (RFC 5426), over TCP with octet counting
//! (RFC 6587), or over TLS (RFC 5425).
//!
//! Syslog has no acknowledgement. What was written to a connection that breaks may be lost in spite of the position that
//! moves on; over TCP and TLS the connection is looked at before each batch, which finds a receiver that has left.
//!
//! Must not know: when to try again.

use std::sync::Arc;

use anyhow::{Context, Result, bail};
use flotilla_types::audit::{AuditRow, Outcome};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket, UnixDatagram};
use tokio_rustls::TlsConnector;

use super::Destination;
use crate::config::Sink;

/// "log audit" (RFC 5424 section 6.2.1, numerical code 13).
const FACILITY: u8 = 13;
/// Largest datagram that is sent; RFC 5426 section 3.2 lets receivers cut longer ones.
const MAX_DATAGRAM: usize = 65_000;

trait Connection: AsyncRead + AsyncWrite + Send + Sync + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Sync + Unpin> Connection for T {}

pub(super) struct Syslog {
    destination: Destination,
    host: String,
    tls: Option<TlsConnector>,
    stream: Option<Box<dyn Connection>>,
}

impl Syslog {
    pub(super) fn new(destination: Destination, sink: &Sink) -> Result<Self> {
        let tls = matches!(destination, Destination::Tls(_)).then(|| connector(sink)).transpose()?;
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        Ok(Self { destination, host: field(host.trim(), 255), tls, stream: None })
    }

    pub(super) async fn deliver(&mut self, rows: &[AuditRow]) -> Result<()> {
        let messages = rows.iter().map(|row| message(row, &self.host)).collect::<Result<Vec<_>>>()?;
        match &self.destination {
            Destination::Udp(address) => {
                let socket = UdpSocket::bind(if address.starts_with('[') { "[::]:0" } else { "0.0.0.0:0" }).await?;
                socket.connect(address).await.with_context(|| format!("{address} is no address"))?;
                for message in &messages {
                    socket.send(cut(message)).await?;
                }
                Ok(())
            }
            Destination::Unix(path) => {
                let socket = UnixDatagram::unbound()?;
                socket.connect(path).with_context(|| format!("nobody listens at {path}"))?;
                for message in &messages {
                    socket.send(cut(message)).await?;
                }
                Ok(())
            }
            _ => self.stream(&messages).await,
        }
    }

    async fn stream(&mut self, messages: &[String]) -> Result<()> {
        let mut stream = match self.stream.take() {
            Some(stream) => still_open(stream).await,
            None => None,
        };
        if stream.is_none() {
            stream = Some(self.connect().await?);
        }
        let Some(mut stream) = stream else { bail!("there is no connection") };
        let mut frames = String::new();
        for message in messages {
            // Octet counting, RFC 6587 section 3.4.1.
            frames.push_str(&format!("{} {message}", message.len()));
        }
        stream.write_all(frames.as_bytes()).await?;
        stream.flush().await?;
        self.stream = Some(stream);
        Ok(())
    }

    async fn connect(&self) -> Result<Box<dyn Connection>> {
        let (Destination::Tcp(address) | Destination::Tls(address)) = &self.destination else {
            bail!("datagrams need no connection");
        };
        let stream = TcpStream::connect(address).await.with_context(|| format!("{address} cannot be reached"))?;
        let Some(tls) = &self.tls else { return Ok(Box::new(stream)) };
        let host = address.rsplit_once(':').map_or(address.as_str(), |(host, _)| host).trim_matches(['[', ']']);
        let name = ServerName::try_from(host.to_owned()).context("the host is no name")?;
        Ok(Box::new(tls.connect(name, stream).await.context("the receiver's certificate is not believed")?))
    }
}

/// A receiver never says anything: if something can be read, it is the end.
async fn still_open(mut stream: Box<dyn Connection>) -> Option<Box<dyn Connection>> {
    let mut byte = [0];
    let read = tokio::time::timeout(std::time::Duration::from_millis(1), stream.read(&mut byte)).await;
    match read {
        Err(_) | Ok(Ok(1)) => Some(stream),
        Ok(_) => None,
    }
}

fn connector(sink: &Sink) -> Result<TlsConnector> {
    let mut roots = RootCertStore::empty();
    match &sink.ca_file {
        Some(path) => {
            let certificates = CertificateDer::pem_file_iter(path);
            for certificate in certificates.with_context(|| format!("ca_file {} cannot be read", path.display()))? {
                roots.add(certificate?)?;
            }
        }
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(TlsConnector::from(Arc::new(config.with_root_certificates(roots).with_no_client_auth())))
}

/// `<PRI>1 TIMESTAMP HOSTNAME APP-NAME PROCID MSGID SD MSG` (RFC 5424 section 6).
fn message(row: &AuditRow, host: &str) -> Result<String> {
    let severity = match row.outcome {
        Outcome::Attempted | Outcome::Succeeded => 5,
        Outcome::Failed | Outcome::Denied | Outcome::Aborted => 4,
    };
    let priority = FACILITY * 8 + severity;
    let (time, verb) = (row.time, field(&row.verb, 32));
    Ok(format!("<{priority}>1 {time} {host} flotilla - {verb} - {}", serde_json::to_string(row)?))
}

/// A header field: printable ASCII without spaces, or `-`.
fn field(text: &str, most: usize) -> String {
    let kept: String = text.chars().filter(char::is_ascii_graphic).take(most).collect();
    if kept.is_empty() { "-".to_owned() } else { kept }
}

fn cut(message: &str) -> &[u8] {
    let end = if message.len() > MAX_DATAGRAM { message.floor_char_boundary(MAX_DATAGRAM) } else { message.len() };
    &message.as_bytes()[..end]
}

#[cfg(test)]
mod tests {
    use flotilla_types::audit::{Actor, Target};
    use flotilla_types::id::{AuditId, RequestId};
    use flotilla_types::time::from_ms;
    use tokio::net::TcpListener;

    use super::*;

    fn row(seq: i64, outcome: Outcome) -> AuditRow {
        AuditRow {
            id: AuditId::new(),
            seq,
            attempt_id: None,
            time: from_ms(1_700_000_000_123),
            request_id: RequestId::new(),
            route: String::new(),
            actor: Actor::default(),
            verb: "delete".into(),
            outcome,
            target: Target::default(),
            command: "delete pods ä".into(),
            reason: String::new(),
            status: 0,
            bytes: 0,
            duration_ms: 0,
            diff: None,
            run: String::new(),
            hash: String::new(),
        }
    }

    #[test]
    fn messages_are_those_of_rfc_5424() {
        let row = row(1, Outcome::Denied);
        let text = message(&row, "hub-1").unwrap();
        let (head, json) = text.split_at(text.find('{').unwrap());
        assert_eq!(head, "<108>1 2023-11-14T22:13:20.123Z hub-1 flotilla - delete - ");
        assert_eq!(serde_json::from_str::<AuditRow>(json).unwrap(), row);
        assert_eq!(field("a b\u{7}ä", 9), "ab");
        assert_eq!(field("", 9), "-");
    }

    /// Reads one frame of RFC 6587.
    async fn frame(stream: &mut TcpStream) -> String {
        let mut length = String::new();
        loop {
            match stream.read_u8().await.unwrap() {
                b' ' => break,
                digit => length.push(char::from(digit)),
            }
        }
        let mut text = vec![0; length.parse().unwrap()];
        stream.read_exact(&mut text).await.unwrap();
        String::from_utf8(text).unwrap()
    }

    #[tokio::test]
    async fn frames_are_counted_and_a_receiver_that_left_is_called_again() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("tcp://{}", listener.local_addr().unwrap());
        let sink = Sink { name: "s".into(), url, secret: None, ca_file: None };
        let mut syslog = Syslog::new(Destination::parse(&sink).unwrap(), &sink).unwrap();
        for round in 0..2 {
            let rows = [row(2 * round, Outcome::Attempted), row(2 * round + 1, Outcome::Succeeded)];
            let (sent, received) = tokio::join!(syslog.deliver(&rows), async {
                let (mut stream, _) = listener.accept().await.unwrap();
                [frame(&mut stream).await, frame(&mut stream).await]
            });
            sent.unwrap();
            for (text, row) in received.iter().zip(&rows) {
                assert!(text.ends_with(&serde_json::to_string(row).unwrap()), "{text}");
            }
            // The stream was dropped: the receiver has left.
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    }

    #[tokio::test]
    async fn datagrams_hold_one_message_each() {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let url = format!("udp://{}", socket.local_addr().unwrap());
        let sink = Sink { name: "s".into(), url, secret: None, ca_file: None };
        let mut syslog = Syslog::new(Destination::parse(&sink).unwrap(), &sink).unwrap();
        let rows = [row(1, Outcome::Attempted), row(2, Outcome::Failed)];
        syslog.deliver(&rows).await.unwrap();
        let mut buffer = vec![0; 65_536];
        for row in &rows {
            let length = socket.recv(&mut buffer).await.unwrap();
            let text = std::str::from_utf8(&buffer[..length]).unwrap();
            assert!(text.ends_with(&serde_json::to_string(row).unwrap()), "{text}");
        }
    }
}
