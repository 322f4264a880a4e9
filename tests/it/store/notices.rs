//! What the host itself tells a carrier.

use hookyard::carrier::DestinationState;
use hookyard::clock::Millis;
use hookyard::store::notice::DESTINATION_DISABLED;
use hookyard::store::page::{EventFilter, PageRequest};
use hookyard::store::work::{DestinationEffect, NewAttempt, Next};

use super::bed::*;

pub(super) async fn a_destination_that_is_disabled_is_told_once(bed: &Bed) {
    let store = bed.furnished().await;
    store.put_destination(destination("crm")).await.unwrap();
    let acme = "acme".parse().unwrap();
    let mut held = Vec::new();
    for n in 0..4 {
        let e = event_at(&format!("e{n}"), Millis(T0.0 + n));
        held.extend(planned(&store, &e, &["crm"], true).await);
    }
    let since = Millis(T0.0 - 1_000);
    let effect = Some(("crm".parse().unwrap(), DestinationEffect::FailingSince(since)));
    record(&store, NewAttempt { destination: effect, ..attempt(&held[0], 1, Next::Held) }).await.unwrap();
    let crm = "crm".parse().unwrap();
    let disable = async |d| {
        let attempt = attempt(d, 1, Next::Held);
        let why = "the receiver answered 410 Gone";
        store.disable_destination(&crm, why, &attempt).await.unwrap()
    };
    assert!(disable(&held[1]).await);
    assert!(!disable(&held[2]).await, "another attempt that ended with it has nothing more to tell");
    let filter =
        EventFilter { event_type: Some(DESTINATION_DISABLED.parse().unwrap()), ..EventFilter::default() };
    let told = async || {
        let all = PageRequest { limit: 10, after: None };
        store.events(&acme, &filter, &all).await.unwrap().items
    };
    let events = told().await;
    assert_eq!(events.len(), 1);
    let payload: serde_json::Value = serde_json::from_slice(&events[0].payload).unwrap();
    assert_eq!(payload["destination"], "crm");
    assert_eq!(payload["failing_since_ms"], since.0);
    assert_eq!(payload["reason"], "the receiver answered 410 Gone");
    assert_eq!(payload["last_status"], 500);
    assert_eq!(payload["delivery"], held[1].id.as_str());
    // It is on its way: unheld, and counted as such.
    assert!(!events[0].routed);
    assert_eq!(store.carriers_waiting().await.unwrap(), [events_carrier()]);
    let claimed = store.claim_events(&acme, 9).await.unwrap();
    assert_eq!(claimed[0].event.id, events[0].id);
    plan(&store, whole(&claimed[0].event, vec![])).await.unwrap();

    // After it was enabled by hand, it is told anew.
    store.set_destination_state(&acme, &crm, DestinationState::Enabled, None, T0).await.unwrap();
    assert!(disable(&held[3]).await);
    assert_eq!(told().await.len(), 2);
    // By hand it is not told: whoever does it knows.
    store.set_destination_state(&acme, &crm, DestinationState::Enabled, None, T0).await.unwrap();
    store.set_destination_state(&acme, &crm, DestinationState::Disabled, None, T0).await.unwrap();
    assert_eq!(told().await.len(), 2);
}

fn events_carrier() -> hookyard::event::CarrierId {
    "acme".parse().unwrap()
}
