//! One hub, one control plane and one agent for all rows.

use std::sync::OnceLock;
use std::time::Duration;

use anyhow::{Context, Result};
use flotilla_harness::{AgentProcess, HubOptions, TIER_BINDINGS};
use flotilla_testbed::{Binaries, ControlPlane, Options};
use flotilla_tests::Fixture;
use reqwest::Method;
use serde_json::Value;

/// Name of the cluster.
pub(crate) const CLUSTER: &str = "dev-contract";

/// Everything that runs.
pub(crate) struct World {
    pub(crate) fixture: Fixture,
    _agent: AgentProcess,
    cluster: ControlPlane,
    token: String,
}

/// Started by whichever row comes first. The leash ends it all with the test program.
pub(crate) fn world() -> &'static World {
    static WORLD: OnceLock<World> = OnceLock::new();
    WORLD.get_or_init(|| std::thread::spawn(|| start().expect("the contract's world starts")).join().expect("no panic"))
}

fn start() -> Result<World> {
    let binaries = Binaries::ensure(&mut |line| eprintln!("{line}"))?;
    let cluster = ControlPlane::start(&binaries, Options::new(CLUSTER))?;
    cluster.apply(TIER_BINDINGS)?;
    let fixture = Fixture::start(&HubOptions { kubectl: Some(binaries.kubectl()), ..HubOptions::default() })?;
    let agent =
        AgentProcess::start(&fixture.programs, &fixture.leash, &fixture.hub, CLUSTER, &cluster.kubeconfig_path(), "")?;
    fixture.hub.wait_connected(CLUSTER, Duration::from_secs(60))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let token = runtime.block_on(fixture.admin_token())?;
    Ok(World { fixture, _agent: agent, cluster, token })
}

impl World {
    /// The administrator's call; the answer must be a success with a JSON body.
    pub(crate) async fn ok(&self, method: Method, path: &str, body: Option<Value>) -> Result<Value> {
        let response = self.fixture.call(method, path, Some(&self.token), body).await?;
        let (status, text) = (response.status(), response.text().await?);
        anyhow::ensure!(status.is_success(), "{path}: {status} {text}");
        serde_json::from_str(&text).with_context(|| format!("{path} answers {text:?}"))
    }

    /// The administrator's kubeconfig of the cluster itself.
    pub(crate) fn kubeconfig(&self) -> Result<String> {
        Ok(std::fs::read_to_string(self.cluster.kubeconfig_path())?)
    }

    /// The administrator's access token.
    pub(crate) fn token(&self) -> &str {
        &self.token
    }
}

/// The keys of an object, sorted.
pub(crate) fn keys(value: &Value) -> Vec<&str> {
    let mut keys: Vec<&str> = value.as_object().into_iter().flatten().map(|(key, _)| key.as_str()).collect();
    keys.sort_unstable();
    keys
}
