//! The hub: people's API and gateway, agents' listener, workers. Everything on the request path is put together
//! here; the order of steps is in `request`, the table of contents of the API in `routes`.
//!
//! Must not know: how a request is decided, stored or carried; each has a crate of its own.

pub mod access;
pub mod accounts;
pub mod bootstrap;
pub mod config;
pub mod direct;
pub mod directory;
pub mod error;
pub mod export;
pub mod grpc;
pub mod health;
pub mod hub;
pub mod keeper;
pub mod keyring;
pub mod kubectl;
pub mod listen;
pub mod mail;
pub mod maintain;
pub mod manifest;
pub mod metrics;
pub mod mount;
pub mod pages;
pub mod rbac_reader;
pub mod recorder;
pub mod request;
pub mod roles;
pub mod routes;
pub mod sessions;
pub mod shares;
pub mod sign_in;
pub mod sinks;
pub mod tickets;
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
use flotilla_upstream::{Access, Externals, Plugins, Rules, Upstream};
use secrecy::SecretString;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::config::{Config, DirectCluster, ENVIRONMENT_ALIASES};
use crate::health::HealthMetrics;
use crate::hub::{ClusterBook, Hub, StoreAccounts};
use crate::kubectl::{Kubectl, Trust};
use crate::listen::agents::Door;
use crate::listen::cores::Cores;
use crate::listen::people::CurrentTls;
use crate::metrics::HubMetrics;
use crate::recorder::Library;
use crate::request::People;
use crate::request::limits::Limits;
use crate::roles::RoleBook;
use crate::sessions::Sessions;
use crate::sign_in::Ways;
use crate::tickets::Tickets;
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
        bootstrap::migrate(&store).await?;
        store.close().await;
        return Ok(());
    }
    bootstrap::ready_schema(&config, &store).await?;
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
    kubectl::warn_of_missing_walls();
    let server = server_certificate(&hub)?;
    let people_tls = hub.config.tls.enabled.then(|| tls(&server, None, &[b"h2", b"http/1.1"])).transpose()?;
    tracing::info!(people = %people.local_addr()?, agents = %agents.local_addr()?, metrics = %metrics.local_addr()?, "hub is ready");
    if !routes::console::is_there() {
        tracing::warn!("this hub was built without its console; build it with: cargo xtask web");
    }

    let cores = Arc::new(Cores::start()?);
    let workers = [
        tokio::spawn(workers::watch_roles_file(Arc::clone(&hub))),
        tokio::spawn(workers::follow_store(Arc::clone(&hub))),
        tokio::spawn(workers::note_uses(Arc::clone(&hub))),
        tokio::spawn(sign_in::refresh::follow(Arc::clone(&hub))),
        tokio::spawn(health::watch_clusters(Arc::clone(&hub))),
        tokio::spawn(workers::follow_access(Arc::clone(&hub))),
        tokio::spawn(workers::settle_denials(Arc::clone(&hub))),
        tokio::spawn(workers::enforce_rights(Arc::clone(&hub))),
        tokio::spawn(hub.library.clone().keep(hub.trail.clone())),
        tokio::spawn(keeper::run(Arc::clone(&hub))),
        tokio::spawn(sinks::run(Arc::clone(&hub))),
        tokio::spawn(listen::agents::serve(Arc::clone(&hub), agents, Arc::clone(&cores))),
        tokio::spawn(listen::metrics::serve(Arc::clone(&hub), metrics, Arc::clone(&cores))),
    ];
    let router = routes::router(Arc::clone(&hub));
    let served = People { hub: Arc::clone(&hub), router };
    let serving = listen::people::serve(served, people, people_tls, &cores);
    let stopped = async {
        let stopped = stop_signal(&hub).await;
        tracing::info!("stopping: no new requests, finishing those in flight");
        hub.shutdown.cancel();
        stopped
    };
    tokio::join!(serving, stopped).1?;
    if let Err(error) = hub.gate.settle_denied(true).await {
        tracing::warn!(%error, "the count of denied calls could not be recorded");
    }
    hub.transport.live().cut_where("the hub is stopping", |_| true);
    hub.tunnels.drain();
    for worker in workers {
        worker.abort();
    }
    stop(hub, audit_writer).await;
    // Last: connections to the database belong to the core on which they were opened.
    drop(cores);
    Ok(())
}

/// Verifies the audit log in the database of a hub that need not run.
///
/// # Errors
/// The configuration or the database cannot be read.
pub async fn verify_audit(
    config: Option<PathBuf>,
    query: flotilla_types::audit::VerifyQuery,
) -> anyhow::Result<flotilla_types::audit::Verification> {
    let store = bootstrap::store(&configuration(&Options { config, migrate_only: false })?).await?;
    let found = export::verify_all(&store, query).await;
    store.close().await;
    found
}

/// Lets the audit log write what it still has (it ends with its last handle), then closes the database.
async fn stop(hub: Arc<Hub>, audit_writer: tokio::task::JoinHandle<()>) {
    let (store, library) = (hub.store.clone(), hub.library.clone());
    if let Err(error) = hub.sessions.write_uses().await {
        tracing::warn!(%error, "the last uses of sessions and keys were not written");
    }
    drop(hub);
    if tokio::time::timeout(std::time::Duration::from_secs(10), library.close()).await.is_err() {
        tracing::warn!("recordings were not finished in time; they will count as incomplete");
    }
    drop(library);
    if tokio::time::timeout(std::time::Duration::from_secs(10), audit_writer).await.is_err() {
        tracing::warn!("the audit log did not finish in time");
    }
    store.close().await;
}

/// Waits until the listeners are to close: at once after SIGINT; after SIGTERM when load balancers have had time to
/// notice that the hub is not ready, as with the `--shutdown-delay-duration` of Kubernetes' API server.
async fn stop_signal(hub: &Hub) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let delay = tokio::select! {
        _ = terminate.recv() => hub.config.server.shutdown_delay.0,
        _ = interrupt.recv() => std::time::Duration::ZERO,
    };
    hub.stopping.cancel();
    tracing::info!(?delay, "asked to stop: no longer ready, still taking requests");
    tokio::select! {
        () = tokio::time::sleep(delay) => {}
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
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
        shares::roles(&store).await?,
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
    let options = GateOptions { record_reads: config.audit.record_reads, diffs: config.audit.diffs };
    let library = Library::new(store.clone(), config.recordings.clone());
    let gate = Gate::new(Arc::clone(&policy), audit.clone(), counters.clone(), options)
        .with_recorder(Arc::new(library.clone()));
    let options = TransportOptions {
        header_deadline: config.gateway.timeout.0,
        streams_per_principal: config.gateway.max_streams_per_user,
        ..TransportOptions::default()
    };
    let transport = Transport::new(backends.clone(), keys.clone(), counters, options);
    let sessions = Arc::new(Sessions::open(&config, &store).await?);
    let ways = Arc::new(Ways::open(&config)?);
    if config.auth.developer.enabled {
        tracing::warn!(
            email = config.auth.developer.email,
            "DEVELOPER SIGN-IN IS ON: anyone on this machine gets in without a proof (auth.developer.enabled)"
        );
    }
    let accounts = StoreAccounts {
        store: store.clone(),
        roles: Arc::clone(&roles),
        sessions: Arc::clone(&sessions),
        ways: Arc::clone(&ways),
    };
    let shared = config.database.driver == "postgres";
    let trust = match (config.tls.enabled, &config.tls.cert_file) {
        (false, _) => Trust::None,
        (true, Some(_)) => Trust::OwnPort,
        (true, None) => Trust::Ca(ca.certificate_pem().to_owned()),
    };
    let own = own_certificate(&ca, &config)?;
    let agents_tls = tls(&own, Some(ca.certificate_pem()), &[TUNNEL_PROTOCOL.as_bytes(), b"h2", b"http/1.1"])?;
    let health_metrics = HealthMetrics::register(&mut registry);
    let hub = Hub {
        health_metrics,
        door: Door::new(agents_tls),
        trail: Trail::new(audit.clone()),
        authenticator: Authenticator::new(keys.clone(), Arc::new(accounts)),
        throttle: LoginThrottle::new(),
        sessions,
        ways,
        tickets: Tickets::new(shared.then(|| store.clone())),
        limits: Limits::new(&config.limits),
        metrics: HubMetrics::new(registry),
        clusters: ClusterBook::default(),
        library,
        kubectl: Kubectl::new(config.gateway.kubectl.clone(), trust, config.gateway.exec_timeout.0),
        stopping: CancellationToken::new(),
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
        let (upstream, kind) = open_configured(configured, direct::plugins(&hub.config))?;
        if hub.store.cluster_by_name(&configured.name).await?.is_none() {
            let backend = if kind == Kind::InCluster { Backend::InCluster } else { Backend::Kubeconfig };
            hub.store.create_direct_cluster(&configured.name, backend, &SecretString::from(String::new())).await?;
        }
        hub.backends.set_direct(&configured.name, kind, upstream);
    }
    for cluster in hub.store.list_clusters().await? {
        let configured = hub.backends.kind(&cluster.name).is_some();
        if !matches!(cluster.backend, Backend::Kubeconfig | Backend::Eks) || configured {
            continue;
        }
        // One cluster's broken credential must not keep the hub from starting.
        if let Err(error) = direct::open_registered(hub, &cluster).await {
            tracing::error!(
                cluster = cluster.name,
                error = format!("{error:#}"),
                "cluster cannot be opened; give it new credentials"
            );
        }
    }
    hub.clusters.reload(&hub.store).await?;
    Ok(())
}

fn open_configured(configured: &DirectCluster, plugins: Plugins) -> anyhow::Result<(Upstream, Kind)> {
    let Some(path) = &configured.kubeconfig else {
        let upstream = Upstream::in_cluster().with_context(|| format!("clusters: {}", configured.name))?;
        return Ok((upstream, Kind::InCluster));
    };
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("clusters: {}: kubeconfig {} cannot be read", configured.name, path.display()))?;
    let base_dir = path.parent().map(PathBuf::from).unwrap_or_default();
    let access = Access::Kubeconfig { yaml: text.into(), context: configured.context.clone() };
    let upstream = Upstream::open(access, &Rules { files: Externals::Allowed { base_dir }, plugins })
        .with_context(|| format!("clusters: {}: kubeconfig {}", configured.name, path.display()))?;
    Ok((upstream, Kind::Kubeconfig))
}

/// A chain and its key, PEM.
struct Certificate {
    chain: String,
    key: String,
}

/// What people see: the configured certificate, or one of the hub's own CA.
fn server_certificate(hub: &Hub) -> anyhow::Result<Certificate> {
    let (Some(cert), Some(key)) = (&hub.config.tls.cert_file, &hub.config.tls.key_file) else {
        return own_certificate(&hub.ca, &hub.config);
    };
    let read = |path: &PathBuf, name: &str| {
        std::fs::read_to_string(path).with_context(|| format!("tls.{name} {} cannot be read", path.display()))
    };
    Ok(Certificate { chain: read(cert, "cert_file")?, key: read(key, "key_file")? })
}

/// A certificate of the hub's own CA, which agents trust by its pin.
fn own_certificate(ca: &CertificateAuthority, config: &Config) -> anyhow::Result<Certificate> {
    let issued = ca.issue_server(&server_names(config), SERVER_CERTIFICATE_LIFE)?;
    Ok(Certificate {
        chain: format!("{}{}", issued.chain_pem, ca_suffix(ca, &issued.chain_pem)),
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
