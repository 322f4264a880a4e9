//! The carrier-webhook API as a carrier's scripts use it.

mod failures;
mod oauth;
mod script;
mod setup;

use axum::http::Method;
use hookyard::clock::Clock;
use hookyard_tests::client::{Answer as Reply, Api, Carrier};
use hookyard_tests::data::Data;
use hookyard_tests::host::{T0, TestHost};
use hookyard_tests::sink::Sink;
use serde_json::{Value, json};

/// A host on a clock that stands, whose throttle is out of the way.
async fn host(data: &Data) -> TestHost {
    host_on(data, Clock::manual(T0)).await
}

async fn host_on(data: &Data, clock: Clock) -> TestHost {
    TestHost::with(data, clock, |config| {
        config.webhooks.burst = 10_000;
        // What is for the operator's relay can be registered; nothing is sent by it.
        config.mail.relay = "smtp.host.example".to_owned();
        config.mail.from = "events@host.example".to_owned();
    })
    .await
}

/// Registers and gives the record.
async fn register(carrier: &Carrier, body: &Value) -> Value {
    let answer = carrier.api.post("/webhooks/register", body).await;
    assert_eq!(answer.status, 200, "{:#}", answer.body);
    answer.body
}

/// A registration of this event at the sink; `more` are further members.
async fn at(carrier: &Carrier, sink: &Sink, event_id: u16, more: Value) -> Value {
    let mut body = json!({ "EVENT_ID": event_id, "HTTP_POST_ADDRESS": sink.url("/hook") });
    if let (Value::Object(body), Value::Object(more)) = (&mut body, more) {
        body.extend(more);
    }
    register(carrier, &body).await
}

fn id(record: &Value) -> String {
    record["SUBSCRIPTION_ID"].as_str().unwrap().to_owned()
}

/// Posts an event of this type.
async fn post(carrier: &Carrier, id: &str, event_type: &str, payload: &Value) {
    let event = json!({ "carrier": carrier.id, "id": id, "type": event_type, "payload": payload });
    carrier.publisher.post("/v1/events", &event).await.ok();
}

async fn subscribed(carrier: &Carrier) -> Vec<Value> {
    let listed = carrier.api.get("/webhooks/subscribed").await.ok();
    listed["subscriptions"].as_array().unwrap().clone()
}

/// The failures since the beginning, with these further parameters.
async fn failed(carrier: &Carrier, more: &str) -> Vec<Value> {
    let found = carrier.api.get(&format!("/webhooks/failed?startTime=0{more}")).await.ok();
    found.as_array().expect("a bare array").clone()
}

/// The failures, once there are as many.
async fn failed_when(carrier: &Carrier, count: usize) -> Vec<Value> {
    let many = |found: &Value| found.as_array().is_some_and(|all| all.len() == count);
    let what = format!("{count} failures");
    carrier.get_when("/webhooks/failed?startTime=0", &what, many).await.as_array().unwrap().clone()
}

async fn patch(api: &Api, path: &str, body: &Value) -> Reply {
    let headers = [("content-type", "application/json")];
    api.call(Method::PATCH, path, &headers, body.to_string().into()).await
}

/// Checks a refusal in the shape of this API, and gives its message.
#[track_caller]
fn refused(answer: Reply, status: u16, category: &str, code: &str) -> String {
    let Reply { status: found, headers, body } = answer;
    let found = (found, body["category"].as_str(), body["code"].as_str());
    assert_eq!(found, (status, Some(category), Some(code)), "{body:#}");
    assert_eq!(headers["content-type"], "application/json");
    body["message"].as_str().unwrap().to_owned()
}
