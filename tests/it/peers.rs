//! Faults that other servers of this kind have, and this one must not: one test for each that no other test is about.
//! The table in `tests/README.md` names the others.

use std::collections::HashMap;
use std::time::Duration;

use hookyard_tests::child::ChildHost;
use hookyard_tests::client::Carrier;
use hookyard_tests::data::Data;
use hookyard_tests::guests;
use hookyard_tests::host::TestHost;
use hookyard_tests::on_both;
use hookyard_tests::sink::{Answer, Gate, Sink};
use serde_json::{Value, json};

on_both! {
    an_event_that_was_accepted_is_never_lost_before_its_first_attempt,
    a_slow_receiver_does_not_repeat_its_neighbours_of_the_same_event,
    an_attempt_that_cannot_be_recorded_repeats_nothing,
    nothing_is_sent_after_disabling_was_answered,
}

/// A carrier with one subscription that fans out to these destinations.
async fn fan_out(host: &TestHost, sink: &Sink, destinations: &[&str], policy: Value) -> Carrier {
    let acme = host.admin.carrier("acme").await;
    for name in destinations {
        acme.destination(name, sink, json!({})).await;
    }
    acme.subscription("main", json!({ "destinations": destinations, "policy": policy })).await;
    acme
}

/// How often a request came to each path.
fn by_path(sink: &Sink) -> HashMap<String, usize> {
    let mut count = HashMap::new();
    for request in sink.requests() {
        *count.entry(request.path).or_default() += 1;
    }
    count
}

fn expected(paths: &[(&str, usize)]) -> HashMap<String, usize> {
    paths.iter().map(|(path, n)| ((*path).to_owned(), *n)).collect()
}

/// How many deliveries to a destination are in this state, once there are so many.
async fn await_state(acme: &Carrier, destination: &str, state: &str, n: usize) {
    let path = acme.path(&format!("deliveries?limit=500&destination={destination}&state={state}"));
    let enough = move |found: &Value| found["items"].as_array().is_some_and(|all| all.len() == n);
    acme.get_when(&path, &format!("{n} to {destination} that are {state}"), enough).await;
}

/// Fault 3: one endpoint that answers its headers after 29 seconds and its body after 60 holds the whole event's work, and
/// after 45 seconds every endpoint of it is sent the event again.
async fn a_slow_receiver_does_not_repeat_its_neighbours_of_the_same_event(data: &Data) {
    let host = TestHost::on_manual_clock(data).await;
    let (sink, other) = (Sink::start().await, Sink::start().await);
    let probe = host.admin.carrier("probe").await;
    probe.destination("well", &other, json!({})).await;
    probe.subscription("main", json!({ "destinations": ["well"] })).await;
    let (head, rest) = (Gate::default(), Gate::default());
    let halves = Answer::Halves(head.clone(), rest.clone());
    sink.script(move |r| if r.path == "/slow" { halves.clone() } else { Answer::Status(200) });
    let policy = json!({ "timeout_ms": 120_000 });
    let acme = fan_out(&host, &sink, &["one", "slow", "two"], policy).await;
    acme.post("evt", &json!({})).await;
    sink.come(3).await;
    // The clock passes every moment at which somebody could lose patience, and the host has looked at all its work then.
    for (n, seconds) in [29, 16, 15].into_iter().enumerate() {
        host.clock.advance(Duration::from_secs(seconds));
        if n == 0 {
            head.open();
        }
        probe.post(&format!("probe-{n}"), &json!({})).await;
        other.come(n + 1).await;
        assert_eq!(by_path(&sink), expected(&[("/one", 1), ("/slow", 1), ("/two", 1)]));
    }
    rest.open();
    acme.settled().await;
    assert_eq!(sink.count(), 3, "each once");

    // One that never ends its answer is tried again after its own time, and nobody else is.
    sink.forget();
    let opened = Gate::default();
    opened.open();
    let never = Answer::Halves(opened, Gate::default());
    sink.script(move |r| match (r.path.as_str(), r.nth) {
        ("/slow", 1) => never.clone(),
        _ => Answer::Status(200),
    });
    let policy = json!({ "timeout_ms": 300, "retry_after_ms": [45_000], "jitter_percent": 0 });
    acme.subscription("main", json!({ "destinations": ["one", "slow", "two"], "policy": policy })).await;
    acme.post("again", &json!({})).await;
    let late = |event: &Value| {
        let all = event["routings"][0]["deliveries"].as_array();
        all.is_some_and(|all| all.iter().any(|d| d["attempts"][0]["outcome"] == "timeout"))
    };
    acme.event_when("again", "the end of its time", late).await;
    host.clock.advance(Duration::from_secs(45));
    acme.settled().await;
    assert_eq!(by_path(&sink), expected(&[("/one", 1), ("/slow", 2), ("/two", 1)]));
    host.end().await;
}

/// Fault 4: an internal error on one endpoint puts the whole event back, and the others get it twice. Here the database
/// does not take the attempts at one destination, for whatever reason: nobody gets anything twice, not even that one.
async fn an_attempt_that_cannot_be_recorded_repeats_nothing(data: &Data) {
    let host = TestHost::start(data).await;
    let sink = Sink::start().await;
    let acme = fan_out(&host, &sink, &["one", "ill", "two"], json!({})).await;
    acme.post("evt-0", &json!({})).await;
    acme.settled().await;
    // The first delivery to `ill` is recorded. From now on no second one can be.
    data.run(
        "CREATE UNIQUE INDEX injected ON deliveries (lane) WHERE lane = 'acme/ill' AND state = 'delivered'",
    )
    .await;
    for n in 1..=10 {
        acme.post(&format!("evt-{n}"), &json!({})).await;
    }
    sink.come(33).await;
    for well in ["one", "two"] {
        await_state(&acme, well, "delivered", 11).await;
    }
    await_state(&acme, "ill", "delivered", 1).await;
    data.run("DROP INDEX injected").await;
    await_state(&acme, "ill", "delivered", 11).await;
    acme.settled().await;
    assert_eq!(by_path(&sink), expected(&[("/one", 11), ("/ill", 11), ("/two", 11)]));
    assert!(sink.times().values().all(|n| *n == 1), "{:?}", sink.times());
    host.end().await;
}

/// Fault 8: a disabled endpoint may still get events for as long as a cache lives.
async fn nothing_is_sent_after_disabling_was_answered(data: &Data) {
    let host = TestHost::start(data).await;
    let sink = Sink::start().await;
    let gate = Gate::default();
    sink.answer(gate.before(Answer::Status(200)));
    let acme = host.admin.carrier("acme").await;
    acme.destination("claims", &sink, json!({ "concurrency": 1 })).await;
    acme.subscription("main", json!({ "destinations": ["claims"] })).await;
    for n in 0..20 {
        acme.post(&format!("before-{n}"), &json!({})).await;
    }
    // One is under way, the others wait in memory.
    sink.come(1).await;
    await_state(&acme, "claims", "pending", 20).await;
    acme.api.post(&acme.path("destinations/claims/disable"), &json!({})).await.ok();
    for n in 0..20 {
        acme.post(&format!("after-{n}"), &json!({})).await;
    }
    gate.open();
    await_state(&acme, "claims", "held", 39).await;
    await_state(&acme, "claims", "delivered", 1).await;
    assert_eq!(sink.count(), 1, "nothing but what was under way");
    acme.api.post(&acme.path("destinations/claims/enable"), &json!({})).await.ok();
    acme.settled().await;
    assert_eq!(sink.count(), 40);
    assert!(sink.times().values().all(|n| *n == 1));
    host.end().await;
}

/// Fault 1: an event that is committed and answered, but not yet queued, is never tried when the process dies in between.
async fn an_event_that_was_accepted_is_never_lost_before_its_first_attempt(data: &Data) {
    let sink = Sink::start().await;
    let mut settings = crate::kill::settings(data).to_vec();
    settings.push(("PLUGINS_THREADS", "1"));
    let host = ChildHost::start(data, &settings).await;
    let acme = host.admin.carrier("acme").await;
    acme.destination("claims", &sink, json!({})).await;
    acme.plugin("p", guests::HOSTILE, "?wall_ms=60000").await;
    acme.subscription("main", json!({ "plugins": ["p"], "destinations": ["claims"] })).await;
    // The first ones keep the plugins' thread busy; behind them nothing gets as far as an attempt.
    let event = |n: usize| {
        let harm =
            if n < 3 { json!({ "do": "spin", "with": 200_000_000 }) } else { json!({ "do": "nothing" }) };
        json!({ "carrier": "acme", "id": format!("evt-{n}"), "type": "case.closed", "payload": harm })
    };
    let batch: Vec<_> = (0..1_000).map(event).collect();
    acme.publisher.post("/v1/events", &Value::Array(batch)).await.ok();
    host.kill().await;
    assert_eq!(sink.count(), 0, "the plugins were quicker than the test");

    let host = ChildHost::start(data, &settings).await;
    sink.distinct(1_000).await;
    acme.at(&host.admin).settled_events().await;
    assert_eq!(sink.count(), 1_000, "each once: nothing had been sent");
    host.kill().await;
}
