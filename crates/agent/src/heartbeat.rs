//! The agent's pulse: asks the API server whether it lives, and tells the hub.
//!
//! Must not know: what either does with it.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use flotilla_tunnel::body;
use flotilla_upstream::Upstream;
use http::Request;
use serde::Deserialize;
use serde_json::{Map, Value};
use tokio::time::MissedTickBehavior;

use crate::answer;
use crate::health::Readiness;
use crate::hub::{Session, one_line};

/// For the API server's answer.
const DEADLINE: Duration = Duration::from_secs(5);

/// Largest answer to `/version` that is read.
const MAX_ANSWER: usize = 64 * 1024;

/// `k8s.io/apimachinery/pkg/version.Info`, as far as it is wanted.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Version {
    git_version: String,
    #[serde(default)]
    platform: String,
}

/// Beats until it is dropped.
pub(crate) async fn beat(upstream: Upstream, session: Session, readiness: Readiness, interval: Duration) {
    let mut ticks = tokio::time::interval(interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let mut metadata = Map::from_iter([("agent_version".to_owned(), Value::from(env!("CARGO_PKG_VERSION")))]);
        match version(&upstream).await {
            Ok(version) => {
                readiness.api_server_answered();
                metadata.insert("kubernetes_version".to_owned(), version.git_version.into());
                metadata.insert("platform".to_owned(), version.platform.into());
            }
            Err(error) => tracing::warn!(
                error = format!("{error:#}"),
                server = upstream.server(),
                "the API server does not answer"
            ),
        }
        if let Err(error) = session.heartbeat(metadata).await {
            tracing::debug!(error = one_line(error), "the hub did not take the heartbeat");
        }
    }
}

async fn version(upstream: &Upstream) -> anyhow::Result<Version> {
    let request = Request::get("/version").body(body::empty())?;
    let ask = async {
        let response = upstream.send_as_self(request).await?;
        ensure!(response.status().is_success(), "/version answered {}", response.status());
        let answer = answer::read(response.into_body(), MAX_ANSWER).await.context("/version")?;
        serde_json::from_slice(&answer).context("/version is not what a Kubernetes API server answers")
    };
    tokio::time::timeout(DEADLINE, ask).await.context("no answer within 5 s")?
}
