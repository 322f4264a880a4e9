//! Step 7: an attempt, and the delivery's new state, in one transaction.
//!
//! It must not know how a retry is decided, nor how a turn is run.

use std::collections::HashSet;
use std::sync::{Arc, LazyLock};

use super::db::{Conn, Rows, on_db, read_rows, sql, text, write_rows};
use super::error::{HeldError, StoreError};
use super::plan::micros;
use super::work::{DeliveryState, DestinationEffect, NewAttempt, Next};
use super::writer::{Attempted, Caller, Command};
use super::{Done, Shared, Store, Wake};
use crate::clock::Millis;

sql! {
    DESTINATION_FAILS = "UPDATE destinations SET failing_since_ms = $3 \
        WHERE carrier = $1 AND name = $2 AND failing_since_ms IS NULL";
    DESTINATION_RECOVERS = "UPDATE destinations SET failing_since_ms = NULL WHERE carrier = $1 AND name = $2";
    DESTINATION_ENDS = "UPDATE destinations SET state = 'disabled', disabled_reason = $3 \
        WHERE carrier = $1 AND name = $2 AND state = 'enabled'";
}

pub(super) static UPDATE_DELIVERIES: LazyLock<Rows> = LazyLock::new(|| {
    Rows::new(
        "WITH me (node) AS (SELECT CAST($1 AS TEXT)) \
         UPDATE deliveries SET held_by = NULL, state = v.column3, attempts = v.column4, \
         due_ms = COALESCE(v.column5, due_ms), updated_ms = v.column6, last_status = v.column7, \
         last_error = v.column8 FROM",
        1,
        &["TEXT", "TEXT", "TEXT", "BIGINT", "BIGINT", "BIGINT", "BIGINT", "TEXT"],
        " AS v WHERE carrier = v.column1 AND id = v.column2 AND held_by = (SELECT node FROM me)",
    )
});
pub(super) static INSERT_ATTEMPTS: LazyLock<Rows> = LazyLock::new(|| {
    Rows::new(
        "INSERT INTO attempts (carrier, delivery, number, started_ms, duration_us, outcome, status, error, request, \
         response_headers, response_body)",
        0,
        &[""; 11],
        "",
    )
});
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

/// Writes the attempts. False when this node no longer holds some of their deliveries.
pub(super) async fn write(
    conn: &mut Conn,
    shared: &Shared,
    attempts: &[Attempted],
    wakes: &mut Vec<Wake>,
) -> Result<bool, StoreError> {
    let updated = write_rows!(conn, UPDATE_DELIVERIES, attempts, [shared.node.as_str()], |q, a| {
        let a = &a.attempt;
        let (state, due) = state(a.next);
        let ended = a.started.plus(std::time::Duration::from_micros(a.duration_us));
        q.bind(a.carrier.as_str())
            .bind(a.delivery.as_str())
            .bind(state.as_str())
            .bind(i64::from(a.number))
            .bind(due)
            .bind(ended)
            .bind(a.status.map(i64::from))
            .bind(a.error.as_deref().map(text))
    });
    if updated != attempts.len() as u64 {
        return Ok(false);
    }
    write_rows!(conn, INSERT_ATTEMPTS, attempts, [], |q, a| {
        let a = &a.attempt;
        q.bind(a.carrier.as_str())
            .bind(a.delivery.as_str())
            .bind(i64::from(a.number))
            .bind(a.started)
            .bind(micros(a.duration_us))
            .bind(a.outcome)
            .bind(a.status.map(i64::from))
            .bind(a.error.as_deref().map(text))
            .bind(text(&a.request))
            .bind(a.response_headers.as_deref().map(text))
            .bind(a.response_body.as_deref())
    });
    for a in attempts {
        if let Some((destination, effect)) = &a.attempt.destination {
            take_effect(conn, &a.attempt, destination.as_str(), effect, wakes).await?;
        }
    }
    Ok(true)
}

async fn take_effect(
    conn: &mut Conn,
    a: &NewAttempt,
    destination: &str,
    effect: &DestinationEffect,
    wakes: &mut Vec<Wake>,
) -> Result<(), StoreError> {
    let carrier = a.carrier.as_str();
    on_db!(&mut *conn, |c| {
        let q = match effect {
            DestinationEffect::FailingSince(at) => {
                sqlx::query(DESTINATION_FAILS).bind(carrier).bind(destination).bind(*at)
            }
            DestinationEffect::Recovered => sqlx::query(DESTINATION_RECOVERS).bind(carrier).bind(destination),
            DestinationEffect::Disable(reason) => {
                sqlx::query(DESTINATION_ENDS).bind(carrier).bind(destination).bind(text(reason))
            }
        };
        q.execute(c).await?;
    });
    // A first failure is known to the node that met it, and the others need not know.
    if !matches!(effect, DestinationEffect::FailingSince(_)) {
        wakes.push(Wake::Health(a.carrier.clone()));
    }
    Ok(())
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
