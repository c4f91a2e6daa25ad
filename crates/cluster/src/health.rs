//! A look at a cluster by the way that people's requests take: tunnel or direct, with an identity stated. So it finds
//! what they would find: an agent that is away, an API server that is, credentials that no longer hold, and the right
//! to impersonate that is missing.
//!
//! Must not know: when to look, what becomes of the answer.

use std::time::{Duration, Instant};

use flotilla_tunnel::body::Body;
use flotilla_upstream::check::{ErrorClass, read_short, version};
use futures_util::future::BoxFuture;
use http::{Response, StatusCode};

use crate::transport::{AskError, Transport, TransportError};

/// How a cluster is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Condition {
    /// The API server answers and is ready.
    Healthy,
    /// It answers, and says that it is not ready.
    Degraded,
    /// There is no answer.
    Unreachable,
    /// It does not let the hub in, or not as somebody else.
    Denied,
    /// It answers what no API server answers.
    Unknown,
}

impl Condition {
    /// The word used on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Degraded => "degraded",
            Self::Unreachable => "unreachable",
            Self::Denied => "denied",
            Self::Unknown => "unknown",
        }
    }
}

/// What a look found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Look {
    /// How the cluster is.
    pub condition: Condition,
    /// What is wrong.
    pub error: Option<ErrorClass>,
    /// The same for people.
    pub detail: String,
    /// The API server's version, when it said.
    pub server_version: Option<String>,
    /// How long the first answer took, or how long it was waited for.
    pub latency: Duration,
}

/// What is wrong, in a word and for people.
type Problem = (Condition, ErrorClass, String);

/// Looks at a cluster, for no longer than `deadline`.
pub fn look<'a>(transport: &'a Transport, cluster: &'a str, deadline: Duration) -> BoxFuture<'a, Look> {
    Box::pin(look_at(transport, cluster, deadline))
}

async fn look_at(transport: &Transport, cluster: &str, deadline: Duration) -> Look {
    let started = Instant::now();
    let mut look = Look {
        condition: Condition::Healthy,
        error: None,
        detail: String::new(),
        server_version: None,
        latency: Duration::ZERO,
    };
    let problem = match tokio::time::timeout(deadline, ask(transport, cluster, started, &mut look)).await {
        Ok(Ok(())) => None,
        Ok(Err(problem)) => Some(problem),
        Err(_) => {
            let detail = format!("the cluster did not answer within {} s", deadline.as_secs());
            Some((Condition::Unreachable, ErrorClass::Timeout, detail))
        }
    };
    if let Some((condition, class, detail)) = problem {
        (look.condition, look.error, look.detail) = (condition, Some(class), detail);
    }
    if look.latency.is_zero() {
        look.latency = started.elapsed();
    }
    look
}

async fn ask(transport: &Transport, cluster: &str, started: Instant, look: &mut Look) -> Result<(), Problem> {
    let response = transport.ask_as_health_check(cluster, "/version").await.map_err(|error| of_error(&error))?;
    look.latency = started.elapsed();
    let (status, body) = small(response).await?;
    judge(status, &body)?;
    look.server_version = version(&body);
    if status.is_success() && look.server_version.is_none() {
        let detail = "what answers there is no Kubernetes API server".to_owned();
        return Err((Condition::Unknown, ErrorClass::Unknown, detail));
    }
    let response = transport.ask_as_health_check(cluster, "/readyz").await.map_err(|error| of_error(&error))?;
    let (status, body) = small(response).await?;
    if status.is_server_error() {
        let said = String::from_utf8_lossy(&body);
        let failing: Vec<&str> = said.lines().filter_map(|line| line.strip_prefix("[-]")).take(5).collect();
        let detail = format!("the API server is not ready ({}): {}", status.as_u16(), failing.join("; "));
        return Err((Condition::Degraded, ErrorClass::Unknown, detail));
    }
    Ok(())
}

/// What the first answer says of the way there. A refusal to show the version is an answer of a cluster that is well.
fn judge(status: StatusCode, body: &[u8]) -> Result<(), Problem> {
    let said = || String::from_utf8_lossy(body);
    match status {
        StatusCode::UNAUTHORIZED => {
            let detail = "the cluster does not take the hub's credentials; give it new ones".to_owned();
            Err((Condition::Denied, ErrorClass::AuthFailed, detail))
        }
        StatusCode::FORBIDDEN if said().contains("impersonate") => {
            let detail =
                "the hub's credentials may not impersonate users and groups; bind them to a ClusterRole that may";
            Err((Condition::Denied, ErrorClass::Denied, detail.to_owned()))
        }
        StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE => {
            let detail = "the API server cannot be reached from where its agent or proxy is".to_owned();
            Err((Condition::Unreachable, ErrorClass::ApiserverUnreachable, detail))
        }
        StatusCode::GATEWAY_TIMEOUT => {
            let detail = "the API server did not answer its agent or proxy in time".to_owned();
            Err((Condition::Unreachable, ErrorClass::Timeout, detail))
        }
        status if status.is_server_error() => {
            Err((Condition::Degraded, ErrorClass::Unknown, format!("the API server answers {status}")))
        }
        _ => Ok(()),
    }
}

fn of_error(error: &AskError) -> Problem {
    let class = match error {
        AskError::Upstream(error) => ErrorClass::of(error),
        AskError::Transport(TransportError::Timeout(_)) => ErrorClass::Timeout,
        AskError::Transport(TransportError::Identity(_) | TransportError::Signing(_)) => ErrorClass::Unknown,
        AskError::Transport(_) => ErrorClass::ApiserverUnreachable,
    };
    let condition = match class {
        ErrorClass::Denied | ErrorClass::AuthFailed => Condition::Denied,
        ErrorClass::Timeout | ErrorClass::ApiserverUnreachable => Condition::Unreachable,
        ErrorClass::Unknown => Condition::Unknown,
    };
    (condition, class, error.to_string())
}

async fn small(response: Response<Body>) -> Result<(StatusCode, Vec<u8>), Problem> {
    let status = response.status();
    let body = read_short(response.into_body()).await.ok_or_else(|| {
        (Condition::Unreachable, ErrorClass::ApiserverUnreachable, "the cluster's answer broke off".to_owned())
    })?;
    Ok((status, body))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_answer_says_of_the_cluster() {
        let judged = |status: u16, body: &str| {
            let judged = judge(StatusCode::from_u16(status).unwrap(), body.as_bytes());
            judged.map_err(|(condition, class, _)| (condition.as_str(), class.as_str()))
        };
        assert_eq!(judged(200, "{}"), Ok(()));
        assert_eq!(judged(403, "forbidden: User \"x\" cannot get path \"/version\""), Ok(()));
        let denied = "users \"flotilla:health-check\" is forbidden: User \"x\" cannot impersonate resource \"users\"";
        assert_eq!(judged(403, denied), Err(("denied", "denied")));
        assert_eq!(judged(401, ""), Err(("denied", "auth_failed")));
        assert_eq!(judged(502, ""), Err(("unreachable", "apiserver_unreachable")));
        assert_eq!(judged(504, ""), Err(("unreachable", "timeout")));
        assert_eq!(judged(500, ""), Err(("degraded", "unknown")));
    }
}
