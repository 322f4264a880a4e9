//! Rows back into types. A row that cannot be read is an error that names table, column and key.

use std::str::FromStr;
use std::sync::Arc;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::error::StoreError;
use super::work::{Body, Message};
use crate::clock::Millis;
use crate::event::Event;

/// The error of a row that cannot be read.
pub(super) fn broken(table: &'static str, column: &'static str, key: &str, why: String) -> StoreError {
    StoreError::Inconsistent { table, column, key: key.to_owned(), why }
}

/// A row being read: where an error points to.
pub(super) struct Reading<'k> {
    pub(super) table: &'static str,
    pub(super) key: &'k str,
}

impl Reading<'_> {
    /// The error for a column of this row.
    pub(super) fn broken(&self, column: &'static str, why: &(impl ToString + ?Sized)) -> StoreError {
        broken(self.table, column, self.key, why.to_string())
    }

    /// A name or id.
    pub(super) fn name<T: FromStr<Err: ToString>>(
        &self,
        column: &'static str,
        s: &str,
    ) -> Result<T, StoreError> {
        s.parse().map_err(|e: T::Err| self.broken(column, &e))
    }

    /// A column of JSON.
    pub(super) fn json<T: DeserializeOwned>(&self, column: &'static str, s: &str) -> Result<T, StoreError> {
        serde_json::from_str(s).map_err(|e| self.broken(column, &e))
    }

    /// One of a few words, as serde names them.
    pub(super) fn word<T: DeserializeOwned>(&self, column: &'static str, s: &str) -> Result<T, StoreError> {
        use serde::de::value::{Error, StrDeserializer};
        T::deserialize(StrDeserializer::<Error>::new(s)).map_err(|e| self.broken(column, &e))
    }

    /// A number that the type keeps smaller than the column.
    pub(super) fn number<T: TryFrom<i64>>(&self, column: &'static str, n: i64) -> Result<T, StoreError> {
        T::try_from(n).map_err(|_| self.broken(column, &format!("{n} is out of range")))
    }

    /// A SHA-256.
    pub(super) fn digest(&self, column: &'static str, bytes: &[u8]) -> Result<[u8; 32], StoreError> {
        bytes.try_into().map_err(|_| self.broken(column, &format!("{} bytes instead of 32", bytes.len())))
    }

    /// Message and body of a delivery; absent columns mean `forward`.
    pub(super) fn content(&self, content: Content) -> Result<(Message, Body), StoreError> {
        let (Some(message), Some(kind)) = (content.message, content.body_kind) else {
            return Ok((Message::forwarded(), Body::Original));
        };
        let bytes = || content.body.ok_or_else(|| self.broken("body", "it is missing"));
        let body = match kind.as_str() {
            "original" => Body::Original,
            "bytes" => Body::Bytes(Bytes::from(bytes()?)),
            "fetch" => Body::Fetch(String::from_utf8(bytes()?).map_err(|e| self.broken("body", &e))?),
            other => return Err(self.broken("body_kind", &format!("{other:?} is not a kind"))),
        };
        Ok((self.json("message", &message)?, body))
    }
}

/// What `delivery_bodies` holds of a delivery, if it holds anything.
#[derive(Default, sqlx::FromRow)]
pub(super) struct Content {
    message: Option<String>,
    body_kind: Option<String>,
    body: Option<Vec<u8>>,
}

/// The columns of `event_bodies`, under names that do not collide in a join.
#[derive(sqlx::FromRow)]
pub(super) struct EventRow {
    pub(super) event_carrier: String,
    pub(super) event_received_ms: i64,
    pub(super) event_id: String,
    pub(super) event_type: String,
    pub(super) event_attributes: String,
    pub(super) event_payload: Vec<u8>,
}

impl EventRow {
    pub(super) fn event(self) -> Result<Arc<Event>, StoreError> {
        let key = format!("{}/{}", self.event_carrier, self.event_id);
        let row = Reading { table: "event_bodies", key: &key };
        let attributes: Vec<(String, String)> = row.json("attributes", &self.event_attributes)?;
        Ok(Arc::new(Event {
            carrier: row.name("carrier", &self.event_carrier)?,
            id: row.name("id", &self.event_id)?,
            event_type: row.name("type", &self.event_type)?,
            received: Millis(self.event_received_ms),
            attributes: attributes.into(),
            payload: Bytes::from(self.event_payload),
        }))
    }
}

/// A value as it stands in a column of JSON.
pub(super) fn json<T: Serialize + ?Sized>(value: &T) -> Result<String, StoreError> {
    // Only a map with keys that are no texts could fail; none of the types here has one.
    serde_json::to_string(value).map_err(|e| StoreError::Database(sqlx::Error::Encode(e.into())))
}
