//! `kill -9` in the middle of a fetch and between fetch and send, and a file that is larger than the memory it may take.

use bytes::Bytes;
use hookyard_tests::child::ChildHost;
use hookyard_tests::client::Carrier;
use hookyard_tests::data::Data;
use hookyard_tests::guests;
use hookyard_tests::media::{Content, Item, MediaHost, PNG, png};
use hookyard_tests::on_both;
use hookyard_tests::sink::{Answer, Gate, Sink};
use serde_json::json;

use super::{allow, emptied, hex, spooled};
use crate::kill::settings;

on_both! {
    killed_in_the_middle_of_a_fetch_it_is_fetched_again,
    killed_between_fetch_and_send_it_is_sent_from_the_spool,
}

async fn start(data: &Data, media: &MediaHost) -> ChildHost {
    let authorities = data.folder().join("authorities.pem");
    std::fs::write(&authorities, media.pem()).unwrap();
    let mut all = settings(data).to_vec();
    let path = authorities.to_str().unwrap().to_owned();
    all.push(("MEDIA_AUTHORITIES", &path));
    ChildHost::start(data, &all).await
}

async fn furnish(host: &ChildHost, sink: &Sink) -> Carrier {
    let acme = host.admin.carrier("acme").await;
    acme.destination("claims", sink, json!({})).await;
    acme.plugin("fetch", guests::FETCH, "?wall_ms=900").await;
    acme.subscription("main", json!({ "plugins": ["fetch"], "destinations": ["claims"] })).await;
    allow(&acme, json!({ "allowed_hosts": ["localhost"] })).await;
    acme
}

async fn killed_in_the_middle_of_a_fetch_it_is_fetched_again(data: &Data) {
    let (media, sink) = (MediaHost::start().await, Sink::start().await);
    let host = start(data, &media).await;
    let acme = furnish(&host, &sink).await;
    let killer = host.killer();
    media.script(move |_, nth| match nth {
        1 => Item::of("image/png", Content::Stuck(png(500_000))).then(killer.clone()),
        _ => Item::png(700_000),
    });
    acme.post("evt", &json!({ "url": media.url("/photo") })).await;
    host.dead().await;
    assert_eq!(sink.count(), 0);
    assert!(!spooled(data).iter().any(|name| name.ends_with(".bin")), "{:?}", spooled(data));

    let host = start(data, &media).await;
    let requests = sink.come(1).await;
    assert_eq!(requests[0].body, png(700_000));
    acme.at(&host.admin).delivery_in("evt", "delivered").await;
    assert_eq!((media.asked().len(), sink.count()), (2, 1));
    emptied(data).await;
    host.kill().await;
}

async fn killed_between_fetch_and_send_it_is_sent_from_the_spool(data: &Data) {
    let (media, sink) = (MediaHost::start().await, Sink::start().await);
    let host = start(data, &media).await;
    let acme = furnish(&host, &sink).await;
    let gate = Gate::default();
    sink.answer(gate.before(Answer::Status(200)));
    acme.post("evt", &json!({ "url": media.url("/photo") })).await;
    sink.come(1).await;
    host.kill().await;
    assert_eq!(spooled(data).len(), 2, "{:?}", spooled(data));

    media.answer(Item::status(410));
    gate.open();
    let host = start(data, &media).await;
    acme.at(&host.admin).delivery_in("evt", "delivered").await;
    let requests = sink.come(2).await;
    assert!(requests.iter().all(|r| r.body == png(1_000) && r.id == requests[0].id));
    assert_eq!(media.asked().len(), 1, "the link is dead; the file was there");
    emptied(data).await;
    host.kill().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_megabytes_pass_through_little_memory() {
    const LEN: usize = 200 << 20;
    let data = Data::sqlite().await;
    let (media, sink) = (MediaHost::start().await, Sink::start().await);
    let host = start(&data, &media).await;
    let acme = furnish(&host, &sink).await;
    // A small one first, so that what is set up once is there.
    acme.post("small", &json!({ "url": media.url("/small") })).await;
    acme.delivery_in("small", "delivered").await;
    sink.forget();
    let before = host.rss_mib();
    media.answer(Item::of("image/png", Content::Long(Bytes::from_static(PNG), LEN as u64)));
    acme.post("large", &json!({ "url": media.url("/large") })).await;
    let delivered = acme.delivery_in("large", "delivered").await;
    let more = host.rss_mib().saturating_sub(before);
    assert!(more < 64, "it took {more} MiB");
    let body = std::mem::take(&mut sink.come(1).await[0].body);
    assert_eq!(body.len(), LEN);
    assert_eq!(delivered["attempts"][0]["request"]["content"]["sha256"], hex(&body), "{delivered:#}");
    host.kill().await;
    data.end().await;
}
