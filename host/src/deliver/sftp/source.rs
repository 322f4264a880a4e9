//! What a file is made of: a content as it is, or encrypted on the way.
//!
//! It must not know where it goes.

use bytes::{Buf, Bytes};
use tokio::io::AsyncReadExt;

use crate::deliver::content::{File, Reader};
use crate::pgp::{Encrypted, Encryption};

/// What a file is made of.
#[derive(Debug)]
pub(super) enum Source<'a> {
    /// The content itself: the same bytes each time.
    Plain(&'a File),
    /// The content encrypted: other bytes each time, and nobody knows how many before the end.
    Encrypted(&'a File, Encryption),
}

/// Reads it from some place to its end.
pub(super) enum Reading {
    Plain(Reader),
    Encrypted { stream: Encrypted, rest: Bytes },
}

impl<'a> Source<'a> {
    /// The content, where the file is nothing else.
    pub(super) fn plain(&self) -> Option<&'a File> {
        match self {
            Self::Plain(content) => Some(content),
            Self::Encrypted(..) => None,
        }
    }

    /// Reads from the byte `from` on; what is encrypted is always read from its beginning.
    pub(super) async fn open(&self, from: u64) -> std::io::Result<Reading> {
        Ok(match self {
            Self::Plain(content) => Reading::Plain(content.open(from).await?),
            Self::Encrypted(content, encryption) => {
                let stream = encryption.clone().stream(content.open_blocking(0)?);
                Reading::Encrypted { stream, rest: Bytes::new() }
            }
        })
    }
}

impl Reading {
    /// Reads until the piece is full or the end has come; gives how much there is.
    pub(super) async fn fill(&mut self, piece: &mut [u8]) -> std::io::Result<usize> {
        let mut length = 0;
        while length < piece.len() {
            let more = match self {
                Self::Plain(reader) => reader.read(&mut piece[length..]).await?,
                Self::Encrypted { stream, rest } => {
                    if rest.is_empty() {
                        let next = stream.next().await.map_err(std::io::Error::other)?;
                        *rest = next.unwrap_or_default();
                    }
                    let more = rest.len().min(piece.len() - length);
                    rest.copy_to_slice(&mut piece[length..length + more]);
                    more
                }
            };
            match more {
                0 => break,
                more => length += more,
            }
        }
        Ok(length)
    }
}
