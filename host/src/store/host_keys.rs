//! Keys that the host makes for itself and that outlive its master key, such as the one that signs links. Only ever sealed.

use super::Store;
use super::db::{on_db, sql};
use super::error::StoreError;
use crate::clock::Millis;

sql! {
    SELECT_HOST_KEY = "SELECT sealed FROM host_keys WHERE purpose = $1 AND name = $2";
    INSERT_HOST_KEY = "INSERT INTO host_keys (purpose, name, sealed, created_ms) VALUES ($1, $2, $3, $4) \
        ON CONFLICT (purpose, name) DO NOTHING";
}

/// The context under which such a key is sealed: it opens nowhere else.
pub fn host_key_context(purpose: &str, name: &str) -> String {
    format!("host-key/{purpose}/{name}")
}

impl Store {
    /// A key by what it is for and its name.
    ///
    /// # Errors
    /// What the database says.
    pub async fn host_key(&self, purpose: &str, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let row: Option<(Vec<u8>,)> = on_db!(&self.readers, |db| sqlx::query_as(SELECT_HOST_KEY)
            .bind(purpose)
            .bind(name)
            .fetch_optional(db)
            .await?);
        Ok(row.map(|(sealed,)| sealed))
    }

    /// Keeps a key, unless there is one: the first node to come makes it, and the others read it.
    ///
    /// # Errors
    /// What the database says.
    pub async fn put_host_key(
        &self,
        purpose: &'static str,
        name: &'static str,
        sealed: Vec<u8>,
        now: Millis,
    ) -> Result<(), StoreError> {
        self.write(move |w| {
            Box::pin(async move {
                on_db!(&mut *w.conn, |c| sqlx::query(INSERT_HOST_KEY)
                    .bind(purpose)
                    .bind(name)
                    .bind(sealed.as_slice())
                    .bind(now)
                    .execute(c)
                    .await?
                    .rows_affected());
                Ok(())
            })
        })
        .await
    }
}
