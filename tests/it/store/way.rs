//! Accept, plan, record.

use std::time::Duration;

use bytes::Bytes;
use hookyard::carrier::DestinationState;
use hookyard::clock::Millis;
use hookyard::event::Event;
use hookyard::store::WriterLimits;
use hookyard::store::error::{AcceptError, HeldError, StoreError};
use hookyard::store::work::{
    Acceptance, Body, DeliveryState, DestinationEffect, Message, Next, RoutingState, UsedVersion,
};

use super::bed::*;

pub(super) async fn an_event_goes_all_the_way(bed: &Bed) {
    let store = bed.furnished().await;
    let e = event("e1");
    assert_eq!(accept(&store, vec![new(&e, true)]).await.unwrap(), [Acceptance::First]);
    let kept = store.event(&e.carrier, &e.id).await.unwrap().unwrap();
    assert!(!kept.routed);
    assert_eq!((kept.payload, kept.received), (e.payload.clone(), T0));
    assert_eq!(kept.attributes, e.attributes.to_vec());

    let d = delivery(&e, 0, "crm", true);
    let mut r = routing(vec![d.clone()]);
    r.versions = vec![UsedVersion { plugin: "shared/redact".parse().unwrap(), version: 3 }];
    r.log = Some("[]".to_owned());
    plan(&store, whole(&e, vec![r.clone()])).await.unwrap();
    assert!(store.event(&e.carrier, &e.id).await.unwrap().unwrap().routed);
    let routings = store.routings(&e.carrier, &e.id).await.unwrap();
    assert_eq!(routings.len(), 1);
    assert_eq!((&routings[0].versions, &routings[0].log, routings[0].cost_us), (&r.versions, &r.log, 20));
    assert_eq!(routings[0].state, RoutingState::Routed);
    let kept = store.delivery(&e.carrier, &d.id).await.unwrap().unwrap();
    assert_eq!(
        (kept.state, kept.attempts, kept.destination),
        (DeliveryState::Pending, 0, d.destination.clone())
    );

    record(&store, attempt(&d, 1, Next::Delivered)).await.unwrap();
    let kept = store.delivery(&e.carrier, &d.id).await.unwrap().unwrap();
    assert_eq!((kept.state, kept.attempts, kept.last_status), (DeliveryState::Delivered, 1, Some(200)));
    assert_eq!(kept.updated, Millis(T0.0 + 8));
    let attempts = store.attempts(&e.carrier, &d.id).await.unwrap();
    assert_eq!(attempts.len(), 1);
    assert_eq!(attempts[0].response_body.as_deref(), Some(&b"ok"[..]));
    assert_eq!(attempts[0].outcome, "delivered");
    // Nothing is left to do.
    assert_eq!(store.carriers_waiting().await.unwrap(), []);
    assert_eq!(store.lanes_waiting().await.unwrap(), []);
    store.close().await.unwrap();
}

pub(super) async fn a_repeat_gets_the_first_acceptance(bed: &Bed) {
    let store = bed.furnished().await;
    let first = event("e1");
    let later = event_at("e1", Millis(T0.0 + 900));
    accept(&store, vec![new(&first, true)]).await.unwrap();
    let again = accept(&store, vec![new(&later, true), new(&event("e2"), true)]).await.unwrap();
    assert_eq!(again, [Acceptance::Repeat { received: T0 }, Acceptance::First]);
    assert_eq!(store.event(&first.carrier, &first.id).await.unwrap().unwrap().received, T0);
    // The same id with another carrier is another event.
    let other = of_carrier(&first, "zeta");
    assert_eq!(accept(&store, vec![new(&other, true)]).await.unwrap(), [Acceptance::First]);
    // Twice in one request, and twice in one turn.
    let e3 = event("e3");
    let twice = accept(&store, vec![new(&e3, true), new(&e3, true)]).await.unwrap();
    assert_eq!(twice, [Acceptance::First, Acceptance::Repeat { received: T0 }]);
    let e4 = event("e4");
    let (a, b) = (begin_accept(&store, vec![new(&e4, true)]), begin_accept(&store, vec![new(&e4, true)]));
    assert_eq!(a.await.unwrap().unwrap(), [Acceptance::First]);
    assert_eq!(b.await.unwrap().unwrap(), [Acceptance::Repeat { received: T0 }]);
}

fn other_body(e: &Event) -> std::sync::Arc<Event> {
    std::sync::Arc::new(Event { payload: Bytes::from_static(b"{}"), ..e.clone() })
}

pub(super) async fn another_body_is_a_conflict_and_refuses_the_whole_group(bed: &Bed) {
    let store = bed.furnished().await;
    let e = event("e1");
    accept(&store, vec![new(&e, true)]).await.unwrap();
    let refused = accept(&store, vec![new(&event("e2"), true), new(&other_body(&e), true)]).await;
    assert!(matches!(refused, Err(AcceptError::Conflict { index: 1 })), "{refused:?}");
    assert_eq!(store.event(&e.carrier, &"e2".parse().unwrap()).await.unwrap(), None);
    // Within one request too.
    let e3 = event("e3");
    let refused = accept(&store, vec![new(&e3, true), new(&other_body(&e3), true)]).await;
    assert!(matches!(refused, Err(AcceptError::Conflict { index: 1 })), "{refused:?}");
    assert_eq!(store.event(&e.carrier, &e3.id).await.unwrap(), None);
}

pub(super) async fn an_unknown_carrier_refuses_the_whole_group(bed: &Bed) {
    let store = bed.furnished().await;
    let stranger = of_carrier(&event("e2"), "nobody");
    let refused = accept(&store, vec![new(&event("e1"), true), new(&stranger, true)]).await;
    assert!(matches!(refused, Err(AcceptError::UnknownCarrier { index: 1 })), "{refused:?}");
    assert_eq!(store.event(&"acme".parse().unwrap(), &"e1".parse().unwrap()).await.unwrap(), None);
}

pub(super) async fn one_group_that_is_refused_does_not_hurt_its_turn(bed: &Bed) {
    let store = bed.furnished().await;
    let known = event("known");
    accept(&store, vec![new(&known, true)]).await.unwrap();
    let answers: Vec<_> = (0..50)
        .map(|n| match n {
            10 => begin_accept(&store, vec![new(&other_body(&known), true)]),
            20 => begin_accept(&store, vec![new(&known, true)]),
            n => begin_accept(&store, vec![new(&event(&format!("e{n}")), true)]),
        })
        .collect();
    for (n, answer) in answers.into_iter().enumerate() {
        let answer = answer.await.unwrap();
        match n {
            10 => assert!(matches!(answer, Err(AcceptError::Conflict { index: 0 })), "{answer:?}"),
            20 => assert_eq!(answer.unwrap(), [Acceptance::Repeat { received: T0 }]),
            _ => assert_eq!(answer.unwrap(), [Acceptance::First]),
        }
    }
}

pub(super) async fn a_full_backlog_is_refused_until_it_is_claimed(bed: &Bed) {
    let store = bed.open_with(WriterLimits { queued_events: 100, backlog_events: 3 }).await;
    furnish(&store).await;
    let acme = "acme".parse().unwrap();
    let many: Vec<_> = (0..3).map(|n| new(&event(&format!("e{n}")), false)).collect();
    accept(&store, many).await.unwrap();
    let refused = accept(&store, vec![new(&event("e3"), false)]).await;
    assert!(matches!(refused, Err(AcceptError::Backlog { .. })), "{refused:?}");
    // What is held from birth is no backlog, and another carrier has its own.
    accept(&store, vec![new(&event("e4"), true)]).await.unwrap();
    accept(&store, vec![new(&of_carrier(&event("e3"), "zeta"), false)]).await.unwrap();
    assert_eq!(store.claim_events(&acme, 2).await.unwrap().len(), 2);
    accept(&store, vec![new(&event("e3"), false)]).await.unwrap();
}

pub(super) async fn a_full_queue_is_busy(bed: &Bed) {
    let store = bed.open_with(WriterLimits { queued_events: 2, backlog_events: 10 }).await;
    furnish(&store).await;
    // The writer is kept in its answer to another event while the queue fills.
    let (busy, is_busy) = tokio::sync::oneshot::channel();
    let (release, released) = std::sync::mpsc::channel::<()>();
    let keep = move |_| {
        busy.send(()).unwrap();
        released.recv().unwrap();
    };
    store.accept(vec![new(&event("e0"), true)], Box::new(keep)).unwrap();
    is_busy.await.unwrap();
    let first = begin_accept(&store, vec![new(&event("e1"), true), new(&event("e2"), true)]);
    let refused = store.accept(vec![new(&event("e3"), true)], Box::new(|_| panic!("it was refused")));
    assert!(matches!(refused, Err(AcceptError::Busy { .. })), "{refused:?}");
    release.send(()).unwrap();
    first.await.unwrap().unwrap();
    accept(&store, vec![new(&event("e3"), true)]).await.unwrap();
}

pub(super) async fn a_plan_that_is_not_held_is_lost(bed: &Bed) {
    let store = bed.furnished().await;
    let (held, unheld) = (event("e1"), event("e2"));
    accept(&store, vec![new(&held, true), new(&unheld, false)]).await.unwrap();
    let d = delivery(&unheld, 0, "crm", true);
    let good = begin_plan(&store, whole(&held, vec![routing(vec![])]));
    let lost = begin_plan(&store, whole(&unheld, vec![routing(vec![d.clone()])]));
    good.await.unwrap().unwrap();
    assert!(matches!(lost.await.unwrap(), Err(HeldError::Lost)));
    assert_eq!(store.delivery(&unheld.carrier, &d.id).await.unwrap(), None);
    assert!(!store.event(&unheld.carrier, &unheld.id).await.unwrap().unwrap().routed);
}

pub(super) async fn planning_twice_changes_nothing(bed: &Bed) {
    let store = bed.furnished().await;
    let e = event("e1");
    accept(&store, vec![new(&e, true)]).await.unwrap();
    let d = delivery(&e, 0, "crm", true);
    let p = whole(&e, vec![routing(vec![d.clone()])]);
    // Both in one turn, and once more after it.
    let (first, second) = (begin_plan(&store, p.clone()), begin_plan(&store, p.clone()));
    first.await.unwrap().unwrap();
    assert!(matches!(second.await.unwrap(), Err(HeldError::Lost)));
    assert!(matches!(plan(&store, p).await, Err(HeldError::Lost)));
    assert_eq!(store.routings(&e.carrier, &e.id).await.unwrap().len(), 1);
    record(&store, attempt(&d, 1, Next::Delivered)).await.unwrap();
}

pub(super) async fn a_record_that_is_not_held_is_lost_alone(bed: &Bed) {
    let store = bed.furnished().await;
    let e = event("e1");
    let names: Vec<String> = (0..20).map(|n| format!("d{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let all = planned(&store, &e, &names, true).await;
    record(&store, attempt(&all[3], 1, Next::Delivered)).await.unwrap();
    let answers: Vec<_> = all.iter().map(|d| begin_record(&store, attempt(d, 1, Next::Delivered))).collect();
    let twice = begin_record(&store, attempt(&all[5], 2, Next::Dead));
    for (n, answer) in answers.into_iter().enumerate() {
        let answer = answer.await.unwrap();
        if n == 3 {
            assert!(matches!(answer, Err(HeldError::Lost)), "{answer:?}");
        } else {
            answer.unwrap();
        }
    }
    assert!(matches!(twice.await.unwrap(), Err(HeldError::Lost)));
    assert_eq!(store.attempts(&e.carrier, &all[3].id).await.unwrap().len(), 1);
    assert_eq!(store.attempts(&e.carrier, &all[5].id).await.unwrap().len(), 1);
}

pub(super) async fn an_attempt_says_what_follows(bed: &Bed) {
    let store = bed.furnished().await;
    let e = event("e1");
    let all = planned(&store, &e, &["a", "b", "c", "d"], true).await;
    let due = T0.plus(Duration::from_secs(5));
    let nexts = [Next::RetryAt(due), Next::Held, Next::Dead, Next::Failed];
    let states = [DeliveryState::Pending, DeliveryState::Held, DeliveryState::Dead, DeliveryState::Failed];
    for ((d, next), state) in all.iter().zip(nexts).zip(states) {
        record(&store, attempt(d, 1, next)).await.unwrap();
        let kept = store.delivery(&e.carrier, &d.id).await.unwrap().unwrap();
        assert_eq!((kept.state, kept.attempts, kept.last_status), (state, 1, Some(500)));
        assert_eq!(kept.last_error.as_deref(), Some("500 Internal Server Error"));
    }
    let lanes = store.lanes_waiting().await.unwrap();
    assert_eq!(lanes.len(), 1);
    assert_eq!((lanes[0].0.destination.as_str(), lanes[0].1), ("a", due));
    assert_eq!(store.claim_deliveries(&lanes[0].0, T0, 9).await.unwrap().len(), 0);
    let claimed = store.claim_deliveries(&lanes[0].0, due, 9).await.unwrap();
    assert_eq!((claimed.len(), claimed[0].attempts, claimed[0].due), (1, 1, due));
    record(&store, attempt(&all[0], 2, Next::Delivered)).await.unwrap();
    assert_eq!(store.attempts(&e.carrier, &all[0].id).await.unwrap().len(), 2);
}

pub(super) async fn an_attempt_changes_its_destination(bed: &Bed) {
    let store = bed.furnished().await;
    store.put_destination(destination("crm")).await.unwrap();
    let e = event("e1");
    let all = planned(&store, &e, &["crm", "crm", "crm"], true).await;
    let effects = [
        DestinationEffect::FailingSince(Millis(7)),
        DestinationEffect::FailingSince(Millis(9)),
        DestinationEffect::Recovered,
    ];
    let mut seen = Vec::new();
    for (d, effect) in all.iter().zip(effects) {
        let mut a = attempt(d, 1, Next::Dead);
        a.destination = Some(("crm".parse().unwrap(), effect));
        record(&store, a).await.unwrap();
        let d = store.destinations(&e.carrier).await.unwrap().remove(0);
        seen.push((d.failing_since, d.state, d.disabled_reason));
    }
    let on = DestinationState::Enabled;
    assert_eq!(seen[0], (Some(Millis(7)), on, None));
    assert_eq!(seen[1], (Some(Millis(7)), on, None), "the first failure counts");
    assert_eq!(seen[2], (None, on, None));
}

pub(super) async fn bodies_and_messages_come_back_as_they_were(bed: &Bed) {
    let store = bed.furnished().await;
    let e = event("e1");
    accept(&store, vec![new(&e, true)]).await.unwrap();
    let mut bytes = delivery(&e, 0, "crm", false);
    bytes.body = Body::Bytes(Bytes::from_static(&[0, 255, 1]));
    bytes.message = Message::Http {
        method: None,
        path: Some("x".to_owned()),
        headers: vec![("a".to_owned(), "b".to_owned())],
        content_type: Some("text/plain".to_owned()),
    };
    bytes.order_key = Some("key".to_owned());
    let mut fetch = delivery(&e, 1, "crm", false);
    fetch.body = Body::Fetch("https://example.com/file".to_owned());
    let mut dead = delivery(&e, 2, "crm", true);
    dead.message = Message::Sftp { path: "in/x".to_owned() };
    (dead.state, dead.error) = (DeliveryState::Dead, Some("not available".to_owned()));
    let all = vec![bytes.clone(), fetch.clone(), dead.clone()];
    plan(&store, whole(&e, vec![routing(all.clone())])).await.unwrap();
    for (place, d) in (0..).zip(&all) {
        let kept = store.delivery(&e.carrier, &d.id).await.unwrap().unwrap();
        let content = store.content(&e.carrier, &d.id).await.unwrap();
        assert_eq!((&content.message, &content.body, kept.index), (&d.message, &d.body, place));
        assert_eq!((kept.order_key.clone(), kept.last_error.clone()), (d.order_key.clone(), d.error.clone()));
    }
    let lane = store.lanes_waiting().await.unwrap().remove(0).0;
    let claimed = store.claim_deliveries(&lane, T0, 10).await.unwrap();
    let mut bodies: Vec<_> =
        claimed.iter().map(|d| (d.id.clone(), d.message.clone(), d.body.clone())).collect();
    let mut wanted: Vec<_> = [bytes, fetch].map(|d| (d.id, d.message, d.body)).into();
    bodies.sort_by(|a, b| a.0.cmp(&b.0));
    wanted.sort_by(|a, b| a.0.cmp(&b.0));
    assert_eq!(bodies, wanted, "the dead one is not claimed");
    assert_eq!(claimed[0].event, e);
}

pub(super) async fn nul_in_texts_for_people_is_replaced(bed: &Bed) {
    let store = bed.furnished().await;
    let e = event("e1");
    accept(&store, vec![new(&e, true)]).await.unwrap();
    let d = delivery(&e, 0, "crm", true);
    let mut r = routing(vec![d.clone()]);
    r.reason = Some("a\0b".to_owned());
    plan(&store, whole(&e, vec![r])).await.unwrap();
    let mut a = attempt(&d, 1, Next::Dead);
    a.error = Some("\0".to_owned());
    record(&store, a).await.unwrap();
    let routings = store.routings(&e.carrier, &e.id).await.unwrap();
    assert_eq!(routings[0].reason.as_deref(), Some("a\u{fffd}b"));
    assert_eq!(store.attempts(&e.carrier, &d.id).await.unwrap()[0].error.as_deref(), Some("\u{fffd}"));
}

pub(super) async fn many_events_in_one_turn(bed: &Bed) {
    let store = bed.furnished().await;
    let events: Vec<_> = (0..333).map(|n| event_at(&format!("e{n}"), Millis(T0.0 + n))).collect();
    let told: Vec<_> = events.iter().map(|e| begin_accept(&store, vec![new(e, true)])).collect();
    for t in told {
        assert_eq!(t.await.unwrap().unwrap(), [Acceptance::First]);
    }
    let deliveries: Vec<_> = events.iter().map(|e| delivery(e, 0, "crm", true)).collect();
    let told: Vec<_> = events
        .iter()
        .zip(&deliveries)
        .map(|(e, d)| begin_plan(&store, whole(e, vec![routing(vec![d.clone()])])))
        .collect();
    for t in told {
        t.await.unwrap().unwrap();
    }
    let told: Vec<_> =
        deliveries.iter().map(|d| begin_record(&store, attempt(d, 1, Next::Delivered))).collect();
    for t in told {
        t.await.unwrap().unwrap();
    }
    for (e, d) in events.iter().zip(&deliveries) {
        assert!(store.event(&e.carrier, &e.id).await.unwrap().unwrap().routed);
        assert_eq!(store.delivery(&e.carrier, &d.id).await.unwrap().unwrap().state, DeliveryState::Delivered);
    }
}

pub(super) async fn a_closed_store_says_so(bed: &Bed) {
    let store = bed.furnished().await;
    let left = store.clone();
    store.close().await.unwrap();
    let refused = left.accept(vec![new(&event("e1"), true)], Box::new(|_| {}));
    assert!(matches!(refused, Err(AcceptError::Store(StoreError::Closed))), "{refused:?}");
    let e = event("e1");
    let lost = plan(&left, whole(&e, vec![])).await;
    assert!(matches!(lost, Err(HeldError::Store(StoreError::Closed))), "{lost:?}");
    assert!(matches!(left.renew(T0, LEASE).await, Err(StoreError::Closed)));
    assert!(matches!(left.close().await, Err(StoreError::Closed)));
}

pub(super) async fn a_bad_row_fails_alone(bed: &Bed) {
    let store = bed.furnished().await;
    let e = event("e1");
    let names = ["crm"; 9];
    let all = planned(&store, &e, &names, true).await;
    record(&store, attempt(&all[4], 1, Next::RetryAt(T0))).await.unwrap();
    let lane = store.lanes_waiting().await.unwrap().remove(0).0;
    assert_eq!(store.claim_deliveries(&lane, T0, 9).await.unwrap().len(), 1);
    // Attempt 1 of that delivery is in the table already.
    let answers: Vec<_> = all.iter().map(|d| begin_record(&store, attempt(d, 1, Next::Delivered))).collect();
    let accepted = begin_accept(&store, vec![new(&event("e2"), true)]);
    for (n, answer) in answers.into_iter().enumerate() {
        let answer = answer.await.unwrap();
        if n == 4 {
            let refused =
                matches!(answer, Err(HeldError::Store(StoreError::Database(_) | StoreError::Sqlite(_))));
            assert!(refused, "{answer:?}");
        } else {
            answer.unwrap();
        }
    }
    accepted.await.unwrap().unwrap();
    // It is still held, and may be tried again as it should have been.
    record(&store, attempt(&all[4], 2, Next::Delivered)).await.unwrap();
}
