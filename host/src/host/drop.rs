//! What keeps the drop folder as it should be: old files go, and the carriers' keys are those that are registered.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio_util::sync::CancellationToken;

use crate::api::KeyRing;
use crate::clock::Clock;
use crate::deliver::drop::{DropError, DropFolder};
use crate::event::CarrierId;
use crate::router;
use crate::store::Store;
use crate::store::error::StoreError;

/// How often the drop folder is looked through for files that have been there for long enough.
const CLEAR_UP_EVERY: Duration = Duration::from_secs(600);

/// Keeps the drop folder within its days. Ends with the host.
pub(super) async fn clear_up(
    drop: DropFolder,
    clock: Clock,
    stopping: CancellationToken,
) -> Result<(), DropError> {
    loop {
        tokio::select! {
            () = stopping.cancelled() => return Ok(()),
            cleared = drop.clear_up(clock.now()) => match cleared {
                Ok(0) => {}
                Ok(files) => tracing::info!(files, "files of the drop folder have been there for long enough and are gone"),
                Err(why) => tracing::warn!(%why, "the drop folder could not be cleared up; trying again later"),
            },
        }
        tokio::select! {
            () = stopping.cancelled() => return Ok(()),
            () = clock.sleep(CLEAR_UP_EVERY) => {}
        }
    }
}

/// The keys, as the agreement follows them.
#[derive(Debug)]
pub(super) struct FollowedKeys {
    ring: KeyRing,
    store: Store,
    drop: Option<DropFolder>,
    /// Carriers whose keys could not be written to the drop folder.
    unwritten: tokio::sync::Mutex<BTreeSet<CarrierId>>,
}

impl FollowedKeys {
    pub(super) fn new(ring: KeyRing, store: Store, drop: Option<DropFolder>) -> Self {
        Self { ring, store, drop, unwritten: tokio::sync::Mutex::default() }
    }

    /// Every carrier, and whoever has a file without being one.
    async fn everybody(&self, drop: &DropFolder) -> Result<BTreeSet<CarrierId>, StoreError> {
        let mut all: BTreeSet<CarrierId> = self.store.carriers().await?.into_iter().map(|c| c.id).collect();
        let keys = drop.keys().clone();
        match tokio::task::spawn_blocking(move || keys.carriers()).await {
            Ok(Ok(files)) => all.extend(files),
            Ok(Err(why)) => tracing::warn!(%why, "the keys in the drop folder could not be listed"),
            Err(why) => tracing::warn!(%why, "the keys in the drop folder could not be listed"),
        }
        Ok(all)
    }
}

impl router::agreement::Keys for FollowedKeys {
    fn reload(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(self.ring.reload(&self.store))
    }

    fn write_logins<'a>(
        &'a self,
        carriers: Option<&'a [CarrierId]>,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move {
            let Some(drop) = &self.drop else { return Ok(()) };
            let mut unwritten = self.unwritten.lock().await;
            match carriers {
                Some(carriers) => unwritten.extend(carriers.iter().cloned()),
                None => *unwritten = self.everybody(drop).await?,
            }
            for carrier in unwritten.clone() {
                let list = self.store.drop_keys(&carrier).await?;
                let (keys, whose) = (drop.keys().clone(), carrier.clone());
                let written = tokio::task::spawn_blocking(move || keys.write(&whose, &list)).await;
                match written.unwrap_or_else(|why| Err(std::io::Error::other(why))) {
                    Ok(_) => {
                        unwritten.remove(&carrier);
                    }
                    Err(why) => {
                        tracing::warn!(%carrier, %why, "a carrier's keys could not be written to the drop folder; trying again");
                    }
                }
            }
            Ok(())
        })
    }
}
