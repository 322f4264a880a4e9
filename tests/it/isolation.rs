//! Two carriers side by side: the same names everywhere, and neither learns that the other exists.

use axum::http::Method;
use bytes::Bytes;
use hookyard::clock::Clock;
use hookyard_tests::client::{Api, Carrier};
use hookyard_tests::data::Data;
use hookyard_tests::guests;
use hookyard_tests::host::TestHost;
use hookyard_tests::on_both;
use hookyard_tests::sink::{Answer, Sink};
use serde_json::{Value, json};

use crate::way::stock;

on_both! {
    the_same_ids_everywhere_do_not_meet,
    another_carriers_name_is_as_good_as_none,
}

/// Everything that a carrier can have, under the same names for each carrier.
async fn furnish(host: &TestHost, sink: &Sink, id: &str) -> Carrier {
    let carrier = host.admin.carrier(id).await;
    let headers = json!({ "x-who": id });
    carrier.destination("claims", sink, json!({ "signing": "generate", "headers": headers })).await;
    carrier.api.put(&carrier.path("tables/lines"), &json!({ "auto": "claims" })).await.ok();
    carrier.plugin("route", stock("route"), "?wall_ms=900").await;
    let settings = json!({ "path": "line", "table": "lines" });
    let spec = json!({ "plugins": ["route"], "destinations": ["claims"], "settings": settings });
    carrier.subscription("main", spec).await;
    let about = json!({ "about": format!("What {id} says of it."), "example": { "line": "auto" } });
    carrier.api.put(&carrier.path("event-types/line.known"), &about).await.ok();
    carrier
}

async fn the_same_ids_everywhere_do_not_meet(data: &Data) {
    let host = TestHost::start(data).await;
    let sink = Sink::start().await;
    let acme = furnish(&host, &sink, "acme").await;
    let zeta = furnish(&host, &sink, "zeta").await;
    // What the one changes, the other does not notice.
    acme.plugin("route", guests::HELLO, "?wall_ms=901").await;
    zeta.api.put(&zeta.path("tables/lines"), &json!({})).await.ok();
    for carrier in [&acme, &zeta] {
        carrier.post("evt", &json!({ "line": "auto", "of": carrier.id })).await;
    }
    acme.delivery_in("evt", "delivered").await;
    let dropped = zeta.routing_when("evt", "a routing", |r| r["state"] == "routed").await;
    assert_eq!(dropped["verdict"], "drop", "its own table says nothing of `auto`");
    zeta.api.put(&zeta.path("tables/lines"), &json!({ "auto": "claims" })).await.ok();
    zeta.post("evt-2", &json!({ "line": "auto", "of": "zeta" })).await;
    let theirs = zeta.delivery_in("evt-2", "delivered").await;

    for request in sink.come(2).await {
        assert_eq!(request.header("x-who"), request.json()["of"], "its own credentials");
    }
    assert_eq!(acme.event("evt").await["routings"][0]["versions"][0]["version"], 2);
    assert_eq!(zeta.event("evt").await["payload"]["of"], "zeta");
    let described = zeta.api.get(&zeta.path("event-types/line.known")).await.ok();
    assert_eq!(described["about"], "What zeta says of it.");
    acme.api.get(&acme.path("events/evt-2")).await.problem(404, "not_found");
    let id = theirs["id"].as_str().unwrap();
    for rest in ["", "/retry", "/cancel"] {
        let path = acme.path(&format!("deliveries/{id}{rest}"));
        let method = if rest.is_empty() { Method::GET } else { Method::POST };
        acme.api.call(method, &path, &[], Bytes::new()).await.problem(404, "not_found");
    }
    let mine = acme.api.get(&acme.path("deliveries?limit=500")).await.ok();
    assert_eq!(mine["items"].as_array().unwrap().len(), 1);

    // What the one's receiver does, and what is done about it, stays with the one.
    sink.script(|r| Answer::Status(if r.header("x-who") == "acme" { 410 } else { 200 }));
    acme.post("gone", &json!({ "line": "auto", "of": "acme" })).await;
    acme.delivery_in("gone", "held").await;
    zeta.post("evt-3", &json!({ "line": "auto", "of": "zeta" })).await;
    zeta.delivery_in("evt-3", "delivered").await;
    assert_eq!(zeta.api.get(&zeta.path("destinations/claims")).await.ok()["state"], "enabled");
    zeta.api.delete(&zeta.path("destinations/claims")).await.ok();
    sink.answer(Answer::Status(200));
    acme.api.post(&acme.path("destinations/claims/enable"), &json!({})).await.ok();
    acme.delivery_in("gone", "delivered").await;
    host.end().await;
}

/// Each operation of the document below a carrier: its method, and its path with names that exist at both carriers.
async fn operations(admin: &Api, delivery: &str) -> Vec<(Method, String)> {
    let document = admin.get("/v1/openapi.json").await.ok();
    let mut all = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        if !path.starts_with("/v1/carriers/{carrier}") {
            continue;
        }
        let path = path
            .replace("{destination}", "claims")
            .replace("{subscription}", "main")
            .replace("{plugin}", "route")
            .replace("{version}", "1")
            .replace("{table}", "lines")
            .replace("{event}", "evt")
            .replace("{event_type}", "line.known")
            .replace("{delivery}", delivery)
            .replace("{key}", "0123456789abcdef");
        assert_eq!(path.matches('{').count(), 1, "a part of the path that this test does not know: {path}");
        for method in item.as_object().unwrap().keys() {
            all.extend(verb(method).map(|method| (method, path.clone())));
        }
    }
    all
}

fn verb(member: &str) -> Option<Method> {
    let method = member.to_uppercase().parse::<Method>().ok()?;
    ["GET", "PUT", "POST", "PATCH", "DELETE"].contains(&method.as_str()).then_some(method)
}

/// What the registered webhook of one carrier answers another, by every operation under `/webhooks`, next to what an id
/// that never was answers.
async fn no_webhook_is_anothers(admin: &Api, acme: &Carrier, zeta: &Carrier, sink: &Sink) {
    let body =
        json!({ "EVENT_ID": 1, "HTTP_POST_ADDRESS": sink.url("/webhook"), "HEADERS": { "x-who": "zeta" } });
    let record = zeta.api.post("/webhooks/register", &body).await.ok();
    sink.script(|r| Answer::Status(if r.path == "/webhook" { 500 } else { 200 }));
    zeta.post_typed("failing", "user.opted_out").await;
    let some = |found: &Value| found.as_array().is_some_and(|all| all.len() == 1);
    let failed = zeta.get_when("/webhooks/failed?startTime=0", "the failure", some).await;
    let (webhook, request) =
        (record["SUBSCRIPTION_ID"].as_str().unwrap(), failed[0]["requestId"].as_str().unwrap());
    let before = zeta.api.get("/webhooks/subscribed").await.ok();
    assert_eq!(before["subscriptions"], json!([record]));

    let document = admin.get("/v1/openapi.json").await.ok();
    let mut operations = 0;
    for (path, item) in
        document["paths"].as_object().unwrap().iter().filter(|(p, _)| p.starts_with("/webhooks/"))
    {
        for method in item.as_object().unwrap().keys().filter_map(|member| verb(member)) {
            operations += 1;
            let ask = async |webhook: &str, request: &str| {
                let mut path = path.replace("{subscription}", webhook).replace("{request}", request);
                assert_eq!(
                    path.matches('{').count(),
                    0,
                    "a part of the path that this test does not know: {path}"
                );
                if path == "/webhooks/failed" {
                    path = format!("{path}?startTime=0&subscriptionId={webhook}");
                }
                let body = match (method.as_str(), path.as_str()) {
                    ("PATCH", _) => json!({ "HTTP_POST_ADDRESS": "https://hooks.example" }),
                    ("POST", "/webhooks/retry") => json!({ "startTime": 0, "subscriptionId": webhook }),
                    _ => json!({}),
                };
                let headers = [("content-type", "application/json")];
                let mut answer =
                    acme.api.call(method.clone(), &path, &headers, body.to_string().into()).await;
                // All that may differ is the time of the answer and what is left of the key's share.
                for header in ["date", "ratelimit"] {
                    answer.headers.remove(header);
                }
                (answer.status, answer.headers, answer.body)
            };
            let never = "01a201ce-e44d-76a1-92e3-6d7af500e1a1";
            let (theirs, nobodys) = (ask(webhook, request).await, ask(never, never).await);
            assert_eq!(theirs, nobodys, "{method} {path}");
            if path.contains('{') {
                assert_eq!((theirs.0, &theirs.2["code"]), (404, &json!("NOT_FOUND")), "{method} {path}");
            }
        }
    }
    assert_eq!(operations, 7);
    assert_eq!(zeta.api.get("/webhooks/subscribed").await.ok(), before);
    assert_eq!(zeta.api.get("/webhooks/failed?startTime=0").await.ok(), failed);
    assert_eq!(acme.api.get("/webhooks/subscribed").await.ok()["subscriptions"], json!([]));
}

async fn another_carriers_name_is_as_good_as_none(data: &Data) {
    let host = TestHost::with(data, Clock::system(), |config| config.webhooks.burst = 1_000).await;
    let sink = Sink::start().await;
    let acme = furnish(&host, &sink, "acme").await;
    let zeta = furnish(&host, &sink, "zeta").await;
    zeta.post("evt", &json!({ "line": "auto" })).await;
    let delivery = zeta.delivery_in("evt", "delivered").await["id"].as_str().unwrap().to_owned();
    let before = inventory(&zeta).await;

    let all = operations(&host.admin, &delivery).await;
    assert!(all.len() > 30, "the document has {} operations below a carrier", all.len());
    let body = Bytes::from_static(b"{}");
    for (method, path) in all {
        let ask = async |carrier: &str| {
            let path = path.replace("{carrier}", carrier);
            let headers = [("content-type", "application/json")];
            let mut answer = acme.api.call(method.clone(), &path, &headers, body.clone()).await;
            // All that may differ is the time of the answer.
            answer.headers.remove("date");
            (answer.status, answer.headers, answer.body)
        };
        let (theirs, nobodys) = (ask("zeta").await, ask("never-was").await);
        assert_eq!(theirs, nobodys, "{method} {path}");
        assert_eq!((theirs.0, &theirs.2["code"]), (404, &json!("not_found")), "{method} {path}");
    }
    assert_eq!(inventory(&zeta).await, before, "nothing of all this changed anything");
    no_webhook_is_anothers(&host.admin, &acme, &zeta, &sink).await;

    // What is not below a carrier is not a carrier's at all.
    for path in ["/v1/carriers", "/v1/keys", "/v1/plugins"] {
        acme.api.get(path).await.problem(403, "forbidden");
    }
    acme.try_post_as_itself().await.problem(403, "forbidden");
    acme.api.post("/v1/carriers", &json!({ "id": "zeta", "name": "z" })).await.problem(403, "forbidden");
    // `me` is the key's own carrier.
    assert_eq!(acme.api.get("/v1/carriers/me").await.ok()["id"], "acme");
    acme.api.with_key("hky_0123456789abcdef_no").get("/v1/carriers/me").await.problem(401, "unauthorized");
    host.end().await;
}

async fn inventory(carrier: &Carrier) -> Vec<Value> {
    let mut all = Vec::new();
    for rest in
        ["destinations", "subscriptions", "plugins", "tables", "event-types", "keys", "events", "deliveries"]
    {
        all.push(carrier.api.get(&carrier.path(rest)).await.ok());
    }
    all
}
