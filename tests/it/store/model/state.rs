//! The store as plain maps: what its business steps are meant to do, said once more and as simply as can be.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use hookyard::carrier::DestinationState;
use hookyard::clock::Millis;
use hookyard::event::{CarrierId, DeliveryId, Event, SubscriptionId};
use hookyard::store::TakenOver;
use hookyard::store::error::{AcceptError, HeldError};
use hookyard::store::page::DeliveryFilter;
use hookyard::store::work::{
    Acceptance, DeliveryState, DestinationEffect, EventKey, Lane, NewAttempt, NewDelivery, NewEvent,
    NewRouting, Next, Plan, RoutingState,
};

/// The carriers that exist.
pub(super) const CARRIERS: [&str; 2] = ["acme", "zeta"];

/// A node, by the order in which they were opened.
pub(super) type Node = usize;

pub(super) type RoutingKey = (EventKey, SubscriptionId);
pub(super) type DeliveryKey = (CarrierId, DeliveryId);

#[derive(Debug, Clone)]
pub(super) struct Accepted {
    pub(super) event: Arc<Event>,
    pub(super) open: bool,
    pub(super) held: Option<Node>,
}

#[derive(Debug, Clone)]
pub(super) struct Routed {
    /// As it was last planned.
    pub(super) plan: NewRouting,
    pub(super) state: RoutingState,
    pub(super) due: Option<Millis>,
    pub(super) held: Option<Node>,
}

#[derive(Debug, Clone)]
pub(super) struct Sent {
    pub(super) event: Arc<Event>,
    pub(super) subscription: SubscriptionId,
    pub(super) place: u32,
    /// As it was planned.
    pub(super) plan: NewDelivery,
    pub(super) state: DeliveryState,
    pub(super) held: Option<Node>,
    pub(super) due: Millis,
    pub(super) updated: Millis,
    pub(super) last_status: Option<u16>,
    pub(super) last_error: Option<String>,
    pub(super) attempts: Vec<NewAttempt>,
}

#[derive(Debug, Clone)]
pub(super) struct Target {
    pub(super) state: DestinationState,
    pub(super) reason: Option<String>,
    pub(super) failing_since: Option<Millis>,
    pub(super) updated: Millis,
}

/// Everything that is kept.
#[derive(Debug, Clone, Default)]
pub(super) struct Model {
    pub(super) events: BTreeMap<EventKey, Accepted>,
    pub(super) routings: BTreeMap<RoutingKey, Routed>,
    pub(super) deliveries: BTreeMap<DeliveryKey, Sent>,
    pub(super) destinations: BTreeMap<Lane, Target>,
    /// The nodes that have a row, and when their lease lapses.
    pub(super) nodes: BTreeMap<Node, Millis>,
}

pub(super) fn key(event: &Event) -> EventKey {
    EventKey { carrier: event.carrier.clone(), event: event.id.clone() }
}

impl Accepted {
    pub(super) fn waits(&self) -> bool {
        self.open && self.held.is_none()
    }
}

impl Routed {
    pub(super) fn waits(&self) -> bool {
        self.state == RoutingState::Later && self.held.is_none()
    }
}

impl Sent {
    pub(super) fn waits(&self) -> bool {
        self.state == DeliveryState::Pending && self.held.is_none()
    }

    pub(super) fn lane(&self) -> Lane {
        Lane { carrier: self.event.carrier.clone(), destination: self.plan.destination.clone() }
    }

    fn is_made_due(&mut self, now: Millis) {
        (self.state, self.due, self.updated) = (DeliveryState::Pending, now, now);
    }
}

impl Model {
    /// All that a group can be refused for; which of them is told is not said.
    pub(super) fn faults(&self, group: &[NewEvent]) -> Vec<AcceptError> {
        let mut faults = Vec::new();
        for (index, new) in group.iter().enumerate() {
            let of = key(&new.event);
            let known = self.events.get(&of).map(|known| known.event.digest());
            let earlier = group[..index].iter().filter(|e| key(&e.event) == of).map(|e| e.digest);
            if !CARRIERS.contains(&of.carrier.as_str()) {
                faults.push(AcceptError::UnknownCarrier { index });
            } else if known.into_iter().chain(earlier).any(|digest| digest != new.digest) {
                faults.push(AcceptError::Conflict { index });
            }
        }
        faults
    }

    /// A group without faults.
    pub(super) fn accept(&mut self, me: Node, group: &[NewEvent]) -> Vec<Acceptance> {
        let accept = |new: &NewEvent| {
            let event = new.event.clone();
            if let Some(known) = self.events.get(&key(&event)) {
                return Acceptance::Repeat { received: known.event.received };
            }
            let accepted = Accepted { event, open: true, held: new.hold.then_some(me) };
            self.events.insert(key(&new.event), accepted);
            Acceptance::First
        };
        group.iter().map(accept).collect()
    }

    pub(super) fn plan(&mut self, me: Node, plan: &Plan) -> Result<(), HeldError> {
        let event = key(&plan.event);
        if plan.whole_event {
            let accepted = self.events.get_mut(&event).filter(|e| e.open && e.held == Some(me));
            let Some(accepted) = accepted else { return Err(HeldError::Lost) };
            (accepted.open, accepted.held) = (false, None);
        } else {
            let held = |r: &NewRouting| {
                self.routings
                    .get(&(event.clone(), r.subscription.clone()))
                    .is_some_and(|r| r.held == Some(me))
            };
            if !plan.routings.iter().all(held) {
                return Err(HeldError::Lost);
            }
        }
        for r in &plan.routings {
            let routed = Routed { plan: r.clone(), state: r.state, due: r.due, held: None };
            self.routings.insert((event.clone(), r.subscription.clone()), routed);
            for (place, d) in (0..).zip(&r.deliveries) {
                let sent = Sent {
                    event: plan.event.clone(),
                    subscription: r.subscription.clone(),
                    place,
                    plan: d.clone(),
                    state: d.state,
                    held: (d.hold && d.state == DeliveryState::Pending).then_some(me),
                    due: d.due,
                    updated: plan.event.received,
                    last_status: None,
                    last_error: d.error.clone(),
                    attempts: Vec::new(),
                };
                self.deliveries.insert((event.carrier.clone(), d.id.clone()), sent);
            }
        }
        Ok(())
    }

    pub(super) fn record(&mut self, me: Node, a: &NewAttempt) -> Result<(), HeldError> {
        let sent = self.deliveries.get_mut(&(a.carrier.clone(), a.delivery.clone()));
        let Some(d) = sent.filter(|d| d.held == Some(me)) else { return Err(HeldError::Lost) };
        d.held = None;
        d.state = match a.next {
            Next::Delivered => DeliveryState::Delivered,
            Next::RetryAt(at) => {
                d.due = at;
                DeliveryState::Pending
            }
            Next::Held => DeliveryState::Held,
            Next::Dead => DeliveryState::Dead,
            Next::Failed => DeliveryState::Failed,
        };
        d.updated = a.started.plus(Duration::from_micros(a.duration_us));
        (d.last_status, d.last_error) = (a.status, a.error.clone());
        d.attempts.push(a.clone());
        if let Some((name, effect)) = &a.destination {
            let lane = Lane { carrier: a.carrier.clone(), destination: name.clone() };
            let Some(target) = self.destinations.get_mut(&lane) else { return Ok(()) };
            match effect {
                DestinationEffect::FailingSince(at) => {
                    target.failing_since.get_or_insert(*at);
                }
                DestinationEffect::Recovered => target.failing_since = None,
            }
        }
        Ok(())
    }

    /// Whether this node held it.
    pub(super) fn hold(&mut self, me: Node, key: &DeliveryKey) -> bool {
        let Some(d) = self.deliveries.get_mut(key).filter(|d| d.held == Some(me)) else { return false };
        (d.state, d.held) = (DeliveryState::Held, None);
        true
    }

    pub(super) fn retry(&mut self, key: &DeliveryKey, now: Millis) -> Option<bool> {
        let d = self.deliveries.get_mut(key)?;
        let free = d.held.is_none() && d.state != DeliveryState::Delivered;
        if free {
            d.is_made_due(now);
        }
        Some(free)
    }

    pub(super) fn cancel(&mut self, key: &DeliveryKey, now: Millis) -> Option<bool> {
        let d = self.deliveries.get_mut(key)?;
        let free = d.held.is_none() && d.state != DeliveryState::Delivered;
        if free {
            (d.state, d.updated) = (DeliveryState::Cancelled, now);
        }
        Some(free)
    }

    /// Whatever has become of it.
    pub(super) fn resend(&mut self, key: &DeliveryKey, now: Millis) -> Option<bool> {
        let d = self.deliveries.get_mut(key)?;
        let free = d.held.is_none();
        if free {
            d.is_made_due(now);
        }
        Some(free)
    }

    /// Whether this node held it.
    pub(super) fn put_back(&mut self, me: Node, key: &DeliveryKey, due: Millis, why: &str) -> bool {
        let Some(d) = self.deliveries.get_mut(key).filter(|d| d.held == Some(me)) else { return false };
        (d.held, d.due, d.last_error) = (None, due, Some(why.to_owned()));
        true
    }

    /// The oldest in one of these states that match, which is the order of the ids.
    fn chosen(
        &mut self,
        c: &CarrierId,
        f: &DeliveryFilter,
        states: [DeliveryState; 2],
        limit: u32,
    ) -> impl Iterator<Item = &mut Sent> {
        let wanted = move |((carrier, _), d): &(&DeliveryKey, &mut Sent)| {
            carrier == c
                && states.contains(&d.state)
                && (f.states.is_empty() || f.states.contains(&d.state))
                && f.event.as_ref().is_none_or(|e| *e == d.event.id)
                && f.subscription.as_ref().is_none_or(|s| *s == d.subscription)
                && f.destination.as_ref().is_none_or(|n| *n == d.plan.destination)
                && f.statuses
                    .is_none_or(|(least, most)| d.last_status.is_some_and(|s| (least..=most).contains(&s)))
        };
        self.deliveries.iter_mut().filter(wanted).take(limit as usize).map(|(_, d)| d)
    }

    pub(super) fn retry_many(&mut self, c: &CarrierId, f: &DeliveryFilter, now: Millis, limit: u32) -> u64 {
        let ended = [DeliveryState::Dead, DeliveryState::Failed];
        self.chosen(c, f, ended, limit).map(|d| d.is_made_due(now)).count() as u64
    }

    /// Those that a node has in hand are chosen, but left alone.
    pub(super) fn cancel_many(&mut self, c: &CarrierId, f: &DeliveryFilter, now: Millis, limit: u32) -> u64 {
        let open = [DeliveryState::Pending, DeliveryState::Held];
        let free = self.chosen(c, f, open, limit).filter(|d| d.held.is_none());
        free.map(|d| (d.state, d.updated) = (DeliveryState::Cancelled, now)).count() as u64
    }

    pub(super) fn retry_routing(&mut self, key: &RoutingKey, now: Millis) -> Option<bool> {
        let r = self.routings.get_mut(key)?;
        let again = matches!(r.state, RoutingState::Parked | RoutingState::Held | RoutingState::Later);
        let free = r.held.is_none() && again;
        if free {
            (r.state, r.due) = (RoutingState::Later, Some(now));
        }
        Some(free)
    }

    pub(super) fn release(&mut self, c: &CarrierId, s: &SubscriptionId, now: Millis) -> u64 {
        let held = self.routings.iter_mut().filter(|((event, subscription), r)| {
            event.carrier == *c && subscription == s && r.state == RoutingState::Held
        });
        held.map(|(_, r)| (r.state, r.due) = (RoutingState::Later, Some(now))).count() as u64
    }

    pub(super) fn put_destination(&mut self, lane: &Lane, now: Millis) {
        let new =
            Target { state: DestinationState::Enabled, reason: None, failing_since: None, updated: now };
        self.destinations.entry(lane.clone()).or_insert(new).updated = now;
    }

    pub(super) fn set_destination(
        &mut self,
        lane: &Lane,
        state: DestinationState,
        reason: Option<String>,
        now: Millis,
    ) -> bool {
        let Some(target) = self.destinations.get_mut(lane) else { return false };
        (target.state, target.reason, target.updated) = (state, reason, now);
        if state == DestinationState::Enabled {
            target.failing_since = None;
            for d in self.deliveries.values_mut() {
                if d.lane() == *lane && d.state == DeliveryState::Held {
                    d.is_made_due(now);
                }
            }
        }
        true
    }

    pub(super) fn delete_destination(&mut self, lane: &Lane) -> bool {
        let found = self.destinations.remove(lane).is_some();
        for d in self.deliveries.values_mut().filter(|d| found && d.lane() == *lane) {
            if matches!(d.state, DeliveryState::Pending | DeliveryState::Held) {
                (d.state, d.held) = (DeliveryState::Cancelled, None);
            }
        }
        found
    }

    /// `all`: every other node is dead, whatever its lease says.
    pub(super) fn take_over(&mut self, me: Node, now: Millis, all: bool) -> TakenOver {
        let mut taken = TakenOver::default();
        let dead = self.nodes.iter().filter(|(n, expires)| **n != me && (all || **expires < now));
        for node in dead.map(|(n, _)| *n).collect::<Vec<_>>() {
            let released = self.leave(node);
            taken.nodes += 1;
            taken.events += released.events;
            taken.routings += released.routings;
            taken.deliveries += released.deliveries;
        }
        taken
    }

    /// Removes a node; gives how much it held.
    pub(super) fn leave(&mut self, node: Node) -> TakenOver {
        self.nodes.remove(&node);
        let release = |held: &mut Option<Node>| u64::from(held.take_if(|n| *n == node).is_some());
        TakenOver {
            nodes: 1,
            events: self.events.values_mut().map(|e| release(&mut e.held)).sum(),
            routings: self.routings.values_mut().map(|r| release(&mut r.held)).sum(),
            deliveries: self.deliveries.values_mut().map(|d| release(&mut d.held)).sum(),
            runs: 0,
        }
    }

    /// Carrier by carrier, oldest first.
    pub(super) fn delete_before(&mut self, before: Millis, batch: u32) -> u64 {
        let old = self.events.iter().filter(|(key, e)| e.event.received < before && self.is_finished(key, e));
        let mut old: Vec<(CarrierId, Millis, EventKey)> =
            old.map(|(key, e)| (key.carrier.clone(), e.event.received, key.clone())).collect();
        old.sort();
        old.truncate(batch as usize);
        for (.., gone) in &old {
            self.events.remove(gone);
            self.routings.retain(|(event, _), _| event != gone);
            self.deliveries.retain(|_, d| key(&d.event) != *gone);
        }
        old.len() as u64
    }

    fn is_finished(&self, event: &EventKey, accepted: &Accepted) -> bool {
        let waits =
            |r: &Routed| r.held.is_some() || matches!(r.state, RoutingState::Later | RoutingState::Held);
        let open = |d: &Sent| matches!(d.state, DeliveryState::Pending | DeliveryState::Held);
        !accepted.open
            && !self.routings.iter().any(|((of, _), r)| of == event && waits(r))
            && !self.deliveries.values().any(|d| key(&d.event) == *event && open(d))
    }
}
