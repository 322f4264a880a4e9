//! Whether a file at the server is what it would be sent.
//!
//! It must not know why that is asked.

use bytes::{Bytes, BytesMut};

use super::fault::Fault;
use super::packet::{READ, Reply, Request};
use super::source::Source;
use super::wire::{PIECE, WINDOW, Wire};
use crate::deliver::content::File;

/// Pieces that are read together.
const TOGETHER: usize = WINDOW / 4;

/// Whether so many bytes from `offset` on are those of the content.
pub(super) async fn piece(
    wire: &mut Wire,
    handle: &[u8],
    content: &File,
    offset: u64,
    length: usize,
) -> Result<bool, Fault> {
    let there = read(wire, handle, offset, length).await?;
    let mut here = BytesMut::zeroed(length);
    let mut reader = Source::Plain(content).open(offset).await.map_err(Fault::Content)?;
    let length = reader.fill(&mut here).await.map_err(Fault::Content)?;
    Ok(there[..] == here[..length])
}

/// Whether a file has the same bytes as the content. One that may not be read has not.
pub(super) async fn with_content(wire: &mut Wire, path: &str, content: &File) -> Result<bool, Fault> {
    let ticket = wire.send(Request::Open { path, flags: READ, mode: None }).await?;
    let Ok(handle) = wire.handle(ticket).await? else { return Ok(false) };
    let same = same(wire, &handle, content).await?;
    wire.call(Request::Close { handle: &handle }).await?;
    Ok(same)
}

/// Whether two files have the same bytes.
pub(super) async fn two_files(wire: &mut Wire, one: &str, other: &str) -> Result<bool, Fault> {
    let mut handles = Vec::with_capacity(2);
    for path in [one, other] {
        let ticket = wire.send(Request::Open { path, flags: READ, mode: None }).await?;
        handles.extend(wire.handle(ticket).await?.ok());
    }
    let mut same = handles.len() == 2;
    let mut offset = 0;
    while let ([one, other], true) = (handles.as_slice(), same) {
        let one = read(wire, one, offset, TOGETHER * PIECE).await?;
        same = one == read(wire, other, offset, TOGETHER * PIECE).await?;
        if one.len() < TOGETHER * PIECE {
            break;
        }
        offset += one.len() as u64;
    }
    for handle in &handles {
        wire.call(Request::Close { handle }).await?;
    }
    Ok(same)
}

async fn same(wire: &mut Wire, handle: &Bytes, content: &File) -> Result<bool, Fault> {
    let mut reader = Source::Plain(content).open(0).await.map_err(Fault::Content)?;
    let mut here = BytesMut::zeroed(TOGETHER * PIECE);
    let mut offset = 0;
    loop {
        let length = reader.fill(&mut here).await.map_err(Fault::Content)?;
        // One byte more than there should be shows that there is more.
        let more = usize::from(length < here.len());
        let there = read(wire, handle, offset, length + more).await?;
        if there[..] != here[..length] {
            return Ok(false);
        }
        if more == 1 {
            return Ok(true);
        }
        offset += length as u64;
    }
}

/// So many bytes from `offset` on, or as many as there are.
async fn read(wire: &mut Wire, handle: &[u8], offset: u64, length: usize) -> Result<BytesMut, Fault> {
    let mut asked = Vec::new();
    let mut at = 0;
    while at < length {
        let size = (length - at).min(PIECE);
        let request = Request::Read { handle, offset: offset + at as u64, length: number(size) };
        asked.push((wire.send(request).await?, size));
        at += size;
    }
    let mut all = BytesMut::with_capacity(length);
    let mut ended = false;
    for (ticket, size) in asked {
        let mut reply = wire.reply(ticket).await?;
        let mut left = size;
        while !ended && left > 0 {
            match reply {
                Reply::Data(data) if !data.is_empty() && data.len() <= left => {
                    all.extend_from_slice(&data);
                    left -= data.len();
                }
                _ => {
                    ended = true;
                    break;
                }
            }
            if left == 0 {
                break;
            }
            // A server may give less than it was asked for.
            let request = Request::Read { handle, offset: offset + all.len() as u64, length: number(left) };
            reply = wire.call(request).await?;
        }
    }
    Ok(all)
}

fn number(size: usize) -> u32 {
    u32::try_from(size).unwrap_or(u32::MAX)
}
