//! The hub's configuration: the keys of `central.yaml`, their defaults and their meaning.
//!
//! Must not know: how files and environment are read (that is `flotilla-settings`).

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use flotilla_settings::Secret;
use serde::{Deserialize, Serialize};

use crate::sign_in::settings;

/// A length of time written as people write it: `30s`, `15m`, `24h`, `7d`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Period(pub Duration);

impl Period {
    const fn secs(secs: u64) -> Self {
        Self(Duration::from_secs(secs))
    }

    /// Whole milliseconds, as the store counts time.
    #[must_use]
    pub fn as_ms(self) -> i64 {
        i64::try_from(self.0.as_millis()).unwrap_or(i64::MAX)
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        humantime::format_duration(self.0).fmt(f)
    }
}

impl FromStr for Period {
    type Err = humantime::DurationError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        humantime::parse_duration(text).map(Self)
    }
}

impl Serialize for Period {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Period {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(|error| {
            serde::de::Error::custom(format!("{text:?} is not a length of time such as 30s, 15m, 24h or 7d: {error}"))
        })
    }
}

/// Everything that can be set. Each value has a default; a hub without any configuration listens on
/// loopback and keeps its state in one directory, with SQLite.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct Config {
    /// Listeners.
    pub server: Server,
    /// Where the hub keeps its CA, its sealing key and, with SQLite, its database. Made with mode 0700.
    pub data_dir: PathBuf,
    /// Database.
    pub database: Database,
    /// Sign-in, tokens, roles.
    pub auth: Auth,
    /// What groups of the identity provider give, and access on request.
    pub authorization: Authorization,
    /// The server that takes the hub's mail; without one invitations go by link only.
    pub mail: Option<Mail>,
    /// The certificate that people's clients see.
    pub tls: Tls,
    /// The audit log.
    pub audit: Audit,
    /// Recorded shells.
    pub recordings: Recordings,
    /// The path to the clusters.
    pub gateway: Gateway,
    /// How many requests the hub takes.
    pub limits: Limits,
    /// Enrolment of agents.
    pub agents: Agents,
    /// Clusters that the hub reaches directly, beside those registered through the API.
    pub clusters: Vec<DirectCluster>,
    /// Credentials of clusters.
    pub cluster_credentials: ClusterCredentials,
    /// How often clusters are looked at.
    pub cluster_health: ClusterHealth,
    /// The hub's own log (standard error).
    pub log: Log,
}

/// Listeners.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct Server {
    /// Address of all listeners but metrics. `0.0.0.0` opens the hub to the network.
    pub bind: IpAddr,
    /// People: API, gateway, sign-in. TLS, and plain HTTP from loopback, on one port.
    pub http_port: u16,
    /// Agents: tunnel, enrolment and gRPC, TLS only.
    pub grpc_port: u16,
    /// Prometheus metrics at `/metrics`, plain HTTP.
    pub metrics_port: u16,
    /// Address of the metrics listener.
    pub metrics_bind: IpAddr,
    /// Address at which people reach the hub; its host goes into the hub's own certificate.
    /// Left out: `https://localhost:<http_port>`.
    pub public_url: Option<String>,
    /// Address at which agents reach the hub. Left out: `https://localhost:<grpc_port>`.
    pub agent_url: Option<String>,
    /// After SIGTERM: how long `/readyz` says 503 while requests are still taken, so that whoever sends them here
    /// can stop doing so before the listeners close.
    pub shutdown_delay: Period,
    /// How long in-flight requests may take to finish when the hub stops.
    pub drain: Period,
}

/// Database.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct Database {
    /// `sqlite` or `postgres`.
    pub driver: String,
    /// `sqlite:///var/lib/flotilla/hub.db` or `postgres://...`. Left out, with SQLite: `<data_dir>/hub.db`.
    pub url: Option<Secret>,
    /// Whether the hub brings an older database up to date when it starts. Off: it refuses to start instead, until
    /// `flotilla hub --migrate-only` has run.
    pub auto_migrate: bool,
}

/// Sign-in, tokens, roles.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct Auth {
    /// Passphrase of at least 16 characters under which the hub's signing keys, and the credentials
    /// of clusters, are sealed in the database. Left out: a random one in `<data_dir>/seal.key`.
    pub jwt_secret: Option<Secret>,
    /// The passphrase before this one, until `flotilla hub rotate-kek` has run.
    pub previous_jwt_secret: Option<Secret>,
    /// RSA private keys, PEM. The first signs, all verify. Left out: the hub makes its own and rotates them.
    pub jwt_key_files: Vec<PathBuf>,
    /// Life of an access token.
    pub token_expiry: Period,
    /// How long after a login its tokens can be refreshed. At most 7 days.
    pub refresh_expiry: Period,
    /// Age at which a signing key that the hub made is replaced.
    pub key_rotation: Period,
    /// Roles and assignments from a YAML file, read again when it changes.
    pub roles_file: Option<PathBuf>,
    /// Account of the first administrator.
    pub first_administrator: String,
    /// Sessions of browsers.
    pub session: Session,
    /// Sign-in with an OpenID Connect provider.
    pub oidc: settings::Oidc,
    /// Sign-in with Google.
    pub google: settings::Google,
    /// Sign-in with GitHub.
    pub github: settings::GitHub,
    /// Domains of addresses that get an account at their first sign-in elsewhere. Empty: all.
    pub allowed_domains: Vec<String>,
    /// Sign-in without any proof, on one machine.
    pub developer: settings::Developer,
}

/// Sessions of browsers.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct Session {
    /// Where they are kept: `database` (the hub's own), `postgres` (another one), `redis` or `memory`.
    pub backend: String,
    /// `postgres://...` or `redis://...`, for these.
    pub url: Option<Secret>,
    /// A session that nobody uses for so long ends.
    pub idle: Period,
    /// A session ends after this time, used or not.
    pub expiry: Period,
}

/// How many requests the hub takes, per second and at once. More are answered 429 with `Retry-After`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct Limits {
    /// From one address (IPv6: one /64) without a proof that holds.
    pub address: Rate,
    /// From one person to the hub's API.
    pub principal: Rate,
    /// From one person to clusters.
    pub gateway: Rate,
}

/// A token bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rate {
    /// Requests per second over time; 0 limits nothing.
    pub per_second: u32,
    /// Requests at once.
    pub burst: u32,
}

/// What groups of the identity provider give, and access on request.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Authorization {
    /// Tiers and teams by group.
    pub groups: Vec<GroupRule>,
    /// How long an invitation can be accepted, and a request for access waits for approval.
    pub patience: Patience,
}

/// The server that takes the hub's mail.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mail {
    /// Its host.
    pub host: String,
    /// Its port. Left out: 465 with `tls`, 587 with `starttls`, 25 with `none`.
    #[serde(default)]
    pub port: Option<u16>,
    /// `tls`, `starttls` or `none`; the last sends passwords and tokens in the clear.
    #[serde(default = "starttls")]
    pub encryption: String,
    /// Further CAs that its certificate may be from, PEM, beside the system's.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    /// Account there.
    #[serde(default)]
    pub username: Option<String>,
    /// Its password.
    #[serde(default)]
    pub password: Option<Secret>,
    /// Sender, for example `Flotilla <flotilla@example.com>`.
    pub from: String,
}

fn starttls() -> String {
    "starttls".to_owned()
}

/// How long invitations and requests stay open.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct Patience {
    /// Invitations.
    pub invitation: Period,
    /// Requests for access.
    pub request: Period,
}

impl Default for Patience {
    fn default() -> Self {
        Self { invitation: Period::secs(7 * 86_400), request: Period::secs(86_400) }
    }
}

/// What a group of the identity provider gives: a tier in some clusters, or a role in a team.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GroupRule {
    /// The group, as the identity provider names it.
    pub group: String,
    /// `read`, `triage`, `write`, `maintain` or `admin`.
    #[serde(default)]
    pub tier: Option<String>,
    /// Patterns of clusters for the tier; all when left out.
    #[serde(default)]
    pub clusters: Vec<String>,
    /// A team, `organisation/team`.
    #[serde(default)]
    pub team: Option<String>,
    /// The role there: `viewer`, `developer` or `team_admin`; viewer when left out.
    #[serde(default)]
    pub role: Option<flotilla_types::org::TeamRole>,
}

impl GroupRule {
    fn check(&self) -> anyhow::Result<()> {
        let tiers = flotilla_identity::policy::TIERS;
        match (&self.tier, &self.team) {
            (Some(tier), None) if tiers.contains(&tier.as_str()) => Ok(()),
            (Some(tier), None) => {
                anyhow::bail!("authorization.groups: {}: tier is {tier:?}; use one of {}", self.group, tiers.join(", "))
            }
            (None, Some(team)) if team.split('/').count() == 2 && self.clusters.is_empty() => Ok(()),
            (None, Some(_)) => anyhow::bail!(
                "authorization.groups: {}: give team as organisation/team, and no clusters: the team has its own",
                self.group
            ),
            _ => anyhow::bail!("authorization.groups: {}: give either tier or team", self.group),
        }
    }
}

/// The certificate that people's clients see.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct Tls {
    /// Off only behind a proxy that terminates TLS: the people's listener then speaks plain HTTP to anyone.
    pub enabled: bool,
    /// Certificate chain, PEM. Left out: one signed by the hub's own CA.
    pub cert_file: Option<PathBuf>,
    /// Its key, PEM.
    pub key_file: Option<PathBuf>,
}

/// The audit log.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct Audit {
    /// Whether each row is also printed on standard output as one line of JSON.
    pub stdout: bool,
    /// Whether ordinary reads get rows too. They are always counted.
    pub record_reads: bool,
    /// Whether the outcome of a write to a cluster says what it changed, without secrets. Each change and deletion of
    /// an object is then preceded by a read of it, with the caller's own rights.
    pub diffs: bool,
    /// Rows that may wait for the disk; a request that finds no room within 5 s is refused.
    pub queue: usize,
    /// Rows after which the end of the log is signed.
    pub checkpoint_rows: u64,
    /// Time after which it is signed, if there are new rows.
    pub checkpoint_interval: Period,
    /// What is kept.
    pub retention: AuditRetention,
    /// Where rows are sent, beside the database.
    pub sinks: Vec<Sink>,
}

/// What is kept of the audit log. Rows go from the oldest on, up to a signed checkpoint, and only when every sink has
/// them. Left out: everything is kept.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct AuditRetention {
    /// Age up to which rows are kept.
    pub max_age: Option<Period>,
    /// Number of rows that are kept.
    pub max_rows: Option<u64>,
    /// Content that is kept, MiB, reckoned from samples; indexes come on top.
    pub max_mib: Option<u64>,
}

/// A place to which rows are sent, each at least once and in order.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sink {
    /// Unique name, under which the hub remembers what was delivered.
    pub name: String,
    /// `https://...` (webhook), or syslog: `udp://host:514`, `tcp://host:601`, `tls://host:6514`, `unix:///dev/log`.
    pub url: String,
    /// Key with which webhooks are signed.
    #[serde(default)]
    pub secret: Option<Secret>,
    /// CA of the receiver, PEM. Left out: the system's.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
}

/// Recorded shells. Which are recorded say the roles.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct Recordings {
    /// How long a recording is kept.
    pub keep: Period,
    /// Most MiB of one recording, before compression. A shell that must be recorded is cut there.
    pub max_size_mib: u64,
    /// Most MiB of all recordings as they are stored. Beyond, a shell that must be recorded does not open.
    pub max_total_mib: u64,
}

impl Default for Recordings {
    fn default() -> Self {
        Self { keep: Period::secs(90 * 86_400), max_size_mib: 256, max_total_mib: 10 * 1024 }
    }
}

/// The path to the clusters.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct Gateway {
    /// How long a cluster may take until it begins to answer.
    pub timeout: Period,
    /// Requests, watches and shells that one person may have open at a time.
    pub max_streams_per_user: usize,
    /// kubectl for `POST /clusters/{id}/exec`: a path, or a name that is looked up in `PATH`.
    pub kubectl: PathBuf,
    /// How long such a command may run.
    pub exec_timeout: Period,
}

/// Enrolment of agents.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct Agents {
    /// Life of a one-use enrolment token.
    pub token_expiry: Period,
    /// Life of an agent's certificate; the agent renews it by itself after two thirds.
    pub certificate_expiry: Period,
    /// Image in the manifest that `flotilla clusters add` prints.
    pub image: String,
}

/// A cluster that the hub reaches directly.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DirectCluster {
    /// Unique name.
    pub name: String,
    /// `kubeconfig` or `in-cluster`.
    pub backend: String,
    /// The kubeconfig, for that backend. It may name files.
    #[serde(default)]
    pub kubeconfig: Option<PathBuf>,
    /// Context in it; its `current-context` when left out.
    #[serde(default)]
    pub context: Option<String>,
}

/// Credentials of clusters.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct ClusterCredentials {
    /// Whether programs that a kubeconfig names (`exec`) are run on the hub. Whoever may register clusters can then
    /// run programs there.
    pub allow_exec_plugins: bool,
    /// How long such a program may take.
    pub exec_timeout: Period,
}

/// How often clusters are looked at.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct ClusterHealth {
    /// Time between two looks at a cluster that is well; one that is not is looked at four times as often.
    pub interval: Period,
    /// How long a look may take.
    pub timeout: Period,
}

/// The hub's own log.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct Log {
    /// `text` or `json`.
    pub format: String,
    /// As `tracing-subscriber`'s `Targets` reads it: `info`, `flotilla_hub=debug,info` ...
    pub level: String,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            server: Server::default(),
            data_dir: PathBuf::from("flotilla-data"),
            database: Database::default(),
            auth: Auth::default(),
            authorization: Authorization::default(),
            mail: None,
            tls: Tls::default(),
            audit: Audit::default(),
            recordings: Recordings::default(),
            gateway: Gateway::default(),
            limits: Limits::default(),
            agents: Agents::default(),
            clusters: Vec::new(),
            cluster_credentials: ClusterCredentials::default(),
            cluster_health: ClusterHealth::default(),
            log: Log::default(),
        }
    }
}

impl Default for Server {
    fn default() -> Self {
        let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
        Self {
            bind: loopback,
            http_port: 8080,
            grpc_port: 8443,
            metrics_port: 9464,
            metrics_bind: loopback,
            public_url: None,
            agent_url: None,
            shutdown_delay: Period::secs(2),
            drain: Period::secs(20),
        }
    }
}

impl Default for Database {
    fn default() -> Self {
        Self { driver: "sqlite".to_owned(), url: None, auto_migrate: true }
    }
}

impl Default for Auth {
    fn default() -> Self {
        Self {
            jwt_secret: None,
            previous_jwt_secret: None,
            jwt_key_files: Vec::new(),
            token_expiry: Period::secs(3600),
            refresh_expiry: Period::secs(7 * 86_400),
            key_rotation: Period::secs(30 * 86_400),
            roles_file: None,
            first_administrator: "admin@flotilla.local".to_owned(),
            session: Session::default(),
            oidc: settings::Oidc::default(),
            google: settings::Google::default(),
            github: settings::GitHub::default(),
            allowed_domains: Vec::new(),
            developer: settings::Developer::default(),
        }
    }
}

impl Default for Session {
    fn default() -> Self {
        Self {
            backend: "database".to_owned(),
            url: None,
            idle: Period::secs(12 * 3600),
            expiry: Period::secs(7 * 86_400),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            address: Rate { per_second: 50, burst: 500 },
            principal: Rate { per_second: 100, burst: 1000 },
            gateway: Rate { per_second: 2000, burst: 10_000 },
        }
    }
}

impl Default for Tls {
    fn default() -> Self {
        Self { enabled: true, cert_file: None, key_file: None }
    }
}

impl Default for Audit {
    fn default() -> Self {
        Self {
            stdout: true,
            record_reads: false,
            diffs: true,
            queue: 4096,
            checkpoint_rows: 10_000,
            checkpoint_interval: Period::secs(60),
            retention: AuditRetention::default(),
            sinks: Vec::new(),
        }
    }
}

impl Default for Gateway {
    fn default() -> Self {
        Self {
            timeout: Period::secs(60),
            max_streams_per_user: 1000,
            kubectl: PathBuf::from("kubectl"),
            exec_timeout: Period::secs(60),
        }
    }
}

impl Default for Agents {
    fn default() -> Self {
        Self {
            token_expiry: Period::secs(15 * 60),
            certificate_expiry: Period::secs(24 * 3600),
            image: "flotilla-agent:0.1.0".to_owned(),
        }
    }
}

impl Default for ClusterCredentials {
    fn default() -> Self {
        Self { allow_exec_plugins: false, exec_timeout: Period::secs(15) }
    }
}

impl Default for ClusterHealth {
    fn default() -> Self {
        Self { interval: Period::secs(60), timeout: Period::secs(10) }
    }
}

impl Default for Log {
    fn default() -> Self {
        Self { format: "text".to_owned(), level: "info".to_owned() }
    }
}

/// Environment names of the source documents, beside `FLOTILLA__SECTION__KEY` for every key.
pub const ENVIRONMENT_ALIASES: &[(&str, &str)] = &[
    ("DATABASE_DSN", "database.url"),
    ("DATABASE_DRIVER", "database.driver"),
    ("SESSION_BACKEND", "auth.session.backend"),
    ("SESSION_URL", "auth.session.url"),
    ("GOOGLE_CLIENT_ID", "auth.google.client_id"),
    ("GOOGLE_CLIENT_SECRET", "auth.google.client_secret"),
    ("GITHUB_CLIENT_ID", "auth.github.client_id"),
    ("GITHUB_CLIENT_SECRET", "auth.github.client_secret"),
    ("AUTO_MIGRATE", "database.auto_migrate"),
];

impl Config {
    /// Checks what types cannot say.
    ///
    /// # Errors
    /// Names the key, what is wrong with it and what would be right.
    pub fn check(&self) -> anyhow::Result<()> {
        let fail = |text: String| Err(anyhow::anyhow!(text));
        if !matches!(self.database.driver.as_str(), "sqlite" | "postgres") {
            return fail(format!("database.driver is {:?}; use sqlite or postgres", self.database.driver));
        }
        if self.database.driver == "postgres" && self.database.url.is_none() {
            return fail(
                "database.url is missing; with database.driver postgres give postgres://user:password@host/database"
                    .into(),
            );
        }
        if self.tls.cert_file.is_some() != self.tls.key_file.is_some() {
            return fail("tls.cert_file and tls.key_file belong together; give both or neither".into());
        }
        if self.auth.refresh_expiry.0 > Duration::from_secs(7 * 86_400) {
            return fail(format!("auth.refresh_expiry is {}; at most 7d", self.auth.refresh_expiry));
        }
        if self.auth.token_expiry.0 < Duration::from_secs(10) {
            return fail(format!("auth.token_expiry is {}; at least 10s", self.auth.token_expiry));
        }
        if self.recordings.max_total_mib > 1 << 40 || self.recordings.max_size_mib > 1 << 40 {
            return fail("recordings.max_total_mib and .max_size_mib are in MiB; at most 1099511627776".into());
        }
        self.auth.session.check(&self.database.driver)?;
        if self.auth.developer.enabled && !self.server.bind.is_loopback() {
            return fail(format!(
                "auth.developer.enabled lets anyone in without a proof, and server.bind is {}; switch it off or bind 127.0.0.1",
                self.server.bind
            ));
        }
        if !matches!(self.log.format.as_str(), "text" | "json") {
            return fail(format!("log.format is {:?}; use text or json", self.log.format));
        }
        let ports = [self.server.http_port, self.server.grpc_port];
        if ports[0] == ports[1] && ports[0] != 0 {
            return fail(format!(
                "server.http_port and server.grpc_port are both {}; give them different ports",
                ports[0]
            ));
        }
        self.audit.check()?;
        self.authorization.groups.iter().try_for_each(GroupRule::check)?;
        self.clusters.iter().try_for_each(DirectCluster::check)
    }

    /// Address at which people reach the hub.
    #[must_use]
    pub fn public_url(&self) -> String {
        let scheme = if self.tls.enabled { "https" } else { "http" };
        self.server.public_url.clone().unwrap_or_else(|| format!("{scheme}://localhost:{}", self.server.http_port))
    }

    /// Address at which agents reach the hub.
    #[must_use]
    pub fn agent_url(&self) -> String {
        self.server.agent_url.clone().unwrap_or_else(|| format!("https://localhost:{}", self.server.grpc_port))
    }
}

impl Audit {
    fn check(&self) -> anyhow::Result<()> {
        anyhow::ensure!(self.checkpoint_rows > 0, "audit.checkpoint_rows is 0; give at least 1");
        anyhow::ensure!(
            self.retention.max_age.is_none_or(|age| age.0 >= Duration::from_secs(3600)),
            "audit.retention.max_age is below 1h; give at least that, or leave it out to keep everything"
        );
        let mut names = std::collections::BTreeSet::new();
        for sink in &self.sinks {
            anyhow::ensure!(
                names.insert(&sink.name),
                "audit.sinks: {:?} is there twice; give each its own name",
                sink.name
            );
            crate::sinks::Destination::parse(sink)?;
        }
        Ok(())
    }
}

impl Session {
    fn check(&self, driver: &str) -> anyhow::Result<()> {
        let wanted = match (self.backend.as_str(), driver) {
            ("database" | "memory", _) | ("postgres", "postgres") if self.url.is_none() => None,
            ("database" | "memory", _) => {
                anyhow::bail!("auth.session.url is for auth.session.backend postgres or redis; leave it out")
            }
            ("postgres", _) => Some(["postgres://", "postgresql://"]),
            ("redis", _) => Some(["redis://", "rediss://"]),
            (other, _) => anyhow::bail!("auth.session.backend is {other:?}; use database, postgres, redis or memory"),
        };
        let fits = |url: &Secret, schemes: [&str; 2]| schemes.iter().any(|scheme| url.expose().starts_with(scheme));
        if let Some(schemes) = wanted
            && !self.url.as_ref().is_some_and(|url| fits(url, schemes))
        {
            anyhow::bail!(
                "auth.session.url is missing or of another kind; with auth.session.backend {} give {}...",
                self.backend,
                schemes[0]
            );
        }
        anyhow::ensure!(
            self.idle.0 >= Duration::from_secs(60),
            "auth.session.idle is {}; at least 1m, or people are signed out while they read",
            self.idle
        );
        anyhow::ensure!(
            self.expiry.0 <= Duration::from_secs(90 * 86_400) && self.expiry.0 >= self.idle.0,
            "auth.session.expiry is {}; at least auth.session.idle and at most 90d",
            self.expiry
        );
        Ok(())
    }
}

impl DirectCluster {
    fn check(&self) -> anyhow::Result<()> {
        flotilla_types::name::check_cluster_name(&self.name)?;
        match (self.backend.as_str(), &self.kubeconfig) {
            ("kubeconfig", Some(_)) | ("in-cluster", None) => Ok(()),
            ("kubeconfig", None) => {
                anyhow::bail!("clusters: {} has backend kubeconfig but no kubeconfig; give its path", self.name)
            }
            ("in-cluster", Some(_)) => {
                anyhow::bail!("clusters: {} has backend in-cluster, which takes no kubeconfig", self.name)
            }
            (other, _) => anyhow::bail!("clusters: {} has backend {other:?}; use kubeconfig or in-cluster", self.name),
        }
    }
}
