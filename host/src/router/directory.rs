//! The directory: what carriers have set up, compiled for the way of an event and kept in memory.
//!
//! A reader takes a snapshot and never waits. A change is read from the store, compiled, and swapped in as a whole; an
//! event that is under way goes on with the snapshot that it began with. It must not know how events travel.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use arc_swap::ArcSwap;

use crate::carrier::destination::secrets_context;
use crate::carrier::handshake::Handshake;
use crate::carrier::{
    Destination, DestinationKind, DestinationState, Limits, LimitsSpec, OnFault, Owner, PluginRef,
    PluginVersion, Sha256Hex, Subscription, SubscriptionState, Webhook,
};
use crate::clock::Millis;
use crate::deliver::{AddressPolicy, LaneRules, Lanes, Media, Target};
use crate::event::{CarrierId, DestinationName, PluginName, SubscriptionId, TableName};
use crate::matching::Order;
use crate::plugin::{Chain, Link, PageLinks, Program, Runtime};
use crate::retry::Policy;
use crate::schedule::Schedule;
use crate::secrets::{MasterKeys, SecretsError};
use crate::store::Store;
use crate::store::agreement::{Changes, Trouble};
use crate::store::error::StoreError;
use crate::store::page::PluginRecord;
use crate::store::work::Lane;

/// What one carrier has set up. Never changes: a change makes a new one.
#[derive(Debug, Default)]
pub struct CarrierView {
    /// What `matching` looks at, in the order of `standing`.
    pub orders: Vec<Order>,
    /// The active subscriptions.
    pub standing: Vec<Standing>,
    /// The destinations by name.
    pub places: HashMap<DestinationName, Arc<Place>>,
    /// Active plugin versions of its subscriptions that cannot be loaded here.
    troubles: Vec<Trouble>,
}

/// An active subscription, compiled.
#[derive(Debug)]
pub struct Standing {
    /// Its id.
    pub id: SubscriptionId,
    /// Its plugins: none, a chain, or why the chain cannot be run now.
    pub plugins: Plugins,
    /// How its deliveries are retried.
    pub policy: Arc<Policy>,
    /// Where `forward` goes.
    pub destinations: Vec<DestinationName>,
    /// When its events are sent; absent: each at once.
    pub schedule: Option<Schedule>,
}

/// The chain of a subscription.
#[derive(Debug, Clone)]
pub enum Plugins {
    /// There are none: events go on as they are.
    None,
    /// They are loaded.
    Ready(Arc<Chain>),
    /// One of them has no active version, or cannot be loaded: events are held with this reason.
    NotReady(String),
}

/// A destination, compiled.
#[derive(Debug)]
pub struct Place {
    /// What is sent to; or why it cannot be.
    pub target: Result<Target, Unusable>,
    /// How it is reached.
    pub kind: DestinationKind,
    /// The origin that its receiver was asked with, if it was.
    pub origin: Option<String>,
    /// Whether it was enabled when this was read.
    state: DestinationState,
    /// Whether an attempt has disabled it since.
    stopped: AtomicBool,
    /// Since when every attempt has failed; 0 when the last one succeeded.
    failing_since: AtomicI64,
}

/// Why a destination cannot be sent to. Never holds a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    /// This node does not have the master key that sealed its secrets. Another node may; and this one, when it is given
    /// the key: nothing is wrong with the deliveries.
    #[error("this node cannot open the destination's secrets: {0}")]
    Locked(SecretsError),
    /// What is stored cannot be used.
    #[error("{0}")]
    Wrong(String),
}

impl Place {
    /// Why this node must leave its deliveries alone although it is enabled.
    pub fn locked(&self) -> Option<&Unusable> {
        self.target.as_ref().err().filter(|why| matches!(why, Unusable::Locked(_)))
    }

    /// Since when every attempt has failed.
    pub fn failing_since(&self) -> Option<Millis> {
        Some(Millis(self.failing_since.load(Ordering::Relaxed))).filter(|at| at.0 != 0)
    }

    /// Whether it is sent to.
    pub fn is_enabled(&self) -> bool {
        self.state == DestinationState::Enabled && !self.stopped.load(Ordering::Relaxed)
    }

    /// Sends no more, from this moment on: what the store is told comes back as a new `Place` only a little later.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
    }

    /// Notes a failure at `at`; true when it is the first after a success.
    pub fn failed(&self, at: Millis) -> bool {
        self.failing_since.compare_exchange(0, at.0, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    /// Notes a success; true when it is the first after a failure.
    pub fn succeeded(&self) -> bool {
        self.failing_since.load(Ordering::Relaxed) != 0 && self.failing_since.swap(0, Ordering::Relaxed) != 0
    }
}

/// The directory. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Directory(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    carriers: ArcSwap<HashMap<CarrierId, Arc<CarrierView>>>,
    programs: Mutex<HashMap<ProgramKey, Weak<Program>>>,
    parts: DirectoryParts,
}

/// What the directory is built from.
#[derive(Debug, Clone)]
pub struct DirectoryParts {
    /// Where everything is written.
    pub store: Store,
    /// What loads components.
    pub runtime: Runtime,
    /// What is told each destination's concurrency and rate.
    pub lanes: Lanes,
    /// Opens the destinations' secrets.
    pub master: MasterKeys,
    /// Which addresses are allowed.
    pub addresses: AddressPolicy,
    /// The most that a version may ask for.
    pub ceiling: Limits,
    /// What is told what may be fetched for each carrier.
    pub media: Option<Media>,
    /// What plugins get links from.
    pub pages: Arc<dyn PageLinks>,
}

type ProgramKey = (Sha256Hex, LimitsKey);
type LimitsKey = (Option<u64>, Option<u64>, Option<u64>, Option<u32>);

fn limits_key(spec: LimitsSpec) -> LimitsKey {
    (spec.wall_ms, spec.memory_bytes, spec.output_bytes, spec.deliveries)
}

impl Directory {
    /// Reads everything that carriers have set up.
    ///
    /// # Errors
    /// When the store cannot be read. A plugin that cannot be loaded holds its subscriptions' events, no more.
    pub async fn open(parts: DirectoryParts) -> Result<Self, StoreError> {
        let inner = Inner { carriers: ArcSwap::default(), programs: Mutex::default(), parts };
        let directory = Self(Arc::new(inner));
        directory.reload_all().await?;
        Ok(directory)
    }

    /// What a carrier has set up; `None` when there is no such carrier.
    pub fn carrier(&self, carrier: &CarrierId) -> Option<Arc<CarrierView>> {
        self.0.carriers.load().get(carrier).cloned()
    }

    /// A destination, if the carrier has it.
    pub fn place(&self, lane: &Lane) -> Option<Arc<Place>> {
        self.0.carriers.load().get(&lane.carrier)?.places.get(&lane.destination).cloned()
    }

    /// All carriers at this moment.
    pub fn carriers(&self) -> Arc<HashMap<CarrierId, Arc<CarrierView>>> {
        self.0.carriers.load_full()
    }

    /// The most that a plugin version may ask for.
    pub fn ceiling(&self) -> &Limits {
        &self.0.parts.ceiling
    }

    /// Active plugin versions that cannot be loaded here, each once.
    pub(super) fn troubles(&self) -> Vec<Trouble> {
        let mut all: Vec<Trouble> = Vec::new();
        for trouble in self.0.carriers.load().values().flat_map(|view| &view.troubles) {
            if !all.contains(trouble) {
                all.push(trouble.clone());
            }
        }
        all
    }

    /// Reads the carriers again of whose versions some could not be loaded. Only the agreement calls it.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub(super) async fn mend(&self) -> Result<(), StoreError> {
        let all = self.0.carriers.load_full();
        let troubled = all.iter().filter(|(_, view)| !view.troubles.is_empty());
        let carriers = troubled.map(|(carrier, _)| carrier.clone()).collect();
        self.apply(&Changes { carriers, ..Changes::default() }).await
    }

    /// Reads again what was changed. Only the agreement calls it, one call at a time.
    ///
    /// # Errors
    /// When the store cannot be read; the call must then be repeated.
    pub(super) async fn apply(&self, changes: &Changes) -> Result<(), StoreError> {
        if changes.shared {
            return self.reload_all().await;
        }
        for carrier in &changes.carriers {
            let view = Arc::new(self.view(carrier).await?);
            self.swap(carrier.clone(), view);
        }
        Ok(())
    }

    /// Reads everything again. Only the agreement calls it, as it does [`Directory::apply`].
    ///
    /// # Errors
    /// When the store cannot be read; everything stays as it was.
    pub(super) async fn reload_all(&self) -> Result<(), StoreError> {
        let mut carriers = HashMap::new();
        for carrier in self.0.parts.store.carriers().await? {
            let view = self.view(&carrier.id).await?;
            carriers.insert(carrier.id, Arc::new(view));
        }
        self.0.carriers.store(Arc::new(carriers));
        Ok(())
    }

    fn swap(&self, carrier: CarrierId, view: Arc<CarrierView>) {
        // Only `apply` swaps, one at a time.
        let mut carriers = HashMap::clone(&self.0.carriers.load());
        carriers.insert(carrier, view);
        self.0.carriers.store(Arc::new(carriers));
    }

    async fn view(&self, carrier: &CarrierId) -> Result<CarrierView, StoreError> {
        if let Some(media) = &self.0.parts.media {
            let kept = self.0.parts.store.media_rules(carrier).await?;
            media.set_rules(carrier, &kept.map(|kept| kept.rules).unwrap_or_default());
        }
        let setup = self.setup(carrier).await?;
        let subscriptions = self.0.parts.store.subscriptions(carrier).await?;
        let mut view = CarrierView::default();
        let mut rules: HashMap<DestinationName, LaneRules> = HashMap::new();
        for subscription in subscriptions.iter().filter(|s| s.state == SubscriptionState::Active) {
            let (order, standing) = match self.standing(subscription, &setup, &mut view.troubles).await? {
                Ok(compiled) => compiled,
                // One that a newer version of the host no longer reads must not stop its carrier's others.
                Err(why) => {
                    tracing::error!(%carrier, subscription = %subscription.id, %why,
                        "a stored subscription cannot be read and is left out");
                    continue;
                }
            };
            let policy = &standing.policy;
            for name in &standing.destinations {
                let rule = rules
                    .entry(name.clone())
                    .or_insert(LaneRules { concurrency: policy.concurrency, rate_per_minute: None });
                // Two subscriptions share a destination: the stricter policy is kept.
                rule.concurrency = rule.concurrency.min(policy.concurrency);
                rule.rate_per_minute = match (rule.rate_per_minute, policy.rate_per_minute) {
                    (Some(a), Some(b)) => Some(a.min(b)),
                    (a, b) => a.or(b),
                };
            }
            view.standing.push(standing);
            view.orders.push(order);
        }
        // Also those of subscriptions that are paused: what they have planned is still sent.
        let webhooks: HashMap<&DestinationName, &Webhook> = subscriptions
            .iter()
            .filter_map(|subscription| subscription.spec.webhook.as_ref())
            .map(|webhook| (&webhook.destination, webhook))
            .collect();
        let mut handshakes: HashMap<DestinationName, Handshake> = self
            .0
            .parts
            .store
            .handshakes(carrier)
            .await?
            .into_iter()
            .map(|handshake| (handshake.destination.clone(), handshake))
            .collect();
        for destination in setup.destinations {
            let handshake = handshakes.remove(&destination.name);
            let mut rule = rules
                .get(&destination.name)
                .copied()
                .unwrap_or(LaneRules { concurrency: Policy::default().concurrency, rate_per_minute: None });
            rule.concurrency = destination.spec.concurrency.unwrap_or(rule.concurrency);
            rule.rate_per_minute = destination.spec.rate_per_minute.or(rule.rate_per_minute);
            // Whatever the carrier wants, the receiver's word is kept.
            let granted = handshake.as_ref().and_then(|h| h.granted_rate);
            rule.rate_per_minute = rule.rate_per_minute.into_iter().chain(granted).min();
            let lane = Lane { carrier: carrier.clone(), destination: destination.name.clone() };
            self.0.parts.lanes.set_rules(&lane, rule);
            let webhook = webhooks.get(&destination.name).copied();
            let place = self.place_of(&destination, webhook, handshake.map(|h| h.spec.origin));
            view.places.insert(destination.name, Arc::new(place));
        }
        Ok(view)
    }

    /// What a carrier's subscriptions are compiled with.
    async fn setup(&self, carrier: &CarrierId) -> Result<Setup, StoreError> {
        let store = &self.0.parts.store;
        let tables = store.tables(carrier).await?;
        let tables = tables.into_iter().map(|table| (table.name, Arc::new(table.entries))).collect();
        Ok(Setup {
            destinations: store.destinations(carrier).await?,
            tables: Arc::new(tables),
            own: store.plugins(&Owner::Carrier(carrier.clone())).await?,
            shared: store.plugins(&Owner::Shared).await?,
        })
    }

    /// A subscription as it is stored now, compiled by itself, whether it is active or not.
    ///
    /// # Errors
    /// The outer error is the store's, the inner one says why it cannot be read.
    pub(super) async fn compiled(
        &self,
        subscription: &Subscription,
    ) -> Result<Result<(Order, Standing), String>, StoreError> {
        self.standing(subscription, &self.setup(&subscription.carrier).await?, &mut Vec::new()).await
    }

    async fn standing(
        &self,
        subscription: &Subscription,
        setup: &Setup,
        troubles: &mut Vec<Trouble>,
    ) -> Result<Result<(Order, Standing), String>, StoreError> {
        let spec = &subscription.spec;
        let (order, policy) = match (Order::compile(spec), Policy::resolve(&spec.policy)) {
            (Ok(order), Ok(policy)) => (order, policy),
            (Err(why), _) => return Ok(Err(why.to_string())),
            (_, Err(why)) => return Ok(Err(why.to_string())),
        };
        let schedule = match spec.schedule.as_ref().map(Schedule::compile).transpose() {
            Ok(schedule) => schedule,
            Err(why) => return Ok(Err(why.to_string())),
        };
        let standing = Standing {
            id: subscription.id.clone(),
            plugins: self.chain(subscription, setup, troubles).await?,
            policy: Arc::new(policy),
            destinations: spec.destinations.clone(),
            schedule,
        };
        Ok(Ok((order, standing)))
    }

    /// Opens a destination's secrets and prepares it for sending. The error is for people.
    pub(super) fn compile(&self, destination: &Destination) -> Result<Target, Unusable> {
        let wrong = |why: &dyn std::fmt::Display| Unusable::Wrong(why.to_string());
        let parts = &self.0.parts;
        let context = secrets_context(&destination.carrier, &destination.name);
        let plain = parts.master.open(&context, &destination.sealed).map_err(|why| match why {
            SecretsError::OtherKey { .. } => Unusable::Locked(why),
            why => wrong(&why),
        })?;
        let secrets = serde_json::from_slice(&plain).map_err(|e| wrong(&e))?;
        let (carrier, name) = (destination.carrier.clone(), destination.name.clone());
        Target::compile(carrier, name, &destination.spec, &secrets, &parts.addresses).map_err(|e| wrong(&e))
    }

    fn place_of(
        &self,
        destination: &Destination,
        webhook: Option<&Webhook>,
        origin: Option<String>,
    ) -> Place {
        let mut target = self.compile(destination);
        if let Some(webhook) = webhook {
            target = target.map(|target| target.of_webhook(webhook));
        }
        if let Some(origin) = &origin {
            target = target.map(|target| target.asked_as(origin));
        }
        match &target {
            Ok(_) => {}
            Err(why @ Unusable::Locked(_)) => {
                tracing::error!(carrier = %destination.carrier, destination = %destination.name, %why,
                    "a destination cannot be used; its deliveries wait until the key is there");
            }
            Err(why) => tracing::warn!(carrier = %destination.carrier, destination = %destination.name, %why,
                "a destination cannot be used; its deliveries fail until it is corrected"),
        }
        Place {
            target,
            kind: destination.spec.kind,
            origin,
            state: destination.state,
            stopped: AtomicBool::new(false),
            failing_since: AtomicI64::new(destination.failing_since.map_or(0, |at| at.0)),
        }
    }

    async fn chain(
        &self,
        subscription: &Subscription,
        setup: &Setup,
        troubles: &mut Vec<Trouble>,
    ) -> Result<Plugins, StoreError> {
        let spec = &subscription.spec;
        if spec.plugins.is_empty() {
            return Ok(Plugins::None);
        }
        let mut links = Vec::new();
        for plugin in &spec.plugins {
            let Some(record) = setup.find(plugin) else {
                return Ok(Plugins::NotReady(format!("there is no plugin `{plugin}`")));
            };
            let Some(active) = record.active else {
                return Ok(Plugins::NotReady(format!("plugin `{plugin}` has no active version")));
            };
            let owner = plugin.owner(&subscription.carrier);
            let program = match self.version(&owner, &plugin.name, active).await? {
                Ok(program) => program,
                Err(why) => {
                    tracing::warn!(carrier = %subscription.carrier, subscription = %subscription.id, %plugin,
                        version = active, %why, "an active version cannot be loaded; its events are held until it can");
                    let not_ready = Plugins::NotReady(format!("plugin `{plugin}` version {active}: {why}"));
                    let (owner, plugin) = (owner.as_str().to_owned(), plugin.name.clone());
                    troubles.push(Trouble { owner, plugin, version: active, why });
                    return Ok(not_ready);
                }
            };
            let previous = match record.previous {
                Some(version) if spec.on_fault == OnFault::Previous => {
                    self.version(&owner, &plugin.name, version).await?.ok().map(|p| (version, p))
                }
                _ => None,
            };
            links.push(Link { plugin: plugin.clone(), version: active, program, previous });
        }
        let granted = setup.destinations.iter().filter(|d| spec.destinations.contains(&d.name));
        Ok(Plugins::Ready(Arc::new(Chain {
            carrier: subscription.carrier.clone(),
            subscription: subscription.id.clone(),
            links,
            settings: Arc::new(spec.settings.clone()),
            tables: setup.tables.clone(),
            pages: self.0.parts.pages.clone(),
            destinations: granted.map(|d| (d.name.clone(), d.spec.kind)).collect(),
            on_fault: spec.on_fault,
        })))
    }

    /// A version by its number, loaded. The inner error is for people.
    async fn version(
        &self,
        owner: &Owner,
        name: &PluginName,
        number: i64,
    ) -> Result<Result<Arc<Program>, String>, StoreError> {
        let versions = self.0.parts.store.versions(owner, name).await?;
        match versions.into_iter().find(|v| v.version == number) {
            Some(version) => self.program(&version).await,
            None => Ok(Err("there is no such version".to_owned())),
        }
    }

    /// The program of a version: the one that is loaded already, or loaded now.
    ///
    /// # Errors
    /// The outer error is the store's, the inner one says why the component cannot be loaded.
    pub async fn program(&self, version: &PluginVersion) -> Result<Result<Arc<Program>, String>, StoreError> {
        let key = (version.sha256.clone(), limits_key(version.limits));
        if let Some(program) = self.programs().get(&key).and_then(Weak::upgrade) {
            return Ok(Ok(program));
        }
        let parts = &self.0.parts;
        let Some(bytes) = parts.store.component(&version.owner, &version.sha256).await? else {
            return Ok(Err("its component is not in the store".to_owned()));
        };
        let limits = Limits::default().with(version.limits, &parts.ceiling);
        match parts.runtime.load(bytes, limits).await {
            Ok(program) => {
                let mut programs = self.programs();
                programs.retain(|_, p| p.strong_count() > 0);
                programs.insert(key, Arc::downgrade(&program));
                Ok(Ok(program))
            }
            Err(why) => Ok(Err(why.to_string())),
        }
    }

    fn programs(&self) -> std::sync::MutexGuard<'_, HashMap<ProgramKey, Weak<Program>>> {
        self.0.programs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a carrier has set up beside its subscriptions.
struct Setup {
    destinations: Vec<Destination>,
    tables: Arc<BTreeMap<TableName, Arc<BTreeMap<String, String>>>>,
    own: Vec<PluginRecord>,
    shared: Vec<PluginRecord>,
}

impl Setup {
    fn find(&self, plugin: &PluginRef) -> Option<&PluginRecord> {
        let list = if plugin.shared { &self.shared } else { &self.own };
        list.iter().find(|record| record.name == plugin.name)
    }
}
