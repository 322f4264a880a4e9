//! Scheduled subscriptions: what waits for a tick is in one digest, whoever makes the run and whatever commits late.

use std::sync::Arc;
use std::time::Duration;

use hookyard::carrier::{ScheduleSpec, Subscription};
use hookyard::clock::Millis;
use hookyard::event::Event;
use hookyard::schedule::{Digest, Parts, digest_event};
use hookyard::store::Store;
use hookyard::store::collected::{After, CollectedKey, Window};
use hookyard::store::error::{HeldError, StoreError};
use hookyard::store::schedules::{NewDigest, Run, RunKind, ScheduleKey, Stand};
use hookyard::store::work::{Collected, Plan, RoutingState};

use super::bed::*;

fn key() -> ScheduleKey {
    ScheduleKey { carrier: "acme".parse().unwrap(), subscription: "daily".parse().unwrap() }
}

fn scheduled(every: &str, now: Millis) -> Subscription {
    let mut daily = subscription("daily");
    let time_zone = "UTC".to_owned();
    daily.spec.schedule = Some(ScheduleSpec { every: every.to_owned(), time_zone, group_by: None });
    (daily.created, daily.updated) = (now, now);
    daily
}

async fn furnished(bed: &Bed) -> Store {
    let store = bed.furnished().await;
    store.put_subscription(scheduled("daily 02:30", T0)).await.unwrap();
    store
}

/// Accepts an event that only waits for the tick.
async fn collect(store: &Store, e: &Arc<Event>, group: &str) {
    accept(store, vec![new(e, true)]).await.unwrap();
    close(store, e, group).await.unwrap();
}

async fn close(store: &Store, e: &Arc<Event>, group: &str) -> Result<(), HeldError> {
    let collected = Collected { subscription: key().subscription, group: group.to_owned(), bytes: 100 };
    let event = Arc::clone(e);
    plan(store, Plan { event, routings: Vec::new(), collected: vec![collected], whole_event: true }).await
}

async fn waiting(store: &Store, to: Millis) -> Vec<CollectedKey> {
    let start = After { group: "", received: Millis(i64::MAX), event: "" };
    store.collected(&key(), Window { from: T0, to }, start, 100).await.unwrap()
}

async fn ids(store: &Store, to: Millis) -> Vec<String> {
    waiting(store, to).await.into_iter().map(|one| one.event.to_string()).collect()
}

/// One digest of these events.
async fn digest_of(store: &Store, to: Millis, members: &[CollectedKey]) -> NewDigest {
    let key = key();
    let events = store.events_of(&key.carrier, members).await.unwrap();
    let digest = Digest {
        carrier: &key.carrier,
        subscription: &key.subscription,
        from: T0,
        to,
        group: &members[0].group,
        parts: Parts { part: 1, parts: 1 },
    };
    let event = digest_event(&digest, &events, to).unwrap();
    NewDigest { event: Arc::new(event), members: members.to_vec() }
}

async fn run_of(store: &Store) -> Run {
    store.schedule(&key()).await.unwrap().unwrap().run.unwrap()
}

fn stand(group: &str) -> Stand {
    Stand { group: group.to_owned(), part: 1, parts: 1 }
}

const TICK: Millis = Millis(T0.0 + 1_000);

pub(super) async fn what_is_collected_is_in_one_digest(bed: &Bed) {
    let store = furnished(bed).await;
    let acme = key().carrier;
    for (n, group) in [(3, "\"b\""), (1, "\"b\""), (2, "null"), (4, "\"a\"")] {
        collect(&store, &event_at(&format!("e{n}"), Millis(T0.0 + n)), group).await;
    }
    collect(&store, &event_at("after", Millis(TICK.0 + 1)), "\"a\"").await;
    assert_eq!(ids(&store, TICK).await, ["e4", "e1", "e3", "e2"], "by group, then by time");
    assert!(store.event(&acme, &"e1".parse().unwrap()).await.unwrap().unwrap().routed);
    let groups = store.collected_groups(&key(), Window { from: T0, to: TICK }, 100, 2).await.unwrap();
    let shown: Vec<_> =
        groups.iter().map(|g| (g.group.as_str(), g.events, g.bytes, g.first.0 - T0.0)).collect();
    assert_eq!(shown, [("\"a\"", 1, 100, 4), ("\"b\"", 2, 200, 1)]);
    assert_eq!(store.count_collected(&key(), Window { from: T0, to: TICK }, 3).await.unwrap(), 3);

    assert!(store.begin_run(&key(), TICK, RunKind::Tick, TICK, T0).await.unwrap());
    let before = run_of(&store).await;
    let members = waiting(&store, TICK).await;
    let digests =
        vec![digest_of(&store, TICK, &members[..1]).await, digest_of(&store, TICK, &members[1..3]).await];
    store.write_digests(&key(), &before, digests.clone(), stand("\"b\"")).await.unwrap();
    // The same again, as after an answer that was lost: the run does not stand there any more.
    let again = store.write_digests(&key(), &before, digests.clone(), stand("\"b\"")).await;
    assert!(matches!(again, Err(HeldError::Lost)), "{again:?}");
    assert_eq!(ids(&store, TICK).await, ["e2"]);

    // They go the way of a routing that is due, for this subscription alone.
    let held = store.claim_routings(TICK, 10).await.unwrap();
    assert_eq!(held.len(), 2);
    assert!(held.iter().all(|h| h.subscription == key().subscription && h.tries == 0));
    assert_eq!(store.claim_events(&acme, 10).await.unwrap().len(), 0, "nobody else meets them");
    let shown = store.event(&acme, &digests[1].event.id).await.unwrap().unwrap();
    assert_eq!((shown.event_type.as_str(), shown.routed), ("hookyard.digest", true));
    let routings = store.routings(&acme, &digests[1].event.id).await.unwrap();
    assert_eq!((routings.len(), routings[0].state), (1, RoutingState::Later));

    // What a digest names must wait for it, or nothing is written.
    let run = run_of(&store).await;
    let stolen = store.write_digests(&key(), &run, vec![digests[0].clone()], stand("null")).await;
    assert!(matches!(stolen, Err(HeldError::Store(StoreError::Inconsistent { .. }))), "{stolen:?}");
    assert_eq!(run_of(&store).await, run);
    let last = vec![digest_of(&store, TICK, &waiting(&store, TICK).await).await];
    store.write_digests(&key(), &run, last, stand("null")).await.unwrap();
    let run = run_of(&store).await;
    assert_eq!((run.digests, run.events, run.group.as_deref()), (3, 4, Some("null")));
    store.end_run(&key(), &run, Millis(TICK.0 + 9)).await.unwrap();
    let record = store.schedule(&key()).await.unwrap().unwrap();
    assert_eq!((record.watermark, record.run, record.held_by), (TICK, None, None));
    let last = record.last.unwrap();
    assert_eq!((last.kind, last.to, last.digests, last.events), (RunKind::Tick, TICK, 3, 4));
    assert_eq!(ids(&store, Millis(i64::MAX)).await, ["after"]);
}

pub(super) async fn a_run_has_one_holder(bed: &Bed) {
    let store = furnished(bed).await;
    assert!(store.begin_run(&key(), TICK, RunKind::Tick, TICK, T0).await.unwrap());
    assert!(!store.begin_run(&key(), TICK, RunKind::Tick, TICK, T0).await.unwrap(), "there is one");
    assert!(!store.ask_for_run(&key(), TICK, TICK, T0).await.unwrap(), "there is one");
    let run = run_of(&store).await;
    if matches!(bed, Bed::Postgres(_)) {
        let other = bed.open().await;
        assert!(!other.take_run(&key()).await.unwrap(), "it is held");
        let written = other.write_digests(&key(), &run, Vec::new(), stand("null")).await;
        assert!(matches!(written, Err(HeldError::Lost)), "{written:?}");
        assert!(matches!(other.end_run(&key(), &run, TICK).await, Err(HeldError::Lost)));
        assert!(store.let_go_of_run(&key()).await.unwrap());
        assert!(other.take_run(&key()).await.unwrap());
        assert!(matches!(store.end_run(&key(), &run, TICK).await, Err(HeldError::Lost)));
        other.end_run(&key(), &run, TICK).await.unwrap();
        other.close().await.unwrap();
    } else {
        store.end_run(&key(), &run, TICK).await.unwrap();
    }
    // Who saw where it stood before is too late.
    assert!(!store.begin_run(&key(), TICK, RunKind::Tick, TICK, T0).await.unwrap());
    let mut wakes = store.wakes();
    assert!(store.ask_for_run(&key(), TICK, TICK, TICK).await.unwrap());
    assert_eq!(wakes.recv().await.unwrap(), hookyard::store::Wake::Run);
    assert_eq!(store.schedule(&key()).await.unwrap().unwrap().held_by, None);
    assert!(store.take_run(&key()).await.unwrap());
}

pub(super) async fn a_dead_nodes_run_is_gone_on_with(bed: &Bed) {
    bed.killed(|store| async move {
        furnish(&store).await;
        store.put_subscription(scheduled("daily 02:30", T0)).await.unwrap();
        collect(&store, &event("e1"), "\"a\"").await;
        collect(&store, &event("e2"), "\"b\"").await;
        store.begin_run(&key(), TICK, RunKind::Tick, TICK, T0).await.unwrap();
        let first = digest_of(&store, TICK, &waiting(&store, TICK).await[..1]).await;
        store.write_digests(&key(), &run_of(&store).await, vec![first], stand("\"a\"")).await.unwrap();
    })
    .await;
    let store = bed.open().await;
    if matches!(bed, Bed::Postgres(_)) {
        assert!(!store.take_run(&key()).await.unwrap(), "the lease still runs");
    }
    let taken = store.take_over(T0.plus(LEASE + Duration::from_millis(1))).await.unwrap();
    assert_eq!((taken.nodes, taken.runs), (1, 1));
    assert!(store.take_run(&key()).await.unwrap());
    let run = run_of(&store).await;
    assert_eq!((run.to, run.group.as_deref(), run.digests), (TICK, Some("\"a\""), 1));
    assert_eq!(ids(&store, TICK).await, ["e2"]);
}

pub(super) async fn what_is_committed_late_is_in_the_next_digest(bed: &Bed) {
    let store = furnished(bed).await;
    let late = event_at("late", Millis(TICK.0 - 1));
    accept(&store, vec![new(&late, true)]).await.unwrap();
    collect(&store, &event("in-time"), "null").await;
    let acme = key().carrier;
    assert!(store.open_until(&acme, TICK).await.unwrap());
    assert!(!store.open_until(&acme, Millis(TICK.0 - 2)).await.unwrap());
    assert!(store.begin_run(&key(), TICK, RunKind::Tick, TICK, T0).await.unwrap());
    let members = waiting(&store, TICK).await;
    assert_eq!(members.len(), 1);
    // It is routed while the run is at its group, and planned a second time by mistake.
    close(&store, &late, "null").await.unwrap();
    assert!(matches!(close(&store, &late, "null").await, Err(HeldError::Lost)));
    let first = digest_of(&store, TICK, &members).await;
    store.write_digests(&key(), &run_of(&store).await, vec![first], stand("null")).await.unwrap();
    store.end_run(&key(), &run_of(&store).await, TICK).await.unwrap();
    let next = Millis(TICK.0 + 1_000);
    assert_eq!(ids(&store, next).await, ["late"]);
    assert!(store.begin_run(&key(), next, RunKind::Tick, next, TICK).await.unwrap());
    let second = digest_of(&store, next, &waiting(&store, next).await).await;
    store.write_digests(&key(), &run_of(&store).await, vec![second], stand("null")).await.unwrap();
    store.end_run(&key(), &run_of(&store).await, next).await.unwrap();
    assert_eq!(ids(&store, Millis(i64::MAX)).await, [""; 0]);
}

pub(super) async fn what_waits_for_a_tick_is_kept(bed: &Bed) {
    let store = furnished(bed).await;
    let acme = key().carrier;
    collect(&store, &event("waits"), "null").await;
    let there = async |id: &str| store.event(&acme, &id.parse().unwrap()).await.unwrap().is_some();
    let old = TICK.plus(Duration::from_secs(1));
    assert_eq!(store.delete_before(old, old, 10).await.unwrap(), 0);
    assert!(there("waits").await);
    store.begin_run(&key(), TICK, RunKind::Tick, TICK, T0).await.unwrap();
    let digest = digest_of(&store, TICK, &waiting(&store, TICK).await).await;
    let id = digest.event.id.to_string();
    store.write_digests(&key(), &run_of(&store).await, vec![digest], stand("null")).await.unwrap();
    // The digest has a copy, and is open itself until its routing is done.
    assert_eq!(store.delete_before(old, old, 10).await.unwrap(), 1);
    assert!(!there("waits").await && there(&id).await);
    // A schedule is another one when its time is, not when the subscription is only written again.
    let later = Millis(T0.0 + 50);
    for (every, set) in [("daily 02:30", T0), ("daily 03:30", later)] {
        store.put_subscription(scheduled(every, later)).await.unwrap();
        let record = store.schedule(&key()).await.unwrap().unwrap();
        assert_eq!((record.created, record.set, record.watermark), (T0, set, T0), "{every}");
    }
}

pub(super) async fn what_was_deleted_is_forgotten(bed: &Bed) {
    let store = furnished(bed).await;
    let acme = key().carrier;
    for n in 0..3 {
        collect(&store, &event(&format!("e{n}")), "null").await;
    }
    let in_flight = event("in-flight");
    accept(&store, vec![new(&in_flight, true)]).await.unwrap();
    assert!(store.delete_subscription(&acme, &key().subscription).await.unwrap());
    assert_eq!(store.schedule(&key()).await.unwrap(), None);
    assert_eq!(ids(&store, TICK).await, [""; 0]);
    // An event that was routed before the deletion was known waits for nobody, and for no namesake.
    close(&store, &in_flight, "null").await.unwrap();
    let again = Millis(T0.0 + 10);
    store.put_subscription(scheduled("daily 02:30", again)).await.unwrap();
    let record = store.schedule(&key()).await.unwrap().unwrap();
    assert_eq!(record.created, again);
    assert_eq!(store.count_collected(&key(), Window { from: again, to: TICK }, 9).await.unwrap(), 0);
    assert_eq!(store.delete_before(TICK, TICK, 10).await.unwrap(), 4);
    assert_eq!(ids(&store, TICK).await, [""; 0]);
}
