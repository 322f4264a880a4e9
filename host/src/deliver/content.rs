//! What a delivery carries, ready to be sent: bytes in memory, or a file that the host has fetched into its spool.
//!
//! Every kind of destination takes its content from here, so that none of them knows where it came from. It must not know
//! destinations.

use std::borrow::Cow;
use std::io::{Cursor, Read, Seek, SeekFrom};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use sha2::{Digest, Sha256};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncSeekExt};

use super::media::Media;
use super::sender::Tried;
use crate::retry::{MediaFault, Outcome};
use crate::store::work::{AttachmentContent, Body, HeldDelivery, Message};

/// Bytes a second that content in the spool is given time for; see [`File::time`].
const SLOWEST: u64 = 1 << 20;

/// One content, complete and unchanging. Cheap to clone.
#[derive(Debug, Clone)]
pub enum File {
    /// In memory: a payload, or what a plugin made.
    Memory(Bytes),
    /// In the spool, where it stays while this lives.
    Spooled(Arc<Spooled>),
}

/// A complete file in the spool.
#[derive(Debug)]
pub struct Spooled {
    /// Where it is.
    pub path: PathBuf,
    /// Its length in bytes.
    pub len: u64,
    /// Its SHA-256.
    pub sha256: [u8; 32],
    /// The media type that it was fetched with, in lower case and without parameters.
    pub content_type: String,
}

/// Reads a content from some place to its end.
pub type Reader = Box<dyn AsyncRead + Send + Unpin>;

/// Why a content cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ContentError {
    /// It has more bytes than may be taken into memory.
    #[error("the content has {len} bytes, and {limit} is the most that can be taken here")]
    TooLarge {
        /// Its length.
        len: u64,
        /// The limit, in bytes.
        limit: u64,
    },
    /// The file in the spool cannot be read.
    #[error("the spool cannot be read: {0}")]
    Spool(#[from] std::io::Error),
}

/// Why a delivery's content is not there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct Missing {
    /// What the attempt comes to.
    pub outcome: Outcome,
    /// What went wrong, for people.
    pub why: Cow<'static, str>,
}

/// Finds the content of deliveries. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Contents {
    /// What fetches; without it, content that would have to be fetched can never be had.
    pub(super) media: Option<Media>,
}

impl File {
    /// Its length in bytes.
    #[expect(
        clippy::len_without_is_empty,
        reason = "nothing asks whether a content is empty: an empty one is sent, too"
    )]
    pub fn len(&self) -> u64 {
        match self {
            Self::Memory(bytes) => bytes.len() as u64,
            Self::Spooled(spooled) => spooled.len,
        }
    }

    /// Its SHA-256. Of bytes in memory it is computed at each call.
    pub fn sha256(&self) -> [u8; 32] {
        match self {
            Self::Memory(bytes) => Sha256::digest(bytes).into(),
            Self::Spooled(spooled) => spooled.sha256,
        }
    }

    /// The media type that it was fetched with; of bytes in memory it is not known.
    pub fn content_type(&self) -> Option<&str> {
        match self {
            Self::Memory(_) => None,
            Self::Spooled(spooled) => Some(&spooled.content_type),
        }
    }

    /// What a record of an attempt says of it: its length, SHA-256 and, where it is known, its media type.
    pub fn shown(&self) -> serde_json::Value {
        let sha256: String = self.sha256().iter().map(|b| format!("{b:02x}")).collect();
        let mut shown = serde_json::json!({ "bytes": self.len(), "sha256": sha256 });
        if let Some(content_type) = self.content_type() {
            shown["content_type"] = content_type.into();
        }
        shown
    }

    /// How much longer than its policy's timeout an attempt may take, since it carries this: a second for each MiB that is
    /// streamed from the spool.
    pub fn time(&self) -> Duration {
        match self {
            Self::Memory(_) => Duration::ZERO,
            Self::Spooled(spooled) => Duration::from_secs(spooled.len.div_ceil(SLOWEST)),
        }
    }

    /// Reads it from the byte `from` on (0 is the first) to its end; past the end nothing is read.
    ///
    /// # Errors
    /// The file in the spool cannot be opened.
    pub async fn open(&self, from: u64) -> std::io::Result<Reader> {
        match self {
            Self::Memory(bytes) => Ok(Box::new(Cursor::new(after(bytes, from)))),
            Self::Spooled(spooled) => {
                let mut file = tokio::fs::File::open(&spooled.path).await?;
                file.seek(SeekFrom::Start(from)).await?;
                Ok(Box::new(file))
            }
        }
    }

    /// The same for a thread that may block, such as one that encrypts.
    ///
    /// # Errors
    /// As [`File::open`].
    pub fn open_blocking(&self, from: u64) -> std::io::Result<Box<dyn Read + Send>> {
        match self {
            Self::Memory(bytes) => Ok(Box::new(Cursor::new(after(bytes, from)))),
            Self::Spooled(spooled) => {
                let mut file = std::fs::File::open(&spooled.path)?;
                file.seek(SeekFrom::Start(from))?;
                Ok(Box::new(file))
            }
        }
    }

    /// All of it in memory, when that is no more than `limit` bytes.
    ///
    /// # Errors
    /// It is larger, or cannot be read.
    pub async fn read_all(&self, limit: u64) -> Result<Bytes, ContentError> {
        let len = self.len();
        if len > limit {
            return Err(ContentError::TooLarge { len, limit });
        }
        match self {
            Self::Memory(bytes) => Ok(bytes.clone()),
            Self::Spooled(_) => {
                let mut all = Vec::with_capacity(usize::try_from(len).unwrap_or(0));
                self.open(0).await?.take(limit).read_to_end(&mut all).await?;
                Ok(all.into())
            }
        }
    }
}

fn after(bytes: &Bytes, from: u64) -> Bytes {
    bytes.slice(usize::try_from(from).unwrap_or(usize::MAX).min(bytes.len())..)
}

impl Missing {
    /// The host could not get at it just now.
    pub fn failed(why: impl Into<Cow<'static, str>>) -> Self {
        Self { outcome: Outcome::Media(MediaFault::Failed), why: why.into() }
    }

    /// It can never be had.
    pub fn never(why: impl Into<Cow<'static, str>>) -> Self {
        let why = why.into();
        Self { outcome: Outcome::Unavailable(why.clone()), why }
    }

    /// The attempt that could not be made for want of it; `request` is the JSON of what would have been sent.
    pub(super) fn tried(self, request: String) -> Tried {
        Tried {
            outcome: self.outcome,
            status: None,
            error: Some(self.why.into_owned()),
            request,
            response_headers: None,
            response_body: None,
        }
    }
}

impl Contents {
    /// The body of a delivery: what a request or a file carries.
    ///
    /// # Errors
    /// It is not there; says what the attempt comes to.
    pub async fn body(&self, d: &HeldDelivery) -> Result<File, Missing> {
        match &d.body {
            Body::Original => Ok(File::Memory(d.event.payload.clone())),
            Body::Bytes(bytes) => Ok(File::Memory(bytes.clone())),
            Body::Fetch(url) => self.fetched(d, 0, url).await,
        }
    }

    /// The contents of a mail's attachments, in their order; none for what is not a mail.
    ///
    /// # Errors
    /// The first that is not there; says what the attempt comes to.
    pub async fn attachments(&self, d: &HeldDelivery) -> Result<Vec<File>, Missing> {
        let Message::Email { attachments, .. } = &d.message else { return Ok(Vec::new()) };
        let mut rest = match &d.body {
            Body::Bytes(bytes) => bytes.clone(),
            Body::Original | Body::Fetch(_) => Bytes::new(),
        };
        let mut files = Vec::with_capacity(attachments.len());
        for (slot, attachment) in attachments.iter().enumerate() {
            files.push(match &attachment.content {
                AttachmentContent::Original => File::Memory(d.event.payload.clone()),
                AttachmentContent::Bytes(len) => {
                    let len = usize::try_from(*len).ok().filter(|len| *len <= rest.len());
                    let len =
                        len.ok_or_else(|| Missing::never("the delivery's body ends before its attachments"))?;
                    File::Memory(rest.split_to(len))
                }
                AttachmentContent::Fetch(url) => self.fetched(d, slot, url).await?,
            });
        }
        Ok(files)
    }

    /// What the host has fetched for a delivery; `slot` is the attachment's place, 0 for a body.
    async fn fetched(&self, d: &HeldDelivery, slot: usize, url: &str) -> Result<File, Missing> {
        match &self.media {
            Some(media) => media.take(d, slot, url).await,
            None => Err(Missing::never("content `fetch` needs a spool, and there is none")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Millis;
    use crate::event::Event;
    use crate::store::work::Attachment;

    fn mail(body: Body, contents: Vec<AttachmentContent>) -> HeldDelivery {
        let attachments = contents.into_iter().map(|content| Attachment {
            name: "a".to_owned(),
            content_type: "text/plain".to_owned(),
            content,
        });
        HeldDelivery {
            event: Arc::new(Event {
                carrier: "acme".parse().unwrap(),
                id: "e".parse().unwrap(),
                event_type: "case.closed".parse().unwrap(),
                received: Millis(0),
                attributes: Default::default(),
                payload: Bytes::from_static(b"{}"),
            }),
            subscription: "main".parse().unwrap(),
            id: crate::event::time_ordered(Millis(0), [0; 10]).into(),
            destination: "claims".parse().unwrap(),
            message: Message::Email {
                to: vec![],
                cc: vec![],
                subject: String::new(),
                text: None,
                html: None,
                attachments: attachments.collect(),
            },
            body,
            attempts: 0,
            due: Millis(0),
        }
    }

    async fn all(file: &File, from: u64) -> Vec<u8> {
        let (mut read, mut blocking) = (Vec::new(), Vec::new());
        file.open(from).await.unwrap().read_to_end(&mut read).await.unwrap();
        file.open_blocking(from).unwrap().read_to_end(&mut blocking).unwrap();
        assert_eq!(read, blocking);
        read
    }

    #[tokio::test]
    async fn attachments_take_their_bytes_from_the_body_one_after_the_other() {
        use AttachmentContent::{Bytes as Part, Original};
        let body = || Body::Bytes(Bytes::from_static(b"onetwo"));
        let files =
            Contents::default().attachments(&mail(body(), vec![Part(3), Original, Part(3)])).await.unwrap();
        let mut texts = Vec::new();
        for file in &files {
            texts.push(file.read_all(100).await.unwrap());
        }
        assert_eq!(texts, ["one", "{}", "two"]);
        let short = Contents::default().attachments(&mail(body(), vec![Part(3), Part(4)])).await.unwrap_err();
        assert!(matches!(short.outcome, Outcome::Unavailable(_)), "{short:?}");
    }

    #[tokio::test]
    async fn a_file_is_read_from_any_place_and_only_whole_into_memory() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, b"0123456789").unwrap();
        let bytes = Bytes::from_static(b"0123456789");
        let spooled = Spooled {
            path,
            len: 10,
            sha256: Sha256::digest(&bytes).into(),
            content_type: "image/png".to_owned(),
        };
        for file in [File::Memory(bytes.clone()), File::Spooled(Arc::new(spooled))] {
            assert_eq!((file.len(), file.sha256()), (10, <[u8; 32]>::from(Sha256::digest(&bytes))));
            for (from, expected) in [(0, "0123456789"), (7, "789"), (10, ""), (11, "")] {
                assert_eq!(all(&file, from).await, expected.as_bytes());
            }
            assert_eq!(file.read_all(10).await.unwrap(), bytes);
            assert!(matches!(file.read_all(9).await, Err(ContentError::TooLarge { len: 10, limit: 9 })));
        }
    }
}
