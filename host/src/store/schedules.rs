//! Scheduled subscriptions: how far each has come. What its runs write stands in `runs`, what waits for them in `collected`.
//!
//! It must not know when a schedule is due.

use std::sync::Arc;

use super::Store;
use super::collected::CollectedKey;
use super::db::{Conn, on_db, sql};
use super::error::StoreError;
use super::rows::Reading;
use crate::carrier::ScheduleSpec;
use crate::clock::Millis;
use crate::event::{CarrierId, Event, NodeId, SubscriptionId};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The columns of a schedule, as [`Row`] takes them.
macro_rules! columns {
    () => {
        "SELECT carrier, subscription, created_ms, set_ms, watermark_ms, run_to_ms, run_kind, run_started_ms, run_group, \
         run_part, run_parts, run_digests, run_events, held_by, last_to_ms, last_kind, last_started_ms, last_ended_ms, \
         last_digests, last_events FROM schedules "
    };
}

sql! {
    /// What counts as another schedule is another time: only from then on ticks can be missed.
    SET_SCHEDULE = "INSERT INTO schedules (carrier, subscription, schedule, created_ms, set_ms, watermark_ms, run_part, \
        run_parts, run_digests, run_events) VALUES ($1, $2, $3, $4, $4, $4, 0, 0, 0, 0) \
        ON CONFLICT (carrier, subscription) DO UPDATE SET schedule = excluded.schedule, \
        set_ms = CASE WHEN schedules.schedule = excluded.schedule THEN schedules.set_ms ELSE excluded.set_ms END";
    UNSET_SCHEDULE = "UPDATE schedules SET schedule = NULL WHERE carrier = $1 AND subscription = $2";
    DELETE_SCHEDULE = "DELETE FROM schedules WHERE carrier = $1 AND subscription = $2";
    SELECT_SCHEDULES = concat!(columns!(), "ORDER BY watermark_ms, carrier, subscription");
    SELECT_SCHEDULE = concat!(columns!(), "WHERE carrier = $1 AND subscription = $2");
}

/// What makes a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RunKind {
    /// Its time has come.
    Tick,
    /// Somebody asked for it.
    Hand,
    /// The subscription is not scheduled any more: what it had collected goes out.
    Last,
}

impl RunKind {
    /// The word in the table and the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tick => "tick",
            Self::Hand => "hand",
            Self::Last => "last",
        }
    }
}

/// A scheduled subscription by its key.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ScheduleKey {
    /// The carrier.
    pub carrier: CarrierId,
    /// The subscription.
    pub subscription: SubscriptionId,
}

/// A run under way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// The tick: events that were received later are not for it.
    pub to: Millis,
    /// What made it.
    pub kind: RunKind,
    /// When it began.
    pub started: Millis,
    /// The last group that was begun, as JSON.
    pub group: Option<String>,
    /// How many digests of that group are written.
    pub part: u32,
    /// How many it has.
    pub parts: u32,
    /// Digests written so far.
    pub digests: u64,
    /// Events in them.
    pub events: u64,
}

/// A run that has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndedRun {
    /// Its tick.
    pub to: Millis,
    /// What made it.
    pub kind: RunKind,
    /// When it began.
    pub started: Millis,
    /// When it ended.
    pub ended: Millis,
    /// Digests that it wrote.
    pub digests: u64,
    /// Events in them.
    pub events: u64,
}

/// How far a scheduled subscription has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScheduleRecord {
    /// Whose it is, and which.
    pub key: ScheduleKey,
    /// Events that were received before are not for it.
    pub created: Millis,
    /// Since when its schedule is what it is.
    pub set: Millis,
    /// The tick up to which everything has become digests.
    pub watermark: Millis,
    /// The run under way.
    pub run: Option<Run>,
    /// The node that makes it.
    pub held_by: Option<NodeId>,
    /// The last one that ended.
    pub last: Option<EndedRun>,
}

/// A digest to be written.
#[derive(Debug, Clone)]
pub struct NewDigest {
    /// The event.
    pub event: Arc<Event>,
    /// What it holds.
    pub members: Vec<CollectedKey>,
}

/// Where a run stands after a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stand {
    /// The last group that was begun, as JSON.
    pub group: String,
    /// How many digests of it are written.
    pub part: u32,
    /// How many it has.
    pub parts: u32,
}

#[derive(sqlx::FromRow)]
struct Row {
    carrier: String,
    subscription: String,
    created_ms: Millis,
    set_ms: Millis,
    watermark_ms: Millis,
    run_to_ms: Option<Millis>,
    run_kind: Option<String>,
    run_started_ms: Option<Millis>,
    run_group: Option<String>,
    run_part: i64,
    run_parts: i64,
    run_digests: i64,
    run_events: i64,
    held_by: Option<String>,
    last_to_ms: Option<Millis>,
    last_kind: Option<String>,
    last_started_ms: Option<Millis>,
    last_ended_ms: Option<Millis>,
    last_digests: Option<i64>,
    last_events: Option<i64>,
}

impl Store {
    /// How far every scheduled subscription has come; the furthest behind first. Also those that were scheduled once.
    ///
    /// # Errors
    /// What the database says.
    pub async fn schedules(&self) -> Result<Vec<ScheduleRecord>, StoreError> {
        let rows: Vec<Row> =
            on_db!(&self.readers, |db| sqlx::query_as(SELECT_SCHEDULES).fetch_all(db).await?);
        rows.into_iter().map(record).collect()
    }

    /// How far one has come.
    ///
    /// # Errors
    /// What the database says.
    pub async fn schedule(&self, key: &ScheduleKey) -> Result<Option<ScheduleRecord>, StoreError> {
        let row: Option<Row> = on_db!(&self.readers, |db| sqlx::query_as(SELECT_SCHEDULE)
            .bind(key.carrier.as_str())
            .bind(key.subscription.as_str())
            .fetch_optional(db)
            .await?);
        row.map(record).transpose()
    }
}

/// Notes a subscription's schedule, within the step that writes the subscription.
pub(super) async fn set(
    conn: &mut Conn,
    carrier: &CarrierId,
    subscription: &SubscriptionId,
    schedule: Option<&ScheduleSpec>,
    now: Millis,
) -> Result<(), StoreError> {
    let Some(schedule) = schedule else {
        on_db!(conn, |c| sqlx::query(UNSET_SCHEDULE)
            .bind(carrier.as_str())
            .bind(subscription.as_str())
            .execute(c)
            .await?
            .rows_affected());
        return Ok(());
    };
    on_db!(conn, |c| sqlx::query(SET_SCHEDULE)
        .bind(carrier.as_str())
        .bind(subscription.as_str())
        .bind(format!("{} {}", schedule.time_zone, schedule.every))
        .bind(now)
        .execute(c)
        .await?
        .rows_affected());
    Ok(())
}

/// Removes it, within the step that removes the subscription.
pub(super) async fn unset(
    conn: &mut Conn,
    carrier: &CarrierId,
    subscription: &SubscriptionId,
) -> Result<(), StoreError> {
    on_db!(conn, |c| sqlx::query(DELETE_SCHEDULE)
        .bind(carrier.as_str())
        .bind(subscription.as_str())
        .execute(c)
        .await?
        .rows_affected());
    Ok(())
}

fn record(row: Row) -> Result<ScheduleRecord, StoreError> {
    let name = format!("{}/{}", row.carrier, row.subscription);
    let reading = Reading { table: "schedules", key: &name };
    let kind = |column, word: Option<String>| {
        let word = word.ok_or_else(|| reading.broken(column, "it is missing"))?;
        reading.word(column, &word)
    };
    let run = match row.run_to_ms {
        None => None,
        Some(to) => Some(Run {
            to,
            kind: kind("run_kind", row.run_kind)?,
            started: row.run_started_ms.unwrap_or(to),
            group: row.run_group,
            part: reading.number("run_part", row.run_part)?,
            parts: reading.number("run_parts", row.run_parts)?,
            digests: reading.number("run_digests", row.run_digests)?,
            events: reading.number("run_events", row.run_events)?,
        }),
    };
    let last = match (row.last_to_ms, row.last_started_ms, row.last_ended_ms) {
        (Some(to), Some(started), Some(ended)) => Some(EndedRun {
            to,
            kind: kind("last_kind", row.last_kind)?,
            started,
            ended,
            digests: reading.number("last_digests", row.last_digests.unwrap_or(0))?,
            events: reading.number("last_events", row.last_events.unwrap_or(0))?,
        }),
        _ => None,
    };
    Ok(ScheduleRecord {
        key: ScheduleKey {
            carrier: reading.name("carrier", &row.carrier)?,
            subscription: reading.name("subscription", &row.subscription)?,
        },
        created: row.created_ms,
        set: row.set_ms,
        watermark: row.watermark_ms,
        run,
        held_by: row.held_by.map(|node| reading.name("held_by", &node)).transpose()?,
        last,
    })
}
