//! Credentials that are fetched: from an OIDC issuer, from AWS by way of IRSA and Pod Identity, from a program; and a
//! look at an API server with each. The stand-ins speak HTTP on loopback; STS verifies signatures by itself.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a failed step is a failed test")]

mod support;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use flotilla_settings::Secret;
use flotilla_upstream::check::ErrorClass;
use flotilla_upstream::{
    Access, ApiServer, AwsEnvironment, EksCluster, Externals, OidcClient, Plugins, RefreshTokens, Rules, Upstream,
};
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use serde_json::json;
use support::{Answer, Seen, serve, serve_tls};

const RULES: Rules = Rules { files: Externals::Refused, plugins: Plugins::Refused };
const SECOND: Duration = Duration::from_secs(1);

/// An API server that takes `Bearer <token>` and lets it impersonate, or not.
async fn api_server(token: &str, allowed: bool) -> ApiServer {
    let expected = format!("Bearer {token}");
    let address = serve_tls(move |seen: &Seen| {
        if seen.header("authorization") != Some(expected.as_str()) {
            return Answer::json(401, &json!({"kind": "Status", "code": 401}));
        }
        match seen.path() {
            "/version" => Answer::json(200, &json!({"gitVersion": "v1.35.2"})),
            _ => Answer::json(201, &json!({"status": {"allowed": allowed}})),
        }
    })
    .await;
    ApiServer { server: format!("https://{address}"), insecure_skip_tls_verify: true, ..ApiServer::default() }
}

fn jwt(lives: i64, number: usize) -> String {
    let claims = json!({"exp": jiff::Timestamp::now().as_second() + lives, "jti": number});
    format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(claims.to_string()))
}

#[derive(Default)]
struct Kept(Mutex<Vec<String>>);

impl RefreshTokens for Kept {
    fn current(&self) -> BoxFuture<'_, Result<Option<Secret>, String>> {
        Box::pin(async { Ok(self.0.lock().last().cloned().map(Secret::from)) })
    }
    fn rotated(&self, token: Secret) -> BoxFuture<'_, Result<(), String>> {
        Box::pin(async move {
            self.0.lock().push(token.expose().to_owned());
            Ok(())
        })
    }
}

/// A token endpoint that exchanges the refresh token at each use and takes each once.
async fn issuer(grants: Arc<AtomicUsize>) -> String {
    serve(move |seen: &Seen, own: &str| {
        if seen.path() == "/realms/x/.well-known/openid-configuration" {
            let found = json!({"issuer": format!("{own}/realms/x"), "token_endpoint": format!("{own}/token")});
            return Answer::json(200, &found);
        }
        let form: BTreeMap<String, String> = form_urlencoded::parse(&seen.body).into_owned().collect();
        let number = grants.fetch_add(1, Ordering::SeqCst) + 1;
        match form["grant_type"].as_str() {
            "refresh_token" if form["refresh_token"] == format!("r{}", number - 1) && form["client_id"] == "hub" => {
                let granted = json!({"id_token": jwt(300, number), "access_token": "opaque", "refresh_token": format!("r{number}")});
                Answer::json(200, &granted)
            }
            // base64 of `hub:s%26cret`: RFC 6749 section 2.3.1 encodes before it joins.
            "client_credentials" if seen.header("authorization") == Some("Basic aHViOnMlMjZjcmV0") => {
                assert_eq!(form["scope"], "openid groups");
                Answer::json(200, &json!({"access_token": jwt(300, 0), "expires_in": 5}))
            }
            _ => Answer::json(400, &json!({"error": "invalid_grant", "error_description": "hunter2"})),
        }
    })
    .await
}

fn client(issuer: &str, secret: Option<&str>) -> OidcClient {
    OidcClient {
        issuer: format!("{issuer}/realms/x"),
        authorities: None,
        client_id: "hub".into(),
        client_secret: secret.map(|secret| Secret::from(secret.to_owned())),
        scopes: vec!["openid".into(), "groups".into()],
    }
}

#[tokio::test]
async fn an_oidc_refresh_token_is_exchanged_once_for_many_and_its_successor_is_kept() {
    let grants = Arc::new(AtomicUsize::new(0));
    let issuer = issuer(grants.clone()).await;
    let tokens = Arc::new(Kept(Mutex::new(vec!["r0".into()])));
    let at = api_server(&jwt(300, 1), true).await;
    let upstream =
        Upstream::open(Access::Oidc { at, client: client(&issuer, None), tokens: tokens.clone() }, &RULES).unwrap();
    let looks = futures_util::future::join_all((0..20).map(|_| upstream.check(10 * SECOND))).await;
    for look in looks {
        // The second may have turned between the token and what the API server expects: then it is refused by name.
        assert!(look.error.is_none() || look.error == Some(ErrorClass::AuthFailed), "{look:?}");
    }
    assert_eq!(grants.load(Ordering::SeqCst), 1, "one exchange for all");
    assert_eq!(*tokens.0.lock(), ["r0", "r1"]);
}

#[tokio::test]
async fn an_oidc_client_with_its_own_credentials() {
    let issuer = issuer(Arc::default()).await;
    let at = api_server("another", true).await;
    let access = Access::Oidc { at, client: client(&issuer, Some("s&cret")), tokens: Arc::new(Kept::default()) };
    let look = Upstream::open(access, &RULES).unwrap().check(10 * SECOND).await;
    assert_eq!(look.error, Some(ErrorClass::AuthFailed), "the token came, and is not the API server's: {look:?}");
    assert!(look.detail.contains("does not take the credentials"), "{look:?}");
}

#[tokio::test]
async fn an_issuer_that_refuses_is_quoted_without_its_words() {
    let issuer = issuer(Arc::default()).await;
    let tokens = Arc::new(Kept(Mutex::new(vec!["stolen".into()])));
    let at = api_server("x", true).await;
    let access = Access::Oidc { at: at.clone(), client: client(&issuer, None), tokens };
    let look = Upstream::open(access, &RULES).unwrap().check(10 * SECOND).await;
    assert_eq!(look.error, Some(ErrorClass::AuthFailed));
    assert!(look.detail.contains("invalid_grant") && !look.detail.contains("hunter2"), "{look:?}");
    let elsewhere = OidcClient { issuer: "http://issuer.example.com".into(), ..client(&issuer, None) };
    let access = Access::Oidc { at, client: elsewhere, tokens: Arc::new(Kept::default()) };
    assert!(Upstream::open(access, &RULES).unwrap_err().to_string().contains("https://"));
}

const SECRET_KEY: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";

fn hmac(key: &[u8], text: &str) -> Vec<u8> {
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, key);
    aws_lc_rs::hmac::sign(&key, text.as_bytes()).as_ref().to_vec()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn sha256(text: &str) -> String {
    hex(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text.as_bytes()).as_ref())
}

/// What EKS does with a token: takes the address out of it and lets STS verify the signature, for this cluster.
/// Written from AWS's description of Signature Version 4, apart from the code that signs.
fn verified_by_sts(token: &str, host: &str, cluster: &str, session: Option<&str>) -> Result<String, &'static str> {
    let url = URL_SAFE_NO_PAD.decode(token.strip_prefix("k8s-aws-v1.").ok_or("prefix")?).map_err(|_| "base64")?;
    let url = String::from_utf8(url).map_err(|_| "utf-8")?;
    let (before, query) = url.split_once('?').ok_or("query")?;
    if before.trim_end_matches('/') != format!("http://{host}") {
        return Err("host");
    }
    let raw: Vec<(&str, &str)> = query.split('&').filter_map(|pair| pair.split_once('=')).collect();
    let decoded: BTreeMap<String, String> = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
    let wanted = [
        ("Action", "GetCallerIdentity"),
        ("Version", "2011-06-15"),
        ("X-Amz-Algorithm", "AWS4-HMAC-SHA256"),
        ("X-Amz-Expires", "60"),
        ("X-Amz-SignedHeaders", "host;x-k8s-aws-id"),
    ];
    if wanted.iter().any(|(name, value)| decoded.get(*name).map(String::as_str) != Some(value)) {
        return Err("parameters");
    }
    if decoded.get("X-Amz-Security-Token").map(String::as_str) != session {
        return Err("session token");
    }
    let mut canonical: Vec<String> =
        raw.iter().filter(|(name, _)| *name != "X-Amz-Signature").map(|(n, v)| format!("{n}={v}")).collect();
    canonical.sort();
    let date = &decoded["X-Amz-Date"];
    let credential: Vec<&str> = decoded["X-Amz-Credential"].split('/').collect();
    let [id, day, region, "sts", "aws4_request"] = credential[..] else { return Err("scope") };
    let request = format!(
        "GET\n/\n{}\nhost:{host}\nx-k8s-aws-id:{cluster}\n\nhost;x-k8s-aws-id\n{}",
        canonical.join("&"),
        sha256("")
    );
    let to_sign = format!("AWS4-HMAC-SHA256\n{date}\n{day}/{region}/sts/aws4_request\n{}", sha256(&request));
    let mut key = format!("AWS4{SECRET_KEY}").into_bytes();
    for part in [day, region, "sts", "aws4_request"] {
        key = hmac(&key, part);
    }
    if hex(&hmac(&key, &to_sign)) != decoded["X-Amz-Signature"] {
        return Err("signature");
    }
    Ok(id.to_owned())
}

/// STS and, at another path, Pod Identity's agent. Gives credentials to who shows the right token.
async fn aws(asked: Arc<Mutex<Vec<String>>>, life: i64) -> String {
    serve(move |seen: &Seen, _: &str| {
        asked.lock().push(seen.path().to_owned());
        let end = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(life);
        if seen.path() == "/v1/credentials" && seen.header("authorization") == Some("pod token") {
            return Answer::json(200, &json!({"AccessKeyId": "ASIAPOD", "SecretAccessKey": SECRET_KEY, "Token": "session+/=",
                "Expiration": end.to_string(), "AccountId": "1"}));
        }
        let form: BTreeMap<String, String> = form_urlencoded::parse(&seen.body).into_owned().collect();
        let web = [("Action", "AssumeRoleWithWebIdentity"), ("RoleArn", "arn:aws:iam::1:role/hub"), ("WebIdentityToken", "web token")];
        if web.iter().any(|(name, value)| form.get(*name).map(String::as_str) != Some(value)) {
            return Answer::text(403, "<ErrorResponse><Error><Code>AccessDenied</Code><Message>hunter2</Message></Error></ErrorResponse>");
        }
        Answer::text(200, &format!("<AssumeRoleWithWebIdentityResponse><AssumeRoleWithWebIdentityResult><Credentials>\
            <AccessKeyId>ASIAWEB</AccessKeyId><SecretAccessKey>{SECRET_KEY}</SecretAccessKey><SessionToken>session+/=</SessionToken>\
            <Expiration>{end}</Expiration></Credentials></AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>"))
    })
    .await
}

/// An EKS API server: lets STS verify, and lets the verified one in.
async fn eks(
    host: String,
    session: Option<&'static str>,
    seen_by: Arc<Mutex<Vec<Result<String, &'static str>>>>,
) -> ApiServer {
    let address = serve_tls(move |seen: &Seen| {
        let token = seen.header("authorization").and_then(|value| value.strip_prefix("Bearer ")).unwrap_or_default();
        let verified = verified_by_sts(token, &host, "prod", session);
        seen_by.lock().push(verified.clone());
        match (verified, seen.path()) {
            (Err(_), _) => Answer::json(401, &json!({})),
            (_, "/version") => Answer::json(200, &json!({"gitVersion": "v1.35.2-eks-1"})),
            _ => Answer::json(201, &json!({"status": {"allowed": true}})),
        }
    })
    .await;
    ApiServer { server: format!("https://{address}"), insecure_skip_tls_verify: true, ..ApiServer::default() }
}

async fn eks_with(
    variables: &[(&str, &str)],
    sts: &str,
    session: Option<&'static str>,
    name: &str,
) -> (flotilla_upstream::check::Check, Vec<Result<String, &'static str>>) {
    let seen_by = Arc::new(Mutex::new(vec![]));
    let at = eks(sts.trim_start_matches("http://").to_owned(), session, seen_by.clone()).await;
    let mut environment: Vec<(String, String)> =
        variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    environment.push(("AWS_ENDPOINT_URL_STS".into(), sts.to_owned()));
    let cluster = EksCluster { name: name.into(), region: "eu-central-1".into() };
    let access = Access::Eks { at, cluster, environment: AwsEnvironment::new(environment) };
    let upstream = Upstream::open(access, &RULES).unwrap();
    let look = upstream.check(10 * SECOND).await;
    (look, std::mem::take(&mut *seen_by.lock()))
}

#[tokio::test]
async fn eks_with_static_keys_and_not_for_another_cluster() {
    let sts = aws(Arc::default(), 3600).await;
    let keys = [("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE"), ("AWS_SECRET_ACCESS_KEY", SECRET_KEY)];
    let (look, seen) = eks_with(&keys, &sts, None, "prod").await;
    assert_eq!((look.error, look.server_version.as_deref()), (None, Some("v1.35.2-eks-1")), "{look:?} {seen:?}");
    assert!(seen.iter().all(|id| *id == Ok("AKIDEXAMPLE".to_owned())), "{seen:?}");
    let (look, seen) = eks_with(&keys, &sts, None, "staging").await;
    assert_eq!((look.error, &seen[..]), (Some(ErrorClass::AuthFailed), &[Err("signature")][..]));
    let wrong = [("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE"), ("AWS_SECRET_ACCESS_KEY", "another")];
    assert_eq!(eks_with(&wrong, &sts, None, "prod").await.1, [Err("signature")]);
}

#[tokio::test]
async fn eks_through_irsa() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("token");
    std::fs::write(&file, "web token\n").unwrap();
    let asked = Arc::new(Mutex::new(vec![]));
    let sts = aws(asked.clone(), 3600).await;
    let variables =
        [("AWS_WEB_IDENTITY_TOKEN_FILE", file.to_str().unwrap()), ("AWS_ROLE_ARN", "arn:aws:iam::1:role/hub")];
    let (look, seen) = eks_with(&variables, &sts, Some("session+/="), "prod").await;
    assert_eq!(look.error, None, "{look:?} {seen:?}");
    assert!(seen.iter().all(|id| *id == Ok("ASIAWEB".to_owned())), "{seen:?}");
    assert_eq!(asked.lock().len(), 1, "the role is taken on once for all requests");
    std::fs::write(&file, "stolen").unwrap();
    let (look, _) = eks_with(&variables, &sts, Some("session+/="), "prod").await;
    assert_eq!(look.error, Some(ErrorClass::AuthFailed));
    assert!(look.detail.contains("AccessDenied") && !look.detail.contains("hunter2"), "{look:?}");
}

#[tokio::test]
async fn eks_through_pod_identity() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("token");
    std::fs::write(&file, "pod token").unwrap();
    let sts = aws(Arc::default(), 3600).await;
    let agent = format!("{sts}/v1/credentials");
    let variables = [
        ("AWS_CONTAINER_CREDENTIALS_FULL_URI", agent.as_str()),
        ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", file.to_str().unwrap()),
    ];
    let (look, seen) = eks_with(&variables, &sts, Some("session+/="), "prod").await;
    assert_eq!(look.error, None, "{look:?} {seen:?}");
    assert!(seen.iter().all(|id| *id == Ok("ASIAPOD".to_owned())), "{seen:?}");
}

#[tokio::test]
async fn aws_credentials_that_are_not_there_or_lead_elsewhere() {
    let open = |variables: &[(&str, &str)]| {
        let at = ApiServer { server: "https://h:1".into(), insecure_skip_tls_verify: true, ..ApiServer::default() };
        let environment = AwsEnvironment::new(variables.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())));
        let cluster = EksCluster { name: "prod".into(), region: "eu-central-1".into() };
        Upstream::open(Access::Eks { at, cluster, environment }, &RULES).map(drop).unwrap_err().to_string()
    };
    assert!(open(&[]).contains("Pod Identity"));
    assert!(open(&[("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://evil.example.com/")]).contains("neither"));
    let plain = [
        ("AWS_WEB_IDENTITY_TOKEN_FILE", "/t"),
        ("AWS_ROLE_ARN", "r"),
        ("AWS_ENDPOINT_URL_STS", "http://sts.example.com"),
    ];
    assert!(open(&plain).contains("https://"));
}

#[tokio::test]
async fn a_look_tells_what_is_missing_and_what_is_wrong() {
    let token = |at: ApiServer, token: &str| Access::Token { at, token: Secret::from(token.to_owned()) };
    let look = async |access| Upstream::open(access, &RULES).unwrap().check(2 * SECOND).await;
    let at = api_server("good", true).await;
    let well = look(token(at.clone(), " good\n")).await;
    assert_eq!((well.error, well.server_version.as_deref(), well.missing.len()), (None, Some("v1.35.2"), 0));
    assert!(well.latency > Duration::ZERO);
    assert_eq!(look(token(at.clone(), "bad")).await.error, Some(ErrorClass::AuthFailed));
    let denied = look(token(api_server("good", false).await, "good")).await;
    assert_eq!(
        (denied.error, &denied.missing[..]),
        (Some(ErrorClass::Denied), &["impersonate users", "impersonate groups"][..])
    );
    assert!(denied.detail.contains("ClusterRole"), "{denied:?}");

    let gone = ApiServer { server: "https://127.0.0.1:1".into(), ..at.clone() };
    assert_eq!(look(token(gone, "good")).await.error, Some(ErrorClass::ApiserverUnreachable));
    let strict = ApiServer { insecure_skip_tls_verify: false, ..at.clone() };
    if let Ok(upstream) = Upstream::open(token(strict, "good"), &RULES) {
        let look = upstream.check(2 * SECOND).await;
        assert_eq!(look.error, Some(ErrorClass::ApiserverUnreachable), "a certificate of nobody: {look:?}");
    }
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let silent = ApiServer { server: format!("https://{}", silent.local_addr().unwrap()), ..at };
    let held = look(token(silent, "good")).await;
    assert!(matches!(held.error, Some(ErrorClass::Timeout | ErrorClass::ApiserverUnreachable)), "{held:?}");
}

#[tokio::test]
async fn a_kubeconfig_with_a_program_where_the_operator_allows_it() {
    let at = api_server("from-plugin", true).await;
    let script = r#"echo '{"apiVersion":"client.authentication.k8s.io/v1","kind":"ExecCredential","status":{"token":"from-plugin"}}'"#;
    let kubeconfig = json!({"current-context": "c", "contexts": [{"name": "c", "context": {"cluster": "k", "user": "u"}}],
        "clusters": [{"name": "k", "cluster": {"server": at.server, "insecure-skip-tls-verify": true}}],
        "users": [{"name": "u", "user": {"exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": "sh", "args": ["-c", script], "interactiveMode": "Never"}}}]});
    let access = || Access::Kubeconfig { yaml: kubeconfig.to_string().into(), context: None };
    assert!(Upstream::open(access(), &RULES).unwrap_err().to_string().contains("is not run here"));
    let rules = Rules { plugins: Plugins::Allowed { deadline: 5 * SECOND }, ..RULES };
    let look = Upstream::open(access(), &rules).unwrap().check(10 * SECOND).await;
    assert_eq!(look.error, None, "{look:?}");
}
