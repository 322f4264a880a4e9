//! What a carrier or the operator changes while deliveries are on their way, and what each change means for them.

use std::time::Duration;

use hookyard::clock::Clock;
use hookyard::config::Config;
use hookyard_tests::data::Data;
use hookyard_tests::guests;
use hookyard_tests::host::{T0, TestHost};
use hookyard_tests::on_both;
use hookyard_tests::sink::{Answer, Gate, Sink};
use serde_json::json;

use crate::way::simple;

on_both! {
    a_deleted_destination_takes_its_open_deliveries_with_it,
    what_a_plugin_puts_off_is_sent_at_that_moment,
}

async fn a_deleted_destination_takes_its_open_deliveries_with_it(data: &Data) {
    let host = TestHost::on_manual_clock(data).await;
    let sink = Sink::start().await;
    sink.answer(Answer::Status(500));
    let acme = simple(&host, &sink, json!({})).await;
    acme.post("waiting", &json!({})).await;
    acme.delivery_after("waiting", 1).await;
    // One is under way while it is deleted.
    let gate = Gate::default();
    sink.answer(gate.before(Answer::Status(200)));
    acme.post("under-way", &json!({})).await;
    sink.come(2).await;
    assert_eq!(acme.api.delete(&acme.path("destinations/claims")).await.status, 204);
    gate.open();
    for id in ["waiting", "under-way"] {
        acme.delivery_in(id, "cancelled").await;
    }
    // What would go there is written as dead, with the reason.
    acme.post("late", &json!({})).await;
    let dead = acme.delivery_in("late", "dead").await;
    assert_eq!(dead["last_error"], "there is no destination `claims`");
    host.clock.advance(Duration::from_secs(3_600));
    // A new one of the same name is another one: a person may send them there.
    acme.destination("claims", &sink, json!({})).await;
    for id in ["late", "waiting"] {
        let delivery = acme.delivery(id).await["id"].as_str().unwrap().to_owned();
        let retry = acme.path(&format!("deliveries/{delivery}/retry"));
        assert_eq!(acme.api.post(&retry, &json!({})).await.status, 202);
        acme.delivery_in(id, "delivered").await;
    }
    assert_eq!(sink.count(), 4);
    host.end().await;
}

#[tokio::test]
async fn a_deleted_subscription_parks_what_waits_for_its_plugin() {
    let data = Data::sqlite().await;
    let sink = Sink::start().await;
    let host = TestHost::with(&data, Clock::manual(T0), |config| config.plugins.wall_ms_max = 60_000).await;
    let acme = host.admin.carrier("acme").await;
    acme.destination("claims", &sink, json!({})).await;
    acme.plugin("p", guests::HOSTILE, "?wall_ms=20000").await;
    for id in ["deleted", "paused"] {
        acme.subscription(id, json!({ "plugins": ["p"], "destinations": ["claims"] })).await;
    }
    acme.post("evt", &json!({ "do": "later", "with": "not yet" })).await;
    let all = |state: &'static str| {
        move |event: &serde_json::Value| {
            event["routings"]
                .as_array()
                .is_some_and(|r| r.len() == 2 && r.iter().all(|r| r["state"] == state))
        }
    };
    acme.event_when("evt", "two that wait", all("later")).await;
    assert_eq!(acme.api.delete(&acme.path("subscriptions/deleted")).await.status, 204);
    acme.api.post(&acme.path("subscriptions/paused/pause"), &json!({})).await.ok();
    host.clock.advance(Duration::from_secs(1));
    let event = acme.event_when("evt", "the end", all("parked")).await;
    assert_eq!(event["routings"][0]["reason"], "the subscription is not active any more");
    acme.post("next", &json!({})).await;
    let next = acme.event_when("next", "the end", |e| e["routed"] == true).await;
    assert_eq!(next["routings"], json!([]));
    // When it is resumed, its event can be run again.
    acme.api.post(&acme.path("subscriptions/paused/resume"), &json!({})).await.ok();
    acme.plugin("p", guests::HELLO, "?wall_ms=20000").await;
    let retry = acme.path("events/evt/routings/paused/retry");
    assert_eq!(acme.api.post(&retry, &json!({})).await.status, 202);
    sink.come(1).await;
    host.end().await;
}

async fn what_a_plugin_puts_off_is_sent_at_that_moment(data: &Data) {
    let sink = Sink::start().await;
    let host = TestHost::with(data, Clock::manual(T0), |config| config.plugins.wall_ms_max = 60_000).await;
    let acme = host.admin.carrier("acme").await;
    acme.destination("claims", &sink, json!({})).await;
    acme.plugin("p", guests::HOSTILE, "?wall_ms=20000").await;
    acme.subscription("main", json!({ "plugins": ["p"], "destinations": ["claims"] })).await;
    let hour = 3_600_000;
    acme.post("off", &json!({ "do": "deliver-later", "with": hour })).await;
    let delivery = acme.delivery_in("off", "pending").await;
    assert_eq!((&delivery["due_ms"], &delivery["attempts_made"]), (&json!(T0.0 + hour), &json!(0)));
    host.clock.advance(Duration::from_millis(3_599_999));
    acme.post("now", &json!({ "do": "deliver-later", "with": 0 })).await;
    acme.delivery_in("now", "delivered").await;
    assert_eq!(sink.count(), 1, "a millisecond before");
    // It outlives a restart.
    let clock = host.clock.clone();
    host.leave().await;
    let host = TestHost::with(data, clock, |_| ()).await;
    host.clock.advance(Duration::from_millis(1));
    let acme = acme.at(&host.admin);
    let delivery = acme.delivery_in("off", "delivered").await;
    assert_eq!(delivery["attempts"][0]["started_ms"], T0.0 + hour);
    host.end().await;
}

#[tokio::test]
async fn a_relay_that_the_operator_took_away_is_said_and_never_silent() {
    let data = Data::sqlite().await;
    let sink = Sink::start().await;
    let with_relay = |config: &mut Config| {
        config.plugins.wall_ms_max = 60_000;
        config.mail.relay = "smtp.example.com".to_owned();
        config.mail.from = "events@host.example".to_owned();
    };
    let host = TestHost::with(&data, Clock::system(), with_relay).await;
    let acme = host.admin.carrier("acme").await;
    let office = json!({ "kind": "email", "email": { "to": ["a@b.test"] } });
    acme.api.put(&acme.path("destinations/mail"), &office).await.ok();
    host.leave().await;
    let host = TestHost::with(&data, Clock::system(), |config| config.plugins.wall_ms_max = 60_000).await;
    let acme = acme.at(&host.admin);
    acme.destination("claims", &sink, json!({})).await;
    acme.plugin("p", guests::HOSTILE, "?wall_ms=20000").await;
    acme.subscription("main", json!({ "plugins": ["p"], "destinations": ["mail", "claims"] })).await;
    acme.post("mail", &json!({ "do": "mail", "with": "mail" })).await;
    let dead = acme.delivery_in("mail", "dead").await;
    let gone = "email.relay: the operator has none (`mail.relay`), so it takes one of the carrier's own";
    assert_eq!(dead["last_error"], gone, "{dead:#}");
    // Nor can it be forwarded to; the other destination of the subscription is.
    acme.post("forwarded", &json!({ "do": "nothing" })).await;
    let both = |event: &serde_json::Value| {
        let all = event["routings"][0]["deliveries"].as_array();
        all.is_some_and(|all| all.len() == 2 && all.iter().all(|d| d["state"] != "pending"))
    };
    let event = acme.event_when("forwarded", "two that have ended", both).await;
    for delivery in event["routings"][0]["deliveries"].as_array().unwrap() {
        if delivery["destination"] == "mail" {
            assert_eq!(delivery["last_error"], gone, "{delivery:#}");
            assert_eq!(delivery["state"], "dead");
        } else {
            assert_eq!(delivery["state"], "delivered");
        }
    }
    host.end().await;
}

#[tokio::test]
async fn a_secret_that_is_rotated_signs_beside_the_new_one_for_a_while() {
    let data = Data::sqlite().await;
    let host = TestHost::start(&data).await;
    let sink = Sink::start().await;
    let acme = host.admin.carrier("acme").await;
    let made = acme.destination("claims", &sink, json!({ "signing": "generate" })).await;
    acme.subscription("main", json!({ "destinations": ["claims"] })).await;
    let secret = |made: &serde_json::Value| made["signing_secret"].as_str().unwrap().to_owned();
    let first = secret(&made);
    let rotate = acme.path("destinations/claims/rotate-secret");
    let second = secret(&acme.api.post(&rotate, &json!({})).await.ok());
    acme.post("both", &json!({})).await;
    let request = sink.come(1).await.remove(0);
    assert!(request.verified(&first) && request.verified(&second), "{:?}", request.headers);
    let third = secret(&acme.api.post(&rotate, &json!({ "overlap_hours": 0 })).await.ok());
    acme.post("new", &json!({})).await;
    let request = sink.come(2).await.remove(1);
    assert!(request.verified(&third) && !request.verified(&first) && !request.verified(&second));
    // It comes out once.
    let shown = acme.api.get(&acme.path("destinations/claims")).await.ok();
    assert!(!shown.to_string().contains(&third) && shown["signing"][0]["scheme"] == "v1", "{shown:#}");
    host.end().await;
}
