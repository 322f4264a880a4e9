#![doc = include_str!("README.md")]

mod entry;
mod fetch;
mod kinds;
mod rules;
mod scan;
mod spool;

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::Semaphore;

use super::address::AddressPolicy;
use super::clients::Clients;
use super::content::{File, Missing, Spooled};
use super::tls::{ClientTls, TlsError};
use crate::carrier::{MediaCeiling, MediaRules, Tls};
use crate::clock::{Clock, Millis};
use crate::event::{CarrierId, DeliveryId};
use crate::lifecycle::Lifecycle;
use crate::store::work::{AttachmentContent, Body, HeldDelivery, Message};
use crate::telemetry::Metrics;
use entry::Entry;
use fetch::Fetcher;
use rules::Rules;
use scan::Scanner;
pub use scan::ScannerAddress;
use spool::{Key, Left, Space, Spool};

/// How long an attempt waits for a file that is still being fetched; it then fails as one whose host did not answer.
const WAIT: Duration = Duration::from_secs(30);
/// Links that are waited for, fetched or kept at once; more are fetched when they are due to be sent.
const MAX_LINKS: usize = spool::MAX_FILES;

/// The limits of fetching, from the settings `[media]`.
#[derive(Debug, Clone)]
pub struct MediaLimits {
    /// What no carrier can go beyond.
    pub ceiling: MediaCeiling,
    /// `spool_bytes`: bytes of all files in the spool.
    pub spool_bytes: u64,
    /// `carrier_spool_bytes`: of them, those of one carrier.
    pub carrier_spool_bytes: u64,
    /// `fetches`: fetches at once.
    pub fetches: usize,
    /// `carrier_fetches`: of them, those of one carrier.
    pub carrier_fetches: usize,
    /// `idle_s`: how long a media host may be silent.
    pub idle: Duration,
    /// `fetch_s`: how long one file may take.
    pub whole: Duration,
    /// `link_s`: how long a link lives, when that is known.
    pub link: Option<Duration>,
    /// `scan_s`: how long the scanner may take for one file.
    pub scan: Duration,
}

/// What fetching needs of the host.
#[derive(Debug, Clone)]
pub struct MediaParts {
    /// The spool's folder. Made when it is missing.
    pub folder: PathBuf,
    /// Its limits.
    pub limits: MediaLimits,
    /// Authorities that media hosts' certificates may be signed by, besides those of the system, as PEM.
    pub authorities: Option<String>,
    /// The virus scanner.
    pub scanner: Option<ScannerAddress>,
    /// Where the time comes from.
    pub clock: Clock,
    /// What is told of the stop.
    pub life: Lifecycle,
    /// Where fetches are counted.
    pub metrics: Metrics,
}

/// Why there is no fetching.
#[derive(Debug, thiserror::Error)]
pub enum MediaError {
    /// The spool's folder cannot be used.
    #[error("the spool {folder}: {why}")]
    Spool {
        /// The folder.
        folder: PathBuf,
        /// What the system said.
        why: std::io::Error,
    },
    /// The authorities cannot be used.
    #[error("media.authorities: {0}")]
    Authorities(TlsError),
}

/// Fetches what deliveries carry, and keeps it until they have ended. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Media(Arc<Inner>);

type Slots = BTreeMap<usize, Arc<Entry>>;

#[derive(Debug)]
struct Inner {
    fetcher: Fetcher,
    spool: Spool,
    scanner: Option<Scanner>,
    limits: MediaLimits,
    rules: RwLock<HashMap<CarrierId, Arc<Rules>>>,
    entries: Mutex<HashMap<(CarrierId, DeliveryId), Slots>>,
    /// What the last start left unfinished, until it is taken up again.
    left: Mutex<Vec<Left>>,
    /// Files whose delivery has ended while somebody still read them.
    doomed: Mutex<Vec<(Key, Arc<Spooled>, Space)>>,
    all: Semaphore,
    carriers: Mutex<HashMap<CarrierId, Arc<Semaphore>>>,
    clock: Clock,
    life: Lifecycle,
    metrics: Metrics,
    tasks: tokio::runtime::Handle,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What of a delivery is fetched: the place of each attachment (0 for a body) and its link.
fn links<'a>(message: &'a Message, body: &'a Body) -> impl Iterator<Item = (usize, &'a str)> {
    let attachments = match message {
        Message::Email { attachments, .. } => attachments.as_slice(),
        Message::Forward | Message::Http { .. } | Message::Sftp { .. } => &[],
    };
    let of_body = match (message, body) {
        (Message::Email { .. }, _) | (_, Body::Original | Body::Bytes(_)) => None,
        (_, Body::Fetch(url)) => Some((0, url.as_str())),
    };
    let attached = attachments.iter().enumerate().filter_map(|(slot, one)| match &one.content {
        AttachmentContent::Fetch(url) => Some((slot, url.as_str())),
        AttachmentContent::Original | AttachmentContent::Bytes(_) => None,
    });
    of_body.into_iter().chain(attached)
}

/// Whether anything of a delivery is fetched.
pub fn is_fetched(message: &Message, body: &Body) -> bool {
    links(message, body).next().is_some()
}

impl Media {
    /// Opens the spool. What the last start left unfinished waits for [`Media::resume`].
    pub(super) fn open(
        parts: MediaParts,
        clients: Clients,
        policy: &AddressPolicy,
    ) -> Result<Self, MediaError> {
        let MediaParts { folder, limits, authorities, scanner, clock, life, metrics } = parts;
        let tls = authorities.map(|ca| ClientTls::compile(&Tls { ca: Some(ca), ..Tls::default() }));
        let (spool, left) = Spool::open(folder.clone(), limits.spool_bytes, limits.carrier_spool_bytes)
            .map_err(|why| MediaError::Spool { folder, why })?;
        let fetcher = Fetcher {
            clients,
            tls: tls.transpose().map_err(MediaError::Authorities)?,
            policy: policy.clone(),
            spool: spool.clone(),
            idle: limits.idle,
            whole: limits.whole,
        };
        Ok(Self(Arc::new(Inner {
            fetcher,
            spool,
            scanner: scanner.map(|address| Scanner { address, limit: limits.scan }),
            all: Semaphore::new(limits.fetches),
            limits,
            rules: RwLock::default(),
            entries: Mutex::default(),
            left: Mutex::new(left),
            doomed: Mutex::default(),
            carriers: Mutex::default(),
            clock,
            life,
            metrics,
            tasks: tokio::runtime::Handle::current(),
        })))
    }

    /// Sets what may be fetched for a carrier from now on; until then nothing is.
    pub fn set_rules(&self, carrier: &CarrierId, rules: &MediaRules) {
        let rules = Arc::new(Rules::compile(rules, &self.0.limits.ceiling));
        let mut all = self.0.rules.write().unwrap_or_else(PoisonError::into_inner);
        all.insert(carrier.clone(), rules);
    }

    /// Goes on with what the last start left: call it when the carriers' rules are known, and [`Media::forget`] what has ended
    /// meanwhile before.
    pub fn resume(&self) {
        for Left { key, note, space } in std::mem::take(&mut *lock(&self.0.left)) {
            self.enter(key, |key| Entry::left(key, note, space));
        }
    }

    /// Begins to fetch what a delivery carries that has just been planned: links do not wait for its turn to be sent.
    /// Beyond a bounded number of links nothing is begun: it is fetched when its turn comes.
    pub fn begin(&self, carrier: &CarrierId, id: &DeliveryId, message: &Message, body: &Body, since: Millis) {
        for (slot, url) in links(message, body) {
            if lock(&self.0.entries).len() >= MAX_LINKS {
                tracing::warn!(%carrier, delivery = %id,
                    "{MAX_LINKS} links are waited for, the limit `media_links`: this one is fetched when it is to be sent");
                return;
            }
            let key = Key { carrier: carrier.clone(), delivery: id.clone(), slot };
            self.enter(key, |key| Entry::new(key, url.to_owned(), since));
        }
    }

    /// Waits until everything that a delivery carries is there, or cannot be had now. Nothing is spent by it: no permit, no
    /// attempt.
    pub async fn settle(&self, d: &HeldDelivery) {
        // All of them are begun before the first is waited for.
        let entries: Vec<_> =
            links(&d.message, &d.body).map(|(slot, url)| self.entry(d, slot, url)).collect();
        for entry in entries {
            entry.settled(&self.0.clock).await;
        }
    }

    /// One of the files that a delivery carries.
    pub(super) async fn take(&self, d: &HeldDelivery, slot: usize, url: &str) -> Result<File, Missing> {
        let entry = self.entry(d, slot, url);
        match tokio::time::timeout(WAIT, entry.settled(&self.0.clock)).await {
            Ok(()) => entry.take(),
            Err(_) => Err(Missing::failed(format!("it is still being fetched after {WAIT:?}"))),
        }
    }

    /// Whether anything is fetched or kept for a delivery.
    pub fn keeps(&self, carrier: &CarrierId, id: &DeliveryId) -> bool {
        let entries = lock(&self.0.entries);
        !entries.is_empty() && entries.contains_key(&(carrier.clone(), id.clone()))
    }

    /// Removes what was fetched for a delivery: it has ended.
    pub fn forget(&self, carrier: &CarrierId, id: &DeliveryId) {
        let slots = lock(&self.0.entries).remove(&(carrier.clone(), id.clone()));
        for entry in slots.into_iter().flatten().map(|(_, entry)| entry) {
            self.end(&entry);
        }
        let mut left = lock(&self.0.left);
        let gone = left.extract_if(.., |one| one.key.carrier == *carrier && one.key.delivery == *id);
        let keys: Vec<Key> = gone.map(|one| one.key).collect();
        drop(left);
        keys.iter().for_each(|key| self.0.spool.discard(key, &["json", "part", "bin"]));
        self.bury();
    }

    /// The deliveries for which something is fetched or kept, and was at `before` already.
    pub fn kept(&self, before: Millis) -> HashMap<CarrierId, Vec<DeliveryId>> {
        let mut kept: HashMap<CarrierId, Vec<DeliveryId>> = HashMap::new();
        for ((carrier, id), slots) in lock(&self.0.entries).iter() {
            if slots.values().any(|entry| entry.entered() <= before) {
                kept.entry(carrier.clone()).or_default().push(id.clone());
            }
        }
        for one in lock(&self.0.left).iter() {
            let ids = kept.entry(one.key.carrier.clone()).or_default();
            if !ids.contains(&one.key.delivery) {
                ids.push(one.key.delivery.clone());
            }
        }
        self.bury();
        kept
    }

    /// Bytes in the spool, and fetches under way.
    pub fn load(&self) -> (u64, usize) {
        (self.0.spool.bytes(), self.0.limits.fetches - self.0.all.available_permits())
    }

    /// The entry of a link, which is begun when there is none.
    fn entry(&self, d: &HeldDelivery, slot: usize, url: &str) -> Arc<Entry> {
        let key = Key { carrier: d.event.carrier.clone(), delivery: d.id.clone(), slot };
        self.enter(key, |key| Entry::new(key, url.to_owned(), d.event.received))
    }

    /// The entry of a key; a new one is entered and its task started.
    fn enter(&self, key: Key, new: impl FnOnce(Key) -> Entry) -> Arc<Entry> {
        let mut entries = lock(&self.0.entries);
        let slots = entries.entry((key.carrier.clone(), key.delivery.clone())).or_default();
        if let Some(entry) = slots.get(&key.slot) {
            return entry.clone();
        }
        let slot = key.slot;
        let entry = Arc::new(new(key).at(self.0.clock.now()));
        slots.insert(slot, entry.clone());
        drop(entries);
        let (media, worked) = (self.clone(), entry.clone());
        let soft = self.0.life.soft().clone();
        let work = async move {
            tokio::select! {
                biased;
                // The next start fetches it again.
                () = soft.cancelled() => {}
                () = worked.ended() => media.0.spool.discard(&worked.key, &["json", "part", "bin"]),
                () = media.work(&worked) => {}
            }
        };
        // A plan's commit comes from the store's own thread.
        self.0.life.tracker().spawn_on(work, &self.0.tasks);
        entry
    }

    fn end(&self, entry: &Entry) {
        entry.stop();
        match entry.give_up() {
            Some((spooled, space)) => lock(&self.0.doomed).push((entry.key.clone(), spooled, space)),
            None => self.0.spool.discard(&entry.key, &["bin"]),
        }
        self.0.spool.discard(&entry.key, &["json", "part"]);
    }

    /// Removes the files of deliveries that have ended, but for those that somebody still reads.
    fn bury(&self) {
        let mut doomed = lock(&self.0.doomed);
        let gone: Vec<_> = doomed.extract_if(.., |(_, spooled, _)| Arc::strong_count(spooled) == 1).collect();
        drop(doomed);
        gone.iter().for_each(|(key, ..)| self.0.spool.discard(key, &["bin"]));
    }

    fn rules(&self, carrier: &CarrierId) -> Arc<Rules> {
        let all = self.0.rules.read().unwrap_or_else(PoisonError::into_inner);
        let none = || Arc::new(Rules::compile(&MediaRules::default(), &self.0.limits.ceiling));
        all.get(carrier).cloned().unwrap_or_else(none)
    }

    fn of_carrier(&self, carrier: &CarrierId) -> Arc<Semaphore> {
        let mut carriers = lock(&self.0.carriers);
        // Whoever fetches holds its semaphore: the others' are as good as new ones.
        carriers.retain(|_, one| Arc::strong_count(one) > 1);
        let new = || Arc::new(Semaphore::new(self.0.limits.carrier_fetches));
        carriers.entry(carrier.clone()).or_insert_with(new).clone()
    }
}
