//! Plugins, their immutable versions, and the components' bytes.

use bytes::Bytes;

use super::db::{on_db, sql};
use super::error::StoreError;
use super::page::PluginRecord;
use super::rows::{Reading, json};
use super::{Store, Wake};
use crate::carrier::{LimitsSpec, Owner, PluginVersion, Sha256Hex};
use crate::clock::Millis;
use crate::event::PluginName;

sql! {
    SELECT_SAME = "SELECT version, sha256, size, limits, created_ms FROM plugin_versions \
        WHERE owner = $1 AND name = $2 AND sha256 = $3 AND limits = $4 ORDER BY version LIMIT 1";
    NEXT_VERSION = "INSERT INTO plugins (owner, name, latest) VALUES ($1, $2, 1) \
        ON CONFLICT (owner, name) DO UPDATE SET latest = plugins.latest + 1 RETURNING latest";
    INSERT_VERSION = "INSERT INTO plugin_versions (owner, name, version, sha256, size, limits, created_ms) \
        VALUES ($1, $2, $3, $4, $5, $6, $7)";
    INSERT_COMPONENT = "INSERT INTO components (owner, sha256, bytes) VALUES ($1, $2, $3) \
        ON CONFLICT (owner, sha256) DO NOTHING";
    SELECT_PLUGINS = "SELECT name, latest, active, previous, activated_ms FROM plugins \
        WHERE owner = $1 ORDER BY name";
    SELECT_VERSIONS = "SELECT version, sha256, size, limits, created_ms FROM plugin_versions \
        WHERE owner = $1 AND name = $2 ORDER BY version";
    SELECT_COMPONENT = "SELECT bytes FROM components WHERE owner = $1 AND sha256 = $2";
    /// Activating the active version changes nothing, or the one before it would be forgotten.
    ACTIVATE = "UPDATE plugins SET \
        previous = CASE WHEN active = $3 THEN previous ELSE active END, \
        activated_ms = CASE WHEN active = $3 THEN activated_ms ELSE $4 END, active = $3 \
        WHERE owner = $1 AND name = $2 AND EXISTS (SELECT 1 FROM plugin_versions v \
            WHERE v.owner = plugins.owner AND v.name = plugins.name AND v.version = $3) \
        RETURNING name, latest, active, previous, activated_ms";
}

type VersionRow = (i64, String, i64, String, i64);
type PluginRow = (String, i64, Option<i64>, Option<i64>, Option<i64>);

impl Store {
    /// Stores an upload as the next version of its plugin. The same bytes with the same limits again give the version
    /// that they already have.
    ///
    /// # Errors
    /// What the database says.
    pub async fn add_version(
        &self,
        owner: &Owner,
        name: &PluginName,
        bytes: Bytes,
        limits: LimitsSpec,
        now: Millis,
    ) -> Result<PluginVersion, StoreError> {
        let (owner, name) = (owner.clone(), name.clone());
        let sha256 = Sha256Hex::of(&bytes);
        let spec = json(&limits)?;
        self.write(move |w| {
            Box::pin(async move {
                let same: Option<VersionRow> = on_db!(&mut *w.conn, |c| sqlx::query_as(SELECT_SAME)
                    .bind(owner.as_str())
                    .bind(name.as_str())
                    .bind(sha256.as_str())
                    .bind(spec.as_str())
                    .fetch_optional(c)
                    .await?);
                if let Some(same) = same {
                    return version(&owner, &name, &same);
                }
                let (next,): (i64,) = on_db!(&mut *w.conn, |c| sqlx::query_as(NEXT_VERSION)
                    .bind(owner.as_str())
                    .bind(name.as_str())
                    .fetch_one(c)
                    .await?);
                let size = i64::try_from(bytes.len()).unwrap_or(i64::MAX);
                on_db!(&mut *w.conn, |c| sqlx::query(INSERT_VERSION)
                    .bind(owner.as_str())
                    .bind(name.as_str())
                    .bind(next)
                    .bind(sha256.as_str())
                    .bind(size)
                    .bind(spec.as_str())
                    .bind(now)
                    .execute(c)
                    .await?
                    .rows_affected());
                on_db!(&mut *w.conn, |c| sqlx::query(INSERT_COMPONENT)
                    .bind(owner.as_str())
                    .bind(sha256.as_str())
                    .bind(&bytes[..])
                    .execute(c)
                    .await?
                    .rows_affected());
                w.wakes.push(changed(&owner));
                Ok(PluginVersion { owner, name, version: next, sha256, size, limits, created: now })
            })
        })
        .await
    }

    /// All plugins of an owner with their active and previous versions, by name.
    ///
    /// # Errors
    /// What the database says.
    pub async fn plugins(&self, owner: &Owner) -> Result<Vec<PluginRecord>, StoreError> {
        let rows: Vec<PluginRow> = on_db!(&self.readers, |db| sqlx::query_as(SELECT_PLUGINS)
            .bind(owner.as_str())
            .fetch_all(db)
            .await?);
        rows.into_iter().map(|row| plugin(owner, row)).collect()
    }

    /// All versions of a plugin, oldest first.
    ///
    /// # Errors
    /// What the database says.
    pub async fn versions(&self, owner: &Owner, name: &PluginName) -> Result<Vec<PluginVersion>, StoreError> {
        let rows: Vec<VersionRow> = on_db!(&self.readers, |db| sqlx::query_as(SELECT_VERSIONS)
            .bind(owner.as_str())
            .bind(name.as_str())
            .fetch_all(db)
            .await?);
        rows.iter().map(|row| version(owner, name, row)).collect()
    }

    /// A component's bytes.
    ///
    /// # Errors
    /// What the database says.
    pub async fn component(&self, owner: &Owner, sha256: &Sha256Hex) -> Result<Option<Bytes>, StoreError> {
        let row: Option<(Vec<u8>,)> = on_db!(&self.readers, |db| sqlx::query_as(SELECT_COMPONENT)
            .bind(owner.as_str())
            .bind(sha256.as_str())
            .fetch_optional(db)
            .await?);
        Ok(row.map(|(bytes,)| Bytes::from(bytes)))
    }

    /// Makes a version the active one, and the one before it the previous. None when there is no such version.
    ///
    /// # Errors
    /// What the database says.
    pub async fn activate(
        &self,
        owner: &Owner,
        name: &PluginName,
        version: i64,
        now: Millis,
    ) -> Result<Option<PluginRecord>, StoreError> {
        let (owner, name) = (owner.clone(), name.clone());
        self.write(move |w| {
            Box::pin(async move {
                let row: Option<PluginRow> = on_db!(&mut *w.conn, |c| sqlx::query_as(ACTIVATE)
                    .bind(owner.as_str())
                    .bind(name.as_str())
                    .bind(version)
                    .bind(now)
                    .fetch_optional(c)
                    .await?);
                w.wakes.push(changed(&owner));
                row.map(|row| plugin(&owner, row)).transpose()
            })
        })
        .await
    }
}

fn changed(owner: &Owner) -> Wake {
    match owner {
        Owner::Carrier(carrier) => Wake::Config(Some(carrier.clone())),
        Owner::Shared => Wake::Config(None),
    }
}

fn plugin(owner: &Owner, row: PluginRow) -> Result<PluginRecord, StoreError> {
    let (name, latest, active, previous, activated) = row;
    let key = format!("{}/{name}", owner.as_str());
    let reading = Reading { table: "plugins", key: &key };
    Ok(PluginRecord {
        owner: owner.clone(),
        name: reading.name("name", &name)?,
        latest,
        active,
        previous,
        activated: activated.map(Millis),
    })
}

fn version(owner: &Owner, name: &PluginName, row: &VersionRow) -> Result<PluginVersion, StoreError> {
    let (version, sha256, size, limits, created) = row;
    let key = format!("{}/{name}/{version}", owner.as_str());
    let reading = Reading { table: "plugin_versions", key: &key };
    Ok(PluginVersion {
        owner: owner.clone(),
        name: name.clone(),
        version: *version,
        sha256: Sha256Hex::from_hex(sha256).map_err(|e| reading.broken("sha256", &e))?,
        size: *size,
        limits: reading.json("limits", limits)?,
        created: Millis(*created),
    })
}
