//! What the host sends and takes, judged by others' implementations in their own languages.

use axum::http::Method;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hookyard_tests::data::Data;
use hookyard_tests::host::TestHost;
use hookyard_tests::sink::Sink;
use hookyard_tests::verifiers::{python, signed, verified_in_javascript, verified_in_python};
use serde_json::{Value, json};

#[tokio::test]
async fn signatures_are_verified_in_python_and_javascript() {
    let (data, sink) = (Data::sqlite().await, Sink::start().await);
    let host = TestHost::start(&data).await;
    let acme = host.admin.carrier("acme").await;
    let made = acme.destination("claims", &sink, json!({ "signing": "generate" })).await;
    acme.subscription("main", json!({ "destinations": ["claims"] })).await;
    let secret = |made: &Value| made["signing_secret"].as_str().unwrap().to_owned();
    let first = secret(&made);
    acme.post("plain", &json!({ "n": 1 })).await;
    sink.come(1).await;
    // Both secrets sign for a while after a rotation.
    let rotate = acme.path("destinations/claims/rotate-secret");
    let second = secret(&acme.api.post(&rotate, &json!({})).await.ok());
    acme.post("other", &json!({ "text": "Euro € 😀 \u{1f} \"quoted\"", "n": 1.50 })).await;
    let requests = sink.come(2).await;

    let mut bent = requests[0].clone();
    bent.body = b"{\"n\":2}".to_vec();
    let mut late = requests[0].clone();
    late.headers.insert("webhook-timestamp".to_owned(), "1614265330".to_owned());
    let cases = [
        (signed(&requests[0], &first), true),
        (signed(&requests[0], &second), false),
        (signed(&requests[1], &first), true),
        (signed(&requests[1], &second), true),
        (signed(&bent, &first), false),
        (signed(&late, &first), false),
    ];
    let (cases, expected): (Vec<_>, Vec<_>) = cases.into_iter().unzip();
    assert_eq!(verified_in_python(&cases).await, expected);
    assert_eq!(verified_in_javascript(&cases).await, expected);
    host.end().await;
}

#[tokio::test]
async fn asymmetric_signatures_are_verified_with_the_public_key() {
    let (data, sink) = (Data::sqlite().await, Sink::start().await);
    let host = TestHost::start(&data).await;
    let acme = host.admin.carrier("acme").await;
    let made = acme.destination("claims", &sink, json!({ "signing": "generate_ed25519" })).await;
    let public = made["signing"][0]["public_key"].as_str().unwrap().to_owned();
    let other = acme.destination("other", &sink, json!({ "signing": "generate_ed25519" })).await;
    let others = other["signing"][0]["public_key"].as_str().unwrap().to_owned();
    acme.subscription("main", json!({ "destinations": ["claims"] })).await;
    acme.post("evt", &json!({ "text": "€" })).await;
    let request = sink.come(1).await.remove(0);
    let mut bent = request.clone();
    bent.body.push(b' ');
    let cases = [signed(&request, &public), signed(&request, &others), signed(&bent, &public)];
    assert_eq!(verified_in_python(&cases).await, [true, false, false]);
    host.end().await;
}

#[tokio::test]
async fn events_that_a_cloudevents_sdk_makes_are_taken_and_arrive() {
    let (data, sink) = (Data::sqlite().await, Sink::start().await);
    let host = TestHost::start(&data).await;
    let acme = host.admin.carrier("acme").await;
    acme.destination("claims", &sink, json!({})).await;
    acme.subscription("main", json!({ "destinations": ["claims"] })).await;
    let payload = |n: usize| json!({ "n": n, "text": "Euro € 😀", "list": [1.5, null, { "a": true }] });
    for mode in ["binary", "structured", "batch"] {
        let event = |n: usize| {
            let attributes = json!({
                "id": format!("{mode}-{n}"), "type": "case.closed", "source": "/shop/1", "subject": "Euro € 😀 \"x\" 100 %",
                "datacontenttype": "application/json", "carrier": "acme", "brand": "north",
            });
            json!({ "attributes": attributes, "data": payload(n) })
        };
        let events: Vec<Value> = (0..3).map(event).collect();
        let made = python("cloudevents_requests.py", &json!(events)).await;
        let requests =
            if mode == "batch" { vec![made[mode].clone()] } else { made[mode].as_array().unwrap().clone() };
        for request in requests {
            let headers = request["headers"].as_object().unwrap();
            let headers: Vec<_> =
                headers.iter().map(|(name, value)| (name.as_str(), value.as_str().unwrap())).collect();
            let body = STANDARD.decode(request["body"].as_str().unwrap()).unwrap();
            let answer = acme.publisher.call(Method::POST, "/v1/events", &headers, body.into()).await;
            assert_eq!(answer.status, 202, "{mode}: {:#}", answer.body);
        }
        for n in 0..3 {
            let event = acme.event(&format!("{mode}-{n}")).await;
            assert_eq!(event["payload"], payload(n), "{mode}");
            let attributes = &event["attributes"];
            assert_eq!(attributes["subject"], "Euro € 😀 \"x\" 100 %", "{mode}");
            assert_eq!((&attributes["source"], &attributes["brand"]), (&json!("/shop/1"), &json!("north")));
            acme.delivery_in(&format!("{mode}-{n}"), "delivered").await;
        }
    }
    let arrived = sink.come(9).await;
    for request in &arrived {
        let n = request.json()["n"].as_u64().unwrap();
        assert_eq!(request.json(), payload(usize::try_from(n).unwrap()));
        assert!(request.header("eventid").ends_with(&format!("-{n}")));
    }
    assert_eq!(arrived.len(), 9);
    host.end().await;
}
