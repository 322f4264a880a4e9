//! The steps of a walk: each does the same to the store and to the model, and compares the two answers.

use std::fmt::Debug;

use hookyard::carrier::DestinationState;
use hookyard::clock::Millis;
use hookyard::event::CarrierId;
use hookyard::store::Store;
use hookyard::store::page::{DeliveryFilter, PageRequest};
use hookyard::store::work::{Acceptance, DeliveryState, EventKey, Lane, Next};

use super::super::bed::{self, Kind, LEASE, begin_accept, begin_plan, begin_record};
use super::state::{CARRIERS, DeliveryKey, Node, RoutingKey, Sent, key};
use super::walk::Walk;

impl Walk {
    /// Several groups at once, as the writer gathers them into a turn.
    pub(super) async fn accept(&mut self, me: Node, store: &Store) {
        let mut begun = Vec::new();
        for _ in 0..=self.below(3) {
            let group = self.new_group();
            let answer = begin_accept(store, group.clone());
            begun.push((group, answer));
        }
        for (group, answer) in begun {
            let answer = answer.await.unwrap();
            let faults = self.model.faults(&group);
            if !faults.is_empty() {
                self.tell(me, "refuse", &faults);
                let told = format!("{:?}", answer.unwrap_err());
                assert!(faults.iter().any(|fault| format!("{fault:?}") == told), "{told}");
                continue;
            }
            let wanted = self.model.accept(me, &group);
            for acceptance in &wanted {
                self.tell(me, "accept", &if *acceptance == Acceptance::First { "new" } else { "repeat" });
            }
            assert_eq!(answer.unwrap(), wanted);
        }
    }

    pub(super) async fn plan(&mut self, me: Node, store: &Store) {
        let mut begun = Vec::new();
        for _ in 0..=self.below(4) {
            let Some(plan) = self.new_plan(me) else { continue };
            let answer = begin_plan(store, plan.clone());
            begun.push((plan, answer));
        }
        for (plan, answer) in begun {
            let wanted = self.model.plan(me, &plan);
            self.tell(me, if plan.whole_event { "plan" } else { "plan again" }, &wanted);
            same(&answer.await.unwrap(), &wanted);
        }
    }

    pub(super) async fn record(&mut self, me: Node, store: &Store) {
        let mut begun = Vec::new();
        for _ in 0..=self.below(5) {
            let Some(a) = self.new_attempt(me) else { continue };
            let answer = begin_record(store, a.clone());
            begun.push((a, answer));
        }
        for (a, answer) in begun {
            let wanted = self.model.record(me, &a);
            self.tell(
                me,
                if matches!(a.next, Next::RetryAt(_)) { "record a retry" } else { "record" },
                &wanted,
            );
            same(&answer.await.unwrap(), &wanted);
        }
    }

    pub(super) async fn claim_events(&mut self, me: Node, store: &Store, limit: u32) {
        let carrier = self.carrier().parse().unwrap();
        self.claim_events_of(me, store, carrier, limit).await;
    }

    pub(super) async fn claim_events_of(&mut self, me: Node, store: &Store, carrier: CarrierId, limit: u32) {
        let claimed = store.claim_events(&carrier, limit).await.unwrap();
        let waiting = self.model.events.iter_mut().filter(|(key, e)| key.carrier == carrier && e.waits());
        let mut waiting: Vec<_> = waiting.map(|(_, e)| e).collect();
        waiting.sort_by_key(|e| (e.event.received, e.event.id.clone()));
        waiting.truncate(limit as usize);
        let wanted: Vec<_> = waiting.iter().map(|e| e.event.clone()).collect();
        waiting.into_iter().for_each(|e| e.held = Some(me));
        self.tell(me, "claim events", &!wanted.is_empty());
        assert_eq!(claimed.into_iter().map(|h| h.event).collect::<Vec<_>>(), wanted);
    }

    pub(super) async fn claim_deliveries(&mut self, me: Node, store: &Store, limit: u32) {
        let lane = self.lane();
        self.claim_deliveries_of(me, store, lane, limit).await;
    }

    pub(super) async fn claim_deliveries_of(&mut self, me: Node, store: &Store, lane: Lane, limit: u32) {
        let now = self.now;
        let claimed = store.claim_deliveries(&lane, now, limit).await.unwrap();
        let waiting = self.model.deliveries.values_mut();
        let mut waiting: Vec<_> = waiting.filter(|d| d.lane() == lane && d.waits() && d.due <= now).collect();
        waiting.sort_by_key(|d| (d.due, d.plan.id.clone()));
        waiting.truncate(limit as usize);
        let told = |d: &Sent| {
            let attempts = u32::try_from(d.attempts.len()).unwrap();
            (d.plan.id.clone(), d.event.clone(), d.plan.body.clone(), attempts, d.due)
        };
        let wanted: Vec<_> = waiting.iter().map(|d| told(d)).collect();
        waiting.into_iter().for_each(|d| d.held = Some(me));
        self.tell(me, "claim deliveries", &!wanted.is_empty());
        let claimed: Vec<_> =
            claimed.into_iter().map(|d| (d.id, d.event, d.body, d.attempts, d.due)).collect();
        assert_eq!(claimed, wanted);
    }

    /// Which of those that are due alike are taken is not said.
    pub(super) async fn claim_routings(&mut self, me: Node, store: &Store, limit: u32) {
        let claimed = store.claim_routings(self.now, limit).await.unwrap();
        let waiting = self.model.routings.iter().filter(|(_, r)| r.waits());
        let mut due: Vec<Millis> =
            waiting.filter_map(|(_, r)| r.due).filter(|due| *due <= self.now).collect();
        due.sort();
        due.truncate(limit as usize);
        self.tell(me, "claim routings", &!due.is_empty());
        let mut taken = Vec::new();
        for held in claimed {
            let routing: RoutingKey = (key(&held.event), held.subscription);
            let r = self.model.routings.get_mut(&routing).filter(|r| r.waits()).unwrap();
            assert_eq!(held.tries, r.plan.tries);
            r.held = Some(me);
            taken.extend(r.due);
        }
        taken.sort();
        assert_eq!(taken, due);
    }

    /// What this node holds it lets go of, without an attempt.
    pub(super) async fn let_go(&mut self, me: Node, store: &Store) {
        let Some(key) = self.pick_delivery(|d| d.held == Some(me)) else { return };
        if self.half() {
            let held = self.model.hold(me, &key);
            self.tell(me, "hold", &held);
            store.hold_delivery(&key.0, &key.1).await.unwrap();
        } else {
            let (due, why) = (self.soon(), "its secrets do not open here");
            let held = self.model.put_back(me, &key, due, why);
            self.tell(me, "put back", &held);
            store.put_back_delivery(&key.0, &key.1, due, why.to_owned()).await.unwrap();
        }
    }

    fn pick_delivery(&mut self, fits: impl Fn(&Sent) -> bool) -> Option<DeliveryKey> {
        let deliveries = self.model.deliveries.clone();
        let mut key = self.pick(&deliveries, fits)?;
        if self.below(10) == 0 {
            // Of another carrier: there is none.
            key.0 = CARRIERS[usize::from(key.0.as_str() == CARRIERS[0])].parse().unwrap();
        }
        Some(key)
    }

    pub(super) async fn change_one(&mut self, me: Node, store: &Store) {
        let Some(key) = self.pick_delivery(|d| d.held.is_none()) else { return };
        let now = self.now;
        let (carrier, id) = &key;
        let (step, wanted, answer) = match self.below(6) {
            0 | 1 => ("cancel", self.model.cancel(&key, now), store.cancel_delivery(carrier, id, now).await),
            2 => ("resend", self.model.resend(&key, now), store.resend_delivery(carrier, id, now).await),
            _ => ("retry", self.model.retry(&key, now), store.retry_delivery(carrier, id, now).await),
        };
        self.tell(me, step, &wanted);
        assert_eq!(answer.unwrap(), wanted);
    }

    pub(super) async fn change_many(&mut self, me: Node, store: &Store) {
        let lane = self.lane();
        let mut filter = DeliveryFilter::default();
        match self.below(6) {
            0 => filter.destination = Some(lane.destination),
            1 => filter.states = vec![DeliveryState::Failed, DeliveryState::Delivered],
            2 => filter.subscription = Some(self.subscription()),
            3 => filter.statuses = Some((500, 599)),
            4 => {
                let events = self.model.events.clone();
                filter.event = self.pick(&events, |e| !e.open).map(|key| key.event);
            }
            _ => {}
        }
        let (now, page) = (self.now, PageRequest { limit: 1 + self.below(4), after: None });
        let carrier = &lane.carrier;
        if self.below(3) == 0 {
            let wanted = self.model.cancel_many(carrier, &filter, now, page.limit);
            self.tell(me, "cancel many", &(wanted > 0));
            assert_eq!(store.cancel_deliveries(carrier, &filter, &page, now).await.unwrap().count, wanted);
        } else {
            let wanted = self.model.retry_many(carrier, &filter, now, page.limit);
            self.tell(me, "retry many", &(wanted > 0));
            assert_eq!(store.retry_deliveries(carrier, &filter, &page, now).await.unwrap().count, wanted);
        }
    }

    pub(super) async fn run_again(&mut self, me: Node, store: &Store) {
        let now = self.now;
        if self.below(3) == 0 {
            let (carrier, subscription) = (self.carrier().parse().unwrap(), self.subscription());
            let wanted = self.model.release(&carrier, &subscription, now);
            self.tell(me, "release", &(wanted > 0));
            assert_eq!(store.release_routings(&carrier, &subscription, now).await.unwrap(), wanted);
            return;
        }
        let routings = self.model.routings.clone();
        let Some(mut key) = self.pick(&routings, |r| r.held.is_none()) else { return };
        if self.below(5) == 0 {
            key.1 = self.subscription();
        }
        let wanted = self.model.retry_routing(&key, now);
        self.tell(me, "run again", &wanted);
        let (EventKey { carrier, event }, subscription) = key;
        assert_eq!(store.retry_routing(&carrier, &event, &subscription, now).await.unwrap(), wanted);
    }

    pub(super) async fn change_destination(&mut self, me: Node, store: &Store) {
        let (lane, now) = (self.lane(), self.now);
        let (carrier, name) = (&lane.carrier, &lane.destination);
        match self.below(7) {
            0 => {
                let wanted = self.model.delete_destination(&lane);
                self.tell(me, "delete destination", &wanted);
                assert_eq!(store.delete_destination(carrier, name).await.unwrap(), wanted);
            }
            1..4 if name.as_str() != "never-made" => {
                self.model.put_destination(&lane, now);
                self.tell(me, "put destination", &());
                let mut made = bed::destination(name.as_str());
                (made.carrier, made.updated) = (carrier.clone(), now);
                store.put_destination(made).await.unwrap();
            }
            n => {
                let (state, reason) = match n {
                    4 => (DestinationState::Disabled, Some("by hand".to_owned())),
                    _ => (DestinationState::Enabled, None),
                };
                let wanted = self.model.set_destination(&lane, state, reason.clone(), now);
                self.tell(me, "set destination", &(state, wanted));
                let set = store.set_destination_state(carrier, name, state, reason, now);
                assert_eq!(set.await.unwrap(), wanted);
            }
        }
    }

    pub(super) async fn renew(&mut self, me: Node, store: &Store) {
        self.model.nodes.insert(me, self.now.plus(LEASE));
        store.renew(self.now, LEASE).await.unwrap();
    }

    pub(super) async fn take_over(&mut self, me: Node, store: &Store) {
        let wanted = self.model.take_over(me, self.now, self.kind == Kind::Sqlite);
        self.tell(me, "take over", &(wanted.nodes, wanted.deliveries > 0));
        assert_eq!(store.take_over(self.now).await.unwrap(), wanted);
    }

    pub(super) async fn forget(&mut self, me: Node, store: &Store) {
        let age = u64::from(self.below(30));
        let before = Millis(self.now.0.saturating_sub_unsigned(age * 1_000));
        let batch = self.below(6);
        let wanted = self.model.delete_before(before, batch);
        self.tell(me, "delete", &(wanted > 0));
        assert_eq!(store.delete_before(before, self.now, batch).await.unwrap(), wanted);
    }
}

/// Errors have no equality; what they say of themselves has.
fn same<T: Debug, E: Debug>(answer: &Result<T, E>, wanted: &Result<T, E>) {
    assert_eq!(format!("{answer:?}"), format!("{wanted:?}"));
}
