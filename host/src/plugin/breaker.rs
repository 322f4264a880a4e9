//! When a version that fails too often rests, and when it is tried again.
//!
//! A pure state machine: the time comes in as an argument. It must not know why a version failed.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use crate::carrier::PluginRef;
use crate::clock::Millis;
use crate::event::CarrierId;

/// When a version's breaker opens.
#[derive(Debug, Clone, Copy)]
pub struct BreakerConfig {
    /// Faults within the window that open it; at least 1.
    pub faults: u32,
    /// How far back faults count.
    pub window: Duration,
    /// How long it stays open before one event is let through as a probe.
    pub rest: Duration,
}

/// Versions are told apart by carrier too: what one carrier's events do to a shared plugin is no one else's concern.
pub(super) type Key = (CarrierId, PluginRef, i64);

/// Whether a version may run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Admit {
    Run,
    /// It rests because of this.
    Rest(String),
}

/// The breakers of all versions. One without faults takes no room.
#[derive(Debug)]
pub(super) struct Breakers {
    config: BreakerConfig,
    versions: HashMap<Key, Breaker>,
}

#[derive(Debug)]
struct Breaker {
    faults: VecDeque<Millis>,
    state: State,
    reason: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Closed,
    /// Open since; nothing runs.
    Open(Millis),
    /// One event was let through at this moment, and its end is awaited.
    Probing(Millis),
}

/// Breakers kept at once. Above it, those whose faults have gone out of the window are forgotten.
const KEPT: usize = 4_096;

impl Breakers {
    pub(super) fn new(config: BreakerConfig) -> Self {
        Self { config: BreakerConfig { faults: config.faults.max(1), ..config }, versions: HashMap::new() }
    }

    /// Whether there is anything to ask: no version has failed of late.
    pub(super) fn is_empty(&self) -> bool {
        self.versions.is_empty()
    }

    /// Asks before a run.
    pub(super) fn admit(&mut self, key: &Key, now: Millis) -> Admit {
        let rest = self.config.rest;
        let Some(breaker) = self.versions.get_mut(key) else { return Admit::Run };
        match breaker.state {
            State::Closed => Admit::Run,
            // A probe whose end never came (its thread died) is given up after another rest.
            State::Open(since) | State::Probing(since) if now.since(since) >= rest => {
                breaker.state = State::Probing(now);
                Admit::Run
            }
            State::Open(_) | State::Probing(_) => Admit::Rest(breaker.reason.clone()),
        }
    }

    /// A run ended without blame.
    pub(super) fn good(&mut self, key: &Key) {
        if self.versions.get(key).is_some_and(|breaker| breaker.state != State::Closed) {
            self.versions.remove(key);
        }
    }

    /// A run ended with a fault of the version. Gives true when this opened the breaker.
    pub(super) fn bad(&mut self, key: &Key, now: Millis, reason: &str) -> bool {
        let BreakerConfig { faults, window, .. } = self.config;
        if self.versions.len() >= KEPT && !self.versions.contains_key(key) {
            let fresh = |b: &Breaker| b.faults.back().is_some_and(|at| now.since(*at) < window);
            self.versions.retain(|_, b| b.state != State::Closed || fresh(b));
        }
        let breaker = self.versions.entry(key.clone()).or_insert_with(|| Breaker {
            faults: VecDeque::new(),
            state: State::Closed,
            reason: String::new(),
        });
        reason.clone_into(&mut breaker.reason);
        breaker.faults.push_back(now);
        while breaker.faults.len() > faults as usize
            || breaker.faults.front().is_some_and(|at| now.since(*at) >= window)
        {
            breaker.faults.pop_front();
        }
        let opens = match breaker.state {
            State::Closed => breaker.faults.len() >= faults as usize,
            // What was under way when it opened says nothing new.
            State::Open(_) => false,
            State::Probing(_) => true,
        };
        if opens {
            breaker.state = State::Open(now);
        }
        opens
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(carrier: &str) -> Key {
        (carrier.parse().unwrap(), "redact".parse().unwrap(), 3)
    }

    fn breakers() -> Breakers {
        let second = Duration::from_secs(1);
        Breakers::new(BreakerConfig { faults: 3, window: 10 * second, rest: 30 * second })
    }

    fn open(b: &mut Breakers, at: i64) {
        for _ in 0..3 {
            b.bad(&key("a"), Millis(at), "trap");
        }
    }

    #[test]
    fn faults_within_the_window_open_it() {
        let mut b = breakers();
        assert!(!b.bad(&key("a"), Millis(0), "one"));
        assert!(!b.bad(&key("a"), Millis(5_000), "two"));
        // The first has gone out of the window.
        assert!(!b.bad(&key("a"), Millis(10_000), "three"));
        assert_eq!(b.admit(&key("a"), Millis(10_000)), Admit::Run);
        assert!(b.bad(&key("a"), Millis(11_000), "four"));
        assert_eq!(b.admit(&key("a"), Millis(11_000)), Admit::Rest("four".to_owned()));
        assert_eq!(b.admit(&key("b"), Millis(11_000)), Admit::Run, "another carrier is not touched");
    }

    #[test]
    fn after_its_rest_one_probe_decides() {
        let mut b = breakers();
        open(&mut b, 0);
        assert_eq!(b.admit(&key("a"), Millis(29_999)), Admit::Rest("trap".to_owned()));
        assert_eq!(b.admit(&key("a"), Millis(30_000)), Admit::Run);
        assert_eq!(b.admit(&key("a"), Millis(30_001)), Admit::Rest("trap".to_owned()), "one probe at a time");
        assert!(b.bad(&key("a"), Millis(30_002), "again"), "a bad probe opens it again at once");
        assert_eq!(b.admit(&key("a"), Millis(60_001)), Admit::Rest("again".to_owned()));
        assert_eq!(b.admit(&key("a"), Millis(60_002)), Admit::Run);
        b.good(&key("a"));
        assert_eq!(b.admit(&key("a"), Millis(60_003)), Admit::Run);
        assert!(b.is_empty());
    }

    #[test]
    fn a_success_among_faults_does_not_forgive_them() {
        let mut b = breakers();
        b.bad(&key("a"), Millis(0), "one");
        b.good(&key("a"));
        b.bad(&key("a"), Millis(1), "two");
        b.good(&key("a"));
        assert!(b.bad(&key("a"), Millis(2), "three"));
    }

    #[test]
    fn a_lost_probe_is_followed_by_another() {
        let mut b = breakers();
        open(&mut b, 0);
        assert_eq!(b.admit(&key("a"), Millis(30_000)), Admit::Run);
        assert_eq!(b.admit(&key("a"), Millis(60_000)), Admit::Run);
    }
}
