//! Puts one file into a carrier's folder: written under a name that nobody looks at, then named in one step. For threads that may
//! block.
//!
//! The file keeps the delivery's id as an extended attribute, so that a repeat of the delivery (the process was killed before it
//! could record the attempt) finds it and changes nothing.

use std::io::{self, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use hookyard_sdk::template::numbered;
use rustix::fs::{Mode, Timespec, Timestamps, XattrFlags};
use sha2::{Digest, Sha256};

use super::fault::DropError;
use super::folder::{self, Folder};
use super::usage::{Counter, Growing, Share};
use crate::carrier::Existing;
use crate::clock::{Millis, random_bytes};
use crate::deliver::content::File;
use crate::event::DeliveryId;
use crate::pgp::Encryption;

/// The attribute with the delivery's id.
const ATTRIBUTE: &str = "user.hookyard.delivery";
/// The most files of the same name (the limit `numbered_files`).
const NUMBERED_FILES: u32 = 1_000;
/// How often a folder is opened anew that was removed, being empty, just before the file would have been in it.
const TRIES: usize = 3;

/// One file to put there.
#[derive(Debug)]
pub(super) struct Order {
    pub(super) delivery: DeliveryId,
    /// Its path below the top, checked.
    pub(super) path: String,
    pub(super) existing: Existing,
    pub(super) mode: u32,
    pub(super) content: File,
    pub(super) encryption: Option<Encryption>,
    /// The file's time.
    pub(super) now: Millis,
    /// Set when nobody waits any more.
    pub(super) given_up: Arc<AtomicBool>,
}

/// Where it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Placed {
    pub(super) path: String,
    pub(super) bytes: u64,
    /// Absent when an earlier attempt had put it there.
    pub(super) sha256: Option<[u8; 32]>,
}

/// Puts it there.
pub(super) fn place(
    top: &Folder,
    order: &Order,
    counter: &Counter,
    share: Share,
) -> Result<Placed, DropError> {
    let incoming = top.incoming().map_err(|why| no_folder(why, folder::INCOMING))?;
    forget_earlier(&incoming, &order.delivery)?;
    let (home, name) = descend(top, &order.path)?;
    if let Some(placed) = before(&home, name, order)? {
        return Ok(placed);
    }
    let unfinished = format!("{}.{:016x}", order.delivery, u64::from_ne_bytes(random_bytes()));
    let growing = counter.begin(share)?;
    let written = write(&incoming, &unfinished, order, growing);
    let placed = written.and_then(|(sha256, growing)| {
        let bytes = growing.bytes();
        let path = name_it(top, &incoming, &unfinished, order, counter)?;
        growing.done();
        Ok(Placed { path, bytes, sha256: Some(sha256) })
    });
    // Its other name stays, if it has one. What cannot be removed now is cleared up later.
    let _ = incoming.remove(&unfinished);
    placed
}

/// Removes what an earlier attempt has left unfinished: its process was killed, or nobody waits for it any more.
fn forget_earlier(incoming: &Folder, delivery: &DeliveryId) -> Result<(), DropError> {
    let mut earlier = Vec::new();
    incoming.entries(|name, _| {
        if name.strip_prefix(delivery.as_str()).is_some_and(|rest| rest.starts_with('.')) {
            earlier.push(name.to_owned());
        }
        Ok(())
    })?;
    for name in earlier {
        incoming.remove(&name)?;
    }
    Ok(())
}

/// The folder of a path, made as needed, and the name in it.
fn descend<'a>(top: &Folder, path: &'a str) -> Result<(Folder, &'a str), DropError> {
    let (folders, name) = path.rsplit_once('/').unwrap_or(("", path));
    let mut at = top.made(".")?;
    for part in folders.split('/').filter(|part| !part.is_empty()) {
        at = at.made(part).map_err(|why| no_folder(why, part))?;
    }
    Ok((at, name))
}

fn no_folder(why: io::Error, name: &str) -> DropError {
    match rustix::io::Errno::from_io_error(&why) {
        Some(rustix::io::Errno::LOOP | rustix::io::Errno::NOTDIR) => {
            DropError::NoFolder { name: name.to_owned() }
        }
        _ => why.into(),
    }
}

/// What an earlier attempt at the same delivery has put there; or why there is no use in writing.
fn before(home: &Folder, name: &str, order: &Order) -> Result<Option<Placed>, DropError> {
    let mut tried = name.to_owned();
    for number in 2..=NUMBERED_FILES + 1 {
        let Some(stat) = home.look(&tried)? else { return Ok(None) };
        if folder::is_file(&stat) {
            if is_of(&home.open(&tried)?, &order.delivery)? {
                let path = beside(&order.path, &tried);
                return Ok(Some(Placed { path, bytes: folder::bytes(&stat), sha256: None }));
            }
        } else if order.existing == Existing::Replace {
            return Err(DropError::NoFile { name: tried });
        }
        match order.existing {
            Existing::Replace => return Ok(None),
            Existing::Error => return Err(DropError::Exists { name: tried }),
            Existing::Number => tried = numbered(name, number),
        }
    }
    Err(DropError::Numbers { name: name.to_owned(), limit: NUMBERED_FILES })
}

fn is_of(file: &std::fs::File, delivery: &DeliveryId) -> Result<bool, DropError> {
    let mut value = [0; 64];
    match rustix::fs::fgetxattr(file, ATTRIBUTE, &mut value) {
        Ok(length) => Ok(&value[..length] == delivery.as_str().as_bytes()),
        // Somebody else's, or one that is too long to be an id.
        Err(rustix::io::Errno::NODATA | rustix::io::Errno::RANGE) => Ok(false),
        Err(why) => Err(io::Error::from(why).into()),
    }
}

/// Writes the whole file, with everything that belongs to it, and has the disk keep it.
fn write(
    incoming: &Folder,
    name: &str,
    order: &Order,
    growing: Growing,
) -> Result<([u8; 32], Growing), DropError> {
    let file = incoming.create(name)?;
    let mut meter = Meter { file, hash: Sha256::new(), growing, given_up: &order.given_up };
    let mut content =
        order.content.open_blocking(0).map_err(|why| DropError::Content(format!("the spool: {why}")))?;
    match &order.encryption {
        Some(encryption) => encryption.encrypt(&mut content, &mut meter)?,
        None => copy(&mut content, &mut meter)?,
    }
    let Meter { file, hash, growing, .. } = meter;
    rustix::fs::fsetxattr(&file, ATTRIBUTE, order.delivery.as_str().as_bytes(), XattrFlags::empty())
        .map_err(io::Error::from)?;
    rustix::fs::fchmod(&file, Mode::from_raw_mode(order.mode)).map_err(io::Error::from)?;
    let at = Timespec {
        tv_sec: order.now.0.div_euclid(1_000),
        tv_nsec: order.now.0.rem_euclid(1_000) * 1_000_000,
    };
    let times = Timestamps { last_access: at, last_modification: at };
    rustix::fs::futimens(&file, &times).map_err(io::Error::from)?;
    file.sync_all()?;
    Ok((hash.finalize().into(), growing))
}

fn copy(from: &mut dyn Read, to: &mut impl Write) -> Result<(), DropError> {
    let mut buffer = vec![0; 128 << 10];
    loop {
        let count = match from.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(count) => count,
            Err(why) if why.kind() == io::ErrorKind::Interrupted => continue,
            Err(why) => return Err(DropError::Content(format!("the spool: {why}"))),
        };
        to.write_all(&buffer[..count])?;
    }
}

/// Gives a whole file its name, and gives the path.
fn name_it(
    top: &Folder,
    incoming: &Folder,
    unfinished: &str,
    order: &Order,
    counter: &Counter,
) -> Result<String, DropError> {
    for _ in 0..TRIES {
        if order.given_up.load(Ordering::Acquire) {
            return Err(DropError::Late);
        }
        let (home, name) = descend(top, &order.path)?;
        let named = match order.existing {
            Existing::Replace => {
                let replaced = home.look(name)?.filter(folder::is_file);
                home.take(incoming, unfinished, name).map(|()| {
                    if let Some(stat) = replaced {
                        counter.removed(folder::bytes(&stat));
                    }
                    name.to_owned()
                })
            }
            Existing::Number | Existing::Error => free_name(&home, incoming, unfinished, name, order)?,
        };
        match named {
            Ok(named) => {
                home.sync()?;
                return Ok(beside(&order.path, &named));
            }
            // The folder was empty until now, and has just been cleared up.
            Err(why) if why.kind() == io::ErrorKind::NotFound => {}
            Err(why) => return Err(why.into()),
        }
    }
    Err(DropError::Io("its folder is removed again and again".to_owned()))
}

/// Links the file to the first name that is free.
fn free_name(
    home: &Folder,
    incoming: &Folder,
    unfinished: &str,
    name: &str,
    order: &Order,
) -> Result<io::Result<String>, DropError> {
    let mut tried = name.to_owned();
    for number in 2..=NUMBERED_FILES + 1 {
        match home.link(incoming, unfinished, &tried) {
            Ok(true) => return Ok(Ok(tried)),
            Ok(false) if order.existing == Existing::Error => return Err(DropError::Exists { name: tried }),
            Ok(false) => tried = numbered(name, number),
            Err(why) => return Ok(Err(why)),
        }
    }
    Err(DropError::Numbers { name: name.to_owned(), limit: NUMBERED_FILES })
}

/// The path with another name at its end.
fn beside(path: &str, name: &str) -> String {
    match path.rsplit_once('/') {
        Some((folders, _)) => format!("{folders}/{name}"),
        None => name.to_owned(),
    }
}

/// A file that counts what is written, and takes room for it first.
struct Meter<'a> {
    file: std::fs::File,
    hash: Sha256,
    growing: Growing,
    given_up: &'a AtomicBool,
}

impl Write for Meter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.given_up.load(Ordering::Acquire) {
            return Err(io::Error::other(DropError::Late));
        }
        self.growing.grow(bytes.len() as u64).map_err(io::Error::other)?;
        self.file.write_all(bytes)?;
        self.hash.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
