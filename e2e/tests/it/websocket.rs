//! Agents behind a proxy that terminates TLS: nginx, which passes on nothing but the one path.

use std::io::{ErrorKind, Read, Write};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use flotilla_harness::{AgentProcess, HubOptions};
use flotilla_testbed::{Authority, Process, Program, free_port, skipped, wait_until};

use crate::bed::{Bed, CLUSTER, PATIENCE, Stand, WEB, bed, bed_with_node};
use crate::http::{Api, Stream};
use crate::links::{BACK, Relay};

const PATH: &str = "/api/agents/connect";

#[test]
fn an_agent_enrols_renews_and_serves_through_nginx() {
    let Some(nginx) = nginx("an_agent_enrols_renews_and_serves_through_nginx") else { return };
    let bed = bed();
    let front = Front::start(bed, nginx, "agents: {certificate_expiry: 20s}\n");
    let kubectl = front.stand.kubectl(bed, "admin", CLUSTER).in_namespace(&bed.new_namespace("proxied"));
    kubectl.ok("create configmap settings --from-literal=done=no");
    let watch = kubectl.start("get configmaps --watch --no-headers");
    watch.wait_for("settings", PATIENCE);
    kubectl.ok("create configmap seen");
    watch.wait_for("seen", PATIENCE);
    // Far larger than a message of the WebSocket, both ways.
    let large = format!(
        r#"{{"kind":"ConfigMap","apiVersion":"v1","metadata":{{"name":"large"}},"data":{{"x":"{}"}}}}"#,
        "x".repeat(900_000)
    );
    kubectl.feed("create -f -", &large).ok();
    assert_eq!(kubectl.ok("get configmap large -o jsonpath={.data.x}").trim().len(), 900_000);

    let agent = front.stand.agent.as_ref().unwrap();
    wait_until("the certificate is renewed", Duration::from_secs(40), || {
        Ok(agent.log().contains("certificate renewed"))
    })
    .unwrap();
    kubectl.ok("get configmap settings");
    let asked = std::fs::read_to_string(front.dir.join("access.log")).unwrap();
    assert!(asked.lines().count() > 0);
    for line in asked.lines() {
        assert_eq!(line, format!("GET {PATH} 101"), "the proxy has seen something else");
    }
}

#[test]
fn a_link_through_nginx_that_is_cut_and_a_hub_that_was_away_come_back() {
    let Some(nginx) = nginx("a_link_through_nginx_that_is_cut_and_a_hub_that_was_away_come_back") else { return };
    let bed = bed();
    let mut front = Front::start(bed, nginx, "");
    let kubectl = front.stand.kubectl(bed, "admin", CLUSTER);
    kubectl.ok("get namespace default");
    for relay in [&front.before, &front.behind] {
        let cut = Instant::now();
        wait_until("both connections of the agent are up", BACK, || Ok(relay.open() >= 2)).unwrap();
        assert!(relay.cut() >= 2, "the agent has two connections");
        wait_until("the agent is back", BACK, || Ok(kubectl.run("get namespace default").code() == 0)).unwrap();
        println!("back {:.2} s after the cut", cut.elapsed().as_secs_f64());
    }
    // nginx answers 502 meanwhile, which is no verdict of the hub's.
    front.stand.hub.kill().unwrap();
    std::thread::sleep(Duration::from_secs(2));
    front.stand.hub.restart().unwrap();
    let back = Instant::now();
    wait_until("the agent is back", BACK, || Ok(kubectl.run("get namespace default").code() == 0)).unwrap();
    println!("back {:.2} s after the hub", back.elapsed().as_secs_f64());
}

#[test]
fn commands_run_in_containers_through_nginx() {
    const TEST: &str = "commands_run_in_containers_through_nginx";
    let (Some(nginx), Some(bed)) = (nginx(TEST), bed_with_node(TEST)) else { return };
    let front = Front::start(bed, nginx, "");
    let kubectl = front.stand.kubectl(bed, "admin", CLUSTER).in_namespace(&bed.new_namespace("proxied-exec"));
    kubectl.feed("apply -f -", WEB).ok();
    kubectl.ok("wait --for=condition=Ready pod/web --timeout=60s");
    assert_eq!(kubectl.feed("exec -i web -- tr a-z A-Z", "from the keyboard\n").ok().trim(), "FROM THE KEYBOARD");
    assert_eq!(kubectl.feed("exec -i web -- wc -c", vec![b'x'; 3_000_000]).ok().trim(), "3000000");
    assert_eq!(kubectl.run(["exec", "web", "--", "sh", "-c", "exit 7"]).code(), 7);
}

#[test]
fn what_is_no_agent_gets_no_further_than_a_stranger_at_the_agents_port() {
    let Some(nginx) = nginx("what_is_no_agent_gets_no_further_than_a_stranger_at_the_agents_port") else { return };
    let bed = bed();
    let front = Front::start(bed, nginx, "");
    let at_hub = Api::anonymous(&front.stand.hub);
    let at_nginx = at_hub.trusting(&front.dir.join("ca.crt")).at(front.port);
    for api in [&at_hub, &at_nginx] {
        let cases = [
            ("Sec-WebSocket-Protocol", "v5.channel.k8s.io", 400, "flotilla-tunnel.1"),
            ("Sec-WebSocket-Version", "8", 400, "13"),
            ("Sec-WebSocket-Key", "short", 400, "16 bytes"),
            ("Origin", "https://elsewhere.example", 403, "Origin"),
            ("Origin", "https://localhost", 403, "Origin"),
            ("Upgrade", "flotilla-tunnel/1", 421, "certificate"),
        ];
        for (name, value, status, said) in cases {
            let (got, mut answer) = open(api, &[(name, value)]);
            assert!(got.starts_with(&format!("HTTP/1.1 {status} ")), "{name}: {got}");
            let length =
                got.to_ascii_lowercase().split("content-length: ").nth(1).unwrap().split('\r').next().unwrap().parse();
            let mut body = vec![0; length.unwrap()];
            answer.read_exact(&mut body).unwrap();
            let body = String::from_utf8(body).unwrap();
            assert!(body.contains(said), "{name}: {body}");
        }
        // Bytes that are no TLS, and a message that is too large: the connection ends, and nothing else does.
        for frame in [masked(b"GET / HTTP/1.1\r\n\r\n"), masked(&vec![0; 70_000])] {
            let (got, mut stream) = open(api, &[]);
            assert!(got.starts_with("HTTP/1.1 101 "), "{got}");
            let _ = stream.write_all(&frame).and_then(|()| stream.flush());
            let mut rest = Vec::new();
            // Without a close_notify, perhaps; but not because nothing came for too long.
            let waited = stream.read_to_end(&mut rest).err().is_some_and(|error| error.kind() == ErrorKind::WouldBlock);
            assert!(!waited && rest.len() < 200, "{} bytes, still open: {waited}", rest.len());
        }
    }
    front.stand.kubectl(bed, "admin", CLUSTER).ok("get namespace default");
}

/// Asks for a socket as an agent does, but for the headers in `changed`; the head of the answer and what follows.
fn open(api: &Api, changed: &[(&str, &str)]) -> (String, Stream) {
    let mut stream = api.connect().unwrap();
    let mut head = format!("GET {PATH} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\n");
    let usual = [
        ("Upgrade", "websocket"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Protocol", "flotilla-tunnel.1"),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];
    let kept = usual.iter().filter(|(name, _)| !changed.iter().any(|(other, _)| other == name));
    for (name, value) in kept.chain(changed) {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    stream.write_all(format!("{head}\r\n").as_bytes()).unwrap();
    let mut answer = Vec::new();
    let mut byte = [0];
    while !answer.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap_or(0) == 1 {
        answer.push(byte[0]);
    }
    (String::from_utf8(answer).unwrap(), stream)
}

/// A binary frame from a client, masked with zeros (RFC 6455 section 5.2).
fn masked(payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![0x82, 0xff];
    frame.extend((payload.len() as u64).to_be_bytes());
    frame.extend([0; 4]);
    frame.extend(payload);
    frame
}

/// nginx before a hub, and an agent that knows nothing but nginx. Both links can be cut.
struct Front {
    stand: Stand,
    before: Relay,
    behind: Relay,
    port: u16,
    dir: PathBuf,
    _nginx: Process,
}

impl Front {
    fn start(bed: &Bed, nginx: PathBuf, extra: &str) -> Self {
        let mut stand =
            Stand::hub_only(&bed.binaries, &HubOptions { extra: extra.to_owned(), ..HubOptions::default() });
        let dir = stand.scratch("nginx");
        let authority = Authority::new("somebody's proxy").unwrap();
        let pair = authority.issue("proxy", None, &["localhost"]).unwrap();
        let (port, behind) = (free_port().unwrap(), Relay::start(stand.hub.people_port));
        for (file, text) in [
            ("ca.crt", authority.certificate()),
            ("tls.crt", &pair.certificate),
            ("tls.key", &pair.key),
            ("nginx.conf", &configuration(&dir.display().to_string(), port, behind.port)),
        ] {
            std::fs::write(dir.join(file), text).unwrap();
        }
        let leash = bed.binaries.leash();
        let program = Program::new("nginx", nginx, &dir).args(["-e", "stderr", "-p"]).arg(&dir);
        let mut process = program.arg("-c").arg(dir.join("nginx.conf")).start(&leash).unwrap();
        let listens = || Ok(std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
        process.wait_until("nginx listens", PATIENCE, listens).unwrap();
        let before = Relay::start(port);
        let agent = AgentProcess::start_through(
            &Bed::programs(),
            &leash,
            &stand.hub,
            &format!("wss://localhost:{}", before.port),
            CLUSTER,
            &bed.plane.kubeconfig_path(),
            &format!("tls: {{ca_file: {:?}}}\n", dir.join("ca.crt")),
        );
        stand.agent = Some(agent.unwrap());
        stand.hub.wait_connected(CLUSTER, PATIENCE).expect("the agent connects");
        Self { stand, before, behind, port, dir, _nginx: process }
    }
}

/// What the README recommends, on a port of its own.
fn configuration(dir: &str, port: u16, hub: u16) -> String {
    format!(
        "daemon off;
user root;
worker_processes 1;
pid {dir}/nginx.pid;
error_log stderr warn;
events {{ worker_connections 512; }}
http {{
  log_format plain '$request_method $uri $status';
  access_log {dir}/access.log plain;
  client_body_temp_path {dir}/t1; proxy_temp_path {dir}/t2; fastcgi_temp_path {dir}/t3;
  uwsgi_temp_path {dir}/t4; scgi_temp_path {dir}/t5;
  server {{
    listen 127.0.0.1:{port} ssl;
    ssl_certificate {dir}/tls.crt;
    ssl_certificate_key {dir}/tls.key;
    location = {PATH} {{
      proxy_pass https://127.0.0.1:{hub};
      proxy_http_version 1.1;
      proxy_set_header Upgrade $http_upgrade;
      proxy_set_header Connection upgrade;
      proxy_set_header Host $host;
    }}
  }}
}}
"
    )
}

fn nginx(test: &str) -> Option<PathBuf> {
    let installed = ["/usr/sbin/nginx", "/usr/bin/nginx", "/usr/local/sbin/nginx"].map(PathBuf::from);
    let found = installed.into_iter().find(|path| path.is_file());
    if found.is_none() {
        skipped(test, "nginx is not installed; install it with: apt-get install nginx-light");
    }
    found
}
