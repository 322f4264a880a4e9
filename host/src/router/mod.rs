//! The way of an event: the only part that composes accepting, matching, plugins, planning and delivering.
//!
//! | step | file | what |
//! | --- | --- | --- |
//! | 2 | `intake` | takes room, has the store accept, hands over from the commit |
//! | 3, 4 | `route` | matches, runs the chains, gathers an event's routings |
//! | 4 → 5 | `conclude` | pure: what a chain's result means for its routing |
//! | 5 → 6 | `route` | has the store plan, hands deliveries to their lanes |
//! | 6, 7 | `send` | attempts, has `retry` decide, has the store record |
//! | aside | `trial` | what a subscription would make of an event, and single attempts; nothing is recorded |
//! | aside | `schedule`, `digests` | ticks of scheduled subscriptions: what they collected goes the way of an event as digests |
//! | aside | `media` | what deliveries carry that is fetched: begun at 5, waited for before 6, removed after 7 |
//! | again | `claim` | work that is due, waits unheld, or was a dead node's |
//!
//! Nothing here waits for the database or a receiver while it holds a lock or a thread of the plugins. It must not know
//! HTTP on either side: what comes in is events, what goes out is a `Report`.

pub mod agreement;

pub mod directory;

pub mod rooms;

mod intake;

mod route;

mod conclude;

mod send;

mod trial;

mod claim;

mod schedule;

mod digests;

mod media;

mod upkeep;

pub mod registry;

pub mod tokens;

use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use crate::clock::Clock;
use crate::deliver::{LaneLimits, Lanes, Sender};
use crate::lifecycle::Lifecycle;
use crate::plugin::Runtime;
use crate::store::Store;
use crate::telemetry::Metrics;
use agreement::{Agreement, AgreementParts, Keys};
use claim::Timers;
use directory::{Directory, DirectoryParts};
use rooms::Rooms;
use schedule::Schedules;
pub use trial::{Trial, TrialError};

/// What a router is built from.
#[derive(Debug)]
pub struct Parts {
    /// Durable truth.
    pub store: Store,
    /// What runs plugins.
    pub runtime: Runtime,
    /// What makes HTTP requests.
    pub sender: Sender,
    /// Opens secrets.
    pub master: crate::secrets::MasterKeys,
    /// Which addresses are allowed.
    pub addresses: crate::deliver::AddressPolicy,
    /// The most that a plugin version may ask for.
    pub ceiling: crate::carrier::Limits,
    /// What plugins get links from.
    pub pages: Arc<dyn crate::plugin::PageLinks>,
    /// What follows the API keys.
    pub keys: Arc<dyn Keys>,
    /// Where the time comes from.
    pub clock: Clock,
    /// What is told of crashes and of the stop.
    pub life: Lifecycle,
    /// Where things are counted.
    pub metrics: Metrics,
    /// Events and deliveries in memory, each.
    pub held_in_memory: usize,
    /// Deliveries of one destination in memory.
    pub queued_per_lane: usize,
    /// How long this node's row lives without being renewed.
    pub lease: Duration,
    /// How long compiling a component may take.
    pub compile: Duration,
    /// How long finished events are kept.
    pub retention: Duration,
}

/// The router. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Router(Arc<Core>);

#[derive(Debug)]
/// What every clone of a [`Router`] shares.
pub struct Core {
    store: Store,
    runtime: Runtime,
    sender: Sender,
    directory: Directory,
    agreement: Agreement,
    lanes: Lanes,
    rooms: Rooms,
    inbox: intake::Inbox,
    timers: Timers,
    schedules: Schedules,
    clock: Clock,
    life: Lifecycle,
    metrics: Metrics,
    overflow: route::Overflow,
    holding: route::Holding,
    tasks: tokio::runtime::Handle,
    lease: Duration,
    compile: Duration,
    retention: Duration,
}

impl std::ops::Deref for Router {
    type Target = Core;
    fn deref(&self) -> &Core {
        &self.0
    }
}

impl Router {
    /// Takes over what dead nodes held, reads what carriers have set up, and starts the tasks that keep work moving.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn start(parts: Parts) -> Result<Self, crate::store::error::StoreError> {
        let taken = parts.store.take_over(parts.clock.now()).await?;
        if taken.events + taken.routings + taken.deliveries + taken.runs > 0 {
            tracing::info!(
                nodes = taken.nodes,
                events = taken.events,
                routings = taken.routings,
                deliveries = taken.deliveries,
                runs = taken.runs,
                "took over the work of nodes that are gone"
            );
        }

        // The lanes call the router, which owns the lanes: a weak reference keeps that from being a circle.
        let slot: Arc<OnceLock<Weak<Core>>> = Arc::default();
        let caller = slot.clone();
        let hard = parts.life.hard().clone();
        let limits =
            LaneLimits { queued_per_lane: parts.queued_per_lane, queued_total: parts.held_in_memory };
        let lanes =
            Lanes::new(limits, parts.clock.clone(), parts.life.tracker().clone(), move |delivery, permit| {
                let router = caller.get().and_then(Weak::upgrade).map(Router);
                let hard = hard.clone();
                Box::pin(async move {
                    let Some(router) = router else { return };
                    tokio::select! {
                        biased;
                        // The store has the delivery; the next start sends it again.
                        () = hard.cancelled() => {}
                        () = router.send(delivery, permit) => {}
                    }
                })
            });
        let directory = DirectoryParts {
            store: parts.store.clone(),
            runtime: parts.runtime.clone(),
            lanes: lanes.clone(),
            master: parts.master,
            addresses: parts.addresses,
            ceiling: parts.ceiling,
            media: parts.sender.media().cloned(),
            pages: parts.pages,
        };
        let agreement = AgreementParts {
            store: parts.store.clone(),
            keys: parts.keys,
            clock: parts.clock.clone(),
            lease: parts.lease,
        };
        let agreement = Agreement::enter(agreement, Directory::open(directory)).await?;
        let router = Self(Arc::new(Core {
            store: parts.store,
            runtime: parts.runtime,
            sender: parts.sender,
            directory: agreement.directory().clone(),
            agreement,
            lanes,
            rooms: Rooms::new(parts.held_in_memory),
            inbox: intake::Inbox::default(),
            timers: Timers::default(),
            schedules: Schedules::default(),
            clock: parts.clock,
            life: parts.life,
            metrics: parts.metrics,
            overflow: route::Overflow::default(),
            holding: route::Holding::default(),
            tasks: tokio::runtime::Handle::current(),
            lease: parts.lease,
            compile: parts.compile,
            retention: parts.retention,
        }));
        // Set once, here, before any delivery can be pushed.
        let _ = slot.set(Arc::downgrade(&router.0));
        // What was held before this start is not known: the first good run of each subscription asks.
        for (carrier, view) in router.directory.carriers().iter() {
            view.standing.iter().for_each(|standing| router.holding.note(carrier, &standing.id));
        }
        router.spawn_tasks();
        Ok(router)
    }

    /// What carriers have set up.
    pub fn directory(&self) -> &Directory {
        &self.0.directory
    }

    /// What this node agrees on with the others.
    pub fn agreement(&self) -> &Agreement {
        &self.0.agreement
    }

    /// Starts no more deliveries; those under way go on. What waits in memory is released when the store is closed.
    pub fn halt(&self) {
        drop(self.lanes.halt());
    }

    /// Updates the gauges; called when the metrics are read.
    pub fn observe(&self) {
        let gauge = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
        self.metrics.events_held.set(gauge(self.rooms.taken()));
        self.metrics.deliveries_queued.set(gauge(self.lanes.queued()));
        self.metrics.attempts_under_way.set(gauge(self.lanes.under_way()));
        self.metrics.plugin_queue.set(gauge(self.runtime.metrics().queued));
        if let Some((bytes, fetching)) = self.sender.media().map(crate::deliver::Media::load) {
            self.metrics.media_spool_bytes.set(i64::try_from(bytes).unwrap_or(i64::MAX));
            self.metrics.media_fetching.set(gauge(fetching));
        }
    }
}
