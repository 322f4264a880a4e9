//! The file of the master keys: read as a whole, replaced as a whole, and durable before anybody relies on it.

use std::fs::{DirBuilder, File, Metadata, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::ring::{KeyList, KeyListError};

/// The longest file that is read, in bytes: the keys of a full list fit several times.
const MAX_BYTES: u64 = 4_096;

/// `master.key` in a data folder.
#[derive(Debug, Clone)]
pub struct KeyFile {
    path: PathBuf,
}

/// Keeps other processes from changing the file until it is dropped.
#[derive(Debug)]
pub struct KeyFileLock(#[expect(dead_code, reason = "it is held, not used")] File);

/// Tells one state of the file from another without reading it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stamp {
    modified: (i64, i64),
    length: u64,
    inode: u64,
}

/// Why the master keys could not be read or written. Never holds any part of a key.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// The system refused.
    #[error("{path}: {why}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        why: std::io::Error,
    },
    /// It is not a list of keys.
    #[error("the master key in {path} cannot be used: {why}")]
    Keys {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: KeyListError,
    },
    /// It is too long to be a list of keys.
    #[error("the master key in {path} cannot be used: the file has {length} bytes, the limit is {MAX_BYTES}")]
    Length {
        /// The file.
        path: PathBuf,
        /// Its length in bytes.
        length: u64,
    },
    /// Another process changes it.
    #[error("another process is changing {path}; wait for its end")]
    Busy {
        /// The file.
        path: PathBuf,
    },
}

impl KeyFile {
    /// The file of this data folder, whether it is there or not.
    pub fn in_folder(folder: &Path) -> Self {
        Self { path: folder.join("master.key") }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The keys; `None` when there is no file.
    ///
    /// # Errors
    /// The system refuses, or it is not a list of keys.
    pub fn read(&self) -> Result<Option<KeyList>, KeyFileError> {
        match self.look()? {
            None => Ok(None),
            Some(found) if found.len() > MAX_BYTES => {
                Err(KeyFileError::Length { path: self.path.clone(), length: found.len() })
            }
            Some(_) => {
                let text = std::fs::read_to_string(&self.path).map_err(|why| self.refused(why))?;
                let list = KeyList::parse(&text);
                list.map(Some).map_err(|why| KeyFileError::Keys { path: self.path.clone(), why })
            }
        }
    }

    /// Replaces the file, for its owner alone. When this returns, it stays so whatever happens to the machine; whoever
    /// reads it meanwhile finds the old list or the new one.
    ///
    /// # Errors
    /// The system refuses; the old file is there still.
    pub fn write(&self, list: &KeyList) -> Result<(), KeyFileError> {
        let new = self.beside("new");
        let write = || {
            let mut file =
                OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
            file.write_all(list.to_text().as_bytes())?;
            file.sync_all()?;
            std::fs::rename(&new, &self.path)?;
            // The name in the folder must last as the file does.
            File::open(self.folder())?.sync_all()
        };
        write().map_err(|why| self.refused(why))
    }

    /// Takes the right to change the file. Made with its folder when that is missing.
    ///
    /// # Errors
    /// [`KeyFileError::Busy`] when another process has it.
    pub fn lock(&self) -> Result<KeyFileLock, KeyFileError> {
        let open = || {
            DirBuilder::new().recursive(true).mode(0o700).create(self.folder())?;
            OpenOptions::new().create(true).truncate(false).write(true).open(self.beside("lock"))
        };
        let file = open().map_err(|why| self.refused(why))?;
        match file.try_lock() {
            Ok(()) => Ok(KeyFileLock(file)),
            Err(std::fs::TryLockError::WouldBlock) => Err(KeyFileError::Busy { path: self.path.clone() }),
            Err(std::fs::TryLockError::Error(why)) => Err(self.refused(why)),
        }
    }

    /// What tells this state of the file from the next; `None` when there is no file.
    ///
    /// # Errors
    /// The system refuses.
    pub fn stamp(&self) -> Result<Option<Stamp>, KeyFileError> {
        Ok(self.look()?.map(|found| Stamp {
            modified: (found.mtime(), found.mtime_nsec()),
            length: found.len(),
            inode: found.ino(),
        }))
    }

    fn look(&self) -> Result<Option<Metadata>, KeyFileError> {
        match std::fs::metadata(&self.path) {
            Ok(found) => Ok(Some(found)),
            Err(why) if why.kind() == ErrorKind::NotFound => Ok(None),
            Err(why) => Err(self.refused(why)),
        }
    }

    fn folder(&self) -> &Path {
        // The path was made by a `join`, so it has one.
        self.path.parent().unwrap_or(Path::new("."))
    }

    fn beside(&self, end: &str) -> PathBuf {
        self.path.with_extension(format!("key.{end}"))
    }

    fn refused(&self, why: std::io::Error) -> KeyFileError {
        KeyFileError::File { path: self.path.clone(), why }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::secrets::MasterKey;

    #[test]
    fn it_is_replaced_as_a_whole_and_for_its_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        let file = KeyFile::in_folder(&folder.path().join("inside"));
        assert!(file.read().unwrap().is_none() && file.stamp().unwrap().is_none());
        let lock = file.lock().unwrap();
        assert!(matches!(file.lock(), Err(KeyFileError::Busy { .. })));
        let one = KeyList::of(MasterKey::from_bytes([1; 32]));
        file.write(&one).unwrap();
        let first = file.stamp().unwrap();
        let two = KeyList { next: Some(MasterKey::from_bytes([2; 32])), ..one };
        file.write(&two).unwrap();
        assert_ne!(file.stamp().unwrap(), first);
        assert_eq!(file.read().unwrap().unwrap().ids(), two.ids());
        assert_eq!(std::fs::metadata(file.path()).unwrap().permissions().mode() & 0o777, 0o600);
        drop(lock);
        file.lock().unwrap();
    }

    #[test]
    fn what_is_no_list_of_keys_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = KeyFile::in_folder(folder.path());
        std::fs::write(file.path(), "not a key\n").unwrap();
        assert!(matches!(file.read(), Err(KeyFileError::Keys { .. })));
        std::fs::write(file.path(), vec![b'\n'; 5_000]).unwrap();
        assert!(matches!(file.read(), Err(KeyFileError::Length { length: 5_000, .. })));
    }
}
