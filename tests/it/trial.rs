//! Tests that carriers make: what a subscription would do with an event, and what a receiver says to it.

use hookyard_tests::client::{Carrier, one};
use hookyard_tests::data::Data;
use hookyard_tests::guests;
use hookyard_tests::host::TestHost;
use hookyard_tests::on_both;
use hookyard_tests::sink::{Answer, Gate, Sink};
use serde_json::{Value, json};

use crate::way::stock;

on_both! {
    a_subscription_is_tried_out_and_nothing_is_kept,
}

async fn try_out(carrier: &Carrier, body: Value) -> Value {
    carrier.api.post(&carrier.path("subscriptions/main/test"), &body).await.ok()
}

async fn nothing_is_kept(carrier: &Carrier) {
    for rest in ["events", "deliveries"] {
        assert_eq!(carrier.api.get(&carrier.path(rest)).await.ok()["items"], json!([]), "{rest}");
    }
}

async fn a_subscription_is_tried_out_and_nothing_is_kept(data: &Data) {
    let host = TestHost::start(data).await;
    let sink = Sink::start().await;
    let acme = host.admin.carrier("acme").await;
    let headers = json!({ "authorization": "Bearer s3cret" });
    let made = acme.destination("claims", &sink, json!({ "signing": "generate", "headers": headers })).await;
    let secret = made["signing_secret"].as_str().unwrap();
    acme.plugin("redact", stock("redact"), "?wall_ms=900").await;
    acme.plugin("hello", guests::HELLO, "?wall_ms=900").await;
    let spec = json!({ "event_types": ["case.*"], "filter": "caseData.brand == \"Northbank Mutual\"",
        "plugins": ["hello", "redact"], "settings": { "paths": "customer.email" }, "destinations": ["claims"] });
    acme.subscription("main", spec).await;

    // Without `send` nothing leaves.
    let dry = try_out(&acme, json!({ "event_type": "case.closed" })).await;
    assert_eq!((&dry["match"], &dry["state"]), (&json!("matched"), &json!("active")));
    let routing = &dry["routing"];
    let versions = json!([{ "plugin": "hello", "version": 1 }, { "plugin": "redact", "version": 1 }]);
    assert_eq!((&routing["state"], &routing["verdict"]), (&json!("routed"), &json!("forward")));
    assert_eq!(routing["versions"], versions);
    let greeting = format!("hello, {}", dry["event"]["id"].as_str().unwrap());
    assert_eq!(routing["log"], json!([{ "plugin": "hello", "level": "info", "message": greeting }]));
    assert!(routing["cost_us"].as_u64().unwrap() > 0);
    let delivery = one(&routing["deliveries"]);
    assert_eq!((&delivery["destination"], &delivery["state"]), (&json!("claims"), &json!("pending")));
    let body: Value = serde_json::from_str(delivery["body"]["text"].as_str().unwrap()).unwrap();
    assert_eq!(body["customer"].get("email"), None, "what the plugin makes of the example");
    assert_eq!(body["customer"]["first"], "Tilda");
    assert_eq!((delivery.get("attempt"), sink.count()), (None, 0));

    // With it, each delivery is attempted once.
    sink.script(|_| Answer::With(503, "x-says", "later".to_owned()));
    let payload = json!({ "caseData": { "brand": "Northbank Mutual" }, "n": 1 });
    let wet = try_out(&acme, json!({ "event_type": "case.mine", "payload": payload, "send": true })).await;
    let delivery = one(&wet["routing"]["deliveries"]);
    let attempt = &delivery["attempt"];
    assert_eq!((&attempt["status"], &attempt["response_headers"]["x-says"]), (&json!(503), &json!("later")));
    assert_eq!(attempt["request"]["headers"]["authorization"], "***", "secrets are not shown");
    let request = one_request(&sink);
    assert_eq!((request.json(), request.header("authorization")), (payload, "Bearer s3cret"));
    assert!(request.verified(secret));
    assert_eq!(request.header("requestid"), delivery["id"].as_str().unwrap());
    assert_eq!(request.header("eventid"), wet["event"]["id"].as_str().unwrap());

    // What does not match says why, and goes no further.
    let other = json!({ "event_type": "case.closed", "payload": { "caseData": {} }, "send": true });
    let filtered = try_out(&acme, other).await;
    assert_eq!((&filtered["match"], filtered.get("routing")), (&json!("filtered"), None));
    let why = "the filter asks for what does not hold: caseData.brand == \"Northbank Mutual\"";
    assert_eq!(filtered["why"], why);

    // A paused subscription can be tried out; a disabled destination is not sent to.
    acme.api.post(&acme.path("subscriptions/main/pause"), &json!({})).await.ok();
    acme.api.post(&acme.path("destinations/claims/disable"), &json!({})).await.ok();
    let held = try_out(&acme, json!({ "event_type": "case.closed", "send": true })).await;
    assert_eq!(held["state"], "paused");
    let delivery = one(&held["routing"]["deliveries"]);
    assert_eq!((&delivery["state"], delivery.get("attempt")), (&json!("held"), None));
    assert_eq!(delivery["error"], "not sent: the destination is disabled, and its deliveries are held");

    assert_eq!(sink.count(), 1);
    nothing_is_kept(&acme).await;
    let health = acme.api.get(&acme.path("destinations/claims")).await.ok();
    assert_eq!(health.get("failing_since_ms"), None, "a test that fails says nothing about the destination");
    host.end().await;
}

fn one_request(sink: &Sink) -> hookyard_tests::sink::Request {
    let mut requests = sink.requests();
    assert_eq!(requests.len(), 1);
    requests.remove(0)
}

#[tokio::test]
async fn what_a_plugin_does_wrong_is_told_and_held_against_nobody() {
    let (data, sink) = (Data::sqlite().await, Sink::start().await);
    let host = TestHost::with(&data, hookyard::clock::Clock::system(), |config| {
        config.plugins.breaker_faults = 2;
        config.plugins.wall_ms_max = 60_000;
    })
    .await;
    let acme = host.admin.carrier("acme").await;
    acme.destination("claims", &sink, json!({})).await;
    acme.plugin("p", guests::HOSTILE, "?wall_ms=20000").await;
    acme.subscription("main", json!({ "plugins": ["p"], "destinations": ["claims"] })).await;
    let harm = async |harm: Value| {
        let body = json!({ "event_type": "case.closed", "payload": harm, "send": true });
        try_out(&acme, body).await["routing"].clone()
    };
    for (payload, state, why) in [
        (json!({ "do": "trap" }), "parked", "plugin p version 1: the plugin trapped"),
        (json!({ "do": "panic", "with": "no such state" }), "parked", "no such state"),
        (json!({ "do": "memory" }), "parked", "limit memory_bytes hit"),
        (json!({ "do": "later", "with": "not yet" }), "later", "not yet"),
        (json!({ "do": "reject", "with": "not mine" }), "parked", "rejected: not mine"),
        (json!({ "do": "deliver", "with": "elsewhere" }), "parked", "elsewhere"),
    ] {
        let routing = harm(payload).await;
        assert_eq!((&routing["state"], &routing["deliveries"]), (&json!(state), &json!([])), "{routing:#}");
        assert!(routing["reason"].as_str().unwrap().contains(why), "{routing:#}");
    }
    assert_eq!(sink.count(), 0);
    // The breaker would have opened at the second fault.
    acme.post("evt", &json!({ "do": "nothing" })).await;
    acme.delivery_in("evt", "delivered").await;
    // And when it is open, a test runs the version all the same.
    for n in 0..2 {
        acme.post(&format!("trap-{n}"), &json!({ "do": "trap" })).await;
        acme.routing_when(&format!("trap-{n}"), "parked", |routing| routing["state"] == "parked").await;
    }
    let routing = harm(json!({ "do": "deliver", "with": "claims" })).await;
    assert_eq!((&routing["state"], &routing["verdict"]), (&json!("routed"), &json!("deliver")));
    assert_eq!(one(&routing["deliveries"])["attempt"]["outcome"], "delivered");
    acme.post("held", &json!({ "do": "nothing" })).await;
    acme.routing_when("held", "held", |routing| routing["state"] == "held").await;
    // A subscription whose plugin is not there yet says so.
    acme.upload("q", guests::HELLO, "?wall_ms=900").await.ok();
    acme.subscription("main", json!({ "plugins": ["q"], "destinations": ["claims"] })).await;
    let routing = harm(json!({})).await;
    let expected = (&json!("held"), &json!("plugin `q` has no active version"));
    assert_eq!((&routing["state"], &routing["reason"]), expected);
    host.leave().await;
}

#[tokio::test]
async fn every_delivery_of_a_verdict_is_attempted() {
    let (data, sink) = (Data::sqlite().await, Sink::start().await);
    let host = TestHost::start(&data).await;
    let acme = host.admin.carrier("acme").await;
    acme.destination("claims", &sink, json!({})).await;
    acme.plugin("p", guests::HOSTILE, "?wall_ms=900").await;
    acme.subscription("main", json!({ "plugins": ["p"], "destinations": ["claims"] })).await;
    let body = json!({ "event_type": "any", "payload": { "do": "many", "with": 5 }, "send": true });
    let tried = try_out(&acme, body).await;
    let deliveries = tried["routing"]["deliveries"].as_array().unwrap().clone();
    let ids: Vec<_> = sink.requests().into_iter().map(|request| json!(request.id)).collect();
    assert_eq!(deliveries.iter().map(|one| one["id"].clone()).collect::<Vec<_>>(), ids);
    assert_eq!(ids.len(), 5);
    assert!(deliveries.iter().all(|one| one["attempt"]["outcome"] == "delivered"), "{deliveries:?}");
    // A delivery for later is tried now, and says when it would have been due.
    let body =
        json!({ "event_type": "any", "payload": { "do": "deliver-later", "with": 3_600_000 }, "send": true });
    let later = one(&try_out(&acme, body).await["routing"]["deliveries"]);
    assert!(later["due_ms"].as_i64().unwrap() > host.clock.now().0 + 3_000_000);
    assert_eq!(later["attempt"]["outcome"], "delivered");
    nothing_is_kept(&acme).await;
    host.end().await;
}

#[tokio::test]
async fn a_test_does_not_send_for_ever() {
    let (data, sink) = (Data::sqlite().await, Sink::start().await);
    let host = TestHost::on_manual_clock(&data).await;
    let acme = host.admin.carrier("acme").await;
    acme.destination("claims", &sink, json!({})).await;
    acme.plugin("p", guests::HOSTILE, "?wall_ms=900").await;
    acme.subscription("main", json!({ "plugins": ["p"], "destinations": ["claims"] })).await;
    // Each receiver takes half a minute.
    let clock = host.clock.clone();
    sink.script(move |_| {
        clock.advance(std::time::Duration::from_secs(30));
        Answer::Status(200)
    });
    let body = json!({ "event_type": "any", "payload": { "do": "many", "with": 4 }, "send": true });
    let tried = try_out(&acme, body).await;
    let deliveries = tried["routing"]["deliveries"].as_array().unwrap();
    let outcome = |one: &Value| one["attempt"]["outcome"].as_str().map(str::to_owned);
    let delivered = || Some("delivered".to_owned());
    let outcomes: Vec<_> = deliveries.iter().map(outcome).collect();
    assert_eq!(outcomes, [delivered(), delivered(), None, None]);
    assert_eq!(deliveries[3]["error"], "not sent: the limit `test_seconds` is 60");
    assert_eq!(sink.count(), 2);
    host.end().await;
}

#[tokio::test]
async fn a_destinations_test_sends_an_example_and_only_so_many_at_once() {
    let (data, sink) = (Data::sqlite().await, Sink::start().await);
    let host = TestHost::start(&data).await;
    let acme = host.admin.carrier("acme").await;
    acme.destination("claims", &sink, json!({})).await;
    acme.subscription("main", json!({ "destinations": ["claims"] })).await;
    let path = acme.path("destinations/claims/test");
    let tested = acme.api.post(&path, &json!({ "event_type": "contact.updated" })).await.ok();
    assert_eq!((&tested["outcome"], &tested["request"]["method"]), (&json!("delivered"), &json!("POST")));
    let request = one_request(&sink);
    assert_eq!(request.header("eventname"), "contact.updated");
    assert_eq!(request.json()["optStatus"], "PENDING_OPT_IN");

    sink.forget();
    let gate = Gate::default();
    sink.answer(gate.before(Answer::Status(200)));
    let tests: Vec<_> = (0..16)
        .map(|n| {
            let (api, path) = (acme.api.clone(), path.clone());
            let whole = acme.path("subscriptions/main/test");
            let (path, body) = match n % 2 {
                0 => (path, json!({ "payload": n })),
                _ => (whole, json!({ "event_type": "any", "payload": n, "send": true })),
            };
            tokio::spawn(async move { api.post(&path, &body).await })
        })
        .collect();
    sink.come(16).await;
    for path in [path, acme.path("subscriptions/main/test")] {
        let refused = acme.api.post(&path, &json!({ "payload": 1, "event_type": "any" })).await;
        assert_eq!(refused.headers["retry-after"], "1");
        let problem = refused.problem(503, "busy");
        assert!(problem["detail"].as_str().unwrap().contains("the limit `tests` is reached"), "{problem}");
    }
    gate.open();
    for test in tests {
        test.await.unwrap().ok();
    }
    nothing_is_kept(&acme).await;
    host.end().await;
}
