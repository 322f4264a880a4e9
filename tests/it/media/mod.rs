//! Media: what the host fetches from a real media host over TLS, and sends on to a receiver.

mod crash;
mod refused;
mod scanned;

use std::time::Duration;

use bytes::Bytes;
use hookyard::clock::Clock;
use hookyard::config::Config;
use hookyard_tests::client::Carrier;
use hookyard_tests::data::Data;
use hookyard_tests::guests;
use hookyard_tests::host::{T0, TestHost};
use hookyard_tests::media::{Content, Item, MediaHost, png};
use hookyard_tests::on_both;
use hookyard_tests::sink::{Answer, Gate, PATIENCE, Sink};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

on_both! {
    what_is_fetched_is_streamed_to_the_receiver_with_its_hash,
    what_is_fetched_waits_for_its_receiver_and_goes_at_the_end,
}

/// A host that trusts the media host.
async fn host(data: &Data, media: &MediaHost, change: impl FnOnce(&mut Config)) -> TestHost {
    on(data, media, Clock::system(), change).await
}

async fn on(data: &Data, media: &MediaHost, clock: Clock, change: impl FnOnce(&mut Config)) -> TestHost {
    let authorities = data.folder().join("authorities.pem");
    std::fs::write(&authorities, media.pem()).unwrap();
    let change = |config: &mut Config| {
        config.media.authorities = authorities;
        change(config);
    };
    TestHost::with(data, clock, change).await
}

/// A carrier whose events are links, sent to the sink; `destination` has further members of it, `policy` is how it is retried.
async fn furnish(host: &TestHost, sink: &Sink, destination: Value, policy: Value) -> Carrier {
    let acme = host.admin.carrier("acme").await;
    acme.destination("claims", sink, destination).await;
    acme.plugin("fetch", guests::FETCH, "?wall_ms=900").await;
    let spec = json!({ "plugins": ["fetch"], "destinations": ["claims"], "policy": policy });
    acme.subscription("main", spec).await;
    allow(&acme, json!({ "allowed_hosts": ["localhost"] })).await;
    acme
}

async fn allow(acme: &Carrier, rules: Value) -> Value {
    acme.api.put(&acme.path("media"), &rules).await.ok()
}

/// Tried again at once, a few times.
fn quick() -> Value {
    json!({ "retry_after_ms": [50, 50, 50, 50, 50], "jitter_percent": 0 })
}

fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect()
}

/// The names in the spool of `acme`.
fn spooled(data: &Data) -> Vec<String> {
    let folder = data.folder().join("spool/acme");
    let names = std::fs::read_dir(folder).into_iter().flatten();
    names.map(|one| one.unwrap().file_name().into_string().unwrap()).collect()
}

/// Waits until nothing is in the spool.
async fn emptied(data: &Data) {
    // A folder tells nobody: it can only be looked at again.
    let mut beat = tokio::time::interval(Duration::from_millis(10));
    let look = async {
        while !spooled(data).is_empty() {
            beat.tick().await;
        }
    };
    tokio::time::timeout(PATIENCE, look).await.unwrap_or_else(|_| panic!("left: {:?}", spooled(data)));
}

async fn what_is_fetched_is_streamed_to_the_receiver_with_its_hash(data: &Data) {
    let (media, sink) = (MediaHost::start().await, Sink::start().await);
    let host = host(data, &media, |_| ()).await;
    let acme = host.admin.carrier("acme").await;
    let made = acme.destination("claims", &sink, json!({ "signing": "generate" })).await;
    let secret = made["signing_secret"].as_str().unwrap().to_owned();
    acme.plugin("fetch", guests::FETCH, "?wall_ms=900").await;
    acme.subscription("main", json!({ "plugins": ["fetch"], "destinations": ["claims"] })).await;
    allow(&acme, json!({ "allowed_hosts": ["localhost"] })).await;

    // Text, since the other implementation verifies nothing else.
    let card = Bytes::from(format!("BEGIN:VCARD\r\n{}", "x".repeat(3_000_000)));
    media.answer(Item::of("text/x-vcard", Content::Whole(card.clone())));
    let payload = json!({ "url": media.url("/contact?sig=s3cret"), "type": "text/vcard" });
    acme.post("evt", &payload).await;
    let request = sink.come(1).await.remove(0);
    assert!(request.body == card, "{} bytes came", request.body.len());
    assert_eq!(request.header("content-type"), "text/vcard");
    assert!(request.verified(&secret), "another's implementation verifies what was signed as it was read");

    let delivery = acme.delivery_in("evt", "delivered").await;
    let id = delivery["id"].as_str().unwrap();
    let full = acme.api.get(&acme.path(&format!("deliveries/{id}"))).await.ok();
    let content = &full["attempts"][0]["request"]["content"];
    assert_eq!(*content, json!({ "bytes": card.len(), "sha256": hex(&card), "content_type": "text/vcard" }));
    emptied(data).await;
    let metrics = host.host().metrics().text();
    for line in
        ["hookyard_media_fetches_total{kind=\"fetched\"} 1", "hookyard_media_fetched_bytes_total 3000013"]
    {
        assert!(metrics.contains(line), "{metrics}");
    }
    assert_eq!(media.asked(), ["/contact?sig=s3cret"]);
    host.end().await;
}

async fn what_is_fetched_waits_for_its_receiver_and_goes_at_the_end(data: &Data) {
    let (media, sink) = (MediaHost::start().await, Sink::start().await);
    let host = host(data, &media, |_| ()).await;
    let acme = furnish(&host, &sink, json!({}), json!({ "retry_after_ms": [600_000] })).await;
    sink.answer(Answer::Status(503));
    acme.post("evt", &json!({ "url": media.url("/photo") })).await;
    acme.delivery_after("evt", 1).await;
    assert_eq!(spooled(data).len(), 2, "the file and its note: {:?}", spooled(data));
    // The link is dead by now; what it led to is not.
    media.answer(Item::status(403));
    sink.answer(Answer::Status(200));
    let id = acme.delivery("evt").await["id"].as_str().unwrap().to_owned();
    acme.api.post(&acme.path(&format!("deliveries/{id}/retry")), &json!({})).await.ok();
    acme.delivery_in("evt", "delivered").await;
    let requests = sink.come(2).await;
    assert!(requests.iter().all(|r| r.body == png(1_000)));
    assert_eq!(media.asked().len(), 1);
    emptied(data).await;

    // Sent again by hand it has to be fetched again, and that is too late.
    acme.api.post(&acme.path(&format!("deliveries/{id}/resend")), &json!({})).await.ok();
    let dead = acme.delivery_in("evt", "dead").await;
    assert!(dead["last_error"].as_str().unwrap().contains("403"), "{dead:#}");
    host.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_media_host_holds_up_nobody() {
    let data = Data::sqlite().await;
    let (media, sink) = (MediaHost::start().await, Sink::start().await);
    let host = host(&data, &media, |config| config.media.carrier_fetches = 2).await;
    let acme = furnish(&host, &sink, json!({ "concurrency": 1 }), json!({})).await;
    let gate = Gate::default();
    let held = gate.clone();
    media.script(move |path, _| if path == "/fast" { Item::png(10) } else { Item::png(20).behind(&held) });
    for n in 0..3 {
        acme.post(&format!("slow-{n}"), &json!({ "url": media.url(&format!("/slow-{n}")) })).await;
    }
    media.come(2).await;
    // The lane has one permit, and nobody who waits for a media host has it.
    acme.subscription("plain", json!({ "destinations": ["claims"], "event_types": ["plain"] })).await;
    acme.api.post(&acme.path("subscriptions/main/pause"), &json!({})).await.ok();
    acme.post_typed("plain", "plain").await;
    acme.delivery_in("plain", "delivered").await;
    assert_eq!((media.most_at_once(), sink.count()), (2, 1), "`carrier_fetches` holds");
    gate.open();
    for n in 0..3 {
        let delivered = acme.delivery_in(&format!("slow-{n}"), "delivered").await;
        assert_eq!(delivered["attempts_made"], 1, "waiting costs no attempt");
    }
    host.end().await;
    data.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_cancelled_goes_with_the_next_sweep() {
    let data = Data::sqlite().await;
    let (media, sink) = (MediaHost::start().await, Sink::start().await);
    let host = on(&data, &media, Clock::manual(T0), |_| ()).await;
    let acme = furnish(&host, &sink, json!({}), json!({})).await;
    acme.api.post(&acme.path("destinations/claims/disable"), &json!({})).await.ok();
    for event in ["kept", "cancelled"] {
        acme.post(event, &json!({ "url": media.url(&format!("/{event}")) })).await;
    }
    let both = |_: &Value| spooled(&data).iter().filter(|name| name.ends_with(".bin")).count() == 2;
    acme.get_when(&acme.path("events/kept"), "two files in the spool", both).await;
    let id = acme.delivery("cancelled").await["id"].as_str().unwrap().to_owned();
    acme.api.post(&acme.path(&format!("deliveries/{id}/cancel")), &json!({})).await.ok();
    host.clock.advance(Duration::from_secs(300));
    let one = |_: &Value| spooled(&data).len() == 2;
    acme.get_when(&acme.path("events/kept"), "one file and its note", one).await;
    assert!(!spooled(&data).iter().any(|name| name.starts_with(&id)), "{:?}", spooled(&data));
    acme.api.post(&acme.path("destinations/claims/enable"), &json!({})).await.ok();
    acme.delivery_in("kept", "delivered").await;
    emptied(&data).await;
    host.end().await;
    data.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trial_fetches_and_leaves_nothing() {
    let data = Data::sqlite().await;
    let (media, sink) = (MediaHost::start().await, Sink::start().await);
    let host = host(&data, &media, |_| ()).await;
    let acme = furnish(&host, &sink, json!({}), json!({})).await;
    let body =
        json!({ "event_type": "case.closed", "payload": { "url": media.url("/photo") }, "send": true });
    let trial = acme.api.post(&acme.path("subscriptions/main/test"), &body).await.ok();
    assert!(trial.to_string().contains(&hex(&png(1_000))), "{trial:#}");
    assert_eq!(sink.come(1).await[0].body, png(1_000));
    emptied(&data).await;
    host.end().await;
    data.end().await;
}
