//! Claims: work that nobody holds becomes this node's.
//!
//! What to take is found by partial indexes over open work, so that finished rows cost nothing, and one lane's queue
//! costs the others nothing. It must not know how much the caller has room for.

use std::collections::HashMap;
use std::sync::LazyLock;

use super::db::{Conn, Rows, on_db, read_rows, sql};
use super::error::StoreError;
use super::rows::{Content, EventRow, Reading, broken};
use super::work::{HeldDelivery, HeldEvent, HeldRouting, Lane};
use super::{Store, Wake, lane};
use crate::clock::Millis;
use crate::event::{CarrierId, SubscriptionId};

sql! {
    COUNT_WAITING = "SELECT carrier, COUNT(*) FROM open_events WHERE held_by IS NULL GROUP BY carrier";
    /// Skips along the index from one carrier to the next.
    CARRIERS_WAITING = "WITH RECURSIVE waiting (carrier) AS (\
        SELECT MIN(carrier) FROM open_events WHERE held_by IS NULL \
        UNION ALL \
        SELECT (SELECT MIN(o.carrier) FROM open_events o WHERE o.held_by IS NULL AND o.carrier > waiting.carrier) \
        FROM waiting WHERE waiting.carrier IS NOT NULL) \
        SELECT carrier FROM waiting WHERE carrier IS NOT NULL ORDER BY carrier";
    LANES_WAITING = "WITH RECURSIVE waiting (lane) AS (\
        SELECT MIN(lane) FROM deliveries WHERE state = 'pending' AND held_by IS NULL \
        UNION ALL \
        SELECT (SELECT MIN(d.lane) FROM deliveries d \
            WHERE d.state = 'pending' AND d.held_by IS NULL AND d.lane > waiting.lane) \
        FROM waiting WHERE waiting.lane IS NOT NULL) \
        SELECT waiting.lane, (SELECT MIN(d.due_ms) FROM deliveries d \
            WHERE d.state = 'pending' AND d.held_by IS NULL AND d.lane = waiting.lane) \
        FROM waiting WHERE waiting.lane IS NOT NULL ORDER BY waiting.lane";
    CLAIM_EVENTS_SQLITE = "UPDATE open_events SET held_by = $1 WHERE (carrier, received_ms, id) IN (\
        SELECT carrier, received_ms, id FROM open_events WHERE carrier = $2 AND held_by IS NULL \
        ORDER BY received_ms, id LIMIT $3) RETURNING received_ms, id";
    CLAIM_DELIVERIES_SQLITE = "UPDATE deliveries SET held_by = $1 WHERE carrier = $2 AND id IN (\
        SELECT id FROM deliveries WHERE state = 'pending' AND held_by IS NULL AND lane = $3 AND due_ms <= $4 \
        ORDER BY due_ms, id LIMIT $5) RETURNING id";
    CLAIM_ROUTINGS_SQLITE = "UPDATE routings SET held_by = $1 \
        WHERE (carrier, received_ms, event, subscription) IN (\
        SELECT carrier, received_ms, event, subscription FROM routings \
        WHERE state = 'later' AND held_by IS NULL AND due_ms <= $2 ORDER BY due_ms LIMIT $3) \
        RETURNING carrier, received_ms, event, subscription, tries";
    /// On PostgreSQL a claim passes over rows that another node is just claiming. They are picked in a `WITH`, which runs
    /// once: a sub-select with `FOR UPDATE` may run again for every row, and then `LIMIT` bounds nothing.
    CLAIM_EVENTS_POSTGRES = "WITH picked AS (SELECT carrier, received_ms, id FROM open_events \
        WHERE carrier = $2 AND held_by IS NULL ORDER BY received_ms, id LIMIT $3 FOR UPDATE SKIP LOCKED) \
        UPDATE open_events o SET held_by = $1 FROM picked p \
        WHERE o.carrier = p.carrier AND o.received_ms = p.received_ms AND o.id = p.id RETURNING o.received_ms, o.id";
    CLAIM_DELIVERIES_POSTGRES = "WITH picked AS (SELECT id FROM deliveries \
        WHERE state = 'pending' AND held_by IS NULL AND lane = $3 AND due_ms <= $4 \
        ORDER BY due_ms, id LIMIT $5 FOR UPDATE SKIP LOCKED) \
        UPDATE deliveries d SET held_by = $1 FROM picked p WHERE d.carrier = $2 AND d.id = p.id RETURNING d.id";
    CLAIM_ROUTINGS_POSTGRES = "WITH picked AS (SELECT carrier, received_ms, event, subscription FROM routings \
        WHERE state = 'later' AND held_by IS NULL AND due_ms <= $2 ORDER BY due_ms LIMIT $3 \
        FOR UPDATE SKIP LOCKED) UPDATE routings r SET held_by = $1 FROM picked p \
        WHERE r.carrier = p.carrier AND r.received_ms = p.received_ms AND r.event = p.event \
        AND r.subscription = p.subscription RETURNING r.carrier, r.received_ms, r.event, r.subscription, r.tries";
    NEXT_ROUTING = "SELECT MIN(due_ms) FROM routings WHERE state = 'later' AND held_by IS NULL";
    RELEASE_HELD = "UPDATE routings SET state = 'later', due_ms = $3 \
        WHERE carrier = $1 AND subscription = $2 AND state = 'held'";
}

const EVENT_COLUMNS: &str = "b.carrier AS event_carrier, b.received_ms AS event_received_ms, b.id AS event_id, \
    b.type AS event_type, b.attributes AS event_attributes, b.payload AS event_payload";

pub(super) static SELECT_EVENTS: LazyLock<Rows> = LazyLock::new(|| {
    Rows::new(
        &format!("SELECT {EVENT_COLUMNS} FROM"),
        0,
        &["TEXT", "BIGINT", "TEXT"],
        " AS v JOIN event_bodies b ON b.carrier = v.column1 AND b.received_ms = v.column2 AND b.id = v.column3",
    )
});
pub(super) static SELECT_DELIVERIES: LazyLock<Rows> = LazyLock::new(|| {
    Rows::new(
        &format!(
            "SELECT d.id, d.subscription, d.attempts, d.due_ms, x.message, x.body_kind, x.body, {EVENT_COLUMNS} FROM"
        ),
        0,
        &["TEXT", "TEXT"],
        " AS v JOIN deliveries d ON d.carrier = v.column1 AND d.id = v.column2 \
         LEFT JOIN delivery_bodies x ON x.carrier = d.carrier AND x.id = d.id \
         JOIN event_bodies b ON b.carrier = d.carrier AND b.received_ms = d.received_ms AND b.id = d.event",
    )
});

#[derive(sqlx::FromRow)]
struct DeliveryRow {
    id: String,
    subscription: String,
    attempts: i64,
    due_ms: i64,
    #[sqlx(flatten)]
    content: Content,
    #[sqlx(flatten)]
    event: EventRow,
}

impl Store {
    /// Carriers that have unheld accepted events, by a loose index scan.
    ///
    /// # Errors
    /// What the database says.
    pub async fn carriers_waiting(&self) -> Result<Vec<CarrierId>, StoreError> {
        let rows: Vec<(String,)> =
            on_db!(&self.readers, |db| sqlx::query_as(CARRIERS_WAITING).fetch_all(db).await?);
        rows.iter().map(|(c,)| Reading { table: "open_events", key: c }.name("carrier", c)).collect()
    }

    /// Takes up to `limit` of a carrier's unheld events, oldest first.
    ///
    /// # Errors
    /// What the database says; nothing is held then.
    pub async fn claim_events(&self, carrier: &CarrierId, limit: u32) -> Result<Vec<HeldEvent>, StoreError> {
        let carrier = carrier.clone();
        self.write(move |w| {
            Box::pin(async move {
                let sql = w.conn.pick(CLAIM_EVENTS_SQLITE, CLAIM_EVENTS_POSTGRES);
                let keys: Vec<(i64, String)> = on_db!(&mut *w.conn, |c| sqlx::query_as(sql)
                    .bind(w.shared.node.as_str())
                    .bind(carrier.as_str())
                    .bind(i64::from(limit))
                    .fetch_all(c)
                    .await?);
                let found: Vec<EventRow> =
                    read_rows!(w.conn, SELECT_EVENTS, keys.as_slice(), [], |q, (received, id)| q
                        .bind(carrier.as_str())
                        .bind(*received)
                        .bind(id.as_str()));
                complete("open_events", carrier.as_str(), keys.len(), found.len())?;
                let mut held = found
                    .into_iter()
                    .map(|row| Ok(HeldEvent { event: row.event()? }))
                    .collect::<Result<Vec<_>, StoreError>>()?;
                held.sort_by(|a, b| (a.event.received, &a.event.id).cmp(&(b.event.received, &b.event.id)));
                w.shared.count_backlog(&carrier, -i64::try_from(held.len()).unwrap_or(0));
                Ok(held)
            })
        })
        .await
    }

    /// Lanes that have unheld pending deliveries, each with the moment at which its earliest is due.
    ///
    /// # Errors
    /// What the database says.
    pub async fn lanes_waiting(&self) -> Result<Vec<(Lane, Millis)>, StoreError> {
        let rows: Vec<(String, i64)> =
            on_db!(&self.readers, |db| sqlx::query_as(LANES_WAITING).fetch_all(db).await?);
        rows.iter().map(|(lane, due)| Ok((split(lane)?, Millis(*due)))).collect()
    }

    /// Takes up to `limit` of a lane's unheld deliveries that are due by `now`, earliest first.
    ///
    /// # Errors
    /// What the database says; nothing is held then.
    pub async fn claim_deliveries(
        &self,
        lane: &Lane,
        now: Millis,
        limit: u32,
    ) -> Result<Vec<HeldDelivery>, StoreError> {
        let lane = lane.clone();
        self.write(move |w| {
            Box::pin(async move {
                let carrier = lane.carrier.as_str();
                let sql = w.conn.pick(CLAIM_DELIVERIES_SQLITE, CLAIM_DELIVERIES_POSTGRES);
                let ids: Vec<(String,)> = on_db!(&mut *w.conn, |c| sqlx::query_as(sql)
                    .bind(w.shared.node.as_str())
                    .bind(carrier)
                    .bind(super::lane(carrier, lane.destination.as_str()))
                    .bind(now)
                    .bind(i64::from(limit))
                    .fetch_all(c)
                    .await?);
                let found: Vec<DeliveryRow> =
                    read_rows!(w.conn, SELECT_DELIVERIES, ids.as_slice(), [], |q, (id,)| q
                        .bind(carrier)
                        .bind(id.as_str()));
                complete("deliveries", carrier, ids.len(), found.len())?;
                let mut held =
                    found.into_iter().map(|row| delivery(row, &lane)).collect::<Result<Vec<_>, _>>()?;
                held.sort_by(|a, b| (a.due, &a.id).cmp(&(b.due, &b.id)));
                Ok(held)
            })
        })
        .await
    }

    /// When the earliest unheld routing is to be run again.
    ///
    /// # Errors
    /// What the database says.
    pub async fn next_routing_due(&self) -> Result<Option<Millis>, StoreError> {
        let (due,): (Option<i64>,) =
            on_db!(&self.readers, |db| sqlx::query_as(NEXT_ROUTING).fetch_one(db).await?);
        Ok(due.map(Millis))
    }

    /// Takes up to `limit` unheld routings (state `later`) that are due by `now`.
    ///
    /// # Errors
    /// What the database says; nothing is held then.
    pub async fn claim_routings(&self, now: Millis, limit: u32) -> Result<Vec<HeldRouting>, StoreError> {
        self.write(move |w| {
            Box::pin(async move {
                let sql = w.conn.pick(CLAIM_ROUTINGS_SQLITE, CLAIM_ROUTINGS_POSTGRES);
                let keys: Vec<(String, i64, String, String, i64)> =
                    on_db!(&mut *w.conn, |c| sqlx::query_as(sql)
                        .bind(w.shared.node.as_str())
                        .bind(now)
                        .bind(i64::from(limit))
                        .fetch_all(c)
                        .await?);
                let mut held = Vec::with_capacity(keys.len());
                for key in &keys {
                    // One by one: two routings of an event would come back from a join in an order that tells nothing.
                    let piece = std::slice::from_ref(key);
                    let found: Vec<EventRow> =
                        read_rows!(w.conn, SELECT_EVENTS, piece, [], |q, (carrier, received, id, _, _)| q
                            .bind(carrier.as_str())
                            .bind(*received)
                            .bind(id.as_str()));
                    let (carrier, _, id, subscription, tries) = key;
                    let name = format!("{carrier}/{id}/{subscription}");
                    let row = Reading { table: "routings", key: &name };
                    let Some(event) = found.into_iter().next() else {
                        return Err(row.broken("event", "there is no such event"));
                    };
                    held.push(HeldRouting {
                        event: event.event()?,
                        subscription: row.name("subscription", subscription)?,
                        tries: row.number("tries", *tries)?,
                    });
                }
                Ok(held)
            })
        })
        .await
    }

    /// Turns a carrier's `held` routings of this subscription into `later`, due now: a good version is active.
    ///
    /// # Errors
    /// What the database says.
    pub async fn release_routings(
        &self,
        carrier: &CarrierId,
        subscription: &SubscriptionId,
        now: Millis,
    ) -> Result<u64, StoreError> {
        let (carrier, subscription) = (carrier.clone(), subscription.clone());
        self.write(move |w| {
            Box::pin(async move {
                let released = on_db!(&mut *w.conn, |c| sqlx::query(RELEASE_HELD)
                    .bind(carrier.as_str())
                    .bind(subscription.as_str())
                    .bind(now)
                    .execute(c)
                    .await?
                    .rows_affected());
                if released > 0 {
                    w.wakes.push(Wake::Work);
                }
                Ok(released)
            })
        })
        .await
    }
}

/// Counts every carrier's unheld events.
pub(super) async fn backlog(conn: &mut Conn) -> Result<HashMap<CarrierId, i64>, StoreError> {
    let rows: Vec<(String, i64)> = on_db!(conn, |c| sqlx::query_as(COUNT_WAITING).fetch_all(c).await?);
    rows.into_iter()
        .map(|(c, n)| Ok((Reading { table: "open_events", key: &c }.name("carrier", &c)?, n)))
        .collect()
}

/// A lane's column back into its parts.
pub(super) fn split(text: &str) -> Result<Lane, StoreError> {
    let row = Reading { table: "deliveries", key: text };
    let (carrier, destination) = text.split_once('/').ok_or_else(|| row.broken("lane", "it has no `/`"))?;
    let parts = Lane { carrier: row.name("lane", carrier)?, destination: row.name("lane", destination)? };
    debug_assert_eq!(lane(carrier, destination), text);
    Ok(parts)
}

fn delivery(row: DeliveryRow, lane: &Lane) -> Result<HeldDelivery, StoreError> {
    let reading = Reading { table: "deliveries", key: &row.id };
    let (message, body) = reading.content(row.content)?;
    Ok(HeldDelivery {
        event: row.event.event()?,
        subscription: reading.name("subscription", &row.subscription)?,
        id: reading.name("id", &row.id)?,
        destination: lane.destination.clone(),
        message,
        body,
        attempts: reading.number("attempts", row.attempts)?,
        due: Millis(row.due_ms),
    })
}

/// What was claimed must be readable: a claim that lost its event would be held for ever.
fn complete(table: &'static str, key: &str, claimed: usize, read: usize) -> Result<(), StoreError> {
    if claimed == read {
        return Ok(());
    }
    Err(broken(table, "id", key, format!("{claimed} were claimed, but only {read} have an event")))
}
