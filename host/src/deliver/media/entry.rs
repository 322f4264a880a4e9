//! One link of one delivery: what has become of it, and the task that fetches it, has it looked at, and tries again.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use super::fetch::{FetchError, Meaning};
use super::scan::{ScanError, Verdict};
use super::spool::{Fetched, Key, Note, Space};
use super::{Media, lock};
use crate::clock::{Clock, Millis};
use crate::deliver::content::{File, Missing, Spooled};
use crate::retry::{MediaFault, Outcome};
use crate::telemetry::Kind;

/// How long after a failure it is tried again by itself; the last goes on while the link lives.
const BACKOFF: [Duration; 5] = [
    Duration::from_secs(2),
    Duration::from_secs(10),
    Duration::from_secs(30),
    Duration::from_secs(120),
    Duration::from_secs(300),
];
/// A failure older than this is not told to an attempt: it is tried again first.
const STALE: Duration = Duration::from_secs(60);

/// A link and what has become of it.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) key: Key,
    url: String,
    /// Since when the link lives.
    since: Millis,
    entered: Millis,
    state: watch::Sender<State>,
    /// Somebody wants it now.
    hurry: Notify,
    end: CancellationToken,
    /// What is in the spool of it.
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    fetched: Option<Fetched>,
    space: Option<Space>,
}

#[derive(Debug)]
enum State {
    /// It waits for its turn, is being fetched, or looked at.
    Busy,
    /// It can be sent.
    Ready(Arc<Spooled>),
    /// It failed then, and is tried again. `told`: an attempt has reported it.
    Failed { missing: Missing, at: Millis, told: bool },
    /// It will never be sent.
    Over(Missing),
}

/// Why a file cannot be sent, in the words of the metrics.
#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error(transparent)]
    Fetch(#[from] FetchError),
    #[error("the scanner found {0} in it; it was deleted")]
    Flagged(String),
    #[error(
        "{bytes} bytes are more than the scanner takes: raise `StreamMaxLength` in its configuration, or lower `max_bytes`"
    )]
    Unscannable { bytes: u64 },
    #[error("it waits for the virus scanner: {0}")]
    Scan(#[from] ScanError),
    #[error("the spool cannot be written: {0}")]
    Spool(#[from] std::io::Error),
}

impl Entry {
    pub(super) fn new(key: Key, url: String, since: Millis) -> Self {
        Self {
            key,
            url,
            since,
            entered: since,
            state: watch::Sender::new(State::Busy),
            hurry: Notify::new(),
            end: CancellationToken::new(),
            kept: Mutex::default(),
        }
    }

    /// What the last start left.
    pub(super) fn left(key: Key, note: Note, space: Option<Space>) -> Self {
        let kept = Kept { fetched: note.fetched, space };
        Self { kept: Mutex::new(kept), ..Self::new(key, note.url, note.since) }
    }

    /// The same, entered at this moment.
    pub(super) fn at(self, entered: Millis) -> Self {
        Self { entered, ..self }
    }

    pub(super) fn entered(&self) -> Millis {
        self.entered
    }

    /// Ends its task.
    pub(super) fn stop(&self) {
        self.end.cancel();
    }

    pub(super) async fn ended(&self) {
        self.end.cancelled().await;
    }

    /// Waits until it is there, or failed just now. A failure that has been reported, or is old, is tried again first.
    pub(super) async fn settled(&self, clock: &Clock) {
        let mut changed = self.state.subscribe();
        loop {
            let again = self.state.send_if_modified(|state| match state {
                State::Failed { at, told, .. } if *told || clock.now().since(*at) > STALE => {
                    *state = State::Busy;
                    true
                }
                _ => false,
            });
            if again {
                self.hurry.notify_one();
            }
            if !matches!(*changed.borrow_and_update(), State::Busy) {
                return;
            }
            tokio::select! {
                _ = changed.changed() => {}
                () = self.end.cancelled() => return,
            }
        }
    }

    /// What has become of it, for an attempt.
    pub(super) fn take(&self) -> Result<File, Missing> {
        let mut taken = Err(Missing::failed("its delivery has ended"));
        self.state.send_if_modified(|state| {
            match state {
                State::Busy => {}
                State::Ready(spooled) => taken = Ok(File::Spooled(spooled.clone())),
                State::Failed { missing, told, .. } => {
                    *told = true;
                    taken = Err(missing.clone());
                }
                State::Over(missing) => taken = Err(missing.clone()),
            }
            false
        });
        taken
    }

    /// The file that it has in the spool, with its room.
    pub(super) fn give_up(&self) -> Option<(Arc<Spooled>, Space)> {
        let State::Ready(spooled) = self.state.send_replace(State::Busy) else { return None };
        Some((spooled, lock(&self.kept).space.take()?))
    }
}

impl Media {
    /// Brings a link's file into the spool, again and again while its link lives.
    pub(super) async fn work(&self, entry: &Entry) {
        let mut failures = 0_usize;
        loop {
            let fault = match self.bring(entry).await {
                Ok(spooled) => {
                    entry.state.send_replace(State::Ready(Arc::new(spooled)));
                    return;
                }
                Err(fault) => fault,
            };
            let now = self.0.clock.now();
            let age = now.since(entry.since);
            let lives = self.0.limits.link.is_some_and(|link| age < link);
            let (missing, kind) = self.judge(&fault, age);
            self.count(entry, kind, &missing);
            if !matches!(missing.outcome, Outcome::Media(MediaFault::Failed)) {
                *lock(&entry.kept) = Kept::default();
                self.0.spool.discard(&entry.key, &["json", "part", "bin"]);
                entry.state.send_replace(State::Over(missing));
                return;
            }
            entry.state.send_replace(State::Failed { missing, at: now, told: false });
            let wait = BACKOFF[failures.min(BACKOFF.len() - 1)];
            failures += 1;
            // What only waits for the scanner does not get old.
            let by_itself = lives || matches!(fault, Fault::Scan(_));
            tokio::select! {
                () = entry.hurry.notified() => {}
                () = self.0.clock.sleep(wait), if by_itself => {}
            }
            entry.state.send_replace(State::Busy);
        }
    }

    /// Fetches, unless that is done, and has it looked at, unless that is done.
    async fn bring(&self, entry: &Entry) -> Result<Spooled, Fault> {
        let inner = &*self.0;
        let known = lock(&entry.kept).fetched.clone();
        let mut fetched = match known {
            Some(fetched) => fetched,
            None => self.fetch(entry).await?,
        };
        let path = inner.spool.path(&entry.key, "bin");
        if let (Some(scanner), false) = (&inner.scanner, fetched.scanned) {
            match scanner.scan(&path).await? {
                Verdict::Clean => {}
                Verdict::Found(name) => return Err(Fault::Flagged(name)),
                Verdict::TooLarge => return Err(Fault::Unscannable { bytes: fetched.len }),
            }
            fetched.scanned = true;
            self.note(entry, Some(fetched.clone())).await?;
        }
        let Fetched { len, sha256, content_type, .. } = fetched;
        Ok(Spooled { path, len, sha256, content_type })
    }

    async fn fetch(&self, entry: &Entry) -> Result<Fetched, Fault> {
        let inner = &*self.0;
        // So that a start after a crash begins it again at once, whenever its delivery is due.
        self.note(entry, None).await?;
        let carrier = self.of_carrier(&entry.key.carrier);
        // Neither is ever closed.
        let (_of_carrier, _of_all) = (carrier.acquire().await, inner.all.acquire().await);
        let (fetched, space) =
            inner.fetcher.fetch(&entry.key, &entry.url, &self.rules(&entry.key.carrier)).await?;
        inner.metrics.media_fetches.get_or_create(&Kind { kind: "fetched" }).inc();
        inner.metrics.media_bytes.inc_by(fetched.len);
        tracing::debug!(carrier = %entry.key.carrier, delivery = %entry.key.delivery, slot = entry.key.slot,
            bytes = fetched.len, content_type = fetched.content_type, "media fetched");
        lock(&entry.kept).space = Some(space);
        self.note(entry, Some(fetched.clone())).await?;
        Ok(fetched)
    }

    async fn note(&self, entry: &Entry, fetched: Option<Fetched>) -> Result<(), std::io::Error> {
        let note = Note { url: entry.url.clone(), since: entry.since, fetched };
        self.0.spool.note(&entry.key, &note).await?;
        lock(&entry.kept).fetched = note.fetched;
        Ok(())
    }

    /// What a fault means for attempts, at this age of the link, and its word.
    fn judge(&self, fault: &Fault, age: Duration) -> (Missing, &'static str) {
        let refused = |why: String| Missing {
            outcome: Outcome::Media(MediaFault::Refused(why.clone().into())),
            why: why.into(),
        };
        let Fault::Fetch(why) = fault else {
            return match fault {
                Fault::Flagged(name) => {
                    let (outcome, why) = (MediaFault::Flagged(name.clone().into()), fault.to_string().into());
                    (Missing { outcome: Outcome::Media(outcome), why }, "flagged")
                }
                Fault::Unscannable { .. } => (refused(fault.to_string()), "refused"),
                _ => (Missing::failed(fault.to_string()), "failed"),
            };
        };
        let seconds = age.as_secs();
        let gone = |why: String| Missing { outcome: Outcome::Media(MediaFault::Expired), why: why.into() };
        match (why.meaning(), self.0.limits.link) {
            (Meaning::Refused, _) => (refused(why.to_string()), "refused"),
            (Meaning::Expired, _) => {
                let why = format!(
                    "the link has expired, or what it led to is gone: {why}, {seconds} s after its event came"
                );
                (gone(why), "expired")
            }
            (Meaning::Passing, Some(life)) if age >= life => {
                let life = life.as_secs();
                let why = format!(
                    "the link has expired: its event came {seconds} s ago, links live {life} s (`media.link_s`), and {why}"
                );
                (gone(why), "expired")
            }
            (Meaning::Passing, _) => (Missing::failed(why.to_string()), "failed"),
        }
    }

    fn count(&self, entry: &Entry, kind: &'static str, missing: &Missing) {
        self.0.metrics.media_fetches.get_or_create(&Kind { kind }).inc();
        tracing::info!(carrier = %entry.key.carrier, delivery = %entry.key.delivery, slot = entry.key.slot,
            outcome = kind, why = %missing.why, "media cannot be sent");
    }
}
