//! `kill -9` in each gap between two durable steps, seen from outside: nothing that was accepted is lost, and only what
//! was under way comes twice, under the same `requestid`.

use std::collections::HashSet;
use std::time::Duration;

use hookyard::clock::Stopwatch;
use hookyard_tests::child::ChildHost;
use hookyard_tests::client::{Api, Carrier};
use hookyard_tests::data::{Data, Kind};
use hookyard_tests::guests;
use hookyard_tests::on_both;
use hookyard_tests::sink::{Answer, Gate, Sink};
use serde_json::{Value, json};

on_both! {
    between_accept_and_plan,
    between_plan_and_send,
    between_send_and_answer,
    between_answer_and_record,
    again_and_again_under_load,
}

/// On SQLite a new start takes over at once, however long the lease; on PostgreSQL when the lease has lapsed.
pub(crate) fn settings(data: &Data) -> [(&'static str, &'static str); 3] {
    let lease = if data.kind() == Kind::Sqlite { "300" } else { "2" };
    [("STORE_LEASE_S", lease), ("LOG_LEVEL", "info"), ("PLUGINS_WALL_MS_MAX", "60000")]
}

/// How long after a restart everything must have come: generous, since tests share the machine; far less than a lease
/// of 300 s.
fn soon(data: &Data) -> Duration {
    Duration::from_secs(if data.kind() == Kind::Sqlite { 6 } else { 10 })
}

async fn furnish(admin: &Api, sink: &Sink, destination: Value) -> Carrier {
    let acme = admin.carrier("acme").await;
    acme.destination("claims", sink, destination).await;
    acme.subscription("main", json!({ "destinations": ["claims"] })).await;
    acme
}

async fn post_many(acme: &Carrier, ids: impl Iterator<Item = String>) {
    let one = |id| json!({ "carrier": "acme", "id": id, "type": "case.closed", "payload": {} });
    let batch: Vec<_> = ids.map(one).collect();
    acme.publisher.post("/v1/events", &Value::Array(batch)).await.ok();
}

/// The `requestid`s that came more than once.
fn repeated(sink: &Sink) -> HashSet<String> {
    sink.times().into_iter().filter(|(_, n)| *n > 1).map(|(id, _)| id).collect()
}

fn came(sink: &Sink) -> HashSet<String> {
    sink.times().into_keys().collect()
}

async fn between_accept_and_plan(data: &Data) {
    let sink = Sink::start().await;
    let host = ChildHost::start(data, &settings(data)).await;
    let acme = furnish(&host.admin, &sink, json!({})).await;
    acme.plugin("hostile", guests::HOSTILE, "?wall_ms=60000").await;
    acme.subscription("main", json!({ "plugins": ["hostile"], "destinations": ["claims"] })).await;
    // The plugin is still busy with them when the process dies.
    for n in 0..4 {
        acme.post(&format!("evt-{n}"), &json!({ "do": "spin", "with": 200_000_000 })).await;
    }
    host.kill().await;
    assert_eq!(sink.count(), 0, "the plugin was quicker than the test");

    let since = Stopwatch::start();
    let host = ChildHost::start(data, &settings(data)).await;
    sink.distinct(4).await;
    let acme = acme.at(&host.admin);
    acme.settled().await;
    assert!(since.elapsed() < soon(data), "{:?}", since.elapsed());
    assert_eq!(sink.count(), 4, "nothing had been sent, so nothing is repeated");
    for n in 0..4 {
        let delivery = acme.delivery(&format!("evt-{n}")).await;
        assert_eq!((&delivery["state"], &delivery["attempts_made"]), (&json!("delivered"), &json!(1)));
    }
    host.kill().await;
}

async fn between_plan_and_send(data: &Data) {
    let sink = Sink::start().await;
    let gate = Gate::default();
    sink.answer(gate.before(Answer::Status(200)));
    let host = ChildHost::start(data, &settings(data)).await;
    let acme = furnish(&host.admin, &sink, json!({ "concurrency": 1 })).await;
    post_many(&acme, (0..30).map(|n| format!("evt-{n}"))).await;
    // One is under way; the others are planned and wait behind it.
    sink.come(1).await;
    let planned = acme.path("deliveries?limit=500&state=pending");
    acme.get_when(&planned, "30 deliveries", |found| found["items"].as_array().unwrap().len() == 30).await;
    host.kill().await;
    let under_way = came(&sink);
    assert_eq!(under_way.len(), 1);

    gate.open();
    let since = Stopwatch::start();
    let host = ChildHost::start(data, &settings(data)).await;
    sink.distinct(30).await;
    acme.at(&host.admin).settled().await;
    assert!(since.elapsed() < soon(data), "{:?}", since.elapsed());
    assert_eq!(repeated(&sink), under_way, "what was under way comes again, and nothing else");
    assert_eq!(sink.count(), 31);
    host.kill().await;
}

async fn between_send_and_answer(data: &Data) {
    let sink = Sink::start().await;
    let host = ChildHost::start(data, &settings(data)).await;
    let acme = furnish(&host.admin, &sink, json!({ "concurrency": 10 })).await;
    post_many(&acme, (0..10).map(|n| format!("done-{n}"))).await;
    sink.come(10).await;
    acme.settled().await;
    let done = came(&sink);

    sink.answer(Answer::Hang);
    post_many(&acme, (0..10).map(|n| format!("evt-{n}"))).await;
    sink.come(20).await;
    let under_way: HashSet<String> = came(&sink).difference(&done).cloned().collect();
    host.kill().await;

    sink.answer(Answer::Status(200));
    let since = Stopwatch::start();
    let host = ChildHost::start(data, &settings(data)).await;
    sink.come(30).await;
    let acme = acme.at(&host.admin);
    acme.settled().await;
    assert!(since.elapsed() < soon(data), "{:?}", since.elapsed());
    assert_eq!(repeated(&sink), under_way, "what was under way comes again under its own id");
    assert_eq!(sink.count(), 30);
    // The attempt whose answer nobody saw is not in the log.
    let delivery = acme.delivery("evt-0").await;
    assert_eq!((&delivery["state"], &delivery["attempts_made"]), (&json!("delivered"), &json!(1)));
    host.kill().await;
}

async fn between_answer_and_record(data: &Data) {
    let sink = Sink::start().await;
    let host = ChildHost::start(data, &settings(data)).await;
    let acme = furnish(&host.admin, &sink, json!({})).await;
    post_many(&acme, (0..10).map(|n| format!("done-{n}"))).await;
    sink.come(10).await;
    acme.settled().await;
    let done = came(&sink);
    // The receiver answers, and at that instant the host is gone.
    sink.answer(Answer::Then(200, host.killer()));
    acme.post("evt", &json!({})).await;
    host.dead().await;

    sink.answer(Answer::Status(200));
    let since = Stopwatch::start();
    let host = ChildHost::start(data, &settings(data)).await;
    let acme = acme.at(&host.admin);
    acme.settled().await;
    assert!(since.elapsed() < soon(data), "{:?}", since.elapsed());
    let delivery = acme.delivery("evt").await;
    assert_eq!((&delivery["state"], &delivery["attempts_made"]), (&json!("delivered"), &json!(1)));
    // Whether the record was quicker than the kill is nobody's to say; the receiver knows the id in any case.
    let id = delivery["id"].as_str().unwrap();
    let times = sink.times();
    assert!(times[id] <= 2, "{times:?}");
    assert!(repeated(&sink).is_disjoint(&done), "what was recorded is not repeated");
    host.kill().await;
}

async fn again_and_again_under_load(data: &Data) {
    let sink = Sink::start().await;
    let mut host = ChildHost::start(data, &settings(data)).await;
    let acme = furnish(&host.admin, &sink, json!({ "concurrency": 20 })).await;
    acme.plugin("redact", crate::way::stock("redact"), "?wall_ms=900").await;
    acme.subscription("main", json!({ "plugins": ["redact"], "destinations": ["claims"] })).await;

    let mut accepted: HashSet<String> = HashSet::new();
    for round in 0..3 {
        let settled = came(&sink);
        let before = sink.count();
        // Four publishers post until nobody answers any more.
        let mut publishers = tokio::task::JoinSet::new();
        for publisher in 0..4 {
            let api = host.admin.clone();
            publishers.spawn(async move {
                let mut accepted = Vec::new();
                for n in 0.. {
                    let id = format!("evt-{round}-{publisher}-{n}");
                    let event = json!({ "carrier": "acme", "id": id, "type": "case.closed",
                        "payload": { "n": id, "customer": { "email": "a@b.test" } } });
                    let headers = [("content-type", "application/json")];
                    let body = event.to_string().into();
                    match api.try_call(reqwest::Method::POST, "/v1/events", &headers, body).await {
                        Ok(answer) if answer.status == 202 => accepted.push(id),
                        Ok(answer) => panic!("{} {:#}", answer.status, answer.body),
                        Err(_) => break,
                    }
                }
                accepted
            });
        }
        // Each round dies somewhere else: on an answer, after more and more of them.
        let (killer, at) = (host.killer(), before + 40 + 130 * round);
        let count = std::sync::atomic::AtomicUsize::new(before);
        sink.script(move |_| {
            let n = count.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            if n == at { Answer::Then(200, killer.clone()) } else { Answer::Status(200) }
        });
        host.dead().await;
        accepted.extend(publishers.join_all().await.into_iter().flatten());
        let under_way: HashSet<String> = came(&sink).difference(&settled).cloned().collect();

        sink.answer(Answer::Status(200));
        host = ChildHost::start(data, &settings(data)).await;
        acme.at(&host.admin).settled_events().await;
        let missing: Vec<_> = {
            let arrived: HashSet<String> =
                sink.requests().iter().map(|r| r.json()["n"].as_str().unwrap().to_owned()).collect();
            accepted.difference(&arrived).cloned().collect()
        };
        assert!(missing.is_empty(), "accepted and lost: {missing:?}");
        let late: Vec<_> = repeated(&sink).into_iter().filter(|id| settled.contains(id)).collect();
        assert!(late.iter().all(|id| sink.times()[id] <= 2), "{late:?}");
        let fresh: HashSet<_> = repeated(&sink).difference(&settled).cloned().collect();
        assert!(fresh.is_subset(&under_way), "repeated though it was not under way");
    }
    assert!(accepted.len() > 100, "a load of {}", accepted.len());
    host.kill().await;
}
