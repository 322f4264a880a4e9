//! One running host: opens everything in the order of dependence, and closes it in the reverse.
//!
//! Whatever a test wants to replace is an argument: the listener, the clock, the configuration.

mod drop;

use std::io::Write;
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;

use tokio::net::TcpListener;
use uuid::Uuid;

use self::drop::FollowedKeys;
use crate::api::problem::{Code, Problem};
use crate::api::state::DropBox;
use crate::api::{self, ApiLimits, ApiParts, ApiState, KeyRing, auth};
use crate::carrier::Role;
use crate::catalogue::CatalogueError;
use crate::clock::{self, Clock, Millis};
use crate::config::{Config, MailConfigError};
use crate::deliver::drop::{DropError, DropFolder};
use crate::deliver::{AddressPolicy, MediaParts, Sender, SenderParts};
use crate::doors::{Doors, Rules};
use crate::event::{NodeId, time_ordered};
use crate::ingest::IngestLimits;
use crate::lifecycle::{Crash, Lifecycle};
use crate::plugin::{BreakerConfig, Runtime, RuntimeConfig};
use crate::rotate;
use crate::router::{self, Router};
use crate::secrets::{KeyFile, KeyFileError, KeyList, MasterKey, MasterKeys, SecretsError, Stamp};
use crate::server::Server;
use crate::store::error::StoreError;
use crate::store::sealed::PLACES;
use crate::store::{Store, WriterLimits};
use crate::survey::{self, SurveyLinks, SurveyParts};
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
    /// The master key cannot be read or written.
    #[error(transparent)]
    KeyFile(#[from] KeyFileError),
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
    /// The catalogue of event types.
    #[error(transparent)]
    Catalogue(#[from] CatalogueError),
    /// What is set up for mails.
    #[error(transparent)]
    Mail(#[from] MailConfigError),
    /// The drop folder.
    #[error("the drop folder (`drop.folder`, `drop.keys`) cannot be used: {0}")]
    Drop(DropError),
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
    sender: Sender,
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

/// What fetching is set up with.
fn media_parts(
    config: &Config,
    clock: &Clock,
    life: &Lifecycle,
    metrics: &Metrics,
) -> Result<MediaParts, StartError> {
    let path = &config.media.authorities;
    let authorities = if path.as_os_str().is_empty() {
        None
    } else {
        let read = std::fs::read_to_string(path);
        Some(read.map_err(|why| StartError::File { path: path.clone(), why })?)
    };
    Ok(MediaParts {
        folder: config.store.data.join("spool"),
        limits: config.media.limits(),
        authorities,
        scanner: config.media.scanner().map_err(StartError::Deliver)?,
        clock: clock.clone(),
        life: life.clone(),
        metrics: metrics.clone(),
    })
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
        let catalogue = Arc::new(config.catalogue.load()?);
        let data = &config.store.data;
        make_folder(data)?;
        let key_file = KeyFile::in_folder(data);
        // Before the file is read, so that no change falls between.
        let seen = key_file.stamp()?;
        let master = MasterKeys::new(master_keys(&key_file)?);
        let store = open_store(config, config.store.migrate, clock.now()).await?;
        if let Err(error) = master_keys_fit(&store, &master, key_file.path()).await {
            // Nothing has been started yet; only the folder's lock and the node's row are to be given back.
            store.close().await?;
            return Err(error);
        }
        store.tell_master_keys(master.list().ids()).await?;
        let key =
            survey::link_key(&store, &master, !config.server.public_url.is_empty(), clock.now()).await?;
        let links = SurveyLinks::new(
            key,
            &config.server.public_url,
            config.survey.valid(config.store.retention_days),
        );
        let first_key = first_key(&store, data, clock.now()).await?;

        let ceiling = config.plugins.ceiling();
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
        let mail = Arc::new(config.mail.load()?);
        let drop_folder =
            config.drop.settings(data).map(DropFolder::open).transpose().map_err(StartError::Drop)?;
        let (life, metrics) = (Lifecycle::default(), Metrics::default());
        let media = media_parts(config, &clock, &life, &metrics)?;
        let parts = SenderParts {
            proxy,
            shelf: Some(shelf),
            sftp: config.sftp.limits(),
            media: Some(media),
            mail: mail.clone(),
            drop: drop_folder.clone(),
            ..SenderParts::default()
        };
        let sender = Sender::with(&addresses, parts).map_err(|e| StartError::Deliver(e.to_string()))?;
        let keys = KeyRing::default();
        let router = Router::start(router::Parts {
            store: store.clone(),
            runtime: runtime.clone(),
            sender: sender.clone(),
            master: master.clone(),
            addresses: addresses.clone(),
            ceiling,
            pages: Arc::new(links.clone()),
            keys: Arc::new(FollowedKeys::new(keys.clone(), store.clone(), drop_folder.clone())),
            clock: clock.clone(),
            life: life.clone(),
            metrics: metrics.clone(),
            held_in_memory: config.store.held_in_memory,
            queued_per_lane: config.deliver.queued_per_lane,
            lease: config.lease(),
            compile: Duration::from_secs(config.plugins.compile_cpu_s),
            retention: Duration::from_secs(u64::from(config.store.retention_days) * 86_400),
        })
        .await?;

        let watch =
            watch_master_keys(key_file, seen, master.clone(), store.clone(), router.clone(), clock.clone());
        let stopping = life.soft().clone();
        life.spawn("master keys", async move {
            tokio::select! {
                () = stopping.cancelled() => Ok::<_, StoreError>(()),
                () = watch => Ok(()),
            }
        });
        if let Some(folder) = &drop_folder {
            life.spawn("drop folder", drop::clear_up(folder.clone(), clock.clone(), life.soft().clone()));
        }
        let doors = Arc::new(Doors::new(router.clone(), clock.clone(), &config.server.public_url));
        let body_time = Duration::from_millis(config.server.body_ms);
        let surveys = survey::router(SurveyParts {
            store: store.clone(),
            clock: clock.clone(),
            links,
            texts: config.survey.texts.clone(),
            leave_after: config.survey.leave_after(),
            body_time,
        });
        let state = ApiState::new(ApiParts {
            store: store.clone(),
            keys,
            intake: doors.clone(),
            plugins: doors.clone(),
            checks: Arc::new(Rules {
                master,
                addresses,
                mail,
                clock: clock.clone(),
                drop: drop_folder.is_some(),
                media: config.media.ceiling(),
            }),
            tester: doors.clone(),
            handshaker: doors,
            drop: drop_folder.map(|folder| Arc::new(folder) as Arc<dyn DropBox>),
            catalogue,
            clock,
            limits: ApiLimits {
                component_bytes: usize::try_from(config.plugins.component_bytes_max).unwrap_or(usize::MAX),
                requests_per_second: config.webhooks.requests_per_second,
                burst: config.webhooks.burst,
                ..ApiLimits::default()
            },
            ingest: IngestLimits {
                event_bytes: config.ingest.event_bytes,
                request_bytes: config.ingest.request_bytes,
                batch_events: config.ingest.batch_events,
                depth: config.ingest.depth,
                ..IngestLimits::default()
            },
            body_time,
        });
        let address =
            listener.local_addr().map_err(|why| StartError::File { path: "listener".into(), why })?;
        let operation = operation(router.clone(), store.clone(), life.clone(), metrics.clone());
        let app = api::router(state)
            .layer(axum::middleware::from_fn_with_state(router.clone(), agree))
            .merge(surveys)
            .merge(operation.clone());
        let server = Server {
            app,
            overflow: overflow(operation, config.server.connections),
            limits: config.server_limits(),
            metrics: metrics.clone(),
            stopping: life.soft().clone(),
        };
        life.spawn("api", server.run(listener));
        tracing::info!(%address, store = store.kind(), threads = config.plugin_threads(), "the host is up");
        Ok(Self { address, life, router, store, runtime, first_key, metrics, sender })
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
        self.sender.close().await;
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

/// Names the nodes that live and had not applied a change when it was answered; `unknown` when that could not be found out.
const NODES_BEHIND: &str = "hookyard-nodes-behind";

/// Who changed something sees the change in the very next request, at whichever node, an event included.
async fn agree(
    State(router): State<Router>,
    request: axum::extract::Request,
    next: axum::middleware::Next,
) -> axum::response::Response {
    let changes = !request.method().is_safe() && request.uri().path() != "/v1/events";
    let mut answer = next.run(request).await;
    if !changes || !answer.status().is_success() {
        return answer;
    }
    match router.agreement().settle(Duration::ZERO).await {
        Ok(behind) if behind.is_empty() => {}
        Ok(behind) => {
            let names: Vec<&str> = behind.iter().map(NodeId::as_str).collect();
            if let Ok(value) = names.join(", ").parse() {
                answer.headers_mut().insert(NODES_BEHIND, value);
            }
        }
        Err(why) => {
            tracing::warn!(%why, "a change was written, but it is not known whether every node has applied it");
            answer.headers_mut().insert(NODES_BEHIND, HeaderValue::from_static("unknown"));
        }
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

/// What a connection above the bound is answered; an operator sees all the same how the host is.
fn overflow(operation: axum::Router, connections: usize) -> axum::Router {
    operation.fallback(move || async move {
        let detail = format!(
            "there are {connections} connections already, the limit `server.connections`: try again, over fewer"
        );
        Problem::new(Code::Busy, detail)
            .limit("server.connections", connections as u64)
            .retry_after(Duration::from_secs(1))
    })
}

fn make_folder(path: &Path) -> Result<(), StartError> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|why| StartError::File { path: path.to_owned(), why })
}

fn master_keys(file: &KeyFile) -> Result<KeyList, KeyFileError> {
    if let Some(list) = file.read()? {
        return Ok(list);
    }
    let list = KeyList::of(MasterKey::from_bytes(clock::random_bytes()));
    file.write(&list)?;
    Ok(list)
}

/// Refuses keys without the one that sealed what the store holds: with them those deliveries would all wait.
async fn master_keys_fit(store: &Store, master: &MasterKeys, path: &Path) -> Result<(), StartError> {
    let unfit = |why: &dyn std::fmt::Display| StartError::MasterKey {
        path: path.to_owned(),
        why: format!(
            "it does not open the secrets in the store ({why}); put back the key that sealed them, on a line of its own"
        ),
    };
    for place in PLACES.iter().filter(|place| !place.is_dispensable()) {
        let mut after = (String::new(), String::new());
        loop {
            let batch = store.sealed(place, &after, rotate::BATCH).await?;
            let Some(last) = batch.last() else { break };
            after = last.cursor().clone();
            for one in &batch {
                match master.open(&one.context, &one.bytes) {
                    // What was changed by hand is that one's trouble alone, and is told where it is used.
                    Ok(_) | Err(SecretsError::Form { .. } | SecretsError::Forged { .. }) => {}
                    Err(why) => return Err(unfit(&why)),
                }
            }
        }
    }
    Ok(())
}

/// Takes the keys from the file again whenever it has changed, so that a rotation needs no restart. Ends with the host.
async fn watch_master_keys(
    file: KeyFile,
    mut seen: Option<Stamp>,
    master: MasterKeys,
    store: Store,
    router: Router,
    clock: Clock,
) {
    loop {
        clock.sleep(rotate::WATCH).await;
        let stamp = file.stamp().ok().flatten();
        if stamp == seen {
            continue;
        }
        seen = stamp;
        match file.read() {
            Ok(Some(list)) => master.replace(list),
            // The keys that are known stay in force; a file that was caught half-written will change once more.
            Ok(None) => {
                tracing::warn!(file = %file.path().display(), "the master key's file is gone; put it back");
                continue;
            }
            Err(why) => {
                tracing::warn!(%why, "the master keys could not be read again; those before stay in force");
                continue;
            }
        }
        let ids = master.list().ids();
        tracing::info!(keys = ids, "the master keys were read again; the first one seals");
        // What could not be opened before may open now.
        let told = store.tell_master_keys(ids).await;
        if let Err(why) = told.and(router.agreement().refresh().await) {
            tracing::warn!(%why, "a change of the master keys could not be told; trying again");
            seen = None;
        }
    }
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
