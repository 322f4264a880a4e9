//! What proves whose a request is, as receivers and token servers see it, and what hostile token servers can do.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use futures_util::future::{BoxFuture, join_all};
use hookyard::carrier::auth::Token;
use hookyard::carrier::{Auth, Grant, OAuth2};
use hookyard::deliver::auth::{REFRESH_EARLY, REST};
use hookyard::deliver::{SenderParts, TokenShelf};
use hookyard::store::work::Lane;
use hookyard_tests::sink::{Answer, Gate, Request, Sink};
use serde_json::json;

use super::*;

fn oauth(sink: &Sink) -> OAuth2 {
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

fn with(auth: Auth) -> DestinationSecrets {
    DestinationSecrets { auth: Some(auth), ..DestinationSecrets::default() }
}

fn to(sink: &Sink, settings: OAuth2) -> Target {
    target(&sink.url("/claims"), &with(Auth::OAuth2(settings)))
}

fn is_call(request: &Request) -> bool {
    request.path.starts_with("/token")
}

fn calls(sink: &Sink) -> usize {
    sink.requests().iter().filter(|r| is_call(r)).count()
}

/// The tokens that the receiver saw.
fn seen(sink: &Sink) -> Vec<String> {
    sink.requests().iter().filter(|r| !is_call(r)).map(|r| r.header("authorization").to_owned()).collect()
}

/// Gives the tokens `t-1`, `t-2`, …, and has the receiver answer by `receive`.
fn script(sink: &Sink, expires_in: Option<u64>, receive: impl Fn(&Request) -> u16 + Send + Sync + 'static) {
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

/// Gives a token once the gate is open.
async fn gated() -> (Sink, Gate) {
    let (sink, gate) = (Sink::start().await, Gate::default());
    let behind = gate.clone();
    sink.script(move |request| match is_call(request) {
        true => behind.before(Answer::Body(200, r#"{"access_token":"t","expires_in":3600}"#.to_owned())),
        false => Answer::Status(200),
    });
    (sink, gate)
}

fn later(by: Duration) -> Millis {
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
async fn one_call_serves_all_that_wait_for_it() {
    let (sink, gate) = gated().await;
    let sender = Sender::new(&loopback()).unwrap();
    let target = to(&sink, oauth(&sink));
    let delivery = forwarded();
    let all = join_all((0..100).map(|_| sender.attempt(&target, &delivery, LONG, NOW)));
    let open = async {
        sink.come(1).await;
        gate.open();
    };
    let (reports, ()) = tokio::join!(all, open);
    assert!(reports.iter().all(|report| report.outcome == Outcome::Delivered));
    assert_eq!((calls(&sink), seen(&sink)), (1, vec!["Bearer t".to_owned(); 100]));
    // And one failure, too.
    sink.forget();
    sink.answer(Answer::Status(500));
    let target = to(&sink, OAuth2 { scope: None, ..oauth(&sink) });
    let reports = join_all((0..100).map(|_| sender.attempt(&target, &delivery, LONG, NOW))).await;
    assert!(reports.iter().all(|report| report.kind == "token"));
    assert_eq!((calls(&sink), sink.count()), (1, 1));
}

#[tokio::test]
async fn whoever_gives_up_does_not_take_the_call_from_the_others() {
    let (sink, gate) = gated().await;
    let sender = Sender::new(&loopback()).unwrap();
    let target = to(&sink, oauth(&sink));
    let delivery = forwarded();
    let first = async {
        let report = sender.attempt(&target, &delivery, Duration::from_millis(300), NOW).await;
        gate.open();
        report
    };
    let (first, second) = tokio::join!(first, sender.attempt(&target, &delivery, LONG, NOW));
    assert_eq!(first.error.as_deref(), Some("waited 300ms for a token"));
    assert_eq!((first.kind, second.kind, calls(&sink)), ("timeout", "delivered", 1));
}

#[tokio::test]
async fn a_token_is_replaced_a_minute_before_its_end() {
    let sink = Sink::start().await;
    script(&sink, Some(3_600), |_| 200);
    let sender = Sender::new(&loopback()).unwrap();
    let target = to(&sink, oauth(&sink));
    let end = Duration::from_secs(3_600);
    let just_before = end - REFRESH_EARLY - Duration::from_millis(1);
    for at in [Duration::ZERO, just_before, end - REFRESH_EARLY] {
        sender.attempt(&target, &forwarded(), LONG, later(at)).await;
    }
    assert_eq!(seen(&sink), ["Bearer t-1", "Bearer t-1", "Bearer t-2"]);
    assert_eq!(calls(&sink), 2);
}

#[tokio::test]
async fn an_old_token_serves_until_its_end_while_no_other_is_to_be_had() {
    let sink = Sink::start().await;
    script(&sink, Some(3_600), |_| 200);
    let sender = Sender::new(&loopback()).unwrap();
    let target = to(&sink, oauth(&sink));
    sender.attempt(&target, &forwarded(), LONG, NOW).await;
    sink.script(|request| Answer::Status(if is_call(request) { 503 } else { 200 }));
    let almost = Duration::from_secs(3_570);
    for at in [almost, almost + REST / 2] {
        let report = sender.attempt(&target, &forwarded(), LONG, later(at)).await;
        assert_eq!((report.kind, calls(&sink)), ("delivered", 2), "it is left alone after a failure");
    }
    let report = sender.attempt(&target, &forwarded(), LONG, later(Duration::from_secs(3_600))).await;
    assert_eq!((report.kind, calls(&sink)), ("token", 3));
    assert_eq!(seen(&sink), ["Bearer t-1"; 3]);
}

#[tokio::test]
async fn without_an_end_a_token_serves_once() {
    let sink = Sink::start().await;
    script(&sink, None, |_| 200);
    let sender = Sender::new(&loopback()).unwrap();
    let target = to(&sink, oauth(&sink));
    for _ in 0..3 {
        assert_eq!(sender.attempt(&target, &forwarded(), LONG, NOW).await.outcome, Outcome::Delivered);
    }
    assert_eq!(seen(&sink), ["Bearer t-1", "Bearer t-2", "Bearer t-3"]);
}

#[tokio::test]
async fn a_token_that_the_receiver_refuses_is_replaced_once() {
    let sink = Sink::start().await;
    script(&sink, Some(3_600), |r| if r.header("authorization") == "Bearer t-1" { 401 } else { 200 });
    let sender = Sender::new(&loopback()).unwrap();
    let target = to(&sink, oauth(&sink));
    let delivery = forwarded();
    let reports = join_all((0..10).map(|_| sender.attempt(&target, &delivery, LONG, NOW))).await;
    assert!(reports.iter().all(|r| (r.kind, r.status) == ("delivered", Some(200))), "{reports:?}");
    assert_eq!(calls(&sink), 2, "one fresh token serves all whose old one was refused");
    let twice = sink.requests().into_iter().filter(|r| r.header("authorization") == "Bearer t-1").count();
    assert!((1..=10).contains(&twice) && sink.count() == 2 + twice + 10);
    sink.forget();
    sender.attempt(&target, &delivery, LONG, NOW).await;
    assert_eq!((calls(&sink), seen(&sink)), (0, vec!["Bearer t-2".to_owned()]));

    // The second 401 is an answer like any other.
    sink.forget();
    script(&sink, Some(3_600), |_| 401);
    let report = sender.attempt(&target, &delivery, LONG, NOW).await;
    assert_eq!(report.outcome, Outcome::Refused { status: 401, retry_after: None });
    assert_eq!(seen(&sink), ["Bearer t-2", "Bearer t-1"]);
    // Nothing is fetched for what does not change.
    let fixed = target_with_bearer(&sink);
    sink.forget();
    let report = sender.attempt(&fixed, &delivery, LONG, NOW).await;
    assert_eq!((report.status, sink.count()), (Some(401), 1));
}

fn target_with_bearer(sink: &Sink) -> Target {
    target(&sink.url("/claims"), &with(Auth::Bearer { token: "t".to_owned() }))
}

#[tokio::test]
async fn a_refused_token_that_cannot_be_replaced_is_a_failure_of_the_token() {
    let sink = Sink::start().await;
    let given = AtomicU32::new(0);
    sink.script(move |request| match is_call(request) {
        false => Answer::Status(401),
        true if given.fetch_add(1, Ordering::SeqCst) > 0 => Answer::Status(503),
        true => Answer::Body(200, r#"{"access_token":"t","expires_in":3600}"#.to_owned()),
    });
    let sender = Sender::new(&loopback()).unwrap();
    let report = sender.attempt(&to(&sink, oauth(&sink)), &forwarded(), LONG, NOW).await;
    assert_eq!((report.kind, report.status), ("token", Some(401)));
    let error = "answered 401, and there is no fresh token: the token server answered 503";
    assert_eq!(report.error.as_deref(), Some(error));
}

#[tokio::test]
async fn other_settings_need_another_token() {
    let sink = Sink::start().await;
    script(&sink, Some(3_600), |_| 200);
    let sender = Sender::new(&loopback()).unwrap();
    for settings in [
        oauth(&sink),
        oauth(&sink),
        OAuth2 { client_secret: Some("other".to_owned()), ..oauth(&sink) },
        OAuth2 { scope: None, ..oauth(&sink) },
    ] {
        sender.attempt(&to(&sink, settings), &forwarded(), LONG, NOW).await;
    }
    assert_eq!(seen(&sink), ["Bearer t-1", "Bearer t-1", "Bearer t-2", "Bearer t-3"]);
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

/// A shelf in memory.
#[derive(Debug, Default)]
struct Board(std::sync::Mutex<Option<Token>>);

impl TokenShelf for Board {
    fn load<'a>(&'a self, _: &'a Lane) -> BoxFuture<'a, Option<Token>> {
        Box::pin(async { self.0.lock().unwrap().clone() })
    }

    fn keep<'a>(&'a self, _: &'a Lane, token: &'a Token) -> BoxFuture<'a, ()> {
        Box::pin(async { *self.0.lock().unwrap() = Some(token.clone()) })
    }

    fn forget<'a>(&'a self, _: &'a Lane, token: &'a Token) -> BoxFuture<'a, ()> {
        Box::pin(async {
            let mut kept = self.0.lock().unwrap();
            if kept.as_ref() == Some(token) {
                *kept = None;
            }
        })
    }
}

#[tokio::test]
async fn what_is_on_the_shelf_serves_every_sender() {
    let sink = Sink::start().await;
    script(&sink, Some(3_600), |_| 200);
    let shelf = Arc::new(Board::default());
    let make = || {
        let parts = SenderParts { shelf: Some(shelf.clone()), ..SenderParts::default() };
        Sender::with(&loopback(), parts).unwrap()
    };
    let target = to(&sink, oauth(&sink));
    let (one, two) = (make(), make());
    for sender in [&one, &two] {
        sender.attempt(&target, &forwarded(), LONG, NOW).await;
    }
    assert_eq!(seen(&sink), ["Bearer t-1", "Bearer t-1"]);
    // The first one finds out that it is refused; the second takes what the first has fetched instead of fetching, too.
    sink.forget();
    sink.script(|request| match (is_call(request), request.header("authorization")) {
        (true, _) => Answer::Body(200, r#"{"access_token":"t-2","expires_in":3600}"#.to_owned()),
        (_, "Bearer t-2") => Answer::Status(200),
        _ => Answer::Status(401),
    });
    for sender in [&one, &two] {
        assert_eq!(sender.attempt(&target, &forwarded(), LONG, NOW).await.outcome, Outcome::Delivered);
    }
    assert_eq!(calls(&sink), 1);
    // What other settings have led to is not touched.
    let other = to(&sink, OAuth2 { scope: None, ..oauth(&sink) });
    make().attempt(&other, &forwarded(), LONG, NOW).await;
    assert_eq!(calls(&sink), 2);
    // A token without an end is nobody else's.
    *shelf.0.lock().unwrap() = None;
    script(&sink, None, |_| 200);
    make().attempt(&target, &forwarded(), LONG, NOW).await;
    assert_eq!(*shelf.0.lock().unwrap(), None);
}
