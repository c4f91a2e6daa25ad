//! What the suites `contract` and `endpoints` share: a running hub, and people who call it.
//!
//! Must not know: which routes there are.

use std::path::PathBuf;

use anyhow::{Context, Result};
use flotilla_harness::{HubOptions, HubProcess, Programs};
use flotilla_testbed::Tools;
use reqwest::{Client, Method, Response};
use serde_json::Value;
use tempfile::TempDir;

/// A hub of its own with a folder of its own.
pub struct Fixture {
    /// The hub.
    pub hub: HubProcess,
    /// The real programs.
    pub programs: Programs,
    /// Starts programs so that they end with us.
    pub leash: PathBuf,
    /// Trusts the hub's CA.
    pub client: Client,
    /// Dropped last.
    _dir: TempDir,
}

impl Fixture {
    /// Starts a hub and signs the first administrator in as `admin`.
    ///
    /// # Errors
    /// The programs are not built, or the hub does not start.
    pub fn start(options: &HubOptions) -> Result<Self> {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let dir = tempfile::tempdir()?;
        let programs = Programs::beside_us()?;
        let leash = Tools::ensure(&mut |line| eprintln!("{line}"))?.leash();
        let hub = HubProcess::start(&programs, &leash, &dir.path().join("hub"), options)?;
        hub.login("admin", &hub.email, &hub.password)?;
        let ca = reqwest::Certificate::from_pem(&std::fs::read(hub.ca_path())?)?;
        let client = Client::builder()
            .tls_certs_only([ca])
            .redirect(reqwest::redirect::Policy::none())
            .timeout(std::time::Duration::from_secs(30))
            // Each test has a runtime of its own, and a connection lives only as long as the runtime that made it.
            .pool_max_idle_per_host(0)
            .build()?;
        Ok(Self { hub, programs, leash, client, _dir: dir })
    }

    /// Signs in over HTTP and returns the answer.
    ///
    /// # Errors
    /// The hub cannot be reached.
    pub async fn sign_in(&self, email: &str, password: &str) -> Result<Response> {
        self.call(Method::POST, "/auth/login", None, Some(serde_json::json!({"email": email, "password": password})))
            .await
    }

    /// The access token of the first administrator.
    ///
    /// # Errors
    /// The hub refuses him.
    pub async fn admin_token(&self) -> Result<String> {
        let answer: Value = self.sign_in(&self.hub.email, &self.hub.password).await?.error_for_status()?.json().await?;
        Ok(answer["token"].as_str().context("no token")?.to_owned())
    }

    /// One call of the people's API.
    ///
    /// # Errors
    /// The hub cannot be reached.
    pub async fn call(&self, method: Method, path: &str, token: Option<&str>, body: Option<Value>) -> Result<Response> {
        let mut request = self.client.request(method, format!("{}{path}", self.hub.url()));
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        if let Some(body) = body {
            request = request.json(&body);
        }
        Ok(request.send().await?)
    }
}
