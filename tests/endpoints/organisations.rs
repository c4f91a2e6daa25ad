//! Organisations as nobody, as a member of another one, as a member, as its owner, and as the platform's administrator;
//! invitations by link and by mail; requests for access.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use flotilla_harness::HubOptions;
use flotilla_testbed::{free_port, skipped, wait_for};
use flotilla_tests::Fixture;
use flotilla_tunnel::pki::CertificateAuthority;
use reqwest::Method;
use serde_json::{Value, json};

/// One caller.
struct Person<'a> {
    fixture: &'a Fixture,
    token: String,
}

impl Person<'_> {
    async fn call(&self, method: &str, path: &str, body: Option<Value>) -> Result<(u16, Value)> {
        let method = Method::from_bytes(method.as_bytes())?;
        let response = self.fixture.call(method, path, Some(&self.token), body).await?;
        Ok((response.status().as_u16(), response.json().await.unwrap_or(Value::Null)))
    }

    async fn ok(&self, method: &str, path: &str, body: Option<Value>) -> Result<Value> {
        let (status, answer) = self.call(method, path, body).await?;
        ensure!(status < 300, "{method} {path}: {status} {answer}");
        Ok(answer)
    }
}

async fn person<'a>(fixture: &'a Fixture, email: &str, roles: &[&str]) -> Result<Person<'a>> {
    let password = fixture.hub.add_user(email, roles)?;
    signed_in(fixture, email, &password).await
}

async fn signed_in<'a>(fixture: &'a Fixture, email: &str, password: &str) -> Result<Person<'a>> {
    let answer: Value = fixture.sign_in(email, password).await?.error_for_status()?.json().await?;
    Ok(Person { fixture, token: answer["token"].as_str().context("no token")?.to_owned() })
}

fn id(value: &Value) -> String {
    value["id"].as_str().unwrap_or_default().to_owned()
}

/// What differs between two refusals of the same thing is the request's id.
fn same(mut problem: Value) -> Value {
    problem["request_id"] = Value::Null;
    problem
}

#[tokio::test(flavor = "multi_thread")]
async fn another_organisations_objects_do_not_exist() -> Result<()> {
    let fixture = Fixture::start(&HubOptions::default())?;
    let admin = Person { fixture: &fixture, token: fixture.admin_token().await? };
    let owner = person(&fixture, "owner@example.com", &[]).await?;
    let member = person(&fixture, "member@example.com", &[]).await?;
    let other = person(&fixture, "other@example.com", &[]).await?;
    let acme = id(&admin.ok("POST", "/api/orgs", Some(json!({"name": "acme", "owner": "owner@example.com"}))).await?);
    admin.ok("POST", "/api/orgs", Some(json!({"name": "rival", "owner": "other@example.com"}))).await?;
    let put = json!({"email": "member@example.com", "role": "org_member"});
    owner.ok("PUT", &format!("/api/orgs/{acme}/members"), Some(put)).await?;
    let team = id(&owner.ok("POST", "/api/teams", Some(json!({"org": acme, "name": "pay"}))).await?);

    let nothing = "00000000-0000-7000-8000-00000000dead";
    for (method, path, body) in [
        ("GET", "/api/orgs/ID", None),
        ("PATCH", "/api/orgs/ID", Some(json!({"display_name": "x"}))),
        ("DELETE", "/api/orgs/ID", None),
        ("GET", "/api/orgs/ID/members", None),
        ("GET", "/api/orgs/ID/clusters", None),
        ("POST", "/api/orgs/ID/invite", Some(json!({"role": "org_owner"}))),
        ("GET", "/api/teams/ID", None),
        ("DELETE", "/api/teams/ID", None),
        ("PUT", "/api/teams/ID/policy", Some(json!({}))),
        ("POST", "/api/teams/ID/invite", Some(json!({"role": "team_admin"}))),
    ] {
        let real = if path.starts_with("/api/orgs") { &acme } else { &team };
        let (status, hidden) = other.call(method, &path.replace("ID", real), body.clone()).await?;
        let (_, absent) = other.call(method, &path.replace("ID", nothing), body.clone()).await?;
        assert_eq!((status, same(hidden)), (404, same(absent)), "{method} {path} as another organisation's owner");
        let (status, problem) = member.call(method, &path.replace("ID", real), body).await?;
        let looks = method == "GET" && path != "/api/orgs/ID/clusters";
        assert_eq!(status, if looks { 200 } else { 403 }, "{method} {path} as a plain member: {problem}");
        assert!(
            looks || problem["detail"].as_str().unwrap_or_default().contains("org_"),
            "it says what is needed: {problem}"
        );
    }
    let names =
        |list: &Value| list["orgs"].as_array().map(|all| all.iter().map(|o| o["name"].clone()).collect::<Vec<_>>());
    assert_eq!(names(&other.ok("GET", "/api/orgs", None).await?), Some(vec![json!("rival")]));
    assert_eq!(other.ok("GET", "/api/teams", None).await?["teams"], json!([]));
    let me = member.ok("GET", "/api/me", None).await?;
    assert_eq!((&me["orgs"][0]["name"], &me["orgs"][0]["role"]), (&json!("acme"), &json!("org_member")));
    // A team gives its members policy roles, and takes them when they leave.
    owner
        .ok(
            "PUT",
            &format!("/api/teams/{team}/members"),
            Some(json!({"email": "member@example.com", "role": "developer"})),
        )
        .await?;
    let me = member.ok("GET", "/api/me", None).await?;
    assert!(me["roles"].to_string().contains("team:acme/pay:developer:tier-write"), "{me}");
    owner.ok("DELETE", &format!("/api/orgs/{acme}/members/{}", id(&me)), None).await?;
    assert_eq!(member.ok("GET", "/api/me", None).await?["roles"], json!([]));
    // An outsider cannot be taken over, and the last owner cannot leave.
    let (status, _) = owner
        .call(
            "PUT",
            &format!("/api/orgs/{acme}/members"),
            Some(json!({"email": "other@example.com", "role": "org_admin"})),
        )
        .await?;
    assert_eq!(status, 409);
    let me = owner.ok("GET", "/api/me", None).await?;
    assert_eq!(owner.call("DELETE", &format!("/api/orgs/{acme}/members/{}", id(&me)), None).await?.0, 409);
    let users = admin.ok("GET", "/api/admin/users", None).await?;
    assert!(users["users"].to_string().contains("acme: org_owner"), "{users}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invitation_holds_once_and_for_its_address() -> Result<()> {
    let fixture = Fixture::start(&HubOptions::default())?;
    let admin = Person { fixture: &fixture, token: fixture.admin_token().await? };
    let acme = id(&admin.ok("POST", "/api/orgs", Some(json!({"name": "acme"}))).await?);
    let team = id(&admin.ok("POST", "/api/teams", Some(json!({"org": acme, "name": "pay"}))).await?);
    let wrong = person(&fixture, "wrong@example.com", &[]).await?;
    let invite = json!({"email": "New@Example.com", "role": "developer"});
    let made = admin.ok("POST", &format!("/api/teams/{team}/invite"), Some(invite)).await?;
    let token = made["token"].as_str().context("no token")?.to_owned();
    assert_eq!(made["mailed"], json!(false));
    let accept = format!("/api/invitations/{token}/accept");
    // For somebody else it looks as if there were none.
    let (status, bound) = wrong.call("POST", &accept, Some(json!({}))).await?;
    let (_, absent) = wrong.call("POST", "/api/invitations/unknown/accept", Some(json!({}))).await?;
    assert_eq!((status, same(bound)), (404, same(absent)));
    let anonymous = |body| fixture.call(Method::POST, &accept, None, Some(body));
    assert_eq!(anonymous(json!({"password": "short"})).await?.status(), 422);
    let accepted: Value =
        anonymous(json!({"password": "correct horse battery"})).await?.error_for_status()?.json().await?;
    assert_eq!(
        (&accepted["email"], &accepted["account_made"], &accepted["team"]),
        (&json!("new@example.com"), &json!(true), &json!("acme/pay"))
    );
    assert_eq!(anonymous(json!({"password": "correct horse battery"})).await?.status(), 404, "spent");
    let new = signed_in(&fixture, "new@example.com", "correct horse battery").await?;
    let me = new.ok("GET", "/api/me", None).await?;
    assert_eq!((&me["teams"][0]["path"], &me["platform_admin"]), (&json!("acme/pay"), &json!(false)));
    // By link, for whoever is signed in; and taken back.
    let open = admin.ok("POST", &format!("/api/orgs/{acme}/invite"), Some(json!({"role": "org_admin"}))).await?;
    let path = format!("/api/invitations/{}/accept", open["token"].as_str().unwrap_or_default());
    assert_eq!(fixture.call(Method::POST, &path, None, Some(json!({}))).await?.status(), 401);
    assert_eq!(wrong.ok("POST", &path, Some(json!({}))).await?["role"], json!("org_admin"));
    let back = admin.ok("POST", &format!("/api/orgs/{acme}/invite"), Some(json!({"role": "org_member"}))).await?;
    admin.ok("DELETE", &format!("/api/orgs/{acme}/invitations/{}", id(&back["invitation"])), None).await?;
    let path = format!("/api/invitations/{}/accept", back["token"].as_str().unwrap_or_default());
    assert_eq!(new.call("POST", &path, Some(json!({}))).await?.0, 404);
    let log = fixture.hub.log();
    assert!(!log.contains(&token) && log.contains("/api/invitations/[redacted]/accept"), "the token is in no log");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_can_be_asked_for_and_by_whom_it_is_decided() -> Result<()> {
    let fixture = Fixture::start(&HubOptions::default())?;
    let admin = Person { fixture: &fixture, token: fixture.admin_token().await? };
    let bob = person(&fixture, "bob@example.com", &[]).await?;
    let lead = person(&fixture, "lead@example.com", &[]).await?;
    let kubeconfig = "apiVersion: v1\nkind: Config\ncurrent-context: a\nclusters: [{name: a, cluster: {server: \"https://127.0.0.1:1\"}}]\ncontexts: [{name: a, context: {cluster: a, user: a}}]\nusers: [{name: a, user: {token: x}}]\n";
    admin.ok("POST", "/api/clusters", Some(json!({"name": "prod-1", "kubeconfig": kubeconfig}))).await?;
    let default = admin.ok("GET", "/api/orgs", None).await?["orgs"][0].clone();
    let team = id(&admin.ok("POST", "/api/teams", Some(json!({"org": default["id"], "name": "pay"}))).await?);
    admin.ok("PUT", &format!("/api/orgs/{}/clusters/prod-1", id(&default)), Some(json!({"team": team}))).await?;
    admin
        .ok(
            "PUT",
            &format!("/api/teams/{team}/members"),
            Some(json!({"email": "lead@example.com", "role": "team_admin"})),
        )
        .await?;
    let ask = |verbs: Value, resources: Value, seconds: u64| json!({"cluster": "prod-*", "namespaces": ["pay"], "verbs": verbs, "resources": resources, "seconds": seconds, "reason": "INC-1"});
    for (verbs, resources, seconds) in [
        (json!(["*"]), json!(["pods"]), 60),
        (json!(["escalate"]), json!(["pods"]), 60),
        (json!(["bind"]), json!(["roles"]), 60),
        (json!(["impersonate"]), json!(["users"]), 60),
        (json!(["create"]), json!(["rolebindings"]), 60),
        (json!(["create"]), json!(["serviceaccounts/token"]), 60),
        (json!(["create"]), json!(["*"]), 60),
        (json!(["update"]), json!(["role*"]), 60),
        (json!(["get"]), json!(["pods"]), 0),
        (json!(["get"]), json!(["pods"]), 1_000_000),
    ] {
        let (status, problem) =
            bob.call("POST", "/api/access-requests", Some(ask(verbs.clone(), resources, seconds))).await?;
        assert_eq!(status, 422, "{verbs}: {problem}");
    }
    let made = bob.ok("POST", "/api/access-requests", Some(ask(json!(["get", "exec"]), json!(["pods"]), 60))).await?;
    let path = format!("/api/access-requests/{}", id(&made));
    assert_eq!(
        (&made["state"], &made["clusters"], &made["may_approve"]),
        (&json!("pending"), &json!(["prod-1"]), &json!(false))
    );
    let rights = json!({"checks": [{"verb": "create", "resource": "pods", "subresource": "exec", "namespace": "pay"}]});
    assert_eq!(
        bob.call("POST", "/api/clusters/prod-1/can-i", Some(rights.clone())).await?.0,
        404,
        "he does not see it yet"
    );
    assert_eq!(bob.call("POST", &format!("{path}/approve"), Some(json!({}))).await?.0, 403, "never oneself");
    let stranger = person(&fixture, "stranger@example.com", &[]).await?;
    assert_eq!(stranger.call("POST", &format!("{path}/approve"), Some(json!({}))).await?.0, 404);
    // More than the approver holds himself: only an administrator of the hub.
    let more = bob.ok("POST", "/api/access-requests", Some(ask(json!(["get"]), json!(["widgets"]), 60))).await?;
    let (status, problem) =
        lead.call("POST", &format!("/api/access-requests/{}/approve", id(&more)), Some(json!({}))).await?;
    assert!(status == 403 && problem["detail"].to_string().contains("than you hold"), "{status} {problem}");
    lead.ok("POST", &format!("/api/access-requests/{}/deny", id(&more)), Some(json!({}))).await.expect_err("nor deny");
    admin.ok("POST", &format!("/api/access-requests/{}/deny", id(&more)), Some(json!({}))).await?;

    let granted = lead.ok("POST", &format!("{path}/approve"), Some(json!({"comment": "go"}))).await?;
    assert_eq!((&granted["state"], &granted["decisions"][0]["comment"]), (&json!("granted"), &json!("go")));
    assert_eq!(lead.call("POST", &format!("{path}/approve"), Some(json!({}))).await?.0, 404, "it waits no more");
    // The hub allows it now; the cluster, which is not there, is said to be the one that does not answer.
    let answer = bob.ok("POST", "/api/clusters/prod-1/can-i", Some(rights)).await?;
    assert_eq!(
        (&answer["results"][0]["allowed"], &answer["results"][0]["by"]),
        (&json!(false), &json!("cluster")),
        "{answer}"
    );
    let checks = json!({"checks": vec![json!({"verb": "delete", "resource": "nodes"}); 65]});
    assert_eq!(bob.call("POST", "/api/clusters/prod-1/can-i", Some(checks)).await?.0, 422);
    bob.ok("POST", &format!("{path}/end"), Some(json!({}))).await?;
    assert_eq!(bob.ok("GET", "/api/whoami", None).await?["roles"], json!([]));
    let audit = admin.ok("GET", "/api/audit?limit=500", None).await?.to_string();
    for verb in ["access_request", "access_approve", "access_deny", "access_grant", "access_end"] {
        assert!(audit.contains(&format!("\"verb\":\"{verb}\"")), "{verb} is in the audit log");
    }
    Ok(())
}

/// A real SMTP server that takes mail over STARTTLS only and puts it into a Maildir.
struct MailServer(Child);

impl MailServer {
    fn start(dir: &Path) -> Result<Option<(Self, u16)>> {
        let venv = dir.join("venv");
        let python = Command::new("python3").args(["-m", "venv"]).arg(&venv).output();
        if !python.is_ok_and(|made| made.status.success()) {
            return Ok(None);
        }
        let installed = Command::new(venv.join("bin/pip")).args(["install", "-q", "aiosmtpd==1.4.6"]).output()?;
        if !installed.status.success() {
            return Ok(None);
        }
        let ca = CertificateAuthority::generate("mail")?;
        let own = ca.issue_server(&["localhost".to_owned()], Duration::from_secs(3600))?;
        std::fs::write(dir.join("ca.pem"), ca.certificate_pem())?;
        std::fs::write(dir.join("mail.crt"), &own.chain_pem)?;
        std::fs::write(dir.join("mail.key"), own.key_pem.as_bytes())?;
        let port = free_port()?;
        let child = Command::new(venv.join("bin/aiosmtpd"))
            .args(["-n", "-l", &format!("localhost:{port}"), "-c", "aiosmtpd.handlers.Mailbox"])
            .arg("--tlscert")
            .arg(dir.join("mail.crt"))
            .arg("--tlskey")
            .arg(dir.join("mail.key"))
            .arg(dir.join("mail"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let server = Self(child);
        wait_for("the SMTP server", Duration::from_secs(20), || {
            Ok(std::net::TcpStream::connect(("localhost", port)).ok().map(drop))
        })?;
        Ok(Some((server, port)))
    }
}

impl Drop for MailServer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The one mail that arrived, as its reader sees it: quoted-printable may break long lines.
fn mail(inbox: &Path) -> Result<String> {
    let path = wait_for("the mail", Duration::from_secs(10), || {
        Ok(std::fs::read_dir(inbox).ok().and_then(|mut files| files.next()).transpose()?.map(|file| file.path()))
    })?;
    Ok(std::fs::read_to_string(path)?.replace("=\r\n", "").replace("=\n", "").replace("=3D", "="))
}

/// Follows the link in a mail as a browser does, and makes the account on the page to which it leads.
async fn follow(fixture: &Fixture, link: &str) -> Result<()> {
    let path = link.split_once("/invitations/").map(|(_, token)| format!("/invitations/{token}")).context("no path")?;
    let url = format!("{}{path}", fixture.hub.url());
    let page = fixture.client.get(&url).send().await?;
    ensure!(page.status() == 200, "the link leads to {}", page.status());
    let page = page.text().await?;
    ensure!(page.contains("ann@example.com") && page.contains("org_admin of acme"), "{page}");
    ensure!(page.contains(&format!("action=\"{path}\"")), "the form comes back: {page}");
    let answered = async |password: &str, origin: &str| {
        let form = fixture.client.post(&url).header("origin", origin);
        let form = form.header("content-type", "application/x-www-form-urlencoded");
        anyhow::Ok(form.body(format!("password={}", password.replace(' ', "+"))).send().await?.status().as_u16())
    };
    let own = fixture.hub.url();
    assert_eq!(answered("correct horse battery", "https://elsewhere.example").await?, 403, "a page of another site");
    assert_eq!(answered("short", &own).await?, 422);
    assert_eq!(answered("correct horse battery", &own).await?, 200);
    assert_eq!(answered("correct horse battery", &own).await?, 404, "spent");
    ensure!(!fixture.hub.log().contains(path.trim_start_matches("/invitations/")), "the token is in the log");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invitation_by_mail_arrives_and_holds() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let Some((_server, port)) = MailServer::start(dir.path())? else {
        skipped("an invitation by mail arrives and holds", "aiosmtpd cannot be installed");
        return Ok(());
    };
    let server = |encryption: &str, ca: &str| {
        let from = "from: \"Flotilla <hub@example.com>\"";
        let extra = format!("mail: {{host: localhost, port: {port}, encryption: {encryption}, {ca} {from}}}\n");
        Fixture::start(&HubOptions { extra, ..HubOptions::default() })
    };
    // Who is not known is told no secret, and a server that asks for encryption gets none without.
    for (encryption, ca) in [("starttls", ""), ("none", "")] {
        let fixture = server(encryption, ca)?;
        let admin = Person { fixture: &fixture, token: fixture.admin_token().await? };
        let acme = id(&admin.ok("POST", "/api/orgs", Some(json!({"name": "acme"}))).await?);
        let invite = json!({"email": "ann@example.com", "role": "org_admin"});
        let (status, problem) = admin.call("POST", &format!("/api/orgs/{acme}/invite"), Some(invite)).await?;
        assert_eq!(status, 502, "{encryption}: {problem}");
    }
    let inbox = dir.path().join("mail/new");
    assert_eq!(std::fs::read_dir(&inbox).map_or(0, Iterator::count), 0);

    let fixture = server("starttls", &format!("ca_file: {:?},", dir.path().join("ca.pem")))?;
    let admin = Person { fixture: &fixture, token: fixture.admin_token().await? };
    let acme = id(&admin.ok("POST", "/api/orgs", Some(json!({"name": "acme"}))).await?);
    let invite = json!({"email": "ann@example.com", "role": "org_admin"});
    let made = admin.ok("POST", &format!("/api/orgs/{acme}/invite"), Some(invite)).await?;
    assert_eq!(made["mailed"], json!(true));
    let mail = mail(&inbox)?;
    assert!(mail.contains("To: ann@example.com") && mail.contains("From: Flotilla <hub@example.com>"), "{mail}");
    assert!(mail.contains("as org_admin"), "{mail}");
    let link = mail.split_whitespace().find(|word| word.contains("/invitations/")).context("no link")?;
    follow(&fixture, link).await?;
    let ann = signed_in(&fixture, "ann@example.com", "correct horse battery").await?;
    let me = ann.ok("GET", "/api/me", None).await?;
    assert_eq!((&me["orgs"][0]["name"], &me["orgs"][0]["role"]), (&json!("acme"), &json!("org_admin")));
    Ok(())
}
