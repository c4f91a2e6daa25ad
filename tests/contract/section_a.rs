//! Section A: command line and gateway (mk8s).

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use flotilla_hub::config::Config;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::fixture::{CLUSTER, keys, world};

fn claims(token: &str) -> Result<(Value, Value)> {
    use base64::Engine;
    let decode = |part: &str| -> Result<Value> {
        Ok(serde_json::from_slice(&base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(part)?)?)
    };
    let mut parts = token.split('.');
    Ok((decode(parts.next().context("no header")?)?, decode(parts.next().context("no claims")?)?))
}

#[tokio::test(flavor = "multi_thread")]
async fn login_answers_with_an_rs256_token() -> Result<()> {
    let hub = &world().fixture.hub;
    let answer: Value = world().fixture.sign_in(&hub.email, &hub.password).await?.error_for_status()?.json().await?;
    for key in ["token", "expires_at", "refresh_token"] {
        assert!(answer[key].is_string(), "{key} in {:?}", keys(&answer));
    }
    let (header, claims) = claims(answer["token"].as_str().context("no token")?)?;
    assert_eq!(header["alg"], "RS256");
    let keys: Value = world().fixture.call(Method::GET, "/.well-known/jwks.json", None, None).await?.json().await?;
    let known = keys["keys"]
        .as_array()
        .is_some_and(|keys| keys.iter().any(|key| key["kid"] == header["kid"] && key["kty"] == "RSA"));
    assert!(known, "the signing key is published: {keys}");
    assert!(claims["exp"].as_i64() > claims["iat"].as_i64());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn login_gives_one_answer_for_unknown_user_and_wrong_password_in_the_same_time() -> Result<()> {
    let fixture = &world().fixture;
    fixture.hub.add_user("timing@example.com", &[])?;
    let mut answers = Vec::new();
    let mut times: [Vec<Duration>; 2] = Default::default();
    // Few and alternating, so that the throttle lets them through and a noisy machine hits both alike.
    for round in 0..4 {
        for (kind, email) in [(0, "timing@example.com".to_owned()), (1, format!("nobody{round}@example.com"))] {
            let started = Instant::now();
            let response = fixture.sign_in(&email, "certainly wrong").await?;
            times[kind].push(started.elapsed());
            assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
            let mut problem: Value = response.json().await?;
            problem["request_id"] = Value::Null;
            answers.push(problem);
        }
    }
    assert!(answers.windows(2).all(|pair| pair[0] == pair[1]), "one answer: {answers:?}");
    // That a hash is computed for both is what is tested, not the clock of this machine: without one the answer takes a
    // hundredth of the time.
    let [known, unknown] = times.map(|times| times.into_iter().min().unwrap_or_default());
    assert!(unknown * 5 > known, "an unknown user is told apart by time: {unknown:?} against {known:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn refresh_rotates_and_reuse_ends_the_session() -> Result<()> {
    let fixture = &world().fixture;
    let password = fixture.hub.add_user("refresh@example.com", &[])?;
    let first: Value = fixture.sign_in("refresh@example.com", &password).await?.json().await?;
    let refresh =
        |token: Value| fixture.call(Method::POST, "/auth/refresh", None, Some(json!({"refresh_token": token})));
    let second: Value = refresh(first["refresh_token"].clone()).await?.error_for_status()?.json().await?;
    assert_ne!(first["refresh_token"], second["refresh_token"]);
    let token = second["token"].as_str().context("no token")?;
    let me = fixture.call(Method::GET, "/api/whoami", Some(token), None).await?;
    assert_eq!(me.status(), StatusCode::OK);

    let reused = refresh(first["refresh_token"].clone()).await?;
    assert_eq!(reused.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(reused.json::<Value>().await?["code"], "refresh_reused");
    for (what, answer) in [
        ("the newest refresh token", refresh(second["refresh_token"].clone()).await?),
        ("the access token", fixture.call(Method::GET, "/api/whoami", Some(token), None).await?),
    ] {
        assert_eq!(answer.status(), StatusCode::UNAUTHORIZED, "{what} holds after a reuse");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn clusters_lists_what_the_caller_may_reach() -> Result<()> {
    let world = world();
    let answer = world.ok(Method::GET, "/clusters", None).await?;
    let cluster = answer["clusters"]
        .as_array()
        .and_then(|all| all.iter().find(|one| one["name"] == CLUSTER))
        .context("the cluster")?;
    for key in ["id", "name", "status", "last_seen", "metadata"] {
        assert!(!cluster[key].is_null(), "{key} in {cluster}");
    }
    assert_eq!(cluster["status"], "connected");
    let password = world.fixture.hub.add_user("outsider@example.com", &[])?;
    let answer: Value = world.fixture.sign_in("outsider@example.com", &password).await?.json().await?;
    let token = answer["token"].as_str().context("no token")?;
    let seen: Value = world.fixture.call(Method::GET, "/clusters", Some(token), None).await?.json().await?;
    assert_eq!(seen, json!({"clusters": []}));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn exec_runs_kubectl_without_reach_into_the_hub() -> Result<()> {
    let world = world();
    let clusters = world.ok(Method::GET, "/clusters", None).await?;
    let id = clusters["clusters"]
        .as_array()
        .and_then(|all| all.iter().find(|one| one["name"] == CLUSTER))
        .context("the cluster")?["id"]
        .clone();
    let path = format!("/clusters/{}/exec", id.as_str().context("id")?);
    let run = |command: Value| world.ok(Method::POST, &path, Some(command));

    let pods = run(json!({"command": ["get", "namespaces", "-o", "name"]})).await?;
    assert_eq!(keys(&pods), ["exit_code", "output"]);
    assert_eq!(pods["exit_code"], 0, "{pods}");
    assert!(pods["output"].as_str().is_some_and(|output| output.contains("namespace/default")), "{pods}");

    let manifest = r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"by-exec","namespace":"default"},"data":{"a":"b"}}"#;
    let applied = run(json!({"command": ["apply", "-f", "-"], "stdin": manifest})).await?;
    assert_eq!(applied["output"], "configmap/by-exec created\n", "{applied}");
    let missing = run(json!({"command": ["get", "configmap", "not-there", "-n", "default"]})).await?;
    assert_eq!(missing["exit_code"], 1);
    assert!(missing["output"].as_str().is_some_and(|output| output.contains("NotFound")), "{missing}");

    for command in [
        json!(["apply", "-f", "/etc/passwd"]),
        json!(["create", "configmap", "x", "--from-file=/etc/passwd"]),
        json!(["get", "pods", "--kubeconfig", "/etc/kubeconfig"]),
        json!(["get", "pods", "--server=https://elsewhere"]),
        json!(["config", "view", "--raw"]),
        json!(["plugin", "list"]),
        json!(["hack"]),
    ] {
        let answer =
            world.fixture.call(Method::POST, &path, Some(world.token()), Some(json!({"command": command}))).await?;
        assert_eq!(answer.status(), StatusCode::UNPROCESSABLE_ENTITY, "{command}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn users_are_the_administrators() -> Result<()> {
    let world = world();
    let made = world
        .ok(Method::POST, "/users", Some(json!({"email": "Made@Example.com", "password": "a long enough password"})))
        .await?;
    assert_eq!(made["user"]["email"], "made@example.com");
    let id = made["user"]["id"].as_str().context("id")?;
    let changed = world.ok(Method::PUT, &format!("/users/{id}/roles"), Some(json!({"roles": ["viewer"]}))).await?;
    assert_eq!(changed["roles"], json!(["viewer"]));
    let listed = world.ok(Method::GET, "/users", None).await?;
    assert!(
        listed["users"]
            .as_array()
            .is_some_and(|all| all.iter().any(|user| user["id"] == id && user["roles"] == json!(["viewer"])))
    );
    let unknown = world
        .fixture
        .call(Method::PUT, &format!("/users/{id}/roles"), Some(world.token()), Some(json!({"roles": ["nope"]})))
        .await?;
    assert_eq!(unknown.status(), StatusCode::UNPROCESSABLE_ENTITY);

    let answer: Value =
        world.fixture.sign_in("made@example.com", "a long enough password").await?.error_for_status()?.json().await?;
    let token = answer["token"].as_str().context("token")?;
    for (method, path, body) in [
        (Method::GET, "/users".to_owned(), None),
        (Method::POST, "/users".to_owned(), Some(json!({"email": "x@example.com"}))),
        (Method::PUT, format!("/users/{id}/roles"), Some(json!({"roles": ["admin"]}))),
    ] {
        let answer = world.fixture.call(method.clone(), &path, Some(token), body).await?;
        assert_eq!(answer.status(), StatusCode::FORBIDDEN, "{method} {path}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn bcrypt_hashes_from_elsewhere_sign_in() -> Result<()> {
    let world = world();
    let hash = bcrypt::hash("imported from elsewhere", 5)?;
    world.ok(Method::POST, "/users", Some(json!({"email": "imported@example.com", "password_hash": hash}))).await?;
    let answer = world.fixture.sign_in("imported@example.com", "imported from elsewhere").await?;
    assert_eq!(answer.status(), StatusCode::OK);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn roles_come_from_the_database_with_cluster_wildcards() -> Result<()> {
    let world = world();
    let role = json!({"name": "contract-dev", "clusters": [{"name": "dev-*", "namespaces": ["*"], "verbs": ["get", "list", "logs", "exec"], "resources": ["pods", "services", "deployments"]}]});
    world.ok(Method::POST, "/api/roles", Some(role)).await?;
    let password = world.fixture.hub.add_user("wild@example.com", &["contract-dev"])?;
    let answer: Value = world.fixture.sign_in("wild@example.com", &password).await?.json().await?;
    let token = answer["token"].as_str().context("token")?;
    let get = |path: &'static str| async move {
        world.fixture.call(Method::GET, &format!("/k8s/clusters/{CLUSTER}{path}"), Some(token), None).await
    };
    // The hub's policy allows it; the cluster's own RBAC then refuses, because nothing is bound to this role there.
    let allowed: Value = get("/api/v1/pods").await?.json().await?;
    assert!(
        allowed["message"].as_str().is_some_and(|text| text.contains("wild@example.com") && !text.contains("hub")),
        "{allowed}"
    );
    let denied: Value = get("/api/v1/configmaps").await?.json().await?;
    assert_eq!((&denied["code"], &denied["reason"]), (&json!(403), &json!("Forbidden")));
    assert!(
        denied["message"].as_str().is_some_and(|text| text.contains("contract-dev")),
        "the closest rule is named: {denied}"
    );
    Ok(())
}

#[test]
fn roles_come_from_yaml() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("roles.yaml");
    std::fs::write(
        &file,
        r#"
roles:
  - name: developer
    clusters:
      - name: "dev-*"
        namespaces: ["*"]
        verbs: ["get", "list", "logs", "exec"]
        resources: ["pods", "services", "deployments"]
users:
  - email: "dev@example.com"
    roles: ["developer"]
"#,
    )?;
    let book = flotilla_hub::roles::RoleBook::open(
        Some(file),
        Vec::new(),
        Vec::new(),
        flotilla_hub::directory::Directory::default(),
    )?;
    assert_eq!(book.effective("dev@example.com", Vec::new()), ["developer"]);
    assert_eq!(book.source("developer").as_deref(), Some("file"));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn agent_sign_on_is_a_token_once() -> Result<()> {
    let world = world();
    let made = world.ok(Method::POST, "/api/agents/tokens", Some(json!({"cluster": "dev-once"}))).await?;
    let expires: flotilla_types::time::Timestamp = made["expires_at"].as_str().context("expires_at")?.parse()?;
    let minutes = (expires.as_second() - flotilla_types::time::Timestamp::now().as_second()) / 60;
    assert!((14..=15).contains(&minutes), "{minutes} minutes");
    let register = |cluster: &'static str| {
        let token = made["token"].clone();
        async move {
            let (csr, _key) = flotilla_tunnel::pki::new_csr(cluster)?;
            let url = format!("https://localhost:{}/api/agents/register", world.fixture.hub.agents_port);
            let answer = world
                .fixture
                .client
                .post(url)
                .json(&json!({"token": token, "cluster": cluster, "csr": csr}))
                .send()
                .await?;
            let (status, mut body): (StatusCode, Value) = (answer.status(), answer.json().await?);
            body["request_id"] = Value::Null;
            Ok::<_, anyhow::Error>((status, body))
        }
    };
    let (status, elsewhere) = register("dev-elsewhere").await?;
    assert_eq!(status, StatusCode::UNAUTHORIZED);
    let (status, enrolment) = register("dev-once").await?;
    assert_eq!(status, StatusCode::OK, "{enrolment}");
    assert!(enrolment["certificate"].as_str().is_some_and(|pem| pem.contains("BEGIN CERTIFICATE")));
    let ends: flotilla_types::time::Timestamp = enrolment["expires_at"].as_str().context("expires_at")?.parse()?;
    assert!(ends.as_second() - flotilla_types::time::Timestamp::now().as_second() <= 24 * 3600, "short-lived");
    let (status, spent) = register("dev-once").await?;
    assert_eq!(status, StatusCode::UNAUTHORIZED);
    assert_eq!(spent, elsewhere, "all failures of a token look the same");
    Ok(())
}

#[test]
fn files_have_the_keys_of_the_source_document() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("central.yaml");
    std::fs::write(
        &file,
        "server:\n  http_port: 8080\n  grpc_port: 9090\ndatabase:\n  driver: postgres\n  url: postgres://user:pass@localhost/${CONTRACT_DB}\n\
         auth:\n  jwt_secret: \"your-secret-key-that-is-long\"\n  token_expiry: 24h\ntls:\n  enabled: true\n  cert_file: /etc/mk8s/tls.crt\n  key_file: /etc/mk8s/tls.key\n",
    )?;
    let source = flotilla_settings::Source::new()
        .prefix("FLOTILLA")
        .file(&file)
        .environment([("CONTRACT_DB".to_owned(), "mk8s".to_owned())]);
    let config: Config = flotilla_settings::load(&source)?;
    config.check()?;
    assert_eq!((config.server.http_port, config.server.grpc_port), (8080, 9090));
    assert_eq!(
        config.database.url.as_ref().map(flotilla_settings::Secret::expose),
        Some("postgres://user:pass@localhost/mk8s")
    );
    assert_eq!(config.auth.token_expiry.0, Duration::from_secs(86_400));
    Ok(())
}

#[test]
fn a_mistaken_key_or_type_is_named() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("central.yaml");
    for (text, wanted) in [
        ("server: {http_prot: 1}\n", "http_port"),
        ("server: {http_port: many}\n", "server.http_port"),
        ("auth: {token_expiry: soon}\n", "token_expiry"),
    ] {
        std::fs::write(&file, text)?;
        let source = flotilla_settings::Source::new().prefix("FLOTILLA").file(&file);
        let error = flotilla_settings::load::<Config>(&source).expect_err("a mistake").to_string();
        assert!(error.contains(wanted), "{text}: {error}");
    }
    Ok(())
}

#[test]
fn every_command_has_help_with_an_example() -> Result<()> {
    let hub = &world().fixture.hub;
    for command in [
        "login",
        "logout",
        "clusters list",
        "clusters use",
        "kubectl",
        "k",
        "status",
        "clusters",
        "kubeconfig",
        "users",
        "roles",
        "agents",
        "audit",
        "hub",
        "completion",
        "credential",
    ] {
        let mut words: Vec<&str> = command.split(' ').collect();
        words.push("--help");
        let help = hub.flotilla_ok("admin", &words)?;
        assert!(
            help.contains("Example") && help.contains("flotilla "),
            "flotilla {command} --help has no example:\n{help}"
        );
    }
    Ok(())
}

#[test]
fn the_commands_do_what_the_source_document_shows() -> Result<()> {
    let hub = &world().fixture.hub;
    assert!(hub.flotilla_ok("admin", &["clusters", "list"])?.contains(CLUSTER));
    hub.flotilla_ok("admin", &["clusters", "use", CLUSTER])?;
    let status = hub.flotilla_ok("admin", &["status"])?;
    assert!(status.contains(&hub.email) && status.contains(CLUSTER) && status.contains("admin"), "{status}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_tables_of_the_source_document() -> Result<()> {
    use flotilla_types::audit::AuditQuery;
    let world = world();
    let body = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "audited"}});
    world
        .ok(Method::POST, &format!("/k8s/clusters/{CLUSTER}/api/v1/namespaces/default/configmaps"), Some(body))
        .await?;
    let database = world.fixture.hub.dir().join("data/hub.db");
    let keys = flotilla_hub::keyring::read(&world.fixture.hub.dir().join("data/seal.key"))?;
    let sealer = flotilla_store::Sealer::new(keys)?;
    let config = flotilla_store::DatabaseConfig {
        driver: flotilla_store::Driver::Sqlite,
        url: format!("sqlite://{}", database.display()),
    };
    let store = flotilla_store::Store::open(&config, sealer).await?;
    assert!(!store.list_users().await?.is_empty() && !store.list_clusters().await?.is_empty());
    // The outcome follows the answer; it may take a moment.
    let query =
        AuditQuery { cluster: Some(CLUSTER.to_owned()), verb: Some("create".to_owned()), ..AuditQuery::default() };
    let mut rows = Vec::new();
    for _ in 0..50 {
        rows = store.audit_query(&query, None).await?.rows;
        if rows.iter().any(|row| row.outcome.as_str() == "succeeded") {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let outcome = rows.iter().find(|row| row.outcome.as_str() == "succeeded").context("the outcome row")?;
    assert!(outcome.command.starts_with("create configmaps") && outcome.status == 201, "{outcome:?}");
    assert!(rows.iter().any(|row| row.outcome.as_str() == "attempted" && row.request_id == outcome.request_id));
    Ok(())
}
