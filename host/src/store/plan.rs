//! Step 5: what an event came to, written with the event's own new state.
//!
//! It must not know how verdicts are reached, nor how a turn is run.

use std::collections::HashSet;
use std::sync::LazyLock;

use rusqlite::params;
use sqlx::postgres::PgConnection;

use super::db::{Conn, Rows, on_db, read_rows, sql, text};
use super::error::{HeldError, StoreError};
use super::postgres::column;
use super::rows::json;
use super::work::{Body, Collected, DeliveryState, Message, NewDelivery, NewRouting, Plan, RoutingState};
use super::writer::{Caller, Command, Planned};
use super::{Done, Shared, Store, Wake, lane};
use crate::event::Event;

macro_rules! plan_postgres {
    ($conflict:literal) => {
        concat!(
            "WITH closed AS (DELETE FROM open_events o USING UNNEST($2::TEXT[], $3::BIGINT[], $4::TEXT[]) \
            AS g (carrier, received_ms, id) WHERE o.carrier = g.carrier AND o.received_ms = g.received_ms \
            AND o.id = g.id AND o.held_by = $1 RETURNING o.id), \
            complete AS (SELECT (SELECT COUNT(*) FROM closed) = CARDINALITY($2) AS yes), \
            routed AS (INSERT INTO routings (carrier, received_ms, event, subscription, state, verdict, reason, \
            versions, tries, due_ms, cost_us, log) SELECT * FROM UNNEST($5::TEXT[], $6::BIGINT[], $7::TEXT[], \
            $8::TEXT[], $9::TEXT[], $10::TEXT[], $11::TEXT[], $12::TEXT[], $13::BIGINT[], $14::BIGINT[], \
            $15::BIGINT[], $16::TEXT[]) WHERE (SELECT yes FROM complete)",
            $conflict,
            "), planned AS (INSERT INTO deliveries (carrier, id, event, event_type, received_ms, subscription, place, \
            lane, state, held_by, attempts, due_ms, updated_ms, last_error, order_key) \
            SELECT carrier, id, event, event_type, received_ms, subscription, place, lane, state, held_by, 0, due_ms, \
            received_ms, last_error, order_key FROM UNNEST($17::TEXT[], $18::TEXT[], $19::TEXT[], $20::TEXT[], \
            $21::BIGINT[], $22::TEXT[], $23::BIGINT[], $24::TEXT[], $25::TEXT[], $26::TEXT[], $27::BIGINT[], \
            $28::TEXT[], $29::TEXT[]) AS g (carrier, id, event, event_type, received_ms, subscription, place, lane, \
            state, held_by, due_ms, last_error, order_key) WHERE (SELECT yes FROM complete)",
            $conflict,
            "), bodies AS (INSERT INTO delivery_bodies (carrier, id, message, body_kind, body) \
            SELECT * FROM UNNEST($30::TEXT[], $31::TEXT[], $32::TEXT[], $33::TEXT[], $34::BYTEA[]) \
            WHERE (SELECT yes FROM complete)",
            $conflict,
            ") SELECT COUNT(*) FROM closed"
        )
    };
}

sql! {
    /// For one routing that is run again; parameters stand in the order of their numbers.
    UPDATE_ROUTING = "UPDATE routings SET state = $1, verdict = $2, reason = $3, versions = $4, tries = $5, \
        due_ms = $6, cost_us = $7, log = $8, held_by = NULL \
        WHERE carrier = $9 AND received_ms = $10 AND event = $11 AND subscription = $12 AND held_by = $13";
    SELECT_ROUTING_HELD = "SELECT tries FROM routings \
        WHERE carrier = $1 AND received_ms = $2 AND event = $3 AND subscription = $4 AND held_by = $5";
    CLOSE_EVENT_SQLITE = "DELETE FROM open_events \
        WHERE carrier = $1 AND received_ms = $2 AND id = $3 AND held_by = $4";
    INSERT_ROUTING_SQLITE = "INSERT INTO routings (carrier, received_ms, event, subscription, state, verdict, reason, \
        versions, tries, due_ms, cost_us, log) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) \
        ON CONFLICT (carrier, received_ms, event, subscription) DO NOTHING";
    INSERT_DELIVERY_SQLITE = "INSERT INTO deliveries (carrier, id, event, event_type, received_ms, subscription, \
        place, lane, state, held_by, attempts, due_ms, updated_ms, last_error, order_key) \
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, 0, $11, $12, $13, $14) \
        ON CONFLICT (carrier, id) DO NOTHING";
    INSERT_DELIVERY_BODY_SQLITE = "INSERT INTO delivery_bodies (carrier, id, message, body_kind, body) \
        VALUES ($1, $2, $3, $4, $5) ON CONFLICT (carrier, id) DO NOTHING";
    INSERT_COLLECTED_SQLITE = "INSERT INTO collected (carrier, received_ms, event, subscription, grp, bytes) \
        VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (carrier, received_ms, event, subscription) DO NOTHING";
    /// A statement of its own: most turns have nothing for it.
    COLLECT_POSTGRES = "INSERT INTO collected (carrier, received_ms, event, subscription, grp, bytes) \
        SELECT * FROM UNNEST($1::TEXT[], $2::BIGINT[], $3::TEXT[], $4::TEXT[], $5::TEXT[], $6::BIGINT[]) \
        ON CONFLICT DO NOTHING";
    /// Gives how many events were closed; only when all were does it write the rest.
    PLAN_POSTGRES = plan_postgres!("");
    /// As that, for a plan by itself: what stands there already stays. It costs half as much again, and no plan finds
    /// anything; should one do so, its turn fails and is halved until the plan comes by itself.
    PLAN_ONE_POSTGRES = plan_postgres!(" ON CONFLICT DO NOTHING");
}

pub(super) static SELECT_HELD: LazyLock<Rows> = LazyLock::new(|| {
    Rows::new(
        "SELECT carrier, id FROM open_events WHERE held_by = $1 AND (carrier, received_ms, id) IN",
        1,
        &["TEXT", "BIGINT", "TEXT"],
        "",
    )
});
impl Store {
    /// Writes an event's routings and deliveries and marks it routed. Planning again changes nothing.
    /// `done` gets [`HeldError::Lost`] when this node no longer holds the event (then nothing was written).
    pub fn plan(&self, plan: Plan, done: Done<Result<(), HeldError>>) {
        self.send(Command::Plan(Planned { plan, done: Caller::new(done) }));
    }
}

/// What a plan adds to a turn's bytes.
pub(super) fn bytes(plan: &Plan) -> usize {
    let of = |d: &NewDelivery| match &d.body {
        Body::Original => 0,
        Body::Bytes(b) => b.len(),
        Body::Fetch(url) => url.len(),
    };
    plan.routings
        .iter()
        .map(|r| r.log.as_ref().map_or(0, String::len) + r.deliveries.iter().map(of).sum::<usize>())
        .sum()
}

/// What a turn's plans come to, table by table.
struct Planning<'p> {
    /// Events that are routed for the first time: they are open, and closed with this.
    whole: Vec<&'p Event>,
    routings: Vec<RoutingRow<'p>>,
    /// Routings that were run again.
    again: Vec<RoutingRow<'p>>,
    collected: Vec<CollectedRow<'p>>,
    deliveries: Vec<DeliveryRow<'p>>,
    bodies: Vec<BodyRow<'p>>,
}

/// An event, and what of it waits for a tick.
type CollectedRow<'p> = (&'p Event, &'p Collected);

struct RoutingRow<'p> {
    event: &'p Event,
    routing: &'p NewRouting,
    versions: String,
}

struct DeliveryRow<'p> {
    event: &'p Event,
    routing: &'p NewRouting,
    place: i64,
    lane: String,
    delivery: &'p NewDelivery,
}

struct BodyRow<'p> {
    carrier: &'p str,
    delivery: &'p str,
    message: String,
    kind: &'static str,
    body: Option<&'p [u8]>,
}

impl<'p> Planning<'p> {
    fn new(plans: &'p [Planned]) -> Result<Self, StoreError> {
        let mut all = Self {
            whole: Vec::with_capacity(plans.len()),
            routings: Vec::with_capacity(plans.len()),
            again: Vec::new(),
            collected: Vec::new(),
            deliveries: Vec::with_capacity(plans.len()),
            bodies: Vec::with_capacity(plans.len()),
        };
        let forwarded = Message::forwarded();
        for Planned { plan, .. } in plans {
            let event = &*plan.event;
            if plan.whole_event {
                all.whole.push(event);
            }
            all.collected.extend(plan.collected.iter().map(|one| (event, one)));
            for routing in &plan.routings {
                let row = RoutingRow { event, routing, versions: json(&routing.versions)? };
                if plan.whole_event { &mut all.routings } else { &mut all.again }.push(row);
                for (place, delivery) in (0_i64..).zip(&routing.deliveries) {
                    let lane = lane(event.carrier.as_str(), delivery.destination.as_str());
                    all.deliveries.push(DeliveryRow { event, routing, place, lane, delivery });
                    if delivery.message != forwarded || delivery.body != Body::Original {
                        all.bodies.push(BodyRow::new(event, delivery)?);
                    }
                }
            }
        }
        Ok(all)
    }
}

impl<'p> DeliveryRow<'p> {
    fn held_by<'n>(&self, node: &'n str) -> Option<&'n str> {
        (self.delivery.hold && self.delivery.state == DeliveryState::Pending).then_some(node)
    }
}

impl<'p> BodyRow<'p> {
    fn new(event: &'p Event, delivery: &'p NewDelivery) -> Result<Self, StoreError> {
        let (kind, body): (_, Option<&[u8]>) = match &delivery.body {
            Body::Original => ("original", None),
            Body::Bytes(bytes) => ("bytes", Some(bytes)),
            Body::Fetch(url) => ("fetch", Some(url.as_bytes())),
        };
        let message = json(&delivery.message)?;
        Ok(Self { carrier: event.carrier.as_str(), delivery: delivery.id.as_str(), message, kind, body })
    }
}

/// Writes the plans into SQLite. False when this node no longer holds some of them.
pub(super) fn write_sqlite(
    conn: &rusqlite::Connection,
    node: &str,
    plans: &[Planned],
) -> Result<bool, StoreError> {
    let all = Planning::new(plans)?;
    let mut close = conn.prepare_cached(CLOSE_EVENT_SQLITE)?;
    for e in &all.whole {
        if close.execute(params![e.carrier.as_str(), e.received.0, e.id.as_str(), node])? == 0 {
            return Ok(false);
        }
    }
    let mut update = conn.prepare_cached(UPDATE_ROUTING)?;
    for RoutingRow { event: e, routing: r, versions } in &all.again {
        let changed = update.execute(params![
            r.state.as_str(),
            r.verdict.map(|v| v.as_str()),
            r.reason.as_deref().map(text),
            versions,
            r.tries,
            r.due.map(|due| due.0),
            micros(r.cost_us),
            r.log.as_deref().map(text),
            e.carrier.as_str(),
            e.received.0,
            e.id.as_str(),
            r.subscription.as_str(),
            node
        ])?;
        if changed == 0 {
            return Ok(false);
        }
    }
    let mut insert = conn.prepare_cached(INSERT_ROUTING_SQLITE)?;
    for RoutingRow { event: e, routing: r, versions } in &all.routings {
        insert.execute(params![
            e.carrier.as_str(),
            e.received.0,
            e.id.as_str(),
            r.subscription.as_str(),
            r.state.as_str(),
            r.verdict.map(|v| v.as_str()),
            r.reason.as_deref().map(text),
            versions,
            r.tries,
            r.due.map(|due| due.0),
            micros(r.cost_us),
            r.log.as_deref().map(text)
        ])?;
    }
    let mut insert = conn.prepare_cached(INSERT_COLLECTED_SQLITE)?;
    for (e, one) in &all.collected {
        let bytes = i64::try_from(one.bytes).unwrap_or(i64::MAX);
        insert.execute(params![
            e.carrier.as_str(),
            e.received.0,
            e.id.as_str(),
            one.subscription.as_str(),
            one.group,
            bytes
        ])?;
    }
    let mut insert = conn.prepare_cached(INSERT_DELIVERY_SQLITE)?;
    for row in &all.deliveries {
        let (e, d) = (row.event, row.delivery);
        insert.execute(params![
            e.carrier.as_str(),
            d.id.as_str(),
            e.id.as_str(),
            e.event_type.as_str(),
            e.received.0,
            row.routing.subscription.as_str(),
            row.place,
            row.lane,
            d.state.as_str(),
            row.held_by(node),
            d.due.0,
            e.received.0,
            d.error.as_deref().map(text),
            d.order_key.as_deref().map(text)
        ])?;
    }
    let mut insert = conn.prepare_cached(INSERT_DELIVERY_BODY_SQLITE)?;
    for b in &all.bodies {
        insert.execute(params![b.carrier, b.delivery, b.message, b.kind, b.body])?;
    }
    Ok(true)
}

/// Writes the plans into PostgreSQL. False when this node no longer holds some of them.
pub(super) async fn write_postgres(
    conn: &mut PgConnection,
    node: &str,
    plans: &[Planned],
) -> Result<bool, StoreError> {
    if plans.is_empty() {
        return Ok(true);
    }
    let all = Planning::new(plans)?;
    for RoutingRow { event: e, routing: r, versions } in &all.again {
        let changed = sqlx::query(UPDATE_ROUTING)
            .bind(r.state.as_str())
            .bind(r.verdict.map(|v| v.as_str()))
            .bind(r.reason.as_deref().map(text))
            .bind(versions.as_str())
            .bind(i64::from(r.tries))
            .bind(r.due)
            .bind(micros(r.cost_us))
            .bind(r.log.as_deref().map(text))
            .bind(e.carrier.as_str())
            .bind(e.received)
            .bind(e.id.as_str())
            .bind(r.subscription.as_str())
            .bind(node)
            .execute(&mut *conn)
            .await?
            .rows_affected();
        if changed == 0 {
            return Ok(false);
        }
    }
    let (routings, deliveries, bodies) = (&all.routings, &all.deliveries, &all.bodies);
    let (closed,): (i64,) = sqlx::query_as(if plans.len() == 1 { PLAN_ONE_POSTGRES } else { PLAN_POSTGRES })
        .bind(node)
        .bind(column(&all.whole, |e| e.carrier.as_str()))
        .bind(column(&all.whole, |e| e.received.0))
        .bind(column(&all.whole, |e| e.id.as_str()))
        .bind(column(routings, |r| r.event.carrier.as_str()))
        .bind(column(routings, |r| r.event.received.0))
        .bind(column(routings, |r| r.event.id.as_str()))
        .bind(column(routings, |r| r.routing.subscription.as_str()))
        .bind(column(routings, |r| r.routing.state.as_str()))
        .bind(column(routings, |r| r.routing.verdict.map(|v| v.as_str())))
        .bind(column(routings, |r| r.routing.reason.as_deref().map(text)))
        .bind(column(routings, |r| r.versions.as_str()))
        .bind(column(routings, |r| i64::from(r.routing.tries)))
        .bind(column(routings, |r| r.routing.due.map(|due| due.0)))
        .bind(column(routings, |r| micros(r.routing.cost_us)))
        .bind(column(routings, |r| r.routing.log.as_deref().map(text)))
        .bind(column(deliveries, |r| r.event.carrier.as_str()))
        .bind(column(deliveries, |r| r.delivery.id.as_str()))
        .bind(column(deliveries, |r| r.event.id.as_str()))
        .bind(column(deliveries, |r| r.event.event_type.as_str()))
        .bind(column(deliveries, |r| r.event.received.0))
        .bind(column(deliveries, |r| r.routing.subscription.as_str()))
        .bind(column(deliveries, |r| r.place))
        .bind(column(deliveries, |r| r.lane.as_str()))
        .bind(column(deliveries, |r| r.delivery.state.as_str()))
        .bind(column(deliveries, |r| r.held_by(node)))
        .bind(column(deliveries, |r| r.delivery.due.0))
        .bind(column(deliveries, |r| r.delivery.error.as_deref().map(text)))
        .bind(column(deliveries, |r| r.delivery.order_key.as_deref().map(text)))
        .bind(column(bodies, |b| b.carrier))
        .bind(column(bodies, |b| b.delivery))
        .bind(column(bodies, |b| b.message.as_str()))
        .bind(column(bodies, |b| b.kind))
        .bind(column(bodies, |b| b.body))
        .fetch_one(&mut *conn)
        .await?;
    if usize::try_from(closed) != Ok(all.whole.len()) {
        return Ok(false);
    }
    if !all.collected.is_empty() {
        collect_postgres(conn, &all.collected).await?;
    }
    Ok(true)
}

async fn collect_postgres(conn: &mut PgConnection, rows: &[CollectedRow<'_>]) -> Result<(), StoreError> {
    sqlx::query(COLLECT_POSTGRES)
        .bind(column(rows, |(e, _)| e.carrier.as_str()))
        .bind(column(rows, |(e, _)| e.received.0))
        .bind(column(rows, |(e, _)| e.id.as_str()))
        .bind(column(rows, |(_, one)| one.subscription.as_str()))
        .bind(column(rows, |(_, one)| one.group.as_str()))
        .bind(column(rows, |(_, one)| i64::try_from(one.bytes).unwrap_or(i64::MAX)))
        .execute(conn)
        .await?;
    Ok(())
}

/// Whom a turn's plans wake.
pub(super) fn wakes(plans: &[Planned], wakes: &mut Vec<Wake>) {
    let later = |r: &NewRouting| {
        r.state == RoutingState::Later
            || r.deliveries.iter().any(|d| !d.hold && d.state == DeliveryState::Pending)
    };
    if plans.iter().any(|p| p.plan.routings.iter().any(later)) {
        wakes.push(Wake::Work);
    }
}

/// Tells the plans whose event (or routing) this node no longer holds, and keeps the others.
pub(super) async fn drop_lost(
    conn: &mut Conn,
    shared: &Shared,
    plans: &mut Vec<Planned>,
) -> Result<(), StoreError> {
    let node = shared.node.as_str();
    let held: HashSet<(String, String)> = {
        let whole: Vec<&Event> =
            plans.iter().filter(|p| p.plan.whole_event).map(|p| &*p.plan.event).collect();
        let found: Vec<(String, String)> = read_rows!(conn, SELECT_HELD, whole.as_slice(), [node], |q, e| q
            .bind(e.carrier.as_str())
            .bind(e.received)
            .bind(e.id.as_str()));
        found.into_iter().collect()
    };
    // The same event twice in one turn: the first has it.
    let mut taken = HashSet::new();
    let mut keep = Vec::with_capacity(plans.len());
    let mut lost = Vec::new();
    for (at, p) in plans.iter().enumerate() {
        let e = &p.plan.event;
        let key = (e.carrier.to_string(), e.id.to_string());
        let mut holds = true;
        if p.plan.whole_event {
            holds = held.contains(&key) && taken.insert(key);
        } else {
            for r in &p.plan.routings {
                let row: Option<(i64,)> = on_db!(&mut *conn, |c| sqlx::query_as(SELECT_ROUTING_HELD)
                    .bind(e.carrier.as_str())
                    .bind(e.received)
                    .bind(e.id.as_str())
                    .bind(r.subscription.as_str())
                    .bind(node)
                    .fetch_optional(c)
                    .await?);
                holds &= row.is_some();
            }
        }
        if !holds {
            lost.push(at);
        }
    }
    let mut lost = lost.into_iter().peekable();
    for (at, p) in plans.drain(..).enumerate() {
        if lost.next_if_eq(&at).is_some() {
            p.done.tell(Err(HeldError::Lost));
        } else {
            keep.push(p);
        }
    }
    *plans = keep;
    Ok(())
}

/// Microseconds as a column keeps them.
pub(super) fn micros(us: u64) -> i64 {
    i64::try_from(us).unwrap_or(i64::MAX)
}
