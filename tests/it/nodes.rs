//! Two nodes on one PostgreSQL database: what one holds when it dies the other takes over, and what is set up at one
//! holds at both.

use std::time::Duration;

use hookyard::clock::{Clock, Stopwatch};
use hookyard::store::{Store, StoreConfig, WriterLimits};
use hookyard_tests::child::ChildHost;
use hookyard_tests::client::{self, Carrier, one};
use hookyard_tests::data::{Data, Kind};
use hookyard_tests::guests;
use hookyard_tests::sink::{Answer, Gate, Sink};
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
        Self::with(&SETTINGS, &SETTINGS).await
    }

    /// Two nodes with these settings. What is set up at the first holds at the second: nothing here waits for that.
    async fn with(first: &[(&str, &str)], second: &[(&str, &str)]) -> Self {
        let data = Data::make(Kind::Postgres).await;
        let sink = Sink::start().await;
        let first = ChildHost::start(&data, first).await;
        let folder = data.second_folder();
        let second = ChildHost::in_folder(&data, folder.path().to_owned(), second).await;
        let acme = first.admin.carrier("acme").await;
        acme.destination("claims", &sink, json!({})).await;
        acme.subscription("main", json!({ "destinations": ["claims"] })).await;
        let other = acme.at(&second.admin);
        Self { data, first, second, _folder: folder, sink, acme: [acme, other] }
    }

    async fn end(self) {
        self.first.kill().await;
        self.second.kill().await;
        self.data.end().await;
    }
}

/// The names of nodes that an answer says are behind.
fn behind(answer: &client::Answer) -> &str {
    answer.headers.get("hookyard-nodes-behind").map_or("", |names| names.to_str().unwrap())
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
    pair.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_activation_is_answered_when_the_other_node_runs_the_version() {
    let pair = Pair::start().await;
    let [acme, other] = &pair.acme;
    let first = acme.plugin("p", guests::HELLO, "?wall_ms=20000").await;
    let second = acme.upload("p", stock("redact"), "?wall_ms=20000").await.ok()["version"].clone();
    acme.subscription("main", json!({ "plugins": ["p"], "destinations": ["claims"] })).await;
    // The other node has to compile the second version first, which takes longer than a request.
    let mut posted = 0;
    for version in [&second, &first, &second, &first, &second, &first] {
        let activated = acme.activate("p", version).await;
        assert!(activated.get("warnings").is_none(), "{activated:#}");
        let id = format!("evt-{posted}");
        posted += 1;
        other.post(&id, &json!({})).await;
        let event = other.event_when(&id, "a routing", |e| e["routed"] == true).await;
        assert_eq!(&one(&event["routings"])["versions"][0]["version"], version, "{event:#}");
    }
    pair.sink.distinct(posted).await;
    other.settled().await;
    assert_eq!(pair.sink.count(), posted, "each once");
    pair.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_disabled_at_one_node_is_not_sent_to_by_the_other() {
    let pair = Pair::start().await;
    let [acme, other] = &pair.acme;
    let claims = |act: &str| acme.path(&format!("destinations/claims/{act}"));
    for n in 0..10 {
        let disabled = acme.api.post(&claims("disable"), &json!({})).await;
        assert_eq!((disabled.status, behind(&disabled)), (200, ""), "{disabled:?}");
        other.post(&format!("evt-{n}"), &json!({})).await;
        other.delivery_in(&format!("evt-{n}"), "held").await;
        assert_eq!(pair.sink.count(), n, "nothing is sent to a disabled destination");
        acme.api.post(&claims("enable"), &json!({})).await.ok();
        pair.sink.come(n + 1).await;
        other.delivery_in(&format!("evt-{n}"), "delivered").await;
    }
    // The same for what is no longer subscribed to.
    let none = json!({ "event_types": ["never"], "destinations": ["claims"] });
    acme.subscription("main", none).await;
    other.post("unwanted", &json!({})).await;
    let event = other.event_when("unwanted", "a routing", |e| e["routed"] == true).await;
    assert_eq!(event["routings"], json!([]), "{event:#}");
    assert_eq!(pair.sink.count(), 10);
    pair.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_made_at_one_node_works_at_the_other_and_a_deleted_one_does_not() {
    let pair = Pair::start().await;
    let [acme, other] = &pair.acme;
    for _ in 0..10 {
        let made = acme.api.post(&acme.path("keys"), &json!({ "name": "new" })).await.ok();
        let there = other.api.with_key(made["key"].as_str().unwrap());
        assert_eq!(there.get("/v1/carriers/me").await.ok()["id"], "acme");
        let gone = acme.api.delete(&acme.path(&format!("keys/{}", made["id"].as_str().unwrap()))).await;
        assert_eq!(gone.status, 204);
        there.get("/v1/carriers/me").await.problem(401, "unauthorized");
    }
    pair.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_node_is_waited_for_until_its_lease_lapses() {
    let pair = Pair::start().await;
    let acme = &pair.acme[0];
    pair.second.kill().await;
    let since = Stopwatch::start();
    let path = acme.path("destinations/claims/disable");
    let disabled = acme.api.post(&path, &json!({})).await;
    assert_eq!((disabled.status, behind(&disabled)), (200, ""), "it is dead, not behind: {disabled:?}");
    // The lease of two seconds, and what a busy machine takes.
    assert!(since.elapsed() < Duration::from_secs(5), "{:?}", since.elapsed());
    pair.first.kill().await;
    pair.data.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_lives_and_does_not_come_along_is_named() {
    let pair = Pair::start().await;
    let acme = &pair.acme[0];
    // As a node looks whose process is stuck: its row lives, and never says that it has applied anything.
    let node = uuid::Uuid::now_v7();
    let config = StoreConfig::Postgres { url: pair.data.database().to_owned() };
    let limits = WriterLimits { queued_events: 1, backlog_events: 1 };
    let (now, lease) = (Clock::system().now(), Duration::from_secs(600));
    let stuck = Store::open(&config, false, limits, node.into(), now, lease).await.unwrap();
    let put = json!({ "event_types": ["case.*"], "destinations": ["claims"] });
    let starting = acme.api.put(&acme.path("subscriptions/main"), &put).await;
    assert_eq!((starting.status, behind(&starting)), (200, ""), "nobody waits for one that is starting");
    stuck.publish(Some(0), &[]).await.unwrap();
    let changed = acme.api.put(&acme.path("subscriptions/main"), &put).await;
    assert_eq!((changed.status, behind(&changed)), (200, node.to_string().as_str()), "{changed:?}");
    assert!(pair.first.log().contains("nodes that live have not applied a change"), "{}", pair.first.log());
    // What changes nothing that is set up waits for nobody.
    let retried = acme.api.post(&acme.path("deliveries/retry"), &json!({ "state": "dead" })).await;
    assert_eq!(behind(&retried), "", "{retried:?}");
    stuck.close().await.unwrap();
    let alone = acme.api.put(&acme.path("subscriptions/main"), &put).await;
    assert_eq!((alone.status, behind(&alone)), (200, ""), "{alone:?}");
    pair.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_cannot_load_a_version_is_named_and_holds_its_events() {
    let small = [SETTINGS[0], SETTINGS[1], ("PLUGINS_COMPONENT_BYTES_MAX", "1024")];
    let pair = Pair::with(&SETTINGS, &small).await;
    let [acme, other] = &pair.acme;
    let uploaded = acme.upload("p", guests::HELLO, "?wall_ms=20000").await.ok();
    acme.subscription("main", json!({ "plugins": ["p"], "destinations": ["claims"] })).await;
    let path = acme.path("plugins/p/activate");
    let activated = acme.api.post(&path, &json!({ "version": uploaded["version"] })).await;
    assert_eq!((activated.status, behind(&activated)), (202, ""), "{activated:?}");
    assert_eq!(activated.body["active"], uploaded["version"], "{:#}", activated.body);
    let warning = one(&activated.body["warnings"]);
    assert!(warning.as_str().unwrap().contains("cannot load the version, holds its events"), "{warning}");
    other.post("there", &json!({})).await;
    other.routing_when("there", "held", |routing| routing["state"] == "held").await;
    // The first node goes on with what the second one holds, as soon as its own run of it goes well.
    acme.post("here", &json!({})).await;
    pair.sink.distinct(1).await;
    acme.delivery_in("here", "delivered").await;
    pair.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_stops_slowly_keeps_what_it_finishes() {
    let slow = [SETTINGS[0], SETTINGS[1], ("SERVER_STOP_SOFT_S", "600")];
    let pair = Pair::with(&slow, &SETTINGS).await;
    let [acme, other] = &pair.acme;
    let gate = Gate::default();
    let behind_gate = gate.clone();
    pair.sink.script(move |request| match request.path.as_str() {
        "/claims" => behind_gate.before(Answer::Status(200)),
        _ => Answer::Status(500),
    });
    acme.destination("later", &pair.sink, json!({})).await;
    let policy = json!({ "retry_after_ms": [5_000], "jitter_percent": 0 });
    let later = json!({ "event_types": ["later"], "destinations": ["later"], "policy": policy });
    acme.subscription("later", later).await;
    acme.subscription("main", json!({ "event_types": ["case.*"], "destinations": ["claims"] })).await;
    acme.post("slow", &json!({})).await;
    pair.sink.come(1).await;
    pair.first.terminate();
    acme.publisher.gone().await;
    // More than two leases pass until the second node has sent this twice.
    other.post_typed("twice", "later").await;
    pair.sink.come(3).await;
    assert!(!pair.second.log().contains("took over the work"), "{}", pair.second.log());
    gate.open();
    assert!(pair.first.dead().await.success());
    other.delivery_in("slow", "delivered").await;
    assert_eq!(pair.sink.count(), 3, "what was under way is sent once");
    pair.second.kill().await;
    pair.data.end().await;
}
