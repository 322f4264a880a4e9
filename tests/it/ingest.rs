//! What is accepted, what is refused, and that a refusal leaves nothing behind.

use std::time::Duration;

use axum::http::Method;
use bytes::Bytes;
use hookyard_tests::client::Answer;
use hookyard_tests::data::Data;
use hookyard_tests::guests;
use hookyard_tests::host::{T0, TestHost};
use hookyard_tests::on_both;
use hookyard_tests::sink::Sink;
use serde_json::{Value, json};

use crate::way::simple;

on_both! {
    a_repeat_gets_the_first_acceptance_and_another_body_a_conflict,
    a_batch_is_accepted_whole_or_refused_with_the_index,
    a_full_queue_answers_busy_and_loses_nothing,
    a_full_backlog_is_refused_for_its_carrier_alone,
}

fn event(carrier: &str, id: &str, payload: &Value) -> Value {
    json!({ "carrier": carrier, "id": id, "type": "case.closed", "payload": payload })
}

async fn a_repeat_gets_the_first_acceptance_and_another_body_a_conflict(data: &Data) {
    let host = TestHost::on_manual_clock(data).await;
    let sink = Sink::start().await;
    let acme = simple(&host, &sink, json!({})).await;
    let first = acme.try_post("evt-1", &json!({ "n": 1 })).await.ok();
    assert_eq!(first["accepted"][0]["received_ms"], T0.0);
    assert_eq!(first["accepted"][0]["repeat"], false);
    acme.delivery_in("evt-1", "delivered").await;

    host.clock.advance(Duration::from_secs(60));
    let again = acme.try_post("evt-1", &json!({ "n": 1 })).await.ok();
    assert_eq!(again["accepted"][0]["received_ms"], T0.0, "the first acceptance");
    assert_eq!(again["accepted"][0]["repeat"], true);
    let problem = acme.try_post("evt-1", &json!({ "n": 2 })).await.problem(409, "event_conflict");
    assert_eq!(problem["index"], 0);

    // The same id of another carrier is another event.
    let zeta = host.admin.carrier("zeta").await;
    zeta.post("evt-1", &json!({ "n": 3 })).await;
    acme.post("evt-2", &json!({})).await;
    acme.delivery_in("evt-2", "delivered").await;
    assert_eq!(sink.count(), 2, "the repeat and the conflict sent nothing");
    host.end().await;
}

async fn a_batch_is_accepted_whole_or_refused_with_the_index(data: &Data) {
    let host = TestHost::start(data).await;
    let sink = Sink::start().await;
    let acme = simple(&host, &sink, json!({})).await;
    acme.post("taken", &json!({ "n": 1 })).await;
    let good = |id: &str| event("acme", id, &json!({ "n": 2 }));
    let refused = [
        (json!([good("a"), good("b"), { "id": "no-carrier" }]), 422, "invalid_event", 2),
        (json!([good("a"), event("nobody", "b", &json!({}))]), 422, "unknown_carrier", 1),
        (json!([good("a"), good("b"), good("c"), good("taken")]), 409, "event_conflict", 3),
        (json!([good("a"), event("acme", "a", &json!({ "n": 3 }))]), 409, "event_conflict", 1),
        (json!([event("acme", "spaces are not allowed", &json!({}))]), 422, "invalid_event", 0),
    ];
    for (batch, status, code, index) in refused {
        let problem = host.admin.post("/v1/events", &batch).await.problem(status, code);
        assert_eq!(problem["index"], index, "{problem:#}");
    }
    for id in ["a", "b", "c"] {
        acme.api.get(&acme.path(&format!("events/{id}"))).await.problem(404, "not_found");
    }
    // The same event twice in one batch is one event and a repeat of it.
    let answer = host.admin.post("/v1/events", &json!([good("a"), good("b"), good("a")])).await.ok();
    let repeats: Vec<_> = answer["accepted"].as_array().unwrap().iter().map(|one| &one["repeat"]).collect();
    assert_eq!(repeats, [false, false, true]);
    sink.distinct(3).await;
    acme.settled().await;
    assert_eq!(sink.count(), 3);
    host.end().await;
}

async fn a_full_queue_answers_busy_and_loses_nothing(data: &Data) {
    let host =
        TestHost::with(data, hookyard::clock::Clock::system(), |config| config.store.queued_events = 64)
            .await;
    host.admin.carrier("acme").await;
    // A request that is larger than the whole queue gets in when nothing else waits; while it is written, others do not.
    let batch = |n: usize| {
        let events: Vec<_> =
            (0..500).map(|i| event("acme", &format!("e-{n}-{i}"), &json!({ "n": n, "i": i }))).collect();
        Value::Array(events)
    };
    let mut posts = tokio::task::JoinSet::new();
    for n in 0..16 {
        let (api, body) = (host.admin.clone(), batch(n));
        posts.spawn(async move {
            let mut refused = 0_u32;
            loop {
                let answer = api.post("/v1/events", &body).await;
                if answer.status == 202 {
                    return refused;
                }
                assert_eq!(answer.headers["retry-after"], "1");
                let problem = answer.problem(503, "busy");
                assert!(problem["detail"].as_str().unwrap().contains("queued_events"), "{problem:#}");
                refused += 1;
            }
        });
    }
    let refused: u32 = posts.join_all().await.into_iter().sum();
    assert!(refused > 0, "sixteen requests of 500 events at once fit into a queue of 64");
    let metrics = host.admin.get("/metrics").await.ok();
    let accepted =
        metrics.as_str().unwrap().lines().find(|l| l.starts_with("hookyard_events_accepted_total"));
    assert_eq!(accepted, Some("hookyard_events_accepted_total 8000"));
    host.leave().await;
}

async fn a_full_backlog_is_refused_for_its_carrier_alone(data: &Data) {
    // Four events may be in memory, of which one carrier gets two; what is more waits in the store, up to three.
    let host = TestHost::with(data, hookyard::clock::Clock::system(), |config| {
        config.store.held_in_memory = 4;
        config.store.backlog_events = 3;
        config.plugins.threads = 1;
        config.plugins.wall_ms_max = 60_000;
    })
    .await;
    let sink = Sink::start().await;
    let acme = host.admin.carrier("acme").await;
    acme.destination("claims", &sink, json!({})).await;
    acme.plugin("hostile", guests::HOSTILE, "?wall_ms=60000").await;
    acme.subscription("main", json!({ "plugins": ["hostile"], "destinations": ["claims"] })).await;
    let zeta = host.admin.carrier("zeta").await;
    zeta.destination("claims", &sink, json!({})).await;
    zeta.subscription("main", json!({ "destinations": ["claims"] })).await;

    // The plugin takes its time over each.
    let slow = json!({ "do": "spin", "with": 300_000_000 });
    let mut taken = 0;
    let refused: Answer = loop {
        let answer = acme.try_post(&format!("slow-{taken}"), &slow).await;
        if answer.status != 202 {
            break answer;
        }
        taken += 1;
        assert!(taken < 100, "no end of the backlog");
    };
    assert!(taken >= 3, "{taken}");
    assert_eq!(refused.headers["retry-after"], "5");
    let problem = refused.problem(503, "backlog_full");
    assert!(problem["detail"].as_str().unwrap().contains("backlog_events"), "{problem:#}");

    // Another carrier does not notice.
    zeta.post("quick", &json!({})).await;
    zeta.delivery_in("quick", "delivered").await;
    sink.distinct(taken + 1).await;
    acme.settled().await;
    // And when the backlog has gone down, the carrier's events are taken again.
    acme.post(&format!("slow-{taken}"), &json!({ "do": "nothing" })).await;
    acme.delivery_in(&format!("slow-{taken}"), "delivered").await;
    host.end().await;
}

#[tokio::test]
async fn what_is_no_event_is_refused_by_its_own_name() {
    let data = Data::sqlite().await;
    let host = TestHost::with(&data, hookyard::clock::Clock::system(), |config| {
        config.ingest.event_bytes = 2_048;
        config.ingest.request_bytes = 8_192;
        config.ingest.batch_events = 3;
        config.ingest.depth = 4;
    })
    .await;
    let acme = host.admin.carrier("acme").await;
    let text = |n: usize| "x".repeat(n);
    let one = |payload: Value| event("acme", "evt", &payload).to_string();
    let many = |n: usize| {
        Value::from((0..n).map(|i| event("acme", &format!("e{i}"), &json!(1))).collect::<Vec<_>>())
            .to_string()
    };
    let json_type = "application/json";
    let cases = [
        ("text/plain", one(json!(1)), 415, "unsupported_media_type", None),
        ("application/json; charset=latin1", one(json!(1)), 415, "unsupported_media_type", None),
        ("application/cloudevents+avro", one(json!(1)), 415, "unsupported_media_type", None),
        (json_type, "{\"carrier\":".to_owned(), 400, "invalid_json", None),
        (json_type, "7".to_owned(), 422, "invalid_event", None),
        (json_type, one(json!(text(3_000))), 413, "too_large", Some("event_bytes")),
        (json_type, one(json!(text(9_000))), 413, "too_large", Some("request_bytes")),
        (json_type, many(4), 413, "too_large", Some("batch_events")),
        (json_type, one(json!([[[[[1]]]]])), 422, "invalid_event", Some("depth")),
        (json_type, json!({ "id": "a", "type": "b", "payload": 1 }).to_string(), 422, "invalid_event", None),
        (json_type, r#"{"carrier":"acme","id":"a","type":"b"}"#.to_owned(), 422, "invalid_event", None),
        ("application/cloudevents+json", json!({ "id": "a" }).to_string(), 422, "invalid_event", None),
    ];
    for (content_type, body, status, code, limit) in cases {
        let start: String = body.chars().take(40).collect();
        let headers = [("content-type", content_type)];
        let answer = host.admin.call(Method::POST, "/v1/events", &headers, body.into()).await;
        println!("{start}");
        let problem = answer.problem(status, code);
        assert_eq!(problem["limit"].as_str(), limit, "{start}: {problem:#}");
    }
    let not_text =
        Bytes::from_static(b"{\"carrier\":\"acme\",\"id\":\"a\",\"type\":\"b\",\"payload\":\"\xff\"}");
    let headers = [("content-type", json_type)];
    host.admin.call(Method::POST, "/v1/events", &headers, not_text).await.problem(400, "invalid_json");

    let events = acme.api.get(&acme.path("events")).await.ok();
    assert_eq!(events["items"], json!([]), "nothing of all this was kept");
    host.end().await;
}
