//! What is not sent: links that have died, and what is not allowed; and what is tried again.

use bytes::Bytes;
use hookyard_tests::data::Data;
use hookyard_tests::host::TestHost;
use hookyard_tests::media::{Content, Item, MediaHost, PNG, png};
use hookyard_tests::sink::Sink;
use serde_json::{Value, json};

use super::{allow, emptied, furnish, host, quick};

/// The last attempt at the event's delivery once it is dead: its outcome and error.
async fn dead(acme: &hookyard_tests::client::Carrier, event: &str) -> (Value, String) {
    let delivery = acme.delivery_in(event, "dead").await;
    let id = delivery["id"].as_str().unwrap();
    let full = acme.api.get(&acme.path(&format!("deliveries/{id}"))).await.ok();
    let last = full["attempts"].as_array().unwrap().last().unwrap().clone();
    (last["outcome"].clone(), last["error"].as_str().unwrap().to_owned())
}

async fn end(host: TestHost, data: Data, sink: &Sink) {
    assert_eq!(sink.count(), 0, "nothing of all this was sent");
    emptied(&data).await;
    host.end().await;
    data.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_link_is_permanent_and_says_so() {
    let data = Data::sqlite().await;
    let (media, sink) = (MediaHost::start().await, Sink::start().await);
    let host = host(&data, &media, |_| ()).await;
    let acme = furnish(&host, &sink, json!({}), quick()).await;
    for status in [401, 403, 404, 410] {
        media.answer(Item::status(status));
        let event = format!("evt-{status}");
        acme.post(&event, &json!({ "url": media.url(&format!("/{status}?sig=s3cret")) })).await;
        let (outcome, error) = dead(&acme, &event).await;
        assert_eq!(outcome, "media_expired");
        assert!(error.contains(&status.to_string()) && error.contains(" s after its event"), "{error}");
        assert!(!error.contains("s3cret"), "{error}");
    }
    assert_eq!(media.asked().len(), 4, "none was asked for again");
    let place = acme.api.get(&acme.path("destinations/claims")).await.ok();
    assert!(place.get("failing_since_ms").is_none_or(Value::is_null), "its receiver did nothing: {place:#}");
    end(host, data, &sink).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_past_its_life_expires_when_its_host_fails() {
    let data = Data::sqlite().await;
    let (media, sink) = (MediaHost::start().await, Sink::start().await);
    let host = host(&data, &media, |config| config.media.link_s = 1).await;
    let acme = furnish(&host, &sink, json!({}), json!({ "retry_after_ms": [1_100] })).await;
    media.answer(Item::status(503));
    acme.post("evt", &json!({ "url": media.url("/photo") })).await;
    let (outcome, error) = dead(&acme, "evt").await;
    assert_eq!(outcome, "media_expired");
    assert!(error.contains("`media.link_s`") && error.contains("503"), "{error}");
    end(host, data, &sink).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_allowed_is_refused_with_its_reason() {
    let data = Data::sqlite().await;
    let (media, sink) = (MediaHost::start().await, Sink::start().await);
    let host = host(&data, &media, |_| ()).await;
    let acme = furnish(&host, &sink, json!({}), quick()).await;
    allow(&acme, json!({ "allowed_hosts": ["localhost", "10.0.0.1"], "max_bytes": 5_000 })).await;
    let big = || png(5_001);
    let cases: [(&str, Item, &str); 8] = [
        ("big", Item::of("image/png", Content::Whole(big())), "5001 bytes: the limit `max_bytes` is 5000"),
        ("unsaid", Item::of("image/png", Content::Unsaid(big())), "the limit `max_bytes` is 5000"),
        ("endless", Item::of("image/png", Content::Endless), "the limit `max_bytes` is 5000"),
        ("type", Item::of("text/html", Content::Whole(png(9))), "\"text/html\" is not allowed"),
        (
            "lie",
            Item::of("image/png", Content::Whole(Bytes::from_static(b"MZ..."))),
            "looks like a Windows program",
        ),
        ("elsewhere", Item::status(302).header("location: https://localhost/"), "redirects are not followed"),
        ("packed", Item::png(20).header("content-encoding: gzip"), "`gzip`"),
        ("odd", Item::status(400), "answered 400"),
    ];
    for (name, item, why) in cases {
        media.answer(item);
        acme.post(name, &json!({ "url": media.url(&format!("/{name}")) })).await;
        let (outcome, error) = dead(&acme, name).await;
        assert_eq!(outcome, "media_refused", "{name}: {error}");
        assert!(error.contains(why), "{name}: {error}");
    }
    let asked = media.asked().len();
    assert_eq!(asked, 8);

    // What its host is never asked for.
    for (name, url, why) in [
        ("host", "https://other.example/x", "PUT /v1/carriers/{carrier}/media"),
        ("address", "https://10.0.0.1/x", "private network"),
        ("below", "https://a.localhost/x", "is not on the carrier's list"),
    ] {
        acme.post(name, &json!({ "url": url })).await;
        let (outcome, error) = dead(&acme, name).await;
        assert_eq!(outcome, "media_refused", "{name}: {error}");
        assert!(error.contains(why), "{name}: {error}");
    }
    // An empty list allows nothing, and a change of it counts at once.
    allow(&acme, json!({ "allowed_hosts": [] })).await;
    acme.post("empty", &json!({ "url": media.url("/x") })).await;
    assert!(dead(&acme, "empty").await.1.contains("`allowed_hosts`, which is empty"));
    assert_eq!(media.asked().len(), asked);
    end(host, data, &sink).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_passes_is_tried_again() {
    let data = Data::sqlite().await;
    let (media, sink) = (MediaHost::start().await, Sink::start().await);
    let host = host(&data, &media, |config| {
        config.media.idle_s = 1;
        config.media.max_bytes = 4_000;
        config.media.carrier_spool_bytes = 4_000;
        config.media.spool_bytes = 4_000;
    })
    .await;
    let acme = furnish(&host, &sink, json!({}), quick()).await;
    let image = png(3_000);
    let whole = image.clone();
    media.script(move |_, nth| match nth {
        1 => Item::status(503),
        // Breaks off, and says nothing more: neither is the whole file.
        2 => Item::of("image/png", Content::Short(Bytes::from_static(PNG), 3_000)),
        3 => Item::of("image/png", Content::Stuck(Bytes::from_static(PNG))),
        _ => Item::of("image/png", Content::Whole(whole.clone())),
    });
    acme.post("evt", &json!({ "url": media.url("/photo") })).await;
    let delivery = acme.delivery_in("evt", "delivered").await;
    let id = delivery["id"].as_str().unwrap();
    let full = acme.api.get(&acme.path(&format!("deliveries/{id}"))).await.ok();
    let attempts = full["attempts"].as_array().unwrap();
    let errors: Vec<&str> = attempts.iter().filter_map(|a| a["error"].as_str()).collect();
    let outcomes: Vec<&str> = attempts.iter().filter_map(|a| a["outcome"].as_str()).collect();
    assert_eq!(outcomes, ["media", "media", "media", "delivered"], "{errors:#?}");
    assert!(errors[0].contains("503") && errors[2].contains("`media.idle_s`"), "{errors:#?}");
    assert_eq!(sink.come(1).await[0].body, image);
    assert_eq!(media.asked().len(), 4);
    host.end().await;
    data.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_spool_makes_the_next_one_wait() {
    let data = Data::sqlite().await;
    let (media, sink) = (MediaHost::start().await, Sink::start().await);
    let host = host(&data, &media, |config| {
        config.media.max_bytes = 4_000;
        config.media.carrier_spool_bytes = 4_000;
        config.media.spool_bytes = 8_000;
    })
    .await;
    let acme = furnish(&host, &sink, json!({}), quick()).await;
    media.answer(Item::png(3_000));
    // Its receiver wants nothing now, so it stays in the spool.
    acme.api.post(&acme.path("destinations/claims/disable"), &json!({})).await.ok();
    acme.post("first", &json!({ "url": media.url("/first") })).await;
    media.come(1).await;
    let complete = || super::spooled(&data).iter().any(|name| name.ends_with(".bin"));
    let path = acme.path("events/first");
    acme.get_when(&path, "the file in the spool", |_| complete()).await;

    let other = host.admin.carrier("zeta").await;
    other.destination("claims", &sink, json!({})).await;
    other.plugin("fetch", hookyard_tests::guests::FETCH, "?wall_ms=900").await;
    other.subscription("main", json!({ "plugins": ["fetch"], "destinations": ["claims"] })).await;
    allow(&other, json!({ "allowed_hosts": ["localhost"] })).await;
    other.post("other", &json!({ "url": media.url("/other") })).await;
    other.delivery_in("other", "delivered").await;

    acme.destination("more", &sink, json!({})).await;
    acme.post("second", &json!({ "url": media.url("/second") })).await;
    media.come(3).await;
    acme.api.post(&acme.path("destinations/claims/enable"), &json!({})).await.ok();
    for event in ["first", "second"] {
        acme.delivery_in(event, "delivered").await;
    }
    host.end().await;
    data.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rules_are_checked_and_shown() {
    let data = Data::sqlite().await;
    let media = MediaHost::start().await;
    let host = host(&data, &media, |_| ()).await;
    let acme = host.admin.carrier("acme").await;
    let before = acme.api.get(&acme.path("media")).await.ok();
    assert_eq!(before["allowed_hosts"], json!([]));
    assert_eq!(before["ceiling"]["max_bytes"], 256 << 20);
    for (body, field) in [
        (json!({ "allowed_hosts": ["https://a.example"] }), "allowed_hosts"),
        (json!({ "allowed_hosts": [], "max_bytes": 0 }), "max_bytes"),
        (json!({ "allowed_hosts": [], "types": ["text/html"] }), "types"),
    ] {
        let problem = acme.api.put(&acme.path("media"), &body).await.problem(422, "invalid_body");
        assert_eq!(problem["field"], field, "{problem:#}");
    }
    let kept = allow(&acme, json!({ "allowed_hosts": ["Media.Example.com"], "types": ["image/png"] })).await;
    assert_eq!(kept["allowed_hosts"], json!(["media.example.com"]));
    assert_eq!(acme.api.get(&acme.path("media")).await.ok(), kept);
    host.end().await;
    data.end().await;
}
