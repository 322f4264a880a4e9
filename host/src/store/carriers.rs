//! Carriers and API keys.

use std::collections::HashSet;

use super::db::{Conn, on_db, sql, text};
use super::error::StoreError;
use super::rows::Reading;
use super::{Store, Wake};
use crate::carrier::{ApiKey, Carrier, KeyId};
use crate::clock::Millis;
use crate::event::CarrierId;

sql! {
    INSERT_CARRIER = "INSERT INTO carriers (id, name, created_ms) VALUES ($1, $2, $3) ON CONFLICT (id) DO NOTHING";
    SELECT_CARRIERS = "SELECT id, name, created_ms FROM carriers ORDER BY id";
    INSERT_KEY = "INSERT INTO api_keys (id, role, carrier, name, digest, created_ms) \
        VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (id) DO NOTHING";
    SELECT_KEYS = "SELECT id, role, carrier, name, digest, created_ms FROM api_keys ORDER BY id";
    DELETE_KEY = "DELETE FROM api_keys WHERE id = $1 AND (CAST($2 AS TEXT) IS NULL OR carrier = $2)";
}

type KeyRow = (String, String, Option<String>, String, Vec<u8>, i64);

impl Store {
    /// Makes a carrier.
    ///
    /// # Errors
    /// [`StoreError::Exists`] when the id is taken.
    pub async fn create_carrier(&self, carrier: Carrier) -> Result<(), StoreError> {
        let id = carrier.id.clone();
        self.write(move |w| {
            Box::pin(async move {
                let made = on_db!(&mut *w.conn, |c| sqlx::query(INSERT_CARRIER)
                    .bind(carrier.id.as_str())
                    .bind(text(&carrier.name))
                    .bind(carrier.created_ms)
                    .execute(c)
                    .await?
                    .rows_affected());
                if made == 0 {
                    return Err(StoreError::Exists { what: "carrier" });
                }
                w.wakes.push(Wake::Config(Some(carrier.id)));
                Ok(())
            })
        })
        .await?;
        self.shared.carriers().insert(id);
        Ok(())
    }

    /// All carriers, by id.
    ///
    /// # Errors
    /// What the database says.
    pub async fn carriers(&self) -> Result<Vec<Carrier>, StoreError> {
        let rows: Vec<(String, String, i64)> =
            on_db!(&self.readers, |db| sqlx::query_as(SELECT_CARRIERS).fetch_all(db).await?);
        rows.into_iter()
            .map(|(id, name, created)| {
                let row = Reading { table: "carriers", key: &id };
                Ok(Carrier { id: row.name("id", &id)?, name, created_ms: Millis(created) })
            })
            .collect()
    }

    /// Keeps a key's digest.
    ///
    /// # Errors
    /// [`StoreError::Exists`] when the id is taken.
    pub async fn create_key(&self, key: ApiKey) -> Result<(), StoreError> {
        self.write(move |w| {
            Box::pin(async move {
                let made = on_db!(&mut *w.conn, |c| sqlx::query(INSERT_KEY)
                    .bind(key.id.as_str())
                    .bind(key.role.as_str())
                    .bind(key.carrier.as_ref().map(CarrierId::as_str))
                    .bind(text(&key.name))
                    .bind(key.digest.as_slice())
                    .bind(key.created)
                    .execute(c)
                    .await?
                    .rows_affected());
                if made == 0 {
                    return Err(StoreError::Exists { what: "key" });
                }
                w.wakes.push(Wake::Keys);
                Ok(())
            })
        })
        .await
    }

    /// All keys, by id.
    ///
    /// # Errors
    /// What the database says.
    pub async fn keys(&self) -> Result<Vec<ApiKey>, StoreError> {
        let rows: Vec<KeyRow> = on_db!(&self.readers, |db| sqlx::query_as(SELECT_KEYS).fetch_all(db).await?);
        rows.into_iter()
            .map(|(id, role, carrier, name, digest, created)| {
                let row = Reading { table: "api_keys", key: &id };
                Ok(ApiKey {
                    id: row.name("id", &id)?,
                    role: row.word("role", &role)?,
                    carrier: carrier.map(|c| row.name("carrier", &c)).transpose()?,
                    name,
                    digest: row.digest("digest", &digest)?,
                    created: Millis(created),
                })
            })
            .collect()
    }

    /// Whether there was such a key. `carrier` bounds what may be deleted.
    ///
    /// # Errors
    /// What the database says.
    pub async fn delete_key(&self, carrier: Option<&CarrierId>, id: &KeyId) -> Result<bool, StoreError> {
        let (carrier, id) = (carrier.cloned(), id.clone());
        self.write(move |w| {
            Box::pin(async move {
                let gone = on_db!(&mut *w.conn, |c| sqlx::query(DELETE_KEY)
                    .bind(id.as_str())
                    .bind(carrier.as_ref().map(CarrierId::as_str))
                    .execute(c)
                    .await?
                    .rows_affected());
                w.wakes.push(Wake::Keys);
                Ok(gone > 0)
            })
        })
        .await
    }
}

/// The ids of all carriers.
pub(super) async fn ids(conn: &mut Conn) -> Result<HashSet<CarrierId>, StoreError> {
    let rows: Vec<(String, String, i64)> =
        on_db!(conn, |c| sqlx::query_as(SELECT_CARRIERS).fetch_all(c).await?);
    rows.iter().map(|(id, ..)| Reading { table: "carriers", key: id }.name("id", id)).collect()
}
