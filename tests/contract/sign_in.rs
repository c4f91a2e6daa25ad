//! Rows of sections B, C, D and E about signing in with a browser: GitHub (a local stand-in for github.com, which cannot
//! be had offline), hand-over codes, the sign-in page, developer sign-in.

use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use flotilla_harness::HubOptions;
use flotilla_tests::Fixture;
use hyper_util::rt::TokioIo;
use reqwest::header::{CONTENT_TYPE, COOKIE, LOCATION, SET_COOKIE};
use reqwest::{Method, Response, StatusCode, Url};
use serde_json::{Value, json};
use tokio::net::TcpListener;

const FORM: &str = "application/x-www-form-urlencoded";

/// Answers as GitHub does to whoever shows the code `good`, and keeps what it was sent.
async fn github_stand_in(verified: bool) -> Result<(String, Arc<std::sync::Mutex<Vec<String>>>)> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", listener.local_addr()?);
    let seen = Arc::new(std::sync::Mutex::new(Vec::new()));
    let kept = Arc::clone(&seen);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let kept = Arc::clone(&kept);
            let service = hyper_util::service::TowerToHyperService::new(tower::service_fn(
                move |request: http::Request<hyper::body::Incoming>| {
                    let kept = Arc::clone(&kept);
                    async move { Ok::<_, std::convert::Infallible>(answer(request, &kept, verified).await) }
                },
            ));
            tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        }
    });
    Ok((url, seen))
}

async fn answer(
    request: http::Request<hyper::body::Incoming>,
    seen: &std::sync::Mutex<Vec<String>>,
    verified: bool,
) -> http::Response<String> {
    use http_body_util::BodyExt;
    let path = request.uri().path().to_owned();
    let signed = request.headers().get("authorization").is_some_and(|value| value == "Bearer gho_x");
    let body = request.into_body().collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let body = String::from_utf8_lossy(&body).into_owned();
    let good = body.contains("code=good&") && body.contains("code_verifier=");
    seen.lock().expect("no panic").push(format!("{path} {body}"));
    let json = match path.as_str() {
        "/login/oauth/access_token" if good => json!({"access_token": "gho_x", "token_type": "bearer"}),
        "/login/oauth/access_token" => json!({"error": "bad_verification_code"}),
        "/api/v3/user" if signed => json!({"id": 583_231, "login": "octocat"}),
        "/api/v3/user/emails" if signed => json!([
            {"email": "other@example.com", "primary": false, "verified": true},
            {"email": "Octocat@Example.com", "primary": true, "verified": verified},
        ]),
        _ => json!({"message": "Bad credentials"}),
    };
    http::Response::new(json.to_string())
}

struct Begun {
    state: String,
    cookie: String,
}

async fn begin(fixture: &Fixture, path: &str) -> Result<Begun> {
    let sent = fixture.call(Method::GET, path, None, None).await?;
    ensure!(sent.status() == StatusCode::SEE_OTHER, "{path}: {}", sent.status());
    let to = Url::parse(sent.headers()[LOCATION].to_str()?)?;
    let state = to.query_pairs().find(|(name, _)| name == "state").context("no state")?.1.into_owned();
    Ok(Begun { state, cookie: cookie_of(&sent, "signin")? })
}

fn cookie_of(response: &Response, name: &str) -> Result<String> {
    let all = response.headers().get_all(SET_COOKIE).iter().filter_map(|value| value.to_str().ok());
    let found = all.filter_map(|value| value.split(';').next()).find(|pair| pair.contains(name));
    Ok(found.with_context(|| format!("no cookie {name}"))?.to_owned())
}

async fn come_back(fixture: &Fixture, begun: &Begun, path: &str, code: &str) -> Result<Response> {
    let url = format!("{}{path}?code={code}&state={}", fixture.hub.url(), begun.state);
    Ok(fixture.client.get(url).header(COOKIE, &begun.cookie).send().await?)
}

fn with_github(url: &str) -> HubOptions {
    let extra = format!("auth: {{github: {{client_id: app, client_secret: geheim, base_url: \"{url}\"}}}}\n");
    HubOptions { extra, ..HubOptions::default() }
}

/// C: `/auth/github`, `/auth/github/callback`; D: `/v1/auth/oauth/{provider}/authorize|callback`, `exchange`.
#[tokio::test(flavor = "multi_thread")]
async fn github() -> Result<()> {
    let (url, seen) = github_stand_in(true).await?;
    let fixture = Fixture::start(&with_github(&url))?;
    let ways: Value = fixture.call(Method::GET, "/api/auth/config", None, None).await?.json().await?;
    assert_eq!(ways["providers"][0]["name"], "github");

    let begun = begin(&fixture, "/auth/github?return_to=/api/whoami").await?;
    let back = come_back(&fixture, &begun, "/auth/github/callback", "good").await?;
    assert_eq!((back.status(), back.headers()[LOCATION].to_str()?), (StatusCode::SEE_OTHER, "/api/whoami"));
    let session = cookie_of(&back, "__Host-flotilla=")?;
    let who = fixture.client.get(format!("{}/api/auth/whoami", fixture.hub.url())).header(COOKIE, &session);
    let who: Value = who.send().await?.json().await?;
    assert_eq!((&who["email"], &who["roles"]), (&json!("octocat@example.com"), &json!([])), "an identity, no rights");
    assert!(seen.lock().expect("no panic").iter().any(|call| call.contains("client_secret=geheim")));

    let again = come_back(&fixture, &begun, "/auth/github/callback", "good").await?;
    assert_eq!(again.status(), StatusCode::BAD_REQUEST, "a state is good once");
    let begun = begin(&fixture, "/auth/github").await?;
    let bad = come_back(&fixture, &begun, "/auth/github/callback", "bad").await?;
    assert_eq!(bad.status(), StatusCode::FORBIDDEN);

    let begun = begin(&fixture, "/v1/auth/oauth/github/authorize?return_to=/done").await?;
    let back = come_back(&fixture, &begun, "/v1/auth/oauth/github/callback", "good").await?;
    let to = back.headers()[LOCATION].to_str()?.to_owned();
    let code = to.strip_prefix("/done?code=").context("no code")?.to_owned();
    let exchange = || fixture.call(Method::POST, "/v1/auth/oauth/exchange", None, Some(json!({"code": code})));
    let tokens: Value = exchange().await?.error_for_status()?.json().await?;
    let token = tokens["token"].as_str();
    let who: Value = fixture.call(Method::GET, "/api/whoami", token, None).await?.json().await?;
    assert_eq!(who["email"], "octocat@example.com");
    assert_eq!(exchange().await?.status(), StatusCode::UNAUTHORIZED, "a code is good once");
    Ok(())
}

/// Nobody gets in by an address that he did not prove to hold.
#[tokio::test(flavor = "multi_thread")]
async fn github_address_unverified() -> Result<()> {
    let (url, _) = github_stand_in(false).await?;
    let fixture = Fixture::start(&with_github(&url))?;
    let begun = begin(&fixture, "/auth/github").await?;
    let back = come_back(&fixture, &begun, "/auth/github/callback", "good").await?;
    assert_eq!(back.status(), StatusCode::FORBIDDEN);
    Ok(())
}

/// E: `/login`, `POST /logout`, `/dev/login`; nobody is sent to another site.
#[tokio::test(flavor = "multi_thread")]
async fn pages() -> Result<()> {
    let extra = "auth: {developer: {enabled: true}}\n".to_owned();
    let fixture = Fixture::start(&HubOptions { extra, ..HubOptions::default() })?;
    assert!(fixture.hub.log().contains("DEVELOPER SIGN-IN IS ON"));
    let url = |path: &str| format!("{}{path}", fixture.hub.url());
    let post = |path: &str, body: String| {
        fixture.client.post(url(path)).header(CONTENT_TYPE, FORM).header("origin", fixture.hub.url()).body(body).send()
    };
    let page = fixture.client.get(url("/login")).send().await?;
    let policy = page.headers()["content-security-policy"].to_str()?.to_owned();
    assert!(policy.contains("default-src 'none'") && !policy.contains("script") && !policy.contains("unsafe"));
    assert!(page.text().await?.contains("Developer sign-in is on"));

    let encode = |text: &str| text.replace('@', "%40").replace('/', "%2F");
    for (return_to, wanted) in [
        ("/api/whoami", "/api/whoami"),
        ("//evil.example", "/login"),
        ("https://evil.example/", "/login"),
        ("/\\evil", "/login"),
    ] {
        let body = format!(
            "email={}&password={}&return_to={}",
            encode(&fixture.hub.email),
            fixture.hub.password,
            encode(return_to)
        );
        let answer = post("/login", body).await?;
        assert_eq!((answer.status(), answer.headers()[LOCATION].to_str()?), (StatusCode::SEE_OTHER, wanted));
    }
    let wrong = post("/login", format!("email={}&password=wrong", encode(&fixture.hub.email))).await?;
    assert_eq!(wrong.status(), StatusCode::UNAUTHORIZED);
    let foreign = fixture.client.post(url("/dev/login")).header("origin", "https://evil.example").send().await?;
    assert_eq!(foreign.status(), StatusCode::FORBIDDEN);
    let developer = post("/dev/login", String::new()).await?;
    let session = cookie_of(&developer, "__Host-flotilla=")?;
    let who: Value = fixture.client.get(url("/api/whoami")).header(COOKIE, &session).send().await?.json().await?;
    assert_eq!(who["email"], "developer@localhost");
    let out = fixture.client.post(url("/logout")).header(COOKIE, &session).header("origin", fixture.hub.url());
    assert_eq!(out.send().await?.status(), StatusCode::SEE_OTHER);
    let after = fixture.client.get(url("/api/whoami")).header(COOKIE, &session).send().await?;
    assert_eq!(after.status(), StatusCode::UNAUTHORIZED, "a cookie holds after its logout");
    Ok(())
}
