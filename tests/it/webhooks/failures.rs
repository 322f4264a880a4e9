//! What did not arrive: queried by the time of the first attempt, retried with what the registration says now.

use std::collections::BTreeSet;
use std::time::Duration;

use hookyard::clock::Clock;
use hookyard_tests::client::Carrier;
use hookyard_tests::data::Data;
use hookyard_tests::host::{T0, TestHost};
use hookyard_tests::on_both;
use hookyard_tests::sink::{Answer, Sink};
use serde_json::{Value, json};

use super::{at, failed, failed_when, host, id, patch, post, refused};

on_both! {
    a_retry_uses_what_the_registration_says_now,
    failures_are_found_by_time_event_and_registration,
    a_restart_changes_nothing,
    an_address_that_was_given_up_comes_back_with_a_retry,
}

fn request(failure: &Value) -> String {
    failure["requestId"].as_str().unwrap().to_owned()
}

async fn retry(carrier: &Carrier, request: &str) {
    let started = carrier.api.post(&format!("/webhooks/retry/{request}"), &json!({})).await.ok();
    assert_eq!(started, json!({ "status": "started retry" }));
}

async fn a_retry_uses_what_the_registration_says_now(data: &Data) {
    let host = host(data).await;
    let (old, new) = (Sink::start().await, Sink::start().await);
    old.answer(Answer::Status(500));
    new.script(|request| Answer::Status(if request.header("authorization") == "new" { 200 } else { 401 }));
    let acme = host.admin.carrier("acme").await;
    let record = at(&acme, &old, 11, json!({ "HEADERS": { "Authorization": "old", "x-env": "uat" } })).await;
    let payload = json!({ "state": "closed", "n": 1.50 });
    post(&acme, "evt", "case.closed", &payload).await;
    let failure = failed_when(&acme, 1).await.remove(0);
    let first = old.come(1).await.remove(0);
    let expected = json!({ "requestId": first.id, "subscriptionId": id(&record), "eventId": 11,
        "originalAttemptTime": T0.0 });
    assert_eq!(failure, expected);

    // Nothing is tried again by itself, and a retry that fails leaves the entry and its time as they were.
    host.clock.advance(Duration::from_secs(3_600));
    retry(&acme, &request(&failure)).await;
    acme.delivery_after("evt", 2).await;
    assert_eq!(failed_when(&acme, 1).await, [expected]);

    let update = format!("/webhooks/update/{}", id(&record));
    let address = json!({ "HTTP_POST_ADDRESS": new.url("/moved") });
    assert_eq!(patch(&acme.api, &update, &address).await.ok()["HTTP_POST_ADDRESS"], new.url("/moved"));
    retry(&acme, &request(&failure)).await;
    acme.delivery_after("evt", 3).await;
    assert_eq!(failed(&acme, "").await.len(), 1, "the new address wants other credentials");
    let token = json!({ "HEADERS": [{ "authorization": "new" }] });
    patch(&acme.api, &update, &token).await.ok();
    retry(&acme, &request(&failure)).await;
    let delivery = acme.delivery_in("evt", "delivered").await;
    let last = new.come(2).await.remove(1);
    assert_eq!((&last.id, &last.body), (&first.id, &first.body), "the same request with the same bytes");
    assert_eq!((last.path.as_str(), last.header("x-env")), ("/moved", "uat"));
    assert_eq!(delivery["attempts_made"], 4, "one transaction with all its attempts");
    assert_eq!(failed(&acme, "").await, [] as [Value; 0]);

    let again = acme.api.post(&format!("/webhooks/retry/{}", first.id), &json!({})).await;
    refused(again, 409, "ConflictError", "WRONG_STATE");
    for nobodys in ["01a201ce-e44d-76a1-92e3-6d7af500e1a1", "never-was"] {
        let answer = acme.api.post(&format!("/webhooks/retry/{nobodys}"), &json!({})).await;
        refused(answer, 404, "NotFoundError", "NOT_FOUND");
    }
    host.end().await;
}

async fn failures_are_found_by_time_event_and_registration(data: &Data) {
    let host = host(data).await;
    let sink = Sink::start().await;
    sink.answer(Answer::Status(503));
    let acme = host.admin.carrier("acme").await;
    let closed = at(&acme, &sink, 11, json!({})).await;
    let message = at(&acme, &sink, 14, json!({ "includeMessageClassifications": true })).await;
    // A delivery of the other face fails, too, and is none of these.
    acme.destination("plain", &sink, json!({})).await;
    let none = json!({ "profile": "none" });
    acme.subscription(
        "plain",
        json!({ "event_types": ["case.closed"], "destinations": ["plain"], "policy": none }),
    )
    .await;
    for n in 0..4 {
        post(&acme, &format!("closed-{n}"), "case.closed", &json!({})).await;
        post(&acme, &format!("message-{n}"), "message.created", &json!({})).await;
        failed_when(&acme, 2 * (n + 1)).await;
        host.clock.advance(Duration::from_secs(60));
    }
    acme.settled_events().await;
    let minute = |n: i64| T0.0 + n * 60_000;
    let count = async |more: &str| failed(&acme, more).await.len();
    assert_eq!(count("&eventId=14").await, 4);
    assert_eq!(count("&eventId=99").await, 0);
    assert_eq!(count(&format!("&subscriptionId={}", id(&closed))).await, 4);
    assert_eq!(count(&format!("&subscriptionId={}&eventId=14", id(&closed))).await, 0);
    assert_eq!(count("&subscriptionId=01a201ce-e44d-76a1-92e3-6d7af500e1a1").await, 0);
    let path = format!("/webhooks/failed?startTime={}&endTime={}", minute(1), minute(2));
    let some = acme.api.get(&path).await.ok();
    let times: Vec<_> =
        some.as_array().unwrap().iter().map(|f| f["originalAttemptTime"].as_i64().unwrap()).collect();
    assert_eq!(times, [minute(1), minute(1), minute(2), minute(2)], "both ends belong to it, oldest first");

    // Page by page, by the cursor and by the link.
    let mut seen = Vec::new();
    let mut next = Some("/webhooks/failed?startTime=0&limit=3".to_owned());
    while let Some(path) = next {
        let answer = acme.api.get(&path).await;
        let link = answer.headers.get("link").map(|link| link.to_str().unwrap().to_owned());
        let cursor = answer.headers.get("x-next-cursor").map(|cursor| cursor.to_str().unwrap().to_owned());
        next = link.map(|link| link[1..].split('>').next().unwrap().to_owned());
        assert_eq!(next.is_some(), cursor.is_some());
        if let (Some(next), Some(cursor)) = (&next, &cursor) {
            assert!(next.ends_with(&format!("&after={cursor}")), "{next}");
        }
        seen.extend(answer.ok().as_array().unwrap().clone());
    }
    assert_eq!(seen, failed(&acme, "").await);
    assert_eq!(seen.iter().map(request).collect::<BTreeSet<_>>().len(), 8);

    for (query, field) in [
        ("", "startTime"),
        ("startTime=x", "startTime"),
        ("startTime=5&endTime=4", "endTime"),
        ("startTime=0&eventId=x", "eventId"),
        ("startTime=0&subscriptionId=x", "subscriptionId"),
        ("startTime=0&limit=0", "limit"),
        ("startTime=0&after=x", "after"),
    ] {
        let answer = acme.api.get(&format!("/webhooks/failed?{query}")).await;
        assert_eq!(answer.body["field"], field, "{query}");
        refused(answer, 400, "ValidationError", "INVALID_PARAMETER");
    }

    // In bulk, by the same members: those of one registration, then those of an hour.
    sink.answer(Answer::Status(200));
    let bulk = async |body: Value| acme.api.post("/webhooks/retry", &body).await;
    let one = json!({ "startTime": 0, "subscriptionId": id(&message) });
    assert_eq!(bulk(one).await.ok(), json!({ "status": "started retry", "count": 4 }));
    failed_when(&acme, 4).await;
    let span = json!({ "startTime": minute(0).to_string(), "endTime": minute(1), "eventId": "11" });
    assert_eq!(bulk(span).await.ok()["count"], 2);
    failed_when(&acme, 2).await;
    refused(bulk(json!({})).await, 400, "ValidationError", "INVALID_PARAMETER");

    // After 30 days they are too old; unregistered, they are gone.
    host.clock.advance(Duration::from_secs(30 * 86_400 - 2 * 60 + 1));
    assert_eq!(failed(&acme, "").await.len(), 1);
    acme.api.delete(&format!("/webhooks/unregister/{}", id(&closed))).await.ok();
    assert_eq!(failed(&acme, "").await, [] as [Value; 0]);
    let gone = acme.api.post(&format!("/webhooks/retry/{}", request(&seen[0])), &json!({})).await;
    refused(gone, 404, "NotFoundError", "NOT_FOUND");
    host.end().await;
}

async fn a_restart_changes_nothing(data: &Data) {
    let sink = Sink::start().await;
    sink.answer(Answer::Status(500));
    let host = host(data).await;
    let acme = host.admin.carrier("acme").await;
    let more = json!({ "HEADERS": { "Authorization": "kept" }, "FILTER_BY": "state:open", "redacted": true });
    let record = at(&acme, &sink, 11, more).await;
    post(
        &acme,
        "evt",
        "case.closed",
        &json!({ "state": "open", "customer": { "first": "Maren", "id": "u" } }),
    )
    .await;
    let before = failed_when(&acme, 1).await;
    host.leave().await;

    let clock = Clock::manual(T0);
    let host = TestHost::with(data, clock, |config| config.webhooks.burst = 10_000).await;
    let acme = acme.at(&host.admin);
    assert_eq!(super::subscribed(&acme).await, [record]);
    assert_eq!(failed(&acme, "").await, before);
    sink.answer(Answer::Status(200));
    sink.forget();
    retry(&acme, &request(&before[0])).await;
    acme.delivery_in("evt", "delivered").await;
    assert_eq!(failed(&acme, "").await, [] as [Value; 0]);
    post(
        &acme,
        "evt-2",
        "case.closed",
        &json!({ "state": "open", "customer": { "first": "Dev", "id": "v" } }),
    )
    .await;
    post(&acme, "evt-3", "case.closed", &json!({ "state": "closed" })).await;
    acme.settled_events().await;
    let requests = sink.requests();
    assert_eq!(requests.len(), 2, "the filter holds on");
    for (request, user) in requests.iter().zip(["u", "v"]) {
        assert_eq!(request.json(), json!({ "state": "open", "customer": { "id": user } }));
        assert_eq!((request.header("authorization"), request.header("eventname")), ("kept", "CLOSE_CASE"));
    }
    host.end().await;
}

async fn an_address_that_was_given_up_comes_back_with_a_retry(data: &Data) {
    let host = host(data).await;
    let sink = Sink::start().await;
    sink.answer(Answer::Status(410));
    let acme = host.admin.carrier("acme").await;
    let record = at(&acme, &sink, 11, json!({ "POLICY": "standard" })).await;
    let destination = acme.path(&format!("destinations/webhook-{}", id(&record)));
    let stopped = |found: &Value| found["state"] == "disabled";
    post(&acme, "evt-1", "case.closed", &json!({})).await;
    acme.get_when(&destination, "the end of the destination", stopped).await;
    post(&acme, "evt-2", "case.closed", &json!({})).await;
    let failures = failed_when(&acme, 2).await;
    assert_eq!(sink.count(), 1, "the second one was not tried: its receiver had said that it is gone");

    sink.answer(Answer::Status(200));
    retry(&acme, &request(&failures[1])).await;
    failed_when(&acme, 0).await;
    acme.settled_events().await;
    assert_eq!(acme.api.get(&destination).await.ok()["state"], "enabled");
    assert_eq!(sink.count(), 3, "what was held has gone out as well");

    // The same by a change of the address, and in bulk.
    for again in ["patch", "bulk"] {
        sink.answer(Answer::Status(410));
        post(&acme, again, "case.closed", &json!({})).await;
        acme.get_when(&destination, "the end of the destination", stopped).await;
        sink.answer(Answer::Status(200));
        if again == "patch" {
            let change = json!({ "HTTP_POST_ADDRESS": sink.url("/moved") });
            patch(&acme.api, &format!("/webhooks/update/{}", id(&record)), &change).await.ok();
        } else {
            let started = acme.api.post("/webhooks/retry", &json!({ "startTime": 0 })).await.ok();
            assert_eq!(started["count"], 1);
        }
        acme.delivery_in(again, "delivered").await;
        assert_eq!(failed(&acme, "").await, [] as [Value; 0], "{again}");
    }
    host.end().await;
}
