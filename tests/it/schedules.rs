//! Scheduled subscriptions on a whole host: when digests come, what is in them, and that nothing is lost or doubled.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use axum::http::Method;
use hookyard::clock::{Clock, Millis};
use hookyard_tests::child::ChildHost;
use hookyard_tests::client::{Carrier, one};
use hookyard_tests::data::{Data, Kind};
use hookyard_tests::host::TestHost;
use hookyard_tests::on_both;
use hookyard_tests::sink::{Request, Sink};
use serde_json::{Value, json};

use crate::kill::settings;
use crate::way::stock;

on_both! {
    digests_come_on_time_when_clocks_are_changed,
    what_was_missed_is_one_run,
    a_run_by_hand_sends_what_a_dry_run_shows,
    a_large_group_has_several_digests,
    what_a_plugin_does_not_take_holds_nothing_up,
    a_pause_and_a_change_lose_nothing_that_was_collected,
    a_killed_run_is_gone_on_with,
    a_hundred_thousand_events_are_digested_in_bounded_memory,
}

const DAY: Duration = Duration::from_secs(86_400);

fn at(text: &str) -> Millis {
    Millis(text.parse::<jiff::Timestamp>().unwrap().as_millisecond())
}

async fn furnish(host: &TestHost, sink: &Sink, spec: Value) -> Carrier {
    let acme = host.admin.carrier("acme").await;
    acme.destination("claims", sink, json!({})).await;
    scheduled(&acme, spec).await;
    acme
}

async fn scheduled(acme: &Carrier, schedule: Value) -> Value {
    acme.subscription("daily", json!({ "destinations": ["claims"], "schedule": schedule })).await
}

/// Posts an event and waits until it is routed, which is to say collected.
async fn collect(acme: &Carrier, id: &str, case: &str) {
    acme.post(id, &json!({ "case": { "id": case } })).await;
    let event = acme.event_when(id, "a routing", |e| e["routed"] == true).await;
    assert!(event["routings"].as_array().unwrap().iter().all(|r| r["subscription"] != "daily"), "{event:#}");
}

/// Its own state, once it is as wanted.
async fn schedule(acme: &Carrier, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    acme.get_when(&acme.path("subscriptions/daily/schedule"), what, wanted).await
}

async fn run_ended(acme: &Carrier, to: Millis) -> Value {
    schedule(acme, "the end of the run", |s| s["last_run"]["to_ms"] == to.0).await
}

async fn act(acme: &Carrier, what: &str) -> hookyard_tests::client::Answer {
    acme.api
        .call(Method::POST, &acme.path(&format!("subscriptions/daily/{what}")), &[], Default::default())
        .await
}

/// Ids of the events in digests, each with the number of digests that hold it. Repeats of a delivery count once.
fn held(requests: &[Request]) -> BTreeMap<String, u32> {
    let mut held = BTreeMap::new();
    for request in requests.iter().filter(|r| r.nth == 1) {
        for event in request.json()["events"].as_array().unwrap() {
            *held.entry(event["id"].as_str().unwrap().to_owned()).or_default() += 1;
        }
    }
    held
}

fn names(ids: &[&str]) -> BTreeMap<String, u32> {
    ids.iter().map(|id| ((*id).to_owned(), 1)).collect()
}

async fn digests_come_on_time_when_clocks_are_changed(data: &Data) {
    // Each with the last tick before, at which the clock of the test stands.
    let (start, ticks) = (
        at("2026-03-07T06:30:00Z"),
        [
            // New York skips 02:30, Berlin as well, and both have the hour of their second tick twice.
            ("America/New_York", "daily 02:30", "2026-03-08T07:00:00Z"),
            ("Europe/Berlin", "daily 02:30", "2026-03-29T01:00:00Z"),
            ("Europe/Berlin", "daily 02:30", "2026-10-25T00:30:00Z"),
            ("America/New_York", "daily 01:30", "2026-11-01T05:30:00Z"),
        ],
    );
    let host = TestHost::with(data, Clock::manual(start), |_| ()).await;
    let sink = Sink::start().await;
    let acme = furnish(&host, &sink, json!({ "every": "daily 02:30", "group_by": "case.id" })).await;
    for (n, (zone, every, tick)) in ticks.into_iter().enumerate() {
        let tick = at(tick);
        host.clock.advance(Duration::from_millis((tick.0 - 3_600_000 - host.clock.now().0) as u64));
        let spec = json!({ "every": every, "time_zone": zone, "group_by": "case.id" });
        scheduled(&acme, spec).await;
        let id = format!("evt-{n}");
        collect(&acme, &id, "C-1").await;
        host.clock.advance(Duration::from_millis(3_600_000 - 1));
        let shown = schedule(&acme, "the next tick", |s| s["next_ms"][0] == tick.0).await;
        let next = shown["next_ms"].as_array().unwrap();
        assert!(next.windows(2).all(|two| two[0].as_i64() < two[1].as_i64()), "{shown:#}");
        let there = (&shown["waiting"]["events"], shown["last_run"]["to_ms"] == tick.0);
        assert_eq!(there, (&json!(1), false), "a millisecond before its time: {shown:#}");
        host.clock.advance(Duration::from_millis(1));
        let digest = sink.come(n + 1).await.remove(n).json();
        assert_eq!((&digest["to_ms"], &digest["group"]), (&json!(tick.0), &json!("C-1")), "{zone}");
        assert_eq!(one(&digest["events"])["id"], id);
        run_ended(&acme, tick).await;
    }
    host.end().await;
}

async fn what_was_missed_is_one_run(data: &Data) {
    let start = at("2026-11-20T12:00:00Z");
    let clock = Clock::manual(start);
    let host = TestHost::with(data, clock.clone(), |_| ()).await;
    let sink = Sink::start().await;
    let acme = furnish(&host, &sink, json!({ "every": "daily 02:30" })).await;
    collect(&acme, "evt-1", "C-1").await;
    host.leave().await;
    clock.advance(DAY * 5);
    let host = TestHost::with(data, clock.clone(), |_| ()).await;
    let acme = acme.at(&host.admin);
    let digest = sink.come(1).await.remove(0).json();
    let tick = at("2026-11-25T02:30:00Z");
    assert_eq!((&digest["from_ms"], &digest["to_ms"]), (&json!(start.0), &json!(tick.0)));
    run_ended(&acme, tick).await;
    // What comes after the last tick that was missed is for the next, which begins where that one ended.
    collect(&acme, "evt-2", "C-1").await;
    clock.advance(DAY);
    let digest = sink.come(2).await.remove(1).json();
    assert_eq!((&digest["from_ms"], &digest["group"]), (&json!(tick.0), &Value::Null));
    assert_eq!(one(&digest["events"])["id"], "evt-2");
    run_ended(&acme, tick.plus(DAY)).await;
    assert_eq!(sink.count(), 2);
    // A tick with nothing to send is a tick.
    clock.advance(DAY);
    let ended = run_ended(&acme, tick.plus(DAY * 2)).await;
    assert_eq!(
        (&ended["last_run"]["digests"], &ended["watermark_ms"]),
        (&json!(0), &json!(tick.plus(DAY * 2).0))
    );
    host.end().await;
}

async fn a_run_by_hand_sends_what_a_dry_run_shows(data: &Data) {
    let host = TestHost::on_manual_clock(data).await;
    let sink = Sink::start().await;
    let spec = json!({ "every": "weekly mon 02:30", "time_zone": "Europe/Berlin", "group_by": "case.id" });
    let acme = furnish(&host, &sink, spec.clone()).await;
    let zeta = host.admin.carrier("zeta").await;
    zeta.destination("claims", &sink, json!({})).await;
    scheduled(&zeta, spec).await;
    // One that wants everything, at once: it is not for it that digests are made.
    let all = Sink::start().await;
    acme.destination("all", &all, json!({})).await;
    acme.subscription("all", json!({ "destinations": ["all"] })).await;
    for (id, case) in [("e-1", "C-1"), ("e-2", "C-2"), ("e-3", "C-1")] {
        collect(&acme, id, case).await;
    }
    collect(&zeta, "e-1", "C-1").await;
    acme.post("e-4", &json!({ "case": null })).await;
    acme.event_when("e-4", "a routing", |e| e["routed"] == true).await;
    all.come(4).await;

    let dry = act(&acme, "schedule/dry-run").await.ok();
    let groups: Vec<_> =
        dry["groups"].as_array().unwrap().iter().map(|g| (&g["group"], &g["events"])).collect();
    let (c1, c2, none) = (json!("C-1"), json!("C-2"), Value::Null);
    assert_eq!(groups, [(&c1, &json!(2)), (&c2, &json!(1)), (&none, &json!(1))], "{dry:#}");
    assert_eq!(
        (&dry["waiting"], &dry["more_groups"]),
        (&json!({ "events": 4, "more": false }), &json!(false))
    );
    assert_eq!(act(&acme, "schedule/dry-run").await.ok(), dry, "it changes nothing");

    let path = acme.path("subscriptions/daily/schedule/run");
    let once = [("idempotency-key", "run-1")];
    let begun = acme.api.call(Method::POST, &path, &once, Default::default()).await;
    assert_eq!((begun.status, &begun.body["kind"]), (202, &json!("hand")), "{begun:?}");
    let digests = sink.come(3).await;
    assert_eq!(held(&digests), names(&["e-1", "e-2", "e-3", "e-4"]));
    for digest in digests.iter().map(Request::json) {
        assert_eq!(
            (&digest["part"], &digest["parts"], &digest["subscription"]),
            (&json!(1), &json!(1), &json!("daily"))
        );
        let events = digest["events"].as_array().unwrap();
        assert!(events.iter().all(|e| e["payload"]["case"]["id"] == digest["group"]), "{digest:#}");
    }
    let ended = schedule(&acme, "the end of the run", |s| s["last_run"]["kind"] == "hand").await;
    assert_eq!((&ended["last_run"]["digests"], &ended["last_run"]["events"]), (&json!(3), &json!(4)));
    assert_eq!((&ended["waiting"]["events"], ended.get("run")), (&json!(0), None));
    let repeated = acme.api.call(Method::POST, &path, &once, Default::default()).await;
    assert_eq!((repeated.status, repeated.body), (202, begun.body), "the same key is the same run");
    all.come(4).await;
    assert_eq!((all.count(), sink.count()), (4, 3), "digests are this subscription's alone");
    // The digest is an event of the carrier, with one routing.
    let list = acme.api.get(&acme.path("events?type=hookyard.digest")).await.ok();
    assert_eq!(list["items"].as_array().unwrap().len(), 3);
    let digest = acme.event(list["items"][0]["id"].as_str().unwrap()).await;
    assert_eq!(one(&digest["routings"])["subscription"], "daily");
    // The other carrier's namesake still waits.
    let waits = schedule(&zeta, "what waits", |s| s["waiting"]["events"] == 1).await;
    assert_eq!(waits.get("last_run"), None);

    // A test of the subscription is made over a digest of the one event.
    let test = json!({ "payload": { "case": { "id": "C-9" } }, "event_type": "case.closed", "send": true });
    let tried = acme.api.post(&acme.path("subscriptions/daily/test"), &test).await.ok();
    assert_eq!(tried["match"], "matched", "{tried:#}");
    let digest = sink.come(4).await.remove(3).json();
    assert_eq!((&digest["group"], &one(&digest["events"])["payload"]), (&json!("C-9"), &test["payload"]));
    // What has no schedule has no runs; what is wrong says what to change.
    for what in ["schedule/run", "schedule/dry-run"] {
        let path = acme.path(&format!("subscriptions/all/{what}"));
        acme.api.post(&path, &json!({})).await.problem(409, "wrong_state");
    }
    let wrong = json!({ "event_types": ["*"], "schedule": { "every": "daily 2:30" } });
    let wrong = acme.api.put(&acme.path("subscriptions/wrong"), &wrong).await.problem(422, "invalid_body");
    assert_eq!(wrong["field"], "schedule.every");
    host.end().await;
}

async fn a_large_group_has_several_digests(data: &Data) {
    let host = TestHost::start(data).await;
    let sink = Sink::start().await;
    let acme = furnish(&host, &sink, json!({ "every": "daily 02:30", "group_by": "case.id" })).await;
    // 1 000 events are one digest, and half a mebibyte is one, too.
    let event = |id: String, case: &str, text: String| json!({ "carrier": "acme", "id": id, "type": "case.closed", "payload": { "case": { "id": case }, "text": text } });
    let many: Vec<_> = (0..1_001).map(|n| event(format!("many-{n}"), "many", String::new())).collect();
    acme.publisher.post("/v1/events", &json!(many[..1_000])).await.ok();
    acme.publisher.post("/v1/events", &many[1_000]).await.ok();
    let large: Vec<_> = (0..5).map(|n| event(format!("large-{n}"), "large", "x".repeat(200_000))).collect();
    acme.publisher.post("/v1/events", &json!(large)).await.ok();
    schedule(&acme, "all of them", |s| s["waiting"]["events"] == 1_006).await;
    act(&acme, "schedule/run").await.ok();
    let digests = sink.come(5).await;
    let all = held(&digests);
    assert!(all.len() == 1_006 && all.values().all(|n| *n == 1), "{}", all.len());
    let mut parts: Vec<(String, i64, i64, usize)> = Vec::new();
    for digest in digests.iter().map(Request::json) {
        let number = |name: &str| digest[name].as_i64().unwrap();
        let events = digest["events"].as_array().unwrap().len();
        parts.push((digest["group"].as_str().unwrap().to_owned(), number("part"), number("parts"), events));
    }
    parts.sort();
    let expected = [
        ("large", 1, 3, 2),
        ("large", 2, 3, 2),
        ("large", 3, 3, 1),
        ("many", 1, 2, 1_000),
        ("many", 2, 2, 1),
    ];
    assert_eq!(parts, expected.map(|(group, part, parts, events)| (group.to_owned(), part, parts, events)));
    let ended = schedule(&acme, "the end of the run", |s| s.get("last_run").is_some()).await;
    assert_eq!(ended["last_run"]["digests"], 5);
    host.leave().await;
}

async fn what_a_plugin_does_not_take_holds_nothing_up(data: &Data) {
    let host = TestHost::on_manual_clock(data).await;
    let sink = Sink::start().await;
    let acme = furnish(&host, &sink, json!({ "every": "daily 02:30" })).await;
    acme.plugin("redact", stock("redact"), "?wall_ms=20000").await;
    let chain = |settings: Value| {
        json!({ "plugins": ["redact"], "settings": settings, "destinations": ["claims"],
            "schedule": { "every": "daily 02:30" } })
    };
    acme.subscription("daily", chain(json!({ "mode": "no such mode" }))).await;
    collect(&acme, "evt-1", "C-1").await;
    act(&acme, "schedule/run").await.ok();
    let list = acme.path("events?type=hookyard.digest");
    let made = acme.get_when(&list, "a digest", |l| l["items"].as_array().unwrap().len() == 1).await;
    let id = made["items"][0]["id"].as_str().unwrap();
    acme.routing_when(id, "its end", |r| r["state"] == "parked").await;
    schedule(&acme, "the end of the run", |s| s["last_run"]["digests"] == 1).await;
    // The next tick is not held up by it, and it can be run again by hand.
    acme.subscription("daily", chain(json!({ "paths": "events[].payload.case" }))).await;
    collect(&acme, "evt-2", "C-1").await;
    host.clock.advance(DAY);
    let second = sink.come(1).await.remove(0).json();
    assert_eq!(one(&second["events"])["id"], "evt-2");
    acme.api.post(&acme.path(&format!("events/{id}/routings/daily/retry")), &json!({})).await.ok();
    let first = sink.come(2).await.remove(1).json();
    assert_eq!(one(&first["events"])["id"], "evt-1");
    host.end().await;
}

async fn a_pause_and_a_change_lose_nothing_that_was_collected(data: &Data) {
    let clock = Clock::manual(at("2026-11-20T12:00:00Z"));
    let host = TestHost::with(data, clock.clone(), |_| ()).await;
    let sink = Sink::start().await;
    let acme = furnish(&host, &sink, json!({ "every": "daily 02:30" })).await;
    collect(&acme, "before", "C-1").await;
    act(&acme, "pause").await.ok();
    act(&acme, "schedule/run").await.problem(409, "wrong_state");
    collect(&acme, "meanwhile", "C-1").await;
    clock.advance(DAY * 2);
    let paused = schedule(&acme, "no ticks", |s| s["next_ms"] == json!([])).await;
    assert_eq!((&paused["waiting"]["events"], paused.get("last_run")), (&json!(1), None));
    act(&acme, "resume").await.ok();
    assert_eq!(held(&sink.come(1).await), names(&["before"]), "the tick that was missed, once");
    run_ended(&acme, at("2026-11-22T02:30:00Z")).await;

    // Another schedule misses nothing of before it was there; another filter is for what comes.
    collect(&acme, "wanted", "C-1").await;
    let hourly = json!({ "every": "0 * * * *" });
    let none = json!({ "filter": "exists(never)", "destinations": ["claims"], "schedule": hourly });
    acme.subscription("daily", none).await;
    collect(&acme, "unwanted", "C-1").await;
    let next = at("2026-11-22T13:00:00Z");
    let shown = schedule(&acme, "the next tick", |s| s["next_ms"][0] == next.0).await;
    assert_eq!(
        (&shown["waiting"]["events"], &shown["last_run"]["to_ms"]),
        (&json!(1), &json!(at("2026-11-22T02:30:00Z").0))
    );
    clock.advance(Duration::from_secs(3_600));
    assert_eq!(held(&sink.come(2).await), names(&["before", "wanted"]));
    run_ended(&acme, next).await;

    // Without a schedule what it had collected goes out, and events come at once again.
    scheduled(&acme, hourly).await;
    collect(&acme, "last", "C-1").await;
    acme.subscription("daily", json!({ "destinations": ["claims"] })).await;
    let digest = sink.come(3).await.remove(2).json();
    assert_eq!(one(&digest["events"])["id"], "last");
    acme.post("at-once", &json!({})).await;
    acme.delivery_in("at-once", "delivered").await;
    assert_eq!(sink.count(), 4);
    host.end().await;
}

/// Writes `n` events that wait for the tick of `acme`'s subscription `daily`, with this many groups. The host must not run.
async fn fill(data: &Data, n: usize, groups: usize, now: Millis) {
    let (blob, series) = match data.kind() {
        Kind::Sqlite => ("CAST(p AS BLOB)", "CAST(i AS TEXT)"),
        Kind::Postgres => ("CONVERT_TO(p, 'UTF8')", "CAST(i AS TEXT)"),
    };
    let empty = if data.kind() == Kind::Sqlite { "X'00'" } else { "'\\x00'::BYTEA" };
    let numbers = format!("WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {n})");
    let received = now.0 - 1_000;
    let text = "x".repeat(200);
    data.run(&format!(
        "BEGIN; \
         {numbers} INSERT INTO events (carrier, id, received_ms, digest) \
         SELECT 'acme', 'e-' || {series}, {received}, {empty} FROM n; \
         {numbers} INSERT INTO event_bodies (carrier, received_ms, id, type, attributes, payload) \
         SELECT 'acme', {received}, 'e-' || {series}, 'case.closed', '[]', {blob} FROM \
         (SELECT i, '{{\"n\":' || {series} || ',\"text\":\"{text}\"}}' AS p FROM n) AS bodies; \
         {numbers} INSERT INTO collected (carrier, received_ms, event, subscription, grp, bytes) \
         SELECT 'acme', {received}, 'e-' || {series}, 'daily', '\"C-' || CAST(i % {groups} AS TEXT) || '\"', 300 FROM n; \
         UPDATE schedules SET created_ms = {received}; COMMIT"
    ))
    .await;
}

/// A host that was furnished and stopped, with so many events that wait.
async fn filled(data: &Data, sink: &Sink, n: usize, groups: usize) {
    let host = ChildHost::start(data, &settings(data)).await;
    let acme = host.admin.carrier("acme").await;
    acme.destination("claims", sink, json!({ "concurrency": 20 })).await;
    scheduled(&acme, json!({ "every": "0 0 29 2 *" })).await;
    host.terminate();
    assert!(host.dead().await.success());
    fill(data, n, groups, Clock::system().now()).await;
}

async fn a_killed_run_is_gone_on_with(data: &Data) {
    let sink = Sink::start().await;
    let (events, groups) = (3_000, 1_500);
    filled(data, &sink, events, groups).await;
    let host = ChildHost::start(data, &settings(data)).await;
    act(&host.admin.of("acme"), "schedule/run").await.ok();
    // In the middle, twice.
    sink.distinct(50).await;
    host.kill().await;
    let host = ChildHost::start(data, &settings(data)).await;
    sink.distinct(600).await;
    host.kill().await;
    let host = ChildHost::start(data, &settings(data)).await;
    sink.distinct(groups).await;
    let acme = host.admin.of("acme");
    let ended = schedule(&acme, "the end of the run", |s| s.get("last_run").is_some()).await;
    let counts = (&ended["last_run"]["digests"], &ended["last_run"]["events"]);
    assert_eq!(counts, (&json!(groups), &json!(events)));
    acme.settled().await;
    let held = held(&sink.requests());
    assert!(held.len() == events && held.values().all(|n| *n == 1), "{} of {events}", held.len());
    host.kill().await;
}

async fn a_hundred_thousand_events_are_digested_in_bounded_memory(data: &Data) {
    let sink = Sink::start().await;
    let (events, groups) = (100_000, 60);
    filled(data, &sink, events, groups).await;
    let host = ChildHost::start(data, &settings(data)).await;
    let acme = host.admin.of("acme");
    let dry = act(&acme, "schedule/dry-run").await.ok();
    assert_eq!(
        (&dry["waiting"]["events"], dry["groups"].as_array().unwrap().len()),
        (&json!(events), groups)
    );
    let before = host.rss_mib();
    act(&acme, "schedule/run").await.ok();
    let most = std::cell::Cell::new(before);
    let look = || most.set(most.get().max(host.rss_mib()));
    let path = acme.path("subscriptions/daily/schedule");
    let ended = acme.get_when(&path, "the end of the run", |s| {
        look();
        s.get("last_run").is_some()
    });
    let ended = ended.await;
    assert_eq!(ended["last_run"]["events"], events);
    // 1 667 events a group, a thousand a digest.
    sink.distinct(groups * 2).await;
    look();
    let most = most.get();
    let held = held(&sink.requests());
    assert!(held.len() == events && held.values().all(|n| *n == 1), "{} of {events}", held.len());
    // The events alone are 25 MiB, in the store's tables and as JSON; in memory are a few digests at a time.
    println!("{before} MiB before, at most {most} MiB");
    assert!(most < before + 96, "{before} MiB before, at most {most} MiB");
    host.kill().await;
}

/// Two nodes with one clock: each looks at every tick, and one of them makes it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_nodes_never_make_the_same_tick() {
    let data = Data::make(Kind::Postgres).await;
    let clock = Clock::manual(at("2026-11-22T12:00:30Z"));
    // The clock makes leaps; nobody is to be taken for dead.
    let patient = |config: &mut hookyard::config::Config| config.store.lease_s = 100_000;
    let first = TestHost::with(&data, clock.clone(), patient).await;
    let folder = data.second_folder();
    let second = TestHost::with(&data, clock.clone(), |config| {
        patient(config);
        config.store.data = folder.path().to_owned();
    })
    .await;
    let sink = Sink::start().await;
    let acme = furnish(&first, &sink, json!({ "every": "* * * * *", "group_by": "case.id" })).await;
    let other = acme.at(&second.admin);
    let mut posted: Vec<String> = Vec::new();
    for tick in 1..=6 {
        for (node, n) in [(&acme, 0), (&other, 1), (&acme, 2), (&other, 3)] {
            posted.push(format!("e-{tick}-{n}"));
            collect(node, &posted[posted.len() - 1], &format!("C-{}", n % 3)).await;
        }
        clock.advance(Duration::from_secs(60));
        sink.come(3 * tick).await;
        let tick = at("2026-11-22T12:00:00Z").plus(Duration::from_secs(60 * tick as u64));
        let ended = run_ended(&acme, tick).await;
        assert_eq!(
            (&ended["last_run"]["digests"], &ended["last_run"]["events"]),
            (&json!(3), &json!(4)),
            "{ended:#}"
        );
    }
    acme.settled().await;
    let requests = sink.requests();
    assert_eq!(
        (requests.len(), held(&requests)),
        (18, names(&posted.iter().map(String::as_str).collect::<Vec<_>>()))
    );
    // Every tick was made once: the digests of each are one run's.
    let mut runs: HashMap<i64, usize> = HashMap::new();
    for digest in requests.iter().map(Request::json) {
        *runs.entry(digest["to_ms"].as_i64().unwrap()).or_default() += 1;
    }
    assert!(runs.len() == 6 && runs.values().all(|n| *n == 3), "{runs:?}");
    second.leave().await;
    first.end().await;
    data.end().await;
}
