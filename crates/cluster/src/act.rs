//! Which requests leave a trace in the audit log, under which word, and as which line a person can read.
//!
//! A request leaves one if it changes something, reveals a secret or a log, or opens a way into a container, a
//! service or a node. Other reads are only counted. Where it is not known what a request does, it leaves a trace.
//!
//! Must not know: who asks and whether he may.

use std::fmt::Write as _;

use flotilla_types::audit::{Target, Verb};
use http::header::CONTENT_TYPE;

use crate::request::ClusterRequest;
use crate::request_info::{RequestInfo, pairs};

/// Longest argument or path that goes into a command line, in characters.
const SHOWN: usize = 120;

/// An act as the audit log names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Act {
    /// What it is called.
    pub verb: Verb,
    /// For people, for example `exec pods web-0 -n shop -c app: sh`. Of an exec only the program is named: its
    /// arguments may hold secrets.
    pub command: String,
}

impl Act {
    /// The act that a request is, or `None` for a read that is only counted.
    #[must_use]
    pub fn of(request: &ClusterRequest) -> Option<Self> {
        let verb = verb(request)?;
        Some(Self { verb, command: command(request, verb.as_str()) })
    }

    /// The same for a request that is recorded whatever it is: denied ones, and reads if so configured.
    #[must_use]
    pub fn of_any(request: &ClusterRequest) -> Self {
        let word = request.info().verb;
        let verb = verb(request);
        let command = command(request, verb.map_or(word, Verb::as_str));
        Self { verb: verb.or_else(|| Verb::parse(word)).unwrap_or_default(), command }
    }
}

/// What was acted on, as an audit row says it. A bare path stands in the name.
#[must_use]
pub fn target(request: &ClusterRequest) -> Target {
    let info = request.info();
    let name = if info.is_resource_request { info.name.clone() } else { printable(&info.path) };
    Target {
        cluster: request.cluster().name.to_string(),
        cluster_id: Some(request.cluster().id),
        group: info.api_group.clone(),
        version: info.api_version.clone(),
        resource: resource(info),
        namespace: info.namespace.clone(),
        name,
    }
}

/// The resource with its subresource behind a slash.
pub(crate) fn resource(info: &RequestInfo) -> String {
    if info.subresource.is_empty() { info.resource.clone() } else { format!("{}/{}", info.resource, info.subresource) }
}

fn verb(request: &ClusterRequest) -> Option<Verb> {
    let info = request.info();
    if !info.is_resource_request {
        let read = matches!(info.verb, "get" | "head") && !reveals(&info.path);
        return (!read).then_some(Verb::BareRequest);
    }
    if let Some(opening) = opening(info) {
        return Some(opening);
    }
    match info.verb {
        "get" | "list" | "watch" if info.api_group.is_empty() && info.resource == "secrets" => Some(Verb::SecretRead),
        // Nobody knows what an upgraded connection to some subresource carries.
        "get" if request.is_upgrade() && !info.subresource.is_empty() => Some(Verb::ConnectOpen),
        "get" | "list" | "watch" => None,
        "create" if is_review(info) => None,
        _ => Some(mutation(request)),
    }
}

/// Bare paths that show what the API server's machine has in its logs and its memory (`--enable-logs-handler`,
/// `--profiling` of kube-apiserver).
fn reveals(path: &str) -> bool {
    matches!(path.split('/').nth(1), Some("logs" | "debug"))
}

/// Subresources that open a way in or reveal what is inside, with whatever method they are called.
fn opening(info: &RequestInfo) -> Option<Verb> {
    let core_pods = info.api_group.is_empty() && info.resource == "pods";
    match info.subresource.as_str() {
        "proxy" => Some(Verb::Proxy),
        "exec" if core_pods => Some(Verb::ExecOpen),
        "attach" if core_pods => Some(Verb::AttachOpen),
        "portforward" if core_pods => Some(Verb::PortForwardOpen),
        "log" if core_pods => Some(Verb::LogOpen),
        _ => None,
    }
}

/// `SelfSubjectAccessReview` and its kin are created, but only ask a question.
fn is_review(info: &RequestInfo) -> bool {
    matches!(info.api_group.as_str(), "authorization.k8s.io" | "authentication.k8s.io")
        && info.resource.ends_with("reviews")
        && info.subresource.is_empty()
}

fn mutation(request: &ClusterRequest) -> Verb {
    let info = request.info();
    match (info.verb, info.subresource.as_str()) {
        ("create", "token") if info.api_group.is_empty() && info.resource == "serviceaccounts" => Verb::TokenRequest,
        ("create", "eviction") => Verb::Evict,
        ("create", _) => Verb::Create,
        ("update", _) => Verb::Update,
        ("patch", _) if is_apply(request) => Verb::Apply,
        ("patch", _) => Verb::Patch,
        ("delete", _) => Verb::Delete,
        ("deletecollection", _) => Verb::DeleteCollection,
        _ => Verb::Unknown,
    }
}

/// Server-side apply: `application/apply-patch+yaml`, `application/apply-patch+cbor`.
fn is_apply(request: &ClusterRequest) -> bool {
    let kind = request.http().headers().get(CONTENT_TYPE).map(http::HeaderValue::as_bytes);
    kind.and_then(|kind| kind.get(..23)).is_some_and(|start| start.eq_ignore_ascii_case(b"application/apply-patch"))
}

fn command(request: &ClusterRequest, verb: &str) -> String {
    let info = request.info();
    if !info.is_resource_request {
        return format!("{} {}", request.http().method(), printable(&info.path));
    }
    let mut line = format!("{} {}", word(verb), kind(info, verb));
    if !info.name.is_empty() {
        let _ = write!(line, " {}", printable(&info.name));
    }
    if !info.namespace.is_empty() && info.resource != "namespaces" {
        let _ = write!(line, " -n {}", printable(&info.namespace));
    }
    add_details(&mut line, request, verb);
    line
}

/// Resource, group and subresource; the last not where the word says it already.
fn kind(info: &RequestInfo, verb: &str) -> String {
    let mut kind = printable(&info.resource);
    if !info.api_group.is_empty() {
        let _ = write!(kind, ".{}", printable(&info.api_group));
    }
    let said = matches!(
        verb,
        "exec_open" | "attach_open" | "port_forward_open" | "log_open" | "proxy" | "evict" | "token_request"
    );
    if !info.subresource.is_empty() && !said {
        let _ = write!(kind, "/{}", printable(&info.subresource));
    }
    kind
}

fn word(verb: &str) -> &str {
    match verb {
        "exec_open" => "exec",
        "attach_open" => "attach",
        "port_forward_open" => "port-forward",
        "connect_open" => "connect",
        "log_open" => "logs",
        "secret_read" => "read",
        "token_request" => "create token for",
        "delete_collection" | "deletecollection" => "delete all",
        other => other,
    }
}

fn add_details(line: &mut String, request: &ClusterRequest, verb: &str) {
    let mut dry_run = false;
    let mut program = None;
    for (key, value) in pairs(request.query()) {
        match key.as_slice() {
            b"container" if verb != "proxy" => {
                let _ = write!(line, " -c {}", printable_bytes(&value));
            }
            b"command" if verb == "exec_open" && program.is_none() => program = Some(program_of(&value)),
            b"dryRun" => dry_run = true,
            _ => {}
        }
    }
    if let Some(program) = program {
        let _ = write!(line, ": {program}");
    }
    if verb == "proxy" {
        let tail = request.info().parts().skip(3).collect::<Vec<_>>().join("/");
        let _ = write!(line, ": {} /{}", request.http().method(), printable(&tail));
    }
    if dry_run && verb != "proxy" {
        line.push_str(" --dry-run=server");
    }
}

/// The program of a command line that came as one argument or as the first of several.
fn program_of(argument: &[u8]) -> String {
    let word = argument.split(u8::is_ascii_whitespace).find(|word| !word.is_empty());
    printable_bytes(word.unwrap_or_default())
}

fn printable_bytes(bytes: &[u8]) -> String {
    printable(&String::from_utf8_lossy(bytes))
}

/// Safe to print on one line: no control characters, none that break lines or turn the direction of writing, and not
/// endless.
fn printable(text: &str) -> String {
    let unsafe_to_print = |c: char| {
        c.is_control() || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    let mut shown: String = text.chars().take(SHOWN).map(|c| if unsafe_to_print(c) { '\u{fffd}' } else { c }).collect();
    if text.chars().nth(SHOWN).is_some() {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use flotilla_types::id::ClusterId;
    use http::Request;

    use super::*;
    use crate::request::ClusterRef;

    fn act(method: &str, target: &str, headers: &[(&str, &str)]) -> Option<(&'static str, String)> {
        let mut builder = Request::builder().method(method).uri(target);
        for (name, value) in headers {
            builder = builder.header(*name, *value);
        }
        let cluster = ClusterRef { id: ClusterId::new(), name: "dev".into() };
        let request = ClusterRequest::new(cluster, builder.body(flotilla_tunnel::body::empty()).unwrap()).unwrap();
        Act::of(&request).map(|act| (act.verb.as_str(), act.command))
    }

    const WEBSOCKET: &[(&str, &str)] = &[("connection", "Upgrade"), ("upgrade", "websocket")];

    #[test]
    fn reads_leave_no_trace() {
        for (method, target) in [
            ("GET", "/api/v1/pods"),
            ("GET", "/api/v1/namespaces/shop/pods/web-0/status"),
            ("HEAD", "/apis/apps/v1/deployments?watch=1"),
            ("GET", "/openapi/v3"),
            ("HEAD", "/healthz"),
            ("GET", "/apis/example.com/v1/secrets"),
            ("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"),
            ("POST", "/apis/authorization.k8s.io/v1/namespaces/shop/localsubjectaccessreviews"),
            ("POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews"),
        ] {
            assert_eq!(act(method, target, &[]), None, "{method} {target}");
        }
        assert_eq!(act("GET", "/api/v1/pods?watch=1", WEBSOCKET), None);
    }

    #[test]
    fn everything_else_does() {
        let pod = "/api/v1/namespaces/shop/pods/web-0";
        let cases = [
            ("POST", "/api/v1/namespaces/shop/pods".to_owned(), "create", "create pods -n shop"),
            ("POST", "/api/v1/namespaces?dryRun=All".to_owned(), "create", "create namespaces --dry-run=server"),
            ("PUT", format!("{pod}/status"), "update", "update pods/status web-0 -n shop"),
            (
                "PATCH",
                "/apis/apps/v1/namespaces/shop/deployments/web/scale".to_owned(),
                "patch",
                "patch deployments.apps/scale web -n shop",
            ),
            ("DELETE", pod.to_owned(), "delete", "delete pods web-0 -n shop"),
            ("DELETE", "/api/v1/namespaces/shop".to_owned(), "delete", "delete namespaces shop"),
            ("DELETE", "/api/v1/pods?watch=1".to_owned(), "delete_collection", "delete all pods"),
            ("POST", format!("{pod}/eviction"), "evict", "evict pods web-0 -n shop"),
            (
                "POST",
                format!("{pod}/exec?command=sh&command=-c&command=echo+hunter2&container=app&stdin=true"),
                "exec_open",
                "exec pods web-0 -n shop -c app: sh",
            ),
            ("GET", format!("{pod}/exec?command=mysql+-phunter2"), "exec_open", "exec pods web-0 -n shop: mysql"),
            ("GET", format!("{pod}/attach?container=app"), "attach_open", "attach pods web-0 -n shop -c app"),
            ("POST", format!("{pod}/portforward"), "port_forward_open", "port-forward pods web-0 -n shop"),
            ("GET", format!("{pod}/log?follow=true&container=app"), "log_open", "logs pods web-0 -n shop -c app"),
            (
                "GET",
                format!("{pod}/proxy/a//b%2Fc%0a?x=%2e%2e"),
                "proxy",
                "proxy pods web-0 -n shop: GET /a//b/c\u{fffd}",
            ),
            ("POST", "/api/v1/nodes/n1/proxy/run/x".to_owned(), "proxy", "proxy nodes n1: POST /run/x"),
            ("GET", "/api/v1/secrets".to_owned(), "secret_read", "read secrets"),
            (
                "GET",
                "/api/v1/namespaces/shop/secrets?watch=1&fieldSelector=metadata.name%3Ddb".to_owned(),
                "secret_read",
                "read secrets db -n shop",
            ),
            (
                "POST",
                "/api/v1/namespaces/shop/serviceaccounts/ci/token".to_owned(),
                "token_request",
                "create token for serviceaccounts ci -n shop",
            ),
            (
                "POST",
                "/apis/example.com/v1/namespaces/shop/widgets/w/frobnicate".to_owned(),
                "create",
                "create widgets.example.com/frobnicate w -n shop",
            ),
            ("POST", "/apis/example.com/v1/reviews".to_owned(), "create", "create reviews.example.com"),
            ("POST", "/logs/x".to_owned(), "bare_request", "POST /logs/x"),
            ("GET", "/logs/kube-apiserver.log".to_owned(), "bare_request", "GET /logs/kube-apiserver.log"),
            ("GET", "/debug/pprof/heap".to_owned(), "bare_request", "GET /debug/pprof/heap"),
            (
                "DELETE",
                "/api/v1/namespaces/shop/pods/a%E2%80%AEb%E2%80%A8c".to_owned(),
                "delete",
                "delete pods a\u{fffd}b\u{fffd}c -n shop",
            ),
        ];
        for (method, target, verb, command) in cases {
            assert_eq!(act(method, &target, &[]), Some((verb, command.to_owned())), "{method} {target}");
        }
    }

    #[test]
    fn apply_is_told_from_other_patches_by_its_type() {
        let target = "/api/v1/namespaces/shop/configmaps/c";
        for kind in ["application/apply-patch+yaml", "Application/Apply-Patch+cbor; x=y"] {
            assert_eq!(act("PATCH", target, &[("content-type", kind)]).unwrap().0, "apply");
        }
        assert_eq!(act("PATCH", target, &[("content-type", "application/merge-patch+json")]).unwrap().0, "patch");
    }

    #[test]
    fn an_upgraded_connection_to_an_unknown_subresource_leaves_a_trace() {
        let target = "/apis/subresources.kubevirt.io/v1/namespaces/shop/virtualmachineinstances/vm/console";
        assert_eq!(act("GET", target, WEBSOCKET).unwrap().0, "connect_open");
        assert_eq!(act("GET", target, &[]), None);
    }

    #[test]
    fn what_a_person_reads_stays_on_one_line() {
        let long = "x".repeat(500);
        let (_, command) =
            act("GET", &format!("/api/v1/namespaces/shop/pods/p/exec?command=%1b%5b31m{long}"), &[]).unwrap();
        assert!(
            command.starts_with("exec pods p -n shop: \u{fffd}[31mxxx") && command.chars().count() < 200,
            "{command}"
        );
    }
}
