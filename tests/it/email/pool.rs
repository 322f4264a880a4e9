//! Connections that are kept.

use hookyard::retry::Outcome;
use hookyard_tests::sink::Gate;
use hookyard_tests::smtp::Reply;

use super::*;

fn none() -> DestinationSecrets {
    DestinationSecrets::default()
}

#[tokio::test]
async fn mails_follow_each_other_over_one_connection() {
    for offers in [&["PIPELINING"][..], &[]] {
        let sink = SmtpSink::offering(offers).await;
        let (sender, target) = (sender(), target(plain(&sink), &none()));
        for _ in 0..3 {
            assert_eq!(send(&sender, &target, mail("x", &[])).await.outcome, Outcome::Delivered);
        }
        let expected = [
            "CONNECT", "EHLO", "MAIL", "RCPT", "DATA", ".", "RSET", "MAIL", "RCPT", "DATA", ".", "RSET",
            "MAIL", "RCPT", "DATA", ".",
        ];
        assert_eq!(sink.verbs(1), expected);
        assert_eq!(sink.taken().len(), 3);
    }
}

#[tokio::test]
async fn a_connection_that_is_at_its_end_is_replaced_within_the_attempt() {
    for ended in ["at once", "at the next command", "with 421", "with 421 unasked"] {
        let sink = SmtpSink::offering(&["PIPELINING"]).await;
        let (sender, target) = (sender(), target(plain(&sink), &none()));
        sink.script(move |said| match (ended, said.verb.as_str(), said.connection) {
            ("at once", ".", 1) => Reply::Last("250 ok, bye".to_owned()),
            ("at the next command", "RSET", 1) => Reply::Cut,
            ("with 421", "RSET" | "MAIL" | "RCPT", 1) if said.nth > 1 || said.verb == "RSET" => {
                Reply::say("421 I have had enough")
            }
            ("with 421 unasked", ".", 1) => Reply::say("250 ok\r\n421 I will go now"),
            _ => Reply::Usual,
        });
        for n in 0..2 {
            let report = send(&sender, &target, mail("x", &[])).await;
            assert_eq!(report.outcome, Outcome::Delivered, "{ended}, mail {n}: {report:?}");
        }
        assert_eq!((sink.taken().len(), sink.connections()), (2, 2), "{ended}");
    }
}

#[tokio::test]
async fn what_was_begun_is_not_begun_again() {
    let sink = SmtpSink::offering(&["PIPELINING"]).await;
    let (sender, target) = (sender(), target(plain(&sink), &none()));
    assert_eq!(send(&sender, &target, mail("x", &[])).await.outcome, Outcome::Delivered);
    // The second mail is cut after its end: whether it was taken is not known, so it is not sent again by itself.
    sink.script(|said| if said.verb == "." { Reply::Cut } else { Reply::Usual });
    let report = send(&sender, &target, mail("x", &[])).await;
    assert_eq!(report.kind, "broken", "{report:?}");
    assert_eq!(sink.connections(), 1);
    // And a fresh connection that fails is an attempt.
    sink.script(|said| if said.verb == "MAIL" { Reply::Cut } else { Reply::Usual });
    assert_eq!(send(&sender, &target, mail("x", &[])).await.kind, "broken");
    assert_eq!(sink.connections(), 2);
}

#[tokio::test]
async fn other_logins_and_relays_have_connections_of_their_own() {
    let sink = SmtpSink::offering(&["AUTH PLAIN"]).await;
    let sender = sender();
    let of = |username: &str, password: &str| {
        let mut email = plain(&sink);
        email.relay.as_mut().unwrap().username = Some(username.to_owned());
        let login = Some(Login { password: Some(password.to_owned()), ..Login::default() });
        target(email, &DestinationSecrets { login, ..none() })
    };
    for (target, connections) in [
        (target(plain(&sink), &none()), 1),
        (of("a", "password-a"), 2),
        (of("a", "password-b"), 3),
        (of("b", "password-a"), 4),
        (of("a", "password-a"), 4),
    ] {
        assert_eq!(send(&sender, &target, mail("x", &[])).await.outcome, Outcome::Delivered);
        assert_eq!(sink.connections(), connections);
    }
}

#[tokio::test]
async fn the_operators_relay_has_no_more_connections_than_it_may() {
    let sink = SmtpSink::offering(&[]).await;
    let relay = RelaySpec {
        host: "127.0.0.1".to_owned(),
        port: Some(sink.port),
        security: RelaySecurity::None,
        username: None,
    };
    let settings = MailSettings {
        relay: Some(relay),
        from: "events@host.example".to_owned(),
        connections: 2,
        ..MailSettings::default()
    };
    // Its own network is not the guard's business.
    let rules = Arc::new(MailRules::new(&settings).unwrap());
    let sender =
        Sender::with(&AddressPolicy::default(), SenderParts { mail: rules, ..SenderParts::default() })
            .unwrap();
    let to = EmailSpec { to: vec!["office@example.com".to_owned()], ..EmailSpec::default() };
    let target = Arc::new(target(to, &none()));
    let gate = Gate::default();
    let shut = gate.clone();
    sink.script(move |said| match said.verb.as_str() {
        "EHLO" => Reply::When(shut.clone(), Box::new(Reply::Usual)),
        _ => Reply::Usual,
    });
    let mut attempts = tokio::task::JoinSet::new();
    for n in 0..6 {
        let (sender, target) = (sender.clone(), target.clone());
        attempts.spawn(async move {
            let d = delivery(&format!("evt-{n}"), mail("x", &[]), Body::Original);
            sender.attempt(&target, &d, LONG, NOW).await
        });
    }
    gate.open();
    for report in attempts.join_all().await {
        assert_eq!(report.outcome, Outcome::Delivered, "{report:?}");
    }
    assert_eq!((sink.taken().len(), sink.connections()), (6, 2));
}
