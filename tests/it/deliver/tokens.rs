//! How tokens are shared, kept, replaced and dropped.

use std::sync::atomic::{AtomicU32, Ordering};

use futures_util::future::{BoxFuture, join_all};
use hookyard::carrier::auth::Token;
use hookyard::carrier::{Auth, OAuth2};
use hookyard::deliver::auth::{REFRESH_EARLY, REST};
use hookyard::deliver::{SenderParts, TokenShelf};
use hookyard::store::work::Lane;
use hookyard_tests::sink::{Answer, Gate, Sink};

use super::auth::*;
use super::*;

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
