//! Reading: events with what they came to, deliveries with their attempts. Read-only connections, no transaction.
//!
//! Pages are cut by keys, so that they stay exact while new rows arrive. Searching deliveries stands in `search`.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;

use super::Store;
use super::claim::split;
use super::db::{on_db, sql};
use super::error::StoreError;
use super::page::{
    AttemptRecord, Content, DeliveryRecord, EventFilter, EventRecord, Page, PageRequest, RoutingRecord,
};
use super::rows::{Content as ContentRow, EventRow, Reading};
use crate::clock::Millis;
use crate::event::{CarrierId, DeliveryId, EventId, time_ordered};

/// Records on a page at most.
pub(super) const PAGE_MAX: u32 = 500;

/// Larger than every id: ids are printable ASCII, and none begins with this.
pub(super) const LAST: &str = "\u{7f}";

/// The columns of an event with its body, as [`Row`] takes them.
macro_rules! event_columns {
    () => {
        "SELECT b.carrier AS event_carrier, b.received_ms AS event_received_ms, b.id AS event_id, \
         b.type AS event_type, b.attributes AS event_attributes, b.payload AS event_payload, \
         CAST(CASE WHEN o.id IS NULL THEN 1 ELSE 0 END AS BIGINT) AS routed "
    };
}

/// The columns of a delivery, as [`DeliveryRow`] takes them.
macro_rules! delivery_columns {
    () => {
        "SELECT d.id, d.event, d.event_type, d.received_ms, d.subscription, d.place, d.lane, d.state, d.attempts, \
         d.due_ms, d.updated_ms, d.last_status, d.last_error, d.order_key "
    };
}
pub(super) use delivery_columns;

sql! {
    SELECT_RECEIVED = "SELECT received_ms FROM events WHERE carrier = $1 AND id = $2";
    SELECT_EVENT = concat!(event_columns!(), "FROM events e \
        JOIN event_bodies b ON b.carrier = e.carrier AND b.received_ms = e.received_ms AND b.id = e.id \
        LEFT JOIN open_events o ON o.carrier = e.carrier AND o.received_ms = e.received_ms AND o.id = e.id \
        WHERE e.carrier = $1 AND e.id = $2");
    SELECT_EVENTS = concat!(event_columns!(), "FROM event_bodies b \
        LEFT JOIN open_events o ON o.carrier = b.carrier AND o.received_ms = b.received_ms AND o.id = b.id \
        WHERE b.carrier = $1 AND b.received_ms >= $2 AND b.received_ms < $3 \
        AND (CAST($4 AS TEXT) IS NULL OR b.type = $4) \
        AND (b.received_ms, b.id) < (CAST($5 AS BIGINT), CAST($6 AS TEXT)) \
        ORDER BY b.received_ms DESC, b.id DESC LIMIT $7");
    SELECT_ROUTINGS = "SELECT r.subscription, r.state, r.verdict, r.reason, r.versions, r.tries, r.due_ms, \
        r.cost_us, r.log FROM events e \
        JOIN routings r ON r.carrier = e.carrier AND r.received_ms = e.received_ms AND r.event = e.id \
        WHERE e.carrier = $1 AND e.id = $2 ORDER BY r.subscription";
    SELECT_DELIVERY = concat!(delivery_columns!(), "FROM deliveries d WHERE d.carrier = $1 AND d.id = $2");
    SELECT_CONTENT = "SELECT message, body_kind, body FROM delivery_bodies WHERE carrier = $1 AND id = $2";
    SELECT_ATTEMPTS = "SELECT number, started_ms, duration_us, outcome, status, error, request, response_headers, \
        response_body FROM attempts WHERE carrier = $1 AND delivery = $2 ORDER BY number";
}

#[derive(sqlx::FromRow)]
struct Row {
    #[sqlx(flatten)]
    event: EventRow,
    routed: i64,
}

#[derive(sqlx::FromRow)]
struct RoutingRow {
    subscription: String,
    state: String,
    verdict: Option<String>,
    reason: Option<String>,
    versions: String,
    tries: i64,
    due_ms: Option<i64>,
    cost_us: i64,
    log: Option<String>,
}

#[derive(sqlx::FromRow)]
pub(super) struct DeliveryRow {
    id: String,
    event: String,
    event_type: String,
    received_ms: i64,
    subscription: String,
    place: i64,
    lane: String,
    state: String,
    attempts: i64,
    due_ms: i64,
    updated_ms: i64,
    last_status: Option<i64>,
    last_error: Option<String>,
    order_key: Option<String>,
}

#[derive(sqlx::FromRow)]
struct AttemptRow {
    number: i64,
    started_ms: i64,
    duration_us: i64,
    outcome: String,
    status: Option<i64>,
    error: Option<String>,
    request: String,
    response_headers: Option<String>,
    response_body: Option<Vec<u8>>,
}

impl Store {
    /// An event with its payload.
    ///
    /// # Errors
    /// What the database says.
    pub async fn event(&self, carrier: &CarrierId, id: &EventId) -> Result<Option<EventRecord>, StoreError> {
        let row: Option<Row> = on_db!(&self.readers, |db| sqlx::query_as(SELECT_EVENT)
            .bind(carrier.as_str())
            .bind(id.as_str())
            .fetch_optional(db)
            .await?);
        row.map(event).transpose()
    }

    /// A carrier's events, newest first.
    ///
    /// # Errors
    /// [`StoreError::Cursor`], or what the database says.
    pub async fn events(
        &self,
        carrier: &CarrierId,
        filter: &EventFilter,
        page: &PageRequest,
    ) -> Result<Page<EventRecord>, StoreError> {
        let after = page.after.as_deref().map(open).transpose()?;
        let (before_ms, before_id) = match &after {
            None => (i64::MAX, LAST),
            Some(key) => {
                let (ms, id) = key.split_once(' ').ok_or(StoreError::Cursor)?;
                (ms.parse().map_err(|_| StoreError::Cursor)?, id)
            }
        };
        let limit = page.limit.clamp(1, PAGE_MAX);
        let rows: Vec<Row> = on_db!(&self.readers, |db| sqlx::query_as(SELECT_EVENTS)
            .bind(carrier.as_str())
            .bind(filter.from.map_or(i64::MIN, |m| m.0))
            .bind(filter.until.map_or(i64::MAX, |m| m.0))
            .bind(filter.event_type.as_ref().map(|t| t.as_str()))
            .bind(before_ms)
            .bind(before_id)
            .bind(i64::from(limit) + 1)
            .fetch_all(db)
            .await?);
        let records = rows.into_iter().map(event).collect::<Result<Vec<_>, _>>()?;
        Ok(cut(records, limit, |e| format!("{} {}", e.received, e.id)))
    }

    /// An event's routings, by subscription.
    ///
    /// # Errors
    /// What the database says.
    pub async fn routings(
        &self,
        carrier: &CarrierId,
        event: &EventId,
    ) -> Result<Vec<RoutingRecord>, StoreError> {
        let rows: Vec<RoutingRow> = on_db!(&self.readers, |db| sqlx::query_as(SELECT_ROUTINGS)
            .bind(carrier.as_str())
            .bind(event.as_str())
            .fetch_all(db)
            .await?);
        rows.into_iter().map(|row| routing(event, row)).collect()
    }

    /// One delivery.
    ///
    /// # Errors
    /// What the database says.
    pub async fn delivery(
        &self,
        carrier: &CarrierId,
        id: &DeliveryId,
    ) -> Result<Option<DeliveryRecord>, StoreError> {
        let row: Option<DeliveryRow> = on_db!(&self.readers, |db| sqlx::query_as(SELECT_DELIVERY)
            .bind(carrier.as_str())
            .bind(id.as_str())
            .fetch_optional(db)
            .await?);
        row.map(delivery).transpose()
    }

    /// What a delivery sends.
    ///
    /// # Errors
    /// What the database says.
    pub async fn content(&self, carrier: &CarrierId, id: &DeliveryId) -> Result<Content, StoreError> {
        let row: Option<ContentRow> = on_db!(&self.readers, |db| sqlx::query_as(SELECT_CONTENT)
            .bind(carrier.as_str())
            .bind(id.as_str())
            .fetch_optional(db)
            .await?);
        let reading = Reading { table: "delivery_bodies", key: id.as_str() };
        let (message, body) = reading.content(row.unwrap_or_default())?;
        Ok(Content { message, body })
    }

    /// A delivery's attempts, first to last.
    ///
    /// # Errors
    /// What the database says.
    pub async fn attempts(
        &self,
        carrier: &CarrierId,
        id: &DeliveryId,
    ) -> Result<Vec<AttemptRecord>, StoreError> {
        let rows: Vec<AttemptRow> = on_db!(&self.readers, |db| sqlx::query_as(SELECT_ATTEMPTS)
            .bind(carrier.as_str())
            .bind(id.as_str())
            .fetch_all(db)
            .await?);
        rows.into_iter().map(|row| attempt(id, row)).collect()
    }

    /// When an event was received, if there is such an event.
    pub(super) async fn received(
        &self,
        carrier: &CarrierId,
        event: &EventId,
    ) -> Result<Option<Millis>, StoreError> {
        let row: Option<(i64,)> = on_db!(&self.readers, |db| sqlx::query_as(SELECT_RECEIVED)
            .bind(carrier.as_str())
            .bind(event.as_str())
            .fetch_optional(db)
            .await?);
        Ok(row.map(|(ms,)| Millis(ms)))
    }
}

/// The smallest delivery id of a moment.
pub(super) fn floor(at: Millis) -> String {
    // A UUID of version 7 has 48 bits for the time.
    let at = Millis(at.0.clamp(0, (1 << 48) - 1));
    DeliveryId::from(time_ordered(at, [0; 10])).to_string()
}

pub(super) fn open(cursor: &str) -> Result<String, StoreError> {
    let bytes = URL_SAFE_NO_PAD.decode(cursor).map_err(|_| StoreError::Cursor)?;
    String::from_utf8(bytes).map_err(|_| StoreError::Cursor)
}

/// One record more than the page holds tells that there is a next one.
pub(super) fn cut<T>(mut items: Vec<T>, limit: u32, key: impl Fn(&T) -> String) -> Page<T> {
    let limit = limit as usize;
    let more = items.len() > limit;
    items.truncate(limit);
    let next = items.last().filter(|_| more).map(|last| cursor(&key(last)));
    Page { items, next }
}

/// What [`open`] opens.
pub(super) fn cursor(key: &str) -> String {
    URL_SAFE_NO_PAD.encode(key)
}

fn event(row: Row) -> Result<EventRecord, StoreError> {
    let event = row.event.event()?;
    Ok(EventRecord {
        id: event.id.clone(),
        event_type: event.event_type.clone(),
        received: event.received,
        routed: row.routed == 1,
        attributes: event.attributes.to_vec(),
        payload: event.payload.clone(),
    })
}

fn routing(event: &EventId, r: RoutingRow) -> Result<RoutingRecord, StoreError> {
    let key = format!("{event}/{}", r.subscription);
    let row = Reading { table: "routings", key: &key };
    Ok(RoutingRecord {
        event: event.clone(),
        subscription: row.name("subscription", &r.subscription)?,
        state: row.word("state", &r.state)?,
        verdict: r.verdict.map(|v| row.word("verdict", &v)).transpose()?,
        reason: r.reason,
        versions: row.json("versions", &r.versions)?,
        tries: row.number("tries", r.tries)?,
        due: r.due_ms.map(Millis),
        cost_us: row.number("cost_us", r.cost_us)?,
        log: r.log,
    })
}

pub(super) fn delivery(d: DeliveryRow) -> Result<DeliveryRecord, StoreError> {
    let row = Reading { table: "deliveries", key: &d.id };
    Ok(DeliveryRecord {
        id: row.name("id", &d.id)?,
        event: row.name("event", &d.event)?,
        event_type: row.name("event_type", &d.event_type)?,
        subscription: row.name("subscription", &d.subscription)?,
        destination: split(&d.lane)?.destination,
        index: row.number("place", d.place)?,
        state: row.word("state", &d.state)?,
        order_key: d.order_key,
        attempts: row.number("attempts", d.attempts)?,
        due: Millis(d.due_ms),
        created: Millis(d.received_ms),
        updated: Millis(d.updated_ms),
        last_status: d.last_status.map(|s| row.number("last_status", s)).transpose()?,
        last_error: d.last_error,
    })
}

fn attempt(delivery: &DeliveryId, a: AttemptRow) -> Result<AttemptRecord, StoreError> {
    let key = format!("{delivery}/{}", a.number);
    let row = Reading { table: "attempts", key: &key };
    Ok(AttemptRecord {
        number: row.number("number", a.number)?,
        started: Millis(a.started_ms),
        duration_us: row.number("duration_us", a.duration_us)?,
        outcome: a.outcome,
        status: a.status.map(|s| row.number("status", s)).transpose()?,
        error: a.error,
        request: a.request,
        response_headers: a.response_headers,
        response_body: a.response_body.map(Bytes::from),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_floor_of_a_moment_lies_between_its_neighbours() {
        let all = [0, 1, 1_761_300_000_122, 1_761_300_000_123, (1 << 48) - 1];
        for pair in all.windows(2) {
            let largest = DeliveryId::from(time_ordered(Millis(pair[0]), [0xff; 10])).to_string();
            assert!(floor(Millis(pair[0])) < largest);
            assert!(largest < floor(Millis(pair[1])));
        }
        assert_eq!(floor(Millis(i64::MAX)), floor(Millis((1 << 48) - 1)));
        assert_eq!(floor(Millis(-5)), floor(Millis(0)));
    }

    #[test]
    fn a_page_knows_whether_there_is_more() {
        let page = cut(vec![3, 2, 1], 2, ToString::to_string);
        assert_eq!(page.items, [3, 2]);
        assert_eq!(open(&page.next.unwrap()).unwrap(), "2");
        assert_eq!(cut(vec![3, 2], 2, ToString::to_string).next, None);
        assert!(matches!(open("no cursor!"), Err(StoreError::Cursor)));
    }
}
