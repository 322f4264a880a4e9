//! A carrier whose plugin does every harm that it can, beside one that wants its events delivered.

use std::time::Duration;

use hookyard::clock::Stopwatch;
use hookyard_tests::child::ChildHost;
use hookyard_tests::data::Data;
use hookyard_tests::guests;
use hookyard_tests::sink::Sink;
use serde_json::{Value, json};

use crate::way::stock;

/// What the process may hold: the engine, two instances of 32 MiB, and whatever a debug build takes.
const MEMORY_MIB: u64 = 400;
/// How long one event may take beside all that; alone it takes a few milliseconds.
const DELAY: Duration = Duration::from_secs(5);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hostile_carrier_does_not_hold_up_another() {
    let data = Data::sqlite().await;
    // Its breaker would end the harm soon: it must hold without.
    let settings = [("PLUGINS_BREAKER_FAULTS", "1000000"), ("PLUGINS_THREADS", "2"), ("LOG_LEVEL", "error")];
    let host = ChildHost::start(&data, &settings).await;
    let sink = Sink::start().await;
    let mallory = host.admin.carrier("mallory").await;
    mallory.destination("claims", &sink, json!({})).await;
    mallory.plugin("hostile", guests::HOSTILE, "?wall_ms=50").await;
    mallory.subscription("main", json!({ "plugins": ["hostile"], "destinations": ["claims"] })).await;
    let acme = host.admin.carrier("acme").await;
    acme.destination("claims", &sink, json!({})).await;
    acme.plugin("redact", stock("redact"), "?wall_ms=1000").await;
    acme.subscription("main", json!({ "plugins": ["redact"], "destinations": ["claims"] })).await;

    // Some 15 s of a core for the loops alone.
    let harms = [
        json!({ "do": "loop" }),
        json!({ "do": "memory" }),
        json!({ "do": "recurse" }),
        json!({ "do": "log", "with": 100_000 }),
        json!({ "do": "output", "with": 30_000_000 }),
        json!({ "do": "trap" }),
        json!({ "do": "loop" }),
    ];
    for round in 0..6 {
        let one = |n: usize| {
            json!({ "carrier": "mallory", "id": format!("m-{round}-{n}"), "type": "harm",
            "payload": harms[n % harms.len()] })
        };
        let batch: Vec<Value> = (0..harms.len() * 10).map(one).collect();
        host.admin.post("/v1/events", &Value::Array(batch)).await.ok();
    }

    let mut worst = Duration::ZERO;
    let mut most = 0;
    for n in 0..30 {
        let since = Stopwatch::start();
        let id = format!("evt-{n}");
        acme.post(&id, &json!({ "n": n, "email": "a@b.test" })).await;
        sink.wait("the neighbour's event", |all| all.iter().any(|r| r.header("eventid") == id)).await;
        worst = worst.max(since.elapsed());
        most = most.max(host.rss_mib());
    }
    let open = mallory.api.get(&mallory.path("events?limit=500")).await.ok();
    let waits = open["items"].as_array().unwrap().iter().filter(|e| e["routed"] == false).count();
    println!("the slowest took {worst:?} beside {waits} harmful events, the host held {most} MiB");
    assert!(worst < DELAY, "{worst:?}");
    assert!(most < MEMORY_MIB, "{most} MiB");
    assert!(waits > 0, "the harm was over before the neighbour was done: the test says nothing");
    acme.settled().await;
    host.kill().await;
}
