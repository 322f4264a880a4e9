#![doc = include_str!("README.md")]

mod fault;
mod folder;
mod keys;
mod place;
pub mod target;
mod usage;
mod walk;

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hookyard_sdk::template::{LEVELS, PATH_BYTES, with_extension};
use serde_json::json;

pub use self::fault::DropError;
use self::folder::Folder;
pub use self::keys::KeyFolder;
use self::place::{Order, Placed, place};
use self::target::DropTarget;
use self::usage::Counter;
pub use self::usage::{Share, Usage};
use super::content::{Contents, File};
use super::sender::Tried;
use super::target::Target;
use crate::carrier::DropFile;
use crate::carrier::path::check_path;
use crate::clock::Millis;
use crate::event::CarrierId;
use crate::pgp::{EXTENSION, Encryption};
use crate::retry::Outcome;
use crate::store::work::{HeldDelivery, Message};

/// Where the drop folder is, and how much may be in it.
#[derive(Debug, Clone)]
pub struct DropSettings {
    /// The folder with a folder for each carrier.
    pub folder: PathBuf,
    /// The folder with a file for each carrier, of the public keys that its login may use.
    pub keys: PathBuf,
    /// The most that one carrier may have there.
    pub share: Share,
    /// How long a file stays.
    pub keep: Duration,
}

/// The drop folder of this host. Cheap to clone.
#[derive(Debug, Clone)]
pub struct DropFolder(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    settings: DropSettings,
    keys: KeyFolder,
    counters: Mutex<HashMap<CarrierId, Counter>>,
}

impl DropFolder {
    /// The drop folder; it is made when it is missing.
    ///
    /// # Errors
    /// When it cannot be made, or its file system cannot do what is needed.
    pub fn open(settings: DropSettings) -> Result<Self, DropError> {
        std::fs::create_dir_all(&settings.folder)?;
        let keys = KeyFolder::open(settings.keys.clone())?;
        Ok(Self(Arc::new(Inner { settings, keys, counters: Mutex::default() })))
    }

    /// The public keys of the carriers' logins.
    pub fn keys(&self) -> &KeyFolder {
        &self.0.keys
    }

    fn counter(&self, carrier: &CarrierId) -> Counter {
        let mut counters = self.0.counters.lock().unwrap_or_else(PoisonError::into_inner);
        counters.entry(carrier.clone()).or_default().clone()
    }

    /// Runs what may block with a carrier's top folder, when it is there.
    async fn with_top<T: Send + 'static>(
        &self,
        carrier: &CarrierId,
        run: impl FnOnce(&Folder, &Counter) -> io::Result<T> + Send + 'static,
    ) -> Result<Option<T>, DropError> {
        let (this, carrier) = (self.clone(), carrier.clone());
        let task = move || -> Result<Option<T>, DropError> {
            let Some(top) = Folder::existing(&this.0.settings.folder, carrier.as_str())? else {
                return Ok(None);
            };
            Ok(Some(run(&top, &this.counter(&carrier))?))
        };
        tokio::task::spawn_blocking(task).await.map_err(io::Error::other)?
    }

    /// A page of a carrier's files by path: at most `limit` that come after `after`.
    ///
    /// # Errors
    /// When they cannot be read.
    pub async fn list(
        &self,
        carrier: &CarrierId,
        after: Option<String>,
        limit: usize,
    ) -> Result<Vec<DropFile>, DropError> {
        let found = self.with_top(carrier, move |top, _| walk::list(top, after.as_deref(), limit)).await?;
        Ok(found.unwrap_or_default())
    }

    /// How much a carrier has there, as far as this host knows.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn usage(&self, carrier: &CarrierId) -> Result<Usage, DropError> {
        let found = self.with_top(carrier, |top, counter| match counter.known() {
            Some(usage) => Ok(usage),
            None => {
                let usage = walk::usage(top)?;
                counter.found(usage);
                Ok(usage)
            }
        });
        Ok(found.await?.unwrap_or_default())
    }

    /// Deletes a file of a carrier's; whether there was one.
    ///
    /// # Errors
    /// When the path is none, or the file cannot be deleted.
    pub async fn delete(&self, carrier: &CarrierId, path: &str) -> Result<bool, DropError> {
        let path = checked(path.to_owned())?;
        let removed = self.with_top(carrier, move |top, counter| {
            let bytes = walk::remove(top, &path)?;
            bytes.into_iter().for_each(|bytes| counter.removed(bytes));
            Ok(bytes.is_some())
        });
        Ok(removed.await?.unwrap_or(false))
    }

    /// Deletes files that have been there for long enough, in batches, and what was left behind; gives how many files.
    ///
    /// # Errors
    /// When the carriers cannot be listed. A carrier whose folder cannot be read is told in the log and passed over.
    pub async fn clear_up(&self, now: Millis) -> Result<usize, DropError> {
        let keep = i64::try_from(self.0.settings.keep.as_millis()).unwrap_or(i64::MAX);
        let before = Millis(now.0.saturating_sub(keep));
        let mut files = 0;
        for carrier in self.carriers().await? {
            loop {
                let cleared = self.with_top(&carrier, move |top, counter| {
                    let cleared = walk::clear_old(top, before)?;
                    if !cleared.more {
                        walk::clear_left_behind(top, now)?;
                        counter.found(walk::usage(top)?);
                    }
                    Ok(cleared)
                });
                match cleared.await {
                    Ok(Some(cleared)) => {
                        files += cleared.files;
                        if cleared.more {
                            continue;
                        }
                    }
                    Ok(None) => {}
                    Err(why) => {
                        tracing::warn!(%carrier, %why, "a carrier's drop folder could not be cleared up");
                    }
                }
                break;
            }
        }
        Ok(files)
    }

    /// The carriers that have a folder here.
    async fn carriers(&self) -> Result<Vec<CarrierId>, DropError> {
        let folder = self.0.settings.folder.clone();
        let list = move || -> io::Result<Vec<CarrierId>> {
            let mut found = Vec::new();
            for entry in std::fs::read_dir(folder)? {
                let name = entry?.file_name();
                found.extend(name.to_str().and_then(|name| name.parse().ok()));
            }
            Ok(found)
        };
        Ok(tokio::task::spawn_blocking(list).await.map_err(io::Error::other)??)
    }

    /// Makes one attempt at a delivery.
    pub(super) async fn attempt(
        &self,
        target: &Target,
        drop: &DropTarget,
        d: &HeldDelivery,
        contents: &Contents,
        timeout: Duration,
        now: Millis,
    ) -> Tried {
        let content = match contents.body(d).await {
            Ok(content) => content,
            Err(missing) => return missing.tried("{}".to_owned()),
        };
        let encryption = match &target.pgp {
            keys if keys.is_empty() => None,
            keys => match keys.at(now) {
                Ok(encryption) => Some(encryption),
                Err(why) => return Tried::unavailable(why.to_string().into()),
            },
        };
        let path = match path(drop, d, &content, encryption.as_ref()) {
            Ok(path) => path,
            Err(why) => return Tried::unavailable(why.to_string().into()),
        };
        let request = json!({
            "folder": target.carrier.as_str(),
            "path": path,
            "bytes": content.len(),
            "encrypted_to": encryption.iter().flat_map(Encryption::fingerprints).collect::<Vec<_>>(),
        });
        let time = timeout + content.time();
        let given_up = Arc::new(AtomicBool::new(false));
        let order = Order {
            delivery: d.id.clone(),
            path,
            existing: drop.existing,
            mode: drop.mode,
            content,
            encryption,
            now,
            given_up: given_up.clone(),
        };
        let placed = match tokio::time::timeout(time, self.place(&target.carrier, order)).await {
            Ok(placed) => placed,
            Err(_) => {
                given_up.store(true, Ordering::Release);
                Err(DropError::Late)
            }
        };
        tried(request.to_string(), placed)
    }

    async fn place(&self, carrier: &CarrierId, order: Order) -> Result<Placed, DropError> {
        let (this, carrier) = (self.clone(), carrier.clone());
        let task = move || -> Result<Placed, DropError> {
            let settings = &this.0.settings;
            let top = Folder::top(&settings.folder, carrier.as_str())?;
            let counter = this.counter(&carrier);
            if counter.known().is_none() {
                counter.found(walk::usage(&top)?);
            }
            place(&top, &order, &counter, settings.share)
        };
        tokio::task::spawn_blocking(task).await.map_err(io::Error::other)?
    }
}

/// The path of a delivery's file below the carrier's top.
fn path(
    drop: &DropTarget,
    d: &HeldDelivery,
    content: &File,
    encryption: Option<&Encryption>,
) -> Result<String, DropError> {
    let name = match &d.message {
        Message::Sftp { path } => path.clone(),
        _ => drop.naming.path(d, content),
    };
    let name = if encryption.is_some() { with_extension(&name, EXTENSION) } else { name };
    checked(if drop.folder.is_empty() { name } else { format!("{}/{name}", drop.folder) })
}

/// A path that stays below the top, and is none of the host's own.
fn checked(path: String) -> Result<String, DropError> {
    check_path(&path, PATH_BYTES, LEVELS)?;
    match path.split('/').find(|part| part.starts_with('.')) {
        Some(part) => Err(DropError::Hidden { part: part.chars().take(80).collect() }),
        None => Ok(path),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn tried(request: String, placed: Result<Placed, DropError>) -> Tried {
    let (outcome, error, answer) = match placed {
        Ok(Placed { path, bytes, sha256 }) => {
            let mut answer = json!({"path": path, "bytes": bytes});
            match sha256 {
                Some(sha256) => answer["sha256"] = hex(&sha256).into(),
                None => answer["already_there"] = true.into(),
            }
            (Outcome::Delivered, None, Some(answer.to_string().into()))
        }
        Err(why) => (why.outcome(), Some(why.to_string()), None),
    };
    Tried { outcome, status: None, error, request, response_headers: None, response_body: answer }
}

#[cfg(test)]
mod tests;
