//! Handshakes: which receivers were asked for permission, and what they said.
//!
//! A destination whose receiver has not answered is disabled; the grant enables it in the same transaction.

use super::db::{Conn, on_db, sql, text};
use super::error::StoreError;
use super::rows::Reading;
use super::writer::Work;
use super::{Store, Wake, lane};
use crate::carrier::handshake::{Handshake, HandshakeSpec, WAITING};
use crate::clock::Millis;
use crate::event::{CarrierId, DestinationName};

sql! {
    PUT_HANDSHAKE = "INSERT INTO handshakes \
        (carrier, destination, url, origin, rate, token, permission, granted_rate, note, asked_ms, answered_ms) \
        VALUES ($1, $2, $3, $4, $5, $6, 'waiting', NULL, NULL, $7, NULL) ON CONFLICT (carrier, destination) DO UPDATE \
        SET url = excluded.url, origin = excluded.origin, rate = excluded.rate, token = excluded.token, \
        permission = 'waiting', granted_rate = NULL, note = NULL, asked_ms = excluded.asked_ms, answered_ms = NULL";
    SELECT_HANDSHAKES = "SELECT destination, url, origin, rate, permission, granted_rate, note, asked_ms, answered_ms \
        FROM handshakes WHERE carrier = $1 ORDER BY destination";
    SELECT_BY_TOKEN = "SELECT carrier, destination, origin, rate FROM handshakes WHERE token = $1";
    /// `$1`: the token of the request that this is the answer to; a later request has another one.
    GRANT = "UPDATE handshakes SET permission = 'granted', granted_rate = $2, note = NULL, answered_ms = $3 \
        WHERE token = $1";
    /// The receiver may have given permission by its callback before it answered.
    WITHHOLD = "UPDATE handshakes SET note = $2 WHERE token = $1 AND permission = 'waiting'";
    OVERRIDE = "UPDATE handshakes SET permission = 'overridden', granted_rate = NULL, answered_ms = $3 \
        WHERE carrier = $1 AND destination = $2 AND permission = 'waiting'";
    DELETE_HANDSHAKE = "DELETE FROM handshakes WHERE carrier = $1 AND destination = $2";
    WAIT = "UPDATE destinations SET state = 'disabled', disabled_reason = $3 \
        WHERE carrier = $1 AND name = $2 AND state = 'enabled'";
    WAIT_NO_MORE = "UPDATE destinations SET state = 'enabled', disabled_reason = NULL, failing_since_ms = NULL \
        WHERE carrier = $1 AND name = $2 AND state = 'disabled' AND disabled_reason = $3";
    RELEASE = "UPDATE deliveries SET state = 'pending', due_ms = $2, updated_ms = $2 \
        WHERE lane = $1 AND state = 'held'";
}

#[derive(sqlx::FromRow)]
struct Row {
    destination: String,
    url: String,
    origin: String,
    rate: Option<i64>,
    permission: String,
    granted_rate: Option<i64>,
    note: Option<String>,
    asked_ms: i64,
    answered_ms: Option<i64>,
}

/// What a callback's token stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// Whose destination.
    pub carrier: CarrierId,
    /// Which destination.
    pub destination: DestinationName,
    /// What was asked for.
    pub spec: HandshakeSpec,
}

impl Store {
    /// Begins a handshake, or begins it anew: whatever was granted before is gone, and the destination waits. `token` is
    /// the digest of the callback's token.
    ///
    /// # Errors
    /// What the database says.
    pub async fn put_handshake(&self, handshake: Handshake, token: [u8; 32]) -> Result<(), StoreError> {
        self.write(move |w| {
            Box::pin(async move {
                let h = &handshake;
                on_db!(&mut *w.conn, |c| sqlx::query(PUT_HANDSHAKE)
                    .bind(h.carrier.as_str())
                    .bind(h.destination.as_str())
                    .bind(text(&h.url))
                    .bind(h.spec.origin.as_str())
                    .bind(h.spec.rate_per_minute.map(i64::from))
                    .bind(token.as_slice())
                    .bind(h.asked)
                    .execute(c)
                    .await?
                    .rows_affected());
                on_db!(&mut *w.conn, |c| sqlx::query(WAIT)
                    .bind(h.carrier.as_str())
                    .bind(h.destination.as_str())
                    .bind(WAITING)
                    .execute(c)
                    .await?
                    .rows_affected());
                w.wakes.push(Wake::Config(Some(h.carrier.clone())));
                Ok(())
            })
        })
        .await
    }

    /// The handshakes of a carrier, by destination.
    ///
    /// # Errors
    /// What the database says.
    pub async fn handshakes(&self, carrier: &CarrierId) -> Result<Vec<Handshake>, StoreError> {
        let rows: Vec<Row> = on_db!(&self.readers, |db| sqlx::query_as(SELECT_HANDSHAKES)
            .bind(carrier.as_str())
            .fetch_all(db)
            .await?);
        rows.into_iter()
            .map(|r| {
                let key = lane(carrier.as_str(), &r.destination);
                let row = Reading { table: "handshakes", key: &key };
                let rate_per_minute = r.rate.map(|n| row.number("rate", n)).transpose()?;
                Ok(Handshake {
                    carrier: carrier.clone(),
                    destination: row.name("destination", &r.destination)?,
                    url: r.url,
                    spec: HandshakeSpec { origin: r.origin, rate_per_minute },
                    permission: row.word("permission", &r.permission)?,
                    granted_rate: r.granted_rate.map(|n| row.number("granted_rate", n)).transpose()?,
                    note: r.note,
                    asked: Millis(r.asked_ms),
                    answered: r.answered_ms.map(Millis),
                })
            })
            .collect()
    }

    /// What the request with this token asked for; none when there was no such request, or a later one.
    ///
    /// # Errors
    /// What the database says.
    pub async fn asked(&self, token: [u8; 32]) -> Result<Option<Asked>, StoreError> {
        let found: Option<(String, String, String, Option<i64>)> =
            on_db!(&self.readers, |db| sqlx::query_as(SELECT_BY_TOKEN)
                .bind(token.as_slice())
                .fetch_optional(db)
                .await?);
        let Some((carrier, destination, origin, rate)) = found else { return Ok(None) };
        let key = lane(&carrier, &destination);
        let row = Reading { table: "handshakes", key: &key };
        Ok(Some(Asked {
            carrier: row.name("carrier", &carrier)?,
            destination: row.name("destination", &destination)?,
            spec: HandshakeSpec { origin, rate_per_minute: rate.map(|n| row.number("rate", n)).transpose()? },
        }))
    }

    /// Permission was given to the request with this token. It enables the destination, if that waited for nothing else,
    /// and its held deliveries are due now. False: there was a later request.
    ///
    /// # Errors
    /// What the database says.
    pub async fn grant_handshake(
        &self,
        carrier: &CarrierId,
        destination: &DestinationName,
        token: [u8; 32],
        rate_per_minute: Option<u32>,
        now: Millis,
    ) -> Result<bool, StoreError> {
        let (carrier, destination) = (carrier.clone(), destination.clone());
        self.write(move |w| {
            Box::pin(async move {
                let found = on_db!(&mut *w.conn, |c| sqlx::query(GRANT)
                    .bind(token.as_slice())
                    .bind(rate_per_minute.map(i64::from))
                    .bind(now)
                    .execute(c)
                    .await?
                    .rows_affected());
                if found > 0 {
                    release(w, &carrier, &destination, now).await?;
                    w.wakes.push(Wake::Config(Some(carrier)));
                }
                Ok(found > 0)
            })
        })
        .await
    }

    /// Notes why the request with this token brought no permission, unless it has come meanwhile.
    ///
    /// # Errors
    /// What the database says.
    pub async fn withhold_handshake(&self, token: [u8; 32], why: String) -> Result<(), StoreError> {
        self.write(move |w| {
            Box::pin(async move {
                on_db!(&mut *w.conn, |c| sqlx::query(WITHHOLD)
                    .bind(token.as_slice())
                    .bind(text(&why))
                    .execute(c)
                    .await?
                    .rows_affected());
                Ok(())
            })
        })
        .await
    }

    /// Gives permission in the receiver's place, if the destination waits for it; enables it as a grant does.
    ///
    /// # Errors
    /// What the database says.
    pub async fn override_handshake(
        &self,
        carrier: &CarrierId,
        destination: &DestinationName,
        now: Millis,
    ) -> Result<(), StoreError> {
        let (carrier, destination) = (carrier.clone(), destination.clone());
        self.write(move |w| {
            Box::pin(async move {
                on_db!(&mut *w.conn, |c| sqlx::query(OVERRIDE)
                    .bind(carrier.as_str())
                    .bind(destination.as_str())
                    .bind(now)
                    .execute(c)
                    .await?
                    .rows_affected());
                release(w, &carrier, &destination, now).await?;
                w.wakes.push(Wake::Config(Some(carrier)));
                Ok(())
            })
        })
        .await
    }

    /// Asks for no permission any more: a destination that waited for it is enabled.
    ///
    /// # Errors
    /// What the database says.
    pub async fn drop_handshake(
        &self,
        carrier: &CarrierId,
        destination: &DestinationName,
        now: Millis,
    ) -> Result<(), StoreError> {
        let (carrier, destination) = (carrier.clone(), destination.clone());
        self.write(move |w| {
            Box::pin(async move {
                forget(w.conn, &carrier, &destination).await?;
                release(w, &carrier, &destination, now).await?;
                w.wakes.push(Wake::Config(Some(carrier)));
                Ok(())
            })
        })
        .await
    }
}

/// Forgets a destination's handshake: with the destination, or because it needs none.
pub(super) async fn forget(
    conn: &mut Conn,
    carrier: &CarrierId,
    destination: &DestinationName,
) -> Result<(), StoreError> {
    on_db!(conn, |c| sqlx::query(DELETE_HANDSHAKE)
        .bind(carrier.as_str())
        .bind(destination.as_str())
        .execute(c)
        .await?
        .rows_affected());
    Ok(())
}

/// Enables a destination that is disabled for want of permission alone.
async fn release(
    w: &mut Work<'_>,
    carrier: &CarrierId,
    destination: &DestinationName,
    now: Millis,
) -> Result<(), StoreError> {
    let enabled = on_db!(&mut *w.conn, |c| sqlx::query(WAIT_NO_MORE)
        .bind(carrier.as_str())
        .bind(destination.as_str())
        .bind(WAITING)
        .execute(c)
        .await?
        .rows_affected());
    if enabled > 0 {
        on_db!(&mut *w.conn, |c| sqlx::query(RELEASE)
            .bind(lane(carrier.as_str(), destination.as_str()))
            .bind(now)
            .execute(c)
            .await?
            .rows_affected());
        w.wakes.push(Wake::Work);
    }
    Ok(())
}
