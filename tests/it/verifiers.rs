//! What the host sends and takes, judged by others' implementations in their own languages.

use axum::http::Method;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hookyard_tests::data::Data;
use hookyard_tests::host::TestHost;
use hookyard_tests::sink::Sink;
use hookyard_tests::verifiers::{TokenServer, python, signed, verified_in_javascript, verified_in_python};
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

#[tokio::test]
async fn tokens_of_anothers_server_are_fetched_kept_and_fetched_again() {
    let (data, server) = (Data::sqlite().await, TokenServer::start().await);
    let host = TestHost::start(&data).await;
    let acme = host.admin.carrier("acme").await;
    let user = |password: &str| json!({ "username": "carrier", "password": password });
    let grants = [
        ("client", "client_credentials", json!({})),
        ("user", "password", user("user-s3cret")),
        ("wrong", "password", user("not this one")),
    ];
    for (name, grant, more) in grants {
        let mut auth = json!({
            "type": "oauth2", "grant_type": grant, "token_url": format!("{}/token", server.url),
            "client_id": "router", "client_secret": "client-s3cret", "scope": "events",
        });
        auth.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let body = json!({ "kind": "http", "url": format!("{}/hook", server.url), "auth": auth });
        acme.api.put(&acme.path(&format!("destinations/{name}")), &body).await.ok();
        let types = [format!("to.{name}")];
        let policy = json!({ "profile": "none" });
        let more = json!({ "event_types": types, "destinations": [name], "policy": policy });
        acme.subscription(name, more).await;
    }
    for n in 0..3 {
        for name in ["client", "user"] {
            let id = format!("{name}-{n}");
            acme.post_typed(&id, &format!("to.{name}")).await;
            acme.delivery_in(&id, "delivered").await;
        }
    }
    // One token by each grant, for three deliveries each.
    let log = server.log().await;
    let expected = json!([
        { "grant_type": "client_credentials", "scope": "events", "user": null },
        { "grant_type": "password", "scope": "events", "user": "carrier" },
    ]);
    assert_eq!((&log["grants"], log["taken"].as_array().unwrap().len()), (&expected, 6));

    // One that is not taken any more is replaced within the attempt.
    server.revoke().await;
    acme.post_typed("revoked", "to.client").await;
    assert_eq!(acme.delivery_in("revoked", "delivered").await["attempts_made"], 1);
    assert_eq!(server.log().await["grants"].as_array().unwrap().len(), 3);

    acme.post_typed("wrong", "to.wrong").await;
    let failed = acme.delivery_in("wrong", "failed").await;
    assert_eq!(failed["attempts"][0]["outcome"], "token", "{failed:#}");
    assert!(!failed.to_string().contains("not this one"), "secrets are not shown");
    host.end().await;
}
