//! What mails are sent with: logins to relays and keys that sign, at a mail server that repeats what it is told.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use hookyard_tests::smtp::{Reply, SmtpSink};
use serde_json::json;

use super::{DESTINATION, PLAIN, Secrets, User};

/// The password of the operator's relay.
pub(super) const OPERATORS: &str = "operators-password-1b7e";
const CARRIERS: &str = "carriers-password-c35d";

/// Mails by both relays, each refused with everything that the server knows of its login.
pub(super) async fn mail(user: &mut User, secrets: &mut Secrets, relay: &SmtpSink) {
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap().serialize_pem();
    for (what, secret) in [
        ("the password of the operator's relay", OPERATORS),
        ("the password of a carrier's relay", CARRIERS),
        ("the key that signs mails", key.lines().nth(1).unwrap()),
    ] {
        secrets.hide(what, secret);
    }
    // Each connection is told what it logged in with: no server knows more of a login than that.
    let told = Mutex::new(HashMap::new());
    relay.script(move |said| {
        let mut told = told.lock().unwrap_or_else(PoisonError::into_inner);
        match said.verb.as_str() {
            "AUTH" => {
                let word = said.line.rsplit(' ').next().unwrap_or_default().to_owned();
                let plain = STANDARD.decode(&word).unwrap_or_default();
                let plain = String::from_utf8_lossy(&plain).into_owned();
                let password = plain.rsplit('\0').next().unwrap_or_default();
                let known = format!("{password} {word}");
                told.insert(said.connection, known.clone());
                Reply::Say(format!("235 {} is {known}", said.line))
            }
            "." => {
                Reply::Say(format!("451 I know {}", told.get(&said.connection).cloned().unwrap_or_default()))
            }
            _ => Reply::Usual,
        }
    });
    let own = json!({ "host": "127.0.0.1", "port": relay.port, "security": "none", "username": "events" });
    let dkim = json!({ "domain": "carrier.example", "selector": "one" });
    for (name, body) in [
        ("mail", json!({ "kind": "email", "email": { "to": ["office@example.com"], "subject": "of ${a}" } })),
        (
            "own-relay",
            json!({ "kind": "email", "login": { "password": CARRIERS }, "dkim_key": key, "email": {
                "to": ["office@example.com"], "from": "claims@carrier.example", "relay": own, "dkim": dkim } }),
        ),
    ] {
        user.names.insert("destination", name.to_owned());
        let made = user.json(DESTINATION, body).await;
        if name == "own-relay" {
            assert_eq!(
                (&made["login"]["password"], &made["dkim_key"]),
                (&json!("***"), &json!("***")),
                "{made:#}"
            );
        }
        let test = "POST /v1/carriers/{carrier}/destinations/{destination}/test";
        let tested = user.call(test, &[], Bytes::new()).await.ok();
        assert_eq!((&tested["outcome"], &tested["status"]), (&json!("status"), &json!(451)), "{tested:#}");
    }
    let destinations = ["mail", "own-relay"];
    let body = json!({ "event_types": ["*"], "destinations": destinations, "policy": { "profile": "none" } });
    user.json("PUT /v1/carriers/{carrier}/subscriptions/{subscription}", body).await;
    let event =
        json!({ "carrier": "acme", "id": "mailed", "type": "case.closed", "payload": { "a": PLAIN } });
    user.json("POST /v1/events", event).await;
    user.names.insert("event", "mailed".to_owned());
    user.admin.of("acme").settled_events().await;
    user.call("GET /v1/carriers/{carrier}/events/{event}", &[], Bytes::new()).await.ok();
    let sent = |password: &str, name: &str| {
        let line = format!("AUTH PLAIN {}", STANDARD.encode(format!("\0{name}\0{password}")));
        relay.said().iter().any(|said| said.line == line)
    };
    assert!(sent(OPERATORS, "operator") && sent(CARRIERS, "events"), "they were sent");
    user.names.insert("destination", "claims".to_owned());
}
