//! Lists: filters and pages.

use hookyard::clock::Millis;
use hookyard::store::error::StoreError;
use hookyard::store::page::{DeliveryFilter, EventFilter, Order, PageRequest};
use hookyard::store::search::SEARCH_ROWS;
use hookyard::store::work::{DeliveryState, Next};

use super::bed::*;

fn page(limit: u32, after: Option<String>) -> PageRequest {
    PageRequest { limit, after }
}

pub(super) async fn pages_stay_exact_under_inserts(bed: &Bed) {
    let store = bed.furnished().await;
    let acme = "acme".parse().unwrap();
    for n in 0..7 {
        // Two in each millisecond.
        planned(&store, &event_at(&format!("e{n}"), Millis(T0.0 + n / 2)), &["crm"], true).await;
    }
    let (mut events, mut deliveries) = (Vec::new(), Vec::new());
    let (mut after_e, mut after_d) = (None, None);
    for round in 0.. {
        let e = store.events(&acme, &EventFilter::default(), &page(3, after_e)).await.unwrap();
        let d = store.deliveries(&acme, &DeliveryFilter::default(), &page(3, after_d)).await.unwrap();
        events.extend(e.items.iter().map(|e| e.id.to_string()));
        deliveries.extend(d.items.iter().map(|d| d.event.to_string()));
        assert_eq!(e.next.is_some(), d.next.is_some());
        (after_e, after_d) = (e.next, d.next);
        if after_e.is_none() {
            break;
        }
        // What comes in meanwhile is newer than what the next page shows.
        let late = event_at(&format!("late{round}"), Millis(T0.0 + 1_000));
        planned(&store, &late, &["crm"], true).await;
    }
    assert_eq!(events, ["e6", "e5", "e4", "e3", "e2", "e1", "e0"]);
    deliveries.sort();
    assert_eq!(deliveries, ["e0", "e1", "e2", "e3", "e4", "e5", "e6"]);
}

pub(super) async fn filters(bed: &Bed) {
    let store = bed.furnished().await;
    let acme = "acme".parse().unwrap();
    let mut all = Vec::new();
    for n in 0..4 {
        all.extend(
            planned(&store, &event_at(&format!("e{n}"), Millis(T0.0 + n)), &["crm", "erp"], true).await,
        );
    }
    record(&store, attempt(&all[0], 1, Next::Delivered)).await.unwrap();
    record(&store, attempt(&all[1], 1, Next::Dead)).await.unwrap();
    let count =
        async |f: DeliveryFilter| store.deliveries(&acme, &f, &page(100, None)).await.unwrap().items.len();
    let any = DeliveryFilter::default();
    assert_eq!(count(any.clone()).await, 8);
    assert_eq!(count(DeliveryFilter { event: Some("e1".parse().unwrap()), ..any.clone() }).await, 2);
    assert_eq!(count(DeliveryFilter { event: Some("nobody".parse().unwrap()), ..any.clone() }).await, 0);
    assert_eq!(count(DeliveryFilter { destination: Some("crm".parse().unwrap()), ..any.clone() }).await, 4);
    assert_eq!(count(DeliveryFilter { subscription: Some("none".parse().unwrap()), ..any.clone() }).await, 0);
    assert_eq!(
        count(DeliveryFilter { event_type: Some("case.closed".parse().unwrap()), ..any.clone() }).await,
        8
    );
    assert_eq!(count(DeliveryFilter { event_type: Some("case".parse().unwrap()), ..any.clone() }).await, 0);
    let states = vec![DeliveryState::Dead, DeliveryState::Delivered];
    assert_eq!(count(DeliveryFilter { states, ..any.clone() }).await, 2);
    assert_eq!(count(DeliveryFilter { statuses: Some((500, 500)), ..any.clone() }).await, 1);
    assert_eq!(count(DeliveryFilter { statuses: Some((200, 299)), ..any.clone() }).await, 1);
    assert_eq!(count(DeliveryFilter { statuses: Some((400, 499)), ..any.clone() }).await, 0);
    // By what the last attempt came to: the first ended well in the end.
    let e = event_at("slow", Millis(T0.0 + 9));
    let d = planned(&store, &e, &["crm"], true).await.remove(0);
    let late = hookyard::store::work::NewAttempt {
        outcome: "timeout",
        status: None,
        ..attempt(&d, 1, Next::RetryAt(T0))
    };
    record(&store, late).await.unwrap();
    let by_outcome = |outcome| DeliveryFilter { outcome: Some(outcome), ..any.clone() };
    for (outcome, expected) in [("delivered", 1), ("status", 1), ("timeout", 1), ("dns", 0)] {
        assert_eq!(count(by_outcome(outcome)).await, expected, "{outcome}");
    }
    let lane = hookyard::store::work::Lane { carrier: e.carrier.clone(), destination: d.destination.clone() };
    store.claim_deliveries(&lane, T0, 1).await.unwrap();
    record(&store, attempt(&d, 2, Next::Delivered)).await.unwrap();
    for (outcome, expected) in [("delivered", 2), ("timeout", 0)] {
        assert_eq!(count(by_outcome(outcome)).await, expected, "{outcome} after another attempt");
    }
    // By when they last changed: those with an attempt 8 ms after the beginning, the others when they were planned.
    let changed = |from: Option<i64>, until: Option<i64>| DeliveryFilter {
        updated_from: from.map(|ms| Millis(T0.0 + ms)),
        updated_until: until.map(|ms| Millis(T0.0 + ms)),
        ..any.clone()
    };
    assert_eq!(count(changed(Some(8), None)).await, 3);
    assert_eq!(count(changed(None, Some(8))).await, 6);
    assert_eq!(count(changed(Some(1), Some(3))).await, 4);
    let mut oldest = DeliveryFilter { order: Order::Oldest, ..any.clone() };
    let newest = store.deliveries(&acme, &any, &page(100, None)).await.unwrap().items;
    let (mut turned, mut after) = (Vec::new(), None);
    loop {
        let two = store.deliveries(&acme, &oldest, &page(2, after)).await.unwrap();
        turned.extend(two.items);
        after = two.next;
        if after.is_none() {
            break;
        }
    }
    turned.reverse();
    assert_eq!(turned, newest);
    oldest.states = vec![DeliveryState::Dead];
    assert_eq!(store.deliveries(&acme, &oldest, &page(2, None)).await.unwrap().items.len(), 1);
    let span = |from: i64, until: i64| (Some(Millis(T0.0 + from)), Some(Millis(T0.0 + until)));
    let (from, until) = span(1, 3);
    assert_eq!(count(DeliveryFilter { from, until, ..any }).await, 4);
    let ids = async |f: EventFilter| {
        let found = store.events(&acme, &f, &page(100, None)).await.unwrap().items;
        found.into_iter().map(|e| e.id.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(ids(EventFilter { from, until, ..EventFilter::default() }).await, ["e2", "e1"]);
    let event_type = Some("other.type".parse().unwrap());
    assert_eq!(ids(EventFilter { event_type, ..EventFilter::default() }).await, [] as [String; 0]);
    // Another carrier sees nothing of it.
    let zeta = "zeta".parse().unwrap();
    let none = store.deliveries(&zeta, &DeliveryFilter::default(), &page(9, None)).await.unwrap();
    assert!(none.items.is_empty() && none.next.is_none());
    assert_eq!(store.delivery(&zeta, &all[0].id).await.unwrap(), None);
    assert_eq!(store.attempts(&zeta, &all[0].id).await.unwrap(), []);
}

/// A search that finds nothing ends after so many deliveries, and goes on from there.
pub(super) async fn a_search_is_bounded_and_goes_on(bed: &Bed) {
    let store = bed.furnished().await;
    let acme = "acme".parse().unwrap();
    let many = i64::from(SEARCH_ROWS) * 2 + 1;
    // All delivered but the oldest, which is dead, and the one in the middle, which is held.
    let state = format!("CASE n WHEN 0 THEN 'dead' WHEN {} THEN 'held' ELSE 'delivered' END", many / 2);
    bed.write_deliveries(many, &state).await;

    bed.walk_along("deliveries_ended", "search::", "_ENDED_", 4).await;

    for order in [Order::Newest, Order::Oldest] {
        let walk = async |states: &[DeliveryState]| {
            let filter = DeliveryFilter { states: states.to_vec(), order, ..DeliveryFilter::default() };
            let (mut pages, mut found, mut after) = (0, 0, None);
            loop {
                let one = store.deliveries(&acme, &filter, &page(5, after)).await.unwrap();
                (pages, found, after) = (pages + 1, found + one.items.len(), one.next);
                if after.is_none() {
                    return (pages, found);
                }
            }
        };
        assert_eq!(walk(&[DeliveryState::Cancelled]).await, (3, 0), "{order:?}");
        assert_eq!(walk(&[DeliveryState::Held]).await, (3, 1), "{order:?}");
        assert_eq!(walk(&[DeliveryState::Failed]).await, (1, 0), "what has ended has an index of its own");
        assert_eq!(walk(&[DeliveryState::Dead]).await, (1, 1), "what has ended has an index of its own");
    }
}

pub(super) async fn cursors_are_checked(bed: &Bed) {
    let store = bed.furnished().await;
    let acme = "acme".parse().unwrap();
    for bad in ["", "%", "bm90IGEga2V5IQ"] {
        let p = page(3, Some(bad.to_owned()));
        let e = store.events(&acme, &EventFilter::default(), &p).await;
        assert!(matches!(e, Err(StoreError::Cursor)), "{bad}: {e:?}");
        let d = store.deliveries(&acme, &DeliveryFilter::default(), &p).await;
        assert!(matches!(d, Err(StoreError::Cursor)), "{bad}: {d:?}");
    }
    store.ping().await.unwrap();
    let kind = if matches!(bed, Bed::Sqlite(_)) { "sqlite" } else { "postgres" };
    assert_eq!(store.kind(), kind);
}
