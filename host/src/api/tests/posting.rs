//! `POST /v1/events` in every form.

use super::{Bench, START, request};
use serde_json::json;

fn plain(carrier: &str, id: &str, payload: &str) -> String {
    format!(r#"{{"carrier":"{carrier}","id":"{id}","type":"case.closed","payload":{payload}}}"#)
}

#[tokio::test]
async fn an_event_is_accepted_once() {
    let bench = Bench::new().await;
    bench.carrier("acme").await;
    let key = bench.publisher.clone();
    let body = plain("acme", "e-1", r#"{"b": 1.50}"#);
    let first = bench.post(&key, "/v1/events", &body).await.is(202);
    let expected =
        json!({"accepted": [{"carrier": "acme", "id": "e-1", "received_ms": START.0, "repeat": false}]});
    assert_eq!(first, expected);

    bench.clock.advance(std::time::Duration::from_secs(5));
    let again = bench.post(&key, "/v1/events", &body).await.is(202);
    let expected =
        json!({"accepted": [{"carrier": "acme", "id": "e-1", "received_ms": START.0, "repeat": true}]});
    assert_eq!(again, expected);

    let other = bench.post(&key, "/v1/events", &plain("acme", "e-1", "2")).await;
    assert_eq!((other.code(), &other.json["index"]), ((409, "event_conflict"), &json!(0)));
    let shown = bench.get(&bench.admin, "/v1/carriers/acme/events/e-1").await.is(200);
    assert_eq!(shown["payload"], json!({"b": 1.50}));
}

#[tokio::test]
async fn a_request_is_accepted_or_refused_whole() {
    let bench = Bench::new().await;
    bench.carrier("acme").await;
    let key = bench.publisher.clone();
    let body = format!("[{},{}]", plain("acme", "1", "1"), plain("nobody", "2", "2"));
    let answer = bench.post(&key, "/v1/events", &body).await;
    assert_eq!((answer.code(), &answer.json["index"]), ((422, "unknown_carrier"), &json!(1)));
    let body = format!("[{},{{}}]", plain("acme", "1", "1"));
    let answer = bench.post(&key, "/v1/events", &body).await;
    assert_eq!((answer.code(), &answer.json["index"]), ((422, "invalid_event"), &json!(1)));
    assert_eq!(bench.get(&bench.admin, "/v1/carriers/acme/events").await.json["items"], json!([]));

    let body = format!("[{},{}]", plain("acme", "1", "1"), plain("acme", "2", "2"));
    let accepted = bench.post(&key, "/v1/events", &body).await.is(202);
    let ids: Vec<_> = accepted["accepted"].as_array().unwrap().iter().map(|one| &one["id"]).collect();
    assert_eq!(ids, ["1", "2"]);

    // The same event twice in one request is one event; with two bodies it is none.
    let twice = format!("[{0},{0}]", plain("acme", "3", "3"));
    let accepted = bench.post(&key, "/v1/events", &twice).await.is(202);
    let repeats: Vec<_> = accepted["accepted"].as_array().unwrap().iter().map(|one| &one["repeat"]).collect();
    assert_eq!(repeats, [false, true]);
    let torn = format!("[{},{}]", plain("acme", "4", "1"), plain("acme", "4", "2"));
    let answer = bench.post(&key, "/v1/events", &torn).await;
    assert_eq!((answer.code(), &answer.json["index"]), ((409, "event_conflict"), &json!(1)));
    assert_eq!(bench.get(&bench.admin, "/v1/carriers/acme/events/4").await.status, 404);
    assert_eq!(bench.post(&key, "/v1/events", "[]").await.is(202), json!({"accepted": []}));
}

#[tokio::test]
async fn cloudevents_come_in_three_forms() {
    let bench = Bench::new().await;
    bench.carrier("acme").await;
    let key = bench.publisher.clone();
    let headers = [
        ("content-type", "application/json"),
        ("ce-specversion", "1.0"),
        ("ce-id", "binary"),
        ("ce-source", "/claims"),
        ("ce-type", "case.closed"),
        ("ce-carrier", "acme"),
        ("ce-subject", "Euro%20%E2%82%AC"),
    ];
    bench.send(request(&key, "POST", "/v1/events", &headers, "[1]")).await.is(202);
    let one = |id: &str| json!({"specversion": "1.0", "id": id, "source": "/claims", "type": "case.closed", "carrier": "acme", "data": [1]});
    let headers = [("content-type", "application/cloudevents+json; charset=UTF-8")];
    bench.send(request(&key, "POST", "/v1/events", &headers, &one("structured").to_string())).await.is(202);
    let headers = [("content-type", "application/cloudevents-batch+json")];
    let batch = json!([one("batch-1"), one("batch-2")]).to_string();
    bench.send(request(&key, "POST", "/v1/events", &headers, &batch)).await.is(202);

    let shown = bench.get(&bench.admin, "/v1/carriers/acme/events/binary").await.is(200);
    assert_eq!(shown["payload"], json!([1]));
    assert_eq!(shown["attributes"]["subject"], "Euro €");
    let list = bench.get(&bench.admin, "/v1/carriers/acme/events").await.is(200);
    assert_eq!(list["items"].as_array().unwrap().len(), 4);
}

#[tokio::test]
async fn what_cannot_be_taken_is_refused_by_name() {
    let bench = Bench::new().await;
    bench.carrier("acme").await;
    let key = bench.publisher.clone();
    let text = [("content-type", "text/plain")];
    let answer = bench.send(request(&key, "POST", "/v1/events", &text, "hello")).await;
    assert_eq!(answer.code(), (415, "unsupported_media_type"));
    let cases = [
        ("{".to_owned(), 400, "invalid_json", json!(null)),
        (plain("acme", "1", &format!("\"{}\"", "x".repeat(262_144))), 413, "too_large", json!("event_bytes")),
        (format!("[{}1]", "1,".repeat(1_000)), 413, "too_large", json!("batch_events")),
        (plain("acme", "1", &("[".repeat(65) + &"]".repeat(65))), 422, "invalid_event", json!("depth")),
        ("x".repeat((8 << 20) + 1), 413, "too_large", json!("request_bytes")),
    ];
    for (body, status, code, limit) in cases {
        let answer = bench.post(&key, "/v1/events", &body).await;
        assert_eq!((answer.code(), &answer.json["limit"]), ((status, code), &limit), "{}", answer.text);
    }
}

#[tokio::test]
async fn posting_takes_an_idempotency_key_too() {
    let bench = Bench::new().await;
    bench.carrier("acme").await;
    let headers = [("idempotency-key", "one")];
    let body = plain("acme", "1", "1");
    for replayed in [false, true] {
        let answer = bench.send(request(&bench.publisher, "POST", "/v1/events", &headers, &body)).await;
        assert_eq!(answer.headers.contains_key("idempotency-replayed"), replayed);
        assert_eq!(answer.is(202)["accepted"][0]["repeat"], false);
    }
}
