//! Removes what is left in a folder of uploads that never ended: of deliveries that were given up, cancelled, or sent elsewhere.
//!
//! It must not know which they were: what is old enough is nobody's any more, and who needs it after all sends it again.

use super::fault::Fault;
use super::packet::{Reply, Request};
use super::session::remove;
use super::steps::Steps;
use super::upload::{Job, PART_END, PART_START, join};
use super::wire::{WINDOW, Wire};
use crate::clock::Millis;

/// Names that are looked at in one folder.
const NAMES: usize = 10_000;
/// Answers that they may come in.
const ANSWERS: usize = 500;

/// Removes old half-done uploads from the folder of a file. A folder that may not be read stays as it is.
pub(super) async fn sweep(wire: &mut Wire, job: &Job<'_>, steps: &mut Steps) -> Result<(), Fault> {
    let folder = job.folder();
    let path = if folder.is_empty() { "." } else { folder };
    let ticket = wire.send(Request::OpenFolder { path }).await?;
    let Ok(handle) = wire.handle(ticket).await? else { return Ok(()) };
    let (mut seen, mut old) = (0, Vec::new());
    for _ in 0..ANSWERS {
        let Reply::Names(names) = wire.call(Request::ReadFolder { handle: &handle }).await? else { break };
        seen += names.len();
        for (name, found) in names {
            let is_part = name.starts_with(PART_START) && name.ends_with(PART_END) && !name.contains('/');
            let at = found.modified.map(|at| Millis(i64::from(at) * 1_000));
            if is_part && found.is_file() && at.is_some_and(|at| job.now.since(at) > job.parts) {
                old.push(join(folder, &name));
            }
        }
        if seen >= NAMES {
            break;
        }
    }
    wire.call(Request::Close { handle: &handle }).await?;
    for batch in old.chunks(WINDOW / 2) {
        remove(wire, batch).await?;
    }
    if !old.is_empty() {
        steps.note(format_args!("removed {} half-done uploads of deliveries that ended", old.len()));
    }
    Ok(())
}
