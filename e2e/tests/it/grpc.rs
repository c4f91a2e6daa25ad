//! gRPC `AgentService` with its generated client.

/// What `cargo xtask codegen` makes for the hub; its client half is for everyone.
#[path = "../../../crates/hub/src/grpc/proto.rs"]
#[allow(dead_code, missing_docs, unreachable_pub, clippy::all, clippy::pedantic, reason = "generated")]
#[rustfmt::skip]
mod proto;

use std::time::{Duration, Instant};

use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use proto::agent_service_client::AgentServiceClient;
use proto::{CommandRequest, HeartbeatRequest, RegisterRequest};
use serde_json::Value;
use tonic::{Code, Request, Status};

use crate::bed::{CLUSTER, Stand, bed};
use crate::http::{Api, tls};

type Channel = Client<HttpsConnector<HttpConnector>, tonic::body::Body>;

/// The service of a hub, with a client certificate if there is one.
fn service(stand: &Stand, client: Option<(&str, &str)>) -> AgentServiceClient<Channel> {
    let connector = HttpsConnectorBuilder::new()
        .with_tls_config(tls(&stand.hub.ca_path(), client))
        .https_only()
        .enable_http2()
        .build();
    let channel = Client::builder(TokioExecutor::new()).http2_only(true).build(connector);
    AgentServiceClient::with_origin(channel, format!("https://localhost:{}", stand.hub.agents_port).parse().unwrap())
}

/// Makes a certificate through `Register`: the chain and the key, PEM.
async fn enrolled(stand: &Stand, cluster: &str) -> Result<(String, String), Status> {
    let made: Value =
        serde_json::from_str(&stand.hub.flotilla_ok("admin", &["agents", "token", cluster, "-o", "json"]).unwrap())
            .unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    let mut parameters = rcgen::CertificateParams::new(Vec::new()).unwrap();
    parameters.distinguished_name.push(rcgen::DnType::CommonName, cluster);
    let request = RegisterRequest {
        token: made["token"].as_str().unwrap().to_owned(),
        cluster_name: cluster.to_owned(),
        csr: parameters.serialize_request(&key).unwrap().pem().unwrap(),
        metadata: [("agent_version".to_owned(), "9.9.9".to_owned())].into(),
    };
    let answer = service(stand, None).register(request).await?.into_inner();
    assert!(answer.expires_at_unix_ms > 0 && answer.ca.contains("BEGIN CERTIFICATE"));
    Ok((answer.certificate, key.serialize_pem()))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_registers_and_says_that_it_lives() {
    let stand = &tokio::task::spawn_blocking(bed).await.unwrap().stand;
    let (chain, key) = enrolled(stand, "by-grpc").await.unwrap();
    let mut service = service(stand, Some((&chain, &key)));
    let beat = HeartbeatRequest { metadata: [("kubernetes_version".to_owned(), "v1.99.0".to_owned())].into() };
    let answer = service.heartbeat(beat).await.unwrap().into_inner();
    assert!((1..=300).contains(&answer.interval_seconds), "{answer:?}");
    let listed = stand.hub.flotilla_ok("admin", &["clusters", "list", "-o", "json"]).unwrap();
    assert!(listed.contains("v1.99.0"), "{listed}");

    stand.hub.flotilla_ok("admin", &["agents", "revoke", "by-grpc"]).unwrap();
    let mut later = self::service(stand, Some((&chain, &key)));
    let refused = later.heartbeat(HeartbeatRequest::default()).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated, "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_no_certificate_or_no_token_is_refused() {
    let stand = &tokio::task::spawn_blocking(bed).await.unwrap().stand;
    let mut service = service(stand, None);
    let refused = service.heartbeat(HeartbeatRequest::default()).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated, "{refused}");
    let nothing =
        RegisterRequest { token: "fla1.x.y".into(), cluster_name: "x".into(), csr: "x".into(), ..Default::default() };
    let refused = service.register(nothing).await.unwrap_err();
    assert!(matches!(refused.code(), Code::Unauthenticated | Code::InvalidArgument), "{refused}");
    let command =
        CommandRequest { cluster: CLUSTER.into(), command: vec!["get".into(), "pods".into()], ..Default::default() };
    assert_eq!(service.execute_command(command).await.unwrap_err().code(), Code::Unauthenticated);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_runs_as_the_person_whose_token_it_carries() {
    let bed = tokio::task::spawn_blocking(bed).await.unwrap();
    let stand = &bed.stand;
    let token = Api::admin(&stand.hub).token.unwrap();
    let mut service = service(stand, None);
    let with_token = |words: &[&str]| {
        let command = words.iter().map(|word| (*word).to_owned()).collect();
        let mut request = Request::new(CommandRequest { cluster: CLUSTER.into(), command, ..Default::default() });
        request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
        request
    };
    let answer = service.execute_command(with_token(&["auth", "whoami", "-o", "json"])).await.unwrap().into_inner();
    assert!(answer.exit_code == 0 && answer.output.contains(&stand.hub.email), "{answer:?}");
    let failed = service.execute_command(with_token(&["get", "pod", "absent"])).await.unwrap().into_inner();
    assert_eq!(failed.exit_code, 1);
    let refused = service.execute_command(with_token(&["apply", "-f", "/etc/passwd"])).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");

    // The caller's deadline ends the command at the hub, not only the caller's patience.
    let mut late = with_token(&["wait", "namespace/default", "--for=jsonpath={.x}=y", "--timeout=30s"]);
    late.metadata_mut().insert("grpc-timeout", "1500m".parse().unwrap());
    let asked = Instant::now();
    let refused = service.execute_command(late).await.unwrap_err();
    assert_eq!(refused.code(), Code::DeadlineExceeded, "{refused}");
    assert!(asked.elapsed() < Duration::from_secs(10), "{:?}", asked.elapsed());
}
