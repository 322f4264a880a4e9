//! What may be fetched for a carrier's deliveries, and which deliveries what was fetched is still kept for.

use std::collections::HashSet;
use std::sync::LazyLock;

use super::db::{Rows, on_db, pieces, sql};
use super::error::StoreError;
use super::rows::{Reading, json};
use super::{Store, Wake};
use crate::carrier::media::{KeptRules, MediaRules};
use crate::clock::Millis;
use crate::event::{CarrierId, DeliveryId};

sql! {
    PUT_MEDIA_RULES = "INSERT INTO media_rules (carrier, rules, updated_ms) VALUES ($1, $2, $3) \
        ON CONFLICT (carrier) DO UPDATE SET rules = excluded.rules, updated_ms = excluded.updated_ms";
    SELECT_MEDIA_RULES = "SELECT rules, updated_ms FROM media_rules WHERE carrier = $1";
}

/// A failed delivery waits for its carrier's hand, so its files stay; a dead one has been given up.
pub(super) static SELECT_UNENDED: LazyLock<Rows> = LazyLock::new(|| {
    Rows::new(
        "SELECT id FROM deliveries WHERE state IN ('pending', 'held', 'failed') AND (carrier, id) IN",
        0,
        &["TEXT", "TEXT"],
        "",
    )
});

impl Store {
    /// Sets what may be fetched for a carrier.
    ///
    /// # Errors
    /// What the database says.
    pub async fn put_media_rules(&self, carrier: &CarrierId, kept: KeptRules) -> Result<(), StoreError> {
        let carrier = carrier.clone();
        let rules = json(&kept.rules)?;
        self.write(move |w| {
            Box::pin(async move {
                on_db!(&mut *w.conn, |c| sqlx::query(PUT_MEDIA_RULES)
                    .bind(carrier.as_str())
                    .bind(rules.as_str())
                    .bind(kept.updated)
                    .execute(c)
                    .await?
                    .rows_affected());
                w.wakes.push(Wake::Config(Some(carrier)));
                Ok(())
            })
        })
        .await
    }

    /// What may be fetched for a carrier, if it has ever been set.
    ///
    /// # Errors
    /// What the database says, or rules that cannot be read.
    pub async fn media_rules(&self, carrier: &CarrierId) -> Result<Option<KeptRules>, StoreError> {
        let row: Option<(String, i64)> = on_db!(&self.readers, |db| sqlx::query_as(SELECT_MEDIA_RULES)
            .bind(carrier.as_str())
            .fetch_optional(db)
            .await?);
        row.map(|(rules, updated)| {
            let row = Reading { table: "media_rules", key: carrier.as_str() };
            let rules: MediaRules = row.json("rules", &rules)?;
            Ok(KeptRules { rules, updated: Millis(updated) })
        })
        .transpose()
    }

    /// Those of a carrier's deliveries that have not come to an end.
    ///
    /// # Errors
    /// What the database says.
    pub async fn unended(
        &self,
        carrier: &CarrierId,
        ids: &[DeliveryId],
    ) -> Result<HashSet<DeliveryId>, StoreError> {
        let mut found = HashSet::new();
        for piece in pieces(ids) {
            let rows: Vec<(String,)> = on_db!(&self.readers, |db| {
                let mut q = sqlx::query_as(SELECT_UNENDED.text(&self.readers, piece.len()));
                for id in piece {
                    q = q.bind(carrier.as_str()).bind(id.as_str());
                }
                q.fetch_all(db).await?
            });
            for (id,) in rows {
                found.insert(Reading { table: "deliveries", key: &id }.name("id", &id)?);
            }
        }
        Ok(found)
    }
}
