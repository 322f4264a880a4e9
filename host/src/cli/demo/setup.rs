//! What the demo's operator and carriers set up, over the API, and how its platform posts.

use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use reqwest::Method;
use serde_json::{Value, json};

use super::events::Sample;
use crate::cli::client::{Client, Target};
use crate::cli::receiver::Receiver;
use crate::stock;

/// The demo's carriers, each with a client that speaks with its own key.
#[derive(Debug)]
pub(super) struct Carriers {
    pub(super) acme: Client,
    pub(super) northwind: Client,
}

impl Carriers {
    pub(super) fn of(&self, carrier: &str) -> &Client {
        if carrier == "acme" { &self.acme } else { &self.northwind }
    }
}

/// Makes both carriers with their plugins, destinations and subscriptions.
pub(super) async fn carriers(admin: &Client, url: &str, receiver: &Receiver) -> anyhow::Result<Carriers> {
    let acme = carrier(admin, url, "acme", "Acme Mutual").await?;
    upload(&acme, "filter", component("filter")?).await?;
    upload(&acme, "redact", component("redact")?).await?;
    destination(&acme, receiver, "crm").await?;
    subscription(
        &acme,
        "open-cases",
        &json!({
            "event_types": ["case.*", "message.*"],
            "plugins": ["filter", "redact"],
            "settings": { "keep": "caseData.brand=Acme Mutual; state=open" },
            "destinations": ["crm"],
            "policy": policy(),
        }),
    )
    .await?;

    let northwind = carrier(admin, url, "northwind", "Northwind Insurance").await?;
    upload(&northwind, "route", component("route")?).await?;
    destination(&northwind, receiver, "auto-desk").await?;
    destination(&northwind, receiver, "home-desk").await?;
    subscription(
        &northwind,
        "by-line",
        &json!({
            "event_types": ["*"],
            "filter": "caseType == \"claim\"",
            "plugins": ["route"],
            "settings": { "path": "caseData.lineOfBusiness.type", "routes": "auto=auto-desk; home=home-desk" },
            "destinations": ["auto-desk", "home-desk"],
            "policy": policy(),
        }),
    )
    .await?;
    Ok(Carriers { acme, northwind })
}

/// Short waits, so that a retry is seen while one looks.
pub(super) fn policy() -> Value {
    json!({ "retry_after_ms": [250, 500, 1_000, 2_000], "timeout_ms": 5_000 })
}

pub(super) async fn carrier(admin: &Client, url: &str, id: &str, name: &str) -> anyhow::Result<Client> {
    admin.post("/v1/carriers", &json!({ "id": id, "name": name })).await?;
    let made = admin.post(&format!("/v1/carriers/{id}/keys"), &json!({ "name": "demo" })).await?;
    let key = made["key"].as_str().context("the host made a key without its text")?.to_owned();
    println!("  carrier {id:<10} {name}");
    Client::new(&Target { url: url.to_owned(), key })
}

pub(super) fn component(name: &str) -> anyhow::Result<Bytes> {
    let stock = stock::find(name).with_context(|| format!("there is no stock plugin `{name}`"))?;
    Ok(Bytes::from_static(stock.bytes))
}

pub(super) async fn upload(carrier: &Client, name: &str, component: Bytes) -> anyhow::Result<i64> {
    let size = component.len();
    let path = format!("/v1/carriers/me/plugins/{name}");
    let uploaded =
        carrier.call(Method::POST, &format!("{path}/versions"), "application/wasm", component).await?;
    let version = uploaded["version"].as_i64().context("an upload was answered without its version")?;
    carrier.post(&format!("{path}/activate"), &json!({ "version": version })).await?;
    println!("  plugin  {name:<10} version {version}, {} KiB, active", size.div_ceil(1024));
    Ok(version)
}

async fn destination(carrier: &Client, receiver: &Receiver, name: &str) -> anyhow::Result<()> {
    let url = format!("http://{}/{name}", receiver.address);
    let body = json!({ "kind": "http", "url": url, "headers": { "x-demo": name }, "signing": "generate" });
    let made = carrier.put(&format!("/v1/carriers/me/destinations/{name}"), &body).await?;
    let secret = made["signing_secret"].as_str().context("no signing secret was made")?;
    receiver.expect(name, secret);
    println!("  sends to {name:<9} {url}, signed");
    Ok(())
}

pub(super) async fn subscription(carrier: &Client, id: &str, body: &Value) -> anyhow::Result<()> {
    carrier.put(&format!("/v1/carriers/me/subscriptions/{id}"), body).await?;
    println!("  subscription {id}: {}", body["plugins"]);
    Ok(())
}

/// The event with its routings, once nothing about it is open any more (or after ten seconds as it is).
pub(super) async fn settled(carrier: &Client, id: &str) -> anyhow::Result<Value> {
    let path = format!("/v1/carriers/me/events/{id}");
    let mut event = Value::Null;
    for _ in 0..100 {
        event = carrier.get(&path).await?;
        let routings = event["routings"].as_array().into_iter().flatten();
        let mut deliveries = routings.flat_map(|one| one["deliveries"].as_array().into_iter().flatten());
        if event["routed"] == true && deliveries.all(|one| one["state"] != "pending") {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok(event)
}

/// Replaces Acme's `redact` by a new build of it while events are under way; gives the new version.
pub(super) async fn swap(acme: &Client) -> anyhow::Result<i64> {
    // What a new build differs in does not matter here; a custom section makes it other bytes with the same behaviour.
    let mut anew = component("redact")?.to_vec();
    anew.extend_from_slice(&[0, 11, 5]);
    anew.extend_from_slice(b"build");
    anew.extend_from_slice(b"demo2");
    upload(acme, "redact", anew.into()).await
}

/// Posts the samples in all the forms that a platform may use; gives how many were accepted.
pub(super) async fn post(acting: &Client, samples: &[Sample]) -> anyhow::Result<usize> {
    let mut accepted = 0;
    for (turn, chunk) in samples.chunks(8).enumerate() {
        match turn % 3 {
            0 => {
                for sample in chunk {
                    accepted += taken(&acting.post("/v1/events", &plain(sample)).await?);
                }
            }
            1 => {
                let batch: Vec<Value> = chunk.iter().map(plain).collect();
                accepted += taken(&acting.post("/v1/events", &batch.into()).await?);
            }
            _ => {
                let batch: Vec<Value> = chunk.iter().map(cloud_event).collect();
                let body = Value::from(batch).to_string().into();
                let form = "application/cloudevents-batch+json";
                accepted += taken(&acting.call(Method::POST, "/v1/events", form, body).await?);
            }
        }
    }
    Ok(accepted)
}

fn taken(answer: &Value) -> usize {
    answer["accepted"].as_array().map_or(0, Vec::len)
}

fn plain(s: &Sample) -> Value {
    json!({ "carrier": s.carrier, "id": s.id, "type": s.event_type, "source": "/demo", "payload": s.payload })
}

fn cloud_event(s: &Sample) -> Value {
    json!({
        "specversion": "1.0", "id": s.id, "source": "/demo", "type": s.event_type, "carrier": s.carrier,
        "datacontenttype": "application/json", "data": s.payload,
    })
}
