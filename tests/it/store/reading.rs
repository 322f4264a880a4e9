//! Lists: filters and pages.

use hookyard::clock::Millis;
use hookyard::store::error::StoreError;
use hookyard::store::page::{DeliveryFilter, EventFilter, PageRequest};
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
    assert_eq!(count(DeliveryFilter { status: Some(500), ..any.clone() }).await, 1);
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
