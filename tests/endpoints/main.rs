//! Visits every route of every listener as nobody, as somebody without rights, and, where it is the administrator's,
//! as him. A route that is not listed here fails the test, and so does a row without a route.
//!
//! The rules: nobody gets 401 everywhere but on open routes; somebody without rights gets 403 on administrators'
//! routes, 404 on clusters that he cannot see, and never a 401 or 403 on what everyone signed in may do.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test program may fail here")]

mod attacks;
mod organisations;

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result};
use flotilla_harness::HubOptions;
use flotilla_hub::listen::agents::Route;
use flotilla_hub::routes::{acts, openapi_document};
use flotilla_tests::Fixture;
use flotilla_types::audit::Verb;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

/// Who may call a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Access {
    /// Anyone.
    Open,
    /// Whoever has a token of the other kind, in the body.
    OwnProof,
    /// Everyone signed in.
    SignedIn,
    /// Everyone signed in, for clusters that he sees.
    Cluster,
    /// Those to whom the object is not hidden.
    Hidden,
    /// Administrators of the hub.
    Administrator,
}
use Access::{Administrator, Cluster, Hidden, Open, OwnProof, SignedIn};

/// Every operation of the people's API. The gateway stands at the end; it is not in the OpenAPI document.
const ROUTES: &[(&str, &str, Access)] = &[
    ("post", "/auth/login", OwnProof),
    ("post", "/auth/refresh", OwnProof),
    ("post", "/auth/logout", SignedIn),
    ("post", "/auth/logout/everywhere", SignedIn),
    ("get", "/api/sessions", SignedIn),
    ("delete", "/api/sessions/{id}", SignedIn),
    ("get", "/api/api-keys", SignedIn),
    ("post", "/api/api-keys", SignedIn),
    ("get", "/api/api-keys/{id}", SignedIn),
    ("put", "/api/api-keys/{id}", SignedIn),
    ("delete", "/api/api-keys/{id}", SignedIn),
    ("post", "/api/tickets", SignedIn),
    ("post", "/auth/password", SignedIn),
    ("get", "/auth/config", Open),
    ("get", "/login", Open),
    ("post", "/login", OwnProof),
    ("get", "/auth/login", Open),
    ("get", "/auth/callback", OwnProof),
    ("get", "/oauth2/callback", OwnProof),
    ("get", "/auth/github", Open),
    ("get", "/auth/github/callback", OwnProof),
    ("get", "/auth/oauth/{provider}/authorize", Open),
    ("get", "/auth/oauth/{provider}/callback", OwnProof),
    ("post", "/auth/oauth/exchange", OwnProof),
    ("post", "/logout", Open),
    ("post", "/auth/backchannel-logout", OwnProof),
    ("post", "/dev/login", Open),
    ("get", "/auth/style.css", Open),
    ("get", "/auth/device", Open),
    ("post", "/auth/device", Open),
    ("post", "/auth/device/approve", SignedIn),
    ("post", "/auth/device/token", OwnProof),
    ("get", "/auth/cli", OwnProof),
    ("post", "/auth/cli", SignedIn),
    ("get", "/api/whoami", SignedIn),
    ("get", "/api/features", SignedIn),
    ("get", "/api/clusters", SignedIn),
    ("post", "/api/clusters", Administrator),
    ("delete", "/api/clusters/{id}", Administrator),
    ("get", "/api/clusters/{id}", Cluster),
    ("put", "/api/clusters/{id}", Administrator),
    ("get", "/api/clusters/{id}/status", Cluster),
    ("post", "/api/clusters/{id}/test", Administrator),
    ("post", "/api/clusters/{id}/refresh", Cluster),
    ("put", "/api/clusters/{id}/credentials", Administrator),
    ("put", "/api/clusters/{id}/default", Cluster),
    ("delete", "/api/clusters/{id}/default", Cluster),
    ("get", "/api/clusters/{id}/share", Administrator),
    ("post", "/api/clusters/{id}/share", Administrator),
    ("delete", "/api/clusters/{id}/share", Administrator),
    ("post", "/api/clusters/{id}/exec", Cluster),
    ("get", "/api/users", Administrator),
    ("post", "/api/users", Administrator),
    ("delete", "/api/users/{id}", Administrator),
    ("put", "/api/users/{id}/roles", Administrator),
    ("post", "/api/users/{id}/password", Administrator),
    ("get", "/api/roles", SignedIn),
    ("post", "/api/roles", Administrator),
    ("put", "/api/roles/{name}", Administrator),
    ("delete", "/api/roles/{name}", Administrator),
    ("post", "/api/agents/tokens", Administrator),
    ("get", "/api/agents", Administrator),
    ("delete", "/api/agents/{cluster}", Administrator),
    ("post", "/api/agents/register", OwnProof),
    ("get", "/api/agents/connect", Open),
    ("get", "/api/me", SignedIn),
    ("get", "/api/orgs", SignedIn),
    ("post", "/api/orgs", Administrator),
    ("get", "/api/orgs/{id}", Hidden),
    ("patch", "/api/orgs/{id}", Hidden),
    ("delete", "/api/orgs/{id}", Hidden),
    ("get", "/api/orgs/{id}/members", Hidden),
    ("put", "/api/orgs/{id}/members", Hidden),
    ("delete", "/api/orgs/{id}/members/{user}", Hidden),
    ("get", "/api/orgs/{id}/clusters", Hidden),
    ("put", "/api/orgs/{id}/clusters/{cluster}", Hidden),
    ("post", "/api/orgs/{id}/invite", Hidden),
    ("get", "/api/orgs/{id}/invitations", Hidden),
    ("delete", "/api/orgs/{id}/invitations/{invitation}", Hidden),
    ("get", "/api/admin/users", Administrator),
    ("get", "/api/teams", SignedIn),
    ("post", "/api/teams", Hidden),
    ("get", "/api/teams/{id}", Hidden),
    ("delete", "/api/teams/{id}", Hidden),
    ("put", "/api/teams/{id}/policy", Hidden),
    ("get", "/api/teams/{id}/members", Hidden),
    ("put", "/api/teams/{id}/members", Hidden),
    ("delete", "/api/teams/{id}/members/{user}", Hidden),
    ("put", "/api/teams/{id}/clusters/{cluster}", Hidden),
    ("delete", "/api/teams/{id}/clusters/{cluster}", Hidden),
    ("post", "/api/teams/{id}/invite", Hidden),
    ("post", "/api/invitations/{token}/accept", OwnProof),
    ("get", "/invitations/{token}", OwnProof),
    ("post", "/invitations/{token}", OwnProof),
    ("get", "/api/access-requests", SignedIn),
    ("post", "/api/access-requests", Hidden),
    ("get", "/api/access-requests/{id}", Hidden),
    ("post", "/api/access-requests/{id}/approve", Hidden),
    ("post", "/api/access-requests/{id}/deny", Hidden),
    ("post", "/api/access-requests/{id}/end", Hidden),
    ("post", "/api/clusters/{id}/can-i", Cluster),
    ("get", "/api/explorer/who-can", Hidden),
    ("get", "/api/explorer/what-can", Hidden),
    ("get", "/api/audit", SignedIn),
    ("get", "/api/audit/timeline", SignedIn),
    ("get", "/api/audit/keys", SignedIn),
    ("get", "/api/audit/verify", Administrator),
    ("get", "/api/audit/export", Administrator),
    ("get", "/api/recordings", SignedIn),
    ("get", "/api/recordings/{id}", SignedIn),
    ("get", "/api/recordings/{id}/cast", SignedIn),
    ("get", "/api/recordings/{id}/search", SignedIn),
    ("get", "/api/recordings/{id}/live", SignedIn),
    ("get", "/debug/streams", Administrator),
    ("delete", "/api/streams/{id}", SignedIn),
    ("get", "/api/config", Open),
    ("get", "/.well-known/jwks.json", Open),
    ("get", "/health", Open),
    ("get", "/healthz", Open),
    ("get", "/readyz", Open),
    ("get", "/api/openapi.json", Open),
];

const GATEWAY: &str = "/k8s/clusters/{cluster}/api/v1/pods";

fn documented() -> BTreeSet<(String, String)> {
    let document = serde_json::to_value(openapi_document()).expect("the document is JSON");
    let paths = document["paths"].as_object().expect("paths").clone();
    let operations = |(path, item): (String, Value)| {
        let methods: Vec<String> = item.as_object().expect("an item").keys().cloned().collect();
        methods
            .into_iter()
            .filter(|key| ["get", "put", "post", "delete", "patch", "head", "options"].contains(&key.as_str()))
            .map(move |method| (method, path.clone()))
    };
    paths.into_iter().flat_map(operations).collect()
}

#[test]
fn every_route_is_listed() {
    let listed: BTreeSet<(String, String)> =
        ROUTES.iter().map(|(method, path, _)| ((*method).to_owned(), (*path).to_owned())).collect();
    let documented = documented();
    let missing: Vec<_> = documented.difference(&listed).collect();
    let stale: Vec<_> = listed.difference(&documented).collect();
    assert!(missing.is_empty(), "routes without a row here: say who may call them: {missing:?}");
    assert!(stale.is_empty(), "rows without a route: {stale:?}");
}

/// An id that nothing has.
const NOBODY: &str = "00000000-0000-7000-8000-000000000000";

/// A path with its parameters filled in by things that do not exist.
fn filled(path: &str) -> String {
    path.replace("{id}", NOBODY)
        .replace("{user}", NOBODY)
        .replace("{invitation}", NOBODY)
        .replace("{token}", "nothing")
        .replace("{name}", "nothing")
        .replace("{cluster}", "nothing")
        .replace("{provider}", "nothing")
}

/// A body that is well-formed for its route, so that what is tested is the right to call it.
fn body(method: &str, path: &str) -> Option<Value> {
    match (method, path) {
        ("post", "/auth/login") => Some(json!({"email": "nobody@example.com", "password": "not the password"})),
        ("post", "/auth/oauth/exchange") => Some(json!({"code": "nothing"})),
        ("post", "/auth/device/token") => Some(json!({"device_code": "nothing"})),
        ("post", "/auth/refresh") => Some(json!({"refresh_token": "nothing"})),
        ("post", "/auth/password") => Some(json!({"current": "x", "new": "y"})),
        ("post", "/api/api-keys") | ("put", "/api/api-keys/{id}") => {
            Some(json!({"name": "x", "scopes": ["users:read"]}))
        }
        ("post", "/api/tickets") => Some(json!({"path": "/api/whoami"})),
        ("post", "/api/clusters") => Some(json!({"name": "nothing", "kubeconfig": ""})),
        ("post", "/api/clusters/{id}/exec") => Some(json!({"command": ["get", "pods"]})),
        ("put", "/api/clusters/{id}" | "/api/clusters/{id}/credentials") => Some(json!({})),
        ("post", "/api/clusters/{id}/share") => Some(json!({"subject": "nobody@example.com", "level": "viewer"})),
        ("post", "/api/users") => Some(json!({"email": "nobody@"})),
        ("put", "/api/users/{id}/roles") => Some(json!({"roles": []})),
        ("post" | "put", "/api/roles" | "/api/roles/{name}") => Some(json!({"name": "nothing", "clusters": []})),
        ("post", "/api/orgs") => Some(json!({"name": "NOT A NAME"})),
        ("patch", "/api/orgs/{id}") => Some(json!({"display_name": "x"})),
        ("put", "/api/orgs/{id}/members") => Some(json!({"email": "nobody@example.com", "role": "org_member"})),
        ("put", "/api/orgs/{id}/clusters/{cluster}") => Some(json!({})),
        ("post", "/api/orgs/{id}/invite") => Some(json!({"role": "org_member"})),
        ("post", "/api/teams") => Some(json!({"org": NOBODY, "name": "nothing"})),
        ("put", "/api/teams/{id}/policy") => Some(json!({})),
        ("put", "/api/teams/{id}/members") => Some(json!({"email": "nobody@example.com", "role": "viewer"})),
        ("post", "/api/teams/{id}/invite") => Some(json!({"role": "viewer"})),
        ("post", "/api/access-requests") => {
            Some(json!({"cluster": "nothing", "namespaces": ["a"], "verbs": ["get"], "seconds": 60, "reason": "x"}))
        }
        ("post", "/api/clusters/{id}/can-i") => Some(json!({"checks": [{"verb": "get", "resource": "pods"}]})),
        (
            "post",
            "/api/invitations/{token}/accept"
            | "/api/access-requests/{id}/approve"
            | "/api/access-requests/{id}/deny"
            | "/api/access-requests/{id}/end",
        ) => Some(json!({})),
        ("post", "/api/agents/tokens") => Some(json!({"cluster": "NOT A NAME"})),
        ("post", "/api/agents/register") => Some(json!({"token": "x", "cluster": "nothing", "csr": "x"})),
        _ => None,
    }
}

async fn visit(fixture: &Fixture, method: &str, path: &str, token: Option<&str>) -> Result<(StatusCode, Value)> {
    let (status, problem, _) = visited(fixture, method, path, token).await?;
    Ok((status, problem))
}

/// [`visit`] with the request's id.
async fn visited(
    fixture: &Fixture,
    method: &str,
    path: &str,
    token: Option<&str>,
) -> Result<(StatusCode, Value, String)> {
    let verb = Method::from_bytes(method.to_uppercase().as_bytes())?;
    let response = fixture.call(verb, &filled(path), token, body(method, path)).await?;
    let (status, id) = (response.status(), response.headers().get("x-request-id").cloned());
    let id = id.with_context(|| format!("{method} {path} answers without X-Request-Id"))?;
    Ok((status, response.json().await.unwrap_or(Value::Null), id.to_str()?.to_owned()))
}

/// What a call left in the audit log, held to the table of acts: an act has rows with its verb, one that was refused has
/// exactly one, and everything else has none.
async fn check_rows(
    fixture: &Fixture,
    administrator: &str,
    (method, path): (&str, &str),
    signed_in: bool,
    (status, id): (StatusCode, &str),
) -> Result<()> {
    let query = format!("/api/audit?request_id={id}");
    let mut rows = Vec::new();
    // The outcome follows the answer; it may take a moment.
    for _ in 0..100 {
        let page: Value = fixture.call(Method::GET, &query, Some(administrator), None).await?.json().await?;
        rows = page["rows"].as_array().context("rows")?.clone();
        let attempted = rows.iter().filter(|row| row["outcome"] == "attempted").count();
        if attempted <= rows.len() - attempted {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let shown = format!("{method} {path} ({status}, signed in: {signed_in}) left {rows:?}");
    let Some((_, verb)) = acts::find(&method.to_uppercase(), &filled(path)) else {
        assert!(rows.is_empty(), "{shown}");
        return Ok(());
    };
    assert!(rows.iter().all(|row| row["verb"] == verb.as_str()), "{shown}");
    match status {
        // Nobody's attempts are counted, but for those to come in.
        _ if !signed_in => assert!(rows.is_empty() || matches!(verb, Verb::Login | Verb::AgentEnrol), "{shown}"),
        // A way to sign in that is switched off.
        StatusCode::NOT_FOUND if verb == Verb::Login => {}
        StatusCode::FORBIDDEN | StatusCode::NOT_FOUND => {
            let refused = rows.iter().any(|row| row["status"] == status.as_u16() && row["outcome"] != "succeeded");
            assert!(refused, "{shown}");
        }
        status if status.is_success() => assert!(!rows.is_empty(), "{shown}"),
        // Wrong in its form: nothing was attempted.
        _ => {}
    }
    Ok(())
}

/// Every act as nobody, as somebody without rights and as the administrator leaves the rows that it must.
#[tokio::test(flavor = "multi_thread")]
async fn every_act_leaves_its_rows() -> Result<()> {
    let fixture = Fixture::start(&HubOptions::default())?;
    let administrator = fixture.admin_token().await?;
    let mut people = vec![None];
    for name in ["somebody@example.com", "second@example.com"] {
        let password = fixture.hub.add_user(name, if name.starts_with("second") { &["admin"] } else { &[] })?;
        let answer: Value = fixture.sign_in(name, &password).await?.json().await?;
        people.push(Some(answer["token"].as_str().context("no token")?.to_owned()));
    }
    for (method, path, _) in ROUTES {
        // What ends the session that the next visits need is looked at in other tests.
        if path.contains("/logout") {
            continue;
        }
        for token in &people {
            let (status, _, id) = visited(&fixture, method, path, token.as_deref()).await?;
            check_rows(&fixture, &administrator, (method, path), token.is_some(), (status, &id)).await?;
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_somebody_administrator() -> Result<()> {
    let fixture = Fixture::start(&HubOptions::default())?;
    let password = fixture.hub.add_user("somebody@example.com", &[])?;
    let answer: Value = fixture.sign_in("somebody@example.com", &password).await?.json().await?;
    let somebody = answer["token"].as_str().context("no token")?.to_owned();
    let administrator = fixture.admin_token().await?;

    for (method, path, access) in ROUTES {
        let (status, problem) = visit(&fixture, method, path, None).await?;
        let shown = format!("{method} {path} as nobody: {status} {problem}");
        match access {
            Open => assert!(status != StatusCode::UNAUTHORIZED && status != StatusCode::FORBIDDEN, "{shown}"),
            OwnProof => assert!(status.is_client_error(), "{shown}"),
            SignedIn | Cluster | Hidden | Administrator => {
                assert_eq!((status, &problem["code"]), (StatusCode::UNAUTHORIZED, &json!("unauthenticated")), "{shown}")
            }
        }
        // Logging out ends the token that the other routes still need; it is visited on its own below.
        if path.starts_with("/auth/logout") || *path == "/logout" {
            continue;
        }
        let (status, problem) = visit(&fixture, method, path, Some(&somebody)).await?;
        let shown = format!("{method} {path} as somebody: {status} {problem}");
        match access {
            Administrator => {
                assert_eq!((status, &problem["code"]), (StatusCode::FORBIDDEN, &json!("forbidden")), "{shown}")
            }
            Cluster | Hidden => {
                assert_eq!((status, &problem["code"]), (StatusCode::NOT_FOUND, &json!("not_found")), "{shown}")
            }
            _ => assert!(status != StatusCode::FORBIDDEN && !status.is_server_error(), "{shown}"),
        }
        if *access == Administrator {
            let (status, problem) = visit(&fixture, method, path, Some(&administrator)).await?;
            let refused =
                [StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN].contains(&status) || status.is_server_error();
            assert!(!refused, "{method} {path} as administrator: {status} {problem}");
        }
    }
    gateway(&fixture, &somebody).await?;
    let (status, _) = visit(&fixture, "post", "/auth/logout", Some(&somebody)).await?;
    assert_eq!(status, StatusCode::NO_CONTENT);
    let (status, _) = visit(&fixture, "get", "/api/whoami", Some(&somebody)).await?;
    assert_eq!(status, StatusCode::UNAUTHORIZED, "a token holds after its logout");
    Ok(())
}

/// The gateway answers in the API server's own form.
async fn gateway(fixture: &Fixture, somebody: &str) -> Result<()> {
    let (status, body) = visit(fixture, "get", GATEWAY, None).await?;
    assert_eq!(
        (status, &body["kind"], &body["reason"]),
        (StatusCode::UNAUTHORIZED, &json!("Status"), &json!("Unauthorized"))
    );
    let (status, body) = visit(fixture, "get", GATEWAY, Some(somebody)).await?;
    assert_eq!((status, &body["kind"], &body["reason"]), (StatusCode::NOT_FOUND, &json!("Status"), &json!("NotFound")));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_agents_listener() -> Result<()> {
    let fixture = Fixture::start(&HubOptions::default())?;
    for (route, method, path, needs_certificate) in Route::ALL {
        let url = format!("https://localhost:{}{path}", fixture.hub.agents_port);
        let mut request = fixture.client.request(method.clone(), url);
        if *method == Method::POST {
            request = request.json(&json!({"token": "x", "cluster": "nothing", "csr": "x"}));
        }
        let response = request.send().await?;
        let (status, problem): (_, Value) = (response.status(), response.json().await.unwrap_or(Value::Null));
        let shown = format!("{route:?} {method} {path} without certificate: {status} {problem}");
        match (needs_certificate, route) {
            (true, _) => {
                assert_eq!((status, &problem["code"]), (StatusCode::UNAUTHORIZED, &json!("unauthenticated")), "{shown}")
            }
            (false, Route::Register) => assert!(status.is_client_error(), "{shown}"),
            (false, _) => assert!(status.is_success(), "{shown}"),
        }
    }
    let unknown = fixture.client.get(format!("https://localhost:{}/api/users", fixture.hub.agents_port)).send().await?;
    assert_eq!(unknown.status(), StatusCode::NOT_FOUND, "people's routes are not on the agents' listener");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_served_document_is_the_checked_one() -> Result<()> {
    let fixture = Fixture::start(&HubOptions::default())?;
    let served: Value = fixture.call(Method::GET, "/api/openapi.json", None, None).await?.json().await?;
    assert_eq!(served, serde_json::to_value(openapi_document())?);
    assert_eq!(served["openapi"], json!("3.1.0"));
    Ok(())
}
