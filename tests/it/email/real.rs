//! At a real server, read by another's parser.

use hookyard::carrier::DkimSpec;
use hookyard::retry::{NetworkFault, Outcome};
use hookyard_tests::exim::{Logins, SIZE};
use hookyard_tests::gnupg::Gnupg;
use hookyard_tests::tls::Authority;

use super::*;

const HTML: &str = "<p>Grüße &amp; \u{1f980}</p>\n";

/// Everything that a mail can have.
fn rich() -> (Message, Body) {
    let message = Message::Email {
        to: vec!["a@carrier.example".to_owned(), "b@carrier.example".to_owned()],
        cc: vec!["office@example.com".to_owned()],
        subject:
            "Fall geschlossen: „Wasserschaden“ in Zürich, mit einem Betreff, der länger ist als eine Zeile"
                .to_owned(),
        text: Some("Guten Tag,\n.\n..\nFrom hier\n\nGrüße\u{a0}\u{1f980} = ende \n".to_owned()),
        html: Some(HTML.to_owned()),
        attachments: vec![
            attachment("case.json", "application/json", AttachmentContent::Original),
            attachment("Übersicht \"Müller\" 東京.pdf", "application/pdf", AttachmentContent::Bytes(5)),
            attachment(&format!("{}.bin", "lang".repeat(30)), "", AttachmentContent::Bytes(300)),
        ],
    };
    let mut bytes = b"%PDF\n".to_vec();
    bytes.extend((0..300).map(|n| (n % 256) as u8));
    (message, Body::Bytes(bytes.into()))
}

#[tokio::test]
async fn a_mail_arrives_as_it_was_meant_over_each_kind_of_connection_and_login() {
    let mut raws = Vec::new();
    for (security, logins) in [
        (RelaySecurity::Starttls, Logins::Both),
        (RelaySecurity::Tls, Logins::Both),
        (RelaySecurity::Starttls, Logins::Login),
    ] {
        let exim = Exim::with(logins).await;
        let (mut email, secrets) = real(&exim, security);
        email.reply_to = Some("Antworten <answers@carrier.example>".to_owned());
        let (message, body) = rich();
        let report =
            sender().attempt(&target(email, &secrets), &delivery("evt-1", message, body), LONG, NOW).await;
        assert_eq!(report.outcome, Outcome::Delivered, "{report:?}\n{}", exim.log());
        assert_eq!(report.status, Some(250));
        let said = transcript(&report);
        assert!(said.contains("* under TLS TLSv1_3") && said.contains("bytes of message>"), "{said}");
        assert!(said.contains("***\n< 235 ") && !said.contains(PASSWORD), "{said}");
        assert!(!said.contains(&STANDARD.encode(format!("\0{USERNAME}\0{PASSWORD}"))), "{said}");
        assert!(!said.contains(&STANDARD.encode(PASSWORD)), "{said}");
        let request: Value = serde_json::from_str(&report.request).unwrap();
        assert_eq!(request["to"], json!(["a@carrier.example", "b@carrier.example"]), "{request:#}");
        assert_eq!(request["attachments"][1]["bytes"], 5, "{request:#}");
        let mails = exim.come(3).await;
        let mut to: Vec<&str> = mails.iter().map(|mail| mail.to.as_str()).collect();
        to.sort_unstable();
        assert_eq!(to, ["a@carrier.example", "b@carrier.example", "office@example.com"]);
        assert!(mails.iter().all(|mail| mail.from == "claims@carrier.example" && mail.raw == mails[0].raw));
        assert_eq!(request["bytes"].as_u64().unwrap(), mails[0].raw.len() as u64, "not a byte more or less");
        raws.push(mails[0].raw.clone());
    }
    assert!(raws.iter().all(|raw| *raw == raws[0]), "the same delivery is the same mail");
    let mail = &parsed(&raws[..1], json!({})).await[0];
    assert_eq!(mail["defects"], json!([]), "{mail:#}");
    let structure = [
        "multipart/mixed",
        "multipart/alternative",
        "text/plain",
        "text/html",
        "application/json",
        "application/pdf",
        "application/octet-stream",
    ];
    assert_eq!(mail["structure"], json!(structure));
    let (Message::Email { subject, text, .. }, Body::Bytes(body)) = rich() else { panic!() };
    assert_eq!(header(mail, "subject"), subject);
    assert_eq!(header(mail, "date"), "Fri, 24 Oct 2025 10:00:00 +0000");
    assert_eq!(header(mail, "auto-submitted"), "auto-generated");
    let id = delivery("evt-1", Message::Forward, Body::Original).id;
    assert_eq!(header(mail, "message-id"), format!("<{id}@carrier.example>"));
    assert_eq!(mail["addresses"]["from"], json!([["Schäden", "claims@carrier.example"]]));
    assert_eq!(mail["addresses"]["reply-to"], json!([["Antworten", "answers@carrier.example"]]));
    assert_eq!(mail["addresses"]["to"], json!([["", "a@carrier.example"], ["", "b@carrier.example"]]));
    assert_eq!(mail["addresses"]["cc"], json!([["", "office@example.com"]]));
    let parts = mail["parts"].as_array().unwrap();
    let read = |at: usize| String::from_utf8(bytes_of(&parts[at])).unwrap().replace("\r\n", "\n");
    assert_eq!(read(0), text.unwrap());
    assert_eq!(read(1), HTML);
    assert_eq!(bytes_of(&parts[2]), PAYLOAD.as_bytes());
    assert_eq!(parts[3]["name"], "Übersicht _Müller_ 東京.pdf");
    assert_eq!(bytes_of(&parts[3]), &body[..5]);
    assert_eq!(parts[4]["name"], format!("{}.bin", "lang".repeat(30)));
    assert_eq!(bytes_of(&parts[4]), &body[5..]);
    assert!(parts[2..].iter().all(|part| part["disposition"] == "attachment"), "{parts:#?}");
}

#[tokio::test]
async fn nothing_that_an_event_or_a_plugin_says_becomes_a_header() {
    let exim = Exim::start().await;
    let (mut email, secrets) = real(&exim, RelaySecurity::Starttls);
    email.subject = Some("${caseData.x}".to_owned());
    email.file_name = Some("${caseData.x}.json".to_owned());
    let (sender, target) = (sender(), target(email, &secrets));
    let attacks = [
        "harmless",
        "a\r\nBcc: evil@example.com\r\nX-Evil: 1",
        "a\nX-Evil: 1",
        "a\rX-Evil: 1",
        "a\0b",
        "a\u{85}X-Evil: 1\u{2028}X-Evil: 2",
        "=?utf-8?q?a=0D=0AX-Evil:_1?=",
        "=?utf-8?B?YQ0KWC1FdmlsOiAx?=",
        "a\r\n\r\nbody\r\n.\r\nMAIL FROM:<evil@example.com>",
        "\"; name=\"b\r\nX-Evil: 1",
    ];
    let mut expected = Vec::new();
    for (n, attack) in attacks.iter().enumerate() {
        let made = Message::Email {
            to: vec![],
            cc: vec![],
            subject: (*attack).to_owned(),
            text: Some(format!("{attack}\r\n.\r\n")),
            html: None,
            attachments: vec![attachment(attack, "text/plain", AttachmentContent::Original)],
        };
        let payload = json!({ "caseData": { "id": "0123456789", "x": attack } }).to_string();
        for (kind, message) in [("made", made), ("forwarded", Message::Forward)] {
            let mut d = delivery(&format!("{kind}-{n}"), message, Body::Original);
            let mut event = (*d.event).clone();
            event.payload = Bytes::from(payload.clone());
            d.event = Arc::new(event);
            let report = sender.attempt(&target, &d, LONG, NOW).await;
            assert_eq!(report.outcome, Outcome::Delivered, "{attack:?}: {report:?}");
            expected.push((format!("<{}@carrier.example>", d.id), attack));
        }
    }
    let raws: Vec<Vec<u8>> = exim.come(expected.len()).await.into_iter().map(|mail| mail.raw).collect();
    let mails = parsed(&raws, json!({})).await;
    assert_eq!(mails.len(), expected.len());
    let names = |mail: &Value| -> Vec<String> {
        mail["headers"].as_array().unwrap().iter().map(|pair| pair[0].as_str().unwrap().to_owned()).collect()
    };
    for mail in &mails {
        assert_eq!(names(mail), names(&mails[0]), "{mail:#}");
        assert_eq!(mail["structure"].as_array().unwrap().len(), 3, "{mail:#}");
        assert_eq!(mail["defects"], json!([]), "{mail:#}");
        let attack = expected.iter().find(|(id, _)| id == header(mail, "message-id")).unwrap().1;
        if attack.starts_with("=?") {
            assert_eq!(header(mail, "subject"), *attack, "it is read as it stands");
        }
    }
}

#[tokio::test]
async fn signatures_hold_before_anothers_verifier() {
    let exim = Exim::start().await;
    let keys = python("dkim_key.py", &json!({})).await;
    let sender = sender();
    let mut records = serde_json::Map::new();
    let (message, body) = rich();
    for kind in ["rsa", "rsa-pkcs1", "ed25519"] {
        let (mut email, mut secrets) = real(&exim, RelaySecurity::Starttls);
        email.dkim = Some(DkimSpec { domain: "carrier.example".to_owned(), selector: kind.to_owned() });
        secrets.dkim_key = Some(keys[kind]["private"].as_str().unwrap().to_owned());
        records.insert(format!("{kind}._domainkey.carrier.example."), keys[kind]["record"].clone());
        let target = target(email, &secrets);
        for message in [message.clone(), Message::Forward, mail("x", &[])] {
            let report = sender.attempt(&target, &delivery(kind, message, body.clone()), LONG, NOW).await;
            assert_eq!(report.outcome, Outcome::Delivered, "{report:?}");
        }
    }
    let raws: Vec<Vec<u8>> = exim.come(15).await.into_iter().map(|mail| mail.raw).collect();
    let tampered: Vec<Vec<u8>> = raws
        .iter()
        .map(|raw| String::from_utf8_lossy(raw).replace("Subject: ", "Subject: not ").into_bytes())
        .collect();
    for mail in parsed(&raws, Value::Object(records.clone())).await {
        assert_eq!(mail["dkim"], true, "{mail:#}");
    }
    for mail in parsed(&tampered, Value::Object(records)).await {
        assert_eq!(mail["dkim"], false, "{mail:#}");
    }
}

#[tokio::test]
async fn attachments_are_encrypted_to_the_destinations_keys() {
    let exim = Exim::start().await;
    let gpg = Gnupg::new();
    let key = gpg.make("claims@carrier.example", "future-default", "default", "never");
    let (email, secrets) = real(&exim, RelaySecurity::Starttls);
    let spec = DestinationSpec {
        email: Some(email),
        pgp_keys: vec![key],
        ..DestinationSpec::of(DestinationKind::Email)
    };
    let (carrier, name) = ("acme".parse().unwrap(), "office".parse().unwrap());
    let target = Target::compile(carrier, name, &spec, &secrets, &loopback()).unwrap();
    let (sender, (message, body)) = (sender(), rich());
    // When GnuPG has made the key.
    let now = hookyard::clock::Clock::system().now();
    for (id, message) in [("made", message), ("forwarded", Message::Forward)] {
        let body = if id == "made" { body.clone() } else { Body::Original };
        let report = sender.attempt(&target, &delivery(id, message, body), LONG, now).await;
        assert_eq!(report.outcome, Outcome::Delivered, "{report:?}");
    }
    let raws: Vec<Vec<u8>> = exim.come(4).await.into_iter().map(|mail| mail.raw).collect();
    let folder = tempfile::tempdir().unwrap();
    let mut opened = std::collections::BTreeSet::new();
    for mail in parsed(&raws, json!({})).await {
        assert_eq!(mail["defects"], json!([]), "{mail:#}");
        for part in
            mail["parts"].as_array().unwrap().iter().filter(|part| part["disposition"] == "attachment")
        {
            let file_name = part["name"].as_str().unwrap();
            assert!(file_name.ends_with(".pgp"), "{part:#}");
            let file = folder.path().join("encrypted");
            std::fs::write(&file, bytes_of(part)).unwrap();
            opened.insert((file_name.to_owned(), gpg.decrypt(&file)));
        }
    }
    let opened: Vec<Vec<u8>> = opened.into_iter().map(|(_, content)| content).collect();
    assert_eq!(opened.len(), 4, "three of the one mail and one of the other");
    assert_eq!(opened.iter().filter(|content| **content == PAYLOAD.as_bytes()).count(), 2);
    assert!(opened.contains(&b"%PDF\n".to_vec()));
}

#[tokio::test]
async fn what_a_server_refuses_is_told_by_its_kind() {
    let exim = Exim::start().await;
    let sender = sender();
    let (email, secrets) = real(&exim, RelaySecurity::Starttls);
    let good = target(email.clone(), &secrets);

    let refused = send(&sender, &good, mail("x", &["refused@carrier.example", "a@carrier.example"])).await;
    assert!(
        matches!(&refused.outcome, Outcome::Rejected(why) if why.contains("refused@carrier.example: 550 no such user")),
        "{refused:?}"
    );
    assert_eq!((refused.kind, refused.status), ("rejected", Some(550)));

    let grey = send(&sender, &good, mail("x", &["grey@carrier.example"])).await;
    assert_eq!(grey.outcome, Outcome::Refused { status: 451, retry_after: None }, "{grey:?}");
    exim.end_greylisting();
    let again = send(&sender, &good, mail("x", &["grey@carrier.example"])).await;
    assert_eq!(again.outcome, Outcome::Delivered, "{again:?}");
    assert!(
        transcript(&again).starts_with("* over a connection that was kept\n> RSET"),
        "{}",
        transcript(&again)
    );

    let large = Message::Email {
        to: vec![],
        cc: vec![],
        subject: "x".to_owned(),
        text: Some("x".to_owned()),
        html: None,
        attachments: vec![attachment("x", "", AttachmentContent::Bytes(SIZE as u64))],
    };
    let body = Body::Bytes(vec![7; SIZE].into());
    let large = sender.attempt(&good, &delivery("large", large, body), LONG, NOW).await;
    let Outcome::Rejected(why) = &large.outcome else { panic!("{large:?}") };
    assert!(
        why.starts_with("the message has 14") && why.ends_with(&format!("the server takes {SIZE} (SIZE)")),
        "{why}"
    );

    let mut wrong = secrets.clone();
    wrong.login = Some(Login { password: Some("another-password".to_owned()), ..Login::default() });
    let login = send(&sender, &target(email.clone(), &wrong), mail("x", &[])).await;
    assert_eq!((&login.outcome, login.status), (&Outcome::Login, Some(535)), "{login:?}");
    assert!(!transcript(&login).contains("another-password"));

    let mut nobody = email.clone();
    nobody.relay.as_mut().unwrap().username = None;
    let without = DestinationSecrets { login: None, ..secrets.clone() };
    let asked = send(&sender, &target(nobody, &without), mail("x", &[])).await;
    assert_eq!(
        (&asked.outcome, asked.status),
        (&Outcome::Rejected(asked.error.clone().unwrap().into()), Some(550))
    );

    let stranger = Tls { ca: Some(Authority::default().pem()), ..Tls::default() };
    let stranger = DestinationSecrets { tls: Some(stranger), ..secrets.clone() };
    for security in [RelaySecurity::Starttls, RelaySecurity::Tls] {
        let (email, _) = real(&exim, security);
        let report = send(&sender, &target(email, &stranger), mail("x", &[])).await;
        assert_eq!(report.outcome, Outcome::Network(NetworkFault::Tls), "{report:?}");
        assert!(report.error.as_ref().unwrap().contains("invalid peer certificate"), "{report:?}");
    }
    let mut elsewhere = email;
    elsewhere.relay.as_mut().unwrap().host = "127.0.0.1".to_owned();
    let report = send(&sender, &target(elsewhere, &secrets), mail("x", &[])).await;
    assert_eq!(
        report.outcome,
        Outcome::Network(NetworkFault::Tls),
        "it is not the certificate's name: {report:?}"
    );
    assert_eq!(exim.mails().len(), 1, "nothing else came");
}
