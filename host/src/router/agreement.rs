//! Agreement: this node follows what is set up, and an answer to a change waits until every other node follows as well.
//!
//! Changes have numbers (`store::agreement`); the directory and the keys are brought up to the latest by one hand, which
//! then says so in the node's row. Who made a change waits for the rows of the nodes that live: one that is killed is
//! waited for until its lease lapses, one that lives and does not come along is named. It must not know HTTP.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{Mutex, MutexGuard};

use super::directory::Directory;
use crate::clock::{Clock, Millis};
use crate::event::{CarrierId, NodeId};
use crate::store::agreement::Trouble;
use crate::store::error::StoreError;
use crate::store::{Store, Wake};

/// How often the other nodes' rows are looked at while somebody waits for them: a node that leaves tells nobody.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// What follows keys: those of the API, and those with which carriers fetch files.
pub trait Keys: Send + Sync + std::fmt::Debug {
    /// Reads the API's keys again.
    fn reload(&self) -> BoxFuture<'_, Result<(), StoreError>>;

    /// Writes the keys of these carriers' logins out again, or of all carriers; and those that could not be written before.
    fn write_logins<'a>(&'a self, carriers: Option<&'a [CarrierId]>)
    -> BoxFuture<'a, Result<(), StoreError>>;
}

/// The agreement. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Agreement(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    store: Store,
    directory: Directory,
    keys: Arc<dyn Keys>,
    clock: Clock,
    lease: Duration,
    /// The change that this node has applied. Whoever holds the lock applies more; the others find nothing left to do.
    applied: Mutex<i64>,
    /// The latest change, among those applied, that somebody may wait for.
    waited_for: AtomicI64,
    /// What its row says; -1 before it says anything.
    published: AtomicI64,
    /// The change for which nobody needs to be waited for any more.
    settled: AtomicI64,
}

/// What an agreement is between.
#[derive(Debug)]
pub(super) struct AgreementParts {
    pub(super) store: Store,
    pub(super) keys: Arc<dyn Keys>,
    pub(super) clock: Clock,
    /// How long a node's row lives without being renewed.
    pub(super) lease: Duration,
}

impl Agreement {
    /// Reads everything, the directory by `open`, and takes part: from then on the other nodes wait for this one.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub(super) async fn enter(
        parts: AgreementParts,
        open: impl Future<Output = Result<Directory, StoreError>>,
    ) -> Result<Self, StoreError> {
        let AgreementParts { store, keys, clock, lease } = parts;
        // The number first: what comes after it is read twice rather than never.
        let last = store.changes(0).await?.last;
        let directory = open.await?;
        keys.reload().await?;
        keys.write_logins(None).await?;
        let agreement = Self(Arc::new(Inner {
            store,
            directory,
            keys,
            clock,
            lease,
            applied: Mutex::new(last),
            waited_for: AtomicI64::new(0),
            published: AtomicI64::new(-1),
            settled: AtomicI64::new(0),
        }));
        agreement.publish(last).await?;
        // What was changed before the row said so was answered without this node; now it is waited for.
        agreement.follow().await?;
        Ok(agreement)
    }

    /// What carriers have set up, as far as this node has applied it.
    pub fn directory(&self) -> &Directory {
        &self.0.directory
    }

    /// Applies every change that was committed before this call, and tells the other nodes.
    ///
    /// # Errors
    /// When the store cannot be read; what could not be applied is applied by the next call.
    pub(super) async fn follow(&self) -> Result<(), StoreError> {
        let applied = self.apply(&mut self.0.applied.lock().await).await?;
        if self.0.waited_for.load(Ordering::Acquire) > self.0.published.load(Ordering::Acquire) {
            self.publish(applied).await?;
        }
        Ok(())
    }

    /// Reads everything again: what could not be used before may be usable now.
    ///
    /// # Errors
    /// When the store cannot be read; everything stays as it was.
    pub async fn refresh(&self) -> Result<(), StoreError> {
        // Held meanwhile, since only one hand may change the directory.
        let _applied = self.0.applied.lock().await;
        self.0.directory.reload_all().await
    }

    /// Tries again to load what could not be loaded; gives what now can, and whether anything is left.
    ///
    /// # Errors
    /// When the store cannot be read or written.
    pub(super) async fn mend(&self) -> Result<(Vec<Trouble>, bool), StoreError> {
        let applied = self.0.applied.lock().await;
        let mut gone = self.0.directory.troubles();
        if gone.is_empty() {
            return Ok((gone, false));
        }
        self.0.directory.mend().await?;
        let left = self.0.directory.troubles();
        gone.retain(|before| {
            !left
                .iter()
                .any(|t| (&t.owner, &t.plugin, t.version) == (&before.owner, &before.plugin, before.version))
        });
        if !gone.is_empty() {
            self.publish(*applied).await?;
        }
        Ok((gone, !left.is_empty()))
    }

    /// Takes part no more: called when this node starts no more work. What it finishes goes by what it knows.
    ///
    /// # Errors
    /// When the store cannot be written; the others then wait until its lease lapses.
    pub(super) async fn leave(&self) -> Result<(), StoreError> {
        self.0.store.publish(None, &[]).await
    }

    /// Applies what this node has itself changed, so that a carrier sees its own writes, then waits until every other
    /// node has, and gives those that live and have not after `patience` (never less than a lease).
    ///
    /// A node that is killed is waited for until its lease lapses, and is then none of them.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn settle(&self, patience: Duration) -> Result<Vec<NodeId>, StoreError> {
        let number = self.0.store.own_change();
        if number <= self.0.settled.load(Ordering::Acquire) {
            return Ok(Vec::new());
        }
        {
            let mut applied = self.0.applied.lock().await;
            if *applied < number {
                self.apply(&mut applied).await?;
            }
        }
        let behind = self.wait(number, patience.max(self.0.lease)).await?;
        self.0.settled.fetch_max(number, Ordering::AcqRel);
        Ok(behind)
    }

    async fn apply(&self, applied: &mut MutexGuard<'_, i64>) -> Result<i64, StoreError> {
        let changes = self.0.store.changes(**applied).await?;
        self.0.directory.apply(&changes).await?;
        if changes.keys {
            self.0.keys.reload().await?;
        }
        self.0.keys.write_logins(Some(&changes.carriers)).await?;
        **applied = changes.last;
        self.0.waited_for.fetch_max(changes.waited_for, Ordering::AcqRel);
        Ok(changes.last)
    }

    async fn publish(&self, applied: i64) -> Result<(), StoreError> {
        self.0.store.publish(Some(applied), &self.0.directory.troubles()).await?;
        self.0.published.fetch_max(applied, Ordering::AcqRel);
        Ok(())
    }

    async fn wait(&self, number: i64, patience: Duration) -> Result<Vec<NodeId>, StoreError> {
        let (store, clock) = (&self.0.store, &self.0.clock);
        // Registered before the first look, so that no word falls between.
        let mut wakes = store.wakes();
        let end = clock.now().plus(patience);
        loop {
            let now = clock.now();
            let behind = store.behind(number, now).await?;
            if behind.is_empty() {
                return Ok(Vec::new());
            }
            if now > end {
                let nodes: Vec<NodeId> = behind.into_iter().map(|b| b.node).collect();
                tracing::warn!(
                    ?nodes,
                    number,
                    waited_ms = patience.as_millis(),
                    "nodes that live have not applied a change; events there may still meet what was there before"
                );
                return Ok(nodes);
            }
            let lapse = behind.iter().map(|b| b.expires).min().unwrap_or(end).min(end);
            tokio::select! {
                () = applied(&mut wakes) => {}
                () = clock.sleep_until(Millis(lapse.0.saturating_add(1))) => {}
                () = tokio::time::sleep(LOOK_AGAIN) => {}
            }
        }
    }
}

/// Waits until a node says that it has applied something.
async fn applied(wakes: &mut Receiver<Wake>) {
    loop {
        match wakes.recv().await {
            Ok(Wake::Applied) | Err(RecvError::Lagged(_) | RecvError::Closed) => return,
            Ok(_) => {}
        }
    }
}
