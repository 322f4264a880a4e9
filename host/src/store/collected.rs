//! What waits for the ticks of scheduled subscriptions: read in slices, in the order of groups. Read-only.

use super::Store;
use super::claim::SELECT_EVENTS;
use super::db::{on_db, pieces, sql};
use super::error::StoreError;
use super::rows::{EventRow, Reading, broken};
use super::schedules::ScheduleKey;
use crate::clock::Millis;
use crate::event::{CarrierId, Event, EventId};
use std::collections::HashMap;
use std::sync::Arc;

/// The rows of a subscription that were received in a window: `$1` to `$4`.
macro_rules! within {
    () => {
        "FROM collected WHERE carrier = $1 AND subscription = $2 AND received_ms >= $3 AND received_ms <= $4 "
    };
}

sql! {
    SELECT_SLICE = concat!("SELECT grp, received_ms, event, bytes ", within!(),
        "AND (grp, received_ms, event) > (CAST($5 AS TEXT), CAST($6 AS BIGINT), CAST($7 AS TEXT)) \
        ORDER BY grp, received_ms, event LIMIT $8");
    /// Groups with what is in them, of the first `$5` rows.
    SELECT_GROUPS = concat!("SELECT grp, CAST(COUNT(*) AS BIGINT), CAST(SUM(bytes) AS BIGINT), MIN(received_ms), \
        MAX(received_ms) FROM (SELECT grp, bytes, received_ms ", within!(),
        "ORDER BY grp, received_ms, event LIMIT $5) AS waiting GROUP BY grp ORDER BY grp LIMIT $6");
    COUNT_COLLECTED = concat!("SELECT COUNT(*) FROM (SELECT event ", within!(), "LIMIT $5) AS waiting");
    OPEN_UNTIL = "SELECT COUNT(*) FROM (SELECT id FROM open_events WHERE carrier = $1 AND received_ms <= $2 LIMIT 1) \
        AS waiting";
}

/// Which events of a subscription are meant: received from `from` up to `to`, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// The first moment.
    pub from: Millis,
    /// The last moment.
    pub to: Millis,
}

/// An event that waits for a tick, without its body. Ordered as runs take them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct CollectedKey {
    /// What it is grouped by, as JSON.
    pub group: String,
    /// When it was received.
    pub received: Millis,
    /// Its id.
    pub event: EventId,
    /// The bytes that it takes in a digest.
    pub bytes: u64,
}

/// Where a slice begins: after this group, moment and event.
#[derive(Debug, Clone, Copy)]
pub struct After<'a> {
    /// The group, as JSON; the empty text stands before every group.
    pub group: &'a str,
    /// The moment.
    pub received: Millis,
    /// The event; the empty text stands before every event.
    pub event: &'a str,
}

/// A group of events that wait.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CollectedGroup {
    /// What they have in common, as JSON.
    pub group: String,
    /// How many there are.
    pub events: u64,
    /// The bytes that they take in digests.
    pub bytes: u64,
    /// When the first was received.
    pub first: Millis,
    /// When the last was received.
    pub last: Millis,
}

impl Store {
    /// Up to `limit` of the events that wait, in the order of groups, moments and ids.
    ///
    /// # Errors
    /// What the database says.
    pub async fn collected(
        &self,
        key: &ScheduleKey,
        window: Window,
        after: After<'_>,
        limit: u32,
    ) -> Result<Vec<CollectedKey>, StoreError> {
        let rows: Vec<(String, i64, String, i64)> = on_db!(&self.readers, |db| sqlx::query_as(SELECT_SLICE)
            .bind(key.carrier.as_str())
            .bind(key.subscription.as_str())
            .bind(window.from)
            .bind(window.to)
            .bind(after.group)
            .bind(after.received)
            .bind(after.event)
            .bind(i64::from(limit))
            .fetch_all(db)
            .await?);
        rows.into_iter()
            .map(|(group, received, event, bytes)| {
                let row = Reading { table: "collected", key: &event };
                let (id, bytes) = (row.name("event", &event)?, row.number("bytes", bytes)?);
                Ok(CollectedKey { group, received: Millis(received), event: id, bytes })
            })
            .collect()
    }

    /// The events themselves, in the order of the keys.
    ///
    /// # Errors
    /// What the database says; [`StoreError::Inconsistent`] when one is not there.
    pub async fn events_of(
        &self,
        carrier: &CarrierId,
        keys: &[CollectedKey],
    ) -> Result<Vec<Arc<Event>>, StoreError> {
        let mut found: HashMap<EventId, Arc<Event>> = HashMap::with_capacity(keys.len());
        for piece in pieces(keys) {
            let text = SELECT_EVENTS.text(&self.readers, piece.len());
            let rows: Vec<EventRow> = on_db!(&self.readers, |db| {
                let mut query = sqlx::query_as(text);
                for key in piece {
                    query = query.bind(carrier.as_str()).bind(key.received).bind(key.event.as_str());
                }
                query.fetch_all(db).await?
            });
            for row in rows {
                let event = row.event()?;
                found.insert(event.id.clone(), event);
            }
        }
        let missing = |key: &CollectedKey| {
            let id = format!("{carrier}/{}", key.event);
            broken("collected", "event", &id, "there is no such event".to_owned())
        };
        keys.iter().map(|key| found.remove(&key.event).ok_or_else(|| missing(key))).collect()
    }

    /// The first `groups` groups among the first `events` events that wait, by group.
    ///
    /// # Errors
    /// What the database says.
    pub async fn collected_groups(
        &self,
        key: &ScheduleKey,
        window: Window,
        events: u32,
        groups: u32,
    ) -> Result<Vec<CollectedGroup>, StoreError> {
        let rows: Vec<(String, i64, i64, i64, i64)> =
            on_db!(&self.readers, |db| sqlx::query_as(SELECT_GROUPS)
                .bind(key.carrier.as_str())
                .bind(key.subscription.as_str())
                .bind(window.from)
                .bind(window.to)
                .bind(i64::from(events))
                .bind(i64::from(groups))
                .fetch_all(db)
                .await?);
        rows.into_iter()
            .map(|(group, events, bytes, first, last)| {
                let row = Reading { table: "collected", key: &group };
                let (events, bytes) = (row.number("events", events)?, row.number("bytes", bytes)?);
                Ok(CollectedGroup { events, bytes, first: Millis(first), last: Millis(last), group })
            })
            .collect()
    }

    /// How many events wait, up to `most`.
    ///
    /// # Errors
    /// What the database says.
    pub async fn count_collected(
        &self,
        key: &ScheduleKey,
        window: Window,
        most: u32,
    ) -> Result<u32, StoreError> {
        let (n,): (i64,) = on_db!(&self.readers, |db| sqlx::query_as(COUNT_COLLECTED)
            .bind(key.carrier.as_str())
            .bind(key.subscription.as_str())
            .bind(window.from)
            .bind(window.to)
            .bind(i64::from(most))
            .fetch_one(db)
            .await?);
        Ok(u32::try_from(n).unwrap_or(most))
    }

    /// Whether an event that was received by then is not routed yet.
    ///
    /// # Errors
    /// What the database says.
    pub async fn open_until(&self, carrier: &CarrierId, to: Millis) -> Result<bool, StoreError> {
        let (n,): (i64,) = on_db!(&self.readers, |db| sqlx::query_as(OPEN_UNTIL)
            .bind(carrier.as_str())
            .bind(to)
            .fetch_one(db)
            .await?);
        Ok(n > 0)
    }
}
