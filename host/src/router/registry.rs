//! Hot loading: uploads are checked and kept, a version is activated or rolled back by one swap.

use bytes::Bytes;

use super::Router;
use super::directory::Plugins;
use crate::carrier::{Limits, LimitsSpec, Owner, PluginVersion};
use crate::event::{NodeId, PluginName};
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

/// A version that is active.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Activated {
    /// Its plugin.
    pub record: PluginRecord,
    /// The nodes that do not run it.
    pub elsewhere: Vec<Elsewhere>,
}

/// A node that does not run a version although it is active.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Elsewhere {
    /// Which node.
    pub node: NodeId,
    /// Why it cannot load it; `None` when it has not said anything in time.
    pub why: Option<String>,
}

impl std::fmt::Display for Elsewhere {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let node = &self.node;
        match &self.why {
            Some(why) => {
                write!(f, "node {node} cannot load the version, holds its events and goes on trying: {why}")
            }
            None => {
                write!(f, "node {node} has not loaded the version yet: events there may meet the one before")
            }
        }
    }
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

    /// Makes a version the active one: loaded first, so that no event waits for it, then swapped in, here and at every
    /// other node. A node that cannot load it is named, and holds the events of the subscriptions that use it.
    ///
    /// # Errors
    /// [`RegistryError::NotLoadable`] leaves the version that was active.
    pub async fn activate(
        &self,
        owner: &Owner,
        name: &PluginName,
        number: i64,
    ) -> Result<Activated, RegistryError> {
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
        // Another node may have to compile it first.
        let behind = self.agreement.settle(self.lease + self.compile).await?;
        drop(program);
        self.release(owner.as_str(), name).await?;
        let mut elsewhere: Vec<Elsewhere> =
            behind.into_iter().map(|node| Elsewhere { node, why: None }).collect();
        for (node, why) in self.store.troubles(owner, name, number, self.clock.now()).await? {
            elsewhere.push(Elsewhere { node, why: Some(why) });
        }
        Ok(Activated { record, elsewhere })
    }

    /// Activates the version that was active before.
    ///
    /// # Errors
    /// [`RegistryError::NothingBefore`] when there was none.
    pub async fn roll_back(&self, owner: &Owner, name: &PluginName) -> Result<Activated, RegistryError> {
        let plugins = self.store.plugins(owner).await?;
        let record = plugins.into_iter().find(|p| p.name == *name).ok_or(RegistryError::Missing("plugin"))?;
        let previous = record.previous.ok_or(RegistryError::NothingBefore)?;
        self.activate(owner, name, previous).await
    }

    /// Lets the events go on that were held for want of a good version.
    pub(super) async fn release(&self, owner: &str, name: &PluginName) -> Result<(), StoreError> {
        for (carrier, view) in self.directory.carriers().iter() {
            for standing in &view.standing {
                let Plugins::Ready(chain) = &standing.plugins else { continue };
                if chain
                    .links
                    .iter()
                    .any(|l| l.plugin.owner(carrier).as_str() == owner && l.plugin.name == *name)
                {
                    self.store.release_routings(carrier, &standing.id, self.clock.now()).await?;
                }
            }
        }
        Ok(())
    }
}
