//! The agent as the hub's manifest installs it, against a real API server and with no more rights than the manifest
//! gives: its enrolment outlives every restart without any disk.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::process::{Output, Stdio};
use std::sync::LazyLock;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flotilla_hub::config::Config;
use flotilla_testbed::{Binaries, ControlPlane, Options};
use serde_json::{Value, json};

use crate::support::{Agent, Hub, until};

const NAMESPACE: &str = "flotilla-system";
const SECRET: &str = "flotilla-agent-identity";

static BINARIES: LazyLock<Binaries> = LazyLock::new(|| {
    let mut say = |line: &str| writeln!(std::io::stderr(), "{line}").unwrap_or_default();
    Binaries::ensure(&mut say).expect("the test bed's programs")
});

/// A cluster and the manifest that was printed for it.
struct Cluster {
    plane: ControlPlane,
    manifest: String,
}

impl Cluster {
    fn start(name: &str, hub: &Hub) -> Self {
        let plane = ControlPlane::start(&BINARIES, Options { controllers: false, ..Options::new(name) }).unwrap();
        let mut config = Config::default();
        config.server.agent_url = Some(hub.url());
        Self { plane, manifest: flotilla_hub::manifest::agent(&config, "prod", &hub.token) }
    }

    /// `kubectl apply -f -` as people use it, client side.
    fn apply(&self, manifest: &str, flags: &[&str]) -> Output {
        let mut command = self.plane.kubectl_command();
        command.args(["apply", "-f", "-"]).args(flags);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(manifest.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        output
    }

    fn get(&self, what: &[&str]) -> Value {
        let arguments: Vec<&str> = ["get", "-n", NAMESPACE, "-o", "json"].iter().chain(what).copied().collect();
        serde_json::from_str(&self.plane.kubectl_ok(&arguments).unwrap()).unwrap()
    }

    /// What the agent keeps in its Secret.
    fn kept(&self) -> Value {
        let secret = self.get(&["secret", SECRET]);
        let encoded = secret["data"]["enrolment.json"].as_str().expect("nothing is kept");
        serde_json::from_slice(&STANDARD.decode(encoded).unwrap()).unwrap()
    }

    /// The container's environment, as the kubelet would make it.
    fn environment(&self) -> BTreeMap<String, String> {
        let deployment = self.get(&["deployment", "flotilla-agent"]);
        let container = &deployment["spec"]["template"]["spec"]["containers"][0];
        let value = |variable: &Value| {
            if let Some(value) = variable["value"].as_str() {
                return value.to_owned();
            }
            let reference = &variable["valueFrom"]["secretKeyRef"];
            let secret = self.get(&["secret", reference["name"].as_str().unwrap()]);
            let encoded = secret["data"][reference["key"].as_str().unwrap()].as_str().unwrap();
            String::from_utf8(STANDARD.decode(encoded).unwrap()).unwrap()
        };
        let variables = container["env"].as_array().unwrap();
        variables.iter().map(|one| (one["name"].as_str().unwrap().to_owned(), value(one))).collect()
    }

    /// A kubeconfig of the service account under which the Deployment's pod runs.
    fn kubeconfig(&self) -> String {
        let deployment = self.get(&["deployment", "flotilla-agent"]);
        let account = deployment["spec"]["template"]["spec"]["serviceAccountName"].as_str().unwrap();
        let token = self.plane.kubectl_ok(&["create", "token", account, "-n", NAMESPACE]).unwrap();
        json!({
            "current-context": "c",
            "contexts": [{"name": "c", "context": {"cluster": "k", "user": "u"}}],
            "clusters": [{"name": "k", "cluster": {
                "server": self.plane.server_url(),
                "certificate-authority-data": STANDARD.encode(self.plane.authority().certificate()),
            }}],
            "users": [{"name": "u", "user": {"token": token.trim()}}],
        })
        .to_string()
    }

    async fn agent(&self) -> Agent {
        Agent::launch(tempfile::tempdir().unwrap(), &self.kubeconfig(), self.environment()).await
    }

    fn agent_can(&self, verb: &str, what: &str) -> bool {
        let account = format!("--as=system:serviceaccount:{NAMESPACE}:flotilla-agent");
        let asked = self.plane.kubectl(&["auth", "can-i", verb, what, "-n", NAMESPACE, &account]).unwrap();
        asked.status.success()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_manifest_is_accepted_as_a_whole_and_gives_no_more_than_is_needed() {
    let hub = Hub::start(Duration::from_secs(3600)).await;
    let cluster = Cluster::start("manifest", &hub);
    // A dry run makes no namespace for what comes after it to be in.
    let (namespace, _) = cluster.manifest.split_once("---\n").unwrap();
    cluster.apply(namespace, &[]);
    let strictest = "pod-security.kubernetes.io/warn=restricted";
    cluster.plane.kubectl_ok(&["label", "namespace", NAMESPACE, strictest]).unwrap();

    let output = cluster.apply(&cluster.manifest, &["--dry-run=server", "--validate=strict"]);
    let accepted = String::from_utf8(output.stdout).unwrap();
    let documents = cluster.manifest.split("---\n").count();
    assert_eq!(accepted.matches("(server dry run)").count(), documents, "{accepted}");
    assert_eq!(
        String::from_utf8(output.stderr).unwrap(),
        "",
        "a warning, of Pod Security's level `restricted` or else"
    );

    cluster.apply(&cluster.manifest, &[]);
    let own = format!("secrets/{SECRET}");
    for (verb, what) in [("get", &*own), ("patch", &own), ("impersonate", "users"), ("impersonate", "groups")] {
        assert!(cluster.agent_can(verb, what), "{verb} {what}");
    }
    for (verb, what) in [
        ("delete", &*own),
        ("create", "secrets"),
        ("list", "secrets"),
        ("get", "secrets/flotilla-agent"),
        ("get", "pods"),
        ("list", "nodes"),
        ("impersonate", "serviceaccounts"),
        ("impersonate", "userextras"),
    ] {
        assert!(!cluster.agent_can(verb, what), "{verb} {what}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_enrolment_outlives_restarts_and_the_manifest_applied_again() {
    let hub = Hub::start(Duration::from_secs(3600)).await;
    let cluster = Cluster::start("kept", &hub);
    cluster.apply(&cluster.manifest, &[]);
    let mut agent = cluster.agent().await;
    until("connected", || hub.registry.is_connected("prod")).await;
    let kept = cluster.kept();
    assert_eq!(kept["cluster"], "prod");

    agent.restart().await;
    agent.says("ok\n").await;
    assert_eq!(*hub.enrolments.lock(), 1, "the token is used once only");

    // By kubectl's way of comparing with what it applied last, by the API server's, and with a new token.
    cluster.apply(&cluster.manifest, &[]);
    assert_eq!(cluster.kept(), kept);
    cluster.plane.apply(&cluster.manifest).unwrap();
    assert_eq!(cluster.kept(), kept);
    let other = cluster.manifest.replace(&hub.token, &Hub::start(Duration::from_secs(3600)).await.token);
    cluster.plane.apply(&other).unwrap();
    assert_eq!(cluster.kept(), kept);
    assert_ne!(cluster.environment()["AGENT_TOKEN"], hub.token);

    // What others put beside it stays too, whoever writes next.
    cluster.plane.kubectl_ok(&["label", "secret", SECRET, "-n", NAMESPACE, "team=platform"]).unwrap();
    drop(agent);
    let another_pod = cluster.agent().await;
    another_pod.says("ok\n").await;
    assert_eq!(*hub.enrolments.lock(), 1, "the token is used once only");
    assert_eq!(cluster.get(&["secret", SECRET])["metadata"]["labels"]["team"], "platform");
    assert_eq!(cluster.kept(), kept, "a token that does not count must not cost the enrolment that does");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn renewed_certificates_are_kept_beside_what_others_write() {
    let hub = Hub::start(Duration::from_secs(6)).await;
    let cluster = Cluster::start("renewed", &hub);
    cluster.apply(&cluster.manifest, &[]);
    let _agent = cluster.agent().await;
    until("connected", || hub.registry.is_connected("prod")).await;
    let first = cluster.kept();
    cluster.plane.kubectl_ok(&["label", "secret", SECRET, "-n", NAMESPACE, "team=platform"]).unwrap();
    until("a renewal is kept", || cluster.kept()["obtained_ms"] != first["obtained_ms"]).await;
    assert_ne!(cluster.kept()["key"], first["key"]);

    // Somebody who writes under our key becomes its owner until we write again.
    let meddling = r#"{"stringData": {"enrolment.json": "{}", "other": "x"}}"#;
    cluster.plane.kubectl_ok(&["patch", "secret", SECRET, "-n", NAMESPACE, "-p", meddling]).unwrap();
    until("the next renewal is kept too", || cluster.kept()["key"].is_string()).await;
    assert_eq!(cluster.get(&["secret", SECRET])["data"]["other"], STANDARD.encode("x"));
    assert_eq!(cluster.get(&["secret", SECRET])["metadata"]["labels"]["team"], "platform");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_is_not_spent_while_the_enrolment_could_not_be_kept() {
    let hub = Hub::start(Duration::from_secs(3600)).await;
    let mut cluster = Cluster::start("rights", &hub);
    cluster.apply(&cluster.manifest, &[]);
    let rule = "resourceNames: [flotilla-agent-identity], verbs: [get, patch]";

    // An API server that is away is waited for.
    let (kubeconfig, environment) = (cluster.kubeconfig(), cluster.environment());
    cluster.plane.kubectl_ok(&["delete", "rolebinding", "flotilla-agent", "-n", NAMESPACE]).unwrap();
    cluster.plane.kill_apiserver().unwrap();
    let mut agent = Agent::launch(tempfile::tempdir().unwrap(), &kubeconfig, environment).await;
    agent.says("cannot read the Secret flotilla-system/flotilla-agent-identity: the API server").await;
    cluster.plane.start_apiserver().unwrap();

    // So is the right to read, and the text says which it is.
    let said = agent.says("may not read the Secret flotilla-system/flotilla-agent-identity").await;
    assert!(said.contains(rule) && said.contains("cannot get resource \"secrets\""), "{said}");

    // A Secret that is not there cannot be written: only an administrator can make one.
    cluster.plane.kubectl_ok(&["delete", "secret", SECRET, "-n", NAMESPACE]).unwrap();
    let binding = cluster.manifest.split("---\n").find(|one| one.contains("kind: RoleBinding\n")).unwrap();
    cluster.apply(binding, &[]);
    let said = agent.says("may not write the Secret flotilla-system/flotilla-agent-identity").await;
    assert!(said.contains(rule) && said.contains("make the Secret, empty"), "{said}");
    assert_eq!(*hub.enrolments.lock(), 0, "the token was spent");

    cluster.apply(&cluster.manifest, &[]);
    agent.restart().await;
    until("connected", || hub.registry.is_connected("prod")).await;
    assert_eq!(*hub.enrolments.lock(), 1);
    assert_eq!(cluster.kept()["cluster"], "prod");
}
