//! Encrypting beside tasks that must not block: a thread encrypts, a task takes the chunks as it can send them.

use std::io::{self, Read, Write};

use bytes::{Bytes, BytesMut};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::{EncryptError, Encryption};

/// The bytes of one chunk.
const CHUNK: usize = 64 << 10;
/// Chunks that wait to be taken; then the thread waits.
const WAITING: usize = 4;

/// A message on its way out of the encryption. Dropped before its end, the thread ends with its next chunk.
#[derive(Debug)]
pub struct Encrypted {
    chunks: mpsc::Receiver<Bytes>,
    /// Gone once its end was told.
    thread: Option<JoinHandle<Result<(), EncryptError>>>,
}

impl Encrypted {
    pub(super) fn begin(encryption: Encryption, from: impl Read + Send + 'static) -> Self {
        let (sender, chunks) = mpsc::channel(WAITING);
        let thread = tokio::task::spawn_blocking(move || {
            let mut to = Chunks { sender, chunk: BytesMut::with_capacity(CHUNK) };
            encryption.encrypt(from, &mut to)?;
            Ok(to.flush()?)
        });
        Self { chunks, thread: Some(thread) }
    }

    /// The next chunk; `None` after the last, when the message is whole.
    ///
    /// # Errors
    /// Why the message could not be encrypted: what came before is to be thrown away.
    pub async fn next(&mut self) -> Result<Option<Bytes>, EncryptError> {
        if let Some(chunk) = self.chunks.recv().await {
            return Ok(Some(chunk));
        }
        match self.thread.take() {
            // Only how the thread ended says whether the message is whole.
            Some(thread) => thread.await.map_err(io::Error::other)?.map(|()| None),
            None => Ok(None),
        }
    }
}

/// What the thread writes into.
struct Chunks {
    sender: mpsc::Sender<Bytes>,
    chunk: BytesMut,
}

impl Write for Chunks {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(CHUNK - self.chunk.len());
        self.chunk.extend_from_slice(&bytes[..taken]);
        if self.chunk.len() == CHUNK {
            self.flush()?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.chunk.is_empty() {
            return Ok(());
        }
        let chunk = std::mem::replace(&mut self.chunk, BytesMut::with_capacity(CHUNK)).freeze();
        self.sender.blocking_send(chunk).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}
