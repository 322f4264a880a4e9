//! In the carrier's hands: retrying and cancelling deliveries, running a routing again.
//!
//! What is under way is left alone: its node holds it, and what it comes to will be recorded.

use super::db::{on_db, sql, text};
use super::error::StoreError;
use super::page::DeliveryFilter;
use super::read::{Choice, bind_choice, chosen};
use super::work::DeliveryState;
use super::{Store, Wake};
use crate::clock::Millis;
use crate::event::{CarrierId, DeliveryId, EventId, SubscriptionId};

sql! {
    RETRY = "UPDATE deliveries SET state = 'pending', due_ms = $3, updated_ms = $3 \
        WHERE carrier = $1 AND id = $2 AND held_by IS NULL AND state <> 'delivered'";
    CANCEL = "UPDATE deliveries SET state = 'cancelled', updated_ms = $3 \
        WHERE carrier = $1 AND id = $2 AND held_by IS NULL AND state <> 'delivered'";
    /// Looks at ended deliveries only, by their own index. The state is checked again where it is changed.
    RETRY_CHOSEN = concat!("UPDATE deliveries SET state = 'pending', due_ms = $10, updated_ms = $10 \
        WHERE carrier = $1 AND state IN ('dead', 'failed') AND id IN (SELECT d.id FROM deliveries d WHERE ",
        chosen!(), "AND d.state IN ('dead', 'failed') ORDER BY d.id LIMIT $11)");
    HOLD = "UPDATE deliveries SET state = 'held', held_by = NULL WHERE carrier = $1 AND id = $2 AND held_by = $3";
    PUT_BACK = "UPDATE deliveries SET held_by = NULL, due_ms = $4, last_error = $5 \
        WHERE carrier = $1 AND id = $2 AND held_by = $3";
    DELIVERY_EXISTS = "SELECT attempts FROM deliveries WHERE carrier = $1 AND id = $2";
    RETRY_ROUTING = "UPDATE routings SET state = 'later', due_ms = $5 \
        WHERE carrier = $1 AND received_ms = $2 AND event = $3 AND subscription = $4 \
        AND held_by IS NULL AND state IN ('parked', 'held', 'later')";
    ROUTING_EXISTS = "SELECT tries FROM routings \
        WHERE carrier = $1 AND received_ms = $2 AND event = $3 AND subscription = $4";
}

impl Store {
    /// Makes a dead, failed, cancelled or waiting delivery due now. None: no such delivery; Some(false): it is under
    /// way or delivered already.
    ///
    /// # Errors
    /// What the database says.
    pub async fn retry_delivery(
        &self,
        carrier: &CarrierId,
        id: &DeliveryId,
        now: Millis,
    ) -> Result<Option<bool>, StoreError> {
        self.change_delivery(RETRY, carrier, id, now).await
    }

    /// Cancels a delivery that is not under way. As `retry_delivery`.
    ///
    /// # Errors
    /// What the database says.
    pub async fn cancel_delivery(
        &self,
        carrier: &CarrierId,
        id: &DeliveryId,
        now: Millis,
    ) -> Result<Option<bool>, StoreError> {
        self.change_delivery(CANCEL, carrier, id, now).await
    }

    /// Puts aside a delivery that this node holds, without an attempt: its destination has been disabled meanwhile.
    ///
    /// # Errors
    /// What the database says.
    pub async fn hold_delivery(&self, carrier: &CarrierId, id: &DeliveryId) -> Result<(), StoreError> {
        let (carrier, id) = (carrier.clone(), id.clone());
        self.write(move |w| {
            Box::pin(async move {
                let node = w.shared.node.clone();
                // No row: another node holds it by now, and decides.
                on_db!(&mut *w.conn, |c| sqlx::query(HOLD)
                    .bind(carrier.as_str())
                    .bind(id.as_str())
                    .bind(node.as_str())
                    .execute(c)
                    .await?
                    .rows_affected());
                Ok(())
            })
        })
        .await
    }

    /// Gives back a delivery that this node holds, without an attempt: any node may claim it from `due` on. `why` is what
    /// its log shows meanwhile.
    ///
    /// # Errors
    /// What the database says.
    pub async fn put_back_delivery(
        &self,
        carrier: &CarrierId,
        id: &DeliveryId,
        due: Millis,
        why: String,
    ) -> Result<(), StoreError> {
        let (carrier, id) = (carrier.clone(), id.clone());
        self.write(move |w| {
            Box::pin(async move {
                let node = w.shared.node.clone();
                // No row: another node holds it by now, and decides.
                on_db!(&mut *w.conn, |c| sqlx::query(PUT_BACK)
                    .bind(carrier.as_str())
                    .bind(id.as_str())
                    .bind(node.as_str())
                    .bind(due)
                    .bind(text(&why))
                    .execute(c)
                    .await?
                    .rows_affected());
                w.wakes.push(Wake::Work);
                Ok(())
            })
        })
        .await
    }

    async fn change_delivery(
        &self,
        sql: &'static str,
        carrier: &CarrierId,
        id: &DeliveryId,
        now: Millis,
    ) -> Result<Option<bool>, StoreError> {
        let (carrier, id) = (carrier.clone(), id.clone());
        self.write(move |w| {
            Box::pin(async move {
                let changed = on_db!(&mut *w.conn, |c| sqlx::query(sql)
                    .bind(carrier.as_str())
                    .bind(id.as_str())
                    .bind(now)
                    .execute(c)
                    .await?
                    .rows_affected());
                if changed > 0 {
                    w.wakes.push(Wake::Work);
                    return Ok(Some(true));
                }
                let known: Option<(i64,)> = on_db!(&mut *w.conn, |c| sqlx::query_as(DELIVERY_EXISTS)
                    .bind(carrier.as_str())
                    .bind(id.as_str())
                    .fetch_optional(c)
                    .await?);
                Ok(known.map(|_| false))
            })
        })
        .await
    }

    /// Makes up to `limit` dead or failed deliveries that match due now, oldest first. Gives how many.
    ///
    /// # Errors
    /// What the database says.
    pub async fn retry_deliveries(
        &self,
        carrier: &CarrierId,
        filter: &DeliveryFilter,
        now: Millis,
        limit: u32,
    ) -> Result<u64, StoreError> {
        let ended = |s: &DeliveryState| matches!(s, DeliveryState::Dead | DeliveryState::Failed);
        if !filter.states.is_empty() && !filter.states.iter().any(ended) {
            return Ok(0);
        }
        let received = match &filter.event {
            None => None,
            Some(event) => match self.received(carrier, event).await? {
                Some(received) => Some(received),
                None => return Ok(0),
            },
        };
        let (carrier, filter) = (carrier.clone(), filter.clone());
        self.write(move |w| {
            Box::pin(async move {
                let choice = Choice::new(&carrier, &filter, received);
                let changed = on_db!(&mut *w.conn, |c| bind_choice!(sqlx::query(RETRY_CHOSEN), choice)
                    .bind(now)
                    .bind(i64::from(limit))
                    .execute(c)
                    .await?
                    .rows_affected());
                if changed > 0 {
                    w.wakes.push(Wake::Work);
                }
                Ok(changed)
            })
        })
        .await
    }

    /// Runs a parked or held routing again, now. As `retry_delivery`.
    ///
    /// # Errors
    /// What the database says.
    pub async fn retry_routing(
        &self,
        carrier: &CarrierId,
        event: &EventId,
        subscription: &SubscriptionId,
        now: Millis,
    ) -> Result<Option<bool>, StoreError> {
        let Some(received) = self.received(carrier, event).await? else { return Ok(None) };
        let (carrier, event, subscription) = (carrier.clone(), event.clone(), subscription.clone());
        self.write(move |w| {
            Box::pin(async move {
                let changed = on_db!(&mut *w.conn, |c| sqlx::query(RETRY_ROUTING)
                    .bind(carrier.as_str())
                    .bind(received)
                    .bind(event.as_str())
                    .bind(subscription.as_str())
                    .bind(now)
                    .execute(c)
                    .await?
                    .rows_affected());
                if changed > 0 {
                    w.wakes.push(Wake::Work);
                    return Ok(Some(true));
                }
                let known: Option<(i64,)> = on_db!(&mut *w.conn, |c| sqlx::query_as(ROUTING_EXISTS)
                    .bind(carrier.as_str())
                    .bind(received)
                    .bind(event.as_str())
                    .bind(subscription.as_str())
                    .fetch_optional(c)
                    .await?);
                Ok(known.map(|_| false))
            })
        })
        .await
    }
}
