//! Section "Mounting".

use anyhow::Result;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::fixture::{keys, world};

#[tokio::test(flavor = "multi_thread")]
async fn one_router_under_all_its_names() -> Result<()> {
    let world = world();
    for path in ["/api/clusters", "/clusters", "/v1/api/clusters", "/v1/clusters", "/api/v1/clusters"] {
        let answer = world.ok(Method::GET, path, None).await?;
        assert!(answer["clusters"].is_array(), "{path}: {answer}");
    }
    for path in ["/api/users", "/users", "/v1/api/users", "/v1/users", "/api/v1/users"] {
        assert!(world.ok(Method::GET, path, None).await?["users"].is_array(), "{path}");
    }
    for path in ["/auth/login", "/v1/auth/login", "/api/auth/login", "/v1/api/auth/login", "/api/v1/auth/login"] {
        let body = json!({"email": world.fixture.hub.email, "password": world.fixture.hub.password});
        let answer: Value =
            world.fixture.call(Method::POST, path, None, Some(body)).await?.error_for_status()?.json().await?;
        assert!(answer["token"].is_string(), "{path}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_are_problem_details() -> Result<()> {
    let response = world().fixture.call(Method::GET, "/api/users", None, None).await?;
    assert_eq!(response.headers()["content-type"], "application/problem+json");
    let id = response.headers()["x-request-id"].to_str()?.to_owned();
    let problem: Value = response.json().await?;
    assert_eq!(keys(&problem), ["code", "detail", "request_id", "status", "title", "type"]);
    assert_eq!(
        (&problem["status"], &problem["request_id"], &problem["code"]),
        (&json!(401), &json!(id), &json!("unauthenticated"))
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn kubernetes_paths_answer_with_a_status_object() -> Result<()> {
    let world = world();
    let response = world.fixture.call(Method::GET, "/k8s/clusters/nowhere/api", Some(world.token()), None).await?;
    assert_eq!(response.status(), StatusCode::NOT_FOUND);
    let status: Value = response.json().await?;
    assert_eq!(
        (&status["kind"], &status["apiVersion"], &status["status"], &status["code"]),
        (&json!("Status"), &json!("v1"), &json!("Failure"), &json!(404))
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_response_carries_a_request_id() -> Result<()> {
    let world = world();
    let send = |id: &str| {
        world.fixture.client.get(format!("{}/healthz", world.fixture.hub.url())).header("X-Request-Id", id).send()
    };
    assert_eq!(send("my-id.1").await?.headers()["x-request-id"], "my-id.1");
    let long = "x".repeat(65);
    for bad in ["no spaces", long.as_str(), "semi;colon"] {
        let answer = send(bad).await?;
        let made: http::HeaderValue = answer.headers()["x-request-id"].clone();
        let made = made.to_str()?;
        assert!(made != bad && made.len() == 36 && made.as_bytes()[14] == b'7', "a new UUIDv7 for {bad:?}, not {made}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_document_is_openapi_3_1() -> Result<()> {
    let document: Value = world().fixture.call(Method::GET, "/api/openapi.json", None, None).await?.json().await?;
    assert_eq!(document["openapi"], "3.1.0");
    assert!(document["paths"].as_object().is_some_and(|paths| paths.len() > 15));
    Ok(())
}
