//! `flotilla-agent`: dials the hub and serves one API server through the tunnel.
//!
//! ```text
//!   hub ◀── dial, mTLS ── agent                    certificate: enrol, keep, renew
//!    │                      │
//!    └─ HTTP/2 requests ──▶ gateway ─▶ verify ─▶ upstream ──▶ API server, as the user
//! ```
//!
//! The agent refuses what the hub did not sign for, and sends on nothing by which a caller states an identity.
//!
//! Must not know: policy. What a user may do is decided by the hub before and by the API server after it.

mod answer;
mod certificate;
mod config;
mod gateway;
mod health;
mod heartbeat;
mod hub;
mod metrics;
mod run;
mod state;
mod verify;

use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::config::{Log, LogFormat};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Threads for name resolution and file reads.
const BLOCKING: usize = 4;

/// Serves one Kubernetes API server to a Flotilla hub. The agent dials out, so the cluster needs no open port.
#[derive(Parser)]
#[command(name = "flotilla-agent", version, after_help = EXAMPLES)]
struct Arguments {
    /// Settings; every key can also be an environment variable [default: /etc/flotilla/agent.yaml, if it exists]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

const EXAMPLES: &str = "\
Examples:
  # In a cluster, with the pod's service account. The token comes from: flotilla agents token prod-eu-1
  CENTRAL_URL=https://hub.example.com:8443 CLUSTER_NAME=prod-eu-1 AGENT_TOKEN=fla1... flotilla-agent

  # Beside a cluster, with a kubeconfig
  FLOTILLA_AGENT__KUBERNETES__KUBECONFIG=$HOME/.kube/config FLOTILLA_AGENT__STATE_DIR=./agent \\
    CENTRAL_URL=https://localhost:8443 CLUSTER_NAME=dev AGENT_TOKEN=fla1... flotilla-agent

  # With a file
  flotilla-agent --config agent.yaml";

fn main() -> ExitCode {
    match start(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("flotilla-agent: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn start(arguments: &Arguments) -> anyhow::Result<()> {
    let source = config::source(arguments.config.as_deref(), flotilla_settings::process_environment());
    let config = config::load(&source)?;
    log_to_stderr(&config.log)?;
    // One thread: the agent waits more than it computes, and what it computes (TLS, both ways) goes at a gigabyte a
    // second. Several would cost a tenth more processor time per request, for waking each other.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .max_blocking_threads(BLOCKING)
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    runtime.block_on(run::run(config, source))
}

fn log_to_stderr(log: &Log) -> anyhow::Result<()> {
    // Not `EnvFilter`, which brings an engine for regular expressions along.
    let filter: Targets = log
        .level
        .parse()
        .with_context(|| format!("`log.level` {:?} is not a level (error, warn, info, debug, trace)", log.level))?;
    let lines =
        tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(std::io::stderr().is_terminal());
    let registry = tracing_subscriber::registry();
    match log.format {
        LogFormat::Text => registry.with(lines.with_filter(filter)).init(),
        LogFormat::Json => registry.with(lines.json().flatten_event(true).with_filter(filter)).init(),
    }
    Ok(())
}
