//! Plugins that fail in a running host: what becomes of the event, and how it goes on.

use std::time::Duration;

use hookyard_tests::client::Carrier;
use hookyard_tests::data::Data;
use hookyard_tests::guests;
use hookyard_tests::host::TestHost;
use hookyard_tests::on_both;
use hookyard_tests::sink::Sink;
use serde_json::{Value, json};

use crate::way::{simple, stock};

on_both! {
    a_temporary_failure_is_run_again_when_it_says,
    events_are_held_until_a_good_version_is_active,
    a_rollback_lets_held_events_go_on,
    a_version_that_could_not_be_loaded_is_tried_again,
}

/// A host on a manual clock whose breakers open at the third fault, and a carrier whose plugin `p` does what its events
/// say. Version 1 is the harm, in generous time.
async fn harmed(data: &Data, sink: &Sink, more: Value) -> (TestHost, Carrier) {
    let host = TestHost::with(data, hookyard::clock::Clock::manual(hookyard_tests::host::T0), |config| {
        config.plugins.breaker_faults = 3;
        config.plugins.wall_ms_max = 60_000;
    })
    .await;
    let acme = host.admin.carrier("acme").await;
    acme.destination("claims", sink, json!({})).await;
    acme.plugin("p", guests::HOSTILE, "?wall_ms=20000").await;
    let mut spec = json!({ "plugins": ["p"], "destinations": ["claims"] });
    spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    acme.subscription("main", spec).await;
    (host, acme)
}

async fn state(acme: &Carrier, id: &str, state: &str) -> Value {
    acme.routing_when(id, state, |routing| routing["state"] == state).await
}

fn reason(routing: &Value) -> &str {
    routing["reason"].as_str().unwrap_or_default()
}

/// Opens the breaker of the active version.
async fn break_it(acme: &Carrier) {
    for n in 0..3 {
        acme.post(&format!("trap-{n}"), &json!({ "do": "trap" })).await;
        state(acme, &format!("trap-{n}"), "parked").await;
    }
}

async fn a_version_that_could_not_be_loaded_is_tried_again(data: &Data) {
    let host = TestHost::on_manual_clock(data).await;
    let sink = Sink::start().await;
    let acme = simple(&host, &sink, json!({})).await;
    acme.plugin("p", guests::HELLO, "?wall_ms=1000").await;
    // No subscription uses it yet, so it is not in memory; now there is no place for what is compiled.
    let (folder, away) = (data.folder().join("plugins"), data.folder().join("away"));
    std::fs::rename(&folder, &away).unwrap();
    acme.subscription("main", json!({ "plugins": ["p"], "destinations": ["claims"] })).await;
    acme.post("evt", &json!({})).await;
    let held = state(&acme, "evt", "held").await;
    assert!(reason(&held).contains("plugin `p` version 1"), "{held:#}");
    std::fs::rename(&away, &folder).unwrap();
    host.clock.advance(Duration::from_secs(10));
    acme.delivery_in("evt", "delivered").await;
    assert_eq!(sink.count(), 1);
    host.end().await;
}

#[tokio::test]
async fn a_trap_parks_the_event_for_that_subscription_alone() {
    let (data, sink) = (Data::sqlite().await, Sink::start().await);
    let (host, acme) = harmed(&data, &sink, json!({})).await;
    acme.subscription("well", json!({ "destinations": ["claims"] })).await;
    let harms = [
        (json!({ "do": "trap" }), "the plugin trapped"),
        (json!({ "do": "panic", "with": "no such state" }), "no such state"),
        (json!({ "do": "reject", "with": "not for me" }), "rejected: not for me"),
        (json!({ "do": "memory" }), "limit memory_bytes hit"),
        (json!({ "do": "what is this" }), "rejected"),
    ];
    for (n, (payload, why)) in harms.into_iter().enumerate() {
        // A version of its own for each, so that no breaker opens.
        acme.plugin("p", guests::HOSTILE, &format!("?wall_ms={}", 20_001 + n)).await;
        let id = format!("evt-{n}");
        acme.post(&id, &payload).await;
        let event = acme.event_when(&id, "routings", |e| e["routed"] == true).await;
        let routings = event["routings"].as_array().unwrap();
        let of = |name: &str| routings.iter().find(|r| r["subscription"] == name).unwrap().clone();
        let parked = of("main");
        assert_eq!((&parked["state"], &parked["deliveries"]), (&json!("parked"), &json!([])), "{parked:#}");
        let expected = format!("plugin p version {}: ", n + 2);
        assert!(reason(&parked).starts_with(&expected) && reason(&parked).contains(why), "{parked:#}");
        assert_eq!(of("well")["state"], "routed");
    }
    sink.distinct(5).await;
    acme.settled().await;
    // Parked for good: time does not help, a person can.
    host.clock.advance(Duration::from_secs(24 * 3_600));
    acme.post("later", &json!({ "do": "nothing" })).await;
    sink.distinct(7).await;
    acme.settled().await;
    acme.plugin("p", guests::HELLO, "?wall_ms=20000").await;
    let retry = acme.path("events/evt-0/routings/main/retry");
    assert_eq!(acme.api.post(&retry, &json!({})).await.status, 202);
    sink.distinct(8).await;
    acme.api.post(&retry, &json!({})).await.problem(409, "wrong_state");
    acme.settled().await;
    host.end().await;
}

async fn a_temporary_failure_is_run_again_when_it_says(data: &Data) {
    let sink = Sink::start().await;
    let (host, acme) = harmed(data, &sink, json!({})).await;
    acme.post("evt", &json!({ "do": "later", "with": "the table is not there yet" })).await;
    acme.post("mended", &json!({ "do": "later", "with": "soon" })).await;
    let start = host.clock.now().0;
    let later = state(&acme, "evt", "later").await;
    assert_eq!((&later["tries"], &later["due_ms"]), (&json!(1), &json!(start + 1_000)));
    assert!(reason(&later).contains("the table is not there yet"), "{later:#}");
    state(&acme, "mended", "later").await;

    let waits = [1, 5, 30, 120, 600, 1_800, 3_600];
    for (n, wait) in waits.into_iter().enumerate() {
        host.clock.advance(Duration::from_secs(wait));
        for id in ["evt", "mended"] {
            acme.routing_when(id, "another try", |r| r["tries"] == n + 2).await;
        }
        if n == 5 {
            // One try before the last, somebody mends it for one of them.
            acme.plugin("p", stock("redact"), "?wall_ms=20000").await;
            host.clock.advance(Duration::from_secs(3_600));
            acme.delivery_in("mended", "delivered").await;
            acme.delivery_in("evt", "delivered").await;
            break;
        }
    }
    let routing = acme.routing("mended").await;
    assert_eq!((&routing["tries"], &routing["versions"][0]["version"]), (&json!(8), &json!(2)));

    // Without anybody's help it is parked after eight tries.
    acme.plugin("p", guests::HOSTILE, "?wall_ms=20001").await;
    acme.post("never", &json!({ "do": "later", "with": "never" })).await;
    for (n, wait) in waits.into_iter().enumerate() {
        acme.routing_when("never", "another try", |r| r["tries"] == n + 1 && r["state"] == "later").await;
        host.clock.advance(Duration::from_secs(wait));
    }
    assert_eq!(state(&acme, "never", "parked").await["tries"], 8);
    host.end().await;
}

#[tokio::test]
async fn a_deadline_is_tried_once_more() {
    let (data, sink) = (Data::sqlite().await, Sink::start().await);
    let (host, acme) = harmed(&data, &sink, json!({})).await;
    acme.plugin("p", guests::HOSTILE, "?wall_ms=30").await;
    acme.post("evt", &json!({ "do": "loop" })).await;
    let later = state(&acme, "evt", "later").await;
    assert!(reason(&later).contains("limit wall_ms hit"), "{later:#}");
    host.clock.advance(Duration::from_secs(1));
    let parked = state(&acme, "evt", "parked").await;
    assert_eq!(parked["tries"], 2);
    assert!(parked["cost_us"].as_u64().unwrap() >= 30_000, "{parked:#}");
    host.end().await;
}

async fn events_are_held_until_a_good_version_is_active(data: &Data) {
    let sink = Sink::start().await;
    let (host, acme) = harmed(data, &sink, json!({})).await;
    break_it(&acme).await;
    for n in 0..5 {
        acme.post(&format!("evt-{n}"), &json!({ "n": n })).await;
        let held = state(&acme, &format!("evt-{n}"), "held").await;
        assert!(reason(&held).contains("plugin p version 1 rests after too many faults"), "{held:#}");
        assert_eq!(held["versions"], json!([]), "nothing ran");
    }
    assert_eq!(sink.count(), 0);
    acme.plugin("p", guests::HELLO, "?wall_ms=20000").await;
    sink.distinct(5).await;
    for n in 0..5 {
        acme.delivery_in(&format!("evt-{n}"), "delivered").await;
        let routing = acme.routing(&format!("evt-{n}")).await;
        assert_eq!(routing["versions"], json!([{ "plugin": "p", "version": 2 }]));
    }
    for n in 0..3 {
        let parked = acme.routing(&format!("trap-{n}")).await;
        assert_eq!(parked["state"], "parked", "what was parked stays so");
    }
    assert_eq!(sink.count(), 5);
    host.end().await;
}

#[tokio::test]
async fn a_plugin_that_was_never_activated_holds_its_events() {
    let (data, sink) = (Data::sqlite().await, Sink::start().await);
    let (host, acme) = harmed(&data, &sink, json!({})).await;
    let version = acme.upload("new", guests::HELLO, "?wall_ms=20000").await.ok()["version"].clone();
    acme.subscription("main", json!({ "plugins": ["p", "new"], "destinations": ["claims"] })).await;
    acme.post("evt", &json!({ "do": "nothing" })).await;
    let held = state(&acme, "evt", "held").await;
    assert_eq!(reason(&held), "plugin `new` has no active version");
    acme.activate("new", &version).await;
    acme.delivery_in("evt", "delivered").await;
    host.end().await;
}

async fn a_rollback_lets_held_events_go_on(data: &Data) {
    let sink = Sink::start().await;
    let (host, acme) = harmed(data, &sink, json!({})).await;
    let back = acme.path("plugins/p/rollback");
    acme.api.post(&back, &json!({})).await.problem(409, "wrong_state");
    acme.plugin("p", guests::HELLO, "?wall_ms=20000").await;
    acme.plugin("p", guests::HOSTILE, "?wall_ms=20001").await;
    break_it(&acme).await;
    acme.post("evt", &json!({})).await;
    state(&acme, "evt", "held").await;
    let plugin = acme.api.post(&back, &json!({})).await.ok();
    assert_eq!((&plugin["active"], &plugin["latest"]), (&json!(2), &json!(3)));
    acme.delivery_in("evt", "delivered").await;
    assert_eq!(acme.routing("evt").await["versions"][0]["version"], 2);
    host.end().await;
}

#[tokio::test]
async fn on_fault_decides_what_happens_meanwhile() {
    for (on_fault, version, verdict) in
        [("previous", Some(2), "forward"), ("forward", None, "forward"), ("drop", None, "drop")]
    {
        let (data, sink) = (Data::sqlite().await, Sink::start().await);
        let (host, acme) = harmed(&data, &sink, json!({ "on_fault": on_fault })).await;
        acme.plugin("p", guests::HELLO, "?wall_ms=20000").await;
        acme.plugin("p", guests::HOSTILE, "?wall_ms=20001").await;
        break_it(&acme).await;
        acme.post("evt", &json!({ "n": 1 })).await;
        let routing = state(&acme, "evt", "routed").await;
        assert_eq!(routing["verdict"], verdict, "{on_fault}");
        assert_eq!(routing["versions"][0]["version"].as_i64(), version, "{on_fault}");
        if verdict == "drop" {
            assert!(reason(&routing).contains("plugin p version 3 rests"), "{routing:#}");
        } else {
            acme.delivery_in("evt", "delivered").await;
        }
        assert_eq!(sink.count(), usize::from(verdict == "forward"), "{on_fault}");
        host.end().await;
    }
}

#[tokio::test]
async fn a_version_that_has_rested_is_tried_with_one_event() {
    let (data, sink) = (Data::sqlite().await, Sink::start().await);
    let (host, acme) = harmed(&data, &sink, json!({})).await;
    break_it(&acme).await;
    acme.post("held", &json!({ "do": "nothing" })).await;
    state(&acme, "held", "held").await;
    host.clock.advance(Duration::from_secs(30));
    acme.post("bad-probe", &json!({ "do": "trap" })).await;
    state(&acme, "bad-probe", "parked").await;
    acme.post("held-again", &json!({ "do": "nothing" })).await;
    state(&acme, "held-again", "held").await;
    host.clock.advance(Duration::from_secs(30));
    acme.post("good-probe", &json!({ "do": "nothing" })).await;
    acme.delivery_in("good-probe", "delivered").await;
    // It is well again: what was held goes on by itself.
    acme.delivery_in("held", "delivered").await;
    acme.delivery_in("held-again", "delivered").await;
    assert_eq!(acme.routing("held").await["versions"][0]["version"], 1);
    host.end().await;
}

#[tokio::test]
async fn an_upload_that_is_no_plugin_is_refused_and_changes_nothing() {
    let (data, sink) = (Data::sqlite().await, Sink::start().await);
    let (host, acme) = harmed(&data, &sink, json!({})).await;
    let cases: [(&'static [u8], &str); 6] = [
        (b"", ""),
        (b"\0asm\x01\0\0\0", ""),
        (&guests::HELLO[..1_000], ""),
        (guests::OTHER_WORLD, ""),
        (guests::SOCKETS, "wasi:sockets"),
        (guests::UNKNOWN_IMPORT, ""),
    ];
    let mut said = std::collections::HashSet::new();
    for (component, why) in cases {
        let problem = acme.upload("p", component, "").await.problem(422, "plugin_refused");
        let detail = problem["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains(why), "{detail}");
        assert!(said.insert(detail), "each has a reason of its own: {problem:#}");
    }
    let problem = acme.upload("p", guests::BIG_TABLE, "").await.problem(422, "plugin_refused");
    assert_eq!(problem["limit"], "table_elements", "{problem:#}");
    let problem = acme.upload("p", guests::START_LOOP, "").await.problem(422, "plugin_refused");
    assert_eq!(problem["limit"], "wall_ms", "{problem:#}");
    let plugin = acme.api.get(&acme.path("plugins/p")).await.ok();
    assert_eq!((&plugin["latest"], &plugin["active"]), (&json!(1), &json!(1)));
    acme.post("evt", &json!({ "do": "nothing" })).await;
    acme.delivery_in("evt", "delivered").await;
    host.end().await;
}
