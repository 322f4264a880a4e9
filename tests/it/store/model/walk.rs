//! A random walk: its state, and what it draws.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hookyard::clock::Millis;
use hookyard::event::{Event, SubscriptionId, delivery_id};
use hookyard::store::work::{
    Body, DeliveryState, DestinationEffect, EventKey, Lane, NewAttempt, NewDelivery, NewEvent, NewRouting,
    Next, Plan, RoutingState,
};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};

use super::super::bed::{self, Kind, T0, event_at, of_carrier, routing};
use super::state::{CARRIERS, Model, Node, Sent};

const DESTINATIONS: [&str; 3] = ["crm", "erp", "never-made"];
const SUBSCRIPTIONS: [&str; 2] = ["main", "side"];

/// Steps that are told when one of them goes wrong.
const TOLD: usize = 25;

/// The state of a walk. It tells its seed and its last steps when it is dropped by a failure.
pub(super) struct Walk {
    pub(super) model: Model,
    pub(super) now: Millis,
    pub(super) kind: Kind,
    /// What was met, and how often: a walk that meets nothing shows nothing.
    pub(super) met: BTreeMap<String, u32>,
    rng: StdRng,
    seed: u64,
    events: u32,
    nodes: Node,
    steps: VecDeque<String>,
}

impl Drop for Walk {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{:?} parted from the model with seed {}; its last steps were", self.kind, self.seed);
            self.steps.iter().for_each(|step| eprintln!("  {step}"));
        }
    }
}

impl Walk {
    pub(super) fn new(kind: Kind, seed: u64) -> Self {
        Self {
            model: Model::default(),
            now: T0,
            kind,
            met: BTreeMap::new(),
            rng: StdRng::seed_from_u64(seed),
            seed,
            events: 0,
            nodes: 0,
            steps: VecDeque::new(),
        }
    }

    /// The number of a node that is being opened.
    pub(super) fn opened(&mut self) -> Node {
        self.nodes += 1;
        self.nodes - 1
    }

    pub(super) fn below(&mut self, n: u32) -> u32 {
        self.rng.random_range(0..n)
    }

    pub(super) fn half(&mut self) -> bool {
        self.rng.random_bool(0.5)
    }

    /// Tells a step before its answers are compared, and counts what it came to.
    pub(super) fn tell(&mut self, me: Node, step: &str, met: &dyn Debug) {
        if self.steps.len() == TOLD {
            self.steps.pop_front();
        }
        self.steps.push_back(format!("{} node {me} {step}: {met:?}", self.now.0 - T0.0));
        *self.met.entry(format!("{step}: {met:?}")).or_default() += 1;
    }

    /// One of the map's keys, mostly one that fits, if there are any.
    pub(super) fn pick<K: Clone, V>(
        &mut self,
        from: &BTreeMap<K, V>,
        fits: impl Fn(&V) -> bool,
    ) -> Option<K> {
        let mostly = self.rng.random_ratio(6, 7);
        let fitting: Vec<&K> = from.iter().filter(|(_, v)| mostly && fits(v)).map(|(k, _)| k).collect();
        let all = || from.keys().collect::<Vec<_>>();
        let keys = if fitting.is_empty() { all() } else { fitting };
        keys.choose(&mut self.rng).map(|key| (*key).clone())
    }

    pub(super) fn carrier(&mut self) -> &'static str {
        CARRIERS[self.below(2) as usize]
    }

    pub(super) fn lane(&mut self) -> Lane {
        let carrier = self.carrier().parse().unwrap();
        Lane { carrier, destination: DESTINATIONS[self.below(3) as usize].parse().unwrap() }
    }

    pub(super) fn subscription(&mut self) -> SubscriptionId {
        SUBSCRIPTIONS[self.below(2) as usize].parse().unwrap()
    }

    pub(super) fn soon(&mut self) -> Millis {
        let ms = u64::from(self.below(4_000));
        self.now.plus(Duration::from_millis(ms))
    }

    fn event(&mut self) -> Arc<Event> {
        let known = match self.below(10) {
            0..3 => self.pick(&self.model.events.clone(), |_| true),
            _ => None,
        };
        let Some(EventKey { carrier, event }) = known else {
            self.events += 1;
            let carrier = if self.below(20) == 0 { "nobody" } else { self.carrier() };
            return of_carrier(&event_at(&format!("e{}", self.events), self.now), carrier);
        };
        let again = of_carrier(&event_at(event.as_str(), self.now), carrier.as_str());
        if self.below(3) > 0 {
            return again;
        }
        Arc::new(Event { payload: Bytes::from_static(b"{}"), ..(*again).clone() })
    }

    pub(super) fn new_group(&mut self) -> Vec<NewEvent> {
        let mut group: Vec<NewEvent> = Vec::new();
        for _ in 0..=self.below(3) {
            let again = self.below(8) == 0;
            let event = match group.last() {
                Some(last) if again => last.event.clone(),
                _ => self.event(),
            };
            group.push(bed::new(&event, self.half()));
        }
        group
    }

    fn new_delivery(&mut self, event: &Event, subscription: &SubscriptionId, place: u32) -> NewDelivery {
        let destination = DESTINATIONS[self.below(3) as usize];
        let mut d = bed::delivery(event, place, destination, self.half());
        d.id = delivery_id(event, subscription, place);
        d.due = if self.half() { self.now } else { self.soon() };
        if self.below(3) == 0 {
            d.body = Body::Bytes(Bytes::from(format!("made at {}", self.now)));
        }
        if self.below(8) == 0 {
            (d.state, d.error) = (DeliveryState::Dead, Some("it can never be sent".to_owned()));
        }
        d
    }

    fn new_routing(&mut self, event: &Event, subscription: SubscriptionId, tries: u32) -> NewRouting {
        let mut r = routing(Vec::new());
        r.tries = tries;
        match self.below(8) {
            0 => r.state = RoutingState::Filtered,
            1 => (r.state, r.due) = (RoutingState::Later, Some(self.soon())),
            2 => r.state = RoutingState::Held,
            3 => (r.state, r.reason) = (RoutingState::Parked, Some("the guest said no".to_owned())),
            _ => {
                let count = self.below(4);
                r.deliveries =
                    (0..count).map(|place| self.new_delivery(event, &subscription, place)).collect();
            }
        }
        if r.state != RoutingState::Routed {
            r.verdict = None;
        }
        r.subscription = subscription;
        r
    }

    pub(super) fn new_plan(&mut self, me: Node) -> Option<Plan> {
        if self.below(4) == 0 {
            let routings = self.model.routings.clone();
            let (event, subscription) = self.pick(&routings, |r| r.held == Some(me))?;
            let tries = routings[&(event.clone(), subscription.clone())].plan.tries + 1;
            let event = self.model.events[&event].event.clone();
            let again = self.new_routing(&event, subscription, tries);
            return Some(Plan { event, routings: vec![again], collected: Vec::new(), whole_event: false });
        }
        let events = self.model.events.clone();
        let event = self.pick(&events, |e| e.open && e.held == Some(me))?;
        let event = events[&event].event.clone();
        let mut routings = Vec::new();
        for subscription in SUBSCRIPTIONS {
            if self.below(3) > 0 {
                routings.push(self.new_routing(&event, subscription.parse().unwrap(), 1));
            }
        }
        Some(bed::whole(&event, routings))
    }

    pub(super) fn new_attempt(&mut self, me: Node) -> Option<NewAttempt> {
        let deliveries = self.model.deliveries.clone();
        let key = self.pick(&deliveries, |d| d.held == Some(me))?;
        let Sent { plan, attempts, .. } = &deliveries[&key];
        let next = match self.below(6) {
            0 => Next::Dead,
            1 => Next::Failed,
            2 => Next::Held,
            3 => Next::RetryAt(self.soon()),
            _ => Next::Delivered,
        };
        let mut a = bed::attempt(plan, u32::try_from(attempts.len()).unwrap() + 1, next);
        (a.carrier, a.started) = (key.0, self.now);
        let effect = match self.below(8) {
            0 => Some(DestinationEffect::FailingSince(self.now)),
            1 => Some(DestinationEffect::Recovered),
            _ => None,
        };
        a.destination = effect.map(|effect| (plan.destination.clone(), effect));
        Some(a)
    }
}
