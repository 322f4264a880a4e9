//! One connection to a server, shared by the files that go there at once: each has a channel to itself.
//!
//! It must not know what is uploaded.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use russh::client::Handle;
use russh::{Disconnect, Error};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

use super::connect::Watch;
use super::fault::Fault;
use super::packet::Request;
use super::wire::{PROBE, WINDOW, Wire};
use crate::clock::Stopwatch;

/// How long a second name of a delivered file is kept: until its record must have been written.
const LEFTOVER_REST: Duration = Duration::from_secs(10);
/// The most second names that are kept.
const LEFTOVERS: usize = 1_024;
/// The most folders that are remembered as swept.
const FOLDERS: usize = 256;
/// How long the end of a session may take.
const FAREWELL: Duration = Duration::from_secs(3);

/// A connection that is logged in.
pub(super) struct Session {
    handle: Handle<Watch>,
    /// Channels that nobody uses.
    idle: Mutex<Vec<Wire>>,
    /// How many more may be in use.
    room: Arc<Semaphore>,
    /// How many there may be in all: fewer when the server has shown that it allows fewer.
    channels: AtomicUsize,
    /// Second names of files that have come to their place, with their age.
    leftovers: Mutex<Vec<(String, Stopwatch)>>,
    swept: Mutex<HashSet<String>>,
    /// Whether the server has shown that it makes no hard links, whatever it offers.
    without_links: AtomicBool,
    used: Mutex<Stopwatch>,
    /// Set when it is to end as soon as nobody uses it.
    retired: AtomicBool,
    retire: Notify,
    /// Its place among all sessions.
    _place: OwnedSemaphorePermit,
}

/// A channel in use, with its session.
pub(super) struct Lent {
    pub(super) wire: Wire,
    permit: OwnedSemaphorePermit,
}

impl Session {
    pub(super) fn new(handle: Handle<Watch>, channels: usize, place: OwnedSemaphorePermit) -> Self {
        Self {
            handle,
            idle: Mutex::default(),
            room: Arc::new(Semaphore::new(channels)),
            channels: AtomicUsize::new(channels),
            leftovers: Mutex::default(),
            swept: Mutex::default(),
            without_links: AtomicBool::new(false),
            used: Mutex::new(Stopwatch::start()),
            retired: AtomicBool::new(false),
            retire: Notify::new(),
            _place: place,
        }
    }

    /// Whether its connection has ended.
    pub(super) fn is_closed(&self) -> bool {
        self.handle.is_closed()
    }

    /// Whether nobody uses it.
    pub(super) fn is_idle(&self) -> bool {
        self.room.available_permits() >= self.channels.load(Ordering::SeqCst)
    }

    /// Whether others use it beside the one who asks.
    fn is_shared(&self) -> bool {
        self.room.available_permits() + 1 < self.channels.load(Ordering::SeqCst)
    }

    /// For how long nobody has begun or ended to use it.
    pub(super) fn rested(&self) -> Duration {
        locked(&self.used).elapsed()
    }

    /// A channel: one that rests, or a new one. Waits while as many as may be are in use.
    /// Of a session that was `reused` the first sign of life is waited for no longer than [`PROBE`].
    pub(super) async fn lend(&self, reused: bool, timeout: Duration) -> Result<Lent, Fault> {
        let patience = if reused { timeout.min(PROBE) } else { timeout };
        loop {
            let permit = self.room.clone().acquire_owned().await.map_err(|_| Fault::Closed)?;
            *locked(&self.used) = Stopwatch::start();
            let resting = locked(&self.idle).pop();
            if let Some(mut wire) = resting {
                wire.resume(timeout, patience);
                return Ok(Lent { wire, permit });
            }
            let opening = tokio::time::timeout(patience, self.handle.channel_open_session()).await;
            match opening.map_err(|_| Fault::Stalled { awaited: "a channel", patience })? {
                Ok(channel) => {
                    return Ok(Lent { wire: Wire::start(channel, timeout).await?, permit });
                }
                // The server allows fewer than we do; those in use come back.
                Err(Error::ChannelOpenFailure(_)) if self.is_shared() => {
                    self.channels.fetch_sub(1, Ordering::SeqCst);
                    permit.forget();
                }
                Err(why) => return Err(Fault::Ssh(why)),
            }
        }
    }

    /// Takes a channel back. One with anything under way is closed.
    pub(super) fn give_back(&self, lent: Lent) {
        let Lent { wire, permit } = lent;
        if wire.is_at_rest() {
            locked(&self.idle).push(wire);
        }
        *locked(&self.used) = Stopwatch::start();
        drop(permit);
    }

    /// Whether a folder has not been looked through in this session; it counts as looked through from now on.
    pub(super) fn is_first_visit(&self, folder: &str) -> bool {
        let mut swept = locked(&self.swept);
        if swept.len() >= FOLDERS {
            return false;
        }
        swept.insert(folder.to_owned())
    }

    /// Whether hard links are worth a try.
    pub(super) fn has_links(&self) -> bool {
        !self.without_links.load(Ordering::Relaxed)
    }

    /// The server makes none.
    pub(super) fn give_up_links(&self) {
        self.without_links.store(true, Ordering::Relaxed);
    }

    /// Keeps a second name to be removed later.
    pub(super) fn leave(&self, path: String) {
        locked(&self.leftovers).push((path, Stopwatch::start()));
    }

    /// Gives up the second names whose time has come, no more than can be removed at once.
    pub(super) fn ripe(&self) -> Vec<String> {
        let mut leftovers = locked(&self.leftovers);
        let over = leftovers.len().saturating_sub(LEFTOVERS);
        let ripe = leftovers.iter().take_while(|(_, since)| since.elapsed() >= LEFTOVER_REST).count();
        let count = ripe.max(over).min(WINDOW / 2);
        leftovers.drain(..count).map(|(path, _)| path).collect()
    }

    /// Ends it as soon as nobody uses it.
    pub(super) fn retire(&self) {
        self.retired.store(true, Ordering::SeqCst);
        self.retire.notify_waiters();
        self.retire.notify_one();
    }

    /// Waits until it has rested for so long, or is to end, or has ended.
    pub(super) async fn end_of_use(&self, idle: Duration) {
        loop {
            let rested = self.rested();
            let retired = self.retired.load(Ordering::SeqCst);
            if self.is_closed() || (self.is_idle() && (retired || rested >= idle)) {
                return;
            }
            // One that is in use is looked at again a little later.
            let pause = match self.is_idle() {
                true => idle.saturating_sub(rested).max(Duration::from_millis(10)),
                false if retired => Duration::from_millis(50),
                false => idle,
            };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.retire.notified(), if !retired => {}
            }
        }
    }

    /// Removes the second names that are left and says farewell.
    pub(super) async fn close(&self) {
        let farewell = async {
            let left: Vec<_> = locked(&self.leftovers).drain(..).map(|(path, _)| path).collect();
            if !left.is_empty()
                && !self.is_closed()
                && let Ok(mut lent) = self.lend(false, FAREWELL).await
            {
                for batch in left.chunks(WINDOW / 2) {
                    if remove(&mut lent.wire, batch).await.is_err() {
                        break;
                    }
                }
            }
            locked(&self.idle).clear();
            // It may have gone before.
            let _ = self.handle.disconnect(Disconnect::ByApplication, "done", "en").await;
        };
        // What is left undone, the next session's sweep does.
        let _ = tokio::time::timeout(FAREWELL, farewell).await;
    }
}

/// Removes files at once, whether they are there or not.
pub(super) async fn remove(wire: &mut Wire, paths: &[String]) -> Result<(), Fault> {
    let mut sent = Vec::with_capacity(paths.len());
    for path in paths {
        sent.push(wire.send(Request::Remove { path }).await?);
    }
    for ticket in sent {
        wire.status(ticket).await?;
    }
    Ok(())
}

fn locked<T>(what: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    what.lock().unwrap_or_else(PoisonError::into_inner)
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("closed", &self.is_closed()).field("idle", &self.is_idle()).finish()
    }
}
