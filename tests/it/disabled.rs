//! A destination that the host disables: its carrier is told by an event, nothing goes round in circles, and what was held
//! goes on when a person enables it.

use std::time::Duration;

use hookyard_tests::client::Carrier;
use hookyard_tests::data::Data;
use hookyard_tests::host::{T0, TestHost};
use hookyard_tests::on_both;
use hookyard_tests::sink::{Answer, Request, Sink};
use serde_json::{Value, json};

on_both! {
    a_receiver_that_is_gone_is_told_once_and_never_in_circles,
    five_days_of_failures_are_told_whatever_restarts_between,
}

const TOLD: &str = "hookyard.destination.disabled";

/// A carrier whose every event goes to `dead`, the host's own ones included, and who is told of those at `ops`.
async fn furnish(host: &TestHost, sink: &Sink, policy: Value) -> Carrier {
    let acme = host.admin.carrier("acme").await;
    acme.destination("dead", sink, json!({})).await;
    acme.destination("ops", sink, json!({})).await;
    acme.subscription("main", json!({ "destinations": ["dead"], "policy": policy })).await;
    acme.subscription("told", json!({ "event_types": [TOLD], "destinations": ["ops"] })).await;
    acme
}

fn to(sink: &Sink, path: &str) -> Vec<Request> {
    sink.requests().into_iter().filter(|r| r.path == path).collect()
}

async fn come(sink: &Sink, path: &str, n: usize) -> Vec<Request> {
    sink.wait(&format!("{n} to {path}"), |all| all.iter().filter(|r| r.path == path).count() >= n).await;
    to(sink, path)
}

/// Answers what comes to `/dead` so, and everything else well.
fn answer_dead(sink: &Sink, status: u16) {
    sink.script(move |r| Answer::Status(if r.path == "/dead" { status } else { 200 }));
}

async fn disabled(acme: &Carrier) -> Value {
    acme.get_when(&acme.path("destinations/dead"), "disabled", |d| d["state"] == "disabled").await
}

async fn held(acme: &Carrier, n: usize) {
    let path = acme.path("deliveries?state=held&destination=dead");
    let enough = move |found: &Value| found["items"].as_array().is_some_and(|all| all.len() == n);
    acme.get_when(&path, &format!("{n} that are held"), enough).await;
}

async fn enable(acme: &Carrier) {
    acme.api.post(&acme.path("destinations/dead/enable"), &json!({})).await.ok();
}

async fn a_receiver_that_is_gone_is_told_once_and_never_in_circles(data: &Data) {
    let sink = Sink::start().await;
    answer_dead(&sink, 410);
    let host = TestHost::on_manual_clock(data).await;
    let acme = furnish(&host, &sink, json!({})).await;
    acme.post("evt-0", &json!({})).await;
    let told = come(&sink, "/ops", 1).await.remove(0);
    assert_eq!(told.header("eventname"), TOLD);
    let payload = told.json();
    assert_eq!((&payload["destination"], &payload["last_status"]), (&json!("dead"), &json!(410)));
    assert_eq!(payload["reason"], "the receiver answered 410 Gone");
    assert_eq!((&payload["failing_since_ms"], &payload["attempt"]), (&json!(T0.0), &json!(1)));
    assert_eq!(payload["delivery"], to(&sink, "/dead")[0].id);
    disabled(&acme).await;
    // The event that tells of it is one of those that the dead destination is held back from.
    held(&acme, 2).await;
    acme.post("evt-1", &json!({})).await;
    held(&acme, 3).await;
    let clock = host.clock.clone();
    host.leave().await;

    let host = TestHost::with(data, clock, |_| ()).await;
    let acme = acme.at(&host.admin);
    disabled(&acme).await;
    acme.post("evt-2", &json!({})).await;
    held(&acme, 4).await;
    assert_eq!((to(&sink, "/dead").len(), to(&sink, "/ops").len()), (1, 1));

    // Enabled by hand while the receiver is still gone: it is told once more, and what was held is held again.
    enable(&acme).await;
    come(&sink, "/ops", 2).await;
    held(&acme, 5).await;
    let tried = to(&sink, "/dead").len();
    assert!((2..=5).contains(&tried), "{tried}: some of the four may have been on their way together");
    assert_eq!(to(&sink, "/ops").len(), 2);

    // Enabled when it is well: everything that was held goes on, the two events that told of it included.
    answer_dead(&sink, 200);
    enable(&acme).await;
    acme.settled().await;
    assert_eq!(to(&sink, "/dead").len(), tried + 5);
    assert_eq!(to(&sink, "/ops").len(), 2);
    let events = acme.api.get(&acme.path(&format!("events?type={TOLD}"))).await.ok();
    assert_eq!(events["items"].as_array().unwrap().len(), 2, "{events:#}");
    host.end().await;
}

async fn five_days_of_failures_are_told_whatever_restarts_between(data: &Data) {
    let sink = Sink::start().await;
    answer_dead(&sink, 500);
    let day = Duration::from_secs(24 * 3_600);
    let daily = vec![u64::try_from(day.as_millis()).unwrap(); 8];
    let mut host = TestHost::on_manual_clock(data).await;
    let mut acme = furnish(&host, &sink, json!({ "retry_after_ms": daily, "jitter_percent": 0 })).await;
    acme.post("evt", &json!({})).await;
    for n in 1..=5 {
        acme.delivery_after("evt", n).await;
        let claims = acme.api.get(&acme.path("destinations/dead")).await.ok();
        assert_eq!((&claims["state"], &claims["failing_since_ms"]), (&json!("enabled"), &json!(T0.0)));
        let clock = host.clock.clone();
        if n == 3 {
            // It is known across a restart since when it fails.
            host.leave().await;
            host = TestHost::with(data, clock.clone(), |_| ()).await;
            acme = acme.at(&host.admin);
        }
        clock.advance(day);
    }
    let told = come(&sink, "/ops", 1).await.remove(0).json();
    let five_days = 5 * i64::try_from(day.as_millis()).unwrap();
    assert_eq!((&told["failing_since_ms"], &told["last_status"]), (&json!(T0.0), &json!(500)));
    assert!(told["disabled_ms"].as_i64().unwrap() >= T0.0 + five_days, "{told:#}");
    let reason = "nothing but failures for five days, the last: status 500";
    assert_eq!(told["reason"], reason);
    assert_eq!(disabled(&acme).await["disabled_reason"], reason);
    acme.post("other", &json!({})).await;
    held(&acme, 2).await;
    let clock = host.clock.clone();
    host.leave().await;

    let host = TestHost::with(data, clock, |_| ()).await;
    let acme = acme.at(&host.admin);
    host.clock.advance(day);
    held(&acme, 2).await;
    assert_eq!((to(&sink, "/dead").len(), to(&sink, "/ops").len()), (6, 1));
    answer_dead(&sink, 200);
    enable(&acme).await;
    acme.settled().await;
    assert_eq!((to(&sink, "/dead").len(), to(&sink, "/ops").len()), (9, 1));
    host.end().await;
}
