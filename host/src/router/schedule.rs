//! Aside: the ticks of scheduled subscriptions. Here is when a run begins and who makes it; `digests` is what it does.
//!
//! Every node looks at all schedules; the store lets one of them begin a run. What was missed while no node ran is one run.
//! A run that is broken off is gone on with: by this node at its next start, by another when the lease has lapsed.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::sync::broadcast::Receiver;

use super::Router;
use super::directory::CarrierView;
use super::route::DATABASE_PAUSE;
use crate::clock::Millis;
use crate::event::CarrierId;
use crate::store::Wake;
use crate::store::collected::Window;
use crate::store::error::StoreError;
use crate::store::schedules::{RunKind, ScheduleKey, ScheduleRecord};

/// How often all schedules are looked at, whatever the wake-ups say.
const SAFETY_NET: Duration = Duration::from_secs(10);
/// Runs that a node makes at once; more wait.
const RUNS: usize = 4;

type Carriers = HashMap<CarrierId, Arc<CarrierView>>;

/// What a node knows of the runs that it makes.
#[derive(Debug, Default)]
pub(super) struct Schedules {
    look: Notify,
    running: Mutex<HashSet<ScheduleKey>>,
    /// What was set up when the schedules were last looked at.
    seen: Mutex<Weak<Carriers>>,
}

impl Schedules {
    /// Has the schedules looked at when something was set up since.
    pub(super) fn has_changed(&self, now: &Arc<Carriers>) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if !std::ptr::eq(seen.as_ptr(), Arc::as_ptr(now)) {
            *seen = Arc::downgrade(now);
            self.look.notify_one();
        }
    }

    fn running(&self) -> std::sync::MutexGuard<'_, HashSet<ScheduleKey>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A run that this node makes; over when it is dropped, however that comes about.
struct Running {
    router: Router,
    key: ScheduleKey,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.router.schedules.running().remove(&self.key);
        // Another may have waited for its turn, and this one may be due again.
        self.router.schedules.look.notify_one();
    }
}

impl Router {
    /// Begins runs when they are due until the host stops.
    pub(super) async fn run_schedules(self) -> Result<(), StoreError> {
        let mut wakes = self.store.wakes();
        loop {
            let (next, pause) = match self.look_at_schedules().await {
                Ok(next) => (next, SAFETY_NET),
                Err(why) => {
                    tracing::warn!(%why, "schedules could not be looked at; trying again");
                    (Millis(i64::MAX), DATABASE_PAUSE)
                }
            };
            tokio::select! {
                biased;
                () = self.life.soft().cancelled() => return Ok(()),
                () = self.schedules.look.notified() => {}
                () = asked(&mut wakes) => {}
                () = self.clock.sleep_until(next) => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Begins what is due and goes on with what nobody makes. Gives when the next is due.
    async fn look_at_schedules(&self) -> Result<Millis, StoreError> {
        let carriers = self.directory.carriers();
        let now = self.clock.now();
        let mut next = Millis(i64::MAX);
        for record in self.store.schedules().await? {
            let view = carriers.get(&record.key.carrier);
            let standing = view.and_then(|v| v.standing.iter().find(|s| s.id == record.key.subscription));
            // One that is paused rests with all that it has collected.
            let Some(standing) = standing else { continue };
            if record.run.is_some() {
                let others = record.held_by.as_ref().is_some_and(|node| node != self.store.node());
                if !others {
                    self.start_run(record, None);
                }
                continue;
            }
            let Some(schedule) = &standing.schedule else {
                let window = Window { from: record.created, to: now };
                if self.store.count_collected(&record.key, window, 1).await? > 0 {
                    self.start_run(record, Some((now, RunKind::Last)));
                }
                continue;
            };
            // Ticks of before the schedule was what it is were not missed.
            let since = record.watermark.max(record.set);
            match schedule.latest(since, now) {
                Some(tick) => self.start_run(record, Some((tick, RunKind::Tick))),
                None => next = next.min(schedule.next_after(since.max(now)).unwrap_or(next)),
            }
        }
        Ok(next)
    }

    /// Makes a run on a task of its own, if this node does not make it already and has not too many.
    fn start_run(&self, record: ScheduleRecord, new: Option<(Millis, RunKind)>) {
        {
            let mut running = self.schedules.running();
            if running.len() >= RUNS || !running.insert(record.key.clone()) {
                return;
            }
        }
        let running = Running { router: self.clone(), key: record.key.clone() };
        let router = self.clone();
        let hard = self.life.hard().clone();
        let work = async move {
            if let Err(why) = router.make_run(&record, new).await {
                let ScheduleKey { carrier, subscription } = &record.key;
                tracing::warn!(%carrier, %subscription, %why, "a tick could not be finished; it is gone on with");
                tokio::select! {
                    () = router.life.soft().cancelled() => {}
                    () = tokio::time::sleep(DATABASE_PAUSE) => {}
                }
            }
        };
        self.life.tracker().spawn(async move {
            let _running = running;
            tokio::select! {
                biased;
                // What is committed stays, and the rest is gone on with at the next start.
                () = hard.cancelled() => {}
                () = work => {}
            }
        });
    }
}

/// Waits until a run is asked for.
async fn asked(wakes: &mut Receiver<Wake>) {
    while let Ok(wake) = wakes.recv().await {
        if wake == Wake::Run {
            return;
        }
    }
}
