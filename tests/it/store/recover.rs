//! Recovering what failed, in pages and in bulk, while new failures arrive and others are mended by hand.

use std::collections::HashMap;
use std::time::Duration;

use hookyard::clock::Millis;
use hookyard::event::DeliveryId;
use hookyard::store::Store;
use hookyard::store::page::{DeliveryFilter, PageRequest};
use hookyard::store::work::{DeliveryState, Lane, NewDelivery, Next};

use super::bed::*;

const FAILED: i64 = 5_000;

/// Numbers that look random and are the same in every run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }
}

/// Plans a delivery for each of these moments, all in hand.
async fn plan_many(store: &Store, name: &str, moments: impl Iterator<Item = i64>) -> Vec<NewDelivery> {
    let mut all = Vec::new();
    let mut told = Vec::new();
    for (n, at) in moments.enumerate() {
        let e = event_at(&format!("{name}-{n}"), Millis(at));
        let accepted = begin_accept(store, vec![new(&e, true)]);
        let d = delivery(&e, 0, "crm", true);
        told.push((accepted, begin_plan(store, whole(&e, vec![routing(vec![d.clone()])]))));
        all.push(d);
    }
    for (accepted, planned) in told {
        accepted.await.unwrap().unwrap();
        planned.await.unwrap().unwrap();
    }
    all
}

async fn record_all(store: &Store, attempts: impl Iterator<Item = (NewDelivery, u32, Next)>) {
    let told: Vec<_> = attempts.map(|(d, n, next)| begin_record(store, attempt(&d, n, next))).collect();
    for one in told {
        one.await.unwrap().unwrap();
    }
}

/// Claims everything that is due and records it as delivered; notes how often each was claimed, and after how many attempts.
async fn deliver_all(store: &Store, lane: &Lane, times: &mut HashMap<DeliveryId, u32>) {
    let claimed = store.claim_deliveries(lane, T0, 10_000).await.unwrap();
    let told: Vec<_> = claimed
        .into_iter()
        .map(|held| {
            *times.entry(held.id.clone()).or_default() += 1;
            let d = NewDelivery { id: held.id, ..delivery(&held.event, 0, "crm", true) };
            begin_record(store, attempt(&d, held.attempts + 1, Next::Delivered))
        })
        .collect();
    for one in told {
        one.await.unwrap().unwrap();
    }
}

pub(super) async fn five_thousand_failures_are_recovered_exactly_once(bed: &Bed) {
    let store = bed.furnished().await;
    let acme = "acme".parse().unwrap();
    let lane = Lane { carrier: "acme".parse().unwrap(), destination: "crm".parse().unwrap() };
    let mut dice = Dice(20_26);

    // Each has failed once, twice or three times; several share a millisecond.
    let failed = plan_many(&store, "old", (0..FAILED).map(|n| T0.0 + n / 3)).await;
    let due = Next::RetryAt(T0);
    let tries: HashMap<DeliveryId, u32> =
        failed.iter().map(|d| (d.id.clone(), 1 + u32::try_from(dice.below(3)).unwrap())).collect();
    let next = |d: &NewDelivery, number| if tries[&d.id] == number { Next::Dead } else { due };
    record_all(&store, failed.iter().map(|d| (d.clone(), 1, next(d, 1)))).await;
    for number in 2..=3 {
        let claimed = store.claim_deliveries(&lane, T0, 10_000).await.unwrap();
        let again = claimed.into_iter().map(|held| {
            let d = NewDelivery { id: held.id, ..delivery(&held.event, 0, "crm", true) };
            let next = next(&d, number);
            (d, number, next)
        });
        record_all(&store, again).await;
    }

    // Half of the time is recovered page by page, newest first, the other half in bulk, oldest first.
    let middle = Millis(T0.0 + FAILED / 6);
    let end = Millis(T0.0 + FAILED);
    let dead = DeliveryFilter { states: vec![DeliveryState::Dead], ..DeliveryFilter::default() };
    let young = DeliveryFilter { from: Some(middle), until: Some(end), ..dead.clone() };
    let old = DeliveryFilter { until: Some(middle), ..DeliveryFilter::default() };
    let mut times: HashMap<DeliveryId, u32> = HashMap::new();
    let (mut after_page, mut after_bulk) = (None, None);
    let (mut pages_end, mut bulk_end) = (false, false);
    let (mut listed, mut in_bulk, mut by_hand, mut arrived) = (0, 0, 0, 0);
    let mut round = 0;
    while !(pages_end && bulk_end) {
        round += 1;
        // New ones arrive: behind everything, and (of events that were routed late) in the midst of it, delivered at once.
        let late = (0..4).map(|n| end.0 + round * 4 + n);
        let fresh = plan_many(&store, &format!("new-{round}"), late).await;
        arrived += fresh.len();
        record_all(&store, fresh.into_iter().map(|d| (d, 1, Next::Dead))).await;
        let within = (0..4).map(|_| T0.0 + i64::try_from(dice.below(FAILED as u64 / 3)).unwrap());
        let within: Vec<i64> = within.collect();
        let well = plan_many(&store, &format!("well-{round}"), within.into_iter()).await;
        record_all(&store, well.into_iter().map(|d| (d, 1, Next::Delivered))).await;
        // Some are mended by hand, before or after the others come to them.
        for _ in 0..5 {
            let one = &failed[usize::try_from(dice.below(FAILED as u64)).unwrap()];
            // One that is recovered already, and waits to be sent, may be asked for again.
            let dead = store.delivery(&acme, &one.id).await.unwrap().unwrap().state == DeliveryState::Dead;
            let again = store.retry_delivery(&acme, &one.id, T0).await.unwrap();
            assert!(!dead || again == Some(true));
            by_hand += u64::from(dead);
        }
        if dice.below(2) == 0 {
            deliver_all(&store, &lane, &mut times).await;
        }
        if !pages_end {
            let limit = 1 + u32::try_from(dice.below(300)).unwrap();
            let page = PageRequest { limit, after: after_page.take() };
            let page = store.deliveries(&acme, &young, &page).await.unwrap();
            for one in page.items {
                if store.retry_delivery(&acme, &one.id, T0).await.unwrap() == Some(true) {
                    listed += 1;
                }
            }
            (pages_end, after_page) = (page.next.is_none(), page.next);
        }
        if !bulk_end {
            let limit = 1 + u32::try_from(dice.below(300)).unwrap();
            let page = PageRequest { limit, after: after_bulk.take() };
            let changed = store.retry_deliveries(&acme, &old, &page, T0).await.unwrap();
            in_bulk += changed.count;
            (bulk_end, after_bulk) = (changed.next.is_none(), changed.next);
        }
    }
    deliver_all(&store, &lane, &mut times).await;

    assert_eq!(
        listed + in_bulk + by_hand,
        FAILED as u64,
        "{listed} listed, {in_bulk} in bulk, {by_hand} by hand"
    );
    assert!(listed > 1_000 && in_bulk > 1_000 && by_hand > 0 && round > 5, "in {round} rounds");
    assert!(times.values().all(|n| *n == 1), "one was sent twice");
    for d in &failed {
        assert_eq!(times.get(&d.id), Some(&1));
        let kept = store.delivery(&acme, &d.id).await.unwrap().unwrap();
        assert_eq!((kept.state, kept.attempts), (DeliveryState::Delivered, tries[&d.id] + 1));
    }
    // What arrived meanwhile is as it was, and is found by itself.
    let since = DeliveryFilter { from: Some(end), ..dead };
    let (mut left, mut after) = (0, None);
    loop {
        let page = store.deliveries(&acme, &since, &PageRequest { limit: 7, after }).await.unwrap();
        left += page.items.len();
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(left, arrived);
    // Nothing is left to be sent, now or later.
    let later = T0.plus(Duration::from_secs(3_600));
    assert!(store.claim_deliveries(&lane, later, 1).await.unwrap().is_empty());
}
