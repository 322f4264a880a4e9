//! What the handlers work with: the store, and the doors to the parts of the host that they must not know.
//!
//! Handlers take the pieces that they need, never the whole.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::FromRef;
use bytes::Bytes;
use futures_util::future::BoxFuture;

use super::auth::KeyRing;
use super::idempotency::Flights;
use super::webhooks::Throttle;
use crate::carrier::destination::DestinationSecrets;
use crate::carrier::handshake::{HandshakeSpec, Reply};
use crate::carrier::{
    Destination, DestinationSpec, DropFile, LimitsSpec, Login, MediaCeiling, MediaRules, Owner,
    PluginVersion, Subscription, SubscriptionSpec,
};
use crate::catalogue::Catalogue;
use crate::clock::Clock;
use crate::event::{CarrierId, Event, PluginName};
use crate::ingest::{IngestLimits, Intake};
use crate::matching::Match;
use crate::store::Store;
use crate::store::error::StoreError;
use crate::store::page::PluginRecord;
use crate::store::work::NewRouting;

/// How much a carrier may set up. Every field is the limit's name in errors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiLimits {
    /// Bytes of a request that is neither events, a table nor a component.
    pub request_bytes: usize,
    /// Bytes of a component.
    pub component_bytes: usize,
    /// Keys of one carrier, or of publishers and admins together.
    pub keys: usize,
    /// Destinations of one carrier.
    pub destinations: usize,
    /// Subscriptions of one carrier.
    pub subscriptions: usize,
    /// Look-up tables of one carrier.
    pub tables: usize,
    /// Entries of one table.
    pub table_entries: usize,
    /// Event types that one carrier describes.
    pub event_types: usize,
    /// Bytes of a table's JSON.
    pub table_bytes: usize,
    /// Requests a second that a key may send to `/webhooks` on average; at least 1.
    pub requests_per_second: u32,
    /// Requests that it may send there at once; at least 1.
    pub burst: u32,
}

impl Default for ApiLimits {
    fn default() -> Self {
        Self {
            request_bytes: 1 << 20,
            component_bytes: 32 << 20,
            keys: 100,
            destinations: 1_000,
            subscriptions: 1_000,
            tables: 100,
            table_entries: 100_000,
            event_types: 500,
            table_bytes: 8 << 20,
            requests_per_second: 20,
            burst: 15,
        }
    }
}

/// Uploading and activating plugins: the runtime, the store and the directory together.
pub trait PluginAdmin: Send + Sync {
    /// Checks, compiles, tries and stores a component. The same bytes again give the version that they have.
    ///
    /// # Errors
    /// [`PluginAdminError::Refused`] when it is not a plugin that this host runs.
    fn upload(
        &self,
        owner: Owner,
        name: PluginName,
        component: Bytes,
        limits: LimitsSpec,
    ) -> BoxFuture<'_, Result<Uploaded, PluginAdminError>>;

    /// Makes a version the active one; answered when every node that lives has loaded it, or has said why not, or has
    /// said nothing for too long.
    ///
    /// # Errors
    /// [`PluginAdminError::Missing`] when there is no such version.
    fn activate(
        &self,
        owner: Owner,
        name: PluginName,
        version: i64,
    ) -> BoxFuture<'_, Result<Activated, PluginAdminError>>;

    /// Activates the version that was active before.
    ///
    /// # Errors
    /// [`PluginAdminError::NoPrevious`] when there is none.
    fn rollback(&self, owner: Owner, name: PluginName) -> BoxFuture<'_, Result<Activated, PluginAdminError>>;
}

/// A component that was taken.
#[derive(Debug, Clone)]
pub struct Uploaded {
    /// The version that it is now.
    pub version: PluginVersion,
    /// What the checks found: imports, exports, memory, the smoke run.
    pub report: serde_json::Value,
}

/// A version that is active now.
#[derive(Debug, Clone)]
pub struct Activated {
    /// Its plugin.
    pub plugin: PluginRecord,
    /// A line for each node that does not run it.
    pub warnings: Vec<String>,
}

/// Why a plugin was not uploaded or activated.
#[derive(Debug, thiserror::Error)]
pub enum PluginAdminError {
    /// The component is not a plugin that this host runs.
    #[error("{detail}")]
    Refused {
        /// What is wrong and what to change.
        detail: String,
        /// The limit that was hit, if one was.
        limit: Option<String>,
    },
    /// There is no such plugin or version.
    #[error("there is no such {what}")]
    Missing {
        /// `plugin` or `plugin version`.
        what: &'static str,
    },
    /// No other version was active before.
    #[error("no other version of the plugin was active before: there is nothing to roll back to")]
    NoPrevious,
    /// Too many uploads are being checked.
    #[error("too many uploads are being checked: the limit `compiles` is reached")]
    Busy {
        /// When to try again.
        retry_after: Duration,
    },
    /// The host failed.
    #[error("the host failed: {0}")]
    Host(String),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Something in a destination or subscription that does not hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{field}`: {why}")]
pub struct Unfit {
    /// The path of the member.
    pub field: String,
    /// What is wrong with it and what would be right.
    pub why: String,
    /// Where in the member's text, in characters from 1.
    pub position: Option<usize>,
    /// The limit that was hit, if one was.
    pub limit: Option<String>,
}

impl Unfit {
    /// A member that does not hold.
    pub fn new(field: impl Into<String>, why: impl std::fmt::Display) -> Self {
        Self { field: field.into(), why: why.to_string(), position: None, limit: None }
    }
}

/// What the stages must agree to before something is set up, and the key for what is kept secret.
pub trait Checks: Send + Sync {
    /// Whether a destination can be sent to: its address, headers, numbers and signing secrets.
    ///
    /// # Errors
    /// The first member that does not hold.
    fn destination(&self, spec: &DestinationSpec, secrets: &DestinationSecrets) -> Result<(), Unfit>;

    /// Whether a subscription's event types, filter and policy can be used.
    ///
    /// # Errors
    /// The first member that does not hold; for a filter with the position.
    fn subscription(&self, spec: &SubscriptionSpec) -> Result<(), Unfit>;

    /// Whether a subscription's deliveries may go to a destination.
    ///
    /// # Errors
    /// The destination's member that the subscription's policy does not take.
    fn together(&self, spec: &SubscriptionSpec, destination: &DestinationSpec) -> Result<(), Unfit>;

    /// What may be fetched for a carrier, in the one form that is kept.
    ///
    /// # Errors
    /// The first member that does not hold, or is beyond the ceiling.
    fn media(&self, rules: MediaRules) -> Result<MediaRules, Unfit>;

    /// What no carrier can go beyond in what is fetched.
    fn media_ceiling(&self) -> MediaCeiling;

    /// A fresh signing secret: `whsk_…` (ed25519) when `asymmetric`, otherwise `whsec_…`.
    fn signing_secret(&self, asymmetric: bool) -> String;

    /// The public half of a `whsk_…` secret, as `whpk_…`; nothing for `whsec_…`.
    fn public_key(&self, secret: &str) -> Option<String>;

    /// A fresh private key for a login: ed25519, in OpenSSH's form.
    fn login_key(&self) -> String;

    /// The public half of a login's private key, as a line of `authorized_keys`, and its fingerprint; nothing without a key.
    fn public_half(&self, login: &Login) -> Option<(String, String)>;

    /// Encrypts; `context` names the place and must be the same for [`Checks::open`].
    fn seal(&self, context: &str, plain: &[u8]) -> Vec<u8>;

    /// Decrypts.
    ///
    /// # Errors
    /// What cannot be told apart: another master key, another place, or changed bytes.
    fn open(&self, context: &str, sealed: &[u8]) -> Result<Vec<u8>, Unopened>;
}

/// What was sealed does not open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a secret does not open with the host's master key")]
pub struct Unopened;

/// Tries destinations and subscriptions out, beside the way of an event: nothing is recorded.
pub trait Tester: Send + Sync {
    /// Sends an event to a destination now, once, with the destination's own headers and signature.
    ///
    /// # Errors
    /// When the host itself could not try; what the receiver did is an outcome.
    fn test(&self, destination: Destination, event: Event) -> BoxFuture<'_, Result<TestOutcome, TestError>>;

    /// Takes an event through a subscription; with `send`, makes one attempt at each delivery.
    ///
    /// # Errors
    /// When the host itself could not try; what plugins and receivers did is an outcome.
    fn rehearse(
        &self,
        subscription: Subscription,
        event: Event,
        send: bool,
    ) -> BoxFuture<'_, Result<Rehearsal, TestError>>;
}

/// What a subscription made of an event.
#[derive(Debug, Clone)]
pub struct Rehearsal {
    /// How they meet.
    pub meets: Match,
    /// The conditions of the filter that do not hold.
    pub unmet: Vec<String>,
    /// What the event's routing would be; absent when they do not match.
    pub routing: Option<NewRouting>,
    /// What came of each of the routing's deliveries, in their order; `None` where nothing was sent.
    pub attempts: Vec<Option<TestOutcome>>,
}

/// What a test came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TestOutcome {
    /// `delivered` or the kind of failure.
    pub outcome: String,
    /// The answer's status.
    pub status: Option<u16>,
    /// How long it took, in microseconds.
    pub duration_us: u64,
    /// What went wrong, for people; secrets masked.
    pub error: Option<String>,
    /// JSON of what was sent: method, address and headers, secrets masked.
    pub request: String,
    /// JSON of the answer's headers.
    pub response_headers: Option<String>,
    /// The start of the answer's body, as text.
    pub response_body: Option<String>,
}

/// Why a test was not sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TestError {
    /// Too many tests are under way.
    #[error("too many tests are under way: the limit `tests` is reached")]
    Busy,
    /// The host failed.
    #[error("the host failed: {0}")]
    Host(String),
}

/// Asks receivers for their permission.
pub trait Handshaker: Send + Sync {
    /// Asks the receiver of a destination now, once. `token` is what the address for a later permission ends with, where
    /// the host can be called back.
    fn ask(&self, destination: Destination, spec: HandshakeSpec, token: String) -> BoxFuture<'_, Reply>;
}

/// The files that carriers fetch from this host.
pub trait DropBox: Send + Sync {
    /// At most `limit` files of a carrier, by path, that come after `after`.
    ///
    /// # Errors
    /// [`DropBoxError::Host`] when they cannot be read.
    fn list(
        &self,
        carrier: CarrierId,
        after: Option<String>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<DropFile>, DropBoxError>>;

    /// Deletes a file of a carrier's; whether there was one.
    ///
    /// # Errors
    /// [`DropBoxError::Path`] when the path is none.
    fn delete(&self, carrier: CarrierId, path: String) -> BoxFuture<'_, Result<bool, DropBoxError>>;
}

/// Why files could not be listed or deleted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DropBoxError {
    /// The path is none.
    #[error("{0}")]
    Path(String),
    /// The host failed.
    #[error("the host failed: {0}")]
    Host(String),
}

/// Changes that read before they write take turns, so that on one node none is lost: a secret that was shown once must be
/// the one that is kept.
#[derive(Debug, Clone, Default)]
pub(super) struct Turn(Arc<tokio::sync::Mutex<()>>);

impl Turn {
    pub(super) async fn mine(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.0.lock().await
    }
}

/// Everything that the API needs. Made once, by whoever builds the host.
pub struct ApiParts {
    /// Durable truth.
    pub store: Store,
    /// Whose key is whose.
    pub keys: KeyRing,
    /// Where new events go.
    pub intake: Arc<dyn Intake>,
    /// Plugins.
    pub plugins: Arc<dyn PluginAdmin>,
    /// What the stages must agree to.
    pub checks: Arc<dyn Checks>,
    /// Test deliveries.
    pub tester: Arc<dyn Tester>,
    /// Receivers' permissions.
    pub handshaker: Arc<dyn Handshaker>,
    /// The drop folder, if there is one.
    pub drop: Option<Arc<dyn DropBox>>,
    /// Which event types there are.
    pub catalogue: Arc<Catalogue>,
    /// The time.
    pub clock: Clock,
    /// How much may be set up.
    pub limits: ApiLimits,
    /// How much may be posted.
    pub ingest: IngestLimits,
    /// How long a body may take to arrive.
    pub body_time: Duration,
}

impl std::fmt::Debug for ApiParts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ApiParts")
            .field("limits", &self.limits)
            .field("ingest", &self.ingest)
            .finish_non_exhaustive()
    }
}

/// The state of the routers. Cheap to clone.
#[derive(Debug, Clone)]
pub struct ApiState(Arc<Inner>);

struct Inner {
    parts: ApiParts,
    limits: Arc<ApiLimits>,
    ingest: Arc<IngestLimits>,
    flights: Flights,
    turn: Turn,
    throttle: Arc<Throttle>,
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.parts.fmt(f)
    }
}

impl ApiState {
    /// The state made of these parts.
    pub fn new(parts: ApiParts) -> Self {
        let (limits, ingest) = (Arc::new(parts.limits.clone()), Arc::new(parts.ingest.clone()));
        let throttle = Arc::new(Throttle::new(limits.requests_per_second, limits.burst));
        let (flights, turn) = (Flights::default(), Turn::default());
        Self(Arc::new(Inner { parts, limits, ingest, flights, turn, throttle }))
    }

    /// How long a body may take to arrive.
    pub(super) fn body_time(&self) -> Duration {
        self.0.parts.body_time
    }
}

macro_rules! pieces {
    ($($piece:ty = $($path:ident).+;)*) => {$(
        impl FromRef<ApiState> for $piece {
            fn from_ref(state: &ApiState) -> Self {
                state.0.$($path).+.clone()
            }
        }
    )*};
}

pieces! {
    Store = parts.store;
    KeyRing = parts.keys;
    Clock = parts.clock;
    Arc<dyn Intake> = parts.intake;
    Arc<dyn PluginAdmin> = parts.plugins;
    Arc<dyn Checks> = parts.checks;
    Arc<dyn Tester> = parts.tester;
    Arc<dyn Handshaker> = parts.handshaker;
    Option<Arc<dyn DropBox>> = parts.drop;
    Arc<Catalogue> = parts.catalogue;
    Arc<ApiLimits> = limits;
    Arc<IngestLimits> = ingest;
    Flights = flights;
    Turn = turn;
    Arc<Throttle> = throttle;
}
