//! The store's three steps in batches: accept, plan, record, as the router calls them, with as many events on their way
//! at once as 64 and 256 connections would make.
//!
//! `cargo bench -p hookyard --bench store` measures SQLite in a temporary folder; with `HOOKYARD_BENCH_POSTGRES` set to
//! a `postgres://` URL of an empty database, PostgreSQL.

#![expect(clippy::unwrap_used, reason = "a measurement that fails is of no use")]

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, SamplingMode, Throughput};
use hookyard::carrier::Carrier;
use hookyard::clock::{Clock, Millis};
use hookyard::event::{Event, SubscriptionId, delivery_id};
use hookyard::store::work::{
    Body, DeliveryState, Message, NewAttempt, NewDelivery, NewEvent, NewRouting, Next, Plan, RoutingState,
    VerdictKind,
};
use hookyard::store::{Store, StoreConfig, WriterLimits};
use tokio::sync::mpsc;

/// The host's own allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Events that are measured together: many times what is on its way at once, so that begin and end do not count.
const BURST: usize = 4_000;

fn event(n: usize, now: Millis, subscription: &SubscriptionId) -> (Arc<Event>, NewDelivery) {
    let event = Event {
        carrier: "acme".parse().unwrap(),
        id: uuid::Uuid::from_u128((n as u128).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835))
            .to_string()
            .parse()
            .unwrap(),
        event_type: "case.closed".parse().unwrap(),
        received: now,
        attributes: [("source".to_owned(), "/shop".to_owned())].into(),
        payload: Bytes::from(vec![b'x'; 1_024]),
    };
    let delivery = NewDelivery {
        id: delivery_id(&event, subscription, 0),
        destination: "crm".parse().unwrap(),
        message: Message::forwarded(),
        body: Body::Bytes(event.payload.clone()),
        order_key: None,
        due: now,
        hold: true,
        state: DeliveryState::Pending,
        error: None,
    };
    (Arc::new(event), delivery)
}

/// A store with one carrier.
async fn open(config: &StoreConfig, clock: &Clock) -> Store {
    let limits = WriterLimits { queued_events: 100_000, backlog_events: 100_000 };
    let node = uuid::Uuid::now_v7().into();
    let store = Store::open(config, true, limits, node, clock.now(), Duration::from_secs(60)).await.unwrap();
    let carrier = Carrier { id: "acme".parse().unwrap(), name: String::new(), created_ms: clock.now() };
    store.create_carrier(carrier).await.unwrap();
    store
}

/// Sends a burst of events from number `first` on, `under_way` at once.
async fn burst(store: &Store, clock: &Clock, first: usize, under_way: usize) {
    let (tell, mut done) = mpsc::unbounded_channel();
    let mut waiting = first..first + BURST;
    for n in waiting.by_ref().take(under_way) {
        go(store, n, clock.now(), tell.clone());
    }
    for _ in 0..BURST {
        done.recv().await.unwrap();
        if let Some(n) = waiting.next() {
            go(store, n, clock.now(), tell.clone());
        }
    }
}

fn main() {
    let folder = tempfile::tempdir().unwrap();
    #[expect(clippy::disallowed_methods, reason = "a bench has no configuration of its own")]
    let config = match std::env::var("HOOKYARD_BENCH_POSTGRES") {
        Ok(url) => StoreConfig::Postgres { url },
        Err(_) => StoreConfig::Sqlite { folder: folder.path().to_owned() },
    };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let clock = Clock::system();
    let store = runtime.block_on(open(&config, &clock));
    let mut criterion = Criterion::default().without_plots().configure_from_args();
    let mut group = criterion.benchmark_group(format!("accept, plan, record/{}", store.kind()));
    group.throughput(Throughput::Elements(BURST as u64));
    group.sampling_mode(SamplingMode::Flat).sample_size(20).measurement_time(Duration::from_secs(15));
    let mut first = 0;
    for under_way in [64, 256] {
        group.bench_function(BenchmarkId::new("under way", under_way), |b| {
            b.iter(|| {
                runtime.block_on(burst(&store, &clock, first, under_way));
                first += BURST;
            });
        });
    }
    group.finish();
    criterion.final_summary();
    runtime.block_on(store.close()).unwrap();
}

/// Sends one event through all three steps; each answer begins the next.
fn go(store: &Store, n: usize, now: Millis, tell: mpsc::UnboundedSender<()>) {
    let subscription: SubscriptionId = "main".parse().unwrap();
    let (event, delivery) = event(n, now, &subscription);
    let digest = event.digest();
    let next = store.clone();
    let new = NewEvent { event: Arc::clone(&event), digest, hold: true };
    let accepted = move |r: Result<_, _>| {
        let _: Vec<_> = r.unwrap();
        let attempt = NewAttempt {
            carrier: event.carrier.clone(),
            delivery: delivery.id.clone(),
            number: 1,
            started: now,
            duration_us: 900,
            outcome: "delivered",
            status: Some(200),
            error: None,
            request: "{\"method\":\"POST\",\"url\":\"https://example.com/in\",\"headers\":[]}".to_owned(),
            response_headers: Some("{\"content-length\":\"2\"}".to_owned()),
            response_body: Some(Bytes::from_static(b"ok")),
            next: Next::Delivered,
            destination: None,
        };
        let routing = NewRouting {
            subscription,
            state: RoutingState::Routed,
            verdict: Some(VerdictKind::Forward),
            reason: None,
            versions: Vec::new(),
            tries: 1,
            due: None,
            cost_us: 20,
            log: None,
            deliveries: vec![delivery],
        };
        let plan = Plan { event, routings: vec![routing], collected: Vec::new(), whole_event: true };
        let last = next.clone();
        next.plan(
            plan,
            Box::new(move |r| {
                r.unwrap();
                last.record(
                    attempt,
                    Box::new(move |r| {
                        r.unwrap();
                        tell.send(()).unwrap();
                    }),
                );
            }),
        );
    };
    store.accept(vec![new], Box::new(accepted)).unwrap();
}
