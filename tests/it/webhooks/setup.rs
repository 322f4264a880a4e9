//! Registering: what is taken, what receivers then see, and what is shown of it.

use std::time::Duration;

use axum::http::Method;
use bytes::Bytes;
use hookyard::clock::Clock;
use hookyard_tests::client::one;
use hookyard_tests::data::Data;
use hookyard_tests::host::TestHost;
use hookyard_tests::on_both;
use hookyard_tests::sink::Sink;
use serde_json::{Value, json};

use super::{at, failed, failed_when, host, host_on, id, patch, post, refused, register, subscribed};

on_both! {
    a_registration_is_sent_as_documented,
    secrets_come_back_nowhere,
    what_is_left_out_does_not_arrive,
    what_cannot_be_sent_yet_says_so,
}

async fn a_registration_is_sent_as_documented(data: &Data) {
    // The verifier of signatures has no other clock.
    let host = host_on(data, Clock::system()).await;
    let sink = Sink::start().await;
    let acme = host.admin.carrier("acme").await;
    let headers = json!([{ "x-env": "uat", "Authorization": "myToken3118yfj8134feda" }]);
    let filter = "caseData.brand:Acme Mutual&state:open";
    let more = json!({ "HEADERS": headers, "FILTER_BY": filter, "includeMessageClassifications": true });
    let record = at(&acme, &sink, 14, more).await;
    let shown = json!({ "EVENT_ID": 14, "HTTP_POST_ADDRESS": sink.url("/hook"), "FILTER_BY": filter,
        "HEADERS": [{ "x-env": "***", "Authorization": "***" }], "includeMessageClassifications": true });
    assert_eq!(record["EVENT"], "MESSAGE");
    assert_eq!(record["REGISTERED_PAYLOAD"], shown);
    assert_eq!(subscribed(&acme).await, std::slice::from_ref(&record));
    uuid::Uuid::try_parse(&id(&record)).unwrap();

    let payload =
        json!({ "caseData": { "brand": "Acme Mutual" }, "state": "open", "message": { "id": "m-1" } });
    post(&acme, "kept", "message.created", &payload).await;
    let mut other = payload.clone();
    other["state"] = json!("closed");
    post(&acme, "filtered", "message.created", &other).await;
    let request = sink.come(1).await.remove(0);
    assert_eq!((request.method.as_str(), request.json()), ("POST", payload.clone()));
    for (name, value) in [
        ("content-type", "application/json"),
        ("accept", "application/json"),
        ("eventid", "14"),
        ("eventname", "MESSAGE"),
        ("x-env", "uat"),
        ("authorization", "myToken3118yfj8134feda"),
    ] {
        assert_eq!(request.header(name), value, "{name}");
    }
    assert_eq!(request.header("webhook-signature"), "", "nothing is signed that was not asked for");
    let delivery = acme.delivery_in("kept", "delivered").await;
    assert_eq!(delivery["id"], json!(request.header("requestid")));
    acme.routing_when("filtered", "the filter", |routing| routing["state"] == "filtered").await;
    assert_eq!(failed(&acme, "").await, [] as [Value; 0], "what is filtered out has not failed");

    // Several of the same event; each has an address of its own, and they do not meet.
    let second = at(&acme, &sink, 14, json!({ "HTTP_METHOD": "PUT", "SIGNING": true })).await;
    let secret = second["SIGNING_SECRET"].as_str().unwrap();
    let third = at(&acme, &sink, 14, json!({ "HTTP_METHOD": "get" })).await;
    sink.forget();
    post(&acme, "again", "message.created", &other).await;
    let mut requests = sink.come(2).await;
    requests.sort_by(|a, b| a.method.cmp(&b.method));
    assert_eq!((requests[0].method.as_str(), requests[0].body.len()), ("GET", 0));
    assert_eq!((requests[1].method.as_str(), requests[1].json()), ("PUT", other));
    assert!(requests[1].verified(secret), "{:?}", requests[1].headers);
    acme.settled_events().await;

    let path = format!("/webhooks/unregister/{}", id(&record));
    let removed = acme.api.delete(&path).await.ok();
    let mut expected = record.clone();
    expected["ORGANIZATION_ID"] = json!("acme");
    assert_eq!(removed, expected);
    refused(acme.api.delete(&path).await, 404, "NotFoundError", "NOT_FOUND");
    let left: Vec<_> = subscribed(&acme).await.iter().map(id).collect();
    assert_eq!(left, [id(&second), id(&third)]);
    let destinations = acme.api.get(&acme.path("destinations")).await.ok();
    assert_eq!(destinations["items"].as_array().unwrap().len(), 2, "its destination is gone with it");
    sink.forget();
    post(&acme, "after", "message.created", &payload).await;
    sink.come(2).await;
    acme.settled_events().await;
    assert_eq!(sink.count(), 2);
    host.end().await;
}

async fn secrets_come_back_nowhere(data: &Data) {
    let host = host(data).await;
    let sink = Sink::start().await;
    let acme = host.admin.carrier("acme").await;
    let oauth = json!({ "type": "OaUth2", "grant_type": "password", "client_id": "hm-router",
        "client_secret": "S3CR3T-client", "username": "svc", "password": "S3CR3T-password", "scope": "events.write",
        "token_url": sink.url("/token"), "audience": "https://hooks.example", "optional_params": ["scope"],
        "additional_headers": { "x-gateway-key": "S3CR3T-gateway" }, "resource": "S3CR3T-parameter" });
    let headers = json!({ "x-key": "S3CR3T-header", "Authorization": oauth });
    let record = at(&acme, &sink, 11, json!({ "HEADERS": headers, "AUTH_TOKEN": "S3CR3T-shared" })).await;
    let authorization = &record["REGISTERED_PAYLOAD"]["HEADERS"]["Authorization"];
    for (name, value) in [
        ("grant_type", "password"),
        ("client_id", "hm-router"),
        ("scope", "events.write"),
        ("audience", "https://hooks.example"),
        ("token_url", sink.url("/token").as_str()),
        ("client_secret", "***"),
        ("password", "***"),
    ] {
        assert_eq!(authorization[name], value, "{name}");
    }
    assert_eq!(record["REGISTERED_PAYLOAD"]["AUTH_TOKEN"], "***");
    let update = format!("/webhooks/update/{}", id(&record));
    let change =
        json!({ "HEADERS": { "Authorization": { "client_secret": "S3CR3T-rotated", "scope": "more" } } });
    let changed = patch(&acme.api, &update, &change).await.ok();
    assert_eq!(changed["HEADERS"]["Authorization"]["scope"], "more");
    assert_eq!(changed["HEADERS"]["Authorization"]["client_id"], "hm-router", "laid over, not replaced");
    assert_eq!(changed["EVENT_ID"], 11, "the answer is the registered payload");
    let destination = format!("destinations/webhook-{}", id(&record));
    let mut shown = vec![record.to_string(), changed.to_string(), json!(subscribed(&acme).await).to_string()];
    for path in [&destination, "subscriptions", "destinations"] {
        shown.push(acme.api.get(&acme.path(path)).await.ok().to_string());
    }
    // A refusal does not say it again either.
    let wrong = json!({ "HEADERS": { "Authorization": { "grant_type": "S3CR3T-grant" } } });
    shown.push(refused(patch(&acme.api, &update, &wrong).await, 400, "ValidationError", "INVALID_BODY"));
    shown.push(acme.api.delete(&format!("/webhooks/unregister/{}", id(&record))).await.ok().to_string());
    for text in shown {
        assert!(!text.contains("S3CR3T"), "{text}");
    }
    host.end().await;
}

async fn what_is_left_out_does_not_arrive(data: &Data) {
    let host = host(data).await;
    let sink = Sink::start().await;
    let acme = host.admin.carrier("acme").await;
    let redacted = at(&acme, &sink, 14, json!({ "redacted": true })).await;
    assert_eq!(redacted["REGISTERED_PAYLOAD"]["redacted"], true);
    let person = json!({ "id": "u-1", "first": "Maren", "last": "Oakes", "email": "m@x.example", "mobile": "+1555",
        "role": "enduser" });
    let payload = json!({ "caseData": { "id": "c-1", "claimNumber": "AC-1" }, "businessName": "Oakes", "customer": person,
        "secondaryOperators": [person], "message": { "id": "m-1", "type": "text", "data": "call me",
        "classifications": ["urgent"] } });
    post(&acme, "evt", "message.created", &payload).await;
    let request = sink.come(1).await.remove(0);
    let user = json!({ "id": "u-1", "role": "enduser" });
    let expected = json!({ "caseData": { "id": "c-1", "claimNumber": "AC-1" }, "customer": user,
        "secondaryOperators": [user], "message": { "id": "m-1", "type": "text" } });
    assert_eq!(request.json(), expected);

    // Without `redacted` only the classifications stay behind, and with their option nothing does.
    let shared = host.admin.get("/v1/plugins").await.ok();
    assert_eq!(one(&shared["items"])["name"], "redact", "installed once, for all carriers");
    acme.api.delete(&format!("/webhooks/unregister/{}", id(&redacted))).await.ok();
    at(&acme, &sink, 14, json!({ "HEADERS": { "x-n": "without" } })).await;
    at(&acme, &sink, 14, json!({ "HEADERS": { "x-n": "with" }, "includeMessageClassifications": true }))
        .await;
    sink.forget();
    post(&acme, "evt-2", "message.created", &payload).await;
    for request in sink.come(2).await {
        let mut expected = payload.clone();
        if request.header("x-n") == "without" {
            expected["message"].as_object_mut().unwrap().remove("classifications");
        }
        assert_eq!(request.json(), expected, "{}", request.header("x-n"));
    }
    let shared = host.admin.get("/v1/plugins").await.ok();
    assert_eq!(one(&shared["items"])["latest"], 1, "and not again");
    acme.settled_events().await;
    host.end().await;
}

async fn what_cannot_be_sent_yet_says_so(data: &Data) {
    let host = host(data).await;
    let acme = host.admin.carrier("acme").await;
    let file = json!({ "EVENT_ID": 3, "format": "${caseData.brand}/${partialId}", "redacted": false });
    let record = register(&acme, &file).await;
    assert_eq!((&record["EVENT"], &record["REGISTERED_PAYLOAD"]), (&json!("CLOSE_CASE"), &file));
    register(&acme, &json!({ "EVENT_ID": 8, "RECIPIENTS": ["claims@acme.example"] })).await;
    register(&acme, &json!({ "EVENT_ID": 9 })).await;
    post(&acme, "evt", "case.closed", &json!({ "caseData": { "brand": "Acme" } })).await;
    let mut failures = failed_when(&acme, 3).await;
    failures.sort_by_key(|one| one["eventId"].as_u64());
    let events: Vec<_> = failures.iter().map(|one| one["eventId"].as_u64().unwrap()).collect();
    assert_eq!(events, [3, 8, 9]);
    let nobody = "there is no recipient: the destination has no `to`, and the plugin named nobody";
    for (failure, why) in failures.iter().zip(["destination kind not available: sftp", nobody, nobody]) {
        let request = failure["requestId"].as_str().unwrap();
        let delivery = acme.api.get(&acme.path(&format!("deliveries/{request}"))).await.ok();
        assert_eq!((&delivery["state"], &delivery["last_error"]), (&json!("dead"), &json!(why)));
    }
    let update = format!("/webhooks/update/{}", id(&record));
    let change = json!({ "HTTP_POST_ADDRESS": "https://hooks.example" });
    refused(patch(&acme.api, &update, &change).await, 409, "ConflictError", "WRONG_STATE");
    host.end().await;
}

#[tokio::test]
async fn a_body_that_does_not_hold_is_refused_by_its_member() {
    let data = Data::sqlite().await;
    let host = host(&data).await;
    let sink = Sink::start().await;
    let acme = host.admin.carrier("acme").await;
    let record = at(&acme, &sink, 11, json!({})).await;
    let with = |more: Value| {
        let mut body = json!({ "EVENT_ID": 11, "HTTP_POST_ADDRESS": "https://hooks.example/in" });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    };
    for (more, field) in [
        (json!({ "EVENT_ID": 99 }), "EVENT_ID"),
        (json!({ "HTTP_POST_ADDRESS": "ftp://hooks.example" }), "HTTP_POST_ADDRESS"),
        (json!({ "HTTP_POST_ADDRESS": "https://10.0.0.1/in" }), "HTTP_POST_ADDRESS"),
        (json!({ "HTTP_POST_ADDRESS": "hooks.example" }), "HTTP_POST_ADDRESS"),
        (json!({ "HEADERS": { "host": "evil.example" } }), "HEADERS"),
        (json!({ "HEADERS": { "x": "a\nb" } }), "HEADERS"),
        (json!({ "FILTER_BY": "state" }), "FILTER_BY"),
        (json!({ "filter": "state:open" }), "filter"),
        (
            json!({ "HEADERS": { "Authorization": { "type": "oauth2", "grant_type": "implicit" } } }),
            "HEADERS.Authorization.grant_type",
        ),
    ] {
        let answer = acme.api.post("/webhooks/register", &with(more.clone())).await;
        assert_eq!(answer.body["field"], field, "{more}: {:#}", answer.body);
        refused(answer, 400, "ValidationError", "INVALID_BODY");
    }
    let update = format!("/webhooks/update/{}", id(&record));
    for (change, field) in [
        (json!({}), "HTTP_POST_ADDRESS"),
        (json!({ "FILTER_BY": "state:open" }), "FILTER_BY"),
        (json!({ "HEADERS": { "x-env": "prod" } }), "HEADERS.x-env"),
        (json!({ "HTTP_POST_ADDRESS": "http://10.0.0.1/in" }), "HTTP_POST_ADDRESS"),
        (json!({ "HEADERS": { "Authorization": 1 } }), "HEADERS.Authorization"),
    ] {
        let answer = patch(&acme.api, &update, &change).await;
        assert_eq!(answer.body["field"], field, "{change}: {:#}", answer.body);
        refused(answer, 400, "ValidationError", "INVALID_BODY");
    }
    let text = acme.api.call(Method::POST, "/webhooks/register", &[], Bytes::from_static(b"{ // no")).await;
    refused(text, 400, "ValidationError", "INVALID_JSON");
    assert_eq!(subscribed(&acme).await, [record], "nothing of all this changed anything");

    // What the path and the key must be is said in the same shape.
    refused(acme.api.get("/webhooks/nothing").await, 404, "NotFoundError", "NOT_FOUND");
    refused(acme.api.get("/webhooks/register").await, 405, "ValidationError", "METHOD_NOT_ALLOWED");
    let nobody = acme.api.with_key("hky_0123456789abcdef_no");
    let answer = nobody.get("/webhooks/subscribed").await;
    assert!(answer.headers.contains_key("ratelimit-policy"));
    refused(answer, 401, "AuthenticationError", "UNAUTHORIZED");
    refused(host.admin.get("/webhooks/subscribed").await, 403, "AuthorizationError", "FORBIDDEN");
    host.end().await;
}

#[tokio::test]
async fn the_rest_of_the_api_shows_a_webhook_and_says_what_changes_where() {
    let data = Data::sqlite().await;
    // The verifier of signatures has no other clock.
    let host = host_on(&data, Clock::system()).await;
    let sink = Sink::start().await;
    let acme = host.admin.carrier("acme").await;
    let record = at(&acme, &sink, 11, json!({ "FILTER_BY": "state:closed" })).await;
    let path = acme.path(&format!("subscriptions/{}", id(&record)));
    let shown = acme.api.get(&path).await.ok();
    assert_eq!((&shown["webhook"]["event_id"], &shown["event_types"]), (&json!(11), &json!(["case.closed"])));
    assert_eq!(
        (&shown["filter"], &shown["policy"]),
        (&json!("state is \"closed\""), &json!({ "profile": "none" }))
    );
    let plain = json!({ "event_types": ["*"] });
    let said = acme.api.put(&path, &plain).await.problem(409, "wrong_state");
    assert!(said["detail"].as_str().unwrap().contains("PATCH /webhooks/update"), "{said}");
    let own = format!("webhook-{}", id(&record));
    let destination = acme.path(&format!("destinations/{own}"));
    acme.api.delete(&destination).await.problem(409, "wrong_state");
    let borrowed = json!({ "event_types": ["*"], "destinations": [own] });
    acme.api.put(&acme.path("subscriptions/mine"), &borrowed).await.problem(422, "invalid_body");
    let forged = json!({ "event_types": ["*"], "webhook": shown["webhook"] });
    acme.api.put(&acme.path("subscriptions/mine"), &forged).await.problem(422, "invalid_body");

    // A subscription of the other face is none here.
    acme.subscription("mine", json!({})).await;
    assert_eq!(subscribed(&acme).await.len(), 1);
    refused(acme.api.delete("/webhooks/unregister/mine").await, 404, "NotFoundError", "NOT_FOUND");

    // Signing can be set up on its destination; the address that it has then is the one that is shown.
    let body = json!({ "kind": "http", "url": sink.url("/moved"), "signing": "generate" });
    let secret = acme.api.put(&destination, &body).await.ok()["signing_secret"].as_str().unwrap().to_owned();
    assert_eq!(subscribed(&acme).await[0]["REGISTERED_PAYLOAD"]["HTTP_POST_ADDRESS"], sink.url("/moved"));
    acme.api.post(&format!("{path}/pause"), &json!({})).await.ok();
    post(&acme, "paused", "case.closed", &json!({ "state": "closed" })).await;
    acme.settled_events().await;
    acme.api.post(&format!("{path}/resume"), &json!({})).await.ok();
    post(&acme, "evt", "case.closed", &json!({ "state": "closed" })).await;
    let request = sink.come(1).await.remove(0);
    assert_eq!((request.path.as_str(), request.header("eventid")), ("/moved", "11"));
    assert!(request.verified(&secret));
    acme.api.delete(&path).await.ok();
    acme.api.get(&destination).await.problem(404, "not_found");
    assert_eq!(subscribed(&acme).await, [] as [Value; 0]);
    host.end().await;
}

#[tokio::test]
async fn a_key_has_its_share_of_requests() {
    let data = Data::sqlite().await;
    let host = TestHost::on_manual_clock(&data).await;
    let (acme, zeta) = (host.admin.carrier("acme").await, host.admin.carrier("zeta").await);
    for left in (0..15).rev() {
        let answer = acme.api.get("/webhooks/subscribed").await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.headers["ratelimit-policy"], "\"average\";q=20;w=1, \"burst\";q=15");
        assert_eq!(answer.headers["ratelimit"], format!("\"burst\";r={left};t=1"));
    }
    let answer = acme.api.get("/webhooks/subscribed").await;
    assert_eq!(
        (&answer.headers["retry-after"], &answer.headers["ratelimit"]),
        (&"1".parse().unwrap(), &"\"burst\";r=0;t=1".parse().unwrap())
    );
    let said = refused(answer, 429, "ThrottleError", "THROTTLED");
    assert!(said.contains("`requests_per_second` (20) and `burst` (15)"), "{said}");
    zeta.api.get("/webhooks/subscribed").await.ok();
    acme.api.get(&acme.path("subscriptions")).await.ok();
    // One token takes 50 ms; the next one is not there before.
    host.clock.advance(Duration::from_millis(49));
    assert_eq!(acme.api.get("/webhooks/failed?startTime=0").await.status, 429);
    host.clock.advance(Duration::from_millis(1));
    assert_eq!(acme.api.get("/webhooks/failed?startTime=0").await.status, 200);
    assert_eq!(acme.api.get("/webhooks/nothing").await.status, 429, "whatever is asked for");
    host.end().await;
}
