//! OAuth 2.0 as a registration says it: what the token server and the receiver see, and what is shown of the token.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use hookyard_tests::data::Data;
use hookyard_tests::host::T0;
use hookyard_tests::on_both;
use hookyard_tests::sink::{Answer, Request, Sink};
use serde_json::json;

use super::{at, failed_when, host, id, patch, post, subscribed};

on_both! {
    a_token_is_fetched_kept_shown_and_dropped_with_its_settings,
}

fn calls(sink: &Sink) -> Vec<Request> {
    sink.requests().into_iter().filter(|request| request.path == "/token").collect()
}

async fn a_token_is_fetched_kept_shown_and_dropped_with_its_settings(data: &Data) {
    let host = host(data).await;
    let sink = Sink::start().await;
    let given = Arc::new(AtomicUsize::new(0));
    let script = move |request: &Request| match request.path.as_str() {
        "/token" => {
            let token = format!("S3CR3T-{}", given.fetch_add(1, Ordering::SeqCst) + 1);
            Answer::Body(200, json!({ "access_token": token, "expires_in": 3_600 }).to_string())
        }
        _ => Answer::Status(200),
    };
    sink.script(script.clone());
    let acme = host.admin.carrier("acme").await;
    let oauth = json!({ "type": "OaUth2", "grant_type": "client_credentials", "client_id": "router",
        "client_secret": "S3CR3T-client", "scope": "events.write", "token_url": sink.url("/token"),
        "audience": "https://hooks.example", "additional_headers": { "x-gateway-key": "gw-77" } });
    let headers = json!({ "x-env": "uat", "Authorization": oauth });
    let record = at(&acme, &sink, 11, json!({ "HEADERS": headers, "AUTH_TOKEN": "sh4red" })).await;
    assert_eq!(record["REGISTERED_PAYLOAD"]["HEADERS"]["Authorization"].get("expires_at"), None);
    for n in 0..2 {
        post(&acme, &format!("evt-{n}"), "case.closed", &json!({})).await;
        acme.delivery_in(&format!("evt-{n}"), "delivered").await;
    }
    let call = calls(&sink);
    assert_eq!(call.len(), 1, "one token for the registration");
    let mut form: Vec<_> =
        String::from_utf8(call[0].body.clone()).unwrap().split('&').map(str::to_owned).collect();
    form.sort();
    let expected = [
        "audience=https%3A%2F%2Fhooks.example",
        "client_id=router",
        "client_secret=S3CR3T-client",
        "grant_type=client_credentials",
        "scope=events.write",
    ];
    assert_eq!(form, expected, "neither `type` nor `token_url`");
    assert_eq!(call[0].header("content-type"), "application/x-www-form-urlencoded");
    assert_eq!((call[0].header("x-gateway-key"), call[0].header("x-env")), ("gw-77", ""));
    for request in sink.requests().iter().filter(|request| request.path == "/hook") {
        assert_eq!(
            (request.header("authorization"), request.header("x-gateway-key")),
            ("Bearer S3CR3T-1", "")
        );
        assert_eq!((request.header("x-auth-token"), request.header("x-env")), ("sh4red", "uat"));
    }

    // What is kept is shown: when it ends, and that there is one.
    let shown = subscribed(&acme).await.remove(0);
    let authorization = &shown["REGISTERED_PAYLOAD"]["HEADERS"]["Authorization"];
    assert_eq!(authorization["expires_at"], T0.0 + 3_600_000);
    assert_eq!(authorization["access_token"], "***");
    assert!(!shown.to_string().contains("S3CR3T"), "{shown}");

    // Another address keeps the token, other settings drop it.
    let update = format!("/webhooks/update/{}", id(&record));
    let moved = patch(&acme.api, &update, &json!({ "HTTP_POST_ADDRESS": sink.url("/moved") })).await.ok();
    assert_eq!(moved["HEADERS"]["Authorization"]["expires_at"], T0.0 + 3_600_000);
    let change = json!({ "HEADERS": { "Authorization": { "client_secret": "S3CR3T-rotated" } } });
    let rotated = patch(&acme.api, &update, &change).await.ok();
    assert_eq!(rotated["HEADERS"]["Authorization"].get("expires_at"), None);
    post(&acme, "evt-2", "case.closed", &json!({})).await;
    acme.delivery_in("evt-2", "delivered").await;
    assert!(String::from_utf8_lossy(&calls(&sink)[1].body).contains("client_secret=S3CR3T-rotated"));

    // Without a token nothing is sent, and that is a failure like any other.
    host.clock.advance(Duration::from_secs(3_600));
    sink.script(|request| Answer::Status(if request.path == "/token" { 500 } else { 200 }));
    post(&acme, "evt-3", "case.closed", &json!({})).await;
    let failure = failed_when(&acme, 1).await.remove(0);
    sink.script(script);
    // A token server that has failed is left alone for a moment.
    host.clock.advance(Duration::from_secs(60));
    let retry = format!("/webhooks/retry/{}", failure["requestId"].as_str().unwrap());
    acme.api.post(&retry, &json!({})).await.ok();
    acme.delivery_in("evt-3", "delivered").await;
    host.end().await;
}
