//! Outbound authentication on a whole host: set up by the API, kept by the store, seen by receivers.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use hookyard_tests::client::{Carrier, one};
use hookyard_tests::data::Data;
use hookyard_tests::host::{T0, TestHost};
use hookyard_tests::on_both;
use hookyard_tests::sink::{Answer, Request, Sink};
use hookyard_tests::tls::Authority;
use serde_json::{Value, json};

on_both! {
    a_token_is_fetched_once_shown_and_outlives_the_host,
    a_failure_to_get_a_token_is_recorded_and_retried,
    a_refused_token_is_dropped_for_good,
}

fn is_call(request: &Request) -> bool {
    request.path == "/token"
}

fn calls(sink: &Sink) -> usize {
    sink.requests().iter().filter(|r| is_call(r)).count()
}

/// Gives the tokens `hush-1`, `hush-2`, … for an hour each, and takes everything.
fn give_tokens(sink: &Sink) {
    let given = AtomicU32::new(0);
    sink.script(move |request| match is_call(request) {
        false => Answer::Status(200),
        true => {
            let token = format!("hush-{}", given.fetch_add(1, Ordering::SeqCst) + 1);
            Answer::Body(200, json!({ "access_token": token, "expires_in": 3_600 }).to_string())
        }
    });
}

async fn furnish(host: &TestHost, sink: &Sink) -> Carrier {
    let acme = host.admin.carrier("acme").await;
    let made = acme.destination("claims", sink, json!({ "auth": oauth(sink, "hush") })).await;
    assert_eq!((&made["auth"]["client_secret"], made["auth"].get("expires_at_ms")), (&json!("***"), None));
    acme.subscription("main", json!({ "destinations": ["claims"] })).await;
    acme
}

fn oauth(sink: &Sink, secret: &str) -> Value {
    json!({ "type": "oauth2", "grant_type": "client_credentials", "token_url": sink.url("/token"),
        "client_id": "router", "client_secret": secret })
}

async fn shown(acme: &Carrier) -> Value {
    acme.api.get(&acme.path("destinations/claims")).await.ok()["auth"].clone()
}

async fn a_token_is_fetched_once_shown_and_outlives_the_host(data: &Data) {
    let sink = Sink::start().await;
    give_tokens(&sink);
    let host = TestHost::on_manual_clock(data).await;
    let acme = furnish(&host, &sink).await;
    for n in 0..50 {
        acme.post(&format!("evt-{n}"), &json!({})).await;
    }
    sink.distinct(51).await;
    acme.settled().await;
    let event = acme.event("evt-7").await;
    assert!(!event.to_string().contains("hush"), "{event:#}");
    let attempt = one(&acme.delivery("evt-7").await["attempts"]);
    assert_eq!(attempt["request"]["headers"]["authorization"], "***");
    assert_eq!(calls(&sink), 1, "one call for all");
    let auth = shown(&acme).await;
    assert_eq!(auth["expires_at_ms"], T0.0 + 3_600_000);
    assert!(!auth.to_string().contains("hush"), "{auth}");
    let listed = acme.api.get(&acme.path("destinations")).await.ok();
    assert_eq!(one(&listed["items"])["auth"], auth);
    let clock = host.clock.clone();
    host.end().await;

    // The next start goes on with the same token.
    sink.forget();
    let host = TestHost::with(data, clock.clone(), |_| ()).await;
    let acme = acme.at(&host.admin);
    acme.post("after", &json!({})).await;
    acme.delivery_in("after", "delivered").await;
    assert_eq!((calls(&sink), sink.requests()[0].header("authorization")), (0, "Bearer hush-1"));

    // A change of what does not matter to the token leaves it, one of the settings drops it.
    acme.destination("claims", &sink, json!({ "concurrency": 3 })).await;
    assert_eq!(shown(&acme).await["expires_at_ms"], T0.0 + 3_600_000);
    acme.destination("claims", &sink, json!({ "auth": oauth(&sink, "other") })).await;
    assert_eq!(shown(&acme).await.get("expires_at_ms"), None);
    acme.post("changed", &json!({})).await;
    acme.delivery_in("changed", "delivered").await;
    assert_eq!((calls(&sink), sink.requests().pop().unwrap().header("authorization")), (1, "Bearer hush-2"));

    // A minute before its end it is replaced.
    clock.advance(Duration::from_secs(3_540));
    acme.post("late", &json!({})).await;
    acme.delivery_in("late", "delivered").await;
    assert_eq!(sink.requests().pop().unwrap().header("authorization"), "Bearer hush-3");
    assert_eq!(shown(&acme).await["expires_at_ms"], T0.0 + 3_540_000 + 3_600_000);
    // After its end it is no token any more.
    clock.advance(Duration::from_secs(3_600));
    assert_eq!(shown(&acme).await.get("expires_at_ms"), None);
    acme.destination("claims", &sink, json!({ "auth": { "type": "none" } })).await;
    acme.post("open", &json!({})).await;
    acme.delivery_in("open", "delivered").await;
    assert_eq!(sink.requests().pop().unwrap().header("authorization"), "");
    host.end().await;
}

async fn a_failure_to_get_a_token_is_recorded_and_retried(data: &Data) {
    let sink = Sink::start().await;
    sink.answer(Answer::Body(401, r#"{"error":"invalid_client"}"#.to_owned()));
    let host = TestHost::on_manual_clock(data).await;
    let acme = furnish(&host, &sink).await;
    acme.post("evt", &json!({})).await;
    let delivery = acme.delivery_after("evt", 1).await;
    let attempt = one(&delivery["attempts"]);
    assert_eq!((&delivery["state"], &attempt["outcome"]), (&json!("pending"), &json!("token")));
    let error = "no token: the token server answered 401 with the error `invalid_client`";
    assert_eq!(attempt["error"], error);
    let found = acme.api.post(&acme.path("destinations/claims/test"), &json!({})).await.ok();
    assert_eq!((&found["outcome"], &found["error"]), (&json!("token"), &json!(error)));
    assert!(acme.api.get(&acme.path("destinations/claims")).await.ok()["failing_since_ms"].is_i64());

    // The carrier mends its credentials; the retry goes out with them.
    give_tokens(&sink);
    acme.destination("claims", &sink, json!({ "auth": oauth(&sink, "right") })).await;
    host.clock.advance(Duration::from_secs(10));
    acme.delivery_in("evt", "delivered").await;
    let calls: Vec<_> = sink.requests().into_iter().filter(is_call).collect();
    assert!(String::from_utf8_lossy(&calls.last().unwrap().body).ends_with("client_secret=right"));
    host.end().await;
}

async fn a_refused_token_is_dropped_for_good(data: &Data) {
    let sink = Sink::start().await;
    give_tokens(&sink);
    let host = TestHost::on_manual_clock(data).await;
    let acme = furnish(&host, &sink).await;
    acme.post("first", &json!({})).await;
    acme.delivery_in("first", "delivered").await;
    // The receiver takes no token any more, and the token server is down: what is kept is dropped all the same.
    sink.script(|request| Answer::Status(if is_call(request) { 503 } else { 401 }));
    acme.post("evt", &json!({})).await;
    let attempt = one(&acme.delivery_after("evt", 1).await["attempts"]);
    assert_eq!((&attempt["outcome"], &attempt["status"]), (&json!("token"), &json!(401)));
    assert_eq!(shown(&acme).await.get("expires_at_ms"), None);
    let clock = host.clock.clone();
    host.leave().await;

    sink.forget();
    give_tokens(&sink);
    clock.advance(Duration::from_secs(10));
    let host = TestHost::with(data, clock, |_| ()).await;
    let acme = acme.at(&host.admin);
    let delivery = acme.delivery_in("evt", "delivered").await;
    assert_eq!((calls(&sink), &delivery["attempts_made"]), (1, &json!(2)));
    host.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn credentials_and_certificates_of_a_destination_come_to_its_receiver() {
    let (authority, clients) = (Authority::default(), Authority::default());
    let sink = Sink::start_tls(authority.server_for(&clients)).await;
    let (certificate, key) = clients.client("router.example");
    let data = Data::sqlite().await;
    let host = TestHost::start(&data).await;
    let acme = host.admin.carrier("acme").await;
    let tls = json!({ "client_certificate": certificate, "client_key": key, "ca": authority.pem() });
    let basic = json!({ "type": "basic", "username": "router", "password": "hush" });
    let more = json!({ "auth": basic, "shared_secret": "sh4red", "tls": tls });
    let made = acme.destination("claims", &sink, more).await;
    assert_eq!(
        made["tls"],
        json!({ "client_certificate": certificate, "client_key": "***", "ca": authority.pem() })
    );
    acme.subscription("main", json!({ "destinations": ["claims"] })).await;
    acme.post("evt", &json!({})).await;
    let request = sink.come(1).await.remove(0);
    assert_eq!(request.header("authorization"), "Basic cm91dGVyOmh1c2g=");
    assert_eq!(request.header("x-auth-token"), "sh4red");
    let attempt = one(&acme.delivery_in("evt", "delivered").await["attempts"]);
    for name in ["authorization", "x-auth-token"] {
        assert_eq!(attempt["request"]["headers"][name], "***");
    }
    // Without its certificate it is not let in, and the log says why.
    acme.destination("claims", &sink, json!({ "tls": { "ca": authority.pem() } })).await;
    acme.post("bare", &json!({})).await;
    let attempt = one(&acme.delivery_after("bare", 1).await["attempts"]);
    assert_eq!(attempt["outcome"], "tls", "{attempt:#}");
    host.leave().await;
}
