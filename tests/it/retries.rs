//! Retries on a clock that the test moves: when they come, when they end, and what a person can do about them.

use std::time::Duration;

use hookyard_tests::client::Carrier;
use hookyard_tests::data::Data;
use hookyard_tests::host::{T0, TestHost};
use hookyard_tests::sink::{Answer, Sink};
use serde_json::{Value, json};

use crate::way::simple;

fn ms(from: i64) -> Duration {
    Duration::from_millis(u64::try_from(from).unwrap())
}

/// A second destination of the carrier that is well, and the count of events that went to it. When one has arrived, the
/// host has looked at everything that was due before.
struct Probe {
    acme: Carrier,
    sink: Sink,
    sent: usize,
}

impl Probe {
    async fn make(host: &TestHost) -> Self {
        let (acme, sink) = (host.admin.carrier("probe").await, Sink::start().await);
        acme.destination("well", &sink, json!({})).await;
        acme.subscription("main", json!({ "destinations": ["well"] })).await;
        Self { acme, sink, sent: 0 }
    }

    async fn pass(&mut self) {
        self.sent += 1;
        self.acme.post(&format!("probe-{}", self.sent), &json!({})).await;
        self.sink.come(self.sent).await;
    }
}

#[tokio::test]
async fn the_standard_profile_waits_as_it_says_and_ends_dead() {
    let data = Data::sqlite().await;
    let host = TestHost::on_manual_clock(&data).await;
    let sink = Sink::start().await;
    sink.answer(Answer::Status(500));
    let acme = simple(&host, &sink, json!({})).await;
    let mut probe = Probe::make(&host).await;
    acme.post("evt", &json!({})).await;

    let (minute, hour) = (60, 3_600);
    let waits = [5, 5 * minute, 30 * minute, 2 * hour, 5 * hour, 10 * hour, 14 * hour, 20 * hour, 24 * hour];
    for (n, wait) in waits.into_iter().enumerate() {
        let delivery = acme.delivery_after("evt", n + 1).await;
        assert_eq!(delivery["state"], "pending");
        let (now, due) = (host.clock.now().0, delivery["due_ms"].as_i64().unwrap());
        let spread = (due - now) as f64 / f64::from(wait * 1_000);
        assert!((0.9..=1.1).contains(&spread), "attempt {} after {spread} of {wait} s", n + 2);
        host.clock.advance(ms(due - now - 1));
        probe.pass().await;
        assert_eq!(sink.count(), n + 1, "a millisecond before its time");
        host.clock.advance(ms(1));
        let delivery = acme.delivery_after("evt", n + 2).await;
        assert_eq!(delivery["attempts"][n + 1]["started_ms"], due);
    }
    let delivery = acme.delivery("evt").await;
    assert_eq!((&delivery["state"], &delivery["attempts_made"]), (&json!("dead"), &json!(10)));
    assert_eq!(delivery["last_status"], 500);
    let ids: Vec<_> = sink.requests().into_iter().map(|r| r.id).collect();
    assert_eq!(ids, vec![delivery["id"].as_str().unwrap(); 10], "one id for all attempts");
    host.clock.advance(Duration::from_secs(100 * 3_600));
    probe.pass().await;
    assert_eq!(sink.count(), 10, "dead is dead");
    host.end().await;
}

#[tokio::test]
async fn a_conversation_ends_dead_and_a_person_can_retry_it() {
    let data = Data::sqlite().await;
    let host = TestHost::on_manual_clock(&data).await;
    let sink = Sink::start().await;
    sink.answer(Answer::Status(500));
    let acme = simple(&host, &sink, json!({ "profile": "conversation", "https_only": false })).await;
    acme.post("evt", &json!({})).await;
    for (n, wait) in [4, 8, 10].into_iter().enumerate() {
        let delivery = acme.delivery_after("evt", n + 1).await;
        assert_eq!(delivery["due_ms"], host.clock.now().0 + wait * 1_000);
        host.clock.advance(ms(wait * 1_000));
    }
    let dead = acme.delivery_in("evt", "dead").await;
    assert_eq!(dead["attempts_made"], 4);
    let id = dead["id"].as_str().unwrap();
    let retry = acme.path(&format!("deliveries/{id}/retry"));
    assert_eq!(acme.api.post(&retry, &json!({})).await.status, 202);
    assert_eq!(acme.delivery_after("evt", 5).await["state"], "dead", "one more attempt and no more");
    sink.answer(Answer::Status(200));
    assert_eq!(acme.api.post(&retry, &json!({})).await.status, 202);
    assert_eq!(acme.delivery_in("evt", "delivered").await["attempts_made"], 6);
    acme.api.post(&retry, &json!({})).await.problem(409, "wrong_state");
    assert_eq!(sink.count(), 6);
    host.end().await;
}

#[tokio::test]
async fn without_retries_a_delivery_waits_for_a_person() {
    let data = Data::sqlite().await;
    let host = TestHost::on_manual_clock(&data).await;
    let sink = Sink::start().await;
    sink.script(|r| Answer::Status(if r.json()["bad"] == 1 { 400 } else { 500 }));
    let acme = simple(&host, &sink, json!({ "profile": "none" })).await;
    for n in 0..5 {
        acme.post(&format!("evt-{n}"), &json!({ "bad": n % 2 })).await;
        acme.delivery_in(&format!("evt-{n}"), "failed").await;
    }
    host.clock.advance(Duration::from_secs(3_600));
    acme.post("later", &json!({ "bad": 0 })).await;
    acme.delivery_in("later", "failed").await;
    assert_eq!(sink.count(), 6, "nothing is retried by itself");

    // In bulk: those of the first hour that were answered with 500.
    sink.answer(Answer::Status(200));
    let choice = json!({ "status": 500, "until_ms": T0.0 + 1, "destination": "claims" });
    let many = acme.path("deliveries/retry");
    assert_eq!(acme.api.post(&many, &choice).await.ok()["retried"], 3);
    for n in [0, 2, 4] {
        acme.delivery_in(&format!("evt-{n}"), "delivered").await;
    }
    assert_eq!(acme.api.post(&many, &choice).await.ok()["retried"], 0, "they are not failed any more");
    assert_eq!(acme.deliveries("failed").await.len(), 3);
    assert_eq!(
        acme.api.post(&many, &json!({ "limit": 2 })).await.ok()["retried"],
        2,
        "no more than asked for"
    );
    sink.come(11).await;
    assert_eq!(acme.api.post(&many, &json!({})).await.ok()["retried"], 1);
    acme.settled().await;
    assert_eq!(sink.count(), 12);
    host.end().await;
}

#[tokio::test]
async fn retry_after_is_obeyed_within_bounds() {
    let data = Data::sqlite().await;
    let host = TestHost::on_manual_clock(&data).await;
    let sink = Sink::start().await;
    let acme = simple(&host, &sink, json!({ "retry_after_ms": [5_000, 0], "jitter_percent": 0 })).await;
    let day = 24 * 3_600;
    let cases = [(429, "120", 120), (503, "3", 5), (503, "9999999", day), (500, "120", 5), (429, "soon", 5)];
    for (n, (status, asked, waited)) in cases.into_iter().enumerate() {
        let (id, asked) = (format!("evt-{n}"), asked.to_owned());
        sink.answer(Answer::With(status, "retry-after", asked.clone()));
        acme.post(&id, &json!({})).await;
        let delivery = acme.delivery_after(&id, 1).await;
        assert_eq!(delivery["due_ms"], host.clock.now().0 + waited * 1_000, "{status} {asked}");
        sink.answer(Answer::Status(200));
        host.clock.advance(ms(waited * 1_000));
        acme.delivery_in(&id, "delivered").await;
    }
    host.end().await;
}

#[tokio::test]
async fn a_receiver_that_is_gone_is_left_alone_until_it_is_enabled() {
    let data = Data::sqlite().await;
    let host = TestHost::on_manual_clock(&data).await;
    let sink = Sink::start().await;
    sink.answer(Answer::Status(410));
    let acme = simple(&host, &sink, json!({})).await;
    acme.post("evt-0", &json!({})).await;
    let held = acme.delivery_in("evt-0", "held").await;
    assert_eq!((&held["attempts_made"], &held["last_status"]), (&json!(1), &json!(410)));
    let claims = acme.path("destinations/claims");
    let destination = acme.get_when(&claims, "disabled", |d| d["state"] == "disabled").await;
    assert!(destination["disabled_reason"].as_str().unwrap().contains("410"), "{destination:#}");
    for n in 1..4 {
        acme.post(&format!("evt-{n}"), &json!({})).await;
        acme.delivery_in(&format!("evt-{n}"), "held").await;
    }
    // Those, and the host's own event that tells of it: this subscription asks for all.
    let five = |found: &Value| found["items"].as_array().is_some_and(|all| all.len() == 5);
    acme.get_when(&acme.path("deliveries?state=held"), "five that are held", five).await;
    assert_eq!(sink.count(), 1, "nothing is sent to a disabled destination");

    sink.answer(Answer::Status(200));
    let enabled = acme.api.post(&format!("{claims}/enable"), &json!({})).await.ok();
    assert_eq!((&enabled["state"], &enabled["disabled_reason"]), (&json!("enabled"), &Value::Null));
    for n in 0..4 {
        acme.delivery_in(&format!("evt-{n}"), "delivered").await;
    }
    acme.settled().await;
    assert_eq!(sink.count(), 6);
    host.end().await;
}

#[tokio::test]
async fn five_days_of_failures_disable_a_destination() {
    let data = Data::sqlite().await;
    let host = TestHost::on_manual_clock(&data).await;
    let sink = Sink::start().await;
    sink.answer(Answer::Status(500));
    let day = Duration::from_secs(24 * 3_600);
    let daily = vec![day.as_millis() as u64; 8];
    let acme = simple(&host, &sink, json!({ "retry_after_ms": daily, "jitter_percent": 0 })).await;
    let claims = acme.path("destinations/claims");
    acme.post("evt", &json!({})).await;
    for n in 1..=5 {
        acme.delivery_after("evt", n).await;
        let destination = acme.api.get(&claims).await.ok();
        assert_eq!(
            (&destination["state"], &destination["failing_since_ms"]),
            (&json!("enabled"), &json!(T0.0))
        );
        host.clock.advance(day);
    }
    acme.get_when(&claims, "disabled", |d| d["state"] == "disabled").await;
    // The delivery itself goes on waiting for its next attempt, which is held.
    acme.delivery_after("evt", 6).await;
    host.clock.advance(day);
    acme.post("other", &json!({})).await;
    acme.delivery_in("other", "held").await;
    assert_eq!(sink.count(), 6);
    sink.answer(Answer::Status(200));
    let enabled = acme.api.post(&format!("{claims}/enable"), &json!({})).await.ok();
    assert_eq!(enabled["failing_since_ms"], Value::Null);
    acme.delivery_in("other", "delivered").await;
    acme.delivery_in("evt", "delivered").await;
    host.end().await;
}

#[tokio::test]
async fn what_is_cancelled_is_not_sent_until_it_is_retried() {
    let data = Data::sqlite().await;
    let host = TestHost::on_manual_clock(&data).await;
    let sink = Sink::start().await;
    sink.answer(Answer::Status(500));
    let acme = simple(&host, &sink, json!({})).await;
    let mut probe = Probe::make(&host).await;
    acme.post("evt", &json!({})).await;
    let pending = acme.delivery_after("evt", 1).await;
    let path = acme.path(&format!("deliveries/{}", pending["id"].as_str().unwrap()));
    assert_eq!(acme.api.post(&format!("{path}/cancel"), &json!({})).await.status, 202);
    assert_eq!(acme.delivery("evt").await["state"], "cancelled");
    host.clock.advance(Duration::from_secs(3_600));
    probe.pass().await;
    assert_eq!(sink.count(), 1);
    sink.answer(Answer::Status(200));
    assert_eq!(acme.api.post(&format!("{path}/retry"), &json!({})).await.status, 202);
    acme.delivery_in("evt", "delivered").await;
    acme.api.post(&format!("{path}/cancel"), &json!({})).await.problem(409, "wrong_state");
    host.end().await;
}

#[tokio::test]
async fn a_person_finds_deliveries_sends_one_again_and_cancels_many() {
    let data = Data::sqlite().await;
    let host = TestHost::on_manual_clock(&data).await;
    let sink = Sink::start().await;
    sink.script(|request| match request.header("eventid") {
        "refused" => Answer::Status(404),
        "broken" => Answer::Close,
        "busy" => Answer::Status(503),
        _ => Answer::Status(200),
    });
    let acme = simple(&host, &sink, json!({})).await;
    for id in ["well", "refused", "broken", "busy"] {
        acme.post(id, &json!({})).await;
        acme.delivery_after(id, 1).await;
        host.clock.advance(Duration::from_millis(1));
    }
    let found = async |query: &str| -> Vec<String> {
        let page = acme.api.get(&acme.path(&format!("deliveries?{query}"))).await.ok();
        let items = page["items"].as_array().unwrap();
        items.iter().map(|one| one["event"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(found("status_class=4xx").await, ["refused"]);
    assert_eq!(found("status_class=5xx").await, ["busy"]);
    assert_eq!(found("status=200").await, ["well"]);
    assert_eq!(found("outcome=broken").await, ["broken"]);
    assert_eq!(found("outcome=status").await, ["busy", "refused"]);
    assert_eq!(found("state=pending&order=oldest").await, ["refused", "broken", "busy"]);
    assert_eq!(found(&format!("order=oldest&from_ms={}", T0.0 + 2)).await, ["broken", "busy"]);
    assert_eq!(found(&format!("updated_until_ms={}", T0.0 - 1)).await, [] as [&str; 0]);
    for (query, field) in [("status=404&status_class=4xx", "status_class"), ("outcome=slow", "outcome")] {
        let problem = acme.api.get(&acme.path(&format!("deliveries?{query}"))).await;
        assert_eq!(problem.problem(400, "invalid_parameter")["field"], field);
    }

    // What was delivered is sent once more, under the same id.
    let well = acme.delivery("well").await["id"].as_str().unwrap().to_owned();
    let resend = acme.path(&format!("deliveries/{well}/resend"));
    assert_eq!(acme.api.post(&resend, &json!({})).await.status, 202);
    assert_eq!(acme.delivery_after("well", 2).await["state"], "delivered");
    assert_eq!(sink.times()[&well], 2);
    let nobody = acme.path("deliveries/019a15a9-0000-7000-8000-000000000000/resend");
    acme.api.post(&nobody, &json!({})).await.problem(404, "not_found");

    // What waits is cancelled by choice; what is delivered stays so.
    let cancel = acme.path("deliveries/cancel");
    let choice = json!({ "status_class": "4xx" });
    assert_eq!(acme.api.post(&cancel, &choice).await.ok(), json!({ "cancelled": 1 }));
    let first = acme.api.post(&cancel, &json!({ "limit": 1 })).await.ok();
    assert_eq!(first["cancelled"], 1);
    let rest = json!({ "after": first["next"] });
    assert_eq!(acme.api.post(&cancel, &rest).await.ok(), json!({ "cancelled": 1 }));
    acme.api.post(&cancel, &json!({ "states": ["delivered"] })).await.problem(422, "invalid_body");
    assert_eq!(found("state=cancelled&order=oldest").await, ["refused", "broken", "busy"]);
    host.clock.advance(Duration::from_secs(24 * 3_600));
    acme.settled().await;
    assert_eq!(sink.count(), 5);
    host.end().await;
}
