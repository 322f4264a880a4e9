//! What can be read of the store is what the model holds.

use hookyard::event::CarrierId;
use hookyard::store::Store;
use hookyard::store::page::{DeliveryFilter, DeliveryRecord, EventFilter, PageRequest};

use super::state::{CARRIERS, Model, Sent};

/// Compares everything that can be read, in pages of `limit`.
pub(super) async fn everything(store: &Store, model: &Model, limit: u32) {
    for carrier in CARRIERS {
        let carrier = carrier.parse().unwrap();
        events(store, model, &carrier, limit).await;
        deliveries(store, model, &carrier, limit).await;
        destinations(store, model, &carrier).await;
    }
    waiting(store, model).await;
}

async fn events(store: &Store, model: &Model, carrier: &CarrierId, limit: u32) {
    let mut page = PageRequest { limit, after: None };
    let mut found = Vec::new();
    loop {
        let got = store.events(carrier, &EventFilter::default(), &page).await.unwrap();
        found.extend(got.items);
        page.after = got.next;
        if page.after.is_none() {
            break;
        }
    }
    let mut wanted: Vec<_> = model.events.iter().filter(|(key, _)| key.carrier == *carrier).collect();
    wanted.sort_by_key(|(key, e)| (e.event.received, key.event.clone()));
    wanted.reverse();
    assert_eq!(
        found.iter().map(|e| e.id.clone()).collect::<Vec<_>>(),
        wanted.iter().map(|(key, _)| key.event.clone()).collect::<Vec<_>>(),
        "the events of {carrier}"
    );
    for (record, (key, accepted)) in found.iter().zip(wanted) {
        let of = &accepted.event;
        assert_eq!((record.routed, record.received), (!accepted.open, of.received), "{key:?}");
        assert_eq!((&record.payload, &record.event_type), (&of.payload, &of.event_type), "{key:?}");
        assert_eq!(store.event(carrier, &key.event).await.unwrap().as_ref(), Some(record));

        let routings = store.routings(carrier, &key.event).await.unwrap();
        let wanted: Vec<_> = model.routings.iter().filter(|((event, _), _)| event == key).collect();
        assert_eq!(routings.len(), wanted.len(), "the routings of {key:?}");
        for (record, ((_, subscription), routed)) in routings.iter().zip(wanted) {
            let plan = &routed.plan;
            assert_eq!(&record.subscription, subscription, "{key:?}");
            assert_eq!((record.state, record.due), (routed.state, routed.due), "{key:?} {subscription}");
            assert_eq!(
                (record.verdict, &record.reason, record.tries),
                (plan.verdict, &plan.reason, plan.tries),
                "{key:?} {subscription}"
            );
        }
    }
}

async fn deliveries(store: &Store, model: &Model, carrier: &CarrierId, limit: u32) {
    let mut page = PageRequest { limit, after: None };
    let mut found = Vec::new();
    loop {
        let got = store.deliveries(carrier, &DeliveryFilter::default(), &page).await.unwrap();
        found.extend(got.items);
        page.after = got.next;
        if page.after.is_none() {
            break;
        }
    }
    let wanted = model.deliveries.iter().filter(|((of, _), _)| of == carrier).rev();
    let wanted: Vec<&Sent> = wanted.map(|(_, d)| d).collect();
    assert_eq!(
        found.iter().map(|d| d.id.clone()).collect::<Vec<_>>(),
        wanted.iter().map(|d| d.plan.id.clone()).collect::<Vec<_>>(),
        "the deliveries of {carrier}"
    );
    for (record, sent) in found.iter().zip(wanted) {
        delivery(record, sent);
        let content = store.content(carrier, &record.id).await.unwrap();
        assert_eq!((content.body, content.message), (sent.plan.body.clone(), sent.plan.message.clone()));
        let attempts = store.attempts(carrier, &record.id).await.unwrap();
        assert_eq!(attempts.len(), sent.attempts.len(), "the attempts at {}", record.id);
        for (kept, made) in attempts.iter().zip(&sent.attempts) {
            assert_eq!(
                (kept.number, kept.started, kept.duration_us, kept.status),
                (made.number, made.started, made.duration_us, made.status)
            );
            assert_eq!(
                (&*kept.outcome, &kept.error, &kept.request),
                (made.outcome, &made.error, &made.request)
            );
            assert_eq!(kept.response_body, made.response_body);
        }
    }
}

fn delivery(record: &DeliveryRecord, sent: &Sent) {
    let id = &record.id;
    assert_eq!((record.state, record.due), (sent.state, sent.due), "{id}");
    assert_eq!((record.updated, record.created), (sent.updated, sent.event.received), "{id}");
    assert_eq!(
        (&record.event, &record.subscription, record.index),
        (&sent.event.id, &sent.subscription, sent.place),
        "{id}"
    );
    assert_eq!(record.destination, sent.plan.destination, "{id}");
    assert_eq!((record.last_status, &record.last_error), (sent.last_status, &sent.last_error), "{id}");
    assert_eq!(record.attempts as usize, sent.attempts.len(), "{id}");
}

async fn destinations(store: &Store, model: &Model, carrier: &CarrierId) {
    let found = store.destinations(carrier).await.unwrap();
    let found: Vec<_> =
        found.into_iter().map(|d| (d.name, d.state, d.disabled_reason, d.failing_since, d.updated)).collect();
    let wanted = model.destinations.iter().filter(|(lane, _)| lane.carrier == *carrier);
    let wanted: Vec<_> = wanted
        .map(|(lane, t)| (lane.destination.clone(), t.state, t.reason.clone(), t.failing_since, t.updated))
        .collect();
    assert_eq!(found, wanted, "the destinations of {carrier}");
}

/// What a node would find to claim.
async fn waiting(store: &Store, model: &Model) {
    let mut carriers: Vec<CarrierId> =
        model.events.iter().filter(|(_, e)| e.waits()).map(|(key, _)| key.carrier.clone()).collect();
    carriers.dedup();
    assert_eq!(store.carriers_waiting().await.unwrap(), carriers);
    let mut lanes = std::collections::BTreeMap::new();
    for d in model.deliveries.values().filter(|d| d.waits()) {
        let due = lanes.entry(d.lane()).or_insert(d.due);
        *due = d.due.min(*due);
    }
    assert_eq!(store.lanes_waiting().await.unwrap(), lanes.into_iter().collect::<Vec<_>>());
    let due = model.routings.values().filter(|r| r.waits()).filter_map(|r| r.due).min();
    assert_eq!(store.next_routing_due().await.unwrap(), due);
}
