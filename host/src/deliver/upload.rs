//! A content as the body of a request: in memory, or streamed from the spool with its length.
//!
//! It must not know what is sent beside it.

use std::io::{Error, ErrorKind};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame, SizeHint};
use tokio::io::AsyncRead;

use super::content::File;

/// Bytes that are read from the spool at once.
const PIECE: usize = 128 << 10;

/// Puts a content into a request.
pub(super) async fn attach(request: &mut reqwest::Request, content: Option<&File>) -> Result<(), Error> {
    *request.body_mut() = match content {
        None => None,
        Some(File::Memory(bytes)) => Some(bytes.clone().into()),
        Some(File::Spooled(spooled)) => {
            let file = tokio::fs::File::open(&spooled.path).await?;
            Some(reqwest::Body::wrap(Streamed { file, left: spooled.len }))
        }
    };
    Ok(())
}

/// A file of the spool, read as it is sent.
struct Streamed {
    file: tokio::fs::File,
    left: u64,
}

impl Body for Streamed {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        let mut piece = BytesMut::zeroed(usize::try_from(self.left).map_or(PIECE, |left| left.min(PIECE)));
        let mut buffer = tokio::io::ReadBuf::new(&mut piece);
        ready!(Pin::new(&mut self.file).poll_read(cx, &mut buffer))?;
        let n = buffer.filled().len();
        if n == 0 {
            return Poll::Ready(Some(Err(Error::new(
                ErrorKind::UnexpectedEof,
                "the spool's file is too short",
            ))));
        }
        piece.truncate(n);
        self.left -= n as u64;
        Poll::Ready(Some(Ok(Frame::data(piece.freeze()))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}
