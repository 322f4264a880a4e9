//! Event types that carriers describe for their own.

use super::Store;
use super::db::{on_db, sql};
use super::error::StoreError;
use super::rows::Reading;
use crate::carrier::OwnEventType;
use crate::clock::Millis;
use crate::event::{CarrierId, EventType};

sql! {
    PUT_EVENT_TYPE = "INSERT INTO event_types (carrier, event_type, about, example, created_ms, updated_ms) \
        VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (carrier, event_type) DO UPDATE \
        SET about = excluded.about, example = excluded.example, updated_ms = excluded.updated_ms";
    SELECT_EVENT_TYPES = "SELECT event_type, about, CAST(NULL AS TEXT) AS example, created_ms, updated_ms \
        FROM event_types WHERE carrier = $1 ORDER BY event_type";
    SELECT_EVENT_TYPE = "SELECT event_type, about, example, created_ms, updated_ms FROM event_types \
        WHERE carrier = $1 AND event_type = $2";
    DELETE_EVENT_TYPE = "DELETE FROM event_types WHERE carrier = $1 AND event_type = $2";
}

type Row = (String, String, Option<String>, i64, i64);

impl Store {
    /// Describes an event type, or describes it anew (`created` stays when it is there).
    ///
    /// # Errors
    /// What the database says.
    pub async fn put_event_type(&self, own: OwnEventType) -> Result<(), StoreError> {
        self.write(move |w| {
            Box::pin(async move {
                on_db!(&mut *w.conn, |c| sqlx::query(PUT_EVENT_TYPE)
                    .bind(own.carrier.as_str())
                    .bind(own.event_type.as_str())
                    .bind(own.about.as_str())
                    .bind(own.example.as_deref())
                    .bind(own.created)
                    .bind(own.updated)
                    .execute(c)
                    .await?
                    .rows_affected());
                Ok(())
            })
        })
        .await
    }

    /// All event types that a carrier describes, by type, without their examples.
    ///
    /// # Errors
    /// What the database says.
    pub async fn event_types(&self, carrier: &CarrierId) -> Result<Vec<OwnEventType>, StoreError> {
        let rows: Vec<Row> = on_db!(&self.readers, |db| sqlx::query_as(SELECT_EVENT_TYPES)
            .bind(carrier.as_str())
            .fetch_all(db)
            .await?);
        rows.into_iter().map(|row| own(carrier, row)).collect()
    }

    /// What a carrier says of an event type.
    ///
    /// # Errors
    /// What the database says.
    pub async fn event_type(
        &self,
        carrier: &CarrierId,
        event_type: &EventType,
    ) -> Result<Option<OwnEventType>, StoreError> {
        let row: Option<Row> = on_db!(&self.readers, |db| sqlx::query_as(SELECT_EVENT_TYPE)
            .bind(carrier.as_str())
            .bind(event_type.as_str())
            .fetch_optional(db)
            .await?);
        row.map(|row| own(carrier, row)).transpose()
    }

    /// Whether there was such a description.
    ///
    /// # Errors
    /// What the database says.
    pub async fn delete_event_type(
        &self,
        carrier: &CarrierId,
        event_type: &EventType,
    ) -> Result<bool, StoreError> {
        let (carrier, event_type) = (carrier.clone(), event_type.clone());
        self.write(move |w| {
            Box::pin(async move {
                let gone = on_db!(&mut *w.conn, |c| sqlx::query(DELETE_EVENT_TYPE)
                    .bind(carrier.as_str())
                    .bind(event_type.as_str())
                    .execute(c)
                    .await?
                    .rows_affected());
                Ok(gone > 0)
            })
        })
        .await
    }
}

fn own(carrier: &CarrierId, row: Row) -> Result<OwnEventType, StoreError> {
    let (event_type, about, example, created, updated) = row;
    let key = format!("{carrier}/{event_type}");
    let row = Reading { table: "event_types", key: &key };
    Ok(OwnEventType {
        carrier: carrier.clone(),
        event_type: row.name("event_type", &event_type)?,
        about,
        example,
        created: Millis(created),
        updated: Millis(updated),
    })
}
