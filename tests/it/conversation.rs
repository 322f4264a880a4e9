//! The profile `conversation` as its receivers meet it: 4, 8 and 10 seconds, ten at once, a hundred a minute, HTTPS only.
//! That it ends dead after four attempts stands in `retries`.

use std::time::Duration;

use hookyard::clock::Clock;
use hookyard_tests::data::Data;
use hookyard_tests::host::{T0, TestHost};
use hookyard_tests::sink::{Answer, Gate, Sink};
use serde_json::{Value, json};

use crate::way::simple;

/// The profile, where the receiver of a test speaks plain HTTP.
fn conversation() -> Value {
    json!({ "profile": "conversation", "https_only": false })
}

#[tokio::test]
async fn ten_are_under_way_and_a_hundred_go_in_a_minute() {
    let data = Data::sqlite().await;
    // What does not fit into the lane's queue waits in the store.
    let host = TestHost::with(&data, Clock::manual(T0), |config| config.deliver.queued_per_lane = 16).await;
    let (sink, other) = (Sink::start().await, Sink::start().await);
    let gate = Gate::default();
    sink.answer(gate.before(Answer::Status(200)));
    let acme = simple(&host, &sink, conversation()).await;
    let zeta = host.admin.carrier("zeta").await;
    zeta.destination("claims", &other, json!({})).await;
    zeta.subscription("main", json!({ "destinations": ["claims"] })).await;

    // The receiver is slow: publishers are answered all the same, and everything waits for its turn.
    let message =
        |n| json!({ "carrier": "acme", "id": format!("msg-{n}"), "type": "message", "payload": {} });
    let batch: Vec<_> = (0..130).map(message).collect();
    acme.publisher.post("/v1/events", &Value::Array(batch)).await.ok();
    sink.come(10).await;
    let all = |found: &Value| found["items"].as_array().is_some_and(|all| all.len() == 130);
    acme.get_when(&acme.path("deliveries?limit=500&state=pending"), "130 that wait", all).await;
    assert_eq!(sink.count(), 10, "ten at once");
    zeta.post("aside", &json!({})).await;
    other.come(1).await;

    gate.open();
    sink.come(100).await;
    host.clock.advance(Duration::from_millis(59_999));
    zeta.post("before", &json!({})).await;
    other.come(2).await;
    assert_eq!(sink.count(), 100, "a hundred in the first minute");
    host.clock.advance(Duration::from_millis(1));
    sink.come(130).await;
    acme.settled().await;
    assert_eq!((sink.count(), sink.most_at_once()), (130, 10), "each once, never more than ten together");
    host.end().await;
}

#[tokio::test]
async fn a_receiver_that_asks_for_time_gets_it() {
    let data = Data::sqlite().await;
    let host = TestHost::on_manual_clock(&data).await;
    let sink = Sink::start().await;
    let acme = simple(&host, &sink, conversation()).await;
    // Without a word it is four seconds.
    for (id, answer, waited) in [
        ("asked", Answer::With(429, "retry-after", "30".to_owned()), 30_000),
        ("silent", Answer::Status(429), 4_000),
    ] {
        sink.answer(answer);
        acme.post(id, &json!({})).await;
        let delivery = acme.delivery_after(id, 1).await;
        assert_eq!(delivery["due_ms"], host.clock.now().0 + waited, "{id}");
        sink.answer(Answer::Status(200));
        host.clock.advance(Duration::from_millis(u64::try_from(waited).unwrap()));
        acme.delivery_in(id, "delivered").await;
    }
    host.end().await;
}

#[tokio::test]
async fn it_goes_over_https_only_even_where_the_operator_allows_http() {
    let data = Data::sqlite().await;
    let host = TestHost::start(&data).await;
    let sink = Sink::start().await;
    let acme = host.admin.carrier("acme").await;
    acme.destination("claims", &sink, json!({})).await;
    let subscription = acme.path("subscriptions/main");
    let body =
        json!({ "event_types": ["*"], "destinations": ["claims"], "policy": { "profile": "conversation" } });
    let problem = acme.api.put(&subscription, &body).await.problem(422, "invalid_body");
    assert_eq!(problem["field"], "destinations[0]");
    assert!(problem["detail"].as_str().unwrap().contains("over HTTPS only"), "{problem:#}");
    // Nor can the address be changed, or made anew, under a subscription that does not take it.
    let https = json!({ "url": sink.url("/claims").replace("http:", "https:") });
    acme.destination("claims", &sink, https.clone()).await;
    acme.api.put(&subscription, &body).await.ok();
    let plain = json!({ "kind": "http", "url": sink.url("/claims") });
    let claims = acme.path("destinations/claims");
    assert_eq!(acme.api.put(&claims, &plain).await.problem(422, "invalid_body")["field"], "url");
    assert_eq!(acme.api.delete(&claims).await.status, 204);
    acme.api.put(&claims, &plain).await.problem(422, "invalid_body");
    acme.destination("claims", &sink, https).await;
    host.leave().await;

    // Whatever brings the two together, nothing is sent in the clear.
    data.run("UPDATE destinations SET spec = REPLACE(spec, 'https:', 'http:')").await;
    let host = TestHost::start(&data).await;
    let acme = acme.at(&host.admin);
    acme.post("evt", &json!({})).await;
    let dead = acme.delivery_in("evt", "dead").await;
    assert!(dead["last_error"].as_str().unwrap().contains("over HTTPS only"), "{dead:#}");
    assert_eq!(dead["attempts"][0]["outcome"], "unavailable");
    assert_eq!(sink.count(), 0);
    host.end().await;
}
