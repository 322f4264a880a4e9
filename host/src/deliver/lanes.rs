//! Who may send now: a lane for each destination, with its own bounded queue, concurrency and rate.
//!
//! A lane that is slow fills itself and no other. It must not know what a delivery is sent with, nor the store.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::Notify;
use tokio_util::task::TaskTracker;

use crate::carrier::DestinationSpec;
use crate::clock::{Clock, Millis};
use crate::retry::Policy;
use crate::store::work::{HeldDelivery, Lane};

/// The span in which a rate counts.
const MINUTE: Duration = Duration::from_secs(60);

/// What a lane may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LaneRules {
    /// Deliveries under way at once; 0 stops the lane.
    pub concurrency: u32,
    /// Deliveries started in any 60 seconds.
    pub rate_per_minute: Option<u32>,
}

impl LaneRules {
    /// The rules of a destination: its own numbers, or else those of the strictest policy that sends there.
    pub fn resolve<'a>(spec: &DestinationSpec, policies: impl Iterator<Item = &'a Policy>) -> Self {
        let (mut concurrency, mut rate) = (None, None);
        for policy in policies {
            concurrency = concurrency.into_iter().chain([policy.concurrency]).min();
            rate = rate.into_iter().chain(policy.rate_per_minute).min();
        }
        Self {
            concurrency: spec.concurrency.or(concurrency).unwrap_or(Self::default().concurrency),
            rate_per_minute: spec.rate_per_minute.or(rate),
        }
    }
}

impl Default for LaneRules {
    fn default() -> Self {
        Self { concurrency: 10, rate_per_minute: None }
    }
}

/// How much may wait in memory. Both count rooms that are reserved as well as deliveries that wait for a permit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LaneLimits {
    /// In one lane.
    pub queued_per_lane: usize,
    /// In all lanes together.
    pub queued_total: usize,
}

/// The lanes of all destinations. Cheap to clone.
#[derive(Clone)]
pub struct Lanes(Arc<Inner>);

type Run = Box<dyn Fn(HeldDelivery, Permit) -> BoxFuture<'static, ()> + Send + Sync>;

struct Inner {
    limits: LaneLimits,
    clock: Clock,
    tracker: TaskTracker,
    run: Run,
    lanes: RwLock<HashMap<Lane, Arc<Track>>>,
    /// Rooms reserved and deliveries waiting, in all lanes.
    waiting: AtomicUsize,
    under_way: AtomicUsize,
    halted: AtomicBool,
    short: Shortage,
}

/// Lanes that refused a room. Each is named once, when it has room again.
#[derive(Default)]
struct Shortage {
    /// Refused because all lanes together were full.
    starved: Mutex<Vec<Arc<Track>>>,
    /// Have room again.
    eased: Mutex<Vec<Lane>>,
    changed: Notify,
}

/// One lane.
struct Track {
    lane: Lane,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    rules: LaneRules,
    queue: VecDeque<HeldDelivery>,
    reserved: usize,
    running: u32,
    /// When deliveries were started, in the last minute; kept only where there is a rate.
    started: VecDeque<Millis>,
    /// Whether a task already waits for the rate to allow the next start.
    timed: bool,
    /// Why a room was refused, until it is told that there is room again.
    short: Option<Short>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Short {
    /// The lane was full.
    Lane,
    /// All lanes together were full.
    Total,
}

/// Room in memory for one delivery of a lane. Given back when dropped unused.
pub struct Room {
    inner: Arc<Inner>,
    track: Arc<Track>,
    used: bool,
}

/// The right to send one delivery. Given back when dropped, by a panic too; drop it once the answer is in.
pub struct Permit {
    inner: Arc<Inner>,
    track: Arc<Track>,
    begun: bool,
}

impl std::fmt::Debug for Lanes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lanes").field("queued", &self.queued()).field("under_way", &self.under_way()).finish()
    }
}

impl Lanes {
    /// Lanes whose deliveries are sent by `run`, in tasks of `tracker`.
    pub fn new(
        limits: LaneLimits,
        clock: Clock,
        tracker: TaskTracker,
        run: impl Fn(HeldDelivery, Permit) -> BoxFuture<'static, ()> + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(Inner {
            limits,
            clock,
            tracker,
            run: Box::new(run),
            lanes: RwLock::default(),
            waiting: AtomicUsize::new(0),
            under_way: AtomicUsize::new(0),
            halted: AtomicBool::new(false),
            short: Shortage::default(),
        }))
    }

    /// Sets what a lane may do from now on; until then it has the default. What is under way is not stopped.
    pub fn set_rules(&self, lane: &Lane, rules: LaneRules) {
        let track = self.0.track(lane);
        lock(&track.state).rules = rules;
        self.0.pump(&track);
        self.0.feed_starved();
    }

    /// Room for one delivery; `None` when the lane or all lanes together are full, or after [`Lanes::halt`].
    pub fn reserve(&self, lane: &Lane) -> Option<Room> {
        self.0.reserve(&self.0.track(lane))
    }

    /// As much room as there is, at most `n`: for claiming no more than can be kept.
    pub fn reserve_up_to(&self, lane: &Lane, n: usize) -> Vec<Room> {
        let track = self.0.track(lane);
        std::iter::from_fn(|| self.0.reserve(&track)).take(n).collect()
    }

    /// Puts a delivery into its lane; it starts when a permit is free and the rate allows. The room decides the lane.
    pub fn push(&self, mut room: Room, delivery: HeldDelivery) {
        room.used = true;
        {
            let mut state = lock(&room.track.state);
            state.reserved -= 1;
            state.queue.push_back(delivery);
        }
        self.0.pump(&room.track);
    }

    /// Whether the lane refused a room and has not been named by [`Lanes::eased`] since.
    pub fn is_short(&self, lane: &Lane) -> bool {
        lock(&self.0.track(lane).state).short.is_some()
    }

    /// Waits until lanes that refused a room have half of their room again, and names them, each once. One caller only.
    pub async fn eased(&self) -> Vec<Lane> {
        loop {
            let changed = self.0.short.changed.notified();
            let lanes = std::mem::take(&mut *lock(&self.0.short.eased));
            if !lanes.is_empty() {
                return lanes;
            }
            changed.await;
        }
    }

    /// Deliveries and rooms that are kept in memory and not started.
    pub fn queued(&self) -> usize {
        self.0.waiting.load(SeqCst)
    }

    /// Deliveries that hold a permit.
    pub fn under_way(&self) -> usize {
        self.0.under_way.load(SeqCst)
    }

    /// Starts nothing more and gives back what is queued. Called again it gives back what was pushed since.
    pub fn halt(&self) -> Vec<HeldDelivery> {
        self.0.halted.store(true, SeqCst);
        let tracks: Vec<_> = read(&self.0.lanes).values().cloned().collect();
        let mut back = Vec::new();
        for track in tracks {
            let queue = std::mem::take(&mut lock(&track.state).queue);
            self.0.waiting.fetch_sub(queue.len(), SeqCst);
            back.extend(queue);
        }
        back
    }

    /// Forgets a lane whose destination is gone, if nothing of it is in memory.
    pub fn forget(&self, lane: &Lane) {
        let mut lanes = self.0.lanes.write().unwrap_or_else(PoisonError::into_inner);
        // Rooms and permits hold the track, so one holder means that nobody is about to use it.
        if lanes.get(lane).is_some_and(|t| Arc::strong_count(t) == 1 && lock(&t.state).queue.is_empty()) {
            lanes.remove(lane);
        }
    }
}

impl Inner {
    fn track(&self, lane: &Lane) -> Arc<Track> {
        if let Some(track) = read(&self.lanes).get(lane) {
            return track.clone();
        }
        let mut lanes = self.lanes.write().unwrap_or_else(PoisonError::into_inner);
        let new = || Arc::new(Track { lane: lane.clone(), state: Mutex::default() });
        lanes.entry(lane.clone()).or_insert_with(new).clone()
    }

    fn reserve(self: &Arc<Self>, track: &Arc<Track>) -> Option<Room> {
        if self.halted.load(SeqCst) {
            return None;
        }
        let mut state = lock(&track.state);
        if state.reserved + state.queue.len() >= self.limits.queued_per_lane {
            state.short.get_or_insert(Short::Lane);
            return None;
        }
        let more = |n: usize| (n < self.limits.queued_total).then_some(n + 1);
        if self.waiting.fetch_update(SeqCst, SeqCst, more).is_err() {
            if state.short.is_none() {
                state.short = Some(Short::Total);
                lock(&self.short.starved).push(track.clone());
                // All may have emptied since the look above; then nobody else comes by to say so.
                drop(state);
                self.feed_starved();
            }
            return None;
        }
        state.reserved += 1;
        Some(Room { inner: self.clone(), track: track.clone(), used: false })
    }

    /// Starts what may start. Not under the lane's lock: a runtime that is going down drops a task as it is spawned, and
    /// with it the permit, which takes the lock.
    fn pump(self: &Arc<Self>, track: &Arc<Track>) {
        while let Some((delivery, mut permit)) = self.next(track) {
            let inner = self.clone();
            self.tracker.spawn(async move {
                permit.begun = true;
                (inner.run)(delivery, permit).await;
            });
        }
    }

    /// The delivery that may start now, if there is one.
    fn next(self: &Arc<Self>, track: &Arc<Track>) -> Option<(HeldDelivery, Permit)> {
        let mut state = lock(&track.state);
        let idle = state.running >= state.rules.concurrency || state.queue.is_empty();
        if idle || self.halted.load(SeqCst) {
            return None;
        }
        if let Some(at) = state.next_start(self.clock.now()) {
            self.start_later(track, &mut state, at);
            return None;
        }
        let delivery = state.queue.pop_front()?;
        state.running += 1;
        self.under_way.fetch_add(1, SeqCst);
        self.freed(track, &mut state);
        drop(state);
        Some((delivery, Permit { inner: self.clone(), track: track.clone(), begun: false }))
    }

    /// One thing less waits in this lane.
    fn freed(&self, track: &Track, state: &mut State) {
        self.waiting.fetch_sub(1, SeqCst);
        let eased = state.reserved + state.queue.len() <= self.limits.queued_per_lane / 2;
        if eased && state.short.take_if(|why| *why == Short::Lane).is_some() {
            self.ease(track.lane.clone());
        }
    }

    /// When half of all room is free again, tells the lanes that were refused for want of it.
    fn feed_starved(&self) {
        if self.waiting.load(SeqCst) > self.limits.queued_total / 2 {
            return;
        }
        // The list is let go before a lane is locked: `reserve` locks the two the other way around.
        let starved = std::mem::take(&mut *lock(&self.short.starved));
        for track in starved {
            if lock(&track.state).short.take_if(|why| *why == Short::Total).is_some() {
                self.ease(track.lane.clone());
            }
        }
    }

    fn ease(&self, lane: Lane) {
        lock(&self.short.eased).push(lane);
        self.short.changed.notify_one();
    }

    fn start_later(self: &Arc<Self>, track: &Arc<Track>, state: &mut State, at: Millis) {
        if std::mem::replace(&mut state.timed, true) {
            return;
        }
        // Not of the tracker: a stop need not wait for a minute to pass. Weak: nor keep anything alive.
        let (clock, inner, track) = (self.clock.clone(), Arc::downgrade(self), track.clone());
        tokio::spawn(async move {
            clock.sleep_until(at).await;
            if let Some(inner) = inner.upgrade() {
                lock(&track.state).timed = false;
                inner.pump(&track);
                inner.feed_starved();
            }
        });
    }
}

impl State {
    /// `None`: the rate allows a start now, which is noted. Otherwise when it will.
    fn next_start(&mut self, now: Millis) -> Option<Millis> {
        let Some(rate) = self.rules.rate_per_minute else {
            self.started.clear();
            return None;
        };
        while self.started.front().is_some_and(|at| now.since(*at) >= MINUTE) {
            self.started.pop_front();
        }
        // After a rate was lowered there are more starts than it allows: wait for the oldest that counts.
        if let Some(over) = self.started.len().checked_sub(rate.max(1) as usize) {
            return Some(self.started[over].plus(MINUTE));
        }
        self.started.push_back(now);
        None
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        if !self.used {
            let mut state = lock(&self.track.state);
            state.reserved -= 1;
            self.inner.freed(&self.track, &mut state);
        }
        self.inner.feed_starved();
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if !self.begun {
            // Dropped without a first poll: the runtime is going down. To start the next would only drop that as well.
            self.inner.halted.store(true, SeqCst);
        }
        lock(&self.track.state).running -= 1;
        self.inner.under_way.fetch_sub(1, SeqCst);
        self.inner.pump(&self.track);
        self.inner.feed_starved();
    }
}

/// A panic elsewhere leaves counters that each guard still settles: poison says nothing here.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn read<T>(lock: &RwLock<T>) -> std::sync::RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
#[path = "lanes_tests.rs"]
mod tests;
