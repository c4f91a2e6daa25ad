//! The calls that come before the tunnel.

use std::sync::Arc;

use flotilla_tunnel::carrier::DialError;
use flotilla_tunnel::enrol::{self, EnrolError};
use flotilla_tunnel::pki::{self, Roots};
use serde_json::{Value, json};

use crate::support::{Hub, Pki, soon};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_pin_of_a_token_proves_the_authority_which_then_proves_the_hub() {
    let hub = Hub::start().await;
    let fetched = soon("the CA", enrol::fetch_ca(&hub.target(), &hub.pki.ca.pin())).await.unwrap();
    assert_eq!(pki::pin_of(&der(&fetched)), hub.pki.ca.pin());
    let tls = Arc::new(pki::client_config(Roots::Pem(&fetched), None, &[]).unwrap());
    let sent = json!({ "token": "t", "cluster": "eu-1" });
    let answer: Value =
        soon("the answer", enrol::post_json(&hub.target(), tls, "/api/agents/register", &sent)).await.unwrap();
    assert_eq!(answer, sent);
}

fn der(pem: &str) -> Vec<u8> {
    use rustls::pki_types::pem::PemObject;
    rustls::pki_types::CertificateDer::from_pem_slice(pem.as_bytes()).unwrap().to_vec()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_authority_than_the_pinned_one_is_refused() {
    let hub = Hub::start().await;
    let pin = Pki::new().ca.pin();
    let refused = soon("the CA", enrol::fetch_ca(&hub.target(), &pin)).await;
    assert!(matches!(refused, Err(EnrolError::PinMismatch)), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_carries_status_and_detail() {
    let hub = Hub::start().await;
    let roots = Roots::Pem(hub.pki.ca.certificate_pem());
    let tls = Arc::new(pki::client_config(roots, None, &[]).unwrap());
    let refused = soon("the answer", enrol::get_json::<Value>(&hub.target(), tls, "/nowhere")).await;
    let error = refused.unwrap_err();
    let refusal = error.refusal().unwrap();
    assert_eq!(refusal.status, 403);
    assert_eq!(refusal.detail, "the token is not valid");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_of_another_shape_is_an_error() {
    let hub = Hub::start().await;
    let roots = Roots::Pem(hub.pki.ca.certificate_pem());
    let tls = Arc::new(pki::client_config(roots, None, &[]).unwrap());
    let target = hub.target();
    let answer = enrol::get_json::<Value>(&target, tls, "/api/agents/ca");
    assert!(matches!(soon("the answer", answer).await, Err(EnrolError::Malformed(_))));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_posted_to_a_hub_that_is_not_trusted() {
    let hub = Hub::start().await;
    let other = Pki::new();
    let roots = Roots::Pem(other.ca.certificate_pem());
    let tls = Arc::new(pki::client_config(roots, None, &[]).unwrap());
    let sent = json!({ "token": "secret" });
    let target = hub.target();
    let answer = enrol::post_json::<_, Value>(&target, tls, "/api/agents/register", &sent);
    let refused = soon("the answer", answer).await;
    assert!(matches!(refused, Err(EnrolError::Dial(DialError::Tls { .. }))), "{refused:?}");
}
