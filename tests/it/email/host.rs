//! A whole host: destinations as they are registered, deliveries as they are recorded, the operator's relay.

use hookyard::clock::Clock;
use hookyard::config::{Config, Hidden};
use hookyard_tests::data::Data;
use hookyard_tests::guests;
use hookyard_tests::host::{T0, TestHost};
use hookyard_tests::on_both;
use hookyard_tests::smtp::Reply;

use super::*;

on_both! {
    a_greylisted_mail_is_sent_again_and_arrives_once,
    a_cut_after_the_message_repeats_it_under_its_own_id,
}

/// The operator's relay is the scripted one.
fn by(sink: &SmtpSink) -> impl FnOnce(&mut Config) {
    let port = sink.port;
    move |config| {
        config.mail.relay = "127.0.0.1".to_owned();
        config.mail.port = port;
        config.mail.security = RelaySecurity::None;
        config.mail.from = "Events <events@host.example>".to_owned();
    }
}

const OFFICE: &str = "destinations/office";

fn office() -> Value {
    json!({ "kind": "email", "email": { "to": ["office@example.com"], "subject": "Case ${caseData.claimNumber}" } })
}

async fn a_greylisted_mail_is_sent_again_and_arrives_once(data: &Data) {
    let sink = SmtpSink::offering(&["PIPELINING"]).await;
    sink.script(|said| match (said.verb.as_str(), said.nth) {
        ("RCPT", 1) => Reply::say("450 4.2.0 greylisted, come again"),
        _ => Reply::Usual,
    });
    let host = TestHost::with(data, Clock::manual(T0), by(&sink)).await;
    let acme = host.admin.carrier("acme").await;
    acme.api.put(&acme.path(OFFICE), &office()).await.ok();
    acme.subscription("main", json!({ "destinations": ["office"] })).await;
    acme.post("evt", &json!({ "caseData": { "id": "0123456789", "claimNumber": "S-7" } })).await;
    let waiting = acme.delivery_after("evt", 1).await;
    let attempt = &waiting["attempts"][0];
    assert_eq!((&attempt["outcome"], &attempt["status"]), (&json!("status"), &json!(450)), "{waiting:#}");
    let said = attempt["response_body"].as_str().unwrap();
    assert!(said.contains("> RCPT TO:<office@example.com>\n< 250 ok\n< 450 4.2.0 greylisted"), "{said}");
    assert_eq!(sink.taken(), []);
    host.clock.advance(Duration::from_secs(3_600));
    let done = acme.delivery_in("evt", "delivered").await;
    let taken = sink.come(1).await;
    assert_eq!((taken.len(), taken[0].header("subject")), (1, "Case S-7".to_owned()));
    assert_eq!(taken[0].header("message-id"), format!("<{}@host.example>", done["id"].as_str().unwrap()));
    assert_eq!(taken[0].header("from"), "Events <events@host.example>");
    let request = &done["attempts"][1]["request"];
    assert_eq!(request["subject"], "Case S-7", "{done:#}");
    host.end().await;
}

async fn a_cut_after_the_message_repeats_it_under_its_own_id(data: &Data) {
    let sink = SmtpSink::offering(&[]).await;
    sink.script(|said| match (said.verb.as_str(), said.nth) {
        (".", 1) => Reply::Cut,
        ("DATA", 2) => Reply::CutAfter(100),
        _ => Reply::Usual,
    });
    let host = TestHost::with(data, Clock::manual(T0), by(&sink)).await;
    let acme = host.admin.carrier("acme").await;
    acme.api.put(&acme.path(OFFICE), &office()).await.ok();
    acme.subscription("main", json!({ "destinations": ["office"] })).await;
    acme.post("evt", &json!({})).await;
    for attempts in 1..3 {
        let waiting = acme.delivery_after("evt", attempts).await;
        assert_eq!(waiting["attempts"][attempts - 1]["outcome"], "broken", "{waiting:#}");
        host.clock.advance(Duration::from_secs(3_600));
    }
    let done = acme.delivery_in("evt", "delivered").await;
    assert_eq!(done["attempts_made"], 3, "{done:#}");
    let ids: Vec<String> = sink.come(2).await.iter().map(|mail| mail.header("message-id")).collect();
    assert_eq!(ids, vec![format!("<{}@host.example>", done["id"].as_str().unwrap()); 2]);
    assert!(sink.taken()[0].raw == sink.taken()[1].raw, "it is the same mail");
    host.end().await;
}

#[tokio::test]
async fn what_cannot_be_sent_is_refused_when_it_is_registered() {
    let data = Data::sqlite().await;
    let sink = SmtpSink::offering(&[]).await;
    let host = TestHost::with(&data, Clock::system(), |_| ()).await;
    let acme = host.admin.carrier("acme").await;
    let path = acme.path(OFFICE);
    let own = |relay: Value| {
        json!({ "kind": "email", "email": {
            "to": ["office@example.com"], "from": "claims@carrier.example", "relay": relay } })
    };
    for (body, field, why) in [
        (json!({ "kind": "email" }), "email", "a destination of kind `email` needs it"),
        (json!({ "kind": "http", "url": "https://a.example", "email": {} }), "email", "does not take it"),
        (office(), "email.relay", "the operator has none (`mail.relay`)"),
        (
            own(json!({ "host": "smtp.example.com", "security": "none" })),
            "email.relay.security",
            "mail.allow_plain",
        ),
        (own(json!({ "host": "10.0.0.1" })), "email.relay.host", "private network"),
        (own(json!({ "host": "smtp.example.com", "username": "u" })), "login.password", "needed"),
    ] {
        let problem = acme.api.put(&path, &body).await.problem(422, "invalid_body");
        assert_eq!(problem["field"], field, "{problem:#}");
        assert!(problem["detail"].as_str().unwrap().contains(why), "{problem:#}");
    }
    acme.api.put(&path, &own(json!({ "host": "smtp.example.com" }))).await.ok();
    host.end().await;

    let data = Data::sqlite().await;
    let host = TestHost::with(&data, Clock::system(), by(&sink)).await;
    let acme = host.admin.carrier("acme").await;
    let mut spoofed = office();
    spoofed["email"]["from"] = json!("boss@other.example");
    let problem = acme.api.put(&acme.path(OFFICE), &spoofed).await.problem(422, "invalid_body");
    assert_eq!(problem["field"], "email.from", "{problem:#}");
    spoofed["email"]["from"] = json!("Acme <events@host.example>");
    acme.api.put(&acme.path(OFFICE), &spoofed).await.ok();
    host.end().await;
}

#[tokio::test]
async fn a_plugins_mail_goes_to_whom_the_destination_admits() {
    let data = Data::sqlite().await;
    let sink = SmtpSink::offering(&[]).await;
    let host = TestHost::with(&data, Clock::system(), |config| {
        by(&sink)(config);
        config.plugins.wall_ms_max = 60_000;
    })
    .await;
    let acme = host.admin.carrier("acme").await;
    let path = acme.path(OFFICE);
    let narrow = json!({ "kind": "email", "email": { "to": ["office@example.com"] } });
    acme.api.put(&path, &narrow).await.ok();
    acme.plugin("p", guests::HOSTILE, "?wall_ms=20000").await;
    acme.subscription("main", json!({ "plugins": ["p"], "destinations": ["office"] })).await;
    // It mails to a@b.test.
    acme.post("evt-1", &json!({ "do": "mail", "with": "office" })).await;
    let dead = acme.delivery_in("evt-1", "dead").await;
    let why = dead["last_error"].as_str().unwrap();
    assert!(why.contains("the plugin named a@b.test, whom the destination's"), "{why}");
    assert_eq!(sink.connections(), 0);

    let wide = json!({ "kind": "email", "email": { "to": ["office@example.com"], "allowed_recipients": ["*@b.test"] } });
    acme.api.put(&path, &wide).await.ok();
    acme.post("evt-2", &json!({ "do": "mail", "with": "office" })).await;
    acme.delivery_in("evt-2", "delivered").await;
    let taken = sink.come(1).await;
    assert_eq!(
        (taken[0].to.as_slice(), taken[0].header("subject")),
        (&["a@b.test".to_owned()][..], "hello".to_owned())
    );
    host.end().await;
}

#[tokio::test]
async fn the_operators_relay_signs_and_logs_in_as_its_files_say() {
    let data = Data::sqlite().await;
    let exim = Exim::start().await;
    let keys = python("dkim_key.py", &json!({})).await;
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        std::fs::write(folder.path().join(name), text).unwrap();
        folder.path().join(name)
    };
    let host = TestHost::with(&data, Clock::system(), |config| {
        config.mail.relay = "localhost".to_owned();
        config.mail.port = exim.port;
        config.mail.username = USERNAME.to_owned();
        config.mail.password = Hidden::default();
        config.mail.password_file = file("password", &format!("{PASSWORD}\n"));
        config.mail.ca_file = file("ca.pem", &exim.ca());
        config.mail.from = "Events <events@mail.host.example>".to_owned();
        config.mail.dkim_domain = "host.example".to_owned();
        config.mail.dkim_selector = "one".to_owned();
        config.mail.dkim_key_file = file("dkim.pem", keys["ed25519"]["private"].as_str().unwrap());
    })
    .await;
    let acme = host.admin.carrier("acme").await;
    acme.api.put(&acme.path(OFFICE), &office()).await.ok();
    acme.subscription("main", json!({ "destinations": ["office"] })).await;
    acme.post("evt", &json!({ "caseData": { "id": "0123456789", "claimNumber": "Ä-7" } })).await;
    acme.delivery_in("evt", "delivered").await;
    let records = json!({ "one._domainkey.host.example.": keys["ed25519"]["record"] });
    let mail = &parsed(&[exim.come(1).await[0].raw.clone()], records).await[0];
    assert_eq!((&mail["dkim"], &mail["defects"]), (&json!(true), &json!([])), "{mail:#}");
    assert_eq!(header(mail, "subject"), "Case Ä-7");
    assert_eq!(mail["parts"][1]["type"], "application/json");
    host.end().await;
}
