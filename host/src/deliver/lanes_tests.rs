//! Tests of `lanes` on a clock that is moved by hand.

use std::sync::atomic::AtomicU32;

use futures_util::FutureExt;
use tokio::sync::{Semaphore, mpsc};

use super::*;
use crate::event::Event;
use crate::store::work::{Body, Message};

fn lane(name: &str) -> Lane {
    Lane { carrier: "acme".parse().unwrap(), destination: name.parse().unwrap() }
}

fn delivery(lane: &Lane) -> HeldDelivery {
    let event = Event {
        carrier: lane.carrier.clone(),
        id: "e-1".parse().unwrap(),
        event_type: "case.closed".parse().unwrap(),
        received: Millis(0),
        attributes: [].into(),
        payload: bytes::Bytes::from_static(b"{}"),
    };
    let subscription = "main".parse().unwrap();
    HeldDelivery {
        id: crate::event::delivery_id(&event, &subscription, 0),
        event: Arc::new(event),
        subscription,
        destination: lane.destination.clone(),
        message: Message::forwarded(),
        body: Body::Original,
        attempts: 0,
        due: Millis(0),
    }
}

/// Lanes whose deliveries each say that they began and then wait for the gate.
struct Bench {
    lanes: Lanes,
    clock: Clock,
    tracker: TaskTracker,
    began: mpsc::UnboundedReceiver<Lane>,
    gate: Arc<Semaphore>,
    most: Arc<AtomicU32>,
}

impl Bench {
    fn new(limits: LaneLimits) -> Self {
        let (say, began) = mpsc::unbounded_channel();
        let gate = Arc::new(Semaphore::new(0));
        let (now, most) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
        let clock = Clock::manual(Millis(1_000_000));
        let tracker = TaskTracker::new();
        let run = {
            let (gate, most) = (gate.clone(), most.clone());
            move |d: HeldDelivery, permit: Permit| {
                let (gate, most, now, say) = (gate.clone(), most.clone(), now.clone(), say.clone());
                async move {
                    most.fetch_max(now.fetch_add(1, SeqCst) + 1, SeqCst);
                    say.send(Lane { carrier: d.event.carrier.clone(), destination: d.destination }).unwrap();
                    gate.acquire().await.unwrap().forget();
                    now.fetch_sub(1, SeqCst);
                    drop(permit);
                }
                .boxed()
            }
        };
        let lanes = Lanes::new(limits, clock.clone(), tracker.clone(), run);
        Self { lanes, clock, tracker, began, gate, most }
    }

    fn push(&self, lane: &Lane, n: usize) {
        for _ in 0..n {
            self.lanes.push(self.lanes.reserve(lane).expect("room"), delivery(lane));
        }
    }

    async fn begun(&mut self, n: usize) {
        for _ in 0..n {
            self.began.recv().await.unwrap();
        }
    }

    async fn all_done(&self) {
        self.tracker.close();
        self.tracker.wait().await;
    }
}

const WIDE: LaneLimits = LaneLimits { queued_per_lane: 1_000, queued_total: 10_000 };

fn rules(concurrency: u32, rate_per_minute: Option<u32>) -> LaneRules {
    LaneRules { concurrency, rate_per_minute }
}

#[tokio::test]
async fn no_more_than_the_concurrency_is_under_way() {
    let mut bench = Bench::new(WIDE);
    let a = lane("a");
    bench.lanes.set_rules(&a, rules(3, None));
    bench.push(&a, 50);
    bench.begun(3).await;
    assert_eq!((bench.lanes.under_way(), bench.lanes.queued()), (3, 47));
    bench.gate.add_permits(50);
    bench.begun(47).await;
    bench.all_done().await;
    assert_eq!(bench.most.load(SeqCst), 3);
    assert_eq!((bench.lanes.under_way(), bench.lanes.queued()), (0, 0));
}

#[tokio::test]
async fn no_more_than_the_rate_starts_in_any_minute() {
    let mut bench = Bench::new(WIDE);
    let a = lane("a");
    bench.gate.add_permits(1_000);
    bench.lanes.set_rules(&a, rules(100, Some(5)));
    bench.push(&a, 2);
    bench.begun(2).await;
    bench.clock.advance(Duration::from_secs(30));
    bench.push(&a, 10);
    bench.begun(3).await;
    // Seven wait; two may start when the first two are a minute old, and not a millisecond before.
    bench.clock.advance(Duration::from_millis(29_999));
    tokio::task::yield_now().await;
    assert_eq!(bench.lanes.queued(), 7);
    bench.clock.advance(Duration::from_millis(1));
    bench.begun(2).await;
    assert_eq!(bench.lanes.queued(), 5);
    bench.clock.advance(Duration::from_secs(30));
    bench.begun(3).await;
    assert_eq!(bench.lanes.queued(), 2);
    // Without a rate the rest goes at once.
    bench.lanes.set_rules(&a, rules(100, None));
    bench.begun(2).await;
    assert_eq!(bench.lanes.queued(), 0);
}

#[tokio::test]
async fn a_slow_lane_fills_only_itself() {
    let mut bench = Bench::new(LaneLimits { queued_per_lane: 10, queued_total: 100 });
    let (slow, fast) = (lane("slow"), lane("fast"));
    bench.lanes.set_rules(&slow, rules(1, None));
    bench.lanes.set_rules(&fast, rules(50, None));
    bench.push(&slow, 11);
    bench.begun(1).await;
    assert!(bench.lanes.reserve(&slow).is_none() && bench.lanes.is_short(&slow));
    bench.push(&fast, 20);
    bench.begun(20).await;
    assert_eq!((bench.lanes.under_way(), bench.lanes.queued()), (21, 10));
    assert!(!bench.lanes.is_short(&fast));
    assert!(bench.lanes.eased().now_or_never().is_none());
    // The slow lane is named once, when half of its room is free again.
    bench.gate.add_permits(26);
    assert_eq!(bench.lanes.eased().await, std::slice::from_ref(&slow));
    assert!(!bench.lanes.is_short(&slow) && bench.lanes.reserve(&slow).is_some());
    bench.gate.add_permits(100);
    bench.all_done().await;
    assert!(bench.lanes.eased().now_or_never().is_none());
}

#[tokio::test]
async fn a_lane_that_finds_all_room_taken_is_named_when_there_is_some() {
    let bench = Bench::new(LaneLimits { queued_per_lane: 10, queued_total: 4 });
    let (a, b) = (lane("a"), lane("b"));
    let mut rooms = bench.lanes.reserve_up_to(&a, 100);
    assert_eq!((rooms.len(), bench.lanes.queued()), (4, 4));
    assert!(bench.lanes.reserve(&b).is_none() && bench.lanes.is_short(&b));
    rooms.truncate(3);
    assert!(bench.lanes.eased().now_or_never().is_none());
    rooms.truncate(2);
    let mut named = bench.lanes.eased().await;
    named.sort();
    assert_eq!(named, [a.clone(), b.clone()]);
    assert!(bench.lanes.reserve(&b).is_some());
}

#[tokio::test]
async fn a_thousand_panics_leak_no_permit_and_no_room() {
    let panics = Arc::new(AtomicU32::new(0));
    let tracker = TaskTracker::new();
    let run = {
        let panics = panics.clone();
        move |_: HeldDelivery, permit: Permit| {
            // Half before there is a future, half in it.
            let odd = panics.fetch_add(1, SeqCst) % 2 == 1;
            if odd {
                std::panic::resume_unwind(Box::new("in run"));
            }
            async move {
                let _permit = permit;
                std::panic::resume_unwind(Box::new("in its future"));
            }
            .boxed()
        }
    };
    let lanes = Lanes::new(WIDE, Clock::manual(Millis(0)), tracker.clone(), run);
    let a = lane("a");
    lanes.set_rules(&a, rules(2, None));
    for _ in 0..1_000 {
        lanes.push(lanes.reserve(&a).unwrap(), delivery(&a));
    }
    tracker.close();
    tracker.wait().await;
    assert_eq!(panics.load(SeqCst), 1_000);
    assert_eq!((lanes.under_way(), lanes.queued()), (0, 0));
}

#[tokio::test]
async fn a_halt_gives_back_what_has_not_started() {
    let mut bench = Bench::new(WIDE);
    let a = lane("a");
    bench.lanes.set_rules(&a, rules(2, None));
    bench.push(&a, 10);
    bench.begun(2).await;
    let room = bench.lanes.reserve(&a).unwrap();
    assert_eq!(bench.lanes.halt().len(), 8);
    bench.lanes.push(room, delivery(&a));
    assert!(bench.lanes.reserve(&a).is_none());
    bench.gate.add_permits(10);
    bench.all_done().await;
    assert_eq!((bench.lanes.halt().len(), bench.lanes.queued(), bench.lanes.under_way()), (1, 0, 0));
}

#[test]
fn a_runtime_that_goes_down_with_a_full_lane_does_not_hang() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let bench = runtime.block_on(async {
        let mut bench = Bench::new(WIDE);
        bench.push(&lane("a"), 500);
        bench.begun(10).await;
        bench
    });
    drop(runtime);
    assert_eq!(bench.lanes.under_way(), 0);
    assert!(bench.lanes.halt().len() >= 480);
}

#[tokio::test]
async fn a_lane_is_forgotten_only_when_nothing_of_it_is_left() {
    let bench = Bench::new(WIDE);
    let a = lane("a");
    bench.lanes.set_rules(&a, rules(0, None));
    let room = bench.lanes.reserve(&a).unwrap();
    bench.lanes.forget(&a);
    assert_eq!(bench.lanes.0.lanes.read().unwrap().len(), 1);
    drop(room);
    bench.lanes.forget(&a);
    assert_eq!(bench.lanes.0.lanes.read().unwrap().len(), 0);
}

/// Claims as the router does: only for lanes that are named. A name that got lost would leave this waiting forever.
#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn under_load_no_lane_that_was_refused_is_forgotten() {
    const EACH: usize = 1_000;
    let done = Arc::new(AtomicUsize::new(0));
    let tracker = TaskTracker::new();
    let run = {
        let done = done.clone();
        move |_: HeldDelivery, permit: Permit| {
            let done = done.clone();
            async move {
                tokio::task::yield_now().await;
                done.fetch_add(1, SeqCst);
                drop(permit);
            }
            .boxed()
        }
    };
    let limits = LaneLimits { queued_per_lane: 7, queued_total: 20 };
    let lanes = Lanes::new(limits, Clock::manual(Millis(0)), tracker.clone(), run);
    let mut left: HashMap<Lane, usize> = (0..8).map(|n| (lane(&format!("l{n}")), EACH)).collect();
    for a in left.keys() {
        lanes.set_rules(a, rules(2, None));
    }
    let mut open: Vec<Lane> = left.keys().cloned().collect();
    while left.values().any(|n| *n > 0) {
        for a in open.drain(..) {
            let wanted = left.get_mut(&a).unwrap();
            // One more than is wanted, so that only a lane that is done is never refused.
            let rooms = lanes.reserve_up_to(&a, *wanted + 1);
            for room in rooms.into_iter().take(*wanted) {
                lanes.push(room, delivery(&a));
                *wanted -= 1;
            }
        }
        if left.values().any(|n| *n > 0) {
            open = lanes.eased().await;
        }
    }
    tracker.close();
    tracker.wait().await;
    assert_eq!(done.load(SeqCst), 8 * EACH);
    assert_eq!((lanes.queued(), lanes.under_way()), (0, 0));
}

#[test]
fn a_destination_has_its_own_rules_or_those_of_its_strictest_policy() {
    use crate::carrier::{DestinationKind, PolicySpec};
    let spec = |concurrency, rate_per_minute| DestinationSpec {
        concurrency,
        rate_per_minute,
        ..DestinationSpec::of(DestinationKind::Http)
    };
    let policy = |concurrency, rate_per_minute| {
        let spec = PolicySpec { concurrency, rate_per_minute, ..PolicySpec::default() };
        Policy::resolve(&spec).unwrap()
    };
    let policies = [policy(Some(7), None), policy(Some(3), Some(50)), policy(None, Some(90))];
    let resolve = |spec: &DestinationSpec| LaneRules::resolve(spec, policies.iter());
    assert_eq!(resolve(&spec(None, None)), rules(3, Some(50)));
    assert_eq!(resolve(&spec(Some(20), Some(600))), rules(20, Some(600)));
    assert_eq!(LaneRules::resolve(&spec(None, None), std::iter::empty()), LaneRules::default());
}
