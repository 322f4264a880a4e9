//! Webhooks: a subscription and the destination that belongs to it, written and removed together; what of them failed.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use super::claim::split;
use super::db::{Rows, on_db, read_rows, sql};
use super::error::StoreError;
use super::hand::CHANGED_AT_ONCE;
use super::page::{FailedFilter, FailedWebhook, Page, PageRequest};
use super::read::{cursor, cut, floor, open};
use super::rows::Reading;
use super::schedules::ScheduleKey;
use super::search::{SEARCH_ROWS, above};
use super::{Store, Wake, destinations, subscriptions};
use crate::carrier::{Destination, Subscription};
use crate::clock::Millis;
use crate::event::{CarrierId, DeliveryId, DestinationName, SubscriptionId};

/// Records on a page at most.
pub const FAILED_PAGE_MAX: u32 = 10_000;

/// How long the first attempt at a delivery may come after its event, in milliseconds: the most that a plugin can put it
/// off. It bounds how far back the look-up goes.
const FIRST_ATTEMPT_WITHIN: i64 = 30 * 86_400_000;

/// A stretch of what did not arrive, along its own index, with the parameters `$1` to `$3`. PostgreSQL finds the index by
/// itself; SQLite takes the table, unless it is told.
macro_rules! undelivered {
    ($hint:expr, $join:expr) => {
        concat!(
            "FROM deliveries d ",
            $hint,
            $join,
            "WHERE d.carrier = $1 AND d.state IN ('dead', 'failed', 'held') AND d.id > $2 AND d.id < $3 "
        )
    };
}

macro_rules! edge {
    ($hint:expr) => {
        concat!("SELECT d.id ", undelivered!($hint, ""), "ORDER BY d.id LIMIT 1 OFFSET $4")
    };
}

/// Webhooks that did not arrive, with the parameters `$1` to `$8`.
macro_rules! failed {
    ($hint:expr) => {
        concat!(
            "SELECT d.id, d.subscription, s.webhook_event, COALESCE(a.started_ms, d.received_ms) AS first_ms ",
            undelivered!(
                $hint,
                "JOIN subscriptions s ON s.carrier = d.carrier AND s.id = d.subscription \
                 LEFT JOIN attempts a ON a.carrier = d.carrier AND a.delivery = d.id AND a.number = 1 "
            ),
            "AND s.webhook_event IS NOT NULL AND COALESCE(a.started_ms, d.received_ms) >= $4 \
         AND COALESCE(a.started_ms, d.received_ms) < $5 \
         AND (CAST($6 AS BIGINT) IS NULL OR s.webhook_event = $6) \
         AND (CAST($7 AS TEXT) IS NULL OR d.subscription = $7) ORDER BY d.id LIMIT $8"
        )
    };
}

/// The hint for SQLite.
macro_rules! hint {
    () => {
        "INDEXED BY deliveries_undelivered "
    };
}

sql! {
    SELECT_FAILED_SQLITE = failed!(hint!());
    SELECT_FAILED_POSTGRES = failed!("");
    /// The last delivery that one look-up looks at.
    FAILED_EDGE_SQLITE = edge!(hint!());
    FAILED_EDGE_POSTGRES = edge!("");
    RETRY_ONE = "UPDATE deliveries SET state = 'pending', due_ms = $3, updated_ms = $3 \
        WHERE carrier = $1 AND id = $2 AND held_by IS NULL AND state <> 'delivered' RETURNING lane";
    /// Only a delivery of a registration that is there.
    KNOWN = "SELECT d.attempts FROM deliveries d \
        JOIN subscriptions s ON s.carrier = d.carrier AND s.id = d.subscription \
        WHERE d.carrier = $1 AND d.id = $2 AND s.webhook_event IS NOT NULL";
    ENABLE = "UPDATE destinations SET state = 'enabled', disabled_reason = NULL, failing_since_ms = NULL, \
        updated_ms = $3 WHERE carrier = $1 AND name = $2 AND state <> 'enabled'";
}

/// The state is checked again where it is changed.
pub(super) static RETRY_THESE: LazyLock<Rows> = LazyLock::new(|| {
    Rows::new(
        "UPDATE deliveries SET state = 'pending', due_ms = $1, updated_ms = $2 \
         WHERE carrier = $3 AND held_by IS NULL AND state IN ('dead', 'failed', 'held') AND id IN",
        3,
        &["TEXT"],
        " RETURNING lane",
    )
});

#[derive(sqlx::FromRow)]
struct Row {
    id: String,
    subscription: String,
    webhook_event: i64,
    first_ms: i64,
}

impl Store {
    /// Makes or replaces a subscription and its destination in one transaction (states and `created` stay where they
    /// exist).
    ///
    /// # Errors
    /// What the database says; then neither is written.
    pub async fn put_webhook(
        &self,
        subscription: Subscription,
        destination: Destination,
    ) -> Result<(), StoreError> {
        self.write(move |w| {
            Box::pin(async move {
                destinations::put(w.conn, &destination).await?;
                subscriptions::put(w.conn, &subscription).await?;
                w.wakes.push(Wake::Config(Some(subscription.carrier)));
                Ok(())
            })
        })
        .await
    }

    /// Removes a subscription with its destination, whose open deliveries are cancelled, in one transaction. Whether there
    /// was such a subscription.
    ///
    /// # Errors
    /// What the database says; then neither is removed.
    pub async fn delete_webhook(
        &self,
        carrier: &CarrierId,
        id: &SubscriptionId,
        destination: &DestinationName,
    ) -> Result<bool, StoreError> {
        let key = ScheduleKey { carrier: carrier.clone(), subscription: id.clone() };
        let (carrier, id, destination) = (carrier.clone(), id.clone(), destination.clone());
        let gone = self.write(move |w| {
            Box::pin(async move {
                let gone = subscriptions::delete(w.conn, &carrier, &id).await?;
                if gone {
                    destinations::delete(w.conn, &carrier, &destination).await?;
                    w.wakes.push(Wake::Config(Some(carrier)));
                }
                Ok(gone)
            })
        });
        let gone = gone.await?;
        self.forget_collected(key).await?;
        Ok(gone)
    }

    /// The webhooks of registrations that are there which did not arrive and are not tried again by themselves, oldest
    /// first.
    ///
    /// A page may hold fewer than `page.limit`, even none, and still name a next one: one look-up looks at no more than
    /// [`SEARCH_ROWS`] of what did not arrive.
    ///
    /// # Errors
    /// [`StoreError::Cursor`], or what the database says.
    pub async fn failed_webhooks(
        &self,
        carrier: &CarrierId,
        filter: &FailedFilter,
        page: &PageRequest,
    ) -> Result<Page<FailedWebhook>, StoreError> {
        let Bounds { mut from, mut until } = Bounds::of(filter);
        if let Some(after) = &page.after {
            let after = open(after)?;
            after.parse::<DeliveryId>().map_err(|_| StoreError::Cursor)?;
            from = from.max(after);
        }
        let limit = page.limit.clamp(1, FAILED_PAGE_MAX);
        let sql = self.readers.pick(FAILED_EDGE_SQLITE, FAILED_EDGE_POSTGRES);
        let edge: Option<(String,)> = on_db!(&self.readers, |db| sqlx::query_as(sql)
            .bind(carrier.as_str())
            .bind(from.as_str())
            .bind(until.as_str())
            .bind(i64::from(SEARCH_ROWS) - 1)
            .fetch_optional(db)
            .await?);
        if let Some((edge,)) = &edge {
            until = above(edge);
        }
        let sql = self.readers.pick(SELECT_FAILED_SQLITE, SELECT_FAILED_POSTGRES);
        let rows: Vec<Row> = on_db!(&self.readers, |db| sqlx::query_as(sql)
            .bind(carrier.as_str())
            .bind(from.as_str())
            .bind(until.as_str())
            .bind(filter.from)
            .bind(filter.until)
            .bind(filter.event_id.map(i64::from))
            .bind(filter.subscription.as_ref().map(|id| id.as_str()))
            .bind(i64::from(limit) + 1)
            .fetch_all(db)
            .await?);
        let records = rows.iter().map(failed).collect::<Result<Vec<_>, _>>()?;
        let mut page = cut(records, limit, |one| one.id.to_string());
        if page.next.is_none() {
            page.next = edge.map(|(edge,)| cursor(&edge));
        }
        Ok(page)
    }

    /// Makes up to `limit` of [`Store::failed_webhooks`] due now, oldest first, and then enables their destinations where they
    /// are disabled: who asks for it says that the receiver is back. Gives how many. They are searched for outside of the
    /// writer.
    ///
    /// # Errors
    /// What the database says; what was changed before stays so.
    pub async fn retry_webhooks(
        &self,
        carrier: &CarrierId,
        filter: &FailedFilter,
        now: Millis,
        limit: u32,
    ) -> Result<u64, StoreError> {
        let (mut ids, mut after): (Vec<DeliveryId>, _) = (Vec::new(), None);
        loop {
            let missing = limit.saturating_sub(u32::try_from(ids.len()).unwrap_or(u32::MAX));
            let page = PageRequest { limit: missing, after };
            let found = self.failed_webhooks(carrier, filter, &page).await?;
            ids.extend(found.items.into_iter().map(|one| one.id));
            after = found.next;
            if after.is_none() || ids.len() >= limit as usize {
                break;
            }
        }
        let (mut count, mut lanes) = (0, BTreeSet::new());
        for some in ids.chunks(CHANGED_AT_ONCE) {
            let (carrier, some) = (carrier.clone(), some.to_vec());
            let retried: Vec<(String,)> = self
                .write(move |w| {
                    Box::pin(async move {
                        let (carrier, ids) = (carrier.as_str(), some.as_slice());
                        Ok(read_rows!(w.conn, RETRY_THESE, ids, [now, now, carrier], |q, id| q
                            .bind(id.as_str())))
                    })
                })
                .await?;
            count += retried.len() as u64;
            lanes.extend(retried.into_iter().map(|(lane,)| lane));
        }
        if lanes.is_empty() {
            return Ok(count);
        }
        let carrier = carrier.clone();
        self.write(move |w| Box::pin(async move { enable(w, &carrier, lanes, now).await })).await?;
        Ok(count)
    }

    /// Makes one webhook due now, whether it has failed or waits for its next attempt, and enables its destination. None: no
    /// registration that is there has such a delivery; Some(false): it is under way or delivered already.
    ///
    /// # Errors
    /// What the database says.
    pub async fn retry_webhook(
        &self,
        carrier: &CarrierId,
        id: &DeliveryId,
        now: Millis,
    ) -> Result<Option<bool>, StoreError> {
        let (carrier, id) = (carrier.clone(), id.clone());
        self.write(move |w| {
            Box::pin(async move {
                let known: Option<(i64,)> = on_db!(&mut *w.conn, |c| sqlx::query_as(KNOWN)
                    .bind(carrier.as_str())
                    .bind(id.as_str())
                    .fetch_optional(c)
                    .await?);
                if known.is_none() {
                    return Ok(None);
                }
                let lanes: Vec<(String,)> = on_db!(&mut *w.conn, |c| sqlx::query_as(RETRY_ONE)
                    .bind(carrier.as_str())
                    .bind(id.as_str())
                    .bind(now)
                    .fetch_all(c)
                    .await?);
                let started = !lanes.is_empty();
                enable(w, &carrier, lanes.into_iter().map(|(lane,)| lane).collect(), now).await?;
                Ok(Some(started))
            })
        })
        .await
    }
}

/// Enables the destinations of these lanes that are disabled, with all that was held for them.
async fn enable(
    w: &mut super::writer::Work<'_>,
    carrier: &CarrierId,
    lanes: BTreeSet<String>,
    now: Millis,
) -> Result<(), StoreError> {
    if lanes.is_empty() {
        return Ok(());
    }
    for lane in lanes {
        let name = split(&lane)?.destination;
        let enabled = on_db!(&mut *w.conn, |c| sqlx::query(ENABLE)
            .bind(carrier.as_str())
            .bind(name.as_str())
            .bind(now)
            .execute(c)
            .await?
            .rows_affected());
        if enabled > 0 {
            destinations::release(w.conn, &lane, now).await?;
            w.wakes.push(Wake::Config(Some(carrier.clone())));
        }
    }
    w.wakes.push(Wake::Work);
    Ok(())
}

/// The ids between which the deliveries of a filter lie.
struct Bounds {
    from: String,
    until: String,
}

impl Bounds {
    fn of(filter: &FailedFilter) -> Self {
        // A delivery's id says when its event came, and the first attempt is never before that.
        Self {
            from: floor(Millis(filter.from.0.saturating_sub(FIRST_ATTEMPT_WITHIN))),
            until: floor(filter.until),
        }
    }
}

fn failed(r: &Row) -> Result<FailedWebhook, StoreError> {
    let row = Reading { table: "deliveries", key: &r.id };
    Ok(FailedWebhook {
        id: row.name("id", &r.id)?,
        subscription: row.name("subscription", &r.subscription)?,
        event_id: row.number("webhook_event", r.webhook_event)?,
        first_attempt: Millis(r.first_ms),
    })
}
