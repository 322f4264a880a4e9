//! Rotating the master key: everything that is sealed is sealed anew, and nothing is ever sealed with a key that is not
//! in the file.
//!
//! | step | `master.key` before it | after it |
//! | --- | --- | --- |
//! | prepare | old | old, and new as `next`: opens, does not seal |
//! | seal | old, `next` new | new, then old; then every secret is sealed with the new one |
//! | finish | new, old | new alone, when no secret is left that another key sealed |
//!
//! Without other nodes the three are one. Each step writes the file durably before it relies on it, and does nothing that
//! a repeat would not: killed at any moment, it is run again. With nodes that run, the file is copied to each after each
//! step, and the next step begins only when every node has told the database that it knows the key.

use std::time::Duration;

use crate::clock::{self, Clock};
use crate::event::NodeId;
use crate::secrets::{KeyFile, KeyFileError, KeyList, MasterKey, SecretsError};
use crate::store::Store;
use crate::store::error::StoreError;
use crate::store::sealed::{NodeKeys, PLACES, Sealed};

/// Secrets that are sealed anew in one transaction.
pub const BATCH: u32 = 64;
/// How often everything is looked through before a rotation gives up because secrets keep coming that another key sealed.
const PASSES: usize = 10;

/// How far to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stage {
    /// All the way: no other node may run.
    All,
    /// The new key is made, and opens.
    Prepare,
    /// The new key seals; everything is sealed anew.
    Seal,
    /// The old keys are dropped.
    Finish,
}

/// Why a rotation stopped. Nothing is lost then: what is to be done is in the text, and the same command goes on.
#[derive(Debug, thiserror::Error)]
pub enum RotateError {
    /// There is no key to rotate.
    #[error(
        "there is no master key in {path}: start the host once, which makes one, or put back the key that sealed the secrets"
    )]
    NoKey {
        /// The file.
        path: String,
    },
    /// The file.
    #[error(transparent)]
    File(#[from] KeyFileError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A secret that none of the keys opens. Nothing was changed.
    #[error(
        "nothing was rotated: {why}. Put the key that sealed it into {path} on a line of its own, or write the {what} anew \
         over the API"
    )]
    Unopened {
        /// What kind of thing it belongs to.
        what: &'static str,
        /// The file.
        path: String,
        /// Why it does not open.
        why: SecretsError,
    },
    /// Other nodes run.
    #[error(
        "the nodes {} run on this database: stop them, or rotate in stages (`hookyard key rotate --stage prepare`)",
        names(.nodes)
    )]
    NodesRun {
        /// Which.
        nodes: Vec<NodeId>,
    },
    /// Nodes do not have a key, or do not seal with it, that the next step relies on.
    #[error(
        "the nodes {} do not {verb} the master key {key} yet: copy {path} over the `master.key` of each (they read it \
         within {} s), and run this again",
        names(.nodes), WATCH.as_secs()
    )]
    NodesBehind {
        /// Which.
        nodes: Vec<NodeId>,
        /// `know` or `seal with`.
        verb: &'static str,
        /// The key's id.
        key: String,
        /// The file to copy.
        path: String,
    },
    /// A step was asked for whose turn it is not.
    #[error("{why}")]
    Turn {
        /// What comes first.
        why: &'static str,
    },
    /// Something goes on sealing with another key.
    #[error(
        "after {PASSES} passes there are still new secrets that another key sealed: a node with an older `master.key` \
         writes to this database; copy {path} to it and run this again"
    )]
    Restless {
        /// The file to copy.
        path: String,
    },
}

/// How often a running host looks whether its `master.key` has changed.
pub const WATCH: Duration = Duration::from_secs(1);

fn names(nodes: &[NodeId]) -> String {
    nodes.iter().map(NodeId::as_str).collect::<Vec<_>>().join(", ")
}

/// What was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rotated {
    /// The id of the new key.
    pub key: String,
    /// How many secrets were sealed anew.
    pub resealed: u64,
    /// Whether the file holds the new key alone.
    pub finished: bool,
}

/// A rotation under way.
#[derive(Debug)]
struct Rotation<'a> {
    store: &'a Store,
    file: &'a KeyFile,
    clock: &'a Clock,
    lease: Duration,
    list: KeyList,
}

/// Rotates the key in `file`, or goes on with a rotation that was broken off. `told` hears how many secrets have been
/// sealed anew, after each batch. `lease` is that of this process's row among the nodes.
///
/// # Errors
/// What stopped it, and what to do.
pub async fn rotate(
    store: &Store,
    file: &KeyFile,
    stage: Stage,
    clock: &Clock,
    lease: Duration,
    mut told: impl FnMut(u64),
) -> Result<Rotated, RotateError> {
    // Held until the end: two rotations of one file would undo each other.
    let _lock = file.lock()?;
    let path = file.path().display().to_string();
    let list = file.read()?.ok_or(RotateError::NoKey { path })?;
    let mut rotation = Rotation { store, file, clock, lease, list };
    let resealed = match stage {
        Stage::All => rotation.all(&mut told).await?,
        Stage::Prepare => rotation.prepare().await?,
        Stage::Seal => rotation.seal(&mut told).await?,
        Stage::Finish => rotation.finish(&mut told).await?,
    };
    let list = rotation.list;
    let finished = list.next.is_none() && list.older.is_empty();
    Ok(Rotated { key: list.next.unwrap_or(list.seals).id(), resealed, finished })
}

impl Rotation<'_> {
    async fn all(&mut self, told: &mut impl FnMut(u64)) -> Result<u64, RotateError> {
        let nodes = self.store.nodes_alive(self.clock.now()).await?;
        if !nodes.is_empty() {
            return Err(RotateError::NodesRun { nodes: nodes.into_iter().map(|n| n.node).collect() });
        }
        let under_way = self.list.next.is_some() || !self.list.older.is_empty();
        let list = if under_way { self.list.clone() } else { self.with_new() };
        self.check(&list).await?;
        self.keep(list.promoted()).await?;
        let resealed = self.reseal(PASSES, told).await?;
        self.drop_older().await?;
        Ok(resealed)
    }

    async fn prepare(&mut self) -> Result<u64, RotateError> {
        if !self.list.older.is_empty() {
            let why =
                "a rotation is under way that the new key seals in already: end it with `--stage finish`";
            return Err(RotateError::Turn { why });
        }
        if self.list.next.is_none() {
            let list = self.with_new();
            self.check(&list).await?;
            self.keep(list).await?;
        }
        Ok(0)
    }

    async fn seal(&mut self, told: &mut impl FnMut(u64)) -> Result<u64, RotateError> {
        if self.list.next.is_none() && self.list.older.is_empty() {
            let why = "there is no new key to seal with: begin with `--stage prepare`";
            return Err(RotateError::Turn { why });
        }
        let list = self.list.clone().promoted();
        let new = list.seals.id();
        self.nodes("know", &new, |node| node.keys.contains(&new)).await?;
        self.check(&list).await?;
        self.keep(list).await?;
        // Nodes that have not read the file go on sealing with the old key until they have; `finish` sees to those.
        self.reseal(1, told).await
    }

    async fn finish(&mut self, told: &mut impl FnMut(u64)) -> Result<u64, RotateError> {
        if self.list.next.is_some() {
            let why = "the new key does not seal yet: run `--stage seal` first";
            return Err(RotateError::Turn { why });
        }
        if self.list.older.is_empty() {
            return Err(RotateError::Turn { why: "no rotation is under way: begin with `--stage prepare`" });
        }
        let new = self.list.seals.id();
        self.nodes("seal with", &new, |node| node.keys.first() == Some(&new)).await?;
        self.check(&self.list).await?;
        let resealed = self.reseal(PASSES, told).await?;
        self.drop_older().await?;
        Ok(resealed)
    }

    fn with_new(&self) -> KeyList {
        KeyList { next: Some(MasterKey::from_bytes(clock::random_bytes())), ..self.list.clone() }
    }

    fn path(&self) -> String {
        self.file.path().display().to_string()
    }

    /// Every node that runs must be as it has to be.
    async fn nodes(
        &self,
        verb: &'static str,
        key: &str,
        ready: impl Fn(&NodeKeys) -> bool,
    ) -> Result<(), RotateError> {
        let alive = self.store.nodes_alive(self.clock.now()).await?;
        let nodes: Vec<_> = alive.into_iter().filter(|node| !ready(node)).map(|node| node.node).collect();
        if nodes.is_empty() {
            return Ok(());
        }
        Err(RotateError::NodesBehind { nodes, verb, key: key.to_owned(), path: self.path() })
    }

    /// Whether everything opens that cannot be done without: found out before anything is changed.
    async fn check(&self, list: &KeyList) -> Result<(), RotateError> {
        let unopened =
            |one: &Sealed, why| RotateError::Unopened { what: one.place.what, path: self.path(), why };
        for place in PLACES.iter().filter(|place| !place.is_dispensable()) {
            let mut after = (String::new(), String::new());
            loop {
                let batch = self.store.sealed(place, &after, BATCH).await?;
                let Some(last) = batch.last() else { break };
                after = last.cursor().clone();
                for one in &batch {
                    list.open(&one.context, &one.bytes).map_err(|why| unopened(one, why))?;
                }
            }
        }
        Ok(())
    }

    /// Writes the keys, and tells the other nodes.
    async fn keep(&mut self, list: KeyList) -> Result<(), RotateError> {
        self.file.write(&list)?;
        self.store.tell_master_keys(list.ids()).await?;
        self.list = list;
        Ok(())
    }

    async fn drop_older(&mut self) -> Result<(), RotateError> {
        self.keep(KeyList::of(self.list.seals.clone())).await
    }

    /// Seals everything with the key that seals. With more than one pass it is done when a pass finds nothing left.
    async fn reseal(&self, passes: usize, told: &mut impl FnMut(u64)) -> Result<u64, RotateError> {
        let mut done = 0;
        for _ in 0..passes {
            let found = self.pass(&mut done, told).await?;
            if found == 0 || passes == 1 {
                return Ok(done);
            }
        }
        Err(RotateError::Restless { path: self.path() })
    }

    /// One pass over every place; gives how much it found that another key had sealed.
    async fn pass(&self, done: &mut u64, told: &mut impl FnMut(u64)) -> Result<u64, RotateError> {
        let mut found = 0;
        for place in PLACES {
            let mut after = (String::new(), String::new());
            loop {
                let batch = self.store.sealed(place, &after, BATCH).await?;
                let Some(last) = batch.last() else { break };
                after = last.cursor().clone();
                let mut changes = Vec::new();
                for one in batch.into_iter().filter(|one| !self.list.seals.has_sealed(&one.bytes)) {
                    let new = match self.list.open(&one.context, &one.bytes) {
                        Ok(plain) => Some(self.list.seal(&one.context, &plain)),
                        Err(_) if one.place.is_dispensable() => None,
                        Err(why) => {
                            return Err(RotateError::Unopened {
                                what: one.place.what,
                                path: self.path(),
                                why,
                            });
                        }
                    };
                    changes.push((one, new));
                }
                if changes.is_empty() {
                    continue;
                }
                found += changes.len() as u64;
                *done += self.store.reseal(changes).await?;
                // This process is a node while it writes.
                self.store.renew(self.clock.now(), self.lease).await?;
                told(*done);
            }
        }
        Ok(found)
    }
}
