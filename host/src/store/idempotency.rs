//! Answers that are given again to a repeated `Idempotency-Key`.

use super::db::{on_db, sql};
use super::error::StoreError;
use super::rows::Reading;
use super::{Remembered, Store};
use crate::carrier::KeyId;
use crate::clock::Millis;

/// How long an answer is remembered, in milliseconds: 24 hours.
pub(super) const REMEMBERED_MS: i64 = 24 * 3_600_000;

sql! {
    SELECT_ANSWER = "SELECT request, status, body FROM idempotency WHERE api_key = $1 AND key = $2";
    /// The first answer stands, unless it is older than a day (`$7`).
    INSERT_ANSWER = "INSERT INTO idempotency (api_key, key, request, status, body, created_ms) \
        VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (api_key, key) DO UPDATE SET request = excluded.request, \
        status = excluded.status, body = excluded.body, created_ms = excluded.created_ms \
        WHERE idempotency.created_ms < $7";
}

impl Store {
    /// What was answered to this `Idempotency-Key` of this API key. Answers older than 24 hours go with
    /// [`Store::delete_before`].
    ///
    /// # Errors
    /// What the database says.
    pub async fn recall(&self, key: &KeyId, idempotency_key: &str) -> Result<Option<Remembered>, StoreError> {
        let row: Option<(Vec<u8>, i64, String)> = on_db!(&self.readers, |db| sqlx::query_as(SELECT_ANSWER)
            .bind(key.as_str())
            .bind(idempotency_key)
            .fetch_optional(db)
            .await?);
        let Some((request, status, body)) = row else { return Ok(None) };
        let row = Reading { table: "idempotency", key: key.as_str() };
        Ok(Some(Remembered {
            request: row.digest("request", &request)?,
            status: row.number("status", status)?,
            body,
        }))
    }

    /// Remembers an answer. When two requests with the same key ran at once, the first answer stands.
    ///
    /// # Errors
    /// What the database says.
    pub async fn remember(
        &self,
        key: &KeyId,
        idempotency_key: &str,
        answer: Remembered,
        now: Millis,
    ) -> Result<(), StoreError> {
        let (key, idempotency_key) = (key.clone(), idempotency_key.to_owned());
        self.write(move |w| {
            Box::pin(async move {
                on_db!(&mut *w.conn, |c| sqlx::query(INSERT_ANSWER)
                    .bind(key.as_str())
                    .bind(idempotency_key.as_str())
                    .bind(answer.request.as_slice())
                    .bind(i64::from(answer.status))
                    .bind(answer.body.as_str())
                    .bind(now)
                    .bind(now.0 - REMEMBERED_MS)
                    .execute(c)
                    .await?
                    .rows_affected());
                Ok(())
            })
        })
        .await
    }
}
