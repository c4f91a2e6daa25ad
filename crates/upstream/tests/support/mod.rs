//! Small HTTP servers, plain and with TLS, that answer by a function.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Request, Response, Uri};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rustls::pki_types::PrivateKeyDer;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// A request with its whole body.
pub(crate) struct Seen {
    uri: Uri,
    headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Seen {
    pub(crate) fn path(&self) -> &str {
        self.uri.path()
    }
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

/// What to answer.
pub(crate) struct Answer(u16, String);

impl Answer {
    pub(crate) fn json(status: u16, body: &serde_json::Value) -> Self {
        Self(status, body.to_string())
    }
    pub(crate) fn text(status: u16, body: &str) -> Self {
        Self(status, body.to_owned())
    }
}

type Answers = Arc<dyn Fn(&Seen) -> Answer + Send + Sync>;

/// Plain HTTP; its address as `http://host:port`, which the function gets, too.
pub(crate) async fn serve(answers: impl Fn(&Seen, &str) -> Answer + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let own = url.clone();
    let answers: Answers = Arc::new(move |seen: &Seen| answers(seen, &own));
    tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            tokio::spawn(connection(tcp, answers.clone()));
        }
    });
    url
}

/// HTTPS with a certificate of nobody.
pub(crate) async fn serve_tls(answers: impl Fn(&Seen) -> Answer + Send + Sync + 'static) -> SocketAddr {
    let own = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(own.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![own.cert.der().clone()], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let answers: Answers = Arc::new(answers);
    tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            let (acceptor, answers) = (acceptor.clone(), answers.clone());
            tokio::spawn(async move {
                if let Ok(tls) = acceptor.accept(tcp).await {
                    connection(tls, answers).await;
                }
            });
        }
    });
    address
}

async fn connection<IO: AsyncRead + AsyncWrite + Unpin + Send + 'static>(io: IO, answers: Answers) {
    let service = service_fn(move |request: Request<Incoming>| {
        let answers = answers.clone();
        async move {
            let (parts, body) = request.into_parts();
            let body = body.collect().await.unwrap().to_bytes();
            let Answer(status, text) = answers(&Seen { uri: parts.uri, headers: parts.headers, body });
            let response = Response::builder().status(status).body(Full::new(Bytes::from(text))).unwrap();
            Ok::<_, Infallible>(response)
        }
    });
    let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(io), service).await;
}
