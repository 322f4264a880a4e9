//! Webhooks: a subscription with its destination, and what of it failed.

use std::time::Duration;

use hookyard::carrier::{Destination, DestinationState, Subscription, Webhook};
use hookyard::clock::Millis;
use hookyard::store::Store;
use hookyard::store::error::StoreError;
use hookyard::store::page::{FailedFilter, PageRequest};
use hookyard::store::search::SEARCH_ROWS;
use hookyard::store::work::{DeliveryState, NewAttempt, Next};

use super::bed::*;

fn webhook(id: &str, event_id: u16) -> (Subscription, Destination) {
    let (mut subscription, destination) = (subscription(id), destination("hook"));
    subscription.spec.webhook = Some(Webhook {
        event_id,
        event_name: "MESSAGE".to_owned(),
        destination: destination.name.clone(),
        registered: [("EVENT_ID".to_owned(), event_id.into())].into_iter().collect(),
        headers_listed: true,
    });
    (subscription, destination)
}

fn since(from: Millis) -> FailedFilter {
    FailedFilter { from, until: Millis(i64::MAX), event_id: None, subscription: None }
}

async fn failed(store: &Store, filter: &FailedFilter) -> Vec<(u16, i64)> {
    let page = PageRequest { limit: 100, after: None };
    let found = store.failed_webhooks(&"acme".parse().unwrap(), filter, &page).await.unwrap();
    found.items.into_iter().map(|one| (one.event_id, one.first_attempt.0 - T0.0)).collect()
}

pub(super) async fn a_webhook_and_its_destination_come_and_go_together(bed: &Bed) {
    let store = bed.furnished().await;
    let (subscription, destination) = webhook("main", 14);
    let carrier = &subscription.carrier;
    store.put_webhook(subscription.clone(), destination.clone()).await.unwrap();
    assert_eq!(store.subscriptions(carrier).await.unwrap(), std::slice::from_ref(&subscription));
    assert_eq!(store.destinations(carrier).await.unwrap(), std::slice::from_ref(&destination));

    let zeta = "zeta".parse().unwrap();
    assert!(!store.delete_webhook(&zeta, &subscription.id, &destination.name).await.unwrap());
    let d = planned(&store, &event("e1"), &["hook"], false).await.remove(0);
    assert!(store.delete_webhook(carrier, &subscription.id, &destination.name).await.unwrap());
    assert!(!store.delete_webhook(carrier, &subscription.id, &destination.name).await.unwrap());
    assert!(!store.destinations(carrier).await.unwrap().contains(&destination));
    let state = store.delivery(carrier, &d.id).await.unwrap().unwrap().state;
    assert_eq!(state, DeliveryState::Cancelled, "nothing is left to be sent");
}

pub(super) async fn failures_are_those_of_registrations_by_their_first_attempt(bed: &Bed) {
    let store = bed.furnished().await;
    let (subscription, destination) = webhook("main", 14);
    let carrier = subscription.carrier.clone();
    let ended = [Next::Dead, Next::Failed, Next::Held, Next::Delivered, Next::RetryAt(T0)];
    for (n, next) in (0..).zip(ended) {
        let e = event_at(&format!("e{n}"), Millis(T0.0 + n * 1_000));
        let d = planned(&store, &e, &["hook"], true).await.remove(0);
        // The first attempt comes a while after the event.
        let started = Millis(d.due.0 + 5_000);
        record(&store, NewAttempt { started, ..attempt(&d, 1, next) }).await.unwrap();
    }
    assert_eq!(failed(&store, &since(Millis(0))).await, [], "no registration, no failures");
    store.put_webhook(subscription.clone(), destination.clone()).await.unwrap();
    assert_eq!(failed(&store, &since(Millis(0))).await, [(14, 5_000), (14, 6_000), (14, 7_000)]);
    let within = FailedFilter { until: Millis(T0.0 + 7_000), ..since(Millis(T0.0 + 6_000)) };
    assert_eq!(failed(&store, &within).await, [(14, 6_000)], "by the first attempt, not by the event");
    for (event_id, id, expected) in
        [(Some(14), None, 3), (Some(11), None, 0), (None, Some("main"), 3), (None, Some("x"), 0)]
    {
        let subscription = id.map(|id| id.parse().unwrap());
        let filter = FailedFilter { event_id, subscription, ..since(Millis(0)) };
        assert_eq!(failed(&store, &filter).await.len(), expected, "{filter:?}");
    }
    let first = PageRequest { limit: 2, after: None };
    let page = store.failed_webhooks(&carrier, &since(Millis(0)), &first).await.unwrap();
    let rest = PageRequest { limit: 2, after: page.next };
    let page = store.failed_webhooks(&carrier, &since(Millis(0)), &rest).await.unwrap();
    assert_eq!((page.items.len(), page.next), (1, None));
    let wrong = PageRequest { limit: 2, after: Some("nonsense".to_owned()) };
    let refused = store.failed_webhooks(&carrier, &since(Millis(0)), &wrong).await;
    assert!(matches!(refused, Err(StoreError::Cursor)), "{refused:?}");
}

pub(super) async fn a_look_up_of_failures_is_bounded_and_goes_on(bed: &Bed) {
    let store = bed.furnished().await;
    let (subscription, destination) = webhook("main", 14);
    let carrier = subscription.carrier.clone();
    store.put_webhook(subscription, destination).await.unwrap();
    // Only the newest is a registration's: the others are of a subscription that is none, and gone.
    let many = i64::from(SEARCH_ROWS) + 1;
    bed.write_deliveries(many, "CASE WHEN n % 2 = 0 THEN 'dead' ELSE 'failed' END").await;
    let others = format!(
        "UPDATE deliveries SET subscription = 'other' WHERE id < '019a15a9-0000-7000-8000-{:012x}'",
        many - 1
    );
    bed.run(&others, &others).await;
    bed.walk_along("deliveries_undelivered", "webhooks::", "FAILED_EDGE_", 1).await;
    bed.walk_along("deliveries_undelivered", "webhooks::", "SELECT_FAILED_", 1).await;

    let page = PageRequest { limit: 5, after: None };
    let first = store.failed_webhooks(&carrier, &since(Millis(0)), &page).await.unwrap();
    assert_eq!(first.items.len(), 0);
    let page = PageRequest { after: first.next, ..page };
    let second = store.failed_webhooks(&carrier, &since(Millis(0)), &page).await.unwrap();
    assert_eq!((second.items.len(), second.next), (1, None));
    // A retry goes on by itself.
    assert_eq!(store.retry_webhooks(&carrier, &since(Millis(0)), T0, 100).await.unwrap(), 1);
}

pub(super) async fn a_retry_enables_the_destination(bed: &Bed) {
    let store = bed.furnished().await;
    let (subscription, destination) = webhook("main", 14);
    let carrier = subscription.carrier.clone();
    store.put_webhook(subscription, destination.clone()).await.unwrap();
    let mut all = Vec::new();
    for (n, next) in (0..).zip([Next::Held, Next::Held, Next::Dead]) {
        let d =
            planned(&store, &event_at(&format!("e{n}"), Millis(T0.0 + n)), &["hook"], true).await.remove(0);
        record(&store, attempt(&d, 1, next)).await.unwrap();
        all.push(d);
    }
    let off = async || {
        let why = Some("gone".to_owned());
        let state = DestinationState::Disabled;
        store.set_destination_state(&carrier, &destination.name, state, why, T0).await.unwrap();
    };
    let state = async || store.destinations(&carrier).await.unwrap().remove(0).state;
    off().await;
    let nobody = hookyard::event::delivery_id(&event("never"), &main_subscription(), 0);
    assert_eq!(store.retry_webhook(&carrier, &nobody, T0).await.unwrap(), None);
    assert_eq!(store.retry_webhook(&"zeta".parse().unwrap(), &all[0].id, T0).await.unwrap(), None);
    assert_eq!(state().await, DestinationState::Disabled, "nothing was retried");
    assert_eq!(store.retry_webhook(&carrier, &all[2].id, T0).await.unwrap(), Some(true));
    assert_eq!(state().await, DestinationState::Enabled);
    assert_eq!(failed(&store, &since(Millis(0))).await, [], "what was held goes out with it");

    // The same in bulk, no more than asked for, oldest first.
    let lane = store.lanes_waiting().await.unwrap().remove(0).0;
    let later = T0.plus(Duration::from_secs(9));
    assert_eq!(store.claim_deliveries(&lane, later, 9).await.unwrap().len(), 3);
    for d in &all {
        assert_eq!(store.retry_webhook(&carrier, &d.id, T0).await.unwrap(), Some(false), "under way");
        record(&store, attempt(d, 2, Next::Dead)).await.unwrap();
    }
    off().await;
    assert_eq!(store.retry_webhooks(&carrier, &since(Millis(0)), later, 2).await.unwrap(), 2);
    assert_eq!(failed(&store, &since(Millis(0))).await.len(), 1);
    assert_eq!(state().await, DestinationState::Enabled);
    let none = FailedFilter { event_id: Some(11), ..since(Millis(0)) };
    assert_eq!(store.retry_webhooks(&carrier, &none, later, 9).await.unwrap(), 0);
}
