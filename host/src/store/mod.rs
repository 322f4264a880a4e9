//! Durable truth: every event, routing, delivery and attempt, and what carriers have set up.
//!
//! One concrete [`Store`] over SQLite or PostgreSQL. Every method is one business step, atomic within its turn of the
//! writer. It must not know HTTP, Wasm or how retries are decided; time and ids come from the caller.

pub mod error;
pub mod page;
pub mod work;

use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;

use crate::carrier::{
    ApiKey, Carrier, Destination, DestinationState, KeyId, LimitsSpec, Owner, PluginVersion, Sha256Hex,
    Subscription, SubscriptionState, Table,
};
use crate::clock::Millis;
use crate::event::{
    CarrierId, DeliveryId, DestinationName, EventId, NodeId, PluginName, SubscriptionId, TableName,
};
use error::{AcceptError, HeldError, StoreError};
use page::{
    AttemptRecord, DeliveryFilter, DeliveryRecord, EventFilter, EventRecord, Page, PageRequest, PluginRecord,
    RoutingRecord,
};
use work::{Acceptance, HeldDelivery, HeldEvent, HeldRouting, Lane, NewAttempt, NewEvent, Plan};

/// Where the data lives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreConfig {
    /// One file, `hookyard.db`, in this folder, which one process locks.
    Sqlite {
        /// The data folder. Made when it is missing.
        folder: PathBuf,
    },
    /// A PostgreSQL database.
    Postgres {
        /// `postgres://user:password@host/database`.
        url: String,
    },
}

/// How much the writer takes at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WriterLimits {
    /// Events that may wait for their turn; beyond it `accept` answers [`AcceptError::Busy`].
    pub queued_events: usize,
    /// Events that a carrier may have waiting unheld (the backlog) before `accept` answers [`AcceptError::Backlog`].
    pub backlog_events: i64,
}

/// What a wake-up is about. Sent by this node's own writes and, on PostgreSQL, by other nodes'.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wake {
    /// There may be unheld events, routings or deliveries to claim.
    Work,
    /// What this carrier has set up has changed (`None`: keys, shared plugins or the list of carriers).
    Config(Option<CarrierId>),
}

/// How much a take-over released.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TakenOver {
    /// Nodes that were found dead.
    pub nodes: u64,
    /// Events that they held.
    pub events: u64,
    /// Routings that they held.
    pub routings: u64,
    /// Deliveries that they held.
    pub deliveries: u64,
}

/// An answer that is given again to a repeated `Idempotency-Key`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remembered {
    /// SHA-256 of method, path and body of the request.
    pub request: [u8; 32],
    /// The status that was answered.
    pub status: u16,
    /// The body that was answered (JSON).
    pub body: String,
}

/// The store. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Store {}

/// Called on the writer's task right after the commit (or the failure): it must be short and must not block.
pub type Done<T> = Box<dyn FnOnce(T) + Send>;

#[expect(
    clippy::unimplemented,
    unused_variables,
    clippy::unused_async,
    clippy::needless_pass_by_value,
    reason = "signatures first"
)]
impl Store {
    /// Connects, applies the migrations when `migrate` is set (otherwise refuses an unknown schema), locks the data
    /// folder (SQLite) and writes this node's row.
    pub async fn open(
        config: &StoreConfig,
        migrate: bool,
        limits: WriterLimits,
        node: NodeId,
        now: Millis,
        lease: Duration,
    ) -> Result<Self, StoreError> {
        unimplemented!()
    }
    /// Waits for the writer's last turn, releases all that this node holds, removes its row and closes the pools.
    pub async fn close(self) -> Result<(), StoreError> {
        unimplemented!()
    }
    /// Whether the database answers.
    pub async fn ping(&self) -> Result<(), StoreError> {
        unimplemented!()
    }
    /// `sqlite` or `postgres`.
    pub fn kind(&self) -> &'static str {
        unimplemented!()
    }
    /// Wake-ups. A receiver that lags sees `RecvError::Lagged` and must look at everything.
    pub fn wakes(&self) -> tokio::sync::broadcast::Receiver<Wake> {
        unimplemented!()
    }

    // --- nodes -------------------------------------------------------------------------------------------------
    /// Pushes this node's expiry to `now + lease`. [`StoreError::NodeLost`] when another node has taken it over.
    pub async fn renew(&self, now: Millis, lease: Duration) -> Result<(), StoreError> {
        unimplemented!()
    }
    /// Releases what dead nodes held. On SQLite every other node is dead, since the folder is locked.
    pub async fn take_over(&self, now: Millis) -> Result<TakenOver, StoreError> {
        unimplemented!()
    }

    // --- 2: accept, 5: plan, 7: record ---------------------------------------------------------------------------
    /// Writes a request's events, all or none, and calls `done` after the commit.
    ///
    /// # Errors
    /// [`AcceptError::Busy`] at once when the queue is full. `done` gets [`AcceptError::Conflict`] with the index of an
    /// event whose id exists with another body, [`AcceptError::UnknownCarrier`], or [`AcceptError::Backlog`].
    pub fn accept(
        &self,
        events: Vec<NewEvent>,
        done: Done<Result<Vec<Acceptance>, AcceptError>>,
    ) -> Result<(), AcceptError> {
        unimplemented!()
    }
    /// Writes an event's routings and deliveries and marks it routed. Planning again changes nothing.
    /// `done` gets [`HeldError::Lost`] when this node no longer holds the event (then nothing was written).
    pub fn plan(&self, plan: Plan, done: Done<Result<(), HeldError>>) {
        unimplemented!()
    }
    /// Writes an attempt and its delivery's new state.
    pub fn record(&self, attempt: NewAttempt, done: Done<Result<(), HeldError>>) {
        unimplemented!()
    }

    // --- claims ---------------------------------------------------------------------------------------------------
    /// Carriers that have unheld accepted events, by a loose index scan.
    pub async fn carriers_waiting(&self) -> Result<Vec<CarrierId>, StoreError> {
        unimplemented!()
    }
    /// Takes up to `limit` of a carrier's unheld events, oldest first.
    pub async fn claim_events(&self, carrier: &CarrierId, limit: u32) -> Result<Vec<HeldEvent>, StoreError> {
        unimplemented!()
    }
    /// Lanes that have unheld pending deliveries, each with the moment at which its earliest is due.
    pub async fn lanes_waiting(&self) -> Result<Vec<(Lane, Millis)>, StoreError> {
        unimplemented!()
    }
    /// Takes up to `limit` of a lane's unheld deliveries that are due by `now`, earliest first.
    pub async fn claim_deliveries(
        &self,
        lane: &Lane,
        now: Millis,
        limit: u32,
    ) -> Result<Vec<HeldDelivery>, StoreError> {
        unimplemented!()
    }
    /// When the earliest unheld routing is to be run again.
    pub async fn next_routing_due(&self) -> Result<Option<Millis>, StoreError> {
        unimplemented!()
    }
    /// Takes up to `limit` unheld routings (state `later`) that are due by `now`.
    pub async fn claim_routings(&self, now: Millis, limit: u32) -> Result<Vec<HeldRouting>, StoreError> {
        unimplemented!()
    }
    /// Turns a carrier's `held` routings of these subscriptions into `later`, due now: a good version is active.
    pub async fn release_routings(
        &self,
        carrier: &CarrierId,
        subscription: &SubscriptionId,
        now: Millis,
    ) -> Result<u64, StoreError> {
        unimplemented!()
    }

    // --- carriers and keys ---------------------------------------------------------------------------------------
    /// [`StoreError::Exists`] when the id is taken.
    pub async fn create_carrier(&self, carrier: Carrier) -> Result<(), StoreError> {
        unimplemented!()
    }
    /// All carriers, by id.
    pub async fn carriers(&self) -> Result<Vec<Carrier>, StoreError> {
        unimplemented!()
    }
    /// [`StoreError::Exists`] when the id is taken.
    pub async fn create_key(&self, key: ApiKey) -> Result<(), StoreError> {
        unimplemented!()
    }
    /// All keys.
    pub async fn keys(&self) -> Result<Vec<ApiKey>, StoreError> {
        unimplemented!()
    }
    /// Whether there was such a key. `carrier` bounds what may be deleted.
    pub async fn delete_key(&self, carrier: Option<&CarrierId>, id: &KeyId) -> Result<bool, StoreError> {
        unimplemented!()
    }

    // --- destinations -----------------------------------------------------------------------------------------------
    /// Makes or replaces a destination (its state and `created` stay when it exists).
    pub async fn put_destination(&self, destination: Destination) -> Result<(), StoreError> {
        unimplemented!()
    }
    /// All destinations of a carrier, by name.
    pub async fn destinations(&self, carrier: &CarrierId) -> Result<Vec<Destination>, StoreError> {
        unimplemented!()
    }
    /// Enables or disables; enabling makes its held deliveries pending and due now.
    pub async fn set_destination_state(
        &self,
        carrier: &CarrierId,
        name: &DestinationName,
        state: DestinationState,
        reason: Option<String>,
        now: Millis,
    ) -> Result<bool, StoreError> {
        unimplemented!()
    }
    /// Whether there was such a destination. Its open deliveries are cancelled.
    pub async fn delete_destination(
        &self,
        carrier: &CarrierId,
        name: &DestinationName,
    ) -> Result<bool, StoreError> {
        unimplemented!()
    }

    // --- subscriptions ----------------------------------------------------------------------------------------------
    /// Makes or replaces a subscription (its state and `created` stay when it exists).
    pub async fn put_subscription(&self, subscription: Subscription) -> Result<(), StoreError> {
        unimplemented!()
    }
    /// All subscriptions of a carrier, by id.
    pub async fn subscriptions(&self, carrier: &CarrierId) -> Result<Vec<Subscription>, StoreError> {
        unimplemented!()
    }
    /// Whether there was such a subscription.
    pub async fn set_subscription_state(
        &self,
        carrier: &CarrierId,
        id: &SubscriptionId,
        state: SubscriptionState,
        now: Millis,
    ) -> Result<bool, StoreError> {
        unimplemented!()
    }
    /// Whether there was such a subscription.
    pub async fn delete_subscription(
        &self,
        carrier: &CarrierId,
        id: &SubscriptionId,
    ) -> Result<bool, StoreError> {
        unimplemented!()
    }

    // --- plugins ----------------------------------------------------------------------------------------------------
    /// Stores an upload as the next version of its plugin. The same bytes with the same limits again give the version
    /// that they already have.
    pub async fn add_version(
        &self,
        owner: &Owner,
        name: &PluginName,
        bytes: Bytes,
        limits: LimitsSpec,
        now: Millis,
    ) -> Result<PluginVersion, StoreError> {
        unimplemented!()
    }
    /// All plugins of an owner with their active and previous versions, by name.
    pub async fn plugins(&self, owner: &Owner) -> Result<Vec<PluginRecord>, StoreError> {
        unimplemented!()
    }
    /// All versions of a plugin, oldest first.
    pub async fn versions(&self, owner: &Owner, name: &PluginName) -> Result<Vec<PluginVersion>, StoreError> {
        unimplemented!()
    }
    /// A component's bytes.
    pub async fn component(&self, owner: &Owner, sha256: &Sha256Hex) -> Result<Option<Bytes>, StoreError> {
        unimplemented!()
    }
    /// Makes a version the active one, and the one before it the previous. None when there is no such version.
    pub async fn activate(
        &self,
        owner: &Owner,
        name: &PluginName,
        version: i64,
        now: Millis,
    ) -> Result<Option<PluginRecord>, StoreError> {
        unimplemented!()
    }

    // --- look-up tables ---------------------------------------------------------------------------------------------
    /// Makes or replaces a table; gives the new version.
    pub async fn put_table(
        &self,
        carrier: &CarrierId,
        name: &TableName,
        entries: std::collections::BTreeMap<String, String>,
        now: Millis,
    ) -> Result<i64, StoreError> {
        unimplemented!()
    }
    /// All tables of a carrier, by name.
    pub async fn tables(&self, carrier: &CarrierId) -> Result<Vec<Table>, StoreError> {
        unimplemented!()
    }
    /// Whether there was such a table.
    pub async fn delete_table(&self, carrier: &CarrierId, name: &TableName) -> Result<bool, StoreError> {
        unimplemented!()
    }

    // --- reading ----------------------------------------------------------------------------------------------------
    /// An event with its payload.
    pub async fn event(&self, carrier: &CarrierId, id: &EventId) -> Result<Option<EventRecord>, StoreError> {
        unimplemented!()
    }
    /// A carrier's events, newest first.
    pub async fn events(
        &self,
        carrier: &CarrierId,
        filter: &EventFilter,
        page: &PageRequest,
    ) -> Result<Page<EventRecord>, StoreError> {
        unimplemented!()
    }
    /// An event's routings, by subscription.
    pub async fn routings(
        &self,
        carrier: &CarrierId,
        event: &EventId,
    ) -> Result<Vec<RoutingRecord>, StoreError> {
        unimplemented!()
    }
    /// A carrier's deliveries, newest first. `filter.event` reads only that event's.
    pub async fn deliveries(
        &self,
        carrier: &CarrierId,
        filter: &DeliveryFilter,
        page: &PageRequest,
    ) -> Result<Page<DeliveryRecord>, StoreError> {
        unimplemented!()
    }
    /// One delivery.
    pub async fn delivery(
        &self,
        carrier: &CarrierId,
        id: &DeliveryId,
    ) -> Result<Option<DeliveryRecord>, StoreError> {
        unimplemented!()
    }
    /// A delivery's attempts, first to last.
    pub async fn attempts(
        &self,
        carrier: &CarrierId,
        id: &DeliveryId,
    ) -> Result<Vec<AttemptRecord>, StoreError> {
        unimplemented!()
    }

    // --- in the carrier's hands -------------------------------------------------------------------------------------
    /// Makes a dead, failed, cancelled or waiting delivery due now. None: no such delivery; Some(false): it is under
    /// way or delivered already.
    pub async fn retry_delivery(
        &self,
        carrier: &CarrierId,
        id: &DeliveryId,
        now: Millis,
    ) -> Result<Option<bool>, StoreError> {
        unimplemented!()
    }
    /// The same for up to `limit` dead or failed deliveries that match, oldest first. Gives how many.
    pub async fn retry_deliveries(
        &self,
        carrier: &CarrierId,
        filter: &DeliveryFilter,
        now: Millis,
        limit: u32,
    ) -> Result<u64, StoreError> {
        unimplemented!()
    }
    /// Cancels a delivery that is not under way. As `retry_delivery`.
    pub async fn cancel_delivery(
        &self,
        carrier: &CarrierId,
        id: &DeliveryId,
        now: Millis,
    ) -> Result<Option<bool>, StoreError> {
        unimplemented!()
    }
    /// Runs a parked or held routing again, now. As `retry_delivery`.
    pub async fn retry_routing(
        &self,
        carrier: &CarrierId,
        event: &EventId,
        subscription: &SubscriptionId,
        now: Millis,
    ) -> Result<Option<bool>, StoreError> {
        unimplemented!()
    }

    // --- housekeeping -----------------------------------------------------------------------------------------------
    /// What was answered to this `Idempotency-Key` of this API key, if it was within 24 hours.
    pub async fn recall(&self, key: &KeyId, idempotency_key: &str) -> Result<Option<Remembered>, StoreError> {
        unimplemented!()
    }
    /// Remembers an answer.
    pub async fn remember(
        &self,
        key: &KeyId,
        idempotency_key: &str,
        answer: Remembered,
        now: Millis,
    ) -> Result<(), StoreError> {
        unimplemented!()
    }
    /// Deletes up to `batch` finished events older than `before` with all that hangs on them (and idempotency answers
    /// older than 24 hours before `now`). Gives how many events; fewer than `batch` means that it is done.
    pub async fn delete_before(&self, before: Millis, now: Millis, batch: u32) -> Result<u64, StoreError> {
        unimplemented!()
    }
}
