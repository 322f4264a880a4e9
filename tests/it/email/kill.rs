//! `kill -9` between a mail's acceptance and its record: it may come twice, and then under one `Message-ID`.

use std::collections::HashSet;

use hookyard_tests::child::ChildHost;
use hookyard_tests::data::Data;
use hookyard_tests::on_both;
use hookyard_tests::smtp::Reply;

use super::*;
use crate::kill::settings;

on_both! {
    between_send_and_record,
}

async fn between_send_and_record(data: &Data) {
    let sink = SmtpSink::offering(&["PIPELINING"]).await;
    let port = sink.port.to_string();
    let mut with = settings(data).to_vec();
    with.extend([
        ("MAIL_RELAY", "127.0.0.1"),
        ("MAIL_PORT", port.as_str()),
        ("MAIL_SECURITY", "none"),
        ("MAIL_FROM", "events@host.example"),
    ]);
    let host = ChildHost::start(data, &with).await;
    let acme = host.admin.carrier("acme").await;
    let office = json!({ "kind": "email", "email": { "to": ["office@example.com"] } });
    acme.api.put(&acme.path("destinations/office"), &office).await.ok();
    acme.subscription("main", json!({ "destinations": ["office"] })).await;
    // The server has the mail, and at that instant the host is gone.
    let killer = host.killer();
    sink.script(move |said| match (said.verb.as_str(), said.nth) {
        (".", 1) => Reply::Then(killer.clone(), Box::new(Reply::Usual)),
        _ => Reply::Usual,
    });
    acme.post("evt", &json!({})).await;
    host.dead().await;

    let host = ChildHost::start(data, &with).await;
    let acme = acme.at(&host.admin);
    acme.settled().await;
    let delivery = acme.delivery("evt").await;
    assert_eq!((&delivery["state"], &delivery["attempts_made"]), (&json!("delivered"), &json!(1)));
    // Whether the record was quicker than the kill is nobody's to say.
    let taken = sink.come(1).await;
    assert!(taken.len() <= 2, "{taken:#?}");
    let ids: HashSet<String> = taken.iter().map(|mail| mail.header("message-id")).collect();
    assert_eq!(ids, HashSet::from([format!("<{}@host.example>", delivery["id"].as_str().unwrap())]));
    host.kill().await;
}
