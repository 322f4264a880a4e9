//! What servers seldom do, by a script: each fault has its outcome, and none costs more than it must.

use hookyard::retry::{NetworkFault, Outcome};
use hookyard_tests::smtp::Reply;

use super::*;

const BROKEN: Outcome = Outcome::Network(NetworkFault::Broken);

fn none() -> DestinationSecrets {
    DestinationSecrets::default()
}

fn passing(status: u16) -> Outcome {
    Outcome::Refused { status, retry_after: None }
}

#[tokio::test]
async fn each_answer_has_its_outcome_wherever_it_comes() {
    for offers in [&["PIPELINING", "SIZE 1000000"][..], &[]] {
        let sink = SmtpSink::offering(offers).await;
        let target = target(plain(&sink), &none());
        let rejected = |why: &str| Outcome::Rejected(why.to_owned().into());
        for (verb, line, outcome, status) in [
            ("CONNECT", "421 busy", passing(421), Some(421)),
            ("CONNECT", "554 not you", passing(554), Some(554)),
            ("EHLO", "502 what", passing(502), Some(502)),
            ("MAIL", "450 later", passing(450), Some(450)),
            ("MAIL", "530 5.7.0 who are you", Outcome::Login, Some(530)),
            (
                "MAIL",
                "550 not from you",
                rejected("the server refused the sender: 550 not from you"),
                Some(550),
            ),
            ("RCPT", "450 grey", passing(450), Some(450)),
            (
                "RCPT",
                "550 nobody",
                rejected(
                    "the server refused the recipients (office@example.com: 550 nobody); nobody was sent the message",
                ),
                Some(550),
            ),
            ("DATA", "451 later", passing(451), Some(451)),
            ("DATA", "554 no", rejected("the server refused DATA: 554 no"), Some(554)),
            (".", "452 full", passing(452), Some(452)),
            (
                ".",
                "554-5.7.1 spam\r\n554 really",
                rejected("the server refused the message: 554 5.7.1 spam really"),
                Some(554),
            ),
            ("CONNECT", "HTTP/1.1 400 what", BROKEN, None),
            ("EHLO", "250-a\r\n550 b", BROKEN, None),
            (".", "gibberish", BROKEN, None),
        ] {
            sink.script(move |said| if said.verb == verb { Reply::say(line) } else { Reply::Usual });
            // One that keeps nothing of the attempts before it.
            let report = send(&sender(), &target, mail("x", &[])).await;
            assert_eq!((&report.outcome, report.status), (&outcome, status), "{verb} {line}: {report:?}");
            let last = line.rsplit("\r\n").next().unwrap();
            assert!(transcript(&report).contains(&format!("< {last}\n")), "{}", transcript(&report));
        }
        assert_eq!(sink.taken(), []);
    }
}

#[tokio::test]
async fn when_one_recipient_is_refused_nobody_is_sent_anything() {
    for offers in [&["PIPELINING"][..], &[]] {
        let sink = SmtpSink::offering(offers).await;
        let (sender, target) = (sender(), target(plain(&sink), &none()));
        let message = || mail("x", &["a@carrier.example", "b@carrier.example", "c@carrier.example"]);
        for (line, outcome) in [("450 grey", "status"), ("550 nobody", "rejected")] {
            sink.script(move |said| if said.line.contains("<b@") { Reply::say(line) } else { Reply::Usual });
            let report = send(&sender, &target, message()).await;
            assert_eq!(report.kind, outcome, "{report:?}");
            assert!(report.error.as_ref().unwrap().contains("b@carrier.example"), "{report:?}");
        }
        assert!(!sink.said().iter().any(|said| said.verb == "DATA"), "{:#?}", sink.said());
        sink.script(|_| Reply::Usual);
        let report = send(&sender, &target, message()).await;
        assert_eq!(report.outcome, Outcome::Delivered);
        let taken = sink.taken();
        assert_eq!(taken[0].to, ["a@carrier.example", "b@carrier.example", "c@carrier.example"]);
        assert_eq!((taken.len(), sink.connections()), (1, 1), "the connection was kept");
    }
}

#[tokio::test]
async fn a_connection_that_is_cut_is_told_apart_by_where() {
    let sink = SmtpSink::offering(&["PIPELINING"]).await;
    let target = target(plain(&sink), &none());
    for (verb, reply, waited) in [
        ("CONNECT", Reply::Cut, "the greeting"),
        ("EHLO", Reply::Cut, "the answer to EHLO"),
        ("MAIL", Reply::Cut, "the answer to MAIL"),
        ("DATA", Reply::CutAfter(20), "the answer to the message"),
        (".", Reply::Cut, "the answer to the message"),
    ] {
        sink.script(move |said| if said.verb == verb { reply.clone() } else { Reply::Usual });
        let report = send(&sender(), &target, mail("x", &[])).await;
        assert_eq!(report.outcome, BROKEN, "{report:?}");
        assert!(report.error.as_ref().unwrap().contains(waited), "{report:?}");
    }
}

#[tokio::test]
async fn a_slow_server_has_a_timeout_for_each_step_and_a_silent_one_has_one() {
    let sink = SmtpSink::offering(&[]).await;
    let target = target(plain(&sink), &none());
    let step = Duration::from_millis(400);
    // Eight answers: all of them together take longer than one may.
    sink.script(|_| Reply::After(Duration::from_millis(100), Box::new(Reply::Usual)));
    let to = ["a@carrier.example", "b@carrier.example"];
    let d = delivery("slow", mail("x", &to), Body::Original);
    let report = sender().attempt(&target, &d, step, NOW).await;
    assert_eq!(report.outcome, Outcome::Delivered, "{report:?}");
    assert!(report.duration_us > 600_000, "{report:?}");
    for verb in ["CONNECT", "EHLO", "RCPT", "."] {
        sink.script(move |said| if said.verb == verb { Reply::Hang } else { Reply::Usual });
        let report = sender().attempt(&target, &d, step, NOW).await;
        assert_eq!(report.outcome, Outcome::Timeout, "{report:?}");
        assert!(report.error.as_ref().unwrap().starts_with("waited 400ms for "), "{report:?}");
    }
    // As slow as a step may be, for ever: the whole attempt has a bound, too.
    sink.script(|said| match said.verb.as_str() {
        "RCPT" => Reply::After(Duration::from_millis(60), Box::new(Reply::Usual)),
        _ => Reply::Usual,
    });
    let many: Vec<String> = (0..40).map(|n| format!("r{n}@carrier.example")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let d = delivery("many", mail("x", &many), Body::Original);
    let report = sender().attempt(&target, &d, Duration::from_millis(100), NOW).await;
    assert_eq!(report.outcome, Outcome::Timeout, "{report:?}");
    assert!(
        report.error.as_ref().unwrap().starts_with("after 1s in all it still waited for the answer to RCPT"),
        "{report:?}"
    );
}

#[tokio::test]
async fn what_comes_before_tls_is_not_taken_for_an_answer_under_it() {
    let sink = SmtpSink::offering(&["STARTTLS"]).await;
    let mut email = plain(&sink);
    email.relay.as_mut().unwrap().security = RelaySecurity::Starttls;
    let starttls = target(email, &none());
    sink.script(|said| match said.verb.as_str() {
        "STARTTLS" => Reply::say("220 go on\r\n250 injected"),
        _ => Reply::Usual,
    });
    let report = send(&sender(), &starttls, mail("x", &[])).await;
    assert_eq!(report.outcome, BROKEN, "{report:?}");
    assert!(report.error.as_ref().unwrap().contains("out of turn"), "{report:?}");

    for (reply, error) in [("454 not now", "454 not now"), ("500 what", "500 what")] {
        sink.script(move |said| if said.verb == "STARTTLS" { Reply::say(reply) } else { Reply::Usual });
        let report = send(&sender(), &starttls, mail("x", &[])).await;
        assert!(report.error.as_ref().unwrap().contains(error), "{report:?}");
        assert!(matches!(report.outcome, Outcome::Refused { .. } | Outcome::Network(NetworkFault::Tls)));
    }
    // Nothing is offered, perhaps since someone between took it away: nothing is sent, least of all a password.
    let bare = SmtpSink::offering(&["AUTH PLAIN"]).await;
    let mut email = plain(&bare);
    let relay = email.relay.as_mut().unwrap();
    (relay.security, relay.username) = (RelaySecurity::Starttls, Some("u".to_owned()));
    let login = Some(Login { password: Some("hush-hush".to_owned()), ..Login::default() });
    let secrets = DestinationSecrets { login, ..DestinationSecrets::default() };
    let report = send(&sender(), &target(email, &secrets), mail("x", &[])).await;
    assert_eq!(report.outcome, Outcome::Network(NetworkFault::Tls), "{report:?}");
    assert_eq!(bare.verbs(1), ["CONNECT", "EHLO"]);
}

#[tokio::test]
async fn a_server_that_talks_too_much_or_out_of_turn_is_left() {
    let sink = SmtpSink::offering(&[]).await;
    let target = target(plain(&sink), &none());
    let line = "x".repeat(5_000);
    let lines = "250-x\r\n".repeat(500) + "250 x";
    for (reply, error) in [
        (line, "the answer to EHLO is above the limit MAX_ANSWER_LINE of 2048"),
        (lines, "the answer to EHLO is above the limit MAX_ANSWER_LINES of 128"),
        ("250 a\r\n250 b".to_owned(), "the server spoke out of turn"),
    ] {
        sink.script(move |said| if said.verb == "EHLO" { Reply::Say(reply.clone()) } else { Reply::Usual });
        let report = send(&sender(), &target, mail("x", &[])).await;
        assert_eq!(report.outcome, BROKEN, "{report:?}");
        assert!(report.error.as_ref().unwrap().starts_with(error), "{report:?}");
    }
    assert_eq!(sink.taken(), []);
}

#[tokio::test]
async fn a_password_that_a_server_repeats_is_not_kept() {
    let sink = SmtpSink::offering(&["AUTH LOGIN PLAIN"]).await;
    let mut email = plain(&sink);
    email.relay.as_mut().unwrap().username = Some("u".to_owned());
    let secret = "s3cret-of-the-relay";
    let login = Some(Login { password: Some(secret.to_owned()), ..Login::default() });
    let secrets = DestinationSecrets { login, ..DestinationSecrets::default() };
    let target = target(email, &secrets);
    let echo = STANDARD.encode(format!("\0u\0{secret}"));
    for verb in ["AUTH", "MAIL", "."] {
        let said = format!("550 you said {secret} and {echo}");
        sink.script(move |heard| if heard.verb == verb { Reply::Say(said.clone()) } else { Reply::Usual });
        let report = send(&sender(), &target, mail("x", &[])).await;
        assert!(matches!(report.outcome, Outcome::Login | Outcome::Rejected(_)), "{report:?}");
        let shown = format!("{report:?}{}", transcript(&report));
        assert!(shown.contains("you said ***"), "{shown}");
        assert!(!shown.contains(secret) && !shown.contains(&echo[4..echo.len() - 4]), "{shown}");
    }
    sink.script(|_| Reply::Usual);
    assert_eq!(send(&sender(), &target, mail("x", &[])).await.outcome, Outcome::Delivered);
}

#[tokio::test]
async fn a_relay_is_guarded_by_every_address_of_its_name() {
    let sink = SmtpSink::offering(&[]).await;
    let strict = AddressPolicy::default();
    let rules =
        Arc::new(MailRules::new(&MailSettings { allow_plain: true, ..MailSettings::default() }).unwrap());
    let guarded = Sender::with(&strict, SenderParts { mail: rules, ..SenderParts::default() }).unwrap();
    // Written when its network was allowed.
    for host in ["127.0.0.1", "localhost"] {
        let mut email = plain(&sink);
        email.relay.as_mut().unwrap().host = host.to_owned();
        let report = send(&guarded, &target(email, &none()), mail("x", &[])).await;
        assert_eq!(report.outcome, Outcome::Blocked, "{report:?}");
        assert!(report.error.as_ref().unwrap().contains("loopback"), "{report:?}");
    }
    assert_eq!(sink.connections(), 0);
    // Nor is one sent to that the operator no longer allows.
    let private = Sender::with(&loopback(), SenderParts::default()).unwrap();
    let report = send(&private, &target(plain(&sink), &none()), mail("x", &[])).await;
    let Outcome::Unavailable(why) = &report.outcome else { panic!("{report:?}") };
    assert!(why.starts_with("email.relay.security: `none` is refused"), "{why}");
    assert_eq!(sink.connections(), 0);
}

#[tokio::test]
async fn a_mail_above_the_limit_is_refused_with_its_size_and_connects_to_nobody() {
    let sink = SmtpSink::offering(&[]).await;
    let settings = MailSettings { allow_plain: true, max_message_bytes: 100_000, ..MailSettings::default() };
    let sender = with_rules(MailRules::new(&settings).unwrap());
    let target = target(plain(&sink), &none());
    let sized = |bytes: usize| {
        let message = Message::Email {
            to: vec![],
            cc: vec![],
            subject: "x".to_owned(),
            text: Some("x".to_owned()),
            html: None,
            attachments: vec![attachment("x", "", AttachmentContent::Bytes(bytes as u64))],
        };
        delivery("sized", message, Body::Bytes(vec![7; bytes].into()))
    };
    for bytes in [73_000, 1_000_000] {
        let report = sender.attempt(&target, &sized(bytes), LONG, NOW).await;
        let Outcome::Unavailable(why) = &report.outcome else { panic!("{report:?}") };
        let least = bytes * 4 / 3;
        let size: usize = why.split(' ').nth(3).unwrap().parse().unwrap();
        assert!(size >= least && why.ends_with("the limit `mail.max_message_bytes` is 100000"), "{why}");
    }
    assert_eq!(sink.connections(), 0);
    let report = sender.attempt(&target, &sized(72_000), LONG, NOW).await;
    assert_eq!(report.outcome, Outcome::Delivered, "{report:?}");
}
