//! Look-up tables, replaced as a whole.

use std::collections::BTreeMap;

use super::db::{on_db, sql};
use super::error::StoreError;
use super::rows::{Reading, json};
use super::{Store, Wake};
use crate::carrier::Table;
use crate::clock::Millis;
use crate::event::{CarrierId, TableName};

sql! {
    PUT_TABLE = "INSERT INTO lookup_tables (carrier, name, version, entries, updated_ms) VALUES ($1, $2, 1, $3, $4) \
        ON CONFLICT (carrier, name) DO UPDATE SET version = lookup_tables.version + 1, entries = excluded.entries, \
        updated_ms = excluded.updated_ms RETURNING version";
    SELECT_TABLES = "SELECT name, version, entries, updated_ms FROM lookup_tables WHERE carrier = $1 ORDER BY name";
    DELETE_TABLE = "DELETE FROM lookup_tables WHERE carrier = $1 AND name = $2";
}

impl Store {
    /// Makes or replaces a table; gives the new version.
    ///
    /// # Errors
    /// What the database says.
    pub async fn put_table(
        &self,
        carrier: &CarrierId,
        name: &TableName,
        entries: BTreeMap<String, String>,
        now: Millis,
    ) -> Result<i64, StoreError> {
        let (carrier, name) = (carrier.clone(), name.clone());
        let entries = json(&entries)?;
        self.write(move |w| {
            Box::pin(async move {
                let (version,): (i64,) = on_db!(&mut *w.conn, |c| sqlx::query_as(PUT_TABLE)
                    .bind(carrier.as_str())
                    .bind(name.as_str())
                    .bind(entries.as_str())
                    .bind(now)
                    .fetch_one(c)
                    .await?);
                w.wakes.push(Wake::Config(Some(carrier)));
                Ok(version)
            })
        })
        .await
    }

    /// All tables of a carrier, by name.
    ///
    /// # Errors
    /// What the database says.
    pub async fn tables(&self, carrier: &CarrierId) -> Result<Vec<Table>, StoreError> {
        let rows: Vec<(String, i64, String, i64)> = on_db!(&self.readers, |db| sqlx::query_as(SELECT_TABLES)
            .bind(carrier.as_str())
            .fetch_all(db)
            .await?);
        rows.into_iter()
            .map(|(name, version, entries, updated)| {
                let key = format!("{carrier}/{name}");
                let row = Reading { table: "lookup_tables", key: &key };
                Ok(Table {
                    carrier: carrier.clone(),
                    name: row.name("name", &name)?,
                    version,
                    entries: row.json("entries", &entries)?,
                    updated: Millis(updated),
                })
            })
            .collect()
    }

    /// Whether there was such a table.
    ///
    /// # Errors
    /// What the database says.
    pub async fn delete_table(&self, carrier: &CarrierId, name: &TableName) -> Result<bool, StoreError> {
        let (carrier, name) = (carrier.clone(), name.clone());
        self.write(move |w| {
            Box::pin(async move {
                let gone = on_db!(&mut *w.conn, |c| sqlx::query(DELETE_TABLE)
                    .bind(carrier.as_str())
                    .bind(name.as_str())
                    .execute(c)
                    .await?
                    .rows_affected());
                w.wakes.push(Wake::Config(Some(carrier)));
                Ok(gone > 0)
            })
        })
        .await
    }
}
