//! Hot loading under load: versions change while events are on their way, and nothing is lost, doubled or unexplained.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use hookyard_tests::client::one;
use hookyard_tests::data::Data;
use hookyard_tests::guests;
use hookyard_tests::host::TestHost;
use hookyard_tests::on_both;
use hookyard_tests::sink::Sink;
use serde_json::{Value, json};

use crate::way::stock;

on_both! {
    versions_change_under_load_and_nothing_is_lost_or_doubled,
    an_event_after_an_activation_meets_the_new_version,
}

async fn versions_change_under_load_and_nothing_is_lost_or_doubled(data: &Data) {
    let host = TestHost::start(data).await;
    let sink = Sink::start().await;
    let acme = host.admin.carrier("acme").await;
    acme.destination("claims", &sink, json!({ "concurrency": 32 })).await;
    let envelope = stock("envelope");
    // The same code under other limits is another version.
    let mut versions = vec![acme.plugin("envelope", envelope, "?wall_ms=900").await];
    for wall in [901, 902] {
        let query = format!("?wall_ms={wall}");
        versions.push(acme.upload("envelope", envelope, &query).await.ok()["version"].clone());
    }
    assert_eq!(versions, [1, 2, 3]);
    let settings = json!({ "add": "{\"seen\": true}" });
    acme.subscription(
        "main",
        json!({ "plugins": ["envelope"], "settings": settings, "destinations": ["claims"] }),
    )
    .await;

    let swapping = Arc::new(AtomicBool::new(true));
    let mut publishers = tokio::task::JoinSet::new();
    for publisher in 0..4 {
        let (acme, swapping) = (acme.clone(), swapping.clone());
        publishers.spawn(async move {
            let mut posted = Vec::new();
            while swapping.load(Ordering::Relaxed) {
                let id = format!("evt-{publisher}-{}", posted.len());
                acme.post(&id, &json!({ "id": id })).await;
                posted.push(id);
            }
            posted
        });
    }
    for round in 0..12 {
        acme.activate("envelope", &versions[(round + 1) % 3]).await;
        // Some events for each version.
        sink.come(sink.count() + 20).await;
    }
    swapping.store(false, Ordering::Relaxed);
    let posted: HashSet<String> = publishers.join_all().await.into_iter().flatten().collect();
    sink.distinct(posted.len()).await;
    acme.settled().await;

    assert_eq!(sink.count(), posted.len(), "each once");
    let mut arrived = HashSet::new();
    for request in sink.requests() {
        let body = request.json();
        assert_eq!(body["seen"], true, "a whole version did it");
        arrived.insert(body["id"].as_str().unwrap().to_owned());
    }
    assert_eq!(arrived, posted);
    let mut ran: BTreeMap<i64, u32> = BTreeMap::new();
    for id in &posted {
        let routing = acme.routing(id).await;
        assert_eq!(routing["state"], "routed");
        *ran.entry(one(&routing["versions"])["version"].as_i64().unwrap()).or_default() += 1;
    }
    assert_eq!(ran.keys().copied().collect::<Vec<_>>(), [1, 2, 3], "{ran:?}");
    host.leave().await;
}

async fn an_event_after_an_activation_meets_the_new_version(data: &Data) {
    let host = TestHost::start(data).await;
    let sink = Sink::start().await;
    let acme = host.admin.carrier("acme").await;
    acme.destination("claims", &sink, json!({})).await;
    let first = acme.plugin("p", guests::HELLO, "?wall_ms=20000").await;
    let second = acme.upload("p", stock("redact"), "?wall_ms=20000").await.ok()["version"].clone();
    acme.subscription("main", json!({ "plugins": ["p"], "destinations": ["claims"] })).await;
    let meets = async |n: usize, version: &Value| {
        let id = format!("evt-{n}");
        acme.post(&id, &json!({})).await;
        acme.delivery_in(&id, "delivered").await;
        assert_eq!(&one(&acme.routing(&id).await["versions"])["version"], version);
    };
    for n in 0..10 {
        let version = if n % 2 == 0 { &second } else { &first };
        acme.activate("p", version).await;
        meets(n, version).await;
    }
    // Back and forth by rollback, and by whoever owns a shared plugin.
    let back = acme.path("plugins/p/rollback");
    assert_eq!(acme.api.post(&back, &json!({})).await.ok()["active"], second);
    meets(10, &second).await;
    assert_eq!(acme.api.post(&back, &json!({})).await.ok()["active"], first);
    meets(11, &first).await;

    // The same bytes under the same limits are the version that they were.
    let again = acme.upload("p", guests::HELLO, "?wall_ms=20000").await.ok();
    assert_eq!(again["version"], first);
    let missing = acme.api.post(&acme.path("plugins/p/activate"), &json!({ "version": 9 })).await;
    missing.problem(404, "not_found");
    meets(12, &first).await;
    host.end().await;
}

#[tokio::test]
async fn a_shared_plugin_serves_every_carrier_that_names_it() {
    let data = Data::sqlite().await;
    let host = TestHost::start(&data).await;
    let sink = Sink::start().await;
    let upload = async |component: &'static [u8]| {
        let headers = [("content-type", "application/wasm")];
        let path = "/v1/plugins/clean/versions?wall_ms=900";
        let made = host.admin.call(reqwest::Method::POST, path, &headers, component.into()).await.ok();
        host.admin.post("/v1/plugins/clean/activate", &json!({ "version": made["version"] })).await.ok();
    };
    upload(stock("redact")).await;
    let mut carriers = Vec::new();
    for name in ["acme", "zeta"] {
        let carrier = host.admin.carrier(name).await;
        carrier.destination("claims", &sink, json!({})).await;
        carrier
            .subscription("main", json!({ "plugins": ["shared/clean"], "destinations": ["claims"] }))
            .await;
        carriers.push(carrier);
    }
    for carrier in &carriers {
        carrier.post("evt", &json!({ "email": "a@b.test" })).await;
        carrier.delivery_in("evt", "delivered").await;
        let versions = carrier.routing("evt").await["versions"].clone();
        assert_eq!(versions, json!([{ "plugin": "shared/clean", "version": 1 }]));
    }
    assert!(sink.requests().iter().all(|r| r.json() == json!({})));
    upload(guests::HELLO).await;
    for carrier in &carriers {
        carrier.post("evt-2", &json!({ "email": "a@b.test" })).await;
        carrier.delivery_in("evt-2", "delivered").await;
        assert_eq!(carrier.routing("evt-2").await["versions"][0]["version"], 2);
        // A carrier may name it, and neither see nor change it.
        carrier.api.get("/v1/plugins/clean").await.problem(403, "forbidden");
        carrier.api.post("/v1/plugins/clean/rollback", &json!({})).await.problem(403, "forbidden");
    }
    host.end().await;
}
