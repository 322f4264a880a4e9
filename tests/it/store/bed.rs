//! Where a case runs: a database of its own, and short hands for what every case does.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hookyard::carrier::{
    Carrier, Destination, DestinationKind, DestinationSpec, DestinationState, Subscription, SubscriptionSpec,
    SubscriptionState,
};
use hookyard::clock::Millis;
use hookyard::event::{Event, NodeId, SubscriptionId, delivery_id};
use hookyard::store::error::{AcceptError, HeldError};
use hookyard::store::work::{
    Acceptance, Body, DeliveryState, Message, NewAttempt, NewDelivery, NewEvent, NewRouting, Next, Plan,
    RoutingState, VerdictKind,
};
use hookyard::store::{Store, StoreConfig, WriterLimits};
use hookyard_tests::postgres::Database;
use sqlx::{AssertSqlSafe, Connection};
use tokio::sync::oneshot;

/// When every case begins.
pub(crate) const T0: Millis = Millis(1_761_300_000_000);
pub(crate) const LEASE: Duration = Duration::from_secs(10);
/// Limits that no case comes near.
pub(crate) const ROOMY: WriterLimits = WriterLimits { queued_events: 10_000, backlog_events: 10_000 };

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Sqlite,
    Postgres,
}

pub(crate) enum Bed {
    Sqlite(tempfile::TempDir),
    Postgres(Box<Database>),
}

impl Bed {
    pub(crate) async fn make(kind: Kind) -> Self {
        match kind {
            Kind::Sqlite => Self::Sqlite(tempfile::tempdir().unwrap()),
            Kind::Postgres => Self::Postgres(Box::new(Database::create().await)),
        }
    }

    pub(crate) async fn end(self) {
        if let Self::Postgres(database) = self {
            database.drop_now().await;
        }
    }

    /// Runs a statement beside the store, as an operator's tool does: the first on SQLite, the second on PostgreSQL.
    pub(crate) async fn run(&self, sqlite: &str, postgres: &str) {
        match self {
            Self::Sqlite(folder) => {
                let url = format!("sqlite://{}", folder.path().join("hookyard.db").display());
                let mut conn = sqlx::SqliteConnection::connect(&url).await.unwrap();
                sqlx::raw_sql(AssertSqlSafe(sqlite.to_owned())).execute(&mut conn).await.unwrap();
                conn.close().await.unwrap();
            }
            Self::Postgres(database) => {
                let mut conn = sqlx::PgConnection::connect(database.url()).await.unwrap();
                sqlx::raw_sql(AssertSqlSafe(postgres.to_owned())).execute(&mut conn).await.unwrap();
                conn.close().await.unwrap();
            }
        }
    }

    /// Checks that the statements of a module whose name has `part` in it (`count` of them) walk along an index, whatever else
    /// the tables hold.
    pub(crate) async fn walk_along(&self, index: &str, module: &str, part: &str, count: usize) {
        let kind = if matches!(self, Self::Sqlite(_)) { "sqlite" } else { "postgres" };
        let searches: Vec<_> = hookyard::store::statements(kind)
            .into_iter()
            .filter(|(name, _)| name.starts_with(module) && name.contains(part))
            .collect();
        assert_eq!(searches.len(), count);
        for (name, sql) in searches {
            let plan: Vec<String> = match self {
                Self::Sqlite(folder) => {
                    let url = format!("sqlite://{}", folder.path().join("hookyard.db").display());
                    let mut conn = sqlx::SqliteConnection::connect(&url).await.unwrap();
                    let rows: Vec<(i64, i64, i64, String)> =
                        sqlx::query_as(AssertSqlSafe(format!("EXPLAIN QUERY PLAN {sql}")))
                            .fetch_all(&mut conn)
                            .await
                            .unwrap();
                    rows.into_iter().map(|(.., line)| line).collect()
                }
                Self::Postgres(database) => {
                    let mut conn = sqlx::PgConnection::connect(database.url()).await.unwrap();
                    // As it is planned when the values are not known.
                    let values = (1..).take_while(|n| sql.contains(&format!("${n}"))).map(|_| "NULL");
                    let values = values.collect::<Vec<_>>().join(", ");
                    let explain = format!(
                        "SET plan_cache_mode = force_generic_plan; PREPARE p AS {sql}; EXPLAIN EXECUTE p({values})"
                    );
                    let rows = sqlx::raw_sql(AssertSqlSafe(explain)).fetch_all(&mut conn).await.unwrap();
                    rows.iter().map(|row| sqlx::Row::get(row, 0)).collect()
                }
            };
            assert!(plan.iter().any(|line| line.contains(index)), "{name}: {plan:#?}");
        }
    }

    /// Writes `many` deliveries of the subscription `main` to `crm`, in the order of their numbers; `state` makes a state of the
    /// number `n`.
    pub(crate) async fn write_deliveries(&self, many: i64, state: &str) {
        let insert = |numbers: &str, hex: &str| {
            format!(
                "INSERT INTO deliveries (carrier, id, event, event_type, received_ms, subscription, place, lane, state, \
                 attempts, due_ms, updated_ms, last_error) {numbers} SELECT 'acme', '019a15a9-0000-7000-8000-' || {hex}, \
                 'e', 'case.closed', {at}, 'main', 0, 'acme/crm', {state}, 1, {at}, {at}, NULL FROM numbers",
                at = T0.0,
            )
        };
        let last = many - 1;
        let recursive = format!(
            "WITH RECURSIVE numbers (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM numbers WHERE n < {last})"
        );
        let series = format!("WITH numbers (n) AS (SELECT generate_series(0, {last}))");
        self.run(&insert(&recursive, "printf('%012x', n)"), &insert(&series, "lpad(to_hex(n), 12, '0')"))
            .await;
        self.run("SELECT 1", "ANALYZE deliveries").await;
    }

    pub(crate) fn config(&self) -> StoreConfig {
        match self {
            Self::Sqlite(folder) => StoreConfig::Sqlite { folder: folder.path().to_owned() },
            Self::Postgres(database) => StoreConfig::Postgres { url: database.url().to_owned() },
        }
    }

    /// Opens as a new node.
    pub(crate) async fn open(&self) -> Store {
        self.open_with(ROOMY).await
    }

    pub(crate) async fn open_with(&self, limits: WriterLimits) -> Store {
        open(self.config(), limits).await
    }

    /// Opens, with the carriers `acme` and `zeta`.
    pub(crate) async fn furnished(&self) -> Store {
        let store = self.open().await;
        furnish(&store).await;
        store
    }

    /// Runs a step in a runtime that then ends without a word, as a killed process does.
    pub(crate) async fn killed<F, T>(&self, step: impl FnOnce(Store) -> F + Send + 'static) -> T
    where
        F: Future<Output = T> + Send,
        T: Send + 'static,
    {
        let config = self.config();
        let folder = match &config {
            StoreConfig::Sqlite { folder } => Some(folder.clone()),
            StoreConfig::Postgres { .. } => None,
        };
        tokio::task::spawn_blocking(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let value = runtime.block_on(async {
                let store = open(config, ROOMY).await;
                // A clone outlives the step, so that the writer is not told to end.
                let alive = store.clone();
                let value = step(store).await;
                std::mem::forget(alive);
                value
            });
            drop(runtime);
            if let Some(folder) = folder {
                // The writer's thread sees a moment later that its runtime is gone: the lock is free then.
                std::fs::File::open(folder.join("hookyard.lock")).unwrap().lock().unwrap();
            }
            value
        })
        .await
        .unwrap()
    }
}

/// Opens as a new node, whose lease begins with every case.
pub(crate) async fn open(config: StoreConfig, limits: WriterLimits) -> Store {
    let node = NodeId::from(uuid::Uuid::now_v7());
    Store::open(&config, true, limits, node, T0, LEASE).await.unwrap()
}

pub(crate) async fn furnish(store: &Store) {
    for id in ["acme", "zeta"] {
        store
            .create_carrier(Carrier { id: id.parse().unwrap(), name: id.to_owned(), created_ms: T0 })
            .await
            .unwrap();
    }
}

pub(crate) fn event_at(id: &str, at: Millis) -> Arc<Event> {
    Arc::new(Event {
        carrier: "acme".parse().unwrap(),
        id: id.parse().unwrap(),
        event_type: "case.closed".parse().unwrap(),
        received: at,
        attributes: [("source".to_owned(), "/shop".to_owned())].into(),
        payload: Bytes::from(format!("{{\"id\":\"{id}\"}}")),
    })
}

pub(crate) fn event(id: &str) -> Arc<Event> {
    event_at(id, T0)
}

pub(crate) fn of_carrier(e: &Arc<Event>, carrier: &str) -> Arc<Event> {
    Arc::new(Event { carrier: carrier.parse().unwrap(), ..(**e).clone() })
}

pub(crate) fn new(e: &Arc<Event>, hold: bool) -> NewEvent {
    NewEvent { event: Arc::clone(e), digest: e.digest(), hold }
}

pub(crate) fn begin_accept(
    store: &Store,
    events: Vec<NewEvent>,
) -> oneshot::Receiver<Result<Vec<Acceptance>, AcceptError>> {
    let (tell, told) = oneshot::channel();
    store.accept(events, Box::new(move |r| drop(tell.send(r)))).unwrap();
    told
}

pub(crate) async fn accept(store: &Store, events: Vec<NewEvent>) -> Result<Vec<Acceptance>, AcceptError> {
    begin_accept(store, events).await.unwrap()
}

pub(crate) fn begin_plan(store: &Store, plan: Plan) -> oneshot::Receiver<Result<(), HeldError>> {
    let (tell, told) = oneshot::channel();
    store.plan(plan, Box::new(move |r| drop(tell.send(r))));
    told
}

pub(crate) async fn plan(store: &Store, plan: Plan) -> Result<(), HeldError> {
    begin_plan(store, plan).await.unwrap()
}

pub(crate) fn begin_record(store: &Store, attempt: NewAttempt) -> oneshot::Receiver<Result<(), HeldError>> {
    let (tell, told) = oneshot::channel();
    store.record(attempt, Box::new(move |r| drop(tell.send(r))));
    told
}

pub(crate) async fn record(store: &Store, attempt: NewAttempt) -> Result<(), HeldError> {
    begin_record(store, attempt).await.unwrap()
}

pub(crate) fn main_subscription() -> SubscriptionId {
    "main".parse().unwrap()
}

pub(crate) fn delivery(e: &Event, index: u32, destination: &str, hold: bool) -> NewDelivery {
    NewDelivery {
        id: delivery_id(e, &main_subscription(), index),
        destination: destination.parse().unwrap(),
        message: Message::forwarded(),
        body: Body::Original,
        order_key: None,
        due: e.received,
        hold,
        state: DeliveryState::Pending,
        error: None,
    }
}

pub(crate) fn routing(deliveries: Vec<NewDelivery>) -> NewRouting {
    NewRouting {
        subscription: main_subscription(),
        state: RoutingState::Routed,
        verdict: Some(VerdictKind::Forward),
        reason: None,
        versions: Vec::new(),
        tries: 1,
        due: None,
        cost_us: 20,
        log: None,
        deliveries,
    }
}

pub(crate) fn whole(e: &Arc<Event>, routings: Vec<NewRouting>) -> Plan {
    Plan { event: Arc::clone(e), routings, collected: Vec::new(), whole_event: true }
}

pub(crate) fn attempt(d: &NewDelivery, number: u32, next: Next) -> NewAttempt {
    let delivered = next == Next::Delivered;
    NewAttempt {
        carrier: "acme".parse().unwrap(),
        delivery: d.id.clone(),
        number,
        started: T0.plus(Duration::from_millis(5)),
        duration_us: 3_000,
        outcome: if delivered { "delivered" } else { "status" },
        status: Some(if delivered { 200 } else { 500 }),
        error: (!delivered).then(|| "500 Internal Server Error".to_owned()),
        request: "{\"line\":\"POST /\"}".to_owned(),
        response_headers: Some("{}".to_owned()),
        response_body: Some(Bytes::from_static(b"ok")),
        next,
        destination: None,
    }
}

/// Accepts an event and plans deliveries to these destinations, all held by this node when `hold` is set.
pub(crate) async fn planned(
    store: &Store,
    e: &Arc<Event>,
    destinations: &[&str],
    hold: bool,
) -> Vec<NewDelivery> {
    accept(store, vec![new(e, true)]).await.unwrap();
    let deliveries: Vec<NewDelivery> =
        (0..).zip(destinations).map(|(at, d)| delivery(e, at, d, hold)).collect();
    plan(store, whole(e, vec![routing(deliveries.clone())])).await.unwrap();
    deliveries
}

pub(crate) fn destination(name: &str) -> Destination {
    Destination {
        carrier: "acme".parse().unwrap(),
        name: name.parse().unwrap(),
        spec: DestinationSpec {
            url: Some("https://example.com/in".to_owned()),
            ..DestinationSpec::of(DestinationKind::Http)
        },
        sealed: vec![1, 2, 3],
        state: DestinationState::Enabled,
        disabled_reason: None,
        failing_since: None,
        created: T0,
        updated: T0,
    }
}

pub(crate) fn subscription(id: &str) -> Subscription {
    Subscription {
        carrier: "acme".parse().unwrap(),
        id: id.parse().unwrap(),
        spec: SubscriptionSpec {
            event_types: vec!["*".to_owned()],
            filter: None,
            plugins: Vec::new(),
            destinations: Vec::new(),
            settings: std::collections::BTreeMap::new(),
            policy: hookyard::carrier::PolicySpec::default(),
            on_fault: hookyard::carrier::OnFault::Hold,
            schedule: None,
            webhook: None,
        },
        state: SubscriptionState::Active,
        created: T0,
        updated: T0,
    }
}
