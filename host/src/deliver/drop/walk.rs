//! Looking through a carrier's files: what there is, what is old, and what was left behind. For threads that may block; memory is bounded
//! whatever is found. It must not know deliveries.

use std::collections::BinaryHeap;
use std::io;

use rustix::fs::Stat;

use super::folder::{self, Folder, INCOMING};
use super::usage::Usage;
use crate::carrier::DropFile;
use crate::clock::Millis;

/// Folders within folders that are looked into. A path has sixteen parts at most.
const DEPTH: usize = 32;
/// Files that are removed in one go.
pub(super) const BATCH: usize = 1_000;
/// How long an unfinished file may rest before it is taken for left behind, in milliseconds. Every attempt has given up by then.
const UNFINISHED_MS: i64 = 24 * 3_600_000;
/// How long an empty folder stays, in milliseconds.
const EMPTY_MS: i64 = 24 * 3_600_000;

fn modified(stat: &Stat) -> Millis {
    #[expect(clippy::useless_conversion, reason = "its type differs between machines")]
    Millis(
        i64::from(stat.st_mtime).saturating_mul(1_000).saturating_add(stat.st_mtime_nsec as i64 / 1_000_000),
    )
}

/// Calls for every file below the top; unfinished ones are not among them.
fn each_file(top: &Folder, each: &mut dyn FnMut(&str, &Stat) -> io::Result<()>) -> io::Result<()> {
    fn below(
        at: &Folder,
        path: &mut String,
        depth: usize,
        each: &mut dyn FnMut(&str, &Stat) -> io::Result<()>,
    ) -> io::Result<()> {
        let before = path.len();
        at.entries(|name, stat| {
            if depth == 0 && name == INCOMING {
                return Ok(());
            }
            path.push_str(name);
            let done = if folder::is_file(stat) {
                each(path, stat)
            } else if depth < DEPTH {
                path.push('/');
                match at.inside(name) {
                    Ok(inside) => below(&inside, path, depth + 1, each),
                    // It was removed, or something else has taken its place.
                    Err(_) => Ok(()),
                }
            } else {
                Ok(())
            };
            path.truncate(before);
            done
        })
    }
    below(top, &mut String::new(), 0, each)
}

/// How much there is.
pub(super) fn usage(top: &Folder) -> io::Result<Usage> {
    let mut usage = Usage::default();
    each_file(top, &mut |_, stat| {
        usage.bytes += folder::bytes(stat);
        usage.files += 1;
        Ok(())
    })?;
    Ok(usage)
}

/// The first files by path that come after a path.
pub(super) fn list(top: &Folder, after: Option<&str>, limit: usize) -> io::Result<Vec<DropFile>> {
    let mut first: BinaryHeap<DropFile> = BinaryHeap::with_capacity(limit + 1);
    each_file(top, &mut |path, stat| {
        let is_wanted = after.is_none_or(|after| path > after)
            && (first.len() < limit || first.peek().is_some_and(|last| path < last.path.as_str()));
        if is_wanted {
            first.push(DropFile {
                path: path.to_owned(),
                bytes: folder::bytes(stat),
                modified: modified(stat),
            });
            if first.len() > limit {
                first.pop();
            }
        }
        Ok(())
    })?;
    Ok(first.into_sorted_vec())
}

/// Removes a file and the folders that it leaves empty; gives its length, if there was one.
pub(super) fn remove(top: &Folder, path: &str) -> io::Result<Option<u64>> {
    let mut parts: Vec<&str> = path.split('/').collect();
    let Some(name) = parts.pop() else { return Ok(None) };
    let mut folders = vec![top.inside(".")?];
    for part in &parts {
        match folders[folders.len() - 1].inside(part) {
            Ok(inside) => folders.push(inside),
            // Nothing that the host has put there is behind a link or a file.
            Err(_) => return Ok(None),
        }
    }
    let home = &folders[folders.len() - 1];
    let Some(stat) = home.look(name)?.filter(folder::is_file) else { return Ok(None) };
    if !home.remove(name)? {
        return Ok(None);
    }
    for (index, part) in parts.iter().enumerate().rev() {
        if !folders[index].remove_empty(part)? {
            break;
        }
    }
    Ok(Some(folder::bytes(&stat)))
}

/// What one clearing up has removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Cleared {
    pub(super) files: usize,
    /// There may be more.
    pub(super) more: bool,
}

/// Removes files from before a moment, at most [`BATCH`].
pub(super) fn clear_old(top: &Folder, before: Millis) -> io::Result<Cleared> {
    let mut old = Vec::new();
    each_file(top, &mut |path, stat| {
        if modified(stat) < before && old.len() < BATCH {
            old.push(path.to_owned());
        }
        Ok(())
    })?;
    let more = old.len() == BATCH;
    let mut files = 0;
    for path in old {
        files += usize::from(remove(top, &path)?.is_some());
    }
    Ok(Cleared { files, more })
}

/// Removes what attempts have left behind that were killed: unfinished files, and folders that nothing came into.
pub(super) fn clear_left_behind(top: &Folder, now: Millis) -> io::Result<()> {
    if let Ok(incoming) = top.inside(INCOMING) {
        let mut left = Vec::new();
        incoming.entries(|name, stat| {
            if folder::is_file(stat) && modified(stat).0 < now.0 - UNFINISHED_MS && left.len() < BATCH {
                left.push(name.to_owned());
            }
            Ok(())
        })?;
        for name in left {
            incoming.remove(&name)?;
        }
    }
    empty_folders(top, now, 0)
}

fn empty_folders(at: &Folder, now: Millis, depth: usize) -> io::Result<()> {
    let mut folders = Vec::new();
    at.entries(|name, stat| {
        if folder::is_folder(stat) && !(depth == 0 && name == INCOMING) && folders.len() < BATCH {
            folders.push((name.to_owned(), modified(stat)));
        }
        Ok(())
    })?;
    for (name, modified) in folders {
        if depth < DEPTH
            && let Ok(inside) = at.inside(&name)
        {
            empty_folders(&inside, now, depth + 1)?;
        }
        if modified.0 < now.0 - EMPTY_MS {
            at.remove_empty(&name)?;
        }
    }
    Ok(())
}
