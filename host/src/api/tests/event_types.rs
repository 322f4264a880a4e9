//! The catalogue, what carriers add to it, and what tests make of both.

use serde_json::{Value, json};

use super::Bench;
use crate::api::ApiLimits;

const MINE: &str = "/v1/carriers/me/event-types";

#[tokio::test]
async fn the_catalogue_is_for_everybody_with_a_key() {
    let bench = Bench::new().await;
    let acme = bench.carrier("acme").await;
    let (publisher, admin) = (bench.publisher.clone(), bench.admin.clone());
    for key in [&acme, &publisher, &admin] {
        let list = bench.get(key, "/v1/event-types?limit=500").await.is(200);
        let types: Vec<_> = list["items"].as_array().unwrap().iter().map(|one| &one["type"]).collect();
        assert_eq!(types.len(), 23);
        assert!(types.is_sorted_by_key(|one| one.as_str().unwrap()));
        assert!(list["items"][0].get("example").is_none(), "lists are without examples");
    }
    assert_eq!(bench.get("", "/v1/event-types").await.status, 401);

    let closed = bench.get(&acme, "/v1/event-types/case.closed").await.is(200);
    assert_eq!(closed["described_by"], "catalogue");
    assert_eq!(closed["example"]["state"], "closed");
    let webhooks = closed["webhooks"].as_array().unwrap();
    let ids: Vec<_> = webhooks.iter().map(|one| one["event_id"].as_u64().unwrap()).collect();
    assert_eq!(ids, [3, 8, 9, 11, 18]);
    assert_eq!(webhooks[0]["action"], "sftp");
    assert_eq!(webhooks[0]["fields"][0]["name"], "PGP_KEY");
    assert_eq!((&webhooks[3]["event_name"], &webhooks[3]["filter"]), (&json!("CLOSE_CASE"), &json!(true)));
    let moved = bench.get(&acme, "/v1/event-types/case.reassigned").await.is(200);
    assert_eq!(moved["webhooks"][0]["filter_prefix"], "case.");
    assert_eq!(bench.get(&acme, "/v1/event-types/no.such").await.code(), (404, "not_found"));
    assert_eq!(bench.get(&acme, "/v1/event-types/a..b").await.code(), (400, "invalid_parameter"));

    let page = bench.get(&acme, "/v1/event-types?limit=22").await.is(200);
    let next = page["next"].as_str().unwrap();
    let rest = bench.get(&acme, &format!("/v1/event-types?after={next}")).await.is(200);
    assert_eq!((rest["items"].as_array().unwrap().len(), rest.get("next")), (1, None));
}

#[tokio::test]
async fn a_carrier_describes_its_own_types_and_those_of_the_catalogue() {
    let bench = Bench::new().await;
    let (acme, other) = (bench.carrier("acme").await, bench.carrier("other").await);
    let path = format!("{MINE}/policy.lapsed");
    let body = r#"{"about":"A policy\nhas lapsed.","example":{"b": 1, "a": [1.50]}}"#;
    let made = bench.call(&acme, "PUT", &path, body).await;
    assert!(made.text.contains(r#""example":{"b": 1, "a": [1.50]}"#), "as it was written: {}", made.text);
    let made = made.is(201);
    assert_eq!((&made["described_by"], &made["webhooks"]), (&json!("carrier"), &json!([])));
    let again = bench.call(&acme, "PUT", &path, r#"{"about":"Lapsed."}"#).await.is(200);
    assert_eq!((&again["about"], again.get("example")), (&json!("Lapsed."), None));
    bench.call(&acme, "PUT", &format!("{MINE}/case.closed"), r#"{"about":"Ours."}"#).await.is(201);

    let list = bench.get(&acme, &format!("{MINE}?limit=500")).await.is(200);
    let items = list["items"].as_array().unwrap();
    assert_eq!(items.len(), 24);
    let one = |event_type: &str| items.iter().find(|one| one["type"] == event_type).unwrap();
    assert_eq!(one("policy.lapsed")["described_by"], "carrier");
    assert_eq!(
        (&one("case.closed")["about"], one("case.closed")["webhooks"].as_array().unwrap().len()),
        (&json!("Ours."), 5)
    );
    assert_eq!(one("case.created")["described_by"], "catalogue");

    // Its own words are its own.
    let theirs = bench.get(&other, &format!("{MINE}?limit=500")).await.is(200);
    assert_eq!(theirs["items"].as_array().unwrap().len(), 23);
    assert_eq!(bench.get(&other, &path).await.code(), (404, "not_found"));
    assert_eq!(bench.get(&other, &format!("{MINE}/case.closed")).await.is(200)["described_by"], "catalogue");
    assert_eq!(bench.get(&acme, "/v1/event-types/policy.lapsed").await.code(), (404, "not_found"));
    assert_eq!(bench.call(&other, "DELETE", &path, "").await.code(), (404, "not_found"));

    bench.call(&acme, "DELETE", &path, "").await.is(204);
    assert_eq!(bench.get(&acme, &path).await.code(), (404, "not_found"));
    bench.call(&acme, "DELETE", &format!("{MINE}/case.closed"), "").await.is(204);
    assert_eq!(bench.get(&acme, &format!("{MINE}/case.closed")).await.is(200)["described_by"], "catalogue");
    let gone = bench.call(&acme, "DELETE", &format!("{MINE}/case.closed"), "").await;
    assert_eq!(gone.code(), (404, "not_found"), "the catalogue's own is not a carrier's to delete");
}

#[tokio::test]
async fn descriptions_are_bounded() {
    let bench = Bench::with(ApiLimits { event_types: 2, ..ApiLimits::default() }).await;
    let acme = bench.carrier("acme").await;
    let path = format!("{MINE}/a.b");
    for (body, field, limit) in [
        (json!({}), "about", Value::Null),
        (json!({"about": ""}), "about", Value::Null),
        (json!({"about": "a\u{0}b"}), "about", Value::Null),
        (json!({"about": "x".repeat(2_001)}), "about", json!("about_characters")),
        (json!({"about": "x", "example": "x".repeat(64 << 10)}), "example", json!("example_bytes")),
        (json!({"about": "x", "schema": {}}), "schema", Value::Null),
    ] {
        let answer = bench.call(&acme, "PUT", &path, &body.to_string()).await;
        assert_eq!(answer.code(), (422, "invalid_body"), "{}", answer.text);
        assert!(answer.json["detail"].as_str().unwrap().contains(field), "{}", answer.text);
        assert_eq!(answer.json["limit"], limit, "{}", answer.text);
    }
    for (event_type, status) in [("a.b", 201), ("a.c", 201), ("a.b", 200)] {
        bench.call(&acme, "PUT", &format!("{MINE}/{event_type}"), r#"{"about":"x"}"#).await.is(status);
    }
    let answer = bench.call(&acme, "PUT", &format!("{MINE}/a.d"), r#"{"about":"x"}"#).await;
    assert_eq!((answer.code(), &answer.json["limit"]), ((422, "too_many"), &json!("event_types")));
}

#[tokio::test]
async fn events_of_types_that_nobody_described_are_taken() {
    let bench = Bench::new().await;
    bench.carrier("acme").await;
    let event = r#"{"carrier":"acme","id":"1","type":"nobody.knows","payload":{}}"#;
    bench.post(&bench.publisher, "/v1/events", event).await.is(202);
}

#[tokio::test]
async fn a_destinations_test_takes_an_event() {
    let bench = Bench::new().await;
    let acme = bench.carrier("acme").await;
    let body = json!({"kind": "http", "url": "https://example.com/"}).to_string();
    bench.call(&acme, "PUT", "/v1/carriers/me/destinations/main", &body).await.is(201);
    let path = "/v1/carriers/me/destinations/main/test";
    // The stand-in says what it was given.
    let sent = |answer: Value| {
        let payload = serde_json::from_str::<Value>(answer["response_body"].as_str().unwrap()).unwrap();
        (answer["request"]["type"].as_str().unwrap().to_owned(), payload)
    };
    let (event_type, payload) = sent(bench.post(&acme, path, "").await.is(200));
    assert_eq!(event_type, "hookyard.test");
    assert_eq!(payload, json!({"message": "This is a test delivery of Hookyard."}));
    assert_eq!(sent(bench.post(&acme, path, "{}").await.is(200)).0, "hookyard.test");
    let (event_type, payload) =
        sent(bench.post(&acme, path, r#"{"event_type":"note.created"}"#).await.is(200));
    assert_eq!((event_type.as_str(), &payload["text"]), ("note.created", &json!("Estimate comes on Friday")));
    let body = r#"{"event_type":"my.own","payload":[1]}"#;
    assert_eq!(sent(bench.post(&acme, path, body).await.is(200)), ("my.own".to_owned(), json!([1])));
    assert_eq!(
        sent(bench.post(&acme, path, r#"{"payload":7}"#).await.is(200)),
        ("hookyard.test".to_owned(), json!(7))
    );

    let answer = bench.post(&acme, path, r#"{"event_type":"my.own"}"#).await;
    assert_eq!((answer.code(), &answer.json["field"]), ((422, "invalid_body"), &json!("payload")));
    let own = r#"{"about":"Ours.","example":{"n":1}}"#;
    bench.call(&acme, "PUT", &format!("{MINE}/my.own"), own).await.is(201);
    let body = r#"{"event_type":"my.own"}"#;
    assert_eq!(sent(bench.post(&acme, path, body).await.is(200)).1, json!({"n": 1}));
    assert_eq!(bench.post(&acme, path, r#"{"kind":1}"#).await.code(), (422, "invalid_body"));
    let plain = super::request(&acme, "POST", path, &[("content-type", "text/plain")], "{}");
    assert_eq!(bench.send(plain).await.code(), (415, "unsupported_media_type"));
    let missing = bench.post(&acme, "/v1/carriers/me/destinations/no/test", "").await;
    assert_eq!(missing.code(), (404, "not_found"));
}

#[tokio::test]
async fn a_subscriptions_test_makes_the_event_that_it_needs() {
    let bench = Bench::new().await;
    let acme = bench.carrier("acme").await;
    let test = async |types: Value, filter: Value, body: Value| {
        let spec = json!({"event_types": types, "filter": filter}).to_string();
        bench.call(&acme, "PUT", "/v1/carriers/me/subscriptions/main", &spec).await;
        bench.post(&acme, "/v1/carriers/me/subscriptions/main/test", &body.to_string()).await
    };
    let made = |answer: &Value| answer["event"]["type"].as_str().unwrap().to_owned();

    let exact = test(json!(["x.*", "case.closed"]), Value::Null, json!({})).await.is(200);
    assert_eq!((made(&exact).as_str(), &exact["match"]), ("case.closed", &json!("matched")));
    assert_eq!(exact["event"]["payload"]["state"], "closed");
    assert_eq!(exact["event"]["attributes"], json!({"source": "/hookyard/test"}));
    assert!(exact["event"]["id"].as_str().unwrap().starts_with("test-"));
    assert_eq!(made(&test(json!(["message.*"]), Value::Null, json!({})).await.is(200)), "message.created");
    let answer = test(json!(["x.*"]), Value::Null, json!({})).await;
    assert_eq!((answer.code(), &answer.json["field"]), ((422, "invalid_body"), &json!("event_type")));
    bench.call(&acme, "PUT", &format!("{MINE}/x.y"), r#"{"about":"Ours.","example":{"n":1}}"#).await.is(201);
    let own = test(json!(["x.*"]), Value::Null, json!({})).await.is(200);
    assert_eq!((made(&own).as_str(), &own["event"]["payload"]), ("x.y", &json!({"n": 1})));
    let answer = test(json!(["x.z"]), Value::Null, json!({})).await;
    assert_eq!((answer.code(), &answer.json["field"]), ((422, "invalid_body"), &json!("payload")));

    let body = json!({"event_type": "case.closed", "attributes": {"source": "/mine", "n": "1"}, "payload": {"a": 1}});
    let other = test(json!(["case.created"]), Value::Null, body.clone()).await.is(200);
    assert_eq!(other["match"], "type_differs");
    assert_eq!(other["why"], "the subscription asks for `case.created`, the event is `case.closed`");
    assert_eq!(other["event"]["attributes"], json!({"source": "/mine", "n": "1"}));
    let filter = json!("a == 1 && b == 2 && (c == 3 || exists(d))");
    let filtered = test(json!(["*"]), filter, body).await.is(200);
    assert_eq!((&filtered["match"], filtered.get("routing")), (&json!("filtered"), None));
    assert_eq!(filtered["why"], "the filter asks for what does not hold: b == 2; c == 3 || exists(d)");

    bench.post(&acme, "/v1/carriers/me/subscriptions/main/pause", "").await.is(200);
    let paused = bench.post(&acme, "/v1/carriers/me/subscriptions/main/test", "").await.is(200);
    assert_eq!(paused["state"], "paused");
    let missing = bench.post(&acme, "/v1/carriers/me/subscriptions/no/test", "{}").await;
    assert_eq!(missing.code(), (404, "not_found"));
}

#[tokio::test]
async fn a_tests_event_obeys_the_limits_on_events() {
    let bench = Bench::new().await;
    let acme = bench.carrier("acme").await;
    bench
        .call(&acme, "PUT", "/v1/carriers/me/subscriptions/main", r#"{"event_types":["a.b"]}"#)
        .await
        .is(201);
    let path = "/v1/carriers/me/subscriptions/main/test";
    let deep = format!(r#"{{"payload":{}{}}}"#, "[".repeat(65), "]".repeat(65));
    let large = json!({"payload": "x".repeat(300_000)}).to_string();
    for (body, limit) in [(deep, "depth"), (large, "event_bytes")] {
        let answer = bench.post(&acme, path, &body).await;
        assert_eq!(answer.json["limit"], limit, "{}", answer.text);
    }
    let reserved = r#"{"payload":1,"attributes":{"data":"x"}}"#;
    let answer = bench.post(&acme, path, reserved).await;
    assert_eq!((answer.code(), &answer.json["field"]), ((422, "invalid_event"), &json!("attributes.data")));
}
