//! Housekeeping: finished events go when they are old, with all that hangs on them; open work never does.

use std::collections::HashSet;
use std::sync::LazyLock;

use super::Store;
use super::db::{Conn, Rows, on_db, sql, write_rows};
use super::error::StoreError;
use super::idempotency::REMEMBERED_MS;
use super::read::floor;
use super::tokens::DELETE_ENDED;
use crate::clock::Millis;
use crate::event::CarrierId;

/// Events that one transaction deletes at most, so that what is under way does not wait for it.
const STEP: usize = 256;

sql! {
    /// The oldest events from a key on.
    SELECT_OLD = "SELECT received_ms, id FROM event_bodies WHERE carrier = $1 AND received_ms < $2 \
        AND (received_ms, id) > (CAST($3 AS BIGINT), CAST($4 AS TEXT)) ORDER BY received_ms, id LIMIT $5";
    SELECT_UNROUTED = "SELECT id FROM open_events WHERE carrier = $1 AND received_ms >= $2 AND received_ms <= $3";
    SELECT_OPEN_ROUTINGS = "SELECT event FROM routings WHERE carrier = $1 AND received_ms >= $2 \
        AND received_ms <= $3 AND (state IN ('later', 'held') OR held_by IS NOT NULL)";
    /// Not what was collected for a subscription that is gone, or before it was made.
    SELECT_COLLECTED = "SELECT c.event FROM collected c \
        JOIN schedules s ON s.carrier = c.carrier AND s.subscription = c.subscription \
        WHERE c.carrier = $1 AND c.received_ms >= $2 AND c.received_ms <= $3 AND c.received_ms >= s.created_ms";
    SELECT_DELIVERIES = "SELECT id, event, state FROM deliveries WHERE carrier = $1 AND id >= $2 AND id < $3";
    DELETE_ANSWERS = "DELETE FROM idempotency WHERE created_ms < $1";
}

fn keyed(table: &str, columns: &str, types: &[&str]) -> Rows {
    Rows::new(&format!("DELETE FROM {table} WHERE ({columns}) IN"), 0, types, "")
}

pub(super) static DELETE_EVENTS: LazyLock<Rows> =
    LazyLock::new(|| keyed("events", "carrier, id", &["TEXT"; 2]));
pub(super) static DELETE_BODIES: LazyLock<Rows> =
    LazyLock::new(|| keyed("event_bodies", "carrier, received_ms, id", &["TEXT", "BIGINT", "TEXT"]));
pub(super) static DELETE_ROUTINGS: LazyLock<Rows> =
    LazyLock::new(|| keyed("routings", "carrier, received_ms, event", &["TEXT", "BIGINT", "TEXT"]));
pub(super) static DELETE_COLLECTED: LazyLock<Rows> =
    LazyLock::new(|| keyed("collected", "carrier, received_ms, event", &["TEXT", "BIGINT", "TEXT"]));
pub(super) static DELETE_DELIVERIES: LazyLock<Rows> =
    LazyLock::new(|| keyed("deliveries", "carrier, id", &["TEXT"; 2]));
pub(super) static DELETE_DELIVERY_BODIES: LazyLock<Rows> =
    LazyLock::new(|| keyed("delivery_bodies", "carrier, id", &["TEXT"; 2]));
pub(super) static DELETE_ATTEMPTS: LazyLock<Rows> =
    LazyLock::new(|| keyed("attempts", "carrier, delivery", &["TEXT"; 2]));

/// One step: how many events were deleted, and the key to go on from when there are more.
struct Step {
    deleted: u64,
    next: Option<(i64, String)>,
}

impl Store {
    /// Deletes up to `batch` finished events older than `before` with all that hangs on them (and idempotency answers
    /// older than 24 hours before `now`, and tokens that have ended). Gives how many events; fewer than `batch` means that it is done.
    ///
    /// # Errors
    /// What the database says; what was deleted before it stays deleted.
    pub async fn delete_before(&self, before: Millis, now: Millis, batch: u32) -> Result<u64, StoreError> {
        self.write(move |w| {
            Box::pin(async move {
                on_db!(&mut *w.conn, |c| sqlx::query(DELETE_ANSWERS)
                    .bind(now.0 - REMEMBERED_MS)
                    .execute(c)
                    .await?
                    .rows_affected());
                on_db!(&mut *w.conn, |c| sqlx::query(DELETE_ENDED)
                    .bind(now)
                    .execute(c)
                    .await?
                    .rows_affected());
                Ok(())
            })
        })
        .await?;
        let carriers: Vec<CarrierId> = self.carriers().await?.into_iter().map(|c| c.id).collect();
        let mut deleted = 0;
        for carrier in carriers {
            let mut from = Some((i64::MIN, String::new()));
            while let Some(key) = from.take() {
                let room = u64::from(batch).saturating_sub(deleted);
                if room == 0 {
                    return Ok(deleted);
                }
                let limit = usize::try_from(room).unwrap_or(STEP).min(STEP);
                let carrier = carrier.clone();
                let step = self.write(move |w| {
                    Box::pin(async move { step(w.conn, &carrier, before, key, limit).await })
                });
                let step = step.await?;
                deleted += step.deleted;
                from = step.next;
            }
        }
        Ok(deleted)
    }
}

async fn step(
    conn: &mut Conn,
    carrier: &CarrierId,
    before: Millis,
    from: (i64, String),
    limit: usize,
) -> Result<Step, StoreError> {
    let carrier = carrier.as_str();
    let old: Vec<(i64, String)> = on_db!(&mut *conn, |c| sqlx::query_as(SELECT_OLD)
        .bind(carrier)
        .bind(before)
        .bind(from.0)
        .bind(from.1.as_str())
        .bind(i64::try_from(limit).unwrap_or(i64::MAX))
        .fetch_all(c)
        .await?);
    let (Some((first, _)), Some((last, _))) = (old.first(), old.last()) else {
        return Ok(Step { deleted: 0, next: None });
    };
    let mut open: HashSet<String> = HashSet::new();
    for sql in [SELECT_UNROUTED, SELECT_OPEN_ROUTINGS, SELECT_COLLECTED] {
        let found: Vec<(String,)> = on_db!(&mut *conn, |c| sqlx::query_as(sql)
            .bind(carrier)
            .bind(*first)
            .bind(*last)
            .fetch_all(c)
            .await?);
        open.extend(found.into_iter().map(|(id,)| id));
    }
    let deliveries: Vec<(String, String, String)> = on_db!(&mut *conn, |c| sqlx::query_as(SELECT_DELIVERIES)
        .bind(carrier)
        .bind(floor(Millis(*first)))
        .bind(floor(Millis(last.saturating_add(1))))
        .fetch_all(c)
        .await?);
    open.extend(
        deliveries
            .iter()
            .filter(|(_, _, s)| s == "pending" || s == "held")
            .map(|(_, event, _)| event.clone()),
    );
    let next = (old.len() == limit).then(|| old.last().cloned()).flatten();
    let gone: Vec<(i64, String)> = old.into_iter().filter(|(_, id)| !open.contains(id)).collect();
    let events: HashSet<&str> = gone.iter().map(|(_, id)| id.as_str()).collect();
    let deliveries: Vec<&str> = deliveries
        .iter()
        .filter(|(_, event, _)| events.contains(event.as_str()))
        .map(|(id, ..)| id.as_str())
        .collect();
    for rows in [&DELETE_ATTEMPTS, &DELETE_DELIVERY_BODIES, &DELETE_DELIVERIES] {
        write_rows!(conn, rows, deliveries.as_slice(), [], |q, id| q.bind(carrier).bind(*id));
    }
    for rows in [&DELETE_ROUTINGS, &DELETE_COLLECTED, &DELETE_BODIES] {
        write_rows!(conn, rows, gone.as_slice(), [], |q, (at, id)| q
            .bind(carrier)
            .bind(*at)
            .bind(id.as_str()));
    }
    let deleted =
        write_rows!(conn, DELETE_EVENTS, gone.as_slice(), [], |q, (_, id)| q.bind(carrier).bind(id.as_str()));
    Ok(Step { deleted, next })
}
