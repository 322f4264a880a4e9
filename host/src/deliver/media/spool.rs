//! The spool: files that were fetched and are not sent yet, in a folder of the data folder, so that a restart has them.
//!
//! For each file, below a folder of its carrier's name: `DELIVERY.SLOT.json`, a [`Note`] of what it is, which stands from the
//! moment when its fetch is asked for; `.part` while it is fetched; `.bin` when it is complete, which the note then says. Whatever
//! does not belong together is removed at the start. It must not know HTTP.

use std::collections::HashMap;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use crate::clock::Millis;
use crate::event::{CarrierId, DeliveryId};

/// How many files may be in the spool at once.
pub(super) const MAX_FILES: usize = 100_000;

/// Which file: of which delivery, and the attachment's place (0 for a body).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) carrier: CarrierId,
    pub(super) delivery: DeliveryId,
    pub(super) slot: usize,
}

/// What is known of a file, kept beside it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Note {
    /// Where it comes from.
    pub(super) url: String,
    /// Since when the link lives.
    pub(super) since: Millis,
    /// What came; absent until all of it is there.
    pub(super) fetched: Option<Fetched>,
}

/// What was fetched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Fetched {
    pub(super) len: u64,
    pub(super) sha256: [u8; 32],
    pub(super) content_type: String,
    /// Whether a scanner has found nothing in it.
    pub(super) scanned: bool,
}

/// A limit of the spool that is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the spool has no room for it: the limit `media.{name}` is {max}")]
pub(super) struct Full {
    pub(super) name: &'static str,
    pub(super) max: u64,
}

/// The folder and how much is in it. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Spool(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    folder: PathBuf,
    limit: u64,
    carrier_limit: u64,
    used: Mutex<Used>,
}

#[derive(Debug, Default)]
struct Used {
    files: usize,
    bytes: u64,
    carriers: HashMap<CarrierId, u64>,
}

/// Room in the spool for one file; given back when it is dropped.
#[derive(Debug)]
pub(super) struct Space {
    spool: Arc<Inner>,
    carrier: CarrierId,
    bytes: u64,
}

/// A file that the last start left.
#[derive(Debug)]
pub(super) struct Left {
    pub(super) key: Key,
    pub(super) note: Note,
    /// The room that it takes, when it is complete.
    pub(super) space: Option<Space>,
}

impl Spool {
    /// Opens the folder, makes it when it is missing, and removes what does not belong together.
    pub(super) fn open(
        folder: PathBuf,
        limit: u64,
        carrier_limit: u64,
    ) -> Result<(Self, Vec<Left>), std::io::Error> {
        make_folder(&folder)?;
        let spool = Self(Arc::new(Inner { folder, limit, carrier_limit, used: Mutex::default() }));
        let mut left = Vec::new();
        for carrier in fs::read_dir(&spool.0.folder)? {
            let carrier = carrier?.path();
            if let Some(id) = text_of(&carrier).and_then(|name| name.parse::<CarrierId>().ok()) {
                spool.look_into(&carrier, &id, &mut left)?;
            }
        }
        Ok((spool, left))
    }

    fn look_into(
        &self,
        folder: &Path,
        carrier: &CarrierId,
        left: &mut Vec<Left>,
    ) -> Result<(), std::io::Error> {
        let mut files: HashMap<Key, Vec<PathBuf>> = HashMap::new();
        for file in fs::read_dir(folder)? {
            let path = file?.path();
            match text_of(&path).and_then(|name| key_of(carrier, name)) {
                Some(key) => files.entry(key).or_default().push(path),
                None => remove(&path)?,
            }
        }
        for (key, paths) in files {
            let note = fs::read(self.path(&key, "json")).ok();
            let note = note.and_then(|bytes| serde_json::from_slice::<Note>(&bytes).ok());
            let Some(mut note) = note else {
                paths.iter().try_for_each(|path| remove(path))?;
                continue;
            };
            remove(&self.path(&key, "part"))?;
            let file = self.path(&key, "bin");
            let len = fs::metadata(&file).ok().map(|meta| meta.len());
            if note.fetched.as_ref().is_none_or(|fetched| len != Some(fetched.len)) {
                note.fetched = None;
                remove(&file)?;
            }
            let space = note.fetched.as_ref().map(|fetched| self.take(carrier, fetched.len));
            left.push(Left { key, note, space });
        }
        Ok(())
    }

    /// The file of a key with this ending.
    pub(super) fn path(&self, key: &Key, ending: &str) -> PathBuf {
        let name = format!("{}.{}.{ending}", key.delivery.as_str(), key.slot);
        self.0.folder.join(key.carrier.as_str()).join(name)
    }

    /// Writes a note, as a whole or not at all.
    pub(super) async fn note(&self, key: &Key, note: &Note) -> Result<(), std::io::Error> {
        let (path, new) = (self.path(key, "json"), self.path(key, "new"));
        let bytes = serde_json::to_vec(note)?;
        blocking(move || {
            if let Some(folder) = path.parent() {
                make_folder(folder)?;
            }
            let mut file = private().write(true).create(true).truncate(true).open(&new)?;
            file.write_all(&bytes)?;
            fs::rename(&new, &path)
        })
        .await
    }

    /// Opens a file of its own for what is being fetched.
    pub(super) async fn part(&self, key: &Key) -> Result<tokio::fs::File, std::io::Error> {
        let path = self.path(key, "part");
        blocking(move || {
            if let Some(folder) = path.parent() {
                make_folder(folder)?;
            }
            private().write(true).create(true).truncate(true).open(&path)
        })
        .await
        .map(tokio::fs::File::from_std)
    }

    /// Gives what has been fetched its final name.
    pub(super) async fn complete(&self, key: &Key) -> Result<PathBuf, std::io::Error> {
        let path = self.path(key, "bin");
        tokio::fs::rename(self.path(key, "part"), &path).await?;
        Ok(path)
    }

    /// Removes what there is of a file, or only what of it is not complete.
    pub(super) fn discard(&self, key: &Key, endings: &[&str]) {
        for ending in endings {
            if let Err(why) = remove(&self.path(key, ending)) {
                tracing::warn!(carrier = %key.carrier, delivery = %key.delivery, %why,
                    "a file could not be removed from the spool; the next start tries again");
            }
        }
    }

    /// Room for `bytes` of a carrier's.
    pub(super) fn reserve(&self, carrier: &CarrierId, bytes: u64) -> Result<Space, Full> {
        {
            let mut used = self.0.used();
            if used.files >= MAX_FILES {
                return Err(Full { name: "spool_files", max: MAX_FILES as u64 });
            }
            self.0.add(&mut used, carrier, bytes)?;
            used.files += 1;
        }
        Ok(Space { spool: self.0.clone(), carrier: carrier.clone(), bytes })
    }

    /// The same for what is there already, whatever the limits are now.
    fn take(&self, carrier: &CarrierId, bytes: u64) -> Space {
        let mut used = self.0.used();
        used.files += 1;
        used.bytes += bytes;
        *used.carriers.entry(carrier.clone()).or_default() += bytes;
        Space { spool: self.0.clone(), carrier: carrier.clone(), bytes }
    }

    /// Bytes that are taken.
    pub(super) fn bytes(&self) -> u64 {
        self.0.used().bytes
    }
}

impl Inner {
    fn used(&self) -> MutexGuard<'_, Used> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, used: &mut Used, carrier: &CarrierId, bytes: u64) -> Result<(), Full> {
        let of_carrier = used.carriers.get(carrier).copied().unwrap_or(0);
        if of_carrier.saturating_add(bytes) > self.carrier_limit {
            return Err(Full { name: "carrier_spool_bytes", max: self.carrier_limit });
        }
        if used.bytes.saturating_add(bytes) > self.limit {
            return Err(Full { name: "spool_bytes", max: self.limit });
        }
        used.bytes += bytes;
        *used.carriers.entry(carrier.clone()).or_default() += bytes;
        Ok(())
    }

    fn give_back(&self, used: &mut Used, carrier: &CarrierId, bytes: u64) {
        used.bytes = used.bytes.saturating_sub(bytes);
        if let Some(of_carrier) = used.carriers.get_mut(carrier) {
            *of_carrier = of_carrier.saturating_sub(bytes);
            if *of_carrier == 0 {
                used.carriers.remove(carrier);
            }
        }
    }
}

impl Space {
    /// Makes the room as large as this: more when there is some, or less.
    pub(super) fn resize(&mut self, bytes: u64) -> Result<(), Full> {
        let mut used = self.spool.used();
        if bytes > self.bytes {
            self.spool.add(&mut used, &self.carrier, bytes - self.bytes)?;
        } else {
            self.spool.give_back(&mut used, &self.carrier, self.bytes - bytes);
        }
        self.bytes = bytes;
        Ok(())
    }

    #[cfg(test)]
    fn bytes(&self) -> u64 {
        self.bytes
    }
}

impl Drop for Space {
    fn drop(&mut self) {
        let mut used = self.spool.used();
        used.files = used.files.saturating_sub(1);
        self.spool.give_back(&mut used, &self.carrier, self.bytes);
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> std::io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(std::io::Error::other)?
}

fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.mode(0o600);
    options
}

fn make_folder(path: &Path) -> std::io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

fn remove(path: &Path) -> std::io::Result<()> {
    match fs::remove_file(path) {
        Err(why) if why.kind() != ErrorKind::NotFound => Err(why),
        _ => Ok(()),
    }
}

fn text_of(path: &Path) -> Option<&str> {
    path.file_name()?.to_str()
}

/// Which file a name belongs to.
fn key_of(carrier: &CarrierId, name: &str) -> Option<Key> {
    let (front, ending) = name.rsplit_once('.')?;
    let (delivery, slot) = front.rsplit_once('.')?;
    let known = matches!(ending, "json" | "part" | "bin");
    Some(Key {
        carrier: carrier.clone(),
        delivery: delivery.parse().ok().filter(|_| known)?,
        slot: slot.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn key(slot: usize) -> Key {
        let delivery = crate::event::time_ordered(Millis(1), [7; 10]).into();
        Key { carrier: "acme".parse().unwrap(), delivery, slot }
    }

    fn note(len: Option<u64>) -> Note {
        let fetched = len.map(|len| Fetched {
            len,
            sha256: [9; 32],
            content_type: "image/png".to_owned(),
            scanned: false,
        });
        Note { url: "https://a.example/x".to_owned(), since: Millis(5), fetched }
    }

    #[tokio::test]
    async fn a_start_keeps_what_belongs_together_and_removes_the_rest() {
        let folder = tempfile::tempdir().unwrap();
        let open = || Spool::open(folder.path().join("spool"), 1_000, 600).unwrap();
        let (spool, left) = open();
        assert!(left.is_empty());
        // 0 is complete, 1 was being fetched, 2 is shorter than it should be, 3 has lost its note, 4 lies about.
        for (slot, len) in [(0, Some(3)), (1, None), (2, Some(9))] {
            spool.note(&key(slot), &note(len)).await.unwrap();
        }
        drop(spool.part(&key(1)).await.unwrap());
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        let files = [spool.path(&key(0), "json"), spool.path(&key(1), "part")];
        assert_eq!(files.map(|path| mode(&path)), [0o600; 2], "nobody else reads them");
        assert_eq!(mode(&spool.0.folder.join("acme")), 0o700);
        for (slot, ending) in [(0, "bin"), (0, "part"), (1, "part"), (1, "bin"), (2, "bin"), (3, "bin")] {
            fs::write(spool.path(&key(slot), ending), b"abc").unwrap();
        }
        fs::write(spool.0.folder.join("acme/stray"), b"abc").unwrap();

        let (spool, mut left) = open();
        left.sort_by_key(|one| one.key.slot);
        let kept: Vec<_> = left.iter().map(|one| (one.key.slot, one.note.clone())).collect();
        assert_eq!(kept, [(0, note(Some(3))), (1, note(None)), (2, note(None))]);
        assert_eq!(spool.bytes(), 3);
        let mut names: Vec<_> = fs::read_dir(spool.0.folder.join("acme"))
            .unwrap()
            .map(|one| one.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        let id = key(0).delivery;
        assert_eq!(
            names,
            [format!("{id}.0.bin"), format!("{id}.0.json"), format!("{id}.1.json"), format!("{id}.2.json")]
        );
        drop(left);
        assert_eq!(spool.bytes(), 0);
    }

    #[test]
    fn room_is_bounded_for_one_carrier_and_for_all() {
        let folder = tempfile::tempdir().unwrap();
        let (spool, _) = Spool::open(folder.path().to_owned(), 1_000, 600).unwrap();
        let [acme, zeta] = ["acme", "zeta"].map(|id| id.parse::<CarrierId>().unwrap());
        let mut one = spool.reserve(&acme, 500).unwrap();
        assert_eq!(spool.reserve(&acme, 101).unwrap_err().name, "carrier_spool_bytes");
        assert_eq!(spool.reserve(&zeta, 501).unwrap_err().name, "spool_bytes");
        let two = spool.reserve(&zeta, 500).unwrap();
        assert_eq!(one.resize(501).unwrap_err().name, "spool_bytes");
        one.resize(100).unwrap();
        assert_eq!((one.bytes(), spool.bytes()), (100, 600));
        one.resize(500).unwrap();
        drop((one, two));
        assert_eq!(spool.bytes(), 0);
        assert!(spool.0.used().carriers.is_empty());
    }
}
