//! Claims, leases, take-over, wake-ups.

use std::time::Duration;

use hookyard::clock::Millis;
use hookyard::store::error::{HeldError, StoreError};
use hookyard::store::work::{Acceptance, DeliveryState, Lane, Next, Plan, RoutingState, VerdictKind};
use hookyard::store::{TakenOver, Wake};

use super::bed::*;

fn lane(destination: &str) -> Lane {
    Lane { carrier: "acme".parse().unwrap(), destination: destination.parse().unwrap() }
}

pub(super) async fn unheld_events_are_claimed_in_order_and_once(bed: &Bed) {
    let store = bed.furnished().await;
    let acme = "acme".parse().unwrap();
    let order = [3, 1, 2, 0];
    for n in order {
        let e = event_at(&format!("e{n}"), Millis(T0.0 + n));
        accept(&store, vec![new(&e, false)]).await.unwrap();
    }
    accept(&store, vec![new(&event("held"), true)]).await.unwrap();
    let other = of_carrier(&event("z"), "zeta");
    accept(&store, vec![new(&other, false)]).await.unwrap();
    let waiting = store.carriers_waiting().await.unwrap();
    assert_eq!(waiting.iter().map(|c| c.as_str()).collect::<Vec<_>>(), ["acme", "zeta"]);
    let first = store.claim_events(&acme, 3).await.unwrap();
    let ids: Vec<_> = first.iter().map(|h| h.event.id.to_string()).collect();
    assert_eq!(ids, ["e0", "e1", "e2"]);
    assert_eq!(first[1].event, event_at("e1", Millis(T0.0 + 1)));
    let rest = store.claim_events(&acme, 3).await.unwrap();
    assert_eq!(rest.len(), 1);
    assert_eq!(store.claim_events(&acme, 3).await.unwrap().len(), 0);
    assert_eq!(store.carriers_waiting().await.unwrap().len(), 1);
    plan(&store, whole(&first[0].event, vec![])).await.unwrap();
}

pub(super) async fn lanes_are_claimed_by_due_time(bed: &Bed) {
    let store = bed.furnished().await;
    for n in 0..6 {
        let e = event_at(&format!("e{n}"), Millis(T0.0 + 10 - n));
        planned(&store, &e, &["crm", "erp"], false).await;
    }
    planned(&store, &event("far"), &["held-by-birth"], true).await;
    let lanes = store.lanes_waiting().await.unwrap();
    assert_eq!(lanes, [(lane("crm"), Millis(T0.0 + 5)), (lane("erp"), Millis(T0.0 + 5))]);
    let now = Millis(T0.0 + 8);
    let claimed = store.claim_deliveries(&lane("crm"), now, 2).await.unwrap();
    assert_eq!(claimed.iter().map(|d| d.due.0 - T0.0).collect::<Vec<_>>(), [5, 6]);
    let claimed = store.claim_deliveries(&lane("crm"), now, 9).await.unwrap();
    assert_eq!(claimed.iter().map(|d| d.due.0 - T0.0).collect::<Vec<_>>(), [7, 8]);
    assert_eq!(store.lanes_waiting().await.unwrap()[0], (lane("crm"), Millis(T0.0 + 9)));
    assert_eq!(store.claim_deliveries(&lane("nobody"), now, 9).await.unwrap().len(), 0);
}

pub(super) async fn a_dead_nodes_work_is_taken_over(bed: &Bed) {
    let (unrouted, routed) = (event("unrouted"), event("routed"));
    let (u, r) = (unrouted.clone(), routed.clone());
    let d = bed
        .killed(move |store| async move {
            furnish(&store).await;
            accept(&store, vec![new(&u, true)]).await.unwrap();
            let d = planned(&store, &r, &["crm"], true).await.remove(0);
            let e = event("later");
            accept(&store, vec![new(&e, true)]).await.unwrap();
            let mut later = routing(vec![]);
            (later.state, later.due, later.verdict) = (RoutingState::Later, Some(T0), None);
            plan(&store, whole(&e, vec![later])).await.unwrap();
            assert_eq!(store.claim_routings(T0, 5).await.unwrap().len(), 1);
            d
        })
        .await;
    let store = bed.open().await;
    let acme = "acme".parse().unwrap();
    if matches!(bed, Bed::Postgres(_)) {
        // The lease still runs: only what is dead is taken over.
        assert_eq!(store.take_over(T0).await.unwrap(), TakenOver::default());
        assert_eq!(store.claim_events(&acme, 9).await.unwrap().len(), 0);
    }
    let taken = store.take_over(T0.plus(LEASE + Duration::from_millis(1))).await.unwrap();
    assert_eq!(taken, TakenOver { nodes: 1, events: 1, routings: 1, deliveries: 1, runs: 0 });
    assert_eq!(store.claim_events(&acme, 9).await.unwrap()[0].event, unrouted);
    let claimed = store.claim_deliveries(&lane("crm"), T0, 9).await.unwrap();
    assert_eq!((claimed.len(), &claimed[0].id), (1, &d.id));
    assert_eq!(store.claim_routings(T0, 5).await.unwrap().len(), 1);
    assert_eq!(store.take_over(T0).await.unwrap(), TakenOver::default());
}

pub(super) async fn a_closed_nodes_work_is_free(bed: &Bed) {
    let store = bed.furnished().await;
    accept(&store, vec![new(&event("e1"), true)]).await.unwrap();
    planned(&store, &event("e2"), &["crm"], true).await;
    store.close().await.unwrap();
    let store = bed.open().await;
    assert_eq!(store.take_over(T0).await.unwrap(), TakenOver::default());
    assert_eq!(store.claim_events(&"acme".parse().unwrap(), 9).await.unwrap().len(), 1);
    assert_eq!(store.claim_deliveries(&lane("crm"), T0, 9).await.unwrap().len(), 1);
}

pub(super) async fn a_node_without_its_row_is_lost(bed: &Bed) {
    let store = bed.furnished().await;
    store.renew(T0.plus(LEASE), LEASE).await.unwrap();
    let Bed::Postgres(_) = bed else {
        // The folder is locked: no second node can exist, let alone take over.
        let second = hookyard::store::Store::open(
            &bed.config(),
            true,
            hookyard::store::WriterLimits { queued_events: 1, backlog_events: 1 },
            uuid::Uuid::now_v7().into(),
            T0,
            LEASE,
        )
        .await;
        assert!(matches!(second, Err(StoreError::Locked { .. })), "{second:?}");
        return;
    };
    let e = event("e1");
    let d = planned(&store, &e, &["crm"], true).await.remove(0);
    let other = bed.open().await;
    let taken = other.take_over(T0.plus(LEASE * 3)).await.unwrap();
    assert_eq!((taken.nodes, taken.deliveries), (1, 1));
    assert!(matches!(store.renew(T0, LEASE).await, Err(StoreError::NodeLost)));
    let lost = record(&store, attempt(&d, 1, Next::Delivered)).await;
    assert!(matches!(lost, Err(HeldError::Lost | HeldError::Store(StoreError::NodeLost))), "{lost:?}");
    // What it would accept now nobody would ever take over.
    let refused = accept(&store, vec![new(&event("e2"), true)]).await;
    assert!(refused.is_err(), "{refused:?}");
    assert_eq!(store.event(&e.carrier, &"e2".parse().unwrap()).await.unwrap(), None);
    assert_eq!(other.claim_deliveries(&lane("crm"), T0, 9).await.unwrap().len(), 1);
}

pub(super) async fn routings_run_again(bed: &Bed) {
    let store = bed.furnished().await;
    let e = event("e1");
    accept(&store, vec![new(&e, true)]).await.unwrap();
    let mut later = routing(vec![]);
    let due = T0.plus(Duration::from_secs(1));
    (later.state, later.due, later.verdict) = (RoutingState::Later, Some(due), None);
    let mut held = later.clone();
    held.subscription = "other".parse().unwrap();
    (held.state, held.due) = (RoutingState::Held, None);
    plan(&store, whole(&e, vec![later, held])).await.unwrap();
    assert_eq!(store.next_routing_due().await.unwrap(), Some(due));
    assert_eq!(store.claim_routings(T0, 9).await.unwrap().len(), 0);
    let claimed = store.claim_routings(due, 9).await.unwrap();
    assert_eq!((claimed.len(), claimed[0].tries), (1, 1));
    assert_eq!((&claimed[0].event, &claimed[0].subscription), (&e, &main_subscription()));
    assert_eq!(store.next_routing_due().await.unwrap(), None);

    let d = delivery(&e, 0, "crm", true);
    let mut again = routing(vec![d.clone()]);
    again.tries = 2;
    let p = Plan { event: e.clone(), routings: vec![again], collected: Vec::new(), whole_event: false };
    plan(&store, p.clone()).await.unwrap();
    assert!(matches!(plan(&store, p).await, Err(HeldError::Lost)));
    let routings = store.routings(&e.carrier, &e.id).await.unwrap();
    assert_eq!((routings[0].state, routings[0].tries), (RoutingState::Routed, 2));
    assert_eq!(routings[0].verdict, Some(VerdictKind::Forward));
    assert_eq!(routings[0].due, None);
    record(&store, attempt(&d, 1, Next::Delivered)).await.unwrap();

    assert_eq!(routings[1].state, RoutingState::Held);
    let other = "other".parse().unwrap();
    assert_eq!(store.release_routings(&e.carrier, &other, due).await.unwrap(), 1);
    assert_eq!(store.release_routings(&e.carrier, &other, due).await.unwrap(), 0);
    assert_eq!(store.claim_routings(due, 9).await.unwrap().len(), 1);
}

pub(super) async fn a_delivery_that_stands_already_stays(bed: &Bed) {
    let store = bed.furnished().await;
    let due = T0.plus(Duration::from_secs(1));
    let mut again = Vec::new();
    for n in 0..8 {
        let e = event(&format!("e{n}"));
        accept(&store, vec![new(&e, true)]).await.unwrap();
        let d = delivery(&e, 0, "crm", true);
        let mut later = routing(vec![d.clone()]);
        (later.state, later.due) = (RoutingState::Later, Some(due));
        plan(&store, whole(&e, vec![later])).await.unwrap();
        record(&store, attempt(&d, 1, Next::Delivered)).await.unwrap();
        again.push((e, d));
    }
    assert_eq!(store.claim_routings(due, 9).await.unwrap().len(), 8);
    // Some of them, and a new event, in one turn.
    let fresh = event("fresh");
    let accepted = begin_accept(&store, vec![new(&fresh, true)]);
    let told: Vec<_> = again
        .iter()
        .map(|(e, d)| {
            let routings = vec![routing(vec![d.clone()])];
            begin_plan(&store, Plan { event: e.clone(), routings, collected: Vec::new(), whole_event: false })
        })
        .collect();
    assert_eq!(accepted.await.unwrap().unwrap(), [Acceptance::First]);
    for told in told {
        told.await.unwrap().unwrap();
    }
    for (e, d) in &again {
        assert_eq!(store.routings(&e.carrier, &e.id).await.unwrap()[0].state, RoutingState::Routed);
        let kept = store.delivery(&e.carrier, &d.id).await.unwrap().unwrap();
        assert_eq!((kept.state, kept.attempts), (DeliveryState::Delivered, 1));
    }
}

pub(super) async fn wakes_follow_the_commit(bed: &Bed) {
    let store = bed.furnished().await;
    let mut wakes = store.wakes();
    accept(&store, vec![new(&event("e1"), true)]).await.unwrap();
    assert!(wakes.try_recv().is_err(), "held from birth: nobody need wake");
    accept(&store, vec![new(&event("e2"), false)]).await.unwrap();
    assert_eq!(wakes.recv().await.unwrap(), Wake::Work);
    store.put_destination(destination("crm")).await.unwrap();
    assert_eq!(wakes.recv().await.unwrap(), Wake::Config(Some("acme".parse().unwrap())));
    if matches!(bed, Bed::Postgres(_)) {
        let other = bed.open().await;
        let mut heard = other.wakes();
        store.put_destination(destination("erp")).await.unwrap();
        accept(&store, vec![new(&event("e3"), false)]).await.unwrap();
        assert_eq!(heard.recv().await.unwrap(), Wake::Config(Some("acme".parse().unwrap())));
        assert_eq!(heard.recv().await.unwrap(), Wake::Work);
        // A carrier that one node makes is known to the other at its first event.
        let carrier =
            hookyard::carrier::Carrier { id: "fresh".parse().unwrap(), name: String::new(), created_ms: T0 };
        other.create_carrier(carrier).await.unwrap();
        accept(&store, vec![new(&of_carrier(&event("e1"), "fresh"), true)]).await.unwrap();
    }
    let e = event("dead");
    let d = planned(&store, &e, &["crm"], true).await.remove(0);
    record(&store, attempt(&d, 1, Next::Dead)).await.unwrap();
    let mut wakes = store.wakes();
    assert_eq!(store.retry_delivery(&e.carrier, &d.id, T0).await.unwrap(), Some(true));
    assert_eq!(wakes.recv().await.unwrap(), Wake::Work);
    assert_eq!(store.delivery(&e.carrier, &d.id).await.unwrap().unwrap().state, DeliveryState::Pending);
}

/// A server that ends every session costs the turns that are under way, nothing more.
#[tokio::test]
async fn a_lost_connection_is_made_again() {
    let bed = Bed::make(Kind::Postgres).await;
    let store = bed.furnished().await;
    let Bed::Postgres(database) = &bed else { panic!("made as asked") };
    let mut wakes = store.wakes();
    database.cut_connections().await;
    // The writer learns of it when it next writes; that turn fails, and what it may have left is released.
    let e = event("e1");
    let mut tries = 0;
    while accept(&store, vec![new(&e, true)]).await.is_err() {
        tries += 1;
        assert!(tries < 5, "it does not come back");
    }
    assert_eq!(tries, 1);
    plan(&store, whole(&e, vec![])).await.unwrap();
    assert!(store.event(&e.carrier, &e.id).await.unwrap().unwrap().routed);
    // What other nodes said meanwhile was not heard: everything must be looked at.
    assert_eq!(wakes.recv().await.unwrap(), Wake::Config(None));
    assert_eq!(wakes.recv().await.unwrap(), Wake::Keys);
    assert_eq!(wakes.recv().await.unwrap(), Wake::Work);
    store.close().await.unwrap();
    bed.end().await;
}
