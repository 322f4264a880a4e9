//! What a plugin's call costs, layer by layer, beside the same work done natively.
//!
//! `cargo build --release -p hookyard && cargo bench -p hookyard-tests --bench plugin_call`. Ratios count; absolute
//! times drift with the machine. The targets: a fresh call within 3.5 × native, two threads 1.8 × the throughput of one.

#[path = "../guests/transform/src/edit.rs"]
mod edit;

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use hookyard::carrier::Limits;
use hookyard::clock::Stopwatch;
use hookyard::event::Event;
use hookyard::plugin::{Chain, Outcome, Run};
use hookyard_tests::guests;
use hookyard_tests::wasm::{Wasm, chain, event};

const CALLS: u32 = 4_000;
const ROUNDS: usize = 9;

/// The median over rounds of the mean of a call, in microseconds.
fn measure(mut calls: impl FnMut(u32)) -> f64 {
    calls(CALLS / 4);
    let mut rounds: Vec<f64> = (0..ROUNDS)
        .map(|_| {
            let watch = Stopwatch::start();
            calls(CALLS);
            watch.elapsed().as_secs_f64() * 1e6 / f64::from(CALLS)
        })
        .collect();
    rounds.sort_by(f64::total_cmp);
    rounds[ROUNDS / 2]
}

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

/// All of `CALLS` runs through the queue; one callback counts.
fn through_queue(wasm: &Wasm, chain: &Arc<Chain>, event: &Arc<Event>, calls: u32) {
    let (ended, end) = std::sync::mpsc::channel();
    let left = Arc::new(AtomicU32::new(calls));
    for _ in 0..calls {
        let (left, ended) = (left.clone(), ended.clone());
        let done = Box::new(move |ran: hookyard::plugin::Ran| {
            assert!(ran.result.is_ok());
            if left.fetch_sub(1, Ordering::AcqRel) == 1 {
                ended.send(()).expect("the bench waits");
            }
        });
        wasm.runtime.submit(Run { event: event.clone(), chain: chain.clone(), done }).expect("there is room");
    }
    end.recv().expect("the runs end");
}

fn main() {
    let payload = payload();
    let event = Arc::new(event("evt-1", &payload));
    let tokio = tokio::runtime::Runtime::new().expect("a runtime");
    let start = |threads| {
        let wasm = Wasm::with(|config| config.threads = threads);
        let limits = Limits { wall: Duration::from_secs(10), ..Limits::default() };
        let program = tokio.block_on(wasm.load_with(guests::TRANSFORM, limits));
        (wasm, Arc::new(chain("acme", &[&program])), program)
    };
    let (one, acme, program) = start(1);
    let ran = one.runtime.ticking(|| one.runtime.run_here(&acme, &event));
    let Ok(Outcome::Deliver(_)) = ran.result else { panic!("{ran:?}") };
    println!("payload {} bytes, component {} bytes", payload.len(), guests::TRANSFORM.len());

    let native = measure(|calls| {
        for _ in 0..calls {
            black_box(edit::edit(black_box(payload.as_bytes()), black_box("Quay")).expect("it is JSON"));
        }
    });
    let line = |what: &str, cost: f64| println!("{what:<44} {cost:>8.2} µs  {:>5.2} × native", cost / native);
    line("the same function, native", native);
    one.runtime.ticking(|| {
        line("call of an instance that is reused", measure(|n| program.call_reused(&acme, &event, n)));
        let empty = measure(|n| (0..n).for_each(|_| program.instantiate_only(&acme, &event)));
        line("store, instance, drop", empty);
        line("fresh call", measure(|n| (0..n).for_each(|_| program.call_only(&acme, &event))));
        let whole = measure(|n| {
            for _ in 0..n {
                assert!(one.runtime.run_here(&acme, &event).result.is_ok());
            }
        });
        line("fresh call, verdict checked", whole);
    });
    let single = measure(|n| through_queue(&one, &acme, &event, n));
    line("through the queue, 1 thread", single);
    let (two, acme, _) = start(2);
    let double = measure(|n| through_queue(&two, &acme, &event, n));
    line("through the queue, 2 threads", double);
    println!("1 thread {:.0}/s, 2 threads {:.0}/s: {:.2} ×", 1e6 / single, 1e6 / double, single / double);
}
