//! Step 2: events are written, durably, before anybody is told that they were accepted.
//!
//! Which event is new is settled in memory first ([`resolve`]); the insert then proves it, since it must change exactly
//! the rows that it names. Only when it does not are the known events looked up. It must not know how a turn is run.

use std::collections::{HashMap, HashSet};
use std::sync::LazyLock;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rusqlite::params;
use sqlx::postgres::PgConnection;

use super::db::{Conn, Db, Rows, on_db, read_rows, sql};
use super::error::{AcceptError, StoreError};
use super::postgres::column;
use super::rows::{broken, json};
use super::work::{Acceptance, NewEvent};
use super::writer::{Caller, Command, Group};
use super::{Done, Shared, Store, Wake};
use crate::clock::Millis;
use crate::event::{CarrierId, EventId};

sql! {
    SELECT_CARRIER = "SELECT id FROM carriers WHERE id = $1";
    COUNT_BACKLOG = "SELECT COUNT(*) FROM (SELECT id FROM open_events \
        WHERE carrier = $1 AND held_by IS NULL LIMIT $2) AS waiting";
    INSERT_EVENT_SQLITE = "INSERT INTO events (carrier, id, received_ms, digest) VALUES ($1, $2, $3, $4) \
        ON CONFLICT (carrier, id) DO NOTHING";
    INSERT_BODY_SQLITE = "INSERT INTO event_bodies (carrier, received_ms, id, type, attributes, payload) \
        VALUES ($1, $2, $3, $4, $5, $6)";
    INSERT_OPEN_SQLITE = "INSERT INTO open_events (carrier, received_ms, id, held_by) VALUES ($1, $2, $3, $4)";
    /// Gives how many events were new; only when all were does it write the rest.
    ACCEPT_POSTGRES = "WITH given AS (SELECT * FROM UNNEST($2::TEXT[], $3::TEXT[], $4::BIGINT[], $5::BYTEA[], \
        $6::TEXT[], $7::TEXT[], $8::BYTEA[], $9::BOOLEAN[]) \
        AS g (carrier, id, received_ms, digest, type, attributes, payload, hold)), \
        new AS (INSERT INTO events (carrier, id, received_ms, digest) \
        SELECT carrier, id, received_ms, digest FROM given ON CONFLICT (carrier, id) DO NOTHING RETURNING id), \
        complete AS (SELECT (SELECT COUNT(*) FROM new) = CARDINALITY($2) AS yes), \
        bodies AS (INSERT INTO event_bodies (carrier, received_ms, id, type, attributes, payload) \
        SELECT carrier, received_ms, id, type, attributes, payload FROM given \
        WHERE (SELECT yes FROM complete)), \
        open AS (INSERT INTO open_events (carrier, received_ms, id, held_by) \
        SELECT carrier, received_ms, id, CASE WHEN hold THEN $1 END FROM given \
        WHERE (SELECT yes FROM complete)) \
        SELECT COUNT(*) FROM new";
}

pub(super) static SELECT_KNOWN: LazyLock<Rows> = LazyLock::new(|| {
    Rows::new(
        "SELECT e.carrier, e.id, e.received_ms, e.digest FROM",
        0,
        &["TEXT", "TEXT"],
        " AS v JOIN events e ON e.carrier = v.column1 AND e.id = v.column2",
    )
});

/// How long a publisher waits before it tries a full backlog again.
const BACKLOG_RETRY: Duration = Duration::from_secs(5);

/// How long a publisher waits before it tries a full queue again.
const BUSY_RETRY: Duration = Duration::from_secs(1);

impl Store {
    /// Writes a request's events, all or none, and calls `done` after the commit.
    ///
    /// # Errors
    /// [`AcceptError::Busy`] at once when the queue is full. `done` gets [`AcceptError::Conflict`] with the index of an
    /// event whose id exists with another body, [`AcceptError::UnknownCarrier`], or [`AcceptError::Backlog`].
    pub fn accept(
        &self,
        events: Vec<NewEvent>,
        done: Done<Result<Vec<Acceptance>, AcceptError>>,
    ) -> Result<(), AcceptError> {
        let n = events.len();
        let queued = self.shared.queued.fetch_add(n, Ordering::Relaxed);
        // A request larger than the whole queue still gets in when nothing else waits.
        if queued > 0 && queued.saturating_add(n) > self.shared.limits.queued_events {
            self.shared.queued.fetch_sub(n, Ordering::Relaxed);
            return Err(AcceptError::Busy { retry_after: BUSY_RETRY });
        }
        self.queue
            .send(Command::Accept(Group { events, done: Caller::new(done) }))
            .map_err(|_| AcceptError::Store(StoreError::Closed))
    }
}

type Key = (CarrierId, EventId);

/// Events that the tables are known to hold: when received, and their digest.
#[derive(Default)]
pub(super) struct Known(HashMap<Key, (Millis, [u8; 32])>);

/// What a turn's groups come to.
pub(super) struct Resolved {
    /// One for each group.
    verdicts: Vec<Result<Vec<Acceptance>, AcceptError>>,
    /// What is to be written.
    rows: Vec<NewEvent>,
}

/// Decides for each group what is new, what is a repeat, and whether it is refused as a whole.
pub(super) fn resolve(shared: &Shared, groups: &[Group], known: &Known) -> Resolved {
    let carriers = shared.carriers();
    let backlog = shared.backlog();
    let mut seen: HashMap<Key, (Millis, [u8; 32])> = HashMap::new();
    let mut waiting: HashMap<CarrierId, i64> = HashMap::new();
    let mut rows = Vec::new();
    let mut verdicts = Vec::with_capacity(groups.len());
    for group in groups {
        let mut fresh: Vec<NewEvent> = Vec::new();
        let mut unheld: HashMap<CarrierId, i64> = HashMap::new();
        // This group's own keys: they count for others only if the group is accepted.
        let mut own: HashMap<Key, (Millis, [u8; 32])> = HashMap::new();
        let mut judge = || {
            let mut acceptances = Vec::with_capacity(group.events.len());
            for (index, e) in group.events.iter().enumerate() {
                if !carriers.contains(&e.event.carrier) {
                    return Err(AcceptError::UnknownCarrier { index });
                }
                let key = (e.event.carrier.clone(), e.event.id.clone());
                let earlier = known.0.get(&key).or_else(|| seen.get(&key)).or_else(|| own.get(&key));
                match earlier {
                    Some((_, digest)) if *digest != e.digest => return Err(AcceptError::Conflict { index }),
                    Some((received, _)) => acceptances.push(Acceptance::Repeat { received: *received }),
                    None => {
                        if !e.hold {
                            *unheld.entry(e.event.carrier.clone()).or_default() += 1;
                        }
                        own.insert(key, (e.event.received, e.digest));
                        fresh.push(e.clone());
                        acceptances.push(Acceptance::First);
                    }
                }
            }
            let full = unheld.iter().any(|(carrier, n)| {
                let before =
                    backlog.get(carrier).copied().unwrap_or(0) + waiting.get(carrier).copied().unwrap_or(0);
                before + n > shared.limits.backlog_events
            });
            if full {
                return Err(AcceptError::Backlog { retry_after: BACKLOG_RETRY });
            }
            Ok(acceptances)
        };
        let verdict = judge();
        if verdict.is_ok() {
            rows.append(&mut fresh);
            seen.extend(own);
            for (carrier, n) in unheld {
                *waiting.entry(carrier).or_default() += n;
            }
        }
        verdicts.push(verdict);
    }
    Resolved { verdicts, rows }
}

/// Writes the new events into SQLite. False when some of them were known after all.
pub(super) fn write_sqlite(
    conn: &rusqlite::Connection,
    node: &str,
    resolved: &Resolved,
) -> Result<bool, StoreError> {
    let rows = &resolved.rows;
    let mut insert = conn.prepare_cached(INSERT_EVENT_SQLITE)?;
    for NewEvent { event: e, digest, .. } in rows {
        if insert.execute(params![e.carrier.as_str(), e.id.as_str(), e.received.0, digest])? == 0 {
            return Ok(false);
        }
    }
    let mut insert = conn.prepare_cached(INSERT_BODY_SQLITE)?;
    for NewEvent { event: e, .. } in rows {
        insert.execute(params![
            e.carrier.as_str(),
            e.received.0,
            e.id.as_str(),
            e.event_type.as_str(),
            json(&*e.attributes)?,
            &e.payload[..]
        ])?;
    }
    let mut insert = conn.prepare_cached(INSERT_OPEN_SQLITE)?;
    for NewEvent { event: e, hold, .. } in rows {
        insert.execute(params![e.carrier.as_str(), e.received.0, e.id.as_str(), hold.then_some(node)])?;
    }
    Ok(true)
}

/// Writes the new events into PostgreSQL. False when some of them were known after all.
pub(super) async fn write_postgres(
    conn: &mut PgConnection,
    node: &str,
    resolved: &Resolved,
) -> Result<bool, StoreError> {
    let rows = &resolved.rows;
    if rows.is_empty() {
        return Ok(true);
    }
    let attributes = rows.iter().map(|e| json(&*e.event.attributes)).collect::<Result<Vec<_>, _>>()?;
    let (new,): (i64,) = sqlx::query_as(ACCEPT_POSTGRES)
        .bind(node)
        .bind(column(rows, |e| e.event.carrier.as_str()))
        .bind(column(rows, |e| e.event.id.as_str()))
        .bind(column(rows, |e| e.event.received.0))
        .bind(column(rows, |e| &e.digest[..]))
        .bind(column(rows, |e| e.event.event_type.as_str()))
        .bind(attributes)
        .bind(column(rows, |e| &e.event.payload[..]))
        .bind(column(rows, |e| e.hold))
        .fetch_one(conn)
        .await?;
    Ok(usize::try_from(new).is_ok_and(|new| new == rows.len()))
}

/// Whom a turn's events wake.
pub(super) fn wakes(resolved: &Resolved, wakes: &mut Vec<Wake>) {
    if resolved.rows.iter().any(|e| !e.hold) {
        wakes.push(Wake::Work);
    }
}

/// After the commit: counts the backlog and tells each group.
pub(super) fn answer(shared: &Shared, groups: Vec<Group>, resolved: Resolved) {
    for e in resolved.rows.iter().filter(|e| !e.hold) {
        shared.count_backlog(&e.event.carrier, 1);
    }
    for (group, verdict) in groups.into_iter().zip(resolved.verdicts) {
        group.done.tell(verdict);
    }
}

/// Reads which of the turn's events the tables hold.
pub(super) async fn look_up(conn: &mut Conn, groups: &[Group], known: &mut Known) -> Result<(), StoreError> {
    let keys: Vec<(&str, &str)> = groups
        .iter()
        .flat_map(|g| &g.events)
        .map(|e| (e.event.carrier.as_str(), e.event.id.as_str()))
        .collect::<HashSet<_>>()
        .into_iter()
        .collect();
    let found: Vec<(String, String, i64, Vec<u8>)> =
        read_rows!(conn, SELECT_KNOWN, keys.as_slice(), [], |q, (carrier, id)| q.bind(*carrier).bind(*id));
    known.0.clear();
    for (carrier, id, received, digest) in found {
        let bad = |column, why: String| broken("events", column, &format!("{carrier}/{id}"), why);
        let key = (
            carrier.parse().map_err(|e| bad("carrier", format!("{e}")))?,
            id.parse().map_err(|e| bad("id", format!("{e}")))?,
        );
        let digest = <[u8; 32]>::try_from(digest.as_slice())
            .map_err(|_| bad("digest", format!("{} bytes instead of 32", digest.len())))?;
        known.0.insert(key, (Millis(received), digest));
    }
    Ok(())
}

/// Learns of carriers that another node made, and counts anew a backlog that seems full though other nodes may have
/// emptied it.
pub(super) async fn learn(conn: &mut Conn, shared: &Shared, groups: &[Group]) -> Result<(), StoreError> {
    let named: HashSet<&CarrierId> =
        groups.iter().flat_map(|g| &g.events).map(|e| &e.event.carrier).collect();
    let unknown: Vec<&CarrierId> = {
        let carriers = shared.carriers();
        named.iter().copied().filter(|c| !carriers.contains(*c)).collect()
    };
    for carrier in unknown {
        let row: Option<(String,)> = on_db!(&mut *conn, |c| {
            sqlx::query_as(SELECT_CARRIER).bind(carrier.as_str()).fetch_optional(c).await?
        });
        if row.is_some() {
            shared.carriers().insert(carrier.clone());
        }
    }
    // On SQLite this process alone writes, so that its own count is exact.
    if let Db::Postgres(c) = conn {
        let limit = shared.limits.backlog_events;
        let full: Vec<&CarrierId> = {
            let backlog = shared.backlog();
            named.into_iter().filter(|c| backlog.get(*c).is_some_and(|n| *n >= limit)).collect()
        };
        for carrier in full {
            let (n,): (i64,) =
                sqlx::query_as(COUNT_BACKLOG).bind(carrier.as_str()).bind(limit).fetch_one(&mut *c).await?;
            shared.backlog().insert(carrier.clone(), n);
        }
    }
    Ok(())
}
