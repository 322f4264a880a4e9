//! The store's three steps in batches: accept, plan, record, as the router calls them.
//!
//! `cargo bench -p hookyard --bench store` measures SQLite in a temporary folder; with `HOOKYARD_BENCH_POSTGRES` set to
//! a `postgres://` URL of an empty database, PostgreSQL.

#![expect(clippy::unwrap_used, reason = "a measurement that fails is of no use")]

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hookyard::carrier::Carrier;
use hookyard::clock::{Clock, Millis, Stopwatch};
use hookyard::event::{Event, SubscriptionId, delivery_id};
use hookyard::store::work::{
    Body, DeliveryState, Message, NewAttempt, NewDelivery, NewEvent, NewRouting, Next, Plan, RoutingState,
    VerdictKind,
};
use hookyard::store::{Store, StoreConfig, WriterLimits};
use tokio::sync::mpsc;

const EVENTS: usize = 60_000;
/// Events on their way at once, as 256 connections would make them.
const UNDER_WAY: usize = 256;

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

#[tokio::main]
async fn main() {
    let folder = tempfile::tempdir().unwrap();
    #[expect(clippy::disallowed_methods, reason = "a bench has no configuration of its own")]
    let config = match std::env::var("HOOKYARD_BENCH_POSTGRES") {
        Ok(url) => StoreConfig::Postgres { url },
        Err(_) => StoreConfig::Sqlite { folder: folder.path().to_owned() },
    };
    let clock = Clock::system();
    let limits = WriterLimits { queued_events: 100_000, backlog_events: 100_000 };
    let node = uuid::Uuid::now_v7().into();
    let store = Store::open(&config, true, limits, node, clock.now(), Duration::from_secs(60)).await.unwrap();
    let carrier = Carrier { id: "acme".parse().unwrap(), name: String::new(), created_ms: clock.now() };
    store.create_carrier(carrier).await.unwrap();

    let (tell, mut done) = mpsc::unbounded_channel();
    let watch = Stopwatch::start();
    for n in 0..UNDER_WAY {
        go(&store, n, clock.now(), tell.clone());
    }
    let mut finished = 0;
    let mut started = UNDER_WAY;
    while finished < EVENTS {
        done.recv().await.unwrap();
        finished += 1;
        if started < EVENTS {
            go(&store, started, clock.now(), tell.clone());
            started += 1;
        }
    }
    let took = watch.elapsed();
    println!(
        "{}: {:.0} events/s accepted, planned and recorded",
        store.kind(),
        EVENTS as f64 / took.as_secs_f64()
    );
    store.close().await.unwrap();
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
        let plan = Plan { event, routings: vec![routing], whole_event: true };
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
