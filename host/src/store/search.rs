//! Searching deliveries, and changing many of them by the same choice.
//!
//! A search walks along the carrier's deliveries in the order of time (those that are dead or failed along an index of
//! their own) and looks at no more than [`SEARCH_ROWS`] of them. Where it ended is known before it begins: what comes in
//! or goes away meanwhile neither doubles nor skips anything. An index for each thing that can be searched by would be
//! written for every delivery, and read by hardly anybody.

use super::db::{on_db, sql};
use super::error::StoreError;
use super::page::{DeliveryFilter, DeliveryRecord, Order, Page, PageRequest};
use super::read::{DeliveryRow, LAST, PAGE_MAX, cursor, cut, delivery, delivery_columns, floor, open};
use super::work::DeliveryState;
use super::{Store, lane};
use crate::clock::Millis;
use crate::event::{CarrierId, DeliveryId};

/// Deliveries that one search looks at. What lies beyond them is behind the page's cursor.
pub const SEARCH_ROWS: u32 = 50_000;

/// A stretch of a carrier's deliveries, with the parameters `$1` to `$3`.
macro_rules! stretch {
    () => {
        "d.carrier = $1 AND d.id >= $2 AND d.id < $3 "
    };
}

/// What has ended, along its own index. PostgreSQL finds that by itself; SQLite takes the table, unless it is told.
macro_rules! ended {
    ($hint:expr) => {
        concat!("FROM deliveries d ", $hint, "WHERE d.state IN ('dead', 'failed') AND ")
    };
}

macro_rules! all {
    () => {
        "FROM deliveries d WHERE "
    };
}

/// A choice among the deliveries of a stretch, with the parameters `$4` to `$13`. The attempt is looked up as a value:
/// of an `EXISTS` PostgreSQL may make a table of all attempts first.
macro_rules! chosen {
    () => {
        "AND (CAST($4 AS TEXT) IS NULL OR d.event = $4) \
         AND (CAST($5 AS TEXT) IS NULL OR d.subscription = $5) AND (CAST($6 AS TEXT) IS NULL OR d.lane = $6) \
         AND (CAST($7 AS TEXT) IS NULL OR d.event_type = $7) \
         AND (CAST($8 AS TEXT) IS NULL OR $8 LIKE '%,' || d.state || ',%') \
         AND (CAST($9 AS BIGINT) IS NULL OR d.last_status BETWEEN $9 AND $10) \
         AND (CAST($11 AS BIGINT) IS NULL OR d.updated_ms >= $11) \
         AND (CAST($12 AS BIGINT) IS NULL OR d.updated_ms < $12) \
         AND (CAST($13 AS TEXT) IS NULL OR (($13 = 'delivered' OR d.last_error IS NOT NULL) AND $13 = (\
         SELECT a.outcome FROM attempts a \
         WHERE a.carrier = d.carrier AND a.delivery = d.id AND a.number = d.attempts))) "
    };
}

macro_rules! edge {
    ($among:expr, $order:expr) => {
        concat!("SELECT d.id ", $among, stretch!(), $order, "LIMIT 1 OFFSET $4")
    };
}

macro_rules! search {
    ($among:expr, $order:expr) => {
        concat!(delivery_columns!(), $among, stretch!(), chosen!(), $order, "LIMIT $14")
    };
}

macro_rules! newest {
    () => {
        "ORDER BY d.id DESC "
    };
}

macro_rules! oldest {
    () => {
        "ORDER BY d.id "
    };
}

/// The hint for SQLite.
macro_rules! hint {
    () => {
        "INDEXED BY deliveries_ended "
    };
}

sql! {
    /// The last delivery that a search looks at.
    EDGE_NEWEST = edge!(all!(), newest!());
    EDGE_OLDEST = edge!(all!(), oldest!());
    EDGE_ENDED_NEWEST_SQLITE = edge!(ended!(hint!()), newest!());
    EDGE_ENDED_OLDEST_SQLITE = edge!(ended!(hint!()), oldest!());
    EDGE_ENDED_NEWEST_POSTGRES = edge!(ended!(""), newest!());
    EDGE_ENDED_OLDEST_POSTGRES = edge!(ended!(""), oldest!());
    SEARCH_NEWEST = search!(all!(), newest!());
    SEARCH_OLDEST = search!(all!(), oldest!());
    SEARCH_ENDED_NEWEST_SQLITE = search!(ended!(hint!()), newest!());
    SEARCH_ENDED_OLDEST_SQLITE = search!(ended!(hint!()), oldest!());
    SEARCH_ENDED_NEWEST_POSTGRES = search!(ended!(""), newest!());
    SEARCH_ENDED_OLDEST_POSTGRES = search!(ended!(""), oldest!());
}

/// A [`DeliveryFilter`] as the statements take it.
struct Choice<'f> {
    carrier: &'f str,
    /// The smallest id.
    from: String,
    /// Above the largest id.
    until: String,
    lane: Option<String>,
    /// `,dead,failed,`
    states: Option<String>,
    filter: &'f DeliveryFilter,
}

impl Store {
    /// A carrier's deliveries. `filter.event` reads only that event's.
    ///
    /// A page may hold fewer than `page.limit`, even none, and still name a next one: a search looks at no more than
    /// [`SEARCH_ROWS`] deliveries.
    ///
    /// # Errors
    /// [`StoreError::Cursor`], or what the database says.
    pub async fn deliveries(
        &self,
        carrier: &CarrierId,
        filter: &DeliveryFilter,
        page: &PageRequest,
    ) -> Result<Page<DeliveryRecord>, StoreError> {
        self.search(carrier, filter, page.limit.clamp(1, PAGE_MAX), page.after.as_deref(), SEARCH_ROWS).await
    }

    /// As [`Store::deliveries`], with any limit, looking at no more than `rows` deliveries.
    pub(super) async fn search(
        &self,
        carrier: &CarrierId,
        filter: &DeliveryFilter,
        limit: u32,
        after: Option<&str>,
        rows: u32,
    ) -> Result<Page<DeliveryRecord>, StoreError> {
        let received = match &filter.event {
            None => None,
            Some(event) => match self.received(carrier, event).await? {
                Some(received) => Some(received),
                None => return Ok(Page { items: Vec::new(), next: None }),
            },
        };
        let mut choice = Choice::new(carrier, filter, received);
        if let Some(after) = after {
            let after = open(after)?;
            after.parse::<DeliveryId>().map_err(|_| StoreError::Cursor)?;
            choice.go_on(after);
        }
        let edge = self.edge(&choice, rows).await?;
        if let Some(edge) = &edge {
            choice.end_with(edge);
        }
        let found = self.found(&choice, i64::from(limit) + 1).await?;
        let mut page = cut(found, limit, |d| d.id.to_string());
        if page.next.is_none() {
            page.next = edge.as_deref().map(cursor);
        }
        Ok(page)
    }

    /// The last delivery that is looked at, when there are at least `rows` of them.
    async fn edge(&self, choice: &Choice<'_>, rows: u32) -> Result<Option<String>, StoreError> {
        if !choice.is_selective() {
            // Whatever it meets is wanted: the page's own limit bounds it.
            return Ok(None);
        }
        let sql = match (choice.only_ended(), choice.filter.order) {
            (false, Order::Newest) => EDGE_NEWEST,
            (false, Order::Oldest) => EDGE_OLDEST,
            (true, Order::Newest) => self.readers.pick(EDGE_ENDED_NEWEST_SQLITE, EDGE_ENDED_NEWEST_POSTGRES),
            (true, Order::Oldest) => self.readers.pick(EDGE_ENDED_OLDEST_SQLITE, EDGE_ENDED_OLDEST_POSTGRES),
        };
        let row: Option<(String,)> = on_db!(&self.readers, |db| sqlx::query_as(sql)
            .bind(choice.carrier)
            .bind(choice.from.as_str())
            .bind(choice.until.as_str())
            .bind(i64::from(rows.max(1)) - 1)
            .fetch_optional(db)
            .await?);
        Ok(row.map(|(id,)| id))
    }

    async fn found(&self, choice: &Choice<'_>, limit: i64) -> Result<Vec<DeliveryRecord>, StoreError> {
        let sql = match (choice.only_ended(), choice.filter.order) {
            (false, Order::Newest) => SEARCH_NEWEST,
            (false, Order::Oldest) => SEARCH_OLDEST,
            (true, Order::Newest) => {
                self.readers.pick(SEARCH_ENDED_NEWEST_SQLITE, SEARCH_ENDED_NEWEST_POSTGRES)
            }
            (true, Order::Oldest) => {
                self.readers.pick(SEARCH_ENDED_OLDEST_SQLITE, SEARCH_ENDED_OLDEST_POSTGRES)
            }
        };
        let filter = choice.filter;
        let rows: Vec<DeliveryRow> = on_db!(&self.readers, |db| sqlx::query_as(sql)
            .bind(choice.carrier)
            .bind(choice.from.as_str())
            .bind(choice.until.as_str())
            .bind(filter.event.as_ref().map(|e| e.as_str()))
            .bind(filter.subscription.as_ref().map(|s| s.as_str()))
            .bind(choice.lane.as_deref())
            .bind(filter.event_type.as_ref().map(|t| t.as_str()))
            .bind(choice.states.as_deref())
            .bind(filter.statuses.map(|(first, _)| i64::from(first)))
            .bind(filter.statuses.map(|(_, last)| i64::from(last)))
            .bind(filter.updated_from)
            .bind(filter.updated_until)
            .bind(filter.outcome)
            .bind(limit)
            .fetch_all(db)
            .await?);
        rows.into_iter().map(delivery).collect()
    }
}

impl<'f> Choice<'f> {
    /// `received`: when `filter.event` was received, which is where its deliveries stand.
    fn new(carrier: &'f CarrierId, filter: &'f DeliveryFilter, received: Option<Millis>) -> Self {
        let mut from = filter.from.map_or_else(String::new, floor);
        let mut until = filter.until.map_or_else(|| LAST.to_owned(), floor);
        if let Some(at) = received {
            from = from.max(floor(at));
            until = until.min(floor(Millis(at.0.saturating_add(1))));
        }
        let states = (!filter.states.is_empty())
            .then(|| filter.states.iter().fold(",".to_owned(), |all, s| all + s.as_str() + ","));
        let lane = filter.destination.as_ref().map(|d| lane(carrier.as_str(), d.as_str()));
        Self { carrier: carrier.as_str(), from, until, lane, states, filter }
    }

    /// Begins behind the delivery `id`.
    fn go_on(&mut self, id: String) {
        match self.filter.order {
            Order::Newest => self.until = std::mem::take(&mut self.until).min(id),
            Order::Oldest => self.from = std::mem::take(&mut self.from).max(above(&id)),
        }
    }

    /// Ends with the delivery `id`.
    fn end_with(&mut self, id: &str) {
        match self.filter.order {
            Order::Newest => id.clone_into(&mut self.from),
            Order::Oldest => self.until = above(id),
        }
    }

    /// Whether only the index of what has ended is walked along.
    fn only_ended(&self) -> bool {
        let ended = |s: &DeliveryState| matches!(s, DeliveryState::Dead | DeliveryState::Failed);
        !self.filter.states.is_empty() && self.filter.states.iter().all(ended)
    }

    /// Whether a search may meet deliveries that it does not want.
    fn is_selective(&self) -> bool {
        let f = self.filter;
        let some_states = match (self.only_ended(), f.states.as_slice()) {
            (_, []) => false,
            (true, states) => {
                !(states.contains(&DeliveryState::Dead) && states.contains(&DeliveryState::Failed))
            }
            (false, _) => true,
        };
        some_states
            || f.event.is_some()
            || f.subscription.is_some()
            || f.destination.is_some()
            || f.event_type.is_some()
            || f.statuses.is_some()
            || f.outcome.is_some()
            || f.updated_from.is_some()
            || f.updated_until.is_some()
    }
}

/// The smallest text above an id that is no other id.
pub(super) fn above(id: &str) -> String {
    format!("{id}!")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_choice_that_passes_something_over_needs_an_edge() {
        use DeliveryState::{Dead, Delivered, Failed};
        let carrier: CarrierId = "acme".parse().unwrap();
        let of = |filter: &DeliveryFilter| {
            let choice = Choice::new(&carrier, filter, None);
            (choice.only_ended(), choice.is_selective())
        };
        let states = |states: &[DeliveryState]| {
            of(&DeliveryFilter { states: states.to_vec(), ..DeliveryFilter::default() })
        };
        assert_eq!(of(&DeliveryFilter::default()), (false, false));
        assert_eq!(
            of(&DeliveryFilter { from: Some(Millis(1)), ..DeliveryFilter::default() }),
            (false, false)
        );
        assert_eq!(states(&[Dead, Failed]), (true, false));
        assert_eq!(states(&[Dead]), (true, true));
        assert_eq!(states(&[Dead, Failed, Delivered]), (false, true));
        assert_eq!(of(&DeliveryFilter { outcome: Some("dns"), ..DeliveryFilter::default() }), (false, true));
    }

    #[test]
    fn a_stretch_is_cut_at_both_ends_in_either_order() {
        let carrier: CarrierId = "acme".parse().unwrap();
        let ids = ["0199-a", "0199-b", "0199-c", "0199-d"];
        for (order, expected) in
            [(Order::Newest, ["0199-b", "0199-c"]), (Order::Oldest, ["0199-b", "0199-c"])]
        {
            let filter = DeliveryFilter { order, ..DeliveryFilter::default() };
            let mut choice = Choice::new(&carrier, &filter, None);
            let (begin, end) = match order {
                Order::Newest => ("0199-d", "0199-b"),
                Order::Oldest => ("0199-a", "0199-c"),
            };
            choice.go_on(begin.to_owned());
            choice.end_with(end);
            let inside: Vec<&str> =
                ids.into_iter().filter(|id| **id >= *choice.from && **id < *choice.until).collect();
            assert_eq!(inside, expected);
        }
    }
}
