//! Steps 3 to 5: an event meets its carrier's subscriptions, their chains run, and what they decide becomes durable.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::Router;
use super::claim::Again;
use super::conclude::{self, Conclusion};
use super::directory::{CarrierView, Place, Plugins, Standing};
use super::media::Wanted;
use super::rooms::Room;
use crate::clock::Millis;
use crate::deliver::Room as LaneRoom;
use crate::event::{CarrierId, DestinationName, Event, SubscriptionId, delivery_id};
use crate::matching::{self, Match, Subject};
use crate::plugin::{Chain, Ran, Run};
use crate::schedule::entry_bytes;
use crate::store::error::{HeldError, StoreError};
use crate::store::work::{
    Collected, DeliveryState, HeldDelivery, HeldRouting, Lane, NewDelivery, NewRouting, Plan, RoutingState,
};
use crate::telemetry::Kind;

/// How long a node waits before it tries again what the database did not take.
pub(super) const DATABASE_PAUSE: Duration = Duration::from_secs(1);

/// Subscriptions of which routings may be held for want of a good version.
#[derive(Debug, Default)]
pub(super) struct Holding(Mutex<HashSet<(CarrierId, SubscriptionId)>>);

/// Runs that the plugin queue had no place for, by carrier, in the order in which they came. Bounded by the events that
/// have room.
#[derive(Debug, Default)]
pub(super) struct Overflow(Mutex<HashMap<CarrierId, VecDeque<Run>>>);

/// An event whose chains are running; planned when the last one is done.
struct Gathering {
    event: Arc<Event>,
    view: Arc<CarrierView>,
    /// The routing that is run again, and how often it had been run; `None` when the whole event is routed.
    again: Option<(SubscriptionId, u32)>,
    left: AtomicUsize,
    routings: Mutex<Vec<NewRouting>>,
    /// What waits for the ticks of scheduled subscriptions.
    collected: Vec<Collected>,
    /// The event's room, given back when it is planned.
    room: Mutex<Option<Room>>,
    /// The same for a routing that is run again.
    place: Mutex<Option<Again>>,
}

impl Router {
    /// Routes an event that this node holds. `room` is given back when the event is planned.
    pub(super) fn route(&self, event: Arc<Event>, room: Room) {
        let view = self.directory.carrier(&event.carrier).unwrap_or_default();
        let (matches, collected) = {
            let subject = Subject::new(&event);
            let matches = matching::matches(&subject, &view.orders);
            let collected = collect(&subject, &view, &matches);
            (matches, collected)
        };
        let matched = matches.iter().filter(|m| **m == Match::Matched).count() - collected.len();
        let gathering = Arc::new(Gathering {
            event,
            view: view.clone(),
            again: None,
            // One more than there are chains: the last is given up below, when all have been started.
            left: AtomicUsize::new(matched + 1),
            routings: Mutex::default(),
            collected,
            room: Mutex::new(Some(room)),
            place: Mutex::default(),
        });
        for (standing, matched) in view.standing.iter().zip(&matches) {
            match matched {
                Match::TypeDiffers => {}
                // Its chain runs at its tick, over a digest.
                _ if standing.schedule.is_some() => {}
                Match::Filtered => gathering.add(conclude::filtered(standing.id.clone())),
                Match::Matched => self.run(&gathering, standing, 0),
            }
        }
        self.one_less(&gathering);
    }

    /// Runs the chain of one routing again. `place` is given back when that is planned.
    pub(super) fn route_again(&self, held: HeldRouting, place: Again) {
        let view = self.directory.carrier(&held.event.carrier).unwrap_or_default();
        let gathering = Arc::new(Gathering {
            event: held.event,
            view: view.clone(),
            again: Some((held.subscription.clone(), held.tries)),
            left: AtomicUsize::new(1),
            routings: Mutex::default(),
            collected: Vec::new(),
            room: Mutex::default(),
            place: Mutex::new(Some(place)),
        });
        match view.standing.iter().find(|s| s.id == held.subscription) {
            Some(standing) => self.run(&gathering, standing, held.tries),
            None => {
                gathering.add(conclude::gone(held.subscription, held.tries));
                self.one_less(&gathering);
            }
        }
    }

    fn run(&self, gathering: &Arc<Gathering>, standing: &Standing, tries: u32) {
        match &standing.plugins {
            Plugins::Ready(chain) => {
                self.submit(gathering.clone(), standing.id.clone(), chain.clone(), tries);
            }
            Plugins::None => self.conclude(gathering, conclude::untouched(), &standing.id, tries),
            Plugins::NotReady(why) => {
                self.holding.note(&gathering.event.carrier, &standing.id);
                gathering.add(conclude::not_ready(standing.id.clone(), why.clone(), tries));
                self.one_less(gathering);
            }
        }
    }

    fn submit(&self, gathering: Arc<Gathering>, subscription: SubscriptionId, chain: Arc<Chain>, tries: u32) {
        let event = gathering.event.clone();
        let carrier = event.carrier.clone();
        let router = self.clone();
        let done = move |ran: Ran| {
            router.metrics.plugin_seconds.observe(ran.cost.as_secs_f64());
            router.conclude(&gathering, ran, &subscription, tries);
            router.refill(&carrier);
        };
        if let Err(full) = self.runtime.submit(Run { event, chain, done: Box::new(done) }) {
            let carrier = full.0.event.carrier.clone();
            self.overflow.lock().entry(carrier).or_default().push_back(full.0);
        }
    }

    /// Moves what overflowed of a carrier to the queue, as far as that has places. Called after each of its runs: only
    /// those free places, and while something overflows there are some to come.
    fn refill(&self, carrier: &CarrierId) {
        let mut overflow = self.overflow.lock();
        let Some(waiting) = overflow.get_mut(carrier) else { return };
        while let Some(run) = waiting.pop_front() {
            if let Err(full) = self.runtime.submit(run) {
                waiting.push_front(full.0);
                return;
            }
        }
        overflow.remove(carrier);
    }

    fn conclude(&self, gathering: &Arc<Gathering>, ran: Ran, subscription: &SubscriptionId, tries: u32) {
        let now = self.clock.now();
        if let Err(fault) = &ran.result {
            self.metrics.plugin_faults.get_or_create(&Kind { kind: fault.kind() }).inc();
        }
        let well = ran.result.is_ok();
        let Conclusion { mut routing, sends } = conclude::conclude(ran, subscription, tries, now, || {
            gathering
                .view
                .standing
                .iter()
                .find(|s| s.id == *subscription)
                .map(|s| s.destinations.clone())
                .unwrap_or_default()
        });
        routing.deliveries = deliveries(&gathering.event, subscription, sends, &gathering.view.places, now);
        self.hold_or_release(&gathering.event.carrier, subscription, routing.state, well);
        gathering.add(routing);
        self.one_less(gathering);
    }

    /// Remembers that a subscription holds events, and lets them go on after its next good run: then its version is good,
    /// or its breaker has closed.
    fn hold_or_release(
        &self,
        carrier: &CarrierId,
        subscription: &SubscriptionId,
        state: RoutingState,
        well: bool,
    ) {
        if state == RoutingState::Held {
            self.holding.note(carrier, subscription);
        } else if well && self.holding.take(carrier, subscription) {
            let (router, carrier, subscription) = (self.clone(), carrier.clone(), subscription.clone());
            let release = async move {
                let now = router.clock.now();
                match router.store.release_routings(&carrier, &subscription, now).await {
                    Ok(0) => {}
                    Ok(n) => tracing::info!(%carrier, %subscription, n, "held events go on"),
                    Err(why) => {
                        tracing::warn!(%carrier, %subscription, %why, "held events could not be released yet");
                        router.holding.note(&carrier, &subscription);
                    }
                }
            };
            // This is a thread of the plugins, which belongs to no asynchronous runtime.
            self.life.tracker().spawn_on(release, &self.tasks);
        }
    }

    fn one_less(&self, gathering: &Arc<Gathering>) {
        if gathering.left.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.plan(gathering.clone());
        }
    }

    /// Step 5. Deliveries that find room in their lane are held from birth and pushed by the commit.
    fn plan(&self, gathering: Arc<Gathering>) {
        let now = self.clock.now();
        let event = &gathering.event;
        let mut routings = std::mem::take(&mut *gathering.lock());
        let mut held: Vec<(LaneRoom, HeldDelivery)> = Vec::new();
        let mut later = Vec::new();
        for routing in &mut routings {
            self.metrics.routings.get_or_create(&Kind { kind: routing.state.as_str() }).inc();
            if routing.state == RoutingState::Later {
                self.timers.routing_due(routing.due.unwrap_or(now));
            }
            for delivery in &mut routing.deliveries {
                if delivery.state != DeliveryState::Pending {
                    continue;
                }
                let lane = Lane { carrier: event.carrier.clone(), destination: delivery.destination.clone() };
                let room = if delivery.due <= now { self.lanes.reserve(&lane) } else { None };
                let Some(room) = room else {
                    later.push((lane, delivery.due));
                    continue;
                };
                delivery.hold = true;
                let held_delivery = HeldDelivery {
                    event: event.clone(),
                    subscription: routing.subscription.clone(),
                    id: delivery.id.clone(),
                    destination: delivery.destination.clone(),
                    message: delivery.message.clone(),
                    body: delivery.body.clone(),
                    attempts: 0,
                    due: delivery.due,
                };
                held.push((room, held_delivery));
            }
        }
        let wanted = Wanted::of(&routings);
        let plan = Plan {
            event: event.clone(),
            routings,
            collected: gathering.collected.clone(),
            whole_event: gathering.again.is_none(),
        };
        let router = self.clone();
        self.store.plan(
            plan,
            Box::new(move |planned| {
                let event = &gathering.event;
                match planned {
                    Ok(()) => {
                        router.begin_media(event, &wanted);
                        for (room, delivery) in held {
                            router.push(room, delivery);
                        }
                        for (lane, due) in later {
                            router.timers.lane_due(lane, due);
                        }
                    }
                    Err(HeldError::Lost) => tracing::warn!(carrier = %event.carrier, event = %event.id,
                        "another node routes this event now; what this one decided was not written"),
                    Err(HeldError::Store(StoreError::Closed)) => {}
                    Err(HeldError::Store(why)) => {
                        tracing::warn!(carrier = %event.carrier, event = %event.id, %why,
                            "an event could not be planned; it is routed again in a moment");
                        router.plan_later(gathering);
                    }
                }
            }),
        );
    }

    /// Routes an event again whose plan the database did not take. The same verdicts name the same deliveries, so it does
    /// not matter whether something was written after all.
    fn plan_later(&self, gathering: Arc<Gathering>) {
        let router = self.clone();
        self.life.tracker().spawn(async move {
            tokio::select! {
                () = router.life.soft().cancelled() => return,
                () = router.clock.sleep(DATABASE_PAUSE) => {}
            }
            let event = gathering.event.clone();
            let room = gathering.room.lock().unwrap_or_else(PoisonError::into_inner).take();
            let place = gathering.place.lock().unwrap_or_else(PoisonError::into_inner).take();
            match (&gathering.again, room, place) {
                (Some((subscription, tries)), _, Some(place)) => {
                    let (subscription, tries) = (subscription.clone(), *tries);
                    router.route_again(HeldRouting { event, subscription, tries }, place);
                }
                (None, Some(room), _) => router.route(event, room),
                _ => {}
            }
        });
    }
}

/// What of an event waits for the ticks of the scheduled subscriptions that want it.
fn collect(subject: &Subject<'_>, view: &CarrierView, matches: &[Match]) -> Vec<Collected> {
    let scheduled = view.standing.iter().zip(matches).filter(|(_, matched)| **matched == Match::Matched);
    let collected = scheduled.filter_map(|(standing, _)| {
        let schedule = standing.schedule.as_ref()?;
        let (group, bytes) = (schedule.group(subject), entry_bytes(subject.event()));
        Some(Collected { subscription: standing.id.clone(), group, bytes })
    });
    collected.collect()
}

/// What is to be sent of an event, with its ids, and with what stands in the way of it.
pub(super) fn deliveries(
    event: &Event,
    subscription: &SubscriptionId,
    sends: Vec<conclude::Send>,
    places: &HashMap<DestinationName, Arc<Place>>,
    now: Millis,
) -> Vec<NewDelivery> {
    let planned = sends.into_iter().enumerate().map(|(index, send)| {
        let index = u32::try_from(index).unwrap_or(u32::MAX);
        let (state, error) = match places.get(&send.destination) {
            None => (DeliveryState::Dead, Some(format!("there is no destination `{}`", send.destination))),
            Some(place) if !place.is_enabled() => (DeliveryState::Held, None),
            Some(_) => (DeliveryState::Pending, None),
        };
        NewDelivery {
            id: delivery_id(event, subscription, index),
            destination: send.destination,
            message: send.message,
            body: send.body,
            order_key: send.order_key,
            due: send.not_before.map_or(now, |at| at.max(now)),
            hold: false,
            state,
            error,
        }
    });
    planned.collect()
}

impl Holding {
    /// The subscription may have held routings.
    pub(super) fn note(&self, carrier: &CarrierId, subscription: &SubscriptionId) {
        self.lock().insert((carrier.clone(), subscription.clone()));
    }

    /// Whether it may have; it has none any more after this.
    fn take(&self, carrier: &CarrierId, subscription: &SubscriptionId) -> bool {
        let mut held = self.lock();
        !held.is_empty() && held.remove(&(carrier.clone(), subscription.clone()))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashSet<(CarrierId, SubscriptionId)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Overflow {
    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<CarrierId, VecDeque<Run>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Gathering {
    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<NewRouting>> {
        self.routings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, routing: NewRouting) {
        self.lock().push(routing);
    }
}
