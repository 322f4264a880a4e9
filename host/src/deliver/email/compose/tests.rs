use std::sync::Arc;

use super::*;
use crate::carrier::destination::DestinationSecrets;
use crate::carrier::{DestinationKind, DestinationSpec, EmailSpec};
use crate::deliver::AddressPolicy;
use crate::event::{Event, delivery_id};
use crate::store::work::{Attachment, AttachmentContent, Body};

fn target(email: EmailSpec) -> EmailTarget {
    let spec = DestinationSpec { email: Some(email), ..DestinationSpec::of(DestinationKind::Email) };
    EmailTarget::compile(&spec, &DestinationSecrets::default(), &AddressPolicy::default()).unwrap()
}

fn office() -> EmailSpec {
    EmailSpec {
        to: vec!["office@example.com".to_owned()],
        cc: vec!["copy@example.com".to_owned()],
        allowed_recipients: vec!["*@carrier.example".to_owned()],
        ..EmailSpec::default()
    }
}

fn delivery(message: Message, payload: &str) -> HeldDelivery {
    let event = Arc::new(Event {
        carrier: "acme".parse().unwrap(),
        id: "evt-1".parse().unwrap(),
        event_type: "case.closed".parse().unwrap(),
        received: Millis(1_761_300_000_123),
        attributes: Default::default(),
        payload: Bytes::copy_from_slice(payload.as_bytes()),
    });
    let subscription = "main".parse().unwrap();
    HeldDelivery {
        id: delivery_id(&event, &subscription, 0),
        event,
        subscription,
        destination: "office".parse().unwrap(),
        message,
        body: Body::Original,
        attempts: 0,
        due: Millis(0),
    }
}

fn mail(subject: &str, to: &[&str], cc: &[&str], attachments: Vec<(&str, &str)>) -> Message {
    let texts = |all: &[&str]| all.iter().map(|one| (*one).to_owned()).collect();
    let attachment = |(name, content_type): (&str, &str)| Attachment {
        name: name.to_owned(),
        content_type: content_type.to_owned(),
        content: AttachmentContent::Original,
    };
    Message::Email {
        to: texts(to),
        cc: texts(cc),
        subject: subject.to_owned(),
        text: Some("Hello,\n.\n--=_x\n".to_owned()),
        html: None,
        attachments: attachments.into_iter().map(attachment).collect(),
    }
}

fn sender() -> Mailbox {
    super::super::address::mailbox("Events <events@host.example>").unwrap()
}

fn written(email: EmailSpec, message: Message) -> Result<Written, Unmailable> {
    let count = if let Message::Email { attachments, .. } = &message { attachments.len() } else { 1 };
    let d = delivery(message, r#"{"caseData":{"id":"0123456789abc","claimNumber":"S-7/ü"}}"#);
    let files = vec![(d.event.payload.clone(), None); count];
    letter(&target(email), &sender(), &d, files)?.write(None, Millis(0))
}

/// The head's lines, each with what continues it.
fn head(written: &Written) -> Vec<String> {
    let text = std::str::from_utf8(&written.bytes).unwrap();
    assert!(text.is_ascii() && !text.replace("\r\n", "").contains(['\r', '\n']), "{text:?}");
    let (head, _) = text.split_once("\r\n\r\n").unwrap();
    head.replace("\r\n ", " ").split("\r\n").map(str::to_owned).collect()
}

#[test]
fn no_text_of_an_event_or_a_plugin_leaves_its_header() {
    let names: Vec<String> =
        head(&written(office(), mail("x", &[], &[], vec![("a", "text/plain")])).unwrap())
            .iter()
            .map(|line| line.split(':').next().unwrap().to_owned())
            .collect();
    let attacks = [
        "a\r\nBcc: evil@example.com",
        "a\nBcc: evil@example.com",
        "a\rBcc: evil@example.com",
        "a\0b",
        "a\u{85}Bcc: b",
        "a\u{2028}Bcc: b",
        "=?utf-8?q?a=0D=0ABcc:_evil@example.com?=",
        "=?utf-8?B?YQ0KQmNjOiBi?=\r\n\r\nbody",
        "a\r\n\r\n--boundary",
        "\";\r\nContent-Type: text/html; x=\"",
    ];
    for attack in attacks {
        let mail = written(office(), mail(attack, &[], &[], vec![(attack, "text/plain")])).unwrap();
        let lines = head(&mail);
        let found: Vec<&str> = lines.iter().map(|line| line.split(':').next().unwrap()).collect();
        assert_eq!(found, names, "{attack:?}");
        let text = String::from_utf8(mail.bytes).unwrap();
        assert!(!text.to_ascii_lowercase().contains("\nbcc"), "{text}");
        assert!(!text.contains("=?utf-8?q?a=0D"), "what looks encoded is encoded: {text}");
    }
    for attack in attacks.iter().filter(|attack| !attack.starts_with("=?utf-8?q")) {
        let to = written(office(), mail("x", &[attack], &[], vec![])).unwrap_err();
        assert!(to.to_string().starts_with("to: the plugin named a recipient, and "), "{to}");
        let typed = written(office(), mail("x", &[], &[], vec![("a", attack)])).unwrap_err();
        assert!(typed.to_string().starts_with("attachment \"a\": its content type is none"), "{typed}");
    }
}

#[test]
fn recipients_are_the_destinations_or_admitted() {
    let to = |written: Written| written.recipients.iter().map(ToString::to_string).collect::<Vec<_>>();
    let of = |tos: &[&str], ccs: &[&str]| written(office(), mail("x", tos, ccs, vec![])).map(to);
    assert_eq!(of(&[], &[]).unwrap(), ["office@example.com", "copy@example.com"]);
    assert_eq!(of(&["a@carrier.example"], &[]).unwrap(), ["a@carrier.example"]);
    assert_eq!(of(&[], &["a@carrier.example"]).unwrap(), ["office@example.com", "a@carrier.example"]);
    assert_eq!(of(&["Copy@Example.com", "copy@example.com"], &[]).unwrap(), ["Copy@example.com"]);
    let refused = of(&["a@carrier.example"], &["a@other.example"]).unwrap_err().to_string();
    assert!(refused.starts_with("cc: the plugin named a@other.example, whom the destination's"), "{refused}");
    let many = vec!["a@carrier.example"; 51];
    assert!(of(&many, &[]).unwrap_err().to_string().contains("51 recipients, the limit is 50"));
    let nobody = EmailSpec { to: vec![], cc: vec![], ..office() };
    let refused = written(nobody.clone(), Message::Forward).unwrap_err().to_string();
    assert!(refused.starts_with("there is no recipient"), "{refused}");
    assert_eq!(
        to(written(nobody, mail("x", &["a@carrier.example"], &[], vec![])).unwrap()),
        ["a@carrier.example"]
    );
}

#[test]
fn what_no_plugin_made_has_the_templates_subject_and_file() {
    let email = EmailSpec {
        subject: Some("Case ${caseData.claimNumber}".to_owned()),
        file_name: Some("${caseData.claimNumber}_${partialId}.json".to_owned()),
        ..office()
    };
    let d =
        delivery(Message::Forward, r#"{"caseData":{"id":"0123456789abc","claimNumber":"S-7/x\r\nBcc: y"}}"#);
    let of = |email: EmailSpec, content: &[u8], fetched: Option<&str>| {
        let files = vec![(Bytes::copy_from_slice(content), fetched.map(str::to_owned))];
        let letter = letter(&target(email), &sender(), &d, files).unwrap();
        let file = &letter.enclosed[0];
        (letter.subject.clone(), file.name.clone(), file.content_type.clone())
    };
    let text = |(a, b, c): (&str, &str, &str)| (a.to_owned(), b.to_owned(), c.to_owned());
    let payload = d.event.payload.clone();
    assert_eq!(
        of(email.clone(), &payload, None),
        text(("Case S-7/x Bcc: y", "S-7_x__Bcc_ y_012345678.json", "application/json"))
    );
    let plain = of(office(), &payload, None);
    assert_eq!((plain.0.as_str(), plain.2.as_str()), ("case.closed evt-1", "application/json"));
    assert_eq!(plain.1, "unknown_012345678_20251024T100000Z.json");
    assert!(of(office(), b"%PDF", Some("application/pdf")).1.ends_with(".pdf"));
    assert!(of(office(), b"plain", None).1.ends_with(".txt"));
    assert!(of(office(), b"\xff\xfe", None).1.ends_with(".bin"));
    let redacted = of(email, br#"{"caseData":{"claimNumber":"***"}}"#, None);
    assert_eq!(redacted.0, "Case ***", "what a plugin took out does not come back");
}

#[test]
fn the_same_delivery_is_the_same_mail() {
    let make = || written(office(), mail("Schäden", &[], &[], vec![("ä.json", "application/json")])).unwrap();
    assert_eq!(make().bytes, make().bytes);
    let lines = head(&make());
    let id = delivery_id(&delivery(Message::Forward, "{}").event, &"main".parse().unwrap(), 0);
    for line in [
        format!("Message-ID: <{id}@host.example>"),
        format!("X-Hookyard-Delivery: {id}"),
        "Date: Fri, 24 Oct 2025 10:00:00 +0000".to_owned(),
        "Auto-Submitted: auto-generated".to_owned(),
        "X-Hookyard-Event-Type: case.closed".to_owned(),
    ] {
        assert!(lines.contains(&line), "{line}: {lines:#?}");
    }
}

#[test]
fn a_name_of_a_file_is_no_path() {
    for (given, made) in [
        ("report.pdf", "report.pdf"),
        ("../../etc/passwd", "_.._etc_passwd"),
        ("C:\\a\\b.txt", "C__a_b.txt"),
        ("\u{202e}fdp.exe", "_fdp.exe"),
        ("", "attachment"),
        ("..", "attachment"),
        ("Schäden \"1\".pdf", "Schäden _1_.pdf"),
    ] {
        assert_eq!(file_name(given), made, "{given:?}");
    }
    let long = file_name(&format!("{}.pdf", "ü".repeat(300)));
    assert!(long.len() <= MAX_FILE_NAME && long.ends_with("ü.pdf"), "{long}");
}

#[test]
fn types_that_may_not_be_encoded_are_plain_bytes() {
    use lettre::message::header::Header;
    let shown = |text: &str| media_type(text).map(|one| format!("{:?}", one.display()));
    assert!(shown("application/pdf").unwrap().contains("application/pdf"));
    assert!(shown("text/csv; charset=utf-8").unwrap().contains("charset=utf-8"));
    for compound in ["message/rfc822", "multipart/mixed; boundary=x", "Message/Partial", ""] {
        assert!(shown(compound).unwrap().contains("application/octet-stream"), "{compound}");
    }
    for none in [
        "pdf",
        "a/b\r\nX: y",
        "a/b; x=\"\0\"",
        "a/b\u{e4}",
        "=?utf-8?q?a?=/b",
        &format!("a/{}", "b".repeat(300)),
    ] {
        assert_eq!(shown(none), None, "{none:?}");
    }
}
