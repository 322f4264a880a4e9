//! The public keys with which carriers fetch files from the drop folder.

use super::db::{on_db, sql};
use super::error::StoreError;
use super::rows::Reading;
use super::{Store, Wake};
use crate::carrier::{DropKey, DropKeyName};
use crate::clock::Millis;
use crate::event::CarrierId;

sql! {
    PUT_DROP_KEY = "INSERT INTO drop_keys (carrier, name, public_key, fingerprint, created_ms, updated_ms) \
        VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (carrier, name) DO UPDATE \
        SET public_key = excluded.public_key, fingerprint = excluded.fingerprint, updated_ms = excluded.updated_ms";
    SELECT_DROP_KEYS = "SELECT name, public_key, fingerprint, created_ms, updated_ms FROM drop_keys \
        WHERE carrier = $1 ORDER BY name";
    DELETE_DROP_KEY = "DELETE FROM drop_keys WHERE carrier = $1 AND name = $2";
}

type Row = (String, String, String, i64, i64);

impl Store {
    /// Registers a key, or replaces the one of its name (`created` stays).
    ///
    /// # Errors
    /// What the database says.
    pub async fn put_drop_key(&self, key: DropKey) -> Result<(), StoreError> {
        self.write(move |w| {
            Box::pin(async move {
                on_db!(&mut *w.conn, |c| sqlx::query(PUT_DROP_KEY)
                    .bind(key.carrier.as_str())
                    .bind(key.name.as_str())
                    .bind(key.public_key.as_str())
                    .bind(key.fingerprint.as_str())
                    .bind(key.created)
                    .bind(key.updated)
                    .execute(c)
                    .await?
                    .rows_affected());
                w.wakes.push(Wake::Config(Some(key.carrier)));
                Ok(())
            })
        })
        .await
    }

    /// The keys of a carrier, by name.
    ///
    /// # Errors
    /// What the database says.
    pub async fn drop_keys(&self, carrier: &CarrierId) -> Result<Vec<DropKey>, StoreError> {
        let rows: Vec<Row> = on_db!(&self.readers, |db| sqlx::query_as(SELECT_DROP_KEYS)
            .bind(carrier.as_str())
            .fetch_all(db)
            .await?);
        rows.into_iter()
            .map(|(name, public_key, fingerprint, created, updated)| {
                let key = format!("{carrier}/{name}");
                let row = Reading { table: "drop_keys", key: &key };
                Ok(DropKey {
                    carrier: carrier.clone(),
                    name: row.name("name", &name)?,
                    public_key,
                    fingerprint,
                    created: Millis(created),
                    updated: Millis(updated),
                })
            })
            .collect()
    }

    /// Whether there was such a key.
    ///
    /// # Errors
    /// What the database says.
    pub async fn delete_drop_key(&self, carrier: &CarrierId, name: &DropKeyName) -> Result<bool, StoreError> {
        let (carrier, name) = (carrier.clone(), name.clone());
        self.write(move |w| {
            Box::pin(async move {
                let gone = on_db!(&mut *w.conn, |c| sqlx::query(DELETE_DROP_KEY)
                    .bind(carrier.as_str())
                    .bind(name.as_str())
                    .execute(c)
                    .await?
                    .rows_affected());
                if gone > 0 {
                    w.wakes.push(Wake::Config(Some(carrier)));
                }
                Ok(gone > 0)
            })
        })
        .await
    }
}
