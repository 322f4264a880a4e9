//! Disabling a destination for what its receiver did, and telling its carrier: one transaction, so that each time is told
//! exactly once, whichever node found it and whenever that died.
//!
//! The event that tells it goes the way of every other. It must not know what makes a destination unfit.

use bytes::Bytes;
use serde::Serialize;

use super::db::{on_db, sql, text};
use super::error::StoreError;
use super::rows::{broken, json};
use super::work::NewAttempt;
use super::writer::Work;
use super::{Store, Wake};
use crate::clock::Millis;
use crate::event::{DestinationName, Event};

/// The type of the event that tells of a destination which the host has disabled.
pub const DESTINATION_DISABLED: &str = "hookyard.destination.disabled";

/// What the `source` of such events says.
const SOURCE: &str = "/hookyard/destinations";

sql! {
    DISABLE = "UPDATE destinations SET state = 'disabled', disabled_reason = $3 \
        WHERE carrier = $1 AND name = $2 AND state = 'enabled' RETURNING failing_since_ms";
    INSERT_EVENT = "INSERT INTO events (carrier, id, received_ms, digest) VALUES ($1, $2, $3, $4) \
        ON CONFLICT (carrier, id) DO NOTHING";
    INSERT_BODY = "INSERT INTO event_bodies (carrier, received_ms, id, type, attributes, payload) \
        VALUES ($1, $2, $3, $4, $5, $6)";
    INSERT_OPEN = "INSERT INTO open_events (carrier, received_ms, id, held_by) VALUES ($1, $2, $3, NULL)";
}

/// The payload of [`DESTINATION_DISABLED`].
#[derive(Serialize)]
struct Disabled<'a> {
    destination: &'a str,
    reason: &'a str,
    /// Since when every attempt has failed, in Unix milliseconds.
    failing_since_ms: Millis,
    /// When it was disabled, in Unix milliseconds.
    disabled_ms: Millis,
    /// The attempt that was the last straw.
    delivery: &'a str,
    attempt: u32,
    outcome: &'a str,
    /// The status of its answer, if one came.
    last_status: Option<u16>,
    /// What went wrong.
    last_error: Option<&'a str>,
}

impl Store {
    /// Disables an enabled destination for what `attempt` came to, and accepts the event that tells its carrier. Gives
    /// whether it was enabled: otherwise nothing is written, since it has been told.
    ///
    /// To be called before the attempt is recorded: should the node die between the two, the attempt is not in the log,
    /// and its delivery waits for the destination as the others do.
    ///
    /// # Errors
    /// What the database says.
    pub async fn disable_destination(
        &self,
        destination: &DestinationName,
        reason: &str,
        attempt: &NewAttempt,
    ) -> Result<bool, StoreError> {
        let (destination, reason, attempt) = (destination.clone(), reason.to_owned(), attempt.clone());
        self.write(move |w| {
            Box::pin(async move {
                let carrier = &attempt.carrier;
                let row: Option<(Option<Millis>,)> = on_db!(&mut *w.conn, |c| sqlx::query_as(DISABLE)
                    .bind(carrier.as_str())
                    .bind(destination.as_str())
                    .bind(text(&reason))
                    .fetch_optional(c)
                    .await?);
                let Some((failing_since,)) = row else { return Ok(false) };
                let event = tell(&attempt, &destination, &reason, failing_since)?;
                publish(w, &event).await?;
                w.wakes.push(Wake::Config(Some(carrier.clone())));
                Ok(true)
            })
        })
        .await
    }
}

/// Accepts an event of the host's own making, whatever the carrier's backlog; nothing when its id is taken.
pub(super) async fn publish(w: &mut Work<'_>, event: &Event) -> Result<(), StoreError> {
    if accept(w.conn, event).await? {
        w.shared.count_backlog(&event.carrier, 1);
        w.wakes.push(Wake::Work);
    }
    Ok(())
}

/// Writes an event of the host's own making, unheld: the claimer of some node finds it. False when its id is taken.
async fn accept(conn: &mut super::db::Conn, e: &Event) -> Result<bool, StoreError> {
    let (digest, attributes) = (e.digest(), json(&*e.attributes)?);
    let new = on_db!(&mut *conn, |c| sqlx::query(INSERT_EVENT)
        .bind(e.carrier.as_str())
        .bind(e.id.as_str())
        .bind(e.received)
        .bind(digest.as_slice())
        .execute(c)
        .await?
        .rows_affected());
    if new == 0 {
        return Ok(false);
    }
    on_db!(&mut *conn, |c| {
        sqlx::query(INSERT_BODY)
            .bind(e.carrier.as_str())
            .bind(e.received)
            .bind(e.id.as_str())
            .bind(e.event_type.as_str())
            .bind(attributes.as_str())
            .bind(&e.payload[..])
            .execute(&mut *c)
            .await?;
        sqlx::query(INSERT_OPEN)
            .bind(e.carrier.as_str())
            .bind(e.received)
            .bind(e.id.as_str())
            .execute(&mut *c)
            .await?;
    });
    Ok(true)
}

/// The event that tells a carrier that `attempt` has disabled a destination, which was failing since then. Its id is
/// derived from the attempt.
fn tell(
    attempt: &NewAttempt,
    destination: &DestinationName,
    reason: &str,
    failing_since: Option<Millis>,
) -> Result<Event, StoreError> {
    let now = attempt.ended();
    let payload = json(&Disabled {
        destination: destination.as_str(),
        reason,
        failing_since_ms: failing_since.unwrap_or(attempt.started),
        disabled_ms: now,
        delivery: attempt.delivery.as_str(),
        attempt: attempt.number,
        outcome: attempt.outcome,
        last_status: attempt.status,
        last_error: attempt.error.as_deref(),
    })?;
    let id = format!("destination-disabled-{}-{}", attempt.delivery, attempt.number);
    Ok(Event {
        carrier: attempt.carrier.clone(),
        id: id.parse().map_err(|e| broken("events", "id", &id, format!("{e}")))?,
        event_type: DESTINATION_DISABLED
            .parse()
            .map_err(|e| broken("event_bodies", "type", &id, format!("{e}")))?,
        received: now,
        attributes: [
            ("source".to_owned(), SOURCE.to_owned()),
            ("subject".to_owned(), destination.as_str().to_owned()),
        ]
        .into(),
        payload: Bytes::from(payload),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::work::Next;

    #[test]
    fn the_event_names_everything_that_a_carrier_must_know() {
        let attempt = NewAttempt {
            carrier: "acme".parse().unwrap(),
            delivery: "019a15a9-0000-7000-8000-000000000001".parse().unwrap(),
            number: 7,
            started: Millis(1_000),
            duration_us: 5_000,
            outcome: "gone",
            status: Some(410),
            error: Some("answered 410 Gone: it wants no more".to_owned()),
            request: "{}".to_owned(),
            response_headers: None,
            response_body: None,
            next: Next::Held,
            destination: None,
        };
        let event =
            tell(&attempt, &"claims".parse().unwrap(), "the receiver answered 410 Gone", None).unwrap();
        assert_eq!(event.id.as_str(), "destination-disabled-019a15a9-0000-7000-8000-000000000001-7");
        assert_eq!((event.attribute("subject"), event.received), (Some("claims"), Millis(1_005)));
        let payload: serde_json::Value = serde_json::from_slice(&event.payload).unwrap();
        assert_eq!(payload["last_status"], 410);
        assert_eq!((&payload["failing_since_ms"], &payload["disabled_ms"]), (&1_000.into(), &1_005.into()));
    }
}
