//! Every place where something sealed with the master key lies, for sealing it anew; and which node knows which key.
//!
//! A new place is one more entry in [`PLACES`]. It must not know the keys.

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;

use super::Store;
use super::db::{on_db, sql};
use super::error::StoreError;
use super::host_keys::host_key_context;
use super::rows::Reading;
use crate::carrier::KeyId;
use crate::carrier::auth::token_context;
use crate::carrier::destination::secrets_context;
use crate::clock::Millis;
use crate::event::NodeId;

sql! {
    SEALED_DESTINATIONS = "SELECT carrier, name, sealed FROM destinations WHERE (carrier, name) > ($1, $2) \
        ORDER BY carrier, name LIMIT $3";
    RESEAL_DESTINATION = "UPDATE destinations SET sealed = $3 WHERE carrier = $1 AND name = $2 AND sealed = $4";
    SEALED_ANSWERS = "SELECT api_key, key, body FROM idempotency WHERE (api_key, key) > ($1, $2) \
        ORDER BY api_key, key LIMIT $3";
    RESEAL_ANSWER = "UPDATE idempotency SET body = $3 WHERE api_key = $1 AND key = $2 AND body = $4";
    FORGET_ANSWER = "DELETE FROM idempotency WHERE api_key = $1 AND key = $2 AND body = $3";
    SEALED_TOKENS = "SELECT carrier, destination, sealed FROM tokens WHERE (carrier, destination) > ($1, $2) \
        ORDER BY carrier, destination LIMIT $3";
    RESEAL_TOKEN = "UPDATE tokens SET sealed = $3 WHERE carrier = $1 AND destination = $2 AND sealed = $4";
    FORGET_TOKEN = "DELETE FROM tokens WHERE carrier = $1 AND destination = $2 AND sealed = $3";
    SEALED_HOST_KEYS = "SELECT purpose, name, sealed FROM host_keys WHERE (purpose, name) > ($1, $2) \
        ORDER BY purpose, name LIMIT $3";
    RESEAL_HOST_KEY = "UPDATE host_keys SET sealed = $3 WHERE purpose = $1 AND name = $2 AND sealed = $4";
    TELL_KEYS = "UPDATE nodes SET master_keys = $2 WHERE id = $1";
    NODES_ALIVE = "SELECT id, master_keys FROM nodes WHERE id <> $1 AND expires_ms >= $2 ORDER BY id";
}

/// One kind of thing that is kept sealed.
#[derive(Debug)]
pub struct Place {
    /// What it is, for people.
    pub what: &'static str,
    table: &'static str,
    form: Form,
    /// Two columns of key and the sealed one, after a key (`$1`, `$2`), in its order, at most `$3`.
    read: &'static str,
    /// Sets the sealed column of a key (`$1`, `$2`) to `$3` where it still is `$4`.
    write: &'static str,
    /// Deletes the row of a key (`$1`, `$2`) where the sealed column still is `$3`: for what can be done without when it
    /// does not open. Without it, what does not open stops a rotation.
    forget: Option<&'static str>,
    context: fn(&Reading<'_>, &str, &str) -> Result<String, StoreError>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Bytes,
    /// Base64 without padding, in a column of text.
    Text,
}

/// Every place.
pub const PLACES: &[Place] = &[
    Place {
        what: "destination",
        table: "destinations",
        form: Form::Bytes,
        read: SEALED_DESTINATIONS,
        write: RESEAL_DESTINATION,
        forget: None,
        context: |row, carrier, name| {
            Ok(secrets_context(&row.name("carrier", carrier)?, &row.name("name", name)?))
        },
    },
    Place {
        what: "remembered answer",
        table: "idempotency",
        form: Form::Text,
        read: SEALED_ANSWERS,
        write: RESEAL_ANSWER,
        forget: Some(FORGET_ANSWER),
        context: |row, api_key, key| Ok(answer_context(&row.name("api_key", api_key)?, key)),
    },
    Place {
        what: "access token",
        table: "tokens",
        form: Form::Bytes,
        read: SEALED_TOKENS,
        write: RESEAL_TOKEN,
        forget: Some(FORGET_TOKEN),
        context: |row, carrier, destination| {
            Ok(token_context(&row.name("carrier", carrier)?, &row.name("destination", destination)?))
        },
    },
    Place {
        what: "key of the host's own",
        table: "host_keys",
        form: Form::Bytes,
        read: SEALED_HOST_KEYS,
        write: RESEAL_HOST_KEY,
        forget: None,
        context: |_, purpose, name| Ok(host_key_context(purpose, name)),
    },
];

/// The context under which a remembered answer is sealed: it opens nowhere else.
pub fn answer_context(api_key: &KeyId, key: &str) -> String {
    format!("idempotency/{api_key}/{key}")
}

/// Something sealed, where it lies.
#[derive(Debug)]
pub struct Sealed {
    /// What it is.
    pub place: &'static Place,
    /// The context under which it was sealed.
    pub context: String,
    /// The sealed bytes.
    pub bytes: Vec<u8>,
    key: (String, String),
    /// The column as it was read.
    text: Option<String>,
}

impl Sealed {
    /// Where to go on reading: after this one.
    pub fn cursor(&self) -> &(String, String) {
        &self.key
    }
}

impl Place {
    /// Whether what does not open here may be deleted.
    pub fn is_dispensable(&self) -> bool {
        self.forget.is_some()
    }
}

/// A node that runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeKeys {
    /// Its id.
    pub node: NodeId,
    /// The ids of its master keys, the first one seals; none when it has not told yet.
    pub keys: Vec<String>,
}

impl Store {
    /// What lies at a place, by key, after a cursor (two empty texts: from the start); at most `limit`.
    ///
    /// # Errors
    /// What the database says, or a row that cannot be read.
    pub async fn sealed(
        &self,
        place: &'static Place,
        after: &(String, String),
        limit: u32,
    ) -> Result<Vec<Sealed>, StoreError> {
        let limit = i64::from(limit);
        let rows: Vec<(String, String, Option<String>, Vec<u8>)> = match place.form {
            Form::Bytes => {
                let rows: Vec<(String, String, Vec<u8>)> =
                    on_db!(&self.readers, |db| sqlx::query_as(place.read)
                        .bind(after.0.as_str())
                        .bind(after.1.as_str())
                        .bind(limit)
                        .fetch_all(db)
                        .await?);
                rows.into_iter().map(|(a, b, bytes)| (a, b, None, bytes)).collect()
            }
            Form::Text => {
                let rows: Vec<(String, String, String)> =
                    on_db!(&self.readers, |db| sqlx::query_as(place.read)
                        .bind(after.0.as_str())
                        .bind(after.1.as_str())
                        .bind(limit)
                        .fetch_all(db)
                        .await?);
                // What is no base64 was not sealed by any key: it will not open.
                let bytes = |text: &str| STANDARD_NO_PAD.decode(text).unwrap_or_default();
                rows.into_iter().map(|(a, b, text)| (a, b, Some(text.clone()), bytes(&text))).collect()
            }
        };
        rows.into_iter()
            .map(|(a, b, text, bytes)| {
                let at = format!("{a}/{b}");
                let context = (place.context)(&Reading { table: place.table, key: &at }, &a, &b)?;
                Ok(Sealed { place, context, bytes, key: (a, b), text })
            })
            .collect()
    }

    /// Puts new sealed bytes in the place of the old ones, or deletes what has none and can be done without: all of these
    /// in one transaction, and each only if nobody changed it since it was read. Gives how many were changed.
    ///
    /// # Errors
    /// What the database says; nothing was changed then.
    pub async fn reseal(&self, changes: Vec<(Sealed, Option<Vec<u8>>)>) -> Result<u64, StoreError> {
        self.write(move |w| {
            Box::pin(async move {
                let mut changed = 0;
                for (old, new) in &changes {
                    let (a, b) = (old.key.0.as_str(), old.key.1.as_str());
                    changed += match (new, &old.text, old.place.forget) {
                        (Some(new), None, _) => on_db!(&mut *w.conn, |c| sqlx::query(old.place.write)
                            .bind(a)
                            .bind(b)
                            .bind(new.as_slice())
                            .bind(old.bytes.as_slice())
                            .execute(c)
                            .await?
                            .rows_affected()),
                        (Some(new), Some(text), _) => on_db!(&mut *w.conn, |c| sqlx::query(old.place.write)
                            .bind(a)
                            .bind(b)
                            .bind(STANDARD_NO_PAD.encode(new))
                            .bind(text.as_str())
                            .execute(c)
                            .await?
                            .rows_affected()),
                        (None, None, Some(forget)) => on_db!(&mut *w.conn, |c| sqlx::query(forget)
                            .bind(a)
                            .bind(b)
                            .bind(old.bytes.as_slice())
                            .execute(c)
                            .await?
                            .rows_affected()),
                        (None, Some(text), Some(forget)) => on_db!(&mut *w.conn, |c| sqlx::query(forget)
                            .bind(a)
                            .bind(b)
                            .bind(text.as_str())
                            .execute(c)
                            .await?
                            .rows_affected()),
                        (None, _, None) => 0,
                    };
                }
                Ok(changed)
            })
        })
        .await
    }

    /// Tells the other nodes which master keys this one has: their ids with spaces between, the one that seals first.
    ///
    /// # Errors
    /// What the database says.
    pub async fn tell_master_keys(&self, ids: String) -> Result<(), StoreError> {
        let node = self.shared.node.clone();
        self.write(move |w| {
            Box::pin(async move {
                on_db!(&mut *w.conn, |c| sqlx::query(TELL_KEYS)
                    .bind(node.as_str())
                    .bind(ids.as_str())
                    .execute(c)
                    .await?
                    .rows_affected());
                Ok(())
            })
        })
        .await
    }

    /// The other nodes whose lease runs, and the master keys that each has. On SQLite there is never another.
    ///
    /// # Errors
    /// What the database says.
    pub async fn nodes_alive(&self, now: Millis) -> Result<Vec<NodeKeys>, StoreError> {
        if self.readers.pick(true, false) {
            // Their rows are those of dead ones: the folder is locked.
            return Ok(Vec::new());
        }
        let rows: Vec<(String, Option<String>)> = on_db!(&self.readers, |db| sqlx::query_as(NODES_ALIVE)
            .bind(self.shared.node.as_str())
            .bind(now)
            .fetch_all(db)
            .await?);
        rows.into_iter()
            .map(|(id, keys)| {
                let keys = keys.unwrap_or_default().split_whitespace().map(str::to_owned).collect();
                Ok(NodeKeys { node: Reading { table: "nodes", key: &id }.name("id", &id)?, keys })
            })
            .collect()
    }
}
