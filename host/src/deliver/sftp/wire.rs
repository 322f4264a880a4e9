//! One SFTP channel of a session: requests go out without waiting for the answers of those before them.
//!
//! Whoever has the channel has it alone. What is under way at once is bounded by [`WINDOW`], and so is what waits to be read.
//! It must not know what is uploaded.

use std::collections::HashMap;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use russh::client::Msg;
use russh::{Channel, ChannelMsg, ChannelReadHalf, ChannelWriteHalf};

use super::fault::Fault;
use super::packet::{self, Attributes, MAX_PACKET, Offers, Reply, Request, Status};

/// Requests under way at once.
pub(super) const WINDOW: usize = 64;
/// Bytes of a file in one request: with what stands around them they fill one packet of SSH.
pub(super) const PIECE: usize = 31 * 1024;
/// Messages of a channel that may wait to be read: more than the answers to a window, so that a channel whose reader has
/// something else to do never holds up the others of its session.
pub(super) const WAITING: usize = 4 * WINDOW;
/// How long a session that rested is waited for before it counts as dead.
pub(super) const PROBE: Duration = Duration::from_secs(5);

/// A request that was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[must_use]
pub(super) struct Ticket(u32);

/// An SFTP channel.
pub(super) struct Wire {
    read: ChannelReadHalf,
    /// Absent once the channel is closed.
    write: Option<ChannelWriteHalf<Msg>>,
    buffer: BytesMut,
    next: u32,
    /// What is under way: without its answer, or with one that nobody has asked for yet.
    open: HashMap<u32, Option<Reply>>,
    offers: Offers,
    /// How long nothing at all may happen.
    patience: Duration,
    /// The same until the first answer has come.
    probing: Option<Duration>,
}

impl Wire {
    /// Starts SFTP on a channel. `patience` is how long nothing at all may happen.
    pub(super) async fn start(channel: Channel<Msg>, patience: Duration) -> Result<Self, Fault> {
        let (read, write) = channel.split();
        let mut wire = Self {
            read,
            write: Some(write),
            buffer: BytesMut::new(),
            next: 0,
            open: HashMap::new(),
            offers: Offers::default(),
            patience,
            probing: None,
        };
        let start = async {
            let write = wire.write.as_ref().ok_or(Fault::Closed)?;
            write.request_subsystem(true, "sftp").await.map_err(Fault::Ssh)?;
            loop {
                match wire.read.wait().await {
                    Some(ChannelMsg::Success) => break,
                    Some(ChannelMsg::Failure) => return Err(Fault::NoSftp),
                    Some(ChannelMsg::Close | ChannelMsg::Eof) | None => return Err(Fault::Closed),
                    Some(_) => {}
                }
            }
            write.data_bytes(packet::hello()).await.map_err(Fault::Ssh)?;
            let hello = wire.packet().await?;
            packet::read_hello(hello).map_err(Fault::Malformed)
        };
        let offers = tokio::time::timeout(patience, start).await;
        wire.offers = offers.map_err(|_| Fault::Stalled { awaited: "SFTP to start", patience })??;
        Ok(wire)
    }

    /// The extensions of its server.
    pub(super) fn offers(&self) -> Offers {
        self.offers
    }

    /// Takes it up for another file; `probe` is how long the first sign of life is waited for.
    pub(super) fn resume(&mut self, patience: Duration, probe: Duration) {
        self.patience = patience;
        self.probing = Some(probe);
    }

    /// Whether nothing is under way, so that another file may have it.
    pub(super) fn is_at_rest(&self) -> bool {
        self.open.is_empty() && self.write.is_some()
    }

    /// Sends a request. No more than [`WINDOW`] may be under way.
    pub(super) async fn send(&mut self, request: Request<'_>) -> Result<Ticket, Fault> {
        let id = self.next;
        self.next = self.next.wrapping_add(1);
        self.open.insert(id, None);
        let write = self.write.as_ref().ok_or(Fault::Closed)?;
        let sent = tokio::time::timeout(self.patience, write.data_bytes(request.packet(id))).await;
        let stalled = Fault::Stalled { awaited: "the server to take more", patience: self.patience };
        sent.map_err(|_| stalled)?.map_err(Fault::Ssh)?;
        Ok(Ticket(id))
    }

    /// Waits for the answer to a request.
    pub(super) async fn reply(&mut self, ticket: Ticket) -> Result<Reply, Fault> {
        loop {
            match self.open.get_mut(&ticket.0) {
                Some(Some(_)) => {
                    return self.open.remove(&ticket.0).flatten().ok_or(Fault::Closed);
                }
                Some(None) => {}
                None => return Err(Fault::Closed),
            }
            let patience = self.probing.unwrap_or(self.patience);
            let packet = tokio::time::timeout(patience, self.packet()).await;
            let packet = packet.map_err(|_| Fault::Stalled { awaited: "an answer", patience })??;
            self.probing = None;
            let (id, reply) = packet::read(packet).map_err(Fault::Malformed)?;
            match self.open.get_mut(&id) {
                Some(waiting @ None) => *waiting = Some(reply),
                _ => return Err(Fault::Malformed(packet::Malformed)),
            }
        }
    }

    /// Sends a request and waits for its answer.
    pub(super) async fn call(&mut self, request: Request<'_>) -> Result<Reply, Fault> {
        let ticket = self.send(request).await?;
        self.reply(ticket).await
    }

    /// Waits for the answer to a request that gives no more than how it went.
    pub(super) async fn status(&mut self, ticket: Ticket) -> Result<Status, Fault> {
        match self.reply(ticket).await? {
            Reply::Status(status) => Ok(status),
            _ => Err(Fault::Malformed(packet::Malformed)),
        }
    }

    /// Waits for a handle.
    pub(super) async fn handle(&mut self, ticket: Ticket) -> Result<Result<Bytes, Status>, Fault> {
        match self.reply(ticket).await? {
            Reply::Handle(handle) => Ok(Ok(handle)),
            Reply::Status(status) => Ok(Err(status)),
            _ => Err(Fault::Malformed(packet::Malformed)),
        }
    }

    /// Waits for what the server knows of a file.
    pub(super) async fn attributes(&mut self, ticket: Ticket) -> Result<Result<Attributes, Status>, Fault> {
        match self.reply(ticket).await? {
            Reply::Attributes(attributes) => Ok(Ok(attributes)),
            Reply::Status(status) => Ok(Err(status)),
            _ => Err(Fault::Malformed(packet::Malformed)),
        }
    }

    /// What is at a path; nothing when nothing is there.
    pub(super) async fn look(&mut self, path: &str) -> Result<Option<Attributes>, Fault> {
        let ticket = self.send(Request::Lstat { path }).await?;
        match self.attributes(ticket).await? {
            Ok(found) => Ok(Some(found)),
            Err(status) if status.is_missing() => Ok(None),
            Err(status) => Err(Fault::refused("looking for", path, status)),
        }
    }

    async fn packet(&mut self) -> Result<Bytes, Fault> {
        loop {
            if let Some(head) = self.buffer.first_chunk::<4>() {
                let length = u32::from_be_bytes(*head) as usize;
                if length > MAX_PACKET {
                    return Err(Fault::Malformed(packet::Malformed));
                }
                if self.buffer.len() >= 4 + length {
                    self.buffer.advance(4);
                    return Ok(self.buffer.split_to(length).freeze());
                }
            }
            match self.read.wait().await {
                Some(ChannelMsg::Data { data }) => self.buffer.extend_from_slice(&data),
                Some(ChannelMsg::Eof | ChannelMsg::Close) | None => return Err(Fault::Closed),
                Some(_) => {}
            }
        }
    }
}

impl Drop for Wire {
    /// The server keeps a process for each channel until it is closed.
    fn drop(&mut self) {
        if let (Some(write), Ok(runtime)) = (self.write.take(), tokio::runtime::Handle::try_current()) {
            runtime.spawn(async move {
                // It may be gone with its session.
                let _ = write.close().await;
            });
        }
    }
}

impl std::fmt::Debug for Wire {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Wire").field("under_way", &self.open.len()).field("offers", &self.offers).finish()
    }
}
