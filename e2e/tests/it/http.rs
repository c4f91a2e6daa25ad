//! HTTP as bytes: requests that no well-behaved client would send, and answers as they came.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use flotilla_harness::HubProcess;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::{Value, json};

/// Nothing here may take longer unless a test says so.
const LIMIT: Duration = Duration::from_secs(60);

/// A TLS connection to the hub.
pub(crate) type Stream = StreamOwned<ClientConnection, TcpStream>;

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    head: String,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("no JSON ({error}): {} {}", self.head, self.text()))
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let is_it = |line: &&str| line.split(':').next().is_some_and(|key| key.eq_ignore_ascii_case(name));
        self.head.lines().find(is_it)?.split_once(':').map(|(_, value)| value.trim())
    }

    /// A Kubernetes `Status` with this code; its message.
    #[track_caller]
    pub(crate) fn kubernetes_status(&self, code: u16) -> String {
        let status = self.json();
        assert_eq!((self.status, &status["kind"], &status["code"]), (code, &json!("Status"), &json!(code)), "{status}");
        status["message"].as_str().unwrap_or_default().to_owned()
    }
}

/// One person's raw access to the people's listener.
#[derive(Clone)]
pub(crate) struct Api {
    pub(crate) port: u16,
    /// Of this machine, from which it calls.
    from: Ipv4Addr,
    tls: Arc<ClientConfig>,
    pub(crate) token: Option<String>,
}

impl Api {
    /// Without a token.
    pub(crate) fn anonymous(hub: &HubProcess) -> Self {
        Self { port: hub.people_port, from: Ipv4Addr::LOCALHOST, tls: Arc::new(tls(&hub.ca_path(), None)), token: None }
    }

    /// With the token of the session that `user` has on the command line. Logins are throttled; this is none.
    pub(crate) fn of(hub: &HubProcess, user: &str) -> Self {
        let credential: Value = serde_json::from_str(&hub.flotilla_ok(user, &["credential"]).unwrap()).unwrap();
        Self::anonymous(hub).with_token(credential["status"]["token"].as_str().unwrap())
    }

    /// The administrator.
    pub(crate) fn admin(hub: &HubProcess) -> Self {
        Self::of(hub, "admin")
    }

    /// With a token of a session of its own. Few of these: logins are throttled.
    pub(crate) fn signed_in(&self, email: &str, password: &str) -> Self {
        let answer = self.post("/auth/login", &json!({"email": email, "password": password}));
        assert_eq!(answer.status, 200, "{}", answer.text());
        self.with_token(answer.json()["token"].as_str().unwrap())
    }

    pub(crate) fn with_token(&self, token: &str) -> Self {
        Self { token: Some(token.to_owned()), ..self.clone() }
    }

    /// From another loopback address.
    pub(crate) fn calling_from(&self, from: Ipv4Addr) -> Self {
        Self { from, ..self.clone() }
    }

    /// At something with a certificate of another CA.
    pub(crate) fn trusting(&self, ca: &std::path::Path) -> Self {
        Self { tls: Arc::new(tls(ca, None)), ..self.clone() }
    }

    /// The other listener, the agents'.
    pub(crate) fn at(&self, port: u16) -> Self {
        Self { port, ..self.clone() }
    }

    pub(crate) fn get(&self, target: &str) -> Answer {
        self.send("GET", target, &[], "")
    }

    pub(crate) fn post(&self, target: &str, body: &Value) -> Answer {
        self.send("POST", target, &[("Content-Type", "application/json")], &body.to_string())
    }

    /// A request on a connection of its own.
    pub(crate) fn send(&self, method: &str, target: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        self.try_send(method, target, headers, body).unwrap_or_else(|error| panic!("{method} {target:.200}: {error}"))
    }

    pub(crate) fn try_send(
        &self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> std::io::Result<Answer> {
        let mut stream = self.begin(method, target, headers, body)?;
        read_answer(&mut stream)
    }

    /// Sends a request and leaves the answer unread.
    pub(crate) fn begin(
        &self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> std::io::Result<Stream> {
        let mut stream = self.connect()?;
        let mut head = format!("{method} {target} HTTP/1.1\r\nHost: localhost:{}\r\nConnection: close\r\n", self.port);
        if let Some(token) = &self.token {
            head.push_str(&format!("Authorization: Bearer {token}\r\n"));
        }
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str(&format!("Content-Length: {}\r\n\r\n{body}", body.len()));
        // A server that has seen enough answers and closes before it has read everything.
        let sent = stream.write_all(head.as_bytes()).and_then(|()| stream.flush());
        match sent {
            Err(error) if head.len() < 60_000 => Err(error),
            _ => Ok(stream),
        }
    }

    /// A connection.
    pub(crate) fn connect(&self) -> std::io::Result<Stream> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
        let socket = runtime.block_on(async {
            let socket = tokio::net::TcpSocket::new_v4()?;
            socket.bind((self.from, 0).into())?;
            socket.connect((Ipv4Addr::LOCALHOST, self.port).into()).await?.into_std()
        })?;
        socket.set_nonblocking(false)?;
        socket.set_read_timeout(Some(LIMIT))?;
        socket.set_write_timeout(Some(LIMIT))?;
        let name = ServerName::try_from("localhost").unwrap();
        Ok(StreamOwned::new(ClientConnection::new(Arc::clone(&self.tls), name).unwrap(), socket))
    }
}

/// TLS that trusts only the CA in `ca`, with a client certificate if there is one (chain and key, PEM).
pub(crate) fn tls(ca: &std::path::Path, client: Option<(&str, &str)>) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(ca).expect("the hub's CA")).unwrap();
    let builder = ClientConfig::builder().with_root_certificates(roots);
    let Some((chain, key)) = client else { return builder.with_no_client_auth() };
    let chain = CertificateDer::pem_slice_iter(chain.as_bytes()).collect::<Result<_, _>>().unwrap();
    builder.with_client_auth_cert(chain, PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap()).unwrap()
}

/// Reads to the end of the connection.
pub(crate) fn read_answer(stream: &mut impl Read) -> std::io::Result<Answer> {
    let mut bytes = Vec::new();
    let ended = stream.read_to_end(&mut bytes);
    let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else {
        ended?;
        return Err(std::io::Error::new(std::io::ErrorKind::UnexpectedEof, "no answer"));
    };
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let status = head.split(' ').nth(1).and_then(|word| word.parse().ok()).unwrap_or_default();
    let chunked = head.to_ascii_lowercase().contains("transfer-encoding: chunked");
    let body = if chunked { unchunked(&bytes[end + 4..]) } else { bytes[end + 4..].to_vec() };
    Ok(Answer { status, head, body })
}

fn unchunked(mut bytes: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    while let Some(end) = bytes.windows(2).position(|window| window == b"\r\n") {
        let size = usize::from_str_radix(std::str::from_utf8(&bytes[..end]).unwrap_or_default(), 16).unwrap_or(0);
        if size == 0 || bytes.len() < end + 2 + size {
            break;
        }
        body.extend_from_slice(&bytes[end + 2..end + 2 + size]);
        bytes = bytes.get(end + 4 + size..).unwrap_or_default();
    }
    body
}
