//! Clusters that the hub reaches itself.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use flotilla_harness::HubOptions;
use serde_json::json;

use crate::audit::rows_of;
use crate::bed::{CLUSTER, DIRECT, Stand, bed, bed_with_node};
use crate::http::Api;

#[test]
fn a_cluster_of_the_configuration_is_like_any_other() {
    let bed = bed();
    let namespace = bed.new_namespace("direct");
    let kubectl = bed.stand.kubectl(bed, "admin", DIRECT).in_namespace(&namespace);
    kubectl.feed("apply -f -", "{apiVersion: v1, kind: ConfigMap, metadata: {name: c}, data: {a: b}}").ok();
    assert_eq!(kubectl.ok("get configmap c -o jsonpath={.data.a}"), "b");
    let who = kubectl.ok("auth whoami -o json");
    assert!(
        who.contains(&bed.stand.hub.email) && !who.contains("system:masters"),
        "as the person, not as the hub: {who}"
    );
    let watch = kubectl.start("get configmaps --watch --no-headers");
    watch.wait_for("kube-root-ca.crt", Duration::from_secs(20));
    kubectl.ok("delete configmap c");
    let listed = bed.stand.hub.flotilla_ok("admin", &["clusters", "list", "-o", "json"]).unwrap();
    assert!(listed.contains("\"kubeconfig\"") && listed.contains("\"agent\""), "{listed}");
    let refused = bed.stand.hub.flotilla("admin").args(["clusters", "remove", DIRECT]).output().unwrap();
    assert!(String::from_utf8_lossy(&refused.stderr).contains("configuration"), "{refused:?}");
}

#[test]
fn a_cluster_is_added_with_a_kubeconfig_and_removed() {
    let Some(bed) = bed_with_node("a cluster is added with a kubeconfig") else { return };
    let web = bed.web("added");
    let hub = &bed.stand.hub;
    let kubeconfig = bed.plane.kubeconfig_path();
    hub.flotilla_ok("admin", &["clusters", "add", "lab", "--kubeconfig", kubeconfig.to_str().unwrap()]).unwrap();
    let kubectl = bed.stand.kubectl(bed, "admin", "lab").in_namespace(web.namespace());
    for websockets in ["true", "false"] {
        let kubectl = kubectl.with("KUBECTL_REMOTE_COMMAND_WEBSOCKETS", websockets);
        let done = kubectl.run(["exec", "web", "--", "sh", "-c", "echo here; exit 4"]);
        assert_eq!((done.code(), done.text().as_str()), (4, "here\n"), "{}", done.err);
        assert_eq!(kubectl.feed("exec -i web -- cat", vec![b'z'; 1_000_000]).ok().len(), 1_000_000);
    }
    assert_eq!(kubectl.ok("logs web"), "started\n");
    let rows =
        Api::admin(hub).get(&format!("/api/audit?cluster=lab&verb=exec_open&namespace={}", web.namespace())).json();
    assert!(rows["rows"].as_array().unwrap().len() >= 4, "recorded like any other: {rows}");

    // The credential is sealed: neither it nor its key is readable in the database.
    let database = std::fs::read(hub.dir().join("data/hub.db")).unwrap();
    assert!(!String::from_utf8_lossy(&database).contains("client-key-data"));
    hub.flotilla_ok("admin", &["clusters", "remove", "lab"]).unwrap();
    assert!(kubectl.refused("get pods").contains("not found"));
}

#[test]
fn a_kubeconfig_that_reaches_into_the_hub_is_refused() {
    let api = Api::admin(&bed().stand.hub);
    let with_user = |user: serde_json::Value| {
        json!({"apiVersion": "v1", "kind": "Config", "current-context": "x",
            "clusters": [{"name": "x", "cluster": {"server": "https://127.0.0.1:1"}}],
            "users": [{"name": "x", "user": user}], "contexts": [{"name": "x", "context": {"cluster": "x", "user": "x"}}]})
    };
    for user in [
        json!({"tokenFile": "/etc/passwd"}),
        json!({"client-certificate": "/etc/passwd", "client-key": "/etc/passwd"}),
        json!({"exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": "touch", "args": ["/tmp/owned"], "interactiveMode": "Never"}}),
        json!({"auth-provider": {"name": "gcp"}}),
    ] {
        let answer =
            api.post("/api/clusters", &json!({"name": "intruder", "kubeconfig": with_user(user.clone()).to_string()}));
        assert_eq!(answer.status, 422, "{user}: {}", answer.text());
    }
    assert_eq!(api.post("/api/clusters", &json!({"name": "Bad/Name", "kubeconfig": "x"})).status, 422);
    assert_eq!(api.post("/api/clusters", &json!({"name": "intruder", "kubeconfig": "- no\n- map\n"})).status, 422);
    assert_eq!(
        api.post("/api/clusters", &json!({"name": DIRECT, "kubeconfig": with_user(json!({"token": "x"})).to_string()}))
            .status,
        409
    );
    assert!(!api.get("/api/clusters").text().contains("intruder"));
}

#[test]
fn a_cluster_that_never_answers_and_one_that_is_not_there() {
    let bed = bed();
    let silent = slow_api_server(Duration::from_secs(3600));
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut clusters = silent.as_cluster("silent");
    clusters.push_str(&as_cluster("gone", &format!("http://127.0.0.1:{gone}")));
    let extra = format!("gateway: {{timeout: 2s}}\n{}", merged(&clusters));
    let stand = Stand::hub_only(&bed.binaries, &HubOptions { extra, ..HubOptions::default() });
    let api = Api::admin(&stand.hub);

    let asked = Instant::now();
    let message = api.get("/k8s/clusters/silent/api/v1/pods").kubernetes_status(504);
    assert!(message.contains("did not answer within 2 s"), "{message}");
    assert!((Duration::from_secs(2)..Duration::from_secs(5)).contains(&asked.elapsed()), "{:?}", asked.elapsed());
    let message = api.get("/k8s/clusters/gone/api/v1/pods").kubernetes_status(502);
    assert!(message.contains("cannot be reached"), "{message}");

    // An act without an answer has its outcome all the same.
    let id = "e2e-silent-delete";
    assert_eq!(
        api.send("DELETE", "/k8s/clusters/silent/api/v1/namespaces/a/pods/b", &[("X-Request-Id", id)], "").status,
        504
    );
    let rows = rows_of(&api, id, 2);
    let ends: Vec<_> = rows.iter().map(|row| (row["outcome"].clone(), row["status"].clone())).collect();
    assert_eq!(ends, [(json!("attempted"), json!(0)), (json!("failed"), json!(504))], "{rows:?}");
    let kubectl = stand.kubectl(bed, "admin", "silent").refused("get --raw /api/v1/pods");
    assert!(kubectl.contains("did not answer within 2 s"), "{kubectl}");
}

/// The agent's own API server away: 502 through the tunnel, with a text that says which side.
#[test]
fn an_agent_without_its_api_server_says_so() {
    let bed = bed();
    let stand = Stand::hub_only(&bed.binaries, &HubOptions::default());
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let kubeconfig = kubeconfig_of(&format!("http://127.0.0.1:{gone}"));
    let _agent = stand.enrol(&bed.binaries, CLUSTER, &kubeconfig, "");
    stand.hub.wait_connected(CLUSTER, Duration::from_secs(30)).unwrap();
    let answer = Api::admin(&stand.hub).get(&format!("/k8s/clusters/{CLUSTER}/api/v1/pods"));
    let message = answer.kubernetes_status(502);
    assert!(message.contains("refused") || message.contains("reach"), "{message}");
}

/// Something that takes requests and answers them late, over plain HTTP.
pub(crate) struct SlowServer {
    port: u16,
    asked: Arc<AtomicUsize>,
}

pub(crate) fn slow_api_server(delay: Duration) -> SlowServer {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let server = SlowServer { port: listener.local_addr().unwrap().port(), asked: Arc::default() };
    let asked = Arc::clone(&server.asked);
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let asked = Arc::clone(&asked);
            std::thread::spawn(move || answer_late(stream, delay, &asked));
        }
    });
    server
}

fn answer_late(mut stream: TcpStream, delay: Duration, asked: &AtomicUsize) {
    let mut chunk = [0; 8192];
    while let Ok(count @ 1..) = stream.read(&mut chunk) {
        if chunk[..count].windows(4).any(|window| window == b"\r\n\r\n") {
            // The hub asks for the version by itself, to know whether the cluster is there.
            asked.fetch_add(usize::from(!chunk.starts_with(b"GET /version")), Ordering::Relaxed);
            std::thread::sleep(delay);
            let answer =
                "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 13\r\n\r\n{\"late\":true}";
            if stream.write_all(answer.as_bytes()).is_err() {
                return;
            }
        }
    }
}

impl SlowServer {
    /// `clusters:` of `central.yaml` with this server as the only cluster.
    pub(crate) fn as_cluster(&self, name: &str) -> String {
        as_cluster(name, &format!("http://127.0.0.1:{}", self.port))
    }

    /// How many requests of people have come.
    pub(crate) fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }
}

fn as_cluster(name: &str, server: &str) -> String {
    format!("clusters: [{{name: {name}, backend: kubeconfig, kubeconfig: {:?}}}]\n", kubeconfig_of(server))
}

/// Several lines of [`as_cluster`] as one list.
fn merged(clusters: &str) -> String {
    clusters.replace("]\nclusters: [", ", ")
}

/// A kubeconfig file for a server without credentials.
fn kubeconfig_of(server: &str) -> std::path::PathBuf {
    let dir = bed().stand.scratch("kubeconfigs");
    let path = dir.join(server.replace(['/', ':'], "-"));
    let text = format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: x\nclusters: [{{name: x, cluster: {{server: \"{server}\"}}}}]\n\
         users: [{{name: x, user: {{}}}}]\ncontexts: [{{name: x, context: {{cluster: x, user: x}}}}]\n"
    );
    std::fs::write(&path, text).unwrap();
    path
}
