//! Subscriptions: carriers' standing orders.

use super::db::{Conn, on_db, sql};
use super::error::StoreError;
use super::rows::{Reading, json};
use super::schedules::{self, ScheduleKey};
use super::{Store, Wake};
use crate::carrier::{Subscription, SubscriptionState};
use crate::clock::Millis;
use crate::event::{CarrierId, SubscriptionId};

sql! {
    PUT_SUBSCRIPTION = "INSERT INTO subscriptions \
        (carrier, id, spec, state, created_ms, updated_ms, webhook_event) \
        VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (carrier, id) DO UPDATE \
        SET spec = excluded.spec, updated_ms = excluded.updated_ms, webhook_event = excluded.webhook_event";
    SELECT_SUBSCRIPTIONS = "SELECT id, spec, state, created_ms, updated_ms FROM subscriptions \
        WHERE carrier = $1 ORDER BY id";
    SET_STATE = "UPDATE subscriptions SET state = $3, updated_ms = $4 WHERE carrier = $1 AND id = $2";
    DELETE_SUBSCRIPTION = "DELETE FROM subscriptions WHERE carrier = $1 AND id = $2";
}

impl Store {
    /// Makes or replaces a subscription (its state and `created` stay when it exists).
    ///
    /// # Errors
    /// What the database says.
    pub async fn put_subscription(&self, subscription: Subscription) -> Result<(), StoreError> {
        self.write(move |w| {
            Box::pin(async move {
                put(w.conn, &subscription).await?;
                w.wakes.push(Wake::Config(Some(subscription.carrier)));
                Ok(())
            })
        })
        .await
    }

    /// All subscriptions of a carrier, by id.
    ///
    /// # Errors
    /// What the database says.
    pub async fn subscriptions(&self, carrier: &CarrierId) -> Result<Vec<Subscription>, StoreError> {
        let rows: Vec<(String, String, String, i64, i64)> =
            on_db!(&self.readers, |db| sqlx::query_as(SELECT_SUBSCRIPTIONS)
                .bind(carrier.as_str())
                .fetch_all(db)
                .await?);
        rows.into_iter()
            .map(|(id, spec, state, created, updated)| {
                let key = format!("{carrier}/{id}");
                let row = Reading { table: "subscriptions", key: &key };
                Ok(Subscription {
                    carrier: carrier.clone(),
                    id: row.name("id", &id)?,
                    spec: row.json("spec", &spec)?,
                    state: row.word("state", &state)?,
                    created: Millis(created),
                    updated: Millis(updated),
                })
            })
            .collect()
    }

    /// Whether there was such a subscription.
    ///
    /// # Errors
    /// What the database says.
    pub async fn set_subscription_state(
        &self,
        carrier: &CarrierId,
        id: &SubscriptionId,
        state: SubscriptionState,
        now: Millis,
    ) -> Result<bool, StoreError> {
        let (carrier, id) = (carrier.clone(), id.clone());
        self.write(move |w| {
            Box::pin(async move {
                let found = on_db!(&mut *w.conn, |c| sqlx::query(SET_STATE)
                    .bind(carrier.as_str())
                    .bind(id.as_str())
                    .bind(state.as_str())
                    .bind(now)
                    .execute(c)
                    .await?
                    .rows_affected());
                w.wakes.push(Wake::Config(Some(carrier)));
                Ok(found > 0)
            })
        })
        .await
    }

    /// Whether there was such a subscription. What it has made is delivered all the same.
    ///
    /// # Errors
    /// What the database says.
    pub async fn delete_subscription(
        &self,
        carrier: &CarrierId,
        id: &SubscriptionId,
    ) -> Result<bool, StoreError> {
        let key = ScheduleKey { carrier: carrier.clone(), subscription: id.clone() };
        let gone = self.write({
            let key = key.clone();
            move |w| {
                Box::pin(async move {
                    let gone = delete(w.conn, &key.carrier, &key.subscription).await?;
                    w.wakes.push(Wake::Config(Some(key.carrier)));
                    Ok(gone)
                })
            }
        });
        let gone = gone.await?;
        self.forget_collected(key).await?;
        Ok(gone)
    }
}

/// Writes a subscription, within a step.
pub(super) async fn put(conn: &mut Conn, s: &Subscription) -> Result<(), StoreError> {
    let spec = json(&s.spec)?;
    on_db!(&mut *conn, |c| sqlx::query(PUT_SUBSCRIPTION)
        .bind(s.carrier.as_str())
        .bind(s.id.as_str())
        .bind(spec.as_str())
        .bind(s.state.as_str())
        .bind(s.created)
        .bind(s.updated)
        .bind(s.spec.webhook.as_ref().map(|webhook| i64::from(webhook.event_id)))
        .execute(c)
        .await?
        .rows_affected());
    schedules::set(conn, &s.carrier, &s.id, s.spec.schedule.as_ref(), s.updated).await
}

/// Removes a subscription, within a step. Whether there was one.
pub(super) async fn delete(
    conn: &mut Conn,
    carrier: &CarrierId,
    id: &SubscriptionId,
) -> Result<bool, StoreError> {
    schedules::unset(conn, carrier, id).await?;
    let gone = on_db!(conn, |c| sqlx::query(DELETE_SUBSCRIPTION)
        .bind(carrier.as_str())
        .bind(id.as_str())
        .execute(c)
        .await?
        .rows_affected());
    Ok(gone > 0)
}
