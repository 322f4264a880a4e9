//! One running host: opens everything in the order of dependence, and closes it in the reverse.
//!
//! Whatever a test wants to replace is an argument: the listener, the clock, the configuration.

use std::io::Write;
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use axum::serve::ListenerExt;
use tokio::net::TcpListener;
use uuid::Uuid;

use crate::api::{self, ApiLimits, ApiParts, ApiState, KeyRing, auth};
use crate::carrier::destination::secrets_context;
use crate::carrier::{Limits, Role};
use crate::clock::{self, Clock, Millis};
use crate::config::Config;
use crate::deliver::{AddressPolicy, Sender, SenderParts};
use crate::doors::Doors;
use crate::event::{NodeId, time_ordered};
use crate::ingest::IngestLimits;
use crate::lifecycle::{Crash, Lifecycle};
use crate::plugin::{BreakerConfig, Runtime, RuntimeConfig};
use crate::router::{self, Router};
use crate::secrets::MasterKey;
use crate::store::error::StoreError;
use crate::store::{Store, Wake, WriterLimits};
use crate::telemetry::Metrics;

/// Why a host did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The data folder cannot be used.
    #[error("{path}: {why}")]
    File {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        why: std::io::Error,
    },
    /// The master key cannot be used.
    #[error("the master key in {path} cannot be used: {why}")]
    MasterKey {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The plugin runtime.
    #[error("plugins cannot be run: {0}")]
    Plugins(#[from] crate::plugin::StartError),
    /// The HTTP client.
    #[error("deliveries cannot be sent: {0}")]
    Deliver(String),
}

/// A host that runs. Dropping it does not stop it: call [`Host::stop`].
#[derive(Debug)]
pub struct Host {
    address: SocketAddr,
    life: Lifecycle,
    router: Router,
    store: Store,
    runtime: Runtime,
    first_key: Option<PathBuf>,
    metrics: Metrics,
}

/// Opens the store that the configuration names, as a node of its own.
///
/// # Errors
/// As [`Store::open`].
pub async fn open_store(config: &Config, migrate: bool, now: Millis) -> Result<Store, StoreError> {
    let node = NodeId::from(fresh_id(now));
    let limits = WriterLimits {
        queued_events: config.store.queued_events,
        backlog_events: config.store.backlog_events,
    };
    Store::open(&config.store_config(), migrate, limits, node, now, config.lease()).await
}

fn fresh_id(now: Millis) -> Uuid {
    time_ordered(now, clock::random_bytes())
}

impl Host {
    /// Starts a host that serves on `listener`. `program` is this binary: it compiles plugins in a child process.
    ///
    /// # Errors
    /// [`StartError`] says what to change.
    pub async fn start(
        config: &Config,
        listener: TcpListener,
        clock: Clock,
        program: PathBuf,
    ) -> Result<Self, StartError> {
        let data = &config.store.data;
        make_folder(data)?;
        let master = master_key(&data.join("master.key"))?;
        let store = open_store(config, config.store.migrate, clock.now()).await?;
        if let Err(error) = master_key_fits(&store, &master, &data.join("master.key")).await {
            // Nothing has been started yet; only the folder's lock and the node's row are to be given back.
            store.close().await?;
            return Err(error);
        }
        let first_key = first_key(&store, data, clock.now()).await?;

        let ceiling = Limits {
            wall: Duration::from_millis(config.plugins.wall_ms_max),
            memory_bytes: config.plugins.memory_bytes_max,
            output_bytes: config.plugins.output_bytes_max,
            ..Limits::default()
        };
        let runtime = Runtime::start(
            RuntimeConfig {
                threads: config.plugin_threads(),
                artifacts: data.join("plugins"),
                compiler: program,
                compile_cpu: Duration::from_secs(config.plugins.compile_cpu_s),
                compile_memory_bytes: config.plugins.compile_memory_bytes,
                component_bytes_max: config.plugins.component_bytes_max,
                ceiling,
                queued_runs: config.store.held_in_memory,
                breaker: BreakerConfig {
                    faults: config.plugins.breaker_faults,
                    window: Duration::from_secs(config.plugins.breaker_window_s),
                    rest: Duration::from_secs(config.plugins.breaker_rest_s),
                },
            },
            clock.clone(),
        )?;
        let addresses = AddressPolicy {
            allow_http: config.deliver.allow_http,
            allowed_networks: config.deliver.allow_networks.clone(),
        };
        let proxy = config.deliver.proxy().map_err(|e| StartError::Deliver(e.to_string()))?;
        let shelf = Arc::new(router::tokens::Shelf::new(store.clone(), master.clone()));
        let parts = SenderParts { proxy, shelf: Some(shelf), ..SenderParts::default() };
        let sender = Sender::with(&addresses, parts).map_err(|e| StartError::Deliver(e.to_string()))?;
        let (life, metrics) = (Lifecycle::default(), Metrics::default());
        let router = Router::start(router::Parts {
            store: store.clone(),
            runtime: runtime.clone(),
            sender,
            master: master.clone(),
            addresses: addresses.clone(),
            ceiling,
            clock: clock.clone(),
            life: life.clone(),
            metrics: metrics.clone(),
            held_in_memory: config.store.held_in_memory,
            queued_per_lane: config.deliver.queued_per_lane,
            lease: config.lease(),
            retention: Duration::from_secs(u64::from(config.store.retention_days) * 86_400),
        })
        .await?;

        let keys = KeyRing::load(&store).await?;
        life.spawn("keys", reload_keys(keys.clone(), store.clone(), life.clone()));
        let doors = Arc::new(Doors::new(router.clone(), master, addresses, clock.clone()));
        let state = ApiState::new(ApiParts {
            store: store.clone(),
            keys,
            intake: doors.clone(),
            plugins: doors.clone(),
            checks: doors.clone(),
            tester: doors,
            clock,
            limits: ApiLimits {
                component_bytes: usize::try_from(config.plugins.component_bytes_max).unwrap_or(usize::MAX),
                ..ApiLimits::default()
            },
            ingest: IngestLimits {
                event_bytes: config.ingest.event_bytes,
                request_bytes: config.ingest.request_bytes,
                batch_events: config.ingest.batch_events,
                depth: config.ingest.depth,
                ..IngestLimits::default()
            },
        });
        let address =
            listener.local_addr().map_err(|why| StartError::File { path: "listener".into(), why })?;
        let app = api::router(state)
            .layer(axum::middleware::from_fn_with_state(router.clone(), see_own_writes))
            .merge(operation(router.clone(), store.clone(), life.clone(), metrics.clone()));
        let stopping = life.soft().clone();
        life.spawn("api", async move {
            let listener = listener.tap_io(|stream| {
                // A small answer must not wait for a full packet; failing to ask for that costs only time.
                let _ = stream.set_nodelay(true);
            });
            axum::serve(listener, app).with_graceful_shutdown(stopping.cancelled_owned()).await
        });
        tracing::info!(%address, store = store.kind(), threads = config.plugin_threads(), "the host is up");
        Ok(Self { address, life, router, store, runtime, first_key, metrics })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The file with the first admin key, when this start made one.
    pub fn first_key(&self) -> Option<&Path> {
        self.first_key.as_deref()
    }

    /// The way of an event, for tests.
    pub fn router(&self) -> &Router {
        &self.router
    }

    /// What it counts.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Waits for a part of it to fail.
    pub async fn crash(&self) -> Crash {
        self.life.crash().await
    }

    /// Stops in two stages; gives whether all work under way was finished.
    pub async fn stop(self, soft: Duration, hard: Duration, hurry: impl Future<Output = ()>) -> bool {
        self.router.halt();
        let finished = self.life.stop(soft, hard, hurry).await;
        // It waits for its threads, and a tokio thread must not.
        let runtime = self.runtime;
        if tokio::task::spawn_blocking(move || runtime.stop()).await.is_err() {
            tracing::error!("the plugin threads did not end in order");
        }
        if let Err(why) = self.store.close().await {
            tracing::warn!(%why, "the store was not closed in order; the next start takes over");
        }
        finished
    }
}

/// Reads the keys again when another node made or deleted one.
async fn reload_keys(keys: KeyRing, store: Store, life: Lifecycle) -> Result<(), StoreError> {
    let mut wakes = store.wakes();
    loop {
        tokio::select! {
            () = life.soft().cancelled() => return Ok(()),
            wake = wakes.recv() => {
                if matches!(wake, Ok(Wake::Work | Wake::Config(_))) {
                    continue;
                }
            }
        }
        if let Err(why) = keys.reload(&store).await {
            tracing::warn!(%why, "the API keys could not be read again; the old ones stay in force");
        }
    }
}

/// A carrier that changed something sees the change in the very next request, an event included.
async fn see_own_writes(
    State(router): State<Router>,
    request: axum::extract::Request,
    next: axum::middleware::Next,
) -> axum::response::Response {
    let changes = !request.method().is_safe() && request.uri().path() != "/v1/events";
    let answer = next.run(request).await;
    if changes
        && answer.status().is_success()
        && let Err(why) = router.directory().catch_up().await
    {
        tracing::warn!(%why, "a change was written but not yet read back");
    }
    answer
}

/// `/healthz`, `/readyz`, `/metrics`: no key, so keep them from the network with the listen address or a proxy.
fn operation(router: Router, store: Store, life: Lifecycle, metrics: Metrics) -> axum::Router {
    let ready = move || async move {
        if life.soft().is_cancelled() {
            return (StatusCode::SERVICE_UNAVAILABLE, "stopping\n".to_owned());
        }
        match store.ping().await {
            Ok(()) => (StatusCode::OK, "ready\n".to_owned()),
            Err(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")),
        }
    };
    let show = move || async move {
        router.observe();
        let content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
        ([(header::CONTENT_TYPE, content_type)], metrics.text()).into_response()
    };
    axum::Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(show))
}

fn make_folder(path: &Path) -> Result<(), StartError> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|why| StartError::File { path: path.to_owned(), why })
}

fn master_key(path: &Path) -> Result<MasterKey, StartError> {
    match std::fs::read_to_string(path) {
        Ok(text) => MasterKey::from_base64(text.trim())
            .map_err(|why| StartError::MasterKey { path: path.to_owned(), why: why.to_string() }),
        Err(why) if why.kind() == std::io::ErrorKind::NotFound => {
            let key = MasterKey::from_bytes(clock::random_bytes());
            write_secret(path, &key.to_base64())?;
            Ok(key)
        }
        Err(why) => Err(StartError::File { path: path.to_owned(), why }),
    }
}

/// Refuses a key that did not seal what the store holds: with it every delivery would fail.
async fn master_key_fits(store: &Store, master: &MasterKey, path: &Path) -> Result<(), StartError> {
    for carrier in store.carriers().await? {
        // One is enough: all are sealed with the same key.
        let Some(one) = store.destinations(&carrier.id).await?.into_iter().next() else { continue };
        return match master.open(&secrets_context(&one.carrier, &one.name), &one.sealed) {
            Ok(_) => Ok(()),
            Err(why) => Err(StartError::MasterKey {
                path: path.to_owned(),
                why: format!(
                    "it does not open the secrets in the store ({why}); put back the key that sealed them"
                ),
            }),
        };
    }
    Ok(())
}

/// The first start on an empty store makes an admin key and writes it beside the data.
async fn first_key(store: &Store, data: &Path, now: Millis) -> Result<Option<PathBuf>, StartError> {
    if !store.keys().await?.is_empty() {
        return Ok(None);
    }
    let name = "the first admin key".to_owned();
    let (key, text) = auth::mint(Role::Admin, None, name, clock::random_bytes(), now);
    let path = data.join("admin.key");
    write_secret(&path, &text)?;
    store.create_key(key).await?;
    Ok(Some(path))
}

fn write_secret(path: &Path, text: &str) -> Result<(), StartError> {
    let write = || {
        let mut file =
            std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
        writeln!(file, "{text}")?;
        file.sync_all()
    };
    write().map_err(|why| StartError::File { path: path.to_owned(), why })
}
