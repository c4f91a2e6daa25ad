//! The hub: people's API and gateway, agents' listener, workers. Everything on the request path is put together
//! here; the order of steps is in `request`, the table of contents of the API in `routes`.
//!
//! Must not know: how a request is decided, stored or carried; each has a crate of its own.

pub mod access;
pub mod bootstrap;
pub mod config;
pub mod directory;
pub mod error;
pub mod grpc;
pub mod hub;
pub mod kubectl;
pub mod listen;
pub mod mail;
pub mod manifest;
pub mod metrics;
pub mod mount;
pub mod request;
pub mod roles;
pub mod routes;
pub mod trail;
pub mod workers;

use std::io::IsTerminal;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use arc_swap::ArcSwap;
use flotilla_cluster::backends::{Backends, Kind};
use flotilla_cluster::gate::{Gate, GateOptions};
use flotilla_cluster::metrics::ClusterMetrics;
use flotilla_cluster::transport::{Transport, TransportOptions};
use flotilla_identity::authn::Authenticator;
use flotilla_identity::throttle::LoginThrottle;
use flotilla_identity::token::KeyRing;
use flotilla_settings::{Source, load, process_environment};
use flotilla_store::audit::{AuditLog, AuditOptions};
use flotilla_store::{Backend, Store, StoreMetrics};
use flotilla_tunnel::metrics::TunnelMetrics;
use flotilla_tunnel::pki::{self, CertificateAuthority};
use flotilla_tunnel::registry::Registry;
use flotilla_types::agent::TUNNEL_PROTOCOL;
use flotilla_upstream::{Externals, Upstream};
use secrecy::{ExposeSecret, SecretString};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::config::{Config, DirectCluster, ENVIRONMENT_ALIASES};
use crate::hub::{ClusterBook, DirectCredential, Hub, StoreAccounts};
use crate::kubectl::{Kubectl, Trust};
use crate::listen::people::CurrentTls;
use crate::metrics::HubMetrics;
use crate::request::People;
use crate::roles::RoleBook;
use crate::trail::Trail;

/// Life of the hub's own certificate; a new one is made at every start.
const SERVER_CERTIFICATE_LIFE: std::time::Duration = std::time::Duration::from_secs(90 * 86_400);

/// What the command line says.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// `central.yaml`; left out: no file, only environment and defaults.
    pub config: Option<PathBuf>,
    /// Bring the database up to date and stop.
    pub migrate_only: bool,
}

/// Reads the configuration.
///
/// # Errors
/// Names the file, the key, what is wrong and what would be right.
pub fn configuration(options: &Options) -> anyhow::Result<Config> {
    let mut source = Source::new().prefix("FLOTILLA").environment(process_environment());
    if let Some(path) = &options.config {
        source = source.file(path);
    }
    for (variable, key) in ENVIRONMENT_ALIASES {
        source = source.alias(*variable, *key);
    }
    let config: Config = load(&source)?;
    config.check()?;
    Ok(config)
}

/// Runs the hub until SIGTERM or SIGINT, then drains.
///
/// # Errors
/// It cannot start: the text says what to change.
pub async fn run(options: Options) -> anyhow::Result<()> {
    let config = configuration(&options)?;
    start_log(&config)?;
    bootstrap::data_dir(&config.data_dir)?;
    let store = bootstrap::store(&config).await?;
    if options.migrate_only {
        store.close().await;
        return Ok(());
    }
    let ca = bootstrap::certificate_authority(&config.data_dir)?;
    bootstrap::first_administrator(&config, &store, &ca).await?;

    let people = listen::bind(SocketAddr::new(config.server.bind, config.server.http_port), "server.http_port").await?;
    let agents = listen::bind(SocketAddr::new(config.server.bind, config.server.grpc_port), "server.grpc_port").await?;
    let metrics =
        listen::bind(SocketAddr::new(config.server.metrics_bind, config.server.metrics_port), "server.metrics_port")
            .await?;

    let (hub, audit_writer) = assemble(config, store, ca).await?;
    let hub = Arc::new(hub);
    hub.kubectl.set_gateway(loopback_of(people.local_addr()?));
    let server = server_certificate(&hub)?;
    let people_tls = hub.config.tls.enabled.then(|| tls(&server, None, &[b"h2", b"http/1.1"])).transpose()?;
    let own = own_certificate(&hub)?;
    let agents_tls = tls(&own, Some(hub.ca.certificate_pem()), &[TUNNEL_PROTOCOL.as_bytes(), b"h2", b"http/1.1"])?;
    tracing::info!(people = %people.local_addr()?, agents = %agents.local_addr()?, metrics = %metrics.local_addr()?, "hub is ready");

    let workers = [
        tokio::spawn(workers::watch_roles_file(Arc::clone(&hub))),
        tokio::spawn(workers::follow_store(Arc::clone(&hub))),
        tokio::spawn(workers::probe_clusters(Arc::clone(&hub))),
        tokio::spawn(workers::follow_access(Arc::clone(&hub))),
        tokio::spawn(listen::agents::serve(Arc::clone(&hub), agents, agents_tls)),
        tokio::spawn(listen::metrics::serve(Arc::clone(&hub), metrics)),
    ];
    let router = routes::router(Arc::clone(&hub));
    let serving = tokio::spawn(listen::people::serve(People { hub: Arc::clone(&hub), router }, people, people_tls));
    stop_signal().await?;
    tracing::info!("stopping: no new requests, finishing those in flight");
    hub.shutdown.cancel();
    serving.await?;
    hub.tunnels.drain();
    for worker in workers {
        worker.abort();
    }
    stop(hub, audit_writer).await;
    Ok(())
}

/// Lets the audit log write what it still has (it ends with its last handle), then closes the database.
async fn stop(hub: Arc<Hub>, audit_writer: tokio::task::JoinHandle<()>) {
    let store = hub.store.clone();
    drop(hub);
    if tokio::time::timeout(std::time::Duration::from_secs(10), audit_writer).await.is_err() {
        tracing::warn!("the audit log did not finish in time");
    }
    store.close().await;
}

async fn stop_signal() -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        _ = terminate.recv() => {}
        interrupted = tokio::signal::ctrl_c() => interrupted?,
    }
    Ok(())
}

fn start_log(config: &Config) -> anyhow::Result<()> {
    let filter: Targets =
        config.log.level.parse().context("log.level is not a filter such as info or flotilla_hub=debug,info")?;
    let lines =
        tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(std::io::stderr().is_terminal());
    let registry = tracing_subscriber::registry();
    let started = if config.log.format == "json" {
        registry.with(lines.json().with_filter(filter)).try_init()
    } else {
        registry.with(lines.with_filter(filter)).try_init()
    };
    started.map_err(|error| anyhow::anyhow!("the log cannot be started: {error}"))
}

/// Puts the parts together.
async fn assemble(
    config: Config,
    store: Store,
    ca: CertificateAuthority,
) -> anyhow::Result<(Hub, tokio::task::JoinHandle<()>)> {
    let mut registry = prometheus_client::registry::Registry::default();
    let keys = KeyRing::new(bootstrap::signing_keys(&config, &store).await?)?;
    let roles = Arc::new(RoleBook::open(
        config.auth.roles_file.clone(),
        store.list_roles().await?,
        config.authorization.groups.clone(),
        directory::Directory::read(&store).await?,
    )?);
    let audit_options = AuditOptions {
        stdout: config.audit.stdout,
        queue: config.audit.queue,
        metrics: StoreMetrics::register(registry.sub_registry_with_prefix("flotilla")),
        ..AuditOptions::default()
    };
    let (audit, writer) = AuditLog::start(&store, audit_options).await?;
    let closed = audit.close_orphans().await?;
    if closed > 0 {
        tracing::warn!(closed, "acts of an earlier run had no outcome and are marked aborted");
    }
    let tunnel_metrics = TunnelMetrics::register(registry.sub_registry_with_prefix("flotilla"));
    let tunnels = Registry::new(tunnel_metrics.clone());
    let backends = Backends::new(tunnels.clone());
    let policy = roles.policy();
    let counters = ClusterMetrics::register(&mut registry);
    let options = GateOptions { record_reads: config.audit.record_reads };
    let gate = Gate::new(Arc::clone(&policy), audit.clone(), counters.clone(), options);
    let options = TransportOptions {
        header_deadline: config.gateway.timeout.0,
        streams_per_principal: config.gateway.max_streams_per_user,
        ..TransportOptions::default()
    };
    let transport = Transport::new(backends.clone(), keys.clone(), counters, options);
    let accounts = StoreAccounts { store: store.clone(), roles: Arc::clone(&roles) };
    let trust = match (config.tls.enabled, &config.tls.cert_file) {
        (false, _) => Trust::None,
        (true, Some(_)) => Trust::OwnPort,
        (true, None) => Trust::Ca(ca.certificate_pem().to_owned()),
    };
    let hub = Hub {
        trail: Trail::new(audit.clone()),
        authenticator: Authenticator::new(keys.clone(), Arc::new(accounts)),
        throttle: LoginThrottle::new(),
        metrics: HubMetrics::new(registry),
        clusters: ClusterBook::default(),
        kubectl: Kubectl::new(config.gateway.kubectl.clone(), trust, config.gateway.exec_timeout.0),
        shutdown: CancellationToken::new(),
        mailer: config.mail.as_ref().map(mail::Mailer::new).transpose()?,
        config,
        store,
        audit,
        keys,
        roles,
        policy,
        gate,
        transport,
        backends,
        tunnels,
        tunnel_metrics,
        ca,
    };
    open_direct_clusters(&hub).await?;
    Ok((hub, writer))
}

/// Clusters of the configuration and those registered through the API.
async fn open_direct_clusters(hub: &Hub) -> anyhow::Result<()> {
    for configured in &hub.config.clusters {
        let (upstream, kind) = open_configured(configured)?;
        if hub.store.cluster_by_name(&configured.name).await?.is_none() {
            let backend = if kind == Kind::InCluster { Backend::InCluster } else { Backend::Kubeconfig };
            hub.store.create_direct_cluster(&configured.name, backend, &SecretString::from(String::new())).await?;
        }
        hub.backends.set_direct(&configured.name, kind, upstream);
    }
    for cluster in hub.store.list_clusters().await? {
        let configured = hub.backends.kind(&cluster.name).is_some();
        if cluster.backend != Backend::Kubeconfig || configured {
            continue;
        }
        // One cluster's broken credential must not keep the hub from starting.
        if let Err(error) = open_registered(hub, &cluster).await {
            tracing::error!(
                cluster = cluster.name,
                error = format!("{error:#}"),
                "cluster cannot be opened; add it again"
            );
        }
    }
    hub.clusters.reload(&hub.store).await?;
    Ok(())
}

fn open_configured(configured: &DirectCluster) -> anyhow::Result<(Upstream, Kind)> {
    let Some(path) = &configured.kubeconfig else {
        let upstream = Upstream::in_cluster().with_context(|| format!("clusters: {}", configured.name))?;
        return Ok((upstream, Kind::InCluster));
    };
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("clusters: {}: kubeconfig {} cannot be read", configured.name, path.display()))?;
    let base_dir = path.parent().map(PathBuf::from).unwrap_or_default();
    let upstream = Upstream::from_kubeconfig(&text, configured.context.as_deref(), &Externals::Allowed { base_dir })
        .with_context(|| format!("clusters: {}: kubeconfig {}", configured.name, path.display()))?;
    Ok((upstream, Kind::Kubeconfig))
}

async fn open_registered(hub: &Hub, cluster: &flotilla_store::Cluster) -> anyhow::Result<()> {
    let sealed = hub.store.credential(cluster.id).await?;
    let credential: DirectCredential =
        serde_json::from_str(sealed.expose_secret()).context("the stored kubeconfig is not readable")?;
    let upstream =
        Upstream::from_kubeconfig(&credential.kubeconfig, credential.context.as_deref(), &Externals::Refused)?;
    hub.backends.set_direct(&cluster.name, Kind::Kubeconfig, upstream);
    Ok(())
}

/// A chain and its key, PEM.
struct Certificate {
    chain: String,
    key: String,
}

/// What people see: the configured certificate, or one of the hub's own CA.
fn server_certificate(hub: &Hub) -> anyhow::Result<Certificate> {
    let (Some(cert), Some(key)) = (&hub.config.tls.cert_file, &hub.config.tls.key_file) else {
        return own_certificate(hub);
    };
    let read = |path: &PathBuf, name: &str| {
        std::fs::read_to_string(path).with_context(|| format!("tls.{name} {} cannot be read", path.display()))
    };
    Ok(Certificate { chain: read(cert, "cert_file")?, key: read(key, "key_file")? })
}

/// A certificate of the hub's own CA, which agents trust by its pin.
fn own_certificate(hub: &Hub) -> anyhow::Result<Certificate> {
    let issued = hub.ca.issue_server(&server_names(&hub.config), SERVER_CERTIFICATE_LIFE)?;
    Ok(Certificate {
        chain: format!("{}{}", issued.chain_pem, ca_suffix(&hub.ca, &issued.chain_pem)),
        key: issued.key_pem.to_string(),
    })
}

/// The CA's certificate, unless the chain holds it already: a client that pins the CA finds it in the handshake.
fn ca_suffix<'a>(ca: &'a CertificateAuthority, chain: &str) -> &'a str {
    if chain.contains(ca.certificate_pem()) { "" } else { ca.certificate_pem() }
}

/// Names under which the hub may be reached: loopback, this machine, the configured addresses.
fn server_names(config: &Config) -> Vec<String> {
    let mut names: Vec<String> = ["localhost", "127.0.0.1", "::1"].map(str::to_owned).to_vec();
    let urls = [config.public_url(), config.agent_url()];
    names.extend(
        urls.iter().filter_map(|url| {
            url.parse::<http::Uri>().ok()?.host().map(|host| host.trim_matches(['[', ']']).to_owned())
        }),
    );
    if !config.server.bind.is_unspecified() {
        names.push(config.server.bind.to_string());
    }
    names.extend(std::fs::read_to_string("/proc/sys/kernel/hostname").map(|name| name.trim().to_owned()));
    names.sort_unstable();
    names.dedup();
    names
}

fn tls(certificate: &Certificate, client_ca: Option<&str>, alpn: &[&[u8]]) -> anyhow::Result<CurrentTls> {
    let config = pki::server_config(&certificate.chain, &certificate.key, client_ca, alpn)
        .context("the hub's certificate and key do not work together")?;
    Ok(Arc::new(ArcSwap::from_pointee(config)))
}

/// Where this hub reaches itself.
fn loopback_of(address: SocketAddr) -> SocketAddr {
    match (address.ip().is_unspecified(), address) {
        (false, address) => address,
        (true, SocketAddr::V4(address)) => SocketAddr::from(([127, 0, 0, 1], address.port())),
        (true, SocketAddr::V6(address)) => SocketAddr::from((std::net::Ipv6Addr::LOCALHOST, address.port())),
    }
}
