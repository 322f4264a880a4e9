//! E-mail: what arrives at real and at scripted servers, and what is made of what they say.

mod faults;
mod host;
mod kill;
mod pool;
mod real;

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use hookyard::carrier::destination::DestinationSecrets;
use hookyard::carrier::{DestinationKind, DestinationSpec, EmailSpec, Login, RelaySecurity, RelaySpec, Tls};
use hookyard::clock::Millis;
use hookyard::deliver::email::{MailRules, MailSettings};
use hookyard::deliver::{AddressPolicy, Report, Sender, SenderParts, Target};
use hookyard::event::{Event, delivery_id};
use hookyard::store::work::{Attachment, AttachmentContent, Body, HeldDelivery, Message};
use hookyard_tests::exim::{Exim, PASSWORD, USERNAME};
use hookyard_tests::smtp::SmtpSink;
use hookyard_tests::verifiers::python;
use serde_json::{Value, json};

const NOW: Millis = Millis(1_761_300_000_123);
const LONG: Duration = Duration::from_secs(20);
const PAYLOAD: &str = r#"{"caseData":{"id":"4e7d1c92-58ab","claimNumber":"S-7/ü"}}"#;

fn loopback() -> AddressPolicy {
    let allowed_networks = ["127.0.0.0/8", "::1/128"].map(|net| net.parse().unwrap()).to_vec();
    AddressPolicy { allow_http: false, allowed_networks }
}

/// A sender that lets carriers use relays without TLS.
fn sender() -> Sender {
    let rules = MailRules::new(&MailSettings { allow_plain: true, ..MailSettings::default() }).unwrap();
    with_rules(rules)
}

fn with_rules(rules: MailRules) -> Sender {
    Sender::with(&loopback(), SenderParts { mail: Arc::new(rules), ..SenderParts::default() }).unwrap()
}

/// To `office@example.com` by a relay of the carrier's own.
fn email(relay: RelaySpec) -> EmailSpec {
    EmailSpec {
        to: vec!["office@example.com".to_owned()],
        allowed_recipients: vec!["*@carrier.example".to_owned()],
        from: Some("Schäden <claims@carrier.example>".to_owned()),
        relay: Some(relay),
        ..EmailSpec::default()
    }
}

/// The scripted server without TLS.
fn plain(sink: &SmtpSink) -> EmailSpec {
    email(RelaySpec {
        host: "127.0.0.1".to_owned(),
        port: Some(sink.port),
        security: RelaySecurity::None,
        username: None,
    })
}

/// Exim with its login, and what that needs.
fn real(exim: &Exim, security: RelaySecurity) -> (EmailSpec, DestinationSecrets) {
    let port = if security == RelaySecurity::Tls { exim.tls_port } else { exim.port };
    let relay = RelaySpec {
        host: "localhost".to_owned(),
        port: Some(port),
        security,
        username: Some(USERNAME.to_owned()),
    };
    let secrets = DestinationSecrets {
        login: Some(Login { password: Some(PASSWORD.to_owned()), ..Login::default() }),
        tls: Some(Tls { ca: Some(exim.ca()), ..Tls::default() }),
        ..DestinationSecrets::default()
    };
    (email(relay), secrets)
}

fn target(email: EmailSpec, secrets: &DestinationSecrets) -> Target {
    let spec = DestinationSpec { email: Some(email), ..DestinationSpec::of(DestinationKind::Email) };
    let (carrier, name) = ("acme".parse().unwrap(), "office".parse().unwrap());
    Target::compile(carrier, name, &spec, secrets, &loopback()).unwrap()
}

fn delivery(id: &str, message: Message, body: Body) -> HeldDelivery {
    let event = Event {
        carrier: "acme".parse().unwrap(),
        id: id.parse().unwrap(),
        event_type: "case.closed".parse().unwrap(),
        received: NOW,
        attributes: Arc::default(),
        payload: Bytes::from_static(PAYLOAD.as_bytes()),
    };
    let subscription = "main".parse().unwrap();
    HeldDelivery {
        id: delivery_id(&event, &subscription, 0),
        event: Arc::new(event),
        subscription,
        destination: "office".parse().unwrap(),
        message,
        body,
        attempts: 0,
        due: NOW,
    }
}

/// A mail of a plugin's making, without attachments.
fn mail(subject: &str, to: &[&str]) -> Message {
    Message::Email {
        to: to.iter().map(|one| (*one).to_owned()).collect(),
        cc: vec![],
        subject: subject.to_owned(),
        text: Some("Hello\n".to_owned()),
        html: None,
        attachments: vec![],
    }
}

fn attachment(name: &str, content_type: &str, content: AttachmentContent) -> Attachment {
    Attachment { name: name.to_owned(), content_type: content_type.to_owned(), content }
}

async fn send(sender: &Sender, target: &Target, message: Message) -> Report {
    sender.attempt(target, &delivery("evt-1", message, Body::Original), LONG, NOW).await
}

fn transcript(report: &Report) -> String {
    String::from_utf8(report.response_body.clone().unwrap_or_default().to_vec()).unwrap()
}

/// What Python's parser reads.
async fn parsed(mails: &[Vec<u8>], keys: Value) -> Vec<Value> {
    let mails: Vec<String> = mails.iter().map(|raw| STANDARD.encode(raw)).collect();
    let read = python("mail.py", &json!({ "mails": mails, "keys": keys })).await;
    read.as_array().unwrap().clone()
}

fn header<'m>(mail: &'m Value, name: &str) -> &'m str {
    let found: Vec<&str> = mail["headers"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|pair| pair[0] == name)
        .map(|pair| pair[1].as_str().unwrap())
        .collect();
    assert_eq!(found.len(), 1, "{name} once in {mail:#}");
    found[0]
}

fn bytes_of(part: &Value) -> Vec<u8> {
    STANDARD.decode(part["bytes"].as_str().unwrap()).unwrap()
}
