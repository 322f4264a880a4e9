//! Work that is not in memory: due again, written unheld for want of room, or left by a dead node.
//!
//! The claimer looks when something says that there is work (a timer, a freed room, a drained lane, a wake-up of the
//! store) and, as a safety net, every second. It takes room first and claims at most that much.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use super::Router;
use super::rooms::For;
use crate::clock::{Millis, Stopwatch};
use crate::event::CarrierId;
use crate::store::Wake;
use crate::store::error::StoreError;
use crate::store::work::Lane;

/// How often everything is looked at, whatever the wake-ups say.
const SAFETY_NET: Duration = Duration::from_secs(1);
/// How long it is then left alone: a host that is behind says with every commit that there is work.
const PAUSE: Duration = Duration::from_millis(50);
/// Events or deliveries claimed by one statement.
const BATCH: usize = 64;

/// Routings that are run again at once: their events are read for it, and digests are large. More wait in the store.
const AGAIN: usize = 128;

/// A place for a routing that is run again; given back when it is dropped.
#[derive(Debug)]
pub(super) struct Again(Router);

impl Drop for Again {
    fn drop(&mut self) {
        let mut places = self.0.timers.places();
        places.taken -= 1;
        // When a good part is free, as for rooms: not for every single place.
        let wake = places.taken <= AGAIN / 2 && std::mem::take(&mut places.wanted);
        drop(places);
        if wake {
            self.0.timers.routing_due(self.0.clock.now());
        }
    }
}

/// How many routings are run again, and whether more of them wait for a place.
#[derive(Debug, Default)]
struct Places {
    taken: usize,
    wanted: bool,
}

/// When the next look at what is worth it.
#[derive(Debug, Default)]
pub(super) struct Timers {
    due: Mutex<Due>,
    earlier: Notify,
    places: Mutex<Places>,
}

#[derive(Debug, Default)]
struct Due {
    lanes: HashMap<Lane, Millis>,
    routings: Option<Millis>,
}

impl Timers {
    /// A delivery of this lane is due then.
    pub(super) fn lane_due(&self, lane: Lane, at: Millis) {
        let mut due = self.lock();
        let known = due.lanes.entry(lane).or_insert(Millis(i64::MAX));
        if at < *known {
            *known = at;
            drop(due);
            self.earlier.notify_one();
        }
    }

    /// A routing is due then.
    pub(super) fn routing_due(&self, at: Millis) {
        let mut due = self.lock();
        if due.routings.is_none_or(|known| at < known) {
            due.routings = Some(at);
            drop(due);
            self.earlier.notify_one();
        }
    }

    fn next(&self) -> Millis {
        let due = self.lock();
        due.lanes.values().copied().chain(due.routings).min().unwrap_or(Millis(i64::MAX))
    }

    /// Takes out the lanes that are due, and whether routings are.
    fn take(&self, now: Millis) -> (Vec<Lane>, bool) {
        let mut due = self.lock();
        let lanes: Vec<Lane> = due.lanes.extract_if(|_, at| *at <= now).map(|(lane, _)| lane).collect();
        let routings = due.routings.take_if(|at| *at <= now).is_some();
        (lanes, routings)
    }

    fn places(&self) -> std::sync::MutexGuard<'_, Places> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Due> {
        self.due.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Router {
    /// Claims and hands on until the host stops. Ends with an error only when it cannot go on.
    pub(super) async fn run_claims(self) -> Result<(), StoreError> {
        let mut wakes = self.store.wakes();
        // Whether everything is to be looked at, and since when it was not.
        let (mut asked, mut looked) = (true, None::<Stopwatch>);
        loop {
            let now = self.clock.now();
            let rested = looked.is_none_or(|since| since.elapsed() >= PAUSE);
            let done = if asked && rested {
                (asked, looked) = (false, Some(Stopwatch::start()));
                self.look_at_all(now).await
            } else {
                self.tick(now).await
            };
            if let Err(why) = done {
                // The database may be away for a while; nothing is lost by asking again.
                tracing::warn!(%why, "work could not be claimed; trying again");
            }
            let next = self.timers.next();
            asked |= tokio::select! {
                biased;
                () = self.life.soft().cancelled() => return Ok(()),
                wake = wakes.recv() => matches!(wake, Ok(Wake::Work) | Err(_)),
                () = self.rooms.freed() => false,
                lanes = self.lanes.eased() => {
                    let now = self.clock.now();
                    lanes.into_iter().for_each(|lane| self.timers.lane_due(lane, now));
                    false
                }
                () = self.timers.earlier.notified() => false,
                () = self.clock.sleep_until(next) => false,
                () = tokio::time::sleep(if asked { PAUSE } else { SAFETY_NET }) => true,
            };
        }
    }

    /// Claims what is known to be waiting.
    async fn tick(&self, now: Millis) -> Result<(), StoreError> {
        for carrier in self.rooms.waiting() {
            self.claim_events(&carrier).await?;
        }
        let (lanes, routings) = self.timers.take(now);
        for lane in lanes {
            self.claim_lane(&lane, now).await?;
        }
        if routings {
            self.claim_routings(now).await?;
        }
        Ok(())
    }

    /// Looks for work of which this node may know nothing.
    async fn look_at_all(&self, now: Millis) -> Result<(), StoreError> {
        for carrier in self.store.carriers_waiting().await? {
            self.rooms.set_waiting(&carrier, true);
        }
        for (lane, due) in self.store.lanes_waiting().await? {
            self.timers.lane_due(lane, due);
        }
        if let Some(due) = self.store.next_routing_due().await? {
            self.timers.routing_due(due);
        }
        self.tick(now).await
    }

    async fn claim_events(&self, carrier: &CarrierId) -> Result<(), StoreError> {
        loop {
            let mut rooms = Vec::new();
            while rooms.len() < BATCH {
                let Some(room) = self.rooms.reserve(carrier, For::Waiting) else { break };
                rooms.push(room);
            }
            if rooms.is_empty() {
                return Ok(());
            }
            let claimed = self.store.claim_events(carrier, u32::try_from(rooms.len()).unwrap_or(1)).await?;
            let all = claimed.len() < rooms.len();
            for (held, room) in claimed.into_iter().zip(rooms) {
                self.route(held.event, room);
            }
            if all {
                self.rooms.set_waiting(carrier, false);
                return Ok(());
            }
        }
    }

    async fn claim_lane(&self, lane: &Lane, now: Millis) -> Result<(), StoreError> {
        if self.directory.place(lane).is_some_and(|p| !p.is_enabled() || p.locked().is_some()) {
            return Ok(());
        }
        loop {
            let rooms = self.lanes.reserve_up_to(lane, BATCH);
            if rooms.is_empty() {
                // The lane says when it has drained.
                return Ok(());
            }
            let wanted = rooms.len();
            let limit = u32::try_from(wanted).unwrap_or(1);
            let claimed = self.store.claim_deliveries(lane, now, limit).await?;
            let all = claimed.len() < wanted;
            for (delivery, room) in claimed.into_iter().zip(rooms) {
                self.push(room, delivery);
            }
            if all {
                return Ok(());
            }
        }
    }

    async fn claim_routings(&self, now: Millis) -> Result<(), StoreError> {
        loop {
            let places = self.places_for_again();
            if places.is_empty() {
                // Whoever gives a place back says so.
                return Ok(());
            }
            let wanted = places.len();
            let claimed = self.store.claim_routings(now, u32::try_from(wanted).unwrap_or(1)).await?;
            let all = claimed.len() < wanted;
            for (held, place) in claimed.into_iter().zip(places) {
                self.route_again(held, place);
            }
            if all {
                break;
            }
        }
        if let Some(due) = self.store.next_routing_due().await? {
            self.timers.routing_due(due);
        }
        Ok(())
    }

    /// Places for routings that are run again: a batch of them, or as many as there are.
    fn places_for_again(&self) -> Vec<Again> {
        let mut places = self.timers.places();
        let free = AGAIN.saturating_sub(places.taken).min(BATCH);
        places.taken += free;
        places.wanted = free == 0;
        drop(places);
        (0..free).map(|_| Again(self.clone())).collect()
    }
}
