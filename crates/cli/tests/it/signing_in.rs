//! Login, trust, logout, and what errors look like.

use std::os::unix::fs::PermissionsExt;

use crate::server::{Authority, World};

fn stderr(output: &assert_cmd::assert::Assert) -> String {
    String::from_utf8_lossy(&output.get_output().stderr).into_owned()
}

fn stdout(output: &assert_cmd::assert::Assert) -> String {
    String::from_utf8_lossy(&output.get_output().stdout).into_owned()
}

fn fingerprint_in(text: &str) -> String {
    let word = text.split_whitespace().find(|word| word.starts_with("sha256:"));
    word.unwrap_or_else(|| panic!("no fingerprint in {text}")).trim_end_matches(';').to_owned()
}

#[test]
fn login_keeps_tokens_where_only_the_owner_can_read_them() {
    let world = World::plain();
    world.login();
    let mode = std::fs::metadata(world.credentials()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let list = world.flotilla().args(["clusters", "list"]).assert().success();
    assert!(stdout(&list).contains("dev"), "{}", stdout(&list));
    assert!(stdout(&list).starts_with("CURRENT  NAME"), "{}", stdout(&list));
}

#[test]
fn a_wrong_password_is_exit_code_3_and_keeps_nothing() {
    let world = World::plain();
    let failed = world
        .flotilla()
        .args(["login", "--hub", &world.url, "--email", "dev@example.com", "--password-stdin"])
        .write_stdin("wrong\n")
        .assert()
        .code(3);
    assert_eq!(
        stderr(&failed),
        "error: unknown account or wrong password\nhint: check address and password; request id req-1\n"
    );
    assert_eq!(stdout(&failed), "");
    assert!(!world.credentials().exists());
}

#[test]
fn nobody_is_asked_without_a_terminal() {
    let world = World::plain();
    for (args, wanted) in [
        (vec!["login"], "--hub"),
        (vec!["login", "--hub", &world.url], "--email"),
        (vec!["login", "--hub", &world.url, "--email", "a@b"], "--password-stdin"),
        (vec!["login", "--hub", &world.url, "--email", "a@b", "--password-stdin"], "password"),
    ] {
        let failed = world.flotilla().args(&args).assert().code(2);
        assert!(stderr(&failed).contains(wanted), "{args:?}: {}", stderr(&failed));
    }
}

#[test]
fn not_signed_in_is_exit_code_3_and_not_allowed_4() {
    let world = World::plain();
    let failed = world.flotilla().args(["status"]).assert().code(3);
    assert!(stderr(&failed).ends_with("hint: run: flotilla login\n"), "{}", stderr(&failed));
    world.login();
    let failed = world.flotilla().args(["users", "list"]).assert().code(4);
    assert!(stderr(&failed).starts_with("error: only administrators may see accounts\nhint: "), "{}", stderr(&failed));
}

#[test]
fn plain_http_is_for_this_machine_only() {
    let world = World::plain();
    let failed = world.flotilla().args(["login", "--hub", "http://hub.example.com:8080"]).assert().code(2);
    assert!(stderr(&failed).contains("https"), "{}", stderr(&failed));
}

#[test]
fn an_unreachable_hub_is_named() {
    let world = World::plain();
    world.login();
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let failed = world
        .flotilla()
        .args(["login", "--hub", &format!("http://{nobody}"), "--email", "a@b", "--password-stdin"])
        .write_stdin("x\n")
        .assert()
        .code(1);
    assert!(stderr(&failed).contains(&format!("cannot reach the hub at http://{nobody}")), "{}", stderr(&failed));
}

#[test]
fn an_unknown_ca_gets_no_password_until_its_fingerprint_is_given() {
    let authority = Authority::new();
    let world = World::tls(&authority);
    let login = |fingerprint: Option<&str>| {
        let mut command = world.flotilla();
        command.args(["login", "--hub", &world.url, "--email", "dev@example.com", "--password-stdin"]);
        command.args(fingerprint.iter().flat_map(|print| ["--ca-fingerprint", print]));
        command.write_stdin("correct horse\n").assert()
    };
    let refused = login(None).code(1);
    let text = stderr(&refused);
    let fingerprint = fingerprint_in(&text);
    let wrong = format!("sha256:{}", "00".repeat(32));
    assert!(stderr(&login(Some(&wrong)).code(1)).contains("not the one you gave"));
    assert_eq!(world.hub.logins.lock().unwrap().len(), 0, "no password was sent");

    login(Some(&fingerprint)).success();
    world.flotilla().args(["clusters", "list"]).assert().success();
    // From here on it is known, and a second login needs no fingerprint.
    login(None).success();
    let kubeconfig = world.flotilla().args(["kubeconfig"]).assert().success();
    assert!(stdout(&kubeconfig).contains("certificate-authority-data"), "{}", stdout(&kubeconfig));
}

#[test]
fn a_ca_file_is_believed_if_it_fits() {
    let (authority, other) = (Authority::new(), Authority::new());
    let world = World::tls(&authority);
    let login = |pem: &str| {
        let file = world.home().join("ca.pem");
        std::fs::write(&file, pem).unwrap();
        let mut command = world.flotilla();
        command.args(["login", "--hub", &world.url, "--email", "dev@example.com", "--password-stdin", "--ca-file"]);
        command.arg(file).write_stdin("correct horse\n").assert()
    };
    let refused = stderr(&login(&other.pem).code(1));
    assert!(refused.contains("does not come from that CA"), "{refused}");
    login("nonsense").code(1);
    login(&authority.pem).success();
}

#[test]
fn an_impostor_gets_nothing() {
    let world = World::tls(&Authority::new());
    // Announces a CA that did not sign the certificate.
    *world.hub.ca.lock().unwrap() = Some(Authority::new().pem);
    let text = {
        let failed = world
            .flotilla()
            .args(["login", "--hub", &world.url, "--email", "a@b", "--password-stdin"])
            .assert()
            .code(1);
        stderr(&failed)
    };
    let fingerprint = fingerprint_in(&text);
    let failed = world
        .flotilla()
        .args(["login", "--hub", &world.url, "--email", "a@b", "--password-stdin", "--ca-fingerprint", &fingerprint])
        .write_stdin("correct horse\n")
        .assert()
        .code(1);
    assert!(stderr(&failed).contains("does not come from that CA"), "{}", stderr(&failed));
    assert_eq!(world.hub.logins.lock().unwrap().len(), 0);
}

#[test]
fn using_a_cluster_checks_that_it_is_there() {
    let world = World::plain();
    world.login();
    let failed = world.flotilla().args(["clusters", "use", "nope"]).assert().code(1);
    assert!(stderr(&failed).contains("you may reach: dev, prod"), "{}", stderr(&failed));
    world.flotilla().args(["clusters", "use", "dev"]).assert().success();
    let text = std::fs::read_to_string(world.home().join("config/flotilla/config.yaml")).unwrap();
    assert!(text.contains("current_cluster: dev"), "{text}");
    let list = world.flotilla().args(["clusters", "list"]).assert().success();
    assert!(stdout(&list).contains("*        dev"), "{}", stdout(&list));
}

#[test]
fn the_configuration_of_mk8s_is_read_and_not_written() {
    let world = World::plain();
    let file = world.home().join(".mk8s/config.yaml");
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    let text = format!("central_url: {}\ncurrent_cluster: prod\n", world.url);
    std::fs::write(&file, &text).unwrap();
    let login = ["login", "--email", "dev@example.com", "--password-stdin"];
    world.flotilla().args(login).write_stdin("correct horse\n").assert().success();
    let list = world.flotilla().args(["clusters", "list"]).assert().success();
    assert!(stdout(&list).contains("*        prod"), "{}", stdout(&list));
    world.flotilla().args(["clusters", "use", "dev"]).assert().success();
    assert_eq!(std::fs::read_to_string(&file).unwrap(), text);
}

#[test]
fn json_and_yaml_are_the_hubs_words() {
    let world = World::plain();
    world.login();
    let json = world.flotilla().args(["clusters", "list", "-o", "json"]).assert().success();
    let tree: serde_json::Value = serde_json::from_str(&stdout(&json)).unwrap();
    assert_eq!(tree["clusters"][0]["name"], "dev");
    let yaml = world.flotilla().args(["clusters", "list", "-o", "yaml"]).assert().success();
    let same: serde_json::Value = serde_saphyr::from_str(&stdout(&yaml)).unwrap();
    assert_eq!(same, tree);
    assert_eq!(stderr(&json), "");
}

#[test]
fn logout_forgets_the_session_but_not_the_ca() {
    let world = World::plain();
    *world.hub.ca.lock().unwrap() = Some(Authority::new().pem);
    world.login();
    world.flotilla().args(["logout"]).assert().success();
    let text = std::fs::read_to_string(world.credentials()).unwrap();
    assert!(text.contains("BEGIN CERTIFICATE") && !text.contains("token-"), "{text}");
    world.flotilla().args(["clusters", "list"]).assert().code(3);
}
