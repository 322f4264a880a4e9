//! What several nodes agree on: every change of what is set up takes a number, and every node says how far it has come.
//!
//! A number is taken at the end of its transaction, under a lock that lasts until the commit: whoever sees a number sees
//! all that is behind it, and no transaction that holds the lock waits for another. It must not know what a node does to
//! apply a change.

use serde::{Deserialize, Serialize};

use super::db::{Conn, on_db, sql};
use super::error::StoreError;
use super::rows::{Reading, json};
use super::{Store, Wake};
use crate::carrier::Owner;
use crate::clock::Millis;
use crate::event::{CarrierId, NodeId, PluginName};

sql! {
    TAKE_NUMBER = "UPDATE changes SET number = number + 1 WHERE owner = '' AND kind = 'last' RETURNING number";
    MARK = "INSERT INTO changes (owner, kind, number) VALUES ($1, $2, $3) \
        ON CONFLICT (owner, kind) DO UPDATE SET number = excluded.number";
    SELECT_CHANGES = "SELECT owner, kind, number FROM changes WHERE number > $1 ORDER BY number";
    PUBLISH = "UPDATE nodes SET applied = $2, troubles = $3 WHERE id = $1";
    SELECT_BEHIND = "SELECT id, expires_ms FROM nodes WHERE id <> $1 AND applied < $2 AND expires_ms >= $3 ORDER BY id";
    SELECT_TROUBLES = "SELECT id, troubles FROM nodes WHERE expires_ms >= $1 AND troubles IS NOT NULL ORDER BY id";
}

/// What a change is about, in the column `kind`.
const SETUP: &str = "setup";
const HEALTH: &str = "health";
const KEYS: &str = "keys";

/// The most that a node says of what it cannot load.
const TROUBLES_MAX: usize = 64;

/// What was changed after some number.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Changes {
    /// The latest change; the number asked for when there is none.
    pub last: i64,
    /// The latest that somebody may wait for; 0 when there is none. Nobody waits for what attempts say of destinations.
    pub waited_for: i64,
    /// Carriers whose set-up has changed, or what is known of their destinations.
    pub carriers: Vec<CarrierId>,
    /// Whether the shared plugins have, so that any carrier's set-up may have.
    pub shared: bool,
    /// Whether API keys were made or deleted.
    pub keys: bool,
}

/// A node that lives and has not come as far as was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Behind {
    /// Which node.
    pub node: NodeId,
    /// When its lease lapses unless it renews it.
    pub expires: Millis,
}

/// An active plugin version that a node cannot load. It holds the events of the subscriptions that use it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trouble {
    /// Whose plugin it is: a carrier, or the empty text for the shared ones.
    pub owner: String,
    /// The plugin.
    pub plugin: PluginName,
    /// The version.
    pub version: i64,
    /// What went wrong, for people.
    pub why: String,
}

impl Store {
    /// What was changed after the change `after`.
    ///
    /// # Errors
    /// What the database says.
    pub async fn changes(&self, after: i64) -> Result<Changes, StoreError> {
        let rows: Vec<(String, String, i64)> =
            on_db!(&self.readers, |db| sqlx::query_as(SELECT_CHANGES).bind(after).fetch_all(db).await?);
        let mut changes = Changes { last: after, ..Changes::default() };
        for (owner, kind, number) in rows {
            changes.last = changes.last.max(number);
            if matches!(kind.as_str(), SETUP | KEYS) {
                changes.waited_for = changes.waited_for.max(number);
            }
            match (kind.as_str(), owner.as_str()) {
                (KEYS, _) => changes.keys = true,
                (SETUP, "") => changes.shared = true,
                (SETUP | HEALTH, carrier) => {
                    let row = Reading { table: "changes", key: carrier };
                    let carrier = row.name("owner", carrier)?;
                    if !changes.carriers.contains(&carrier) {
                        changes.carriers.push(carrier);
                    }
                }
                _ => {}
            }
        }
        Ok(changes)
    }

    /// The latest change that this node has committed and that somebody may wait for; 0 before the first.
    pub fn own_change(&self) -> i64 {
        self.shared.changed.load(std::sync::atomic::Ordering::Acquire)
    }

    /// Says that this node has applied every change up to `applied`, or that it takes part no more, and what it cannot
    /// load. On SQLite there is nobody to tell.
    ///
    /// # Errors
    /// What the database says.
    pub async fn publish(&self, applied: Option<i64>, troubles: &[Trouble]) -> Result<(), StoreError> {
        if self.is_alone() {
            return Ok(());
        }
        let node = self.shared.node.clone();
        let troubles = &troubles[..troubles.len().min(TROUBLES_MAX)];
        let troubles = if troubles.is_empty() { None } else { Some(json(&troubles)?) };
        self.write(move |w| {
            Box::pin(async move {
                on_db!(&mut *w.conn, |c| sqlx::query(PUBLISH)
                    .bind(node.as_str())
                    .bind(applied)
                    .bind(troubles.as_deref())
                    .execute(c)
                    .await?
                    .rows_affected());
                w.wakes.push(Wake::Applied);
                Ok(())
            })
        })
        .await
    }

    /// The other nodes that live at `now` and have not applied the change `number`. A node that is starting or stopping is not
    /// among them: the one looks again before it begins to work, the other begins no more.
    ///
    /// # Errors
    /// What the database says.
    pub async fn behind(&self, number: i64, now: Millis) -> Result<Vec<Behind>, StoreError> {
        if self.is_alone() {
            return Ok(Vec::new());
        }
        let rows: Vec<(String, i64)> = on_db!(&self.readers, |db| sqlx::query_as(SELECT_BEHIND)
            .bind(self.shared.node.as_str())
            .bind(number)
            .bind(now)
            .fetch_all(db)
            .await?);
        rows.into_iter()
            .map(|(id, expires)| {
                let row = Reading { table: "nodes", key: &id };
                Ok(Behind { node: row.name("id", &id)?, expires: Millis(expires) })
            })
            .collect()
    }

    /// Why nodes that live at `now` cannot load a plugin version; empty when all can, or need not.
    ///
    /// # Errors
    /// What the database says.
    pub async fn troubles(
        &self,
        owner: &Owner,
        plugin: &PluginName,
        version: i64,
        now: Millis,
    ) -> Result<Vec<(NodeId, String)>, StoreError> {
        if self.is_alone() {
            return Ok(Vec::new());
        }
        let rows: Vec<(String, String)> =
            on_db!(&self.readers, |db| sqlx::query_as(SELECT_TROUBLES).bind(now).fetch_all(db).await?);
        let mut found = Vec::new();
        for (id, troubles) in rows {
            let row = Reading { table: "nodes", key: &id };
            let troubles: Vec<Trouble> = row.json("troubles", &troubles)?;
            let this = |t: &Trouble| t.owner == owner.as_str() && t.plugin == *plugin && t.version == version;
            if let Some(trouble) = troubles.into_iter().find(this) {
                found.push((row.name("id", &id)?, trouble.why));
            }
        }
        Ok(found)
    }

    /// Whether no other node can be there: SQLite's folder is locked by one process.
    fn is_alone(&self) -> bool {
        self.readers.pick(true, false)
    }
}

/// Gives what the wake-ups are about a number: called last in a transaction, right before its commit. Nothing is written
/// when they are about nothing that is set up.
///
/// The number comes back when somebody may wait for it.
pub(super) async fn number(conn: &mut Conn, wakes: &[Wake]) -> Result<Option<i64>, StoreError> {
    let subjects: Vec<(&str, &str)> = wakes.iter().filter_map(subject).collect();
    if subjects.is_empty() {
        return Ok(None);
    }
    let (number,): (i64,) = on_db!(&mut *conn, |c| sqlx::query_as(TAKE_NUMBER).fetch_one(c).await?);
    for (owner, kind) in subjects {
        on_db!(&mut *conn, |c| sqlx::query(MARK)
            .bind(owner)
            .bind(kind)
            .bind(number)
            .execute(c)
            .await?
            .rows_affected());
    }
    Ok(waited_for(wakes).then_some(number))
}

/// The same for the connection of SQLite's turns.
pub(super) fn number_sqlite(conn: &rusqlite::Connection, wakes: &[Wake]) -> Result<Option<i64>, StoreError> {
    let mut subjects = wakes.iter().filter_map(subject).peekable();
    if subjects.peek().is_none() {
        return Ok(None);
    }
    let number: i64 = conn.prepare_cached(TAKE_NUMBER)?.query_row([], |row| row.get(0))?;
    for (owner, kind) in subjects {
        conn.prepare_cached(MARK)?.execute(rusqlite::params![owner, kind, number])?;
    }
    Ok(waited_for(wakes).then_some(number))
}

/// Whether somebody may wait for what is behind these.
fn waited_for(wakes: &[Wake]) -> bool {
    wakes.iter().any(|wake| matches!(wake, Wake::Config(_) | Wake::Keys))
}

/// What a wake-up says was changed: the columns `owner` and `kind`.
fn subject(wake: &Wake) -> Option<(&str, &'static str)> {
    match wake {
        Wake::Config(Some(carrier)) => Some((carrier.as_str(), SETUP)),
        Wake::Config(None) => Some(("", SETUP)),
        Wake::Health(carrier) => Some((carrier.as_str(), HEALTH)),
        Wake::Keys => Some(("", KEYS)),
        Wake::Work | Wake::Run | Wake::Applied => None,
    }
}
