//! Destinations side by side: what one of them does to its receiver's deliveries, and never to another's.

use std::time::Duration;

use hookyard_tests::client::Carrier;
use hookyard_tests::data::Data;
use hookyard_tests::host::TestHost;
use hookyard_tests::sink::{Answer, Gate, Sink};
use serde_json::{Value, json};

/// A carrier with a subscription of its own for each destination, by event type.
async fn carrier(host: &TestHost, sink: &Sink, destinations: &[(&str, Value)], policy: Value) -> Carrier {
    let acme = host.admin.carrier("acme").await;
    for (name, more) in destinations {
        acme.destination(name, sink, more.clone()).await;
        let types = json!([format!("to.{name}")]);
        let more = json!({ "event_types": types, "destinations": [name], "policy": policy });
        acme.subscription(name, more).await;
    }
    acme
}

async fn post(acme: &Carrier, to: &str, count: usize) {
    let one = |n| json!({ "carrier": "acme", "id": format!("{to}-{n}"), "type": format!("to.{to}"), "payload": {} });
    let batch: Vec<_> = (0..count).map(one).collect();
    acme.publisher.post("/v1/events", &Value::Array(batch)).await.ok();
}

fn to(sink: &Sink, path: &str) -> usize {
    sink.requests().iter().filter(|r| r.path == path).count()
}

async fn come(sink: &Sink, path: &str, n: usize) {
    sink.wait(&format!("{n} to {path}"), |all| all.iter().filter(|r| r.path == path).count() >= n).await;
}

#[tokio::test]
async fn a_rate_is_kept_on_the_clock() {
    let data = Data::sqlite().await;
    let host = TestHost::on_manual_clock(&data).await;
    let sink = Sink::start().await;
    let slow = [("slow", json!({ "rate_per_minute": 3 })), ("other", json!({}))];
    let acme = carrier(&host, &sink, &slow, json!({})).await;
    post(&acme, "slow", 7).await;
    for (passed, others) in [(3, 1), (6, 2), (7, 3)] {
        come(&sink, "/slow", passed).await;
        acme.post_typed(&format!("other-{others}"), "to.other").await;
        come(&sink, "/other", others).await;
        assert_eq!(to(&sink, "/slow"), passed, "no more than three in a minute");
        host.clock.advance(Duration::from_secs(60));
    }
    acme.settled().await;
    host.end().await;
}

#[tokio::test]
async fn no_more_are_under_way_than_a_destination_allows() {
    let data = Data::sqlite().await;
    let host = TestHost::start(&data).await;
    let sink = Sink::start().await;
    let gate = Gate::default();
    sink.answer(gate.before(Answer::Status(200)));
    let acme = carrier(&host, &sink, &[("three", json!({ "concurrency": 3 }))], json!({})).await;
    post(&acme, "three", 20).await;
    come(&sink, "/three", 3).await;
    let queued = acme.path("deliveries?state=pending");
    acme.get_when(&queued, "all planned", |found| found["items"].as_array().unwrap().len() == 20).await;
    assert_eq!(sink.count(), 3);
    gate.open();
    come(&sink, "/three", 20).await;
    acme.settled().await;
    assert_eq!(sink.most_at_once(), 3);
    host.end().await;
}

#[tokio::test]
async fn a_receiver_that_hangs_holds_up_nobody_else() {
    let data = Data::sqlite().await;
    // What does not fit into the lane's queue waits in the store.
    let host = TestHost::with(&data, hookyard::clock::Clock::system(), |config| {
        config.deliver.queued_per_lane = 8;
    })
    .await;
    let sink = Sink::start().await;
    let gate = Gate::default();
    let behind = gate.before(Answer::Status(200));
    sink.script(move |r| if r.path == "/stuck" { behind.clone() } else { Answer::Status(200) });
    let both = [("stuck", json!({ "concurrency": 2 })), ("quick", json!({}))];
    let acme = carrier(&host, &sink, &both, json!({})).await;
    post(&acme, "stuck", 200).await;
    come(&sink, "/stuck", 2).await;
    post(&acme, "quick", 200).await;
    come(&sink, "/quick", 200).await;
    assert_eq!(to(&sink, "/stuck"), 2);
    gate.open();
    come(&sink, "/stuck", 200).await;
    acme.settled().await;
    assert_eq!(sink.count(), 400, "each once");
    host.end().await;
}

#[tokio::test]
async fn hostile_receivers_cost_their_timeout_and_nothing_more() {
    let data = Data::sqlite().await;
    let host = TestHost::start(&data).await;
    let sink = Sink::start().await;
    sink.script(|request| match request.path.as_str() {
        "/hang" => Answer::Hang,
        "/drip" => Answer::Drip,
        "/endless" => Answer::Endless,
        "/close" => Answer::Close,
        "/elsewhere" => Answer::With(302, "location", "/well".to_owned()),
        _ => Answer::Status(200),
    });
    let names = ["hang", "drip", "endless", "close", "elsewhere", "well"];
    let all: Vec<_> = names.into_iter().map(|name| (name, json!({}))).collect();
    let policy = json!({ "profile": "none", "timeout_ms": 300 });
    let acme = carrier(&host, &sink, &all, policy).await;
    for name in names {
        post(&acme, name, 3).await;
    }
    // A 2xx whose body has no end within the limit is as good as another; one that does not come in time is not.
    let expected = [
        ("hang", "failed", "timeout"),
        ("drip", "failed", "timeout"),
        ("endless", "delivered", "delivered"),
        ("close", "failed", "broken"),
        ("elsewhere", "failed", "status"),
        ("well", "delivered", "delivered"),
    ];
    for (name, state, outcome) in expected {
        for n in 0..3 {
            let delivery = acme.delivery_after(&format!("{name}-{n}"), 1).await;
            let attempt = &delivery["attempts"][0];
            assert_eq!((&delivery["state"], &attempt["outcome"]), (&json!(state), &json!(outcome)), "{name}");
            assert!(attempt["duration_us"].as_u64().unwrap() < 5_000_000, "{name}: {attempt:#}");
        }
    }
    assert_eq!(to(&sink, "/well"), 3, "redirects are not followed");
    let kept = acme.delivery("endless-0").await;
    let body = kept["attempts"][0]["response_body"].as_str().unwrap();
    assert!(body.len() <= hookyard::deliver::http::MAX_ANSWER, "{}", body.len());
    host.end().await;
}
