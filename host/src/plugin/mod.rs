//! Stage 4: runs plugins. Engine, limits, the checks of an upload, compiled artifacts, chains, threads.
//!
//! A fresh instance for each event, on a fixed set of threads, behind a queue that is fair to the carriers. What a
//! plugin can reach is this: its event, its settings, its tables, its log, links that others make. It must know neither
//! `store` nor `deliver`, and does no network.

mod artifact;
mod breaker;
mod call;
mod chain;
mod check;
mod compile;
mod engine;
mod guard;
mod links;
mod log;
#[doc(hidden)]
pub mod measure;
mod outcome;
mod queue;
mod v1;
mod verdict;
mod wasi;
mod workers;

pub use breaker::BreakerConfig;
pub use call::Program;
pub use chain::{Chain, Link, Ran};
pub use check::{CheckError, Checked};
pub use compile::{COMPILE_COMMAND, CompileError, compile_main};
pub use links::{Linked, NoPages, PageLinks};
pub use outcome::{
    Attachment, Content, Delivery, Email, Fault, HttpRequest, LogLevel, LogLine, Message, Outcome, SftpFile,
    TrapKind,
};
pub use workers::{Full, Run};

use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Semaphore;
use wasmtime::Engine;
use wasmtime::component::Linker;

use crate::carrier::{Limits, OnFault, Sha256Hex};
use crate::clock::{Clock, Millis, Stopwatch};
use crate::event::Event;
use artifact::Artifacts;
use compile::Compiler;
use workers::Floor;

/// How the runtime is set up.
#[derive(Debug, Clone)]
pub struct RuntimeConfig {
    /// Threads that run plugins; one for each core. At least 1.
    pub threads: usize,
    /// The folder of compiled artifacts. It must be the host's alone; it is made when it is missing.
    pub artifacts: PathBuf,
    /// This program: it is run as `PROGRAM compile-plugin` to compile, see [`compile_main`].
    pub compiler: PathBuf,
    /// CPU time of one compilation, in whole seconds.
    pub compile_cpu: Duration,
    /// Address space of one compilation.
    pub compile_memory_bytes: u64,
    /// Size of an upload.
    pub component_bytes_max: u64,
    /// What no version can go above; its memory and tables size the pool.
    pub ceiling: Limits,
    /// Runs that wait at once.
    pub queued_runs: usize,
    /// When a version rests.
    pub breaker: BreakerConfig,
}

impl RuntimeConfig {
    /// The design's numbers, for `threads` threads with artifacts in `artifacts`, compiling with `compiler`.
    pub fn new(threads: usize, artifacts: PathBuf, compiler: PathBuf) -> Self {
        Self {
            threads,
            artifacts,
            compiler,
            compile_cpu: Duration::from_secs(30),
            compile_memory_bytes: 4 << 30,
            component_bytes_max: 32 << 20,
            ceiling: Limits::default(),
            queued_runs: 16_384,
            breaker: BreakerConfig {
                faults: 20,
                window: Duration::from_secs(60),
                rest: Duration::from_secs(30),
            },
        }
    }
}

/// Why the runtime could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The engine refuses its configuration: too little address space, most often.
    #[error("the WebAssembly engine cannot be made: {0}")]
    Engine(String),
    /// The folder of artifacts cannot be used.
    #[error("the folder of artifacts {path:?} cannot be used: {source}")]
    Artifacts {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A thread could not be started.
    #[error("a thread could not be started: {0}")]
    Thread(std::io::Error),
}

/// The runtime. Cloning copies a pointer.
#[derive(Clone)]
pub struct Runtime(Arc<Inner>);

struct Inner {
    engine: Engine,
    linker: Linker<call::Host>,
    artifacts: Artifacts,
    compiler: Compiler,
    ceiling: Limits,
    /// Compilations and smoke runs at once: each smoke run needs a slot of the pool.
    checks: Semaphore,
    floor: Arc<Floor>,
    threads: Mutex<Vec<std::thread::JoinHandle<()>>>,
}

/// What the runtime counts, at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuntimeMetrics {
    /// Instances that exist right now.
    pub instances: u64,
    /// Instances that can exist at once.
    pub slots: u64,
    /// Memories that are kept mapped for the component that used them last.
    pub warm_memories: u64,
    /// Runs that wait.
    pub queued: usize,
    /// Runs that have ended.
    pub runs: u64,
    /// Runs that ended in a fault, by [`Fault::kind`].
    pub faults: [(&'static str, u64); outcome::KINDS.len()],
    /// Thread time spent on runs.
    pub busy: Duration,
}

impl std::fmt::Debug for Runtime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Runtime").field("metrics", &self.metrics()).finish_non_exhaustive()
    }
}

impl Runtime {
    /// Makes the engine and starts its threads.
    ///
    /// # Errors
    /// See [`StartError`].
    pub fn start(config: RuntimeConfig, clock: Clock) -> Result<Self, StartError> {
        let threads = config.threads.max(1);
        let failed = |error: wasmtime::Error| StartError::Engine(format!("{error:#}"));
        let engine = Engine::new(&engine::run_config(threads + engine::CHECK_SLOTS, &config.ceiling))
            .map_err(failed)?;
        let artifacts = Artifacts::open(&config.artifacts, &engine)
            .map_err(|source| StartError::Artifacts { path: config.artifacts, source })?;
        let linker = v1::linker(&engine).map_err(failed)?;
        let ticker = engine::Ticker::start(&engine).map_err(StartError::Thread)?;
        let shared = chain::Shared::new(config.breaker, clock);
        let floor = Arc::new(Floor::new(config.queued_runs, threads, shared, ticker));
        let handles = workers::start(&floor, threads).map_err(StartError::Thread)?;
        Ok(Self(Arc::new(Inner {
            engine,
            linker,
            artifacts,
            compiler: Compiler {
                program: config.compiler,
                cpu: config.compile_cpu,
                memory_bytes: config.compile_memory_bytes,
                component_bytes_max: config.component_bytes_max,
            },
            ceiling: config.ceiling,
            checks: Semaphore::new(engine::CHECK_SLOTS),
            floor,
            threads: Mutex::new(handles),
        })))
    }

    /// Takes an upload through every check, compiles it, and runs it once on a sample event.
    ///
    /// # Errors
    /// See [`CheckError`]: each reason is a kind of its own.
    pub async fn check(&self, bytes: Bytes, limits: Limits) -> Result<Checked, CheckError> {
        let inner = self.0.clone();
        let (most, given) = (inner.compiler.component_bytes_max, bytes.clone());
        let imports = blocking(move || check::inspect(&given, most)).await??;
        let size = bytes.len() as u64;
        let program = self.load(bytes, limits).await?;
        let _slot = self.slot().await?;
        blocking(move || {
            let (smoke, warnings) = inner.smoke(&program)?;
            Ok(Checked { sha256: program.sha256.clone(), size, imports, warnings, smoke, program })
        })
        .await?
    }

    /// Makes a version ready that was checked when it was uploaded: from its artifact, or compiled anew.
    ///
    /// # Errors
    /// Those of [`Runtime::check`] that concern size, types, compiling and the host.
    pub async fn load(&self, bytes: Bytes, limits: Limits) -> Result<Arc<Program>, CheckError> {
        let inner = self.0.clone();
        let (size, allowed) = (bytes.len() as u64, inner.compiler.component_bytes_max);
        if size > allowed {
            return Err(CheckError::TooBig { size, allowed });
        }
        // Never more than a few at once: uploads must not take the machine.
        let _slot = self.slot().await?;
        let (found, sha256) = {
            let (inner, bytes) = (inner.clone(), bytes.clone());
            blocking(move || {
                let sha256 = Sha256Hex::of(&bytes);
                inner.artifacts.find(&inner.engine, &sha256).map(|found| (found, sha256))
            })
            .await??
        };
        let component = match found {
            Some(component) => component,
            None => {
                let made = inner.artifacts.fresh();
                let compiled = compile::compile(&inner.compiler, &bytes, &made).await;
                let (inner, sha256) = (inner.clone(), sha256.clone());
                blocking(move || {
                    let kept = compiled
                        .map_err(CheckError::from)
                        .and_then(|()| Ok(inner.artifacts.keep(&made, &sha256)?));
                    if kept.is_err() {
                        inner.artifacts.discard(&made);
                    }
                    kept?;
                    let found = inner.artifacts.find(&inner.engine, &sha256)?;
                    found.ok_or_else(|| CheckError::Host("a new artifact was damaged at once".to_owned()))
                })
                .await??
            }
        };
        let pre =
            v1::link(&inner.linker, &component).map_err(|error| CheckError::Types(format!("{error:#}")))?;
        let limits = Limits {
            wall: limits.wall.min(inner.ceiling.wall),
            memory_bytes: limits.memory_bytes.min(inner.ceiling.memory_bytes),
            table_elements: limits.table_elements.min(inner.ceiling.table_elements),
            ..limits
        };
        let seed = sha256.as_str().into();
        Ok(Arc::new(Program { sha256, limits, pre, seed }))
    }

    /// Queues a run. Never blocks.
    ///
    /// # Errors
    /// [`Full`] gives it back when there is no room for its carrier, or the runtime is stopping.
    pub fn submit(&self, run: Run) -> Result<(), Full> {
        self.0.floor.submit(run)
    }

    /// Runs a chain once, beside the queue and its breakers: nothing is counted, and no version rests because of it. It takes
    /// turns with the checks of uploads.
    ///
    /// # Errors
    /// [`CheckError::Host`] when the host could not run it; what the plugins did is in what it gives.
    pub async fn rehearse(&self, chain: Arc<Chain>, event: Arc<Event>) -> Result<Ran, CheckError> {
        let runtime = self.clone();
        // On a task of its own: when the caller hangs up half way, the run keeps its slot of the pool until it ends.
        let run = tokio::spawn(async move {
            let _slot = runtime.slot().await?;
            let floor = runtime.0.floor.clone();
            blocking(move || floor.rehearse(&chain, &event)).await
        });
        run.await.map_err(|error| CheckError::Host(error.to_string()))?
    }

    /// What is counted.
    pub fn metrics(&self) -> RuntimeMetrics {
        let counters = &self.0.floor.counters;
        let pool = self.0.engine.pooling_allocator_metrics();
        let slots = self.0.engine.get_pooling_config().map(|pool| pool.get_total_component_instances());
        let fault = |at: usize| (outcome::KINDS[at], counters.faults[at].load(Ordering::Relaxed));
        RuntimeMetrics {
            instances: pool.as_ref().map_or(0, |pool| pool.component_instances()),
            slots: slots.map_or(0, u64::from),
            warm_memories: pool.as_ref().map_or(0, |pool| u64::from(pool.unused_warm_memories())),
            queued: self.0.floor.queued(),
            runs: counters.runs.load(Ordering::Relaxed),
            faults: std::array::from_fn(fault),
            busy: Duration::from_nanos(counters.busy_ns.load(Ordering::Relaxed)),
        }
    }

    /// Takes no more runs, finishes those that are queued (those left after 10 s are answered with a fault of the
    /// host), and waits for the threads. It blocks: not for the threads of an asynchronous runtime.
    pub fn stop(self) {
        self.0.floor.stop();
        let threads = std::mem::take(&mut *self.0.threads.lock().unwrap_or_else(PoisonError::into_inner));
        for thread in threads {
            // A worker catches every panic of a run; should one die all the same, the others still end.
            let _ = thread.join();
        }
    }

    async fn slot(&self) -> Result<tokio::sync::SemaphorePermit<'_>, CheckError> {
        self.0.checks.acquire().await.map_err(|error| CheckError::Host(error.to_string()))
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // Without a `stop` the threads are told, and end by themselves.
        self.floor.stop();
    }
}

impl Inner {
    /// Runs the plugin on a sample event without settings, tables or destinations.
    fn smoke(&self, program: &Program) -> Result<(Duration, Vec<String>), CheckError> {
        let host = |error: crate::name::NameError| CheckError::Host(error.to_string());
        let event = Event {
            carrier: "sample".parse().map_err(host)?,
            id: "sample".parse().map_err(host)?,
            event_type: "hookyard.sample".parse().map_err(host)?,
            received: Millis(0),
            attributes: [("source".to_owned(), "/hookyard/check".to_owned())].into(),
            payload: Bytes::from_static(b"{}"),
        };
        let chain = Arc::new(Chain {
            carrier: event.carrier.clone(),
            subscription: "sample".parse().map_err(host)?,
            links: Vec::new(),
            settings: Arc::default(),
            tables: Arc::default(),
            pages: Arc::new(NoPages),
            destinations: [].into(),
            on_fault: OnFault::default(),
        });
        let _ticking = self.floor.ticker.run();
        let watch = Stopwatch::start();
        let called = call::call(program, &chain, &event, &event.payload);
        let cost = watch.elapsed();
        let mut warnings = Vec::new();
        match called.result {
            // What it makes of an event that means nothing is its own affair.
            Ok(_) | Err(Fault::Rejected(_) | Fault::Temporary(_)) => {}
            Err(fault) if called.in_start => return Err(CheckError::Start(fault)),
            Err(fault @ Fault::Deadline { .. }) => return Err(CheckError::Smoke(fault)),
            Err(fault) => {
                warnings.push(format!("on a sample event with the payload {{}} it fails: {fault}"));
            }
        }
        if cost > program.limits.wall / 2 {
            warnings.push(format!(
                "the sample event took {} ms of the {} ms that limit wall_ms allows",
                cost.as_millis(),
                program.limits.wall.as_millis()
            ));
        }
        Ok((cost, warnings))
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, CheckError> {
    tokio::task::spawn_blocking(work).await.map_err(|error| CheckError::Host(error.to_string()))
}
