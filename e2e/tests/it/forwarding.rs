//! Other people's protocols through the API: port-forward, the proxy subresource, `kubectl proxy`.

use std::io::{Read, Write};
use std::net::TcpStream;

use flotilla_testbed::wait_until;

use crate::bed::{Bed, PATIENCE, bed_with_node};
use crate::commands::{Background, Kubectl};

const WEBSOCKETS: &str = "KUBECTL_PORT_FORWARD_WEBSOCKETS";

#[test]
fn port_forward_over_websockets() {
    forwarded("forward-ws", "true");
}

#[test]
fn port_forward_over_spdy() {
    forwarded("forward-spdy", "false");
}

fn forwarded(name: &str, websockets: &str) {
    let Some(bed) = bed_with_node(name) else { return };
    let kubectl = bed.web(name).with(WEBSOCKETS, websockets);
    let (port, mut forward) = listening(&kubectl, "port-forward service/web :80");
    // One connection after the other, and several at once.
    for _ in 0..3 {
        assert_eq!(get(port, "/"), "hello\n");
    }
    std::thread::scope(|scope| {
        let all: Vec<_> = (0..8).map(|_| scope.spawn(move || get(port, "/"))).collect();
        assert!(all.into_iter().all(|one| one.join().unwrap() == "hello\n"));
    });
    // A body that is larger than every window.
    kubectl.ok(["exec", "web", "--", "dd", "if=/dev/zero", "of=/www/large", "bs=1048576", "count=8"]);
    assert_eq!(get(port, "/large").len(), 8 << 20);
    assert!(forward.is_running(), "{}", forward.text());
}

#[test]
fn the_proxy_subresource_carries_http() {
    let Some(bed) = bed_with_node("the proxy subresource carries HTTP") else { return };
    let kubectl = bed.web("proxy");
    let namespace = kubectl.namespace();
    let through = |what: &str| kubectl.ok(["get", "--raw", &format!("/api/v1/namespaces/{namespace}/{what}")]);
    assert_eq!(through("pods/web:8080/proxy/"), "hello\n");
    let service = format!("get --raw /api/v1/namespaces/{namespace}/services/web:http/proxy/index.html");
    wait_until("the service has its endpoint", PATIENCE, || Ok(kubectl.run(&service).text() == "hello\n")).unwrap();
    assert_eq!(through("services/http:web:http/proxy/"), "hello\n");
    let missing =
        kubectl.refused(["get", "--raw", &format!("/api/v1/namespaces/{namespace}/pods/web:8080/proxy/absent")]);
    assert!(missing.contains("NotFound") || missing.contains("could not find"), "{missing}");
    proxy_command(bed, &kubectl);
}

fn proxy_command(bed: &Bed, kubectl: &Kubectl) {
    // Without the flag kubectl leaves out the path of the kubeconfig's server, here as with any other gateway.
    let (port, _proxy) = listening(kubectl, "proxy --port=0 --append-server-path");
    let version = get(port, "/version");
    assert!(version.contains("gitVersion"), "{version}");
    let pods = get(port, &format!("/api/v1/namespaces/{}/pods", kubectl.namespace()));
    assert!(pods.contains("\"web\""), "{pods}");
    assert!(get(port, "/api/v1/nodes").contains(bed.node_name()));
}

/// Starts a command that says on which port of 127.0.0.1 it listens.
pub(crate) fn listening(kubectl: &Kubectl, words: &str) -> (u16, Background) {
    let started = kubectl.start(words);
    started.wait_for("127.0.0.1:", PATIENCE);
    let said = started.wait_for("\n", PATIENCE);
    let digits: String = said.split("127.0.0.1:").nth(1).unwrap().chars().take_while(char::is_ascii_digit).collect();
    (digits.parse().unwrap(), started)
}

/// The body of what a plain HTTP/1.0 server answers.
pub(crate) fn get(port: u16, path: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(stream, "GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let answer = String::from_utf8(answer).unwrap();
    answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_else(|| panic!("no HTTP: {answer}"))
}
