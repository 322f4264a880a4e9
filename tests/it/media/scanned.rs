//! The virus scanner: a real `clamd` with a signature of our own. What it has not cleared never leaves.

use hookyard_tests::clamd::{Clamd, STREAM_MAX, eicar};
use hookyard_tests::data::Data;
use hookyard_tests::media::{Content, Item, MediaHost, PNG, png};
use hookyard_tests::sink::Sink;
use serde_json::json;

use super::{emptied, furnish, host, quick, spooled};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_scanner_finds_never_leaves_and_the_delivery_says_why() {
    let data = Data::sqlite().await;
    let folder = tempfile::tempdir().unwrap();
    let _scanner = Clamd::start(folder.path()).await;
    let (media, sink) = (MediaHost::start().await, Sink::start().await);
    let host = host(&data, &media, |config| config.media.clamd = Clamd::setting(folder.path())).await;
    let acme = furnish(&host, &sink, json!({}), quick()).await;

    let infected = [PNG, &[b'.'; 200_000], eicar().as_bytes(), b"...."].concat();
    media.answer(Item::of("image/png", Content::Whole(infected.into())));
    acme.post("bad", &json!({ "url": media.url("/bad") })).await;
    let dead = acme.delivery_in("bad", "dead").await;
    let error = dead["last_error"].as_str().unwrap();
    assert!(error.contains("Hookyard.Eicar"), "{error}");
    assert_eq!(dead["attempts"][0]["outcome"], "media_flagged", "{dead:#}");

    media.answer(Item::png(STREAM_MAX + 70_000));
    acme.post("large", &json!({ "url": media.url("/large") })).await;
    let dead = acme.delivery_in("large", "dead").await;
    assert!(dead["last_error"].as_str().unwrap().contains("`StreamMaxLength`"), "{dead:#}");
    assert_eq!(sink.count(), 0, "nothing of it has left");
    emptied(&data).await;

    media.answer(Item::png(300_000));
    acme.post("good", &json!({ "url": media.url("/good") })).await;
    acme.delivery_in("good", "delivered").await;
    assert_eq!(sink.come(1).await[0].body, png(300_000));
    host.end().await;
    data.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_an_answer_of_the_scanner_nothing_is_sent() {
    let data = Data::sqlite().await;
    let folder = tempfile::tempdir().unwrap();
    let (media, sink) = (MediaHost::start().await, Sink::start().await);
    let host = host(&data, &media, |config| config.media.clamd = Clamd::setting(folder.path())).await;
    let acme = furnish(&host, &sink, json!({}), json!({ "retry_after_ms": [600_000] })).await;
    acme.post("evt", &json!({ "url": media.url("/photo") })).await;
    let waiting = acme.delivery_after("evt", 1).await;
    assert_eq!(waiting["attempts"][0]["outcome"], "media", "{waiting:#}");
    assert!(waiting["last_error"].as_str().unwrap().contains("waits for the virus scanner"), "{waiting:#}");
    assert_eq!(sink.count(), 0);
    assert_eq!(spooled(&data).len(), 2, "what was fetched is kept: {:?}", spooled(&data));

    // The link has died meanwhile, which does not matter.
    media.answer(Item::status(410));
    let _scanner = Clamd::start(folder.path()).await;
    let id = waiting["id"].as_str().unwrap();
    acme.api.post(&acme.path(&format!("deliveries/{id}/retry")), &json!({})).await.ok();
    acme.delivery_in("evt", "delivered").await;
    assert_eq!(sink.come(1).await[0].body, png(1_000));
    assert_eq!(media.asked().len(), 1);
    emptied(&data).await;
    host.end().await;
    data.end().await;
}
