//! A file's bytes to the server, under a temporary name in the folder where it will be.
//!
//! The name is made from the delivery's id and the content's hash: every attempt at the delivery finds what one before it has
//! sent, and goes on there. What two attempts write under one name is the same, byte for byte. What is encrypted is other bytes
//! each time; it begins anew.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use hookyard_sdk::template::PART_BYTES;

use super::compare;
use super::fault::Fault;
use super::packet::{Attributes, CREATE, EXCLUSIVE, READ, Request, Status, WRITE};
use super::place::{self, Placed};
use super::session::Session;
use super::source::Source;
use super::steps::Steps;
use super::sweep::sweep;
use super::wire::{PIECE, Ticket, WINDOW, Wire};
use crate::carrier::Existing;
use crate::clock::Millis;
use crate::deliver::content::File;
use crate::event::DeliveryId;

/// What temporary names begin and end with.
pub(super) const PART_START: &str = ".hookyard-";
pub(super) const PART_END: &str = ".part";
/// How far before its end a half-done upload is gone on with: what was under way when it broke off may be missing.
const REWIND: u64 = (2 * WINDOW * PIECE) as u64;
/// Requests that go out together with a file's last bytes.
const LAST_REQUESTS: usize = 8;

const _: () = assert!(PART_START.len() + 36 + 1 + 16 + PART_END.len() <= PART_BYTES);

/// One file to be sent.
#[derive(Debug)]
pub(super) struct Job<'a> {
    pub(super) source: Source<'a>,
    /// Of the content before it is encrypted.
    pub(super) sha256: [u8; 32],
    pub(super) id: &'a DeliveryId,
    /// Where it goes, with its folders.
    pub(super) path: String,
    pub(super) existing: Existing,
    pub(super) mode: Option<u32>,
    /// Whether it has to be on the server's disk.
    pub(super) sync: bool,
    /// When the host took the event.
    pub(super) received: Millis,
    pub(super) now: Millis,
    /// The age from which on others' half-done uploads are removed.
    pub(super) parts: Duration,
}

/// How an upload begins.
enum Begun {
    /// At this byte of the open file.
    At(Bytes, u64),
    /// An attempt before has brought it to its place.
    Placed(Placed),
}

impl Job<'_> {
    /// The folder of the file; empty for the login's own.
    pub(super) fn folder(&self) -> &str {
        match self.path.rfind('/') {
            Some(0) => "/",
            Some(at) => &self.path[..at],
            None => "",
        }
    }

    /// The temporary name, with its folder.
    fn part(&self) -> String {
        let hash: String = match self.source {
            Source::Plain(_) => self.sha256.iter().take(8).map(|byte| format!("{byte:02x}")).collect(),
            Source::Encrypted(..) => "pgp".to_owned(),
        };
        join(self.folder(), &format!("{PART_START}{}-{hash}{PART_END}", self.id.as_str()))
    }
}

/// A name in a folder.
pub(super) fn join(folder: &str, name: &str) -> String {
    match folder {
        "" => name.to_owned(),
        "/" => format!("/{name}"),
        folder => format!("{folder}/{name}"),
    }
}

/// Sends a file and gives it its final name.
pub(super) async fn upload(
    session: &Session,
    wire: &mut Wire,
    job: &Job<'_>,
    steps: &mut Steps,
) -> Result<Placed, Fault> {
    let part = job.part();
    if session.is_first_visit(job.folder()) {
        sweep(wire, job, steps).await?;
    }
    let mut removals = Vec::new();
    for path in session.ripe() {
        removals.push(wire.send(Request::Remove { path: &path }).await?);
    }
    let begun = begin(wire, &part, job, steps).await?;
    for removal in removals {
        // It is a second name of a file that is in its place; whether it was there makes no difference.
        wire.status(removal).await?;
    }
    let (handle, from) = match begun {
        Begun::Placed(placed) => {
            // Its second name has done what it was for.
            wire.call(Request::Remove { path: &part }).await?;
            return Ok(placed);
        }
        Begun::At(handle, from) => (handle, from),
    };
    let known_by_time = job.source.plain().is_some() && !place::by_links(session, wire);
    let stamp = known_by_time.then(|| stamp(job));
    let sent = match send(wire, &handle, &part, job, from, stamp, steps).await {
        // What is left of it would keep a full disk full.
        Err(fault @ Fault::Refused { writing: true, .. }) => {
            wire.call(Request::Close { handle: &handle }).await?;
            wire.call(Request::Remove { path: &part }).await?;
            return Err(fault);
        }
        sent => sent?,
    };
    check_size(wire, &part, &sent, job).await?;
    place::place(session, wire, &part, job, stamp, steps).await
}

/// The time that a file gets on a server without hard links: when the event came, so that a later attempt knows it again.
fn stamp(job: &Job<'_>) -> u32 {
    u32::try_from(job.received.0.div_euclid(1_000)).unwrap_or(0)
}

/// Opens the temporary file, making the folders that it needs, or finds out what became of one that is there.
async fn begin(wire: &mut Wire, part: &str, job: &Job<'_>, steps: &mut Steps) -> Result<Begun, Fault> {
    // Nobody else reads what is not complete, where it matters who reads the file.
    let mode = job.mode.map(|_| 0o600);
    let fresh = Request::Open { path: part, flags: WRITE | CREATE | EXCLUSIVE, mode };
    let ticket = wire.send(fresh).await?;
    let mut refused = match wire.handle(ticket).await? {
        Ok(handle) => return Ok(Begun::At(handle, 0)),
        Err(status) => status,
    };
    if refused.is_missing() {
        make_folders(wire, job.folder(), steps).await?;
        let ticket = wire.send(fresh).await?;
        refused = match wire.handle(ticket).await? {
            Ok(handle) => return Ok(Begun::At(handle, 0)),
            Err(status) => status,
        };
    }
    let Some(found) = wire.look(part).await? else { return Err(Fault::refused("making", part, refused)) };
    if job.existing != Existing::Replace
        && let Some(path) = place::second_name(wire, part, &found, job).await?
    {
        steps.note(format_args!("an attempt before had brought it to {path:?}"));
        return Ok(Begun::Placed(Placed { path, leftover: None }));
    }
    if job.source.plain().is_some() {
        return again(wire, part, &found, job, refused, steps).await;
    }
    // What is under that name may have its final name as well; only the temporary one goes.
    wire.call(Request::Remove { path: part }).await?;
    let ticket = wire.send(fresh).await?;
    let handle = wire.handle(ticket).await?.map_err(|status| Fault::refused("making", part, status))?;
    Ok(Begun::At(handle, 0))
}

/// Goes on with a half-done upload.
async fn again(
    wire: &mut Wire,
    part: &str,
    found: &Attributes,
    job: &Job<'_>,
    refused: Status,
    steps: &mut Steps,
) -> Result<Begun, Fault> {
    let size = found.size.unwrap_or(0);
    let content = job.source.plain().filter(|content| found.is_file() && size <= content.len());
    let Some(content) = content else {
        // Nothing of ours: a link that leads elsewhere, a folder.
        return Err(Fault::refused("making", part, refused));
    };
    let ticket = wire.send(Request::Open { path: part, flags: READ | WRITE, mode: None }).await?;
    let handle = wire.handle(ticket).await?.map_err(|status| Fault::refused("opening", part, status))?;
    let piece = PIECE as u64;
    let from = size.saturating_sub(REWIND) / piece * piece;
    if from == 0 {
        return Ok(Begun::At(handle, 0));
    }
    // A look at the last piece that is taken over: a server that lost power may have lost some of it.
    if !compare::piece(wire, &handle, content, from - piece, PIECE).await? {
        steps.note("what was sent before is not as it was sent: from the beginning");
        return Ok(Begun::At(handle, 0));
    }
    steps.note(format_args!("going on at byte {from}"));
    Ok(Begun::At(handle, from))
}

async fn make_folders(wire: &mut Wire, folder: &str, steps: &mut Steps) -> Result<(), Fault> {
    let ends = folder.match_indices('/').map(|(at, _)| at).filter(|at| *at > 0).chain([folder.len()]);
    let levels: Vec<&str> =
        ends.map(|end| &folder[..end]).filter(|level| !matches!(*level, "" | "/")).collect();
    let mut last = None;
    for level in &levels {
        let ticket = wire.send(Request::MakeFolder { path: level }).await?;
        // Those that are there already are refused, in words that differ from server to server.
        let status = wire.status(ticket).await?;
        if status.code == Status::OK {
            steps.note(format_args!("made the folder {level:?}"));
        }
        last = Some((level, status)).filter(|(_, status)| status.code != Status::OK);
    }
    let Some((level, status)) = last else { return Ok(()) };
    let ticket = wire.send(Request::Stat { path: level }).await?;
    match wire.attributes(ticket).await? {
        Ok(found) if found.mode.is_none() || found.is_folder() => Ok(()),
        _ => Err(Fault::refused("making the folder", level, status)),
    }
}

/// What has been sent and what the server makes of it.
struct Sent {
    bytes: u64,
    found: Option<u64>,
}

/// Writes the content from `from` on, sets permissions, has it synced, asks for its size and closes it, without waiting for one
/// after the other: a server handles the requests for one file in their order.
async fn send(
    wire: &mut Wire,
    handle: &[u8],
    part: &str,
    job: &Job<'_>,
    from: u64,
    stamp: Option<u32>,
    steps: &mut Steps,
) -> Result<Sent, Fault> {
    let mut reader = job.source.open(from).await.map_err(Fault::Content)?;
    let mut waiting: VecDeque<Ticket> = VecDeque::with_capacity(WINDOW);
    let (mut offset, mut refused) = (from, None);
    let mut piece = BytesMut::zeroed(PIECE);
    loop {
        let length = reader.fill(&mut piece).await.map_err(Fault::Content)?;
        if length == 0 || refused.is_some() {
            break;
        }
        if waiting.len() >= WINDOW - LAST_REQUESTS
            && let Some(first) = waiting.pop_front()
        {
            refused = refusal(wire.status(first).await?);
        }
        waiting.push_back(wire.send(Request::Write { handle, offset, data: &piece[..length] }).await?);
        offset += length as u64;
    }
    let modes = job.mode.is_some() || stamp.is_some();
    let set = Request::Fsetstat { handle, mode: job.mode, modified: stamp };
    let syncs = job.sync && wire.offers().sync;
    if refused.is_some() {
        while let Some(ticket) = waiting.pop_front() {
            wire.status(ticket).await?;
        }
    }
    if let Some(status) = refused {
        return Err(Fault::Refused { step: "writing", path: part.to_owned(), status, writing: true });
    }
    let set = if modes { Some(wire.send(set).await?) } else { None };
    let sync = if syncs { Some(wire.send(Request::Sync { handle }).await?) } else { None };
    let size = wire.send(Request::Fstat { handle }).await?;
    let mut refused = None;
    while let Some(ticket) = waiting.pop_front() {
        refused = refused.or(refusal(wire.status(ticket).await?));
    }
    let set = match set {
        Some(ticket) => refusal(wire.status(ticket).await?),
        None => None,
    };
    if let Some(ticket) = sync {
        refused = refused.or(refusal(wire.status(ticket).await?));
    }
    let size = wire.attributes(size).await?;
    if let Some(status) = refused {
        return Err(Fault::Refused { step: "writing", path: part.to_owned(), status, writing: true });
    }
    let close = wire.send(Request::Close { handle }).await?;
    let closed = wire.status(close).await?;
    if let Some(status) = refusal(closed) {
        return Err(Fault::refused("closing", part, status));
    }
    if let Some(status) = set.filter(|_| job.mode.is_some()) {
        return Err(Fault::refused("setting the permissions of", part, status));
    }
    steps.note(format_args!("wrote {} bytes{}", offset - from, if syncs { ", on its disk" } else { "" }));
    Ok(Sent { bytes: offset, found: size.ok().and_then(|found| found.size) })
}

fn refusal(status: Status) -> Option<Status> {
    Some(status).filter(|status| status.code != Status::OK)
}

/// Whether the server has as much as was sent. Some know it only of a file that is closed.
async fn check_size(wire: &mut Wire, part: &str, sent: &Sent, job: &Job<'_>) -> Result<(), Fault> {
    if let Some(expected) = job.source.plain().map(File::len) {
        if sent.bytes != expected {
            let why = format!("it has {} bytes, and {expected} were expected", sent.bytes);
            return Err(Fault::Content(std::io::Error::new(std::io::ErrorKind::UnexpectedEof, why)));
        }
        if sent.found == Some(sent.bytes) {
            return Ok(());
        }
    }
    // What is encrypted could be another attempt's, begun meanwhile under the same name.
    let found = wire.look(part).await?.and_then(|found| found.size).or(sent.found);
    match found {
        Some(found) if found != sent.bytes => {
            Err(Fault::Size { path: part.to_owned(), found, sent: sent.bytes })
        }
        _ => Ok(()),
    }
}
