//! Agents that come, that may not come, that go, and certificates that end.

use std::time::{Duration, Instant};

use flotilla_harness::HubOptions;
use flotilla_testbed::{wait_for, wait_until};
use serde_json::{Value, json};

use crate::bed::{CLUSTER, PATIENCE, Stand, bed, bed_with_node};
use crate::http::{Answer, Api};

fn new_token(stand: &Stand, cluster: &str) -> String {
    let made: Value =
        serde_json::from_str(&stand.hub.flotilla_ok("admin", &["agents", "token", cluster, "-o", "json"]).unwrap())
            .unwrap();
    made["token"].as_str().unwrap().to_owned()
}

/// A certificate request for `name`.
fn request_for(name: &str) -> String {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut parameters = rcgen::CertificateParams::new(Vec::new()).unwrap();
    parameters.distinguished_name.push(rcgen::DnType::CommonName, name);
    parameters.serialize_request(&key).unwrap().pem().unwrap()
}

fn register(api: &Api, token: &str, cluster: &str, csr: &str) -> Answer {
    api.post("/api/agents/register", &json!({"token": token, "cluster": cluster, "csr": csr}))
}

#[test]
fn a_token_enrols_once_for_its_own_cluster_only_and_all_failures_look_the_same() {
    let bed = bed();
    let stand = Stand::hub_only(
        &bed.binaries,
        &HubOptions { extra: "agents: {token_expiry: 4s}\n".into(), ..HubOptions::default() },
    );
    let api = Api::anonymous(&stand.hub).at(stand.hub.agents_port);
    let old = new_token(&stand, "one");
    let made = Instant::now();

    let spent = new_token(&stand, "one");
    let enrolled = register(&api, &spent, "one", &request_for("one"));
    assert_eq!(enrolled.status, 200, "{}", enrolled.text());
    assert!(enrolled.json()["certificate"].as_str().unwrap().starts_with("-----BEGIN CERTIFICATE"));

    let for_one = new_token(&stand, "one");
    let secret = for_one.split('.').nth(1).unwrap();
    let guessed = for_one.replace(secret, &secret.chars().rev().collect::<String>());
    // A certificate request for another name than the token's is told so, and costs no token.
    let other_name = register(&api, &for_one, "one", &request_for("two"));
    assert_eq!(other_name.status, 422, "{}", other_name.text());
    assert!(other_name.json()["detail"].as_str().unwrap().contains("another name"), "{}", other_name.text());
    assert_eq!(register(&api, &for_one, "one", "no request").status, 422);

    let mut refused = vec![
        ("spent", register(&api, &spent, "one", &request_for("one"))),
        ("unknown", register(&api, &guessed, "one", &request_for("one"))),
        ("another cluster's", register(&api, &for_one, "two", &request_for("two"))),
        ("no token at all", register(&api, "fla1.x.y", "one", &request_for("one"))),
    ];
    assert_eq!(
        register(&api, &for_one, "one", &request_for("one")).status,
        200,
        "it was not spent by those who failed"
    );
    std::thread::sleep(Duration::from_millis(4200).saturating_sub(made.elapsed()));
    refused.push(("too old", register(&api, &old, "one", &request_for("one"))));
    let mut said = refused.iter().map(|(how, answer)| {
        assert_eq!(
            (answer.status, &answer.json()["code"]),
            (401, &json!("enrolment_refused")),
            "{how}: {}",
            answer.text()
        );
        answer.json()["detail"].clone()
    });
    let first = said.next().unwrap();
    assert!(said.all(|detail| detail == first), "one answer for every reason: {refused:?}");
    let listed = stand.hub.flotilla_ok("admin", &["clusters", "list"]).unwrap();
    assert!(!listed.contains("two"), "nothing was changed: {listed}");
}

#[test]
fn without_a_certificate_an_agent_gets_nowhere() {
    let stand = &bed().stand;
    let api = Api::anonymous(&stand.hub).at(stand.hub.agents_port);
    for (method, target) in
        [("POST", "/api/agents/renew"), ("POST", "/api/agents/heartbeat"), ("GET", "/api/agents/connect")]
    {
        assert_eq!(api.send(method, target, &[], "{}").status, 401, "{target}");
    }
    // People's routes and the gateway are not on this listener, not even for the administrator.
    let admin = Api::admin(&stand.hub).at(stand.hub.agents_port);
    for target in ["/api/whoami", "/api/users", "/k8s/clusters/dev-e2e/api"] {
        assert_eq!(admin.get(target).status, 404, "{target}");
    }
    assert_eq!(api.get("/.well-known/jwks.json").status, 200);
    assert!(api.get("/api/agents/ca").text().starts_with("-----BEGIN CERTIFICATE"));
}

#[test]
fn a_second_agent_of_the_same_name_is_refused_and_the_first_not_disturbed() {
    let bed = bed();
    let mut stand = Stand::of_its_own(bed, "");
    let kubectl = stand.kubectl(bed, "admin", CLUSTER);
    let namespace = bed.new_namespace("twins");
    let watch = kubectl.in_namespace(&namespace).start("get configmaps --watch --no-headers");
    watch.wait_for("kube-root-ca.crt", PATIENCE);

    // The first agent's folder is its own; the harness names folders after clusters.
    let first = stand.agent.take().unwrap();
    std::fs::rename(stand.hub.dir().join(format!("agent-{CLUSTER}")), stand.hub.dir().join("agent-first")).unwrap();
    let second = stand.enrol(&bed.binaries, CLUSTER, &bed.plane.kubeconfig_path(), "");
    let refused = |agent: &flotilla_harness::AgentProcess| agent.log().contains("is served by another agent");
    wait_until("the second is told", PATIENCE, || Ok(refused(&second))).unwrap();
    for number in 0..5 {
        kubectl.in_namespace(&namespace).ok(&format!("create configmap c{number}"));
    }
    watch.wait_for("c4", PATIENCE);
    assert!(!first.log().contains("tunnel down"));

    // With the first gone the second takes over by itself.
    drop(first);
    wait_until("the second serves", Duration::from_secs(45), || {
        Ok(kubectl.run("get namespace default --request-timeout=3s").code() == 0)
    })
    .unwrap();
}

#[test]
fn revocation_cuts_what_is_under_way_and_the_agent_cannot_come_back() {
    let Some(bed) = bed_with_node("revocation cuts what is under way") else { return };
    let mut stand = Stand::of_its_own(bed, "");
    let web = bed.web("revoke");
    let kubectl = stand.kubectl(bed, "admin", CLUSTER).in_namespace(web.namespace());
    let mut watch = kubectl.start("get pods --watch --no-headers");
    let mut exec = kubectl.start(["exec", "web", "--", "sh", "-c", "echo in; sleep 1000"]);
    watch.wait_for("web", PATIENCE);
    exec.wait_for("in", PATIENCE);

    let revoked = Instant::now();
    stand.hub.flotilla_ok("admin", &["agents", "revoke", CLUSTER]).unwrap();
    exec.wait(Duration::from_secs(5));
    watch.wait(Duration::from_secs(5));
    println!("both cut {:.2} s after the command was begun", revoked.elapsed().as_secs_f64());

    let api = Api::admin(&stand.hub);
    let target = format!("/k8s/clusters/{CLUSTER}/api/v1/namespaces");
    wait_until("the agent is told", PATIENCE, || Ok(stand.agent.as_ref().unwrap().log().contains("revoked"))).unwrap();
    stand.agent().kill().unwrap();
    stand.agent().restart().unwrap();
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(api.get(&target).status, 503, "neither that run of it nor the next comes back");
    let listed = stand.hub.flotilla_ok("admin", &["agents", "list", "-o", "json"]).unwrap();
    assert!(listed.contains("\"revoked\""), "{listed}");

    // A new token is the way back.
    stand.agent = None;
    std::fs::remove_dir_all(stand.hub.dir().join(format!("agent-{CLUSTER}"))).unwrap();
    stand.agent = Some(stand.enrol(&bed.binaries, CLUSTER, &bed.plane.kubeconfig_path(), ""));
    stand.hub.wait_connected(CLUSTER, PATIENCE).unwrap();
    kubectl.ok("get pods");
}

#[test]
fn an_agent_renews_its_certificate_by_itself_and_serves_on() {
    let bed = bed();
    let stand = Stand::of_its_own(bed, "agents: {certificate_expiry: 20s}\n");
    let namespace = bed.new_namespace("renew");
    let kubectl = stand.kubectl(bed, "admin", CLUSTER).in_namespace(&namespace);
    let ends = || -> String {
        let list: Value =
            serde_json::from_str(&stand.hub.flotilla_ok("admin", &["agents", "list", "-o", "json"]).unwrap()).unwrap();
        list["agents"][0]["certificate_expires_at"].as_str().unwrap().to_owned()
    };
    let first = ends();
    let started = Instant::now();
    let mut failed = Vec::new();
    while started.elapsed() < Duration::from_secs(42) {
        let done = kubectl.run("get configmaps");
        if done.code() != 0 {
            failed.push((started.elapsed(), done.err));
        }
        std::thread::sleep(Duration::from_millis(500));
    }
    assert!(failed.is_empty(), "{failed:?}");
    assert_ne!(ends(), first);
    let renewed = stand.agent.as_ref().unwrap().log().matches("certificate renewed").count();
    assert!(renewed >= 2, "renewed {renewed} times in 42 s at a life of 20 s");
}

#[test]
fn an_agent_whose_hub_is_another_notices() {
    let bed = bed();
    let stand = Stand::hub_only(&bed.binaries, &HubOptions::default());
    let token = new_token(&stand, "pinned");
    // The right token, but the address of another hub: its certificate authority is not the token's.
    let dir = stand.scratch("lost");
    let config = format!(
        "central: {{url: \"https://localhost:{}\", token: \"{token}\"}}\ncluster: {{name: pinned}}\nkubernetes: {{kubeconfig: {:?}}}\nstate_dir: {:?}\nhealth: {{listen: \"127.0.0.1:0\"}}\n",
        bed.stand.hub.agents_port,
        bed.plane.kubeconfig_path(),
        dir.join("state")
    );
    std::fs::write(dir.join("agent.yaml"), config).unwrap();
    let program = flotilla_testbed::Program::new("lost", crate::bed::Bed::programs().agent, &dir)
        .arg("--config")
        .arg(dir.join("agent.yaml"));
    let agent = program.start(&bed.binaries.leash()).unwrap();
    let said =
        wait_for("it says so", PATIENCE, || Ok(Some(agent.log()).filter(|log| log.contains("enrolment failed"))))
            .unwrap();
    assert!(said.contains("this is another hub"), "{said}");
    let secret = token.split('.').nth(1).unwrap();
    assert!(!said.contains(secret), "the token is not in the log");
}
