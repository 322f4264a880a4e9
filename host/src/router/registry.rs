//! Hot loading: uploads are checked and kept, a version is activated or rolled back by one swap.

use bytes::Bytes;

use super::Router;
use super::directory::Plugins;
use crate::carrier::{Limits, LimitsSpec, Owner, PluginVersion};
use crate::event::PluginName;
use crate::plugin::{CheckError, Checked};
use crate::store::error::StoreError;
use crate::store::page::PluginRecord;

/// Why a version was not uploaded or activated.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// The component was refused.
    #[error(transparent)]
    Check(#[from] CheckError),
    /// There is no such plugin or version.
    #[error("there is no such {0}")]
    Missing(&'static str),
    /// No version was active before.
    #[error("there is no earlier version to roll back to")]
    NothingBefore,
    /// The version is in the store but cannot be loaded here.
    #[error("the version cannot be loaded: {0}")]
    NotLoadable(String),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Router {
    /// Checks a component and keeps it as the next version of its plugin. It is not activated.
    ///
    /// # Errors
    /// [`RegistryError::Check`] says what is wrong with the component.
    pub async fn upload(
        &self,
        owner: &Owner,
        name: &PluginName,
        bytes: Bytes,
        limits: LimitsSpec,
    ) -> Result<(PluginVersion, Checked), RegistryError> {
        let granted = Limits::default().with(limits, self.directory.ceiling());
        let checked = self.runtime.check(bytes.clone(), granted).await?;
        let version = self.store.add_version(owner, name, bytes, limits, self.clock.now()).await?;
        Ok((version, checked))
    }

    /// Makes a version the active one: loaded first, so that no event waits for it, then swapped in.
    ///
    /// # Errors
    /// [`RegistryError::NotLoadable`] leaves the version that was active.
    pub async fn activate(
        &self,
        owner: &Owner,
        name: &PluginName,
        number: i64,
    ) -> Result<PluginRecord, RegistryError> {
        let versions = self.store.versions(owner, name).await?;
        let version =
            versions.iter().find(|v| v.version == number).ok_or(RegistryError::Missing("version"))?;
        // Kept until the swap, so that the directory finds it loaded.
        let program = self.directory.program(version).await?.map_err(RegistryError::NotLoadable)?;
        let record = self
            .store
            .activate(owner, name, number, self.clock.now())
            .await?
            .ok_or(RegistryError::Missing("version"))?;
        self.directory.catch_up().await?;
        drop(program);
        self.release(owner, name).await?;
        Ok(record)
    }

    /// Activates the version that was active before.
    ///
    /// # Errors
    /// [`RegistryError::NothingBefore`] when there was none.
    pub async fn roll_back(&self, owner: &Owner, name: &PluginName) -> Result<PluginRecord, RegistryError> {
        let plugins = self.store.plugins(owner).await?;
        let record = plugins.into_iter().find(|p| p.name == *name).ok_or(RegistryError::Missing("plugin"))?;
        let previous = record.previous.ok_or(RegistryError::NothingBefore)?;
        self.activate(owner, name, previous).await
    }

    /// Lets the events go on that were held for want of a good version.
    async fn release(&self, owner: &Owner, name: &PluginName) -> Result<(), StoreError> {
        for (carrier, view) in self.directory.carriers().iter() {
            for standing in &view.standing {
                let Plugins::Ready(chain) = &standing.plugins else { continue };
                if chain.links.iter().any(|l| l.plugin.owner(carrier) == *owner && l.plugin.name == *name) {
                    self.store.release_routings(carrier, &standing.id, self.clock.now()).await?;
                }
            }
        }
        Ok(())
    }
}
