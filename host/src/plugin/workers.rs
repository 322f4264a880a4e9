//! The threads that run chains: a fixed number, fed in batches from the fair queue.
//!
//! They must not know who asked or what is done with the answer.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::chain::{self, Chain, Ran, Shared};
use super::engine::Ticker;
use super::outcome::KINDS;
use super::queue::{Batch, FairQueue};
use crate::clock::Stopwatch;
use crate::event::Event;

/// Runs that a thread takes at once. Enough that the lock is no cost, few enough that the threads share the work.
const BATCH: usize = 16;

/// A run that took longer than this ends its batch: the rest goes back, so that a slow carrier holds up only itself.
const LONG_RUN: Duration = Duration::from_millis(1);

/// How long a stop goes on working off the queue. What is left then is answered as a fault of the host.
const DRAIN: Duration = Duration::from_secs(10);

/// A worker's native stack: the guest's 256 KiB and the host's own below and above.
const STACK: usize = 2 << 20;

/// One event to be run through one chain.
pub struct Run {
    /// The event.
    pub event: Arc<Event>,
    /// What it is run through.
    pub chain: Arc<Chain>,
    /// Called once on the thread that ran it: short, and never blocking.
    pub done: Box<dyn FnOnce(Ran) + Send>,
}

impl std::fmt::Debug for Run {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Run").field("event", &self.event.id).field("chain", &self.chain).finish()
    }
}

/// There is no room for this run (limit `queued_runs`), or the runtime is stopping. Here it is back.
#[derive(Debug)]
pub struct Full(pub Run);

/// What is counted.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) runs: AtomicU64,
    pub(super) faults: [AtomicU64; KINDS.len()],
    pub(super) busy_ns: AtomicU64,
}

/// What the threads share.
pub(super) struct Floor {
    state: Mutex<State>,
    work: Condvar,
    pub(super) counters: Counters,
    shared: Shared,
    pub(super) ticker: Ticker,
}

struct State {
    queue: FairQueue<Run>,
    sleepers: Sleepers,
    stopping: Option<Stopwatch>,
}

/// The threads that wait for work. To wake one is a system call, and it takes a while to get up: whoever brings work
/// meanwhile must not call it again.
#[derive(Debug, Default)]
struct Sleepers {
    asleep: usize,
    /// How many of them are getting up.
    called: usize,
}

impl Sleepers {
    /// Whether there is one to be woken that nobody has called yet; it counts as called.
    fn call(&mut self) -> bool {
        let found = self.asleep > self.called;
        self.called += usize::from(found);
        found
    }

    fn call_all(&mut self) {
        self.called = self.asleep;
    }

    fn lie_down(&mut self) {
        self.asleep += 1;
    }

    /// Whether one may get up: it was called, or it stands in for one that was.
    fn get_up(&mut self) -> bool {
        let called = self.called > 0;
        self.called -= usize::from(called);
        self.asleep -= usize::from(called);
        called
    }
}

impl Floor {
    pub(super) fn new(queued: usize, threads: usize, shared: Shared, ticker: Ticker) -> Self {
        let queue = FairQueue::new(queued, threads);
        Self {
            state: Mutex::new(State { queue, sleepers: Sleepers::default(), stopping: None }),
            work: Condvar::new(),
            counters: Counters::default(),
            shared,
            ticker,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No guest and no callback runs under the lock, so a panic under it is a bug of the queue alone.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn submit(&self, run: Run) -> Result<(), Full> {
        let mut state = self.lock();
        if state.stopping.is_some() {
            return Err(Full(run));
        }
        let chain = run.chain.clone();
        state.queue.push(&chain.carrier, run).map_err(Full)?;
        let wake = state.sleepers.call();
        drop(state);
        if wake {
            self.work.notify_one();
        }
        Ok(())
    }

    pub(super) fn queued(&self) -> usize {
        self.lock().queue.len()
    }

    pub(super) fn stop(&self) {
        let mut state = self.lock();
        state.stopping.get_or_insert_with(Stopwatch::start);
        state.sleepers.call_all();
        drop(state);
        self.work.notify_all();
    }

    /// Waits for work. None when the runtime has stopped and nothing is left.
    fn next(&self, last: Option<(Batch<Run>, Duration)>) -> Option<(Batch<Run>, bool)> {
        let mut state = self.lock();
        if let Some((batch, spent)) = last {
            let left = !batch.items.is_empty();
            state.queue.done(batch, spent);
            if left && state.sleepers.call() {
                self.work.notify_one();
            }
        }
        loop {
            // An even share for each thread, so that one does not run what another could.
            let most = (state.queue.len() / 2).clamp(1, BATCH);
            if let Some(batch) = state.queue.take(most) {
                let late = state.stopping.is_some_and(|since| since.elapsed() > DRAIN);
                return Some((batch, late));
            }
            if state.stopping.is_some() {
                return None;
            }
            state.sleepers.lie_down();
            while !state.sleepers.get_up() {
                state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
        }
    }

    fn work(&self) {
        let mut last = None;
        loop {
            let Some((mut batch, late)) = self.next(last.take()) else { return };
            let running = self.ticker.run();
            let watch = Stopwatch::start();
            while let Some(run) = batch.items.pop_front() {
                let before = watch.elapsed();
                let Run { event, chain, done } = run;
                let ran = if late {
                    Ran::host("the host is stopping")
                } else {
                    // A panic of the host on a guest's behalf must not take the thread, and with it the others.
                    catch_unwind(AssertUnwindSafe(|| self.run(&chain, &event)))
                        .unwrap_or_else(|panic| Ran::host(&format!("panic: {}", text(&*panic))))
                };
                self.count(&ran);
                if let Err(panic) = catch_unwind(AssertUnwindSafe(|| done(ran))) {
                    tracing::error!(event = %event.id, panic = text(&*panic), "the callback of a run panicked");
                }
                if !late && watch.elapsed().saturating_sub(before) > LONG_RUN {
                    break;
                }
            }
            let spent = watch.elapsed();
            drop(running);
            let ns = u64::try_from(spent.as_nanos()).unwrap_or(u64::MAX);
            self.counters.busy_ns.fetch_add(ns, Ordering::Relaxed);
            last = Some((batch, spent));
        }
    }

    /// One run on this thread.
    pub(super) fn run(&self, chain: &Arc<Chain>, event: &Event) -> Ran {
        chain::run(chain, event, &self.shared)
    }

    /// One run on the caller's thread, which no breaker sees.
    pub(super) fn rehearse(&self, chain: &Arc<Chain>, event: &Event) -> Ran {
        let _running = self.ticker.run();
        chain::run(chain, event, &self.shared.apart())
    }

    fn count(&self, ran: &Ran) {
        self.counters.runs.fetch_add(1, Ordering::Relaxed);
        if let Err(fault) = &ran.result {
            self.counters.faults[fault.index()].fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Starts the threads.
pub(super) fn start(floor: &Arc<Floor>, threads: usize) -> std::io::Result<Vec<std::thread::JoinHandle<()>>> {
    let start = |n| {
        let floor = floor.clone();
        std::thread::Builder::new().name(format!("wasm-{n}")).stack_size(STACK).spawn(move || {
            wasmtime::Engine::tls_eager_initialize();
            floor.work();
        })
    };
    (0..threads).map(start).collect()
}

fn text(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("without a message")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sleeper_is_called_once() {
        let mut s = Sleepers::default();
        assert!(!s.call(), "nobody sleeps");
        s.lie_down();
        s.lie_down();
        assert!(!s.get_up(), "nobody was called");
        assert!(s.call() && s.call());
        assert!(!s.call(), "both are getting up");
        assert!(s.get_up());
        assert!(!s.call(), "the other still is");
        s.lie_down();
        assert!(s.call(), "one has lain down again");
        assert!(s.get_up() && s.get_up());
        assert!(!s.get_up() && !s.call(), "all are up");
    }

    #[test]
    fn all_are_called_however_often() {
        let mut s = Sleepers::default();
        for _ in 0..3 {
            s.lie_down();
        }
        s.call();
        s.call_all();
        s.call_all();
        assert!(!s.call());
        assert!(s.get_up() && s.get_up() && s.get_up());
        assert!(!s.get_up());
    }
}
