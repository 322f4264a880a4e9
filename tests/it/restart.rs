//! A restart in order, in the middle of things: nothing is lost, nothing is repeated, and the count goes on.

use std::time::Duration;

use hookyard_tests::data::Data;
use hookyard_tests::host::{T0, TestHost};
use hookyard_tests::on_both;
use hookyard_tests::sink::{Answer, Gate, Sink};
use serde_json::json;

use crate::way::simple;

on_both! {
    retries_go_on_where_they_were,
    what_is_under_way_is_finished_before_the_end,
    what_is_dropped_at_the_end_goes_on_after_the_start,
    what_waits_for_its_time_is_sent_then,
}

async fn retries_go_on_where_they_were(data: &Data) {
    let sink = Sink::start().await;
    sink.answer(Answer::Status(500));
    let host = TestHost::on_manual_clock(data).await;
    let policy = json!({ "retry_after_ms": [1_000, 60_000, 3_600_000], "jitter_percent": 0 });
    let acme = simple(&host, &sink, policy).await;
    acme.post("evt", &json!({})).await;
    acme.delivery_after("evt", 1).await;
    host.clock.advance(Duration::from_secs(1));
    let second = acme.delivery_after("evt", 2).await;
    assert_eq!(second["due_ms"], T0.0 + 61_000);
    let clock = host.clock.clone();
    host.leave().await;

    // It comes back while the third is not due yet, and once more when it is overdue.
    clock.advance(Duration::from_secs(59));
    let host = TestHost::with(data, clock.clone(), |_| ()).await;
    let acme = acme.at(&host.admin);
    acme.post("other", &json!({})).await;
    acme.delivery_after("other", 1).await;
    assert_eq!(acme.delivery("evt").await["attempts_made"], 2, "not before its time");
    host.leave().await;
    clock.advance(Duration::from_secs(100));
    sink.script(|request| Answer::Status(if request.nth < 4 { 503 } else { 200 }));
    let host = TestHost::with(data, clock.clone(), |_| ()).await;
    let acme = acme.at(&host.admin);
    let third = acme.delivery_after("evt", 3).await;
    assert_eq!(third["due_ms"], clock.now().0 + 3_600_000, "the third wait of its policy");
    acme.delivery_after("other", 2).await;
    host.clock.advance(Duration::from_secs(3_600));
    let delivery = acme.delivery_in("evt", "delivered").await;
    let outcomes: Vec<_> = delivery["attempts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|a| (a["number"].as_u64().unwrap(), a["status"].as_u64().unwrap()))
        .collect();
    assert_eq!(outcomes, [(1, 500), (2, 500), (3, 503), (4, 200)]);
    acme.delivery_after("other", 3).await;
    host.clock.advance(Duration::from_secs(3_600));
    acme.delivery_in("other", "delivered").await;
    assert_eq!(sink.count(), 8, "each attempt once");
    host.end().await;
}

async fn what_is_under_way_is_finished_before_the_end(data: &Data) {
    let sink = Sink::start().await;
    let gate = Gate::default();
    sink.answer(gate.before(Answer::Status(200)));
    let host = TestHost::start(data).await;
    let acme = simple(&host, &sink, json!({})).await;
    acme.post("evt", &json!({})).await;
    sink.come(1).await;
    let stopping = tokio::spawn(async move { host.stop(Duration::from_secs(20)).await });
    // The host has let go of its port, and waits for the receiver alone.
    acme.publisher.gone().await;
    gate.open();
    assert!(stopping.await.unwrap(), "it was finished");

    let host = TestHost::start(data).await;
    let delivery = acme.at(&host.admin).delivery("evt").await;
    assert_eq!((&delivery["state"], &delivery["attempts_made"]), (&json!("delivered"), &json!(1)));
    assert_eq!(sink.count(), 1, "nothing is repeated");
    host.end().await;
}

async fn what_is_dropped_at_the_end_goes_on_after_the_start(data: &Data) {
    let sink = Sink::start().await;
    sink.answer(Answer::Hang);
    let host = TestHost::start(data).await;
    let acme = host.admin.carrier("acme").await;
    acme.destination("claims", &sink, json!({ "concurrency": 2 })).await;
    acme.subscription("main", json!({ "destinations": ["claims"] })).await;
    for n in 0..6 {
        acme.post(&format!("evt-{n}"), &json!({})).await;
    }
    sink.come(2).await;
    host.die().await;

    sink.answer(Answer::Status(200));
    let host = TestHost::start(data).await;
    let acme = acme.at(&host.admin);
    sink.distinct(6).await;
    acme.settled().await;
    assert_eq!(sink.count(), 8, "the two that were under way come again, and nothing else");
    for n in 0..6 {
        acme.delivery_in(&format!("evt-{n}"), "delivered").await;
    }
    host.end().await;
}

async fn what_waits_for_its_time_is_sent_then(data: &Data) {
    let sink = Sink::start().await;
    let host = TestHost::on_manual_clock(data).await;
    let acme = simple(&host, &sink, json!({})).await;
    acme.api.post(&acme.path("destinations/claims/disable"), &json!({})).await.ok();
    acme.post("evt", &json!({})).await;
    acme.delivery_in("evt", "held").await;
    let clock = host.clock.clone();
    host.leave().await;

    let host = TestHost::with(data, clock, |_| ()).await;
    let acme = acme.at(&host.admin);
    assert_eq!(acme.delivery("evt").await["state"], "held");
    acme.api.post(&acme.path("destinations/claims/enable"), &json!({})).await.ok();
    acme.delivery_in("evt", "delivered").await;
    assert_eq!(sink.count(), 1);
    host.end().await;
}
