//! What a plugin's call costs, layer by layer, beside the same work done natively.
//!
//! `cargo build --release -p hookyard && cargo bench -p hookyard-tests --bench plugin_call`. Ratios count; absolute
//! times drift with the machine. The targets: a fresh call within 3.5 × native, two threads 1.8 × the throughput of one.

#[path = "../guests/transform/src/edit.rs"]
mod edit;
#[path = "plugin_call/ratios.rs"]
mod ratios;

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, SamplingMode, Throughput};
use hookyard::carrier::Limits;
use hookyard::event::Event;
use hookyard::plugin::measure::Texts;
use hookyard::plugin::{Chain, Outcome, Program, Ran, Run};
use hookyard_tests::guests;
use hookyard_tests::wasm::{Wasm, chain, event};

/// The host's own allocator: with the system's, what is measured with two threads is its locks.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Calls that are measured together where threads share them: less than half of the runtime's queue, which is what
/// one carrier may fill.
const BURST: usize = 4_000;

/// About 1 KB of JSON, such as the platform sends.
fn payload() -> String {
    let items: Vec<String> = (0..6)
        .map(|n| {
            format!(
                r#"{{"line":{n},"code":"REP-{n}00","text":"part {n}, left side","net":1{n}9.5,"done":false}}"#
            )
        })
        .collect();
    format!(
        r#"{{"claim":"2025-000{}","state":"WI","line_of_business":"motor","opened":"2025-10-24T10:00:00Z",
        "customer":{{"name":"A. Example","phone":"+1 555 0100","email":"a@example.test","address":{{"street":"Main 1",
        "city":"Madison","zip":"53703"}}}},"vehicle":{{"vin":"1HGCM82633A004352","year":2019,"miles":45120,"drivable":true}},
        "items":[{}],"notes":["first","second with \"quotes\" and ü"],"total":1234.56}}"#,
        1,
        items.join(",")
    )
}

/// The plugin on one runtime of `threads` threads, and its event.
struct Bed {
    wasm: Wasm,
    program: Arc<Program>,
    chain: Arc<Chain>,
    event: Arc<Event>,
    /// One for each call of a burst, as they come: threads that share an event would wait for its counter.
    events: Vec<Arc<Event>>,
    threads: usize,
}

impl Bed {
    fn make(threads: usize) -> Self {
        let wasm = Wasm::with(|config| config.threads = threads);
        let limits = Limits { wall: Duration::from_secs(10), ..Limits::default() };
        let tokio = tokio::runtime::Runtime::new().expect("a runtime");
        let program = tokio.block_on(wasm.load_with(guests::TRANSFORM, limits));
        let chain = Arc::new(chain("acme", &[&program]));
        let payload = payload();
        let events: Vec<_> = (0..BURST).map(|n| Arc::new(event(&format!("evt-{n}"), &payload))).collect();
        Self { wasm, program, chain, event: events[0].clone(), events, threads }
    }

    /// The same work as the plugin's, without a plugin.
    fn native(&self, event: &Event) {
        let edited = edit::edit(black_box(&event.payload), black_box("Quay")).expect("it is JSON");
        black_box(edited);
    }

    /// A burst of these calls on as many threads as the runtime has, without its queue.
    fn burst(&self, call: impl Fn(&Event) + Sync) {
        let call = &call;
        std::thread::scope(|scope| {
            for events in self.events.chunks(BURST / self.threads) {
                scope.spawn(move || events.iter().for_each(|event| call(event)));
            }
        });
    }

    /// The component that is no plugin.
    fn texts(&self) -> Texts {
        self.wasm.runtime.texts(guests::TEXTS, "edit", &self.program)
    }

    fn typed_call(&self, texts: &Texts) {
        let payload = std::str::from_utf8(&self.event.payload).expect("it is text");
        black_box(texts.call(&self.chain, &self.event, payload, "Quay"));
    }

    fn fresh_call(&self, event: &Event) {
        self.program.call_only(&self.chain, event);
    }

    /// A run as a worker does it: the call, and its verdict checked.
    fn run(&self, event: &Event) {
        let ran = self.wasm.runtime.run_here(&self.chain, event);
        let Ok(Outcome::Deliver(_)) = ran.result else { panic!("{ran:?}") };
    }

    /// A burst of runs through the queue; the last callback ends it.
    fn queue_burst(&self) {
        let (ended, end) = std::sync::mpsc::channel();
        let left = Arc::new(AtomicUsize::new(BURST));
        for event in &self.events {
            let (left, ended) = (left.clone(), ended.clone());
            let done = Box::new(move |ran: Ran| {
                assert!(ran.result.is_ok());
                if left.fetch_sub(1, Ordering::AcqRel) == 1 {
                    ended.send(()).expect("the bench waits");
                }
            });
            let run = Run { event: event.clone(), chain: self.chain.clone(), done };
            self.wasm.runtime.submit(run).expect("there is room");
        }
        end.recv().expect("the runs end");
    }
}

/// One call on this thread, each layer with what the one before it leaves out.
fn layers(c: &mut Criterion, bed: &Bed) {
    let texts = bed.texts();
    let mut group = c.benchmark_group("call");
    group.throughput(Throughput::Elements(1));
    group.bench_function("native", |b| b.iter(|| bed.native(&bed.event)));
    bed.wasm.runtime.ticking(|| {
        group.bench_function("instance", |b| {
            b.iter(|| bed.program.instantiate_only(&bed.chain, &bed.event));
        });
        group.bench_function("typed call with texts", |b| b.iter(|| bed.typed_call(&texts)));
        group.bench_function("whole contract", |b| b.iter(|| bed.fresh_call(&bed.event)));
        group.bench_function("whole contract, verdict checked", |b| b.iter(|| bed.run(&bed.event)));
        group.bench_function("whole contract, instance reused", |b| {
            b.iter_custom(|calls| {
                let watch = hookyard::clock::Stopwatch::start();
                bed.program.call_reused(&bed.chain, &bed.event, calls);
                watch.elapsed()
            });
        });
    });
    group.finish();
}

/// Bursts on one thread and on two.
fn threads(c: &mut Criterion, beds: &[Bed]) {
    let mut group = c.benchmark_group("threads");
    group.throughput(Throughput::Elements(BURST as u64)).sampling_mode(SamplingMode::Flat).sample_size(30);
    for bed in beds {
        let id = |what| BenchmarkId::new(what, bed.threads);
        group.bench_function(id("native"), |b| b.iter(|| bed.burst(|event| bed.native(event))));
        bed.wasm.runtime.ticking(|| {
            group.bench_function(id("whole contract"), |b| b.iter(|| bed.burst(|event| bed.run(event))));
        });
        group.bench_function(id("through the queue"), |b| b.iter(|| bed.queue_burst()));
    }
    group.finish();
}

fn main() {
    let beds = [1, 2].map(Bed::make);
    let mut criterion = Criterion::default().without_plots().configure_from_args();
    layers(&mut criterion, &beds[0]);
    threads(&mut criterion, &beds);
    criterion.final_summary();
    // A test of the benches runs each of them once and measures nothing; who names one wants that one.
    let mut args = std::env::args().skip(1).peekable();
    if args.peek().is_some() && args.all(|arg| arg == "--bench" || arg == "ratios") {
        ratios::report(&beds);
    }
}
