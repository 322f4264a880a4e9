//! A plugin runtime for tests: its own folder of artifacts, the built binary as compiler, and runs that are awaited.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hookyard::carrier::{DestinationKind, Limits, OnFault};
use hookyard::clock::{Clock, Millis};
use hookyard::event::Event;
use hookyard::plugin::{BreakerConfig, Chain, Link, NoPages, Program, Ran, Run, Runtime, RuntimeConfig};

/// When the test's events were received.
pub const RECEIVED: Millis = Millis(1_761_300_000_123);

/// A runtime that goes away with its folder.
pub struct Wasm {
    /// The runtime.
    pub runtime: Runtime,
    /// The clock that its breakers use.
    pub clock: Clock,
    /// Where its artifacts are.
    pub folder: tempfile::TempDir,
}

impl Wasm {
    /// With two threads and the design's limits.
    pub fn start() -> Self {
        Self::with(|_| ())
    }

    /// With a configuration that the test changes.
    pub fn with(change: impl FnOnce(&mut RuntimeConfig)) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let mut config = RuntimeConfig::new(2, folder.path().join("artifacts"), binary());
        config.ceiling.wall = Duration::from_secs(60);
        change(&mut config);
        let clock = Clock::manual(RECEIVED);
        let runtime = Runtime::start(config, clock.clone()).expect("the runtime starts");
        Self { runtime, clock, folder }
    }

    /// A version that is ready to run. Its deadline is generous, since tests share the machine.
    pub async fn load(&self, component: impl Into<Bytes>) -> Arc<Program> {
        self.load_with(component, generous()).await
    }

    /// A version with these limits.
    pub async fn load_with(&self, component: impl Into<Bytes>, limits: Limits) -> Arc<Program> {
        self.runtime.load(component.into(), limits).await.expect("it loads")
    }

    /// Runs one event and waits for the answer.
    pub async fn run(&self, chain: &Arc<Chain>, payload: &str) -> Ran {
        self.begin(chain, event("1", payload)).await.expect("the run is answered")
    }

    /// Queues one event; the answer comes later.
    pub fn begin(&self, chain: &Arc<Chain>, event: Event) -> tokio::sync::oneshot::Receiver<Ran> {
        let (answer, answered) = tokio::sync::oneshot::channel();
        let done = Box::new(move |ran| {
            // A test that has ended does not listen any more.
            let _ = answer.send(ran);
        });
        let run = Run { event: Arc::new(event), chain: chain.clone(), done };
        self.runtime.submit(run).expect("there is room");
        answered
    }
}

/// The design's limits with a deadline that a busy machine does not miss.
pub fn generous() -> Limits {
    Limits { wall: Duration::from_secs(20), ..Limits::default() }
}

/// A breaker that never opens.
pub fn no_breaker() -> BreakerConfig {
    BreakerConfig { faults: u32::MAX, window: Duration::from_secs(1), rest: Duration::from_secs(1) }
}

/// An event of the carrier `acme`.
pub fn event(id: &str, payload: &str) -> Event {
    Event {
        carrier: "acme".parse().expect("a name"),
        id: id.parse().expect("an id"),
        event_type: "case.closed".parse().expect("a type"),
        received: RECEIVED,
        attributes: [("source".to_owned(), "/tests".to_owned())].into(),
        payload: Bytes::copy_from_slice(payload.as_bytes()),
    }
}

/// A chain of one carrier through these programs, each the plugin `pN` in version 1, granted the destination `claims`.
pub fn chain(carrier: &str, programs: &[&Arc<Program>]) -> Chain {
    let link = |(n, program): (usize, &&Arc<Program>)| Link {
        plugin: format!("p{n}").parse().expect("a name"),
        version: 1,
        program: (*program).clone(),
        previous: None,
    };
    let brands = Arc::new(BTreeMap::from([("QB".to_owned(), "Quay".to_owned())]));
    Chain {
        carrier: carrier.parse().expect("a name"),
        subscription: "main".parse().expect("a name"),
        links: programs.iter().enumerate().map(link).collect(),
        settings: Arc::new(BTreeMap::from([("suffix".to_owned(), "set".to_owned())])),
        tables: Arc::new(BTreeMap::from([("brands".parse().expect("a name"), brands)])),
        pages: Arc::new(NoPages),
        destinations: [("claims".parse().expect("a name"), DestinationKind::Http)].into(),
        on_fault: OnFault::Hold,
    }
}

/// The built binary, which stands beside the folder of the test's own.
///
/// # Panics
/// When it was not built.
pub fn binary() -> PathBuf {
    let test = std::env::current_exe().expect("the test's own path");
    let path = test.ancestors().nth(2).expect("target/PROFILE/deps/TEST").join("hookyard");
    assert!(path.exists(), "{} is missing: run `cargo build -p hookyard` first", path.display());
    path
}

/// A line of what the system says of this process, in bytes: `VmRSS` is the memory that it has now, `VmHWM` the most
/// that it ever had.
pub fn memory(line: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux says it");
    let value = status.lines().find_map(|text| text.strip_prefix(line)?.strip_prefix(':'));
    let kib = value.and_then(|text| text.trim().strip_suffix(" kB")).expect("a number of kB");
    kib.parse::<u64>().expect("a number") << 10
}
