//! What proves whose a request is, as receivers and token servers see it, and what hostile token servers can do.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};

use hookyard::carrier::{Auth, Grant, OAuth2};
use hookyard::deliver::SenderParts;
use hookyard::deliver::auth::REST;
use hookyard_tests::sink::{Answer, Request, Sink};
use serde_json::json;

use super::*;

pub(super) fn oauth(sink: &Sink) -> OAuth2 {
    OAuth2 {
        grant: Grant::ClientCredentials,
        token_url: sink.url("/token?tenant=1"),
        client_id: Some("router".to_owned()),
        client_secret: Some("hush & more".to_owned()),
        scope: Some("events.write".to_owned()),
        audience: None,
        parameters: BTreeMap::new(),
        optional_params: Vec::new(),
        additional_headers: [("x-gateway-key".to_owned(), "hush-77".to_owned())].into(),
    }
}

pub(super) fn with(auth: Auth) -> DestinationSecrets {
    DestinationSecrets { auth: Some(auth), ..DestinationSecrets::default() }
}

pub(super) fn to(sink: &Sink, settings: OAuth2) -> Target {
    target(&sink.url("/claims"), &with(Auth::OAuth2(settings)))
}

pub(super) fn is_call(request: &Request) -> bool {
    request.path.starts_with("/token")
}

pub(super) fn calls(sink: &Sink) -> usize {
    sink.requests().iter().filter(|r| is_call(r)).count()
}

/// The tokens that the receiver saw.
pub(super) fn seen(sink: &Sink) -> Vec<String> {
    sink.requests().iter().filter(|r| !is_call(r)).map(|r| r.header("authorization").to_owned()).collect()
}

/// Gives the tokens `t-1`, `t-2`, …, and has the receiver answer by `receive`.
pub(super) fn script(
    sink: &Sink,
    expires_in: Option<u64>,
    receive: impl Fn(&Request) -> u16 + Send + Sync + 'static,
) {
    let given = AtomicU32::new(0);
    sink.script(move |request| {
        if !is_call(request) {
            return Answer::Status(receive(request));
        }
        let n = given.fetch_add(1, Ordering::SeqCst) + 1;
        let mut token = json!({ "access_token": format!("t-{n}"), "token_type": "bearer" });
        if let Some(seconds) = expires_in {
            token["expires_in"] = json!(seconds);
        }
        Answer::Body(200, token.to_string())
    });
}

pub(super) fn later(by: Duration) -> Millis {
    NOW.plus(by)
}

#[tokio::test]
async fn what_does_not_change_is_sent_with_every_request_and_hidden_in_the_record() {
    let sink = Sink::start().await;
    let sender = Sender::new(&loopback()).unwrap();
    let cases = [
        (
            with(Auth::Basic { username: "router".to_owned(), password: "hush".to_owned() }),
            ("authorization", "Basic cm91dGVyOmh1c2g="),
        ),
        (with(Auth::Bearer { token: "hush".to_owned() }), ("authorization", "Bearer hush")),
        (
            DestinationSecrets { shared_secret: Some("hush".to_owned()), ..DestinationSecrets::default() },
            ("x-auth-token", "hush"),
        ),
    ];
    for (secrets, (name, value)) in cases {
        sink.forget();
        let target = target(&sink.url("/claims"), &secrets);
        // A plugin cannot take its place.
        let message = Message::Http {
            method: None,
            path: None,
            headers: vec![(name.to_owned(), "mine".to_owned())],
            content_type: None,
        };
        let report = sender.attempt(&target, &delivery(message, Body::Original), LONG, NOW).await;
        assert_eq!(report.outcome, Outcome::Delivered);
        assert_eq!(sink.requests()[0].header(name), value);
        let shown = format!("{report:?}{target:?}");
        assert!(shown.contains(name) && !shown.contains("hush") && !shown.contains("aHVzaA"), "{shown}");
    }
}

#[tokio::test]
async fn a_token_is_fetched_with_a_form_of_all_parameters_and_its_own_headers() {
    let sink = Sink::start().await;
    script(&sink, Some(3_600), |_| 200);
    let sender = Sender::new(&loopback()).unwrap();
    let parameters = [("resource".to_owned(), "https://a.example/é".to_owned())].into();
    let target = to(&sink, OAuth2 { parameters, audience: Some("aud".to_owned()), ..oauth(&sink) });
    let report = sender.attempt(&target, &forwarded(), LONG, NOW).await;
    assert_eq!(report.outcome, Outcome::Delivered);
    let [call, request] = &sink.requests()[..] else { panic!("a call and a request") };
    assert_eq!((call.method.as_str(), call.path.as_str()), ("POST", "/token?tenant=1"));
    assert_eq!(call.header("content-type"), "application/x-www-form-urlencoded");
    assert_eq!((call.header("accept"), call.header("x-gateway-key")), ("application/json", "hush-77"));
    let form = "grant_type=client_credentials&client_id=router&client_secret=hush+%26+more&scope=events.write\
                &audience=aud&resource=https%3A%2F%2Fa.example%2F%C3%A9";
    assert_eq!(String::from_utf8_lossy(&call.body), form);
    assert_eq!(call.header("requestid"), "", "nothing of the event goes to the token server");
    assert_eq!((request.header("authorization"), request.header("x-gateway-key")), ("Bearer t-1", ""));
    let shown: serde_json::Value = serde_json::from_str(&report.request).unwrap();
    assert_eq!(shown["headers"]["authorization"], "***");
    let shown = format!("{report:?}{target:?}{sender:?}");
    assert!(!shown.contains("hush") && !shown.contains("t-1"), "{shown}");

    let grant = Grant::Password { username: "user".to_owned(), password: "hush".to_owned() };
    let bare = ["client_id", "client_secret"].map(str::to_owned).to_vec();
    let settings = OAuth2 {
        grant,
        client_id: None,
        client_secret: None,
        scope: None,
        optional_params: bare,
        ..oauth(&sink)
    };
    sink.forget();
    sender.attempt(&to(&sink, settings), &forwarded(), LONG, NOW).await;
    assert_eq!(
        String::from_utf8_lossy(&sink.requests()[0].body),
        "grant_type=password&username=user&password=hush"
    );
}

#[tokio::test]
async fn every_bad_token_server_is_a_failure_with_a_reason_and_nothing_is_sent() {
    let (sink, other) = (Sink::start().await, Sink::start().await);
    let parts = SenderParts { token_timeout: Duration::from_millis(300), ..SenderParts::default() };
    // The loopback's first address alone, so that another one is as private as any.
    let narrow = AddressPolicy { allow_http: true, allowed_networks: vec!["127.0.0.1/32".parse().unwrap()] };
    let sender = Sender::with(&narrow, parts).unwrap();
    let big = format!(r#"{{"access_token":"t","more":"{}"}}"#, "x".repeat(70_000));
    let invalid = r#"{"error":"invalid_client","error_description":"hush & more is wrong"}"#;
    let cases = [
        (Answer::Status(500), "no token: the token server answered 500"),
        (
            Answer::Body(401, invalid.to_owned()),
            "no token: the token server answered 401 with the error `invalid_client`",
        ),
        (
            Answer::Body(200, invalid.to_owned()),
            "no token: the token server answered 200 with the error `invalid_client`",
        ),
        (
            Answer::Body(400, r#"{"error":"hush & more"}"#.to_owned()),
            "no token: the token server answered 400 with the error `***`",
        ),
        (
            Answer::Body(200, "<html>".to_owned()),
            "no token: the token server's answer cannot be used: it is not JSON",
        ),
        (
            Answer::Body(200, r#"{"token":"t"}"#.to_owned()),
            "no token: the token server's answer cannot be used: it has no `access_token`",
        ),
        (
            Answer::Endless,
            "no token: the token server's answer has more than 65536 bytes, the limit `token_answer_bytes`",
        ),
        (
            Answer::Body(200, big),
            "no token: the token server's answer has more than 65536 bytes, the limit `token_answer_bytes`",
        ),
        (
            Answer::Drip,
            "no token: the token server did not answer in full within 300ms, the limit `token_timeout`",
        ),
        (
            Answer::Hang,
            "no token: the token server did not answer in full within 300ms, the limit `token_timeout`",
        ),
        (
            Answer::With(307, "location", other.url("/token")),
            "no token: the token server answered 307: redirects are not followed",
        ),
        (Answer::Close, "no token: the token server cannot be reached: "),
    ];
    for (n, (answer, expected)) in cases.into_iter().enumerate() {
        sink.forget();
        sink.answer(answer);
        // A client of its own, so that no case waits for the one before.
        let settings = OAuth2 { client_id: Some(n.to_string()), ..oauth(&sink) };
        let report = sender.attempt(&to(&sink, settings), &forwarded(), LONG, NOW).await;
        let error = report.error.clone().unwrap();
        assert!(error.starts_with(expected), "{error}");
        assert_eq!((report.kind, report.status, seen(&sink).len()), ("token", None, 0), "{error}");
        assert!(!format!("{report:?}").contains("hush"), "{report:?}");
        let policy = Policy::resolve(&PolicySpec::default()).unwrap();
        assert!(matches!(decide(&policy, 1, &report.outcome, NOW, 0.5), Decision::RetryAt(_)));
    }
    assert_eq!(other.count(), 0);
    // An attempt that is given up sooner says what it waited for.
    sink.answer(Answer::Drip);
    let report =
        sender.attempt(&to(&sink, oauth(&sink)), &forwarded(), Duration::from_millis(100), NOW).await;
    assert_eq!(
        (report.outcome, report.error.as_deref()),
        (Outcome::Timeout, Some("waited 100ms for a token"))
    );
    // Compiled while its network was allowed; what counts is what is allowed when it connects.
    sink.forget();
    let token_url = sink.url("/token").replace("127.0.0.1", "127.0.0.2");
    let report =
        sender.attempt(&to(&sink, OAuth2 { token_url, ..oauth(&sink) }), &forwarded(), LONG, NOW).await;
    let error = report.error.unwrap();
    let expected = "no token: the token server cannot be reached: the address 127.0.0.2 is refused: loopback";
    assert!(error.starts_with(expected), "{error}");
    assert_eq!((report.kind, sink.count()), ("token", 0));
}

#[tokio::test]
async fn a_token_server_that_failed_is_left_alone_for_a_moment_and_heard_about_when_to_come_back() {
    let sink = Sink::start().await;
    sink.answer(Answer::With(503, "retry-after", "90".to_owned()));
    let sender = Sender::new(&loopback()).unwrap();
    let target = to(&sink, oauth(&sink));
    for at in [Duration::ZERO, REST - Duration::from_millis(1)] {
        let report = sender.attempt(&target, &forwarded(), LONG, later(at)).await;
        assert_eq!(report.outcome, Outcome::Token { retry_after: Some(Duration::from_secs(90)) });
        assert_eq!(calls(&sink), 1);
    }
    script(&sink, Some(60), |_| 200);
    assert_eq!(sender.attempt(&target, &forwarded(), LONG, later(REST)).await.outcome, Outcome::Delivered);
}

#[tokio::test]
async fn a_token_that_its_receiver_repeats_is_hidden() {
    let sink = Sink::start().await;
    let given = AtomicU32::new(0);
    sink.script(move |request| match is_call(request) {
        true => {
            let token = format!("fresh-token-{}", given.fetch_add(1, Ordering::SeqCst));
            Answer::Body(200, json!({ "access_token": token, "expires_in": 3_600 }).to_string())
        }
        // Both tokens of the attempt, and what only the token server should know.
        false => Answer::Body(401, format!("{:?} fresh-token-0 fresh-token-1 hush & more", request.headers)),
    });
    let sender = Sender::new(&loopback()).unwrap();
    let report = sender.attempt(&to(&sink, oauth(&sink)), &forwarded(), LONG, NOW).await;
    assert_eq!((report.status, calls(&sink)), (Some(401), 2));
    let body = String::from_utf8_lossy(report.response_body.as_deref().unwrap()).into_owned();
    assert!(body.contains("***") && !body.contains("fresh-token") && !body.contains("hush"), "{body}");
}
