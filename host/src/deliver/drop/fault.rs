//! Why a file is not in the drop folder, and what it means for its delivery.

use std::io;

use rustix::io::Errno;

use crate::carrier::path::PathError;
use crate::pgp::EncryptError;
use crate::retry::Outcome;

/// Why a file was not put there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DropError {
    /// The carrier has too many files.
    #[error(
        "{files} files of the carrier wait to be fetched: the limit `drop.carrier_files` is {limit}; fetched ones can be deleted"
    )]
    Files {
        /// How many there are.
        files: u64,
        /// The limit.
        limit: u64,
    },
    /// The carrier's files have too many bytes.
    #[error(
        "{bytes} bytes of the carrier wait to be fetched: the limit `drop.carrier_bytes` is {limit}; fetched files can be deleted"
    )]
    Bytes {
        /// How many there are.
        bytes: u64,
        /// The limit.
        limit: u64,
    },
    /// There is a file of the name, and it may not be replaced.
    #[error("there is a file {name:?} already")]
    Exists {
        /// The name.
        name: String,
    },
    /// Every number for the name is taken.
    #[error("there are {limit} files of the name {name:?} already (the limit `numbered_files`)")]
    Numbers {
        /// The name.
        name: String,
        /// The limit.
        limit: u32,
    },
    /// A part of the path is a link or a file, and no folder.
    #[error("{name:?} is not a folder of the host's: remove it from the drop folder")]
    NoFolder {
        /// The part.
        name: String,
    },
    /// The name is a folder, or what else is no file.
    #[error("{name:?} is there and is not a file: it is not replaced")]
    NoFile {
        /// The name.
        name: String,
    },
    /// The path cannot be one there.
    #[error("the file's path: {0}")]
    Path(#[from] PathError),
    /// A part of the path begins with a dot.
    #[error("the file's path: a part begins with a dot: {part:?}")]
    Hidden {
        /// The part.
        part: String,
    },
    /// The disk is full, or its user's share of it.
    #[error("the disk of the drop folder is full")]
    Full,
    /// The file system does not do what is needed.
    #[error(
        "the file system of the drop folder keeps no extended attributes (`user.*`): put `drop.folder` on another"
    )]
    NoAttributes,
    /// It was given up, since it took too long.
    #[error("it took too long")]
    Late,
    /// What was to be written could not be read or encrypted.
    #[error("{0}")]
    Content(String),
    /// The system's own words.
    #[error("the drop folder cannot be written: {0}")]
    Io(String),
}

impl DropError {
    /// What the attempt comes to.
    pub(super) fn outcome(&self) -> Outcome {
        let text = self.to_string().into();
        match self {
            // Files are fetched and deleted, disks are mended: it is tried again.
            Self::Files { .. }
            | Self::Bytes { .. }
            | Self::Full
            | Self::Io(_)
            | Self::NoAttributes
            | Self::NoFolder { .. }
            | Self::Content(_) => Outcome::Remote(text),
            Self::Late => Outcome::Timeout,
            Self::Exists { .. } | Self::Numbers { .. } | Self::NoFile { .. } => Outcome::Rejected(text),
            Self::Path(_) | Self::Hidden { .. } => Outcome::Unavailable(text),
        }
    }
}

impl From<io::Error> for DropError {
    fn from(why: io::Error) -> Self {
        // What the meter of a file has said comes back by way of its writer.
        if let Some(own) = why.get_ref().and_then(|inner| inner.downcast_ref::<Self>()) {
            return own.clone();
        }
        match Errno::from_io_error(&why) {
            Some(Errno::NOSPC | Errno::DQUOT) => Self::Full,
            Some(Errno::OPNOTSUPP) => Self::NoAttributes,
            _ => Self::Io(why.to_string()),
        }
    }
}

impl From<EncryptError> for DropError {
    fn from(why: EncryptError) -> Self {
        match why {
            EncryptError::Io(why) => why.into(),
            why => Self::Content(why.to_string()),
        }
    }
}
