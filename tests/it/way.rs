//! The whole way of an event: posted, matched, decided by plugins, delivered, explained.

use axum::http::Method;
use hookyard_tests::client::{Carrier, one};
use hookyard_tests::data::Data;
use hookyard_tests::guests;
use hookyard_tests::host::TestHost;
use hookyard_tests::on_both;
use hookyard_tests::sink::{Request, Sink};
use serde_json::{Value, json};

on_both! {
    an_event_is_transformed_signed_delivered_and_explained,
    every_form_of_event_arrives,
    a_verdict_decides_what_is_sent,
    subscriptions_choose_by_type_and_filter,
}

pub(crate) fn stock(name: &str) -> &'static [u8] {
    hookyard::stock::find(name).unwrap().bytes
}

fn at<'a>(requests: &'a [Request], path: &str) -> &'a Request {
    requests.iter().find(|r| r.path == path).unwrap_or_else(|| panic!("nothing came to {path}"))
}

async fn an_event_is_transformed_signed_delivered_and_explained(data: &Data) {
    let host = TestHost::start(data).await;
    let sink = Sink::start().await;
    let acme = host.admin.carrier("acme").await;
    let headers = json!({ "authorization": "Bearer s3cret" });
    let made = acme.destination("claims", &sink, json!({ "signing": "generate", "headers": headers })).await;
    let secret = made["signing_secret"].as_str().unwrap();
    acme.plugin("redact", stock("redact"), "").await;
    acme.plugin("envelope", stock("envelope"), "?wall_ms=900").await;
    let settings = json!({ "add": "{\"meta.type\": \"${type}\"}", "paths": "customer.email" });
    let chain =
        json!({ "plugins": ["redact", "envelope"], "settings": settings, "destinations": ["claims"] });
    acme.subscription("main", chain).await;

    let payload = json!({ "state": "open", "customer": { "email": "a@b.test", "id": 7 } });
    acme.post("evt-1", &payload).await;
    let request = sink.come(1).await.remove(0);
    let expected = json!({ "state": "open", "customer": { "id": 7 }, "meta": { "type": "case.closed" } });
    assert_eq!(request.json(), expected);
    assert_eq!((request.method.as_str(), request.path.as_str()), ("POST", "/claims"));
    assert!(request.verified(secret), "{:?}", request.headers);
    assert_eq!(request.header("authorization"), "Bearer s3cret");
    assert_eq!(request.header("eventid"), "evt-1");
    assert_eq!(request.header("eventname"), "case.closed");
    assert_eq!(request.header("webhook-id"), request.id);

    let delivery = acme.delivery_in("evt-1", "delivered").await;
    assert_eq!((&delivery["id"], &delivery["destination"]), (&json!(request.id), &json!("claims")));
    let attempt = one(&delivery["attempts"]);
    assert_eq!((&attempt["outcome"], &attempt["status"]), (&json!("delivered"), &json!(200)));
    assert_eq!(attempt["request"]["headers"]["authorization"], "***", "secrets are not shown");
    let event = acme.event("evt-1").await;
    assert_eq!((&event["payload"], &event["routed"]), (&payload, &json!(true)));
    let routing = one(&event["routings"]);
    let versions = json!([{ "plugin": "redact", "version": 1 }, { "plugin": "envelope", "version": 1 }]);
    assert_eq!((&routing["versions"], &routing["verdict"]), (&versions, &json!("forward")));
    assert_eq!((&routing["state"], &routing["tries"]), (&json!("routed"), &json!(1)));
    host.end().await;
}

async fn every_form_of_event_arrives(data: &Data) {
    let host = TestHost::start(data).await;
    let sink = Sink::start().await;
    let acme = host.admin.carrier("acme").await;
    acme.destination("claims", &sink, json!({})).await;
    acme.subscription("main", json!({ "destinations": ["claims"] })).await;

    let plain = |id: &str| {
        json!({ "carrier": "acme", "id": id, "type": "case.closed", "time": "2026-01-02T03:04:05Z",
        "source": "/cases", "subject": "7", "attributes": { "event-id": 20 }, "payload": { "n": id } })
    };
    let cloud = |id: &str| {
        json!({ "specversion": "1.0", "carrier": "acme", "id": id, "type": "case.closed",
        "time": "2026-01-02T03:04:05Z", "source": "/cases", "subject": "7", "eventid": "20", "data": { "n": id } })
    };
    let posts: [(&[(&str, &str)], Value); 5] = [
        (&[("content-type", "application/json")], plain("plain")),
        (&[("content-type", "application/json")], json!([plain("batch-1"), plain("batch-2")])),
        (&[("content-type", "application/cloudevents+json")], cloud("structured")),
        (
            &[("content-type", "application/cloudevents-batch+json")],
            json!([cloud("cloud-1"), cloud("cloud-2")]),
        ),
        (
            &[
                ("content-type", "application/json"),
                ("ce-specversion", "1.0"),
                ("ce-id", "binary"),
                ("ce-type", "case.closed"),
                ("ce-source", "/cases"),
                ("ce-subject", "7"),
                ("ce-time", "2026-01-02T03:04:05Z"),
                ("ce-carrier", "acme"),
                ("ce-eventid", "20"),
            ],
            json!({ "n": "binary" }),
        ),
    ];
    let mut ids = Vec::new();
    for (headers, body) in posts {
        let answer = host.admin.call(Method::POST, "/v1/events", headers, body.to_string().into()).await;
        assert_eq!(answer.status, 202, "{:#}", answer.body);
        ids.extend(answer.body["accepted"].as_array().unwrap().iter().map(|one| one["id"].clone()));
    }
    assert_eq!(ids, ["plain", "batch-1", "batch-2", "structured", "cloud-1", "cloud-2", "binary"]);

    let requests = sink.come(7).await;
    for id in ids.iter().map(|id| id.as_str().unwrap()) {
        let request = requests.iter().find(|r| r.json()["n"] == id).unwrap_or_else(|| panic!("no {id}"));
        assert_eq!((request.header("eventid"), request.header("eventname")), ("20", "case.closed"), "{id}");
        let event = acme.event(id).await;
        assert_eq!((&event["type"], &event["payload"]), (&json!("case.closed"), &json!({ "n": id })));
        for (name, value) in [("source", "/cases"), ("subject", "7"), ("time", "2026-01-02T03:04:05Z")] {
            assert_eq!(event["attributes"][name], value, "{id}");
        }
        acme.delivery_in(id, "delivered").await;
    }
    host.end().await;
}

async fn a_verdict_decides_what_is_sent(data: &Data) {
    let host = TestHost::start(data).await;
    let sink = Sink::start().await;
    let acme = host.admin.carrier("acme").await;
    for name in ["claims", "archive", "other"] {
        acme.destination(name, &sink, json!({})).await;
    }
    acme.plugin("route", stock("route"), "?wall_ms=900").await;
    acme.plugin("hostile", guests::HOSTILE, "?wall_ms=900").await;
    let both = json!(["claims", "archive"]);
    let routes = json!({ "path": "line", "routes": "auto=claims|archive; home=archive; boat=other" });
    let route = json!({ "plugins": ["route"], "settings": routes, "destinations": both });
    acme.subscription("main", json!({ "event_types": ["case.*"], "destinations": both })).await;

    // Forward goes to all destinations of the subscription.
    acme.post("forwarded", &json!({ "line": "auto" })).await;
    let requests = sink.come(2).await;
    assert_ne!(at(&requests, "/claims").id, at(&requests, "/archive").id);
    acme.event_when("forwarded", "the end", all_delivered).await;

    // Deliver goes where the plugin says.
    acme.subscription("main", route).await;
    acme.post("delivered", &json!({ "line": "home" })).await;
    let requests = sink.come(3).await;
    assert_eq!(requests[2].path, "/archive");
    assert_eq!(
        acme.event_when("delivered", "the end", all_delivered).await["routings"][0]["verdict"],
        "deliver"
    );

    // Drop sends nothing and keeps the reason.
    acme.post("dropped", &json!({ "line": "life" })).await;
    let routing = acme.routing_when("dropped", "a routing", |r| r["state"] == "routed").await;
    assert_eq!((&routing["verdict"], &routing["deliveries"]), (&json!("drop"), &json!([])));
    assert!(routing["reason"].as_str().unwrap().contains("life"), "{routing:#}");

    // A destination that the subscription was not granted is a fault of the plugin: parked, nothing sent.
    acme.post("not-granted", &json!({ "line": "boat" })).await;
    let routing = acme.routing_when("not-granted", "a routing", |r| r["state"] == "parked").await;
    let reason = routing["reason"].as_str().unwrap();
    assert!(reason.contains("other") && reason.contains("plugin route version 1"), "{reason}");
    // When it has been granted, the event can be run again by hand.
    let all = json!(["claims", "archive", "other"]);
    let granted = json!({ "plugins": ["route"], "destinations": all,
        "settings": { "path": "line", "routes": "boat=other" } });
    acme.subscription("main", granted).await;
    let again = acme.path("events/not-granted/routings/main/retry");
    assert_eq!(acme.api.post(&again, &json!({})).await.status, 202);
    assert_eq!(sink.come(4).await[3].path, "/other");
    acme.delivery_in("not-granted", "delivered").await;
    host.end().await;
}

fn all_delivered(event: &Value) -> bool {
    let deliveries = event["routings"][0]["deliveries"].as_array();
    deliveries.is_some_and(|all| !all.is_empty() && all.iter().all(|d| d["state"] == "delivered"))
}

async fn subscriptions_choose_by_type_and_filter(data: &Data) {
    let host = TestHost::start(data).await;
    let sink = Sink::start().await;
    let acme = host.admin.carrier("acme").await;
    for name in ["a", "b", "c", "d"] {
        acme.destination(name, &sink, json!({})).await;
    }
    let exact = json!({ "event_types": ["case.closed"], "destinations": ["a"] });
    acme.subscription("exact", exact).await;
    let prefix = json!({ "event_types": ["case.*"], "filter": "n > 1", "destinations": ["b"] });
    acme.subscription("prefix", prefix).await;
    acme.subscription("other", json!({ "event_types": ["user.*"], "destinations": ["c"] })).await;
    acme.subscription("paused", json!({ "destinations": ["d"] })).await;
    acme.api.post(&acme.path("subscriptions/paused/pause"), &json!({})).await.ok();

    acme.post("one", &json!({ "n": 1 })).await;
    acme.post("two", &json!({ "n": 2 })).await;
    sink.come(3).await;
    acme.settled().await;
    let states = |event: &Value| -> Vec<(Value, Value)> {
        let mut all: Vec<_> = event["routings"].as_array().unwrap().to_vec();
        all.sort_by_key(|r| r["subscription"].to_string());
        all.into_iter().map(|r| (r["subscription"].clone(), r["state"].clone())).collect()
    };
    let expected = |prefix: &str| {
        [("exact", "routed"), ("prefix", prefix)].map(|(s, state)| (json!(s), json!(state))).to_vec()
    };
    assert_eq!(states(&acme.event("one").await), expected("filtered"));
    assert_eq!(states(&acme.event("two").await), expected("routed"));
    let mut paths: Vec<_> = sink.requests().into_iter().map(|r| r.path).collect();
    paths.sort();
    assert_eq!(paths, ["/a", "/a", "/b"]);

    // A filter that cannot be read is refused when it is written, with the place.
    let wrong = json!({ "event_types": ["*"], "filter": "n >" });
    let problem = acme.api.put(&acme.path("subscriptions/wrong"), &wrong).await.problem(422, "invalid_body");
    assert_eq!(problem["field"], "filter", "{problem:#}");
    host.end().await;
}

/// A carrier `acme` with the destination `claims` at the sink and a subscription of everything to it.
pub(crate) async fn simple(host: &TestHost, sink: &Sink, policy: Value) -> Carrier {
    let acme = host.admin.carrier("acme").await;
    acme.destination("claims", sink, json!({})).await;
    acme.subscription("main", json!({ "destinations": ["claims"], "policy": policy })).await;
    acme
}
