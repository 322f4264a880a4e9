//! The public keys of the carriers' logins, as OpenSSH reads them: a file for each carrier in the form of `authorized_keys`
//! (sshd(8)), replaced in one step.

use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::PathBuf;

use crate::carrier::DropKey;
use crate::clock::random_bytes;
use crate::event::CarrierId;

/// The folder with the carriers' keys.
#[derive(Debug, Clone)]
pub struct KeyFolder(PathBuf);

impl KeyFolder {
    /// The folder; it is made when it is missing, for everybody to read and for the host alone to write.
    pub(super) fn open(path: PathBuf) -> io::Result<Self> {
        std::fs::DirBuilder::new().recursive(true).mode(0o755).create(&path)?;
        Ok(Self(path))
    }

    /// Makes a carrier's file hold these keys and no others; without any it is removed. Whether something was changed. May block.
    ///
    /// # Errors
    /// When the folder cannot be written; the file is then as it was.
    pub fn write(&self, carrier: &CarrierId, keys: &[DropKey]) -> io::Result<bool> {
        let path = self.0.join(carrier.as_str());
        // `restrict`: no terminal, no forwarding, whatever the server's configuration says.
        let text: String =
            keys.iter().map(|key| format!("restrict {} {}\n", key.public_key, key.name)).collect();
        let there = match std::fs::read_to_string(&path) {
            Ok(there) => Some(there),
            Err(why) if why.kind() == io::ErrorKind::NotFound => None,
            // What cannot be read as text is none of ours.
            Err(_) => Some(String::new()),
        };
        if there.as_deref().unwrap_or_default() == text && there.is_some() != keys.is_empty() {
            return Ok(false);
        }
        if keys.is_empty() {
            match std::fs::remove_file(&path) {
                Ok(()) => {}
                Err(why) if why.kind() == io::ErrorKind::NotFound => return Ok(false),
                Err(why) => return Err(why),
            }
        } else {
            // No carrier has a dot in its name.
            let new = self.0.join(format!(".{carrier}.{:016x}", u64::from_ne_bytes(random_bytes())));
            let write = || {
                let mut file =
                    std::fs::OpenOptions::new().write(true).create_new(true).mode(0o644).open(&new)?;
                file.write_all(text.as_bytes())?;
                file.sync_all()?;
                std::fs::rename(&new, &path)
            };
            write().inspect_err(|_| {
                // Another name is left over at worst.
                let _ = std::fs::remove_file(&new);
            })?;
        }
        std::fs::File::open(&self.0)?.sync_all()?;
        Ok(true)
    }

    /// The carriers that have a file. May block.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn carriers(&self) -> io::Result<Vec<CarrierId>> {
        let mut found = Vec::new();
        for entry in std::fs::read_dir(&self.0)? {
            found.extend(entry?.file_name().to_str().and_then(|name| name.parse().ok()));
        }
        Ok(found)
    }
}
