//! Registrations for what is not posted: transcripts as files and mails, media, surveys.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::http::StatusCode;
use axum::response::IntoResponse;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hookyard::carrier::RelaySecurity;
use hookyard::clock::Clock;
use hookyard_tests::client::Carrier;
use hookyard_tests::data::Data;
use hookyard_tests::host::{T0, TestHost};
use hookyard_tests::media::{Item, MediaHost, png};
use hookyard_tests::smtp::{Reply, SmtpSink};
use hookyard_tests::{on_both, pdf};
use serde_json::{Value, json};

use super::{failed, failed_when, id, patch, post, refused, register, subscribed};

on_both! {
    transcripts_mails_and_surveys_are_sent,
    scheduled_transcripts_and_media_are_put,
    media_of_a_closed_case_are_mailed,
}

/// A host with a relay, a drop folder and an address of its own.
async fn host(data: &Data, relay: &SmtpSink) -> TestHost {
    let port = relay.port;
    TestHost::with(data, Clock::manual(T0), |config| {
        config.webhooks.burst = 10_000;
        config.server.public_url = "https://hooks.example.com".to_owned();
        config.drop.hosted = true;
        config.mail.relay = "127.0.0.1".to_owned();
        config.mail.port = port;
        config.mail.security = RelaySecurity::None;
        config.mail.from = "Events <events@host.example>".to_owned();
    })
    .await
}

fn case(message: &Value) -> Value {
    json!({ "caseData": { "id": "4e7d1c92-58ab-4a63-9b1f-c07e2d48a5f1", "claimNumber": "NB-1", "brand": "Acme" },
        "state": "closed", "referenceId": "NB-1", "customer": { "first": "Tilda", "last": "Marsh", "role": "enduser",
        "email": "tilda.marsh@example.org" }, "messages": [message] })
}

fn text(id: &str, data: &str) -> Value {
    json!({ "id": id, "type": "text", "channelSource": "mobile", "data": data, "createdAt": "2026-04-20T08:00:00.000Z" })
}

/// What the carrier finds in its drop folder under this name.
async fn dropped(data: &Data, carrier: &Carrier, name: &str) -> Vec<u8> {
    let listed =
        |found: &Value| found["items"].as_array().is_some_and(|all| all.iter().any(|f| f["path"] == name));
    carrier.get_when(&carrier.path("drop/files"), name, listed).await;
    std::fs::read(data.folder().join("drop").join(&carrier.id).join("files").join(name)).unwrap()
}

async fn transcripts_mails_and_surveys_are_sent(data: &Data) {
    let relay = SmtpSink::offering(&[]).await;
    let host = host(data, &relay).await;
    let acme = host.admin.carrier("acme").await;
    let file = json!({ "EVENT_ID": 3, "format": "${caseData.brand}/${partialId}", "redacted": true });
    let record = register(&acme, &file).await;
    assert_eq!((&record["EVENT"], &record["REGISTERED_PAYLOAD"]), (&json!("CLOSE_CASE"), &file));
    let mail =
        json!({ "EVENT_ID": 8, "RECIPIENTS": ["claims@acme.example"], "SUBJECT": "Closed: ${referenceId}" });
    let mailed = register(&acme, &mail).await;
    let asked = register(&acme, &json!({ "EVENT_ID": 9, "SUBJECT": "How was it, ${customer.first}?" })).await;
    // The clock stands, so nothing says which is the oldest.
    let by_id = |mut all: Vec<Value>| {
        all.sort_by_key(id);
        all
    };
    let all = vec![record.clone(), mailed.clone(), asked.clone()];
    assert_eq!(by_id(subscribed(&acme).await), by_id(all));

    post(&acme, "evt", "case.closed", &case(&text("m-1", "It is mended, says Tilda"))).await;
    let found = pdf::text(&dropped(data, &acme, "Acme/4e7d1c92-.pdf").await);
    assert!(found.contains("It is mended, says [redacted]"), "{found}");
    let mut mails = relay.come(2).await;
    mails.sort_by(|a, b| a.to.cmp(&b.to));
    assert_eq!(
        (mails[0].to.join(" "), mails[0].header("subject")),
        ("claims@acme.example".into(), "Closed: NB-1".into())
    );
    let whole = String::from_utf8_lossy(&mails[0].raw).into_owned();
    let (_, attached) = whole.split_once("application/pdf").expect("a transcript is attached");
    let (_, body) = attached.split_once("\r\n\r\n").unwrap();
    let body: String = body.split("--").next().unwrap().split_ascii_whitespace().collect();
    let read = pdf::text(&STANDARD.decode(body).unwrap());
    assert!(read.contains("It is mended, says Tilda"), "{read}");
    let survey = String::from_utf8_lossy(&mails[1].raw).into_owned();
    assert_eq!(
        (mails[1].to.join(" "), mails[1].header("subject")),
        ("tilda.marsh@example.org".into(), "How was it, Tilda?".into())
    );
    assert!(survey.replace("=\r\n", "").contains("https://hooks.example.com/s/"), "{survey}");
    acme.settled_events().await;
    assert_eq!(failed(&acme, "").await, [] as [Value; 0]);

    // What a server refuses is among the failures, and a retry sends it.
    relay.script(|said| match said.line.as_str() {
        "RCPT TO:<claims@acme.example>" => Reply::say("550 5.1.1 nobody here"),
        _ => Reply::Usual,
    });
    post(&acme, "refused", "case.closed", &case(&text("m-1", "again"))).await;
    let failure = failed_when(&acme, 1).await.remove(0);
    assert_eq!((&failure["eventId"], &failure["subscriptionId"]), (&json!(8), &json!(id(&mailed))));
    relay.script(|_| Reply::Usual);
    let retry = format!("/webhooks/retry/{}", failure["requestId"].as_str().unwrap());
    acme.api.post(&retry, &json!({})).await.ok();
    relay.come(4).await;
    failed_when(&acme, 0).await;

    let update = format!("/webhooks/update/{}", id(&record));
    let change = json!({ "HTTP_POST_ADDRESS": "https://hooks.example" });
    refused(patch(&acme.api, &update, &change).await, 409, "ConflictError", "WRONG_STATE");
    for one in [&record, &mailed, &asked] {
        acme.api.delete(&format!("/webhooks/unregister/{}", id(one))).await.ok();
    }
    assert_eq!(subscribed(&acme).await, [] as [Value; 0]);
    host.end().await;
}

/// Serves a picture, or says that the link has expired.
async fn media_host(expired: Arc<AtomicBool>) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let origin = format!("http://{}", listener.local_addr().unwrap());
    let give = move || {
        let expired = expired.load(Ordering::SeqCst);
        async move {
            if expired {
                return StatusCode::FORBIDDEN.into_response();
            }
            ([("content-type", "image/png")], b"\x89PNG\r\n\x1a\n and so on".as_slice()).into_response()
        }
    };
    let app = axum::Router::new().route("/obj", axum::routing::get(give));
    tokio::spawn(async move { axum::serve(listener, app).await });
    origin
}

async fn scheduled_transcripts_and_media_are_put(data: &Data) {
    let relay = SmtpSink::offering(&[]).await;
    let host = host(data, &relay).await;
    let acme = host.admin.carrier("acme").await;
    let due = json!({ "EVENT_ID": 4, "SCHEDULE": "daily 02:30", "TIME_ZONE": "Europe/Berlin", "FORMAT": "daily/${referenceId}" });
    let scheduled = register(&acme, &due).await;
    assert_eq!(scheduled["REGISTERED_PAYLOAD"], due);
    register(&acme, &json!({ "EVENT_ID": 15 })).await;
    let expired = Arc::new(AtomicBool::new(false));
    let origin = media_host(expired.clone()).await;
    acme.api.put(&acme.path("media"), &json!({ "allowed_hosts": ["127.0.0.1"] })).await.ok();

    let picture = |id: &str| {
        let mut payload = case(&json!({}));
        payload.as_object_mut().unwrap().remove("messages");
        payload["message"] =
            json!({ "id": id, "type": "image", "channelSource": "mobile", "data": format!("{origin}/obj") });
        payload
    };
    post(&acme, "media", "media.received", &picture("m-7")).await;
    assert_eq!(dropped(data, &acme, "NB-1_4e7d1c92-_m-7.png").await, b"\x89PNG\r\n\x1a\n and so on");
    expired.store(true, Ordering::SeqCst);
    post(&acme, "late", "media.received", &picture("m-8")).await;
    let failure = failed_when(&acme, 1).await.remove(0);
    assert_eq!(failure["eventId"], 15);
    let delivery = acme.delivery_in("late", "dead").await;
    assert!(delivery["last_error"].as_str().unwrap().contains("expired"), "{delivery:#}");

    // Two events of one case become one transcript at the hour, and one of another case another.
    let mut said = case(&json!({}));
    said.as_object_mut().unwrap().remove("messages");
    said["message"] = text("m-1", "the first word");
    post(&acme, "one", "message.created", &said).await;
    said["message"] = text("m-2", "the second word");
    post(&acme, "two", "message.created", &said).await;
    said["caseData"]["id"] = json!("another");
    said["referenceId"] = json!("NB-2");
    post(&acme, "three", "message.created", &said).await;
    acme.settled_events().await;
    host.clock.advance(Duration::from_secs(24 * 3_600));
    let read = pdf::text(&dropped(data, &acme, "daily/NB-1.pdf").await);
    assert!(read.contains("the first word") && read.contains("the second word"), "{read}");
    let read = pdf::text(&dropped(data, &acme, "daily/NB-2.pdf").await);
    assert!(!read.contains("the first word") && read.contains("the second word"), "{read}");
    acme.api.delete(&format!("/webhooks/unregister/{}", id(&scheduled))).await.ok();
    host.leave().await;
}

async fn media_of_a_closed_case_are_mailed(data: &Data) {
    let (relay, media) = (SmtpSink::offering(&[]).await, MediaHost::start().await);
    let authorities = data.folder().join("authorities.pem");
    std::fs::write(&authorities, media.pem()).unwrap();
    let port = relay.port;
    let host = TestHost::with(data, Clock::manual(T0), |config| {
        config.media.authorities = authorities;
        config.mail.relay = "127.0.0.1".to_owned();
        config.mail.port = port;
        config.mail.security = RelaySecurity::None;
        config.mail.from = "Events <events@host.example>".to_owned();
    })
    .await;
    let acme = host.admin.carrier("acme").await;
    media.answer(Item::png(2_000));
    acme.api.put(&acme.path("media"), &json!({ "allowed_hosts": ["localhost"] })).await.ok();
    let mail = json!({ "EVENT_ID": 8, "RECIPIENTS": ["claims@acme.example"], "INCLUDE_MEDIA": true });
    register(&acme, &mail).await;
    let picture =
        json!({ "id": "m-7", "type": "image", "channelSource": "mobile", "data": media.url("/a.png") });
    post(&acme, "evt", "case.closed", &case(&picture)).await;
    // The transcript, and the media in a mail of their own.
    let mails = relay.come(2).await;
    let all: Vec<String> = mails.iter().map(|mail| String::from_utf8_lossy(&mail.raw).into_owned()).collect();
    assert_eq!(all.iter().filter(|mail| mail.contains("application/pdf")).count(), 1, "{all:?}");
    let (_, attached) =
        all.iter().find_map(|mail| mail.split_once("image/png")).expect("the picture is attached");
    let (_, body) = attached.split_once("\r\n\r\n").unwrap();
    let body: String = body.split("--").next().unwrap().split_ascii_whitespace().collect();
    assert_eq!(STANDARD.decode(body).unwrap(), png(2_000));
    acme.settled_events().await;
    assert_eq!(failed(&acme, "").await, [] as [Value; 0]);
    host.end().await;
}

#[tokio::test]
async fn a_site_of_the_carriers_own_is_kept_without_its_secrets() {
    let data = Data::sqlite().await;
    let relay = SmtpSink::offering(&[]).await;
    let host = host(&data, &relay).await;
    let acme = host.admin.carrier("acme").await;
    let site = json!({ "host": "sftp.acme.example", "username": "hookyard", "host_keys": [
        "SHA256:jQB8D03WSHtXWSQ9Zbg6RJiUJh/U0GcXSPJMDso3tS8"], "folder": "in", "password": "S3CR3T-password" });
    let body = json!({ "EVENT_ID": 15, "SFTP": site, "FORMAT": "${message.id}" });
    let record = register(&acme, &body).await;
    let shown = &record["REGISTERED_PAYLOAD"]["SFTP"];
    assert_eq!((&shown["host"], &shown["password"]), (&json!("sftp.acme.example"), &json!("***")));
    let listed = json!(subscribed(&acme).await).to_string();
    assert!(!listed.contains("S3CR3T") && !record.to_string().contains("S3CR3T"), "{listed}");
    for (change, what) in [
        (json!({ "host": "10.0.0.1" }), "10.0.0.1 is refused"),
        (json!({ "host_keys": ["no key"] }), "\"no key\" is neither a fingerprint"),
        (json!({ "password": null }), "it needs a `password`"),
    ] {
        let mut wrong = body.clone();
        wrong["SFTP"].as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        let answer = acme.api.post("/webhooks/register", &wrong).await;
        assert_eq!(answer.body["field"], "SFTP", "{:#}", answer.body);
        let said = refused(answer, 400, "ValidationError", "INVALID_BODY");
        assert!(said.contains(what) && !said.contains("S3CR3T"), "{said}");
    }
    let key = json!({ "EVENT_ID": 3, "PGP_KEY": STANDARD.encode("-----BEGIN PGP PUBLIC KEY BLOCK-----") });
    let answer = acme.api.post("/webhooks/register", &key).await;
    assert_eq!(answer.body["field"], "PGP_KEY", "{:#}", answer.body);
    host.end().await;
}

#[tokio::test]
async fn without_a_drop_folder_or_a_relay_a_registration_says_what_is_missing() {
    let data = Data::sqlite().await;
    let host = super::host(&data).await;
    let acme = host.admin.carrier("acme").await;
    for (body, field, said) in [
        (json!({ "EVENT_ID": 3 }), "SFTP", "no drop folder"),
        (json!({ "EVENT_ID": 8, "RECIPIENTS": "claims@acme.example" }), "EVENT_ID", "relay"),
    ] {
        let answer = acme.api.post("/webhooks/register", &body).await;
        assert_eq!(answer.body["field"], field, "{:#}", answer.body);
        let why = refused(answer, 400, "ValidationError", "INVALID_BODY");
        assert!(why.contains(said), "{why}");
    }
    assert_eq!(subscribed(&acme).await, [] as [Value; 0]);
    host.end().await;
}
