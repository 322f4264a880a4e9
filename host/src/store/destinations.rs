//! Destinations, and what their state means for the deliveries that wait for them.

use super::db::{on_db, sql, text};
use super::error::StoreError;
use super::rows::{Reading, json};
use super::tokens::DELETE_TOKENS_OF;
use super::{Store, Wake, lane};
use crate::carrier::{Destination, DestinationState};
use crate::clock::Millis;
use crate::event::{CarrierId, DestinationName};

sql! {
    PUT_DESTINATION = "INSERT INTO destinations \
        (carrier, name, spec, sealed, state, disabled_reason, failing_since_ms, created_ms, updated_ms) \
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT (carrier, name) DO UPDATE \
        SET spec = excluded.spec, sealed = excluded.sealed, updated_ms = excluded.updated_ms";
    SELECT_DESTINATIONS = "SELECT name, spec, sealed, state, disabled_reason, failing_since_ms, created_ms, \
        updated_ms FROM destinations WHERE carrier = $1 ORDER BY name";
    /// Enabling forgets the failures before it.
    SET_STATE = "UPDATE destinations SET state = $3, disabled_reason = $4, updated_ms = $5, \
        failing_since_ms = CASE WHEN $3 = 'enabled' THEN NULL ELSE failing_since_ms END \
        WHERE carrier = $1 AND name = $2";
    RELEASE_HELD = "UPDATE deliveries SET state = 'pending', due_ms = $2, updated_ms = $2 \
        WHERE lane = $1 AND state = 'held'";
    DELETE_DESTINATION = "DELETE FROM destinations WHERE carrier = $1 AND name = $2";
    CANCEL_WAITING = "UPDATE deliveries SET state = 'cancelled' \
        WHERE lane = $1 AND state = 'pending' AND held_by IS NULL";
    CANCEL_TAKEN = "UPDATE deliveries SET state = 'cancelled', held_by = NULL \
        WHERE lane = $1 AND state = 'pending' AND held_by IN (SELECT id FROM nodes)";
    CANCEL_HELD = "UPDATE deliveries SET state = 'cancelled' WHERE lane = $1 AND state = 'held'";
}

#[derive(sqlx::FromRow)]
struct Row {
    name: String,
    spec: String,
    sealed: Vec<u8>,
    state: String,
    disabled_reason: Option<String>,
    failing_since_ms: Option<i64>,
    created_ms: i64,
    updated_ms: i64,
}

impl Store {
    /// Makes or replaces a destination (its state and `created` stay when it exists).
    ///
    /// # Errors
    /// What the database says.
    pub async fn put_destination(&self, destination: Destination) -> Result<(), StoreError> {
        let spec = json(&destination.spec)?;
        self.write(move |w| {
            Box::pin(async move {
                let d = &destination;
                on_db!(&mut *w.conn, |c| sqlx::query(PUT_DESTINATION)
                    .bind(d.carrier.as_str())
                    .bind(d.name.as_str())
                    .bind(spec.as_str())
                    .bind(d.sealed.as_slice())
                    .bind(d.state.as_str())
                    .bind(d.disabled_reason.as_deref().map(text))
                    .bind(d.failing_since)
                    .bind(d.created)
                    .bind(d.updated)
                    .execute(c)
                    .await?
                    .rows_affected());
                w.wakes.push(Wake::Config(Some(d.carrier.clone())));
                Ok(())
            })
        })
        .await
    }

    /// All destinations of a carrier, by name.
    ///
    /// # Errors
    /// What the database says.
    pub async fn destinations(&self, carrier: &CarrierId) -> Result<Vec<Destination>, StoreError> {
        let rows: Vec<Row> = on_db!(&self.readers, |db| sqlx::query_as(SELECT_DESTINATIONS)
            .bind(carrier.as_str())
            .fetch_all(db)
            .await?);
        rows.into_iter()
            .map(|r| {
                let key = lane(carrier.as_str(), &r.name);
                let row = Reading { table: "destinations", key: &key };
                Ok(Destination {
                    carrier: carrier.clone(),
                    name: row.name("name", &r.name)?,
                    spec: row.json("spec", &r.spec)?,
                    sealed: r.sealed,
                    state: row.word("state", &r.state)?,
                    disabled_reason: r.disabled_reason,
                    failing_since: r.failing_since_ms.map(Millis),
                    created: Millis(r.created_ms),
                    updated: Millis(r.updated_ms),
                })
            })
            .collect()
    }

    /// Enables or disables; enabling makes its held deliveries pending and due now. Whether there was such a
    /// destination.
    ///
    /// # Errors
    /// What the database says.
    pub async fn set_destination_state(
        &self,
        carrier: &CarrierId,
        name: &DestinationName,
        state: DestinationState,
        reason: Option<String>,
        now: Millis,
    ) -> Result<bool, StoreError> {
        let (carrier, name) = (carrier.clone(), name.clone());
        self.write(move |w| {
            Box::pin(async move {
                let found = on_db!(&mut *w.conn, |c| sqlx::query(SET_STATE)
                    .bind(carrier.as_str())
                    .bind(name.as_str())
                    .bind(state.as_str())
                    .bind(reason.as_deref().map(text))
                    .bind(now)
                    .execute(c)
                    .await?
                    .rows_affected());
                if found == 0 {
                    return Ok(false);
                }
                if state == DestinationState::Enabled {
                    on_db!(&mut *w.conn, |c| sqlx::query(RELEASE_HELD)
                        .bind(lane(carrier.as_str(), name.as_str()))
                        .bind(now)
                        .execute(c)
                        .await?
                        .rows_affected());
                    w.wakes.push(Wake::Work);
                }
                w.wakes.push(Wake::Config(Some(carrier)));
                Ok(true)
            })
        })
        .await
    }

    /// Whether there was such a destination. Its open deliveries are cancelled, those under way included, and its
    /// token goes with it.
    ///
    /// # Errors
    /// What the database says.
    pub async fn delete_destination(
        &self,
        carrier: &CarrierId,
        name: &DestinationName,
    ) -> Result<bool, StoreError> {
        let (carrier, name) = (carrier.clone(), name.clone());
        self.write(move |w| {
            Box::pin(async move {
                let gone = on_db!(&mut *w.conn, |c| sqlx::query(DELETE_DESTINATION)
                    .bind(carrier.as_str())
                    .bind(name.as_str())
                    .execute(c)
                    .await?
                    .rows_affected());
                if gone == 0 {
                    return Ok(false);
                }
                on_db!(&mut *w.conn, |c| sqlx::query(DELETE_TOKENS_OF)
                    .bind(carrier.as_str())
                    .bind(name.as_str())
                    .execute(c)
                    .await?
                    .rows_affected());
                let lane = lane(carrier.as_str(), name.as_str());
                for sql in [CANCEL_WAITING, CANCEL_TAKEN, CANCEL_HELD] {
                    on_db!(&mut *w.conn, |c| sqlx::query(sql)
                        .bind(lane.as_str())
                        .execute(c)
                        .await?
                        .rows_affected());
                }
                w.wakes.push(Wake::Config(Some(carrier)));
                Ok(true)
            })
        })
        .await
    }
}
