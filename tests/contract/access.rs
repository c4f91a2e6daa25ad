//! Sections B and E: sessions, sign-out, API keys, tickets; and escalation against a real API server.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use flotilla_testbed::Binaries;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::fixture::{CLUSTER, keys, world};

const PASSWORD: &str = "correct horse battery";

async fn person(email: &str, roles: &[&str]) -> Result<String> {
    let body = json!({"email": email, "password": PASSWORD, "roles": roles});
    world().ok(Method::POST, "/users", Some(body)).await?;
    let answer: Value = world().fixture.sign_in(email, PASSWORD).await?.error_for_status()?.json().await?;
    Ok(answer["token"].as_str().context("token")?.to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_holds_an_opaque_cookie_only() -> Result<()> {
    let fixture = &world().fixture;
    let token = person("cookie@example.com", &[]).await?;
    let body = json!({"email": "cookie@example.com", "password": PASSWORD, "session": "cookie"});
    let answer = fixture.call(Method::POST, "/auth/login", None, Some(body)).await?.error_for_status()?;
    let cookie = answer.headers()["set-cookie"].to_str()?.to_owned();
    for attribute in ["__Host-flotilla=", "; Path=/", "; HttpOnly", "; SameSite=Lax", "; Secure"] {
        ensure!(cookie.contains(attribute), "{attribute} in {cookie}");
    }
    let answer: Value = answer.json().await?;
    assert_eq!(keys(&answer), ["email", "expires_at", "id"]);

    let cookie = cookie.split(';').next().unwrap_or_default().to_owned();
    let url = |path: &str| format!("{}{path}", fixture.hub.url());
    let list: Value = fixture.client.get(url("/api/sessions")).header("cookie", &cookie).send().await?.json().await?;
    let sessions = list["sessions"].as_array().context("sessions")?;
    assert_eq!(sessions.len(), 2, "{list}");
    let kinds: Vec<_> = sessions.iter().map(|one| (&one["kind"], &one["current"])).collect();
    assert_eq!(kinds, [(&json!("browser"), &json!(true)), (&json!("token"), &json!(false))]);
    for key in ["id", "user_agent", "address", "created_at", "last_seen", "expires_at"] {
        ensure!(sessions[0][key].is_string(), "{key} in {list}");
    }
    // Ended from the command line: the browser is signed out at once.
    let path = format!("/api/sessions/{}", sessions[0]["id"].as_str().context("id")?);
    let ended = fixture.call(Method::DELETE, &path, Some(&token), None).await?;
    assert_eq!(ended.status(), StatusCode::NO_CONTENT);
    let after = fixture.client.get(url("/api/whoami")).header("cookie", &cookie).send().await?;
    assert_eq!(after.status(), StatusCode::UNAUTHORIZED);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn who_one_is_and_what_is_switched_on() -> Result<()> {
    let fixture = &world().fixture;
    let token = person("tier@example.com", &["viewer", "tier-maintain"]).await?;
    let me: Value = fixture.call(Method::GET, "/api/whoami", Some(&token), None).await?.json().await?;
    assert_eq!((&me["email"], &me["tier"]), (&json!("tier@example.com"), &json!("maintain")), "{me}");
    let nobody = person("no-tier@example.com", &[]).await?;
    let me: Value = fixture.call(Method::GET, "/api/whoami", Some(&nobody), None).await?.json().await?;
    assert_eq!(me["tier"], Value::Null, "{me}");

    let features: Value = fixture.call(Method::GET, "/api/features", Some(&token), None).await?.json().await?;
    assert_eq!(features["sign_in"], json!(["password"]));
    assert_eq!(features["session_backend"], "database");
    for switch in ["mail", "exec_plugins", "audit_reads"] {
        assert_eq!(features[switch], false, "{switch}");
    }
    Ok(())
}

#[test]
fn every_operation_says_how_stable_it_is() {
    let document = serde_json::to_value(flotilla_hub::routes::openapi_document()).expect("it is JSON");
    let mut seen = std::collections::BTreeMap::<String, usize>::new();
    for (path, item) in document["paths"].as_object().expect("paths") {
        for (method, operation) in item.as_object().expect("operations").iter().filter(|(key, _)| *key != "parameters")
        {
            let stability = operation["x-stability"].as_str().unwrap_or_else(|| panic!("{method} {path}"));
            *seen.entry(stability.to_owned()).or_default() += 1;
        }
    }
    assert_eq!(seen.keys().collect::<Vec<_>>(), ["beta", "internal", "stable"], "{seen:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_runs_commands_on_clusters() -> Result<()> {
    let fixture = &world().fixture;
    person("command@example.com", &["admin"]).await?;
    let body = json!({"email": "command@example.com", "password": PASSWORD, "session": "cookie"});
    let answer = fixture.call(Method::POST, "/auth/login", None, Some(body)).await?.error_for_status()?;
    let cookie = answer.headers()["set-cookie"].to_str()?.split(';').next().unwrap_or_default().to_owned();
    let request = fixture.client.post(format!("{}/clusters/{CLUSTER}/exec", fixture.hub.url()));
    let request = request.header("cookie", cookie).header("origin", fixture.hub.url());
    let ran: Value = request.json(&json!({"command": ["auth", "whoami"]})).send().await?.json().await?;
    ensure!(ran["output"].as_str().is_some_and(|output| output.contains("command@example.com")), "{ran}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_key_is_shown_once_and_works_with_kubectl() -> Result<()> {
    let fixture = &world().fixture;
    let hub = &fixture.hub;
    hub.add_user("keys@example.com", &["admin"])?;
    let scope = format!("k8s:{CLUSTER}:get,list");
    let made = hub.flotilla_ok(
        "keys",
        &["api-keys", "create", "ci", "--scope", &scope, "--expires-in-days", "7", "-o", "json"],
    )?;
    let made: Value = serde_json::from_str(&made)?;
    let key = made["key"].as_str().context("key")?;
    ensure!(key.starts_with("sk_live_") && made["apiKey"]["expiresAt"].is_string(), "{:?}", keys(&made));
    let kubectl = |arguments: &[&str]| {
        Command::new(Binaries::ensure(&mut |_| ())?.kubectl())
            .args(["--kubeconfig=/dev/null", "--token", key, "--certificate-authority"])
            .arg(hub.ca_path())
            .arg(format!("--server={}/k8s/clusters/{CLUSTER}", hub.url()))
            .args(arguments)
            .env("HOME", hub.dir())
            .output()
            .context("kubectl")
    };
    let listed = kubectl(&["get", "namespaces", "-o", "name"])?;
    ensure!(String::from_utf8_lossy(&listed.stdout).contains("namespace/default"), "{listed:?}");
    let refused = kubectl(&["create", "namespace", "not-mine"])?;
    ensure!(!refused.status.success(), "more than the scope");
    ensure!(String::from_utf8_lossy(&refused.stderr).contains("scopes of this API key"), "{refused:?}");

    let shown = hub.flotilla_ok("keys", &["api-keys", "list", "-o", "json"])?;
    ensure!(!shown.contains(key) && shown.contains(&key[..14]), "{shown}");
    ensure!(serde_json::from_str::<Value>(&shown)?["apiKeys"][0]["lastUsedAt"].is_string(), "{shown}");
    hub.flotilla_ok("keys", &["api-keys", "revoke", "ci"])?;
    let gone = kubectl(&["get", "namespaces"])?;
    ensure!(!gone.status.success(), "a revoked key holds");
    Ok(())
}

/// The hub's policy lets all plain verbs on everything through; the cluster's own RBAC (`edit`) must not be led round.
#[tokio::test(flavor = "multi_thread")]
async fn nobody_grows_past_the_clusters_own_rbac() -> Result<()> {
    let world = world();
    let verbs = ["get", "list", "watch", "create", "update", "patch", "delete", "deletecollection"];
    let role = json!({"name": "contract-writer", "clusters": [{"name": CLUSTER, "verbs": verbs, "resources": ["*"]}]});
    world.ok(Method::POST, "/api/roles", Some(role)).await?;
    let token = person("writer@example.com", &["contract-writer"]).await?;
    let url = format!("{}/k8s/clusters/{CLUSTER}", world.fixture.hub.url());
    let call = async |token: &str, method: Method, path: &str, body: Value| -> Result<(StatusCode, Value)> {
        let kind = if method == Method::PATCH { "application/merge-patch+json" } else { "application/json" };
        let request = world.fixture.client.request(method, format!("{url}{path}")).bearer_auth(token);
        let answer = request.header("content-type", kind).body(body.to_string()).send().await?;
        Ok((answer.status(), answer.json().await.unwrap_or(Value::Null)))
    };
    let rbac = "/apis/rbac.authorization.k8s.io/v1";
    let subject =
        json!([{"kind": "Group", "name": "flotilla:role:contract-writer", "apiGroup": "rbac.authorization.k8s.io"}]);
    let bind = |name: &str, role: &str| json!({"metadata": {"name": name}, "subjects": subject, "roleRef": {"kind": "ClusterRole", "name": role, "apiGroup": "rbac.authorization.k8s.io"}});
    let bound =
        call(world.token(), Method::POST, &format!("{rbac}/clusterrolebindings"), bind("contract-writer", "edit"))
            .await?;
    assert_eq!(bound.0, StatusCode::CREATED, "{}", bound.1);
    let (status, answer) = call(&token, Method::GET, "/api/v1/namespaces/default/configmaps", json!({})).await?;
    assert_eq!(status, StatusCode::OK, "the control: {answer}");

    let rule = json!([{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}]);
    let attempts = [
        ("bind", Method::POST, format!("{rbac}/clusterrolebindings"), bind("mine", "cluster-admin")),
        ("bind in a namespace", Method::POST, format!("{rbac}/namespaces/default/rolebindings"), bind("mine", "admin")),
        ("escalate", Method::PATCH, format!("{rbac}/clusterroles/edit"), json!({"rules": rule})),
        (
            "escalate by a new role",
            Method::POST,
            format!("{rbac}/clusterroles"),
            json!({"metadata": {"name": "mine"}, "rules": rule}),
        ),
        (
            "escalate in a namespace",
            Method::POST,
            format!("{rbac}/namespaces/default/roles"),
            json!({"metadata": {"name": "mine"}, "rules": rule}),
        ),
        ("nodes/proxy", Method::GET, "/api/v1/nodes/n1/proxy/pods".to_owned(), json!({})),
        (
            "approve a certificate",
            Method::PUT,
            "/apis/certificates.k8s.io/v1/certificatesigningrequests/x/approval".to_owned(),
            json!({}),
        ),
        (
            "review a token",
            Method::POST,
            "/apis/authentication.k8s.io/v1/tokenreviews".to_owned(),
            json!({"spec": {"token": "x"}}),
        ),
        ("write into kube-system's roles", Method::DELETE, format!("{rbac}/namespaces/kube-system/roles"), json!({})),
        (
            "hook every write",
            Method::POST,
            "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations".to_owned(),
            json!({"metadata": {"name": "mine"}}),
        ),
    ];
    for (name, method, path, body) in attempts {
        let (status, answer) = call(&token, method, &path, body).await?;
        assert_eq!((status, &answer["reason"]), (StatusCode::FORBIDDEN, &json!("Forbidden")), "{name}: {answer}");
    }
    let impersonated = world.fixture.client.get(format!("{url}/api/v1/secrets")).bearer_auth(&token);
    let answer = impersonated.header("impersonate-user", "system:admin").send().await?;
    assert_eq!(answer.status(), StatusCode::FORBIDDEN, "impersonate");
    Ok(())
}
