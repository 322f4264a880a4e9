//! What a carrier does by hand, and what retention leaves alone.

use std::collections::HashSet;
use std::time::Duration;

use hookyard::clock::Millis;
use hookyard::store::page::{DeliveryFilter, PageRequest};
use hookyard::store::work::{DeliveryState, Next, RoutingState};

use super::bed::*;

pub(super) async fn retry_and_cancel_one(bed: &Bed) {
    let store = bed.furnished().await;
    let e = event("e1");
    let c = &e.carrier;
    let all = planned(&store, &e, &["a", "b", "c", "d"], true).await;
    assert_eq!(store.retry_delivery(c, &all[0].id, T0).await.unwrap(), Some(false), "under way");
    assert_eq!(store.cancel_delivery(c, &all[0].id, T0).await.unwrap(), Some(false), "under way");
    record(&store, attempt(&all[0], 1, Next::Delivered)).await.unwrap();
    assert_eq!(store.retry_delivery(c, &all[0].id, T0).await.unwrap(), Some(false), "delivered");
    assert_eq!(store.cancel_delivery(c, &all[0].id, T0).await.unwrap(), Some(false), "delivered");
    let nobody = hookyard::event::delivery_id(&event("e2"), &main_subscription(), 0);
    assert_eq!(store.retry_delivery(c, &nobody, T0).await.unwrap(), None);
    assert_eq!(store.cancel_delivery(c, &nobody, T0).await.unwrap(), None);
    let zeta = "zeta".parse().unwrap();
    assert_eq!(store.retry_delivery(&zeta, &all[1].id, T0).await.unwrap(), None);

    let far = T0.plus(Duration::from_secs(3_600));
    record(&store, attempt(&all[1], 1, Next::Dead)).await.unwrap();
    record(&store, attempt(&all[2], 1, Next::RetryAt(far))).await.unwrap();
    record(&store, attempt(&all[3], 1, Next::Held)).await.unwrap();
    for d in &all[1..] {
        assert_eq!(store.retry_delivery(c, &d.id, T0).await.unwrap(), Some(true));
        let lane = hookyard::store::work::Lane { carrier: c.clone(), destination: d.destination.clone() };
        assert_eq!(store.claim_deliveries(&lane, T0, 9).await.unwrap().len(), 1);
        record(&store, attempt(d, 2, Next::RetryAt(far))).await.unwrap();
        assert_eq!(store.cancel_delivery(c, &d.id, T0).await.unwrap(), Some(true));
        let state = store.delivery(c, &d.id).await.unwrap().unwrap().state;
        assert_eq!(state, DeliveryState::Cancelled);
    }
    assert_eq!(store.lanes_waiting().await.unwrap(), []);
    assert_eq!(store.retry_delivery(c, &all[1].id, T0).await.unwrap(), Some(true), "cancelled");
}

pub(super) async fn bulk_retry_takes_each_exactly_once(bed: &Bed) {
    let store = bed.furnished().await;
    let acme = "acme".parse().unwrap();
    for n in 0..20 {
        let d =
            planned(&store, &event_at(&format!("e{n}"), Millis(T0.0 + n)), &["crm"], true).await.remove(0);
        let next = if n % 4 == 3 { Next::Delivered } else { Next::Dead };
        record(&store, attempt(&d, 1, next)).await.unwrap();
    }
    let filter = DeliveryFilter::default();
    // Several at once, in pieces: they find the same ones, and together they take each of the 15 dead once.
    let four = page(4);
    let mut retried = 0;
    loop {
        let rounds = (0..3).map(|_| store.retry_deliveries(&acme, &filter, &four, T0));
        let counts: Vec<u64> = futures(rounds).await.into_iter().map(|round| round.unwrap().count).collect();
        retried += counts.iter().sum::<u64>();
        if counts == [0, 0, 0] {
            break;
        }
    }
    assert_eq!(retried, 15);
    let (lane, _) = store.lanes_waiting().await.unwrap().remove(0);
    let claimed = store.claim_deliveries(&lane, T0, 100).await.unwrap();
    assert_eq!(claimed.iter().map(|d| d.id.clone()).collect::<HashSet<_>>().len(), 15);

    // By filter, oldest first.
    let (a, b) = (event_at("x1", Millis(T0.0 + 90)), event_at("x2", Millis(T0.0 + 91)));
    for e in [&b, &a] {
        let d = planned(&store, e, &["erp"], true).await.remove(0);
        record(&store, attempt(&d, 1, Next::Failed)).await.unwrap();
    }
    let of =
        |name: &str| DeliveryFilter { destination: Some(name.parse().unwrap()), ..DeliveryFilter::default() };
    let retry = async |filter: &DeliveryFilter, limit| {
        store.retry_deliveries(&acme, filter, &page(limit), T0).await.unwrap().count
    };
    assert_eq!(retry(&of("crm"), 9).await, 0);
    let pending = DeliveryFilter { states: vec![DeliveryState::Pending], ..of("erp") };
    assert_eq!(retry(&pending, 9).await, 0);
    let dead = DeliveryFilter { states: vec![DeliveryState::Dead], ..of("erp") };
    assert_eq!(retry(&dead, 9).await, 0, "they failed");
    let lane = hookyard::store::work::Lane { carrier: acme.clone(), destination: "erp".parse().unwrap() };
    assert_eq!(retry(&of("erp"), 1).await, 1);
    assert_eq!(store.claim_deliveries(&lane, T0, 9).await.unwrap()[0].event, a);
    let by_event = DeliveryFilter { event: Some(b.id.clone()), ..DeliveryFilter::default() };
    assert_eq!(retry(&by_event, 9).await, 1);
    assert_eq!(store.claim_deliveries(&lane, T0, 9).await.unwrap()[0].event, b);
}

pub(super) async fn what_was_delivered_is_sent_again_under_its_id(bed: &Bed) {
    let store = bed.furnished().await;
    let e = event("e1");
    let c = &e.carrier;
    let d = planned(&store, &e, &["crm"], true).await.remove(0);
    assert_eq!(store.resend_delivery(c, &d.id, T0).await.unwrap(), Some(false), "under way");
    record(&store, attempt(&d, 1, Next::Delivered)).await.unwrap();
    assert_eq!(store.retry_delivery(c, &d.id, T0).await.unwrap(), Some(false), "delivered");
    assert_eq!(store.resend_delivery(c, &d.id, T0).await.unwrap(), Some(true));
    let lane = hookyard::store::work::Lane { carrier: c.clone(), destination: d.destination.clone() };
    let again = store.claim_deliveries(&lane, T0, 9).await.unwrap().remove(0);
    assert_eq!((&again.id, again.attempts), (&d.id, 1));
    record(&store, attempt(&d, 2, Next::Delivered)).await.unwrap();
    assert_eq!(store.attempts(c, &d.id).await.unwrap().len(), 2);
    let nobody = hookyard::event::delivery_id(&event("e2"), &main_subscription(), 0);
    assert_eq!(store.resend_delivery(c, &nobody, T0).await.unwrap(), None);
}

pub(super) async fn what_waits_is_cancelled_in_bulk(bed: &Bed) {
    let store = bed.furnished().await;
    let acme = "acme".parse().unwrap();
    // In hand, waiting, due later, held, delivered, dead; all to `crm`, and one that waits for `erp`.
    let mut all = Vec::new();
    for (n, hold) in [(0, true), (1, false), (2, true), (3, true), (4, true), (5, true)] {
        let e = event_at(&format!("e{n}"), Millis(T0.0 + n));
        all.extend(planned(&store, &e, &["crm"], hold).await);
    }
    let far = T0.plus(Duration::from_secs(3_600));
    for (n, next) in [(2, Next::RetryAt(far)), (3, Next::Held), (4, Next::Delivered), (5, Next::Dead)] {
        record(&store, attempt(&all[n], 1, next)).await.unwrap();
    }
    all.extend(planned(&store, &event_at("e6", Millis(T0.0 + 6)), &["erp"], false).await);
    let crm = DeliveryFilter { destination: Some("crm".parse().unwrap()), ..DeliveryFilter::default() };
    let dead = DeliveryFilter { states: vec![DeliveryState::Dead], ..crm.clone() };
    assert_eq!(store.cancel_deliveries(&acme, &dead, &page(9), T0).await.unwrap().count, 0);
    let held = DeliveryFilter { states: vec![DeliveryState::Held], ..crm.clone() };
    assert_eq!(store.cancel_deliveries(&acme, &held, &page(9), T0).await.unwrap().count, 1);
    // Two at a time: what is in hand is found, and left alone.
    let (mut count, mut after) = (0, None);
    loop {
        let two = PageRequest { limit: 2, after };
        let changed = store.cancel_deliveries(&acme, &crm, &two, T0).await.unwrap();
        count += changed.count;
        after = changed.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(count, 2);
    let mut states = Vec::new();
    for d in &all {
        states.push(store.delivery(&acme, &d.id).await.unwrap().unwrap().state);
    }
    use DeliveryState::{Cancelled, Dead, Delivered, Pending};
    assert_eq!(states, [Pending, Cancelled, Cancelled, Cancelled, Delivered, Dead, Pending]);
    record(&store, attempt(&all[0], 1, Next::Delivered)).await.unwrap();
}

fn page(limit: u32) -> PageRequest {
    PageRequest { limit, after: None }
}

async fn futures<F: Future>(all: impl Iterator<Item = F>) -> Vec<F::Output> {
    // Begun in order on one task: they queue at the writer before the first is answered.
    let mut all: Vec<_> = all.map(Box::pin).collect();
    let mut done: Vec<Option<F::Output>> = all.iter().map(|_| None).collect();
    std::future::poll_fn(|cx| {
        let mut ready = true;
        for (future, slot) in all.iter_mut().zip(&mut done) {
            if slot.is_none() {
                match future.as_mut().poll(cx) {
                    std::task::Poll::Ready(value) => *slot = Some(value),
                    std::task::Poll::Pending => ready = false,
                }
            }
        }
        if ready { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
    done.into_iter().flatten().collect()
}

pub(super) async fn a_parked_routing_is_run_again(bed: &Bed) {
    let store = bed.furnished().await;
    let e = event("e1");
    accept(&store, vec![new(&e, true)]).await.unwrap();
    let of = |name: &str, state| {
        let mut r = routing(vec![]);
        (r.subscription, r.state) = (name.parse().unwrap(), state);
        r
    };
    let routings = vec![
        of("parked", RoutingState::Parked),
        of("held", RoutingState::Held),
        of("done", RoutingState::Routed),
    ];
    plan(&store, whole(&e, routings)).await.unwrap();
    let retry =
        async |name: &str| store.retry_routing(&e.carrier, &e.id, &name.parse().unwrap(), T0).await.unwrap();
    assert_eq!(retry("parked").await, Some(true));
    assert_eq!(retry("held").await, Some(true));
    assert_eq!(retry("done").await, Some(false));
    assert_eq!(retry("nobody").await, None);
    let other = "nothing".parse().unwrap();
    assert_eq!(store.retry_routing(&e.carrier, &other, &main_subscription(), T0).await.unwrap(), None);
    assert_eq!(store.claim_routings(T0, 9).await.unwrap().len(), 2);
    assert_eq!(retry("parked").await, Some(false), "it is under way");
}

pub(super) async fn retention_leaves_open_work(bed: &Bed) {
    let store = bed.furnished().await;
    let acme = "acme".parse().unwrap();
    // Finished, one for each way to be finished.
    let mut gone = Vec::new();
    for (n, next) in (0..).zip([Next::Delivered, Next::Dead, Next::Failed]) {
        let e = event_at(&format!("done{n}"), Millis(T0.0 + n));
        let d = planned(&store, &e, &["crm"], true).await.remove(0);
        record(&store, attempt(&d, 1, next)).await.unwrap();
        gone.push((e, d));
    }
    // Open, one for each way to be open.
    accept(&store, vec![new(&event("unrouted"), true)]).await.unwrap();
    planned(&store, &event("held-by-node"), &["crm"], true).await;
    planned(&store, &event("waiting"), &["crm"], false).await;
    let d = planned(&store, &event("held"), &["crm"], true).await.remove(0);
    record(&store, attempt(&d, 1, Next::Held)).await.unwrap();
    for (name, state) in [("later", RoutingState::Later), ("faulty", RoutingState::Held)] {
        let e = event(name);
        accept(&store, vec![new(&e, true)]).await.unwrap();
        let mut r = routing(vec![]);
        (r.state, r.due) = (state, Some(T0));
        plan(&store, whole(&e, vec![r])).await.unwrap();
    }
    let young = event_at("young", Millis(T0.0 + 500));
    let d = planned(&store, &young, &["crm"], true).await.remove(0);
    record(&store, attempt(&d, 1, Next::Delivered)).await.unwrap();

    let before = Millis(T0.0 + 500);
    assert_eq!(store.delete_before(before, before, 2).await.unwrap(), 2);
    assert_eq!(store.delete_before(before, before, 2).await.unwrap(), 1);
    assert_eq!(store.delete_before(before, before, 2).await.unwrap(), 0);
    for (e, d) in &gone {
        assert_eq!(store.event(&acme, &e.id).await.unwrap(), None);
        assert_eq!(store.delivery(&acme, &d.id).await.unwrap(), None);
        assert_eq!(store.attempts(&acme, &d.id).await.unwrap(), []);
        assert_eq!(store.routings(&acme, &e.id).await.unwrap(), []);
    }
    for id in ["unrouted", "held-by-node", "waiting", "held", "later", "faulty", "young"] {
        assert!(store.event(&acme, &id.parse().unwrap()).await.unwrap().is_some(), "{id}");
    }
    // What is gone may come again.
    assert_eq!(
        accept(&store, vec![new(&gone[0].0, true)]).await.unwrap(),
        [hookyard::store::work::Acceptance::First]
    );
}
