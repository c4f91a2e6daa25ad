//! A hub with people of few rights, a cluster that counts what reaches it, and requests as raw bytes, so that nothing
//! on our side repairs what is wrong with them.
//!
//! Must not know: any attack.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use flotilla_harness::HubOptions;
use flotilla_tests::Fixture;
use serde_json::{Value, json};

/// Name of the cluster that must not be reached.
pub(super) const TRAP: &str = "dev-trap";

/// The password of everyone here.
pub(super) const PASSWORD: &str = "correct horse battery";

pub(super) struct World {
    pub(super) fixture: Fixture,
    reached: Arc<AtomicUsize>,
    pub(super) admin: String,
    /// May get and list pods in namespace `shop` of `dev-*`, nothing else.
    pub(super) reader: String,
    attacks: usize,
    /// What went otherwise than it should, so that one run tells all of it.
    wrong: Mutex<Vec<String>>,
}

/// What came back.
#[derive(Debug)]
pub(super) struct Answer {
    /// 0 when the connection was closed without an answer.
    pub(super) status: u16,
    pub(super) text: String,
}

impl Answer {
    pub(super) fn json(&self) -> Value {
        let body = self.text.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        serde_json::from_str(body).unwrap_or(Value::Null)
    }

    /// Value of a header, by its lower-case name.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let head = self.text.split("\r\n\r\n").next()?;
        head.lines()
            .filter_map(|line| line.split_once(": "))
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, v)| v)
    }

    /// The session cookie that was set, as `name=value`.
    pub(super) fn cookie(&self) -> String {
        self.header("set-cookie").and_then(|line| line.split(';').next()).expect("a cookie").to_owned()
    }
}

/// An API server that counts who comes.
fn trap(reached: Arc<AtomicUsize>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut head = Vec::new();
            let mut byte = [0u8; 1];
            while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap_or(0) == 1 {
                head.push(byte[0]);
            }
            // The hub itself asks for these, to see whether the cluster is there.
            let head = String::from_utf8_lossy(&head).into_owned();
            if ["/version", "/readyz", "/livez", "/healthz"]
                .iter()
                .all(|path| !head.starts_with(&format!("GET {path}")))
            {
                reached.fetch_add(1, Ordering::SeqCst);
            }
            let answer = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 11\r\nconnection: close\r\n\r\n{\"trap\": 1}";
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    port
}

impl World {
    pub(super) fn start() -> Self {
        let fixture = Fixture::start(&HubOptions::default()).unwrap();
        let reached = Arc::new(AtomicUsize::new(0));
        let mut world =
            Self { fixture, reached, admin: String::new(), reader: String::new(), attacks: 0, wrong: Mutex::default() };
        let (email, password) = (world.fixture.hub.email.clone(), world.fixture.hub.password.clone());
        world.admin = world.sign_in(&email, &password)["token"].as_str().unwrap().to_owned();
        let port = trap(Arc::clone(&world.reached));
        let kubeconfig = json!({
            "current-context": "c",
            "contexts": [{"name": "c", "context": {"cluster": "c"}}],
            "clusters": [{"name": "c", "cluster": {"server": format!("http://127.0.0.1:{port}")}}],
        });
        world.as_admin("POST", "/api/clusters", &json!({"name": TRAP, "kubeconfig": kubeconfig.to_string()}), 201);
        let role = json!({"name": "reader", "clusters": [{"name": "dev-*", "namespaces": ["shop"], "verbs": ["get", "list"], "resources": ["pods"]}]});
        world.as_admin("POST", "/api/roles", &role, 201);
        world.reader = world.person("reader@example.com", &["reader"]);
        world
    }

    pub(super) fn as_admin(&self, method: &str, path: &str, body: &Value, wanted: u16) -> Value {
        let answer = self.call(method, path, &[("authorization", &bearer(&self.admin))], &body.to_string());
        assert_eq!(answer.status, wanted, "{method} {path}: {}", answer.text);
        answer.json()
    }

    /// Makes an account and signs it in; its access token.
    pub(super) fn person(&self, email: &str, roles: &[&str]) -> String {
        self.as_admin("POST", "/api/users", &json!({"email": email, "password": PASSWORD, "roles": roles}), 201);
        self.sign_in(email, PASSWORD)["token"].as_str().unwrap().to_owned()
    }

    pub(super) fn sign_in(&self, email: &str, password: &str) -> Value {
        let body = json!({"email": email, "password": password}).to_string();
        let answer = self.call("POST", "/auth/login", &[], &body);
        assert_eq!(answer.status, 200, "{}", answer.text);
        answer.json()
    }

    /// Signs a browser in; its cookie as `name=value`.
    pub(super) fn browser(&self, email: &str) -> String {
        let body = json!({"email": email, "password": PASSWORD, "session": "cookie"}).to_string();
        let answer = self.call("POST", "/auth/login", &[], &body);
        assert_eq!(answer.status, 200, "{}", answer.text);
        assert!(answer.json()["token"].is_null(), "a browser gets no token: {}", answer.text);
        answer.cookie()
    }

    pub(super) fn own_origin(&self) -> String {
        format!("http://localhost:{}", self.fixture.hub.people_port)
    }

    /// One request over plain HTTP.
    pub(super) fn call(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let mut request = format!("{method} {path} HTTP/1.1\r\nhost: localhost:{}\r\n", self.fixture.hub.people_port);
        if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("connection")) {
            request.push_str("connection: close\r\n");
        }
        for (name, value) in headers {
            request.push_str(&format!("{name}: {value}\r\n"));
        }
        if !body.is_empty() {
            request.push_str(&format!("content-type: application/json\r\ncontent-length: {}\r\n", body.len()));
        }
        request.push_str("\r\n");
        request.push_str(body);
        self.raw(request.as_bytes())
    }

    /// Bytes as they are, and all that comes back until the hub closes.
    pub(super) fn raw(&self, bytes: &[u8]) -> Answer {
        let mut stream = TcpStream::connect(("127.0.0.1", self.fixture.hub.people_port)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(15))).unwrap();
        // The hub may have refused and closed before all is written.
        let _ = stream.write_all(bytes);
        let mut text = Vec::new();
        let _ = stream.read_to_end(&mut text);
        let text = String::from_utf8_lossy(&text).into_owned();
        let status = text.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)?.parse().ok()).unwrap_or(0);
        Answer { status, text }
    }

    /// Checks one attack: it is answered once, as expected, and reached no cluster.
    pub(super) fn attack(&mut self, name: &str, answer: &Answer, wanted: &[u16]) {
        self.attacks += 1;
        self.note(wanted.contains(&answer.status), &format!("{name}: wanted {wanted:?}"), answer);
        self.note(answer.text.matches("HTTP/1.1 ").count() <= 1, &format!("{name}: answered more than once"), answer);
        let readable = answer.header("access-control-allow-origin").is_some();
        self.note(!readable, &format!("{name}: lets another origin read"), answer);
        let reached = self.reached.swap(0, Ordering::SeqCst);
        self.note(reached == 0, &format!("{name}: reached the cluster"), answer);
    }

    /// Says that something is let through, so that the attacks beside it fail for the right reason.
    pub(super) fn control(&self, name: &str, answer: &Answer, wanted: u16) {
        self.note(answer.status == wanted, &format!("control {name}: wanted {wanted}"), answer);
        self.reached.store(0, Ordering::SeqCst);
    }

    /// Notes what is not right, beside the status.
    pub(super) fn note(&self, right: bool, what: &str, answer: &Answer) {
        if !right {
            let start: String = answer.text.chars().take(1500).collect();
            self.wrong.lock().unwrap().push(format!("{what}, got {}\n{start}\n", answer.status));
        }
    }

    /// Everything that went wrong.
    pub(super) fn wrong(&self) -> Vec<String> {
        self.wrong.lock().unwrap().clone()
    }

    pub(super) fn attacks(&self) -> usize {
        self.attacks
    }
}

pub(super) fn bearer(token: &str) -> String {
    format!("Bearer {token}")
}
