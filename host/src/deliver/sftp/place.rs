//! From the temporary name to the final one, in one step that never covers another file unless that is wanted.
//!
//! # One file, whatever happens
//!
//! The host may die between the moment at which a file has its final name and the record of it; then the delivery is attempted
//! again. With `replace` the same bytes take the same name once more. With `number` and `error` the file must be known again:
//!
//! - Where the server makes hard links (`hardlink@openssh.com`: every OpenSSH), the final name is a link to the temporary file. It
//!   fails where a file is, so nothing is covered. The temporary name stays as a second name of the same file until the record
//!   must have been written (10 s), and is then removed with a later file or at the session's end. An attempt that finds it
//!   complete looks among the names that are taken for the one with the same size, time and bytes: that is the file.
//! - Elsewhere the temporary file is renamed, which such a server refuses where a file is. Before, it is given the time at which the
//!   host took the event, and a taken name counts as this delivery's if size, that time and all bytes are the same. So there two
//!   deliveries of the same second with the same name and the same bytes come to one file; and a file that is encrypted is other
//!   bytes each time and cannot be known again, so that it may be there twice.

use hookyard_sdk::template::numbered;

use super::compare;
use super::fault::Fault;
use super::packet::{Attributes, Request, Status};
use super::session::Session;
use super::steps::Steps;
use super::upload::Job;
use super::wire::{Ticket, WINDOW, Wire};
use crate::carrier::Existing;

/// How many files of one name there may be.
const NUMBERS: usize = 10_000;
/// Numbers that are looked at together.
const TOGETHER: usize = WINDOW / 2;

/// A file in its place.
#[derive(Debug)]
pub(super) struct Placed {
    pub(super) path: String,
    /// A second name of it, to be removed later.
    pub(super) leftover: Option<String>,
}

/// What came of giving a file a name.
enum Taken {
    Linked,
    Renamed,
    /// Something else has that name.
    Occupied(Attributes),
}

/// Whether final names are made by hard links.
pub(super) fn by_links(session: &Session, wire: &Wire) -> bool {
    wire.offers().link && session.has_links()
}

/// Gives a complete file its final name.
pub(super) async fn place(
    session: &Session,
    wire: &mut Wire,
    part: &str,
    job: &Job<'_>,
    stamp: Option<u32>,
    steps: &mut Steps,
) -> Result<Placed, Fault> {
    if job.existing == Existing::Replace {
        replace(wire, part, &job.path).await?;
        steps.note(format_args!("renamed it to {:?}", job.path));
        return Ok(Placed { path: job.path.clone(), leftover: None });
    }
    let mut number = 1;
    loop {
        let path = name(&job.path, number);
        match take(session, wire, part, &path).await? {
            Taken::Linked => {
                steps.note(format_args!("named it {path:?}"));
                return Ok(Placed { path, leftover: Some(part.to_owned()) });
            }
            Taken::Renamed => {
                steps.note(format_args!("renamed it to {path:?}"));
                return Ok(Placed { path, leftover: None });
            }
            Taken::Occupied(found) => {
                let alike = stamp.is_some() && found.modified == stamp && found.is_file();
                let content = job.source.plain().filter(|content| alike && found.size == Some(content.len()));
                if let Some(content) = content
                    && compare::with_content(wire, &path, content).await?
                {
                    wire.call(Request::Remove { path: part }).await?;
                    steps.note(format_args!("an attempt before had brought it to {path:?}"));
                    return Ok(Placed { path, leftover: None });
                }
            }
        }
        if job.existing == Existing::Error {
            // Nothing will come of it.
            wire.call(Request::Remove { path: part }).await?;
            return Err(Fault::Exists { path });
        }
        number = match stamp {
            // Each taken name may be this delivery's own.
            Some(_) => number + 1,
            None => free(wire, &job.path, number + 1).await?,
        };
        if number > NUMBERS {
            return Err(Fault::Numbers { path: job.path.clone(), limit: NUMBERS });
        }
    }
}

fn name(path: &str, number: usize) -> String {
    match u32::try_from(number) {
        Ok(number @ 2..) => numbered(path, number),
        _ => path.to_owned(),
    }
}

/// The first number from `from` on whose name is free; beyond [`NUMBERS`] when there is none.
async fn free(wire: &mut Wire, path: &str, from: usize) -> Result<usize, Fault> {
    let mut first = from;
    while first <= NUMBERS {
        let mut free = None;
        for (at, found) in look_at(wire, path, first).await?.into_iter().enumerate() {
            free = free.or(found.is_none().then_some(first + at));
        }
        if let Some(free) = free {
            return Ok(free);
        }
        first += TOGETHER;
    }
    Ok(first)
}

/// What has the names with [`TOGETHER`] numbers from `first` on.
async fn look_at(wire: &mut Wire, path: &str, first: usize) -> Result<Vec<Option<Attributes>>, Fault> {
    let mut asked: Vec<(String, Ticket)> = Vec::with_capacity(TOGETHER);
    for number in first..first + TOGETHER {
        let name = name(path, number);
        let ticket = wire.send(Request::Lstat { path: &name }).await?;
        asked.push((name, ticket));
    }
    let mut found = Vec::with_capacity(TOGETHER);
    let mut refused = None;
    for (name, ticket) in asked {
        match wire.attributes(ticket).await? {
            Ok(one) => found.push(Some(one)),
            Err(status) if status.is_missing() => found.push(None),
            Err(status) => refused = refused.or(Some(Fault::refused("looking for", &name, status))),
        }
    }
    refused.map_or(Ok(found), Err)
}

/// The final name that an attempt before has given to the file which still has its temporary name.
pub(super) async fn second_name(
    wire: &mut Wire,
    part: &str,
    found: &Attributes,
    job: &Job<'_>,
) -> Result<Option<String>, Fault> {
    let content = job.source.plain();
    if !found.is_file() || content.is_some_and(|content| found.size != Some(content.len())) {
        return Ok(None);
    }
    let mut first = 1;
    while first <= NUMBERS {
        let names = look_at(wire, &job.path, first).await?;
        let end = names.iter().position(Option::is_none);
        for (at, one) in names.into_iter().enumerate().take(end.unwrap_or(TOGETHER)) {
            let path = name(&job.path, first + at);
            let alike = one.is_some_and(|one| (one.size, one.modified) == (found.size, found.modified));
            let same = match content {
                _ if !alike => false,
                Some(content) => compare::with_content(wire, &path, content).await?,
                None => compare::two_files(wire, &path, part).await?,
            };
            if same {
                return Ok(Some(path));
            }
        }
        if end.is_some() {
            break;
        }
        first += TOGETHER;
    }
    Ok(None)
}

async fn take(session: &Session, wire: &mut Wire, part: &str, path: &str) -> Result<Taken, Fault> {
    if by_links(session, wire) {
        let (status, found) = then_look(wire, Request::Link { from: part, to: path }, path).await?;
        match found {
            _ if status.code == Status::OK => return Ok(Taken::Linked),
            Ok(found) => return Ok(Taken::Occupied(found)),
            // It is offered, and the server's file system has none.
            Err(_) => session.give_up_links(),
        }
    }
    // Some servers cover what is there.
    if let Some(found) = wire.look(path).await? {
        return Ok(Taken::Occupied(found));
    }
    let (status, found) = then_look(wire, Request::Rename { from: part, to: path }, path).await?;
    match found {
        _ if status.code == Status::OK => Ok(Taken::Renamed),
        Ok(found) => Ok(Taken::Occupied(found)),
        Err(_) => Err(Fault::refused("renaming the file to", path, status)),
    }
}

/// A request, and what is at a path after it, without waiting in between.
async fn then_look(
    wire: &mut Wire,
    request: Request<'_>,
    path: &str,
) -> Result<(Status, Result<Attributes, Status>), Fault> {
    let request = wire.send(request).await?;
    let look = wire.send(Request::Lstat { path }).await?;
    Ok((wire.status(request).await?, wire.attributes(look).await?))
}

/// Renames over what is there: in one step where the server can.
async fn replace(wire: &mut Wire, part: &str, path: &str) -> Result<(), Fault> {
    let refused = |status| Fault::refused("renaming the file to", path, status);
    if wire.offers().replace {
        let ticket = wire.send(Request::Replace { from: part, to: path }).await?;
        let status = wire.status(ticket).await?;
        return if status.code == Status::OK { Ok(()) } else { Err(refused(status)) };
    }
    let (status, found) = then_look(wire, Request::Rename { from: part, to: path }, path).await?;
    if status.code == Status::OK {
        return Ok(());
    }
    if !found.is_ok_and(|found| found.is_file()) {
        return Err(refused(status));
    }
    // For a moment there is no file of that name: such a server has no other way.
    let remove = wire.send(Request::Remove { path }).await?;
    let rename = wire.send(Request::Rename { from: part, to: path }).await?;
    wire.status(remove).await?;
    let status = wire.status(rename).await?;
    if status.code == Status::OK { Ok(()) } else { Err(refused(status)) }
}
