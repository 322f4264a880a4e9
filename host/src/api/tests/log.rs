//! Why an event went where it went, and what a carrier can do about it.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::json;

use super::{Bench, START};
use crate::carrier::PluginRef;
use crate::event::{DeliveryId, Event, delivery_id};
use crate::store::work::{
    Body, DeliveryState, Message, NewAttempt, NewDelivery, NewRouting, Next, Plan, RoutingState, UsedVersion,
    VerdictKind,
};

/// An event with one delivery that is dead after one attempt, and one routing that is parked.
async fn routed(bench: &Bench) -> DeliveryId {
    let destination = json!({"kind": "http", "url": "https://example.com/"}).to_string();
    let path = "/v1/carriers/acme/destinations/main";
    bench.call(&bench.admin, "PUT", path, &destination).await.is(201);
    for id in ["one", "two"] {
        let path = format!("/v1/carriers/acme/subscriptions/{id}");
        bench.call(&bench.admin, "PUT", &path, r#"{"event_types":["*"]}"#).await.is(201);
    }
    let body = r#"{"carrier":"acme","id":"e/1","type":"case.closed","payload":{"a": 1}}"#;
    bench.post(&bench.publisher, "/v1/events", body).await.is(202);
    let event = Arc::new(Event {
        carrier: "acme".parse().unwrap(),
        id: "e/1".parse().unwrap(),
        event_type: "case.closed".parse().unwrap(),
        received: START,
        attributes: [].into(),
        payload: Bytes::from_static(b"{\"a\": 1}"),
    });
    let subscription = "one".parse().unwrap();
    let id = delivery_id(&event, &subscription, 0);
    let delivery = NewDelivery {
        id: id.clone(),
        destination: "main".parse().unwrap(),
        message: Message::forwarded(),
        body: Body::Bytes(Bytes::from_static(b"<a/>")),
        order_key: None,
        due: START,
        hold: true,
        state: DeliveryState::Pending,
        error: None,
    };
    let plugin: PluginRef = "shared/redact".parse().unwrap();
    let good = NewRouting {
        subscription,
        state: RoutingState::Routed,
        verdict: Some(VerdictKind::Forward),
        reason: None,
        versions: vec![UsedVersion { plugin, version: 3 }],
        tries: 1,
        due: None,
        cost_us: 21,
        log: Some(r#"[{"level":"info","message":"hello"}]"#.to_owned()),
        deliveries: vec![delivery],
    };
    let parked = NewRouting {
        subscription: "two".parse().unwrap(),
        state: RoutingState::Parked,
        verdict: None,
        reason: Some("the plugin trapped: unreachable".to_owned()),
        versions: Vec::new(),
        log: None,
        deliveries: Vec::new(),
        ..good.clone()
    };
    let plan = Plan { event, routings: vec![good, parked], collected: Vec::new(), whole_event: true };
    let (done, planned) = tokio::sync::oneshot::channel();
    bench.store.plan(plan, Box::new(move |result| drop(done.send(result))));
    planned.await.unwrap().unwrap();
    let attempt = NewAttempt {
        carrier: "acme".parse().unwrap(),
        delivery: id.clone(),
        number: 1,
        started: START,
        duration_us: 1_500,
        outcome: "status",
        status: Some(500),
        error: Some("the receiver answered 500".to_owned()),
        request: r#"{"line":"POST / HTTP/1.1"}"#.to_owned(),
        response_headers: Some("{}".to_owned()),
        response_body: Some(Bytes::from_static(b"oops")),
        next: Next::Dead,
        destination: None,
    };
    let (done, recorded) = tokio::sync::oneshot::channel();
    bench.store.record(attempt, Box::new(move |result| drop(done.send(result))));
    recorded.await.unwrap().unwrap();
    id
}

#[tokio::test]
async fn an_event_explains_where_it_went() {
    let bench = Bench::new().await;
    let acme = bench.carrier("acme").await;
    let id = routed(&bench).await;
    let shown = bench.get(&acme, "/v1/carriers/me/events/e%2F1").await.is(200);
    assert_eq!((&shown["type"], &shown["payload"]), (&json!("case.closed"), &json!({"a": 1})));
    assert_eq!((&shown["routed"], &shown["more_deliveries"]), (&json!(true), &json!(false)));
    let [one, two] = shown["routings"].as_array().unwrap().as_slice() else { panic!("{shown}") };
    assert_eq!(one["versions"], json!([{"plugin": "shared/redact", "version": 3}]));
    assert_eq!((&one["verdict"], &one["log"][0]["message"]), (&json!("forward"), &json!("hello")));
    let delivery = &one["deliveries"][0];
    assert_eq!((&delivery["id"], &delivery["state"]), (&json!(id), &json!("dead")));
    assert_eq!(delivery["body"], json!({"kind": "text", "text": "<a/>"}));
    let attempt = &delivery["attempts"][0];
    assert_eq!((&attempt["status"], &attempt["response_body"]), (&json!(500), &json!("oops")));
    assert_eq!(attempt["request"], json!({"line": "POST / HTTP/1.1"}));
    assert_eq!((&two["state"], &two["deliveries"]), (&json!("parked"), &json!([])));
    assert_eq!(two["reason"], "the plugin trapped: unreachable");
    assert_eq!(bench.get(&acme, "/v1/carriers/me/events/none").await.code(), (404, "not_found"));

    let retry = |subscription: &str| format!("/v1/carriers/me/events/e%2F1/routings/{subscription}/retry");
    bench.post(&acme, &retry("two"), "").await.is(202);
    assert_eq!(bench.post(&acme, &retry("one"), "").await.code(), (409, "wrong_state"));
    assert_eq!(bench.post(&acme, &retry("three"), "").await.code(), (404, "not_found"));
}

#[tokio::test]
async fn deliveries_are_found_retried_and_cancelled() {
    let bench = Bench::new().await;
    let acme = bench.carrier("acme").await;
    let id = routed(&bench).await;
    let found = async |query: &str| {
        let path = format!("/v1/carriers/me/deliveries?{query}");
        bench.get(&acme, &path).await.is(200)["items"].as_array().unwrap().len()
    };
    for query in [
        "",
        "state=dead,failed",
        "event=e%2F1",
        "destination=main&subscription=one",
        "status=500",
        "event_type=case.closed&from_ms=1761300000000",
    ] {
        assert_eq!(found(query).await, 1, "{query}");
    }
    for query in ["state=pending", "event=x", "destination=x", "status=200", "until_ms=1761300000000"] {
        assert_eq!(found(query).await, 0, "{query}");
    }
    for query in ["state=gone", "colour=red", "status=x", "after=%00"] {
        let answer = bench.get(&acme, &format!("/v1/carriers/me/deliveries?{query}")).await;
        assert_eq!(answer.code(), (400, "invalid_parameter"), "{query}");
    }
    let path = format!("/v1/carriers/me/deliveries/{id}");
    assert_eq!(bench.get(&acme, &path).await.is(200)["attempts"][0]["number"], 1);
    let many = "/v1/carriers/me/deliveries/retry";
    assert_eq!(bench.post(&acme, many, r#"{"destination":"other"}"#).await.is(202), json!({"retried": 0}));
    assert_eq!(bench.post(&acme, many, r#"{"states":["dead"]}"#).await.is(202), json!({"retried": 1}));
    assert_eq!(bench.get(&acme, &path).await.is(200)["state"], "pending");
    bench.post(&acme, &format!("{path}/cancel"), "").await.is(202);
    assert_eq!(bench.get(&acme, &path).await.is(200)["state"], "cancelled");
    bench.post(&acme, &format!("{path}/retry"), "").await.is(202);

    let other = bench.carrier("other").await;
    for (method, path) in
        [("GET", path.clone()), ("POST", format!("{path}/cancel")), ("POST", format!("{path}/retry"))]
    {
        assert_eq!(bench.call(&other, method, &path, "").await.code(), (404, "not_found"), "{method}");
    }
}
