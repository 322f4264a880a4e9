//! Step 7: an attempt, and the delivery's new state, in one transaction.
//!
//! It must not know how a retry is decided, nor how a turn is run.

use std::collections::HashSet;
use std::sync::{Arc, LazyLock};

use rusqlite::params;
use sqlx::postgres::PgConnection;

use super::db::{Conn, Rows, read_rows, sql, text};
use super::error::{HeldError, StoreError};
use super::plan::micros;
use super::postgres::column;
use super::work::{DeliveryState, DestinationEffect, NewAttempt, Next};
use super::writer::{Attempted, Caller, Command};
use super::{Done, Shared, Store, Wake};
use crate::clock::Millis;
use crate::event::DestinationName;

sql! {
    /// Parameters stand in the order of their numbers wherever SQLite's turns bind them: there a place is what counts.
    UPDATE_DELIVERY_SQLITE = "UPDATE deliveries SET held_by = NULL, state = $1, attempts = $2, \
        due_ms = COALESCE($3, due_ms), updated_ms = $4, last_status = $5, last_error = $6 \
        WHERE carrier = $7 AND id = $8 AND held_by = $9";
    INSERT_ATTEMPT_SQLITE = "INSERT INTO attempts (carrier, delivery, number, started_ms, duration_us, outcome, \
        status, error, request, response_headers, response_body) \
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)";
    /// Gives how many deliveries this node still held; only when it held all does it write the attempts.
    /// `IS NOT DISTINCT FROM` keeps the planner from the index on `held_by`, which leads to all that this node holds.
    RECORD_POSTGRES = "WITH updated AS (UPDATE deliveries d SET held_by = NULL, state = g.state, \
        attempts = g.number, due_ms = COALESCE(g.due_ms, d.due_ms), updated_ms = g.ended_ms, \
        last_status = g.status, last_error = g.error FROM UNNEST($2::TEXT[], $3::TEXT[], $4::TEXT[], $5::BIGINT[], \
        $6::BIGINT[], $7::BIGINT[], $8::BIGINT[], $9::TEXT[]) \
        AS g (carrier, id, state, number, due_ms, ended_ms, status, error) \
        WHERE d.carrier = g.carrier AND d.id = g.id AND d.held_by IS NOT DISTINCT FROM $1 RETURNING d.id), \
        tried AS (INSERT INTO attempts (carrier, delivery, number, status, error, started_ms, duration_us, outcome, \
        request, response_headers, response_body) SELECT * FROM UNNEST($2::TEXT[], $3::TEXT[], $5::BIGINT[], \
        $8::BIGINT[], $9::TEXT[], $10::BIGINT[], $11::BIGINT[], $12::TEXT[], $13::TEXT[], $14::TEXT[], $15::BYTEA[]) \
        WHERE (SELECT COUNT(*) FROM updated) = CARDINALITY($2)) \
        SELECT COUNT(*) FROM updated";
    DESTINATION_FAILS = "UPDATE destinations SET failing_since_ms = $1 \
        WHERE carrier = $2 AND name = $3 AND failing_since_ms IS NULL";
    DESTINATION_RECOVERS = "UPDATE destinations SET failing_since_ms = NULL WHERE carrier = $1 AND name = $2";
}

pub(super) static SELECT_HELD: LazyLock<Rows> = LazyLock::new(|| {
    Rows::new(
        "SELECT carrier, id FROM deliveries WHERE held_by = $1 AND (carrier, id) IN",
        1,
        &["TEXT", "TEXT"],
        "",
    )
});

impl Store {
    /// Writes an attempt and its delivery's new state.
    /// `done` gets [`HeldError::Lost`] when this node no longer holds the delivery (then nothing was written).
    /// It is shared, so that the caller still has it when the database does not take it.
    pub fn record(&self, attempt: impl Into<Arc<NewAttempt>>, done: Done<Result<(), HeldError>>) {
        let attempt = attempt.into();
        self.send(Command::Record(Attempted { attempt, done: Caller::new(done) }));
    }
}

fn state(next: Next) -> (DeliveryState, Option<Millis>) {
    match next {
        Next::Delivered => (DeliveryState::Delivered, None),
        Next::RetryAt(at) => (DeliveryState::Pending, Some(at)),
        Next::Held => (DeliveryState::Held, None),
        Next::Dead => (DeliveryState::Dead, None),
        Next::Failed => (DeliveryState::Failed, None),
    }
}

fn ended(a: &NewAttempt) -> Millis {
    a.started.plus(std::time::Duration::from_micros(a.duration_us))
}

/// Writes the attempts into SQLite. False when this node no longer holds some of their deliveries.
pub(super) fn write_sqlite(
    conn: &rusqlite::Connection,
    node: &str,
    attempts: &[Attempted],
) -> Result<bool, StoreError> {
    let mut update = conn.prepare_cached(UPDATE_DELIVERY_SQLITE)?;
    for Attempted { attempt: a, .. } in attempts {
        let (state, due) = state(a.next);
        let changed = update.execute(params![
            state.as_str(),
            a.number,
            due.map(|due| due.0),
            ended(a).0,
            a.status,
            a.error.as_deref().map(text),
            a.carrier.as_str(),
            a.delivery.as_str(),
            node
        ])?;
        if changed == 0 {
            return Ok(false);
        }
    }
    let mut insert = conn.prepare_cached(INSERT_ATTEMPT_SQLITE)?;
    for Attempted { attempt: a, .. } in attempts {
        insert.execute(params![
            a.carrier.as_str(),
            a.delivery.as_str(),
            a.number,
            a.started.0,
            micros(a.duration_us),
            a.outcome,
            a.status,
            a.error.as_deref().map(text),
            text(&a.request),
            a.response_headers.as_deref().map(text),
            a.response_body.as_deref()
        ])?;
    }
    for (a, destination, effect) in effects(attempts) {
        let (carrier, destination) = (a.carrier.as_str(), destination.as_str());
        match effect {
            DestinationEffect::FailingSince(at) => {
                conn.prepare_cached(DESTINATION_FAILS)?.execute(params![at.0, carrier, destination])?
            }
            DestinationEffect::Recovered => {
                conn.prepare_cached(DESTINATION_RECOVERS)?.execute(params![carrier, destination])?
            }
        };
    }
    Ok(true)
}

/// Writes the attempts into PostgreSQL. False when this node no longer holds some of their deliveries.
pub(super) async fn write_postgres(
    conn: &mut PgConnection,
    node: &str,
    attempts: &[Attempted],
) -> Result<bool, StoreError> {
    if attempts.is_empty() {
        return Ok(true);
    }
    let (updated,): (i64,) = sqlx::query_as(RECORD_POSTGRES)
        .bind(node)
        .bind(column(attempts, |a| a.attempt.carrier.as_str()))
        .bind(column(attempts, |a| a.attempt.delivery.as_str()))
        .bind(column(attempts, |a| state(a.attempt.next).0.as_str()))
        .bind(column(attempts, |a| i64::from(a.attempt.number)))
        .bind(column(attempts, |a| state(a.attempt.next).1.map(|due| due.0)))
        .bind(column(attempts, |a| ended(&a.attempt).0))
        .bind(column(attempts, |a| a.attempt.status.map(i64::from)))
        .bind(column(attempts, |a| a.attempt.error.as_deref().map(text)))
        .bind(column(attempts, |a| a.attempt.started.0))
        .bind(column(attempts, |a| micros(a.attempt.duration_us)))
        .bind(column(attempts, |a| a.attempt.outcome))
        .bind(column(attempts, |a| text(&a.attempt.request)))
        .bind(column(attempts, |a| a.attempt.response_headers.as_deref().map(text)))
        .bind(column(attempts, |a| a.attempt.response_body.as_deref()))
        .fetch_one(&mut *conn)
        .await?;
    if usize::try_from(updated).is_ok_and(|updated| updated == attempts.len()) {
        take_effects(conn, attempts).await?;
        return Ok(true);
    }
    Ok(false)
}

async fn take_effects(conn: &mut PgConnection, attempts: &[Attempted]) -> Result<(), StoreError> {
    for (a, destination, effect) in effects(attempts) {
        let (carrier, destination) = (a.carrier.as_str(), destination.as_str());
        let q = match effect {
            DestinationEffect::FailingSince(at) => sqlx::query(DESTINATION_FAILS).bind(*at),
            DestinationEffect::Recovered => sqlx::query(DESTINATION_RECOVERS),
        };
        q.bind(carrier).bind(destination).execute(&mut *conn).await?;
    }
    Ok(())
}

/// What the attempts change about their destinations.
fn effects(
    attempts: &[Attempted],
) -> impl Iterator<Item = (&NewAttempt, &DestinationName, &DestinationEffect)> {
    attempts.iter().filter_map(|Attempted { attempt: a, .. }| {
        a.destination.as_ref().map(|(destination, effect)| (&**a, destination, effect))
    })
}

/// Whom a turn's attempts wake.
pub(super) fn wakes(attempts: &[Attempted], wakes: &mut Vec<Wake>) {
    for (a, _, effect) in effects(attempts) {
        // A first failure is known to the node that met it, and the others need not know.
        if !matches!(effect, DestinationEffect::FailingSince(_)) {
            wakes.push(Wake::Health(a.carrier.clone()));
        }
    }
}

/// Tells the attempts whose delivery this node no longer holds, and keeps the others.
pub(super) async fn drop_lost(
    conn: &mut Conn,
    shared: &Shared,
    attempts: &mut Vec<Attempted>,
) -> Result<(), StoreError> {
    let found: Vec<(String, String)> =
        read_rows!(conn, SELECT_HELD, attempts.as_slice(), [shared.node.as_str()], |q, a| q
            .bind(a.attempt.carrier.as_str())
            .bind(a.attempt.delivery.as_str()));
    let mut held: HashSet<(String, String)> = found.into_iter().collect();
    let all = std::mem::take(attempts);
    for a in all {
        // Taken out, so that the same delivery twice in one turn is not recorded twice.
        if held.remove(&(a.attempt.carrier.to_string(), a.attempt.delivery.to_string())) {
            attempts.push(a);
        } else {
            a.done.tell(Err(HeldError::Lost));
        }
    }
    Ok(())
}
