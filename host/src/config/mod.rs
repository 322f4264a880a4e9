//! The configuration: a TOML file, then `HOOKYARD_…` variables over it, then defaults that work for everything else.
//!
//! Read once, at the start; only this module and `main` see files and environment. It must not know what the values are
//! used for beyond their ranges.

mod drop;
mod mail;
mod media;
mod proxy;
mod read;
mod sftp;
mod survey;

pub use drop::DropConfig;
pub use mail::{Hidden, MailConfig, MailConfigError};
pub use media::MediaConfig;
pub use proxy::ProxyAddress;
pub use read::{ConfigError, Problem, read};
pub use sftp::SftpConfig;
pub use survey::SurveyConfig;

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::carrier::Limits;
use crate::catalogue::{Catalogue, CatalogueError};
use crate::deliver::ProxyError;
use crate::server::ServerLimits;
use crate::store::StoreConfig;

/// Everything that can be set. Each field's comment says what happens at the extremes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[derive(Default)]
pub struct Config {
    /// Where the host listens and how it stops.
    pub server: ServerConfig,
    /// Where the data lives.
    pub store: StoreSection,
    /// What is taken in.
    pub ingest: IngestConfig,
    /// Which event types there are.
    pub catalogue: CatalogueConfig,
    /// How plugins run.
    pub plugins: PluginsConfig,
    /// How deliveries are sent.
    pub deliver: DeliverConfig,
    /// How mails are sent.
    pub mail: MailConfig,
    /// How files are sent to SFTP servers.
    pub sftp: SftpConfig,
    /// What deliveries carry that the host fetches.
    pub media: MediaConfig,
    /// The folder that carriers fetch files from.
    pub drop: DropConfig,
    /// What carriers may ask of `/webhooks`.
    pub webhooks: WebhooksConfig,
    /// What customers are asked.
    pub survey: SurveyConfig,
    /// How it speaks to its operator.
    pub log: LogConfig,
}

/// `[server]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ServerConfig {
    /// Address and port. Port 0 takes a free one, which the log names. An address that is not loopback offers the API
    /// to the network: put TLS in front of it.
    pub listen: SocketAddr,
    /// Connections that are served at once: 1 to 1 000 000. One more is answered 503 and closed (`/healthz`, `/readyz`
    /// and `/metrics` are answered all the same). Each takes a file descriptor and about 20 KiB; `serve` raises the
    /// process's own limit as far as the system lets it, and warns when that is not enough.
    pub connections: usize,
    /// Milliseconds from a connection's beginning, or from the first byte after a rest, until a request's head is there:
    /// 100 to 600 000. Later the connection is closed. Too short cuts off clients on slow networks; too long lets few
    /// idle clients fill `connections`.
    pub head_ms: u64,
    /// Milliseconds that the body of a request may take: 100 to 3 600 000. Later it is answered 408 `body_timeout`. At the
    /// default an upload of 32 MiB needs 9 Mbit/s.
    pub body_ms: u64,
    /// Milliseconds that a connection may rest between two requests: 100 to 3 600 000. It is also how long a client may
    /// take to read an answer. Longer than the rest that a proxy in front allows its own connections, or it will now and
    /// then send into one that was just closed.
    pub idle_ms: u64,
    /// Where the API is reached from outside, such as `https://hooks.example.com`: what receivers that are asked for their
    /// permission are told to call back, and what links to surveys begin with. Empty: receivers are told nothing, and can only
    /// answer at once; links are refused.
    pub public_url: String,
    /// How long a stop waits for work under way, in seconds: 0 drops it at once (it is taken up again at the next
    /// start), at most 600.
    pub stop_soft_s: u64,
    /// How long it then waits for tasks to notice, in seconds: 1 to 60.
    pub stop_hard_s: u64,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            connections: 10_000,
            head_ms: 10_000,
            body_ms: 30_000,
            idle_ms: 75_000,
            public_url: String::new(),
            stop_soft_s: 30,
            stop_hard_s: 5,
        }
    }
}

/// `[store]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StoreSection {
    /// The data folder: the SQLite database, the master key, the first admin key, compiled plugins and fetched media. Made when it is
    /// missing. Nodes that share a PostgreSQL database need the same `master.key` in each one's folder;
    /// a node reads it again when it changes.
    pub data: PathBuf,
    /// `sqlite` (a file in the data folder, one process) or `postgres://user:password@host/database`.
    pub database: String,
    /// Whether `serve` brings the schema up to date by itself. When off, it refuses to start on an old schema.
    pub migrate: bool,
    /// Days that events, deliveries and attempts are kept: 1 to 3650.
    pub retention_days: u32,
    /// Seconds after which a silent node's work is taken over by another: 2 to 300. Short means fast and sensitive to
    /// pauses of the machine; long means that a dead node's work waits, and so does
    /// the answer to a change of what is set up, for as long at most.
    pub lease_s: u64,
    /// Events that may wait to be written before ingest answers 503: 64 to 1 000 000. Each may be as large as
    /// `ingest.event_bytes`.
    pub queued_events: usize,
    /// Events that one carrier may have stored but not yet routed before ingest answers 503 for it: at least 1.
    pub backlog_events: i64,
    /// Events and deliveries that are held in memory from birth, each: 64 to 1 000 000. What does not fit goes by the
    /// database, which is slower but loses nothing.
    pub held_in_memory: usize,
}

impl Default for StoreSection {
    fn default() -> Self {
        Self {
            data: PathBuf::from("data"),
            database: "sqlite".to_owned(),
            migrate: true,
            retention_days: 30,
            lease_s: 5,
            queued_events: 8_192,
            backlog_events: 1_000_000,
            held_in_memory: 8_192,
        }
    }
}

/// `[ingest]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct IngestConfig {
    /// Bytes of one event's payload: 1 KiB to 16 MiB.
    pub event_bytes: usize,
    /// Bytes of one request: at least `event_bytes`, at most 256 MiB.
    pub request_bytes: usize,
    /// Events in one request: 1 to 10 000.
    pub batch_events: usize,
    /// Nesting of a payload: 1 to 128.
    pub depth: usize,
}

impl Default for IngestConfig {
    fn default() -> Self {
        Self { event_bytes: 256 << 10, request_bytes: 8 << 20, batch_events: 1_000, depth: 64 }
    }
}

/// `[catalogue]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
pub struct CatalogueConfig {
    /// A file that adds event types and webhooks to the catalogue that comes with the host, or overrides what it says of
    /// them; `host/src/catalogue/events.toml` shows the form. Empty: none.
    pub file: PathBuf,
}

impl CatalogueConfig {
    /// The catalogue that is meant.
    ///
    /// # Errors
    /// As [`Catalogue::with_file`].
    pub fn load(&self) -> Result<Catalogue, CatalogueError> {
        if self.file.as_os_str().is_empty() {
            Catalogue::embedded()
        } else {
            Catalogue::with_file(&self.file)
        }
    }
}

/// `[plugins]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PluginsConfig {
    /// Threads that run plugins. 0 takes one for each core; at most 64.
    pub threads: usize,
    /// The most wall time that an upload may ask for, in milliseconds: 1 to 60 000. The default of a version is 50.
    pub wall_ms_max: u64,
    /// The most memory that an upload may ask for, in bytes: 1 MiB to 1 GiB. Every slot of the pool reserves address
    /// space for it, not memory.
    pub memory_bytes_max: u64,
    /// The most output that an upload may ask for, in bytes: 1 KiB to 64 MiB.
    pub output_bytes_max: u64,
    /// The largest component, in bytes: 1 KiB to 256 MiB.
    pub component_bytes_max: u64,
    /// CPU seconds that compiling one upload may take: 1 to 600.
    pub compile_cpu_s: u64,
    /// Address space that compiling one upload may take, in bytes: at least 256 MiB.
    pub compile_memory_bytes: u64,
    /// Faults (traps, limits, deadlines) of one version within `breaker_window_s` that open its breaker: at least 1.
    pub breaker_faults: u32,
    /// The window in seconds: at least 1.
    pub breaker_window_s: u64,
    /// How long an open breaker rests before one event probes the version, in seconds: at least 1.
    pub breaker_rest_s: u64,
}

impl Default for PluginsConfig {
    fn default() -> Self {
        Self {
            threads: 0,
            wall_ms_max: 1_000,
            memory_bytes_max: 32 << 20,
            output_bytes_max: 8 << 20,
            component_bytes_max: 32 << 20,
            compile_cpu_s: 30,
            compile_memory_bytes: 4 << 30,
            breaker_faults: 20,
            breaker_window_s: 60,
            breaker_rest_s: 30,
        }
    }
}

impl PluginsConfig {
    /// What no version can go above.
    pub fn ceiling(&self) -> Limits {
        Limits {
            wall: Duration::from_millis(self.wall_ms_max),
            memory_bytes: self.memory_bytes_max,
            output_bytes: self.output_bytes_max,
            ..Limits::default()
        }
    }
}

/// `[deliver]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DeliverConfig {
    /// Whether destinations may have `http` addresses. Off means that only `https` is accepted.
    pub allow_http: bool,
    /// Networks that destinations may be in although they are not public, such as `10.0.0.0/8` or `127.0.0.1/32`.
    pub allow_networks: Vec<IpNet>,
    /// Deliveries of one destination that wait in memory: 1 to 100 000. More wait in the database.
    pub queued_per_lane: usize,
    /// An HTTP proxy that connects for the host, such as `http://user:password@proxy.example:3128`; empty for none. Names are
    /// still resolved and checked here first, but the proxy looks them up again and connects: forbid it the networks that
    /// destinations may not be in.
    pub egress_proxy: ProxyAddress,
    /// What is reached without the proxy: hosts (`a.example`), domains (`.example`), addresses and networks
    /// (`10.0.0.0/8`: a name all of whose addresses are in them).
    pub egress_proxy_except: Vec<String>,
}

impl Default for DeliverConfig {
    fn default() -> Self {
        Self {
            allow_http: false,
            allow_networks: Vec::new(),
            queued_per_lane: 1_024,
            egress_proxy: ProxyAddress::default(),
            egress_proxy_except: Vec::new(),
        }
    }
}

/// `[webhooks]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WebhooksConfig {
    /// Requests a second that one API key may send to `/webhooks` on average, at each node: 1 to 100 000. 1 makes scripts
    /// that register many webhooks wait; 100 000 is as good as none.
    pub requests_per_second: u32,
    /// Requests that it may send at once after a rest: 1 to 100 000. 1 refuses every second of two requests that come
    /// together.
    pub burst: u32,
}

impl Default for WebhooksConfig {
    fn default() -> Self {
        Self { requests_per_second: 20, burst: 15 }
    }
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// `[log]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogConfig {
    /// `text` or `json`.
    pub format: LogFormat,
    /// A level (`info`) or a filter such as `hookyard=debug,sqlx=warn`. `debug` writes a line for each attempt, which
    /// costs throughput.
    pub level: String,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { format: LogFormat::Text, level: "info".to_owned() }
    }
}

impl Config {
    /// Every value that is out of its range.
    pub fn problems(&self) -> Vec<Problem> {
        let mut found = Vec::new();
        let mut range = |key: &str, value: u64, least: u64, most: u64| {
            if !(least..=most).contains(&value) {
                found.push(Problem {
                    key: key.to_owned(),
                    why: format!("{value} is out of range; it takes {least} to {most}"),
                });
            }
        };
        const MIB: u64 = 1 << 20;
        let (s, i, p, d) = (&self.store, &self.ingest, &self.plugins, &self.deliver);
        range("server.connections", self.server.connections as u64, 1, 1_000_000);
        range("server.head_ms", self.server.head_ms, 100, 600_000);
        range("server.body_ms", self.server.body_ms, 100, 3_600_000);
        range("server.idle_ms", self.server.idle_ms, 100, 3_600_000);
        range("server.stop_soft_s", self.server.stop_soft_s, 0, 600);
        range("server.stop_hard_s", self.server.stop_hard_s, 1, 60);
        range("store.retention_days", s.retention_days.into(), 1, 3_650);
        range("store.lease_s", s.lease_s, 2, 300);
        range("store.queued_events", s.queued_events as u64, 64, 1_000_000);
        range("store.backlog_events", u64::try_from(s.backlog_events).unwrap_or(0), 1, u64::MAX);
        range("store.held_in_memory", s.held_in_memory as u64, 64, 1_000_000);
        range("ingest.event_bytes", i.event_bytes as u64, 1 << 10, 16 * MIB);
        range("ingest.request_bytes", i.request_bytes as u64, i.event_bytes as u64, 256 * MIB);
        range("ingest.batch_events", i.batch_events as u64, 1, 10_000);
        range("ingest.depth", i.depth as u64, 1, 128);
        range("plugins.threads", p.threads as u64, 0, 64);
        range("plugins.wall_ms_max", p.wall_ms_max, 1, 60_000);
        range("plugins.memory_bytes_max", p.memory_bytes_max, MIB, 1 << 30);
        range("plugins.output_bytes_max", p.output_bytes_max, 1 << 10, 64 * MIB);
        range("plugins.component_bytes_max", p.component_bytes_max, 1 << 10, 256 * MIB);
        range("plugins.compile_cpu_s", p.compile_cpu_s, 1, 600);
        range("plugins.compile_memory_bytes", p.compile_memory_bytes, 256 * MIB, u64::MAX);
        range("plugins.breaker_faults", p.breaker_faults.into(), 1, u64::from(u32::MAX));
        range("plugins.breaker_window_s", p.breaker_window_s, 1, 86_400);
        range("plugins.breaker_rest_s", p.breaker_rest_s, 1, 86_400);
        range("deliver.queued_per_lane", d.queued_per_lane as u64, 1, 100_000);
        range("mail.max_message_bytes", self.mail.max_message_bytes as u64, 64 << 10, 100 * MIB);
        range("mail.connections", self.mail.connections as u64, 1, 100);
        range("webhooks.requests_per_second", self.webhooks.requests_per_second.into(), 1, 100_000);
        range("webhooks.burst", self.webhooks.burst.into(), 1, 100_000);
        for (key, value, least, most) in self.sftp.ranges() {
            range(key, value, least, most);
        }
        range("survey.valid_days", self.survey.valid_days.into(), 1, 3_650);
        range("survey.leave_after_hours", self.survey.leave_after_hours.into(), 1, 720);
        found.extend(self.survey.problems());
        found.extend(self.drop.problems());
        if s.database != "sqlite"
            && !s.database.starts_with("postgres://")
            && !s.database.starts_with("postgresql://")
        {
            found.push(Problem {
                key: "store.database".to_owned(),
                why: "it takes `sqlite` or an address such as `postgres://user:password@host/database`"
                    .to_owned(),
            });
        }
        let url = &self.server.public_url;
        let plain = |url: url::Url| {
            url.scheme() == "https" && url.has_host() && url.query().is_none() && url.fragment().is_none()
        };
        let good = url.is_ascii() && url.len() <= 1_024 && url.parse().is_ok_and(plain);
        if !url.is_empty() && !good {
            found.push(Problem {
                key: "server.public_url".to_owned(),
                why: "it takes an `https` address such as `https://hooks.example.com`, without query, at most 1024 \
                      characters"
                    .to_owned(),
            });
        }
        found.extend(self.mail.problems());
        if let Err(why) = d.proxy() {
            let key = match why {
                ProxyError::Address { .. } => "deliver.egress_proxy",
                ProxyError::Except { .. } => "deliver.egress_proxy_except",
            };
            found.push(Problem { key: key.to_owned(), why: why.to_string() });
        }
        found.extend(self.media.problems());
        if let Err(why) = self.log.level.parse::<tracing_subscriber::filter::Targets>() {
            found.push(Problem { key: "log.level".to_owned(), why: why.to_string() });
        }
        found
    }

    /// The store that is meant.
    pub fn store_config(&self) -> StoreConfig {
        if self.store.database == "sqlite" {
            StoreConfig::Sqlite { folder: self.store.data.clone() }
        } else {
            StoreConfig::Postgres { url: self.store.database.clone() }
        }
    }

    /// How many clients are served, and how slow each may be.
    pub fn server_limits(&self) -> ServerLimits {
        ServerLimits {
            connections: self.server.connections,
            head: Duration::from_millis(self.server.head_ms),
            idle: Duration::from_millis(self.server.idle_ms),
        }
    }

    /// The lease of a node.
    pub fn lease(&self) -> Duration {
        Duration::from_secs(self.store.lease_s)
    }

    /// Threads that run plugins.
    pub fn plugin_threads(&self) -> usize {
        match self.plugins.threads {
            0 => std::thread::available_parallelism().map_or(2, usize::from).min(64),
            n => n,
        }
    }

    /// Whether the API is offered beyond this machine.
    pub fn is_public(&self) -> bool {
        match self.server.listen.ip() {
            IpAddr::V4(ip) => !ip.is_loopback(),
            IpAddr::V6(ip) => !ip.is_loopback(),
        }
    }
}
