//! The folder of compiled artifacts, keyed by the component's SHA-256 and the engine's compatibility hash.
//!
//! The host's own and no one else's: mode 0700, and each file carries its digest beside it. It must not know how
//! artifacts are made, only that whoever makes one writes it to the path that it is told.

use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use wasmtime::Engine;
use wasmtime::component::Component;

use crate::carrier::Sha256Hex;

/// The folder.
#[derive(Debug)]
pub(super) struct Artifacts {
    folder: PathBuf,
    compatibility: String,
    next: AtomicU64,
}

/// Why an artifact could not be used.
#[derive(Debug, thiserror::Error)]
pub enum ArtifactError {
    /// The folder or a file of it cannot be read or written.
    #[error("artifact {path:?}: {source}")]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The engine refuses it: it does not fit the pool.
    #[error("{0}")]
    Refused(String),
}

impl Artifacts {
    pub(super) fn open(folder: &Path, engine: &Engine) -> std::io::Result<Self> {
        std::fs::create_dir_all(folder)?;
        std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o700))?;
        let compatibility = super::engine::compatibility(engine);
        // What a killed compiler left behind, and what only another build could load.
        for entry in std::fs::read_dir(folder)? {
            let path = entry?.path();
            let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
            let useless = match path.extension().and_then(|extension| extension.to_str()) {
                Some("new") => true,
                Some("cwasm" | "sha256") => !stem.ends_with(&compatibility),
                _ => false,
            };
            if useless {
                std::fs::remove_file(path)?;
            }
        }
        Ok(Self { folder: folder.to_owned(), compatibility, next: AtomicU64::new(0) })
    }

    fn path(&self, sha256: &Sha256Hex) -> PathBuf {
        self.folder.join(format!("{sha256}-{}.cwasm", self.compatibility))
    }

    /// A name in the folder that no one else has.
    pub(super) fn fresh(&self) -> PathBuf {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        self.folder.join(format!("{}-{number}.new", std::process::id()))
    }

    /// Gives a file that was made at a [`fresh`](Self::fresh) name its place.
    pub(super) fn keep(&self, made: &Path, sha256: &Sha256Hex) -> Result<(), ArtifactError> {
        let path = self.path(sha256);
        let place = || -> std::io::Result<()> {
            let digest = Sha256Hex::of(&std::fs::read(made)?);
            let sum = self.fresh();
            let mut file = std::fs::File::options().write(true).create_new(true).mode(0o600).open(&sum)?;
            file.write_all(digest.as_str().as_bytes())?;
            file.sync_all()?;
            // The digest first: an artifact whose digest is another's is made anew, never run.
            std::fs::rename(sum, sum_of(&path))?;
            std::fs::rename(made, &path)
        };
        place().map_err(|source| ArtifactError::Io { path: path.clone(), source })
    }

    /// Removes what a compiler may have left at a fresh name.
    pub(super) fn discard(&self, made: &Path) {
        // It may never have been made; and if it cannot be removed now, the next start does it.
        let _ = std::fs::remove_file(made);
    }

    /// The compiled component, mapped from its file. None when there is no whole artifact of this build.
    pub(super) fn find(
        &self,
        engine: &Engine,
        sha256: &Sha256Hex,
    ) -> Result<Option<Component>, ArtifactError> {
        let path = self.path(sha256);
        let Ok(sum) = std::fs::read_to_string(sum_of(&path)) else { return Ok(None) };
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(ArtifactError::Io { path, source }),
        };
        if Sha256Hex::of(&bytes).as_str() != sum {
            tracing::warn!(?path, "an artifact is not what was written; it is compiled anew");
            return Ok(None);
        }
        drop(bytes);
        load(engine, &path).map(Some)
    }
}

fn sum_of(path: &Path) -> PathBuf {
    path.with_extension("sha256")
}

fn load(engine: &Engine, path: &Path) -> Result<Component, ArtifactError> {
    let refused = |error: wasmtime::Error| ArtifactError::Refused(format!("{error:#}"));
    #[expect(unsafe_code, reason = "the one place where code of the host's own making is mapped")]
    // SAFETY: what is mapped runs as native code, so it must be what our compiler wrote and must stay so. The folder
    // belongs to the host alone (0700), its files are written whole under another name, renamed and never changed
    // after, and the digest beside the file has just been compared. An upload never comes here: those that are
    // precompiled are refused before, and the only writer is our own child process. Who can write to this folder
    // can replace the host's binary as well. Wasmtime checks version, target and configuration itself.
    let component = unsafe { Component::deserialize_file(engine, path) }.map_err(refused)?;
    // Now, so that the first event does not pay for it.
    component.initialize_copy_on_write_image().map_err(refused)?;
    Ok(component)
}
