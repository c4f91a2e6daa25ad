//! What a request needs of the way it takes: which lane, how much time for the head of its answer, and whether it may
//! be sent a second time.
//!
//! Must not know: where it goes.

use std::time::Duration;

use flotilla_tunnel::Lane;
use http::Method;

use crate::request::ClusterRequest;
use crate::request_info::pairs;

/// The most time that a request can ask for.
const LONGEST: Duration = Duration::from_secs(3600);

/// What the cluster gets on top of the time that the caller gives it, so that its own answer ("timed out") comes first.
const GRACE: Duration = Duration::from_secs(5);

/// How a request is sent.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) lane: Lane,
    /// For the head of the answer.
    pub(super) deadline: Duration,
    /// Changes nothing and has no body.
    pub(super) repeatable: bool,
}

impl Plan {
    pub(super) fn of(request: &ClusterRequest, deadline: Duration) -> Self {
        let long_lived = is_long_lived(request);
        let method = request.http().method();
        let reads = matches!(*method, Method::GET | Method::HEAD);
        let no_body = http_body::Body::is_end_stream(request.http().body());
        Self {
            lane: if long_lived && !is_terminal(request) { Lane::Bulk } else { Lane::Interactive },
            deadline: if long_lived { deadline } else { asked_for(request.query(), deadline) },
            repeatable: reads && no_body && !request.is_upgrade(),
        }
    }
}

/// Whether the answer may go on for long: watches, logs, upgraded connections, proxies.
fn is_long_lived(request: &ClusterRequest) -> bool {
    let info = request.info();
    request.is_upgrade() || info.verb == "watch" || matches!(info.subresource.as_str(), "log" | "proxy")
}

/// A person at a keyboard, who would feel a copy in the same lane.
fn is_terminal(request: &ClusterRequest) -> bool {
    let shell = matches!(request.info().subresource.as_str(), "exec" | "attach");
    shell && pairs(request.query()).any(|(key, value)| key == b"tty" && matches!(value.as_slice(), b"true" | b"1"))
}

/// The deadline, longer if the query asks the API server for more time (`timeout=90s`, `timeoutSeconds=90`).
fn asked_for(query: &str, deadline: Duration) -> Duration {
    if !query.contains("timeout") {
        return deadline;
    }
    let asked = pairs(query).filter_map(|(key, value)| {
        let value = std::str::from_utf8(&value).ok()?;
        match key.as_slice() {
            b"timeoutSeconds" => value.parse().ok().map(Duration::from_secs),
            b"timeout" => go_duration(value),
            _ => None,
        }
    });
    let longest = asked.max().map_or(deadline, |asked| asked.saturating_add(GRACE));
    longest.min(LONGEST).max(deadline)
}

/// A duration as Go writes it: `1m30s`, `1.5h`, `100ms`.
fn go_duration(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut seconds = 0.0_f64;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, after) = rest.split_at(digits);
        let letters = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, after) = after.split_at(letters);
        seconds += number.parse::<f64>().ok()? * unit_seconds(unit)?;
        rest = after;
    }
    Duration::try_from_secs_f64(seconds).ok()
}

fn unit_seconds(unit: &str) -> Option<f64> {
    Some(match unit {
        "h" => 3600.0,
        "m" => 60.0,
        "s" => 1.0,
        "ms" => 1e-3,
        "us" | "µs" | "μs" => 1e-6,
        "ns" => 1e-9,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use flotilla_tunnel::body::{empty, full};
    use flotilla_types::id::ClusterId;
    use http::Request;

    use super::*;
    use crate::request::ClusterRef;

    const MINUTE: Duration = Duration::from_secs(60);

    fn plan(method: &str, target: &str, upgrade: bool) -> Plan {
        let mut http = Request::builder().method(method).uri(target);
        if upgrade {
            http = http.header("connection", "upgrade").header("upgrade", "SPDY/3.1");
        }
        let cluster = ClusterRef { id: ClusterId::new(), name: "dev".into() };
        Plan::of(&ClusterRequest::new(cluster, http.body(empty()).unwrap()).unwrap(), MINUTE)
    }

    #[test]
    fn long_answers_take_the_bulk_lane_but_terminals_do_not() {
        let pod = "/api/v1/namespaces/shop/pods/web-0";
        let lane = |target: &str, upgrade| plan("GET", &format!("{pod}{target}"), upgrade).lane;
        assert_eq!(lane("", false), Lane::Interactive);
        assert_eq!(lane("/log", false), Lane::Bulk);
        assert_eq!(lane("/proxy/a", false), Lane::Bulk);
        assert_eq!(lane("/exec?command=tar&stdin=true", true), Lane::Bulk);
        assert_eq!(lane("/exec?command=sh&tty=true", true), Lane::Interactive);
        assert_eq!(lane("/portforward", true), Lane::Bulk);
        assert_eq!(plan("GET", "/api/v1/pods?watch=1", false).lane, Lane::Bulk);
    }

    #[test]
    fn a_caller_may_give_more_time_but_not_for_what_streams() {
        let deadline = |target: &str| plan("GET", target, false).deadline.as_secs();
        assert_eq!(deadline("/api?timeout=32s"), 60);
        assert_eq!(deadline("/apis/apps/v1/deployments?timeout=1m30s"), 95);
        assert_eq!(deadline("/api/v1/pods?timeoutSeconds=600"), 605);
        assert_eq!(deadline("/api/v1/pods?timeoutSeconds=600&watch=1"), 60);
        assert_eq!(deadline("/api/v1/pods?timeout=100h"), 3600);
        for nonsense in [
            "timeout=",
            "timeout=5",
            "timeout=5y",
            "timeout=-5m",
            "timeout=1e400s",
            "timeoutSeconds=-1",
            "timeoutSeconds=x",
        ] {
            assert_eq!(deadline(&format!("/api/v1/pods?{nonsense}")), 60, "{nonsense}");
        }
    }

    #[test]
    fn only_reads_without_a_body_are_repeated() {
        assert!(plan("GET", "/api/v1/pods", false).repeatable);
        assert!(!plan("DELETE", "/api/v1/pods", false).repeatable);
        assert!(!plan("GET", "/api/v1/namespaces/a/pods/b/exec?command=x", true).repeatable);
        let cluster = ClusterRef { id: ClusterId::new(), name: "dev".into() };
        let with_body = ClusterRequest::new(cluster, Request::get("/api").body(full("x")).unwrap()).unwrap();
        assert!(!Plan::of(&with_body, MINUTE).repeatable);
    }

    #[test]
    fn go_durations() {
        assert_eq!(go_duration("1h1m1.5s100ms"), Some(Duration::from_millis(3_661_600)));
        assert_eq!(go_duration("0s"), Some(Duration::ZERO));
        for bad in ["5", "s", "1.2.3s", "-1s", "1s ", "∞"] {
            assert_eq!(go_duration(bad), None, "{bad}");
        }
    }
}
