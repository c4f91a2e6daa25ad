//! A hub behind something that terminates TLS and lets only a WebSocket through.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use bytes::Bytes;
use flotilla_tunnel::carrier::{self, CONNECT_PATH, DialError, Target};
use flotilla_tunnel::dial::{DialConfig, DialState, run};
use flotilla_tunnel::enrol::{self, EnrolError};
use flotilla_tunnel::pki::{self, Roots};
use flotilla_tunnel::websocket::{self, Socket};
use flotilla_tunnel::{Body, Lane, body};
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::support::{Hub, Manners, Pki, get, handler, own_address, soon, until};

/// Stands for proxy and people's listener in one: nothing of the outer TLS reaches the hub.
struct Front {
    pki: Pki,
    address: SocketAddr,
    /// Answers this instead, when it is not 0.
    status: Arc<AtomicU16>,
    listening: JoinHandle<()>,
}

impl Front {
    async fn of(hub: &Hub) -> Self {
        let pki = Pki::new();
        let listener = TcpListener::bind((own_address(), 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let hub = hub.named(address).await;
        let acceptor = TlsAcceptor::from(Arc::new(pki.server(address, &[b"http/1.1"])));
        let status = Arc::new(AtomicU16::new(0));
        let answered = Arc::clone(&status);
        let listening = tokio::spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                let (acceptor, status) = (acceptor.clone(), Arc::clone(&answered));
                tokio::spawn(async move {
                    let Ok(stream) = acceptor.accept(tcp).await else { return };
                    assert!(stream.get_ref().1.peer_certificates().is_none(), "the certificate is for the hub");
                    let service = service_fn(move |request| pass(request, hub, status.load(Ordering::Relaxed)));
                    let server = hyper::server::conn::http1::Builder::new();
                    let _ = server.serve_connection(TokioIo::new(stream), service).with_upgrades().await;
                });
            }
        });
        Self { pki, address, status, listening }
    }

    fn target(&self) -> Target {
        let tls = pki::proxy_client_config(Some(Roots::Pem(self.pki.ca.certificate_pem()))).unwrap();
        Target::behind_proxy(&format!("wss://{}", self.address), &tls).unwrap()
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

async fn pass(mut request: Request<Incoming>, hub: SocketAddr, status: u16) -> Result<Response<Body>, Infallible> {
    let mut response = Response::new(body::empty());
    if let Ok(status) = StatusCode::from_u16(status) {
        *response.status_mut() = status;
        return Ok(response);
    }
    assert_eq!(request.uri().path(), CONNECT_PATH);
    *response.headers_mut() = websocket::accept(request.headers()).unwrap();
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let upgraded = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        let mut near = Socket::server(TokioIo::new(upgraded.await.unwrap())).await;
        let mut far = TcpStream::connect(hub).await.unwrap();
        let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
    });
    Ok(response)
}

async fn dial(target: &Target, tls: &ClientConfig, lane: Lane) -> Result<(), DialError> {
    Box::pin(carrier::dial(target, tls, lane)).await.map(drop)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_an_agent_does_goes_through() {
    for http1_only in [false, true] {
        let hub = Hub::with(Manners { http1_only, ..Manners::default() }).await;
        let front = Front::of(&hub).await;
        let target = front.target();
        let ca = soon("the CA", enrol::fetch_ca(&target, &hub.pki.ca.pin())).await.unwrap();
        let tls = Arc::new(pki::client_config(Roots::Pem(&ca), None, &[]).unwrap());
        let sent = json!({ "token": "t" });
        let answer: Value =
            soon("the answer", enrol::post_json(&target, tls, "/api/agents/register", &sent)).await.unwrap();
        assert_eq!(answer, sent);

        let echo = handler(|request: Request<Incoming>| async { Response::new(body::boxed(request.into_body())) });
        let shutdown = CancellationToken::new();
        let config = DialConfig::new(target, hub.pki.agent("eu-1", Uuid::now_v7()));
        let config = tokio::sync::watch::Sender::new(config);
        let running = tokio::spawn(run(config.subscribe(), echo, DialState::new(), shutdown.clone()));
        until("both lanes are up", || hub.registry.connections().len() == 2).await;
        let large = Bytes::from(vec![7; 5_000_000]);
        for lane in [Lane::Interactive, Lane::Bulk] {
            let connection = hub.registry.pick("eu-1", lane).unwrap();
            let request = get("/").map(|_| body::full(large.clone()));
            let answer = soon("an answer", connection.send(request)).await.unwrap();
            assert!(soon("its body", answer.into_body().collect()).await.unwrap().to_bytes() == large);
        }
        shutdown.cancel();
        soon("it stops", running).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_front_that_is_the_hub_only_in_name_learns_nothing() {
    let (hub, liar) = (Hub::start().await, Hub::start().await);
    let (front, other) = (Front::of(&hub).await, Front::of(&liar).await);
    let roots = Roots::Pem(hub.pki.ca.certificate_pem());
    let tls = Arc::new(pki::client_config(roots, None, &[]).unwrap());
    let refused = soon("the dial", dial(&other.target(), &tls, Lane::Bulk)).await;
    assert!(matches!(refused, Err(DialError::Tls { .. })), "{refused:?}");
    let pinned = soon("the CA", enrol::fetch_ca(&other.target(), &hub.pki.ca.pin())).await;
    assert!(matches!(pinned, Err(EnrolError::PinMismatch)), "{pinned:?}");

    // And a front that is not trusted does not even hear of the hub.
    let proxy = pki::proxy_client_config(Some(Roots::Pem(hub.pki.ca.certificate_pem()))).unwrap();
    let target = Target::behind_proxy(&format!("wss://{}", front.address), &proxy).unwrap();
    let refused = soon("the dial", dial(&target, &tls, Lane::Bulk)).await;
    assert!(matches!(&refused, Err(error @ DialError::ProxyTls { .. }) if error.is_refusal()), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_front_without_its_hub_counts_as_away_and_one_that_forbids_as_a_refusal() {
    let hub = Hub::start().await;
    let front = Front::of(&hub).await;
    let tls = hub.pki.agent("eu-1", Uuid::now_v7());
    for (status, is_refusal) in [(502, false), (503, false), (504, false), (403, true), (200, true), (404, true)] {
        front.status.store(status, Ordering::Relaxed);
        let refused = soon("the dial", dial(&front.target(), &tls, Lane::Bulk)).await.unwrap_err();
        assert!(matches!(&refused, DialError::Refused(refusal) if refusal.status == status), "{refused:?}");
        assert_eq!(refused.is_refusal(), is_refusal, "{refused}");
    }
}
