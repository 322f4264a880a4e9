//! Nodes: each process start is one, with a lease; what a dead one held is released by another.

use super::db::{Conn, on_db, sql};
use super::error::StoreError;
use super::writer::Doubtful;
use super::{Store, TakenOver, Wake};
use crate::clock::Millis;
use crate::event::NodeId;
use std::time::Duration;

sql! {
    INSERT_NODE = "INSERT INTO nodes (id, started_ms, expires_ms) VALUES ($1, $2, $3)";
    RENEW = "UPDATE nodes SET expires_ms = $2 WHERE id = $1";
    /// `$3`: 1 when every other node is dead, whatever its lease says.
    DELETE_DEAD = "DELETE FROM nodes WHERE id <> $1 AND (expires_ms < $2 OR $3 = CAST(1 AS BIGINT)) RETURNING id";
    DELETE_NODE = "DELETE FROM nodes WHERE id = $1";
    RELEASE_EVENTS = "UPDATE open_events SET held_by = NULL WHERE held_by = $1";
    RELEASE_ROUTINGS = "UPDATE routings SET held_by = NULL WHERE held_by = $1";
    RELEASE_DELIVERIES = "UPDATE deliveries SET held_by = NULL WHERE held_by = $1";
    RELEASE_RUNS = "UPDATE schedules SET held_by = NULL WHERE held_by = $1";
    RELEASE_EVENT = "UPDATE open_events SET held_by = NULL \
        WHERE carrier = $1 AND received_ms = $2 AND id = $3 AND held_by = $4";
    RELEASE_DELIVERY = "UPDATE deliveries SET held_by = NULL WHERE carrier = $1 AND id = $2 AND held_by = $3";
}

impl Store {
    /// Pushes this node's expiry to `now + lease`.
    ///
    /// # Errors
    /// [`StoreError::NodeLost`] when another node has taken it over: this process must stop.
    pub async fn renew(&self, now: Millis, lease: Duration) -> Result<(), StoreError> {
        let node = self.shared.node.clone();
        self.write(move |w| {
            Box::pin(async move {
                let changed = on_db!(&mut *w.conn, |c| sqlx::query(RENEW)
                    .bind(node.as_str())
                    .bind(now.plus(lease))
                    .execute(c)
                    .await?
                    .rows_affected());
                if changed == 0 { Err(StoreError::NodeLost) } else { Ok(()) }
            })
        })
        .await
    }

    /// Releases what dead nodes held. On SQLite every other node is dead, since the folder is locked.
    ///
    /// # Errors
    /// What the database says; nothing was released then.
    pub async fn take_over(&self, now: Millis) -> Result<TakenOver, StoreError> {
        let all = self.readers.pick(1_i64, 0);
        self.write(move |w| {
            Box::pin(async move {
                let node = w.shared.node.clone();
                let dead: Vec<(String,)> = on_db!(&mut *w.conn, |c| sqlx::query_as(DELETE_DEAD)
                    .bind(node.as_str())
                    .bind(now)
                    .bind(all)
                    .fetch_all(c)
                    .await?);
                let mut taken = TakenOver::default();
                for (dead,) in dead {
                    let [events, routings, deliveries, runs] = release(w.conn, &dead).await?;
                    taken.nodes += 1;
                    taken.events += events;
                    taken.routings += routings;
                    taken.deliveries += deliveries;
                    taken.runs += runs;
                }
                if taken.events > 0 {
                    let counted = super::claim::backlog(w.conn).await?;
                    *w.shared.backlog() = counted;
                }
                if taken.events + taken.routings + taken.deliveries > 0 {
                    w.wakes.push(Wake::Work);
                }
                if taken.runs > 0 {
                    w.wakes.push(Wake::Run);
                }
                Ok(taken)
            })
        })
        .await
    }
}

/// Writes this node's row.
pub(super) async fn enter(
    conn: &mut Conn,
    node: &NodeId,
    now: Millis,
    lease: Duration,
) -> Result<(), StoreError> {
    on_db!(conn, |c| sqlx::query(INSERT_NODE)
        .bind(node.as_str())
        .bind(now)
        .bind(now.plus(lease))
        .execute(c)
        .await?
        .rows_affected());
    Ok(())
}

/// Releases all that a node holds; gives how many events, routings, deliveries and runs.
async fn release(conn: &mut Conn, node: &str) -> Result<[u64; 4], StoreError> {
    let mut released = [0; 4];
    let all = [RELEASE_EVENTS, RELEASE_ROUTINGS, RELEASE_DELIVERIES, RELEASE_RUNS];
    for (n, sql) in released.iter_mut().zip(all) {
        *n = on_db!(&mut *conn, |c| sqlx::query(sql).bind(node).execute(c).await?.rows_affected());
    }
    Ok(released)
}

/// Releases what this node holds and removes its row, in one transaction.
pub(super) async fn leave(conn: &mut Conn, node: &str) -> Result<(), StoreError> {
    conn.run(conn.pick("BEGIN IMMEDIATE", "BEGIN")).await?;
    on_db!(&mut *conn, |c| sqlx::query(DELETE_NODE).bind(node).execute(c).await?.rows_affected());
    release(conn, node).await?;
    conn.run("COMMIT").await?;
    Ok(())
}

/// Releases what a commit of unknown outcome may have left held though nobody works on it.
pub(super) async fn release_doubtful(
    conn: &mut Conn,
    node: &str,
    doubtful: &Doubtful,
) -> Result<(), StoreError> {
    for (carrier, received, id) in &doubtful.events {
        on_db!(&mut *conn, |c| sqlx::query(RELEASE_EVENT)
            .bind(carrier.as_str())
            .bind(*received)
            .bind(id.as_str())
            .bind(node)
            .execute(c)
            .await?
            .rows_affected());
    }
    for (carrier, id) in &doubtful.deliveries {
        on_db!(&mut *conn, |c| sqlx::query(RELEASE_DELIVERY)
            .bind(carrier.as_str())
            .bind(id.as_str())
            .bind(node)
            .execute(c)
            .await?
            .rows_affected());
    }
    Ok(())
}
