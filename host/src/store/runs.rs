//! The runs of scheduled subscriptions: each tick has one holder, and every step of it is one transaction.
//!
//! A run takes what was collected up to its tick, group by group, and writes digests: events of the host's own making, each
//! with a routing that is due at once, for this subscription alone. What a digest holds is removed with the same commit, so
//! that a run which is broken off goes on where it stood, and an event is in one digest only. It must not know how events
//! are put into digests.

use std::sync::LazyLock;

use super::db::{Conn, Rows, on_db, sql, write_rows};
use super::error::{HeldError, StoreError};
use super::notice::{INSERT_BODY, INSERT_EVENT};
use super::rows::{broken, json};
use super::schedules::{NewDigest, Run, RunKind, ScheduleKey, Stand};
use super::{Store, Wake};
use crate::clock::Millis;

sql! {
    /// Only from the watermark that was seen: who comes second finds another.
    BEGIN_RUN = "UPDATE schedules SET run_to_ms = $3, run_kind = $4, run_started_ms = $5, held_by = $6 \
        WHERE carrier = $1 AND subscription = $2 AND run_to_ms IS NULL AND watermark_ms = $7";
    TAKE_RUN = "UPDATE schedules SET held_by = $3 WHERE carrier = $1 AND subscription = $2 AND run_to_ms IS NOT NULL \
        AND (held_by IS NULL OR held_by = $3)";
    LET_GO = "UPDATE schedules SET held_by = NULL WHERE carrier = $1 AND subscription = $2 AND held_by = $3";
    /// Only from where the run was seen to stand.
    ADVANCE = "UPDATE schedules SET run_group = $5, run_part = $6, run_parts = $7, run_digests = run_digests + $8, \
        run_events = run_events + $9 \
        WHERE carrier = $1 AND subscription = $2 AND held_by = $3 AND run_digests = $4 AND run_to_ms = $10";
    END_RUN = "UPDATE schedules SET watermark_ms = run_to_ms, last_to_ms = run_to_ms, last_kind = run_kind, \
        last_started_ms = run_started_ms, last_ended_ms = $5, last_digests = run_digests, last_events = run_events, \
        run_to_ms = NULL, run_kind = NULL, run_started_ms = NULL, run_group = NULL, run_part = 0, run_parts = 0, \
        run_digests = 0, run_events = 0, held_by = NULL \
        WHERE carrier = $1 AND subscription = $2 AND held_by = $3 AND run_digests = $4";
    INSERT_ROUTING = "INSERT INTO routings (carrier, received_ms, event, subscription, state, versions, tries, due_ms, \
        cost_us) VALUES ($1, $2, $3, $4, 'later', '[]', 0, $2, 0)";
    /// Nothing of a subscription that has been made anew.
    FORGET = "DELETE FROM collected WHERE (carrier, received_ms, event, subscription) IN (\
        SELECT carrier, received_ms, event, subscription FROM collected WHERE carrier = $1 AND subscription = $2 \
        ORDER BY grp, received_ms, event LIMIT $3) \
        AND NOT EXISTS (SELECT 1 FROM schedules WHERE carrier = $1 AND subscription = $2)";
    DIGESTS_WAITING = "SELECT COUNT(*) FROM (SELECT event FROM routings \
        WHERE state = 'later' AND held_by IS NULL AND due_ms <= $1 LIMIT $2) AS waiting";
}

pub(super) static DELETE_MEMBERS: LazyLock<Rows> = LazyLock::new(|| {
    Rows::new(
        "DELETE FROM collected WHERE (carrier, received_ms, event, subscription) IN",
        0,
        &["TEXT", "BIGINT", "TEXT", "TEXT"],
        "",
    )
});

/// Events that one transaction forgets at most.
const FORGOTTEN: i64 = 1_000;

impl Store {
    /// Begins a run up to `to` that this node makes. `watermark` is where the subscription was seen to stand. Whether it
    /// was begun: not when there is one, or when another node has made it meanwhile.
    ///
    /// # Errors
    /// What the database says.
    pub async fn begin_run(
        &self,
        key: &ScheduleKey,
        to: Millis,
        kind: RunKind,
        now: Millis,
        watermark: Millis,
    ) -> Result<bool, StoreError> {
        self.new_run(key, to, kind, now, watermark, true).await
    }

    /// As [`Store::begin_run`], for whichever node takes it: they are told.
    ///
    /// # Errors
    /// What the database says.
    pub async fn ask_for_run(
        &self,
        key: &ScheduleKey,
        to: Millis,
        now: Millis,
        watermark: Millis,
    ) -> Result<bool, StoreError> {
        self.new_run(key, to, RunKind::Hand, now, watermark, false).await
    }

    async fn new_run(
        &self,
        key: &ScheduleKey,
        to: Millis,
        kind: RunKind,
        now: Millis,
        watermark: Millis,
        hold: bool,
    ) -> Result<bool, StoreError> {
        let key = key.clone();
        self.write(move |w| {
            Box::pin(async move {
                let begun = on_db!(&mut *w.conn, |c| sqlx::query(BEGIN_RUN)
                    .bind(key.carrier.as_str())
                    .bind(key.subscription.as_str())
                    .bind(to)
                    .bind(kind.as_str())
                    .bind(now)
                    .bind(hold.then_some(w.shared.node.as_str()))
                    .bind(watermark)
                    .execute(c)
                    .await?
                    .rows_affected());
                if begun > 0 && !hold {
                    w.wakes.push(Wake::Run);
                }
                Ok(begun > 0)
            })
        })
        .await
    }

    /// Takes a run that no other node makes. Whether there is one.
    ///
    /// # Errors
    /// What the database says.
    pub async fn take_run(&self, key: &ScheduleKey) -> Result<bool, StoreError> {
        self.hold_run(key, TAKE_RUN).await
    }

    /// Leaves a run to whoever goes on with it. Whether this node made it.
    ///
    /// # Errors
    /// What the database says.
    pub async fn let_go_of_run(&self, key: &ScheduleKey) -> Result<bool, StoreError> {
        self.hold_run(key, LET_GO).await
    }

    async fn hold_run(&self, key: &ScheduleKey, sql: &'static str) -> Result<bool, StoreError> {
        let key = key.clone();
        self.write(move |w| {
            Box::pin(async move {
                let changed = on_db!(&mut *w.conn, |c| sqlx::query(sql)
                    .bind(key.carrier.as_str())
                    .bind(key.subscription.as_str())
                    .bind(w.shared.node.as_str())
                    .execute(c)
                    .await?
                    .rows_affected());
                Ok(changed > 0)
            })
        })
        .await
    }

    /// Writes digests with their routings, and removes what they hold from what is collected.
    ///
    /// # Errors
    /// [`HeldError::Lost`] when this node does not make the run any more, or it does not stand where `run` says; nothing was
    /// written then.
    pub async fn write_digests(
        &self,
        key: &ScheduleKey,
        run: &Run,
        digests: Vec<NewDigest>,
        stand: Stand,
    ) -> Result<(), HeldError> {
        let (key, before, to) = (key.clone(), number(run.digests), run.to);
        let written = self.write(move |w| {
            Box::pin(async move {
                let (n, events) =
                    (digests.len() as u64, digests.iter().map(|d| d.members.len() as u64).sum());
                let advanced = on_db!(&mut *w.conn, |c| sqlx::query(ADVANCE)
                    .bind(key.carrier.as_str())
                    .bind(key.subscription.as_str())
                    .bind(w.shared.node.as_str())
                    .bind(before)
                    .bind(stand.group.as_str())
                    .bind(i64::from(stand.part))
                    .bind(i64::from(stand.parts))
                    .bind(number(n))
                    .bind(number(events))
                    .bind(to)
                    .execute(c)
                    .await?
                    .rows_affected());
                if advanced == 0 {
                    return Ok(false);
                }
                for digest in &digests {
                    write_digest(w.conn, &key, digest).await?;
                }
                w.wakes.push(Wake::Work);
                Ok(true)
            })
        });
        if written.await? { Ok(()) } else { Err(HeldError::Lost) }
    }

    /// Ends a run: the watermark is its tick.
    ///
    /// # Errors
    /// [`HeldError::Lost`] as for [`Store::write_digests`].
    pub async fn end_run(&self, key: &ScheduleKey, run: &Run, now: Millis) -> Result<(), HeldError> {
        let (key, digests) = (key.clone(), number(run.digests));
        let ended = self.write(move |w| {
            Box::pin(async move {
                let ended = on_db!(&mut *w.conn, |c| sqlx::query(END_RUN)
                    .bind(key.carrier.as_str())
                    .bind(key.subscription.as_str())
                    .bind(w.shared.node.as_str())
                    .bind(digests)
                    .bind(now)
                    .execute(c)
                    .await?
                    .rows_affected());
                Ok(ended > 0)
            })
        });
        if ended.await? { Ok(()) } else { Err(HeldError::Lost) }
    }

    /// How many routings are due and not claimed yet, up to `most`: who makes many waits until they are fewer.
    ///
    /// # Errors
    /// What the database says.
    pub async fn routings_waiting(&self, now: Millis, most: u32) -> Result<u32, StoreError> {
        let (n,): (i64,) = on_db!(&self.readers, |db| sqlx::query_as(DIGESTS_WAITING)
            .bind(now)
            .bind(i64::from(most))
            .fetch_one(db)
            .await?);
        Ok(u32::try_from(n).unwrap_or(most))
    }

    /// Forgets in small steps what a subscription that was deleted had collected.
    ///
    /// # Errors
    /// What the database says; the rest goes with its events, when they are old.
    pub(super) async fn forget_collected(&self, key: ScheduleKey) -> Result<(), StoreError> {
        loop {
            let key = key.clone();
            let gone = self.write(move |w| {
                Box::pin(async move {
                    Ok(on_db!(&mut *w.conn, |c| sqlx::query(FORGET)
                        .bind(key.carrier.as_str())
                        .bind(key.subscription.as_str())
                        .bind(FORGOTTEN)
                        .execute(c)
                        .await?
                        .rows_affected()))
                })
            });
            if gone.await? < FORGOTTEN as u64 {
                return Ok(());
            }
        }
    }
}

async fn write_digest(conn: &mut Conn, key: &ScheduleKey, digest: &NewDigest) -> Result<(), StoreError> {
    let members = digest.members.as_slice();
    let gone = write_rows!(conn, DELETE_MEMBERS, members, [], |q, member| q
        .bind(key.carrier.as_str())
        .bind(member.received)
        .bind(member.event.as_str())
        .bind(key.subscription.as_str()));
    let event = &*digest.event;
    if gone != members.len() as u64 {
        let why = format!("{} events are in it, but only {gone} were waiting for it", members.len());
        return Err(broken("collected", "event", event.id.as_str(), why));
    }
    let (hash, attributes) = (event.digest(), json(&*event.attributes)?);
    let new = on_db!(&mut *conn, |c| sqlx::query(INSERT_EVENT)
        .bind(event.carrier.as_str())
        .bind(event.id.as_str())
        .bind(event.received)
        .bind(hash.as_slice())
        .execute(c)
        .await?
        .rows_affected());
    if new == 0 {
        return Err(broken("events", "id", event.id.as_str(), "the id of a digest is taken".to_owned()));
    }
    on_db!(conn, |c| {
        sqlx::query(INSERT_BODY)
            .bind(event.carrier.as_str())
            .bind(event.received)
            .bind(event.id.as_str())
            .bind(event.event_type.as_str())
            .bind(attributes.as_str())
            .bind(&event.payload[..])
            .execute(&mut *c)
            .await?;
        sqlx::query(INSERT_ROUTING)
            .bind(event.carrier.as_str())
            .bind(event.received)
            .bind(event.id.as_str())
            .bind(key.subscription.as_str())
            .execute(&mut *c)
            .await?;
    });
    Ok(())
}

fn number(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}
