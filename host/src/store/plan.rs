//! Step 5: what an event came to, written with the event's own new state.
//!
//! It must not know how verdicts are reached, nor how a turn is run.

use std::collections::HashSet;
use std::sync::LazyLock;

use super::db::{Conn, Rows, on_db, read_rows, sql, text, write_rows};
use super::error::{HeldError, StoreError};
use super::rows::json;
use super::work::{Body, DeliveryState, Message, NewDelivery, NewRouting, Plan, RoutingState};
use super::writer::{Caller, Command, Planned};
use super::{Done, Shared, Store, Wake, lane};
use crate::event::Event;

sql! {
    UPDATE_ROUTING = "UPDATE routings SET state = $6, verdict = $7, reason = $8, versions = $9, tries = $10, \
        due_ms = $11, cost_us = $12, log = $13, held_by = NULL \
        WHERE carrier = $1 AND received_ms = $2 AND event = $3 AND subscription = $4 AND held_by = $5";
    SELECT_ROUTING_HELD = "SELECT tries FROM routings \
        WHERE carrier = $1 AND received_ms = $2 AND event = $3 AND subscription = $4 AND held_by = $5";
}

pub(super) static CLOSE_EVENTS: LazyLock<Rows> = LazyLock::new(|| {
    Rows::new(
        "DELETE FROM open_events WHERE held_by = $1 AND (carrier, received_ms, id) IN",
        1,
        &["TEXT", "BIGINT", "TEXT"],
        "",
    )
});
pub(super) static SELECT_HELD: LazyLock<Rows> = LazyLock::new(|| {
    Rows::new(
        "SELECT carrier, id FROM open_events WHERE held_by = $1 AND (carrier, received_ms, id) IN",
        1,
        &["TEXT", "BIGINT", "TEXT"],
        "",
    )
});
pub(super) static INSERT_ROUTINGS: LazyLock<Rows> = LazyLock::new(|| {
    Rows::new(
        "INSERT INTO routings (carrier, received_ms, event, subscription, state, verdict, reason, versions, tries, \
         due_ms, cost_us, log)",
        0,
        &[""; 12],
        " ON CONFLICT (carrier, received_ms, event, subscription) DO NOTHING",
    )
});
pub(super) static INSERT_DELIVERIES: LazyLock<Rows> = LazyLock::new(|| {
    Rows::new(
        "INSERT INTO deliveries (carrier, id, event, event_type, received_ms, subscription, place, lane, state, \
         held_by, attempts, due_ms, updated_ms, last_error, order_key)",
        0,
        &[""; 15],
        " ON CONFLICT (carrier, id) DO NOTHING",
    )
});
pub(super) static INSERT_DELIVERY_BODIES: LazyLock<Rows> = LazyLock::new(|| {
    Rows::new(
        "INSERT INTO delivery_bodies (carrier, id, message, body_kind, body)",
        0,
        &[""; 5],
        " ON CONFLICT (carrier, id) DO NOTHING",
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

struct DeliveryRow<'p> {
    event: &'p Event,
    routing: &'p NewRouting,
    place: i64,
    lane: String,
    delivery: &'p NewDelivery,
}

/// Writes the plans. False when this node no longer holds some of them.
pub(super) async fn write(
    conn: &mut Conn,
    shared: &Shared,
    plans: &[Planned],
    wakes: &mut Vec<Wake>,
) -> Result<bool, StoreError> {
    if plans.is_empty() {
        return Ok(true);
    }
    let node = shared.node.as_str();
    let whole: Vec<&Event> = plans.iter().filter(|p| p.plan.whole_event).map(|p| &*p.plan.event).collect();
    let closed = write_rows!(conn, CLOSE_EVENTS, whole.as_slice(), [node], |q, e| q
        .bind(e.carrier.as_str())
        .bind(e.received)
        .bind(e.id.as_str()));
    if closed != whole.len() as u64 {
        return Ok(false);
    }
    for p in plans.iter().filter(|p| !p.plan.whole_event) {
        for routing in &p.plan.routings {
            if !update_routing(conn, node, &p.plan.event, routing).await? {
                return Ok(false);
            }
        }
    }
    insert_routings(conn, plans).await?;
    insert_deliveries(conn, node, plans).await?;
    let later = |r: &NewRouting| {
        r.state == RoutingState::Later
            || r.deliveries.iter().any(|d| !d.hold && d.state == DeliveryState::Pending)
    };
    if plans.iter().any(|p| p.plan.routings.iter().any(later)) {
        wakes.push(Wake::Work);
    }
    Ok(true)
}

async fn update_routing(conn: &mut Conn, node: &str, e: &Event, r: &NewRouting) -> Result<bool, StoreError> {
    let versions = json(&r.versions)?;
    let changed = on_db!(&mut *conn, |c| sqlx::query(UPDATE_ROUTING)
        .bind(e.carrier.as_str())
        .bind(e.received)
        .bind(e.id.as_str())
        .bind(r.subscription.as_str())
        .bind(node)
        .bind(r.state.as_str())
        .bind(r.verdict.map(|v| v.as_str()))
        .bind(r.reason.as_deref().map(text))
        .bind(versions.as_str())
        .bind(i64::from(r.tries))
        .bind(r.due)
        .bind(micros(r.cost_us))
        .bind(r.log.as_deref().map(text))
        .execute(c)
        .await?
        .rows_affected());
    Ok(changed == 1)
}

async fn insert_routings(conn: &mut Conn, plans: &[Planned]) -> Result<(), StoreError> {
    let mut rows: Vec<(&Event, &NewRouting, String)> = Vec::new();
    for p in plans.iter().filter(|p| p.plan.whole_event) {
        for r in &p.plan.routings {
            rows.push((&p.plan.event, r, json(&r.versions)?));
        }
    }
    write_rows!(conn, INSERT_ROUTINGS, rows.as_slice(), [], |q, (e, r, versions)| q
        .bind(e.carrier.as_str())
        .bind(e.received)
        .bind(e.id.as_str())
        .bind(r.subscription.as_str())
        .bind(r.state.as_str())
        .bind(r.verdict.map(|v| v.as_str()))
        .bind(r.reason.as_deref().map(text))
        .bind(versions.as_str())
        .bind(i64::from(r.tries))
        .bind(r.due)
        .bind(micros(r.cost_us))
        .bind(r.log.as_deref().map(text)));
    Ok(())
}

async fn insert_deliveries(conn: &mut Conn, node: &str, plans: &[Planned]) -> Result<(), StoreError> {
    let mut rows = Vec::new();
    for p in plans {
        for routing in &p.plan.routings {
            for (place, delivery) in (0_i64..).zip(&routing.deliveries) {
                let lane = lane(p.plan.event.carrier.as_str(), delivery.destination.as_str());
                rows.push(DeliveryRow { event: &p.plan.event, routing, place, lane, delivery });
            }
        }
    }
    write_rows!(conn, INSERT_DELIVERIES, rows.as_slice(), [], |q, r| q
        .bind(r.event.carrier.as_str())
        .bind(r.delivery.id.as_str())
        .bind(r.event.id.as_str())
        .bind(r.event.event_type.as_str())
        .bind(r.event.received)
        .bind(r.routing.subscription.as_str())
        .bind(r.place)
        .bind(r.lane.as_str())
        .bind(r.delivery.state.as_str())
        .bind((r.delivery.hold && r.delivery.state == DeliveryState::Pending).then_some(node))
        .bind(0_i64)
        .bind(r.delivery.due)
        .bind(r.event.received)
        .bind(r.delivery.error.as_deref().map(text))
        .bind(r.delivery.order_key.as_deref().map(text)));
    let forwarded = Message::forwarded();
    let mut bodies: Vec<(&DeliveryRow<'_>, String)> = Vec::new();
    for r in &rows {
        if r.delivery.message != forwarded || r.delivery.body != Body::Original {
            bodies.push((r, json(&r.delivery.message)?));
        }
    }
    write_rows!(conn, INSERT_DELIVERY_BODIES, bodies.as_slice(), [], |q, (r, message)| {
        let (kind, body): (&str, Option<&[u8]>) = match &r.delivery.body {
            Body::Original => ("original", None),
            Body::Bytes(bytes) => ("bytes", Some(bytes)),
            Body::Fetch(url) => ("fetch", Some(url.as_bytes())),
        };
        q.bind(r.event.carrier.as_str())
            .bind(r.delivery.id.as_str())
            .bind(message.as_str())
            .bind(kind)
            .bind(body)
    });
    Ok(())
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
