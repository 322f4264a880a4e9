//! In the carrier's hands: retrying, resending and cancelling deliveries, running a routing again.
//!
//! What is under way is left alone: its node holds it, and what it comes to will be recorded.

use std::sync::LazyLock;

use super::db::{Rows, on_db, sql, text, write_rows};
use super::error::StoreError;
use super::page::{Changed, DeliveryFilter, Order, PageRequest};
use super::search::SEARCH_ROWS;
use super::work::DeliveryState;
use super::{Store, Wake};
use crate::clock::Millis;
use crate::event::{CarrierId, DeliveryId, EventId, SubscriptionId};

sql! {
    RETRY = "UPDATE deliveries SET state = 'pending', due_ms = $3, updated_ms = $3 \
        WHERE carrier = $1 AND id = $2 AND held_by IS NULL AND state <> 'delivered'";
    /// A delivered one as well: its receiver gets it again, under the same id.
    RESEND = "UPDATE deliveries SET state = 'pending', due_ms = $3, updated_ms = $3 \
        WHERE carrier = $1 AND id = $2 AND held_by IS NULL";
    CANCEL = "UPDATE deliveries SET state = 'cancelled', updated_ms = $3 \
        WHERE carrier = $1 AND id = $2 AND held_by IS NULL AND state <> 'delivered'";
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

/// The state is checked again where it is changed.
pub(super) static RETRY_THESE: LazyLock<Rows> = LazyLock::new(|| {
    Rows::new(
        "UPDATE deliveries SET state = 'pending', due_ms = $1, updated_ms = $2 \
         WHERE carrier = $3 AND held_by IS NULL AND state IN ('dead', 'failed') AND id IN",
        3,
        &["TEXT"],
        "",
    )
});
pub(super) static CANCEL_THESE: LazyLock<Rows> = LazyLock::new(|| {
    Rows::new(
        "UPDATE deliveries SET state = 'cancelled', updated_ms = $1 \
         WHERE carrier = $2 AND held_by IS NULL AND state IN ('pending', 'held') AND id IN",
        2,
        &["TEXT"],
        "",
    )
});

/// Deliveries that are changed in one transaction; other work has its turn between two of them.
pub(super) const CHANGED_AT_ONCE: usize = 1_024;

/// What is done to many deliveries at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    Retry,
    Cancel,
}

impl Change {
    /// The states in which it can be done.
    fn states(self) -> [DeliveryState; 2] {
        match self {
            Self::Retry => [DeliveryState::Dead, DeliveryState::Failed],
            Self::Cancel => [DeliveryState::Pending, DeliveryState::Held],
        }
    }
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

    /// Sends a delivery again, now, whatever has become of it. As `retry_delivery`, but only what is under way is left.
    ///
    /// # Errors
    /// What the database says.
    pub async fn resend_delivery(
        &self,
        carrier: &CarrierId,
        id: &DeliveryId,
        now: Millis,
    ) -> Result<Option<bool>, StoreError> {
        self.change_delivery(RESEND, carrier, id, now).await
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

    /// Makes up to `page.limit` dead or failed deliveries that match due now, oldest first.
    ///
    /// # Errors
    /// [`StoreError::Cursor`], or what the database says; what was changed before stays so.
    pub async fn retry_deliveries(
        &self,
        carrier: &CarrierId,
        filter: &DeliveryFilter,
        page: &PageRequest,
        now: Millis,
    ) -> Result<Changed, StoreError> {
        self.change_deliveries(Change::Retry, carrier, filter, page, now).await
    }

    /// Cancels up to `page.limit` pending or held deliveries that match, oldest first; those that a node has in hand are
    /// left alone.
    ///
    /// # Errors
    /// [`StoreError::Cursor`], or what the database says; what was changed before stays so.
    pub async fn cancel_deliveries(
        &self,
        carrier: &CarrierId,
        filter: &DeliveryFilter,
        page: &PageRequest,
        now: Millis,
    ) -> Result<Changed, StoreError> {
        self.change_deliveries(Change::Cancel, carrier, filter, page, now).await
    }

    /// They are searched for outside of the writer, which then changes those that are still in one of the states.
    async fn change_deliveries(
        &self,
        change: Change,
        carrier: &CarrierId,
        filter: &DeliveryFilter,
        page: &PageRequest,
        now: Millis,
    ) -> Result<Changed, StoreError> {
        let possible = change.states();
        let mut filter = DeliveryFilter { order: Order::Oldest, ..filter.clone() };
        if filter.states.is_empty() {
            filter.states = possible.to_vec();
        }
        filter.states.retain(|state| possible.contains(state));
        if filter.states.is_empty() {
            return Ok(Changed::default());
        }
        let found = self.search(carrier, &filter, page.limit, page.after.as_deref(), SEARCH_ROWS).await?;
        let mut changed = Changed { count: 0, next: found.next };
        let ids: Vec<DeliveryId> = found.items.into_iter().map(|one| one.id).collect();
        for some in ids.chunks(CHANGED_AT_ONCE) {
            changed.count += self.change_these(change, carrier, some.to_vec(), now).await?;
        }
        Ok(changed)
    }

    async fn change_these(
        &self,
        change: Change,
        carrier: &CarrierId,
        ids: Vec<DeliveryId>,
        now: Millis,
    ) -> Result<u64, StoreError> {
        let carrier = carrier.clone();
        self.write(move |w| {
            Box::pin(async move {
                let (carrier, ids) = (carrier.as_str(), ids.as_slice());
                let changed = match change {
                    Change::Retry => {
                        write_rows!(w.conn, RETRY_THESE, ids, [now, now, carrier], |q, id| q
                            .bind(id.as_str()))
                    }
                    Change::Cancel => {
                        write_rows!(w.conn, CANCEL_THESE, ids, [now, carrier], |q, id| q.bind(id.as_str()))
                    }
                };
                if changed > 0 && change == Change::Retry {
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
