//! One carrier's part of the drop folder: folders are opened one by one from the top, and a symbolic link is never followed.
//!
//! Every step holds the folder that it stands in, so that nothing that is moved or linked meanwhile leads elsewhere. For
//! threads that may block. It must not know deliveries.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

/// Below the carrier's folder: what its login sees and cannot change. The folder itself belongs to the superuser, as OpenSSH wants
/// the root of a session.
pub(super) const FILES: &str = "files";
/// Where files grow before they have their name. Only the host may look inside.
pub(super) const INCOMING: &str = ".incoming";

/// The permissions of folders: carriers read and enter.
const FOLDER_MODE: Mode = Mode::from_raw_mode(0o755);
/// Those of the folder of unfinished files.
const PRIVATE_MODE: Mode = Mode::from_raw_mode(0o700);
const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// A folder that is held open.
#[derive(Debug)]
pub(super) struct Folder(OwnedFd);

impl Folder {
    /// The top of a carrier's files; made when it is missing, with the drop folder itself.
    pub(super) fn top(drop: &Path, carrier: &str) -> io::Result<Self> {
        std::fs::create_dir_all(drop)?;
        Self(rustix::fs::openat(CWD, drop, FOLDER, Mode::empty())?).made(carrier)?.made(FILES)
    }

    /// The same, when it is there.
    pub(super) fn existing(drop: &Path, carrier: &str) -> io::Result<Option<Self>> {
        let open =
            || Self(rustix::fs::openat(CWD, drop, FOLDER, Mode::empty())?).inside(carrier)?.inside(FILES);
        match open() {
            Ok(folder) => Ok(Some(folder)),
            Err(why) if why.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(why) => Err(why),
        }
    }

    /// A folder in this one; made when it is missing.
    pub(super) fn made(&self, name: &str) -> io::Result<Self> {
        self.made_with(name, FOLDER_MODE)
    }

    /// The folder of unfinished files; made when it is missing.
    pub(super) fn incoming(&self) -> io::Result<Self> {
        self.made_with(INCOMING, PRIVATE_MODE)
    }

    fn made_with(&self, name: &str, mode: Mode) -> io::Result<Self> {
        match self.inside(name) {
            Err(why) if why.kind() == io::ErrorKind::NotFound => {}
            there => return there,
        }
        match rustix::fs::mkdirat(&self.0, name, mode) {
            Ok(()) => {
                let folder = self.inside(name)?;
                // The process's own mask may have taken from it.
                rustix::fs::fchmod(&folder.0, mode)?;
                Ok(folder)
            }
            // Another attempt was faster.
            Err(Errno::EXIST) => self.inside(name),
            Err(why) => Err(why.into()),
        }
    }

    /// A folder in this one.
    pub(super) fn inside(&self, name: &str) -> io::Result<Self> {
        Ok(Self(rustix::fs::openat(&self.0, name, FOLDER, Mode::empty())?))
    }

    /// A new file, for writing alone.
    pub(super) fn create(&self, name: &str) -> io::Result<std::fs::File> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(rustix::fs::openat(&self.0, name, flags, Mode::from_raw_mode(0o600))?.into())
    }

    /// A file, for reading, whatever it is.
    pub(super) fn open(&self, name: &str) -> io::Result<std::fs::File> {
        // A pipe must not make the thread wait.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        Ok(rustix::fs::openat(&self.0, name, flags, Mode::empty())?.into())
    }

    /// What stands under a name, itself and not where it leads.
    pub(super) fn look(&self, name: &str) -> io::Result<Option<Stat>> {
        match rustix::fs::statat(&self.0, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(stat)),
            Err(Errno::NOENT) => Ok(None),
            Err(why) => Err(why.into()),
        }
    }

    /// Gives a file of another folder a second name in this one, unless the name is taken: then false.
    pub(super) fn link(&self, from: &Folder, old: &str, new: &str) -> io::Result<bool> {
        match rustix::fs::linkat(&from.0, old, &self.0, new, AtFlags::empty()) {
            Ok(()) => Ok(true),
            Err(Errno::EXIST) => Ok(false),
            Err(why) => Err(why.into()),
        }
    }

    /// Moves a file of another folder here, in the place of what had the name.
    pub(super) fn take(&self, from: &Folder, old: &str, new: &str) -> io::Result<()> {
        Ok(rustix::fs::renameat(&from.0, old, &self.0, new)?)
    }

    /// Removes a file; whether there was one.
    pub(super) fn remove(&self, name: &str) -> io::Result<bool> {
        gone(rustix::fs::unlinkat(&self.0, name, AtFlags::empty()))
    }

    /// Removes a folder if nothing is in it; whether it was removed.
    pub(super) fn remove_empty(&self, name: &str) -> io::Result<bool> {
        match gone(rustix::fs::unlinkat(&self.0, name, AtFlags::REMOVEDIR)) {
            Err(why) if why.kind() == io::ErrorKind::DirectoryNotEmpty => Ok(false),
            done => done,
        }
    }

    /// Makes what was done to its names survive a power failure.
    pub(super) fn sync(&self) -> io::Result<()> {
        Ok(rustix::fs::fsync(&self.0)?)
    }

    /// Each entry that is a file or a folder, with a name that is text; what is gone again is passed over.
    pub(super) fn entries(&self, mut each: impl FnMut(&str, &Stat) -> io::Result<()>) -> io::Result<()> {
        for entry in rustix::fs::Dir::read_from(self.0.as_fd())? {
            let entry = entry?;
            let Ok(name) = entry.file_name().to_str() else { continue };
            if matches!(name, "." | "..") {
                continue;
            }
            if let Some(stat) = self.look(name)?
                && (is_file(&stat) || is_folder(&stat))
            {
                each(name, &stat)?;
            }
        }
        Ok(())
    }
}

fn gone(result: Result<(), Errno>) -> io::Result<bool> {
    match result {
        Ok(()) => Ok(true),
        Err(Errno::NOENT) => Ok(false),
        Err(why) => Err(why.into()),
    }
}

pub(super) fn is_file(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile
}

pub(super) fn is_folder(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::Directory
}

/// Its length in bytes.
pub(super) fn bytes(stat: &Stat) -> u64 {
    u64::try_from(stat.st_size).unwrap_or(0)
}
