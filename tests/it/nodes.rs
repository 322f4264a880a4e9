//! Two nodes on one PostgreSQL database: what one holds when it dies the other takes over, and what is set up at one
//! holds at both.

use std::time::Duration;

use hookyard::clock::Stopwatch;
use hookyard_tests::child::ChildHost;
use hookyard_tests::client::{Carrier, one};
use hookyard_tests::data::{Data, Kind};
use hookyard_tests::guests;
use hookyard_tests::sink::{Answer, Sink};
use serde_json::json;

use crate::way::stock;

const SETTINGS: [(&str, &str); 2] = [("STORE_LEASE_S", "2"), ("PLUGINS_WALL_MS_MAX", "60000")];

struct Pair {
    data: Data,
    first: ChildHost,
    second: ChildHost,
    _folder: tempfile::TempDir,
    sink: Sink,
    /// The carrier at the first node, and at the second.
    acme: [Carrier; 2],
}

impl Pair {
    async fn start() -> Self {
        let data = Data::make(Kind::Postgres).await;
        let sink = Sink::start().await;
        let first = ChildHost::start(&data, &SETTINGS).await;
        let folder = data.second_folder();
        let second = ChildHost::in_folder(&data, folder.path().to_owned(), &SETTINGS).await;
        let acme = first.admin.carrier("acme").await;
        acme.destination("claims", &sink, json!({})).await;
        acme.subscription("main", json!({ "destinations": ["claims"] })).await;
        let other = acme.at(&second.admin);
        let pair = Self { data, first, second, _folder: folder, sink, acme: [acme, other] };
        pair.agreed().await;
        pair
    }

    /// Waits until the second node knows what was set up at the first, and forgets what it took to find out.
    async fn agreed(&self) {
        let admin = self.second.admin.of("acme");
        let mut beat = tokio::time::interval(Duration::from_millis(10));
        for n in 0..1_000 {
            beat.tick().await;
            let id = format!("probe-{n}");
            // Until then the carrier, or its subscription, is not known there.
            if admin.try_post(&id, &json!({})).await.status != 202 {
                continue;
            }
            let event = admin.event_when(&id, "a routing", |e| e["routed"] == true).await;
            if event["routings"].as_array().is_some_and(|all| !all.is_empty()) {
                admin.delivery_in(&id, "delivered").await;
                self.sink.forget();
                let known = |answer: &serde_json::Value| answer["id"] == "acme";
                return drop(self.acme[1].get_when("/v1/carriers/me", "the carrier's key", known).await);
            }
        }
        panic!("the second node never hears of the carrier");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_takes_over_the_work_of_one_that_was_killed() {
    let pair = Pair::start().await;
    let acme = &pair.acme[0];
    acme.plugin("hostile", guests::HOSTILE, "?wall_ms=60000").await;
    let slow = json!({ "event_types": ["slow"], "plugins": ["hostile"], "destinations": ["claims"] });
    acme.subscription("slow", slow).await;
    acme.subscription("main", json!({ "event_types": ["case.*"], "destinations": ["claims"] })).await;
    // Ten under way to a receiver that says nothing, twenty behind them, and three in a plugin.
    pair.sink.answer(Answer::Hang);
    for n in 0..30 {
        acme.post(&format!("evt-{n}"), &json!({})).await;
    }
    pair.sink.come(10).await;
    for n in 0..3 {
        let event = json!({ "carrier": "acme", "id": format!("slow-{n}"), "type": "slow",
            "payload": { "do": "spin", "with": 200_000_000 } });
        acme.publisher.post("/v1/events", &event).await.ok();
    }
    let since = Stopwatch::start();
    pair.first.kill().await;
    let under_way = pair.sink.count();
    pair.sink.answer(Answer::Status(200));
    pair.sink.distinct(33).await;
    // The lease of two seconds, a third of it until somebody looks, and the plugin's own time.
    assert!(since.elapsed() < Duration::from_secs(12), "{:?}", since.elapsed());
    let acme = pair.second.admin.of("acme");
    acme.settled().await;
    assert_eq!(pair.sink.count(), under_way + 33, "what was under way comes again, and nothing else");
    assert!(pair.second.log().contains("took over the work"), "{}", pair.second.log());
    pair.second.kill().await;
    pair.data.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_stops_in_order_leaves_its_work_at_once() {
    let pair = Pair::start().await;
    let acme = &pair.acme[0];
    pair.sink.answer(Answer::Status(500));
    acme.subscription(
        "main",
        json!({ "destinations": ["claims"], "policy": { "retry_after_ms": [500], "jitter_percent": 0 } }),
    )
    .await;
    acme.post("evt", &json!({})).await;
    pair.sink.come(1).await;
    pair.first.terminate();
    assert!(pair.first.dead().await.success());
    pair.sink.answer(Answer::Status(200));
    pair.sink.come(2).await;
    let acme = pair.second.admin.of("acme");
    assert_eq!(acme.delivery_in("evt", "delivered").await["attempts_made"], 2);
    pair.second.kill().await;
    pair.data.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_nodes_share_the_load_and_every_event_is_sent_once() {
    let pair = Pair::start().await;
    let mut publishers = tokio::task::JoinSet::new();
    for (node, acme) in pair.acme.iter().enumerate() {
        let acme = acme.clone();
        publishers.spawn(async move {
            for n in 0..150 {
                acme.post(&format!("evt-{node}-{n}"), &json!({})).await;
            }
            // The other node's events are known to this one.
            acme.try_post("evt-0-0", &json!({ "n": 1 })).await
        });
    }
    let last = publishers.join_all().await;
    assert!(last.iter().any(|answer| answer.status == 409), "{last:?}");
    pair.sink.distinct(300).await;
    pair.acme[0].settled_events().await;
    assert_eq!(pair.sink.count(), 300, "each once");
    pair.first.kill().await;
    pair.second.kill().await;
    pair.data.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_activation_at_one_node_comes_to_the_other() {
    let pair = Pair::start().await;
    let [acme, other] = &pair.acme;
    let first = acme.plugin("p", guests::HELLO, "?wall_ms=20000").await;
    let second = acme.upload("p", stock("redact"), "?wall_ms=20000").await.ok()["version"].clone();
    acme.subscription("main", json!({ "plugins": ["p"], "destinations": ["claims"] })).await;
    // The other node hears of it a little later; what comes in before that meets what was there.
    let mut posted = 0;
    for version in [&first, &second, &first] {
        acme.activate("p", version).await;
        let mut beat = tokio::time::interval(Duration::from_millis(10));
        loop {
            beat.tick().await;
            let id = format!("evt-{posted}");
            posted += 1;
            other.post(&id, &json!({})).await;
            let event = other.event_when(&id, "a routing", |e| e["routed"] == true).await;
            let versions = &one(&event["routings"])["versions"];
            if &versions[0]["version"] == version {
                break;
            }
            assert!(posted < 1_000, "the other node never hears of version {version}");
        }
    }
    pair.sink.distinct(posted).await;
    other.settled().await;
    assert_eq!(pair.sink.count(), posted, "each once");
    pair.first.kill().await;
    pair.second.kill().await;
    pair.data.end().await;
}
