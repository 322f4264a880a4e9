//! The queue before the worker threads: bounded, and fair over the carriers by the thread time that they used.
//!
//! Every carrier has a lane with a virtual time; whoever has used the least goes first. A plain data structure
//! under the caller's lock. It must not know what is queued.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::time::Duration;

use crate::event::CarrierId;

/// What waits, by carrier.
#[derive(Debug)]
pub(super) struct FairQueue<T> {
    lanes: HashMap<CarrierId, Lane<T>>,
    /// Lanes with something to take, by virtual time. The name keeps lanes of one time apart.
    ready: BTreeSet<(u64, CarrierId)>,
    /// The virtual time of the last take: where a lane begins that was away.
    clock: u64,
    queued: usize,
    capacity: usize,
    threads: usize,
}

#[derive(Debug)]
struct Lane<T> {
    items: VecDeque<T>,
    /// Nanoseconds of thread time, with those that were spent on others while it was away.
    used: u64,
    running: usize,
}

/// What one take gives a thread.
#[derive(Debug)]
pub(super) struct Batch<T> {
    pub(super) carrier: CarrierId,
    pub(super) items: VecDeque<T>,
}

impl<T> FairQueue<T> {
    pub(super) fn new(capacity: usize, threads: usize) -> Self {
        Self { lanes: HashMap::new(), ready: BTreeSet::new(), clock: 0, queued: 0, capacity, threads }
    }

    pub(super) fn len(&self) -> usize {
        self.queued
    }

    /// Puts an item at the end of its carrier's lane, or gives it back. A lane may hold no more than what is free
    /// besides it: one carrier alone fills half of the queue, and there is always room left for another.
    pub(super) fn push(&mut self, carrier: &CarrierId, item: T) -> Result<(), T> {
        let free = self.capacity.saturating_sub(self.queued);
        match self.lanes.get_mut(carrier) {
            Some(lane) => {
                if lane.items.len() >= free {
                    return Err(item);
                }
                lane.items.push_back(item);
                if lane.items.len() == 1 {
                    // It was away (or ran its last): what it did not use then is not saved up.
                    lane.used = lane.used.max(self.clock);
                    self.ready.insert((lane.used, carrier.clone()));
                }
            }
            None => {
                if free == 0 {
                    return Err(item);
                }
                let lane = Lane { items: VecDeque::from([item]), used: self.clock, running: 0 };
                self.lanes.insert(carrier.clone(), lane);
                self.ready.insert((self.clock, carrier.clone()));
            }
        }
        self.queued += 1;
        Ok(())
    }

    /// Takes up to `most` items of the lane that has used the least. While others wait, no carrier gets the last
    /// free thread if it holds another already.
    pub(super) fn take(&mut self, most: usize) -> Option<Batch<T>> {
        let share = self.threads.saturating_sub(1).max(1);
        let others = self.ready.len() > 1;
        let free = |carrier: &CarrierId| self.lanes[carrier].running < share;
        let found = self.ready.iter().find(|(_, carrier)| !others || free(carrier));
        // When every waiting carrier holds its share there is still a thread that would idle: the first gets it.
        let key = found.or_else(|| self.ready.first())?.clone();
        let lane = self.lanes.get_mut(&key.1)?;
        let count = lane.items.len().min(most.max(1));
        let items: VecDeque<T> = lane.items.drain(..count).collect();
        lane.running += 1;
        self.queued -= count;
        self.clock = self.clock.max(lane.used);
        if lane.items.is_empty() {
            self.ready.remove(&key);
        }
        Some(Batch { carrier: key.1, items })
    }

    /// Ends a take: charges its carrier for the thread time and takes back what was not run.
    pub(super) fn done(&mut self, batch: Batch<T>, spent: Duration) {
        let Some(lane) = self.lanes.get_mut(&batch.carrier) else { return };
        self.ready.remove(&(lane.used, batch.carrier.clone()));
        lane.running -= 1;
        lane.used = lane.used.saturating_add(u64::try_from(spent.as_nanos()).unwrap_or(u64::MAX));
        self.queued += batch.items.len();
        for item in batch.items.into_iter().rev() {
            lane.items.push_front(item);
        }
        if !lane.items.is_empty() {
            self.ready.insert((lane.used, batch.carrier));
        } else if lane.running == 0 && lane.used <= self.clock {
            self.lanes.remove(&batch.carrier);
        }
        self.forget();
    }

    /// Forgets lanes that are away and owe nothing, so that a carrier seen once takes no room for ever.
    fn forget(&mut self) {
        const KEPT: usize = 1_024;
        if self.lanes.len() > KEPT + self.ready.len() {
            let clock = self.clock;
            self.lanes.retain(|_, l| !l.items.is_empty() || l.running > 0 || l.used > clock);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(name: &str) -> CarrierId {
        name.parse().unwrap()
    }

    fn fill(q: &mut FairQueue<u32>, carrier: &str, count: u32) {
        for n in 0..count {
            q.push(&id(carrier), n).unwrap();
        }
    }

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn thread_time_is_shared_evenly() {
        let mut q = FairQueue::new(1_000, 1);
        fill(&mut q, "cheap", 200);
        fill(&mut q, "dear", 100);
        let (mut cheap, mut dear) = (0, 0);
        for _ in 0..110 {
            let mut batch = q.take(1).unwrap();
            batch.items.clear();
            let is_dear = batch.carrier == id("dear");
            q.done(batch, if is_dear { 50 * MS } else { MS });
            *(if is_dear { &mut dear } else { &mut cheap }) += 1;
        }
        assert!((2..=4).contains(&dear), "{dear} dear runs among {cheap} cheap ones");
    }

    #[test]
    fn a_lane_that_was_away_does_not_claim_the_past() {
        let mut q = FairQueue::new(1_000, 1);
        fill(&mut q, "busy", 100);
        for _ in 0..50 {
            let mut batch = q.take(1).unwrap();
            batch.items.clear();
            q.done(batch, MS);
        }
        fill(&mut q, "late", 50);
        let mut late = 0;
        for _ in 0..20 {
            let mut batch = q.take(1).unwrap();
            batch.items.clear();
            late += u32::from(batch.carrier == id("late"));
            q.done(batch, MS);
        }
        assert!((9..=11).contains(&late), "{late}");
    }

    #[test]
    fn a_carrier_does_not_get_every_thread_while_another_waits() {
        let mut q = FairQueue::new(1_000, 2);
        fill(&mut q, "loops", 10);
        let first = q.take(1).unwrap();
        fill(&mut q, "other", 1);
        // `loops` has not been charged yet, but it holds its share.
        assert_eq!(q.take(1).unwrap().carrier, id("other"));
        assert_eq!(q.take(1).unwrap().carrier, id("loops"), "nobody else waits, so no thread idles");
        assert_eq!(first.carrier, id("loops"));
    }

    #[test]
    fn one_lane_cannot_fill_the_queue() {
        let mut q = FairQueue::new(10, 1);
        let pushed = (0..20).filter(|n| q.push(&id("a"), *n).is_ok()).count();
        assert_eq!(pushed, 5);
        assert!(q.push(&id("b"), 1).is_ok());
        assert_eq!(q.len(), 6);
    }

    #[test]
    fn what_was_not_run_comes_back_in_its_order() {
        let mut q = FairQueue::new(100, 1);
        fill(&mut q, "a", 5);
        let mut batch = q.take(3).unwrap();
        assert_eq!(batch.items.pop_front(), Some(0));
        q.done(batch, MS);
        assert_eq!(q.len(), 4);
        assert_eq!(q.take(10).unwrap().items, [1, 2, 3, 4]);
        assert!(q.take(1).is_none());
    }

    #[test]
    fn a_dear_run_is_remembered_while_its_lane_is_empty() {
        let mut q = FairQueue::new(100, 1);
        fill(&mut q, "loops", 1);
        let mut batch = q.take(1).unwrap();
        batch.items.clear();
        q.done(batch, 50 * MS);
        fill(&mut q, "loops", 1);
        fill(&mut q, "other", 1);
        assert_eq!(q.take(1).unwrap().carrier, id("other"));
    }
}
