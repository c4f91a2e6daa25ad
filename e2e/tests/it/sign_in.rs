//! Sign-in with a real Keycloak and a real browser: login, groups and their loss, sign-in on another device and on the
//! command line, key rotation, logout at the provider and by the provider, and what must be refused.
//!
//! Must not know: clusters. The provider and the browser are dear to start, so one story tells all.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use flotilla_harness::{HubOptions, HubProcess, Programs};
use flotilla_testbed::{KEYCLOAK_ADMIN, Keycloak, Tools, free_port, skipped, wait_for};
use reqwest::header::{LOCATION, SET_COOKIE};
use reqwest::{Client, Method, StatusCode, Url, redirect};
use serde_json::{Value, json};

use crate::browser::Browser;
use crate::commands::Background;

const TEST: &str = "sign_in";
const PASSWORD: &str = "correct horse battery";
const LIMIT: Duration = Duration::from_secs(20);

/// One realm: a client, two groups, somebody in one of them, somebody whose address nobody checked.
fn realm(hub_port: u16) -> Value {
    let user = |name: &str, verified: bool, groups: Value| {
        json!({
            "username": name, "email": format!("{name}@example.com"), "emailVerified": verified, "enabled": true,
            "firstName": name, "lastName": "Example", "groups": groups,
            "credentials": [{"type": "password", "value": PASSWORD, "temporary": false}],
        })
    };
    json!({
        "realm": "fleet", "enabled": true, "sslRequired": "none",
        "groups": [{"name": "platform"}, {"name": "dev"}],
        "users": [user("ada", true, json!(["/platform"])), user("eve", false, json!([]))],
        "clients": [{
            "clientId": "flotilla", "secret": "client-secret", "enabled": true, "protocol": "openid-connect",
            "standardFlowEnabled": true, "redirectUris": [format!("https://localhost:{hub_port}/*")],
            "attributes": {
                "post.logout.redirect.uris": "+",
                "pkce.code.challenge.method": "S256",
                // Keycloak does not know the hub's CA; on this machine the hub also takes plain HTTP.
                "backchannel.logout.url": format!("http://127.0.0.1:{hub_port}/auth/backchannel-logout"),
                "backchannel.logout.session.required": "true",
            },
            "protocolMappers": [{
                "name": "groups", "protocol": "openid-connect", "protocolMapper": "oidc-group-membership-mapper",
                "config": {"claim.name": "groups", "full.path": "false", "id.token.claim": "true"},
            }],
        }],
    })
}

struct Stand {
    keycloak: Keycloak,
    hub: HubProcess,
    browser: Browser,
    http: Client,
    dir: tempfile::TempDir,
}

impl Stand {
    async fn start() -> Option<Self> {
        let mut say = |line: &str| eprintln!("{line}");
        let program = match Keycloak::ensure(&mut say) {
            Ok(program) => program,
            Err(error) => {
                skipped(TEST, &format!("no Keycloak here: {error:#}"));
                return None;
            }
        };
        if !Browser::is_there() {
            skipped(TEST, "no browser here: apt-get install chromium chromium-driver");
            return None;
        }
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let dir = tempfile::tempdir().unwrap();
        let leash = Tools::ensure(&mut say).unwrap().leash();
        let people_port = free_port().unwrap();
        let keycloak = Keycloak::start(&program, &leash, dir.path(), &realm(people_port)).unwrap();
        let extra = format!(
            "auth: {{oidc: {{name: Keycloak, issuer: \"{}\", client_id: flotilla, client_secret: client-secret, \
             refresh_interval: 2s, roles: {{platform: [admin], dev: [viewer]}}}}}}\n",
            keycloak.issuer()
        );
        let options = HubOptions { people_port: Some(people_port), extra, ..HubOptions::default() };
        let hub =
            HubProcess::start(&Programs::beside_us().unwrap(), &leash, &dir.path().join("hub"), &options).unwrap();
        hub.login("admin", &hub.email, &hub.password).unwrap();
        let browser = Browser::start(&leash, dir.path()).await;
        let ca = reqwest::Certificate::from_pem(&std::fs::read(hub.ca_path()).unwrap()).unwrap();
        let http = Client::builder().tls_certs_merge([ca]).redirect(redirect::Policy::none()).build().unwrap();
        Some(Self { keycloak, hub, browser, http, dir })
    }

    fn page(&self, path: &str) -> String {
        format!("{}{path}", self.hub.url())
    }

    /// Where to put a picture, when somebody wants to look.
    fn picture(&self, name: &str) -> PathBuf {
        self.dir.path().join(format!("{name}.png"))
    }

    async fn type_password(&self, user: &str) {
        self.browser.fill("#username", user).await;
        self.browser.fill("#password", PASSWORD).await;
        self.browser.click("#kc-login").await;
    }

    async fn sign_in(&self) {
        self.browser.visit(&self.page("/login?return_to=/api/whoami")).await;
        self.browser.click("a.btn").await;
        self.type_password("ada").await;
        self.browser.shows("ada@example.com").await;
    }

    /// What `/api/whoami` shows in the browser.
    async fn whoami(&self) -> Value {
        self.browser.visit(&self.page("/api/whoami")).await;
        let text = self.browser.text().await;
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
    }

    /// Waits until `/api/whoami` is as wanted.
    async fn becomes(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Duration {
        let began = Instant::now();
        loop {
            let now = self.whoami().await;
            if wanted(&now) {
                return began.elapsed();
            }
            assert!(began.elapsed() < LIMIT, "{what}: still {now}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// One call of Keycloak's own administration.
    async fn keycloak(&self, method: Method, path: &str, body: Option<Value>) -> Value {
        let url = self.keycloak.url();
        let form = format!(
            "grant_type=password&client_id=admin-cli&username={}&password={}",
            KEYCLOAK_ADMIN.0, KEYCLOAK_ADMIN.1
        );
        let token = self.http.post(format!("{url}/realms/master/protocol/openid-connect/token"));
        let token = token.header("content-type", "application/x-www-form-urlencoded").body(form);
        let token: Value = token.send().await.unwrap().json().await.unwrap();
        let mut request = self.http.request(method, format!("{url}/admin/realms/fleet{path}"));
        request = request.bearer_auth(token["access_token"].as_str().unwrap());
        if let Some(body) = body {
            request = request.json(&body);
        }
        let response = request.send().await.unwrap();
        assert!(response.status().is_success(), "{path}: {}", response.status());
        response.json().await.unwrap_or(Value::Null)
    }

    async fn id_of(&self, path: &str) -> String {
        self.keycloak(Method::GET, path, None).await[0]["id"].as_str().unwrap().to_owned()
    }

    fn audited(&self, verb: &str) -> String {
        self.hub.flotilla_ok("admin", &["audit", "--all", "--verb", verb, "-o", "json"]).unwrap()
    }
}

fn roles(whoami: &Value) -> Vec<&str> {
    whoami["roles"].as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn sign_in_with_a_provider() {
    let Some(stand) = Stand::start().await else { return };
    refusals(&stand).await;
    login_and_groups(&stand).await;
    another_device(&stand).await;
    own_command_line(&stand).await;
    key_rotation(&stand).await;
    logout_by_the_provider(&stand).await;
    logout_at_the_provider(&stand).await;
    unverified_address(&stand).await;
    stand.browser.close().await;
}

/// States and issuers that do not fit.
async fn refusals(stand: &Stand) {
    let get = |path: String| stand.http.get(stand.page(&path)).send();
    let answer = get("/auth/callback?state=made-up&code=x".into()).await.unwrap();
    assert_eq!(answer.status(), StatusCode::BAD_REQUEST);

    let begin = || async {
        let sent = get("/auth/login?return_to=//evil.example".into()).await.unwrap();
        assert_eq!(sent.status(), StatusCode::SEE_OTHER);
        let to = Url::parse(sent.headers()[LOCATION].to_str().unwrap()).unwrap();
        let value = |name: &str| to.query_pairs().find(|(key, _)| key == name).unwrap().1.into_owned();
        assert_eq!(value("code_challenge_method"), "S256");
        assert!(value("redirect_uri").starts_with(&stand.hub.url()) && value("nonce").len() == 43);
        let cookie = sent.headers()[SET_COOKIE].to_str().unwrap().split(';').next().unwrap().to_owned();
        (value("state"), cookie)
    };
    // Another browser's state.
    let (state, _) = begin().await;
    let (_, other) = begin().await;
    let url = stand.page(&format!("/auth/callback?state={state}&code=x"));
    let answer = stand.http.get(&url).header("cookie", &other).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::BAD_REQUEST, "a state holds in its own browser only");
    // Another issuer's answer, and one that does not say whose it is though the provider always does.
    for issuer in ["&iss=https://evil.example", ""] {
        let (state, cookie) = begin().await;
        let url = stand.page(&format!("/auth/callback?state={state}&code=x{issuer}"));
        let answer = stand.http.get(&url).header("cookie", &cookie).send().await.unwrap();
        let (status, text) = (answer.status(), answer.text().await.unwrap());
        assert!(status == StatusCode::FORBIDDEN && text.contains("another issuer"), "{status} {text}");
        // It is spent, whatever came of it.
        let again = stand.http.get(&url).header("cookie", &cookie).send().await.unwrap();
        assert_eq!(again.status(), StatusCode::BAD_REQUEST);
    }
    // A made-up code is the provider's to refuse.
    let (state, cookie) = begin().await;
    let issuer = stand.keycloak.issuer();
    let url = stand.page(&format!("/auth/callback?state={state}&code=x&iss={issuer}"));
    let answer = stand.http.get(&url).header("cookie", &cookie).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::FORBIDDEN);
    let forged = stand.http.post(stand.page("/auth/backchannel-logout"));
    let forged = forged.header("content-type", "application/x-www-form-urlencoded").body("logout_token=a.b.c");
    assert_eq!(forged.send().await.unwrap().status(), StatusCode::BAD_REQUEST);
}

/// Roles follow the groups at the provider, while a session lasts.
async fn login_and_groups(stand: &Stand) {
    stand.browser.visit(&stand.page("/login")).await;
    stand.browser.screenshot(&stand.picture("sign-in")).await;
    stand.sign_in().await;
    assert_eq!(roles(&stand.whoami().await), ["admin"]);
    let ada = stand.id_of("/users?username=ada").await;
    let platform = stand.id_of("/groups?search=platform").await;
    let dev = stand.id_of("/groups?search=dev").await;
    stand.keycloak(Method::DELETE, &format!("/users/{ada}/groups/{platform}"), None).await;
    stand.keycloak(Method::PUT, &format!("/users/{ada}/groups/{dev}"), None).await;
    let took = stand.becomes("the right goes with the group", |now| roles(now) == ["viewer"]).await;
    assert!(took < Duration::from_secs(8), "the interval is 2 s: {took:?}");
    assert!(stand.audited("groups_change").contains("dev"));
}

fn start(stand: &Stand, user: &str, way: &str) -> Background {
    let mut command = stand.hub.flotilla(user);
    // A browser that is not there: the address is printed all the same.
    command.args(["login", way, "--hub", &stand.hub.url(), "--ca-file"]).arg(stand.hub.ca_path());
    Background::start(command)
}

fn printed_url(command: &Background, mark: &str) -> String {
    let in_whole_lines = |said: String| {
        let (lines, _) = said.rsplit_once('\n')?;
        lines.split_whitespace().find(|word| word.contains(mark)).map(str::to_owned)
    };
    wait_for("an address is printed", LIMIT, || Ok(in_whole_lines(command.text()))).unwrap()
}

fn is_in(stand: &Stand, user: &str, mut command: Background) {
    assert_eq!(command.wait(LIMIT), 0, "{}", command.text());
    let who: Value = serde_json::from_str(&stand.hub.flotilla_ok(user, &["whoami", "-o", "json"]).unwrap()).unwrap();
    assert_eq!((who["email"].as_str(), roles(&who)), (Some("ada@example.com"), vec!["viewer"]), "{who}");
}

async fn another_device(stand: &Stand) {
    let command = start(stand, "device", "--device");
    let url = printed_url(&command, "user_code=");
    stand.browser.visit(&url).await;
    stand.browser.shows("ada@example.com").await;
    stand.browser.screenshot(&stand.picture("device")).await;
    stand.browser.click("button[value=approve]").await;
    stand.browser.shows("Approved").await;
    is_in(stand, "device", command);
    stand.browser.visit(&url).await;
    stand.browser.shows("No device waits").await;
    let mut denied = start(stand, "denied", "--device");
    stand.browser.visit(&printed_url(&denied, "user_code=")).await;
    stand.browser.click("button[value=deny]").await;
    stand.browser.shows("Denied").await;
    assert_eq!(denied.wait(LIMIT), 3);
}

async fn own_command_line(stand: &Stand) {
    let command = start(stand, "cli", "--browser");
    let url = printed_url(&command, "/auth/cli?");
    stand.browser.visit(&url).await;
    stand.browser.click("button[value=approve]").await;
    stand.browser.shows("You are signed in on the command line").await;
    is_in(stand, "cli", command);
    // A code is not sent to anybody else's address.
    let evil = url.replace("http%3A%2F%2F127.0.0.1", "http%3A%2F%2Fevil.example");
    stand.browser.visit(&evil).await;
    stand.browser.shows("redirect_uri must be").await;
}

/// The provider signs with a new key, and the hub has not been told.
async fn key_rotation(stand: &Stand) {
    let realm = stand.keycloak(Method::GET, "", None).await;
    let key = json!({
        "name": "rotated", "providerId": "rsa-generated", "providerType": "org.keycloak.keys.KeyProvider",
        "parentId": realm["id"],
        "config": {"priority": ["500"], "enabled": ["true"], "active": ["true"], "keySize": ["2048"]},
    });
    let kid_before = stand.keycloak(Method::GET, "/keys", None).await["active"]["RS256"].clone();
    stand.keycloak(Method::POST, "/components", Some(key)).await;
    let kid_now = stand.keycloak(Method::GET, "/keys", None).await["active"]["RS256"].clone();
    assert_ne!(kid_before, kid_now);
    let whoami = stand.page("/api/whoami");
    stand.browser.visit(&whoami).await;
    stand.browser.forget_cookies().await;
    stand.browser.visit(&stand.page("/auth/login?return_to=/api/whoami")).await;
    // The provider still knows her.
    stand.browser.shows("ada@example.com").await;
}

/// Back-channel logout.
async fn logout_by_the_provider(stand: &Stand) {
    assert_eq!(roles(&stand.whoami().await), ["viewer"]);
    let ada = stand.id_of("/users?username=ada").await;
    stand.keycloak(Method::POST, &format!("/users/{ada}/logout"), None).await;
    stand.becomes("the session ends here too", |now| now["code"] == "unauthenticated").await;
    let rows = stand.audited("session_end");
    assert!(rows.contains("signed out at the provider"), "{rows}");
    // The command line stood on the same session.
    let output = stand.hub.flotilla("device").args(["whoami"]).output().unwrap();
    assert_eq!(output.status.code(), Some(3));
}

/// Whether the hub under test has its console; without one it draws a few pages itself.
fn console_is_built() -> bool {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../web/dist/index.html").is_file()
}

/// Sign-out in the hub is one at the provider, too.
async fn logout_at_the_provider(stand: &Stand) {
    stand.sign_in().await;
    stand.browser.visit(&stand.page("/login")).await;
    if console_is_built() {
        stand.browser.click("header button[aria-haspopup='menu']").await;
        stand.browser.screenshot(&stand.picture("signed-in")).await;
        stand.browser.click("[role='menuitem']:last-of-type").await;
    } else {
        stand.browser.shows("You are signed in as").await;
        stand.browser.screenshot(&stand.picture("signed-in")).await;
        stand.browser.click("form[action='/logout'] button").await;
    }
    stand.browser.shows("or with an account of this hub").await;
    assert_eq!(stand.whoami().await["code"], "unauthenticated");
    stand.browser.visit(&stand.page("/auth/login")).await;
    assert!(stand.browser.has("#kc-login").await, "the provider asks again: {}", stand.browser.url().await);
}

async fn unverified_address(stand: &Stand) {
    stand.browser.visit(&stand.page("/auth/login")).await;
    stand.type_password("eve").await;
    stand.browser.shows("does not vouch for the address").await;
    assert!(!stand.hub.flotilla_ok("admin", &["users", "list"]).unwrap().contains("eve@"));
}
