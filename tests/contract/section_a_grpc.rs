//! Section A: gRPC `AgentService`, with a deadline on every call.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use flotilla_hub::grpc::proto::agent_service_client::AgentServiceClient;
use flotilla_hub::grpc::proto::{CommandRequest, HeartbeatRequest, RegisterRequest};
use flotilla_tunnel::pki::{Roots, client_config, new_csr};
use hyper_util::rt::TokioIo;
use reqwest::Method;
use serde_json::json;
use tokio::net::TcpStream;
use tonic::transport::{Channel, Endpoint, Uri};
use tonic::{Code, Request};

use crate::fixture::{CLUSTER, World, world};

/// A channel to the agents' listener, with a client certificate or without.
async fn channel(world: &'static World, identity: Option<(&str, &str)>) -> Result<Channel> {
    let ca = std::fs::read_to_string(world.fixture.hub.ca_path())?;
    let tls = Arc::new(client_config(Roots::Pem(&ca), identity, &[b"h2"])?);
    let port = world.fixture.hub.agents_port;
    let connect = tower::service_fn(move |_: Uri| {
        let tls = tokio_rustls::TlsConnector::from(Arc::clone(&tls));
        async move {
            let name = rustls::pki_types::ServerName::try_from("localhost").map_err(std::io::Error::other)?;
            Ok::<_, std::io::Error>(TokioIo::new(
                tls.connect(name, TcpStream::connect(("127.0.0.1", port)).await?).await?,
            ))
        }
    });
    Ok(Endpoint::from_static("http://localhost").connect_with_connector(connect).await?)
}

#[tokio::test(flavor = "multi_thread")]
async fn register_then_heartbeat() -> Result<()> {
    let world = world();
    let made = world.ok(Method::POST, "/api/agents/tokens", Some(json!({"cluster": "dev-grpc"}))).await?;
    let token = made["token"].as_str().context("token")?.to_owned();
    let (csr, key) = new_csr("dev-grpc")?;
    let register = RegisterRequest {
        token,
        cluster_name: "dev-grpc".to_owned(),
        csr,
        metadata: [("agent_version".to_owned(), "9".to_owned())].into(),
    };
    let mut anonymous = AgentServiceClient::new(channel(world, None).await?);
    let enrolment = anonymous.register(register.clone()).await?.into_inner();
    assert!(enrolment.certificate.contains("BEGIN CERTIFICATE") && enrolment.expires_at_unix_ms > 0);
    let spent = anonymous.register(register).await.expect_err("a token holds once");
    assert_eq!(spent.code(), Code::Unauthenticated);

    let beat = || HeartbeatRequest { metadata: [("nodes".to_owned(), "3".to_owned())].into() };
    assert_eq!(anonymous.heartbeat(beat()).await.expect_err("no certificate").code(), Code::Unauthenticated);
    let mut agent = AgentServiceClient::new(channel(world, Some((&enrolment.certificate, &key))).await?);
    assert!(agent.heartbeat(beat()).await?.into_inner().interval_seconds > 0);
    let listed = world.ok(Method::GET, "/clusters", None).await?;
    let cluster = listed["clusters"]
        .as_array()
        .and_then(|all| all.iter().find(|one| one["name"] == "dev-grpc"))
        .context("the cluster")?;
    assert_eq!((&cluster["metadata"]["nodes"], &cluster["status"]), (&json!("3"), &json!("disconnected")));
    Ok(())
}

fn command(cluster: &str, words: &[&str]) -> CommandRequest {
    CommandRequest {
        cluster: cluster.to_owned(),
        command: words.iter().map(|word| (*word).to_owned()).collect(),
        stdin: None,
    }
}

fn as_person(command: CommandRequest, token: &str) -> Result<Request<CommandRequest>> {
    let mut request = Request::new(command);
    request.metadata_mut().insert("authorization", format!("Bearer {token}").parse()?);
    Ok(request)
}

#[tokio::test(flavor = "multi_thread")]
async fn execute_command_runs_as_the_person_who_calls() -> Result<()> {
    let world = world();
    let mut client = AgentServiceClient::new(channel(world, None).await?);
    let done = client
        .execute_command(as_person(
            command(CLUSTER, &["auth", "whoami", "-o", "jsonpath={.status.userInfo.username}"]),
            world.token(),
        )?)
        .await?
        .into_inner();
    assert_eq!((done.exit_code, done.output.as_str()), (0, world.fixture.hub.email.as_str()));

    let nobody = client.execute_command(command(CLUSTER, &["get", "pods"])).await.expect_err("no token");
    assert_eq!(nobody.code(), Code::Unauthenticated);
    let elsewhere = client
        .execute_command(as_person(command("nowhere", &["get", "pods"]), world.token())?)
        .await
        .expect_err("no cluster");
    assert_eq!(elsewhere.code(), Code::NotFound);
    let file = client
        .execute_command(as_person(command(CLUSTER, &["apply", "-f", "/etc/passwd"]), world.token())?)
        .await
        .expect_err("a file");
    assert_eq!(file.code(), Code::InvalidArgument);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_call_has_a_deadline() -> Result<()> {
    let world = world();
    let mut client = AgentServiceClient::new(channel(world, None).await?);
    let mut request = as_person(command(CLUSTER, &["get", "pods", "-A", "-w"]), world.token())?;
    request.set_timeout(Duration::from_secs(2));
    let started = Instant::now();
    let late = client.execute_command(request).await.expect_err("a watch does not end by itself");
    assert!(matches!(late.code(), Code::DeadlineExceeded | Code::Cancelled), "{late:?}");
    assert!(started.elapsed() < Duration::from_secs(20));
    Ok(())
}
