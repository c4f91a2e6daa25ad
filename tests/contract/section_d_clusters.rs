//! Section D: clusters, their credentials and health; and what an operator does with the hub's data.

use anyhow::{Context, Result};
use base64::Engine;
use flotilla_harness::HubOptions;
use flotilla_tests::Fixture;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::fixture::world;

/// The value behind a key of the test bed's kubeconfig, which is JSON; decoded where it is data.
fn field(kubeconfig: &str, key: &str) -> Result<String> {
    let config: Value = serde_json::from_str(kubeconfig)?;
    let found = [&config["clusters"][0]["cluster"][key], &config["users"][0]["user"][key]];
    let value = found.into_iter().find_map(Value::as_str).with_context(|| format!("no {key}"))?;
    match key.ends_with("-data") {
        true => Ok(String::from_utf8(base64::engine::general_purpose::STANDARD.decode(value)?)?),
        false => Ok(value.to_owned()),
    }
}

/// The real cluster again, with a client certificate, called by the synonym of the contract.
fn by_certificate(name: &str) -> Result<Value> {
    let kubeconfig = world().kubeconfig()?;
    Ok(
        json!({"name": name, "auth_type": "certificate", "server": field(&kubeconfig, "server")?, "labels": {"env": "test"},
        "certificate_authority": field(&kubeconfig, "certificate-authority-data")?,
        "client_certificate": field(&kubeconfig, "client-certificate-data")?, "client_key": field(&kubeconfig, "client-key-data")?}),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_is_tried_added_looked_at_shared_renamed_and_given_other_credentials() -> Result<()> {
    let world = world();
    let body = by_certificate("d-direct")?;
    let tried = world.ok(Method::POST, "/v1/api/clusters/d-direct/test", Some(body.clone())).await?;
    assert_eq!((&tried["ok"], &tried["missing_permissions"]), (&json!(true), &json!([])), "{tried}");
    assert!(tried["server_version"].as_str().is_some_and(|version| version.starts_with('v')), "{tried}");
    let unsaved = world.fixture.call(Method::GET, "/api/clusters/d-direct", Some(world.token()), None).await?;
    assert_eq!(unsaved.status(), StatusCode::NOT_FOUND, "a test keeps nothing");

    let made = world.ok(Method::POST, "/v1/api/clusters", Some(body.clone())).await?;
    assert_eq!((&made["auth_type"], &made["labels"]["env"]), (&json!("client_certificate"), &json!("test")), "{made}");
    let status = world.ok(Method::GET, "/v1/api/clusters/d-direct/status", None).await?;
    assert_eq!((&status["status"], &status["connection"]), (&json!("healthy"), &json!("connected")), "{status}");
    let all = world.ok(Method::GET, "/api/clusters", None).await?.to_string();
    assert!(!all.contains("PRIVATE KEY") && !all.contains("BEGIN CERTIFICATE"), "credentials are never given out");

    let password = world.fixture.hub.add_user("shared@example.com", &[])?;
    let signed: Value = world.fixture.sign_in("shared@example.com", &password).await?.json().await?;
    let his = signed["token"].as_str().context("no token")?;
    let pods = "/k8s/clusters/d-direct/api/v1/namespaces/default/pods";
    let get = |path: &'static str| world.fixture.call(Method::GET, path, Some(his), None);
    assert_eq!(get(pods).await?.status(), StatusCode::NOT_FOUND);
    let share = json!({"subject": "shared@example.com", "level": "viewer"});
    let shared =
        world.fixture.call(Method::POST, "/api/clusters/d-direct/share", Some(world.token()), Some(share)).await?;
    assert_eq!(shared.status(), StatusCode::NO_CONTENT);
    assert_eq!(get(pods).await?.status(), StatusCode::OK, "by the hub's policy and by the cluster's own RBAC");
    let secrets = get("/k8s/clusters/d-direct/api/v1/namespaces/default/secrets").await?;
    assert_eq!(secrets.status(), StatusCode::FORBIDDEN, "as a viewer");
    let listed: Value = get("/api/clusters").await?.json().await?;
    assert_eq!(listed["clusters"].as_array().map(Vec::len), Some(1), "this cluster alone: {listed}");
    let chosen = world.fixture.call(Method::PUT, "/api/clusters/d-direct/default", Some(his), None).await?;
    assert_eq!(chosen.status(), StatusCode::NO_CONTENT);
    let listed: Value = get("/api/clusters").await?.json().await?;
    assert_eq!(listed["clusters"][0]["default"], true, "{listed}");

    world.ok(Method::PUT, "/api/clusters/d-direct", Some(json!({"name": "d-renamed"}))).await?;
    let renamed = get("/k8s/clusters/d-renamed/api/v1/namespaces/default/pods").await?;
    assert_eq!(renamed.status(), StatusCode::OK, "a share follows the cluster");
    let end = "/api/clusters/d-renamed/share?subject=shared@example.com";
    world.fixture.call(Method::DELETE, end, Some(world.token()), None).await?.error_for_status()?;
    assert_eq!(get("/k8s/clusters/d-renamed/version").await?.status(), StatusCode::NOT_FOUND, "at once");

    let wrong = json!({"auth_type": "token", "server": body["server"], "certificate_authority": body["certificate_authority"], "token": "wrong"});
    let status = world.ok(Method::PUT, "/api/clusters/d-renamed/credentials", Some(wrong)).await?;
    assert_eq!((&status["status"], &status["error"]), (&json!("denied"), &json!("auth_failed")), "{status}");
    let tried = world.ok(Method::POST, "/api/clusters/d-renamed/test", None).await?;
    assert_eq!((&tried["ok"], &tried["error"]), (&json!(false), &json!("auth_failed")), "{tried}");
    let gone = world.fixture.call(Method::DELETE, "/api/clusters/d-renamed", Some(world.token()), None).await?;
    assert_eq!(gone.status(), StatusCode::NO_CONTENT);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn health_of_an_agents_cluster_and_of_one_that_is_not_there() -> Result<()> {
    let world = world();
    let status = world.ok(Method::POST, &format!("/api/clusters/{}/refresh", crate::fixture::CLUSTER), None).await?;
    assert_eq!((&status["status"], &status["connection"]), (&json!("healthy"), &json!("connected")), "{status}");
    let nowhere = json!({"name": "d-nowhere", "auth_type": "token", "server": "https://127.0.0.1:1", "token": "x", "insecure_skip_tls_verify": true});
    let made = world.ok(Method::POST, "/api/clusters", Some(nowhere)).await?;
    assert_eq!(
        (&made["health"]["status"], &made["health"]["error"]),
        (&json!("unreachable"), &json!("apiserver_unreachable")),
        "{made}"
    );
    assert_eq!(made["health"]["connection"], "error");
    let metrics =
        reqwest::get(format!("http://localhost:{}/metrics", world.fixture.hub.metrics_port)).await?.text().await?;
    assert!(metrics.contains("flotilla_cluster_up{cluster=\"d-nowhere\"} 0"), "{metrics}");
    world
        .fixture
        .call(Method::DELETE, "/api/clusters/d-nowhere", Some(world.token()), None)
        .await?
        .error_for_status()?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hub_is_backed_up_restored_and_its_key_changed_while_it_runs() -> Result<()> {
    let mut fixture = Fixture::start(&HubOptions::default())?;
    let token = fixture.admin_token().await?;
    let config = fixture.hub.dir().join("central.yaml").display().to_string();
    let file = fixture.hub.dir().join("hub.tar").display().to_string();
    fixture.hub.add_user("kept@example.com", &[])?;
    fixture.hub.flotilla_ok("admin", &["hub", "backup", "--config", &config, "--to", &file])?;

    let said = fixture.hub.flotilla_ok("admin", &["hub", "rotate-kek", "--config", &config])?;
    let keys = std::fs::read_to_string(fixture.hub.dir().join("data/seal.key"))?;
    assert!(keys.lines().count() == 1 && keys.starts_with("file-"), "the old key is gone: {said}");
    let cluster = json!({"name": "sealed", "auth_type": "token", "server": "https://127.0.0.1:1", "token": "hunter2"});
    let added = fixture.call(Method::POST, "/api/clusters", Some(&token), Some(cluster)).await?;
    assert_eq!(added.status(), StatusCode::CREATED, "the running hub seals with the new key");
    fixture.hub.kill()?;
    fixture.hub.restart()?;
    let tried = fixture.call(Method::POST, "/api/clusters/sealed/test", Some(&token), None).await?;
    assert_eq!(tried.status(), StatusCode::OK, "a hub that starts with the new key alone opens everything");

    let elsewhere = fixture.hub.dir().join("elsewhere");
    std::fs::create_dir_all(elsewhere.join("data"))?;
    let other = elsewhere.join("central.yaml");
    std::fs::write(&other, format!("data_dir: {:?}\n", elsewhere.join("data")))?;
    let run = |arguments: &[&str]| {
        let mut command = fixture.hub.flotilla("admin");
        command.arg("hub").args(["--config"]).arg(&other).args(arguments).env("AUTO_MIGRATE", "false");
        command.output()
    };
    let refused = run(&[])?;
    let text = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && text.contains("--migrate-only"), "an old schema is refused: {text}");
    let restored = run(&["restore", "--from", &file])?;
    let text = String::from_utf8_lossy(&restored.stderr).into_owned();
    assert!(restored.status.success() && text.contains("audit rows verified"), "{text}");
    assert!(text.contains("do not open"), "without its key the secrets stay closed: {text}");
    let again = run(&["restore", "--from", &file])?;
    assert!(String::from_utf8_lossy(&again.stderr).contains("in use"), "{again:?}");
    Ok(())
}
