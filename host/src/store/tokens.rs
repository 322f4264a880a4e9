//! Access tokens that destinations are sent with, kept for every node and the next start. Only ever sealed.

use super::Store;
use super::db::{on_db, sql};
use super::error::StoreError;
use super::rows::Reading;
use super::work::Lane;
use crate::clock::Millis;
use crate::event::{CarrierId, DestinationName};

sql! {
    PUT_TOKEN = "INSERT INTO tokens (carrier, destination, sealed, expires_ms) VALUES ($1, $2, $3, $4) \
        ON CONFLICT (carrier, destination) DO UPDATE SET sealed = excluded.sealed, expires_ms = excluded.expires_ms";
    SELECT_TOKEN = "SELECT sealed, expires_ms FROM tokens WHERE carrier = $1 AND destination = $2";
    SELECT_TOKENS = "SELECT destination, sealed, expires_ms FROM tokens WHERE carrier = $1 ORDER BY destination";
    /// That token and no later one.
    DELETE_TOKEN = "DELETE FROM tokens WHERE carrier = $1 AND destination = $2 AND sealed = $3";
    DELETE_TOKENS_OF = "DELETE FROM tokens WHERE carrier = $1 AND destination = $2";
    DELETE_ENDED = "DELETE FROM tokens WHERE expires_ms < $1";
}

/// A token as the store keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredToken {
    /// The encrypted form of [`crate::carrier::auth::Token`].
    pub sealed: Vec<u8>,
    /// When it ends.
    pub expires: Millis,
}

impl Store {
    /// Keeps a destination's token in the place of the one before it.
    ///
    /// # Errors
    /// What the database says.
    pub async fn put_token(&self, lane: &Lane, token: StoredToken) -> Result<(), StoreError> {
        let lane = lane.clone();
        self.write(move |w| {
            Box::pin(async move {
                on_db!(&mut *w.conn, |c| sqlx::query(PUT_TOKEN)
                    .bind(lane.carrier.as_str())
                    .bind(lane.destination.as_str())
                    .bind(token.sealed.as_slice())
                    .bind(token.expires)
                    .execute(c)
                    .await?
                    .rows_affected());
                Ok(())
            })
        })
        .await
    }

    /// A destination's token, whatever its age.
    ///
    /// # Errors
    /// What the database says.
    pub async fn token(&self, lane: &Lane) -> Result<Option<StoredToken>, StoreError> {
        let row: Option<(Vec<u8>, i64)> = on_db!(&self.readers, |db| sqlx::query_as(SELECT_TOKEN)
            .bind(lane.carrier.as_str())
            .bind(lane.destination.as_str())
            .fetch_optional(db)
            .await?);
        Ok(row.map(|(sealed, expires)| StoredToken { sealed, expires: Millis(expires) }))
    }

    /// The tokens of a carrier's destinations, whatever their age.
    ///
    /// # Errors
    /// What the database says.
    pub async fn tokens(
        &self,
        carrier: &CarrierId,
    ) -> Result<Vec<(DestinationName, StoredToken)>, StoreError> {
        let rows: Vec<(String, Vec<u8>, i64)> = on_db!(&self.readers, |db| sqlx::query_as(SELECT_TOKENS)
            .bind(carrier.as_str())
            .fetch_all(db)
            .await?);
        rows.into_iter()
            .map(|(name, sealed, expires)| {
                let key = super::lane(carrier.as_str(), &name);
                let row = Reading { table: "tokens", key: &key };
                Ok((row.name("destination", &name)?, StoredToken { sealed, expires: Millis(expires) }))
            })
            .collect()
    }

    /// Drops this token of a destination's; a later one stays.
    ///
    /// # Errors
    /// What the database says.
    pub async fn drop_token(&self, lane: &Lane, sealed: &[u8]) -> Result<(), StoreError> {
        let (lane, sealed) = (lane.clone(), sealed.to_vec());
        self.write(move |w| {
            Box::pin(async move {
                on_db!(&mut *w.conn, |c| sqlx::query(DELETE_TOKEN)
                    .bind(lane.carrier.as_str())
                    .bind(lane.destination.as_str())
                    .bind(sealed.as_slice())
                    .execute(c)
                    .await?
                    .rows_affected());
                Ok(())
            })
        })
        .await
    }
}
